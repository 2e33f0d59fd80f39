"""Sums, medians and outliers of images that lie on the same pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from corontools.arrays._arguments import argument
from corontools.arrays.clip import clipped_stats
from corontools.arrays.rejected import rejected
from corontools.arrays.threads import in_threads

__all__ = [
    "Medians", "Sums", "accumulate", "borders", "mean_variance", "median_factors", "medians", "no_sums", "outliers",
    "sky_variance",
]  # fmt: skip

# n times the variance of the median of n numbers of a normal distribution of variance 1, n = 0, 1, 2 ...: integrals
# over the joint density of the middle ones
FACTORS = (
    np.nan, 1.0, 1.0, 1.34601, 1.19280, 1.43417, 1.28847, 1.47313, 1.34549, 1.49491, 1.38333, 1.50879, 1.41029,
    1.51839, 1.43049, 1.52542, 1.44620, 1.53079, 1.45876, 1.53503, 1.46905,
)  # fmt: skip
# beyond them pi / 2 - (a + b / n + c / n^2) / n, of even and odd n
SERIES = ((2.18388, -2.91403, -1.92040), (0.67420, 0.12348, -0.40167))
# rows that a thread takes at a time, at most
ROWS = 256


class Sums(NamedTuple):
    """What a weighted mean is made of, all (y, x).

    Attributes
    ----------
    weighted : ndarray of float64
        Sum of w x.
    weight : ndarray of float64
        Sum of w.
    spread : ndarray of float64
        Sum of w^2 times the variance of x.
    depth : ndarray of int32
        Number of values.
    bits : ndarray of int32
        Mask bits of the values, combined by OR.
    lost : ndarray of int32
        Those of what was left out.
    """

    weighted: np.ndarray
    weight: np.ndarray
    spread: np.ndarray
    depth: np.ndarray
    bits: np.ndarray
    lost: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Sum of w x over the sum of w; NaN where there is no value."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.weighted / self.weight

    @property
    def variance(self) -> np.ndarray:
        """Of the mean; infinite where there is no value."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.depth > 0, self.spread / self.weight**2, np.inf)


class Medians(NamedTuple):
    """Medians of images, all (y, x).

    Attributes
    ----------
    image : ndarray of float64
        NaN where there is no value.
    variance : ndarray of float64
        Of the median; infinite where there is no value.
    depth : ndarray of int32
        Number of values.
    """

    image: np.ndarray
    variance: np.ndarray
    depth: np.ndarray


def no_sums(shape: tuple[int, ...]) -> Sums:
    """Sums to which nothing was added yet."""
    return Sums(*(np.zeros(shape) for _ in range(3)), *(np.zeros(shape, np.int32) for _ in range(3)))


def accumulate(
    sums: Sums,
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    weight: float | np.ndarray,
    scale: float = 1.0,
    left_out: int = 0,
    skip: np.ndarray | None = None,
) -> None:
    """Add an image to the sums, in place: sums of hundreds of large images have no room for copies.

    Values that aren't finite, have no finite variance or one of the bits `left_out` don't count; their bits go into
    `lost`.

    Parameters
    ----------
    sums : Sums
    image, variance, mask : ndarray, shape (y, x)
        Read in the image's precision.
    weight : float or ndarray, shape (y, x)
        Of the scaled image; a pixel of weight 0 doesn't count.
    scale : float
        By which the image is multiplied.
    left_out : int
    skip : ndarray of bool, shape (y, x), optional
        Further pixels that don't count.

    Examples
    --------
    >>> sums, ones, none = no_sums((1, 2)), np.ones((1, 2)), np.zeros((1, 2), np.int32)
    >>> accumulate(sums, 2 * ones, ones, none, weight=1.0)
    >>> accumulate(sums, 8 * ones, ones, none + [[0, 4]], weight=2.0, left_out=4)
    >>> sums.mean.tolist(), sums.variance.round(3).tolist(), sums.depth.tolist(), sums.lost.tolist()
    ([[6.0, 2.0]], [[0.556, 1.0]], [[2, 1]], [[0, 4]])
    """
    from corontools.arrays import _coadd_kernels

    kind = np.float64 if image.dtype.itemsize == 8 else np.float32
    every = weight if isinstance(weight, np.ndarray) and weight.ndim else None

    def add(rows: slice) -> None:
        given = (_flat(image[rows], kind), _flat(variance[rows], kind), _flat(mask[rows], np.int32))
        hidden = _flat(np.empty(0) if skip is None else skip[rows], np.bool_)
        weights = _flat(np.full(1, weight) if every is None else every[rows], np.float64)
        into = (np.reshape(array[rows], -1) for array in sums)
        _coadd_kernels.accumulate(*given, hidden, float(scale), weights, np.int32(left_out), *into)

    parts = [slice(start, start + ROWS) for start in range(0, len(image), ROWS)]
    if len(parts) == 1:  # without a thread of its own: blocks of many images come here
        add(parts[0])
    else:
        in_threads(add, parts)


def medians(values: np.ndarray, variances: np.ndarray) -> Medians:
    """Median over the first axis and its variance.

    Of normal values of standard deviations s the variance is c(n) n / (sum 1 / s)^2, by which the median of many
    values of any variances is right (c = pi / 2: the density at the middle is the mean of theirs), and that of few
    of one variance (c of `median_factors`). Of two values it is that of their mean.

    Parameters
    ----------
    values, variances : ndarray, shape (n, y, x)
        Values that aren't finite don't count.

    Examples
    --------
    >>> found = medians(np.array([[[1.0]], [[5.0]], [[2.0]]]), np.ones((3, 1, 1)))
    >>> float(found.image[0, 0]), round(float(found.variance[0, 0]), 4)
    (2.0, 0.4487)
    """
    from corontools.arrays import _coadd_kernels

    n, shape = len(values), values.shape[1:]
    size = int(np.prod(shape, dtype=int))
    out = Medians(np.empty(size), np.empty(size), np.empty(size, np.int32))
    x, v = (argument(array, np.float64).reshape(n, size) for array in (values, variances))
    _coadd_kernels.medians(x, v, median_factors(n), *out)
    return Medians(*(array.reshape(shape) for array in out))


def median_factors(n: int) -> np.ndarray:
    """By how much the variance of the median of 0, 1, ... n normal values is greater than that of their mean.

    Examples
    --------
    >>> median_factors(3).round(3).tolist(), round(float(median_factors(1001)[-1]), 3)
    ([nan, 1.0, 1.0, 1.346], 1.57)
    """
    known = np.array(FACTORS[: n + 1])
    more = np.arange(len(known), n + 1, dtype=np.float64)
    a, b, c = np.transpose([SERIES[k % 2] for k in range(len(known), n + 1)]) if more.size else np.zeros((3, 0))
    return np.concatenate([known, np.pi / 2 - (a + b / more + c / more**2) / more])


def outliers(
    values: np.ndarray,
    variances: np.ndarray,
    *,
    sigma: float = 4.0,
    amplitude: float = 0.3,
    maxiters: int | None = None,
) -> np.ndarray:
    """Values that are too far from the others, one of a pixel after the other; see `combine`, "leave_one_out".

    Where something shines the images differ by their seeing too: their errors are hypot(s, amplitude |median| / sigma).

    Parameters
    ----------
    values, variances : ndarray, shape (n, y, x)
        Values that aren't finite don't count.
    sigma : float
    amplitude : float
        Part of the median by which values may differ.
    maxiters : int, optional
        Most values that are left out of a pixel.

    Returns
    -------
    ndarray of bool, shape (n, y, x)

    Notes
    -----
    The allowance is that of Gruen, Seitz & Bernstein (2014, PASP 126, 158) for stacks with a clipped mean.

    Examples
    --------
    >>> values = np.full((5, 1, 2), 10.0); values[2, 0, 1] = 40.0
    >>> np.argwhere(outliers(values, np.ones_like(values))).tolist()
    [[2, 0, 1]]
    """
    middle = medians(values, variances).image
    with np.errstate(invalid="ignore"):
        errors = np.sqrt(variances + (amplitude / sigma * middle) ** 2)
    return rejected(values, errors, sigma=sigma, maxiters=maxiters)


def borders(cover: np.ndarray) -> np.ndarray:
    """Pixels on both sides of the edges of a mask, but for those of the image.

    Examples
    --------
    >>> borders(np.array([[True, True, True, False, False]])).tolist()
    [[False, False, True, True, False]]
    """
    out = np.zeros(cover.shape, bool)
    for axis in (0, 1):
        inside, found = np.moveaxis(cover, axis, 0), np.moveaxis(out, axis, 0)
        change = inside[1:] != inside[:-1]
        found[1:] |= change
        found[:-1] |= change
    return out


def mean_variance(variance: np.ndarray, good: np.ndarray) -> float:
    """Mean of the variances of good pixels after clipping at 3 sigma; NaN without any.

    The inverse is a weight for the image as a whole. Weights of single pixels are small where a star shines: they would
    prefer the images in which it looks faint.

    Examples
    --------
    >>> variance = np.full((8, 8), 4.0); variance[3, 3] = 900.0
    >>> mean_variance(variance, np.ones((8, 8), bool))
    4.0
    """
    return clipped_stats(variance, good & np.isfinite(variance)).mean


def sky_variance(image: np.ndarray, good: np.ndarray) -> float:
    """Square of the scatter of good pixels after clipping at 3 sigma: what the sky does, whatever the variances say.

    Examples
    --------
    >>> image = np.random.default_rng(1).normal(5.0, 2.0, (200, 200))
    >>> round(sky_variance(image, image < 100))
    4
    """
    return clipped_stats(image, good).std ** 2


def _flat(array: np.ndarray, kind: type[np.generic]) -> np.ndarray:
    return argument(array, kind).reshape(-1)
