"""Power spectrum of the levels of lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corontools.result import Result

__all__ = ["LineSpectrum", "line_power"]


@dataclass(frozen=True, eq=False, repr=False)
class LineSpectrum(Result):
    """Power of the levels of lines along the slow axis, before and after the correction.

    Attributes
    ----------
    frequency : ndarray, shape (n,)
        Cycles per line.
    before, after : ndarray, shape (n,)
        Squared unit of the data; white noise of variance v in the levels has the power v at every frequency.
    stripes : str
        "rows" or "columns".
    """

    frequency: np.ndarray
    before: np.ndarray
    after: np.ndarray
    stripes: str = "rows"

    def _values(self) -> np.ndarray:
        return np.stack([self.before, self.after])

    def _rows(self) -> list[tuple[str, str]]:
        before, after = (float(np.sqrt(power.mean())) for power in (self.before, self.after))
        return [(f"rms of the {self.stripes}", f"{before:.4g} before, {after:.4g} after")]

    def _pictures(self) -> Sequence[Any]:
        return [self.picture()]

    def picture(self) -> Any:
        """Both spectra as a small plot."""
        from corontools.display import quick
        from corontools.display.layers import Series

        curves = [
            Series(self.frequency, self.before, label="before"),
            Series(self.frequency, self.after, label="after"),
        ]
        return quick.curve_picture(
            curves, f"levels of the {self.stripes}", x_label=f"cycles per {self.stripes[:-1]}", y_label="power"
        )


def line_power(image: np.ndarray, *, axis: int, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies, without 0, and power of the mean levels of the lines of an image (y, x), mean over channels.

    NaN is no data; lines without any are left out of the sums.

    Examples
    --------
    >>> levels = np.cos(2 * np.pi * np.arange(64) / 8)
    >>> frequency, power = line_power(levels[:, None] + np.zeros((64, 4)), axis=1)
    >>> float(frequency[np.argmax(power)]), round(float(power.max()), 3)
    (0.125, 16.0)
    """
    lines = np.asarray(image, np.float64) if axis == 1 else np.asarray(image, np.float64).T
    parts = lines.reshape(len(lines), channels, -1)
    known = np.isfinite(parts)
    count = known.sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        level = np.sum(parts, axis=2, where=known) / count
    powers = [_power(column, seen) for column, seen in zip(level.T, (count > 0).T, strict=True) if seen.any()]
    return np.fft.rfftfreq(len(lines))[1:], np.mean(powers, axis=0)[1:]


def _power(level: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Squared sum over the lines that are seen, over their number."""
    values = np.where(seen, level - level[seen].mean(), 0.0)
    return np.square(np.abs(np.fft.rfft(values))) / seen.sum()
