"""Compiled loops of `cosmic`."""

import math

import numpy as np
from numba import njit

# half of the pairs of opposite neighbours: below, left, and the two diagonals; the other half is opposite
DY = (-1, 0, -1, 1)
DX = (0, -1, -1, -1)
# two-sided linear prediction from the first and second neighbours, along rows and columns, and along diagonals
FIRST = (0.7737, 0.7737, 0.7358, 0.7358)
SECOND = (-0.2737, -0.2737, -0.2358, -0.2358)
# expected lowest of 1, 2, 3, 4 values of a unit Gaussian, turned positive
LOWEST = (0.0, 0.56418958, 0.84628438, 1.02937537)


@njit(cache=True, nogil=True)
def _usable(unusable, y, x):
    return 0 <= y < unusable.shape[0] and 0 <= x < unusable.shape[1] and not unusable[y, x]


@njit(cache=True, nogil=True)
def _pair_mean(image, variance, unusable, y, x, limits, background, steep, slack):
    """Mean of the first pair that the pixel is too sharp against, NaN if it isn't a cosmic ray."""
    pixel, sigma = image[y, x], math.sqrt(variance[y, x])
    height, rises, mean_found = pixel - background - slack * sigma, False, math.nan
    for p in range(4):
        dy, dx = DY[p], DX[p]
        if not (_usable(unusable, y + dy, x + dx) and _usable(unusable, y - dy, x - dx)):
            continue
        mean = 0.5 * (image[y + dy, x + dx] + image[y - dy, x - dx])
        rises = rises or pixel >= mean + steep * sigma
        if math.isnan(mean_found):
            noise = 0.5 * math.sqrt(variance[y + dy, x + dx] + variance[y - dy, x - dx])
            if limits[min(p, 2)] * height > mean - background + slack * noise:
                mean_found = mean
    return mean_found if rises else math.nan


@njit(cache=True, nogil=True)
def _may_rise(image, variance, y, x, steep):
    """Whether the pixel stands above one of its pairs: quick, and nearly none does; those at the border may."""
    ny, nx = image.shape
    if y == 0 or x == 0 or y == ny - 1 or x == nx - 1:
        return True
    low = min(
        min(image[y - 1, x] + image[y + 1, x], image[y, x - 1] + image[y, x + 1]),
        min(image[y - 1, x - 1] + image[y + 1, x + 1], image[y + 1, x - 1] + image[y - 1, x + 1]),
    )
    rise = image[y, x] - 0.5 * low
    return rise > 0 and rise * rise >= steep * steep * variance[y, x]


@njit(cache=True, nogil=True)
def _touches(spoiled, y, x):
    ny, nx = spoiled.shape
    for j in range(max(y - 1, 0), min(y + 2, ny)):
        for i in range(max(x - 1, 0), min(x + 2, nx)):
            if spoiled[j, i]:
                return True
    return False


@njit(cache=True, nogil=True)
def scan(image, variance, unusable, spoiled, limits, background, steep, slack, found):
    """Mark in `found` what is too sharp for a star; these pixels of `image` become the mean of their pair."""
    ny, nx = image.shape
    cells_y, cells_x = limits.shape[:2]
    count = 0
    for y in range(ny):
        row = limits[y * cells_y // ny]
        for x in range(nx):
            if not image[y, x] >= 0 or unusable[y, x] or not _may_rise(image, variance, y, x, steep):
                continue
            mean = _pair_mean(image, variance, unusable, y, x, row[x * cells_x // nx], background, steep, slack)
            if not math.isnan(mean) and not _touches(spoiled, y, x):
                image[y, x] = mean
                found[y, x] = True
                count += 1
    return count


@njit(cache=True, nogil=True)
def grow(image, variance, unusable, spoiled, limits, background, steep, slack, found, ys, xs):
    """Places (n, 2) of the neighbours of the pixels found that are too sharp beside what they were replaced by."""
    ny, nx = image.shape
    cells_y, cells_x = limits.shape[:2]
    added = []
    for k in range(ys.size):
        for y in range(max(ys[k] - 1, 0), min(ys[k] + 2, ny)):
            for x in range(max(xs[k] - 1, 0), min(xs[k] + 2, nx)):
                if found[y, x] or unusable[y, x] or not image[y, x] >= 0:
                    continue
                cell = limits[y * cells_y // ny, x * cells_x // nx]
                mean = _pair_mean(image, variance, unusable, y, x, cell, background, steep, slack)
                if not math.isnan(mean) and not _touches(spoiled, y, x):
                    found[y, x] = True
                    added.append((y, x))
    out = np.empty((len(added), 2), np.int64)
    for k in range(len(added)):
        out[k, 0], out[k, 1] = added[k]
    return out


@njit(cache=True, nogil=True)
def _predicted(image, variance, unusable, y, x, p):
    """Value along direction `p` and its variance, and the mean variance of the pixels; NaN without four good pixels."""
    dy, dx = DY[p], DX[p]
    for step in (-2, -1, 1, 2):
        if not _usable(unusable, y + step * dy, x + step * dx):
            return math.nan, math.nan, math.nan
    value = FIRST[p] * (image[y + dy, x + dx] + image[y - dy, x - dx])
    value += SECOND[p] * (image[y + 2 * dy, x + 2 * dx] + image[y - 2 * dy, x - 2 * dx])
    near = variance[y + dy, x + dx] + variance[y - dy, x - dx]
    far = variance[y + 2 * dy, x + 2 * dx] + variance[y - 2 * dy, x - 2 * dx]
    return value, FIRST[p] ** 2 * near + SECOND[p] ** 2 * far, 0.25 * (near + far)


@njit(cache=True, nogil=True)
def _reach(unusable, y, x, dy, dx, longest):
    """Steps to the first good pixel this way, 0 if there is none within `longest`."""
    for step in range(1, longest + 1):
        if _usable(unusable, y + step * dy, x + step * dx):
            return step
    return 0


@njit(cache=True, nogil=True)
def _between(image, variance, unusable, y, x, longest):
    """Along row and column straight between the nearest good pixels, the shorter gap weighing more; and a variance."""
    total, noise, weights = 0.0, 0.0, 0.0
    for p in range(2):
        dy, dx = DY[p], DX[p]
        ahead = _reach(unusable, y, x, dy, dx, longest)
        behind = _reach(unusable, y, x, -dy, -dx, longest)
        if ahead == 0 or behind == 0:
            continue
        gap = float(ahead + behind)
        share = behind / gap
        value = share * image[y + ahead * dy, x + ahead * dx] + (1 - share) * image[y - behind * dy, x - behind * dx]
        near = 0.5 * (variance[y + ahead * dy, x + ahead * dx] + variance[y - behind * dy, x - behind * dx])
        total += value / gap
        noise += near / gap
        weights += 1 / gap
    if weights == 0:
        return math.nan, math.nan
    return total / weights, noise / weights


@njit(cache=True, nogil=True)
def lowest_prediction(image, variance, unusable, ys, xs, floor, longest, out):
    """Per pixel the lowest of four predictions above `floor`, less what the lowest is low by: value and variance.

    Elsewhere straight along row and column; NaN where there is nothing to go by.
    """
    for k in range(ys.size):
        y, x = ys[k], xs[k]
        count, lowest, error, noise = 0, math.inf, 0.0, math.nan
        for p in range(4):
            value, variance_of_it, near = _predicted(image, variance, unusable, y, x, p)
            if value > floor:
                count += 1
                if value < lowest:
                    lowest, error, noise = value, math.sqrt(variance_of_it), near
        if count > 0:
            out[k, 0], out[k, 1] = lowest + LOWEST[count - 1] * error, noise
            continue
        value, noise = _between(image, variance, unusable, y, x, longest)
        if value > floor:
            out[k, 0], out[k, 1] = value, noise
        else:
            out[k, 0], out[k, 1] = math.nan, math.nan


@njit(cache=True, nogil=True)
def mean_prediction(image, variance, unusable, ys, xs, longest, out):
    """Per pixel the mean of the four predictions, elsewhere straight along row and column: value and variance."""
    for k in range(ys.size):
        y, x = ys[k], xs[k]
        count, total, noise = 0, 0.0, 0.0
        for p in range(4):
            value, _, near = _predicted(image, variance, unusable, y, x, p)
            if not math.isnan(value):
                count += 1
                total += value
                noise += near
        if count > 0:
            out[k, 0], out[k, 1] = total / count, noise / count
        else:
            out[k, 0], out[k, 1] = _between(image, variance, unusable, y, x, longest)


@njit(cache=True, nogil=True)
def group(found, ys, xs):
    """Number (n,) of the 8-connected group that each pixel found belongs to, from 0, and how many groups there are.

    `found` is False everywhere afterwards.
    """
    ny, nx = found.shape
    owner = np.empty((ny, nx), np.int32)  # of which only the pixels found are ever touched
    for k in range(ys.size):
        owner[ys[k], xs[k]] = k
    numbers = np.empty(ys.size, np.int64)
    stack = np.empty(ys.size, np.int64)
    groups = 0
    for k in range(ys.size):
        if not found[ys[k], xs[k]]:
            continue
        found[ys[k], xs[k]] = False
        stack[0], depth = k, 1
        while depth > 0:
            depth -= 1
            here = stack[depth]
            numbers[here] = groups
            for y in range(max(ys[here] - 1, 0), min(ys[here] + 2, ny)):
                for x in range(max(xs[here] - 1, 0), min(xs[here] + 2, nx)):
                    if found[y, x]:
                        found[y, x] = False
                        stack[depth] = owner[y, x]
                        depth += 1
        groups += 1
    return numbers, groups
