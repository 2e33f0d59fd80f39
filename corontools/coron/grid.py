"""The north-up grid of a combined image, and where its pixels lie in each exposure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from corontools.arrays.warp import Mapped
from corontools.exposure import Exposure

__all__ = ["Grid", "by_angle", "mapping", "north_up", "positions"]

# px between the points at which the WCS is evaluated; distortion is smooth over far more than that
STEP = 8


@dataclass(frozen=True, eq=False)
class Grid:
    """A tangential projection, north up and east left, with the star on `center`."""

    wcs: Any
    shape: tuple[int, int]
    center: tuple[float, float]
    pixel_scale: float


# where a star stands whose place on the sky isn't known, and its arcsec per px where they aren't: they cancel out
ANYWHERE, ANY_SCALE = (180.0, 0.0), 1.0


def by_angle(exposure: Exposure) -> list[tuple[list[int], Exposure]]:
    """Integrations at one angle, and an exposure with the WCS that they have.

    Angles that are given make a WCS: a turned tangential projection, not mirrored, without distortion, the star where
    the exposure's own WCS has it. Without angles, that is the WCS of all.
    """
    if exposure.angles is None:
        return [(list(range(exposure.n_int)), exposure)]
    cube, parts = exposure.cube, []
    for angle in np.unique(exposure.angles):
        integrations = np.flatnonzero(exposure.angles == angle).tolist()
        one = cube.select(integrations[:1]).with_(angles=None)
        parts.append((integrations, one.with_(wcs=_turned(one, float(angle)))))
    return parts


def _turned(exposure: Exposure, angle: float) -> Any:
    """WCS of an image whose +y axis is at a position angle."""
    known = exposure.wcs
    star = np.array(ANYWHERE) if known is None else known.all_pix2world([exposure.center], 0)[0]
    own = ANY_SCALE if known is None else _wcs_scale(known)
    wcs = _north(star, exposure.meta.pixel_scale or own, exposure.center)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.pc = [[cos, -sin], [sin, cos]]  # x counts to the west
    wcs.wcs.set()
    return wcs


def north_up(exposures: Sequence[Exposure], *, anchor: str) -> Grid:
    """Smallest grid, at the pixel scale of the first exposure, that holds all of them."""
    first = exposures[0]
    scale = first.meta.pixel_scale or _wcs_scale(first.wcs)
    star = first.wcs.all_pix2world([first.center], 0)[0]
    corners = np.concatenate([_corner_offsets(e, _north(star, scale, (0.0, 0.0)), anchor) for e in exposures])
    low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    center = (float(-low[0]), float(-low[1]))
    shape = (int(high[1] - low[1]) + 1, int(high[0] - low[0]) + 1)
    return Grid(_north(star, scale, center), shape, center, scale)


def _wcs_scale(wcs: Any) -> float:
    from astropy.wcs.utils import proj_plane_pixel_scales

    return float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) * 3600


def _north(star: np.ndarray, pixel_scale: float, center: tuple[float, float]) -> Any:
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = star
    wcs.wcs.crpix = [center[0] + 1, center[1] + 1]
    wcs.wcs.cdelt = [-pixel_scale / 3600, pixel_scale / 3600]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


def _anchored(grid_wcs: Any, exposure: Exposure, anchor: str) -> Any:
    """The grid's projection, centred for anchor="star" where this exposure's WCS has its own star."""
    if anchor != "star":
        return grid_wcs
    moved = grid_wcs.deepcopy()
    moved.wcs.crval = exposure.wcs.all_pix2world([exposure.center], 0)[0]
    moved.wcs.set()
    return moved


def _corner_offsets(exposure: Exposure, grid_wcs: Any, anchor: str) -> np.ndarray:
    ny, nx = exposure.data.shape[-2:]
    corners = [(0, 0), (nx - 1, 0), (0, ny - 1), (nx - 1, ny - 1)]
    sky = exposure.wcs.all_pix2world(corners, 0)
    return _anchored(grid_wcs, exposure, anchor).all_world2pix(sky, 0)


def mapping(exposure: Exposure, grid: Grid, *, anchor: str) -> Mapped:
    """From 0-based x, y on the grid to those in the exposure."""
    own = _anchored(grid.wcs, exposure, anchor)

    def to_source(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # quiet: places far outside the image need not converge, and nothing is read there
        found = exposure.wcs.all_world2pix(own.all_pix2world(np.stack([x, y], axis=1), 0), 0, quiet=True)
        return found[:, 0], found[:, 1]

    return to_source


def positions(exposure: Exposure, grid: Grid, *, anchor: str) -> tuple[np.ndarray, np.ndarray]:
    """0-based (x, y) in the exposure of every pixel of the grid.

    The WCS is evaluated every 8 px and interpolated linearly between.
    """
    rows = np.arange(0, grid.shape[0] + STEP, STEP)
    columns = np.arange(0, grid.shape[1] + STEP, STEP)
    nodes = (axis.ravel().astype(float) for axis in np.meshgrid(columns, rows))
    pixels = np.reshape(mapping(exposure, grid, anchor=anchor)(*nodes), (2, rows.size, columns.size))
    y, x = np.mgrid[: grid.shape[0], : grid.shape[1]] / STEP
    at_x, at_y = (ndimage.map_coordinates(plane, [y, x], order=1, mode="nearest") for plane in pixels)
    return at_x, at_y
