"""What is drawn over an image on the sky: rings of separation, marks, compass, scale bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from corontools.display.axes import Axis, Canvas, Labels
from corontools.display.svg import Box, element, label, place, shorten, text_width
from corontools.display.ticks import number
from corontools.errors import DataError

__all__ = ["DARK_INK", "Ink", "Mark", "Sky", "overlay"]

ROW = 15.0  # px, height of a line of text
LARGEST_RING = 1e5  # px
LEAST_SIDE = 120.0  # px; on a smaller image compass and scale bar would cover the data


@dataclass(frozen=True)
class Sky:
    """How the pixels of an image lie on the sky.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the image, (n_y, n_x).
    pixel_scale : float, optional
        Arcsec per pixel; without it axes and rings are in pixels.
    center : (float, float), optional
        0-based (x, y) of the star, the origin of the axes in arcsec; by default the middle of the image.
    pa_y : float, optional
        Position angle of the +y axis, degrees east of north; without it there is no compass. Where it is 0,
        the axes are labelled as right ascension and declination.
    parity : int
        -1 where east is to the left of north, as on the sky; +1 for a mirror image.

    Raises
    ------
    DataError
        No pixels, a pixel scale that is not positive, or a centre or angle that is not finite.
    """

    shape: tuple[int, int]
    pixel_scale: float | None = None
    center: tuple[float, float] | None = None
    pa_y: float | None = None
    parity: int = -1

    def __post_init__(self) -> None:
        scale = 1.0 if self.pixel_scale is None else float(self.pixel_scale)
        others = (*(self.center or ()), self.pa_y or 0.0)
        if (
            len(self.shape) != 2
            or min(self.shape) < 1
            or not 0 < scale < math.inf
            or not all(map(math.isfinite, others))
        ):
            raise DataError(
                "an image on the sky needs rows and columns, a positive pixel scale and a finite centre, "
                f"found {self.shape}, {self.pixel_scale}, {self.center}, pa_y={self.pa_y}"
            )

    @property
    def origin(self) -> tuple[float, float]:
        """0-based (x, y) of the star, or the middle of the image."""
        return self.center or ((self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2)

    @property
    def north_up(self) -> bool:
        """Whether +y points north, so that the axes are those of the sky."""
        return self.pixel_scale is not None and self.pa_y is not None and abs((self.pa_y + 180) % 360 - 180) < 0.01

    def direction(self, pa: float) -> tuple[float, float]:
        """Unit vector (x, y) in the image, y upwards, of a position angle in degrees.

        Examples
        --------
        >>> x, y = Sky((64, 64), pa_y=90).direction(90)  # +y points east
        >>> round(x, 6), round(y, 6)
        (-0.0, 1.0)
        """
        turn = math.radians(pa - (self.pa_y or 0.0))
        return self.parity * math.sin(turn), math.cos(turn)

    def axes(self) -> tuple[Axis, Axis, Labels]:
        """Axes that span the image from edge to edge, and their labels."""
        rows, columns = self.shape
        if self.pixel_scale is None:
            return Axis(-0.5, columns - 0.5), Axis(-0.5, rows - 0.5), Labels("x (px)", "y (px)")
        (x, y), scale = self.origin, self.pixel_scale
        flip = self.parity if self.north_up else 1
        words = (
            Labels("\u0394RA (arcsec)", "\u0394Dec (arcsec)")
            if self.north_up
            else Labels("\u0394x (arcsec)", "\u0394y (arcsec)")
        )
        across = Axis(flip * (-0.5 - x) * scale, flip * (columns - 0.5 - x) * scale)
        return across, Axis((-0.5 - y) * scale, (rows - 0.5 - y) * scale), words


@dataclass(frozen=True)
class Mark:
    """A circle about a source.

    Attributes
    ----------
    x, y : float
        0-based pixel; a mark with a NaN is left out.
    label : str
        Written beside it.
    radius : float
        Of the circle, CSS pixels.
    color : str, optional
        Any SVG colour; by default one that stands out on the palette.
    """

    x: float
    y: float
    label: str = ""
    radius: float = 10.0
    color: str | None = None


@dataclass(frozen=True)
class Ink:
    """Colours that stand out on a picture: of lines, of marks, and of the halo about both."""

    line: str = "#ffffff"
    mark: str = "#8fdcff"
    halo: str = "#000000"


DARK_INK = Ink("#111111", "#004c99", "#ffffff")


@dataclass(frozen=True)
class Sheet:
    """What is drawn on: the canvas over the image, the ink, and the places that are taken so far."""

    canvas: Canvas
    sky: Sky
    ink: Ink
    taken: list[Box] = field(default_factory=list)

    @property
    def zoom(self) -> float:
        """CSS pixels per image pixel."""
        return self.canvas.box.width / self.sky.shape[1]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """SVG position of an image pixel."""
        return self.canvas.box.left + (x + 0.5) * self.zoom, self.canvas.box.bottom - (y + 0.5) * self.zoom

    def find(self, wanted: Sequence[Box]) -> Box | None:
        """The first free place in the image, which is taken from now on."""
        spot = place(wanted, self.taken, self.canvas.box)
        if spot is not None:
            self.taken.append(spot)
        return spot

    def corner(self, width: float, height: float, *, right: bool) -> Box:
        """The first free corner, those at the bottom first; without any, that at the bottom."""
        box = self.canvas.box
        lefts = (box.left + 6, box.right - width - 6)
        tops = (box.bottom - height - 6, box.top + 6)
        corners = [Box(left, top, width, height) for top in tops for left in (lefts[::-1] if right else lefts)]
        return self.find(corners) or corners[0]

    def outline(self, tag: str, color: str, *, opacity: float = 1.0, **shape: Any) -> str:
        """A line with a halo."""
        halo = {"stroke": self.ink.halo, "stroke_width": 3.6, "stroke_opacity": 0.5 * opacity}
        line = {"stroke": color, "stroke_width": 1.6, "stroke_opacity": opacity}
        return element(tag, **shape, fill="none", **halo) + element(tag, **shape, fill="none", **line)

    def words(self, text: str, spot: Box, color: str, *, size: float = 12) -> str:
        """Text with a halo, centred in its place."""
        halo: dict[str, Any] = {
            "stroke": self.ink.halo,
            "stroke_opacity": 0.7,
            "stroke_width": 3,
            "paint_order": "stroke",
        }
        x, y = spot.left + spot.width / 2, spot.top + spot.height / 2 + 0.35 * size
        return label(text, x, y, anchor="middle", size=size, fill=color, stroke_linejoin="round", **halo)


def overlay(canvas: Canvas, sky: Sky, rings: Sequence[float], marks: Sequence[Mark], *, ink: Ink) -> str:
    """Markup of all that is drawn over the image; words stay within it and off each other."""
    sheet = Sheet(canvas, sky, ink)
    marked = "".join(_mark(sheet, mark) for mark in marks)
    roomy = min(canvas.box.width, canvas.box.height) >= LEAST_SIDE
    corners = _compass(sheet) + _scale_bar(sheet) if roomy else ""
    ringed = "".join(_ring(sheet, radius) for radius in sorted(rings))
    return canvas.clipped(ringed + _star(sheet)) + corners + marked


def _mark(sheet: Sheet, mark: Mark) -> str:
    """Circle and label; a mark off the image is dashed, at the nearest edge."""
    if not (math.isfinite(mark.x) and math.isfinite(mark.y)):
        return ""
    box, r = sheet.canvas.box, mark.radius
    color = mark.color or sheet.ink.mark
    x, y = sheet.at(mark.x, mark.y)
    inside = box.left <= x <= box.right and box.top <= y <= box.bottom
    # The circle may reach over the edge of the image, but not as far as the words outside.
    circle = Box(x - r, y - r, 2 * r, 2 * r).pulled_into(box.grown(4))
    x, y = circle.left + r, circle.top + r
    sheet.taken.append(circle)
    markup = sheet.outline("circle", color, cx=x, cy=y, r=r, stroke_dasharray=None if inside else "3 3")
    text = shorten(mark.label, box.width - 8)
    if len(text) < min(3, len(mark.label)) or not text:  # an image so narrow has no room for words
        return markup
    width, gap = text_width(text), r + 4
    sides = [(gap, -ROW / 2), (-gap - width, -ROW / 2), (-width / 2, -gap - ROW), (-width / 2, gap)]
    wanted = [Box(x + dx, y + dy, width, ROW) for dx, dy in sides]
    spot = sheet.find(wanted) or wanted[0].pulled_into(box)
    sheet.taken.append(spot)
    return markup + sheet.words(text, spot, color)


def _ring(sheet: Sheet, radius: float) -> str:
    """Dashed circle; its label on the line, where the line is in the image and the place is free."""
    r = radius / (sheet.sky.pixel_scale or 1.0) * sheet.zoom
    if not 0 < r < LARGEST_RING:  # False for NaN
        return ""
    x, y = sheet.at(*sheet.sky.origin)
    markup = sheet.outline("circle", sheet.ink.line, cx=x, cy=y, r=r, stroke_dasharray="4 4", opacity=0.75)
    text = _length(sheet.sky, radius)
    width = text_width(text, 11)
    angles = [math.radians(a) for a in (90, 60, 120, 45, 135, 270, 240, 300, 0, 180, 225, 315)]
    middles = [(x + r * math.cos(a), y - r * math.sin(a)) for a in angles]
    spot = sheet.find([Box(u - width / 2, v - 7, width, 14) for u, v in middles])
    return markup + (sheet.words(text, spot, sheet.ink.line, size=11) if spot is not None else "")


def _star(sheet: Sheet) -> str:
    """Small cross at a given centre."""
    if sheet.sky.center is None:
        return ""
    x, y = sheet.at(*sheet.sky.center)
    return sheet.outline("path", sheet.ink.line, d=f"M{x - 5:.1f} {y:.1f}h10M{x:.1f} {y - 5:.1f}v10")


def _compass(sheet: Sheet) -> str:
    """Arrows to north and east, in a corner that is free."""
    if sheet.sky.pa_y is None:
        return ""
    spot = sheet.corner(78, 78, right=True)
    arrows = [(name, *sheet.sky.direction(pa)) for name, pa in (("N", 0.0), ("E", 90.0))]
    # The arrows start off the middle, so that the pair as a whole is centred.
    x = spot.left + 39 - 12 * sum(u for _, u, _ in arrows)
    y = spot.top + 39 + 12 * sum(v for _, _, v in arrows)
    return "".join(_arrow(sheet, name, (x, y), (u, -v)) for name, u, v in arrows)


def _arrow(sheet: Sheet, name: str, start: tuple[float, float], along: tuple[float, float]) -> str:
    """An arrow of 26 px along a unit vector, y downwards, and its name."""
    (x, y), (u, v) = start, along
    tip = f"{x + 26 * u:.1f} {y + 26 * v:.1f}"
    barbs = [(x + 20 * u - side * 3.5 * v, y + 20 * v + side * 3.5 * u) for side in (1, -1)]
    head = "".join(f"M{a:.1f} {b:.1f}L{tip}" for a, b in barbs)
    spot = Box(x + 36 * u - ROW / 2, y + 36 * v - ROW / 2, ROW, ROW)
    shaft = sheet.outline("path", sheet.ink.line, d=f"M{x:.1f} {y:.1f}L{tip}{head}")
    return shaft + sheet.words(name, spot, sheet.ink.line)


def _scale_bar(sheet: Sheet) -> str:
    """Bar of the longest round length within 0.3 of the width of the image."""
    unit = sheet.sky.pixel_scale or 1.0
    longest = 0.3 * sheet.sky.shape[1] * unit
    power = math.floor(math.log10(longest))
    length = next(digit for digit in (5, 2, 1) if digit * 10.0**power <= longest) * 10.0**power
    pixels = length / unit * sheet.zoom
    text = _length(sheet.sky, length)
    spot = sheet.corner(max(pixels, text_width(text)) + 12, 30, right=False)
    x, y = spot.left + spot.width / 2, spot.bottom - 7
    ends = f"M{x - pixels / 2:.1f} {y - 4:.1f}v8m0 -4h{pixels:.1f}m0 -4v8"
    words = Box(spot.left, y - 20, spot.width, ROW)
    return sheet.outline("path", sheet.ink.line, d=ends) + sheet.words(text, words, sheet.ink.line)


def _length(sky: Sky, value: float) -> str:
    return number(value) + (" px" if sky.pixel_scale is None else "\u2033")
