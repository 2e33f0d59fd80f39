"""The background under the stripes."""

from __future__ import annotations

import numpy as np
import pytest

from corontools import DataError
from corontools.flicker.level import background_level, box_of, filled_flat


@pytest.fixture
def slope():
    y, x = np.mgrid[:128, :160]
    rng = np.random.default_rng(1)
    truth = 100 + 0.05 * x + 0.02 * y
    image = truth + rng.normal(0, 1, truth.shape)
    image[40:50, 60:75] += 500
    return truth, image


def test_the_median_forgets_sources(slope):
    _, image = slope
    level, good = background_level(image, np.ones(image.shape, bool), method="median")
    assert not good[40:50, 60:75].any()
    assert abs(level - np.median(image)) < 0.2


def test_a_model_follows_a_slope(slope):
    truth, image = slope
    level, _ = background_level(image, np.ones(image.shape, bool), method="model", box=(16, 16))
    assert np.std(truth) > 2
    inside = np.s_[32:-32, 32:-32]  # boxes are smoothed over five, fewer at the edges
    assert np.std(level[inside] - truth[inside]) < 0.2


def test_a_model_of_few_pixels_is_their_median(slope):
    _, image = slope
    good = np.zeros(image.shape, bool)
    good[0, :3] = True
    level, kept = background_level(image, good, method="model")
    assert np.ndim(level) == 0
    assert level == np.median(image[kept])


def test_none_leaves_everything(slope):
    good = np.ones(slope[1].shape, bool)
    level, kept = background_level(slope[1], good, method=None)
    assert level == 0
    assert kept is good


@pytest.mark.parametrize("box", [0, -1, 2.5, (1, 2, 3), (300, 4), "a"])
def test_a_box_is_whole_numbers_of_pixels(box):
    with pytest.raises(DataError, match="a box is one or two whole numbers of px"):
        box_of((128, 160), box)


def test_a_flat_is_filled_from_its_surroundings():
    flat = np.full((64, 64), 0.9)
    flat[3, 4], flat[5:8, 5:8] = np.nan, 0.0
    np.testing.assert_allclose(filled_flat(flat), 0.9)
    whole = np.full((8, 8), 0.5)
    assert filled_flat(whole) is whole
    with pytest.raises(DataError, match="no value but 0 and NaN"):
        filled_flat(np.zeros((8, 8)))
