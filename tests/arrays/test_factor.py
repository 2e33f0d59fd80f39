"""The factor of a reference against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corontools.arrays import factor
from corontools.arrays.factor import fit_factor, unmasked_traces


def plain(image, reference, variance, good, percent, maxiter):
    """The same, with all residuals sorted."""
    s, b, v = (np.asarray(array, np.float64).ravel() for array in (image, reference, variance))
    used = good.ravel() & np.isfinite(s) & np.isfinite(b) & np.isfinite(v) & (v > 0)
    rms = []
    for left in range(maxiter, -1, -1):
        value = np.sum(s[used] * b[used] / v[used]) / np.sum(b[used] ** 2 / v[used])
        rest = s - value * b
        rms.append(np.sqrt(np.mean(rest[used] ** 2)))
        if left:
            low, high = np.percentile(rest[used], (percent, 100 - percent))
            used = used & (rest >= low) & (rest <= high)
    return value, 1 / np.sqrt(np.sum(b[used] ** 2 / v[used])), rms, used.reshape(image.shape)


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
    assert found.value == pytest.approx(value, rel=1e-10, abs=1e-12)
    assert found.err == pytest.approx(err, rel=1e-10)
    np.testing.assert_allclose(found.rms, rms, rtol=1e-10)
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
