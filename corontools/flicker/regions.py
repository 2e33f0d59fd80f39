"""Regions of the detector: boxes, polygons, traces, images of 0 and 1."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from corontools.errors import DataError
from corontools.exposure import Exposure

__all__ = ["footprint", "mask_image", "trace_footprint"]

# px on either side of a trace
HALF_WIDTH = 16


def footprint(region: Any, shape: tuple[int, int]) -> np.ndarray:
    """Pixels inside a region, or inside any of several.

    Parameters
    ----------
    region : box, polygon, mask, or a list of them
        A box is four numbers (x0, y0, x1, y1), 0-based, the corner pixels included; a polygon three or more pairs
        (x, y), a pixel being inside where its centre is; a mask an array, Exposure or FITS file of 0 and 1, 1 inside.
    shape : (int, int)

    Returns
    -------
    ndarray of bool, shape (y, x)

    Raises
    ------
    DataError
        If it is none of these, or a mask has another shape or other values.

    Examples
    --------
    >>> footprint([(1, 0, 2, 0), [(-1, 0.5), (1.5, 0.5), (1.5, 3), (-1, 3)]], (2, 4)).astype(int)
    array([[0, 1, 1, 0],
           [1, 1, 0, 0]])
    """
    if isinstance(region, str | os.PathLike | Exposure):
        return mask_image(region, shape)
    if isinstance(region, np.ndarray) and region.shape == shape:
        return mask_image(region, shape)
    inside = np.zeros(shape, bool)
    for part in _parts(region, shape):
        inside |= part
    return inside


def _parts(region: Any, shape: tuple[int, int]) -> list[np.ndarray]:
    if _is_box(region):
        return [_box(region, shape)]
    if _is_polygon(region):
        return [_polygon(np.asarray(region, np.float64), shape)]
    if isinstance(region, Sequence) and not isinstance(region, str):
        return [footprint(part, shape) for part in region]
    found = f"an array of shape {region.shape}" if isinstance(region, np.ndarray) else repr(region)
    raise DataError(
        f"a region is a box (x0, y0, x1, y1), a polygon [(x, y), ...], an image of 0 and 1 of shape {shape}, "
        f"a FITS file of one, or a list of these; found {found}"
    )


def _is_box(region: Any) -> bool:
    numbers = _numbers(region)
    return numbers is not None and numbers.shape == (4,)


def _is_polygon(region: Any) -> bool:
    numbers = _numbers(region)
    return numbers is not None and numbers.ndim == 2 and numbers.shape[1] == 2 and len(numbers) >= 3


def _numbers(region: Any) -> np.ndarray | None:
    """The region as an array of numbers, None where it isn't one."""
    try:
        array = np.asarray(region)
    except ValueError:  # parts of different lengths
        return None
    return array if array.dtype.kind in "iuf" else None


def _box(box: Any, shape: tuple[int, int]) -> np.ndarray:
    x0, y0, x1, y1 = (float(number) for number in box)
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)


def _polygon(corners: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels from which a ray to the right crosses the outline an odd number of times."""
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])
    inside = np.zeros(shape, bool)
    for (xa, ya), (xb, yb) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (ya > y) != (yb > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = xa + (y - ya) * (xb - xa) / (yb - ya)
        inside ^= crosses & (x < at)
    return inside


def trace_footprint(traces: Any, shape: tuple[int, int], *, half_width: float = HALF_WIDTH) -> np.ndarray:
    """Pixels within `half_width` px above and below traces, each (x, y) with x and y of shape (n,), or a region.

    A trace goes on at its ends at the height that it has there.

    Raises
    ------
    DataError
        If a trace is neither.
    """
    if isinstance(traces, str | os.PathLike | Exposure) or getattr(traces, "shape", None) == shape:
        return footprint(traces, shape)
    one = _numbers(traces)
    inside = np.zeros(shape, bool)
    for trace in [traces] if one is not None and one.ndim == 2 and len(one) == 2 else traces:
        points = _numbers(trace)
        if points is None or points.ndim != 2 or len(points) != 2:
            raise DataError("a trace is a pair (x, y) of positions of its middle, or a mask of 0 and 1")
        order = np.argsort(points[0])
        middle = np.interp(np.arange(shape[1]), points[0][order], points[1][order])
        rows = np.arange(shape[0])[:, None]
        inside |= (rows >= np.floor(middle - half_width)) & (rows <= np.ceil(middle + half_width))
    return inside


def mask_image(mask: Any, shape: tuple[int, ...], *, what: str = "a mask") -> np.ndarray:
    """A mask of 0 and 1 from an array, Exposure or FITS file, as bool.

    Raises
    ------
    DataError
        If its shape is another, or it holds anything but 0 and 1.
    """
    if isinstance(mask, str | os.PathLike):
        mask = Exposure.read(mask)
    values = np.asarray(mask.data if isinstance(mask, Exposure) else mask)
    if values.shape != shape:
        raise DataError(f"{what} of shape {values.shape} doesn't fit images of {shape}; cut it as they are")
    if values.dtype.kind == "b":
        return values.copy()
    if values.dtype.kind not in "iuf" or not np.isin(values, (0, 1)).all():
        raise DataError(f"{what} holds 0 and 1 (or False and True), found other values")
    return values.astype(bool)
