"""How many threads compute: of our own loops, and of the matrix products of numpy and scipy (BLAS).

This is the one place that governs them. `CORONTOOLS_THREADS` sets the number; else it is what the machine leaves to
this process, and in a task of a Dask worker what `corontools.jobs` allows it, or 1.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from corontools.errors import DataError

__all__ = ["allowed", "dask_worker", "in_threads", "processors", "single_blas"]

T = TypeVar("T")
R = TypeVar("R")

VARIABLE = "CORONTOOLS_THREADS"
CGROUPS = Path("/sys/fs/cgroup")
NESTED = 0
_allowed: ContextVar[int | None] = ContextVar("allowed", default=None)


def processors() -> int:
    """Threads that may compute here at once, 1 or more.

    In this order: 1 in a thread of `in_threads`, the environment variable CORONTOOLS_THREADS, what `allowed` says, 1 in
    a task of a Dask worker, and the processors of this process (affinity, quota of its control group).

    Raises
    ------
    DataError
        If CORONTOOLS_THREADS isn't a number from 1.
    """
    given, told = _allowed.get(), os.environ.get(VARIABLE, "")
    if given == NESTED:
        return 1
    if told:
        if not told.isdecimal() or int(told) < 1:
            raise DataError(f"{VARIABLE} is a number of threads, 1 or more, found {told!r}")
        return int(told)
    if given is not None:
        return given
    return _machine() if dask_worker() is None else 1


@contextmanager
def allowed(threads: int) -> Iterator[None]:
    """Let the code of this block compute with so many threads."""
    before = _allowed.set(threads)
    try:
        yield
    finally:
        _allowed.reset(before)


def dask_worker() -> Any:
    """The Dask worker whose task this thread runs; None elsewhere."""
    distributed = sys.modules.get("distributed")
    try:
        return None if distributed is None else distributed.get_worker()
    except (ValueError, AttributeError):  # no task; or another thread is only now importing it
        return None


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Results of `work` for each item, in order; an error in one ends the rest.

    `work` itself has one thread: loops and matrix products within it don't begin more.

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
    if threads <= 1:
        take(0)
        return out  # type: ignore[return-value]
    with single_blas(), ThreadPoolExecutor(threads, initializer=_allowed.set, initargs=(NESTED,)) as pool:
        try:
            list(pool.map(take, range(threads)))
        finally:
            stop.set()  # after an interrupt nothing more is begun
    return out  # type: ignore[return-value]


@contextmanager
def single_blas() -> Iterator[None]:
    """Matrix products and decompositions in one thread each, in all of this process, while the block runs.

    OpenBLAS's threads wait for each other without giving way: where one of the processors is busy with something else,
    many small products take ten times as long in two threads as in one.
    """
    _blas.limit()
    try:
        yield
    finally:
        _blas.release()


class _Blas:
    """The limit, for as long as anyone needs it: it holds for the process, blocks of several threads overlap."""

    def __init__(self) -> None:
        self.lock, self.holders, self.limits = threading.Lock(), 0, None

    def limit(self) -> None:
        with self.lock:
            self.holders += 1
            if self.holders == 1:
                self.limits = _libraries("scipy.linalg" in sys.modules).limit(limits=1, user_api="blas")

    def release(self) -> None:
        with self.lock:
            self.holders -= 1
            if self.holders == 0 and self.limits is not None:
                self.limits.restore_original_limits()


_blas = _Blas()


@functools.cache
def _libraries(_: bool) -> Any:
    """The BLAS of numpy, and that of scipy from when it is loaded; looking for them takes some ms."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@functools.cache
def _machine() -> int:
    """Processors of this process."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([count, *_quotas(Path("/proc/self/cgroup"), CGROUPS)])))


def _quotas(membership: Path, root: Path) -> list[float]:
    """Processors that the control groups of this process allow, of both versions of Linux's interface."""
    found = []
    for line in membership.read_text().splitlines() if membership.is_file() else ():
        _, controllers, name = line.split(":", 2)
        base = root / controllers if "cpu" in controllers.split(",") else root
        if not controllers or "cpu" in controllers.split(","):
            groups = [base / name.lstrip("/"), *(base / name.lstrip("/")).parents]
            found += [_quota(group) for group in groups if group.is_relative_to(base)]
    return [quota for quota in found if quota is not None]


def _quota(group: Path) -> float | None:
    """Of one group: time per period; None where there is no limit."""
    try:
        if (group / "cpu.max").is_file():
            time, period = (group / "cpu.max").read_text().split()
        else:
            time, period = ((group / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        return float(time) / float(period) if float(time) > 0 else None
    except (OSError, ValueError):  # no such group, "max"
        return None
