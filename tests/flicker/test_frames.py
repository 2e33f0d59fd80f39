"""One image after the other."""

from __future__ import annotations

import numpy as np
import pytest

from corontools import DQ, Exposure, FlickerCleaner
from corontools.flicker.frames import Frames, Log
from corontools.flicker.plan import Plan
from corontools.flicker.readout import Readout


def frames(data, *, scales=None, **flags):
    mask = np.ones(data.shape[-2:], bool)
    plan = Plan(background="median_image" if scales is not None else "median")
    return Frames(Exposure(data, **flags), mask, plan, Readout(1), scales=scales)


def test_images_are_differences_rates_or_deviations():
    ramp = np.random.default_rng(1).normal(size=(2, 3, 8, 9)).astype(np.float32)
    groups, rates, apart = frames(ramp), frames(ramp[0]), frames(ramp, scales=np.ones(2))
    assert groups.indices == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert rates.indices == [(0, 0), (1, 0), (2, 0)]
    assert apart.indices == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    np.testing.assert_array_equal(groups.image(1, 2), ramp[1, 2] - ramp[1, 1])
    np.testing.assert_array_equal(rates.image(1, 0), ramp[0, 1])
    np.testing.assert_allclose(apart.image(1, 2), ramp[1, 2] - np.median(ramp[:, 2], axis=0), atol=1e-6)


def test_the_middle_is_the_median_of_what_is_there_made_equally_bright():
    cube = np.random.default_rng(1).normal(50, 1, (5, 130, 9))
    cube[2, 3, 4] = np.nan
    cube[:, 5, 6] = np.nan
    scales = np.array([1.0, 2.0, 1.0, 0.5, 1.0])
    middle = frames(cube, scales=scales).middle(0)
    expected = np.nanmedian(np.where(np.isfinite(cube), cube, np.nan)[:, :5] / scales[:, None, None], axis=0)
    np.testing.assert_allclose(middle[:5], expected)
    assert np.isnan(middle[5, 6])
    assert np.isnan(middle).sum() == 1


def test_flags_of_pixels_and_groups_count():
    data, dq, pixel = np.ones((1, 3, 4, 5)), np.zeros((1, 3, 4, 5), np.uint8), np.zeros((4, 5), np.uint32)
    dq[0, 1, 0, 0], dq[0, 2, 0, 1], dq[0, 2, 0, 2] = DQ.JUMP_DET, DQ.SATURATED, DQ.DROPOUT
    pixel[3, 4], pixel[3, 3] = DQ.DO_NOT_USE, DQ.HOT
    made = frames(data, dq=dq, pixel_dq=pixel)
    assert np.argwhere(~made.good(0, 1)).tolist() == [[0, 0], [3, 4]]
    assert np.argwhere(~made.good(0, 2)).tolist() == [[0, 1], [3, 4]]


@pytest.mark.parametrize(("log", "status"), [(Log(), "SKIPPED"), (Log(0, 3), "FAILED"), (Log(1, 3), "COMPLETE")])
def test_the_status_sums_it_up(log, status):
    assert log.status == status


def test_brightness_of_integrations_is_found_or_given(planted):
    ramp = planted(shape=(4, 4, 64, 256), source=0.0)
    y, x = np.mgrid[:64, :256]
    star = 3000 * np.exp(-np.hypot(y - 32, x - 128) / 10)
    flux = np.array([1.0, 1.1, 0.9, 1.05])
    ramp.data = (ramp.data + flux[:, None, None, None] * np.arange(1, 5)[:, None, None] * star).astype(np.float32)
    cleaner = FlickerCleaner(ramp.exposure())
    found = cleaner.fit_background("median_image").frames.scales
    np.testing.assert_allclose(found, flux / np.median(flux), atol=5e-3)
    given = cleaner.fit_background("median_image", flux=2 * flux).frames.scales
    np.testing.assert_allclose(given, flux / np.median(flux))
    rates = Exposure(ramp.data[:, 3], meta=ramp.exposure().meta)
    np.testing.assert_allclose(
        FlickerCleaner(rates).fit_background("median_image").frames.scales, flux / np.median(flux), atol=5e-3
    )


def test_an_integration_without_data_counts_as_bright_as_the_others(planted):
    ramp = planted(shape=(4, 3, 64, 256))
    ramp.data[2] = np.nan
    cleaner = FlickerCleaner(ramp.exposure()).fit_background("median_image")
    assert cleaner.frames.scales[2] == 1
    assert np.isfinite(cleaner.cleaned.data[[0, 1, 3]]).all()
    assert len(cleaner.notes) == 3
    ramp.data[:] = np.nan
    assert FlickerCleaner(ramp.exposure()).fit_background("median_image").log.status == "FAILED"


def test_a_cleaned_group_is_without_the_noise_of_all_differences_up_to_it():
    ramp = np.random.default_rng(2).normal(size=(2, 5, 16, 32)).astype(np.float32)
    ramp[1, 2] = np.nan  # two differences are not fitted
    made, out = frames(ramp), np.full(ramp.shape, 7.0, np.float32)
    made.correct_into(out)
    noise = np.zeros(ramp.shape)
    for i, j, found in made.fits():
        noise[i, j] = 0 if found is None else found.noise
    np.testing.assert_allclose(out, ramp - noise.cumsum(axis=1), atol=1e-6)


def test_infinite_values_are_no_data():
    ramp = np.random.default_rng(3).normal(20, 1, (3, 3, 16, 32)).astype(np.float32)
    ramp[0, 1, 2, 3], ramp[1, 1:, 4, 5] = np.inf, -np.inf
    for background in ("median", "median_image"):
        cleaner = FlickerCleaner(Exposure(ramp), axis=1).fit_background(background)
        assert np.isfinite(cleaner.cleaned.data).sum() == np.isfinite(cleaner.noise).sum() == ramp.size - 3
    assert frames(ramp).middle(1)[4, 5] == np.median(ramp[[0, 2], 1, 4, 5])


def test_an_error_that_nobody_knows_is_nan():
    """Lines of five pixels: their median is known, their scatter isn't."""
    image = np.random.default_rng(4).normal(10, 1, (8, 5))
    mask = np.ones(image.shape, bool)
    mask[3] = False
    for axis in (0, 1):
        turned = (image, mask) if axis else (image.T, mask.T)
        cleaner = FlickerCleaner(Exposure(turned[0]), axis=axis).use_mask(turned[1], n_sigma=0)
        np.testing.assert_array_equal(np.isnan(cleaner.err), turned[1])
        assert cleaner.notes == (f"integration 1: 1 of 8 {'rows' if axis else 'columns'} left unchanged",)


def test_a_given_flux_needs_no_draft_rate(planted):
    cleaner = FlickerCleaner(planted().exposure()).use_mask(np.ones((64, 256), bool))
    assert cleaner.fit_background("median_image", flux=[1.0, 3.0]).frames.scales.tolist() == [0.5, 1.5]
    assert "draft_rate" not in cleaner.__dict__


def test_of_the_median_of_integrations_the_sky_is_scaled_with_the_star():
    """What docs/flicker.md says of the sky, which is not taken apart."""
    star = np.zeros((32, 64))
    star[:, 20:30] = 1000.0
    flux = np.array([1.0, 0.98, 1.0])
    cleaner = FlickerCleaner(Exposure(flux[:, None, None] * star + 50.0), axis=1)
    cleaner = cleaner.use_mask(star == 0).fit_background("median_image", flux=flux)
    np.testing.assert_allclose(cleaner.cleaned.data[1][star == 0], 0.98 * 50.0)
    np.testing.assert_allclose(cleaner.cleaned.data[0][star == 0], 50.0)
