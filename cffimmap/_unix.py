"""How the constructor's arguments become one call of the contract on Unix."""

from __future__ import annotations

import resource
import sys

from cffimmap._constants import (
    ACCESS_COPY,
    ACCESS_DEFAULT,
    ACCESS_READ,
    ACCESS_WRITE,
    MAP_PRIVATE,
    MAP_SHARED,
    NAMES,
    PROT_READ,
    PROT_WRITE,
)
from cffimmap._request import Protection, Request, check_signs

assert sys.platform != "win32"  # noqa: S101, for type checkers

DEFAULT_FLAGS = MAP_SHARED
DEFAULT_PROT = PROT_READ | PROT_WRITE

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


# So few are no crowd. To ask for the limit takes a part of the time that opening a map does.
_FEW = 32

_patience = 0


def crowded(descriptor: int) -> bool:
    """Whether so many descriptors are open that dropped maps should be collected before the next open() fails.

    Descriptors are given out from the lowest free one on (POSIX), so that the number itself tells.

    Args:
        descriptor: the newest one of this process.
    """
    global _patience
    if descriptor < _FEW or descriptor < resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 3 // 4:
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
        OverflowError, ValueError: as the constructor says.
    """
    check_signs(length, offset)
    protection = _protection(access, flags, prot)
    sys.audit("mmap.__new__", fileno, length, protection.access, offset)
    if fileno == -1:
        protection = protection._replace(flags=protection.flags | ANONYMOUS)
    # With the flag the kernel ignores a file, so that resize() must not touch it either.
    return Request(fileno, length, offset, protection, track, bool(protection.flags & ANONYMOUS))
