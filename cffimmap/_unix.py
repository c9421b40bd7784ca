"""How the constructor's arguments become one call of the contract on Unix."""

from __future__ import annotations

import resource
import sys

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
from cffimmap._native import INVALID_ARGUMENT, failure, lib
from cffimmap._request import Protection, Request, check_signs, file_status, rest_of_file

assert sys.platform != "win32"  # noqa: S101, for type checkers

TOO_LONG = "mmap length is greater than file size"

DEFAULT_FLAGS = MAP_SHARED
DEFAULT_PROT = PROT_READ | PROT_WRITE

# On macOS the pages of a map may lack what was written just before (CPython's documentation of the constructor).
SYNCS_FIRST = sys.platform in ("darwin", "ios", "tvos", "watchos")

ANONYMOUS = NAMES["MAP_ANONYMOUS"] if "MAP_ANONYMOUS" in NAMES else NAMES["MAP_ANON"]


def _protection(access: int, flags: int, prot: int) -> Protection:
    """How memory may be used that the constructor's three arguments describe together."""
    if access != ACCESS_DEFAULT:
        flags, prot = _meaning(access, flags, prot)
    return Protection(
        access=_shown_access(prot) if access == ACCESS_DEFAULT else access,
        prot=prot,
        flags=flags,
        readable=bool(prot & DEFAULT_PROT),
        writable=bool(prot & PROT_WRITE),
        private=flags & (MAP_PRIVATE | MAP_SHARED) == MAP_PRIVATE,
    )


def _meaning(access: int, flags: int, prot: int) -> tuple[int, int]:
    """The flags and the protection that an access stands for, where no others are given."""
    if flags != MAP_SHARED or prot != DEFAULT_PROT:
        raise ValueError("mmap can't specify both access and flags, prot.")
    if access == ACCESS_READ:
        return MAP_SHARED, PROT_READ
    if access == ACCESS_WRITE:
        return MAP_SHARED, DEFAULT_PROT
    if access == ACCESS_COPY:
        return MAP_PRIVATE, DEFAULT_PROT
    raise ValueError("mmap invalid access parameter.")


def _shown_access(prot: int) -> int:
    if prot & DEFAULT_PROT == DEFAULT_PROT:
        return ACCESS_DEFAULT
    return ACCESS_WRITE if prot & PROT_WRITE else ACCESS_READ


def _length_in_file(file: int, length: int, offset: int) -> int:
    """The length in bytes to be mapped, checked against the file's size as far as it has one."""
    size, regular = file_status(file)
    if not regular:
        return length
    if length == 0:
        return rest_of_file(size, offset)
    if offset > size or size - offset < length:
        raise ValueError(TOO_LONG)
    return length


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


def prepare(file: int) -> None:
    """Does to a file what must be done before it is mapped."""
    if SYNCS_FIRST:
        # What fails here, the standard library passes over too: the file is mapped as it is.
        lib.cm_sync_file(file)


def request(
    fileno: int, length: int, flags: int, prot: int, access: int, offset: int, track: bool
) -> Request:
    """Checks the constructor's arguments, which are integers within the range of their C types.

    Raises:
        OverflowError, ValueError, OSError: as the constructor says.
    """
    check_signs(length, offset)
    protection = _protection(access, flags, prot)
    sys.audit("mmap.__new__", fileno, length, protection.access, offset)
    whole = False
    if fileno == -1:
        protection = protection._replace(flags=protection.flags | ANONYMOUS)
    else:
        prepare(fileno)
        whole = length == 0
        length = _length_in_file(fileno, length, offset)
    if protection.flags & ANONYMOUS:
        # The kernel ignores the file then, so that resize() must not touch it either.
        fileno = -1
    # POSIX leaves both to the system; Linux answers EINVAL, and so does every Unix for us.
    if length == 0 or offset % ALLOCATIONGRANULARITY:
        raise failure(INVALID_ARGUMENT, "cm_map")
    return Request(fileno, length, whole, offset, protection, track)
