"""The guard sees what it should: each fault is planted once."""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from corontools.errors import DataError
from tests.fuzz.guard import run

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as on Linux")


def raises(error):
    def work(base):
        raise error

    return work


def blank(base):
    np.empty(1 << 37, np.uint8)


def grow(base):
    np.ones(450 << 20, np.uint8)


def refused_for_memory(base):
    try:
        blank(base)
    except MemoryError as error:
        raise DataError("too large") from error


def warn(base):
    warnings.warn("old", DeprecationWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("work", "fault"),
    [
        (raises(KeyError("a")), "KeyError at"),
        (raises(DataError("two\nlines")), "no printable line"),
        (raises(DataError("x" * 10_000)), "a message of 10000 characters"),
        (lambda base: (base / "x").touch(), "writes outside of the output folder: open"),
        (lambda base: (base / "out" / ".." / "x").mkdir(), "writes outside of the output folder: os.mkdir"),
        (lambda base: os.rename(base / "in" / "a", base / "out" / "a"), "changes its input"),
        (lambda base: (base / "in" / "a").write_bytes(b"b"), "changes its input"),
        (lambda base: (base / "x").touch(), "leaves files beside its output"),
        (lambda base: exec("1"), "runs exec"),
        (lambda base: os.system("true"), "runs os.system"),
        (lambda base: pickle.loads(b"cos\ngetpid\n."), "runs pickle.find_class"),
        (warn, "warning DeprecationWarning"),
        (blank, "MemoryError at"),
        (refused_for_memory, "MemoryError at"),
        (grow, "takes 4"),
    ],
)
def test_a_planted_fault_is_seen(work, fault, tmp_path):
    outcome = run(work, {"a": b"a"}, tmp_path / "case")
    assert any(fault in found for found in outcome.faults), outcome


def test_a_case_that_takes_too_long_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.fuzz.guard.LONGEST", 0.1)

    def count(base):
        while True:
            pass

    assert any("takes more than 0.1 s" in found for found in run(count, {}, tmp_path / "case").faults)


def test_a_link_in_the_output_folder_leads_nowhere(tmp_path):
    def work(base):
        (base / "out" / "link").symlink_to(tmp_path, target_is_directory=True)
        (base / "out" / "link" / "x").touch()

    assert any("writes outside" in found for found in run(work, {}, tmp_path / "case").faults)


def test_a_folder_may_be_removed_from_the_output_folder(tmp_path):
    def work(base):
        (base / "out" / "a" / "b").mkdir(parents=True)
        (base / "out" / "a" / "b" / "c").touch()
        shutil.rmtree(base / "out" / "a")

    assert run(work, {}, tmp_path / "case").faults == []


def test_what_is_well_is_well(tmp_path):
    def work(base):
        (base / "out" / "b").write_bytes((base / "in" / "a").read_bytes())

    outcome = run(work, {"a": b"a"}, tmp_path / "case")
    assert (outcome.accepted, outcome.message, outcome.faults) == (True, "", [])
    refused = run(raises(DataError("no")), {"a": b"a"}, tmp_path / "case")
    assert (refused.accepted, refused.message, refused.faults) == (False, "no", [])
