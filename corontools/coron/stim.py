"""StimMap: how steadily a place is bright while speckles change; the STIM map of Pairet et al. 2019."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.coron.combined import Field
from corontools.coron.grid import north_up
from corontools.coron.klip import KlipResult
from corontools.coron.turned import turned_fields
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.meta import Meta
from corontools.result import Result, function_call

if TYPE_CHECKING:
    from corontools.coron.grid import Grid

__all__ = ["StimMap", "stim_map"]

# frames in which a place must be measured for its scatter to be known
LEAST_FRAMES = 3


@dataclass(frozen=True, eq=False, repr=False)
class StimMap(Result):
    """Mean over standard deviation of the turned residuals at every pixel, north up.

    Speckles that come and go have a large deviation, a source or a disk hasn't. Turned the wrong way round, nothing of
    the sky adds up: what the map reaches then is what noise reaches (Pairet et al. 2019, MNRAS 487, 2262).

    Attributes
    ----------
    image : ndarray, shape (y, x)
        NaN where fewer than three integrations have data.
    inverse : ndarray, shape (y, x)
        The same with the frames turned the other way.
    meta : Meta
    """

    image: np.ndarray
    inverse: np.ndarray
    meta: Meta

    @property
    def threshold(self) -> float:
        """The largest value of the inverse map: a detection lies above it."""
        return float(np.nanmax(self.inverse))

    @property
    def normalized(self) -> np.ndarray:
        """The map over the threshold, (y, x); above 1 is a detection."""
        return self.image / self.threshold

    def _values(self) -> np.ndarray:
        return self.image

    def _rows(self) -> list[tuple[str, str]]:
        y, x = np.unravel_index(int(np.nanargmax(self.image)), self.image.shape)
        return [
            ("target", self.meta.title),
            ("threshold", f"{self.threshold:.3g}, the largest value with frames turned the wrong way"),
            ("highest", f"{self.normalized[y, x]:.2f} times that, at ({x}, {y}) px"),
            ("above it", f"{np.count_nonzero(self.normalized > 1)} pixels"),
        ]

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        return [
            quick.image_picture(self.normalized, "STIM over its threshold"),
            quick.image_picture(self.inverse / self.threshold, "turned the wrong way"),
        ]


def stim_map(results: Sequence[KlipResult]) -> StimMap:
    """STIM map of the residuals of one or several results, at their numbers of modes.

    Parameters
    ----------
    results : sequence of KlipResult
        With at least three integrations together, at two angles or more.

    Raises
    ------
    DataError
        If there is no result, one has neither angles nor a WCS, there are fewer than three integrations, or all have
        the same angle.

    Examples
    --------
    >>> from corontools import PSFStack
    >>> frames = np.random.default_rng(1).normal(size=(12, 33, 33))
    >>> cube = Exposure(frames, angles=np.linspace(0.0, 60.0, 12))
    >>> klip = PSFStack.from_exposures([cube]).align_to(cube, to="none").klip(4, strategy="adi", fwhm=3.0)
    >>> found = stim_map([klip])
    >>> found.image.shape == found.inverse.shape, bool(found.threshold > 0)
    (True, True)
    """
    if not results:
        raise DataError("no result to map; give at least one KlipResult")
    number = sum(one.target.n_int for one in results)
    fields = turned_fields(results)
    angles = np.concatenate([np.asarray(one.target.position_angles) for one in results])
    if number < LEAST_FRAMES or np.ptp(angles) == 0:
        raise DataError(
            f"a STIM map needs three integrations or more, at different angles; found {number} at "
            f"{np.unique(angles).size} angle(s)"
        )
    back = [Field(field.result, _mirrored(field.result.target), field.anchor) for field in fields]
    grid = north_up([exposure for field in (*fields, *back) for _, exposure in field.parts], anchor="star")
    first = results[0].target
    scale = first.meta.pixel_scale if first.wcs is None else grid.pixel_scale
    history = (function_call(stim_map, list(results)),)
    meta = first.meta.with_(center=grid.center, pixel_scale=scale, roll=None, history=history)
    return StimMap(_steady(fields, grid), _steady(back, grid), meta, history=history)


def _mirrored(target: Exposure) -> list[tuple[list[int], Exposure]]:
    """The integrations with opposite angles."""
    from corontools.coron.grid import by_angle

    return by_angle(target.with_(angles=-np.asarray(target.position_angles)))


def _steady(fields: Sequence[Field], grid: Grid) -> np.ndarray:
    """Mean over standard deviation (over n) of all frames on the grid, (y, x)."""
    count, total, squares = np.zeros((3, *grid.shape))
    for field in fields:
        for frame in field.turned(field.result.frames, grid):
            seen = np.isfinite(frame.value)
            value = np.where(seen, frame.value, 0.0)
            count += seen
            total += value
            squares += np.square(value)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0))
        return np.where((count >= LEAST_FRAMES) & (deviation > 0), mean / deviation, np.nan)
