"""Images on another grid of pixels."""

from __future__ import annotations

import numpy as np

from corontools.arrays.repair import fill

__all__ = ["resample"]

# an output pixel counts as measured when bad pixels hold less than this share of its bilinear footprint
TOLERATED = 0.25
# px of filled pixels around good ones: the kernel reaches 3 px from a position that isn't blanked
REACH = 4


def resample(
    image: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    good: np.ndarray,
    photon: np.ndarray | None = None,
    speckle: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interpolate an image of surface brightness at given positions with the Lanczos-3 kernel.

    Parameters
    ----------
    image : ndarray, shape (y, x)
    x, y : ndarray, shape (ny_out, nx_out)
        0-based position in `image` of each output pixel.
    good : ndarray of bool, shape (y, x)
        Bad pixels are filled from their neighbours first; where they hold a quarter or more of the four pixels
        around the position the output is NaN.
    photon : ndarray, shape (y, x), optional
        Variance that is independent from pixel to pixel: it follows the squares of the kernel.
    speckle : ndarray, shape (y, x), optional
        Variance that is shared by pixels nearer than a speckle's width: it is interpolated bilinearly.

    Returns
    -------
    values, photon, speckle : ndarray, shape (ny_out, nx_out)
        NaN where nothing is known.

    Examples
    --------
    >>> image = np.arange(64.0).reshape(8, 8)
    >>> values, _, _ = resample(image, np.array([[3.0]]), np.array([[4.0]]), good=image >= 0)
    >>> float(values[0, 0])
    35.0
    """
    from corontools.arrays._resample_kernels import bilinear, lanczos

    filled = fill(np.asarray(image, np.float64)[None], good[None], reach=REACH)[0]
    if not good.any():
        empty = np.full(x.shape, np.nan)
        return empty, empty, empty
    bad_share = bilinear((~good).astype(np.float64), x, y)
    values, spread = lanczos(filled, _known(photon, good), x, y)
    shared = bilinear(_known(speckle, good), x, y)
    empty = ~(bad_share < TOLERATED)
    for array in (values, spread, shared):
        array[empty] = np.nan
    return values, spread, shared


def _known(variance: np.ndarray | None, good: np.ndarray) -> np.ndarray:
    """Variance without gaps (filled like the image); all NaN where none is known."""
    if variance is None:
        return np.full(good.shape, np.nan)
    return fill(np.asarray(variance, np.float64)[None], (np.isfinite(variance) & good)[None], reach=REACH)[0]
