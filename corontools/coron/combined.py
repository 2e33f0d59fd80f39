"""CombinedImage: all residuals of a target, north up, in one image (`_i2d`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from corontools.arrays.noise import smooth_positive
from corontools.arrays.resample import resample
from corontools.coron.contrast import ContrastCurve, measure
from corontools.coron.grid import north_up, positions
from corontools.coron.klip import KlipResult
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.result import Result, call, code_of

__all__ = ["CombinedImage", "combine"]


@dataclass(frozen=True, eq=False, repr=False)
class CombinedImage(Result):
    """The mean of all integrations of all results, north up and east left, the star in the middle pixel.

    Attributes
    ----------
    image : Exposure, (y, x)
        Mean with its error; NaN (and DO_NOT_USE) where no integration has data.
    weight : ndarray, shape (y, x)
        Sum of the weights 1 / variance.
    count : ndarray of int, shape (y, x)
        Integrations that contribute.
    """

    image: Exposure
    weight: np.ndarray
    count: np.ndarray

    @cached_property
    def snr(self) -> np.ndarray:
        """Image over its error."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.image.data / np.asarray(self.image.err)

    def contrast(self, width: float = 2, *, center: tuple[float, float] | str = "star") -> ContrastCurve:
        """1-sigma noise in rings; see `KlipResult.contrast`."""
        step = "." + call(CombinedImage.contrast, self, width, center=center)
        return measure(self.image, width=width, center=center, history=(*self.history, step))

    def save(
        self, path: str | os.PathLike[str], *, cards: Mapping[str, Any] | None = None, overwrite: bool = False
    ) -> Path:
        """Write the `_i2d` product (ImageModel, with the extensions WHT and CON)."""
        from corontools.coron.products import write_combined

        return write_combined(self, path, cards=cards, overwrite=overwrite)

    def _values(self) -> np.ndarray:
        return self.image.data

    def _rows(self) -> list[tuple[str, str]]:
        ny, nx = self.image.data.shape
        known = np.asarray(self.image.err)[np.isfinite(self.image.err)]  # type: ignore[arg-type]
        return [
            ("target", self.image.meta.title),
            ("image", f"{ny} x {nx} px, north up, up to {self.count.max()} integrations"),
            ("error", f"median {np.median(known):.3g} {self.image.meta.unit}" if known.size else "not known"),
        ]

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        return [quick.image_picture(self.image.data, "north up"), quick.image_picture(self.snr, "S/N")]


def combine(results: Sequence[KlipResult], *, anchor: Literal["star", "wcs"] = "star") -> CombinedImage:
    """Turn the residuals north up by their WCS and average them.

    Weights are the inverse of the locally smoothed variance, so that a pixel's weight doesn't follow its own chance
    error. Photon and read noise average down over all integrations; what speckles leave is the same in all
    integrations of an exposure, so it averages down over exposures only.

    Parameters
    ----------
    results : sequence of KlipResult
        One for each science exposure, at the number of modes wanted.
    anchor : str
        "star": rotation, scale and distortion come from the WCS, and each exposure's star (`meta.center`) comes to lie
        on the same pixel. "wcs": positions come from the WCS alone, pointing errors included.

    Raises
    ------
    DataError
        If there is no result, one has no WCS, or units differ.
    """
    if not results:
        raise DataError("no result to combine; give at least one KlipResult")
    for result in results:
        _check(result, results[0])
    grid = north_up([result.target for result in results], anchor=anchor)
    total = _Sums(grid.shape)
    for result in results:
        x, y = positions(result.target, grid, anchor=anchor)
        total.add(_exposure_sums(result, x, y))
    first = results[0]
    named = "" if anchor == "star" else f", anchor={anchor!r}"
    alone = len(results) == 1 and not named
    history = (*first.history, ".combine()") if alone else (f"combine({code_of(list(results))}{named})",)
    meta = first.target.meta.with_(center=grid.center, pixel_scale=grid.pixel_scale, roll=None, history=history)
    data, err = total.mean()
    empty = np.isnan(data)
    image = Exposure(
        data=data,
        err=err,
        dq=np.where(empty, np.uint32(DQ.DO_NOT_USE), np.uint32(0)),
        meta=meta,
        wcs=grid.wcs,
    )
    return CombinedImage(image=image, weight=total.weight, count=total.count, history=history)


class _Sums:
    """Running sums over integrations: weight, weighted values, photon and speckle noise, number."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.weight, self.value, self.photon, self.speckle = np.zeros((4, *shape))
        self.count = np.zeros(shape, int)

    def add(self, other: _Sums) -> None:
        """Add the sums of an exposure, whose speckle noise is independent of the others'."""
        self.weight += other.weight
        self.value += other.value
        self.photon += other.photon
        self.speckle += np.square(other.speckle)  # an exposure's speckles add up linearly, exposures in quadrature
        self.count += other.count

    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and its error."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.value / self.weight, np.sqrt(self.photon + self.speckle) / self.weight


def _exposure_sums(result: KlipResult, x: np.ndarray, y: np.ndarray) -> _Sums:
    sums = _Sums(x.shape)
    shared, own = result.noise
    for frame, common, alone in zip(result.frames, shared, own, strict=True):
        known = bool((common + alone > 0).any())
        value, p, s = resample(
            frame,
            x,
            y,
            good=np.isfinite(frame),
            photon=alone if known else None,
            speckle=common if known else None,
        )
        weight = _weight(p + s, known)
        use = np.isfinite(value) & (weight > 0)
        sums.weight[use] += weight[use]
        sums.value[use] += (weight * value)[use]
        sums.photon[use] += (np.square(weight) * p)[use]
        sums.speckle[use] += (weight * np.sqrt(s))[use]
        sums.count += use
    return sums


def _weight(variance: np.ndarray, known: bool) -> np.ndarray:
    """Inverse of the smoothed variance; equal weights where no error is known."""
    if not known:
        return np.ones_like(variance)
    smooth = smooth_positive(variance.ravel(), np.arange(variance.size), variance.shape).reshape(variance.shape)
    with np.errstate(divide="ignore"):
        return np.where(smooth > 0, 1.0 / smooth, 0.0)


def _check(result: KlipResult, first: KlipResult) -> None:
    if result.target.wcs is None:
        raise DataError(
            f"{result.target._name} has no WCS, so north isn't known; give one with Exposure.with_(wcs=...)"
        )
    for what in ("unit", "filter"):
        a, b = getattr(first.target.meta, what), getattr(result.target.meta, what)
        if a != b:
            raise DataError(
                f"{what}s differ: {first.target._name} has {a or 'none'}, {result.target._name} has {b or 'none'}"
            )
