"""Small helpers of the behaviour tests."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cffimmap
from cffimmap._native import WINDOWS

PAGE = cffimmap.PAGESIZE

# What an offset must be a multiple of: PAGE, but on Windows.
GRANULARITY = cffimmap.ALLOCATIONGRANULARITY

# The bytes in the file of the fixture `path`: two whole steps of offsets and a part of one.
SIZE = 2 * GRANULARITY + 3808


def open_descriptors() -> set[int]:
    """The descriptors that this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        # The listing's own is among them, and closed by now.
        with suppress(OSError):
            os.fstat(int(name))
            found.add(int(name))
    return found


def open_files() -> int:
    """How many descriptors this process has open; on Windows, how many handles."""
    if not WINDOWS:
        return len(open_descriptors())
    # GetProcessHandleCount would do, but Wine 8 has it answer 0. Handles are small multiples of 4.
    kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined, unused-ignore]
    flags = ctypes.byref(ctypes.c_uint32())
    return sum(kernel.GetHandleInformation(ctypes.c_void_p(handle), flags) for handle in range(4, 4096, 4))


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
    """The compiled part with some of its functions replaced: they note what they are asked, and answer `answer`."""

    def __init__(self, real: Any, *replaced: str) -> None:
        self._real = real
        self._replaced = replaced
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.answer = 0

    def __getattr__(self, name: str) -> Any:
        if name not in self._replaced:
            return getattr(self._real, name)

        def function(base: Any, *arguments: Any) -> int:  # noqa: ARG001, the address is the mapping's business
            self.calls.append((name, arguments))
            return self.answer

        return function
