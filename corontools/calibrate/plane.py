"""The tangent plane of a WCS, in which pointings are corrected: distortion below it, gnomonic projection above."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.arrays.affine import Affine
from corontools.errors import DataError

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["TangentPlane", "celestial", "corrected", "scale_of", "sky_of"]

# term of the second axis of a TPV polynomial with the monomial of a term of the first one, with x and y exchanged
# (Calabretta et al. 2004; terms 3, 11, 23 and 39 are powers of the radius)
SWAP = {
    1: 2, 2: 1, 4: 6, 6: 4, 7: 10, 8: 9, 9: 8, 10: 7, 12: 16, 13: 15, 15: 13, 16: 12, 17: 22, 18: 21, 19: 20, 20: 19,
    21: 18, 22: 17, 24: 30, 25: 29, 26: 28, 28: 26, 29: 25, 30: 24, 31: 38, 32: 37, 33: 36, 34: 35, 35: 34, 36: 33,
    37: 32, 38: 31,
}  # fmt: skip


def celestial(wcs: Any) -> WCS:
    """The WCS, if it is one that takes pixels to the sky and can be written into a FITS header.

    Raises
    ------
    DataError
        If there is none, it isn't an `astropy.wcs.WCS`, isn't celestial, or its matrix can't be inverted.
    """
    from astropy.wcs import WCS

    if wcs is None:
        raise DataError(
            "there is no WCS to start from; give exposure.with_(wcs=...) one with the pixel scale, the orientation to "
            "1 degree and the position to 350 px"
        )
    if not isinstance(wcs, WCS):
        raise DataError(
            f"an astropy.wcs.WCS is needed, found {type(wcs).__name__}; "
            "for a gwcs give WCS(model.to_fits_sip()), its approximation by a FITS header"
        )
    if wcs.naxis != 2 or not wcs.has_celestial:
        raise DataError(
            f"the WCS should have two celestial axes, found {list(wcs.wcs.ctype)}; there is no WCS to start from"
        )
    matrix = wcs.pixel_scale_matrix
    if not np.all(np.isfinite(matrix)) or np.linalg.det(matrix) == 0:
        raise DataError(f"the matrix of the WCS can't be inverted: {matrix.tolist()}")
    return wcs


def scale_of(wcs: WCS) -> float:
    """Arcsec per pixel of the linear part of the WCS."""
    return float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))) * 3600


def sky_of(wcs: WCS, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """RA and Dec in degrees of 0-based pixels."""
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    if x.size == 0:
        return np.empty(0), np.empty(0)
    ra, dec = wcs.all_pix2world(x, y, 0, ra_dec_order=True)
    return np.asarray(ra), np.asarray(dec)


class TangentPlane:
    """Coordinates in degrees on the plane that the projection of a WCS is about: intermediate world coordinates.

    Examples
    --------
    >>> from astropy.wcs import WCS
    >>> wcs = WCS(naxis=2); wcs.wcs.ctype = "RA---TAN", "DEC--TAN"; wcs.wcs.crval = 10, 20
    >>> TangentPlane(wcs).of_sky([10.0], [20.5]).round(4).tolist()
    [[0.0, 0.5]]
    """

    def __init__(self, wcs: WCS) -> None:
        from astropy.wcs import WCS

        flat = WCS(naxis=2)
        flat.wcs.ctype = [re.sub("-SIP$", "", kind) for kind in wcs.wcs.ctype]
        flat.wcs.crval, flat.wcs.crpix = wcs.wcs.crval, [0.0, 0.0]
        flat.wcs.cunit = wcs.wcs.cunit
        flat.wcs.lonpole, flat.wcs.latpole = wcs.wcs.lonpole, wcs.wcs.latpole
        flat.wcs.set_pv(wcs.wcs.get_pv())
        flat.wcs.set()
        self.flat = flat

    def of_sky(self, ra: Any, dec: Any) -> np.ndarray:
        """Points (n, 2) on the plane of places in degrees."""
        if np.size(ra) == 0:
            return np.empty((0, 2))
        return np.stack(self.flat.wcs_world2pix(ra, dec, 1, ra_dec_order=True), axis=1)

    def to_sky(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """RA and Dec in degrees of points (n, 2) on the plane."""
        ra, dec = self.flat.wcs_pix2world(*np.asarray(points, float).T, 1, ra_dec_order=True)
        return np.asarray(ra), np.asarray(dec)


def corrected(wcs: WCS, change: Affine) -> WCS:
    """The WCS with a linear map between its distortion and its projection.

    The matrix goes into CD (or PC), or into the polynomials of a TPV projection, which come after it; the shift moves
    the tangent point, CRVAL, so that CRPIX stays where the distortion is centred. The plane about the moved point isn't
    quite the shifted plane: repeat the fit, it converges quickly.
    """
    plane = TangentPlane(wcs)
    center = plane.to_sky(change.shift[None, :])
    new = _tpv_corrected(wcs, change.matrix) if _is_tpv(wcs) else _linear_corrected(wcs, change.matrix)
    new.wcs.crval[new.wcs.lng], new.wcs.crval[new.wcs.lat] = float(center[0][0]), float(center[1][0])
    new.wcs.set()
    return new


def _linear_corrected(wcs: WCS, matrix: np.ndarray) -> WCS:
    from astropy.wcs import WCS

    # wcslib can't change an angle CROTA; its header has PC instead
    new = WCS(wcs.to_header(relax=True)) if wcs.wcs.has_crota() else wcs.deepcopy()
    if new.wcs.has_cd():
        new.wcs.cd = matrix @ new.wcs.cd
    else:
        step = np.diag(new.wcs.cdelt)
        new.wcs.pc = np.linalg.inv(step) @ matrix @ step @ new.wcs.get_pc()
    return new


def _is_tpv(wcs: WCS) -> bool:
    # wcslib keeps a TPV projection as TAN with a distortion; only the header tells
    return wcs.sip is None and "TPV" in str(wcs.to_header(relax=True).get("CTYPE1", ""))


def _tpv_corrected(wcs: WCS, matrix: np.ndarray) -> WCS:
    """Polynomials that are sums of the old ones, exact at any radius."""
    from astropy.wcs import WCS

    header = wcs.to_header(relax=True)
    old = {(axis, m): float(header.get(f"PV{axis}_{m}", 1.0 * (m == 1))) for axis in (1, 2) for m in range(40)}
    for m in range(40):
        swapped = SWAP.get(m, m)
        header[f"PV1_{m}"] = matrix[0, 0] * old[1, m] + matrix[0, 1] * old[2, swapped]
        header[f"PV2_{m}"] = matrix[1, 1] * old[2, m] + matrix[1, 0] * old[1, swapped]
    for key in [key for key in header["PV*"] if header[key] == 0]:
        del header[key]
    new = WCS(header)
    new.pixel_shape = wcs.pixel_shape
    return new
