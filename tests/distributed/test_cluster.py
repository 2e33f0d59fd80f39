"""Work on a cluster is the work of this machine: same results, same order, same words; one copy of what is shared."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import warnings

import dask
import distributed
import numpy as np
import pytest

from corontools import jobs
from corontools.arrays.threads import processors
from corontools.cli import main
from corontools.cluster import AHEAD, outcomes_of
from corontools.coron.recovery import injection_grid
from corontools.errors import ItemsError


def square(x, offset=0):
    return x * x + offset


def test_results_are_in_the_order_of_the_items(client):
    def late(x):
        time.sleep(0.02 * (x % 3))
        return x, os.getpid()

    found = jobs.run(late, range(12), name="late")
    assert [x for x, _ in found] == list(range(12))
    pids = {pid for _, pid in found}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_what_is_shared_is_sent_once_and_tasks_stay_small(client):
    sizes = []
    submit = client.submit

    def measured(function, *args, **keywords):
        sizes.append(len(distributed.protocol.pickle.dumps((function, args, {"key": keywords["key"]}))))
        return submit(function, *args, **keywords)

    client.submit = measured
    image = np.arange(1e6)
    assert jobs.run(lambda i, of: of[i], range(8), name="pixel", shared=image) == list(range(8))
    assert len(sizes) == 8
    assert max(sizes) < 3000


def test_few_items_are_on_the_cluster_at_once(client):
    begun = []
    submit = client.submit

    def counted(*args, **keywords):
        begun.append(keywords["key"])
        return submit(*args, **keywords)

    client.submit = counted
    outcomes = outcomes_of(client, square, list(range(16)), name="square", shared=None, memory=None)
    for done, outcome in enumerate(outcomes):
        assert outcome.value == outcome.index**2
        assert len(begun) - done <= 2 * AHEAD
    assert len(set(begun)) == 16


def test_a_failed_item_is_told_when_the_others_are_done(client):
    def picky(x):
        if x in (3, 5):
            raise ValueError(f"no {x}")
        return x

    with pytest.raises(ItemsError, match="2 of 8 numbers failed: 3: no 3, and 1 more; the rest is done") as caught:
        jobs.run(picky, range(8), name="picky", unit="number")
    assert caught.value.results == [0, 1, 2, None, 4, None, 6, 7]
    assert [item for item, _ in caught.value.failed] == [3, 5]
    with pytest.raises(ValueError, match=r"^no 3$"):
        jobs.run(picky, range(8), name="picky", fail_fast=True)


def test_warnings_of_workers_are_given_here(client):
    def noisy(x):
        warnings.warn(f"pixel {x} is hot", UserWarning, stacklevel=1)
        return x

    with pytest.warns(UserWarning, match="is hot") as told:
        jobs.run(noisy, range(3), name="noisy")
    assert sorted(str(one.message) for one in told) == [f"pixel {x} is hot" for x in range(3)]


def test_a_task_has_the_threads_of_its_worker_and_no_cluster_within(client, monkeypatch):
    monkeypatch.delenv("CORONTOOLS_THREADS", raising=False)

    def inside(_):
        from threadpoolctl import threadpool_info

        pids = jobs.run(lambda _: os.getpid(), range(3), name="within")
        blas = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        return processors(), blas, set(pids) == {os.getpid()}

    assert jobs.run(inside, range(2), name="inside") == [(1, {1}, True)] * 2


def test_memory_of_an_item_is_compared_with_that_of_the_workers(client):
    with pytest.warns(UserWarning, match=r"an item may take 5 GB, workers have 0.7 GB; start them with more"):
        assert jobs.run(square, [1, 2], name="large", memory=5_000_000_000) == [1, 4]
    assert jobs.run(square, [1, 2], name="small", memory=500_000_000) == [1, 4]


def test_an_interrupt_ends_the_loops_of_tasks(client):
    from corontools.progress import progress

    began = distributed.Event("began")

    def endless(_):
        for i in progress(range(6000), "wait", "s"):
            if i == 1:
                distributed.Event("began").set()
            time.sleep(0.01)

    def interrupt():
        began.wait(timeout=30)
        # as a key press: a real signal, which also ends the wait of a main thread that holds no Python code to run
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        jobs.run(endless, range(6), name="endless")
    deadline = time.monotonic() + 20
    while any(client.call_stack().values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(client.call_stack().values())
    assert not any(client.processing().values())


def test_injections_are_those_of_this_machine(client, tiny_run, monkeypatch):
    places = {"sep": [0.5, 0.7], "pa": [80.0, 200.0]}
    there = injection_grid(tiny_run.klips, [90.0], **places)
    monkeypatch.setattr(jobs, "_client", lambda: None)
    here = injection_grid(tiny_run.klips, [90.0], **places)
    for name in here.colnames:
        np.testing.assert_array_equal(there[name].value, here[name].value)


def test_false_alarms_are_those_of_this_machine(client, tiny_run, monkeypatch):
    there = tiny_run.klips[0].aligned.false_alarms(3)
    monkeypatch.setattr(jobs, "_client", lambda: None)
    np.testing.assert_array_equal(there.rate, tiny_run.klips[0].aligned.false_alarms(3).rate)


@pytest.fixture
def backgrounds(write_rates, tmp_path):
    """An association of four nods, each the background of the others."""
    names = [path.name for path in write_rates(tmp_path, 4)]
    products = [
        {
            "name": f"p{i}",
            "members": [{"exptype": "background" if n != name else "science", "expname": n} for n in names],
        }
        for i, name in enumerate(names)
    ]
    path = tmp_path / "nods_asn.json"
    path.write_text(json.dumps({"products": products}))
    return path


@pytest.fixture
def snaps(tmp_path):
    from corontools.simulate import star_field

    field = star_field(512, snaps=2, seed=3)
    field.refcat().write(tmp_path / "refs.ecsv", format="ascii.ecsv")
    return [exposure.save(tmp_path / f"snap{i}.fits") for i, exposure in enumerate(field.exposures)]


@pytest.fixture
def both(cluster, tmp_path, contents):
    """Run a command here, and on the cluster; gives what each made."""

    def go(*argv):
        words = [str(word) for word in argv]
        assert main([*words, "-o", str(tmp_path / "here")]) == 0
        assert main([*words, "-o", str(tmp_path / "there"), "--scheduler", cluster.scheduler_address]) == 0
        return contents(tmp_path / "here"), contents(tmp_path / "there")

    return go


def test_flicker_makes_the_same_bytes(both, rates):
    here, there = both("flicker", *rates, "--noise", "fft", "--add-err")
    assert here == there
    assert len(here) == 12


def test_background_makes_the_same_bytes(both, backgrounds):
    here, there = both("background", backgrounds, "--save-background")
    assert here == there
    assert len(here) == 12


def test_coron3_makes_the_same_bytes(both, tiny_asn):
    here, there = both("coron3", tiny_asn, "--modes", 4, "--report")
    assert here == there
    assert len(here) > 10


def test_calibrate_makes_the_same_bytes(both, snaps, tmp_path):
    refs = tmp_path / "refs.ecsv"
    here, there = both("calibrate", *snaps, "--refcat", refs, "--band", "r")
    assert here == there
    assert len(here) > 8


def test_without_a_scheduler_there_is_a_way_out(flicker, tmp_path):
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        status, _, lines = flicker("--scheduler", "tcp://127.0.0.1:1")
    assert status == 1
    assert "no scheduler answers at tcp://127.0.0.1:1" in lines[-1]
    assert not (tmp_path / "out").exists()
