"""Background and channels chosen from the draft rate, by the rules of the JWST pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from corontools.arrays.clip import background_pixels, clipped_stats
from corontools.arrays.stripes import median_stripes
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.flicker.level import background_level
from corontools.flicker.readout import AMPLIFIERS, FULL, Readout

__all__ = ["Choice", "choose"]


class _Limits(NamedTuple):
    """From which values on a figure counts as high: rates in DN/s, slopes in DN/s/px."""

    masked: float
    offset: float
    slope: float
    slope_beside_offset: float
    ratio: float
    scatter: float


LIMITS = {
    "NIS_IMAGE": _Limits(0.07, 0.07, 1e-5, 1e-4, 5.0, 0.02),
    "NRC_IMAGE": _Limits(0.10, 0.07, 1e-5, 1e-5, 3.0, 0.02),
}
# part of the image whose rows and columns are averaged, and the NIRISS rows in which the first amplifier shows
MIDDLE, FIRST_AMPLIFIER = (3 / 8, 5 / 8), (10 / 12, 11 / 12)


@dataclass(frozen=True)
class Choice:
    """What the draft rate says of background and amplifiers.

    Attributes
    ----------
    background : {"median", "model"}
    by_channel : bool
    reason : str
        The figures that decided, in words.
    figures : mapping
        "masked" (share of the pixels), "offset" (largest step between neighbouring amplifiers, DN/s), "slope" (larger
        of those along rows and columns, DN/s/px), "ratio" (of the two slopes), "scatter" (about the line along the
        amplifiers, DN/s).
    """

    background: str
    by_channel: bool
    reason: str
    figures: Mapping[str, float]


def choose(exposure: Exposure, rate: np.ndarray, readout: Readout, flat: np.ndarray | None = None) -> Choice:
    """See `FlickerCleaner.auto`."""
    mode = exposure.meta.exp_type.upper()
    if mode not in LIMITS:
        raise DataError(
            f"auto() knows EXP_TYPE {' and '.join(LIMITS)}, found {mode or 'none'}; choose with fit_background and "
            "fit_noise"
        )
    if exposure.data.ndim == 4 and exposure.meta.card("TGROUP") is None:
        raise DataError("auto() goes by rates in DN/s, and the header of these ramps has no TGROUP (seconds a group)")
    with np.errstate(invalid="ignore"):
        image = _mean_of(rate) if flat is None else _mean_of(rate) / flat
    smooth, masked = _background_image(image, readout)
    return _decided(_figures(smooth, masked, mode), LIMITS[mode])


def _mean_of(rate: np.ndarray) -> np.ndarray:
    """One rate image, of integrations the mean of what is finite; a new array."""
    if rate.ndim == 2:
        return np.array(rate, np.float64)
    known = np.isfinite(rate)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sum(rate, axis=0, where=known, dtype=np.float64) / known.sum(axis=0)


def _background_image(image: np.ndarray, readout: Readout) -> tuple[np.ndarray, float]:
    """The image without stripes, sources replaced by the background, and the share of masked pixels."""
    good, _, _ = background_pixels(image, np.isfinite(image))
    if not good.any():
        raise DataError("no pixel of the draft rate shows background, so nothing can be chosen from it")
    level, good = background_level(image, good, method="median")
    good, _, _ = background_pixels(image - level, good, lower_half=True)
    image = image - median_stripes(image - level, good, axis=readout.axis).model
    smooth, good = background_level(image, good, method="model")
    return np.where(good, image, smooth), 1 - float(good.mean())


def _figures(image: np.ndarray, masked: float, mode: str) -> dict[str, float]:
    ny, nx = image.shape
    along_x = np.mean(image[_part(ny, MIDDLE)], axis=0)
    along_y = np.mean(image[:, _part(nx, MIDDLE)], axis=1)
    (slope_x, scatter), (slope_y, _) = _line(along_x), _line(along_y)
    if mode == "NIS_IMAGE":
        _, scatter = _line(np.mean(image[_part(ny, FIRST_AMPLIFIER)], axis=0))
    small, large = sorted((abs(slope_x), abs(slope_y)))
    return {
        "masked": masked,
        "offset": _largest_step(along_y if mode == "NIS_IMAGE" else along_x),
        "slope": large,
        "ratio": large / small if small > 0 else np.inf,
        "scatter": scatter,
    }


def _part(length: int, ends: tuple[float, float]) -> slice:
    return slice(round(ends[0] * length), round(ends[1] * length))


def _line(profile: np.ndarray) -> tuple[float, float]:
    """Slope of a line through a profile, and the scatter about it."""
    x = np.arange(profile.size)
    slope, start = np.polyfit(x, profile, 1)
    return float(slope), clipped_stats(profile - start - slope * x, sigma=10.0).std


def _largest_step(profile: np.ndarray) -> float:
    """Largest step between the mean levels of neighbouring amplifiers; 0 for a subarray."""
    if profile.size != FULL:
        return 0.0
    levels = [clipped_stats(part).mean for part in np.split(profile, AMPLIFIERS)]
    return float(np.max(np.abs(np.diff(levels))))


def _decided(figures: dict[str, float], limits: _Limits) -> Choice:
    """The rules: amplifiers apart where they differ and much is background, a model where it slopes."""
    many, steps = figures["masked"] >= limits.masked, figures["offset"] >= limits.offset
    steep = figures["slope"] >= limits.slope
    steeper = figures["slope"] >= limits.slope_beside_offset
    if steps and not many:
        return Choice("median", True, "amplifiers differ, few pixels are masked", figures)
    if many:
        model = steeper if steps else steep
        channels = False
    else:
        model = steeper or (steep and figures["ratio"] < limits.ratio)
        channels = figures["offset"] > 0 and figures["scatter"] >= limits.scatter
    words = (
        f"{'many' if many else 'few'} pixels are masked",
        "amplifiers differ" if steps else "amplifiers are alike",
        "the background slopes" if model else "the background is flat",
        *(("levels scatter between amplifiers",) if channels else ()),
    )
    return Choice("model" if model else "median", channels, ", ".join(words), figures)
