"""Convolution with a kernel that changes over the image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.signal import convolve

from corontools.arrays.varying import Term, gather_bits, sum_varying
from corontools.errors import DataError

RNG = np.random.default_rng(3)
DIRECT, FOURIER = 9, 35  # sizes that are summed tap by tap, and by Fourier transforms


def constant(kernel):
    return lambda x, y: np.repeat(kernel[None], len(x), axis=0)


def brute_force(plane, kernel_at):
    """Sum for each pixel with its own kernel."""
    y, x = (v.ravel().astype(float) for v in np.indices(plane.shape))
    kernels = kernel_at(x, y)
    half = kernels.shape[1] // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(plane, half), kernels.shape[1:])
    turned = kernels[:, ::-1, ::-1].reshape(*plane.shape, *kernels.shape[1:])
    return np.einsum("yxij,yxij->yx", turned, windows)


@pytest.mark.parametrize("size", [DIRECT, FOURIER])
@pytest.mark.parametrize("shape", [(90, 71), (40, 133)])
def test_a_constant_kernel_gives_the_convolution(size, shape):
    plane, kernel = RNG.normal(size=shape), RNG.normal(size=(size, size))
    image, variance = sum_varying([Term(plane), Term(plane**2, np.square)], constant(kernel))
    np.testing.assert_allclose(image, convolve(plane, kernel, mode="same", method="direct"), atol=1e-9)
    np.testing.assert_allclose(variance, convolve(plane**2, kernel**2, mode="same", method="direct"), atol=1e-9)


@pytest.mark.parametrize("size", [DIRECT, FOURIER])
def test_a_kernel_that_is_linear_in_the_place_is_exact(size):
    plane, parts = RNG.normal(size=(75, 68)), RNG.normal(size=(3, size, size))

    def at(x, y):
        return parts[0] + (x / 70)[:, None, None] * parts[1] + (y / 70)[:, None, None] * parts[2]

    np.testing.assert_allclose(sum_varying([Term(plane)], at, step=20)[0], brute_force(plane, at), atol=1e-9)


def test_a_curved_kernel_errs_by_the_square_of_the_step():
    plane = RNG.normal(size=(128, 128))
    parts = RNG.normal(size=(2, DIRECT, DIRECT))

    def at(x, y):
        return parts[0] + ((x / 64 - 1) ** 2)[:, None, None] * parts[1]

    exact = brute_force(plane, at)
    errors = [np.abs(sum_varying([Term(plane)], at, step=step)[0] - exact).max() for step in (32, 16)]
    # of a parabola between two places: at most the second difference over 8
    assert errors[0] <= 2 / 64**2 * 32**2 / 8 * np.abs(convolve(plane, parts[1], mode="same")).max() * 1.1
    assert errors[1] < 0.35 * errors[0]


@pytest.mark.parametrize("size", [DIRECT, FOURIER])
def test_what_lies_beyond_the_edges_counts_as_told(size):
    kernel = RNG.uniform(size=(size, size))
    found = sum_varying([Term(np.zeros((60, 50)), np.positive, 2.0)], constant(kernel))[0]
    padded = np.pad(np.zeros((60, 50)), size, constant_values=2.0)
    np.testing.assert_allclose(found, convolve(padded, kernel, mode="same")[size:-size, size:-size], atol=1e-9)


def test_planes_of_one_value_are_summed_as_any_other():
    parts = RNG.uniform(size=(2, DIRECT, DIRECT))

    def at(x, y):
        return parts[0] + (x / 100)[:, None, None] * parts[1]

    ones = np.ones((120, 110), np.uint8)
    np.testing.assert_allclose(sum_varying([Term(ones)], at)[0], brute_force(ones, at), atol=1e-9)


@pytest.mark.parametrize("size", [DIRECT, FOURIER])
def test_where_a_kernel_is_unknown_the_nearest_counts(size):
    plane, kernel = RNG.normal(size=(100, 80)), RNG.normal(size=(size, size))

    def at(x, y):
        return np.where((x > 50)[:, None, None], np.nan, kernel)

    np.testing.assert_allclose(sum_varying([Term(plane)], at)[0], convolve(plane, kernel, mode="same"), atol=1e-9)


def test_planes_in_single_precision_are_summed_in_double():
    plane, kernel = RNG.normal(size=(64, 64)).astype(np.float32), RNG.normal(size=(5, 5))
    before = plane.copy()
    found = sum_varying([Term(plane)], constant(kernel))[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, convolve(plane.astype(float), kernel, mode="same"), atol=1e-12)
    np.testing.assert_array_equal(plane, before)


@pytest.mark.parametrize("size", [DIRECT, FOURIER])
@pytest.mark.parametrize("kind", [">f4", ">f8", "<f4", "u1", "i2"])
def test_a_plane_of_any_type_and_order_is_summed_as_its_values(size, kind):
    plane, kernel = RNG.integers(0, 100, (64, 71)).astype(kind), RNG.normal(size=(size, size))
    for one in (plane, np.asfortranarray(plane)):
        for rough in (False, True):
            found = sum_varying([Term(one, np.square, 1.0, rough)], constant(kernel))[0]
            same = sum_varying([Term(plane.astype(float), np.square, 1.0, rough)], constant(kernel))[0]
            np.testing.assert_array_equal(found, same.astype(found.dtype))


def test_an_even_kernel_and_one_unknown_everywhere_are_errors():
    with pytest.raises(DataError, match="odd size"):
        sum_varying([Term(np.ones((9, 9)))], constant(np.ones((4, 4))))
    with pytest.raises(DataError, match="no kernel over the image is finite"):
        sum_varying([Term(np.ones((9, 9)))], constant(np.full((3, 3), np.nan)))


@pytest.mark.parametrize(("kind", "bits"), [(np.int32, 12), (np.uint8, 8), (bool, 1), (">i2", 9)])
@pytest.mark.parametrize("reach", [0, 1, 4, 10, 60])
def test_bits_are_gathered_over_a_box(reach, kind, bits):
    mask = (RNG.integers(0, 1 << bits, (150, 47)) * (RNG.random((150, 47)) < 0.01)).astype(kind)
    found = gather_bits(mask, reach)
    for bit in range(bits):
        spread = ndimage.maximum_filter(mask & (1 << bit) != 0, 2 * reach + 1, mode="constant")
        np.testing.assert_array_equal(found & (1 << bit) != 0, spread)
    assert found.dtype == mask.dtype


def test_rough_sums_are_exact_for_one_value_and_near_for_a_smooth_plane():
    y, x = np.indices((150, 140))
    along = np.arange(DIRECT) - DIRECT // 2
    squares = along**2 + along[:, None] ** 2

    def at(x, y):
        kernels = np.exp(-squares / (2 * (1.2 + 0.005 * x + 0.002 * y)[:, None, None] ** 2))
        return kernels / kernels.sum(axis=(1, 2), keepdims=True)

    plane = 1 + 10 * np.exp(-((x - 70) ** 2 + (y - 60) ** 2) / 50.0)
    for one, tolerance in ((plane, 2e-3), (np.full(x.shape, 3.0), 1e-6)):
        exact = sum_varying([Term(one, np.square, one[0, 0])], at)[0]
        rough = sum_varying([Term(one, np.square, one[0, 0], rough=True)], at)[0]
        np.testing.assert_allclose(rough, exact, rtol=tolerance)
    # a single other pixel keeps the tiles from being taken for those of one value
    speck = np.full(x.shape, 3.0)
    speck[75, 70] = 3.000001
    found = [sum_varying([Term(speck, np.square, 3.0, rough=rough)], at)[0] for rough in (True, False)]
    np.testing.assert_allclose(*found, rtol=1e-6)
