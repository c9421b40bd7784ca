"""Signals that come while something is at work."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING

if sys.platform == "win32":
    import _thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

if sys.platform == "win32":

    @contextlib.contextmanager
    def alarms(handler: Callable[[int, FrameType | None], None]) -> Iterator[Callable[[float], object]]:
        """Gives a function that has the handler run in so many seconds: there are no timers, so a thread rings."""
        timers: list[threading.Timer] = []
        over = threading.Event()

        def ring(seconds: float) -> None:
            if not over.is_set():
                timers.append(threading.Timer(seconds, _thread.interrupt_main))
                timers[-1].start()

        before = signal.signal(signal.SIGINT, handler)
        try:
            yield ring
        finally:
            over.set()
            for timer in timers:
                timer.cancel()
                timer.join()
            signal.signal(signal.SIGINT, before)

else:

    @contextlib.contextmanager
    def alarms(handler: Callable[[int, FrameType | None], None]) -> Iterator[Callable[[float], object]]:
        """Gives a function that has the handler run in so many seconds."""
        before = signal.signal(signal.SIGALRM, handler)
        try:
            yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
