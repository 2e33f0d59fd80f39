"""Figures as SVG text: curves, points with error bars, images with axes on the sky.

Every function returns a complete SVG; `uri` makes it the source of an image. All words may come from a FITS
header: they are escaped, and ``^-1`` in them is drawn as a superscript.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from corontools.display.axes import Axis, Canvas, Labels, draw_axes, lay_out
from corontools.display.frame import Mark, Sky, frame
from corontools.display.layers import (
    COLORS,
    Drawn,
    Layer,
    Points,
    Series,
    colors_of,
    curve_layer,
    origin_layer,
    point_layer,
)
from corontools.display.legend import draw_legend, draw_names, free_spot, legend_entries, legend_size
from corontools.display.svg import Box, document, uri

__all__ = ["COLORS", "Mark", "Points", "Series", "Sky", "curves", "frame", "scatter", "uri"]


def curves(
    series: Sequence[Series],
    *,
    x_label: str = "",
    y_label: str = "",
    title: str = "",
    log_x: bool = False,
    log_y: bool = False,
    size: tuple[float, float] = (520, 340),
    x_limits: tuple[float, float] | None = None,
    y_limits: tuple[float, float] | None = None,
) -> str:
    """Curves on linear or logarithmic axes, the last one in front.

    Parameters
    ----------
    series : sequence of Series
        What to draw; may be empty.
    x_label, y_label, title : str
        Words; give the units in the labels.
    log_x, log_y : bool
        Logarithmic axes; values that are not positive are left out there.
    size : (float, float)
        Width and height, CSS pixels.
    x_limits, y_limits : (float, float), optional
        Ends of the axes; by default all data are shown. The first may be the greater value.

    Returns
    -------
    str
        SVG. The legend lies where it covers no data, else to the right of the plot.

    Raises
    ------
    DataError
        Limits that can't be used, x and y of different lengths, or an unknown dash or marker.

    Examples
    --------
    >>> curve = Series([0.5, 1, 2], [1e-4, 2e-5, 3e-6], label="5 sigma")
    >>> curves([curve], x_label="Separation (arcsec)", y_label="Contrast", log_y=True)[:4]
    '<svg'
    """
    colors = colors_of([s.color for s in series])
    layers = [curve_layer(s, color) for s, color in zip(series, colors, strict=True)]
    bands = [edge for s in series if s.band is not None for edge in s.band]
    x_pad = 0.03 if any(s.marker for s in series) else 0.0
    x = Axis.around([s.x for s in series], log=log_x, limits=x_limits, pad=x_pad)
    y = Axis.around([*(s.y for s in series), *bands], log=log_y, limits=y_limits, pad=0.05)
    return _compose(layers, lay_out(size, x, y, Labels(x_label, y_label, title)), size)


def scatter(
    points: Sequence[Points],
    *,
    x_label: str = "dx (px)",
    y_label: str = "dy (px)",
    title: str = "",
    size: tuple[float, float] = (420, 400),
    equal: bool = True,
) -> str:
    """Points with error bars, such as shifts; dashed lines through the origin where it is in view.

    Parameters
    ----------
    points : sequence of Points
        Groups of points, each in its own colour.
    x_label, y_label, title : str
        Words; give the units in the labels.
    size : (float, float)
        Width and height, CSS pixels.
    equal : bool
        A unit of x is as long as a unit of y.

    Returns
    -------
    str
        SVG. A name for which there is no room is shown only when the pointer rests on its point.

    Raises
    ------
    DataError
        x, y and names of different lengths, or an unknown marker.

    Examples
    --------
    >>> scatter([Points([0.11, -0.08], [0.02, 0.05], x_err=0.01, names=["ref 1", "ref 2"])])[:4]
    '<svg'
    """
    colors = colors_of([p.color for p in points])
    layers = [point_layer(p, color) for p, color in zip(points, colors, strict=True)]
    x = Axis.around([end for p in points for end in p.ends("x")], pad=0.08)
    y = Axis.around([end for p in points for end in p.ends("y")], pad=0.08)
    canvas = lay_out(size, x, y, Labels(x_label, y_label, title))
    for _ in range(2 if equal else 0):  # wider limits may need wider labels, hence twice
        canvas = lay_out(size, *_equal(canvas), canvas.labels)
    return _compose([origin_layer(), *layers], canvas, size)


def _compose(layers: Sequence[Layer], canvas: Canvas, size: tuple[float, float]) -> str:
    """The figure: layers between grid and axes, the legend and names where they have room."""
    named = [(layer.label, layer.swatch) for layer in layers if layer.label]
    entries = legend_entries(named, canvas.box.height)
    drawn, segments = _draw(layers, canvas)
    spot = free_spot(canvas.box, legend_size(entries, 0.7 * canvas.box.width), segments)
    if spot is None:
        legend = legend_size(entries, 0.4 * canvas.box.width)
        canvas = lay_out(size, canvas.x, canvas.y, canvas.labels, right=legend[0] + 4)
        drawn, segments = _draw(layers, canvas)
        spot = Box(canvas.box.right + 8, canvas.box.top, *legend)
    below, above = draw_axes(canvas, size)
    names = draw_names([name for d in drawn for name in d.names], segments, spot, canvas.box)
    data = canvas.clipped("".join(d.body for d in drawn))
    words = "; ".join(text for text, _ in named)
    description = f"{canvas.labels.y or 'y'} against {canvas.labels.x or 'x'}" + (f": {words}" if words else "")
    title = canvas.labels.title or description
    return document(
        *size, below + data + above + names + draw_legend(entries, spot), title=title, description=description
    )


def _draw(layers: Sequence[Layer], canvas: Canvas) -> tuple[list[Drawn], NDArray[np.float64]]:
    drawn = [layer.draw(canvas) for layer in layers]
    return drawn, np.concatenate([np.zeros((0, 4)), *(d.segments for d in drawn)])


def _equal(canvas: Canvas) -> tuple[Axis, Axis]:
    """Axes about the same middles, on which a pixel means the same in x and y."""
    box, axes = canvas.box, (canvas.x, canvas.y)
    lengths = (box.width, box.height)
    per_pixel = max((a.high - a.low) / length for a, length in zip(axes, lengths, strict=True))
    halves = [per_pixel * length / 2 for length in lengths]
    middles = [(a.low + a.high) / 2 for a in axes]
    x, y = (Axis(m - h, m + h) for m, h in zip(middles, halves, strict=True))
    return x, y
