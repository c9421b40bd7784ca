"""A fork finds nothing locked: whatever other threads were doing to a map, the child can use it, and at once.

The threads themselves are not in the child, so that a lock that one of them holds would be held there for ever.
"""

from __future__ import annotations

import os
import signal
import sys
import sysconfig
import threading
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from _bell import Bell, in_a_child_of_its_own
from _exporters import PATIENCE, PYPY, growing_map, in_child
from _needs import needs

import cffimmap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

pytestmark = [
    needs("os.fork", "signal.alarm"),
    # What every interpreter since 3.12 says about such a fork: just that is tried here.
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    # There a lock of an object may have been handed to a thread that the fork leaves behind: the child waits for ever, with
    # the builtin as well (3.14.9: 6 of 150 children; with cffimmap 2 of 150).
    pytest.mark.skipif(
        FREE_THREADED, reason="without the global lock CPython forks no child beside threads safely"
    ),
]

PAGE = cffimmap.PAGESIZE
SIZE = 4 * PAGE
LARGE = 2 << 20

# In how many moments of each use the process is forked, and of how many threads it has.
FORKS = 12
THREADS = 3

# Seconds after which a child is taken for hanging; a busy machine takes some for nothing.
HANGING = 30


class Shared:
    """A map that many threads use, and maybe another one in its place."""

    def __init__(self, make: Callable[[], cffimmap.mmap]) -> None:
        self.make = make
        self.m = make()


def size(shared: Shared) -> None:
    shared.m.size()


def find(shared: Shared) -> None:
    shared.m.find(b"absent", 0)


def rfind(shared: Shared) -> None:
    shared.m.rfind(b"absent", 0)


def flush(shared: Shared) -> None:
    shared.m[9] = 0
    shared.m.flush(0, PAGE)


def resize(shared: Shared) -> None:
    for length in (PAGE, SIZE):
        shared.m.resize(length)


def close_and_open(shared: Shared) -> None:
    m = shared.m
    shared.m = shared.make()
    m.close()


def export(shared: Shared) -> None:
    memoryview(shared.m).release()


def read(shared: Shared) -> None:
    shared.m.seek(0)
    shared.m.read(100)
    shared.m.read_byte()


def readline(shared: Shared) -> None:
    shared.m.seek(0)
    shared.m.readline()


def write(shared: Shared) -> None:
    shared.m.seek(0)
    shared.m.write(bytearray(9))
    shared.m.write_byte(0)


def move(shared: Shared) -> None:
    shared.m.move(0, PAGE, PAGE)


def slices(shared: Shared) -> None:
    shared.m[5:99:3] = shared.m[5:99:3]
    shared.m[:PAGE] = shared.m[:PAGE]
    shared.m[5] = shared.m[6]


def madvise(shared: Shared) -> None:
    shared.m.madvise(cffimmap.MADV_NORMAL, 0, PAGE)


def make_and_drop(shared: Shared) -> None:
    shared.make()


USES = [size, find, rfind, flush, read, readline, write, move, slices, export, make_and_drop]
if hasattr(cffimmap.mmap, "madvise"):
    USES.append(madvise)

# What takes a map's memory away is tried on memory that the processes do not share.
TAKING = [resize, close_and_open]

each_use = pytest.mark.parametrize("use", [*USES, *TAKING], ids=lambda use: use.__name__)


def repeated(use: Callable[[Shared], None], shared: Shared, stopped: threading.Event) -> Callable[[], None]:
    def run() -> None:
        while not stopped.is_set():
            try:
                use(shared)
            except (ValueError, IndexError, BufferError):
                # Another thread has shrunk or closed it.
                if use not in TAKING:
                    raise

    return run


def all_works(m: cffimmap.mmap, may_be_exported: bool = False) -> None:
    """Fails if one thing that the child does with the map does not work."""
    assert not m[0]
    assert m.size() >= PAGE
    assert m.find(b"absent", 0) == -1
    m.seek(0)
    assert m.read(2) == b"\0\0"
    m.flush(0, PAGE)
    try:
        m.resize(2 * LARGE)
        m[-1] = 1
        assert m.rfind(b"\1") == 2 * LARGE - 1
        m.close()
        assert m.closed
    except BufferError:
        # The view of a thread that is not here lives on.
        if not may_be_exported or PYPY:
            raise


def each_works(maps: list[cffimmap.mmap]) -> None:
    for m in maps:
        all_works(m)


def makers(path: Path, use: Callable[[Shared], None]) -> list[Callable[[], cffimmap.mmap]]:
    """The kinds of memory to try with a use."""

    def of_file() -> cffimmap.mmap:
        with path.open("r+b") as file:
            return cffimmap.mmap(file.fileno(), 0)

    path.touch()
    # Never less than any process has mapped of it, whoever resizes.
    os.truncate(path, LARGE)
    # Searches are long on it, so that they let go of the interpreter's lock.
    anonymous = [lambda: growing_map(SIZE), lambda: growing_map(LARGE)]
    return anonymous[:1] if use in TAKING else [*anonymous, of_file]


@each_use
def test_a_child_has_the_map_for_itself(tmp_path: Path, use: Callable[[Shared], None]) -> None:
    def work() -> None:
        for number, make in enumerate(makers(tmp_path / str(use.__name__), use)):
            shared, stopped = Shared(make), threading.Event()
            # Two that resize would refuse one another nothing, but be in each other's way.
            count = 1 if use in TAKING else THREADS
            threads = [threading.Thread(target=repeated(use, shared, stopped)) for _ in range(count)]
            for thread in threads:
                thread.start()
            try:
                for i in range(FORKS if use in TAKING else FORKS // 3):
                    time.sleep(0.0001 * (i + number))
                    in_child(partial(child, shared))
            finally:
                stopped.set()
                for thread in threads:
                    thread.join(PATIENCE)
            assert not any(thread.is_alive() for thread in threads)
            all_works(shared.m)

    def child(shared: Shared) -> None:
        if use is close_and_open:
            # The one that the thread was closing may be closed; the next one is not.
            shared.m.close()
            shared.m = shared.make()
        all_works(shared.m, may_be_exported=use is export)

    in_child(work)


def test_a_child_has_all_maps_for_itself(tmp_path: Path) -> None:
    """All uses at once, each of two maps that all threads share."""

    def work() -> None:
        # So many threads would have this one wait long for its turn.
        sys.setswitchinterval(1e-4)
        stopped = threading.Event()
        shares = [Shared(make) for make in makers(tmp_path / "mapped", find)]
        threads = [
            threading.Thread(target=repeated(use, shared, stopped))
            for use in USES
            if use is not export
            for shared in shares
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(FORKS // 2):
                time.sleep(0.001)
                in_child(lambda: each_works([shared.m for shared in shares]))
        finally:
            stopped.set()
            for thread in threads:
                thread.join(PATIENCE)

    in_child(work)


def test_a_child_opens_maps_of_its_own() -> None:
    def work() -> None:
        stopped = threading.Event()
        shared = Shared(lambda: growing_map(SIZE))
        threads = [
            threading.Thread(target=repeated(use, shared, stopped))
            for use in (make_and_drop, make_and_drop, find)
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(FORKS):
                in_child(lambda: each_works([growing_map(SIZE) for _ in range(3)]))
        finally:
            stopped.set()
            for thread in threads:
                thread.join(PATIENCE)

    in_child(work)


class TestInAHandler:
    """A fork in the midst of a call of its own thread: that goes on in both processes."""

    @each_use
    @pytest.mark.parametrize("when", ["within", "afterwards"])
    def test_both_processes_go_on(self, tmp_path: Path, use: Callable[[Shared], None], when: str) -> None:
        children: list[int] = []
        shared: Any = None
        parent = 0

        def fork() -> None:
            child = os.fork()
            if child:
                children.append(child)
                return
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(HANGING)
            if when == "within":
                self.ends(lambda: self.works_within(shared))

        def work() -> None:
            nonlocal shared, parent
            parent = os.getpid()
            for make in makers(tmp_path / "mapped", use):
                shared = Shared(make)
                bell = Bell(fork)
                for _ in range(FORKS // 6):
                    before = bell.rung
                    bell.set(1e-4)
                    while bell.rung == before:
                        use(shared)
                    if os.getpid() != parent:
                        self.ends(partial(all_works, shared.m))
                    bell.off()
                    _, status = os.waitpid(children.pop(), 0)
                    assert status == 0, status
                all_works(shared.m)

        in_a_child_of_its_own(work)

    def ends(self, work: Callable[[], object]) -> None:
        """Ends a child, well if a function does."""
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def works_within(self, shared: Shared) -> None:
        """A call of this thread is not done yet, so that a close may be refused, and nothing may hang."""
        m = shared.m
        try:
            assert not m[0]
            assert m.size() >= PAGE
            assert m.find(b"absent", 0) == -1
            memoryview(m).release()
            # Not to less: the file is the other processes' too.
            m.resize(2 * LARGE)
            m.close()
            assert m.closed
        except (BufferError, ValueError) as error:
            # Closed meanwhile by what it interrupted.
            assert isinstance(error, BufferError) or m.closed  # noqa: PT017
