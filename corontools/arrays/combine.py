"""Mean of images with outliers rejected, and its uncertainty, for as few as two images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from corontools.arrays._arguments import argument
from corontools.arrays.clip import MAD

__all__ = ["Combined", "Rejection", "combine", "excess_scatter"]

Rejection = Literal["leave_one_out", "sigma_clip", "none"]
METHODS = {"none": 0, "leave_one_out": 1, "sigma_clip": 2}


class Combined(NamedTuple):
    """Mean of images, pixel by pixel.

    Attributes
    ----------
    mean : ndarray of float64
        NaN where no value was usable.
    variance : ndarray of float64
        Of the mean, from the errors of the values that were kept; NaN where there is none.
    kept : ndarray of int32
        Values kept.
    flags : ndarray of uint32
        Flags of all values, kept or not, combined by OR.
    """

    mean: np.ndarray
    variance: np.ndarray
    kept: np.ndarray
    flags: np.ndarray


def combine(
    values: np.ndarray,
    errors: np.ndarray | None = None,
    flags: np.ndarray | None = None,
    *,
    reject: Rejection = "leave_one_out",
    sigma: float = 3.0,
    maxiters: int | None = None,
    excess: float = 1.0,
) -> Combined:
    """Mean over the first axis; values that aren't finite, have no finite error or the flag 1 are left out.

    Parameters
    ----------
    values : ndarray, shape (n, ...)
    errors : ndarray, same shape, optional
        1-sigma errors; without them all are 1.
    flags : ndarray of uint32, same shape, optional
    reject : {"leave_one_out", "sigma_clip", "none"}
        "leave_one_out": of k values x with variances v the one furthest from the mean is compared with the mean of
        the others; if nothing is wrong the difference has the variance v_i + sum(v_j, j != i) / (k - 1)^2, whatever
        the number of values. It is rejected beyond `sigma` of it, and the rest is looked at again. Of two values
        that don't agree the higher one goes. "sigma_clip": what is further than `sigma` standard deviations from the
        median (astropy's sigma_clip); no value of fewer than sigma^2 + 1 can be so far.
    sigma : float
    maxiters : int, optional
        Most values that are rejected one after the other, or rounds of clipping; by default until nothing changes.
    excess : float
        Scatter in units of the errors, see `excess_scatter`; "leave_one_out" multiplies `sigma` by it.

    Examples
    --------
    >>> x = np.array([[10.0, 10.0], [11.0, 9.0], [9.0, 500.0]])
    >>> found = combine(x, np.ones_like(x))
    >>> found.mean.tolist(), found.kept.tolist(), found.variance.tolist()
    ([10.0, 9.5], [3, 2], [0.3333333333333333, 0.5])
    """
    from corontools.arrays import _combine_kernels

    n, shape = values.shape[0], values.shape[1:]
    size = int(np.prod(shape, dtype=int))
    native = np.float64 if values.dtype.itemsize == 8 else np.float32
    out = Combined(np.empty(size), np.empty(size), np.empty(size, np.int32), np.empty(size, np.uint32))
    _combine_kernels.combine(
        argument(values, native).reshape(n, size),
        _planes(errors, native, n, size),
        _planes(flags, np.uint32, n, size),
        METHODS[reject],
        float(sigma),
        np.iinfo(np.int64).max if maxiters is None else int(maxiters),
        float(excess),
        *out,
    )
    return Combined(*(array.reshape(shape) for array in out))


def excess_scatter(
    values: np.ndarray | Sequence[np.ndarray], errors: np.ndarray | Sequence[np.ndarray] | None
) -> float:
    """Scatter between images in units of what their errors let expect; 1.4826 median |x_i - x_i+1| / hypot(e_i, e_i+1).

    The median is over all pixels and pairs of neighbours, so up to a half of them may be hit. NaN where there is no
    pair, or the errors are all 0.

    Parameters
    ----------
    values : sequence of ndarray, all of one shape
        NaN is left out.
    errors : sequence of ndarray, optional
        Without it, all are 1.

    Examples
    --------
    >>> x = np.random.default_rng(1).normal(0, 2.0, (3, 100, 100))
    >>> round(excess_scatter(x, np.ones_like(x)), 1)
    1.9
    """
    found = []
    for i in range(len(values) - 1):
        step = np.abs(np.asarray(values[i], np.float64) - values[i + 1])
        expected = np.sqrt(2.0) if errors is None else np.hypot(np.asarray(errors[i], np.float64), errors[i + 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = step / expected
        found.append(ratio[np.isfinite(ratio)])
    ratios = np.concatenate(found) if found else np.empty(0)
    return MAD * float(np.median(ratios)) if ratios.size else float("nan")


def _planes(array: np.ndarray | None, kind: type, n: int, size: int) -> np.ndarray:
    """The array as (n, size), or none of it."""
    return argument(np.empty((0, size)), kind) if array is None else argument(array, kind).reshape(n, size)
