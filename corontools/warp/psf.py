"""WarpedPSF: what a warp makes of the PSFs of its detectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from corontools.arrays.covariance import covariance_factor
from corontools.arrays.warp import warp_stamps
from corontools.calibrate.psf import PSF
from corontools.errors import DataError
from corontools.exposure import readonly
from corontools.warp.sky import Mapped, from_sky, mapping, to_sky
from corontools.warp.stamps import determinant_radius

__all__ = ["Origin", "WarpedPSF"]

# places along each side where it is looked how large stamps become
PLACES = 3
# by how much a place may lie outside of a detector that covers it, px
EDGE = 1e-3


class Origin(NamedTuple):
    """PSF, WCS and shape (y, x) of a detector."""

    psf: PSF
    wcs: Any
    shape: tuple[int, int]


@dataclass(frozen=True, eq=False)
class WarpedPSF:
    """The PSF of a warp: at each place that of the detector there, under the linear part of the warp, a `PSF`.

    A star (`images`) is drawn on the detector at its place within the pixel, and warped with the kernel of the warp:
    what the warp does to the star itself. The stamps of the detector are 0 outside.

    Parameters
    ----------
    origins : tuple of Origin
        In the order in which they were written: the last one wins.
    wcs : astropy.wcs.WCS
        Of the warp's image.
    shape : (int, int)
        Of the warp's image, (y, x).
    kernel : str
        See `corontools.arrays.warp.warp_image`.
    owner : ndarray of int, shape (y, x), optional
        Which origin each pixel comes from, -1 for none; without it the last one that covers the place counts.

    Raises
    ------
    DataError
        If there is no origin, or the owner has another shape.
    """

    origins: tuple[Origin, ...]
    wcs: Any
    shape: tuple[int, int]
    kernel: str = "lanczos3"
    owner: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self.origins:
            raise DataError("a warp to which no detector contributes has no PSF; choose a patch that they cover")
        if self.owner is not None:
            object.__setattr__(self, "owner", readonly(self.owner))
            if self.owner.shape != self.shape:
                raise DataError(f"owner has the shape {self.owner.shape}, the warp {self.shape}; they should be alike")

    def __repr__(self) -> str:
        return f"<WarpedPSF of {len(self.origins)} detectors, {self.size} x {self.size} px>"

    @cached_property
    def size(self) -> int:
        """Odd side of the stamps, px: those of the detectors fit in."""
        y, x = (v.ravel() for v in np.meshgrid(*(np.linspace(0, n - 1, PLACES) for n in self.shape), indexing="ij"))
        sizes = []
        for k, origin in enumerate(self.origins):
            affines = self._local(k, x, y)[1]
            known = np.isfinite(affines).all(axis=(1, 2))
            reach = np.abs(np.linalg.inv(affines[known])).sum(axis=2).max(initial=1.0) * (origin.psf.size / 2)
            sizes.append(2 * int(np.ceil(reach - 0.5)) + 1)
        return max(sizes)

    def kernels(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.kernels`."""
        x, y = _places(x, y)
        return self._drawn(x, y, np.zeros((x.size, 2)), centered=True)

    def images(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.images`."""
        x, y = _places(x, y)
        return self._drawn(x, y, np.stack([y - np.floor(y + 0.5), x - np.floor(x + 0.5)], axis=1), centered=False)

    def sigma(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.sigma`, by adaptive moments; NaN where these find no source."""
        return determinant_radius(self.kernels(x, y))

    def origin_at(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Which origin counts at places (n,): that of the pixel, else the nearest, of equal ones the last."""
        x, y = _places(x, y)
        away = np.array([self._outside(k, x, y) for k in range(len(self.origins))])
        chosen = len(self.origins) - 1 - np.argmin(away[::-1], axis=0)
        if self.owner is None:
            return chosen
        column, row = (np.floor(v + 0.5).astype(int) for v in (x, y))
        inside = (column >= 0) & (row >= 0) & (column < self.shape[1]) & (row < self.shape[0])
        owned = np.full(x.size, -1)
        owned[inside] = self.owner[row[inside], column[inside]]
        return np.where(owned >= 0, owned, chosen)

    def places(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Places x, y (n,) on the image that a detector covers, `count` or fewer along each side of each of them."""
        found = [np.empty((2, 0))]
        for origin in self.origins:
            y, x = np.meshgrid(*(np.linspace(0, n - 1, count) for n in origin.shape), indexing="ij")
            at = np.array(from_sky(self.wcs)(*to_sky(origin.wcs)(x.ravel(), y.ravel())))
            # the corners of the image, where the detector is much larger
            rows, columns = np.meshgrid(*(np.linspace(0, n - 1, count) for n in self.shape), indexing="ij")
            found.append(np.hstack([at, [columns.ravel(), rows.ravel()]]))
        x, y = np.hstack(found)
        away = np.min([self._outside(k, x, y) for k in range(len(self.origins))], axis=0)
        inside = (x >= 0) & (y >= 0) & (x <= self.shape[1] - 1) & (y <= self.shape[0] - 1)
        # places on the edge of a detector come back from the sky with rounding errors
        kept = inside & (away < EDGE)
        return x[kept], y[kept]

    def shared_noise(self, number: int, kernels: np.ndarray, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """By how much pixels that share noise raise the variance of the warp of a detector convolved at places (n,).

        See `corontools.arrays.covariance`. NaN where the detector has no place.
        """
        x, y = _places(x, y)
        source, affines = self._local(number, x, y)
        known, out = np.isfinite(source).all(axis=1) & np.isfinite(affines).all(axis=(1, 2)), np.full(x.size, np.nan)
        out[known] = covariance_factor(kernels[known], source[known], affines[known], kernel=self.kernel)
        return out

    @cached_property
    def _mappings(self) -> list[Mapped]:
        return [mapping(self.wcs, origin.wcs, origin.shape) for origin in self.origins]

    def _outside(self, k: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """How far places are outside of a detector, px of it."""
        ny, nx = self.origins[k].shape
        px, py = self._mappings[k](x, y)
        out = [np.maximum(np.maximum(-0.5 - v, v - n + 0.5), 0) for v, n in ((px, nx), (py, ny))]
        return np.nan_to_num(np.hypot(*out), nan=np.inf)

    def _local(self, k: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places (n, 2) of (y, x) on a detector, and what a pixel of the warp is there, (n, 2, 2)."""
        steps = np.array([(0, 0), (-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)])
        found = self._mappings[k]((x + steps[:, 1:]).ravel(), (y + steps[:, :1]).ravel())
        py, px = (v.reshape(5, x.size) for v in found[::-1])
        along = np.array([[py[2] - py[1], py[4] - py[3]], [px[2] - px[1], px[4] - px[3]]])
        return np.stack([py[0], px[0]], axis=1), np.moveaxis(along, 2, 0)

    def _drawn(self, x: np.ndarray, y: np.ndarray, offset: np.ndarray, *, centered: bool) -> np.ndarray:
        out, chosen = np.full((x.size, self.size, self.size), np.nan), self.origin_at(x, y)
        for k in np.unique(chosen):
            which = np.flatnonzero(chosen == k)
            source, affines = self._local(int(k), x[which], y[which])
            known = np.isfinite(source).all(axis=1) & np.isfinite(affines).all(axis=(1, 2))
            which, source, affines = which[known], source[known], affines[known]
            psf = self.origins[k].psf
            within = np.zeros_like(source) if centered else source - np.floor(source + 0.5)
            draw = psf.kernels if centered else psf.images
            stamps = draw(source[:, 1], source[:, 0])
            out[which] = warp_stamps(
                stamps, affines, middle=within + psf.size // 2, offset=offset[which], size=self.size, kernel=self.kernel
            )
        return out / out.sum(axis=(1, 2), keepdims=True)


def _places(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    return np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
