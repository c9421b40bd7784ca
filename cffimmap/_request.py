"""What the two platforms share in making one call of the contract out of the constructor's arguments."""

from __future__ import annotations

import sys
from typing import NamedTuple

from cffimmap._native import check, ffi, lib


class Protection(NamedTuple):
    """How memory may be used.

    Attributes:
        access: the ACCESS_ name that the map shows.
        prot: what the contract is told, and `flags` with it.
        flags: likewise.
        readable: whether the memory can be accessed at all.
        writable: whether it can be written.
        private: whether what is written stays in this process.
    """

    access: int
    prot: int
    flags: int
    readable: bool
    writable: bool
    private: bool


class Request(NamedTuple):
    """One mapping to be made: all that the contract needs to know.

    Attributes:
        file: as the platform names it; -1 is anonymous memory.
        length: bytes to be mapped.
        whole: whether that is the rest of the file.
        offset: where in the file they begin, in bytes.
        protection: how they may be used.
        track: whether the map keeps the file open.
        tag: Windows's name for the memory, if it has one.
    """

    file: int
    length: int
    whole: bool
    offset: int
    protection: Protection
    track: bool
    tag: str | None = None


def check_signs(length: int, offset: int) -> None:
    """Raises OverflowError for a negative length or offset."""
    if length < 0:
        raise OverflowError("memory mapped length must be positive")
    if offset < 0:
        raise OverflowError("memory mapped offset must be positive")


def file_status(file: int) -> tuple[int, bool]:
    """The size of a file in bytes, and whether it is a regular file.

    Args:
        file: as the platform names it.

    Raises:
        OSError: EBADF for what is no file.
    """
    size, regular = ffi.new("long long *"), ffi.new("int *")
    check(lib.cm_status(file, size, regular), "cm_status")
    return size[0], bool(regular[0])


def rest_of_file(size: int, offset: int) -> int:
    """The length in bytes of what follows an offset in a file of `size` bytes."""
    if size == 0:
        raise ValueError("cannot mmap an empty file")
    if offset >= size:
        raise ValueError("mmap offset is greater than file size")
    length = size - offset
    if length > sys.maxsize:  # pragma: no cover, a file of 2 GiB and more on a 32-bit system
        raise ValueError("mmap length is too large")
    return length
