"""Compiled sums over pixels and frequencies of `_register_fit`; each reads its arrays once and makes none.

All arrays are finite: what has no value has no power.
"""

import numpy as np
from numba import njit

# sums may be taken in any order, which lets them run in parallel within a processor
compiled = njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract"})


@compiled
def rows_times(transform, factor, out):
    """Each row of a spectrum times its factor."""
    for k in range(transform.shape[0]):
        for n in range(transform.shape[1]):
            out[k, n] = transform[k, n] * factor[k]


@compiled
def columns_times(transform, factor, out):
    """Each column times its factor, in as many rows as `out` has."""
    for k in range(out.shape[0]):
        for n in range(out.shape[1]):
            out[k, n] = transform[k, n] * factor[n]


@compiled
def conjugate_times(transform, other, factor):
    """Conjugate of a spectrum times another one times a factor for each column, in place."""
    for k in range(transform.shape[0]):
        for n in range(transform.shape[1]):
            transform[k, n] = np.conj(transform[k, n]) * other[k, n] * factor[n]


@compiled
def contraction(cross, along_y, along_x):
    """Real part (3, 3) of the sums over both axes of cross * along_y[a] * along_x[b]."""
    sums = np.zeros((3, 3))
    for k in range(cross.shape[0]):
        row0, row1, row2 = 0j, 0j, 0j
        for n in range(cross.shape[1]):
            row0 += cross[k, n] * along_x[0, n]
            row1 += cross[k, n] * along_x[1, n]
            row2 += cross[k, n] * along_x[2, n]
        for a in range(3):
            sums[a, 0] += (along_y[a, k] * row0).real
            sums[a, 1] += (along_y[a, k] * row1).real
            sums[a, 2] += (along_y[a, k] * row2).real
    return sums


@compiled
def projection(power, image, data):
    """Sums of power * image^2 and of power * image * data."""
    norm, product = 0.0, 0.0
    for y in range(power.shape[0]):
        for x in range(power.shape[1]):
            weighted = power[y, x] * image[y, x]
            norm += weighted * image[y, x]
            product += weighted * data[y, x]
    return norm, product


@compiled
def norms(power, image, dx, dy):
    """Sums of power times the squared image moved by (dx, dy), and by one pixel less and more in x, and in y."""
    ny, nx = power.shape
    here, left, right, below, above = 0.0, 0.0, 0.0, 0.0, 0.0
    for y in range(max(1, 1 + dy), min(ny - 1, ny - 1 + dy)):
        for x in range(max(1, 1 + dx), min(nx - 1, nx - 1 + dx)):
            weight, j, i = power[y, x], y - dy, x - dx
            here += weight * image[j, i] ** 2
            left += weight * image[j, i + 1] ** 2
            right += weight * image[j, i - 1] ** 2
            below += weight * image[j + 1, i] ** 2
            above += weight * image[j - 1, i] ** 2
    return here, left, right, below, above


@compiled
def residual(power, image, data, scale, out):
    """Sum of power * (data - scale * image)^2; power times the residual goes to the corner of `out`."""
    chi2 = 0.0
    for y in range(power.shape[0]):
        for x in range(power.shape[1]):
            difference = data[y, x] - scale * image[y, x]
            weighted = power[y, x] * difference
            chi2 += weighted * difference
            out[y, x] = weighted
    return chi2


@compiled
def slopes(weighted, by_x, by_y):
    """Sums of a padded image times two others."""
    along_x, along_y = 0.0, 0.0
    for y in range(by_x.shape[0]):
        for x in range(by_x.shape[1]):
            along_x += weighted[y, x] * by_x[y, x]
            along_y += weighted[y, x] * by_y[y, x]
    return along_x, along_y


@compiled
def products(power, a, b, c):
    """Sums (3, 3) of power times the product of two of three images."""
    aa, ab, ac, bb, bc, cc = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for y in range(power.shape[0]):
        for x in range(power.shape[1]):
            weighted_a, weighted_b = power[y, x] * a[y, x], power[y, x] * b[y, x]
            aa += weighted_a * a[y, x]
            ab += weighted_a * b[y, x]
            ac += weighted_a * c[y, x]
            bb += weighted_b * b[y, x]
            bc += weighted_b * c[y, x]
            cc += power[y, x] * c[y, x] * c[y, x]
    return np.array([[aa, ab, ac], [ab, bb, bc], [ac, bc, cc]])


@compiled
def moments(power, data):
    """Sum of power, sum of power times the squared difference from the weighted mean, number of powers above 0."""
    total, first, count = 0.0, 0.0, 0
    for y in range(power.shape[0]):
        for x in range(power.shape[1]):
            total += power[y, x]
            first += power[y, x] * data[y, x]
            count += power[y, x] > 0
    mean = first / max(total, 1e-300)
    second = 0.0
    for y in range(power.shape[0]):
        for x in range(power.shape[1]):
            difference = data[y, x] - mean
            second += power[y, x] * difference * difference
    return total, second, count
