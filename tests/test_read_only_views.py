"""Views of maps that cannot be written. PyPy 8 has their pages mapped twice, so that it knows them to be read-only."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PYPY, PYPY_8, ranges_of
from _files import FakeLibrary
from _needs import constant, needs

import cffimmap
from cffimmap._native import lib

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = cffimmap.PAGESIZE
CONTENTS = bytes(range(256)) * (3 * PAGE // 256) + b"the end"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENTS)
    return path


def map_of(path: Path, **options: Any) -> cffimmap.mmap:
    with path.open("r+b") as file:
        return cffimmap.mmap(file.fileno(), 0, **{"access": cffimmap.ACCESS_READ, **options})


@pytest.fixture
def m(path: Path) -> Iterator[cffimmap.mmap]:
    with map_of(path) as m:
        yield m


def check(view: memoryview, contents: bytes) -> None:
    assert len(view) == len(contents)
    assert view.readonly
    assert bytes(view) == contents
    for part in (slice(5, None), slice(-7, None), slice(PAGE, 2 * PAGE), slice(3, 3), slice(100, 1, -3)):
        assert bytes(view[part]) == view[part].tobytes() == contents[part]
    assert bytes(view[5:][2:9]) == contents[7:14]
    with pytest.raises(TypeError):
        view[0] = 1
    with pytest.raises(TypeError):
        view[1:][0:1] = b"1"


@pytest.mark.parametrize("options", [{}, {"offset": cffimmap.ALLOCATIONGRANULARITY}, {"trackfd": False}])
def test_show_what_is_mapped(path: Path, options: dict[str, Any]) -> None:
    offset = options.get("offset", 0)
    if offset >= len(CONTENTS):
        pytest.skip("the file is shorter than what an offset is a multiple of")
    with map_of(path, **options) as m:
        for _ in range(2):
            with memoryview(m) as view:
                check(view, CONTENTS[offset:])


@needs("MAP_PRIVATE")
@pytest.mark.parametrize("kind", ["MAP_PRIVATE", "MAP_SHARED"])
def test_of_every_kind_of_map_that_is_protected(path: Path, kind: str) -> None:
    with path.open("r+b") as file:
        m = cffimmap.mmap(file.fileno(), 0, flags=constant(kind), prot=constant("PROT_READ"))
    with m, memoryview(m) as view:
        check(view, CONTENTS)


def test_of_anonymous_memory() -> None:
    with cffimmap.mmap(-1, 3 * PAGE, access=cffimmap.ACCESS_READ) as m, memoryview(m) as view:
        check(view, bytes(3 * PAGE))


def test_see_what_is_written_to_the_file(m: cffimmap.mmap, path: Path) -> None:
    with memoryview(m) as view, map_of(path, access=cffimmap.ACCESS_WRITE) as other:
        other[5:8] = b"new"
        assert bytes(view[5:8]) == b"new"


def test_outlive_a_map_that_was_dropped(path: Path) -> None:
    m = map_of(path)
    view = memoryview(m)
    del m
    for _ in range(3):
        gc.collect()
    check(view, CONTENTS)


@pytest.mark.skipif(not PYPY, reason="CPython refuses to close a map that has views")
def test_read_zeros_once_the_map_is_closed(m: cffimmap.mmap, path: Path) -> None:
    view = memoryview(m)
    part = view[5:]
    m.close()
    assert not any(bytes(view))
    assert not any(bytes(part))
    assert ranges_of(path) == 0


@pytest.mark.skipif(not PYPY_8, reason="of PyPy 8")
@needs("/proc/self/maps")
class TestTwins:
    def test_there_is_one(self, m: cffimmap.mmap, path: Path) -> None:
        assert ranges_of(path) == 1
        views = [memoryview(m) for _ in range(3)]
        assert ranges_of(path) == 2
        m.close()
        assert ranges_of(path) == 0
        assert len(views[0]) == len(CONTENTS)

    def test_they_are_given_back(self, path: Path) -> None:
        for _ in range(10):
            memoryview(map_of(path))[5:].tobytes()
        for _ in range(4):
            gc.collect()
        assert ranges_of(path) == 0

    def test_nobody_closes_one(self, m: cffimmap.mmap) -> None:
        twin: Any = memoryview(m).obj
        with pytest.raises(BufferError):
            twin.close()
        with pytest.raises(BufferError):
            twin.__exit__(None, None, None)
        check(memoryview(m), CONTENTS)

    def test_a_view_is_to_be_had_without_one(
        self, m: cffimmap.mmap, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        library = FakeLibrary(lib, "cm_run_twin")
        library.answer = lib.CM_UNSUPPORTED
        monkeypatch.setattr("cffimmap._pypy.lib", library)
        check(memoryview(m), CONTENTS)
        assert library.calls
        assert ranges_of(path) == 1
