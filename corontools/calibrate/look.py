"""A calibrated frame as it is looked at: rounds of the background, sources by kind, their sizes, the zero point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from astropy import units as u
from astropy.table import Table

from corontools.calibrate.columns import column, flag
from corontools.calibrate.photometry import PhotometryFit
from corontools.calibrate.stages import Modelled

if TYPE_CHECKING:
    from corontools.calibrate.image import CalibratedImage

__all__ = ["KINDS", "Differences", "Frames", "SizeMagnitude", "catalog", "differences", "frames", "nearest", "steps"]

# kinds of sources, and what they are called
KINDS = {
    "psf": "stars of the PSF",
    "rejected": "not used for the PSF",
    "star": "other stars",
    "galaxy": "galaxies",
    "saturated": "saturated",
    "sky": "sky sources",
}
# columns of a catalogue without sources
COLUMNS = {"id": "i8", "kind": "U1", "flags": "U1"} | dict.fromkeys(
    ("x", "y", "flux", "fluxErr", "mag", "snr", "width"), "f8"
)
PSF_FLUX = "base_PsfFlux"
EXTENDED = 0.5
# bins of a histogram
FEWEST, MOST = 12, 60


class Frames(NamedTuple):
    """Images of a frame, and the background of each round.

    Attributes
    ----------
    names : tuple of str
    images : tuple of ndarray, shape (y, x)
        The result; the image as it was, and the first background, both less the level of that; the other backgrounds.
        All in the unit of the result.
    n_images : int
        How many of the first show the frame.
    """

    names: tuple[str, ...]
    images: tuple[np.ndarray, ...]
    n_images: int


def frames(calibrated: CalibratedImage) -> Frames:
    """What can be blinked, as far as the calibration has come."""
    result, entries = np.asarray(calibrated.image.data, np.float32), calibrated.background
    if not len(entries):
        return Frames(("raw",), (result,), 1)
    factor = 1.0 if calibrated.photometry is None else calibrated.photometry.calibration_mean
    sky = np.float32(entries[0].median)
    raw = np.asarray(calibrated.start.image, np.float32) * np.float32(factor) - sky
    rounds = [entry.image() - (0 if k else sky) for k, entry in enumerate(entries)]
    less = f" \u2212 {sky:.0f}" if abs(sky) >= 1000 else f" \u2212 {sky:.3g}"
    names = [f"background {k + 1}{'' if k else less}" for k in range(len(rounds))]
    return Frames(("result", f"raw{less}", *names), (result, raw, *rounds), 2)


def catalog(calibrated: CalibratedImage) -> Table:
    """Sources of a frame, those of the final catalogue once they are found; blends by their parts.

    Returns
    -------
    Table
        id, kind (see `KINDS`), x, y (px), flux and fluxErr of the PSF, mag (AB in nJy, else of one count), snr, width
        (sqrt((Ixx + Iyy) / 2), px), flags (names of those that are set).
    """
    if calibrated.modelled is None:
        return Table({name: np.zeros(0, kind) for name, kind in COLUMNS.items()})
    table = calibrated.psf_stars if calibrated.found is None else calibrated.found.table
    table = table[np.asarray(table["deblend_nChild"]) == 0]
    factor = 1.0 if calibrated.photometry is None else calibrated.photometry.calibration_mean
    unit, zero = (u.ct, 0.0) if calibrated.photometry is None else (u.nJy, calibrated.zero_point)
    counts, err = (column(table, f"{PSF_FLUX}_instFlux{end}") for end in ("", "Err"))
    made = Table({"id": np.asarray(table["id"]), "kind": _kinds(table, final=calibrated.found is not None)})
    made["x"], made["y"] = (column(table, f"slot_Centroid_{axis}") * u.pix for axis in "xy")
    made["flux"], made["fluxErr"] = counts * factor * unit, err * factor * unit
    made["mag"] = (_magnitude(counts) + zero) * (u.mag if calibrated.photometry is None else u.ABmag)
    with np.errstate(invalid="ignore", divide="ignore"):
        made["snr"] = counts / err
        made["width"] = np.sqrt((column(table, "slot_Shape_xx") + column(table, "slot_Shape_yy")) / 2) * u.pix
    made["flags"] = _flags(table)
    return made


def _kinds(table: Table, *, final: bool) -> np.ndarray:
    """Kind of each row, the first of these that it is."""
    tried = (
        flag(table, "calib_psf_candidate") | (np.asarray(table["psf_id"]) > 0) if final else np.ones(len(table), bool)
    )
    name = "base_ClassificationSizeExtendedness_value"
    extended = column(table, name) > EXTENDED if name in table.colnames else np.zeros(len(table), bool)
    tests = {
        "sky": flag(table, "sky_source"),
        "psf": flag(table, "calib_psf_used"),
        "saturated": flag(table, "base_PixelFlags_flag_saturatedCenter"),
        "galaxy": extended,
        "rejected": tried,
    }
    return np.select(list(tests.values()), list(tests), default="star")


def _flags(table: Table) -> np.ndarray:
    """Names of the flags of each row; those of planes anywhere in the footprint go without their other two."""
    made = np.full(len(table), "", object)
    for name in table.colnames:
        if table[name].dtype.kind != "b" or name.startswith(("detect_", "sky_")) or name.endswith(("Center", "All")):
            continue
        short = name.removeprefix("base_").replace("PixelFlags_flag_", "").replace("_flag", "")
        made[flag(table, name)] += f", {short}"
    return np.array([words[2:] for words in made], str)


def _magnitude(counts: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return -2.5 * np.log10(np.where(counts > 0, counts, np.nan))


def nearest(sources: Table, x: float, y: float, *, radius: float) -> int | None:
    """Row of the source nearest to a place (px) within a radius; None where there is none."""
    away = np.hypot(np.asarray(sources["x"], float) - x, np.asarray(sources["y"], float) - y)
    away = np.where(away <= radius, away, np.inf)
    return int(np.argmin(away)) if np.isfinite(away).any() else None


@dataclass(frozen=True, eq=False)
class SizeMagnitude:
    """Sizes and magnitudes of the sources that the last selection chose from.

    Attributes
    ----------
    x, y, width : ndarray, shape (n,)
        Px.
    mag : ndarray, shape (n,)
        Instrumental, of the flux that the selection looked at.
    snr : ndarray, shape (n,)
    used, candidate : ndarray of bool, shape (n,)
        Those of the last fit, and those that could be.
    expected : ndarray, shape (n,)
        Width of a star at each place, px.
    tolerance : float
        By how much a star may differ from that, px.
    """

    x: np.ndarray
    y: np.ndarray
    width: np.ndarray
    mag: np.ndarray
    snr: np.ndarray
    used: np.ndarray
    candidate: np.ndarray
    expected: np.ndarray
    tolerance: float

    @classmethod
    def of(cls, modelled: Modelled) -> SizeMagnitude:
        """Of the last pass."""
        last, table = modelled.passes[-1], modelled.table
        chosen = last.selection
        x, y = (column(table, f"slot_Centroid_{axis}") for axis in "xy")
        mag = _magnitude(column(table, f"{PSF_FLUX}_instFlux"))
        used, candidate, expected = last.fit.used, chosen.selected, chosen.expected
        return cls(x, y, chosen.width, mag, chosen.snr, used, candidate, expected, chosen.tolerance)

    @property
    def excess(self) -> np.ndarray:
        """By how much each source is wider than a star would be at its place, (n,), px."""
        return self.width - self.expected

    def snr_at(self, mag: float) -> float:
        """S/N that sources of a magnitude have."""
        slope, level = self._noise
        return float(10 ** (slope * mag + level))

    def mag_at(self, snr: float) -> float:
        """Magnitude of sources of an S/N."""
        slope, level = self._noise
        return float((np.log10(snr) - level) / slope)

    @property
    def _noise(self) -> tuple[float, float]:
        """Straight line of log S/N over the magnitude of stars; S/N ~ sqrt(flux) where it can't be fitted."""
        known = np.isfinite(self.mag) & (self.snr > 0)
        stars = known & self.candidate
        known = stars if np.count_nonzero(stars) > 1 else known
        mag, log = self.mag[known], np.log10(self.snr[known])
        slope, level = np.polyfit(mag, log, 1) if len(mag) > 1 and np.ptp(mag) > 0 else (0.0, 0.0)
        if slope < 0:
            return float(slope), float(level)
        return -0.2, float(np.mean(log + 0.2 * mag)) if len(mag) else 0.0


class Differences(NamedTuple):
    """Histogram of reference minus instrumental magnitudes.

    Attributes
    ----------
    edges : ndarray, shape (n + 1,)
    every, used : ndarray of int, shape (n,)
        All pairs, and those of the zero point.
    limits : ndarray, shape (n_rounds, 2)
        Of each round of clipping.
    outside : int
        Pairs beyond the edges.
    """

    edges: np.ndarray
    every: np.ndarray
    used: np.ndarray
    limits: np.ndarray
    outside: int


def differences(fit: PhotometryFit) -> Differences:
    """Histogram about the clip limits of all rounds, and as far again on either side."""
    values = column(fit.matches, "difference")
    limits = np.array([(one.center - one.limit, one.center + one.limit) for one in fit.history]).reshape(-1, 2)
    low, high = (limits.min(), limits.max()) if len(limits) else (np.nanmin(values), np.nanmax(values))
    pad = (high - low) / 2 or 0.1
    bins = int(np.clip(3 * np.sqrt(len(values)), FEWEST, MOST))
    edges = np.linspace(low - pad, high + pad, bins + 1)
    used = np.asarray(fit.matches["photometry_used"], bool)
    every, chosen = (np.histogram(part[np.isfinite(part)], edges)[0] for part in (values, values[used]))
    return Differences(edges, every, chosen, limits, int(np.isfinite(values).sum() - every.sum()))


def steps(edges: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outline x, y of a histogram."""
    return np.repeat(edges, 2), np.r_[0, np.repeat(counts, 2), 0]
