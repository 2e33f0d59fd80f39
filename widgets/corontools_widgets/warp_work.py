"""Worker: work that goes on in a thread while the page is answered; of many requests the last counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from corontools.errors import DataError

__all__ = ["Worker"]

# work, and what is called with what it gives
Job = tuple[Callable[[], Any], Callable[[Any], Any]]


class Worker:
    """Does one thing at a time in a thread of its own; at once where no loop runs.

    What is asked for while it works waits, and is forgotten when something else is asked for. Outcomes are handed over
    in the loop's thread, a DataError among them.

    Examples
    --------
    >>> worker, done = Worker(), []
    >>> worker.ask(lambda: 1 + 1, done.append)
    >>> done, worker.busy
    ([2], False)
    >>> worker.close()
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._next: Job | None = None
        self._working = self._closed = False

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return self._working

    def ask(self, work: Callable[[], Any], done: Callable[[Any], Any]) -> None:
        """Ask for work; `done` is called with what it gives, or with its DataError."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # a script
            done(_outcome(work))
            return
        self._next = (work, done)
        if not self._working:
            self._begin()

    def forget(self) -> None:
        """Don't begin what waits."""
        self._next = None

    def close(self) -> None:
        """Hand nothing over any more."""
        self._closed, self._next = True, None
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None

    def _begin(self) -> None:
        if self._next is None or self._closed:
            return
        (work, done), self._next = self._next, None
        self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="corontools-view")
        self._working = True
        future = asyncio.get_running_loop().run_in_executor(self._pool, _outcome, work)
        future.add_done_callback(lambda ended: self._ended(ended, done))

    def _ended(self, ended: asyncio.Future[Any], done: Callable[[Any], Any]) -> None:
        self._working = False
        if self._closed:
            return
        self._begin()
        done(ended.result())


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except DataError as error:
        return error
