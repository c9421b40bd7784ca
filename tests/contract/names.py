"""Checks which names csrc/constants.c has on another system, by what a compiler for it makes of the file.

    python names.py linux x86_64 python -m ziglang cc -target x86_64-linux-musl

The arguments are the system, the processor and the compiler with its options. A header that stops defining a name, or a
line that constants.c lost, would otherwise take the name away there without a word.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSTANTS = ROOT / "csrc" / "constants.c"
UNIX = ROOT / "csrc" / "unix.c"
ANNOTATIONS = ROOT / "cffimmap" / "_constants.py"
NO_CONSTANTS = {"PAGESIZE", "ALLOCATIONGRANULARITY"}

UNIX_NAMES = """
PROT_NONE PROT_READ PROT_WRITE PROT_EXEC MS_SYNC MS_ASYNC MS_INVALIDATE MAP_SHARED MAP_PRIVATE MAP_ANON MAP_ANONYMOUS
MADV_NORMAL MADV_RANDOM MADV_SEQUENTIAL MADV_WILLNEED MADV_DONTNEED MADV_FREE
"""

# What the headers have of the names that CPython 3.15 documents, and for Linux those of the kernel.
MORE_NAMES = {
    "linux": """
        MAP_DENYWRITE MAP_EXECUTABLE MAP_POPULATE MAP_STACK MAP_NORESERVE MAP_HUGETLB MAP_HUGE_2MB MAP_HUGE_1GB
        MAP_LOCKED MAP_FIXED_NOREPLACE MAP_SYNC MAP_GROWSDOWN MADV_REMOVE MADV_DONTFORK MADV_DOFORK MADV_HWPOISON
        MADV_MERGEABLE MADV_UNMERGEABLE MADV_HUGEPAGE MADV_NOHUGEPAGE MADV_DONTDUMP MADV_DODUMP MADV_POPULATE_READ
        MADV_POPULATE_WRITE MADV_COLD MADV_PAGEOUT MADV_COLLAPSE MADV_WIPEONFORK MADV_KEEPONFORK MADV_DONTNEED_LOCKED
        """,
    "macos": """
        MAP_NORESERVE MAP_NOEXTEND MAP_HASSEMAPHORE MAP_NOCACHE MAP_JIT MAP_RESILIENT_CODESIGN MAP_RESILIENT_MEDIA
        MAP_32BIT MAP_TRANSLATED_ALLOW_EXECUTE MAP_UNIX03 MAP_TPRO MADV_FREE_REUSABLE MADV_FREE_REUSE MADV_PAGEOUT
        """,
    "freebsd": """
        MAP_STACK MAP_HASSEMAPHORE MAP_32BIT MAP_ALIGNED_SUPER
        MADV_NOSYNC MADV_AUTOSYNC MADV_NOCORE MADV_CORE MADV_PROTECT
        """,
    "netbsd": "MAP_STACK MAP_NORESERVE MAP_HASSEMAPHORE",
    "openbsd": "MAP_STACK MAP_NORESERVE MAP_HASSEMAPHORE MAP_NOEXTEND MAP_CONCEAL",
}

# Those of one processor, and what musl alone has of the kernel's.
LINUX_ON_X86 = {"MAP_32BIT"}
OPTIONAL = {"linux": {"MADV_SOFT_OFFLINE"}}


def expected_names(system: str, processor: str) -> set[str]:
    """The names that the system must have, without those that it may have."""
    if system == "windows":
        return {"MS_ASYNC", "MS_SYNC"}
    names = {*UNIX_NAMES.split(), *MORE_NAMES[system].split()}
    return names | LINUX_ON_X86 if system == "linux" and processor.startswith("x86") else names


def preprocessed(compiler: list[str], source: Path, *options: str) -> str:
    """What the compiler's preprocessor makes of a source."""
    command = [*compiler, "-std=c11", "-E", *options, str(source)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def annotated_names() -> set[str]:
    """The names that the package's type annotations have."""
    tree = ast.parse(ANNOTATIONS.read_text(encoding="utf-8"))
    targets = [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    return {target.id for target in targets if isinstance(target, ast.Name)} - NO_CONSTANTS


def faults(system: str, processor: str, compiler: list[str]) -> list[str]:
    """What is wrong, a line each."""
    names = set(re.findall(r'\{"(\w+)"', preprocessed(compiler, CONSTANTS)))
    expected = expected_names(system, processor)
    found = [f"{name} is missing" for name in sorted(expected - names)]
    found += [f"{name} is not expected" for name in sorted(names - expected - OPTIONAL.get(system, set()))]
    found += [f"{name} has no annotation" for name in sorted(names - annotated_names())]
    # Without it cm_sync_file would be compiled to do nothing.
    if system == "macos" and "#define F_FULLFSYNC" not in preprocessed(compiler, UNIX, "-dM"):
        found.append("F_FULLFSYNC is missing")
    return found


def main() -> None:
    """Prints what is wrong, and fails if anything is."""
    system, processor, *compiler = sys.argv[1:]
    found = faults(system, processor, compiler)
    print("\n".join(found) if found else f"the names of {system} on {processor} are all there")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
