"""How well the stripes are removed, and how much is put in where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corontools.arrays.flicker import flicker_noise
from corontools.errors import DataError
from corontools.flicker.frames import Frames
from corontools.progress import progress
from corontools.result import Result

__all__ = ["InjectionTest", "NullTest", "injection_test", "null_test"]

# percentile of a Gaussian at -1 sigma
BELOW = 15.8655


@dataclass(frozen=True, eq=False, repr=False)
class NullTest(Result):
    """What the correction puts into images of white noise, where there is nothing to remove.

    Attributes
    ----------
    sigma : float
        Of the white noise: that of the background pixels of the exposure.
    injected, on_background, under_sources : float
        Rms of what was subtracted about its mean: of all pixels, of those that the mask leaves, of those that it hides
        (NaN without any). It should be small beside `sigma`.
    level : float
        Rms over the images of that mean: how far the background as a whole is moved.
    model : ndarray, shape (y, x)
        What was subtracted in the last image.
    unit : str
    """

    sigma: float
    injected: float
    on_background: float
    under_sources: float
    level: float
    model: np.ndarray
    unit: str = ""

    def _values(self) -> np.ndarray:
        return np.array([self.sigma, self.injected, self.on_background, self.under_sources, self.level])

    def _rows(self) -> list[tuple[str, str]]:
        return [
            ("white noise", f"{self.sigma:.4g} {self.unit}".strip()),
            ("put in", f"{self.injected:.3g} rms, {_percent(self.injected, self.sigma)} of the noise"),
            ("on background", _percent(self.on_background, self.sigma)),
            ("under sources", _percent(self.under_sources, self.sigma)),
            ("level moved by", _percent(self.level, self.sigma)),
        ]

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        return [quick.image_picture(self.model, "subtracted, where nothing was", kind="linear")]


@dataclass(frozen=True, eq=False, repr=False)
class InjectionTest(Result):
    """How much of known stripes is removed.

    The noise planted is that of one detector read-out, with a power spectrum f^-alpha. What is fitted without it is
    subtracted from what is fitted with it.

    Attributes
    ----------
    rms : float
        Of the planted noise.
    removed, on_background, under_sources : float
        1 - (rms of what is left of it) / (rms of it): of all pixels, of those that the mask leaves, of those that it
        hides (NaN without any). Pixel-to-pixel noise of the planted stream can't be removed.
    planted, left : ndarray, shape (y, x)
        The last noise, and what is left of it.
    unit : str
    """

    rms: float
    removed: float
    on_background: float
    under_sources: float
    planted: np.ndarray
    left: np.ndarray
    unit: str = ""

    def _values(self) -> np.ndarray:
        return np.array([self.rms, self.removed, self.on_background, self.under_sources])

    def _rows(self) -> list[tuple[str, str]]:
        return [
            ("planted", f"{self.rms:.4g} {self.unit} rms".replace("  ", " ")),
            ("removed", _percent(self.removed)),
            ("on background", _percent(self.on_background)),
            ("under sources", _percent(self.under_sources)),
        ]

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        reach = 3 * float(np.std(self.planted)) or 1.0
        return [
            quick.image_picture(image, caption, kind="linear", limits=(-reach, reach))
            for image, caption in ((self.planted, "planted"), (self.left, "left"))
        ]


def null_test(frames: Frames, *, n: int, seed: int) -> NullTest:
    """See `FlickerCleaner.null_test`."""
    image, good, noise = _first(frames, n)
    sigma, rng = _sigma(frames, image - noise, good), np.random.default_rng(seed)
    power, levels, model = [], [], np.zeros(image.shape)
    with progress(range(n), "null test", "image") as turns:
        for _ in turns:
            white = rng.normal(0.0, sigma, image.shape).astype(image.dtype)
            model = _model(frames, white if frames.flat is None else white * frames.flat, good)
            levels.append(float(model.mean()))
            power.append(_mean_squares(model - levels[-1], good))
    injected, off, under = np.sqrt(np.mean(power, axis=0))
    level = float(np.sqrt(np.mean(np.square(levels))))
    return NullTest(sigma, float(injected), float(off), float(under), level, model, frames.exposure.meta.unit)


def injection_test(frames: Frames, *, rms: float | None, alpha: float, n: int, seed: int) -> InjectionTest:
    """See `FlickerCleaner.injection_test`."""
    image, good, noise = _first(frames, n)
    clean = image - noise
    strength = _sigma(frames, clean.copy(), good) if rms is None else float(rms)
    if not (np.isfinite(strength) and strength > 0):
        raise DataError(f"rms should be positive, found {strength}")
    base = _model(frames, clean.copy(), good)
    power, planted, left = [], base, base
    with progress(range(n), "injection test", "image") as turns:
        for turn in turns:
            planted = flicker_noise(
                image.shape,
                alpha=alpha,
                rms=strength,
                channels=frames.readout.channels,
                axis=frames.readout.axis,
                seed=seed + turn,
            )
            planted = planted.astype(image.dtype)
            left = planted - (_model(frames, clean + planted, good) - base)
            left = left - left.mean()  # a level is background, not stripes
            power.append(np.array(_mean_squares(left, good)) / _mean_squares(planted, good))
    removed, off, under = 1 - np.sqrt(np.mean(power, axis=0))
    return InjectionTest(strength, float(removed), float(off), float(under), planted, left, frames.exposure.meta.unit)


def _first(frames: Frames, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first image with usable pixels, which they are, and its noise."""
    if n < 1:
        raise DataError(f"a test needs one image or more, found n={n}")
    i, j = frames.first()
    image = frames.image(i, j)
    good = frames.good(i, j) & np.isfinite(image)
    return image, good, _model(frames, image.copy(), good)


def _model(frames: Frames, image: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Noise that is fitted to an image, which may be overwritten."""
    found = frames.fit_to(image, good)
    return np.zeros(image.shape) if found is None else found.noise


def _sigma(frames: Frames, clean: np.ndarray, good: np.ndarray) -> float:
    """Scatter of the background pixels of an image without stripes, which may be overwritten.

    It is taken from below the median: masks cut off what is high.
    """
    found = frames.flattened(clean, good)
    assert found is not None
    low, middle = np.percentile(found.image[good], (BELOW, 50))
    return float(middle - low)


def _mean_squares(image: np.ndarray, good: np.ndarray) -> tuple[float, float, float]:
    """Mean square over all pixels, the good ones, the others; NaN where there are none."""
    square = np.square(image, dtype=np.float64)
    parts = (square.ravel(), square[good], square[~good])
    known = [part[np.isfinite(part)] for part in parts]
    whole, off, under = (float(part.mean()) if part.size else np.nan for part in known)
    return whole, off, under


def _percent(value: float, of: float = 1.0) -> str:
    return "no such pixels" if not np.isfinite(value) else f"{100 * value / of:.3g} %"
