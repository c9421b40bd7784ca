"""A map is a buffer: what takes bytes takes it, and what fills a bytearray fills it and its file."""

from __future__ import annotations

import array
import binascii
import ctypes
import hashlib
import io
import mmap as builtin
import os
import re
import socket
import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PYPY, PYPY_8, numpy
from _needs import constant, needs

import cffimmap
from cffimmap._native import ffi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PAGE = cffimmap.PAGESIZE
SIZE = 2 * PAGE
CONTENTS = bytes(range(256)) * (SIZE // 256)

# PyPy's builtin map is a buffer by other means than a class's __buffer__, with faults of its own.
MODULES = [cffimmap] if PYPY else [cffimmap, builtin]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mapped"
    file.write_bytes(CONTENTS)
    return file


@pytest.fixture(params=MODULES, ids=lambda module: module.__name__)
def m(request: pytest.FixtureRequest, path: Path) -> Iterator[Any]:
    with path.open("r+b") as file, request.param.mmap(file.fileno(), 0) as m:
        yield m


@pytest.fixture(params=["ACCESS_READ", pytest.param("PROT_READ", marks=needs("PROT_READ"))])
def read_only(request: pytest.FixtureRequest, path: Path) -> Iterator[cffimmap.mmap]:
    keywords: dict[str, Any] = {
        "ACCESS_READ": {"access": cffimmap.ACCESS_READ},
        "PROT_READ": {"prot": constant("PROT_READ")},
    }[request.param]
    with path.open("rb") as file, cffimmap.mmap(file.fileno(), 0, **keywords) as m:
        yield m


def packable(m: Any) -> Any:
    """What `struct` takes."""
    return memoryview(m) if PYPY_8 else m


def from_fd(write: Callable[[int], object]) -> bytes:
    """What is written to a pipe, which may hold less than that."""
    reader, writer = os.pipe()
    with ThreadPoolExecutor(1) as pool, os.fdopen(reader, "rb") as file:
        received = pool.submit(file.read)
        write(writer)
        os.close(writer)
        return received.result()


def sent(send: Callable[[socket.socket], object]) -> bytes:
    """What is sent through a socket."""
    left, right = socket.socketpair()
    with right, ThreadPoolExecutor(1) as pool, right.makefile("rb") as file:
        received = pool.submit(file.read)
        with left:
            send(left)
        return received.result()


def written(tmp: io.BytesIO, m: Any) -> bytes:
    tmp.write(m)
    return tmp.getvalue()


READERS: dict[str, tuple[Callable[[Any], object], object]] = {
    "bytes": (bytes, CONTENTS),
    "bytearray": (bytearray, bytearray(CONTENTS)),
    "bytes.join": (lambda m: b"-".join([m, b"x", m]), CONTENTS + b"-x-" + CONTENTS),
    "bytes +": (lambda m: b"a" + m, b"a" + CONTENTS),
    "bytearray.extend": (lambda m: _extended(bytearray(b"a"), m), bytearray(b"a" + CONTENTS)),
    "bytes.find": (lambda m: CONTENTS.find(m), 0),
    "int.from_bytes": (lambda m: int.from_bytes(m, "big"), int.from_bytes(CONTENTS, "big")),
    "array.frombytes": (lambda m: _array(m), array.array("B", CONTENTS)),
    "io.BytesIO": (lambda m: io.BytesIO(m).read(), CONTENTS),
    "io.BytesIO.write": (lambda m: written(io.BytesIO(), m), CONTENTS),
    "os.write": (lambda m: from_fd(lambda fd: os.write(fd, m)), CONTENTS),
    "socket.sendall": (lambda m: sent(lambda end: end.sendall(m)), CONTENTS),
    "re.search": (lambda m: re.search(rb"\xfe\xff", m).span(), (254, 256)),  # type: ignore[union-attr]
    "re.findall": (lambda m: len(re.findall(rb"\xff\x00", m)), SIZE // 256 - 1),
    "re.sub": (lambda m: re.sub(rb"(?s).", b"", m), b""),
    "struct.unpack_from": (lambda m: struct.unpack_from("<4xH", packable(m)), (0x0504,)),
    "struct.unpack": (lambda m: struct.unpack(f"{SIZE}s", packable(m)), (CONTENTS,)),
    "struct.iter_unpack": (lambda m: next(struct.iter_unpack("4s", packable(m))), (CONTENTS[:4],)),
    "hashlib": (lambda m: hashlib.sha256(m).digest(), hashlib.sha256(CONTENTS).digest()),
    "zlib.crc32": (zlib.crc32, zlib.crc32(CONTENTS)),
    "zlib.compress": (zlib.compress, zlib.compress(CONTENTS)),
    "binascii.hexlify": (binascii.hexlify, CONTENTS.hex().encode()),
    "ctypes.from_buffer_copy": (lambda m: bytes((ctypes.c_char * SIZE).from_buffer_copy(m)), CONTENTS),
    "str": (lambda m: str(m, "latin-1"), CONTENTS.decode("latin-1")),
    "memoryview": (lambda m: memoryview(m).tobytes(), CONTENTS),
    "comparison with a view": (lambda m: memoryview(m) == CONTENTS, True),
}


def _extended(to: bytearray, data: Any) -> bytearray:
    to += data
    return to


def _array(data: Any) -> array.array[int]:
    numbers = array.array("B")
    numbers.frombytes(data)
    return numbers


@pytest.mark.parametrize(("read", "expected"), READERS.values(), ids=READERS)
class TestReaders:
    def test_take_a_map(self, m: Any, read: Callable[[Any], object], expected: object) -> None:
        assert read(m) == expected

    def test_take_a_read_only_map(
        self, read_only: cffimmap.mmap, read: Callable[[Any], object], expected: object
    ) -> None:
        assert read(read_only) == expected

    def test_leave_no_export(self, m: Any, read: Callable[[Any], object], expected: object) -> None:
        assert read(m) == expected
        m.close()
        assert m.closed


def test_file_write_takes_a_map(m: Any, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    with copied.open("wb") as file:
        assert file.write(m) == SIZE
    with copied.open("ab", buffering=0) as file:
        assert file.write(m) == SIZE
    assert copied.read_bytes() == CONTENTS * 2


def _readinto(m: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"filled")
    with source.open("rb", buffering=0) as file:
        assert file.readinto(m) == 6


def _buffered_readinto(m: Any, _: Path) -> None:
    assert io.BufferedReader(io.BytesIO(b"filled")).readinto(m) == 6


def _recv_into(m: Any, _: Path) -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"filled")
        assert right.recv_into(m) == 6


def _from_buffer(m: Any, _: Path) -> None:
    (ctypes.c_char * 6).from_buffer(m).value = b"filled"


def _view(m: Any, _: Path) -> None:
    memoryview(m)[:6] = b"filled"


def _cast(m: Any, _: Path) -> None:
    with memoryview(m) as view, view.cast("H") as wide:
        for i in range(3):
            wide[i] = int.from_bytes(b"filled"[2 * i : 2 * i + 2], sys.byteorder)


def _pack_into(m: Any, _: Path) -> None:
    struct.pack_into("6s", packable(m), 0, b"filled")


def _cffi(m: Any, _: Path) -> None:
    ffi.memmove(ffi.from_buffer(m), b"filled", 6)


def _memmove(m: Any, _: Path) -> None:
    ctypes.memmove((ctypes.c_char * SIZE).from_buffer(m), b"filled", 6)


WRITERS = [
    _readinto, _buffered_readinto, _recv_into, _from_buffer, _view, _cast, _pack_into, _cffi, _memmove,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITERS)
class TestWriters:
    def test_reach_the_map_and_the_file(
        self, m: Any, path: Path, tmp_path: Path, write: Callable[[Any, Path], None]
    ) -> None:
        write(m, tmp_path)
        assert m[:7] == b"filled" + CONTENTS[6:7]
        m.close()
        assert path.read_bytes() == b"filled" + CONTENTS[6:]

    def test_reach_a_private_copy_and_not_the_file(
        self, path: Path, tmp_path: Path, write: Callable[[Any, Path], None]
    ) -> None:
        with path.open("rb") as file, cffimmap.mmap(file.fileno(), 0, access=cffimmap.ACCESS_COPY) as m:
            write(m, tmp_path)
            assert m[:] == b"filled" + CONTENTS[6:]
        assert path.read_bytes() == CONTENTS

    def test_are_refused_by_a_read_only_map(
        self, read_only: cffimmap.mmap, path: Path, tmp_path: Path, write: Callable[[Any, Path], None]
    ) -> None:
        if PYPY and write in (_from_buffer, _memmove):
            pytest.skip("PyPy's ctypes looks at no read-only flag, and would write to a read-only page")
        if write is _cffi:
            with pytest.raises((TypeError, BufferError)):
                ffi.from_buffer("char[]", read_only, require_writable=True)
        else:
            with pytest.raises((TypeError, BufferError)):
                write(read_only, tmp_path)
        assert read_only[:] == path.read_bytes() == CONTENTS


class TestMemoryview:
    def test_properties(self, m: Any) -> None:
        with memoryview(m) as view:
            assert (view.format, view.itemsize, view.ndim) == ("B", 1, 1)
            assert (view.nbytes, len(view), view.shape, view.strides) == (SIZE, SIZE, (SIZE,), (1,))
            assert (view.readonly, view.c_contiguous) == (False, True)

    @pytest.mark.parametrize(
        ("access", "readonly"),
        [
            (cffimmap.ACCESS_DEFAULT, False),
            (cffimmap.ACCESS_READ, True),
            (cffimmap.ACCESS_WRITE, False),
            (cffimmap.ACCESS_COPY, False),
        ],
    )
    @pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
    def test_read_only_is_what_the_access_says(
        self, path: Path, module: Any, access: int, readonly: bool
    ) -> None:
        with path.open("r+b") as file, module.mmap(file.fileno(), 0, access=access) as m:
            with memoryview(m) as view:
                assert view.readonly is readonly
                assert view.nbytes == SIZE
            if readonly:
                with memoryview(m) as view, pytest.raises(TypeError, match="read-only"):
                    view[0] = 1
        assert path.read_bytes() == CONTENTS

    def test_sees_what_is_written_to_the_map(self, m: Any) -> None:
        with memoryview(m) as view:
            m[3] = 0xFF
            m.move(10, 3, 1)
            assert (view[3], view[10]) == (0xFF, 0xFF)

    def test_sees_the_part_behind_an_offset(self, tmp_path: Path) -> None:
        path = tmp_path / "offset"
        path.write_bytes(bytes(cffimmap.ALLOCATIONGRANULARITY) + CONTENTS)
        with path.open("r+b") as file:
            m = cffimmap.mmap(file.fileno(), 9, offset=cffimmap.ALLOCATIONGRANULARITY)
        with m, memoryview(m) as view:
            assert view == CONTENTS[:9]

    def test_of_the_resized_map_has_the_new_size(self, m: Any) -> None:
        m.resize(PAGE)
        with memoryview(m) as view:
            assert view == CONTENTS[:PAGE]
        m.resize(3 * PAGE)
        with memoryview(m) as view:
            assert view == CONTENTS[:PAGE] + bytes(2 * PAGE)

    def test_of_a_subclass(self, path: Path) -> None:
        class Mine(cffimmap.mmap):
            pass

        with path.open("r+b") as file, Mine(file.fileno(), 0) as mine, memoryview(mine) as view:
            assert view == CONTENTS

    def test_many_at_once(self, m: Any) -> None:
        views = [memoryview(m) for _ in range(1000)]
        views[0][0] = 77
        assert {view[0] for view in views} == {77}
        for view in views:
            view.release()
        m.close()
        assert m.closed

    @pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
    def test_of_a_closed_map_is_refused(self, path: Path, module: Any) -> None:
        with path.open("r+b") as file:
            m = module.mmap(file.fileno(), 0)
        m.close()
        for take in (memoryview, bytes, zlib.crc32, lambda m: re.search(b"x", m)):
            with pytest.raises((ValueError, TypeError)):
                take(m)
        with pytest.raises(ValueError, match=r"^mmap closed or invalid$"):
            memoryview(m)

    @needs("PROT_NONE")
    def test_of_memory_without_access_is_refused(self) -> None:
        with (
            cffimmap.mmap(-1, PAGE, prot=cffimmap.PROT_NONE) as m,
            pytest.raises(TypeError, match="PROT_READ"),
        ):
            memoryview(m)


class TestItself:
    def test_a_map_is_written_into_another(self, m: Any) -> None:
        with cffimmap.mmap(-1, 3 * SIZE) as other:
            assert other.write(m) == SIZE
            other[2 * SIZE :] = m
            assert other[:] == CONTENTS + bytes(SIZE) + CONTENTS
            assert other.find(m, 1) == 2 * SIZE == other.rfind(m)

    def test_a_map_is_written_into_itself(self, path: Path) -> None:
        """The builtin copies by memcpy, which need not get that right, and does not on 32 bits."""
        with path.open("r+b") as file, cffimmap.mmap(file.fileno(), 0) as m:
            with memoryview(m) as view:
                m[1:] = view[:-1]
            assert m[:] == CONTENTS[:1] + CONTENTS[:-1]

    def test_every_second_byte_comes_from_a_view(self, m: Any) -> None:
        m[::2] = memoryview(bytes(PAGE))
        assert m[:] == bytes(byte if i % 2 else 0 for i, byte in enumerate(CONTENTS))

    @pytest.mark.skipif(numpy is None, reason="numpy is not installed")
    def test_numpy_sees_and_writes_the_map(self, m: Any) -> None:
        numbers = numpy.frombuffer(m, "u1")
        assert numbers.sum() == sum(CONTENTS)
        numbers[:4] = 9
        assert m[:5] == b"\x09" * 4 + CONTENTS[4:5]
        del numbers
        m.close()
        assert m.closed
