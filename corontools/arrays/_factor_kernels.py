"""Compiled passes over the pixels of `factor` and `template`."""

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def gather(image, reference, variance, usable, s, b, weight, index):
    """Write s, b, b / v and the place of the usable pixels one after the other; gives their number."""
    n = 0
    for i in range(image.size):
        if usable[i]:
            s[n], b[n], weight[n], index[n] = image[i], reference[i], float(reference[i]) / float(variance[i]), i
            n += 1
    return n


@njit(cache=True, nogil=True)
def residuals(s, b, factor, low, high, out, below, above):
    """Write s - factor b; gives the sum of squares, and how many of them up to `low`, from `high`, are in the tails."""
    square, n_below, n_above = 0.0, 0, 0
    for i in range(s.size):
        rest = s[i] - factor * b[i]
        out[i] = rest
        square += rest * rest
        if rest <= low:
            below[n_below] = rest
            n_below += 1
        if rest >= high:
            above[n_above] = -rest
            n_above += 1
    return square, n_below, n_above


@njit(cache=True, nogil=True)
def keep(rest, low, high, s, b, weight, index):
    """Move what has a residual from `low` to `high` to the front; gives its number."""
    n = 0
    for i in range(rest.size):
        s[n], b[n], weight[n], index[n] = s[i], b[i], weight[i], index[i]
        n += low <= rest[i] <= high
    return n


@njit(cache=True, nogil=True)
def segment_sums(image, reference, variance, usable, axis, length):
    """Number of usable pixels and sums of s b / v and b^2 / v in segments along an axis, (3, lines, segments)."""
    ny, nx = image.shape
    lines, n = (ny, nx // length) if axis == 1 else (nx, ny // length)
    out = np.zeros((3, lines, n))
    for y in range(ny):
        for x in range(nx):
            line, k = (y, x // length) if axis == 1 else (x, y // length)
            if usable[y, x] and k < n:
                b = float(reference[y, x])
                weight = b / float(variance[y, x])
                out[0, line, k] += 1.0
                out[1, line, k] += float(image[y, x]) * weight
                out[2, line, k] += b * weight
    return out


@njit(cache=True, nogil=True)
def block_sums(image, template, column, last, height, width):
    """Number of pixels and sums of d, t, t^2, d t in blocks of either side of the jump, (2, 5, blocks y, blocks x)."""
    ny, nx = image.shape
    out = np.zeros((2, 5, (ny + height - 1) // height, (nx + width - 1) // width))
    for y in range(ny):
        for x in range(min(nx, last + 1)):
            d, t = float(image[y, x]), float(template[y, x])
            if t != 0.0 and math.isfinite(d) and math.isfinite(t):
                side = 1 if x >= column[y] else 0
                block = out[side, :, y // height, x // width]
                block[0] += 1.0
                block[1] += d
                block[2] += t
                block[3] += t * t
                block[4] += d * t
    return out
