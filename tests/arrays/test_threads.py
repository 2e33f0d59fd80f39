"""Work on all processors: results in order, errors told, nothing begun after them."""

from __future__ import annotations

import threading
import time

import pytest

from corontools.arrays import threads
from corontools.arrays.threads import in_threads


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
