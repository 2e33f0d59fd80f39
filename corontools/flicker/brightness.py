"""Brightness of integrations relative to each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.flicker.rate import draft_rate

__all__ = ["checked_flux", "over_median", "relative_brightness"]

# rows of an image that are looked at together
ROWS = 64


def checked_flux(flux: Any, n_int: int) -> tuple[float, ...] | None:
    """Brightness of each integration as it was given; None stays.

    Raises
    ------
    DataError
        If it isn't one positive number for each integration.
    """
    if flux is None:
        return None
    values = np.asarray(flux, np.float64)
    if values.shape != (n_int,) or not (np.isfinite(values) & (values > 0)).all():
        raise DataError(f"flux should be {n_int} positive numbers, one for each integration, found {flux!r}")
    return tuple(values.tolist())


def relative_brightness(exposure: Exposure, mean: np.ndarray, photons: float) -> np.ndarray:
    """Brightness of each integration over their median, (n_int,).

    It is the least-squares factor between the rate of the integration and that of all; one integration is read at a
    time. An integration that has none gets 1.

    Parameters
    ----------
    exposure : Exposure
        Ramp (n_int, n_group, y, x) or rateints (n_int, y, x).
    mean : ndarray
        Draft rate (y, x) of a ramp; rateints are averaged.
    photons : float
        See `rate.draft_rate`.
    """
    data, ramp = exposure.data, exposure.data.ndim == 4
    whole = mean if ramp else _mean(data)

    def factor(i: int) -> float:
        return _factor(draft_rate(exposure, photons=photons, integration=i) if ramp else data[i], whole)

    return over_median(np.array([factor(i) for i in range(len(data))]))


def over_median(factors: np.ndarray) -> np.ndarray:
    """Factors over their median, 1 where they are not positive numbers.

    Examples
    --------
    >>> over_median(np.array([2.0, np.nan, 4.0, 1.0])).tolist()
    [1.0, 1.0, 2.0, 0.5]
    """
    known = np.isfinite(factors) & (factors > 0)
    if not known.any():
        return np.ones(len(factors))
    return np.where(known, factors / np.median(factors[known]), 1.0)


def _mean(cube: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is finite."""
    total, count = np.zeros(cube.shape[1:]), np.zeros(cube.shape[1:])
    for plane in cube:
        known = np.isfinite(plane)
        np.add(total, plane, out=total, where=known)
        count += known
    with np.errstate(divide="ignore", invalid="ignore"):
        return total / count


def _factor(image: np.ndarray, template: np.ndarray) -> float:
    """Factor of the template that fits the image best; NaN where they share no pixel."""
    product = power = 0.0
    for start in range(0, len(image), ROWS):
        a, b = (np.asarray(one[start : start + ROWS], np.float64) for one in (image, template))
        both = np.isfinite(a) & np.isfinite(b)
        a, b = a[both], b[both]
        product, power = product + float(a @ b), power + float(b @ b)
    return product / power if power > 0 else np.nan
