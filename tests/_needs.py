"""What a test needs and not every platform has, said by what it is."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

import cffimmap


def needs(*things: str) -> pytest.MarkDecorator:
    """Skips a test where something is lacking.

    Args:
        things: a name of cffimmap ("MAP_PRIVATE", "mmap.madvise"), a module ("resource"), what a module has
            ("os.fork"), or a file ("/proc/self/maps").
    """
    lacking = [thing for thing in things if not _is_here(thing)]
    return pytest.mark.skipif(bool(lacking), reason=f"needs {', '.join(lacking)}")


def _is_here(thing: str) -> bool:
    if thing.startswith("/"):
        # Wine shows programs the files of the system below, and cannot use its devices.
        return os.name == "posix" and Path(thing).exists()
    first, *rest = thing.split(".")
    found: Any = cffimmap if hasattr(cffimmap, first) else None
    if found is None:
        try:
            found = importlib.import_module(first)
        except ImportError:
            return False
    else:
        rest = [first, *rest]
    for name in rest:
        if not hasattr(found, name):
            return False
        found = getattr(found, name)
    return True


def constant(name: str) -> Any:
    """The value of a name of cffimmap for a parameter; None where a test that `needs` it is skipped."""
    return getattr(cffimmap, name, None)


def module(name: str) -> Any:
    """A module of the standard library; None where a test that `needs` it is skipped."""
    return importlib.import_module(name) if _is_here(name) else None
