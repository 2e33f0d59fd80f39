import numpy as np
import pytest

from corontools.arrays.centroid import CentroidFlag, peak_centroids, refined_centroids

HALF = 24


def moffat(x, y, *, fwhm=4.0, beta=3.0, half=HALF):
    """Stars (n, 2 half + 1, 2 half + 1) of total near 1 with their middles at x, y from the middle pixel."""
    along = np.arange(-half, half + 1.0)
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / beta) - 1)
    x, y = np.atleast_1d(x)[:, None, None], np.atleast_1d(y)[:, None, None]
    r2 = (along - x) ** 2 + (along[:, None] - y) ** 2
    return (beta - 1) / (np.pi * alpha**2) * (1 + r2 / alpha**2) ** -beta


def images(found, **profile):
    """PSF at the places found in the stamps."""
    x, y = found.x - np.floor(found.x + 0.5), found.y - np.floor(found.y + 0.5)
    return moffat(x, y, half=20, **profile)


def start(n):
    return np.full((n, 2), HALF)


@pytest.mark.parametrize(("fwhm", "beta"), [(3.0, 3.0), (3.6, 3.5), (4.4, 2.5), (6.0, 4.0)])
def test_stars_without_noise_are_found_to_a_tenth_of_a_millipixel(fwhm, beta):
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-0.5, 0.5, (2, 30))
    stars = 1e4 * moffat(x, y, fwhm=fwhm, beta=beta)
    kernels = np.repeat(moffat(0, 0, fwhm=fwhm, beta=beta, half=20), 30, axis=0)
    first = peak_centroids(stars, np.ones_like(stars), kernels, start(30))
    assert np.abs(first.x - HALF - x).max() < 1e-3
    found = refined_centroids(stars, np.ones_like(stars), images(first, fwhm=fwhm, beta=beta), first)
    assert np.abs(found.x - HALF - x).max() < 1e-5
    assert np.abs(found.y - HALF - y).max() < 1e-5
    assert not found.flags.any()
    assert (found.step == 1).all()


def test_a_lopsided_psf_has_no_bias():
    def comet(x, y, half=HALF):
        return 0.7 * moffat(x, y, half=half) + 0.3 * moffat(x + 1.5, y - 0.8, fwhm=5, half=half)

    star = 1e4 * comet(np.array([0.31]), np.array([-0.22]))
    first = peak_centroids(star, np.ones_like(star), comet(np.zeros(1), np.zeros(1), half=20), start(1))
    psf = comet(first.x - np.floor(first.x + 0.5), first.y - np.floor(first.y + 0.5), half=20)
    found = refined_centroids(star, np.ones_like(star), psf, first)
    assert found.x[0] - HALF == pytest.approx(0.31, abs=1e-4)
    assert found.y[0] - HALF == pytest.approx(-0.22, abs=1e-4)


@pytest.mark.parametrize("flux", [1500, 30_000])
def test_errors_are_those_of_many_trials(flux):
    rng, n = np.random.default_rng(2), 500
    x, y = rng.uniform(-0.5, 0.5, (2, n))
    stars = flux * moffat(x, y)
    variances = 100 + stars
    stars = stars + rng.normal(size=stars.shape) * np.sqrt(variances)
    first = peak_centroids(stars, variances, np.repeat(moffat(0, 0, half=20), n, axis=0), start(n))
    found = refined_centroids(stars, variances, images(first), first)
    for pull in ((found.x - HALF - x) / found.x_err, (found.y - HALF - y) / found.y_err):
        assert abs(np.mean(pull)) < 0.2
        assert 0.9 < 1.4826 * np.median(np.abs(pull)) < 1.12


def test_errors_of_a_gaussian_star_are_the_least_possible():
    along, sigma = np.arange(-HALF, HALF + 1.0), 2.0
    star = np.exp(-0.5 * (along**2 + along[:, None] ** 2) / sigma**2)[None] / (2 * np.pi * sigma**2)
    found = peak_centroids(1e3 * star, np.full_like(star, 9.0), star[:, 4:-4, 4:-4].copy(), start(1))
    # Cramer and Rao: noise over flux and root of the summed squared slopes, 1 / (8 pi sigma^4)
    assert found.x_err[0] == pytest.approx(3 / 1e3 * np.sqrt(8 * np.pi) * sigma**2, rel=0.04)


def test_the_maximum_is_found_from_pixels_away():
    star = moffat(2.3, -1.6)
    found = peak_centroids(star, np.ones_like(star), moffat(0, 0, half=20), start(1))
    assert found.x[0] == pytest.approx(HALF + 2.3, abs=1e-3)
    assert found.y[0] == pytest.approx(HALF - 1.6, abs=1e-3)


def test_wide_sources_are_summed_in_boxes_which_noise_disturbs_less():
    rng, n = np.random.default_rng(3), 100
    wide = 2e4 * moffat(0.3, 0.1, fwhm=12) + rng.normal(0, 5, (n, 49, 49))
    kernels = np.repeat(moffat(0, 0, half=20), n, axis=0)
    boxes = peak_centroids(wide, np.full_like(wide, 25.0), kernels, start(n))
    pixels = peak_centroids(wide, np.full_like(wide, 25.0), kernels, start(n), max_step=1)
    assert (boxes.step > 1).all()
    assert np.std(boxes.x) < np.std(pixels.x)
    assert np.mean(boxes.x) == pytest.approx(HALF + 0.3, abs=0.02)
    assert 0.8 < np.std(boxes.x) / np.mean(boxes.x_err) < 1.25


def test_what_goes_wrong_is_told_and_leaves_the_position_given():
    star = 100 * moffat(0.2, 0.1)
    gone, ramp, corner = star.copy(), np.zeros_like(star), star.copy()
    gone[0, HALF - 1 : HALF + 2, HALF - 1 : HALF + 2] = np.nan
    ramp += np.arange(49.0)
    corner[0, :, : HALF - 12] = np.nan
    stamps = np.concatenate([star, gone, ramp, corner])
    variances = np.where(np.isnan(stamps), np.inf, 1.0)
    found = peak_centroids(stamps, variances, np.repeat(moffat(0, 0, half=20), 4, axis=0), start(4))
    flags = [CentroidFlag(int(value)) for value in found.flags]
    assert flags[0] == 0
    assert flags[1] == CentroidFlag.EDGE or CentroidFlag.NOT_AT_MAXIMUM in flags[1]
    assert CentroidFlag.NOT_AT_MAXIMUM in flags[2]
    assert flags[3] == CentroidFlag.NEAR_EDGE
    assert found.x[2] == HALF
    assert np.isnan(found.x_err[2])
    assert found.x[3] == pytest.approx(HALF + 0.2, abs=0.01)
