"""Many small jobs in one process: memory, files, threads, widgets and arrays before and after.

    python benchmarks/soak.py [--chains 500] [--warm-up 40] [--only WORD ...] [--pools] [--markdown]

Each chain is a whole job, from its input to its products, of all kinds in turn; they run in one loop of events, as the
cells of a notebook do. Memory is measured after each round of all kinds, when garbage is collected and glibc has given
back what is free (malloc_trim). It has one pool for all threads, unless --pools is given: holes between what is in use
in many pools would hide what is kept. What a chain made may not be there any more when its round is over.

The exit status is 1 where memory grows by more than 2 %, by the line through all rounds or from the first five to the
last five, or anything else is held more often than after the warm-up. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import machine, spread, table

from tests.soak.chains import CHAINS, Chain
from tests.soak.held import Held, arrays, caches, descriptors, memory, one_pool
from tests.soak.rounds import Run, growth, rounds

PACKAGES = ("numpy", "scipy", "astropy", "numba", "ipywidgets", "anywidget", "bqplot")
# of what is held after the warm-up
MOST = 0.02
NAMES = {
    "descriptors": "open files, pipes and sockets", "mapped": "mapped temporary files", "threads": "threads of Python",
    "tasks": "threads of the process", "widgets": "widgets", "comms": "connections of widgets",
    "files": "temporary files", "arrays": "arrays of 8 kB and more", "kept": "results in caches of the package",
    "warned": "warnings that are remembered",
}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """A run, and what was held before and after."""

    run: Run
    before: Mapping[str, int]
    after: Mapping[str, int]

    @property
    def leaks(self) -> bool:
        """Whether memory grew, or anything is left."""
        grown = [share for sizes in (self.run.private, self.run.resident) for share in growth(sizes)[2:]]
        more = any(size > self.before[name] for name, size in self.after.items())
        return more or max(grown) > MOST or any(self.run.left.values())


def held(folder: Path) -> dict[str, int]:
    """All that is counted."""
    return {**asdict(Held.now(folder)), "arrays": len(arrays())}


async def soak(chains: Mapping[str, Chain], n_chains: int, warm_up: int, folder: Path) -> Seen:
    """The warm-up, the chains, and what was held after either."""
    await rounds(chains, warm_up)
    before, opened, kept = held(folder), descriptors(), caches()
    run = await rounds(chains, n_chains, told=tell)
    seen = Seen(run, before, held(folder))
    if seen.leaks:
        new = [target for name, target in descriptors().items() if opened.get(name) != target]
        more = {name: size for name, size in caches().items() if size > kept.get(name, 0)}
        print(f"opened: {new}; kept: {more}", file=sys.stderr)
    return seen


def tell(run: Run) -> None:
    """Say how far it is, now and then."""
    if len(run.private) % 5 == 0:
        print(f"{run.n_chains} chains, {run.private[-1]:.1f} MiB", file=sys.stderr, flush=True)


def show(seen: Seen, *, markdown: bool) -> None:
    """Both tables."""
    run, rows = seen.run, []
    for name, sizes in (("private memory", run.private), ("resident memory", run.resident)):
        begin, end, line, ends = growth(sizes)
        grown = f"{100 * line:+.2f} % by the line, {100 * ends:+.2f} % end over begin"
        rows.append((name, f"{begin:.1f} MiB", f"{end:.1f} MiB", grown, f"<= {100 * MOST:.0f} %"))
    for name, first in seen.before.items():
        last = seen.after[name]
        rows.append((NAMES[name], str(first), str(last), f"{last - first:+d}", "0"))
    left = str(sum(run.left.values()))
    rows.append(("results and arrays of a chain, closed views", "", left, f"of {run.n_chains} chains", "0"))
    print(table(("held", "after the warm-up", "at the end", "growth", "wanted"), rows, markdown=markdown))
    kinds = [
        (name, str(len(took)), spread((min(took), max(took))), str(run.left[name]))
        for name, took in run.seconds.items()
    ]
    print("", table(("chain", "runs", "time", "results left"), kinds, markdown=markdown), sep="\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--chains", type=int, default=500)
    parser.add_argument("--warm-up", type=int, default=4 * len(CHAINS), help="chains before anything is measured")
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="chains whose name has one of these")
    parser.add_argument("--pools", action="store_true", help="let glibc have a pool for each thread, as is usual")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    if not memory():
        print("memory can be measured on Linux only", file=sys.stderr)
        return 1
    warnings.filterwarnings("ignore", message=".*PSF stars have S/N")  # the frame is small
    if not args.pools:
        one_pool()
    chosen = {name: chain for name, chain in CHAINS.items() if any(word in name for word in args.only)}
    with tempfile.TemporaryDirectory(prefix="corontools-soak-") as folder:
        tempfile.tempdir = folder  # so that whatever is left there is seen
        seen = asyncio.run(soak(chosen, args.chains, args.warm_up, Path(folder)))
        tempfile.tempdir = None
    show(seen, markdown=args.markdown)
    print(f"\n{args.chains} chains after {args.warm_up}; {machine(PACKAGES)}")
    return int(seen.leaks)


if __name__ == "__main__":
    sys.exit(main())
