"""Arguments that fail or meddle, descriptors that are no files, files that change, and the limits of sizes."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from _buffers import Buffer
from _faults import Faulty, needs_faults
from _files import (
    GRANULARITY,
    PAGE,
    SIZE,
    SSIZE_MAX,
    close_behind_the_back,
    each_call,
    everything_open,
    let_have_holes,
    needs_addresses,
    open_descriptors,
)
from _needs import constant, needs

import cffimmap
from cffimmap import ACCESS_DEFAULT, ACCESS_READ
from cffimmap._native import WINDOWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from _calls import Call
    from conftest import Raises

CLOSED = "mmap closed or invalid"
NO_ACCESS = "mmap can't access memory without PROT_READ or PROT_WRITE."

PROT_READ = constant("PROT_READ")

# Of winerror.h: ERROR_FILE_INVALID, for a section of no bytes, and ERROR_ACCESS_DENIED, for a view beyond its section.
NO_SECTION = 1006
NO_VIEW = 5


class Meddler(Buffer):  # type: ignore[misc]
    """An integer or bytes-like object that does something to the map when it is asked for its value."""

    def __init__(self, meddle: Callable[[], object], value: Any) -> None:
        self.meddle = meddle
        self.value = value
        self.asked = 0

    def __index__(self) -> int:
        self.asked += 1
        self.meddle()
        number: int = self.value
        return number

    def __buffer__(self, flags: int) -> memoryview:
        self.asked += 1
        self.meddle()
        return memoryview(self.value)

    def __release_buffer__(self, view: memoryview) -> None:
        pass


def set_item(m: Any, key: Any, value: Any) -> None:
    m[key] = value


# Everything that takes an integer; 1 is good for each of them.
INTEGERS: dict[str, Callable[[Any, Any], Any]] = {
    "index": lambda m, x: m[x],
    "start of a slice": lambda m, x: m[x:5],
    "end of a slice": lambda m, x: m[0:x],
    "step of a slice": lambda m, x: m[0:5:x],
    "start of a slice with a step": lambda m, x: m[x:5:2],
    "set at an index": lambda m, x: set_item(m, x, 65),
    "set to a value": lambda m, x: set_item(m, 1, x),
    "set from a start": lambda m, x: set_item(m, slice(x, 3), b"AB"),
    "set to an end": lambda m, x: set_item(m, slice(0, x), b"A"),
    "set in steps": lambda m, x: set_item(m, slice(0, 2, x), b"AB"),
    "read": lambda m, x: m.read(x),
    "write_byte": lambda m, x: m.write_byte(x),
    "seek": lambda m, x: m.seek(x),
    "whence": lambda m, x: m.seek(0, x),
    "find from": lambda m, x: m.find(b"l", x),
    "find to": lambda m, x: m.find(b"l", 0, x),
    "rfind from": lambda m, x: m.rfind(b"l", x),
    "rfind to": lambda m, x: m.rfind(b"l", 0, x),
    "move to": lambda m, x: m.move(x, 0, 1),
    "move from": lambda m, x: m.move(0, x, 1),
    "move so many": lambda m, x: m.move(0, 1, x),
    "madvise so many": lambda m, x: m.madvise(cffimmap.MADV_NORMAL, 0, x),
    "flush so many": lambda m, x: m.flush(0, x),
    "resize": lambda m, x: m.resize(x),
}
MORE_INTEGERS: dict[str, Callable[[Any, Any], Any]] = {
    "madvise so": lambda m, x: m.madvise(x),
    "madvise from": lambda m, x: m.madvise(cffimmap.MADV_NORMAL, x),
    "flush from": lambda m, x: m.flush(x),
    "flush flags": lambda m, x: m.flush(flags=x),
}

# Everything that takes bytes; two are good for each of them.
BUFFERS: dict[str, Callable[[Any, Any], Any]] = {
    "set slice": lambda m, x: set_item(m, slice(0, 2), x),
    "set slice with a step": lambda m, x: set_item(m, slice(0, 4, 2), x),
    "write": lambda m, x: m.write(x),
    "find": lambda m, x: m.find(x),
    "rfind": lambda m, x: m.rfind(x),
}


# What some of these need that not every platform has.
NEEDED = dict.fromkeys(("madvise so many", "madvise so", "madvise from"), "mmap.madvise")


def every(table: dict[str, Callable[[Any, Any], Any]]) -> pytest.MarkDecorator:
    return each_call(table, NEEDED)


def fail() -> None:
    raise RuntimeError("refused")


class TestFailingArguments:
    @every({**INTEGERS, **MORE_INTEGERS})
    def test_failing_index_changes_nothing(
        self, ours: ModuleType, file: Any, path: Path, call: Callable[[Any, Any], Any]
    ) -> None:
        before = path.read_bytes()
        with ours.mmap(file.fileno(), 0) as m:
            m.seek(6)
            with pytest.raises(RuntimeError, match=r"^refused$"):
                call(m, Meddler(fail, 1))
            assert (m.tell(), len(m)) == (6, SIZE)
        assert path.read_bytes() == before

    @every(BUFFERS)
    def test_failing_buffer_changes_nothing(
        self, ours: ModuleType, file: Any, path: Path, call: Callable[[Any, Any], Any]
    ) -> None:
        before = path.read_bytes()
        with ours.mmap(file.fileno(), 0) as m:
            m.seek(6)
            with pytest.raises(RuntimeError, match=r"^refused$"):
                call(m, Meddler(fail, b"ab"))
            assert m.tell() == 6
        assert path.read_bytes() == before

    @every(BUFFERS)
    def test_type_error_of_a_buffer_goes_out(self, ours: ModuleType, call: Callable[[Any, Any], Any]) -> None:
        def refuse() -> None:
            raise TypeError("not today")

        with ours.mmap(-1, 10) as m, pytest.raises(TypeError, match=r"^not today$"):
            call(m, Meddler(refuse, b"ab"))

    @every(INTEGERS)
    def test_index_is_asked_once(self, ours: ModuleType, file: Any, call: Callable[[Any, Any], Any]) -> None:
        with ours.mmap(file.fileno(), 0) as m:
            number = Meddler(lambda: None, 1)
            call(m, number)
            assert number.asked == 1

    @every(INTEGERS)
    def test_wrong_answer_of_an_index_is_refused(
        self, mmap: ModuleType, call: Callable[[Any, Any], Any]
    ) -> None:
        with mmap.mmap(-1, 10) as m:
            with pytest.raises(TypeError):
                call(m, Meddler(lambda: None, "1"))
            assert m[:] == bytes(10)
            assert m.tell() == 0

    @pytest.mark.parametrize(
        "name",
        [
            "fileno",
            "length",
            pytest.param("flags", marks=needs("MAP_SHARED")),
            pytest.param("prot", marks=needs("PROT_READ")),
            "access",
            "offset",
        ],
    )
    def test_failing_index_makes_no_map(self, mmap: ModuleType, name: str) -> None:
        with pytest.raises(RuntimeError, match=r"^refused$"):
            mmap.mmap(**{"fileno": -1, "length": 10, name: Meddler(fail, 1)})


class TestArgumentsThatMeddle:
    @pytest.mark.differs("closing argument")
    @pytest.mark.differs(
        "closing argument of seek and resize",
        call=[INTEGERS[name] for name in ("seek", "whence", "resize")],
    )
    @pytest.mark.differs(
        "closing argument of flush", call=[INTEGERS["flush so many"], MORE_INTEGERS["flush flags"]]
    )
    @every({**INTEGERS, **MORE_INTEGERS})
    def test_index_that_closes_the_map(
        self, mmap: ModuleType, raises: Raises, call: Callable[[Any, Any], Any]
    ) -> None:
        m = mmap.mmap(-1, 10)
        with raises(ValueError, CLOSED):
            call(m, Meddler(m.close, 1))
        assert m.closed

    @pytest.mark.differs("closing argument")
    @every(BUFFERS)
    def test_buffer_that_closes_the_map(
        self, mmap: ModuleType, raises: Raises, call: Callable[[Any, Any], Any]
    ) -> None:
        m = mmap.mmap(-1, 10)
        with raises(ValueError, CLOSED):
            call(m, Meddler(m.close, b"ab"))
        assert m.closed

    @pytest.mark.differs("index objects", call=[INTEGERS["index"], INTEGERS["set at an index"]])
    @every(INTEGERS)
    def test_index_that_reads_the_map(self, mmap: ModuleType, call: Callable[[Any, Any], Any]) -> None:
        with mmap.mmap(-1, 12) as m, mmap.mmap(-1, 12) as other:
            m[:] = other[:] = b"hello\nworld\n"
            number = Meddler(lambda: (m[0], m[1:3], m.find(b"o")), 1)
            assert call(m, number) == call(other, 1)
            assert m[:] == other[:]
            assert m.tell() == other.tell()

    @every(BUFFERS)
    def test_buffer_that_reads_the_map(
        self, ours: ModuleType, file: Any, call: Callable[[Any, Any], Any]
    ) -> None:
        with ours.mmap(file.fileno(), 0) as m:
            expected = call(m, b"el")
            text = m[:20]
            m[:5] = b"hello"
            m.seek(0)
            assert call(m, Meddler(lambda: (m[0], m[1:3], m.find(b"o")), b"el")) == expected
            assert m[:20] == text

    def test_read_begins_where_its_argument_left_the_position(self, mmap: ModuleType, file: Any) -> None:
        with mmap.mmap(file.fileno(), 0) as m:
            assert m.read(Meddler(lambda: m.seek(6), 5)) == b"world"
            assert m.tell() == 11

    @pytest.mark.differs("shrinking argument")
    @pytest.mark.parametrize(
        ("call", "error", "answer"),
        [
            (lambda m, x: m[x(PAGE + 5)], IndexError, "mmap index out of range"),
            (lambda m, x: set_item(m, x(PAGE + 5), 1), IndexError, "mmap index out of range"),
            (lambda m, x: set_item(m, PAGE + 5, x(1)), IndexError, "mmap index out of range"),
            (lambda m, x: set_item(m, slice(PAGE - 5, x(PAGE + 5)), bytes(10)), IndexError, None),
            (lambda m, x: set_item(m, slice(PAGE - 5, PAGE + 5), x(bytes(10))), IndexError, None),
            (lambda m, x: set_item(m, slice(0, PAGE + 5, 5), x(bytes(821))), IndexError, None),
            (lambda m, x: m.seek(x(PAGE + 5)), ValueError, "seek out of range"),
            (lambda m, x: m.move(x(PAGE), 0, 1), ValueError, None),
            (lambda m, x: m.move(0, PAGE, x(1)), ValueError, None),
            (lambda m, x: m.flush(0, x(PAGE + 5)), ValueError, "flush values out of range"),
            pytest.param(
                lambda m, x: m.madvise(cffimmap.MADV_NORMAL, x(PAGE)),
                ValueError,
                "madvise start out of bounds",
                marks=needs("mmap.madvise"),
            ),
            pytest.param(
                lambda m, x: m.madvise(x(cffimmap.MADV_NORMAL), PAGE),
                ValueError,
                "madvise start out of bounds",
                marks=needs("mmap.madvise"),
            ),
            (lambda m, x: m.write(x(b"ab")), ValueError, "data out of range"),
            (lambda m, x: m.write_byte(x(1)), ValueError, "write byte out of range"),
        ],
    )
    def test_argument_that_shrinks_the_map(
        self,
        mmap: ModuleType,
        file: Any,
        path: Path,
        raises: Raises,
        call: Callable[[Any, Any], Any],
        error: type[Exception],
        answer: str | None,
    ) -> None:
        before = path.read_bytes()
        with mmap.mmap(file.fileno(), 2 * PAGE) as m:
            m.seek(PAGE + 5)
            with raises(error, answer):
                call(m, lambda value: Meddler(lambda: m.resize(PAGE), value))
            assert m.tell() == PAGE + 5
            assert m[:] == before[:PAGE]

    @pytest.mark.differs("shrinking start of a slice")
    @pytest.mark.parametrize(
        ("call", "expected"),
        [
            (lambda m, x: m[x(PAGE - 5) : PAGE + 5], slice(PAGE - 5, PAGE)),
            (lambda m, x: m[x(PAGE + 5) :: -1], slice(PAGE - 1, None, -1)),
            (lambda m, x: m[:: x(2)], slice(0, PAGE, 2)),
            (lambda m, x: m.read(x(2 * PAGE)), slice(6, PAGE)),
        ],
    )
    def test_reading_ends_where_its_argument_shrank_the_map_to(
        self, mmap: ModuleType, file: Any, path: Path, call: Callable[[Any, Any], Any], expected: slice
    ) -> None:
        before = path.read_bytes()
        with mmap.mmap(file.fileno(), 2 * PAGE) as m:
            m.seek(6)
            assert call(m, lambda value: Meddler(lambda: m.resize(PAGE), value)) == before[:PAGE][expected]

    @pytest.mark.parametrize("name", ["find", "rfind"])
    @pytest.mark.parametrize("which", range(3))
    def test_search_ends_where_its_argument_shrank_the_map_to(
        self, mmap: ModuleType, file: Any, name: str, which: int
    ) -> None:
        with mmap.mmap(file.fileno(), 2 * PAGE) as m:
            m[PAGE : PAGE + 6] = b"needle"
            arguments: list[Any] = [b"needle", 0, 2 * PAGE]
            arguments[which] = Meddler(lambda: m.resize(PAGE), arguments[which])
            assert getattr(m, name)(*arguments) == -1


@contextmanager
def opened(kind: str, path: Path) -> Iterator[int]:
    """A descriptor of something that is no regular file."""
    if kind == "socket":
        with socket.socket() as unconnected:
            yield unconnected.fileno()
        return
    if kind == "pipe":
        descriptor, writer = os.pipe()
        os.close(writer)
    elif kind == "fifo":
        os.mkfifo(path.with_name("fifo"))
        descriptor = os.open(path.with_name("fifo"), os.O_RDWR)
    elif kind == "directory":
        descriptor = os.open(path.parent, os.O_RDONLY)
    else:
        descriptor = os.open(kind, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class TestDescriptors:
    @pytest.mark.differs("refused descriptor")
    @pytest.mark.parametrize(
        ("kind", "length", "access", "number"),
        [
            ("fifo", 0, ACCESS_DEFAULT, errno.EINVAL),
            ("fifo", 10, ACCESS_DEFAULT, errno.ENODEV),
            ("fifo", 10, ACCESS_READ, errno.ENODEV),
            ("socket", 0, ACCESS_DEFAULT, errno.EINVAL),
            ("socket", 10, ACCESS_DEFAULT, None),
            ("directory", 0, ACCESS_READ, errno.EINVAL),
            ("directory", 10, ACCESS_DEFAULT, errno.EACCES),
            ("directory", 10, ACCESS_READ, errno.ENODEV),
            ("/dev/zero", 0, ACCESS_DEFAULT, errno.EINVAL),
            ("/dev/null", 0, ACCESS_DEFAULT, errno.EINVAL),
            ("/dev/null", 10, ACCESS_DEFAULT, errno.ENODEV),
        ],
    )
    @needs("os.mkfifo", "/dev/zero")
    def test_what_is_no_file_is_refused(
        self,
        mmap: ModuleType,
        path: Path,
        raises: Raises,
        kind: str,
        length: int,
        access: int,
        number: int | None,
    ) -> None:
        with opened(kind, path) as descriptor:
            before = open_descriptors()
            with raises(OSError, number):
                mmap.mmap(descriptor, length, access=access)
            assert open_descriptors() == before

    @needs("msvcrt")
    @pytest.mark.parametrize(
        ("kind", "length", "errors", "number"),
        [
            # Wine says that it has 0 bytes, Windows nothing.
            ("nul", 0, (OSError, ValueError), None),
            ("nul", 10, OSError, None),
            ("pipe", 0, OSError, None),
            ("pipe", 10, OSError, None),
            # Its number is no descriptor of the C runtime.
            ("socket", 0, OSError, errno.EBADF),
            ("socket", 10, OSError, errno.EBADF),
        ],
    )
    @pytest.mark.parametrize("access", [ACCESS_DEFAULT, ACCESS_READ])
    def test_what_is_no_file_is_refused_on_windows(
        self,
        mmap: ModuleType,
        path: Path,
        kind: str,
        length: int,
        errors: Any,
        number: int | None,
        access: int,
    ) -> None:
        with opened(kind, path) as descriptor:
            before = everything_open()
            with pytest.raises(errors) as caught:
                mmap.mmap(descriptor, length, access=access)
            assert number in (None, getattr(caught.value, "errno", None))
            assert everything_open() == before

    def test_closed_descriptor_is_refused(self, mmap: ModuleType, path: Path, raises: Raises) -> None:
        descriptor = os.open(path, os.O_RDWR)
        os.close(descriptor)
        for length in (0, 10):
            with raises(OSError, errno.EBADF):
                mmap.mmap(descriptor, length)

    @pytest.mark.differs("resize failure")
    def test_own_descriptor_closed_behind_the_back(
        self, mmap: ModuleType, file: Any, path: Path, raises: Raises
    ) -> None:
        before = open_descriptors()
        with mmap.mmap(file.fileno(), 0) as m:
            (own,) = open_descriptors() - before
            close_behind_the_back(own)
            with raises(OSError, errno.EBADF):
                m.size()
            with raises(OSError, errno.EBADF):
                m.resize(PAGE)
            assert (len(m), m.read(5)) == (SIZE, b"hello")
        assert path.stat().st_size == SIZE


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """As many descriptors are open as this process may have."""
    # What earlier tests dropped would be collected at the first refusal, and leave room.
    gc.collect()
    resource: Any = importlib.import_module("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_descriptors()) + 1, limits[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)


@needs("resource")
class TestNoDescriptorLeft:
    def test_map_of_a_file_is_refused(self, mmap: ModuleType, file: Any, raises: Raises) -> None:
        with no_descriptor_left(), raises(OSError, errno.EMFILE):
            mmap.mmap(file.fileno(), 0)

    def test_maps_that_need_none_are_made(self, ours: ModuleType, file: Any) -> None:
        with no_descriptor_left():
            with ours.mmap(-1, 10) as m:
                assert m[:] == bytes(10)
            with ours.mmap(file.fileno(), 0, trackfd=False) as m:
                assert m[:5] == b"hello"

    def test_collecting_is_tried_less_and_less_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        crowded = importlib.import_module("cffimmap._unix").crowded
        monkeypatch.setattr("cffimmap._unix.resource.getrlimit", lambda _: (256, 256))
        assert not crowded(191)
        assert [crowded(192) for _ in range(9)] == [True, True, False, True, False, False, False, True, False]
        assert not crowded(191)
        assert crowded(255)

    def test_few_descriptors_are_no_crowd(self, monkeypatch: pytest.MonkeyPatch) -> None:
        crowded = importlib.import_module("cffimmap._unix").crowded
        monkeypatch.setattr("cffimmap._unix.resource.getrlimit", lambda _: (32, 32))
        assert not crowded(31)
        assert crowded(32)

    def test_dropped_maps_are_collected_first(self, ours: ModuleType, file: Any) -> None:
        class Node(ours.mmap):  # type: ignore[name-defined, misc]
            pass

        node = Node(file.fileno(), 0)
        node.itself = node
        with no_descriptor_left():
            del node
            with ours.mmap(file.fileno(), 0) as m:
                assert m[:5] == b"hello"


class TestFilesThatChange:
    @pytest.fixture
    def resized_meanwhile(self, path: Path) -> Callable[[int], Faulty]:
        """Lets another process change the file's size between the look at it and the mapping.

        On Windows the mapping begins with a section, which keeps the file from becoming shorter.
        """

        def resized(size: int) -> Faulty:
            def before(call: Call) -> None:
                if call.arguments.get("fd") != -1:
                    os.truncate(path, size)

            return Faulty(CreateFileMappingW=before) if WINDOWS else Faulty(mmap=before)

        return resized

    @needs_faults
    def test_file_that_grows_before_it_is_mapped(
        self, ours: ModuleType, file: Any, resized_meanwhile: Callable[[int], Faulty]
    ) -> None:
        with resized_meanwhile(SIZE + 5 * PAGE)(lambda: ours.mmap(file.fileno(), 0)) as m:
            assert (len(m), m.size()) == (SIZE, SIZE + 5 * PAGE)
            assert m[-6:] == b"world\n"

    @needs_faults
    @needs("MAP_SHARED")
    @pytest.mark.parametrize("size", [0, 1, PAGE, 2 * PAGE])
    def test_file_that_shrinks_before_it_is_mapped(
        self,
        ours: ModuleType,
        file: Any,
        path: Path,
        raises: Raises,
        resized_meanwhile: Callable[[int], Faulty],
        size: int,
    ) -> None:
        descriptors = open_descriptors()
        with raises(ValueError, "mmap length is greater than file size"):
            resized_meanwhile(size)(lambda: ours.mmap(file.fileno(), 0))
        assert open_descriptors() == descriptors
        assert path.stat().st_size == size

    @needs("msvcrt")
    @pytest.mark.parametrize(
        ("size", "number"), [(0, NO_SECTION), (1, NO_VIEW), (PAGE, NO_VIEW), (2 * PAGE, NO_VIEW)]
    )
    def test_file_that_shrinks_before_it_is_mapped_is_not_made_longer_on_windows(
        self,
        ours: ModuleType,
        file: Any,
        path: Path,
        resized_meanwhile: Callable[[int], Faulty],
        size: int,
        number: int,
    ) -> None:
        handles = everything_open()
        with pytest.raises(OSError, match=f"WinError {number}"):
            resized_meanwhile(size)(lambda: ours.mmap(file.fileno(), 0))
        assert everything_open() == handles
        assert path.stat().st_size == size

    def test_file_that_grows_afterwards_is_not_mapped_further(
        self, mmap: ModuleType, file: Any, path: Path
    ) -> None:
        with mmap.mmap(file.fileno(), 0) as m:
            os.truncate(path, SIZE + 5 * PAGE)
            assert (len(m), m.size()) == (SIZE, SIZE + 5 * PAGE)

    @needs("msvcrt")
    def test_mapped_file_is_not_cut_on_windows(self, mmap: ModuleType, file: Any, path: Path) -> None:
        """Wine cuts it by way of any handle but that which it was mapped by."""
        before = path.read_bytes()
        with mmap.mmap(file.fileno(), 0) as m:
            for size in (0, PAGE, SIZE - PAGE):
                with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
                    file.truncate(size)
            assert (len(m), m.size(), m[:]) == (SIZE, SIZE, before)
        file.truncate(PAGE)
        assert path.read_bytes() == before[:PAGE]

    @needs("MAP_SHARED")
    def test_pages_that_are_left_can_be_read(self, mmap: ModuleType, file: Any, path: Path) -> None:
        with mmap.mmap(file.fileno(), 0) as m:
            os.truncate(path, PAGE)
            assert (len(m), m.size()) == (SIZE, PAGE)
            assert m[:5] == b"hello"
            assert m.find(b"absent", 0, PAGE) == -1


NO_ACCESS_CALLS = {
    "index": lambda m: m[0],
    "negative index": lambda m: m[-1],
    "index outside": lambda m: m[100],
    "slice": lambda m: m[1:3],
    "empty slice": lambda m: m[3:3],
    "slice with a step": lambda m: m[::2],
    "iteration": list,
    "reversed": lambda m: list(reversed(m)),
    "in": lambda m: b"a" in m,
    "an integer in": lambda m: 1 in m,
    "find": lambda m: m.find(b"a"),
    "rfind": lambda m: m.rfind(b"ab"),
    "read": lambda m: m.read(),
    "read nothing": lambda m: m.read(0),
    "read_byte": lambda m: m.read_byte(),
    "readline": lambda m: m.readline(),
    "memoryview": memoryview,
}


@needs("PROT_EXEC")
class TestMapsWithoutAccess:
    @pytest.fixture(params=[0, constant("PROT_EXEC")], ids=["none", "exec"])
    def m(self, ours: ModuleType, request: pytest.FixtureRequest) -> Iterator[Any]:
        with ours.mmap(-1, 10, prot=request.param) as m:
            yield m

    @pytest.mark.parametrize("call", NO_ACCESS_CALLS.values(), ids=NO_ACCESS_CALLS)
    def test_reading_is_refused(self, m: Any, raises: Raises, call: Callable[[Any], Any]) -> None:
        with raises(TypeError, NO_ACCESS):
            call(m)
        assert m.tell() == 0

    @pytest.mark.parametrize(
        "call",
        [
            lambda m: set_item(m, 0, 1),
            lambda m: set_item(m, slice(0, 1), b"a"),
            lambda m: m.write(b"a"),
            lambda m: m.write_byte(1),
            lambda m: m.move(0, 1, 1),
        ],
    )
    def test_writing_is_refused(self, m: Any, raises: Raises, call: Callable[[Any], Any]) -> None:
        with raises(TypeError, "mmap can't modify a readonly memory map."):
            call(m)

    def test_the_rest_works(self, m: Any) -> None:
        assert (len(m), m.size(), m.seek(0, os.SEEK_END), m.tell()) == (10, 10, 10, 10)
        assert m.flush() is None
        assert m.madvise(cffimmap.MADV_NORMAL) is None
        assert "ACCESS_READ" in repr(m)
        m.close()
        with pytest.raises(ValueError, match=CLOSED):
            m[0]


class TestSizes:
    @needs_addresses
    @pytest.mark.parametrize("size", [2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1])
    def test_sizes_around_the_limits_of_c_work(self, mmap: ModuleType, tmp_path: Path, size: int) -> None:
        path = tmp_path / "sparse"
        with path.open("w+b", buffering=0) as file:
            let_have_holes(file)
            file.seek(size - 3)
            file.write(b"end")
            with mmap.mmap(file.fileno(), 0) as m:
                assert (len(m), m.size(), m[size - 1], m[-1]) == (size, size, ord("d"), ord("d"))
                assert m[size - 5 :] == m[-5 : size + 5] == b"\0\0end"
                assert m[: size - 4 : -2] == b"de"
                assert m.rfind(b"end", 0) == m.find(b"end", size - PAGE) == size - 3
                m.seek(-3, os.SEEK_END)
                assert (m.tell(), m.read(10), m.tell()) == (size - 3, b"end", size)
                m.move(size - 6, size - 3, 3)
                m[size - 3] = ord("E")
                m.seek(size - 1)
                m.write_byte(ord("D"))
                assert m[-6:] == b"endEnD"

    @pytest.mark.parametrize("offset", [2**31, 2**32])
    def test_offsets_around_the_limits_of_c_work(self, mmap: ModuleType, tmp_path: Path, offset: int) -> None:
        path = tmp_path / "sparse"
        with path.open("w+b", buffering=0) as file:
            let_have_holes(file)
            file.seek(offset)
            file.write(b"end")
            with mmap.mmap(file.fileno(), 0, offset=offset) as m:
                assert m[:] == b"end"

    @pytest.mark.parametrize(
        ("size", "error", "answer"),
        [
            (-1, ValueError, "new size out of range"),
            (-SSIZE_MAX - 1, ValueError, "new size out of range"),
            pytest.param(SSIZE_MAX, OSError, None, marks=needs_addresses),
            pytest.param(2**62, OSError, None, marks=needs_addresses),
            (SSIZE_MAX + 1, OverflowError, "Python int too large to convert to C ssize_t"),
            (-SSIZE_MAX - 2, OverflowError, "Python int too large to convert to C ssize_t"),
            ("1", TypeError, "'str' object cannot be interpreted as an integer"),
            (1.0, TypeError, "'float' object cannot be interpreted as an integer"),
        ],
    )
    @pytest.mark.differs("negative resize", size=[-1, -SSIZE_MAX - 1])
    def test_sizes_that_cannot_be_change_nothing(
        self,
        mmap: ModuleType,
        file: Any,
        path: Path,
        raises: Raises,
        size: Any,
        error: type[Exception],
        answer: str | None,
    ) -> None:
        before = path.read_bytes()
        with mmap.mmap(file.fileno(), 0) as m:
            m.seek(6)
            with raises(error, answer):
                m.resize(size)
            assert (len(m), m.size(), m.tell()) == (SIZE, SIZE, 6)
            assert m[:] == before

    def test_size_of_nothing_changes_nothing(
        self, ours: ModuleType, file: Any, path: Path, raises: Raises
    ) -> None:
        before = path.read_bytes()
        with ours.mmap(file.fileno(), 0) as m:
            with raises(OSError, errno.EINVAL):
                m.resize(0)
            assert m[:] == before
        assert path.read_bytes() == before

    def test_size_and_offset_together_must_fit(
        self, ours: ModuleType, file: Any, path: Path, raises: Raises
    ) -> None:
        file.truncate(GRANULARITY + SIZE)
        with (
            ours.mmap(file.fileno(), 0, offset=GRANULARITY) as m,
            raises(ValueError, "new size out of range"),
        ):
            m.resize(SSIZE_MAX - GRANULARITY + 1)
        assert path.stat().st_size == GRANULARITY + SIZE

    @pytest.mark.parametrize(
        ("arguments", "answer"),
        [
            ({"access": ACCESS_READ}, "mmap can't resize a readonly or copy-on-write memory map."),
            pytest.param(
                {"prot": PROT_READ},
                "mmap can't resize a readonly or copy-on-write memory map.",
                marks=needs("PROT_READ"),
            ),
            ({"access": 3}, "mmap can't resize a readonly or copy-on-write memory map."),
        ],
    )
    def test_maps_that_cannot_be_resized_say_so(
        self, mmap: ModuleType, file: Any, path: Path, raises: Raises, arguments: dict[str, int], answer: str
    ) -> None:
        with mmap.mmap(file.fileno(), 0, **arguments) as m:
            for size in (10, -1, 2 * SIZE):
                with raises(TypeError, answer):
                    m.resize(size)
            assert len(m) == SIZE
        assert path.stat().st_size == SIZE
