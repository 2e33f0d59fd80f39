"""Compiled loops of `centroid`."""

import math

import numpy as np
from numba import njit

EDGE, NO_SECOND_DERIVATIVE, NOT_AT_MAXIMUM, NEAR_EDGE = 1, 2, 4, 8
# of the deviation from a parabola, for peaks between a Gaussian's and a Moffat profile's
QUARTIC = 4 / 3


@njit(cache=True, nogil=True)
def _padded(kernel, width):
    """Kernel with a border of zeros."""
    out = np.zeros((kernel.shape[0] + 2 * width, kernel.shape[1] + 2 * width))
    for j in range(kernel.shape[0]):
        for i in range(kernel.shape[1]):
            out[j + width, i + width] = kernel[j, i]
    return out


@njit(cache=True, nogil=True)
def _box_summed(kernel, step):
    """Kernel summed over boxes of step x step pixels."""
    out = np.zeros((kernel.shape[0] + step - 1, kernel.shape[1] + step - 1))
    for j in range(kernel.shape[0]):
        for i in range(kernel.shape[1]):
            for b in range(step):
                for a in range(step):
                    out[j + b, i + a] += kernel[j, i]
    return out


# sums may be taken in any order, which lets several terms be added at once
@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract"})
def _flux_at(pixels, kernel, y, x):
    """Flux of a star with its middle on a pixel, by least squares over the pixels that have a value."""
    half = kernel.shape[0] // 2
    product, norm = 0.0, 0.0
    for j in range(max(0, half - y), min(kernel.shape[0], pixels.shape[0] + half - y)):
        for i in range(max(0, half - x), min(kernel.shape[1], pixels.shape[1] + half - x)):
            value, weight = pixels[y + j - half, x + i - half], kernel[j, i]
            known = value == value
            product += weight * (value if known else 0.0)
            norm += weight * (weight if known else 0.0)
    return product / norm if norm > 0 else np.nan


@njit(cache=True, nogil=True)
def _patch(pixels, kernel, y, x, step, values):
    for j in range(3):
        for i in range(3):
            values[j, i] = _flux_at(pixels, kernel, y + (j - 1) * step, x + (i - 1) * step)


@njit(cache=True, nogil=True)
def _climb(pixels, kernel, y, x, step, values):
    """The pixel near the given one where the smoothed image is highest, and whether there is one within five steps."""
    for _ in range(6):
        _patch(pixels, kernel, y, x, step, values)
        best, dy, dx = values[1, 1], 0, 0
        for j in range(3):
            for i in range(3):
                if values[j, i] > best:
                    best, dy, dx = values[j, i], j - 1, i - 1
        if dy == 0 and dx == 0:
            return y, x, True
        y, x = y + dy, x + dx
    return y, x, False


@njit(cache=True, nogil=True)
def _maximum(low, middle, high):
    """Place of the maximum near the middle one of three values, with the correction of fourth order; NaN if none."""
    curve = 2 * middle - low - high
    if not curve > 0 or not middle > 0:
        return np.nan
    return (high - low) / 2 / curve * (1 + QUARTIC * (middle - high) * (middle - low) / (curve * middle))


@njit(cache=True, nogil=True)
def _across(first, second, third, place):
    """Parabola through values at -1, 0 and 1."""
    return second + place * (third - first) / 2 + place * place * (first + third - 2 * second) / 2


@njit(cache=True, nogil=True)
def _offset(v):
    """Maximum (x, y) of 3 x 3 values in steps from the middle: maxima along each row and column, followed across."""
    x0, y0 = _maximum(v[1, 0], v[1, 1], v[1, 2]), _maximum(v[0, 1], v[1, 1], v[2, 1])
    rows = (_maximum(v[0, 0], v[0, 1], v[0, 2]), _maximum(v[2, 0], v[2, 1], v[2, 2]))
    columns = (_maximum(v[0, 0], v[1, 0], v[2, 0]), _maximum(v[0, 2], v[1, 2], v[2, 2]))
    x, y = _across(rows[0], x0, rows[1], y0), _across(columns[0], y0, columns[1], x0)
    return (x0 if math.isnan(x) else x), (y0 if math.isnan(y) else y)


@njit(cache=True, nogil=True)
def _errors(variances, kernel, place, step, values):
    """Errors of x and y: noise of the slope over the curvature, in steps."""
    reach = kernel.shape[0] // 2 + step
    side, padded = 2 * reach + 1, _padded(kernel, 2 * step)
    y0, x0 = place[0] - reach, place[1] - reach
    norm, along_x, along_y = 0.0, 0.0, 0.0
    for value in kernel.flat:
        norm += value * value
    for j in range(max(0, -y0), min(side, variances.shape[0] - y0)):
        for i in range(max(0, -x0), min(side, variances.shape[1] - x0)):
            variance = variances[y0 + j, x0 + i]
            if variance < np.inf:
                along_x += variance * (padded[j + step, i + 2 * step] - padded[j + step, i]) ** 2
                along_y += variance * (padded[j + 2 * step, i + step] - padded[j, i + step]) ** 2
    curve_x = (2 * values[1, 1] - values[1, 0] - values[1, 2]) * 2 * norm
    curve_y = (2 * values[1, 1] - values[0, 1] - values[2, 1]) * 2 * norm
    return math.sqrt(along_x) / curve_x, math.sqrt(along_y) / curve_y


@njit(cache=True, nogil=True)
def _width(v):
    """Mean variance of the peak in steps squared, as if it were a Gaussian; infinite without a second derivative."""
    curves = 4 * v[1, 1] - v[1, 0] - v[1, 2] - v[0, 1] - v[2, 1]
    return 2 * v[1, 1] / curves if curves > 0 else np.inf


@njit(cache=True, nogil=True)
def _settle(pixels, kernel, y, x, steps, values):
    """Climb with the smallest step at which the peak is not much wider than a star's."""
    own = np.zeros((3, 3))
    middle = kernel.shape[0] // 2 + 1
    _patch(_padded(kernel, 1), kernel, middle, middle, 1, own)
    step, summed = 1, kernel
    while True:
        row, column, top = _climb(pixels, summed, y, x, step, values)
        wide = not _width(values) < 1.5 * _width(own)
        if not wide or step + 2 > steps:
            return row, column, step, top
        step += 2
        summed = _box_summed(kernel, step)


@njit(cache=True, nogil=True)
def _measured(pixels, variances, kernel, place, step, values, out):
    """Position and errors from the 3 x 3 values; the flags of what went wrong."""
    y, x = place
    reach = kernel.shape[0] // 2 + step
    total = 0.0
    for value in values.flat:
        total += value
    if math.isnan(total) or math.isnan(pixels[y, x]):
        return EDGE
    flags = 0
    for j, i in ((y - reach, x), (y + reach, x), (y, x - reach), (y, x + reach)):
        inside = 0 <= j < pixels.shape[0] and 0 <= i < pixels.shape[1]
        if not inside or not variances[j, i] < np.inf:
            flags |= NEAR_EDGE
    dx, dy = _offset(values)
    if math.isnan(dx) or math.isnan(dy):
        return flags | NO_SECOND_DERIVATIVE
    if abs(dx) > 1 or abs(dy) > 1:
        return flags | NOT_AT_MAXIMUM
    errors = _errors(variances, kernel, place, step, values)
    out[0], out[1], out[2], out[3] = x + step * dx, y + step * dy, step * errors[0], step * errors[1]
    return flags


@njit(cache=True, nogil=True)
def find_peaks(pixels, variances, kernels, start, steps, out, flags):
    """First positions: x, y, their errors and the step of each source in `out` (n, 5)."""
    values = np.zeros((3, 3))
    for k in range(pixels.shape[0]):
        x, y = start[k]
        out[k, 0], out[k, 1], out[k, 2], out[k, 3], out[k, 4] = x, y, np.nan, np.nan, 1
        y, x, step, top = _settle(pixels[k], kernels[k], y, x, steps, values)
        kernel = kernels[k] if step == 1 else _box_summed(kernels[k], step)
        inside = 0 <= y < pixels.shape[1] and 0 <= x < pixels.shape[2]
        if not inside or not top:
            flags[k] = NOT_AT_MAXIMUM
            continue
        flags[k] = _measured(pixels[k], variances[k], kernel, (y, x), step, values, out[k])
        out[k, 4] = step


@njit(cache=True, nogil=True)
def refine(pixels, variances, images, out, flags):
    """Positions measured once more with stars drawn where the sources were found, which leaves next to no offset."""
    values = np.zeros((3, 3))
    again = np.empty(4)
    for k in range(pixels.shape[0]):
        if flags[k] & ~NEAR_EDGE:
            continue
        x, y = math.floor(out[k, 0] + 0.5), math.floor(out[k, 1] + 0.5)
        step = int(out[k, 4])
        kernel = images[k] if step == 1 else _box_summed(images[k], step)
        _patch(pixels[k], kernel, y, x, step, values)
        wrong = _measured(pixels[k], variances[k], kernel, (y, x), step, values, again) & ~NEAR_EDGE
        if not wrong and abs(again[0] - x) < 0.5 * step and abs(again[1] - y) < 0.5 * step:
            out[k, 0] += again[0] - x
            out[k, 1] += again[1] - y
            out[k, 2], out[k, 3] = again[2], again[3]
