"""cffimmap in the place of mmap, and back."""

from __future__ import annotations

import gc
import importlib
import socket
import struct
import subprocess
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import pytest
from _exporters import PYPY, PYPY_8

import cffimmap
from cffimmap import _install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    builtin = importlib.import_module("mmap")
    assert builtin is not cffimmap
    monkeypatch.setitem(sys.modules, "mmap", builtin)
    yield
    cffimmap.uninstall()


@pytest.fixture
def numbered() -> Iterator[cffimmap.mmap]:
    with cffimmap.mmap(-1, 16) as m:
        m[:] = bytes(range(16))
        yield m


def imported() -> object:
    import mmap

    return mmap


class TestSubstitution:
    def test_import_after_install_gives_cffimmap(self) -> None:
        cffimmap.install()
        assert imported() is cffimmap
        assert importlib.import_module("mmap") is cffimmap

    def test_uninstall_puts_the_very_module_back(self) -> None:
        before = sys.modules["mmap"]
        cffimmap.install()
        cffimmap.uninstall()
        assert sys.modules["mmap"] is before

    def test_uninstall_removes_the_entry_if_there_was_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "mmap")
        cffimmap.install()
        cffimmap.uninstall()
        assert "mmap" not in sys.modules

    def test_installing_twice_takes_one_uninstall(self) -> None:
        before = sys.modules["mmap"]
        cffimmap.install()
        cffimmap.install()
        assert imported() is cffimmap
        cffimmap.uninstall()
        assert sys.modules["mmap"] is before

    def test_uninstall_without_install_changes_nothing(self) -> None:
        cffimmap.install()
        cffimmap.uninstall()
        stranger = sys.modules["mmap"] = types.ModuleType("mmap")
        cffimmap.uninstall()
        assert sys.modules["mmap"] is stranger

    def test_uninstall_leaves_what_it_did_not_put_there(self) -> None:
        sys.modules["mmap"] = cffimmap
        cffimmap.install()
        cffimmap.uninstall()
        assert sys.modules["mmap"] is cffimmap

    def test_uninstall_leaves_a_module_put_there_since(self) -> None:
        cffimmap.install()
        stranger = sys.modules["mmap"] = types.ModuleType("mmap")
        cffimmap.uninstall()
        assert sys.modules["mmap"] is stranger

    def test_install_displaces_a_module_put_there_since(self) -> None:
        cffimmap.install()
        stranger = sys.modules["mmap"] = types.ModuleType("mmap")
        cffimmap.install()
        assert imported() is cffimmap
        cffimmap.uninstall()
        assert sys.modules["mmap"] is stranger

    def test_earlier_import_keeps_its_module(self) -> None:
        earlier = imported()
        cffimmap.install()
        assert earlier is not cffimmap
        assert imported() is cffimmap

    def test_threads_leave_it_as_it_was(self) -> None:
        before = sys.modules["mmap"]

        def toggle() -> None:
            for _ in range(50):
                cffimmap.install()
                cffimmap.uninstall()

        threads = [threading.Thread(target=toggle) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sys.modules["mmap"] is before


class TestPrograms:
    PROGRAM = "import sys, cffimmap, mmap\nprint(mmap is cffimmap, sys.argv[1:])\n"

    def run(self, folder: Path, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cffimmap", "run", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout

    def test_run_script_substitutes(self, tmp_path: Path) -> None:
        (tmp_path / "program.py").write_text(self.PROGRAM)
        assert self.run(tmp_path, "program.py", "-x", "1") == "True ['-x', '1']\n"

    def test_run_module_substitutes(self, tmp_path: Path) -> None:
        (tmp_path / "program.py").write_text(self.PROGRAM)
        assert self.run(tmp_path, "-m", "program", "-x", "1") == "True ['-x', '1']\n"

    def test_run_substitutes_while_a_parent_package_is_imported(self, tmp_path: Path) -> None:
        package = tmp_path / "parent"
        package.mkdir()
        (package / "__init__.py").write_text("import mmap as mine")
        (package / "child.py").write_text("import cffimmap, parent\nprint(parent.mine is cffimmap)\n")
        assert self.run(tmp_path, "-m", "parent.child") == "True\n"


READERS: dict[str, Callable[[Any, Any], object]] = {
    "unpack": lambda s, m: s.unpack("<16B", m) == tuple(range(16)),
    "unpack_from": lambda s, m: s.unpack_from("<B", m, 3) == (3,),
    "unpack_from, keyword": lambda s, m: s.unpack_from("<B", m, offset=3) == (3,),
    "iter_unpack": lambda s, m: list(s.iter_unpack("<8B", m)) == [tuple(range(8)), tuple(range(8, 16))],
    "pack_into": lambda s, m: (s.pack_into("<BB", m, 2, 8, 9), m[1:5])[1] == b"\x01\x08\x09\x04",
    "Struct.unpack": lambda s, m: s.Struct("<16B").unpack(m) == tuple(range(16)),
    "Struct.unpack_from": lambda s, m: s.Struct("<B").unpack_from(m, 3) == (3,),
    "Struct.iter_unpack": lambda s, m: list(s.Struct("<B").iter_unpack(m)) == [(i,) for i in range(16)],
    "Struct.pack_into": lambda s, m: (s.Struct("<B").pack_into(m, 2, 8), m[1:4])[1] == b"\x01\x08\x03",
}


class TestStructAndSendmsg:
    """With install() every interpreter's struct and sendmsg take a map."""

    @pytest.mark.parametrize("name", READERS)
    def test_struct_takes_a_map(self, name: str, numbered: cffimmap.mmap) -> None:
        cffimmap.install()
        assert READERS[name](struct, numbered)

    @pytest.mark.skipif(not hasattr(socket.socket, "sendmsg"), reason="this platform has no sendmsg")
    def test_sendmsg_takes_maps(self, numbered: cffimmap.mmap) -> None:
        cffimmap.install()
        left, right = socket.socketpair()
        with left, right:
            assert left.sendmsg([b"<", numbered, b">"]) == 18
            assert right.recv(100) == b"<" + bytes(range(16)) + b">"

    def test_iter_unpack_outlives_the_map(self, tmp_path: Path) -> None:
        path = tmp_path / "ones"
        path.write_bytes(b"\x01" * 4096)
        cffimmap.install()
        with path.open("rb") as file:
            iterator = struct.iter_unpack("<B", cffimmap.mmap(file.fileno(), 0, access=cffimmap.ACCESS_READ))
        for _ in range(3):
            gc.collect()
        # The bare address that PyPy before 8 keeps leads to blank pages by then.
        expected = {(0,), (1,)} if PYPY and not PYPY_8 else {(1,)}
        values = list(iterator)
        assert len(values) == 4096
        assert set(values) <= expected

    def test_uninstall_gives_struct_and_socket_back(self) -> None:
        before = dict(vars(struct)), dict(vars(socket.socket))
        cffimmap.install()
        cffimmap.uninstall()
        assert (dict(vars(struct)), dict(vars(socket.socket))) == before


def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as PyPy 8.0 has it: no buffer of a class written in Python."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if isinstance(args[1], cffimmap.mmap):
            raise TypeError("a bytes-like object is required, not mmap")
        return function(*args, **kwargs)

    return call


class RefusingStruct(struct.Struct):
    __slots__ = ()
    unpack = refusing(struct.Struct.unpack)
    unpack_from = refusing(struct.Struct.unpack_from)
    iter_unpack = refusing(struct.Struct.iter_unpack)
    pack_into = refusing(struct.Struct.pack_into)


class RefusingBase:
    def __init__(self) -> None:
        self.sent: list[object] = []

    def close(self) -> None:
        pass

    def sendmsg(self, buffers: Any, ancillary: Any = (), *rest: Any) -> int:
        buffers = list(buffers)
        for buffer in [*buffers, *(item[2] for item in ancillary)]:
            if isinstance(buffer, cffimmap.mmap):
                raise TypeError("a bytes-like object is required, not mmap")
        self.sent = [[bytes(buffer) for buffer in buffers], list(ancillary), *rest]
        return sum(map(len, buffers))


@pytest.fixture
def refusing_struct() -> Any:
    module: Any = types.ModuleType("struct")
    for name in ("unpack", "unpack_from", "iter_unpack", "pack_into"):
        setattr(module, name, refusing(getattr(struct, name)))
    module.Struct = RefusingStruct
    return module


@pytest.fixture
def refusing_socket() -> Any:
    module: Any = types.ModuleType("socket")
    module.socket = type("socket", (RefusingBase,), {})
    return module


class TestTeaching:
    """What install() does on PyPy 8.0, on any interpreter: with a struct and a socket that refuse maps."""

    @pytest.fixture(autouse=True)
    def _taught(self, refusing_struct: Any, refusing_socket: Any) -> None:
        self.before = dict(vars(refusing_struct))
        _install._teach(cffimmap.mmap, refusing_struct, refusing_socket)

    @pytest.mark.parametrize("name", READERS)
    def test_struct_takes_a_map(self, name: str, refusing_struct: Any, numbered: cffimmap.mmap) -> None:
        assert READERS[name](refusing_struct, numbered)

    def test_struct_takes_a_map_of_a_subclass(self, refusing_struct: Any) -> None:
        with type("Special", (cffimmap.mmap,), {})(-1, 4) as m:
            assert refusing_struct.unpack_from("<I", m) == (0,)

    @pytest.mark.parametrize("name", READERS)
    def test_struct_takes_other_buffers(self, name: str, refusing_struct: Any) -> None:
        assert READERS[name](refusing_struct, bytearray(range(16)))

    def test_other_exceptions_pass(self, refusing_struct: Any, numbered: cffimmap.mmap) -> None:
        with pytest.raises(TypeError):
            refusing_struct.unpack("<I", 3)
        with pytest.raises(TypeError):
            refusing_struct.unpack("<I")
        with pytest.raises(struct.error):
            refusing_struct.unpack("<I", numbered)

    def test_closed_map_is_refused(self, refusing_struct: Any, numbered: cffimmap.mmap) -> None:
        numbered.close()
        with pytest.raises(ValueError, match="mmap closed or invalid"):
            refusing_struct.unpack_from("<I", numbered)

    def test_read_only_map_is_not_written(self, refusing_struct: Any, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"1234")
        with path.open("rb") as file, cffimmap.mmap(file.fileno(), 0, access=cffimmap.ACCESS_READ) as m:
            with pytest.raises(TypeError):
                refusing_struct.pack_into("<I", m, 0, 1)
            assert m[:] == b"1234"

    def test_earlier_struct_is_an_instance(self, refusing_struct: Any) -> None:
        assert isinstance(RefusingStruct("<I"), refusing_struct.Struct)
        assert isinstance(refusing_struct.Struct("<I"), refusing_struct.Struct)
        assert not isinstance(4, refusing_struct.Struct)

    def test_earlier_struct_is_no_instance_of_a_later_subclass(self, refusing_struct: Any) -> None:
        later = type("Later", (refusing_struct.Struct,), {})
        assert isinstance(later("<I"), later)
        assert not isinstance(RefusingStruct("<I"), later)

    def test_struct_looks_like_the_original(self, refusing_struct: Any) -> None:
        taught = refusing_struct.Struct
        assert (taught.__name__, taught.__module__) == ("RefusingStruct", RefusingStruct.__module__)
        assert taught("<I").size == 4
        assert not hasattr(taught("<I"), "__dict__")

    def test_sendmsg_takes_maps(self, refusing_socket: Any, numbered: cffimmap.mmap) -> None:
        sock = refusing_socket.socket()
        assert sock.sendmsg(iter([b"a", numbered]), [(1, 2, numbered)], 3, "there") == 17
        data, ancillary, *rest = sock.sent
        assert data == [b"a", bytes(range(16))]
        assert [(level, kind, bytes(value)) for level, kind, value in ancillary] == [(1, 2, bytes(range(16)))]
        assert rest == [3, "there"]

    def test_sendmsg_passes_odd_ancillary_data_on(self, refusing_socket: Any) -> None:
        sock = refusing_socket.socket()
        sock.sendmsg([], [[1, 2, b"x"]])
        assert sock.sent == [[], [[1, 2, b"x"]]]
        with pytest.raises(TypeError):
            sock.sendmsg(3)

    def test_teaching_twice_takes_one_uninstall(self, refusing_struct: Any, refusing_socket: Any) -> None:
        once = dict(vars(refusing_struct))
        _install._teach(cffimmap.mmap, refusing_struct, refusing_socket)
        assert dict(vars(refusing_struct)) == once
        cffimmap.uninstall()
        assert dict(vars(refusing_struct)) == self.before
        assert "sendmsg" not in vars(refusing_socket.socket)

    def test_uninstall_leaves_what_was_put_there_since(self, refusing_struct: Any) -> None:
        refusing_struct.unpack = stranger = object()
        cffimmap.uninstall()
        assert refusing_struct.unpack is stranger
        assert refusing_struct.pack_into is self.before["pack_into"]

    def test_struct_made_meanwhile_stays_one(self, refusing_struct: Any, numbered: cffimmap.mmap) -> None:
        made = refusing_struct.Struct("<B")
        cffimmap.uninstall()
        assert isinstance(made, refusing_struct.Struct)
        assert made.unpack_from(numbered, 5) == (5,)


def test_nothing_is_taught_where_nothing_refuses() -> None:
    accepting = types.SimpleNamespace(unpack_from=lambda *_: ())
    without_sendmsg = types.SimpleNamespace(socket=object)
    before = dict(vars(accepting))
    _install._teach(cffimmap.mmap, accepting, without_sendmsg)
    assert vars(accepting) == before


def test_a_closed_socket_that_takes_the_map_is_not_taught() -> None:
    class Accepting(RefusingBase):
        def sendmsg(self, *_: object) -> int:
            raise OSError("closed")

    module = types.SimpleNamespace(socket=Accepting)
    sendmsg = Accepting.sendmsg
    _install._teach(cffimmap.mmap, types.SimpleNamespace(unpack_from=lambda *_: ()), module)
    assert Accepting.sendmsg is sendmsg


@pytest.mark.parametrize("pypy", [True, False])
def test_only_pypy_is_probed(pypy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[object] = []
    monkeypatch.setattr(_install, "PYPY", pypy)
    monkeypatch.setattr(_install, "_teach", lambda *modules: probed.append(modules))
    cffimmap.install()
    assert probed == ([(cffimmap.mmap, struct, socket)] if pypy else [])
