"""Compiled passes over the pixels of `combine`."""

import math

import numpy as np
from numba import njit

LEAVE_ONE_OUT, SIGMA_CLIP = 1, 2
BAD = np.uint32(1)
FEW = 24


@njit(cache=True, nogil=True)
def combine(values, errors, flags, method, sigma, maxiters, excess, mean, variance, count, bits):
    """Mean over the first axis of what isn't rejected, (n, pixel) -> (pixel,); see `combine.combine`."""
    n, size = values.shape
    kept, spread = np.empty(n), np.empty(n)
    known = errors.shape[0] == n
    flagged = flags.shape[0] == n
    for p in range(size):
        k = 0
        found = np.uint32(0)
        for i in range(n):
            bad = False
            if flagged:
                found |= flags[i, p]
                bad = (flags[i, p] & BAD) != 0
            e = float(errors[i, p]) if known else 1.0
            if not bad and math.isfinite(values[i, p]) and math.isfinite(e):
                kept[k], spread[k] = values[i, p], e * e
                k += 1
        if method == LEAVE_ONE_OUT:
            k = _leave_one_out(kept, spread, k, (sigma * excess) ** 2, maxiters)
        elif method == SIGMA_CLIP:
            k = _sigma_clip(kept, spread, k, sigma, maxiters)
        bits[p], count[p] = found, k
        total, total_spread = 0.0, 0.0
        for i in range(k):
            total += kept[i]
            total_spread += spread[i]
        mean[p] = total / k if k else math.nan
        variance[p] = total_spread / k / k if k else math.nan


@njit(cache=True, nogil=True)
def _leave_one_out(kept, spread, k, limit, rounds):
    """Take out the value that is furthest from the others, as long as it is too far; gives how many stay."""
    while k >= 2 and rounds > 0:
        total, total_spread = 0.0, 0.0
        for i in range(k):
            total += kept[i]
            total_spread += spread[i]
        mean = total / k
        worst, far = -1, 0.0
        for i in range(k):
            away = kept[i] - mean
            # of two values none is further from the other: light is added by sources and hits, so the higher one goes
            size = away if k == 2 else abs(away)
            if size > far:
                worst, far = i, size
        if worst < 0:
            break
        others = k - 1
        away = kept[worst] - (total - kept[worst]) / others
        expected = spread[worst] + (total_spread - spread[worst]) / (others * others)
        if not (expected > 0.0 and away * away > limit * expected):
            break
        k -= 1
        kept[worst], spread[worst] = kept[k], spread[k]
        rounds -= 1
    return k


@njit(cache=True, nogil=True)
def _sigma_clip(kept, spread, k, sigma, rounds):
    """Keep what lies within `sigma` standard deviations of the median, until nothing changes."""
    if k == 0:
        return 0
    ordered = _sorted(kept, k)
    start, stop = 0, k
    while rounds > 0:
        number = stop - start
        half = start + number // 2
        middle = ordered[half] if number % 2 else (ordered[half - 1] + ordered[half]) / 2
        mean = 0.0
        for i in range(start, stop):
            mean += ordered[i]
        mean /= number
        square = 0.0
        for i in range(start, stop):
            square += (ordered[i] - mean) ** 2
        reach = sigma * math.sqrt(square / number)
        before = number
        while start < stop and ordered[start] < middle - reach:
            start += 1
        while stop > start and ordered[stop - 1] > middle + reach:
            stop -= 1
        rounds -= 1
        if stop - start == before or start == stop:
            break
    if start == stop:
        return 0
    low, high = ordered[start], ordered[stop - 1]
    number = 0
    for i in range(k):
        if low <= kept[i] <= high:
            kept[number], spread[number] = kept[i], spread[i]
            number += 1
    return number


@njit(cache=True, nogil=True)
def _sorted(values, k):
    if k > FEW:
        return np.sort(values[:k])
    out = values[:k].copy()
    for i in range(1, k):
        value, j = out[i], i - 1
        while j >= 0 and out[j] > value:
            out[j + 1] = out[j]
            j -= 1
        out[j + 1] = value
    return out
