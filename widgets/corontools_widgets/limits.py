"""Detection limits of others: published tables, to compare with."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from corontools import fits
from corontools.errors import DataError
from corontools.meta import Meta
from corontools.result import Result

__all__ = ["PublishedCurve", "published"]

# what columns of separation and of limits are called, the preferred first, and factors of their units
SEPARATIONS = ("sep", "separation", "angsep", "rho", "radius", "r", "arcsec", "mas")
LIMITS = ("limit", "contrast", "sigma", "ratio", "dmag", "deltamag", "mag", "magnitude")
MAGNITUDES = {"dmag", "deltamag", "mag", "mags", "magnitude"}
PIXELS = {"px", "pix", "pixel", "pixels", "radius"}


@dataclass(frozen=True, eq=False, repr=False)
class PublishedCurve(Result):
    """A contrast curve of others, in units of the star, at the level and with the statistics that its authors chose.

    Attributes
    ----------
    limit : ndarray
        Contrast; NaN where the table has none.
    sep : ndarray or None
        Separations, arcsec.
    radius : ndarray or None
        Separations, px.
    level : float or None
        Sigma of the limit, where the table says so.
    title : str
        Where it is from.
    meta : Meta
        Empty but for what the table says.
    """

    limit: np.ndarray
    sep: np.ndarray | None = None
    radius: np.ndarray | None = None
    level: float | None = None
    title: str = ""
    meta: Meta = field(default_factory=Meta)
    fwhm: float | None = None
    star_flux: float = 1.0

    @property
    def name(self) -> str:
        """What the curve shows."""
        return ("limit" if self.level is None else f"{self.level:g}-sigma limit") + ", as published"

    @property
    def table(self) -> Any:
        """Columns radius, sep (those known) and limit."""
        from astropy import units as u
        from astropy.table import QTable

        columns: dict[str, Any] = {} if self.radius is None else {"radius": self.radius * u.pix}
        if self.sep is not None:
            columns["sep"] = self.sep * u.arcsec
        columns["limit"] = self.limit * u.dimensionless_unscaled
        return QTable(columns, meta={"level": self.level, "title": self.title})

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the table as .ecsv or .csv."""
        path = Path(path)
        if path.suffix not in (".ecsv", ".csv"):
            raise DataError(f"a published curve is written as .ecsv or .csv, found {path.name!r}")
        with fits.atomic(path, overwrite=overwrite) as part:
            self.table.write(part, format=f"ascii.{path.suffix[1:]}", overwrite=True)
        return path

    def _values(self) -> np.ndarray:
        return self.limit

    def _rows(self) -> list[tuple[str, str]]:
        return [("from", self.title), ("curve", self.name), ("points", str(self.limit.size))]


def published(source: str | os.PathLike[str] | Any, *, level: float | None = None) -> list[PublishedCurve]:
    """Contrast curves of a table: a file .csv or .ecsv, or an astropy table.

    The column of separations is called sep, separation, rho or r, in arcsec unless its name or unit says mas or px;
    that of limits is called limit or contrast, or dmag or mag for magnitudes. A column "curve" names the curve of
    each row.

    Raises
    ------
    DataError
        If it can't be read, a column is missing or holds something else than numbers.
    """
    table, title = _table(source)
    columns = {name: _kind(name, getattr(table[name], "unit", None)) for name in table.colnames}
    limit = _first(columns, LIMITS, ("contrast", "mag"))
    seps = {
        kind: _first(columns, SEPARATIONS, kinds) for kind, kinds in (("sep", ("arcsec", "mas")), ("radius", ("px",)))
    }
    if limit is None or not any(seps.values()):
        what = "separations" if limit is not None else "limits"
        raise DataError(
            f"{title} has no column of {what}; it has {', '.join(table.colnames) or 'none'}. "
            "Call them sep (arcsec) and contrast (or dmag)"
        )
    values = {"limit": _numbers(table, limit, columns[limit], title)}
    values |= {key: _numbers(table, name, columns[name], title) for key, name in seps.items() if name}
    known = table.meta.get("level") if level is None else level
    code = f"published({str(source)!r})" if isinstance(source, str | os.PathLike) else "published(table)"
    made = []
    for i, (name, rows) in enumerate(_groups(table, values["sep" if "sep" in values else "radius"])):
        part = {key: array[rows] for key, array in values.items()}
        made.append(PublishedCurve(**part, level=_level(known), title=name or title, history=(f"{code}[{i}]",)))
    return made


def _table(source: Any) -> tuple[Any, str]:
    if hasattr(source, "colnames"):
        return source, "the table"
    from astropy.table import Table
    from astropy.table.meta import YamlParseError

    path = Path(source)
    if path.suffix not in (".csv", ".ecsv"):
        raise DataError(f"a published curve is read from .csv or .ecsv, found {path.name!r}")
    try:
        options = {"comment": "#"} if path.suffix == ".csv" else {}
        return Table.read(path, format=f"ascii.{path.suffix[1:]}", **options), path.name
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except (*fits.UNREADABLE, YamlParseError) as error:
        raise DataError(f"{path.name} can't be read as a table: {error}") from error


def _words(name: str) -> list[str]:
    return re.findall("[a-z]+", re.sub("([a-z])([A-Z])", r"\1 \2", name).lower().replace("delta_mag", "deltamag"))


def _kind(name: str, unit: Any) -> str:
    """What a column holds: "arcsec", "mas", "px", "contrast", "mag" or ""."""
    words, unit = set(_words(name)), str(unit or "").lower()
    if words & set(SEPARATIONS):
        if "mas" in words or unit == "mas":
            return "mas"
        pixels = unit in PIXELS if unit else bool(words & PIXELS) and "arcsec" not in words
        return "px" if pixels else "arcsec"
    if words & set(LIMITS):
        return "mag" if words & MAGNITUDES or unit.startswith("mag") else "contrast"
    return ""


def _first(columns: dict[str, str], order: tuple[str, ...], kinds: tuple[str, ...]) -> str | None:
    """Column of one of the kinds whose word comes first in the order."""
    found = [
        (order.index(word), name)
        for name, kind in columns.items()
        if kind in kinds
        for word in _words(name)
        if word in order
    ]
    return min(found)[1] if found else None


def _numbers(table: Any, name: str, kind: str, title: str) -> np.ndarray:
    try:
        column = np.ma.filled(np.ma.asarray(getattr(table[name], "value", table[name]), np.float64), np.nan)
    except (ValueError, TypeError) as error:
        raise DataError(f"column {name!r} of {title} should hold numbers: {error}") from error
    values = np.asarray(column, np.float64)
    if kind == "mag":
        return 10 ** (-0.4 * values)
    return values / 1000 if kind == "mas" else values


def _groups(table: Any, order: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Rows of each curve in order of separation, and its name."""
    along = np.argsort(order, kind="stable")
    if "curve" not in table.colnames:
        return [("", along)]
    names = np.array([str(name) for name in table["curve"]])
    return [(name, along[names[along] == name]) for name in dict.fromkeys(names.tolist())]


def _level(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
