"""The names of the module and their values."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType

import pytest
from _needs import needs
from conftest import BUILTIN

import cffimmap
from cffimmap import _constants

# What the 3.15 documentation has, or the kernel, and Linux has on every processor that is tested.
LINUX = """
PROT_NONE PROT_READ PROT_WRITE PROT_EXEC
MS_SYNC MS_ASYNC MS_INVALIDATE
MAP_SHARED MAP_PRIVATE MAP_ANON MAP_ANONYMOUS MAP_DENYWRITE MAP_EXECUTABLE MAP_POPULATE MAP_STACK MAP_NORESERVE
MAP_HUGETLB MAP_HUGE_2MB MAP_HUGE_1GB MAP_LOCKED MAP_FIXED_NOREPLACE MAP_SYNC MAP_GROWSDOWN
MADV_NORMAL MADV_RANDOM MADV_SEQUENTIAL MADV_WILLNEED MADV_DONTNEED MADV_REMOVE MADV_DONTFORK MADV_DOFORK
MADV_HWPOISON MADV_MERGEABLE MADV_UNMERGEABLE MADV_HUGEPAGE MADV_NOHUGEPAGE MADV_DONTDUMP
MADV_DODUMP MADV_FREE MADV_POPULATE_READ MADV_POPULATE_WRITE MADV_COLD MADV_PAGEOUT MADV_COLLAPSE
MADV_WIPEONFORK MADV_KEEPONFORK MADV_DONTNEED_LOCKED
""".split()  # noqa: SIM905, a list would be pages long

# Of one processor, or of some C libraries alone.
SOMEWHERE = {"MAP_32BIT", "MADV_SOFT_OFFLINE"}

ELSEWHERE = """
MAP_ALIGNED_SUPER MAP_CONCEAL MAP_NOEXTEND MAP_HASSEMAPHORE MAP_NOCACHE MAP_JIT MAP_RESILIENT_CODESIGN
MAP_RESILIENT_MEDIA MAP_TRANSLATED_ALLOW_EXECUTE MAP_UNIX03 MAP_TPRO
MADV_NOSYNC MADV_AUTOSYNC MADV_NOCORE MADV_CORE MADV_PROTECT MADV_FREE_REUSABLE MADV_FREE_REUSE
""".split()  # noqa: SIM905, a list would be pages long

# Numbers of linux/mman.h and asm-generic/mman-common.h that the builtin has no names for.
KERNEL = {
    "PROT_NONE": 0,
    "MAP_HUGE_2MB": 21 << 26,
    "MAP_HUGE_1GB": 30 << 26,
    "MADV_WIPEONFORK": 18,
    "MADV_KEEPONFORK": 19,
    "MADV_COLD": 20,
    "MADV_PAGEOUT": 21,
    "MADV_POPULATE_READ": 22,
    "MADV_POPULATE_WRITE": 23,
    "MADV_DONTNEED_LOCKED": 24,
    "MADV_COLLAPSE": 25,
}


on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux's own headers")
on_windows = pytest.mark.skipif(sys.platform != "win32", reason="of Windows's own headers")


def public_numbers(module: ModuleType) -> dict[str, int]:
    return {name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, int)}


@on_linux
@pytest.mark.parametrize("name", LINUX)
def test_linux_has_the_name(ours: ModuleType, name: str) -> None:
    assert isinstance(getattr(ours, name), int)


@on_linux
@pytest.mark.parametrize("name", ELSEWHERE)
def test_names_of_other_platforms_do_not_exist(ours: ModuleType, name: str) -> None:
    assert not hasattr(ours, name)


@needs("MAP_SHARED")
def test_every_compiled_name_is_annotated_and_every_annotated_one_accounted_for() -> None:
    annotated = set(_constants.__annotations__) - {"PAGESIZE", "ALLOCATIONGRANULARITY", "NAMES"}
    assert set(_constants.NAMES) <= annotated
    assert annotated == {*LINUX, *SOMEWHERE, *ELSEWHERE}


@on_linux
def test_no_other_name_exists() -> None:
    assert set(_constants.NAMES) - SOMEWHERE == set(LINUX)


@on_windows
def test_windows_has_the_two_ways_to_flush_and_no_other_name() -> None:
    assert set(_constants.NAMES) == {"MS_SYNC", "MS_ASYNC"}
    members = set(dir(cffimmap.mmap))
    assert "resize" in members
    assert not members & {"madvise", "set_name"}


def test_builtin_has_no_name_that_is_lacking(ours: ModuleType) -> None:
    # PyPy has two names for its own use that no documentation has.
    undocumented = {"MAP_FIXED", "MREMAP_MAYMOVE"}
    assert set(public_numbers(BUILTIN)) - undocumented <= set(public_numbers(ours))


@pytest.mark.parametrize("name", sorted(set(public_numbers(BUILTIN)) & set(public_numbers(cffimmap))))
def test_value_is_that_of_the_builtin(ours: ModuleType, name: str) -> None:
    assert getattr(ours, name) == getattr(BUILTIN, name)


@on_linux
@pytest.mark.parametrize(("name", "value"), KERNEL.items())
def test_value_is_that_of_the_kernel(ours: ModuleType, name: str, value: int) -> None:
    assert getattr(ours, name) == value


def test_accesses_are_numbered_as_ever(mmap: ModuleType) -> None:
    numbers = [mmap.ACCESS_DEFAULT, mmap.ACCESS_READ, mmap.ACCESS_WRITE, mmap.ACCESS_COPY]
    assert numbers == [0, 1, 2, 3]


def test_error_is_os_error(mmap: ModuleType) -> None:
    assert mmap.error is OSError


def test_granularity_is_the_page_size_but_on_windows(mmap: ModuleType) -> None:
    assert (65_536 if sys.platform == "win32" else mmap.PAGESIZE) == mmap.ALLOCATIONGRANULARITY
    assert mmap.PAGESIZE & (mmap.PAGESIZE - 1) == 0


def test_every_public_member_of_the_builtin_type_exists(ours: ModuleType) -> None:
    members = {name for name in dir(BUILTIN.mmap) if not name.startswith("_")}
    assert members <= set(dir(ours.mmap))


def test_type_lives_in_the_public_module(ours: ModuleType) -> None:
    assert ours.mmap.__module__ == "cffimmap"
    assert ours.mmap.__qualname__ == ours.mmap.__name__ == "mmap"
    assert sys.modules[ours.mmap.__module__].mmap is ours.mmap


def test_every_public_method_is_documented(ours: ModuleType) -> None:
    for name in dir(ours.mmap):
        if not name.startswith("_"):
            assert getattr(ours.mmap, name).__doc__, name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("close", "(self)"),
        ("read", "(self, n=None, /)"),
        ("read_byte", "(self)"),
        ("write_byte", "(self, byte, /)"),
        ("seek", "(self, pos, whence=0, /)"),
        ("find", "(self, sub, start=None, end=None, /)"),
        ("move", "(self, dest, src, count, /)"),
        ("flush", "(self, offset=0, size=-1, /, *, flags=0)"),
        ("resize", "(self, newsize, /)"),
    ],
)
def test_methods_say_what_they_take(ours: ModuleType, name: str, expected: str) -> None:
    signature = inspect.signature(getattr(ours.mmap, name))
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()
    ]
    shown = str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    # What C answers takes even the map itself by its place alone.
    assert shown.replace("(self, /)", "(self)") == expected
