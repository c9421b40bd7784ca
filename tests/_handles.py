"""What a process has open and mapped on Windows, which has no /proc: asked of the system handle by handle."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import ctypes
    import itertools
    from ctypes import wintypes
    from typing import TYPE_CHECKING

    if TYPE_CHECKING:
        from collections.abc import Iterator
        from pathlib import Path

    # A handle is a multiple of four (Raymond Chen: "Why are kernel HANDLEs always a multiple of four?"), and the
    # system gives out low ones first: after so many that are none there are no more. Wine counts no handles.
    _STEP = 4
    _GAP = 512

    _TYPE = 2  # ObjectTypeInformation
    _LONGEST_TYPE = 1024
    _MAPPED = 0x40000  # MEM_MAPPED
    _THIS_PROCESS = -1
    _LONGEST_PATH = 32_768
    _SET_SPARSE = 0x900C4  # FSCTL_SET_SPARSE

    class _Region(ctypes.Structure):
        """MEMORY_BASIC_INFORMATION of 64 bits."""

        _fields_ = (
            ("base", ctypes.c_size_t),
            ("allocation", ctypes.c_size_t),
            ("first_protection", wintypes.DWORD),
            ("partition", wintypes.DWORD),
            ("size", ctypes.c_size_t),
            ("state", wintypes.DWORD),
            ("protection", wintypes.DWORD),
            ("type", wintypes.DWORD),
        )

    class _TypeName(ctypes.Structure):
        """UNICODE_STRING, with which OBJECT_TYPE_INFORMATION begins."""

        _fields_ = (("length", wintypes.USHORT), ("room", wintypes.USHORT), ("text", wintypes.LPWSTR))

    _system = ctypes.WinDLL("kernel32")
    _query_object = ctypes.WinDLL("ntdll").NtQueryObject
    _query_object.argtypes = (
        ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p, wintypes.ULONG, ctypes.c_void_p
    )  # fmt: skip
    _system.GetHandleInformation.argtypes = (ctypes.c_size_t, ctypes.c_void_p)
    _system.GetFinalPathNameByHandleW.argtypes = (
        ctypes.c_size_t, wintypes.LPWSTR, wintypes.DWORD, wintypes.DWORD
    )  # fmt: skip
    _system.CloseHandle.argtypes = (ctypes.c_size_t,)
    _system.VirtualQuery.argtypes = (ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)
    _system.VirtualQuery.restype = ctypes.c_size_t
    _system.K32GetMappedFileNameW.argtypes = (
        ctypes.c_ssize_t, ctypes.c_size_t, wintypes.LPWSTR, wintypes.DWORD
    )  # fmt: skip
    _system.DeviceIoControl.argtypes = (
        ctypes.c_size_t, wintypes.DWORD, ctypes.c_void_p, wintypes.DWORD,
        ctypes.c_void_p, wintypes.DWORD, ctypes.c_void_p, ctypes.c_void_p,
    )  # fmt: skip

    def handles() -> Iterator[int]:
        """All that this process has open: files, sections, events, threads..."""
        flags = wintypes.DWORD()
        last = 0
        for handle in itertools.count(_STEP, _STEP):
            if _system.GetHandleInformation(handle, ctypes.byref(flags)):
                last = handle
                yield handle
            elif handle - last > _GAP * _STEP:
                return

    def handles_to(*types: str) -> set[int]:
        """What is open of some types: "File" is any file, device, pipe or socket; "Section" is what is mapped."""
        return {handle for handle in handles() if _type_of(handle) in types}

    def close_handle(handle: int) -> None:
        """Closes one, whoever it belongs to."""
        assert _system.CloseHandle(handle)

    def handles_of(path: Path) -> int:
        """How many of this process's handles are of a file."""
        name = ctypes.create_unicode_buffer(_LONGEST_PATH)
        count = 0
        for handle in handles_to("File"):
            name.value = ""
            # A device and a pipe have no path.
            _system.GetFinalPathNameByHandleW(handle, name, _LONGEST_PATH, 0)
            count += _is_name_of(path, name.value)
        return count

    def views_of(path: Path) -> int:
        """How many views of a file this process has mapped."""
        name = ctypes.create_unicode_buffer(_LONGEST_PATH)
        region = _Region()
        address = count = 0
        while _system.VirtualQuery(address, ctypes.byref(region), ctypes.sizeof(region)):
            if region.type == _MAPPED and region.base == region.allocation:
                name.value = ""
                # Memory without a file has no name.
                _system.K32GetMappedFileNameW(_THIS_PROCESS, region.base, name, _LONGEST_PATH)
                count += _is_name_of(path, name.value)
            address = region.base + region.size
        return count

    def _type_of(handle: int) -> str:
        # GetFileType calls a section of a file a file too under Wine.
        answer = ctypes.create_string_buffer(_LONGEST_TYPE)
        failed = _query_object(handle, _TYPE, answer, _LONGEST_TYPE, None)
        return "" if failed else str(_TypeName.from_buffer(answer).text)

    def _is_name_of(path: Path, name: str) -> bool:
        # The system says the drive in another way: \Device\HarddiskVolume3, or \??\C: under Wine.
        return name.casefold().endswith(str(path)[len(path.drive) :].casefold())

    def make_sparse(handle: int) -> None:
        """Lets a file have holes, as it has them everywhere else."""
        answered = wintypes.DWORD()
        assert _system.DeviceIoControl(handle, _SET_SPARSE, None, 0, None, 0, ctypes.byref(answered), None)
