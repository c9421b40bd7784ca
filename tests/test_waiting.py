"""Whoever closes or resizes waits for the calls that run, which is soon over: nobody is refused for another's call.

And what several threads do by one position is done one after the other: nothing is given out twice.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from _bell import Bell, RaisingBell, in_a_child_of_its_own
from _exporters import PATIENCE, PYPY, descriptors_of, growing_map, in_child, ranges_of
from _needs import needs
from _threads import together

import cffimmap
from cffimmap._interpreter import tune

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = cffimmap.PAGESIZE

# So long that no search of it is short. Memory that was never written takes none.
LENGTH = 32 << 20
ENDLESS = 512 << 20

# How an access may end that lost its memory on the way.
LOST = ("mmap closed or invalid", "mmap resized during the operation")

exact = pytest.mark.skipif(PYPY, reason="PyPy cannot tell whether memory is exported")
rings = needs("signal.setitimer")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is all hole."""
    file = tmp_path / "mapped"
    file.touch()
    os.truncate(file, LENGTH)
    return file


def anonymous(_: Path) -> cffimmap.mmap:
    return growing_map(LENGTH)


def map_of(path: Path) -> cffimmap.mmap:
    with path.open("r+b") as file:
        return cffimmap.mmap(file.fileno(), 0)


each_memory = pytest.mark.parametrize("make", [anonymous, map_of])


def search(m: Any) -> None:
    assert m.find(b"zz", 0) == -1


def search_backward(m: Any) -> None:
    assert m.rfind(b"zz", 0) == -1


def index(m: Any) -> None:
    for _ in range(100):
        assert m[5] == 0


def flush(m: Any) -> None:
    m[9] = 0
    m.flush(0, PAGE)


class Workers:
    """Threads that use a map until it is closed, or they are told to stop."""

    def __init__(self, m: Any, *uses: Callable[[Any], object]) -> None:
        self.wrong: list[str] = []
        self.stopped = False
        self._m = m
        self._begun = threading.Barrier(len(uses) + 1)
        self._threads = [threading.Thread(target=self._work, args=(use,), daemon=True) for use in uses]
        for thread in self._threads:
            thread.start()
        self._begun.wait()

    def _work(self, use: Callable[[Any], object]) -> None:
        self._begun.wait()
        while True:
            try:
                use(self._m)
            except ValueError as error:
                if str(error) not in LOST:
                    self.wrong.append(f"{use!r}: {error!r}")
            except BaseException as error:
                self.wrong.append(f"{use!r}: {error!r}")
                return
            if self.stopped or self._m.closed:
                return

    def end(self) -> None:
        self.stopped = True
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert self.wrong == []


@each_memory
def test_close_waits_for_calls_and_is_not_refused(path: Path, make: Callable[[Path], cffimmap.mmap]) -> None:
    def work() -> None:
        for _ in range(10):
            m = make(path)
            workers = Workers(m, search, search_backward, index)
            time.sleep(0.01)
            m.close()
            assert m.closed
            workers.end()
        assert (ranges_of(path), descriptors_of(path)) == (0, 0)

    in_child(work)


@each_memory
def test_resize_waits_for_calls_and_is_not_refused(path: Path, make: Callable[[Path], cffimmap.mmap]) -> None:
    def work() -> None:
        m = make(path)
        workers = Workers(m, search, search_backward, index, flush)
        for i in range(50):
            size = LENGTH - PAGE * (i % 2)
            m.resize(size)
            assert len(m) == size
        workers.end()
        m.close()

    in_child(work)


def test_several_threads_close_at_once(path: Path) -> None:
    def work() -> None:
        for _ in range(20):
            m = map_of(path)
            workers = Workers(m, search, index)
            Workers(m, *[lambda m: m.close()] * 4).end()
            assert m.closed
            workers.end()
        assert (ranges_of(path), descriptors_of(path)) == (0, 0)

    in_child(work)


def test_several_threads_resize_at_once() -> None:
    def work() -> None:
        m = growing_map(LENGTH)
        workers = Workers(
            m,
            search,
            index,
            lambda m: m.resize(LENGTH // 2),
            lambda m: m.resize(LENGTH),
            lambda m: m.resize(PAGE),
        )
        time.sleep(0.3)
        workers.end()
        m.resize(PAGE)
        assert m[:] == bytes(PAGE)
        m.close()

    in_child(work)


def test_others_go_on_after_a_close_has_waited() -> None:
    """What came to the map while it was being closed hears so, and does not wait for ever."""

    def work() -> None:
        m = growing_map(LENGTH)
        workers = Workers(m, *[search] * 3, *[index] * 3, len, lambda m: m.tell())
        time.sleep(0.02)
        m.close()
        workers.end()

    in_child(work)


@rings
class TestASignal:
    def test_it_ends_the_waiting_of_close_and_the_map_is_as_before(self) -> None:
        def work() -> None:
            # A search that is not cut into parts, of as much as takes its time: the kernel's one zero page.
            tune(part=ENDLESS)
            bell = RaisingBell()
            interrupted = 0
            for _ in range(15):
                m = growing_map(ENDLESS)
                m[5] = 7
                workers = Workers(m, *[search] * 4)
                # By then they are at it.
                time.sleep(0.02)
                if bell.through(m.close, 5e-3) and not m.closed:
                    interrupted += 1
                    assert (m[5], len(m), m.find(b"\7"), m.tell()) == (7, ENDLESS, 5, 0)
                    m[5] = 8
                    m.resize(PAGE)
                    assert m[5] == 8
                m.close()
                assert m.closed
                workers.end()
            assert bell.rung == bell.caught
            assert interrupted

        in_a_child_of_its_own(work)

    def test_it_ends_the_waiting_of_resize_and_the_map_is_as_before(self) -> None:
        def work() -> None:
            bell = RaisingBell()
            m = growing_map(LENGTH)
            m[5] = 7
            workers = Workers(m, *[search] * 4)
            interrupted = 0
            for i in range(30):
                interrupted += bell.through(partial(m.resize, LENGTH - PAGE * (i % 2)), 5e-3)
                assert len(m) in (LENGTH, LENGTH - PAGE)
                assert (m[5], m.find(b"\7", 0), m.tell()) == (7, 5, 0)
            workers.end()
            m.close()
            assert bell.rung == bell.caught == interrupted > 0

        in_a_child_of_its_own(work)

    def test_it_ends_the_waiting_for_the_disk(self, path: Path) -> None:
        """A flush of much may take long, and is not cut into parts."""

        def work() -> None:
            bell = RaisingBell()
            for _ in range(3):
                m = map_of(path)
                m[::PAGE] = bytes([1]) * (LENGTH // PAGE)
                thread = threading.Thread(target=m.flush)
                thread.start()
                bell.through(m.close, 5e-3)
                if not m.closed:
                    assert (m[PAGE], m[5], len(m)) == (1, 0, LENGTH)
                thread.join(PATIENCE)
                assert not thread.is_alive()
                m.close()
                assert m.closed
            assert bell.rung == bell.caught
            assert (ranges_of(path), descriptors_of(path)) == (0, 0)

        in_a_child_of_its_own(work)

    @pytest.mark.parametrize(
        "then", [lambda m: m.close(), lambda m: m.resize(PAGE), lambda m: m.resize(LENGTH)]
    )
    @pytest.mark.parametrize(
        "call",
        [
            lambda m: m.close(),
            lambda m: m.resize(LENGTH + PAGE),
            search,
            flush,
            index,
            lambda m: m[: 8 << 20],
        ],
    )
    def test_its_handler_may_ask_for_what_its_own_thread_waits_for(
        self, then: Callable[[Any], object], call: Callable[[Any], object]
    ) -> None:
        """It is refused, or the thread is when it goes on; neither waits for the other."""
        m: Any = None

        def ask() -> None:
            with contextlib.suppress(BufferError, ValueError):
                then(m)

        def work() -> None:
            nonlocal m
            bell = Bell(ask)
            for _ in range(2):
                m = growing_map(LENGTH)
                workers = Workers(m, search, search_backward)
                before = bell.rung
                bell.set(5e-3)
                while bell.rung == before and not m.closed:
                    with contextlib.suppress(BufferError, ValueError):
                        call(m)
                bell.off()
                if not m.closed:
                    assert m[5] == 0
                    m.resize(2 * PAGE)
                    m.close()
                assert m.closed
                workers.end()

        in_a_child_of_its_own(work)


def test_a_finaliser_may_close_and_resize_what_its_own_thread_is_using() -> None:
    class Last:
        def __init__(self, m: cffimmap.mmap, size: int) -> None:
            self.m, self.size, self.cycle = m, size, self

        def __del__(self) -> None:
            try:
                self.m.resize(self.size)
                self.m.close()
            except (BufferError, ValueError):
                pass

    def work() -> None:
        # CPython's collector comes as soon as anything is made, be it within a call of the map; PyPy's when it likes.
        if hasattr(gc, "set_threshold"):
            gc.set_threshold(1)
        for size in (PAGE, LENGTH + PAGE):
            for _ in range(10):
                m = growing_map(LENGTH)
                workers = Workers(m, search, search_backward)
                Last(m, size)
                for call in (search, flush, memoryview, lambda m: m.resize(LENGTH // 2), lambda m: m.close()):
                    with contextlib.suppress(BufferError, ValueError):
                        call(m)
                gc.collect()
                m.close()
                workers.end()

    in_child(work)


@exact
def test_an_export_comes_while_somebody_waits_to_close() -> None:
    """It is one like any other: whoever waits looks for it once more, and is refused if it is still there."""

    def work() -> None:
        for _ in range(15):
            m = growing_map(LENGTH)
            workers = Workers(m, *[search] * 4)
            closed: list[BaseException | None] = []

            def close(m: cffimmap.mmap = m, closed: list[BaseException | None] = closed) -> None:
                try:
                    m.close()
                    closed.append(None)
                except BaseException as error:
                    closed.append(error)

            closer = threading.Thread(target=close)
            closer.start()
            held = []
            while not closed:
                try:
                    with memoryview(m) as view:
                        held.append(view[5])
                except ValueError as error:
                    assert str(error) == LOST[0]  # noqa: PT017
            closer.join()
            if isinstance(closed[0], BufferError):
                # It came while the view lived.
                assert held
                m.close()
            else:
                assert closed == [None]
            assert m.closed
            assert not any(held)
            workers.end()

    in_child(work)


@pytest.mark.usefixtures("frequent_switches")
class TestOnePosition:
    """A map as a queue: what one thread takes, no other gets."""

    THREADS = 4
    RECORDS = 10_000

    def records(self) -> list[bytes]:
        return [b"%07d\n" % i for i in range(self.RECORDS)]

    @pytest.mark.parametrize("take", [lambda m: m.readline(), lambda m: m.read(8)], ids=["readline", "read"])
    def test_each_record_is_taken_once(self, take: Callable[[Any], bytes]) -> None:
        records = self.records()
        with cffimmap.mmap(-1, 8 * len(records)) as m:
            m[:] = b"".join(records)
            taken = together(self.THREADS, lambda _: list(iter(lambda: take(m), b"")))
            assert m.tell() == len(m)
        assert sorted(record for some in taken for record in some) == records
        # Each thread went forward.
        assert all(some == sorted(some) for some in taken)

    def test_each_line_of_any_length_is_taken_once(self) -> None:
        lines = [b"%d %s\n" % (i, b"x" * (i % 40)) for i in range(self.RECORDS)]
        with cffimmap.mmap(-1, sum(map(len, lines))) as m:
            m[:] = b"".join(lines)
            taken = together(self.THREADS, lambda _: list(iter(m.readline, b"")))
        assert Counter(line for some in taken for line in some) == Counter(lines)

    def test_each_byte_is_taken_once(self) -> None:
        contents = bytes(range(250)) * (self.RECORDS // 250) * 2
        with cffimmap.mmap(-1, len(contents)) as m:
            m[:] = contents

            def take(_: int) -> Counter[int]:
                found: Counter[int] = Counter()
                while True:
                    try:
                        found[m.read_byte()] += 1
                    except ValueError as error:
                        assert str(error) == "read byte out of range"  # noqa: PT017
                        return found

            taken: Counter[int] = Counter()
            for some in together(self.THREADS, take):
                taken += some
            assert m.tell() == len(m)
        assert taken == Counter(contents)

    def test_all_that_is_read_at_once_goes_to_one(self) -> None:
        for _ in range(50):
            with cffimmap.mmap(-1, PAGE) as m:
                answers = together(self.THREADS, lambda _: m.read())
            assert sorted(answers) == [b""] * (self.THREADS - 1) + [bytes(PAGE)]

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_each_record_is_written_to_a_place_of_its_own(self, kind: Callable[[bytes], Any]) -> None:
        records = self.records()
        with cffimmap.mmap(-1, 8 * len(records)) as m:

            def write(number: int) -> None:
                for record in records[number :: self.THREADS]:
                    assert m.write(kind(record)) == 8

            together(self.THREADS, write)
            assert m.tell() == len(m)
            written = m[:].splitlines(keepends=True)
            with pytest.raises(ValueError, match=r"^data out of range$"):
                m.write(b"x")
        assert sorted(written) == records

    def test_each_byte_is_written_to_a_place_of_its_own(self) -> None:
        with cffimmap.mmap(-1, self.THREADS * self.RECORDS) as m:

            def write(number: int) -> None:
                for _ in range(self.RECORDS):
                    m.write_byte(1 + number)

            together(self.THREADS, write)
            assert m.tell() == len(m)
            assert Counter(m[:]) == {1 + number: self.RECORDS for number in range(self.THREADS)}

    def test_each_step_of_a_seek_counts(self) -> None:
        with cffimmap.mmap(-1, self.THREADS * self.RECORDS) as m:
            places = together(self.THREADS, lambda _: [m.seek(1, os.SEEK_CUR) for _ in range(self.RECORDS)])
        assert sorted(place for some in places for place in some) == list(
            range(1, self.THREADS * self.RECORDS + 1)
        )
