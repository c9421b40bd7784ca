"""Pages that cannot be accessed, as Windows makes them."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import contextlib
    import ctypes
    from ctypes import wintypes
    from typing import TYPE_CHECKING, Any

    from cffimmap._native import ffi

    if TYPE_CHECKING:
        from collections.abc import Iterator

    NO_ACCESS, READ_ONLY = 1, 2  # PAGE_NOACCESS, PAGE_READONLY

    _ACCESS_VIOLATION, _IN_PAGE_ERROR = 0xC0000005, 0xC0000006
    _CONTINUE_SEARCH = 0

    class _Record(ctypes.Structure):
        """EXCEPTION_RECORD."""

        _fields_ = (
            ("code", wintypes.DWORD),
            ("flags", wintypes.DWORD),
            ("next", ctypes.c_void_p),
            ("address", ctypes.c_void_p),
            ("parameters", wintypes.DWORD),
            ("information", ctypes.c_size_t * 15),
        )

    class _Pointers(ctypes.Structure):
        """EXCEPTION_POINTERS."""

        _fields_ = (("record", ctypes.POINTER(_Record)), ("context", ctypes.c_void_p))

    _Handler = ctypes.WINFUNCTYPE(wintypes.LONG, ctypes.POINTER(_Pointers))

    _system = ctypes.WinDLL("kernel32")
    _system.VirtualProtect.argtypes = (ctypes.c_size_t, ctypes.c_size_t, wintypes.DWORD, ctypes.c_void_p)
    _system.AddVectoredExceptionHandler.argtypes = (wintypes.ULONG, _Handler)
    _system.AddVectoredExceptionHandler.restype = ctypes.c_void_p
    _system.RemoveVectoredExceptionHandler.argtypes = (ctypes.c_void_p,)

    def _protect(address: int, length: int, protection: int) -> int:
        before = wintypes.DWORD()
        assert _system.VirtualProtect(address, length, protection, ctypes.byref(before))
        return before.value

    @contextlib.contextmanager
    def protected(m: Any, start: int, length: int, protection: int = NO_ACCESS) -> Iterator[None]:
        """Changes the protection of some of a map's pages for a while; positions are bytes."""
        with ffi.from_buffer(m) as memory:
            address = int(ffi.cast("uintptr_t", memory)) + start
        before = _protect(address, length, protection)
        try:
            yield
        finally:
            _protect(address, length, before)

    @contextlib.contextmanager
    def failing_disk(status: int) -> Iterator[None]:
        """Makes a protected page one that could not be read, for the reason that an NTSTATUS gives."""

        def handle(pointers: Any) -> int:
            record = pointers.contents.record.contents
            if record.code == _ACCESS_VIOLATION:
                record.code, record.parameters, record.information[2] = _IN_PAGE_ERROR, 3, status
            return _CONTINUE_SEARCH

        # Named, as it must live as long as it may be called.
        handler = _Handler(handle)
        # Before all others, who see what it has made of the record.
        added = _system.AddVectoredExceptionHandler(1, handler)
        assert added
        try:
            yield
        finally:
            assert _system.RemoveVectoredExceptionHandler(added)
