"""Flags of sources: what is in their pixels, and how they were found."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from corontools.arrays.stamps import footprint_bits
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.targets import Sources

__all__ = ["detect_flags", "pixel_flags"]

PLANES = {
    "edge": Plane.EDGE,
    "nodata": Plane.NO_DATA,
    "interpolated": Plane.INTRP,
    "saturated": Plane.SAT,
    "cr": Plane.CR,
    "bad": Plane.BAD,
    "suspect": Plane.SUSPECT,
}


def pixel_flags(masked: MaskedImage, sources: Sources, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Columns base_PixelFlags_flag... and base_FootprintArea_value.

    A plane is told three times: anywhere in the footprint, in any of the 3 x 3 pixels about the centroid (Center), and
    in all of them (CenterAll). Outside the frame is NO_DATA.

    Parameters
    ----------
    masked : MaskedImage
    sources : Sources
    x, y : ndarray, shape (n,)
        Centroids, 0-based, px.
    """
    mask = np.asarray(masked.mask)
    anywhere, area = footprint_bits(mask, sources.footprints)
    some, every = _center_bits(mask, x, y)
    ny, nx = masked.shape
    off = ~((x >= -0.5) & (y >= -0.5) & (x < nx - 0.5) & (y < ny - 0.5))
    name = "base_PixelFlags_flag"
    flags = {name: off, f"{name}_offimage": off}
    for plane, bit in PLANES.items():
        bits = {"": anywhere, "Center": some, "CenterAll": every}
        flags |= {f"{name}_{plane}{where}": (found & bit.value) != 0 for where, found in bits.items()}
    return {**flags, "base_FootprintArea_value": area}


def _center_bits(mask: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bits set in any and in all of the 3 x 3 pixels about a place."""
    steps = np.arange(-1, 2)
    rows = np.floor(y + 0.5).astype(np.int64)[:, None, None] + steps[:, None]
    columns = np.floor(x + 0.5).astype(np.int64)[:, None, None] + steps
    rows, columns = np.broadcast_arrays(rows, columns)
    inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    bits = np.full(rows.shape, int(Plane.NO_DATA), mask.dtype)
    bits[inside] = mask[rows[inside], columns[inside]]
    return np.bitwise_or.reduce(bits, axis=(1, 2)), np.bitwise_and.reduce(bits, axis=(1, 2))


def detect_flags(table: Table) -> dict[str, np.ndarray]:
    """Columns detect_...: which sources to use, so that no light counts twice.

    Parameters
    ----------
    table : Table
        As of `Sources`.

    Returns
    -------
    dict
        `isPrimary`: no sky source, and nothing was taken from it; `isIsolated`: one peak in its footprint;
        `fromBlend`: taken from a blend; `isDeblendedSource`: alone or taken from a blend, sky sources too.
    """
    child, childless = np.asarray(table["parent"]) != 0, np.asarray(table["deblend_nChild"]) == 0
    return {
        "detect_isPrimary": childless & ~np.asarray(table["sky_source"], bool),
        "detect_isIsolated": ~child & (np.asarray(table["deblend_nPeaks"]) == 1),
        "detect_fromBlend": child,
        "detect_isDeblendedSource": childless,
    }
