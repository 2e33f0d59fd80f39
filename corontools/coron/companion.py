"""CompanionFit: place and flux of a companion by forward modelling, with errors that the noise around it gives.

See `docs/contrast.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from corontools.coron.klip import KlipResult
from corontools.coron.matching import linear
from corontools.coron.source import MASKED, Footprint, Source, on_detector, on_sky, source_of
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.meta import Meta
from corontools.result import Result, function_call

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["Check", "CompanionFit", "fit_companion"]

# px by which the PSF is moved for its derivative
STEP = 0.05
# px: the last step of a fit that has settled; the longest step; and how many there may be
SETTLED, LONGEST, STEPS = 1e-4, 0.5, 40
# FWHM from the guess beyond which it is another source
REACH = 2.0
# places at which the noise has to be known, and the share of a source's weight that counts there
FEWEST, LEAST_SEEN = 5, 0.5


class NoSourceError(DataError):
    """The fit found no source near the guess."""


class _Products(NamedTuple):
    """Over the integrations of all rolls, for templates u: <e, R u> (m,) and <R u, R v> (m, m)."""

    matched: np.ndarray
    gram: np.ndarray


@dataclass(frozen=True)
class _Plane:
    """Places about the star in px: east and north for results with a WCS, else along x and y of the one there is.

    Attributes
    ----------
    klips : tuple of KlipResult
    source : Source
    scale : float or None
        Arcsec per px on the sky; None: along x and y.
    """

    klips: tuple[KlipResult, ...]
    source: Source
    scale: float | None

    def pixel(self, klip: KlipResult, place: np.ndarray) -> tuple[float, float]:
        """0-based (x, y) in one of the results."""
        if self.scale is None:
            x, y = np.asarray(klip.target.center) + place
            return float(x), float(y)
        sep, pa = np.hypot(*place) * self.scale, np.degrees(np.arctan2(place[0], place[1]))
        return on_detector(klip.target, float(sep), float(pa))

    def holds(self, place: np.ndarray) -> bool:
        """Whether a place lies inside the images of all results."""
        inside = []
        for klip in self.klips:
            (x, y), (ny, nx) = self.pixel(klip, place), klip.zones.shape
            inside.append(2 * STEP <= x <= nx - 1 - 2 * STEP and 2 * STEP <= y <= ny - 1 - 2 * STEP)
        return all(inside)

    def products(self, place: np.ndarray, axes: np.ndarray) -> _Products:
        """Of the PSF at a place and of its derivatives along the axes (rows, unit vectors)."""
        total = _Products(np.zeros(3), np.zeros((3, 3)))
        for klip in self.klips:
            pixels, templates = self._templates(klip, place, axes)
            found = _products(klip, pixels, templates)
            total = _Products(total.matched + found.matched, total.gram + found.gram)
        return total

    def _templates(self, klip: KlipResult, place: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shape = klip.zones.shape
        moved = [place + sign * STEP * axis for axis in axes for sign in (1, -1)]
        found = [self.source.footprint(shape, self.pixel(klip, at)) for at in (place, *moved)]
        pixels = np.unique(np.concatenate([one.pixels for one in found]))
        images = np.zeros((len(found), pixels.size))
        for image, one in zip(images, found, strict=True):
            image[np.searchsorted(pixels, one.pixels)] = one.values
        slopes = (images[1::2] - images[2::2]) / (2 * STEP)
        return pixels, np.concatenate([images[:1], slopes])

    def without(self, place: np.ndarray, flux: float) -> _Plane:
        """The same less a source: the subtraction is linear."""
        less = tuple(k.inject(-flux, position=self.pixel(k, place), psf=self.source) for k in self.klips)
        return _Plane(less, self.source, self.scale)


def _products(klip: KlipResult, pixels: np.ndarray, templates: np.ndarray) -> _Products:
    target, m = klip.target, len(templates)
    good, data = target.good.reshape(target.n_int, -1), target.data.reshape(target.n_int, -1)
    matched, gram = np.zeros(m), np.zeros((m, m))
    for space in klip.subspaces:
        k = min(klip.modes, len(space.basis)) + 1
        sources = [Footprint(pixels, values) for values in templates]
        light = np.stack([space.light(one, good)[0] for one in sources])
        scores = np.stack([space.scores_of(one, good)[:, :k] for one in sources])
        at = space.light(sources[0], good)[1]
        values = data[np.ix_(space.integrations, space.pixels[at])]
        # a pixel without data has no light
        matched += np.einsum("mip,ip->m", light, np.where(np.isfinite(values), values, 0.0))
        matched -= np.einsum("mik,ik->m", scores, space.scores[:, :k])
        gram += np.einsum("aip,bip->ab", light, light) - np.einsum("aik,bik->ab", scores, scores)
    return _Products(matched, gram)


@dataclass(frozen=True, eq=False, repr=False)
class CompanionFit(Result):
    """A companion: where it is, how bright, and how well that is known.

    Made by `KlipResult.fit_companion` or `corontools.fit_companion`.

    Attributes
    ----------
    offset : ndarray, shape (2,)
        Px from the star: east and north where the results have a WCS, else along x and y.
    flux : float
        In multiples of the PSF.
    covariance : ndarray, shape (3, 3)
        Of the offset (px) and the flux, from the noise at the same separation.
    controls : int
        Places the noise was measured at.
    modes : int
    fwhm : float
        Px.
    meta : Meta
    """

    offset: np.ndarray
    flux: float
    covariance: np.ndarray
    controls: int
    modes: int
    fwhm: float
    meta: Meta
    plane: _Plane

    @property
    def position(self) -> tuple[float, float]:
        """0-based (x, y) in the first result."""
        return self.plane.pixel(self.plane.klips[0], self.offset)

    @property
    def sep(self) -> float:
        """Arcsec from the star, or px where the results have no WCS."""
        return float(np.hypot(*self.offset) * (self.plane.scale or 1.0))

    @property
    def sep_err(self) -> float:
        """1 sigma of `sep`."""
        return self._along(self.offset / np.hypot(*self.offset)) * (self.plane.scale or 1.0)

    @property
    def pa(self) -> float:
        """Degrees east of north; without a WCS, from +y towards -x."""
        east = self.offset[0] if self.plane.scale is not None else -self.offset[0]
        return float(np.degrees(np.arctan2(east, self.offset[1])) % 360)

    @property
    def pa_err(self) -> float:
        """1 sigma of `pa`, degrees."""
        r = np.hypot(*self.offset)
        return float(np.degrees(self._along(np.array([-self.offset[1], self.offset[0]]) / r) / r))

    def _along(self, direction: np.ndarray) -> float:
        return float(np.sqrt(direction @ self.covariance[:2, :2] @ direction))

    @property
    def flux_err(self) -> float:
        """1 sigma of `flux`."""
        return float(np.sqrt(self.covariance[2, 2]))

    @property
    def snr(self) -> float:
        """Flux over its error."""
        return self.flux / self.flux_err

    @property
    def without(self) -> tuple[KlipResult, ...]:
        """The results less the companion."""
        return self.plane.without(self.offset, self.flux).klips

    @property
    def table(self) -> QTable:
        """One row: sep, pa, flux with their errors, S/N."""
        from astropy import units as u
        from astropy.table import QTable

        length = u.pix if self.plane.scale is None else u.arcsec
        columns = {
            "sep": [self.sep] * length,
            "sep_err": [self.sep_err] * length,
            "pa": [self.pa] * u.deg,
            "pa_err": [self.pa_err] * u.deg,
            "flux": [self.flux],
            "flux_err": [self.flux_err],
            "snr": [self.snr],
        }
        return QTable(columns, meta={"modes": self.modes, "controls": self.controls, "chain": list(self.history)})

    def check(self, n: int = 12) -> Check:
        """The same fit for sources of the same flux put in at up to `n` other angles, the companion taken out.

        Raises
        ------
        DataError
            If there is no other place for one.
        """
        plane = self.plane.without(self.offset, self.flux)
        places = _controls(self.offset, self.fwhm, rings=(0.0,))[
            :: max(1, int(len(_angles(self.offset, self.fwhm)) / n))
        ]
        found = []
        for place, _ in places[:n]:
            try:
                there = plane.without(place, -self.flux)
                found.append(np.append(*_settled(there, place, self.fwhm)) - np.append(place, self.flux))
            except DataError:  # outside the image, or noise carried it away
                continue
        if not found:
            raise DataError(f"no other place {np.hypot(*self.offset):.1f} px from the star can hold a source")
        return Check(np.array(found), self)

    def _values(self) -> np.ndarray:
        return np.append(self.offset, self.flux)

    def _rows(self) -> list[tuple[str, str]]:
        unit, digits = (" px", 3) if self.plane.scale is None else ('"', 4)
        return [
            ("target", self.meta.title),
            ("separation", f"{self.sep:.{digits}f} ± {self.sep_err:.{digits}f}{unit}"),
            ("position angle", f"{self.pa:.2f} ± {self.pa_err:.2f} deg"),
            ("flux", f"{self.flux:.4g} ± {self.flux_err:.2g} PSF, S/N {self.snr:.1f}"),
            ("fitted to", f"{len(self.plane.klips)} result(s), {self.modes} modes; noise from {self.controls} places"),
        ]

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        before, after = (_cut(klip, self.position, self.fwhm) for klip in (self.plane.klips[0], self.without[0]))
        return [quick.image_picture(before, "residual"), quick.image_picture(after, "less the companion")]


class Check(NamedTuple):
    """Fits of injected sources, and the fit that was checked.

    Attributes
    ----------
    errors : ndarray, shape (n, 3)
        Offset (px) and flux found less those put in; NaN where the fit found no source.
    fit : CompanionFit
    """

    errors: np.ndarray
    fit: CompanionFit

    @property
    def lost(self) -> int:
        """Sources that were not found."""
        return int(np.isnan(self.errors[:, 2]).sum())

    @property
    def bias(self) -> np.ndarray:
        """Mean error of offset and flux of those that were found, (3,)."""
        return self.errors[~np.isnan(self.errors[:, 2])].mean(axis=0)

    @property
    def scatter(self) -> np.ndarray:
        """Root mean square error of offset and flux of those that were found, (3,)."""
        return np.sqrt(np.square(self.errors[~np.isnan(self.errors[:, 2])]).mean(axis=0))


def fit_companion(
    results: Sequence[KlipResult],
    *,
    sep: float | None = None,
    pa: float | None = None,
    position: tuple[float, float] | None = None,
    psf: Source | np.ndarray | None = None,
    others: Sequence[tuple[float, float]] = (),
) -> CompanionFit:
    """Fit place and flux of a companion to the residuals of one result or of several rolls.

    What the subtraction leaves of the PSF, exactly known, is fitted by least squares (Gauss-Newton). The errors come
    from the same equations at other places within a FWHM of the separation, the companion taken out: noise that is
    correlated from pixel to pixel counts as it is.

    Parameters
    ----------
    results : sequence of KlipResult
        At the number of modes wanted.
    sep, pa : float, optional
        Guess: arcsec and degrees east of north, within two FWHM.
    position : (float, float), optional
        Instead, for one result: 0-based (x, y).
    psf : Source or ndarray, optional
        Image of a source of flux 1; by default a Gaussian as wide as the core of the PSF.
    others : sequence of (float, float)
        Other companions, (sep, pa), or (x, y) without a WCS: within two FWHM of them nothing is told of the noise.

    Raises
    ------
    DataError
        If the guess is missing, on the star or outside the image, the fit runs away from it, or too few places tell the
        noise.
    """
    if not results:
        raise DataError("no result to fit; give at least one KlipResult")
    for one in results:
        linear(one, "fit_companion")
    first = results[0]
    source = source_of(psf, first.target)
    fwhm = source.width_in(first.target.meta)
    plane, guess = _plane(results, source, sep, pa, position)
    if not np.hypot(*guess) > fwhm / 2 or not plane.holds(guess):
        raise DataError(f"a guess {np.hypot(*guess):.1f} px from the star is on it, or outside an image; move it")
    offset, flux = _settled(plane, guess, fwhm)
    quiet = plane.without(offset, flux)
    away = [_offset(first.target, place) for place in others]
    noise, controls = _noise(quiet, offset, fwhm, away)
    step = function_call(fit_companion, list(results), sep=sep, pa=pa, position=position, psf=psf, others=tuple(others))
    return CompanionFit(
        offset=offset,
        flux=flux,
        covariance=_covariance(plane.products(offset, np.eye(2)).gram, noise, flux),
        controls=controls,
        modes=first.modes,
        fwhm=fwhm,
        meta=first.target.meta,
        plane=plane,
        history=(step,),
    )


def _covariance(gram: np.ndarray, noise: np.ndarray, flux: float) -> np.ndarray:
    """Covariance (3, 3) of offset and flux from that of the right-hand side: A^-1 C A^-1."""
    # equations of (offset, flux): J = (f q_a, f q_b, q), where gram and noise have q first
    order, each = np.ix_([1, 2, 0], [1, 2, 0]), np.array([flux, flux, 1.0])
    scale = np.outer(each, each)
    normal = np.linalg.inv(gram[order] * scale)
    return np.asarray(normal @ (noise[order] * scale) @ normal)


def _plane(
    results: Sequence[KlipResult],
    source: Source,
    sep: float | None,
    pa: float | None,
    position: tuple[float, float] | None,
) -> tuple[_Plane, np.ndarray]:
    """The plane of the fit, and the guess in it."""
    target = results[0].target
    if (position is None) == (sep is None) or (sep is None) != (pa is None):
        raise DataError("a fit needs a guess: position=(x, y) in px, or sep= in arcsec and pa= in degrees")
    if position is not None and len(results) > 1:
        raise DataError("several rolls have no pixel in common; give sep= in arcsec and pa= in degrees")
    if target.wcs is None:
        if position is None:
            raise DataError(f"{target._name} has no WCS, so north isn't known; give position=(x, y)")
        return _Plane(tuple(results), source, None), np.subtract(position, target.center)
    if position is not None:
        sep, pa = on_sky(target, position)
    assert sep is not None
    assert pa is not None
    return _Plane(tuple(results), source, target.meta.pixel_scale or 1.0), _offset(target, (sep, pa))


def _offset(target: Exposure, place: tuple[float, float]) -> np.ndarray:
    """Offset from the star in the plane of the fit: px east and north for (sep, pa), or along x and y without a WCS."""
    if target.wcs is None:
        return np.subtract(place, target.center)
    angle = np.radians(place[1])
    return place[0] / (target.meta.pixel_scale or 1.0) * np.array([np.sin(angle), np.cos(angle)])


def _settled(plane: _Plane, guess: np.ndarray, fwhm: float) -> tuple[np.ndarray, float]:
    """Offset and flux of least squares: the flux is linear, the offset follows by Gauss-Newton steps."""
    place = np.array(guess, np.float64)
    for _ in range(STEPS):
        matched, gram = plane.products(place, np.eye(2))
        if not gram[0, 0] > 0:
            raise DataError(f"nothing of a source is measured {np.hypot(*place):.1f} px from the star")
        flux = matched[0] / gram[0, 0]
        # (q_a, q_b) free of q, since the flux follows
        slopes = gram[1:, 1:] - np.outer(gram[1:, 0], gram[1:, 0]) / gram[0, 0]
        if not (np.linalg.det(slopes) > 0 and flux):
            break  # nothing tells which way to go
        step = np.linalg.solve(slopes, matched[1:] - flux * gram[1:, 0]) / flux
        length = float(np.hypot(*step))
        place = place + step * min(1.0, LONGEST / max(length, LONGEST))
        if not np.hypot(*(place - guess)) <= REACH * fwhm or not plane.holds(place):
            break
        if length < SETTLED:
            return place, float(matched[0] / gram[0, 0])
    raise NoSourceError(
        f"no source within {REACH:g} FWHM of the guess: the fit went to {np.hypot(*place):.1f} px from the star; "
        "look at detection_map for where one is"
    )


def _angles(offset: np.ndarray, fwhm: float) -> np.ndarray:
    """Angles, from that of the companion, of places one FWHM apart on its circle, the nearest two FWHM left out."""
    r = float(np.hypot(*offset))
    n = max(1, int(2 * np.pi * r / fwhm))
    angles = 2 * np.pi * np.arange(n) / n
    apart = 2 * r * np.abs(np.sin(angles / 2))
    return angles[apart >= MASKED * fwhm]


def _controls(
    offset: np.ndarray, fwhm: float, *, rings: Sequence[float] = (-1.0, 0.0, 1.0)
) -> list[tuple[np.ndarray, float]]:
    """Places like the companion's at other angles, on circles so many FWHM from its own, and those angles."""
    r = float(np.hypot(*offset))
    found = []
    for ring in rings:
        out = offset * (r + ring * fwhm) / r
        if r + ring * fwhm < fwhm:
            continue
        for angle in _angles(out, fwhm):
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            found.append((turn @ out, float(angle)))
    return found


def _noise(quiet: _Plane, offset: np.ndarray, fwhm: float, away: Sequence[np.ndarray] = ()) -> tuple[np.ndarray, int]:
    """Covariance (3, 3) of <e, R u> for the PSF and its slopes at the companion, and how many places it is from.

    Places near those in `away` don't count.
    """
    here = quiet.products(offset, np.eye(2)).gram[0, 0]
    samples, radius = [], []
    for place, angle in _controls(offset, fwhm):
        if not quiet.holds(place) or any(np.hypot(*(place - other)) < MASKED * fwhm for other in away):
            continue
        # axes that turn with the place: at every one the first lies alike towards the star
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        found = quiet.products(place, turn)
        if found.gram[0, 0] > LEAST_SEEN * here:
            samples.append(found.matched * np.sqrt(here / found.gram[0, 0]))
            radius.append(np.hypot(*place))
    n = len(samples)
    if n < FEWEST:
        raise DataError(
            f"only {n} places {np.hypot(*offset):.1f} px from the star tell the noise; {FEWEST} are needed for an error"
        )
    level = _fall(np.array(samples), np.array(radius) / np.hypot(*offset))
    return np.cov(np.array(samples) / level[:, None], rowvar=False) * (1 + 1 / n), n


def _fall(samples: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Noise of each place over that at radius 1, by a power law: it falls steeply, and its mean would be too large."""
    rings, which = np.unique(radius.round(9), return_inverse=True)
    if rings.size < 2:
        return np.ones(len(samples))
    count = np.bincount(which)
    rms = np.sqrt(np.bincount(which, np.square(samples).sum(axis=1)) / count)
    slope = np.polyfit(np.log(rings), np.log(rms), 1, w=np.sqrt(count))[0]
    return np.asarray(radius**slope)


def _cut(klip: KlipResult, position: tuple[float, float], fwhm: float) -> np.ndarray:
    """Mean residual about a place, ten FWHM across."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels that no integration has stay NaN
        mean = np.nanmean(klip.frames, axis=0)
    (x, y), half = (round(v) for v in position), int(np.ceil(5 * fwhm))
    return mean[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1]
