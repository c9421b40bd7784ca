"""The two modules that the behaviour tests try, and where the builtin one is known to answer otherwise."""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest
from _files import SIZE
from hypothesis import given, settings
from hypothesis import strategies as st

import cffimmap
from cffimmap._interpreter import tune

if TYPE_CHECKING:
    from collections.abc import Iterator

PYPY = sys.implementation.name == "pypy"
VERSION: tuple[int, ...] = tuple(sys.pypy_version_info if PYPY else sys.version_info)[:3]  # type: ignore[attr-defined, unused-ignore]

BUILTIN = importlib.import_module("mmap")

# No test asserts a time, and a busy machine is no fault of the code.
settings.register_profile("cffimmap", deadline=None)
settings.load_profile("cffimmap")

# What `tune` has by default. With CFFIMMAP_TEST_QUICK=0 it is Python that answers plain indices and slices on CPython too,
# which says what C's answers mean: all tests must pass both ways.
TUNING = {
    "long": 1 << 16,
    "part": 1 << (24 if PYPY else 20),
    "turn": 8,
    "quick": os.environ.get("CFFIMMAP_TEST_QUICK") != "0",
}
tune(**TUNING)

NEVER = (99,)
ALWAYS = (0,)


class Since(NamedTuple):
    """The first versions whose builtin mmap answers as the tests ask, and what the older ones do."""

    cpython: tuple[int, ...]
    pypy: tuple[int, ...]
    reason: str
    crashes: bool = False

    def here(self) -> bool:
        return (self.pypy if PYPY else self.cpython) <= VERSION


# A test names its row by @pytest.mark.differs("row"), or @pytest.mark.differs("row", parameter=[values]) for some of
# its parameters' values alone. With an older builtin the test must fail then; where that would end the process, it is
# left out.
DIFFERENCES = {
    # CPython's development, which PyPy has not followed.
    "trackfd": Since((3, 13), NEVER, "has no argument trackfd"),
    "trackfd refusals": Since((3, 15), NEVER, "asks the descriptor -1 for its size"),
    "seekable": Since((3, 13), NEVER, "has no method seekable"),
    "seek returns": Since((3, 13), NEVER, "returns None from seek"),
    "anonymous size": Since((3, 15), NEVER, "asks the descriptor -1 for its size"),
    "set_name": Since((3, 15), NEVER, "has no method set_name"),
    "find None": Since((3, 14), NEVER, "takes no None for start and end"),
    "find past the end": Since((3, 15), ALWAYS, "finds nothing past the end"),
    "madvise None": Since((3, 14), NEVER, "takes no None for a length"),
    "flush flags": Since((3, 15), NEVER, "has no argument flags"),
    "flush to the end": Since((3, 15), NEVER, "goes beyond the end when a flush has an offset alone"),
    "arguments first": Since((3, 14), NEVER, "looks whether it is closed before it looks at the arguments"),
    "integers first": Since((3, 14), ALWAYS, "looks whether it is closed before it looks at the arguments"),
    "audit": Since((3, 8), NEVER, "raises no audit event"),
    "closing argument": Since((3, 11), NEVER, "accesses what an argument has unmapped", crashes=True),
    "closing argument of seek and resize": Since((3, 14), NEVER, "does not look again whether it is closed"),
    "closing argument of flush": Since((3, 15), NEVER, "does not look again whether it is closed"),
    "shrinking argument": Since((3, 14), NEVER, "accesses what an argument has taken away", crashes=True),
    "shrinking start of a slice": Since(
        ALWAYS, (8,), "accesses what an argument has taken away", crashes=True
    ),
    "audit first": Since(
        NEVER if sys.platform == "win32" else ALWAYS, ALWAYS, "audits arguments that are then refused"
    ),
    # A fault of CPython 3.15.2 that is not copied.
    "end after None": Since(NEVER, NEVER, "ignores the end when the start is None"),
    # PyPy's own ways.
    "index objects": Since(ALWAYS, (8,), "takes no __index__ for an index"),
    "index too large": Since(ALWAYS, NEVER, "raises OverflowError for an index too large for C"),
    "assigned types": Since(ALWAYS, (8,), "takes bytes alone for a slice"),
    "assigned sizes": Since(ALWAYS, NEVER, "raises ValueError for a slice of the wrong size"),
    "gaps": Since(ALWAYS, (8,), "takes memory with gaps"),
    "assigned gaps": Since(ALWAYS, NEVER, "takes memory with gaps, or none but bytes"),
    "read too much": Since(ALWAYS, NEVER, "reserves as much memory as is asked for"),
    "write_byte": Since(ALWAYS, NEVER, "cuts a byte out of a larger number"),
    "range of a C int": Since(ALWAYS, NEVER, "cuts a C int out of a larger number"),
    "search limits": Since(ALWAYS, NEVER, "takes limits of any size"),
    "search keywords": Since(ALWAYS, NEVER, "lets start and end be named, or the needle be left out"),
    "length of a closed map": Since(ALWAYS, (8,), "answers 0"),
    "reversed closed map": Since(ALWAYS, NEVER, "raises at the first item"),
    "negative sizes": Since(ALWAYS, NEVER, "raises TypeError or ValueError for a negative length or offset"),
    "misaligned offset": Since(ALWAYS, NEVER, "raises another error for a misaligned offset"),
    "offset at the end": Since(ALWAYS, NEVER, "asks the system to map nothing"),
    "inherited descriptor": Since(ALWAYS, NEVER, "leaves its descriptor to programs that are started"),
    "refused descriptor": Since(ALWAYS, NEVER, "keeps its descriptor of a refused map until a collection"),
    "negative resize": Since(ALWAYS, NEVER, "takes a negative length"),
    "resize failure": Since(ALWAYS, NEVER, "raises SystemError when the file cannot be resized"),
    "flush of nothing": Since(ALWAYS, NEVER, "takes sizes beyond the end"),
    "madvise errors": Since(ALWAYS, NEVER, "raises SystemError when the system refuses"),
    "move too far": Since(ALWAYS, NEVER, "adds offsets without looking for an overflow", crashes=True),
    "short name": Since(ALWAYS, NEVER, "shows a subclass by its full name"),
    "pickle": Since(ALWAYS, NEVER, "pickles what cannot be loaded again"),
}
# Windows.
if sys.platform == "win32":
    DIFFERENCES |= {
        "anonymous size": Since(ALWAYS, NEVER, "asks the descriptor -1 for its size"),
        "closing argument of seek and resize": Since(
            (3, 14), NEVER, "resizes what an argument has unmapped", crashes=True
        ),
        "resize failure": Since(NEVER, NEVER, "closes itself when the file cannot be resized"),
    }


@contextmanager
def tuned(**values: int) -> Iterator[None]:
    """Changes for a while what a long call is (see `tune`)."""
    tune(**{**TUNING, **values})
    try:
        yield
    finally:
        tune(**TUNING)


def pytest_report_header() -> list[str]:
    return [] if TUNING["quick"] else ["plain arguments are answered in Python"]


def pytest_collection_finish() -> None:
    """Has the collections that tests ask for not look through pytest itself each time."""
    if not PYPY:
        _anything()
        gc.collect()
        gc.freeze()


@settings(max_examples=1, database=None)
@given(st.none())
def _anything(_: None) -> None:
    """Has Hypothesis begin, which looks for who refers to its source of chance: what is frozen by then is not found."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "differs(row, **values): the builtin answers otherwise (conftest.py)")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names for the values that pytest would number."""
    if isinstance(val, dict):
        return ",".join(f"{name}={number}" for name, number in val.items()) or "none"
    if isinstance(val, (tuple, slice)):
        return repr(val)
    if isinstance(val, (bytearray, memoryview)):
        return f"{type(val).__name__}({bytes(val)!r})"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if re.search("0x[0-9a-f]{6}", item.nodeid):
            raise pytest.UsageError(f"another process would not find {item.nodeid}: the name has an address")
        callspec = getattr(item, "callspec", None)
        if callspec is not None and callspec.params.get("mmap") is BUILTIN:
            for mark in item.iter_markers("differs"):
                since = DIFFERENCES[mark.args[0]]
                concerned = all(callspec.params[name] in values for name, values in mark.kwargs.items())
                if concerned and not since.here():
                    item.add_marker(_expectation(since))


def _expectation(since: Since) -> pytest.MarkDecorator:
    reason = f"the builtin {since.reason}"
    if since.crashes:
        return pytest.mark.skip(reason=f"{reason}, and may end the process")
    return pytest.mark.xfail(reason=reason, strict=True)


@pytest.fixture(
    scope="module", params=[pytest.param(cffimmap, id="cffimmap"), pytest.param(BUILTIN, id="builtin")]
)
def mmap(request: pytest.FixtureRequest) -> ModuleType:
    """Either module, for what both have."""
    module: ModuleType = request.param
    return module


@pytest.fixture(scope="module")
def ours() -> ModuleType:
    """cffimmap, for what it alone promises."""
    return cffimmap


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Threads take turns more often than it pays."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Raises(Protocol):
    def __call__(
        self, error: type[BaseException], answer: str | int | None = None, /
    ) -> AbstractContextManager[None]: ...


@pytest.fixture
def raises(request: pytest.FixtureRequest) -> Raises:
    """`pytest.raises` with an error number, or with the whole message of CPython 3.15.

    Other builtins word theirs otherwise: of them the type alone is asked for.
    """
    module = request.getfixturevalue("mmap") if "mmap" in request.fixturenames else cffimmap
    worded = module is cffimmap or (not PYPY and VERSION >= (3, 15))

    @contextmanager
    def raises(error: type[BaseException], answer: str | int | None = None, /) -> Iterator[None]:
        with pytest.raises(error) as caught:
            yield
        if isinstance(answer, int):
            assert isinstance(caught.value, OSError)
            assert caught.value.errno == answer
        elif answer is not None and worded:
            assert str(caught.value) == answer

    return raises


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of SIZE bytes."""
    path = tmp_path / "hello"
    path.write_bytes(b"hello\nworld\n" * (SIZE // 12))
    return path


@pytest.fixture
def file(path: Path) -> Iterator[Any]:
    """That file, open for reading and writing."""
    with path.open("r+b", buffering=0) as file:
        yield file


@pytest.fixture
def m(mmap: ModuleType, file: Any) -> Iterator[Any]:
    """A writable map of the whole file."""
    with mmap.mmap(file.fileno(), 0) as m:
        yield m


@pytest.fixture
def frozen(mmap: ModuleType, file: Any) -> Iterator[Any]:
    """A read-only map of the whole file."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as m:
        yield m
