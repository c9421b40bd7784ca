"""The sessions of the project: `nox -l` lists them, `nox -s tests-3.13 -- tests/test_search.py` runs one test file.

The tests run on every supported interpreter that is on the machine; nox names those that are not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import nox

HERE = Path(__file__).resolve().parent

CPYTHONS = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]
FREE_THREADED = ["3.14t", "3.15t"]
INTERPRETERS = [*CPYTHONS, *FREE_THREADED, "pypy3"]
COVERED = ["3.9", "3.11", "3.13"]

# Tests that take their time in threads, signals and processes, and reach no line that others do not.
STRESS = [
    "test_interrupts.py",
    "test_waiting.py",
    "test_many_threads.py",
    "test_fork_beside_threads.py",
    "test_ends.py",
]

# Has the tests ask Python for what C answers by itself otherwise (tests/conftest.py).
WITHOUT_QUICK_LANE = {"CFFIMMAP_TEST_QUICK": "0"}

# Where CPython 3.15's own test_mmap.py lies, if not with an interpreter on the path.
TEST_MMAP_315 = "CFFIMMAP_TEST_MMAP"
NO_OWN_COPY = 77

# The command that runs CPython 3.11 for Windows (`run ARGS...`) and cross-compiles modules for it (`cc SOURCE...`).
WINDOWS_PYTHON = "CFFIMMAP_WINDOWS_PYTHON"

C_COMPILERS = ["gcc", "clang", "musl-gcc"]
# A name that hides another is how a macro's variable takes what was meant for its caller's.
C_FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-c", "-o", os.devnull]

# What is compiled for Windows, or for Unix, and nowhere else.
WINDOWS_SOURCES = {"windows.c", "resize_windows.c", "guard.c", "request_windows.c"}
UNIX_SOURCES = {"unix.c", "resize_unix.c", "request_unix.c"}

# Python's own API as the modules of csrc/cpython are built with it: all of it, and the limited one.
PYTHON_APIS: list[list[str]] = [[], ["-DPy_LIMITED_API=0x030B0000"]]

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

# The calls of a lower floor that the test of csrc/mapping.c makes fail, by the linker's --wrap.
FAILING_ON_UNIX = [
    "ftruncate64",
    "fstat64",
    "fcntl64",
    "mmap64",
    "munmap",
    "mremap",
    "cm_sync_file",
    "cm_around_forks",
]
FAILING_ON_WINDOWS = [
    f"cm_{call}"
    for call in (
        "map",
        "truncate",
        "status",
        "duplicate",
        "make_section",
        "open_section",
        "store",
        "unmap",
        "close",
    )
]

# csrc/guard.c with a vectored handler, and with the structured exceptions of Microsoft's compiler, which clang has too.
GUARDS = {"handler": [], "try": ["-fms-extensions", "-DCM_HAS_TRY"]}

# Runs the program in its arguments, and Python with them. A crash may look like success from outside Wine (8), so that a
# parent on Windows says how its child has ended.
RUN_PROGRAM = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode != 0)"
RUN_PYTHON = RUN_PROGRAM.replace("sys.argv[1:]", "[sys.executable, '-u', *sys.argv[1:]]")

# The wheel that 3.11 builds is for all that follow. Not built on the newest: Debian's 3.15 names the module in it so
# that no other interpreter finds it.
ABI3_BUILDER = "3.11"
WHEEL_BUILDERS = ["3.9", "3.10", ABI3_BUILDER, "pypy3"]
NEWER = ["3.11", "3.12", "3.13", "3.14", "3.15"]
BUILT = HERE / "dist" / "built"
WHEELHOUSE = HERE / "dist" / "wheels"
COMPILERS = ["cc", "c++", "gcc", "g++", "clang", "clang++", "tcc", "musl-gcc", "cl"]

# Ends with the names of those programs in its arguments that the environment's PATH has, or well.
REFUSE_PROGRAMS = "import shutil, sys; sys.exit(' '.join(filter(shutil.which, sys.argv[1:])) or None)"

# What an interpreter calls a wheel for itself alone.
OWN_TAGS = """
from packaging.tags import sys_tags
tag = next(sys_tags())
print(f"{tag.interpreter}-{tag.abi}")
"""

# Runs cibuildwheel as if on a machine of the kind in the first argument, which decides what it builds.
CIBUILDWHEEL_ON = """
import platform, runpy, sys
machine = sys.argv.pop(1)
platform.machine = lambda: machine
runpy.run_module("cibuildwheel", run_name="__main__")
"""

# What the bench compares ours with beside the builtin, where it installs.
COMPARED = ["stringzilla", "fmmap"]

# What cibuildwheel builds on the machines of .github/workflows/build.yml, or only tests, with the wheel of 3.11.
CP = ["cp39", "cp310", "cp311", "cp312", "cp313", "cp314", "cp315"]
PP = ["pp310", "pp311"]
TESTED_ONLY = ["cp312", "cp313", "cp314", "cp315"]
MACHINES = {
    ("linux", "x86_64"): {"manylinux_x86_64": [*CP, *PP], "musllinux_x86_64": CP},
    ("linux", "aarch64"): {"manylinux_aarch64": [*CP, *PP], "musllinux_aarch64": CP},
    ("macos", "x86_64"): {"macosx_x86_64": [*CP, *PP]},
    ("macos", "arm64"): {"macosx_arm64": [*CP, *PP]},
    ("windows", "AMD64"): {"win_amd64": [*CP, *PP]},
    ("windows", "ARM64"): {"win_arm64": CP[2:]},
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
    if all(argument.startswith("-") for argument in arguments):
        session.run("pytest", *ignored(STRESS), *arguments)
        # Many of these collect garbage, which takes PyPy several times as long among the objects of all other tests.
        arguments = (*arguments, *(f"tests/{name}" for name in STRESS))
    session.run("pytest", *arguments)


def ignored(names: list[str]) -> list[str]:
    """pytest's options to leave files of tests out."""
    return [f"--ignore=tests/{name}" for name in names]


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
    session.run("mypy", "--platform", "win32", "cffimmap")
    session.run("mypy", "tests")
    session.run("mypy", "tests/cpython")


@nox.session(python=COVERED)
def coverage(session: nox.Session) -> None:
    """Branch coverage of the package, with the quick lane and without it, over the versions of CPython that differ."""
    if session.python == COVERED[0]:
        for old in HERE.glob(".coverage*"):
            old.unlink()
    install(session, "coverage", ".")
    # Once is enough for what C answers by itself elsewhere.
    for environment in ({}, WITHOUT_QUICK_LANE) if session.python == COVERED[-1] else ({},):
        pytest = str(Path(session.bin) / "pytest")
        session.run("coverage", "run", pytest, "-q", *ignored(STRESS), *session.posargs, env=environment)
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
        for source in c_sources("unix"):
            session.run(compiler, *C_FLAGS, "-Icsrc", source, external=True)
        for source in cpython_sources("unix"):
            for api in PYTHON_APIS:
                session.run(compiler, *C_FLAGS, *api, "-Icsrc", f"-I{headers}", source, external=True)


def c_sources(target: str) -> list[str]:
    """The C sources of the contract for a target."""
    return sources_in(HERE / "csrc", target)


def cpython_sources(target: str) -> list[str]:
    """The C sources of CPython's `Memory` and class, which need Python's headers."""
    return sources_in(HERE / "csrc" / "cpython", target)


def sources_in(folder: Path, target: str) -> list[str]:
    """The C sources of a folder that a target has."""
    left_out = UNIX_SOURCES if "windows" in target else WINDOWS_SOURCES
    return [str(path) for path in sorted(folder.glob("*.c")) if path.name not in left_out]


def zig_cc(target: str) -> list[str]:
    """zig's C compiler for a target. Windows has had the universal C runtime since version 10."""
    return ["python", "-m", "ziglang", "cc", "-target", target, *(["-D_UCRT"] if "windows" in target else [])]


def compile_for(session: nox.Session, target: str) -> None:
    """Compiles for a target: a warning is an error, and so is a name of the module that its headers lack."""
    session.log(f"== {target}")
    processor, system = target.split("-")[:2]
    tests = ["mapping.c"] if system == "windows" else ["contract.c", "search.c", "mapping.c"]
    # Not to os.devnull, beside which zig leaves an object for Windows in the working directory.
    output = str(Path(session.create_tmp()).resolve() / "object")
    for source in [*c_sources(target), *(str(CONTRACT / test) for test in tests)]:
        session.run(*zig_cc(target), *CROSS_FLAGS, "-c", "-o", output, source)
    session.run("python", str(CONTRACT / "names.py"), system, processor, *zig_cc(target))


def failing(calls: list[str]) -> list[str]:
    """What has the test of csrc/mapping.c make calls fail."""
    return ["-DFAILING", *(f"-Wl,--wrap={call}" for call in calls)]


def run_contract(session: nox.Session, name: str, compiler: list[str], emulator: list[str]) -> None:
    """Builds and runs the tests of the contract and of its search."""
    for test in ["contract", "search"]:
        session.log(f"== {test}, {name}")
        program = str(Path(session.create_tmp()).resolve() / f"{test}-{name}")
        sources = [*c_sources("unix"), str(CONTRACT / f"{test}.c")]
        session.run(*compiler, *CROSS_FLAGS, *sources, "-o", program, external=True)
        session.run(*emulator, program, *(["--emulated"] if emulator else []), external=True)


def run_mapping(session: nox.Session, name: str, flags: list[str]) -> None:
    """Builds and runs the test of csrc/mapping.c and what lies under it."""
    session.log(f"== mapping, {name}")
    program = str(Path(session.create_tmp()).resolve() / f"mapping-{name}")
    sources = [*c_sources("unix"), str(CONTRACT / "mapping.c")]
    session.run("gcc", *CROSS_FLAGS, *flags, *sources, "-pthread", "-o", program, external=True)
    session.run(program, external=True)


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

    The headers of the systems come with zig's C compiler. csrc/cpython is left out: Python's headers do not.
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
        run_mapping(session, name, [*flags, *failing(FAILING_ON_UNIX)])
    run_mapping(session, "threads", ["-g", "-fsanitize=thread"])
    for target, emulator in EMULATORS.items():
        run_contract(session, target, zig_cc(target), [emulator])


@nox.session(python="3.11")
def windows(session: nox.Session) -> None:
    """The tests and CPython's test_mmap on Windows, by Wine: the package is built here for the CPython 3.11 there."""
    tool = os.environ.get(WINDOWS_PYTHON)
    if not tool:
        session.error(
            f"{WINDOWS_PYTHON} is not set: it names what runs a Windows Python (see CONTRIBUTING.md)"
        )
    folder = Path(session.create_tmp()).resolve() / "windows"
    shutil.rmtree(folder, ignore_errors=True)
    build_for_windows(session, tool, folder)
    python = [tool, "run", "-u", "-c", RUN_PYTHON]
    # Wine's server ends with its last process. A run that came right after another once found its connection reset
    # (Wine 8), so that one process waits until the last run is done.
    waiting = [tool, "run", "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE):  # noqa: S603, the tool that the user named
        run_windows_tests(session, python, {"PYTHONPATH": wine_path(folder)})
        run_windows_mapping(session, python)
        run_guards(session, python)


def run_windows_tests(session: nox.Session, python: list[str], environment: dict[str, str]) -> None:
    """Runs the tests and CPython's test_mmap, its own copy and that of 3.15."""
    session.chdir(HERE / "tests")
    session.run(*python, "-m", "cffimmap", "info", env=environment, external=True)
    options = ["-m", "pytest", "-p", "no:cacheprovider", *session.posargs]
    session.run(*python, *options, env=environment, external=True)
    copies: list[list[str]] = [[]]
    newest = newest_test_mmap()
    if newest is None:
        session.warn(f"the 3.15 copy of test_mmap was not run: {TEST_MMAP_315} can name the file")
    else:
        copies.append(["--copy", wine_path(Path(newest))])
    for copy in copies:
        session.run(*python, "cpython/run.py", *copy, env=environment, external=True)


def run_windows_mapping(session: nox.Session, python: list[str]) -> None:
    """Builds and runs the test of csrc/mapping.c and what lies under it."""
    session.chdir(HERE)
    session.log("== mapping")
    program = Path(session.create_tmp()).resolve() / "mapping.exe"
    sources = [*c_sources("windows"), str(CONTRACT / "mapping.c")]
    flags = ["-D_UCRT", *CROSS_FLAGS, *failing(FAILING_ON_WINDOWS)]
    libraries = ["-ladvapi32", "-lucrt", "-static-libgcc"]
    session.run("x86_64-w64-mingw32-gcc", *flags, *sources, "-o", str(program), *libraries, external=True)
    session.run(*python, "-c", RUN_PROGRAM, wine_path(program), external=True)


def run_guards(session: nox.Session, python: list[str]) -> None:
    """Builds and runs the test of csrc/guard.c: the package has been built with gcc, which has no other guard."""
    session.chdir(HERE)
    session.install("ziglang")
    sources = [str(HERE / "csrc" / "guard.c"), str(CONTRACT / "guard.c")]
    for name, flags in GUARDS.items():
        session.log(f"== guard, {name}")
        program = Path(session.create_tmp()).resolve() / f"guard-{name}.exe"
        compiler = [*zig_cc("x86_64-windows-gnu"), *CROSS_FLAGS, *flags]
        session.run(*compiler, *sources, "-o", str(program), "-ladvapi32")
        session.run(*python, "-c", RUN_PROGRAM, wine_path(program), external=True)


def wine_path(path: Path) -> str:
    """What Wine calls a file: it shows the folder / as drive Z:."""
    return "Z:" + str(path).replace("/", "\\")


def build_for_windows(session: nox.Session, tool: str, folder: Path) -> None:
    """Puts the package into a folder as an installation on Windows would have it."""
    session.install("cffi", "setuptools>=77")
    session.run("python", "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), ".")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as contents:
        contents.extractall(folder)  # noqa: S202, our own
    for module in (folder / "cffimmap").glob("*.so"):
        module.unlink()
    generated = folder / "_cffimmap.c"
    emit = f"import build_ffi; build_ffi.make_builder(windows=True).emit_c_code({str(generated)!r})"
    session.run("python", "-c", emit)
    shared = c_sources("windows")
    sources = {"_cffimmap": [str(generated), *shared], "_memory": [*cpython_sources("windows"), *shared]}
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-D_CFFI_NO_LIMITED_API", "-Icsrc"]
    for name, files in sources.items():
        target = folder / "cffimmap" / f"{name}.cp311-win_amd64.pyd"
        session.run(tool, "cc", *flags, *files, "-o", str(target), external=True)


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


@nox.session(python=WHEEL_BUILDERS)
def wheels(session: nox.Session) -> None:
    """Builds the interpreter's wheel from the source distribution, and has it repaired and tested."""
    session.install("build", "packaging")
    folder = Path(session.create_tmp()).resolve() / "built"
    shutil.rmtree(folder, ignore_errors=True)
    # Without --wheel: the wheel is built from the source distribution's contents.
    session.run("python", "-m", "build", "--outdir", str(folder))
    (wheel,) = folder.glob("*.whl")
    abi3 = session.python == ABI3_BUILDER
    tags = "cp311-abi3" if abi3 else printed(session, "-c", OWN_TAGS)
    if f"-{tags}-linux_" not in wheel.name:
        session.error(f"{wheel.name} is not tagged {tags}-linux_...")
    BUILT.mkdir(parents=True, exist_ok=True)
    shutil.move(wheel, BUILT / wheel.name)
    session.notify("repair_wheels")
    for interpreter in NEWER if abi3 else [session.python]:
        session.notify(f"wheel_tests-{interpreter}")


# On one interpreter for all: auditwheel does not run on PyPy 7.3.11.
@nox.session(python="3.13")
def repair_wheels(session: nox.Session) -> None:
    """Repairs the wheels that were built, and checks that an abi3 wheel uses the limited API alone."""
    install(session, "wheels")
    for wheel in sorted(BUILT.glob("*.whl")):
        repaired = repair(session, wheel)
        session.run("auditwheel", "show", str(repaired))
        if "-abi3-" in repaired.name:
            session.run("abi3audit", "--strict", "--report", str(repaired))
        wheel.unlink()


def repair(session: nox.Session, wheel: Path) -> Path:
    """Has auditwheel give a wheel a manylinux tag and nothing else, in the place of an older one with its tags."""
    wanted = f"{wheel.name.rsplit('-', 1)[0]}-manylinux_*.whl"
    for old in WHEELHOUSE.glob(wanted):
        old.unlink()
    session.run("auditwheel", "repair", "--wheel-dir", str(WHEELHOUSE), str(wheel))
    (repaired,) = WHEELHOUSE.glob(wanted)
    return repaired


def printed(session: nox.Session, *arguments: str) -> str:
    """What the session's Python prints, without the line end."""
    return str(session.run("python", *arguments, silent=True, log=False)).strip()


# As a user installs it: an environment never used before, whatever nox is told to keep.
@nox.session(python=INTERPRETERS, reuse_venv=False)
def wheel_tests(session: nox.Session) -> None:
    """Installs the repaired wheel that fits the interpreter, with no compiler in reach, and runs all tests on it."""
    path = {"PATH": session.bin}
    session.run("python", "-c", REFUSE_PROGRAMS, *COMPILERS, env=path)
    dependencies = GROUPS["project"]["dependencies"]
    requirements = nox.project.dependency_groups(GROUPS, "test")
    session.install("--only-binary", ":all:", *dependencies, *requirements, env=path)
    # Not from an index, and never built: the wheel from the folder that fits, or none.
    here = ["--no-index", "--find-links", str(WHEELHOUSE)]
    session.install("--only-binary", ":all:", *here, "cffimmap", env=path)
    with session.chdir("tests"):
        session.run("python", "-m", "cffimmap", "info", env=path)
    session.run("pytest", *session.posargs, env=path)


@nox.session(python="3.13")
def workflows(session: nox.Session) -> None:
    """The workflows of .github against their schemas and zizmor's audits, and which wheels they would build."""
    install(session, "workflows")
    files = [str(path) for path in sorted((HERE / ".github" / "workflows").glob("*.yml"))]
    for schema in ["vendor.github-workflows", "custom.github-workflows-require-timeout"]:
        session.run("check-jsonschema", "--builtin-schema", schema, *files)
    session.run("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")
    session.run("zizmor", "--offline", "--persona=auditor", "--strict-collection", ".github")
    for (system, machine), builds in MACHINES.items():
        check_selectors(session, system, machine, identifiers(builds))


def identifiers(builds: dict[str, list[str]]) -> list[str]:
    """cibuildwheel's names for the builds of some interpreters on some platforms."""
    return [f"{python}-{platform}" for platform, pythons in builds.items() for python in pythons]


def check_selectors(session: nox.Session, system: str, machine: str, wanted: list[str]) -> None:
    """What cibuildwheel would build on a machine of that kind is what is wanted, no more and no less."""
    options = ["--print-build-identifiers", "--platform", system]
    selected = printed(session, "-c", CIBUILDWHEEL_ON, machine, *options).split()
    if sorted(selected) != sorted(wanted):
        session.error(f"{system} on {machine}: cibuildwheel would build {selected}, not {wanted}")
    session.log(f"{system} on {machine}: {' '.join(selected)}")


@nox.session(python=False)
def release_files(session: nox.Session) -> None:
    """`nox -s release_files -- v1.2.3 dist`: the folder holds the version's files, all of them and no other."""
    tag, folder = session.posargs
    version = package_version()
    if tag != f"v{version}":
        session.error(f"the tag is {tag}, the version {version}")
    builds = [name for machine in MACHINES.values() for name in identifiers(machine)]
    built = [name for name in builds if name.split("-")[0] not in TESTED_ONLY]
    wanted = Counter([f"cffimmap-{version}.tar.gz", *built])
    found = Counter(kind_of_file(path.name, version) for path in Path(folder).iterdir())
    if found != wanted:
        session.error(f"missing: {sorted(wanted - found)}, too many: {sorted(found - wanted)}")
    session.log(f"{found.total()} files, as wanted")


def package_version() -> str:
    """The version of the package, which _version.py alone says."""
    text = (HERE / "cffimmap" / "_version.py").read_text(encoding="utf-8")
    return str(re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0])


def kind_of_file(name: str, version: str) -> str:
    """For a wheel of that version the name that cibuildwheel has for its build; any other file's own name."""
    wheel = re.fullmatch(rf"cffimmap-{re.escape(version)}-(\w+)-(\w+)-([^-]+)\.whl", name)
    if wheel is None or (wheel[2] == "abi3") != (wheel[1] == "cp311"):
        return name
    # The first of several platforms, without the version of the C library or system.
    platform = re.sub(r"^(manylinux|musllinux|macosx)(_\d+_\d+|\d+)_", r"\1_", wheel[3].split(".")[0])
    return f"{wheel[1]}-{platform}"


@nox.session(python=INTERPRETERS)
def bench(session: nox.Session) -> None:
    """The builtin mmap, others and ours side by side, and a report of all interpreters; CI does not run it."""
    install(session, "bench", ".")
    for other in COMPARED:
        try:
            # Without a wheel it takes PyPy ten minutes to build.
            session.install("--only-binary", "stringzilla", other)
        except nox.command.CommandFailed:
            session.warn(f"{other} does not install here: its rows stay empty")
    session.run("python", "benchmarks/run.py", *session.posargs)
    session.notify("bench_report")


@nox.session(python="3.13")
def bench_report(session: nox.Session) -> None:
    """The table and the plot (docs/speed.svg) of what the bench sessions have measured."""
    install(session, "bench-report")
    session.run("python", "benchmarks/report.py")


# The interpreter that benchmarks/instructions.json is of.
@nox.session(python="3.11")
def instructions(session: nox.Session) -> None:
    """The instructions of short operations, by valgrind: more than before fail. `-- --update` keeps what is found."""
    session.install(".")
    session.run("python", "benchmarks/instructions.py", *session.posargs)
