"""The choices of a correction, and what they make of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from corontools.arrays.clip import background_pixels
from corontools.arrays.stripes import Stripes, median_stripes
from corontools.errors import DataError
from corontools.flicker.level import background_level
from corontools.flicker.readout import Readout

__all__ = [
    "NOISE_METHODS", "Fitted", "Flattened", "Plan", "check_noise", "correlation_of_fits", "fit_image", "flattened"
]  # fmt: skip

NOISE_METHODS = ("median", "fft", "stream")
# of medians of Gaussian values with correlation r: 2 / pi arcsin r
MEDIANS = 2 / np.pi


@dataclass(frozen=True)
class Plan:
    """Choices for every image.

    Attributes
    ----------
    background : {"median", "model", "median_image"} or None
    box : (int, int) or None
    flux : tuple of float or None
        Brightness of each integration, for "median_image".
    noise : {"median", "fft", "stream"}
    by_channel : bool
    n_sigma : float
        Clip of the image less its background; 0: none.
    add_err : bool
        Whether the error of the correction goes into ERR.
    """

    background: str | None = "median"
    box: tuple[int, int] | None = None
    flux: tuple[float, ...] | None = None
    noise: str = "median"
    by_channel: bool = False
    n_sigma: float = 2.0
    add_err: bool = False


@dataclass(frozen=True, eq=False)
class Fitted:
    """Noise of one image.

    Attributes
    ----------
    stripes : Stripes
        Noise to be subtracted, and its error.
    residual : ndarray, shape (y, x)
        Image less background and noise, divided by the flat; NaN where no pixel is good.
    """

    stripes: Stripes
    residual: np.ndarray

    @property
    def noise(self) -> np.ndarray:
        """To be subtracted, (y, x); 0 where nothing is known."""
        return self.stripes.model

    @property
    def err(self) -> np.ndarray:
        """1 sigma, (y, x); NaN where nothing is known."""
        return self.stripes.err


class Flattened(NamedTuple):
    """An image divided by the flat, less its background.

    Attributes
    ----------
    image : ndarray, shape (y, x)
    good : ndarray of bool, shape (y, x)
        Pixels of the background, those beyond its clips left out.
    level : ndarray or float
        Background, divided by the flat.
    """

    image: np.ndarray
    good: np.ndarray
    level: np.ndarray | float


def check_noise(method: str, by_channel: bool, readout: Readout) -> None:
    """Refuse a method that the exposure can't have.

    Raises
    ------
    DataError
        If it doesn't exist, or not for this detector or subarray.
    """
    if method not in NOISE_METHODS:
        raise DataError(f"the noise is fitted by one of {', '.join(NOISE_METHODS)}; found {method!r}")
    if method != "median" and readout.mode == "MIRI":
        raise DataError(
            f"{method!r} fits the 1/f noise of near-infrared detectors, which {readout.name} hasn't; take 'median'"
        )
    if by_channel and method != "median":
        raise DataError(f"by_channel belongs to 'median'; {method!r} knows the amplifiers by itself")
    if by_channel and readout.channels < 2:
        raise DataError(
            f"by_channel needs a detector read by several amplifiers, as the full near-infrared frames are; if this "
            f"is one, say so: FlickerCleaner(..., channels=4). {readout.name} has one"
        )


def fit_image(
    image: np.ndarray,
    good: np.ndarray,
    *,
    plan: Plan,
    readout: Readout,
    flat: np.ndarray | None = None,
    exact: bool = False,
) -> Fitted | None:
    """Noise of an image (y, x), None where no pixel is good; the image may be overwritten.

    Flat, background, clip at `plan.n_sigma` by the lower half of the values, fit; see `docs/flicker.md`.
    """
    found = flattened(image, good, plan=plan, flat=flat, exact=exact)
    if found is None:
        return None
    image, good = found.image, found.good
    del found  # a map of the background isn't needed any more, and the fit takes room
    stripes = fit_stripes(image, good, plan=plan, readout=readout)
    image -= stripes.model
    np.copyto(image, np.nan, where=~good)
    return Fitted(stripes if flat is None else stripes.times(flat), image)


def flattened(
    image: np.ndarray, good: np.ndarray, *, plan: Plan, flat: np.ndarray | None = None, exact: bool = False
) -> Flattened | None:
    """An image (y, x) over the flat and less its background, in its place; None where no pixel is good."""
    if flat is not None:
        image /= flat
    good = good & np.isfinite(image)
    if not good.any():
        return None
    method = None if plan.background == "median_image" else plan.background
    level, good = background_level(image, good, method=method, box=plan.box, exact=exact)
    image -= level
    if method is not None and plan.n_sigma > 0:
        good, _, _ = background_pixels(
            image, good, lower=plan.n_sigma, upper=plan.n_sigma, lower_half=True, exact=exact
        )
    return Flattened(image, good, level)


def fit_stripes(image: np.ndarray, good: np.ndarray, *, plan: Plan, readout: Readout) -> Stripes:
    """Stripes of an image without background, by the method that was chosen."""
    if plan.noise == "median":
        channels = readout.channels if plan.by_channel else 1
        return median_stripes(image, good, axis=readout.axis, channels=channels)
    if plan.noise == "stream":
        from corontools.arrays.stream import stream_stripes

        return stream_stripes(image, good, axis=readout.axis, channels=readout.channels)
    from corontools.arrays import nsclean

    fit = nsclean.fourier_stripes if readout.full else nsclean.fourier_stream
    return fit(image, good, axis=readout.axis)


def correlation_of_fits(before: np.ndarray, now: np.ndarray, method: str) -> float:
    """Correlation between the errors of the fits to two successive differences, from their residuals.

    Differences share a group, whose read noise enters them with opposite signs: the residuals r have a correlation of
    -1/2 where read noise prevails, of 0 where photon noise does. A linear fit passes it on; medians, 2/pi arcsin r.
    """
    both = np.isfinite(before) & np.isfinite(now)
    a, b = before[both], now[both]
    power = float(np.sqrt(np.vdot(a, a) * np.vdot(b, b)))
    r = float(np.clip(np.vdot(a, b) / power, -1, 1)) if power > 0 else 0.0
    return MEDIANS * float(np.arcsin(r)) if method == "median" else r
