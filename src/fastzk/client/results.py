"""What an _async call gives: the place where its result will be.

Rule: a result is set once, by the thread that takes the answer: one that waits, or the client's own.  What rawlink() is given
runs on the callback thread."""

from collections.abc import Callable, Sequence
from typing import Any

from fastzk.client._call import AsyncResult as AsyncResult


def when_all(results: Sequence[AsyncResult[Any]], step: Callable[[], None]) -> None:
    """Runs a step of the client's own when all results are ready, in the thread that completes the last."""

    def go_on(index: int) -> None:
        while index < len(results) and results[index].ready():
            index += 1
        if index == len(results):
            step()
        else:
            results[index].on_ready(lambda _: go_on(index + 1))

    go_on(0)
