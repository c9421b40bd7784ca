"""CPython's own buffer protocol, from C's side: what is asked for, and the answer as C sees it."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# object.h and cpython/object.h
WRITABLE = 0x0001
FORMAT = 0x0004
ND = 0x0008
STRIDES = 0x0010 | ND
C_CONTIGUOUS = 0x0020 | STRIDES
F_CONTIGUOUS = 0x0040 | STRIDES
ANY_CONTIGUOUS = 0x0080 | STRIDES
INDIRECT = 0x0100 | STRIDES

# All that can be asked for by its name in the documentation.
REQUESTS = {
    "SIMPLE": 0,
    "WRITABLE": WRITABLE,
    "FORMAT": FORMAT,
    "WRITABLE|FORMAT": WRITABLE | FORMAT,
    "ND": ND,
    "STRIDES": STRIDES,
    "C_CONTIGUOUS": C_CONTIGUOUS,
    "F_CONTIGUOUS": F_CONTIGUOUS,
    "ANY_CONTIGUOUS": ANY_CONTIGUOUS,
    "INDIRECT": INDIRECT,
    "ND|FORMAT": ND | FORMAT,
    "INDIRECT|FORMAT": INDIRECT | FORMAT,
    "CONTIG": ND | WRITABLE,
    "CONTIG_RO": ND,
    "STRIDED": STRIDES | WRITABLE,
    "STRIDED_RO": STRIDES,
    "RECORDS": STRIDES | WRITABLE | FORMAT,
    "RECORDS_RO": STRIDES | FORMAT,
    "FULL": INDIRECT | WRITABLE | FORMAT,
    "FULL_RO": INDIRECT | FORMAT,
}


class PyBuffer(ctypes.Structure):
    """What the C API calls a Py_buffer."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_ssize_t)),
        ("strides", ctypes.POINTER(ctypes.c_ssize_t)),
        ("suboffsets", ctypes.POINTER(ctypes.c_ssize_t)),
        ("internal", ctypes.c_void_p),
    ]

    def answer(self) -> dict[str, Any]:
        """Its members but the address and the object."""

        def numbers(pointer: Any) -> list[int] | None:
            return pointer[: self.ndim] if pointer else None

        return {
            "octets": ctypes.string_at(self.buf, self.len),
            "len": self.len,
            "itemsize": self.itemsize,
            "readonly": self.readonly,
            "ndim": self.ndim,
            "format": self.format,
            "shape": numbers(self.shape),
            "strides": numbers(self.strides),
            "suboffsets": numbers(self.suboffsets),
        }

    def write(self, octets: bytes) -> None:
        """Writes to the beginning of the memory, whether that is allowed or not."""
        ctypes.memmove(self.buf, octets, len(octets))


def python_api(name: str, result: Any, *arguments: Any) -> Any:
    """A function of the C API, with types of its own."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


def get_buffer(exporter: object, flags: int) -> PyBuffer:
    """Asks for a buffer, which `release` gives back."""
    buffer = PyBuffer()
    get = python_api(
        "PyObject_GetBuffer", ctypes.c_int, ctypes.py_object, ctypes.POINTER(PyBuffer), ctypes.c_int
    )
    assert get(exporter, buffer, flags) == 0
    return buffer


def release(buffer: PyBuffer) -> None:
    python_api("PyBuffer_Release", None, ctypes.POINTER(PyBuffer))(buffer)


@contextmanager
def exported(exporter: object, flags: int) -> Iterator[PyBuffer]:
    """A buffer, given back in the end."""
    buffer = get_buffer(exporter, flags)
    try:
        yield buffer
    finally:
        release(buffer)


class _Slot(ctypes.Structure):
    _fields_ = [("number", ctypes.c_int), ("function", ctypes.c_void_p)]


class _Spec(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("basicsize", ctypes.c_int),
        ("itemsize", ctypes.c_int),
        ("flags", ctypes.c_uint),
        ("slots", ctypes.POINTER(_Slot)),
    ]


@cache
def _formatless_type() -> Any:
    def get(exporter: Any, view: Any, _: int) -> int:
        octets = exporter.octets
        address = ctypes.cast(octets, ctypes.c_void_p).value
        view[0] = PyBuffer(buf=address, obj=exporter, len=len(octets), itemsize=1, readonly=1, ndim=1)
        # The structure above goes with its reference: this is the view's own.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(exporter))
        return 0

    function = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(PyBuffer), ctypes.c_int)(get)
    slots = (_Slot * 2)(_Slot(1, ctypes.cast(function, ctypes.c_void_p)), _Slot(0, None))
    # Of a class written in Python, so that it has room for attributes; flags: DEFAULT, BASETYPE.
    spec = _Spec(b"tests.Formatless", 0, 0, 1 << 18 | 1 << 10, slots)
    make = python_api("PyType_FromSpecWithBases", ctypes.py_object, ctypes.POINTER(_Spec), ctypes.py_object)
    kind = make(spec, (type("Octets", (), {}),))
    kind.keep = function, slots, spec
    return kind


def formatless(octets: bytes) -> Any:
    """An exporter that has no format, no shape and no strides to tell, whatever it is asked for."""
    exporter = _formatless_type()()
    exporter.octets = octets
    return exporter
