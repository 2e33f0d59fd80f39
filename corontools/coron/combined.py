"""CombinedImage: all residuals of a target, north up, in one image (`_i2d`)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from corontools.arrays.noise import smooth_positive
from corontools.arrays.radial import scatter_map
from corontools.arrays.resample import resample
from corontools.coron.contrast import ContrastCurve, measure
from corontools.coron.grid import Grid, by_angle, north_up, positions
from corontools.coron.klip import KlipResult
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.result import Result, call, code_of

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["CombinedImage", "Field", "combine", "turned_mean"]


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
    total, values = _Sums(grid.shape), []
    for field in fields:
        sums = _Sums(grid.shape)
        for frame in field.turned(field.result.frames, grid):
            sums.add_frame(frame if how == "mean" else frame.equal())
            values += [frame.value] if how == "median" else []
        total.add(sums)
    data, err = total.mean() if how == "mean" else total.median(values)
    if any(result.strategy != "rdi" for result in results):
        err = scatter_map(data, center=grid.center)
    history = _history(results, anchor, how)
    image = _image(results[0].target, grid, data, err, history)
    return CombinedImage(image=image, weight=total.weight, count=total.count, history=history)


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

    def equal(self) -> _Frame:
        """The same with weight 1."""
        return self._replace(weight=np.ones_like(self.weight))


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

    def add_frame(self, frame: _Frame) -> None:
        """Add an integration of the same exposure."""
        value, p, s, weight = frame
        use = np.isfinite(value) & (weight > 0)
        self.weight[use] += weight[use]
        self.value[use] += (weight * value)[use]
        self.photon[use] += (np.square(weight) * p)[use]
        self.speckle[use] += (weight * np.sqrt(s))[use]
        self.count += use

    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and its error."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.value / self.weight, np.sqrt(self.photon + self.speckle) / self.weight

    def median(self, values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Median of the frames that were added with equal weights, and its error; that of two is their mean."""
        with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)  # where no frame has data the median is NaN
            photon = self.photon * np.where(self.count > 2, np.pi / 2, 1.0)
            return np.nanmedian(values, axis=0), np.sqrt(photon + self.speckle) / self.weight


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
            x, y = positions(exposure, grid, anchor=self.anchor)
            for i in integrations:
                common, alone = shared[i], own[i]
                known = bool((common + alone > 0).any())
                value, p, s = resample(
                    images[i],
                    x,
                    y,
                    good=np.isfinite(images[i]),
                    photon=alone if known else None,
                    speckle=common if known else None,
                )
                yield _Frame(value, p, s, _weight(p + s, known))


def turned_mean(fields: Sequence[Field], images: Sequence[np.ndarray], grid: Grid) -> np.ndarray:
    """Mean (y, x) of images (n_int, y, x) of each result, turned and weighted as `combine` does its residuals."""
    total = _Sums(grid.shape)
    for field, own in zip(fields, images, strict=True):
        for frame in field.turned(own, grid):
            total.add_frame(frame)
    return total.mean()[0]


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
