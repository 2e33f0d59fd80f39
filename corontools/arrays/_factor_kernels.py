"""Compiled passes over the pixels of `factor` and `template`; `float` of a float32 stays one in compiled code."""

import math

import numpy as np
from numba import float64, njit


@njit(cache=True, nogil=True)
def begin(image, reference, variance, good, used):
    """Mark the usable pixels; gives their number, sum(s b / v) and sum(b^2 / v)."""
    n, over, under = 0, 0.0, 0.0
    for i in range(image.size):
        s, b, v = float64(image[i]), float64(reference[i]), float64(variance[i])
        used[i] = good[i] and v > 0.0 and math.isfinite(v) and math.isfinite(s) and math.isfinite(b)
        if used[i]:
            weight = b / v
            n, over, under = n + 1, over + s * weight, under + b * weight
    return n, over, under


@njit(cache=True, nogil=True)
def residuals(image, reference, used, factor, low, high, below, above, below_at, above_at):
    """Sum of squares of s - factor b; what is up to `low`, and from `high` (times -1), with its place, in the tails."""
    square, n_below, n_above = 0.0, 0, 0
    for i in range(image.size):
        # of every pixel: which are used can't be foreseen by the processor, that few are far away can
        rest = float64(image[i]) - factor * float64(reference[i])
        square += rest * rest if used[i] else 0.0
        if not low < rest < high and used[i]:
            if rest <= low:
                below[n_below], below_at[n_below] = rest, i
                n_below += 1
            if rest >= high:
                above[n_above], above_at[n_above] = -rest, i
                n_above += 1
    return square, n_below, n_above


@njit(cache=True, nogil=True)
def reject(image, reference, variance, used, places, factor, low, high):
    """Leave out what isn't from `low` to `high`; gives its number, sum(s b / v) and sum(b^2 / v)."""
    n, over, under = 0, 0.0, 0.0
    for i in places:
        s, b = float64(image[i]), float64(reference[i])
        if used[i] and not low <= s - factor * b <= high:
            used[i] = False
            weight = b / float64(variance[i])
            n, over, under = n + 1, over + s * weight, under + b * weight
    return n, over, under


@njit(cache=True, nogil=True)
def segment_sums(image, reference, variance, good, length):
    """Number of usable pixels and sums of s b / v and b^2 / v in segments of the rows, (3, rows, segments)."""
    ny, nx = image.shape
    out = np.zeros((3, ny, nx // length))
    for y in range(ny):
        for k in range(nx // length):
            n, over, under = 0.0, 0.0, 0.0
            for x in range(k * length, (k + 1) * length):
                s, b, v = float64(image[y, x]), float64(reference[y, x]), float64(variance[y, x])
                if good[y, x] and v > 0.0 and math.isfinite(v) and math.isfinite(s) and math.isfinite(b):
                    weight = b / v
                    n, over, under = n + 1.0, over + s * weight, under + b * weight
            out[0, y, k], out[1, y, k], out[2, y, k] = n, over, under
    return out


@njit(cache=True, nogil=True)
def block_sums(image, template, column, last, height, width):
    """Number of pixels and sums of d, t, t^2, d t in blocks of either side of the jump, (2, 5, blocks y, blocks x)."""
    ny, nx = image.shape
    out = np.zeros((2, 5, (ny + height - 1) // height, (nx + width - 1) // width))
    for y in range(ny):
        for x in range(min(nx, last + 1)):
            d, t = float64(image[y, x]), float64(template[y, x])
            if t != 0.0 and math.isfinite(d) and math.isfinite(t):
                side = 1 if x >= column[y] else 0
                block = out[side, :, y // height, x // width]
                block[0] += 1.0
                block[1] += d
                block[2] += t
                block[3] += t * t
                block[4] += d * t
    return out
