"""Items of `corontools.jobs.run` on the workers of a Dask cluster; loaded only where there is a client."""

from __future__ import annotations

import functools
import itertools
import pickle
import threading
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from threading import Event
from typing import Any

from distributed import Client, Future, as_completed, get_worker
from distributed.scheduler import KilledWorker

from corontools.arrays.threads import allowed, single_blas
from corontools.errors import DataError
from corontools.jobs import Outcome
from corontools.progress import Stopped, stoppable

__all__ = ["outcomes_of"]

# items that a worker has at once: one that it computes and one that is ready for it
AHEAD = 2
# times that an item is begun anew after the cluster was restarted
TRIES = 5
# bytes from which what is shared is sent to each worker once
LARGE = 10_000
# resource of a worker, bytes
MEMORY = "memory"
# seconds after which the workers are counted again
LOOK = 2.0

# one item at a time in a worker: warnings are caught for the whole process, and so is BLAS limited
_turn = threading.Lock()
Told = list[tuple[type[Warning], str]]


def outcomes_of(
    client: Client, work: Callable[..., Any], todo: Sequence[Any], *, name: str, shared: Any, memory: int | None
) -> Generator[Outcome, None, None]:
    """What came of each item, in the order in which they end; closing this stops what runs."""
    batch = _Batch(client, work, name=name, shared=shared, memory=memory)
    waiting, tries = deque(range(len(todo))), dict[int, int]()
    try:
        done = as_completed(with_results=True, loop=client.loop, raise_errors=False)
        while waiting or batch.flying:
            while waiting and len(batch.flying) < batch.window:
                index = waiting.popleft()
                done.add(batch.submit(index, todo[index]))
            future, result = next(done)
            index = batch.flying.pop(future)
            if future.status == "finished":
                value, told = result
                yield Outcome(index, value, told=told)
            elif future.status == "error":
                yield Outcome(index, error=_explained(result[1]))
            elif (lost := tries.get(index, 0) + 1) > TRIES:
                yield Outcome(index, error=DataError(f"the cluster lost it {lost} times; see the logs of its workers"))
            else:
                tries[index] = lost
                batch.reconnect()
                waiting.appendleft(index)
    finally:
        batch.stop()


class _Batch:
    """The items of one run that are on the cluster, and what they share there."""

    def __init__(self, client: Client, work: Callable[..., Any], *, name: str, shared: Any, memory: int | None) -> None:
        self.client, self.work, self.shared = client, work, shared
        self.run, self.name = uuid.uuid4().hex, name.replace(" ", "-")
        self.flying: dict[Future, int] = {}
        self.numbers = itertools.count()
        client.wait_for_workers(1)
        self.resources = _resources(client, memory)
        self.workers, self.looked = 0, 0.0
        self.sent: Future | None = None
        self.large = shared is not None and len(pickle.dumps(shared, protocol=pickle.HIGHEST_PROTOCOL)) > LARGE

    @property
    def window(self) -> int:
        """Items that may be on the cluster: a few for each worker, whatever the length of the list."""
        if time.monotonic() - self.looked > LOOK:  # clusters grow and shrink
            self.workers, self.looked = len(self.client.nthreads()), time.monotonic()
        return AHEAD * max(self.workers, 1)

    def submit(self, index: int, item: Any) -> Future:
        """Send one item; the task only names what is large and shared with the others."""
        key = f"{self.name}-{self.run}-{index}-{next(self.numbers)}"
        task = partial(_task, self.work, run=self.run)
        future = self.client.submit(task, item, *self._sent(), key=key, pure=False, resources=self.resources)
        self.flying[future] = index
        return future

    def _sent(self) -> Sequence[Any]:
        """What all items need: itself where it is small, for so it can't be lost; else its place on the workers."""
        if not self.large:
            return () if self.shared is None else (self.shared,)
        while self.sent is None or self.sent.status != "finished":
            try:
                (self.sent,) = self.client.scatter([self.shared], broadcast=True, hash=False)
            except Exception:  # noqa: BLE001 - a worker that goes meanwhile is told of in many ways
                self.reconnect()
                time.sleep(1.0)
        return (self.sent,)

    def reconnect(self) -> None:
        """Wait for a cluster that is started anew.

        Raises
        ------
        DataError
            If its scheduler doesn't come back.
        """
        while self.client.status == "connecting":
            time.sleep(0.1)
        if self.client.status != "running":
            raise DataError("the scheduler is gone; start it again, and the same run for what isn't done yet")
        self.client.wait_for_workers(1)

    def stop(self) -> None:
        """Take back what isn't done, and end the loops of what is under way."""
        flying, self.flying = list(self.flying), {}
        if flying and self.client.status == "running":
            with suppress(OSError):  # a scheduler that is gone has nothing running
                self.client.cancel(flying, force=True)
                self.client.run(_end, self.run, on_error="ignore")


def _resources(client: Client, memory: int | None) -> dict[str, float] | None:
    """What an item asks for where workers declare their memory."""
    if memory is None:
        return None
    workers = list(client.scheduler_info()["workers"].values())
    limits = [worker["memory_limit"] or float("inf") for worker in workers]
    if max(limits, default=memory) < memory:
        warnings.warn(
            f"an item may take {memory / 1e9:.2g} GB, workers have {max(limits) / 1e9:.2g} GB; start them with more",
            stacklevel=2,
        )
    return {MEMORY: memory} if workers and all(MEMORY in worker["resources"] for worker in workers) else None


def _task(work: Callable[..., Any], item: Any, *shared: Any, run: str) -> tuple[Any, Told]:
    """One item, on a worker: its value, and what it warned of."""
    stop, threads = _stop_of(run), get_worker().state.nthreads
    with _turn, allowed(threads), single_blas(), stoppable(stop), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        try:
            value = None if stop.is_set() else work(item, *shared)
        except Stopped:
            value = None
    return value, list(dict.fromkeys((one.category, str(one.message)) for one in told))


@functools.lru_cache(maxsize=64)
def _stop_of(run: str) -> Event:
    """In a worker: the event that ends a run."""
    return Event()


def _end(run: str) -> None:
    _stop_of(run).set()


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, KilledWorker):
        return DataError(
            "its worker was killed again and again, as happens when memory isn't enough; give workers more memory"
        )
    return error
