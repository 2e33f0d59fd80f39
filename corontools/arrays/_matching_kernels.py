"""Compiled loops of `varying`: sums over a kernel that changes from pixel to pixel.

Assignments to parts of arrays are loops here: numba compiles what numpy writes in one line for half a second.
"""

import numpy as np
from numba import float64, njit

# taps summed at once, so that a sum is loaded and stored once for all of them
CHUNK = 4


@njit(cache=True, nogil=True, fastmath={"contract"})
def _row_sums(rows, first, left, change, sums, changes):
    """Sums of a row of pixels with the kernel at its left end, and with what the kernel gains to its right end."""
    width = len(sums)
    for x in range(width):
        sums[x], changes[x] = 0.0, 0.0
    for j in range(left.shape[0]):
        for i in range(0, left.shape[1], CHUNK):
            a0, a1, a2, a3 = left[j, i], left[j, i + 1], left[j, i + 2], left[j, i + 3]
            d0, d1, d2, d3 = change[j, i], change[j, i + 1], change[j, i + 2], change[j, i + 3]
            row = rows[first + j, i : i + width + CHUNK]
            # unsigned: an index that may be negative keeps the loop from being vectorised
            for x in range(np.uint64(width)):
                p0, p1, p2, p3 = row[x], row[x + np.uint64(1)], row[x + np.uint64(2)], row[x + np.uint64(3)]
                sums[x] += a0 * p0 + a1 * p1 + a2 * p2 + a3 * p3
                changes[x] += d0 * p0 + d1 * p1 + d2 * p2 + d3 * p3


@njit(cache=True, nogil=True)
def _between(corners, share, left, change):
    """Kernels at the left end of a row, and their change to its right end; share 0 to 1 from top to bottom."""
    for j in range(left.shape[0]):
        for i in range(left.shape[1]):
            start = (1 - share) * corners[0, j, i] + share * corners[2, j, i]
            left[j, i] = start
            change[j, i] = (1 - share) * corners[1, j, i] + share * corners[3, j, i] - start


@njit(cache=True, nogil=True, fastmath={"contract"})
def _plain_sums(rows, first, kernel, sums):
    """Sums of a row of pixels with one kernel."""
    width = len(sums)
    for x in range(width):
        sums[x] = 0.0
    for j in range(kernel.shape[0]):
        for i in range(0, kernel.shape[1], CHUNK):
            a0, a1, a2, a3 = kernel[j, i], kernel[j, i + 1], kernel[j, i + 2], kernel[j, i + 3]
            row = rows[first + j, i : i + width + CHUNK]
            for x in range(np.uint64(width)):
                sums[x] += (
                    a0 * row[x] + a1 * row[x + np.uint64(1)] + a2 * row[x + np.uint64(2)] + a3 * row[x + np.uint64(3)]
                )


@njit(cache=True, nogil=True)
def _sum_tile(pixels, corners, spans, place, out):
    """Pixels of a tile summed with the kernel bilinear between its corners; `place` is its first column and width."""
    left, change = np.empty(corners.shape[1:]), np.empty(corners.shape[1:])
    sums, changes = np.empty(place[1]), np.empty(place[1])
    for y in range(out.shape[0]):
        _between(corners, y / spans[0], left, change)
        _row_sums(pixels, y, left, change, sums, changes)
        for x in range(place[1]):
            out[y, place[0] + x] = sums[x] + changes[x] * (x / spans[1])


@njit(cache=True, nogil=True)
def _sum_roughly(pixels, corners, spans, place, out):
    """The same in single precision: along a row the kernel keeps its shape, only its total is linear."""
    totals = _totals(corners)
    middle, sums = np.empty(corners.shape[1:], np.float32), np.empty(place[1], np.float32)
    for y in range(out.shape[0]):
        start, gain = _ends(totals, y / spans[0])
        top = 0.5 * (1 - y / spans[0]) / (start + 0.5 * gain)
        bottom = 0.5 * (y / spans[0]) / (start + 0.5 * gain)
        for j in range(middle.shape[0]):
            for i in range(middle.shape[1]):
                upper, lower = corners[0, j, i] + corners[1, j, i], corners[2, j, i] + corners[3, j, i]
                middle[j, i] = top * upper + bottom * lower
        _plain_sums(pixels, y, middle, sums)
        for x in range(place[1]):
            out[y, place[0] + x] = sums[x] * (start + gain * (x / spans[1]))


@njit(cache=True, nogil=True)
def _totals(corners):
    """Total of each kernel."""
    out = np.zeros(4)
    for k in range(4):
        for j in range(corners.shape[1]):
            for i in range(corners.shape[2]):
                out[k] += corners[k, j, i]
    return out


@njit(cache=True, nogil=True)
def _ends(totals, share):
    """Total of the kernel at the left end of a row, and its change to the right end."""
    start = (1 - share) * totals[0] + share * totals[2]
    return start, (1 - share) * totals[1] + share * totals[3] - start


@njit(cache=True, nogil=True)
def _fill(value, corners, spans, place, out):
    """The same for a tile of one value: the kernel's total, bilinear."""
    totals = _totals(corners)
    for k in range(4):
        totals[k] *= value
    for y in range(out.shape[0]):
        start, gain = _ends(totals, y / spans[0])
        for x in range(place[1]):
            out[y, place[0] + x] = start + gain * (x / spans[1])


@njit(cache=True, nogil=True)
def _cut(strip, first, out):
    """Copy the columns from the first on; tells whether the pixels differ."""
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[j, i] = strip[j, first + i]
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            if out[j, i] != out[0, 0]:
                return True
    return False


@njit(cache=True, nogil=True)
def sum_strip(strip, kernels, span_y, columns, rough, out):
    """A row of tiles summed with the kernel bilinear between their corners.

    `strip` holds the pixels that kernels reach, and CHUNK more to the right; `kernels` (2, tiles + 1, size, size) are
    those along the upper and lower edge, `span_y` apart, turned by half a circle, with columns of 0 to a multiple of
    CHUNK; `columns` (tiles, 3) are first pixel, width and distance of the edges. All are of one type each, whatever
    that of the plane is, but for `rough`: that sums in single precision.
    """
    tall, size = strip.shape[0], kernels.shape[2]
    corners = np.empty((4, kernels.shape[2], kernels.shape[3]))
    for k in range(len(columns)):
        place, spans = (columns[k, 0], columns[k, 1]), (float(span_y), float(columns[k, 2]))
        for j in range(corners.shape[1]):
            for i in range(corners.shape[2]):
                corners[0, j, i], corners[1, j, i] = kernels[0, k, j, i], kernels[0, k + 1, j, i]
                corners[2, j, i], corners[3, j, i] = kernels[1, k, j, i], kernels[1, k + 1, j, i]
        # of contiguous rows: else the loops aren't vectorised
        wide = place[1] + size - 1 + CHUNK
        if rough:
            single = np.empty((tall, wide), np.float32)
            if _cut(strip, place[0], single):
                _sum_roughly(single, corners, spans, place, out)
            else:
                _fill(float64(single[0, 0]), corners, spans, place, out)
        else:
            pixels = np.empty((tall, wide))
            if _cut(strip, place[0], pixels):
                _sum_tile(pixels, corners, spans, place, out)
            else:
                _fill(pixels[0, 0], corners, spans, place, out)
