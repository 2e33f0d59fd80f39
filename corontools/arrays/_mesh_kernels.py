"""Compiled loops of `mesh`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True)
def clipped_medians(
    ordered: np.ndarray, count: np.ndarray, sigma: float, maxiters: int, median: np.ndarray, kept: np.ndarray
) -> None:
    """Median, and number, of the values of each row that stay after sigma clipping.

    Rows are in order, `count` values in each. The last limits alone decide, as in astropy.
    """
    for k in range(ordered.shape[0]):
        row, n = ordered[k], count[k]
        start, stop = 0, n
        low, high = -math.inf, math.inf
        for _ in range(maxiters):
            if stop <= start:
                break
            middle = (float(row[start + (stop - start - 1) // 2]) + float(row[start + (stop - start) // 2])) / 2
            total = 0.0
            square = 0.0
            for i in range(start, stop):
                value = row[i] - middle
                total += value
                square += value * value
            mean = total / (stop - start)
            reach = sigma * math.sqrt(max(square / (stop - start) - mean * mean, 0.0))
            low, high = middle - reach, middle + reach
            before = stop - start
            while start < stop and row[start] < low:
                start += 1
            while stop > start and row[stop - 1] > high:
                stop -= 1
            if stop - start == before:
                break
        start, stop = 0, n
        while start < stop and row[start] < low:
            start += 1
        while stop > start and row[stop - 1] > high:
            stop -= 1
        kept[k] = stop - start
        if stop > start:
            median[k] = (float(row[start + (stop - start - 1) // 2]) + float(row[start + (stop - start) // 2])) / 2
