"""Bad pixels filled from good ones."""

from __future__ import annotations

import numpy as np

from corontools.errors import DataError

__all__ = ["fill"]


def fill(data: np.ndarray, good: np.ndarray, *, box: int = 3) -> np.ndarray:
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
    if box < 3 or box % 2 == 0:
        raise DataError(f"box should be odd and at least 3 px, found {box}")
    out = np.array(data, dtype=np.dtype(data.dtype).newbyteorder("="))
    if good.all():
        return out
    from corontools.arrays._repair_kernels import fill_frame

    for frame, mask in zip(out, good, strict=True):
        if mask.any():
            fill_frame(frame, np.ascontiguousarray(mask), box // 2)
        else:
            frame[...] = np.nan
    return out
