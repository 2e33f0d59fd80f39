import numpy as np
import pytest
from scipy import optimize

from corontools.arrays.moments import ORDERS, MomentFlag, adaptive_moments, blendedness, higher_moments

HALF = 30
X, Y = np.meshgrid(np.arange(2 * HALF + 1.0), np.arange(2 * HALF + 1.0))


def elliptical(x, y, xx, yy, xy, *, profile):
    """Image that is a function of the elliptical radius squared."""
    det = xx * yy - xy**2
    dx, dy = X - x, Y - y
    return profile((yy * dx**2 + xx * dy**2 - 2 * xy * dx * dy) / det)


def gaussian(q):
    return np.exp(-0.5 * q)


def moffat(q):
    return (1 + q / 3) ** -3


def weighted_conditions(values, image):
    """What is 0 when the weight's middle and covariance are the adaptive ones, written out."""
    x, y, xx, yy, xy = values
    weight = elliptical(x, y, xx, yy, xy, profile=gaussian) * image
    dx, dy = X - x, Y - y
    means = [np.sum(weight * term) / np.sum(weight) for term in (dx, dy, dx**2, dy**2, dx * dy)]
    return np.array(means) - np.array([0, 0, xx / 2, yy / 2, xy / 2])


def test_a_gaussian_has_its_own_covariance_and_flux():
    shape = (4.0, 2.5, 0.8)
    image = elliptical(30.3, 29.8, *shape, profile=gaussian)[None]
    found = adaptive_moments(image, np.ones_like(image), [30], [30], sigma=1.7)
    np.testing.assert_allclose([found.xx[0], found.yy[0], found.xy[0]], shape, rtol=1e-4)
    assert found.flux[0] == pytest.approx(image.sum(), rel=1e-5)
    assert (found.x[0], found.y[0]) == (pytest.approx(30.3, abs=1e-5), pytest.approx(29.8, abs=1e-5))


def test_the_moments_solve_the_conditions_written_out():
    images = np.stack([elliptical(30.3, 29.8, *shape, profile=moffat) for shape in ((4, 2.5, 0.8), (12, 9, -3.0))])
    found = adaptive_moments(images, np.ones_like(images), [30, 30], [30, 30], sigma=1.7)
    for k, image in enumerate(images):
        start = np.array([30, 30, 5.0, 5.0, 0.0])
        solution = optimize.root(weighted_conditions, start, args=(image,), tol=1e-10)
        assert solution.success
        mine = [values[k] for values in found[:5]]
        np.testing.assert_allclose(mine, solution.x, atol=2e-4)


@pytest.mark.parametrize("flux", [4e3, 1e5])
def test_errors_are_those_of_many_trials(flux):
    rng, n = np.random.default_rng(1), 500
    star = elliptical(30.2, 29.7, 3.5, 2.8, 0.4, profile=moffat)
    star *= flux / star.sum()
    truth = adaptive_moments(star[None], np.ones((1, *star.shape)), [30], [30], sigma=1.7)
    variances = np.broadcast_to(100 + star, (n, *star.shape)).copy()
    stars = star + rng.normal(size=variances.shape) * np.sqrt(variances)
    found = adaptive_moments(stars, variances, np.full(n, 30.0), np.full(n, 30.0), sigma=1.7)
    assert not found.flags.any()
    for name in ("xx", "yy", "xy", "flux"):
        pull = (getattr(found, name) - getattr(truth, name)) / getattr(found, f"{name}_err")
        assert abs(np.mean(pull)) < 0.25, name
        assert 0.88 < np.std(pull) < 1.15, name


def test_missing_pixels_are_left_out_of_the_sums():
    image = elliptical(30, 30, 4.0, 4.0, 0.0, profile=gaussian)[None]
    hole = image.copy()
    hole[0, 30, 36] = np.nan
    whole, found = (adaptive_moments(a, np.ones_like(a), [30], [30], sigma=2.0) for a in (image, hole))
    assert found.flags[0] == 0
    # a pixel far out under the weight counts little; as a zero or an infinity it would show elsewhere
    assert found.xx[0] == pytest.approx(whole.xx[0], rel=0.01)
    assert found.yy[0] == pytest.approx(whole.yy[0], rel=0.01)


def test_what_has_no_shape_is_flagged_and_nan():
    star = elliptical(30, 30, 4.0, 4.0, 0.0, profile=gaussian)
    far = elliptical(36, 30, 4.0, 4.0, 0.0, profile=gaussian)
    stamps = np.stack([-star, far, np.full_like(star, np.nan), np.ones_like(star)])
    found = adaptive_moments(stamps, np.ones_like(stamps), np.full(4, 30.0), np.full(4, 30.0), sigma=2.0, max_shift=2)
    assert found.flags[0] == MomentFlag.NO_FLUX
    assert found.flags[1] == MomentFlag.SHIFTED
    assert found.flags[2] == MomentFlag.NO_FLUX
    assert found.flags[3] == MomentFlag.NO_SIZE
    assert np.isnan(found.xx).all()
    assert np.isnan(found.flux_err).all()


def test_higher_moments_of_a_gaussian():
    image = elliptical(30.3, 29.8, 5.0, 3.0, 1.2, profile=gaussian)[None]
    found = adaptive_moments(image, np.ones_like(image), [30], [30], sigma=2.0)
    expected = {(4, 0): 0.75, (0, 4): 0.75, (2, 2): 0.25}
    # weight times image is a Gaussian of half the covariance
    np.testing.assert_allclose(
        higher_moments(image, found)[0], [expected.get(order, 0.0) for order in ORDERS], atol=2e-4
    )


def test_higher_moments_follow_a_lopsided_image():
    image = elliptical(30, 30, 4.0, 4.0, 0.0, profile=gaussian) + 0.3 * elliptical(32, 30, 6, 6, 0.0, profile=gaussian)
    found = adaptive_moments(image[None], np.ones((1, *image.shape)), [30], [30], sigma=2.0)
    moments = dict(zip(ORDERS, higher_moments(image[None], found)[0], strict=True))
    weight = elliptical(found.x[0], found.y[0], found.xx[0], found.yy[0], found.xy[0], profile=gaussian) * image
    u, v = (X - found.x[0]) / np.sqrt(found.xx[0]), (Y - found.y[0]) / np.sqrt(found.yy[0])
    for (p, q), value in moments.items():
        assert value == pytest.approx(np.sum(weight * u**p * v**q) / weight.sum(), abs=2e-4)
    assert moments[3, 0] > 0.005
    assert moments[0, 3] == pytest.approx(0, abs=1e-6)


def test_blendedness_is_the_part_of_others_light():
    star = 100 * elliptical(30, 30, 4.0, 4.0, 0.0, profile=gaussian)[None]
    found = adaptive_moments(star, np.ones_like(star), [30], [30], sigma=2.0)
    raw, absolute = blendedness(star, 4 * star, np.full_like(star, 1e-6), found)
    assert raw[0] == pytest.approx(0.75)
    assert absolute[0] == pytest.approx(0.75, abs=1e-4)
    raw, absolute = blendedness(star, star, np.ones_like(star), found)
    assert (raw[0], absolute[0]) == (pytest.approx(0), pytest.approx(0))
