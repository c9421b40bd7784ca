"""Windows's names for memory: who gives the same tag gets the same memory."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from _faults import Faulty
from _files import GRANULARITY, PAGE
from conftest import BUILTIN

from cffimmap._native import WINDOWS

if TYPE_CHECKING:
    from types import ModuleType

    from _calls import Call
    from conftest import Raises

pytestmark = pytest.mark.skipif(not WINDOWS, reason="needs tags, which Windows alone has")

FILE_NOT_FOUND, ACCESS_DENIED, INVALID_HANDLE, NOT_ENOUGH_MEMORY = 2, 5, 6, 8
ALREADY_EXISTS, USER_MAPPED_FILE = 183, 1224


@pytest.fixture
def tag() -> str:
    """A name that nobody else has."""
    return f"cffimmap-{uuid.uuid4()}"


def winerror(error: BaseException) -> int:
    code: int = error.winerror  # type: ignore[attr-defined, unused-ignore]
    return code


class TestSharing:
    def test_the_same_tag_is_the_same_memory(self, mmap: ModuleType, tag: str) -> None:
        with mmap.mmap(-1, 100, tag) as one, mmap.mmap(-1, 100, tagname=tag) as other:
            one[:5] = b"hello"
            assert other[:5] == b"hello"
            other[0] = 74
            assert one[:5] == b"Jello"

    def test_another_tag_is_other_memory(self, mmap: ModuleType, tag: str) -> None:
        with (
            mmap.mmap(-1, 100, tag) as one,
            mmap.mmap(-1, 100, tag + "x") as other,
            mmap.mmap(-1, 100) as none,
        ):
            one[0] = 1
            assert other[0] == none[0] == 0

    def test_ours_and_the_builtin_s_share(self, ours: ModuleType, tag: str) -> None:
        builtin: Any = BUILTIN
        with ours.mmap(-1, 100, tag) as one, builtin.mmap(-1, 100, tag) as theirs:
            one[:5] = b"hello"
            assert theirs[:5] == b"hello"

    def test_a_part_of_the_memory_may_be_mapped(self, mmap: ModuleType, tag: str) -> None:
        with mmap.mmap(-1, 2 * GRANULARITY, tag) as whole, mmap.mmap(-1, 10, tag, offset=GRANULARITY) as part:
            part[:] = b"0123456789"
            assert whole[GRANULARITY:][:10] == b"0123456789"

    def test_more_than_the_memory_is_refused(self, mmap: ModuleType, tag: str) -> None:
        with mmap.mmap(-1, 100, tag) as small:
            with pytest.raises(PermissionError) as raised:
                mmap.mmap(-1, 100_000, tag)
            assert winerror(raised.value) == ACCESS_DENIED
            assert len(small) == 100

    def test_another_process_sees_the_memory(self, ours: ModuleType, tag: str) -> None:
        program = "import sys, cffimmap; m = cffimmap.mmap(-1, 100, sys.argv[1]); m[:5] = m[:5].upper()"
        with ours.mmap(-1, 100, tag) as m:
            m[:5] = b"hello"
            subprocess.run([sys.executable, "-c", program, tag], check=True)
            assert m[:5] == b"HELLO"

    def test_the_tag_of_a_file_gives_the_file(self, mmap: ModuleType, file: Any, tag: str) -> None:
        with mmap.mmap(file.fileno(), 0, tag) as one, mmap.mmap(-1, 100, tag) as other:
            one[:5] = b"Howdy"
            assert other[:5] == b"Howdy"

    def test_a_tag_is_free_once_its_last_map_is_closed(self, mmap: ModuleType, tag: str) -> None:
        one = mmap.mmap(-1, 100, tag)
        two = mmap.mmap(-1, 100, tag)
        one[0] = 1
        one.close()
        with mmap.mmap(-1, 100, tag) as three:
            assert three[0] == 1
        two.close()
        with mmap.mmap(-1, 100, tag) as new:
            assert new[0] == 0

    def test_a_tag_is_free_once_its_map_is_dropped(self, ours: ModuleType, tag: str) -> None:
        ours.mmap(-1, 100, tag)[0] = 1
        with ours.mmap(-1, 100, tag) as new:
            assert new[0] == 0


class TestNames:
    # The builtin before 3.14 takes them in the system's own code page.
    @pytest.mark.parametrize("name", ["äöü", "метка", "标签", "🏷️"])
    def test_any_text_is_a_name(self, ours: ModuleType, tag: str, name: str) -> None:
        with ours.mmap(-1, 10, tag + name) as one, ours.mmap(-1, 10, tag + name) as same:
            one[0] = 1
            assert same[0] == 1
            with ours.mmap(-1, 10, tag + "?" * len(name)) as other:
                assert other[0] == 0

    def test_none_is_no_name(self, mmap: ModuleType) -> None:
        with mmap.mmap(-1, 10, None) as one, mmap.mmap(-1, 10, None) as other:
            one[0] = 1
            assert other[0] == 0

    @pytest.mark.parametrize("name", [1, b"tag", 1.5, []], ids=repr)
    def test_other_types_are_refused(self, ours: ModuleType, raises: Raises, name: Any) -> None:
        with raises(TypeError, f"expected str or None for 'tagname', not {type(name).__name__}"):
            ours.mmap(-1, 10, name)

    def test_a_nul_is_refused(self, ours: ModuleType, raises: Raises) -> None:
        with raises(ValueError, "embedded null character"):
            ours.mmap(-1, 10, "a\0b")

    def test_the_tag_counts_for_the_object_s_size(self, ours: ModuleType, tag: str) -> None:
        with ours.mmap(-1, 10) as none, ours.mmap(-1, 10, tag) as tagged:
            assert sys.getsizeof(tagged) > sys.getsizeof(none)


class TestResize:
    @pytest.mark.parametrize("size", [1, PAGE, 100_000, 5 * GRANULARITY])
    def test_the_tag_moves_with_the_memory(self, ours: ModuleType, tag: str, size: int) -> None:
        with ours.mmap(-1, 2 * PAGE, tag) as m:
            m[0] = 7
            m.resize(size)
            assert (len(m), m.size(), m[0]) == (size, size, 7)
            with ours.mmap(-1, size, tag) as other:
                other[0] = 8
            assert m[0] == 8

    @pytest.mark.parametrize("size", [PAGE, 5 * PAGE])
    def test_another_map_of_the_tag_refuses_it(self, mmap: ModuleType, tag: str, size: int) -> None:
        with mmap.mmap(-1, 2 * PAGE, tag) as m, mmap.mmap(-1, 2 * PAGE, tag) as other:
            m[:5] = b"hello"
            m.seek(3)
            for one in (m, other):
                with pytest.raises(OSError, match=r".") as raised:
                    one.resize(size)
                assert winerror(raised.value) == USER_MAPPED_FILE
            assert (m.tell(), len(m), len(other), other[:5]) == (3, 2 * PAGE, 2 * PAGE, b"hello")
            other[0] = 74
            assert m[:5] == b"Jello"

    @pytest.mark.parametrize("size", [PAGE, 5 * GRANULARITY])
    def test_another_map_of_a_file_s_tag_refuses_it(
        self, ours: ModuleType, file: Any, path: Any, tag: str, size: int
    ) -> None:
        before = path.read_bytes()
        with ours.mmap(file.fileno(), 0, tag) as m, ours.mmap(-1, 100, tag) as other:
            with pytest.raises(OSError, match=r".") as raised:
                m.resize(size)
            assert winerror(raised.value) == USER_MAPPED_FILE
            assert m[:] == path.read_bytes() == before
            other[0] = 74
            assert m[:5] == b"Jello"
            other.close()
            m.resize(size)
            assert len(m) == size

    def test_a_file_that_cannot_grow_keeps_its_tag(
        self, ours: ModuleType, file: Any, path: Any, tag: str
    ) -> None:
        before = path.read_bytes()
        with ours.mmap(file.fileno(), 0, tag) as m:
            with pytest.raises(OSError, match=r"."):
                m.resize(2**62)
            assert m[:] == path.read_bytes() == before
            with ours.mmap(-1, 100, tag) as other:
                assert other[:5] == b"hello"
                other[0] = 74
            assert m[:5] == b"Jello"
            m.resize(PAGE)
            assert len(m) == PAGE

    def test_once_the_other_is_closed_it_may(self, ours: ModuleType, tag: str) -> None:
        with ours.mmap(-1, 2 * PAGE, tag) as m:
            with ours.mmap(-1, 2 * PAGE, tag), pytest.raises(OSError, match=r"."):
                m.resize(PAGE)
            m[0] = 5
            m.resize(PAGE)
            assert (len(m), m[0]) == (PAGE, 5)

    @pytest.mark.parametrize("size", [PAGE, 100_000])
    def test_of_a_file(self, ours: ModuleType, file: Any, path: Any, tag: str, size: int) -> None:
        before = path.read_bytes()
        with ours.mmap(file.fileno(), 0, tag) as m:
            m.resize(size)
            assert m[:] == path.read_bytes() == before[:size].ljust(size, b"\0")
            with ours.mmap(-1, size, tag) as other:
                assert other[:5] == b"hello"

    @pytest.mark.parametrize("size", [2**62, 2**45])
    def test_what_cannot_be_had_leaves_memory_and_tag(self, ours: ModuleType, tag: str, size: int) -> None:
        with ours.mmap(-1, PAGE, tag) as m:
            m[0] = 7
            with pytest.raises(OSError, match=r".") as raised:
                m.resize(size)
            assert winerror(raised.value) == NOT_ENOUGH_MEMORY
            assert (len(m), m[0]) == (PAGE, 7)
            with ours.mmap(-1, PAGE, tag) as other:
                assert other[0] == 7

    def test_who_takes_the_tag_meanwhile_keeps_it(self, ours: ModuleType, tag: str) -> None:
        taken: list[Any] = []
        builtin: Any = BUILTIN

        def take(call: Call) -> None:
            """Another process makes memory with the tag as soon as it is free."""
            if call["tag"] and not taken:
                taken.append(builtin.mmap(-1, PAGE, tag))

        with ours.mmap(-1, PAGE, tag) as m:
            m[0] = 7
            with pytest.raises(OSError, match=r".") as raised:
                Faulty(CreateFileMappingW=take)(lambda: m.resize(2 * PAGE))
            assert winerror(raised.value) == ALREADY_EXISTS
            assert (len(m), m[0], taken[0][0]) == (PAGE, 7, 0)
            m.resize(2 * PAGE)
            assert (len(m), m[0]) == (2 * PAGE, 7)
            assert taken[0][0] == 0
            taken.pop().close()
