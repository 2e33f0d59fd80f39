"""Compiled loops of `mesh`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True)
def _between(row: np.ndarray, start: int, stop: int, low: float, high: float) -> tuple[int, int]:
    """Where the values within limits begin and end, of those from start to stop, which are in order."""
    while start < stop and row[start] < low:
        start += 1
    while stop > start and row[stop - 1] > high:
        stop -= 1
    return start, stop


@njit(cache=True)
def _median(row: np.ndarray, start: int, stop: int) -> float:
    """Median of the values from start to stop, which are in order."""
    count = stop - start
    return (float(row[start + (count - 1) // 2]) + float(row[start + count // 2])) / 2


@njit(cache=True)
def _std(row: np.ndarray, start: int, stop: int, middle: float) -> float:
    """Standard deviation of the values from start to stop; `middle` is near to their mean."""
    total = 0.0
    square = 0.0
    for i in range(start, stop):
        value = row[i] - middle
        total += value
        square += value * value
    mean = total / (stop - start)
    return math.sqrt(max(square / (stop - start) - mean * mean, 0.0))


@njit(cache=True)
def clipped_medians(
    ordered: np.ndarray, count: np.ndarray, sigma: float, maxiters: int, median: np.ndarray, kept: np.ndarray
) -> None:
    """Median, and number, of the values of each row that stay after sigma clipping.

    Rows are in order, `count` values in each. The last limits alone decide, as in astropy.
    """
    for k in range(ordered.shape[0]):
        row = ordered[k]
        start, stop = 0, count[k]
        low, high = -math.inf, math.inf
        for _ in range(maxiters):
            if stop <= start:
                break
            middle, before = _median(row, start, stop), stop - start
            reach = sigma * _std(row, start, stop, middle)
            low, high = middle - reach, middle + reach
            start, stop = _between(row, start, stop, low, high)
            if stop - start == before:
                break
        start, stop = _between(row, 0, count[k], low, high)
        kept[k] = stop - start
        if stop > start:
            median[k] = _median(row, start, stop)
