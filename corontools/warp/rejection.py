"""ArtifactRejection: satellite trails, ghosts and whatever else is in few of the epochs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from corontools.arrays.artifacts import drawn, few_epochs, rare, significance, spots
from corontools.calibrate.masked import MaskedImage
from corontools.errors import DataError
from corontools.warp.layers import Clip, Layer, Stacked, mapped, stacked

__all__ = ["ArtifactRejection", "Artifacts", "frame_of"]


@dataclass(frozen=True, eq=False)
class Artifacts:
    """What was found in PSF-matched images.

    Attributes
    ----------
    hidden : tuple of ndarray of int64
        Of each epoch: places in the flattened image that show an artefact, in rising order.
    regions : tuple of int
        Regions of each epoch.
    count : ndarray of int32, shape (y, x)
        Epochs that differ from the static sky.
    static : Stacked
        The static sky.
    """

    hidden: tuple[np.ndarray, ...]
    regions: tuple[int, ...]
    count: np.ndarray
    static: Stacked

    def mask(self, epoch: int) -> np.ndarray:
        """Where an epoch shows an artefact, (y, x) of bool."""
        mask = np.zeros(self.count.shape, bool)
        mask.reshape(-1)[self.hidden[epoch]] = True
        return mask


@dataclass(frozen=True)
class ArtifactRejection:
    """Compares PSF-matched warps with the static sky that they make together.

    Connected regions that stand out of it, positive or negative, are artefacts if most of their pixels differ in few
    epochs only; they are left out of the warps of these epochs. What varies differs in many epochs, and stays. A source
    that flares up in so few epochs goes too.

    Parameters
    ----------
    threshold : float
        Significance of the regions, in standard deviations of the difference.
    seen : float
        Significance from which a pixel differs in an epoch.
    min_pixels : int
        Least pixels of a region.
    grow : int
        Pixels by which regions are grown.
    tolerance : float
        Part of the static sky that PSF matching may leave, as one standard deviation.
    epochs : (int, float, float)
        How many epochs are few: the least of the second number times all, and the first plus the third times all; of
        the epochs that cover the pixel.
    static : "median" or Clip
        Statistic of the static sky.

    Raises
    ------
    DataError
        If a number isn't positive.

    Examples
    --------
    >>> image = np.random.default_rng(1).normal(0, 1, (4, 60, 60)).astype(np.float32); image[2, 10:13] += 20
    >>> ones, none = np.ones((60, 60), np.float32), np.zeros((60, 60), np.int32)
    >>> found = ArtifactRejection(grow=0).find([MaskedImage(one, none, ones) for one in image])
    >>> found.regions, bool(found.mask(2)[10:13].all())
    ((0, 0, 1, 0), True)
    """

    threshold: float = 5.0
    seen: float = 2.5
    min_pixels: int = 5
    grow: int = 3
    tolerance: float = 0.03
    epochs: tuple[int, float, float] = (2, 0.4, 0.03)
    static: str | Clip = "median"

    def __post_init__(self) -> None:
        if not (self.threshold >= self.seen > 0 and self.min_pixels >= 1 and min(self.grow, self.tolerance) >= 0):
            raise DataError(f"threshold >= seen > 0, min_pixels >= 1, grow and tolerance >= 0 are needed; found {self}")
        if self.static != "median" and not isinstance(self.static, Clip):
            raise DataError(f"the static sky is 'median' or Clip(...), found {self.static!r}")

    def find(self, matched: Sequence[Any], *, scales: Sequence[float] | None = None, left_out: int = 0) -> Artifacts:
        """Artefacts of PSF-matched images.

        Parameters
        ----------
        matched : sequence of MaskedImage
            On the same pixels, with the same PSF; planes may be mapped from files.
        scales : sequence of float, optional
            By which each is multiplied.
        left_out : int
            Planes of pixels that don't count; those without a value never do.
        """
        factors = [1.0] * len(matched) if scales is None else list(scales)
        layers = [Layer(frame, 1.0, scale) for frame, scale in zip(matched, factors, strict=True)]
        static = stacked(layers, statistic=self.static, left_out=left_out)
        most, low, high = self.epochs
        limit = few_epochs(static.depth, most=most, low=low, high=high)
        if not limit.any():
            text = (
                f"artefacts can't be told from what varies in {static.depth.max()} epochs, none is looked for; "
                "3 are needed"
            )
            warnings.warn(text, stacklevel=3)
            nothing = np.empty(0, np.int64)
            return Artifacts((nothing,) * len(layers), (0,) * len(layers), np.zeros(static.depth.shape, int), static)
        return self._found(layers, static, limit, left_out)

    def _found(self, layers: Sequence[Layer], static: Stacked, limit: np.ndarray, left_out: int) -> Artifacts:
        count, found = np.zeros(static.depth.shape, np.int32), []
        for layer in layers:
            away = self._significance(layer, static, left_out)
            with np.errstate(invalid="ignore"):
                count += np.abs(away) > self.seen
            found.append(spots(away, threshold=self.threshold, min_pixels=self.min_pixels))
        kept = [rare(one, count, limit=limit) for one in found]
        hidden = tuple(np.flatnonzero(drawn(one, layers[0].frame.shape, grow=self.grow)) for one in kept)
        return Artifacts(hidden, tuple(int(np.unique(one.labels).size) for one in kept), count, static)

    def _significance(self, layer: Layer, static: Stacked, left_out: int) -> np.ndarray:
        image, variance = layer.values(slice(0, layer.frame.shape[0]), left_out)
        layer.release()
        # where no other epoch has a value there is nothing to compare with
        model = np.where(static.depth > 1, static.image, np.float32(np.nan))
        return significance(image, variance, model, static.variance, tolerance=self.tolerance)


def frame_of(given: Any, shape: tuple[int, int]) -> MaskedImage:
    """Planes of a PSF-matched image: itself, that of a file, or that of what a matcher made.

    Raises
    ------
    DataError
        If it is none of these or has another shape.
    """
    found = given
    if isinstance(given, str | os.PathLike):
        found = mapped(given)
    elif not isinstance(given, MaskedImage):
        found = getattr(given, "frame", None)
    if not isinstance(found, MaskedImage):
        raise DataError(f"a PSF-matched image is a matched Warp, a MaskedImage or a file, found {type(given).__name__}")
    if found.shape != shape:
        raise DataError(f"a PSF-matched image has {found.shape} px, its warp {shape}; cut it to the patch")
    return found
