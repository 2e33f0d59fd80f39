"""Linear maps of the plane between matched points."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from corontools.errors import DataError

__all__ = ["Affine", "fit_affine", "fit_clipped", "fit_rigid", "reach"]

# points that a map with six numbers needs
LEAST_POINTS = 3
# smaller to larger extent of the points, below which they lie on a line
LEAST_WIDTH = 1e-6


class Affine(NamedTuple):
    """The map x -> matrix x + shift.

    Attributes
    ----------
    matrix : ndarray, shape (2, 2)
    shift : ndarray, shape (2,)

    Examples
    --------
    >>> quarter = Affine.of_rotation(90.0, shift=(1.0, 0.0))
    >>> quarter([[2.0, 0.0]]).round(12).tolist(), round(quarter.rotation, 9)
    ([[1.0, 2.0]], 90.0)
    >>> quarter.inverse()(quarter([[2.0, 3.0]])).round(12).tolist()
    [[2.0, 3.0]]
    """

    matrix: np.ndarray
    shift: np.ndarray

    @classmethod
    def of_rotation(cls, angle: float, *, shift: ArrayLike = (0.0, 0.0)) -> Affine:
        """Rotation about the origin by an angle in degrees, from x to y, then the shift."""
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        return cls(np.array([[cos, -sin], [sin, cos]]), np.asarray(shift, float))

    def __call__(self, points: ArrayLike) -> np.ndarray:
        """Points (n, 2) where the map takes them."""
        return np.asarray(points, float) @ self.matrix.T + self.shift

    def inverse(self) -> Affine:
        """The map back."""
        back = np.linalg.inv(self.matrix)
        return Affine(back, -back @ self.shift)

    def after(self, first: Affine) -> Affine:
        """The map that does `first`, then this."""
        return Affine(self.matrix @ first.matrix, self.matrix @ first.shift + self.shift)

    @property
    def rotation(self) -> float:
        """Angle of the rotation nearest to the matrix, degrees from x to y."""
        (a, b), (c, d) = self.matrix
        return float(np.degrees(np.arctan2(c - b, a + d)))

    @property
    def scale(self) -> float:
        """Root of the factor by which areas grow."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))


def fit_affine(points: np.ndarray, targets: np.ndarray, *, weight: np.ndarray | None = None) -> Affine:
    """Six-parameter map of points onto targets with the least sum of squared distances.

    Parameters
    ----------
    points, targets : ndarray, shape (n, 2)
    weight : ndarray, shape (n,), optional
        Of the squared distances; all alike where it isn't given.

    Raises
    ------
    DataError
        If there are fewer than three points, or they lie on a line.

    Examples
    --------
    >>> points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> found = fit_affine(points, 2 * points + 5)
    >>> round(found.scale, 9), found.shift.round(9).tolist()
    (2.0, [5.0, 5.0])
    """
    w = np.ones(len(points)) if weight is None else np.asarray(weight, float)
    use = w > 0
    if np.count_nonzero(use) < LEAST_POINTS:
        raise DataError(f"a linear map needs {LEAST_POINTS} points, found {np.count_nonzero(use)}")
    # about the middle: a far origin would cost digits
    middle = np.average(points, axis=0, weights=w)
    root = np.sqrt(w)[:, None]
    design = (points - middle) * root
    extent = np.linalg.svd(design[use], compute_uv=False)
    if extent[1] <= LEAST_WIDTH * extent[0]:
        raise DataError(f"a linear map needs points that don't lie on a line, the {np.count_nonzero(use)} given do")
    mean = np.average(targets, axis=0, weights=w)
    matrix = np.linalg.lstsq(design, (targets - mean) * root, rcond=None)[0].T
    return Affine(matrix, mean - matrix @ middle)


def fit_clipped(
    points: np.ndarray, targets: np.ndarray, *, sigma: float = 3.0, maxiters: int = 3
) -> tuple[Affine, np.ndarray]:
    """`fit_affine` to the points that stay within sigma robust deviations of it.

    Returns
    -------
    Affine
    kept : ndarray of bool, shape (n,)

    Examples
    --------
    >>> rng = np.random.default_rng(2)
    >>> points = rng.uniform(0, 100, (50, 2)); targets = points + 3 + 0.01 * rng.normal(size=points.shape)
    >>> targets[7] += 5
    >>> found, kept = fit_clipped(points, targets)
    >>> found.shift.round(1).tolist(), np.flatnonzero(~kept).tolist()
    ([3.0, 3.0], [7])
    """
    kept = np.ones(len(points), bool)
    found = fit_affine(points, targets)
    for _ in range(maxiters):
        distance = np.hypot(*(found(points) - targets).T)
        now = distance <= reach(distance[kept], sigma) + np.finfo(float).eps * np.abs(targets).max()
        if np.count_nonzero(now) < 2 * LEAST_POINTS or np.array_equal(now, kept):
            break
        kept = now
        found = fit_affine(points[kept], targets[kept])
    return found, kept


def reach(distance: np.ndarray, sigma: float) -> float:
    """Distance in the plane that is as seldom exceeded as sigma deviations of a Gaussian along a line.

    The deviation is that of the median distance.

    Examples
    --------
    >>> round(reach(np.array([1.177, 1.177, 9.0]), 3.0), 2)
    3.44
    """
    # the median distance of a round Gaussian is sqrt(2 ln 2) deviations; 99.7 % lie within 3.44 of them, not 3
    return float(1.147 * sigma * np.median(distance) / np.sqrt(2 * np.log(2)))


def fit_rigid(points: np.ndarray, targets: np.ndarray) -> Affine:
    """Rotation and shift of points onto targets with the least sum of squared distances (Kabsch 1976).

    Raises
    ------
    DataError
        If there are fewer than two points.

    Examples
    --------
    >>> truth = Affine.of_rotation(10.0, shift=(3.0, 4.0))
    >>> points = np.array([[0.0, 0.0], [9.0, 1.0], [4.0, 7.0]])
    >>> found = fit_rigid(points, truth(points))
    >>> round(found.rotation, 9), found.shift.round(9).tolist()
    (10.0, [3.0, 4.0])
    """
    if len(points) < 2:
        raise DataError(f"a rotation needs 2 points, found {len(points)}")
    a, b = points - points.mean(axis=0), targets - targets.mean(axis=0)
    angle = np.arctan2(np.sum(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]), np.sum(a * b))
    turn = Affine.of_rotation(float(np.degrees(angle)))
    return Affine(turn.matrix, targets.mean(axis=0) - turn.matrix @ points.mean(axis=0))
