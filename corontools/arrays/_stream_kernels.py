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
            j = 0
            while j < length:  # one block of ticks after the other
                k = (line * period + j) // block
                end = min(length, (k + 1) * block - line * period)
                number, total = out[0, channel, k], out[1, channel, k]
                signs, signed = out[2, channel, k], out[3, channel, k]
                while j < end:
                    value = lines[line, channel, length - 1 - j if flip[channel] else j]
                    if not math.isnan(value):
                        sign = 1.0 - 2.0 * ((line * period + j) & 1)
                        number += 1.0
                        total += value
                        signs += sign
                        signed += sign * value
                    j += 1
                out[0, channel, k], out[1, channel, k] = number, total
                out[2, channel, k], out[3, channel, k] = signs, signed
    return out


@njit(cache=True, nogil=True)
def spread(slow, alternating, flip, overhead, block, first, step, out):
    """A slow series and an alternating one, times (-1)^tick, at the pixels of some lines, interpolated between blocks.

    `out` is (line, channel, pixel); its lines are `first`, `first + step`, ... of the image.
    """
    n_line, n_channel, length = out.shape
    period, last = length + overhead, slow.shape[1] - 1
    for line in range(n_line):
        start = (first + line * step) * period
        for channel in range(n_channel):
            j = 0
            while j < length:  # from the middle of one block to that of the next
                place = (start + j + 0.5) / block - 0.5
                k = int(min(max(place, 0.0), last))
                after = min(k + 1, last)
                outside = place < 0 or place >= last
                until = 0.5 * block if place < 0 else (math.inf if outside else (k + 1.5) * block)
                end = int(min(length, max(math.ceil(until - 0.5) - start, j + 1)))
                base, slope = (0.0, 0.0) if outside else (place - k, 1.0 / block)
                here, wave = slow[channel, k], alternating[channel, k]
                rise, growth = slow[channel, after] - here, alternating[channel, after] - wave
                for i in range(j, end):
                    part = base + (i - j) * slope
                    sign = 1.0 - 2.0 * ((start + i) & 1)
                    pixel = length - 1 - i if flip[channel] else i
                    out[line, channel, pixel] = here + part * rise + sign * (wave + part * growth)
                j = end


@njit(cache=True, nogil=True)
def drop_outliers(rows, level, reach):
    """Values that are further than `reach` from the level of their row become NaN."""
    for row in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            if abs(rows[row, j] - level[row]) > reach[row]:
                rows[row, j] = math.nan
