"""Compiled loops of `deblend`."""

import math

import numpy as np
from numba import njit

# columns of the rows that tell where a source is
LABEL, START, Y0, Y1, X0, X1 = range(6)
# columns of the fits
X, Y, FLUX, CHI2, DOF, GROWTH = range(6)
# neighbours that are fitted along, and the most unknowns this gives
NEIGHBORS, UNKNOWNS = 6, 25
# of a template over its noise above which it isn't smoothed
CLEAR = 5.0


@njit(cache=True, nogil=True)
def _eliminated(matrix, right, n):
    """Bring n symmetric positive equations into triangular form, in place; False if they are singular."""
    for k in range(n):
        if not matrix[k, k] > 0:
            return False
        for i in range(k + 1, n):
            factor = matrix[i, k] / matrix[k, k]
            for j in range(k, n):
                matrix[i, j] -= factor * matrix[k, j]
            right[i] -= factor * right[k]
    return True


@njit(cache=True, nogil=True)
def _star(stamp, y, x):
    """Pixel of a stamp, 0 outside."""
    if 0 <= y < stamp.shape[0] and 0 <= x < stamp.shape[1]:
        return stamp[y, x]
    return 0.0


@njit(cache=True, nogil=True)
def _nearest(fits, k, first, last, reach, out):
    """The nearest peaks of the same blend, at most as many as `out` holds; their number."""
    distances, count = np.full(out.shape[0], np.inf), 0
    for other in range(first, last):
        distance = math.hypot(fits[other, X] - fits[k, X], fits[other, Y] - fits[k, Y])
        if other == k or distance >= min(reach, distances[-1]):
            continue
        count = min(count + 1, out.shape[0])
        place = out.shape[0] - 1
        while place > 0 and distances[place - 1] > distance:
            distances[place], out[place] = distances[place - 1], out[place - 1]
            place -= 1
        distances[place], out[place] = distance, other
    return count


@njit(cache=True, nogil=True)
def _terms(stamps, fits, k, others, count, radius, y, x, out):
    """Values at a pixel of what is fitted: star and its derivatives, a plane, and the neighbours; their number.

    The next one is what the star gains where it is wider than the PSF.
    """
    half = stamps.shape[1] // 2
    out[3], out[4], out[5] = 1.0, (x - fits[k, X]) / radius, (y - fits[k, Y]) / radius
    n = 0
    for m in range(count + 1):
        one = k if m == 0 else others[m - 1]
        j = y - math.floor(fits[one, Y] + 0.5) + half
        i = x - math.floor(fits[one, X] + 0.5) + half
        out[n] = _star(stamps[one], j, i)
        n += 1
        if math.hypot(fits[one, X] - fits[k, X], fits[one, Y] - fits[k, Y]) < radius:
            out[n] = (_star(stamps[one], j, i - 1) - _star(stamps[one], j, i + 1)) / 2
            out[n + 1] = (_star(stamps[one], j - 1, i) - _star(stamps[one], j + 1, i)) / 2
            n += 2
        if m == 0:
            n = 6
    j, i = y - math.floor(fits[k, Y] + 0.5) + half, x - math.floor(fits[k, X] + 0.5) + half
    around = _star(stamps[k], j - 1, i) + _star(stamps[k], j + 1, i)
    around += _star(stamps[k], j, i - 1) + _star(stamps[k], j, i + 1)
    out[n] = around - 4 * _star(stamps[k], j, i)
    return n


@njit(cache=True, nogil=True)
def _fit(frame, stamps, fits, group, k, others, options, out):
    """Fit one peak and its neighbours within `radius`; whether there is a solution."""
    radius, error = options
    image, variance = frame
    count = _nearest(fits, k, group[0], group[1], radius + stamps.shape[1] // 2, others)
    terms, right, matrix = np.zeros(UNKNOWNS), np.zeros(UNKNOWNS), np.zeros((UNKNOWNS, UNKNOWNS))
    y0, y1 = max(0, math.ceil(fits[k, Y] - radius)), min(image.shape[0], math.floor(fits[k, Y] + radius) + 1)
    x0, x1 = max(0, math.ceil(fits[k, X] - radius)), min(image.shape[1], math.floor(fits[k, X] + radius) + 1)
    square, used, n = 0.0, 0, 6
    for y in range(y0, y1):
        for x in range(x0, x1):
            inside = (y - fits[k, Y]) ** 2 + (x - fits[k, X]) ** 2 <= radius * radius
            if not inside or math.isnan(image[y, x]) or not 0 < variance[y, x] < np.inf:
                continue
            n = _terms(stamps, fits, k, others, count, radius, y, x, terms)
            weight = 1 / (variance[y, x] + (error * fits[k, FLUX] * terms[0]) ** 2)
            used += 1
            square += weight * image[y, x] ** 2
            for a in range(n + 1):
                right[a] += weight * terms[a] * image[y, x]
                for b in range(a + 1):
                    matrix[a, b] += weight * terms[a] * terms[b]
    return _answer(matrix, right, square, used, n, out)


@njit(cache=True, nogil=True)
def _answer(matrix, right, square, used, n, out):
    """Flux times (1, dx, dy), chi-squared, degrees of freedom and significance of the growth in `out`."""
    for a in range(n + 1):
        matrix[a, a] *= 1 + 1e-9
        for b in range(a):
            matrix[b, a] = matrix[a, b]
    if used <= n + 1 or not _eliminated(matrix, right, n + 1):
        return False
    out[5] = right[n] / math.sqrt(matrix[n, n])
    for k in range(n - 1, -1, -1):
        square -= right[k] ** 2 / matrix[k, k]
        for j in range(k + 1, n):
            right[k] -= matrix[k, j] * right[j]
        right[k] /= matrix[k, k]
    out[0], out[1], out[2], out[3], out[4] = right[0], right[1], right[2], max(square, 0.0), used - n
    return True


@njit(cache=True, nogil=True)
def fit_stars(frame, stamps, fits, groups, options, blends):
    """One round over some blends: positions, fluxes and chi-squared of all peaks, as if they were stars.

    `groups` are the first and last + 1 peak of each blend; all peaks of a blend use what the round before found.
    """
    others, answer = np.zeros(NEIGHBORS, np.int64), np.zeros(6)
    for g in blends:
        first, last = groups[g]
        found = fits[first:last].copy()
        for k in range(first, last):
            now = found[k - first]
            if not _fit(frame, stamps, fits, (first, last), k, others, options, answer):
                now[CHI2], now[DOF], now[GROWTH] = np.inf, 1, 0
                continue
            now[FLUX], now[CHI2], now[DOF], now[GROWTH] = answer[0], answer[3], answer[4], answer[5]
            if answer[0] > 0:
                now[X] += min(max(answer[1] / answer[0], -0.7), 0.7)
                now[Y] += min(max(answer[2] / answer[0], -0.7), 0.7)
        for k in range(first, last):
            for column in range(fits.shape[1]):
                fits[k, column] = found[k - first, column]


@njit(cache=True, nogil=True)
def _psf_template(stamp, fit, row, template):
    """A star; beyond its stamp it falls as the third power of the distance."""
    half = stamp.shape[0] // 2
    middle_y, middle_x = math.floor(fit[Y] + 0.5), math.floor(fit[X] + 0.5)
    for j in range(template.shape[0]):
        for i in range(template.shape[1]):
            dy, dx = row[Y0] + j - middle_y, row[X0] + i - middle_x
            far, scale = max(abs(dy), abs(dx)), 1.0
            if far > half:
                scale = half / far
            value = stamp[round(half + dy * scale), round(half + dx * scale)]
            template[j, i] = max(fit[FLUX] * value * scale**3, 0.0)


@njit(cache=True, nogil=True)
def _mirrored(image, box, middle2, row, template):
    """The lower of each pixel and the one opposite; whether some of those lie outside the frame.

    `box` is the image in the template's box without other stars, `middle2` twice the middle in the frame.
    """
    patched = False
    ny, nx = template.shape
    for j in range(ny):
        for i in range(nx):
            value = box[j, i]
            v, w = middle2[1] - row[Y0] - j, middle2[0] - row[X0] - i
            if not (0 <= v < image.shape[0] and 0 <= w < image.shape[1]):
                patched |= value > 0
            else:
                inside = row[Y0] <= v < row[Y1] and row[X0] <= w < row[X1]
                opposite = box[v - row[Y0], w - row[X0]] if inside else image[v, w]
                if opposite < value or math.isnan(value):
                    value = opposite
            template[j, i] = value if value > 0 else 0.0
    return patched


@njit(cache=True, nogil=True)
def _smooth(template, variance, row):
    """Median of 3 x 3 pixels where a template is no more than noise."""
    before, around = template.copy(), np.empty(9, template.dtype)
    for j in range(1, template.shape[0] - 1):
        for i in range(1, template.shape[1] - 1):
            if before[j, i] ** 2 > CLEAR**2 * variance[row[Y0] + j, row[X0] + i]:
                continue
            n = 0
            for b in range(j - 1, j + 2):
                for a in range(i - 1, i + 2):
                    value, place = before[b, a], n
                    while place > 0 and around[place - 1] > value:
                        around[place] = around[place - 1]
                        place -= 1
                    around[place] = value
                    n += 1
            template[j, i] = around[4]


@njit(cache=True, nogil=True)
def _lowered(template, y, x, cy, cx):
    """Lower a pixel to what is next on the way to the middle."""
    ny, nx = template.shape
    if not (0 <= y < ny and 0 <= x < nx):
        return
    dy, dx = y - cy, x - cx
    if abs(dx) >= abs(dy):
        along, scale = x - (1 if dx > 0 else -1), (abs(dx) - 1) / abs(dx)
        place = cy + dy * scale
        low = min(max(math.floor(place), 0), ny - 1)
        high, part = min(low + 1, ny - 1), place - math.floor(place)
        limit = (1 - part) * template[low, along] + part * template[high, along]
    else:
        along, scale = y - (1 if dy > 0 else -1), (abs(dy) - 1) / abs(dy)
        place = cx + dx * scale
        low = min(max(math.floor(place), 0), nx - 1)
        high, part = min(low + 1, nx - 1), place - math.floor(place)
        limit = (1 - part) * template[along, low] + part * template[along, high]
    if template[y, x] > limit:
        template[y, x] = limit


@njit(cache=True, nogil=True)
def _monotonic(template, cy, cx):
    """Let nothing rise on the way out, ring by ring of half a pixel; the middle may lie between pixels."""
    ny, nx = template.shape
    furthest = max(cy, ny - 1 - cy, cx, nx - 1 - cx)
    for step in range(3, int(2 * furthest) + 1):
        r = step / 2
        for sign in (-1, 1):
            y, x = cy + sign * r, cx + sign * r
            if y == math.floor(y) and 0 <= y < ny:
                for i in range(max(0, math.ceil(cx - r)), min(nx, math.floor(cx + r) + 1)):
                    _lowered(template, int(y), i, cy, cx)
            if x == math.floor(x) and 0 <= x < nx:
                for j in range(max(0, math.ceil(cy - r)), min(ny, math.floor(cy + r) + 1)):
                    if abs(j - cy) < r:
                        _lowered(template, j, int(x), cy, cx)


@njit(cache=True, nogil=True)
def _box(image, stamps, fits, stars, row):
    """The image in a box less the peaks of `fits` that are stars."""
    box = image[row[Y0] : row[Y1], row[X0] : row[X1]].astype(np.float64)
    half = stamps.shape[1] // 2
    for k in range(fits.shape[0]):
        if not stars[k]:
            continue
        y0, x0 = math.floor(fits[k, Y] + 0.5) - half - row[Y0], math.floor(fits[k, X] + 0.5) - half - row[X0]
        for j in range(max(0, -y0), min(stamps.shape[1], box.shape[0] - y0)):
            for i in range(max(0, -x0), min(stamps.shape[2], box.shape[1] - x0)):
                box[y0 + j, x0 + i] -= fits[k, FLUX] * stamps[k, j, i]
    return box


@njit(cache=True, nogil=True)
def _share(labels, row, fits, templates):
    """Turn the templates of a blend (n, y, x) into shares; whether each peak got pixels that none of them reaches."""
    n, ny, nx = templates.shape
    stray, totals = np.zeros(n, np.bool_), np.zeros(n)
    for k in range(n):
        totals[k] = max(np.sum(templates[k]), 1e-30)
    weights = np.empty(n)
    for j in range(ny):
        for i in range(nx):
            if labels[row[Y0] + j, row[X0] + i] != row[LABEL]:
                templates[:, j, i] = 0
                continue
            total = 0.0
            for k in range(n):
                weights[k] = templates[k, j, i]
                total += weights[k]
            if not total > 0:
                total = 0.0
                for k in range(n):
                    distance2 = (row[Y0] + j - fits[k, Y]) ** 2 + (row[X0] + i - fits[k, X]) ** 2
                    weights[k] = totals[k] / (1 + distance2) ** 1.5
                    stray[k] = True
                    total += weights[k]
            for k in range(n):
                templates[k, j, i] = weights[k] / total
    return stray


@njit(cache=True, nogil=True)
def share_blends(frame, labels, stamps, fits, stars, groups, rows, shares, notes, blends):
    """Shares of all peaks of some blends; `notes` (n, 2) tell whose template was patched, and who has stray light."""
    image, variance = frame
    for g in blends:
        first, last = groups[g]
        row = rows[first]
        ny, nx = row[Y1] - row[Y0], row[X1] - row[X0]
        templates = shares[row[START] : row[START] + (last - first) * ny * nx].reshape((last - first, ny, nx))
        box = _box(image, stamps[first:last], fits[first:last], stars[first:last], row)
        for k in range(first, last):
            template = templates[k - first]
            if stars[k]:
                _psf_template(stamps[k], fits[k], row, template)
                continue
            middle2 = (round(2 * fits[k, X]), round(2 * fits[k, Y]))
            notes[k, 0] = _mirrored(image, box, middle2, row, template)
            _smooth(template, variance, row)
            _monotonic(template, middle2[1] / 2 - row[Y0], middle2[0] / 2 - row[X0])
        stray = _share(labels, row, fits[first:last], templates)
        for k in range(first, last):
            notes[k, 1] = stray[k - first]
