"""Compiled passes over the pixels in the order of the clock, see `_timestream`."""

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def gather(lines, flip, overhead, block):
    """Sums over blocks of clock ticks, (4, channels, blocks).

    They are the number of values that are not NaN, the sum of these, and both with the sign (-1)^tick, in the type of
    `lines` (line, channel, pixel); a channel with `flip` is read from its last pixel on.
    """
    n_line, n_channel, length = lines.shape
    period = length + overhead
    out = np.zeros((4, n_channel, (n_line * period + block - 1) // block), lines.dtype)
    for line in range(n_line):
        for channel in range(n_channel):
            for j in range(length):
                value = lines[line, channel, length - 1 - j if flip[channel] else j]
                if not math.isnan(value):
                    tick = line * period + j
                    k = tick // block
                    sign = 1.0 - 2.0 * (tick & 1)
                    out[0, channel, k] += 1.0
                    out[1, channel, k] += value
                    out[2, channel, k] += sign
                    out[3, channel, k] += sign * value
    return out


@njit(cache=True, nogil=True)
def spread(slow, alternating, flip, overhead, block, first, step, out):
    """A slow series and an alternating one, times (-1)^tick, at the pixels of some lines, interpolated between blocks.

    `out` is (line, channel, pixel); its lines are `first`, `first + step`, ... of the image.
    """
    n_line, n_channel, length = out.shape
    period, last = length + overhead, slow.shape[1] - 1
    for line in range(n_line):
        for channel in range(n_channel):
            for j in range(length):
                tick = (first + line * step) * period + j
                place = min(max((tick + 0.5) / block - 0.5, 0.0), last)
                k = int(place)
                after = min(k + 1, last)
                part = place - k
                sign = 1.0 - 2.0 * (tick & 1)
                here = slow[channel, k] + sign * alternating[channel, k]
                there = slow[channel, after] + sign * alternating[channel, after]
                pixel = length - 1 - j if flip[channel] else j
                out[line, channel, pixel] = here + part * (there - here)


@njit(cache=True, nogil=True)
def drop_outliers(rows, level, reach):
    """Values that are further than `reach` from the level of their row become NaN."""
    for row in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            if abs(rows[row, j] - level[row]) > reach[row]:
                rows[row, j] = math.nan
