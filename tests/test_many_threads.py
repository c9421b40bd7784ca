"""Eight threads do all that there is with the same maps: what each writes stays, and each export counts.

Without the global lock (3.14t, 3.15t) they do it at the same time.
"""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PYPY, growing_map, in_child
from _threads import together
from conftest import tuned

import cffimmap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

THREADS = 8
SECONDS = 1.5
PAGE = cffimmap.PAGESIZE

# What the position may meet, which all threads move, on a map that they resize.
ALLOWED = [
    "seek out of range",
    "read byte out of range",
    "mmap resized during the operation",
]

# Each thread has so many bytes of each map for itself.
OWN = 64

LENGTHS = [PAGE, 2 * PAGE, 5 * PAGE, 40 * PAGE]


pytestmark = pytest.mark.usefixtures("frequent_switches")


class Part:
    """What one thread has of a map, and what it has written there."""

    def __init__(self, m: Any, number: int) -> None:
        self.m = m
        self.start = number * OWN
        self.random = random.Random(number)
        self.written = bytearray(m[self.start : self.start + OWN])

    def range(self) -> tuple[int, int]:
        """Some of its bytes, at least one."""
        start = self.random.randrange(OWN)
        return start, self.random.randrange(start, OWN) + 1

    def check(self) -> None:
        assert self.m[self.start : self.start + OWN] == self.written

    def set_one(self) -> None:
        start, _ = self.range()
        self.written[start] = self.m[self.start + start] = self.random.randrange(256)

    def set_slice(self) -> None:
        start, end = self.range()
        data = bytes(self.random.randrange(256) for _ in range(end - start))
        self.m[self.start + start : self.start + end] = self.random.choice([bytes, bytearray, memoryview])(
            data
        )
        self.written[start:end] = data

    def set_steps(self) -> None:
        start, end = self.range()
        data = bytes(len(range(start, end, 3)))
        self.m[self.start + start : self.start + end : 3] = data
        self.written[start:end:3] = data

    def set_by_a_view(self) -> None:
        start, end = self.range()
        with memoryview(self.m) as view:
            octet = view[self.start + start]
            # Where a map is resized under it, which PyPy allows, it may have lost the map.
            if not PYPY:
                assert octet == self.written[start]
                view[self.start + start : self.start + end] = b"v" * (end - start)
                self.written[start:end] = b"v" * (end - start)

    def move(self) -> None:
        start, end = self.range()
        target = self.random.randrange(OWN - (end - start) + 1)
        self.m.move(self.start + target, self.start + start, end - start)
        self.written[target : target + end - start] = self.written[start:end]

    def find(self) -> None:
        start, end = self.range()
        needle = bytes(self.written[start:end])
        for name in ("find", "rfind"):
            found = getattr(self.m, name)(needle, self.start, self.start + OWN)
            assert found == self.start + getattr(self.written, name)(needle)

    def get(self) -> None:
        start, end = self.range()
        assert self.m[self.start + start] == self.written[start]
        assert self.m[self.start + start : self.start + end : 2] == self.written[start:end:2]

    def resize(self) -> None:
        """Never to less than all threads have."""
        try:
            self.m.resize(self.random.choice(LENGTHS))
        except BufferError:
            # Another thread has a view.
            assert not PYPY

    def use_the_position(self) -> None:
        """It is everybody's, so that nothing is known of what is read."""
        try:
            self.m.seek(self.random.randrange(PAGE // 2))
            assert len(self.m.read(5)) <= 5
            self.m.readline()
            self.m.seek(-1, 1)
            self.m.read_byte()
            assert 0 <= self.m.tell() <= LENGTHS[-1]
        except ValueError as error:
            if str(error) not in ALLOWED:
                raise

    def ask(self) -> None:
        assert len(self.m) in LENGTHS
        assert self.m.size() in LENGTHS
        for _ in range(20):
            # Not the length in the midst of a resize.
            assert "length=0," not in repr(self.m)
        self.m.flush(0, PAGE)

    def do_something(self) -> None:
        uses: list[Callable[[], None]] = [
            self.set_one, self.set_slice, self.set_steps, self.set_by_a_view, self.move, self.find, self.get,
            self.resize, self.use_the_position, self.ask,
        ]  # fmt: skip
        self.random.choice(uses)()
        self.check()


def file_map(path: Path) -> Any:
    path.write_bytes(bytes(PAGE))
    with path.open("r+b") as file:
        return cffimmap.mmap(file.fileno(), 0)


@pytest.mark.parametrize("tuning", [{}, {"long": 16, "part": 64}], ids=["usual", "without the lock"])
def test_what_each_writes_stays(tmp_path: Path, tuning: dict[str, int]) -> None:
    """Also where most calls and each resize are long ones, which run without the interpreter's lock."""
    assert THREADS * OWN <= PAGE
    maps = [file_map(tmp_path / "shared"), growing_map(PAGE)]
    end = time.monotonic() + SECONDS

    def work(number: int) -> None:
        parts = [Part(m, number) for m in maps]
        while time.monotonic() < end:
            for part in parts:
                part.do_something()

    with tuned(**tuning):
        together(THREADS, work)
    for m in maps:
        m.close()
        assert m.closed


def test_a_line_that_others_cut_off_is_not_read() -> None:
    """It is found without the interpreter's lock, and may be a short one there, which is read with it."""
    length = 64 * PAGE
    lines = b"yyyy\n" * 100

    def use(m: Any, number: int) -> None:
        if number < 2:
            m.seek(PAGE // 2)
            line = m.readline()
            # PyPy finds and reads in two steps. The position may lie beyond the end.
            assert PYPY or line in (b"", b"yyyy\n") or len(line) >= len(lines) - 5
        elif number == 2:
            m.seek(length - len(lines) + 5)
        else:
            m.resize(PAGE)
            m.resize(length)
            m[-len(lines) :] = lines

    def work(number: int, m: Any, end: float) -> None:
        while time.monotonic() < end:
            try:
                use(m, number)
            except ValueError as error:
                if str(error) not in ALLOWED:
                    raise

    def in_threads() -> None:
        m = growing_map(length)
        with tuned(long=1000):
            together(4, partial(work, m=m, end=time.monotonic() + SECONDS))
        m.close()

    in_child(in_threads)


def use_for_ever(m: Any, number: int) -> None:
    part = Part(m, number)
    while True:
        part.do_something()


def test_one_of_them_closes(tmp_path: Path) -> None:
    """All others are told that it is closed, whatever they were doing."""

    def work(number: int, m: Any) -> None:
        if number:
            with pytest.raises(ValueError, match=r"^mmap closed or invalid$"):
                use_for_ever(m, number)
            return
        time.sleep(0.01)
        while not m.closed:
            try:
                m.close()
            except BufferError:
                assert not PYPY

    for round_ in range(10):
        for m in (file_map(tmp_path / str(round_)), growing_map(PAGE)):
            together(THREADS, partial(work, m=m))
            assert m.closed


@pytest.mark.skipif(PYPY, reason="PyPy closes under a view")
def test_an_export_counts_while_others_come_and_go() -> None:
    m = growing_map(PAGE)
    m[:5] = b"hello"
    kept = memoryview(m)
    end = time.monotonic() + SECONDS

    def work(number: int) -> None:
        while time.monotonic() < end:
            for _ in range(50):
                with memoryview(m) as view, memoryview(m):
                    assert view[1] == ord("e")
            for take_away in (m.close, lambda: m.resize(2 * PAGE)) if number % 2 else ():
                with pytest.raises(BufferError):
                    take_away()

    together(THREADS, work)
    assert bytes(kept[:5]) == b"hello"
    kept.release()
    m.resize(2 * PAGE)
    m.close()
    assert m.closed


def test_another_thread_than_the_maker_s_may_end_it(tmp_path: Path) -> None:
    """What the maker had exported and released is no hindrance, at once."""
    for round_ in range(20):
        files = [tmp_path / f"{round_}-{i}" for i in range(THREADS)]
        maps = [file_map(file) if i % 2 else growing_map(PAGE) for i, file in enumerate(files)]
        for m in maps:
            bytes(memoryview(m))

        def work(number: int, maps: list[Any] = maps) -> None:
            m = maps[number]
            m.resize(2 * PAGE)
            if number < THREADS // 2:
                m.close()
            else:
                with m:
                    assert m[0] == 0

        together(THREADS, work)
        assert all(m.closed for m in maps)
