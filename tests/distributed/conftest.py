"""A cluster of two worker processes, shared by all tests, and small exposures for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corontools import Exposure, Meta

distributed = pytest.importorskip("distributed", reason="needs dask[distributed]")

LIMIT = 700e6


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Two workers with one thread and 700 MB each."""
    import cloudpickle
    import dask

    # workers don't find test modules by their names
    for module in list(sys.modules.values()):
        if Path(getattr(module, "__file__", None) or "/").parent == Path(__file__).parent:
            cloudpickle.register_pickle_by_value(module)
    with dask.config.set({"distributed.admin.tick.limit": "60s"}):
        local = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=int(LIMIT), dashboard_address=":0", silence_logs=50
        )
        with local:
            yield local


@pytest.fixture
def client(cluster) -> Iterator[Any]:
    """A client of two workers that are well, and are left as they were found."""
    with distributed.Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


@pytest.fixture(scope="session")
def write_rates() -> Callable[..., list[Path]]:
    """Function that writes small rates, see `rates_in`."""
    return rates_in


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Function that reads a folder, see `contents_of`."""
    return contents_of


@pytest.fixture
def patch(client) -> Iterator[Callable[..., None]]:
    """Replace a method by `make(what was there)` on all workers, later ones too, until the test ends."""
    names = []

    def go(owner: type, name: str, make: Callable[[Any], Any]) -> None:
        names.append(f"patch-{len(names)}")
        client.register_plugin(Patch(owner, name, make), name=names[-1])

    yield go
    for name in names:
        client.unregister_worker_plugin(name)


class Patch(distributed.WorkerPlugin):
    """Another method in a worker process."""

    def __init__(self, owner: type, name: str, make: Callable[[Any], Any]) -> None:
        self.owner, self.name, self.make = owner, name, make

    def setup(self, worker: Any) -> None:
        self.before = getattr(self.owner, self.name)
        setattr(self.owner, self.name, self.make(self.before))

    def teardown(self, worker: Any) -> None:
        setattr(self.owner, self.name, self.before)


def rates_in(folder: Path, n: int, *, shape: tuple[int, int] = (64, 128)) -> list[Path]:
    """Rates of a NIRCam subarray, with stripes."""
    meta = Meta(instrument="NIRCAM", exp_type="NRC_IMAGE", detector="NRCALONG")
    paths = []
    for seed in range(n):
        rng = np.random.default_rng(seed)
        rate = (1 + rng.normal(0, 0.1, (shape[0], 1)) + rng.normal(0, 0.1, shape)).astype(np.float32)
        paths.append(
            Exposure(rate, err=np.full(shape, 0.1, np.float32), meta=meta).save(folder / f"jw{seed}_rate.fits")
        )
    return paths


@pytest.fixture(scope="session")
def rates(tmp_path_factory) -> list[Path]:
    """Six rates; never written to."""
    return rates_in(tmp_path_factory.mktemp("rates"), 6)


@pytest.fixture(scope="session")
def wanted(rates, tmp_path_factory) -> dict[str, bytes]:
    """What an undisturbed run on this machine alone makes of them."""
    from corontools.cli import main

    folder = tmp_path_factory.mktemp("wanted")
    assert main(["flicker", *map(str, rates), "-o", str(folder), "--save", "noise"]) == 0
    return contents_of(folder)


def contents_of(folder: Path) -> dict[str, bytes]:
    """Name and bytes of every file in a folder, records too; not the lock, which is empty."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if path.name != "lock"}


@pytest.fixture
def flicker(rates, tmp_path, capsys, monkeypatch) -> Callable[..., tuple[int, str, list[str]]]:
    """Run `corontools flicker` on the rates, here if no scheduler is named; gives status, output and told lines."""
    from corontools.cli import main

    def go(*options: Any, inputs: Any = rates, out: Path = tmp_path / "out") -> tuple[int, str, list[str]]:
        words = ["flicker", *map(str, inputs), "-o", str(out), "--save", "noise", *map(str, options)]
        with monkeypatch.context() as here:
            if "--scheduler" not in words:
                here.setattr("corontools.jobs._client", lambda: None)
            status = main(words)
        told = capsys.readouterr()
        return status, told.out, [line for line in told.err.splitlines() if line.startswith(("corontools", "note"))]

    return go
