"""Class mmap: what a user sees. Arguments, rights, messages; never an address.

What a method does with every argument stands here, once, over `Memory`, which holds the state and does each step that
must be whole. On CPython plain arguments of most methods never come here: csrc/cpython/ answers them.

The class has the standard library's names and the documented ones of ours, so that a subclass may have any other:
helpers are functions of this module, and no method calls another one of its own object.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn, SupportsIndex, overload

from cffimmap import _constants
from cffimmap._constants import ACCESS_COPY, ACCESS_DEFAULT, ACCESS_READ, MS_ASYNC, MS_SYNC
from cffimmap._interpreter import Base, Memory, finished, memory_of, new, open_memory
from cffimmap._native import INVALID_ARGUMENT, WINDOWS, failure

if sys.platform == "win32":
    from cffimmap._windows import request, tag_name
else:
    from cffimmap._unix import DEFAULT_FLAGS, DEFAULT_PROT, request

if TYPE_CHECKING:
    from typing_extensions import Buffer

INT_MAX: Final = 2**31 - 1

_ACCESS_NAMES: Final = ("ACCESS_DEFAULT", "ACCESS_READ", "ACCESS_WRITE", "ACCESS_COPY")

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


def _item_index(key: object) -> int:
    """An index; one that is too large for C is one that no map has."""
    number = _index(key)
    if not -sys.maxsize - 1 <= number <= sys.maxsize:
        raise IndexError("mmap index out of range")
    return number


def _is_index(value: object) -> bool:
    return hasattr(type(value), "__index__")


def _plain_slice(key: slice) -> slice:
    """A slice of plain integers: whatever `__index__` does to the map, it does it here."""
    step = key.step
    if (
        _is_plain(key.start)
        and _is_plain(key.stop)
        and (step is None or (_is_plain(step) and abs(step) <= INT_MAX))
    ):
        return key
    return slice(_slice_index(key.start), _slice_index(key.stop), _slice_index(key.step))


def _is_plain(value: object) -> bool:
    return value is None or value.__class__ is int


def _limit(value: object) -> int | None:
    """An argument of find and rfind, where None is a default."""
    return None if value is None else _c_size(value)


def _check_writable(memory: Memory) -> None:
    if not memory.writable:
        raise TypeError("mmap can't modify a readonly memory map.")


def _type_name(value: object) -> str:
    """What the interpreter's messages call the type of an object."""
    return "mmap.mmap" if type(value) is mmap else type(value).__name__


@finished
class mmap(Base):  # noqa: N801, the standard library's name
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

    __slots__ = ()

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
            return new(cls, open_memory(asked))

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
            return new(cls, open_memory(asked))

    # ---- lifetime ----

    def close(self) -> None:
        """Ends the mapping. Every later use but `close`, `closed`, `seekable` and `repr` raises ValueError.

        It waits for methods of this map that run in other threads, which takes milliseconds but for the disk's own
        time. Ctrl-C ends the waiting and leaves the map open.

        Raises:
            BufferError: the memory is exported, as by a memoryview or an array. The map stays open.

        Safety:
            Some consumers take the map's addresses and let the buffer go, as `numpy.memmap` does. What was ever
            exported is therefore replaced by zeros, and its addresses are given back when the object dies. On
            Windows, which cannot do that, such an array ends the process, as with the standard library's map.
            PyPy cannot tell whether the memory is exported and never raises: a view that is still alive reads zeros
            and writes to memory that nobody sees; on Windows it sees the old bytes.
        """
        memory_of(self).close()

    @property
    def closed(self) -> bool:
        """Whether `close` has ended the mapping."""
        return memory_of(self).closed

    def __enter__(self) -> mmap:
        memory_of(self).length  # noqa: B018, raises for a closed map
        return self

    def __exit__(self, exc_type: object, exc_value: object, traceback: object, /) -> None:
        memory_of(self).close()

    # PyPy has no such thing.
    if hasattr(object, "__sizeof__"):

        def __sizeof__(self) -> int:
            memory = memory_of(self)
            # CPython counts the tag with the NUL at its end.
            tag = 0 if memory.tag is None else len(memory.tag) + 1
            return object.__sizeof__(self) + memory.__sizeof__() + tag

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {_type_name(self)!r} object")

    def __repr__(self) -> str:
        memory = memory_of(self)
        try:
            length = memory.length
        except ValueError:
            return f"<{_type_name(self)} closed=True>"
        return (
            f"<{_type_name(self)} closed=False, access={_ACCESS_NAMES[memory.access]}, length={length}, "
            f"pos={memory.position}, offset={memory.offset}>"
        )

    # ---- sequence ----

    if TYPE_CHECKING:

        def __len__(self) -> int: ...
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
        def __reversed__(self) -> Iterator[bytes]: ...

    else:

        def __getitem__(self, key: Any) -> Any:
            memory = memory_of(self)
            if key.__class__ is int:
                return memory.octet(key)
            if key.__class__ is slice:
                memory.accessible_length  # noqa: B018, raises for a closed map before the slice is looked at
                return memory.slice(_plain_slice(key))
            memory.accessible_length  # noqa: B018
            if not _is_index(key):
                raise TypeError("mmap indices must be integers")
            return memory.octet(_index(key))

        def __setitem__(self, key: Any, value: Any) -> None:
            memory = memory_of(self)
            if key.__class__ is int and value.__class__ is int:
                memory.put(key, value)
                return
            _check_writable(memory)
            if key.__class__ is slice:
                memory.assign(_plain_slice(key), value)
                return
            if not _is_index(key):
                raise TypeError("mmap indices must be integer")
            position = _item_index(key)
            if not _is_index(value):
                raise TypeError("mmap item value must be an int")
            memory.put(position, _index(value))

        def __delitem__(self, key: object) -> None:
            memory = memory_of(self)
            _check_writable(memory)
            if key.__class__ is slice:
                raise TypeError("mmap object doesn't support slice deletion")
            if _is_index(key):
                raise TypeError("mmap doesn't support item deletion")
            raise TypeError("mmap indices must be integer")

    def __contains__(self, item: object) -> bool:
        memory = memory_of(self)
        memory.accessible_length  # noqa: B018, raises for a closed map
        # The items of a subclass are what its iteration gives, which are its m[i], as with the standard library's.
        if item.__class__ is bytes and type(self) is mmap:
            return len(item) == 1 and memory.find(item, 0, None, False) >= 0
        return any(byte is item or byte == item for byte in self)

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
                raise TypeError(f"argument should be integer or None, not {_type_name(n)!r}")
            n = _index(n)
        if not -sys.maxsize - 1 <= n <= sys.maxsize:
            raise OverflowError("cannot fit 'int' into an index-sized integer")
        return memory_of(self).read(n)

    def read_byte(self) -> int:
        """Reads the byte at the position as an integer, and moves the position past it.

        Raises:
            ValueError: the position is at the end.
        """
        return memory_of(self).read_byte()

    def readline(self) -> bytes:
        """Reads from the position to the next newline, which belongs to the line, or to the end.

        Returns:
            The line; b'' at the end. The position moves past it.
        """
        return memory_of(self).readline()

    def write(self, data: Buffer, /) -> int:
        """Writes all of a bytes-like object at the position, and moves the position past it.

        Returns:
            The number of bytes written, which is all of them.

        Raises:
            ValueError: not all of them fit; nothing was written.
            TypeError: the map is read-only, or `data` is not bytes-like.
        """
        return memory_of(self).write(data)

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
        memory_of(self).write_byte(octet)

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
        return memory_of(self).seek(_c_size(pos), _c_int(whence))

    def seekable(self) -> bool:
        """True, also for a closed map."""
        return True

    def tell(self) -> int:
        """The position, in bytes from the start of the map."""
        return memory_of(self).tell()

    def size(self) -> int:
        """The size of the file in bytes, which may be more than is mapped; of anonymous memory the map's length.

        Raises:
            ValueError: the map was made with trackfd=False.
        """
        return memory_of(self).size()

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
        return memory_of(self).find(sub, _limit(start), _limit(end), False)

    def rfind(self, sub: Buffer, start: int | None = None, end: int | None = None, /) -> int:
        """The highest position at which a sequence of bytes lies within [start, end).

        Args:
            sub: any bytes-like object. An empty one is found at `end`.
            start: where to begin, as in a slice; the position if None.
            end: where to end, as in a slice; the end of the map if None.

        Returns:
            The position in bytes from the start of the map, or -1.
        """
        return memory_of(self).find(sub, _limit(start), _limit(end), True)

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
        memory_of(self).move(_c_size(dest), _c_size(src), _c_size(count))

    def flush(self, offset: int = 0, size: int = -1, /, *, flags: int = 0) -> None:
        """Writes changed pages to the file. A read-only map and a private copy have none.

        Args:
            offset: where to begin, in bytes: a multiple of PAGESIZE on Unix.
            size: how many bytes; -1: all to the end.
            flags: MS_SYNC waits for the disk, MS_ASYNC does not, MS_INVALIDATE (Unix) may be added to either. 0 is
                MS_SYNC.

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
        memory = memory_of(self)
        length = memory.length
        if count == -1:
            count = length - start
        if start < 0 or count < 0 or start + count > length:
            raise ValueError("flush values out of range")
        if memory.access not in (ACCESS_READ, ACCESS_COPY):
            memory.sync(start, count, how or MS_SYNC, WINDOWS and not how & MS_ASYNC)

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
            memory = memory_of(self)
            total = memory.length
            if not 0 <= begin < total:
                raise ValueError("madvise start out of bounds")
            if count is None:
                count = total - begin
            if count < 0:
                raise ValueError("madvise length invalid")
            if sys.maxsize - begin < count:
                raise OverflowError("madvise length too large")
            memory.advise(begin, min(count, total - begin), advice)

    def resize(self, newsize: int, /) -> None:
        """Resizes the map, and the file under it to `offset` and as many bytes more.

        The map may move in memory. What fails leaves file, map and position as they were. Like `close`, it waits for
        methods of this map that run in other threads.

        Args:
            newsize: the new length in bytes, at least 1.

        Raises:
            BufferError: the memory is exported, as by a memoryview or an array.
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
            On PyPy a view that is still alive reads zeros from then on in the place of what was cut off, and in all places
            if the map had to move.
        """
        length = _c_size(newsize)
        memory = memory_of(self)
        memory.resize(length, _objection(memory, length))

    if _LINUX:

        def set_name(self, name: str, /) -> None:
            """Names anonymous memory in /proc/PID/maps, as `[anon:cffimmap:NAME]`.

            Args:
                name: at most 66 bytes in UTF-8, without NUL. The kernel takes printable ASCII only, and none of
                    the five characters of prctl(2), PR_SET_VMA_ANON_NAME.

            Raises:
                ValueError: the name is too long or has a NUL, or the map is of a file.
                OSError: EINVAL for a character that the kernel refuses.

            Platform:
                Linux 5.17 and later. On a kernel that is older, or built without it, nothing is done.
            """
            if not isinstance(name, str):
                raise TypeError(f"set_name() argument must be str, not {_type_name(name)}")
            if "\0" in name:
                raise ValueError("embedded null character")
            memory = memory_of(self)
            memory.length  # noqa: B018, raises for a closed map
            if not memory.anonymous:
                raise ValueError("Cannot set annotation on non-anonymous mappings")
            text = name.encode()
            if len(text) > _NAME_BYTES:
                raise ValueError("name is too long")
            memory.set_name(_NAME_PREFIX + text)


def _objection(memory: Memory, length: int) -> Exception | None:
    """What there is against a new length in bytes. It comes after an export and before anything is done."""
    if not memory.tracked:
        return ValueError("mmap can't resize with trackfd=False.")
    if memory.access in (ACCESS_READ, ACCESS_COPY):
        return TypeError("mmap can't resize a readonly or copy-on-write memory map.")
    if length < 0 or length > sys.maxsize - memory.offset:
        return ValueError("new size out of range")
    if length == 0:
        return failure(INVALID_ARGUMENT, "cm_map")
    if _LINUX and memory.anonymous and not memory.copies and length > memory.length:
        return ValueError("mmap: can't expand a shared anonymous mapping")
    return None
