"""RefCat: reference catalogues of positions, motions and fluxes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from corontools.arrays.sky import coverage, moved, separation
from corontools.calibrate.refcolumns import ColumnMap
from corontools.calibrate.reffiles import files_of, read_table, unmasked
from corontools.errors import DataError

__all__ = ["RefCat", "at_epoch"]

DAYS = 365.25
# bands by which sources are ranked, where they are known
RANKED = ("phot_g_mean", "r", "i", "g")


@dataclass(frozen=True, eq=False, repr=False)
class RefCat:
    """Reference sources; make one by `read` or `from_table`.

    Attributes
    ----------
    table : astropy.table.Table
        In LSST's names: `id`, `coord_ra` and `coord_dec` (degrees, ICRS), `<band>_flux` and `<band>_fluxErr` (nJy), and
        where they are known `pm_ra` (with the cosine of the declination), `pm_dec` (mas/yr), `parallax` (mas), `epoch`
        (MJD), errors of all of these (`coord_raErr` ...), and flags. NaN is what isn't known.
    name : str
        What it is called in messages.
    selection : str
        What part of a catalogue this is, in words; empty where it is all of it.
    source : str
        The Python call that reads it again; kept by `read`.

    Examples
    --------
    >>> table = Table({"ra": [10.0, 10.001], "dec": [3.0, 3.002], "rmag": [18.0, 19.0]})
    >>> refs = RefCat.from_table(table)
    >>> refs.bands, refs.magnitudes("r")[0].round(6).tolist()
    (('r',), [18.0, 19.0])
    """

    table: Table
    name: str = "reference catalogue"
    selection: str = ""
    source: str = ""

    @classmethod
    def from_table(
        cls,
        table: Table,
        *,
        columns: Mapping[str, str] | None = None,
        units: Mapping[str, str] | None = None,
        to_ab: Mapping[str, float] | None = None,
        epoch: Any = None,
        name: str = "reference catalogue",
    ) -> RefCat:
        """From a table with any names of columns.

        Parameters
        ----------
        table : Table
            Names that LSST, Gaia and VizieR use are known, and so are magnitudes by "mag" at the end; units are those
            of the columns.
        columns, units, to_ab : mapping, optional
            See `ColumnMap`: `columns={"ra": "RA_deg", "r": "R"}, units={"r": "mag(AB)"}`.
        epoch : astropy.time.Time or float (MJD), optional
            Of the positions, where no column says.
        name : str
            What messages call it.

        Raises
        ------
        DataError
            If it has no rows or no positions, or a column isn't what it should be.
        """
        if len(table) == 0:
            raise DataError(f"{name} is empty: it has no rows")
        made = ColumnMap(columns or {}, units or {}, to_ab or {}).standard(table, name)
        if len(made) == 0:
            raise DataError(f"{name}: none of the {len(table)} rows has a finite position")
        if epoch is not None and "epoch" not in made.colnames:
            made["epoch"] = np.full(len(made), mjd_of(epoch))
            made["epoch"].unit = "day"
        return cls(made, name)

    @classmethod
    def read(
        cls, paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, epoch: Any = None, **names: Any
    ) -> RefCat:
        """Read a file, several that are put together, or all FITS files of a folder (such as LSST's shards).

        FITS, ECSV, CSV, VOTable, and Parquet (which needs pyarrow); sources with an id that came before are left out.
        `names` are columns, units and to_ab of `from_table`.

        Raises
        ------
        DataError
            If a file can't be read, or the table isn't what `from_table` needs.
        """
        from corontools.result import call

        single = isinstance(paths, str | os.PathLike)
        given = [Path(paths)] if single else [Path(path) for path in paths]  # type: ignore[arg-type, union-attr]
        files = [file for path in given for file in files_of(path)]
        whole = _together([(file, read_table(file)) for file in files], {"epoch": epoch, **names})
        if whole is None:
            raise DataError(f"no reference source in {', '.join(str(path) for path in given) or 'no file'}")
        name = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
        options = names if epoch is None else {"epoch": mjd_of(epoch), **names}
        written = call(RefCat.read.__func__, cls, str(paths) if single else [str(path) for path in given], **options)  # type: ignore[attr-defined]
        return cls(whole, name, source=f"RefCat.{written}")

    def __len__(self) -> int:
        return len(self.table)

    @property
    def code(self) -> str:
        """Python code that gives it again: how it was read, else its fingerprint."""
        from corontools.result import memory_print

        return self.source or f"RefCat.from_table(table({memory_print(self.table)!r}))"

    def __repr__(self) -> str:
        words = self.selection or f"{len(self)} sources, {_box_words(coverage(*self._places))}"
        return f"<RefCat {self.name}: {words}; bands {', '.join(self.bands) or 'none'}>"

    @property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(self.table["coord_ra"], float), np.asarray(self.table["coord_dec"], float)

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands that have fluxes."""
        return tuple(name[:-5] for name in self.table.colnames if name.endswith("_flux"))

    @property
    def brightness(self) -> str:
        """The band by which sources are ranked: Gaia's G, r, i, g, else the first; empty where there is none."""
        preferred = [band for band in RANKED if band in self.bands]
        return next(iter((*preferred, *self.bands)), "")

    @property
    def moves(self) -> bool:
        """Whether any source has a proper motion or parallax other than zero."""
        return any(
            bool(np.any(np.nan_to_num(np.asarray(self.table[name], float))))
            for name in ("pm_ra", "pm_dec", "parallax")
            if name in self.table.colnames
        )

    def magnitudes(self, band: str) -> tuple[np.ndarray, np.ndarray]:
        """AB magnitudes in a band and their errors; NaN where the flux isn't positive.

        Raises
        ------
        DataError
            If the catalogue doesn't have the band.
        """
        flux, err = self.fluxes(band)
        with np.errstate(invalid="ignore", divide="ignore"):
            good = flux > 0
            return np.where(good, -2.5 * np.log10(flux) + 31.4, np.nan), np.where(
                good, 2.5 / np.log(10) * err / flux, np.nan
            )

    def fluxes(self, band: str) -> tuple[np.ndarray, np.ndarray]:
        """Fluxes in a band and their errors, nJy.

        Raises
        ------
        DataError
            If the catalogue doesn't have the band.
        """
        if band not in self.bands:
            raise DataError(f"{self.name} has no band {band!r} (found: {', '.join(self.bands) or 'none'})")
        flux = np.asarray(self.table[f"{band}_flux"], float)
        error = f"{band}_fluxErr"
        has = error in self.table.colnames
        return flux, np.asarray(self.table[error], float) if has else np.full(len(flux), np.nan)

    def at(self, epoch: Any) -> RefCat:
        """Where the sources are seen from the Earth at an epoch (Time, or MJD): proper motions and parallaxes applied.

        The errors of the positions grow by those of the motions. Without motions the catalogue stays as it is.

        Raises
        ------
        DataError
            If sources move and the epoch of the catalogue isn't known.
        """
        if not self.moves:
            return self
        if "epoch" not in self.table.colnames:
            raise DataError(
                f"{self.name} has proper motions but no epoch; give RefCat.from_table(..., epoch=Time(...))"
            )
        mjd = mjd_of(epoch)
        years = np.nan_to_num((mjd - np.asarray(self.table["epoch"], float)) / DAYS)
        pm_e, pm_n, parallax = (self._number(name) for name in ("pm_ra", "pm_dec", "parallax"))
        ra, dec = moved(
            *self._places,
            pm=(pm_e, pm_n),
            years=years,
            parallax=parallax,
            observer=_earth(mjd) if parallax.any() else 0.0,
        )
        table = self.table.copy()
        table["coord_ra"][:], table["coord_dec"][:] = ra, dec
        for position, motion in (("coord_raErr", "pm_raErr"), ("coord_decErr", "pm_decErr")):
            if position in table.colnames:
                table[position][:] = np.hypot(np.asarray(table[position]), years * self._number(motion) / 3.6e6)
        table["epoch"][:] = mjd
        return replace(self, table=table)

    def _number(self, name: str) -> np.ndarray:
        if name not in self.table.colnames:
            return np.zeros(len(self))
        return np.nan_to_num(np.asarray(self.table[name], float))

    def inside(self, wcs: Any, shape: tuple[int, int], *, margin: float = 250.0) -> RefCat:
        """Sources that fall on an image or near it; `selection` says how many.

        Parameters
        ----------
        wcs : astropy.wcs.WCS
        shape : (int, int)
            Height and width, px.
        margin : float
            Width of the frame around the image, px.

        Raises
        ------
        DataError
            If there is none; the message tells where the image is and where the catalogue.
        """
        from corontools.calibrate.plane import celestial

        wcs = celestial(wcs)
        border = _border(shape, margin)
        edge_ra, edge_dec = wcs.all_pix2world(*border.T, 0, ra_dec_order=True)
        middle = wcs.all_pix2world([(shape[1] - 1) / 2], [(shape[0] - 1) / 2], 0, ra_dec_order=True)
        reach = np.max(separation(edge_ra, edge_dec, *middle))
        ra, dec = self._places
        # distortion polynomials mean nothing far from the image
        near = np.flatnonzero(separation(ra, dec, *middle) <= 1.01 * reach)
        x, y = np.empty(0), np.empty(0)
        if near.size:
            x, y = wcs.all_world2pix(ra[near], dec[near], 0, ra_dec_order=True, quiet=True)
        ny, nx = shape
        within = near[(x >= -margin) & (x <= nx - 1 + margin) & (y >= -margin) & (y <= ny - 1 + margin)]
        box = _box_words(coverage(edge_ra, edge_dec))
        if within.size == 0:
            raise DataError(
                f"no reference source lies in the box of the image with {margin:g} px around it, {box}: "
                f"the {len(self)} sources of {self.name} cover {_box_words(coverage(ra, dec))}; "
                "give the catalogue of that region, or check where the WCS points"
            )
        words = f"{within.size} of {len(self)} sources lie within {margin:g} px of the image, {box}"
        return replace(self, table=self.table[within], selection=words)


def at_epoch(refcat: RefCat, epoch: Any) -> RefCat:
    """References at the epoch of an exposure; with a warning as they are where an epoch isn't known and they move."""
    if epoch is not None and (not refcat.moves or "epoch" in refcat.table.colnames):
        return refcat.at(epoch)
    if refcat.moves:
        lacking = "the exposure has no date" if epoch is None else f"{refcat.name} has no epoch"
        warnings.warn(f"{lacking}: proper motions of the references aren't applied", stacklevel=3)
    return refcat


def _together(parts: Sequence[tuple[Path, Table]], options: Mapping[str, Any]) -> Table | None:
    """Rows of several files in our names, each source once; None where there is none."""
    tables = [RefCat.from_table(part, name=file.name, **options).table for file, part in parts if len(part)]
    if not tables:
        return None
    if len(tables) == 1:
        return unmasked(tables[0])
    whole = vstack(tables, metadata_conflicts="silent")
    return unmasked(whole[np.sort(np.unique(np.asarray(whole["id"]), return_index=True)[1])])


def mjd_of(epoch: Any) -> float:
    """MJD of an astropy Time, or of a number that is one already."""
    value = getattr(epoch, "mjd", epoch)
    if isinstance(value, bool) or not np.isscalar(value) or not 15000 < float(value) < 100000:  # type: ignore[arg-type]
        raise DataError(f"an epoch should be an astropy Time or an MJD, found {epoch!r}")
    return float(value)  # type: ignore[arg-type]


def _earth(mjd: float) -> np.ndarray:
    """Earth from the barycentre of the solar system, au."""
    from astropy.coordinates import get_body_barycentric
    from astropy.time import Time

    return get_body_barycentric("earth", Time(mjd, format="mjd", scale="tdb"), ephemeris="builtin").xyz.to_value("au")


def _border(shape: tuple[int, int], margin: float, n: int = 9) -> np.ndarray:
    """Points along the border of an image with a margin, (n, 2)."""
    ny, nx = shape
    x, y = np.linspace(-margin, nx - 1 + margin, n), np.linspace(-margin, ny - 1 + margin, n)
    sides = [(x, np.full(n, y[0])), (x, np.full(n, y[-1])), (np.full(n, x[0]), y), (np.full(n, x[-1]), y)]
    return np.concatenate([np.stack(side, axis=1) for side in sides])


def _box_words(box: tuple[float, float, float, float]) -> str:
    return f"RA {box[0]:.4f} to {box[1]:.4f}, Dec {box[2]:+.4f} to {box[3]:+.4f} deg"
