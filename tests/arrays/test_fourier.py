"""Kernels by Fourier transforms."""

from __future__ import annotations

import numpy as np
import pytest

from corontools.arrays.fourier import fourier_kernels
from corontools.arrays.matching import convolve_stamps

SIZE = 61
ALONG = np.arange(SIZE) - SIZE // 2
SQUARES = ALONG**2 + ALONG[:, None] ** 2


def unit(image):
    return (image / image.sum())[None]


def gaussian(sigma):
    return unit(np.exp(-0.5 * SQUARES / sigma**2))


def test_the_kernel_between_two_gaussians_is_a_gaussian():
    kernel = fourier_kernels(gaussian(1.5), gaussian(2.5), size=SIZE, damping=1e-9)
    np.testing.assert_allclose(kernel, gaussian(2.0), atol=2e-6)


def test_a_planted_kernel_with_wide_wings_is_recovered():
    planted = unit(0.7 * gaussian(2.0)[0] + 0.3 * gaussian(9.0)[0])
    psf = unit((1 + SQUARES / 4) ** -3.0)
    # cut at the edge of the stamps alike
    model = convolve_stamps(psf, planted, size=SIZE)
    found = fourier_kernels(psf, model / model.sum(), size=SIZE, damping=1e-8)
    assert np.abs(convolve_stamps(psf, found) - model).max() < 2e-3 * model.max()


def test_each_kernel_has_the_total_one_for_any_damping_and_size():
    psfs = np.concatenate([gaussian(1.5), gaussian(2.0)])
    models = np.concatenate([gaussian(2.5), gaussian(2.5)])
    for damping, size in ((0.0001, SIZE), (0.1, 21)):
        found = fourier_kernels(psfs, models, size=size, damping=damping)
        assert found.shape == (2, size, size)
        np.testing.assert_allclose(found.sum(axis=(1, 2)), 1)


def test_damping_holds_down_frequencies_that_the_psf_lacks():
    """Towards a narrower PSF the exact kernel would amplify by the ratio of the transforms, without bound."""
    gains = [
        np.sqrt((fourier_kernels(gaussian(2.0), gaussian(1.5), size=SIZE, damping=d) ** 2).sum())
        for d in (1e-8, 1e-4, 1e-2)
    ]
    assert gains[0] > 1 > gains[2]
    assert gains == sorted(gains, reverse=True)


def test_it_is_the_least_of_residual_and_damped_kernel_at_each_frequency():
    damping, length = 1e-2, 128
    kernel = fourier_kernels(gaussian(1.5), gaussian(2.5), size=SIZE, damping=damping)
    f = np.fft.fftfreq(length)
    psf, model, found = (
        np.abs(np.fft.fft2(image[0], (length, length))) for image in (gaussian(1.5), gaussian(2.5), kernel)
    )
    wanted = psf * model / (psf**2 + damping * 4 * (f**2 + f[:, None] ** 2))
    np.testing.assert_allclose(found, wanted, atol=2e-4)


@pytest.mark.parametrize("shift", [(0, 1), (1, 0)])
def test_a_shift_between_the_psfs_goes_into_the_kernel(shift):
    model = np.roll(gaussian(2.5), shift, axis=(1, 2))
    kernel = fourier_kernels(gaussian(1.5), model, size=31, damping=1e-8)[0]
    assert np.unravel_index(kernel.argmax(), kernel.shape) == (15 + shift[0], 15 + shift[1])
