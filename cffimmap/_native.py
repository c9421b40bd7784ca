"""The only importer of the compiled module: its functions with their types, and the translation of errors."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from cffimmap import _cffimmap

PYPY: Final = sys.implementation.name == "pypy"
WINDOWS: Final = sys.platform == "win32"

# What an `unsigned char *` is to a type checker: cffi's objects have no types of their own.
Pointer = Any


class Library(Protocol):
    """The contract of csrc/cffimmap.h. Functions that return int answer 0, UNSUPPORTED or an error number.

    Those that return a position answer less than ABSENT for an error: see `found`.
    """

    CM_READ: int
    CM_WRITE: int
    CM_COPY: int
    CM_UNSUPPORTED: int
    CM_ABSENT: int
    cm_constants: Any
    cm_constant_count: int

    def cm_page_size(self) -> int: ...
    def cm_granularity(self) -> int: ...
    def cm_file_of(self, descriptor: int, file: Pointer, /) -> int: ...
    def cm_status(self, file: int, size: Pointer, regular: Pointer, /) -> int: ...
    def cm_truncate(self, file: int, size: int, /) -> int: ...
    def cm_sync_file(self, file: int, /) -> int: ...
    def cm_duplicate(self, file: int, copy: Pointer, /) -> int: ...
    def cm_close(self, file: int, /) -> int: ...
    def cm_make_section(
        self, file: int, prot: int, size: int, tag: Any, section: Pointer, existed: Pointer, /
    ) -> int: ...
    def cm_open_section(self, tag: str, section: Pointer, /) -> int: ...
    def cm_map(
        self, source: int, length: int, prot: int, flags: int, offset: int, range_: Pointer, /
    ) -> int: ...
    def cm_unmap(self, range_: Pointer, /) -> int: ...
    def cm_blank(self, base: Pointer, length: int, /) -> int: ...
    def cm_remap(self, range_: Pointer, length: int, /) -> int: ...
    def cm_twin(self, base: Pointer, length: int, twin: Pointer, /) -> int: ...
    def cm_sync(self, base: Pointer, offset: int, length: int, flags: int, /) -> int: ...
    def cm_advise(self, base: Pointer, offset: int, length: int, advice: int, /) -> int: ...
    def cm_populate(self, base: Pointer, offset: int, length: int, /) -> int: ...
    def cm_set_name(self, base: Pointer, length: int, name: bytes, /) -> int: ...
    def cm_move(self, base: Pointer, target: int, source: int, count: int, /) -> int: ...
    def cm_load(self, base: Pointer, offset: int, count: int, target: Pointer, /) -> int: ...
    def cm_store(self, base: Pointer, offset: int, source: Pointer, count: int, /) -> int: ...
    def cm_gather(self, base: Pointer, start: int, step: int, count: int, target: Pointer, /) -> int: ...
    def cm_scatter(self, base: Pointer, start: int, step: int, count: int, source: Pointer, /) -> int: ...
    def cm_line_end(self, base: Pointer, start: int, end: int, /) -> int: ...
    def cm_find(self, base: Pointer, start: int, end: int, needle: Pointer, count: int, /) -> int: ...
    def cm_rfind(self, base: Pointer, start: int, end: int, needle: Pointer, count: int, /) -> int: ...


ffi: Any = _cffimmap.ffi
lib = cast("Library", _cffimmap.lib)

UNSUPPORTED = lib.CM_UNSUPPORTED
ABSENT = lib.CM_ABSENT


if PYPY:
    Base: Any = object
else:
    if _cffimmap.lib.cm_make_base(__name__.encode()) != 0:  # pragma: no cover, out of memory
        raise ImportError("cffimmap: the base type could not be made")
    # Set by cm_make_base: the base type of Mapping, that of its windows, and what tells them where the memory is.
    Base = globals()["Base"]
    Window: Any = globals()["Window"]
    expose: Callable[[object, object, int, int, bool], None] = globals()["_expose"]

# Whether indices, slices and iteration are answered in C (csrc/cpython.c).
FAST_ITEMS = not PYPY and hasattr(Base, "__getitem__")


# What the system's errors are called here: errno, or on Windows the numbers of winerror.h.
if sys.platform == "win32":
    INVALID_ARGUMENT: Final = 87  # ERROR_INVALID_PARAMETER
    FILE_IN_USE: Final = 1224  # ERROR_USER_MAPPED_FILE
    # ERROR_TOO_MANY_OPEN_FILES, _NOT_ENOUGH_MEMORY, _OUTOFMEMORY, _NO_SYSTEM_RESOURCES, _COMMITMENT_LIMIT
    _EXHAUSTED: Final = frozenset({4, 8, 14, 1450, 1455})
else:
    INVALID_ARGUMENT: Final = errno.EINVAL
    FILE_IN_USE: Final = errno.EBUSY
    _EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

# The system calls behind the contract's functions, on Unix and on Windows.
_SYSTEM_CALLS: Final = {
    "cm_file_of": ("", "_get_osfhandle"),
    "cm_status": ("fstat", "GetFileSizeEx"),
    "cm_truncate": ("ftruncate", "SetFileInformationByHandle"),
    "cm_sync_file": ("fcntl", "FlushFileBuffers"),
    "cm_duplicate": ("fcntl", "DuplicateHandle"),
    "cm_make_section": ("", "CreateFileMapping"),
    "cm_open_section": ("", "OpenFileMapping"),
    "cm_map": ("mmap", "MapViewOfFile"),
    "cm_unmap": ("munmap", "UnmapViewOfFile"),
    "cm_blank": ("mmap", ""),
    "cm_remap": ("mremap", ""),
    "cm_twin": ("mremap", ""),
    "cm_sync": ("msync", "FlushViewOfFile"),
    "cm_advise": ("madvise", ""),
    "cm_set_name": ("prctl", ""),
}


def failure(code: int, function: str | None = None) -> OSError:
    """The exception for a failed call of the contract.

    Args:
        code: what the call returned.
        function: the name of the contract's function. The exception's notes name the system call behind it. None
            for an access to the memory.

    Returns:
        An OSError, or the subclass that Python has for the error number. On Windows `code` is its winerror.
    """
    if WINDOWS:
        _, message = ffi.getwinerror(code)
        error = OSError(0, message, None, code)
    else:
        error = OSError(code, os.strerror(code))
    if function is not None:
        error.__notes__ = [f"{_SYSTEM_CALLS[function][WINDOWS]}() failed"]  # type: ignore[attr-defined, unused-ignore]
    return error


def check(code: int, function: str | None = None) -> None:
    """Raises what `failure` makes of it if a call of the contract has failed."""
    if code != 0:
        raise failure(code, function)


def found(position: int) -> int:
    """The answer of a function that returns a position, or ABSENT.

    Raises:
        OSError: the answer is an error: a page is lost or protected.
    """
    if position < ABSENT:
        raise failure(ABSENT - position)
    return position


def supported(code: int, function: str) -> bool:
    """Whether the platform has what was called, which must have succeeded then."""
    if code == UNSUPPORTED:
        return False
    check(code, function)
    return True


def ask_twice(call: Callable[[], int]) -> int:
    """Repeats a call once that failed for want of what dropped maps may hold until the collector runs."""
    code = call()
    if code in _EXHAUSTED:
        gc.collect()
        code = call()
    return code
