"""Ctrl-C at any moment: a call that it ends was done or was not, the map is never between, and nothing stays behind.

Real signals come at random moments, in C too; a tracer comes at each moment of the package's Python code in turn. The
end of the stack is a third thing that may come anywhere.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from _bell import Bell, Interrupt, RaisingBell, at_each_step, collect, in_a_child_of_its_own, nothing_ignored
from _exporters import PYPY, descriptors_of, in_child, ranges_of
from _needs import constant, needs

import cffimmap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = needs("signal.setitimer", "/proc/self/maps", "/proc/self/fd")

PAGE = cffimmap.PAGESIZE
SIZE = 4 * PAGE
LONG = 16 * PAGE

# Each page begins with its number, and all else is a dot.
MARK = ord(".")
CONTENTS = b"".join(bytes([i + 1]) + b"." * (PAGE - 1) for i in range(LONG // PAGE))

MAP_PRIVATE = constant("MAP_PRIVATE")
MAP_SHARED = constant("MAP_SHARED")

# How often a signal comes in each of the tests that leave the moment to chance. 3,000 once in a while is not too many.
ROUNDS = int(os.environ.get("CFFIMMAP_INTERRUPTS", "100"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mapped"
    file.write_bytes(CONTENTS[:SIZE])
    return file


class Source:
    """Makes maps of SIZE bytes, without opening a file, where a signal would find other code than the package's."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.kind = kind
        self.file = -1 if kind == "anonymous" else os.open(path, os.O_RDWR)
        self.flags = MAP_SHARED if kind == "shared" else MAP_PRIVATE

    def bare(self) -> cffimmap.mmap:
        return cffimmap.mmap(self.file, SIZE, self.flags)

    def map(self) -> cffimmap.mmap:
        """One with the usual contents."""
        if self.file >= 0:
            os.ftruncate(self.file, SIZE)
            os.pwrite(self.file, CONTENTS[:SIZE], 0)
        m = self.bare()
        if self.kind == "anonymous":
            m[:] = CONTENTS[:SIZE]
        return m

    def check(self, m: cffimmap.mmap, sizes: tuple[int, ...] = (SIZE,), kept: int = SIZE) -> None:
        """Fails unless the map is closed, or open and whole, and then closes it.

        Args:
            m: the map.
            sizes: what it may be long.
            kept: so many bytes have not been taken away by a shrink, which brings zeros when it grows again.
        """
        if not m.closed:
            length = len(m)
            assert length in sizes
            kept = min(length, kept)
            assert (m[0], m[1]) == (1, MARK)
            assert m[length - 1] in (MARK, 0)
            assert m[:kept] == CONTENTS[:kept]
            # What is in the file and what is mapped of it must not come apart.
            assert m.size() == length
            assert m.find(b"\1", 0) == 0
            m.resize(2 * SIZE)
            m.resize(PAGE)
            assert m[:] == CONTENTS[:PAGE]
            m.close()
        assert m.closed
        with pytest.raises(ValueError, match=r"^mmap closed or invalid$"):
            m[0]

    def end(self) -> None:
        """Fails if there is a mapping or a descriptor of the file that nobody has."""
        if self.file >= 0:
            self.__del__()
            collect()
            assert (ranges_of(self.path), descriptors_of(self.path)) == (0, 0)

    def __del__(self) -> None:
        # In the parent of the process that it is used in, too.
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


each_kind = pytest.mark.parametrize("kind", ["shared", "private", "anonymous"])


def close_under_a_view(m: cffimmap.mmap) -> None:
    """On CPython it is refused as long as the view lives."""
    view = memoryview(m)
    for _ in range(8):
        try:
            m.close()
        except BufferError:
            assert not PYPY
    view.release()
    m.close()


def close_many(maps: list[cffimmap.mmap]) -> None:
    for m in maps:
        m.close()


def resize_up_and_down(m: cffimmap.mmap) -> None:
    for _ in range(4):
        m.resize(LONG)
        m.resize(SIZE)


def resize_down(m: cffimmap.mmap) -> None:
    for pages in (3, 2, 1):
        m.resize(pages * PAGE)


class TestASignalThatRaises:
    def rounds(
        self, source: Source, work: Callable[[cffimmap.mmap], object], longest: float, *sizes: int
    ) -> None:
        def run() -> None:
            bell = RaisingBell()
            for _ in range(ROUNDS):
                m = source.map()
                bell.through(partial(work, m), longest)
                source.check(m, (SIZE, *sizes))
            assert bell.rung == bell.caught > 0, (bell.rung, bell.caught)
            del m
            source.end()

        in_a_child_of_its_own(run)

    @each_kind
    def test_close_under_a_view(self, path: Path, kind: str) -> None:
        self.rounds(Source(path, kind), close_under_a_view, 1e-4)

    @each_kind
    def test_close(self, path: Path, kind: str) -> None:
        """Many maps in a row, as one is too short to be met often."""
        source = Source(path, kind)

        def run() -> None:
            bell = RaisingBell()
            for _ in range(ROUNDS // 4):
                maps = [source.map() for _ in range(8)]
                bell.through(partial(close_many, maps), 1e-4)
                for m in maps:
                    # Not `check`, which cuts the file that the others are of.
                    assert m.closed or m[:] == CONTENTS[:SIZE]
                    m.close()
            assert bell.rung == bell.caught > 0, (bell.rung, bell.caught)
            del m, maps
            source.end()

        in_a_child_of_its_own(run)

    @each_kind
    def test_resize(self, path: Path, kind: str) -> None:
        self.rounds(Source(path, kind), resize_up_and_down, 3e-4, LONG)

    @each_kind
    def test_resize_down(self, path: Path, kind: str) -> None:
        self.rounds(Source(path, kind), resize_down, 1e-4, PAGE, 2 * PAGE, 3 * PAGE)

    @each_kind
    @pytest.mark.parametrize("exported", [False, True])
    def test_maps_that_are_made_and_dropped(self, path: Path, kind: str, exported: bool) -> None:
        """An interrupt in a destructor would be lost, and the memory with it."""
        source = Source(path, kind)

        def make() -> None:
            for _ in range(8):
                m = source.bare()
                if exported:
                    memoryview(m)
                del m

        def run() -> None:
            bell = RaisingBell()
            for _ in range(ROUNDS):
                bell.through(make, 2e-4)
            assert bell.rung == bell.caught > 0, (bell.rung, bell.caught)
            source.end()

        in_a_child_of_its_own(run)

    def test_maps_in_cycles_that_are_collected(self, path: Path) -> None:
        source = Source(path, "shared")

        def make() -> None:
            for _ in range(4):
                m = source.bare()
                cycle: list[object] = [m, memoryview(m)]
                cycle.append(cycle)
                del m, cycle
            collect()

        def run() -> None:
            bell = RaisingBell()
            for _ in range(ROUNDS):
                bell.through(make, 3e-4)
            assert bell.rung == bell.caught > 0, (bell.rung, bell.caught)
            source.end()

        in_a_child_of_its_own(run)

    def test_with(self, path: Path) -> None:
        """Where nothing can come between the map and its `with`, the file is as closed as after any end."""
        source = Source(path, "shared")

        def run() -> None:
            bell = RaisingBell()

            def work() -> None:
                for _ in range(4):
                    with source.bare() as m:
                        m.find(b"\3")

            for _ in range(ROUNDS):
                bell.through(work, 1e-4)
            assert bell.rung == bell.caught > 0, (bell.rung, bell.caught)
            source.end()

        in_a_child_of_its_own(run)


def iterate(m: cffimmap.mmap) -> None:
    for _ in zip(m, range(3)):
        pass
    # None if the map has become shorter in between.
    next(reversed(m), None)


def write(m: cffimmap.mmap) -> None:
    """What is there already."""
    m.seek(0)
    m.write(CONTENTS[:9])
    m.write(bytearray(CONTENTS[9:20]))
    m.write_byte(MARK)
    m.seek(0)


def same(seen: object, expected: object) -> None:
    """Fails if they are not, without the account of long differences that takes pytest minutes."""
    equal = seen == expected
    assert equal


def read(m: cffimmap.mmap) -> None:
    same(m.read(2), CONTENTS[:2])
    same(m.read_byte(), MARK)
    same(m.read(), CONTENTS[3 : len(m)])
    m.seek(0)
    same(m.readline(), CONTENTS[: len(m)])
    m.seek(0)


def enter_and_exit(m: cffimmap.mmap) -> None:
    with m:
        pass


# All that a map has, by name; none of it changes a byte.
CALLS: dict[str, Callable[[Any], object]] = {
    "close": lambda m: m.close(),
    "close under a view": close_under_a_view,
    "with": enter_and_exit,
    "resize to more": lambda m: m.resize(LONG),
    "resize to less": lambda m: m.resize(PAGE),
    "resize by a byte": lambda m: m.resize(SIZE + 1),
    "closed": lambda m: m.closed,
    "len": len,
    "size": lambda m: m.size(),
    "tell": lambda m: m.tell(),
    "seek": lambda m: m.seek(0),
    "seekable": lambda m: m.seekable(),
    "repr": repr,
    "index": lambda m: m[5],
    "slice": lambda m: m[5:9],
    "steps": lambda m: m[5:99:3],
    "set index": lambda m: m.__setitem__(5, MARK),
    "set slice": lambda m: m.__setitem__(slice(5, 9), b"...."),
    "set slice of a view": lambda m: m.__setitem__(slice(5, 9), bytearray(b"....")),
    "set steps": lambda m: m.__setitem__(slice(5, 9, 2), b".."),
    "iteration": iterate,
    "in": lambda m: b"." in m,
    "find": lambda m: m.find(b"absent", 0),
    "rfind": lambda m: m.rfind(bytearray(b"absent"), 0),
    "move": lambda m: m.move(5, 9, 9),
    "read": read,
    "write": write,
    "flush": lambda m: m.flush(),
    "flush of a part": lambda m: m.flush(0, PAGE, flags=0),
    "memoryview": lambda m: memoryview(m).release(),
    "bytes": bytes,
}
if hasattr(cffimmap.mmap, "madvise"):
    CALLS["madvise"] = lambda m: m.madvise(cffimmap.MADV_NORMAL, 0, PAGE)

each_call = pytest.mark.parametrize("name", CALLS)

SIZES = (SIZE, LONG, PAGE, SIZE + 1)


def all_moments(come: Callable[[int], bool], source: Source) -> None:
    """Calls `come` with 0, 1 and so on until it says that there is no such moment, and looks what it left."""
    moment = 0
    while come(moment):
        moment += 1
        # Tracing makes PyPy slow, and the moments of one instruction lie next to one another.
        if PYPY:
            moment += 2 + moment // 10
    source.end()


class TestAnInterruptAtEachStep:
    @each_call
    def test_of_a_method(self, path: Path, name: str) -> None:
        source = Source(path, "shared")
        call = CALLS[name]

        def come(moment: int) -> bool:
            m = source.map()
            raised = False

            def interrupt() -> None:
                nonlocal raised
                raised = True
                raise Interrupt

            reached = False
            try:
                came = at_each_step(interrupt, lambda: call(m), moment)
            except Interrupt:
                came = reached = True
            assert reached == raised, f"the interrupt at {moment} was lost"
            source.check(m, SIZES)
            if not PYPY:
                del m
                assert (ranges_of(path), descriptors_of(path)) == (0, 1), moment
            return came

        in_a_child_of_its_own(partial(all_moments, come, source))

    @each_kind
    def test_of_the_constructor(self, path: Path, kind: str) -> None:
        source = Source(path, kind)

        def interrupt() -> None:
            raise Interrupt

        def come(moment: int) -> bool:
            try:
                came = at_each_step(interrupt, source.bare, moment)
            except Interrupt:
                came = True
            if not PYPY and kind != "anonymous":
                assert (ranges_of(path), descriptors_of(path)) == (0, 1), moment
            return came

        in_a_child_of_its_own(partial(all_moments, come, source))

    @pytest.mark.parametrize("exported", [False, True])
    def test_of_a_destructor(self, path: Path, exported: bool) -> None:
        """It has no step of Python's, or an exception in it would be ignored, and the map be left mapped."""
        source = Source(path, "shared")

        def interrupt() -> None:
            raise Interrupt

        def come(moment: int) -> bool:
            maps = [source.bare()]
            if exported:
                bytes(maps[0])

            def drop() -> None:
                maps.clear()
                collect()

            try:
                return at_each_step(interrupt, drop, moment)
            except Interrupt:
                return True

        in_a_child_of_its_own(partial(all_moments, come, source))


def at_depth(depth: int, call: Callable[[], object]) -> object:
    if depth:
        return at_depth(depth - 1, call)
    return call()


def is_deep_enough(depth: int) -> bool:
    try:
        at_depth(depth, int)
    except RecursionError:
        return False
    return True


def greatest_depth() -> int:
    """How often `at_depth` can call itself here."""
    depth, too_much = 10, 20
    while is_deep_enough(too_much):
        depth, too_much = too_much, 2 * too_much
    while too_much - depth > 1:
        middle = (depth + too_much) // 2
        if is_deep_enough(middle):
            depth = middle
        else:
            too_much = middle
    return depth


class TestAtTheEndOfTheStack:
    @each_call
    def test_a_method(self, path: Path, name: str) -> None:
        source = Source(path, "shared")
        call = CALLS[name]

        def work() -> None:
            # Few frames suffice, and leave the stack of C alone.
            before = sys.getrecursionlimit()
            sys.setrecursionlimit(200)
            greatest = greatest_depth()
            for depth in range(greatest - 60, greatest + 1):
                m = source.map()
                try:
                    at_depth(depth, partial(call, m))
                except RecursionError:
                    pass
                finally:
                    sys.setrecursionlimit(before)
                source.check(m, SIZES)
                sys.setrecursionlimit(200)
            sys.setrecursionlimit(before)
            del m
            source.end()

        in_a_child_of_its_own(work)

    def test_the_constructor_and_the_destructor(self, path: Path) -> None:
        source = Source(path, "shared")

        def work() -> None:
            greatest = greatest_depth()
            for depth in range(greatest - 60, greatest + 1):
                with contextlib.suppress(RecursionError):
                    at_depth(depth, lambda: bytes(source.bare()))
            source.end()

        in_a_child_of_its_own(work)


def answers(m: cffimmap.mmap) -> bool:
    """Whether the map is open; fails if it then does not answer."""
    try:
        answered = (m[5], m[5:7], m.find(b"\1", 0), m.tell(), len(m) >= PAGE, m.size() >= PAGE)
    except ValueError as error:
        assert str(error) == "mmap closed or invalid"  # noqa: PT017, from a handler no context could tell more
        assert m.closed
        return False
    assert answered == (MARK, b"..", 0, 0, True, True)
    return True


def keep_rounds(
    m: cffimmap.mmap, call: Callable[[cffimmap.mmap], object], bell: Bell, longest: float
) -> None:
    """Calls again and again until the bell has rung, or the map is closed."""
    before = bell.rung
    bell.set(longest)
    while bell.rung == before and not m.closed:
        call(m)
        # CPython 3.9 overlooks a signal that comes while a thread takes the lock, until it takes it once more.
        time.sleep(0)
    bell.off()


class TestAHandlerThatUsesTheMap:
    """It gets the right answer while its own thread is in the midst of a call."""

    @pytest.mark.parametrize(
        "name",
        [
            "close", "close under a view", "resize to more", "resize to less", "find", "rfind", "flush", "move",
            "slice", "memoryview", "set slice",
        ],
    )  # fmt: skip
    def test_at_any_moment(self, path: Path, name: str) -> None:
        source = Source(path, "shared")
        call = CALLS[name]

        def resize_and_call(m: cffimmap.mmap) -> None:
            if name.startswith("resize"):
                m.resize(SIZE)
            call(m)

        def run() -> None:
            wrong: list[BaseException] = []

            def use() -> None:
                try:
                    answers(m)
                except BaseException as error:
                    wrong.append(error)

            bell = Bell(use)
            for _ in range(ROUNDS // 3):
                m = source.map()
                keep_rounds(m, resize_and_call, bell, 1e-4)
                assert wrong == []
                source.check(m, SIZES, PAGE if name == "resize to less" else SIZE)

        in_a_child_of_its_own(run)

    @each_call
    def test_at_each_step(self, path: Path, name: str) -> None:
        source = Source(path, "shared")
        call = CALLS[name]

        def come(moment: int) -> bool:
            m = source.map()
            # The position is what a read moves, before or after.
            moved = name in ("read", "write")
            came = at_each_step(
                (lambda: m[5] == MARK) if moved else (lambda: answers(m)), lambda: call(m), moment
            )
            source.check(m, SIZES)
            return came

        in_a_child_of_its_own(partial(all_moments, come, source))

    @pytest.mark.skipif(PYPY, reason="PyPy closes under a view")
    def test_a_close_that_is_refused_was_open_all_the_time(self, path: Path) -> None:
        source = Source(path, "shared")

        def come(moment: int) -> bool:
            m = source.map()
            opened: list[bool] = []
            with memoryview(m):
                with pytest.raises(BufferError):
                    m.close()

                def refused() -> None:
                    with pytest.raises(BufferError, match=r"^cannot close exported pointers exist$"):
                        m.close()

                came = at_each_step(lambda: opened.append(answers(m)), refused, moment)
            assert opened in ([], [True])
            source.check(m)
            return came

        in_a_child_of_its_own(partial(all_moments, come, source))


class TestAHandlerThatTakesTheMapAway:
    """The call that it interrupts goes on, is refused, or says that the map is closed; none waits for itself."""

    # What may come of a call then. IndexError: the index was within the map before.
    EXPECTED = (BufferError, ValueError, IndexError)

    @pytest.fixture(params=["close", "shrink", "grow", "export"])
    def take(self, request: pytest.FixtureRequest) -> Callable[[cffimmap.mmap], object]:
        held: list[memoryview] = []

        def take(m: cffimmap.mmap) -> None:
            try:
                if request.param == "close":
                    m.close()
                elif request.param == "export":
                    held.append(memoryview(m))
                else:
                    m.resize(PAGE if request.param == "shrink" else LONG)
            except self.EXPECTED:
                pass

        take.held = held  # type: ignore[attr-defined]
        return take

    def settle(self, source: Source, m: cffimmap.mmap, take: Any) -> None:
        while take.held:
            with take.held.pop() as view:
                assert view[5] in (MARK, 0)
        source.check(m, SIZES, kept=PAGE)

    @each_call
    def test_at_each_step(self, path: Path, name: str, take: Callable[[cffimmap.mmap], object]) -> None:
        source = Source(path, "shared")
        call = CALLS[name]

        def come(moment: int) -> bool:
            m = source.map()
            came = False

            def step() -> None:
                nonlocal came
                came = True
                take(m)

            try:
                at_each_step(step, lambda: call(m), moment)
            except self.EXPECTED:
                pass
            except AssertionError:
                # What `read` expects is gone.
                assert name == "read"
            self.settle(source, m, take)
            return came

        in_a_child_of_its_own(partial(all_moments, come, source))

    @pytest.mark.parametrize(
        "name", ["close", "resize to more", "resize to less", "find", "flush", "slice", "move"]
    )
    def test_at_any_moment(self, path: Path, name: str, take: Callable[[cffimmap.mmap], object]) -> None:
        source = Source(path, "shared")
        call = CALLS[name]

        def resize_and_call(m: cffimmap.mmap) -> None:
            try:
                if name.startswith("resize"):
                    m.resize(SIZE)
                call(m)
            except self.EXPECTED:
                pass

        def run() -> None:
            m: Any = None
            bell = Bell(lambda: take(m))
            for _ in range(ROUNDS // 6):
                m = source.map()
                keep_rounds(m, resize_and_call, bell, 1e-4)
                self.settle(source, m, take)
            m = None
            source.end()

        in_a_child_of_its_own(run)


def test_an_ignored_exception_is_seen_here() -> None:
    """The other tests rely on it."""

    class Failing:
        def __del__(self) -> None:
            raise Interrupt

    def work() -> None:
        with pytest.raises(AssertionError, match="Interrupt"), nothing_ignored():
            Failing()

    in_child(work)
