"""The level of images far from the star."""

from __future__ import annotations

import numpy as np
import pytest

from corontools.arrays.level import far_from, level
from corontools.errors import DataError


def star(shape, peak=1e5):
    y, x = np.indices(shape)
    return peak / (1 + np.square(x - 31.0) + np.square(y - 33.0)) ** 2


def test_the_errors_of_levels_hold_beside_a_star_and_outliers():
    rng, shape = np.random.default_rng(5), (64, 64)
    true = rng.uniform(-20, 20, 300)
    images = true[:, None, None] + star(shape) + rng.normal(0, 2.0, (300, *shape))
    images[:, 3, :40] += 500.0
    images[:, 60, 60] = np.nan
    good = np.isfinite(images)
    where = far_from(shape, (31.0, 33.0), 25.0)
    found = level(images, good, where=where)
    wing = np.median(star(shape)[where])
    pulls = (found.value - true - wing) / found.err
    assert abs(pulls.mean()) < 0.35  # 40 of 1600 pixels are clipped, what is left of them is not
    assert 0.85 < pulls.std() < 1.15


def test_the_region_is_outside_a_circle():
    assert far_from((5, 7), (3.0, 2.0), 2.9).sum() == 35 - np.sum(np.hypot(*np.mgrid[-2:3, -3:4]) <= 2.9)
    corners = far_from((64, 64), (31.5, 31.5), None)
    assert corners[0, 0]
    assert not corners[32, 1]
    assert corners.mean() == pytest.approx(1 - np.pi / 4, abs=0.01)
    assert far_from((8, 8), (-3.0, 4.0), None).all()  # the star is outside: all is far


def test_too_few_pixels_are_told():
    images, good = np.ones((2, 20, 20)), np.ones((2, 20, 20), bool)
    good[1] = False
    with pytest.raises(DataError, match=r"image\(s\) \[1\] have fewer than 100 good pixels there"):
        level(images, good, where=np.ones((20, 20), bool))
