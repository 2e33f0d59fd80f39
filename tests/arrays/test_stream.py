import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import fft
from scipy.linalg import toeplitz

from corontools.arrays import _timestream as timestream
from corontools.arrays.stream import stream_stripes
from corontools.arrays.stripes import median_stripes
from corontools.errors import DataError
from corontools.simulate.flicker import flicker_noise


def scene(shape, *, alpha=1.0, rms=5.0, white=8.0, seed=1, **options):
    """Stripes, the image with white noise, and a mask with holes where sources are."""
    rng = np.random.default_rng(seed)
    noise = flicker_noise(shape, alpha=alpha, rms=rms, seed=seed, **options) if rms else np.zeros(shape)
    good = rng.random(shape) < 0.9
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(shape[0] * shape[1] // 100_000):
        good &= np.hypot(y - rng.uniform(0, shape[0]), x - rng.uniform(0, shape[1])) > rng.uniform(5, 60)
    return noise, noise + rng.normal(0, white, shape), good


@given(st.integers(0, 99), st.sampled_from([0.7, 1.5]), st.sampled_from([0.3, 3.0]))
def test_the_posterior_mean_is_that_of_a_dense_gaussian_process(seed, alpha, noise):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timestream, "TOLERANCE", 1e-10)
        patch.setattr(timestream, "STEPS", 400)
        compare_with_dense(seed, alpha, noise, limit=1e-6)
    compare_with_dense(seed, alpha, noise, limit=0.1)


def compare_with_dense(seed, alpha, noise, *, limit):
    rng = np.random.default_rng(seed)
    n = 60
    power = 50.0 / np.maximum(np.arange(n // 2 + 1), 1.0) ** alpha
    count = rng.integers(0, 5, (2, n)).astype(float)
    count[:, 20:30] = 0
    total = rng.normal(size=(2, n)) * count
    found = timestream.posterior_mean(timestream.Series(count, total), timestream.Spectrum(power, noise))
    covariance = toeplitz(fft.irfft(power, n))
    for i in range(2):
        matrix = np.eye(n) + covariance * (count[i] / noise)
        dense = np.linalg.solve(matrix, covariance @ total[i] / noise)
        assert np.std(found[i] - dense) < limit * np.std(dense)


def test_the_variance_is_about_that_of_a_dense_gaussian_process():
    n = 400
    power = 400.0 / np.maximum(np.arange(n // 2 + 1), 1.0)
    count = np.full((1, n), 6.0)
    count[:, 150:170] = 0
    found = timestream.posterior_variance(timestream.Series(count, count), timestream.Spectrum(power, 5.0))
    covariance = toeplitz(fft.irfft(power, n))
    use = count[0] > 0
    gain = covariance[:, use] @ np.linalg.inv(covariance[np.ix_(use, use)] + 5.0 / 6 * np.eye(use.sum()))
    exact = np.diag(covariance - gain @ covariance[use])
    np.testing.assert_allclose(np.sqrt(found[0, 250:]), np.sqrt(exact[250:]), rtol=0.1)
    assert 0.7 < np.sqrt(found[0, 160] / exact[160]) < 1.5


@pytest.mark.parametrize(("alpha", "white"), [(0.7, 10.0), (1.3, 2.0)])
def test_the_spectrum_is_that_of_the_data(alpha, white):
    rng = np.random.default_rng(2)
    n, blocks = 20_000, (4, 16_000)
    power = 1000.0 / np.maximum(np.arange(n // 2 + 1), 1.0) ** alpha
    series = fft.irfft(fft.rfft(rng.normal(size=(4, n))) * np.sqrt(power), n)[:, : blocks[1]]
    count = rng.integers(0, 9, blocks).astype(float)
    total = count * series + np.sqrt(count) * rng.normal(0, white, blocks)
    found = timestream.estimate_spectrum(timestream.Series(count, total), timestream.EVERYTHING)
    assert abs(found.noise / white**2 - 1) < 0.1
    k = np.geomspace(20, 120, 9).astype(int)
    wanted = 1000.0 / (k * n / blocks[1]) ** alpha
    assert np.abs(np.log(found.power[k] / wanted)).mean() < 0.35


@pytest.mark.parametrize("alpha", [0.7, 1.0, 1.3])
def test_stripes_are_followed_better_than_by_medians(alpha):
    noise, image, good = scene((512, 2048), alpha=alpha)
    left = stream_stripes(image, good, axis=1).model - noise
    plain = median_stripes(image, good, axis=1, channels=4).model - noise
    assert left.std() < 0.85 * plain.std()
    assert left[~good].std() < plain[~good].std()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("shape", "channels"), [((512, 2048), 4), ((512, 256), 1)])
def test_nothing_is_taken_from_an_image_without_stripes(shape, channels, seed):
    _, image, good = scene(shape, rms=0.0, seed=seed)
    injected = stream_stripes(image, good, axis=1, channels=channels).model
    assert injected.std() < 0.1 * median_stripes(image, good, axis=1, channels=channels).model.std()


@pytest.mark.parametrize("alpha", [0.7, 1.0, 1.6])
def test_the_error_is_what_is_left(alpha):
    noise, image, good = scene((512, 1024), alpha=alpha)
    stripes = stream_stripes(image, good, axis=1)
    model, err = stripes.model, stripes.err
    assert 0.75 < np.sqrt(np.mean(((model - noise) / err) ** 2)) < 1.3


def test_offsets_and_alternating_columns_go():
    noise, image, good = scene((256, 1024), offsets=20.0, alternating=5.0, white=2.0)
    plain, _, _ = scene((256, 1024), white=2.0)
    left = stream_stripes(image, good, axis=1).model - noise
    without = stream_stripes(image - noise + plain, good, axis=1).model - plain
    assert left.std() < 1.05 * without.std()


def test_the_direction_of_reading_counts():
    noise, image, good = scene((512, 512), alpha=1.6, rms=20.0, white=2.0, channels=2)
    right = stream_stripes(image, good, axis=1, channels=2).model - noise
    wrong = stream_stripes(image, good, axis=1, channels=2, flip=(True, False)).model - noise
    assert right.std() < wrong.std()


def test_vertical_stripes_are_horizontal_ones_turned():
    _, image, good = scene((128, 256))
    horizontal, vertical = stream_stripes(image, good, axis=1), stream_stripes(image.T, good.T, axis=0)
    np.testing.assert_allclose(vertical.model.T, horizontal.model)
    np.testing.assert_allclose(vertical.err.T, horizontal.err)


def test_a_channel_without_a_good_pixel_is_left_alone():
    _, image, good = scene((128, 256))
    good[:, 64:128] = False
    stripes = stream_stripes(image + 10, good, axis=1)
    np.testing.assert_array_equal(stripes.known.all(axis=0), [True, False, True, True])
    model, err = stripes.model, stripes.err
    assert (model[:, 64:128] == 0).all()
    assert np.isnan(err[:, 64:128]).all()
    assert np.isfinite(err[:, 128:]).all()
    assert abs(model[:, 128:].mean() - 10) < 5


@pytest.mark.parametrize("image", [np.zeros((16, 32)), np.full((16, 32), 3.0), np.full((16, 32), np.nan)])
def test_images_without_noise_are_no_trouble(image):
    model = stream_stripes(image, np.ones(image.shape, bool), axis=1).model
    np.testing.assert_allclose(model, np.nan_to_num(image), atol=1e-9)


def test_inputs_stay_as_they_are():
    _, image, good = scene((64, 128))
    image = image.astype(">f4")
    before, mask = image.copy(), good.copy()
    assert stream_stripes(image, good, axis=1).model.dtype == np.float32
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(good, mask)


def test_what_cannot_be_is_refused():
    image = np.zeros((8, 10))
    with pytest.raises(DataError, match="4 equal channels"):
        stream_stripes(image, image == 0, axis=1)
    with pytest.raises(DataError, match="each of 2 channels"):
        stream_stripes(image, image == 0, axis=1, channels=2, flip=(True,))


def test_strong_stripes_do_not_hide_the_noise_of_pixels():
    """What is under holes is guessed from beside them: wildly, if pixels are taken to have no noise of their own."""
    stripes = flicker_noise((256, 512), rms=35.0, alpha=1.2, channels=1, seed=3)
    rng = np.random.default_rng(1)
    image, good = stripes + rng.normal(0, 10, stripes.shape), np.ones(stripes.shape, bool)
    y, x = np.mgrid[:256, :512]
    for _ in range(32):
        good &= np.hypot(y - rng.uniform(0, 256), x - rng.uniform(0, 512)) > rng.uniform(3, 15)
    left = (stripes - stream_stripes(image, good, axis=1, channels=1).model)[~good].std()
    assert left < 0.8 * (stripes - median_stripes(image, good, axis=1).model)[~good].std()


def test_float32_and_float64_images_have_the_same_stripes():
    _, image, good = scene((256, 1024), offsets=3.0)
    image = image.astype(np.float32)
    single, double = (stream_stripes(values, good, axis=1) for values in (image, image.astype(np.float64)))
    assert single.model.dtype == single.err.dtype == np.float32
    np.testing.assert_allclose(single.model, double.model, atol=1e-3)
    np.testing.assert_allclose(single.err, double.err, rtol=1e-3)


def test_the_fit_takes_the_room_of_three_images():
    _, image, good = scene((1024, 2048))
    image = image.astype(np.float32)
    stream_stripes(image, good, axis=1)  # what is imported and compiled is no working space
    tracemalloc.start()
    try:
        stream_stripes(image, good, axis=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * image.nbytes, f"{peak / image.nbytes:.1f} images"
