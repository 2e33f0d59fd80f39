"""Progress bars, in a terminal as in a notebook; and the end of work that nobody waits for any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event
from typing import Any

__all__ = ["Stopped", "progress", "stoppable"]

_stop: ContextVar[Event | None] = ContextVar("stop", default=None)


class Stopped(BaseException):
    """The run that this work belongs to was interrupted; nothing is to be told of it or kept."""


def progress(items: Iterable[Any], name: str, unit: str, *, total: int | None = None) -> Any:
    """The items, with a bar that appears when they take longer than a second and goes when they are done.

    There is none for a single item, whose own loops have theirs. Within `stoppable` no bar is shown, and `Stopped` is
    raised at the first item after the event.
    """
    from tqdm.auto import tqdm

    stop = _stop.get()
    total = len(items) if total is None and isinstance(items, Sized) else total
    if stop is not None:
        return tqdm(_until(stop, items), total=total, disable=True)
    alone = {"disable": True} if total == 1 else {}  # else whoever runs it may have chosen to show none
    return tqdm(items, desc=name, unit=unit, total=total, delay=1.0, leave=False, **alone)


@contextmanager
def stoppable(stop: Event) -> Iterator[None]:
    """Let the event end the loops of this block: for work on another machine, which no key press reaches."""
    before = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(before)


def _until(stop: Event, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        if stop.is_set():
            raise Stopped
        yield item
