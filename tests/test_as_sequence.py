"""The map as a sequence that C and the library ask, its iterators, its names, and what its refusals say."""

from __future__ import annotations

import bisect
import copy
import ctypes
import operator
import pickle
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PYPY
from _files import PAGE, Index, run_python
from _needs import needs
from _reference import CPYTHON, with_builtin

import cffimmap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from conftest import Raises

if not PYPY:
    from _pybuffer import python_api

OCTETS = b"aabcdeffgz"
LAST = len(OCTETS) - 1

CLOSED = "mmap closed or invalid"
OUT_OF_RANGE = "mmap index out of range"
WRONG_VALUE = "mmap item value must be in range(0, 256)"
NO_VALUE = "mmap item value must be an int"

OBJECT = ctypes.py_object
SIZE = ctypes.c_ssize_t
INT = ctypes.c_int


@pytest.fixture
def m(mmap: ModuleType) -> Iterator[Any]:
    """A map of OCTETS."""
    with mmap.mmap(-1, len(OCTETS)) as m:
        m[:] = OCTETS
        yield m


@pytest.fixture
def closed(mmap: ModuleType) -> Any:
    m = mmap.mmap(-1, 4)
    m.close()
    return m


class TestLibrary:
    @CPYTHON
    @with_builtin()
    @pytest.mark.parametrize("needle", [b"a", b"c", b"f", b"h", b"z", b"\0", b"\xff", b"", b"cc"], ids=repr)
    def test_bisect(self, m: Any, needle: bytes) -> None:
        items = [OCTETS[i : i + 1] for i in range(len(OCTETS))]
        assert bisect.bisect_left(m, needle) == bisect.bisect_left(items, needle)
        assert bisect.bisect_right(m, needle) == bisect.bisect_right(items, needle)
        assert bisect.bisect(m, needle, 2, 5) == bisect.bisect(items, needle, 2, 5)

    @with_builtin()
    def test_index_and_count(self, m: Any) -> None:
        assert operator.indexOf(m, b"f") == OCTETS.index(b"f")
        assert operator.countOf(m, b"f") == 2
        assert operator.countOf(m, b"ff") == operator.countOf(m, ord("f")) == 0
        for other in (b"x", b"ab", ord("a"), "a"):
            with pytest.raises(ValueError, match="not in sequence"):
                operator.indexOf(m, other)

    @with_builtin()
    def test_membership(self, m: Any) -> None:
        assert operator.contains(m, b"z")
        assert not operator.contains(m, b"ab")

    @with_builtin()
    def test_unpacking(self, m: Any) -> None:
        first, second, *_, last = m
        assert (first, second, last) == (b"a", b"a", b"z")
        assert b"".join(m) == OCTETS
        assert tuple(zip(m, range(2))) == ((b"a", 0), (b"a", 1))
        assert (max(m), min(m)) == (b"z", b"a")
        assert sorted(m, reverse=True)[0] == b"z"

    @with_builtin()
    def test_items(self, m: Any) -> None:
        assert operator.getitem(m, 2) == ord("b")
        assert operator.itemgetter(0, -1, slice(2, 4))(m) == (ord("a"), ord("z"), b"bc")
        operator.setitem(m, 0, ord("A"))
        operator.setitem(m, slice(1, 3), b"AB")
        assert m[:4] == b"AABc"

    @with_builtin()
    @pytest.mark.parametrize(
        "change", [operator.concat, operator.iconcat, operator.add, operator.iadd, operator.mul]
    )
    def test_map_grows_by_no_operator(self, m: Any, change: Callable[[Any, Any], Any]) -> None:
        for other in (m, b"a", 2):
            with pytest.raises(TypeError):
                change(m, other)
        assert m[:] == OCTETS

    @with_builtin()
    def test_length_hint(self, m: Any) -> None:
        assert operator.length_hint(m) == len(OCTETS)


@CPYTHON
@with_builtin()
class TestProtocol:
    """PySequence and PyMapping. Items are bytes of length 1 there; they are integers in m[i]."""

    def test_check(self, mmap: ModuleType, m: Any, closed: Any) -> None:
        for name in ("PySequence_Check", "PyMapping_Check"):
            check = python_api(name, INT, OBJECT)
            assert check(m) == check(closed) == 1
            assert check(type("Ledger", (mmap.mmap,), {})(-1, 4)) == 1

    @pytest.mark.parametrize("name", ["PySequence_Size", "PyMapping_Size", "PyObject_Size"])
    def test_size(self, m: Any, closed: Any, raises: Raises, name: str) -> None:
        size = python_api(name, SIZE, OBJECT)
        assert size(m) == len(OCTETS)
        with raises(ValueError, CLOSED):
            size(closed)

    def test_get_item(self, m: Any, closed: Any, raises: Raises) -> None:
        get = python_api("PySequence_GetItem", OBJECT, OBJECT, SIZE)
        for i in range(-len(OCTETS), len(OCTETS)):
            item = get(m, i)
            assert type(item) is bytes
            assert item == bytes([OCTETS[i]])
        for i in (len(OCTETS), -len(OCTETS) - 1, sys.maxsize, -sys.maxsize - 1):
            with raises(IndexError, OUT_OF_RANGE):
                get(m, i)
        with raises(ValueError, CLOSED):
            get(closed, 0)

    def test_get_item_of_a_subclass_is_that_of_python(self, mmap: ModuleType) -> None:
        get = python_api("PySequence_GetItem", OBJECT, OBJECT, SIZE)
        with type("Ledger", (mmap.mmap,), {})(-1, 4) as m:
            assert get(m, 0) == 0

    def test_set_item(self, m: Any, closed: Any, raises: Raises) -> None:
        put = python_api("PySequence_SetItem", INT, OBJECT, SIZE, OBJECT)
        assert put(m, 0, b"A") == put(m, -1, b"Z") == put(m, LAST - 1, b"\xff") == 0
        after = b"A" + OCTETS[1:-2] + b"\xffZ"
        assert m[:] == after
        for i in (len(OCTETS), -len(OCTETS) - 1, sys.maxsize, -sys.maxsize - 1):
            with raises(IndexError, OUT_OF_RANGE):
                put(m, i, b"x")
        for value in (b"", b"ab", 65, "a", bytearray(b"a"), None):
            with raises(IndexError, "mmap assignment must be length-1 bytes()"):
                put(m, 0, value)
        assert m[:] == after
        with raises(ValueError, CLOSED):
            put(closed, 0, b"a")

    def test_set_item_of_a_read_only_map(self, mmap: ModuleType, file: Any, raises: Raises) -> None:
        put = python_api("PySequence_SetItem", INT, OBJECT, SIZE, OBJECT)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as m:
            with raises(TypeError, "mmap can't modify a readonly memory map."):
                put(m, 0, b"A")
            assert m[0] == ord("h")

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("PySequence_DelItem", [(SIZE, 0)]),
            ("PySequence_DelSlice", [(SIZE, 0), (SIZE, 2)]),
            ("PyObject_DelItem", [(OBJECT, 0)]),
        ],
    )
    def test_nothing_is_deleted(self, m: Any, name: str, arguments: list[Any]) -> None:
        delete = python_api(name, INT, OBJECT, *(kind for kind, _ in arguments))
        with pytest.raises(TypeError, match=r"doesn't support (item|slice) deletion"):
            delete(m, *(value for _, value in arguments))
        assert m[:] == OCTETS

    def test_get_slice(self, m: Any, closed: Any, raises: Raises) -> None:
        get = python_api("PySequence_GetSlice", OBJECT, OBJECT, SIZE, SIZE)
        for start in (-99, -3, 0, 2, 99):
            for stop in (-99, -1, 0, 5, 99):
                assert get(m, start, stop) == OCTETS[start:stop]
        with raises(ValueError, CLOSED):
            get(closed, 0, 1)

    def test_set_slice(self, m: Any, raises: Raises) -> None:
        put = python_api("PySequence_SetSlice", INT, OBJECT, SIZE, SIZE, OBJECT)
        assert put(m, 0, 2, b"AB") == 0
        assert put(m, -2, 99, bytearray(b"YZ")) == 0
        after = b"AB" + OCTETS[2:-2] + b"YZ"
        assert m[:] == after
        with raises(IndexError, "mmap slice assignment is wrong size"):
            put(m, 0, 2, b"x")
        assert m[:] == after

    @pytest.mark.parametrize("name", ["PySequence_Contains", "PySequence_In"])
    def test_contains(self, m: Any, closed: Any, raises: Raises, name: str) -> None:
        contains = python_api(name, INT, OBJECT, OBJECT)
        assert [contains(m, item) for item in (b"z", bytearray(b"z"), b"x", b"ab", b"", 97, "a", None)] == [
            1, 1, 0, 0, 0, 0, 0, 0,
        ]  # fmt: skip
        with raises(ValueError, CLOSED):
            contains(closed, b"a")

    def test_index_and_count(self, m: Any) -> None:
        assert python_api("PySequence_Count", SIZE, OBJECT, OBJECT)(m, b"a") == 2
        assert python_api("PySequence_Index", SIZE, OBJECT, OBJECT)(m, b"g") == OCTETS.index(b"g")

    def test_lists(self, m: Any) -> None:
        items = [OCTETS[i : i + 1] for i in range(len(OCTETS))]
        assert python_api("PySequence_List", OBJECT, OBJECT)(m) == items
        assert python_api("PySequence_Tuple", OBJECT, OBJECT)(m) == tuple(items)
        assert python_api("PySequence_Fast", OBJECT, OBJECT, ctypes.c_char_p)(m, b"no") == items

    @pytest.mark.parametrize("name", ["PySequence_Concat", "PySequence_InPlaceConcat"])
    def test_nothing_is_added(self, m: Any, name: str) -> None:
        for other in (m, b"a"):
            with pytest.raises(TypeError, match="object can't be concatenated"):
                python_api(name, OBJECT, OBJECT, OBJECT)(m, other)

    @pytest.mark.parametrize("name", ["PySequence_Repeat", "PySequence_InPlaceRepeat"])
    def test_nothing_is_repeated(self, m: Any, name: str) -> None:
        with pytest.raises(TypeError, match="object can't be repeated"):
            python_api(name, OBJECT, OBJECT, SIZE)(m, 2)

    def test_get_item_by_object(self, m: Any) -> None:
        get = python_api("PyObject_GetItem", OBJECT, OBJECT, OBJECT)
        assert (get(m, 0), get(m, Index(-1)), get(m, slice(1, 4))) == (97, 122, OCTETS[1:4])

    def test_set_item_by_object(self, m: Any) -> None:
        put = python_api("PyObject_SetItem", INT, OBJECT, OBJECT, OBJECT)
        assert put(m, 0, 65) == put(m, slice(1, 3), b"BC") == 0
        assert m[:4] == b"ABCc"


class TestMembership:
    @with_builtin()
    @pytest.mark.parametrize("item", [b"a", b"ab", b"", b"\0", bytearray(b"a"), 97, "a", None], ids=repr)
    def test_nothing_is_asked_of_a_closed_map(self, closed: Any, raises: Raises, item: object) -> None:
        with raises(ValueError, CLOSED):
            assert item in closed
        with raises(ValueError, CLOSED):
            assert item not in closed

    @needs("PROT_NONE")
    @pytest.mark.parametrize("item", [b"a", b"ab", b"", 97, "a"], ids=repr)
    def test_nothing_is_asked_of_memory_that_cannot_be_read(self, ours: ModuleType, item: object) -> None:
        with ours.mmap(-1, PAGE, prot=ours.PROT_NONE) as m, pytest.raises((TypeError, ValueError)):
            assert item in m


class TestOrderOfRefusals:
    """A value is looked at before its index is, an index' type before its value, and a read-only map at nothing."""

    @with_builtin(3, 14)
    @pytest.mark.parametrize(
        ("key", "value", "error", "answer"),
        [
            (99, 300, ValueError, WRONG_VALUE),
            (99, -1, ValueError, WRONG_VALUE),
            (-99, 256, ValueError, WRONG_VALUE),
            (99, "x", TypeError, NO_VALUE),
            (99, b"x", TypeError, NO_VALUE),
            (99, None, TypeError, NO_VALUE),
            (-99, 1.0, TypeError, NO_VALUE),
            (99, 5, IndexError, OUT_OF_RANGE),
            (-99, Index(5), IndexError, OUT_OF_RANGE),
            (Index(99), Index(256), ValueError, WRONG_VALUE),
            (0, 256, ValueError, WRONG_VALUE),
            (2**70, 300, IndexError, None),
            (2**70, "x", IndexError, None),
            ("a", 300, TypeError, "mmap indices must be integer"),
            (None, "x", TypeError, "mmap indices must be integer"),
        ],
    )
    def test_two_faults(
        self, m: Any, raises: Raises, key: Any, value: Any, error: type[Exception], answer: str | None
    ) -> None:
        with raises(error, answer):
            m[key] = value
        assert m[:] == OCTETS

    def test_value_too_large_for_c_is_a_wrong_value(self, ours: ModuleType) -> None:
        with ours.mmap(-1, 4) as m, pytest.raises(ValueError, match="must be in range"):
            m[99] = 2**70

    @with_builtin(3, 14)
    @pytest.mark.parametrize(
        ("key", "value", "error", "answer"),
        [
            (99, 300, ValueError, WRONG_VALUE),
            (0, 300, ValueError, WRONG_VALUE),
            (0, "x", TypeError, NO_VALUE),
            (0, None, TypeError, NO_VALUE),
            (0, 5, ValueError, CLOSED),
            (99, 5, ValueError, CLOSED),
            ("a", 5, TypeError, "mmap indices must be integer"),
            (slice(0, 2), 5, TypeError, "a bytes-like object is required, not 'int'"),
            (slice(0, 2), "x", TypeError, "a bytes-like object is required, not 'str'"),
            (slice(0, 2), b"ab", ValueError, CLOSED),
        ],
    )
    def test_closed_map(
        self, closed: Any, raises: Raises, key: Any, value: Any, error: type[Exception], answer: str
    ) -> None:
        with raises(error, answer):
            closed[key] = value

    @with_builtin()
    @pytest.mark.parametrize("key", [0, 99, -99, 2**70, "a", None, slice(0, 2), slice("a", None)], ids=repr)
    @pytest.mark.parametrize("value", [5, 300, "x", None, b"ab"], ids=repr)
    def test_read_only_map(self, mmap: ModuleType, file: Any, raises: Raises, key: Any, value: Any) -> None:
        with mmap.mmap(file.fileno(), 3, access=mmap.ACCESS_READ) as m:
            with raises(TypeError, "mmap can't modify a readonly memory map."):
                m[key] = value
            assert m[:] == b"hel"

    @with_builtin(3, 14)
    @pytest.mark.parametrize("key", [0, 99, -99])
    def test_deletion(self, m: Any, raises: Raises, key: int) -> None:
        with raises(TypeError, "mmap doesn't support item deletion"):
            del m[key]


class TestIterators:
    @with_builtin()
    def test_length_hint(self, m: Any) -> None:
        for iterator in (iter(m), reversed(m)):
            for left in range(len(OCTETS), 0, -1):
                assert operator.length_hint(iterator) == left
                next(iterator)
            assert operator.length_hint(iterator) == 0
            assert list(iterator) == []
            assert operator.length_hint(iterator) == 0

    @with_builtin()
    def test_length_hint_follows_the_map(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 2 * PAGE) as m:
            forwards, backwards = iter(m), reversed(m)
            for _ in range(3):
                next(forwards)
                next(backwards)
            m.resize(PAGE)
            assert operator.length_hint(forwards) == PAGE - 3
            assert operator.length_hint(backwards) == 0
            m.resize(2)
            assert operator.length_hint(forwards) == 0
            assert list(forwards) == list(backwards) == []

    @with_builtin()
    def test_length_hint_of_a_closed_map(self, m: Any, raises: Raises) -> None:
        iterators = iter(m), reversed(m)
        for iterator in iterators:
            next(iterator)
        m.close()
        for iterator in iterators:
            with raises(ValueError, CLOSED):
                operator.length_hint(iterator)

    @with_builtin()
    def test_copy_goes_on_by_itself(self, m: Any) -> None:
        for iterator, octets in ((iter(m), OCTETS), (reversed(m), OCTETS[::-1])):
            for _ in range(3):
                next(iterator)
            duplicate = copy.copy(iterator)
            assert type(duplicate) is type(iterator)
            assert b"".join(iterator) == octets[3:]
            assert next(duplicate) == octets[3:4]
            assert operator.length_hint(duplicate) == len(OCTETS) - 4
            m[:2] = m[-2:] = b"!!"
            assert b"".join(duplicate) == octets[4:-2] + b"!!"
            m[:] = OCTETS

    @with_builtin()
    def test_copy_of_an_exhausted_iterator_is_one(self, m: Any) -> None:
        for iterator in (iter(m), reversed(m)):
            list(iterator)
            assert list(copy.copy(iterator)) == []

    @with_builtin()
    def test_copy_of_a_closed_map_s_iterator(self, m: Any, raises: Raises) -> None:
        iterator = iter(m)
        next(iterator)
        m.close()
        duplicate = copy.copy(iterator)
        for each in (iterator, duplicate):
            with raises(ValueError, CLOSED):
                next(each)

    @with_builtin()
    def test_state_can_be_set(self, m: Any) -> None:
        for make, octets in ((iter, OCTETS), (reversed, OCTETS[::-1])):
            for position in (0, 4, LAST):
                iterator = make(m)
                iterator.__setstate__(position if make is iter else LAST - position)
                assert b"".join(iterator) == octets[position:]
        iterator = iter(m)
        iterator.__setstate__(-5)
        assert next(iterator) == b"a"
        iterator.__setstate__(99)
        assert list(iterator) == []

    @with_builtin()
    def test_reduction_tells_the_map_and_the_position(self, m: Any) -> None:
        for make, state in ((iter, 2), (reversed, LAST - 2)):
            iterator = make(m)
            next(iterator)
            next(iterator)
            assert iterator.__reduce__() == (make, (m,), state)

    @with_builtin()
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_iterator_is_no_more_pickled_than_its_map(self, m: Any, protocol: int) -> None:
        for iterator in (iter(m), reversed(m)):
            with pytest.raises(TypeError, match=r"^cannot pickle '(mmap\.)?mmap' object"):
                pickle.dumps(iterator, protocol)
            with pytest.raises(TypeError, match=r"^cannot pickle '(mmap\.)?mmap' object"):
                copy.deepcopy(iterator)

    @with_builtin()
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_exhausted_iterator_is_pickled(self, m: Any, protocol: int) -> None:
        for iterator in (iter(m), reversed(m)):
            list(iterator)
            assert list(pickle.loads(pickle.dumps(iterator, protocol))) == []

    @with_builtin()
    def test_iterator_of_a_closed_map(self, closed: Any, raises: Raises) -> None:
        iterator = iter(closed)
        with raises(ValueError, CLOSED):
            next(iterator)
        with raises(ValueError, CLOSED):
            reversed(closed)

    @with_builtin()
    def test_iterator_keeps_the_map_and_refuses_nothing(self, mmap: ModuleType) -> None:
        m = mmap.mmap(-1, 3)
        iterator = iter(m)
        next(iterator)
        m.close()
        assert m.closed
        alone = iter(mmap.mmap(-1, 3))
        assert list(alone) == [b"\0"] * 3


REFUSED: dict[str, tuple[Callable[[Any], object], str]] = {
    "seek": (lambda m: m.seek(m), "'mmap.mmap' object cannot be interpreted as an integer"),
    "move": (lambda m: m.move(0, m, 0), "'mmap.mmap' object cannot be interpreted as an integer"),
    "resize": (lambda m: m.resize(m), "'mmap.mmap' object cannot be interpreted as an integer"),
    "write_byte": (lambda m: m.write_byte(m), "'mmap.mmap' object cannot be interpreted as an integer"),
    "read": (lambda m: m.read(m), "argument should be integer or None, not 'mmap.mmap'"),
    "index": (lambda m: [1][m], "list indices must be integers or slices, not mmap.mmap"),
    "range": (lambda m: range(m), "'mmap.mmap' object cannot be interpreted as an integer"),
    "str.join": (
        lambda m: "".join(iter(["a", m])),
        "sequence item 1: expected str instance, mmap.mmap found",
    ),
    "str +": (lambda m: "a" + m, 'can only concatenate str (not "mmap.mmap") to str'),
    "+": (lambda m: m + 1, "unsupported operand type(s) for +: 'mmap.mmap' and 'int'"),
    "*": (lambda m: m * 2, "unsupported operand type(s) for *: 'mmap.mmap' and 'int'"),
    "-": (lambda m: -m, "bad operand type for unary -: 'mmap.mmap'"),
    "<": (lambda m: m < m, "'<' not supported between instances of 'mmap.mmap' and 'mmap.mmap'"),
    "call": (lambda m: m(), "'mmap.mmap' object is not callable"),
    "next": (next, "'mmap.mmap' object is not an iterator"),
    "format": (lambda m: format(m, "d"), "unsupported format string passed to mmap.mmap.__format__"),
    "str": (lambda m: m.find("a"), "a bytes-like object is required, not 'str'"),
    "copy": (copy.copy, "cannot pickle 'mmap.mmap' object"),
}
NEWER = {
    "set_name": (lambda m: m.set_name(m), "set_name() argument must be str, not mmap.mmap"),
}


class TestMessages:
    @CPYTHON
    @with_builtin(3, 15)
    @pytest.mark.parametrize(
        ("call", "answer"),
        [
            *(pytest.param(*row, id=name) for name, row in REFUSED.items()),
            *(pytest.param(*row, id=name, marks=needs(f"mmap.{name}")) for name, row in NEWER.items()),
        ],
    )
    def test_type_is_called_mmap_mmap(self, m: Any, call: Callable[[Any], object], answer: str) -> None:
        with pytest.raises(TypeError) as caught:
            call(m)
        assert str(caught.value) == answer

    @with_builtin(3, 15)
    @pytest.mark.parametrize("name", ["read", "set_name"])
    def test_argument_s_type_is_named_in_full(self, m: Any, name: str) -> None:
        if not hasattr(m, name):
            pytest.skip(f"this platform has no {name}")
        with pytest.raises(TypeError, match=r"not '?mmap\.mmap'?$"):
            getattr(m, name)(m)

    @CPYTHON
    @with_builtin(3, 15)
    @pytest.mark.parametrize("name", ["x", "_lock", "__dict__"])
    def test_attribute_that_is_not_there(self, m: Any, name: str) -> None:
        with pytest.raises(AttributeError, match=rf"^'mmap\.mmap' object has no attribute '{name}'"):
            getattr(m, name)


@cache
def starred(program: str) -> set[str]:
    """The names that a program has in the end, but Python's own."""
    names = run_python(f"{program}\nprint(*(name for name in dict(globals()) if name[:2] != '__'))")
    return set(names.split())


class TestStar:
    """`from mmap import *` brings what the stdlib's brings, and the constants that it lacks."""

    @pytest.fixture(params=["mmap", "cffimmap"])
    def names(self, request: pytest.FixtureRequest) -> set[str]:
        installed = (
            "import cffimmap as _ours\n_ours.install()\ndel _ours\n" if request.param == "mmap" else ""
        )
        return starred(f"{installed}from {request.param} import *")

    def test_class_and_error_are_there(self, names: set[str]) -> None:
        assert {"mmap", "error"} <= names

    def test_nothing_else_but_constants(self, names: set[str]) -> None:
        assert {name for name in names if not isinstance(getattr(cffimmap, name), int)} == {"mmap", "error"}

    def test_every_constant_is_there(self, names: set[str]) -> None:
        constants = {
            name for name, value in vars(cffimmap).items() if name.isupper() and isinstance(value, int)
        }
        assert names - {"mmap", "error"} == constants

    def test_every_name_of_the_builtin_is_there(self, names: set[str]) -> None:
        undocumented = {"MAP_FIXED", "MREMAP_MAYMOVE"}
        # PyPy's builtin is a module in Python, and brings what that imports.
        theirs = {
            name for name in starred("from mmap import *") if name.isupper() or name in ("mmap", "error")
        }
        assert theirs - undocumented <= names

    def test_what_is_imported_is_ours(self) -> None:
        program = "import cffimmap\ncffimmap.install()\nfrom mmap import *\nprint(mmap is cffimmap.mmap, error is OSError)"
        assert run_python(program) == "True True\n"


@needs("mmap.set_name")
class TestSetName:
    """A kernel may be built without names for memory: there they are not set, and nothing is said."""

    @with_builtin(3, 15)
    @pytest.mark.parametrize("name", ["", "a", "two words", "é" * 33])
    def test_answer_is_none(self, mmap: ModuleType, name: str) -> None:
        if mmap is not cffimmap and (sys.flags.dev_mode or hasattr(sys, "gettotalrefcount")):
            pytest.skip("the builtin asks the kernel in development mode and in debug builds, and raises")
        with mmap.mmap(-1, PAGE) as m:
            assert m.set_name(name) is None
            assert m[:] == bytes(PAGE)

    @needs("/proc/self/maps")
    def test_name_is_shown_where_the_kernel_can(self, ours: ModuleType) -> None:
        maps = Path("/proc/self/maps")
        with ours.mmap(-1, PAGE) as m, ours.mmap(-1, PAGE) as other:
            m.set_name("visible")
            other.set_name("other")
            text = maps.read_text(encoding="utf-8")
            assert ("cffimmap:visible]" in text) is ("cffimmap:other]" in text)

    @with_builtin(3, 15)
    def test_refusals_are_as_ever(self, mmap: ModuleType, file: Any) -> None:
        with mmap.mmap(-1, PAGE) as m:
            for name in ("a" * 67, "é" * 34, "a\0b"):
                with pytest.raises(ValueError, match=r"name|null"):
                    m.set_name(name)
        with mmap.mmap(file.fileno(), 0) as m, pytest.raises(ValueError, match="non-anonymous"):
            m.set_name("name")

    def test_closed_map_is_refused(self, ours: ModuleType) -> None:
        m = ours.mmap(-1, PAGE)
        m.close()
        with pytest.raises(ValueError, match=CLOSED):
            m.set_name("name")
