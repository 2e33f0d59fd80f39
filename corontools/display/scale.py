"""From data values to places on a palette and back: limits, stretches, and what a colour bar needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corontools.errors import DataError

__all__ = ["Scale", "default_limits", "scale_positions", "scale_values", "unknown"]

# Every stretch is a function of (value - zero) / width, and its inverse.
CURVES: dict[str, tuple[Any, Any]] = {
    "asinh": (np.arcsinh, np.sinh),
    "linear": (np.positive, np.positive),
    "sqrt": (np.sqrt, np.square),
    "log": (np.log1p, np.expm1),
}
LOG_RANGE = 1000.0
ASINH_RANGE = 300.0
LARGEST = 1e300  # limits stay below, so that their difference does not overflow
SAMPLE = 1 << 18


@dataclass(frozen=True)
class Scale:
    """How data values became colours: what a picture and its colour bar have in common.

    Attributes
    ----------
    limits : (float, float)
        Data values of the first and the last colour.
    kind : {"asinh", "linear", "sqrt", "log"}
        The stretch, see `picture.stretch`.
    colors : {"inferno", "magma", "viridis", "gray", "RdBu"}
        The palette.
    unit : str
        Unit of the data values.

    Examples
    --------
    >>> Scale.of([[0.0, 0.0], [1.0, 4.0]], kind="linear", unit="MJy/sr")
    Scale(limits=(0.0, 6...), kind='linear', colors='inferno', unit='MJy/sr')
    """

    limits: tuple[float, float]
    kind: str = "asinh"
    colors: str = "inferno"
    unit: str = ""

    @classmethod
    def of(cls, image: ArrayLike, *, kind: str = "asinh", colors: str = "inferno", unit: str = "") -> Scale:
        """Scale with the default limits of an image; symmetric about zero for the palette "RdBu"."""
        return cls(default_limits(image, symmetric=colors == "RdBu"), kind, colors, unit)


def default_limits(image: ArrayLike, *, symmetric: bool = False) -> tuple[float, float]:
    """Limits that show the noise and what stands out of it.

    From 3 sigma below the median (sigma from the median absolute deviation; not below the 0.1 percentile) to
    the 99.95 percentile, at least 8 sigma above the median. Pixels that are not finite are left out.

    Parameters
    ----------
    image : array_like
        Pixels.
    symmetric : bool
        Limits -v, v about zero, for a diverging palette: v is the larger of 5 sigma and the 99 percentile of
        the absolute values.

    Returns
    -------
    (float, float)
        In order and different; (0, 1) where no pixel is finite.

    Examples
    --------
    >>> default_limits([[7.0, 7.0]])
    (6.5, 7.5)
    """
    values = np.asarray(image, dtype=float).ravel()
    values = values[np.isfinite(values)]
    values = np.clip(values[:: max(1, values.size // SAMPLE)], -LARGEST, LARGEST)
    if values.size == 0:
        return (-1.0, 1.0) if symmetric else (0.0, 1.0)
    median = float(np.median(values))
    sigma = 1.4826 * float(np.median(np.abs(values - median)))
    if symmetric:
        top = max(float(np.percentile(np.abs(values), 99.0)), 5 * sigma) or float(np.abs(values).max()) or 1.0
        return -top, top
    low, high = (float(v) for v in np.percentile(values, (0.1, 99.95)))
    if sigma > 0:
        low, high = max(low, median - 3 * sigma), max(high, median + 8 * sigma)
    return _apart(low, high, values)


def scale_positions(values: ArrayLike, limits: tuple[float, float], kind: str = "asinh") -> NDArray[np.float64]:
    """Place of data values on the palette, 0 (first colour) to 1 (last); clipped there beyond the limits.

    Examples
    --------
    >>> scale_positions([0, 25, 100], (0, 100), "sqrt")
    array([0. , 0.5, 1. ])
    """
    low, high = _checked(limits)
    forward, _, zero, width = _curve(low, high, kind)
    start, stop = forward((np.array([low, high]) - zero) / width)
    places = forward((np.clip(np.asarray(values, dtype=float), low, high) - zero) / width)
    return np.clip((places - start) / (stop - start), 0.0, 1.0)


def scale_values(limits: tuple[float, float], kind: str = "asinh", n: int = 5) -> NDArray[np.float64]:
    """Data values at `n` equally spaced places of the palette, both ends included.

    The inverse of `scale_positions`.

    Examples
    --------
    >>> scale_values((0, 100), "sqrt", 5)
    array([  0.  ,   6.25,  25.  ,  56.25, 100.  ])
    """
    low, high = _checked(limits)
    forward, inverse, zero, width = _curve(low, high, kind)
    start, stop = forward((np.array([low, high]) - zero) / width)
    return np.clip(zero + width * inverse(np.linspace(start, stop, n)), low, high)


def unknown(what: str, name: object, known: tuple[str, ...]) -> DataError:
    """Error for a name that is none of the known ones."""
    return DataError(f"{what} {name!r} is not known; choose one of {', '.join(known)}")


def _curve(low: float, high: float, kind: str) -> tuple[Any, Any, float, float]:
    """Function, inverse, zero and width of a stretch."""
    if kind not in CURVES:
        raise unknown("stretch", kind, tuple(CURVES))
    forward, inverse = CURVES[kind]
    if kind != "asinh":
        width = (high - low) / (LOG_RANGE if kind == "log" else 1.0)
        return forward, inverse, low, max(width, np.finfo(float).tiny)
    inside = low < 0 < high
    soft = max(-low if inside else 0.0, (high - low) / ASINH_RANGE, np.finfo(float).tiny)
    return forward, inverse, 0.0 if inside else low, soft


def _checked(limits: tuple[Any, Any]) -> tuple[float, float]:
    low, high = (float(np.clip(float(v), -LARGEST, LARGEST)) for v in limits)
    if not low < high:
        raise DataError(f"limits should be two numbers, the lower first, found ({limits[0]}, {limits[1]})")
    return low, high


def _apart(low: float, high: float, values: NDArray[np.float64]) -> tuple[float, float]:
    """Limits that differ: the extremes where the percentiles agree, else half a unit either side."""
    if not low < high:
        low, high = float(values.min()), float(values.max())
    half = 0.5 * max(1.0, abs(low) * 1e-6) if low == high else 0.0
    return low - half, high + half
