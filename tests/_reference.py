"""The builtin of CPython beside cffimmap, from the version on that answers as the tests ask."""

from __future__ import annotations

import pytest
from conftest import BUILTIN, PYPY, VERSION

import cffimmap

CPYTHON = pytest.mark.skipif(PYPY, reason="of CPython's own protocols")


def with_builtin(*since: int) -> pytest.MarkDecorator:
    """The parameter `mmap`: cffimmap, and CPython's builtin.

    Args:
        since: the first version of CPython whose builtin answers so; none for all of them. PyPy's builtin has ways of
            its own and is left out.
    """
    modules = [pytest.param(cffimmap, id="cffimmap")]
    if not PYPY and since <= VERSION:
        modules.append(pytest.param(BUILTIN, id="builtin"))
    return pytest.mark.parametrize("mmap", modules)
