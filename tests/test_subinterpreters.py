"""Several interpreters in one process: those that share the lock, as mod_wsgi makes them, and those with one of their own."""

from __future__ import annotations

import importlib
import sys
import sysconfig
from typing import Any

import pytest
from _exporters import PYPY
from _files import run_python

VERSION = sys.version_info[:2]

# Before 3.12 every interpreter shares the lock.
OWN_LOCKS = VERSION >= (3, 12)

pytestmark = [
    pytest.mark.skipif(PYPY, reason="PyPy has no subinterpreters"),
    pytest.mark.skipif(
        bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        reason="without the global lock cffi loads in no subinterpreter",
    ),
]

USES = """
import cffimmap
m = cffimmap.mmap(-1, 100)
m[:5] = b"hello"
assert (m.find(b"l", 0), m[1], m[1:3], list(m)[0]) == (2, 101, b"el", b"h")
view = memoryview(m)
assert view.obj is m
try:
    m.close()
    raise AssertionError("a view lives")
except BufferError:
    view.release()
m.resize
m.close()
assert m.closed
class Own(cffimmap.mmap):
    pass
assert Own(-1, 10)[:] == bytes(10)
cffimmap.install()
import mmap
assert mmap is cffimmap
"""

# Runs the code of the last argument in some interpreters, one after the other, of the kind of the first one.
RUN = """
import sys
kind, code = sys.argv[1:]
if sys.version_info >= (3, 13):
    import _interpreters
    def run():
        interpreter = _interpreters.create(kind)
        failed = _interpreters.exec(interpreter, code)
        _interpreters.destroy(interpreter)
        assert failed is None, failed.errdisplay
else:
    import _xxsubinterpreters as _interpreters
    def run():
        interpreter = _interpreters.create(isolated=kind == "isolated")
        failed = _interpreters.run_string(interpreter, code)
        assert failed is None, failed
        _interpreters.destroy(interpreter)
import cffimmap
m = cffimmap.mmap(-1, 10)
m[:5] = b"hello"
for _ in range(3):
    run()
assert (m[:5], type(m) is cffimmap.mmap) == (b"hello", True)
m.close()
print("done")
"""


def has_interpreters() -> bool:
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        return True
    return False


def run(kind: str, code: str) -> Any:
    if not has_interpreters():
        pytest.skip("the interpreter has no module to make others with")
    assert run_python(RUN, kind, code) == "done\n"


def test_those_that_share_the_lock_have_the_module_each_for_itself() -> None:
    run("legacy", USES)


@pytest.mark.skipif(not OWN_LOCKS, reason="there are none with a lock of their own")
def test_those_with_a_lock_of_their_own_are_told_in_a_sentence() -> None:
    run(
        "isolated",
        """
try:
    import cffimmap
    raise AssertionError("cffi loads here now: so may we")
except ImportError as error:
    assert str(error).startswith("cffimmap cannot be used here, as cffi cannot be loaded: "), error
    assert error.__cause__ is None and error.__suppress_context__
import mmap
assert mmap.mmap(-1, 10)[:] == bytes(10)
""",
    )
