"""Describes the compiled modules: cffi's, which setup.py hands to setuptools, and on CPython the type `Memory`."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from pathlib import Path
from typing import Any

import cffi
from setuptools import Extension

HERE = Path(__file__).resolve().parent
CSRC = HERE / "csrc"

PYPY = platform.python_implementation() == "PyPy"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

# Py_buffer is in the limited API from 3.11 on. cffi builds no limited-API module for free-threaded interpreters.
LIMITED_API = not PYPY and not FREE_THREADED and sys.version_info >= (3, 11)
LIMITED_VERSION = "0x030B0000"

SHARED = ["mapping.c", "memory.c", "search.c"]
PLATFORMS = {False: ["unix.c", "resize_unix.c"], True: ["windows.c", "resize_windows.c", "guard.c"]}


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
        return {"define_macros": [("Py_LIMITED_API", LIMITED_VERSION)], "py_limited_api": True}
    if FREE_THREADED:
        # cffi (2.1) says so itself, on 3.14 twice: on the command line and in its first line, which is a warning.
        return {"undef_macros": ["_CFFI_NO_LIMITED_API"]}
    return {} if PYPY else {"py_limited_api": False}


def paths(names: list[str]) -> list[str]:
    """Files of csrc/, relative to the project, as setuptools wants the sources of an extension to be."""
    return [os.path.relpath(CSRC / name, HERE) for name in names]


def common_options(windows: bool) -> dict[str, Any]:
    """What both modules are built with."""
    return {
        "include_dirs": [os.path.relpath(CSRC, HERE)],
        "depends": [os.path.relpath(header, HERE) for header in CSRC.glob("**/*.h")],
        # pthread_atfork is in a library of its own before glibc 2.34.
        "libraries": ["advapi32"] if windows else ["pthread"],
        "extra_compile_args": compiler_flags(),
    }


def make_builder(windows: bool = sys.platform == "win32") -> cffi.FFI:
    """The cffi builder of `cffimmap._cffimmap` for the running interpreter.

    Args:
        windows: whether it is for Windows; by default, if it runs there.
    """
    builder = cffi.FFI()
    builder.cdef((CSRC / "cffimmap.cdef").read_text(encoding="ascii"))
    builder.set_source(
        "cffimmap._cffimmap",
        '#include "cffimmap.h"\n',
        sources=paths([*PLATFORMS[windows], *SHARED, "constants.c"]),
        **common_options(windows),
        **limited_api_options(),
    )
    return builder


def make_extensions(windows: bool = sys.platform == "win32") -> list[Extension]:
    """The type `Memory` of CPython, a module of its own; none for PyPy, which has it in Python."""
    if PYPY:
        return []
    own = [f"cpython/{name}.c" for name in ("module", "memory", "operations", "members", "methods", "items")]
    request = "cpython/request_windows.c" if windows else "cpython/request_unix.c"
    return [
        Extension(
            "cffimmap._memory",
            paths([*own, request, *PLATFORMS[windows], *SHARED]),
            define_macros=[("Py_LIMITED_API", LIMITED_VERSION)] if LIMITED_API else [],
            py_limited_api=LIMITED_API,
            **common_options(windows),
        )
    ]


ffibuilder = make_builder()
