"""Cosmic rays: pixels sharper than any star can be, and values to put in their place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from corontools.arrays._arguments import argument

__all__ = ["Limits", "fill_defects", "find", "groups", "grow", "predict", "star_contrast"]

# pixels from one good pixel to the next that a gap may have
LONGEST = 32


class Limits(NamedTuple):
    """What makes a pixel a cosmic ray; see `find`.

    Attributes
    ----------
    contrast : ndarray, shape (cells_y, cells_x, 3)
        Least that stars have: a share of `star_contrast`, on a grid of cells that cover the image evenly.
    background : float
        Level of the sky.
    steep : float
        Sigma by which a pixel stands above the mean of a pair of opposite neighbours.
    slack : float
        Sigma granted to the noise where the contrast is compared with that of a star.
    """

    contrast: np.ndarray
    background: float
    steep: float = 6.0
    slack: float = 2.0


def star_contrast(kernels: np.ndarray) -> np.ndarray:
    """What the pixels beside the middle of a star, centred on a pixel, have of the middle one's light.

    Parameters
    ----------
    kernels : ndarray, shape (..., size, size)
        PSF centred on the middle pixel.

    Returns
    -------
    ndarray, shape (..., 3)
        For the pairs of neighbours below and above, left and right, and on the diagonals.

    Examples
    --------
    >>> star_contrast(np.array([[0.2, 0.5, 0.2], [0.6, 1.0, 0.6], [0.2, 0.5, 0.2]]))
    array([0.5, 0.6, 0.2])
    """
    half = kernels.shape[-1] // 2
    near = np.asarray(kernels, float)[..., half - 1 : half + 2, half - 1 : half + 2]
    vertical, horizontal = near[..., 0, 1] + near[..., 2, 1], near[..., 1, 0] + near[..., 1, 2]
    diagonal = near[..., 0, 0] + near[..., 0, 2] + near[..., 2, 0] + near[..., 2, 2]
    return np.stack([vertical / 2, horizontal / 2, diagonal / 4], axis=-1) / near[..., 1, 1, None]


def find(
    image: np.ndarray, variance: np.ndarray, unusable: np.ndarray, spoiled: np.ndarray, *, limits: Limits
) -> np.ndarray:
    """Pixels that are too sharp for a star.

    A pixel p with the variance s^2 is one if it isn't negative, if it is at least ``steep`` s above the mean m of a
    pair of opposite neighbours, and if for some pair, of which the mean has the error e, the contrast c of a star is
    exceeded: ``c (p - background - slack s) > m - background + slack e``. Pixels are taken row by row, and one that
    was found counts as m for those after it, so that tracks wider than a pixel are eaten from their edge.

    These are the conditions of SDSS's photometric pipeline, also used for HSC and by the Rubin observatory.

    Parameters
    ----------
    image, variance : ndarray, shape (y, x)
    unusable : ndarray of bool, shape (y, x)
        Pixels without a value of the sky: not judged, and pairs with one of them are left out. NaN should be.
    spoiled : ndarray of bool, shape (y, x)
        No pixel is judged that touches one of these: beside saturated and interpolated pixels nothing is like a star.
    limits : Limits

    Returns
    -------
    ndarray of bool, shape (y, x)
        At the border only the pairs along it count.

    Examples
    --------
    >>> image = np.zeros((5, 5)); image[2, 2] = 100
    >>> none = np.zeros((5, 5), bool)
    >>> limits = Limits(np.full((1, 1, 3), 0.2), background=0.0)
    >>> np.argwhere(find(image, np.ones((5, 5)), none, none, limits=limits)).tolist()
    [[2, 2]]
    """
    from corontools.arrays._cosmic_kernels import scan

    found = np.zeros(image.shape, bool)
    # a pair with a pixel of -inf passes the first, quick look, and is then left out
    working: np.ndarray = np.where(unusable, -np.inf, image).astype(_kind(image), copy=False)
    variance, unusable, spoiled = _contiguous(variance, unusable, spoiled)
    scan(working, variance, unusable, spoiled, *_numbers(limits), found)
    return found


def groups(found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels found and the group of touching ones, diagonals included, that each belongs to.

    Parameters
    ----------
    found : ndarray of bool, shape (y, x)

    Returns
    -------
    pixels : ndarray of int, shape (n, 2)
        Places (y, x) in the order of the image.
    numbers : ndarray of int, shape (n,)
        From 0 up, in the order of the first pixel.

    Examples
    --------
    >>> groups(np.array([[True, False, False], [False, True, False], [False, False, False], [True, False, True]]))[1]
    array([0, 0, 1, 2])
    """
    from corontools.arrays._cosmic_kernels import group

    pixels = np.argwhere(found)
    numbers, _ = group(np.array(found, bool), *_columns(pixels))
    return pixels, numbers


def grow(
    image: np.ndarray,
    variance: np.ndarray,
    unusable: np.ndarray,
    spoiled: np.ndarray,
    *,
    found: np.ndarray,
    limits: Limits,
    rounds: int = 6,
) -> np.ndarray:
    """Cosmic rays with the fainter pixels beside them.

    In each round the rays are replaced by `predict`, and their neighbours judged beside that as by `find`, by limits
    that are best easier to exceed. It ends when a round adds none.

    Parameters
    ----------
    image, variance, unusable, spoiled : ndarray, shape (y, x)
        As `find`.
    found : ndarray of bool, shape (y, x)
    limits : Limits
    rounds : int
        At most so many.

    Returns
    -------
    ndarray of bool, shape (y, x)
    """
    from corontools.arrays import _cosmic_kernels as kernels

    variance, unusable, spoiled = _contiguous(variance, unusable, spoiled)
    grown = np.array(found, bool)
    working: np.ndarray = np.array(image, _kind(image))
    pixels = np.argwhere(grown)
    for _ in range(rounds):
        filled, _ = predict(image, variance, unusable, pixels=pixels, found=grown, background=limits.background)
        working[*pixels.T] = np.where(np.isfinite(filled), filled, limits.background)
        added = kernels.grow(working, variance, unusable, spoiled, *_numbers(limits), grown, *_columns(pixels))
        if not len(added):
            break
        pixels = np.concatenate([pixels, added])
    return grown


def predict(
    image: np.ndarray,
    variance: np.ndarray,
    unusable: np.ndarray,
    *,
    pixels: np.ndarray,
    found: np.ndarray,
    background: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Values in place of cosmic rays.

    Each of the four lines through a pixel whose two nearest pixels on both sides are good gives a value by linear
    prediction; the lowest counts, since what a ray left beside it is bright, less what the lowest of so many is
    expected to be low by. Values two sigma below the background don't count. Where there is no such line, it is the
    straight line between the nearest good pixels of the row, and of the column.

    Parameters
    ----------
    image, variance, unusable : ndarray, shape (y, x)
    pixels : ndarray of int, shape (n, 2)
        Places (y, x) of what is replaced.
    found : ndarray of bool, shape (y, x)
        All cosmic rays; none of them predicts another.
    background : float

    Returns
    -------
    values, variances : ndarray, shape (n,)
        The variance is the mean one of the pixels the value is from. NaN where there is nothing to go by.

    Examples
    --------
    >>> ramp = np.arange(25.0).reshape(5, 5)
    >>> found = np.zeros((5, 5), bool); found[2, 2] = True
    >>> none = np.zeros((5, 5), bool)
    >>> values, _ = predict(ramp, np.full((5, 5), 1e-8), none, pixels=np.array([[2, 2]]), found=found)
    >>> values.round(3)
    array([12.])
    """
    from corontools.arrays._cosmic_kernels import lowest_prediction

    out = np.full((len(pixels), 2), np.nan)
    image, variance, bad = _contiguous(image, variance, np.asarray(unusable) | found)
    floor = background - 2 * float(np.sqrt(_typical(variance, bad)))
    lowest_prediction(image, variance, bad, *_columns(pixels), floor, LONGEST, out)
    return out[:, 0], out[:, 1]


def fill_defects(
    image: np.ndarray, variance: np.ndarray, unusable: np.ndarray, *, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values in place of defects: as `predict`, but the mean of the lines, since a defect may be dark or bright.

    Returns
    -------
    values, variances : ndarray, shape (n,)
        NaN where no good pixel is within 32 pixels on both sides, neither along the row nor the column.
    """
    from corontools.arrays._cosmic_kernels import mean_prediction

    out = np.full((len(pixels), 2), np.nan)
    image, variance, unusable = _contiguous(image, variance, unusable)
    mean_prediction(image, variance, unusable, *_columns(pixels), LONGEST, out)
    return out[:, 0], out[:, 1]


def _typical(variance: np.ndarray, bad: np.ndarray) -> float:
    """Median variance of a sample of the good pixels; infinite if there is none."""
    step = max(1, min(variance.shape) // 128)
    sample = variance[::step, ::step][~bad[::step, ::step]]
    return float(np.median(sample)) if sample.size else np.inf


def _numbers(limits: Limits) -> tuple[np.ndarray, float, float, float]:
    contrast = np.ascontiguousarray(limits.contrast, float)
    return contrast, float(limits.background), float(limits.steep), float(limits.slack)


def _columns(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(pixels[:, 0], np.int64), np.ascontiguousarray(pixels[:, 1], np.int64)


def _contiguous(*arrays: np.ndarray) -> list[np.ndarray]:
    return [argument(a, bool if a.dtype == bool else _kind(a)) for a in arrays]


def _kind(array: np.ndarray) -> type:
    return np.float32 if array.dtype.newbyteorder("=") == np.float32 else np.float64
