"""Compiled loops of `detect`."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def convolve(image, kernel, out):
    """Convolve with a symmetric kernel along both axes; beyond the border is 0."""
    ny, nx = image.shape
    half = kernel.size // 2
    row = np.zeros(nx + 2 * half, image.dtype)
    inner = row[half : half + nx]
    for y in range(ny):
        for x in range(nx):
            inner[x] = kernel[half] * image[y, x]
        for j in range(1, half + 1):
            weight = kernel[half + j]
            if y - j >= 0 and y + j < ny:
                above, below = image[y - j], image[y + j]
                for x in range(nx):
                    inner[x] += weight * (above[x] + below[x])
            elif y - j >= 0 or y + j < ny:
                one = image[y - j] if y - j >= 0 else image[y + j]
                for x in range(nx):
                    inner[x] += weight * one[x]
        target = out[y]
        for x in range(nx):
            target[x] = kernel[half] * inner[x]
        for j in range(1, half + 1):
            weight = kernel[half + j]
            left, right = row[half - j :], row[half + j :]
            for x in range(nx):
                target[x] += weight * (left[x] + right[x])


@njit(cache=True, nogil=True)
def _root(parent, k):
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@njit(cache=True, nogil=True)
def _joined(parent, a, b):
    """The label of both, the smaller one; 0 is none."""
    if a == 0 or b == 0 or a == b:
        return max(a, b)
    a, b = _root(parent, a), _root(parent, b)
    low, high = min(a, b), max(a, b)
    parent[high] = low
    return low


@njit(cache=True, nogil=True)
def label(mask, labels):
    """Number the 8-connected regions of a mask from 1 up, in the order of their first pixel; returns how many.

    `labels` is 0 everywhere beforehand.
    """
    ny, nx = mask.shape
    parent = np.zeros((ny * nx) // 4 + ny + nx + 2, np.int32)
    used = 0
    for y in range(ny):
        for x in range(nx):
            if not mask[y, x]:
                continue
            mine = labels[y, x - 1] if x > 0 else 0
            if y > 0:
                for i in range(max(x - 1, 0), min(x + 2, nx)):
                    mine = _joined(parent, mine, labels[y - 1, i])
            if mine == 0:
                used += 1
                parent[used] = used
                mine = used
            labels[y, x] = mine
    numbers = np.zeros(used + 1, np.int32)
    count = 0
    for k in range(1, used + 1):
        root = _root(parent, k)
        if root == k:
            count += 1
            numbers[k] = count
        else:
            numbers[k] = numbers[root]
    for y in range(ny):
        for x in range(nx):
            if labels[y, x] > 0:
                labels[y, x] = numbers[labels[y, x]]
    return count


@njit(cache=True, nogil=True)
def _beside(height, valid, y, x):
    """Highest of the 8 neighbours that are valid, -inf without any."""
    ny, nx = height.shape
    highest = -np.inf
    for j in range(max(y - 1, 0), min(y + 2, ny)):
        for i in range(max(x - 1, 0), min(x + 2, nx)):
            if (j != y or i != x) and valid[j, i] and height[j, i] > highest:
                highest = height[j, i]
    return highest


@njit(cache=True, nogil=True)
def _plateau(height, valid, inside, seen, y, x):
    """Whether the pixels of equal height around this one are a maximum, and the one nearest to their mean."""
    ny, nx = height.shape
    level, top = height[y, x], True
    ys, xs = [y], [x]
    seen[y, x] = True
    k = 0
    while k < len(ys):
        if _beside(height, valid, ys[k], xs[k]) > level:
            top = False
        for j in range(max(ys[k] - 1, 0), min(ys[k] + 2, ny)):
            for i in range(max(xs[k] - 1, 0), min(xs[k] + 2, nx)):
                if inside[j, i] and not seen[j, i] and height[j, i] == level:
                    seen[j, i] = True
                    ys.append(j)
                    xs.append(i)
        k += 1
    middle_y, middle_x = 0.0, 0.0
    for k in range(len(ys)):
        middle_y += ys[k] / len(ys)
        middle_x += xs[k] / len(ys)
    nearest, least = 0, np.inf
    for k in range(len(ys)):
        away = (ys[k] - middle_y) ** 2 + (xs[k] - middle_x) ** 2
        if away < least:
            nearest, least = k, away
    return top, ys[nearest], xs[nearest]


@njit(cache=True, nogil=True)
def maxima(height, valid, inside):
    """Places (n, 2) of the maxima among 8 neighbours, of the pixels `inside`; a plateau has one."""
    ny, nx = height.shape
    seen = np.zeros((ny, nx), np.bool_)
    found = []
    for y in range(ny):
        for x in range(nx):
            if not inside[y, x] or seen[y, x]:
                continue
            highest = _beside(height, valid, y, x)
            if height[y, x] > highest:
                found.append((y, x))
            elif height[y, x] == highest:
                top, middle_y, middle_x = _plateau(height, valid, inside, seen, y, x)
                if top:
                    found.append((middle_y, middle_x))
    out = np.empty((len(found), 2), np.int64)
    for k in range(len(found)):
        out[k, 0], out[k, 1] = found[k]
    return out


@njit(cache=True, nogil=True)
def extents(labels, values, boxes, counts, highest):
    """Per label (from 1) the corners x_min, y_min, x_max, y_max, the number of pixels and the highest value."""
    ny, nx = labels.shape
    for y in range(ny):
        for x in range(nx):
            k = labels[y, x] - 1
            if k < 0:
                continue
            if counts[k] == 0:
                boxes[k, 0], boxes[k, 1] = x, y
            boxes[k, 0] = min(boxes[k, 0], x)
            boxes[k, 2] = max(boxes[k, 2], x)
            boxes[k, 3] = y
            counts[k] += 1
            if values[y, x] > highest[k]:
                highest[k] = values[y, x]


@njit(cache=True, nogil=True)
def dilate(mask, reach, out):
    """Mark pixels with a pixel of the mask within `reach[d]` columns, in a row d away, d below reach.size."""
    ny, nx = mask.shape
    for y in range(ny):
        x = 0
        while x < nx:
            if not mask[y, x]:
                x += 1
                continue
            first = x
            while x < nx and mask[y, x]:
                x += 1
            for d in range(-reach.size + 1, reach.size):
                j, width = y + d, reach[abs(d)]
                if 0 <= j < ny:
                    for i in range(max(first - width, 0), min(x + width, nx)):
                        out[j, i] = True
