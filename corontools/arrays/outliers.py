"""Pixels that leave the rest of a time series."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import ndimage

__all__ = ["temporal"]

# |x1 - x2| of two Gaussian samples has the median 0.6745 sqrt(2) sigma
HALF_WIDTH = 0.6744897501960817 * np.sqrt(2.0)
# with fewer integrations one hit is in half of a pixel's steps, and a cluster must not fill a quarter of the box
ROBUST = 6
# from this many integrations on, half of a pixel's own steps are free of one or two hits
OWN_SCALE = 7


def temporal(data: np.ndarray, *, good: np.ndarray, err: np.ndarray | None = None, sigma: float = 5.0) -> np.ndarray:
    """Find pixels of single integrations that leave the median of the others.

    The spread that a pixel may show is the largest of its error, of the steps between successive integrations in
    the box around it (upper quartile), and, with seven integrations or more, of its own steps. A speckle that
    jitters moves its whole neighbourhood and so raises the spread there; a cosmic ray is alone and does not. Steps
    between neighbours in time need no mean, so three integrations serve as well as three hundred. With three to five
    integrations clusters of up to 4 x 4 px are found, with more of any size.

    Parameters
    ----------
    data : ndarray, shape (n_int, y, x)
    good : ndarray of bool, same shape
        Pixels that count; others are never flagged and take no part.
    err : ndarray, same shape, optional
        1-sigma errors; NaN where unknown.
    sigma : float
        Flag where |data - median| exceeds this many times the spread.

    Returns
    -------
    ndarray of bool, shape (n_int, y, x)
        All False for fewer than three integrations.

    Examples
    --------
    >>> cube = np.random.default_rng(1).normal(size=(3, 20, 20)); cube[1, 4, 5] = 40
    >>> np.argwhere(temporal(cube, good=np.isfinite(cube))).tolist()
    [[1, 4, 5]]
    """
    if len(data) < 3:
        return np.zeros(data.shape, bool)
    values = np.where(good, data, np.nan).astype(np.float64, copy=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN pixels stay NaN and compare False below
        middle = np.nanmedian(values, axis=0)
        own = np.nanmedian(np.abs(np.diff(values, axis=0)), axis=0) / HALF_WIDTH
    spread = _neighbourhood(own, 9 if len(data) < ROBUST else 5)
    if len(data) >= OWN_SCALE:
        spread = np.fmax(spread, own)
    with np.errstate(invalid="ignore"):
        floor = spread if err is None else np.fmax(np.asarray(err, np.float64), spread)
        # two good values can't tell which of them is wrong
        enough = np.count_nonzero(good, axis=0) >= 3
        return (np.abs(values - middle) > sigma * floor) & enough & (floor > 0)


def _neighbourhood(scale: np.ndarray, box: int) -> np.ndarray:
    """Upper quartile of the finite scales in a box around each pixel; NaN counts as the image's median."""
    finite = np.isfinite(scale)
    typical = np.median(scale[finite]) if finite.any() else 0.0
    return ndimage.percentile_filter(np.where(finite, scale, typical), 75, size=box, mode="nearest")
