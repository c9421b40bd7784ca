"""python -m cffimmap: info, find and run."""

from __future__ import annotations

import errno
import io
import os
import re
import runpy
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from _needs import needs

import cffimmap
from cffimmap.__main__ import main


def cffimmap_command(*arguments: str | bytes, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "cffimmap", *arguments], cwd=cwd, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.bin").write_bytes(b"aaaaXYaaa\xde\xad\xbe\xef")
    (tmp_path / "b.bin").write_bytes(b"nothing here")
    (tmp_path / "empty").touch()
    return tmp_path


@pytest.mark.usefixtures("folder")
class TestFind:
    @pytest.mark.parametrize(
        ("arguments", "output", "status"),
        [
            pytest.param(["XY", "a.bin"], "4\n", 0, id="found"),
            pytest.param(["zz", "a.bin"], "", 1, id="not found"),
            pytest.param(["aa", "a.bin"], "0\n2\n6\n", 0, id="without overlaps"),
            pytest.param(["n", "a.bin", "b.bin"], "b.bin:0\nb.bin:5\n", 0, id="names of several files"),
            pytest.param(["--count", "aa", "a.bin"], "3\n", 0, id="count"),
            pytest.param(["--count", "aa", "a.bin", "b.bin"], "a.bin:3\nb.bin:0\n", 0, id="count in each"),
            pytest.param(["--count", "zz", "a.bin"], "0\n", 1, id="count of none"),
            pytest.param(["--last", "aa", "a.bin"], "7\n", 0, id="last, overlapping the one before"),
            pytest.param(["--last", "aa", "a.bin", "b.bin"], "a.bin:7\n", 0, id="last in each"),
            pytest.param(["--last", "zz", "a.bin"], "", 1, id="last of none"),
            pytest.param(["--hex", "deadbeef", "a.bin"], "9\n", 0, id="hex"),
            pytest.param(["--hex", "de ad BE EF", "a.bin"], "9\n", 0, id="hex with spaces"),
            pytest.param(["XY", "--count", "a.bin"], "1\n", 0, id="option among the files"),
            pytest.param(["--", "-x", "a.bin"], "", 1, id="pattern with a dash"),
        ],
    )
    def test_prints_offsets(
        self, arguments: list[str], output: str, status: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["find", *arguments]) == status
        assert capsys.readouterr() == (output, "")

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            pytest.param(["x", "missing"], "missing: No such file or directory", id="missing"),
            pytest.param(["x", "empty"], "empty: cannot mmap an empty file", id="empty"),
            pytest.param(["--hex", "dea", "a.bin"], "bad hex pattern: 'dea'", id="half a byte"),
            pytest.param(["--hex", "xyz", "a.bin"], "bad hex pattern: 'xyz'", id="no hex"),
            pytest.param(["", "a.bin"], "the pattern is empty", id="no pattern"),
            pytest.param(["--hex", " ", "a.bin"], "the pattern is empty", id="no pattern in hex"),
        ],
    )
    def test_bad_input_is_one_line_and_status_2(
        self, arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["find", *arguments]) == 2
        assert capsys.readouterr() == ("", f"cffimmap: {reason}\n")

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows does not open folders and has no mkfifo")
    def test_directory_pipe_and_device_are_refused(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "folder").mkdir()
        os.mkfifo(folder / "pipe")
        assert main(["find", "x", "folder", "pipe", "/dev/zero"]) == 2
        assert capsys.readouterr().err.splitlines() == [
            "cffimmap: folder: is a directory",
            "cffimmap: pipe: not a regular file",
            "cffimmap: /dev/zero: not a regular file",
        ]

    @pytest.mark.parametrize("option", [[], ["--last"], ["--count"]])
    def test_other_files_are_searched_when_one_fails(
        self, option: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["find", *option, "XY", "missing", "a.bin", "empty"]) == 2
        output, errors = capsys.readouterr()
        assert output == ("a.bin:1\n" if option == ["--count"] else "a.bin:4\n")
        assert len(errors.splitlines()) == 2

    def test_output_and_errors_come_in_the_order_of_the_files(self, folder: Path) -> None:
        command = [sys.executable, "-m", "cffimmap", "find", "XY", "a.bin", "missing", "a.bin"]
        buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
        done = subprocess.run(
            command, cwd=folder, env=buffered, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        first, second, third = done.stdout.splitlines()
        assert (first, third) == (b"a.bin:4", b"a.bin:4")
        assert second.startswith(b"cffimmap: missing: ")

    def test_no_descriptor_is_left_open(self) -> None:
        def lowest_free() -> int:
            descriptor = os.dup(0)
            os.close(descriptor)
            return descriptor

        before = lowest_free()
        main(["find", "XY", "a.bin", "b.bin", "empty", "missing"])
        assert lowest_free() == before

    def test_lost_page_is_the_file_s_fault(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Failing(cffimmap.mmap):
            def find(self, *_: Any) -> int:
                raise OSError(errno.EIO, "lost")

        monkeypatch.setattr(cffimmap, "mmap", Failing)
        assert main(["find", "x", "a.bin"]) == 2
        assert capsys.readouterr() == ("", "cffimmap: a.bin: lost\n")

    def test_agrees_with_re_in_a_real_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        file = os.__file__
        offsets = [match.start() for match in re.finditer(b"import", Path(file).read_bytes())]
        assert len(offsets) > 10
        assert main(["find", "import", file]) == 0
        assert capsys.readouterr().out == "".join(f"{offset}\n" for offset in offsets)

    def test_interrupt_ends_quietly(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(cffimmap, "mmap", interrupted)
        assert main(["find", "x", "a.bin"]) == 130
        assert capsys.readouterr() == ("", "")

    @pytest.mark.parametrize("arguments", [["find", "a", "a.bin"], ["info"]])
    def test_reader_that_leaves_ends_it_quietly(
        self, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as output:
            monkeypatch.setattr(sys, "stdout", output)
            assert main(arguments) == 141
            monkeypatch.undo()
        assert capsys.readouterr().err == ""

    @needs("/dev/full")
    def test_full_disk_is_one_line_and_status_2(self, folder: Path) -> None:
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "cffimmap", "find", "a", folder / "a.bin"],
                stdout=full,
                stderr=subprocess.PIPE,
            )
        assert (done.returncode, done.stderr) == (2, b"cffimmap: standard output: No space left on device\n")

    def test_output_that_fails_is_one_line_and_status_2(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
    ) -> None:
        class Full(io.FileIO):
            def write(self, _: object) -> int:
                raise OSError(errno.ENOSPC, "full")

        with Full(str(folder / "output"), "w") as raw:
            monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(buffer=raw, fileno=raw.fileno))
            assert main(["find", "a", "a.bin"]) == 2
            monkeypatch.undo()
        assert capsys.readouterr().err == "cffimmap: standard output: full\n"

    @pytest.mark.skipif(sys.platform == "win32", reason="arguments are text on Windows")
    def test_pattern_and_file_name_may_be_any_bytes(self, folder: Path) -> None:
        name = b"na\xffme"
        Path(os.fsdecode(name)).write_bytes(b"..\xde\xad")
        done = cffimmap_command("find", b"\xde\xad", name, "a.bin", cwd=folder)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"na\xffme:2\na.bin:9\n", b"")

    def test_wrong_options_are_status_2(self) -> None:
        for arguments in (
            [],
            ["find"],
            ["find", "x"],
            ["find", "--count", "--last", "x", "a.bin"],
            ["nonsense"],
        ):
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            assert ended.value.code == 2


class TestInfo:
    def rows(self, text: str) -> dict[str, str]:
        rows: dict[str, str] = {}
        label = ""
        for line in text.splitlines():
            label = line[:15].strip() or label
            rows[label] = f"{rows.get(label, '')} {line[15:]}".strip()
        return rows

    def test_tells_what_a_bug_report_needs(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["info"]) == 0
        rows = self.rows(capsys.readouterr().out)
        assert rows["cffimmap"] == cffimmap.__version__
        assert sys.version.split()[0] in rows["interpreter"]
        assert rows["page size"] == f"{cffimmap.PAGESIZE} bytes"
        assert rows["granularity"] == f"{cffimmap.ALLOCATIONGRANULARITY} bytes"
        assert rows["compiled part"].endswith(" (abi3)") is (".abi3" in rows["compiled part"])
        assert "resize" in rows["methods"].split()

    @pytest.mark.parametrize("prefix", ["ACCESS_", "PROT_", "MAP_", "MS_", "MADV_"])
    def test_tells_every_name(self, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
        main(["info"])
        named = self.rows(capsys.readouterr().out).get(prefix, "").split()
        assert named == sorted(name[len(prefix) :] for name in dir(cffimmap) if name.startswith(prefix))

    def test_lines_are_short(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["info"])
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 100


PROGRAM = """
import sys
print(__name__, sys.argv, sys.path[0])
sys.exit(7)
"""


class TestRun:
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        (tmp_path / "program.py").write_text(PROGRAM)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", sys.argv[:])
        monkeypatch.setattr(sys, "path", ["", *sys.path])
        yield
        cffimmap.uninstall()

    def test_script_sees_what_python_gives_it(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "program.py").write_text(PROGRAM)
        program = str(Path("folder", "program.py"))
        arguments = ["-m", "--", "find", "-h", "--unknown"]
        ours = cffimmap_command("run", program, *arguments)
        python = subprocess.run([sys.executable, program, *arguments], capture_output=True)
        assert ours.stdout == python.stdout
        assert (ours.returncode, ours.stderr) == (python.returncode, python.stderr) == (7, b"")

    def test_module_sees_what_python_gives_it(self) -> None:
        arguments = ["-m", "--", "find", "-h", "--unknown"]
        ours = cffimmap_command("run", "-m", "program", *arguments)
        python = subprocess.run([sys.executable, "-m", "program", *arguments], capture_output=True)
        assert ours.stdout == python.stdout
        assert (ours.returncode, ours.stderr) == (python.returncode, python.stderr) == (7, b"")

    @pytest.mark.parametrize("program", [["program.py"], ["-m", "program"]])
    def test_exit_status_is_the_program_s(
        self, program: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["run", *program, "-h"])
        assert ended.value.code == 7
        assert "'-h'" in capsys.readouterr().out

    @pytest.mark.parametrize("program", [["quiet.py"], ["-m", "quiet"]])
    def test_program_that_ends_is_status_0(self, program: list[str], tmp_path: Path) -> None:
        (tmp_path / "quiet.py").write_text("import mmap\nassert mmap.__name__ == 'cffimmap'\n")
        assert main(["run", *program]) == 0

    def test_exceptions_of_the_program_pass(self, tmp_path: Path) -> None:
        (tmp_path / "broken.py").write_text("raise BrokenPipeError('mine')")
        with pytest.raises(BrokenPipeError, match="mine"):
            main(["run", "broken.py"])

    def test_folder_with_a_main_runs(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "app").mkdir()
        (tmp_path / "app" / "__main__.py").write_text(PROGRAM)
        with pytest.raises(SystemExit):
            main(["run", "app"])
        assert capsys.readouterr().out == "__main__ ['app'] app\n"

    def test_script_s_folder_is_first_in_the_path(self, tmp_path: Path) -> None:
        (tmp_path / "quiet.py").touch()
        rest = sys.path[1:]
        main(["run", "quiet.py"])
        assert sys.path == [str(tmp_path.resolve()), *rest]

    def test_safe_path_is_left_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "quiet.py").touch()
        flags = {name: getattr(sys.flags, name) for name in dir(sys.flags) if name[0] not in "_"}
        before = sys.path[:]
        with monkeypatch.context() as patched:
            patched.setattr(sys, "flags", types.SimpleNamespace(**{**flags, "safe_path": True}))
            main(["run", "quiet.py"])
        assert sys.path == before

    @pytest.mark.parametrize(
        ("arguments", "reason", "status"),
        [
            pytest.param(["missing.py"], "missing.py: No such file or directory", 2, id="script"),
            pytest.param(["-m", "missing"], "no module named missing", 1, id="module"),
            pytest.param(
                ["-m", "missing.child"],
                "cannot find module missing.child: No module named 'missing'",
                1,
                id="package",
            ),
        ],
    )
    def test_missing_program_is_one_line_and_python_s_status(
        self, arguments: list[str], reason: str, status: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["run", *arguments]) == status
        assert capsys.readouterr() == ("", f"cffimmap: {reason}\n")


def test_the_package_runs_as_a_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cffimmap", "info"])
    monkeypatch.delitem(sys.modules, "cffimmap.__main__")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("cffimmap", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("cffimmap ")
