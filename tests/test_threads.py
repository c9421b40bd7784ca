"""Threads that use a map while others close and resize it: each access succeeds or is refused, and nothing crashes."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PYPY, descriptors_of, growing_map, in_child, ranges_of
from _faults import Faulty, needs_faults
from _needs import needs
from _signals import alarms
from conftest import tuned

import cffimmap
from cffimmap._native import WINDOWS, lib

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from _calls import Call

PAGE = cffimmap.PAGESIZE
SIZE = 4 * PAGE

pytestmark = pytest.mark.usefixtures("frequent_switches")

# Whether the pages of a mapping can be replaced by others in one step.
BLANKS = bool(lib.CM_BLANKS)

# Every byte of a map has the first value, or the second one if a thread wrote it: all else was made up. The second
# one ends a line.
OLD, NEW = 0x55, 0x0A
CONTENTS = bytes([OLD]) * (PAGE - 1) + bytes([NEW]) + bytes([OLD]) * (SIZE - PAGE)

ROUNDS = 40
CROWDED_ROUNDS = 12
ATTEMPTS = 12
PATIENCE = 5  # seconds, and more than enough for a thread to be served


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mapped"
    file.write_bytes(CONTENTS)
    return file


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
    file_methods, move, memory, show,
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


def attempt(call: Callable[[], object]) -> None:
    """Tries a call that is refused while the map is exported, which it may be each time."""
    for _ in range(ATTEMPTS):
        with contextlib.suppress(BufferError):
            call()
            return
        time.sleep(0)


def at_once(call: Callable[[], object]) -> None:
    """Makes a call that is never refused, though others use the map."""
    call()


# CPython refuses while a view is there; elsewhere, too, nobody is refused for what others do.
each_use = pytest.mark.parametrize(
    ("uses", "change"),
    [(USES, at_once), ([*USES, export], at_once if PYPY else attempt)],
    ids=["calls", "calls and exports"],
)


@each_use
@pytest.mark.parametrize("make", [map_of, private_map])
def test_close_while_others_use_the_map(
    path: Path,
    make: Callable[[Path], cffimmap.mmap],
    uses: Sequence[Callable[[Any], None]],
    change: Callable[[Callable[[], object]], None],
) -> None:
    def work() -> None:
        for _ in range(CROWDED_ROUNDS):
            m = make(path)
            crowd = _Crowd(m, uses)
            change(m.close)
            crowd.stop()
            m.close()
            assert m.closed
        assert is_known(path.read_bytes())
        assert descriptors_of(path) == 0
        if BLANKS or not PYPY:  # elsewhere PyPy leaves mapped what was exported
            assert ranges_of(path) == 0

    in_child(work)


@each_use
@pytest.mark.parametrize("make", [map_of, private_map])
def test_resize_while_others_use_the_map(
    path: Path,
    make: Callable[[Path], cffimmap.mmap],
    uses: Sequence[Callable[[Any], None]],
    change: Callable[[Callable[[], object]], None],
) -> None:
    if export in uses and PYPY and not BLANKS:
        pytest.skip("PyPy leaves mapped there what was exported, and the file under it cannot be cut")

    def work() -> None:
        m = make(path)
        crowd = _Crowd(m, uses)
        for _ in range(CROWDED_ROUNDS):
            # Growth brings zeros: the others stay below the smaller size.
            change(lambda: m.resize(2 * PAGE))
            change(lambda: m.resize(SIZE))
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
            m.resize(PAGE)
            m.resize(SIZE)
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
                m.close()
                assert m.closed
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
                    except ValueError:
                        assert m.closed
                    except BaseException as error:
                        wrong.append(error)
                        return

        for _ in range(ROUNDS):
            m = map_of(path)
            thread = threading.Thread(target=resize, args=(m,))
            thread.start()
            m.close()
            with other.open("r+b"), other.open("r+b"):
                thread.join()
            assert wrong == []

    in_child(work)
    assert other.read_bytes() == b"other" * 100
    assert path.stat().st_size in (PAGE, SIZE)


CLOSED = "mmap closed or invalid"
RESIZED = "mmap resized during the operation"


def outcome(call: Callable[[Any], object], m: Any) -> object:
    """What a call answers, or the exception that it ends with."""
    try:
        return call(m)
    except Exception as error:
        return error


class TestALongCall:
    """It lets go of the interpreter's lock, and pins the map meanwhile; but it is made in parts."""

    LENGTH = 512 << 20

    def during_a_find(self, change: Callable[[cffimmap.mmap], object], part: int) -> tuple[object, Any]:
        """The answer of a find in the midst of which another thread changes the map, and the map."""
        while True:
            # Never freed memory of zeros: the kernel's one zero page, so that this takes no memory.
            m = growing_map(self.LENGTH)
            about = threading.Event()
            answers: list[object] = []

            def find(m: Any = m, about: threading.Event = about, answers: list[object] = answers) -> None:
                about.set()
                answers.append(outcome(lambda m: m.find(b"absent", 0), m))

            with tuned(part=part):
                thread = threading.Thread(target=find)
                thread.start()
                about.wait()
                time.sleep(0.005)
                begun_before = not answers
                change(m)
                thread.join()
            # Else it was over too early to tell.
            if begun_before:
                return answers[0], m
            m.close()

    def test_close_waits_for_the_part_that_runs(self) -> None:
        def work() -> None:
            answer, m = self.during_a_find(lambda m: m.close(), self.LENGTH)
            assert m.closed
            assert answer == -1 or str(answer) == CLOSED

        in_child(work)

    def test_resize_waits_for_the_part_that_runs(self) -> None:
        def work() -> None:
            answer, m = self.during_a_find(lambda m: m.resize(PAGE), self.LENGTH)
            assert len(m) == PAGE
            assert answer == -1 or str(answer) == RESIZED
            m.close()

        in_child(work)

    def test_close_comes_between_two_parts(self) -> None:
        def work() -> None:
            answer, m = self.during_a_find(lambda m: m.close(), 1 << 16)
            assert m.closed
            assert isinstance(answer, ValueError)
            assert str(answer) == CLOSED

        in_child(work)

    def test_resize_comes_between_two_parts(self) -> None:
        def work() -> None:
            answer, m = self.during_a_find(lambda m: m.resize(PAGE), 1 << 16)
            assert len(m) == PAGE
            assert isinstance(answer, ValueError)
            assert str(answer) == RESIZED
            m.close()
            answer, m = self.during_a_find(lambda m: m.resize(2 * self.LENGTH), 1 << 16)
            assert len(m) == 2 * self.LENGTH
            assert answer == -1
            m.close()

        in_child(work)

    @pytest.mark.parametrize(
        "call",
        [
            lambda m: m[3:],
            lambda m: m.read(),
            lambda m: m.readline(),
            lambda m: m.find(b"absent", 0),
            lambda m: m.rfind(b"absent", 0),
            lambda m: m.write(b"x" * LONG),
            lambda m: m.__setitem__(slice(0, LONG), b"x" * LONG),
            lambda m: m.__setitem__(slice(0, LONG), bytearray(LONG)),
        ],
    )
    @pytest.mark.parametrize(
        ("change", "message"), [(lambda m: m.close(), CLOSED), (lambda m: m.resize(PAGE), RESIZED)]
    )
    def test_what_it_would_access_after_that_is_refused(
        self, call: Callable[[Any], object], change: Callable[[Any], object], message: str
    ) -> None:
        def work() -> None:
            lost: list[object] = []
            for _ in range(20 if PYPY else 500):
                m = growing_map(LONG)
                calling = threading.Event()

                def repeat(m: Any = m, calling: threading.Event = calling) -> None:
                    for _ in range(50):
                        calling.set()
                        answer = outcome(call, m)
                        if isinstance(answer, Exception):
                            # Between two calls it is another answer, of a map that has the new size.
                            if str(answer) == message:
                                lost.append(answer)
                            return
                        # It may be closed by now.
                        outcome(lambda m: m.seek(0), m)

                with tuned(long=2, part=64):
                    thread = threading.Thread(target=repeat)
                    thread.start()
                    calling.wait()
                    change(m)
                    thread.join()
                m.close()
                if lost:
                    break
            # PyPy reads at once, and reads again if it was too late.
            assert lost or PYPY
            assert all(isinstance(error, ValueError) for error in lost)

        in_child(work)

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


LONG = 1 << 20


# Where each call and each resize runs without the interpreter's lock, and where they are short enough to run with it.
BOTH_LOCKS: tuple[dict[str, int], ...] = ({"long": 2, "part": 64}, {})


@needs_faults
@pytest.mark.skipif(WINDOWS, reason="what comes in between runs there under the interpreter's lock")
class TestInTheMidstOfAnother:
    """What comes in the midst of another thread's close or resize waits for its end, and goes on with what is there then."""

    def while_changing(
        self, call: Callable[[Any], object], then: Callable[[Any], object], length: int = SIZE
    ) -> tuple[object, object]:
        """A call's outcome while the first system call of a change takes its time, and its outcome after that."""
        m = growing_map(length)
        m[:] = bytes([OLD]) * (length - 1) + bytes([NEW])
        reader, writer = os.pipe()
        told: list[object] = []

        def slowly(call: Call) -> None:
            concerned = call.name != "mmap" or call["flags"] & MAP_FIXED
            if concerned and not told:
                told.append(call)
                os.write(writer, b"!")
                time.sleep(0.02)

        answers: list[object] = []

        def ask() -> None:
            os.read(reader, 1)
            answers.append(outcome(call, m))

        thread = threading.Thread(target=ask)
        thread.start()
        Faulty(mmap=slowly, munmap=slowly, mremap=slowly)(lambda: then(m))
        # A change that made no such call.
        os.write(writer, b"!")
        thread.join()
        os.close(reader)
        os.close(writer)
        if not m.closed:
            m.seek(0)
        answers.append(outcome(call, m))
        m.close()
        return answers[0], answers[1]

    @pytest.mark.parametrize("then", [lambda m: m.resize(2 * SIZE), lambda m: m.resize(2 * PAGE)])
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
    def test_an_access_waits_and_goes_on(
        self, call: Callable[[Any], object], answer: object, then: Callable[[Any], object]
    ) -> None:
        for tuning in BOTH_LOCKS:
            with tuned(**tuning):
                assert self.while_changing(call, then)[0] == answer

    def test_an_access_beyond_the_new_end_is_refused(self) -> None:
        for call in (lambda m: m[2 * PAGE], lambda m: m.__setitem__(2 * PAGE, 1)):
            assert isinstance(self.while_changing(call, lambda m: m.resize(PAGE))[0], IndexError)

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
            lambda m: m.rfind(b"absent", 0),
            lambda m: m.flush(0, SIZE),
            pytest.param(lambda m: m.madvise(cffimmap.MADV_NORMAL, PAGE), marks=needs("mmap.madvise")),
            lambda m: (m.seek(0), m.write(bytearray(SIZE))),
        ],
    )
    def test_a_call_that_would_reach_beyond_the_new_end_is_refused_or_comes_after(
        self, call: Callable[[Any], object]
    ) -> None:
        for tuning in BOTH_LOCKS:
            with tuned(**tuning):
                met, after = self.while_changing(call, lambda m: m.resize(PAGE))
            assert str(met) in (RESIZED, str(after))
            assert isinstance(met, ValueError) or type(met) is type(after)

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
            lambda m: m.resize(PAGE),
            memoryview,
        ],
    )
    def test_an_access_during_close_is_refused(self, call: Callable[[Any], object]) -> None:
        for tuning in BOTH_LOCKS:
            with tuned(**tuning):
                lost, _ = self.while_changing(call, lambda m: m.close())
            assert isinstance(lost, ValueError)
            assert str(lost) == CLOSED

    def test_others_go_on_during_a_long_resize(self) -> None:
        m = growing_map(SIZE)
        begun, asked, told = os.pipe(), os.pipe(), os.pipe()

        def wait(call: Call) -> None:
            if call.name == "mremap" or call["flags"] & MAP_FIXED:
                os.write(begun[1], b"!")
                os.write(told[1], b"1" if select.select([asked[0]], [], [], PATIENCE)[0] else b"0")

        def go_on() -> None:
            os.read(begun[0], 1)
            os.write(asked[1], b"!")

        thread = threading.Thread(target=go_on)
        thread.start()
        with tuned(part=64):
            Faulty(mmap=wait, mremap=wait)(lambda: m.resize(2 * SIZE))
        thread.join()
        assert os.read(told[0], 1) == b"1"
        assert len(m) == 2 * SIZE
        m.close()
        for end in (*begun, *asked, *told):
            os.close(end)

    def test_another_close_waits_and_succeeds(self) -> None:
        assert self.while_changing(lambda m: m.close(), lambda m: m.close()) == (None, None)
        assert self.while_changing(lambda m: m.close(), lambda m: m.resize(PAGE)) == (None, None)

    def test_a_long_slice_is_written_in_the_new_memory(self) -> None:
        length = 3 << 20
        data = b"x" * (length // 2)

        def write(m: Any) -> bytes:
            m[5 : 5 + len(data)] = data
            return bytes(m[5 : 5 + len(data)])

        assert self.while_changing(write, lambda m: m.resize(2 * length), length)[0] == data


MAP_FIXED = 0x10  # asm-generic/mman-common.h


class TestInTheMidst:
    """A signal handler comes in the midst of its own thread's long call, between two parts of it."""

    LENGTH = 1 << 24

    def in_the_midst(self, call: Callable[[Any], object]) -> tuple[object, object, Any]:
        """What the handler's call answers, what the find does in whose midst it comes, and the map."""
        m = growing_map(self.LENGTH)
        answers: list[object] = []
        found: object = None
        with tuned(long=2, part=1 << 12, turn=0), alarms(lambda *_: answers.append(outcome(call, m))) as ring:
            while not answers:
                ring(0.001)
                found = outcome(lambda m: m.find(b"absent", 0), m)
        return answers[0], found, m

    @pytest.mark.parametrize(
        ("call", "message"), [(lambda m: m.close(), CLOSED), (lambda m: m.resize(2 * PAGE), RESIZED)]
    )
    def test_close_and_resize_end_the_call(self, call: Callable[[Any], object], message: str) -> None:
        found: object = None
        for _ in range(ATTEMPTS):
            answer, found, m = self.in_the_midst(call)
            assert answer is None
            m.close()
            # Else the handler has come between two of them.
            if found not in (-1, None):
                break
        assert isinstance(found, ValueError)
        assert str(found) == message

    def test_a_growth_does_not(self) -> None:
        answer, found, m = self.in_the_midst(lambda m: m.resize(2 * self.LENGTH))
        assert (answer, found in (-1, None), len(m)) == (None, True, 2 * self.LENGTH)
        m.close()

    @pytest.mark.parametrize(
        ("call", "expected"),
        [
            (lambda m: m[0], 0),
            (lambda m: m[0:2], bytes(2)),
            (lambda m: m.find(b"\0", 5), 5),
            (lambda m: m.find(b"absent", 0), -1),
            (lambda m: m.flush(), None),
            (lambda m: bytes(memoryview(m)[:3]), bytes(3)),
        ],
    )
    def test_accesses_are_answered(self, call: Callable[[Any], object], expected: object) -> None:
        answer, found, m = self.in_the_midst(call)
        assert answer == expected
        assert found in (-1, None)
        m.close()
        assert m.closed

    @pytest.mark.skipif(PYPY, reason="PyPy cannot tell whether memory is exported")
    def test_memory_that_is_exported_there_stays_until_it_is_released(self) -> None:
        answer, found, m = self.in_the_midst(memoryview)
        assert isinstance(answer, memoryview)
        assert found in (-1, None)
        for change in (m.close, lambda: m.resize(PAGE)):
            with pytest.raises(BufferError):
                change()
        assert answer.nbytes == len(m) == self.LENGTH
        answer.release()
        m.close()
