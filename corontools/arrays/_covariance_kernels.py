"""Loops of `corontools.arrays.covariance`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def factors(kernels, places, affines, table, first, last, out):
    """Quotients of the variances of some places, see `covariance_factor`."""
    side, n_tap = kernels.shape[1], table.shape[1]
    half, fine = side // 2, table.shape[0] - 1
    rows, columns = np.empty(n_tap), np.empty(n_tap)
    for k in range(first, last):
        reach_y = (abs(affines[k, 0, 0]) + abs(affines[k, 0, 1])) * half + n_tap + 1
        reach_x = (abs(affines[k, 1, 0]) + abs(affines[k, 1, 1])) * half + n_tap + 1
        low_y, low_x = math.floor(places[k, 0] - reach_y), math.floor(places[k, 1] - reach_x)
        whole = np.zeros((int(2 * reach_y) + 2, int(2 * reach_x) + 2))
        alone = 0.0
        for j in range(side):
            for i in range(side):
                y = places[k, 0] - affines[k, 0, 0] * (j - half) - affines[k, 0, 1] * (i - half)
                x = places[k, 1] - affines[k, 1, 0] * (j - half) - affines[k, 1, 1] * (i - half)
                base_y, base_x = math.floor(y), math.floor(x)
                at_y, at_x = int(np.rint((y - base_y) * fine)), int(np.rint((x - base_x) * fine))
                total_y = total_x = square_y = square_x = 0.0
                for t in range(n_tap):
                    rows[t], columns[t] = table[at_y, t], table[at_x, t]
                    total_y += rows[t]
                    total_x += columns[t]
                    square_y += rows[t] * rows[t]
                    square_x += columns[t] * columns[t]
                weight = kernels[k, j, i] / (total_y * total_x)
                alone += weight * weight * square_y * square_x
                for t in range(n_tap):
                    share = weight * rows[t]
                    for u in range(n_tap):
                        whole[base_y - low_y + t, base_x - low_x + u] += share * columns[u]
        shared = 0.0
        for j in range(whole.shape[0]):
            for i in range(whole.shape[1]):
                shared += whole[j, i] * whole[j, i]
        out[k] = shared / alone
