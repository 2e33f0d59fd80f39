"""A background beside its target: the images that are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from corontools.background import subtract
from corontools.background.place import Area
from corontools.errors import DataError
from corontools.exposure import Exposure

if TYPE_CHECKING:
    from corontools.background.model import BackgroundModel

__all__ = ["Look", "mean_image", "onto"]


@dataclass(frozen=True, eq=False)
class Look:
    """Target, background and what is left, on the pixels of the target.

    Attributes
    ----------
    target : ndarray, shape (y, x)
        Of a cube the mean over integrations; NaN where no pixel is good.
    background : ndarray, shape (y, x)
        Scaled; NaN where none is known, everywhere where the fit has failed.
    mask : ndarray of bool, shape (y, x), or None
        True where the target shows background; None where nothing was fitted.
    """

    target: np.ndarray
    background: np.ndarray
    mask: np.ndarray | None = None

    @classmethod
    def of(cls, model: BackgroundModel, target: Exposure, image: np.ndarray | None = None) -> Look:
        """A background on a target; `image` is `mean_image(target)` where it is known.

        Raises
        ------
        DataError
            If the background has to be fitted first, unit or detector differ, or the two share no pixel.
        """
        model._check(target)
        subtract._check_detector(model, target)
        image = mean_image(target) if image is None else image
        if model.status == "FAILED":
            return cls(image, np.full(image.shape, np.nan), model.mask)
        if model.mask is not None and model.mask.shape != image.shape:
            raise DataError(
                f"the background was fitted to {model.mask.shape} px, {target._name} has {image.shape}; fit it to this "
                "target, model.fit(target)"
            )
        scaled = model._scaled()[0]
        # templates were cut to the target when they were fitted
        background = scaled if model.kind == "templates" else onto(target, model, scaled[None])[0]
        return cls(image, background, model.mask)

    @cached_property
    def residual(self) -> np.ndarray:
        """What is left of the target: all of it where the fit has failed."""
        return self.target - self.background if np.isfinite(self.background).any() else self.target

    def profile(self) -> np.ndarray:
        """Median of the residual of the background pixels of each column, (x,); NaN where there are none."""
        inside = np.isfinite(self.residual) if self.mask is None else self.mask & np.isfinite(self.residual)
        found = np.full(inside.shape[1], np.nan)
        some = inside.any(axis=0)
        found[some] = np.nanmedian(np.where(inside, self.residual, np.nan)[:, some], axis=0)
        return found


def mean_image(target: Exposure) -> np.ndarray:
    """Mean (y, x) of the good pixels over all integrations; NaN where there are none."""
    cube = target.cube
    total, number = np.zeros(cube.shape[1:]), np.zeros(cube.shape[1:], int)
    for plane, good in zip(cube.data, cube.good, strict=True):
        np.add(total, plane, out=total, where=good)
        number += good
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def onto(target: Exposure, model: BackgroundModel, images: np.ndarray) -> np.ndarray:
    """Images (n, y, x) on the area of a background, on the pixels of a target; NaN, or False, where there are none.

    Raises
    ------
    DataError
        If the two share no pixel.
    """
    area = Area.of(target)
    overlap = area.overlap(model.area.beside(area))
    if overlap is None:
        raise DataError(model._apart(target, area))
    here, there = overlap
    found = np.full((len(images), area.ny, area.nx), False if images.dtype.kind == "b" else np.nan, images.dtype)
    found[:, here[0], here[1]] = images[:, there[0], there[1]]
    return found
