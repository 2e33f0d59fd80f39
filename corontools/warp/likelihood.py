r"""Likelihood images: a frame correlated with its own PSF.

At a place p with the PSF P of a star there, and over the pixels that have data,

.. math:: L(p) = \sum_d P(d)\,I(p + d), \quad V_L(p) = \sum_d P(d)^2\,V(p + d), \quad N(p) = \sum_d P(d)^2

L / N is the flux of a star at p that is most likely if all pixels have the same noise, and L / sqrt(V_L) how many sigma
it has (Kaiser 2004, "Optimal stacking", Pan-STARRS; Zackay & Ofek 2017, ApJ 836, 187). A pixel without data is left out
of all three sums, so that it makes no hole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from corontools.arrays.matching import convolve_stamps
from corontools.arrays.varying import Term, gather_bits, sum_varying
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import PSF
from corontools.display import card
from corontools.errors import DataError
from corontools.exposure import readonly
from corontools.warp.box import Box
from corontools.warp.kernel import checked, emptied
from corontools.warp.noise import with_shared_noise
from corontools.warp.psf import WarpedPSF
from corontools.warp.stamps import determinant_radius, moved

__all__ = ["CorrelatedPSF", "Likelihood", "correlated", "likelihood"]

# bits are gathered where the square of the PSF, its weight, is more than 2 % of its peak: a Gaussian's 2 sigma
REACH = 2.0


@dataclass(frozen=True, eq=False)
class Likelihood:
    """A frame correlated with its own PSF.

    Attributes
    ----------
    frame : MaskedImage
        L and its variance V_L, which is that of each pixel: neighbours share noise. Bits of the mask are those of the
        pixels within 2 sigma of the PSF; NO_DATA where too little of the PSF lies on data.
    norm : ndarray, shape (y, x)
        N: sum of the squares of the PSF on pixels with data.
    source : PSF
        Of the frame before.
    """

    frame: MaskedImage
    norm: np.ndarray
    source: PSF

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm", readonly(np.asarray(self.norm)))

    def __repr__(self) -> str:
        return card.text("Likelihood", self.rows())

    def _repr_html_(self) -> str:
        return card.html("Likelihood", self.rows())

    def rows(self) -> list[tuple[str, str]]:
        """What a card tells of it."""
        error = np.sqrt(self.frame.variance) / self.norm
        typical = float(np.median(error[~self.frame.has(Plane.NO_DATA)]))
        return [("flux error", f"{typical:.4g} of a star, median")]

    @property
    def psf(self) -> CorrelatedPSF:
        """PSF of the correlated image, of total 1."""
        return CorrelatedPSF(self.source)

    @property
    def flux(self) -> MaskedImage:
        """Flux that a star at each pixel most likely has, and its variance."""
        with np.errstate(invalid="ignore", divide="ignore"):
            image, variance = self.frame.image / self.norm, self.frame.variance / self.norm**2
        return emptied(image, variance, np.asarray(self.frame.mask), self.frame.has(Plane.NO_DATA))

    @property
    def snr(self) -> np.ndarray:
        """Flux over its error, (y, x); NaN where there are no data."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.frame.image / np.sqrt(self.frame.variance))


@dataclass(frozen=True, eq=False)
class CorrelatedPSF:
    """A PSF correlated with itself, a `PSF`; this neglects that it changes over its own width."""

    source: PSF

    @property
    def size(self) -> int:
        """As `PSF.size`."""
        return 2 * self.source.size - 1

    def kernels(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.kernels`."""
        kernels = np.asarray(self.source.kernels(x, y), np.float64)
        return convolve_stamps(kernels, kernels[:, ::-1, ::-1], size=self.size)

    def images(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.images`, shifted within the pixel by Lanczos interpolation."""
        x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
        return moved(self.kernels(x, y), x, y)

    def sigma(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.sigma`, by adaptive moments; NaN where these find no source."""
        return determinant_radius(self.kernels(x, y))


def correlated(frame: MaskedImage, psf: WarpedPSF, *, least: float = 0.5) -> Likelihood:
    """The same of a warp: its variance has the noise that warped pixels share."""
    found = likelihood(frame, psf, least=least)
    whole, made = Box(0, 0, frame.shape[1], frame.shape[0]), found.frame
    owner = np.zeros(frame.shape, np.int16) if psf.owner is None else psf.owner
    for number in np.unique(owner[owner >= 0]):
        where = owner == number
        made = with_shared_noise(made, psf, _turned(psf), number=int(number), box=whole, where=where)
    return replace(found, frame=made)


def likelihood(frame: MaskedImage, psf: PSF, *, least: float = 0.5) -> Likelihood:
    """Correlate a frame with its own PSF.

    Parameters
    ----------
    frame : MaskedImage
        All pixels without NO_DATA finite.
    psf : PSF
        Of the frame.
    least : float
        Part of the sum of the PSF's squares that must lie on pixels with data; what has less gets NO_DATA.

    Raises
    ------
    DataError
        If the frame holds no data or values that aren't finite, or the PSF isn't known on it.

    Examples
    --------
    >>> from corontools.calibrate.psf import GaussianPSF
    >>> psf = GaussianPSF(2.0, 21)
    >>> star = np.zeros((61, 61)); star[20:41, 20:41] = 50 * psf.kernels([0.0], [0.0])[0]
    >>> found = likelihood(MaskedImage(star, np.zeros(star.shape, np.int32), np.ones_like(star)), psf)
    >>> round(float(found.flux.image[30, 30]), 3), found.psf.size
    (50.0, 41)
    """
    known = checked(frame)
    if not known.any():
        raise DataError("no pixel of the frame has data; there is nothing to correlate")
    if not 0 < least <= 1:
        raise DataError(f"least is a part of 1, found {least}")

    image, variance, norm, whole = sum_varying(
        [
            Term(np.where(known, frame.image, 0)),
            Term(np.where(known, frame.variance, 0), np.square),
            Term(known.astype(np.uint8), np.square),
            Term(np.ones(frame.shape, np.uint8), np.square, 1.0),
        ],
        _turned(psf),
    )
    empty = norm < least * whole
    y, x = np.nonzero(known)
    sigma = float(psf.sigma([x.mean()], [y.mean()])[0])
    mask = gather_bits(np.asarray(frame.mask), int(np.ceil(REACH * sigma)) if np.isfinite(sigma) else psf.size // 2)
    mask = np.where(empty, mask, mask & ~int(Plane.NO_DATA))
    return Likelihood(emptied(image, variance, mask, empty), norm, psf)


def _turned(psf: PSF) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Kernels by which a convolution is the correlation with a PSF."""
    return lambda x, y: np.asarray(psf.kernels(x, y), np.float64)[:, ::-1, ::-1]
