"""The command line: ``python -m cffimmap info``, ``find`` and ``run``."""

from __future__ import annotations

import argparse
import errno
import functools
import importlib
import importlib.util
import os
import platform
import runpy
import stat
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import cffimmap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_FOUND, _NOT_FOUND, _FAILED = 0, 1, 2
# What a shell reports for a program that SIGINT or SIGPIPE ended. On Windows a pipe without reader is EINVAL.
_INTERRUPTED, _NO_READER = 130, 141

_NAME_PREFIXES = ("ACCESS_", "PROT_", "MAP_", "MS_", "MADV_")
_PLATFORM_METHODS = ("madvise", "resize", "set_name")


class _SearchError(Exception):
    """A file that cannot be searched; the message is the line for the user."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: What follows the program's name; those of the process by default.

    Returns:
        0 when it was done or found, 1 when nothing was found, 2 when something failed.

    Raises:
        SystemExit: The arguments are wrong (status 2), help was asked for, or the program that
            ``run`` started has ended so.
    """
    options = _parser().parse_args(arguments)
    status: int = options.command(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cffimmap", description="Memory-mapped files, tried from the command line."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    info = commands.add_parser("info", help="print what belongs into a bug report")
    info.set_defaults(command=functools.partial(_printing, _info))

    find = commands.add_parser(
        "find",
        help="print the offsets of a byte pattern in files",
        description="Print the offset in bytes of each occurrence of PATTERN, one a line, with "
        "FILE: before it when there are several files. Occurrences do not overlap, as with grep.",
        epilog="Exit status: 0 found, 1 not found, 2 a file or the pattern is bad. Write -- before "
        "a pattern that starts with a dash.",
    )
    find.add_argument("--hex", action="store_true", help="PATTERN is hexadecimal: 'de ad BE EF'")
    what = find.add_mutually_exclusive_group()
    what.add_argument("--count", action="store_true", help="print how many there are in each file")
    what.add_argument(
        "--last", action="store_true", help="print the highest offset at which PATTERN is found"
    )
    find.add_argument("pattern", metavar="PATTERN")
    find.add_argument("files", metavar="FILE", nargs="+")
    find.set_defaults(command=functools.partial(_printing, _find))

    run = commands.add_parser(
        "run",
        help="run a program with cffimmap in the place of mmap",
        description="Run a script or a module as python does, with cffimmap in the place of mmap.",
        usage="%(prog)s SCRIPT [ARG ...]\n       %(prog)s -m MODULE [ARG ...]",
    )
    run.add_argument("-m", dest="is_module", action="store_true", help="run a module")
    run.add_argument("program", metavar="SCRIPT or MODULE")
    run.add_argument("arguments", metavar="ARG", nargs=argparse.REMAINDER)
    run.set_defaults(command=_run)
    return parser


def _complain(message: str) -> int:
    # PyPy 7.3.11 keeps what is written to stderr until the end, unless it is a terminal.
    print(f"cffimmap: {message}", file=sys.stderr, flush=True)
    return _FAILED


def _printing(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command that prints, to the end of its output or of the reader's patience."""
    try:
        status = command(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        # What is still buffered must go somewhere, or the interpreter complains when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL):
            return _NO_READER
        return _complain(f"standard output: {error.strerror}")
    return status


def _find(options: argparse.Namespace) -> int:
    try:
        pattern = bytes.fromhex(options.pattern) if options.hex else os.fsencode(options.pattern)
    except ValueError:
        return _complain(f"bad hex pattern: {options.pattern!r}")
    if not pattern:
        return _complain("the pattern is empty")
    # Bytes, because a file's name need not be text in the terminal's encoding.
    output = sys.stdout.buffer
    found = failed = False
    for path in options.files:
        prefix = os.fsencode(path) + b":" if len(options.files) > 1 else b""
        try:
            for number in _search(path, pattern, options):
                output.write(b"%s%d\n" % (prefix, number))
                found = found or not options.count or number > 0
        except _SearchError as error:
            _complain(f"{path}: {error}")
            failed = True
        output.flush()
    if failed:
        return _FAILED
    return _FOUND if found else _NOT_FOUND


def _search(path: str, pattern: bytes, options: argparse.Namespace) -> Iterator[int]:
    """The numbers to print for one file; whatever goes wrong in it is _SearchError."""
    try:
        with _map(path) as data:
            if options.count:
                yield sum(1 for _ in _offsets(data, pattern))
            elif options.last:
                last = data.rfind(pattern, 0)
                if last >= 0:
                    yield last
            else:
                yield from _offsets(data, pattern)
    except OSError as error:
        raise _SearchError(error.strerror or error) from error
    except ValueError as error:
        raise _SearchError(error) from error


def _map(path: str) -> cffimmap.mmap:
    # Opening a pipe waits for its other end, unless it is opened so.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise _SearchError("is a directory")
        if not stat.S_ISREG(mode):
            raise _SearchError("not a regular file")
        return cffimmap.mmap(descriptor, 0, access=cffimmap.ACCESS_READ)
    finally:
        os.close(descriptor)


def _offsets(data: cffimmap.mmap, pattern: bytes) -> Iterator[int]:
    offset = data.find(pattern, 0)
    while offset >= 0:
        yield offset
        offset = data.find(pattern, offset + len(pattern))


def _run(options: argparse.Namespace) -> int:
    cffimmap.install()
    sys.argv = [options.program, *options.arguments]
    if options.is_module:
        return _run_module(options.program)
    return _run_script(options.program)


def _run_module(name: str) -> int:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:
        _complain(f"cannot find module {name}: {error}")
        return 1  # here and below: as python -m
    if spec is None:
        _complain(f"no module named {name}")
        return 1
    runpy.run_module(name, run_name="__main__", alter_sys=True)
    return 0


def _run_script(path: str) -> int:
    script = Path(path)
    if not script.is_dir():
        try:
            script.open("rb").close()
        except OSError as error:
            return _complain(f"{path}: {error.strerror}")
    # The first entry is the current folder, put there by python -m, unless -P or -I was given.
    if not getattr(sys.flags, "safe_path", sys.flags.isolated):
        sys.path[0] = str(script.resolve().parent)
    runpy.run_path(path, run_name="__main__")
    return 0


def _info(_: argparse.Namespace) -> int:
    compiled = importlib.import_module("cffimmap._cffimmap")
    file = Path(compiled.__file__ or "").name
    rows = {
        "cffimmap": cffimmap.__version__,
        "interpreter": f"{platform.python_implementation()} {' '.join(sys.version.split())}",
        "platform": platform.platform(),
        "compiled part": f"{file} ({'abi3' if 'abi3' in file else 'not abi3'})",
        "cffi": importlib.import_module("_cffi_backend").__version__,
        "page size": f"{cffimmap.PAGESIZE} bytes",
        "granularity": f"{cffimmap.ALLOCATIONGRANULARITY} bytes",
        "methods": " ".join(n for n in _PLATFORM_METHODS if hasattr(cffimmap.mmap, n)),
    }
    names = sorted(vars(cffimmap))
    having = ((p, " ".join(n[len(p) :] for n in names if n.startswith(p))) for p in _NAME_PREFIXES)
    rows.update((prefix, text) for prefix, text in having if text)
    width = max(map(len, rows)) + 2
    for label, text in rows.items():
        print(
            textwrap.fill(
                text,
                width=100,
                initial_indent=label.ljust(width),
                subsequent_indent=" " * width,
                break_on_hyphens=False,
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
