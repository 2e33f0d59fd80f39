"""Level of images far from the star."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from corontools.arrays.radial import radii
from corontools.errors import DataError

__all__ = ["Level", "far_from", "level"]

# pixels that tell a level
LEAST = 100
# rounds of clipping, and sigma
ROUNDS, SIGMA = 10, 3.0
# standard error of a median in units of that of a mean
MEDIAN = np.sqrt(np.pi / 2)


class Level(NamedTuple):
    """A number for each image: its level, and the 1-sigma error of that."""

    value: np.ndarray
    err: np.ndarray


def far_from(shape: tuple[int, int], center: tuple[float, float], beyond: float | None) -> np.ndarray:
    """True where a pixel (y, x) is more than `beyond` px from the star; by default outside the largest circle."""
    (x, y), (ny, nx) = center, shape
    fits = min(x + 0.5, y + 0.5, nx - 0.5 - x, ny - 0.5 - y)
    return radii(shape, center) > (max(fits, 0.0) if beyond is None else beyond)


def level(images: np.ndarray, good: np.ndarray, *, where: np.ndarray) -> Level:
    """Median of the good pixels of a region, without outliers: 3 sigma about the median, up to ten rounds.

    Parameters
    ----------
    images : ndarray, shape (n, y, x)
    good : ndarray of bool, shape (n, y, x)
    where : ndarray of bool, shape (y, x)
        The region.

    Returns
    -------
    Level
        The error holds for noise that is independent from pixel to pixel.

    Raises
    ------
    DataError
        If an image has fewer than 100 good pixels there.

    Examples
    --------
    >>> sky = np.random.default_rng(1).normal(7.0, 1.0, (1, 64, 64))
    >>> found = level(sky, np.ones(sky.shape, bool), where=far_from((64, 64), (31.5, 31.5), 20.0))
    >>> abs(float(found.value[0]) - 7) < 3 * float(found.err[0])
    True
    """
    from astropy.stats import sigma_clipped_stats

    few = np.flatnonzero((good & where).sum(axis=(1, 2)) < LEAST)
    if few.size:
        raise DataError(
            f"image(s) {few.tolist()} have fewer than {LEAST} good pixels there to tell the level from; take a larger "
            "region (a smaller beyond)"
        )
    value, err = np.empty(len(images)), np.empty(len(images))
    for i, image in enumerate(images):
        known = image[good[i] & where].astype(np.float64)
        _, middle, scatter = map(float, sigma_clipped_stats(known, sigma=SIGMA, maxiters=ROUNDS))
        kept = int(np.count_nonzero(np.abs(known - middle) <= SIGMA * scatter))
        value[i], err[i] = middle, MEDIAN * scatter / np.sqrt(max(kept, 1))
    return Level(value, err)
