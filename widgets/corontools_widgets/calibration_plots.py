"""Plots of a calibration explorer: sizes against magnitudes, strokes over the field, differences of magnitudes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np

from corontools.calibrate.look import Differences, SizeMagnitude, steps
from corontools.calibrate.look_field import Field, key_of, strokes
from corontools.display.axes import Axis
from corontools_widgets.figures import FRONT, GREY, PALETTE, Plot, Reading, entries, hover, swatch
from corontools_widgets.plots import SQUARE

__all__ = ["FieldPlot", "SizePlot", "ZeroPointPlot"]

USED, OTHER, BAND = PALETTE[0], GREY, PALETTE[2]
LABELS = {"width": "width (px)", "excess": "width \u2212 that of stars (px)"}
NOTHING = Field(*np.zeros((4, 0)))
# widths over those of stars beyond which sources are drawn at the edge
NARROWEST, WIDEST = 0.6, 1.8


class SizePlot:
    """Widths of the sources against their magnitudes, and the band that the stars are chosen from.

    The middle of each edge can be dragged: those of the band change how far off stars may be, that of the upright line
    the least S/N.

    Attributes
    ----------
    plot : Plot
    widget : ipywidgets.VBox
        To be shown: the plot with its legend.
    """

    def __init__(self) -> None:
        self.plot = Plot(Reading("instrumental magnitude"), Reading(LABELS["width"]), height="330px")
        self._edges = [self.plot.line([], [], color=BAND, stroke_width=1.6) for _ in range(2)]
        self._limit = self.plot.line([], [], color=BAND, stroke_width=1.6, line_style="dashed")
        tip = hover()
        looks = {
            "other": (OTHER, {}),
            "rejected": (PALETTE[1], {"marker": "square", "fill": False}),
            "used": (USED, {}),
        }
        self._dots = {
            name: self.plot.dots([], [], color=color, default_size=40, tooltip=tip, **style)
            for name, (color, style) in looks.items()
        }
        self._ring = self.plot.dots([], [], color=FRONT, fill=False, default_size=180, stroke_width=2.4)
        self._ring.enable_hover = False
        grip: dict[str, Any] = {
            "color": BAND,
            "marker": "diamond",
            "default_size": 150,
            "enable_move": True,
            "enable_hover": False,
        }
        self._grips = [self.plot.dots([], [], restrict_y=True, **grip) for _ in range(2)]
        self._grips.append(self.plot.dots([], [], restrict_x=True, **grip))
        self._dragged: list[Callable[[str, float], Any]] = []
        self._chosen: list[Callable[[float, float], Any]] = []
        for i, mark in enumerate(self._grips):
            mark.on_drag_end(lambda _, event, i=i: self._pulled(i, event["point"]))
        for mark in self._dots.values():
            mark.on_element_click(self._clicked)
        self.widget = self.plot.with_legend(ipywidgets.HTML(_size_legend()), flex="0 0 auto", width="100%")

    def on_drag(self, callback: Callable[[str, float], Any]) -> None:
        """Call back with "clip", and by how much the tolerance is multiplied, or with "min_snr", and that."""
        self._dragged.append(callback)

    def on_choose(self, callback: Callable[[float, float], Any]) -> None:
        """Call back with the place (px) of a source that was clicked."""
        self._chosen.append(callback)

    def show(self, sizes: SizeMagnitude, *, what: str, min_snr: float) -> None:
        """Draw other sources, their widths or by how much they are wider than stars."""
        self._sizes, self._what = sizes, what
        chosen = sizes.candidate
        self._y = sizes.width if what == "width" else sizes.excess
        expected = sizes.expected[chosen] if what == "width" and chosen.any() else np.zeros(1)
        self._middle = float(expected.min()), float(expected.max())
        low, high = self._middle[0] - sizes.tolerance, self._middle[1] + sizes.tolerance
        self._at_limit = sizes.mag_at(min_snr)
        typical = float(np.median(sizes.expected[chosen])) if chosen.any() else 1.0
        ends = np.array([NARROWEST, WIDEST]) * typical - (0 if what == "width" else typical)
        self._y = np.clip(self._y, min(ends[0], low - sizes.tolerance), max(ends[1], high + sizes.tolerance))
        x = Axis.around([sizes.mag[np.isfinite(self._y)], [self._at_limit]], pad=0.05)
        y = Axis.around([self._y, [low - sizes.tolerance, high + sizes.tolerance]], pad=0.06)
        self.plot.show(x, y, y_reading=Reading(LABELS[what]))
        for edge, level in zip(self._edges, (low, high), strict=True):
            self.plot.move(edge, [x.low, x.high], [level, level])
        self.plot.move(self._limit, [self._at_limit] * 2, [y.low, y.high])
        self._put_grips(x, y, (low, high))
        self._put_dots()

    def _put_grips(self, x: Axis, y: Axis, levels: tuple[float, float]) -> None:
        near = x.low + 0.12 * (x.high - x.low)
        for mark, level in zip(self._grips, levels, strict=False):
            self.plot.move(mark, [near], [level])
        self.plot.move(self._grips[2], [self._at_limit], [y.low + 0.88 * (y.high - y.low)])

    def _put_dots(self) -> None:
        sizes = self._sizes
        texts = np.array([f"width {w:.3g} px, S/N {s:.0f}" for w, s in zip(sizes.width, sizes.snr, strict=True)])
        parts = {"other": ~sizes.candidate, "rejected": sizes.candidate & ~sizes.used, "used": sizes.used}
        for name, rows in parts.items():
            self.plot.move(self._dots[name], sizes.mag[rows], self._y[rows], texts[rows])

    def ring(self, x: float | None, y: float | None, *, within: float = 2.0) -> None:
        """Ring about the source at a place (px); None for none."""
        rows = np.zeros(0, int)
        if x is not None and y is not None:
            rows = np.flatnonzero(np.hypot(self._sizes.x - x, self._sizes.y - y) <= within)[:1]
        self.plot.move(self._ring, self._sizes.mag[rows], self._y[rows])

    def _pulled(self, grip: int, point: dict[str, Any]) -> None:
        if grip == 2:
            name, value = "min_snr", self._sizes.snr_at(float(point["x"]))
        else:
            off = float(point["y"]) - self._middle[1] if grip else self._middle[0] - float(point["y"])
            name, value = "clip", max(off, 0.0) / self._sizes.tolerance
        for callback in self._dragged:
            callback(name, value)

    def _clicked(self, _: Any, event: dict[str, Any]) -> None:
        data, sizes = event["data"], self._sizes
        away = np.hypot(sizes.mag - data["x"], self._y - data["y"])
        if np.isfinite(away).any():
            row = int(np.nanargmin(away))
            for callback in self._chosen:
                callback(float(sizes.x[row]), float(sizes.y[row]))


def _size_legend() -> str:
    kinds = [(swatch(USED, marker="o"), "PSF fitted to"), (swatch(PALETTE[1], marker="s"), "chosen, then rejected")]
    kinds += [
        (swatch(OTHER, marker="o"), "others"),
        (swatch(BAND), "widths of stars"),
        (swatch(BAND, "dashed"), "least S/N"),
    ]
    return entries(kinds)


class FieldPlot:
    """Strokes over the field: whiskers or arrows, and a key.

    Parameters
    ----------
    shape : (int, int)
        Of the image, (y, x).
    arrows : bool
    """

    def __init__(self, shape: tuple[int, int], *, arrows: bool = False) -> None:
        self.plot = Plot(Reading("x (px)"), Reading("y (px)"), height="380px")
        self.plot.figure.min_aspect_ratio = self.plot.figure.max_aspect_ratio = SQUARE
        self._shape, self._arrows = shape, arrows
        colors = (PALETTE[0], FRONT)
        # what is in front is the thinner one: both are seen where they agree
        self._lines = [self.plot.line([], [], color=c, stroke_width=w) for c, w in zip(colors, (2.6, 1.2), strict=True)]
        self._key = self.plot.line([], [], color=PALETTE[2], stroke_width=2.4)
        self._legend = ipywidgets.HTML()
        self._colors = colors
        self.widget = self.plot.with_legend(self._legend, flex="0 0 auto", width="100%", max_width="440px")

    def show(self, fields: Sequence[Field], names: Sequence[str]) -> None:
        """Draw other vectors, at most two sets, each with a name."""
        side = max(self._shape)
        room = 0.04 * side
        middle = [(n - 1) / 2 for n in self._shape]
        y, x = (Axis(m - side / 2 - room, m + side / 2 + room) for m in middle)
        self.plot.show(x, y)
        key, scale = key_of(tuple(fields), side)
        for i, line in enumerate(self._lines):
            field = fields[i] if i < len(fields) else NOTHING
            self.plot.move(line, *strokes(field, scale, arrows=self._arrows))
        place = np.array([x.low + room]), np.array([y.low + room])
        upright = fields[0].unit == "%"
        vector = np.array([0.0 if upright else key]), np.array([key if upright else 0.0])
        half = 0.0 if self._arrows else scale * key / 2
        at = Field(place[0] + (0 if upright else half), place[1] + (half if upright else 0), *vector)
        self.plot.move(self._key, *strokes(at, scale, arrows=self._arrows))
        unit = fields[0].unit
        words = [(swatch(color), name) for color, name in zip(self._colors, names, strict=False)]
        told = f"{key:g} {unit}" if unit else f"ellipticity {key:g}"
        self._legend.value = entries([*words, (swatch(PALETTE[2]), f"key: {told}")])


class ZeroPointPlot:
    """Histogram of differences of magnitudes, with the zero point and the limits of each round of clipping."""

    def __init__(self) -> None:
        self.plot = Plot(Reading("reference \u2212 instrumental magnitude"), Reading("stars"), height="330px")
        self._limits = self.plot.line([[]], [[]], color=PALETTE[1], stroke_width=1.2, line_style="dashed")
        self._every = self.plot.line([], [], color=GREY, stroke_width=1.2, fill="bottom", fill_opacities=[0.2])
        self._used = self.plot.line([], [], color=PALETTE[0], stroke_width=1.6, fill="bottom", fill_opacities=[0.25])
        self._value = self.plot.line([], [], color=FRONT, stroke_width=2.0)
        self._legend = ipywidgets.HTML()
        self.widget = self.plot.with_legend(self._legend, flex="0 0 auto", width="100%")

    def show(self, found: Differences, zero_point: float) -> None:
        """Draw another fit; limits get denser from round to round."""
        top = float(found.every.max(initial=1)) * 1.08
        self.plot.show(Axis(float(found.edges[0]), float(found.edges[-1])), Axis(0.0, top))
        for line, counts in ((self._every, found.every), (self._used, found.used)):
            self.plot.move(line, *steps(found.edges, counts))
        ends = found.limits.ravel()
        self._limits.opacities = np.repeat(np.linspace(0.35, 1.0, len(found.limits)), 2).tolist()
        self.plot.move(self._limits, np.stack([ends, ends], axis=-1), np.tile([0.0, top], (len(ends), 1)))
        self.plot.move(self._value, [zero_point] * 2, [0.0, top])
        rounds = f"clip limits of {len(found.limits)} rounds" if len(found.limits) > 1 else "clip limits"
        words = [(swatch(PALETTE[0]), "used"), (swatch(GREY), "all"), (swatch(FRONT), "zero point")]
        words.append((swatch(PALETTE[1], "dashed"), rounds))
        self._legend.value = entries(words) + _beyond(found.outside)


def _beyond(outside: int) -> str:
    return entries([("", f"{outside} beyond the axis")]) if outside else ""
