"""Images on another grid of pixels: value, variance and mask at once, and the flux is kept.

The value at a place is the sum of the pixels around it times K(x) K(y), over the sum of these weights, times the area
of the output pixel on the source. K is a Lanczos kernel sinc(x) sinc(x / n), |x| < n (Duchon 1979, J. Appl. Meteor. 18,
1016), or the triangle of bilinear interpolation. The variance is the sum of the squares of the same weights times the
variances; what neighbours then share isn't told. The kernels are tabled 4096 times per pixel and interpolated, within
3e-8 of their value in the middle.

Where the source lies is computed at every tenth pixel and interpolated linearly between these nodes: within h^2 / 8
(|f_xx| + |f_yy|) of the truth, which the second differences of the nodes tell. Where that is more than the tolerance
the nodes are laid closer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corontools.arrays._arguments import argument
from corontools.arrays.threads import in_threads
from corontools.errors import DataError

__all__ = ["KERNELS", "Nodes", "Warped", "lay_nodes", "warp_image", "warp_stamps"]

Floats = NDArray[np.float64]
Mapped = Callable[[Floats, Floats], tuple[Floats, Floats]]

# half the number of pixels that a kernel takes along an axis
KERNELS = {"bilinear": 1, "lanczos3": 3, "lanczos4": 4, "lanczos5": 5}
FINE = 4096
# rows that a thread takes at once
ROWS = 64


class Nodes(NamedTuple):
    """Where the source of the output's pixels lies, at every `step`-th of them.

    Attributes
    ----------
    places : ndarray, shape (2, n_y, n_x)
        0-based source y and x at the output pixels -1, step - 1, 2 step - 1 ...; NaN where there is none.
    step : int
        px.
    error : float
        By how much the places between can be off, px.
    """

    places: Floats
    step: int
    error: float


class Warped(NamedTuple):
    """Image, variance (both of one precision) and mask (int32) on the grid of the output."""

    image: NDArray[np.floating]
    variance: NDArray[np.floating]
    mask: NDArray[np.int32]


def lay_nodes(
    to_source: Mapped,
    shape: tuple[int, int],
    *,
    source: tuple[int, int] | None = None,
    step: int = 10,
    tolerance: float = 1e-3,
) -> Nodes:
    """Source places of the nodes of an output of this shape (y, x).

    Parameters
    ----------
    to_source : callable
        From output x, y to source x, y (float arrays, 0-based); NaN where the output has no place on the source.
    shape : (int, int)
    source : (int, int), optional
        Shape of the source, (y, x): the error counts where its pixels are.
    step : int
        px between the nodes.
    tolerance : float
        Greatest error, px: with a greater one the step is halved.

    Examples
    --------
    >>> nodes = lay_nodes(lambda x, y: (x + 1e-5 * x**2, y), (100, 100))
    >>> nodes.places.shape, nodes.step, round(nodes.error, 6)
    ((2, 11, 11), 10, 0.00025)
    """
    if step < 1:
        raise DataError(f"nodes stand 1 px apart or more, found {step}")
    y, x = (np.arange(-1.0, n + step - 1, step) for n in shape)
    xs, ys = np.meshgrid(x, y)
    source_x, source_y = to_source(xs.ravel(), ys.ravel())
    places = np.array([source_y, source_x], np.float64).reshape(2, *xs.shape)
    error = 0.0 if step == 1 else _error(places, source)
    if error > tolerance:
        return lay_nodes(to_source, shape, source=source, step=step // 2, tolerance=tolerance)
    return Nodes(places, step, error)


def _error(places: Floats, source: tuple[int, int] | None) -> float:
    """Bound of the error of linear interpolation by second differences, the greatest near the source."""
    if min(places.shape[1:]) < 3:  # too few nodes to tell: one of two cells as the other
        return 0.0
    inside = np.isfinite(places[0]) & np.isfinite(places[1])
    if source is not None:
        reach = np.nanmax(np.abs(np.diff(places, axis=2)), initial=0.0)
        for axis in range(2):
            inside &= (places[axis] > -1 - reach) & (places[axis] < source[axis] + reach)
    along_y, along_x = (np.hypot(*np.diff(places, 2, axis=axis)) for axis in (1, 2))
    bound = (along_y[:, 1:-1] + along_x[1:-1]) / 8
    return float(np.nanmax(bound[inside[1:-1, 1:-1]], initial=0.0))


def warp_image(
    image: ArrayLike,
    variance: ArrayLike,
    mask: ArrayLike,
    nodes: Nodes,
    *,
    shape: tuple[int, int],
    kernel: str = "lanczos3",
    conserve: str = "flux",
    grown: int = 0,
    incomplete: int = 0,
    missing: int = 0,
    dtype: type[np.floating] = np.float32,
) -> Warped:
    """Image, variance and mask on another grid of pixels.

    Parameters
    ----------
    image, variance : array, shape (y, x)
        Pixels where either isn't finite are left out of the sums; where the four pixels around the place hold one, or
        the kernel goes over the edge, the output is NaN and its variance infinite.
    mask : array of int, shape (y, x)
        The output has all bits of the (up to) four pixels around the place.
    nodes : Nodes
        See `lay_nodes`.
    shape : (int, int)
        Of the output, (y, x).
    kernel : {"lanczos3", "lanczos4", "lanczos5", "bilinear"}
    conserve : {"flux", "brightness"}
        What a pixel holds: flux, which goes with the area of the pixel, or surface brightness.
    grown : int
        Bits that the output takes from all pixels of the kernel.
    incomplete, missing : int
        Bits that are set where pixels were left out, and where there is nothing.
    dtype : {np.float32, np.float64}
        Precision in which image and variance are read and given back; sums are of float64.

    Raises
    ------
    DataError
        If there is no such kernel, the planes differ in shape, or the image is smaller than the kernel.

    Examples
    --------
    >>> nodes = lay_nodes(lambda x, y: (x / 2 + 8, y / 2 + 8), (4, 4))
    >>> ones = np.ones((20, 20), np.float32)
    >>> made = warp_image(ones, ones, 0 * ones, nodes, shape=(4, 4))
    >>> made.image[0, 0], made.variance[0, 0], made.mask[0, 0]
    (np.float32(0.25), np.float32(0.0625), np.int32(0))
    """
    from corontools.arrays._warp_kernels import warp_rows

    planes = _planes(image, variance, mask, dtype)
    table = kernel_table(kernel)
    if conserve not in ("flux", "brightness"):
        raise DataError(f'a warp conserves "flux" or "brightness", found {conserve!r}')
    near = _near(planes[2], grown, table.shape[1])
    out = Warped(np.empty(shape, dtype), np.empty(shape, dtype), np.empty(shape, np.int32))
    settings = (conserve == "flux", np.int32(incomplete), np.int32(missing))
    bands = [(first, min(first + ROWS, shape[0])) for first in range(0, shape[0], ROWS)]
    places = argument(nodes.places, np.float64)
    in_threads(lambda rows: warp_rows(planes, near, places, nodes.step, table, settings, rows, tuple(out)), bands)
    return out


def warp_stamps(
    stamps: ArrayLike, affines: ArrayLike, *, middle: ArrayLike, offset: ArrayLike, size: int, kernel: str = "lanczos3"
) -> Floats:
    """Small images under linear maps, nothing outside of them; not normalised.

    Parameters
    ----------
    stamps : array, shape (n, h, w)
    affines : array, shape (n, 2, 2)
        From output (y, x) to source (y, x).
    middle : array, shape (n, 2)
        Place (y, x) on the stamp that comes to `offset`.
    offset : array, shape (n, 2)
        Place (y, x) on the output from its middle pixel.
    size : int
        Odd side of the output.

    Returns
    -------
    ndarray, shape (n, size, size)

    Examples
    --------
    >>> stamp = np.zeros((1, 5, 5)); stamp[0, 2, 2] = 1
    >>> made = warp_stamps(stamp, [np.eye(2)], middle=[(2, 2)], offset=[(0, 1)], size=5)
    >>> np.argwhere(made > 0.5).tolist()
    [[0, 2, 3]]
    """
    from corontools.arrays import _warp_kernels

    places = np.hstack([middle, offset])
    pixels, affine = (argument(np.asarray(array), np.float64) for array in (stamps, affines))
    out = np.empty((len(pixels), size, size))
    _warp_kernels.warp_stamps(pixels, argument(places, np.float64), affine, kernel_table(kernel), out)
    return out


@lru_cache(maxsize=len(KERNELS))
def kernel_table(kernel: str) -> Floats:
    """Weights of the pixels around a place, for fractions of a pixel from 0 to 1 in steps of 1/4096: (4097, 2 n)."""
    if kernel not in KERNELS:
        raise DataError(f"there is no kernel {kernel!r}; there are {', '.join(KERNELS)}")
    n = KERNELS[kernel]
    away = np.arange(FINE + 1)[:, None] / FINE - np.arange(-n + 1, n + 1)
    if kernel == "bilinear":
        return np.clip(1 - np.abs(away), 0, None)
    return np.where(np.abs(away) < n, np.sinc(away) * np.sinc(away / n), 0.0)


def _planes(image: ArrayLike, variance: ArrayLike, mask: ArrayLike, dtype: type[np.floating]) -> Warped:
    values, variances, bits = (np.asarray(plane) for plane in (image, variance, mask))
    made = Warped(argument(values, dtype), argument(variances, dtype), argument(bits, np.int32))
    if made.image.ndim != 2 or not made.image.shape == made.variance.shape == made.mask.shape:
        raise DataError(f"image, variance and mask should be (y, x) and alike, found {[p.shape for p in made]}")
    return made


def _near(mask: NDArray[np.int32], grown: int, side: int) -> NDArray[np.int32]:
    """Grown bits in the pixels of the kernel, by the first of these; without any an empty array."""
    from corontools.arrays._warp_kernels import spread_bits

    if not grown or not (mask & np.int32(grown)).any():
        return np.empty((0, 0), np.int32)
    out = np.zeros(mask.shape, np.int32)
    spread_bits(mask, np.int32(grown), side, out)
    return out
