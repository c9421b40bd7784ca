"""A map of a real file is driven through every method beside a model of it: a bytearray and a position."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import EXPORTERS, PYPY
from _files import LITTLE_ADDRESS_SPACE, SSIZE_MAX
from conftest import tuned
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import cffimmap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = cffimmap.PAGESIZE
GRANULARITY = cffimmap.ALLOCATIONGRANULARITY
HEAD = b"head" * (GRANULARITY // 4)
LARGEST = 3 * PAGE

# Few values, so that searches find something.
small_bytes = st.lists(st.sampled_from(b"ab\n"), max_size=12).map(bytes)
chunks = st.one_of(small_bytes, st.binary(max_size=300))
contents = st.one_of(
    st.lists(st.sampled_from(b"ab\n"), min_size=1, max_size=500).map(bytes),
    st.binary(min_size=1, max_size=2 * PAGE),
)
# On the edges, on pages' edges, near them, and well outside.
edges = [-1, 0, 1, PAGE - 1, PAGE, PAGE + 1, -PAGE, 2**31, 2**32, -(2**31), SSIZE_MAX, -SSIZE_MAX - 1]
positions = st.one_of(
    st.integers(-LARGEST - 5, LARGEST + 5),
    st.sampled_from([edge for edge in edges if -SSIZE_MAX - 1 <= edge <= SSIZE_MAX]),
)
bounds = st.none() | positions
sizes = st.one_of(st.integers(1, LARGEST), st.sampled_from([1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, LARGEST]))
octets = st.integers(0, 255)
slices = st.builds(slice, bounds, bounds, st.none() | st.integers(-PAGE - 1, PAGE + 1).filter(bool))
accesses = st.sampled_from(
    [cffimmap.ACCESS_DEFAULT, cffimmap.ACCESS_WRITE, cffimmap.ACCESS_READ, cffimmap.ACCESS_COPY]
)
ways = st.sampled_from([bytes, bytearray, memoryview])


class MapBesideModel(RuleBasedStateMachine):
    """The rules say what a method does to the model; the invariants compare."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        # What is done in parts when it is long is to be done in parts here.
        self.stack.enter_context(tuned(long=64, part=64))
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "mapped"
        self.m: Any = None
        self.model = bytearray()
        self.file = bytearray()
        self.position = 0
        self.offset = 0
        self.access = cffimmap.ACCESS_DEFAULT

    @initialize(data=contents, offset=st.sampled_from([0, GRANULARITY]))
    def start(self, data: bytes, offset: int) -> None:
        self.path.write_bytes(HEAD[:offset] + data)
        self.file = bytearray(data)
        self.offset = offset
        self.open(cffimmap.ACCESS_DEFAULT)

    def open(self, access: int) -> None:
        with self.path.open("r+b") as file:
            self.m = cffimmap.mmap(file.fileno(), 0, access=access, offset=self.offset)
        self.access = access
        self.model = bytearray(self.file)
        self.position = 0

    @contextmanager
    def raises(self, error: type[Exception] | None) -> Iterator[None]:
        """What follows raises that, or nothing; the invariants see that it has changed nothing."""
        if error is None:
            yield
        else:
            with pytest.raises(error):
                yield

    def change(self, call: Callable[[], object], at: slice, data: bytes) -> None:
        """A method that writes; the model changes in the same way."""
        if self.access == cffimmap.ACCESS_READ:
            with pytest.raises(TypeError):
                call()
            return
        call()
        self.model[at] = data
        if self.access != cffimmap.ACCESS_COPY:
            self.file[:] = self.model

    # ---- position ----

    @rule(distance=positions, whence=st.integers(-1, 3))
    def seek(self, distance: int, whence: int) -> None:
        origin = {0: 0, 1: self.position, 2: len(self.model)}.get(whence)
        if origin is None or not 0 <= origin + distance <= len(self.model):
            with pytest.raises(ValueError, match="seek"):
                self.m.seek(distance, whence)
            return
        assert self.m.seek(distance, whence) == origin + distance
        self.position = origin + distance

    @rule(count=st.none() | positions)
    def read(self, count: int | None) -> None:
        expected = self.model[self.position :]
        if count is not None and count >= 0:
            expected = expected[:count]
        assert self.m.read(count) == expected
        self.position += len(expected)

    @rule()
    def read_all(self) -> None:
        assert self.m.read() == self.model[self.position :]
        self.position = max(self.position, len(self.model))

    @rule()
    def read_byte(self) -> None:
        with self.raises(None if self.position < len(self.model) else ValueError):
            assert self.m.read_byte() == self.model[self.position]
            self.position += 1

    @rule()
    def readline(self) -> None:
        before, newline, _ = bytes(self.model[self.position :]).partition(b"\n")
        line = before + newline
        assert self.m.readline() == line
        self.position += len(line)

    @rule(data=chunks, way=ways)
    def write(self, data: bytes, way: Callable[[bytes], Any]) -> None:
        end = self.position + len(data)
        if self.access != cffimmap.ACCESS_READ and end > len(self.model):
            with pytest.raises(ValueError, match="out of range"):
                self.m.write(way(data))
            return
        counts: list[int] = []
        self.change(lambda: counts.append(self.m.write(way(data))), slice(self.position, end), data)
        if counts:
            assert counts == [len(data)]
            self.position = end

    @rule(octet=st.integers(-1, 256))
    def write_byte(self, octet: int) -> None:
        if not 0 <= octet <= 255:
            with pytest.raises(OverflowError):
                self.m.write_byte(octet)
        elif self.access != cffimmap.ACCESS_READ and self.position >= len(self.model):
            with pytest.raises(ValueError, match="out of range"):
                self.m.write_byte(octet)
        else:
            at = slice(self.position, self.position + 1)
            self.change(lambda: self.m.write_byte(octet), at, bytes([octet]))
            if self.access != cffimmap.ACCESS_READ:
                self.position += 1

    # ---- search ----

    @rule(needle=chunks, start=bounds, end=bounds, way=ways, reverse=st.booleans())
    def search(
        self, needle: bytes, start: int | None, end: int | None, way: Callable[[bytes], Any], reverse: bool
    ) -> None:
        found = (self.m.rfind if reverse else self.m.find)(way(needle), start, end)
        first = self.position if start is None else start
        model = self.model.rfind if reverse else self.model.find
        assert found == model(needle, first, end)

    @rule(start=positions, size=st.integers(0, 200), low=positions, high=bounds)
    def search_for_what_is_there(self, start: int, size: int, low: int, high: int | None) -> None:
        needle = bytes(self.model[start:][:size])
        assert self.m.find(needle, low, high) == self.model.find(needle, low, high)
        assert self.m.rfind(needle, low, high) == self.model.rfind(needle, low, high)

    @rule(item=st.one_of(small_bytes, st.binary(max_size=2), octets))
    def contains(self, item: bytes | int) -> None:
        there = isinstance(item, bytes) and len(item) == 1 and item in self.model
        assert (item in self.m) is there

    # ---- sequence ----

    @rule(index=positions)
    def get_item(self, index: int) -> None:
        if -len(self.model) <= index < len(self.model):
            assert self.m[index] == self.model[index]
        else:
            with pytest.raises(IndexError):
                self.m[index]

    @rule(index=positions, octet=octets)
    def set_item(self, index: int, octet: int) -> None:
        if self.access != cffimmap.ACCESS_READ and not -len(self.model) <= index < len(self.model):
            with pytest.raises(IndexError):
                self.m[index] = octet
            return
        at = index % len(self.model)
        self.change(lambda: self.m.__setitem__(index, octet), slice(at, at + 1), bytes([octet]))

    @rule(key=slices)
    def get_slice(self, key: slice) -> None:
        assert self.m[key] == self.model[key]

    @rule(key=slices, fill=octets, way=ways)
    def set_slice(self, key: slice, fill: int, way: Callable[[bytes], Any]) -> None:
        count = len(self.model[key])
        data = bytes((fill + i) % 256 for i in range(count))
        start, stop, step = key.indices(len(self.model))
        # A bytearray would grow by an empty slice that is written backwards: the model has none of that.
        at = slice(start, max(start, stop), step) if step == 1 else key
        self.change(lambda: self.m.__setitem__(key, way(data)), at, data)

    @rule(backwards=st.booleans())
    def iterate(self, backwards: bool) -> None:
        expected = [bytes((octet,)) for octet in self.model]
        if backwards:
            assert list(reversed(self.m)) == expected[::-1]
        else:
            assert list(self.m) == expected

    # ---- memory ----

    @rule(dest=positions, source=positions, count=st.integers(-1, LARGEST))
    def move(self, dest: int, source: int, count: int) -> None:
        size = len(self.model)
        inside = count >= 0 and 0 <= dest <= size - count and 0 <= source <= size - count
        if self.access != cffimmap.ACCESS_READ and not inside:
            with pytest.raises(ValueError, match="out of range"):
                self.m.move(dest, source, count)
            return
        data = bytes(self.model[source : source + count]) if inside else b""
        self.change(lambda: self.m.move(dest, source, count), slice(dest, dest + count), data)

    @rule(at=st.tuples(octets, octets), count=octets)
    def move_inside(self, at: tuple[int, int], count: int) -> None:
        size = len(self.model)
        count = min(count, size)
        dest, source = (position % (size - count + 1) for position in at)
        data = bytes(self.model[source : source + count])
        self.change(lambda: self.m.move(dest, source, count), slice(dest, dest + count), data)

    @rule(page=st.integers(0, 3), size=st.integers(-2, LARGEST))
    def flush(self, page: int, size: int) -> None:
        start = page * PAGE
        rest = len(self.model) - start
        with self.raises(None if rest >= 0 and -1 <= size <= rest else ValueError):
            assert self.m.flush(start, size) is None

    @precondition(lambda _: hasattr(cffimmap.mmap, "madvise"))
    @rule(page=st.integers(0, 3), length=st.none() | positions)
    def madvise(self, page: int, length: int | None) -> None:
        start = page * PAGE
        if start >= len(self.model) or (length is not None and length < 0):
            error: type[Exception] | None = ValueError
        elif length is not None and start + length >= SSIZE_MAX + 1:
            error = OverflowError
        else:
            error = None
        with self.raises(error):
            assert self.m.madvise(cffimmap.MADV_NORMAL, start, length) is None

    @rule(exporter=st.sampled_from(EXPORTERS))
    def export(self, exporter: Any) -> None:
        if len(self.model) % 16 or self.access == cffimmap.ACCESS_READ:
            with memoryview(self.m) as view:
                assert view == self.model
            return
        held = exporter.hold(self.m)
        if not PYPY:
            with pytest.raises(BufferError):
                self.m.close()
            with pytest.raises(BufferError):
                self.m.resize(len(self.model))
        del held

    @rule(fill=octets, start=positions)
    def write_through_a_view(self, fill: int, start: int) -> None:
        count = len(self.model[start:])

        def write() -> None:
            with memoryview(self.m) as view:
                view[start:] = bytes([fill]) * count

        at = slice(len(self.model) - count, len(self.model))
        self.change(write, at, bytes([fill]) * count)

    # ---- lifetime ----

    @rule(size=sizes)
    def resize(self, size: int) -> None:
        if self.access in (cffimmap.ACCESS_READ, cffimmap.ACCESS_COPY):
            with pytest.raises(TypeError):
                self.m.resize(size)
            return
        self.m.resize(size)
        self.model[:] = self.model[:size].ljust(size, b"\0")
        self.file[:] = self.model

    @precondition(lambda self: not PYPY and self.access not in (cffimmap.ACCESS_READ, cffimmap.ACCESS_COPY))
    @rule(size=sizes)
    def resize_under_a_view(self, size: int) -> None:
        with memoryview(self.m), pytest.raises(BufferError):
            self.m.resize(size)

    @precondition(lambda _: PYPY)
    @rule()
    def close_under_a_view(self) -> None:
        view = memoryview(self.m)
        self.m.close()
        assert view == bytes(len(self.model))
        if not view.readonly:
            view[0] = 1
        self.open(self.access)

    @rule(access=accesses, close=st.booleans())
    def reopen(self, access: int, close: bool) -> None:
        if close:
            self.m.close()
            with pytest.raises(ValueError, match="closed"):
                self.m.read(1)
        self.open(access)

    # ---- what is always refused ----

    @rule(
        key=slices,
        index=positions,
        excess=st.integers(1, 9),
        octet=st.sampled_from([-1, 256, 2**40]),
        size=st.sampled_from([0, -1, -SSIZE_MAX - 1, *([] if LITTLE_ADDRESS_SPACE else [SSIZE_MAX])]),
    )
    def refuse(self, key: slice, index: int, excess: int, octet: int, size: int) -> None:
        with pytest.raises((IndexError, TypeError)):
            self.m[key] = bytes(len(self.model[key]) + excess)
        with pytest.raises((ValueError, IndexError, TypeError)):
            self.m[index] = octet
        with pytest.raises((OSError, ValueError, TypeError)):
            self.m.resize(size)
        for place in (key, index):
            with pytest.raises(TypeError):
                del self.m[place]

    # ---- what always holds ----

    @invariant()
    def contents_are_equal(self) -> None:
        assert self.m[:] == self.model
        assert len(self.m) == len(self.model)

    @invariant()
    def positions_are_equal(self) -> None:
        assert self.m.tell() == self.position

    @invariant()
    def files_are_equal(self) -> None:
        assert self.m.size() == self.offset + len(self.file)
        if self.access != cffimmap.ACCESS_READ:
            self.m.flush()
        assert self.path.read_bytes() == HEAD[: self.offset] + self.file

    def teardown(self) -> None:
        if self.m is not None:
            self.m.close()
        self.folder.cleanup()
        self.stack.close()


TestMapBesideModel = MapBesideModel.TestCase
TestMapBesideModel.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
