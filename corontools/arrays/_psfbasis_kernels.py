"""Compiled loops of `psfbasis`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

TAPS = 6


@njit(cache=True, nogil=True)
def _quintic(u: float) -> float:
    """The B-spline of degree 5 at a distance of u points."""
    if u >= 3:
        return 0.0
    if u >= 2:
        return (3 - u) ** 5 / 120
    if u >= 1:
        return 17 / 40 + u * (5 / 8 + u * (-7 / 4 + u * (5 / 4 + u * (-3 / 8 + u / 24))))
    return 11 / 20 + u * u * (-1 / 2 + u * u * (1 / 4 - u / 12))


@njit(cache=True, nogil=True)
def taps_of(places: np.ndarray, starts: np.ndarray, taps: np.ndarray) -> None:
    """First point, and weights of six points, of a grid for each place on it; all (n, 2, size), taps (..., 6)."""
    n, _, size = places.shape
    for k in range(n):
        for axis in range(2):
            for i in range(size):
                place = places[k, axis, i]
                first = math.floor(place) - TAPS // 2 + 1
                starts[k, axis, i] = first
                for t in range(TAPS):
                    taps[k, axis, i, t] = _quintic(abs(place - first - t))


@njit(cache=True, nogil=True)
def render(planes: np.ndarray, starts: np.ndarray, taps: np.ndarray, out: np.ndarray) -> None:
    """Images of pixel grids by row and column taps; `starts` (n, 2, size) and `taps` (n, 2, size, 6) are of x, y.

    Beyond its edge a grid repeats the points on it.
    """
    n, grid, _ = planes.shape
    size, margin, last = out.shape[1], TAPS, grid - 1
    row = np.empty(grid + 2 * margin)
    inner = row[margin : margin + grid]
    for k in range(n):
        plane = planes[k]
        for j in range(size):
            y, (a, b, c, d, e, f) = starts[k, 1, j], taps[k, 1, j]
            s0, s1 = plane[min(max(y, 0), last)], plane[min(max(y + 1, 0), last)]
            s2, s3 = plane[min(max(y + 2, 0), last)], plane[min(max(y + 3, 0), last)]
            s4, s5 = plane[min(max(y + 4, 0), last)], plane[min(max(y + 5, 0), last)]
            for i in range(grid):
                inner[i] = a * s0[i] + b * s1[i] + c * s2[i] + d * s3[i] + e * s4[i] + f * s5[i]
            row[:margin] = inner[0]
            row[margin + grid :] = inner[last]
            for i in range(size):
                x = min(max(starts[k, 0, i], -margin), grid) + margin
                a, b, c, d, e, f = taps[k, 0, i]
                part = row[x : x + TAPS]
                out[k, j, i] = a * part[0] + b * part[1] + c * part[2] + d * part[3] + e * part[4] + f * part[5]


@njit(cache=True, nogil=True)
def gather(images: np.ndarray, starts: np.ndarray, taps: np.ndarray, planes: np.ndarray) -> None:
    """The transpose of `render`: what each point of the grid gets of the pixels it gave to."""
    n, grid, _ = planes.shape
    size, margin, last = images.shape[1], TAPS, grid - 1
    row = np.empty(grid + 2 * margin)
    inner = row[margin : margin + grid]
    for k in range(n):
        planes[k] = 0.0
        for j in range(size):
            row[:] = 0.0
            for i in range(size):
                x, value = min(max(starts[k, 0, i], -margin), grid) + margin, images[k, j, i]
                part = row[x : x + TAPS]
                for t in range(TAPS):
                    part[t] += taps[k, 0, i, t] * value
            inner[0] += row[:margin].sum()
            inner[last] += row[margin + grid :].sum()
            for t in range(TAPS):
                target, weight = planes[k, min(max(starts[k, 1, j] + t, 0), last)], taps[k, 1, j, t]
                for i in range(grid):
                    target[i] += weight * inner[i]


@njit(cache=True)
def joined(marked: np.ndarray, out: np.ndarray) -> None:
    """Pixels of each stamp that hang together, over edges or corners, with the marked ones of its middle 3 x 3."""
    n, size, _ = marked.shape
    stack = np.empty((size * size + 9, 2), np.int64)
    for k in range(n):
        out[k] = False
        top, middle = 0, size // 2
        for j in range(middle - 1, middle + 2):
            for i in range(middle - 1, middle + 2):
                if marked[k, j, i]:
                    out[k, j, i] = True
                    stack[top, 0], stack[top, 1] = j, i
                    top += 1
        while top:
            top -= 1
            y, x = stack[top]
            for j in range(max(y - 1, 0), min(y + 2, size)):
                for i in range(max(x - 1, 0), min(x + 2, size)):
                    if marked[k, j, i] and not out[k, j, i]:
                        out[k, j, i] = True
                        stack[top, 0], stack[top, 1] = j, i
                        top += 1
