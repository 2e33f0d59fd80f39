"""The same work for each of many items: on this machine, or on a cluster where there is a Dask client.

`run` is what every verb and command with independent items goes through. Without a client the items are taken one after
another, each with all threads of this process; with one, every worker takes one item at a time, with its own threads.
The results are the same to the bit.
"""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from corontools.arrays.threads import dask_worker, single_blas
from corontools.errors import DataError, ItemsError
from corontools.progress import progress

__all__ = ["Outcome", "connected", "run"]

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What came of one item: its value or its error, and the warnings that were given elsewhere."""

    index: int
    value: Any = None
    error: BaseException | None = None
    told: Sequence[tuple[type[Warning], str]] = field(default=())


def run(
    work: Callable[..., Any],
    items: Iterable[T],
    *,
    name: str,
    unit: str = "item",
    shared: Any = None,
    memory: int | None = None,
    fail_fast: bool = False,
) -> list[Any]:
    """Results of `work` for each item, in their order.

    Parameters
    ----------
    work : callable
        Called as ``work(item)``, or ``work(item, shared)`` where `shared` is given. It must not depend on what it was
        called with before: after a failure of its worker it is called again.
    items : iterable
        Small, e.g. paths; each travels to a worker by itself.
    name, unit : str
        What the progress bar calls the work and an item.
    shared : optional
        What all items need, as `pickle` takes it; sent to each worker once, and copied once on this machine.
    memory : int, optional
        Bytes that one item takes at most. A warning tells if every worker has less; workers that declare a resource
        ``memory`` (bytes) are taken only where it suffices.
    fail_fast : bool
        End with the first error. By default the other items are completed first.

    Raises
    ------
    ItemsError
        If some of several items failed; it has the results of the others.
    Exception
        The error itself, if there is one item alone or with `fail_fast`.

    Examples
    --------
    >>> from corontools.jobs import run
    >>> run(pow, [2, 3], name="square", shared=2)
    [4, 9]
    """
    todo = list(items)
    client = _client() if todo else None
    if client is None:
        outcomes = _here(work, todo, shared)
    else:
        from corontools.cluster import outcomes_of

        outcomes = outcomes_of(client, work, todo, name=name, shared=shared, memory=memory)
    results: list[Any] = [None] * len(todo)
    failed: dict[int, BaseException] = {}
    # closed at once after an error or an interrupt: a cluster has to be told to stop
    with closing(outcomes), progress(outcomes, name, unit, total=len(todo)) as each:
        for outcome in each:
            for category, text in outcome.told:
                warnings.warn(text, category, stacklevel=2)
            if outcome.error is None:
                results[outcome.index] = outcome.value
            elif fail_fast or len(todo) == 1:
                raise outcome.error
            else:
                failed[outcome.index] = outcome.error
    if failed:
        raise ItemsError(results, [(todo[i], failed[i]) for i in sorted(failed)], unit)
    return results


def _here(work: Callable[..., Any], todo: Sequence[Any], shared: Any) -> Generator[Outcome, None, None]:
    """One after another: several at a time would need the memory of several, and mix up their warnings."""
    # sent to a worker, a view of a larger array becomes an array of its own, whose sums run in another order
    also = () if shared is None else (pickle.loads(pickle.dumps(shared, protocol=pickle.HIGHEST_PROTOCOL)),)
    for index, item in enumerate(todo):
        with single_blas():  # sums in another order would have other last bits than a worker's
            try:
                outcome = Outcome(index, work(item, *also))
            except Exception as error:  # noqa: BLE001 - raised, or told with the others, when the rest is done
                outcome = Outcome(index, error=error)
        yield outcome


def _client() -> Any:
    """The Dask client that is in use here; None where there is none, and within a task: its worker has its share."""
    distributed = sys.modules.get("distributed")
    if distributed is None or dask_worker() is not None:
        return None
    try:
        client = distributed.default_client()
    except ValueError:  # there is none
        return None
    if client.asynchronous:
        raise DataError("this Dask client is asynchronous; make one with Client(...), which works in notebooks too")
    return client


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Work on the cluster whose scheduler has this address (``tcp://host:8786``, or a scheduler file); None: here.

    Raises
    ------
    DataError
        If Dask isn't installed, or no scheduler answers there.
    """
    if address is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise DataError("a scheduler needs Dask; get it with: pip install 'corontools[distributed]'") from error
    place = {"scheduler_file": address} if os.path.isfile(address) else {"address": address}
    try:
        client = Client(**place, set_as_default=True)
    except (OSError, ValueError) as error:
        raise DataError(f"no scheduler answers at {address}: {error}; start one with: dask scheduler") from error
    with client:
        yield
