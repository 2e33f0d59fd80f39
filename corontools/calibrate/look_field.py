"""What is seen of the stars over the field: stamps beside each other, shapes as whiskers, offsets as arrows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from astropy.table import Table

from corontools.calibrate import summary
from corontools.calibrate.columns import column, flag
from corontools.calibrate.plane import scale_of
from corontools.calibrate.psffit import PSFFit

if TYPE_CHECKING:
    from corontools.calibrate.image import CalibratedImage

__all__ = ["Field", "Mosaic", "Strokes", "key_of", "mosaic", "offsets", "strokes", "whiskers"]

# side of a tile of the mosaic, px
TILE = 25
# length of the key in a plot of the field, over its side, and the part of the lengths that is shorter than the key
KEY, SHORTER = 0.08, 75
# legs of an arrow over its length, and their angle
HEAD, OPEN = 0.35, np.radians(25)


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Stars, models and residuals of the PSF, side by side.

    Attributes
    ----------
    images : ndarray, shape (3, y, x)
        In percent of the peak of each model; NaN where a pixel doesn't count, and between tiles.
    x, y : ndarray, shape (n,)
        Places of the stars, px; brightest first, from the upper left on, line by line.
    kept : ndarray of bool, shape (n,)
        Those of the last fit.
    corners : ndarray, shape (n, 2)
        First pixel (x, y) of each tile.
    side : int
        Of a tile, px.
    grid : (int, int)
        Lines of tiles, and tiles in each.
    """

    images: np.ndarray
    x: np.ndarray
    y: np.ndarray
    kept: np.ndarray
    corners: np.ndarray
    side: int
    grid: tuple[int, int]

    def star_at(self, x: float, y: float) -> int | None:
        """Star whose tile holds a place; None between tiles."""
        inside = ((np.array([x, y]) >= self.corners - 0.5) & (np.array([x, y]) < self.corners + self.side - 0.5)).all(1)
        return int(np.argmax(inside)) if inside.any() else None


def mosaic(fit: PSFFit, *, most: int = 48, side: int = TILE, grid: tuple[int, int] | None = None) -> Mosaic:
    """The brightest stars of a PSF with their models and what is left, so many at most.

    With `grid`, lines and tiles in each, as many as go in there: two mosaics of the same size can be compared.
    """
    order = np.argsort(-fit.stars.flux, kind="stable")[: most if grid is None else grid[0] * grid[1]]
    stars, models = fit.stars.of(order), fit.psf.images(fit.stars.x[order], fit.stars.y[order])
    edge = max(0, (models.shape[1] - side) // 2)
    side = models.shape[1] - 2 * edge
    middle = (slice(None), slice(edge, edge + side), slice(edge, edge + side))
    scale = 100 / (stars.flux * models.max(axis=(1, 2)))[:, None, None]
    models = (models * stars.flux[:, None, None] * scale)[middle]
    seen = np.where(stars.good, stars.pixels * scale, np.nan)[middle]
    across = int(np.ceil(np.sqrt(len(order))))
    down, across = grid or (-(-len(order) // across), across)
    line, place = np.divmod(np.arange(len(order)), across)
    corners = np.stack([place, down - 1 - line], axis=1) * (side + 1)
    made = np.full((3, down * (side + 1) - 1, across * (side + 1) - 1), np.nan, np.float32)
    for (x, y), *tiles in zip(corners, seen, models, seen - models, strict=True):
        made[:, y : y + side, x : x + side] = tiles
    return Mosaic(made, stars.x, stars.y, fit.kept[order], corners, side, (down, across))


class Field(NamedTuple):
    """Vectors at places of the field: x, y (px), dx, dy (in `unit`), each (n,)."""

    x: np.ndarray
    y: np.ndarray
    dx: np.ndarray
    dy: np.ndarray
    unit: str = ""

    @property
    def length(self) -> np.ndarray:
        """Of each vector."""
        return np.hypot(self.dx, self.dy)


def whiskers(calibrated: CalibratedImage, what: str = "shape") -> tuple[Field, ...]:
    """Shapes of the stars of the PSF.

    Parameters
    ----------
    calibrated : CalibratedImage
        With its PSF.
    what : {"shape", "residual", "size"}
        Ellipticity of stars, and of the PSF there; that of the stars less that of the PSF; how much wider stars are
        than the PSF, in percent, upwards.
    """
    table = summary._measured(calibrated)
    table = table[flag(table, "calib_psf_used")]
    x, y = (column(table, f"slot_Centroid_{axis}") for axis in "xy")
    parts = ("xx", "yy", "xy")
    if "slot_PsfShape_xx" not in table.colnames:
        moments = summary._shape(calibrated.psf, x, y)[:3]
        table = Table({f"slot_Shape_{part}": table[f"slot_Shape_{part}"] for part in parts})
        for part, values in zip(parts, moments, strict=True):
            table[f"slot_PsfShape_{part}"] = values
    star, model = (
        summary._ellipticity(table, f"slot_{kind}", np.ones(len(table), bool)) for kind in ("Shape", "PsfShape")
    )
    if what == "size":
        return (Field(x, y, np.zeros(len(x)), 100 * (star.radius / model.radius - 1), "%"),)
    if what == "residual":
        return (Field(x, y, *_along(star.e1 - model.e1, star.e2 - model.e2)),)
    return tuple(Field(x, y, *_along(one.e1, one.e2)) for one in (star, model))


def _along(e1: np.ndarray, e2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A stroke as long as the ellipticity, along the major axis."""
    length, angle = np.hypot(e1, e2), np.arctan2(e2, e1) / 2
    return length * np.cos(angle), length * np.sin(angle)


def offsets(calibrated: CalibratedImage) -> Field:
    """How far the references are from their sources by the fitted WCS, mas along x and y."""
    assert calibrated.astrometry is not None
    x, y, dx, dy = calibrated.astrometry.residuals.T
    scale = 1000 * scale_of(calibrated.astrometry.wcs)
    return Field(x, y, dx * scale, dy * scale, "mas")


class Strokes(NamedTuple):
    """Lines as one, with NaN between them."""

    x: np.ndarray
    y: np.ndarray


def key_of(fields: tuple[Field, ...], side: float) -> tuple[float, float]:
    """A round length that stands for the others, and how many px of the field are drawn for a length of 1."""
    known = np.concatenate([field.length[np.isfinite(field.length)] for field in fields])
    typical = float(np.percentile(known, SHORTER)) if known.size else 0.0
    power = 10.0 ** np.floor(np.log10(typical)) if typical > 0 else 1.0
    key = power * max(step for step in (1, 2, 5) if step * power <= max(typical, power))
    return float(key), KEY * side / float(key)


def strokes(field: Field, scale: float, *, arrows: bool = False) -> Strokes:
    """Lines of `scale` px for a length of 1: about their places, or arrows that start there."""
    dx, dy = scale * field.dx, scale * field.dy
    if not arrows:
        return _joined([(field.x - dx / 2, field.y - dy / 2), (field.x + dx / 2, field.y + dy / 2)])
    tip = field.x + dx, field.y + dy
    legs = [(tip[0] - HEAD * (dx * c - dy * s), tip[1] - HEAD * (dx * s + dy * c))
            for c, s in ((np.cos(a), np.sin(a)) for a in (OPEN, -OPEN))]  # fmt: skip
    return _joined([(field.x, field.y), tip, legs[0], tip, legs[1]])


def _joined(points: list[tuple[np.ndarray, np.ndarray]]) -> Strokes:
    gap = np.full(len(points[0][0]), np.nan)
    x, y = (np.stack([*(point[axis] for point in points), gap], axis=1).ravel() for axis in (0, 1))
    return Strokes(x, y)
