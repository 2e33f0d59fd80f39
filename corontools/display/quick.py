"""The small pictures on cards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from corontools.display import figure
from corontools.display.card import Picture
from corontools.display.layers import Points, Series
from corontools.display.picture import image_uri

__all__ = ["curve_picture", "image_picture", "shift_picture"]


def image_picture(
    image: ArrayLike,
    caption: str,
    *,
    bad: ArrayLike | None = None,
    kind: str = "asinh",
    limits: tuple[float, float] | None = None,
) -> Picture:
    """An image (y, x) as a picture, limits chosen from the data unless given; `bad` pixels are empty like NaN."""
    pixels = np.asarray(image, np.float64)
    if bad is not None:
        pixels = np.where(np.asarray(bad, bool), np.nan, pixels)
    ny, nx = pixels.shape
    return Picture(image_uri(pixels, kind=kind, limits=limits), caption=caption, alt=f"{caption}, {ny} x {nx} px image")


def curve_picture(series: Sequence[Series], caption: str, *, x_label: str, y_label: str) -> Picture:
    """Curves on a logarithmic y axis as a picture."""
    svg = figure.curves(series, x_label=x_label, y_label=y_label, log_y=True)
    return Picture(figure.uri(svg), caption=caption, alt=f"{y_label} against {x_label}", width=520)


def shift_picture(shifts: ArrayLike, errors: ArrayLike, groups: Sequence[str]) -> Picture:
    """Shifts (n_int, n_ref, 2) with 1-sigma errors as a scatter plot, one colour for each name in `groups` (n_ref)."""
    shifts, errors = np.asarray(shifts, np.float64), np.asarray(errors, np.float64)
    points = []
    for name in dict.fromkeys(groups):
        mine = np.array([group == name for group in groups])
        at, error = shifts[:, mine].reshape(-1, 2), errors[:, mine].reshape(-1, 2)
        points.append(Points(at[:, 0], at[:, 1], label=name or "references", x_err=error[:, 0], y_err=error[:, 1]))
    svg = figure.scatter(points, x_label="dx (px)", y_label="dy (px)")
    return Picture(figure.uri(svg), caption="shift of each reference", alt="scatter of the shifts (dx, dy) in px")
