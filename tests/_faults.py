"""Calls of the system's that fail, or that something comes before, for real.

`Faulty(ftruncate=errno.EIO)(work)` runs a function during which every ftruncate() fails; what names there are, and what
else can be answered, _seccomp.py says for Linux and _imports.py for Windows.
"""

from __future__ import annotations

import sys

import pytest
from _calls import Call as Call

if sys.platform == "win32":
    from _imports import Faulty as Faulty
    from _imports import lacking
else:
    from _seccomp import Faulty as Faulty
    from _seccomp import lacking

_LACKING = lacking()

needs_faults = pytest.mark.skipif(_LACKING is not None, reason=_LACKING or "")
