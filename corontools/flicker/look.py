"""One image of an exposure, before and after the correction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from corontools.errors import DataError
from corontools.flicker.frames import Frames
from corontools.flicker.plan import Fitted
from corontools.flicker.psd import LineSpectrum, line_power
from corontools.flicker.readout import Readout

__all__ = ["Levels", "OneImage"]


class Levels(NamedTuple):
    """Mean of the pixels of each line that were fitted to, without background; NaN where there are none.

    Attributes
    ----------
    before, after : ndarray, shape (n_line,)
    """

    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True, eq=False)
class OneImage:
    """A rate, or the difference between two groups, and its noise.

    Attributes
    ----------
    before : ndarray, shape (y, x)
        The image as it is fitted.
    fitted : Fitted or None
        None where no pixel is usable: the image is then left unchanged.
    readout : Readout
    flat : ndarray, shape (y, x), or None
    """

    before: np.ndarray
    fitted: Fitted | None
    readout: Readout
    flat: np.ndarray | None = None

    @classmethod
    def of(cls, frames: Frames, i: int, j: int, middle: np.ndarray | None = None) -> OneImage:
        """Integration `i`, group `j`; `middle` is `frames.middle(j)` where it is known.

        Raises
        ------
        DataError
            If there is no such image: the first group of a ramp has no difference to a group before.
        """
        if (i, j) not in frames.indices:
            raise DataError(f"there is no image ({i}, {j}) to correct; {_choices(frames)}")
        return cls(frames.image(i, j, middle), frames.fit(i, j, middle), frames.readout, frames.flat)

    @property
    def noise(self) -> np.ndarray:
        """What is subtracted, (y, x)."""
        return np.zeros_like(self.before) if self.fitted is None else self.fitted.noise

    @cached_property
    def after(self) -> np.ndarray:
        """The image without its noise, (y, x)."""
        return self.before - self.noise

    @cached_property
    def levels(self) -> Levels:
        """Levels of the lines."""
        axis = self.readout.axis
        if self.fitted is None:
            nothing = np.full(self.before.shape[1 - axis], np.nan)
            return Levels(nothing, nothing)
        residual, striped = self._residuals
        return Levels(_mean(striped, axis), _mean(residual, axis))

    @cached_property
    def psd(self) -> LineSpectrum | None:
        """Power spectrum of the levels; None where nothing was fitted."""
        if self.fitted is None:
            return None
        axis, channels = self.readout.axis, self.readout.channels
        residual, striped = self._residuals
        frequency, after = line_power(residual, axis=axis, channels=channels)
        _, before = line_power(striped, axis=axis, channels=channels)
        return LineSpectrum(frequency, before, after, self.readout.stripes)

    @cached_property
    def _residuals(self) -> tuple[np.ndarray, np.ndarray]:
        """Image less background, divided by the flat, after and before."""
        assert self.fitted is not None
        residual = self.fitted.residual
        return residual, residual + self.fitted.noise / (1 if self.flat is None else self.flat)


def _choices(frames: Frames) -> str:
    """Which images there are."""
    if not frames.indices:
        return "a ramp with one group has none"
    first, last = frames.indices[0], frames.indices[-1]
    groups = f", groups {first[1]} to {last[1]}" if frames.groups else ""
    return f"there are integrations {first[0]} to {last[0]}{groups}, counted from 0"


def _mean(image: np.ndarray, axis: int) -> np.ndarray:
    """Mean along an axis of what is finite."""
    known = np.isfinite(image)
    count = known.sum(axis=axis)
    total = np.sum(image, axis=axis, where=known, dtype=np.float64)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
