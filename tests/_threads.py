"""Threads that work at the same time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from _exporters import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What a function, given the number of each, returns in several threads that begin together.

    What one of them raises is raised here.
    """
    begin = threading.Barrier(count)
    answers: list[Any] = []
    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            begin.wait(PATIENCE)
            answers.append(work(number))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    if failed:
        raise failed[0]
    assert len(answers) == count
    return answers
