"""What the two platforms share in making one call of the contract out of the constructor's arguments."""

from __future__ import annotations

from typing import NamedTuple


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
        file: as the platform names it; -1 is none.
        length: bytes to be mapped; 0 is the rest of the file.
        offset: where in the file they begin, in bytes.
        protection: how they may be used.
        track: whether the map keeps the file open.
        anonymous: whether the memory lies in no file.
        tag: Windows's name for the memory, if it has one.
    """

    file: int
    length: int
    offset: int
    protection: Protection
    track: bool
    anonymous: bool
    tag: str | None = None


def check_signs(length: int, offset: int) -> None:
    """Raises OverflowError for a negative length or offset."""
    if length < 0:
        raise OverflowError("memory mapped length must be positive")
    if offset < 0:
        raise OverflowError("memory mapped offset must be positive")
