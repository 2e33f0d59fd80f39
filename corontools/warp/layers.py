"""Layers: the images of a coadd, of which only some rows are in memory at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from corontools import fits as files
from corontools.arrays.coadd import Sums, accumulate, medians, no_sums, outliers
from corontools.arrays.threads import in_threads
from corontools.calibrate.masked import MaskedImage
from corontools.errors import DataError

__all__ = ["Clip", "Layer", "Stacked", "mapped", "stacked"]

# values of a block, of all layers together
BLOCK = 1 << 20
PLANES = ("IMAGE", "MASK", "VARIANCE")


@dataclass(frozen=True)
class Clip:
    """Mean without outliers, which are found one after the other by comparison with the mean of the others.

    Parameters
    ----------
    sigma : float
        Standard deviations of that difference beyond which a value is left out.
    amplitude : float
        Part of the median by which values may differ besides, for seeing that changes.
    maxiters : int, optional
        Most values that are left out of a pixel.

    Raises
    ------
    DataError
        If sigma isn't positive, or amplitude or maxiters are negative.
    """

    sigma: float = 4.0
    amplitude: float = 0.3
    maxiters: int | None = None

    def __post_init__(self) -> None:
        if not (0 < self.sigma < math.inf and 0 <= self.amplitude < math.inf and (self.maxiters or 0) >= 0):
            raise DataError(f"clipping needs a positive sigma, amplitude and maxiters of 0 or more; found {self}")


@dataclass(frozen=True, eq=False)
class Layer:
    """One image, in memory or mapped from its file.

    Attributes
    ----------
    frame : MaskedImage
    weight : float
        Of the image times `scale`.
    scale : float
    hidden : ndarray of int64, shape (n,)
        Places in the flattened image that don't count, in rising order.
    """

    frame: MaskedImage
    weight: float = 1.0
    scale: float = 1.0
    hidden: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def skip(self, rows: slice) -> np.ndarray:
        """Where nothing counts in some rows, (y, x) of bool."""
        nx = self.frame.shape[1]
        first, last = np.searchsorted(self.hidden, (rows.start * nx, rows.stop * nx))
        out = np.zeros((rows.stop - rows.start, nx), bool)
        out.reshape(-1)[self.hidden[first:last] - rows.start * nx] = True
        return out

    def values(self, rows: slice, left_out: int) -> tuple[np.ndarray, np.ndarray]:
        """Scaled image and variance of some rows, float32; NaN where nothing counts."""
        image, variance = (np.asarray(plane[rows], np.float32) for plane in (self.frame.image, self.frame.variance))
        mask, scale, lost = np.asarray(self.frame.mask[rows], np.int32), np.float32(self.scale), np.float32(np.nan)
        gone = ((mask & np.int32(left_out)) != 0) | self.skip(rows) | ~np.isfinite(variance) | ~(variance >= 0)
        return np.where(gone, lost, image * scale), np.where(gone, lost, variance * scale**2)

    def add_to(self, sums: Sums, rows: slice, left_out: int, skip: np.ndarray) -> None:
        """Add some rows to sums of these rows."""
        image, variance, mask = (plane[rows] for plane in self._planes)
        accumulate(sums, image, variance, mask, weight=self.weight, scale=self.scale, left_out=left_out, skip=skip)

    def release(self) -> None:
        """Let the system take back what was read of a file."""
        for plane in self._planes:
            files.release(plane)

    @property
    def _planes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.frame.image, self.frame.variance, self.frame.mask


@dataclass(frozen=True, eq=False)
class Stacked:
    """What layers make, all (y, x).

    Attributes
    ----------
    image, variance : ndarray of float32
        NaN and infinite where nothing counts.
    weight : ndarray of float32
        Sum of the weights of what counts.
    depth, bits, lost : ndarray of int32
        As of `arrays.coadd.Sums`.
    clipped : ndarray of bool
        Where an outlier was left out.
    counts : ndarray of int64, shape (layers,)
        Outliers of each layer.
    """

    image: np.ndarray
    variance: np.ndarray
    weight: np.ndarray
    depth: np.ndarray
    bits: np.ndarray
    lost: np.ndarray
    clipped: np.ndarray
    counts: np.ndarray

    @classmethod
    def empty(cls, shape: tuple[int, int], n: int) -> Stacked:
        """To be filled block by block."""
        image, variance, weight = (np.empty(shape, np.float32) for _ in range(3))
        depth, bits, lost = (np.empty(shape, np.int32) for _ in range(3))
        return cls(image, variance, weight, depth, bits, lost, np.zeros(shape, bool), np.zeros(n, np.int64))

    @classmethod
    def of(cls, sums: Sums) -> Stacked:
        """A mean of which nothing was clipped."""
        image, variance, weight = (array.astype(np.float32) for array in (sums.mean, sums.variance, sums.weight))
        clipped = np.zeros(sums.depth.shape, bool)
        return cls(image, variance, weight, sums.depth, sums.bits, sums.lost, clipped, np.zeros(0, np.int64))


def stacked(layers: Sequence[Layer], *, statistic: str | Clip, left_out: int) -> Stacked:
    """Mean, clipped mean or median of layers, one block of rows after the other.

    Parameters
    ----------
    layers : sequence of Layer
        Of one shape.
    statistic : {"mean", "median"} or Clip
    left_out : int
        Planes of pixels that don't count.
    """
    shape = layers[0].frame.shape
    out = Stacked.empty(shape, len(layers))

    def fill(rows: slice) -> np.ndarray:
        return _filled(out, layers, rows, statistic, left_out)

    counts = in_threads(fill, _blocks(shape[0], len(layers) * shape[1]))
    out.counts[:] = np.sum(counts, axis=0)
    return out


def mapped(path: str | os.PathLike[str]) -> MaskedImage:
    """IMAGE, MASK and VARIANCE of a file, mapped: only what is looked at is read.

    Raises
    ------
    DataError
        If the file can't be read or lacks one of them.
    """
    found = {hdu.name: hdu for hdu in files.read(path)}
    lost = [name for name in PLANES if name not in found or found[name].data is None]
    if lost:
        raise DataError(f"{Path(path).name} has no {', '.join(lost)}; give a file that Warp.save wrote")
    return MaskedImage(*(_mapped(found[name]) for name in PLANES))


def _mapped(hdu: files.Extension) -> np.ndarray:
    """The pixels; integers are taken from the mapped bytes, for `files.read` loads them."""
    data = np.asarray(hdu.data)
    if data.dtype.kind != "i" or "BZERO" in hdu.header or "ZIMAGE" in hdu.header:
        return data
    kind = np.dtype(f">i{abs(hdu.header['BITPIX']) // 8}")
    size = data.size * kind.itemsize
    start = hdu.raw.size - -(-size // files.BLOCK) * files.BLOCK
    return hdu.raw[start : start + size].view(kind).reshape(data.shape)


def _blocks(ny: int, values: int) -> Iterator[slice]:
    """Blocks of rows, `values` of them in one row of all layers."""
    step = max(1, BLOCK // values)
    return (slice(start, min(start + step, ny)) for start in range(0, ny, step))


def _filled(out: Stacked, layers: Sequence[Layer], rows: slice, statistic: str | Clip, left_out: int) -> np.ndarray:
    """Fill some rows; gives how many outliers each layer has there."""
    shape = (len(layers), rows.stop - rows.start, out.image.shape[1])
    gone = np.array([layer.skip(rows) for layer in layers])
    median = None
    if statistic != "mean":
        values, variances = np.empty(shape, np.float32), np.empty(shape, np.float32)
        for i, layer in enumerate(layers):
            values[i], variances[i] = layer.values(rows, left_out)
        if isinstance(statistic, Clip):
            clipped = outliers(
                values, variances, sigma=statistic.sigma, amplitude=statistic.amplitude, maxiters=statistic.maxiters
            )
            gone |= clipped
        else:
            median = medians(values, variances)
    sums = no_sums(shape[1:])
    for i, layer in enumerate(layers):
        layer.add_to(sums, rows, left_out, gone[i])
        layer.release()
    found = sums if median is None else median
    mean = found.mean if isinstance(found, Sums) else found.image
    out.image[rows], out.variance[rows], out.weight[rows] = mean, found.variance, sums.weight
    out.depth[rows], out.bits[rows], out.lost[rows] = sums.depth, sums.bits, sums.lost
    if not isinstance(statistic, Clip):
        return np.zeros(len(layers), np.int64)
    out.clipped[rows] = clipped.any(axis=0)
    return clipped.sum(axis=(1, 2))
