"""Reference images: flat field, gain, read noise, from numbers, arrays, exposures or files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from corontools.errors import DataError
from corontools.exposure import Exposure

__all__ = ["cut", "plane", "typical"]


def plane(image: Any) -> Exposure:
    """One image (y, x) from an array, an exposure or a FITS file.

    Raises
    ------
    DataError
        If it has other axes.
    """
    if isinstance(image, str | os.PathLike):
        image = Exposure.read(image)
    exposure = image if isinstance(image, Exposure) else Exposure(np.asarray(image))
    if exposure.data.ndim != 2:
        raise DataError(f"{exposure._name}: a reference is one image (y, x), found shape {exposure.shape}")
    return exposure


def cut(image: np.ndarray, shape: tuple[int, ...], corner: tuple[int, int], *, what: str) -> np.ndarray:
    """The part of a full frame on which a subarray lies that begins at `corner` (x, y), 0-based.

    Raises
    ------
    DataError
        If there is no such part.
    """
    x, y = corner
    part = image if image.shape == shape else image[y : y + shape[0], x : x + shape[1]]
    if part.shape != shape:
        where = "cut it as they are" if corner == (0, 0) else f"they begin at pixel ({x}, {y}) of the full frame"
        raise DataError(f"a {what} of {image.shape} px doesn't fit images of {tuple(shape)} px; {where}")
    return part


def typical(value: Any) -> float | None:
    """A number, or the median of the positive values of an array or file; None stays.

    Raises
    ------
    DataError
        If no value is positive.
    """
    if value is None:
        return None
    if np.ndim(value) == 0 and isinstance(value, int | float | np.number):
        return float(value)
    data = np.asarray(plane(value).data, np.float64)
    known = data[np.isfinite(data) & (data > 0)]
    if not known.size:
        raise DataError("a map of gain or read noise holds no positive number; give another")
    return float(np.median(known))
