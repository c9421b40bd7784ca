"""PyPy: an access that another thread's resize comes into, also one that fails and leaves all as it was."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PYPY
from _files import FakeLibrary
from _needs import constant, needs
from conftest import tuned

import cffimmap
from cffimmap._interpreter import memory_of
from cffimmap._native import ABSENT, lib

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.skipif(not PYPY, reason="CPython's accesses are made under a lock"),
    needs("MAP_PRIVATE"),
]

CONTENTS = b"hello\nworld\n"

BUSY = lib.CM_BUSY
PAGE = cffimmap.PAGESIZE

# More than there are addresses.
TOO_MUCH = 1 << 47


class Meddled:
    """What accesses the memory, in the place of a window's buffer or pointer. Something happens in the midst of it."""

    def __init__(self, real: Any, meddle: Callable[[], bool]) -> None:
        self.real = real
        self.meddle = meddle

    def __getitem__(self, key: Any) -> Any:
        if not self.meddle():
            return self.real[key]
        # Of pages that were nobody's.
        return bytes(len(self.real[key])) if isinstance(key, slice) else 0

    def __setitem__(self, key: Any, value: Any) -> None:
        before = self.real[key]
        self.real[key] = value
        if self.meddle():
            # It was written to pages that were nobody's.
            self.real[key] = before


@pytest.fixture
def m() -> Any:
    with cffimmap.mmap(-1, cffimmap.PAGESIZE, constant("MAP_PRIVATE")) as m:
        m[: len(CONTENTS)] = CONTENTS
        yield m


def private(m: Any) -> Any:
    """What the map holds, with its private names."""
    return memory_of(m)


def fail_to_resize(m: Any) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
        m.resize(TOO_MUCH)


def resize(m: Any) -> None:
    m.resize(2 * cffimmap.PAGESIZE)


def resize_there_and_back(m: Any) -> None:
    m.resize(2 * cffimmap.PAGESIZE)
    m.resize(cffimmap.PAGESIZE)


EVENTS = [fail_to_resize, resize, resize_there_and_back]


def meddle_with(m: Any, event: Callable[[Any], object], which: int = 1) -> list[int]:
    """Has `event` happen in the midst of the next access, or a later one. What is returned has so many items then."""
    window = private(m)._window
    happened: list[int] = []

    def meddle() -> bool:
        happened.append(1)
        if len(happened) == which:
            event(m)
        return len(happened) == which

    window.buffer = Meddled(window.buffer, meddle)
    window.pairs = Meddled(window.pairs, meddle)
    window.pointer = Meddled(window.pointer, meddle)
    return happened


READS: dict[str, Callable[[Any], Any]] = {
    "index": lambda m: (m[4], b"hello\n"[4]),
    "slice": lambda m: (m[1:7], b"ello\nw"),
    "two bytes": lambda m: (m[0:2], b"he"),
    "from the start": lambda m: (m[:7], b"hello\nw"),
    "steps": lambda m: (m[1:7:2], b"el\n"),
    "steps back": lambda m: (m[5:0:-2], b"\nle"),
    "steps of one": lambda m: (m[1:7:1], b"ello\nw"),
    "iteration": lambda m: (next(iter(m)), b"h"),
    "read": lambda m: (m.read(7), b"hello\nw"),
    "read_byte": lambda m: (m.read_byte(), ord("h")),
}

WRITES: dict[str, Callable[[Any], object]] = {
    "index": lambda m: m.__setitem__(0, ord("J")),
    "slice": lambda m: m.__setitem__(slice(0, 1), b"J"),
    "two bytes": lambda m: m.__setitem__(slice(0, 2), b"Je"),
    "bytearray": lambda m: m.__setitem__(slice(0, 3), bytearray(b"Jel")),
    "memoryview": lambda m: m.__setitem__(slice(0, 3), memoryview(b"Jel")),
    "write a bytearray": lambda m: m.write(bytearray(b"Jel")),
    "write": lambda m: m.write(b"J"),
    "write_byte": lambda m: m.write_byte(ord("J")),
}

each_event = pytest.mark.parametrize("event", EVENTS)


@each_event
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_what_is_read_is_true(m: Any, read: Callable[[Any], Any], event: Callable[[Any], object]) -> None:
    happened = meddle_with(m, event)
    found, expected = read(m)
    assert found == expected
    assert happened


@pytest.mark.parametrize("event", [fail_to_resize, resize_there_and_back])
def test_an_index_from_the_end_is_that_of_the_same_length(m: Any, event: Callable[[Any], object]) -> None:
    happened = meddle_with(m, event)
    assert m[4 - cffimmap.PAGESIZE] == CONTENTS[4]
    assert happened


@each_event
def test_a_line_is_true(m: Any, event: Callable[[Any], object]) -> None:
    """The line's end is found by C, which wants the address."""
    pointer = private(m)._window.pointer
    happened = meddle_with(m, event)
    private(m)._window.pointer = pointer
    assert m.readline() == b"hello\n"
    assert m.tell() == 6
    assert happened


@each_event
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_is_written_is_there(
    m: Any, write: Callable[[Any], object], event: Callable[[Any], object]
) -> None:
    happened = meddle_with(m, event)
    write(m)
    assert m[: len(CONTENTS)] == b"J" + CONTENTS[1:]
    assert m.tell() in (0, 1, 3)
    assert happened


def test_an_export_shows_what_is_mapped_now(m: Any) -> None:
    assert len(memoryview(m)) == PAGE
    for pages in (2, 1, 3):
        m.resize(pages * PAGE)
        for _ in range(2):
            view = memoryview(m)
            assert len(view) == pages * PAGE
            m[0] = pages
            assert view[0] == pages
    m.close()
    with pytest.raises(ValueError, match="closed"):
        memoryview(m)


def test_a_view_that_is_released_is_nobody_elses(m: Any) -> None:
    for _ in range(2):
        m.__buffer__(0).release()
        view = memoryview(m)
        with memoryview(m) as other:
            assert bytes(other[:5]) == b"hello"
        assert bytes(view[:5]) == b"hello"


SEARCHES: dict[str, Callable[[Any], Any]] = {
    "find": lambda m: m.find(b"world", 0),
    "rfind": lambda m: m.rfind(b"world", 0, 12),
    "to the end": lambda m: m.find(b"world", 0, 11),
    "from the start": lambda m: m.rfind(b"world", 6, 11),
    "in": lambda m: b"w" in m and 6,
}


@each_event
@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_what_is_found_near_is_true(
    m: Any, search: Callable[[Any], Any], event: Callable[[Any], object]
) -> None:
    happened = meddle_with(m, event)
    assert search(m) == 6
    assert happened


@each_event
@pytest.mark.parametrize("needle", [b"world", b"world\n" + bytes(40)])
def test_what_is_found_is_true(
    m: Any, monkeypatch: pytest.MonkeyPatch, needle: bytes, event: Callable[[Any], object]
) -> None:
    m.move(1000, 0, len(CONTENTS))
    library = FakeLibrary(lib, "cm_find_near", "cm_find_bytes_near")

    def answer() -> int:
        event(m)
        return BUSY

    library.answer = answer
    monkeypatch.setattr("cffimmap._pypy.lib", library)
    assert m.find(needle, 12) == 1006
    assert m.rfind(needle, 12) == 1006
    assert len(library.calls) == 2


def test_a_search_tells_that_a_span_has_no_memory(m: Any) -> None:
    owner = private(m)._owner()
    assert lib.cm_find_near(owner, 0, PAGE, ord("w"), 1, False, PAGE) == 6
    assert lib.cm_find_bytes_near(owner, -PAGE, PAGE, b"w", 1, True, PAGE) == 6
    assert lib.cm_find_bytes_near(owner, 0, PAGE, b"absent", 6, False, PAGE) == ABSENT
    assert lib.cm_find_bytes_near(owner, 0, PAGE, b"absent", 6, False, PAGE - 1) == BUSY
    m.close()
    assert lib.cm_find_near(owner, 0, PAGE, ord("w"), 1, False, PAGE) == BUSY
    assert lib.cm_find_bytes_near(owner, 0, PAGE, b"w", 1, True, PAGE) == BUSY


def test_a_line_whose_map_another_thread_cuts_between_two_parts(
    m: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    m.resize(2 * PAGE)
    m[:] = b"x" * 2 * PAGE
    m.seek(PAGE + 100)
    library = FakeLibrary(lib, "cm_run_line_end")

    def answer() -> int:
        m.resize(PAGE)
        return int(library.calls[-1][1][1])

    library.answer = answer
    monkeypatch.setattr("cffimmap._pypy.lib", library)
    with tuned(long=16, part=64):
        assert m.readline() == b""
    assert library.calls == [("cm_run_line_end", (PAGE + 100, PAGE + 164))]
    assert m.tell() == PAGE + 100


@each_event
@pytest.mark.parametrize("which", [1, 2], ids=["reading", "writing"])
@pytest.mark.parametrize("target", [20, 8])
def test_what_is_moved_is_true(m: Any, target: int, which: int, event: Callable[[Any], object]) -> None:
    """Also where it overlaps: what was read is written again, not read again."""
    happened = meddle_with(m, event, which)
    m.move(target, 0, len(CONTENTS))
    assert m[target : target + len(CONTENTS)] == CONTENTS
    assert len(happened) >= which


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_nothing_is_written_beyond_the_end_of_a_map_that_another_thread_has_cut(
    m: Any, write: Callable[[Any], object]
) -> None:
    """It has seen the window from before."""
    memory = private(m)
    m.resize(2 * cffimmap.PAGESIZE)
    assert m[-1] == 0
    window = memory._window
    assert window.size == 2 * cffimmap.PAGESIZE
    m.seek(cffimmap.PAGESIZE)
    m.resize(cffimmap.PAGESIZE)
    memory._window = window
    with pytest.raises((IndexError, ValueError)):
        write(Shifted(m, cffimmap.PAGESIZE))
    assert window.pointer[cffimmap.PAGESIZE] == 0
    assert m[: len(CONTENTS)] == CONTENTS


class Shifted:
    """A map whose indices begin elsewhere."""

    def __init__(self, m: Any, start: int) -> None:
        self.m = m
        self.start = start

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, slice):
            key = slice(key.start + self.start, key.stop + self.start)
        else:
            key += self.start
        self.m[key] = value

    def write(self, data: bytes) -> int:
        return int(self.m.write(data))

    def write_byte(self, octet: int) -> None:
        self.m.write_byte(octet)


def test_a_change_that_is_taken_back_is_counted(m: Any) -> None:
    owner = private(m)._window.owner
    before = owner.changes
    fail_to_resize(m)
    assert private(m)._owner() is owner
    assert owner.length == len(m) == cffimmap.PAGESIZE
    assert owner.changes > before
