"""Columns of reference catalogues: found by their names, turned into one set of names and units."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table

from corontools.errors import DataError
from corontools.fits import one_line

__all__ = ["GAIA_AB", "ColumnMap"]

# AB minus Vega magnitudes of Gaia's bands: differences of the zero points of the published passbands (DR2: Evans et al.
# 2018, A&A 616, A4, table 1; EDR3: Riello et al. 2021, A&A 649, A3, section 5.3), told apart by the reference epoch
GAIA_AB = {
    "DR2": {"phot_g_mean": 0.1050, "phot_bp_mean": 0.0292, "phot_rp_mean": 0.3542},
    "DR3": {"phot_g_mean": 0.1136, "phot_bp_mean": 0.0155, "phot_rp_mean": 0.3561},
}
MJD_2016 = 57388.0


@dataclass(frozen=True)
class Role:
    """What a column may tell: its name among ours, unit, unit where the column has none, names known for it."""

    column: str
    unit: u.UnitBase
    known: tuple[str, ...]
    assumed: u.UnitBase | None = None


ROLES = {
    "ra": Role("coord_ra", u.deg, ("coord_ra", "ra", "ra_icrs", "raj2000", "radeg", "ra_deg", "raicrs", "alpha_j2000")),
    "dec": Role(
        "coord_dec", u.deg, ("coord_dec", "dec", "de_icrs", "dej2000", "dedeg", "dec_deg", "decicrs", "delta_j2000")
    ),
    "ra_err": Role("coord_raErr", u.deg, ("coord_raerr", "ra_error", "e_ra_icrs"), u.mas),
    "dec_err": Role("coord_decErr", u.deg, ("coord_decerr", "dec_error", "e_de_icrs"), u.mas),
    "pm_ra": Role("pm_ra", u.mas / u.yr, ("pm_ra", "pmra")),
    "pm_dec": Role("pm_dec", u.mas / u.yr, ("pm_dec", "pmdec", "pmde")),
    "pm_ra_err": Role("pm_raErr", u.mas / u.yr, ("pm_raerr", "pmra_error", "e_pmra")),
    "pm_dec_err": Role("pm_decErr", u.mas / u.yr, ("pm_decerr", "pmdec_error", "e_pmde")),
    "parallax": Role("parallax", u.mas, ("parallax", "plx")),
    "parallax_err": Role("parallaxErr", u.mas, ("parallaxerr", "parallax_error", "e_plx")),
    "epoch": Role("epoch", u.day, ("epoch", "ref_epoch")),
    "id": Role("id", u.dimensionless_unscaled, ("id", "source_id", "objid", "obj_id", "sourceid")),
}
ERRORS = ("{}err", "{}_err", "{}_error", "e_{}")


@dataclass(frozen=True)
class ColumnMap:
    """Which column of a table is what, and in which unit.

    Columns are found by the names of LSST's reference catalogues, of Gaia's archive and VizieR, and, for magnitudes,
    by "mag" at the end; what is named here goes before that.

    Parameters
    ----------
    columns : mapping, optional
        Name of the column by what it tells: "ra", "dec", "id", "pm_ra" (with the cosine of the declination), "pm_dec",
        "parallax", "epoch", those with "_err", or the name of a band and of a band with "_err".
    units : mapping, optional
        Unit by the same names, where the column has none: else degrees, mas/yr, mas, and AB magnitudes for columns
        with "mag" in their name.
    to_ab : mapping, optional
        What makes the magnitudes of a band AB magnitudes, added to them; known for Gaia.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    to_ab: Mapping[str, float] = field(default_factory=dict)

    def standard(self, table: Table, name: str) -> Table:
        """The table in our names and units; rows without a position are left out.

        Raises
        ------
        DataError
            If there are no positions, a column that is named isn't there, or a unit can't be what it should.
        """
        self._check_names(table, name)
        made = Table()
        found = {role: self._column(table, role) for role in ROLES}
        missing = [role for role in ("ra", "dec") if found[role] is None]
        if missing:
            there = one_line(", ".join(table.colnames))
            raise DataError(
                f"{name}: no column is known to hold {' and '.join(missing)} (found: {there}); "
                f"name it, columns={{'{missing[0]}': ...}}"
            )
        for role, column in found.items():
            if column is not None and role not in ("id", "epoch"):
                made[ROLES[role].column] = self._values(table, role, column, ROLES[role].unit, name)
        if found["epoch"] is not None:
            made["epoch"] = _mjd(table, found["epoch"], self.units.get("epoch"))
        for band, column, error in self._bands(table):
            self._add_flux(made, table, band, column, error, name)
        made.add_column(_ids(table, found["id"]), name="id", index=0)
        _add_flags(made, table)
        good = np.isfinite(made["coord_ra"]) & np.isfinite(made["coord_dec"])
        return made[good]

    def _check_names(self, table: Table, name: str) -> None:
        for role, column in self.columns.items():
            if column not in table.colnames:
                there = one_line(", ".join(table.colnames))
                raise DataError(f"{name}: column {column!r}, named for {role!r}, isn't there (found: {there})")

    def _column(self, table: Table, role: str) -> str | None:
        if role in self.columns:
            return self.columns[role]
        lower = {column.lower(): column for column in reversed(table.colnames)}
        return next((lower[known] for known in ROLES[role].known if known in lower), None)

    def _values(self, table: Table, role: str, column: str, unit: u.UnitBase, name: str) -> Any:
        own = _unit(table[column].unit)
        given = u.Unit(self.units[role]) if role in self.units else own or ROLES[role].assumed or unit
        # the motions of some LSST catalogues are in radians, without the year
        if role.startswith("pm_") and given.is_equivalent(u.rad):
            given = given / u.yr
        values = _filled(table[column])
        try:
            return u.Quantity(values, given).to(unit)
        except (u.UnitConversionError, ValueError) as error:
            raise DataError(
                f"{name}: {role} is in {unit}, column {column!r} in {given}; name its unit, units={{'{role}': ...}}"
            ) from error

    def _bands(self, table: Table) -> Iterator[tuple[str, str, str | None]]:
        """Band, its column and that of its error."""
        named = [key for key in self.columns if key not in ROLES]
        if named:
            for band in (key for key in named if not (key.endswith("_err") and key[:-4] in named)):
                yield band, self.columns[band], self.columns.get(f"{band}_err")
            return
        for column in table.colnames:
            flux = re.fullmatch(r"(.+)_flux", column)
            if flux and _is_flux(table[column].unit):
                yield flux[1], column, _first(table, (f"{flux[1]}_fluxErr",))
            magnitude = re.fullmatch(r"(.+?)_?mag", column, re.IGNORECASE)
            if magnitude and not re.match("e_", column, re.IGNORECASE):
                yield magnitude[1], column, _first(table, [form.format(column) for form in ERRORS])

    def _add_flux(self, made: Table, table: Table, band: str, column: str, error: str | None, name: str) -> None:
        """Columns band_flux and band_fluxErr, nJy."""
        values = _filled(table[column])
        unit = table[column].unit if band not in self.units else u.Unit(self.units[band])
        if unit is None and "mag" not in column.lower():
            raise DataError(f"{name}: column {column!r} has no unit; name it, units={{'{band}': 'nJy'}}, or 'mag(AB)'")
        uncertain = np.full(len(values), np.nan) if error is None else _filled(table[error])
        if unit is not None and _is_flux(unit):
            factor = unit.to(u.nJy)
            flux, err = values * factor, uncertain * factor
        elif unit is None or _is_magnitude(unit):
            flux = (np.where(np.isfinite(values), values, np.nan) + self._offset(made, band)) * u.ABmag
            flux = flux.to_value(u.nJy)
            err = flux * uncertain * np.log(10) / 2.5
            over = f"{band}_flux_over_error"
            if error is None and over in table.colnames:
                err = flux / _filled(table[over])
        else:
            raise DataError(f"{name}: column {column!r} of band {band!r} is in {unit}; a flux or magnitude is needed")
        made[f"{band}_flux"], made[f"{band}_fluxErr"] = flux * u.nJy, err * u.nJy

    def _offset(self, made: Table, band: str) -> float:
        epoch = made["epoch"][0] if "epoch" in made.colnames and len(made) else 0.0
        return self.to_ab.get(band, GAIA_AB["DR3" if epoch >= MJD_2016 else "DR2"].get(band, 0.0))


def _unit(unit: Any) -> Any:
    """The unit, where LSST's shards spell it in words that FITS doesn't know."""
    if not isinstance(unit, u.UnrecognizedUnit):
        return unit
    return {"rad/year": u.rad / u.yr, "day": u.day}.get(unit.to_string(), unit)


def _first(table: Table, names: Any) -> str | None:
    lower = {column.lower(): column for column in table.colnames}
    return next((lower[name.lower()] for name in names if name.lower() in lower), None)


def _is_flux(unit: Any) -> bool:
    return unit is not None and not _is_magnitude(unit) and u.Unit(unit).is_equivalent(u.nJy)


def _is_magnitude(unit: Any) -> bool:
    return unit == u.mag or unit == u.ABmag or unit == u.mag(u.AB)


def _filled(column: Any) -> np.ndarray:
    """Values as floating point, NaN where masked."""
    values = np.ma.asarray(getattr(column, "value", column)) if hasattr(column, "mask") else np.asarray(column)
    try:
        return np.ma.filled(np.ma.asarray(values).astype(float), np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {getattr(column, 'name', '')!r} should hold numbers, found {values.dtype}") from error


def _mjd(table: Table, column: str, unit: str | None) -> u.Quantity:
    """Epochs as MJD; years, JD and MJD are told apart by their size where no unit says."""
    values = _filled(table[column])
    given = u.Unit(unit) if unit else _unit(table[column].unit)
    years = given.is_equivalent(u.yr) and given != u.day if given is not None else np.nanmax(values, initial=0) < 3000
    if years:
        values = (values - 2000.0) * 365.25 + 51544.5
    return np.where(values > 2.4e6, values - 2400000.5, values) * u.day


def _ids(table: Table, column: str | None) -> np.ndarray:
    """Numbers from 1 where the table has none."""
    if column is not None and np.asarray(table[column]).dtype.kind in "iu":
        return np.ma.filled(np.ma.asarray(table[column]), 0).astype(np.int64)
    return np.arange(1, len(table) + 1)


def _add_flags(made: Table, table: Table) -> None:
    """Flags of their own columns, and those that LSST keeps as bits of one."""
    flags = np.asarray(table["flags"]) if "flags" in table.colnames else None
    if flags is not None and flags.ndim == 2 and flags.dtype == bool:
        for bit in range(flags.shape[1]):
            if f"TFLAG{bit + 1}" in table.meta:
                made[str(table.meta[f"TFLAG{bit + 1}"]).strip()] = flags[:, bit]
    for name in ("pm_flag", "parallax_flag", "resolved", "photometric"):
        if name in table.colnames and np.asarray(table[name]).dtype == bool:
            made[name] = np.asarray(table[name])
    for flag, columns in {"pm_flag": ("pm_ra", "pm_dec"), "parallax_flag": ("parallax",)}.items():
        for column in columns if flag in made.colnames else ():
            if column in made.colnames:
                made[column][np.asarray(made[flag])] = np.nan
