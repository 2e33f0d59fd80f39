"""Null test, injection test and power spectrum against what they measure."""

from __future__ import annotations

import numpy as np
import pytest

from corontools import DataError, Exposure, FlickerCleaner
from corontools.flicker.psd import line_power


def test_the_null_test_finds_the_error_of_medians(rate):
    cleaner = FlickerCleaner(Exposure(rate[0]), axis=1)
    test = cleaner.null_test(n=6)
    # of 256 px, some clipped; sigma is that of the image
    expected = np.sqrt(np.pi / 2 / 256)
    np.testing.assert_allclose(test.injected / test.sigma, expected, rtol=0.15)
    np.testing.assert_allclose(test.sigma, 2.0, rtol=0.1)
    np.testing.assert_allclose(test.under_sources / test.sigma, expected, rtol=0.3)
    assert test.level < 0.05 * test.sigma
    assert test.history[-1] == ".null_test(n=6, seed=1)"
    assert "put in" in repr(test)
    assert "<img" in test._repr_html_()
    assert test.digest() == cleaner.null_test(n=6).digest()


def test_a_fit_that_knows_the_spectrum_puts_in_less(rate):
    white = Exposure(np.random.default_rng(3).normal(5, 2.0, (128, 256)))
    median = FlickerCleaner(white, axis=1)
    assert median.fit_noise("stream").null_test().injected < 0.2 * median.null_test().injected


def test_the_injection_test_tells_what_is_removed(rate):
    cleaner = FlickerCleaner(Exposure(rate[0]), axis=1)
    weak, strong = cleaner.injection_test(alpha=0.5), cleaner.injection_test(alpha=2.0)
    assert weak.removed < strong.removed
    assert strong.removed > 0.5
    assert 0 < strong.under_sources < 1
    left = strong.left - strong.left.mean()
    assert np.isclose(1 - left.std() / strong.planted.std(), strong.removed, atol=0.2)
    assert "under sources" in repr(strong)
    assert strong._repr_html_().count("<img") == 2
    assert cleaner.injection_test(rms=4.0).rms == 4.0


def test_an_image_all_background_has_nothing_under_sources():
    image = Exposure(np.random.default_rng(3).normal(5, 2.0, (32, 64)))
    test = FlickerCleaner(image, axis=1).use_mask(np.ones((32, 64), bool), n_sigma=0).null_test()
    assert np.isnan(test.under_sources)
    assert "no such pixels" in repr(test)


def test_tests_need_an_image_and_a_strength(rate):
    cleaner = FlickerCleaner(Exposure(rate[0]), axis=1)
    with pytest.raises(DataError, match="one image or more"):
        cleaner.null_test(n=0)
    with pytest.raises(DataError, match="rms should be positive"):
        cleaner.injection_test(rms=-1.0)


def test_the_power_of_white_levels_is_their_variance():
    levels = np.random.default_rng(1).normal(0, 3.0, 4096)
    image = levels[:, None] + np.zeros((4096, 8))
    image[100:200] = np.nan
    frequency, power = line_power(image, axis=1)
    assert frequency[0] == 1 / 4096
    np.testing.assert_allclose(power.mean(), 9.0, rtol=0.05)
    np.testing.assert_allclose(line_power(image.T, axis=0)[1], power)


def test_the_correction_takes_power_away(rate):
    psd = FlickerCleaner(Exposure(rate[0]), axis=1).psd
    assert psd.after.mean() < 0.1 * psd.before.mean()
    # pixels beyond 2 sigma of the image are left out, so that levels are seen smaller than they are
    assert 0.5 < psd.before.mean() / np.var(rate[1]) < 1.1
    assert "rms of the rows" in repr(psd)
    assert "<img" in psd._repr_html_()
