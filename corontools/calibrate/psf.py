"""Models of the point-spread function that the calibration measures with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from corontools.arrays.chebyshev import chebyshev_at, chebyshev_design, chebyshev_order
from corontools.arrays.psfbasis import draw_stars, grid_side
from corontools.errors import DataError
from corontools.exposure import readonly

__all__ = ["PSF", "SIGMA_PER_FWHM", "GaussianPSF", "PixelPSF"]

SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))
# stars drawn at once: their grids stay in the cache of the processor
BLOCK = 64


class PSF(Protocol):
    """What any model of the PSF can tell; give your own where the calibration takes one."""

    @property
    def size(self) -> int:
        """Odd side of the stamps, px."""
        ...

    def kernels(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """PSF at places (n,), centred on the middle pixel of the stamp: (n, size, size), each of total 1."""
        ...

    def images(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Stars of total 1 at places (n,): (n, size, size), the middle pixel is the one that holds the star."""
        ...

    def sigma(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Determinant radius (Ixx Iyy - Ixy^2)^(1/4) of the PSF at places (n,), px."""
        ...


@dataclass(frozen=True)
class GaussianPSF:
    """Round Gaussian, the same everywhere.

    Parameters
    ----------
    width : float
        Sigma, px.
    size : int
        Odd side of the stamp, px.

    Raises
    ------
    DataError
        If the width isn't positive, or the size isn't odd.

    Examples
    --------
    >>> psf = GaussianPSF.of_fwhm(4.0, size=11)
    >>> psf.kernels([10.0], [20.0]).shape, round(float(psf.sigma([10.0], [20.0])[0]), 3)
    ((1, 11, 11), 1.699)
    """

    width: float
    size: int = 41

    def __post_init__(self) -> None:
        if not 0 < self.width < np.inf or self.size < 3 or self.size % 2 == 0:
            raise DataError(f"a Gaussian needs a positive sigma and an odd size of 3 or more, found {self}")

    @classmethod
    def of_fwhm(cls, fwhm: float, *, size: int = 41) -> GaussianPSF:
        """By its full width at half maximum, px."""
        return cls(float(fwhm * SIGMA_PER_FWHM), size)

    def kernels(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.kernels`."""
        n = np.size(x)
        return self._drawn(np.zeros(n), np.zeros(n))

    def images(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.images`."""
        x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
        return self._drawn(x - np.floor(x + 0.5), y - np.floor(y + 0.5))

    def sigma(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.sigma`."""
        return np.full(np.size(x), self.width)

    def _drawn(self, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        along = np.arange(self.size) - self.size // 2
        columns = np.exp(-0.5 * ((along - dx[:, None]) / self.width) ** 2)
        rows = np.exp(-0.5 * ((along - dy[:, None]) / self.width) ** 2)
        stamps = rows[:, :, None] * columns[:, None, :]
        return stamps / stamps.sum(axis=(1, 2), keepdims=True)


@dataclass(frozen=True, eq=False)
class PixelPSF:
    """Pixels that vary as polynomials over the image, sum_k T_k(x, y) B_k, stretched and drawn in place by splines.

    Parameters
    ----------
    basis : ndarray, shape (K, g, g)
        The B_k: coefficients of quintic splines on `step` points per pixel, g odd. K = 1, 3, 6 ... is a polynomial of
        order 0, 1, 2 ... with the Chebyshev terms of `corontools.arrays.chebyshev`.
    shape : (int, int)
        Of the image over which it varies, (y, x).
    step : int
        Points of the grid per pixel.
    stretch : array_like
        Coefficients (Chebyshev terms as well) of the factor by which the grid is stretched at a place, 1 by default.

    Raises
    ------
    DataError
        If the basis isn't one of finite square images with a middle pixel.

    Examples
    --------
    >>> grid = GaussianPSF(1.7, size=21).kernels([0.0], [0.0])
    >>> psf = PixelPSF(np.concatenate([grid, 0.1 * grid, 0 * grid]), shape=(100, 100))
    >>> psf.images([10.2, 90.4], [20.0, 30.7]).shape, psf.order, psf.size
    ((2, 21, 21), 1, 21)
    """

    basis: np.ndarray
    shape: tuple[int, int]
    step: int = 1
    stretch: ArrayLike = (1.0,)

    def __post_init__(self) -> None:
        found = np.shape(self.basis)
        square = len(found) == 3 and found[1] == found[2] and self.step >= 1 and (found[1] - 1) % (2 * self.step) == 0
        if not square or not np.isfinite(self.basis).all():
            raise DataError(
                f"finite images (K, g, g) with g = 2 n step + 1 are needed, found {found} with step {self.step}"
            )
        for name in ("basis", "stretch"):
            values = readonly(np.asarray(getattr(self, name), np.float64))
            chebyshev_order(len(values))
            object.__setattr__(self, name, values)

    @classmethod
    def sampled(cls, psf: PSF, shape: tuple[int, int], *, order: int = 4) -> PixelPSF:
        """Pixels of another model, so that it can be written: its stamps at places over an image, and what is between.

        Parameters
        ----------
        psf : PSF
            It should vary smoothly, and not be undersampled.
        shape : (int, int)
            Of the image, (y, x).
        order : int
            Of the polynomials by which the pixels vary.

        Raises
        ------
        DataError
            If it isn't known at enough places.

        Examples
        --------
        >>> psf = PixelPSF.sampled(GaussianPSF(1.7, 21), (100, 100))
        >>> bool(np.abs(psf.images([40.3], [50.2]) - GaussianPSF(1.7, 21).images([40.3], [50.2])).max() < 1e-5)
        True
        """
        from scipy.ndimage import spline_filter

        count = 2 * order + 3
        along = (1 - np.cos(np.pi * np.arange(count) / (count - 1))) / 2
        x, y = (place.ravel() for place in np.meshgrid(*((n - 1) * along for n in shape[::-1])))
        stamps = np.asarray(psf.kernels(x, y), np.float64)
        known = np.isfinite(stamps).all(axis=(1, 2))
        terms = chebyshev_design(x[known], y[known], order, shape=shape)
        if np.linalg.matrix_rank(terms) < terms.shape[1]:
            raise DataError(f"the PSF isn't known at enough places of the image for order {order}; take a lower order")
        planes = np.linalg.lstsq(terms, stamps[known].reshape(len(terms), -1), rcond=None)[0]
        side = stamps.shape[1]
        return cls(np.array([spline_filter(one.reshape(side, side), order=5) for one in planes]), shape)

    @property
    def order(self) -> int:
        """Greatest power of x and y together."""
        return chebyshev_order(len(self.basis))

    @property
    def size(self) -> int:
        """As `PSF.size`."""
        return (self.basis.shape[1] - 1) // self.step + 1

    def stretched(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Factor by which the grid is stretched at places (n,); kept within 1/2 and 2 far from all stars."""
        return np.clip(chebyshev_at(self.stretch, x, y, shape=self.shape), 0.5, 2.0)

    def kernels(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.kernels`."""
        return self._drawn(x, y, np.zeros((np.size(x), 2)))

    def images(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.images`."""
        place = np.stack([np.atleast_1d(np.asarray(v, float)) for v in (x, y)], axis=1)
        return self._drawn(x, y, place - np.floor(place + 0.5))

    def sigma(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.sigma`, by adaptive moments; NaN where these find no source."""
        xx, yy, xy = self.moments(x, y)
        with np.errstate(invalid="ignore"):
            return (xx * yy - xy**2) ** 0.25

    def moments(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Adaptive moments Ixx, Iyy, Ixy of the PSF at places (n,), px^2; NaN where these find no source."""
        from corontools.arrays.moments import adaptive_moments

        kernels = self.kernels(x, y)
        middle = np.full(len(kernels), self.size // 2, float)
        # of a Gaussian with this peak
        start = np.sqrt(1 / (2 * np.pi * np.clip(kernels[:, self.size // 2, self.size // 2], 1e-3, 0.5)))
        found = adaptive_moments(kernels, np.ones_like(kernels), middle, middle, sigma=start)
        return found.xx, found.yy, found.xy

    def _drawn(self, x: ArrayLike, y: ArrayLike, offsets: np.ndarray) -> np.ndarray:
        terms, side = chebyshev_design(x, y, self.order, shape=self.shape), grid_side(self.size, self.step)
        stretch, out = self.stretched(x, y), np.empty((len(terms), self.size, self.size))
        for first in range(0, len(terms), BLOCK):
            part = slice(first, first + BLOCK)
            planes = (terms[part] @ self.basis.reshape(len(self.basis), -1)).reshape(-1, side, side)
            out[part] = draw_stars(planes, offsets[part], size=self.size, step=self.step, stretch=stretch[part])
        out /= out.sum(axis=(1, 2), keepdims=True)
        return out
