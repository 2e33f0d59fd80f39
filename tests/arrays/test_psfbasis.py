"""A PSF of pixels: splines at sub-pixel places, and the least-squares fit to stars."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import BSpline

from corontools.arrays._psfbasis_kernels import gather, joined, render
from corontools.arrays.psfbasis import draw_stars, fit_basis, grid_side, spline_taps
from corontools.errors import DataError


def moffats(offsets, fwhm, *, size=31):
    """Moffat profiles of power 3, total near 1, as pixels hold them."""
    along = np.arange(size) - size // 2
    alpha2 = (np.broadcast_to(fwhm, len(offsets)) / 2) ** 2 / (2 ** (1 / 3) - 1)
    r2 = (along - offsets[:, :1])[:, None, :] ** 2 + (along - offsets[:, 1:])[:, :, None] ** 2
    return 2 / np.pi / alpha2[:, None, None] * (1 + r2 / alpha2[:, None, None]) ** -3


def spline(distance):
    """The quintic B-spline, as scipy has it."""
    return np.nan_to_num(BSpline.basis_element(np.arange(7) - 3.0, extrapolate=False)(distance))


@pytest.fixture
def offsets():
    return np.random.default_rng(1).uniform(-0.5, 0.5, (40, 2))


@pytest.mark.parametrize(("step", "stretch"), [(1, 1.0), (2, 1.0), (3, 1.2)])
def test_taps_are_those_of_the_quintic_spline(step, stretch, offsets):
    starts, taps = spline_taps(offsets, size=7, step=step, stretch=stretch)
    place = 3 * step + step * (np.arange(7) - 3 - offsets[:, :, None]) / stretch
    np.testing.assert_allclose(taps, spline(place[..., None] - starts[..., None] - np.arange(6)), atol=1e-14)
    np.testing.assert_allclose(taps.sum(axis=-1), 1, atol=1e-14)


@pytest.mark.parametrize(("step", "stretch"), [(1, 1.0), (2, 1.0), (1, 1.15), (2, 0.9)])
def test_stars_are_the_sums_of_splines_about_grid_points(step, stretch):
    size, side = 9, grid_side(9, step)
    grid = np.zeros((1, side, side))
    # zero at the edge, which is repeated beyond it
    grid[0, 1:-1, 1:-1] = np.random.default_rng(2).normal(size=(side - 2, side - 2))
    dx, dy = 0.3, -0.45
    points, pixels = (np.arange(side) - side // 2) / step, np.arange(size) - size // 2
    columns, rows = (spline(step * ((pixels[:, None] - d) / stretch - points)) for d in (dx, dy))
    drawn = draw_stars(grid, [[dx, dy]], size=size, step=step, stretch=stretch)[0]
    np.testing.assert_allclose(drawn, rows @ grid[0] @ columns.T, atol=1e-14)


@pytest.mark.parametrize("step", [1, 2])
def test_gathering_is_the_transpose_of_drawing(step, offsets):
    rng = np.random.default_rng(3)
    planes = rng.normal(size=(40, grid_side(11, step), grid_side(11, step)))
    images, drawn, gathered = rng.normal(size=(40, 11, 11)), np.empty((40, 11, 11)), np.empty_like(planes)
    starts, taps = spline_taps(offsets, size=11, step=step, stretch=rng.uniform(0.2, 1.5, 40))
    render(planes, starts, taps, drawn)
    gather(images, starts, taps, gathered)
    assert np.vdot(drawn, images) == pytest.approx(np.vdot(planes, gathered), rel=1e-12)


def test_a_level_stays_level_up_to_the_edge(offsets):
    np.testing.assert_allclose(draw_stars(np.ones((40, 11, 11)), offsets, size=11), 1, atol=1e-13)


@pytest.mark.parametrize(("fwhm", "step"), [(3.6, 1), (2.0, 2)])
def test_a_fitted_psf_draws_stars_at_places_it_has_not_seen(fwhm, step, offsets):
    stars = moffats(offsets, fwhm)
    basis = fit_basis(stars, np.ones_like(stars), np.ones((40, 1)), offsets, step=step, iterations=40)
    elsewhere = np.random.default_rng(4).uniform(-0.5, 0.5, (50, 2))
    drawn = draw_stars(np.repeat(basis, 50, axis=0), elsewhere, size=31, step=step)
    assert np.abs(drawn - moffats(elsewhere, fwhm)).max() < 3e-3 * stars.max()


def test_stretching_lets_one_grid_fit_stars_of_many_widths(offsets):
    stretch = np.random.default_rng(6).uniform(1, 1.3, 40)
    stars, weights = moffats(offsets, 3.6 * stretch), np.ones((40, 31, 31))
    terms = 1 / stretch[:, None] ** 2
    fitted = fit_basis(stars, weights, terms, offsets, stretch=stretch, iterations=40)
    drawn = terms[:, :, None] * draw_stars(np.repeat(fitted, 40, axis=0), offsets, size=31, stretch=stretch)
    assert np.abs(drawn - stars).max() < 1e-3 * stars.max()


def test_the_fit_is_the_least_squares_solution(offsets):
    rng = np.random.default_rng(5)
    stars, weights = rng.normal(size=(40, 5, 5)), rng.uniform(0.5, 2, (40, 5, 5))
    weights[rng.uniform(size=weights.shape) < 0.1] = 0
    terms = np.stack([np.ones(40), rng.uniform(-1, 1, 40)], axis=1)
    found = fit_basis(stars, weights, terms, offsets, iterations=2000)
    columns = []
    for k in range(2):
        for point in np.eye(25).reshape(25, 1, 5, 5):
            planes = terms[:, k, None, None] * np.repeat(point, 40, axis=0)
            columns.append(draw_stars(planes, offsets, size=5).ravel())
    root = np.sqrt(weights.ravel())
    expected = np.linalg.lstsq(np.array(columns).T * root[:, None], stars.ravel() * root, rcond=None)[0]

    def chi2(basis):
        model = np.array(columns).T @ basis.ravel()
        return float((weights.ravel() * (stars.ravel() - model) ** 2).sum())

    assert chi2(found) == pytest.approx(chi2(expected), rel=1e-6)


def test_masked_pixels_say_nothing(offsets):
    stars, weights = moffats(offsets, 4.0), np.ones((40, 31, 31))
    weights[3, 10:20, 12] = 0
    spoilt = stars.copy()
    spoilt[3, 10:20, 12] = 1e6
    terms = np.full((40, 1), 2.0)
    np.testing.assert_array_equal(fit_basis(stars, weights, terms, offsets), fit_basis(spoilt, weights, terms, offsets))


def test_a_pixel_that_is_masked_in_all_stars_is_bridged():
    stars, weights = moffats(np.zeros((9, 2)), 4.0, size=15), np.ones((9, 15, 15))
    weights[:, 0, 0] = 0
    found = fit_basis(stars, weights, np.ones((9, 1)), np.zeros((9, 2)))
    assert np.isfinite(found).all()


def test_a_start_at_the_solution_stays_there(offsets):
    stars, weights, terms = moffats(offsets, 4.0), np.ones((40, 31, 31)), np.ones((40, 1))
    first = fit_basis(stars, weights, terms, offsets, iterations=200)
    again = fit_basis(stars, weights, terms, offsets, start=first, iterations=3)
    assert np.abs(draw_stars(again - first, [[0.2, 0.1]], size=31)).max() < 1e-5 * stars.max()


def test_shapes_that_do_not_fit_and_stars_without_pixels_are_told(offsets):
    stars = moffats(offsets, 4.0)
    with pytest.raises(DataError, match=r"found shapes \(40, 31, 31\), \(40, 31, 31\), \(39, 1\), \(40, 2\)"):
        fit_basis(stars, stars, np.ones((39, 1)), offsets)
    with pytest.raises(DataError, match="zero weight"):
        fit_basis(stars, np.zeros_like(stars), np.ones((40, 1)), offsets)


def test_marked_pixels_are_joined_over_corners():
    marked = np.zeros((2, 7, 7), bool)
    marked[0, 3, 3] = marked[0, 4, 4] = marked[0, 5, 5] = marked[0, 0, 0] = True
    marked[1, 0:2, 0] = True
    own = np.empty_like(marked)
    joined(marked, own)
    assert np.argwhere(own).tolist() == [[0, 3, 3], [0, 4, 4], [0, 5, 5]]
