"""A subclass's names are its own: none of them disturbs the map, and only what the builtin asks for is asked."""

from __future__ import annotations

import bisect
import gc
import operator
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from _files import PAGE
from _needs import needs
from _reference import CPYTHON, with_builtin

import cffimmap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

# What an implementation may call its own.
NAMES = """
_Iterator _access _access_name _accessible_length _address _advise _alone _anew _anonymous _assign _backwards _base
_begin _blank _buffer _bytes _calls _cdata _changed _check _check_access _check_accessible _check_open
_check_resizable _check_writable _close _closed _closing _copy _data _delete_item _descriptor _end _exported _exports
_fd _ffi _file _fileno _find _finish _flags _flush _free _gather _get _getitem _guard _handle _hide _index _install
_item _items _iterator _keep _key _leave_tag _length _let_file_go _lib _line _line_end _lock _make _map _map_source
_mapping _mark _memory _mmap _move _moved _name _native _new _octet_at _offset _open _open_length _owner _page _pid
_pins _pointer _populate _pos _position _prot _protection _quick _range _read _read_only _read_range _readonly
_recover _release _renew _resize _restore _retake_tag _retired _room_for _rooms _run _run_again _running _search
_search_arguments _seek _section _set _set_item _set_slice _setitem _settle _show _shut _single _size _slice
_slow_line _source _span _start _state _store _tag _tracked _trackfd _type_name _unmap _view _views _waiting _weak
_weakref _window _write
""".split()  # noqa: SIM905, a list would be pages long

# Where a class named so keeps a name with two underscores.
MANGLED = [
    f"_{of}__{name}"
    for of in ("mmap", "Memory", "Mapping", "Base")
    for name in ("base", "data", "file", "length", "lock", "mapping", "memory", "position", "state", "view")
]

# None of the class's own, that there should not be, is left out.
HIDDEN = sorted({*NAMES, *(name for name in dir(cffimmap.mmap) if name[0] == "_" and name[:2] != "__")})
ALL_NAMES = sorted({*HIDDEN, *MANGLED})

# Those of CPython 3.15; some platforms lack some.
PUBLIC = """
close closed find flush madvise move read read_byte readline resize rfind seek seekable set_name size tell write
write_byte
""".split()  # noqa: SIM905, a list would be pages long

TEXT = b"hello\nworld\n" * 2

# Seconds after which a lock is let go that a map waits for, although it is not the map's.
PATIENCE = 5


def set_item(m: Any, key: Any, value: Any) -> bytes:
    m[key] = value
    everything: bytes = m[:]
    return everything


def viewed(m: Any) -> bytes:
    with memoryview(m) as view:
        view[0] = ord("H")
        return bytes(view)


def refused(call: Callable[[], object]) -> str:
    try:
        call()
    except (TypeError, ValueError, IndexError, BufferError) as error:
        return f"{type(error).__name__}: {error}"
    return "taken"


def closed_under_a_view(m: Any) -> str:
    # PyPy closes it: nothing can count exports there.
    with memoryview(m):
        return refused(lambda: m.resize(len(m)))


# What is done with a map of TEXT in a file, by the public name that it is done with; the position is 0 before.
STEPS: list[tuple[str, Callable[[Any], object]]] = [
    ("__repr__", repr),
    ("__len__", len),
    ("__len__", bool),
    ("closed", lambda m: m.closed),
    ("size", lambda m: m.size()),
    ("tell", lambda m: m.tell()),
    ("seekable", lambda m: getattr(m, "seekable", lambda: True)()),
    ("__getitem__", lambda m: (m[0], m[-1], m[True])),
    ("__getitem__", lambda m: (m[:], m[2:7], m[::-1], m[1:20:3])),
    ("__getitem__", lambda m: (refused(lambda: m[24]), refused(lambda: m["a"]), refused(lambda: m[::0]))),
    ("__setitem__", lambda m: set_item(m, 0, ord("j"))),
    ("__setitem__", lambda m: set_item(m, slice(1, 5), b"ELLO")),
    ("__setitem__", lambda m: set_item(m, slice(0, 10, 2), bytearray(b"abcde"))),
    ("__setitem__", lambda m: (refused(lambda: set_item(m, 0, 256)), refused(lambda: set_item(m, 99, 0)))),
    ("__setitem__", lambda m: refused(lambda: set_item(m, slice(3), b"x"))),
    ("__setitem__", lambda m: set_item(m, slice(None), TEXT)),
    ("__delitem__", lambda m: refused(lambda: operator.delitem(m, 0))),
    ("__iter__", list),
    ("__iter__", lambda m: list(reversed(m))),
    ("__iter__", lambda m: (b"w" in m, b"zz" in m, ord("w") in m)),
    ("__iter__", lambda m: (operator.countOf(m, ord("o")), operator.countOf(m, b"o"))),
    ("find", lambda m: (m.find(b"o"), m.find(b"o", 5), m.find(b"o", 5, 6), m.find(b"world\nhello"))),
    ("find", lambda m: refused(lambda: m.find("o"))),
    ("rfind", lambda m: (m.rfind(b"o"), m.rfind(b"o", 0, 16), m.rfind(bytearray(b"lo\nw")))),
    ("read", lambda m: (m.read(2), m.read(0), m.read(3))),
    ("read_byte", lambda m: m.read_byte()),
    ("readline", lambda m: (m.readline(), m.readline())),
    ("tell", lambda m: m.tell()),
    ("write", lambda m: (m.write(b"WOR"), m.write(memoryview(b"LD")), refused(lambda: m.write(bytes(30))))),
    ("write_byte", lambda m: m.write_byte(ord("!"))),
    ("write_byte", lambda m: refused(lambda: m.write_byte(0))),
    ("read_byte", lambda m: refused(m.read_byte)),
    ("read", lambda m: m.read()),
    ("seek", lambda m: (m.seek(3), m.seek(-2, 1), m.seek(-4, 2), refused(lambda: m.seek(-1)))),
    ("read", lambda m: m.read(None)),
    ("seek", lambda m: m.seek(0)),
    ("move", lambda m: (m.move(0, 6, 6), m[:], refused(lambda: m.move(0, 20, 6)))),
    ("flush", lambda m: m.flush()),
    ("flush", lambda m: (m.flush(0, 12), refused(lambda: m.flush(0, 99)))),
    ("memoryview", viewed),
    ("memoryview", bytes),
    ("resize", lambda m: (m.resize(3 * PAGE), len(m), m[:30])),
    ("resize", lambda m: (m.resize(12), m[:])),
    ("resize", closed_under_a_view),
    ("size", lambda m: m.size()),
    ("__repr__", repr),
    ("__enter__", lambda m: m.__enter__() is m),
    ("close", lambda m: (m.close(), m.close())),
    ("closed", lambda m: m.closed),
    ("__len__", lambda m: refused(lambda: len(m))),
    ("__getitem__", lambda m: refused(lambda: m[0])),
    ("read", lambda m: refused(m.read)),
    ("__repr__", repr),
]


def all_done(m: Any, without: str = "") -> list[object]:
    """What the map answers to everything but `without`."""
    return [step(m) for name, step in STEPS if name != without]


@contextmanager
def mapped(kind: Any, path: Path) -> Iterator[Any]:
    """A map of a file of TEXT."""
    path.write_bytes(TEXT)
    with path.open("r+b") as file:
        m = kind(file.fileno(), 0)
    yield m
    # The subclass's own close may do something else.
    next(base for base in kind.__mro__ if base.__name__ == "mmap").close(m)


def made(mmap: ModuleType, **members: Any) -> Any:
    """A subclass, of the same name whatever it is made of."""
    return type("Ledger", (mmap.mmap,), members)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: each writes its files anew."""
    return tmp_path_factory.mktemp("names")


@pytest.fixture(scope="module")
def answers() -> dict[tuple[str, str], list[object]]:
    """What subclasses without any names have answered."""
    return {}


@pytest.fixture
def plain(folder: Path, answers: dict[tuple[str, str], list[object]]) -> Callable[..., list[object]]:
    """What a subclass without any names answers to everything but `without`."""

    def plain(mmap: ModuleType, without: str = "") -> list[object]:
        key = mmap.__name__, without
        if key not in answers:
            with mapped(made(mmap), folder / "plain") as m:
                answers[key] = all_done(m, without)
        return answers[key]

    return plain


@pytest.fixture
def held() -> Iterator[Any]:
    """A lock that the test holds. Whoever waits for it gets it in the end: the test fails then, and does not hang."""
    lock = threading.Lock()
    assert lock.acquire()
    done = threading.Event()

    def let_go() -> None:
        if not done.wait(PATIENCE):
            while not done.wait(0.001):
                with suppress(RuntimeError):
                    lock.release()

    thread = threading.Thread(target=let_go, daemon=True)
    thread.start()
    yield lock
    done.set()
    thread.join()


def fail(*_: object, **__: object) -> Any:
    raise AssertionError("a name of the subclass was used")


def test_class_has_no_hidden_names(ours: ModuleType) -> None:
    assert [name for name in dir(ours.mmap) if name[0] == "_" and not name.startswith("__")] == []


def test_class_has_the_public_names_of_the_newest_builtin(ours: ModuleType) -> None:
    public = {name for name in dir(ours.mmap) if name[0] != "_"}
    assert public == {name for name in PUBLIC if name not in ("madvise", "set_name") or name in public}


@needs("MADV_NORMAL")
def test_madvise_is_there_where_there_is_something_to_advise(ours: ModuleType) -> None:
    assert "madvise" in dir(ours.mmap)


def test_map_has_room_for_no_name(ours: ModuleType) -> None:
    with ours.mmap(-1, 13) as m:
        for name in ALL_NAMES:
            with pytest.raises(AttributeError):
                setattr(m, name, 7)
            assert not hasattr(m, name)


@pytest.mark.parametrize("name", HIDDEN)
class TestValues:
    """Whatever a subclass keeps under such a name, the map neither sees nor touches it."""

    def test_number(
        self, ours: ModuleType, folder: Path, plain: Callable[..., list[object]], name: str
    ) -> None:
        with mapped(made(ours), folder / "file") as m:
            setattr(m, name, 7)
            assert all_done(m) == plain(ours)
            assert vars(m) == {name: 7}

    def test_open_file(
        self, ours: ModuleType, folder: Path, plain: Callable[..., list[object]], name: str
    ) -> None:
        other = folder / "other"
        other.write_bytes(b"theirs")
        with other.open("r+b") as file, mapped(made(ours), folder / "file") as m:
            setattr(m, name, file)
            assert all_done(m) == plain(ours)
            assert not file.closed
            assert file.read() == b"theirs"
        assert other.read_bytes() == b"theirs"

    def test_held_lock(
        self, ours: ModuleType, folder: Path, plain: Callable[..., list[object]], held: Any, name: str
    ) -> None:
        with mapped(made(ours), folder / "file") as m:
            setattr(m, name, held)
            assert all_done(m) == plain(ours)
            assert held.locked()


def failing(name: str) -> Callable[..., Any]:
    """A method that tells its name."""

    def method(*_: object, **__: object) -> Any:
        raise AssertionError(f"{name} of the subclass was used")

    return method


@with_builtin()
class TestAllNamesAtOnce:
    def test_values(self, mmap: ModuleType, folder: Path, plain: Callable[..., list[object]]) -> None:
        for value in (7, None, "seven", [], object()):
            values = dict.fromkeys(ALL_NAMES, value)
            with mapped(made(mmap), folder / "file") as m:
                vars(m).update(values)
                assert all_done(m) == plain(mmap)
                assert vars(m) == values

    def test_values_of_the_class(
        self, mmap: ModuleType, folder: Path, plain: Callable[..., list[object]]
    ) -> None:
        with mapped(made(mmap, **dict.fromkeys(ALL_NAMES, 7)), folder / "file") as m:
            assert all_done(m) == plain(mmap)

    def test_methods(self, mmap: ModuleType, folder: Path, plain: Callable[..., list[object]]) -> None:
        with mapped(made(mmap, **{name: failing(name) for name in ALL_NAMES}), folder / "file") as m:
            assert all_done(m) == plain(mmap)

    def test_properties(self, mmap: ModuleType, folder: Path, plain: Callable[..., list[object]]) -> None:
        members = {name: property(failing(name), failing(name), failing(name)) for name in ALL_NAMES}
        with mapped(made(mmap, **members), folder / "file") as m:
            assert all_done(m) == plain(mmap)

    def test_methods_of_a_mixin(
        self, mmap: ModuleType, folder: Path, plain: Callable[..., list[object]]
    ) -> None:
        mixin = type("Mixin", (), {name: failing(name) for name in ALL_NAMES})
        with mapped(type("Ledger", (mixin, mmap.mmap), {}), folder / "file") as m:
            assert all_done(m) == plain(mmap)

    def test_properties_of_a_mixin(
        self, mmap: ModuleType, folder: Path, plain: Callable[..., list[object]]
    ) -> None:
        mixin = type(
            "Mixin", (), {name: property(failing(name), failing(name), failing(name)) for name in ALL_NAMES}
        )
        with mapped(type("Ledger", (mixin, mmap.mmap), {}), folder / "file") as m:
            assert all_done(m) == plain(mmap)

    def test_slots(self, mmap: ModuleType, folder: Path, plain: Callable[..., list[object]]) -> None:
        with mapped(made(mmap, __slots__=ALL_NAMES), folder / "file") as m:
            assert all_done(m) == plain(mmap)
            for name in ALL_NAMES:
                assert not hasattr(m, name)

    def test_filled_slots(self, mmap: ModuleType, folder: Path, plain: Callable[..., list[object]]) -> None:
        with mapped(made(mmap, __slots__=ALL_NAMES), folder / "file") as m:
            for name in ALL_NAMES:
                setattr(m, name, 7)
            assert all_done(m) == plain(mmap)
            assert {getattr(m, name) for name in ALL_NAMES} == {7}
            assert not hasattr(m, "__dict__")

    def test_no_attribute_is_asked_for_but_public_ones(
        self, mmap: ModuleType, folder: Path, plain: Callable[..., list[object]]
    ) -> None:
        asked: set[str] = set()

        def noting(self: Any, name: str) -> Any:
            asked.add(name)
            return mmap.mmap.__getattribute__(self, name)

        with mapped(made(mmap, __getattribute__=noting), folder / "file") as m:
            assert all_done(m) == plain(mmap)
        # What the steps themselves ask for.
        assert {name for name in asked if name[0] == "_"} <= {"__enter__", "__class__", "__dict__"}

    def test_no_attribute_is_set(
        self, mmap: ModuleType, folder: Path, plain: Callable[..., list[object]]
    ) -> None:
        members = {"__setattr__": failing("__setattr__"), "__delattr__": failing("__delattr__")}
        with mapped(made(mmap, **members), folder / "file") as m:
            assert all_done(m) == plain(mmap)


class TestClassOfTheSameName:
    """Its names with two underscores become those that the map's own class would have."""

    @with_builtin()
    def test_private_names_are_apart(
        self, mmap: ModuleType, folder: Path, plain: Callable[..., list[object]]
    ) -> None:
        base: Any = mmap.mmap

        class Memory(base):  # type: ignore[misc]
            def __init__(self, *_: object) -> None:
                self.__memory = self.__base = self.__lock = self.__file = 7

        class Mapping(Memory):
            def __init__(self, *_: object) -> None:
                super().__init__()
                self.__memory = self.__mapping = self.__view = self.__position = 8

        own = type("mmap", (Mapping,), {"_mmap__memory": 9, "_mmap__state": 9})
        with mapped(type("Ledger", (own,), {}), folder / "file") as m:
            assert all_done(m) == plain(mmap)
            assert set(vars(m).values()) == {7, 8}
            base.close(m)


class TestPublicNames:
    """Methods do not go through one another."""

    @with_builtin()
    @pytest.mark.parametrize("name", PUBLIC)
    def test_overridden_name_is_not_asked(
        self, mmap: ModuleType, folder: Path, plain: Callable[..., list[object]], name: str
    ) -> None:
        with mapped(made(mmap, **{name: fail}), folder / "file") as m:
            assert all_done(m, without=name) == plain(mmap, without=name)

    @with_builtin()
    @pytest.mark.parametrize("name", PUBLIC)
    def test_overriding_property_is_not_asked(
        self, mmap: ModuleType, folder: Path, plain: Callable[..., list[object]], name: str
    ) -> None:
        with mapped(made(mmap, **{name: property(fail)}), folder / "file") as m:
            assert all_done(m, without=name) == plain(mmap, without=name)

    @with_builtin()
    def test_overridden_find_leaves_membership(self, mmap: ModuleType) -> None:
        with made(mmap, find=fail, rfind=fail)(-1, 4) as m, made(mmap)(-1, 4) as other:
            m[:] = other[:] = b"abcd"
            for item in (b"c", ord("c"), b"cd", b"x", None):
                assert (item in m) is (item in other)

    @with_builtin()
    def test_overriding_method_reaches_the_own_one(self, mmap: ModuleType) -> None:
        base: Any = mmap.mmap

        class Counting(base):  # type: ignore[misc]
            calls = 0

            def find(self, *arguments: Any) -> int:
                self.calls += 1
                position: int = super().find(*arguments)
                return position

            def read(self, count: int = -1) -> bytes:
                self.calls += 1
                data: bytes = super().read(count)
                return data[::-1]

        with Counting(-1, 4) as m:
            m[:] = b"abcd"
            assert (m.find(b"c"), m.rfind(b"c"), m.calls) == (2, 2, 1)
            assert (m.read(3), m.tell(), m.readline(), m.calls) == (b"cba", 3, b"d", 2)

    @with_builtin()
    def test_overridden_close_is_not_called_by_the_collector(self, mmap: ModuleType) -> None:
        called: list[object] = []
        m = made(mmap, close=lambda _: called.append(1))(-1, 4)
        m.itself = m
        del m
        gc.collect()
        assert called == []


class TestLength:
    @with_builtin()
    @pytest.mark.parametrize("length", [2, 99])
    def test_overridden_length_is_not_the_memory(self, mmap: ModuleType, length: int) -> None:
        with made(mmap, __len__=lambda _: length)(-1, 5) as m:
            assert m.write(b"abcde") == 5
            assert len(m) == length
            assert (m[4], m[-1], m[:], m[3:], m[::-2]) == (101, 101, b"abcde", b"de", b"eca")
            m[-1] = 69
            m[1:4] = b"BCD"
            assert m[:] == b"aBCDE"
            assert (m.seek(-1, 2), m.tell(), m.read()) in [(4, 4, b"E"), (None, 4, b"E")]
            assert (m.find(b"E", 0), m.rfind(b"E", 0), m.find(b"E", -1)) == (4, 4, 4)
            m.move(0, 3, 2)
            assert bytes(m) == bytes(memoryview(m)) == b"DECDE"
            assert "length=5," in repr(m)
            assert len(list(m)) == 5
            with pytest.raises(IndexError):
                m[5]

    @with_builtin()
    def test_overridden_length_that_raises_is_not_asked(self, mmap: ModuleType) -> None:
        with made(mmap, __len__=fail)(-1, 5) as m:
            m.write(b"abcde")
            m.seek(0)
            assert (m[-1], m[:2], m[-2:], m.read(3), m.readline(), m.tell()) == (
                101,
                b"ab",
                b"de",
                b"abc",
                b"de",
                5,
            )
            assert m.find(b"c", 0) == m.rfind(b"c", 0) == 2
            m.flush()
            m.resize(3)
            assert bytes(m) == b"abc"

    @with_builtin()
    def test_overridden_length_is_where_reversed_begins(self, mmap: ModuleType) -> None:
        with made(mmap, __len__=lambda _: 2)(-1, 5) as m:
            m.write(b"abcde")
            assert len(list(reversed(m))) == 2

    @with_builtin()
    def test_overridden_length_is_what_an_iterator_has_left(self, mmap: ModuleType) -> None:
        with made(mmap, __len__=lambda _: 2)(-1, 5) as m:
            assert operator.length_hint(iter(m)) == 2

    @with_builtin()
    def test_overridden_length_is_the_truth(self, mmap: ModuleType) -> None:
        with made(mmap, __len__=lambda _: 0)(-1, 5) as m:
            assert not m
        with made(mmap, __bool__=lambda _: False)(-1, 5) as m:
            assert not m
            assert len(m) == 5


def lines(m: Any) -> Iterator[bytes]:
    return iter(m[:].splitlines(keepends=True))


class TestIteration:
    """Iteration, and what iterates, asks a subclass: for its iterator, else for its items."""

    @with_builtin()
    def test_own_iterator_is_used(self, mmap: ModuleType) -> None:
        with made(mmap, __iter__=lines)(-1, 8) as m:
            m.write(b"one\ntwo\n")
            assert list(m) == [b"one\n", b"two\n"]
            assert b"two\n" in m
            assert b"o" not in m
            assert operator.indexOf(m, b"two\n") == operator.countOf(m, b"two\n") == 1

    @with_builtin()
    def test_own_iterator_is_not_used_backwards(self, mmap: ModuleType) -> None:
        with made(mmap, __iter__=fail)(-1, 3) as m:
            assert len(list(reversed(m))) == 3

    @with_builtin()
    def test_own_test_of_membership_is_used(self, mmap: ModuleType) -> None:
        with made(mmap, __contains__=lambda _, item: item == "all", __iter__=fail)(-1, 3) as m:
            assert "all" in m
            assert b"\0" not in m

    @with_builtin()
    def test_own_backwards_iterator_is_used(self, mmap: ModuleType) -> None:
        with made(mmap, __reversed__=lambda _: iter("abc"))(-1, 3) as m:
            assert list(reversed(m)) == ["a", "b", "c"]

    @with_builtin()
    def test_none_for_an_iterator_refuses(self, mmap: ModuleType) -> None:
        with made(mmap, __iter__=None)(-1, 3) as m, pytest.raises(TypeError):
            iter(m)

    @with_builtin()
    def test_own_items_are_used(self, mmap: ModuleType) -> None:
        with made(mmap, __getitem__=lambda m, i: (i, mmap.mmap.__getitem__(m, i)))(-1, 3) as m:
            m.write(b"xyz")
            items = [(0, 120), (1, 121), (2, 122)]
            assert list(m) == items
            assert list(reversed(m)) == items[::-1]
            assert (1, 121) in m
            assert b"y" not in m
            assert operator.indexOf(m, (1, 121)) == operator.countOf(m, (1, 121)) == 1

    @with_builtin()
    @CPYTHON
    def test_own_items_are_used_by_bisect(self, mmap: ModuleType) -> None:
        with made(mmap, __getitem__=lambda _, i: (i,))(-1, 9) as m:
            assert bisect.bisect_left(m, (5,)) == 5

    @with_builtin()
    def test_own_items_are_not_used_by_other_methods(self, mmap: ModuleType) -> None:
        with made(mmap, __getitem__=fail)(-1, 3) as m:
            m.write(b"xyz")
            m.seek(0)
            assert (m.read_byte(), m.read(1), m.readline(), m.find(b"y", 0)) == (120, b"y", b"z", 1)
            assert bytes(m) == b"xyz"

    @with_builtin()
    @pytest.mark.parametrize("error", [IndexError, StopIteration])
    def test_iteration_ends_where_own_items_do(self, mmap: ModuleType, error: type[Exception]) -> None:
        def item(m: Any, i: int) -> Any:
            if i == 2:
                raise error
            return mmap.mmap.__getitem__(m, i)

        with made(mmap, __getitem__=item)(-1, 5) as m:
            assert len(list(m)) == 2

    @with_builtin()
    def test_own_items_may_go_beyond_the_end(self, mmap: ModuleType) -> None:
        def item(_: Any, i: int) -> int:
            if i == 9:
                raise IndexError
            return i

        with made(mmap, __getitem__=item)(-1, 5) as m:
            assert list(m) == list(range(9))
            assert list(reversed(m)) == list(range(4, -1, -1))

    @with_builtin()
    def test_own_items_may_raise(self, mmap: ModuleType) -> None:
        with made(mmap, __getitem__=fail)(-1, 5) as m:
            for call in (list, lambda m: list(reversed(m)), lambda m: b"\0" in m):
                with pytest.raises(AssertionError, match="a name of the subclass"):
                    call(m)

    @with_builtin()
    @pytest.mark.parametrize(
        "members",
        [{}, {"__slots__": ()}, {"__setitem__": fail}, {"__len__": lambda _: 2}],
        ids=["plain", "slots", "setitem", "len"],
    )
    def test_items_of_a_subclass_are_integers(self, mmap: ModuleType, members: dict[str, Any]) -> None:
        # A class made in Python has an __getitem__ that iteration finds first; it answers as m[i] does.
        with made(mmap, **members)(-1, 3) as m:
            mmap.mmap.write(m, b"abc")
            assert list(m) == [97, 98, 99]
            assert b"a" not in m
            assert 97 in m
            assert operator.indexOf(m, 98) == 1


class TestClosing:
    @with_builtin(3, 11)
    def test_close_may_leave_through_exit(self, mmap: ModuleType) -> None:
        m = made(mmap, close=lambda m: m.__exit__(None, None, None))(-1, 4)
        m.close()
        assert m.closed

    @with_builtin(3, 11)
    def test_leaving_does_not_call_the_own_close(self, mmap: ModuleType) -> None:
        with made(mmap, close=fail)(-1, 4) as m:
            pass
        assert m.closed

    @with_builtin()
    def test_closing_does_not_leave(self, mmap: ModuleType) -> None:
        m = made(mmap, __exit__=fail)(-1, 4)
        m.close()
        assert m.closed

    @with_builtin()
    def test_own_enter_and_exit_are_used(self, mmap: ModuleType) -> None:
        done: list[str] = []
        kind = made(mmap, __enter__=lambda _: done.append("in"), __exit__=lambda *_: done.append("out"))
        m = kind(-1, 4)
        with m as entered:
            assert entered is None
        assert done == ["in", "out"]
        assert not m.closed
        m.close()

    @with_builtin()
    def test_leaving_lets_exceptions_out(self, mmap: ModuleType) -> None:
        error = KeyError()
        for arguments in ((None, None, None), (KeyError, error, None)):
            assert mmap.mmap(-1, 4).__exit__(*arguments) is None

    @with_builtin(3, 14)
    @pytest.mark.parametrize("arguments", [(), (None,), (None,) * 4])
    def test_leaving_takes_three_arguments(self, mmap: ModuleType, arguments: tuple[None, ...]) -> None:
        with mmap.mmap(-1, 4) as m:
            with pytest.raises(TypeError):
                m.__exit__(*arguments)
            assert not m.closed


@CPYTHON
class TestHalfAMap:
    @with_builtin()
    def test_object_new_makes_none(self, mmap: ModuleType) -> None:
        new: Any = object.__new__
        for kind in (mmap.mmap, made(mmap)):
            with pytest.raises(TypeError, match="is not safe"):
                new(kind)

    @with_builtin()
    def test_new_of_another_class_makes_none(self, mmap: ModuleType) -> None:
        new: Any = mmap.mmap.__new__
        for kind in (object, int, str, memoryview):
            with pytest.raises(TypeError):
                new(kind, -1, 4)
