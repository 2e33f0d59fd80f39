"""An image in large bins: a robust level of each and its error, and splines through them."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from corontools.arrays.threads import in_threads
from corontools.errors import DataError

__all__ = ["Bins", "akima_grid", "bin_centers", "bin_edges", "binned_levels"]

# standard deviations of a Gaussian in its interquartile range; error of a median over that of a mean
PER_QUARTILES, MEDIAN_ERROR = 0.7413011092528009, 1.2533141373155


class Bins(NamedTuple):
    """Level of each bin and its 1-sigma error, (n_y, n_x); NaN where no pixel counts."""

    level: np.ndarray
    error: np.ndarray


def bin_edges(n: int, size: int) -> np.ndarray:
    """First pixels of the fewest bins of at most `size` px that cover n px, all about as wide; n at the end.

    Examples
    --------
    >>> bin_edges(300, 128).tolist(), bin_edges(100, 128).tolist()
    ([0, 100, 200, 300], [0, 100])
    """
    return np.rint(np.linspace(0, n, max(1, -(-n // size)) + 1)).astype(int)


def bin_centers(n: int, size: int) -> np.ndarray:
    """Middles of the bins of `bin_edges`, 0-based px.

    Examples
    --------
    >>> bin_centers(300, 128).tolist()
    [49.5, 149.5, 249.5]
    """
    edges = bin_edges(n, size)
    return np.asarray((edges[:-1] + edges[1:] - 1) / 2)


def binned_levels(
    image: np.ndarray,
    good: np.ndarray,
    *,
    size: int = 128,
    statistic: str = "meanclip",
    sigma: float = 3.0,
    rounds: int = 3,
) -> Bins:
    """Level of the background in bins of an image.

    Parameters
    ----------
    image : ndarray, shape (y, x)
        What isn't finite doesn't count.
    good : ndarray of bool, shape (y, x)
        Pixels that count.
    size : int
        Greatest side of a bin, px.
    statistic : {"meanclip", "median"}
        Mean of what is within `sigma` standard deviations, `rounds` times; the first round begins at the median, with
        the standard deviation of a Gaussian of the same interquartile range.
    sigma : float
    rounds : int

    Raises
    ------
    DataError
        If the mask has another shape or a value is out of range.

    Examples
    --------
    >>> image = np.ones((64, 64)); image[3, 4] = 1e6
    >>> binned_levels(image, image > 0, size=32).level
    array([[1., 1.],
           [1., 1.]])
    """
    if np.ndim(image) != 2 or np.shape(good) != np.shape(image):
        raise DataError(f"expected an image (y, x) and a mask of its shape, found {np.shape(image)}, {np.shape(good)}")
    if statistic not in ("meanclip", "median") or size < 1 or not sigma > 0 or rounds < 1:
        raise DataError(
            'the statistic is "meanclip" or "median", size, sigma and rounds are positive; '
            f"found {statistic!r}, {size}, {sigma}, {rounds}"
        )
    image, good = np.asarray(image, np.asarray(image).dtype.newbyteorder("=")), np.asarray(good, bool)
    ys, xs = (bin_edges(n, size) for n in image.shape)
    clip = (sigma, rounds) if statistic == "meanclip" else None

    def row(k: int) -> np.ndarray:
        return _row(image[ys[k] : ys[k + 1]], good[ys[k] : ys[k + 1]], xs, clip)

    found = np.array(in_threads(row, range(len(ys) - 1)))
    return Bins(found[..., 0], found[..., 1])


def akima_grid(levels: np.ndarray, shape: tuple[int, int], size: int) -> np.ndarray:
    """Akima splines through the levels of bins, along y, then along x: (y, x) of float32.

    They go on straight beyond the middles of the outer bins. A bin without a level has that of the nearest one.

    Parameters
    ----------
    levels : ndarray, shape (n_y, n_x)
        NaN is no level.
    shape : (int, int)
        Of the image, (y, x).
    size : int
        Greatest side of a bin, px, as in `binned_levels`.

    Examples
    --------
    >>> akima_grid(np.array([[1.0, 3.0]]), (1, 4), 2).tolist()
    [[0.5, 1.5, 2.5, 3.5]]
    """
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~np.isfinite(levels), return_distances=False, return_indices=True)
    along_y = _spline(levels[tuple(nearest)], shape[0], size)
    return _spline(along_y.T, shape[1], size).T


def _spline(levels: np.ndarray, n: int, size: int) -> np.ndarray:
    """Akima spline of each column in n px, (n, columns) of float32."""
    from scipy.interpolate import Akima1DInterpolator

    x = bin_centers(n, size)
    if x.size == 1:
        return np.repeat(levels, n, axis=0).astype(np.float32)
    ends = np.array([-0.5, n - 0.5])
    slopes = (levels[[1, -1]] - levels[[0, -2]]) / (x[[1, -1]] - x[[0, -2]])[:, None]
    outer = levels[[0, -1]] + slopes * (ends - x[[0, -1]])[:, None]
    nodes, values = np.r_[ends[0], x, ends[1]], np.concatenate([outer[:1], levels, outer[1:]])
    return np.asarray(Akima1DInterpolator(nodes, values)(np.arange(n)), np.float32)


def _row(image: np.ndarray, good: np.ndarray, edges: np.ndarray, clip: tuple[float, int] | None) -> np.ndarray:
    """Level and error of the bins beside each other, (n, 2)."""
    from corontools.arrays._bins_kernels import clipped_mean, gather

    found = np.full((len(edges) - 1, 2), np.nan)
    space = np.empty(image.shape[0] * int(np.diff(edges).max()), image.dtype)
    for k, (first, last) in enumerate(pairwise(edges)):
        values = space[: gather(image[:, first:last], good[:, first:last], space)]
        if values.size == 0:
            continue
        median, std = _quartiles(values)
        if clip is None:
            found[k] = median, MEDIAN_ERROR * std / np.sqrt(values.size)
        else:
            found[k] = clipped_mean(values, median, clip[0] * std, *clip)
    return found


def _quartiles(values: np.ndarray) -> tuple[float, float]:
    """Median, and standard deviation by the quartiles; reorders the values."""
    n = values.size
    low, middle, other, high = n // 4, (n - 1) // 2, n // 2, (3 * n) // 4
    values.partition(np.unique([low, middle, other, min(high, n - 1)]))
    median = (float(values[middle]) + float(values[other])) / 2
    return median, PER_QUARTILES * float(values[min(high, n - 1)] - values[low])
