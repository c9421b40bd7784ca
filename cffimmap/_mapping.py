"""Class Mapping: owns one mapping of memory, its lifetime and its exported buffers.

Every pointer that can dangle is born and dies here.

CPython counts references, so that 'does anybody else hold the memory?' has an exact answer: take away the object's
own references to the pointer and see whether it died. Views, arrays, running C calls and frames in the midst of an
access all keep it alive. For that to be exact, no frame that can raise may keep the pointer, or anything that
keeps it, in a local variable: a traceback would hold it, and `close()` would find an export that nobody made.

PyPy cannot tell, so there nothing is ever unmapped under anyone: a closed mapping's pages are replaced in one
atomic call, and the address range goes back when the last pointer to it has died. An access may therefore meet
pages that were taken away after its check; it looks again, and repeats itself on what the mapping has now.
"""

from __future__ import annotations

import errno
import gc
import sys
import weakref
from collections.abc import Callable
from threading import RLock
from typing import Any, Final

from cffimmap._constants import MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE
from cffimmap._native import PYPY, UNSUPPORTED, Base, Pointer, check, failure, ffi, lib

if not PYPY:
    from cffimmap._native import expose

from cffimmap._unix import Request, crowded, file_status

CLOSED_MESSAGE = "mmap closed or invalid"

# PyPy before 8 gives `re` and `struct` iterators the bare address of a buffer and keeps nothing alive for it.
BARE_ADDRESSES: Final = PYPY and sys.version_info < (3, 10)

# Above this many bytes a copy under the interpreter's lock first has its pages brought in without it.
LONG_COPY = 1 << 20

# A copy that long goes in parts, so that signals and other threads are served in between.
LONG_CALL = 1 << 26

# A map is as dear to PyPy's collector as its length, but a file's pages are not of its heap: beyond this many bytes
# the pressure would only make it run at every other map.
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


CLOSED: Final = _Absent(ValueError, CLOSED_MESSAGE)
UNREADABLE: Final = _Absent(TypeError, "mmap can't access memory without PROT_READ or PROT_WRITE.")

NO_SPAN: Final = (None, 0)


class _Withdrawn:
    """Stands in a mapping while one thread finds out whether the memory is exported: others wait for the answer."""

    __slots__ = ("_mapping",)

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping

    def _answer(self, name: str) -> Any:
        with self._mapping._lock:
            now = getattr(self._mapping, name)
        # Still withdrawn: a signal handler or a finaliser of the withdrawing thread itself asks.
        return CLOSED if now is self else now


class _WithdrawnView(_Withdrawn):
    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        return self._answer("_view")[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._answer("_view")[key] = value


class _WithdrawnOctets(_Withdrawn):
    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        return self._answer("_octets")[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._answer("_octets")[key] = value


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


class _Release:
    """What becomes of one address range when the last pointer to it has died. Length in bytes."""

    __slots__ = ("blank", "keep", "length")

    # Kept here, as the module's own names may be gone when the interpreter ends.
    _blank = staticmethod(lib.cm_blank)
    _unmap = staticmethod(lib.cm_unmap)

    def __init__(self, length: int) -> None:
        self.length = length
        self.keep = False
        self.blank = False

    def __call__(self, pointer: Pointer) -> None:
        if self.keep:
            return
        (self._blank if self.blank else self._unmap)(pointer, self.length)


class _File:
    """A descriptor of our own of the mapped file, closed with the mapping or when the object dies."""

    __slots__ = ("__weakref__", "_owner", "descriptor")

    _close = staticmethod(lib.cm_close)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        close = self._close
        self._owner = ffi.gc(ffi.new("char *"), lambda _: close(descriptor), 0)

    def close(self) -> None:
        ffi.release(self._owner)


def _ask_twice(call: Callable[[], int]) -> int:
    """Repeats a call once that failed for want of what dropped maps may hold until the collector runs."""
    code = call()
    if code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        gc.collect()
        code = call()
    return code


def _duplicate(file: int) -> _File:
    copy = ffi.new("cm_file *")
    check(_ask_twice(lambda: lib.cm_duplicate(file, copy)), "fcntl")
    if PYPY and crowded(copy[0]):
        gc.collect()
    return _File(copy[0])


def _map(file: int, length: int, prot: int, flags: int, offset: int) -> Pointer:
    """Maps memory; the address owns nothing yet."""
    base = ffi.new("unsigned char **")
    check(_ask_twice(lambda: lib.cm_map(file, length, prot, flags, offset, base)), "mmap")
    return base[0]


def _moved(address: Pointer, length: int, new_length: int) -> Pointer | None:
    """Resizes a range that nobody else knows; None where the platform cannot."""
    base = ffi.new("unsigned char **")
    code = _ask_twice(lambda: lib.cm_remap(address, length, new_length, base))
    if code == UNSUPPORTED:
        return None
    check(code, "mremap")
    return base[0]


def _twin(address: Pointer, length: int) -> Pointer | None:
    """A second mapping of the same shared memory; None where the platform cannot."""
    twin = ffi.new("unsigned char **")
    code = _ask_twice(lambda: lib.cm_twin(address, length, twin))
    if code == UNSUPPORTED:
        return None
    check(code, "mremap")
    return twin[0]


# How a withdrawn range ends. On PyPy the file is let go now, and the addresses when nobody holds them.
_end = lib.cm_blank if PYPY else lib.cm_unmap


class Mapping(Base):  # type: ignore[misc]
    """One mapping of memory and its lifetime: no positions, no indices, no messages of the interface's own."""

    __slots__ = (
        "__weakref__",
        "_anonymous",
        "_file",
        "_flags",
        "_length",
        "_lock",
        "_octets",
        "_offset",
        "_pins",
        "_prot",
        "_release",
        "_span",
        "_tracked",
        "_view",
    )

    # What accesses the memory: `_octets` by index, `_view` by slices without a step, `_run` by C functions. Each
    # checks its own bounds; a C function is told how far it will go.
    _octets: Any
    _view: Any
    _span: tuple[Pointer, int]

    # Bytes; 0 once closed.
    _length: int

    _file: _File | None

    def _open(self, request: Request) -> None:
        """Makes the mapping that was asked for.

        Args:
            request: what is to be mapped, its length and offset in bytes.

        Raises:
            OSError: as the system answers.
        """
        self._anonymous = request.file == -1
        self._tracked = request.track
        self._flags = request.flags
        self._prot = request.prot
        self._offset = request.offset
        self._lock = RLock()
        self._pins: list[None] = []
        self._file = None if self._anonymous or not request.track else _duplicate(request.file)
        self._install(
            _map(request.file, request.length, request.prot, request.flags, request.offset), request.length
        )

    def _install(self, address: Pointer, length: int) -> None:
        """Takes over a mapped range that nobody owns."""
        self._release = _Release(length)
        self._show(ffi.gc(address, self._release, min(length, GREATEST_PRESSURE)), length)

    # ---- what differs between the interpreters: how memory is accessed, and how it is taken away ----

    if PYPY:

        def _show(self, pointer: Pointer, length: int) -> None:
            """Makes memory accessible."""
            self._span = (pointer, length)
            self._view = self._octets = _Window(self, pointer, length) if self._accessible() else UNREADABLE
            self._length = length

        def _withdraw(self) -> Pointer | None:
            """Takes the memory from everybody who will ask from now on; None if a C call is at work on it.

            The answer keeps the range mapped while it lives. Those who asked before may still hold it.
            """
            if self._pins:
                return None
            window, pointer = self._view, self._span[0]
            self._hide()
            if window is not UNREADABLE:
                window.length = 0
            return pointer

        def _put_back(self, pointer: Pointer, length: int) -> None:
            """Undoes `_withdraw`."""
            self._show(pointer, length)

        def _run(self, function: Callable[..., Any], end: int, *arguments: object) -> Any:
            """Calls a C function that accesses at most the first `end` bytes. Nobody closes the mapping meanwhile."""
            self._pins.append(None)
            try:
                pointer, length = self._span
                if end <= length:
                    result = function(pointer, *arguments)
                    if self._span[0] is pointer:
                        return result
            finally:
                self._pins.pop()
            return self._run_again(function, end, *arguments)

        def _line_end(self, start: int, end: int) -> int:
            """The position after the next newline in [start, end), or `end`.

            Too short a call to be pinned: closed meanwhile, it meets zeros, and the access that follows sees that.
            """
            pointer, length = self._span
            if end <= length:
                return lib.cm_line_end(pointer, start, end)
            return self._run_again(lib.cm_line_end, end, start, end)  # type: ignore[no-any-return]

        def __buffer__(self, flags: int, /) -> memoryview:
            """A view of the memory, read-only for a map that cannot be written. See `memoryview`."""
            self._check_accessible()
            if BARE_ADDRESSES:
                self._release.blank = True
            view = memoryview(self._view.buffer)
            return view if self._prot & PROT_WRITE else view.toreadonly()

    else:

        def _show(self, pointer: Pointer, length: int) -> None:
            """Makes memory accessible."""
            self._span = (pointer, length)
            if self._accessible():
                self._view = ffi.buffer(pointer, length)
                octets = memoryview(self._view)
                self._octets = octets if self._prot & PROT_WRITE else octets.toreadonly()
                expose(
                    self, pointer, int(ffi.cast("uintptr_t", pointer)), length, bool(self._prot & PROT_WRITE)
                )
            else:
                self._view = self._octets = UNREADABLE
            self._length = length

        def _withdraw(self) -> Pointer | None:
            """Takes the memory from the object; None, and everything as before, if anybody else holds it.

            The answer is an address that owns nothing: the range is the caller's to install or to discard.
            """
            pointer, length = self._span
            release, address, alive = (
                self._release,
                ffi.cast("unsigned char *", pointer),
                weakref.ref(pointer),
            )
            release.keep = True
            self._hide()
            expose(self, None, 0, 0, False)
            pointer = None
            holder = alive()
            if holder is None:
                return address
            release.keep = False
            self._show(holder, length)
            return None

        def _put_back(self, pointer: Pointer, length: int) -> None:
            """Undoes `_withdraw`."""
            self._install(pointer, length)

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
            return self._run(lib.cm_line_end, end, start, end)  # type: ignore[no-any-return]

        def __buffer__(self, flags: int, /) -> memoryview:
            """A view of the memory, read-only for a map that cannot be written. See `memoryview`."""
            return self._octets[:]  # type: ignore[no-any-return]

    def _run_again(self, function: Callable[..., Any], end: int, *arguments: object) -> Any:
        """Does once more what met a mapping that another thread had withdrawn for a moment."""
        with self._lock:
            if self._span[1] < end:
                raise self._changed()
            return self._run(function, end, *arguments)

    def _hide(self) -> None:
        """Lets other threads wait for the end of what is done to the memory."""
        self._view, self._octets = _WithdrawnView(self), _WithdrawnOctets(self)
        self._span = NO_SPAN

    def __release_buffer__(self, buffer: memoryview, /) -> None:
        """Does nothing, as the view itself keeps the memory; numpy holds no export of a class without it."""

    def _accessible(self) -> bool:
        return bool(self._prot & (PROT_READ | PROT_WRITE))

    def _changed(self) -> Exception:
        """What to raise when the mapping was closed or resized between a check and an access."""
        return ValueError(CLOSED_MESSAGE if self._view is CLOSED else "mmap resized during the operation")

    def _check_open(self) -> None:
        if self._view is CLOSED:
            raise ValueError(CLOSED_MESSAGE)

    def _check_accessible(self) -> None:
        """Raises for a closed map, and for one whose protection allows no access."""
        if isinstance(self._view, _Absent):
            raise self._view._refuse()

    def _populate(self, start: int, stop: int) -> None:
        """Brings in the pages of a long range of bytes without the interpreter's lock."""
        for part in range(start, stop, LONG_CALL):
            # Advice only: what it cannot do, the access will do or report.
            self._run(lib.cm_populate, stop, part, min(LONG_CALL, stop - part))

    def _close(self) -> bool:
        """Ends the mapping and lets go of the file. False, and nothing done, if the memory is exported or in use."""
        with self._lock:
            if self._view is CLOSED:
                return True
            length = self._length
            held = self._withdraw()
            if held is None:
                return False
            code = _end(held, length)
            if code:
                self._put_back(held, length)
                raise failure(code, "mmap" if PYPY else "munmap")
            self._view = self._octets = CLOSED
            self._length = 0
            if self._file is not None:
                self._file.close()
            return True

    def _exported(self) -> bool:
        """Whether anybody holds the memory: exact on CPython; on PyPy whether a C call is at work on it."""
        with self._lock:
            length = self._length
            held = self._withdraw()
            if held is None:
                return True
            self._put_back(held, length)
            return False

    # ---- resizing ----

    def _resize(self, length: int) -> bool:
        """Resizes the mapping and its file to a length in bytes. False, and nothing done, if the memory is exported.

        A failure leaves the file's size and the mapping as they were.
        """
        with self._lock:
            if self._file is None:
                return self._change(length)
            file = self._file.descriptor
            size, _ = file_status(file)
            wanted = self._offset + length
            if wanted < size:
                # The new mapping first: once the file has shrunk there is no way back.
                return self._change(length, lambda: lib.cm_truncate(file, wanted))
            check(lib.cm_truncate(file, wanted), "ftruncate")
            done = False
            try:
                done = self._change(length)
            finally:
                if not done:
                    lib.cm_truncate(file, size)
            return done

    def _change(self, length: int, truncate: Callable[[], int] | None = None) -> bool:
        """Replaces the mapping by one of another length in bytes, then truncates the file if that is asked for."""
        old_length = self._length
        held = self._withdraw()
        if held is None:
            return False
        try:
            address = None if PYPY or truncate else _moved(held, old_length, length)
            if address is None:
                address = self._anew(held, old_length, length, truncate)
                # The new mapping stands: a range that could not be ended is an address range lost, no more.
                _end(held, old_length)
        except BaseException:
            self._put_back(held, old_length)
            raise
        self._install(address, length)
        return True

    def _anew(
        self, held: Pointer, old_length: int, length: int, truncate: Callable[[], int] | None
    ) -> Pointer:
        """A second mapping with the same contents and another length in bytes; the first one stays."""
        private = self._flags & (MAP_PRIVATE | MAP_SHARED) == MAP_PRIVATE
        address = None if private else _twin(held, length)
        if address is None:
            file = -1 if self._file is None else self._file.descriptor
            address = _map(file, length, self._prot, self._flags, self._offset)
            if private or self._anonymous:
                lib.cm_store(address, 0, held, min(old_length, length))
        code = truncate() if truncate else 0
        if code:
            lib.cm_unmap(address, length)
            raise failure(code, "ftruncate")
        return address
