"""Compiled loops of `varying`: sums over a kernel that changes from pixel to pixel, and bits gathered over a box."""

import numpy as np
from numba import njit

# taps summed at once, so that a sum is loaded and stored once for all of them
CHUNK = 4


@njit(cache=True, nogil=True, fastmath={"contract"})
def _row_sums(rows, first, left, change, sums, changes):
    """Sums of a row of pixels with the kernel at its left end, and with what the kernel gains to its right end."""
    width = len(sums)
    sums[:] = 0.0
    changes[:] = 0.0
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
    sums[:] = 0.0
    for j in range(kernel.shape[0]):
        for i in range(0, kernel.shape[1], CHUNK):
            a0, a1, a2, a3 = kernel[j, i], kernel[j, i + 1], kernel[j, i + 2], kernel[j, i + 3]
            row = rows[first + j, i : i + width + CHUNK]
            for x in range(np.uint64(width)):
                sums[x] += (
                    a0 * row[x] + a1 * row[x + np.uint64(1)] + a2 * row[x + np.uint64(2)] + a3 * row[x + np.uint64(3)]
                )


@njit(cache=True, nogil=True)
def _sum_tile(pixels, corners, spans, out):
    """Pixels of a tile summed with the kernel bilinear between its corners."""
    left, change = np.empty(corners.shape[1:]), np.empty(corners.shape[1:])
    sums, changes = np.empty(out.shape[1]), np.empty(out.shape[1])
    for y in range(out.shape[0]):
        _between(corners, y / spans[0], left, change)
        _row_sums(pixels, y, left, change, sums, changes)
        for x in range(out.shape[1]):
            out[y, x] = sums[x] + changes[x] * (x / spans[1])


@njit(cache=True, nogil=True)
def _sum_roughly(pixels, corners, spans, out):
    """The same in single precision: along a row the kernel keeps its shape, only its total is linear."""
    totals = np.array([corners[k].sum() for k in range(4)])
    middle, sums = np.empty(corners.shape[1:], np.float32), np.empty(out.shape[1], np.float32)
    for y in range(out.shape[0]):
        start, gain = _ends(totals, y / spans[0])
        top = 0.5 * (1 - y / spans[0]) / (start + 0.5 * gain)
        bottom = 0.5 * (y / spans[0]) / (start + 0.5 * gain)
        for j in range(middle.shape[0]):
            for i in range(middle.shape[1]):
                upper, lower = corners[0, j, i] + corners[1, j, i], corners[2, j, i] + corners[3, j, i]
                middle[j, i] = top * upper + bottom * lower
        _plain_sums(pixels, y, middle, sums)
        for x in range(out.shape[1]):
            out[y, x] = sums[x] * (start + gain * (x / spans[1]))


@njit(cache=True, nogil=True)
def _ends(totals, share):
    """Total of the kernel at the left end of a row, and its change to the right end."""
    start = (1 - share) * totals[0] + share * totals[2]
    return start, (1 - share) * totals[1] + share * totals[3] - start


@njit(cache=True, nogil=True)
def _fill(value, corners, spans, out):
    """The same for a tile of one value: the kernel's total, bilinear."""
    totals = np.array([corners[k].sum() for k in range(4)]) * value
    for y in range(out.shape[0]):
        start, gain = _ends(totals, y / spans[0])
        for x in range(out.shape[1]):
            out[y, x] = start + gain * (x / spans[1])


@njit(cache=True, nogil=True)
def load_tile(plane, beyond, y0, x0, out):
    """Copy a tile from (y0, x0) on, `beyond` outside the plane; tells whether its pixels differ."""
    first, last = max(-x0, 0), min(plane.shape[1] - x0, out.shape[1])
    for j in range(out.shape[0]):
        row = out[j]
        if 0 <= y0 + j < plane.shape[0] and last > first:
            row[:first] = beyond
            row[first:last] = plane[y0 + j, x0 + first : x0 + last]
            row[last:] = beyond
        else:
            row[:] = beyond
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            if out[j, i] != out[0, 0]:
                return True
    return False


@njit(cache=True, nogil=True)
def sum_strip(plane, beyond, kernels, row, columns, work, rough, out):
    """A row of tiles summed with the kernel bilinear between their corners.

    `kernels` (2, tiles + 1, size, size) are those along the upper and lower edge, turned by half a circle, with columns
    of 0 to a multiple of CHUNK; `row` is (first pixel, height, distance of the edges), `columns` (tiles, 3) the same
    along x; `work` holds the pixels that kernels reach, and CHUNK more to the right.
    """
    first_y, height, span_y = row
    half, size = kernels.shape[2] // 2, kernels.shape[2]
    corners = np.empty((4, kernels.shape[2], kernels.shape[3]))
    for k in range(len(columns)):
        first_x, width, span_x = columns[k]
        corners[:2], corners[2:] = kernels[0, k : k + 2], kernels[1, k : k + 2]
        # of contiguous rows: else the loops aren't vectorised
        tall, wide = height + size - 1, width + size - 1 + CHUNK
        pixels = work[: tall * wide].reshape(tall, wide)
        target = out[first_y : first_y + height, first_x : first_x + width]
        spans = (float(span_y), float(span_x))
        if not load_tile(plane, beyond, first_y - half, first_x - half, pixels):
            _fill(pixels[0, 0], corners, spans, target)
        elif rough:
            _sum_roughly(pixels, corners, spans, target)
        else:
            _sum_tile(pixels, corners, spans, target)


@njit(cache=True, nogil=True)
def gather_rows(mask, reach, first, last, out):
    """OR of the bits up to `reach` px to the left and the right, rows first to last."""
    n = mask.shape[1]
    for y in range(first, last):
        _gathered(mask[y], reach, n, out[y])


@njit(cache=True, nogil=True)
def _gathered(line, reach, n, out):
    """Bits over 2 reach + 1 px from those over 1, 2, 4 ... px."""
    total, span = 2 * reach + 1, 1
    work = np.zeros(n + 2 * reach, line.dtype)
    work[reach : reach + n] = line
    while 2 * span <= total:
        for x in range(n + 2 * reach - span):
            work[x] |= work[x + span]
        span *= 2
    # two spans that overlap make the whole
    for x in range(n):
        out[x] = work[x] | work[x + total - span]


@njit(cache=True, nogil=True)
def gather_columns(mask, reach, first, last, out):
    """OR of the bits up to `reach` px above and below, rows first to last."""
    ny, nx = mask.shape
    total, span = 2 * reach + 1, 1
    count = last - first + 2 * reach
    work = np.zeros((count, nx), mask.dtype)
    for j in range(count):
        y = first - reach + j
        if 0 <= y < ny:
            work[j] = mask[y]
    while 2 * span <= total:
        for j in range(count - span):
            for x in range(nx):
                work[j, x] |= work[j + span, x]
        span *= 2
    for j in range(last - first):
        for x in range(nx):
            out[first + j, x] = work[j, x] | work[j + total - span, x]
