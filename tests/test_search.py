"""find and rfind, against those of bytes."""

from __future__ import annotations

import array
import itertools
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from _files import PAGE, SIZE, SSIZE_MAX, Index, run_python
from _needs import needs
from _signals import alarms
from conftest import tuned
from hypothesis import example, given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from conftest import Raises

SSIZE = "Python int too large to convert to C ssize_t"


def mapped(mmap: ModuleType, text: bytes) -> Any:
    """A map of these bytes, which are at least one."""
    m = mmap.mmap(-1, len(text))
    m.write(text)
    m.seek(0)
    return m


def answers(m: Any, needle: Any, *limits: int | None) -> tuple[int, int]:
    return m.find(needle, *limits), m.rfind(needle, *limits)


def expected(text: bytes, needle: bytes, *limits: int | None) -> tuple[int, int]:
    return text.find(needle, *limits), text.rfind(needle, *limits)


class TestRange:
    @pytest.mark.differs("find None")
    @pytest.mark.parametrize("name", ["find", "rfind"])
    def test_search_begins_at_the_position(self, m: Any, name: str) -> None:
        find = getattr(m, name)
        m.seek(6)
        assert find(b"hello\nworld\n") == (12 if name == "find" else SIZE - 12)
        m.seek(SIZE - 11)
        assert find(b"hello") == -1
        assert find(b"hello", None) == -1
        assert find(b"hello", None, None) == -1
        assert find(b"hello", 0) == (0 if name == "find" else SIZE - 12)

    @pytest.mark.parametrize("name", ["find", "rfind"])
    def test_search_leaves_the_position(self, m: Any, name: str) -> None:
        m.seek(6)
        for needle in (b"world", b"absent", b""):
            getattr(m, name)(needle)
            assert m.tell() == 6

    @pytest.mark.differs("end after None")
    @given(
        needle=st.text("ab", max_size=3),
        start=st.none() | st.integers(-12, 12),
        end=st.none() | st.integers(-12, 12),
    )
    def test_start_and_end_are_those_of_bytes(
        self, mmap: ModuleType, needle: str, start: int | None, end: int | None
    ) -> None:
        text = b"abaabbabb"
        with mapped(mmap, text) as m:
            assert answers(m, needle.encode(), start, end) == expected(text, needle.encode(), start, end)
            assert answers(m, needle.encode(), start) == expected(text, needle.encode(), start)

    @pytest.mark.parametrize(
        "limits", [(Index(1), Index(8)), (SSIZE_MAX,), (-SSIZE_MAX - 1, SSIZE_MAX), (0, -SSIZE_MAX - 1)]
    )
    def test_limits_may_be_anything_that_fits_c(self, mmap: ModuleType, limits: tuple[Any, ...]) -> None:
        text = b"abaabbabb"
        with mapped(mmap, text) as m:
            assert answers(m, b"ab", *limits) == expected(text, b"ab", *limits)

    def test_match_ends_before_the_end(self, mmap: ModuleType) -> None:
        with mapped(mmap, b"..abc..") as m:
            assert answers(m, b"abc", 2, 5) == (2, 2)
            assert answers(m, b"abc", 2, 4) == (-1, -1)
            assert answers(m, b"abc", 3, 5) == (-1, -1)


class TestEmptyNeedle:
    @pytest.mark.differs("find past the end", limits=[(10,), (SSIZE_MAX,)])
    @pytest.mark.parametrize(
        ("limits", "found"),
        [
            ((), (3, 9)),
            ((0,), (0, 9)),
            ((9,), (9, 9)),
            ((10,), (-1, -1)),
            ((2, 5), (2, 5)),
            ((5, 5), (5, 5)),
            ((5, 4), (-1, -1)),
            ((-2,), (7, 9)),
            ((0, -2), (0, 7)),
            ((SSIZE_MAX,), (-1, -1)),
        ],
    )
    def test_start_and_end_are_found(
        self, mmap: ModuleType, limits: tuple[int, ...], found: tuple[int, int]
    ) -> None:
        with mapped(mmap, b"abaabbabb") as m:
            m.seek(3)
            assert answers(m, b"", *limits) == found


class TestNeedle:
    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, partial(array.array, "B")], ids=str)
    @pytest.mark.parametrize("needle", [b"", b"w", b"wo", b"world\nhello", b"x"])
    def test_needle_is_any_bytes_like_object(
        self, m: Any, kind: Callable[[bytes], Any], needle: bytes
    ) -> None:
        assert answers(m, kind(needle)) == answers(m, needle)

    def test_wider_items_count_as_their_bytes(self, mmap: ModuleType) -> None:
        words = array.array("I", [1, 2, 3])
        with mapped(mmap, b"...." + words.tobytes() + b"....") as m:
            assert answers(m, words) == (4, 4)

    @pytest.mark.parametrize("name", ["find", "rfind"])
    @pytest.mark.parametrize("needle", ["a", 1, None, [97]], ids=repr)
    def test_other_types_are_refused(self, m: Any, raises: Raises, name: str, needle: Any) -> None:
        with raises(TypeError, f"a bytes-like object is required, not {type(needle).__name__!r}"):
            getattr(m, name)(needle)

    @pytest.mark.differs("gaps")
    @pytest.mark.parametrize("name", ["find", "rfind"])
    def test_memory_with_gaps_is_refused(self, m: Any, name: str) -> None:
        with pytest.raises(BufferError):
            getattr(m, name)(memoryview(b"h.e.")[::2])

    @pytest.mark.differs("search limits", error=[OverflowError])
    @pytest.mark.parametrize("name", ["find", "rfind"])
    @pytest.mark.parametrize(
        ("limits", "error", "answer"),
        [
            (("a",), TypeError, "'str' object cannot be interpreted as an integer"),
            ((1.0,), TypeError, "'float' object cannot be interpreted as an integer"),
            ((0, b"a"), TypeError, "'bytes' object cannot be interpreted as an integer"),
            ((SSIZE_MAX + 1,), OverflowError, SSIZE),
            ((0, -SSIZE_MAX - 2), OverflowError, SSIZE),
            ((0, 1, 2), TypeError, None),
        ],
    )
    def test_bad_limits_are_refused(
        self, m: Any, raises: Raises, name: str, limits: tuple[Any, ...], error: type[Exception], answer: str
    ) -> None:
        with raises(error, answer):
            getattr(m, name)(b"h", *limits)

    @pytest.mark.differs("search keywords")
    @pytest.mark.parametrize("name", ["find", "rfind"])
    def test_arguments_have_places_only(self, m: Any, name: str) -> None:
        with pytest.raises(TypeError):
            getattr(m, name)()
        with pytest.raises(TypeError):
            getattr(m, name)(b"h", start=0)

    def test_map_may_be_its_own_needle(self, ours: ModuleType) -> None:
        with mapped(ours, b"abc") as m:
            assert answers(m, m) == (0, 0)


# Few letters and short pieces repeated: almost every place is nearly a match.
letters = st.sampled_from([b"a", b"b"])
pieces = st.lists(letters, min_size=1, max_size=5).map(b"".join)
runs = st.builds(
    lambda piece, count, length: (piece * count)[:length], pieces, st.integers(1, 80), st.integers(1, 80)
)
needles = st.lists(runs, min_size=1, max_size=3).map(lambda parts: b"".join(parts)[:80])


@st.composite
def texts(draw: st.DrawFn, needle: bytes) -> bytes:
    """Runs of the needle's own pieces, with the needle in some places and nearly in others."""
    nearly = [needle, needle[:-1], needle[1:], needle[:-1] + b"c", b"c" + needle[1:], b"c"]
    parts = draw(st.lists(st.sampled_from(nearly) | runs, max_size=20))
    times = draw(st.integers(1, 8))
    return (b"".join(parts) * times)[:5000] or b"c"


@st.composite
def searches(draw: st.DrawFn) -> tuple[bytes, bytes, int, int]:
    needle = draw(needles)
    text = draw(texts(needle))
    return text, needle, draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))


class TestAgainstBytes:
    @given(search=searches())
    @example(search=(b"a" * 5000, b"a" * 79 + b"b", 0, 5000))
    @example(search=(b"a" * 5000, b"b" + b"a" * 79, 0, 5000))
    @example(search=(b"a" * 4999 + b"b", b"a" * 79 + b"b", 0, 5000))
    @example(search=(b"b" + b"a" * 4999, b"b" + b"a" * 79, 0, 5000))
    def test_answers_are_the_same(self, mmap: ModuleType, search: tuple[bytes, bytes, int, int]) -> None:
        text, needle, start, end = search
        with mapped(mmap, text) as m:
            assert answers(m, needle) == expected(text, needle)
            assert answers(m, needle, start, end) == expected(text, needle, start, end)

    @pytest.mark.parametrize("size", [*range(1, 20), 31, 32, 33, 47, 48, 49, 64, 65])
    @pytest.mark.parametrize("count", [1, 2, 3, 15, 16, 17, 64, 65])
    def test_needle_is_found_wherever_it_is(self, mmap: ModuleType, size: int, count: int) -> None:
        needle = b"x" + b"y" * (count - 2) + b"z" if count > 1 else b"x"
        with mapped(mmap, bytes(size + count)) as m:
            for place in range(size + 1):
                m[place : place + count] = needle
                assert answers(m, needle) == (place, place)
                m[place : place + count] = bytes(count)


def periodic(count: int) -> list[bytes]:
    """Needles of `count` bytes, even, for which every place of a text like them is nearly a match."""
    half = count // 2
    return [
        b"a" * (count - 1) + b"b",
        b"b" + b"a" * (count - 1),
        b"a" * half + b"b" + b"a" * (half - 1),
        b"ab" * half,
        b"a" + b"ab" * (half - 1) + b"a",
        b"aab" * (count // 3) + b"b" * (count % 3),
        b"ab" * (half // 2) + b"ba" * (half // 2),
        b"a" * (half - 1) + b"ba" + b"a" * (half - 1),
    ]


def costly(needle: bytes) -> bytes:
    """A text where the first and the last byte fit so often that the search asks for others instead."""
    gap = max(len(needle) - 1, 1)
    return (needle[:1] * gap + needle[-1:] * gap) * (20_000 // (2 * gap) + 1)


class TestManyFalseCandidates:
    """`costly` texts lie before and after what is searched, so that it is met from either end with other bytes."""

    @pytest.mark.parametrize("count", [40, 80, 600])
    @pytest.mark.parametrize("which", range(8))
    def test_adversarial_needles_are_found(self, ours: ModuleType, count: int, which: int) -> None:
        needle = periodic(count)[which]
        costs = costly(needle)
        for filler in (b"a", b"ab", needle[:-1], needle[1:], needle[:-1] + b"c", b"c" + needle[1:]):
            body = (filler * (5_000 // len(filler) + 1))[:5_000]
            for text in (
                costs + body + costs,
                costs + body + needle + body + costs,
                costs + body + needle,
                needle + body + costs,
            ):
                with mapped(ours, text) as m:
                    assert answers(m, needle) == expected(text, needle)
                    assert answers(m, needle, 3, -3) == expected(text, needle, 3, -3)

    @pytest.mark.parametrize("count", [40, 150, 280])
    def test_needle_is_found_where_whatever_is_asked_for_fits(self, ours: ModuleType, count: int) -> None:
        """Nearly all is one letter, so that the search turns to Two-Way."""
        chances = random.Random(count)
        text = bytearray(b"a" * 60_000)
        for place in range(0, len(text) - 20, 20):
            text[place + chances.randrange(20)] = ord("b")
        for place in (0, 30_000, len(text) - count):
            for needle in (b"a" * count, b"a" * (count // 2) + b"b" + b"a" * (count // 2)):
                there = bytes(text[:place] + needle + text[place + len(needle) :])
                for whole in (bytes(text), there):
                    with mapped(ours, whole) as m:
                        assert answers(m, needle) == expected(whole, needle)
                        assert answers(m, needle + b"c") == (-1, -1)

    @pytest.mark.parametrize("count", range(2, 9))
    def test_every_short_needle_is_found(self, ours: ModuleType, count: int) -> None:
        words = [bytes(word) for word in itertools.product(b"ab", repeat=count)]
        for needle in words:
            costs = costly(needle).replace(needle, b"")
            body = b"".join(word + b"c" + word * 2 for word in words).replace(needle, needle[1:] + b"c")
            mirrored = body[::-1].replace(needle, b"c" + needle[:-1])
            for text in (costs + body + needle + mirrored + costs, costs + needle, needle + costs):
                with mapped(ours, text) as m:
                    assert answers(m, needle) == expected(text, needle)

    @given(search=searches())
    def test_answers_are_the_same(self, ours: ModuleType, search: tuple[bytes, bytes, int, int]) -> None:
        body, needle, start, end = search
        costs = costly(needle)
        for text in (costs + body + costs, costs.replace(needle, b"") + body + costs.replace(needle, b"")):
            with mapped(ours, text) as m:
                assert answers(m, needle) == expected(text, needle)
                limits = (min(start, 1000), len(text) - min(end, 1000))
                assert answers(m, needle, *limits) == expected(text, needle, *limits)


LONG = 1 << 22


class TestInParts:
    """A long search is done in parts, here of a few bytes."""

    @given(search=searches(), part=st.integers(1, 200))
    def test_answers_are_the_same(
        self, ours: ModuleType, search: tuple[bytes, bytes, int, int], part: int
    ) -> None:
        text, needle, start, end = search
        with tuned(long=max(part, 2), part=part), mapped(ours, text) as m:
            assert answers(m, needle) == expected(text, needle)
            assert answers(m, needle, start, end) == expected(text, needle, start, end)

    @pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 20])
    def test_matches_may_straddle_two_parts(self, ours: ModuleType, count: int) -> None:
        needle = b"x" + b"y" * (count - 1)
        with tuned(long=8, part=8), mapped(ours, bytes(60)) as m:
            for place in range(61 - count):
                m[place : place + count] = needle
                assert answers(m, needle) == (place, place)
                m[place : place + count] = bytes(count)

    @needs("signal.setitimer")
    @pytest.mark.parametrize(
        ("name", "places"), [("find", range(0, LONG, 1000)), ("rfind", range(LONG - 4, 0, -1000))]
    )
    def test_no_part_is_longer_than_that(self, ours: ModuleType, name: str, places: range) -> None:
        """After each part signals are served: what a handler writes everywhere is found where the next one begins."""
        full = b"xy" * (LONG // 2)

        def write(*_: object) -> None:
            m[:] = full

        found: set[int] = set()
        with ours.mmap(-1, LONG) as m:
            for number in range(100):
                m[:] = bytes(LONG)
                # The first part is as short as a search that is not long, and 1000 bytes on the second one begins.
                with tuned(long=1003, part=1000, turn=0), alarms(write) as ring:
                    ring(0.0001 * (1 + number % 10))
                    found.add(getattr(m, name)(b"xyx", 0))
                if found & {*places[1:]}:
                    break
        # It may also come before the search, or after it.
        assert found <= {-1, *places}
        assert found & {*places[1:]}


PROTECTED = """
import ctypes, sys
import cffimmap

page = cffimmap.PAGESIZE
m = cffimmap.mmap(-1, 3 * page)
address = ctypes.addressof((ctypes.c_char * 1).from_buffer(m))
protect = ctypes.CDLL(None, use_errno=True).mprotect
protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
for neighbour in (address, address + 2 * page):
    assert protect(neighbour, page, cffimmap.PROT_NONE) == 0
for count in [1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 100, page - 1, page]:
    for needle in (b"x" * count, b"x" + b"y" * (count - 1), b"y" * (count - 1) + b"x"):
        for filler in (b"\\0", b"x", b"y", b"xy"):
            text = (filler * page)[:page]
            for start in (0, page - count):
                here = text[:start] + needle + text[start + count:]
                for body in (here, text):
                    m[page : 2 * page] = body
                    for find, model in ((m.find, body.find), (m.rfind, body.rfind)):
                        found = model(needle)
                        assert find(needle, page, 2 * page) == (found if found < 0 else found + page)
                        found = model(needle, page - count)
                        assert find(needle, 2 * page - count, 2 * page) == (found if found < 0 else found + page)
                        found = model(needle, 0, count)
                        assert find(needle, page, page + count) == (found if found < 0 else found + page)
m.seek(page)
assert m.find(b"absent", None, 2 * page) == -1
print("searched")
"""


@needs("PROT_NONE")
def test_memory_outside_the_range_is_not_read() -> None:
    assert run_python(PROTECTED) == "searched\n"


@pytest.mark.parametrize("byte", [b"\0", b"\x7f", b"\x80", b"\xff"])
@pytest.mark.parametrize("distance", [0, 40, 100, 5000, 70000])
def test_needles_of_every_length_at_every_distance(mmap: ModuleType, distance: int, byte: bytes) -> None:
    other = b"\x01"
    text = other * (distance + 1) + byte * 12 + other * (distance + 1)
    with mapped(mmap, text) as m:
        for count in range(14):
            for needle in (byte * count, other + byte * count, byte * count + other, byte * count + b"\x02"):
                assert answers(m, needle) == expected(text, needle)
                assert answers(m, bytearray(needle), 1) == expected(text, needle, 1)
                assert answers(m, memoryview(needle), 1, -1) == expected(text, needle, 1, -1)


def test_needle_is_found_at_the_very_end_of_a_page(mmap: ModuleType) -> None:
    for count in range(1, 70):
        needle = b"y" * (count - 1) + b"z"
        with mapped(mmap, bytes(PAGE - count) + needle) as m:
            assert answers(m, needle) == (PAGE - count, PAGE - count)
