"""Compiled loops of `repair`."""

import numpy as np
from numba import njit


@njit(cache=True)
def fill_frame(frame, good, far, half):
    """Fill the bad pixels of one (y, x) frame in place; `far` is their distance to a good one, 0 to skip them."""
    ny, nx = frame.shape
    for y in range(ny):
        for x in range(nx):
            if not good[y, x] and far[y, x] > 0:
                frame[y, x] = _box_median(frame, good, y, x, max(half, far[y, x]))


@njit(cache=True)
def _box_median(frame, good, y, x, half):
    """Median of the good pixels in the box of this half width."""
    ny, nx = frame.shape
    y0, y1 = max(0, y - half), min(ny, y + half + 1)
    x0, x1 = max(0, x - half), min(nx, x + half + 1)
    values = np.empty((y1 - y0) * (x1 - x0), frame.dtype)
    count = 0
    for j in range(y0, y1):
        for i in range(x0, x1):
            if good[j, i]:
                values[count] = frame[j, i]
                count += 1
    return np.median(values[:count])
