"""Later: work that waits until the kernel has answered what is more urgent."""

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
        Seconds from the last request.

    Examples
    --------
    >>> done = []
    >>> later = Later(lambda: done.append(1))
    >>> later()
    >>> done
    [1]
    """

    def __init__(self, work: Callable[[], Any], delay: float = 0.05) -> None:
        self._work, self._delay = work, delay
        self._handle: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        """Ask for the work."""
        self.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a script: nothing else is waiting
            self._work()
            return
        self._handle = loop.call_later(self._delay, self._do)

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
