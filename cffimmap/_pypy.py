"""`Memory` on PyPy, in Python over cffi, and how a map holds it.

The mapping is a struct of C (csrc/cffimmap.h), which knows at any time what is mapped. What Python keeps of it is made
anew from there when it does not fit, so that an exception between any two steps leaves nothing half done. Destructors
are functions of C, which no signal handler interrupts.

Nobody counts who has an address: collecting is no counting, and another thread may stand between its check and its
access. So the pages are never taken away under anyone: others are put in their place, and the addresses go back when
the last object that has them has died. The mapping counts the changes of its length. An access looks at that count when
it is done, and before it if it writes: after a change it begins anew, as what it has met may be pages that are nobody's.
Where pages cannot be replaced (Windows) each access is a call of C that is counted.

The position lies in the struct and moves on by comparing and exchanging in C: who comes too late tries again where it
is by then. There is no lock that an exception or a fork could leave.
"""

from __future__ import annotations

import mmap as _builtin
import operator
import sys
from _thread import _count as _other_threads
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from gc import collect
from io import FileIO
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cffimmap._native import (
    ABSENT,
    CLOSED_MESSAGE,
    RESIZED_MESSAGE,
    Pointer,
    ask_twice,
    check,
    failure,
    ffi,
    lib,
)

if sys.platform == "win32":
    from cffimmap._windows import crowded
else:
    from cffimmap._unix import crowded

if TYPE_CHECKING:
    from cffimmap._request import Request

    _Bufferable = object
else:
    try:
        # C extensions take a class's `__buffer__` into account only if it derives from this one.
        from __pypy__.bufferable import bufferable as _Bufferable  # noqa: N812
    except ImportError:
        _Bufferable = object

_Class = TypeVar("_Class", bound=type)

BLANKS: Final = bool(lib.CM_BLANKS)
BUSY: Final = lib.CM_BUSY
GONE: Final = lib.CM_GONE

# See CM_FAILED in cffimmap.h.
_FAILED: Final = -16

# PyPy before 8, whichever Python it is, gives `re` and `struct` iterators the bare address of a buffer and keeps
# nothing alive for it: exported addresses are never given back there.
_BARE_ADDRESSES: Final = sys.pypy_version_info < (8,)  # type: ignore[attr-defined, unused-ignore]

# PyBUF_FULL_RO: what a memoryview asks for, which keeps what it got. From PyPy 8 on, others that keep the address keep
# the object alive for it, and no more (`re`, 8.0.1).
_FULL: Final = 0x11C

# From so many bytes on a call lets other threads run meanwhile, and is counted, as it may take its time.
LONG = 1 << 16

# What it does at once: signals and other threads are served in between.
PART = 1 << 24

# Anonymous memory weighs its length with the collector. The pages of a file can be had again at any time: beyond this
# many bytes their weight would only make it run at every other map.
_GREATEST_WEIGHT: Final = 1 << 20

_READ_ONLY: Final = "mmap can't modify a readonly memory map."

# PyPy makes bytes under its lock, page faults included: half a second for 512 MB. What it reads from a file it reads without
# the lock; before 8 it makes the bytes where they are read to, and from then on a copy under the lock. From this many bytes
# on that is worth the kernel's way, which is not quicker.
_READS_IN_PLACE: Final = _BARE_ADDRESSES
_LONG_COPY: Final = 1 << 25

_ALL: Final = slice(None)

_LITTLE_ENDIAN: Final = sys.byteorder == "little"

_SINGLE_BYTES: Final[tuple[bytes, ...]] = tuple(bytes((octet,)) for octet in range(256))

_MAPPING: Final = ffi.typeof("cm_mapping *")
_SPAN: Final = ffi.typeof("cm_span *")
_octets: Final = ffi.new_allocator(should_clear_after_alloc=False)


def tune(**values: int) -> None:
    """For the tests: from how many bytes on a call is `long`, how many it does as one `part`."""
    global LONG, PART
    LONG = values.get("long", LONG)
    PART = values.get("part", PART)


# ---- the collector ----

# What is told to the collector without an object that it is told of.
_SCALE: Final = ffi.gc(ffi.new("cm_span *"), lib.cm_span_end, 0)


def _weigh(weight: int) -> None:
    """Tells the collector that so many bytes have come, or gone if negative."""
    ffi.gc(_SCALE, None, weight)


class _Epoch:
    """The time between two collections. It is over as soon as `over` has something in it.

    The collector forgets at each one what it was told. To tell it then that a weight is gone would let it rest until
    that much garbage has come.
    """

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over: list[Pointer] = []
        # Found dead by the next collection.
        ffi.gc(ffi.new("char *"), self.over.append, 0)


_epoch = _Epoch()


def _now() -> _Epoch:
    global _epoch
    if _epoch.over:
        _epoch = _Epoch()
    return _epoch


# ---- arguments ----


def _view(data: Any) -> memoryview:
    """The memory of a bytes-like object without gaps."""
    try:
        view = memoryview(data)
    except TypeError:
        if hasattr(type(data), "__buffer__"):
            raise
        raise TypeError(f"a bytes-like object is required, not {type(data).__name__!r}") from None
    if not view.c_contiguous:
        raise BufferError("memoryview: underlying buffer is not C-contiguous")
    return view


def _short(data: Any) -> bytes | None:
    """A copy of what is quickly copied; None for anything else, or what is long."""
    if data.__class__ is bytearray and len(data) < LONG:
        return bytes(data)
    if data.__class__ is memoryview and data.nbytes < LONG and data.c_contiguous:
        return data.tobytes()
    return None


def _source(view: memoryview) -> Any:
    """The bytes of a view, for C."""
    try:
        return ffi.from_buffer(view)
    except TypeError:
        # Some objects have no address for them, as BytesIO (7.3.11, 8.0.1).
        return ffi.from_buffer(bytes(view))


def _copy(data: Any) -> bytes:
    """A copy of it, as another thread may change the original."""
    if data.__class__ is bytearray:
        return bytes(data)
    with _view(data) as view:
        return view.tobytes()


def _clipped(value: int, length: int) -> int:
    """A start or an end as slices understand it, within [0, length]."""
    return max(value + length, 0) if value < 0 else min(value, length)


def _ends(key: slice, length: int) -> tuple[int, int]:
    """Where a slice without a step begins and ends in a map of that length; below 0 if that is before its start."""
    start, stop = key.start, key.stop
    if start is None:
        start = 0
    elif start < 0:
        start += length
    if stop is None or stop > length:
        stop = length
    elif stop < 0:
        stop += length
    return start, stop


# The longest needle that is a number for C.
_LONGEST_NUMBER: Final = 8


def _number(needle: bytes, count: int) -> int:
    """A needle of 1 to 8 bytes as C takes it. A loop would take the time of the whole search."""
    number = needle[0]
    if count > 1:
        number |= needle[1] << 8
        if count > 2:
            number |= needle[2] << 16
            if count > 3:
                number |= needle[3] << 24
                if count > 4:
                    number |= _upper_half(needle, count)
    return number


def _upper_half(needle: bytes, count: int) -> int:
    number = needle[4] << 32
    if count > 5:
        number |= needle[5] << 40
        if count > 6:
            number |= needle[6] << 48
            if count > 7:
                # Signed, as the whole is.
                number |= ((needle[7] ^ 128) - 128) << 56
    return number


def _checked(answer: int, function: str | None = None) -> int:
    """The answer of a function that returns a position, unless it is an error."""
    if answer <= _FAILED:
        raise failure(_FAILED - answer, function)
    return answer


def _parts(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The range of bytes in parts, each as its start and its end."""
    for part in range(start, stop, PART):
        yield part, min(part + PART, stop)


def _search_parts(start: int, stop: int, count: int, backwards: bool) -> Iterator[tuple[int, int]]:
    """The same for a needle of `count` bytes: they overlap by what a match may straddle. There is at least one."""
    step = max(PART, count)
    if backwards:
        for end in range(stop, max(start + count - 1, start), -step) or (stop,):
            yield max(end - step - count + 1, start), end
    else:
        for part in range(start, max(stop - count + 1, start + 1), step):
            yield part, min(part + step + count - 1, stop)


# ---- the memory ----


def _new_span(weight: int) -> Pointer:
    return ffi.gc(ffi.new(_SPAN), lib.cm_span_end, weight)


def _move_on(mapping: Pointer, start: int, stop: int) -> bool:
    """Moves the position on from where it was seen to be. False if it is elsewhere by now."""
    if _other_threads():
        return bool(lib.cm_move_on(mapping, start, stop) == 0)
    # A tenth of the time, and whole as nobody else is there to come in between.
    if mapping.position != start:
        return False
    mapping.position = stop
    return True


class _Window:
    """A span as it was at one of its changes. It is the mapping as long as the span's count of changes is the same.

    Whoever has one accesses the memory, and nobody counts him: the span is kept.

    Attributes:
        owner: the span.
        changes: the count.
        size: the length in bytes.
        pointer: the bytes as integers.
        pairs: two of them each.
        buffer: the bytes as bytes. It copies two of them one after the other, so that another process may see one.
        exported: a buffer that keeps the addresses, once there is one.
        lent: whether the memory keeps the span for whoever has exported it.
    """

    __slots__ = ("buffer", "changes", "exported", "lent", "owner", "pairs", "pointer", "size")

    def __init__(self, owner: Pointer) -> None:
        self.owner = owner
        # First, as another change may come before the length is read.
        self.changes: int = owner.changes
        self.size: int = owner.length
        self.pointer = owner.range.base
        self.pairs = ffi.cast("uint16_t *", self.pointer)
        self.buffer = ffi.buffer(self.pointer, self.size)
        self.exported: Any = None
        self.lent = _BARE_ADDRESSES


# Two bytes at an even place are a number of 16 bits, which other processes see whole.


def _get(window: _Window, start: int, count: int) -> bytes:
    if count == 2 and not start & 1:
        pair: int = window.pairs[start >> 1]
        first, second = (pair & 255, pair >> 8) if _LITTLE_ENDIAN else (pair >> 8, pair & 255)
        return _SINGLE_BYTES[first] + _SINGLE_BYTES[second]
    return window.buffer[start : start + count]  # type: ignore[no-any-return]


def _kernel_copy(window: _Window, start: int, stop: int) -> bytes | None:
    """The bytes as the kernel reads them, for whom other threads need not wait; None where it does not."""
    count = stop - start
    if count < _LONG_COPY or not _READS_IN_PLACE:
        return None
    data = None
    # Memory of a device has to be read in the common way, and not every process may open this file.
    with suppress(OSError), FileIO("/proc/self/mem") as memory:
        memory.seek(int(ffi.cast("uintptr_t", window.pointer)) + start)
        data = memory.read(count)
    return data if data is not None and len(data) == count else None


def _set(window: _Window, start: int, stop: int, data: bytes) -> None:
    if stop - start == 2 and not start & 1:
        first, second = data
        window.pairs[start >> 1] = first | second << 8 if _LITTLE_ENDIAN else first << 8 | second
    else:
        window.buffer[start:stop] = data


# A search looks first at a copy of so many bytes: a call of C costs as much as all of that.
_NEAR: Final = 48


def _first_near(window: _Window, first: int, stop: int, sought: bytes) -> int:
    """Where the needle is, if it is where its first byte is first; ABSENT, or BUSY if that is not known."""
    limit = first + _NEAR if stop - first > _NEAR else stop
    near = window.buffer[first:limit]
    if window.owner.changes != window.changes:
        return BUSY
    place: int = near.find(sought[:1])
    if place < 0:
        return ABSENT if limit == stop else BUSY
    # A call costs as much as all the rest.
    return first + place if len(sought) == 1 or near.startswith(sought, place) else BUSY


def _last_near(window: _Window, first: int, stop: int, sought: bytes) -> int:
    """The same of the last one, by its last byte."""
    limit = stop - _NEAR if stop - first > _NEAR else first
    near = window.buffer[limit:stop]
    if window.owner.changes != window.changes:
        return BUSY
    end: int = near.rfind(sought[-1:]) + 1
    if end == 0:
        return ABSENT if limit == first else BUSY
    return limit + end - len(sought) if len(sought) == 1 or near.endswith(sought, 0, end) else BUSY


# Where every access finds that it has to ask: of memory that cannot be accessed, or only by calls that are counted.
_NOTHING: Final = _Window(_new_span(0))
_NOTHING.changes = -1


class _Twin(_builtin.mmap):
    """Addresses for the pages of a map that cannot be written, which views of it keep.

    PyPy copies slices of a view byte by byte unless it is of memory that was read-only from the start (7.3.11, 8.0.1), and
    only its own map is such memory. Where bare addresses are in use after its death, it cannot be had.
    """

    __slots__ = ()

    def close(self) -> None:
        """Raises BufferError: nobody takes the addresses away."""
        raise BufferError("cannot close exported pointers exist")

    def __exit__(self, *exception: object) -> None:
        self.close()


def _new_twin(length: int) -> _Twin | None:
    """Addresses for so many bytes, if there are."""
    if sys.platform != "win32":
        with suppress(OSError):
            return _Twin(-1, length, flags=_builtin.MAP_PRIVATE, prot=_builtin.PROT_READ)
    return None


class Memory:
    """One mapping of memory: see the Protocol in _native.py."""

    __slots__ = (
        "_asked",
        "_epoch",
        "_lent",
        "_mapping",
        "_owners",
        "_readable",
        "_spare",
        "_tag",
        "_told",
        "_twin",
        "_twins",
        "_window",
        "access",
        "anonymous",
        "copies",
        "offset",
        "tracked",
        "writable",
    )

    def __init__(self, request: Request) -> None:
        protection = request.protection
        self.access = protection.access
        self.offset = request.offset
        self.anonymous = request.anonymous
        self.tracked = request.track
        self.writable = protection.writable
        self.copies = protection.private
        self._readable = protection.readable

        mapping = ffi.new(_MAPPING)
        mapping.file = mapping.section = -1
        mapping.closed = 1
        mapping.offset = request.offset
        mapping.prot = protection.prot
        mapping.flags = protection.flags
        mapping.anonymous = self.anonymous
        mapping.copies = self.copies
        self._tag = None if request.tag is None else ffi.new("wchar_t[]", request.tag)
        if self._tag is not None:
            mapping.tag = self._tag

        self._epoch = _now()
        self._told = 0
        owner = _new_span(0)
        mapping.span = owner
        self._mapping = ffi.gc(mapping, lib.cm_mapping_end, 0)
        # The spans that are the mapping's, or may become it.
        self._owners = [owner]
        # One that a resize did not need.
        self._spare: list[Pointer] = []
        # Those whose addresses somebody may have who keeps this object alive and nothing else.
        self._lent: list[Pointer] = []
        self._window = _NOTHING
        self._asked = False
        # Whose address C may have, and the one whose address it has.
        self._twins: list[_Twin] = []
        self._twin: _Twin | None = None

    def _open(self, request: Request) -> None:
        mapping = self._mapping
        code = ask_twice(lambda: lib.cm_mapping_open(mapping, request.file, request.track, request.length))
        if code != 0:
            raise self._failure(code)
        self._tell(self._weight(mapping.span.length))

    def _failure(self, code: int) -> Exception:
        return failure(code, ffi.string(self._mapping.failed).decode("ascii") if code > 0 else None)

    # ---- what is mapped now ----

    @property
    def closed(self) -> bool:
        return bool(self._mapping.closed)

    @property
    def position(self) -> int:
        return self._mapping.position  # type: ignore[no-any-return]

    @property
    def tag(self) -> str | None:
        if self._tag is None or self._mapping.tag == ffi.NULL:
            return None
        return ffi.string(self._tag)  # type: ignore[no-any-return]

    @property
    def length(self) -> int:
        window = self._window
        return window.size if window.owner.changes == window.changes else self._length()

    def _length(self) -> int:
        # Who has asked before will ask again. A map that is opened and closed needs no window.
        if self._asked:
            self._look()
        self._asked = True
        length = 0
        while not length:
            length = self._owner().length
        return length

    @property
    def accessible_length(self) -> int:
        window = self._window
        return window.size if window.owner.changes == window.changes else self._accessible_length()

    def _accessible_length(self) -> int:
        length = 0
        while not length:
            length = self._accessible_owner().length
        self._look()
        return length

    def _owner(self) -> Pointer:
        """The mapping's span, once nobody is changing it.

        Raises:
            ValueError: the map is closed.
        """
        mapping = self._mapping
        while True:
            # Of a copy, as other threads change the list; never what is not in it, which may be gone.
            for owner in self._owners[:]:
                if owner == mapping.span and owner.length:
                    return owner
            if mapping.closed:
                raise ValueError(CLOSED_MESSAGE)
            lib.cm_pause()

    def _accessible_owner(self) -> Pointer:
        owner = self._owner()
        if not self._readable:
            raise TypeError("mmap can't access memory without PROT_READ or PROT_WRITE.")
        return owner

    def _current(self) -> _Window:
        """The window on what is mapped now, made anew if it does not fit. Where pages can be replaced only."""
        while True:
            window = self._window
            if window.owner.changes == window.changes:
                return window
            owner = self._accessible_owner()
            if not owner.kept:
                self._keep()
            # First, so that an exception between the two leaves a window from which it is done again.
            self._forget(window.owner)
            window = _Window(owner)
            # Another thread may have been in the midst of a change.
            if window.size:
                self._window = window

    def _keep(self) -> None:
        """Has the mapping's span kept; a map that was closed is found to be so by the next look."""
        self._ask(lib.cm_run_keep)

    def _look(self) -> None:
        """Makes the window fit, so that the next access finds it."""
        if BLANKS and self._readable:
            self._current()

    def _forget(self, owner: Pointer) -> None:
        """Lets go of a span that was the mapping's and is no more, which it never will be again."""
        if owner != self._mapping.span and owner in self._owners:
            try:
                self._owners.remove(owner)
            except ValueError:
                # Another thread was quicker.
                return

    def _changed(self) -> ValueError:
        """What to raise for a call that has met no such range of bytes."""
        return ValueError(CLOSED_MESSAGE if self.closed else RESIZED_MESSAGE)

    # ---- calls that are counted ----

    def _ask(self, call: Callable[..., int], *arguments: Any) -> int:
        """What a call of C answers, once whoever is in its way has done. Ctrl-C ends the waiting."""
        mapping = self._mapping
        answer = call(mapping, *arguments)
        while answer == BUSY:
            lib.cm_pause()
            answer = call(mapping, *arguments)
        return answer

    def _run(self, call: Callable[..., int], *arguments: Any) -> int:
        """The same of a call on a range of bytes, which must be there."""
        answer = self._ask(call, *arguments)
        if answer == GONE:
            raise self._changed()
        return answer

    def _load(self, start: int, stop: int, length: int) -> bytes | None:
        """The bytes [start, stop) of a map that has this length; None if it has another by now."""
        if not BLANKS:
            return self._load_counted(start, stop)
        window = self._current()
        if window.size != length:
            return None
        data = _kernel_copy(window, start, stop)
        if data is None:
            if stop - start >= LONG:
                self._populate(start, stop)
            data = _get(window, start, stop - start)
        return data if window.owner.changes == window.changes else None

    def _load_counted(self, start: int, stop: int) -> bytes | None:
        target = _octets("unsigned char[]", stop - start)
        for part, end in _parts(start, stop):
            code = self._ask(lib.cm_run_load, part, end - part, target + (part - start))
            if code == GONE and not self.closed:
                return None
            if code == GONE:
                raise ValueError(CLOSED_MESSAGE)
            check(code)
        return bytes(ffi.buffer(target, stop - start))

    def _populate(self, start: int, stop: int) -> None:
        """Brings in what is read under the interpreter's lock then. What it cannot do, the access does or reports."""
        for part, end in _parts(start, stop):
            lib.cm_run_populate(self._mapping, part, end - part)

    def _store(self, start: int, data: Any) -> None:
        """Writes all of it, which may lie in the same memory."""
        self._look()
        with _view(data) as view, _source(view) as source:
            octets = ffi.cast("unsigned char *", source)
            for part, end in self._in_order(self._owner().range.base + start > octets, view.nbytes):
                check(self._run(lib.cm_run_store, start + part, octets + part, end - part))

    def _in_order(self, backwards: bool, count: int) -> Iterable[tuple[int, int]]:
        """The parts of a copy so that none overwrites what is still to be read."""
        return reversed(list(_parts(0, count))) if backwards else _parts(0, count)

    # ---- a sequence ----

    def octet(self, index: int) -> int:
        window = self._window
        position = index + window.size if index < 0 else index
        if 0 <= position < window.size:
            octet: int = window.pointer[position]
            if window.owner.changes == window.changes:
                return octet
        return self._octet(index)

    def _octet(self, index: int) -> int:
        while True:
            length = self.accessible_length
            position = index + length if index < 0 else index
            if not 0 <= position < length:
                raise IndexError("mmap index out of range")
            data = self._load(position, position + 1, length)
            if data is not None:
                return data[0]

    def put(self, index: int, value: int) -> None:
        window = self._window
        there = window.owner.changes == window.changes and 0 <= index < window.size
        if there and 0 <= value <= 255 and self.writable:
            window.pointer[index] = value
            if window.owner.changes == window.changes:
                return
        self._put(index, value)

    def _put(self, index: int, value: int) -> None:
        if not self.writable:
            raise TypeError(_READ_ONLY)
        if not -sys.maxsize - 1 <= index <= sys.maxsize:
            raise IndexError("mmap index out of range")
        if not 0 <= value <= 255:
            raise ValueError("mmap item value must be in range(0, 256)")
        self._look()
        while True:
            length = self.accessible_length
            position = index + length if index < 0 else index
            if not 0 <= position < length:
                raise IndexError("mmap index out of range")
            code = self._ask(lib.cm_run_store, position, _SINGLE_BYTES[value], 1)
            if code != GONE:
                check(code)
                return

    def slice(self, key: Any) -> bytes:
        if key.step is None or key.step == 1:
            window = self._window
            start, stop = _ends(key, window.size)
            if 0 <= start <= stop and stop - start < LONG:
                data = _get(window, start, stop - start)
                if window.owner.changes == window.changes:
                    return data
        return self._slice(key)

    def _slice(self, key: Any) -> bytes:
        while True:
            length = self.accessible_length
            start, stop, step = key.indices(length)
            if step == 1:
                data = self._load(start, max(start, stop), length)
            else:
                data = self._gather(start, step, len(range(start, stop, step)), length)
            if data is not None:
                return data

    def _gather(self, start: int, step: int, count: int, length: int) -> bytes | None:
        if count == 0:
            return b""
        last = start + (count - 1) * step
        low, high = (start, last) if step > 0 else (last, start)
        if high - low < LONG:
            data = self._load(low, high + 1, length)
            return None if data is None else data[::step]
        target = _octets("unsigned char[]", count)
        code = self._ask(lib.cm_run_gather, start, step, count, target)
        if code == GONE:
            return None
        check(code)
        return bytes(ffi.buffer(target, count))

    def assign(self, key: Any, data: Any) -> None:
        if key.step is None and self.writable:
            octets = data if data.__class__ is bytes else _short(data)
            if octets is not None:
                window = self._window
                start, stop = _ends(key, window.size)
                there = 0 <= start <= stop and window.owner.changes == window.changes
                if there and stop - start == len(octets) < LONG:
                    _set(window, start, stop, octets)
                    if window.owner.changes == window.changes:
                        return
        self._assign(key, data)

    def _assign(self, key: Any, data: Any) -> None:
        if not self.writable:
            raise TypeError(_READ_ONLY)
        with _view(data) as view:
            start, stop, step = key.indices(self.accessible_length)
            count = len(range(start, stop, step))
            if view.nbytes != count:
                raise IndexError("mmap slice assignment is wrong size")
            if step == 1:
                self._store(start, view)
            elif count:
                with _source(view) as source:
                    octets = ffi.cast("unsigned char *", source)
                    check(self._run(lib.cm_run_scatter, start, step, count, octets))

    # ---- a file ----

    def read(self, count: int) -> bytes:
        mapping, window = self._mapping, self._window
        start = mapping.position
        room = window.size - start
        taken = count if 0 <= count < room else room
        if 0 < taken < LONG:
            data = _get(window, start, taken)
            if window.owner.changes == window.changes and _move_on(mapping, start, start + taken):
                return data
        return self._read(count)

    def _read(self, count: int) -> bytes:
        mapping = self._mapping
        while True:
            length = self.accessible_length
            start = mapping.position
            stop = start + count if 0 <= count < length - start else length
            if stop <= start:
                return b""
            if _move_on(mapping, start, stop):
                return self._taken(start, stop)

    def _taken(self, start: int, stop: int) -> bytes:
        """The bytes that the position has moved over; if the map has shrunk, what there is of them."""
        try:
            while True:
                length = self.accessible_length
                data = self._load(start, max(start, min(stop, length)), length)
                if data is not None:
                    return data
        except BaseException:
            _move_on(self._mapping, stop, start)
            raise

    def read_byte(self) -> int:
        mapping, window = self._mapping, self._window
        position = mapping.position
        if position < window.size:
            octet: int = window.pointer[position]
            if window.owner.changes == window.changes and _move_on(mapping, position, position + 1):
                return octet
        return self._read_byte()

    def _read_byte(self) -> int:
        data = self._read(1)
        if not data:
            raise ValueError("read byte out of range")
        return data[0]

    def readline(self) -> bytes:
        mapping, window = self._mapping, self._window
        # PyPy looks everything up anew after a call of C.
        owner, changes, length = window.owner, window.changes, window.size
        start = mapping.position
        if start < length:
            limit = start + LONG if length - start > LONG else length
            stop = lib.cm_line_end(window.pointer, start, limit)
            if stop >= 0 and (stop < limit or limit == length):
                line: bytes = window.buffer[start:stop]
                if owner.changes == changes and _move_on(mapping, start, stop):
                    return line
        return self._readline()

    def _readline(self) -> bytes:
        mapping = self._mapping
        while True:
            length = self.accessible_length
            start = mapping.position
            if start >= length:
                return b""
            stop = self._line_end(start, length)
            if stop is not None and _move_on(mapping, start, stop):
                return self._taken(start, stop)

    def _line_end(self, start: int, end: int) -> int | None:
        """The position after the next newline in [start, end), or `end`; None if the map has shrunk meanwhile."""
        for part, limit in _parts(start, end):
            stop = self._ask(lib.cm_run_line_end, part, limit)
            # The end of a part may be that of a line.
            if stop == limit < end:
                last = self._ask(lib.cm_run_find, limit - 1, limit, b"\n", 1, False)
                if last == ABSENT:
                    continue
                stop = last + 1 if last >= 0 else last
            return None if stop == GONE else _checked(stop)
        return end

    def write(self, data: Any) -> int:
        octets = data if data.__class__ is bytes else _short(data)
        if octets is not None:
            count = len(octets)
            mapping, window = self._mapping, self._window
            start = mapping.position
            stop = start + count
            there = window.owner.changes == window.changes and stop <= window.size
            if there and count < LONG and self.writable and _move_on(mapping, start, stop):
                _set(window, start, stop, octets)
                if window.owner.changes != window.changes:
                    self._write_at(start, octets, count)
                return count
        return self._write(data)

    def _write(self, data: Any) -> int:
        with _view(data) as view:
            count = view.nbytes
            self._write_at(self._reserve(count, "data out of range"), view, count)
        return count

    def _reserve(self, count: int, message: str) -> int:
        """Moves the position over what is to be written, which others leave alone then. Where that starts."""
        mapping = self._mapping
        while True:
            length = self.length
            if not self.writable:
                raise TypeError(_READ_ONLY)
            start: int = mapping.position
            if count > length - start:
                raise ValueError(message)
            if _move_on(mapping, start, start + count):
                return start

    def _write_at(self, start: int, data: Any, count: int) -> None:
        """Writes what the position has moved over, or puts it back."""
        try:
            self._store(start, data)
        except BaseException:
            _move_on(self._mapping, start + count, start)
            raise

    def write_byte(self, octet: int) -> None:
        mapping, window = self._mapping, self._window
        position = mapping.position
        there = window.owner.changes == window.changes and position < window.size
        if there and self.writable and _move_on(mapping, position, position + 1):
            window.pointer[position] = octet
            if window.owner.changes != window.changes:
                self._write_at(position, _SINGLE_BYTES[octet], 1)
        else:
            self._write_at(self._reserve(1, "write byte out of range"), _SINGLE_BYTES[octet], 1)

    def seek(self, distance: int, origin: int) -> int:
        mapping = self._mapping
        while True:
            length = self.length
            here: int = mapping.position
            if origin == 0:
                position = distance
            elif origin == 1:
                position = here + distance
            elif origin == 2:
                position = length + distance
            else:
                raise ValueError("unknown seek type")
            if not 0 <= position <= length:
                raise ValueError("seek out of range")
            if origin != 1:
                mapping.position = position
                return position
            if _move_on(mapping, here, position):
                return position

    def tell(self) -> int:
        self.length  # noqa: B018, raises for a closed map
        return self._mapping.position  # type: ignore[no-any-return]

    def size(self) -> int:
        length = self.length
        if not self.tracked:
            raise ValueError("can't get size with trackfd=False")
        if self.anonymous:
            return length
        return _checked(self._run(lib.cm_run_size), "cm_status")

    # ---- search ----

    def find(self, needle: Any, start: int | None, end: int | None, backwards: bool) -> int:
        sought: bytes = needle if needle.__class__ is bytes else _copy(needle)
        first: int = self._mapping.position if start is None else start
        window = self._window
        stop = window.size if end is None or end > window.size else end
        if 0 <= first <= stop and sought:
            near = _last_near if backwards else _first_near
            found = near(window, first, stop, sought)
            if found >= ABSENT:
                return found
        return self._find_further(sought, first, sys.maxsize if end is None else end, backwards)

    def _find_further(self, sought: bytes, start: int, end: int, backwards: bool) -> int:
        owner, count = self._window.owner, len(sought)
        if 0 < count <= _LONGEST_NUMBER:
            found = lib.cm_find_near(owner, start, end, _number(sought, count), count, backwards, LONG)
        else:
            found = lib.cm_find_bytes_near(owner, start, end, sought, count, backwards, LONG)
        if found >= ABSENT:
            return found
        return self._find(sought, start, end, backwards)

    def _find(self, sought: bytes, start: int, end: int, backwards: bool) -> int:
        length = self.accessible_length
        first = start if start > length else _clipped(start, length)
        stop, count = _clipped(end, length), len(sought)
        if first + count > stop:
            return ABSENT
        for part, limit in _search_parts(first, stop, count, backwards):
            found = _checked(self._run(lib.cm_run_find, part, limit, sought, count, backwards))
            if found != ABSENT:
                return found
        return ABSENT

    # ---- memory ----

    def move(self, target: int, source: int, count: int) -> None:
        window = self._window
        owner, changes, room = window.owner, window.changes, window.size - count
        if 0 <= target <= room and 0 <= source <= room and 0 <= count < LONG and self.writable:
            data = _get(window, source, count)
            if owner.changes == changes:
                _set(window, target, target + count, data)
                if owner.changes != changes:
                    self._store(target, data)
                return
        self._move(target, source, count)

    def _move(self, target: int, source: int, count: int) -> None:
        self._look()
        length = self.length
        if not self.writable:
            raise TypeError(_READ_ONLY)
        room = length - count
        if count < 0 or not 0 <= target <= room or not 0 <= source <= room:
            raise ValueError("source, destination, or count out of range")
        for part, end in self._in_order(target > source, count):
            check(self._run(lib.cm_run_move, target + part, source + part, end - part))

    def sync(self, start: int, count: int, flags: int, with_file: bool) -> None:
        check(self._run(lib.cm_run_sync, start, count, flags), "cm_sync")
        if with_file:
            check(self._run(lib.cm_run_sync_file), "cm_sync_file")

    def advise(self, start: int, count: int, advice: int) -> None:
        check(self._run(lib.cm_run_advise, start, count, advice), "cm_advise")

    def set_name(self, name: bytes) -> None:
        code = self._run(lib.cm_run_set_name, name)
        # A kernel that knows no names: so does the standard library's method nothing outside development mode.
        if code != lib.CM_UNSUPPORTED:
            check(code, "cm_set_name")

    # ---- lifetime ----

    def close(self) -> None:
        code = self._ask(lib.cm_mapping_close)
        if code != 0:
            raise self._failure(code)
        told, self._told = self._told, 0
        if told and not self._epoch.over:
            _weigh(-told)

    def resize(self, length: int, objection: Exception | None) -> None:
        before = self._owner().length
        if objection is not None:
            raise objection
        try:
            fresh = self._spare.pop()
        except IndexError:
            fresh = _new_span(0)
        self._owners.append(fresh)
        try:
            code = ask_twice(lambda: self._ask(lib.cm_mapping_resize, length, fresh))
        finally:
            if fresh.range.base == ffi.NULL:
                self._owners.remove(fresh)
                self._spare.append(fresh)
        if code == GONE:
            raise ValueError(CLOSED_MESSAGE)
        if code != 0:
            raise self._failure(code)
        self._tell(self._weight(length) - self._weight(before))

    def _weight(self, length: int) -> int:
        return length if self.anonymous else min(length, _GREATEST_WEIGHT)

    def _tell(self, weight: int) -> None:
        """Tells the collector that so many bytes more have come, or gone if negative."""
        if self._epoch.over:
            self._epoch, self._told = _now(), 0
        # It has forgotten what it was told before.
        weight = max(weight, -self._told)
        if weight:
            self._told += weight
            _weigh(weight)

    def export(self, flags: int) -> memoryview:
        """A view of the memory, whose addresses last as long as it does."""
        window = self._window
        there = window.exported is not None and window.owner.changes == window.changes
        if there and (window.lent or flags & _FULL == _FULL):
            return self._shown(window.exported)
        return self._export(flags)

    def _export(self, flags: int) -> memoryview:
        while True:
            owner = self._accessible_owner()
            length = owner.length
            self._keep()
            lent = _BARE_ADDRESSES or flags & _FULL != _FULL
            if _BARE_ADDRESSES:
                owner.bare = 1
            elif lent and owner not in self._lent:
                self._lent.append(owner)
            # The destructor is there for what it keeps alive. It does nothing, and no code of Python.
            exported = self._map_twin(length) or ffi.buffer(ffi.gc(owner.range.base, owner.__ne__, 0), length)
            if length and owner.length == length:
                self._look()
                window = self._window
                if window.owner is owner and window.size == length:
                    window.exported, window.lent = exported, lent
                return self._shown(exported)

    def _map_twin(self, length: int) -> _Twin | None:
        """The memory once more as one that PyPy knows to be read-only, if that can be had."""
        if _BARE_ADDRESSES or self.writable or self._twin is not None or not length:
            return self._twin
        twin = _new_twin(length)
        if twin is None:
            return None
        # First, as C has the address then, and others may look at `_twin` meanwhile.
        self._twins.append(twin)
        if self._ask(lib.cm_run_twin, ffi.cast("unsigned char *", ffi.from_buffer(twin)), length) == 0:
            self._twin = twin
        else:
            self._twins.remove(twin)
        return self._twin

    def _shown(self, exported: Any) -> memoryview:
        view = memoryview(exported)
        return view if self.writable else view.toreadonly()


# ---- how a map holds it ----


def _with_a_bytearray(compare: Callable[[Any, Any], bool]) -> Any:
    """A comparison as a bytearray makes it with any buffer; PyPy 8.0.1 leaves it to the buffer's class."""

    def comparison(self: Any, other: object) -> Any:
        if not isinstance(other, bytearray):
            return NotImplemented
        try:
            return compare(memory_of(self).slice(_ALL), other)
        except (TypeError, ValueError):
            # Closed, or not to be read: no buffer.
            return NotImplemented

    return comparison


class Base(_Bufferable):
    """What the class mmap derives from: it holds the memory, exports it, and iterates over it."""

    __slots__ = ("_held", "__weakref__")

    def __buffer__(self, flags: int, /) -> memoryview:
        """A view of the memory, read-only for a map that cannot be written. See `memoryview`."""
        return memory_of(self).export(flags)  # type: ignore[no-any-return]

    def __release_buffer__(self, buffer: memoryview, /) -> None:
        """Does nothing, as the view itself keeps the memory; numpy holds no export of a class without it."""

    def __len__(self) -> int:
        return memory_of(self).length  # type: ignore[no-any-return]

    __eq__, __ne__ = _with_a_bytearray(operator.eq), _with_a_bytearray(operator.ne)
    __lt__, __le__ = _with_a_bytearray(operator.lt), _with_a_bytearray(operator.le)
    __gt__, __ge__ = _with_a_bytearray(operator.gt), _with_a_bytearray(operator.ge)
    __hash__ = object.__hash__

    # The items of a subclass are its m[i], as with CPython's map.

    def __iter__(self) -> Iterator[Any]:
        return _Iterator(self)

    def __reversed__(self) -> Iterator[Any]:
        return _Backwards(self)


# A slot that no name leads to, so that a subclass may have any.
_held: Any = vars(Base)["_held"]
delattr(Base, "_held")
_hold, _release = _held.__set__, _held.__get__

_mmap: Any = None


def finished(cls: _Class) -> _Class:
    """The class mmap itself, which is known from here on."""
    global _mmap
    _mmap = cls
    cls.__module__ = "cffimmap"
    return cls


def memory_of(m: Any) -> Any:
    """What a map holds."""
    return _release(m)


def new(cls: Any, memory: Any) -> Any:
    """An object of a class that derives from mmap."""
    m = _Bufferable.__new__(cls)
    _hold(m, memory)
    return m


def open_memory(request: Request) -> Any:
    """Makes the mapping that was asked for.

    Args:
        request: what is to be mapped, its length and offset in bytes.

    Raises:
        OSError: as the system answers.
        ValueError: the file has become shorter.
    """
    memory = Memory(request)
    memory._open(request)
    if request.track and not memory.anonymous and crowded(memory._mapping.file):
        collect()
    return memory


def _item(mapped: Any, position: int) -> Any:
    """What iteration meets at a position: a byte as bytes, or what a subclass has there."""
    if type(mapped) is _mmap:
        return _SINGLE_BYTES[memory_of(mapped).octet(position)]
    return mapped[position]


class _Iterator:
    """Iterates as CPython's iterator over a sequence does; ten times as fast as a generator."""

    __slots__ = ("_map", "_position")

    _map: Any

    def __init__(self, mapped: Any) -> None:
        # None once it is exhausted.
        self._map = mapped
        self._position = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        mapped, position = self._map, self._position
        if mapped is None:
            raise StopIteration
        try:
            item = _item(mapped, position)
        except (IndexError, StopIteration):
            self._map = None
            raise StopIteration from None
        self._position = position + 1
        return item

    def __length_hint__(self) -> int:
        return 0 if self._map is None else max(len(self._map) - self._position, 0)

    def __reduce__(self) -> tuple[Any, ...]:
        return (iter, ((),)) if self._map is None else (iter, (self._map,), self._position)

    def __setstate__(self, position: int) -> None:
        self._position = max(position, 0)


class _Backwards(_Iterator):
    """The same as CPython's `reversed`."""

    __slots__ = ()

    def __init__(self, mapped: Any) -> None:
        self._map = mapped
        self._position = len(mapped) - 1

    def __next__(self) -> Any:
        mapped, position = self._map, self._position
        if mapped is None:
            raise StopIteration
        try:
            if position < 0:
                raise IndexError
            item = _item(mapped, position)
        except (IndexError, StopIteration):
            self._map = None
            raise StopIteration from None
        self._position = position - 1
        return item

    def __length_hint__(self) -> int:
        left = 0 if self._map is None else self._position + 1
        return left if left and left <= len(self._map) else 0

    def __reduce__(self) -> tuple[Any, ...]:
        return (reversed, ((),)) if self._map is None else (reversed, (self._map,), self._position)

    def __setstate__(self, position: int) -> None:
        self._position = max(-1, min(position, len(self._map) - 1))
