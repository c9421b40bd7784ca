"""Maps of huge pages, of which the system maps all or nothing: given back whole, and resized by whole ones.

The kernel must have some to give: `sysctl vm.nr_hugepages=8`. The tests ask for it themselves where they may.
"""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _needs import constant, module, needs

import cffimmap

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [needs("MAP_HUGETLB"), needs("/proc/self/maps")]

# Zeros where the tests are skipped.
MAP_HUGETLB: int = constant("MAP_HUGETLB") or 0
MAP_PRIVATE: int = constant("MAP_PRIVATE") or 0
MAP_SHARED: int = constant("MAP_SHARED") or 0
MFD_HUGETLB = 4

fcntl: Any = module("fcntl")

POOL = Path("/proc/sys/vm/nr_hugepages")
WANTED = 8


def meminfo(name: str) -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


HUGE = meminfo("Hugepagesize") * 1024 if Path("/proc/meminfo").exists() else 0


@pytest.fixture(autouse=True)
def _pool() -> Iterator[None]:
    """Enough huge pages, and all of them back at the end."""
    if not HUGE:
        pytest.skip("the kernel has no huge pages")
    # They are the machine's, and other tests may run beside these.
    with (Path(tempfile.gettempdir()) / "cffimmap-huge-pages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield from pool()


def pool() -> Iterator[None]:
    before = POOL.read_text(encoding="ascii")
    with suppress(OSError):
        POOL.write_text(str(WANTED), encoding="ascii")
    try:
        if meminfo("HugePages_Free") < WANTED:
            pytest.skip("the kernel gives no huge pages here")
        yield
        assert meminfo("HugePages_Free") == meminfo("HugePages_Total")
    finally:
        with suppress(OSError):
            POOL.write_text(before, encoding="ascii")


def memory_file(length: int) -> int:
    if not hasattr(os, "memfd_create"):
        pytest.skip("the interpreter has no memfd_create")
    descriptor = os.memfd_create("huge", MFD_HUGETLB)
    os.truncate(descriptor, length)
    return descriptor


@pytest.mark.parametrize("flags", [MAP_PRIVATE | MAP_HUGETLB, MAP_SHARED | MAP_HUGETLB])
@pytest.mark.parametrize("length", [5000, HUGE, HUGE + 1])
@pytest.mark.parametrize("exported", [False, True])
def test_memory_is_given_back_whole(flags: int, length: int, exported: bool) -> None:
    free = meminfo("HugePages_Free")
    m = cffimmap.mmap(-1, length, flags)
    assert len(m) == length
    m[0] = m[length - 1] = 7
    assert meminfo("HugePages_Free") < free
    if exported:
        assert bytes(memoryview(m)[-1:]) == b"\7"
    m.close()
    assert m.closed
    assert meminfo("HugePages_Free") == free


@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.parametrize("flags", [MAP_SHARED, MAP_PRIVATE])
def test_a_file_is_resized(flags: int, exported: bool) -> None:
    descriptor = memory_file(2 * HUGE)
    try:
        m: Any = cffimmap.mmap(descriptor, 0, flags)
        m[0] = m[HUGE] = 7
        if exported:
            assert bytes(memoryview(m)[:1]) == b"\7"
        for pages in (1, 3, 2):
            m.resize(pages * HUGE)
            assert (len(m), m.size()) == (pages * HUGE, pages * HUGE)
            assert (m[0], m[len(m) - 1]) == (7, 0)
        # What is no whole page the file system refuses, and all is as it was.
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            m.resize(HUGE + 5000)
        assert (len(m), m.size(), m[0]) == (2 * HUGE, 2 * HUGE, 7)
        m.close()
    finally:
        os.close(descriptor)


def test_private_memory_is_resized() -> None:
    with cffimmap.mmap(-1, HUGE, MAP_PRIVATE | MAP_HUGETLB) as m:
        m[0] = 7
        m.resize(2 * HUGE)
        m[HUGE] = 8
        assert (m[0], m[HUGE]) == (7, 8)
        m.resize(5000)
        assert (len(m), m[0]) == (5000, 7)
