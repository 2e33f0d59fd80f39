import numpy as np
import pytest
from scipy import stats

from corontools.arrays.radial import annular_noise, radii, ring_scatter, scatter_map, student_factor
from corontools.errors import DataError


def test_rings_hold_whole_pixels_between_their_radii():
    image = np.random.default_rng(0).normal(size=(31, 41))
    image[3, 4] = np.nan
    radius, noise, count = annular_noise(image, center=(20.3, 14.0), width=3)
    distance = radii(image.shape, (20.3, 14.0))
    assert radius.tolist() == [1.5, 4.5, 7.5, 10.5, 13.5]
    for middle, sigma, n in zip(radius, noise, count, strict=True):
        ring = image[(distance >= middle - 1.5) & (distance < middle + 1.5) & np.isfinite(image)]
        assert n == ring.size
        np.testing.assert_allclose(sigma, ring.std())


def test_a_ring_without_pixels_has_no_noise():
    image = np.full((21, 21), np.nan)
    image[10, 10] = 3.0
    _, noise, count = annular_noise(image, center=(10, 10), width=2)
    assert (noise[0], count[0]) == (0, 1)
    assert np.isnan(noise[1:]).all()


@pytest.mark.parametrize("bad", [{"center": (0, 5), "width": 2}, {"center": (5, 5), "width": 0}])
def test_no_ring_is_an_error(bad):
    with pytest.raises(DataError, match="no ring of width"):
        annular_noise(np.zeros((11, 11)), **bad)


def test_student_factor_is_that_of_mawet_et_al():
    # one-sided false-alarm probability of 5 sigma, t distribution with n - 1 degrees of freedom
    probability = stats.norm.sf(5.0)
    for n in (4, 10, 100):
        factor = float(student_factor(5.0, np.array([n + 0.9]))[0])
        assert stats.t.sf(factor / np.sqrt(1 + 1 / n), n - 1) == pytest.approx(probability, rel=1e-9)
    assert np.isnan(student_factor(5.0, np.array([1.9]))[0])
    assert float(student_factor(5.0, np.array([1e7]))[0]) == pytest.approx(5.0, abs=1e-4)


def test_far_tails_do_not_saturate():
    factors = student_factor(12.0, np.array([50.0, 60.0]))
    assert np.isfinite(factors).all()
    assert factors[0] > factors[1] > 12


def test_the_scatter_of_a_ring_is_that_of_its_noise_with_or_without_a_companion():
    rng = np.random.default_rng(4)
    r = np.hypot(*(np.mgrid[:121, :121] - 60.0))
    image = rng.normal(size=(2, 121, 121)) * (1 + r / 20) + 3.0
    bright = image.copy()
    bright[:, 58:63, 88:93] += 500.0
    bright[:, 0, :] = np.nan
    for images in (image, bright):
        radius, level, scatter, share = ring_scatter(images, center=(60.0, 60.0), width=4.0)
        inside = (radius > 8) & (radius < 58)
        np.testing.assert_allclose(scatter[:, inside], np.tile(1 + radius[inside] / 20, (2, 1)), rtol=0.12)
        np.testing.assert_allclose(level[:, inside], 3.0, atol=0.8)
        np.testing.assert_allclose(share[inside], 1.0, atol=0.06)
    assert share[-1] < 0.2  # the corners


def test_a_ring_of_one_pixel_has_no_scatter():
    assert np.isnan(ring_scatter(np.ones((1, 3, 3)), center=(1.0, 1.0), width=0.9)[2][0, 0])


def test_the_scatter_map_is_the_median_absolute_deviation_of_each_ring():
    rng = np.random.default_rng(6)
    image = rng.normal(size=(23, 27))
    image[rng.random(image.shape) < 0.1] = np.nan
    center = (12.3, 10.1)
    found, distance = scatter_map(image, center=center, width=3.0), radii(image.shape, center)
    for y, x in ((10, 12), (0, 0), (22, 26), (5, 7)):
        ring = image[(distance // 3 == distance[y, x] // 3) & np.isfinite(image)]
        expected = stats.median_abs_deviation(ring, scale="normal") if ring.size >= 5 else np.nan
        assert found[y, x] == pytest.approx(expected, nan_ok=True) or np.isnan(image[y, x])
    np.testing.assert_array_equal(np.isnan(found) & np.isfinite(image), few(image, distance // 3))
    assert np.isnan(scatter_map(np.full((9, 9), np.nan), center=(4.0, 4.0))).all()


def few(image, ring):
    """Finite pixels in rings of fewer than five."""
    finite = np.isfinite(image)
    count = np.bincount(ring[finite].astype(int), minlength=int(ring.max()) + 1)
    return finite & (count[ring.astype(int)] < 5)
