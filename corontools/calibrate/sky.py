"""Places of blank sky, measured like sources to tell the noise of fluxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table, vstack

from corontools.arrays.detect import dilated
from corontools.calibrate.detections import Detections
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane

__all__ = ["SkySources", "halton"]

AVOIDED = Plane.DETECTED | Plane.DETECTED_NEGATIVE | Plane.BAD | Plane.NO_DATA


def halton(start: int, n: int, *, base: int) -> np.ndarray:
    """Numbers of a Halton sequence, evenly spread in [0, 1), from the number `start` on.

    Halton 1960, Numerische Mathematik 2, 84.

    Examples
    --------
    >>> halton(1, 4, base=2).tolist()
    [0.5, 0.25, 0.75, 0.125]
    """
    values = []
    for k in range(start, start + n):
        value, part = 0.0, 1.0
        while k:
            k, digit = divmod(k, base)
            part /= base
            value += digit * part
        values.append(value)
    return np.array(values)


@dataclass(frozen=True)
class SkySources:
    """Adds discs of blank sky to the footprints of a frame.

    Parameters
    ----------
    n : int
        At most so many.
    radius : int
        Of a disc, px; none of its pixels is avoided, nor in another disc.
    trials : int
        Places tried for each, on the average; a crowded frame gets fewer than `n`.
    avoided : Plane
        Planes of pixels that discs keep off.
    """

    n: int = 100
    radius: int = 8
    trials: int = 5
    avoided: Plane = AVOIDED

    def place(self, masked: MaskedImage, seed: int = 0) -> Table:
        """Middles of discs, the pixels `x` and `y`; the same for the same seed, such as the id of the exposure."""
        tried = self.n * self.trials
        start = abs(int(seed)) + 1
        fractions = (halton(start, tried, base=3), halton(start, tried, base=2))
        room = [max(size - 2 * self.radius, 0) for size in masked.shape]
        y, x = ((self.radius + share * free).astype(int) for share, free in zip(fractions, room, strict=True))
        kept: list[tuple[int, int]] = []
        if min(room) > 0:
            free = ~dilated(masked.has(self.avoided), radius=self.radius)
            for place in zip(y[free[y, x]], x[free[y, x]], strict=True):
                if len(kept) < self.n and self._apart(place, kept):
                    kept.append(place)
        places = np.array(kept, int).reshape(-1, 2)
        return Table({"x": places[:, 1], "y": places[:, 0]}, units={"x": "pix", "y": "pix"})

    def add(self, detections: Detections, seed: int = 0) -> Detections:
        """Detections with the discs as further footprints, of which `sky_source` is True, each with one peak.

        The significance and height of these peaks is NaN.
        """
        places = self.place(detections.masked, seed)
        n, first = len(places), len(detections) + 1
        labels = np.array(detections.labels)
        for number, (x, y) in enumerate(zip(places["x"], places["y"], strict=True), start=first):
            labels[self._disc(int(y), int(x))] = number
        ids, none = np.arange(first, first + n), np.full(n, np.nan)
        size = len(self._disc(0, 0)[0])
        corners = {
            f"{name}_{end}": places[name] + step * self.radius
            for end, step in (("min", -1), ("max", 1))
            for name in "xy"
        }
        discs = Table(
            {"id": ids, **corners, "n_pixels": np.full(n, size), "n_peaks": np.ones(n, int), "significance": none,
             "sky_source": np.ones(n, bool)}
        )  # fmt: skip
        numbers = len(detections.peaks) + 1 + np.arange(n)
        peaks = Table(
            {"id": numbers, "footprint": ids, "x": places["x"], "y": places["y"], "significance": none, "height": none}
        )
        return detections.with_(
            labels=labels,
            footprints=vstack([detections.footprints, discs]),
            peaks=vstack([detections.peaks, peaks]),
        )

    def _apart(self, place: tuple[int, int], others: list[tuple[int, int]]) -> bool:
        reach = 2 * self.radius + 1
        return all((place[0] - y) ** 2 + (place[1] - x) ** 2 > reach**2 for y, x in others)

    def _disc(self, y: int, x: int) -> tuple[np.ndarray, np.ndarray]:
        along = np.arange(-self.radius, self.radius + 1)
        dy, dx = np.nonzero(along[:, None] ** 2 + along**2 <= self.radius**2)
        return dy - self.radius + y, dx - self.radius + x
