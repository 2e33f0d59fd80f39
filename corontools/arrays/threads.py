"""Work that numpy does without the interpreter's lock, on all processors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

__all__ = ["in_threads", "processors"]

T = TypeVar("T")
R = TypeVar("R")


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Results of `work` for each item, in order; an error in one ends the rest.

    Examples
    --------
    >>> in_threads(abs, [-1, 2])
    [1, 2]
    """
    todo, stop = list(items), Event()
    out: list[R | None] = [None] * len(todo)
    left = iter(range(len(todo)))  # shared: a thread takes the next item when it is done with one

    def take(_: int) -> None:
        try:
            for i in left:
                if stop.is_set():
                    return
                out[i] = work(todo[i])
        except BaseException:
            stop.set()
            raise

    threads = min(processors(), len(todo))
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        try:
            list(pool.map(take, range(threads)))
        finally:
            stop.set()  # after an interrupt nothing more is begun
    return out  # type: ignore[return-value]
