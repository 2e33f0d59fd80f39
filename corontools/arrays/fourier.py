r"""Kernels that make one PSF like another, on full stamps, by Fourier transforms.

For PSFs with wide wings, such as those of JWST, which a sum of a few Gaussians can't make. With P and M the transforms
of the PSF and of the one wanted the kernel is

.. math:: K = \frac{P^* M}{|P|^2 + d\,w(f)}, \quad w = (2 f)^2

which makes |K P - M|^2 + d w |K|^2 least at each frequency f (cycles/px). The weight w is 0 at frequency 0, so that the
kernel's total stays 1, and 1 at the Nyquist frequency: a Wiener filter against noise that is rougher than the PSF.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

__all__ = ["fourier_kernels"]


def fourier_kernels(psfs: np.ndarray, models: np.ndarray, *, size: int, damping: float) -> np.ndarray:
    """Kernels (n, size, size) of total 1 that make each PSF (n, s, s) like the model (n, s, s).

    Parameters
    ----------
    psfs, models : ndarray, shape (n, s, s)
        Of total 1, centred on the middle pixel, 0 beyond their edges; s odd.
    size : int
        Odd; what the kernel has beyond is cut off, and its total made 1 again.
    damping : float
        d of the formula, in units of the PSF's power at frequency 0: 1e-4 gives up frequencies whose amplitude the
        PSF has lowered below 1 %.

    Examples
    --------
    >>> along = np.arange(31) - 15.0
    >>> star = lambda s: np.exp(-0.5 * (along**2 + along[:, None] ** 2) / s**2)[None] / (2 * np.pi * s**2)
    >>> kernel = fourier_kernels(star(1.5), star(2.0), size=15, damping=1e-6)
    >>> bool(abs(kernel[0, 7, 7] / (1 / (2 * np.pi * 1.75)) - 1) < 0.01)
    True
    """
    # a kernel as wide as the stamp doesn't reach the stamp's copy beside it
    length = fft.next_fast_len(2 * max(psfs.shape[1], size), real=True)
    psf, model = (fft.rfft2(stamps, (length, length)) for stamps in (psfs, models))
    fy, fx = fft.fftfreq(length), fft.rfftfreq(length)
    weight = 4 * (fy[:, None] ** 2 + fx**2)
    ratio = np.conj(psf) * model / (np.abs(psf) ** 2 + damping * weight)
    whole = fft.fftshift(fft.irfft2(ratio, (length, length)), axes=(1, 2))
    first = length // 2 - size // 2
    kernels = whole[:, first : first + size, first : first + size]
    return kernels / kernels.sum(axis=(1, 2), keepdims=True)
