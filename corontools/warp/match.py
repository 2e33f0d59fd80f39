"""Frames matched to a common PSF, by a kernel of few functions or by Fourier transforms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from corontools.arrays.chebyshev import chebyshev_design
from corontools.arrays.fourier import fourier_kernels
from corontools.arrays.matching import Basis, fit_planes, gaussian_basis, solve_planes
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.psf import PSF
from corontools.errors import DataError
from corontools.warp.kernel import MatchingKernel, checked, convolve
from corontools.warp.matched import Matched
from corontools.warp.model import ModelPSF
from corontools.warp.places import lattice, pairs

__all__ = ["FourierMatcher", "PSFMatcher"]

M = TypeVar("M", bound="_Matcher")
Places = tuple[np.ndarray, np.ndarray]

# least side of a cell, px
SMALLEST_CELL = 32


@dataclass(frozen=True)
class _Matcher:
    """What both matchers do."""

    def with_(self: M, **changes: Any) -> M:
        """Copy with the named options changed."""
        return replace(self, **changes)

    def match(self, frame: MaskedImage, psf: PSF, model: PSF | float) -> Matched:
        """Convolve a frame so that its PSF becomes like the model.

        Parameters
        ----------
        frame : MaskedImage
            All pixels without NO_DATA finite.
        psf : PSF
            Of the frame. It should vary smoothly: match each detector of a mosaic by itself.
        model : PSF or float
            What is wanted; a number stands for a `ModelPSF` of this FWHM, px.

        Raises
        ------
        DataError
            If the frame or its PSF can't be matched with these options.
        """
        model = ModelPSF(float(model)) if isinstance(model, int | float | np.number) else model
        places = lattice(checked(frame), self.cell, self.order)  # type: ignore[attr-defined]
        kernel, used = self._solve(psf, model, places, frame.shape)
        made = convolve(frame, kernel.at, size=kernel.size, missing=self.missing)  # type: ignore[attr-defined]
        return Matched(made, kernel, psf, model, places[0][used], places[1][used], self)

    def kernel(self, psf: PSF, model: PSF, x: np.ndarray, y: np.ndarray, *, shape: tuple[int, int]) -> MatchingKernel:
        """Kernel that makes the PSF like the model at places (n,), polynomial over an image of `shape` (y, x)."""
        return self._solve(psf, model, (np.asarray(x, float), np.asarray(y, float)), shape)[0]

    def _solve(self, psf: PSF, model: PSF, places: Places, shape: tuple[int, int]) -> tuple[MatchingKernel, np.ndarray]:
        raise NotImplementedError

    def _check(self, kernel_size: int, cell: int, order: int, rates: tuple[float, ...]) -> None:
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise DataError(f"the size of a kernel is odd and 3 px or more, found {kernel_size}")
        if cell < SMALLEST_CELL:
            raise DataError(f"cells are {SMALLEST_CELL} px or more, found {cell}")
        if order < 0 or not all(0 <= rate < np.inf for rate in rates):
            raise DataError(f"order, damping, missing and aliasing are 0 or more, found {self}")


@dataclass(frozen=True)
class PSFMatcher(_Matcher):
    """Matches by a kernel that is a sum of Gaussians times polynomials (Alard & Lupton 1998; see `arrays.matching`).

    Parameters
    ----------
    kernel_size : int
        Odd side of the kernel, px.
    sigmas : sequence of float
        Widths of the Gaussians, px.
    degrees : sequence of int
        Degree of the polynomial of each.
    cell : int
        Mean distance of the places at which PSFs are matched, px, at least 32.
    order : int
        Of the polynomial by which the kernel changes over the image.
    auto_pad : float or None
        Stamps of the PSF are padded with zeros to this many times the kernel's size, at least 1.
    pad_by : int
        Without auto_pad: px by which the stamps are padded, both sides together, even.
    damping : float
        Weight of the convolved image's noise beside the residual, see `corontools.arrays.matching.solve_planes`.
    missing : float
        See `corontools.warp.kernel.convolve`.
    aliasing : float
        Share of a PSF's amplitude that may be left at the Nyquist frequency.

    Raises
    ------
    DataError
        If an option is out of range.

    Examples
    --------
    >>> from corontools.calibrate.psf import GaussianPSF
    >>> spot = np.zeros((101, 101), np.float32); spot[50, 50] = 100
    >>> image = MaskedImage(spot, np.zeros(spot.shape, np.int32), np.ones_like(spot))
    >>> matched = PSFMatcher().match(image, GaussianPSF.of_fwhm(3.5), ModelPSF(4.6))
    >>> bool(matched.quality["peak"].max() < 0.01), matched.frame.shape
    (True, (101, 101))
    """

    kernel_size: int = 21
    sigmas: tuple[float, ...] = (0.7, 1.5, 3.0)
    degrees: tuple[int, ...] = (4, 2, 2)
    cell: int = 128
    order: int = 2
    auto_pad: float | None = 1.4
    pad_by: int = 0
    damping: float = 1e-3
    missing: float = 0.1
    aliasing: float = 0.1

    def __post_init__(self) -> None:
        self._check(self.kernel_size, self.cell, self.order, (self.damping, self.missing, self.aliasing))
        for name in ("sigmas", "degrees"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.sigmas or len(self.sigmas) != len(self.degrees):
            raise DataError(f"each Gaussian has a width and a degree, found {self.sigmas} and {self.degrees}")
        if min(self.sigmas) <= 0 or min(self.degrees) < 0:
            raise DataError(f"widths are positive and degrees 0 or more, found {self.sigmas} and {self.degrees}")
        if self.pad_by < 0 or self.pad_by % 2:
            raise DataError(f"stamps are padded by an even number of px, alike on both sides, found {self.pad_by}")
        if self.auto_pad is not None and (self.pad_by or not 1 <= self.auto_pad < np.inf):
            raise DataError(
                f"auto_pad is 1 or more, and None where pad_by is given, found {self.auto_pad} and {self.pad_by}"
            )

    @cached_property
    def basis(self) -> Basis:
        """Functions that the kernel is the sum of."""
        return gaussian_basis(self.kernel_size, self.sigmas, self.degrees)

    def stamp_size(self, psf: PSF) -> int:
        """Odd side of the padded stamps of a PSF, px.

        Raises
        ------
        DataError
            If that isn't more than the kernel's size.
        """
        if self.auto_pad is None:
            size = psf.size + self.pad_by
        else:
            size = max(psf.size, int(np.ceil(self.auto_pad * self.kernel_size)) // 2 * 2 + 1)
        if size <= self.kernel_size:
            raise DataError(
                f"the kernel of {self.kernel_size} px is as large as the stamps of the PSF, {psf.size} px padded to "
                f"{size}; take a smaller kernel_size, or pad more by auto_pad=1.4"
            )
        return size

    def _solve(self, psf: PSF, model: PSF, places: Places, shape: tuple[int, int]) -> tuple[MatchingKernel, np.ndarray]:
        found, wanted, used = pairs(psf, model, places, size=self.stamp_size(psf), limit=self.aliasing)
        terms = chebyshev_design(places[0][used], places[1][used], self.order, shape=shape)
        planes = solve_planes(found, wanted, terms, basis=self.basis, damping=self.damping)
        return MatchingKernel(planes, shape), used


@dataclass(frozen=True)
class FourierMatcher(_Matcher):
    """Matches by Fourier transforms of whole stamps, for PSFs with wide wings (see `corontools.arrays.fourier`).

    Parameters
    ----------
    kernel_size : int or None
        Odd side of the kernel, px; by default that of the PSF's stamps.
    damping : float
        Weight of the convolved image's noise beside the residual at each frequency.
    cell, order, missing, aliasing
        As of `PSFMatcher`.

    Raises
    ------
    DataError
        If an option is out of range.

    Examples
    --------
    >>> from corontools.calibrate.psf import GaussianPSF
    >>> spot = np.zeros((101, 101), np.float32); spot[50, 50] = 100
    >>> image = MaskedImage(spot, np.zeros(spot.shape, np.int32), np.ones_like(spot))
    >>> matched = FourierMatcher().match(image, GaussianPSF.of_fwhm(3.5), ModelPSF(4.6))
    >>> bool(matched.quality["peak"].max() < 0.01), matched.kernel.size
    (True, 41)
    """

    kernel_size: int | None = None
    damping: float = 1e-5
    cell: int = 128
    order: int = 2
    missing: float = 0.1
    aliasing: float = 0.1

    def __post_init__(self) -> None:
        size = 3 if self.kernel_size is None else self.kernel_size
        self._check(size, self.cell, self.order, (self.damping, self.missing, self.aliasing))

    def _solve(self, psf: PSF, model: PSF, places: Places, shape: tuple[int, int]) -> tuple[MatchingKernel, np.ndarray]:
        size = self.kernel_size or psf.size
        found, wanted, used = pairs(psf, model, places, size=max(psf.size, size), limit=self.aliasing)
        kernels = fourier_kernels(found, wanted, size=size, damping=self.damping)
        terms = chebyshev_design(places[0][used], places[1][used], self.order, shape=shape)
        return MatchingKernel(fit_planes(kernels, terms), shape), used
