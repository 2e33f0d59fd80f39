"""Photometry of a single frame: counts to nJy by a reference catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table

from corontools.arrays.neighbours import mutual_pairs
from corontools.arrays.sky import ARCSEC, directions, separation
from corontools.arrays.zeropoint import ZeroPointRound, fit_zero_point
from corontools.calibrate.color import ColorTerm
from corontools.calibrate.columns import centroids, column, flag, source_ids
from corontools.calibrate.matches import match_table
from corontools.calibrate.plane import celestial, sky_of
from corontools.calibrate.refcat import RefCat, at_epoch
from corontools.errors import DataError

__all__ = ["PhotometryFit", "ZeroPointFitter", "calibrate_fluxes"]

# flux of magnitude 0, nJy
AB_ZERO = 3.630780547701e12
PER_MAG = 0.4 * np.log(10)
FLUX = "_instFlux"


@dataclass(frozen=True, eq=False, repr=False)
class PhotometryFit:
    """A zero point and what it was fitted to.

    Attributes
    ----------
    zero_point, err : float
        AB magnitude of one count, and its error, mag.
    matches : astropy.table.Table
        All pairs (`initial_photometry_match_detector`): `ref_*`, `src_*`, `distance` (arcsec), `ref_mag`, `ref_magErr`
        in the band of the image, `difference` (reference minus instrumental magnitude) and `differenceErr`, and
        `photometry_used`.
    history : tuple of ZeroPointRound
        Each round of clipping.
    flux, band : str
        Which flux of the sources was compared with which band, or colour term, of the references.
    """

    zero_point: float
    err: float
    matches: Table
    history: tuple[ZeroPointRound, ...]
    flux: str
    band: str

    def __repr__(self) -> str:
        used = int(np.sum(self.matches["photometry_used"]))
        return (
            f"<PhotometryFit zero point {self.zero_point:.4f} +- {self.err:.4f} mag, scatter {self.scatter:.3f} mag of "
            f"{used} stars of {len(self.matches)} pairs; {self.flux} and {self.band}>"
        )

    @property
    def calibration_mean(self) -> float:
        """Factor from counts to nJy."""
        return AB_ZERO * float(10 ** (-0.4 * self.zero_point))

    @property
    def calibration_err(self) -> float:
        """Error of `calibration_mean`, nJy per count."""
        return self.calibration_mean * PER_MAG * self.err

    @property
    def scatter(self) -> float:
        """Standard deviation of the differences used, mag."""
        used = np.asarray(self.matches["photometry_used"])
        return float(np.std(np.asarray(self.matches["difference"], float)[used]))

    @property
    def table(self) -> Table:
        """One row for `initial_photoCalib_detector`."""
        row = {
            "calibrationMean": [self.calibration_mean] * u.nJy / u.ct,
            "calibrationErr": [self.calibration_err] * u.nJy / u.ct,
            "zeroPoint": [self.zero_point] * u.mag,
            "zeroPointErr": [self.err] * u.mag,
            "nStars": [int(np.sum(self.matches["photometry_used"]))],
            "flux": [self.flux],
            "band": [self.band],
        }
        return Table(row)

    def apply(self, table: Table) -> Table:
        """A copy of a table with fluxes in nJy, AB magnitudes, and the flag `calib_photometry_used`."""
        made = calibrate_fluxes(table, self.calibration_mean)
        used = np.asarray(self.matches["src_id"])[np.asarray(self.matches["photometry_used"])]
        made["calib_photometry_used"] = np.isin(source_ids(table), used)
        return made


@dataclass(frozen=True)
class ZeroPointFitter:
    """Compares fluxes with those of references.

    Parameters
    ----------
    band : str
        Of the references, which is that of the image; may be empty where the catalogue has one only.
    color_term : ColorTerm, optional
        Gives the magnitudes of the references in the band of the image; `band` is then not used.
    flux : tuple of str
        Fluxes of the sources, without "_instFlux"; the first one that the table has is taken. By default the
        calibration flux, else the PSF flux.
    bad_flags : tuple of str
        Sources with any of these flags are left out; by default "sky_source". A flag of the flux itself counts too.
    radius : float
        Largest distance on the sky, arcsec; by default 0.25.
    min_snr : float
        Least signal to noise of the flux; by default 10.
    clip : float
        Deviations at which differences are clipped; by default 3.
    sigma_max : float
        Largest deviation taken, mag; by default 0.25.
    floor : float
        Added in quadrature to the error of each difference, mag, so that the brightest stars don't decide alone; by
        default 0.
    """

    band: str = ""
    color_term: ColorTerm | None = None
    flux: tuple[str, ...] = ("slot_CalibFlux", "base_NormalizedCompensatedTophatFlux", "base_PsfFlux")
    bad_flags: tuple[str, ...] = ("sky_source",)
    radius: float = 0.25
    min_snr: float = 10.0
    clip: float = 3.0
    sigma_max: float = 0.25
    floor: float = 0.0

    def fit(self, table: Table, wcs: Any, refcat: RefCat, *, epoch: Any = None) -> PhotometryFit:
        """Fit the zero point.

        Parameters
        ----------
        table : Table
            Sources with slot_Centroid_x and _y, and a flux in counts with its error.
        wcs : astropy.wcs.WCS
            Fitted, so that sources fall on their references.
        refcat : RefCat
        epoch : astropy.time.Time or float (MJD), optional
            Of the exposure; proper motions and parallaxes are applied to it.

        Raises
        ------
        DataError
            If the table lacks the columns, the catalogue the band, no source can be used, or none is a reference.
        """
        wcs = celestial(wcs)
        flux = self._flux_of(table)
        rows = self._chosen(table, flux)
        refcat = at_epoch(refcat, epoch)
        band = self._band_of(refcat)
        ref_mag, ref_err = band.magnitudes(refcat) if isinstance(band, ColorTerm) else refcat.magnitudes(band)
        sky = np.stack(sky_of(wcs, *centroids(table)[rows].T), axis=1)
        ra, dec = (np.asarray(refcat.table[f"coord_{axis}"], float) for axis in ("ra", "dec"))
        i, j, _ = mutual_pairs(directions(*sky.T), directions(ra, dec), 2 * np.sin(self.radius / ARCSEC / 2))
        if len(i) == 0:
            raise DataError(
                f'none of the {len(rows)} sources is within {self.radius:g}" of one of the {len(refcat)} references of '
                f"{refcat.name}; solve the astrometry first, or give a larger radius"
            )
        distance = separation(sky[i, 0], sky[i, 1], ra[j], dec[j])
        matches = match_table(table, refcat, pairs=(rows[i], j), sky=sky[i], distance=distance)
        return self._fitted(matches, flux, str(band), ref_mag[j], ref_err[j])

    def _fitted(self, matches: Table, flux: str, band: str, ref_mag: np.ndarray, ref_err: np.ndarray) -> PhotometryFit:
        counts, counts_err = column(matches, f"src_{flux}{FLUX}"), column(matches, f"src_{flux}{FLUX}Err")
        difference = ref_mag + 2.5 * np.log10(counts)
        err = np.hypot(np.hypot(counts_err / counts / PER_MAG, np.nan_to_num(ref_err)), self.floor)
        found = fit_zero_point(difference, err, clip=self.clip, sigma_max=self.sigma_max)
        if not found.kept.any():
            raise DataError(f"none of the {len(matches)} pairs has a magnitude in {band} and an error of the flux")
        matches["ref_mag"], matches["ref_magErr"] = ref_mag * u.ABmag, ref_err * u.mag
        matches["difference"], matches["differenceErr"] = difference * u.mag, err * u.mag
        matches["photometry_used"] = found.kept
        return PhotometryFit(found.value, found.err, matches, found.rounds, flux, band)

    def _flux_of(self, table: Table) -> str:
        for name in self.flux:
            if f"{name}{FLUX}" in table.colnames:
                return name
        known = [name[: -len(FLUX)] for name in table.colnames if name.endswith(FLUX)]
        raise DataError(
            f"the table of sources has none of the fluxes {', '.join(self.flux)} (found: {', '.join(known) or 'none'})"
            "; name one, ZeroPointFitter(flux=(...,))"
        )

    def _band_of(self, refcat: RefCat) -> str | ColorTerm:
        if not refcat.bands:
            raise DataError(f"{refcat.name} has no flux or magnitude of any band; name one, columns={{'r': ...}}")
        if self.color_term is None and not self.band and len(refcat.bands) > 1:
            raise DataError(
                f"{refcat.name} has bands {', '.join(refcat.bands)}: name that of the image, ZeroPointFitter(band=...)"
            )
        return self.color_term or self.band or refcat.bands[0]

    def _chosen(self, table: Table, flux: str) -> np.ndarray:
        """Rows of the sources that are compared."""
        counts, err = column(table, f"{flux}{FLUX}"), column(table, f"{flux}{FLUX}Err")
        good = np.isfinite(centroids(table)).all(axis=1)
        clean = good & ~np.any([flag(table, name) for name in (*self.bad_flags, f"{flux}_flag")], axis=0)
        with np.errstate(invalid="ignore"):
            chosen = clean & (counts > 0) & (counts >= self.min_snr * err)
        if not chosen.any():
            raise DataError(
                f"no source can be compared with references: of {len(table)}, {good.sum()} have a centroid, "
                f"{clean.sum()} of these no bad flag, and none of these S/N of {self.min_snr:g} in {flux}"
            )
        return np.flatnonzero(chosen)


def calibrate_fluxes(table: Table, calibration_mean: float) -> Table:
    """A copy of a table with each flux in nJy and as AB magnitude.

    For every `<flux>_instFlux` there are new columns `<flux>_flux`, `<flux>_mag`, and, where `<flux>_instFluxErr` is
    given, `<flux>_fluxErr` and `<flux>_magErr`. Magnitudes of fluxes that aren't positive are NaN. Errors are those of
    the counts: that of the calibration is one for all sources.

    Parameters
    ----------
    table : Table
    calibration_mean : float
        nJy per count.

    Examples
    --------
    >>> stars = Table({"base_PsfFlux_instFlux": [100.0, -1.0], "base_PsfFlux_instFluxErr": [1.0, 1.0]})
    >>> made = calibrate_fluxes(stars, 36.30780547701)
    >>> made["base_PsfFlux_flux"].unit, made["base_PsfFlux_mag"].value.round(6).tolist()
    (Unit("nJy"), [22.5, nan])
    """
    made = table.copy(copy_data=False)
    for name in [name for name in table.colnames if name.endswith(FLUX)]:
        root = name[: -len(FLUX)]
        counts = column(table, name)
        with np.errstate(invalid="ignore"):
            positive = np.where(counts > 0, counts, np.nan)
        made[f"{root}_flux"] = counts * calibration_mean * u.nJy
        made[f"{root}_mag"] = -2.5 * np.log10(positive * (calibration_mean / AB_ZERO)) * u.ABmag
        if f"{name}Err" in table.colnames:
            err = column(table, f"{name}Err")
            made[f"{root}_fluxErr"] = err * calibration_mean * u.nJy
            made[f"{root}_magErr"] = err / positive / PER_MAG * u.mag
    return made
