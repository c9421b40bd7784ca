"""What CPython has in C (csrc/cpython/): `Memory`, and the class mmap that holds it.

The class that _mmap.py writes down is the meaning. Its methods become those of C's class; what C answers for plain
arguments it is handed for all others. A class made in C is what other C code takes for a sequence of bytes.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from cffimmap._constants import MS_SYNC
from cffimmap._native import WINDOWS, compiled, failure

if TYPE_CHECKING:
    from cffimmap._native import Memory
    from cffimmap._request import Request

_Class = TypeVar("_Class", bound=type)

# What a class statement makes for itself.
_NOT_TAKEN = frozenset(
    [
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

_tuning = {"long": 1 << 16, "part": 1 << 20, "turn": 8, "quick": True}


class Base:
    """Nothing: C's class takes the place of the one that derives from it."""

    __slots__ = ()


def _text(function: FunctionType) -> str:
    """What a method in C has as its text, from which the interpreter takes the signature and the documentation."""
    code = function.__code__
    names = ["$self", *code.co_varnames[1 : code.co_argcount]]
    defaults = function.__defaults__ or ()
    for at, value in enumerate(defaults, len(names) - len(defaults)):
        names[at] += f"={value!r}"
    names.insert(code.co_posonlyargcount or len(names), "/")
    by_name = function.__kwdefaults__ or {}
    names += ["*", *(f"{name}={value!r}" for name, value in by_name.items())] if by_name else []
    return f"{function.__name__}({', '.join(names)})\n--\n\n{function.__doc__ or ''}"


def finished(cls: _Class) -> _Class:
    """C's class with the methods of this one, but for those that C has by itself: it is handed what they mean."""
    functions = {name: getattr(value, "fget", value) for name, value in vars(cls).items()}
    functions["__new__"] = cls.__new__
    texts = {name: _text(value) for name, value in functions.items() if isinstance(value, FunctionType)}
    texts["closed"] = functions["closed"].__doc__ or ""
    compiled.hand_over(functions, texts, failure, sys.audit, MS_SYNC, WINDOWS)
    own = vars(compiled.mmap)
    for name, value in vars(cls).items():
        if name == "__doc__" or not (name in own or name in _NOT_TAKEN):
            setattr(compiled.mmap, name, value)
    compiled.mmap.__module__ = "cffimmap"
    return compiled.mmap  # type: ignore[no-any-return]


def open_memory(request: Request) -> Memory:
    """Makes the mapping that was asked for."""
    return compiled.open_memory(request)  # type: ignore[no-any-return]


memory_of: Any = compiled.memory_of
new: Any = compiled.new


def tune(**values: int) -> None:
    """For the tests.

    Args:
        **values: from how many bytes on a call is `long`; how many it does as one `part`; after how many milliseconds, its
            `turn`, it looks for signals; whether C is `quick` and answers plain arguments.
    """
    _tuning.update(values)
    compiled.tune(_tuning["long"], _tuning["part"], _tuning["turn"], _tuning["quick"])
