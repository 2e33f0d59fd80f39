"""Brightness of integrations relative to each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.flicker.rate import draft_rate

__all__ = ["checked_flux", "relative_brightness"]


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


def relative_brightness(
    exposure: Exposure, mean: np.ndarray, photons: float, flux: tuple[float, ...] | None = None
) -> np.ndarray:
    """Brightness of each integration over their median, (n_int,).

    That given as `flux`; else the least-squares factor between the rate of the integration and that of all, which is
    read one integration at a time. An integration that has none gets 1.

    Parameters
    ----------
    exposure : Exposure
        Ramp (n_int, n_group, y, x) or rateints (n_int, y, x).
    mean : ndarray
        Draft rate (y, x) of a ramp; rateints are averaged.
    photons : float
        See `rate.draft_rate`.
    flux : tuple of float, optional
    """
    n_int, ramp = exposure.shape[0], exposure.data.ndim == 4
    if flux is None:
        whole = np.asarray(mean) if ramp else _mean(exposure.data)
        factors = np.array([_factor(_rate(exposure, i, photons), whole) for i in range(n_int)])
    else:
        factors = np.array(flux)
    known = np.isfinite(factors) & (factors > 0)
    if not known.any():
        return np.ones(n_int)
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


def _rate(exposure: Exposure, i: int, photons: float) -> np.ndarray:
    """Rate of one integration."""
    if exposure.data.ndim == 3:
        return exposure.data[i]
    dq = None if exposure.dq is None else exposure.dq[i : i + 1]
    one = Exposure(exposure.data[i : i + 1], dq=dq, meta=exposure.meta, pixel_dq=exposure.pixel_dq)
    return draft_rate(one, photons=photons)


def _factor(image: np.ndarray, template: np.ndarray) -> float:
    """Factor of the template that fits the image best."""
    both = np.isfinite(image) & np.isfinite(template)
    a, b = image[both], template[both]
    # einsum sums in the type that it is told, without copies of the images
    power = float(np.einsum("i,i->", b, b, dtype=np.float64))
    return float(np.einsum("i,i->", a, b, dtype=np.float64)) / power if power > 0 else np.nan
