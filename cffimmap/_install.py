"""This module in the place of ``mmap``, for programs that say ``import mmap``."""

from __future__ import annotations

import contextlib
import functools
import importlib
import struct
import sys
import threading
from typing import TYPE_CHECKING, Any

from cffimmap._native import PYPY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

_ABSENT: Any = object()
_STRUCT_NAMES = ("unpack", "unpack_from", "iter_unpack", "pack_into")

_lock = threading.RLock()
_undo = contextlib.ExitStack()


def install() -> None:
    """Put this module in the place of ``mmap`` for all later imports.

    On an interpreter whose ``struct`` or ``socket.sendmsg`` refuses buffers written in Python
    (PyPy 8.0), those are taught to take a map. A second call changes nothing, unless somebody has
    put another module there meanwhile: then that one is displaced in turn.

    What it cannot change: a module that imported ``mmap`` before keeps the one it has, and so do
    the names of ``from mmap import ...``, the maps already made and the classes already derived.
    Likewise a name such as ``unpack_from`` that was imported from ``struct`` before stays
    untaught. Extensions written in C see a map as docs/pypy.md says: on PyPy 8.0 not whether it can
    be written. Child processes that are forked inherit the substitution, those started anew do not.
    """
    module = importlib.import_module(__package__)
    with _lock:
        _substitute(module)
        # Elsewhere nothing refuses a map, and looking for it would import socket for nothing.
        if PYPY:
            _teach(module.mmap, struct, importlib.import_module("socket"))


def uninstall() -> None:
    """Put back what `install` displaced.

    ``sys.modules["mmap"]`` is again the very module that was there, or gone if none was; ``struct``
    and ``socket`` are as they were. Where somebody else has replaced one of them since, theirs is
    left alone. Maps, ``struct.Struct`` objects and names that were made or imported meanwhile stay
    what they are. Without an `install` before, it does nothing.
    """
    with _lock:
        _undo.close()


def _substitute(module: ModuleType) -> None:
    displaced = sys.modules.get("mmap", _ABSENT)
    if displaced is module:
        return

    def put_back() -> None:
        if sys.modules.get("mmap") is not module:
            return
        if displaced is _ABSENT:
            del sys.modules["mmap"]
        else:
            sys.modules["mmap"] = displaced

    sys.modules["mmap"] = module
    _undo.callback(put_back)


def _replace(owner: Any, name: str, ours: object) -> None:
    displaced = vars(owner).get(name, _ABSENT)

    def put_back() -> None:
        if vars(owner).get(name) is not ours:
            return
        if displaced is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, displaced)

    setattr(owner, name, ours)
    _undo.callback(put_back)


def _teach(kind: type[Any], struct_module: Any, socket_module: Any) -> None:
    # A real map is the probe: once the teaching is done it finds nothing more to teach.
    with kind(-1, 1) as probe:
        struct_refuses = _refuses(struct_module.unpack_from, "B", probe)
        sendmsg_refuses = _sendmsg_refuses(socket_module, probe)
    if struct_refuses:
        for name in _STRUCT_NAMES:
            _replace(struct_module, name, _taught(getattr(struct_module, name), kind))
        _replace(struct_module, "Struct", _taught_struct(struct_module.Struct, kind))
    if sendmsg_refuses:
        # The builtin base class cannot be changed, but everybody uses the class of socket.py.
        owner = socket_module.socket
        _replace(owner, "sendmsg", _taught_sendmsg(owner.sendmsg, kind))


def _refuses(function: Callable[..., object], *args: object) -> bool:
    try:
        function(*args)
    except TypeError:
        return True
    except OSError:
        return False
    return False


def _sendmsg_refuses(socket_module: Any, probe: object) -> bool:
    def send() -> None:
        # PyPy converts the buffers before the system call, so a closed socket is enough to ask.
        closed = socket_module.socket()
        closed.close()
        closed.sendmsg([probe])

    return hasattr(socket_module.socket, "sendmsg") and _refuses(send)


def _viewed(argument: Any, kind: type[Any]) -> Any:
    return memoryview(argument) if isinstance(argument, kind) else argument


def _taught(function: Callable[..., Any], kind: type[Any]) -> Callable[..., Any]:
    """The function, taking a map as its second argument; the first is a format or a Struct."""

    @functools.wraps(function)
    def call(form: Any, buffer: Any, *args: Any, **kwargs: Any) -> Any:
        return function(form, _viewed(buffer, kind), *args, **kwargs)

    return call


def _taught_sendmsg(function: Callable[..., int], kind: type[Any]) -> Callable[..., int]:
    @functools.wraps(function)
    def sendmsg(self: object, buffers: Iterable[Any], ancillary: Iterable[Any] = (), *args: Any) -> int:
        data = [_viewed(buffer, kind) for buffer in buffers]
        items = [
            tuple(_viewed(part, kind) for part in item) if isinstance(item, tuple) else item
            for item in ancillary
        ]
        return function(self, data, items, *args)

    return sendmsg


class _StandIn(type):
    """The type of a class that stands in for its base: the base's instances count as its own."""

    def __instancecheck__(cls, instance: object) -> bool:
        return type.__instancecheck__(vars(cls).get("_stands_for", cls), instance)


def _taught_struct(original: type, kind: type[Any]) -> type:
    """A subclass, since the methods of the builtin class cannot be replaced."""
    members: dict[str, Any] = {name: _taught(getattr(original, name), kind) for name in _STRUCT_NAMES}
    members.update(
        __slots__=(),
        __doc__=original.__doc__,
        __module__=original.__module__,
        _stands_for=original,
    )
    return _StandIn(original.__name__, (original,), members)
