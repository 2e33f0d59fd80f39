"""By which factor a reference background fits an image, with outliers rejected."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from corontools.arrays.clip import MAD

__all__ = ["Factor", "Traces", "fit_factor", "unmasked_traces"]

# pixels of a segment whose mean shows a faint trace
LENGTH = 64
# a sample of about so many values tells where percentiles lie
SAMPLE = 1 << 14
# segments beyond so many sigma are counted on both sides; so many sigma more above than below are no chance
FAR, CHANCE = 3.0, 5.0


class Factor(NamedTuple):
    """A fitted factor.

    Attributes
    ----------
    value, err : float
        NaN where no pixel can be used.
    rms : tuple of float
        Of the residual before each rejection, and of the last one.
    used : ndarray of bool
        Pixels that weren't rejected.
    """

    value: float
    err: float
    rms: tuple[float, ...]
    used: np.ndarray


class Traces(NamedTuple):
    """Faint light that no mask covers: share of the segments that hold it, and how much it adds to the factor."""

    share: float
    bias: float


def fit_factor(
    image: np.ndarray,
    reference: np.ndarray,
    variance: np.ndarray,
    good: np.ndarray,
    *,
    outlier_percent: float = 1.0,
    rms_stop: float = 0.0,
    maxiter: int = 5,
    axis: int | None = None,
) -> Factor:
    """Factor sum(s b / v) / sum(b^2 / v) of the reference b in the image s; pixels with v = 0 or a NaN are left out.

    After each fit the `outlier_percent` lowest and highest residuals are rejected, `maxiter` times. The error is
    1 / sqrt(sum(b^2 / v)).

    Parameters
    ----------
    image, reference, variance : ndarray, shape (y, x)
    good : ndarray of bool, shape (y, x)
    outlier_percent : float
    rms_stop : float
        Stop when the rms of the median profile improves by less than so many percent; 0: never.
    maxiter : int
    axis : int, optional
        Axis of numpy along which light is dispersed; needed for `rms_stop`.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> reference = np.linspace(1, 2, 4096).reshape(64, 64)
    >>> image = 0.5 * reference + rng.normal(0, 0.1, reference.shape)
    >>> found = fit_factor(image, reference, np.full_like(image, 0.01), np.ones(image.shape, bool))
    >>> abs(found.value - 0.5) < 4 * found.err < 0.01
    True
    """
    from corontools.arrays import _factor_kernels as kernels

    usable = _usable(image, reference, variance, good)
    s, b, weight, residual, below, above = np.empty((6, image.size))
    index = np.empty(image.size, np.int64)
    given, model, spread = (_flat(array) for array in (image, reference, variance))
    n = kernels.gather(given, model, spread, usable.ravel(), s, b, weight, index)
    rms: list[float] = []
    last = math.inf
    for left in range(maxiter, -1, -1):
        value = _ratio(s[:n], b[:n], weight[:n])
        if not math.isfinite(value):
            break
        edges = _edges(s[:n], b[:n], value, outlier_percent)
        square, *tails = kernels.residuals(s[:n], b[:n], value, *edges, residual, below, above)
        rms.append(math.sqrt(square / n))
        if not left:
            break
        if rms_stop > 0 and axis is not None:
            now = _profile_rms(residual[:n], index[:n], image.shape, axis)
            if math.isfinite(last) and (last - now) / last < rms_stop / 100:
                break
            last = now
        low = _low(residual[:n], below[: tails[0]], outlier_percent, 1)
        high = -_low(residual[:n], above[: tails[1]], outlier_percent, -1)
        n = kernels.keep(residual[:n], low, high, s, b, weight, index)
    used = np.zeros(image.size, bool)
    used[index[:n]] = True
    under = float(weight[:n] @ b[:n])
    return Factor(value, 1 / math.sqrt(under) if under > 0 else math.nan, tuple(rms), used.reshape(image.shape))


def _usable(image: np.ndarray, reference: np.ndarray, variance: np.ndarray, good: np.ndarray) -> np.ndarray:
    return good & np.isfinite(image) & np.isfinite(reference) & np.isfinite(variance) & (variance > 0)


def _ratio(s: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    under = float(weight @ b)
    return float(weight @ s) / under if under > 0 else math.nan


def _edges(s: np.ndarray, b: np.ndarray, value: float, percent: float) -> tuple[float, float]:
    """Limits beyond which a sample of the residuals has more than `percent` at each end."""
    step = max(1, s.size // SAMPLE)
    rest = s[::step] - value * b[::step]
    low, high = np.percentile(rest, (min(2 * percent + 1, 100), max(99 - 2 * percent, 0)))
    return float(low), float(high)


def _low(values: np.ndarray, tail: np.ndarray, percent: float, sign: int) -> float:
    """Percentile as numpy's, of values times a sign; their tail has to be sorted alone if it is long enough."""
    place = (values.size - 1) * percent / 100
    k = int(place)
    if tail.size > k + 1:
        tail.partition((k, k + 1))
        return float(tail[k] + (place - k) * (tail[k + 1] - tail[k]))
    return float(np.percentile(sign * values, percent))


def _flat(array: np.ndarray) -> np.ndarray:
    """Values in the byte order of the machine."""
    return np.ascontiguousarray(array, np.float64 if array.dtype.itemsize == 8 else np.float32).ravel()


def unmasked_traces(
    image: np.ndarray, reference: np.ndarray, variance: np.ndarray, good: np.ndarray, *, value: float, axis: int = 1
) -> Traces | None:
    """Whether light that isn't background is left in the pixels that the factor `value` was fitted to; None if not.

    The factor is fitted to each segment of 64 px along the dispersion by itself. Without other light these are
    normally distributed about one value; a faint trace lies above. The value without traces is what the lower half
    of the segments tells. There are traces if segments beyond 3 sigma above are more than those below by more than 5
    times the square root of their number.

    `good` should be the pixels of the first mask, before outliers were rejected.
    """
    from corontools.arrays import _factor_kernels

    usable = _usable(image, reference, variance, good)
    s, b, v = (_flat(array).reshape(image.shape) for array in (image, reference, variance))
    length = min(LENGTH, image.shape[axis])
    number, over, under = _factor_kernels.segment_sums(s, b, v, usable, axis, length)
    full = (number >= length / 2) & (under > 0)
    each, weight = over[full] / under[full], np.sqrt(under[full])
    if each.size < LENGTH:
        return None
    center, sigma = _lower_half(each, weight)
    height = (each - center) * weight / sigma
    above, below = int((height > FAR).sum()), int((height < -FAR).sum())
    if above - below <= CHANCE * math.sqrt(above + below + 1):
        return None
    return Traces(above / each.size, value - center)


def _lower_half(each: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Centre of the values that scatter as the lower ones do, and that scatter in units of 1 / weight."""
    center = float(np.median(each))
    sigma = 1.0
    for _ in range(50):
        lower = each < center
        sigma = MAD * float(np.median((center - each[lower]) * weight[lower])) if lower.any() else sigma
        near = np.abs(each - center) * weight <= 1.5 * sigma
        if not near.any() or not sigma > 0:
            break
        before, center = center, float(np.average(each[near], weights=np.square(weight[near])))
        if abs(center - before) <= 1e-4 * sigma / float(weight.max()):
            break
    return center, sigma or 1.0


def _rms(values: np.ndarray) -> float:
    return math.sqrt(float(values @ values) / values.size) if values.size else math.nan


def _profile_rms(residual: np.ndarray, where: np.ndarray, shape: tuple[int, ...], axis: int) -> float:
    """Rms of the median of the residual at each place along the dispersion."""
    whole = np.full(shape, np.nan)
    whole.ravel()[where] = residual
    whole = whole if axis == 1 else whole.T
    profile = np.nanmedian(whole[:, np.isfinite(whole).any(axis=0)], axis=0)
    return _rms(profile)
