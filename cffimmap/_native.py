"""The only importer of the compiled module: its functions with their types, and the translation of errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Protocol, cast

from cffimmap import _cffimmap

PYPY = sys.implementation.name == "pypy"

# What an `unsigned char *` is to a type checker: cffi's objects have no types of their own.
Pointer = Any


class Library(Protocol):
    """The contract of csrc/cffimmap.h. Functions that return int answer 0, UNSUPPORTED or an error number."""

    CM_UNSUPPORTED: int
    cm_constants: Any
    cm_constant_count: int

    def cm_page_size(self) -> int: ...
    def cm_granularity(self) -> int: ...
    def cm_status(self, file: int, size: Pointer, regular: Pointer, /) -> int: ...
    def cm_truncate(self, file: int, size: int, /) -> int: ...
    def cm_duplicate(self, file: int, copy: Pointer, /) -> int: ...
    def cm_close(self, file: int, /) -> int: ...
    def cm_map(
        self, file: int, length: int, prot: int, flags: int, offset: int, range_: Pointer, /
    ) -> int: ...
    def cm_unmap(self, base: Pointer, length: int, /) -> int: ...
    def cm_blank(self, base: Pointer, length: int, /) -> int: ...
    def cm_remap(self, range_: Pointer, length: int, /) -> int: ...
    def cm_twin(self, base: Pointer, length: int, twin: Pointer, /) -> int: ...
    def cm_sync(self, base: Pointer, offset: int, length: int, flags: int, /) -> int: ...
    def cm_advise(self, base: Pointer, offset: int, length: int, advice: int, /) -> int: ...
    def cm_populate(self, base: Pointer, offset: int, length: int, /) -> int: ...
    def cm_set_name(self, base: Pointer, length: int, name: bytes, /) -> int: ...
    def cm_move(self, base: Pointer, target: int, source: int, count: int, /) -> None: ...
    def cm_store(self, base: Pointer, offset: int, source: Pointer, count: int, /) -> None: ...
    def cm_gather(self, base: Pointer, start: int, step: int, count: int, target: Pointer, /) -> None: ...
    def cm_scatter(self, base: Pointer, start: int, step: int, count: int, source: Pointer, /) -> None: ...
    def cm_line_end(self, base: Pointer, start: int, end: int, /) -> int: ...
    def cm_find(self, base: Pointer, start: int, end: int, needle: Pointer, count: int, /) -> int: ...
    def cm_rfind(self, base: Pointer, start: int, end: int, needle: Pointer, count: int, /) -> int: ...


ffi: Any = _cffimmap.ffi
lib = cast("Library", _cffimmap.lib)

UNSUPPORTED = lib.CM_UNSUPPORTED


if PYPY:
    Base: Any = object
else:
    if _cffimmap.lib.cm_make_base(__name__.encode()) != 0:  # pragma: no cover, out of memory
        raise ImportError("cffimmap: the base type could not be made")
    # Set by cm_make_base: the base type of Mapping, and what tells it where the memory is.
    Base = globals()["Base"]
    expose: Callable[[object, object, int, int, bool], None] = globals()["_expose"]

# Whether indices, slices and iteration are answered in C (csrc/cpython.c).
FAST_ITEMS = not PYPY and hasattr(Base, "__getitem__")


def failure(code: int, call: str) -> OSError:
    """The exception for a failed call of the contract.

    Args:
        code: what the call returned.
        call: the name of the system call, which is kept in the exception's notes.

    Returns:
        An OSError, or the subclass that Python has for the error number.
    """
    error = OSError(code, os.strerror(code))
    error.__notes__ = [f"{call}() failed"]  # type: ignore[attr-defined, unused-ignore]
    return error


def check(code: int, call: str) -> None:
    """Raises what `failure` makes of it if a call of the contract has failed."""
    if code != 0:
        raise failure(code, call)
