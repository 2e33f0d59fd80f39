"""Work on many items without a cluster; what a cluster does is in tests/distributed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from corontools import DataError, jobs
from corontools.errors import ItemsError


def test_results_are_in_order_and_shared_things_reach_all():
    assert jobs.run(lambda x: x + 1, range(4), name="one") == [1, 2, 3, 4]
    assert jobs.run(lambda x, y: x * y, [1, 2], name="two", shared=5) == [5, 10]
    assert jobs.run(str, [], name="none") == []


def test_failures_are_told_at_the_end_with_what_was_made():
    with pytest.raises(ItemsError, match=r"1 of 3 lines failed: b: .*'b'; the rest is done") as caught:
        jobs.run(float, ["1", "b", "3"], name="read", unit="line")
    assert caught.value.results == [1.0, None, 3.0]
    ((item, error),) = caught.value.failed
    assert item == "b"
    assert isinstance(error, ValueError)
    assert isinstance(caught.value, DataError)


@pytest.mark.parametrize(("items", "fail_fast"), [(["b"], False), (["1", "b", "3"], True)])
def test_one_item_or_the_first_failure_raises_its_own_error(items, fail_fast):
    with pytest.raises(ValueError, match="could not convert") as caught:
        jobs.run(float, items, name="read", fail_fast=fail_fast)
    assert not isinstance(caught.value, ItemsError)


def test_after_an_interrupt_nothing_more_is_begun():
    begun = []

    def work(x):
        begun.append(x)
        if x == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.run(work, range(9), name="stop")
    assert begun == [0, 1, 2]


def test_what_is_shared_has_the_layout_that_a_worker_sees():
    def contiguous(_, image):
        return image.flags.c_contiguous

    assert jobs.run(contiguous, [0], name="layout", shared=np.ones((6, 6))[::2, ::2]) == [True]


def test_a_scheduler_needs_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DataError, match=r"pip install 'corontools\[distributed\]'"), jobs.connected("tcp://head:1"):
        pytest.fail("connected")


def test_nothing_of_dask_is_loaded_without_need():
    code = (
        "import sys; from corontools import jobs, manifest; jobs.run(abs, [-1, 2], name='abs')\n"
        "print({'distributed', 'dask', 'numba', 'filelock'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
