"""Sums over the pixels that two images have in common, for all pairs of two sets of images at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["PairSums", "correlation", "pair_sums", "scaled_rms"]

# pixels handled at a time, so that no copy of the images is made
BLOCK = 8192


class PairSums(NamedTuple):
    """Weighted sums over the pixels good in both images of each pair, every one of shape (n_a, n_b)."""

    weight: np.ndarray
    a: np.ndarray
    b: np.ndarray
    aa: np.ndarray
    bb: np.ndarray
    ab: np.ndarray


def pair_sums(
    a: np.ndarray, b: np.ndarray, *, good_a: np.ndarray, good_b: np.ndarray, weight: np.ndarray | None = None
) -> PairSums:
    """Sums of 1, a, b, a^2, b^2 and a b over the pixels good in both, each pixel by its weight.

    Parameters
    ----------
    a, b : ndarray, shape (n_a, pixels) and (n_b, pixels)
        NaN where not good, or anything.
    good_a, good_b : ndarray of bool, same shapes
    weight : ndarray, shape (pixels,), optional
    """
    sums = PairSums(*np.zeros((6, len(a), len(b))))
    for part in (slice(start, start + BLOCK) for start in range(0, a.shape[1], BLOCK)):
        has_a, has_b = good_a[:, part].astype(np.float64), good_b[:, part].astype(np.float64)
        x, y = (np.where(g, v[:, part], 0.0) for g, v in ((good_a[:, part], a), (good_b[:, part], b)))
        w = 1.0 if weight is None else weight[part]
        has_aw, xw = has_a * w, x * w
        for total, left, right in zip(
            sums, (has_aw, xw, has_aw, xw * x, has_aw, xw), (has_b, has_b, y, has_b, y * y, y), strict=True
        ):
            total += left @ right.T
    return sums


def correlation(a: np.ndarray, b: np.ndarray, *, good_a: np.ndarray, good_b: np.ndarray) -> np.ndarray:
    """Pearson correlation (n_a, n_b) over the pixels good in both; NaN with fewer than two, or without structure.

    Examples
    --------
    >>> x = np.array([[1.0, 2.0, 3.0, np.nan]])
    >>> correlation(x, -x, good_a=np.isfinite(x), good_b=np.isfinite(x)).tolist()
    [[-1.0]]
    """
    # sums of squares about a mean that is nearly the right one lose no digits
    x, y = (_centred(images, good) for images, good in ((a, good_a), (b, good_b)))
    n, sx, sy, sxx, syy, sxy = pair_sums(x, y, good_a=good_a, good_b=good_b)
    with np.errstate(invalid="ignore", divide="ignore"):
        product = (sxx - sx * sx / n) * (syy - sy * sy / n)
        return np.where((n >= 2) & (product > 0), (sxy - sx * sy / n) / np.sqrt(product), np.nan)


def _centred(images: np.ndarray, good: np.ndarray) -> np.ndarray:
    values = np.asarray(images, np.float64)
    mean = np.sum(values, axis=1, where=good, keepdims=True) / np.maximum(good.sum(axis=1, keepdims=True), 1)
    return values - mean


def scaled_rms(sums: PairSums, scale: np.ndarray | None = None) -> np.ndarray:
    """Root of the weighted mean square of a - scale b, (n_a, n_b); the best scale where none is given.

    Examples
    --------
    >>> a, b = np.array([[1.0, 3.0]]), np.array([[2.0, 2.0]])
    >>> whole = np.ones((1, 2), bool)
    >>> scaled_rms(pair_sums(a, b, good_a=whole, good_b=whole)).tolist()
    [[1.0]]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = sums.ab / sums.bb if scale is None else scale
        power = sums.aa - 2 * factor * sums.ab + np.square(factor) * sums.bb
        return np.sqrt(np.maximum(power, 0.0) / sums.weight)
