"""A point-spread function of pixels that varies over an image: drawing it at sub-pixel places, fitting it to stars.

The PSF at (x, y) is sum_k T_k(x, y) B_k, where the T_k are polynomials and the B_k images on a grid of `step` points
per pixel. A star at the offset d from the middle of its stamp has the pixels sum_j S(step (p - d) / r - j) B(j), with
S the quintic B-spline. The stretch r of the grid may differ from star to star: a PSF that is wider at some places is no
low polynomial in each pixel, but one in what is left after stretching. The B_k are the weighted least-squares solution
for the pixels of all stars as they are: nothing is resampled, and a masked pixel takes part in no sum.

The quintic spline rather than Lanczos-4: with 3.6 points per FWHM of a Moffat profile the size of a drawn star depends
on its place within the pixel by 0.04 % (Ixx + Iyy), with Lanczos-4 by 0.5 %.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corontools.errors import DataError

__all__ = ["draw_stars", "fit_basis", "grid_side", "spline_taps"]

Floats = NDArray[np.float64]

# taps of a quintic spline along an axis
TAPS = 6
# share of the largest diagonal that keeps points without data solvable
RIDGE = 1e-9
# relative size of the remaining gradient at which the fit ends
DONE = 1e-6


def grid_side(size: int, step: int) -> int:
    """Points along a side of the grid for stamps of `size` pixels: its middle point is the middle of the stamp."""
    return (size - 1) * step + 1


def spline_taps(
    offsets: ArrayLike, *, size: int, step: int = 1, stretch: ArrayLike = 1.0
) -> tuple[NDArray[np.int64], Floats]:
    """Where the taps of the pixels of stars begin on the grid, and their weights, of total 1.

    Parameters
    ----------
    offsets : array (n, 2)
        Star from the middle of its stamp, (x, y), px.
    size : int
        Odd side of the stamps, px.
    step : int
        Points of the grid per pixel.
    stretch : array (n,)
        By how much each star is larger than the grid.

    Returns
    -------
    starts : ndarray of int, shape (n, 2, size)
        Grid point of the first tap for each column, and each row, of the stamp.
    taps : ndarray, shape (n, 2, size, 6)

    Examples
    --------
    >>> starts, taps = spline_taps([[0.0, 0.25]], size=3)
    >>> starts.tolist(), (taps[0, 0, 0] * 120).round(9).tolist()
    ([[[-2, -1, 0], [-3, -2, -1]]], [1.0, 26.0, 66.0, 26.0, 1.0, 0.0])
    """
    from corontools.arrays._psfbasis_kernels import taps_of

    offsets = np.asarray(offsets, np.float64)
    ratio = step / np.broadcast_to(np.asarray(stretch, np.float64), offsets.shape[:1])
    middle = grid_side(size, step) // 2
    places = middle + (np.arange(size) - size // 2 - offsets[:, :, None]) * ratio[:, None, None]
    starts, taps = np.empty(places.shape, np.int64), np.empty((*places.shape, TAPS))
    taps_of(places, starts, taps)
    return starts, taps


def draw_stars(planes: Floats, offsets: ArrayLike, *, size: int, step: int = 1, stretch: ArrayLike = 1.0) -> Floats:
    """Pixels of stars whose PSFs are given on grids.

    Parameters
    ----------
    planes : ndarray, shape (n, g, g)
        PSF of each star, g = `grid_side(size, step)`.
    offsets : array (n, 2)
        Star from the middle of its stamp, (x, y), px.
    size : int
        Odd side of the stamps, px.
    step : int
        Points of the grid per pixel.
    stretch : array (n,)
        By how much each star is larger than the grid; its values stay the same.

    Returns
    -------
    ndarray, shape (n, size, size)

    Examples
    --------
    >>> point = np.zeros((1, 5, 5)); point[0, 2, 2] = 1
    >>> (draw_stars(point, [[0.0, 0.0]], size=5)[0, 2] * 120**2 / 66).round(9).tolist()
    [1.0, 26.0, 66.0, 26.0, 1.0]
    """
    from corontools.arrays._psfbasis_kernels import render

    starts, taps = spline_taps(offsets, size=size, step=step, stretch=stretch)
    out = np.empty((len(planes), size, size))
    render(np.ascontiguousarray(planes, np.float64), starts, taps, out)
    return out


def fit_basis(
    images: Floats,
    weights: Floats,
    terms: Floats,
    offsets: Floats,
    *,
    step: int = 1,
    stretch: ArrayLike = 1.0,
    start: Floats | None = None,
    iterations: int = 8,
) -> Floats:
    """Images B_k of the PSF that fit stars best: the minimum of sum weights (images - model)^2.

    Solved by conjugate gradients (Hestenes & Stiefel 1952), preconditioned at each point of the grid with the normal
    matrix of its own K coefficients. Few iterations are enough, and keep the noise of what the stars don't tell out.

    Parameters
    ----------
    images : ndarray, shape (n, s, s)
        Stamps of the stars, sky subtracted; finite (what doesn't count may have any value).
    weights : ndarray, shape (n, s, s)
        Inverse variances, 0 where a pixel doesn't count.
    terms : ndarray, shape (n, K)
        Flux of each star times the T_k at its place.
    offsets : ndarray, shape (n, 2)
        Star from the middle of its stamp, (x, y), px.
    step : int
        Points of the grid per pixel.
    stretch : array (n,)
        By how much each star is larger than the grid.
    start : ndarray, shape (K, g, g), optional
        Where to begin; zero by default.
    iterations : int
        At most so many.

    Returns
    -------
    ndarray, shape (K, g, g)
        0 (or the start) at points that no pixel tells of.

    Raises
    ------
    DataError
        If shapes don't fit, or no pixel counts.

    Examples
    --------
    >>> x = np.arange(-9, 10)
    >>> def star(dx, dy):
    ...     return np.exp(-((x - dx) ** 2 + (x[:, None] - dy) ** 2) / 8)
    >>> offsets = np.array([[0.3, -0.2], [-0.4, 0.1], [0.0, 0.45]])
    >>> stars = np.array([star(*offset) for offset in offsets])
    >>> fitted = fit_basis(stars, np.ones_like(stars), np.ones((3, 1)), offsets, iterations=30)
    >>> bool(np.abs(draw_stars(fitted, [[0.1, 0.2]], size=19)[0] - star(0.1, 0.2)).max() < 1e-3)
    True
    """
    _check(images, weights, terms, offsets)
    starts, taps = spline_taps(offsets, size=images.shape[1], step=step, stretch=stretch)
    model = _Model(np.asarray(terms, np.float64), starts, taps, grid_side(images.shape[1], step))
    inverse = _inverse_blocks(model, weights)
    fitted = np.zeros((model.terms.shape[1], model.side, model.side)) if start is None else np.array(start, np.float64)
    left = model.transposed(weights * (images if start is None else images - model.of(fitted)))
    along = move = _solved(inverse, left)
    power = first = float(np.vdot(left, move))
    for _ in range(iterations):
        if not power > DONE**2 * first:
            break
        pushed = model.transposed(weights * model.of(along))
        length = power / float(np.vdot(along, pushed))
        fitted += length * along
        left = left - length * pushed
        move = _solved(inverse, left)
        power, before = float(np.vdot(left, move)), power
        along = move + (power / before) * along
    return fitted


class _Model(NamedTuple):
    """The linear map from the images B_k to the pixels of the stars, and its transpose."""

    terms: Floats
    starts: NDArray[np.int64]
    taps: Floats
    side: int

    def of(self, basis: Floats) -> Floats:
        """Pixels of the stars (n, s, s)."""
        from corontools.arrays._psfbasis_kernels import render

        planes = (self.terms @ basis.reshape(len(basis), -1)).reshape(-1, self.side, self.side)
        size = self.starts.shape[2]
        out = np.empty((len(planes), size, size))
        render(planes, self.starts, self.taps, out)
        return out

    def transposed(self, images: Floats) -> Floats:
        """What each coefficient gets of the pixels (K, g, g)."""
        planes = self.gathered(images, self.taps)
        return (self.terms.T @ planes.reshape(len(planes), -1)).reshape(-1, self.side, self.side)

    def gathered(self, images: Floats, taps: Floats) -> Floats:
        """What each point of the grid of each star gets of its pixels (n, g, g)."""
        from corontools.arrays._psfbasis_kernels import gather

        planes = np.empty((len(images), self.side, self.side))
        gather(images, self.starts, taps, planes)
        return planes


def _inverse_blocks(model: _Model, weights: Floats) -> Floats:
    """Inverse of the normal matrix of the K coefficients of each grid point alone, (g * g, K, K)."""
    n, k = model.terms.shape
    pairs = (model.terms[:, :, None] * model.terms[:, None, :]).reshape(n, -1)
    told = model.gathered(weights, model.taps**2).reshape(n, -1)
    blocks = (told.T @ pairs).reshape(-1, k, k)
    largest = np.trace(blocks, axis1=1, axis2=2).max()
    return np.linalg.inv(blocks + RIDGE * largest * np.eye(k))


def _solved(inverse: Floats, gradient: Floats) -> Floats:
    """Preconditioned gradient (K, g, g)."""
    k = len(gradient)
    return (inverse @ gradient.reshape(k, -1).T[:, :, None])[:, :, 0].T.reshape(gradient.shape)


def _check(images: Floats, weights: Floats, terms: Floats, offsets: Floats) -> None:
    shapes = [np.shape(a) for a in (images, weights, terms, offsets)]
    n = shapes[0][0] if shapes[0] else 0
    square = len(shapes[0]) == 3 and shapes[0][1] == shapes[0][2]
    if not square or shapes[1] != shapes[0] or shapes[2][:1] != (n,) or shapes[3] != (n, 2):
        raise DataError(
            "stamps (n, s, s), their weights, terms (n, K) and offsets (n, 2) are needed, found shapes "
            f"{', '.join(map(str, shapes))}"
        )
    if not (weights > 0).any():
        raise DataError("no pixel of the stars counts: all have zero weight; unmask pixels or give other stars")
