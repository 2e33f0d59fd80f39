"""Compiled loops of `warp`.

The flags of the floating-point sums let the compiler order them as it likes, but not think that there are no NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

SUMS = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True)
def spread_bits(mask, bits, side, out):
    """Those of the bits that are set in any of the side x side pixels of which (y, x) is the first."""
    ny, nx = mask.shape
    along = np.zeros(nx, np.int32)
    for y in range(ny):
        for x in range(nx):
            along[x] = mask[y, x] & bits
        for x in range(nx):
            found = np.int32(0)
            for i in range(x, min(x + side, nx)):
                found |= along[i]
            if found:
                for j in range(max(y - side + 1, 0), y + 1):
                    out[j, x] |= found


@njit(cache=True, nogil=True, fastmath=SUMS)
def weigh(fraction, table, weights):
    """Weights of the pixels around a place that lies `fraction` behind one; gives their sum."""
    at = fraction * (table.shape[0] - 1)
    row = min(int(at), table.shape[0] - 2)
    rest, total = at - row, 0.0
    for i in range(weights.size):
        weights[i] = table[row, i] + rest * (table[row + 1, i] - table[row, i])
        total += weights[i]
    return total


@njit(cache=True, nogil=True)
def row_places(nodes, step, y, places, area):
    """Source y and x of the pixels of a row, and their area on the source by backward differences.

    The nodes stand at the pixels -1, step - 1, 2 step - 1 ...; a pixel belongs to the cell before it.
    """
    row, share = y // step, (y % step + 1) / step
    for cell in range(nodes.shape[2] - 1):
        top, bottom = nodes[:, row, cell : cell + 2], nodes[:, row + 1, cell : cell + 2]
        left_y, left_x = top[0, 0] + share * (bottom[0, 0] - top[0, 0]), top[1, 0] + share * (bottom[1, 0] - top[1, 0])
        dy = (top[0, 1] + share * (bottom[0, 1] - top[0, 1]) - left_y) / step
        dx = (top[1, 1] + share * (bottom[1, 1] - top[1, 1]) - left_x) / step
        for k in range(1, min(step, area.size - cell * step) + 1):
            x, along = cell * step + k - 1, k / step
            down_y = (1 - along) * (bottom[0, 0] - top[0, 0]) + along * (bottom[0, 1] - top[0, 1])
            down_x = (1 - along) * (bottom[1, 0] - top[1, 0]) + along * (bottom[1, 1] - top[1, 1])
            places[0, x], places[1, x] = left_y + k * dy, left_x + k * dx
            area[x] = abs(dx * down_y - dy * down_x) / step


@njit(cache=True, nogil=True, fastmath=SUMS)
def row_sums(image, variance, table, places, reach, sums):
    """Weighted sums of image and, with squared weights, variance; NaN where the kernel goes over the edge."""
    along_y, along_x = np.empty(reach[0]), np.empty(reach[0])
    for x in range(places.shape[1]):
        y, z = places[0, x], places[1, x]
        if not (reach[1] <= y < reach[2] and reach[1] <= z < reach[3]):
            sums[0, x], sums[1, x] = np.nan, np.nan
            continue
        y0, x0 = math.floor(y), math.floor(z)
        total = weigh(y - y0, table, along_y) * weigh(z - x0, table, along_x)
        y0, x0 = y0 - reach[1], x0 - reach[1]
        value, spread = 0.0, 0.0
        for j in range(reach[0]):
            line, squares = 0.0, 0.0
            for i in range(reach[0]):
                line += along_x[i] * image[y0 + j, x0 + i]
                squares += along_x[i] * along_x[i] * variance[y0 + j, x0 + i]
            value += along_y[j] * line
            spread += along_y[j] * along_y[j] * squares
        sums[0, x], sums[1, x] = value / total, spread / (total * total)


@njit(cache=True, nogil=True)
def known_sums(image, variance, table, y, x):
    """The same of one place without pixels that aren't finite; NaN if one of the up to four nearest isn't."""
    along_y, along_x = np.empty(table.shape[1]), np.empty(table.shape[1])
    y0, x0 = math.floor(y), math.floor(x)
    weigh(y - y0, table, along_y)
    weigh(x - x0, table, along_x)
    value, spread, total, half = 0.0, 0.0, 0.0, table.shape[1] // 2 - 1
    for j in range(along_y.size):
        for i in range(along_x.size):
            pixel, noise = image[y0 - half + j, x0 - half + i], variance[y0 - half + j, x0 - half + i]
            if math.isfinite(pixel) and math.isfinite(noise):
                weight = along_y[j] * along_x[i]
                value += weight * pixel
                spread += weight * weight * noise
                total += weight
            elif abs(y0 - half + j - y) < 1 and abs(x0 - half + i - x) < 1:
                return np.nan, np.nan
    return value / total, spread / (total * total)


@njit(cache=True, nogil=True)
def row_bits(mask, near, places, half, bits):
    """Bits of the up to four pixels that bilinear interpolation takes, and grown ones; 0 where `bits` is negative."""
    for x in range(bits.size):
        if bits[x] < 0:
            continue
        y0, x0 = math.floor(places[0, x]), math.floor(places[1, x])
        y1, x1 = y0 + (places[0, x] > y0), x0 + (places[1, x] > x0)
        bits[x] |= mask[y0, x0] | mask[y0, x1] | mask[y1, x0] | mask[y1, x1]
        if near.size:
            bits[x] |= near[y0 - half, x0 - half]


@njit(cache=True, nogil=True)
def warp_rows(planes, near, nodes, step, table, settings, rows, out):
    """Fill the rows of the output from `rows[0]` up to `rows[1]`."""
    image, variance, mask = planes
    conserve, incomplete, missing = settings
    side, width = table.shape[1], out[0].shape[1]
    half = side // 2 - 1
    reach = (side, half, image.shape[0] - side // 2, image.shape[1] - side // 2)
    places, sums, area, bits = np.empty((2, width)), np.empty((2, width)), np.empty(width), np.empty(width, np.int32)
    for y in range(rows[0], rows[1]):
        row_places(nodes, step, y, places, area)
        row_sums(image, variance, table, places, reach, sums)
        for x in range(width):
            inside = half <= places[0, x] < reach[2] and half <= places[1, x] < reach[3]
            bits[x] = 0 if inside else -1
            if inside and not (math.isfinite(sums[0, x]) and math.isfinite(sums[1, x])):
                sums[0, x], sums[1, x] = known_sums(image, variance, table, places[0, x], places[1, x])
                bits[x] = incomplete
        row_bits(mask, near, places, half, bits)
        for x in range(width):
            share, known = area[x] if conserve else 1.0, not math.isnan(sums[0, x])
            out[0][y, x] = sums[0, x] * share
            out[1][y, x] = sums[1, x] * share * share if known else np.inf
            out[2][y, x] = bits[x] if known else missing | (max(bits[x], 0) & ~incomplete)


@njit(cache=True, nogil=True)
def warp_stamps(stamps, places, affines, table, out):
    """Stamps at the places `middle + affine (pixel - offset)`; nothing is outside of them.

    Rows of `places` are the middle (y, x) on the source's stamp and the offset (y, x) on the output's.
    """
    side, half = table.shape[1], out.shape[1] // 2
    along_y, along_x = np.empty(side), np.empty(side)
    for k in range(out.shape[0]):
        for v in range(out.shape[1]):
            for u in range(out.shape[2]):
                dy, dx = v - half - places[k, 2], u - half - places[k, 3]
                y = places[k, 0] + affines[k, 0, 0] * dy + affines[k, 0, 1] * dx
                x = places[k, 1] + affines[k, 1, 0] * dy + affines[k, 1, 1] * dx
                y0, x0 = math.floor(y), math.floor(x)
                total = weigh(y - y0, table, along_y) * weigh(x - x0, table, along_x)
                value = 0.0
                for j in range(side):
                    for i in range(side):
                        b, a = y0 - side // 2 + 1 + j, x0 - side // 2 + 1 + i
                        if 0 <= b < stamps.shape[1] and 0 <= a < stamps.shape[2]:
                            value += along_y[j] * along_x[i] * stamps[k, b, a]
                out[k, v, u] = value / total
