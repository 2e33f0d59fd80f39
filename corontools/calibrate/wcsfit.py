"""Fitters of a WCS to sources whose places on the sky are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from corontools.arrays.affine import fit_clipped, fit_rigid, reach
from corontools.calibrate.plane import TangentPlane, corrected, sky_of
from corontools.errors import DataError

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["AffineFitter", "SipFitter", "WCSFit", "WCSFitter"]

# repetitions about the moved tangent point; the second leaves 1e-9 of the shift
REPEATS = 4


class WCSFit(NamedTuple):
    """A fitted WCS and the sources that it was fitted to.

    Attributes
    ----------
    wcs : astropy.wcs.WCS
        Can be written into a FITS header.
    used : ndarray of bool, shape (n,)
        False for sources left out as outliers.
    """

    wcs: Any
    used: np.ndarray


class WCSFitter(Protocol):
    """What fits a WCS; give your own where the astrometry takes one."""

    def fit(
        self, pixels: np.ndarray, sky: np.ndarray, *, wcs: WCS, shape: tuple[int, int]
    ) -> WCSFit:  # pragma: no cover
        """Fit to 0-based pixels (n, 2) and places in degrees (n, 2), starting from a WCS of an image of the shape."""
        ...


@dataclass(frozen=True)
class AffineFitter:
    """Linear map in the tangent plane; the distortion stays as it is.

    Finds the matrix A and shift t with the least sum |A u(x, y) + t - p|^2, where u takes pixels to the plane,
    distortion included, and p are the references on the plane; all have the same weight.

    Parameters
    ----------
    sigma : float
        Robust deviations beyond which a source is left out; by default 3.
    least : int
        Sources that six numbers are fitted to; with fewer a rotation and a shift are. By default 6.

    Examples
    --------
    >>> from astropy.wcs import WCS
    >>> wcs = WCS(naxis=2); wcs.wcs.ctype = "RA---TAN", "DEC--TAN"; wcs.wcs.crval = 10, 20
    >>> wcs.wcs.cd = np.diag([-1e-4, 1e-4])
    >>> pixels = np.array([[0, 0], [90, 5], [3, 80], [70, 77], [50, 20], [30, 60], [11, 42.0]])
    >>> sky = np.stack(wcs.all_pix2world(*(pixels + [8.0, 3.0]).T, 0), axis=1)
    >>> found = AffineFitter().fit(pixels, sky, wcs=wcs, shape=(100, 100)).wcs
    >>> [round(float(value), 6) for value in found.all_world2pix(*sky[1], 0)]
    [90.0, 5.0]
    """

    sigma: float = 3.0
    least: int = 6

    def fit(self, pixels: np.ndarray, sky: np.ndarray, *, wcs: WCS, shape: tuple[int, int]) -> WCSFit:
        """As `WCSFitter.fit`."""
        used = np.ones(len(pixels), bool)
        for _ in range(REPEATS):
            plane = TangentPlane(wcs)
            points, targets = plane.of_sky(*sky_of(wcs, *pixels.T)), plane.of_sky(*sky.T)
            if len(pixels) >= self.least:
                change, used = fit_clipped(points, targets, sigma=self.sigma)
            else:
                change = fit_rigid(points, targets)
            wcs = corrected(wcs, change)
        return WCSFit(wcs, used)


@dataclass(frozen=True)
class SipFitter:
    """TAN-SIP: a linear map and polynomials in pixels, all new, about the middle of the image.

    Parameters
    ----------
    order : int
        Of the polynomials, 2 to 4 (Shupe et al. 2005); by default 3.
    sigma : float
        Robust deviations beyond which a source is left out; by default 3.
    iterations : int
        Rounds of leaving out; by default 3.
    """

    order: int = 3
    sigma: float = 3.0
    iterations: int = 3

    def __post_init__(self) -> None:
        if self.order not in (2, 3, 4):
            raise DataError(f"the order of a SIP distortion is 2, 3 or 4, found {self.order}")

    def fit(self, pixels: np.ndarray, sky: np.ndarray, *, wcs: WCS, shape: tuple[int, int]) -> WCSFit:
        """As `WCSFitter.fit`.

        Raises
        ------
        DataError
            If there are not one and a half times as many sources as terms.
        """
        n_terms = (self.order + 1) * (self.order + 2) // 2
        if len(pixels) < 1.5 * n_terms:
            raise DataError(
                f"a SIP distortion of order {self.order} needs {int(np.ceil(1.5 * n_terms))} sources, found "
                f"{len(pixels)}; lower the order, or fit with AffineFitter()"
            )
        middle = (np.array(shape[::-1]) - 1) / 2
        center = np.array(sky_of(wcs, *middle)).ravel()
        used = np.ones(len(pixels), bool)
        for k in range(self.iterations + REPEATS):
            new = _tangent(wcs, center, middle)
            plane = TangentPlane(new)
            targets = plane.of_sky(*sky.T)
            terms = _Terms.fit(pixels[used] - middle, targets[used], order=self.order, scale=max(shape) / 2)
            center = np.array(plane.to_sky(terms.constant[None, :])).ravel()
            if k < self.iterations:
                used = self._kept(np.hypot(*(terms(pixels - middle) - targets).T), used, n_terms)
        return WCSFit(terms.put_into(new, shape), used)

    def _kept(self, distance: np.ndarray, used: np.ndarray, n_terms: int) -> np.ndarray:
        """Sources within the robust deviation; as before where too few would be left."""
        # 0.4 microarcsec: rounding of a WCS
        now = distance <= reach(distance[used], self.sigma) + 1e-10
        return now if np.count_nonzero(now) >= 1.5 * n_terms else used


class _Terms(NamedTuple):
    """Polynomials of both axes: coefficients (order + 1, order + 1, 2) by the powers of x and y, in pixels."""

    coefficients: np.ndarray
    order: int

    @classmethod
    def fit(cls, points: np.ndarray, targets: np.ndarray, *, order: int, scale: float) -> _Terms:
        design = np.stack(
            [(points[:, 0] / scale) ** p * (points[:, 1] / scale) ** q for p, q in _powers(order)], axis=1
        )
        solution = np.linalg.lstsq(design, targets, rcond=None)[0]
        coefficients = np.zeros((order + 1, order + 1, 2))
        for (p, q), row in zip(_powers(order), solution, strict=True):
            coefficients[p, q] = row / scale ** (p + q)
        return cls(coefficients, order)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return np.polynomial.polynomial.polyval2d(points[:, 0], points[:, 1], self.coefficients).T

    @property
    def constant(self) -> np.ndarray:
        return self.coefficients[0, 0]

    @property
    def linear(self) -> np.ndarray:
        return np.stack([self.coefficients[1, 0], self.coefficients[0, 1]], axis=1)

    def put_into(self, wcs: WCS, shape: tuple[int, int]) -> WCS:
        """The WCS with this matrix and distortion, and polynomials for the way back."""
        from astropy.wcs import Sip

        wcs.wcs.cd = self.linear
        # the constant, which the last move of the tangent point left, is rounding
        beyond = self.coefficients @ np.linalg.inv(self.linear).T
        beyond[0, 0] = beyond[1, 0] = beyond[0, 1] = 0.0
        ny, nx = shape
        crpix = np.array(wcs.wcs.crpix)
        x, y = np.meshgrid(np.linspace(-0.5, nx - 0.5, 24), np.linspace(-0.5, ny - 0.5, 24))
        pixels = np.stack([x.ravel(), y.ravel()], axis=1) + 1 - crpix
        foc = pixels + np.polynomial.polynomial.polyval2d(pixels[:, 0], pixels[:, 1], beyond).T
        back = _Terms.fit(foc, pixels - foc, order=self.order + 1, scale=max(shape) / 2).coefficients
        wcs.sip = Sip(beyond[..., 0], beyond[..., 1], back[..., 0], back[..., 1], crpix)
        wcs.wcs.ctype = [f"{kind}-SIP" for kind in wcs.wcs.ctype]
        wcs.wcs.set()
        return wcs


def _powers(order: int) -> list[tuple[int, int]]:
    return [(p, n - p) for n in range(order + 1) for p in range(n, -1, -1)]


def _tangent(wcs: WCS, center: np.ndarray, middle: np.ndarray) -> WCS:
    """Gnomonic projection about a place, frame and dates of a WCS; the matrix is that of the WCS."""
    from astropy.wcs import WCS

    new = WCS(naxis=2)
    new.wcs.ctype = "RA---TAN", "DEC--TAN"
    new.wcs.crval, new.wcs.crpix = center, middle + 1
    new.wcs.cunit = "deg", "deg"
    matrix = wcs.pixel_scale_matrix
    new.wcs.cd = matrix if wcs.wcs.lng == 0 else matrix[::-1]
    new.wcs.radesys, new.wcs.equinox = wcs.wcs.radesys, wcs.wcs.equinox
    new.wcs.dateobs, new.wcs.mjdobs = wcs.wcs.dateobs, wcs.wcs.mjdobs
    new.pixel_shape = wcs.pixel_shape
    new.wcs.set()
    return new
