"""The background under the stripes: a number or a smooth map, to be subtracted before the stripes are fitted."""

from __future__ import annotations

from typing import Any

import numpy as np

from corontools.arrays.clip import background_pixels, clipped_stats
from corontools.arrays.mesh import mesh_background
from corontools.errors import DataError

__all__ = ["METHODS", "background_level", "box_of", "filled_flat"]

METHODS = ("median", "model", "median_image", None)
BOX, LARGEST_SIGMA = 32, 3.0
# boxes of which a map of the background is smoothed by a median
SMOOTH = 5


def background_level(
    image: np.ndarray,
    good: np.ndarray,
    *,
    method: str | None,
    box: tuple[int, int] | None = None,
    exact: bool = False,
) -> tuple[np.ndarray | float, np.ndarray]:
    """Background of an image (y, x), and the good pixels that it was made of.

    Pixels beyond 3 sigma, by the lower half of the values, are left out. "median" is the median of the others, "model"
    a map of their sigma-clipped medians in boxes, smoothed over 5 x 5 boxes and interpolated by splines (see
    `arrays.mesh`); where so few pixels are good that there is no map, it is the median.

    Parameters
    ----------
    image : ndarray, shape (y, x)
    good : ndarray of bool, shape (y, x)
        At least one is True.
    method : {"median", "model"} or None
        None: 0, and no pixel is left out.
    box : (int, int), optional
        Height and width of the boxes; see `box_of`.
    exact : bool
        See `arrays.clip.background_pixels`.

    Returns
    -------
    level : float or ndarray
    good : ndarray of bool
        New array.
    """
    if method is None:
        return 0.0, good
    good, _, _ = background_pixels(image, good, lower=LARGEST_SIGMA, upper=LARGEST_SIGMA, lower_half=True, exact=exact)
    if method == "model":
        found = mesh_background(image, good, box=box_of(image.shape, box), smooth=SMOOTH)
        if found is not None:
            return found, good
    return _median(image, good, exact), good


def _median(image: np.ndarray, good: np.ndarray, exact: bool) -> float:
    """Median of the good pixels; 0 where there are none."""
    if not good.any():
        return 0.0
    return float(np.median(image[good])) if exact else clipped_stats(image, good, maxiters=0).median


def box_of(shape: tuple[int, ...], box: Any = None) -> tuple[int, int]:
    """Height and width of the boxes of a background map.

    By default the largest lengths up to 32 px that divide the image.

    Raises
    ------
    DataError
        If a box isn't one or two positive whole numbers no larger than the image.

    Examples
    --------
    >>> box_of((2048, 2048)), box_of((100, 320)), box_of((64, 64), 16)
    ((32, 32), (25, 32), (16, 16))
    """
    if box is None:
        ny, nx = (next(n for n in range(min(BOX, length), 0, -1) if length % n == 0) for length in shape[-2:])
        return ny, nx
    sides = (box, box) if np.ndim(box) == 0 else tuple(box)
    whole = len(sides) == 2 and all(isinstance(side, int | np.integer) and side > 0 for side in sides)
    if not whole or any(side > length for side, length in zip(sides, shape[-2:], strict=True)):
        raise DataError(f"a box is one or two whole numbers of px, at most {tuple(shape[-2:])}, found {box!r}")
    return int(sides[0]), int(sides[1])


def filled_flat(flat: np.ndarray) -> np.ndarray:
    """Flat field whose zeros and missing values are a smooth map of the others.

    Raises
    ------
    DataError
        If no value is left.
    """
    bad = ~np.isfinite(flat) | (flat == 0)
    if bad.all():
        raise DataError("the flat field has no value but 0 and NaN; give another")
    if not bad.any():
        return flat
    level, _ = background_level(np.where(bad, 0, flat), ~bad, method="model")
    return np.where(bad, level, flat)
