"""What importing the package takes, and what it says where it cannot be had."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from _files import run_python

import cffimmap

# Imports a package from a folder, and prints why that failed.
IMPORT = """
import sys
sys.path.insert(0, sys.argv[1])
try:
    import cffimmap
except ImportError as error:
    print(error)
    assert error.__suppress_context__
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The package as it lies in a clone that was not installed: without its compiled part."""
    package = Path(cffimmap.__file__).parent
    shutil.copytree(
        package, tmp_path / "cffimmap", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    )
    return tmp_path


def test_sources_without_a_compiled_part_say_what_to_do(sources: Path) -> None:
    message = run_python(IMPORT, str(sources))
    assert message.startswith(
        f"cffimmap cannot be used from {sources / 'cffimmap'}, which has no compiled part"
    )
    assert "run 'pip install -e .' there, or start Python in another folder" in message
    assert message.count("\n") == 1


def test_metadata_are_not_asked_for() -> None:
    """They are what takes longest, and a frozen program has none."""
    modules = run_python("import sys, cffimmap; print(*sys.modules)").split()
    assert "cffimmap" in modules
    assert "importlib.metadata" not in modules
    assert "email" not in modules
