"""What is measured, and what is to be reached: the rows of the table."""

from __future__ import annotations

import functools
import random
from typing import NamedTuple

KIB, MIB = 1 << 10, 1 << 20
SMALL, LARGE, HUGE = 64 * KIB, 64 * MIB, 512 * MIB
LINE = 77
NS, GB_S, PAUSE = "ns", "GB/s", "ms"


class Targets(NamedTuple):
    """How many times as quick as another ours is to be, by interpreter; None where nothing can be compared.

    Attributes:
        cpython: From 3.10 on, and before it if `old` says nothing else.
        pypy7: PyPy 7.3.
        pypy8: PyPy 8.
        old: CPython 3.9, which has an older search.
    """

    cpython: float | None
    pypy7: float | None
    pypy8: float | None
    old: float | None = None


class Row(NamedTuple):
    """One row of the table.

    Attributes:
        name: What the row is called.
        statement: What is timed. `m` is the map; `i` to `j` are 16 bytes of it, `i` to `k` 4096,
            `i` to `e` 300, `last` the start of its last 16 bytes; `data` is 16 bytes. `subject` is the module, `file` one of 1 MiB,
            `huge_file` one of 512 MiB without a line's end, and `dirty` writes that anew.
        targets: What is to be reached, by the name of what ours is compared with.
        kept: How a JIT is kept from dropping a result that nobody uses.
        head: What goes before a number of statements, to put the position back.
        setup: What is done once, outside of the time.
        size: Length of the map in bytes.
        operations: How many there are in one statement, if that has a loop of its own.
        once: The statement is long, and a loop around a single one costs nothing.
        unit: What is shown: NS an operation, GB_S, or PAUSE, for how many ms another thread stood still meanwhile.
        mark: What ours is to reach by itself, in that unit.
    """

    name: str
    statement: str
    targets: dict[str, Targets]
    kept: str = "{}"
    head: str = "pass"
    setup: str = "pass"
    size: int = SMALL
    operations: int = 1
    once: bool = False
    unit: str = NS
    mark: float | None = None


INT = "total ^= {}"
BYTES = "total ^= {}[3]"
REWIND = "m.seek(0)"


def _row(
    name: str,
    statement: str,
    builtin: tuple[float | None, float | None, float | None],
    kept: str = "{}",
    head: str = "pass",
    setup: str = "pass",
    size: int = SMALL,
    operations: int = 1,
    once: bool = False,
) -> Row:
    return Row(name, statement, {"mmap": Targets(*builtin)}, kept, head, setup, size, operations, once)


CALLS = (
    _row("m[i]", "m[i]", (1.0, 14, 24), INT),
    _row("m[i] = v", "m[i] = v", (0.9, 12, 24)),
    _row("m[i:j], 16 bytes", "m[i:j]", (0.9, 4, 6), BYTES),
    _row("m[-j:-i], 16 bytes", "m[-j:-i]", (0.9, 4, 6), BYTES),
    _row("m[i:], 16 bytes", "m[last:]", (0.9, 4, 6), BYTES),
    _row("m[i:j] = bytes, 16", "m[i:j] = data", (0.9, 4, 6)),
    _row("m[i:j] = bytearray, 16", "m[i:j] = array", (0.9, 4, 6), setup="array = bytearray(16)"),
    _row("m[i:j], 4 KiB", "m[i:k]", (1.0, 1.1, 1.2), BYTES),
    _row("m[i:j] = bytes, 4 KiB", "m[i:k] = page", (1.0, 1.1, 1.2), setup="page = bytes(4096)"),
    _row("m[:], 64 MiB", "m[:]", (1.0, 1.0, 1.0), BYTES, size=LARGE, once=True),
    _row("m[:] = bytes, 64 MiB", "m[:] = all", (1.0, 1.0, 1.0), setup="all = m[:]", size=LARGE, once=True),
    _row("m[i:e:4], 64 bytes", "m[i : i + 256 : 4]", (0.9, 1.5, 1.5), BYTES),
    _row("byte in m, near", "near in m", (0.9, 1.5, 1.5), INT, setup="near = m[4:5]"),
    _row("read(16)", "m.read(16)", (0.9, 1.0, 1.0), BYTES, REWIND),
    _row("read_byte", "m.read_byte()", (0.9, 1.0, 1.0), INT, REWIND),
    _row("write, 16", "m.write(data)", (0.9, 1.0, 1.0), head=REWIND),
    _row("write_byte", "m.write_byte(v)", (0.9, 1.0, 1.0), head=REWIND),
    _row("seek", "m.seek(i)", (0.9, 1.0, 1.0)),
    _row("tell", "m.tell()", (0.9, 1.0, 1.0), INT),
    _row("len", "len(m)", (0.9, 1.0, 1.0), INT),
    _row("closed", "m.closed", (0.9, 1.0, 1.0), INT),
    _row(f"readline, {LINE} bytes", "m.readline()", (0.95, 1.5, 1.5), BYTES, REWIND),
    _row("iterate, a byte", "for byte in m: total ^= byte[0]", (1.0, 3, 3), operations=SMALL, once=True),
    _row(
        "reversed, a byte",
        "for byte in reversed(m): total ^= byte[0]",
        (1.0, 3, 3),
        operations=SMALL,
        once=True,
    ),
    _row("find, hit in 10", "m.find(b' ', i)", (0.9, 1.0, 1.0), INT),
    _row("rfind, hit in 10", "m.rfind(b' ', 0, i)", (0.9, 1.0, 1.0), INT),
    _row("find, hit, bytearray", "m.find(space, i)", (0.9, 1.0, 1.0), INT, setup="space = bytearray(b' ')"),
    _row(
        "rfind, hit, bytearray", "m.rfind(space, 0, i)", (0.9, 1.0, 1.0), INT, setup="space = bytearray(b' ')"
    ),
    _row("find, none in 300", "m.find(b'captains', i, e)", (0.9, 1.0, 1.0), INT),
    _row("rfind, none in 300", "m.rfind(b'captains', i, e)", (0.9, 1.0, 1.0), INT),
    _row("move, 32 bytes", "m.move(i, k, 32)", (0.9, 0.9, 0.9)),
    _row("flush, clean, 64 KiB", "m.flush()", (0.9, 0.9, 0.9)),
    _row("memoryview(m)", "memoryview(m)", (0.8, 0.7, 0.7)),
    _row(
        "unpack_from(m), 16",
        "unpack_from(m, i)",
        # PyPy 8 refuses buffers that are made in Python.
        (0.9, 1.0, None),
        "total ^= {}[0]",
        setup="import struct; unpack_from = struct.Struct('<4I').unpack_from",
    ),
    _row(
        "bytes(view[5:]), 1 MiB",
        "bytes(view[5:])",
        (1.0, 1.0, 1.0),
        BYTES,
        setup="view = memoryview(subject.mmap(file, 0, access=subject.ACCESS_READ))",
        size=MIB,
        once=True,
    ),
    _row("open and close, file", "subject.mmap(file, 4096).close()", (0.7, 0.8, 0.8)),
    _row("open and close, no file", "subject.mmap(-1, 4096).close()", (0.7, 0.8, 0.8)),
    _row(
        "resize, file",
        "own.resize(8192); own.resize(4096)",
        (0.67, 0.67, 0.67),
        setup="own = subject.mmap(file, 4096)",
        operations=2,
    ),
)

WORDS = (
    "the of and to in that his it he but was with as is all for this not by so from on had at be "
    "whale ship man sea old boat head time captain chief hand leviathan white water through which"
)
# None of them is in the text, but their letters and their beginnings are frequent there.
NEEDLES = (
    b"#",
    b"ww",
    b"captains",
    b"leviathan water was theb",
    b"leviathan white whale captain head through which the old ship bz",
)
WORST = {
    "a * 31 + b": b"a" * 31 + b"b",
    "b + a * 31": b"b" + b"a" * 31,
    "a * 200 + b + a * 199": b"a" * 200 + b"b" + b"a" * 199,
}


def _search(method: str, needle: bytes) -> Row:
    one = len(needle) == 1
    targets = {
        "mmap": Targets(1.0, 14, 14) if one else Targets(2.2, 14, 14, old=8),
        "memchr": Targets(0.7, 0.7, 0.7),
        "stringzilla": Targets(0.95, None, None),
        # For a single byte it calls memchr too.
        "fmmap": Targets(None, None, None) if one else Targets(2, None, None),
    }
    name = f"{method}, absent, {len(needle)} B"
    return Row(name, f"m.{method}({needle!r}, 0)", targets, INT, size=LARGE, once=True, unit=GB_S)


def _worst(method: str, name: str, needle: bytes) -> Row:
    return Row(
        f"{method}, {name}",
        f"m.{method}(needle, 0)",
        {"mmap": Targets(None, None, None)},
        INT,
        setup=f"m[:] = b'a' * {MIB}; needle = {needle!r}",
        size=MIB,
        once=True,
        unit=GB_S,
        mark=4,
    )


def _pause(name: str, statement: str, warm: bool) -> Row:
    setup = "huge = subject.mmap(huge_file, 0)"
    if warm:
        setup += "; huge.find(b'#')"
    if name == "flush":
        setup += "; dirty()"
    return Row(
        f"pause, {name}, {'warm' if warm else 'cold'}",
        # To let go of so many bytes stops all threads for 30 ms too: it is done after the time.
        f"result = {statement}",
        {"mmap": Targets(None, None, None)},
        setup=setup,
        once=True,
        unit=PAUSE,
        mark=10,
    )


SEARCHES = tuple(_search(method, needle) for method in ("find", "rfind") for needle in NEEDLES)
WORST_CASES = tuple(
    _worst(method, name, needle) for method in ("find", "rfind") for name, needle in WORST.items()
)
PAUSES = tuple(
    _pause(name, statement, warm)
    for name, statement in (
        ("flush", "huge.flush()"),
        ("find", "huge.find(b'#')"),
        ("readline", "huge.readline()"),
        ("slice", "huge[:]"),
        ("read", "huge.read()"),
    )
    for warm in (False, True)
)
ROWS = (*CALLS, *SEARCHES, *WORST_CASES, *PAUSES)


@functools.cache
def text(size: int) -> bytes:
    """Returns `size` bytes of text in lines of LINE bytes, the same on every interpreter."""
    words = " ".join(random.Random(1).choices(WORDS.split(), k=SMALL // 4))
    width = LINE - 1
    lines = (words[at : at + width] + "\n" for at in range(0, SMALL - width, width))
    block = "".join(lines).encode()
    return (block * (size // len(block) + 1))[:size]
