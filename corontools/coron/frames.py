"""Statistics of the single images of a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from corontools.arrays.pairs import correlation
from corontools.dq import DQ
from corontools.exposure import Exposure

if TYPE_CHECKING:
    from astropy.table import QTable

    from corontools.coron.stack import PSFStack

__all__ = ["frame_statistics"]

# standard deviation of a Gaussian over its median absolute deviation
SIGMA_PER_MAD = 1.482602218505602


def frame_statistics(stack: PSFStack, like: Exposure | None) -> QTable:
    """Table with one row for each image; see `PSFStack.statistics`."""
    from astropy import units as u
    from astropy.table import QTable

    exposure = stack.exposure
    unit = u.Unit(exposure.meta.unit or "", parse_strict="silent")
    if isinstance(unit, u.UnrecognizedUnit):  # "ADU", "counts/s": the words are kept in the metadata
        unit = u.dimensionless_unscaled
    numbers = np.array([_numbers(image, good) for image, good in zip(exposure.data, exposure.good, strict=True)])
    columns = {
        "index": np.arange(stack.n_ref),
        "member": list(stack.members),
        "target": list(stack.targets),
        "median": numbers[:, 0] * unit,
        "sigma": numbers[:, 1] * unit,
        "peak": numbers[:, 2] * unit,
        "good": exposure.good.mean(axis=(1, 2)),
        "outliers": np.count_nonzero(exposure.flags() & np.uint32(DQ.OUTLIER), axis=(1, 2)),
        "correlation": _likeness(stack) if like is None else _mean(stack.correlation(like)),
    }
    return QTable(columns, meta={"unit": exposure.meta.unit, "chain": list(stack.history)})


def _numbers(image: np.ndarray, good: np.ndarray) -> tuple[float, float, float]:
    """Median, sigma by the median absolute deviation, and largest of the good pixels."""
    values = image[good].astype(np.float64)
    if not values.size:
        return np.nan, np.nan, np.nan
    median = float(np.median(values))
    return median, SIGMA_PER_MAD * float(np.median(np.abs(values - median))), float(values.max())


def _likeness(stack: PSFStack) -> np.ndarray:
    """Mean correlation of each image with the others; NaN for one alone."""
    rows, good = (array.reshape(stack.n_ref, -1) for array in (stack.exposure.data, stack.exposure.good))
    pairs = correlation(rows, rows, good_a=good, good_b=good)
    np.fill_diagonal(pairs, np.nan)
    return _mean(pairs)


def _mean(pairs: np.ndarray) -> np.ndarray:
    """Mean over the first axis of the correlations that are known."""
    known = np.isfinite(pairs)
    count = known.sum(axis=0)
    return np.divide(np.sum(pairs, axis=0, where=known), count, out=np.full(count.shape, np.nan), where=count > 0)
