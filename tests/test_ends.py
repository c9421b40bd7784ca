"""The ends of maps and views that nobody arranged: in a cycle, in a kept frame, with the interpreter.

Nothing that merely knows of a map holds its memory, and no end crashes or says a word.
"""

from __future__ import annotations

import gc
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _bell import collect, nothing_ignored
from _exporters import EXPORTERS, PYPY, PYPY_8, Exporter, descriptors_of, in_child, numpy, ranges_of
from _needs import needs

import cffimmap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

PAGE = cffimmap.PAGESIZE
SIZE = 2 * PAGE
CONTENTS = bytes(range(1, 129)) * (SIZE // 128)

needs_counts = needs("/proc/self/maps", "/proc/self/fd")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mapped"
    file.write_bytes(CONTENTS)
    return file


def map_of(path: Path) -> cffimmap.mmap:
    with path.open("r+b") as file:
        return cffimmap.mmap(file.fileno(), 0)


@pytest.fixture
def m(path: Path) -> Iterator[cffimmap.mmap]:
    m = map_of(path)
    yield m
    collect()
    m.close()


# What a program has when it ends; `m` is a map of 4096 bytes.
LAST: dict[str, str] = {
    "view": "v = memoryview(m)",
    "bytes and view": "bytes(m)\nv = memoryview(m)",
    "slice": "v = memoryview(m)[8:16]",
    "cast": "v = memoryview(m).cast('I')",
    "released parents": "v = memoryview(memoryview(m)[8:])[8:]",
    "iterator of a view": "v = iter(memoryview(m))\nnext(v)",
    "ctypes": "import ctypes\nv = (ctypes.c_char * 64).from_buffer(m)",
    "cffi": "import cffi\nv = cffi.FFI().from_buffer(m)",
    "pickle": "import pickle\nv = pickle.PickleBuffer(m)",
    "struct": f"import struct\nv = struct.iter_unpack('<IHH', {'memoryview(m)' if PYPY_8 else 'm'})\nnext(v)",
    "re": "import re\nv = re.finditer(b'.', m)\nnext(v, None)",
    "iterators": "i = iter(m)\nj = reversed(m)\nnext(i), next(j)",
    "closed": "m.close()\nn = mmap.mmap(-1, 64)\nwith memoryview(n): pass\nn.close()",
    "cycle": "m = [m, memoryview(m)]\nm.append(m)",
    "subclass": "class M(mmap.mmap):\n    pass\nn = M(-1, 64)\nn.view = memoryview(n)\nn.me = n",
    "finaliser": "class F:\n    def __del__(self):\n        try:\n            m[0], m.find(b'x'), m.close()\n"
    "        except (BufferError, TypeError): pass\nf = F()\nv = memoryview(m)",
    "atexit": "import atexit\nv = memoryview(m)\natexit.register(lambda: (v[0], m[0], m.size()))",
    "kept exception": "try:\n    m[10**9]\nexcept IndexError as e:\n    kept = e\nv = memoryview(m)",
    "other file's names": "import sys\nsys.m = m\nsys.v = memoryview(m)\nimport builtins\nbuiltins.w = sys.v[4:]",
    "thread": "import threading\nv = memoryview(m)\n"
    "t = threading.Thread(target=lambda: [m.find(b'absent', 0) for _ in range(50)])\nt.start()",
    "daemons": "import threading, time\nn = mmap.mmap(-1, 1 << 22)\nv = memoryview(m)\n"
    "def use():\n    while True:\n        n.find(b'absent', 0), m[5], m[:9], memoryview(m)[:9].tobytes()\n"
    "for _ in range(3):\n    threading.Thread(target=use, daemon=True).start()\ntime.sleep(0.05)",
}
if numpy is not None:
    LAST["numpy"] = "import numpy\nv = numpy.frombuffer(m, 'u1')[3:9]\nw = numpy.asarray(memoryview(m))"

PROGRAM = """import cffimmap as mmap

m = mmap.mmap(-1, 4096)
def function():
    return m
{last}
"""


def ends_silently(*arguments: str, folder: Path) -> None:
    """Runs the interpreter, which must end well and say nothing."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=folder, timeout=180
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class TestTheInterpretersEnd:
    @pytest.mark.parametrize("name", LAST)
    def test_of_a_script(self, tmp_path: Path, name: str) -> None:
        script = tmp_path / "script.py"
        script.write_text(PROGRAM.format(last=LAST[name]), encoding="utf-8")
        ends_silently(str(script), folder=tmp_path)

    def test_of_modules_that_were_imported(self, tmp_path: Path) -> None:
        """Modules end one after another, and in another order than the script's names."""
        for i, last in enumerate(LAST.values()):
            (tmp_path / f"last{i}.py").write_text(PROGRAM.format(last=last), encoding="utf-8")
        for i in range(len(LAST)):
            (tmp_path / f"importing{i}.py").write_text(f"import last{i}\n", encoding="utf-8")
        some = range(0, len(LAST), 3)
        for i in some:
            ends_silently(f"importing{i}.py", folder=tmp_path)
        script = "".join(f"import last{i}\n" for i in range(len(LAST)))
        (tmp_path / "all.py").write_text(script, encoding="utf-8")
        ends_silently("all.py", folder=tmp_path)

    @needs("os.fork")
    def test_of_a_forked_process(self, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        last = "v = memoryview(m)\nimport os\nchild = os.fork()\nif child:\n    assert os.waitpid(child, 0)[1] == 0"
        script.write_text(PROGRAM.format(last=last), encoding="utf-8")
        ends_silently(str(script), folder=tmp_path)

    def test_by_an_exception_that_nobody_caught(self, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        last = "v = memoryview(m)\ni = iter(m)\nraise SystemExit"
        script.write_text(PROGRAM.format(last=last), encoding="utf-8")
        ends_silently(str(script), folder=tmp_path)


class TestWhoMerelyKnowsOfAMap:
    """Holds references to it, or to what made it up, and no memory."""

    def test_all_objects(self, m: cffimmap.mmap) -> None:
        with memoryview(m) as view:
            assert view[0] == m[0] == m[:1][0]
        keep = gc.get_objects()
        m.resize(2 * SIZE)
        m.close()
        assert m.closed
        assert keep

    def test_referents(self, m: cffimmap.mmap) -> None:
        bytes(m)
        keep: list[Any] = [m]
        for _ in range(3):
            keep += gc.get_referents(*keep)
        m.resize(2 * SIZE)
        m.close()
        assert m.closed
        assert m in keep

    def test_referrers(self, m: cffimmap.mmap) -> None:
        keep = gc.get_referrers(m)
        m.close()
        assert m.closed
        assert isinstance(keep, list)

    @pytest.mark.parametrize("deep", [False, True], ids=["frames", "names in frames"])
    def test_a_tracer(self, m: cffimmap.mmap, deep: bool) -> None:
        """As debuggers and coverage do."""
        frames: list[Any] = []

        def trace(frame: FrameType, _: str, argument: object) -> Any:
            frames.append(frame)
            if deep:
                frames.append((dict(frame.f_locals), argument))
            return trace

        def use() -> None:
            assert (m[0], m[1:3], m.find(b"\3"), m.read(2), m.size()) == (1, b"\2\3", 2, b"\1\2", SIZE)
            m[0], m[1:3] = 1, b"\2\3"
            m.move(0, 0, 1)
            m.flush()
            assert bytes(m[:4]) == CONTENTS[:4]
            assert next(iter(m)) == b"\1"
            m.resize(2 * SIZE)
            m.resize(SIZE)
            m.close()

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            use()
        finally:
            sys.settrace(before)
        assert m.closed
        assert frames

    def test_a_profiler(self, m: cffimmap.mmap) -> None:
        seen: list[Any] = []
        before = sys.getprofile()
        sys.setprofile(lambda frame, event, argument: seen.append((frame, event, argument)))
        try:
            m[:4], m.find(b"\3"), m.read(3)
            m.resize(2 * SIZE)
            m.close()
        finally:
            sys.setprofile(before)
        assert m.closed
        assert seen

    def test_frames_of_threads(self, m: cffimmap.mmap) -> None:
        keep = sys._current_frames()
        m.close()
        assert m.closed
        assert keep


# A kept iterator and a kept exception, each the other's.
def unpack_and_fail(m: cffimmap.mmap) -> None:
    rows = struct.iter_unpack("<IHH", memoryview(m) if PYPY_8 else m)
    try:
        raise ValueError(next(rows))
    except ValueError as error:
        kept = error
    assert kept.__traceback__ is not None


def hold_and_fail(exporter: Exporter) -> Callable[[cffimmap.mmap], None]:
    def hold_and_fail(m: cffimmap.mmap) -> None:
        held = exporter.hold(m)
        try:
            raise ValueError(held)
        except ValueError as error:
            kept = error
        assert kept.__traceback__ is not None

    return hold_and_fail


def hold_in_a_cycle(exporter: Exporter) -> Callable[[cffimmap.mmap], None]:
    def hold_in_a_cycle(m: cffimmap.mmap) -> None:
        cycle: list[object] = [exporter.hold(m), m]
        cycle.append(cycle)

    return hold_in_a_cycle


def hold_through_a_subclass(m: cffimmap.mmap) -> None:
    class Holding(cffimmap.mmap):
        held: Any

    holding = Holding(-1, SIZE)
    holding.held = [memoryview(holding), m, memoryview(m)]


CYCLES = {
    "struct.iter_unpack in a kept frame": unpack_and_fail,
    "subclass": hold_through_a_subclass,
    **{f"{exporter.name} in a kept frame": hold_and_fail(exporter) for exporter in EXPORTERS},
    **{f"{exporter.name} in a list": hold_in_a_cycle(exporter) for exporter in EXPORTERS},
}


class TestCycles:
    @pytest.mark.parametrize("name", CYCLES)
    def test_what_held_the_map_in_a_cycle_is_collected_silently(self, path: Path, name: str) -> None:
        def work() -> None:
            with nothing_ignored():
                m = map_of(path)
                for _ in range(5):
                    CYCLES[name](m)
                collect()
                assert m[:] == CONTENTS
                m.close()
                assert m.closed
                # The last holder of a map may be the cycle.
                CYCLES[name](map_of(path))

        in_child(work)

    @needs_counts
    def test_many_maps_that_were_exported_and_dropped_in_cycles(self, path: Path) -> None:
        def work() -> None:
            with nothing_ignored():
                for i in range(10_000):
                    m = map_of(path) if i % 2 else cffimmap.mmap(-1, SIZE)
                    cycle: list[object] = [m, memoryview(m)]
                    cycle.append(cycle)
                    if i % 3 == 0:
                        cycle[1] = memoryview(m)[5:]
                    elif i % 3 == 1:
                        cycle[1] = iter(m)
                    del m, cycle
            assert (ranges_of(path), descriptors_of(path)) == (0, 0)

        in_child(work)

    @needs_counts
    def test_many_maps_that_were_closed_under_their_views(self, path: Path) -> None:
        """CPython refuses to close them, and collects them all the same."""

        def work() -> None:
            with nothing_ignored():
                for _ in range(2_000):
                    m = map_of(path)
                    view = memoryview(m)
                    cycle: list[object] = [m, view]
                    cycle.append(cycle)
                    try:
                        m.close()
                    except BufferError:
                        assert not PYPY
                    del m, view, cycle
            assert (ranges_of(path), descriptors_of(path)) == (0, 0)

        in_child(work)

    def test_a_map_that_holds_its_own_view(self, path: Path) -> None:
        class Holding(cffimmap.mmap):
            view: memoryview

            def __del__(self) -> None:
                assert self[0] == self.view[0] == 1

        def work() -> None:
            with nothing_ignored():
                for _ in range(100):
                    with path.open("r+b") as file:
                        holding = Holding(file.fileno(), 0)
                    holding.view = memoryview(holding)
                    del holding

        in_child(work)


@pytest.mark.skipif(numpy is None, reason="numpy is not installed")
@needs("os.fork")
class TestNumpysMemmap:
    """It takes the buffer, lets it go and keeps the object alone: nobody knows that it still has the address."""

    def in_place_of_mmap(self, work: Callable[[], None]) -> None:
        def installed() -> None:
            cffimmap.install()
            work()

        in_child(installed)

    @pytest.mark.parametrize("mode", ["r+", "r", "c"])
    def test_reads_zeros_once_its_map_is_closed(self, path: Path, mode: Any) -> None:
        def work() -> None:
            a: Any = numpy.memmap(path, dtype="u1", mode=mode)
            assert isinstance(a._mmap, cffimmap.mmap)
            part = a[5:9]
            assert a.tobytes() == CONTENTS
            a._mmap.close()
            assert (a[0], a.sum(), part.tobytes()) == (0, 0, bytes(4))
            if mode != "r":
                a[3] = 9
            assert path.read_bytes() == CONTENTS
            del a, part
            collect()
            assert (ranges_of(path), descriptors_of(path)) == (0, 0)

        self.in_place_of_mmap(work)

    def test_an_array_on_the_map_itself_too(self, path: Path) -> None:
        def work() -> None:
            m = map_of(path)
            a = numpy.ndarray((SIZE,), "u1", buffer=m)
            assert a.tobytes() == CONTENTS
            m.close()
            del m
            collect()
            assert not a.any()
            assert path.read_bytes() == CONTENTS

        self.in_place_of_mmap(work)

    def test_works_till_then(self, path: Path) -> None:
        def work() -> None:
            a: Any = numpy.memmap(path, dtype="u1", mode="r+", offset=16, shape=(32,))
            a[:] = 7
            a.flush()
            assert path.read_bytes()[8:56] == CONTENTS[8:16] + bytes([7]) * 32 + CONTENTS[48:56]
            b = a[3:]
            del a
            collect()
            assert b[0] == 7

        self.in_place_of_mmap(work)
