"""Compiled loops of `pattern`."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# hypotheses kept of each centre, those with the most spokes that agree
KEPT = 4


@njit(cache=True)
def _cells(value: float, reach: float, origin: float, cell: float, n: int) -> tuple[int, int]:
    """First and last of the n cells along an axis that hold places within reach of the value; empty where none does."""
    low = math.floor((value - reach - origin) / cell)
    high = math.floor((value + reach - origin) / cell)
    return max(low, 0), min(high, n - 1)


@njit(cache=True)
def _has_one(x: float, y: float, radius: float, ref: np.ndarray, grid: tuple) -> bool:
    """Whether a reference lies within the radius of a place."""
    x0, y0, cell, nx, ny, start, members = grid
    left, right = _cells(x, radius, x0, cell, nx)
    low, high = _cells(y, radius, y0, cell, ny)
    for row in range(low, high + 1):
        for column in range(left, right + 1):
            at = row * nx + column
            for k in range(start[at], start[at + 1]):
                b = members[k]
                if (ref[b, 0] - x) ** 2 + (ref[b, 1] - y) ** 2 <= radius * radius:
                    return True
    return False


@njit(cache=True)
def _agreeing(
    spokes: np.ndarray, first: int, at: np.ndarray, cos: float, sin: float, tol: float, ref: np.ndarray, grid: tuple
) -> int:
    """Number of spokes, the first among them, that end at a reference once they are turned and laid at a place."""
    count = 1
    for k in range(spokes.shape[0]):
        if k == first:
            continue
        x = at[0] + cos * spokes[k, 0] - sin * spokes[k, 1]
        y = at[1] + sin * spokes[k, 0] + cos * spokes[k, 1]
        # the turn is known to tol over the length of the first spoke, which is among the longest
        if _has_one(x, y, 2 * tol, ref, grid):
            count += 1
    return count


@njit(cache=True)
def _keep(found: np.ndarray, row: np.ndarray, tol: float) -> None:
    """Put a hypothesis in place of one with the same shift, or else of the one with the fewest agreeing spokes."""
    at = 0
    for k in range(1, found.shape[0]):
        if found[k, 0] < found[at, 0]:
            at = k
    for k in range(found.shape[0]):
        if found[k, 0] > 0 and abs(found[k, 3] - row[3]) < 5 * tol and abs(found[k, 4] - row[4]) < 5 * tol:
            at = k
    if row[0] > found[at, 0]:
        for m in range(row.size):
            found[at, m] = row[m]


@njit(cache=True)
def _turned(
    spokes: np.ndarray, first: int, a: int, middle: np.ndarray, limits: tuple, ref: np.ndarray, grid: tuple,
    found: np.ndarray,
) -> None:  # fmt: skip
    """Hypotheses by which the centre of a pinwheel is reference a, and its first spoke ends at any other one.

    `middle` is the middle of the field as seen from the centre, then as it is.
    """
    x0, y0, cell, nx, ny, start, members = grid
    tol, max_shift, max_turn, least = limits
    sx, sy = spokes[first]
    length = math.hypot(sx, sy)
    reach = 2 * length * math.sin(max_turn / 2) + tol
    left, right = _cells(ref[a, 0] + sx, reach, x0, cell, nx)
    low, high = _cells(ref[a, 1] + sy, reach, y0, cell, ny)
    row = np.empty(5)
    for cell_row in range(low, high + 1):
        for column in range(left, right + 1):
            at = cell_row * nx + column
            for k in range(start[at], start[at + 1]):
                vx, vy = ref[members[k], 0] - ref[a, 0], ref[members[k], 1] - ref[a, 1]
                other = math.hypot(vx, vy)
                if abs(other - length) > tol:
                    continue
                cos, sin = (sx * vx + sy * vy) / (length * other), (sx * vy - sy * vx) / (length * other)
                if abs(math.atan2(sin, cos)) > max_turn + tol / length:
                    continue
                dx = ref[a, 0] + cos * middle[0, 0] - sin * middle[0, 1] - middle[1, 0]
                dy = ref[a, 1] + sin * middle[0, 0] + cos * middle[0, 1] - middle[1, 1]
                if math.hypot(dx, dy) > max_shift + tol:
                    continue
                count = _agreeing(spokes, first, ref[a], cos, sin, tol, ref, grid)
                if count >= least:
                    row[0], row[1], row[2], row[3], row[4] = count, cos, sin, dx, dy
                    _keep(found, row, tol)


@njit(cache=True)
def _insert(spokes: np.ndarray, n: int, end: np.ndarray, centre: np.ndarray) -> None:
    """Put the spoke from the centre to a source among the first n, of which the longest comes first."""
    x, y = end[0] - centre[0], end[1] - centre[1]
    place = n
    while place > 0 and spokes[place - 1, 0] ** 2 + spokes[place - 1, 1] ** 2 < x * x + y * y:
        spokes[place, 0], spokes[place, 1] = spokes[place - 1, 0], spokes[place - 1, 1]
        place -= 1
    spokes[place, 0], spokes[place, 1] = x, y


@njit(cache=True)
def pinwheels(
    src: np.ndarray, ref: np.ndarray, middle: np.ndarray, size: tuple, limits: tuple, grid: tuple
) -> np.ndarray:
    """Turns and shifts by which pinwheels of sources fall on references.

    Parameters
    ----------
    src, ref : ndarray, shape (n, 2) and (m, 2)
        Sources, the brightest first, and references.
    middle : ndarray, shape (2,)
        Middle of the field.
    size : (int, int, int)
        Number of centres, of spokes (the sources next in brightness), and of spokes tried as the first.
    limits : (float, float, float, int)
        Tolerance, largest shift of the middle, largest turn (radians), least number of agreeing spokes.
    grid : tuple
        References in cells: x and y of the origin, side, numbers along x and y, starts, members.

    Returns
    -------
    ndarray, shape (n_centres, KEPT, 5)
        Agreeing spokes (0 where there is no hypothesis), cosine and sine of the turn, shift of the middle.
    """
    n_centres, n_spokes, n_first = size
    tol, max_shift, max_turn, _ = limits
    x0, y0, cell, nx, ny, start, members = grid
    found = np.zeros((n_centres, KEPT, 5))
    spokes, seen = np.empty((n_spokes, 2)), np.empty((2, 2))
    for i in range(n_centres):
        for k in range(n_spokes):
            _insert(spokes, k, src[(i + 1 + k) % src.shape[0]], src[i])
        for axis in range(2):
            seen[0, axis], seen[1, axis] = middle[axis] - src[i, axis], middle[axis]
        reach = max_shift + tol + 2 * math.sin(max_turn / 2) * math.hypot(seen[0, 0], seen[0, 1])
        left, right = _cells(src[i, 0], reach, x0, cell, nx)
        low, high = _cells(src[i, 1], reach, y0, cell, ny)
        for row in range(low, high + 1):
            for column in range(left, right + 1):
                at = row * nx + column
                for k in range(start[at], start[at + 1]):
                    for first in range(n_first):
                        if math.hypot(spokes[first, 0], spokes[first, 1]) > 10 * tol:
                            _turned(spokes, first, members[k], seen, limits, ref, grid, found[i])
    return found
