"""Whatever is a buffer is data, by its bytes: the format of its items is nobody's business, gaps are refused."""

from __future__ import annotations

import array
import ctypes
import io
import operator
import pickle
import sys
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from _exporters import PYPY, numpy
from _files import PAGE, each_call
from _pybuffer import formatless
from _reference import CPYTHON, with_builtin

import cffimmap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType


class Data(NamedTuple):
    """Something that exports bytes, and those bytes."""

    export: Any
    expected: bytes


# Twelve octets, and what is no text among them.
OCTETS = bytes(range(244, 256))


def viewed(code: str, *shape: int) -> Data:
    """A view of items, that is cast to a format."""
    view: Any = memoryview(OCTETS * 4)
    return Data(view.cast(code, shape) if shape else view.cast(code), OCTETS * 4)


def typed(code: str) -> Data:
    numbers = array.array(code, "aé\U0001f600" if code in "uw" else [1, 2, 3])
    return Data(numbers, numbers.tobytes())


# CPython warns of 'u', and has 'w' beside it, from 3.13 on.
TYPECODES = [
    code for code in getattr(array, "typecodes", "bBuhHiIlLqQfd") if code != "u" or sys.version_info < (3, 13)
]


class Point(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_char), ("x", ctypes.c_double), ("y", ctypes.c_int16 * 3)]


class Packed(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("kind", ctypes.c_uint8), ("x", ctypes.c_uint32), ("bits", ctypes.c_uint16, 3)]


class BigEndian(ctypes.BigEndianStructure):
    _fields_ = [("x", ctypes.c_uint32), ("y", ctypes.c_uint16)]


class Either(ctypes.Union):
    _fields_ = [("x", ctypes.c_uint64), ("y", ctypes.c_float), ("points", Point * 2)]


def shaped(kind: Any) -> Data:
    """An object of ctypes, filled."""
    size = ctypes.sizeof(kind)
    octets = (OCTETS * (size // len(OCTETS) + 1))[:size]
    return Data(kind.from_buffer_copy(octets), octets)


CTYPES: dict[str, Any] = {
    "c_bool": ctypes.c_bool,
    "c_char": ctypes.c_char,
    "c_uint8": ctypes.c_uint8,
    "c_int16": ctypes.c_int16,
    "c_uint32": ctypes.c_uint32,
    "c_longlong": ctypes.c_longlong,
    "c_size_t": ctypes.c_size_t,
    "c_float": ctypes.c_float,
    "c_double": ctypes.c_double,
    "c_longdouble": ctypes.c_longdouble,
    "c_void_p": ctypes.c_void_p,
    "c_uint32.__ctype_be__": ctypes.c_uint32.__ctype_be__,
    "c_uint32.__ctype_le__": ctypes.c_uint32.__ctype_le__,
    "array": ctypes.c_uint16 * 5,
    "array of arrays": ctypes.c_uint16 * 2 * 3,
    "array of structures": Point * 2,
    "structure": Point,
    "packed structure": Packed,
    "big-endian structure": BigEndian,
    "union": Either,
}


def wide(text: str) -> Data:
    characters = ctypes.create_unicode_buffer(text)
    return Data(characters, ctypes.string_at(ctypes.addressof(characters), ctypes.sizeof(characters)))


EXPORTS: dict[str, Callable[[], Data]] = {
    "bytes": lambda: Data(OCTETS, OCTETS),
    "bytearray": lambda: Data(bytearray(OCTETS), OCTETS),
    "subclass of bytes": lambda: Data(type("Octets", (bytes,), {})(OCTETS), OCTETS),
    "memoryview": lambda: Data(memoryview(OCTETS), OCTETS),
    "slice of a memoryview": lambda: Data(memoryview(OCTETS)[3:9], OCTETS[3:9]),
    "misaligned memoryview": lambda: Data(memoryview(OCTETS)[1:9].cast("Q"), OCTETS[1:9]),
    "writable memoryview": lambda: Data(memoryview(bytearray(OCTETS)), OCTETS),
    "one item of a longer step": lambda: Data(memoryview(OCTETS)[::20], OCTETS[:1]),
    "two dimensions": lambda: viewed("B", 6, 8),
    "three dimensions": lambda: viewed("I", 2, 3, 2),
    "two dimensions of floats": lambda: viewed("d", 2, 3),
    "no dimension": lambda: Data(memoryview(OCTETS[:8]).cast("d", []), OCTETS[:8]),
    "no dimension of a byte": lambda: Data(memoryview(OCTETS[:1]).cast("B", []), OCTETS[:1]),
    "BytesIO": lambda: Data(io.BytesIO(OCTETS).getbuffer(), OCTETS),
    "PickleBuffer": lambda: Data(pickle.PickleBuffer(OCTETS), OCTETS),
    "map": lambda: Data(map_of(OCTETS), OCTETS),
    "memoryview of a map": lambda: Data(memoryview(map_of(OCTETS)).cast("H"), OCTETS),
    **({} if PYPY else {"no format": lambda: Data(formatless(OCTETS), OCTETS)}),
    "ctypes c_wchar": lambda: wide("aé"),
    "no bytes": lambda: Data(b"", b""),
    "no bytes of a bytearray": lambda: Data(bytearray(), b""),
    "no bytes of a memoryview": lambda: Data(memoryview(OCTETS)[4:4], b""),
    "no items of an array": lambda: Data(array.array("d"), b""),
    "no items of ctypes": lambda: Data((ctypes.c_uint32 * 0)(), b""),
    **{f"cast to {code}": lambda code=code: viewed(code) for code in "cbBhHiIlLqQnNfd?P"},  # type: ignore[misc]
    **{f"cast to @{code}": lambda code=code: viewed("@" + code) for code in "BHQd?"},  # type: ignore[misc]
    **{f"array {code}": lambda code=code: typed(code) for code in TYPECODES},  # type: ignore[misc]
    **{f"ctypes {name}": lambda kind=kind: shaped(kind) for name, kind in CTYPES.items()},  # type: ignore[misc]
}

# What a map cannot take: its bytes are not one behind the other.
GAPS: dict[str, Callable[[], Any]] = {
    "every second byte": lambda: memoryview(OCTETS)[::2],
    "backwards": lambda: memoryview(OCTETS)[::-1],
    "every second number": lambda: memoryview(OCTETS).cast("H")[::2],
    "PickleBuffer": lambda: pickle.PickleBuffer(memoryview(OCTETS)[::3]),
    "map": lambda: memoryview(map_of(OCTETS))[::3],
}


def map_of(octets: bytes) -> Any:
    m = cffimmap.mmap(-1, len(octets))
    m.write(octets)
    return m


def numbers(dtype: Any, count: int = 3) -> Data:
    """An array of numpy."""
    octets = (OCTETS * 40)[: count * numpy.dtype(dtype).itemsize]
    return Data(numpy.frombuffer(octets, dtype), octets)


def scalar(value: Any) -> Data:
    return Data(value, value.tobytes())


def fields(offsets: list[int], size: int, *, align: bool = False) -> Any:
    """A type of two fields that lie where they are told to."""
    names: dict[str, Any] = {
        "names": ["a", "b"],
        "formats": ["<u4", "<f8"],
        "offsets": offsets,
        "itemsize": size,
    }
    return numpy.dtype(names, align=align)


if numpy is not None:
    DTYPES: dict[str, Any] = {
        **{code: code for code in "?bBhHiIlLqQefdgFDG"},
        **{code: code for code in (">u2", ">i8", ">f4", ">f2", ">c16", "<u4", "=u4")},
        "datetime64": "M8[ns]",
        "datetime64 of days": "M8[D]",
        "big-endian datetime64": ">M8[us]",
        "datetime64 without a unit": "M8",
        "timedelta64": "m8[s]",
        "str": "U3",
        "big-endian str": ">U3",
        "bytes": "S5",
        "void": "V7",
        "structure": [("a", "u1"), ("b", "<f8"), ("c", ">i2", (2, 3))],
        "structure of a datetime64": [("a", "u1"), ("when", "M8[ns]")],
        "structure in a structure": [("a", [("b", "u2"), ("c", "S3")]), ("d", "?")],
        "aligned structure": numpy.dtype([("a", "u1"), ("b", "f8")], align=True),
        "structure without fields": numpy.dtype({"names": [], "formats": [], "itemsize": 4}),
        "overlapping fields": fields([0, 2], 10),
        "fields out of order": fields([8, 0], 12),
        "fields with gaps": fields([3, 17], 30),
        "odd names": numpy.dtype([("a:b", "u1"), ("é", "u2"), ("", "u4")]),
        "titles": numpy.dtype([(("title", "a"), "u1"), ("b", "u2")]),
    }
    EXPORTS |= {
        **{f"numpy {name}": lambda dtype=dtype: numbers(dtype) for name, dtype in DTYPES.items()},  # type: ignore[misc]
        "numpy of no dimension": lambda: Data(numpy.array(258, "u2"), numpy.uint16(258).tobytes()),
        "numpy datetime64 of no dimension": lambda: Data(
            numpy.array("2020-02-20", "M8[D]"), numpy.datetime64("2020-02-20").tobytes()
        ),
        "numpy of three dimensions": lambda: Data(
            numbers("u2", 24).export.reshape(2, 3, 4), numbers("u2", 24).expected
        ),
        "numpy of no items": lambda: Data(numpy.empty((0, 3), "f8"), b""),
        "numpy of items of no size": lambda: Data(numpy.empty(3, "V0"), b""),
        "numpy in the order of Fortran, one column": lambda: Data(
            numpy.asfortranarray(numbers("u2").export.reshape(3, 1)), numbers("u2").expected
        ),
        "numpy misaligned": lambda: Data(numpy.frombuffer(OCTETS[1:9], "u1").view("<u8"), OCTETS[1:9]),
        "numpy read-only": lambda: Data(numpy.frombuffer(OCTETS, "M8[s]", 1), OCTETS[:8]),
        "numpy view of records": lambda: Data(
            numbers([("a", "u1"), ("b", "u4")]).export.view(numpy.recarray), numbers("V5").expected
        ),
        "numpy masked array": lambda: Data(numpy.ma.masked_array([1, 2, 3], [0, 1, 0], "u1"), b"\1\2\3"),
        "numpy memmap": lambda: Data(numpy.frombuffer(map_of(OCTETS), "M8[s]", 1), OCTETS[:8]),
        "numpy scalar": lambda: scalar(numpy.float16(1)),
        "numpy scalar bool": lambda: scalar(numpy.bool_(True)),
        "numpy scalar complex": lambda: scalar(numpy.complex128(1 + 2j)),
        "numpy scalar datetime64": lambda: scalar(numpy.datetime64("2020-02-20")),
        "numpy scalar timedelta64": lambda: scalar(numpy.timedelta64(3, "s")),
        "numpy scalar str": lambda: scalar(numpy.str_("é€")),
        "numpy scalar bytes": lambda: scalar(numpy.bytes_(b"ab")),
        "numpy scalar record": lambda: scalar(numbers([("a", "u1"), ("when", "M8[s]")]).export[1]),
    }
    GAPS |= {
        "numpy every second": lambda: numbers("u2", 6).export[::2],
        "numpy backwards": lambda: numbers("M8[s]").export[::-1],
        "numpy in the order of Fortran": lambda: numpy.asfortranarray(numbers("u2", 6).export.reshape(2, 3)),
        "numpy column": lambda: numbers("u2", 6).export.reshape(2, 3)[:, 1],
        "numpy field": lambda: numbers([("a", "u1"), ("b", "M8[s]")]).export["b"],
        "numpy broadcast": lambda: numpy.broadcast_to(numpy.uint8(7), (3,)),
    }


def sliced(m: Any, position: int, data: Any, count: int) -> None:
    m[position : position + count] = data


def stepped(m: Any, position: int, data: Any, count: int) -> None:
    m[position : position + 3 * count : 3] = data


def backwards(m: Any, position: int, data: Any, count: int) -> None:
    m[position + count - 1 : position - 1 : -1] = data


def written(m: Any, position: int, data: Any, count: int) -> None:
    m.seek(position)
    assert m.write(data) == count


# How bytes are put at a position, and what lies there then.
PUT: dict[str, tuple[Callable[..., None], Callable[[bytes], bytes]]] = {
    "write": (written, bytes),
    "slice": (sliced, bytes),
    "slice with a step": (stepped, lambda octets: b"".join(bytes([octet, 0, 0]) for octet in octets)),
    "slice backwards": (backwards, lambda octets: octets[::-1]),
}

each_put = pytest.mark.parametrize(("put", "laid"), PUT.values(), ids=PUT)


@with_builtin()
@each_call(EXPORTS)
class TestData:
    @each_put
    def test_bytes_are_put(
        self,
        mmap: ModuleType,
        call: Callable[[], Data],
        put: Callable[..., None],
        laid: Callable[[bytes], bytes],
    ) -> None:
        data, expected = call()
        there = laid(expected)
        with mmap.mmap(-1, PAGE) as m:
            put(m, 7, data, len(expected))
            assert m[:] == (bytes(7) + there).ljust(PAGE, b"\0")

    def test_bytes_are_found(self, mmap: ModuleType, call: Callable[[], Data]) -> None:
        data, expected = call()
        with mmap.mmap(-1, PAGE) as m:
            m[100 : 100 + len(expected)] = m[900 : 900 + len(expected)] = expected
            text = m[:]
            assert m.find(data) == text.find(expected)
            assert m.find(data, 101) == text.find(expected, 101)
            assert m.find(data, 0, 3) == text.find(expected, 0, 3)
            assert m.rfind(data) == text.rfind(expected)
            assert m.rfind(data, 0, 800) == text.rfind(expected, 0, 800)
            m[:] = bytes(PAGE)
            assert m.find(data) == bytes(PAGE).find(expected)
            assert m.rfind(data) == bytes(PAGE).rfind(expected)

    def test_wrong_count_changes_nothing(self, mmap: ModuleType, call: Callable[[], Data]) -> None:
        data, expected = call()
        with mmap.mmap(-1, PAGE) as m:
            for key in (
                slice(0, len(expected) + 1),
                slice(0, 3 * len(expected) + 1, 3),
                slice(len(expected), None, -1),
            ):
                with pytest.raises(IndexError):
                    m[key] = data
            if expected:
                m.seek(1 - len(expected), 2)
                with pytest.raises(ValueError, match="data out of range"):
                    m.write(data)
            assert m[:] == bytes(PAGE)

    def test_data_is_let_go(self, mmap: ModuleType, call: Callable[[], Data]) -> None:
        data, expected = call()
        before = sys.getrefcount(data) if hasattr(sys, "getrefcount") else 0
        with mmap.mmap(-1, PAGE) as m:
            for put, _ in PUT.values():
                put(m, 7, data, len(expected))
            m.find(data)
            m.rfind(data)
        if before:
            assert sys.getrefcount(data) == before


def refusal(use: Callable[[Any], object], data: Any) -> str:
    """The exception as text: kept, its traceback would keep the data in a cycle, which older CPythons cannot free."""
    try:
        use(data)
    except (BufferError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "taken"


USES: dict[str, Callable[[Any, Any], object]] = {
    "write": lambda m, data: m.write(data),
    "slice": lambda m, data: operator.setitem(m, slice(0, 6), data),
    "empty slice": lambda m, data: operator.setitem(m, slice(0, 0), data),
    "slice with a step": lambda m, data: operator.setitem(m, slice(0, 12, 2), data),
    "find": lambda m, data: m.find(data),
    "find in nothing": lambda m, data: m.find(data, 0, 0),
    "rfind": lambda m, data: m.rfind(data),
}


@each_call(GAPS)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
class TestGaps:
    @with_builtin()
    def test_memory_with_gaps_is_refused(
        self, mmap: ModuleType, path: Path, use: Callable[[Any, Any], object], call: Callable[[], Any]
    ) -> None:
        before = path.read_bytes()
        data = call()
        # numpy has an exception of its own for it.
        error = "BufferError" if numpy is None or not isinstance(data, numpy.ndarray) else "ValueError"
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as m:
            m.seek(3)
            assert refusal(partial(use, m), data).startswith(f"{error}: ")
            assert m.tell() == 3
            assert m[:] == before
        assert path.read_bytes() == before

    @CPYTHON
    @with_builtin()
    def test_exporter_says_why(
        self, mmap: ModuleType, use: Callable[[Any, Any], object], call: Callable[[], Any]
    ) -> None:
        # crc32 asks for the plain bytes too.
        with mmap.mmap(-1, 20) as m:
            assert refusal(partial(use, m), call()) == refusal(zlib.crc32, call())


NO_BUFFERS: dict[str, Callable[[], Any]] = {
    "str": lambda: "abc",
    "int": lambda: 3,
    "list": lambda: [1, 2, 3],
    "None": lambda: None,
    "float": lambda: 1.0,
    "object": object,
    "range": lambda: range(3),
    "a class that is a buffer's": lambda: bytes,
}


@with_builtin()
@each_call(NO_BUFFERS)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_what_is_no_buffer_is_refused(
    mmap: ModuleType, use: Callable[[Any, Any], object], call: Callable[[], Any]
) -> None:
    data = call()
    with mmap.mmap(-1, 20) as m:
        assert refusal(partial(use, m), data) == (
            f"TypeError: a bytes-like object is required, not '{type(data).__name__}'"
        )
        assert (m[:], m.tell()) == (bytes(20), 0)
