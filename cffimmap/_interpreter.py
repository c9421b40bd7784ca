"""What differs between the interpreters, under the same names: `Memory` and how a map holds it."""

from __future__ import annotations

from cffimmap._native import PYPY
from cffimmap._native import Memory as Memory

if PYPY:
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
