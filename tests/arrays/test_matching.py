"""Kernels of Gaussians times polynomials that make one PSF like another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import convolve

from corontools.arrays.chebyshev import chebyshev_design
from corontools.arrays.matching import (
    aliasing,
    convolve_stamps,
    fit_planes,
    gaussian_basis,
    resized,
    solve_planes,
)
from corontools.errors import DataError

BASIS = gaussian_basis(15, (0.7, 1.5, 3.0), (4, 2, 2))
SHAPE = (200, 300)
X, Y = (v.ravel() for v in np.meshgrid(np.linspace(0, 299, 5), np.linspace(0, 199, 5)))
TERMS = chebyshev_design(X, Y, 1, shape=SHAPE)


def stars(sigmas, size=31, *, lean=0.0):
    """Gaussians of total 1, their axes leaning."""
    along = np.arange(size) - size // 2
    x, y = along, along[:, None]
    images = np.array([np.exp(-0.5 * (x**2 + y**2 + lean * x * y) / s**2) for s in np.atleast_1d(sigmas)])
    return images / images.sum(axis=(1, 2), keepdims=True)


def planted(seed=1):
    """Coefficients of a kernel that is linear in the place, and its planes."""
    coefficients = np.random.default_rng(seed).normal(0, 0.02, (len(BASIS.images) - 1, 3))
    planes = np.tensordot(coefficients.T, BASIS.images[1:], 1)
    planes[0] += BASIS.images[0]
    return planes


def test_the_basis_has_27_functions_of_which_only_the_first_has_a_total():
    totals = BASIS.images.sum(axis=(1, 2))
    assert BASIS.images.shape == (27, 15, 15)
    np.testing.assert_allclose(totals, [1] + [0] * 26, atol=1e-12)
    np.testing.assert_allclose((BASIS.images[1:] ** 2).sum(axis=(1, 2)), 1)


def test_functions_are_gaussians_times_powers_less_the_first_function():
    along = np.arange(15) - 7.0
    x, y = along / 7, along[:, None] / 7
    first = np.exp(-0.5 * (along**2 + along[:, None] ** 2) / 0.7**2)
    first /= first.sum()
    # of the second Gaussian: 1, x, x^2, y, x y, y^2 follow the 15 functions of the first
    wide = np.exp(-0.5 * (along**2 + along[:, None] ** 2) / 1.5**2)
    for power, found in zip((1 + 0 * x * y, x + 0 * y, x**2 + 0 * y, y + 0 * x), BASIS.images[15:19], strict=True):
        wanted = wide * power
        if abs(wanted.sum()) > 1e-7:
            wanted = wanted / wanted.sum() - first
        np.testing.assert_allclose(found, wanted / np.sqrt((wanted**2).sum()), atol=1e-12)


def test_a_planted_kernel_that_varies_is_recovered():
    planes = planted()
    psfs = stars(np.linspace(1.4, 1.9, len(X)))
    kernels = np.tensordot(TERMS, planes, 1)
    # wide enough that the whole convolved star is on the stamp
    models = convolve_stamps(psfs, kernels, size=31)
    found = solve_planes(psfs, models, TERMS, basis=BASIS, damping=0.0)
    np.testing.assert_allclose(found, planes, atol=1e-6)


def test_the_solution_is_that_of_least_squares():
    psfs, models, damping = stars(np.linspace(1.4, 1.6, len(X)), lean=0.2), stars([2.0] * len(X)), 1e-3
    rows, wanted = [], []
    for psf, model, term in zip(psfs, models, TERMS, strict=True):
        blurred = np.array([convolve(psf, one, mode="valid") for one in BASIS.images]).reshape(27, -1)
        inner = model[7:-7, 7:-7].ravel()
        rows.append(np.einsum("ip,t->pit", blurred[1:], term).reshape(inner.size, -1))
        wanted.append(inner - blurred[0])
        weight = np.sqrt(damping * (model**2).sum())
        flat = weight * BASIS.images.reshape(27, -1)
        rows.append(np.einsum("ip,t->pit", flat[1:], term).reshape(flat.shape[1], -1))
        wanted.append(-flat[0])
    truth = np.linalg.lstsq(np.concatenate(rows), np.concatenate(wanted), rcond=None)[0].reshape(26, 3)
    planes = np.tensordot(truth.T, BASIS.images[1:], 1)
    planes[0] += BASIS.images[0]
    np.testing.assert_allclose(solve_planes(psfs, models, TERMS, basis=BASIS, damping=damping), planes, atol=1e-8)


def test_the_total_of_the_kernel_is_one_everywhere():
    planes = solve_planes(stars(np.linspace(1.4, 1.6, 25)), stars([2.2] * 25), TERMS, basis=BASIS)
    np.testing.assert_allclose(planes.sum(axis=(1, 2)), [1, 0, 0], atol=1e-12)


def test_damping_lowers_the_noise_of_the_convolved_image():
    one = np.ones((1, 1))
    gains = [
        (solve_planes(stars(1.5), stars(2.6), one, basis=BASIS, damping=damping) ** 2).sum()
        for damping in (0.0, 1e-4, 1e-2)
    ]
    assert gains[0] > gains[1] > gains[2]


def test_a_kernel_as_large_as_the_stamps_is_an_error():
    with pytest.raises(DataError, match="kernel of 15 px is as large as the stamps of the PSF, 15 px"):
        solve_planes(stars(1.5, 15), stars(2.0, 15), np.ones((1, 1)), basis=BASIS)


def test_too_few_places_are_an_error():
    few = TERMS[:2]
    with pytest.raises(DataError, match="2 places, of which 2 are independent, don't determine the 3 terms"):
        solve_planes(stars([1.5, 1.5]), stars([2.0, 2.0]), few, basis=BASIS)
    with pytest.raises(DataError, match="smaller cells or a lower order"):
        fit_planes(np.ones((2, 3, 3)), few)


def test_planes_fitted_to_kernels_give_them_again():
    planes = planted()
    np.testing.assert_allclose(fit_planes(np.tensordot(TERMS, planes, 1), TERMS), planes, atol=1e-12)


@pytest.mark.parametrize("size", [31, 45, 21])
def test_stamps_are_convolved_each_with_its_kernel(size):
    rng = np.random.default_rng(2)
    images, kernels = rng.normal(size=(3, 31, 31)), rng.normal(size=(3, 15, 15))
    found = convolve_stamps(images, kernels, size=size)
    whole = np.array([convolve(a, b, method="direct") for a, b in zip(images, kernels, strict=True)])
    np.testing.assert_allclose(found, resized(whole, size), atol=1e-10)


def test_aliasing_is_the_transform_at_the_nyquist_frequency():
    # transform of a Gaussian of sigma s at 1/2 cycle/px; the images of frequency 1 add as much again
    for sigma in (0.5, 0.6, 0.7):
        exact = 2 * np.exp(-2 * (np.pi * sigma / 2) ** 2)
        assert aliasing(stars(sigma))[0] == pytest.approx(exact, rel=0.03)
