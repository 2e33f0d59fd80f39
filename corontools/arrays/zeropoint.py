"""Zero point of magnitudes: the mode of differences, clipping, and a weighted mean."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["ZeroPoint", "ZeroPointRound", "fit_zero_point", "histogram_mode"]

# standard deviation of a Gaussian over its interquartile range, and over the full width at half maximum of a histogram
SIGMA_PER_IQR = 0.7413
FWHM_PER_SIGMA = 2.3


class ZeroPointRound(NamedTuple):
    """Centre and width of the differences in a round, mag, and how many are within the clip: centre +- limit."""

    center: float
    sigma: float
    limit: float
    n_kept: int


class ZeroPoint(NamedTuple):
    """A zero point, its error, the differences kept (n,), and each round of clipping."""

    value: float
    err: float
    kept: np.ndarray
    rounds: tuple[ZeroPointRound, ...]


def histogram_mode(values: np.ndarray, *, bins: int = 20) -> tuple[float, float]:
    """Mode of values by a histogram over their range, and their deviation by its width at half maximum.

    The mode is the middle of the highest bin, or of several side by side; the median where they aren't.

    Examples
    --------
    >>> center, sigma = histogram_mode(np.r_[np.random.default_rng(1).normal(5, 0.1, 999), 0.0, 12.0])
    >>> round(center, 1), 0.1 < sigma < 0.6
    (5.1, True)
    """
    counts, edges = np.histogram(values, bins=bins)
    middles = (edges[1:] + edges[:-1]) / 2
    top = np.flatnonzero(counts == counts.max())
    single = top[-1] - top[0] + 1 == len(top)
    center = float(middles[top].mean()) if single else float(np.median(values))
    half = counts.max() / 2
    low = _crossing(counts[: top[0] + 1][::-1], middles[: top[0] + 1][::-1], half)
    high = _crossing(counts[top[-1] :], middles[top[-1] :], half)
    return center, (high - low) / FWHM_PER_SIGMA


def _crossing(counts: np.ndarray, middles: np.ndarray, half: float) -> float:
    """Where a histogram falls to half of its first bin, between the middles of bins; the last where it doesn't."""
    below = np.flatnonzero(counts < half)
    if below.size == 0:
        return float(middles[-1])
    k = below[0]
    part = (counts[k - 1] - half) / (counts[k - 1] - counts[k])
    return float(middles[k - 1] + part * (middles[k] - middles[k - 1]))


def _middle(values: np.ndarray) -> tuple[float, float]:
    """Median, and the deviation of the interquartile range."""
    return float(np.median(values)), SIGMA_PER_IQR * float(np.subtract(*np.percentile(values, [75, 25])))


def fit_zero_point(
    difference: np.ndarray,
    err: np.ndarray,
    *,
    clip: float = 3.0,
    sigma_max: float = 0.25,
    maxiters: int = 20,
    bins: int = 20,
) -> ZeroPoint:
    """Weighted mean of differences of magnitudes near to their centre.

    The first centre is the mode of a histogram, and the deviation that of its width at half maximum. Afterwards, and
    from the first round on where there are fewer differences than bins, they are the median and 0.7413 times the
    interquartile range of those kept. Kept is what is within `clip` times the deviation, which is `sigma_max` at the
    most, until their number stays.

    Parameters
    ----------
    difference : ndarray, shape (n,)
        Reference minus instrumental magnitudes; NaN are left out.
    err : ndarray, shape (n,)
        Their errors.
    clip, sigma_max, maxiters, bins
        Deviations, mag, rounds at the most, bins of the histogram.

    Returns
    -------
    ZeroPoint
        NaN, and nothing kept, where no difference is finite with a positive error.

    Examples
    --------
    >>> found = fit_zero_point(np.array([27.0, 27.01, 26.99, 27.0, 30.0, 22.0]), np.full(6, 0.02))
    >>> round(found.value, 6), round(found.err, 6), int(found.kept.sum())
    (27.0, 0.01, 4)
    """
    good = np.isfinite(difference) & (err > 0) & np.isfinite(err)
    kept, before, rounds = good, good, []
    if not good.any():
        return ZeroPoint(np.nan, np.nan, good, ())
    for k in range(maxiters):
        # fewer values than bins have no mode to speak of
        with_mode = k == 0 and np.count_nonzero(good) >= bins
        center, sigma = histogram_mode(difference[good], bins=bins) if with_mode else _middle(difference[kept])
        limit = clip * min(sigma, sigma_max)
        # a single bin, or differences that are all one, have no width of their own
        limit = limit if limit > 0 else clip * float(np.median(err[good]))
        now = good & (np.abs(difference - center) <= limit)
        if not now.any():
            break
        rounds.append(ZeroPointRound(center, sigma, limit, int(now.sum())))
        # a star at the limit may go and come back for ever
        same = (k > 0 and now.sum() == kept.sum()) or (k > 1 and np.array_equal(now, before))
        before, kept = kept, now
        if same:
            break
    weight = err[kept] ** -2.0
    return ZeroPoint(
        float(np.average(difference[kept], weights=weight)), float(weight.sum() ** -0.5), kept, tuple(rounds)
    )
