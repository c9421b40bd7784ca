"""PyPy where pages cannot be replaced under an access, as on Windows: each is a call of C that is counted."""

from __future__ import annotations

import errno
import operator
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PYPY, descriptors_of, ranges_of
from _files import PAGE, SIZE, FakeLibrary
from _needs import needs

import cffimmap
from cffimmap._native import lib

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.skipif(not PYPY, reason="CPython's accesses are made under a lock"),
    needs("/proc/self/maps"),
]


@pytest.fixture(autouse=True)
def _rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cffimmap._pypy.BLANKS", False)


@pytest.fixture
def m(path: Path) -> Any:
    with path.open("r+b") as file:
        return cffimmap.mmap(file.fileno(), 0)


def test_a_map_that_was_never_exported_is_unmapped_at_once(m: Any, path: Path) -> None:
    assert m[0] == 104
    assert m[:5] == b"hello"
    m[0] = 74
    m[1:5] = b"ELLO"
    m.seek(0)
    assert m.readline() == b"JELLO\n"
    assert m.find(b"world") == 6
    addresses = len(mappings())
    m.close()
    assert (ranges_of(path), descriptors_of(path)) == (0, 0)
    # Nor was anything put in its place.
    assert len(mappings()) < addresses
    with pytest.raises(ValueError, match="closed"):
        m[0]


def mappings() -> list[str]:
    return Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()


ACCESSES: dict[str, Callable[[Any], object]] = {
    "index": lambda m: m[0],
    "slice": lambda m: m[0:5],
    "steps": lambda m: m[0:9:2],
    "read": lambda m: m.read(5),
    "read_byte": lambda m: m.read_byte(),
    "readline": lambda m: m.readline(),
    "write": lambda m: m.write(b"HELLO"),
    "write_byte": lambda m: m.write_byte(74),
    "set": lambda m: operator.setitem(m, 0, 74),
    "set slice": lambda m: operator.setitem(m, slice(0, 5), b"HELLO"),
    "iteration": list,
}


@pytest.mark.parametrize("access", ACCESSES.values(), ids=ACCESSES)
def test_a_lost_page_is_an_error(
    m: Any, path: Path, monkeypatch: pytest.MonkeyPatch, access: Callable[[Any], object]
) -> None:
    losing = FakeLibrary(
        lib, "cm_run_load", "cm_run_store", "cm_run_gather", "cm_load", "cm_store", "cm_gather"
    )
    losing.answer = errno.EIO
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("cffimmap._pypy.lib", losing)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            access(m)
    assert (m.tell(), m[:]) == (0, before)
    m.close()
    assert m.closed


@pytest.mark.parametrize("size", [1, PAGE, SIZE, 5 * PAGE])
def test_resize_keeps_the_data(m: Any, path: Path, size: int) -> None:
    before = path.read_bytes()
    m.resize(size)
    assert m[:] == path.read_bytes() == before[:size].ljust(size, b"\0")
    assert (ranges_of(path), descriptors_of(path)) == (1, 1)
    m.close()
    assert (ranges_of(path), descriptors_of(path)) == (0, 0)


def test_other_threads_close_and_resize_under_accesses(path: Path) -> None:
    end = time.monotonic() + 3
    wrong: list[BaseException] = []
    mapped: list[Any] = []

    def opened() -> Any:
        with path.open("r+b") as file:
            return cffimmap.mmap(file.fileno(), 0)

    def access() -> None:
        while time.monotonic() < end and not wrong:
            m = mapped[0]
            try:
                for i in range(500):
                    assert m[i] in b"helo wrd\n\0"
                    assert len(m[i : i + 3]) == 3
                    m[i] = m[i]
                    m[i : i + 1] = m[i : i + 1]
            except ValueError:
                pass
            except BaseException as error:
                wrong.append(error)
                raise

    mapped.append(opened())
    threads = [threading.Thread(target=access) for _ in range(3)]
    for thread in threads:
        thread.start()
    turns = 0
    while time.monotonic() < end and not wrong:
        m = mapped[0]
        if turns % 3:
            m.resize(SIZE if len(m) != SIZE else SIZE + PAGE)
        else:
            m.close()
            mapped[0] = opened()
        turns += 1
    for thread in threads:
        thread.join()
    assert not wrong
    assert turns > 10
