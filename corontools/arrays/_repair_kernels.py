"""Compiled loops of `repair`."""

import numpy as np
from numba import njit


@njit(cache=True)
def fill_frame(frame, good, half):
    """Fill the bad pixels of one (y, x) frame in place; at least one pixel must be good."""
    ny, nx = frame.shape
    for y in range(ny):
        for x in range(nx):
            if not good[y, x]:
                frame[y, x] = _nearest_median(frame, good, y, x, half)


@njit(cache=True)
def _nearest_median(frame, good, y, x, half):
    """Median of the good pixels in the smallest box of half width >= half that holds one."""
    ny, nx = frame.shape
    while True:
        y0, y1 = max(0, y - half), min(ny, y + half + 1)
        x0, x1 = max(0, x - half), min(nx, x + half + 1)
        values = np.empty((y1 - y0) * (x1 - x0), frame.dtype)
        count = 0
        for j in range(y0, y1):
            for i in range(x0, x1):
                if good[j, i]:
                    values[count] = frame[j, i]
                    count += 1
        if count:
            return np.median(values[:count])
        half += 1
