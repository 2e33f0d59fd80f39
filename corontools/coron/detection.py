"""DetectionMap: flux, error and S/N of a point source at every place, for every number of modes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from corontools.arrays.radial import radii, ring_scatter
from corontools.coron.grid import Grid, north_up, positions
from corontools.coron.matching import LEAST, Match, chosen_modes, is_linear, match
from corontools.coron.source import MASKED, Source, SourceSet, source_of
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.meta import Meta
from corontools.result import Result, function_call, verb

if TYPE_CHECKING:
    from astropy.table import QTable

    from corontools.coron.calibrated import CalibratedContrast, Statistics
    from corontools.coron.combined import Field
    from corontools.coron.completeness import Completeness
    from corontools.coron.klip import KlipResult

__all__ = ["DetectionMap", "Transmission", "detect", "detection_map", "sampled"]

# share of a PSF that must be measured for the flux of a source to be known
LEAST_SEEN = 0.05

Transmission = np.ndarray | Exposure | Callable[[np.ndarray, np.ndarray], np.ndarray]


class Scatter(NamedTuple):
    """The matched filter in rings: middles (px), median and 1-sigma scatter (n, n_ring), independent elements."""

    radius: np.ndarray
    level: np.ndarray
    sigma: np.ndarray
    elements: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class DetectionMap(Result):
    """What a point source at each pixel would be: the matched filter with what the subtraction leaves of a source.

    Made by `KlipResult.detection_map`, or `corontools.detection_map` for several rolls.

    Attributes
    ----------
    modes : ndarray of int, shape (n,)
    flux : ndarray, shape (n, y, x)
        Least-squares flux of a source at each pixel, in multiples of the PSF; what the subtraction and the coronagraph
        take is made good. NaN where less than 5 % of its PSF was measured or nothing of it is left.
    throughput : ndarray, shape (n, y, x)
        Share of a source that is left, the transmission of the coronagraph included.
    weight : ndarray, shape (n, y, x)
        Inverse variance of the flux where every pixel has the same noise of 1.
    fwhm : float
        Width of the PSF, px.
    meta : Meta
        Of the image: star, scale, unit.
    masked : ndarray of bool, shape (y, x)
        Places that don't count as noise, see `exclude`.

    Examples
    --------
    >>> from corontools import PSFStack, Source
    >>> from corontools.simulate import null
    >>> science, references = null(3, 8, shape=48)
    >>> klip = PSFStack.from_exposures([references]).align_to(science, to="none").klip(8)
    >>> found = klip.inject(50.0, position=(34.0, 20.0)).detection_map()
    >>> before = klip.detection_map()
    >>> (found.flux - before.flux)[:, 20, 34].round(6).tolist()
    [50.0, 50.0, 50.0, 50.0, 50.0, 50.0, 50.0, 50.0]
    """

    modes: np.ndarray
    flux: np.ndarray
    throughput: np.ndarray
    weight: np.ndarray
    fwhm: float
    meta: Meta
    masked: np.ndarray

    @property
    def center(self) -> tuple[float, float]:
        """0-based (x, y) of the star."""
        ny, nx = self.masked.shape
        return self.meta.center or ((nx - 1) / 2, (ny - 1) / 2)

    @cached_property
    def scatter(self) -> Scatter:
        """Noise in rings one FWHM wide, of the matched filter scaled to the noise of one pixel.

        See `arrays.radial.ring_scatter`; a companion in the ring hardly moves it. Elements are the resolution elements
        2 pi r / FWHM of the part of the ring that is not masked.
        """
        signal = self.flux * np.sqrt(self.weight)
        signal[:, self.masked] = np.nan
        radius, level, sigma, share = ring_scatter(signal, center=self.center, width=self.fwhm)
        return Scatter(radius, level, sigma, 2 * np.pi * radius / self.fwhm * share)

    @cached_property
    def err(self) -> np.ndarray:
        """1-sigma error of the flux (n, y, x), from the scatter at the same separation."""
        err = self._around(self.scatter.sigma)
        err /= self._root
        return err

    @cached_property
    def snr(self) -> np.ndarray:
        """Flux above the level of its ring over its error, (n, y, x)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return (self.flux - self._around(self.scatter.level) / self._root) / self.err

    @property
    def _root(self) -> np.ndarray:
        root = np.sqrt(self.weight)
        root[root == 0] = np.nan
        return root

    def _around(self, values: np.ndarray) -> np.ndarray:
        """Values of the rings (n, n_ring) at every pixel, (n, y, x)."""
        r = radii(self.masked.shape, self.center)
        return np.array([_interpolated(r, self.scatter.radius, row) for row in values])

    def index(self, modes: int) -> int:
        """Place of a number of modes.

        Raises
        ------
        DataError
            If the maps don't hold it.
        """
        at = np.flatnonzero(self.modes == modes)
        if not at.size:
            raise DataError(f"there is no map of {modes} modes; choose one of {self.modes.tolist()}")
        return int(at[0])

    @verb
    def exclude(
        self,
        places: Sequence[tuple[float, float]] = (),
        *,
        mask: np.ndarray | None = None,
        radius: float | None = None,
    ) -> DetectionMap:
        """Leave known companions, or a disk, out of the noise and of the contrast.

        Parameters
        ----------
        places : sequence of (x, y)
            0-based pixels of companions in these maps.
        mask : ndarray of bool, shape (y, x), optional
            True where a disk is.
        radius : float, optional
            Px about each place; by default two FWHM.

        Raises
        ------
        DataError
            If the mask has another shape.
        """
        masked = np.array(self.masked)
        if mask is not None:
            if np.shape(mask) != masked.shape:
                raise DataError(f"a mask of shape {np.shape(mask)} doesn't fit maps of {masked.shape}")
            masked |= np.asarray(mask, bool)
        for place in places:
            masked |= radii(masked.shape, (float(place[0]), float(place[1]))) < (radius or MASKED * self.fwhm)
        return self.with_(masked=masked)

    @verb
    def contrast(
        self,
        star_flux: float | None = None,
        *,
        star_magnitude: float | None = None,
        zero_point: float | None = None,
        level: float = 5.0,
        statistics: Statistics = "student",
    ) -> CalibratedContrast:
        """Detection limit, throughput made good, as a map and against separation, for every number of modes.

        Parameters
        ----------
        star_flux : float, optional
            The star in multiples of the same PSF: 1 where the PSF is the star's own image.
        star_magnitude, zero_point : float, optional
            Instead: 10^(-0.4 (magnitude - zero point)), the zero point being that of one PSF.
        level : float
            Gaussian sigma whose false-alarm probability is meant.
        statistics : {"student", "gaussian"}
            See `ContrastCurve.sigma`.

        Raises
        ------
        DataError
            If the star's flux isn't given once and positive, or the level isn't positive.
        """
        from corontools.coron.calibrated import calibrated

        star = _star(star_flux, star_magnitude, zero_point)
        return calibrated(self, star_flux=star, level=level, statistics=statistics)

    @verb
    def completeness(
        self,
        star_flux: float | None = None,
        *,
        star_magnitude: float | None = None,
        zero_point: float | None = None,
        level: float = 5.0,
    ) -> Completeness:
        """Share of sources that are found, against contrast and separation.

        A source is found where its S/N, its own light left out of the noise, exceeds the threshold of the false-alarm
        probability of `level` sigma at its separation. Arguments as in `contrast`.
        """
        from corontools.coron.completeness import completeness

        if not level > 0:
            raise DataError(f"the level should be a positive number of sigma, found {level}")
        return completeness(self, star_flux=_star(star_flux, star_magnitude, zero_point), level=level)

    def roc(self, flux: float, *, within: tuple[float, float], modes: int) -> QTable:
        """Share of noise (false positives) and of sources of a flux (true positives) above every threshold of S/N.

        Parameters
        ----------
        flux : float
            In multiples of the PSF.
        within : (float, float)
            Separations, px.
        modes : int

        Raises
        ------
        DataError
            If no pixel lies there, or there is no map of so many modes.
        """
        from corontools.coron.completeness import roc

        return roc(self, flux, within=within, modes=modes)

    def _values(self) -> np.ndarray:
        return self.flux

    def _rows(self) -> list[tuple[str, str]]:
        (ny, nx), snr = self.masked.shape, np.where(np.isfinite(self.snr), self.snr, -np.inf)
        i, y, x = np.unravel_index(np.argmax(snr), snr.shape)
        highest = f"{snr[i, y, x]:.1f} at ({x}, {y}) px with {self.modes[i]} modes"
        return [
            ("target", self.meta.title),
            ("maps", f"{ny} x {nx} px for {self.modes.size} numbers of modes, {self.modes[0]} to {self.modes[-1]}"),
            ("highest S/N", highest if np.isfinite(snr[i, y, x]) else "no pixel has one"),
            ("masked", f"{np.mean(self.masked):.1%} of the image"),
        ]

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        k = self.modes[-1]
        return [
            quick.image_picture(self.snr[-1], f"S/N, {k} modes"),
            quick.image_picture(self.throughput[-1], f"throughput, {k} modes"),
        ]


def detect(
    klip: KlipResult,
    psf: Source | np.ndarray | None,
    *,
    modes: Sequence[int] | None,
    transmission: Transmission | None,
) -> DetectionMap:
    """See `KlipResult.detection_map`."""
    if not is_linear(klip):
        return _detect_turned([klip], psf, modes, transmission, klip.history)
    chosen, source = chosen_modes(modes, klip.max_modes), source_of(psf, klip.target)
    t = None if transmission is None else _transmission(transmission, klip.target)
    sums = _transmitted(match(klip, chosen, source), t)
    meta = klip.target.meta.with_(center=klip.target.center)
    return _made(sums, chosen, source, meta, klip.history)


def detection_map(
    results: Sequence[KlipResult],
    psf: Source | np.ndarray | None = None,
    *,
    modes: Sequence[int] | None = None,
    transmission: Transmission | None = None,
) -> DetectionMap:
    """`KlipResult.detection_map` of several rolls, north up and east left, the star in the middle.

    A source lies on another pixel in each roll; its flux is fitted to all of them at once. The maps of each roll are
    read at these places by cubic splines.

    Parameters
    ----------
    results : sequence of KlipResult
    psf, modes, transmission
        As in `KlipResult.detection_map`; transmission is that of the detector, the same for all.

    Raises
    ------
    DataError
        If there is no result, one has no WCS, or a number of modes isn't in all of them.
    """
    if not results:
        raise DataError("no result to search; give at least one KlipResult")
    first = results[0]
    given = sampled(transmission, first.target)
    step = function_call(detection_map, list(results), psf, modes=modes, transmission=given)
    if not all(is_linear(one) for one in results):
        return _detect_turned(results, psf, modes, given, (step,))
    lacking = next((one.target._name for one in results if one.target.wcs is None), None)
    if lacking:
        raise DataError(f"{lacking} has no WCS, so north isn't known; give one with Exposure.with_(wcs=...)")
    chosen = chosen_modes(modes, min(one.max_modes for one in results))
    source = source_of(psf, first.target)
    grid = north_up([one.target for one in results], anchor="star")
    total = _Sums.zeros(chosen.size, grid.shape)
    for one in results:
        x, y = positions(one.target, grid, anchor="star")
        # the transmission by itself, and linearly: splines would ring at the edges of what the mask holds
        t = None if given is None else _read(_transmission(given, one.target)[None], x, y, order=1)[0]
        matched, response, power = match(one, chosen, source)
        found = Match(_read(matched, x, y), _read(response, x, y), _read(power[None], x, y)[0])
        total.add(_transmitted(found, t))
    meta = first.target.meta.with_(center=grid.center, pixel_scale=grid.pixel_scale, roll=None, history=(step,))
    return _made(total, chosen, source, meta, (step,))


def _detect_turned(
    results: Sequence[KlipResult],
    psf: Source | np.ndarray | None,
    modes: Sequence[int] | None,
    transmission: Transmission | None,
    history: tuple[str, ...],
) -> DetectionMap:
    """Where a source subtracts itself, or turns between the integrations; north up."""
    from corontools.coron.turned import match_turned, turned_grid

    first = results[0]
    chosen = chosen_modes([first.modes] if modes is None else modes, min(one.max_modes for one in results))
    source = source_of(psf, first.target)
    if isinstance(source, SourceSet):
        raise DataError("templates hold at places on the detector, and here the sky turns: give one PSF")
    fields, grid = turned_grid(results)
    found = match_turned(results, chosen, source)
    t = np.divide(found.response, found.power, out=np.zeros_like(found.response), where=found.power > 0)
    if transmission is not None:
        t *= _seen_through(transmission, fields, grid)
    scale = first.target.meta.pixel_scale if first.target.wcs is None else grid.pixel_scale
    meta = first.target.meta.with_(center=grid.center, pixel_scale=scale, roll=None)
    whole = Match(found.matched, np.broadcast_to(found.power, found.matched.shape), found.power)
    return _made(_transmitted(whole, t), chosen, source, meta, history)


def _seen_through(transmission: Transmission, fields: Sequence[Field], grid: Grid) -> np.ndarray:
    """Mean transmission of all integrations for a source at each pixel of the grid, (y, x)."""
    total, count = np.zeros(grid.shape), 0
    for field in fields:
        t = _transmission(transmission, field.result.target)[None]
        for integrations, exposure in field.parts:
            total += len(integrations) * _read(t, *positions(exposure, grid, anchor="star"), order=1)[0]
            count += len(integrations)
    return total / count


class _Sums(NamedTuple):
    """Over integrations and rolls, t the transmission: <e, t p>, <t q, t p>, <t q, p> (n, y, x) and <p, p> (y, x)."""

    matched: np.ndarray
    weight: np.ndarray
    left: np.ndarray
    power: np.ndarray

    @classmethod
    def zeros(cls, n: int, shape: tuple[int, int]) -> _Sums:
        maps = (n, *shape)
        return cls(np.zeros(maps), np.zeros(maps), np.zeros(maps), np.zeros(shape))

    def add(self, other: _Sums) -> None:
        for mine, its in zip(self, other, strict=True):
            mine += its


def _read(images: np.ndarray, x: np.ndarray, y: np.ndarray, *, order: int = 3) -> np.ndarray:
    """Images (n, y, x) read between the pixels; nothing outside."""
    from scipy.ndimage import map_coordinates

    return np.array([map_coordinates(image, [y, x], order=order, mode="constant") for image in images])


def sampled(transmission: Transmission | None, target: Exposure) -> np.ndarray | Exposure | None:
    """A transmission that is a function, taken at every pixel, so that the chain records its values."""
    if transmission is None or isinstance(transmission, Exposure):
        return transmission
    if not callable(transmission):
        return np.asarray(transmission)
    y, x = np.mgrid[: target.shape[-2], : target.shape[-1]].astype(float)
    return np.asarray(transmission(x, y), np.float64)


def _transmitted(found: Match, t: np.ndarray | None) -> _Sums:
    """Sums for sources that a coronagraph dims by t (y, x)."""
    if t is None:
        return _Sums(found.matched, found.response, found.response, found.power)
    return _Sums(found.matched * t, found.response * np.square(t), found.response * t, found.power)


def _transmission(transmission: Transmission, target: Exposure) -> np.ndarray:
    """Transmission of the coronagraph for a source at each pixel, (y, x); 0 where it isn't known."""
    shape, known = target.shape[-2:], sampled(transmission, target)
    given = np.asarray(known.data if isinstance(known, Exposure) else known, np.float64)
    if given.shape != shape:
        raise DataError(f"the transmission has the shape {given.shape}, the images have {shape}; cut it as they are")
    if (given < 0).any():
        raise DataError(f"a transmission is 0 or more, found {np.nanmin(given):g}")
    return np.nan_to_num(given, nan=0.0)


def _made(sums: _Sums, modes: np.ndarray, source: Source, meta: Meta, history: tuple[str, ...]) -> DetectionMap:
    seen = sums.power > LEAST_SEEN * source.power
    power = np.where(seen, sums.power, np.nan)
    # what rounding makes of a source of which nothing is left is no flux
    left = seen & (sums.left > LEAST * sums.power) & (sums.weight > 0)
    flux = np.divide(sums.matched, sums.weight, out=np.full(sums.weight.shape, np.nan), where=left)
    return DetectionMap(
        modes=modes,
        flux=flux,
        throughput=sums.left / power,
        weight=np.where(left, sums.weight, 0.0),
        fwhm=source.width_in(meta),
        meta=replace(meta, history=history),
        masked=np.zeros(power.shape, bool),
        history=history,
    )


def _star(flux: float | None, magnitude: float | None, zero_point: float | None) -> float:
    given = (flux is not None) + (magnitude is not None)
    if given != 1 or (magnitude is None) != (zero_point is None):
        raise DataError("give the star once: star_flux=..., or star_magnitude=... with zero_point=...")
    if flux is None and magnitude is not None and zero_point is not None:
        flux = 10 ** (-0.4 * (magnitude - zero_point))
    if flux is None or not (np.isfinite(flux) and flux > 0):
        raise DataError(f"the flux of the star should be positive, found {flux}")
    return float(flux)


def _interpolated(r: np.ndarray, radius: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values between the rings; NaN beyond the last ring that has one."""
    known = np.isfinite(values)
    if not known.any():
        return np.full(r.shape, np.nan)
    half = (radius[1] - radius[0]) / 2 if radius.size > 1 else np.inf
    out = np.interp(r, radius[known], values[known])
    return np.where(r <= radius[known][-1] + half, out, np.nan)
