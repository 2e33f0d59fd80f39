"""GridPSF: a PSF known at places on a grid, such as that of a coadd."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from corontools.calibrate.psf import PSF
from corontools.errors import DataError
from corontools.exposure import readonly
from corontools.warp.stamps import determinant_radius, moved, padded

__all__ = ["STEP", "GridPSF"]

# px between the places of a grid, at most
STEP = 128
# by how much equal sums of weights may differ, as they are rounded
ALIKE = 1e-5
# nodes on each side of a place that are looked at beside an edge
REACH = 2


@dataclass(frozen=True, eq=False)
class GridPSF:
    """Stamps at the nodes of a grid over an image, linear between those that have one; a `PSF`.

    Attributes
    ----------
    stamps : ndarray, shape (ny, nx, size, size)
        Each of total 1, centred on the middle pixel; of any value where the weight is 0.
    weights : ndarray, shape (ny, nx)
        Of the stamps: of a coadd the sum of the weights of its inputs; 0 where nothing is known.
    shape : (int, int)
        Of the image, (y, x): the outermost nodes are its corners.
    local : ndarray, shape (y, x), optional
        Weight in each pixel. The PSF changes abruptly where an input ends: beside it the stamp of a place is that of
        the plane through the nodes around that have its weight, if there are some.

    Raises
    ------
    DataError
        If the shapes don't belong together, or no stamp is known.

    Examples
    --------
    >>> from corontools.calibrate.psf import GaussianPSF
    >>> psf = GridPSF.empty((100, 120), 15).plus(GaussianPSF(1.7, 15), np.ones((100, 120), bool), 2.0)
    >>> psf.kernels([60.3], [20.0]).shape, round(float(psf.sigma([60.3], [20.0])[0]), 2)
    ((1, 15, 15), 1.7)
    """

    stamps: np.ndarray
    weights: np.ndarray
    shape: tuple[int, int]
    local: np.ndarray | None = None

    def __post_init__(self) -> None:
        found = np.shape(self.stamps)
        if len(found) != 4 or found[2] != found[3] or found[2] % 2 == 0 or found[:2] != np.shape(self.weights):
            raise DataError(f"stamps (ny, nx, size, size) of odd size and weights (ny, nx) are needed, found {found}")
        for name in ("stamps", "weights"):
            object.__setattr__(self, name, readonly(np.asarray(getattr(self, name), np.float64)))

    @classmethod
    def empty(cls, shape: tuple[int, int], size: int = 1, *, step: int = STEP) -> GridPSF:
        """A grid without stamps, nodes at most `step` px apart."""
        nodes = tuple(max(2, -(-(n - 1) // step) + 1) for n in shape)
        return cls(np.zeros((*nodes, size, size)), np.zeros(nodes), shape)

    def plus(self, psf: PSF, cover: np.ndarray, weight: float) -> GridPSF:
        """Weighted mean with another PSF where that covers a node, (y, x) of bool; stamps grow to the larger size.

        The PSF is that of a star in the middle of a pixel, wherever that was on the detector: with the interpolation
        that stars underwent on the average.
        """
        y, x = self.nodes
        here = np.asarray(cover[np.floor(y + 0.5).astype(int), np.floor(x + 0.5).astype(int)])
        if not here.any():
            return self
        size = max(self.size, psf.size)
        total = padded(self.stamps * self.weights[:, :, None, None], size)
        total[here] += weight * padded(psf.images(np.floor(x[here] + 0.5), np.floor(y[here] + 0.5)), size)
        weights = self.weights + weight * here
        known = weights > 0
        total[known] /= weights[known][:, None, None]
        return GridPSF(total, weights, self.shape, self.local)

    @property
    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Places y, x of the nodes, (ny, nx)."""
        y, x = (np.linspace(0, n - 1, count) for n, count in zip(self.shape, self.weights.shape, strict=True))
        return tuple(np.meshgrid(y, x, indexing="ij"))  # type: ignore[return-value]

    @property
    def size(self) -> int:
        """As `PSF.size`."""
        return self.stamps.shape[-1]

    def kernels(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.kernels`; NaN where no node around has a stamp."""
        x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
        around = [(a, b) for a in self._beside(y, 0) for b in self._beside(x, 1)]
        rows, columns = (np.array([pair[axis][0] for pair in around]) for axis in (0, 1))
        weights = self.weights[rows, columns]
        shares = np.array([down * right for (_, down), (_, right) in around]) * (weights > 0)
        out = np.zeros((x.size, self.size, self.size))
        for share, row, column in zip(shares, rows, columns, strict=True):
            out += share[:, None, None] * self.stamps[row, column]
        here = self._local(x, y)
        for k in np.flatnonzero((np.abs(weights - here) > ALIKE * here).any(axis=0) & (here > 0)):
            self._from_alike(out[k], x[k], y[k], here[k])
        with np.errstate(invalid="ignore"):
            return out / out.sum(axis=(1, 2), keepdims=True)

    def images(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.images`, shifted within the pixel by Lanczos interpolation."""
        x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
        return moved(self.kernels(x, y), x, y)

    def sigma(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.sigma`, by adaptive moments; NaN where these find no source."""
        return determinant_radius(self.kernels(x, y))

    def _local(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Weight at places (n,); 0 where it isn't known."""
        if self.local is None:
            return np.zeros(x.size)
        row, column = (
            np.clip(np.floor(v + 0.5).astype(int), 0, n - 1) for v, n in zip((y, x), self.shape, strict=True)
        )
        return np.asarray(self.local[row, column], np.float64)

    def _from_alike(self, out: np.ndarray, x: float, y: float, here: float) -> None:
        """Write the stamp of one place from the nodes of its weight: the plane through them; without any it stays."""
        at = [
            value / (n - 1) * (count - 1)
            for value, n, count in zip((y, x), self.shape, self.weights.shape, strict=True)
        ]
        low = [max(int(np.floor(value)) - REACH + 1, 0) for value in at]
        window = tuple(slice(begin, int(value) + REACH + 1) for begin, value in zip(low, at, strict=True))
        alike = np.argwhere(np.abs(self.weights[window] - here) < ALIKE * here) + low
        if not len(alike):
            return
        away = alike - at
        near = 1 / (1 + (away**2).sum(axis=1))
        design = np.column_stack([np.ones(len(alike)), away]) * near[:, None]
        if np.linalg.matrix_rank(design) == 3:
            shares = np.linalg.pinv(design)[0] * near
        else:  # nodes in a row: the nearest
            shares = (np.arange(len(alike)) == np.argmax(near)).astype(float)
        out[:] = np.tensordot(shares, self.stamps[tuple(alike.T)], axes=1)

    def _beside(self, place: np.ndarray, axis: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Numbers of the nodes before and after places along an axis, and the share of each."""
        count = self.weights.shape[axis]
        at = np.clip(place / max(self.shape[axis] - 1, 1) * (count - 1), 0, count - 1)
        low = np.minimum(at.astype(int), count - 2)
        return [(low, 1 - (at - low)), (low + 1, at - low)]
