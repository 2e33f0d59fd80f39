"""Noise that warped pixels share, against the whole matrix of weights and against noise itself."""

import numpy as np
import pytest

from corontools.arrays.covariance import covariance_factor
from corontools.arrays.warp import lay_nodes, warp_image

KERNEL = np.random.default_rng(3).normal(size=(7, 7)) + 0.5


def turned(angle, scale=1.0, shift=(0.0, 0.0)):
    """Map of the warp's x, y onto the source, and its linear part for (y, x)."""
    c, s = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    affine = np.array([[c, s], [-s, c]])

    def to_source(x, y):
        py, px = affine @ np.array([np.asarray(y) - 20.0, np.asarray(x) - 20.0])
        return px + 20 + shift[1], py + 20 + shift[0]

    return to_source, affine


def weights(to_source, kernel):
    """What each pixel of the warp takes of each pixel of the source, by warping single pixels: (41, 41, 41 * 41)."""
    nodes = lay_nodes(to_source, (41, 41), step=1)
    ones, none = np.ones((41, 41)), np.zeros((41, 41), np.int32)
    found = [
        warp_image(one.reshape(41, 41), ones, none, nodes, shape=(41, 41), kernel=kernel, conserve="brightness").image
        for one in np.eye(41 * 41, dtype=np.float32)
    ]
    return np.stack(found, axis=-1).astype(float)


@pytest.mark.parametrize(
    ("kernel", "angle", "scale", "shift"),
    [("lanczos3", 23.0, 1.0, (0, 0)), ("bilinear", 0.0, 1.0, (0.5, 0.3)), ("lanczos3", 70.0, 1.3, (0.2, 0.4))],
)
def test_the_factor_is_that_of_all_weights(kernel, angle, scale, shift):
    to_source, affine = turned(angle, scale, shift)
    all_weights = weights(to_source, kernel)
    x, y = 21, 19
    around = all_weights[y - 3 : y + 4, x - 3 : x + 4][::-1, ::-1]
    whole = (np.tensordot(KERNEL, around, 2) ** 2).sum()
    alone = (KERNEL**2 * (around**2).sum(axis=-1)).sum()
    place = [float(v) for v in to_source(x, y)[::-1]]
    found = covariance_factor(KERNEL[None], [place], [affine], kernel=kernel)
    np.testing.assert_allclose(found, whole / alone, rtol=2e-4)


def test_pixels_that_are_only_copied_share_nothing():
    np.testing.assert_allclose(covariance_factor(KERNEL[None], [(5.0, 9.0)], [np.eye(2)]), 1.0, atol=1e-12)


def test_a_broad_kernel_brings_back_the_noise_of_the_source():
    along = np.exp(-0.5 * (np.arange(-12, 13) / 3.0) ** 2)
    broad = np.outer(along, along) / along.sum() ** 2
    _, affine = turned(20.0)
    places = np.random.default_rng(1).uniform(10, 30, (50, 2))
    factor = covariance_factor(np.repeat(broad[None], 50, 0), places, np.repeat(affine[None], 50, 0))
    # the variance of a warped pixel between pixels is 0.91^2 of that of the source
    np.testing.assert_allclose(factor, 1 / 0.909**2, rtol=0.04)
