"""What the outcomes of a copy of test_mmap mean, given the list of exceptions."""

from __future__ import annotations

import unittest
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class Entry(NamedTuple):
    """A test that cannot pass.

    Attributes:
        copy: Which copy of test_mmap it is in: "own" or "3.15".
        interpreters: Where it fails, as `run.interpreter` names them: "CPython 3.9", "PyPy 8.0".
        test: Its name, `Class.method`.
        reason: Why it cannot pass.
        builtin_passes: Whether the interpreter's own `mmap` passes it there.
    """

    copy: str
    interpreters: tuple[str, ...]
    test: str
    reason: str
    builtin_passes: bool


class Verdict(NamedTuple):
    """The outcome of a run.

    Attributes:
        counts: How many tests had which outcome, as one line says it.
        skipped: Each skipped test with its reason.
        expected: Each test that failed as listed, with its reason.
        complaints: What is not as it should be; none of it means success.
    """

    counts: str
    skipped: tuple[str, ...]
    expected: tuple[str, ...]
    complaints: tuple[str, ...]


def tests_of(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """Yield the single tests of a suite, however deep they lie."""
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


def name_of(test: unittest.TestCase) -> str:
    """Return `Class.method` of a test, for a subtest that of the test it is part of."""
    identity: str = getattr(test, "test_case", test).id()
    # Where setUpClass did not succeed, it is what failed: "setUpClass (module.Class)".
    return identity if "(" in identity else ".".join(identity.split(".")[-2:])


def judge(names: Sequence[str], result: unittest.TestResult, entries: Iterable[Entry]) -> Verdict:
    """Compare what happened with what the list says.

    A subtest counts to its test: one that fails makes it fail.

    Args:
        names: Every test that was to run.
        result: What became of them.
        entries: The exceptions that hold for this copy on this interpreter.
    """
    reasons = {name_of(test): reason for test, reason in result.skipped}
    broken = [test for test, _ in [*result.failures, *result.errors]]
    failed = {name_of(test) for test in [*broken, *result.unexpectedSuccesses]}
    # What is no test of its own stands for tests that never ran: a setUpClass that failed or skipped.
    failed |= reasons.keys() - set(names)
    skipped = reasons.keys() - failed
    passed = set(names) - failed - skipped
    listed = {entry.test: entry for entry in entries}
    expected = failed & listed.keys()

    complaints = [f"failed, and is not listed: {test}" for test in sorted(failed - expected)]
    complaints += [f"listed as failing, and passed: {test}" for test in listed if test in passed]
    complaints += [f"listed as failing, and skipped: {test}" for test in listed if test in skipped]
    unknown = [test for test in listed if test not in names]
    complaints += [f"listed, and there is no such test: {test}" for test in unknown]
    if not names:
        complaints.append("no test ran")

    return Verdict(
        f"{len(names)} run, {len(passed)} passed, {len(skipped)} skipped, "
        f"{len(failed - expected)} failed, {len(expected)} expected failures",
        tuple(f"{test}: {reasons[test]}" for test in sorted(skipped)),
        tuple(_why(listed[test]) for test in sorted(expected)),
        tuple(complaints),
    )


def _why(entry: Entry) -> str:
    builtin = "passes" if entry.builtin_passes else "fails too"
    return f"{entry.test}: {entry.reason} (the builtin {builtin})"
