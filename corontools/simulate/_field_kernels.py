"""Compiled loops of the simulated star field."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def add_moffats(
    image: np.ndarray, x: np.ndarray, y: np.ndarray, peak: np.ndarray, radius: np.ndarray, metric: np.ndarray
) -> None:
    """Add peak / (1 + q)^3 with q = a dx^2 + 2 b dx dy + c dy^2, metric (n, 3), out to a radius in px."""
    ny, nx = image.shape
    for k in range(x.size):
        a, b, c = metric[k]
        first_y, last_y = max(int(np.ceil(y[k] - radius[k])), 0), min(int(np.floor(y[k] + radius[k])), ny - 1)
        first_x, last_x = max(int(np.ceil(x[k] - radius[k])), 0), min(int(np.floor(x[k] + radius[k])), nx - 1)
        for i in range(first_y, last_y + 1):
            dy = i - y[k]
            for j in range(first_x, last_x + 1):
                dx = j - x[k]
                t = 1.0 + a * dx * dx + 2.0 * b * dx * dy + c * dy * dy
                image[i, j] += peak[k] / (t * t * t)


@njit(cache=True)
def bleed(image: np.ndarray, full_well: float) -> None:
    """Charge above the full well flows along the column, to both sides; what reaches an edge is lost."""
    ny, nx = image.shape
    for j in range(nx):
        i = 0
        while i < ny:
            if image[i, j] <= full_well:
                i += 1
                continue
            below = i - 1
            excess = 0.0
            while i < ny and image[i, j] > full_well:
                excess += image[i, j] - full_well
                image[i, j] = full_well
                i += 1
            above = i
            up = True
            while excess > 0 and (above < ny or below >= 0):
                if (up and above < ny) or below < 0:
                    k = above
                    above += 1
                else:
                    k = below
                    below -= 1
                up = not up
                room = max(full_well - image[k, j], 0.0)
                poured = min(room, excess)
                image[k, j] += poured
                excess -= poured
