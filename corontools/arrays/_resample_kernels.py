"""Compiled loops of `resample`."""

import numpy as np
from numba import njit

SUPPORT = 3


@njit(cache=True)
def _taps(position, weights):
    """Lanczos-3 weights of the six pixels around a position, their sum 1; gives the first pixel's index."""
    first = int(np.floor(position)) - SUPPORT + 1
    total = 0.0
    for i in range(2 * SUPPORT):
        distance = np.pi * (position - (first + i))
        if abs(distance) < 1e-9:
            weights[i] = 1.0
        else:
            weights[i] = SUPPORT * np.sin(distance) * np.sin(distance / SUPPORT) / distance**2
        total += weights[i]
    weights /= total
    return first


@njit(cache=True)
def lanczos(image, variance, x, y):
    """Values and variances at positions (x, y); pixels beyond an edge repeat those on it."""
    ny, nx = image.shape
    values, spread = np.empty(x.shape), np.empty(x.shape)
    along_x, along_y = np.empty(2 * SUPPORT), np.empty(2 * SUPPORT)
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            px, py = x[row, column], y[row, column]
            if not (-0.5 <= px <= nx - 0.5 and -0.5 <= py <= ny - 0.5):
                values[row, column] = np.nan
                spread[row, column] = np.nan
                continue
            x0, y0 = _taps(px, along_x), _taps(py, along_y)
            value, total = 0.0, 0.0
            for j in range(2 * SUPPORT):
                yy = min(max(y0 + j, 0), ny - 1)
                for i in range(2 * SUPPORT):
                    xx = min(max(x0 + i, 0), nx - 1)
                    weight = along_x[i] * along_y[j]
                    value += weight * image[yy, xx]
                    total += weight * weight * variance[yy, xx]
            values[row, column] = value
            spread[row, column] = total
    return values, spread


@njit(cache=True)
def bilinear(image, x, y):
    """Bilinear interpolation at positions (x, y); NaN outside the image."""
    ny, nx = image.shape
    out = np.empty(x.shape)
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            px, py = x[row, column], y[row, column]
            if not (-0.5 <= px <= nx - 0.5 and -0.5 <= py <= ny - 0.5):
                out[row, column] = np.nan
                continue
            px, py = min(max(px, 0.0), nx - 1.0), min(max(py, 0.0), ny - 1.0)
            x0, y0 = min(int(px), max(nx - 2, 0)), min(int(py), max(ny - 2, 0))
            x1, y1 = min(x0 + 1, nx - 1), min(y0 + 1, ny - 1)
            fx, fy = px - x0, py - y0
            below = (1 - fx) * image[y0, x0] + fx * image[y0, x1]
            above = (1 - fx) * image[y1, x0] + fx * image[y1, x1]
            out[row, column] = (1 - fy) * below + fy * above
    return out
