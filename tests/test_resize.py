"""resize() loses nothing: what fails leaves file, map and position as they were."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PYPY, descriptors_of, in_child, ranges_of
from _faults import Faulty, needs_faults
from _files import LITTLE_ADDRESS_SPACE, SSIZE_MAX
from _needs import constant, module, needs

import cffimmap
from cffimmap._native import FILE_IN_USE, INVALID_ARGUMENT, WINDOWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from _calls import Answer, Call

PAGE = cffimmap.PAGESIZE
GRANULARITY = cffimmap.ALLOCATIONGRANULARITY
SIZE = 3 * PAGE
CONTENTS = bytes(range(1, 129)) * (SIZE // 128)

LINUX = sys.platform.startswith("linux")

MAP_PRIVATE = constant("MAP_PRIVATE")
MAP_SHARED = constant("MAP_SHARED")

fcntl = module("fcntl")
resource = module("resource")

needs_flags = needs("MAP_PRIVATE")
# What counts ranges of memory and descriptors reads them there; on Windows it asks the system.
needs_counts = needs() if WINDOWS else needs("/proc/self/maps")
needs_files_that_shrink = pytest.mark.skipif(
    WINDOWS, reason="needs a file that can be made shorter under its map"
)

# linux/fcntl.h; PyPy's fcntl has no names for them.
F_ADD_SEALS = 1033
F_SEAL_SHRINK = 2
F_SEAL_GROW = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mapped"
    file.write_bytes(CONTENTS)
    return file


def map_of(path: Path, length: int = 0, **keywords: Any) -> cffimmap.mmap:
    with path.open("r+b") as file:
        return cffimmap.mmap(file.fileno(), length, **keywords)


@pytest.fixture
def m(path: Path) -> Iterator[cffimmap.mmap]:
    with map_of(path) as m:
        yield m


def padded(data: bytes, length: int) -> bytes:
    return data[:length].ljust(length, b"\0")


class TestFileMaps:
    @pytest.mark.parametrize("size", [1, 100, PAGE, PAGE + 1, SIZE - 1, SIZE, SIZE + 1, 4 * PAGE, 100 * PAGE])
    def test_size_of_file_and_map_and_data(self, m: cffimmap.mmap, path: Path, size: int) -> None:
        m.resize(size)
        assert (len(m), m.size(), path.stat().st_size) == (size, size, size)
        assert m[:] == path.read_bytes() == padded(CONTENTS, size)

    def test_the_new_part_belongs_to_the_file(self, m: cffimmap.mmap, path: Path) -> None:
        m.resize(10 * PAGE)
        m[SIZE:] = b"x" * (7 * PAGE)
        m.flush()
        assert path.read_bytes() == CONTENTS + b"x" * (7 * PAGE)

    def test_up_and_down_and_up_gives_zeros(self, m: cffimmap.mmap) -> None:
        m.resize(PAGE)
        m.resize(SIZE)
        assert m[:] == padded(CONTENTS[:PAGE], SIZE)

    @pytest.mark.parametrize("size", [1, PAGE, SIZE, 5 * PAGE])
    def test_with_an_offset_the_file_keeps_its_head(self, tmp_path: Path, size: int) -> None:
        path = tmp_path / "offset"
        head = b"h" * GRANULARITY
        path.write_bytes(head + CONTENTS)
        with map_of(path, offset=GRANULARITY) as m:
            m.resize(size)
            assert (len(m), m.size()) == (size, GRANULARITY + size)
            assert path.read_bytes() == head + m[:] == head + padded(CONTENTS, size)
            m[0] = 0
            m.flush()
        assert path.read_bytes()[GRANULARITY] == 0

    def test_a_map_of_a_part_truncates_the_file_behind_it(self, path: Path) -> None:
        with map_of(path, PAGE) as m:
            m.resize(2 * PAGE)
            assert (m[:], path.read_bytes()) == (CONTENTS[: 2 * PAGE], CONTENTS[: 2 * PAGE])

    @needs_files_that_shrink
    def test_the_file_may_have_shrunk_behind_the_back(self, m: cffimmap.mmap, path: Path) -> None:
        os.truncate(path, PAGE)
        m.resize(SIZE + 1)
        assert m[:] == path.read_bytes() == padded(CONTENTS[:PAGE], SIZE + 1)

    def test_all_other_members_work_on_the_new_memory(self, m: cffimmap.mmap) -> None:
        m.resize(PAGE)
        m.resize(4 * PAGE)
        m[-1] = 10
        assert m.find(b"\n", PAGE) == 4 * PAGE - 1 == m.rfind(b"\n")
        m.move(0, PAGE, 5)
        m.flush()
        if hasattr(m, "madvise"):
            m.madvise(cffimmap.MADV_NORMAL)
        m.seek(PAGE)
        assert len(m.readline()) == 3 * PAGE
        assert len(list(m)) == len(m[::1]) == len(memoryview(m)) == 4 * PAGE

    def test_write_only_flags_and_access_write(self, path: Path) -> None:
        with map_of(path, access=cffimmap.ACCESS_WRITE) as m:
            m.resize(PAGE)
            assert m[:] == CONTENTS[:PAGE]

    @needs_flags
    @pytest.mark.parametrize("size", [1, PAGE, SIZE - 1, SIZE, SIZE + 1, 9 * PAGE])
    def test_a_private_map_keeps_what_was_changed(self, path: Path, size: int) -> None:
        with map_of(path, flags=MAP_PRIVATE) as m:
            m[0:2] = m[PAGE : PAGE + 2] = b"\xff\xff"
            m.resize(size)
            changed = bytearray(CONTENTS)
            changed[0:2] = changed[PAGE : PAGE + 2] = b"\xff\xff"
            assert m[:] == padded(bytes(changed), size)
            assert path.read_bytes() == padded(CONTENTS, size)

    @needs_counts
    def test_only_one_range_and_descriptor_remain(self, m: cffimmap.mmap, path: Path) -> None:
        for size in (PAGE, 5 * PAGE, 2 * PAGE, 1, SIZE):
            m.resize(size)
            assert (ranges_of(path), descriptors_of(path)) == (1, 1)


class TestAnonymousMaps:
    @needs_flags
    @pytest.mark.parametrize("size", [1, PAGE, SIZE, SIZE + 1, 50 * PAGE])
    def test_private_ones_grow_and_shrink(self, size: int) -> None:
        with cffimmap.mmap(-1, SIZE, MAP_PRIVATE) as m:
            m[:] = CONTENTS
            m.resize(size)
            assert (len(m), m.size()) == (size, size)
            assert m[:] == padded(CONTENTS, size)
            m[-1] = 7
            assert m[-1] == 7

    @pytest.mark.parametrize("size", [1, PAGE, SIZE - 1, SIZE])
    def test_shared_ones_shrink(self, size: int) -> None:
        with cffimmap.mmap(-1, SIZE) as m:
            m[:] = CONTENTS
            m.resize(size)
            assert (len(m), m[:]) == (size, CONTENTS[:size])

    @pytest.mark.skipif(LINUX, reason="Linux cannot grow shared anonymous memory")
    @pytest.mark.parametrize("size", [SIZE + 1, 50 * PAGE])
    def test_shared_ones_grow(self, size: int) -> None:
        with cffimmap.mmap(-1, SIZE) as m:
            m[:] = CONTENTS
            m.resize(size)
            assert (len(m), m.size(), m[:]) == (size, size, padded(CONTENTS, size))
            m[-1] = 7
            assert m[-1] == 7

    @pytest.mark.skipif(not LINUX, reason="only Linux cannot grow shared anonymous memory")
    def test_shared_ones_refuse_to_grow(self) -> None:
        with cffimmap.mmap(-1, SIZE) as m:
            m[:] = CONTENTS
            with pytest.raises(ValueError, match=r"^mmap: can't expand a shared anonymous mapping$"):
                m.resize(SIZE + 1)
            assert m[:] == CONTENTS
            m.resize(PAGE)
            with pytest.raises(ValueError, match="expand"):
                m.resize(SIZE)
            assert m[:] == CONTENTS[:PAGE]

    @needs("os.fork")
    def test_a_shared_one_stays_shared_after_a_shrink(self) -> None:
        with cffimmap.mmap(-1, SIZE) as m:
            m.resize(PAGE)
            in_child(lambda: m.__setitem__(0, 7))
            assert m[0] == 7


class TestPosition:
    @pytest.mark.parametrize("size", [1, PAGE, SIZE, 5 * PAGE])
    def test_the_position_stays(self, m: cffimmap.mmap, size: int) -> None:
        m.seek(PAGE + 5)
        m.resize(size)
        assert m.tell() == PAGE + 5

    def test_beyond_the_end_reads_give_nothing_and_bytes_raise(self, m: cffimmap.mmap) -> None:
        m.seek(PAGE + 5)
        m.resize(PAGE)
        assert m.read() == m.read(0) == m.read(1) == m.readline() == b""
        for call in (m.read_byte, lambda: m.write_byte(1), lambda: m.write(b"x"), lambda: m.write(b"")):
            with pytest.raises(ValueError, match=r"out of range"):
                call()
        assert m.find(b"\x01") == m.rfind(b"\x01") == -1
        assert m.tell() == PAGE + 5

    def test_at_the_new_end_reads_give_nothing(self, m: cffimmap.mmap) -> None:
        m.seek(PAGE)
        m.resize(PAGE)
        assert m.read() == m.readline() == b""
        assert m.write(b"") == 0
        with pytest.raises(ValueError, match=r"^read byte out of range$"):
            m.read_byte()

    def test_seek_and_a_new_growth_bring_it_back(self, m: cffimmap.mmap) -> None:
        m.seek(PAGE + 5)
        m.resize(PAGE)
        m.resize(2 * PAGE)
        m.write(b"here")
        assert m[PAGE + 5 : PAGE + 9] == b"here"
        m.resize(PAGE)
        assert m.seek(-1, os.SEEK_END) == PAGE - 1
        assert m.read_byte() == CONTENTS[PAGE - 1]


class TestRefusals:
    """Asked in this order: exports, trackfd, access, range."""

    def refused(self, m: cffimmap.mmap, size: int, error: type[Exception], message: str) -> None:
        length, position, data = len(m), m.tell(), m[:]
        with pytest.raises(error) as raised:
            m.resize(size)
        assert str(raised.value) == message
        assert (len(m), m.tell(), m[:]) == (length, position, data)

    def test_zero_is_einval_and_leaves_all(self, m: cffimmap.mmap, path: Path) -> None:
        m.seek(9)
        with pytest.raises(OSError, match=r"(?i)invalid") as raised:
            m.resize(0)
        assert raised.value.errno == errno.EINVAL
        assert (m[:], m.tell(), path.read_bytes()) == (CONTENTS, 9, CONTENTS)
        m[0] = 0
        m.resize(PAGE)
        assert m[:] == b"\0" + CONTENTS[1:PAGE]

    @needs_flags
    @pytest.mark.parametrize("flags", [MAP_SHARED, MAP_PRIVATE])
    def test_zero_is_einval_for_anonymous_memory(self, flags: int) -> None:
        with cffimmap.mmap(-1, SIZE, flags) as m:
            with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
                m.resize(0)
            assert m[:] == bytes(SIZE)

    @pytest.mark.parametrize("size", [-1, -sys.maxsize - 1])
    def test_negative_sizes(self, m: cffimmap.mmap, path: Path, size: int) -> None:
        self.refused(m, size, ValueError, "new size out of range")
        assert path.read_bytes() == CONTENTS

    def test_a_size_that_overflows_with_the_offset(self, path: Path) -> None:
        path.write_bytes(bytes(GRANULARITY) + CONTENTS)
        with map_of(path, offset=GRANULARITY) as m:
            self.refused(m, sys.maxsize - GRANULARITY + 1, ValueError, "new size out of range")
        assert path.read_bytes() == bytes(GRANULARITY) + CONTENTS

    @pytest.mark.parametrize("size", [SSIZE_MAX + 1, -SSIZE_MAX - 2])
    def test_a_size_too_large_for_c(self, m: cffimmap.mmap, size: int) -> None:
        self.refused(m, size, OverflowError, "Python int too large to convert to C ssize_t")

    def test_a_wrong_type(self, m: cffimmap.mmap) -> None:
        with pytest.raises(TypeError):
            m.resize("1")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            m.resize(1.0)  # type: ignore[arg-type]
        assert m[:] == CONTENTS

    def test_a_closed_map(self, m: cffimmap.mmap, path: Path) -> None:
        m.close()
        for size in (PAGE, -1, 0):
            with pytest.raises(ValueError, match=r"^mmap closed or invalid$"):
                m.resize(size)
        assert path.read_bytes() == CONTENTS

    @pytest.mark.parametrize("access", [cffimmap.ACCESS_READ, cffimmap.ACCESS_COPY])
    @pytest.mark.parametrize("size", [PAGE, 0, -1])
    def test_access_comes_before_range(self, path: Path, access: int, size: int) -> None:
        with map_of(path, access=access) as m:
            message = "mmap can't resize a readonly or copy-on-write memory map."
            self.refused(m, size, TypeError, message)
        assert path.read_bytes() == CONTENTS

    @pytest.mark.parametrize("access", [cffimmap.ACCESS_READ, cffimmap.ACCESS_DEFAULT])
    @pytest.mark.parametrize("size", [PAGE, 0, -1])
    def test_trackfd_comes_before_access(self, path: Path, access: int, size: int) -> None:
        with map_of(path, access=access, trackfd=False) as m:
            self.refused(m, size, ValueError, "mmap can't resize with trackfd=False.")
        assert path.read_bytes() == CONTENTS

    @pytest.mark.skipif(PYPY, reason="PyPy cannot tell whether memory is exported")
    @pytest.mark.parametrize("trackfd", [True, False])
    @pytest.mark.parametrize("access", [cffimmap.ACCESS_READ, cffimmap.ACCESS_DEFAULT])
    @pytest.mark.parametrize("size", [PAGE, 0, -1])
    def test_exports_come_before_all(self, path: Path, trackfd: bool, access: int, size: int) -> None:
        with map_of(path, access=access, trackfd=trackfd) as m, memoryview(m):
            self.refused(m, size, BufferError, "mmap can't resize with extant buffers exported.")
        assert path.read_bytes() == CONTENTS

    @pytest.mark.skipif(PYPY, reason="PyPy cannot tell whether memory is exported")
    def test_an_index_that_exports_the_map(self, m: cffimmap.mmap, path: Path) -> None:
        views = []

        class Exporting:
            def __index__(self) -> int:
                views.append(memoryview(m))
                return PAGE

        self.refused(
            m,
            Exporting(),  # type: ignore[arg-type]
            BufferError,
            "mmap can't resize with extant buffers exported.",
        )
        assert path.read_bytes() == CONTENTS
        views.pop().release()
        m.resize(PAGE)
        assert m[:] == CONTENTS[:PAGE]

    def test_an_index_that_closes_the_map(self, m: cffimmap.mmap, path: Path) -> None:
        class Closing:
            def __index__(self) -> int:
                m.close()
                return PAGE

        with pytest.raises(ValueError, match=r"^mmap closed or invalid$"):
            m.resize(Closing())  # type: ignore[arg-type]
        assert path.read_bytes() == CONTENTS

    def test_an_index_that_resizes_the_map(self, m: cffimmap.mmap, path: Path) -> None:
        class Resizing:
            def __index__(self) -> int:
                m.resize(7 * PAGE)
                return PAGE

        m.resize(Resizing())  # type: ignore[arg-type]
        assert m[:] == path.read_bytes() == CONTENTS[:PAGE]


def code_of(error: OSError) -> int | None:
    """The system's own number."""
    return getattr(error, "winerror", None) or error.errno


def shared(path: Path) -> cffimmap.mmap:
    return map_of(path)


def private(path: Path) -> cffimmap.mmap:
    m = map_of(path, flags=MAP_PRIVATE)
    m[PAGE] = 0xFF
    return m


def at_an_offset(path: Path) -> cffimmap.mmap:
    path.write_bytes(CONTENTS[:PAGE] * (GRANULARITY // PAGE) + CONTENTS[PAGE:])
    return map_of(path, offset=GRANULARITY)


def _anonymous(*flags: int) -> cffimmap.mmap:
    m = cffimmap.mmap(-1, SIZE, *flags)  # type: ignore[arg-type, unused-ignore]
    m[:] = CONTENTS
    return m


def anonymous(_: Path) -> cffimmap.mmap:
    return _anonymous(MAP_PRIVATE)


def shared_anonymous(_: Path) -> cffimmap.mmap:
    return _anonymous()


# Windows resizes no private memory, and all memory without a file is shared there.
OF_FILES = [shared, at_an_offset] if WINDOWS else [shared, private, at_an_offset]
KINDS = [*OF_FILES, shared_anonymous] if WINDOWS else [*OF_FILES, anonymous, shared_anonymous]
SMALLER, LARGER = PAGE, 40 * PAGE

# An error number like any other, and no want of memory.
NOT_NOW = errno.EAGAIN


def each_kind(sizes: list[int], kinds: Sequence[Callable[[Path], cffimmap.mmap]]) -> pytest.MarkDecorator:
    """Each kind of map with each size, but for shared anonymous memory that would have to grow."""
    cases = [
        pytest.param(make, size, id=f"{make.__name__} to {size}")
        for make in kinds
        for size in sizes
        if not LINUX or make is not shared_anonymous or size <= SIZE
    ]
    return pytest.mark.parametrize(("make", "size"), cases)


def let_export(m: cffimmap.mmap) -> None:
    """Has the map's addresses known to somebody: they are given back with the object alone."""
    memoryview(m).release()


# The kernel knows no mremap, or refuses a mapping that advice for a part of it has split.
NO_MREMAP = [errno.ENOSYS, errno.EFAULT] if LINUX else [0]


def without_mremap(code: int, work: Callable[[], object]) -> None:
    """Runs a function as if there were no mremap(2); elsewhere there is none."""
    if LINUX:
        Faulty(mremap=code)(work)
    else:
        work()


@(needs_faults if LINUX else needs())
@pytest.mark.parametrize("code", NO_MREMAP)
class TestWithoutMremap:
    """Every platform but Linux and NetBSD: mapped anew, then unmapped."""

    @pytest.mark.parametrize("exported", [False, True], ids=["unknown", "exported"])
    @each_kind([1, SMALLER, 2 * PAGE - 1, 2 * PAGE, SIZE, LARGER], KINDS)
    def test_data_are_kept(
        self, path: Path, make: Callable[[Path], cffimmap.mmap], size: int, exported: bool, code: int
    ) -> None:
        with make(path) as m:
            before = m[:]
            if exported and not WINDOWS:
                let_export(m)

            def resize() -> None:
                m.resize(size)
                assert (len(m), m[:]) == (size, padded(before, size))
                m[-1] = 0x77
                m.resize(max(size // 2, 1))
                m.resize(1)
                assert m[:] == (before[:1] if size > 1 else b"\x77")

            without_mremap(code, resize)

    def test_changes_of_a_shared_map_reach_the_file(self, path: Path, code: int) -> None:
        with map_of(path) as m:
            without_mremap(code, lambda: m.resize(LARGER))
            m[-1] = 1
            m.flush()
        assert path.read_bytes() == CONTENTS + bytes(LARGER - SIZE - 1) + b"\1"

    @needs_flags
    def test_changes_of_a_private_map_reach_nobody(self, path: Path, code: int) -> None:
        with private(path) as m:
            without_mremap(code, lambda: m.resize(LARGER))
            without_mremap(code, lambda: m.resize(2 * PAGE))
            m[0] = 0
            assert m[: PAGE + 1] == b"\0" + CONTENTS[1:PAGE] + b"\xff"
        assert path.read_bytes() == CONTENTS[: 2 * PAGE]

    @needs_counts
    @pytest.mark.parametrize("exported", [False, True], ids=["unknown", "exported"])
    def test_only_one_range_remains(self, path: Path, exported: bool, code: int) -> None:
        with map_of(path) as m:
            if exported and not WINDOWS:
                let_export(m)
            for size in (LARGER, SMALLER, SIZE):
                without_mremap(code, lambda size=size: m.resize(size))  # type: ignore[misc]
                assert (ranges_of(path), descriptors_of(path)) == (1, 1)


Ranges = list[tuple[int, int]]


def _ranges() -> Ranges:
    lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    spans = (line.split()[0].split("-") for line in lines if not line.endswith("[heap]"))
    return [(int(start, 16), int(end, 16)) for start, end in spans]


def _beyond(ranges: Ranges, others: Ranges) -> Iterator[int]:
    """The lengths, in bytes, of what no other range covers."""
    for start, end in ranges:
        for first, last in others:
            if first < end and start < last:
                yield first - start
                start = last
        yield end - start


def _changed(before: Ranges) -> list[int]:
    """The lengths, in bytes, of what has been mapped since, and unmapped.

    What is longer than any map of these tests is the interpreter's own: arenas, stacks, machine code.
    """
    now = _ranges()
    return [length for length in (*_beyond(now, before), *_beyond(before, now)) if 0 < length <= LARGER]


MAP_FIXED = 0x10  # asm-generic/mman-common.h
F_DUPFD_CLOEXEC = 1030  # linux/fcntl.h


def maps(call: Call) -> bool:
    """Whether a call of mmap is for a map: the interpreter makes others for itself."""
    return call["fd"] != -1 or bool(call["flags"] & MAP_FIXED) or call["length"] in (LARGER, LARGER - SIZE)


def failing(code: int, concerned: Callable[[Call], bool]) -> Answer:
    """Fails the calls that are concerned."""
    return lambda call: code if concerned(call) else None


def once(code: int, concerned: Callable[[Call], bool] = lambda _: True) -> Answer:
    """Fails the first of the calls that are concerned."""
    codes = [code]
    return lambda call: codes.pop() if codes and concerned(call) else None


FAILURES: dict[str, dict[str, Answer]] = {
    "not now": {"mremap": errno.EAGAIN, "mmap": failing(errno.EAGAIN, maps)},
    "want of memory": {"mremap": errno.ENOMEM, "mmap": failing(errno.ENOMEM, maps)},
    "no mremap": {"mremap": errno.ENOSYS, "mmap": failing(errno.ENODEV, maps)},
}
each_failure = pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)


@needs_files_that_shrink
@needs_counts
class TestFailures:
    """Each system call fails, for real or made to: all is as before, and nothing leaks."""

    @contextlib.contextmanager
    def unchanged(self, m: cffimmap.mmap, path: Path) -> Iterator[None]:
        m.seek(17)
        before = (len(m), m.tell(), m[:], path.read_bytes())
        # What the tests before have left is not to be collected in the midst of this one. PyPy gives addresses that a view
        # had back with the second collection.
        for _ in range(2):
            gc.collect()
        held = (ranges_of(path), descriptors_of(path))
        ranges = _ranges()
        yield
        assert (len(m), m.tell(), m[:], path.read_bytes()) == before
        assert (ranges_of(path), descriptors_of(path), _changed(ranges)) == (*held, [])

    def usable(self, m: cffimmap.mmap) -> None:
        before = m[:]
        m[0] = 0
        m.resize(PAGE)
        assert m[:] == b"\0" + before[1:PAGE]
        m.close()
        assert m.closed

    def fail(self, m: cffimmap.mmap, path: Path, size: int, **answers: Answer) -> Faulty:
        faulty = Faulty(**answers)
        # The first thread has memory made for itself that others use after it.
        faulty(lambda: None)
        with self.unchanged(m, path), pytest.raises(OSError):  # noqa: PT011, any error number will do
            faulty(lambda: m.resize(size))
        self.usable(m)
        return faulty

    @needs_faults
    @each_failure
    @pytest.mark.parametrize("exported", [False, True], ids=["unknown", "exported"])
    @each_kind([LARGER], KINDS)
    def test_no_memory_can_be_had_for_more(
        self,
        path: Path,
        failure: dict[str, Answer],
        make: Callable[[Path], cffimmap.mmap],
        size: int,
        exported: bool,
    ) -> None:
        m = make(path)
        if exported:
            let_export(m)
        self.fail(m, path, size, **failure)

    @needs_faults
    @each_failure
    @each_kind([SMALLER], KINDS)
    def test_no_memory_can_be_had_for_zeros_in_the_place_of_less(
        self, path: Path, failure: dict[str, Answer], make: Callable[[Path], cffimmap.mmap], size: int
    ) -> None:
        m = make(path)
        let_export(m)
        self.fail(m, path, size, **failure)

    @needs_faults
    @pytest.mark.skipif(PYPY, reason="PyPy cannot tell who has the addresses of what is cut off")
    @each_failure
    @each_kind([1, SMALLER, PAGE + 1], KINDS)
    def test_less_needs_no_memory(
        self, path: Path, failure: dict[str, Answer], make: Callable[[Path], cffimmap.mmap], size: int
    ) -> None:
        m = make(path)
        before = m[:]
        Faulty(**failure)(lambda: m.resize(size))
        assert m[:] == before[:size]
        m[0] = 0
        m.resize(1)
        assert m[:] == b"\0"
        m.close()

    @needs_faults
    @pytest.mark.parametrize("name", ["fstat", "ftruncate"])
    @pytest.mark.parametrize("exported", [False, True], ids=["unknown", "exported"])
    @each_kind([SMALLER, LARGER], OF_FILES)
    def test_the_file_cannot_be_asked_or_truncated(
        self, path: Path, name: str, make: Callable[[Path], cffimmap.mmap], size: int, exported: bool
    ) -> None:
        m = make(path)
        if exported:
            let_export(m)
        self.fail(m, path, size, **{name: errno.EIO})

    @needs_faults
    @pytest.mark.parametrize("make", [shared, private])
    @pytest.mark.parametrize("exported", [False, True], ids=["unknown", "exported"])
    def test_a_shrink_that_cannot_truncate_changes_nothing_without_mremap_either(
        self, path: Path, make: Callable[[Path], cffimmap.mmap], exported: bool
    ) -> None:
        m = make(path)
        if exported:
            let_export(m)
        refused = Faulty(ftruncate=errno.EPERM, mremap=errno.ENOSYS)
        refused(lambda: None)
        with self.unchanged(m, path), pytest.raises(PermissionError):
            refused(lambda: m.resize(SMALLER))
        self.usable(m)

    @needs_faults
    @pytest.mark.parametrize("make", [shared, private])
    def test_a_growth_that_cannot_map_takes_the_file_back(
        self, path: Path, make: Callable[[Path], cffimmap.mmap]
    ) -> None:
        faulty = self.fail(make(path), path, LARGER, ftruncate=None, **FAILURES["want of memory"])
        sizes = [call["length"] for call in faulty.calls if call.name == "ftruncate"]
        # Twice, as the collector may find some memory.
        assert sizes in ([LARGER, SIZE], [LARGER, SIZE] * 2)

    @needs_faults
    def test_a_growth_that_fails_leaves_what_another_has_made_of_the_file(
        self, m: cffimmap.mmap, path: Path
    ) -> None:
        def meanwhile(_: Call) -> int:
            os.truncate(path, 50 * PAGE)
            return errno.EAGAIN

        with pytest.raises(OSError, match="unavailable"):
            Faulty(mremap=meanwhile, mmap=failing(errno.EAGAIN, maps))(lambda: m.resize(LARGER))
        assert (m[:], m.size()) == (CONTENTS, 50 * PAGE)
        self.usable(m)

    @needs_faults
    @pytest.mark.skipif(PYPY, reason="PyPy unmaps nothing that somebody may still read")
    @pytest.mark.parametrize("mremap", [None, errno.ENOSYS], ids=["mremap", "no mremap"])
    def test_what_cannot_be_ended_costs_memory_and_no_more(
        self, m: cffimmap.mmap, mremap: int | None
    ) -> None:
        def resize() -> None:
            m.resize(SMALLER)
            m.resize(LARGER)
            assert m[:] == padded(CONTENTS[:SMALLER], LARGER)

        stuck = Faulty(munmap=failing(errno.ENOMEM, lambda call: call["length"] <= SIZE), mremap=mremap)
        stuck(resize)
        assert [call for call in stuck.calls if call.name == "munmap"]
        assert m[:] == padded(CONTENTS[:SMALLER], LARGER)
        self.usable(m)

    @needs_faults
    def test_a_close_that_fails_leaves_the_map_open(self, m: cffimmap.mmap, path: Path) -> None:
        let_export(m)
        full = Faulty(mmap=failing(errno.ENOMEM, maps))
        full(lambda: None)
        with self.unchanged(m, path):
            with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
                full(m.close)
            assert not m.closed
        self.usable(m)

    @needs_faults
    @pytest.mark.parametrize(
        ("name", "code", "concerned"),
        [
            ("fcntl", errno.EMFILE, lambda call: call["command"] == F_DUPFD_CLOEXEC),
            ("mmap", errno.ENOMEM, lambda call: call["fd"] != -1),
            pytest.param(
                "mremap",
                errno.ENOMEM,
                lambda _: True,
                marks=pytest.mark.skipif(
                    PYPY, reason="PyPy's maps have other ways to grow, which come first"
                ),
            ),
        ],
    )
    def test_what_dropped_maps_may_hold_is_tried_again_after_a_collection(
        self, path: Path, name: str, code: int, concerned: Callable[[Call], bool]
    ) -> None:
        class Node(cffimmap.mmap):
            itself: cffimmap.mmap

        def work() -> None:
            with map_of(path) as m:
                m.resize(LARGER)
                assert m[:] == padded(CONTENTS, LARGER)

        node = Node(-1, 1)
        node.itself = node
        dropped = weakref.ref(node)
        faulty = Faulty(**{name: once(code, concerned)})
        gc.disable()
        try:
            del node
            faulty(work)
            assert dropped() is None
        finally:
            gc.enable()
        assert len([call for call in faulty.calls if concerned(call)]) >= 2

    @needs_faults
    def test_a_file_without_a_second_descriptor_is_not_mapped(self, path: Path) -> None:
        with path.open("r+b") as file:
            with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                Faulty(fcntl=errno.EMFILE)(lambda: cffimmap.mmap(file.fileno(), 0))
            gc.collect()
            assert (ranges_of(path), descriptors_of(path)) == (0, 1)
            assert file.read() == CONTENTS

    def test_a_growth_beyond_the_limit_of_file_sizes(self, path: Path) -> None:
        def work() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE + PAGE, SIZE + PAGE))
            m = map_of(path)
            with self.unchanged(m, path):
                with pytest.raises(OSError, match="too large") as raised:
                    m.resize(LARGER)
                assert raised.value.errno == errno.EFBIG
            m.resize(SIZE + PAGE)
            self.usable(m)

        in_child(work)

    @pytest.mark.parametrize("make", [shared, private, anonymous])
    def test_a_growth_beyond_the_address_space(
        self, path: Path, make: Callable[[Path], cffimmap.mmap]
    ) -> None:
        huge = 1 << (30 if LITTLE_ADDRESS_SPACE else 40)

        def work() -> None:
            m = make(path)
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            limit = pages * resource.getpagesize() + (1 << 28)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            length, data, file = len(m), m[:], path.read_bytes()
            with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
                m.resize(huge)
            assert (len(m), m[:], path.read_bytes()) == (length, data, file)
            self.usable(m)

        in_child(work)

    @pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="sealing is Linux's")
    @pytest.mark.parametrize(("seal", "refused", "allowed"), [
        (F_SEAL_SHRINK, SMALLER, LARGER),
        (F_SEAL_GROW, LARGER, SMALLER),
    ])  # fmt: skip
    @pytest.mark.parametrize("flags", [MAP_SHARED, MAP_PRIVATE])
    def test_a_sealed_file(self, seal: int, refused: int, allowed: int, flags: int) -> None:
        file = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)  # type: ignore[attr-defined, unused-ignore]
        try:
            os.write(file, CONTENTS)
            fcntl.fcntl(file, F_ADD_SEALS, seal)
            with cffimmap.mmap(file, 0, flags) as m:
                m.seek(17)
                before = _ranges()
                with pytest.raises(PermissionError):
                    m.resize(refused)
                assert (len(m), m.tell(), m[:], os.fstat(file).st_size) == (SIZE, 17, CONTENTS, SIZE)
                assert _changed(before) == []
                m[0] = 0
                m.resize(allowed)
                assert m[:] == padded(b"\0" + CONTENTS[1:], allowed)
                assert os.fstat(file).st_size == allowed
        finally:
            os.close(file)

    def test_a_descriptor_closed_behind_the_back(self, m: cffimmap.mmap, path: Path) -> None:
        for entry in list(Path("/proc/self/fd").iterdir()):
            with contextlib.suppress(FileNotFoundError):
                if entry.readlink() == path:
                    os.close(int(entry.name))
        for size in (SMALLER, LARGER):
            with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
                m.resize(size)
            assert (len(m), m[:], path.read_bytes()) == (SIZE, CONTENTS, CONTENTS)


@pytest.mark.skipif(not WINDOWS, reason="elsewhere a file can be made shorter under its map")
class TestFilesThatDoNotShrinkWhileMapped:
    """Windows's rule: what is to become shorter is unmapped first."""

    @pytest.mark.parametrize("size", [1, SMALLER, SIZE, LARGER])
    def test_data_are_kept(self, m: cffimmap.mmap, path: Path, size: int) -> None:
        m.resize(size)
        assert m[:] == path.read_bytes() == padded(CONTENTS, size)
        m[0] = 0
        m.flush()
        assert path.read_bytes()[0] == 0

    @needs_counts
    @pytest.mark.parametrize("size", [SMALLER, LARGER])
    def test_only_one_range_remains(self, m: cffimmap.mmap, path: Path, size: int) -> None:
        m.resize(size)
        assert (ranges_of(path), descriptors_of(path)) == (1, 1)

    def fail(self, m: cffimmap.mmap, size: int, **answers: Answer) -> OSError:
        with pytest.raises(OSError, match=r".") as raised:
            Faulty(**answers)(lambda: m.resize(size))
        return raised.value

    def test_a_file_that_another_mapping_holds_keeps_its_length(self, m: cffimmap.mmap, path: Path) -> None:
        m.seek(5)
        error = self.fail(m, SMALLER, SetFileInformationByHandle=FILE_IN_USE)
        assert code_of(error) == FILE_IN_USE
        assert (m[:], m.tell(), m.size(), path.read_bytes()) == (CONTENTS, 5, SIZE, CONTENTS)
        m[0] = 0
        m.resize(SMALLER)
        assert m[:] == path.read_bytes() == b"\0" + CONTENTS[1:SMALLER]

    def test_a_shrink_that_cannot_be_undone_closes_the_map(self, m: cffimmap.mmap, path: Path) -> None:
        error = self.fail(m, SMALLER, SetFileInformationByHandle=FILE_IN_USE, MapViewOfFile=NOT_NOW)
        assert code_of(error) == NOT_NOW
        assert error.__notes__[-1] == "the map could not be put back and is closed"  # type: ignore[attr-defined, unused-ignore]
        assert m.closed
        assert path.read_bytes() == CONTENTS
        with pytest.raises(ValueError, match="closed"):
            m.resize(SIZE)

    def test_once_the_file_is_shorter_no_failure_makes_it_longer(self, m: cffimmap.mmap, path: Path) -> None:
        error = self.fail(m, SMALLER, MapViewOfFile=NOT_NOW)
        assert code_of(error) == NOT_NOW
        assert m.closed
        assert path.read_bytes() == CONTENTS[:SMALLER]

    def test_a_file_that_another_has_emptied_meanwhile_closes_the_map(
        self, m: cffimmap.mmap, path: Path
    ) -> None:
        def empties(_: Call) -> int:
            path.write_bytes(b"")
            return FILE_IN_USE

        error = self.fail(m, SMALLER, SetFileInformationByHandle=empties)
        assert code_of(error) == INVALID_ARGUMENT
        assert m.closed
        assert path.read_bytes() == b""

    def test_a_growth_that_cannot_be_mapped_gives_the_length_back(self, m: cffimmap.mmap, path: Path) -> None:
        m.seek(5)
        views = once(NOT_NOW, lambda call: call["length"] == LARGER)
        assert code_of(self.fail(m, LARGER, MapViewOfFile=views)) == NOT_NOW
        assert (m[:], m.tell(), path.read_bytes()) == (CONTENTS, 5, CONTENTS)
        m[0] = 0
        m.flush()
        assert path.read_bytes()[0] == 0
