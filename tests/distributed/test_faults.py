"""What clusters and disks do: after each fault nothing is lost, doubled or half done, and a rerun completes the work.

Every test injects its fault into a real run, looks at what is there then, and compares what a rerun completes with the
bytes of an undisturbed run.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import dask
import distributed
import pytest

import corontools
from corontools.flicker import FlickerCleaner

TITLE = "_clean_flicker_noise.fits"


def whole(made, wanted):
    """Whether there are only products of the undisturbed run, to the byte, and nothing in the making."""
    return all(made[name] == wanted[name] for name in made)


def until(what, seconds=60):
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def killed_once(flag):
    """A save that writes half a product and kills its worker, the first time that it is called on any worker."""

    def make(save):
        def half(cleaner, path, **keywords):
            with suppress(FileExistsError):
                os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
                Path(path).write_bytes(b"SIMPLE  =")
                os.kill(os.getpid(), signal.SIGKILL)
            return save(cleaner, path, **keywords)

        return half

    return make


def slow(save):
    """A save that takes half a second."""

    def late(cleaner, path, **keywords):
        time.sleep(0.5)
        return save(cleaner, path, **keywords)

    return late


def greedy(name):
    """A save that takes all memory for one of the files, each time."""

    def make(save):
        def more(cleaner, path, **keywords):
            held = []
            while Path(path).name.startswith(name):
                held.append(b"x" * 50_000_000)
                time.sleep(0.02)
            return save(cleaner, path, **keywords)

        return more

    return make


def test_a_worker_killed_in_mid_task_costs_nothing(cluster, patch, flicker, wanted, contents, tmp_path):
    patch(FlickerCleaner, "save", killed_once(str(tmp_path / "flag")))
    status, _, lines = flicker("--scheduler", cluster.scheduler_address)
    assert (tmp_path / "flag").exists()
    assert (status, lines) == (0, [])
    assert contents(tmp_path / "out") == wanted


def test_workers_and_tasks_that_are_restarted_cost_nothing(cluster, client, patch, flicker, wanted, contents, tmp_path):
    patch(FlickerCleaner, "save", slow)

    def restart():
        until(lambda: any((tmp_path / "out").glob(f"*{TITLE}")))
        client.restart()

    thread = threading.Thread(target=restart)
    thread.start()
    status, _, lines = flicker("--scheduler", cluster.scheduler_address)
    thread.join()
    assert status == 0, lines
    assert contents(tmp_path / "out") == wanted


def test_a_task_that_takes_all_memory_fails_alone(cluster, patch, flicker, wanted, contents, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 1)  # 3 take longer
    patch(FlickerCleaner, "save", greedy("jw2"))
    status, _, lines = flicker("--scheduler", cluster.scheduler_address)
    assert status == 1
    assert lines[0].startswith(f"corontools: error: jw2{TITLE}: its worker was killed again and again")
    made = contents(tmp_path / "out")
    assert made == {name: wanted[name] for name in wanted if "jw2" not in name}
    assert flicker()[0] == 0
    assert contents(tmp_path / "out") == wanted


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 200 kB at `tmp_path / "disk"`, and what makes it larger; skipped where none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(mount("size=200k", disk), capture_output=True, check=False).returncode:
        pytest.skip("a disk can be mounted by root only")
    yield disk, lambda: subprocess.run(mount("remount,size=8m", disk), check=True)
    subprocess.run(["umount", str(disk)], check=True)


def mount(options, folder):
    return ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]


def test_a_full_disk_keeps_what_is_whole(cluster, flicker, wanted, contents, small_disk):
    disk, enlarge = small_disk
    status, _, lines = flicker("--scheduler", cluster.scheduler_address, out=disk / "out")
    assert status == 1
    assert any("No space left on device" in line for line in lines)
    made = contents(disk / "out")
    assert whole(made, wanted)
    assert 0 < len(made) < len(wanted)
    enlarge()
    assert flicker("--scheduler", cluster.scheduler_address, out=disk / "out")[0] == 0
    assert contents(disk / "out") == wanted


@contextmanager
def short_files(client, size):
    """Files longer than this can't be written by workers: what a quota does."""

    def limit(most):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    client.run(limit, size)
    try:
        yield
    finally:
        client.run(limit, resource.RLIM_INFINITY)


def test_files_that_may_not_grow_leave_nothing(cluster, client, flicker, wanted, contents, tmp_path):
    with short_files(client, 20_000):
        status, _, lines = flicker("--scheduler", cluster.scheduler_address)
    assert status == 1
    assert len(lines) == 7  # each of six, and how many
    assert not (tmp_path / "out").exists()
    assert flicker("--scheduler", cluster.scheduler_address)[0] == 0
    assert contents(tmp_path / "out") == wanted


def test_an_output_that_is_read_only_is_told_at_once(cluster, flicker, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    root = os.geteuid() == 0
    if root and subprocess.run(mount("ro", out), capture_output=True, check=False).returncode:
        pytest.skip("root can write everywhere, and can't mount here")
    out.chmod(0o555) if not root else None
    try:
        status, _, lines = flicker("--scheduler", cluster.scheduler_address)
        assert status == 1
        assert lines[0].startswith(f"corontools: error: folder {out} can't be written to: ")
        assert not list(out.iterdir())
    finally:
        subprocess.run(["umount", str(out)], check=True) if root else out.chmod(0o755)


def test_an_input_that_is_damaged_fails_alone(cluster, flicker, rates, wanted, contents, tmp_path):
    copies = [tmp_path / path.name for path in rates]
    for copy, path in zip(copies, rates, strict=True):
        copy.write_bytes(path.read_bytes())
    copies[2].write_bytes(rates[2].read_bytes()[:9000])
    status, _, lines = flicker("--scheduler", cluster.scheduler_address, inputs=copies)
    assert status == 1
    assert "is cut short" in lines[0]
    assert "1 of 6 failed, the rest is done" in lines[1]
    assert sorted(path.name for path in (tmp_path / "out").glob(f"*{TITLE}")) == [
        f"jw{i}{TITLE}" for i in (0, 1, 3, 4, 5)
    ]
    copies[2].write_bytes(rates[2].read_bytes())
    status, _, lines = flicker("--scheduler", cluster.scheduler_address, inputs=copies)
    assert (status, lines) == (0, ["note: 5 of 6 files were made before, whole, and are kept"])
    assert set(contents(tmp_path / "out")) == set(wanted)


@contextmanager
def running(cluster, rates, out):
    """`corontools flicker` on the cluster, in a process of its own, with its first product made."""
    places = [str(Path(corontools.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", "corontools.cli", "flicker", *map(str, rates), "-o", str(out), "--save", "noise"]
    with subprocess.Popen(
        [*command, "--scheduler", cluster.scheduler_address],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))},
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        try:
            until(lambda: any(out.glob(f"*{TITLE}")) or process.poll() is not None)
            yield process
        finally:
            process.kill()


def test_a_second_run_on_a_folder_is_refused_and_a_killed_one_leaves_no_lock(
    cluster, client, patch, flicker, rates, wanted, contents, tmp_path
):
    patch(FlickerCleaner, "save", slow)
    out = tmp_path / "out"
    with running(cluster, rates, out) as first:
        status, _, (line,) = flicker()
        assert status == 1
        assert line.startswith(f"corontools: error: {out} is in use by another run (on ")
        assert f"process {first.pid}, since 2" in line
        assert first.poll() is None
        first.kill()
    # what its tasks were at is not written any more when another run has the folder
    status, _, lines = flicker("--scheduler", cluster.scheduler_address)
    assert status == 0
    assert "were made before, whole, and are kept" in lines[-1]
    assert contents(out) == wanted


def test_an_interrupt_ends_the_tasks_and_a_rerun_completes(
    cluster, client, patch, flicker, rates, wanted, contents, tmp_path
):
    patch(FlickerCleaner, "save", slow)
    out = tmp_path / "out"
    with running(cluster, rates, out) as run:
        run.send_signal(signal.SIGINT)
        _, told = run.communicate(timeout=30)
        assert run.returncode == 130
        assert "interrupted; nothing was left half-done" in told
    until(lambda: not any(client.call_stack().values()))
    made = contents(out)
    assert whole(made, wanted)
    assert 0 < len(made) < len(wanted)
    assert flicker()[0] == 0
    assert contents(out) == wanted


def test_clocks_that_are_wrong_change_nothing(cluster, flicker, rates, wanted, contents, tmp_path):
    copies = [tmp_path / path.name for path in rates]
    for copy, path in zip(copies, rates, strict=True):
        copy.write_bytes(path.read_bytes())
    assert flicker(inputs=copies)[0] == 0
    made, out = contents(tmp_path / "out"), tmp_path / "out"
    for i, path in enumerate([*copies, *out.glob("*.fits")]):
        os.utime(path, (0, 4e9 if i % 2 else 1))  # the years 1970 and 2096
    status, _, lines = flicker("--scheduler", cluster.scheduler_address, inputs=copies)
    assert (status, lines) == (0, ["note: 6 of 6 files were made before, whole, and are kept"])
    # another content of the same age and size is another input, and a product that was changed isn't whole
    product = out / f"jw1{TITLE}"
    product.write_bytes(product.read_bytes()[:-1] + b"x")
    os.utime(product, (0, 1))
    status, _, lines = flicker("--scheduler", cluster.scheduler_address, inputs=copies)
    assert status == 0
    assert lines[0] == f"note: jw1{TITLE}: made again, for its products were not whole"
    assert contents(out) == made
    age = copies[0].stat().st_mtime
    copies[0].write_bytes(rates[1].read_bytes())
    os.utime(copies[0], (0, age))
    status, _, lines = flicker("--scheduler", cluster.scheduler_address, inputs=copies)
    assert status == 1
    assert "made with other inputs; choose another folder, or --overwrite" in "".join(lines)


@contextmanager
def own_cluster(folder):
    """A scheduler and a worker as processes; gives the address and the scheduler."""
    python, address = sys.executable, folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen(
        [
            python,
            "-m",
            "distributed.cli.dask_scheduler",
            "--port",
            "0",
            "--dashboard-address",
            ":0",
            "--scheduler-file",
            address,
        ],
        **quiet,
    )
    try:
        until(address.exists)
        worker = [python, "-m", "distributed.cli.dask_worker", "--scheduler-file", address, "--nthreads", "1"]
        with subprocess.Popen([*worker, "--no-dashboard"], **quiet) as workers:
            try:
                yield address, scheduler
            finally:
                workers.terminate()
    finally:
        scheduler.kill()
        scheduler.wait()


def test_a_scheduler_that_dies_is_told_and_a_rerun_completes(flicker, wanted, contents, tmp_path):
    out = tmp_path / "out"
    with own_cluster(tmp_path) as (address, scheduler):

        def kill():
            until(lambda: any(out.glob(f"*{TITLE}")))
            scheduler.kill()

        thread = threading.Thread(target=kill)
        thread.start()
        with dask.config.set({"distributed.comm.timeouts.connect": "5s"}):
            with distributed.Client(scheduler_file=str(address)) as client:
                client.wait_for_workers(1, timeout=60)
                client.register_plugin(slow_save())
            status, _, lines = flicker("--scheduler", address)
        thread.join()
    assert status == 1
    assert lines[-1] == (
        "corontools: error: the scheduler is gone; start it again, and the same run for what isn't done yet"
    )
    made = contents(out)
    assert whole(made, wanted)
    assert 0 < len(made) < len(wanted)
    assert flicker()[0] == 0
    assert contents(out) == wanted


def slow_save():
    from tests.distributed.conftest import Patch

    return Patch(FlickerCleaner, "save", slow)


def test_records_say_what_was_made_of_what(wanted, rates):
    record = json.loads(wanted[f".corontools/jw0{TITLE}.json"])
    assert record["inputs"][0][0] == str(rates[0])
    assert record["verb"] == "flicker"
    assert record["options"]["save"] == ["noise"]
    assert set(record["products"]) == {f"jw0{TITLE}", "jw0_flicker_noise.fits"}
    assert {"corontools", "numpy"} <= set(record["versions"])
