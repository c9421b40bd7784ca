"""The constructor: its arguments, their conversions, and what it refuses."""

from __future__ import annotations

import errno
import gc
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _files import (
    GRANULARITY,
    LITTLE_ADDRESS_SPACE,
    SIZE,
    SSIZE_MAX,
    Index,
    everything_open,
    open_descriptors,
)
from _needs import constant, needs

from cffimmap import ACCESS_COPY, ACCESS_DEFAULT, ACCESS_READ, ACCESS_WRITE

if TYPE_CHECKING:
    from types import ModuleType

    from conftest import Raises

MAP_PRIVATE = constant("MAP_PRIVATE")
MAP_SHARED = constant("MAP_SHARED")
PROT_READ = constant("PROT_READ")
PROT_WRITE = constant("PROT_WRITE")
PROT_BOTH = PROT_READ | PROT_WRITE if PROT_READ else None
PROT_EXEC_TOO = PROT_READ | constant("PROT_EXEC") if PROT_READ else None

needs_flags = needs("MAP_PRIVATE")


def unix(*values: Any) -> Any:
    """A parameter with flags or a protection, which Unix alone has."""
    return pytest.param(*values, marks=needs_flags)


class TestWhatIsMapped:
    def test_length_0_maps_the_whole_file(self, mmap: ModuleType, file: Any, path: Path) -> None:
        with mmap.mmap(file.fileno(), 0) as m:
            assert len(m) == SIZE
            assert m[:] == path.read_bytes()

    def test_length_0_maps_the_rest_from_offset(self, mmap: ModuleType, file: Any, path: Path) -> None:
        with mmap.mmap(file.fileno(), 0, offset=2 * GRANULARITY) as m:
            assert m[:] == path.read_bytes()[2 * GRANULARITY :]

    def test_length_and_offset_choose_a_part(self, mmap: ModuleType, file: Any, path: Path) -> None:
        with mmap.mmap(file.fileno(), 100, offset=GRANULARITY) as m:
            assert m[:] == path.read_bytes()[GRANULARITY : GRANULARITY + 100]

    def test_part_may_end_with_the_file(self, mmap: ModuleType, file: Any) -> None:
        with mmap.mmap(file.fileno(), SIZE - GRANULARITY, offset=GRANULARITY) as m:
            assert len(m) == SIZE - GRANULARITY

    def test_minus_one_maps_zeros(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 5000) as m:
            assert m[:] == bytes(5000)
            m[4999] = 1
            assert m[4998:] == b"\0\1"

    def test_anonymous_memory_takes_an_aligned_offset(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 10, offset=GRANULARITY) as m:
            assert m[:] == bytes(10)
            assert repr(m).endswith(f"offset={GRANULARITY}>")

    @needs("/dev/zero")
    def test_device_has_no_size_to_be_checked(self, mmap: ModuleType) -> None:
        with Path("/dev/zero").open("r+b", buffering=0) as zero, mmap.mmap(zero.fileno(), 10_000) as m:
            assert m[:] == bytes(10_000)

    @needs_flags
    def test_anonymous_flag_leaves_the_file_alone(self, ours: ModuleType, file: Any, path: Path) -> None:
        before = path.read_bytes()
        with ours.mmap(file.fileno(), 10, flags=MAP_PRIVATE | ours.MAP_ANONYMOUS) as m:
            assert m[:] == bytes(10)
            m[:] = b"x" * 10
            m.resize(20)
            assert m.size() == 20
        assert path.read_bytes() == before


class TestDescriptor:
    def test_file_may_be_closed_afterwards(self, mmap: ModuleType, path: Path) -> None:
        with path.open("r+b") as file:
            m = mmap.mmap(file.fileno(), 0)
        with m:
            assert m.size() == SIZE
            m[0:5] = b"HELLO"
            m.flush()
        assert path.read_bytes().startswith(b"HELLO\n")

    def test_own_descriptor_is_closed_with_the_map(self, mmap: ModuleType, file: Any) -> None:
        gc.collect()
        before = everything_open()
        m = mmap.mmap(file.fileno(), 0)
        assert everything_open() > before
        m.close()
        assert everything_open() == before

    @needs("/proc/self/fd")
    @pytest.mark.differs("inherited descriptor")
    def test_own_descriptor_is_not_inherited(self, mmap: ModuleType, file: Any) -> None:
        before = open_descriptors()
        with mmap.mmap(file.fileno(), 0):
            (own,) = open_descriptors() - before
            assert not os.get_inheritable(own)

    @pytest.mark.differs("trackfd")
    @pytest.mark.parametrize("no", [False, 0, [], None])
    def test_trackfd_false_keeps_no_descriptor(self, mmap: ModuleType, file: Any, no: Any) -> None:
        gc.collect()
        before = everything_open()
        with mmap.mmap(file.fileno(), 0, trackfd=no) as m:
            assert everything_open() == before
            assert m[:5] == b"hello"

    @pytest.mark.differs("trackfd refusals")
    def test_trackfd_false_has_no_size_and_no_resize(
        self, mmap: ModuleType, file: Any, raises: Raises
    ) -> None:
        with mmap.mmap(file.fileno(), 0, trackfd=False) as m:
            with raises(ValueError, "can't get size with trackfd=False"):
                m.size()
            with raises(ValueError, "mmap can't resize with trackfd=False."):
                m.resize(10)
            assert len(m) == SIZE

    @pytest.mark.differs("trackfd")
    def test_trackfd_true_is_the_default(self, mmap: ModuleType, file: Any) -> None:
        with mmap.mmap(file.fileno(), 0, trackfd=[1]) as m:
            assert m.size() == SIZE


class TestAccess:
    @pytest.mark.parametrize(
        ("arguments", "shown", "writable"),
        [
            ({}, "ACCESS_DEFAULT", True),
            ({"access": ACCESS_DEFAULT}, "ACCESS_DEFAULT", True),
            ({"access": ACCESS_READ}, "ACCESS_READ", False),
            ({"access": ACCESS_WRITE}, "ACCESS_WRITE", True),
            ({"access": ACCESS_COPY}, "ACCESS_COPY", True),
            unix({"prot": PROT_READ}, "ACCESS_READ", False),
            unix({"prot": PROT_WRITE}, "ACCESS_WRITE", True),
            unix({"prot": PROT_BOTH}, "ACCESS_DEFAULT", True),
            unix({"prot": PROT_EXEC_TOO}, "ACCESS_READ", False),
            unix({"prot": PROT_READ, "flags": MAP_PRIVATE}, "ACCESS_READ", False),
            unix({"flags": MAP_PRIVATE}, "ACCESS_DEFAULT", True),
            unix({"flags": MAP_PRIVATE, "access": ACCESS_DEFAULT}, "ACCESS_DEFAULT", True),
            unix({"flags": MAP_SHARED, "access": ACCESS_READ}, "ACCESS_READ", False),
        ],
    )
    @pytest.mark.parametrize("anonymous", [False, True], ids=["file", "anonymous"])
    def test_arguments_decide_the_access(
        self,
        mmap: ModuleType,
        file: Any,
        arguments: dict[str, int],
        shown: str,
        writable: bool,
        anonymous: bool,
    ) -> None:
        with mmap.mmap(-1 if anonymous else file.fileno(), 100, **arguments) as m:
            assert f"access={shown}," in repr(m)
            if writable:
                m[0] = 88
                assert m[0] == 88
            else:
                with pytest.raises(TypeError):
                    m[0] = 88

    @pytest.mark.parametrize(
        ("arguments", "reaches"),
        [
            ({}, True),
            ({"access": ACCESS_WRITE}, True),
            unix({"flags": MAP_SHARED}, True),
            ({"access": ACCESS_COPY}, False),
            unix({"flags": MAP_PRIVATE}, False),
            unix({"flags": MAP_PRIVATE, "prot": PROT_BOTH}, False),
        ],
    )
    def test_only_shared_maps_write_to_the_file(
        self, mmap: ModuleType, file: Any, path: Path, arguments: dict[str, int], reaches: bool
    ) -> None:
        with mmap.mmap(file.fileno(), 0, **arguments) as m:
            m[0:5] = b"HELLO"
            assert m[0:5] == b"HELLO"
            m.flush()
        assert path.read_bytes()[:5] == (b"HELLO" if reaches else b"hello")

    @pytest.mark.parametrize("access", [ACCESS_READ, ACCESS_COPY])
    def test_reading_and_copying_need_no_writable_file(
        self, mmap: ModuleType, path: Path, access: int
    ) -> None:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=access) as m:
            assert m[:5] == b"hello"

    @pytest.mark.parametrize("arguments", [{}, {"access": ACCESS_WRITE}, unix({"prot": PROT_WRITE})])
    def test_writing_needs_a_writable_file(
        self, mmap: ModuleType, path: Path, raises: Raises, arguments: dict[str, int]
    ) -> None:
        with path.open("rb") as file, raises(PermissionError, errno.EACCES):
            mmap.mmap(file.fileno(), 0, **arguments)

    @pytest.mark.parametrize("arguments", [{}, {"access": ACCESS_READ}, {"access": ACCESS_WRITE}])
    def test_every_access_needs_a_readable_file(
        self, mmap: ModuleType, path: Path, raises: Raises, arguments: dict[str, int]
    ) -> None:
        with path.open("r+b"), path.open("ab") as file, raises(PermissionError, errno.EACCES):
            mmap.mmap(file.fileno(), 0, **arguments)


class TestArguments:
    @needs_flags
    def test_all_have_names(self, mmap: ModuleType, file: Any) -> None:
        with mmap.mmap(
            fileno=file.fileno(), length=10, flags=MAP_SHARED, prot=PROT_READ, offset=GRANULARITY
        ) as m:
            assert repr(m).endswith(f"access=ACCESS_READ, length=10, pos=0, offset={GRANULARITY}>")
        with mmap.mmap(fileno=file.fileno(), length=10, access=ACCESS_COPY) as m:
            assert "ACCESS_COPY" in repr(m)

    @needs_flags
    def test_six_have_places(self, mmap: ModuleType, file: Any) -> None:
        with mmap.mmap(file.fileno(), 10, MAP_SHARED, PROT_READ, ACCESS_DEFAULT, GRANULARITY) as m:
            assert repr(m).endswith(f"access=ACCESS_READ, length=10, pos=0, offset={GRANULARITY}>")

    @needs_flags
    def test_whatever_has_an_index_is_an_integer(self, mmap: ModuleType, file: Any) -> None:
        arguments = [file.fileno(), 10, MAP_SHARED, PROT_READ, ACCESS_DEFAULT, GRANULARITY]
        with mmap.mmap(*map(Index, arguments)) as m:
            assert repr(m).endswith(f"access=ACCESS_READ, length=10, pos=0, offset={GRANULARITY}>")

    def test_true_is_one(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, True) as m:
            assert len(m) == 1

    @pytest.mark.parametrize("name", ["fileno", "length", unix("flags"), unix("prot"), "access", "offset"])
    @pytest.mark.parametrize("value", ["1", 1.0, None, b"1", []], ids=repr)
    def test_other_types_are_refused(self, mmap: ModuleType, name: str, value: Any) -> None:
        with pytest.raises(TypeError):
            mmap.mmap(**{"fileno": -1, "length": 10, name: value})

    @pytest.mark.parametrize(
        ("places", "names"),
        [
            ((), {}),
            ((-1,), {}),
            ((), {"length": 10}),
            ((-1, 10), {"fileno": -1}),
            unix((-1, 10), {"tagname": None}),
            unix((-1, 10, MAP_SHARED, PROT_READ, ACCESS_DEFAULT, 0, True), {}),
        ],
    )
    def test_missing_double_and_unknown_arguments_are_refused(
        self, mmap: ModuleType, places: tuple[int, ...], names: dict[str, Any]
    ) -> None:
        with pytest.raises(TypeError):
            mmap.mmap(*places, **names)


SSIZE = "Python int too large to convert to C ssize_t"
OFFSET = "Python int too large to convert to C long"
BOTH = "mmap can't specify both access and flags, prot."
TOO_LONG = "mmap length is greater than file size"

BEYOND_INT = [{"fileno": 2**31}, {"fileno": -(2**31) - 1}, {"access": 2**31}]
FLAGS_BEYOND_INT = [{"flags": 2**31}, {"prot": 2**31}]

REFUSED: list[Any] = [
    ({"length": -1}, OverflowError, "memory mapped length must be positive"),
    ({"length": -SSIZE_MAX - 1}, OverflowError, "memory mapped length must be positive"),
    ({"length": SSIZE_MAX + 1}, OverflowError, SSIZE),
    ({"length": -SSIZE_MAX - 2}, OverflowError, SSIZE),
    ({"offset": -1}, OverflowError, "memory mapped offset must be positive"),
    ({"offset": -GRANULARITY}, OverflowError, "memory mapped offset must be positive"),
    ({"offset": -(2**63)}, OverflowError, "memory mapped offset must be positive"),
    ({"offset": 2**63}, OverflowError, OFFSET),
    ({"offset": -(2**63) - 1}, OverflowError, OFFSET),
    *((arguments, OverflowError, None) for arguments in BEYOND_INT),
    *(unix(arguments, OverflowError, None) for arguments in FLAGS_BEYOND_INT),
    # Where a mapping may be longer than the file, the system says what is too long.
    unix({"length": SSIZE_MAX}, ValueError, TOO_LONG),
    unix({"length": SIZE + 1}, ValueError, TOO_LONG),
    unix({"length": SIZE - GRANULARITY + 1, "offset": GRANULARITY}, ValueError, TOO_LONG),
    unix({"offset": 2**63 - GRANULARITY}, ValueError, TOO_LONG),
    unix({"offset": 3 * GRANULARITY}, ValueError, TOO_LONG),
    ({"length": 0, "offset": 3 * GRANULARITY}, ValueError, "mmap offset is greater than file size"),
    ({"length": 0, "offset": 1}, OSError, errno.EINVAL),
    ({"offset": 1}, OSError, errno.EINVAL),
    ({"fileno": -1, "offset": 1}, OSError, errno.EINVAL),
    ({"fileno": -1, "length": 0}, OSError, errno.EINVAL),
    *([] if LITTLE_ADDRESS_SPACE else [unix({"fileno": -1, "length": 2**62}, OSError, errno.ENOMEM)]),
    ({"fileno": -2}, OSError, errno.EBADF),
    ({"fileno": -(2**31)}, OSError, errno.EBADF),
    ({"fileno": 2**31 - 1}, OSError, errno.EBADF),
    ({"fileno": -2, "length": 0}, OSError, errno.EBADF),
    unix({"flags": 0}, OSError, errno.EINVAL),
    ({"access": 4}, ValueError, "mmap invalid access parameter."),
    ({"access": -1}, ValueError, "mmap invalid access parameter."),
    unix({"access": ACCESS_READ, "flags": MAP_PRIVATE}, ValueError, BOTH),
    unix({"access": ACCESS_WRITE, "prot": PROT_READ}, ValueError, BOTH),
    unix({"access": ACCESS_COPY, "flags": 0, "prot": 0}, ValueError, BOTH),
    unix({"access": 4, "prot": PROT_READ}, ValueError, BOTH),
]


class TestRefusals:
    @pytest.mark.differs(
        "negative sizes",
        arguments=[
            {"length": -1},
            {"length": -SSIZE_MAX - 1},
            {"offset": -1},
            {"offset": -GRANULARITY},
            {"offset": -(2**63)},
        ],
    )
    @pytest.mark.differs("range of a C int", arguments=BEYOND_INT + FLAGS_BEYOND_INT)
    @pytest.mark.differs("misaligned offset", arguments=[{"length": 0, "offset": 1}, {"offset": 1}])
    @pytest.mark.differs("refused descriptor", arguments=[{"flags": 0}])
    @pytest.mark.parametrize(("arguments", "error", "answer"), REFUSED)
    def test_bad_arguments_are_refused(
        self,
        mmap: ModuleType,
        file: Any,
        path: Path,
        raises: Raises,
        arguments: dict[str, int],
        error: type[Exception],
        answer: str | int | None,
    ) -> None:
        gc.collect()
        before = everything_open()
        with raises(error, answer):
            mmap.mmap(**{"fileno": file.fileno(), "length": 10, **arguments})
        assert everything_open() == before
        assert path.stat().st_size == SIZE

    def test_empty_file_is_refused(self, mmap: ModuleType, path: Path, raises: Raises) -> None:
        path.write_bytes(b"")
        with path.open("r+b") as file, raises(ValueError, "cannot mmap an empty file"):
            mmap.mmap(file.fileno(), 0)

    @pytest.mark.differs("offset at the end")
    def test_page_aligned_end_leaves_nothing_to_map(
        self, mmap: ModuleType, path: Path, raises: Raises
    ) -> None:
        path.write_bytes(bytes(GRANULARITY))
        with path.open("r+b") as file, raises(ValueError, "mmap offset is greater than file size"):
            mmap.mmap(file.fileno(), 0, offset=GRANULARITY)


def test_file_mode_is_not_changed(mmap: ModuleType, file: Any, path: Path) -> None:
    before = stat.S_IMODE(path.stat().st_mode)
    with mmap.mmap(file.fileno(), 0):
        assert stat.S_IMODE(path.stat().st_mode) == before
