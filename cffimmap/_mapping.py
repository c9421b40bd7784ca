"""Class Mapping: owns one mapping of memory, its lifetime and its exported buffers.

Every pointer that can dangle is born and dies here.

CPython counts references, so that 'does anybody else hold the memory?' has an exact answer: take away the object's
own references to the pointer and see whether it died. Views, arrays, running C calls and frames in the midst of an
access all keep it alive. For that to be exact, no frame that can raise may keep the pointer, or anything that
keeps it, in a local variable: a traceback would hold it, and `close()` would find an export that nobody made.

PyPy cannot tell, so there nothing is ever unmapped under anyone: a closed mapping's pages are replaced in one
atomic call, and the address range goes back when the last pointer to it has died. An access may therefore meet
pages that were taken away after its check; it looks again, and repeats itself on what the mapping has now. Windows
has no such call: there every access is counted while it lasts, and memory that was ever exported stays mapped.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from threading import RLock
from typing import Any, Final

from cffimmap._native import (
    FILE_IN_USE,
    INVALID_ARGUMENT,
    PYPY,
    Base,
    Pointer,
    ask_twice,
    check,
    failure,
    ffi,
    found,
    lib,
    supported,
)
from cffimmap._request import Protection, Request, file_status

if not PYPY:
    from cffimmap._native import Window, expose

if sys.platform == "win32":
    from cffimmap._windows import (
        ALREADY_EXISTS,
        BLANKS,
        FILE_NOT_FOUND,
        SHRINKS_MAPPED_FILES,
        check_length,
        crowded,
    )
else:
    from cffimmap._unix import BLANKS, SHRINKS_MAPPED_FILES, check_length, crowded

CLOSED_MESSAGE = "mmap closed or invalid"
RESIZED_MESSAGE = "mmap resized during the operation"

# PyPy before 8, whichever Python it is, gives `re` and `struct` iterators the bare address of a buffer and keeps
# nothing alive for it: an exported range of addresses is never given back there.
BARE_ADDRESSES: Final = PYPY and sys.pypy_version_info < (8,)  # type: ignore[attr-defined, unused-ignore]

# Above this many bytes a copy under the interpreter's lock first has its pages brought in without it.
LONG_COPY = 1 << 20

# A copy that long goes in parts, so that signals and other threads are served in between.
LONG_CALL = 1 << 26

# Anonymous memory weighs its length with PyPy's collector. The pages of a file can be had again at any time: beyond
# this many bytes their weight would only make it run at every other map.
GREATEST_PRESSURE = 1 << 20


class _Absent:
    """Stands in a mapping for memory that cannot be accessed: any access raises."""

    __slots__ = ("_error", "_message")

    def __init__(self, error: type[Exception], message: str) -> None:
        self._error = error
        self._message = message

    def _refuse(self) -> Exception:
        return self._error(self._message)

    def __getitem__(self, key: object) -> Any:
        raise self._refuse()

    def __setitem__(self, key: object, value: object) -> None:
        raise self._refuse()

    @property
    def memory(self) -> Any:
        raise self._refuse()


CLOSED: Final = _Absent(ValueError, CLOSED_MESSAGE)
UNREADABLE: Final = _Absent(TypeError, "mmap can't access memory without PROT_READ or PROT_WRITE.")

# Shorter than nothing, so that not even a call on no bytes goes there.
NO_SPAN: Final = (None, -1)


class _Withdrawn:
    """Stands in a mapping while one thread finds out whether the memory is exported: others wait for the answer."""

    __slots__ = ("_mapping",)

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping

    def _settled(self) -> Any:
        with self._mapping._lock:
            now = self._mapping._view
        # Still withdrawn: a signal handler or a finaliser of the withdrawing thread itself asks.
        return CLOSED if now is self else now

    def __getitem__(self, key: Any) -> Any:
        return self._settled()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._settled()[key] = value

    @property
    def memory(self) -> Any:
        return self._settled().memory


if not PYPY:

    class _ExportedWindow(Window):  # type: ignore[misc]
        """A mapping's memory as CPython accesses it (csrc/cpython.c), and as it is exported."""

        __slots__ = ("memory",)

        memory: memoryview


class _Window:
    """A mapping's memory as PyPy accesses it: by index as integers, by slice as bytes.

    The pointer and the length never change, so that the check always belongs to the memory it is made for. When the
    mapping takes the memory away, it first sets the length to 0; an access that still went there sees that after
    it, and repeats itself on what the mapping has by then.
    """

    __slots__ = ("_mapping", "buffer", "length", "pointer")

    def __init__(self, mapping: Mapping, pointer: Pointer, length: int) -> None:
        self._mapping = mapping
        self.pointer = pointer
        self.buffer = ffi.buffer(pointer, length)
        self.length = length

    def __getitem__(self, key: Any) -> Any:
        if key.__class__ is int:
            if 0 <= key < self.length:
                octet = self.pointer[key]
                if self.length:
                    return octet
            elif self.length:
                raise IndexError
            return self._mapping._view[key]
        data = self.buffer[key]
        if self.length:
            return data
        return self._mapping._view[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        if key.__class__ is int:
            if 0 <= key < self.length:
                self.pointer[key] = value
                if self.length:
                    return
            elif self.length:
                raise IndexError
            self._mapping._view[key] = value
            return
        self.buffer[key] = value
        if not self.length:
            self._mapping._view[key] = value


class _PinnedWindow(_Window):
    """The same where pages cannot be replaced under an access: nobody takes them away while it lasts.

    The accesses are made in C, where a lost page can be survived.
    """

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        return self._mapping._pinned(self._get, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._mapping._pinned(self._set, key, value)

    # Pinned only now, the memory may be gone already. The length is read once: a thread that comes after the pin sets
    # it to 0 for a moment, until it has found the pin.

    def _get(self, key: Any) -> Any:
        length = self.length
        if not length:
            return self._mapping._view[key]
        if key.__class__ is int:
            if 0 <= key < length:
                return self._load(key, 1)[0]
            raise IndexError
        start, stop, _ = key.indices(length)
        return self._load(start, max(stop - start, 0))

    def _set(self, key: Any, value: Any) -> None:
        length = self.length
        if not length:
            self._mapping._view[key] = value
        elif key.__class__ is int:
            if not 0 <= key < length:
                raise IndexError
            check(lib.cm_store(self.pointer, key, bytes((value,)), 1))
        else:
            start, stop, _ = key.indices(length)
            if stop - start != len(value):
                raise ValueError(RESIZED_MESSAGE)
            check(lib.cm_store(self.pointer, start, value, len(value)))

    def _load(self, start: int, count: int) -> bytes:
        target = ffi.new("unsigned char[]", count)
        check(lib.cm_load(self.pointer, start, count, target))
        return bytes(ffi.buffer(target, count))


def _unpin(pins: list[object], pin: object) -> None:
    if pin in pins:
        pins.remove(pin)


class _Release:
    """What becomes of one address range when the last pointer to it has died."""

    __slots__ = ("_range", "exported", "keep")

    # Kept here, as the module's own names may be gone when the interpreter ends.
    _blank = staticmethod(lib.cm_blank)
    _unmap = staticmethod(lib.cm_unmap)

    def __init__(self, range_: Pointer) -> None:
        self._range = range_
        self.keep = False
        self.exported = False

    def __call__(self, pointer: Pointer) -> None:
        if self.keep:
            return
        if PYPY and self.exported and BARE_ADDRESSES:
            self._blank(pointer, self._range.length)
        else:
            self._unmap(self._range)


class _Handle:
    """A file or a section of our own, closed with the mapping or when the object dies."""

    __slots__ = ("owner",)

    def __init__(self) -> None:
        self.owner = ffi.gc(ffi.new("cm_file *", -1), self._end, 0)

    # Kept as a default, as the module's own names may be gone when the interpreter ends.
    @staticmethod
    def _end(owner: Pointer, close: Callable[[int], int] = lib.cm_close) -> None:
        if owner[0] != -1:
            close(owner[0])

    @property
    def file(self) -> int:
        """The file as the platform names it; -1 once closed, which no system call mistakes for one."""
        owner = self.owner
        return -1 if owner is None else owner[0]

    def open(self, call: Callable[[Pointer], int], function: str) -> None:
        """Takes what a function of the contract opens."""
        owner = self.owner
        check(ask_twice(lambda: call(owner)), function)

    def close(self) -> None:
        """Closes it; twice is fine."""
        owner, self.owner = self.owner, None
        if owner is not None:
            ffi.release(owner)


class _Hold:
    """What a mapping had before its memory was withdrawn, to put it back from or to end it.

    Signal handlers may raise between any two steps, right after a system call as well. What has happened is
    therefore read off the memory's own record (`range`, which the C functions keep) and never off how far the Python
    code came.
    """

    __slots__ = ("alive", "ended", "length", "moved", "range", "release", "span", "view")

    def __init__(self, mapping: Mapping) -> None:
        pointer, self.length = mapping._span
        self.release = mapping._release
        self.view = mapping._view
        self.range = ffi.new("cm_range *", (pointer, self.length))
        self.ended = self.moved = False
        if PYPY:
            self.span = mapping._span
        else:
            # Nothing here may keep the pointer, whose life is the question.
            self.view = None
            self.alive = weakref.ref(pointer)


class _Growth:
    """What a resize does to the file, and whether the new mapping stands. Sizes in bytes."""

    __slots__ = ("file", "fresh", "old_size", "ready", "size")

    def __init__(self, file: int) -> None:
        self.file = file
        self.fresh = ffi.new("cm_range *")
        self.ready = False
        self.size = self.old_size = 0 if file == -1 else file_status(file)[0]

    def aim(self, size: int) -> None:
        """Says how large the file shall be, and makes it larger if need be."""
        self.size = size
        if size > self.old_size:
            check(lib.cm_truncate(self.file, size), "cm_truncate")

    @property
    def shrinks(self) -> bool:
        """Whether the file becomes shorter."""
        return self.size < self.old_size

    def finish(self) -> None:
        """Makes the file smaller if need be; there is no way back from here."""
        self.ready = True
        self.shrink()

    def shrink(self) -> None:
        """Makes the file smaller if need be."""
        if self.shrinks:
            check(lib.cm_truncate(self.file, self.size), "cm_truncate")

    @property
    def done(self) -> bool:
        """Whether the new mapping is the one that fits the file."""
        if not self.ready or not self.fresh.base:
            return False
        return not self.shrinks or file_status(self.file)[0] <= self.size

    def undo(self) -> bool:
        """Ends the new mapping, and puts the file's size back. False if the system refuses."""
        if self.fresh.base:
            lib.cm_unmap(self.fresh)
        return self.size <= self.old_size or lib.cm_truncate(self.file, self.old_size) == 0


class Mapping(Base):  # type: ignore[misc]
    """One mapping of memory and its lifetime: no positions, no indices, no messages of the interface's own."""

    __slots__ = (
        "__weakref__",
        "_anonymous",
        "_file",
        "_length",
        "_lock",
        "_offset",
        "_pins",
        "_protection",
        "_release",
        "_retired",
        "_section",
        "_span",
        "_tag",
        "_tracked",
        "_view",
    )

    # What accesses the memory: `_view` by index and by slices without a step, `_run` by C functions. Each checks its
    # own bounds; a C function is told how far it will go.
    _view: Any
    _span: tuple[Pointer, int]

    # Bytes; 0 once closed.
    _length: int

    _file: _Handle | None

    # Of a map with a tag, on Windows: the tag is free once nobody has the section open.
    _section: _Handle | None

    _protection: Protection

    def _open(self, request: Request) -> None:
        """Makes the mapping that was asked for.

        Args:
            request: what is to be mapped, its length and offset in bytes.

        Raises:
            OSError: as the system answers.
        """
        self._anonymous = request.file == -1
        self._tracked = request.track
        self._protection = request.protection
        self._offset = request.offset
        self._tag = request.tag
        self._lock = RLock()
        self._shut()
        self._pins: list[object] = []
        self._retired: list[tuple[Pointer, int]] = []
        self._file = self._section = None
        if request.track and not self._anonymous:
            self._file = _Handle()
            self._file.open(lambda copy: lib.cm_duplicate(request.file, copy), "cm_duplicate")
            if PYPY and crowded(self._file.file):
                gc.collect()
        fresh = ffi.new("cm_range *")
        try:
            self._map(request.file, request.length, fresh, request.whole)
            self._install(fresh)
            check_length(request)
        except (OSError, ValueError):
            self._close()
            raise

    if sys.platform == "win32":

        def _map(self, file: int, length: int, fresh: Pointer, whole: bool = False) -> None:
            """Maps a length in bytes as this mapping is mapped; the range owns nothing yet.

            A section of the whole file has no length of its own: should the file become shorter meanwhile, none is
            added to it.
            """
            size = 0 if whole else self._offset + length
            before = size if file == -1 or whole else file_status(file)[0]
            section = _Handle()
            try:
                self._make_section(file, size, section)
                self._map_source(section.file, length, fresh)
            except BaseException:
                # After Ctrl-C too, whose traceback would keep the section, and the section the file's new size.
                section.close()
                # Only what the section has added: another may write to the file too.
                if size > before and file_status(file)[0] == size:
                    lib.cm_truncate(file, before)
                raise
            if self._tag is None:
                section.close()
            else:
                self._section = section

        def _make_section(self, file: int, size: int, section: _Handle) -> None:
            existed = ffi.new("int *")
            tag = ffi.NULL if self._tag is None else self._tag
            prot = self._protection.prot
            section.open(
                lambda new: lib.cm_make_section(file, prot, size, tag, new, existed), "cm_make_section"
            )
            if existed[0] and self._section is not None:
                # Whoever took the tag after this map had left it has other memory.
                self._tag = None
                raise failure(ALREADY_EXISTS, "cm_make_section")

        def _leave_tag(self, file: int, length: int) -> None:
            """Frees the tag for a section of another length in bytes, unless somebody else has this one open."""
            tag, section = self._tag, self._section
            if tag is None or section is None:
                return
            if file == -1:
                # There is no way back: so it is tried first whether a mapping of that length can be had.
                self._rehearse(length)
            section.close()
            others = _Handle()
            code = lib.cm_open_section(tag, others.owner)
            if code == 0:
                self._section = others
                raise failure(FILE_IN_USE, "cm_make_section")
            if code != FILE_NOT_FOUND:
                raise failure(code, "cm_open_section")

        def _rehearse(self, length: int) -> None:
            fresh = ffi.new("cm_range *")
            tag, self._tag = self._tag, None
            try:
                self._map(-1, length, fresh)
            finally:
                self._tag = tag
                if fresh.base:
                    lib.cm_unmap(fresh)

        def _retake_tag(self, file: int) -> None:
            """Takes again the tag that a failed resize had left, where a file makes a new section like the old one."""
            if self._tag is None or self._section is None or self._section.file != -1:
                return
            section = _Handle()
            try:
                if file == -1:
                    self._tag = None
                else:
                    self._make_section(file, self._offset + self._length, section)
                    self._section = section
            except OSError:
                self._tag = None

        def _sync_file(self, pointer: Pointer) -> int:
            """Brings a file to the disk; the pointer keeps others from closing it meanwhile."""
            try:
                return 0 if self._file is None else lib.cm_sync_file(self._file.file)
            finally:
                # Ctrl-C may raise here, and its traceback must not hold the memory.
                del pointer

    else:

        def _map(self, file: int, length: int, fresh: Pointer, whole: bool = False) -> None:  # noqa: ARG002
            """Maps a length in bytes as this mapping is mapped; the range owns nothing yet."""
            self._map_source(file, length, fresh)

        def _leave_tag(self, file: int, length: int) -> None:
            """Nothing: memory has no tags here."""

        def _retake_tag(self, file: int) -> None:
            """Nothing likewise."""

    def _map_source(self, source: int, length: int, fresh: Pointer) -> None:
        _, prot, flags, *_ = self._protection
        check(ask_twice(lambda: lib.cm_map(source, length, prot, flags, self._offset, fresh)), "cm_map")

    def _install(self, fresh: Pointer) -> None:
        """Takes over a mapped range that nobody owns."""
        length = fresh.length
        pressure = length if self._anonymous else min(length, GREATEST_PRESSURE)
        self._release = _Release(fresh)
        self._show(ffi.gc(fresh.base, self._release, pressure), length)

    # ---- what differs between the interpreters: how memory is accessed, and how it is taken away ----

    if PYPY:

        def _show(self, pointer: Pointer, length: int) -> None:
            """Makes memory accessible."""
            self._span = (pointer, length)
            window = _Window if BLANKS else _PinnedWindow
            readable = self._protection.readable
            self._view = window(self, pointer, length) if readable else UNREADABLE
            self._length = length

        def _alone(self, hold: _Hold) -> bool:
            """Whether no C call is at work on withdrawn memory. Views are no hindrance: they keep their addresses.

            An access that is on its way there repeats itself, from here on, on what the mapping has afterwards.
            """
            if hold.view is not UNREADABLE:
                hold.view.length = 0
            return not self._pins

        def _free(self, hold: _Hold) -> None:
            """Lets go of withdrawn memory: the file now, the addresses when nobody holds them."""
            hold.ended = True
            code = self._let_go(hold)
            if code:
                hold.ended = False
                raise failure(code, "cm_blank")

        def _let_go(self, hold: _Hold) -> int:
            # A match of `re` has the address and keeps the object alive, but nothing of the range (PyPy 8.0.1).
            if hold.release.exported:
                self._retired.append(hold.span)
            if BLANKS:
                return lib.cm_blank(hold.range.base, hold.length)
            if not hold.release.exported:
                ffi.release(hold.span[0])
            return 0

        def _restore(self, hold: _Hold) -> None:
            """Puts withdrawn memory back, unless it was let go."""
            if hold.ended:
                self._shut()
            else:
                self._show(*hold.span)

        def _end(self, hold: _Hold) -> None:
            """Ends memory that another range has replaced. What fails costs memory, and no more."""
            self._let_go(hold)

        def _unmap(self, hold: _Hold) -> int:
            """Ends withdrawn memory at once, which can be only where nobody has had its addresses."""
            if hold.release.exported:
                return FILE_IN_USE
            hold.release.keep = True
            return lib.cm_unmap(hold.range)

        def _run(self, function: Callable[..., Any], end: int, *arguments: object) -> Any:
            """Calls a C function that accesses at most the first `end` bytes. Nobody closes the mapping meanwhile."""
            done, result = self._pinned(self._attempt, function, end, arguments)
            return result if done else self._run_again(function, end, *arguments)

        def _attempt(
            self, function: Callable[..., Any], end: int, arguments: tuple[object, ...]
        ) -> tuple[bool, Any]:
            pointer, length = self._span
            return (True, function(pointer, *arguments)) if end <= length else (False, None)

        def _pinned(self, call: Callable[..., Any], *arguments: object) -> Any:
            """Calls what accesses the memory; while it runs, nobody takes the memory away."""
            pins, pin = self._pins, object()
            # Unpinned twice, as Ctrl-C may come in the midst of the first time.
            try:
                try:
                    # Before the call: whoever withdraws the memory hides it first and looks at the pins then.
                    pins.append(pin)
                    return call(*arguments)
                finally:
                    _unpin(pins, pin)
            finally:
                _unpin(pins, pin)

        def _line_end(self, start: int, end: int) -> int:
            """The position after the next newline in [start, end), or `end`.

            Too short a call to be pinned: closed meanwhile, it meets zeros, and the access that follows sees that.
            """
            pointer, length = self._span
            if end <= length and BLANKS:
                return found(lib.cm_line_end(pointer, start, end))
            return found(self._run(lib.cm_line_end, end, start, end))

        def __buffer__(self, flags: int, /) -> memoryview:
            """A view of the memory, read-only for a map that cannot be written. See `memoryview`."""
            with self._lock:
                self._check_accessible()
                window = self._view
                if not isinstance(window, _Window):
                    # A signal handler or a finaliser asks, in the midst of what this thread does to the memory.
                    raise ValueError(CLOSED_MESSAGE)
                self._release.exported = True
                view = memoryview(window.buffer)
            return view if self._protection.writable else view.toreadonly()

    else:

        def _show(self, pointer: Pointer, length: int) -> None:
            """Makes memory accessible."""
            self._span = (pointer, length)
            if self._protection.readable:
                address, writable = int(ffi.cast("uintptr_t", pointer)), self._protection.writable
                memory = memoryview(ffi.buffer(pointer, length))
                window = _ExportedWindow()
                window.memory = memory if writable else memory.toreadonly()
                expose(window, pointer, address, length, writable)
                self._view = window
                expose(self, pointer, address, length, writable)
            else:
                self._view = UNREADABLE
            self._length = length

        def _alone(self, hold: _Hold) -> bool:
            """Whether nobody but the mapping held withdrawn memory: the pointer has died then."""
            return hold.alive() is None

        def _free(self, hold: _Hold) -> None:
            """Lets go of withdrawn memory: the pointer's death has unmapped it."""
            hold.ended = True

        def _restore(self, hold: _Hold) -> None:
            """Puts withdrawn memory back, unless it was let go."""
            holder = hold.alive()
            if holder is not None:
                hold.release.keep = False
                self._show(holder, hold.length)
            elif hold.release.keep:
                self._install(hold.range)
            else:
                self._shut()

        def _end(self, hold: _Hold) -> None:
            """Ends memory that another range has replaced. What fails costs memory, and no more."""
            lib.cm_unmap(hold.range)

        def _unmap(self, hold: _Hold) -> int:
            """Ends withdrawn memory at once."""
            return lib.cm_unmap(hold.range)

        def _run(self, function: Callable[..., Any], end: int, *arguments: object) -> Any:
            """Calls a C function that accesses at most the first `end` bytes. Nobody closes the mapping meanwhile."""
            try:
                pointer, length = self._span
                if end <= length:
                    return function(pointer, *arguments)
            finally:
                # Ctrl-C may raise here, and its traceback must not hold the memory.
                pointer = None
            return self._run_again(function, end, *arguments)

        def _line_end(self, start: int, end: int) -> int:
            """The position after the next newline in [start, end), or `end`."""
            return found(self._run(lib.cm_line_end, end, start, end))

        def __buffer__(self, flags: int, /) -> memoryview:
            """A view of the memory, read-only for a map that cannot be written. See `memoryview`."""
            return self._view.memory[:]  # type: ignore[no-any-return]

    def __release_buffer__(self, buffer: memoryview, /) -> None:
        """Does nothing, as the view itself keeps the memory; numpy holds no export of a class without it."""

    def _run_again(self, function: Callable[..., Any], end: int, *arguments: object) -> Any:
        """Does what met a mapping that another thread had withdrawn for a moment, now that it is settled."""
        with self._lock:
            if self._span[1] < end:
                raise self._changed()
            return self._run(function, end, *arguments)

    def _hide(self) -> None:
        """Withdraws the memory: other threads wait for the end of what is done to it."""
        self._view = _Withdrawn(self)
        self._span = NO_SPAN
        if not PYPY:
            expose(self, None, 0, 0, False)

    def _shut(self) -> None:
        """Makes the mapping a closed one, whose memory is gone."""
        self._view = CLOSED
        self._span = NO_SPAN
        self._length = 0

    def _let_file_go(self) -> None:
        for held in (self._section, self._file):
            if held is not None:
                held.close()

    def _changed(self) -> Exception:
        """What to raise when the mapping was closed or resized between a check and an access."""
        if self._span is NO_SPAN:
            return ValueError(CLOSED_MESSAGE)
        return ValueError(RESIZED_MESSAGE)

    def _check_open(self) -> None:
        if self._view is CLOSED:
            raise ValueError(CLOSED_MESSAGE)

    def _check_accessible(self) -> None:
        """Raises for a closed map, and for one whose protection allows no access."""
        view = self._view
        if view is CLOSED or view is UNREADABLE:
            raise view._refuse()

    def _populate(self, start: int, stop: int) -> None:
        """Brings in the pages of a long range of bytes without the interpreter's lock."""
        for part in range(start, stop, LONG_CALL):
            # Advice only: what it cannot do, the access will do or report.
            self._run(lib.cm_populate, stop, part, min(LONG_CALL, stop - part))

    def _close(self) -> bool:
        """Ends the mapping and lets go of the file. False, and nothing done, if the memory is exported or in use."""
        with self._lock:
            if self._view is CLOSED:
                self._let_file_go()
                return True
            if self._span is NO_SPAN:
                # A signal handler or a finaliser asks, in the midst of what this thread does to the memory.
                return False
            hold = _Hold(self)
            try:
                self._hide()
                if self._alone(hold):
                    self._free(hold)
            finally:
                self._restore(hold)
            if self._view is not CLOSED:
                return False
            self._let_file_go()
            return True

    def _exported(self) -> bool:
        """Whether anybody holds the memory: exact on CPython; on PyPy whether a C call is at work on it."""
        with self._lock:
            if self._span is NO_SPAN:
                return True
            hold = _Hold(self)
            try:
                hold.release.keep = not PYPY
                self._hide()
                return not self._alone(hold)
            finally:
                self._restore(hold)

    def _resize(self, length: int) -> bool:
        """Resizes the mapping and its file to a length in bytes. False, and nothing done, if the memory is exported.

        A failure leaves the file's size and the mapping as they were.
        """
        with self._lock:
            if self._span is NO_SPAN:
                return False
            growth = _Growth(-1 if self._file is None else self._file.file)
            hold = _Hold(self)
            alone = False
            try:
                hold.release.keep = not PYPY
                self._hide()
                alone = self._alone(hold)
                if alone:
                    self._renew(hold, growth, length)
            finally:
                self._settle(hold, growth)
            return alone

    def _renew(self, hold: _Hold, growth: _Growth, length: int) -> None:
        """Makes the file as large as it shall be, and a mapping of that length in bytes."""
        self._leave_tag(growth.file, length)
        if growth.file != -1:
            growth.aim(self._offset + length)
        if growth.shrinks and not SHRINKS_MAPPED_FILES:
            check(self._unmap(hold), "cm_unmap")
            growth.shrink()
            growth.ready = True
            self._map(growth.file, length, growth.fresh)
            return
        if not PYPY and not growth.shrinks and self._moved(hold, length):
            return
        # A mapping anew first: once the file has shrunk there is no way back.
        self._anew(hold, growth, length)
        growth.finish()

    def _moved(self, hold: _Hold, length: int) -> bool:
        """Resizes a withdrawn range in place or moves it, where the platform can."""
        hold.moved = supported(ask_twice(lambda: lib.cm_remap(hold.range, length)), "cm_remap")
        return hold.moved

    def _anew(self, hold: _Hold, growth: _Growth, length: int) -> None:
        """Makes a second mapping with the same contents and another length in bytes; the first one stays."""
        base, fresh = hold.range.base, growth.fresh
        private = self._protection.private
        if not private and supported(ask_twice(lambda: lib.cm_twin(base, length, fresh)), "cm_twin"):
            return
        self._map(growth.file, length, fresh)
        if private or self._anonymous:
            check(lib.cm_store(fresh.base, 0, base, min(hold.length, length)))

    def _settle(self, hold: _Hold, growth: _Growth) -> None:
        """Ends a resize, whether it was done or failed: exactly one of the two ranges remains."""
        if growth.done:
            self._install(growth.fresh)
            if hold.range.base:
                self._end(hold)
            return
        kept = hold.range.base and not hold.moved and hold.range.length == hold.length
        if kept and not growth.undo() and not SHRINKS_MAPPED_FILES and self._unmap(hold) == 0:
            # The new mapping, gone by now, had made the file's pages as many as it had itself.
            growth.undo()
        if hold.range.base:
            self._restore(hold)
            self._retake_tag(growth.file)
        else:
            self._recover(hold, growth)

    def _recover(self, hold: _Hold, growth: _Growth) -> None:
        """Maps anew what an unfinished resize had to unmap; where that fails too, the mapping is closed."""
        try:
            # The old length, or the new one where the file has become so short.
            length = min(hold.length, file_status(growth.file)[0] - self._offset)
            if length <= 0:
                raise failure(INVALID_ARGUMENT, "cm_map")
            self._map(growth.file, length, growth.fresh)
            self._install(growth.fresh)
        except BaseException as error:
            # A second Ctrl-C too must not leave a map that is neither open nor closed.
            self._shut()
            self._let_file_go()
            if isinstance(error, OSError):
                error.__notes__.append("the map could not be put back and is closed")  # type: ignore[attr-defined, unused-ignore]
            raise
