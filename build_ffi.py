"""Describes the one compiled module to cffi; setuptools builds it through `cffi_modules` in setup.py."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from pathlib import Path
from typing import Any

import cffi

HERE = Path(__file__).resolve().parent
CSRC = HERE / "csrc"

PYPY = platform.python_implementation() == "PyPy"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

# The type that cpython.c makes is a buffer on 3.12 and later by PEP 688 alone; before that it needs Py_buffer, which
# the limited API lacks. cffi builds no limited-API module for free-threaded interpreters.
LIMITED_API = not PYPY and not FREE_THREADED and sys.version_info >= (3, 12)

SOURCES = ["memory.c", "search.c", "constants.c"]
CPYTHON_DECLARATION = "int cm_make_base(const char *module);\n"


# Python for Windows is built with Microsoft's compiler, that of MSYS2 with gcc.
MSVC = sys.platform == "win32" and not sysconfig.get_platform().startswith("mingw")


def compiler_flags() -> list[str]:
    """The language, and warnings as errors where CI asks for them, never where a user builds."""
    strict = bool(os.environ.get("CFFIMMAP_STRICT_BUILD"))
    if MSVC:
        return ["/std:c11", *(["/W3", "/WX"] if strict else [])]
    return ["-std=c11", "-fvisibility=hidden", *(["-Wall", "-Wextra", "-Werror"] if strict else [])]


def limited_api_options() -> dict[str, Any]:
    """How cffi is told which API of the interpreter the module may use."""
    if LIMITED_API:
        return {"define_macros": [("Py_LIMITED_API", "0x030C0000")], "py_limited_api": True}
    if PYPY:
        return {}
    # cffi's own prologue would define an empty Py_LIMITED_API, which hides Py_buffer on 3.9 and 3.10.
    return {"define_macros": [("_CFFI_NO_LIMITED_API", None)], "py_limited_api": False}


def make_builder(windows: bool = sys.platform == "win32") -> cffi.FFI:
    """The cffi builder of `cffimmap._cffimmap` for the running interpreter.

    Args:
        windows: whether it is for Windows; by default, if it runs there.
    """
    cdef = (CSRC / "cffimmap.cdef").read_text(encoding="ascii")
    preamble = '#include "cffimmap.h"\n'
    sources = [*(["windows.c", "guard.c"] if windows else ["unix.c"]), *SOURCES]
    if not PYPY:
        cdef += CPYTHON_DECLARATION
        preamble += '#include "cpython.h"\n'
        sources.append("cpython.c")
    builder = cffi.FFI()
    builder.cdef(cdef)
    builder.set_source(
        "cffimmap._cffimmap",
        preamble,
        # Relative, as setuptools wants the sources of an extension to be.
        sources=[os.path.relpath(CSRC / name, HERE) for name in sources],
        include_dirs=[os.path.relpath(CSRC, HERE)],
        depends=[os.path.relpath(header, HERE) for header in CSRC.glob("*.h")],
        libraries=["advapi32"] if windows else [],
        extra_compile_args=compiler_flags(),
        **limited_api_options(),
    )
    return builder


ffibuilder = make_builder()
