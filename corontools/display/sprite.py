"""Many small pictures in one PNG: the thumbnails of a stack."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from corontools.display.picture import NAN_INDEX, palette, png, resize, stretch
from corontools.errors import DataError

__all__ = ["sprite"]


def sprite(images: Iterable[ArrayLike], *, side: int = 64, kind: str = "asinh", colors: str = "inferno") -> bytes:
    r"""Thumbnails of `side` x `side` px from left to right in one PNG, row 0 at the bottom, NaN transparent.

    Each has its own limits (`picture.default_limits`), since what a thumbnail shows is the shape of a star,
    not its flux. An image that is not square stands in the middle of its place.

    Parameters
    ----------
    images : iterable of array_like, shape (y, x)
        Taken one by one, so a generator keeps only one in memory.
    side : int
        Pixels. Larger images are shown by the means of blocks, smaller ones as they are.

    Raises
    ------
    DataError
        If there is no image.

    Examples
    --------
    >>> sprite([[[0.0, 1.0]], [[2.0, 3.0]]], side=8)[:4]
    b'\x89PNG'
    """
    cells = [_cell(stretch(resize(image, side), kind=kind)[::-1], side) for image in images]
    if not cells:
        raise DataError("there is no image to make thumbnails of")
    return png(np.concatenate(cells, axis=1), palette(colors))


def _cell(levels: np.ndarray, side: int) -> np.ndarray:
    """Palette indices in the middle of a square, transparent around."""
    cell = np.full((side, side), NAN_INDEX, np.uint8)
    ny, nx = levels.shape
    top, left = (side - ny) // 2, (side - nx) // 2
    cell[top : top + ny, left : left + nx] = levels
    return cell
