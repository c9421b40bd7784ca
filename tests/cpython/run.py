"""Run CPython's own test_mmap with cffimmap in the place of `mmap`.

    python tests/cpython/run.py                        the interpreter's own copy
    python tests/cpython/run.py --copy PATH            CPython 3.15's copy, on any interpreter
    python tests/cpython/run.py --subject mmap         the builtin in the same harness
    python tests/cpython/run.py --only Class.method    one test, or a few

Nothing of CPython lies here: the copies are read where an interpreter or its test package has them.
`_support.py` stands in for the helpers that an older interpreter's `test.support` lacks. What
cannot pass is in `exceptions.py`, for cffimmap; the builtin has no exceptions, so that a run of it
shows which of them it passes.

The exit status is 0 when every test passed, was skipped by its file or failed as listed; 1 when a
test failed that is not listed, or an entry of the list no longer holds; 2 for wrong usage; 77 when
the interpreter has no copy of its own. A crash ends the process by its signal, with a traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import importlib.util
import os
import platform
import sys
import tempfile
import unittest
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import _support
from _verdict import Entry, Verdict, judge, name_of, tests_of
from exceptions import EXCEPTIONS

NO_COPY = 77


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tests that the arguments name and return the exit status."""
    options = _parser().parse_args(argv)
    faulthandler.enable()
    subject = _put_in_place(options.subject)
    path = options.copy.resolve() if options.copy else _own_copy()
    if path is None:
        print(f"test_mmap (own copy): {full_name()} comes without one", flush=True)
        return NO_COPY
    copy = "3.15" if options.copy else "own"
    entries = [e for e in EXCEPTIONS if e.copy == copy and interpreter() in e.interpreters]
    with _temporary_folder():
        verdict = _run(path, subject, options.only, entries if options.subject != "mmap" else [])
    _report(verdict, f"test_mmap ({copy} copy) on {full_name()} with {options.subject}")
    return 1 if verdict.complaints else 0


def interpreter() -> str:
    """Return what the list of exceptions calls this interpreter: "CPython 3.9", "PyPy 8.0"."""
    # PyPy's faults follow its own version, of which one can come for several versions of Python.
    version = getattr(sys, "pypy_version_info", sys.version_info)
    return f"{platform.python_implementation()} {version[0]}.{version[1]}"


def full_name() -> str:
    """Return the interpreter's name and full version."""
    python = platform.python_version()
    pypy: tuple[int, ...] | None = getattr(sys, "pypy_version_info", None)
    if pypy is None:
        return f"{platform.python_implementation()} {python}"
    return f"PyPy {pypy[0]}.{pypy[1]}.{pypy[2]} (Python {python})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run CPython's own test_mmap.")
    parser.add_argument("--subject", choices=["cffimmap", "mmap"], default="cffimmap")
    parser.add_argument("--copy", type=Path, help="CPython 3.15's test_mmap.py")
    parser.add_argument("--only", nargs="+", metavar="CLASS.METHOD", default=[])
    return parser


def _put_in_place(subject: str) -> ModuleType:
    module = importlib.import_module(subject)
    if subject == "cffimmap":
        module.install()
    return module


def _own_copy() -> Path | None:
    try:
        spec = importlib.util.find_spec("test.test_mmap")
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin else None


@contextlib.contextmanager
def _temporary_folder() -> Iterator[None]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _run(path: Path, subject: ModuleType, only: list[str], entries: list[Entry]) -> Verdict:
    _support.install()
    tests = list(tests_of(unittest.defaultTestLoader.loadTestsFromModule(_load(path, subject))))
    if only:
        tests = [test for test in tests if name_of(test) in only]
        entries = [entry for entry in entries if entry.test in only]
        missing = set(only) - {name_of(test) for test in tests}
        if missing:
            _parser().error(f"{path} has no {', '.join(sorted(missing))}")
    names = [name_of(test) for test in tests]
    result = unittest.TextTestRunner(sys.stdout).run(unittest.TestSuite(tests))
    return judge(names, result, entries)


def _load(path: Path, subject: ModuleType) -> ModuleType:
    spec = importlib.util.spec_from_file_location("test_mmap", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # The copy belongs to an interpreter's installation: leave no bytecode beside it.
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    if module.mmap is not subject:
        sys.exit(f"{path} got {module.mmap!r}, not {subject!r}")
    return module


def _report(verdict: Verdict, title: str) -> None:
    for line in verdict.skipped:
        print("skipped", line)
    for line in verdict.expected:
        print("expected failure", line)
    for line in verdict.complaints:
        print(line)
    print(f"{title}: {verdict.counts}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
