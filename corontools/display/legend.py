"""Words between the axes: the legend and the names of points, where they cover no data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from corontools.display.svg import Box, element, label, place, shorten, text_width

__all__ = ["draw_legend", "draw_names", "free_spot", "legend_entries", "legend_size"]

ROW = 18.0
SWATCH = 26.0
ENTRIES = 16
NAMED = 100  # more names than these are unreadable, and slow to place


Entry = tuple[str, str]


def legend_entries(entries: Sequence[Entry], height: float) -> list[Entry]:
    """As many of the entries as fit the height; the last one says how many more there are."""
    room = min(ENTRIES, max(1, int((height - 24) / ROW)))
    if len(entries) <= room:
        return list(entries)
    return [*entries[: room - 1], (f"and {len(entries) - room + 1} more", "")]


def legend_size(entries: Sequence[Entry], widest: float) -> tuple[float, float]:
    """Width and height of a legend, its words at most `widest` pixels; (0, 0) without entries."""
    if not entries:
        return 0.0, 0.0
    words = max(text_width(shorten(text, widest)) for text, _ in entries)
    return SWATCH + words + 14, ROW * len(entries) + 8


def draw_legend(entries: Sequence[Entry], spot: Box) -> str:
    """Legend of entries: words, and the markup of a swatch drawn about (0, 0)."""
    if not entries:
        return ""
    frame = {"x": spot.left, "y": spot.top, "width": spot.width, "height": spot.height}
    parts = [element("rect", **frame, rx=4, fill="#ffffff", opacity=0.85)]
    for row, (text, swatch) in enumerate(entries):
        y = spot.top + 4 + ROW * (row + 0.5)
        parts.append(element("g", swatch, transform=f"translate({spot.left + 17:.1f} {y:.1f})") if swatch else "")
        parts.append(label(shorten(text, spot.width - SWATCH - 12), spot.left + SWATCH + 8, y + 4))
    return "".join(parts)


def draw_names(names: Sequence[tuple[float, float, str]], segments: NDArray[np.float64], legend: Box, box: Box) -> str:
    """Names of points (x, y) inside the plot, where they cover no segment, no other name and not the legend."""
    words, taken = [], [legend]
    for x, y, name in names[:NAMED]:
        text = shorten(name, 160, 11)
        width = text_width(text, 11)
        right, left, up, down = x + 6, x - 6 - width, y - 17, y + 4
        corners = [(right, up), (right, down), (left, up), (left, down), (right, y - 6.5), (left, y - 6.5)]
        rooms = [Box(u, v, width, 13) for u, v in corners]
        spot = place([room for room in rooms if not _crossed(room, segments, 0.0)], taken, box)
        if spot is not None:
            taken.append(spot)
            words.append(label(text, spot.left, spot.top + 10.5, size=11))
    return "".join(words)


def free_spot(box: Box, size: tuple[float, float], segments: NDArray[np.float64]) -> Box | None:
    """Place for a legend inside the plot that no segment (x0, y0, x1, y1) crosses; None where there is none."""
    width, height = size
    lefts = [box.right - width - 8, box.left + 8, box.left + (box.width - width) / 2]
    tops = [box.top + 8, box.bottom - height - 8, box.top + (box.height - height) / 2]
    spots = [Box(left, top, width, height) for left in lefts for top in tops]
    fitting = (spot for spot in spots if box.holds(spot))
    return next((spot for spot in fitting if not _crossed(spot, segments, 4.0)), None)


def _crossed(spot: Box, segments: NDArray[np.float64], margin: float) -> bool:
    """Whether any segment meets the box widened by a margin (separating axis theorem)."""
    s = segments[np.isfinite(segments).all(axis=1)]
    half = np.array([spot.width, spot.height]) / 2 + margin
    offset = (s[:, :2] + s[:, 2:]) / 2 - [spot.left + spot.width / 2, spot.top + spot.height / 2]
    along = (s[:, 2:] - s[:, :2]) / 2
    reach = np.abs(along)
    near = np.all(np.abs(offset) <= half + reach, axis=1)
    cross = np.abs(along[:, 0] * offset[:, 1] - along[:, 1] * offset[:, 0])
    return bool(np.any(near & (cross <= half[0] * reach[:, 1] + half[1] * reach[:, 0])))
