"""The map as a buffer that C asks for: every request, its answer, and the exports that are counted."""

from __future__ import annotations

import collections.abc
import gc
import operator
import pickle
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PYPY, numpy
from _files import PAGE
from _needs import constant, needs
from _reference import CPYTHON, with_builtin
from conftest import BUILTIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from conftest import Raises

if not PYPY:
    from _pybuffer import REQUESTS, WRITABLE, exported, get_buffer, release
else:
    REQUESTS = {}
    WRITABLE = 1

OCTETS = bytes(range(200, 216))

EXPORTED = "cannot close exported pointers exist"

# How a map is made of which C may write or may not.
WRITABLE_ONES = {"default": "ACCESS_DEFAULT", "write": "ACCESS_WRITE", "copy": "ACCESS_COPY"}

each_request = pytest.mark.parametrize("flags", REQUESTS.values(), ids=REQUESTS)


def map_of(mmap: ModuleType, octets: bytes, kind: Any = None) -> Any:
    m = (kind or mmap.mmap)(-1, len(octets))
    m[:] = octets
    return m


@pytest.fixture
def numbered(mmap: ModuleType) -> Iterator[Any]:
    """A map of OCTETS."""
    with map_of(mmap, OCTETS) as m:
        yield m


@pytest.fixture(params=["ACCESS_READ", pytest.param("PROT_READ", marks=needs("PROT_READ"))])
def read_only(request: pytest.FixtureRequest, mmap: ModuleType, file: Any) -> Iterator[Any]:
    """A map that cannot be written, of the beginning of a file."""
    keywords = {"ACCESS_READ": {"access": mmap.ACCESS_READ}, "PROT_READ": {"prot": constant("PROT_READ")}}
    with mmap.mmap(file.fileno(), 11, **keywords[request.param]) as m:
        yield m


@CPYTHON
@with_builtin()
@each_request
class TestRequests:
    """PyObject_GetBuffer, with each set of flags."""

    def test_answer(self, numbered: Any, flags: int) -> None:
        with exported(numbered, flags) as buffer:
            assert buffer.answer() == {
                "octets": OCTETS,
                "len": 16,
                "itemsize": 1,
                "readonly": 0,
                "ndim": 1,
                "format": b"B" if flags & REQUESTS["FORMAT"] else None,
                "shape": [16] if flags & REQUESTS["ND"] == REQUESTS["ND"] else None,
                "strides": [1] if flags & REQUESTS["STRIDES"] == REQUESTS["STRIDES"] else None,
                "suboffsets": None,
            }
            assert buffer.obj is numbered

    def test_answer_of_a_read_only_map(self, read_only: Any, raises: Raises, flags: int) -> None:
        if flags & WRITABLE:
            with raises(BufferError, "Object is not writable."):
                get_buffer(read_only, flags)
        else:
            with exported(read_only, flags) as buffer:
                answer = buffer.answer()
                assert (answer["octets"], answer["len"], answer["readonly"]) == (b"hello\nworld", 11, 1)
                assert buffer.obj is read_only
        read_only.close()
        assert read_only.closed

    def test_answer_is_that_of_this_interpreter_s_builtin(self, mmap: ModuleType, flags: int) -> None:
        with (
            map_of(BUILTIN, OCTETS) as theirs,
            map_of(mmap, OCTETS) as m,
            exported(theirs, flags) as expected,
            exported(m, flags) as buffer,
        ):
            assert buffer.answer() == expected.answer()

    @pytest.mark.parametrize("access", WRITABLE_ONES.values(), ids=WRITABLE_ONES)
    def test_writing_reaches_the_map(self, mmap: ModuleType, file: Any, flags: int, access: str) -> None:
        with mmap.mmap(file.fileno(), 11, access=getattr(mmap, access)) as m:
            with exported(m, flags) as buffer:
                assert buffer.readonly == 0
                buffer.write(b"HELLO")
            assert m[:] == b"HELLO\nworld"

    def test_offset_and_length_are_the_map_s(self, mmap: ModuleType, file: Any, flags: int) -> None:
        offset = mmap.ALLOCATIONGRANULARITY
        m = mmap.mmap(file.fileno(), 7, access=mmap.ACCESS_COPY, offset=offset)
        with m, exported(m, flags) as buffer:
            assert buffer.answer()["octets"] == m[:] == (b"hello\nworld\n" * offset)[offset : offset + 7]

    def test_buffer_refuses_close_until_it_is_released(
        self, numbered: Any, raises: Raises, flags: int
    ) -> None:
        buffer = get_buffer(numbered, flags)
        for close in (numbered.close, lambda: numbered.__exit__(None, None, None)):
            with raises(BufferError, EXPORTED):
                close()
        assert not numbered.closed
        assert (numbered[0], numbered[:], numbered.find(OCTETS[5:])) == (200, OCTETS, 5)
        release(buffer)
        numbered.close()
        assert numbered.closed

    def test_every_buffer_counts(self, numbered: Any, flags: int) -> None:
        buffers = [get_buffer(numbered, flags) for _ in range(5)]
        for buffer in buffers:
            with pytest.raises(BufferError):
                numbered.close()
            release(buffer)
            # Nothing is left in it: to release it again does nothing.
            release(buffer)
        numbered.close()
        assert numbered.closed

    def test_buffer_refuses_resize_until_it_is_released(
        self, mmap: ModuleType, file: Any, raises: Raises, flags: int
    ) -> None:
        with mmap.mmap(file.fileno(), PAGE) as m:
            with exported(m, flags):
                with raises(BufferError, "mmap can't resize with extant buffers exported."):
                    m.resize(10)
                assert len(m) == PAGE
            m.resize(10)
            with exported(m, flags) as buffer:
                assert buffer.len == 10

    def test_closed_map_has_none(self, numbered: Any, raises: Raises, flags: int) -> None:
        numbered.close()
        with raises(ValueError, "mmap closed or invalid"):
            get_buffer(numbered, flags)

    def test_buffer_keeps_the_map(self, mmap: ModuleType, flags: int) -> None:
        buffer = get_buffer(map_of(mmap, OCTETS), flags)
        gc.collect()
        assert buffer.answer()["octets"] == OCTETS
        assert buffer.obj[:] == OCTETS
        release(buffer)


@CPYTHON
@with_builtin()
class TestOwner:
    """`memoryview.obj` is the map, whatever view of it that is."""

    def test_owner_of_a_view_is_the_map(self, numbered: Any) -> None:
        with memoryview(numbered) as view:
            assert view.obj is numbered
            for other in (view[3:], view[::-2], view.cast("H"), view.toreadonly(), memoryview(view)):
                with other:
                    assert other.obj is numbered

    def test_owner_of_a_view_of_a_subclass_is_the_map(self, mmap: ModuleType) -> None:
        class Ledger(mmap.mmap):  # type: ignore[name-defined, misc]
            pass

        with map_of(mmap, OCTETS, Ledger) as m, memoryview(m) as view:
            assert view.obj is m

    def test_owner_of_a_read_only_view_is_the_map(self, read_only: Any) -> None:
        with memoryview(read_only) as view:
            assert view.obj is read_only

    @pytest.mark.skipif(numpy is None, reason="numpy is not installed")
    def test_base_of_an_array_leads_to_the_map(self, numbered: Any) -> None:
        array = numpy.frombuffer(numbered, "u1")
        owner = array.base
        assert (owner.obj if isinstance(owner, memoryview) else owner) is numbered


@CPYTHON
@pytest.mark.skipif(sys.version_info < (3, 12), reason="of CPython 3.12")
@with_builtin()
class TestDunderBuffer:
    """The protocol has names in Python from CPython 3.12 on."""

    def test_buffer_can_be_asked_for(self, numbered: Any, raises: Raises) -> None:
        view = numbered.__buffer__(0)
        assert isinstance(view, memoryview)
        assert bytes(view) == OCTETS
        with raises(BufferError, EXPORTED):
            numbered.close()
        numbered.__release_buffer__(view)
        numbered.close()
        with pytest.raises(ValueError, match="released memoryview"):
            view[0]

    def test_foreign_view_cannot_be_released(self, numbered: Any) -> None:
        with pytest.raises(ValueError, match="buffer"), memoryview(OCTETS) as view:
            numbered.__release_buffer__(view)

    def test_subclass_gives_what_its_class_gives(self, mmap: ModuleType, raises: Raises) -> None:
        asked: list[int] = []

        class Asking(mmap.mmap):  # type: ignore[name-defined, misc]
            def __buffer__(self, flags: int) -> memoryview:
                asked.append(flags)
                view: memoryview = super().__buffer__(flags)
                return view

        m = map_of(mmap, OCTETS, Asking)
        with memoryview(m) as view:
            assert bytes(view) == OCTETS
            with raises(BufferError, EXPORTED):
                m.close()
        m.close()
        assert len(asked) == 1

    def test_subclass_gives_something_else(self, mmap: ModuleType) -> None:
        class Else(mmap.mmap):  # type: ignore[name-defined, misc]
            def __buffer__(self, _: int) -> memoryview:
                return memoryview(b"else")

        with map_of(mmap, OCTETS, Else) as m:
            assert bytes(memoryview(m)) == b"else"
            assert (m[:], m.find(b"else")) == (OCTETS, -1)
            m.close()
            assert bytes(memoryview(m)) == b"else"

    def test_map_is_a_buffer(self, mmap: ModuleType) -> None:
        assert issubclass(mmap.mmap, vars(collections.abc)["Buffer"])


@contextmanager
def picklable(m: Any) -> Iterator[pickle.PickleBuffer]:
    """A PickleBuffer, released in the end."""
    buffer = pickle.PickleBuffer(m)
    yield buffer
    buffer.release()


@with_builtin()
class TestPickleBuffer:
    def test_raw_view(self, numbered: Any) -> None:
        with picklable(numbered) as buffer, buffer.raw() as view:
            assert (view.format, view.itemsize, view.ndim, view.readonly) == ("B", 1, 1, False)
            assert bytes(view) == OCTETS
            view[0] = 1
        assert numbered[0] == 1

    def test_raw_view_of_a_read_only_map(self, read_only: Any) -> None:
        with picklable(read_only) as buffer, buffer.raw() as view:
            assert view.readonly
            assert bytes(view) == b"hello\nworld"

    @pytest.mark.parametrize(
        "take", [bytes, bytearray, memoryview, lambda buffer: memoryview(buffer)[:]], ids=range(4)
    )
    def test_bytes_of_the_buffer(self, numbered: Any, take: Callable[[Any], Any]) -> None:
        with picklable(numbered) as buffer:
            assert bytes(take(buffer)) == OCTETS

    def test_buffer_of_a_buffer(self, numbered: Any) -> None:
        with picklable(numbered) as one, picklable(one) as two:
            assert bytes(two.raw()) == OCTETS

    @CPYTHON
    def test_buffer_counts_as_an_export(self, numbered: Any, raises: Raises) -> None:
        buffer = pickle.PickleBuffer(numbered)
        view = buffer.raw()
        for release in (view.release, buffer.release):
            with raises(BufferError, EXPORTED):
                numbered.close()
            release()
        numbered.close()
        assert numbered.closed

    def test_closed_map_has_none(self, numbered: Any, raises: Raises) -> None:
        numbered.close()
        with raises(ValueError, "mmap closed or invalid"):
            pickle.PickleBuffer(numbered)

    def test_in_band(self, numbered: Any, read_only: Any) -> None:
        for m, kind in ((numbered, bytearray), (read_only, bytes)):
            with picklable(m) as buffer:
                loaded = pickle.loads(pickle.dumps([buffer], protocol=5))[0]
            assert type(loaded) is kind
            assert loaded == m[:]

    def test_out_of_band(self, numbered: Any, read_only: Any) -> None:
        for m in (numbered, read_only):
            buffers: list[pickle.PickleBuffer] = []
            data = pickle.dumps([pickle.PickleBuffer(m)], protocol=5, buffer_callback=buffers.append)
            assert len(buffers) == 1
            assert m[:] not in data
            with memoryview(pickle.loads(data, buffers=buffers)[0]) as view:
                assert bytes(view) == m[:]
                assert view.readonly is (m is read_only)
            # What a receiver would have.
            assert bytes(pickle.loads(data, buffers=[bytes(buffers[0].raw())])[0]) == m[:]
            buffers.pop().release()
            m.close()
            assert m.closed

    @needs("PROT_READ")
    def test_loaded_view_is_the_map_s_memory(self, numbered: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps(pickle.PickleBuffer(numbered), protocol=5, buffer_callback=buffers.append)
        with memoryview(pickle.loads(data, buffers=buffers)) as view:
            view[3] = 7
        assert numbered[3] == 7

    @pytest.mark.parametrize("protocol", range(5))
    def test_older_protocols_have_no_buffers(self, numbered: Any, protocol: int) -> None:
        with picklable(numbered) as buffer, pytest.raises(pickle.PicklingError):
            pickle.dumps(buffer, protocol)

    @pytest.mark.skipif(numpy is None, reason="numpy is not installed")
    def test_arrays_of_a_map(self, numbered: Any) -> None:
        array = numpy.frombuffer(numbered, "<u4")
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps(array, protocol=5, buffer_callback=buffers.append)
        assert len(buffers) == 1
        loaded = pickle.loads(data, buffers=buffers)
        assert loaded.tobytes() == OCTETS
        loaded[0] = 0
        assert numbered[:4] == bytes(4)
        assert pickle.loads(pickle.dumps(array, protocol=5)).tobytes() == numbered[:]


@with_builtin()
class TestHash:
    def test_view_of_a_read_only_map(self, read_only: Any) -> None:
        with memoryview(read_only) as view:
            assert hash(view) == hash(b"hello\nworld")
            assert hash(view) == hash(b"hello\nworld")
            found: dict[Any, int] = {b"hello\nworld": 1}
            assert found[view] == 1

    def test_views_of_such_a_view(self, read_only: Any) -> None:
        with memoryview(read_only) as view:
            assert hash(view[2:5]) == hash(b"llo")
            assert hash(view[::-1]) == hash(b"dlrow\nolleh")
            assert hash(view.cast("c")) == hash(b"hello\nworld")
            assert hash(memoryview(view)) == hash(b"hello\nworld")

    def test_view_of_a_writable_map(self, numbered: Any, raises: Raises) -> None:
        with memoryview(numbered) as view:
            with raises(ValueError, "cannot hash writable memoryview object"):
                hash(view)
            with raises(ValueError, "cannot hash writable memoryview object"):
                hash(view[1:])

    def test_read_only_view_of_a_writable_map(self, numbered: Any) -> None:
        with memoryview(numbered) as view, view.toreadonly() as frozen:
            assert hash(frozen) == hash(OCTETS)

    @CPYTHON
    def test_hash_of_the_map_is_its_identity(self, read_only: Any) -> None:
        assert hash(read_only) == object.__hash__(read_only)


ORDERS = ["eq", "ne", "lt", "le", "gt", "ge"]
OTHERS = [b"", b"abc", b"abd", b"abb", b"ab", b"abcd", b"b", b"\xff\xff\xff", bytes(3)]


@with_builtin()
class TestComparison:
    """A bytearray compares itself with any buffer, a memoryview knows its equals, and bytes know bytes alone."""

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("other", OTHERS, ids=repr)
    def test_with_a_bytearray(self, mmap: ModuleType, order: str, other: bytes) -> None:
        compare = getattr(operator, order)
        with map_of(mmap, b"abc") as m:
            assert compare(bytearray(other), m) is compare(other, b"abc")
            assert compare(m, bytearray(other)) is compare(b"abc", other)

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("other", OTHERS, ids=repr)
    def test_with_a_memoryview(self, mmap: ModuleType, order: str, other: bytes) -> None:
        compare = getattr(operator, order)
        with map_of(mmap, b"abc") as m:
            if order in ("eq", "ne"):
                assert compare(memoryview(other), m) is compare(other, b"abc")
                assert compare(m, memoryview(other)) is compare(b"abc", other)
            else:
                for pair in ((memoryview(other), m), (m, memoryview(other))):
                    with pytest.raises(TypeError):
                        compare(*pair)

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("other", [b"abc", "abc", 3, None, [97, 98, 99], (b"a", b"b", b"c")], ids=repr)
    def test_with_anything_else(self, mmap: ModuleType, order: str, other: object) -> None:
        compare = getattr(operator, order)
        with map_of(mmap, b"abc") as m:
            for pair in ((other, m), (m, other)):
                if order in ("eq", "ne"):
                    assert compare(*pair) is (order == "ne")
                else:
                    with pytest.raises(TypeError):
                        compare(*pair)

    @pytest.mark.parametrize("order", ORDERS)
    def test_with_another_map(self, mmap: ModuleType, order: str) -> None:
        compare = getattr(operator, order)
        with map_of(mmap, b"abc") as m, map_of(mmap, b"abc") as same:
            if order in ("eq", "ne"):
                assert compare(m, same) is compare(same, m) is (order == "ne")
                assert compare(m, m) is (order == "eq")
            else:
                with pytest.raises(TypeError):
                    compare(m, same)

    def test_with_a_subclass_s_map(self, mmap: ModuleType) -> None:
        class Ledger(mmap.mmap):  # type: ignore[name-defined, misc]
            pass

        with map_of(mmap, b"abc", Ledger) as m:
            assert bytearray(b"abc") == m
            assert m == bytearray(b"abc")
            assert bytearray(b"abb") < m
            assert m < bytearray(b"abd")
            assert m not in [bytearray(b"abb"), b"abc"]
            assert m in [bytearray(b"abc")]

    def test_with_a_read_only_map(self, read_only: Any) -> None:
        assert bytearray(b"hello\nworld") == read_only
        assert read_only == bytearray(b"hello\nworld")
        assert read_only < bytearray(b"hello\nworlds")

    @CPYTHON
    def test_with_a_closed_map(self, mmap: ModuleType) -> None:
        m = map_of(mmap, b"abc")
        m.close()
        for other in (bytearray(b"abc"), bytearray(), memoryview(b"abc"), b"abc"):
            assert other != m
            assert m != other
        with pytest.raises(TypeError):
            assert bytearray(b"abc") < m

    def test_comparison_leaves_no_export(self, mmap: ModuleType) -> None:
        m = map_of(mmap, b"abc")
        assert bytearray(b"abc") == m
        assert m != memoryview(b"abd")
        with pytest.raises(TypeError):
            assert memoryview(b"abc") < m
        m.close()
        assert m.closed
