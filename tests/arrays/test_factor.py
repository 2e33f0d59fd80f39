"""The factor of a reference against plain numpy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corontools.arrays import factor
from corontools.arrays.factor import fit_factor, unmasked_traces


def plain(image, reference, variance, good, percent, maxiter):
    """The same, with all residuals sorted."""
    s, b, v = (np.asarray(array, np.float64).ravel() for array in (image, reference, variance))
    used = good.ravel() & np.isfinite(s) & np.isfinite(b) & np.isfinite(v) & (v > 0)
    rms = []
    for left in range(maxiter, -1, -1):
        if not used.any():
            return np.nan, np.nan, rms, used.reshape(image.shape)
        value = np.sum(s[used] * b[used] / v[used]) / np.sum(b[used] ** 2 / v[used])
        rest = s - value * b
        rms.append(np.sqrt(np.mean(rest[used] ** 2)))
        if left:
            low, high = percentile(rest[used], percent), -percentile(-rest[used], percent)
            used = used & (rest >= low) & (rest <= high)
    return value, 1 / np.sqrt(np.sum(b[used] ** 2 / v[used])), rms, used.reshape(image.shape)


def percentile(values, percent):
    """With a place that isn't rounded: where it is one of the values this is the percentile, to the last digit."""
    place = (values.size - 1) * Fraction(str(percent)) / 100
    k, ordered = int(place), np.sort(values)
    return ordered[k] if place == k else ordered[k] + float(place - k) * (ordered[k + 1] - ordered[k])


@example(6, 30.0, 2, "f4")  # the percentile is one of 331 residuals
@example(3, 30.0, 6, "f4")  # until one is left
@example(291, 30.0, 5, "f4")  # until none is left
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.3, 1.0, 20.0, 30.0]),
    st.integers(0, 6),
    st.sampled_from(["f4", ">f4", "f8"]),
)
def test_it_is_what_sorting_all_residuals_gives(seed, percent, maxiter, kind):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(8, 60)), int(rng.integers(8, 60)))
    reference = rng.uniform(0.5, 2.0, shape).astype(kind)
    variance = rng.uniform(0.5, 2.0, shape).astype(kind)
    image = (0.3 * reference + rng.normal(0, 1, shape) + 50 * (rng.random(shape) < 0.03)).astype(kind)
    image[rng.random(shape) < 0.02] = np.nan
    variance[rng.random(shape) < 0.02] = 0.0
    reference[0, :3] = np.nan, np.inf, -np.inf
    good = rng.random(shape) < 0.8
    given = [array.copy() for array in (image, reference, variance, good)]
    found = fit_factor(image, reference, variance, good, outlier_percent=percent, maxiter=maxiter)
    value, err, rms, used = plain(image, reference, variance, good, percent, maxiter)
    assert found.value == pytest.approx(value, rel=1e-10, abs=1e-11, nan_ok=True)
    assert found.err == pytest.approx(err, rel=1e-10, nan_ok=True)
    np.testing.assert_allclose(found.rms, rms, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(found.used, used)
    for before, after in zip(given, (image, reference, variance, good), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_sample_that_misleads_does_no_harm(monkeypatch):
    monkeypatch.setattr(factor, "SAMPLE", 8)
    rng = np.random.default_rng(1)
    image, ones = rng.normal(10, 1, (50, 101)), np.ones((50, 101))
    step = image.size // 8 | 1
    image.ravel()[::step] = 10 + 100 * (-1.0) ** np.arange(image.ravel()[::step].size)  # all that is looked at
    found = fit_factor(image, ones, ones, ones > 0, outlier_percent=2.0, maxiter=3)
    value, err, _, used = plain(image, ones, ones, ones > 0, 2.0, 3)
    assert (found.value, found.err) == (pytest.approx(value), pytest.approx(err))
    np.testing.assert_array_equal(found.used, used)


@pytest.mark.parametrize("huge", [1e12, 1e30])
def test_a_huge_value_is_rejected_without_a_trace(huge):
    rng = np.random.default_rng(5)
    reference, ones = rng.uniform(0.5, 2.0, (60, 70)), np.ones((60, 70))
    image = 0.3 * reference + rng.normal(0, 0.1, (60, 70))
    image[30, 30] = huge
    found = fit_factor(image, reference, ones, ones > 0, maxiter=3)
    value, err, rms, used = plain(image, reference, ones, ones > 0, 1.0, 3)
    assert (found.value, found.err) == (pytest.approx(value, rel=1e-10), pytest.approx(err, rel=1e-10))
    np.testing.assert_allclose(found.rms, rms, rtol=1e-10)
    np.testing.assert_array_equal(found.used, used)


@pytest.mark.parametrize("percent", [0.07, 0.3, 7.0, 29.0])
@pytest.mark.parametrize("sample", [8, 1 << 14])
def test_a_residual_at_the_percentile_is_kept_at_both_ends(monkeypatch, percent, sample):
    """Of 10001 values 0.07 % are 7, though 10000 * 0.07 / 100 isn't in floating point."""
    monkeypatch.setattr(factor, "SAMPLE", sample)
    rng = np.random.default_rng(3)
    image, ones = rng.permutation(np.linspace(-1, 1, 10001))[None], np.ones((1, 10001))
    found = fit_factor(image, ones, ones, ones > 0, outlier_percent=percent, maxiter=1)
    assert found.used.sum() == 10001 - 2 * round(100 * percent)
    assert found.value == pytest.approx(0, abs=1e-12)


def test_nothing_usable_is_no_factor():
    ones = np.ones((8, 8))
    found = fit_factor(ones, ones, ones, ones < 0)
    assert np.isnan(found.value)
    assert np.isnan(found.err)
    assert found.rms == ()
    assert not found.used.any()


@pytest.mark.parametrize("axis", [0, 1])
def test_traces_are_looked_for_along_the_dispersion(axis):
    rng = np.random.default_rng(2)
    image = 5.0 + rng.normal(0, 1, (256, 512))
    image[40:44, :] += 0.6
    image[200:204, :] += 0.6
    image = image if axis == 1 else image.T.copy()
    ones = np.ones(image.shape)
    value = float(image.mean())
    found = unmasked_traces(image, ones, ones, ones > 0, value=value, axis=axis)
    assert found is not None
    assert found.bias == pytest.approx(value - 5.0, abs=0.01)
    assert (
        unmasked_traces(image - image + rng.normal(5, 1, image.shape), ones, ones, ones > 0, value=5, axis=axis) is None
    )
