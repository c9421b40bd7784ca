"""How the constructor's arguments become one call of the contract on Unix."""

from __future__ import annotations

import errno
import resource
import sys
from typing import NamedTuple

from cffimmap._constants import (
    ACCESS_COPY,
    ACCESS_DEFAULT,
    ACCESS_READ,
    ACCESS_WRITE,
    ALLOCATIONGRANULARITY,
    MAP_PRIVATE,
    MAP_SHARED,
    NAMES,
    PROT_READ,
    PROT_WRITE,
)
from cffimmap._native import check, failure, ffi, lib

TOO_LONG = "mmap length is greater than file size"

DEFAULT_PROT = PROT_READ | PROT_WRITE
ANONYMOUS = NAMES["MAP_ANONYMOUS"] if "MAP_ANONYMOUS" in NAMES else NAMES["MAP_ANON"]


class Request(NamedTuple):
    """One mapping to be made: all that the contract needs to know. Length and offset in bytes."""

    file: int
    length: int
    prot: int
    flags: int
    offset: int
    access: int
    track: bool


def _protection(access: int, flags: int, prot: int) -> tuple[int, int, int]:
    """The access, flags and protection that the constructor's three arguments mean together."""
    if access == ACCESS_DEFAULT:
        return _shown_access(prot), flags, prot
    if flags != MAP_SHARED or prot != DEFAULT_PROT:
        raise ValueError("mmap can't specify both access and flags, prot.")
    if access == ACCESS_READ:
        return access, MAP_SHARED, PROT_READ
    if access == ACCESS_WRITE:
        return access, MAP_SHARED, DEFAULT_PROT
    if access == ACCESS_COPY:
        return access, MAP_PRIVATE, DEFAULT_PROT
    raise ValueError("mmap invalid access parameter.")


def _shown_access(prot: int) -> int:
    if prot & DEFAULT_PROT == DEFAULT_PROT:
        return ACCESS_DEFAULT
    return ACCESS_WRITE if prot & PROT_WRITE else ACCESS_READ


def file_status(file: int) -> tuple[int, bool]:
    """The size of a file in bytes, and whether it is a regular file.

    Args:
        file: a descriptor.

    Raises:
        OSError: EBADF for what is no descriptor.
    """
    size, regular = ffi.new("long long *"), ffi.new("int *")
    check(lib.cm_status(file, size, regular), "fstat")
    return size[0], bool(regular[0])


def _length_in_file(file: int, length: int, offset: int) -> int:
    """The length in bytes to be mapped, checked against the file's size as far as it has one."""
    size, regular = file_status(file)
    if not regular:
        return length
    if length == 0:
        if size == 0:
            raise ValueError("cannot mmap an empty file")
        if offset >= size:
            raise ValueError("mmap offset is greater than file size")
        length = size - offset
        if length > sys.maxsize:  # pragma: no cover, a file of 2 GiB and more on a 32-bit system
            raise ValueError("mmap length is too large")
        return length
    if offset > size or size - offset < length:
        raise ValueError(TOO_LONG)
    return length


def check_length(request: Request) -> None:
    """Looks at a mapped file's size again: another process may have truncated it since the arguments were checked.

    Raises:
        ValueError: the file is shorter now than what is mapped.
    """
    if request.file != -1:
        size, regular = file_status(request.file)
        if regular and size < request.offset + request.length:
            raise ValueError(TOO_LONG)


_patience = 0


def crowded(descriptor: int) -> bool:
    """Whether so many descriptors are open that dropped maps should be collected before the next open() fails.

    Descriptors are given out from the lowest free one on (POSIX), so that the number itself tells.

    Args:
        descriptor: the newest one of this process.
    """
    global _patience
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    threshold = limit * 3 // 4
    if descriptor < threshold:
        _patience = 0
        return False
    # Where collecting did not help, because the files are in use, it is tried less and less often.
    _patience += 1
    return _patience & (_patience - 1) == 0


def request(
    fileno: int, length: int, flags: int, prot: int, access: int, offset: int, track: bool
) -> Request:
    """Checks the constructor's arguments, which are integers within the range of their C types.

    Raises:
        OverflowError, ValueError, OSError: as the constructor says.
    """
    if length < 0:
        raise OverflowError("memory mapped length must be positive")
    if offset < 0:
        raise OverflowError("memory mapped offset must be positive")
    access, flags, prot = _protection(access, flags, prot)
    sys.audit("mmap.__new__", fileno, length, access, offset)
    if fileno == -1:
        flags |= ANONYMOUS
    else:
        length = _length_in_file(fileno, length, offset)
    if flags & ANONYMOUS:
        # The kernel ignores the file then, so that resize() must not touch it either.
        fileno = -1
    # POSIX leaves both to the system; Linux answers EINVAL, and so does every Unix for us.
    if length == 0 or offset % ALLOCATIONGRANULARITY:
        raise failure(errno.EINVAL, "mmap")
    return Request(fileno, length, prot, flags, offset, access, track)
