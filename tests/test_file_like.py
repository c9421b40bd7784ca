"""The map as a file: reading and writing at a position, seeking, the size, and closing."""

from __future__ import annotations

import array
import io
import os
from typing import TYPE_CHECKING, Any

import pytest
from _files import GRANULARITY, PAGE, SIZE, SSIZE_MAX, Index, each_call
from _needs import needs
from hypothesis import given
from hypothesis import strategies as st

import cffimmap
from cffimmap import ACCESS_READ

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from conftest import Raises

CLOSED = "mmap closed or invalid"
READ_ONLY = "mmap can't modify a readonly memory map."
BIG_READ = "cannot fit 'int' into an index-sized integer"
SSIZE = "Python int too large to convert to C ssize_t"
MEBIBYTE = 1 << 20


class TestRead:
    @pytest.mark.differs("read too much", count=[(SSIZE_MAX,)])
    @pytest.mark.parametrize(
        "count", [(), (None,), (-1,), (-SSIZE_MAX - 1,), (SIZE,), (SIZE + 1,), (SSIZE_MAX,)]
    )
    def test_everything_to_the_end(self, m: Any, path: Path, count: tuple[int | None, ...]) -> None:
        m.seek(6)
        assert m.read(*count) == path.read_bytes()[6:]
        assert m.tell() == SIZE

    @pytest.mark.parametrize("count", [0, 1, 5, 4096, SIZE - 6])
    def test_count_is_an_upper_limit(self, m: Any, path: Path, count: int) -> None:
        m.seek(6)
        assert m.read(Index(count)) == path.read_bytes()[6 : 6 + count]
        assert m.tell() == 6 + count

    def test_nothing_at_the_end(self, m: Any) -> None:
        m.seek(0, os.SEEK_END)
        for count in ((), (1,), (None,), (0,)):
            assert m.read(*count) == b""
        assert m.tell() == SIZE

    def test_parts_make_the_whole(self, m: Any, path: Path) -> None:
        assert b"".join(iter(lambda: m.read(777), b"")) == path.read_bytes()

    @pytest.mark.parametrize("length", [MEBIBYTE - 1, MEBIBYTE, 2 * MEBIBYTE + 1])
    def test_long_reads_are_whole(self, mmap: ModuleType, length: int) -> None:
        text = bytes(range(256)) * (length // 256 + 1)
        with mmap.mmap(-1, len(text)) as m:
            m.write(text)
            m.seek(1)
            assert m.read(length - 1) == text[1:length]
            assert m.tell() == length

    @pytest.mark.parametrize("count", [5.5, "a", b"a", []], ids=repr)
    def test_other_types_are_refused(self, m: Any, raises: Raises, count: Any) -> None:
        m.seek(6)
        with raises(TypeError, f"argument should be integer or None, not {type(count).__name__!r}"):
            m.read(count)
        assert m.tell() == 6

    @pytest.mark.parametrize("count", [SSIZE_MAX + 1, -SSIZE_MAX - 2, 2**70, -(2**70)])
    def test_count_too_large_for_c_is_refused(self, m: Any, raises: Raises, count: int) -> None:
        m.seek(6)
        with raises(OverflowError, BIG_READ):
            m.read(count)
        assert m.tell() == 6

    def test_byte_is_an_integer(self, m: Any) -> None:
        assert [m.read_byte() for _ in range(6)] == list(b"hello\n")
        assert m.tell() == 6

    def test_no_byte_at_the_end(self, m: Any, raises: Raises) -> None:
        m.seek(-1, os.SEEK_END)
        assert m.read_byte() == ord("\n")
        with raises(ValueError, "read byte out of range"):
            m.read_byte()
        assert m.tell() == SIZE


class TestReadLine:
    def test_line_has_its_newline(self, m: Any) -> None:
        assert (m.readline(), m.readline(), m.tell()) == (b"hello\n", b"world\n", 12)

    def test_line_begins_at_the_position(self, m: Any) -> None:
        m.seek(3)
        assert m.readline() == b"lo\n"
        m.seek(5)
        assert m.readline() == b"\n"

    def test_last_line_needs_no_newline(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 8) as m:
            m[:] = b"one\n\ntwo"
            assert list(iter(m.readline, b"")) == [b"one\n", b"\n", b"two"]
            assert m.tell() == 8
            assert m.readline() == b""

    @given(
        text=st.lists(st.sampled_from([b"\n", b"a", b"\r", b"\0"]), min_size=1, max_size=60), start=st.data()
    )
    def test_lines_are_those_of_a_binary_file(
        self, mmap: ModuleType, text: list[bytes], start: st.DataObject
    ) -> None:
        model = io.BytesIO(b"".join(text))
        with mmap.mmap(-1, len(text)) as m:
            m.write(model.getvalue())
            position = start.draw(st.integers(0, len(text)))
            m.seek(position)
            model.seek(position)
            for _ in range(len(text) + 1):
                assert m.readline() == model.readline()
                assert m.tell() == model.tell()

    def test_long_line_is_whole(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 2 * MEBIBYTE) as m:
            m[-5:] = b"\nlast"
            assert m.readline() == bytes(2 * MEBIBYTE - 5) + b"\n"
            assert m.readline() == b"last"

    def test_readline_takes_no_argument(self, m: Any) -> None:
        with pytest.raises(TypeError):
            m.readline(1)


class TestWrite:
    @pytest.mark.parametrize(
        "data",
        [b"HELLO", bytearray(b"HELLO"), memoryview(b"HELLO"), array.array("B", b"HELLO"), b"", b"x"],
    )
    def test_count_of_bytes_is_returned(self, m: Any, path: Path, data: Any) -> None:
        before = path.read_bytes()
        m.seek(6)
        assert m.write(data) == len(data)
        assert m.tell() == 6 + len(data)
        assert m[:] == before[:6] + bytes(data) + before[6 + len(data) :]

    def test_wider_items_count_as_their_bytes(self, m: Any) -> None:
        words = array.array("I", [1, 2, 3])
        assert m.write(words) == 12
        assert m.tell() == 12
        assert m[:12] == words.tobytes()

    def test_file_has_what_was_written(self, m: Any, path: Path) -> None:
        m.write(b"HELLO")
        m.write_byte(33)
        assert path.read_bytes()[:12] == b"HELLO!world\n"

    def test_write_may_end_with_the_map(self, m: Any) -> None:
        m.seek(-3, os.SEEK_END)
        assert m.write(b"END") == 3
        assert m.tell() == SIZE
        assert m.write(b"") == 0

    def test_never_a_part_is_written(self, m: Any, raises: Raises, path: Path) -> None:
        before = path.read_bytes()
        m.seek(-3, os.SEEK_END)
        for data in (b"long", bytearray(b"long"), bytes(SIZE)):
            with raises(ValueError, "data out of range"):
                m.write(data)
        assert m.tell() == SIZE - 3
        assert m[:] == before

    def test_long_writes_are_whole(self, mmap: ModuleType) -> None:
        text = bytes(range(256)) * (2 * MEBIBYTE // 256)
        with mmap.mmap(-1, len(text) + 2) as m:
            m.seek(1)
            assert m.write(text) == len(text)
            assert m[1:-1] == text

    @pytest.mark.parametrize("data", ["a", 1, None, [1], 1.5], ids=repr)
    def test_other_types_are_refused(self, m: Any, raises: Raises, data: Any) -> None:
        m.seek(6)
        with raises(TypeError, f"a bytes-like object is required, not {type(data).__name__!r}"):
            m.write(data)
        assert m.tell() == 6

    @pytest.mark.differs("gaps")
    def test_memory_with_gaps_is_refused(self, m: Any) -> None:
        with pytest.raises(BufferError):
            m.write(memoryview(bytes(8))[::2])
        assert m.tell() == 0

    @pytest.mark.parametrize("value", [0, 1, 127, 128, 255])
    def test_byte_is_an_integer(self, m: Any, value: int) -> None:
        m.seek(6)
        assert m.write_byte(value) is None
        assert m.write_byte(Index(value)) is None
        assert m.tell() == 8
        assert m[6:8] == bytes([value, value])

    @pytest.mark.differs("write_byte", value=[256, Index(300), -1])
    @pytest.mark.parametrize(
        ("value", "error", "answer"),
        [
            (256, OverflowError, "unsigned byte integer is greater than maximum"),
            (Index(300), OverflowError, "unsigned byte integer is greater than maximum"),
            (-1, OverflowError, "unsigned byte integer is less than minimum"),
            (2**70, OverflowError, None),
            ("a", TypeError, "'str' object cannot be interpreted as an integer"),
            (b"a", TypeError, "'bytes' object cannot be interpreted as an integer"),
            (1.0, TypeError, "'float' object cannot be interpreted as an integer"),
            (None, TypeError, "'NoneType' object cannot be interpreted as an integer"),
        ],
    )
    def test_other_values_are_no_bytes(
        self, m: Any, raises: Raises, path: Path, value: Any, error: type[Exception], answer: str
    ) -> None:
        before = path.read_bytes()
        m.seek(6)
        with raises(error, answer):
            m.write_byte(value)
        assert m.tell() == 6
        assert m[:] == before

    def test_no_byte_fits_at_the_end(self, m: Any, raises: Raises) -> None:
        m.seek(0, os.SEEK_END)
        with raises(ValueError, "write byte out of range"):
            m.write_byte(1)
        assert m.tell() == SIZE

    @pytest.mark.parametrize("data", [b"", b"a", bytes(2 * SIZE)], ids=len)
    def test_read_only_map_takes_nothing(self, frozen: Any, raises: Raises, data: bytes) -> None:
        with raises(TypeError, READ_ONLY):
            frozen.write(data)
        with raises(TypeError, READ_ONLY):
            frozen.write_byte(1)
        assert frozen.tell() == 0


class TestSeek:
    @pytest.mark.differs("seek returns")
    @pytest.mark.parametrize(
        ("arguments", "position"),
        [
            ((0,), 0),
            ((7,), 7),
            ((SIZE,), SIZE),
            ((Index(7), Index(0)), 7),
            ((7, os.SEEK_SET), 7),
            ((0, os.SEEK_CUR), 100),
            ((-100, os.SEEK_CUR), 0),
            ((SIZE - 100, os.SEEK_CUR), SIZE),
            ((0, os.SEEK_END), SIZE),
            ((-SIZE, os.SEEK_END), 0),
        ],
    )
    def test_new_position_is_returned(self, m: Any, arguments: tuple[Any, ...], position: int) -> None:
        m.seek(100)
        assert m.seek(*arguments) == position
        assert m.tell() == position

    @pytest.mark.differs("range of a C int", arguments=[(0, 2**31)])
    @pytest.mark.parametrize(
        ("arguments", "error", "answer"),
        [
            ((-1,), ValueError, "seek out of range"),
            ((SIZE + 1,), ValueError, "seek out of range"),
            ((SSIZE_MAX,), ValueError, "seek out of range"),
            ((-101, os.SEEK_CUR), ValueError, "seek out of range"),
            ((SSIZE_MAX, os.SEEK_CUR), ValueError, "seek out of range"),
            ((-SSIZE_MAX - 1, os.SEEK_CUR), ValueError, "seek out of range"),
            ((1, os.SEEK_END), ValueError, "seek out of range"),
            ((-SIZE - 1, os.SEEK_END), ValueError, "seek out of range"),
            ((-SSIZE_MAX - 1, os.SEEK_END), ValueError, "seek out of range"),
            ((0, 3), ValueError, "unknown seek type"),
            ((0, -1), ValueError, "unknown seek type"),
            ((SSIZE_MAX + 1,), OverflowError, SSIZE),
            ((Index(-SSIZE_MAX - 2),), OverflowError, SSIZE),
            ((0, 2**31), OverflowError, None),
            (("a",), TypeError, "'str' object cannot be interpreted as an integer"),
            ((1.5,), TypeError, "'float' object cannot be interpreted as an integer"),
            ((None,), TypeError, "'NoneType' object cannot be interpreted as an integer"),
            ((0, "a"), TypeError, "'str' object cannot be interpreted as an integer"),
            ((), TypeError, None),
            ((0, 0, 0), TypeError, None),
        ],
    )
    def test_bad_arguments_leave_the_position(
        self, m: Any, raises: Raises, arguments: tuple[Any, ...], error: type[Exception], answer: str
    ) -> None:
        m.seek(100)
        with raises(error, answer):
            m.seek(*arguments)
        assert m.tell() == 100

    def test_map_starts_at_its_beginning(self, m: Any) -> None:
        assert m.tell() == 0

    @pytest.mark.differs("seekable")
    def test_map_is_seekable(self, m: Any) -> None:
        assert m.seekable() is True

    def test_true_is_one(self, m: Any) -> None:
        m.seek(True)
        assert repr(m.tell()) == "1"
        assert "pos=1," in repr(m)


class TestSize:
    def test_size_is_that_of_the_file(self, mmap: ModuleType, file: Any) -> None:
        size = GRANULARITY + SIZE
        file.truncate(size)
        with mmap.mmap(file.fileno(), 10, offset=GRANULARITY) as m:
            assert (m.size(), len(m)) == (size, 10)

    def test_size_follows_the_file(self, m: Any, path: Path) -> None:
        os.truncate(path, SIZE + 5 * PAGE)
        assert m.size() == SIZE + 5 * PAGE
        assert len(m) == SIZE

    @pytest.mark.differs("anonymous size")
    def test_anonymous_size_is_the_length(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 100) as m:
            assert m.size() == 100


class TestShrunkBelowThePosition:
    @pytest.fixture
    def shrunk(self, mmap: ModuleType) -> Any:
        with mmap.mmap(-1, 2 * PAGE) as m:
            m.seek(PAGE + 5)
            m.resize(PAGE)
            yield m

    def test_there_is_nothing_to_read(self, shrunk: Any) -> None:
        assert shrunk.read() == b""
        assert shrunk.read(5) == b""
        assert shrunk.readline() == b""
        assert shrunk.tell() == PAGE + 5

    def test_bytes_and_writes_are_refused(self, shrunk: Any, raises: Raises) -> None:
        with raises(ValueError, "read byte out of range"):
            shrunk.read_byte()
        with raises(ValueError, "write byte out of range"):
            shrunk.write_byte(1)
        with raises(ValueError, "data out of range"):
            shrunk.write(b"a")
        assert shrunk.tell() == PAGE + 5

    def test_position_can_be_moved_back(self, shrunk: Any) -> None:
        shrunk.seek(-6, os.SEEK_CUR)
        assert shrunk.tell() == PAGE - 1
        assert shrunk.read() == b"\0"


CALLS = {
    "len": len,
    "bool": bool,
    "index": lambda m: m[0],
    "negative index": lambda m: m[-1],
    "slice": lambda m: m[0:1],
    "slice with a step": lambda m: m[::2],
    "empty slice": lambda m: m[0:0],
    "set index": lambda m: m.__setitem__(0, 1),
    "set slice": lambda m: m.__setitem__(slice(0, 1), b"a"),
    "set empty slice": lambda m: m.__setitem__(slice(0, 0), b""),
    "set slice with a step": lambda m: m.__setitem__(slice(0, 4, 2), b"ab"),
    "iteration": list,
    "reversed": reversed,
    "in": lambda m: b"a" in m,
    "find": lambda m: m.find(b"a"),
    "rfind": lambda m: m.rfind(b"a"),
    "find nothing": lambda m: m.find(b""),
    "flush": lambda m: m.flush(),
    "madvise": lambda m: m.madvise(cffimmap.MADV_NORMAL),
    "move": lambda m: m.move(0, 0, 0),
    "read": lambda m: m.read(),
    "read nothing": lambda m: m.read(0),
    "read_byte": lambda m: m.read_byte(),
    "readline": lambda m: m.readline(),
    "resize": lambda m: m.resize(1),
    "seek": lambda m: m.seek(0),
    "size": lambda m: m.size(),
    "tell": lambda m: m.tell(),
    "write": lambda m: m.write(b"a"),
    "write nothing": lambda m: m.write(b""),
    "write_byte": lambda m: m.write_byte(1),
    "memoryview": memoryview,
    "with": lambda m: m.__enter__(),
}


class TestClosed:
    @pytest.fixture
    def closed(self, mmap: ModuleType, file: Any) -> Any:
        m = mmap.mmap(file.fileno(), 0)
        m.close()
        return m

    @pytest.mark.differs("length of a closed map", call=[len, bool])
    @pytest.mark.differs("reversed closed map", call=[reversed])
    @each_call(CALLS, {"madvise": "mmap.madvise"})
    def test_every_use_raises(self, closed: Any, raises: Raises, call: Any) -> None:
        with raises(ValueError, CLOSED):
            call(closed)

    @pytest.mark.parametrize(
        ("name", "arguments"), [("write", (b"",)), ("write_byte", (1,)), ("move", (0, 0, 0))]
    )
    def test_closed_comes_before_read_only(
        self, mmap: ModuleType, raises: Raises, name: str, arguments: tuple[Any, ...]
    ) -> None:
        m = mmap.mmap(-1, 10, access=ACCESS_READ)
        m.close()
        with raises(ValueError, CLOSED):
            getattr(m, name)(*arguments)

    def test_closed_comes_before_the_type_of_an_index(self, ours: ModuleType, raises: Raises) -> None:
        m = ours.mmap(-1, 10)
        m.close()
        with raises(ValueError, CLOSED):
            m["a"]

    @needs("mmap.set_name")
    def test_naming_it_raises(self, ours: ModuleType, raises: Raises) -> None:
        m = ours.mmap(-1, 10)
        m.close()
        with raises(ValueError, CLOSED):
            m.set_name("name")

    def test_closed_says_so(self, mmap: ModuleType) -> None:
        m = mmap.mmap(-1, 10)
        assert m.closed is False
        m.close()
        assert m.closed is True

    def test_assignment_looks_at_its_slice_first(self, ours: ModuleType) -> None:
        m = ours.mmap(-1, 10)
        m.close()
        with pytest.raises(TypeError, match="slice indices must be integers"):
            m["a":] = b""

    def test_closing_again_is_fine(self, closed: Any) -> None:
        assert closed.close() is None
        assert closed.__exit__(None, None, None) is None

    @pytest.mark.differs("seekable")
    def test_closed_map_is_seekable(self, closed: Any) -> None:
        assert closed.seekable() is True

    @pytest.mark.differs("arguments first", name=["find", "read", "write"])
    @pytest.mark.differs("integers first", name=["seek", "move"])
    @pytest.mark.parametrize(
        ("name", "arguments"),
        [("find", ("a",)), ("read", ("a",)), ("seek", ("a",)), ("write", (5,)), ("move", ("a", 0, 0))],
    )
    def test_wrong_types_are_found_all_the_same(
        self, closed: Any, name: str, arguments: tuple[Any, ...]
    ) -> None:
        with pytest.raises(TypeError):
            getattr(closed, name)(*arguments)
