"""Companions of known place in a combined image: where they are found, and how sure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from corontools import jobs
from corontools.arrays.apertures import aperture_snr, peak_near
from corontools.arrays.radial import radii
from corontools.coron.combined import CombinedImage, combine
from corontools.coron.source import MASKED, Source, several
from corontools.errors import DataError

if TYPE_CHECKING:
    from astropy.table import QTable

    from corontools.coron.klip import KlipResult

__all__ = ["Planted", "Recovered", "injection_grid", "masked", "place", "recover", "recovered"]

# FWHM about the known place in which the peak is looked for
REACH = 1.5


class Planted(Protocol):
    """A companion whose place is known: `corontools.simulate.Companion`, or a known planet."""

    @property
    def sep(self) -> float:
        """Arcsec from the star."""

    @property
    def pa(self) -> float:
        """Position angle, degrees east of north."""

    @property
    def contrast(self) -> float:
        """Flux as a fraction of the star's."""


@dataclass(frozen=True)
class Recovered:
    """A companion as the image shows it.

    Attributes
    ----------
    planted : Planted
        What is known of it.
    x, y : float
        0-based pixel of its peak; NaN where there is none within 1.5 FWHM of the known place.
    sep, pa : float
        The same in arcsec from the star and degrees east of north.
    offset : float
        Px from the known place to the peak.
    snr : float
        At the known place, by the apertures at its separation, see `arrays.apertures.aperture_snr`.
    n : int
        Apertures that the S/N rests on.
    false_alarm : float
        Probability that noise gives this S/N.
    pixel_snr : float
        Of the brightest pixel next to the peak, by the error plane of the image.
    """

    planted: Planted
    x: float
    y: float
    sep: float
    pa: float
    offset: float
    snr: float
    n: int
    false_alarm: float
    pixel_snr: float


def place(companion: Planted, *, center: tuple[float, float], pixel_scale: float | None) -> tuple[float, float]:
    """0-based (x, y) of a companion in an image north up and east left, the star at `center`.

    Raises
    ------
    DataError
        If the pixel scale isn't known.
    """
    if not pixel_scale:
        raise DataError("the image has no pixel scale, so a separation in arcsec has no place in it")
    pa, r = np.radians(companion.pa), companion.sep / pixel_scale
    return float(center[0] - r * np.sin(pa)), float(center[1] + r * np.cos(pa))


def masked(combined: CombinedImage, companions: Sequence[Planted]) -> np.ndarray:
    """Pixels (y, x) of the image, NaN within two FWHM of the companions."""
    image = np.array(combined.image.data, np.float64)
    for companion in companions:
        image[radii(image.shape, _place(combined, companion)) < MASKED * _fwhm(combined)] = np.nan
    return image


def recover(combined: CombinedImage, companions: Sequence[Planted]) -> tuple[Recovered, ...]:
    """Look for every companion at its known place, with the others masked.

    Raises
    ------
    DataError
        If the image has no pixel scale, or the width of its PSF isn't known from filter and instrument.
    """
    return tuple(
        _one(combined, companion, masked(combined, [other for other in companions if other is not companion]))
        for companion in companions
    )


@dataclass(frozen=True)
class _Place:
    """A place without a known contrast."""

    sep: float
    pa: float
    contrast: float = float("nan")


def recovered(combined: CombinedImage, sep: float | Sequence[float], pa: float | Sequence[float]) -> QTable:
    """See `CombinedImage.recover`."""
    from astropy import units as u
    from astropy.table import QTable

    places = [_Place(**one) for _, one in several(1.0, sep=sep, pa=pa)]
    found = recover(combined, places)
    columns = {"sep": [one.sep for one in places] * u.arcsec, "pa": [one.pa for one in places] * u.deg}
    columns |= {"found_sep": [one.sep for one in found] * u.arcsec, "found_pa": [one.pa for one in found] * u.deg}
    columns["offset"] = [one.offset for one in found] * u.pix
    return QTable(columns | {name: [getattr(one, name) for one in found] for name in ("snr", "false_alarm")})


def injection_grid(
    results: Sequence[KlipResult],
    flux: Sequence[float],
    *,
    sep: Sequence[float],
    pa: Sequence[float],
    psf: Source | np.ndarray | None = None,
) -> QTable:
    """Sources of every flux, separation and angle, each put in alone, subtracted, combined and looked for.

    Each is a task of its own on the workers of a Dask client, where there is one.

    Parameters
    ----------
    results : sequence of KlipResult
        One for each science exposure, as `combine` takes them.
    flux, sep, pa : sequence of float
        See `KlipResult.inject`; arcsec and degrees.
    psf : Source or ndarray, optional

    Returns
    -------
    QTable
        Columns flux and those of `CombinedImage.recover`, a row for each source: angles within separations
        within fluxes.

    Raises
    ------
    DataError
        What `inject` and `recover` raise.
    """
    from astropy.table import vstack

    places = list(itertools.product(flux, sep, pa))
    found = jobs.run(
        partial(_injected, psf=psf), places, name="injections", unit="source", shared=tuple(results), fail_fast=True
    )
    table = vstack(found)
    table.add_column([one[0] for one in places], name="flux", index=0)
    return table


def _injected(
    place: tuple[float, float, float], results: Sequence[KlipResult], *, psf: Source | np.ndarray | None
) -> QTable:
    flux, sep, pa = place
    return recovered(combine([one.inject(flux, sep=sep, pa=pa, psf=psf) for one in results]), sep, pa)


def _one(combined: CombinedImage, companion: Planted, image: np.ndarray) -> Recovered:
    known, center, fwhm = _place(combined, companion), combined.image.center, _fwhm(combined)
    x, y = peak_near(image, known, fwhm=fwhm, reach=REACH * fwhm)
    # at the known place: a position chosen for its brightness would make noise look like a source
    test = aperture_snr(image, known, center=center, fwhm=fwhm)
    east, north = center[0] - x, y - center[1]
    return Recovered(
        planted=companion,
        x=x,
        y=y,
        sep=float(np.hypot(east, north)) * float(combined.image.meta.pixel_scale or np.nan),
        pa=float(np.degrees(np.arctan2(east, north)) % 360),
        offset=float(np.hypot(x - known[0], y - known[1])),
        snr=test.snr,
        n=test.n,
        false_alarm=test.false_alarm,
        pixel_snr=_brightest(combined.snr, x, y),
    )


def _brightest(image: np.ndarray, x: float, y: float) -> float:
    if not np.isfinite([x, y]).all():
        return float("nan")
    column, row = round(x), round(y)
    values = image[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    return float(np.max(values, initial=-np.inf, where=np.isfinite(values)))


def _place(combined: CombinedImage, companion: Planted) -> tuple[float, float]:
    return place(companion, center=combined.image.center, pixel_scale=combined.image.meta.pixel_scale)


def _fwhm(combined: CombinedImage) -> float:
    fwhm = combined.image.meta.fwhm
    if not fwhm:
        raise DataError("the width of the PSF isn't known from filter and instrument, so no companion is looked for")
    return fwhm
