"""Counts the instructions of short operations under valgrind and compares them with the figures kept in the repository.

The counts are of the whole process, Python and the C library included: an operation that C has ceased to answer by
itself costs there and not in our own code. They are those of one interpreter, compiler, C library and processor, which
instructions.json names. Where these are the same, the counts are the same to the last instruction or so, and more than
5 % above them fails. Elsewhere a count says nothing by itself, but the builtin's count in the same run is of the same
machine: the ratio to it may grow by a quarter. Another compiler or the next Python moves it by 3 %; an operation that
goes through Python costs several times as much.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

from loop import COPIES, prepared
from rows import ROWS

KEPT = Path(__file__).resolve().parent / "instructions.json"
CPU_INFO = Path("/proc/cpuinfo")
SUBJECTS = ("mmap", "cffimmap")
OPERATIONS = (
    "m[i]",
    "m[i] = v",
    "m[i:j], 16 bytes",
    "m[i:j] = bytes, 16",
    "byte in m, near",
    "read(16)",
    "read_byte",
    "readline, 77 bytes",
    "write, 16",
    "seek",
    "tell",
    "len",
    "find, hit in 10",
    "find, none in 300",
    "move, 32 bytes",
    "open and close, no file",
)
ROOM = 1.05
ROOM_ELSEWHERE = 1.25
# Enough for an interpreter that learns what is done often.
WARM, LOOPS = 50, 50
# An object that happens to be the last of a block of Python's allocator costs more each time. With one object more of each
# size it is not.
TRIES = 3
# What C calls for os.ctermid(), and nobody else: at each call valgrind writes down what it has counted since the last.
MARK = "ctermid"


class Count(NamedTuple):
    """The instructions of one operation, as the builtin does it and as we do."""

    builtin: float
    ours: float


def run() -> None:
    """What valgrind counts: each operation of each subject, twice as often the second time."""
    gc.disable()
    others: list[list[object]] = []
    for row in (row for row in ROWS if row.name in OPERATIONS):
        for subject in SUBJECTS:
            loop = prepared(row, subject, os.devnull)
            loop(int, bool, WARM)
            for _ in range(TRIES):
                others.append([object(), len(others) + 1000, *(bytes(size) for size in range(1, 512, 8))])
                for loops in (LOOPS, 2 * LOOPS):
                    loop(os.ctermid, lambda _: os.ctermid(), loops)


def count() -> dict[str, Count]:
    """Has it counted. The difference of the two runs has no start and no end in it."""
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--callgrind-out-file={folder}/counts", f"--dump-before={MARK}"]
        command = ["valgrind", "--quiet", "--tool=callgrind", *options, sys.executable, __file__, "--run"]
        environment = {"PYTHONHASHSEED": "0"}
        # Once without valgrind: a run that has to compile what it imports has another heap afterwards.
        subprocess.run([sys.executable, __file__, "--run"], check=True, env=environment)
        subprocess.run(command, check=True, env=environment)
        loops = 2 * TRIES * len(OPERATIONS) * len(SUBJECTS)
        # The loops are in the even parts. What goes before one is in the odd part before it.
        totals = [_total(Path(folder, f"counts.{2 * loop}")) for loop in range(1, loops + 1)]
    tries = [(twice - once) / (LOOPS * COPIES) for once, twice in zip(totals[::2], totals[1::2])]
    least = [min(tries[start : start + TRIES]) for start in range(0, len(tries), TRIES)]
    names = [row.name for row in ROWS if row.name in OPERATIONS]
    return {name: Count(*pair) for name, *pair in zip(names, least[::2], least[1::2])}


def _total(path: Path) -> int:
    found = re.search(r"^(?:summary|totals): (\d+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{path} has no total")
    return int(found[1])


def built_with() -> dict[str, str]:
    """What decides the counts beside the code."""
    compiler = shlex.split(sysconfig.get_config_var("CC"))[0]
    version = subprocess.run(
        [compiler, "-dumpfullversion"], check=True, capture_output=True, text=True
    ).stdout
    return {
        "python": f"{platform.python_version()}, {platform.python_compiler()}",
        "compiler": f"{compiler} {version.strip()}",
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine()
        + (" with AVX2" if " avx2" in CPU_INFO.read_text(encoding="utf-8") else ""),
    }


def _limit(kept: Count, found: Count, same: bool) -> float:
    """The most instructions that ours may have."""
    return kept.ours * ROOM if same else kept.ours / kept.builtin * found.builtin * ROOM_ELSEWHERE


def compare(found: dict[str, Count]) -> None:
    """Prints the table, and ends the process with the names of those that are above their limit."""
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    same = kept["built with"] == built_with()
    if not same:
        print(f"the figures are of {kept['built with']}, this is {built_with()}: the ratios are compared")
    above = []
    print(f"{'instructions':26}{'builtin':>10}{'ours':>10}{'ratio':>8}{'kept':>10}{'limit':>10}")
    for name, counts in found.items():
        before = Count(*kept["instructions"][name])
        limit = _limit(before, counts, same)
        ratio = counts.ours / counts.builtin
        print(
            f"{name:26}{counts.builtin:10.1f}{counts.ours:10.1f}{ratio:8.2f}{before.ours:10.1f}{limit:10.1f}"
        )
        if counts.ours > limit:
            above.append(name)
    if above:
        sys.exit(f"more instructions than before: {', '.join(above)}")


def update(found: dict[str, Count]) -> None:
    """Keeps what was counted."""
    counts = {name: [round(count, 1) for count in pair] for name, pair in found.items()}
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(pair)}" for name, pair in counts.items())
    machine = json.dumps(built_with(), indent=4).replace("}", "  }")
    KEPT.write_text(
        f'{{\n  "built with": {machine},\n  "instructions": {{\n{lines}\n  }}\n}}\n', encoding="utf-8"
    )


def main() -> None:
    if sys.argv[1:] == ["--run"]:
        run()
    elif sys.argv[1:] == ["--update"]:
        update(count())
    else:
        compare(count())


if __name__ == "__main__":
    main()
