"""Stand-ins for the helpers of `test.support` that test_mmap imports and this interpreter lacks.

Only what is missing is filled in: an interpreter's own helper stays. PyPy 8 as Debian packs it has
no `test.support` at all and gets all of it; the older interpreters lack a few names.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import importlib
import os
import platform
import subprocess
import sys
import unittest
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

_Method = Callable[..., None]


def _requires(resource: str, msg: str | None = None) -> None:
    raise unittest.SkipTest(msg or f"the resource {resource!r} is not enabled")


def _gc_collect() -> None:
    # PyPy runs finalizers one collection late, and what they let go of another one later.
    for _ in range(3):
        gc.collect()


def _cpython_only(test: _Method) -> _Method:
    skip = unittest.skipIf(sys.implementation.name != "cpython", "for CPython only")
    return skip(test)


def _requires_linux_version(*minimum: int) -> Callable[[_Method], _Method]:
    release = platform.release()
    numbers = release.split("-")[0].split(".")
    known = platform.system() == "Linux" and all(number.isdigit() for number in numbers)
    wanted = ".".join(map(str, minimum))
    return unittest.skipIf(
        known and tuple(map(int, numbers)) < minimum, f"needs Linux {wanted}, this is {release}"
    )


def _linked_to_musl() -> bool:
    # musl knows no confstr() name for its version; glibc does.
    return sys.platform == "linux" and "CS_GNU_LIBC_VERSION" not in os.confstr_names


def _in_systemd_nspawn_sync_suppressed() -> bool:
    try:
        if Path("/run/systemd/container").read_text().strip() != "systemd-nspawn":
            return False
        # Where --suppress-sync holds, the seccomp filter answers EINVAL to O_SYNC.
        os.close(os.open(__file__, os.O_RDONLY | os.O_SYNC))
    except OSError as error:
        return error.errno == errno.EINVAL
    return False


def _sub_tests(names: str, values: Iterable[Any], /) -> Callable[[_Method], _Method]:
    """Run the test once for each value, given by name; several names take a tuple of values."""
    split = names.replace(",", " ").split()
    cases = [dict(zip(split, value if len(split) > 1 else (value,))) for value in values]

    def decorate(test: _Method) -> _Method:
        @functools.wraps(test)
        def run_each(self: unittest.TestCase, /, *args: Any, **kwargs: Any) -> None:
            for case in cases:
                with self.subTest(**case):
                    test(self, *args, **case, **kwargs)

        return run_each

    return decorate


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise unittest.SkipTest(str(error)) from error


def _unlink(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _assert_python_ok(*args: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run([sys.executable, "-I", *args], capture_output=True, check=True)
    return done.returncode, done.stdout, done.stderr


_SUPPORT: dict[str, object] = {
    "_2G": 2 << 30,
    "_4G": 4 << 30,
    "cpython_only": _cpython_only,
    "gc_collect": _gc_collect,
    "in_systemd_nspawn_sync_suppressed": _in_systemd_nspawn_sync_suppressed,
    "is_apple": sys.platform in ("darwin", "ios", "tvos", "watchos"),
    "is_emscripten": sys.platform == "emscripten",
    "linked_to_musl": _linked_to_musl,
    "requires": _requires,
    "requires_linux_version": _requires_linux_version,
    "subTests": _sub_tests,
}
_HELPERS: dict[str, dict[str, object]] = {
    "test.support.import_helper": {"import_module": _import_module},
    "test.support.os_helper": {"TESTFN": f"@test_{os.getpid()}_tmp", "unlink": _unlink},
    "test.support.script_helper": {"assert_python_ok": _assert_python_ok},
}


def install() -> None:
    """Make every helper that CPython 3.15's test_mmap imports importable here."""
    _module("test")
    support = _module("test.support")
    _fill(support, _SUPPORT)
    for name, helpers in _HELPERS.items():
        # Python 3.9 keeps in test.support itself what moved to these modules in 3.10.
        own = {key: getattr(support, key, value) for key, value in helpers.items()}
        _fill(_module(name), own)


def _module(name: str) -> ModuleType:
    # Not there, or broken: Debian's test package for PyPy 8.0.1 lacks a file that test.support looks for.
    with contextlib.suppress(ImportError, OSError):
        return importlib.import_module(name)
    module = ModuleType(name)
    module.__path__ = []
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module


def _fill(module: ModuleType, helpers: dict[str, object]) -> None:
    for name, helper in helpers.items():
        if not hasattr(module, name):
            setattr(module, name, helper)
