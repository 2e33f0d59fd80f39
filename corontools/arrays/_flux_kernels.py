"""Compiled loops of `flux`."""

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def psf_sums(pixels, variances, images, middles, out):
    """Flux, its error, effective area, chi-squared and number of pixels of each source in `out` (n, 5)."""
    half = images.shape[1] // 2
    for k in range(pixels.shape[0]):
        psf, y0, x0 = images[k], middles[k, 1] - half, middles[k, 0] - half
        total, product, norm, noise, count = 0.0, 0.0, 0.0, 0.0, 0
        square, cross, own = 0.0, 0.0, 0.0
        for j in range(max(0, -y0), min(psf.shape[0], pixels.shape[1] - y0)):
            for i in range(max(0, -x0), min(psf.shape[1], pixels.shape[2] - x0)):
                value, variance, p = pixels[k, y0 + j, x0 + i], variances[k, y0 + j, x0 + i], psf[j, i]
                if math.isnan(value) or not variance < np.inf:
                    continue
                count += 1
                total += p
                product += p * value
                norm += p * p
                noise += p * p * variance
                if variance > 0:
                    square += value * value / variance
                    cross += value * p / variance
                    own += p * p / variance
        out[k, 4] = count
        if norm > 0:
            flux = product / norm
            out[k, 0], out[k, 1] = flux, math.sqrt(noise) / norm
            out[k, 2], out[k, 3] = total * total / norm, square - 2 * flux * cross + flux * flux * own


@njit(cache=True, nogil=True)
def _corner(x, y, r):
    """Area of a circle about 0 within the rectangle from 0 to (x, y), negative if one side is."""
    sign = 1.0 if (x >= 0) == (y >= 0) else -1.0
    x, y = min(abs(x), r), min(abs(y), r)
    if x * x + y * y <= r * r:
        return sign * x * y
    start = math.sqrt(max(r * r - y * y, 0.0))
    arc = _under_arc(x, r) - _under_arc(start, r)
    return sign * (start * y + arc)


@njit(cache=True, nogil=True)
def _under_arc(x, r):
    """Area under a circle's upper half from 0 to x."""
    return 0.5 * (x * math.sqrt(max(r * r - x * x, 0.0)) + r * r * math.asin(min(x / r, 1.0)))


@njit(cache=True, nogil=True)
def overlap(dx, dy, r):
    """Area of the unit pixel at (dx, dy) that lies in a circle about 0."""
    distance2 = dx * dx + dy * dy
    if distance2 >= (r + 0.7072) ** 2:
        return 0.0
    if r > 0.7072 and distance2 <= (r - 0.7072) ** 2:
        return 1.0
    x0, x1, y0, y1 = dx - 0.5, dx + 0.5, dy - 0.5, dy + 0.5
    return _corner(x1, y1, r) - _corner(x0, y1, r) - _corner(x1, y0, r) + _corner(x0, y0, r)


@njit(cache=True, nogil=True)
def circle_sums(pixels, variances, places, radii, out):
    """Sum, variance and area of the pixels that have a value in each circle: `out` (n, radii, 3)."""
    out[:] = 0
    for k in range(pixels.shape[0]):
        x, y = places[k, 0], places[k, 1]
        if math.isnan(x) or math.isnan(y):
            continue
        reach = radii[-1] + 0.5
        for j in range(max(0, math.ceil(y - reach)), min(pixels.shape[1], math.floor(y + reach) + 1)):
            for i in range(max(0, math.ceil(x - reach)), min(pixels.shape[2], math.floor(x + reach) + 1)):
                value, variance = pixels[k, j, i], variances[k, j, i]
                if math.isnan(value) or not variance < np.inf:
                    continue
                for m in range(radii.shape[0] - 1, -1, -1):
                    area = overlap(i - x, j - y, radii[m])
                    if area <= 0:
                        break
                    out[k, m, 0] += area * value
                    out[k, m, 1] += area * area * variance
                    out[k, m, 2] += area
