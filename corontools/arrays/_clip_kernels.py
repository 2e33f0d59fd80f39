"""Compiled passes over the pixels of `clip`."""

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def moments(values, good, pivot, scale, core, per, octaves, steps):
    """Count, sum and sum of squares of u = (value - pivot) / scale in bins that grow from left to right.

    `per` bins for one unit of u within +-core, beyond it `steps` for each factor of two, `octaves` of them; what
    isn't finite, or not good, counts nowhere.
    """
    inner, outer = core * per, octaves * steps
    out = np.zeros((2 * (inner + outer), 3))
    middle = inner + outer
    for i in range(values.size):
        if good[i]:
            u = (values[i] - pivot) / scale
            size = abs(u)
            if size < core:
                k = middle + math.floor(u * per)
            elif size < math.inf:
                far = inner + min(int(math.log2(size / core) * steps), outer - 1)
                k = middle + far if u > 0 else middle - 1 - far
            else:
                continue
            out[k, 0] += 1.0
            out[k, 1] += u
            out[k, 2] += u * u
    return out


@njit(cache=True, nogil=True)
def between(values, good, low, high, out):
    """Write to `out` which good values lie between the limits; NaN doesn't."""
    for i in range(values.size):
        out[i] = good[i] and low <= values[i] <= high
