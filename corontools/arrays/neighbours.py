"""Pairs of nearest points of two sets."""

from __future__ import annotations

import numpy as np

__all__ = ["mutual_pairs"]


def mutual_pairs(a: np.ndarray, b: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of `a` and `b` that are each the nearest to the other, and not further apart than the radius.

    Parameters
    ----------
    a, b : ndarray, shape (n, dimension) and (m, dimension)
    radius : float

    Returns
    -------
    i, j : ndarray of int
        Indices of the pairs in a and b, in the order of a.
    distance : ndarray

    Examples
    --------
    >>> mutual_pairs(np.array([[0.0, 0], [5, 0]]), np.array([[5.0, 1], [5, 3], [9, 0]]), 2.0)
    (array([1]), array([0]), array([1.]))
    """
    from scipy.spatial import cKDTree

    if len(a) == 0 or len(b) == 0:
        return np.empty(0, int), np.empty(0, int), np.empty(0)
    distance, nearest = cKDTree(b).query(a, distance_upper_bound=np.nextafter(radius, np.inf))
    i = np.flatnonzero(np.isfinite(distance))
    j = nearest[i]
    # of several points of a with one nearest neighbour, the nearest to it has it
    order = np.lexsort((distance[i], j))
    first = np.ones(len(order), bool)
    first[1:] = j[order][1:] != j[order][:-1]
    kept = np.sort(order[first])
    return i[kept], j[kept], distance[i[kept]]
