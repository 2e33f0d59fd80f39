"""Which measured sources are good stars, and which of them the PSF was made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from corontools.calibrate.columns import column, flag
from corontools.errors import DataError

__all__ = ["ScienceSelector", "match_psf_stars"]

CALIB_FLUX = "base_NormalizedCompensatedTophatFlux_instFlux"
BAD = (
    "base_PixelFlags_flag_edge",
    "base_PixelFlags_flag_nodata",
    "base_PixelFlags_flag_saturated",
    "base_PsfFlux_flag",
)
# what stars of the final catalogue take over from those of the PSF
SHARED = (
    "calib_psf_candidate",
    "calib_psf_used",
    "calib_psf_reserved",
    "calib_astrometry_used",
    "apcorr_slot_CalibFlux_used",
    "apcorr_base_PsfFlux_used",
    "apcorr_base_GaussianFlux_used",
)
X, Y = "slot_Centroid_x", "slot_Centroid_y"


@dataclass(frozen=True)
class ScienceSelector:
    """Unresolved sources without a bad flag, children in place of their blends, and the sky sources.

    Parameters
    ----------
    flux : str
        Its signal-to-noise counts; the error is the column <flux>Err.
    min_snr : float
    max_extendedness : float
        Of base_ClassificationSizeExtendedness_value: 0 is a star, 1 a galaxy.
    bad_flags : sequence of str
        Columns any of which excludes a source.

    Examples
    --------
    >>> table = Table({name: [False, True] for name in BAD})
    >>> table["flux"], table["fluxErr"], table["sky_source"] = 100.0, 1.0, False
    >>> table["base_ClassificationSizeExtendedness_value"], table["detect_isPrimary"] = 0.0, True
    >>> ScienceSelector(flux="flux").select(table).tolist()
    [True, False]
    """

    flux: str = CALIB_FLUX
    min_snr: float = 10.0
    max_extendedness: float = 0.1
    bad_flags: tuple[str, ...] = BAD

    def select(self, table: Table) -> np.ndarray:
        """True for the rows that stay, (n,).

        Raises
        ------
        DataError
            If the table lacks a column.
        """
        extendedness = "base_ClassificationSizeExtendedness_value"
        needed = (self.flux, f"{self.flux}Err", extendedness, "detect_isPrimary", "sky_source", *self.bad_flags)
        lost = [name for name in needed if name not in table.colnames]
        if lost:
            raise DataError(f"the table of stars lacks {', '.join(lost)}; measure these, or name others")
        with np.errstate(invalid="ignore", divide="ignore"):
            bright = column(table, self.flux) / column(table, f"{self.flux}Err") > self.min_snr
            point = column(table, extendedness) < self.max_extendedness
        bad = np.any([flag(table, name) for name in self.bad_flags], axis=0)
        return (bright & point & ~bad & flag(table, "detect_isPrimary")) | flag(table, "sky_source")


def match_psf_stars(psf_stars: Table, stars: Table, *, radius: float) -> Table:
    """The stars with `psf_id`, the `id` of the same star among those of the PSF (0: none), and its flags.

    Of all stars within the radius of a star of the PSF the closest one counts; blends whose children are in the table
    don't.

    Parameters
    ----------
    psf_stars, stars : Table
        With id, slot_Centroid_x and slot_Centroid_y.
    radius : float
        Px.

    Raises
    ------
    DataError
        If none matches.
    """
    from scipy.spatial import cKDTree

    there = np.flatnonzero(_placed(stars) & (column(stars, "deblend_nChild") == 0))
    known = np.flatnonzero(_placed(psf_stars))
    matched = stars.copy()
    matched["psf_id"] = np.zeros(len(stars), np.int64)
    matched["psf_max_value"] = np.full(len(stars), np.nan)
    rows, sources = np.zeros((2, 0), int)
    if there.size and known.size:
        tree = cKDTree(_places(stars)[there])
        distance, nearest = tree.query(_places(psf_stars)[known], distance_upper_bound=radius)
        near = np.isfinite(distance)
        # two stars of the PSF may be nearest to the same one: the closer has it
        order = np.argsort(distance[near], kind="stable")[::-1]
        rows, sources = there[nearest[near]][order], known[near][order]
    if not rows.size:
        raise DataError(
            f"none of {len(psf_stars)} PSF stars is within {radius:.2g} px of one of {len(stars)} stars; the second "
            "detection should go at least as deep as the first"
        )
    matched["psf_id"][rows] = np.asarray(psf_stars["id"])[sources]
    _take_over(matched, psf_stars, rows, sources, [name for name in SHARED if name in psf_stars.colnames])
    if "psf_max_value" in psf_stars.colnames:
        matched["psf_max_value"][rows] = column(psf_stars, "psf_max_value")[sources]
    return matched


def _take_over(stars: Table, psf_stars: Table, rows: np.ndarray, sources: np.ndarray, names: Iterable[str]) -> None:
    for name in names:
        values = np.zeros(len(stars), bool)
        values[rows] = flag(psf_stars, name)[sources]
        stars[name] = values


def _places(table: Table) -> np.ndarray:
    return np.stack([column(table, X), column(table, Y)], axis=1)


def _placed(table: Table) -> np.ndarray:
    return np.isfinite(_places(table)).all(axis=1)
