"""Calls of the system's that somebody else answers, on Windows: what a module calls there, it finds by its imports."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import contextlib
    import ctypes
    from ctypes import wintypes
    from typing import TYPE_CHECKING, Any

    from _calls import Call

    import cffimmap._native

    if TYPE_CHECKING:
        from collections.abc import Callable, Iterator

        from _calls import Answer

    # Microsoft's names of the arguments. All of them fail by answering 0.
    _ARGUMENTS = {
        "CreateFileMappingW": ("file", "security", "protection", "high", "low", "tag"),
        "DuplicateHandle": ("source", "file", "target", "copy", "access", "inherit", "options"),
        "FlushFileBuffers": ("file",),
        "FlushViewOfFile": ("address", "length"),
        "GetFileSizeEx": ("file", "result"),
        "MapViewOfFile": ("section", "access", "high", "low", "length"),
        "OpenFileMappingW": ("access", "inherit", "tag"),
        "SetFileInformationByHandle": ("file", "kind", "information", "size"),
        "UnmapViewOfFile": ("address",),
    }

    _DWORDS = {"access", "high", "inherit", "kind", "low", "options", "protection", "size"}

    # The format of a program (Microsoft: "PE Format"): where the header begins, where in it the list of imports is named,
    # and how long an entry of that list is.
    _HEADER_AT = 0x3C
    _IMPORTS_AT = 24 + 112 + 8
    _ENTRY = 20
    _BY_NUMBER = 1 << 63
    _READ_WRITE = 4  # PAGE_READWRITE

    _system = ctypes.WinDLL("kernel32")
    _system.VirtualProtect.argtypes = (ctypes.c_size_t, ctypes.c_size_t, wintypes.DWORD, ctypes.c_void_p)
    _system.GetModuleHandleW.argtypes = (wintypes.LPCWSTR,)
    _system.GetModuleHandleW.restype = ctypes.c_size_t

    def _modules() -> list[int]:
        """Where the compiled modules lie."""
        native: Any = cffimmap._native
        modules = [getattr(native, name, None) for name in ("_cffimmap", "_memory")]
        return [_system.GetModuleHandleW(module.__file__) for module in modules if module is not None]

    def _word(address: int) -> int:
        return ctypes.c_uint32.from_address(address).value

    def _imports(base: int) -> Iterator[tuple[str, int]]:
        """What a module imports by name, and where the addresses lie that it calls."""
        entry = base + _word(base + _word(base + _HEADER_AT) + _IMPORTS_AT)
        while _word(entry + 12):
            names, places = base + (_word(entry) or _word(entry + 16)), base + _word(entry + 16)
            while name := ctypes.c_uint64.from_address(names).value:
                if not name & _BY_NUMBER:
                    yield ctypes.string_at(base + name + 2).decode(), places
                names, places = names + 8, places + 8
            entry += _ENTRY

    def _put(place: int, address: int) -> int:
        before, protection = ctypes.c_uint64.from_address(place).value, wintypes.DWORD()
        assert _system.VirtualProtect(place, 8, _READ_WRITE, ctypes.byref(protection))
        ctypes.c_uint64.from_address(place).value = address
        assert _system.VirtualProtect(place, 8, protection, ctypes.byref(protection))
        return before

    class Faulty:
        """Runs functions some of whose calls of the system are answered in their own way.

        Args:
            answers: by the names of the calls.

        Attributes:
            calls: those that were answered, in their order.
        """

        def __init__(self, **answers: Answer) -> None:
            self._answers = answers
            self.calls: list[Call] = []

        def __call__(self, work: Callable[[], object]) -> Any:
            """Runs a function; its answer and its exception go out."""
            with contextlib.ExitStack() as stack:
                for base in _modules():
                    for name, place in list(_imports(base)):
                        if name in self._answers:
                            stack.enter_context(self._replaced(name, place))
                return work()

        @contextlib.contextmanager
        def _replaced(self, name: str, place: int) -> Iterator[None]:
            words = [ctypes.c_size_t] * len(_ARGUMENTS[name])
            prototype = ctypes.WINFUNCTYPE(ctypes.c_size_t, *words, use_last_error=True)
            real = prototype(ctypes.c_uint64.from_address(place).value)
            # Named, as it must live as long as it may be called.
            function = prototype(lambda *values: self._answer(name, real, values))
            address = ctypes.cast(function, ctypes.c_void_p).value
            assert address is not None
            before = _put(place, address)
            try:
                yield
            finally:
                _put(place, before)

        def _answer(self, name: str, real: Callable[..., int], values: tuple[int, ...]) -> int:
            pairs = zip(_ARGUMENTS[name], values)
            call = Call(
                name, {each: value & 0xFFFFFFFF if each in _DWORDS else value for each, value in pairs}
            )
            self.calls.append(call)
            answer = self._answers[name]
            code = answer(call) if callable(answer) else answer
            if code is None:
                return real(*values)
            ctypes.set_last_error(code)
            return not code

    def lacking() -> str | None:
        """Why no call can be answered here; None if one can."""
        return None if ctypes.sizeof(ctypes.c_void_p) == 8 else "needs programs of 64 bits"
