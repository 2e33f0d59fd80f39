"""Compiled loops of `bins`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def clipped_mean(values: np.ndarray, center: float, reach: float, sigma: float, rounds: int) -> tuple[float, float]:
    """Mean of the values near a centre, again and again within sigma standard deviations, and its error.

    The first limits are given, each further round has those of the one before.
    """
    mean, error = math.nan, math.nan
    for _ in range(rounds):
        count = 0
        total, square = 0.0, 0.0
        for value in values:
            off = float(value) - center
            if -reach <= off <= reach:
                count += 1
                total += off
                square += off * off
        if count == 0:
            break
        shift = total / count
        std = math.sqrt(max(square / count - shift * shift, 0.0) * count / max(count - 1, 1))
        mean, error = center + shift, std / math.sqrt(count)
        center, reach = mean, sigma * std
    return mean, error


@njit(cache=True, nogil=True)
def gather(image: np.ndarray, good: np.ndarray, out: np.ndarray) -> int:
    """Copy the finite good pixels; how many there are."""
    n = 0
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            if good[i, j] and math.isfinite(image[i, j]):
                out[n] = image[i, j]
                n += 1
    return n
