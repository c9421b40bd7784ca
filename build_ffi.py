"""Describes the one compiled module to cffi; setuptools builds it through `cffi_modules` in setup.py."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from pathlib import Path

import cffi

HERE = Path(__file__).resolve().parent
CSRC = HERE / "csrc"

PYPY = platform.python_implementation() == "PyPy"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

# Before 3.12 the limited API has no way for a class to be a buffer (PEP 688), and buffer.c needs the full one. cffi
# builds no limited-API module for free-threaded interpreters.
LIMITED_API = not PYPY and not FREE_THREADED and sys.version_info >= (3, 12)
NEEDS_BUFFER_TYPE = not PYPY and sys.version_info < (3, 12)

SOURCES = ["unix.c", "memory.c", "search.c", "constants.c"]
BUFFER_DECLARATION = "int cm_make_exporter(const char *module, const char *name);\n"


def warning_flags() -> list[str]:
    """Warnings as errors where CI asks for them, never where a user builds."""
    return ["-Wall", "-Wextra", "-Werror"] if os.environ.get("CFFIMMAP_STRICT_BUILD") else []


def limited_api_options() -> dict[str, object]:
    """How cffi is told which API of the interpreter the module may use."""
    if LIMITED_API:
        return {"define_macros": [("Py_LIMITED_API", "0x030C0000")], "py_limited_api": True}
    if PYPY:
        return {}
    # cffi's own prologue would define an empty Py_LIMITED_API, which hides Py_buffer on 3.9 and 3.10.
    return {"define_macros": [("_CFFI_NO_LIMITED_API", None)], "py_limited_api": False}


def make_builder() -> cffi.FFI:
    """The cffi builder of `cffimmap._cffimmap` for the running interpreter and platform."""
    cdef = (CSRC / "cffimmap.cdef").read_text(encoding="ascii")
    preamble = '#include "cffimmap.h"\n'
    sources = list(SOURCES)
    if NEEDS_BUFFER_TYPE:
        cdef += BUFFER_DECLARATION
        preamble += BUFFER_DECLARATION
        sources.append("buffer.c")
    builder = cffi.FFI()
    builder.cdef(cdef)
    builder.set_source(
        "cffimmap._cffimmap",
        preamble,
        # Relative, as setuptools wants the sources of an extension to be.
        sources=[os.path.relpath(CSRC / name, HERE) for name in sources],
        include_dirs=[os.path.relpath(CSRC, HERE)],
        depends=[os.path.relpath(CSRC / "cffimmap.h", HERE)],
        extra_compile_args=["-std=c11", "-fvisibility=hidden", *warning_flags()],
        **limited_api_options(),
    )
    return builder


ffibuilder = make_builder()
