"""What a forked child shares with its parent, and what it does not."""

from __future__ import annotations

import gc
import os
import signal
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PATIENCE, PYPY, descriptors_of, fork, in_child, ranges_of
from _files import run_python
from _needs import needs

import cffimmap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

forks = needs("os.fork")

PAGE = cffimmap.PAGESIZE
SIZE = 2 * PAGE
CONTENTS = bytes(range(1, 129)) * (SIZE // 128)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mapped"
    file.write_bytes(CONTENTS)
    return file


def map_of(path: Path, **keywords: Any) -> cffimmap.mmap:
    with path.open("r+b") as file:
        return cffimmap.mmap(file.fileno(), 0, **keywords)


def fill(m: cffimmap.mmap) -> None:
    """Writes in every way there is."""
    m[0] = 1
    m[1:3] = b"23"
    m[3:9:2] = b"468"
    m.seek(16)
    m.write(b"bytes")
    m.write(bytearray(b"view"))
    m.write_byte(0x21)
    m.move(40, 16, 10)
    memoryview(m)[100:104] = b"memo"


def filled(size: int, before: bytes) -> bytes:
    with cffimmap.mmap(-1, size, cffimmap.MAP_PRIVATE) as m:
        m[:] = before
        fill(m)
        return m[:]


@forks
class TestSharing:
    def test_shared_anonymous_memory_is_seen_by_the_parent(self) -> None:
        with cffimmap.mmap(-1, SIZE) as m:
            in_child(lambda: fill(m))
            assert m[:] == filled(SIZE, bytes(SIZE))

    def test_shared_anonymous_memory_is_seen_by_the_child(self) -> None:
        with cffimmap.mmap(-1, SIZE) as m:
            child = fork()
            if child == 0:
                end = time.monotonic() + PATIENCE
                while m[:5] != b"later" and time.monotonic() < end:
                    time.sleep(0.001)
                os._exit(m[:5] != b"later")
            m[:5] = b"later"
            assert os.waitpid(child, 0)[1] == 0

    def test_private_anonymous_memory_is_not_shared(self) -> None:
        with cffimmap.mmap(-1, SIZE, cffimmap.MAP_PRIVATE) as m:
            m[:4] = b"mine"

            def work() -> None:
                assert m[:4] == b"mine"
                fill(m)
                assert m[:] == filled(SIZE, b"mine" + bytes(SIZE - 4))

            in_child(work)
            assert m[:] == b"mine" + bytes(SIZE - 4)

    def test_a_file_map_is_shared(self, path: Path) -> None:
        with map_of(path) as m:
            in_child(lambda: fill(m))
            assert m[:] == path.read_bytes() == filled(SIZE, CONTENTS)

    def test_a_copying_map_is_not_shared(self, path: Path) -> None:
        with map_of(path, access=cffimmap.ACCESS_COPY) as m:
            in_child(lambda: fill(m))
            assert m[:] == path.read_bytes() == CONTENTS

    def test_the_position_is_not_shared(self) -> None:
        with cffimmap.mmap(-1, SIZE) as m:
            m.seek(5)
            in_child(lambda: m.__setitem__(0, m.seek(9)))
            assert (m[0], m.tell()) == (9, 5)


def write_slice(m: cffimmap.mmap, at: int, number: bytes) -> None:
    m[at : at + len(number)] = number


def write_at_the_position(m: cffimmap.mmap, at: int, number: bytes) -> None:
    m.seek(at)
    m.write(number)


def read_at_the_position(m: cffimmap.mmap, at: int, count: int) -> bytes:
    m.seek(at)
    return m.read(count)


@forks
class TestNumbers:
    """An aligned number is written and read in one access: no other process sees a half of it."""

    @pytest.mark.parametrize("count", [count for count in (2, 4, 8) if count <= struct.calcsize("P")])
    @pytest.mark.parametrize("write", [write_slice, write_at_the_position])
    @pytest.mark.parametrize(
        "read", [lambda m, at, count: m[at : at + count], read_at_the_position], ids=["slice", "position"]
    )
    def test_are_whole(
        self,
        write: Callable[[cffimmap.mmap, int, bytes], None],
        read: Callable[[cffimmap.mmap, int, int], bytes],
        count: int,
    ) -> None:
        with cffimmap.mmap(-1, PAGE) as m:
            numbers = [bytes(count), b"\xff" * count]
            child = fork()
            if child == 0:
                while True:
                    for number in numbers:
                        write(m, 64, number)
            try:
                seen = set()
                end = time.monotonic() + 0.3
                while time.monotonic() < end:
                    seen |= {read(m, 64, count) for _ in range(10_000)}
            finally:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            assert seen == set(numbers)


@forks
class TestLifetime:
    def test_a_close_in_the_child_leaves_the_parents_map(self, path: Path) -> None:
        def work() -> None:
            m.close()
            assert m.closed
            assert (ranges_of(path), descriptors_of(path)) == (0, 0)

        m = map_of(path)
        in_child(work)
        assert not m.closed
        assert (ranges_of(path), descriptors_of(path)) == (1, 1)
        assert (m[:], m.size()) == (CONTENTS, SIZE)
        m[0] = 0
        m.close()
        assert path.read_bytes() == b"\0" + CONTENTS[1:]

    def test_a_drop_in_the_child_closes_nothing_of_the_parents(self, path: Path) -> None:
        maps = [map_of(path) for _ in range(3)]

        def work() -> None:
            maps.clear()
            for _ in range(4):
                gc.collect()
            assert (ranges_of(path), descriptors_of(path)) == (0, 0)

        in_child(work)
        assert (ranges_of(path), descriptors_of(path)) == (3, 3)
        for m in maps:
            assert (m[:], m.size()) == (CONTENTS, SIZE)
            m.close()

    def test_a_resize_in_the_child_leaves_the_parents_map(self, path: Path) -> None:
        with map_of(path) as m:
            in_child(lambda: m.resize(3 * SIZE))
            assert (len(m), m.size(), m[:]) == (SIZE, 3 * SIZE, CONTENTS)
            m.resize(PAGE)
            assert (m[:], path.read_bytes()) == (CONTENTS[:PAGE], CONTENTS[:PAGE])

    def test_a_private_anonymous_map_grows_in_the_child_alone(self) -> None:
        with cffimmap.mmap(-1, SIZE, cffimmap.MAP_PRIVATE) as m:
            m[:4] = b"mine"

            def work() -> None:
                m.resize(10 * SIZE)
                m[-4:] = b"more"
                assert m[:4] == b"mine"

            in_child(work)
            assert (len(m), m[:4]) == (SIZE, b"mine")

    @pytest.mark.skipif(PYPY, reason="PyPy cannot tell whether memory is exported")
    def test_a_view_counts_on_both_sides(self) -> None:
        m = cffimmap.mmap(-1, SIZE)
        view = memoryview(m)

        def work() -> None:
            with pytest.raises(BufferError):
                m.close()
            view.release()
            m.close()

        in_child(work)
        with pytest.raises(BufferError):
            m.close()
        view.release()
        m.close()
        assert m.closed

    def test_a_child_of_a_child_works(self, path: Path) -> None:
        with map_of(path) as m:
            in_child(lambda: in_child(lambda: m.__setitem__(slice(0, 10), b"grandchild")))
            assert m.read(10) == b"grandchild"


class TestAnotherProcess:
    """One that shares nothing but the file, or on Windows the name of the memory."""

    def test_a_file_map_is_shared(self, path: Path) -> None:
        with map_of(path) as m:
            m[:5] = b"later"
            run_python(
                "import sys, cffimmap\n"
                "with open(sys.argv[1], 'r+b') as file, cffimmap.mmap(file.fileno(), 0) as m:\n"
                "    assert m[:5] == b'later'\n"
                "    m[5:10] = b'there'",
                str(path),
            )
            assert m[:11] == b"laterthere" + CONTENTS[10:11]

    def test_a_copying_map_is_not_shared(self, path: Path) -> None:
        with map_of(path, access=cffimmap.ACCESS_COPY) as m:
            m[:5] = b"later"
            run_python(
                "import sys, cffimmap\n"
                "with open(sys.argv[1], 'r+b') as file, cffimmap.mmap(file.fileno(), 0) as m:\n"
                "    assert m[:3] == b'\\1\\2\\3'\n"
                "    m[:10] = b'everything'",
                str(path),
            )
            assert m[:5] == b"later"
        assert path.read_bytes() == b"everything" + CONTENTS[10:]

    @needs("msvcrt")
    def test_memory_with_a_tag_is_shared(self) -> None:
        tag = f"cffimmap-{os.getpid()}"
        with cffimmap.mmap(-1, SIZE, tag) as m:  # type: ignore[arg-type, unused-ignore]
            m[:5] = b"later"
            run_python(
                "import sys, cffimmap\n"
                "with cffimmap.mmap(-1, int(sys.argv[1]), sys.argv[2]) as m:\n"
                "    assert m[:5] == b'later'\n"
                "    m[5:10] = b'there'",
                str(SIZE),
                tag,
            )
            assert m[:11] == b"laterthere\0"
