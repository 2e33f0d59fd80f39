import numpy as np
import pytest
from scipy.ndimage import rotate

from corontools.arrays.resample import resample


def grid(shape, angle=0.0, shift=(0.0, 0.0)):
    """Positions of pixels turned by `angle` degrees about the middle and shifted."""
    y, x = np.mgrid[: shape[0], : shape[1]] - np.array([(n - 1) / 2 for n in shape])[:, None, None]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return c * x - s * y + (shape[1] - 1) / 2 + shift[0], s * x + c * y + (shape[0] - 1) / 2 + shift[1]


def smooth(shape=(64, 60)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-((x - 25) ** 2 + (y - 35) ** 2) / 30) + 0.5 * np.exp(-((x - 40) ** 2 + (y - 20) ** 2) / 20)


def test_identity_gives_the_image():
    image = np.random.default_rng(0).normal(size=(20, 30))
    values, photon, _ = resample(image, *grid(image.shape), good=np.isfinite(image), photon=np.ones_like(image))
    np.testing.assert_allclose(values, image, atol=1e-12)
    np.testing.assert_allclose(photon, 1, atol=1e-12)


def test_rotation_agrees_with_a_spline_and_keeps_the_flux():
    image = smooth()
    values, _, _ = resample(image, *grid(image.shape, 10.0), good=np.isfinite(image))
    expected = rotate(image, 10.0, reshape=False, order=5)
    inside = np.isfinite(values)
    assert np.abs(values - expected)[inside].max() < 5e-3
    assert values[inside].sum() == pytest.approx(image.sum(), rel=1e-3)


def test_photon_variance_is_that_of_resampled_noise():
    rng = np.random.default_rng(1)
    good = np.ones((40, 40), bool)
    x, y = grid((40, 40), 7.0, (0.3, 0.4))
    drawn = [resample(rng.normal(size=(40, 40)), x, y, good=good)[0] for _ in range(1500)]
    _, photon, _ = resample(np.zeros((40, 40)), x, y, good=good, photon=np.ones((40, 40)))
    middle = np.s_[12:28, 12:28]
    np.testing.assert_allclose(np.var(drawn, axis=0)[middle].mean(), photon[middle].mean(), rtol=0.01)


def test_shared_variance_is_interpolated_not_reduced():
    _, _, speckle = resample(
        np.zeros((20, 20)), *grid((20, 20), 0, (0.5, 0.5)), good=np.ones((20, 20), bool), speckle=np.full((20, 20), 4.0)
    )
    np.testing.assert_allclose(speckle[:-1, :-1], 4.0)


def test_bad_pixels_blank_what_they_dominate_and_nothing_more():
    image = np.random.default_rng(0).normal(size=(20, 20))
    image[10, 10] = np.nan
    good = np.isfinite(image)
    values, _, _ = resample(image, *grid((20, 20), 0, (0.1, 0.0)), good=good)
    assert np.argwhere(np.isnan(values[:, :-1])).tolist() == [[10, 10]]
    halfway, _, _ = resample(image, *grid((20, 20), 0, (0.5, 0.0)), good=good)
    assert np.argwhere(np.isnan(halfway[:, :-1])).tolist() == [[10, 9], [10, 10]]


def test_outside_the_image_there_is_nothing():
    values, photon, speckle = resample(np.ones((8, 8)), *grid((8, 8), 0, (20, 0)), good=np.ones((8, 8), bool))
    assert np.isnan(values).all()
    assert np.isnan(photon).all()
    assert np.isnan(speckle).all()


def test_an_image_without_good_pixels_gives_nothing():
    values, _, _ = resample(np.full((8, 8), np.nan), *grid((8, 8)), good=np.zeros((8, 8), bool))
    assert np.isnan(values).all()
