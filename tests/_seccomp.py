"""System calls that somebody else answers, on Linux: asked of the kernel (seccomp_unotify(2)).

A thread has its calls of some names stopped by a filter of its own, and another process says what becomes of each: the
error it fails with, or that it goes on. What ends with the thread is not felt by anybody else, so that the very process
of the tests can be used before and after it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import select
import socket
import struct
import sys
import threading
import traceback
from dataclasses import astuple
from typing import TYPE_CHECKING, Any, NamedTuple

from _calls import Call
from _exporters import fork

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable

    from _calls import Answer

# linux/filter.h, linux/seccomp.h, linux/prctl.h
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000
_SET_FILTER, _NEW_LISTENER = 1, 8
_NO_NEW_PRIVILEGES = 38
_SET_PTRACER = 0x59616D61
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_GO_ON = 1

# seccomp_notif: id, pid, flags, number, architecture, instruction, six arguments; seccomp_notif_resp.
_QUESTION = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")


class _Processor(NamedTuple):
    """What the kernel calls a processor, its numbers of calls, and that of seccomp itself."""

    architecture: int
    seccomp: int
    numbers: dict[str, tuple[int, ...]]


# C libraries differ in which call their fstat() makes: fstat, newfstatat or statx.
_PROCESSORS = {
    "x86_64": _Processor(
        0xC000003E,
        317,
        {
            "fcntl": (72,),
            "fstat": (5, 262, 332),
            "ftruncate": (77,),
            "madvise": (28,),
            "mmap": (9,),
            "mremap": (25,),
            "msync": (26,),
            "munmap": (11,),
            "prctl": (157,),
        },
    ),
    "aarch64": _Processor(
        0xC00000B7,
        277,
        {
            "fcntl": (25,),
            "fstat": (80, 79, 291),
            "ftruncate": (46,),
            "madvise": (233,),
            "mmap": (222,),
            "mremap": (216,),
            "msync": (227,),
            "munmap": (215,),
            "prctl": (167,),
        },
    ),
}

# The names of the arguments (man 2 of each); fd and what else is an int may be negative.
_ARGUMENTS = {
    "fcntl": ("fd", "command", "value"),
    "fstat": ("fd",),
    "ftruncate": ("fd", "length"),
    "madvise": ("address", "length", "advice"),
    "mmap": ("address", "length", "prot", "flags", "fd", "offset"),
    "mremap": ("address", "length", "new_length", "flags", "new_address"),
    "msync": ("address", "length", "flags"),
    "munmap": ("address", "length"),
    "prctl": ("option", "attribute", "address", "length", "name"),
}
_TEXTS = {"prctl": "name"}
_LONGEST_TEXT = 100
_INTS = {"fd", "command", "prot", "flags", "advice", "option"}


class _Instruction(ctypes.Structure):
    """sock_filter."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """sock_fprog."""

    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def _program(processor: _Processor, numbers: list[int]) -> _Program:
    """Asks for the calls of these numbers, and lets all others go on."""
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 1, 0, processor.architecture),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _NUMBER_AT),
        *((_IF_EQUAL, len(numbers) - i, 0, number) for i, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ASK),
    ]
    return _Program(len(steps), (_Instruction * len(steps))(*(_Instruction(*step) for step in steps)))


def _processor() -> _Processor | None:
    wide = ctypes.sizeof(ctypes.c_void_p) == 8
    return _PROCESSORS.get(platform.machine()) if sys.platform.startswith("linux") and wide else None


def _listen(numbers: list[int]) -> int:
    """Has this thread's calls of these numbers asked for from now on.

    Returns:
        The descriptor of which they are asked.
    """
    processor = _processor()
    assert processor is not None
    library = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(word) for word in (1, 0, 0, 0)]
    if library.prctl(_NO_NEW_PRIVILEGES, *words) == -1:
        raise OSError(ctypes.get_errno(), "prctl")
    program = _program(processor, numbers)
    listener: int = library.syscall(
        ctypes.c_long(processor.seccomp),
        ctypes.c_long(_SET_FILTER),
        ctypes.c_long(_NEW_LISTENER),
        ctypes.byref(program),
    )
    if listener == -1:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def _let_read(process: int) -> None:
    """Lets a process that is no ancestor read this one's memory, where Yama forbids it."""
    library = ctypes.CDLL(None)
    library.prctl(_SET_PTRACER, *(ctypes.c_ulong(word) for word in (process, 0, 0, 0)))


def _text_at(process: int, address: int) -> str:
    """What a process has at an address, up to a NUL; nothing if that is no address."""
    with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:  # noqa: PTH123, there is no path to be made
        try:
            memory.seek(address)
            return memory.read(_LONGEST_TEXT).partition(b"\0")[0].decode()
        except (OSError, OverflowError):
            return ""


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def _read(process: int, name: str, values: list[int]) -> Call:
    pairs = zip(_ARGUMENTS[name], values)
    arguments = {each: _signed(value) if each in _INTS else value for each, value in pairs}
    text = _text_at(process, arguments[_TEXTS[name]]) if name in _TEXTS else ""
    return Call(name, arguments, text)


class Faulty:
    """Runs functions in threads some of whose system calls are answered in their own way.

    Args:
        answers: by the names of the calls. A function of them runs in another process, so that nothing it does to this
            one's variables is seen here.

    Attributes:
        calls: those that were answered, in their order.
    """

    def __init__(self, **answers: Answer) -> None:
        processor = _processor()
        assert processor is not None
        self._answers = answers
        self._names = {number: name for name in answers for number in processor.numbers[name]}
        self.calls: list[Call] = []

    def __call__(self, work: Callable[[], object]) -> Any:
        """Runs a function; its answer and its exception go out."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            answering = fork()
            if answering == 0:
                status = 1
                try:
                    ours.close()
                    self._answer(theirs)
                    status = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(status)
            theirs.close()
            _let_read(answering)
            outcome: list[Any] = []
            thread = threading.Thread(target=self._run, args=(work, ours, outcome))
            thread.start()
            thread.join()
            ours.shutdown(socket.SHUT_WR)
            report = b"".join(iter(lambda: ours.recv(1 << 16), b""))
        _, status = os.waitpid(answering, 0)
        assert status == 0, "the process that answers has failed"
        self.calls += [Call(*call) for call in json.loads(report)]
        answer, error = outcome
        if error is not None:
            raise error
        return answer

    def _run(self, work: Callable[[], object], answering: socket.socket, outcome: list[Any]) -> None:
        try:
            listener = _listen(list(self._names))
            try:
                socket.send_fds(answering, [b"listen"], [listener])
            finally:
                os.close(listener)
            outcome += [work(), None]
        except BaseException as error:
            outcome += [None, error]

    def _answer(self, asking: socket.socket) -> None:
        """Answers until the thread has ended, and reports what was asked."""
        _, listeners, _, _ = socket.recv_fds(asking, 16, 1)
        calls: list[Call] = []
        if listeners:
            poll = select.poll()
            poll.register(asking, select.POLLIN)
            poll.register(listeners[0], select.POLLIN)
            while asking.fileno() not in dict(poll.poll()):
                # Nobody may be left who waits for the answer.
                with contextlib.suppress(FileNotFoundError):
                    calls.append(self._ask(listeners[0]))
        asking.sendall(json.dumps([astuple(call) for call in calls]).encode())

    def _ask(self, listener: int) -> Call:
        question = bytearray(_QUESTION.size)
        fcntl.ioctl(listener, _RECEIVE, question)
        identity, process, _, number, _, _, *values = _QUESTION.unpack(question)
        call = _read(process, self._names[number], values)
        answer = self._answers[call.name]
        code = answer(call) if callable(answer) else answer
        reply = _ANSWER.pack(identity, 0, -(code or 0), _GO_ON if code is None else 0)
        fcntl.ioctl(listener, _SEND, reply)
        return call


def lacking() -> str | None:
    """Why no system call can be answered here; None if one can."""
    if _processor() is None:
        return "needs Linux on x86-64 or aarch64, whose system calls can be made to fail"
    try:
        Faulty(msync=errno.EIO)(lambda: None)
    except OSError as error:
        return f"needs a kernel that lets system calls be made to fail ({error})"
    return None
