"""Pages of a map that are lost or protected: on Windows every method answers with OSError, and the map lives on."""

from __future__ import annotations

import errno
import operator
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from _files import PAGE, SIZE, FakeLibrary
from conftest import tuned

import cffimmap
from cffimmap._native import PYPY, WINDOWS, failure, lib

if sys.platform == "win32":
    import _pages
else:
    _pages: Any = None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

on_windows = pytest.mark.skipif(not WINDOWS, reason="a lost page ends the process on Unix, by SIGBUS")

# ERROR_NOACCESS; ERROR_IO_DEVICE, which is STATUS_IO_DEVICE_ERROR; ERROR_HANDLE_EOF, STATUS_END_OF_FILE.
NO_ACCESS_ERROR = 998
STATUSES = {0xC0000185: 1117, 0xC0000011: 38}

# Longer than what is copied in one go.
LONG = (1 << 20) + PAGE

READS: dict[str, Callable[[Any], Any]] = {
    "index": lambda m: m[PAGE],
    "negative index": lambda m: m[-1],
    "object": lambda m: m[cffimmap.mmap.__len__(m) - 1],
    "slice": lambda m: m[PAGE - 5 : PAGE + 5],
    "one byte": lambda m: m[PAGE : PAGE + 1],
    "all": lambda m: m[:],
    "steps": lambda m: m[PAGE - 5 : PAGE + 5 : 2],
    "backwards": lambda m: m[::-1],
    "read": lambda m: m.read(10),
    "read all": lambda m: m.read(),
    "read_byte": lambda m: (m.seek(PAGE), m.read_byte()),
    "readline": lambda m: m.readline(),
    "list": list,
    "reversed": lambda m: next(reversed(m)),
    "contains": lambda m: b"\1" in m,
    "contains, other": lambda m: "x" in m,
    "find": lambda m: m.find(b"\1"),
    "find, longer": lambda m: m.find(b"\1\2", 0),
    "rfind": lambda m: m.rfind(b"\1"),
    "rfind, longer": lambda m: m.rfind(b"\1\2", 0),
}
WRITES: dict[str, Callable[[Any], Any]] = {
    "index": lambda m: operator.setitem(m, PAGE, 74),
    "object": lambda m: operator.setitem(m, -1, True),
    "slice": lambda m: operator.setitem(m, slice(PAGE, PAGE + 5), b"HELLO"),
    "bytearray": lambda m: operator.setitem(m, slice(PAGE, PAGE + 5), bytearray(b"HELLO")),
    "steps": lambda m: operator.setitem(m, slice(PAGE, PAGE + 10, 2), b"HELLO"),
    "write": lambda m: m.write(bytes(10)),
    "write, bytearray": lambda m: m.write(bytearray(10)),
    "write_byte": lambda m: (m.seek(PAGE), m.write_byte(74)),
    "move": lambda m: m.move(PAGE, 0, 10),
}
BOTH = [*READS.items(), *((f"set {name}", call) for name, call in WRITES.items())]


def named(calls: list[tuple[str, Callable[[Any], Any]]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("call", [call for _, call in calls], ids=[name for name, _ in calls])


@pytest.fixture
def m(path: Path) -> Iterator[Any]:
    """A map whose position is within the page before the one to be lost, on the last line there."""
    path.write_bytes(b"-" * SIZE)
    with path.open("r+b") as file, cffimmap.mmap(file.fileno(), 0) as m:
        m.seek(PAGE - 5)
        yield m


def answer(call: Callable[[Any], Any], m: Any) -> int:
    """The winerror that a call ends with. The map is as before, and its memory in nobody's hands."""
    position, length = m.tell(), len(m)
    with pytest.raises(OSError) as raised:  # noqa: PT011, its winerror is what is asked
        call(m)
    if m.tell() == PAGE:
        # Where the call itself had put it.
        m.seek(position)
    assert (m.tell(), len(m)) == (position, length)
    return raised.value.winerror  # type: ignore[attr-defined, no-any-return, unused-ignore]


@on_windows
class TestProtected:
    @named(BOTH)
    def test_a_page_without_access(self, m: Any, path: Path, call: Callable[[Any], Any]) -> None:
        with _pages.protected(m, PAGE, SIZE - PAGE):
            assert answer(call, m) == NO_ACCESS_ERROR
        call(m)
        m.flush()
        assert m[:] == path.read_bytes()
        m.close()
        assert m.closed

    @named(list(WRITES.items()))
    def test_a_page_that_can_only_be_read(self, m: Any, path: Path, call: Callable[[Any], Any]) -> None:
        with _pages.protected(m, PAGE, SIZE - PAGE, _pages.READ_ONLY):
            assert answer(call, m) == NO_ACCESS_ERROR
            assert m[PAGE:] == b"-" * (SIZE - PAGE)
        call(m)
        assert m[:] == path.read_bytes()

    @named(BOTH)
    @pytest.mark.parametrize("status", STATUSES)
    def test_a_page_that_the_disk_cannot_give(self, m: Any, call: Callable[[Any], Any], status: int) -> None:
        with _pages.protected(m, PAGE, SIZE - PAGE), _pages.failing_disk(status):
            assert answer(call, m) == STATUSES[status]
        call(m)

    def test_what_lies_before_it_is_accessible(self, m: Any) -> None:
        with _pages.protected(m, PAGE, PAGE):
            assert m[:PAGE] == b"-" * PAGE
            m[0] = 74
            assert m.find(b"J", 0) == 0
            assert m.read(5) == b"-" * 5
            assert m[2 * PAGE :] == b"-" * (SIZE - 2 * PAGE)

    def test_a_long_slice(self, path: Path) -> None:
        path.write_bytes(b"-" * LONG)
        with path.open("r+b") as file, cffimmap.mmap(file.fileno(), 0) as m:
            with _pages.protected(m, LONG - PAGE, PAGE):
                assert answer(lambda m: m[:], m) == NO_ACCESS_ERROR
                assert answer(lambda m: m.read(), m) == NO_ACCESS_ERROR
                assert answer(lambda m: m.readline(), m) == NO_ACCESS_ERROR
                assert answer(lambda m: m.write(bytes(LONG)), m) == NO_ACCESS_ERROR
            assert m[-PAGE:] == b"-" * PAGE
            m.write(bytes(LONG))
            assert m[:] == bytes(LONG)

    @pytest.mark.parametrize("key", [slice(0, SIZE // 2), slice(0, SIZE, 2)])
    def test_the_page_of_another_map_that_is_read_from(self, m: Any, path: Path, key: slice) -> None:
        with (
            path.open("r+b") as file,
            cffimmap.mmap(file.fileno(), 0) as other,
            memoryview(other)[: SIZE // 2] as value,
        ):
            with _pages.protected(other, PAGE, SIZE - PAGE):
                assert answer(lambda m: operator.setitem(m, key, value), m) == NO_ACCESS_ERROR
            m[key] = value

    def test_an_iterator_goes_on_where_it_was(self, m: Any) -> None:
        iterator = iter(m)
        with _pages.protected(m, PAGE, PAGE):
            for _ in range(PAGE):
                assert next(iterator) == b"-"
            for _ in range(2):
                with pytest.raises(OSError) as raised:  # noqa: PT011
                    next(iterator)
                assert raised.value.winerror == NO_ACCESS_ERROR  # type: ignore[attr-defined, unused-ignore]
        assert len(list(iterator)) == SIZE - PAGE

    def test_resize_of_memory_that_cannot_be_copied(self) -> None:
        with cffimmap.mmap(-1, 2 * PAGE) as m:
            m[:5] = b"hello"
            with _pages.protected(m, PAGE, PAGE):
                assert answer(lambda m: m.resize(3 * PAGE), m) == NO_ACCESS_ERROR
                assert m[:5] == b"hello"
            m.resize(3 * PAGE)
            assert m[:] == b"hello".ljust(3 * PAGE, b"\0")

    @pytest.mark.skipif(PYPY, reason="PyPy cannot tell whether memory is exported")
    @named(BOTH)
    def test_the_traceback_holds_nothing(self, m: Any, call: Callable[[Any], Any]) -> None:
        with _pages.protected(m, PAGE, SIZE - PAGE):
            try:
                call(m)
            except OSError as error:
                kept = error
        m.close()
        assert m.closed
        assert kept.__traceback__ is not None

    def test_threads_that_fail_and_threads_that_do_not(self, m: Any) -> None:
        wrong: list[BaseException] = []

        def run(access: Callable[[], object], expected: int) -> None:
            try:
                for _ in range(3_000):
                    try:
                        access()
                        failed = 0
                    except OSError as error:
                        failed = error.winerror  # type: ignore[attr-defined, unused-ignore]
                    assert failed == expected
            except BaseException as error:
                wrong.append(error)
                raise

        with _pages.protected(m, PAGE, PAGE):
            threads = [
                threading.Thread(target=run, args=(lambda: m[PAGE], NO_ACCESS_ERROR)),
                threading.Thread(target=run, args=(lambda: m.rfind(b"ab", 0, 2 * PAGE), NO_ACCESS_ERROR)),
                threading.Thread(target=run, args=(lambda: m[0:PAGE], 0)),
                threading.Thread(target=run, args=(lambda: m.find(b"ab", 2 * PAGE), 0)),
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not wrong


# What an access in C answers is understood on every platform. On CPython it is C that asks.
CALLS: dict[str, tuple[str, int, Callable[[Any], Any]]] = {
    "find": ("cm_find_near cm_run_find", -16 - errno.EIO, lambda m: m.find(b"absent", 0)),
    "rfind": ("cm_find_near cm_run_find", -16 - errno.EIO, lambda m: m.rfind(b"absent", 0)),
    "find more": ("cm_find_bytes_near cm_run_find", -16 - errno.EIO, lambda m: m.find(b"absent" * 3, 0)),
    "long find": ("cm_run_find", -16 - errno.EIO, lambda m: m.find(b"absent", 0)),
    "readline": ("cm_line_end cm_run_line_end", -16 - errno.EIO, lambda m: m.readline()),
    "long readline": ("cm_run_line_end", -16 - errno.EIO, lambda m: m.readline()),
    "long steps": ("cm_run_gather", errno.EIO, lambda m: m[::2]),
    "set steps": ("cm_run_scatter", errno.EIO, lambda m: operator.setitem(m, slice(0, 10, 2), b"HELLO")),
    "long write": ("cm_run_store", errno.EIO, lambda m: m.write(bytearray(10))),
    "long set": ("cm_run_store", errno.EIO, lambda m: operator.setitem(m, slice(0, 5), bytearray(b"HELLO"))),
    "long move": ("cm_run_move", errno.EIO, lambda m: m.move(0, 1, 5)),
}


@pytest.mark.skipif(not PYPY, reason="the errors of accesses reach Python code on PyPy alone")
@pytest.mark.skipif(WINDOWS, reason="its error numbers are others, and pages can be lost there")
@pytest.mark.parametrize("name", CALLS)
def test_an_error_from_an_access_is_raised(
    ours: ModuleType, file: Any, path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    functions, code, call = CALLS[name]
    before = path.read_bytes()
    library = FakeLibrary(lib, *functions.split())
    library.answer = code
    with ours.mmap(file.fileno(), 0) as m, tuned(long=2 if "long" in name else 1 << 16):
        m.seek(7)
        # From then on a short call accesses the memory at once.
        assert m[0] == before[0]
        with monkeypatch.context() as patch:
            patch.setattr("cffimmap._pypy.lib", library)
            with pytest.raises(OSError, match=os.strerror(errno.EIO)) as raised:
                call(m)
        assert library.calls
        assert raised.value.errno == errno.EIO
        assert (m.tell(), m[:]) == (7, before)


def test_the_error_of_an_access_names_no_system_call() -> None:
    code = NO_ACCESS_ERROR if WINDOWS else errno.EIO
    assert failure(code, "cm_unmap").__notes__ == [f"{'UnmapViewOfFile' if WINDOWS else 'munmap'}() failed"]  # type: ignore[attr-defined, unused-ignore]
    error = failure(code)
    assert getattr(error, "winerror" if WINDOWS else "errno") == code
    assert not hasattr(error, "__notes__")
