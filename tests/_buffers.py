"""Classes written in Python that are buffers, also where the interpreter knows no `__buffer__`: CPython before 3.12."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

PYPY = sys.implementation.name == "pypy"

# typeslots.h, object.h
_GET_BUFFER, _ASSIGN_ITEM = 1, 39
_DEFAULT, _BASE_TYPE = 1 << 18, 1 << 10
_SIMPLE = 0


class _Slot(ctypes.Structure):
    """PyType_Slot."""

    _fields_ = (("slot", ctypes.c_int), ("function", ctypes.c_void_p))


class _Spec(ctypes.Structure):
    """PyType_Spec."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("size", ctypes.c_int),
        ("item_size", ctypes.c_int),
        ("flags", ctypes.c_uint),
        ("slots", ctypes.POINTER(_Slot)),
    )


def _made_buffer() -> Any:
    """A class in whose place of the function that gets a buffer is the one that deletes an item.

    Both are given an object, something as wide as a pointer, and something that is 0: the flags of a plain buffer, or
    no value. So it is the buffer's address that `__delitem__` is asked to delete, and it can raise.
    """

    class Deleting:
        def __delitem__(self: Any, address: int) -> None:
            view = self.__buffer__(_SIMPLE)
            ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.c_void_p(address), _SIMPLE)

    api = ctypes.pythonapi
    api.PyType_GetSlot.restype = ctypes.c_void_p
    api.PyType_FromSpecWithBases.restype = ctypes.py_object
    delete = api.PyType_GetSlot(ctypes.py_object(Deleting), _ASSIGN_ITEM)
    slots = (_Slot * 2)(_Slot(_GET_BUFFER, delete), _Slot(0, None))
    spec = _Spec(b"_buffers.Buffer", 0, 0, _DEFAULT | _BASE_TYPE, slots)
    return api.PyType_FromSpecWithBases(ctypes.byref(spec), ctypes.py_object((Deleting,)))


# What consumes a plain buffer takes an object of a class derived from it, and gets what its `__buffer__` answers.
Buffer: Any = object if PYPY or sys.version_info >= (3, 12) else _made_buffer()
