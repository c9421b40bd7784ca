"""The tables of benchmarks/ hold together; what they say of speed no test asserts."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # Not syspath_prepend, which has every finder forget what it knows: one of setuptools' cannot (CPython 3.11.9).
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    return importlib.import_module("rows")


def test_each_row_has_a_name_of_its_own(rows: ModuleType) -> None:
    names = [row.name for row in rows.ROWS]
    assert len(set(names)) == len(names)


def test_each_row_has_a_target(rows: ModuleType) -> None:
    missing = [row.name for row in rows.ROWS if row.mark is None and row.targets["mmap"].cpython is None]
    assert missing == []


def test_the_needles_are_absent(rows: ModuleType) -> None:
    text = rows.text(2 * rows.SMALL)
    assert [len(needle) for needle in rows.NEEDLES] == [1, 2, 8, 24, 64]
    assert [needle for needle in rows.NEEDLES if needle in text] == []


def test_all_rows_whose_instructions_are_kept_are_there(rows: ModuleType) -> None:
    counted = importlib.import_module("instructions")
    kept = json.loads((BENCHMARKS / "instructions.json").read_text(encoding="utf-8"))["instructions"]
    assert list(kept) == [row.name for row in rows.ROWS if row.name in counted.OPERATIONS]
    assert len(kept) == len(counted.OPERATIONS)
