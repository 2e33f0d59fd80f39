"""Chains in turn, and what is seen of each round."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.soak.chains import Chain
from tests.soak.held import ended, memory

# rounds whose median counts as the begin and the end
ENDS = 5


@dataclass
class Run:
    """What was seen.

    Attributes
    ----------
    private, resident : list of float
        Memory after each round, MiB, as `held.memory` tells.
    seconds : dict
        Time of each chain, by its name.
    left : dict
        How many of the results and arrays that a chain gave were there after its round, by its name.
    """

    private: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)

    @property
    def n_chains(self) -> int:
        """Chains that were run."""
        return sum(map(len, self.seconds.values()))

    def took(self, name: str, seconds: float) -> None:
        """Add a chain."""
        self.seconds.setdefault(name, []).append(seconds)

    def measure(self, made: Mapping[str, list[weakref.ref[Any]]]) -> None:
        """Add a round; what is left of its chains is looked for when garbage is collected."""
        size = memory()
        self.private.append(size.get("private", 0.0))
        self.resident.append(size.get("resident", 0.0))
        for name, things in made.items():
            self.left[name] = self.left.get(name, 0) + sum(one() is not None for one in things)


def growth(sizes: Sequence[float]) -> tuple[float, float, float, float]:
    """Begin and end, and the growth over the begin: by the line through all rounds, and from begin to end.

    Examples
    --------
    >>> growth([100, 101, 102, 103, 104, 105])
    (102.0, 103.0, 0.049..., 0.009...)
    """
    begin, end = float(np.median(sizes[:ENDS])), float(np.median(sizes[-ENDS:]))
    slope = float(np.polyfit(np.arange(len(sizes)), sizes, 1)[0]) if len(sizes) > 1 else 0.0
    return begin, end, slope * (len(sizes) - 1) / begin, end / begin - 1


async def rounds(chains: Mapping[str, Chain], n_chains: int, *, told: Callable[[Run], Any] | None = None) -> Run:
    """Run so many chains, in turn; `told` is called after each round."""
    run, names, there = Run(), list(chains), threading.enumerate()
    for start in range(0, n_chains, len(names)):
        made = {}
        for name in names[: n_chains - start]:
            begin = time.perf_counter()
            with tempfile.TemporaryDirectory(prefix="chain-") as folder:
                # no name for what it gives: that would hold it
                made[name] = [weakref.ref(one) for one in await chains[name](Path(folder))]
            run.took(name, time.perf_counter() - begin)
        ended(there)
        await asyncio.sleep(0.05)  # the loop takes what threads gave
        run.measure(made)
        if told is not None:
            told(run)
    return run
