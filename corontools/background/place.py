"""Where an image lies on the detector."""

from __future__ import annotations

from dataclasses import dataclass

from corontools.errors import DataError
from corontools.exposure import Exposure

__all__ = ["Area"]

Slices = tuple[slice, slice]


@dataclass(frozen=True)
class Area:
    """Pixels of the full frame that an image covers.

    Attributes
    ----------
    x, y : int
        0-based position of the first pixel on the full frame (SUBSTRT1 - 1, SUBSTRT2 - 1).
    nx, ny : int
        Size, px.
    known : bool
        Whether the header tells the place; where it doesn't, the image begins at (0, 0), or lies where an image of
        the same size does.
    """

    x: int
    y: int
    nx: int
    ny: int
    known: bool = True

    @classmethod
    def of(cls, exposure: Exposure) -> Area:
        """From SUBSTRT1, SUBSTRT2 and the shape.

        Raises
        ------
        DataError
            If SUBSIZE1, SUBSIZE2 tell another size: the image was cut, and its place isn't known.
        """
        ny, nx = exposure.shape[-2:]
        start = [exposure.meta.card(key) for key in ("SUBSTRT1", "SUBSTRT2")]
        size = [exposure.meta.card(key) for key in ("SUBSIZE1", "SUBSIZE2")]
        if None in start:
            return cls(0, 0, nx, ny, known=False)
        if None not in size and (int(size[0]), int(size[1])) != (nx, ny):
            raise DataError(
                f"{exposure._name}: the header has SUBSIZE1, SUBSIZE2 = {size[0]}, {size[1]}, the image is {nx} x {ny} "
                "px, so its place on the detector isn't known; give the image as it was read out"
            )
        return cls(int(start[0]) - 1, int(start[1]) - 1, nx, ny)

    def beside(self, other: Area) -> Area:
        """The same, at the place of another of its size if its own isn't known."""
        return other if not self.known and (self.nx, self.ny) == (other.nx, other.ny) else self

    def overlap(self, other: Area) -> tuple[Slices, Slices] | None:
        """Rows and columns of this image, and of the other, that both cover; None where they share no pixel."""
        left, right = max(self.x, other.x), min(self.x + self.nx, other.x + other.nx)
        low, high = max(self.y, other.y), min(self.y + self.ny, other.y + other.ny)
        if left >= right or low >= high:
            return None
        mine = slice(low - self.y, high - self.y), slice(left - self.x, right - self.x)
        theirs = slice(low - other.y, high - other.y), slice(left - other.x, right - other.x)
        return mine, theirs

    def union(self, other: Area) -> Area:
        """The smallest area that holds both."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        right, top = max(self.x + self.nx, other.x + other.nx), max(self.y + self.ny, other.y + other.ny)
        return Area(x, y, right - x, top - y, known=self.known or other.known)

    def __str__(self) -> str:
        return f"columns {self.x} to {self.x + self.nx - 1}, rows {self.y} to {self.y + self.ny - 1}"
