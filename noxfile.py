"""The sessions of the project: `nox -l` lists them, `nox -s tests-3.13 -- tests/test_search.py` runs one test file.

The tests run on every supported interpreter that is on the machine; nox names those that are not.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
import tarfile
from pathlib import Path

import nox

HERE = Path(__file__).resolve().parent

CPYTHONS = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]
INTERPRETERS = [*CPYTHONS, "pypy3"]
COVERED = ["3.9", "3.11", "3.13"]

# Where CPython 3.15's own test_mmap.py lies, if not with an interpreter on the path.
TEST_MMAP_315 = "CFFIMMAP_TEST_MMAP"
NO_OWN_COPY = 77

C_COMPILERS = ["gcc", "clang", "musl-gcc"]
C_FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-c", "-o", os.devnull]

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests", "test_mmap"]
# Virtualenv takes PyPy for `python3.9` when it runs on PyPy itself.
nox.options.default_venv_backend = "venv"
# A missing interpreter is named in the summary. With CI in the environment nox would call it an error.
nox.options.error_on_missing_interpreters = False

GROUPS = nox.project.load_toml("pyproject.toml")


def put_pyenv_on_path() -> None:
    """Makes all interpreters of pyenv visible, whose shims know only those that are chosen."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    folders = [str(folder) for folder in sorted(root.glob("versions/*/bin"), reverse=True)]
    os.environ["PATH"] = os.pathsep.join([*folders, os.environ["PATH"]])


put_pyenv_on_path()


def install(session: nox.Session, group: str, *packages: str) -> None:
    """Installs a dependency group. Hypothesis as a wheel: its newest releases have none for PyPy 8 and do not build."""
    requirements = nox.project.dependency_groups(GROUPS, group)
    session.install("--only-binary", "hypothesis,numpy", *requirements, *packages)


def run_pytest(session: nox.Session, *arguments: str) -> None:
    """Runs the tests against the installed package: not by `python -m`, which would look into this folder first."""
    session.run("pytest", *arguments)


@nox.session(python=INTERPRETERS)
def tests(session: nox.Session) -> None:
    """The tests, on every interpreter."""
    install(session, "test", ".")
    with session.chdir("tests"):
        session.run("python", "-m", "cffimmap", "info")
    run_pytest(session, *session.posargs)


@nox.session(python=INTERPRETERS)
def test_mmap(session: nox.Session) -> None:
    """CPython's own test_mmap with cffimmap in the place of mmap: the interpreter's copy, and that of 3.15."""
    session.install(".")
    runner = str(HERE / "tests" / "cpython" / "run.py")
    session.run("python", runner, success_codes=[0, NO_OWN_COPY])
    newest = newest_test_mmap()
    if newest is None:
        session.warn(
            f"the 3.15 copy was not run: no CPython 3.15 with its tests; {TEST_MMAP_315} can name the file"
        )
        return
    session.run("python", runner, "--copy", newest)


def newest_test_mmap() -> str | None:
    """CPython 3.15's test_mmap.py: the file named in the environment, or that of the interpreter on the path."""
    named = os.environ.get(TEST_MMAP_315)
    if named:
        return named
    interpreter = shutil.which("python3.15")
    if interpreter is None:
        return None
    library = Path(interpreter).resolve().parent.parent / "lib" / "python3.15" / "test" / "test_mmap.py"
    return str(library) if library.exists() else None


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: lint and format."""
    install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check", "--diff")


@nox.session(python="3.13")
def types(session: nox.Session) -> None:
    """mypy --strict over the package, the tests and what builds them."""
    install(session, "types", ".")
    session.run("mypy", "cffimmap", "build_ffi.py", "setup.py", "noxfile.py", "benchmarks")
    session.run("mypy", "tests")
    session.run("mypy", "tests/cpython")


@nox.session(python=COVERED)
def coverage(session: nox.Session) -> None:
    """Branch coverage of the package, combined over the versions of CPython that differ."""
    if session.python == COVERED[0]:
        for old in HERE.glob(".coverage*"):
            old.unlink()
    install(session, "coverage", ".")
    session.run("coverage", "run", str(Path(session.bin) / "pytest"), "-q", *session.posargs)
    session.notify("coverage_report")


@nox.session
def coverage_report(session: nox.Session) -> None:
    """What the coverage sessions measured, together; less than all fails."""
    install(session, "coverage")
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session
def warnings(session: nox.Session) -> None:
    """The C sources under every compiler, with glibc and musl: a warning is an error."""
    headers = sysconfig.get_path("include")
    for compiler in C_COMPILERS:
        for source in sorted((HERE / "csrc").glob("*.c")):
            session.run(compiler, *C_FLAGS, "-Icsrc", f"-I{headers}", str(source), external=True)


@nox.session
def sdist(session: nox.Session) -> None:
    """Builds the source distribution, and builds and tests the package from its contents alone."""
    session.install("build")
    folder = Path(session.create_tmp()).resolve() / "sdist"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--sdist", "--outdir", str(folder))
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as contents:
        contents.extractall(folder, filter="data")
    source = archive.with_suffix("").with_suffix("")
    install(session, "test", str(source))
    session.chdir(source)
    run_pytest(session, "-q", *session.posargs)


@nox.session(python=INTERPRETERS)
def benchmark(session: nox.Session) -> None:
    """The builtin mmap and cffimmap side by side; not part of what CI runs."""
    install(session, "bench", ".")
    session.run("python", "benchmarks/operations.py", *session.posargs)
