"""Matched: a frame at a common PSF, and how near to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike

from corontools.arrays.matching import convolve_stamps
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.psf import PSF
from corontools.display import card
from corontools.exposure import readonly
from corontools.warp.kernel import MatchingKernel
from corontools.warp.places import stamps
from corontools.warp.stamps import determinant_radius, moments

__all__ = ["Matched"]


@dataclass(frozen=True, eq=False, repr=False)
class Matched:
    """A frame convolved with the kernel that makes its PSF like a model.

    Attributes
    ----------
    frame : MaskedImage
        Convolved image, its variance and mask. The variance is that of each pixel: neighbours share noise.
    kernel : MatchingKernel
        It lies over the same pixels as the frame.
    source : PSF
        Of the frame before.
    model : PSF
        That wanted: the PSF of the frame, up to the residuals.
    x, y : ndarray, shape (n,)
        Places at which the PSFs were matched, 0-based px.
    matcher : PSFMatcher or FourierMatcher
        What matched them.
    """

    frame: MaskedImage
    kernel: MatchingKernel
    source: PSF
    model: PSF
    x: np.ndarray
    y: np.ndarray
    matcher: Any

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            object.__setattr__(self, name, readonly(np.asarray(getattr(self, name), np.float64)))

    @property
    def psf(self) -> PSF:
        """The model, which the frame's PSF is by now."""
        return self.model

    @property
    def size(self) -> int:
        """Odd side of the stamps of the residuals, px: all that the kernel makes of the PSF lies within."""
        return max(self.source.size, self.model.size) + self.kernel.size - 1

    def psf_at(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """What the kernel makes of the PSF at places (n,): (n, size, size)."""
        x, y = _places(x, y)
        return convolve_stamps(stamps(self.source, x, y, self.source.size), self.kernel.at(x, y), size=self.size)

    def residual_at(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """The same less the model: (n, size, size)."""
        x, y = _places(x, y)
        return self.psf_at(x, y) - stamps(self.model, x, y, self.size)

    def quality_at(self, x: ArrayLike, y: ArrayLike) -> Table:
        """How near the PSF is to the model at places (n,).

        Columns: `x`, `y`; `peak` and `total`, the largest residual over the model's peak and the sum of the absolute
        residuals; `size_before`, `size`, `size_error`, determinant radii (Ixx Iyy - Ixy^2)^(1/4) by adaptive moments,
        px, and that of the matched PSF less the model's; `e1`, `e2` of the matched PSF; `noise_gain`.
        """
        x, y = _places(x, y)
        residual, model = self.residual_at(x, y), stamps(self.model, x, y, self.size)
        size, e1, e2 = _shape(residual + model)
        columns: dict[str, Any] = {
            "x": x, "y": y,
            "peak": np.abs(residual).max(axis=(1, 2)) / model.max(axis=(1, 2)),
            "total": np.abs(residual).sum(axis=(1, 2)),
            "size_before": determinant_radius(stamps(self.source, x, y, self.source.size)),
            "size": size, "size_error": size - determinant_radius(model), "e1": e1, "e2": e2,
            "noise_gain": self.kernel.noise_gain(x, y),
        }  # fmt: skip
        return Table(columns)

    @cached_property
    def quality(self) -> Table:
        """`quality_at` the places at which the PSFs were matched."""
        return self.quality_at(self.x, self.y)

    def __repr__(self) -> str:
        return card.text("Matched", self._rows())

    def _repr_html_(self) -> str:
        return card.html("Matched", self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        found = self.quality
        return [
            ("image", f"{self.frame.shape[0]} x {self.frame.shape[1]} px"),
            ("kernel", f"{self.kernel.size} x {self.kernel.size} px, order {self.kernel.order}"),
            ("places", str(len(self.x))),
            ("sigma before", f"{np.nanmin(found['size_before']):.3f} to {np.nanmax(found['size_before']):.3f} px"),
            ("sigma", f"{np.nanmedian(found['size']):.3f} px, off by {np.nanmax(np.abs(found['size_error'])):.4f} px"),
            ("residual", f"{100 * np.max(found['peak']):.2f} % of the peak at most"),
            ("noise gain", f"{np.min(found['noise_gain']):.3f} to {np.max(found['noise_gain']):.3f}"),
        ]


def _shape(stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Determinant radius, e1 and e2 of stamps (n, s, s)."""
    xx, yy, xy = moments(stamps)
    with np.errstate(invalid="ignore"):
        return (xx * yy - xy**2) ** 0.25, (xx - yy) / (xx + yy), 2 * xy / (xx + yy)


def _places(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    return np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
