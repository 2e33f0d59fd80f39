"""Small jobs, one after the other in one process, leave nothing behind; `benchmarks/soak.py` runs 500 of all kinds."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import threading

import numpy as np
import pytest

from tests.soak.chains import CHAINS
from tests.soak.held import PROCESS, Held, arrays
from tests.soak.rounds import growth, rounds

CHEAP = ("flicker of a ramp", "view of a ramp")


@pytest.fixture(scope="module", autouse=True)
def others_are_no_garbage():
    """What other tests hold isn't looked through in each round: it takes long."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary files are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def soaked(chains, folder, *, warm_up, n_chains):
    async def run():
        await rounds(chains, warm_up)
        before = Held.now(folder)
        done = await rounds(chains, n_chains)
        return done, Held.now(folder).more(before)

    return asyncio.run(run())


def test_chains_leave_no_file_thread_widget_or_array(folder):
    run, more = soaked({name: CHAINS[name] for name in CHEAP}, folder, warm_up=4, n_chains=12)
    assert run.n_chains == 12
    assert run.left == dict.fromkeys(CHEAP, 0)
    assert more == {}


@pytest.mark.skipif(not PROCESS.is_dir(), reason="only Linux tells which files are open")
def test_what_a_chain_leaves_is_seen(folder):
    kept = []

    async def forgetful(_):
        image, release = np.zeros((64, 64)), threading.Event()
        thread = threading.Thread(target=release.wait, daemon=True)
        thread.start()
        (folder / f"{len(kept)}.part").touch()
        file = (folder / "0.part").open()
        kept.append((image, file, thread, release))
        return [image]

    run, more = soaked({"forgetful": forgetful}, folder, warm_up=1, n_chains=2)
    there = arrays()
    assert all(id(image) in there for image, *_ in kept)
    for _, file, thread, release in kept:
        file.close()
        release.set()
        thread.join()
    assert run.left == {"forgetful": 2}
    assert (more["descriptors"], more["threads"], more["tasks"], more["files"]) == (2, 2, 2, 2)


def test_growth_is_told_by_the_line_and_by_the_ends():
    assert growth([100.0] * 10) == pytest.approx((100, 100, 0, 0))
    begin, end, line, ends = growth(np.linspace(100, 110, 11))
    assert (begin, end) == (102, 108)
    assert line == pytest.approx(10 / 102)
    assert ends == pytest.approx(6 / 102)
    # one high round is no growth
    assert growth([100.0] * 10 + [150.0] + [100.0] * 10)[2:] == pytest.approx((0, 0))
