"""Copies that are so long that an interpreter takes another way for them."""

from __future__ import annotations

import sys
from io import FileIO
from pathlib import Path
from typing import Any, Callable

import pytest

import cffimmap

PYPY = sys.implementation.name == "pypy"
LENGTH = (1 << 25) + 77
ENDS = b"first", b"last"


@pytest.fixture
def m(tmp_path: Path) -> Any:
    path = tmp_path / "long"
    with path.open("w+b") as file:
        file.truncate(LENGTH)
        file.write(ENDS[0])
        file.seek(LENGTH - len(ENDS[1]))
        file.write(ENDS[1])
        file.flush()
        with cffimmap.mmap(file.fileno(), 0) as mapped:
            yield mapped


COPIES: dict[str, Callable[[cffimmap.mmap], bytes]] = {
    "slice": lambda m: m[1:],
    "read": lambda m: (m.seek(1), m.read())[1],
    "readline": lambda m: (m.seek(1), m.readline())[1],
}
each_copy = pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)


def whole(data: bytes) -> bool:
    first, last = ENDS
    zeros = LENGTH - len(first) - len(last)
    return data == first[1:] + bytes(zeros) + last


@each_copy
def test_a_long_copy_is_whole(m: cffimmap.mmap, copy: Callable[[cffimmap.mmap], bytes]) -> None:
    assert whole(copy(m))


@pytest.mark.skipif(
    not PYPY or sys.pypy_version_info >= (8,),  # type: ignore[attr-defined, unused-ignore]
    reason="PyPy 7.3 alone makes bytes where the kernel reads them",
)
class TestByTheKernel:
    @each_copy
    def test_it_reads_what_is_long(
        self, m: cffimmap.mmap, copy: Callable[[cffimmap.mmap], bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counts = []

        class Reader(FileIO):
            def read(self, count: int | None = -1, /) -> bytes:
                counts.append(count)
                return super().read(count)

        monkeypatch.setattr("cffimmap._pypy.FileIO", Reader)
        assert whole(copy(m))
        assert counts == [LENGTH - 1]
        assert m[78 : 1 << 25] == bytes((1 << 25) - 78)
        assert counts == [LENGTH - 1]

    @each_copy
    @pytest.mark.parametrize("kind", ["it cannot be opened", "it ends before", "it cannot be read"])
    def test_what_it_does_not_read_is_read_all_the_same(
        self,
        m: cffimmap.mmap,
        copy: Callable[[cffimmap.mmap], bytes],
        kind: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked = []

        class Reader(FileIO):
            def __init__(self, name: str) -> None:
                asked.append(name)
                if kind == "it cannot be opened":
                    raise PermissionError(name)
                super().__init__(name)

            def read(self, _: int | None = -1, /) -> bytes:
                if kind == "it cannot be read":
                    raise OSError(kind)
                return super().read(5)

        monkeypatch.setattr("cffimmap._pypy.FileIO", Reader)
        assert whole(copy(m))
        assert len(asked) == 1
