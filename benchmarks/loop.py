"""Makes the loop that does what a row says, with what the row needs."""

from __future__ import annotations

import ctypes
import functools
import importlib
import re
import sys
import tempfile
from pathlib import Path
from typing import IO, Any, Callable

from rows import HUGE, LARGE, MIB, Row, text

# What can be measured is the name of a module, or of something of the C library.
LIBC = "memchr"
STRINGZILLA = "stringzilla"
JIT = sys.implementation.name == "pypy"

# A loop around one short statement would cost CPython as much as the statement does. PyPy's loops cost next to nothing,
# and a trace that has grown too long it does not compile.
COPIES = 40
JIT_LOOPS = 800
BODY = """
        {head}
        {copies}
"""
JIT_BODY = """
        {head}
        for i in range(1, {loops} + 1):
            {kept}
"""
# Only what a statement uses is made anew each time: on PyPy an addition that may overflow costs half of an index.
FOLLOWING = {"j": "i + 16", "k": "i + 4096", "e": "i + 300", "v": "i & 127", "last": "size - 16 + (i & 1)"}
TEMPLATE = """
def measured(loops, begin, end, m, subject, file, huge_file, dirty, data):
    size = {size}
    i, j, k, e, v, last = 517, 533, 4613, 817, 65, size - 16
    total = 0
    {setup}
    begun = begin()
    for _ in range(loops):{body}
    return end(begun)
"""


class Memchr:
    """The C library's search for one byte: what a search over the same bytes can cost at least."""

    def __init__(self, m: Any, size: int) -> None:
        self.size = size
        # Keeps the map alive, whose address alone would not.
        self.buffer = (ctypes.c_char * size).from_buffer(m)
        self.address = ctypes.addressof(self.buffer)
        self.memchr = ctypes.CDLL(None).memchr
        self.memchr.restype = ctypes.c_void_p
        self.memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

    def find(self, _: bytes, start: int) -> int:
        return -1 if self.memchr(self.address + start, ord("#"), self.size - start) is None else 0

    rfind = find


def _body(row: Row) -> str:
    kept = row.kept.format(row.statement) if JIT else row.statement
    if row.once:
        return BODY.format(head=row.head, copies=kept)
    if JIT:
        used = [name for name in FOLLOWING if re.search(rf"\b{name}\b", row.statement)]
        made = "".join(f"{name} = {FOLLOWING[name]}; " for name in used)
        return JIT_BODY.format(head=row.head, kept=made + kept, loops=JIT_LOOPS)
    return BODY.format(head=row.head, copies="\n        ".join([kept] * COPIES))


def operations(row: Row) -> int:
    """How many operations one loop does."""
    return row.operations * (1 if row.once else JIT_LOOPS if JIT else COPIES)


def rewrite(file: IO[bytes]) -> None:
    """Fills the file of HUGE bytes with zeros, so that there is something to flush."""
    file.seek(0)
    for _ in range(HUGE // LARGE):
        file.write(bytes(LARGE))
    file.flush()


def _map(subject: str, module: Any, size: int) -> Any:
    """A map of text, or what searches one that the builtin has made."""
    m = module.mmap(-1, size)
    block = text(min(size, MIB))
    for start in range(0, size, MIB):
        m[start : start + MIB] = block
    if subject == LIBC:
        return Memchr(m, size)
    return importlib.import_module(subject).Str(memoryview(m)) if subject == STRINGZILLA else m


Loop = Callable[[Callable[[], Any], Callable[[Any], Any], int], Any]


def prepared(row: Row, subject: str, huge_path: str) -> Loop:
    """Returns what runs the loop so often as its third argument says.

    It calls the first before and the second after that, with what the first returned, and returns what the second does.
    It is to be made once a process: PyPy keeps the machine code of a loop with its code object.
    """
    namespace: dict[str, Any] = {}
    exec(TEMPLATE.format(size=row.size, setup=row.setup, body=_body(row)), namespace)
    module = importlib.import_module("mmap" if subject in (LIBC, STRINGZILLA) else subject)
    m = _map(subject, module, row.size)
    file, huge = tempfile.TemporaryFile(), Path(huge_path).open("r+b")  # noqa: SIM115 (as long as the loop)
    file.write(text(MIB))
    file.flush()

    def run(begin: Callable[[], Any], end: Callable[[Any], Any], loops: int) -> Any:
        files = (file.fileno(), huge.fileno(), functools.partial(rewrite, huge))
        return namespace["measured"](loops, begin, end, m, module, *files, b"0123456789abcdef")

    return run
