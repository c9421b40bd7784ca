"""Times each operation with the builtin mmap and with cffimmap, and prints both side by side."""

from __future__ import annotations

import contextlib
import functools
import importlib
import platform
import random
import statistics
import sys
import tempfile
import time
from typing import Any, Callable, NamedTuple

import pyperf  # type: ignore[import-untyped]

SUBJECTS = ("mmap", "cffimmap")
HAS_JIT = pyperf.python_has_jit()

SMALL = 1 << 16
LARGE = 1 << 26
LINE = 77
LINES = SMALL // LINE
# A loop around one short statement would cost CPython as much as the statement does. PyPy's loops cost next
# to nothing, and a trace that has grown too long it does not compile.
COPIES = 1 if HAS_JIT else 10

WORDS = (
    "the of and to in that his it he but was with as is all for this not by so from on had at be "
    "whale ship man sea old boat head time captain chief hand leviathan white water through which"
)
# None of them is in the text, but their letters and the start of the longest are frequent there.
NEEDLES = (b"#", b"ww", b"leviathans")


class Operation(NamedTuple):
    """One row of the table.

    Attributes:
        name: What the row is called.
        statement: What is timed; `m` is the map, `i` to `j` 16 bytes of it, `i` to `k` 4096.
        jit_statement: The same for a JIT, which drops a result that nobody uses and lifts out of
            the loop what does not change there.
        size: Length of the map in bytes.
        operations: How many there are in one run of the statement.
        copies: How often the statement stands in the loop.
    """

    name: str
    statement: str
    jit_statement: str
    size: int = SMALL
    operations: int = 1
    copies: int = COPIES


def _line_by_line(call: str) -> str:
    return f"m.seek(0)\nfor _ in range({LINES}): {call}"


def _search(method: str, needle: bytes) -> Operation:
    call = f"m.{method}({needle!r}, 0)"
    name = f"{method}, absent, {len(needle)} B"
    return Operation(name, call, f"total ^= {call}", size=LARGE, copies=1)


NEXT = "; i = (i + 7) & 4095"
OPERATIONS = (
    Operation("m[i]", "m[i]", "total ^= m[i]" + NEXT),
    Operation("m[i] = v", "m[i] = 65", "m[i] = i & 127" + NEXT),
    Operation("16-byte slice", "m[i:j]", "total ^= m[i : i + 16][3]" + NEXT),
    Operation("4 KiB slice", "m[i:k]", "total ^= m[i : i + 4096][3]" + NEXT),
    Operation("set 16 bytes", "m[i:j] = data", "m[i : i + 16] = data" + NEXT),
    Operation(
        f"readline, {LINE} bytes",
        _line_by_line("m.readline()"),
        _line_by_line("total ^= m.readline()[3]"),
        operations=LINES,
        copies=1,
    ),
    Operation(
        "iterate, a byte",
        "for byte in m: pass",
        "for byte in m: total ^= byte[0]",
        operations=SMALL,
        copies=1,
    ),
    Operation("open and close", "new(fileno, 4096).close()", "new(fileno, 4096).close()"),
    *(_search(method, needle) for method in ("find", "rfind") for needle in NEEDLES),
)

TEMPLATE = """
def timed(loops, m, new, fileno, data):
    i, j, k = 517, 533, 4613
    total = 0
    start = clock()
    for _ in range(loops):
        {body}
    return clock() - start
"""


def _text(size: int) -> bytes:
    """Returns `size` bytes of text in lines of LINE bytes, the same on every interpreter."""
    words = " ".join(random.Random(1).choices(WORDS.split(), k=SMALL // 4))
    width = LINE - 1
    lines = (words[at : at + width] + "\n" for at in range(0, SMALL - width, width))
    block = "".join(lines).encode()
    return (block * (size // len(block) + 1))[:size]


@functools.cache
def _prepared(operation: Operation, subject: str) -> Callable[[int], float]:
    """Returns what times the operation on a map of the subject.

    It is made once a process: PyPy keeps the machine code of a loop with its code object.
    """
    statement = operation.jit_statement if HAS_JIT else operation.statement
    body = "\n".join([statement] * operation.copies).replace("\n", "\n        ")
    namespace: dict[str, Any] = {"clock": time.perf_counter}
    exec(TEMPLATE.format(body=body), namespace)

    new = importlib.import_module(subject).mmap
    m = new(-1, operation.size)
    m[:] = _text(operation.size)
    file = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
    file.write(bytes(4096))
    file.flush()

    def run(loops: int) -> float:
        elapsed: float = namespace["timed"](loops, m, new, file.fileno(), bytes(16))
        return elapsed

    return run


def _run(loops: int, operation: Operation, subject: str) -> float:
    return _prepared(operation, subject)(loops)


def _measure(runner: pyperf.Runner, turns: int, operation: Operation) -> list[float]:
    """Returns the seconds of one operation by subject, or nothing in a process that pyperf started.

    The subjects take turns, a process each, so that what else the machine does meets them alike.
    """
    calibrate = runner.args.loops
    loops = dict.fromkeys(SUBJECTS, calibrate)
    values: dict[str, list[float]] = {subject: [] for subject in SUBJECTS}
    for turn in range(turns):
        for subject in SUBJECTS:
            runner.args.loops = loops[subject]
            result = runner.bench_time_func(
                f"{operation.name}, {subject}, turn {turn + 1}",
                _run,
                operation,
                subject,
                inner_loops=operation.operations * operation.copies,
            )
            if not runner.args.worker:
                loops[subject] = result.get_loops()
                values[subject] += result.get_values()
    runner.args.loops = calibrate
    return [] if runner.args.worker else [statistics.median(values[subject]) for subject in SUBJECTS]


def _shown(operation: Operation, seconds: float) -> str:
    if operation.size == LARGE:
        return f"{LARGE / seconds / 1e9:.2f} GB/s"
    return f"{seconds * 1e9:.{1 if seconds < 1e-7 else 0}f} ns"


def _interpreter() -> str:
    name, version = platform.python_implementation(), platform.python_version()
    if name == "PyPy":
        own = ".".join(map(str, sys.pypy_version_info[:3]))  # type: ignore[attr-defined]
        name, version = f"PyPy {own}, Python", version
    return f"{name} {version} on {platform.system()} {platform.machine()}"


def main() -> None:
    def pass_on(command: list[str], _: object) -> None:
        command += ["--processes", str(turns)]

    runner = pyperf.Runner(
        processes=3,
        values=3,
        warmups=6 if HAS_JIT else 1,
        min_time=0.05,
        add_cmdline_args=pass_on,
    )
    args = runner.parse_args()
    args.quiet = True
    turns, args.processes = args.processes, 1
    rows = []
    for operation in OPERATIONS:
        # pyperf's own lines are the progress; standard output is for the table.
        with contextlib.redirect_stdout(sys.stderr):
            seconds = _measure(runner, turns, operation)
        if seconds:
            builtin, ours = seconds
            shown = (_shown(operation, builtin), _shown(operation, ours))
            rows.append((operation.name, *shown, f"{ours / builtin:.2f}"))
    if rows:
        print(_interpreter())
        for row in (("operation", *SUBJECTS, "time ratio"), *rows):
            print("{:20}{:>14}{:>14}{:>12}".format(*row))


if __name__ == "__main__":
    main()
