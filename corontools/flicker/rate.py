"""The draft rate of ramps, from which a scene mask is made."""

from __future__ import annotations

import numpy as np

from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import Exposure

__all__ = ["difference_weights", "draft_rate"]

# what makes the difference to the group before useless, and what spoils a group for both differences
JUMPED = np.uint8(DQ.DO_NOT_USE | DQ.SATURATED | DQ.JUMP_DET)
SPOILT = np.uint8(DQ.DO_NOT_USE | DQ.SATURATED)


def draft_rate(ramp: Exposure, *, photons: float = 0.0, per_integration: bool = False) -> np.ndarray:
    """Slope of each pixel, a weighted mean of the differences between groups.

    Differences with a jump, and groups that are saturated or not to be used, are left out. One frame of the
    ramp is read at a time.

    Parameters
    ----------
    ramp : Exposure, data of shape (n_int, n_group, y, x)
    photons : float
        Photon noise of a typical pixel in one difference over read noise of one group, as variances; see
        `difference_weights`.
    per_integration : bool

    Returns
    -------
    ndarray of float32, shape (y, x) or (n_int, y, x)
        In the ramp's unit per second where the header has the time of a group (TGROUP), else per group; NaN where no
        difference can be used. With one group: that group.
    """
    n_int, n_group = ramp.shape[:2]
    weights = difference_weights(n_group, photons)
    scale = 1.0 / group_time(ramp)
    sets = [[i] for i in range(n_int)] if per_integration else [list(range(n_int))]
    rates = np.empty((len(sets), *ramp.shape[-2:]), np.float32)
    for rate, integrations in zip(rates, sets, strict=True):
        _mean_difference(ramp, integrations, weights, rate)
        rate *= scale
        if ramp.pixel_dq is not None:
            rate[(ramp.pixel_dq & np.uint32(DQ.DO_NOT_USE)) > 0] = np.nan
    return rates if per_integration else rates[0]


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


def _mean_difference(ramp: Exposure, integrations: list[int], weights: np.ndarray, out: np.ndarray) -> None:
    """Weighted mean of the usable differences, into `out`."""
    weight = np.zeros(out.shape, np.float32)
    out[...] = 0
    for i in integrations:
        if ramp.shape[1] == 1:
            step, use = np.array(ramp.data[i, 0], np.float32), _unspoilt(ramp, i, 0, JUMPED)
            use &= np.isfinite(step)
            np.add(out, step, out=out, where=use)
            weight += use
        for j in range(1, ramp.shape[1]):
            step = np.subtract(ramp.data[i, j], ramp.data[i, j - 1], dtype=np.float32)
            use = np.isfinite(step)
            use &= _unspoilt(ramp, i, j, JUMPED)
            use &= _unspoilt(ramp, i, j - 1, SPOILT)
            share = np.float32(weights[j - 1])
            step *= share
            np.add(out, step, out=out, where=use)
            np.add(weight, share, out=weight, where=use)
    with np.errstate(divide="ignore", invalid="ignore"):
        out /= weight


def _unspoilt(ramp: Exposure, i: int, j: int, bits: np.uint8) -> np.ndarray:
    if ramp.dq is None:
        return np.ones(ramp.shape[-2:], bool)
    return (ramp.dq[i, j] & bits) == 0
