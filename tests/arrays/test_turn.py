"""Residual images on another grid: planted sources, noise, gaps and edges."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.special import j1

from corontools.arrays.turn import bridge, turn
from corontools.arrays.warp import lay_nodes

SHAPE = (64, 60)
ROWS, COLUMNS = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)


def to_source(angle=0.0, shift=(0.0, 0.0), shape=SHAPE):
    """Positions turned by `angle` degrees about the middle and shifted."""
    (cy, cx), c, s = ((n - 1) / 2 for n in shape), np.cos(np.radians(angle)), np.sin(np.radians(angle))

    def mapped(x, y):
        return c * (x - cx) - s * (y - cy) + cx + shift[0], s * (x - cx) + c * (y - cy) + cy + shift[1]

    return mapped


def turned(image, angle=0.0, shift=(0.0, 0.0), **variances):
    nodes = lay_nodes(to_source(angle, shift, image.shape), image.shape, source=image.shape)
    return turn(image, nodes, shape=image.shape, **variances)


def airy(x, y, scale=2.24):
    """PSF of a round aperture, lambda / D in px, averaged over 4 x 4 places in the pixel."""
    steps = (np.arange(4) - 1.5) / 4
    r = np.pi * np.hypot(x[..., None, None] + steps, y[..., None, None] + steps[:, None]) / scale
    return np.mean(np.square(2 * j1(r) / r), axis=(-2, -1))


def fitted(image, x, y):
    """Flux, and the move (dx, dy), of the PSF that fits an image best, about a place."""
    h, use = 1e-3, (np.hypot(COLUMNS - x, ROWS - y) < 4.5) & np.isfinite(image)
    dx, dy = COLUMNS[use] - x, ROWS[use] - y
    slopes = [airy(dx - h, dy) - airy(dx + h, dy), airy(dx, dy - h) - airy(dx, dy + h)]
    flux, move_x, move_y = np.linalg.lstsq(
        np.stack([airy(dx, dy), *(slope / (2 * h) for slope in slopes)], axis=1), image[use], rcond=None
    )[0]
    return flux, np.array([move_x, move_y]) / flux


@pytest.mark.parametrize("angle", [5.0, 10.0, 33.0])
def test_a_planted_source_keeps_flux_place_and_shape(angle):
    x, y = 37.3, 30.6
    image = airy(COLUMNS - to_source(angle)(x, y)[0], ROWS - to_source(angle)(x, y)[1])
    made = turned(image, angle).value
    flux, move = fitted(made, x, y)
    assert flux == pytest.approx(1, abs=2e-3)
    assert np.abs(move).max() < 1e-3
    truth = airy(COLUMNS - x, ROWS - y)
    assert np.nanmax(np.abs(made - truth)) < 4e-3 * truth.max()


def test_a_source_among_bad_pixels_keeps_flux_and_place():
    """One in a hundred is bad: flux to 0.3 % and place to 0.01 px, at a hundred places."""
    rng, found = np.random.default_rng(1), []
    for _ in range(100):
        x, y = rng.uniform(26, 34, 2)
        there = to_source(12.0)(x, y)
        image = np.where(rng.random(SHAPE) < 0.01, np.nan, airy(COLUMNS - there[0], ROWS - there[1]))
        flux, move = fitted(turned(image, 12.0).value, x, y)
        found.append([flux - 1, *move])
    assert np.sqrt(np.mean(np.square(found), axis=0)) == pytest.approx([0, 0, 0], abs=3e-3)
    assert np.abs(found).max() < 0.015


def test_rotation_is_that_of_the_fourier_series():
    """A periodic image without the highest frequencies, read off its own Fourier sum."""
    rng = np.random.default_rng(2)
    kx, ky = (np.arange(-10, 11) / n for n in (SHAPE[1], SHAPE[0]))
    wave = rng.normal(size=(21, 21)) + 1j * rng.normal(size=(21, 21))

    def series(x, y):
        return (np.exp(2j * np.pi * np.outer(y, ky)) @ wave * np.exp(2j * np.pi * np.outer(x, kx))).sum(axis=1).real

    image = series(COLUMNS.ravel(), ROWS.ravel()).reshape(SHAPE)
    made = turned(image, 20.0, (0.3, -0.2)).value
    inside = np.s_[14:50, 14:46]
    x, y = to_source(20.0, (0.3, -0.2))(COLUMNS[inside], ROWS[inside])
    truth = series(x.ravel(), y.ravel()).reshape(x.shape)
    assert np.std(made[inside] - truth) < 4e-3 * np.std(truth)


def test_rotation_is_that_of_a_spline():
    image = np.exp(-((COLUMNS - 25) ** 2 + (ROWS - 35) ** 2) / 30)
    made = turned(image, 10.0).value
    x, y = to_source(10.0)(COLUMNS, ROWS)
    inside = np.isfinite(made)
    np.testing.assert_allclose(made[inside], map_coordinates(image, [y, x], order=5)[inside], atol=2e-3)
    assert made[inside].sum() == pytest.approx(image.sum(), rel=1e-3)


def test_identity_gives_the_image():
    image = np.random.default_rng(0).normal(size=SHAPE)
    made = turned(image, photon=np.ones(SHAPE), speckle=np.full(SHAPE, 3.0))
    np.testing.assert_allclose(made.value, image, atol=1e-12)
    np.testing.assert_allclose(made.photon, 1, atol=1e-12)
    np.testing.assert_allclose(made.speckle, 3, atol=1e-12)


def test_faint_units_are_kept():
    image = np.random.default_rng(0).normal(size=SHAPE)
    made = turned(1e-25 * image, 7.0, photon=np.full(SHAPE, 1e-50))
    same = turned(image, 7.0, photon=np.ones(SHAPE))
    np.testing.assert_allclose(made.value, 1e-25 * same.value, rtol=1e-9)
    np.testing.assert_allclose(made.photon, 1e-50 * same.photon, rtol=1e-9)


@pytest.mark.parametrize("bad", [0.0, 0.03])
def test_photon_variance_is_that_of_turned_noise(bad):
    rng = np.random.default_rng(1)
    gaps = np.where(rng.random((40, 40)) < bad, np.nan, 0.0)
    drawn = [turned(rng.normal(size=(40, 40)) + gaps, 7.0, (0.3, 0.4)).value for _ in range(600)]
    photon = turned(gaps, 7.0, (0.3, 0.4), photon=np.ones((40, 40))).photon
    middle = np.s_[12:28, 12:28]
    assert np.nanmean(np.var(drawn, axis=0)[middle]) == pytest.approx(np.nanmean(photon[middle]), rel=0.02)


def test_shared_variance_is_interpolated_not_reduced():
    speckle = turned(np.zeros(SHAPE), 0, (0.5, 0.5), speckle=np.full(SHAPE, 4.0)).speckle
    np.testing.assert_allclose(speckle[:-1, :-1], 4.0)


def test_bad_pixels_blank_what_they_dominate_and_nothing_more():
    image = np.random.default_rng(0).normal(size=SHAPE)
    image[20, 20] = np.nan
    near = turned(image, 0, (0.1, 0.0)).value
    assert np.argwhere(np.isnan(near)).tolist() == [[20, 20]]
    halfway = turned(image, 0, (0.45, 0.0)).value
    assert np.argwhere(np.isnan(halfway)).tolist() == [[20, 19], [20, 20]]


def test_pixels_end_half_a_pixel_outside():
    made = turned(np.ones(SHAPE), 0, (0.45, 0.0), photon=np.ones(SHAPE)).value
    np.testing.assert_allclose(made, 1, atol=1e-9)
    beyond = turned(np.ones(SHAPE), 0, (0.55, 0.0)).value
    assert np.isnan(beyond[:, -1]).all()
    np.testing.assert_allclose(beyond[:, :-1], 1, atol=1e-9)


def test_where_there_is_nothing_nothing_is_given():
    for made in (turned(np.ones(SHAPE), 0, (80, 0)), turned(np.full(SHAPE, np.nan), photon=np.ones(SHAPE))):
        assert all(np.isnan(plane).all() for plane in made)


def test_values_without_an_error_stay():
    photon = np.ones(SHAPE)
    photon[:, 30:] = np.nan
    made = turned(np.ones(SHAPE), photon=photon)
    np.testing.assert_allclose(made.value, 1)
    assert np.isfinite(made.photon[:, :30]).all()
    assert np.isnan(made.photon[:, 40:]).all()
    assert np.isnan(turned(np.ones(SHAPE)).photon).all()


def test_a_lone_gap_is_bridged_by_the_smoothest_surface():
    """That of least squared Laplacian: found here by a search, for an image of noise."""
    image = np.random.default_rng(4).normal(size=(9, 9))
    good = np.ones((9, 9), bool)
    good[4, 4] = False

    def roughness(value):
        full = np.where(good, image, value)
        return np.sum(
            np.square(full[:-2, 1:-1] + full[2:, 1:-1] + full[1:-1, :-2] + full[1:-1, 2:] - 4 * full[1:-1, 1:-1])
        )

    a, b, c = np.polyfit([-1.0, 0.0, 1.0], [roughness(v) for v in (-1.0, 0.0, 1.0)], 2)
    assert bridge(np.where(good, image, np.nan), good)[4, 4] == pytest.approx(-b / (2 * a))
    assert c > 0


def test_wide_gaps_and_corners_are_bridged_by_medians_and_inputs_stay():
    image = np.full((12, 12), 5.0)
    good = np.ones((12, 12), bool)
    good[3:6, 3:6], good[0, 0] = False, False
    image[~good] = np.nan
    kept = image.copy()
    np.testing.assert_allclose(bridge(image, good), 5.0)
    np.testing.assert_array_equal(image, kept)
