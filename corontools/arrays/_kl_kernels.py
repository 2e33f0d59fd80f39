"""Compiled loops of `kl`."""

import numpy as np
from numba import njit


@njit(cache=True)
def fill_missing(filled, missing, precision):
    """Put the conditional expectation -P_mm^-1 P_mo r_o into the missing entries (zero on entry) of each pixel."""
    n, pixels = filled.shape
    where = np.empty(n, np.int64)
    for p in range(pixels):
        count = 0
        for i in range(n):
            if missing[i, p]:
                where[count] = i
                count += 1
        if count == 0 or count == n:
            continue
        if count == 1:  # most holes are single: no matrix to solve
            a, right_a = where[0], 0.0
            for i in range(n):
                right_a -= precision[a, i] * filled[i, p]
            filled[a, p] = right_a / precision[a, a]
            continue
        block = np.empty((count, count))
        right = np.zeros(count)
        for a in range(count):
            for b in range(count):
                block[a, b] = precision[where[a], where[b]]
            for i in range(n):
                right[a] -= precision[where[a], i] * filled[i, p]
        solution = np.linalg.solve(block, right)
        for a in range(count):
            filled[where[a], p] = solution[a]
