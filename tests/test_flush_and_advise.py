"""What is done with the memory itself: move, flush, madvise and set_name."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _faults import Faulty, needs_faults
from _files import PAGE, SIZE, SSIZE_MAX, Index
from _needs import constant, needs
from conftest import tuned
from hypothesis import given
from hypothesis import strategies as st

import cffimmap
from cffimmap import ACCESS_COPY, ACCESS_READ, MS_ASYNC, MS_SYNC
from cffimmap._native import WINDOWS, ffi

if TYPE_CHECKING:
    from types import ModuleType

    from _calls import Call
    from conftest import Raises

SSIZE = "Python int too large to convert to C ssize_t"
READ_ONLY = "mmap can't modify a readonly memory map."
MOVE_RANGE = "source, destination, or count out of range"
FLUSH_RANGE = "flush values out of range"
NO_INTEGER = "'str' object cannot be interpreted as an integer"

MS_INVALIDATE = constant("MS_INVALIDATE")
MADV_NORMAL = constant("MADV_NORMAL")
MADV_WILLNEED = constant("MADV_WILLNEED")

# ERROR_IO_DEVICE of winerror.h
IO_DEVICE = 1117

PR_SET_VMA = 0x53564D41  # linux/prctl.h

# What msync(2) looks at and Windows does not.
by_msync = needs("MS_INVALIDATE")


@pytest.fixture
def synced() -> Faulty:
    """Notes what flush asks of the system, and answers that it was done."""
    return Faulty(FlushViewOfFile=0, FlushFileBuffers=0) if WINDOWS else Faulty(msync=0)


def asked(m: Any, faulty: Faulty) -> list[tuple[int, Call]]:
    """The calls that were made for a map's memory, and from which of its bytes on."""
    with ffi.from_buffer(m) as memory:
        base = int(ffi.cast("uintptr_t", memory))
    places = ((call.arguments.get("address", -1) - base, call) for call in faulty.calls)
    return [(place, call) for place, call in places if 0 <= place <= len(m)]


class TestMove:
    @given(dest=st.integers(0, 40), src=st.integers(0, 40), count=st.integers(0, 40))
    def test_bytes_are_copied_as_if_there_were_two_maps(
        self, mmap: ModuleType, dest: int, src: int, count: int
    ) -> None:
        text = bytes(range(80))
        model = bytearray(text)
        model[dest : dest + count] = text[src : src + count]
        with mmap.mmap(-1, 80) as m:
            m.write(text)
            assert m.move(Index(dest), src, Index(count)) is None
            assert m[:] == model
            assert m.tell() == 80

    @given(dest=st.integers(0, 40), src=st.integers(0, 40), count=st.integers(0, 40), part=st.integers(1, 50))
    def test_a_long_one_is_made_in_parts(
        self, ours: ModuleType, dest: int, src: int, count: int, part: int
    ) -> None:
        text = bytes(range(80))
        model = bytearray(text)
        model[dest : dest + count] = text[src : src + count]
        with tuned(long=2, part=part), ours.mmap(-1, 80) as m:
            m[:] = text
            m.move(dest, src, count)
            assert m[:] == model

    def test_whole_map_may_be_moved_onto_itself(self, m: Any, path: Path) -> None:
        m.move(0, 0, SIZE)
        m.move(SIZE, SIZE, 0)
        assert m[:] == path.read_bytes()

    @pytest.mark.differs("move too far", arguments=[(SSIZE_MAX, SSIZE_MAX, SSIZE_MAX), (1, 1, SSIZE_MAX)])
    @pytest.mark.parametrize(
        ("arguments", "error", "answer"),
        [
            ((0, 0, -1), ValueError, MOVE_RANGE),
            ((-1, 0, 1), ValueError, MOVE_RANGE),
            ((0, -1, 1), ValueError, MOVE_RANGE),
            ((0, 0, SIZE + 1), ValueError, MOVE_RANGE),
            ((1, 0, SIZE), ValueError, MOVE_RANGE),
            ((0, 1, SIZE), ValueError, MOVE_RANGE),
            ((SIZE + 1, 0, 0), ValueError, MOVE_RANGE),
            ((0, SIZE + 1, 0), ValueError, MOVE_RANGE),
            ((SSIZE_MAX, SSIZE_MAX, SSIZE_MAX), ValueError, MOVE_RANGE),
            ((1, 1, SSIZE_MAX), ValueError, MOVE_RANGE),
            ((SSIZE_MAX + 1, 0, 0), OverflowError, SSIZE),
            ((0, -SSIZE_MAX - 2, 0), OverflowError, SSIZE),
            ((0, 0, SSIZE_MAX + 1), OverflowError, SSIZE),
            (("a", 0, 0), TypeError, NO_INTEGER),
            ((0, "a", 0), TypeError, NO_INTEGER),
            ((0, 0, "a"), TypeError, NO_INTEGER),
            ((0, 0), TypeError, None),
            ((0, 0, 0, 0), TypeError, None),
        ],
    )
    def test_bad_arguments_move_nothing(
        self,
        m: Any,
        path: Path,
        raises: Raises,
        arguments: tuple[Any, ...],
        error: type[Exception],
        answer: str,
    ) -> None:
        before = path.read_bytes()
        with raises(error, answer):
            m.move(*arguments)
        assert m[:] == before

    @pytest.mark.parametrize("arguments", [(0, 0, 0), (-1, 0, 0), (0, 6, 6)])
    def test_read_only_map_moves_nothing(
        self, frozen: Any, raises: Raises, arguments: tuple[int, int, int]
    ) -> None:
        with raises(TypeError, READ_ONLY):
            frozen.move(*arguments)


class TestFlush:
    @pytest.mark.differs("flush to the end", arguments=[(PAGE,), (0, -1), (PAGE, -1)])
    @pytest.mark.parametrize(
        "arguments",
        [(), (0,), (PAGE,), (PAGE, 100), (0, 0), (0, -1), (PAGE, -1), (0, SIZE), (Index(PAGE), Index(PAGE))],
    )
    def test_flush_answers_none(self, m: Any, arguments: tuple[Any, ...]) -> None:
        m[:5] = b"HELLO"
        m.seek(6)
        assert m.flush(*arguments) is None
        assert m.tell() == 6

    @pytest.mark.differs("flush flags")
    @pytest.mark.parametrize("flags", [MS_SYNC, MS_ASYNC, 0])
    @pytest.mark.parametrize("more", [0, pytest.param(MS_INVALIDATE, marks=needs("MS_INVALIDATE"))])
    def test_flags_choose_how(self, m: Any, flags: int, more: int) -> None:
        assert m.flush(flags=flags | more) is None
        assert m.flush(PAGE, PAGE, flags=Index(flags | more)) is None

    @needs_faults
    @pytest.mark.parametrize(
        ("arguments", "flags", "wanted"),
        [
            ((), {}, (0, SIZE, MS_SYNC)),
            ((PAGE,), {}, (PAGE, SIZE - PAGE, MS_SYNC)),
            ((PAGE, -1), {}, (PAGE, SIZE - PAGE, MS_SYNC)),
            ((PAGE, 7), {}, (PAGE, 7, MS_SYNC)),
            ((SIZE,), {}, (SIZE, 0, MS_SYNC)),
            ((), {"flags": MS_ASYNC}, (0, SIZE, MS_ASYNC)),
        ],
    )
    def test_system_is_asked_for_that_range(
        self,
        ours: ModuleType,
        synced: Faulty,
        file: Any,
        arguments: tuple[int, ...],
        flags: dict[str, int],
        wanted: tuple[int, int, int],
    ) -> None:
        with ours.mmap(file.fileno(), 0) as m:
            synced(lambda: m.flush(*arguments, **flags))
            calls = [(place, call["length"], call.arguments.get("flags")) for place, call in asked(m, synced)]
        if WINDOWS:
            # It would take a length of 0 for the whole rest, and knows no flags.
            assert calls == ([(*wanted[:2], None)] if wanted[1] else [])
        else:
            assert calls == [wanted]

    @needs_faults
    @needs("MS_INVALIDATE")
    @pytest.mark.parametrize("more", [0, MS_INVALIDATE])
    @pytest.mark.parametrize("flags", [MS_SYNC, MS_ASYNC])
    def test_system_is_asked_once(
        self, ours: ModuleType, synced: Faulty, file: Any, flags: int, more: int
    ) -> None:
        """MS_SYNC means the disk there."""
        with ours.mmap(file.fileno(), 0) as m:
            synced(lambda: m.flush(flags=flags | more))
        assert [(call["length"], call["flags"]) for call in synced.calls] == [(SIZE, flags | more)]

    @needs("msvcrt")
    @pytest.mark.parametrize(
        ("arguments", "flags", "to_the_disk"),
        [
            ({}, {}, True),
            ({}, {"flags": MS_SYNC}, True),
            ({}, {"flags": 0}, True),
            ({}, {"flags": MS_ASYNC}, False),
            # There is no file to be asked for.
            ({"trackfd": False}, {}, False),
        ],
    )
    def test_windows_is_asked_for_the_file_too_unless_asynchronously(
        self,
        ours: ModuleType,
        synced: Faulty,
        file: Any,
        arguments: dict[str, bool],
        flags: dict[str, int],
        to_the_disk: bool,
    ) -> None:
        with ours.mmap(file.fileno(), 0, **arguments) as m:
            synced(lambda: m.flush(0, PAGE, **flags))
            assert [(place, call["length"]) for place, call in asked(m, synced)] == [(0, PAGE)]
        names = [call.name for call in synced.calls]
        assert names == ["FlushViewOfFile"] + ["FlushFileBuffers"] * to_the_disk

    @needs("msvcrt")
    @pytest.mark.parametrize("arguments", [(1,), (1, 5), (SIZE,), (SIZE, 0), (0, 0)])
    def test_windows_takes_any_offset(self, ours: ModuleType, file: Any, arguments: tuple[int, ...]) -> None:
        with ours.mmap(file.fileno(), 0) as m:
            m[:5] = b"HELLO"
            assert m.flush(*arguments) is None

    @needs("msvcrt")
    @pytest.mark.parametrize("flags", [99, 2**31 - 1, -1, MS_SYNC | MS_ASYNC])
    def test_windows_ignores_flags_it_does_not_know(self, ours: ModuleType, file: Any, flags: int) -> None:
        with ours.mmap(file.fileno(), 0) as m:
            assert m.flush(flags=flags) is None

    @needs_faults
    @pytest.mark.parametrize("arguments", [{"access": ACCESS_READ}, {"access": ACCESS_COPY}])
    def test_nothing_is_asked_for_read_only_maps_and_copies(
        self, ours: ModuleType, synced: Faulty, file: Any, arguments: dict[str, int]
    ) -> None:
        with ours.mmap(file.fileno(), 0, **arguments) as m:
            synced(m.flush)
            synced(lambda: m.flush(1))
            synced(lambda: m.flush(flags=99))
        assert synced.calls == []

    @pytest.mark.parametrize("access", [ACCESS_READ, ACCESS_COPY])
    def test_read_only_maps_and_copies_answer_none(self, mmap: ModuleType, file: Any, access: int) -> None:
        with mmap.mmap(file.fileno(), 0, access=access) as m:
            assert m.flush() is None
            assert m.flush(PAGE, 5) is None

    @pytest.mark.parametrize("access", [ACCESS_READ, ACCESS_COPY])
    def test_their_ranges_are_checked_all_the_same(
        self, mmap: ModuleType, file: Any, raises: Raises, access: int
    ) -> None:
        with mmap.mmap(file.fileno(), 0, access=access) as m, raises(ValueError, FLUSH_RANGE):
            m.flush(0, SIZE + 1)

    @pytest.mark.differs("flush to the end", arguments=[(1,), (SIZE,)])
    @pytest.mark.differs("flush of nothing", arguments=[(PAGE, SSIZE_MAX), (SSIZE_MAX,), (SIZE, 0)])
    @pytest.mark.differs(
        "flush flags", flags=[{"flags": 99}, {"flags": MS_SYNC | MS_ASYNC}, {"flags": 2**31}]
    )
    @pytest.mark.parametrize(
        ("arguments", "flags", "error", "answer"),
        [
            ((-1,), {}, ValueError, FLUSH_RANGE),
            ((SIZE + 1,), {}, ValueError, FLUSH_RANGE),
            ((0, -2), {}, ValueError, FLUSH_RANGE),
            ((0, SIZE + 1), {}, ValueError, FLUSH_RANGE),
            ((PAGE, SIZE - PAGE + 1), {}, ValueError, FLUSH_RANGE),
            ((PAGE, SSIZE_MAX), {}, ValueError, FLUSH_RANGE),
            ((SSIZE_MAX,), {}, ValueError, FLUSH_RANGE),
            pytest.param((1,), {}, OSError, errno.EINVAL, marks=by_msync),
            pytest.param((SIZE,), {}, OSError, errno.EINVAL, marks=by_msync),
            pytest.param((SIZE, 0), {}, OSError, errno.EINVAL, marks=by_msync),
            pytest.param((), {"flags": 99}, OSError, errno.EINVAL, marks=by_msync),
            pytest.param((), {"flags": MS_SYNC | MS_ASYNC}, OSError, errno.EINVAL, marks=by_msync),
            ((SSIZE_MAX + 1,), {}, OverflowError, SSIZE),
            ((0, SSIZE_MAX + 1), {}, OverflowError, SSIZE),
            ((), {"flags": 2**31}, OverflowError, None),
            ((None,), {}, TypeError, "'NoneType' object cannot be interpreted as an integer"),
            ((0, "a"), {}, TypeError, NO_INTEGER),
            ((), {"flags": "a"}, TypeError, NO_INTEGER),
            ((0, 1, MS_SYNC), {}, TypeError, None),
        ],
    )
    def test_bad_arguments_are_refused(
        self,
        m: Any,
        raises: Raises,
        arguments: tuple[Any, ...],
        flags: dict[str, Any],
        error: type[Exception],
        answer: str | int,
    ) -> None:
        with raises(error, answer):
            m.flush(*arguments, **flags)

    @needs_faults
    @needs("MS_INVALIDATE")
    def test_failure_names_the_call(self, ours: ModuleType, file: Any) -> None:
        with ours.mmap(file.fileno(), 0) as m:
            with pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught:
                Faulty(msync=errno.EIO)(m.flush)
            assert caught.value.errno == errno.EIO
            assert caught.value.__notes__ == ["msync() failed"]  # type: ignore[attr-defined, unused-ignore]

    @needs("msvcrt")
    @pytest.mark.parametrize("function", ["FlushViewOfFile", "FlushFileBuffers"])
    def test_failure_names_the_call_of_windows(self, ours: ModuleType, file: Any, function: str) -> None:
        with ours.mmap(file.fileno(), 0) as m:
            with pytest.raises(OSError, match=f"WinError {IO_DEVICE}") as caught:
                Faulty(**{function: IO_DEVICE})(m.flush)
            # Python knows no errno for it.
            assert caught.value.errno == errno.EINVAL
            assert caught.value.__notes__ == [f"{function}() failed"]  # type: ignore[attr-defined, unused-ignore]


@needs("mmap.madvise")
class TestMadvise:
    @pytest.mark.differs("madvise None", arguments=[(0, None), (PAGE, None)])
    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            (0,),
            (PAGE,),
            (PAGE, 100),
            (0, 0),
            (0, None),
            (PAGE, None),
            (0, 10 * SIZE),
            (Index(PAGE), Index(PAGE)),
        ],
    )
    def test_advice_answers_none(self, m: Any, arguments: tuple[Any, ...]) -> None:
        m.seek(6)
        assert m.madvise(MADV_WILLNEED, *arguments) is None
        assert m.madvise(Index(MADV_NORMAL), *arguments) is None
        assert m.tell() == 6

    @needs_faults
    @pytest.mark.parametrize(
        ("arguments", "wanted"),
        [
            ((), (0, SIZE)),
            ((PAGE,), (PAGE, SIZE - PAGE)),
            ((PAGE, None), (PAGE, SIZE - PAGE)),
            ((PAGE, 7), (PAGE, 7)),
            ((PAGE, SIZE), (PAGE, SIZE - PAGE)),
            ((PAGE, SSIZE_MAX - PAGE), (PAGE, SIZE - PAGE)),
            ((SIZE - 1, 0), (SIZE - 1, 0)),
        ],
    )
    def test_system_is_asked_for_that_range(
        self,
        ours: ModuleType,
        file: Any,
        arguments: tuple[Any, ...],
        wanted: tuple[int, int],
    ) -> None:
        # Not that the system would take each of them.
        advised = Faulty(madvise=0)
        with ours.mmap(file.fileno(), 0) as m:
            advised(lambda: m.madvise(MADV_WILLNEED, *arguments))
            calls = [(place, call["length"], call["advice"]) for place, call in asked(m, advised)]
        assert calls == [(*wanted, MADV_WILLNEED)]

    def test_unneeded_pages_are_zero_again(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 3 * PAGE, flags=cffimmap.MAP_PRIVATE) as m:
            m[:] = b"x" * (3 * PAGE)
            m.madvise(cffimmap.MADV_DONTNEED, PAGE, PAGE)
            assert m[:] == b"x" * PAGE + bytes(PAGE) + b"x" * PAGE

    @pytest.mark.differs("madvise errors", error=[OSError])
    @pytest.mark.differs("range of a C int", arguments=[(2**31,)])
    @pytest.mark.parametrize(
        ("arguments", "error", "answer"),
        [
            ((99_999,), OSError, errno.EINVAL),
            ((-1,), OSError, errno.EINVAL),
            ((MADV_NORMAL, 1), OSError, errno.EINVAL),
            ((MADV_NORMAL, SIZE - 1), OSError, errno.EINVAL),
            ((MADV_NORMAL, -1), ValueError, "madvise start out of bounds"),
            ((MADV_NORMAL, SIZE), ValueError, "madvise start out of bounds"),
            ((MADV_NORMAL, SIZE, -1), ValueError, "madvise start out of bounds"),
            ((MADV_NORMAL, SSIZE_MAX), ValueError, "madvise start out of bounds"),
            ((MADV_NORMAL, 0, -1), ValueError, "madvise length invalid"),
            ((MADV_NORMAL, PAGE, SSIZE_MAX), OverflowError, "madvise length too large"),
            ((MADV_NORMAL, PAGE, SSIZE_MAX - PAGE + 1), OverflowError, "madvise length too large"),
            ((2**31,), OverflowError, None),
            ((MADV_NORMAL, SSIZE_MAX + 1), OverflowError, SSIZE),
            ((MADV_NORMAL, 0, SSIZE_MAX + 1), OverflowError, SSIZE),
            (("a",), TypeError, NO_INTEGER),
            ((MADV_NORMAL, None), TypeError, "'NoneType' object cannot be interpreted as an integer"),
            ((MADV_NORMAL, 0, "a"), TypeError, NO_INTEGER),
            ((), TypeError, None),
        ],
    )
    def test_bad_arguments_are_refused(
        self, m: Any, raises: Raises, arguments: tuple[Any, ...], error: type[Exception], answer: str | int
    ) -> None:
        with raises(error, answer):
            m.madvise(*arguments)


@needs("mmap.set_name")
class TestSetName:
    """The kernel here may know no names: what it is asked is looked at instead."""

    @needs_faults
    @pytest.mark.parametrize("name", ["", "a", "a" * 66, "\u00e9" * 33, "two words"])
    def test_system_is_asked_to_name_the_whole_map(self, ours: ModuleType, name: str) -> None:
        named = Faulty(prctl=0)
        with ours.mmap(-1, 100) as m:
            assert named(lambda: m.set_name(name)) is None
            calls = [(place, call) for place, call in asked(m, named) if call["option"] == PR_SET_VMA]
            assert [(place, call["length"], call.text) for place, call in calls] == [
                (0, 100, f"cffimmap:{name}")
            ]
            assert calls[0][1]["attribute"] == 0

    @needs_faults
    def test_kernel_that_knows_no_names_is_no_error(self, ours: ModuleType) -> None:
        with ours.mmap(-1, 100) as m:
            Faulty(prctl=errno.EINVAL)(lambda: m.set_name("name"))

    @needs_faults
    def test_refusal_of_the_kernel_is_an_error(self, ours: ModuleType) -> None:
        with ours.mmap(-1, 100) as m:
            with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)) as caught:
                Faulty(prctl=errno.ENOMEM)(lambda: m.set_name("name"))
            assert caught.value.errno == errno.ENOMEM

    @pytest.mark.parametrize(
        ("name", "error", "answer"),
        [
            ("a" * 67, ValueError, "name is too long"),
            ("\u00e9" * 34, ValueError, "name is too long"),
            ("a\0b", ValueError, "embedded null character"),
            ("\0", ValueError, "embedded null character"),
            ("\udc80", UnicodeEncodeError, None),
            (b"a", TypeError, "set_name() argument must be str, not bytes"),
            (1, TypeError, "set_name() argument must be str, not int"),
            (None, TypeError, None),
        ],
    )
    @pytest.mark.differs("set_name")
    def test_bad_names_are_refused(
        self, mmap: ModuleType, raises: Raises, name: Any, error: type[Exception], answer: str
    ) -> None:
        with mmap.mmap(-1, 100) as m, raises(error, answer):
            m.set_name(name)

    @pytest.mark.differs("set_name")
    def test_files_have_names_already(self, m: Any, raises: Raises) -> None:
        with raises(ValueError, "Cannot set annotation on non-anonymous mappings"):
            m.set_name("name")
