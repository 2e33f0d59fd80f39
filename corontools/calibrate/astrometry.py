"""Astrometry of a single frame: the WCS corrected by a reference catalogue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table

from corontools.arrays.neighbours import mutual_pairs
from corontools.arrays.radial import SIGMA_PER_MAD
from corontools.arrays.sky import separation
from corontools.calibrate.astrometry_fit import AstrometryFit, AstrometryRound
from corontools.calibrate.columns import centroids, column, flag
from corontools.calibrate.matcher import Matcher, PatternMatcher
from corontools.calibrate.matches import match_table
from corontools.calibrate.plane import TangentPlane, celestial, scale_of, sky_of
from corontools.calibrate.refcat import RefCat, at_epoch
from corontools.calibrate.wcsfit import AffineFitter, WCSFitter
from corontools.errors import DataError

__all__ = ["AstrometryFit", "AstrometrySolver", "BadAstrometryFitError", "NoPatternMatchError"]

# sources or pairs without which nothing is solved
LEAST = 4
# magnitudes further from the median difference than so many robust deviations aren't of the same star
MAGNITUDE_SIGMA, MAGNITUDE_FLOOR = 3.0, 1e-3
# pairs that tell how magnitudes scatter
LEAST_MAGNITUDES = 10


class NoPatternMatchError(DataError):
    """Sources aren't found among the references.

    Attributes
    ----------
    sources, references : ndarray, shape (n, 2)
        In the tangent plane of the given WCS, px; the brightest first.
    """

    def __init__(self, message: str, sources: np.ndarray, references: np.ndarray) -> None:
        super().__init__(message)
        self.sources, self.references = sources, references


class BadAstrometryFitError(DataError):
    """The fitted WCS leaves sources far from their references; `fit` is the AstrometryFit."""

    def __init__(self, message: str, fit: AstrometryFit) -> None:
        super().__init__(message)
        self.fit = fit


@dataclass(frozen=True)
class AstrometrySolver:
    """Matches sources to references and fits the WCS, a few times.

    Parameters
    ----------
    matcher : Matcher
        Finds the pairs of the first round; by default `PatternMatcher()`. Later rounds take nearest neighbours.
    fitter : WCSFitter
        By default `AffineFitter()`, which keeps the distortion; `SipFitter()` fits one.
    candidates : str
        Flag of the sources that are matched; all where the table lacks the column. By default "calib_psf_candidate".
    flux : str
        By which sources are ranked, without "_instFlux"; by default "base_PsfFlux".
    band : str
        Of the references, by which they are ranked and compared; see `RefCat.brightness` where it is empty.
    margin : float
        Around the image, px, from which references are taken; by default 250.
    max_iter : int
        Rounds at the most; by default 3.
    min_distance : float
        Arcsec; a round with all distances (mean + 2 standard deviations) below is the last. By default 0.001.
    max_mean_distance : float
        Arcsec; a fit with a larger mean distance is an error. By default 0.5.
    """

    matcher: Matcher = field(default_factory=PatternMatcher)
    fitter: WCSFitter = field(default_factory=AffineFitter)
    candidates: str = "calib_psf_candidate"
    flux: str = "base_PsfFlux"
    band: str = ""
    margin: float = 250.0
    max_iter: int = 3
    min_distance: float = 0.001
    max_mean_distance: float = 0.5

    def solve(
        self, table: Table, wcs: Any, refcat: RefCat, shape: tuple[int, int], *, epoch: Any = None
    ) -> AstrometryFit:
        """Fit the WCS of an image.

        Parameters
        ----------
        table : Table
            Sources with slot_Centroid_x and _y (0-based) and the flux.
        wcs : astropy.wcs.WCS
            As pointed: right in scale, to about 1 degree in orientation and 350 px in position.
        refcat : RefCat
        shape : (int, int)
            Height and width of the image, px.
        epoch : astropy.time.Time or float (MJD), optional
            Of the exposure; proper motions and parallaxes are applied to it.

        Raises
        ------
        DataError
            If there is no WCS, or it isn't celestial; if the catalogue doesn't overlap, or lacks the band; or if there
            are fewer than four sources.
        NoPatternMatchError
            If the sources aren't found among the references.
        BadAstrometryFitError
            If the mean distance after the fit is too large; the exception has the fit.
        """
        wcs = celestial(wcs)
        field_ = _Field.of(self, table, at_epoch(refcat.inside(wcs, shape, margin=self.margin), epoch))
        sources, references = field_.planes(wcs)
        pattern = self.matcher.match(sources, references)
        if pattern.reason:
            raise NoPatternMatchError(self._no_match(pattern.reason, field_), sources, references)
        new, pairs, rounds = self._iterated(field_, wcs, (pattern.source, pattern.reference), shape)
        fit = _result(field_, wcs, new, pairs=pairs, rounds=rounds, shape=shape)
        if not fit.offset_mean <= self.max_mean_distance:
            raise BadAstrometryFitError(
                f'after the fit {len(fit.matches)} sources are {fit.offset_mean:.2f}" from their references on '
                f'average, more than {self.max_mean_distance:g}"; if the distortion is wrong, try SipFitter()',
                fit,
            )
        return fit

    def _no_match(self, reason: str, field_: _Field) -> str:
        return (
            f"the {len(field_.rows)} sources aren't found among the {len(field_.refcat)} references: {reason}; check "
            f"the pixel scale and orientation of the WCS and the region of {field_.refcat.name}, or allow for more by "
            "PatternMatcher(max_shift=..., max_rotation=...)"
        )

    def _iterated(
        self, field_: _Field, wcs: Any, pairs: tuple[np.ndarray, np.ndarray], shape: tuple[int, int]
    ) -> tuple[Any, tuple[np.ndarray, np.ndarray], tuple[AstrometryRound, ...]]:
        rounds: list[AstrometryRound] = []
        kept = pairs
        for k in range(self.max_iter):
            if k:
                distance = field_.distance(wcs, *kept) / scale_of(wcs)
                pairs = mutual_pairs(*field_.planes(wcs), max(1.0, distance.mean() + 2 * distance.std()))[:2]
            i, j = field_.alike(*pairs)
            if len(i) < LEAST:
                raise DataError(f"{len(i)} sources agree with references in place and brightness, {LEAST} are needed")
            fit = self.fitter.fit(field_.pixels[i], field_.sky[j], wcs=wcs, shape=shape)
            wcs, kept = fit.wcs, (i[fit.used], j[fit.used])
            distance = field_.distance(wcs, *kept)
            mean, std = float(distance.mean()), float(distance.std())
            rounds.append(AstrometryRound(len(pairs[0]), len(kept[0]), mean, std, float(np.median(distance))))
            if mean + 2 * std <= self.min_distance:
                break
        return wcs, kept, tuple(rounds)


class _Field(NamedTuple):
    """Sources and references, the brightest first."""

    table: Table
    rows: np.ndarray
    pixels: np.ndarray
    magnitude: np.ndarray
    refcat: RefCat
    order: np.ndarray
    sky: np.ndarray
    ref_magnitude: np.ndarray

    @classmethod
    def of(cls, solver: AstrometrySolver, table: Table, refcat: RefCat) -> _Field:
        pixels = centroids(table)
        flux = column(table, f"{solver.flux}_instFlux")
        chosen = flag(table, solver.candidates) if solver.candidates in table.colnames else np.ones(len(table), bool)
        good = chosen & np.isfinite(pixels).all(axis=1) & (flux > 0)
        if np.count_nonzero(good) < LEAST:
            raise DataError(
                f"{np.count_nonzero(good)} sources can be matched, {LEAST} are needed: of {len(table)}, "
                f"{np.count_nonzero(chosen)} are chosen by {solver.candidates}, "
                f"{np.count_nonzero(chosen & np.isfinite(pixels).all(axis=1))} of these have a good centroid"
            )
        rows = np.flatnonzero(good)
        rows = rows[np.argsort(-flux[rows], kind="stable")]
        band = solver.band or refcat.brightness
        magnitude = refcat.magnitudes(band)[0] if band else np.full(len(refcat), np.nan)
        order = np.argsort(magnitude, kind="stable")
        ra, dec = (np.asarray(refcat.table[f"coord_{axis}"], float) for axis in ("ra", "dec"))
        sky = np.stack([ra, dec], axis=1)[order]
        return cls(table, rows, pixels[rows], -2.5 * np.log10(flux[rows]), refcat, order, sky, magnitude[order])

    def planes(self, wcs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Sources and references in the tangent plane, px."""
        plane, scale = TangentPlane(wcs), scale_of(wcs) / 3600
        return plane.of_sky(*sky_of(wcs, *self.pixels.T)) / scale, plane.of_sky(*self.sky.T) / scale

    def distance(self, wcs: Any, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Arcsec between pairs."""
        return separation(*sky_of(wcs, *self.pixels[i].T), *self.sky[j].T)

    def alike(self, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs whose magnitudes don't contradict the others; those without a magnitude are kept."""
        difference = self.ref_magnitude[j] - self.magnitude[i]
        known = np.isfinite(difference)
        if np.count_nonzero(known) < LEAST_MAGNITUDES:
            return i, j
        off = np.abs(difference - np.median(difference[known]))
        sigma = max(SIGMA_PER_MAD * float(np.median(off[known])), MAGNITUDE_FLOOR)
        kept = ~known | (off <= MAGNITUDE_SIGMA * sigma)
        return i[kept], j[kept]


def _result(
    field_: _Field,
    initial: Any,
    wcs: Any,
    *,
    pairs: tuple[np.ndarray, np.ndarray],
    rounds: tuple[AstrometryRound, ...],
    shape: tuple[int, int],
) -> AstrometryFit:
    i, j = pairs
    sky = np.stack(sky_of(wcs, *field_.pixels[i].T), axis=1)
    distance = separation(*sky.T, *field_.sky[j].T)
    rows = field_.rows[i], field_.order[j]
    matches = match_table(field_.table, field_.refcat, pairs=rows, sky=sky, distance=distance)
    shift, rotation = _pointing(initial, wcs, shape)
    return AstrometryFit(wcs, initial, matches, rounds, field_.refcat, len(field_.rows), shift, rotation)


def _pointing(initial: Any, wcs: Any, shape: tuple[int, int]) -> tuple[float, float]:
    """By how much the first WCS was off: px in the middle of the image, degrees of rotation there."""
    x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    plane = TangentPlane(wcs)
    before, after = (plane.of_sky(*sky_of(one, [x, x + 50], [y, y])) for one in (initial, wcs))
    angle = [np.degrees(np.arctan2(*(line[1] - line[0])[::-1])) for line in (before, after)]
    return float(np.hypot(*(before[0] - after[0]))) * 3600 / scale_of(wcs), float(
        (angle[1] - angle[0] + 180) % 360 - 180
    )
