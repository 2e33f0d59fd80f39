"""Frames correlated with their own PSF."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.signal import convolve, correlate

from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import GaussianPSF
from corontools.errors import DataError
from corontools.warp.likelihood import likelihood

SHAPE = (120, 90)
PSF = GaussianPSF(1.8, 21)
STAMP = PSF.kernels([0.0], [0.0])[0]


@dataclass(frozen=True)
class Comma:
    """A PSF that differs from its mirror image."""

    size: int = 11

    def kernels(self, x, y):
        stamp = np.zeros((11, 11))
        stamp[5, 5], stamp[5, 6], stamp[4, 5] = 0.5, 0.3, 0.2
        return np.repeat(stamp[None], np.size(x), axis=0)

    def sigma(self, x, y):
        return np.full(np.size(x), 1.0)


def frame(image, *, hole=None, variance=4.0):
    hole = np.zeros(image.shape, bool) if hole is None else hole
    return MaskedImage(
        np.where(hole, np.nan, image), np.where(hole, int(Plane.NO_DATA), 0).astype(np.int32),
        np.where(hole, np.inf, np.full(image.shape, variance)),
    )  # fmt: skip


def star(flux=100.0, x=40, y=60, stamp=STAMP):
    image, half = np.zeros(SHAPE), len(stamp) // 2
    image[y - half : y + half + 1, x - half : x + half + 1] += flux * stamp
    return image


def test_it_is_the_correlation_with_the_psf_and_the_variance_with_its_square():
    image, psf = np.random.default_rng(1).normal(size=SHAPE), Comma()
    stamp = psf.kernels([0], [0])[0]
    found = likelihood(frame(image), psf)
    np.testing.assert_allclose(found.frame.image, correlate(image, stamp, mode="same"), atol=1e-5)
    variance = convolve(np.full(SHAPE, 4.0), stamp[::-1, ::-1] ** 2, mode="same")
    inner = (slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(found.frame.variance[inner], variance[inner], rtol=1e-5)


@pytest.mark.parametrize("psf", [PSF, Comma()])
def test_the_flux_of_a_star_is_found_at_its_place(psf):
    found = likelihood(frame(star(stamp=psf.kernels([0], [0])[0])), psf)
    assert np.unravel_index(np.nanargmax(found.flux.image), SHAPE) == (60, 40)
    assert found.flux.image[60, 40] == pytest.approx(100, rel=1e-5)


def test_a_star_half_masked_keeps_its_flux():
    hole = np.zeros(SHAPE, bool)
    hole[61:64, 38:43] = True
    found = likelihood(frame(star(), hole=hole), PSF)
    assert found.flux.image[60, 40] == pytest.approx(100, rel=1e-5)
    assert not found.frame.has(Plane.NO_DATA)[60, 40]
    assert found.flux.variance[60, 40] > 4 / (STAMP**2).sum()


def test_flux_and_error_are_those_of_a_fit_of_the_psf():
    rng = np.random.default_rng(2)
    hole = rng.random(SHAPE) < 0.05
    image = star() + rng.normal(0, 2, SHAPE)
    found = likelihood(frame(image, hole=hole), PSF)
    cut = (slice(50, 71), slice(30, 51))
    good = ~hole[cut]
    fit = np.linalg.lstsq(STAMP[good][:, None], image[cut][good], rcond=None)[0][0]
    assert found.flux.image[60, 40] == pytest.approx(fit, rel=1e-5)
    assert found.flux.variance[60, 40] == pytest.approx(4 / (STAMP[good] ** 2).sum(), rel=1e-5)


def test_significances_of_noise_have_unit_scatter():
    image = np.random.default_rng(3).normal(0, 2, (300, 300))
    found = likelihood(frame(image), PSF)
    # of 90000 pixels some 40 share their noise
    assert np.nanstd(found.snr) == pytest.approx(1, abs=0.05)
    assert found.norm.shape == (300, 300)


def test_pixels_with_too_little_of_the_psf_have_no_data():
    hole = np.indices(SHAPE)[0] < 60
    found = likelihood(frame(np.ones(SHAPE), hole=hole), PSF)
    empty = found.frame.has(Plane.NO_DATA)[:, 45]
    assert empty[:59].all()
    assert not empty[60:100].any()
    assert np.isnan(found.flux.image[:59, 45]).all()
    assert np.isinf(found.flux.variance[:59, 45]).all()


def test_bits_reach_two_sigma():
    start = frame(np.zeros(SHAPE)).marked(np.indices(SHAPE)[1] == 45, Plane.SAT)
    found = likelihood(start, PSF).frame.has(Plane.SAT)[50]
    np.testing.assert_array_equal(found, np.abs(np.arange(90) - 45) <= 4)


def test_its_psf_is_the_psf_correlated_with_itself():
    found = likelihood(frame(star()), PSF)
    assert found.psf.kernels([40.0], [60.0]).shape == (1, 41, 41)
    np.testing.assert_allclose(found.frame.image[40:81, 20:61], 100 * found.psf.kernels([40.0], [60.0])[0], atol=1e-5)


def test_what_can_not_be_correlated_is_an_error():
    with pytest.raises(DataError, match="no pixel of the frame has data"):
        likelihood(frame(np.ones(SHAPE), hole=np.ones(SHAPE, bool)), PSF)
    with pytest.raises(DataError, match="variance isn't finite"):
        likelihood(frame(np.ones(SHAPE), variance=np.inf), PSF)
    with pytest.raises(DataError, match="part of 1"):
        likelihood(frame(np.ones(SHAPE)), PSF, least=0.0)
