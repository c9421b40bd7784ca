"""The only importer of the compiled modules: their functions with their types, and the translation of errors."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

PYPY: Final = sys.implementation.name == "pypy"
WINDOWS: Final = sys.platform == "win32"

# The compiled part imports cffi's backend itself, which freezers of programs do not see.
try:
    import _cffi_backend as _cffi_backend
except ImportError as error:
    # Among others in a subinterpreter with a lock of its own, which cffi does not support.
    raise ImportError(f"cffimmap cannot be used here, as cffi cannot be loaded: {error}") from None

try:
    from cffimmap import _cffimmap

    if not PYPY:
        from cffimmap import _memory
except ImportError as error:
    raise ImportError(
        f"cffimmap cannot be used from {Path(__file__).parent}, which has no compiled part for this interpreter: "
        f"run 'pip install -e .' there, or start Python in another folder ({error})"
    ) from None

if TYPE_CHECKING:
    from typing_extensions import Buffer

# What an `unsigned char *` is to a type checker: cffi's objects have no types of their own.
Pointer = Any

# What a call raises for a map that was closed, or resized between a check and what it was for.
CLOSED_MESSAGE: Final = "mmap closed or invalid"
RESIZED_MESSAGE: Final = "mmap resized during the operation"


class Library(Protocol):
    """The contract of csrc/cffimmap.h. Functions that return int answer 0, UNSUPPORTED or an error number.

    Those that return a position answer less than ABSENT for an error: see `found`.
    """

    CM_READ: int
    CM_WRITE: int
    CM_COPY: int
    CM_UNSUPPORTED: int
    CM_GONE: int
    CM_BUSY: int
    CM_SHORT: int
    CM_EMPTY: int
    CM_BEYOND: int
    CM_LARGE: int
    CM_ABSENT: int
    CM_BLANKS: int
    cm_constants: Any
    cm_constant_count: int

    def cm_page_size(self) -> int: ...
    def cm_granularity(self) -> int: ...
    def cm_exhausted(self, error: int, /) -> bool: ...
    def cm_pause(self) -> None: ...
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
    def cm_mapping_open(self, m: Pointer, source: int, track: bool, length: int, /) -> int: ...
    def cm_mapping_close(self, m: Pointer, /) -> int: ...
    def cm_mapping_resize(self, m: Pointer, length: int, fresh: Pointer, /) -> int: ...
    def cm_move_on(self, m: Pointer, start: int, stop: int, /) -> int: ...
    def cm_mapping_end(self, m: Pointer, /) -> None: ...
    def cm_span_end(self, span: Pointer, /) -> None: ...
    def cm_find_near(
        self, span: Pointer, start: int, end: int, needle: int, count: int, backwards: bool, short: int, /
    ) -> int: ...
    def cm_find_bytes_near(
        self, span: Pointer, start: int, end: int, needle: Pointer, count: int, backwards: bool, short: int, /
    ) -> int: ...
    def cm_run_move(self, m: Pointer, target: int, source: int, count: int, /) -> int: ...
    def cm_run_load(self, m: Pointer, offset: int, count: int, target: Pointer, /) -> int: ...
    def cm_run_store(self, m: Pointer, offset: int, source: Pointer, count: int, /) -> int: ...
    def cm_run_gather(self, m: Pointer, start: int, step: int, count: int, target: Pointer, /) -> int: ...
    def cm_run_scatter(self, m: Pointer, start: int, step: int, count: int, source: Pointer, /) -> int: ...
    def cm_run_line_end(self, m: Pointer, start: int, end: int, /) -> int: ...
    def cm_run_find(
        self, m: Pointer, start: int, end: int, needle: Pointer, count: int, backwards: bool, /
    ) -> int: ...
    def cm_run_sync(self, m: Pointer, offset: int, length: int, flags: int, /) -> int: ...
    def cm_run_advise(self, m: Pointer, offset: int, length: int, advice: int, /) -> int: ...
    def cm_run_populate(self, m: Pointer, offset: int, length: int, /) -> int: ...
    def cm_run_set_name(self, m: Pointer, name: bytes, /) -> int: ...
    def cm_run_twin(self, m: Pointer, place: Pointer, length: int, /) -> int: ...
    def cm_run_keep(self, m: Pointer, /) -> int: ...
    def cm_run_size(self, m: Pointer, /) -> int: ...
    def cm_run_sync_file(self, m: Pointer, /) -> int: ...


class Memory(Protocol):
    """What a map holds: one mapping of memory, its lifetime, its position, its exports. Built twice, with the same members.

    csrc/cpython/ has it for CPython, _pypy.py for PyPy. Each member is one step that is whole: no signal, thread or
    failure leaves it half done. Arguments are plain integers, lengths and positions in bytes, and may have any value;
    data and needles are any bytes-like objects. All but the attributes that say so raise ValueError with
    CLOSED_MESSAGE when the map is closed, and OSError for what the system answers. `BufferError` is CPython's alone.
    """

    # Of a closed map too.
    closed: bool
    access: int
    offset: int
    anonymous: bool
    tracked: bool
    writable: bool
    # Whether what is written stays in this process.
    copies: bool
    # Windows; None once it was lost.
    tag: str | None
    position: int

    @property
    def length(self) -> int: ...

    # The same of memory that may be accessed; TypeError without PROT_READ and PROT_WRITE.
    @property
    def accessible_length(self) -> int: ...

    def octet(self, index: int, /) -> int: ...
    def put(self, index: int, value: int, /) -> None: ...
    def slice(self, key: Any, /) -> bytes: ...
    def assign(self, key: Any, data: Buffer, /) -> None: ...
    def read(self, count: int, /) -> bytes: ...
    def read_byte(self) -> int: ...
    def readline(self) -> bytes: ...
    def write(self, data: Buffer, /) -> int: ...
    def write_byte(self, octet: int, /) -> None: ...
    def seek(self, distance: int, origin: int, /) -> int: ...
    def tell(self) -> int: ...
    def size(self) -> int: ...
    def find(self, needle: Buffer, start: int | None, end: int | None, backwards: bool, /) -> int: ...
    def move(self, target: int, source: int, count: int, /) -> None: ...
    def sync(self, start: int, count: int, flags: int, with_file: bool, /) -> None: ...
    def advise(self, start: int, count: int, advice: int, /) -> None: ...
    def set_name(self, name: bytes, /) -> None: ...
    def close(self) -> None: ...

    # Raises the objection, if there is one, after BufferError and before anything is done.
    def resize(self, length: int, objection: Exception | None, /) -> None: ...


ffi: Any = _cffimmap.ffi
lib = cast("Library", _cffimmap.lib)

# CPython's `Memory` and the class mmap under it, in C.
compiled: Any = None if PYPY else _memory

UNSUPPORTED = lib.CM_UNSUPPORTED
ABSENT = lib.CM_ABSENT


# What the system's errors are called here: errno, or on Windows the numbers of winerror.h.
if sys.platform == "win32":
    INVALID_ARGUMENT: Final = 87  # ERROR_INVALID_PARAMETER
    FILE_IN_USE: Final = 1224  # ERROR_USER_MAPPED_FILE
else:
    INVALID_ARGUMENT: Final = errno.EINVAL
    FILE_IN_USE: Final = errno.EBUSY

# The system calls behind the contract's functions, on Unix and on Windows.
_SYSTEM_CALLS: Final = {
    "cm_file_of": ("", "_get_osfhandle"),
    "cm_around_forks": ("pthread_atfork", ""),
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


# What the contract says of a file that does not have what is to be mapped of it.
_REFUSALS: Final = {
    lib.CM_SHORT: "mmap length is greater than file size",
    lib.CM_EMPTY: "cannot mmap an empty file",
    lib.CM_BEYOND: "mmap offset is greater than file size",
    lib.CM_LARGE: "mmap length is too large",
}


def failure(code: int, function: str | None = None, ended: bool = False) -> Exception:
    """The exception for a failed call of the contract.

    Args:
        code: what the call returned.
        function: the name of the contract's function. The exception's notes name the system call behind it. None
            for an access to the memory.
        ended: whether the map had to be closed, which the notes say.

    Returns:
        An OSError, or the subclass that Python has for the error number. On Windows `code` is its winerror. For a file
        that does not have what is to be mapped of it a ValueError.
    """
    if code in _REFUSALS:
        return ValueError(_REFUSALS[code])
    if WINDOWS:
        _, message = ffi.getwinerror(code)
        error = OSError(0, message, None, code)
    else:
        error = OSError(code, os.strerror(code))
    if function is not None:
        error.__notes__ = [f"{_SYSTEM_CALLS[function][WINDOWS]}() failed"]  # type: ignore[attr-defined, unused-ignore]
        if ended:
            error.__notes__.append("the map could not be put back and is closed")  # type: ignore[attr-defined, unused-ignore]
    return error


def check(code: int, function: str | None = None) -> None:
    """Raises what `failure` makes of it if a call of the contract has failed."""
    if code != 0:
        raise failure(code, function)


def ask_twice(call: Callable[[], int]) -> int:
    """Repeats a call once that failed for want of what dropped maps may hold until the collector has run.

    PyPy gives a range of addresses back two collections after its last view has died: the first one finds the view, the
    second one what it has kept alive.
    """
    code = call()
    if code > 0 and lib.cm_exhausted(code):
        for _ in range(3):
            gc.collect()
        code = call()
    return code
