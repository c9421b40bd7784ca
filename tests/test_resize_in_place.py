"""A resize keeps the pages where they are: what is private, sparse or advised stays so, and the file's pages go last.

And a flush without flags reaches the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import inspect
import os
import platform
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PATIENCE, PYPY, PYPY_8, descriptors_of, fork, growing_map, in_child, ranges_of
from _files import needs_addresses
from _needs import constant, module, needs

import cffimmap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = cffimmap.PAGESIZE

MAP_PRIVATE = constant("MAP_PRIVATE")
MAP_SHARED = constant("MAP_SHARED")

fcntl = module("fcntl")

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs what Linux tells of its memory"
)
# On Windows the file cannot be cut under a view.
needs_files_that_shrink = needs("MAP_PRIVATE")

# Much more than may become resident of it.
HUGE = 512 << 20
LITTLE = 32 << 20


def sparse(path: Path, length: int) -> int:
    """A descriptor of a new file that is all hole."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.truncate(path, length)
    except OSError:
        os.close(file)
        pytest.skip("the file system has no files so large")
    return file


@contextlib.contextmanager
def map_of_hole(path: Path, length: int, flags: int) -> Iterator[cffimmap.mmap]:
    file = sparse(path, length)
    try:
        m = cffimmap.mmap(file, length, flags)
    finally:
        os.close(file)
    with m:
        yield m


def resident() -> int:
    """The bytes of this process's memory that are there."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def ranges(m: cffimmap.mmap) -> list[dict[str, str]]:
    """What the kernel says of the ranges that a map is made of."""
    # The address that the map itself does not tell.
    address = ctypes.addressof(ctypes.c_char.from_buffer(m))
    gc.collect()
    found: list[dict[str, str]] = []
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        name, *value = line.split(maxsplit=1)
        if not name.endswith(":"):
            start, end = (int(number, 16) for number in name.split("-"))
            found.append({"start": str(start), "end": str(end)})
        else:
            found[-1][name[:-1]] = "".join(value)
    return [one for one in found if int(one["start"]) < address + len(m) and address < int(one["end"])]


def flags_of(m: cffimmap.mmap) -> list[set[str]]:
    return [set(one["VmFlags"].split()) for one in ranges(m)]


def in_kib(m: cffimmap.mmap, *names: str) -> int:
    return sum(int(one[name].split()[0]) for one in ranges(m) for name in names)


def advice(name: str) -> Any:
    return pytest.param(constant(name), id=name, marks=needs(name))


class TestAViewThatIsReadMeanwhile:
    """By another thread; CPython refuses while it lives, PyPy has it read zeros."""

    @needs_files_that_shrink
    def test_the_end_of_it_goes(self, tmp_path: Path) -> None:
        def work() -> None:
            with map_of_hole(tmp_path / "mapped", 64 << 20, MAP_SHARED) as m:
                stopped = threading.Event()
                wrong: list[str] = []

                def read() -> None:
                    while not stopped.is_set():
                        try:
                            with memoryview(m) as view:
                                for _ in range(50):
                                    assert view[-1] == view[len(view) // 2] == 0
                        except BufferError:
                            pass
                        except BaseException as error:
                            wrong.append(repr(error))
                            return

                thread = threading.Thread(target=read)
                thread.start()
                for i in range(30):
                    for size in (PAGE, 64 << 20):
                        end = time.monotonic() + PATIENCE
                        while len(m) != size:
                            try:
                                m.resize(size)
                            except BufferError:
                                assert not PYPY
                                assert time.monotonic() < end
                                time.sleep(0.0001 * (i % 3))
                stopped.set()
                thread.join(PATIENCE)
                assert wrong == []

        in_child(work)


@linux
@needs_addresses
class TestAddresses:
    """A process has 128 TiB of them."""

    @pytest.mark.parametrize("use", ["written", "sliced", "not exported"])
    def test_many_resizes_of_much_do_not_use_them_up(self, tmp_path: Path, use: str) -> None:
        def work() -> None:
            sizes = (64 << 30, (64 << 30) - PAGE)
            with map_of_hole(tmp_path / "mapped", sizes[0], MAP_SHARED) as m:
                m[:3] = b"abc"
                with Path(os.devnull).open("wb", buffering=0) as sink:
                    for i in range(3000):
                        if use == "written":
                            os.write(sink.fileno(), memoryview(m)[:10])
                        elif use == "sliced":
                            assert memoryview(m)[:3].tobytes() == b"abc"
                        m.resize(sizes[(i + 1) % 2])
                assert m[:4] == b"abc\0"
            gc.collect()
            assert descriptors_of(tmp_path / "mapped") == 0

        in_child(work)

    @pytest.mark.skipif(
        PYPY and not PYPY_8,
        reason="PyPy before 8 keeps bare addresses: what was exported is never given back",
    )
    def test_nor_do_maps_that_are_closed_under_a_view(self, tmp_path: Path) -> None:
        def work() -> None:
            path = tmp_path / "mapped"
            for _ in range(3000):
                with map_of_hole(path, 64 << 30, MAP_SHARED) as m:
                    assert memoryview(m)[:3].tobytes() == b"\0\0\0"
            gc.collect()
            assert (ranges_of(path), descriptors_of(path)) == (0, 0)

        in_child(work)


@linux
class TestWhatIsSparse:
    @needs("MADV_DONTFORK")
    @pytest.mark.parametrize("size", [HUGE - PAGE, HUGE + PAGE, HUGE // 2])
    def test_a_private_map_of_a_file(self, tmp_path: Path, size: int) -> None:
        def work() -> None:
            with map_of_hole(tmp_path / "mapped", HUGE, MAP_PRIVATE) as m:
                m.madvise(cffimmap.MADV_DONTFORK)
                m[5] = m[HUGE // 2 - 1] = 7
                before = resident()
                began = time.process_time()
                m.resize(size)
                # Copying it takes seconds.
                assert time.process_time() - began < 1
                assert resident() - before < LITTLE
                assert len(m) == m.size() == size
                assert (m[5], m[6], m[HUGE // 2 - 1], m[size - 1]) == (7, 0, 7, 7 if size == HUGE // 2 else 0)
                assert (tmp_path / "mapped").stat().st_blocks == 0
                assert "dc" in flags_of(m)[0]

        in_child(work)

    @pytest.mark.parametrize("size", [HUGE - PAGE, HUGE + PAGE, 2 * HUGE])
    def test_private_memory_without_a_file(self, size: int) -> None:
        def work() -> None:
            with growing_map(HUGE) as m:
                m[5] = m[HUGE - 2 * PAGE] = 7
                before = resident()
                m.resize(size)
                assert resident() - before < LITTLE
                assert (len(m), m[5], m[HUGE - 2 * PAGE], m[size - 1]) == (size, 7, 7, 0)
                assert in_kib(m, "Rss") << 10 < LITTLE

        in_child(work)

    @pytest.mark.parametrize("size", [HUGE - PAGE, HUGE + PAGE])
    def test_a_shared_map_of_a_file(self, tmp_path: Path, size: int) -> None:
        def work() -> None:
            with map_of_hole(tmp_path / "mapped", HUGE, MAP_SHARED) as m:
                before = resident()
                m.resize(size)
                assert resident() - before < LITTLE
                assert (len(m), m[size - 1]) == (size, 0)

        in_child(work)

    def test_shared_memory_without_a_file_shrinks(self) -> None:
        def work() -> None:
            with cffimmap.mmap(-1, HUGE) as m:
                m[5] = 7
                before = resident()
                m.resize(HUGE - PAGE)
                assert resident() - before < LITTLE
                assert (len(m), m[5], m[HUGE - PAGE - 1]) == (HUGE - PAGE, 7, 0)

        in_child(work)


def shared_file(path: Path, length: int) -> cffimmap.mmap:
    return map_of(path, length, MAP_SHARED)


def private_file(path: Path, length: int) -> cffimmap.mmap:
    return map_of(path, length, MAP_PRIVATE)


def private_memory(_: Path, length: int) -> cffimmap.mmap:
    return cffimmap.mmap(-1, length, MAP_PRIVATE)


def map_of(path: Path, length: int, flags: int) -> cffimmap.mmap:
    file = sparse(path, length)
    try:
        return cffimmap.mmap(file, length, flags)
    finally:
        os.close(file)


@needs("mmap.madvise", "MAP_PRIVATE")
class TestAdviceForAPart:
    """The kernel then has the memory as several ranges, and moves no more than one of them at a time."""

    PAGES = 6

    def contents(self) -> bytes:
        return b"".join(bytes([i + 1]) * PAGE for i in range(self.PAGES))

    @pytest.mark.parametrize("make", [shared_file, private_file, private_memory])
    @pytest.mark.parametrize(
        "option",
        [
            advice("MADV_RANDOM"),
            advice("MADV_SEQUENTIAL"),
            advice("MADV_DONTDUMP"),
            advice("MADV_HUGEPAGE"),
            advice("MADV_DONTFORK"),
        ],
    )
    @pytest.mark.parametrize("where", [0, 1, 5])
    def test_the_map_still_grows_and_shrinks(
        self, tmp_path: Path, make: Callable[[Path, int], cffimmap.mmap], option: int, where: int
    ) -> None:
        path, length = tmp_path / "mapped", self.PAGES * PAGE
        with make(path, length) as m:
            m[:] = self.contents()
            try:
                m.madvise(option, where * PAGE, PAGE)
            except OSError as error:
                # A kernel may be built without it.
                assert error.errno == errno.EINVAL  # noqa: PT017
                pytest.skip("the kernel does not take this advice here")
            m.seek(3)
            kept = length
            for size in (
                length + PAGE,
                50 * PAGE,
                length,
                3 * PAGE,
                PAGE,
                4 * PAGE,
                PAGE // 2,
                20 * PAGE + 1,
            ):
                m.resize(size)
                kept = min(kept, size)
                assert (len(m), m.size(), m.tell()) == (size, size, 3)
                # What was cut off a page comes back as zeros from a shared file alone: a private page keeps it.
                whole = kept if make is shared_file else -(-kept // PAGE) * PAGE
                assert m[:kept] == self.contents()[:kept]
                assert not any(m[whole:size])
            m[-1] = 9
            assert m[len(m) - 1] == 9
        if make is not private_memory:
            assert path.stat().st_size == 20 * PAGE + 1
            gc.collect()
            assert (ranges_of(path), descriptors_of(path)) == (0, 0)

    @linux
    @needs("MADV_DONTFORK", "MADV_DONTDUMP")
    @pytest.mark.parametrize("make", [shared_file, private_file, private_memory])
    def test_advice_for_all_of_it_stays(
        self, tmp_path: Path, make: Callable[[Path, int], cffimmap.mmap]
    ) -> None:
        with make(tmp_path / "mapped", 4 * PAGE) as m:
            m.madvise(cffimmap.MADV_DONTFORK)
            m.madvise(cffimmap.MADV_DONTDUMP)
            for size in (3 * PAGE, 40 * PAGE, PAGE):
                m.resize(size)
                for flags in flags_of(m):
                    assert {"dc", "dd"} <= flags

    @needs_addresses
    def test_a_map_that_cannot_grow_after_it_leaves_the_file(self, tmp_path: Path) -> None:
        with shared_file(tmp_path / "mapped", 4 * PAGE) as m:
            m.madvise(cffimmap.MADV_RANDOM, PAGE, PAGE)
            with pytest.raises(OSError, match=r"."):
                m.resize(sys.maxsize - PAGE)
            assert (len(m), m.size(), m[:]) == (4 * PAGE, 4 * PAGE, bytes(4 * PAGE))


# linux/seccomp.h and friends; the numbers of the calls differ between processors.
CALLS = {"x86_64": (9, 25, 317, 0xC000003E), "aarch64": (222, 216, 277, 0xC00000B7)}
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_USER_NOTIF = 0x7FC00000
SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1
NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101
NOTIFICATION, RESPONSE = "<QIIiIQ6Q", "<QqiI"
PR_SET_NO_NEW_PRIVS = 38


def ask_about_mappings() -> int:
    """From now on this process waits for an answer whenever it maps memory.

    Returns:
        The descriptor that tells of the calls and takes the answers.
    """
    mmap, mremap, seccomp, processor = CALLS[platform.machine()]
    steps = [
        (0x20, 0, 0, 4),  # of which processor the call is
        (0x15, 0, 4, processor),
        (0x20, 0, 0, 0),  # its number
        (0x15, 1, 0, mmap),
        (0x15, 0, 1, mremap),
        (0x06, 0, 0, SECCOMP_RET_USER_NOTIF),
        (0x06, 0, 0, SECCOMP_RET_ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    libc.prctl(
        PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)
    )
    listener = libc.syscall(
        ctypes.c_long(seccomp),
        ctypes.c_uint(SECCOMP_SET_MODE_FILTER),
        ctypes.c_uint(SECCOMP_FILTER_FLAG_NEW_LISTENER),
        program,
    )
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp() failed")
    return int(listener)


def refuse_mappings(listener: int, length: int, meanwhile: Callable[[], object]) -> None:
    """Answers until the other process ends: what maps `length` bytes finds no memory, and all else goes on.

    Args:
        listener: what `ask_about_mappings` returned there.
        length: of the mapping that is refused.
        meanwhile: what is done before it is.
    """
    _, mremap, _, _ = CALLS[platform.machine()]
    while True:
        asked = bytearray(struct.calcsize(NOTIFICATION))
        try:
            fcntl.ioctl(listener, NOTIF_RECV, asked)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        number, _, _, call, _, _, *arguments = struct.unpack(NOTIFICATION, asked)
        if arguments[2 if call == mremap else 1] == length:
            meanwhile()
            answer = struct.pack(RESPONSE, number, 0, -errno.ENOMEM, 0)
        else:
            answer = struct.pack(RESPONSE, number, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)
        with contextlib.suppress(FileNotFoundError):
            fcntl.ioctl(listener, NOTIF_SEND, answer)


@linux
@needs("socket.send_fds", "fcntl.ioctl", "os.fork")
@pytest.mark.skipif(platform.machine() not in CALLS, reason="needs the numbers of this processor's calls")
class TestTheFileOfOthers:
    """Another process appends to the file in the very midst of a resize, which then finds no memory."""

    LENGTH = 100 * PAGE

    @pytest.mark.parametrize("flags", [MAP_SHARED, MAP_PRIVATE], ids=["shared", "private"])
    @pytest.mark.parametrize("appended", [b"", b"appended"], ids=["nothing", "something"])
    def test_what_they_append_stays(self, tmp_path: Path, flags: int, appended: bytes) -> None:
        path = tmp_path / "mapped"

        def append() -> None:
            # Tells that it was asked.
            other.sendall(b"!")
            with path.open("ab") as file:
                file.write(appended)

        def resize() -> None:
            with map_of(path, 4 * PAGE, flags) as m:
                m[:3] = b"abc"
                try:
                    listener = ask_about_mappings()
                except OSError:
                    socket.send_fds(end, [b"cannot"], [end.fileno()])
                    return
                socket.send_fds(end, [b"asks"], [listener])
                os.close(listener)
                with pytest.raises(OSError, match=os.strerror(errno.ENOMEM)):
                    m.resize(self.LENGTH)
                assert (len(m), m[:4], m[-1]) == (4 * PAGE, b"abc\0", 0)

        other, end = socket.socketpair()
        with other, end:
            watcher = fork()
            if watcher == 0:
                try:
                    signal.alarm(PATIENCE)
                    word, (listener,), _, _ = socket.recv_fds(other, 99, 1)
                    if word == b"asks":
                        refuse_mappings(listener, self.LENGTH, append)
                finally:
                    os._exit(0)
            in_child(resize)
            assert os.waitpid(watcher, 0)[1] == 0
            end.setblocking(False)
            try:
                refused = len(end.recv(99))
            except BlockingIOError:
                pytest.skip("the kernel lets nobody watch calls here, or no call was to be watched")
        if appended:
            assert path.read_bytes().count(appended) == refused
        else:
            assert path.stat().st_size == 4 * PAGE


@needs("MS_INVALIDATE")
class TestFlush:
    def test_the_signature_is_the_stdlibs(self) -> None:
        assert inspect.signature(cffimmap.mmap.flush).parameters["flags"].default == 0

    def make_dirty(self, m: cffimmap.mmap) -> None:
        for i in range(0, len(m), PAGE):
            m[i] = (m[i] + 1) % 256
        assert in_kib(m, "Shared_Dirty", "Private_Dirty") == len(m) >> 10

    @linux
    @pytest.mark.parametrize(
        "flush",
        [
            lambda m: m.flush(),
            lambda m: m.flush(flags=0),
            lambda m: m.flush(0, len(m), flags=0),
            lambda m: m.flush(0, flags=0),
            lambda m: m.flush(0, -1),
        ],
    )
    def test_without_flags_it_reaches_the_disk(self, tmp_path: Path, flush: Callable[[Any], object]) -> None:
        """The kernel tells which pages of a map have not been written yet."""
        with shared_file(tmp_path / "mapped", 8 * PAGE) as m:
            self.make_dirty(m)
            m.flush(flags=cffimmap.MS_SYNC)
            if in_kib(m, "Shared_Dirty", "Private_Dirty"):
                pytest.skip("the file system has no disk")
            self.make_dirty(m)
            m.flush(flags=cffimmap.MS_ASYNC)
            assert in_kib(m, "Shared_Dirty", "Private_Dirty") == len(m) >> 10
            assert flush(m) is None
            assert in_kib(m, "Shared_Dirty", "Private_Dirty") == 0

    @linux
    def test_a_part_reaches_the_disk_alone(self, tmp_path: Path) -> None:
        with shared_file(tmp_path / "mapped", 8 * PAGE) as m:
            self.make_dirty(m)
            m.flush(0, PAGE, flags=cffimmap.MS_SYNC)
            left = in_kib(m, "Shared_Dirty", "Private_Dirty")
            if left == len(m) >> 10:
                pytest.skip("the file system has no disk")
            assert left == 7 * PAGE >> 10
            m.flush(2 * PAGE, PAGE, flags=0)
            assert in_kib(m, "Shared_Dirty", "Private_Dirty") == 6 * PAGE >> 10

    @pytest.mark.parametrize("flags", [99, -1, 1 << 20])
    def test_flags_that_do_not_exist_are_refused(self, tmp_path: Path, flags: int) -> None:
        with shared_file(tmp_path / "mapped", 8 * PAGE) as m:
            for arguments in ((), (0, PAGE)):
                with pytest.raises(OSError, match=r".") as refused:
                    m.flush(*arguments, flags=flags)
                assert refused.value.errno == errno.EINVAL
