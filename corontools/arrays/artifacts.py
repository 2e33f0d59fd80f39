"""What is in one image of many: regions that stand out of the sky that all of them show."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from corontools.arrays.detect import dilated, labelled

__all__ = ["Spots", "drawn", "few_epochs", "rare", "significance", "spots"]


class Spots(NamedTuple):
    """Connected regions of an image, as a list of their pixels.

    Attributes
    ----------
    pixels : ndarray of int64, shape (n,)
        Places in the flattened image.
    labels : ndarray of int64, shape (n,)
        Number of the region of each of them, from 0 on.
    """

    pixels: np.ndarray
    labels: np.ndarray


def significance(
    image: np.ndarray,
    variance: np.ndarray,
    model: np.ndarray,
    model_variance: np.ndarray,
    *,
    tolerance: float = 0.03,
) -> np.ndarray:
    """Difference of an image to a model of the sky, in standard deviations.

    Parameters
    ----------
    image, variance : ndarray, shape (y, x)
    model, model_variance : ndarray, shape (y, x)
    tolerance : float
        Part of the model by which they may differ where a star shines, as one standard deviation.

    Returns
    -------
    ndarray, shape (y, x)
        NaN where either isn't known.

    Examples
    --------
    >>> one = np.ones((1, 1))
    >>> float(significance(11 * one, 0.5 * one, one, 0.5 * one, tolerance=0.0)[0, 0])
    10.0
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        away = (image - model) / np.sqrt(variance + model_variance + (tolerance * model) ** 2)
    return np.where(np.isfinite(away), away, np.nan)


def spots(significance: np.ndarray, *, threshold: float, min_pixels: int = 1) -> Spots:
    """Connected regions beyond a threshold, positive or negative; those of fewer pixels are left out.

    Examples
    --------
    >>> found = spots(np.array([[9.0, -9.0, 0.0, 9.0]]), threshold=5.0, min_pixels=2)
    >>> found.pixels.tolist(), found.labels.tolist()
    ([0, 1], [0, 0])
    """
    labels, n = labelled(np.abs(significance) > threshold)
    flat = labels.reshape(-1)
    pixels = np.flatnonzero(flat)
    found = flat[pixels].astype(np.int64)
    counts = np.bincount(found, minlength=n + 1)
    kept = counts >= min_pixels
    kept[0] = False
    numbers = np.cumsum(kept) - 1
    stays = kept[found]
    return Spots(pixels[stays], numbers[found[stays]])


def rare(found: Spots, count: np.ndarray, *, limit: np.ndarray, share: float = 0.5) -> Spots:
    """Regions of which more than a share of the pixels is seen in few images.

    Parameters
    ----------
    found : Spots
    count : ndarray of int, shape (y, x)
        Images in which a pixel differs from the model.
    limit : ndarray of int, shape (y, x)
        So many are few, see `few_epochs`.
    share : float

    Examples
    --------
    >>> found = Spots(np.array([0, 1, 3]), np.array([0, 0, 1]))
    >>> rare(found, np.array([[1, 1, 0, 7]]), limit=np.full((1, 4), 2)).pixels.tolist()
    [0, 1]
    """
    few = count.reshape(-1)[found.pixels] <= limit.reshape(-1)[found.pixels]
    total, part = np.bincount(found.labels), np.bincount(found.labels, weights=few)
    stays = (part > share * total)[found.labels] if found.labels.size else np.zeros(0, bool)
    return Spots(found.pixels[stays], found.labels[stays])


def few_epochs(n: ArrayLike, *, most: int = 2, low: float = 0.4, high: float = 0.03) -> np.ndarray:
    """In how many of n images an artefact may be: the part `low` of few ones, `most` and the part `high` of many.

    Examples
    --------
    >>> few_epochs([2, 3, 5, 10, 100]).tolist()
    [0, 1, 2, 2, 5]
    """
    n = np.asarray(n)
    return np.minimum(low * n, most + high * n).astype(np.int32)


def drawn(found: Spots, shape: tuple[int, int], *, grow: int = 0) -> np.ndarray:
    """The regions as a mask, grown by some pixels.

    Examples
    --------
    >>> drawn(Spots(np.array([3]), np.array([0])), (2, 3)).tolist()
    [[False, False, False], [True, False, False]]
    """
    mask = np.zeros(shape, bool)
    mask.reshape(-1)[found.pixels] = True
    return dilated(mask, radius=grow) if grow and found.pixels.size else mask
