"""The map as a Python object: how it looks, with statements, references, subclasses, copies, audit."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from _files import GRANULARITY, PAGE, SIZE, run_python
from _needs import needs

from cffimmap import ACCESS_COPY, ACCESS_DEFAULT, ACCESS_READ, ACCESS_WRITE

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from conftest import Raises


# Older builtins, and 3.15 for the oldest protocols, leave the module out.
PICKLE = r"^cannot pickle '(mmap\.)?mmap' object$"


class TestRepr:
    @pytest.mark.parametrize(
        ("access", "name"),
        [
            (ACCESS_DEFAULT, "ACCESS_DEFAULT"),
            (ACCESS_READ, "ACCESS_READ"),
            (ACCESS_WRITE, "ACCESS_WRITE"),
            (ACCESS_COPY, "ACCESS_COPY"),
        ],
    )
    def test_repr_shows_the_state(self, mmap: ModuleType, file: Any, access: int, name: str) -> None:
        with mmap.mmap(file.fileno(), 13, access=access, offset=GRANULARITY) as m:
            m.seek(5)
            shown = f"<mmap.mmap closed=False, access={name}, length=13, pos=5, offset={GRANULARITY}>"
            assert repr(m) == str(m) == f"{m}" == shown

    def test_repr_of_a_closed_map(self, mmap: ModuleType) -> None:
        m = mmap.mmap(-1, 13)
        m.close()
        assert repr(m) == "<mmap.mmap closed=True>"

    @pytest.mark.differs("short name")
    def test_subclass_shows_its_own_short_name(self, mmap: ModuleType) -> None:
        class Ledger(mmap.mmap):  # type: ignore[name-defined, misc]
            pass

        with Ledger(-1, 13) as m:
            shown = "<Ledger closed=False, access=ACCESS_DEFAULT, length=13, pos=0, offset=0>"
            assert repr(m) == shown
        assert repr(m) == "<Ledger closed=True>"

    def test_repr_follows_the_length(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 2 * PAGE) as m:
            m.resize(PAGE)
            assert f"length={PAGE}," in repr(m)


class TestContextManager:
    def test_with_gives_the_map_and_closes_it(self, mmap: ModuleType) -> None:
        m = mmap.mmap(-1, 13)
        with m as entered:
            assert entered is m
            assert not m.closed
        assert m.closed

    def test_exceptions_go_out_and_the_map_is_closed(self, mmap: ModuleType) -> None:
        with pytest.raises(KeyError), mmap.mmap(-1, 13) as m:
            raise KeyError
        assert m.closed

    def test_closing_within_is_fine(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 13) as m:
            m.close()
        assert m.closed


class TestReferences:
    def test_weak_reference_dies_with_the_map(self, mmap: ModuleType) -> None:
        m: Any = mmap.mmap(-1, 13)
        reference = weakref.ref(m)
        m.close()
        assert reference() is m
        del m
        gc.collect()
        assert reference() is None

    def test_map_in_a_cycle_is_collected(self, mmap: ModuleType) -> None:
        class Node(mmap.mmap):  # type: ignore[name-defined, misc]
            pass

        m = Node(-1, 13)
        m.itself = m
        reference = weakref.ref(m)
        del m
        gc.collect()
        assert reference() is None


class TestAttributes:
    def test_map_has_no_dict(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 13) as m:
            assert not hasattr(m, "__dict__")
            with pytest.raises(AttributeError):
                m.colour = 1
            with pytest.raises(AttributeError):
                m.closed = True

    def test_subclass_may_have_attributes(self, mmap: ModuleType, file: Any) -> None:
        class Ledger(mmap.mmap):  # type: ignore[name-defined, misc]
            def __new__(cls, *arguments: Any, colour: str, **names: Any) -> Any:
                self = super().__new__(cls, *arguments, **names)
                self.colour = colour
                return self

            def __init__(self, *arguments: Any, **names: Any) -> None:
                pass

            def first_line(self) -> bytes:
                self.seek(0)
                line: bytes = self.readline()
                return line

        with Ledger(file.fileno(), 0, access=ACCESS_READ, colour="red") as m:
            assert isinstance(m, mmap.mmap)
            assert (m.colour, m.first_line(), len(m)) == ("red", b"hello\n", SIZE)


class TestIdentity:
    def test_equality_is_identity(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 4) as m, mmap.mmap(-1, 4) as other:
            assert m == m
            assert m != other
            assert m != bytes(4)
            assert {m: 1, other: 2}[m] == 1
            assert hash(m) == object.__hash__(m)

    def test_closed_map_keeps_its_identity(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 4) as m:
            before = hash(m)
        assert hash(m) == before
        assert m == m


class TestCopies:
    @pytest.mark.differs("pickle", protocol=[2, 3, 4, 5])
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_map_cannot_be_pickled(self, mmap: ModuleType, protocol: int) -> None:
        with mmap.mmap(-1, 4) as m, pytest.raises(TypeError, match=PICKLE):
            pickle.dumps(m, protocol)

    @pytest.mark.differs("pickle")
    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
    def test_map_cannot_be_copied(self, mmap: ModuleType, duplicate: Any) -> None:
        with mmap.mmap(-1, 4) as m, pytest.raises(TypeError, match=PICKLE):
            duplicate(m)

    def test_subclass_cannot_be_pickled(self, ours: ModuleType, raises: Raises) -> None:
        class Ledger(ours.mmap):  # type: ignore[name-defined, misc]
            pass

        with Ledger(-1, 4) as m, raises(TypeError, "cannot pickle 'Ledger' object"):
            pickle.dumps(m)


class TestView:
    @pytest.mark.parametrize(
        ("access", "read_only"),
        [(ACCESS_DEFAULT, False), (ACCESS_READ, True), (ACCESS_WRITE, False), (ACCESS_COPY, False)],
    )
    def test_view_is_of_bytes(self, mmap: ModuleType, file: Any, access: int, read_only: bool) -> None:
        with mmap.mmap(file.fileno(), 0, access=access) as m, memoryview(m) as view:
            assert (view.format, view.itemsize, view.ndim) == ("B", 1, 1)
            assert view.shape == (SIZE,)
            assert view.c_contiguous
            assert view.readonly is read_only
            assert bytes(view[:5]) == b"hello"

    def test_view_and_map_are_the_same_memory(self, m: Any) -> None:
        with memoryview(m) as view:
            view[0] = ord("j")
            assert m[:5] == b"jello"
            m[1] = ord("u")
            assert bytes(view[:5]) == b"jullo"

    def test_view_of_a_read_only_map_cannot_be_written(self, frozen: Any) -> None:
        with memoryview(frozen) as view, pytest.raises(TypeError):
            view[0] = 1


AUDITED = """
import sys
import cffimmap

heard = []
sys.addaudithook(lambda event, arguments: heard.append((event, arguments)) if event.startswith("mmap") else None)
module = cffimmap if sys.argv[2] == "cffimmap" else __import__("mmap")
with open(sys.argv[1], "r+b") as file:
    fd = file.fileno()
    module.mmap(fd, 0)
    module.mmap(fd, 10, access=module.ACCESS_READ)
    module.mmap(fd, 10, access=module.ACCESS_WRITE)
    module.mmap(fd, 10, access=module.ACCESS_COPY, offset=module.ALLOCATIONGRANULARITY)
    module.mmap(-1, True)
    for arguments in ({"length": 0, "offset": 1}, {"length": 50_000, "access": module.ACCESS_READ}):
        try:
            module.mmap(fd, **arguments)
        except (OSError, ValueError):
            pass
    try:
        module.mmap(999, 5)
    except OSError:
        pass
    for arguments in ({"length": -1}, {"length": 10, "access": 4}):
        try:
            module.mmap(fd, **arguments)
        except (ValueError, OverflowError):
            pass
assert heard == [
    ("mmap.__new__", arguments)
    for arguments in [
        (fd, 0, 0, 0),
        (fd, 10, 1, 0),
        (fd, 10, 2, 0),
        (fd, 10, 3, module.ALLOCATIONGRANULARITY),
        (-1, 1, 0, 0),
        (fd, 0, 0, 1),
        (fd, 50_000, 1, 0),
        (999, 5, 0, 0),
    ]
], heard
print("heard")
"""


AUDITED_FLAGS = """
import sys
import cffimmap

heard = []
sys.addaudithook(lambda event, arguments: heard.append((event, arguments)) if event.startswith("mmap") else None)
module = cffimmap if sys.argv[2] == "cffimmap" else __import__("mmap")
with open(sys.argv[1], "r+b") as file:
    fd = file.fileno()
    module.mmap(fd, 10, prot=module.PROT_READ)
    module.mmap(fd, 10, prot=module.PROT_WRITE)
    module.mmap(-1, 1, flags=module.MAP_PRIVATE)
    try:
        module.mmap(fd, 10, 2, 3, 1)
    except ValueError:
        pass
assert heard == [
    ("mmap.__new__", arguments) for arguments in [(fd, 10, 1, 0), (fd, 10, 2, 0), (-1, 1, 0, 0)]
], heard
print("heard")
"""


@needs("MAP_PRIVATE")
@pytest.mark.differs("audit")
def test_audit_event_tells_the_access_that_flags_mean(mmap: ModuleType, path: Path) -> None:
    assert run_python(AUDITED_FLAGS, str(path), mmap.__name__) == "heard\n"


@pytest.mark.differs("audit")
@pytest.mark.differs("audit first")
def test_audit_event_tells_what_is_mapped(mmap: ModuleType, path: Path) -> None:
    # An audit hook cannot be taken away again, hence another process.
    assert run_python(AUDITED, str(path), mmap.__name__) == "heard\n"


@needs("sys.getsizeof")
def test_size_counts_all_that_a_map_is(ours: ModuleType) -> None:
    try:
        size = sys.getsizeof(ours.mmap(-1, 10))
    except TypeError:
        pytest.skip("the interpreter has no sizes of objects")
    # The object and what it holds: less than half a KiB.
    assert object.__sizeof__(ours.mmap(-1, 10)) < size < 512
