"""Compiled loops of `stamps`."""

import numpy as np
from numba import njit

# columns of the rows that tell where a source is
LABEL, START, Y0, Y1, X0, X1 = range(6)


@njit(cache=True)
def edge_variances(labels: np.ndarray, variance: np.ndarray, total: np.ndarray, count: np.ndarray) -> None:
    """Sum and number of the variances of the pixels that touch each footprint and are in none.

    A pixel that touches several pixels of a footprint counts as often.
    """
    ny, nx = labels.shape
    for y in range(ny):
        for x in range(nx):
            label = labels[y, x]
            if label <= 0:
                continue
            for j in range(max(y - 1, 0), min(y + 2, ny)):
                for i in range(max(x - 1, 0), min(x + 2, nx)):
                    if labels[j, i] == 0 and 0 < variance[j, i] < np.inf:
                        total[label] += variance[j, i]
                        count[label] += 1


@njit(cache=True, nogil=True)
def cut(frame, blank, labels, rows, shares, corners, pixels, variances) -> None:
    """Stamps of sources with the pixels of all others blank; outside the frame NaN, and infinite variance.

    `frame` and `blank` are pairs of image and variance; `corners` are (y, x) of the first pixels of the stamps.
    """
    ny, nx = labels.shape
    side = pixels.shape[1]
    for k in range(pixels.shape[0]):
        y0, x0 = corners[k]
        for j in range(side):
            for i in range(side):
                y, x = y0 + j, x0 + i
                inside = 0 <= y < ny and 0 <= x < nx
                pixels[k, j, i] = blank[0][y, x] if inside else np.nan
                variances[k, j, i] = blank[1][y, x] if inside else np.inf
        _put_source(frame, labels, rows[k], shares, (y0, x0), pixels[k], variances[k])


@njit(cache=True, nogil=True)
def _put_source(frame, labels, row, shares, corner, pixels, variances) -> None:
    side, width = pixels.shape[0], row[X1] - row[X0]
    for y in range(max(row[Y0], corner[0]), min(row[Y1], corner[0] + side)):
        for x in range(max(row[X0], corner[1]), min(row[X1], corner[1] + side)):
            if labels[y, x] != row[LABEL]:
                continue
            share = 1.0 if row[START] < 0 else shares[row[START] + (y - row[Y0]) * width + x - row[X0]]
            if share > 0:
                pixels[y - corner[0], x - corner[1]] = share * frame[0][y, x]
                variances[y - corner[0], x - corner[1]] = frame[1][y, x]


@njit(cache=True)
def mask_bits(mask, labels, rows, shares, least, found, area) -> None:
    """Bits set in any pixel of each footprint, and its number of pixels; of shares only those of at least `least`."""
    for k in range(rows.shape[0]):
        row = rows[k]
        width = row[X1] - row[X0]
        for y in range(row[Y0], row[Y1]):
            for x in range(row[X0], row[X1]):
                if labels[y, x] != row[LABEL]:
                    continue
                if row[START] < 0 or shares[row[START] + (y - row[Y0]) * width + x - row[X0]] >= least:
                    found[k] |= mask[y, x]
                    area[k] += 1
