"""Work on all processors: results in order, errors told, nothing begun after them."""

from __future__ import annotations

import threading
import time

import pytest
from threadpoolctl import threadpool_info

from corontools import DataError
from corontools.arrays import threads
from corontools.arrays.threads import allowed, in_threads, processors, single_blas


def test_results_are_in_the_order_of_the_items():
    assert in_threads(lambda i: (time.sleep(0.001 * (i % 3)), i)[1], range(40)) == list(range(40))
    assert in_threads(str, []) == []


def test_several_threads_share_the_work(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 3)
    together = threading.Barrier(3, timeout=30)  # passes when three wait at the same time
    assert len(in_threads(lambda _: together.wait(), range(3))) == 3


def test_an_error_is_raised_and_nothing_more_is_begun(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 2)
    begun = []

    def work(i: int) -> None:
        begun.append(i)
        if i == 3:
            raise ValueError("no")
        time.sleep(0.005)

    with pytest.raises(ValueError, match="no"):
        in_threads(work, range(1000))
    assert len(begun) < 20


def test_threads_begin_no_threads_of_their_own(monkeypatch):
    monkeypatch.setattr(threads, "_machine", lambda: 2)
    monkeypatch.delenv("CORONTOOLS_THREADS", raising=False)
    assert in_threads(lambda _: processors(), range(4)) == [1] * 4
    assert processors() == 2


def test_the_environment_and_the_caller_set_the_number(monkeypatch):
    monkeypatch.setattr(threads, "_machine", lambda: 16)
    monkeypatch.delenv("CORONTOOLS_THREADS", raising=False)
    with allowed(3):
        assert processors() == 3
    assert processors() == 16
    monkeypatch.setenv("CORONTOOLS_THREADS", "5")
    with allowed(3):
        assert processors() == 5
    for wrong in ("0", "-1", "two", "1.5"):
        monkeypatch.setenv("CORONTOOLS_THREADS", wrong)
        with pytest.raises(DataError, match="CORONTOOLS_THREADS is a number of threads"):
            processors()


@pytest.mark.parametrize(
    ("membership", "files", "quotas"),
    [
        ("0::/a/b", {"cpu.max": "max 100000", "a/cpu.max": "150000 100000", "a/b/cpu.max": "400000 100000"}, [4, 1.5]),
        ("3:cpu,acct:/x", {"cpu,acct/x/cpu.cfs_quota_us": "50000", "cpu,acct/x/cpu.cfs_period_us": "100000"}, [0.5]),
        ("3:cpu:/x\n2:memory:/y", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, []),
        ("0::/", {}, []),
    ],
)  # fmt: skip
def test_quotas_of_control_groups_are_read(tmp_path, membership, files, quotas):
    (tmp_path / "self").write_text(membership)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert threads._quotas(tmp_path / "self", tmp_path) == quotas


def blas():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_matrix_products_have_one_thread_while_any_block_lasts():
    before = blas()
    inside, leave = threading.Event(), threading.Event()

    def other():
        with single_blas():
            inside.set()
            leave.wait(timeout=30)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(timeout=30)
    with single_blas():
        assert blas() == {1}
    assert blas() == {1}
    leave.set()
    thread.join()
    assert blas() == before
