"""Later: work that waits until what is more urgent is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["Later"]


class Later:
    """A function that is called once, a moment after the last of many requests; at once where no loop runs.

    While a slider is dragged the picture follows each move, and what takes longer (all curves, all frames) follows
    when the hand rests.

    Parameters
    ----------
    work : callable
        Without arguments.
    delay : float
        Seconds from the last request: longer than the page waits between the frames it tells of in a drag.

    Examples
    --------
    >>> done = []
    >>> later = Later(lambda: done.append(1))
    >>> later()
    >>> done
    [1]
    """

    def __init__(self, work: Callable[[], Any], delay: float = 0.15) -> None:
        self._work, self._delay = work, delay
        self._handle: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        """Ask for the work."""
        self.cancel()
        if _loop_runs():
            self._handle = asyncio.get_running_loop().call_later(self._delay, self._do)
        else:  # a script: nothing else is waiting
            self._work()

    def cancel(self) -> None:
        """Forget what was asked for."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    @property
    def waiting(self) -> bool:
        """Whether work is to be done."""
        return self._handle is not None

    def _do(self) -> None:
        self._handle = None
        self._work()


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
