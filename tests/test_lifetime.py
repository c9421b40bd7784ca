"""Who may close a map when, what is left of it afterwards, and that dropped maps are given back.

CPython knows exactly whether the memory is exported, and refuses. PyPy cannot know: there everything may be closed
and resized under anybody, and nothing crashes.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import os
import pickle
import re
import socket
import struct
import sys
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import EXPORTERS, PYPY, PYPY_8, Exporter, descriptors_of, in_child, numpy, ranges_of
from _files import LITTLE_ADDRESS_SPACE, each_call, everything_open
from _needs import needs
from _signals import alarms
from conftest import tuned

import cffimmap
from cffimmap._native import FILE_IN_USE, lib

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


PAGE = cffimmap.PAGESIZE
SIZE = 2 * PAGE
CONTENTS = bytes(range(1, 129)) * (SIZE // 128)

# Whether the pages of a mapping can be replaced by others in one step.
BLANKS = bool(lib.CM_BLANKS)

# Whether an exporter may have the bare address of a buffer, and keep nothing alive for it.
BARE_ADDRESSES = PYPY and not PYPY_8

exact = pytest.mark.skipif(PYPY, reason="PyPy cannot tell whether memory is exported")
never_refused = pytest.mark.skipif(not PYPY, reason="CPython refuses while memory is exported")
blanks = pytest.mark.skipif(not BLANKS, reason="needs pages that can be replaced in one step")
each_exporter = pytest.mark.parametrize("exporter", EXPORTERS, ids=lambda exporter: exporter.name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mapped"
    file.write_bytes(CONTENTS)
    return file


def map_of(path: Path, **keywords: Any) -> cffimmap.mmap:
    with path.open("r+b") as file:
        return cffimmap.mmap(file.fileno(), 0, **keywords)


@pytest.fixture
def m(path: Path) -> Iterator[cffimmap.mmap]:
    m = map_of(path)
    yield m
    gc.collect()
    m.close()


def collect() -> None:
    """Collects all; PyPy runs what was registered by a destructor at its next collection only."""
    for _ in range(4):
        gc.collect()


def test_numpy_is_tried_where_it_is_installed() -> None:
    if numpy is None:
        pytest.skip("numpy is not installed: its two exporters are absent")
    assert {"numpy.frombuffer", "numpy view"} <= {exporter.name for exporter in EXPORTERS}


class TestCPythonUnderALiveView:
    pytestmark = exact

    @each_exporter
    def test_close_raises_until_the_view_is_gone(self, m: cffimmap.mmap, exporter: Exporter) -> None:
        held = exporter.hold(m)
        for _ in range(3):
            with pytest.raises(BufferError, match=r"^cannot close exported pointers exist$"):
                m.close()
        assert not m.closed
        assert m[:] == CONTENTS
        del held
        m.close()
        assert m.closed

    @each_exporter
    def test_resize_raises_and_changes_nothing_until_the_view_is_gone(
        self, m: cffimmap.mmap, path: Path, exporter: Exporter
    ) -> None:
        m.seek(5)
        held = exporter.hold(m)
        for size in (PAGE, 4 * PAGE, 0, -1):
            with pytest.raises(BufferError, match=r"^mmap can't resize with extant buffers exported\.$"):
                m.resize(size)
        assert (len(m), m.tell(), m[:], path.read_bytes()) == (SIZE, 5, CONTENTS, CONTENTS)
        del held
        m.resize(PAGE)
        assert (m[:], path.stat().st_size) == (CONTENTS[:PAGE], PAGE)

    @each_exporter
    def test_a_refused_close_leaves_the_view_whole(self, m: cffimmap.mmap, exporter: Exporter) -> None:
        expected = exporter.read(exporter.hold(m))
        held = exporter.hold(m)
        with pytest.raises(BufferError):
            m.close()
        with pytest.raises(BufferError):
            m.resize(PAGE)
        assert exporter.read(held) == expected
        del held

    def test_exports_of_each_kind_together_count_until_the_last_is_gone(self, m: cffimmap.mmap) -> None:
        held = [exporter.hold(m) for exporter in EXPORTERS]
        while held:
            with pytest.raises(BufferError):
                m.close()
            held.pop()
        m.close()
        assert m.closed

    def test_a_released_view_is_no_export(self, m: cffimmap.mmap) -> None:
        view = memoryview(m)
        part = view[4:8]
        with pytest.raises(BufferError):
            m.close()
        part.release()
        with pytest.raises(BufferError):
            m.close()
        view.release()
        m.close()
        assert m.closed

    def test_an_exhausted_consumer_is_no_export(self, m: cffimmap.mmap) -> None:
        assert re.search(re.escape(CONTENTS[4:9]), m) is not None
        assert struct.unpack_from("4s", m, 4) == (CONTENTS[4:8],)
        assert bytes(m) == bytearray(m) == CONTENTS
        assert b"".join([m, m]) == CONTENTS * 2
        m.close()
        assert m.closed

    def test_a_match_is_no_export(self, m: cffimmap.mmap) -> None:
        match = re.search(b"(.)", m)
        m.close()
        assert match is not None

    def test_a_view_in_a_reference_cycle_counts_until_it_is_collected(self, m: cffimmap.mmap) -> None:
        gc.collect()
        gc.disable()
        try:
            cycle: list[object] = [memoryview(m)]
            cycle.append(cycle)
            del cycle
            with pytest.raises(BufferError):
                m.close()
        finally:
            gc.enable()
        gc.collect()
        m.close()
        assert m.closed

    def test_a_view_that_keeps_itself_through_its_map_is_collected(self, path: Path) -> None:
        class Holder(cffimmap.mmap):
            view: memoryview

        with path.open("r+b") as file:
            holder = Holder(file.fileno(), 0)
        holder.view = memoryview(holder)
        dead = weakref.ref(holder)
        with pytest.raises(BufferError):
            holder.close()
        del holder
        gc.collect()
        assert dead() is None
        assert ranges_of(path) == 0

    def test_with_does_not_hide_the_error_of_close(self, m: cffimmap.mmap) -> None:
        with pytest.raises(BufferError), m:
            view = memoryview(m)
        assert not m.closed
        del view

    def test_a_view_outlives_the_dropped_map(self, path: Path) -> None:
        view = memoryview(map_of(path))
        gc.collect()
        view[0] = 0
        assert view[1:] == CONTENTS[1:]
        view.release()
        del view
        assert path.read_bytes()[:1] == b"\0"
        assert ranges_of(path) == 0


# Calls that raise.
FAILING: dict[str, Callable[[Any], object]] = {
    "index": lambda m: m[10**9],
    "index of a wrong type": lambda m: m["x"],
    "slice of a wrong type": lambda m: m["x":],
    "step 0": lambda m: m[::0],
    "set": lambda m: m.__setitem__(10**9, 1),
    "set a wrong value": lambda m: m.__setitem__(0, 256),
    "set a wrong type": lambda m: m.__setitem__(0, "x"),
    "set a slice of bytes": lambda m: m.__setitem__(slice(0, 2), b"abc"),
    "set a slice of a view": lambda m: m.__setitem__(slice(0, 2), bytearray(b"abc")),
    "set a slice of itself": lambda m: m.__setitem__(slice(0, 2), m),
    "set a slice with a step": lambda m: m.__setitem__(slice(0, 8, 2), b"abc"),
    "set a slice of a wrong type": lambda m: m.__setitem__(slice(0, 2), "xy"),
    "delete": lambda m: m.__delitem__(0),
    "delete a slice": lambda m: m.__delitem__(slice(0, 2)),
    "read": lambda m: m.read(1.5),
    "read_byte": lambda m: (m.seek(0, os.SEEK_END), m.read_byte()),
    "readline": lambda m: m.readline(1),
    "write": lambda m: m.write(bytes(SIZE + 1)),
    "write a view": lambda m: m.write(bytearray(SIZE + 1)),
    "write itself": lambda m: (m.seek(1), m.write(m)),
    "write a wrong type": lambda m: m.write("x"),
    "write_byte": lambda m: m.write_byte(256),
    "write_byte at the end": lambda m: (m.seek(0, os.SEEK_END), m.write_byte(1)),
    "seek": lambda m: m.seek(-1),
    "seek from nowhere": lambda m: m.seek(0, 9),
    "size": lambda m: m.size(1),
    "find": lambda m: m.find("x"),
    "find from a wrong type": lambda m: m.find(b"x", "x"),
    "rfind": lambda m: m.rfind("x"),
    "rfind itself": lambda m: m.rfind(m, "x"),
    "in": lambda m: [] in [next(iter(m)) + "x"],
    "move": lambda m: m.move(-1, 0, 1),
    "flush": lambda m: m.flush(0, SIZE + 1),
    "flush refused by the system": lambda m: m.flush(1, 1),
    "flush with wrong flags": lambda m: m.flush(flags=0x7FFF0000),
    "madvise": lambda m: m.madvise(cffimmap.MADV_NORMAL, SIZE),
    "madvise refused by the system": lambda m: m.madvise(0x7FFF0000),
    "set_name": lambda m: m.set_name("\0"),
    "resize": lambda m: m.resize(-1),
    "resize to nothing": lambda m: m.resize(0),
    "resize refused by the system": lambda m: m.resize(sys.maxsize - SIZE),
    "close": lambda m: m.close(1),
    "iteration": lambda m: [byte + "x" for byte in m],
    "reversed": lambda m: [byte + "x" for byte in reversed(m)],
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "concatenation": lambda m: m + m,
    "memoryview": lambda m: memoryview(m)[10**9],
    "re": lambda m: re.search("x", m),
    "struct": lambda m: struct.unpack_from("4s", memoryview(m), 10**9),
    "ctypes": lambda m: (ctypes.c_char * (SIZE + 1)).from_buffer(m),
    "int": int,
}


if LITTLE_ADDRESS_SPACE:
    # There is room for as much as C's lengths can say.
    del FAILING["resize refused by the system"]

FAILING_NEEDED = {
    # It is msync(2) that refuses; Windows takes any offset and any flags.
    "flush refused by the system": "MS_INVALIDATE",
    "flush with wrong flags": "MS_INVALIDATE",
    "madvise": "mmap.madvise",
    "madvise refused by the system": "mmap.madvise",
    "set_name": "mmap.set_name",
}


class TestTracebacks:
    """An exception that is kept holds every frame it went through, and these must hold no memory."""

    @each_call(FAILING, FAILING_NEEDED)
    def test_a_kept_exception_is_no_export(self, m: cffimmap.mmap, call: Callable[[Any], object]) -> None:
        try:
            call(m)
        except Exception as error:
            kept = error
        else:
            pytest.fail("the call was to raise")
        # PyPy cannot cut a file under what was exported where pages cannot be replaced.
        m.resize(2 * SIZE)
        assert m[:] == CONTENTS + bytes(SIZE)
        m.close()
        assert kept.__traceback__ is not None

    def test_a_map_closes_in_the_handler_of_the_exception(self, m: cffimmap.mmap) -> None:
        try:
            m[10**9]
        except IndexError:
            m.close()
        assert m.closed

    @exact
    def test_a_kept_refusal_is_no_export(self, m: cffimmap.mmap) -> None:
        view = memoryview(m)
        kept = []
        for refused in (m.close, lambda: m.resize(PAGE)):
            with pytest.raises(BufferError) as raised:
                refused()
            kept.append(raised.value)
        view.release()
        m.resize(PAGE)
        m.close()
        assert m.closed
        assert len(kept) == 2

    def test_a_kept_exception_of_a_read_only_map_is_no_export(self, path: Path) -> None:
        m = map_of(path, access=cffimmap.ACCESS_READ)
        kept = []
        calls: list[Callable[[], object]] = [
            lambda: m.__setitem__(0, 1),
            lambda: m.write(b""),
            lambda: m.write_byte(1),
            lambda: m.move(0, 0, 1),
            lambda: m.resize(PAGE),
            lambda: memoryview(m).__setitem__(0, 1),
        ]
        for call in calls:
            with pytest.raises(TypeError) as raised:
                call()
            kept.append(raised.value)
        m.close()
        assert m.closed
        assert len(kept) == len(calls)


class TestInterrupts:
    def test_ctrl_c_in_a_long_find_leaves_a_map_that_closes(self) -> None:
        def interrupt(_: int, frame: FrameType | None) -> None:
            # Nowhere but in the package, or where this module calls its C: coverage holds a lock of its own in what it does
            # in between.
            if frame is None or not frame.f_globals["__name__"].startswith(("cffimmap.", __name__)):
                ring(0.001)
                return
            raise KeyboardInterrupt

        m = cffimmap.mmap(-1, 1 << 24)
        with tuned(part=1 << 16, turn=0), alarms(interrupt) as ring:
            ring(0.05)
            with pytest.raises(KeyboardInterrupt) as raised:
                list(iter(lambda: m.find(b"never", 0), 0))
        assert m[:] == bytes(len(m))
        m.close()
        assert m.closed
        assert raised.tb is not None


def crowd_of_maps() -> list[cffimmap.mmap]:
    """Maps that are likely to be given the addresses which were unmapped in error."""
    crowd = [cffimmap.mmap(-1, SIZE) for _ in range(8)]
    for other in crowd:
        other[:] = b"x" * SIZE
    return crowd


def assert_stale(exporter: Exporter, held: object, m: Any) -> None:
    """Fails unless an exporter of a map that was SIZE bytes long reads zeros, but where the map still is what it was."""
    seen = exporter.read(held)
    left = b"" if m.closed else m[:SIZE]
    expected = exporter.read(exporter.hold(bytearray(left.ljust(SIZE, b"\0"))))
    # A map that grows moves, or it does not.
    allowed = [expected] if len(left) < SIZE else [expected, bytes(len(seen))]
    assert seen in allowed, exporter.name


def _touch_all(m: Any, path: Path, change: Callable[[Any], object], finish: Callable[[Any], object]) -> None:
    """Changes a map under exporters of all kinds, collects, and lets them read what they still see."""
    held = [(exporter, exporter.hold(m)) for exporter in EXPORTERS]
    views = [memoryview(m), memoryview(m)[8:]]
    match = re.search(b"(?s)..(.+)", m)
    change(m)
    collect()
    crowd = crowd_of_maps()
    for exporter, what in held:
        assert_stale(exporter, what, m)
    assert m.closed or len(m) >= SIZE or not views[0][-1]
    for view in views:
        for place in (0, -1):
            if not view[place]:
                view[place] = 7
    assert match is not None
    match.group(1)
    finish(m)
    if not m.closed:
        m.flush()
        m.close()
    for view in views:
        assert not view[1]
    assert 7 not in [path.read_bytes()[place] for place in (0, 8, PAGE - 1)]
    assert path.read_bytes()[SIZE - 1 : SIZE] != b"\x07"
    del held, views, match
    collect()
    for other in crowd:
        assert other[:] == b"x" * SIZE


def _is_closed(m: Any) -> None:
    for call in (m.read, m.tell, lambda: m[0], lambda: m[:4], lambda: memoryview(m), lambda: m.find(b"x")):
        with pytest.raises(ValueError, match="closed"):
            call()


def _is_shorter(m: Any) -> None:
    assert m[:] == CONTENTS[:PAGE]


def _is_longer(m: Any) -> None:
    assert m[:] == CONTENTS + bytes(SIZE)
    m[SIZE] = 9
    assert m[SIZE] == 9


@never_refused
@blanks
class TestPyPyUnderALiveView:
    def test_stale_views_read_zeros_after_close(self, path: Path) -> None:
        in_child(lambda: _touch_all(map_of(path), path, lambda m: m.close(), _is_closed))
        assert path.read_bytes() == CONTENTS

    def test_stale_views_read_zeros_behind_the_end_after_a_shrink(self, path: Path) -> None:
        in_child(lambda: _touch_all(map_of(path), path, lambda m: m.resize(PAGE), _is_shorter))
        assert path.read_bytes() == CONTENTS[:PAGE]

    def test_stale_views_read_zeros_or_the_map_after_a_growth(self, path: Path) -> None:
        in_child(lambda: _touch_all(map_of(path), path, lambda m: m.resize(2 * SIZE), _is_longer))
        assert path.read_bytes() == CONTENTS + b"\x09" + bytes(SIZE - 1)

    def test_stale_views_survive_many_resizes_and_the_end_of_the_map(self, path: Path) -> None:
        def change(m: Any) -> None:
            for size in (PAGE, 3 * PAGE, PAGE + 5, SIZE):
                m.resize(size)
            m.close()

        in_child(lambda: _touch_all(map_of(path), path, change, _is_closed))

    @pytest.mark.parametrize("access", [cffimmap.ACCESS_READ, cffimmap.ACCESS_COPY])
    def test_stale_views_of_other_accesses_read_zeros(self, path: Path, access: int) -> None:
        def work() -> None:
            m = map_of(path, access=access)
            view, copied = memoryview(m), memoryview(m).cast("Q")
            m.close()
            collect()
            assert bytes(view) == bytes(copied) == bytes(SIZE)

        in_child(work)
        assert path.read_bytes() == CONTENTS

    def test_writes_through_stale_views_reach_nobody(self, path: Path) -> None:
        m = map_of(path)
        view, array = memoryview(m), (ctypes.c_char * SIZE).from_buffer(m)
        m.close()
        view[:4] = b"view"
        array[4:9] = b"array"  # type: ignore[call-overload]
        assert bytes(view[:9]) == b"viewarray"
        assert path.read_bytes() == CONTENTS

    def test_close_under_a_live_view_lets_the_file_go_at_once(self, path: Path) -> None:
        m = map_of(path)
        view = memoryview(m)
        assert (ranges_of(path), descriptors_of(path)) == (1, 1)
        m.close()
        assert (ranges_of(path), descriptors_of(path)) == (0, 0)
        assert view[0] == 0

    def test_resize_under_a_live_view_leaves_one_range_of_the_file(self, path: Path) -> None:
        m = map_of(path)
        view = memoryview(m)
        for size in (PAGE, 3 * PAGE, SIZE):
            m.resize(size)
            assert (ranges_of(path), descriptors_of(path)) == (1, 1)
            assert bytes(view) in (bytes(SIZE), m[:SIZE].ljust(SIZE, b"\0"))
        m.close()
        assert bytes(view) == bytes(SIZE)

    @pytest.mark.parametrize(
        "change",
        [lambda m: m.close(), lambda m: m.resize(PAGE), lambda m: m.resize(2 * SIZE)],
        ids=["close", "shrink", "growth"],
    )
    def test_each_exporter_alone(self, path: Path, change: Callable[[Any], object]) -> None:
        match = Exporter("re.match", lambda m: re.match(b"(?s)..(.+)", m), lambda held: bytes(held.group(1)))

        def work() -> None:
            held = []
            for exporter in [*EXPORTERS, match]:
                own = path.with_name(exporter.name)
                own.write_bytes(CONTENTS)
                m = map_of(own)
                held.append((exporter, exporter.hold(m), m))
                change(m)
            collect()
            crowd = [other for _ in held for other in crowd_of_maps()]
            for exporter, what, m in held:
                assert_stale(exporter, what, m)
                m.close()
            for exporter, what, _ in held:
                assert not exporter.read(what).strip(b"\0"), exporter.name
            assert all(other[:] == b"x" * SIZE for other in crowd)

        in_child(work)


@never_refused
class TestPyPyUnderADroppedMap:
    @each_exporter
    def test_an_exporter_of_a_dropped_map_does_not_crash(self, path: Path, exporter: Exporter) -> None:
        def work() -> None:
            held = exporter.hold(map_of(path))
            collect()
            crowd = crowd_of_maps()
            seen = exporter.read(held)
            whole = CONTENTS + CONTENTS[::-2] + bytes(SIZE)
            assert seen in whole, "neither the map's bytes nor zeros"
            assert all(other[:] == b"x" * SIZE for other in crowd)

        in_child(work)

    def test_a_match_of_a_dropped_map_does_not_crash(self, path: Path) -> None:
        def work() -> None:
            match = re.search(b"(?s)..(.+)", map_of(path))
            collect()
            crowd = crowd_of_maps()
            assert match is not None
            assert match.group(1) in CONTENTS + bytes(SIZE)
            assert all(other[:] == b"x" * SIZE for other in crowd)

        in_child(work)


@never_refused
@pytest.mark.skipif(BLANKS, reason="needs pages that cannot be replaced, as on Windows")
class TestPyPyWherePagesCannotBeReplaced:
    """What was ever exported stays mapped, and its views see what they saw."""

    def test_close_without_a_view_lets_memory_and_file_go_at_once(self, path: Path) -> None:
        m = map_of(path)
        assert (m[0], m[1:3], m.find(b"\4", 0)) == (1, b"\2\3", 3)
        m[0] = 9
        assert (ranges_of(path), descriptors_of(path)) == (1, 1)
        m.close()
        assert (ranges_of(path), descriptors_of(path)) == (0, 0)
        _is_closed(m)
        assert path.read_bytes() == b"\x09" + CONTENTS[1:]

    @each_exporter
    def test_an_exporter_of_a_closed_map_sees_its_bytes(self, path: Path, exporter: Exporter) -> None:
        def work() -> None:
            m = map_of(path)
            expected = exporter.read(exporter.hold(m))
            held = exporter.hold(m)
            m.close()
            collect()
            crowd = crowd_of_maps()
            _is_closed(m)
            assert descriptors_of(path) == 0
            if "PickleBuffer" not in exporter.name:  # PyPy 8 asks the map anew
                assert exporter.read(held) == expected
            assert all(other[:] == b"x" * SIZE for other in crowd)

        in_child(work)

    def test_a_growth_under_a_view_leaves_the_old_memory_to_it(self, path: Path) -> None:
        m = map_of(path)
        view = memoryview(m)
        m.resize(2 * SIZE)
        assert bytes(view) == CONTENTS
        _is_longer(m)
        m.close()
        assert bytes(view) == CONTENTS
        assert path.stat().st_size == 2 * SIZE

    def test_a_shrink_under_a_view_is_refused_and_changes_nothing(self, path: Path) -> None:
        m = map_of(path)
        m.seek(5)
        view = memoryview(m)
        with pytest.raises(OSError) as raised:  # noqa: PT011, its number says which
            m.resize(PAGE)
        assert getattr(raised.value, "winerror", raised.value.errno) == FILE_IN_USE
        assert (len(m), m.tell(), m[:], bytes(view)) == (SIZE, 5, CONTENTS, CONTENTS)
        assert path.read_bytes() == CONTENTS
        m.close()

    def test_a_shrink_without_a_view_is_done(self, path: Path) -> None:
        m = map_of(path)
        m.resize(PAGE)
        _is_shorter(m)
        assert (ranges_of(path), path.stat().st_size) == (1, PAGE)
        m.close()
        assert ranges_of(path) == 0


class TestGivenBack:
    def test_close_lets_the_file_go_at_once(self, path: Path) -> None:
        m = map_of(path)
        assert (ranges_of(path), descriptors_of(path)) == (1, 1)
        m.close()
        assert (ranges_of(path), descriptors_of(path)) == (0, 0)

    def test_a_dropped_map_is_given_back(self, path: Path) -> None:
        m = map_of(path)
        assert (ranges_of(path), descriptors_of(path)) == (1, 1)
        del m
        collect()
        assert (ranges_of(path), descriptors_of(path)) == (0, 0)

    @pytest.mark.skipif(
        BARE_ADDRESSES and not BLANKS,
        reason="needs views that keep their memory, or pages that can be replaced",
    )
    def test_a_dropped_map_that_was_exported_lets_the_file_go(self, path: Path) -> None:
        m = map_of(path)
        assert bytes(m) == CONTENTS
        del m
        collect()
        assert (ranges_of(path), descriptors_of(path)) == (0, 0)

    def test_a_map_in_a_reference_cycle_is_given_back(self, path: Path) -> None:
        cycle: list[object] = [map_of(path)]
        cycle.append(cycle)
        assert ranges_of(path) == 1
        del cycle
        collect()
        assert (ranges_of(path), descriptors_of(path)) == (0, 0)

    def test_an_iterator_keeps_its_map_until_it_is_exhausted(self, path: Path) -> None:
        iterator = iter(map_of(path))
        collect()
        assert ranges_of(path) == 1
        assert b"".join(iterator) == CONTENTS
        del iterator
        collect()
        assert ranges_of(path) == 0

    @needs("msvcrt")
    @pytest.mark.parametrize(
        ("arguments", "kept"),
        [
            ({"fileno": -1}, 0),
            ({"fileno": -1, "tagname": "given back"}, 1),
            ({}, 1),
            ({"access": cffimmap.ACCESS_COPY}, 1),
            ({"trackfd": False}, 0),
            ({"tagname": "given back"}, 2),
        ],
    )
    def test_windows_keeps_a_section_for_its_tag_alone(
        self, path: Path, arguments: dict[str, Any], kept: int
    ) -> None:
        with path.open("r+b") as file:
            before = everything_open()
            m = cffimmap.mmap(**{"fileno": file.fileno(), "length": SIZE, **arguments})
            assert len(everything_open() - before) == kept
            m.close()
            assert everything_open() == before

    def test_without_trackfd_no_descriptor_is_kept(self, path: Path) -> None:
        m = map_of(path, trackfd=False)
        assert (ranges_of(path), descriptors_of(path)) == (1, 0)
        m.close()
        assert ranges_of(path) == 0

    def test_a_failed_constructor_keeps_nothing(self, path: Path) -> None:
        with path.open("rb") as file, pytest.raises(PermissionError):
            cffimmap.mmap(file.fileno(), 0)
        collect()
        assert (ranges_of(path), descriptors_of(path)) == (0, 0)

    def test_a_resized_map_is_given_back_whole(self, path: Path) -> None:
        m = map_of(path)
        for size in (4 * PAGE, PAGE, 2 * PAGE):
            m.resize(size)
        assert (ranges_of(path), descriptors_of(path)) == (1, 1)
        del m
        collect()
        assert (ranges_of(path), descriptors_of(path)) == (0, 0)

    def test_closing_twice_and_a_closed_descriptor_are_no_harm(self, path: Path) -> None:
        m = map_of(path)
        m.close()
        m.close()
        with path.open("rb") as file:
            m.close()
            assert file.read() == CONTENTS

    def test_a_subclass_with_attributes_is_given_back(self, path: Path) -> None:
        class Named(cffimmap.mmap):
            name = "given back"

        with path.open("r+b") as file:
            named = Named(file.fileno(), 0)
        named.name = path.name
        dead = weakref.ref(named)
        del named
        collect()
        assert dead() is None
        assert (ranges_of(path), descriptors_of(path)) == (0, 0)


if sys.platform == "win32":

    def with_few_descriptors(work: Callable[[], None]) -> None:
        """Runs a function and has it leave no handle, as there is no limit that one could set."""
        collect()
        before = everything_open()
        work()
        collect()
        assert everything_open() == before

else:

    def with_few_descriptors(work: Callable[[], None]) -> None:
        """Runs a function in a process that can have no more than 256 descriptors."""

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
            work()

        in_child(limited)


MANY = 20_000


@needs("/proc/sys/vm/max_map_count")
def test_as_many_maps_as_the_kernel_allows() -> None:
    # The interpreter has ranges of its own, and an address space of 32 bits ends before.
    limit = int(Path("/proc/sys/vm/max_map_count").read_text(encoding="ascii")) - 5000
    count = min(100_000, limit, sys.maxsize // (8 * PAGE))
    maps = [cffimmap.mmap(-1, PAGE) for _ in range(count)]
    for number, m in enumerate(maps):
        m[:4] = struct.pack("=I", number)
    assert [struct.unpack("=I", m[:4])[0] for m in maps] == list(range(count))
    for m in maps:
        m.close()


class TestManyDroppedMaps:
    """Few descriptors, and nobody closes anything."""

    def test_each_of_a_file_opened_for_it(self, path: Path) -> None:
        def work() -> None:
            for i in range(MANY):
                with path.open("r+b") as file:
                    m = cffimmap.mmap(file.fileno(), 0)
                assert m[i % SIZE] == CONTENTS[i % SIZE]

        with_few_descriptors(work)

    def test_all_of_one_open_file(self, path: Path) -> None:
        def work() -> None:
            with path.open("r+b") as file:
                for i in range(MANY):
                    m = cffimmap.mmap(file.fileno(), 0)
                    assert m[i % SIZE] == CONTENTS[i % SIZE]

        with_few_descriptors(work)

    def test_other_files_can_be_opened_between(self, path: Path) -> None:
        def work() -> None:
            # So small that the collector does not come for the memory's sake.
            path.write_bytes(b"1")
            for _ in range(MANY // 10):
                with path.open("r+b") as file:
                    cffimmap.mmap(file.fileno(), 0)
                # More at once than a map takes, so that it is here that the limit would be met.
                with path.open("rb") as one, path.open("rb") as two, path.open("rb") as three:
                    assert one.read() + two.read() + three.read() == b"111"

        with_few_descriptors(work)

    def test_searched_by_re(self, path: Path) -> None:
        def work() -> None:
            with path.open("r+b") as file:
                for _ in range(MANY):
                    found = re.search(b"\x02", cffimmap.mmap(file.fileno(), 0))
                    assert found is not None
                    assert found.start() == 1

        with_few_descriptors(work)

    def test_closed_with_and_without_a_view(self, path: Path) -> None:
        def work() -> None:
            with path.open("r+b") as file:
                for _ in range(MANY):
                    m = cffimmap.mmap(file.fileno(), 0)
                    with memoryview(m) as view:
                        assert view[1] == 2
                    m.close()

        with_few_descriptors(work)
        assert ranges_of(path) == 0


class TestACallAtWork:
    """A thread that waits inside a system call on the map's memory."""

    def _receiving(self, m: cffimmap.mmap, receiver: socket.socket) -> threading.Thread:
        started = threading.Event()

        def receive() -> None:
            started.set()
            receiver.recv_into(m)

        thread = threading.Thread(target=receive)
        thread.start()
        started.wait()
        return thread

    @exact
    def test_close_raises_while_a_socket_receives_into_the_map(self, m: cffimmap.mmap) -> None:
        sender, receiver = socket.socketpair()
        with sender, receiver:
            thread = self._receiving(m, receiver)
            with pytest.raises(BufferError):  # noqa: PT012, as soon as it receives
                while thread.is_alive():
                    m.resize(SIZE)
            with pytest.raises(BufferError):
                m.close()
            sender.sendall(b"received")
            thread.join()
        assert m[:8] == b"received"
        m.close()
        assert m.closed

    @never_refused
    def test_a_socket_receives_into_a_closed_map_without_harm(self, path: Path) -> None:
        def work() -> None:
            m = map_of(path)
            sender, receiver = socket.socketpair()
            with sender, receiver:
                thread = self._receiving(m, receiver)
                m.close()
                collect()
                sender.sendall(b"received")
                thread.join()

        in_child(work)
        assert path.read_bytes() in (CONTENTS, b"received" + CONTENTS[8:])
