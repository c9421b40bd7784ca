"""How the constructor's arguments become one call of the contract on Windows."""

from __future__ import annotations

import sys

from cffimmap._constants import (
    ACCESS_COPY,
    ACCESS_DEFAULT,
    ACCESS_READ,
    ACCESS_WRITE,
)
from cffimmap._native import check, ffi, lib
from cffimmap._request import Protection, Request, check_signs

_PROTECTIONS = {
    ACCESS_DEFAULT: lib.CM_WRITE,
    ACCESS_READ: lib.CM_READ,
    ACCESS_WRITE: lib.CM_WRITE,
    ACCESS_COPY: lib.CM_COPY,
}


def _protection(access: int) -> Protection:
    prot = _PROTECTIONS.get(access)
    if prot is None:
        raise ValueError("mmap invalid access parameter.")
    return Protection(
        access=access,
        prot=prot,
        flags=0,
        readable=True,
        writable=access != ACCESS_READ,
        private=access == ACCESS_COPY,
    )


def _file_of(fileno: int) -> int:
    """The file of a descriptor; -1 and 0 are anonymous memory (CPython's mmapmodule.c)."""
    if fileno in (-1, 0):
        return -1
    file = ffi.new("cm_file *")
    check(lib.cm_file_of(fileno, file), "cm_file_of")
    return file[0]  # type: ignore[no-any-return]


def crowded(descriptor: int) -> bool:  # noqa: ARG001
    """Whether dropped maps should be collected before the next file is opened: a process may have 16 million handles."""
    return False


def tag_name(value: object) -> str | None:
    """A name of Windows's, or none; C would end it at a NUL."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"expected str or None for 'tagname', not {type(value).__name__}")
    if "\0" in value:
        raise ValueError("embedded null character")
    return value


def request(fileno: int, length: int, tag: str | None, access: int, offset: int, track: bool) -> Request:
    """Checks the constructor's arguments, whose integers are within the range of their C types.

    Raises:
        OverflowError, ValueError, OSError: as the constructor says.
    """
    check_signs(length, offset)
    protection = _protection(access)
    sys.audit("mmap.__new__", fileno, length, access, offset)
    file = _file_of(fileno)
    return Request(file, length, offset, protection, track, file == -1, tag)
