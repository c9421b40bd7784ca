"""A call of the system's, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Call:
    """A call of the system's.

    Attributes:
        name: what its manual calls it.
        arguments: by the names they have there.
        text: what one of them points to, if that is text.
    """

    name: str
    arguments: dict[str, int]
    text: str = ""

    def __getitem__(self, name: str) -> int:
        return self.arguments[name]


if TYPE_CHECKING:
    # The error's number that the call fails with, 0 to have it succeed without being made, or None to let it go on.
    Outcome = int | None
    Answer = Outcome | Callable[[Call], Outcome]
