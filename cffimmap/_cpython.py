"""What CPython has in C (csrc/cpython/): `Memory`, and the class mmap that holds it.

The class that _mmap.py writes down is the meaning. Its methods become those of C's class; what C answers for plain
arguments it is handed for all others. A class made in C is what other C code takes for a sequence of bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from cffimmap._native import compiled, failure

if TYPE_CHECKING:
    from cffimmap._native import Memory
    from cffimmap._request import Request

_Class = TypeVar("_Class", bound=type)

# What C's class has of its own, or a class statement makes for itself.
_NOT_TAKEN = frozenset(
    [
        "__new__",
        "__getitem__",
        "__setitem__",
        "__delitem__",
        "__len__",
        "__slots__",
        "__dict__",
        "__weakref__",
        "__module__",
        "__qualname__",
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__firstlineno__",
        "__static_attributes__",
    ]
)

_tuning = {"long": 1 << 16, "part": 1 << 26, "quick": True}


class Base:
    """Nothing: C's class takes the place of the one that derives from it."""

    __slots__ = ()


def finished(cls: _Class) -> _Class:
    """C's class with the methods of this one."""
    members = vars(cls)
    compiled.hand_over(
        members["__new__"].__func__,
        members["__getitem__"],
        members["__setitem__"],
        members["__delitem__"],
        failure,
    )
    for name, value in members.items():
        if name not in _NOT_TAKEN:
            setattr(compiled.mmap, name, value)
    compiled.mmap.__module__ = "cffimmap"
    return compiled.mmap  # type: ignore[no-any-return]


def open_memory(request: Request) -> Memory:
    """Makes the mapping that was asked for."""
    return compiled.open_memory(request)  # type: ignore[no-any-return]


memory_of: Any = compiled.memory_of
new: Any = compiled.new


def tune(**values: int) -> None:
    """For the tests: from how many bytes on a call is `long`, how many it does as one `part`, whether C is `quick`."""
    _tuning.update(values)
    compiled.tune(_tuning["long"], _tuning["part"], _tuning["quick"])
