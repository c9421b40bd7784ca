"""The verdicts of the harness that runs CPython's test_mmap."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest

if TYPE_CHECKING:
    from _verdict import Verdict

FOLDER = Path(__file__).parent / "cpython"
FAILING = ["Sample.failing", "Sample.failing_in_one_subtest", "Sample.passing_unexpectedly"]
Judge = Callable[..., "Verdict"]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Run tests of a made-up class and judge them, given the names of those listed as failing."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    verdict: Any = importlib.import_module("_verdict")

    # Inside the fixture, where pytest does not collect it.
    class Sample(unittest.TestCase):
        def passing(self) -> None:
            """Do nothing wrong."""

        def failing(self) -> None:
            self.fail("wrong")

        def skipped(self) -> None:
            self.skipTest("no such thing here")

        def failing_in_one_subtest(self) -> None:
            for number in range(3):
                with self.subTest(number=number):
                    if number != 1:
                        self.skipTest("another subtest")
                    self.fail("wrong")

        @unittest.expectedFailure
        def passing_unexpectedly(self) -> None:
            """Do nothing wrong."""

    class Broken(Sample):
        @classmethod
        def setUpClass(cls) -> None:
            raise OSError("no setting up")

    class Skipped(Sample):
        @classmethod
        def setUpClass(cls) -> None:
            raise unittest.SkipTest("not here")

    classes = {"Sample": Sample, "Broken": Broken, "Skipped": Skipped}

    def run(*names: str, listed: tuple[str, ...] = ()) -> Verdict:
        suite = unittest.TestSuite(
            classes[owner](method) for owner, method in (name.split(".") for name in names)
        )
        runner = unittest.TextTestRunner(io.StringIO())
        entries = [verdict.Entry("own", (), name, "cannot be", builtin_passes=False) for name in listed]
        answer: Verdict = verdict.judge(names, runner.run(suite), entries)
        return answer

    return run


def test_all_passed_or_skipped_is_no_complaint(judge: Judge) -> None:
    verdict = judge("Sample.passing", "Sample.skipped")
    assert verdict.complaints == ()
    assert verdict.skipped == ("Sample.skipped: no such thing here",)
    assert verdict.counts == "2 run, 1 passed, 1 skipped, 0 failed, 0 expected failures"


@pytest.mark.parametrize("name", FAILING)
def test_unlisted_failure_is_a_complaint(judge: Judge, name: str) -> None:
    verdict = judge("Sample.passing", name)
    assert verdict.complaints == (f"failed, and is not listed: {name}",)
    assert verdict.counts == "2 run, 1 passed, 0 skipped, 1 failed, 0 expected failures"


@pytest.mark.parametrize("name", FAILING)
def test_listed_failure_is_expected(judge: Judge, name: str) -> None:
    verdict = judge("Sample.passing", name, listed=(name,))
    assert verdict.complaints == ()
    assert verdict.expected == (f"{name}: cannot be (the builtin fails too)",)
    assert verdict.counts == "2 run, 1 passed, 0 skipped, 0 failed, 1 expected failures"


@pytest.mark.parametrize("outcome", ["passed", "skipped"])
def test_listed_test_that_does_not_fail_is_a_complaint(judge: Judge, outcome: str) -> None:
    name = {"passed": "Sample.passing", "skipped": "Sample.skipped"}[outcome]
    assert judge(name, listed=(name,)).complaints == (f"listed as failing, and {outcome}: {name}",)


def test_listed_test_that_does_not_exist_is_a_complaint(judge: Judge) -> None:
    verdict = judge("Sample.passing", listed=("Sample.gone",))
    assert verdict.complaints == ("listed, and there is no such test: Sample.gone",)


@pytest.mark.parametrize("name", ["Broken", "Skipped"])
def test_class_that_did_not_get_to_run_is_a_complaint(judge: Judge, name: str) -> None:
    (complaint,) = judge(f"{name}.passing").complaints
    assert complaint.startswith("failed, and is not listed: setUpClass")
    assert name in complaint


def test_nothing_to_run_is_a_complaint(judge: Judge) -> None:
    assert judge().complaints == ("no test ran",)


@pytest.mark.parametrize(("answer", "status"), [(2, 0), (3, 1)])
def test_exit_status_follows_the_verdict(tmp_path: Path, answer: int, status: int) -> None:
    copy = tmp_path / "copy.py"
    copy.write_text(
        "import mmap\n"
        "import unittest\n"
        "class MmapTests(unittest.TestCase):\n"
        "    def test_length(self):\n"
        f"        self.assertEqual(len(mmap.mmap(-1, 2)), {answer})\n"
    )
    command = [sys.executable, str(FOLDER / "run.py"), "--subject", "mmap", "--copy", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert f"with mmap: 1 run, {1 - status} passed, 0 skipped, {status} failed" in done.stdout
