"""An image with axes on the sky: rings of separation, marks, compass, scale bar, colour bar."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from corontools.display.axes import Canvas, Labels, draw_axes, lay_out
from corontools.display.markup import data_uri
from corontools.display.overlay import DARK_INK, Ink, Mark, Sky, overlay
from corontools.display.picture import LEVELS, palette, png
from corontools.display.scale import Scale, scale_positions
from corontools.display.svg import Box, document, element, label, shorten, text_width
from corontools.display.ticks import Ticks, linear_ticks, number

__all__ = ["Mark", "Sky", "color_ticks", "frame"]

NO_DATA = "#7d7d7d"
BAR_WIDTH = 13.0
BAR_GAP = 12.0
LEAST_BAR = 90.0  # px; a bar shorter than this has no room for values
LEAST_WIDTH = 160.0
LEAST_GAP = 20.0  # px between the ticks of the colour bar


def frame(
    image_uri: str,
    *,
    sky: Sky,
    scale: Scale | None = None,
    rings: Sequence[float] = (),
    marks: Sequence[Mark] = (),
    title: str = "",
    size: tuple[float, float] = (480, 440),
) -> str:
    """Image with axes in arcsec from the star, or in pixels.

    Parameters
    ----------
    image_uri : str
        The picture, of the whole image (`picture.scaled_uri`).
    sky : Sky
        Its pixels on the sky.
    scale : Scale, optional
        Limits, stretch, palette and unit of the picture; with it a colour bar is drawn.
    rings : sequence of float
        Radii of dashed circles about the star, arcsec (pixels without a pixel scale).
    marks : sequence of Mark
        Sources; one beyond the edge is drawn dashed at the edge.
    title : str
        Heading.
    size : (float, float)
        Largest width and height, CSS pixels; the figure is as large as the shape of the image allows.

    Returns
    -------
    str
        SVG.

    Raises
    ------
    DataError
        The limits are not in order.

    Examples
    --------
    >>> import numpy as np
    >>> from corontools.display.picture import Scale, scaled_uri
    >>> image = np.random.default_rng(1).normal(size=(64, 64))
    >>> scale = Scale.of(image, unit="MJy/sr")
    >>> sky = Sky(image.shape, pixel_scale=0.063, pa_y=30)
    >>> frame(scaled_uri(image, scale), sky=sky, scale=scale, rings=[1.0], marks=[Mark(40, 50, "b")])[:4]
    '<svg'
    """
    canvas, total = _lay_out(sky, scale, title, size)
    box = canvas.box
    spread = {"x": box.left, "y": box.top, "width": box.width, "height": box.height}
    parts = [
        element("rect", **spread, fill=NO_DATA),
        element("image", href=image_uri, **spread, preserveAspectRatio="none", style="image-rendering:pixelated"),
        draw_axes(canvas, total, ticks="out")[1],
        overlay(canvas, sky, rings, marks, ink=_ink(scale)),
        _color_bar(scale, box) if scale is not None else "",
    ]
    return document(*total, "".join(parts), title=title or "image", description=_description(sky, scale, marks))


def color_ticks(scale: Scale, length: float) -> tuple[list[tuple[float, str]], str]:
    """Places (0 to 1) and labels of the ticks of a colour bar of so many pixels, and the factor taken out of them.

    The data values are round and at least 20 px apart: those of a linear axis, or zero and powers of ten, and 5 and 2
    times these, whichever are more.

    Examples
    --------
    >>> ticks, factor = color_ticks(Scale((-3.0, 300.0)), 300)
    >>> [text for _, text in ticks]
    ['−2', '0', '2', '5', '10', '20', '50', '100', '200']
    """
    even, round_ = _even(scale, length), _apart(_decades(scale), scale, length)
    if len(even.major) >= len(round_):
        values, labels, factor = even.major, even.labels, even.factor
    else:
        values, labels, factor = tuple(round_), tuple(map(number, round_)), ""
    places = scale_positions(values, scale.limits, scale.kind).tolist()
    return list(zip(places, labels, strict=True)), factor


def _even(scale: Scale, length: float) -> Ticks:
    """The ticks of a linear axis, as many as stay apart in the stretch."""
    low, high = scale.limits
    for count in range(max(2, int(length / 24)), 1, -1):
        ticks = linear_ticks(low, high, count)
        places = scale_positions(ticks.major, scale.limits, scale.kind)
        if np.diff(places).min(initial=1.0) * length >= LEAST_GAP:
            return ticks
    return Ticks((), ())


def _decades(scale: Scale) -> list[float]:
    """Zero, powers of ten and their multiples within the limits, the roundest first."""
    low, high = scale.limits
    top = math.floor(math.log10(max(abs(low), abs(high))))
    sizes = [digit * 10.0**power for digit in (1, 5, 2) for power in range(top, top - 7, -1)]
    wanted = [0.0, *(sign * size for size in sizes for sign in (1, -1))]
    return [value for value in wanted if low <= value <= high]


def _apart(values: Sequence[float], scale: Scale, length: float) -> list[float]:
    """Those of the values, the first preferred, whose ticks do not come too close; sorted."""
    chosen: dict[float, float] = {}
    for value, place in zip(values, scale_positions(values, scale.limits, scale.kind).tolist(), strict=True):
        if all(abs(place - other) * length >= LEAST_GAP for other in chosen.values()):
            chosen[value] = place
    return sorted(chosen)


def _lay_out(
    sky: Sky, scale: Scale | None, title: str, size: tuple[float, float]
) -> tuple[Canvas, tuple[float, float]]:
    """Canvas with square pixels, and the size of the figure around it."""
    rows, columns = sky.shape
    x, y, words = sky.axes()
    labels = Labels(words.x, words.y, title)
    room = _bar_room(scale, size[1]) if scale is not None else 0.0
    free = lay_out(size, x, y, labels, right=room).box
    zoom = max(min(free.width / columns, free.height / rows), 1e-3)
    box = Box(free.left, free.top, columns * zoom, rows * zoom)
    height = max(box.height, LEAST_BAR if scale is not None else 0.0)
    total = (box.left + box.width + size[0] - free.right, free.top + height + size[1] - free.bottom)
    return Canvas(box, x, y, labels), (max(total[0], LEAST_WIDTH), total[1])


def _ink(scale: Scale | None) -> Ink:
    """Dark ink where zero, or else the middle of the palette, is bright."""
    if scale is None:
        return Ink()
    zero = float(scale_positions(0.0, scale.limits, scale.kind))
    middle = palette(scale.colors)[round((zero if 0 < zero < 1 else 0.5) * (LEVELS - 1))]
    return DARK_INK if middle.mean() > 170 else Ink()


def _bar_room(scale: Scale, height: float) -> float:
    words = max((text_width(text, 11) for _, text in color_ticks(scale, height)[0]), default=0.0)
    return BAR_GAP + BAR_WIDTH + 7 + words + (20 if scale.unit else 0) - 8


def _color_bar(scale: Scale, box: Box) -> str:
    """Bar to the right of the plot, with round data values where they are on the palette."""
    height = max(box.height, LEAST_BAR)
    left = box.right + BAR_GAP
    edge = left + BAR_WIDTH
    spread = {"x": left, "y": box.top, "width": BAR_WIDTH, "height": height}
    ramp = data_uri(png(np.arange(LEVELS - 1, -1, -1)[:, None], palette(scale.colors)), "image/png")
    ticks, factor = color_ticks(scale, height)
    at = [(box.top + height * (1 - place), text) for place, text in ticks]
    parts = [
        element("image", href=ramp, **spread, preserveAspectRatio="none"),
        element("rect", **spread, fill="none", stroke="#444444"),
        element("path", d="".join(f"M{edge:g} {y:.1f}h4" for y, _ in at) or None, stroke="#444444"),
        *(label(text, edge + 7, y + 4, size=11) for y, text in at),
        label(factor, left, box.top - 6, size=11) if factor else "",
    ]
    if scale.unit:
        x = edge + 7 + max((text_width(text, 11) for _, text in at), default=0.0) + 14
        half = text_width(shorten(scale.unit, height)) / 2
        parts.append(label(shorten(scale.unit, height), x, box.top + max(height / 2, half), anchor="middle", turn=-90))
    return "".join(parts)


def _description(sky: Sky, scale: Scale | None, marks: Sequence[Mark]) -> str:
    words = [f"image of {sky.shape[1]} by {sky.shape[0]} pixels"]
    if scale is not None:
        words.append(f"{scale.kind} colour scale from {scale.limits[0]:.4g} to {scale.limits[1]:.4g} {scale.unit}")
    words += [f"mark {mark.label or 'without name'} at ({mark.x:.1f}, {mark.y:.1f})" for mark in marks]
    return "; ".join(words)
