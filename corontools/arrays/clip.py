"""Statistics of the pixels that stay after sigma clipping, and the pixels that show background alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

__all__ = ["ClippedStats", "background_pixels", "clipped_stats"]

# fewer values are sorted: the bins would hold too few for 1e-4 sigma, and sorting is as quick
FEW = 1 << 18
# values that place the bins
SAMPLE = 1 << 14
# bins: +-6 sigma in steps of 1/512, beyond it 32 for each factor of two
CORE, PER_SIGMA, OCTAVES, STEPS = 6, 512, 160, 32
# values of a block, whose sums are made once
BLOCK = 4096
HISTOGRAM_BINS, HISTOGRAM_SIGMA = 2000, 4.0
MAD = 1.482602218505602


class ClippedStats(NamedTuple):
    """Mean, median and standard deviation of the values that were not clipped; NaN where there are none."""

    mean: float
    median: float
    std: float


class _Part(NamedTuple):
    """Number and statistics of the values within limits."""

    number: float
    mean: float
    median: float
    std: float


NOTHING = _Part(0.0, math.nan, math.nan, math.nan)


class _Values(Protocol):
    """Values that can be asked for statistics within limits, both included, and for the number below edges."""

    def within(self, low: float, high: float) -> _Part: ...

    def below(self, edges: np.ndarray) -> np.ndarray: ...


def clipped_stats(
    values: np.ndarray,
    good: np.ndarray | None = None,
    *,
    sigma: float = 3.0,
    maxiters: int = 5,
    exact: bool = False,
) -> ClippedStats:
    """Mean, median and standard deviation after sigma clipping about the median.

    Values further than `sigma` standard deviations from the median are left out, again and again until none is, or
    `maxiters` times: the same as `astropy.stats.sigma_clipped_stats`.

    Parameters
    ----------
    values : ndarray
        What is not finite is no data.
    good : ndarray of bool, same shape, optional
        Values that count.
    sigma : float
    maxiters : int
    exact : bool
        Sort the values, in float64. Without it more than 262 144 values are counted in narrow bins, with the sum and
        the sum of squares of each; the bins that a limit cuts are taken as evenly filled. Median and standard
        deviation are then within 1e-4 of the standard deviation, in a tenth of the time.

    Returns
    -------
    ClippedStats
        NaN where there is no good value.

    Examples
    --------
    >>> counts = np.random.default_rng(1).normal(10.0, 2.0, (100, 100)); counts[:5] += 500
    >>> [round(number, 1) for number in clipped_stats(counts)]
    [10.0, 10.0, 2.0]
    """
    part = _clip(_known(values, good, exact), sigma, maxiters)
    return ClippedStats(float(part.mean), float(part.median), float(part.std))


def background_pixels(
    image: np.ndarray,
    good: np.ndarray,
    *,
    lower: float = 3.0,
    upper: float = 2.0,
    lower_half: bool = False,
    histogram: bool = False,
    exact: bool = False,
) -> tuple[np.ndarray, float, float]:
    """Pixels that show background: neither bad (too low) nor signal (too high).

    Centre and sigma are the median and the standard deviation after clipping at 3 sigma (five times at most).

    Parameters
    ----------
    image : ndarray, shape (y, x)
        NaN is no data.
    good : ndarray of bool, shape (y, x)
        Pixels that count.
    lower, upper : float
        Limits below and above the centre, in sigma.
    lower_half : bool
        Take sigma from the values up to the centre and their mirror images: faint emission, which is only above,
        doesn't widen it.
    histogram : bool
        Start from the mean instead of the median, and take centre and sigma of a Gaussian fitted to the histogram (2000
        bins over +-4 sigma). Where the fit doesn't converge, those of the clipping stay.
    exact : bool
        See `clipped_stats`.

    Returns
    -------
    good : ndarray of bool, shape (y, x)
        New array: good pixels within the limits.
    center, sigma : float
        NaN, and no pixel good, where none was.

    Notes
    -----
    These are the rules by which the JWST pipeline makes a scene mask (`clean_flicker_noise`), except that a pixel
    without data is never background.

    Examples
    --------
    >>> image = np.random.default_rng(2).normal(5.0, 1.0, (64, 64)); image[20:30, 20:30] += 50
    >>> good, center, sigma = background_pixels(image, np.isfinite(image))
    >>> bool(good[20:30, 20:30].any()), round(center), round(sigma)
    (False, 5, 1)
    """
    known = _known(image, good, exact)
    part = _clip(known, 3.0, 5)
    center = part.mean if histogram else part.median
    if lower_half:
        known = _Mirrored(known, center)
        part = _clip(known, 3.0, 5)
    sigma = part.std
    if histogram and sigma > 0:
        center, sigma = _gaussian(known, center, sigma)
    return _between(image, good, center - lower * sigma, center + upper * sigma), float(center), float(sigma)


def _clip(known: _Values, sigma: float, maxiters: int) -> _Part:
    """Narrow the limits; the last ones alone decide, so that a value clipped earlier may come back, as in astropy."""
    low, high, limits = -math.inf, math.inf, (-math.inf, math.inf)
    part = known.within(low, high)
    for _ in range(maxiters):
        before = part.number
        limits = part.median - sigma * part.std, part.median + sigma * part.std
        low, high = max(low, limits[0]), min(high, limits[1])
        part = known.within(low, high)
        if part.number == before:
            break
    return part if limits == (low, high) else known.within(*limits)


def _known(values: np.ndarray, good: np.ndarray | None, exact: bool) -> _Values:
    """The good values, sorted or counted."""
    values = _native(values).ravel()
    good = np.isfinite(values) if good is None else np.asarray(good, bool).ravel()
    if exact or values.size <= FEW:
        return _Sorted.of(values, good)
    sample = _sample(values, good)
    if sample.size < SAMPLE // 4:  # few are good
        return _Sorted.of(values, good)
    pivot = float(np.median(sample))
    scale = MAD * float(np.median(np.abs(sample - pivot))) or float(np.std(sample)) or 1.0
    return _Counted.of(values, good, pivot, scale)


def _native(values: np.ndarray) -> np.ndarray:
    """Contiguous float32 or float64 in the machine's byte order."""
    values = np.asarray(values)
    kind = values.dtype.newbyteorder("=")
    return np.ascontiguousarray(values, kind if kind in (np.float32, np.float64) else np.float64)


def _sample(values: np.ndarray, good: np.ndarray) -> np.ndarray:
    """About SAMPLE good values from all over the image."""
    step = max(1, values.size // SAMPLE) | 1  # odd, so that it doesn't stay in the same columns
    some = values[::step][good[::step]]
    return some[np.isfinite(some)].astype(np.float64)


def _between(image: np.ndarray, good: np.ndarray, low: float, high: float) -> np.ndarray:
    """Good pixels within the limits, in float64."""
    from corontools.arrays._clip_kernels import between

    image = _native(image)
    out = np.empty(image.shape, bool)
    between(image.ravel(), np.ascontiguousarray(good, bool).ravel(), float(low), float(high), out.reshape(-1))
    return out


@dataclass(frozen=True)
class _Sorted:
    """All values in order; the sums of blocks of them are made once, for limits move by little."""

    values: np.ndarray
    pivot: float
    sums: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, values: np.ndarray, good: np.ndarray) -> _Sorted:
        ordered = np.sort(values[good & np.isfinite(values)]).astype(np.float64)
        pivot = float(ordered[ordered.size // 2]) if ordered.size else math.nan
        whole = ordered[: ordered.size // BLOCK * BLOCK].reshape(-1, BLOCK) - pivot
        return cls(ordered, pivot, np.stack([whole.sum(axis=1), np.square(whole).sum(axis=1)]))

    def within(self, low: float, high: float) -> _Part:
        start = int(np.searchsorted(self.values, low, "left"))
        stop = int(np.searchsorted(self.values, high, "right"))
        count = stop - start
        if count <= 0:
            return NOTHING
        middle = self.values[start + (count - 1) // 2], self.values[start + count // 2]
        total, square = self._sums(start, stop)
        mean = total / count
        return _Part(count, self.pivot + mean, sum(middle) / 2, math.sqrt(max(square / count - mean * mean, 0.0)))

    def _sums(self, start: int, stop: int) -> tuple[float, float]:
        """Sum and sum of squares of the values less the pivot, from whole blocks and what is left at both ends."""
        first, last = -(-start // BLOCK), stop // BLOCK
        if first >= last:
            ends, blocks = self.values[start:stop], self.sums[:, :0]
        else:
            ends = np.concatenate([self.values[start : first * BLOCK], self.values[last * BLOCK : stop]])
            blocks = self.sums[:, first:last]
        ends = ends - self.pivot
        total, square = blocks.sum(axis=1)
        return float(total + ends.sum()), float(square + ends @ ends)

    def below(self, edges: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.values, edges)


@dataclass(frozen=True)
class _Counted:
    """Values counted in bins; those of a bin are taken as evenly spread about their mean, with their own spread."""

    count: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, good: np.ndarray, pivot: float, scale: float) -> _Counted:
        from corontools.arrays._clip_kernels import moments

        count, total, square = moments(values, good, pivot, scale, CORE, PER_SIGMA, OCTAVES, STEPS).T
        used = count > 0
        count, mean = count[used], total[used] / count[used]
        half = np.sqrt(3.0 * np.maximum(square[used] / count - mean * mean, 0.0))
        return cls(count, pivot + scale * (mean - half), pivot + scale * (mean + half))

    def within(self, low: float, high: float) -> _Part:
        start, stop = self._share(low), self._share(high, side=1.0)
        share = np.maximum(stop - start, 0.0)
        number = self.count * share
        count = float(number.sum())
        if count <= 0:
            return NOTHING
        width = self.high - self.low
        value, spread = self.low + width * (start + stop) / 2, width * share
        mean = float(number @ value) / count
        variance = float(number @ (np.square(value - mean) + np.square(spread) / 12)) / count
        before = np.cumsum(number)
        k = min(int(np.searchsorted(before, count / 2)), number.size - 1)
        inside = (count / 2 - before[k]) / number[k] + 0.5
        return _Part(count, mean, float(value[k] + spread[k] * inside), math.sqrt(variance))

    def _share(self, limit: float, side: float = 0.0) -> np.ndarray:
        """Part of each bin that lies below the limit; `side` of one whose values are all at the limit."""
        width = self.high - self.low
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (limit - self.low) / width
        return np.clip(np.where(np.isnan(share), side, share), 0.0, 1.0)

    def below(self, edges: np.ndarray) -> np.ndarray:
        total = np.concatenate([[0.0], np.cumsum(self.count)])
        middle = np.concatenate([self.low[:1], (self.high[:-1] + self.low[1:]) / 2, self.high[-1:]])
        return np.interp(edges, middle, total)


@dataclass(frozen=True)
class _Mirrored:
    """Values up to a centre and their mirror images beyond it."""

    lower: _Values
    center: float

    def within(self, low: float, high: float) -> _Part:
        half = self.lower.within(max(low, 2 * self.center - high), self.center)
        spread = math.hypot(half.std, half.mean - self.center)
        return _Part(2 * half.number, self.center, self.center, spread) if half.number else NOTHING

    def below(self, edges: np.ndarray) -> np.ndarray:
        center = np.array([np.nextafter(self.center, math.inf)])
        top = self.lower.below(center)
        up = self.lower.below(np.minimum(edges, center))
        return up + np.where(edges > center, top - self.lower.below(2 * self.center - edges), 0.0)


def _gaussian(known: _Values, center: float, sigma: float) -> tuple[float, float]:
    """Centre and sigma of a Gaussian fitted to the histogram; those given where the fit doesn't converge."""
    from scipy.optimize import curve_fit

    reach = HISTOGRAM_SIGMA * sigma
    edges = np.linspace(center - reach, center + reach, HISTOGRAM_BINS + 1)
    last = np.nextafter(edges[-1], math.inf)
    number = np.diff(known.below(np.append(edges[:-1], last))).astype(np.float64)
    values = (edges[1:] + edges[:-1]) / 2

    def profile(x: np.ndarray, peak: float, mean: float, width: float) -> np.ndarray:
        return peak * np.exp(-0.5 * np.square((x - mean) / width))

    start = (number.max(), values[np.argmax(number)], sigma)
    bounds = [(0.0, values[0], 0.0), (np.inf, values[-1], values[-1] - values[0])]
    try:
        (_, mean, width), _ = curve_fit(profile, values, number, p0=start, bounds=bounds)
    except RuntimeError:  # not converged
        return center, sigma
    return float(mean), float(width)
