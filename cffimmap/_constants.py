"""The names of the module that are numbers: MAP_, MADV_, PROT_ and MS_ as far as this platform has them.

The compiler fills in the values (csrc/constants.c). The annotations below are for type checkers: a name that the
platform lacks is annotated and does not exist, as in the standard library.
"""

from __future__ import annotations

from cffimmap._native import ffi as _ffi
from cffimmap._native import lib as _lib

ACCESS_DEFAULT = 0
ACCESS_READ = 1
ACCESS_WRITE = 2
ACCESS_COPY = 3

PAGESIZE: int = _lib.cm_page_size()
ALLOCATIONGRANULARITY: int = _lib.cm_granularity()

PROT_NONE: int
PROT_READ: int
PROT_WRITE: int
PROT_EXEC: int
MS_SYNC: int
MS_ASYNC: int
MS_INVALIDATE: int
MAP_SHARED: int
MAP_PRIVATE: int
MAP_ANON: int
MAP_ANONYMOUS: int
MAP_DENYWRITE: int
MAP_EXECUTABLE: int
MAP_POPULATE: int
MAP_STACK: int
MAP_NORESERVE: int
MAP_HUGETLB: int
MAP_HUGE_2MB: int
MAP_HUGE_1GB: int
MAP_LOCKED: int
MAP_FIXED_NOREPLACE: int
MAP_SYNC: int
MAP_GROWSDOWN: int
MAP_ALIGNED_SUPER: int
MAP_CONCEAL: int
MAP_NOEXTEND: int
MAP_HASSEMAPHORE: int
MAP_NOCACHE: int
MAP_JIT: int
MAP_RESILIENT_CODESIGN: int
MAP_RESILIENT_MEDIA: int
MAP_32BIT: int
MAP_TRANSLATED_ALLOW_EXECUTE: int
MAP_UNIX03: int
MAP_TPRO: int
MADV_NORMAL: int
MADV_RANDOM: int
MADV_SEQUENTIAL: int
MADV_WILLNEED: int
MADV_DONTNEED: int
MADV_REMOVE: int
MADV_DONTFORK: int
MADV_DOFORK: int
MADV_HWPOISON: int
MADV_MERGEABLE: int
MADV_UNMERGEABLE: int
MADV_SOFT_OFFLINE: int
MADV_HUGEPAGE: int
MADV_NOHUGEPAGE: int
MADV_DONTDUMP: int
MADV_DODUMP: int
MADV_FREE: int
MADV_NOSYNC: int
MADV_AUTOSYNC: int
MADV_NOCORE: int
MADV_CORE: int
MADV_PROTECT: int
MADV_FREE_REUSABLE: int
MADV_FREE_REUSE: int
MADV_POPULATE_READ: int
MADV_POPULATE_WRITE: int
MADV_COLD: int
MADV_PAGEOUT: int
MADV_COLLAPSE: int
MADV_WIPEONFORK: int
MADV_KEEPONFORK: int
MADV_DONTNEED_LOCKED: int


def _of_this_platform() -> dict[str, int]:
    table = (_lib.cm_constants[i] for i in range(_lib.cm_constant_count))
    return {_ffi.string(row.name).decode("ascii"): row.value for row in table}


NAMES = _of_this_platform()
globals().update(NAMES)
