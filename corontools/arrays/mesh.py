"""A smooth map of the background of an image: clipped medians in boxes, and splines between them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from corontools.errors import DataError

__all__ = ["mesh_background"]

# share of the pixels of a box that have to stay
LEAST = 0.9
# boxes from whose medians that of a box without one is made
NEIGHBOURS = 10
# pixels sorted at once
BLOCK = 1 << 20


def mesh_background(
    image: np.ndarray,
    good: np.ndarray,
    *,
    box: tuple[int, int] = (32, 32),
    smooth: int = 5,
    sigma: float = 3.0,
    maxiters: int = 5,
) -> np.ndarray | None:
    """Map of the background from the medians of sigma-clipped boxes.

    A box of whose pixels not more than nine tenths stay gets the mean of the ten nearest boxes that have a median,
    weighted by the inverse of the distance. The medians are smoothed by a running median over `smooth` x `smooth`
    boxes, and interpolated by cubic splines that stay within their range.

    These are the rules of `photutils.background.Background2D` with `MedianBackground`, whose values it gives.

    Parameters
    ----------
    image : ndarray, shape (y, x)
        NaN is no data.
    good : ndarray of bool, shape (y, x)
        Pixels that count.
    box : (int, int)
        Height and width of a box, px.
    smooth : int
        Odd.
    sigma : float
    maxiters : int

    Returns
    -------
    ndarray, shape (y, x), or None
        Float32 for a float32 image, else float64; None where no box has enough pixels.

    Raises
    ------
    DataError
        If the mask has another shape.

    Examples
    --------
    >>> x = np.linspace(0, 1, 64); image = 10 + x + np.random.default_rng(1).normal(0, 0.1, (64, 64))
    >>> level = mesh_background(image, image < 50, box=(16, 16), smooth=1)
    >>> bool(np.abs(level - 10 - x)[:, 8:-8].max() < 0.1)
    True
    """
    image = np.asarray(image)
    if image.ndim != 2 or np.shape(good) != image.shape:
        raise DataError(f"expected an image (y, x) and a mask of its shape, found {image.shape} and {np.shape(good)}")
    medians = _medians(image, np.asarray(good), box, sigma, maxiters)
    known = np.isfinite(medians)
    if not known.any():
        return None
    mesh = _smoothed(_filled(medians, known), smooth)
    kind = np.float32 if image.dtype.newbyteorder("=") == np.float32 else np.float64
    rows, columns = (_spline(n, size) for n, size in zip(mesh.shape, box, strict=True))
    level = rows[: image.shape[0]].astype(kind) @ (mesh @ columns[: image.shape[1]].T).astype(kind)
    return np.clip(level, mesh.min(), mesh.max(), out=level)


def _medians(image: np.ndarray, good: np.ndarray, box: tuple[int, int], sigma: float, maxiters: int) -> np.ndarray:
    """Clipped median of each box, NaN where too few pixels stay; boxes may reach beyond the image."""
    height, width = box
    shape = (-(-image.shape[0] // height), -(-image.shape[1] // width))
    medians = np.full(shape, np.nan)
    step = max(1, BLOCK // (height * image.shape[1]))
    for first in range(0, shape[0], step):
        part = slice(first * height, (first + step) * height)
        medians[first : first + step] = _row_medians(image[part], good[part], box, sigma, maxiters)
    return medians


def _row_medians(image: np.ndarray, good: np.ndarray, box: tuple[int, int], sigma: float, maxiters: int) -> np.ndarray:
    """`_medians` of some rows of boxes."""
    from corontools.arrays._mesh_kernels import clipped_medians

    height, width = box
    n_y, n_x = -(-image.shape[0] // height), -(-image.shape[1] // width)
    kind = np.float32 if image.dtype.newbyteorder("=") == np.float32 else np.float64
    padded = np.full((n_y * height, n_x * width), np.nan, kind)
    np.copyto(padded[: image.shape[0], : image.shape[1]], image, where=good)
    boxes = padded.reshape(n_y, height, n_x, width).swapaxes(1, 2).reshape(n_y * n_x, -1)
    boxes[~np.isfinite(boxes)] = np.inf
    boxes.sort(axis=1)
    count = np.count_nonzero(np.isfinite(boxes), axis=1)
    median, kept = np.full(len(boxes), np.nan), np.zeros(len(boxes), np.int64)
    clipped_medians(boxes, count, sigma, maxiters, median, kept)
    return np.where(kept > LEAST * height * width, median, np.nan).reshape(n_y, n_x)


def _filled(medians: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Boxes without a median get the mean of the nearest that have one, by the inverse of the distance."""
    if known.all():
        return medians
    from scipy.spatial import cKDTree

    places, values = np.argwhere(known), medians[known]
    nearest = range(1, min(NEIGHBOURS, len(values)) + 1)
    # of boxes at the same distance the tree decides, and leaves of ten boxes are those of photutils
    distance, index = cKDTree(places, leafsize=10).query(np.argwhere(~known), k=list(nearest))
    filled = medians.copy()
    filled[~known] = np.sum(values[index] / distance, axis=1) / np.sum(1 / distance, axis=1)
    return filled


def _smoothed(mesh: np.ndarray, size: int) -> np.ndarray:
    """Running median; beyond the edge there is nothing."""
    if size < 2:
        return mesh
    padded = np.pad(mesh, size // 2, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    return np.nanmedian(windows, axis=(2, 3))


@lru_cache(maxsize=16)
def _spline(n: int, size: int) -> np.ndarray:
    """Cubic spline from n boxes to their n * size pixels, as a matrix; values are those at the middles of boxes."""
    from scipy.ndimage import zoom

    matrix = np.stack([zoom(one, size, order=3, mode="reflect", grid_mode=True) for one in np.eye(n)], axis=1)
    matrix.flags.writeable = False
    return matrix
