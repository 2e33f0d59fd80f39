"""CombinedImage: all residuals of a target, north up, in one image (`_i2d`)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from corontools.arrays.coadd import Sums, accumulate, medians, no_sums
from corontools.arrays.noise import smooth_positive
from corontools.arrays.radial import scatter_map
from corontools.arrays.turn import turn
from corontools.arrays.warp import lay_nodes
from corontools.coron.contrast import ContrastCurve, measure
from corontools.coron.grid import Grid, by_angle, mapping, north_up
from corontools.coron.klip import KlipResult
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.result import Result, call, code_of

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["CombinedImage", "Field", "combine", "turned_mean"]

# bit of an integration whose noise isn't known
UNKNOWN = np.int32(1)


@dataclass(frozen=True, eq=False, repr=False)
class CombinedImage(Result):
    """The mean of all integrations of all results, north up and east left, the star in the middle pixel.

    Attributes
    ----------
    image : Exposure, (y, x)
        Mean with its error; NaN (and DO_NOT_USE) where no integration has data.
    weight : ndarray, shape (y, x)
        Sum of the weights: 1 / variance, or 1 for a median.
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

    def recover(self, *, sep: float | Sequence[float], pa: float | Sequence[float]) -> QTable:
        """Look for sources whose places are known, such as those put in by `inject`, each with the others masked.

        Parameters
        ----------
        sep, pa : float or sequence of float
            Arcsec from the star and degrees east of north; one value serves all.

        Returns
        -------
        QTable
            Place given (sep, pa) and found (found_sep, found_pa: of the peak within 1.5 FWHM, NaN where there is none),
            the distance between them in px, S/N at the place given (`arrays.apertures.aperture_snr`) and its
            false-alarm probability.

        Raises
        ------
        DataError
            If the pixel scale or the width of the PSF isn't known, or there are more separations than angles.
        """
        from corontools.coron.recovery import recovered

        return recovered(self, sep, pa)

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


def combine(
    results: Sequence[KlipResult],
    *,
    anchor: Literal["star", "wcs"] = "star",
    how: Literal["mean", "median"] = "mean",
) -> CombinedImage:
    """Turn the residuals north up by their angles or their WCS and average them.

    Weights are the inverse of the locally smoothed variance, so that a pixel's weight doesn't follow its own chance
    error. Photon and read noise average down over all integrations; what speckles leave is the same in all
    integrations of an exposure, so it averages down over exposures only. With "adi" and "ardi" it is neither: the
    error is measured in the combined image, see `arrays.radial.scatter_map`.

    Parameters
    ----------
    results : sequence of KlipResult
        One for each science exposure, at the number of modes wanted.
    anchor : str
        "star": rotation, scale and distortion come from the WCS (rotation from `Exposure.angles` where they are
        given, no WCS is needed then), and each exposure's star (`meta.center`) comes to lie on the same pixel. "wcs":
        positions come from the WCS alone, pointing errors included.
    how : str
        "mean", weighted, or "median", of equal weights: its error is at most sqrt(pi / 2) that of the mean.

    Raises
    ------
    DataError
        If there is no result, one has neither angles nor a WCS, or units differ.
    """
    if not results:
        raise DataError("no result to combine; give at least one KlipResult")
    if how not in ("mean", "median"):
        raise DataError(f"frames are combined by 'mean' or 'median', found {how!r}")
    for result in results:
        _check(result, results[0], anchor)
    fields = [Field.of(result, anchor=anchor) for result in results]
    grid = north_up([exposure for field in fields for _, exposure in field.parts], anchor=anchor)
    stack = _Stack.empty(grid.shape)
    for field in fields:
        stack.add(field.turned(field.result.frames, grid), equal=how == "median")
    data, err = stack.mean() if how == "mean" else stack.median()
    if any(result.strategy != "rdi" for result in results):
        err = scatter_map(data, center=grid.center)
    history = _history(results, anchor, how)
    image = _image(results[0].target, grid, data, err, history)
    return CombinedImage(image=image, weight=stack.sums.weight, count=stack.sums.depth, history=history)


def _history(results: Sequence[KlipResult], anchor: str, how: str) -> tuple[str, ...]:
    by = "" if how == "mean" else f"how={how!r}"
    if len(results) == 1 and anchor == "star":
        return (*results[0].history, f".combine({by})")
    named = ("" if anchor == "star" else f", anchor={anchor!r}") + (by and f", {by}")
    return (f"combine({code_of(list(results))}{named})",)


def _image(target: Exposure, grid: Grid, data: np.ndarray, err: np.ndarray, history: tuple[str, ...]) -> Exposure:
    """The combined image, with what is known of the first science exposure."""
    scale = target.meta.pixel_scale if target.wcs is None else grid.pixel_scale
    return Exposure(
        data=data,
        err=err,
        dq=np.where(np.isnan(data), np.uint32(DQ.DO_NOT_USE), np.uint32(0)),
        meta=target.meta.with_(center=grid.center, pixel_scale=scale, roll=None, history=history),
        wcs=None if target.wcs is None else grid.wcs,
        angles=np.zeros(1) if target.wcs is None else None,
    )


class _Frame(NamedTuple):
    """One integration on the grid: values, variance of photons and of speckles, weight."""

    value: np.ndarray
    photon: np.ndarray
    speckle: np.ndarray
    weight: np.ndarray


class _Stack(NamedTuple):
    """Sums over integrations; for the median also their values and photon noise one by one."""

    sums: Sums
    speckle: np.ndarray
    single: list[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> _Stack:
        return cls(no_sums(shape), np.zeros(shape), [])

    def add(self, frames: Iterable[_Frame], *, equal: bool = False) -> None:
        """Add the integrations of an exposure, whose speckles are alike in all of them, and not in other exposures."""
        amplitude = np.zeros(self.speckle.shape)
        for frame in frames:
            value, photon, speckle, weight = frame
            unknown, w = np.isnan(photon + speckle), np.ones_like(weight) if equal else weight
            accumulate(self.sums, value, np.where(unknown, 0.0, photon), unknown * UNKNOWN, weight=w)
            amplitude += np.where(np.isfinite(value) & ~unknown, w * np.sqrt(speckle), 0.0)
            self.single.extend([(value, photon)] if equal else [])
        np.add(self.speckle, np.square(amplitude), out=self.speckle)

    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and its error."""
        return self.sums.mean, self._error(self.sums.variance)

    def median(self) -> tuple[np.ndarray, np.ndarray]:
        """Median of integrations of equal weight, and its error."""
        found = medians(*(np.array(planes) for planes in zip(*self.single, strict=True)))
        return found.image, self._error(found.variance)

    def _error(self, photon: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.sqrt(photon + self.speckle / np.square(self.sums.weight))
        known = (self.sums.depth > 0) & ((self.sums.bits & UNKNOWN) == 0)
        return np.where(known, error, np.nan)


@dataclass(frozen=True, eq=False)
class Field:
    """A result and its integrations by angle, to be turned north up."""

    result: KlipResult
    parts: Sequence[tuple[list[int], Exposure]]
    anchor: str

    @classmethod
    def of(cls, result: KlipResult, *, anchor: str = "star") -> Field:
        """See `combine` for the anchor."""
        return cls(result, by_angle(result.target), anchor)

    def turned(self, images: np.ndarray, grid: Grid) -> Iterator[_Frame]:
        """Images (n_int, y, x), the residuals or others with their noise, on the grid one by one."""
        shared, own = self.result.noise
        for integrations, exposure in self.parts:
            ny, nx = exposure.data.shape[-2:]
            nodes = lay_nodes(mapping(exposure, grid, anchor=self.anchor), grid.shape, source=(ny, nx))
            for i in integrations:
                common, alone = shared[i], own[i]
                known = bool((common + alone > 0).any())
                errors = {"photon": alone, "speckle": common} if known else {}
                value, p, s = turn(images[i], nodes, shape=grid.shape, **errors)
                yield _Frame(value, p, s, _weight(p + s, known))


def turned_mean(fields: Sequence[Field], images: Sequence[np.ndarray], grid: Grid) -> np.ndarray:
    """Mean (y, x) of images (n_int, y, x) of each result, turned and weighted as `combine` does its residuals."""
    stack = _Stack.empty(grid.shape)
    for field, own in zip(fields, images, strict=True):
        stack.add(field.turned(own, grid))
    return stack.sums.mean


def _weight(variance: np.ndarray, known: bool) -> np.ndarray:
    """Inverse of the smoothed variance; equal weights where no error is known."""
    if not known:
        return np.ones_like(variance)
    smooth = smooth_positive(variance.ravel(), np.arange(variance.size), variance.shape).reshape(variance.shape)
    with np.errstate(divide="ignore"):
        return np.where(smooth > 0, 1.0 / smooth, 0.0)


def _check(result: KlipResult, first: KlipResult, anchor: str) -> None:
    target = result.target
    if target.wcs is None and (target.angles is None or anchor == "wcs"):
        raise DataError(
            f"{target._name} has no WCS, so north isn't known; give one with Exposure.with_(wcs=...), or the position "
            "angles of its integrations with Exposure.with_(angles=...) and anchor='star'"
        )
    if _has_scale(target) != _has_scale(first.target):
        raise DataError(f"{target._name} or {first.target._name} has no pixel scale; give it with meta.with_")
    for what in ("unit", "filter"):
        a, b = getattr(first.target.meta, what), getattr(target.meta, what)
        if a != b:
            raise DataError(f"{what}s differ: {first.target._name} has {a or 'none'}, {target._name} has {b or 'none'}")


def _has_scale(target: Exposure) -> bool:
    return target.wcs is not None or bool(target.meta.pixel_scale)
