"""PyPy where pages cannot be replaced under an access, as on Windows: nobody takes them away while it lasts."""

from __future__ import annotations

import errno
import operator
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PYPY, descriptors_of, ranges_of
from _files import PAGE, SIZE
from _needs import needs

import cffimmap
from cffimmap import _mapping
from cffimmap._native import UNSUPPORTED, lib

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(not PYPY, reason="CPython counts who holds the memory"),
    needs("/proc/self/maps"),
]


class _Library:
    """The compiled part of a platform that cannot blank."""

    def __getattr__(self, name: str) -> Any:
        return getattr(lib, name)

    def cm_blank(self, *_: object) -> int:
        return UNSUPPORTED

    cm_remap = cm_twin = cm_blank


@pytest.fixture(autouse=True)
def _rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mapping, "lib", _Library())
    monkeypatch.setattr(_mapping, "BLANKS", False)
    monkeypatch.setattr(_mapping, "SHRINKS_MAPPED_FILES", False)


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
    assert ranges_of(path) == 1
    m.close()
    assert (ranges_of(path), descriptors_of(path)) == (0, 0)
    with pytest.raises(ValueError, match="closed"):
        m[0]


def test_an_access_that_comes_too_late_does_not_go_to_the_memory(m: Any) -> None:
    window = m._view
    m.close()
    for key in (0, slice(0, 5), slice(None)):
        with pytest.raises(ValueError, match="closed"):
            window[key]
    for key, value in ((0, 1), (slice(0, 5), b"HELLO")):
        with pytest.raises(ValueError, match="closed"):
            window[key] = value


def test_an_access_at_work_refuses_a_close(m: Any) -> None:
    m._pins.append(None)
    with pytest.raises(BufferError):
        m.close()
    with pytest.raises(BufferError):
        m.resize(PAGE)
    assert m[:5] == b"hello"
    m._pins.pop()
    m.close()
    assert m.closed


def test_a_close_in_the_midst_of_an_access_is_refused(m: Any) -> None:
    class Closing:
        """Stands for a signal handler or a thread that comes between the check and the access, once."""

        closed = False

        def __index__(self) -> int:
            if not self.closed:
                self.closed = True
                with pytest.raises(BufferError):
                    m.close()
            return 0

    assert m._view[Closing() : 5] == b"hello"
    m._view[Closing() : 5] = b"HELLO"
    assert m[:5] == b"HELLO"
    m.close()


_Window: Any = _mapping._PinnedWindow
_length: Any = vars(_mapping._Window)["length"]


class _Watched(_Window):  # type: ignore[misc]
    """A window that another thread tries to take away as soon as its length was read, once."""

    __slots__ = ("watching",)

    watching: bool

    @property
    def length(self) -> int:
        length: int = _length.__get__(self)
        if self.watching:
            self.watching = False
            with pytest.raises(BufferError):
                self._mapping.close()
        return length

    @length.setter
    def length(self, length: int) -> None:
        _length.__set__(self, length)


@pytest.mark.parametrize(
    ("access", "answer"),
    [
        (lambda m: m._view[5], 10),
        (lambda m: m._view[0:5], b"hello"),
        (lambda m: operator.setitem(m._view, 5, 10), None),
        (lambda m: operator.setitem(m._view, slice(0, 5), b"hello"), None),
    ],
)
def test_a_length_that_was_read_holds(m: Any, access: Callable[[Any], object], answer: object) -> None:
    m._view = window = _Watched(m, *m._span)
    window.watching = True
    assert access(m) == answer
    assert not window.watching


@pytest.mark.parametrize(
    "access",
    [
        lambda m: m[0],
        lambda m: m[0:5],
        lambda m: m.read(5),
        lambda m: m.read_byte(),
        lambda m: m.readline(),
        lambda m: m.write(b"HELLO"),
        lambda m: m.write_byte(74),
        lambda m: operator.setitem(m, 0, 74),
        lambda m: operator.setitem(m, slice(0, 5), b"HELLO"),
        list,
    ],
)
def test_a_lost_page_is_an_error(
    m: Any, path: Path, monkeypatch: pytest.MonkeyPatch, access: Callable[[Any], object]
) -> None:
    class Losing(_Library):
        def cm_load(self, *_: object) -> int:
            return errno.EIO

        cm_store = cm_load

    with monkeypatch.context() as patch:
        patch.setattr(_mapping, "lib", Losing())
        with pytest.raises(OSError, match="Input/output error"):
            access(m)
    assert (m.tell(), m[:]) == (0, path.read_bytes())
    m.close()
    assert m.closed


def test_a_map_that_became_another_meanwhile_is_not_written(m: Any, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ValueError, match="mmap resized during the operation"):
        m._view[SIZE - 2 : SIZE + 3] = b"HELLO"
    with pytest.raises(IndexError):
        m._view[SIZE] = 74
    assert m[:] == before


class _InterruptedWhilePinning(list[object]):
    """Ctrl-C right after the pin was set."""

    def append(self, pin: object) -> None:
        super().append(pin)
        raise KeyboardInterrupt


class _InterruptedWhileUnpinning(list[object]):
    """Ctrl-C right before the pin is taken away."""

    pressed = False

    def remove(self, pin: object) -> None:
        if not self.pressed:
            self.pressed = True
            raise KeyboardInterrupt
        super().remove(pin)


@pytest.mark.parametrize("pins", [_InterruptedWhilePinning, _InterruptedWhileUnpinning])
@pytest.mark.parametrize("access", [lambda m: m.find(b"never"), lambda m: m[0], lambda m: m[0:5]])
def test_ctrl_c_leaves_no_pin(m: Any, pins: type[list[object]], access: Callable[[Any], object]) -> None:
    m._pins = pins()
    with pytest.raises(KeyboardInterrupt):
        access(m)
    assert m._pins == []
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


def test_a_growth_that_cannot_be_undone_under_a_view_leaves_the_map_usable(
    m: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(_Library):
        def cm_map(self, *_: object) -> int:
            return errno.EAGAIN

        def cm_truncate(self, file: int, size: int) -> int:
            return errno.EBUSY if size == SIZE else lib.cm_truncate(file, size)

    view = memoryview(m)
    with monkeypatch.context() as patch:
        patch.setattr(_mapping, "lib", Failing())
        with pytest.raises(BlockingIOError):
            m.resize(SIZE + PAGE)
    assert m[:] == view == path.read_bytes()[:SIZE]
    m[0] = 74
    m.resize(SIZE + PAGE)
    assert m[:5] == b"Jello"


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
        try:
            if turns % 3:
                m.resize(SIZE if len(m) != SIZE else SIZE + PAGE)
            else:
                m.close()
                mapped[0] = opened()
            turns += 1
        except BufferError:
            continue
    for thread in threads:
        thread.join()
    assert not wrong
    assert turns > 10
