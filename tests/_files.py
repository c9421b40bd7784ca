"""Small helpers of the behaviour tests."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _needs import needs

import cffimmap

if sys.platform == "win32":
    import msvcrt

    from _handles import close_handle, handles_to, make_sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAGE = cffimmap.PAGESIZE

# What an offset must be a multiple of: PAGE, but on Windows.
GRANULARITY = cffimmap.ALLOCATIONGRANULARITY

# The largest length that C can have.
SSIZE_MAX = sys.maxsize

# Where all of that is available, and a map may be as long.
LITTLE_ADDRESS_SPACE = SSIZE_MAX < 2**32
needs_addresses = pytest.mark.skipif(LITTLE_ADDRESS_SPACE, reason="needs the addresses of 64 bits")

# The bytes in the file of the fixture `path`: two whole steps of offsets and a part of one.
SIZE = 2 * GRANULARITY + 3808


if sys.platform == "win32":

    def open_descriptors() -> set[int]:
        """The files that this process has open, by their handles: a map has no descriptor of the C runtime."""
        return handles_to("File")

    def everything_open() -> set[int]:
        """The sections too; but not the locks of Python's, which every map has one of."""
        return handles_to("File", "Section")

    def close_behind_the_back(own: int) -> None:
        """Closes what a map keeps open."""
        close_handle(own)

    def let_have_holes(file: Any) -> None:
        """A file that is not sparse fills up when its end is written."""
        make_sparse(msvcrt.get_osfhandle(file.fileno()))

else:

    def open_descriptors() -> set[int]:
        """The descriptors that this process has open."""
        found = set()
        for name in os.listdir("/proc/self/fd"):
            # The listing's own is among them, and closed by now.
            with suppress(OSError):
                os.fstat(int(name))
                found.add(int(name))
        return found

    def everything_open() -> set[int]:
        """All that this process has open: descriptors."""
        return open_descriptors()

    def close_behind_the_back(own: int) -> None:
        """Closes what a map keeps open."""
        os.close(own)

    def let_have_holes(file: Any) -> None:
        """Nothing: every file may have holes."""


def each_call(table: Mapping[str, Any], needed: Mapping[str, str] | None = None) -> pytest.MarkDecorator:
    """The parameters `call` from a table.

    Args:
        table: calls by their names.
        needed: what some of them need (see `needs`), by their names.
    """
    needed = needed or {}
    return pytest.mark.parametrize(
        "call",
        [
            pytest.param(call, id=name, marks=[needs(needed[name])] if name in needed else [])
            for name, call in table.items()
        ],
    )


@dataclass(frozen=True)
class Index:
    """An integer that is no int."""

    value: int

    def __index__(self) -> int:
        return self.value


def run_python(program: str, *arguments: str) -> str:
    """Runs a program in another process of this interpreter, which must end well.

    Returns:
        What it wrote to stdout.
    """
    # Not in the project's own folder, where Python would find the package that is not built.
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class FakeLibrary:
    """The compiled part with some of its functions replaced: they note what they are asked, and answer `answer`.

    Attributes:
        calls: the names and arguments, without the addresses.
        answer: a number, or a function that is called for it.
    """

    def __init__(self, real: Any, *replaced: str) -> None:
        self._real = real
        self._replaced = replaced
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.answer: int | Callable[[], int] = 0

    def __getattr__(self, name: str) -> Any:
        if name not in self._replaced:
            return getattr(self._real, name)

        def function(base: Any, *arguments: Any) -> int:  # noqa: ARG001, the address is the mapping's business
            self.calls.append((name, arguments))
            return self.answer() if callable(self.answer) else self.answer

        return function
