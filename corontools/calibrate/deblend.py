"""Blends of sources taken apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table, vstack

from corontools.arrays.deblend import PeakFits, fit_peaks, share_pixels
from corontools.arrays.stamps import Footprints, Pair
from corontools.calibrate.detections import Detections
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.measure import middle_sigma
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import PSF
from corontools.calibrate.targets import Sources
from corontools.errors import DataError

__all__ = ["Deblender"]

SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))
# what is known of the children of blends only
CHILD_COLUMNS = (
    "deblend_peakId",
    "deblend_deblendedAsPsf",
    "deblend_psf_instFlux",
    "deblend_psfCenter_x",
    "deblend_psfCenter_y",
    "deblend_psf_chi2",
    "deblend_psf_dof",
    "deblend_failed",
    "deblend_patchedTemplate",
    "deblend_hasStrayFlux",
)


@dataclass(frozen=True)
class Deblender:
    """Takes footprints with several peaks apart, each pixel by the templates of the sources.

    Peaks that are stars have the PSF for a template, all others, and stars within 3 FWHM of one, a symmetric one.

    Parameters
    ----------
    psf_chi2 : float
        Reduced chi-squared up to which a peak is a star, and has the PSF's template.
    psf_growth : float
        Sigma up to which it may be wider than the PSF.
    psf_error : float
        Error of the PSF as a part of its value, which both allow for.
    radius : float
        Of the pixels about a peak that are fitted, in units of the PSF's FWHM.
    rounds : int
        Of the fit, in each of which positions and neighbours are those of the one before.
    max_peaks : int
        Of a blend; the highest are kept.
    max_pixels : int
        A larger footprint is left whole.
    max_no_data : float
        A footprint with a greater part of its pixels without data is left whole.

    Raises
    ------
    DataError
        If an option isn't positive.
    """

    psf_chi2: float = 1.5
    psf_growth: float = 3.0
    psf_error: float = 0.02
    radius: float = 1.5
    rounds: int = 3
    max_peaks: int = 100
    max_pixels: int = 10_000
    max_no_data: float = 0.25

    def __post_init__(self) -> None:
        sizes = (
            self.psf_chi2,
            self.psf_growth,
            self.radius,
            self.rounds,
            self.max_peaks - 1,
            self.max_pixels,
            self.max_no_data,
        )
        if not all(0 < size < np.inf for size in sizes) or self.psf_error < 0:
            raise DataError(f"options of the deblender should be positive, found {self}")

    def deblend(self, masked: MaskedImage, detections: Detections, psf: PSF) -> Sources:
        """Sources of a frame: each footprint, and the children of those with several peaks.

        Parameters
        ----------
        masked : MaskedImage
            Less its background.
        detections : Detections
        psf : PSF

        Returns
        -------
        Sources
            Children of a blend together have all of its light. Beside the columns of `Sources.of`, blends have the
            flags `deblend_tooManyPeaks` (the faintest were left out), `deblend_parentTooBig`, `deblend_masked` and
            `deblend_skipped` (one of the two: left whole); children have `deblend_peakId`, `deblend_deblendedAsPsf`,
            `deblend_psf_instFlux`, `deblend_psfCenter_x` and `_y` (px), `deblend_psf_chi2`, `deblend_psf_dof`,
            `deblend_failed` (couldn't be fitted as a star), `deblend_patchedTemplate` (some of its pixels have their
            opposite outside the frame) and `deblend_hasStrayFlux` (got pixels that no template reaches).
        """
        whole = Sources.of(detections)
        parents = _judged(whole.table, masked, whole.footprints, self)
        parents["deblend_tooManyPeaks"] = ~parents["deblend_skipped"] & (parents["deblend_nPeaks"] > self.max_peaks)
        peaks = _peaks_of(detections, parents[(parents["deblend_nPeaks"] > 1) & ~parents["deblend_skipped"]], self)
        if not len(peaks):
            return Sources(_filled(parents), whole.footprints)
        groups = _groups(np.asarray(peaks["footprint"]))
        frame = (np.asarray(masked.image), np.asarray(masked.variance))
        fits, stars = self._fits(frame, peaks, groups, psf)
        footprints = _shared_rows(whole.footprints, parents, peaks)
        stamps = psf.images(fits.x, fits.y)
        shares, *notes = share_pixels(frame, footprints, fits, stamps, stars=stars, groups=groups)
        children = _children(parents, peaks, fits, stars, notes)
        parents["deblend_nChild"] = _count(peaks["footprint"], parents["footprint"])
        rows = np.concatenate([whole.footprints.rows, footprints.rows])
        return Sources(_filled(vstack([parents, children])), footprints._replace(rows=rows, shares=shares))

    def _fits(self, frame: Pair, peaks: Table, groups: np.ndarray, psf: PSF) -> tuple[PeakFits, np.ndarray]:
        """Peaks as stars, and whether they are; what is no star goes back to its peak if the fit led it away."""
        places = np.stack([np.asarray(peaks[name], float) for name in ("x", "y")], axis=1)
        radius = self.radius * middle_sigma(psf, frame[0].shape) / SIGMA_PER_FWHM
        fits = fit_peaks(frame, psf.images, places, groups, radius=radius, psf_error=self.psf_error, rounds=self.rounds)
        stars = (fits.flux > 0) & (fits.chi2 <= self.psf_chi2 * fits.dof) & (fits.growth < self.psf_growth)
        # the light of what is wider than a star would be counted with those beside it
        stars &= ~_beside(fits, ~stars, groups, 2 * radius)
        away = ~stars & (np.maximum(abs(fits.x - places[:, 0]), abs(fits.y - places[:, 1])) > 1)
        x, y = np.where(away, places[:, 0], fits.x), np.where(away, places[:, 1], fits.y)
        return fits._replace(x=x, y=y), stars


def _beside(fits: PeakFits, which: np.ndarray, groups: np.ndarray, reach: float) -> np.ndarray:
    """Whether one of some peaks of the same blend is nearer than `reach`."""
    near = np.zeros(len(which), bool)
    for first, last in groups[np.logical_or.reduceat(which, groups[:, 0])]:
        x, y = fits.x[first:last], fits.y[first:last]
        some = which[first:last]
        near[first:last] = np.any(np.hypot(x[:, None] - x[some], y[:, None] - y[some]) < reach, axis=1)
    return near


def _judged(parents: Table, masked: MaskedImage, footprints: Footprints, options: Deblender) -> Table:
    """Flags of the footprints that are left whole."""
    no_data = (np.asarray(masked.mask) & int(Plane.NO_DATA)) != 0
    size = np.bincount(footprints.labels.ravel(), minlength=int(parents["footprint"].max(initial=0)) + 1)
    lost = np.bincount(footprints.labels[no_data], minlength=len(size))
    several, label = np.asarray(parents["deblend_nPeaks"]) > 1, np.asarray(parents["footprint"])
    parents["deblend_parentTooBig"] = several & (size[label] > options.max_pixels)
    parents["deblend_masked"] = several & (lost[label] > options.max_no_data * size[label])
    parents["deblend_skipped"] = parents["deblend_parentTooBig"] | parents["deblend_masked"]
    return parents


def _peaks_of(detections: Detections, blended: Table, options: Deblender) -> Table:
    """Peaks of blends, by footprint and falling height, not more of each than are wanted."""
    peaks = detections.peaks[np.isin(detections.peaks["footprint"], blended["footprint"])]
    label = np.asarray(peaks["footprint"], np.int64)
    order = np.lexsort((-np.asarray(peaks["significance"], float), label))
    first = np.unique(label[order], return_index=True, return_inverse=True)
    rank = np.arange(len(order)) - first[1][first[2]]
    return peaks[order[rank < options.max_peaks]]


def _groups(label: np.ndarray) -> np.ndarray:
    """First and last + 1 row of each blend."""
    first = np.flatnonzero(np.diff(label, prepend=-1))
    return np.stack([first, np.append(first[1:], len(label))], axis=1).astype(np.int64)


def _shared_rows(footprints: Footprints, parents: Table, peaks: Table) -> Footprints:
    """Footprints of children: the boxes of their parents, and the places of their shares."""
    row_of = np.full(int(parents["footprint"].max()) + 1, -1)
    row_of[np.asarray(parents["footprint"])] = np.arange(len(parents))
    rows = footprints.rows[row_of[np.asarray(peaks["footprint"])]].copy()
    size = (rows[:, 3] - rows[:, 2]) * (rows[:, 5] - rows[:, 4])
    rows[:, 1] = np.cumsum(size) - size
    return footprints._replace(rows=rows)


def _children(parents: Table, peaks: Table, fits: PeakFits, stars: np.ndarray, notes: list[np.ndarray]) -> Table:
    label, n = np.asarray(peaks["footprint"], np.int32), len(peaks)
    return Table(
        {
            "id": int(parents["id"].max()) + 1 + np.arange(n, dtype=np.int64),
            "parent": label.astype(np.int64),
            "footprint": label,
            "x": np.asarray(peaks["x"], np.int64),
            "y": np.asarray(peaks["y"], np.int64),
            "significance": np.asarray(peaks["significance"], float),
            "sky_source": np.zeros(n, bool),
            "deblend_nChild": np.zeros(n, np.int32),
            "deblend_nPeaks": np.ones(n, np.int32),
            "deblend_parentNPeaks": _count(label, label),
            "deblend_peakId": np.asarray(peaks["id"], np.int64),
            "deblend_deblendedAsPsf": stars,
            "deblend_psf_instFlux": np.where(np.isfinite(fits.chi2), fits.flux, np.nan),
            "deblend_psfCenter_x": fits.x,
            "deblend_psfCenter_y": fits.y,
            "deblend_psf_chi2": fits.chi2,
            "deblend_psf_dof": fits.dof.astype(np.int32),
            "deblend_failed": ~np.isfinite(fits.chi2),
            "deblend_patchedTemplate": notes[0],
            "deblend_hasStrayFlux": notes[1],
        }
    )


def _count(labels: np.ndarray, of: np.ndarray) -> np.ndarray:
    """How often each of some labels occurs."""
    labels, of = np.asarray(labels, np.int64), np.asarray(of, np.int64)
    return np.bincount(labels, minlength=int(of.max(initial=0)) + 1)[of].astype(np.int32)


def _filled(table: Table) -> Table:
    """Without masked values: what doesn't apply is NaN, 0 or False; columns of children are there without any."""
    blank = {"_instFlux": np.nan, "_x": np.nan, "_y": np.nan, "_chi2": np.nan, "_dof": np.int32(0), "Id": np.int64(0)}
    for name in CHILD_COLUMNS:
        if name not in table.colnames:
            ending = next((end for end in blank if name.endswith(end)), "")
            table[name] = np.full(len(table), blank.get(ending, False))
    for name in table.colnames:
        column = table[name]
        if hasattr(column, "filled"):
            ending = next((end for end in blank if name.endswith(end)), "")
            table[name] = np.asarray(column.filled(blank.get(ending, False)))
    return table
