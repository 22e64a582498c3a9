"""A bound for questions to the rendezvous store."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, ask: Callable[[], T]) -> T:
    """What the store answers.

    Raises:
        RuntimeError: it does not in time: behind a cable that was pulled out, a question waits without end, whatever
            the store's own timeout.
    """
    answers: list[T] = []
    problems: list[BaseException] = []

    def in_thread() -> None:
        try:
            answers.append(ask())
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=in_thread, name="store", daemon=True)
    thread.start()
    thread.join(seconds)
    if problems:
        raise problems[0]
    if not answers:
        raise RuntimeError("timed out: rank 0's machine does not answer")
    return answers[0]
