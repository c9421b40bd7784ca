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

CONTRACT = HERE / "tests" / "contract"
CROSS_FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-Icsrc"]
CROSS_TARGETS = [
    "x86_64-macos",
    "aarch64-macos",
    "x86_64-freebsd",
    "aarch64-freebsd",
    "x86-freebsd",
    "x86_64-netbsd",
    "aarch64-netbsd",
    "x86-netbsd",
    "x86_64-openbsd",
    "aarch64-openbsd",
    "x86_64-linux-gnu",
    "aarch64-linux-gnu",
    "x86-linux-gnu",
    "arm-linux-gnueabihf",
    "x86_64-linux-musl",
    "aarch64-linux-musl",
    "x86-linux-musl",
    "arm-linux-musleabihf",
    "x86_64-windows-gnu",
    "aarch64-windows-gnu",
]
EMULATORS = {"aarch64-linux-musl": "qemu-aarch64", "arm-linux-musleabihf": "qemu-arm"}
NATIVE_BUILDS = {
    "native": [],
    "32-bit": ["-m32"],
    "sanitized": ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    # This machine as a Unix that has none of Linux's own calls.
    "not-linux": ["-U__linux__", "-D_GNU_SOURCE"],
}

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


def c_sources(target: str) -> list[str]:
    """The C sources for a target, without csrc/cpython.c, which needs the target's own Python headers."""
    left_out = ["cpython.c", "unix.c" if "windows" in target else "windows.c"]
    return [str(path) for path in sorted((HERE / "csrc").glob("*.c")) if path.name not in left_out]


def zig_cc(target: str) -> list[str]:
    """zig's C compiler for a target. Windows has had the universal C runtime since version 10."""
    return ["python", "-m", "ziglang", "cc", "-target", target, *(["-D_UCRT"] if "windows" in target else [])]


def compile_for(session: nox.Session, target: str) -> None:
    """Compiles for a target: a warning is an error, and so is a name of the module that its headers lack."""
    session.log(f"== {target}")
    processor, system = target.split("-")[:2]
    test = [] if system == "windows" else [str(CONTRACT / "contract.c")]
    # Not to os.devnull, beside which zig leaves an object for Windows in the working directory.
    output = str(Path(session.create_tmp()).resolve() / "object")
    for source in [*c_sources(target), *test]:
        session.run(*zig_cc(target), *CROSS_FLAGS, "-c", "-o", output, source)
    session.run("python", str(CONTRACT / "names.py"), system, processor, *zig_cc(target))


def run_contract(session: nox.Session, name: str, compiler: list[str], emulator: list[str]) -> None:
    """Builds and runs the contract's test."""
    session.log(f"== contract, {name}")
    program = str(Path(session.create_tmp()).resolve() / f"contract-{name}")
    sources = [*c_sources("unix"), str(CONTRACT / "contract.c")]
    session.run(*compiler, *CROSS_FLAGS, *sources, "-o", program, external=True)
    session.run(*emulator, program, *(["--emulated"] if emulator else []), external=True)


def need(session: nox.Session, present: bool, what: str, package: str) -> None:
    """Ends the session with the name of the package that has what is lacking."""
    if not present:
        session.error(f"{what} is not here: apt-get install {package}")


def has_32_bit_libraries(session: nox.Session) -> bool:
    """Whether gcc finds the start of a 32-bit program: it answers with the bare name of what it does not find."""
    answer = session.run("gcc", "-m32", "-print-file-name=crt1.o", silent=True, external=True)
    return os.sep in str(answer)


@nox.session
def cross(session: nox.Session) -> None:
    """The C sources for other systems and processors, and the contract's test on those that this machine can play.

    The headers of the systems come with zig's C compiler. csrc/cpython.c is left out: Python's headers do not.
    """
    need(session, shutil.which("gcc") is not None, "gcc", "gcc")
    need(session, has_32_bit_libraries(session), "the 32-bit C library", "gcc-multilib")
    for emulator in EMULATORS.values():
        need(session, shutil.which(emulator) is not None, emulator, "qemu-user")
    session.install("ziglang")
    for target in CROSS_TARGETS:
        compile_for(session, target)
    for name, flags in NATIVE_BUILDS.items():
        run_contract(session, name, ["gcc", *flags], [])
    for target, emulator in EMULATORS.items():
        run_contract(session, target, zig_cc(target), [emulator])


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
