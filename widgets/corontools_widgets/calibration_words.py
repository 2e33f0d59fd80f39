"""What a calibration explorer says: sentences on a frame, and the row of a source."""

from __future__ import annotations

from collections.abc import Sequence

from astropy.table import Row, Table

from corontools.calibrate.image import CalibratedImage
from corontools.calibrate.look import Differences, steps
from corontools.calibrate.look_field import Field, key_of, strokes
from corontools.calibrate.photometry import PhotometryFit
from corontools.display import escape
from corontools_widgets.image_view import cell, html_table, plural
from corontools_widgets.panels import CurveSet, Quantity

__all__ = ["field_curves", "outcome", "row_html", "zero_point_curves"]

SINGULAR = {
    "psf": "star of the PSF",
    "rejected": "not used for the PSF",
    "star": "star",
    "galaxy": "galaxy",
    "saturated": "saturated",
    "sky": "sky source",
}
DIGITS = {"x": 6, "y": 6, "flux": 5, "fluxErr": 3, "mag": 6, "snr": 4, "width": 4}
# rows of the card that the sentences tell
TOLD = ("background", "cosmic rays", "PSF", "stars less PSF", "astrometry", "stars", "zero point", "limit")


def outcome(calibrated: CalibratedImage) -> list[str]:
    """Sentences on a calibration, as its card tells it."""
    return [f"{name[0].upper()}{name[1:]}: {words}." for name, words in calibrated._rows() if name in TOLD]


def row_html(source: Row) -> str:
    """A source: one quantity a line, and its flags."""
    units = {name: str(source.table[name].unit or "") for name in source.colnames}
    words = {
        "x": "x",
        "y": "y",
        "flux": "flux",
        "fluxErr": "its error",
        "mag": "magnitude",
        "snr": "S/N",
        "width": "width",
    }
    lines = [
        (_labelled(word, units[name]), cell(float(source[name]), digits=DIGITS[name])) for name, word in words.items()
    ]
    table = Table(rows=lines, names=[f"source {source['id']}", SINGULAR[str(source["kind"])]])
    flags = escape(f"flags: {source['flags'] or 'none'}")
    return f'{html_table(table)}<div style="overflow-wrap:anywhere;line-height:1.4;padding:2px 10px">{flags}</div>'


def _labelled(word: str, unit: str) -> str:
    """A quantity with its unit, as people write it."""
    unit = {"pix": "px", "mag(AB)": "AB", "mag": "instrumental"}.get(unit, unit)
    return f"{word} ({unit})" if unit else word


def zero_point_curves(found: Differences, fit: PhotometryFit) -> CurveSet:
    """The histogram, for a page."""
    across, up = Quantity("reference \u2212 instrumental magnitude"), Quantity("stars")
    lines = {name: steps(found.edges, getattr(found, part)) for name, part in (("all", "every"), ("used", "used"))}
    top = float(found.every.max(initial=1))
    lines["zero point"] = ([fit.zero_point] * 2, [0.0, top])  # type: ignore[assignment]
    return CurveSet(lines, across=across, up=up, title="Zero point", linked=False)


def field_curves(fields: Sequence[Field], names: Sequence[str], side: int, *, title: str) -> CurveSet:
    """Strokes over the field, for a page."""
    key, scale = key_of(tuple(fields), side)
    arrows = fields[0].unit == "mas"
    lines = {name: strokes(field, scale, arrows=arrows) for name, field in zip(names, fields, strict=True)}
    told = f"{plural(round(scale * key), 'px')} are {key:g} {fields[0].unit}".rstrip()
    return CurveSet(lines, across=Quantity("x", "px"), up=Quantity("y", "px"), title=f"{title}; {told}", linked=False)
