"""Allocations that fail, each in its turn: the map stays open, as long as it was, and its position where it was."""

from __future__ import annotations

import importlib.util

import pytest
from _files import run_python
from conftest import PYPY

# In a process of its own, as coverage allocates, too.
SCRIPT = """
import _testcapi
import tempfile
import cffimmap
from cffimmap._interpreter import tune

FIRST, SIZE = 17, 1 << 14
file = tempfile.TemporaryFile()
file.truncate(SIZE)
needle, data = bytearray(b"zzz"), bytearray(300)
calls = [
    lambda m: cffimmap.mmap(file.fileno(), 0).close(),
    lambda m: cffimmap.mmap(file.fileno(), 0, access=cffimmap.ACCESS_READ).close(),
    lambda m: cffimmap.mmap(-1, SIZE).close(),
    lambda m: m.find(needle, 0),
    lambda m: m.rfind(b"zzz", 0),
    lambda m: b"z" in m,
    lambda m: m.read(300),
    lambda m: m.readline(),
    lambda m: m.write(data),
    lambda m: m.seek(5000),
    lambda m: m.move(0, 5, 300),
    lambda m: m.flush(),
    lambda m: m.flush(0, flags=cffimmap.MS_SYNC),
    lambda m: m.size(),
    lambda m: m[3:9000],
    lambda m: m[3:9000:7],
    lambda m: m.__setitem__(slice(0, 300), data),
    lambda m: m.__setitem__(slice(0, 600, 2), data),
    lambda m: memoryview(m).release(),
    lambda m: m.resize(2 * SIZE),
]


def failures(call, m):
    count = 0
    for number in range(40):
        m.seek(FIRST)
        _testcapi.set_nomemory(number, number + 1)
        try:
            call(m)
        except MemoryError:
            failed = True
        else:
            failed = False
        finally:
            _testcapi.remove_mem_hooks()
        if failed:
            assert (m.tell(), len(m)) == (FIRST, SIZE), number
        elif len(m) != SIZE:
            m.resize(SIZE)
        count += failed
    return count


for long, part in ((1 << 16, 1 << 20), (2, 50)):
    tune(long=long, part=part)
    for number, call in enumerate(calls):
        with cffimmap.mmap(file.fileno(), 0) as m:
            print(long, number, failures(call, m) > 0)
"""


@pytest.mark.skipif(
    PYPY or importlib.util.find_spec("_testcapi") is None, reason="the interpreter cannot have them fail"
)
def test_a_failed_allocation_changes_nothing() -> None:
    lines = run_python(SCRIPT).splitlines()
    assert len(lines) == 40
    # Most of the calls allocate.
    assert sum(line.endswith("True") for line in lines) > 20
