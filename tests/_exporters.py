"""What the tests of lifetime share: the ways to hold a map's memory, and a process of its own for what may crash."""

from __future__ import annotations

import ctypes
import importlib
import os
import pickle
import re
import signal
import struct
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cffimmap
from cffimmap._native import ffi

if sys.platform == "win32":
    from _handles import handles_of, views_of

if TYPE_CHECKING:
    from collections.abc import Callable

PYPY = sys.implementation.name == "pypy"

# Its `struct` refuses exporters written in Python, and takes a memoryview of one.
PYPY_8 = PYPY and sys.pypy_version_info >= (8,)  # type: ignore[attr-defined, unused-ignore]

# Seconds after which a child process is taken for hanging.
PATIENCE = 180

try:
    numpy: Any = importlib.import_module("numpy")
except ImportError:
    numpy = None


class Exporter(NamedTuple):
    """One way to hold the memory of a map, and what can then be read from it, as bytes in any order."""

    name: str
    hold: Callable[[Any], Any]
    read: Callable[[Any], bytes] = bytes


def _grandchild(m: Any) -> memoryview:
    """A view whose ancestors are all released."""
    with memoryview(m) as first, first[:] as second:
        return second[:]


def _pickle_buffer(m: Any) -> Any:
    return pickle.PickleBuffer(m)


def _nothing(_: object) -> bytes:
    return b""


def _groups(matches: Any) -> bytes:
    return b"".join(match.group() for match in matches)


def _scanned(scanner: Any) -> bytes:
    return _groups(iter(scanner.search, None))


def _unpacked(rows: Any) -> bytes:
    return b"".join(row[0] for row in rows)


def _iter_unpack(m: Any) -> Any:
    return struct.iter_unpack("16s", memoryview(m) if PYPY_8 else m)


EXPORTERS = [
    Exporter("memoryview", memoryview),
    Exporter("read-only view", lambda m: memoryview(m).toreadonly()),
    Exporter("slice", lambda m: memoryview(m)[16:32]),
    Exporter("slice with a step", lambda m: memoryview(m)[::-2]),
    Exporter("empty slice", lambda m: memoryview(m)[3:3]),
    Exporter("cast", lambda m: memoryview(m).cast("I")),
    Exporter("cast to two dimensions", lambda m: memoryview(m).cast("B", [16, len(m) // 16])),
    Exporter("view of a view", lambda m: memoryview(memoryview(m)[8:])[8:]),
    Exporter("view of released views", _grandchild),
    Exporter("iterator of a view", lambda m: iter(memoryview(m))),
    Exporter("re.finditer", lambda m: re.finditer(rb"(?s).", m), _groups),
    Exporter("re scanner", lambda m: re.compile(rb"(?s).").scanner(m), _scanned),  # type: ignore[attr-defined]
    Exporter("struct.iter_unpack", _iter_unpack, _unpacked),
    Exporter("ctypes array", lambda m: (ctypes.c_char * len(m)).from_buffer(m)),
    Exporter("ctypes number", lambda m: ctypes.c_uint64.from_buffer(m, 8)),
    Exporter("cffi from_buffer", ffi.from_buffer, lambda held: bytes(ffi.buffer(held))),
    # PyPy 8 asks the map anew when it is read.
    Exporter("PickleBuffer", _pickle_buffer, _nothing if PYPY_8 else bytes),
]
if numpy is not None:
    EXPORTERS += [
        Exporter("numpy.frombuffer", lambda m: numpy.frombuffer(m, "u1"), lambda held: bytes(held.tobytes())),
        Exporter("numpy view", lambda m: numpy.asarray(m)[4:8].T, lambda held: bytes(held.tobytes())),
    ]


def fork() -> int:
    """`os.fork`, which warns in a process that has other threads, from CPython 3.12 on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def in_child(work: Callable[[], None]) -> None:
    """Runs a function in a forked process, so that a crash there is a failure here.

    Where processes do not fork it runs in this one: a crash ends the tests, and is no less a failure.
    """
    if not hasattr(os, "fork"):
        work()
        return
    reader, writer = os.pipe()
    child = fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(PATIENCE)
            work()
            status = 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        report = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code == 0, report or f"the process was ended by {signal.Signals(-code).name}"


def growing_map(length: int) -> cffimmap.mmap:
    """Anonymous memory that can grow: on Linux the shared one cannot."""
    if hasattr(cffimmap, "MAP_PRIVATE"):
        return cffimmap.mmap(-1, length, cffimmap.MAP_PRIVATE)
    return cffimmap.mmap(-1, length)


if sys.platform == "win32":

    def ranges_of(path: Path) -> int:
        """How many ranges of this process's memory are mapped from a file."""
        return views_of(path)

    def descriptors_of(path: Path) -> int:
        """How many of this process's handles are of a file, those behind descriptors among them."""
        return handles_of(path)

else:

    def ranges_of(path: Path) -> int:
        """How many ranges of this process's memory are mapped from a file."""
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
        return sum(line.endswith((str(path), f"{path} (deleted)")) for line in lines)

    def descriptors_of(path: Path) -> int:
        """How many of this process's descriptors are of a file."""
        count = 0
        for entry in Path("/proc/self/fd").iterdir():
            try:
                count += entry.readlink() == path
            except FileNotFoundError:  # the descriptor that lists the folder
                continue
        return count
