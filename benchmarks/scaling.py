"""What a cluster gains and costs: speed-up of two workers, overhead and bytes of a task, and a curve to 64 workers.

    python benchmarks/scaling.py [--quick] [--markdown]

The curve is a simulation from what is measured here: the time that a task computes, what the scheduler needs for each
task, one after another, and what one disk gives to all workers together.
"""

from __future__ import annotations

import argparse
import heapq
import io
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster
from distributed.protocol import pickle
from harness import machine, report_memory, table

from corontools import Exposure, FlickerCleaner, Meta, jobs
from corontools.cli import main as command
from corontools.manifest import digest

# exposures of the worked estimate, and what disks that many nodes share read and write, bytes per second
EXPOSURES, DISKS = 10_000, (1e9, 10e9)
# price of an hour of a core with 4 GB, US dollars: a typical one of clouds, change it to yours
PRICE = 0.05
SHAPE = (2048, 2048)


def compute(seed: int, size: int) -> float:
    """A task that computes only: no files, nothing sent, one thread."""
    total, state = 0, seed
    for _ in range(size):
        state = (1103515245 * state + 12345) % 2147483648
        total += state & 1
    return total / size


def nothing(_: object) -> None:
    """A task that costs only what tasks cost."""


@contextmanager
def workers(n: int):
    """A cluster of so many processes of one thread each, imports done."""
    quiet = {"dashboard_address": ":0", "silence_logs": logging.ERROR}
    with LocalCluster(n_workers=n, threads_per_worker=1, memory_limit="4GB", **quiet) as cluster, Client(cluster):
        jobs.run(compute, range(4 * n), name="warm", shared=1000)
        yield


def timed(n: int, tasks: int, size: int) -> float:
    with workers(n):
        start = time.perf_counter()
        jobs.run(compute, range(tasks), name="compute", shared=size)
        return time.perf_counter() - start


def busy(n: int, size: int) -> float:
    """The same work in processes without any scheduler: what this machine has to give at the moment."""
    code = f"from scaling import compute; [compute(i, {size}) for i in range(4)]"
    start = time.perf_counter()
    here = Path(__file__).parent
    running = [subprocess.Popen([sys.executable, "-c", code], cwd=here) for _ in range(n)]
    assert not any(process.wait() for process in running)
    return time.perf_counter() - start


def overhead(tasks: int) -> float:
    """Seconds that the scheduler takes for a task that does nothing."""
    with workers(2):
        start = time.perf_counter()
        jobs.run(nothing, range(tasks), name="nothing")
        return (time.perf_counter() - start) / tasks


def graph_bytes(paths: Sequence[Path], out: Path) -> list[int]:
    """Bytes of each task of `corontools flicker` as it is sent to the scheduler."""
    sizes = []
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.ERROR) as cluster:
        submit = Client.submit

        def measured(client, function, *args, **keywords):
            sizes.append(len(pickle.dumps((function, args, keywords))))
            return submit(client, function, *args, **keywords)

        Client.submit = measured
        try:
            flicker(paths, out, "--scheduler", cluster.scheduler_address)
        finally:
            Client.submit = submit
    return sizes


def flicker(paths: Sequence[Path], out: Path, *options: str) -> None:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert command(["flicker", *map(str, paths), "-o", str(out), *options]) == 0


@dataclass(frozen=True)
class Exposures:
    """What an exposure costs: bytes read and written, seconds of computing, seconds of check sums, MiB of memory."""

    read: float
    written: float
    seconds: float
    rerun: float
    memory: float


def rates(folder: Path, n: int) -> list[Path]:
    """Full-frame rates of NIRCam with stripes and stars, in the size and layout of JWST's."""
    meta = Meta(instrument="NIRCAM", exp_type="NRC_IMAGE", detector="NRCALONG")
    paths = []
    for seed in range(n):
        rng = np.random.default_rng(seed)
        data = (1 + rng.normal(0, 0.05, (SHAPE[0], 1)) + rng.normal(0, 0.1, SHAPE)).astype(np.float32)
        data[rng.integers(0, SHAPE[0], 3000), rng.integers(0, SHAPE[1], 3000)] += 50
        err, flags = np.full(SHAPE, 0.1, np.float32), np.zeros(SHAPE, np.uint32)
        paths.append(Exposure(data, err=err, dq=flags, meta=meta).save(folder / f"jw{seed}_rate.fits"))
    return paths


def measure(paths: Sequence[Path], folder: Path) -> Exposures:
    """Flicker noise of each exposure on this machine, one thread, and a rerun that finds them whole."""
    flicker(paths[:1], folder / "warm")
    times = []
    for i, path in enumerate(paths):
        start = time.perf_counter()
        flicker([path], folder / str(i))
        again = time.perf_counter()
        flicker([path], folder / str(i))
        times.append((again - start, time.perf_counter() - again))
    seconds, rerun = (statistics.median(column) for column in zip(*times, strict=True))
    product = next((folder / "0").glob("*.fits"))
    done = subprocess.run(
        [sys.executable, __file__, "--memory", str(paths[0])], capture_output=True, text=True, check=True
    )
    return Exposures(
        read=paths[0].stat().st_size, written=product.stat().st_size, seconds=seconds, rerun=rerun,
        memory=float(done.stdout.split()[-2]),
    )  # fmt: skip


def simulated(n: int, tasks: int, one: Exposures, *, per_task: float, disk_speed: float) -> float:
    """Seconds for all tasks on n workers: the scheduler hands out one after another, the disk serves one after another.

    A worker computes for `one.seconds`; before that its bytes pass the shared disk, which is busy with them alone for
    their share of its speed.
    """
    free = [0.0] * n
    heapq.heapify(free)
    scheduler = disk = end = 0.0
    transfer = (one.read + one.written) / disk_speed
    for _ in range(tasks):
        scheduler = max(scheduler, heapq.heappop(free)) + per_task
        disk = max(disk, scheduler) + transfer
        heapq.heappush(free, disk + one.seconds)
        end = max(end, disk + one.seconds)
    return end


def speed_up(quick: bool) -> list[tuple[str, ...]]:
    """Of two workers over one, and of two bare processes over one at the same time: what the machine has to give."""
    size, tasks, rows = (100_000 if quick else 600_000), (16 if quick else 60), []
    for _ in range(1 if quick else 3):
        one, two = timed(1, tasks, size), timed(2, tasks, size)
        alone, both = busy(1, size * tasks // 8), busy(2, size * tasks // 8)
        rows.append((f"{one:.2f} s", f"{two:.2f} s", f"{one / two:.2f}", f"{2 * alone / both:.2f}"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller, to see that it runs")
    parser.add_argument("--markdown", action="store_true", help="tables as Markdown")
    parser.add_argument("--memory", metavar="FILE", help="report the memory that one exposure takes, and end")
    given = parser.parse_args()
    if given.memory:
        with tempfile.TemporaryDirectory() as folder:
            run = lambda: FlickerCleaner(Exposure.read(given.memory)).save(Path(folder) / "x.fits")  # noqa: E731
            run()
            Path(folder, "x.fits").unlink()
            report_memory(run)
        return
    os.environ["CORONTOOLS_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    print(machine(["corontools", "numpy", "numba", "distributed"]))
    head = ("1 worker", "2 workers", "speed-up", "two bare processes over one")
    print(table(head, speed_up(given.quick), markdown=given.markdown), end="\n\n")
    per_task = overhead(100 if given.quick else 1000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = rates(folder, 2 if given.quick else 5)
        sizes = graph_bytes(paths[:2], folder / "graph")
        one = measure(paths, folder)
        start = time.perf_counter()
        digest(paths[0])
        summing = paths[0].stat().st_size / (time.perf_counter() - start)
    rows = [
        ("overhead of a task", f"{1e3 * per_task:.2f} ms"),
        ("bytes of a task", f"{max(sizes)} B"),
        ("an exposure: read, written", f"{one.read / 1e6:.1f} MB, {one.written / 1e6:.1f} MB"),
        ("an exposure: time on one core", f"{one.seconds:.2f} s"),
        ("an exposure that is whole already", f"{one.rerun:.2f} s"),
        ("check sums", f"{summing / 1e6:.0f} MB/s"),
        ("peak memory of the process", f"{one.memory:.0f} MiB, {one.memory * 2**20 / one.read:.1f} x the file"),
    ]
    print(table(("measured", ""), rows, markdown=given.markdown), end="\n\n")
    moved = EXPOSURES * (one.read + one.written) / 1e9
    print(f"{EXPOSURES} exposures, {moved:.0f} GB read and written:")
    print(table(("workers", *(f"{what}, {d / 1e9:g} GB/s" for d in DISKS for what in ("time", "speed-up", "cost"))),
                curve(one, per_task), markdown=given.markdown))  # fmt: skip


def curve(one: Exposures, per_task: float) -> list[tuple[str, ...]]:
    """Time, speed-up and cost of all exposures, for each number of workers and each disk."""
    rows = []
    for n in (1, 2, 4, 8, 16, 32, 64):
        cells = [str(n)]
        for disk in DISKS:
            alone, seconds = (simulated(k, EXPOSURES, one, per_task=per_task, disk_speed=disk) for k in (1, n))
            cells += [f"{seconds:.0f} s", f"{alone / seconds:.1f}", f"{n * seconds / 3600 * PRICE:.2f} $"]
        rows.append(tuple(cells))
    return rows


if __name__ == "__main__":
    main()
