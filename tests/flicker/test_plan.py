"""Noise of one image."""

from __future__ import annotations

import numpy as np
import pytest

from corontools import Exposure, FlickerCleaner
from corontools.flicker.plan import Plan, correlation_of_fits, fit_image, flattened
from corontools.flicker.readout import Readout


def test_an_image_without_a_good_pixel_has_no_fit():
    image = np.full((16, 16), np.nan)
    assert fit_image(image, np.ones((16, 16), bool), plan=Plan(), readout=Readout(1)) is None


def test_the_residual_is_what_is_left_of_the_background(rate):
    image = rate[0].astype(np.float64)
    found = fit_image(image.copy(), np.ones(image.shape, bool), plan=Plan(), readout=Readout(1))
    kept = np.isfinite(found.residual)
    assert not kept[30:36, 50:60].any()
    level = flattened(image.copy(), np.ones(image.shape, bool), plan=Plan()).level
    np.testing.assert_allclose((found.residual + level + found.noise)[kept], image[kept])


@pytest.mark.parametrize(("rho", "method"), [(-0.5, "median"), (-0.5, "fft"), (0.0, "median"), (0.3, "stream")])
def test_errors_of_fits_are_correlated_as_simulated(rho, method):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(6000, 101))
    b = rho * a + np.sqrt(1 - rho**2) * rng.normal(size=a.shape)
    levels = [np.median(x, axis=1) if method == "median" else x.mean(axis=1) for x in (a, b)]
    found = correlation_of_fits(a, b, method)
    np.testing.assert_allclose(found, np.corrcoef(*levels)[0, 1], atol=0.04)


def test_residuals_that_share_no_pixel_are_taken_as_independent():
    a, b = np.ones((2, 4)), np.ones((2, 4))
    a[0], b[1] = np.nan, np.nan
    assert correlation_of_fits(a, b, "median") == 0.0


def test_full_frames_are_fitted_by_waves_along_their_lines(meta):
    """Slow waves differ from line to line, so that no stream of a subarray follows them."""
    rng = np.random.default_rng(1)
    x = np.arange(2048)
    wave = rng.normal(0, 3.0, (2048, 2)) @ np.stack([np.sin(2 * np.pi * x / 2048), np.cos(4 * np.pi * x / 2048)])
    image = (wave + rng.normal(0, 2.0, wave.shape)).astype(np.float32)
    cleaner = FlickerCleaner(Exposure(image, meta=meta(SUBARRAY="FULL"))).mask_scene(n_sigma=0).fit_noise("fft")
    left = image - wave - cleaner.cleaned.data
    assert np.std(left) < 0.15 * np.std(wave)
    assert np.std(left) < 2 * np.median(cleaner.err)
