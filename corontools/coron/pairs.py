"""A reference beside a science image: their difference, and what the alignment made of it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from corontools.arrays.pairs import pair_sums, scaled_rms
from corontools.arrays.register import Registration
from corontools.dq import DQ
from corontools.exposure import Exposure
from corontools.progress import progress

if TYPE_CHECKING:
    from corontools.coron.aligned import AlignedRefs

__all__ = ["PairRms", "difference", "mean_fit", "pair_rms"]


class PairRms(NamedTuple):
    """Weighted rms of science less scaled reference, (n_int, n_ref), in the unit of the images.

    Attributes
    ----------
    before : ndarray
        References where they were, each with the scale that fits best.
    after : ndarray
        Aligned references.
    """

    before: np.ndarray
    after: np.ndarray


def difference(aligned: AlignedRefs, i: int, ref: int) -> Exposure:
    """Science integration i less one reference; see `AlignedRefs.difference`."""
    science, reference = aligned.target.select(i), aligned.select([ref])[i]
    good = (science.good & reference.good)[0]
    s, r = np.asarray(science.data[0], np.float64), np.asarray(reference.data[0], np.float64)
    scale = aligned.scales[i, ref]
    if not np.isfinite(scale):
        power = np.sum(np.square(r), where=good)
        scale = np.sum(s * r, where=good) / power if power > 0 else np.nan
    variances = science.variance, reference.variance
    known = variances[0] is not None and variances[1] is not None
    err = np.sqrt(variances[0][0] + scale**2 * variances[1][0]) if known else None  # type: ignore[index]
    dq = (science.flags() | reference.flags())[0] | np.where(good, np.uint32(0), np.uint32(DQ.DO_NOT_USE))
    return science.with_(
        data=np.where(good, s - scale * r, np.nan),
        err=None if err is None else np.where(good, err, np.nan),
        dq=dq,
        variances={},
        extensions=(),
        meta=science.meta.with_(history=aligned.history),
    )


def pair_rms(aligned: AlignedRefs) -> PairRms:
    """Rms of all pairs; see `AlignedRefs.rms`."""
    before = _set_rms(aligned.unaligned(), tuple(range(aligned.n_int)), None)
    if aligned.to == "none":
        return PairRms(before, before)
    if aligned.to == "each":  # what the fit was left with
        return PairRms(before, np.array(aligned.fit.rms))
    after = [_set_rms(aligned, rows, aligned.scales[list(rows)]) for rows in progress(aligned.sets, "rms", "set")]
    return PairRms(before, np.concatenate(after))


def _set_rms(aligned: AlignedRefs, integrations: tuple[int, ...], scale: np.ndarray | None) -> np.ndarray:
    """Rms (n, n_ref) of integrations that share a set, over pixels good in both, by the weight of the fit."""
    shape, rows = (aligned.n_ref, -1), list(integrations)
    sums = pair_sums(
        aligned.target.data[rows].reshape(len(rows), -1),
        aligned.frames(rows[0]).reshape(shape),
        good_a=aligned.target.good[rows].reshape(len(rows), -1),
        good_b=aligned.measured(rows[0]).reshape(shape),
        # the weight multiplies the residuals
        weight=None if aligned.mask is None else np.square(aligned.mask).ravel(),
    )
    return scaled_rms(sums, scale)


def mean_fit(fit: Registration) -> Registration:
    """Mean over the integrations, (n_ref, ...), of the fits without a flag; of all where a reference has no such."""
    use = fit.quality == 0
    use |= ~use.any(axis=0)

    def mean(values: np.ndarray) -> np.ndarray:
        kept = np.where(use.reshape(use.shape + (1,) * (values.ndim - 2)), values, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a reference that was never fitted stays NaN
            return np.nanmean(kept, axis=0)

    means = fit.mapped(mean)
    return means._replace(
        dof=np.rint(means.dof).astype(int),
        quality=np.bitwise_or.reduce(np.where(use, fit.quality, 0), axis=0),
        n_iter=fit.n_iter.max(axis=0),
    )
