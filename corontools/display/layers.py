"""What is drawn between the axes of a figure: curves, bands, points, error bars, names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corontools.display.axes import Canvas
from corontools.display.markup import escape
from corontools.display.scale import unknown
from corontools.display.svg import element
from corontools.errors import DataError

__all__ = ["COLORS", "Drawn", "Layer", "Points", "Series", "colors_of", "curve_layer", "origin_layer", "point_layer"]

# Okabe & Ito (2008), in an order that keeps neighbours apart; yellow, faint on white, comes last.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")
DASHES = {"solid": None, "dashed": "7 4", "dotted": "1.5 3.5", "dashdot": "8 3 1.5 3"}
# Drawn about (0, 0), some 8 px across.
MARKERS = {
    "o": "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0Z",
    "s": "M-3.2 -3.2H3.2V3.2H-3.2Z",
    "^": "M0 -4.2L3.9 3H-3.9Z",
    "D": "M0 -4.4L4.4 0L0 4.4L-4.4 0Z",
    "x": "M-3.2 -3.2L3.2 3.2M-3.2 3.2L3.2 -3.2",
    "+": "M-4 0H4M0 -4V4",
}
LONG = 4000  # points of a curve that are drawn one by one


@dataclass(frozen=True, eq=False)
class Series:
    """A curve.

    Attributes
    ----------
    x, y : array_like, shape (n,)
        Data; the line breaks where either is NaN, or not positive on a logarithmic axis.
    label : str
        Words in the legend; none when empty.
    color : str, optional
        Any SVG colour; by default the next of `COLORS`.
    dash : {"solid", "dashed", "dotted", "dashdot"}
        Line style.
    marker : {"", "o", "s", "^", "D", "x", "+"}
        Drawn at every point.
    width : float
        Of the line, px; 0 for no line.
    band : (array_like, array_like), optional
        Lower and upper values, shaded.
    """

    x: ArrayLike
    y: ArrayLike
    label: str = ""
    color: str | None = None
    dash: str = "solid"
    marker: str = ""
    width: float = 1.8
    band: tuple[ArrayLike, ArrayLike] | None = None


@dataclass(frozen=True, eq=False)
class Points:
    """Points with error bars.

    Attributes
    ----------
    x, y : array_like, shape (n,)
        Data; a point with a NaN is left out.
    x_err, y_err : array_like
        Half lengths of the error bars, one number or one a point; NaN or 0 for none.
    names : sequence of str
        Written beside the points; empty, or one a point.
    label : str
        Words in the legend; none when empty.
    color : str, optional
        Any SVG colour; by default the next of `COLORS`.
    marker : {"o", "s", "^", "D", "x", "+"}
        Its shape.
    """

    x: ArrayLike
    y: ArrayLike
    x_err: ArrayLike = 0.0
    y_err: ArrayLike = 0.0
    names: Sequence[str] = ()
    label: str = ""
    color: str | None = None
    marker: str = "o"

    def ends(self, which: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Both ends of the error bars along "x" or "y", shape (n,)."""
        values, errors = (self.x, self.x_err) if which == "x" else (self.y, self.y_err)
        middle = np.ravel(np.asarray(values, dtype=float))
        half = np.broadcast_to(np.nan_to_num(np.asarray(errors, dtype=float), posinf=0.0), middle.shape)
        return middle - half, middle + half


@dataclass(frozen=True)
class Drawn:
    """Markup of a layer, segments that words should not cover, and names to write beside points (x, y)."""

    body: str
    segments: NDArray[np.float64]
    names: Sequence[tuple[float, float, str]] = ()


@dataclass(frozen=True)
class Layer:
    """A layer to draw, and its words and swatch in the legend."""

    label: str
    swatch: str
    draw: Callable[[Canvas], Drawn]


def colors_of(wanted: Sequence[str | None]) -> list[str]:
    """The colours, the missing ones taken in turn from `COLORS`.

    Examples
    --------
    >>> colors_of([None, "gray", None])
    ['#0072b2', 'gray', '#d55e00']
    """
    missing = iter(range(len(wanted)))
    return [COLORS[next(missing) % len(COLORS)] if color is None else color for color in wanted]


def curve_layer(series: Series, color: str) -> Layer:
    """Line, band and markers of a curve."""
    if series.dash not in DASHES:
        raise unknown("dash", series.dash, tuple(DASHES))
    x, y = _pairs(series.x, series.y)
    edges = () if series.band is None else tuple(_pairs(x, edge)[1] for edge in series.band)

    def draw(canvas: Canvas) -> Drawn:
        runs = _runs(canvas.at(x, y))
        shade, outline = _band([canvas.at(x, edge) for edge in edges], color)
        body = shade + _line(runs, series, color) + _markers(_joined(runs), series.marker, color)
        return Drawn(body, np.concatenate([outline, *map(_segments, runs)]))

    shade = element("rect", x=-11, y=-5, width=22, height=10, fill=color, fill_opacity=0.2) if edges else ""
    swatch = shade + _line([np.array([[-11.0, 0.0], [11.0, 0.0]])], series, color)
    return Layer(series.label, swatch + _markers(np.zeros((1, 2)), series.marker, color), draw)


def point_layer(points: Points, color: str) -> Layer:
    """Markers, error bars and names of a group of points."""
    x, y = _pairs(points.x, points.y)
    names = list(points.names)
    if len(names) not in (0, len(x)):
        raise DataError(f"names should be empty or one a point, found {len(names)} for {len(x)} points")
    (x0, x1), (y0, y1) = points.ends("x"), points.ends("y")

    def draw(canvas: Canvas) -> Drawn:
        at = canvas.at(x, y)
        across = np.hstack([canvas.at(x0, y), canvas.at(x1, y)])
        bars = np.concatenate([across, np.hstack([canvas.at(x, y0), canvas.at(x, y1)])])
        bars = bars[np.isfinite(bars).all(axis=1)]
        path = "".join(f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" for a, b, c, d in bars)
        body = element("path", d=path, stroke=color, stroke_opacity=0.6, fill="none") if path else ""
        body += _markers(at, points.marker, color, names)
        known = np.flatnonzero(np.isfinite(at).all(axis=1)) if names else ()
        words = [(float(at[i, 0]), float(at[i, 1]), names[i]) for i in known]
        return Drawn(body, np.concatenate([bars, np.hstack([at, at])]), words)

    return Layer(points.label, _markers(np.zeros((1, 2)), points.marker, color), draw)


def origin_layer() -> Layer:
    """Dashed lines through zero, where zero is in view."""

    def draw(canvas: Canvas) -> Drawn:
        box = canvas.box
        (x, y), *_ = canvas.at(0.0, 0.0)
        path = (f"M{x:.1f} {box.top:g}V{box.bottom:g}" if box.left < x < box.right else "") + (
            f"M{box.left:g} {y:.1f}H{box.right:g}" if box.top < y < box.bottom else ""
        )
        style = {"stroke": "#888888", "stroke_dasharray": "5 4", "fill": "none"}
        return Drawn(element("path", d=path, **style) if path else "", np.zeros((0, 4)))

    return Layer("", "", draw)


def _pairs(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = (np.ravel(np.asarray(values, dtype=float)) for values in (x, y))
    if first.size != second.size:
        raise DataError(f"x and y should be of one length, found {first.size} and {second.size}")
    return first, second


def _runs(at: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Stretches of consecutive points without NaN."""
    known = np.isfinite(at).all(axis=1)
    starts = np.flatnonzero(np.diff(known, prepend=False) & known)
    ends = np.flatnonzero(np.diff(known, append=False) & known) + 1
    return [at[start:end] for start, end in zip(starts, ends, strict=True)]


def _joined(runs: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros((0, 2)), *runs])


def _segments(run: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hstack([run[:-1], run[1:]]) if len(run) > 1 else np.hstack([run, run])


def _thinned(run: NDArray[np.float64]) -> NDArray[np.float64]:
    """A long run by the first, lowest, highest and last point of every pixel column: the same picture."""
    if len(run) <= LONG:
        return run
    column = np.floor(run[:, 0])
    starts = np.flatnonzero(np.diff(column, prepend=column[0] - 1))
    ends = np.append(starts[1:], len(run)) - 1
    y = run[:, 1]
    heights = [y[starts], np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts), y[ends]]
    return np.stack([np.repeat(run[starts, 0], 4), np.transpose(heights).ravel()], axis=-1)


def _path(points: NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points.tolist())


def _line(runs: Sequence[NDArray[np.float64]], series: Series, color: str) -> str:
    """The line; a point between two gaps has no line, and is drawn as a dot."""
    if not series.width:
        return ""
    path = "".join(_path(_thinned(run)) for run in runs if len(run) > 1)
    dots = [run[0] for run in runs if len(run) == 1 and not series.marker]
    markup = [element("circle", cx=x, cy=y, r=max(series.width, 2.2), fill=color) for x, y in dots]
    if path:
        style = {"stroke": color, "stroke_width": series.width, "stroke_dasharray": DASHES[series.dash]}
        markup.append(element("path", d=path, fill="none", stroke_linejoin="round", **style))
    return "".join(markup)


def _band(edges: Sequence[NDArray[np.float64]], color: str) -> tuple[str, NDArray[np.float64]]:
    """Area between two edges, and the segments that fill it."""
    if not edges:
        return "", np.zeros((0, 4))
    both = _runs(np.hstack(edges))
    areas = "".join(_path(np.concatenate([run[:, :2], run[::-1, 2:]])) + "Z" for run in both)
    shade = element("path", d=areas, fill=color, fill_opacity=0.2) if areas else ""
    outline = [_segments(run[:, part]) for run in both for part in (slice(0, 2), slice(2, 4))]
    return shade, np.concatenate([np.zeros((0, 4)), *both, *outline])


def _markers(at: NDArray[np.float64], marker: str, color: str, names: Sequence[str] = ()) -> str:
    if not marker:
        return ""
    if marker not in MARKERS:
        raise unknown("marker", marker, tuple(MARKERS))
    filled = marker not in "x+"
    style = {"fill": color if filled else "none", "stroke": "#ffffff" if filled else color}
    shapes = [
        element(
            "path",
            element("title", escape(names[i])) if names and str(names[i]) else "",
            d=MARKERS[marker],
            transform=f"translate({x:.1f} {y:.1f})",
        )
        for i, (x, y) in enumerate(at.tolist())
        if np.isfinite([x, y]).all()
    ]
    return element("g", "".join(shapes), **style, stroke_width=0.8 if filled else 1.6) if shapes else ""
