"""Pieces of SVG: elements, text whose width is known, boxes, the document around them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corontools.display.markup import data_uri, escape, visible

__all__ = ["Box", "document", "element", "label", "place", "shorten", "text_width", "uri"]

INK = "#222222"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
SUPERSCRIPT = re.compile("\\^([-+\u2212]?[0-9]+)")
ELLIPSIS = "\u2026"
# Widths of characters in units of the font size, those of DejaVu Sans, the widest of the usual fonts.
NARROW = dict.fromkeys("ijlI.,:;'|! ", 0.34) | dict.fromkeys("ftr()[]/-\u2032\u2033", 0.42)
WIDE = dict.fromkeys("mwMWOQGD@%\u2026", 1.0) | dict.fromkeys("ABCEHKNPRSTUVXYZ+=<>\u2212×~", 0.84)


@dataclass(frozen=True)
class Box:
    """Rectangle in SVG pixels, y downwards."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.top + self.height

    def overlaps(self, other: Box) -> bool:
        """Whether the two share an area."""
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.bottom <= other.top or other.bottom <= self.top)

    def holds(self, other: Box) -> bool:
        """Whether the other lies inside."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.top <= other.top and other.bottom <= self.bottom

    def grown(self, by: float) -> Box:
        """With edges moved outwards."""
        return Box(self.left - by, self.top - by, self.width + 2 * by, self.height + 2 * by)

    def pulled_into(self, other: Box) -> Box:
        """Moved by as little as brings it inside the other."""
        left = max(other.left, min(self.left, other.right - self.width))
        top = max(other.top, min(self.top, other.bottom - self.height))
        return Box(left, top, self.width, self.height)


def element(tag: str, *content: str, **attributes: object) -> str:
    """An element; `content` is markup, attribute values are escaped, `stroke_width` becomes stroke-width.

    Attributes that are None are left out, numbers are rounded to 0.01.

    Examples
    --------
    >>> element("circle", cx=1.0, cy=2.123, r=None, fill="none")
    '<circle cx="1" cy="2.12" fill="none"/>'
    """
    words = [
        f'{name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    ]
    head = " ".join([tag, *words])
    inside = "".join(content)
    return f"<{head}>{inside}</{tag}>" if inside else f"<{head}/>"


def label(
    text: str,
    x: float,
    y: float,
    *,
    anchor: str = "start",
    size: float = 12,
    turn: float = 0,
    **style: Any,
) -> str:
    """Text with its baseline at (x, y); ``^-5`` in it is drawn as a superscript.

    Examples
    --------
    >>> label("10^-5", 4, 20)
    '<text x="4" y="20" font-size="12">10<tspan dy="-4.2" font-size="9">-5</tspan></text>'
    """
    start = {"start": None, "middle": "middle", "end": "end"}[anchor]
    rotate = f"rotate({turn:g} {_value(x)} {_value(y)})" if turn else None
    attributes = {"x": x, "y": y, "font_size": size, "text_anchor": start, "transform": rotate, **style}
    return element("text", _rich(text, size), **attributes)


def text_width(text: str, size: float = 12) -> float:
    """Width in pixels, estimated on the safe side.

    Examples
    --------
    >>> text_width("10") < text_width("10^-5") < text_width("10-5")
    True
    """
    total = 0.0
    for index, part in enumerate(SUPERSCRIPT.split(visible(text))):
        total += sum(map(_character_width, part)) * (0.75 if index % 2 else 1.0)
    return total * size


def shorten(text: str, width: float, size: float = 12) -> str:
    """Text on one line that fits the width, cut with an ellipsis where it must be.

    Examples
    --------
    >>> shorten("AU Mic", 100), shorten("a long name of a target", 60)
    ('AU Mic', 'a long …')
    """
    text = " ".join(visible(text).split())
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + ELLIPSIS, size) > width:
        text = text[:-1]
    return text + ELLIPSIS


def place(candidates: Sequence[Box], taken: Sequence[Box], inside: Box) -> Box | None:
    """First box that lies inside and overlaps none of those taken; None where there is no such box."""
    free = (box for box in candidates if inside.holds(box) and not any(box.overlaps(other) for other in taken))
    return next(free, None)


def document(width: float, height: float, body: str, *, title: str, description: str = "") -> str:
    """A complete SVG on a near-white rounded ground, which keeps its colours on dark pages.

    Parameters
    ----------
    width, height : float
        Size in CSS pixels; it shrinks with the page.
    body : str
        Markup.
    title, description : str
        For screen readers.
    """
    ground = element("rect", width=width, height=height, rx=6, fill="#ffffff")
    spoken = f"<title>{escape(title) or 'figure'}</title>"
    if description:
        spoken += f"<desc>{escape(description)}</desc>"
    return element(
        "svg",
        spoken + ground + body,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        width=width,
        height=height,
        role="img",
        font_family=FONT,
        fill=INK,
        style="max-width:100%;height:auto",
    )


def uri(svg: str) -> str:
    """SVG as a data URI for `<img src=...>`, where notebooks that strip inline SVG still show it.

    Examples
    --------
    >>> uri("<svg/>")
    'data:image/svg+xml;base64,PHN2Zy8+'
    """
    return data_uri(svg.encode("utf-8"), "image/svg+xml")


def _value(value: object) -> str:
    if isinstance(value, (int, float)):
        return f"{round(float(value), 2) + 0.0:.10g}"
    return escape(value)


def _rich(text: str, size: float) -> str:
    """Escaped text with superscripts; what follows a superscript comes back to the baseline."""
    parts = SUPERSCRIPT.split(visible(text))
    rise, small = 0.35 * size, 0.75 * size
    marked = [escape(parts[0])]
    for power, rest in zip(parts[1::2], parts[2::2], strict=True):
        marked.append(element("tspan", escape(power), dy=-rise, font_size=small))
        if rest:
            marked.append(element("tspan", escape(rest), dy=rise))
    return "".join(marked)


def _character_width(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    return NARROW.get(character) or WIDE.get(character) or 0.65
