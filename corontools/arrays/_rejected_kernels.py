"""Compiled pass over the pixels of `rejected`, by the rules of `combine`."""

import math

import numpy as np
from numba import njit

from corontools.arrays._combine_kernels import BAD, LEAVE_ONE_OUT, SIGMA_CLIP, _leave_one_out, _sigma_clip


@njit(cache=True, nogil=True)
def rejected(values, errors, flags, method, sigma, maxiters, excess, out):
    """Usable values (n, pixel) that don't stay; see `rejected.rejected`."""
    n, size = values.shape
    kept, spread = np.empty(n), np.empty(n)
    known = errors.shape[0] == n
    flagged = flags.shape[0] == n
    for p in range(size):
        k = 0
        for i in range(n):
            e = float(errors[i, p]) if known else 1.0
            bad = flagged and (flags[i, p] & BAD) != 0
            out[i, p] = not bad and math.isfinite(values[i, p]) and math.isfinite(e)
            if out[i, p]:
                kept[k], spread[k] = values[i, p], e * e
                k += 1
        usable = k
        if method == LEAVE_ONE_OUT:
            k = _leave_one_out(kept, spread, k, (sigma * excess) ** 2, maxiters)
        elif method == SIGMA_CLIP:
            k = _sigma_clip(kept, spread, k, sigma, maxiters)
        if k == usable:
            out[:, p] = False
            continue
        for i in range(n):  # the rules leave those that stay in front, in any order
            if out[i, p]:
                e = float(errors[i, p]) if known else 1.0
                for j in range(k):
                    if kept[j] == values[i, p] and spread[j] == e * e:
                        out[i, p] = False
                        kept[j] = math.nan  # of two equal values each stands for itself
                        break
