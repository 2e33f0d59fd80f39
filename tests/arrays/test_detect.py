"""Detection against scipy, and the same rules written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from corontools.arrays.detect import (
    Smoothed,
    dilated,
    extents,
    gaussian_kernel,
    labelled,
    peaks,
    regions,
    smoothed,
)
from corontools.errors import DataError

EIGHT = np.ones((3, 3))


@pytest.fixture
def field():
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:120, :150]
    image = rng.normal(0, 2, (120, 150))
    for cy, cx, height in zip(rng.uniform(0, 120, 30), rng.uniform(0, 150, 30), rng.uniform(4, 90, 30), strict=True):
        image += height * np.exp(-0.5 * ((y - cy) ** 2 + (x - cx) ** 2) / 1.8**2)
    return image, rng.uniform(3, 5, image.shape)


@pytest.mark.parametrize(("sigma", "size"), [(1.0, 7), (1.7, 13), (1.5, 11), (0.4, 3)])
def test_the_kernel_is_as_wide_as_told(sigma, size):
    kernel = gaussian_kernel(sigma)
    assert kernel.size == size
    assert kernel[0] / kernel[size // 2] == pytest.approx(np.exp(-0.5 * (size // 2 / sigma) ** 2))


def test_smoothing_is_a_convolution_and_the_noise_that_of_the_weights(field):
    image, variance = field
    kernel = gaussian_kernel(1.7)
    two = np.outer(kernel, kernel)
    found = smoothed(image, variance, np.zeros(image.shape, bool), kernel=kernel)
    height = ndimage.convolve(image, two, mode="constant")
    np.testing.assert_allclose(found.height, height, atol=1e-10)
    np.testing.assert_allclose(
        found.significance, height / np.sqrt(ndimage.convolve(variance, two**2, mode="constant")), atol=1e-10
    )


def test_single_precision_stays_single_and_agrees(field):
    image, variance = (a.astype(np.float32) for a in field)
    none = np.zeros(image.shape, bool)
    single = smoothed(image, variance, none, kernel=gaussian_kernel(1.7))
    double = smoothed(image.astype(float), variance.astype(float), none, kernel=gaussian_kernel(1.7))
    assert single.height.dtype == single.significance.dtype == np.float32
    np.testing.assert_allclose(single.significance, double.significance, rtol=1e-5, atol=1e-4)


def test_pixels_left_out_count_neither_in_signal_nor_noise(field):
    image, variance = (a.copy() for a in field)
    left_out = np.random.default_rng(1).random(image.shape) < 0.05
    left_out[40:60, 70:90] = True
    image[left_out], variance[left_out] = np.nan, np.inf
    kernel = gaussian_kernel(1.7)
    two = np.outer(kernel, kernel)
    found = smoothed(image, variance, left_out, kernel=kernel)
    height = ndimage.convolve(np.where(left_out, 0, image), two, mode="constant")
    noise = np.sqrt(ndimage.convolve(np.where(left_out, 0, variance), two**2, mode="constant"))
    cover = ndimage.convolve((~left_out).astype(float), two, mode="constant")
    assert np.isnan(found.significance[50, 80])
    np.testing.assert_array_equal(np.isnan(found.significance), cover < 0.5)
    seen = cover >= 0.5
    np.testing.assert_allclose(found.significance[seen], height[seen] / noise[seen], atol=1e-9)


def test_an_image_smaller_than_the_kernel_is_told():
    with pytest.raises(DataError, match=r"\(5, 40\) px is smaller than the 13 px"):
        smoothed(np.ones((5, 40)), np.ones((5, 40)), np.zeros((5, 40), bool), kernel=gaussian_kernel(1.7))


@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.9])
def test_labels_are_those_of_scipy(share):
    mask = np.random.default_rng(3).random((80, 91)) < share
    labels, n = labelled(mask)
    expected, count = ndimage.label(mask, EIGHT)
    assert n == count
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (2, 2), (31, 31)])
def test_labels_of_narrow_and_chequered_masks(shape):
    mask = (np.add.outer(np.arange(shape[0]) % 2, np.arange(shape[1]) % 2)) == 0
    labels, n = labelled(mask)
    assert n == ndimage.label(mask, EIGHT)[1]
    assert (labels > 0).sum() == mask.sum()


def test_extents_are_those_of_scipy(field):
    image, _ = field
    labels, n = ndimage.label(image > 6, EIGHT)
    boxes, counts, highest = extents(labels.astype(np.int32), image, n)
    for k, (rows, columns) in enumerate(ndimage.find_objects(labels)):
        assert boxes[k].tolist() == [columns.start, rows.start, columns.stop - 1, rows.stop - 1]
    np.testing.assert_array_equal(counts, np.bincount(labels.ravel())[1:])
    np.testing.assert_allclose(highest, ndimage.maximum(image, labels, np.arange(1, n + 1)))


@pytest.mark.parametrize("radius", [0, 1, 4, 9])
def test_dilation_reaches_all_within_the_radius(radius):
    mask = np.random.default_rng(2).random((50, 64)) < 0.01
    expected = ndimage.distance_transform_edt(~mask) <= radius
    np.testing.assert_array_equal(dilated(mask, radius=radius), expected)


def test_regions_keep_to_threshold_and_multiplier(field):
    image, variance = field
    found = smoothed(image, variance, np.zeros(image.shape, bool), kernel=gaussian_kernel(1.8))
    made = regions(found, threshold=5, at_least=15, min_pixels=20)
    labels, n = ndimage.label(found.significance > 5, EIGHT)
    highest = ndimage.maximum(found.significance, labels, np.arange(1, n + 1))
    kept = [k for k in range(1, n + 1) if highest[k - 1] >= 15 and (labels == k).sum() >= 20]
    assert 3 < len(kept) < n
    np.testing.assert_array_equal(made.labels > 0, np.isin(labels, kept))
    assert made.labels.max() == len(kept)


def test_peaks_are_the_local_maxima_highest_first(field):
    image, variance = field
    found = smoothed(image, variance, np.zeros(image.shape, bool), kernel=gaussian_kernel(1.8))
    made = regions(found, threshold=5, at_least=5)
    top = found.height == ndimage.maximum_filter(found.height, footprint=EIGHT, mode="constant", cval=-np.inf)
    expected = {(int(y), int(x)) for y, x in np.argwhere(top & (made.labels > 0))}
    assert {(int(y), int(x)) for y, x in made.peaks} == expected
    of, height = made.labels[*made.peaks.T], found.height[*made.peaks.T]
    assert (np.diff(of) >= 0).all()
    assert (np.diff(height)[np.diff(of) == 0] <= 0).all()


def test_a_plateau_has_one_peak_and_a_shoulder_none():
    height = np.zeros((20, 30))
    height[5:10, 5:12] = 7.0
    height[6, 12] = 7.0
    height[12:15, 20:25] = 7.0
    height[13, 25] = 8.0
    found = Smoothed(height, height)
    labels = labelled(height > 5)[0]
    assert peaks(found, labels, inside=labels > 0).tolist() == [[7, 8], [13, 25]]


def test_a_region_cut_by_the_edge_has_a_peak_where_it_is_cut():
    y, x = np.mgrid[:30, :30]
    height = 100 * np.exp(-0.5 * ((y - 2.0) ** 2 + (x - 15.0) ** 2) / 3.0**2)
    significance = height.copy()
    significance[:6] = np.nan
    made = regions(Smoothed(height, significance), threshold=5, at_least=10)
    assert made.peaks.tolist() == [[6, 15]]
