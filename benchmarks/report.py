"""Prints what was measured beside what is to be reached, and draws it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyperf
from rows import GB_S, PAUSE, ROWS, Row, Targets

HERE = Path(__file__).resolve().parent
if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS = HERE / "results"
PLOT = HERE.parent / "docs" / "speed.svg"
OURS = "cffimmap"


class Comparison(NamedTuple):
    """What came out of one comparison, or why nothing did.

    Attributes:
        theirs: The other's figure as it is shown.
        ours: The same for ours.
        value: What is compared with the target: times as quick, GB/s or milliseconds.
        target: What it is to be.
        less: Less is better.
    """

    theirs: str
    ours: str
    value: float | None
    target: float | None
    less: bool

    def met(self) -> bool | None:
        """Whether the target was met, or None if nothing can be said."""
        if self.value is None or self.target is None:
            return None
        return self.value <= self.target if self.less else self.value >= self.target

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        if self.target is None:
            return f"{self.value:.3g}"
        sign = ("≤" if self.met() else ">") if self.less else ("≥" if self.met() else "<")
        return f"{self.value:.2f} {sign} {self.target:g}"


def _comparisons() -> list[tuple[Row, str, str]]:
    """The rows, what each is compared with, and what that is called."""
    return [
        (row, other, row.name if other == "mmap" else f"{row.name} / {other}")
        for row in ROWS
        for other in row.targets
    ]


def _target(targets: Targets, interpreter: str) -> float | None:
    if interpreter.startswith("PyPy 7"):
        return targets.pypy7
    if interpreter.startswith("PyPy"):
        return targets.pypy8
    return (interpreter.startswith("CPython 3.9.") and targets.old) or targets.cpython


def _seconds(results: pyperf.BenchmarkSuite, row: Row, subject: str) -> float | str:
    """The median, or what is shown in its place."""
    try:
        found = results.get_benchmark(f"{row.name}: {subject}")
    except KeyError:
        return "-"
    raised = [run.get_metadata().get("raised") for run in found.get_runs()]
    return next(filter(None, raised), None) or float(found.median())


def _shown(row: Row, seconds: float | str, results: pyperf.BenchmarkSuite) -> str:
    if isinstance(seconds, str):
        return seconds
    if row.unit == GB_S:
        return f"{_in_unit(row, seconds):.1f} {GB_S}"
    return str(results.get_benchmarks()[0].format_value(seconds))


def _in_unit(row: Row, seconds: float) -> float:
    if row.unit == GB_S:
        return row.size / seconds / 1e9
    return seconds * (1e3 if row.unit == PAUSE else 1e9)


def _figure(results: pyperf.BenchmarkSuite, row: Row, other: str) -> Comparison:
    theirs, ours = (_seconds(results, row, subject) for subject in (other, OURS))
    value: float | None = None
    target = row.mark
    if row.mark is not None:
        if not isinstance(ours, str):
            value = _in_unit(row, ours)
    else:
        target = _target(row.targets[other], _interpreter(results))
        if not isinstance(theirs, str) and not isinstance(ours, str):
            value = theirs / ours
    return Comparison(
        _shown(row, theirs, results), _shown(row, ours, results), value, target, less=row.unit == PAUSE
    )


def _interpreter(results: pyperf.BenchmarkSuite) -> str:
    return str(results.get_metadata()["interpreter"])


def show(results: pyperf.BenchmarkSuite) -> None:
    """Prints the table of one interpreter."""
    print(f"\n{_interpreter(results)}")
    print(f"{'':32}{'the other':>14}{OURS:>14}  figure and target")
    for row, other, name in _comparisons():
        figure = _figure(results, row, other)
        print(f"{name:32}{figure.theirs:>14}{figure.ours:>14}  {figure}")


def show_all(suites: list[pyperf.BenchmarkSuite]) -> None:
    """Prints the table of all interpreters, which are of one machine."""
    print(
        f"\n{suites[0].get_metadata().get('cpu_model_name', 'an unknown processor')}, medians; how many times as"
    )
    print(
        "quick as the builtin (or the other that is named), GB/s in the worst cases, ms of a pause, and the targets\n"
    )
    print(f"{'':32}" + "".join(f"{_interpreter(results):>20}" for results in suites))
    for row, other, name in _comparisons():
        print(f"{name:32}" + "".join(f"{_figure(results, row, other)!s:>20}" for results in suites))


def draw(suites: list[pyperf.BenchmarkSuite]) -> None:
    """Draws how many times as quick ours is, with the targets, a column for each interpreter."""
    # Not on top: it is not there where the interpreters are measured.
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    # The same results make the same file.
    rcParams.update({"svg.hashsalt": OURS, "svg.fonttype": "none"})
    shown = [(row, other, name) for row, other, name in _comparisons() if row.mark is None]
    size = (3 + 2.2 * len(suites), 1.2 + 0.17 * len(shown))
    plot = Figure(figsize=size, layout="constrained")
    columns = plot.subplots(1, len(suites), sharex=True, sharey=True, squeeze=False)[0]
    for column, results in zip(columns, suites):
        figures = list(enumerate(_figure(results, row, other) for row, other, _ in shown))
        _plot(column, [(found.target, at) for at, found in figures], "|", "black")
        _plot(
            column, [(found.value, at) for at, found in figures if found.met() is not False], "o", "tab:blue"
        )
        _plot(column, [(found.value, at) for at, found in figures if found.met() is False], "o", "tab:red")
        column.axvline(1, color="grey", linewidth=0.8)
        column.set_xscale("log")
        column.xaxis.set_major_formatter("{x:g}")
        column.set_title(_interpreter(results), fontsize=9)
        column.tick_params(labelsize=7)
        column.grid(color="0.92")
        column.set_axisbelow(True)
    columns[0].set_yticks(range(len(shown)), [name for _, _, name in shown])
    columns[0].set_ylim(len(shown) - 0.5, -0.5)
    plot.supxlabel(
        "times as quick as the builtin mmap, or as the other named: blue reaches the target |", fontsize=8
    )
    plot.savefig(PLOT, metadata={"Date": None})


def _plot(column: Axes, points: list[tuple[float | None, int]], marker: str, colour: str) -> None:
    there = [point for point in points if point[0] is not None]
    column.plot([value for value, _ in there], [at for _, at in there], marker, color=colour, markersize=5)


def main() -> None:
    paths = sorted(RESULTS.glob("*.json"), key=_order)
    if not paths:
        sys.exit(f"no results in {RESULTS}")
    suites = [pyperf.BenchmarkSuite.load(str(path)) for path in paths]
    show_all(suites)
    draw(suites)
    print(f"\n{PLOT}")


def _order(path: Path) -> list[int | str]:
    name, version = path.stem.split("-")
    return [name, *(int(number) for number in version.rstrip("t").split("."))]


if __name__ == "__main__":
    main()
