"""What is Windows's own about mapped files: they are made longer, kept from becoming shorter, and errors have numbers."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from _faults import Faulty
from _files import GRANULARITY, PAGE, SIZE, everything_open, let_have_holes

import cffimmap
from cffimmap._native import WINDOWS, ffi, lib

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from _calls import Call

pytestmark = pytest.mark.skipif(not WINDOWS, reason="needs sections, which Windows alone has")

ACCESS_DENIED, INVALID_HANDLE, NOT_ENOUGH_MEMORY, INVALID_PARAMETER = 5, 6, 8, 87
MAPPED_ALIGNMENT, USER_MAPPED_FILE = 1132, 1224


def answer(error: OSError) -> tuple[int, list[str]]:
    """The system's number, and the call that the notes name."""
    return error.winerror, error.__notes__  # type: ignore[attr-defined, unused-ignore]


class TestLongerFiles:
    @pytest.mark.parametrize("length", [SIZE + 1, SIZE + 100_000])
    @pytest.mark.parametrize("access", [cffimmap.ACCESS_DEFAULT, cffimmap.ACCESS_WRITE])
    def test_a_length_beyond_the_end_makes_the_file_longer(
        self, mmap: ModuleType, file: Any, path: Path, length: int, access: int
    ) -> None:
        before = path.read_bytes()
        with mmap.mmap(file.fileno(), length, access=access) as m:
            assert (len(m), m.size(), path.stat().st_size) == (length, length, length)
            assert m[:] == before.ljust(length, b"\0")
            m[-1] = 7
        assert path.read_bytes()[-1] == 7

    def test_an_empty_file_is_made_longer_too(self, mmap: ModuleType, path: Path) -> None:
        path.write_bytes(b"")
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 100) as m:
            assert m[:] == bytes(100)
        assert path.read_bytes() == bytes(100)

    def test_the_offset_counts(self, mmap: ModuleType, file: Any, path: Path) -> None:
        with mmap.mmap(file.fileno(), 10, offset=3 * GRANULARITY) as m:
            assert m.size() == 3 * GRANULARITY + 10
        assert path.stat().st_size == 3 * GRANULARITY + 10

    @pytest.mark.parametrize("access", [cffimmap.ACCESS_READ, cffimmap.ACCESS_COPY])
    def test_what_cannot_write_cannot_make_it_longer(
        self, ours: ModuleType, file: Any, path: Path, access: int
    ) -> None:
        with pytest.raises(OSError, match=r".") as raised:
            ours.mmap(file.fileno(), SIZE + 1, access=access)
        assert answer(raised.value) == (NOT_ENOUGH_MEMORY, ["CreateFileMapping() failed"])
        assert path.stat().st_size == SIZE

    @pytest.mark.parametrize(
        "arguments",
        [
            {"offset": 1},
            {"length": 2**62},
            {"length": 2**63 - 1},
            {"length": 2**63 - 1, "offset": GRANULARITY},
        ],
    )
    def test_what_fails_leaves_the_file_as_long_as_it_was(
        self, ours: ModuleType, file: Any, path: Path, arguments: dict[str, int]
    ) -> None:
        with pytest.raises(OSError, match=r"."):
            ours.mmap(file.fileno(), **{"length": SIZE + 100, **arguments})
        assert path.stat().st_size == SIZE

    def test_a_view_that_fails_takes_the_length_back(self, ours: ModuleType, file: Any, path: Path) -> None:
        gc.collect()
        before = everything_open()
        with pytest.raises(PermissionError) as raised:
            Faulty(MapViewOfFile=ACCESS_DENIED)(lambda: ours.mmap(file.fileno(), 2 * SIZE))
        assert answer(raised.value) == (ACCESS_DENIED, ["MapViewOfFile() failed"])
        assert path.stat().st_size == SIZE
        del raised
        gc.collect()
        assert everything_open() == before

    def test_a_file_that_shrinks_before_it_is_mapped_whole_gets_nothing_added(
        self, ours: ModuleType, file: Any, path: Path
    ) -> None:
        def shorten(_: Call) -> None:
            path.write_bytes(b"short")

        with pytest.raises(PermissionError):
            Faulty(CreateFileMappingW=shorten)(lambda: ours.mmap(file.fileno(), 0))
        assert path.read_bytes() == b"short"

    def test_the_position_of_the_file_stays(self, ours: ModuleType, file: Any) -> None:
        file.seek(17)
        with ours.mmap(file.fileno(), 0) as m:
            m.resize(SIZE + 1)
            m.resize(SIZE - 1)
            assert file.tell() == 17


class TestErrors:
    def test_a_socket_is_no_file(self, mmap: ModuleType) -> None:
        with contextlib.ExitStack() as stack:
            s = stack.enter_context(socket.socket())
            while s.fileno() < 100:  # a handle whose number may be a descriptor's too
                s = stack.enter_context(socket.socket())
            with pytest.raises(OSError, match=r".") as raised:
                mmap.mmap(s.fileno(), 10)
        assert raised.value.errno == errno.EBADF

    @pytest.mark.parametrize("descriptor", [-2, -(2**31), 77, 5000, 2**31 - 1])
    def test_a_bad_descriptor_names_the_call(self, ours: ModuleType, descriptor: int) -> None:
        with pytest.raises(OSError, match=r".") as raised:
            ours.mmap(descriptor, 10)
        assert raised.value.errno == errno.EBADF
        assert answer(raised.value) == (INVALID_HANDLE, ["_get_osfhandle() failed"])

    def test_0_is_anonymous_memory(self, mmap: ModuleType) -> None:
        with mmap.mmap(0, 10) as m:
            assert m[:] == bytes(10)
            assert m.size() == 10

    def test_a_misaligned_offset_names_the_call(self, ours: ModuleType, file: Any) -> None:
        for offset in (1, PAGE, GRANULARITY - 1):
            with pytest.raises(OSError, match=r".") as raised:
                ours.mmap(file.fileno(), 10, offset=offset)
            assert answer(raised.value) == (MAPPED_ALIGNMENT, ["MapViewOfFile() failed"])

    def test_no_bytes_at_all_name_the_call(self, ours: ModuleType) -> None:
        with pytest.raises(OSError, match=r".") as raised:
            ours.mmap(-1, 0)
        assert answer(raised.value) == (INVALID_PARAMETER, ["CreateFileMapping() failed"])

    def test_a_file_not_open_for_writing_names_the_call(self, ours: ModuleType, path: Path) -> None:
        with path.open("rb") as file, pytest.raises(PermissionError) as raised:
            ours.mmap(file.fileno(), 0)
        assert answer(raised.value) == (ACCESS_DENIED, ["CreateFileMapping() failed"])

    @pytest.mark.parametrize("length", [2**45, 2**62])
    def test_more_memory_than_there_is_names_the_call(self, ours: ModuleType, length: int) -> None:
        with pytest.raises(OSError, match=r".") as raised:
            ours.mmap(-1, length)
        assert raised.value.errno == errno.ENOMEM
        assert answer(raised.value) == (NOT_ENOUGH_MEMORY, ["CreateFileMapping() failed"])

    def test_a_growth_beyond_all_disks_leaves_all(self, ours: ModuleType, file: Any, path: Path) -> None:
        with ours.mmap(file.fileno(), 0) as m:
            before = m[:]
            m.seek(5)
            with pytest.raises(OSError, match=r".") as raised:
                m.resize(2**62)
            assert answer(raised.value)[1] == ["CreateFileMapping() failed"]
            assert (m[:], m.tell(), m.size(), path.stat().st_size) == (before, 5, SIZE, SIZE)


class TestContract:
    """The C functions themselves: what they answer, and that a failure writes no output."""

    def test_an_error_is_that_of_the_call_that_failed(self) -> None:
        fresh = ffi.new("cm_range *")
        section = ffi.new("cm_file *")
        existed = ffi.new("int *")
        assert lib.cm_make_section(-1, lib.CM_READ, 100, ffi.NULL, section, existed) == 0
        assert lib.cm_map(section[0], 100, lib.CM_WRITE, 0, 0, fresh) == ACCESS_DENIED
        assert lib.cm_map(section[0], 100, lib.CM_READ, 0, 1, fresh) == MAPPED_ALIGNMENT
        assert lib.cm_map(section[0], 10 * GRANULARITY, lib.CM_READ, 0, 0, fresh) == ACCESS_DENIED
        assert (fresh.base, fresh.length) == (ffi.NULL, 0)
        assert lib.cm_close(section[0]) == 0
        assert lib.cm_close(section[0]) == INVALID_HANDLE
        assert lib.cm_map(section[0], 100, lib.CM_READ, 0, 0, fresh) == INVALID_HANDLE

    def test_a_failure_writes_no_output(self) -> None:
        file, size, regular = ffi.new("cm_file *", 5), ffi.new("long long *", 6), ffi.new("int *", 7)
        assert lib.cm_file_of(5000, file) == INVALID_HANDLE
        assert lib.cm_status(123_457, size, regular) == INVALID_HANDLE
        assert lib.cm_duplicate(123_457, file) == INVALID_HANDLE
        assert lib.cm_truncate(123_457, 1) == INVALID_HANDLE
        assert lib.cm_sync_file(123_457) == INVALID_HANDLE
        assert lib.cm_make_section(123_457, lib.CM_READ, 1, ffi.NULL, file, regular) == INVALID_HANDLE
        assert lib.cm_open_section("cffimmap-no-such-tag", file) == 2
        assert (file[0], size[0], regular[0]) == (5, 6, 7)

    def test_a_duplicate_is_not_inherited_and_closed_alone(self, file: Any) -> None:
        original, copy = ffi.new("cm_file *"), ffi.new("cm_file *")
        assert lib.cm_file_of(file.fileno(), original) == 0
        assert lib.cm_duplicate(original[0], copy) == 0
        assert os.get_handle_inheritable(copy[0]) is False  # type: ignore[attr-defined, unused-ignore]
        assert lib.cm_close(copy[0]) == 0
        assert file.read(5) == b"hello"

    def test_unmapping_empties_the_range_and_only_once(self) -> None:
        fresh, section, existed = ffi.new("cm_range *"), ffi.new("cm_file *"), ffi.new("int *")
        assert lib.cm_make_section(-1, lib.CM_WRITE, 100, ffi.NULL, section, existed) == 0
        assert existed[0] == 0
        assert lib.cm_map(section[0], 100, lib.CM_WRITE, 0, 0, fresh) == 0
        assert lib.cm_close(section[0]) == 0
        fresh.base[99] = 1
        base = fresh.base
        assert lib.cm_unmap(fresh) == 0
        assert (fresh.base, fresh.length) == (ffi.NULL, 0)
        fresh.base, fresh.length = base, 100
        assert lib.cm_unmap(fresh) != 0
        assert fresh.base == base

    def test_what_windows_lacks_is_not_supported(self) -> None:
        base = ffi.new("unsigned char[]", 1)
        fresh = ffi.new("cm_range *")
        no = lib.CM_UNSUPPORTED
        assert lib.cm_blank(base, 1) == lib.cm_remap(fresh, 1) == lib.cm_twin(base, 1, fresh) == no
        assert lib.cm_advise(base, 0, 1, 0) == lib.cm_set_name(base, 1, b"x") == no


class TestWhatIsHeld:
    def test_a_closed_map_holds_nothing_of_the_file(self, mmap: ModuleType, path: Path) -> None:
        with path.open("r+b") as file:
            m = mmap.mmap(file.fileno(), 0)
        m.close()
        os.truncate(path, 1)
        assert path.stat().st_size == 1
        path.unlink()

    def test_a_dropped_map_holds_nothing_of_the_file(self, mmap: ModuleType, path: Path) -> None:
        with path.open("r+b") as file:
            m: Any = mmap.mmap(file.fileno(), 0)
        del m
        gc.collect()
        os.truncate(path, 1)
        assert path.stat().st_size == 1
        path.unlink()

    def test_a_resized_map_holds_one_view(self, ours: ModuleType, path: Path) -> None:
        with path.open("r+b") as file:
            m = ours.mmap(file.fileno(), 0)
        for size in (SIZE + 1, 2 * SIZE, PAGE, 3 * SIZE, PAGE):
            m.resize(size)
        # A view that was left would keep the file from becoming shorter.
        m.resize(10)
        m.close()
        os.truncate(path, 1)
        assert path.stat().st_size == 1

    def test_a_file_under_a_map_cannot_be_made_shorter(self, mmap: ModuleType, file: Any) -> None:
        with mmap.mmap(file.fileno(), 0) as m, mmap.mmap(file.fileno(), 0) as other:
            before = m[:]
            m.seek(5)
            with pytest.raises(OSError, match=r".") as raised:
                m.resize(PAGE)
            assert raised.value.winerror == USER_MAPPED_FILE  # type: ignore[attr-defined, unused-ignore]
            assert (m[:], m.tell(), m.size(), len(other)) == (before, 5, SIZE, SIZE)
            m[0] = 74
            assert other[0] == 74
            other.close()
            m.resize(PAGE)
            assert m[:] == b"J" + before[1:PAGE]

    def test_thousands_of_maps_leave_no_handle(self, ours: ModuleType, file: Any) -> None:
        with ours.mmap(file.fileno(), 0):
            gc.collect()
            before = everything_open()
        for _ in range(2000):
            ours.mmap(file.fileno(), 10)
        gc.collect()
        assert everything_open() <= before

    def test_no_handle_is_kept_without_trackfd(self, ours: ModuleType, path: Path) -> None:
        with path.open("r+b") as file:
            m = ours.mmap(file.fileno(), 0, trackfd=False)
        renamed = path.with_name("renamed")
        path.rename(renamed)
        with m:
            m[0] = 74
            m.flush()
        assert renamed.read_bytes()[:5] == b"Jello"


class TestFlush:
    @pytest.fixture
    def synced(self) -> Faulty:
        """Notes the calls that bring pages to the file and the file to the disk, which are made."""
        return Faulty(FlushViewOfFile=None, FlushFileBuffers=None)

    def names(self, synced: Faulty) -> list[str]:
        return [call.name for call in synced.calls]

    def test_pages_then_the_disk(self, file: Any, path: Path, synced: Faulty) -> None:
        with cffimmap.mmap(file.fileno(), 0) as m:
            m[0] = 74
            synced(m.flush)
            assert self.names(synced) == ["FlushViewOfFile", "FlushFileBuffers"]
        assert path.read_bytes()[:5] == b"Jello"

    def test_async_leaves_the_disk_to_the_system(self, file: Any, synced: Faulty) -> None:
        with cffimmap.mmap(file.fileno(), 0) as m:
            synced(lambda: m.flush(flags=cffimmap.MS_ASYNC))
            assert self.names(synced) == ["FlushViewOfFile"]

    def test_memory_without_a_file_has_no_disk(self, synced: Faulty) -> None:
        with cffimmap.mmap(-1, PAGE) as m:
            synced(m.flush)
            assert self.names(synced) == ["FlushViewOfFile"]

    def test_without_trackfd_the_disk_is_out_of_reach(self, file: Any, synced: Faulty) -> None:
        with cffimmap.mmap(file.fileno(), 0, trackfd=False) as m:
            synced(m.flush)
            assert self.names(synced) == ["FlushViewOfFile"]

    @pytest.mark.parametrize("access", [cffimmap.ACCESS_READ, cffimmap.ACCESS_COPY])
    def test_what_is_not_written_back_is_not_flushed(self, file: Any, synced: Faulty, access: int) -> None:
        with cffimmap.mmap(file.fileno(), 0, access=access) as m:
            synced(m.flush)
            assert self.names(synced) == []

    def test_a_part_need_not_be_aligned(self, mmap: ModuleType, m: Any) -> None:
        m.flush(1, 5)
        m.flush(PAGE, 0)
        with pytest.raises(ValueError, match="out of range"):
            m.flush(0, SIZE + 1)
        assert mmap is not None

    def test_a_failure_names_the_call(self, file: Any) -> None:
        with cffimmap.mmap(file.fileno(), 0) as m:
            with pytest.raises(PermissionError) as raised:
                Faulty(FlushFileBuffers=ACCESS_DENIED)(m.flush)
            assert answer(raised.value) == (ACCESS_DENIED, ["FlushFileBuffers() failed"])

    def test_a_close_meanwhile_waits(self, file: Any) -> None:
        m = cffimmap.mmap(file.fileno(), 0)
        closed: list[bool] = []

        def close() -> None:
            m.close()
            closed.append(True)

        thread = threading.Thread(target=close)

        def slowly(_: Call) -> None:
            if not thread.ident:
                thread.start()
                # Long enough for it to be done, if it did not wait.
                thread.join(0.1)
                assert not closed

        # It may come before the file itself is brought to the disk.
        with contextlib.suppress(ValueError):
            Faulty(FlushViewOfFile=slowly)(m.flush)
        thread.join()
        assert closed
        assert m.closed


class TestLargeFiles:
    def test_offsets_beyond_4_gib(self, ours: ModuleType, path: Path) -> None:
        offset = 5 * 2**30
        with path.open("r+b") as file:
            let_have_holes(file)
            with ours.mmap(file.fileno(), 100, offset=offset) as m:
                assert m.size() == offset + 100
                m[:5] = b"hello"
                m.resize(200)
                assert m[:5] == b"hello"
            file.seek(offset)
            assert file.read() == b"hello".ljust(200, b"\0")
