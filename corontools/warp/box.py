"""Box: a rectangle of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Box"]


@dataclass(frozen=True)
class Box:
    """Pixels x0 <= x < x1, y0 <= y < y1.

    Examples
    --------
    >>> box = Box(0, 0, 40, 30).grown(10).clipped(Box(0, 0, 100, 100))
    >>> box, box.shape, box.contains(49, 39), box.contains(50, 39)
    (Box(x0=0, y0=0, x1=50, y1=40), (40, 50), True, False)
    """

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px; 0 for an empty box."""
        return max(self.y1 - self.y0, 0), max(self.x1 - self.x0, 0)

    @property
    def empty(self) -> bool:
        """Whether it holds no pixel."""
        return 0 in self.shape

    def grown(self, by: int) -> Box:
        """With `by` more pixels on each side."""
        return Box(self.x0 - by, self.y0 - by, self.x1 + by, self.y1 + by)

    def clipped(self, to: Box) -> Box:
        """What lies within another box too."""
        return Box(max(self.x0, to.x0), max(self.y0, to.y0), min(self.x1, to.x1), min(self.y1, to.y1))

    def contains(self, x: float, y: float) -> bool:
        """Whether a place lies on one of the pixels, which reach half a pixel around their middles."""
        return bool(self.x0 <= np.floor(x + 0.5) < self.x1 and self.y0 <= np.floor(y + 0.5) < self.y1)

    def slices(self, within: Box) -> tuple[slice, slice]:
        """Index [y, x] of this box in an image of another one that holds it."""
        return slice(self.y0 - within.y0, self.y1 - within.y0), slice(self.x0 - within.x0, self.x1 - within.x0)
