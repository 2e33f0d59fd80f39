"""From pixels to the sky to other pixels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corontools.errors import DataError

__all__ = ["Mapped", "mapping", "outline", "sky_wcs"]

Floats = NDArray[np.float64]
Mapped = Callable[[Floats, Floats], tuple[Floats, Floats]]

# how near to its pixel a place has to come back from the sky, and how near the inverse is iterated, px
RETURN, INVERSE = 1e-2, 1e-7
# points along each side of an outline
POINTS = 9
# what wcslib and astropy raise on a WCS that can't be inverted
FAILURES = (ValueError, ArithmeticError, np.linalg.LinAlgError)


def sky_wcs(
    center: tuple[float, float],
    crpix: tuple[float, float],
    cd: Any,
    *,
    projection: str = "TAN",
    shape: tuple[int, int] | None = None,
) -> Any:
    """WCS without distortion: center in degrees of ICRS at the 0-based pixel `crpix`, CD matrix in degrees."""
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
    wcs.wcs.crval, wcs.wcs.crpix = list(center), [crpix[0] + 1, crpix[1] + 1]
    wcs.wcs.cd, wcs.wcs.cunit, wcs.wcs.radesys = np.array(cd), ["deg", "deg"], "ICRS"
    wcs.wcs.set()
    wcs.array_shape = shape
    return wcs


def outline(wcs: Any, shape: tuple[int, int]) -> Floats:
    """Right ascension and declination of places around an image, (2, 32), degrees ICRS; the first is its first corner.

    Raises
    ------
    DataError
        If there is no WCS.
    """
    along = np.linspace(0, 1, POINTS)[:-1]
    ones = np.ones_like(along)
    x = np.concatenate([along, ones, 1 - along, 0 * ones]) * shape[1] - 0.5
    y = np.concatenate([0 * ones, along, ones, 1 - along]) * shape[0] - 0.5
    return np.array(to_sky(wcs)(x, y))


def mapping(target: Any, source: Any, source_shape: tuple[int, int]) -> Mapped:
    """Function from 0-based pixels x, y of one WCS to those of another, NaN where there are none.

    Raises
    ------
    DataError
        If a WCS is missing, or places on the source don't come back from the sky.
    """
    forth, back = to_sky(target), from_sky(source)
    y, x = (v.ravel() for v in np.meshgrid(*(np.linspace(0, n - 1, 3) for n in source_shape), indexing="ij"))
    away = np.hypot(*(np.array(back(*to_sky(source)(x, y))) - (x, y)))
    if not (away < RETURN).all():
        worst = "at all" if not np.isfinite(away).all() else f"but {away.max():.3g} px off"
        raise DataError(
            "the WCS of the image has no inverse: places on it don't come back from the sky "
            f"{worst}; fit it again, or leave its distortion out"
        )
    return lambda x, y: back(*forth(x, y))


def to_sky(wcs: Any) -> Mapped:
    """From pixels to degrees of ICRS."""
    if wcs is None:
        raise DataError("the image has no WCS; give it one, .with_(wcs=...)")
    turn = _turn(wcs, from_icrs=False)

    def sky(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            lon, lat = wcs.all_pix2world(x, y, 0, ra_dec_order=True)
        return turn(lon, lat)

    return sky


def from_sky(wcs: Any) -> Mapped:
    """From degrees of ICRS to pixels; NaN where the sky isn't on the projection, or distortion has no inverse."""
    turn, straight = _turn(wcs, from_icrs=True), wcs.sip is None and wcs.cpdis1 is None and wcs.cpdis2 is None

    def pixels(ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
        lon, lat = turn(ra, dec)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                x, y = wcs.all_world2pix(lon, lat, 0, ra_dec_order=True, quiet=True, tolerance=INVERSE, maxiter=50)
                if straight:
                    return x, y
                again = wcs.all_pix2world(x, y, 0, ra_dec_order=True)
            except FAILURES as error:
                raise DataError(f"the WCS of the image has no inverse: {error}; fit it again") from error
            scale = np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))
            off = np.hypot((again[0] - lon + 180) % 360 - 180, again[1] - lat)
            lost = ~(off < RETURN * scale / np.maximum(np.cos(np.radians(lat)), 1e-3))
        return np.where(lost, np.nan, x), np.where(lost, np.nan, y)

    return pixels


def _turn(wcs: Any, *, from_icrs: bool) -> Mapped:
    """Rotation between ICRS and the frame of the WCS."""
    from astropy.coordinates import ICRS, SkyCoord
    from astropy.wcs.utils import wcs_to_celestial_frame

    try:
        frame = wcs_to_celestial_frame(wcs)
    except ValueError as error:
        raise DataError(f"the WCS has no place on the sky: {error}") from error
    if isinstance(frame, ICRS):
        return lambda lon, lat: (lon, lat)
    start, end = (ICRS(), frame) if from_icrs else (frame, ICRS())

    def turned(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        made = SkyCoord(lon, lat, unit="deg", frame=start).transform_to(end).spherical
        return made.lon.deg, made.lat.deg

    return turned
