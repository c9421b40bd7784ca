"""Class mmap: what a user sees. Positions, indices, messages; never an address."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn, SupportsIndex, overload

from cffimmap import _constants
from cffimmap._constants import ACCESS_COPY, ACCESS_DEFAULT, ACCESS_READ, MS_ASYNC, MS_SYNC
from cffimmap._mapping import CLOSED, LONG_CALL, LONG_COPY, Mapping
from cffimmap._native import ABSENT, FAST_ITEMS, INVALID_ARGUMENT, WINDOWS, check, failure, ffi, found, lib
from cffimmap._request import Request, file_status

if sys.platform == "win32":
    from cffimmap._windows import request, tag_name
else:
    from cffimmap._unix import DEFAULT_FLAGS, DEFAULT_PROT, request

if TYPE_CHECKING:
    from typing_extensions import Buffer

INT_MAX: Final = 2**31 - 1

_ACCESS_NAMES: Final = ("ACCESS_DEFAULT", "ACCESS_READ", "ACCESS_WRITE", "ACCESS_COPY")
_SINGLE_BYTES: Final[tuple[bytes, ...]] = tuple(bytes((octet,)) for octet in range(256))

# The kernel shows at most 80 bytes with the final NUL (prctl(2)); the standard library's prefix leaves 66 of them.
_NAME_PREFIX: Final = b"cffimmap:"
_NAME_BYTES: Final = 66

_LINUX: Final = sys.platform.startswith(("linux", "android"))


def _index(value: Any) -> int:
    """An argument as an integer, by its `__index__`; a plain one, where older interpreters let a bool be."""
    number = operator.index(value)
    return number if number.__class__ is int else int.__index__(number)


def _c_int(value: object) -> int:
    """An argument that is a C int in the standard library."""
    number = _index(value)
    if not -INT_MAX - 1 <= number <= INT_MAX:
        raise OverflowError("Python int too large to convert to C int")
    return number


def _c_size(value: object) -> int:
    """An argument that is a C ssize_t in the standard library."""
    number = _index(value)
    if not -sys.maxsize - 1 <= number <= sys.maxsize:
        raise OverflowError("Python int too large to convert to C ssize_t")
    return number


def _c_offset(value: object) -> int:
    """An argument that is a C off_t, of 64 bits everywhere."""
    number = _index(value)
    if not -(2**63) <= number < 2**63:
        raise OverflowError("Python int too large to convert to C long")
    return number


def _slice_index(value: object) -> int | None:
    """One member of a slice; what is too large for C means as much as the largest, as in every sequence."""
    if value is None:
        return None
    if not _is_index(value):
        raise TypeError("slice indices must be integers or None or have an __index__ method")
    return max(-sys.maxsize, min(_index(value), sys.maxsize))


def _is_index(value: object) -> bool:
    return hasattr(type(value), "__index__")


def _bytes_view(data: object) -> memoryview:
    """The memory of a bytes-like object."""
    try:
        return memoryview(data)  # type: ignore[arg-type]
    except TypeError:
        if hasattr(type(data), "__buffer__"):
            raise
        raise TypeError(f"a bytes-like object is required, not {type(data).__name__!r}") from None


def _contiguous(view: memoryview) -> memoryview:
    if not view.c_contiguous:
        raise BufferError("memoryview: underlying buffer is not C-contiguous")
    return view


def _clipped(value: object, default: int, length: int) -> int:
    """A start or an end as slices understand it, within [0, length]."""
    if value is None:
        return default
    number = _c_size(value)
    if number < 0:
        return max(number + length, 0)
    return min(number, length)


class mmap(Mapping):  # noqa: N801, the standard library's name
    """Memory-mapped file, or anonymous memory: a mutable sequence of bytes that is also a file with a position.

    The API, the exceptions and their messages are those of CPython 3.15's `mmap.mmap`.

    Args:
        fileno: descriptor of the file to map, which may be closed afterwards; -1 for anonymous memory, on Windows
            0 too.
        length: bytes to map; 0 maps the whole file from `offset` on. On Windows a shorter file is made longer.
        flags: MAP_SHARED or MAP_PRIVATE, with any other MAP_ names; Unix only.
        prot: PROT_ names that say how the memory may be used; Unix only.
        tagname: name of the memory, which every process of the session that gives the same name shares; Windows
            only.
        access: one of the ACCESS_ names, on Unix in the place of `flags` and `prot`.
        offset: where in the file to begin, in bytes: a multiple of ALLOCATIONGRANULARITY.
        trackfd: False keeps no descriptor of the file: `size` and `resize` raise ValueError then.

    Raises:
        OverflowError: `length` or `offset` is negative or too large for C.
        ValueError: the file is empty or too short, `access` is unknown or given with `flags` or `prot`.
        TypeError: `tagname` is not a str.
        OSError: the system's answer: EBADF for a bad descriptor, EINVAL for a misaligned offset or a length of 0
            without a file, EACCES (PermissionError) if the file is not open for what is asked. What fails leaves
            the file's size as it was.

    Safety:
        Unix: a mapped file that another process truncates takes its pages with it, and an access to them ends the
        process by SIGBUS (mmap(2)). Windows lets nobody truncate it; a page that it can no longer read, as from a
        network drive that is gone, or that is protected, is an OSError in every method. What is written before the
        page stays written. A view of the map (`memoryview`, numpy) has no such guard: an access ends the process.
    """

    __slots__ = ("_access", "_position")

    _access: int
    _position: int

    if sys.platform == "win32":

        def __new__(
            cls,
            fileno: int,
            length: int,
            tagname: str | None = None,
            access: int = ACCESS_DEFAULT,
            offset: int = 0,
            *,
            trackfd: bool = True,
        ) -> mmap:
            asked = request(
                _c_int(fileno),
                _c_size(length),
                tag_name(tagname),
                _c_int(access),
                _c_offset(offset),
                bool(trackfd),
            )
            self: mmap = super().__new__(cls)
            return self._begin(asked)

    else:

        def __new__(
            cls,
            fileno: int,
            length: int,
            flags: int = DEFAULT_FLAGS,
            prot: int = DEFAULT_PROT,
            access: int = ACCESS_DEFAULT,
            offset: int = 0,
            *,
            trackfd: bool = True,
        ) -> mmap:
            asked = request(
                _c_int(fileno),
                _c_size(length),
                _c_int(flags),
                _c_int(prot),
                _c_int(access),
                _c_offset(offset),
                bool(trackfd),
            )
            self: mmap = super().__new__(cls)
            return self._begin(asked)

    def _begin(self, asked: Request) -> mmap:
        self._access = asked.protection.access
        self._position = 0
        self._open(asked)
        return self

    # ---- lifetime ----

    def close(self) -> None:
        """Ends the mapping. Every later use but `close`, `closed`, `seekable` and `repr` raises ValueError.

        Raises:
            BufferError: the memory is exported, as by a memoryview or an array, or a method of this map runs in
                another thread. The map stays open.

        Safety:
            PyPy cannot tell whether the memory is exported and raises only while a method runs: the file is let go
            at once, and a view that is still alive reads zeros and writes to memory that nobody sees.
        """
        if not self._close():
            raise BufferError("cannot close exported pointers exist")

    @property
    def closed(self) -> bool:
        """Whether `close` has ended the mapping."""
        return self._view is CLOSED

    def __enter__(self) -> mmap:
        self._check_open()
        return self

    def __exit__(self, exc_type: object, exc_value: object, traceback: object, /) -> None:
        self.close()

    if sys.platform == "win32":

        def __sizeof__(self) -> int:
            # CPython counts the tag with the NUL at its end.
            return super().__sizeof__() + (0 if self._tag is None else len(self._tag) + 1)  # type: ignore[no-any-return]

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {self._type_name()!r} object")

    def _type_name(self) -> str:
        return "mmap.mmap" if type(self) is mmap else type(self).__name__

    def __repr__(self) -> str:
        if self.closed:
            return f"<{self._type_name()} closed=True>"
        return (
            f"<{self._type_name()} closed=False, access={_ACCESS_NAMES[self._access]}, length={self._length}, "
            f"pos={self._position}, offset={self._offset}>"
        )

    # ---- sequence ----

    def __len__(self) -> int:
        return self._open_length()

    def _open_length(self) -> int:
        """The length of an open map in bytes: read before the look at whether it is open, as others may close it."""
        length = self._length
        self._check_open()
        return length

    def _accessible_length(self) -> int:
        """The length in bytes of a map that may be accessed, read likewise."""
        length = self._length
        self._check_accessible()
        return length

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, key: SupportsIndex, /) -> int: ...
        @overload
        def __getitem__(self, key: slice, /) -> bytes: ...
        def __getitem__(self, key: Any, /) -> Any: ...
        @overload
        def __setitem__(self, key: SupportsIndex, value: SupportsIndex, /) -> None: ...
        @overload
        def __setitem__(self, key: slice, value: Buffer, /) -> None: ...
        def __setitem__(self, key: Any, value: Any, /) -> None: ...
        def __delitem__(self, key: object, /) -> NoReturn: ...
        def __iter__(self) -> Iterator[bytes]: ...
        def _line(self, start: int) -> bytes: ...

    elif not FAST_ITEMS:

        def __getitem__(self, key: Any) -> Any:
            if key.__class__ is int:
                try:
                    return self._view[key]
                except IndexError:
                    return self._item(key)
            if (
                key.__class__ is slice
                and key.start.__class__ is int
                and key.stop.__class__ is int
                and key.step is None
                and key.stop - key.start < LONG_COPY
            ):
                return self._view[key]
            return self._item(key)

        def __setitem__(self, key: Any, value: Any) -> None:
            if key.__class__ is int:
                if value.__class__ is int and 0 <= value <= 255 and self._access != ACCESS_READ:
                    try:
                        self._view[key] = value
                        return
                    except IndexError:
                        pass
            elif (
                value.__class__ is bytes
                and key.__class__ is slice
                and key.start.__class__ is int
                and key.stop.__class__ is int
                and key.step is None
                and 0 <= key.start <= key.stop <= self._length
                and key.stop - key.start == len(value)
                and self._access != ACCESS_READ
            ):
                self._view[key] = value
                return
            self._set_item(key, value)

        def __delitem__(self, key: object) -> None:
            self._delete_item(key)

        def __iter__(self) -> Iterator[bytes]:
            return _Iterator(self)

        def _line(self, start: int) -> bytes:
            end = self._accessible_length()
            if start < end:
                return self._view[start : self._line_end(start, end)]  # type: ignore[no-any-return]
            return self._slow_line(start)

    def _item(self, key: Any) -> Any:
        """Any index and any slice; arguments are converted before the memory is looked at."""
        self._check_accessible()
        if key.__class__ is slice:
            start, step, count = self._range(_plain_slice(key))
            if step == 1:
                return self._read_range(start, start + count)
            return self._gather(start, step, count)
        if not _is_index(key):
            raise TypeError("mmap indices must be integers")
        return self._octet_at(_index(key))

    def _octet_at(self, position: int) -> int:
        length = self._accessible_length()
        if position < 0:
            position += length
        if position >= 0:
            try:
                return self._view[position]  # type: ignore[no-any-return]
            except IndexError:
                pass
        raise IndexError("mmap index out of range")

    def _set_item(self, key: Any, value: Any) -> None:
        self._check_writable()
        if key.__class__ is slice:
            self._set_slice(_plain_slice(key), value)
            return
        if not _is_index(key):
            raise TypeError("mmap indices must be integer")
        position = _index(key)
        if not _is_index(value):
            raise TypeError("mmap item value must be an int")
        octet = _index(value)
        length = self._accessible_length()
        if position < 0:
            position += length
        if not 0 <= position < length:
            raise IndexError("mmap index out of range")
        if not 0 <= octet <= 255:
            raise ValueError("mmap item value must be in range(0, 256)")
        self._view[position] = octet

    def _set_slice(self, key: slice, value: object) -> None:
        with _bytes_view(value) as data:
            start, step, count = self._range(key)
            if _contiguous(data).nbytes != count:
                raise IndexError("mmap slice assignment is wrong size")
            if step == 1:
                self._store(start, data)
            elif count:
                end = max(start, start + step * (count - 1)) + 1
                with ffi.from_buffer(data) as source:
                    octets = ffi.cast("unsigned char *", source)
                    check(self._run(lib.cm_scatter, end, start, step, count, octets))

    def _range(self, key: slice) -> tuple[int, int, int]:
        """Where a slice starts, its step, and how many bytes it has."""
        start, stop, step = key.indices(self._accessible_length())
        return start, step, len(range(start, stop, step))

    def _read_range(self, start: int, stop: int) -> bytes:
        if stop - start >= LONG_COPY:
            self._populate(start, stop)
        return self._view[start:stop]  # type: ignore[no-any-return]

    def _gather(self, start: int, step: int, count: int) -> bytes:
        if count == 0:
            return b""
        target = ffi.new("unsigned char[]", count)
        end = max(start, start + step * (count - 1)) + 1
        check(self._run(lib.cm_gather, end, start, step, count, target))
        return bytes(ffi.buffer(target, count))

    def _store(self, start: int, data: memoryview) -> None:
        with ffi.from_buffer(data) as source:
            octets = ffi.cast("unsigned char *", source)
            check(self._run(lib.cm_store, start + data.nbytes, start, octets, data.nbytes))

    def _delete_item(self, key: object) -> None:
        self._check_writable()
        if key.__class__ is slice:
            raise TypeError("mmap object doesn't support slice deletion")
        if _is_index(key):
            raise TypeError("mmap doesn't support item deletion")
        raise TypeError("mmap indices must be integer")

    def _single(self, position: int) -> bytes:
        """The item that iteration meets: a byte as bytes."""
        return _SINGLE_BYTES[self._octet_at(position)]

    def __reversed__(self) -> Iterator[bytes]:
        return self._backwards(len(self))

    def _backwards(self, position: int) -> Iterator[bytes]:
        while position:
            position -= 1
            try:
                item = self._single(position)
            except IndexError:
                return
            yield item

    def __contains__(self, item: object) -> bool:
        if item.__class__ is bytes:
            return len(item) == 1 and mmap.find(self, item, 0) >= 0
        return any(byte is item or byte == item for byte in self)

    def _check_writable(self) -> None:
        if self._access == ACCESS_READ:
            raise TypeError("mmap can't modify a readonly memory map.")

    # ---- file ----

    def read(self, n: int | None = None, /) -> bytes:
        """Reads from the position on.

        Args:
            n: at most so many bytes; None or negative: all to the end.

        Returns:
            The bytes; b'' at the end. The position moves past them.
        """
        if n is None:
            n = -1
        elif n.__class__ is not int:
            if not _is_index(n):
                raise TypeError(f"argument should be integer or None, not {type(n).__name__!r}")
            n = _index(n)
        if not -sys.maxsize - 1 <= n <= sys.maxsize:
            raise OverflowError("cannot fit 'int' into an index-sized integer")
        start = self._position
        stop = self._length
        if 0 <= n < stop - start:
            stop = start + n
        if stop <= start:
            self._check_accessible()
            return b""
        data: bytes = self._view[start:stop] if stop - start < LONG_COPY else self._read_range(start, stop)
        # Not `stop`: another thread may have shrunk the map meanwhile.
        self._position = start + len(data)
        return data

    def read_byte(self) -> int:
        """Reads the byte at the position as an integer, and moves the position past it.

        Raises:
            ValueError: the position is at the end.
        """
        position = self._position
        try:
            octet = self._view[position]
        except IndexError:
            octet = None
        if octet is None:
            raise ValueError("read byte out of range")
        self._position = position + 1
        return octet  # type: ignore[no-any-return]

    def readline(self) -> bytes:
        """Reads from the position to the next newline, which belongs to the line, or to the end.

        Returns:
            The line; b'' at the end. The position moves past it.
        """
        start = self._position
        line: bytes = self._line(start)
        self._position = start + len(line)
        return line

    def _slow_line(self, start: int) -> bytes:
        end = self._accessible_length()
        if start >= end:
            return b""
        return self._read_range(start, self._line_end(start, end))

    def write(self, data: Buffer, /) -> int:
        """Writes all of a bytes-like object at the position, and moves the position past it.

        Returns:
            The number of bytes written, which is all of them.

        Raises:
            ValueError: not all of them fit; nothing was written.
            TypeError: the map is read-only, or `data` is not bytes-like.
        """
        if data.__class__ is bytes and len(data) < LONG_COPY:
            start, stop = self._room_for(len(data))
            self._view[start:stop] = data
        else:
            with _bytes_view(data) as source:
                start, stop = self._room_for(_contiguous(source).nbytes)
                self._store(start, source)
        self._position = stop
        return stop - start

    def _room_for(self, count: int) -> tuple[int, int]:
        """The range from the position on that so many bytes are written to."""
        self._check_open()
        self._check_writable()
        start = self._position
        if count > self._accessible_length() - start:
            raise ValueError("data out of range")
        return start, start + count

    def write_byte(self, byte: int, /) -> None:
        """Writes one byte at the position, and moves the position past it.

        Args:
            byte: an integer from 0 to 255; others raise OverflowError.

        Raises:
            ValueError: the position is at the end.
            TypeError: the map is read-only.
        """
        octet = _index(byte)
        if octet < 0:
            raise OverflowError("unsigned byte integer is less than minimum")
        if octet > 255:
            raise OverflowError("unsigned byte integer is greater than maximum")
        self._check_open()
        self._check_writable()
        position = self._position
        if position >= self._accessible_length():
            raise ValueError("write byte out of range")
        self._view[position] = octet
        self._position = position + 1

    def seek(self, pos: int, whence: int = 0, /) -> int:
        """Moves the position.

        Args:
            pos: a distance in bytes.
            whence: from where: os.SEEK_SET (the start), SEEK_CUR (the position) or SEEK_END (the end).

        Returns:
            The new position, which may be the end itself.

        Raises:
            ValueError: the new position lies outside the map, or `whence` is unknown.
        """
        distance = _c_size(pos)
        origin = _c_int(whence)
        length = self._open_length()
        if origin == 0:
            position = distance
        elif origin == 1:
            position = self._position + distance
        elif origin == 2:
            position = length + distance
        else:
            raise ValueError("unknown seek type")
        if not 0 <= position <= length:
            raise ValueError("seek out of range")
        self._position = position
        return position

    def seekable(self) -> bool:
        """True, also for a closed map."""
        return True

    def tell(self) -> int:
        """The position, in bytes from the start of the map."""
        self._check_open()
        return self._position

    def size(self) -> int:
        """The size of the file in bytes, which may be more than is mapped; of anonymous memory the map's length.

        Raises:
            ValueError: the map was made with trackfd=False.
        """
        # Another thread must not close the descriptor meanwhile, whose number may be another file's then.
        with self._lock:
            length = self._open_length()
            if not self._tracked:
                raise ValueError("can't get size with trackfd=False")
            if self._file is None:
                return length
            return file_status(self._file.file)[0]

    # ---- search ----

    def find(self, sub: Buffer, start: int | None = None, end: int | None = None, /) -> int:
        """The lowest position at which a sequence of bytes lies within [start, end).

        Args:
            sub: any bytes-like object. An empty one is found at `start`.
            start: where to begin, as in a slice; the position if None.
            end: where to end, as in a slice; the end of the map if None.

        Returns:
            The position in bytes from the start of the map, or -1.
        """
        needle, first, stop = self._search_arguments(sub, start, end)
        if first + len(needle) > stop:
            return -1
        # In parts, so that Ctrl-C and other threads are served in between; they overlap by what a match may straddle.
        step = max(LONG_CALL, len(needle))
        for part in range(first, max(stop - len(needle) + 1, first + 1), step):
            part_end = min(part + step + len(needle) - 1, stop)
            position = found(self._run(lib.cm_find, stop, part, part_end, needle, len(needle)))
            if position != ABSENT:
                return position
        return ABSENT

    def rfind(self, sub: Buffer, start: int | None = None, end: int | None = None, /) -> int:
        """The highest position at which a sequence of bytes lies within [start, end).

        Args:
            sub: any bytes-like object. An empty one is found at `end`.
            start: where to begin, as in a slice; the position if None.
            end: where to end, as in a slice; the end of the map if None.

        Returns:
            The position in bytes from the start of the map, or -1.
        """
        needle, first, stop = self._search_arguments(sub, start, end)
        if first + len(needle) > stop:
            return -1
        step = max(LONG_CALL, len(needle))
        for part_end in range(stop, max(first + len(needle) - 1, first), -step) or (stop,):
            part = max(part_end - step - len(needle) + 1, first)
            position = found(self._run(lib.cm_rfind, stop, part, part_end, needle, len(needle)))
            if position != ABSENT:
                return position
        return ABSENT

    def _search_arguments(self, sub: object, start: object, end: object) -> tuple[bytes, int, int]:
        """The needle and the range of bytes; the range is empty backwards if the start is past the end."""
        if sub.__class__ is bytes:
            needle = sub
        else:
            with _bytes_view(sub) as view:
                # A copy, as another thread may change the original during the search.
                needle = bytes(_contiguous(view))
        start = start if start is None else _c_size(start)
        end = end if end is None else _c_size(end)
        length = self._accessible_length()
        stop = _clipped(end, length, length)
        if start is None:
            return needle, self._position, stop
        return needle, start if start > length else _clipped(start, 0, length), stop

    # ---- memory ----

    def move(self, dest: int, src: int, count: int, /) -> None:
        """Copies bytes within the map; source and destination may overlap.

        Args:
            dest: where to, in bytes.
            src: where from, in bytes.
            count: how many bytes.

        Raises:
            ValueError: not all of it lies within the map; nothing was copied.
            TypeError: the map is read-only.
        """
        target, source, number = _c_size(dest), _c_size(src), _c_size(count)
        self._check_open()
        self._check_writable()
        room = self._accessible_length() - number
        if number < 0 or not 0 <= target <= room or not 0 <= source <= room:
            raise ValueError("source, destination, or count out of range")
        check(self._run(lib.cm_move, max(target, source) + number, target, source, number))

    def flush(self, offset: int = 0, size: int = -1, /, *, flags: int = MS_SYNC) -> None:
        """Writes changed pages to the file. Nothing is to be done for a read-only or private copy.

        Args:
            offset: where to begin, in bytes: a multiple of PAGESIZE on Unix.
            size: how many bytes; -1: all to the end.
            flags: MS_SYNC waits for the disk, MS_ASYNC does not, MS_INVALIDATE (Unix) may be added to either.

        Raises:
            ValueError: the range does not lie within the map.
            OSError: the system's answer; on Unix EINVAL if `offset` is misaligned or `flags` are unknown; EIO from
                the disk.

        Platform:
            Unix: msync(2). Windows: FlushViewOfFile, which hands the pages to the system's cache, then, unless
            MS_ASYNC is given, FlushFileBuffers, which brings the file to the disk; for a map made with
            trackfd=False the first alone.
        """
        start, count, how = _c_size(offset), _c_size(size), _c_int(flags)
        length = self._open_length()
        if count == -1:
            count = length - start
        if start < 0 or count < 0 or start + count > length:
            raise ValueError("flush values out of range")
        if self._access in (ACCESS_READ, ACCESS_COPY):
            return
        check(self._run(lib.cm_sync, start + count, start, count, how), "cm_sync")
        if WINDOWS and not how & MS_ASYNC:
            check(self._run(self._sync_file, 0), "cm_sync_file")

    if "MADV_NORMAL" in _constants.NAMES:

        def madvise(self, option: int, start: int = 0, length: int | None = None, /) -> None:
            """Tells the kernel how a range of the memory will be used, by madvise(2).

            Args:
                option: one of the MADV_ names.
                start: where to begin, in bytes: a multiple of PAGESIZE.
                length: how many bytes; None: all to the end. What goes beyond the end is left out.

            Raises:
                ValueError: `start` lies outside the map, or `length` is negative.
                OverflowError: `start` and `length` together are too large for C.
                OSError: the system's answer, EINVAL for an option it does not know.

            Platform:
                Unix. Which options there are depends on the system.
            """
            advice, begin = _c_int(option), _c_size(start)
            count = None if length is None else _c_size(length)
            total = self._open_length()
            if not 0 <= begin < total:
                raise ValueError("madvise start out of bounds")
            if count is None:
                count = total - begin
            if count < 0:
                raise ValueError("madvise length invalid")
            if sys.maxsize - begin < count:
                raise OverflowError("madvise length too large")
            count = min(count, total - begin)
            check(self._run(lib.cm_advise, begin + count, begin, count, advice), "cm_advise")

    def resize(self, newsize: int, /) -> None:
        """Resizes the map, and the file under it to `offset` and as many bytes more.

        The map may move in memory. What fails leaves file, map and position as they were.

        Args:
            newsize: the new length in bytes, at least 1.

        Raises:
            BufferError: the memory is exported, as by a memoryview or an array, or in use by another thread.
            ValueError: the map was made with trackfd=False, `newsize` is out of range, or shared anonymous memory
                would have to grow, which Linux cannot.
            TypeError: the map is read-only or a private copy.
            OSError: the system's answer; EINVAL for 0 bytes, which no mapping can have.

        Platform:
            Windows makes no file shorter while it is mapped. A file that is to become shorter is unmapped before;
            should the system then refuse to map it, even with its old length, the map is closed, and the OSError
            says so in its notes: the bytes are in the file. Where another mapping of the file lives, OSError
            (winerror 1224) leaves all as it was. So it is for a tag that somebody else has open; should somebody
            take the tag in the midst of a resize, OSError (winerror 183) leaves the map with its memory and without
            the tag.

        Safety:
            On PyPy a view that is still alive reads zeros from then on, as after `close`.
        """
        length = _c_size(newsize)
        with self._lock:
            self._check_open()
            self._check_resizable(length)
            if not self._resize(length):
                raise BufferError("mmap can't resize with extant buffers exported.")

    def _check_resizable(self, length: int) -> None:
        if self._exported():
            raise BufferError("mmap can't resize with extant buffers exported.")
        if not self._tracked:
            raise ValueError("mmap can't resize with trackfd=False.")
        if self._access in (ACCESS_READ, ACCESS_COPY):
            raise TypeError("mmap can't resize a readonly or copy-on-write memory map.")
        if length < 0 or length > sys.maxsize - self._offset:
            raise ValueError("new size out of range")
        if length == 0:
            raise failure(INVALID_ARGUMENT, "cm_map")
        if _LINUX and self._anonymous and not self._protection.private and length > self._length:
            raise ValueError("mmap: can't expand a shared anonymous mapping")

    if _LINUX:

        def set_name(self, name: str, /) -> None:
            """Names anonymous memory in /proc/PID/maps, as `[anon:cffimmap:NAME]`.

            Args:
                name: at most 66 bytes in UTF-8, without NUL. The kernel takes printable ASCII only, and none of
                    the five characters of prctl(2), PR_SET_VMA_ANON_NAME.

            Raises:
                ValueError: the name is too long or has a NUL, or the map is of a file.
                OSError: EINVAL from a kernel older than 5.17 or built without it, or for a character it refuses.

            Platform:
                Linux.
            """
            if not isinstance(name, str):
                raise TypeError(f"set_name() argument must be str, not {type(name).__name__}")
            if "\0" in name:
                raise ValueError("embedded null character")
            self._check_open()
            if not self._anonymous:
                raise ValueError("Cannot set annotation on non-anonymous mappings")
            text = name.encode()
            if len(text) > _NAME_BYTES:
                raise ValueError("name is too long")
            length = self._open_length()
            check(self._run(lib.cm_set_name, length, length, _NAME_PREFIX + text), "cm_set_name")


class _Iterator:
    """Iterates over a map as the standard library does; on PyPy ten times as fast as a generator."""

    __slots__ = ("_map", "_position")

    _map: mmap | None

    def __init__(self, mapped: mmap) -> None:
        self._map = mapped
        self._position = 0

    def __iter__(self) -> _Iterator:
        return self

    def __next__(self) -> bytes:
        position = self._position
        if self._map is None:
            raise StopIteration
        try:
            octet: int = self._map._view[position]
        except IndexError:
            self._map = None
            raise StopIteration from None
        self._position = position + 1
        return _SINGLE_BYTES[octet]


def _plain_slice(key: slice) -> slice:
    """A slice of plain integers: whatever `__index__` does to the map, it does it here."""
    return slice(_slice_index(key.start), _slice_index(key.stop), _slice_index(key.step))
