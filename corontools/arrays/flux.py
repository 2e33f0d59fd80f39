"""Fluxes of sources: by the PSF, in circles, and in circles less the light around them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["CircleSums", "PSFFluxes", "circle_sums", "compensated_tophat", "psf_fluxes"]

# of the ring around a tophat; of fewer pixels the mean says little
LEAST_RING = 0.5


class PSFFluxes(NamedTuple):
    """Fluxes of n sources by the PSF; NaN where no pixel has a value.

    Attributes
    ----------
    flux, flux_err : ndarray, shape (n,)
    area : ndarray, shape (n,)
        Pixels that the PSF covers in effect, (sum P)^2 / sum P^2.
    chi2 : ndarray, shape (n,)
        Of the pixels against the star.
    n_pixels : ndarray of int, shape (n,)
        Pixels that had a value.
    """

    flux: np.ndarray
    flux_err: np.ndarray
    area: np.ndarray
    chi2: np.ndarray
    n_pixels: np.ndarray


class CircleSums(NamedTuple):
    """Sums of the pixels in circles about n sources, of k radii.

    Attributes
    ----------
    total, variance : ndarray, shape (n, k)
        Of the pixels that have a value, each by the area that lies inside.
    part : ndarray, shape (n, k)
        Of the circle's area that they cover, 0 to 1.
    """

    total: np.ndarray
    variance: np.ndarray
    part: np.ndarray


def psf_fluxes(pixels: np.ndarray, variances: np.ndarray, images: np.ndarray, x: ArrayLike, y: ArrayLike) -> PSFFluxes:
    """Flux f = sum P I / sum P^2 with the PSF P at the source; all pixels weigh alike.

    Weights by the variance would gain little for faint stars, and make the flux of bright ones depend on how well the
    PSF is known.

    Parameters
    ----------
    pixels, variances : ndarray, shape (n, y, x)
        NaN are left out of both sums.
    images : ndarray, shape (n, k, k)
        Stars of total 1 at the sources; the middle pixel is the one that holds the star.
    x, y : array_like, shape (n,)
        Where the sources are, 0-based, px of the stamp; the pixel counts here, the rest is in `images`.

    Examples
    --------
    >>> psf = np.outer([1, 2, 1], [1, 2, 1])[None] / 16
    >>> stamp = np.zeros((1, 5, 5)); stamp[0, 1:4, 1:4] = 80 * psf[0]; stamp[0, 2, 3] = np.nan
    >>> psf_fluxes(stamp, np.ones_like(stamp), psf, [2.0], [2.0]).flux
    array([80.])
    """
    from corontools.arrays._flux_kernels import psf_sums

    out = np.full((len(pixels), 5), np.nan)
    middles = np.floor(np.stack([np.asarray(x, float), np.asarray(y, float)], axis=1) + 0.5).astype(np.int64)
    psf_sums(pixels, variances, np.ascontiguousarray(images, float), middles, out)
    return PSFFluxes._make((*out.T[:4].copy(), out[:, 4].astype(np.int64)))


def circle_sums(
    pixels: np.ndarray, variances: np.ndarray, x: ArrayLike, y: ArrayLike, *, radii: ArrayLike
) -> CircleSums:
    """Sums in circles, each pixel by the area that lies inside.

    Parameters
    ----------
    pixels, variances : ndarray, shape (n, y, x)
        NaN are left out, and lower `part`.
    x, y : array_like, shape (n,)
        Middles, 0-based, px.
    radii : array_like, shape (k,)
        Rising, px.

    Examples
    --------
    >>> ones = np.ones((1, 31, 31))
    >>> sums = circle_sums(ones, ones, [15.3], [14.8], radii=[12.0])
    >>> bool(np.isclose(sums.total[0, 0], np.pi * 144)), sums.part
    (True, array([[1.]]))
    """
    from corontools.arrays._flux_kernels import circle_sums as kernel

    radii = np.atleast_1d(np.asarray(radii, float))
    out = np.zeros((len(pixels), len(radii), 3))
    places = np.stack([np.asarray(x, float), np.asarray(y, float)], axis=1)
    kernel(pixels, variances, places, radii, out)
    # rounded so that a whole circle is exactly 1
    return CircleSums(out[..., 0], out[..., 1], np.round(out[..., 2] / (np.pi * radii**2), 9))


def compensated_tophat(sums: CircleSums, radii: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Flux in a circle less what the ring around it says of the background, and its error.

    Parameters
    ----------
    sums : CircleSums
        Of the two radii.
    radii : tuple of float
        Of the circle and of the outer edge of the ring, px.

    Returns
    -------
    flux, flux_err : ndarray, shape (n,)
        A - s (B - A) with A in the circle, B in both and s the circle's area over that of the ring. Pixels of the ring
        without a value are taken to be like the rest of it. NaN where the circle isn't whole, or half of the ring.
    """
    inner, outer = (np.pi * radius**2 for radius in radii)
    seen = (sums.part[:, 1] * outer - sums.part[:, 0] * inner) / (outer - inner)
    usable = (sums.part[:, 0] >= 1) & (seen >= LEAST_RING)
    scale = inner / (outer - inner) / np.where(usable, seen, np.nan)
    flux = sums.total[:, 0] - scale * (sums.total[:, 1] - sums.total[:, 0])
    variance = sums.variance[:, 0] + scale**2 * (sums.variance[:, 1] - sums.variance[:, 0])
    return flux, np.sqrt(variance)
