"""The draft rate of ramps, from which a scene mask is made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.flicker.flags import BAD, SPOILT, UNUSABLE, flagged

__all__ = ["difference_weights", "draft_rate"]

# rows of a difference that are worked on together
ROWS = 256


def draft_rate(ramp: Exposure, *, photons: float = 0.0, integration: int | None = None) -> np.ndarray:
    """Slope of each pixel, a weighted mean of the differences between groups.

    Differences with a jump, and groups that are saturated or not to be used, are left out. One frame of the
    ramp is read at a time.

    Parameters
    ----------
    ramp : Exposure, data of shape (n_int, n_group, y, x)
    photons : float
        Photon noise of a typical pixel in one difference over read noise of one group, as variances; see
        `difference_weights`.
    integration : int, optional
        Of this one alone; by default of all together.

    Returns
    -------
    ndarray of float32, shape (y, x)
        In the ramp's unit per second where the header has the time of a group (TGROUP), else per group; NaN where no
        difference can be used. With one group: that group.
    """
    weights = difference_weights(ramp.shape[1], photons)
    integrations = range(ramp.shape[0]) if integration is None else [integration]
    rate = np.empty(ramp.shape[-2:], np.float32)
    _mean_difference(ramp, integrations, weights, rate)
    rate /= group_time(ramp)
    if ramp.pixel_dq is not None:
        rate[flagged(ramp.pixel_dq, BAD)] = np.nan
    return rate


def group_time(ramp: Exposure) -> float:
    """Seconds from group to group, 1 where it isn't known."""
    time = ramp.meta.card("TGROUP")
    return float(time) if isinstance(time, int | float) and time > 0 else 1.0


def difference_weights(n_group: int, photons: float = 0.0) -> np.ndarray:
    """Weights of the n_group - 1 differences of a ramp that give the least noisy slope.

    The covariance of differences is p + 2 r^2 on the diagonal (photon noise of one difference, read noise of two
    groups), and -r^2 beside it. Weights w with C w = 1 are 1 - cosh(a (k - n/2)) / cosh(a n/2), k = 1 ... n - 1,
    cosh a = 1 + p / (2 r^2): from the parabola k (n - k) of a least-squares line (no photons) to equal weights.

    Parameters
    ----------
    n_group : int
    photons : float
        p / r^2.

    Examples
    --------
    >>> difference_weights(4).round(3).tolist(), difference_weights(4, photons=1e6).round(3).tolist()
    ([0.3, 0.4, 0.3], [0.333, 0.333, 0.333])
    """
    k = np.arange(1.0, n_group)
    if photons > 1e-6:
        a = np.arccosh(1 + photons / 2)
        weights = 1 - (np.exp(-a * k) + np.exp(-a * (n_group - k))) / (1 + np.exp(-a * n_group))
    else:
        weights = k * (n_group - k)
    return weights / max(weights.sum(), 1e-300)


def photon_share(ramp: Exposure, gain: float | None, read_noise: float | None) -> float:
    """Photon over read-noise variance of the median pixel's difference; 0 where neither is given.

    Raises
    ------
    DataError
        If one of them is given alone, or isn't positive.
    """
    if gain is None and read_noise is None:
        return 0.0
    if gain is None or read_noise is None:
        missing = "gain (electrons per unit)" if gain is None else "read_noise (1 sigma of one group)"
        raise DataError(f"gain and read_noise go together; {missing} is missing")
    if not (gain > 0 and read_noise > 0):
        raise DataError(f"gain and read_noise should be positive, found {gain} and {read_noise}")
    if ramp.shape[1] < 2:
        return 0.0
    step = np.asarray(ramp.data[0, -1], np.float32) - ramp.data[0, 0]
    known = step[np.isfinite(step)]
    per_group = float(np.median(known)) / (ramp.shape[1] - 1) if known.size else 0.0
    return max(per_group, 0.0) / gain / read_noise**2


def _mean_difference(ramp: Exposure, integrations: Sequence[int], weights: np.ndarray, out: np.ndarray) -> None:
    """Weighted mean of the usable differences, into `out`; of one group, that group."""
    weight = np.zeros_like(out)
    out[...] = 0
    n_group = ramp.shape[1]
    for i in integrations:
        for j in range(min(1, n_group - 1), n_group):
            share = np.float32(weights[j - 1] if j else 1.0)
            for start in range(0, len(out), ROWS):
                rows = slice(start, start + ROWS)
                step, use = _difference(ramp, i, j, rows)
                step *= share
                np.add(out[rows], step, out=out[rows], where=use)
                np.add(weight[rows], share, out=weight[rows], where=use)
    with np.errstate(divide="ignore", invalid="ignore"):
        out /= weight


def _difference(ramp: Exposure, i: int, j: int, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Difference of a group to the one before, in some rows, and where it can be used; the first group is itself."""
    if j == 0:
        step = np.array(ramp.data[i, 0, rows], np.float32)
    else:
        with np.errstate(invalid="ignore"):  # infinite values leave NaN
            step = np.subtract(ramp.data[i, j, rows], ramp.data[i, j - 1, rows], dtype=np.float32)
    use = np.isfinite(step)
    if ramp.dq is not None:
        use &= ~flagged(ramp.dq[i, j, rows], UNUSABLE)
        if j:
            use &= ~flagged(ramp.dq[i, j - 1, rows], SPOILT)
    return step, use
