"""Zones: the search areas in which KLIP works separately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from corontools.arrays.radial import radii
from corontools.errors import DataError
from corontools.result import fingerprint

__all__ = ["Zones"]


@dataclass(frozen=True, eq=False)
class Zones:
    """Annuli cut into sectors, or any labelled regions of the image.

    Attributes
    ----------
    edges : tuple of float
        Radii in px that bound the annuli: zone i holds edges[i] <= r < edges[i + 1].
    sectors : int
        Equal sectors per annulus, anticlockwise.
    start : float
        Where the first sector begins, degrees from the image's +y axis, anticlockwise.
    map : ndarray of int, shape (y, x), or None
        Labels instead of annuli: 0 belongs to no zone.

    Examples
    --------
    >>> zones = Zones.annuli([0, 4, 8], sectors=2)
    >>> np.unique(zones.labels((17, 17), (8.0, 8.0))).tolist()
    [0, 1, 2, 3, 4]
    """

    edges: tuple[float, ...] = ()
    sectors: int = 1
    start: float = 0.0
    map: np.ndarray | None = None

    @classmethod
    def annuli(cls, edges: Sequence[float], *, sectors: int = 1, start: float = 0.0) -> Zones:
        """Annuli between successive `edges` (px from the star), each in `sectors` equal parts from `start` degrees.

        Raises
        ------
        DataError
            If there are fewer than two edges, they don't increase, sectors is less than 1, or start isn't finite.
        """
        bounds = tuple(float(edge) for edge in edges)
        if len(bounds) < 2 or not all(a < b for a, b in pairwise((-1e-9, *bounds))):
            raise DataError(f"zone edges should increase from 0 or more, found {list(edges)}; e.g. [0, 10, 30]")
        if sectors < 1 or int(sectors) != sectors:
            raise DataError(f"a zone needs a whole number of sectors, at least one, found {sectors}")
        if not np.isfinite(start):
            raise DataError(f"the first sector should begin at an angle in degrees, found {start}")
        return cls(edges=bounds, sectors=int(sectors), start=float(start))

    @classmethod
    def from_labels(cls, labels: np.ndarray) -> Zones:
        """Zones from an image (y, x) of integers or booleans; 0 (False) belongs to no zone."""
        labels = np.asarray(labels)
        if (
            labels.ndim != 2
            or labels.dtype.kind not in "biu"
            or labels.size == 0
            or labels.min() < 0
            or not labels.any()
        ):
            raise DataError(f"zone labels should be a (y, x) array of integers, not all 0; found {labels.shape}")
        return cls(map=labels.astype(np.int32))

    @property
    def code(self) -> str:
        """The call that makes these zones."""
        if self.map is not None:
            return f"Zones.from_labels(array({fingerprint(self.map)!r}))"
        begin = f", start={self.start:g}" if self.start else ""
        return f"Zones.annuli({list(self.edges)}, sectors={self.sectors}{begin})"

    def __repr__(self) -> str:
        return self.code

    def labels(self, shape: tuple[int, int], center: tuple[float, float]) -> np.ndarray:
        """Zone of each pixel, from 1; 0 belongs to none.

        Raises
        ------
        DataError
            If the label image has another shape.
        """
        if self.map is not None:
            if self.map.shape != shape:
                raise DataError(f"zone labels have shape {self.map.shape}, the images have {shape}")
            return self.map
        ring = np.digitize(radii(shape, center), self.edges)  # 0 inside the first edge, len(edges) outside the last
        y, x = np.mgrid[: shape[0], : shape[1]]
        angle = np.mod(np.arctan2(center[0] - x, y - center[1]) - np.radians(self.start), 2 * np.pi)
        sector = np.minimum((angle / (2 * np.pi) * self.sectors).astype(int), self.sectors - 1)
        inside = (ring > 0) & (ring < len(self.edges))
        return np.where(inside, (ring - 1) * self.sectors + sector + 1, 0).astype(np.int32)
