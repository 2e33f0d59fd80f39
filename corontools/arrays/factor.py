"""By which factor a reference background fits an image, with outliers rejected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from corontools.arrays._arguments import argument
from corontools.arrays.clip import MAD

__all__ = ["Factor", "Traces", "fit_factor", "unmasked_traces"]

# pixels of a segment whose mean shows a faint trace
LENGTH = 64
# a sample of about so many values tells where percentiles lie
SAMPLE = 1 << 14
# segments beyond so many sigma are counted on both sides; so many sigma more above than below are no chance
FAR, CHANCE = 3.0, 5.0
# part of a normal distribution beyond FAR on one side
NORMAL = 0.00135
# sums that a rejection makes so many times smaller are taken anew: a difference would leave the rounding of the large
CANCELLED = 1e4


class Factor(NamedTuple):
    """A fitted factor.

    Attributes
    ----------
    value, err : float
        NaN where no pixel can be used, or none is left (of two both are rejected).
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

    After each fit the `outlier_percent` lowest and highest residuals are rejected, `maxiter` times: those below that
    percentile, and as many percent above, interpolated linearly; what is equal to it is kept. The error is
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
    fit = _Fit.begin(image, reference, variance, good)
    rms: list[float] = []
    last = math.inf
    for left in range(maxiter, -1, -1):
        if not math.isfinite(fit.value):
            break
        tails = fit.residuals(outlier_percent)
        rms.append(math.sqrt(tails.square / fit.n))
        if not left:
            break
        if rms_stop > 0 and axis is not None:
            now = _profile_rms(fit.rest(fit.used), image.shape, axis)
            if math.isfinite(last) and (last - now) / last < rms_stop / 100:
                break
            last = now
        fit.reject(tails, outlier_percent)
    err = 1 / math.sqrt(fit.under) if math.isfinite(fit.value) else math.nan
    return Factor(fit.value, err, tuple(rms), fit.used.reshape(image.shape))


class _Tails(NamedTuple):
    """Sum of the squares of all residuals; the lowest of them, and the highest times -1, with their places."""

    square: float
    below: np.ndarray
    above: np.ndarray
    places: tuple[np.ndarray, np.ndarray]


@dataclass
class _Fit:
    """Pixels that are left, and their sums."""

    image: np.ndarray
    reference: np.ndarray
    variance: np.ndarray
    used: np.ndarray
    n: int
    over: float
    under: float

    @classmethod
    def begin(cls, image: np.ndarray, reference: np.ndarray, variance: np.ndarray, good: np.ndarray) -> _Fit:
        from corontools.arrays import _factor_kernels as kernels

        s, b, v = (_native(array).ravel() for array in (image, reference, variance))
        used = np.empty(s.size, bool)
        return cls(s, b, v, used, *kernels.begin(s, b, v, argument(good, bool).ravel(), used))

    @property
    def value(self) -> float:
        return self.over / self.under if self.n and self.under > 0 else math.nan

    def residuals(self, percent: float) -> _Tails:
        """With more than `percent` of them in either tail, as a sample tells."""
        from corontools.arrays import _factor_kernels as kernels

        step = max(1, self.used.size // SAMPLE) | 1  # odd, so that it meets all columns
        known = self.used[::step]
        rest = self.image[::step][known] - self.value * self.reference[::step][known]
        edges = _edges(rest, percent) if rest.size else (math.inf, -math.inf)
        (below, above), places = np.empty((2, self.used.size)), np.empty((2, self.used.size), np.int64)
        square, m, n = kernels.residuals(
            self.image, self.reference, self.used, self.value, *edges, below, above, *places
        )
        return _Tails(square, below[:m], above[:n], (places[0, :m], places[1, :n]))

    def rest(self, where: np.ndarray) -> np.ndarray:
        """Residual of each pixel, NaN where it isn't wanted."""
        out = np.full(where.shape, np.nan)
        out[where] = self.image[where] - self.value * self.reference[where].astype(np.float64)
        return out

    def reject(self, tails: _Tails, percent: float) -> None:
        """Leave out the lowest and highest percent of the residuals."""
        from corontools.arrays import _factor_kernels as kernels

        k, _ = _place(self.n, percent)
        below, above, places = tails.below, tails.above, tails.places
        if min(below.size, above.size) <= k + 1:  # the sample misled
            places = (np.flatnonzero(self.used), places[1][:0])
            below = self.rest(self.used)[places[0]]
            above = -below
        low, high = (_percentile(tail, self.n, percent) for tail in (below, above))
        value, before = self.value, (abs(self.over), self.under)
        for part in places:
            n, over, under = kernels.reject(
                self.image, self.reference, self.variance, self.used, part, value, low, -high
            )
            self.n, self.over, self.under = self.n - n, self.over - over, self.under - under
        if before[0] > CANCELLED * abs(self.over) or before[1] > CANCELLED * self.under:
            sums = self.image, self.reference, self.variance, argument(self.used, bool), self.used
            self.n, self.over, self.under = kernels.begin(*sums)


def _edges(rest: np.ndarray, percent: float) -> tuple[float, float]:
    """Limits beyond which a sample of the residuals has more than `percent` at each end."""
    low, high = np.percentile(rest, (min(1.5 * percent + 0.3, 100), max(99.7 - 1.5 * percent, 0)))
    return float(low), float(high)


def _place(n: int, percent: float) -> tuple[int, float]:
    """Where the percentile lies among n sorted values: the one before it, and which part of the way to the next."""
    # where it is one of the values this is kept at both ends, which the rounding of the product mustn't decide
    place = round((n - 1) * percent / 100, 9)
    return int(place), place - int(place)


def _percentile(tail: np.ndarray, n: int, percent: float) -> float:
    """Percentile, as numpy's, of n values of which the lowest are in `tail`: these alone have to be sorted."""
    k, part = _place(n, percent)
    after = min(k + 1, n - 1)
    tail.partition((k, after))
    return float(tail[k] + part * (tail[after] - tail[k]))


def _native(array: np.ndarray) -> np.ndarray:
    """Values in the byte order of the machine."""
    return argument(array, np.float64 if array.dtype.itemsize == 8 else np.float32)


def unmasked_traces(
    image: np.ndarray, reference: np.ndarray, variance: np.ndarray, good: np.ndarray, *, value: float, axis: int = 1
) -> Traces | None:
    """Whether light that isn't background is left in the pixels that the factor `value` was fitted to; None if not.

    The factor is fitted to each segment of 64 px along the dispersion by itself. Without other light these are
    normally distributed about one value; a faint trace lies above. The value without traces is what the lower half
    of the segments tells. There are traces if segments beyond 3 sigma above are more than chance lets be, those below
    (or 0.135 % of all, if that is more), by more than 5 times the scatter of such a difference, (2 n + 1)^1/2.

    `good` should be the pixels of the first mask, before outliers were rejected.
    """
    from corontools.arrays import _factor_kernels

    turned = (array if axis == 1 else array.T for array in (image, reference, variance))
    s, b, v = (_native(array) for array in turned)
    length = min(LENGTH, s.shape[1])
    counted = argument(good if axis == 1 else good.T, bool)
    number, over, under = _factor_kernels.segment_sums(s, b, v, counted, length)
    full = (number >= length / 2) & (under > 0)
    each, weight = over[full] / under[full], np.sqrt(under[full])
    if each.size < LENGTH:
        return None
    center, sigma = _lower_half(each, weight)
    height = (each - center) * weight / sigma
    above, below = int((height > FAR).sum()), int((height < -FAR).sum())
    # sources add to those above alone, so chance is told by those below, or by a normal distribution
    chance = max(below, NORMAL * each.size)
    if above - chance <= CHANCE * math.sqrt(2 * chance + 1):
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


def _profile_rms(residual: np.ndarray, shape: tuple[int, ...], axis: int) -> float:
    """Rms of the median of the residual at each place along the dispersion; NaN are left out."""
    whole = residual.reshape(shape) if axis == 1 else residual.reshape(shape).T
    profile = np.nanmedian(whole[:, np.isfinite(whole).any(axis=0)], axis=0)
    return _rms(profile)
