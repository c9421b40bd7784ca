"""Signals at random moments, and a tracer that steps in at every moment: what interrupts a call of the package."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import random
import signal
import sys
from typing import TYPE_CHECKING, Any

from _exporters import PATIENCE, in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


class Interrupt(BaseException):
    """What a handler raises; like KeyboardInterrupt it is no Exception, which a program might hide."""


class Bell:
    """A timer that has `ring` called in the midst of what runs, at most once each time that it is set.

    Attributes:
        rung: how often it was.
    """

    def __init__(self, ring: Callable[[], object]) -> None:
        self.rung = 0
        self._ring = ring
        self._armed = False
        self._random = random.Random(0)
        signal.signal(signal.SIGALRM, self._handle)

    def _handle(self, _: int, __: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            self.rung += 1
            self._ring()

    def set(self, longest: float) -> None:
        """Has it ring after a random time, or not at all if `off` comes before."""
        self._armed = True
        # Soon more often than late. Less than a microsecond would switch the timer off.
        delay = self._random.uniform(3e-6, self._random.uniform(5e-6, longest))
        # Again and again, as CPython 3.9 may forget one that comes while it looks for them.
        signal.setitimer(signal.ITIMER_REAL, delay, 0.05)

    def off(self) -> None:
        self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)


class RaisingBell(Bell):
    """One that raises, and counts what came of it.

    Attributes:
        caught: how many of the exceptions reached the program.
    """

    def __init__(self) -> None:
        super().__init__(self._raise)
        self.caught = 0
        # With the first collection importlib's locks of modules go, whose callback would lose an exception.
        collect()

    def _raise(self) -> None:
        raise Interrupt

    def through(self, work: Callable[[], object], longest: float) -> bool:
        """Runs `work`, in the midst of which it may ring.

        Returns:
            Whether `work` was interrupted.
        """
        try:
            self.set(longest)
            work()
            self.off()
        except Interrupt:
            self.caught += 1
            return True
        return False


def collect() -> None:
    """Collects all; PyPy runs what was registered by a destructor at its next collection only."""
    for _ in range(4):
        gc.collect()


@contextlib.contextmanager
def nothing_ignored() -> Iterator[None]:
    """Fails if an exception was raised where the interpreter has to ignore it."""
    ignored: list[str] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda event: ignored.append(f"{event.exc_value!r} in {event.object!r}")
    try:
        yield
        collect()
    finally:
        sys.unraisablehook = before
        # It may be the cause of another failure.
        assert ignored == [], ignored


def in_a_child_of_its_own(work: Callable[[], object]) -> None:
    """`in_child`, for what needs the timer that ends a hanging child there.

    Here a thread of C ends it, and says where each thread of Python was.
    """

    def guarded() -> None:
        signal.alarm(0)
        # Of the tools of other tests, in which an interrupt would be lost.
        getattr(gc, "callbacks", []).clear()
        faulthandler.dump_traceback_later(PATIENCE, exit=True, file=2)
        if hasattr(gc, "freeze"):
            # What was there before is not searched at each collection, nor copied for it. Here alone: Hypothesis asks
            # for referrers, which are not found among what is frozen.
            gc.freeze()
        # Its callback is Python's, in which an exception of a handler is lost.
        getattr(gc, "callbacks", []).clear()
        try:
            with nothing_ignored():
                work()
        finally:
            faulthandler.cancel_dump_traceback_later()

    in_child(guarded)


def at_each_step(step: Callable[[], object], call: Callable[[], object], moment: int) -> bool:
    """Runs `call`, and `step` in the midst of it, as a signal handler would come in between.

    Args:
        step: what comes in between; it may raise.
        call: what is interrupted.
        moment: how many calls, lines, returns and instructions of the package have begun before.

    Returns:
        Whether `call` came to that moment.
    """
    left = moment

    def trace(frame: FrameType, event: str, argument: object) -> Any:  # noqa: ARG001, the interpreter's signature
        nonlocal left
        if not frame.f_globals.get("__name__", "").startswith("cffimmap."):
            return None
        # CPython 3.9 goes on, with the exception set, after one that comes between two instructions of a line.
        if hasattr(frame, "f_trace_opcodes") and sys.version_info >= (3, 10):
            frame.f_trace_opcodes = True
        if left == 0:
            left = -1
            step()
        elif left > 0:
            left -= 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return left < 0
