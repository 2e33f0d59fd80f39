"""The axes of a figure: limits, the room that labels need, ticks, grid."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corontools.display.svg import Box, element, label, shorten, text_width
from corontools.display.ticks import Ticks, linear_ticks, log_ticks
from corontools.errors import DataError

__all__ = ["Axis", "Canvas", "Labels", "draw_axes", "lay_out"]

LINE = "#444444"
GRID = "#e4e4e4"
FAR = 1e5  # px; what lies farther outside is drawn there, out of sight
LARGEST = 1e290
BOLD = 1.12  # width of bold text over that of plain text


@dataclass(frozen=True)
class Axis:
    """Data range of an axis; `low` is at the left or at the bottom, and may be the greater value.

    Attributes
    ----------
    low, high : float
        Data values at the two ends, finite and different.
    log : bool
        Logarithmic.
    """

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(
        cls,
        values: Iterable[ArrayLike],
        *,
        log: bool = False,
        limits: tuple[float, float] | None = None,
        pad: float = 0.04,
    ) -> Axis:
        """Axis that holds all finite values (positive ones if `log`) with a margin of `pad` times the range.

        Raises
        ------
        DataError
            `limits` are given and are not two different finite numbers, positive ones if `log`.
        """
        if limits is not None:
            return cls(*_checked(limits, log), log=log)
        known = np.concatenate([np.zeros(0), *(np.ravel(np.asarray(v, dtype=float)) for v in values)])
        known = known[np.isfinite(known) & ((known > 0) | (not log))]
        if log:
            ends = _span(np.log10(known), pad, default=(-1.0, 0.0), narrowest=0.1)
            return cls(10.0 ** max(ends[0], -290.0), 10.0 ** min(ends[1], 290.0), log=True)
        return cls(*_span(np.clip(known, -LARGEST, LARGEST), pad, default=(0.0, 1.0)))

    def fraction(self, values: ArrayLike) -> NDArray[np.float64]:
        """Place along the axis, 0 to 1 within it; NaN where there is none."""
        v = np.asarray(values, dtype=float)
        if not self.log:
            # halves, because a difference of large values may overflow
            return (v / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        positive = np.where(v > 0, v, np.nan)
        start, stop = math.log(self.low), math.log(self.high)
        return (np.log(positive) - start) / (stop - start)

    def ticks(self, length: float, *, upright: bool) -> Ticks:
        """Ticks for an axis of so many pixels, as many as have room for their labels."""
        low, high = sorted((self.low, self.high))
        for count in range(max(5, int(length / (34 if upright else 42))), 1, -1):
            ticks = log_ticks(low, high, count) if self.log else linear_ticks(low, high, count)
            if self._have_room(ticks, length, upright):
                return ticks
        return replace(ticks, labels=("",) * len(ticks.major))

    def _have_room(self, ticks: Ticks, length: float, upright: bool) -> bool:
        places = self.fraction(ticks.major) * length
        sizes = np.array([16.0 if upright else text_width(text) + 5 for text in ticks.labels])
        return bool(np.all(np.abs(np.diff(places)) >= (sizes[1:] + sizes[:-1]) / 2))


@dataclass(frozen=True)
class Labels:
    """Words around the axes; ``^-1`` in them is drawn as a superscript."""

    x: str = ""
    y: str = ""
    title: str = ""


@dataclass(frozen=True)
class Canvas:
    """The box of the plot within a figure, its two axes and the words around them."""

    box: Box
    x: Axis
    y: Axis
    labels: Labels = Labels()

    def at(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """SVG pixels, shape (n, 2), of data points; NaN where there is no data, far off where it is infinite."""
        fx, fy = np.broadcast_arrays(np.ravel(self.x.fraction(x)), np.ravel(self.y.fraction(y)))
        px = np.clip(self.box.left + fx * self.box.width, -FAR, FAR)
        return np.stack([px, np.clip(self.box.bottom - fy * self.box.height, -FAR, FAR)], axis=-1)

    def clipped(self, body: str) -> str:
        """Markup of which only what lies within the box is seen."""
        box = self.box
        view = f"{box.left:g} {box.top:g} {box.width:g} {box.height:g}"
        # A nested svg clips without an id, which would clash where several figures share a page.
        return element(
            "svg",
            body,
            x=box.left,
            y=box.top,
            width=box.width,
            height=box.height,
            viewBox=view,
            overflow="hidden",
        )


def lay_out(size: tuple[float, float], x: Axis, y: Axis, labels: Labels, *, right: float = 0.0) -> Canvas:
    """Canvas that leaves room for title, ticks and labels, and for `right` pixels beside the plot."""
    width, height = size
    top = 34.0 if labels.title else 14.0
    bottom = 46.0 if labels.x or x.ticks(0.8 * width, upright=False).factor else 28.0
    y_ticks = y.ticks(height - top - bottom, upright=True)
    if y_ticks.factor:
        top = max(top, 26.0) + (8.0 if labels.title else 0.0)
    left = 16.0 + max(map(text_width, y_ticks.labels), default=0.0) + (20.0 if labels.y else 0.0)
    x_ticks = x.ticks(width - left - 16, upright=False)
    edge = 8.0 + max(8.0, max(map(text_width, x_ticks.labels), default=0.0) / 2)
    box = Box(math.ceil(left), top, math.floor(width - math.ceil(left) - edge - right), height - top - bottom)
    return Canvas(box, x, y, labels)


def draw_axes(canvas: Canvas, size: tuple[float, float], *, ticks: str = "in") -> tuple[str, str]:
    """Markup below the data (grid) and above it (frame, ticks and all words).

    `ticks` are "in", with a grid, or "out", without, for images on which they could not be seen.
    """
    box = canvas.box
    x_ticks, y_ticks = canvas.x.ticks(box.width, upright=False), canvas.y.ticks(box.height, upright=True)
    xs, ys = canvas.at(x_ticks.major, canvas.y.low)[:, 0], canvas.at(canvas.x.low, y_ticks.major)[:, 1]
    lines = [f"M{x:.1f} {box.top:g}V{box.bottom:g}" for x in xs] + [f"M{box.left:g} {y:.1f}H{box.right:g}" for y in ys]
    below = element("path", d="".join(lines), stroke=GRID, fill="none") if ticks == "in" and lines else ""
    frame = {"x": box.left, "y": box.top, "width": box.width, "height": box.height}
    above = [
        element("rect", **frame, fill="none", stroke=LINE),
        _tick_marks(canvas, x_ticks, y_ticks, 1 if ticks == "in" else -1),
        *(label(t, x, box.bottom + 17, anchor="middle") for t, x in zip(x_ticks.labels, xs, strict=True) if t),
        *(label(t, box.left - 7, y + 4, anchor="end") for t, y in zip(y_ticks.labels, ys, strict=True) if t),
        _words(box, canvas.labels, size, (x_ticks.factor, y_ticks.factor)),
    ]
    return below, "".join(above)


def _tick_marks(canvas: Canvas, x_ticks: Ticks, y_ticks: Ticks, inward: int) -> str:
    box, path = canvas.box, []
    lengths = (5 * inward, 3 * inward)
    for values, length in zip((x_ticks.major, x_ticks.minor), lengths, strict=True):
        path += [f"M{x:.1f} {box.bottom:g}v{-length}" for x in canvas.at(values, canvas.y.low)[:, 0]]
    for values, length in zip((y_ticks.major, y_ticks.minor), lengths, strict=True):
        path += [f"M{box.left:g} {y:.1f}h{length}" for y in canvas.at(canvas.x.low, values)[:, 1]]
    return element("path", d="".join(path), stroke=LINE, fill="none") if path else ""


def _words(box: Box, labels: Labels, size: tuple[float, float], factors: tuple[str, str]) -> str:
    """Title, axis labels and the powers of ten taken out of the tick labels."""
    width, height = size
    words = []
    if labels.title:
        words.append(label(shorten(labels.title, (width - 24) / BOLD, 13.5), 12, 20, size=13.5, font_weight=600))
    if labels.x:
        room = 2 * min(box.left + box.width / 2, width - box.left - box.width / 2) - 8 - 2 * text_width(factors[0])
        words.append(label(shorten(labels.x, room), box.left + box.width / 2, box.bottom + 36, anchor="middle"))
    if labels.y:
        words.append(_upright(labels.y, box, (26.0 if labels.title else 6.0, height - 6)))
    if factors[0]:
        words.append(label(factors[0], box.right, min(box.bottom + 36, height - 5), anchor="end", size=11))
    if factors[1]:
        words.append(label(factors[1], box.left, box.top - 6, size=11))
    return "".join(words)


def _upright(text: str, box: Box, span: tuple[float, float]) -> str:
    """Label of the y axis: at the middle of the plot, or as near as it fits between two heights."""
    shown = shorten(text, span[1] - span[0])
    half = text_width(shown) / 2
    middle = max(span[0] + half, min(box.top + box.height / 2, span[1] - half))
    return label(shown, 17, middle, anchor="middle", turn=-90)


def _checked(limits: tuple[Any, Any], log: bool) -> tuple[float, float]:
    low, high = float(limits[0]), float(limits[1])
    usable = abs(low) <= LARGEST and abs(high) <= LARGEST and low != high  # False for NaN
    if not usable or (log and min(low, high) <= 0):
        kind = "different positive" if log else "different finite"
        raise DataError(f"limits of an axis should be two {kind} numbers, found ({limits[0]}, {limits[1]})")
    return low, high


def _span(
    values: NDArray[np.float64], pad: float, *, default: tuple[float, float], narrowest: float = 1e-280
) -> tuple[float, float]:
    """Range of the values with a margin; never so narrow that ticks could not be told apart."""
    if values.size == 0:
        return default
    low, high = float(values.min()), float(values.max())
    middle, half = low / 2 + high / 2, (high / 2 - low / 2) * (1 + 2 * pad)
    if half <= 1e-9 * abs(middle):
        half = 0.1 * abs(middle) or 1.0
    half = max(half, narrowest / 2)
    return middle - half, middle + half
