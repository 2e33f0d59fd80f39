"""The choice of background and amplifiers."""

from __future__ import annotations

import numpy as np
import pytest

from corontools import DataError, Exposure, FlickerCleaner
from corontools.flicker.auto import LIMITS, _decided


def image(*, slope=0.0, steps=(0.0, 0.0, 0.0, 0.0), sources=0.0, seed=1):
    """A full frame in DN/s: background with a slope and amplifiers along x, and share of it in sources."""
    rng = np.random.default_rng(seed)
    data = 0.5 + rng.normal(0, 0.1, (2048, 2048)).astype(np.float32)
    data += slope * np.arange(2048, dtype=np.float32)
    data += np.repeat(np.array(steps, np.float32), 512)
    lit = rng.random((64, 64)) < sources
    data += 5 * np.repeat(np.repeat(lit, 32, axis=0), 32, axis=1).astype(np.float32)
    return data


@pytest.mark.parametrize(
    ("scene", "background", "by_channel"),
    [
        ({}, "median", False),
        ({"slope": 3e-5}, "model", False),
        ({"steps": (0, 0.1, 0, 0.1)}, "median", True),
        ({"sources": 0.25}, "median", False),
        ({"sources": 0.25, "slope": 3e-5}, "model", False),
    ],
)
def test_the_figures_of_an_image_decide(meta, scene, background, by_channel):
    cleaner = FlickerCleaner(Exposure(image(**scene), meta=meta(SUBARRAY="FULL"))).auto()
    assert (cleaner.plan.background, cleaner.plan.by_channel) == (background, by_channel)
    assert cleaner.history[-1] == ".auto()"
    assert cleaner.choice.reason in repr(cleaner)
    assert "slope" in repr(cleaner)


LOW, HIGH = 0.0, 1.0


@pytest.mark.parametrize(
    ("masked", "offset", "slope", "ratio", "scatter", "background", "by_channel"),
    [
        (0.01, 0.10, 1e-3, 9, HIGH, "median", True),
        (0.20, 0.01, 5e-5, 9, HIGH, "model", False),
        (0.20, 0.01, 5e-6, 9, HIGH, "median", False),
        (0.20, 0.10, 5e-4, 9, HIGH, "model", False),
        (0.20, 0.10, 5e-5, 9, HIGH, "median", False),
        (0.01, 0.01, 5e-4, 9, LOW, "model", False),
        (0.01, 0.01, 5e-5, 2, LOW, "model", False),
        (0.01, 0.01, 5e-5, 9, LOW, "median", False),
        (0.01, 0.01, 5e-6, 9, HIGH, "median", True),
        (0.01, 0.00, 5e-6, 9, HIGH, "median", False),
    ],
)
def test_the_rules_are_those_of_the_pipeline(masked, offset, slope, ratio, scatter, background, by_channel):
    figures = {"masked": masked, "offset": offset, "slope": slope, "ratio": ratio, "scatter": scatter}
    choice = _decided(figures, LIMITS["NIS_IMAGE"])
    assert (choice.background, choice.by_channel) == (background, by_channel)


def test_other_modes_and_rates_of_unknown_time_are_refused(meta, planted, rate):
    with pytest.raises(DataError, match="knows EXP_TYPE NIS_IMAGE and NRC_IMAGE, found NRC_CORON"):
        FlickerCleaner(Exposure(rate[0], meta=meta("NRC_CORON"))).auto()
    with pytest.raises(DataError, match="has no TGROUP"):
        FlickerCleaner(planted().exposure()).auto()
    with pytest.raises(DataError, match="no pixel of the draft rate shows background"):
        FlickerCleaner(Exposure(rate[0] * np.nan, meta=meta())).auto()
