"""Centres of stars: the maximum of the image smoothed by the PSF."""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["CentroidFlag", "Centroids", "peak_centroids", "refined_centroids"]


class CentroidFlag(IntFlag):
    """What went wrong with a centroid; with any but NEAR_EDGE the position is the one given."""

    EDGE = 1
    NO_SECOND_DERIVATIVE = 2
    NOT_AT_MAXIMUM = 4
    NEAR_EDGE = 8


class Centroids(NamedTuple):
    """Centres of n sources.

    Attributes
    ----------
    x, y : ndarray, shape (n,)
        0-based, px of the stamp.
    x_err, y_err : ndarray, shape (n,)
        From the variances; NaN where there is no centroid.
    step : ndarray of int, shape (n,)
        Side of the boxes of pixels that were summed, 1 for stars, 3, 5, ... for what is much wider, px.
    flags : ndarray of int32, shape (n,)
        Bits of `CentroidFlag`.
    """

    x: np.ndarray
    y: np.ndarray
    x_err: np.ndarray
    y_err: np.ndarray
    step: NDArray[np.int64]
    flags: NDArray[np.int32]


def peak_centroids(
    pixels: np.ndarray, variances: np.ndarray, kernels: np.ndarray, start: np.ndarray, *, max_step: int = 5
) -> Centroids:
    """Maximum of each stamp correlated with its PSF, from 3 x 3 pixels (Pier et al. 2003, AJ 125, 1559).

    The PSF isn't mirrored, so that a lopsided one has no bias; for a symmetric one this is smoothing. Up to 1e-3 px
    from the truth on stars without noise; `refined_centroids` takes that away.

    Parameters
    ----------
    pixels, variances : ndarray, shape (n, y, x)
        NaN are left out.
    kernels : ndarray, shape (n, k, k)
        PSF centred on the middle pixel, total 1, k odd.
    start : ndarray of int, shape (n, 2)
        (x, y) of the pixels near which to look for the maximum.
    max_step : int
        Largest side of the boxes of pixels that are summed for wide sources, px.

    Examples
    --------
    >>> along = np.arange(31) - 15.0
    >>> star = np.exp(-0.5 * ((along - 0.3) ** 2 + (along[:, None] + 0.2) ** 2) / 4)[None]
    >>> psf = np.exp(-0.5 * (along**2 + along[:, None] ** 2) / 4)[None] / (8 * np.pi)
    >>> found = peak_centroids(star, np.ones_like(star), psf, np.array([[15, 15]]))
    >>> bool(abs(found.x[0] - 15.3) < 2e-3), bool(abs(found.y[0] - 14.8) < 2e-3)
    (True, True)
    """
    from corontools.arrays._centroid_kernels import find_peaks

    out, flags = np.empty((len(pixels), 5)), np.zeros(len(pixels), np.int32)
    find_peaks(pixels, variances, np.ascontiguousarray(kernels, float), np.array(start, np.int64), max_step, out, flags)
    return _centroids(out, flags)


def refined_centroids(pixels: np.ndarray, variances: np.ndarray, images: np.ndarray, found: Centroids) -> Centroids:
    """Centroids measured once more with the PSF drawn where the sources were found.

    The offset that is left is so small that the shape of the peak no longer counts: 1e-4 px on stars without noise.

    Parameters
    ----------
    pixels, variances : ndarray, shape (n, y, x)
    images : ndarray, shape (n, k, k)
        Stars of total 1 at `found`; the middle pixel is the one that holds the star.
    found : Centroids
        By `peak_centroids`.
    """
    from corontools.arrays._centroid_kernels import refine

    out = np.stack([found.x, found.y, found.x_err, found.y_err, found.step.astype(float)], axis=1)
    refine(pixels, variances, np.ascontiguousarray(images, float), out, found.flags)
    return _centroids(out, found.flags)


def _centroids(out: np.ndarray, flags: np.ndarray) -> Centroids:
    return Centroids._make((*out[:, :4].T.copy(), out[:, 4].astype(np.int64), flags))
