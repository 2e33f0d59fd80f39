import warnings

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from corontools.arrays.clip import background_pixels, clipped_stats

LARGE = (640, 640)  # more than are sorted


def by_astropy(values, good, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sigma_clipped_stats(values.astype(np.float64), mask=~good, **options)


def sky(kind, rng):
    """Images with what is found on detectors."""
    noise = rng.normal(0.0, 1.0, LARGE)
    if kind == "sources":
        return 100.0 + 3 * noise + np.where(rng.random(LARGE) < 0.1, rng.exponential(50.0, LARGE), 0.0)
    if kind == "half of it bright":
        return noise + np.where(np.arange(640) < 300, rng.exponential(4.0, LARGE), 0.0)
    if kind == "counts":
        return rng.poisson(3.0, LARGE).astype(float)
    if kind == "huge outliers":
        return np.where(rng.random(LARGE) < 1e-4, 1e12, 1e4 + 0.1 * noise)
    return noise


@given(
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e3, 1e3) | st.just(np.nan)),
    st.integers(0, 999),
    st.sampled_from([1.0, 2.0, 3.0]),
    st.integers(1, 6),
)
def test_exact_statistics_are_those_of_astropy(values, seed, sigma, maxiters):
    good = np.random.default_rng(seed).random(values.shape) < 0.8
    ours = clipped_stats(values, good, sigma=sigma, maxiters=maxiters, exact=True)
    if not (good & np.isfinite(values)).any():
        assert np.isnan(ours).all()
        return
    # round-off of a standard deviation decides whether a value at the very limit stays
    theirs = by_astropy(values, good, sigma=sigma * (1 + 1e-9), maxiters=maxiters)
    same = by_astropy(values, good, sigma=sigma * (1 - 1e-9), maxiters=maxiters)
    if theirs == same:
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["normal", "sources", "half of it bright", "counts", "huge outliers"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_counting_is_within_a_ten_thousandth_of_sigma(kind, dtype):
    rng = np.random.default_rng(5)
    image, good = sky(kind, rng).astype(dtype), rng.random(LARGE) < 0.9
    image[3, :50] = np.nan
    exact, fast = clipped_stats(image, good, exact=True), clipped_stats(image, good)
    np.testing.assert_allclose(exact, by_astropy(image, good), rtol=1e-6)
    np.testing.assert_allclose(fast, exact, rtol=0, atol=1e-4 * exact.std)


@pytest.mark.parametrize("value", [0.0, 7.0, -1e20])
def test_equal_values_have_no_scatter(value):
    image = np.full(LARGE, value)
    assert clipped_stats(image) == (value, value, 0.0)
    good, center, sigma = background_pixels(image, np.ones(LARGE, bool), histogram=True)
    assert good.all()
    assert (center, sigma) == (value, 0.0)


def test_without_a_good_value_nothing_is_known():
    image = np.ones((4, 4))
    assert np.isnan(clipped_stats(image, np.zeros(image.shape, bool))).all()
    assert np.isnan(clipped_stats(np.full((4, 4), np.nan))).all()
    good, center, sigma = background_pixels(image, np.zeros(image.shape, bool), lower_half=True, histogram=True)
    assert not good.any()
    assert np.isnan([center, sigma]).all()


def test_few_good_pixels_of_a_large_image_are_enough():
    rng = np.random.default_rng(2)
    image, good = rng.normal(5.0, 1.0, LARGE), rng.random(LARGE) < 0.002
    np.testing.assert_allclose(clipped_stats(image, good), by_astropy(image, good), rtol=1e-9)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("histogram", [True, False])
def test_the_lower_half_is_mirrored(exact, histogram):
    rng = np.random.default_rng(3)
    image, good = sky("half of it bright", rng), rng.random(LARGE) < 0.9
    kept, center, sigma = background_pixels(
        image, good, lower=2.0, upper=2.5, lower_half=True, histogram=histogram, exact=exact
    )
    mean, median, _ = by_astropy(image, good)
    start = mean if histogram else median
    lower = image[good & (image <= start)]
    _, _, wanted = sigma_clipped_stats(np.concatenate([lower, 2 * start - lower]))
    if not histogram:
        np.testing.assert_allclose([center, sigma], [start, wanted], rtol=0, atol=1e-4 * wanted)
    else:
        assert abs(sigma / wanted - 1) < 0.2
    np.testing.assert_array_equal(kept, good & (image >= center - 2 * sigma) & (image <= center + 2.5 * sigma))


@pytest.mark.parametrize("exact", [True, False])
def test_the_histogram_tells_the_noise_below_emission(exact):
    rng = np.random.default_rng(4)
    image = rng.normal(10.0, 2.0, LARGE) + np.where(rng.random(LARGE) < 0.3, rng.exponential(8.0, LARGE), 0.0)
    good = np.ones(LARGE, bool)
    _, plain_center, plain_sigma = background_pixels(image, good, exact=exact)
    _, center, sigma = background_pixels(image, good, histogram=True, exact=exact)
    assert abs(center - 10.0) < 0.7 * abs(plain_center - 10.0)
    assert abs(sigma - 2.0) < 0.5 * abs(plain_sigma - 2.0)


def test_counted_and_sorted_histograms_agree():
    rng = np.random.default_rng(6)
    image, good = sky("sources", rng), rng.random(LARGE) < 0.9
    for half in (True, False):
        exact = background_pixels(image, good, histogram=True, lower_half=half, exact=True)
        fast = background_pixels(image, good, histogram=True, lower_half=half)
        np.testing.assert_allclose(fast[1:], exact[1:], rtol=0, atol=3e-4 * exact[2])
        assert np.count_nonzero(fast[0] != exact[0]) < 1e-4 * image.size


def test_pixels_without_data_are_never_background():
    image = np.random.default_rng(1).normal(size=(32, 32))
    image[4, 4], image[5, 5] = np.nan, np.inf
    kept, _, _ = background_pixels(image, np.ones(image.shape, bool))
    assert not kept[4, 4]
    assert not kept[5, 5]


@pytest.mark.parametrize("kind", [">f4", ">f8", "i2", "u1", "f4"])
def test_inputs_stay_as_they_are(kind):
    image = np.arange(400).reshape(20, 20)[:, ::2].astype(kind)
    good = np.ones(image.shape, bool)
    before, mask = image.copy(), good.copy()
    background_pixels(image, good, lower=0.5, upper=0.5)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(good, mask)
    np.testing.assert_allclose(clipped_stats(image), by_astropy(image, good), rtol=1e-9)
