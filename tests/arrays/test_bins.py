from itertools import pairwise

import numpy as np
import pytest
from scipy.interpolate import Akima1DInterpolator

from corontools.arrays.bins import akima_grid, bin_centers, bin_edges, binned_levels
from corontools.errors import DataError


@pytest.fixture
def image():
    rng = np.random.default_rng(1)
    made = rng.normal(100, 5, (150, 210))
    made[rng.random(made.shape) < 0.05] += 300
    made[3, 4], made[100, 20] = np.nan, np.inf
    return made


def blocks(image, size):
    ys, xs = (bin_edges(n, size) for n in image.shape)
    for i in range(len(ys) - 1):
        for j in range(len(xs) - 1):
            yield (i, j), np.s_[ys[i] : ys[i + 1], xs[j] : xs[j + 1]]


def test_bins_cover_the_image_and_are_about_as_wide():
    for n, size in [(2048, 128), (2050, 128), (100, 128), (301, 100)]:
        edges = bin_edges(n, size)
        assert edges[0] == 0
        assert edges[-1] == n
        assert np.ptp(np.diff(edges)) <= 1
        assert len(edges) - 1 == -(-n // size)
        np.testing.assert_allclose(bin_centers(n, size), [np.arange(a, b).mean() for a, b in pairwise(edges)])


def test_levels_are_means_of_what_is_not_clipped(image):
    found = binned_levels(image, np.ones(image.shape, bool), size=64)
    for at, block in blocks(image, 64):
        values = image[block][np.isfinite(image[block])]
        middle, std = np.median(values), np.subtract(*np.percentile(values, [75, 25])) / 1.349
        for _ in range(3):
            kept = values[np.abs(values - middle) < 3 * std]
            middle, std = kept.mean(), kept.std()
        assert found.level[at] == pytest.approx(middle, abs=0.02 * found.error[at])
        assert found.error[at] == pytest.approx(std / np.sqrt(kept.size), rel=0.01)
        assert abs(middle - 100) < 4 * found.error[at]


def test_levels_can_be_medians(image):
    good = np.random.default_rng(2).random(image.shape) < 0.8
    found = binned_levels(image, good, size=64, statistic="median")
    for at, block in blocks(image, 64):
        values = image[block][np.isfinite(image[block]) & good[block]]
        assert found.level[at] == np.median(values)
        assert found.error[at] == pytest.approx(1.25 * 5 / np.sqrt(values.size), rel=0.15)


def test_pixels_that_do_not_count_have_no_say(image):
    good = np.ones(image.shape, bool)
    good[:70, :40] = False
    spoiled = np.where(good, image, 1e9)
    for one, other in zip(binned_levels(image, good, size=64), binned_levels(spoiled, good, size=64), strict=True):
        np.testing.assert_array_equal(one, other)
    good[:, :60] = False
    found = binned_levels(image, good, size=50)
    assert np.isnan(found.level[:, 0]).all()
    assert np.isfinite(found.level[:, 2:]).all()


@pytest.mark.parametrize("dtype", ["float32", ">f4", ">f8", "int16"])
def test_levels_do_not_depend_on_how_numbers_are_kept(dtype):
    image = np.random.default_rng(1).integers(90, 110, (40, 60))
    good = np.ones(image.shape, bool)
    np.testing.assert_allclose(
        binned_levels(image.astype(dtype), good, size=20).level, binned_levels(image.astype(float), good, size=20).level
    )


def test_an_akima_surface_is_that_of_scipy_between_the_bins():
    levels = np.random.default_rng(3).normal(size=(6, 5))
    found = akima_grid(levels, (120, 100), 20)
    y = bin_centers(120, 20)
    inside = np.arange(50, 70)  # the ends don't reach here
    for k, column in enumerate([9.5, 29.5]):
        expected = Akima1DInterpolator(y, levels[:, k])(inside)
        between = (found[inside][:, int(column)] + found[inside][:, int(column) + 1]) / 2
        np.testing.assert_allclose(between, expected, atol=0.05)


def test_an_akima_surface_follows_a_plane_to_the_edges_and_fills_gaps():
    y, x = np.indices((120, 100))
    plane = 3 + 0.02 * x - 0.01 * y
    levels = 3 + 0.02 * bin_centers(100, 20) - 0.01 * bin_centers(120, 20)[:, None]
    np.testing.assert_allclose(akima_grid(levels, (120, 100), 20), plane, atol=1e-5)
    levels[2, 2] = np.nan
    assert np.abs(akima_grid(levels, (120, 100), 20) - plane).max() < 0.5
    np.testing.assert_array_equal(akima_grid(np.array([[2.0]]), (4, 5), 10), np.full((4, 5), 2))


def test_wrong_shapes_and_values_are_refused():
    with pytest.raises(DataError, match="mask of its shape"):
        binned_levels(np.ones((3, 3)), np.ones((3, 4), bool))
    with pytest.raises(DataError, match='"meanclip" or "median"'):
        binned_levels(np.ones((3, 3)), np.ones((3, 3), bool), statistic="mode")
