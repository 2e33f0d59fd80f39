"""The PSF of a simulated star field: an elliptical Moffat profile that varies over the detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["MoffatField"]

# half the FWHM over alpha, of (1 + r^2 / alpha^2)^-3
HALF = np.sqrt(2 ** (1 / 3) - 1)
# width of the Gaussian that weights its own second moments (adaptive moments), over alpha
ADAPTIVE = 0.489458583
# alpha beyond which 1/2000 of the light is left out, at least, and peak of what is left out, e-
REACH, FAINT = 6.7, 0.01
# u and v up to which the PSF changes
BEYOND = 1.5


@dataclass(frozen=True)
class MoffatField:
    """Moffat profiles (1 + q)^-3 whose width and ellipticity are quadratic functions of the place.

    As a `corontools.calibrate.psf.PSF` it tells the truth to compare models with. Pixels hold the value at their
    centre, so the profile is that with the response of the pixel.

    Parameters
    ----------
    shape : (int, int)
        Of the detector, (y, x).
    fwhm : tuple of 6 floats
        Coefficients of 1, u, v, u^2, u v, v^2 for the full width at half maximum, px, the geometric mean of both axes;
        u and v run from -1 to 1 along x and y.
    e1, e2 : tuple of 6 floats
        The same for the ellipticities (Ixx - Iyy) / (Ixx + Iyy) and 2 Ixy / (Ixx + Iyy).
    size : int
        Odd side of stamps, px.

    Examples
    --------
    >>> psf = MoffatField((2048, 2048))
    >>> psf.widths([0.0, 1023.5, 2047.0], [0.0, 1023.5, 2047.0]).round(2)
    array([3.84, 3.64, 4.4 ])
    >>> psf.kernels([100.0], [50.0]).shape
    (1, 41, 41)
    """

    shape: tuple[int, int]
    fwhm: tuple[float, ...] = (3.64, 0.16, 0.12, 0.24, 0.0, 0.24)
    e1: tuple[float, ...] = (0.02, 0.035, -0.02, 0.02, 0.0, -0.02)
    e2: tuple[float, ...] = (-0.015, 0.0, 0.03, 0.0, 0.03, 0.0)
    size: int = 41

    def widths(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """FWHM at places (n,), px."""
        return self._terms(x, y) @ np.asarray(self.fwhm)

    def ellipticities(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """e1 and e2 at places (n,)."""
        terms = self._terms(x, y)
        return terms @ np.asarray(self.e1), terms @ np.asarray(self.e2)

    def sigma(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Determinant radius (Ixx Iyy - Ixy^2)^(1/4) of adaptive moments at places (n,), px."""
        return ADAPTIVE * self._alpha(x, y)

    def moments(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Adaptive moments Ixx, Iyy, Ixy at places (n,), px^2."""
        e1, e2 = self.ellipticities(x, y)
        half = self.sigma(x, y) ** 2 / np.sqrt(1 - e1**2 - e2**2)
        return half * (1 + e1), half * (1 - e1), half * e2

    def kernels(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """PSF at places (n,), centred on the middle pixel: (n, size, size), each of total 1."""
        return self._stamps(x, y, np.zeros(np.size(x)), np.zeros(np.size(x)))

    def images(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Stars of total 1 at places (n,): (n, size, size), the middle pixel is the one that holds the star."""
        x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
        return self._stamps(x, y, x - np.floor(x + 0.5), y - np.floor(y + 0.5))

    def add(self, image: np.ndarray, x: ArrayLike, y: ArrayLike, flux: ArrayLike) -> None:
        """Add stars to an image, in place; flux is the whole light of each, also beyond the stamps."""
        from corontools.simulate._field_kernels import add_moffats

        x, y, flux = (np.atleast_1d(np.asarray(v, float)) for v in (x, y, flux))
        alpha = self._alpha(x, y)
        peak = 2 * flux / (np.pi * alpha**2)
        reach = np.maximum(REACH, np.sqrt(np.maximum((peak / FAINT) ** (1 / 3) - 1, 0)))
        add_moffats(image, x, y, peak, alpha * reach, self._metric(x, y))

    def _terms(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        # sources far beside a small detector: there the functions would make shapes that can't be
        u = np.clip(2 * np.atleast_1d(np.asarray(x, float)) / max(self.shape[1] - 1, 1) - 1, -BEYOND, BEYOND)
        v = np.clip(2 * np.atleast_1d(np.asarray(y, float)) / max(self.shape[0] - 1, 1) - 1, -BEYOND, BEYOND)
        return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1)

    def _alpha(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        return self.widths(x, y) / (2 * HALF)

    def _metric(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """a, b, c of q = a dx^2 + 2 b dx dy + c dy^2, (n, 3): the inverse of alpha^2 (1 + e1, e2; e2, 1 - e1)."""
        e1, e2 = self.ellipticities(x, y)
        scale = self._alpha(x, y) ** 2 * np.sqrt(1 - e1**2 - e2**2)
        return np.stack([1 - e1, -e2, 1 + e1], axis=-1) / scale[:, None]

    def _stamps(self, x: ArrayLike, y: ArrayLike, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        along = np.arange(self.size) - self.size // 2
        a, b, c = (v[:, None, None] for v in self._metric(x, y).T)
        off_x, off_y = (along - dx[:, None])[:, None, :], (along - dy[:, None])[:, :, None]
        stamps = (1 + a * off_x**2 + 2 * b * off_x * off_y + c * off_y**2) ** -3
        return stamps / stamps.sum(axis=(1, 2), keepdims=True)
