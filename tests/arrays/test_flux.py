import numpy as np
import pytest
from photutils.aperture import CircularAperture

from corontools.arrays.flux import circle_sums, compensated_tophat, psf_fluxes

ALONG = np.arange(61.0)


def gaussian(x, y, sigma=1.7, size=61):
    along = np.arange(float(size))
    x, y = np.atleast_1d(x)[:, None, None], np.atleast_1d(y)[:, None, None]
    return np.exp(-0.5 * ((along - x) ** 2 + (along[:, None] - y) ** 2) / sigma**2) / (2 * np.pi * sigma**2)


def images(x, y):
    """PSF in stamps of 41 px at places in a stamp."""
    return gaussian(20 + x - np.floor(x + 0.5), 20 + y - np.floor(y + 0.5), size=41)


@pytest.mark.parametrize("radius", [0.3, 1.0, 3.3, 12.0, 20.4])
def test_circles_are_those_of_photutils(radius):
    rng = np.random.default_rng(1)
    pixels, variances = rng.normal(0, 1, (5, 61, 61)), rng.uniform(1, 2, (5, 61, 61))
    x, y = 30 + rng.uniform(-1, 1, (2, 5))
    sums = circle_sums(pixels, variances, x, y, radii=[radius])
    for k in range(5):
        weights = CircularAperture((x[k], y[k]), radius).to_mask(method="exact").to_image((61, 61))
        assert sums.total[k, 0] == pytest.approx(np.sum(weights * pixels[k]), abs=1e-9)
        assert sums.variance[k, 0] == pytest.approx(np.sum(weights**2 * variances[k]), rel=1e-9)
    np.testing.assert_array_equal(sums.part, 1)


def test_psf_flux_of_stars_without_noise_is_exact():
    x, y = 30 + np.random.default_rng(2).uniform(-0.5, 0.5, (2, 20))
    stars = 1e4 * gaussian(x, y) + 0
    found = psf_fluxes(stars, np.ones_like(stars), images(x, y), x, y)
    np.testing.assert_allclose(found.flux, 1e4, rtol=1e-9)
    # of a Gaussian 4 pi sigma^2
    np.testing.assert_allclose(found.area, 4 * np.pi * 1.7**2, rtol=1e-3)
    np.testing.assert_allclose(found.chi2, 0, atol=1e-6)
    np.testing.assert_array_equal(found.n_pixels, 41**2)


def test_errors_of_all_fluxes_are_those_of_many_trials():
    rng, n, flux = np.random.default_rng(3), 600, 5e3
    star = flux * gaussian(30.2, 29.6)[0]
    variances = np.broadcast_to(50 + star, (n, 61, 61)).copy()
    stars = star + rng.normal(size=variances.shape) * np.sqrt(variances)
    x, y = np.full(n, 30.2), np.full(n, 29.6)
    by_psf = psf_fluxes(stars, variances, images(x, y), x, y)
    sums = circle_sums(stars, variances, x, y, radii=[12, 20.4])
    tophat = compensated_tophat(sums, (12, 20.4))
    for found, err in (by_psf[:2], (sums.total[:, 0], np.sqrt(sums.variance[:, 0])), tophat):
        pull = (found - flux) / err
        assert abs(np.mean(pull)) < 0.15
        assert 0.92 < np.std(pull) < 1.08
    assert np.mean(by_psf.chi2 / (by_psf.n_pixels - 1)) == pytest.approx(1, abs=0.01)


def test_missing_pixels_are_left_out_of_both_sums_of_the_psf_flux():
    star = 1e4 * gaussian(30.0, 30.0)
    star[0, 29:31, 31] = np.nan
    found = psf_fluxes(star, np.ones_like(star), images(np.array([30.0]), np.array([30.0])), [30.0], [30.0])
    assert found.flux[0] == pytest.approx(1e4, rel=1e-9)
    assert found.n_pixels[0] == 41**2 - 2
    nothing = psf_fluxes(star * np.nan, np.ones_like(star), images(np.array([30.0]), np.array([30.0])), [30.0], [30.0])
    assert np.isnan(nothing.flux[0])
    assert nothing.n_pixels[0] == 0


def test_the_tophat_does_not_see_a_background():
    star = 1e4 * gaussian(30.0, 30.0)
    flat, ramp = star + 7.0, star + 0.1 * ALONG
    for image in (star, flat, ramp):
        sums = circle_sums(image, np.ones_like(image), [30.0], [30.0], radii=[12, 20.4])
        assert compensated_tophat(sums, (12, 20.4))[0][0] == pytest.approx(1e4, rel=1e-6)


def test_the_tophat_takes_what_its_ring_lacks_for_the_mean_of_the_rest():
    image = 1e4 * gaussian(30.0, 30.0) + 7.0
    image[0, :, :14] = np.nan
    sums = circle_sums(image, np.ones_like(image), [30.0], [30.0], radii=[12, 20.4])
    assert sums.part[0, 0] == 1
    assert sums.part[0, 1] < 1
    assert compensated_tophat(sums, (12, 20.4))[0][0] == pytest.approx(1e4, rel=1e-6)
    image[0, :, :19] = np.nan
    sums = circle_sums(image, np.ones_like(image), [30.0], [30.0], radii=[12, 20.4])
    assert np.isnan(compensated_tophat(sums, (12, 20.4))[0][0])
