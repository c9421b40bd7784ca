"""What differs between the interpreters, under the same names: `Memory` and how a map holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cffimmap._native import PYPY
from cffimmap._native import Memory as Memory

if TYPE_CHECKING:
    from typing import TypeVar

    from cffimmap._request import Request

    _Map = TypeVar("_Map")
    _Class = TypeVar("_Class", bound=type)

    class Base:
        """What the class mmap derives from."""

        def __buffer__(self, flags: int, /) -> memoryview: ...

    def finished(cls: _Class) -> _Class: ...
    def open_memory(request: Request) -> Memory: ...
    def new(cls: type[_Map], memory: Memory) -> _Map: ...
    def memory_of(m: object) -> Memory: ...
    def tune(*, long: int = ..., part: int = ..., quick: int = ...) -> None: ...

elif PYPY:
    from cffimmap._pypy import Base as Base
    from cffimmap._pypy import finished as finished
    from cffimmap._pypy import memory_of as memory_of
    from cffimmap._pypy import new as new
    from cffimmap._pypy import open_memory as open_memory
    from cffimmap._pypy import tune as tune
else:
    from cffimmap._cpython import Base as Base
    from cffimmap._cpython import finished as finished
    from cffimmap._cpython import memory_of as memory_of
    from cffimmap._cpython import new as new
    from cffimmap._cpython import open_memory as open_memory
    from cffimmap._cpython import tune as tune
