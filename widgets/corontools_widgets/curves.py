"""Contrast curves brought to common axes: what can be read of each, in words, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corontools.coron.contrast import ContrastCurve, Statistics
from corontools.display import card, escape, figure
from corontools.display.axes import Axis
from corontools.display.ticks import linear_ticks, number
from corontools.errors import DataError
from corontools_widgets.figures import LINE_STYLES, Reading, raised, swatch
from corontools_widgets.limits import PublishedCurve
from corontools_widgets.panels import CurveSet, Quantity

__all__ = ["STATISTICS", "UNITS", "WHY", "Curve", "Drawn", "Style"]

Curve = ContrastCurve | PublishedCurve
Array = NDArray[np.float64]
UNITS = {"arcsec": "arcsec", "lambda/D": "λ/D", "px": "px"}
SIGNS = {"arcsec": "″", "lambda/D": " λ/D", "px": " px"}
STATISTICS = {"student": "Student (few samples)", "gaussian": "Gaussian"}
WHY = {
    "arcsec": "the pixel scale isn't known",
    "lambda/D": "the width of the PSF isn't known; give it by sigma(level, fwhm=<px>)",
    "student": "the width of the PSF isn't known; give it by sigma(level, fwhm=<px>)",
}
OF_STAR = "units of the star"
NO_VALUE = "it has no finite value"
DASHES = dict(zip(LINE_STYLES, ("solid", "dashed", "dotted", "dashdot"), strict=True))


@dataclass(frozen=True, eq=False)
class Drawn:
    """A curve as it is drawn.

    Attributes
    ----------
    name, color, style : str
        As in the legend.
    curve : ContrastCurve or PublishedCurve
        At the chosen level and statistics.
    x : ndarray
        Separations in the chosen unit.
    y : ndarray
        Limits, as contrast or in the unit of the image; NaN where there is none.
    """

    name: str
    color: str
    style: str
    curve: Curve
    x: Array
    y: Array

    @property
    def reliable(self) -> NDArray[np.bool_]:
        """Where the curve decides the ends of an axis: not within 1.5 widths, where few samples make limits huge."""
        if self.curve.radius is None:
            return np.ones(self.x.shape, bool)
        return self.curve.radius >= 1.5 * (width(self.curve) or 0.0)

    def at(self, x: float) -> float:
        """Limit at a separation, between the rings; NaN beyond them."""
        known = np.isfinite(self.y)
        if not known.any():
            return float("nan")
        return float(np.interp(x, self.x[known], self.y[known], left=np.nan, right=np.nan))


def width(curve: Curve) -> float | None:
    """Width of a resolution element, px."""
    return curve.fwhm or curve.meta.fwhm


def separations(curve: Curve, unit: str) -> Array | None:
    """Separations in a unit; None where they aren't known in it."""
    if unit == "arcsec":
        return curve.sep
    if unit == "px" or curve.radius is None:
        return curve.radius if unit == "px" else None
    fwhm = width(curve)
    return None if fwhm is None else curve.radius / fwhm


def why(curve: Curve, unit: str) -> str:
    """Why its separations aren't known in a unit."""
    if isinstance(curve, PublishedCurve):
        return "its table has no separations in px" if unit != "arcsec" else "its table has no separations in arcsec"
    return WHY[unit]


def limited(curve: Curve, level: float, statistics: Statistics) -> Curve | None:
    """The curve as a limit of a level; a published one stays as it is; None where it can't be made."""
    if isinstance(curve, PublishedCurve):
        return curve
    if (curve.statistics, curve.level) == (statistics, level):
        return curve
    if statistics == "student" and width(curve) is None:
        return None
    return curve.sigma(level, statistics=statistics)


def place(curve: Curve, ring: int) -> str:
    """Separation of a ring in all units that are known."""
    known = [(separations(curve, unit), sign) for unit, sign in SIGNS.items()]
    return " · ".join(f"{x[ring]:.2f}{sign}" for x, sign in known if x is not None)


def quantity(curve: Curve) -> str:
    """What its limits are measured in."""
    return OF_STAR if curve.star_flux else (curve.meta.unit or "no known unit")


def magnitude(contrast: Any) -> Any:
    """Contrast in magnitudes."""
    return -2.5 * np.log10(contrast)


def contrast(magnitudes: Any) -> Any:
    """Magnitudes as contrast."""
    return 10.0 ** (-0.4 * np.asarray(magnitudes))


@dataclass(frozen=True)
class Style:
    """How curves are read: unit of the separations, limits as contrast or magnitudes, words.

    Attributes
    ----------
    unit, statistics : str
        Keys of `UNITS` and `STATISTICS`.
    scale : {"contrast", "magnitude"}
        How limits are read.
    level : float
        Sigma.
    measured : str
        What limits are measured in, see `quantity`.
    log_x : bool
        Logarithmic separations.
    """

    unit: str
    statistics: str
    scale: str
    level: float
    measured: str
    log_x: bool = False

    @property
    def x(self) -> Reading:
        """Axis of the separations."""
        return Reading(f"separation ({UNITS[self.unit]})", log=self.log_x)

    @property
    def y(self) -> Reading:
        """Axis of the limits; one of magnitudes is one of contrast with other numbers at its ticks."""
        starry = self.measured == OF_STAR
        what = f"{self.level:g}σ contrast" if starry else f"{self.level:g}σ limit"
        if self.scale == "magnitude":
            return Reading(f"{what} (mag)", log=True, shown=magnitude, data=contrast, even=True)
        return Reading(what if starry else f"{what} ({self.measured})", log=True)

    def value(self, limit: float) -> str:
        """A limit as words."""
        if not (np.isfinite(limit) and limit > 0):
            return "—"
        return f"{magnitude(limit):.2f} mag" if self.scale == "magnitude" else raised(number(float(f"{limit:.3g}")))

    def point(self, name: str, x: float, limit: float) -> str:
        """What the pointer shows at a point of a curve."""
        return f"{name}: {self.value(limit)} at {x:.3g}{SIGNS[self.unit]}"


def axes(
    drawn: Sequence[Drawn], style: Style, x_limits: Sequence[float], y_limits: Sequence[float]
) -> tuple[Axis, Axis]:
    """Axes with the given ends, or ends that show the curves."""
    x = Axis.around([one.x[np.isfinite(one.y)] for one in drawn], log=style.log_x, limits=_pair(x_limits), pad=0.02)
    if not (x_limits or style.log_x):
        x = Axis(0.0, x.high)
    y = Axis.around([one.y[one.reliable] for one in drawn], log=True, limits=_pair(y_limits), pad=0.05)
    return x, y


def _pair(ends: Sequence[float]) -> tuple[float, float] | None:
    return (ends[0], ends[1]) if ends else None


def svg(drawn: Sequence[Drawn], style: Style, ends: tuple[Axis, Axis], *, title: str = "") -> str:
    """The figure as SVG, for a page or a paper."""
    x, y = ends
    y_limits, log_y = (y.low, y.high), True
    if style.scale == "magnitude":
        y_limits, log_y = (float(magnitude(y.low)), float(magnitude(y.high))), False
    series = [
        figure.Series(
            one.x,
            magnitude(_positive(one.y)) if not log_y else one.y,
            label=one.name,
            color=one.color,
            dash=DASHES[one.style],
        )
        for one in drawn
    ]
    return figure.curves(
        series,
        x_label=style.x.label,
        y_label=style.y.label,
        title=title,
        log_x=style.log_x,
        log_y=log_y,
        size=(640, 420),
        x_limits=(x.low, x.high),
        y_limits=y_limits,
    )


def _positive(values: Array) -> Array:
    return np.where(values > 0, values, np.nan)


def table(drawn: Sequence[Drawn]) -> Any:
    """All curves in one table: name, separation in px and arcsec, limit."""
    from astropy import units as u
    from astropy.table import QTable

    if not drawn:
        raise DataError("no curve is shown, so there is no table to write")
    nan = [np.full(one.x.shape, np.nan) for one in drawn]
    columns = {
        "curve": np.concatenate([np.full(one.x.shape, one.name) for one in drawn]),
        "radius": np.concatenate([_or(one.curve.radius, n) for one, n in zip(drawn, nan, strict=True)]) * u.pix,
        "sep": np.concatenate([_or(one.curve.sep, n) for one, n in zip(drawn, nan, strict=True)]) * u.arcsec,
        "limit": np.concatenate([one.y for one in drawn]),
    }
    return QTable(columns, meta={"curves": {one.name: one.curve.name for one in drawn}})


def _or(values: Array | None, other: Array) -> Array:
    return other if values is None else values


def samples(drawn: Sequence[Drawn], style: Style, x: Axis) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a small table: limits of every curve at round separations."""
    low, high = sorted((x.low, x.high))
    at = [value for value in linear_ticks(low, high, 6).major if value > 0]
    header = ["curve", *(f"at {value:.3g}{SIGNS[style.unit]}" for value in at)]
    return header, [[one.name, *(style.value(one.at(value)) for value in at)] for one in drawn]


def words(drawn: Sequence[Drawn], style: Style, x: Axis, notes: Sequence[str]) -> str:
    """What the curves show, as plain text."""
    header, rows = samples(drawn, style, x)
    lines = [(row[0], "   ".join(f"{a} {b}" for a, b in zip(header[1:], row[1:], strict=True))) for row in rows]
    return card.text(f"{style.y.label} against {style.x.label}", [*lines, *(("note", note) for note in notes)])


def paragraphs(drawn: Sequence[Drawn], style: Style, x: Axis, notes: Sequence[str]) -> str:
    """What the curves show, a paragraph for each."""
    header, rows = samples(drawn, style, x)
    said = [
        f"{one.name}, {one.curve.name}: " + ", ".join(f"{b} {a}" for a, b in zip(header[1:], row[1:], strict=True))
        for one, row in zip(drawn, rows, strict=True)
    ]
    return "\n\n".join([f"{style.y.label} against {style.x.label}.", *said, *notes])


def panel(drawn: Sequence[Drawn], style: Style, ends: tuple[Axis, Axis]) -> CurveSet:
    """The curves for a page without a kernel, on axes with the given ends."""
    x, y = ends
    if style.scale == "magnitude":
        low, high = sorted(float(magnitude(end)) for end in (y.low, y.high))
        up = Quantity(f"{style.level:g}σ contrast", "mag", down=True, limits=(low, high))
        lines = {one.name: (one.x, magnitude(_positive(one.y))) for one in drawn}
    else:
        up = Quantity(style.y.label, log=True, limits=(y.low, y.high))
        lines = {one.name: (one.x, one.y) for one in drawn}
    across = Quantity("separation", UNITS[style.unit], log=style.log_x, limits=(x.low, x.high))
    return CurveSet(lines, across=across, up=up, title=style.y.label, linked=False)


def readout(drawn: Sequence[Drawn], style: Style, x: float) -> str:
    """HTML: the limits of all curves at a separation."""
    cell = "padding:0 14px 0 0;text-align:left"
    number_cell = f"{cell};font-variant-numeric:tabular-nums"
    rows = "".join(
        f'<tr><td style="{cell}">{swatch(one.color, one.style)} {escape(one.name)}</td>'
        f'<td style="{number_cell}">{escape(style.value(one.at(x)))}</td>'
        f'<td style="{cell};opacity:.75">{escape(one.curve.name)}</td></tr>'
        for one in drawn
    )
    return f'<table aria-live="polite" style="line-height:1.5"><tbody>{rows}</tbody></table>'
