"""Compiled passes over the pixels of `coadd`."""

import math

import numpy as np
from numba import int64, njit

from corontools.arrays._combine_kernels import _sorted


@njit(cache=True, nogil=True)
def accumulate(image, variance, mask, skip, scale, weights, left_out, weighted, total, spread, depth, bits, lost):
    """Add an image to the sums, all (pixel,), with one weight or one for each pixel; see `coadd.accumulate`."""
    skipping, whole = skip.size > 0, weights.size == 1
    for p in range(image.size):
        v, x, weight = variance[p], image[p], weights[0 if whole else p]
        usable = (mask[p] & left_out) == 0 and math.isfinite(x) and math.isfinite(v) and v >= 0 and weight != 0
        if not usable or (skipping and skip[p]):
            lost[p] |= mask[p]
            continue
        weighted[p] += weight * (scale * x)
        total[p] += weight
        spread[p] += (weight * scale) ** 2 * v
        depth[p] += 1
        bits[p] |= mask[p]


@njit(cache=True, nogil=True)
def medians(values, variances, factors, image, spread, depth):
    """Median over the first axis and its variance, (n, pixel) -> (pixel,); see `coadd.medians`."""
    n, size = values.shape
    kept = np.empty(n)
    for p in range(size):
        # a literal 0 would have `_sorted` compiled for it too
        k, inverse, total = int64(0), 0.0, 0.0
        for i in range(n):
            if math.isfinite(values[i, p]):
                kept[k] = values[i, p]
                v = float(variances[i, p])
                inverse += 1 / math.sqrt(v) if v > 0 else math.inf
                total += v
                k += 1
        depth[p] = k
        image[p], spread[p] = math.nan, math.inf
        if k == 0:
            continue
        ordered, half = _sorted(kept, k), k // 2
        image[p] = ordered[half] if k % 2 else (ordered[half - 1] + ordered[half]) / 2
        spread[p] = total / (k * k) if k < 3 else factors[k] * k / (inverse * inverse)
