"""Compiled loops of `moments`."""

import math

import numpy as np
from numba import njit

NOT_CONVERGED, SHIFTED, NO_FLUX, NO_SIZE = 1, 2, 4, 8
# of the ellipse within which pixels count, in units of the weight; beyond it the weight is below 4e-6
REACH2 = 25.0


@njit(cache=True, nogil=True)
def _window(shape, x, y, xx, yy):
    """First and last + 1 pixel of the box around the ellipse, in y and x."""
    half_y, half_x = math.sqrt(REACH2 * yy), math.sqrt(REACH2 * xx)
    y0, y1 = max(0, math.ceil(y - half_y)), min(shape[0], math.floor(y + half_y) + 1)
    x0, x1 = max(0, math.ceil(x - half_x)), min(shape[1], math.floor(x + half_x) + 1)
    return y0, y1, x0, x1


@njit(cache=True, nogil=True)
def _row(a, b, c, dy, x, width):
    """First and last + 1 pixel of a row within the ellipse a dx^2 + b dy^2 + c dx dy < REACH2."""
    inside = (c * dy) ** 2 - 4 * a * (b * dy * dy - REACH2)
    if inside < 0:
        return 0, 0
    half, middle = math.sqrt(inside) / (2 * a), x - c * dy / (2 * a)
    return max(0, math.ceil(middle - half)), min(width, math.floor(middle + half) + 1)


@njit(cache=True, nogil=True)
def _weighted(pixels, x, y, xx, yy, xy, sums):
    """Sums of the pixels under a Gaussian: flux and moments x, y, xx, yy, xy about its middle."""
    sums[:] = 0
    det = xx * yy - xy * xy
    a, b, c = yy / det, xx / det, -2 * xy / det
    y0, y1, _, _ = _window(pixels.shape, x, y, xx, yy)
    fall = math.exp(-a)
    for j in range(y0, y1):
        dy = j - y
        x0, x1 = _row(a, b, c, dy, x, pixels.shape[1])
        dx = x0 - x
        # along a row the weight changes by a factor, which changes by a factor: no exponentials
        w = math.exp(-0.5 * (a * dx * dx + b * dy * dy + c * dx * dy))
        factor = math.exp(-0.5 * (a * (2 * dx + 1) + c * dy))
        s0, s1, s2 = 0.0, 0.0, 0.0
        for i in range(x0, x1):
            if not math.isnan(pixels[j, i]):
                value, dx = w * pixels[j, i], i - x
                s0 += value
                s1 += value * dx
                s2 += value * dx * dx
            w *= factor
            factor *= fall
        sums[0] += s0
        sums[1] += s1
        sums[2] += s0 * dy
        sums[3] += s2
        sums[4] += s0 * dy * dy
        sums[5] += s1 * dy


@njit(cache=True, nogil=True)
def _unweighted(shape, sums, most):
    """Covariance of a Gaussian that has the measured moments under the weight; the weight doubled if there is none."""
    xx, yy, xy = shape
    cxx, cyy, cxy = sums[3] / sums[0], sums[4] / sums[0], sums[5] / sums[0]
    det_w, det_c = xx * yy - xy * xy, cxx * cyy - cxy * cxy
    if not (det_c > 1e-6 and cxx > 0 and cyy > 0):
        return max(xx / 2, 0.05), max(yy / 2, 0.05), 0.0
    a, b, c = cyy / det_c - yy / det_w, cxx / det_c - xx / det_w, -cxy / det_c + xy / det_w
    det = a * b - c * c
    if not (det > 0 and a > 0 and b > 0):
        return min(2 * xx, most), min(2 * yy, most), 0.0
    mxx, myy, mxy = b / det, a / det, -c / det
    # half to double in one step, so that noise doesn't throw it off
    scale = min(max((mxx + myy) / (xx + yy), 0.5), 2.0) * (xx + yy) / (mxx + myy)
    return mxx * scale, myy * scale, mxy * scale


@njit(cache=True, nogil=True)
def _adapt(pixels, found, reach, rounds, sums):
    """Iterate position and shape in `found` (x, y, xx, yy, xy); the flags of what went wrong."""
    x_start, y_start = found[0], found[1]
    most = (min(pixels.shape) / 4.0) ** 2
    for _ in range(rounds):
        x, y, xx, yy, xy = found[0], found[1], found[2], found[3], found[4]
        _weighted(pixels, x, y, xx, yy, xy, sums)
        if not sums[0] > 0:
            return NO_FLUX
        step_x, step_y = 2 * sums[1] / sums[0], 2 * sums[2] / sums[0]
        found[0], found[1] = x + step_x, y + step_y
        if not (abs(found[0] - x_start) < reach and abs(found[1] - y_start) < reach):
            return SHIFTED
        found[2], found[3], found[4] = _unweighted((xx, yy, xy), sums, most)
        change = abs(found[2] - xx) + abs(found[3] - yy) + abs(found[4] - xy)
        if found[2] * found[3] - found[4] ** 2 < 1e-3 or found[2] + found[3] >= 1.9 * most:
            return NO_SIZE
        if change < 1e-6 * (xx + yy) and abs(step_x) + abs(step_y) < 1e-5:
            return 0
    return NOT_CONVERGED


@njit(cache=True, nogil=True)
def _spreads(pixels, variances, found, noise, response):
    """Noise (4, 4) of flux and moments, per flux, and how the moments (3, 3) respond to a change of the weight."""
    noise[:], response[:] = 0, 0
    x, y, xx, yy, xy = found[0], found[1], found[2], found[3], found[4]
    det = xx * yy - xy * xy
    total = 0.0
    q, p = np.empty(4), np.empty(3)
    y0, y1, x0, x1 = _window(pixels.shape, x, y, xx, yy)
    for j in range(y0, y1):
        dy = j - y
        for i in range(x0, x1):
            dx = i - x
            u, v = (yy * dx - xy * dy) / det, (xx * dy - xy * dx) / det
            rho2 = u * dx + v * dy
            if rho2 > REACH2 or math.isnan(pixels[j, i]):
                continue
            w = math.exp(-0.5 * rho2)
            total += w * pixels[j, i]
            q[0], q[1], q[2], q[3] = 1.0, dx * dx - xx / 2, dy * dy - yy / 2, dx * dy - xy / 2
            p[0], p[1], p[2] = u * u, v * v, 2 * u * v
            for a in range(4):
                for b in range(4):
                    noise[a, b] += w * w * variances[j, i] * q[a] * q[b]
            for a in range(3):
                for b in range(3):
                    response[a, b] += 0.5 * w * pixels[j, i] * q[a + 1] * p[b]
    noise /= total * total
    response /= total


@njit(cache=True, nogil=True)
def adaptive(pixels, variances, start, limits, out, noise, response, flags):
    """Position, moments and flux in `out` (n, 6); `noise` (n, 4, 4) and `response` (n, 3, 3) as by `_spreads`.

    `start` is x, y and sigma of each; `limits` are the furthest shift and the most rounds.
    """
    sums, found = np.zeros(6), np.empty(5)
    for k in range(pixels.shape[0]):
        found[0], found[1] = start[k, 0], start[k, 1]
        found[2] = found[3] = start[k, 2] ** 2
        found[4] = 0.0
        flags[k] = _adapt(pixels[k], found, limits[0], limits[1], sums)
        if flags[k] & ~NOT_CONVERGED:
            continue
        for m in range(5):
            out[k, m] = found[m]
        # at the fixed point a Gaussian has half of its flux under the weight
        out[k, 5] = 2 * sums[0]
        _spreads(pixels[k], variances[k], found, noise[k], response[k])


# without any weight 0 / 0 is NaN, not an error
@njit(cache=True, nogil=True, error_model="numpy")
def higher(pixels, found, orders, out):
    """Moments u^p v^q under the weight, u and v in units of its axes: (n, m) for the m orders (p, q)."""
    for k in range(pixels.shape[0]):
        x, y, xx, yy, xy = found[k, 0], found[k, 1], found[k, 2], found[k, 3], found[k, 4]
        if not xx * yy - xy * xy > 0:
            continue
        # symmetric square root of the inverse
        det = math.sqrt(xx * yy - xy * xy)
        scale = det * math.sqrt(xx + yy + 2 * det)
        a, b, c = (yy + det) / scale, (xx + det) / scale, -xy / scale
        total = 0.0
        y0, y1, x0, x1 = _window(pixels[k].shape, x, y, xx, yy)
        out[k] = 0
        for j in range(y0, y1):
            for i in range(x0, x1):
                u, v = a * (i - x) + c * (j - y), c * (i - x) + b * (j - y)
                rho2 = u * u + v * v
                if rho2 > REACH2 or math.isnan(pixels[k, j, i]):
                    continue
                w = pixels[k, j, i] * math.exp(-0.5 * rho2)
                total += w
                for m in range(orders.shape[0]):
                    out[k, m] += w * u ** orders[m, 0] * v ** orders[m, 1]
        for m in range(orders.shape[0]):
            out[k, m] /= total


@njit(cache=True, nogil=True)
def blends(child, parent, variances, found, out):
    """How much of the light under each child's weight is others': of the values, and of their absolute values."""
    for k in range(child.shape[0]):
        x, y, xx, yy, xy = found[k, 0], found[k, 1], found[k, 2], found[k, 3], found[k, 4]
        det = xx * yy - xy * xy
        if not det > 0:
            continue
        y0, y1, x0, x1 = _window(child[k].shape, x, y, xx, yy)
        sums = np.zeros(4)
        for j in range(y0, y1):
            for i in range(x0, x1):
                dx, dy = i - x, j - y
                rho2 = (yy * dx * dx + xx * dy * dy - 2 * xy * dx * dy) / det
                one, all_ = child[k, j, i], parent[k, j, i]
                if rho2 > REACH2 or math.isnan(one + all_):
                    continue
                w, sigma = math.exp(-0.5 * rho2), math.sqrt(variances[k, j, i])
                sums[0] += w * one
                sums[1] += w * all_
                sums[2] += w * _absolute(one, sigma)
                sums[3] += w * _absolute(all_, sigma)
        out[k, 0], out[k, 1] = 1 - sums[0] / sums[1], 1 - sums[2] / sums[3]


@njit(cache=True, nogil=True)
def _absolute(value, sigma):
    """Absolute value less what noise adds to it in the mean, not below 0 (Bosch et al. 2018, PASJ 70, S5)."""
    if not 0 < sigma < np.inf:
        return abs(value)
    t = max(value, 0.0) / sigma
    bias = sigma * (math.sqrt(2 / math.pi) * math.exp(-0.5 * t * t) - t * math.erfc(t / math.sqrt(2.0)))
    return max(abs(value) - bias, 0.0)
