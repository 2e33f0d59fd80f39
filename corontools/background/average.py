"""The mean of background exposures, one block of rows after the other."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from corontools.arrays.combine import Combined, Rejection, combine, excess_scatter
from corontools.arrays.rejected import rejected
from corontools.background.place import Area
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.fits import release
from corontools.meta import Meta
from corontools.progress import progress

__all__ = ["Average", "Choice", "Stack", "average", "stack"]

# values of a block, of all images together
BLOCK = 1 << 18
# rows, evenly spread, that tell how large the scatter is
SAMPLE = 64
TILTS = ("GWA_XTIL", "GWA_YTIL")


@dataclass(frozen=True)
class Choice:
    """How values are rejected, see `arrays.combine.combine`."""

    reject: Rejection
    sigma: float
    maxiters: int | None

    def __post_init__(self) -> None:
        if self.reject not in ("leave_one_out", "sigma_clip", "none"):
            raise DataError(f"reject is one of 'leave_one_out', 'sigma_clip', 'none'; found {self.reject!r}")
        if not 0 < self.sigma < math.inf:
            raise DataError(f"sigma should be a positive number, found {self.sigma}")
        if self.maxiters is not None and self.maxiters < 0:
            raise DataError(f"maxiters should be 0 or more, or None for as many as it takes; found {self.maxiters}")

    def combined(self, values: Any, errors: Any, flags: Any, excess: float) -> Combined:
        """Mean of images (n, y, x)."""
        return combine(values, errors, flags, **self._rule(excess))

    def rejected(self, values: Any, errors: Any, flags: Any, excess: float) -> np.ndarray:
        """Values (n, y, x) that `combined` leaves out."""
        return rejected(values, errors, flags, **self._rule(excess))

    def _rule(self, excess: float) -> dict[str, Any]:
        limit = max(1.0, excess) if math.isfinite(excess) else 1.0
        return {"reject": self.reject, "sigma": self.sigma, "maxiters": self.maxiters, "excess": limit}


@dataclass(frozen=True, eq=False)
class Layer:
    """One exposure as one image."""

    data: np.ndarray
    err: np.ndarray | None
    dq: np.ndarray | None
    area: Area
    meta: Meta


@dataclass(frozen=True, eq=False)
class Average:
    """Mean of exposures on the smallest area that holds them all.

    Attributes
    ----------
    image, err : ndarray, shape (y, x)
        NaN where no exposure has a usable pixel; err is None where nothing tells it.
    dq : ndarray of uint32, shape (y, x)
    count : ndarray of int32, shape (y, x)
        Exposures in the mean.
    area : Area
    meta : Meta
        Of the first exposure.
    tilts : tuple of (float, float) or None
        Of the grating wheel, of each exposure that has them.
    excess : float
        Scatter between exposures in units of their errors; NaN where these aren't known.
    """

    image: np.ndarray
    err: np.ndarray | None
    dq: np.ndarray
    count: np.ndarray
    area: Area
    meta: Meta
    tilts: tuple[tuple[float, float], ...]
    excess: float


@dataclass(frozen=True, eq=False)
class Stack:
    """Exposures on the area of their mean.

    Attributes
    ----------
    images : ndarray, shape (n, y, x)
        NaN where an exposure has no pixel; of rateints the mean over integrations.
    rejected : ndarray of bool, shape (n, y, x)
        Values that could be used and were left out.
    names : tuple of str
        Of each exposure.
    """

    images: np.ndarray
    rejected: np.ndarray
    names: tuple[str, ...]


def average(exposures: Sequence[Exposure | str | os.PathLike[str]], choice: Choice) -> Average:
    """See `BackgroundModel.from_exposures`."""
    layers = _layers(exposures, choice)
    area = _whole(layers)
    excess = _excess_between(layers, area)
    image, err, dq, count = _mean(layers, area, choice, excess)
    if not count.any():
        names = ", ".join(layer.meta.filename or layer.meta.title for layer in layers)
        raise DataError(f"no background pixel is usable: all are missing or have DO_NOT_USE ({names}); give others")
    tilts = tuple(t for layer in layers if (t := tilt(layer.meta)) is not None)
    known = _errors_known(layers)
    return Average(image, err, dq, count, area, layers[0].meta, tilts, excess if known else math.nan)


def stack(exposures: Sequence[Exposure | str | os.PathLike[str]], choice: Choice) -> Stack:
    """See `BackgroundModel.stack`."""
    layers = _layers(exposures, choice)
    area = _whole(layers)
    known, excess = _errors_known(layers), _excess_between(layers, area)
    shape = (len(layers), area.ny, area.nx)
    images = np.empty(shape, np.result_type(np.float32, *(layer.data.dtype for layer in layers)))
    rejected = np.empty(shape, bool)
    for block, values, errors, flags in _parts(layers, area, images.dtype):
        images[:, block] = values
        rejected[:, block] = choice.rejected(values, errors if known else None, flags, excess)
    return Stack(images, rejected, tuple(layer.meta.filename or layer.meta.title for layer in layers))


def tilt(meta: Meta) -> tuple[float, float] | None:
    """Tilt of NIRSpec's grating wheel, along x and y; None where the header doesn't tell."""
    x, y = (meta.card(key) for key in TILTS)
    return None if x is None or y is None else (float(x), float(y))


def _check_unit(first: Meta, other: Meta) -> None:
    if first.unit and other.unit and first.unit != other.unit:
        raise DataError(
            f"unit differs: {first.filename or first.title} has {first.unit}, {other.filename or other.title} has "
            f"{other.unit}; convert one of them"
        )


def _layers(exposures: Sequence[Exposure | str | os.PathLike[str]], choice: Choice) -> list[Layer]:
    """Exposures as images whose places are known as far as can be."""
    if isinstance(exposures, Exposure | str | os.PathLike) or not len(exposures):
        raise DataError("give a list of one or more background exposures (or FITS files)")
    layers: list[Layer] = []
    with progress(exposures, "background", "exposure") as each:
        for given in each:
            layers.append(_layer(given, choice))
            _check_unit(layers[0].meta, layers[-1].meta)
    return _placed(layers)


def _whole(layers: Sequence[Layer]) -> Area:
    """The smallest area that holds all of them."""
    return functools.reduce(Area.union, (layer.area for layer in layers))


def _placed(layers: Sequence[Layer]) -> list[Layer]:
    """Layers whose place isn't known lie where the first known one of their size does."""
    known = [layer.area for layer in layers if layer.area.known]
    return [replace(layer, area=functools.reduce(Area.beside, known, layer.area)) for layer in layers]


def _layer(given: Exposure | str | os.PathLike[str], choice: Choice) -> Layer:
    """An exposure as one image: a rate as it is, the mean of rateints, made one block of rows after the other."""
    exposure = given if isinstance(given, Exposure) else Exposure.read(given)
    if exposure.data.ndim not in (2, 3):
        raise DataError(
            f"{exposure._name}: a background is a rate (y, x) or rateints (n_int, y, x), found {exposure.shape}"
        )
    area, meta = Area.of(exposure), exposure.meta
    if exposure.data.ndim == 2:
        rows = slice(0, exposure.shape[0])
        err = exposure.err if exposure.err is not None or not exposure.variances else _errors(exposure, rows)
        return Layer(exposure.data, err, exposure.dq, area, meta)
    # the flags of all integrations are as large as the data: they go before these are read
    flags, bad = (None, None) if exposure.dq is None else _folded(exposure.dq)
    exposure = exposure.with_(dq=None)
    return Layer(*_over_integrations(exposure, bad, choice), flags, area, meta)


def _folded(dq: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flags of all integrations combined by OR, (y, x), and where DO_NOT_USE is, (n_int, y, x)."""
    flags, bad = np.zeros(dq.shape[1:], np.uint32), np.empty(dq.shape, bool)
    for one, where in zip(dq, bad, strict=True):
        flags |= one
        np.not_equal(one & np.uint32(DQ.DO_NOT_USE), 0, out=where)
    return flags, bad


def _over_integrations(exposure: Exposure, bad: np.ndarray | None, choice: Choice) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the integrations and its error, (y, x)."""
    n, ny, nx = exposure.shape
    known = exposure.err is not None or bool(exposure.variances)
    excess = _excess_within(exposure, bad, known)
    image, err = _empty((ny, nx), exposure.data.dtype)
    for block in _blocks(ny, n * nx):
        here = (slice(None), block)
        errors, flags = _errors(exposure, here) if known else None, None if bad is None else bad[here]
        found = choice.combined(exposure.data[here], errors, flags, excess)
        image[block], err[block] = found.mean, np.sqrt(found.variance) * (1.0 if known else excess)
        release(exposure.data)
    return image, err


def _excess_within(exposure: Exposure, bad: np.ndarray | None, known: bool) -> float:
    """Scatter between the integrations, from some rows."""
    n, ny, _ = exposure.shape
    rows = np.unique(np.linspace(0, ny - 1, min(SAMPLE, ny)).astype(int))
    values, errors = [], []
    for i in range(n):
        given = exposure.data[i, rows]
        values.append(given if bad is None else np.where(bad[i, rows], np.nan, given))
        errors += [_errors(exposure, (i, rows))] if known else []
        release(exposure.data)
    return excess_scatter(values, errors or None)


def _mean(
    layers: Sequence[Layer], area: Area, choice: Choice, excess: float
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray]:
    """Mean of the layers where each of them lies."""
    kind = np.result_type(*(layer.data.dtype for layer in layers))
    shape = (area.ny, area.nx)
    image, err = _empty(shape, kind)
    dq, count = np.empty(shape, np.uint32), np.empty(shape, np.int32)
    known = _errors_known(layers)
    for block, values, errors, flags in _parts(layers, area, image.dtype):
        found = choice.combined(values, errors if known else None, flags, excess)
        image[block], dq[block], count[block] = found.mean, found.flags, found.kept
        err[block] = np.sqrt(found.variance) * (1.0 if known else excess)  # else it is in units of the scatter
    dq[count == 0] |= np.uint32(DQ.DO_NOT_USE)
    return image, err if np.isfinite(err).any() else None, dq, count


def _parts(
    layers: Sequence[Layer], area: Area, kind: Any
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of the area, and what all layers have there: values, errors and flags, (n, y, x)."""
    for block in _blocks(area.ny, len(layers) * area.nx):
        part = Area(area.x, area.y + block.start, area.nx, block.stop - block.start)
        shape = (len(layers), part.ny, part.nx)
        values, errors = np.full(shape, np.nan, kind), np.full(shape, np.nan, kind)
        flags = np.zeros(shape, np.uint32)
        for i, layer in enumerate(layers):
            _place(layer, part, values[i], errors[i], flags[i])
        yield block, values, errors, flags


def _errors_known(layers: Sequence[Layer]) -> bool:
    return all(layer.err is not None for layer in layers)


def _place(layer: Layer, part: Area, values: np.ndarray, errors: np.ndarray, flags: np.ndarray) -> None:
    """Write a layer into the arrays of a part of the area."""
    found = part.overlap(layer.area)
    if found is None:
        return
    here, there = found
    values[here] = layer.data[there]
    if layer.err is not None:
        errors[here] = layer.err[there]
    if layer.dq is not None:
        flags[here] = layer.dq[there]


def _excess_between(layers: Sequence[Layer], area: Area) -> float:
    """Scatter between the layers, from some rows of the area."""
    rows = np.unique(np.linspace(0, area.ny - 1, min(SAMPLE, area.ny)).astype(int))
    shape = (len(layers), rows.size, area.nx)
    values, errors = np.full(shape, np.nan), np.full(shape, np.nan)
    flags = np.zeros(shape, np.uint32)
    for i, layer in enumerate(layers):
        for k, row in enumerate(rows):
            part = Area(area.x, area.y + int(row), area.nx, 1)
            _place(layer, part, values[i, k : k + 1], errors[i, k : k + 1], flags[i, k : k + 1])
    values[(flags & np.uint32(DQ.DO_NOT_USE)) != 0] = np.nan
    return excess_scatter(values, errors if _errors_known(layers) else None)


def _empty(shape: tuple[int, int], kind: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Two images of the machine's byte order."""
    native = np.float64 if kind.itemsize == 8 else np.float32
    return np.empty(shape, native), np.empty(shape, native)


def _blocks(ny: int, values: int) -> Iterator[slice]:
    """Blocks of rows, `values` of them in one row of all images."""
    step = max(1, BLOCK // values)
    return (slice(start, min(start + step, ny)) for start in range(0, ny, step))


def _errors(exposure: Exposure, where: Any) -> np.ndarray:
    """Part of the errors, from the variances where there are no others."""
    if exposure.err is not None:
        return exposure.err[where]
    variances = [np.asarray(value[where], np.float64) for value in exposure.variances.values()]
    return np.sqrt(np.sum(variances, axis=0))
