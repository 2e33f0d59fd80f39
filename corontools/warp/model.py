"""The PSF that warps are matched to: a Gaussian with wide wings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from corontools.calibrate.psf import PSF, SIGMA_PER_FWHM
from corontools.errors import DataError
from corontools.warp.stamps import determinant_radius

__all__ = ["ModelPSF"]

# least size of a stamp, px, and its size over the FWHM
SMALLEST, WIDTHS = 5, 3
# places along each side at which PSFs are measured, and the FWHM of a model that is scaled to them
PLACES, UNIT = 5, 4.0


@dataclass(frozen=True)
class ModelPSF:
    """Two round Gaussians of one centre, the same everywhere, a `corontools.calibrate.psf.PSF`.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum of the narrow Gaussian, px.
    size : int, optional
        Odd side of the stamps, px; by default three times the FWHM, at least 5. Matchers take the size they need.
    wing : float
        Peak of the wide Gaussian over that of the narrow one; 0 for none.
    widening : float
        Its width over that of the narrow one.

    Raises
    ------
    DataError
        If a width isn't positive, the wing is negative, or the size isn't odd.

    Examples
    --------
    >>> psf = ModelPSF(4.6)
    >>> psf.size, psf.kernels([0.0], [0.0]).shape, round(float(psf.sigma([0.0], [0.0])[0]), 3)
    (15, (1, 15, 15), 2.215)
    """

    fwhm: float
    size: int = 0
    wing: float = 0.1
    widening: float = 2.5

    def __post_init__(self) -> None:
        if not (0 < self.fwhm < np.inf and 0 <= self.wing < np.inf and 0 < self.widening < np.inf):
            raise DataError(f"a model PSF has a positive FWHM and widening and a wing of 0 or more, found {self}")
        if self.size == 0:
            object.__setattr__(self, "size", max(int(np.ceil(WIDTHS * self.fwhm)) // 2 * 2 + 1, SMALLEST))
        if self.size < 3 or self.size % 2 == 0:
            raise DataError(f"the stamps of a PSF have an odd size of 3 px or more, found {self.size}")

    @classmethod
    def like(cls, *psfs: PSF, shape: tuple[int, int], wing: float = 0.1, widening: float = 2.5) -> ModelPSF:
        """The model as wide as the widest of some PSFs anywhere on an image of `shape` (y, x).

        All visits can be matched to it. The determinant radii of both, by adaptive moments, are alike.

        Raises
        ------
        DataError
            If there is no PSF, or none is known on the image.
        """
        grid = [place.ravel() for place in np.meshgrid(*(np.linspace(0, n - 1, PLACES) for n in shape[::-1]))]
        # that of a warp isn't known beyond its detectors
        found = [psf.sigma(*(psf.places(PLACES) if hasattr(psf, "places") else grid)) for psf in psfs]
        widest = max((float(np.nanmax(one)) for one in found if np.isfinite(one).any()), default=np.nan)
        if not np.isfinite(widest):
            raise DataError("no PSF is known on the image; give those of warps that have data")
        unit = cls(UNIT, wing=wing, widening=widening)
        return cls(round(UNIT * widest / unit._sigma, 2), wing=wing, widening=widening)

    def resized(self, size: int) -> ModelPSF:
        """The same on stamps of another size; the total on the stamp is 1."""
        return replace(self, size=size)

    def kernels(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.kernels`."""
        n = np.size(x)
        return np.repeat(self._drawn(np.zeros(1), np.zeros(1)), n, axis=0)

    def images(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.images`."""
        x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
        return self._drawn(x - np.floor(x + 0.5), y - np.floor(y + 0.5))

    def sigma(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.sigma`, by adaptive moments."""
        return np.full(np.size(x), self._sigma)

    @cached_property
    def _sigma(self) -> float:
        return float(determinant_radius(self.resized(2 * int(4 * self.fwhm) + 5).kernels([0.0], [0.0]))[0])

    def _drawn(self, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        along = np.arange(self.size) - self.size // 2
        width = self.fwhm * SIGMA_PER_FWHM
        squares = (along - dx[:, None])[:, None, :] ** 2 + (along - dy[:, None])[:, :, None] ** 2
        stamps = np.exp(-0.5 * squares / width**2) + self.wing * np.exp(-0.5 * squares / (self.widening * width) ** 2)
        return stamps / stamps.sum(axis=(1, 2), keepdims=True)
