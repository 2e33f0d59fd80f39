"""What this process holds: memory, files, threads, widgets, arrays, what is kept for another time."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

PROCESS = Path("/proc/self")
PACKAGES = ("corontools", "corontools_widgets")
M_ARENA_MAX = -8  # of glibc's malloc.h
# bytes from which an array is counted: smaller ones are no images
LARGE = 8192
# seconds for threads that are about to end
ENDING = 5.0


@dataclass(frozen=True)
class Held:
    """Numbers of what is held; 0 where the system doesn't tell.

    Attributes
    ----------
    descriptors, mapped : int
        Open files, pipes and sockets; files mapped into memory that lie in the folder of temporary ones.
    threads, tasks : int
        Threads of Python, and of the process.
    widgets, comms : int
        Models of ipywidgets, and their connections.
    files : int
        Files and folders among the temporary ones.
    kept, warned : int
        Results in caches of functions of ours, warnings that modules remember.
    """

    descriptors: int
    mapped: int
    threads: int
    tasks: int
    widgets: int
    comms: int
    files: int
    kept: int
    warned: int

    @classmethod
    def now(cls, folder: Path | None = None) -> Held:
        """Counted after garbage is collected; temporary files are those in the folder."""
        gc.collect()
        folder = Path(tempfile.gettempdir()) if folder is None else folder
        return cls(
            descriptors=len(descriptors()),
            mapped=len({line.split(maxsplit=5)[-1] for line in lines("maps") if f" {folder}{os.sep}" in line}),
            threads=len(threading.enumerate()),
            tasks=len(list((PROCESS / "task").iterdir())) if PROCESS.is_dir() else 0,
            widgets=len(_widgets()),
            comms=len(_comms()),
            files=sum(1 for _ in folder.rglob("*")),
            kept=sum(caches().values()),
            warned=sum(len(getattr(module, "__warningregistry__", ())) for module in list(sys.modules.values())),
        )

    def more(self, before: Held) -> dict[str, int]:
        """By how much the numbers are greater than before, of those that are."""
        change = {one.name: getattr(self, one.name) - getattr(before, one.name) for one in fields(self)}
        return {name: by for name, by in change.items() if by > 0}


def one_pool() -> None:
    """Let all threads take memory from one pool of glibc; to be called before any thread is begun.

    Else each of up to eight per processor has its own, in which holes stay between what is in use: memory that grows
    by steps until all have been through the largest job, whether or not anything is kept.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").mallopt(M_ARENA_MAX, 1)


def memory() -> dict[str, float]:
    """MiB that are this process's own (private) and that it has in memory (resident); none where Linux isn't.

    Garbage is collected before, and glibc gives back to the system what is free: else the figures would tell of its
    pools, which grow in steps.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    sizes = {words[0]: int(words[1]) / 1024 for words in map(str.split, lines("smaps_rollup")) if words[-1] == "kB"}
    # pages of libraries count as private or not as other processes come and go
    return {"private": sizes["Anonymous:"], "resident": sizes["Rss:"]} if sizes else {}


def lines(name: str) -> list[str]:
    """Of a file of this process; none where there is no such file."""
    path = PROCESS / name
    return path.read_text(errors="replace").splitlines() if path.is_file() else []


def descriptors() -> dict[str, str]:
    """What each descriptor is open on."""
    found = {}
    for name in os.listdir(PROCESS / "fd") if PROCESS.is_dir() else ():
        with contextlib.suppress(OSError):  # that of the folder itself is closed by now
            found[name] = os.readlink(PROCESS / "fd" / name)
    return found


def ended(there: Collection[threading.Thread]) -> None:
    """Wait for threads that nobody waits for, such as those of a view that was closed; not for those of before."""
    for thread in threading.enumerate():
        if thread not in there and not thread.daemon:
            thread.join(ENDING)


def arrays() -> dict[int, np.ndarray]:
    """Large arrays that are held by something that the collector of garbage knows; by the place of each."""
    found: dict[int, np.ndarray] = {}
    for item in _items():
        if isinstance(item, np.ndarray):
            while isinstance(item.base, np.ndarray):
                item = item.base
            if item.nbytes >= LARGE:
                found[id(item)] = item
    return found


def _items() -> Iterator[Any]:
    """Objects that the collector tracks, and what they hold; dicts and tuples of arrays alone aren't tracked."""
    for holder in gc.get_objects():
        yield holder
        inner = gc.get_referents(holder)
        while inner:
            item = inner.pop()
            yield item
            if type(item) in (dict, tuple) and not gc.is_tracked(item):
                inner += gc.get_referents(item)


def caches() -> dict[str, int]:
    """Results that functions of ours keep (`lru_cache`), by their names."""
    ours = [module for name, module in list(sys.modules.items()) if name.split(".")[0] in PACKAGES]
    functions = {id(one): one for module in ours for one in vars(module).values() if hasattr(one, "cache_info")}
    return {f"{one.__module__}.{one.__qualname__}": one.cache_info().currsize for one in functions.values()}


def _widgets() -> Mapping[str, Any]:
    registry = sys.modules.get("ipywidgets.widgets.widget")
    return {} if registry is None else registry._instances


def _comms() -> Mapping[str, Any]:
    comm = sys.modules.get("comm")
    return {} if comm is None else comm.get_comm_manager().comms
