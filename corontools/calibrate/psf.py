"""Models of the point-spread function that the calibration measures with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from corontools.errors import DataError

__all__ = ["PSF", "GaussianPSF"]

SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))


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
        return cls(float(fwhm) * SIGMA_PER_FWHM, size)

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
