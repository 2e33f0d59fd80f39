"""Sums, medians, outliers and artefacts of images on the same pixels."""

from __future__ import annotations

import numpy as np
import pytest

from corontools.arrays.artifacts import Spots, drawn, few_epochs, rare, significance, spots
from corontools.arrays.coadd import (
    accumulate,
    borders,
    mean_variance,
    median_factors,
    medians,
    no_sums,
    outliers,
    sky_variance,
)

SHAPE = (300, 40)


@pytest.fixture
def images():
    """Images, variances and masks with gaps of each kind."""
    rng = np.random.default_rng(3)
    image = rng.normal(10, 3, (5, *SHAPE)).astype(np.float32)
    variance = rng.uniform(1, 4, image.shape).astype(np.float32)
    mask = rng.choice([0, 0, 0, 1, 2, 4], image.shape).astype(np.int32)
    image[0, :20], variance[1, 5:30, ::3], variance[2, :4] = np.nan, np.inf, -1.0
    image[:, 7, 7] = np.nan
    return image, variance, mask


def test_the_mean_is_that_of_numpy_with_weights_and_scales(images):
    image, variance, mask = images
    weights, scales = np.array([1, 0.5, 2, 3, 0.1]), np.array([1, 2, 0.5, 1, 1.1])
    sums = no_sums(SHAPE)
    for one in range(5):
        accumulate(
            sums, image[one], variance[one], mask[one], weight=weights[one], scale=scales[one], left_out=2
        )  # fmt: skip
    good = np.isfinite(image) & np.isfinite(variance) & (variance >= 0) & ((mask & 2) == 0)
    w = good * weights[:, None, None]
    scaled = np.where(good, image.astype(float) * scales[:, None, None], 0)
    spread = np.where(good, variance.astype(float) * scales[:, None, None] ** 2, 0)
    with np.errstate(invalid="ignore"):
        mean = (w * scaled).sum(0) / w.sum(0)
        expected = (w**2 * spread).sum(0) / w.sum(0) ** 2
    np.testing.assert_allclose(sums.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(sums.variance, np.where(good.any(0), expected, np.inf), rtol=1e-12)
    np.testing.assert_array_equal(sums.depth, good.sum(0))
    np.testing.assert_array_equal(sums.bits, np.bitwise_or.reduce(np.where(good, mask, 0), axis=0))
    np.testing.assert_array_equal(sums.lost, np.bitwise_or.reduce(np.where(good, 0, mask), axis=0))
    assert np.isnan(sums.mean[7, 7])
    assert np.isinf(sums.variance[7, 7])


def test_skipped_pixels_do_not_count_and_byte_order_does_not_matter(images):
    image, variance, mask = images
    skip = np.zeros(SHAPE, bool)
    skip[100:110] = True
    native, swapped = no_sums(SHAPE), no_sums(SHAPE)
    accumulate(native, image[3], variance[3], mask[3], weight=1.0, skip=skip)
    accumulate(swapped, image[3].astype(">f4"), variance[3].astype(">f4"), mask[3].astype(">i4"), weight=1.0, skip=skip)
    assert not native.depth[100:110].any()
    for one, other in zip(native, swapped, strict=True):
        np.testing.assert_array_equal(one, other)


def test_inputs_are_not_changed(images):
    image, variance, mask = images
    before = [array.copy() for array in images]
    accumulate(no_sums(SHAPE), image[0], variance[0], mask[0], weight=2.0, scale=3.0, left_out=1)
    medians(image, variance)
    outliers(image, np.abs(variance))
    for old, now in zip(before, images, strict=True):
        np.testing.assert_array_equal(old, now)


def test_the_median_is_that_of_numpy(images):
    image = np.where(images[2] == 1, np.nan, images[0])
    found = medians(image, np.ones_like(image))
    empty = ~np.isfinite(image).any(0)
    np.testing.assert_array_equal(found.image[~empty], np.nanmedian(image[:, ~empty].astype(float), axis=0))
    np.testing.assert_array_equal(found.depth, np.isfinite(image).sum(0))
    assert np.isnan(found.image[empty]).all()
    assert np.isinf(found.variance[empty]).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 9, 16, 25, 40])
def test_the_variance_of_a_median_is_what_it_scatters(n):
    values = np.random.default_rng(n).normal(0, 2.0, (n, 200, 300))
    found = medians(values, np.full(values.shape, 4.0))
    # 60000 medians: their variance is known to 0.6 %
    assert found.image.var() / found.variance[0, 0] == pytest.approx(1.0, abs=0.025)


@pytest.mark.parametrize(("n", "tolerance"), [(2, 0.025), (5, 0.08), (15, 0.04), (41, 0.03)])
def test_the_variance_of_a_median_of_unlike_images(n, tolerance):
    rng = np.random.default_rng(n)
    variances = np.broadcast_to(np.linspace(1, 4, n)[:, None, None], (n, 200, 300))
    found = medians(rng.normal(0, np.sqrt(variances)), variances)
    assert found.image.var() / found.variance[0, 0] == pytest.approx(1.0, abs=tolerance)


def test_the_factor_of_a_median_goes_to_half_pi():
    factors = median_factors(4000)
    assert len(factors) == 4001
    # tabulated moments of normal order statistics (Teichroew 1956): the middle one of three has the variance 0.448671,
    # those of four have 0.360455 and the covariance 0.235944
    np.testing.assert_allclose(factors[3:5] / (3, 4), (0.448671, (0.360455 + 0.235944) / 2), rtol=1e-5)
    assert abs(factors[-1] - np.pi / 2) < 1e-3
    # no step where the table ends
    assert np.all(np.diff(factors[5::2])[:20] > 0)
    assert np.all(np.diff(factors[4::2])[:20] > 0)


def test_an_outlier_goes_and_a_star_under_changing_seeing_stays():
    rng, side = np.random.default_rng(5), 41
    y, x = np.mgrid[:side, :side] - side // 2
    widths = np.array([1.8, 2.0, 2.2, 1.9, 2.1])[:, None, None]
    star = 2000 / (2 * np.pi * widths**2) * np.exp(-0.5 * (x**2 + y**2) / widths**2)
    values = star + rng.normal(0, 1, star.shape)
    values[1, 5, 5] += 30
    values[3, 20, 20] += 300
    found = outliers(values, np.ones_like(values))
    assert found[1, 5, 5]
    assert found[3, 20, 20]
    assert found.sum() < 20
    strict = outliers(values, np.ones_like(values), amplitude=0.0)
    near = np.hypot(x, y) < 4
    assert strict[:, near].sum() > 5 * found[:, near].sum()


def test_two_values_that_disagree_lose_the_higher_one():
    values = np.array([[[5.0]], [[50.0]]])
    assert outliers(values, np.ones_like(values)).ravel().tolist() == [False, True]


def test_borders_are_pixels_with_another_neighbour():
    cover = np.random.default_rng(2).random((30, 20)) > 0.2
    padded = np.pad(cover, 1, mode="edge")
    around = [padded[1 + dy : 31 + dy, 1 + dx : 21 + dx] for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0))]
    np.testing.assert_array_equal(borders(cover), np.any([one != cover for one in around], axis=0))


def test_weights_are_those_of_the_sky_not_of_stars():
    rng = np.random.default_rng(6)
    light = np.zeros((200, 200))
    light[50:60, 50:60] = 5000
    variance = (100 + light).astype(np.float32)
    image = rng.normal(light, np.sqrt(variance)).astype(np.float32)
    good = np.ones(light.shape, bool)
    assert mean_variance(variance, good) == pytest.approx(100.0)
    # what is clipped at 3 sigma of a normal distribution takes 3 % of its variance
    assert sky_variance(image, good) == pytest.approx(97.0, rel=0.03)
    assert np.isnan(mean_variance(variance, ~good))


def test_significance_allows_for_noise_of_both_and_for_the_light_of_stars():
    one = np.full((1, 3), 1.0)
    image, model = np.array([[14.0, 1004.0, np.nan]]), np.array([[10.0, 1000.0, 5.0]])
    found = significance(image, 0.5 * one, model, 0.5 * one, tolerance=0.01)
    np.testing.assert_allclose(found, [[4 / np.sqrt(1 + 0.01), 4 / np.sqrt(1 + 100), np.nan]])


def test_spots_are_connected_regions_of_either_sign():
    away = np.zeros((20, 20))
    away[2, 2:9], away[10:13, 10], away[19, 19] = 9, -7, 30
    found = spots(away, threshold=5.0, min_pixels=2)
    np.testing.assert_array_equal(drawn(found, away.shape), (np.abs(away) > 5) & (away < 20))
    assert np.bincount(found.labels).tolist() == [7, 3]
    grown = drawn(found, away.shape, grow=2)
    assert grown[4, 4]
    assert not grown[5, 4]


def test_rare_keeps_what_few_images_show():
    count = np.zeros((10, 10), int)
    count[1], count[5], count[5, :3] = 1, 7, 1
    found = Spots(np.concatenate([np.arange(10, 20), np.arange(50, 60)]), np.repeat([0, 1], 10))
    assert set(rare(found, count, limit=np.full((10, 10), 2)).pixels) == set(range(10, 20))
    assert rare(found, count, limit=np.zeros((10, 10), int)).pixels.size == 0
    assert rare(Spots(found.pixels[:0], found.labels[:0]), count, limit=count).pixels.size == 0


def test_few_epochs_follow_their_number():
    assert few_epochs([1, 2, 3, 4, 5, 6, 50, 200]).tolist() == [0, 0, 1, 1, 2, 2, 3, 8]


def test_each_pixel_may_have_a_weight_of_its_own(images):
    image, variance, mask = images
    weight = np.random.default_rng(5).uniform(0.5, 2.0, image.shape)
    weight[2, 50:60] = 0.0  # doesn't count
    sums = no_sums(SHAPE)
    for one in range(5):
        accumulate(sums, image[one], variance[one], mask[one], weight=weight[one])
    good = np.isfinite(image) & np.isfinite(variance) & (variance >= 0) & (weight > 0)
    w = np.where(good, weight, 0.0)
    with np.errstate(invalid="ignore"):
        mean = (w * np.where(good, image, 0)).sum(0, dtype=float) / w.sum(0)
        spread = (w**2 * np.where(good, variance, 0)).sum(0, dtype=float) / w.sum(0) ** 2
    np.testing.assert_allclose(sums.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(sums.variance, np.where(good.any(0), spread, np.inf), rtol=1e-12)
    np.testing.assert_array_equal(sums.depth, good.sum(0))


def test_float64_images_are_summed_as_they_are():
    sums, tiny = no_sums((2, 3)), np.full((2, 3), 1e-50)
    accumulate(sums, 1e-25 + tiny, tiny, np.zeros((2, 3), np.int32), weight=2.0)
    np.testing.assert_allclose(sums.mean, 1e-25, rtol=1e-12)
    np.testing.assert_allclose(sums.variance, 1e-50, rtol=1e-12)
