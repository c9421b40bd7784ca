"""The tests of CPython's test_mmap that cffimmap cannot pass, each with its reason.

On CPython 3.15 there is none. A test of the 3.15 copy is here only for the interpreter's own fault;
one of an interpreter's own copy only where CPython 3.15, which cffimmap follows, answers otherwise.
"""

from __future__ import annotations

from _verdict import Entry

EXCEPTIONS = (
    Entry(
        "3.15",
        ("CPython 3.9", "CPython 3.10", "CPython 3.11"),
        "MmapTests.test_setitem_slice_resize_reentrancy",
        "the value assigned is of a class with __buffer__, which these versions do not look at",
        builtin_passes=False,
    ),
    Entry(
        "own",
        (
            "CPython 3.9",
            "CPython 3.10",
            "CPython 3.11",
            "CPython 3.12",
            "CPython 3.13",
            "PyPy 7.3",
            "PyPy 8.0",
        ),
        "MmapTests.test_basic",
        "wants IndexError for m[len(m)] = b'\\0'; 3.15 looks at the value first: TypeError",
        builtin_passes=True,
    ),
    Entry(
        "own",
        ("CPython 3.13", "CPython 3.14"),
        "MmapTests.test_trackfd_parameter",
        "wants OSError from size() of a map without descriptor; in 3.15 it is ValueError",
        builtin_passes=True,
    ),
    Entry(
        "own",
        ("CPython 3.13", "CPython 3.14"),
        "MmapTests.test_trackfd_neg1",
        "wants OSError from size() of a map without descriptor; in 3.15 it is ValueError",
        builtin_passes=True,
    ),
)
