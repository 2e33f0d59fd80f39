"""Measure a task of ours and its peers side by side, and print the figures as a table."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

# seconds after which a task isn't repeated any more
ENOUGH = 40.0


@dataclass(frozen=True)
class Task:
    """What is timed: `ours` and each of `peers` do the same work on the same input.

    `per` divides the times (e.g. the number of references); a peer that is None isn't installed, or can't do it.
    """

    name: str
    ours: Callable[[], object]
    peers: Mapping[str, Callable[[], object] | None] = field(default_factory=dict)
    per: int = 1
    wanted: str = ""


@dataclass(frozen=True)
class Row:
    """Best and worst time in seconds of ours and of one peer."""

    task: str
    threads: str
    ours: tuple[float, float]
    peer_name: str
    peer: tuple[float, float] | None
    wanted: str

    def cells(self) -> tuple[str, ...]:
        """Text of each column."""
        if self.peer is None:
            theirs, ratio = "-", "-"
        else:
            theirs, ratio = spread(self.peer), f"{self.peer[0] / self.ours[0]:.3g}"
        return self.task, self.threads, spread(self.ours), self.peer_name, theirs, ratio, self.wanted


HEAD = ("task", "BLAS threads", "ours", "peer", "peer's time", "ratio", "wanted")


def compare(task: Task, *, repeats: int, threads: str) -> list[Row]:
    """Run ours and the peers in turn, `repeats` times; cheap tasks more often, what takes long less often."""
    there = {name: run for name, run in task.peers.items() if run is not None}
    times: dict[str, list[float]] = {name: [] for name in ("", *there)}
    for _ in range(repeats):
        times[""] += timed(task.ours)
        for name, run in there.items():
            times[name] += timed(run) if sum(times[name]) < ENOUGH else []
    best = {name: (min(values) / task.per, max(values) / task.per) for name, values in times.items()}
    return [
        Row(task.name, threads, best[""], name or "none", best.get(name) if name else None, task.wanted)
        for name in (task.peers or {"": None})
    ]


def timed(run: Callable[[], object]) -> list[float]:
    """Wall times of one call; of up to five if they are short."""
    times: list[float] = []
    while not times or (sum(times) < 0.5 and len(times) < 5):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return times


@contextlib.contextmanager
def blas_threads(count: int | None) -> Iterator[str]:
    """Limit BLAS to `count` threads (None: no limit), and say how many there are."""
    try:
        from threadpoolctl import threadpool_info, threadpool_limits
    except ImportError:
        yield os.environ.get("OPENBLAS_NUM_THREADS", "all")
        return
    with threadpool_limits(count, user_api="blas"):
        pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        yield str(max(pools, default=1))


def peak_memory(script: str, arguments: Sequence[str]) -> tuple[float, float, float]:
    """Run a script that ends with `report_memory`: MiB with the input loaded, MiB at the peak, seconds."""
    done = subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True, text=True)
    loaded, peak, seconds = done.stdout.split()[-3:]
    return float(loaded), float(peak), float(seconds)


def report_memory(run: Callable[[], object]) -> None:
    """Print resident memory before `run` and the highest during it (MiB), and the time it took."""
    with contextlib.suppress(OSError):  # Linux: forget the peak of imports and of making the input
        Path("/proc/self/clear_refs").write_text("5")
    loaded, begin = resident(), time.perf_counter()
    run()
    print(loaded, resident(), time.perf_counter() - begin)


def resident() -> float:
    """Highest resident memory of this process since it began, or was last cleared; MiB."""
    with contextlib.suppress(OSError):  # Linux: getrusage would start from the parent's memory
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / (1 << 20) if sys.platform == "darwin" else highest / 1024


def spread(times: tuple[float, float]) -> str:
    """Best to worst, in a readable unit."""
    scale, unit = (1.0, "s") if times[0] >= 1 else (1e3, "ms") if times[0] >= 1e-3 else (1e6, "us")
    return f"{times[0] * scale:.3g} to {times[1] * scale:.3g} {unit}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """Columns of text, for the terminal or as Markdown."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    edge, gap = ("| ", " | ") if markdown else ("", "  ")
    lines = [edge + gap.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in (head, *rows)]
    rule = edge + gap.join("-" * w for w in widths)
    lines.insert(1, rule)
    return "\n".join(line + " |" if markdown else line.rstrip() for line in lines)


def machine(packages: Sequence[str]) -> str:
    """What the figures were measured on."""
    versions = []
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    return (
        f"{platform.machine()}, {os.cpu_count()} processors; Python {platform.python_version()}, {', '.join(versions)}"
    )
