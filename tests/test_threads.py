"""Threads that use a map while others close and resize it: each access succeeds or is refused, and nothing crashes."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PYPY, descriptors_of, growing_map, in_child, ranges_of
from _needs import needs

import cffimmap
from cffimmap import _mapping, _mmap
from cffimmap._native import lib

if sys.platform == "win32":
    from cffimmap._windows import BLANKS
else:
    from cffimmap._unix import BLANKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

PAGE = cffimmap.PAGESIZE
SIZE = 4 * PAGE

# Every byte of a map has the first value, or the second one if a thread wrote it: all else was made up. The second
# one ends a line.
OLD, NEW = 0x55, 0x0A
CONTENTS = bytes([OLD]) * (PAGE - 1) + bytes([NEW]) + bytes([OLD]) * (SIZE - PAGE)

ROUNDS = 40
CROWDED_ROUNDS = 12
ATTEMPTS = 12


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mapped"
    file.write_bytes(CONTENTS)
    return file


@pytest.fixture(autouse=True)
def _frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def map_of(path: Path) -> cffimmap.mmap:
    with path.open("r+b") as file:
        return cffimmap.mmap(file.fileno(), 0)


def private_map(_: Path) -> cffimmap.mmap:
    m = growing_map(SIZE)
    m[:] = CONTENTS
    return m


def is_known(data: bytes) -> bool:
    return not data.strip(bytes((OLD, NEW)))


def read_index(m: Any) -> None:
    assert m[PAGE] in (OLD, NEW)


def read_slice(m: Any) -> None:
    assert is_known(m[5 : PAGE + 9])


def read_steps(m: Any) -> None:
    assert is_known(m[1:PAGE:3])


def write_index(m: Any) -> None:
    m[PAGE - 1] = NEW


def write_slice(m: Any) -> None:
    m[PAGE - 8 : PAGE] = bytes([NEW]) * 8


def write_steps(m: Any) -> None:
    m[0:32:4] = bytes([NEW]) * 8


def find(m: Any) -> None:
    assert m.find(b"absent", 0) == -1
    assert m.rfind(bytes([OLD]), 0, PAGE) <= PAGE


def find_nothing(m: Any) -> None:
    assert m.find(b"", 0, 0) == 0
    m.move(0, 0, 0)
    m.flush(0, 0)


def iterate(m: Any) -> None:
    for byte, _ in zip(m, range(40)):
        assert is_known(byte)


def file_methods(m: Any) -> None:
    m.seek(0)
    assert is_known(m.read(100))
    assert is_known(m.readline())
    m.seek(3)
    m.write(bytearray([NEW] * 4))
    m.tell()


def move(m: Any) -> None:
    m.move(0, 16, 64)


def memory(m: Any) -> None:
    m.flush()
    if hasattr(m, "madvise"):
        m.madvise(cffimmap.MADV_NORMAL)
    assert m.size() > 0


def export(m: Any) -> None:
    # On PyPy a view of memory that was closed meanwhile reads zeros.
    view = memoryview(m)
    assert is_known(view[:32].tobytes().strip(b"\0"))
    view.release()


def show(m: Any) -> None:
    assert repr(m).startswith("<mmap.mmap closed=")
    assert m.closed in (False, True)
    assert len(m) >= PAGE


USES = [
    read_index, read_slice, read_steps, write_index, write_slice, write_steps, find, find_nothing, iterate,
    file_methods, move, memory, export, show,
]  # fmt: skip


class _Crowd:
    """Threads that use one map in all ways until they are told to stop, and what went wrong in them."""

    def __init__(self, m: Any, uses: Sequence[Callable[[Any], None]] = USES) -> None:
        self.wrong: list[str] = []
        self._m = m
        self._stopped = False
        self.threads = [threading.Thread(target=self._use, args=(use,)) for use in uses]
        for thread in self.threads:
            thread.start()

    def _use(self, use: Callable[[Any], None]) -> None:
        while not self._stopped:
            try:
                use(self._m)
            except ValueError as error:
                # How an access ends that lost its memory on the way.
                if str(error) not in ("mmap closed or invalid", "mmap resized during the operation"):
                    self.wrong.append(f"{use.__name__}: {error!r}")
                if self._m.closed:
                    return
            except BaseException as error:
                self.wrong.append(f"{use.__name__}: {error!r}")
                return

    def stop(self) -> None:
        self._stopped = True
        for thread in self.threads:
            thread.join()
        assert self.wrong == []


def close_patiently(m: Any) -> None:
    """Closes a map that is in use now and then."""
    while not m.closed:
        attempt(m.close)


def attempt(call: Callable[[], object]) -> None:
    """Tries a call that is refused while the map is in use, which it may be each time."""
    for _ in range(ATTEMPTS):
        with contextlib.suppress(BufferError):
            call()
            return
        time.sleep(0)


@pytest.mark.parametrize("make", [map_of, private_map])
def test_close_while_others_use_the_map(path: Path, make: Callable[[Path], cffimmap.mmap]) -> None:
    def work() -> None:
        for _ in range(CROWDED_ROUNDS):
            m = make(path)
            crowd = _Crowd(m)
            attempt(m.close)
            crowd.stop()
            m.close()
            assert m.closed
        assert is_known(path.read_bytes())
        assert descriptors_of(path) == 0
        if BLANKS or not PYPY:  # elsewhere PyPy leaves mapped what was exported
            assert ranges_of(path) == 0

    in_child(work)


@pytest.mark.parametrize("make", [map_of, private_map])
def test_resize_while_others_use_the_map(path: Path, make: Callable[[Path], cffimmap.mmap]) -> None:
    def work() -> None:
        m = make(path)
        # Elsewhere PyPy leaves mapped what was exported, and the file under it cannot be cut.
        crowd = _Crowd(m, USES if BLANKS or not PYPY else [use for use in USES if use is not export])
        for _ in range(CROWDED_ROUNDS):
            # Growth brings zeros: the others stay below the smaller size.
            attempt(lambda: m.resize(2 * PAGE))
            attempt(lambda: m.resize(SIZE))
        crowd.stop()
        m.resize(2 * PAGE)
        assert is_known(m[:])
        m.resize(SIZE)
        assert not m[2 * PAGE :].strip(b"\0")
        m.close()

    in_child(work)


def test_resize_loses_no_write_of_other_threads() -> None:
    def work() -> None:
        m = growing_map(SIZE)
        wrong: list[object] = []
        stopped = threading.Event()

        def count(position: int) -> None:
            value = 0
            while not stopped.is_set():
                value = (value + 1) % 256
                m[position] = value
                if m[position] != value:
                    wrong.append((position, value))
                    return

        threads = [threading.Thread(target=count, args=(8 * i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(5 * ROUNDS):
            attempt(lambda: m.resize(PAGE))
            attempt(lambda: m.resize(SIZE))
        stopped.set()
        for thread in threads:
            thread.join()
        assert wrong == []

    in_child(work)


def test_close_from_several_threads_at_once(path: Path) -> None:
    def work() -> None:
        wrong: list[BaseException] = []

        def close(m: cffimmap.mmap, together: threading.Barrier) -> None:
            together.wait()
            try:
                close_patiently(m)
            except BaseException as error:
                wrong.append(error)

        for _ in range(ROUNDS):
            m, together = map_of(path), threading.Barrier(4)
            threads = [threading.Thread(target=close, args=(m, together)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert wrong == []
            assert m.closed
            assert (ranges_of(path), descriptors_of(path)) == (0, 0)

    in_child(work)


def test_resize_and_close_from_several_threads_touch_no_other_file(path: Path, tmp_path: Path) -> None:
    """The descriptor that a closed map had may be another file's by then."""
    other = tmp_path / "other"
    other.write_bytes(b"other" * 100)

    def work() -> None:
        wrong: list[BaseException] = []

        def resize(m: cffimmap.mmap) -> None:
            while not m.closed:
                for size in (PAGE, SIZE):
                    try:
                        m.resize(size)
                    except BufferError:
                        pass
                    except ValueError:
                        assert m.closed
                    except BaseException as error:
                        wrong.append(error)
                        return

        for _ in range(ROUNDS):
            m = map_of(path)
            thread = threading.Thread(target=resize, args=(m,))
            thread.start()
            close_patiently(m)
            with other.open("r+b"), other.open("r+b"):
                thread.join()
            assert wrong == []

    in_child(work)
    assert other.read_bytes() == b"other" * 100
    assert path.stat().st_size in (PAGE, SIZE)


class TestALongCall:
    """It lets go of the interpreter's lock, and pins the map meanwhile."""

    LENGTH = 512 << 20

    def during_a_find(self, refused: Callable[[cffimmap.mmap], object], **patches: int) -> None:
        def work() -> None:
            # Never freed memory of zeros: the kernel's one zero page, so that this takes no memory.
            m = growing_map(self.LENGTH)
            entered, found = threading.Event(), []
            real: Any = lib.cm_find

            class Lib:
                def __getattr__(self, name: str) -> Any:
                    return getattr(lib, name)

                def cm_find(self, *arguments: object) -> Any:
                    entered.set()
                    return real(*arguments)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(_mmap, "lib", Lib())
                for name, value in patches.items():
                    patch.setattr(_mmap, name, value)
                thread = threading.Thread(target=lambda: found.append(m.find(b"absent", 0)))
                thread.start()
                entered.wait()
                with pytest.raises(BufferError):
                    refused(m)
                assert found == [], "the find was over too early to tell"
                thread.join()
            assert found == [-1]
            assert len(m) == self.LENGTH
            m.resize(PAGE)
            m.close()
            assert m.closed

        in_child(work)

    def test_close_raises(self) -> None:
        self.during_a_find(lambda m: m.close(), LONG_CALL=self.LENGTH)

    def test_resize_raises(self) -> None:
        self.during_a_find(lambda m: m.resize(PAGE), LONG_CALL=self.LENGTH)

    def test_other_threads_run_and_use_the_map(self) -> None:
        def work() -> None:
            m = growing_map(self.LENGTH)
            thread = threading.Thread(target=m.find, args=(b"absent", 0))
            thread.start()
            steps = 0
            while thread.is_alive():
                m[PAGE] = steps % 200
                assert m[PAGE : PAGE + 1] == bytes([steps % 200])
                steps += 1
            thread.join()
            m.close()
            assert steps > 1

        in_child(work)


class TestASettledMapping:
    """What meets a map in the midst of another thread's work waits for its end, and goes on with what is there then."""

    def while_withdrawn(
        self, call: Callable[[Any], object], then: Callable[[Any], object], length: int = SIZE
    ) -> Any:
        m = growing_map(length)
        m[:] = bytes([OLD]) * (length - 1) + bytes([NEW])
        answers: list[Any] = []
        asked = threading.Event()

        def ask() -> None:
            asked.set()
            try:
                answers.append(call(m))
            except Exception as error:
                answers.append(error)

        thread = threading.Thread(target=ask)
        alone = _mapping.Mapping._alone

        def slowly_alone(mapping: Any, hold: Any) -> bool:
            if not asked.is_set():
                thread.start()
                asked.wait()
                time.sleep(0.02)
            return alone(mapping, hold)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_mapping.Mapping, "_alone", slowly_alone)
            then(m)
        thread.join()
        m.close()
        return answers[0]

    @pytest.mark.parametrize(
        ("call", "answer"),
        [
            (lambda m: m[3], OLD),
            (lambda m: m[3:5], bytes([OLD]) * 2),
            (lambda m: m[3:9:2], bytes([OLD]) * 3),
            (lambda m: m[:PAGE].count(OLD), PAGE),
            (lambda m: (m.__setitem__(3, NEW), m[3])[1], NEW),
            (lambda m: (m.__setitem__(slice(3, 5), b"ab"), m[3:5])[1], b"ab"),
            (lambda m: (m.write_byte(NEW), m.write(b"ab"), m[:3])[2], bytes([NEW]) + b"ab"),
            (lambda m: m.find(bytes([OLD]), 3), 3),
            (lambda m: m.find(b"", 0, 0), 0),
            (lambda m: next(iter(m)), bytes([OLD])),
            (lambda m: m.read_byte(), OLD),
            (lambda m: m.read(3), bytes([OLD]) * 3),
            (lambda m: m.readline()[:3], bytes([OLD]) * 3),
            (lambda m: bytes(memoryview(m)[:3]), bytes([OLD]) * 3),
            (lambda m: m.flush(0, 0), None),
            (lambda m: m.move(0, 1, 1), None),
        ],
    )
    def test_an_access_waits_and_goes_on(self, call: Callable[[Any], object], answer: object) -> None:
        assert self.while_withdrawn(call, lambda m: m.resize(2 * SIZE)) == answer

    def test_an_access_beyond_the_new_end_is_refused(self) -> None:
        for call in (lambda m: m[2 * PAGE], lambda m: m.__setitem__(2 * PAGE, 1)):
            assert isinstance(self.while_withdrawn(call, lambda m: m.resize(PAGE)), IndexError)
        lost = self.while_withdrawn(lambda m: m.rfind(b"absent", 0), lambda m: m.resize(PAGE))
        assert str(lost) in ("-1", "mmap resized during the operation")

    @pytest.mark.parametrize(
        "call",
        [
            lambda m: m[3:SIZE:2],
            lambda m: m[SIZE:3:-2],
            lambda m: m.__setitem__(slice(3, SIZE, 2), bytes(len(range(3, SIZE, 2)))),
            lambda m: m.__setitem__(slice(SIZE, 3, -2), bytes(len(range(SIZE - 1, 3, -2)))),
            lambda m: m.move(0, SIZE - 9, 9),
            lambda m: m.move(SIZE - 9, 0, 9),
            lambda m: m.find(b"absent", 0),
            lambda m: m.flush(0, SIZE),
            pytest.param(lambda m: m.madvise(cffimmap.MADV_NORMAL, PAGE), marks=needs("mmap.madvise")),
            lambda m: (m.seek(0), m.write(bytearray(SIZE))),
        ],
    )
    def test_a_call_that_would_reach_beyond_the_new_end_is_refused(
        self, call: Callable[[Any], object]
    ) -> None:
        lost = self.while_withdrawn(call, lambda m: m.resize(PAGE))
        assert isinstance(lost, ValueError)
        assert str(lost) == "mmap resized during the operation"

    @pytest.mark.parametrize(
        "call",
        [
            lambda m: m[3],
            lambda m: m[3:5],
            lambda m: m[3:9:2],
            lambda m: m.__setitem__(3, 1),
            lambda m: m.__setitem__(slice(3, 5), b"ab"),
            lambda m: m.__setitem__(slice(3, 5), bytearray(b"ab")),
            lambda m: m.write(b"ab"),
            lambda m: m.write(bytearray(b"ab")),
            lambda m: m.write_byte(1),
            lambda m: m.read(3),
            lambda m: m.read_byte(),
            lambda m: m.readline(),
            lambda m: m.find(b"x", 0),
            lambda m: m.find(b"", 0, 0),
            lambda m: m.move(0, 0, 0),
            lambda m: m.flush(0, 0),
            lambda m: next(iter(m)),
            memoryview,
        ],
    )
    def test_an_access_during_close_is_refused(self, call: Callable[[Any], object]) -> None:
        lost = self.while_withdrawn(call, lambda m: m.close())
        assert isinstance(lost, ValueError)
        assert str(lost) == "mmap closed or invalid"

    def test_a_long_slice_is_written_in_the_new_memory(self) -> None:
        length = 3 << 20
        data = b"x" * (length // 2)

        def write(m: Any) -> bytes:
            m[5 : 5 + len(data)] = data
            return bytes(m[5 : 5 + len(data)])

        assert self.while_withdrawn(write, lambda m: m.resize(2 * length), length) == data


class TestInTheMidst:
    """A signal handler or a finaliser comes in the midst of what its own thread does to the memory."""

    def in_the_midst(self, then: Callable[[Any], object], call: Callable[[Any], object]) -> Any:
        m = growing_map(SIZE)
        m[:] = CONTENTS
        answers: list[Any] = []
        alone = _mapping.Mapping._alone

        def interrupted(mapping: Any, hold: Any) -> bool:
            try:
                answers.append(call(m))
            except Exception as error:
                answers.append(error)
            return alone(mapping, hold)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_mapping.Mapping, "_alone", interrupted)
            then(m)
        if not m.closed:
            assert m[: 2 * PAGE] == CONTENTS[: 2 * PAGE]
            m.close()
        assert m.closed
        return answers[-1]

    @pytest.mark.parametrize(
        "then", [lambda m: m.close(), lambda m: m.resize(2 * PAGE), lambda m: m.resize(2 * SIZE)]
    )
    @pytest.mark.parametrize("call", [lambda m: m.close(), lambda m: m.resize(PAGE)])
    def test_close_and_resize_are_refused(
        self, then: Callable[[Any], object], call: Callable[[Any], object]
    ) -> None:
        assert isinstance(self.in_the_midst(then, call), BufferError)

    def test_a_resize_past_its_checks_does_nothing(self) -> None:
        assert self.in_the_midst(lambda m: m.close(), lambda m: m._resize(PAGE)) is False

    @pytest.mark.parametrize("then", [lambda m: m.close(), lambda m: m.resize(2 * PAGE)])
    @pytest.mark.parametrize(
        "call", [lambda m: m[0], lambda m: m[0:2], lambda m: m.find(b"x", 0), memoryview]
    )
    def test_accesses_are_refused(self, then: Callable[[Any], object], call: Callable[[Any], object]) -> None:
        assert isinstance(self.in_the_midst(then, call), ValueError)

    @pytest.mark.skipif(PYPY, reason="PyPy cannot tell whether memory is exported")
    def test_memory_exported_after_the_check_is_not_resized(self) -> None:
        m = growing_map(SIZE)
        with memoryview(m) as view:
            assert m._resize(PAGE) is False
            assert view.nbytes == len(m) == SIZE
        m.close()
