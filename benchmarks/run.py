"""Measures every row with each module that is there, and writes the results for report.py."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import platform
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path
from typing import Callable

import pyperf
from loop import JIT, LIBC, operations, prepared, rewrite
from report import RESULTS, show
from rows import HUGE, PAUSE, ROWS, Row

OURS = "cffimmap"
# More seconds than anything takes.
FOREVER = 1e9
ROWS_BY_NAME = {row.name: row for row in ROWS}


class Watch:
    """For how long a thread stands still that does nothing but look at the clock."""

    def __init__(self) -> None:
        self._started = threading.Event()
        self._done = False
        self._longest = 0.0
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        self._started.wait()

    def _look(self) -> None:
        last = time.perf_counter()
        self._started.set()
        while True:
            # Asked first: a pause before the clock is read counts, also if the work is done after it.
            done = self._done
            now = time.perf_counter()
            self._longest = max(self._longest, now - last)
            last = now
            if done:
                return

    def longest(self) -> float:
        self._done = True
        self._thread.join()
        return self._longest


def _since(begun: float) -> float:
    return time.perf_counter() - begun


@functools.cache
def _prepared(name: str, subject: str, huge_path: str) -> Callable[[int], float]:
    """Returns what measures the row of that name; there is one in a process."""
    row = ROWS_BY_NAME[name]
    begin, end = (Watch, Watch.longest) if row.unit == PAUSE else (time.perf_counter, _since)
    return functools.partial(prepared(row, subject, huge_path), begin, end)


def _measured(loops: int, row: Row, subject: str, huge_path: str) -> float:
    """What the row costs; FOREVER if it cannot be done, as pyperf takes numbers alone from its workers."""
    try:
        return _prepared(row.name, subject, huge_path)(loops)
    except Exception:
        return FOREVER * loops * operations(row)


def _exception(row: Row, subject: str, huge_path: str) -> str:
    """The name of what the row raises."""
    try:
        _prepared(row.name, subject, huge_path)(1)
    except Exception as error:
        return type(error).__name__
    return "unsteady"


class Bench:
    """All rows, one after another, in processes of their own.

    The subjects take turns, so that what else the machine does meets them alike.
    """

    def __init__(self, runner: pyperf.Runner) -> None:
        self._runner = runner
        self._args = runner.args
        self._turns = runner.args.processes
        runner.args.processes = 1

    def measure(self, row: Row) -> list[pyperf.Benchmark]:
        """Measures a row; returns nothing in a process that pyperf started."""
        subjects = [name for name in (OURS, *row.targets) if _is_here(name)]
        before = vars(self._args).copy()
        if row.unit == PAUSE and not self._args.worker:
            self._args.loops, self._args.warmups, self._args.values = 1, 0, 1
        loops = dict.fromkeys(subjects, self._args.loops)
        found = []
        for turn in range(self._turns):
            for subject in subjects:
                self._args.loops = loops[subject]
                result = self._once(row, subject, turn)
                if result is not None:
                    loops[subject] = result.get_loops()
                    found.append(result)
        vars(self._args).update(before)
        return found

    def _once(self, row: Row, subject: str, turn: int) -> pyperf.Benchmark | None:
        name = f"{row.name}: {subject}"
        result = self._runner.bench_time_func(
            f"{name}, turn {turn + 1}",
            _measured,
            row,
            subject,
            self._args.huge,
            inner_loops=operations(row),
        )
        if self._args.worker:
            return None
        result.update_metadata({"name": name})
        if max(result.get_values()) >= FOREVER:
            result.update_metadata({"raised": _exception(row, subject, self._args.huge)})
        return result


def _is_here(subject: str) -> bool:
    return subject == LIBC or importlib.util.find_spec(subject) is not None


def _interpreter() -> str:
    version = platform.python_version()
    if sys.implementation.name == "pypy":
        own = ".".join(map(str, sys.pypy_version_info[:3]))  # type: ignore[attr-defined]
        return f"PyPy {own}"
    return f"CPython {version}" + ("t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "")


def _make_runner() -> pyperf.Runner:
    def pass_on(command: list[str], args: argparse.Namespace) -> None:
        command += ["--processes", str(turns), "--huge", args.huge]

    runner = pyperf.Runner(
        processes=2 if JIT else 3,
        values=3,
        warmups=3 if JIT else 1,
        min_time=0.02,
        metadata={"interpreter": _interpreter()},
        add_cmdline_args=pass_on,
    )
    runner.argparser.add_argument(
        "--huge", metavar="FILE", help=f"a file of {HUGE >> 20} MiB, if there is one"
    )
    runner.parse_args().quiet = True
    turns = runner.args.processes
    return runner


def _measure_all(bench: Bench) -> pyperf.BenchmarkSuite | None:
    results = None
    for row in ROWS:
        for result in bench.measure(row):
            if results is None:
                results = pyperf.BenchmarkSuite([result])
            else:
                results.add_runs(result)
    return results


def main() -> None:
    runner = _make_runner()
    with contextlib.ExitStack() as stack:
        if runner.args.huge is None:
            file = stack.enter_context(tempfile.NamedTemporaryFile())
            rewrite(file)
            runner.args.huge = file.name
        # pyperf's own lines are the progress; standard output is for the table.
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        results = _measure_all(Bench(runner))
    if results is not None:
        RESULTS.mkdir(exist_ok=True)
        path = Path(RESULTS, _interpreter().replace(" ", "-") + ".json")
        results.dump(str(path), replace=True)
        show(results)


if __name__ == "__main__":
    main()
