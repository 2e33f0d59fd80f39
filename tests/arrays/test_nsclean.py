import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corontools.arrays import nsclean
from corontools.arrays.nsclean import fourier_stream, fourier_stripes
from corontools.arrays.stripes import median_stripes
from corontools.errors import DataError
from corontools.simulate.flicker import flicker_noise

N = 512
K = 5  # frequencies below 1/128 per px


def slow_waves(n_line, *, power=4.0, seed=1):
    """Lines of slow waves with variance power / k^2 for each coefficient, as the prior has it."""
    rng = np.random.default_rng(seed)
    phase = 2 * np.pi / N * np.outer(np.arange(N), np.arange(1, K - 1))
    scale = np.sqrt(power) / np.arange(1, K - 1)
    along = np.concatenate([np.cos(phase) * scale, np.sin(phase) * scale], axis=1)
    return (rng.normal(size=(n_line, 2 * K - 4)) @ along.T) + rng.normal(0, 2.0, (n_line, 1))


def gaps(n_line, seed=2):
    """A tenth of the pixels, and two slits, masked."""
    good = np.random.default_rng(seed).random((n_line, N)) < 0.9
    good[:, 60:110] = good[:, 300:380] = False
    return good


@given(st.integers(1, 6))
def test_products_of_waves_are_waves(number):
    waves = nsclean._waves(40, 2 * number - 1)
    basis = nsclean._basis(waves, number)
    pairs = (basis[:, :, None] * basis[:, None, :]).reshape(40, -1)
    np.testing.assert_allclose(waves @ nsclean._products(number), pairs, atol=1e-12)


@given(st.integers(0, 99), st.sampled_from([0.05, 0.4, 1.0]))
def test_the_fit_is_dense_least_squares_with_the_prior(seed, fraction):
    rng = np.random.default_rng(seed)
    number, length = 4, 64
    lines, kept = rng.normal(size=(3, length)), rng.random((3, length)) < fraction
    kept[:, 5] = True
    waves = nsclean._waves(length, 2 * number - 1)
    basis = nsclean._basis(waves, number)
    power = rng.uniform(0.01, 4.0, 2 * number - 1)
    sums = nsclean._all_sums(lines, kept, 0.3, waves, number)
    fit, shrunk = nsclean._solved(sums, nsclean._Spectrum(power, 0.7))
    for i, (line, use) in enumerate(zip(lines, kept, strict=True)):
        noise = 0.7 + nsclean.EDGE * power[number - 1] * use.sum() / 2
        matrix = basis[use].T @ basis[use] / noise + np.diag(1 / power)
        np.testing.assert_allclose(fit[i], np.linalg.solve(matrix, basis[use].T @ (line[use] - 0.3) / noise))
        scale = np.sqrt(np.outer(power, power))
        np.testing.assert_allclose(shrunk[i] * scale, np.linalg.inv(matrix), atol=1e-12)


def test_slow_waves_are_found_across_gaps_with_their_error():
    waves, good = slow_waves(400), gaps(400)
    image = waves + np.random.default_rng(3).normal(0, 2.0, waves.shape)
    stripes = fourier_stripes(image, good, axis=1, cutoff=1 / 128)
    model, err = stripes.model, stripes.err
    for where in (good, ~good):
        assert np.std((model - waves)[where]) < 0.6
        assert 0.8 < np.std(((model - waves) / err)[where]) < 1.1


def test_no_direction_is_preferred():
    """Flipped images give flipped models: nothing is shifted, no half of the spectrum is missing."""
    image, good = slow_waves(40) + np.random.default_rng(4).normal(size=(40, N)), gaps(40)
    model = fourier_stripes(image, good, axis=1, cutoff=1 / 128, smooth=1.5).model
    turned = fourier_stripes(image[::-1, ::-1], good[::-1, ::-1], axis=1, cutoff=1 / 128, smooth=1.5).model
    np.testing.assert_allclose(turned[::-1, ::-1], model, atol=1e-10)


@pytest.mark.parametrize("fit", [fourier_stripes, fourier_stream])
def test_vertical_stripes_are_horizontal_ones_turned(fit):
    image, good = slow_waves(40), gaps(40)
    horizontal, vertical = fit(image, good, axis=1), fit(image.T, good.T, axis=0)
    np.testing.assert_allclose(vertical.model.T, horizontal.model)
    np.testing.assert_allclose(vertical.err.T, horizontal.err)


def test_smoothing_stays_in_place():
    image = np.zeros((41, N))
    image[20] = 100.0
    good = np.ones(image.shape, bool)
    profile = fourier_stripes(image, good, axis=1, smooth=1.5).model[:, 7]
    assert np.argmax(profile) == 20
    np.testing.assert_allclose(profile, profile[::-1], atol=1e-9)


def test_wide_gaps_do_no_harm():
    noise = flicker_noise((128, 2048), rms=5.0, alpha=1.3)
    image = noise + np.random.default_rng(5).normal(0, 8.0, noise.shape)
    good = np.random.default_rng(6).random(noise.shape) < 0.9
    good[:, 700:1300] = False
    left = fourier_stripes(image, good, axis=1).model - noise
    plain = median_stripes(image, good, axis=1).model - noise
    assert left.std() < 0.95 * plain.std()
    assert left[~good].std() < plain[~good].std()


@pytest.mark.parametrize("fit", [fourier_stripes, fourier_stream])
def test_nothing_is_taken_from_an_image_without_stripes(fit):
    noise = np.random.default_rng(7).normal(0, 8.0, (256, N))
    good = gaps(256)
    assert fit(noise, good, axis=1).model.std() < 0.1 * median_stripes(noise, good, axis=1).model.std()


@pytest.mark.parametrize("fit", [fourier_stripes, fourier_stream])
def test_outliers_and_missing_data_have_no_weight(fit):
    waves = slow_waves(60)
    image = waves + np.random.default_rng(8).normal(size=waves.shape)
    good = np.ones(image.shape, bool)
    clean = fit(image, good, axis=1).model
    image[::7, ::31] = np.nan
    image[3::7, ::29] += 1e4
    assert np.std(fit(image, good, axis=1).model - clean) < 0.3


def test_lines_without_a_good_pixel_are_left_alone():
    image, good = slow_waves(30) + 50, gaps(30)
    good[11] = False
    stripes = fourier_stripes(image, good, axis=1, smooth=1.5)
    model, err = stripes.model, stripes.err
    assert (model[11] == 0).all()
    assert np.isnan(err[11]).all()
    assert abs(model[10].mean() - 50) < 10
    stripes = fourier_stream(image, good, axis=1)  # one process for all lines knows this one from its neighbours
    model, err = stripes.model, stripes.err
    assert abs(model[11].mean() - 50) < 10


@pytest.mark.parametrize("fit", [fourier_stripes, fourier_stream])
def test_without_a_good_pixel_nothing_is_known(fit):
    stripes = fit(np.ones((8, 32), np.float32), np.zeros((8, 32), bool), axis=0)
    model, err = stripes.model, stripes.err
    assert model.dtype == np.float32
    assert (model == 0).all()
    assert np.isnan(err).all()


@pytest.mark.parametrize("fit", [fourier_stripes, fourier_stream])
def test_inputs_stay_as_they_are(fit):
    image, good = slow_waves(20).astype(">f4"), gaps(20)
    before, mask = image.copy(), good.copy()
    assert fit(image, good, axis=1).model.dtype == np.float32
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(good, mask)


def test_a_subarray_is_one_time_stream():
    """Slow noise and alternating columns go; what has other frequencies stays."""
    shape = (256, 64)
    noise = flicker_noise(shape, alpha=1.6, rms=5.0, channels=1, alternating=3.0, seed=3)
    good = np.random.default_rng(9).random(shape) < 0.8
    good[:, 20:30] = False
    image = noise + np.random.default_rng(10).normal(0, 2.0, shape)
    left = image - fourier_stream(image, good, axis=1).model
    assert np.std(left[good]) < 1.2 * 2.0
    ticks = np.arange(256)[:, None] * (64 + 12) + np.arange(64)
    wave = 5 * np.sin(2 * np.pi * 20e3 * 10e-6 * ticks)
    assert np.std(fourier_stream(wave, good, axis=1).model) < 0.2 * np.std(wave)


def test_the_error_of_a_subarray_is_what_is_left_of_slow_noise():
    shape = (512, 128)
    noise = flicker_noise(shape, alpha=1.9, rms=5.0, channels=1, seed=4)
    good = np.random.default_rng(11).random(shape) < 0.7
    image = noise + np.random.default_rng(12).normal(0, 4.0, shape)
    stripes = fourier_stream(image, good, axis=1)
    model, err = stripes.model, stripes.err
    assert 0.7 < np.sqrt(np.mean(((model - noise) / err) ** 2)) < 1.4


def test_frequencies_that_do_not_rise_are_refused():
    image = np.zeros((8, 8))
    for frequencies in ((1000, 900, 49e3, 49.5e3), (1000, 1200, 49e3, 51e3)):
        with pytest.raises(DataError, match="rise from 0 to 50000 Hz"):
            fourier_stream(image, image == 0, axis=1, frequencies=frequencies)
    with pytest.raises(DataError, match="cutoff"):
        fourier_stripes(image, image == 0, axis=1, cutoff=0.0)
