"""AstrometryFit: a WCS fitted to references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from astropy import units as u
from astropy.table import Table

from corontools.calibrate.columns import column, source_ids
from corontools.calibrate.plane import sky_of
from corontools.calibrate.refcat import RefCat

__all__ = ["AstrometryFit", "AstrometryRound", "place"]


class AstrometryRound(NamedTuple):
    """One round of matching and fitting: numbers of pairs and of those fitted, and their distances in arcsec."""

    n_pairs: int
    n_used: int
    mean: float
    std: float
    median: float


@dataclass(frozen=True, eq=False, repr=False)
class AstrometryFit:
    """A WCS fitted to references, and what it was fitted to.

    Attributes
    ----------
    wcs, initial : astropy.wcs.WCS
        Fitted, and as it was.
    matches : astropy.table.Table
        The pairs fitted (`initial_astrometry_match_detector`): `ref_*`, `src_*`, and `distance` in arcsec on the sky.
    rounds : tuple of AstrometryRound
    references : RefCat
        Those on the image and around it, at the epoch of the exposure where that is known.
    n_sources : int
        Sources that were matched.
    shift, rotation : float
        By how much the pointing was wrong: px in the middle of the image, and degrees.

    Examples
    --------
    An exposure whose table of PSF stars has been measured::

        fit = AstrometrySolver().solve(stars, exposure.wcs, refcat, exposure.shape, epoch=exposure.meta.mjd)
        fit.offset_mean, fit.wcs.to_header(relax=True)
        stars = fit.apply(stars)
    """

    wcs: Any
    initial: Any
    matches: Table
    rounds: tuple[AstrometryRound, ...]
    references: RefCat
    n_sources: int
    shift: float
    rotation: float

    def __repr__(self) -> str:
        return (
            f"<AstrometryFit {len(self.matches)} pairs of {self.n_sources} sources and {len(self.references)} "
            f'references {self.offset_mean:.3f}" +- {self.offset_std:.3f}" apart; the pointing was {self.shift:.1f} px '
            f"and {self.rotation:.3f} deg off>"
        )

    @property
    def distance(self) -> np.ndarray:
        """Arcsec between sources and references, (n_pairs,)."""
        return np.asarray(self.matches["distance"], float)

    @property
    def offset_mean(self) -> float:
        """Mean distance, arcsec."""
        return float(np.mean(self.distance))

    @property
    def offset_std(self) -> float:
        """Standard deviation of the distances, arcsec."""
        return float(np.std(self.distance))

    @property
    def offset_median(self) -> float:
        """Median distance, arcsec."""
        return float(np.median(self.distance))

    @property
    def residuals(self) -> np.ndarray:
        """Columns x, y of the sources and dx, dy to where the references should be, px; (n_pairs, 4)."""
        x, y = (np.asarray(self.matches[f"src_slot_Centroid_{axis}"], float) for axis in "xy")
        ra, dec = (np.asarray(self.matches[f"ref_coord_{axis}"], float) for axis in ("ra", "dec"))
        to_x, to_y = self.wcs.all_world2pix(ra, dec, 0, ra_dec_order=True)
        return np.stack([x, y, to_x - x, to_y - y], axis=1)

    def cards(self) -> dict[str, tuple[float | int, str]]:
        """FITS cards of the distances, with LSST's names."""
        return {
            "HIERARCH SFM_ASTROM_OFFSET_MEAN": (self.offset_mean, "[arcsec] mean"),
            "HIERARCH SFM_ASTROM_OFFSET_STD": (self.offset_std, "[arcsec] scatter"),
            "HIERARCH SFM_ASTROM_OFFSET_MEDIAN": (self.offset_median, "[arcsec]"),
            "HIERARCH SFM_ASTROM_PAIRS": (len(self.matches), "fitted"),
        }

    def apply(self, table: Table) -> Table:
        """A copy of a table with sky positions by the WCS, and the flag of the sources that it was fitted to.

        Columns `coord_ra`, `coord_dec` (degrees), `coord_raErr` (on the sky, with the cosine of the declination),
        `coord_decErr`, `coord_ra_dec_Cov` from the errors of the centroids where those are given, and
        `calib_astrometry_used`, which holds for the table that was solved and others with its ids.
        """
        made = place(table, self.wcs)
        made["calib_astrometry_used"] = np.isin(source_ids(table), np.asarray(self.matches["src_id"]))
        return made


def place(table: Table, wcs: Any) -> Table:
    """A copy of a table with sky positions and their errors by a WCS; see `AstrometryFit.apply`."""
    made = table.copy(copy_data=False)
    x, y = column(table, "slot_Centroid_x"), column(table, "slot_Centroid_y")
    ra, dec = sky_of(wcs, x, y)
    made["coord_ra"], made["coord_dec"] = ra * u.deg, dec * u.deg
    if {"slot_Centroid_xErr", "slot_Centroid_yErr"} <= set(table.colnames):
        err = np.stack([column(table, "slot_Centroid_xErr"), column(table, "slot_Centroid_yErr")], axis=1)
        steps = [_step(sky_of(wcs, x + dx, y + dy), ra, dec) for dx, dy in ((1, 0), (0, 1))]
        (ex, nx), (ey, ny) = steps
        made["coord_raErr"] = np.hypot(ex * err[:, 0], ey * err[:, 1]) * u.deg
        made["coord_decErr"] = np.hypot(nx * err[:, 0], ny * err[:, 1]) * u.deg
        made["coord_ra_dec_Cov"] = (ex * nx * err[:, 0] ** 2 + ey * ny * err[:, 1] ** 2) * u.deg**2
    return made


def _step(to: tuple[np.ndarray, np.ndarray], ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Degrees to the east and north."""
    return ((to[0] - ra + 180) % 360 - 180) * np.cos(np.radians(dec)), to[1] - dec
