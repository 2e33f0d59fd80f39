"""Bad pixels filled from good ones."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from corontools.arrays._arguments import argument
from corontools.errors import DataError

__all__ = ["fill"]


def fill(data: np.ndarray, good: np.ndarray, *, box: int = 3, reach: float = np.inf) -> np.ndarray:
    """Fill bad pixels with the median of the good pixels in a box around them.

    Where the box holds no good pixel it grows by two until it does, so that clusters and corners are filled from
    the nearest good pixels. Only pixels that were good count, never ones just filled; the result does not depend on
    the order.

    Parameters
    ----------
    data : ndarray, shape (n, y, x)
    good : ndarray of bool, same shape
    box : int
        Side of the box in pixels, odd and at least 3.
    reach : float
        Pixels further than this from a good one become NaN instead.

    Returns
    -------
    ndarray
        New array of data's precision. A frame without a good pixel is all NaN.

    Raises
    ------
    DataError
        If the box is even or smaller than 3.

    Examples
    --------
    >>> frame = np.arange(9.0).reshape(1, 3, 3); frame[0, 0, 0] = np.nan
    >>> float(fill(frame, np.isfinite(frame))[0, 0, 0])
    3.0
    """
    if box < 3 or box % 2 != 1:
        raise DataError(f"box should be odd and at least 3 px, found {box}")
    kind = np.dtype(data.dtype).newbyteorder("=")
    out = np.array(data, dtype=kind if kind in (np.float32, np.float64) else np.float64)
    if good.all():
        return out
    from corontools.arrays._repair_kernels import fill_frame

    for frame, mask in zip(out, good, strict=True):
        far = ndimage.distance_transform_cdt(~mask, "chessboard") if mask.any() else np.full(mask.shape, -1)
        blank = (far < 0) | (far > reach)
        frame[blank] = np.nan
        fill_frame(frame, argument(mask, bool), np.where(blank, 0, far).astype(np.int64), box // 2)
    return out
