"""Matching kernels that vary over an image, and frames convolved with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from corontools.arrays.chebyshev import chebyshev_design, chebyshev_order
from corontools.arrays.varying import Kernels, Term, gather_bits, sum_varying
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.errors import DataError
from corontools.exposure import readonly

__all__ = ["MatchingKernel", "checked", "convolve", "emptied"]


@dataclass(frozen=True, eq=False)
class MatchingKernel:
    """Kernel whose pixels are polynomials of the place, of total 1 everywhere.

    Attributes
    ----------
    planes : ndarray, shape (n_term, size, size)
        Coefficients of the terms of `corontools.arrays.chebyshev`, size odd.
    shape : (int, int)
        Of the image over which it varies, (y, x).

    Examples
    --------
    >>> kernel = MatchingKernel(np.full((1, 3, 3), 1 / 9), (100, 100))
    >>> kernel.at([5.0], [7.0]).shape, kernel.order, round(float(kernel.noise_gain([5.0], [7.0])[0]), 3)
    ((1, 3, 3), 0, 0.333)
    """

    planes: np.ndarray
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "planes", readonly(np.asarray(self.planes, np.float64)))
        chebyshev_order(len(self.planes))

    def __repr__(self) -> str:
        return f"<MatchingKernel {self.size} x {self.size} px, order {self.order}>"

    @property
    def size(self) -> int:
        """Odd side of the kernel, px."""
        return self.planes.shape[1]

    @property
    def order(self) -> int:
        """Greatest power of x and y together."""
        return chebyshev_order(len(self.planes))

    def at(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Kernels at places (n,): (n, size, size)."""
        return np.tensordot(chebyshev_design(x, y, self.order, shape=self.shape), self.planes, 1)

    def noise_gain(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Noise of the convolved image over that of the image, if all its pixels are independent, at places (n,)."""
        return np.sqrt((self.at(x, y) ** 2).sum(axis=(1, 2)))


def convolve(frame: MaskedImage, kernels: Kernels, *, size: int, missing: float = 0.0) -> MaskedImage:
    """Frame convolved with a kernel that varies, the variance with its square, the mask gathered under the kernel.

    Parameters
    ----------
    frame : MaskedImage
    kernels : function
        Of total 1; see `corontools.arrays.varying.sum_varying`.
    size : int
        Odd side of the kernels, px.
    missing : float
        Sum of the kernel's absolute values that may lie on pixels without data or beyond the edge; the value is then
        the sum over the other pixels, divided by their part of the kernel's total, and the pixel has INTRP and no
        NO_DATA. With 0 a pixel needs all of the kernel. What lacks has NaN, infinite variance and NO_DATA.

    Raises
    ------
    DataError
        If the frame is smaller than the kernel, or a pixel without NO_DATA isn't finite in image or variance.
    """
    known = checked(frame)
    if min(frame.shape) < size:
        raise DataError(f"an image of {frame.shape} px is smaller than the kernel of {size} px; take a smaller kernel")
    lost = (~known).astype(np.uint8)
    terms = [Term(np.where(known, frame.image, 0)), Term(np.where(known, frame.variance, 0), np.square, rough=True)]
    if missing > 0:
        terms += [Term(lost, np.positive, 1.0), Term(lost, np.abs, 1.0)]
    image, variance, *parts = sum_varying(terms, kernels)
    mask = gather_bits(np.asarray(frame.mask), size // 2)
    touched = _touched(lost, size // 2)
    if missing > 0:
        gone, share = parts
        filled = touched & (share <= missing)
        left = np.where(filled, 1 - gone, 1)
        image, variance, touched = image / left, variance / left**2, touched & ~filled
        mask = np.where(filled, (mask & ~int(Plane.NO_DATA)) | int(Plane.INTRP), mask)
    return emptied(image, variance, mask, touched)


def checked(frame: MaskedImage) -> np.ndarray:
    """Where a frame has data, (y, x) of bool.

    Raises
    ------
    DataError
        If a pixel without NO_DATA isn't finite in image or variance, or has a negative variance.
    """
    known = ~frame.has(Plane.NO_DATA)
    for name in ("image", "variance"):
        strange = np.count_nonzero(known & ~np.isfinite(getattr(frame, name)))
        if strange:
            raise DataError(
                f"the {name} isn't finite in {strange} pixels that have data; "
                "mark them by frame.marked(where, Plane.NO_DATA)"
            )
    negative = np.count_nonzero(known & (frame.variance < 0))
    if negative:
        raise DataError(
            f"the variance is negative in {negative} pixels; mark them by frame.marked(where, Plane.NO_DATA)"
        )
    return known


def emptied(image: np.ndarray, variance: np.ndarray, mask: np.ndarray, where: np.ndarray) -> MaskedImage:
    """A frame of new arrays, in single precision, without data in some pixels."""
    image, variance = image.astype(np.float32, copy=False), variance.astype(np.float32, copy=False)
    mask = np.array(mask)
    image[where], variance[where] = np.nan, np.inf
    mask[where] |= int(Plane.NO_DATA)
    return MaskedImage(image, mask, variance)


def _touched(lost: np.ndarray, reach: int) -> np.ndarray:
    """Where a kernel of this half size reaches a pixel without data, or over the edge."""
    out = gather_bits(lost, reach).astype(bool)
    out[:reach], out[-reach:], out[:, :reach], out[:, -reach:] = True, True, True, True
    return out
