"""A short pass over everything that the package reads; `benchmarks/fuzz.py` makes the long one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz import guard, seeds
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as on Linux")

# a command computes; its files are read by the other targets
QUICK = sorted(set(TARGETS) - {"cli"})


@pytest.mark.parametrize("name", QUICK)
def test_a_hostile_file_is_read_or_refused_and_does_no_harm(name, tmp_path):
    target = TARGETS[name]

    @settings(max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(target.files())
    def case(files):
        outcome = guard.run(target.work, files, tmp_path / "case")
        assert not outcome.faults, files

    case()


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("fits", {"a.fits": seeds.exposures()[0]}),
        ("exposure", {"a.fits": seeds.exposures()[2]}),
        ("visit", {"preliminary_visit_image.fits": seeds.visits()[1],
                   "preliminary_visit_image_background.fits": seeds.backgrounds()}),
        ("refcat", {"a.parquet": seeds.references()[".parquet"]}),
        ("refcat", {"a.vot": seeds.references()[".vot"]}),
        ("catalogue", {"a.ecsv": seeds.catalogues()[".ecsv"]}),
        ("mask", {"a.asdf": seeds.asdf_masks()[2]}),
        ("steps", {"a.toml": seeds.steps().encode()}),
        ("orders", {"a.json": seeds.ORDERS.encode()}),
    ],
)  # fmt: skip
def test_the_files_that_are_changed_are_valid_themselves(name, files, tmp_path):
    outcome = guard.run(TARGETS[name].work, files, tmp_path / "case")
    assert outcome.accepted, outcome
    assert not outcome.faults
