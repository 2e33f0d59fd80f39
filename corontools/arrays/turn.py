"""Residual images on another grid of pixels, by `warp_image`.

What is special of them: speckle noise is the same within a speckle's width, so its variance doesn't go down by
interpolation; and a hundredth of the pixels are bad, each of which lies under the kernels of a hundred others. Left out
of the sums, as `warp_image` does with what isn't finite, they would take its accuracy from the kernel; so they are
bridged first. The reasons and the measurements are in `docs/klip.md`, "North up".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from corontools.arrays.repair import fill
from corontools.arrays.warp import KERNELS, Nodes, Warped, warp_image

__all__ = ["Turned", "bridge", "turn"]

KERNEL = "lanczos5"
# an output pixel counts as measured when bad pixels hold less than this share of its bilinear footprint
TOLERATED = 0.25
# px of filled pixels around good ones: as far as the kernel goes from a position that isn't blanked
REACH = KERNELS[KERNEL] + 1
# where the squared Laplacian is least (Bilaplace = 0): weights of pixels around a gap
SMOOTHEST = {
    **dict.fromkeys(((0, 1), (1, 0), (0, -1), (-1, 0)), 0.4),
    **dict.fromkeys(((1, 1), (1, -1), (-1, 1), (-1, -1)), -0.1),
    **dict.fromkeys(((0, 2), (2, 0), (0, -2), (-2, 0)), -0.05),
}


class Turned(NamedTuple):
    """An image on the grid of the output, with its variances; all NaN where nothing is known.

    Attributes
    ----------
    value : ndarray, shape (y, x)
    photon, speckle : ndarray, shape (y, x)
        Variance that is independent from pixel to pixel, and that shared by pixels near each other.
    """

    value: np.ndarray
    photon: np.ndarray
    speckle: np.ndarray


def turn(
    image: np.ndarray,
    nodes: Nodes,
    *,
    shape: tuple[int, int],
    photon: np.ndarray | None = None,
    speckle: np.ndarray | None = None,
) -> Turned:
    """Interpolate an image of surface brightness with the Lanczos-5 kernel.

    Parameters
    ----------
    image : ndarray, shape (y, x)
        NaN where a pixel is bad. These, and what is outside, are bridged (`bridge`); where they hold a quarter or more
        of the four pixels around the position, weighted as by bilinear interpolation, the output is NaN, and where
        the position is half a pixel or more outside.
    nodes : Nodes
        Positions in the image, see `warp.lay_nodes`.
    shape : (int, int)
        Of the output, (y, x).
    photon : ndarray, shape (y, x), optional
        Variance that is independent from pixel to pixel: it goes with the squares of the kernel.
    speckle : ndarray, shape (y, x), optional
        Variance that is shared by pixels nearer than a speckle's width: it is interpolated bilinearly.

    Returns
    -------
    Turned
        Without a variance given, NaN for it.

    Examples
    --------
    >>> from corontools.arrays.warp import lay_nodes
    >>> image = np.arange(400.0).reshape(20, 20)
    >>> made = turn(image, lay_nodes(lambda x, y: (x, y), (20, 20)), shape=(20, 20))
    >>> float(made.value[4, 3].round(6))
    83.0
    """
    good, places = np.pad(np.isfinite(image), REACH), nodes._replace(places=nodes.places + REACH)
    filled = bridge(_padded(image), good)
    own, shared = _known(photon, good), _known(speckle, good)

    def interpolated(plane: np.ndarray) -> np.ndarray:
        return _warped(plane, np.zeros_like(plane), places, shape, "bilinear").image

    made = _warped(filled, np.nan_to_num(own), places, shape, KERNEL)  # where there is no variance there may be a value
    value, spread, speckles = made.image, made.variance, interpolated(shared)
    if (np.isfinite(filled) & np.isnan(own)).any():
        spread[np.isnan(interpolated(own))] = np.nan
    blank = ~(interpolated(_lack(image)) < TOLERATED)  # NaN too: far outside
    for plane in (value, spread, speckles):
        plane[blank] = np.nan
    return Turned(value, spread, speckles)


def bridge(image: np.ndarray, good: np.ndarray, *, reach: int = REACH) -> np.ndarray:
    """Fill bad pixels, the value of a lone one by the smoothest surface, others by medians (`repair.fill`).

    Parameters
    ----------
    image : ndarray, shape (y, x)
    good : ndarray of bool, same shape
    reach : int
        Pixels further than this from a good one become NaN.

    Returns
    -------
    ndarray of float64, shape (y, x)

    Notes
    -----
    Where the eight pixels around a bad one and the four two pixels away are good it gets (8 n - 2 d - t) / 20, of the
    sums n of the four next to it, d of the diagonal ones, t of those two away. That is exact for cubic surfaces, and
    has 0.83 of a pixel's noise.

    Examples
    --------
    >>> y, x = np.mgrid[:9, :9]; image = 1.0 * x**2 * y; good = np.ones((9, 9), bool); good[4, 4] = False
    >>> float(bridge(np.where(good, image, np.nan), good)[4, 4].round(9))
    64.0
    """
    out = fill(np.asarray(image, np.float64)[None], good[None], reach=reach)[0]
    rows, columns = np.nonzero(~good[2:-2, 2:-2])
    around = [(rows + 2 + dy, columns + 2 + dx) for dy, dx in SMOOTHEST]
    lone = np.logical_and.reduce([good[place] for place in around])
    smooth = sum(w * out[place] for w, place in zip(SMOOTHEST.values(), around, strict=True))
    out[rows[lone] + 2, columns[lone] + 2] = smooth[lone]
    return out


def _lack(image: np.ndarray) -> np.ndarray:
    """1 where nothing was measured, 0 where it was; 1/2 next to the image, so that its pixels end half a px outside."""
    rim = np.pad((~np.isfinite(image)).astype(np.float64), 1, constant_values=0.5)
    return np.pad(rim, REACH - 1, constant_values=1.0)


def _padded(plane: np.ndarray) -> np.ndarray:
    return np.pad(np.asarray(plane, np.float64), REACH, constant_values=np.nan)


def _known(variance: np.ndarray | None, good: np.ndarray) -> np.ndarray:
    """Variance without gaps, filled by medians; all NaN where it isn't given."""
    if variance is None:
        return np.full(good.shape, np.nan)
    padded = _padded(variance)
    return fill(padded[None], (np.isfinite(padded) & good)[None], reach=REACH)[0]


def _warped(image: np.ndarray, variance: np.ndarray, nodes: Nodes, shape: tuple[int, int], kernel: str) -> Warped:
    mask = np.zeros(image.shape, np.int32)
    return warp_image(image, variance, mask, nodes, shape=shape, kernel=kernel, conserve="brightness", dtype=np.float64)
