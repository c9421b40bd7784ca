"""The map as a sequence of bytes: indices, slices, iteration, membership."""

from __future__ import annotations

import array
from typing import TYPE_CHECKING, Any

import pytest
from _files import PAGE, SSIZE_MAX, Index
from conftest import tuned
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from conftest import Raises

TEXT = bytes(range(256))

READ_ONLY = "mmap can't modify a readonly memory map."
OUT_OF_RANGE = "mmap index out of range"
WRONG_SIZE = "mmap slice assignment is wrong size"
NO_INDEX = "mmap indices must be integers"

MEBIBYTE = 1 << 20

bounds = st.none() | st.integers(-300, 300) | st.sampled_from([SSIZE_MAX, -SSIZE_MAX - 1, 2**70, -(2**70)])
slices = st.builds(slice, bounds, bounds, bounds.filter(lambda step: step != 0))


@pytest.fixture
def numbered(mmap: ModuleType) -> Iterator[Any]:
    """A map of the bytes 0 to 255."""
    with mmap.mmap(-1, 256) as m:
        m.write(TEXT)
        m.seek(0)
        yield m


def test_length_is_the_bytes_mapped(numbered: Any) -> None:
    assert len(numbered) == 256
    assert bool(numbered)


class TestReading:
    @pytest.mark.differs("index objects")
    @pytest.mark.parametrize("index", [0, 1, 254, 255, -1, -2, -255, -256])
    def test_index_gives_an_integer(self, numbered: Any, index: int) -> None:
        assert numbered[index] == TEXT[index]
        assert numbered[Index(index)] == TEXT[index]

    def test_true_is_index_one(self, numbered: Any) -> None:
        assert numbered[True] == 1

    @pytest.mark.differs("index objects")
    @pytest.mark.parametrize("index", [256, -257, 2**31, SSIZE_MAX, -SSIZE_MAX - 1])
    def test_index_outside_raises(self, numbered: Any, raises: Raises, index: int) -> None:
        for key in (index, Index(index)):
            with raises(IndexError, OUT_OF_RANGE):
                numbered[key]

    @pytest.mark.differs("index too large")
    @pytest.mark.parametrize("index", [SSIZE_MAX + 1, -SSIZE_MAX - 2, 2**70])
    def test_index_too_large_for_c_raises(self, numbered: Any, index: int) -> None:
        for key in (index, Index(index)):
            with pytest.raises(IndexError):
                numbered[key]

    @pytest.mark.parametrize("key", ["a", b"a", 1.0, None, (), (1,), (1, 2), (slice(1, 2),), [1]], ids=repr)
    def test_other_keys_are_refused(self, numbered: Any, raises: Raises, key: Any) -> None:
        with raises(TypeError, NO_INDEX):
            numbered[key]

    @given(key=slices)
    def test_slices_are_those_of_bytes(self, mmap: ModuleType, key: slice) -> None:
        with mmap.mmap(-1, 256) as m:
            m.write(TEXT)
            data = m[key]
            assert type(data) is bytes
            assert data == TEXT[key]

    @pytest.mark.parametrize("key", [slice(Index(3), Index(-3)), slice(Index(250), None, Index(-7))])
    def test_slices_take_whatever_has_an_index(self, numbered: Any, key: slice) -> None:
        plain = slice(*(part and part.value for part in (key.start, key.stop, key.step)))
        assert numbered[key] == TEXT[plain]

    @pytest.mark.parametrize("key", [slice("a", None), slice(None, 1.0), slice(0, 5, b"1")], ids=repr)
    def test_slices_of_other_types_are_refused(self, numbered: Any, key: slice) -> None:
        with pytest.raises(TypeError, match="slice indices must be integers"):
            numbered[key]

    def test_step_zero_is_refused(self, numbered: Any, raises: Raises) -> None:
        with raises(ValueError, "slice step cannot be zero"):
            numbered[::0]

    @pytest.mark.parametrize("length", [MEBIBYTE - 1, MEBIBYTE, 3 * MEBIBYTE])
    def test_long_slices_are_whole(self, mmap: ModuleType, length: int) -> None:
        text = TEXT * (length // 256 + 2)
        with mmap.mmap(-1, len(text)) as m:
            m.write(text)
            assert m[1 : 1 + length] == text[1 : 1 + length]
            assert m[1 : 1 + length : 3] == text[1 : 1 + length : 3]

    @pytest.mark.parametrize("step", [1, 2, 3, 50, -1, -2, -7])
    @pytest.mark.parametrize("part", [1, 2, 7, 100])
    def test_long_slices_are_read_and_written_in_parts(self, ours: ModuleType, step: int, part: int) -> None:
        model = bytearray(TEXT)
        key = slice(250, 3, step) if step < 0 else slice(3, 250, step)
        with tuned(long=2, part=part), ours.mmap(-1, 256) as m:
            m[:] = TEXT
            assert m[key] == TEXT[key]
            m[key] = model[key] = TEXT[: len(TEXT[key])]
            assert m[:] == model

    @pytest.mark.parametrize("key", [slice(1, 5), slice(None, None, 2), slice(0, 2 * MEBIBYTE), 7], ids=repr)
    def test_reading_leaves_the_position(self, numbered: Any, key: Any) -> None:
        numbered.seek(9)
        numbered[key]
        assert numbered.tell() == 9


class TestWriting:
    @pytest.mark.differs("index objects")
    @pytest.mark.parametrize("index", [0, 255, -1, -256])
    @pytest.mark.parametrize("value", [0, 1, 254, 255])
    def test_index_takes_an_integer(self, numbered: Any, index: int, value: int) -> None:
        model = bytearray(TEXT)
        model[index] = value
        numbered[Index(index)] = Index(value)
        assert numbered[:] == model
        numbered[index] = value
        assert numbered[:] == model

    @pytest.mark.parametrize("count", range(10))
    def test_short_ones_lie_anywhere(self, numbered: Any, count: int) -> None:
        """Those as long as a number of C are copied as one."""
        model = bytearray(TEXT)
        for start in range(10):
            value = bytes(range(200 + start, 200 + start + count))
            numbered[start : start + count] = model[start : start + count] = value
            assert numbered[:] == model
            assert numbered[start : start + count] == value
            numbered.seek(start)
            numbered.write(value[::-1])
            model[start : start + count] = value[::-1]
            assert numbered[:] == model
            numbered.seek(start)
            assert numbered.read(count) == value[::-1]

    @pytest.mark.differs("assigned types")
    @given(key=slices, data=st.data())
    def test_slices_take_as_many_bytes(self, mmap: ModuleType, key: slice, data: st.DataObject) -> None:
        model = bytearray(TEXT)
        count = len(model[key])
        value = data.draw(st.binary(min_size=count, max_size=count))
        kind = data.draw(
            st.sampled_from([bytes, bytearray, memoryview, lambda value: array.array("B", value)])
        )
        with mmap.mmap(-1, 256) as m:
            m.write(TEXT)
            m[key] = kind(value)
            # A bytearray takes an empty value backwards where it would not change length: so does a map.
            if count:
                model[key] = value
            assert m[:] == model

    @pytest.mark.differs("assigned sizes")
    @given(key=slices, count=st.integers(0, 300))
    def test_another_length_is_refused(self, mmap: ModuleType, key: slice, count: int) -> None:
        if count == len(TEXT[key]):
            count += 1
        with mmap.mmap(-1, 256) as m:
            m.write(TEXT)
            with pytest.raises(IndexError):
                m[key] = bytes(count)
            assert m[:] == TEXT

    @pytest.mark.differs("index too large", key=[SSIZE_MAX + 1, Index(-(2**70))])
    @pytest.mark.differs("assigned sizes", error=[IndexError], answer=[WRONG_SIZE])
    @pytest.mark.parametrize(
        ("key", "value", "error", "answer"),
        [
            (256, 1, IndexError, OUT_OF_RANGE),
            (-257, 1, IndexError, OUT_OF_RANGE),
            (SSIZE_MAX + 1, 1, IndexError, None),
            (Index(-(2**70)), 1, IndexError, None),
            (0, 256, ValueError, "mmap item value must be in range(0, 256)"),
            (0, -1, ValueError, "mmap item value must be in range(0, 256)"),
            (0, Index(256), ValueError, "mmap item value must be in range(0, 256)"),
            (0, b"a", TypeError, "mmap item value must be an int"),
            (0, "a", TypeError, "mmap item value must be an int"),
            (0, 1.0, TypeError, "mmap item value must be an int"),
            (0, None, TypeError, "mmap item value must be an int"),
            ("a", 1, TypeError, "mmap indices must be integer"),
            (1.0, 1, TypeError, "mmap indices must be integer"),
            (None, b"a", TypeError, "mmap indices must be integer"),
            ((1,), 1, TypeError, "mmap indices must be integer"),
            ((1, 2), 1, TypeError, "mmap indices must be integer"),
            (slice(0, 3), b"ab", IndexError, WRONG_SIZE),
            (slice(0, 3), b"abcd", IndexError, WRONG_SIZE),
            (slice(0, 3), bytearray(b"abcd"), IndexError, WRONG_SIZE),
            (slice(5, 3), b"x", IndexError, WRONG_SIZE),
            (slice(0, 4, 2), b"abc", IndexError, WRONG_SIZE),
            (slice(0, 3), "abc", TypeError, "a bytes-like object is required, not 'str'"),
            (slice(0, 3), 5, TypeError, "a bytes-like object is required, not 'int'"),
            (slice(0, 3), [1, 2, 3], TypeError, "a bytes-like object is required, not 'list'"),
            (slice(0, 3), None, TypeError, "a bytes-like object is required, not 'NoneType'"),
            (slice(0, 4, 2), "ab", TypeError, "a bytes-like object is required, not 'str'"),
            (slice("a", 3), b"abc", TypeError, None),
            (slice("a", 3), bytearray(b"abc"), TypeError, None),
            (slice(0, 3, 0), b"abc", ValueError, "slice step cannot be zero"),
        ],
    )
    def test_bad_assignments_change_nothing(
        self,
        numbered: Any,
        raises: Raises,
        key: Any,
        value: Any,
        error: type[Exception],
        answer: str | None,
    ) -> None:
        with raises(error, answer):
            numbered[key] = value
        assert numbered[:] == TEXT

    @pytest.mark.parametrize("value", [SSIZE_MAX + 1, -SSIZE_MAX - 2, 2**70])
    def test_value_too_large_for_c_is_refused(self, ours: ModuleType, value: int) -> None:
        with ours.mmap(-1, 4) as m:
            with pytest.raises(ValueError, match="mmap item value must be in range"):
                m[0] = value
            assert m[:] == bytes(4)

    @pytest.mark.differs("assigned types")
    def test_wider_items_count_as_their_bytes(self, numbered: Any) -> None:
        words = array.array("H", [0x0102, 0x0304])
        numbered[10:14] = words
        assert numbered[10:14] == words.tobytes()

    @pytest.mark.differs("assigned gaps")
    def test_memory_with_gaps_is_refused(self, numbered: Any) -> None:
        with pytest.raises(BufferError):
            numbered[0:4] = memoryview(bytes(8))[::2]
        assert numbered[:] == TEXT

    def test_own_slices_may_be_assigned(self, numbered: Any) -> None:
        numbered[0:4] = numbered[2:6]
        assert numbered[:8] == bytes([2, 3, 4, 5, 4, 5, 6, 7])

    @pytest.mark.parametrize("target", [0, 2, 4])
    def test_overlapping_view_of_itself_may_be_assigned(self, ours: ModuleType, target: int) -> None:
        with ours.mmap(-1, 256) as m:
            m[:] = TEXT
            with memoryview(m) as view:
                m[target : target + 100] = view[2:102]
            model = bytearray(TEXT)
            model[target : target + 100] = TEXT[2:102]
            assert m[:] == model

    def test_long_slices_are_written_whole(self, mmap: ModuleType) -> None:
        text = TEXT * (2 * MEBIBYTE // 256)
        with mmap.mmap(-1, len(text) + 2) as m:
            m[1:-1] = text
            assert m[1:-1] == text
            assert (m[0], m[-1]) == (0, 0)

    def test_writing_leaves_the_position(self, numbered: Any) -> None:
        numbered.seek(9)
        numbered[0] = 1
        numbered[0:2] = b"ab"
        numbered[0:4:2] = b"ab"
        assert numbered.tell() == 9


class TestReadOnly:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            (0, 1),
            (0, 256),
            ("a", 1),
            (slice(0, 1), b"a"),
            (slice(0, 1), 1),
            (slice(0, 0), b""),
            (slice(0, 4, 2), b"ab"),
        ],
        ids=repr,
    )
    def test_items_cannot_be_set(self, frozen: Any, raises: Raises, key: Any, value: Any) -> None:
        with raises(TypeError, READ_ONLY):
            frozen[key] = value

    def test_items_cannot_be_deleted(self, frozen: Any, raises: Raises) -> None:
        with raises(TypeError, READ_ONLY):
            del frozen[0]

    def test_items_can_be_read(self, frozen: Any) -> None:
        assert frozen[0] == ord("h")
        assert frozen[-6:] == b"world\n"
        assert frozen[4::-1] == b"olleh"


class TestWhatAMapCannotDo:
    @pytest.mark.parametrize(
        ("key", "answer"),
        [
            (0, "mmap doesn't support item deletion"),
            (slice(0, 1), "mmap object doesn't support slice deletion"),
            ("a", "mmap indices must be integer"),
            ((0,), "mmap indices must be integer"),
        ],
    )
    def test_items_cannot_be_deleted(self, numbered: Any, raises: Raises, key: Any, answer: str) -> None:
        with raises(TypeError, answer):
            del numbered[key]
        assert numbered[:] == TEXT

    def test_map_cannot_be_added_to(self, numbered: Any) -> None:
        for other in (numbered, b"a", 1):
            with pytest.raises(TypeError):
                numbered + other

    def test_map_cannot_be_multiplied(self, numbered: Any) -> None:
        with pytest.raises(TypeError):
            numbered * 2
        with pytest.raises(TypeError):
            2 * numbered

    def test_map_has_no_order(self, numbered: Any) -> None:
        with pytest.raises(TypeError):
            assert numbered < numbered


class TestIteration:
    def test_iteration_gives_bytes_of_length_one(self, numbered: Any) -> None:
        assert list(numbered) == [bytes([octet]) for octet in TEXT]

    def test_iterator_is_its_own(self, numbered: Any) -> None:
        first, second = iter(numbered), iter(numbered)
        assert iter(first) is first
        assert (next(first), next(first), next(second)) == (b"\0", b"\1", b"\0")

    def test_reversed_goes_backwards(self, numbered: Any) -> None:
        assert list(reversed(numbered)) == [bytes([octet]) for octet in reversed(TEXT)]

    def test_iteration_leaves_the_position(self, numbered: Any) -> None:
        numbered.seek(9)
        list(numbered)
        list(reversed(numbered))
        assert numbered.tell() == 9

    def test_iteration_sees_later_writes(self, numbered: Any) -> None:
        iterator = iter(numbered)
        next(iterator)
        numbered[1] = 200
        assert next(iterator) == b"\xc8"

    def test_iteration_over_a_closed_map_raises(self, mmap: ModuleType, raises: Raises) -> None:
        with mmap.mmap(-1, 4) as m:
            forwards, backwards = iter(m), reversed(m)
            next(forwards)
            next(backwards)
        for iterator in (forwards, backwards):
            with raises(ValueError, "mmap closed or invalid"):
                next(iterator)

    def test_iteration_ends_where_the_map_was_shrunk_to(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 2 * PAGE) as m:
            iterator = iter(m)
            next(iterator)
            m.resize(3)
            assert list(iterator) == [b"\0", b"\0"]

    def test_reversed_ends_when_the_map_was_shrunk(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 2 * PAGE) as m:
            iterator = reversed(m)
            next(iterator)
            m.resize(3)
            assert list(iterator) == []

    def test_exhausted_iterator_stays_so(self, mmap: ModuleType, file: Any) -> None:
        with mmap.mmap(file.fileno(), 2) as m:
            iterator = iter(m)
            assert len(list(iterator)) == 2
            m.resize(4)
            assert list(iterator) == []


class TestMembership:
    @pytest.mark.parametrize("item", [b"a", b"\0", bytearray(b"a"), memoryview(b"z")])
    def test_one_byte_can_be_in(self, mmap: ModuleType, item: Any) -> None:
        with mmap.mmap(-1, 10) as m:
            m[3:5] = b"az"
            assert item in m

    @pytest.mark.parametrize(
        "item", [b"b", b"az", b"", bytearray(b"az"), 97, 0, "a", None, memoryview(b"az")]
    )
    def test_other_things_never_are(self, mmap: ModuleType, item: Any) -> None:
        with mmap.mmap(-1, 10) as m:
            m[3:5] = b"az"
            assert item not in m

    def test_membership_looks_before_the_position_too(self, numbered: Any) -> None:
        numbered.seek(200)
        assert b"\0" in numbered
        assert numbered.tell() == 200

    def test_comparison_may_raise(self, numbered: Any) -> None:
        class Odd:
            __hash__ = None  # type: ignore[assignment]

            def __eq__(self, other: object) -> bool:
                raise RuntimeError("odd")

        with pytest.raises(RuntimeError, match="odd"):
            assert Odd() in numbered
