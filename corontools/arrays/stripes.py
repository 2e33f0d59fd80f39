"""Stripes: one level for each line of an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from corontools.errors import DataError

__all__ = ["Stripes", "median_stripes"]

# of a median over that of a mean, and of the interquartile range over the standard deviation; both for a Gaussian
MEDIAN_ERROR = np.sqrt(np.pi / 2)
QUARTILES = 1.3489795003921634
# with fewer values the quartiles of a line tell little of its scatter
FEW = 8
# values sorted at once: a block of lines stays in the cache
BLOCK = 1 << 18


@dataclass(frozen=True, eq=False)
class Stripes:
    """Noise of an image and its error.

    Attributes
    ----------
    model : ndarray, shape (y, x)
        What is to be subtracted; 0 where nothing is known.
    known : ndarray of bool, shape (n_line, n_part)
        Whether a line, or each amplifier's part of it, was fitted.
    error : callable
        Makes `err`, which is as large as the image, and which few want.
    """

    model: np.ndarray
    known: np.ndarray
    error: Callable[[], np.ndarray]

    @cached_property
    def err(self) -> np.ndarray:
        """1-sigma error of the model, (y, x); NaN where nothing is known."""
        return self.error()

    def times(self, factor: np.ndarray) -> Stripes:
        """Model and error multiplied by an image."""
        error = self.error  # not `self`, which holds the model
        return Stripes(self.model * factor, self.known, lambda: error() * factor)


def median_stripes(image: np.ndarray, good: np.ndarray, *, axis: int, channels: int = 1) -> Stripes:
    """Median of the good pixels of each line.

    The error is that of a median of Gaussian noise, sqrt(pi / 2) s / sqrt(n), where n is the number of good pixels
    of the line and s their scatter, the interquartile range over 1.349. With fewer than eight pixels s is the median
    over the lines that have eight.

    Parameters
    ----------
    image : ndarray, shape (y, x)
        NaN is no data.
    good : ndarray of bool, shape (y, x)
        Pixels that count.
    axis : int
        Axis along which the median is taken: 1 for horizontal stripes (each row has its level), 0 for vertical ones.
    channels : int
        Number of equal parts (amplifiers) of a line, each with a level of its own.

    Returns
    -------
    Stripes
        Float32 for a float32 image, else float64; 0 and NaN where a line (or its part) has no good pixel. With one
        channel the arrays are read-only views of one value for each line.

    Raises
    ------
    DataError
        If a line can't be cut into that many equal parts.

    Examples
    --------
    >>> image = np.arange(3.0)[:, None] + np.zeros((3, 4)); image[1, 2] = 100
    >>> median_stripes(image, image < 50, axis=1).model[:, 0].tolist()
    [0.0, 1.0, 2.0]
    """
    lines = as_lines(image, good, axis)
    n_line, length = lines.shape
    if channels < 1 or length % channels:
        raise DataError(f"lines of {length} px can't be cut into {channels} equal channels; give channels=1")
    level, err = (values.reshape(n_line, channels) for values in _levels(lines.reshape(n_line * channels, -1)))
    known = np.isfinite(level)
    return Stripes(
        _spread(np.where(known, level, 0), length, axis),
        known,
        lambda: _spread(np.where(known, err, np.nan).astype(err.dtype, copy=False), length, axis),
    )


def _spread(values: np.ndarray, length: int, axis: int) -> np.ndarray:
    """Values of each line and channel over their pixels; without a copy where a line has one value."""
    values, axis = (values.T, 0) if axis == 0 else (values, 1)
    if values.shape[axis] > 1:
        return np.repeat(values, length // values.shape[axis], axis=axis)
    return np.broadcast_to(values, (length, len(values.T)) if axis == 0 else (len(values), length))


def as_lines(image: np.ndarray, good: np.ndarray, axis: int) -> np.ndarray:
    """Copy of the image with its lines as rows and NaN where it isn't good; float32 stays, else float64."""
    image, good = np.asarray(image), np.asarray(good)
    if image.ndim != 2 or good.shape != image.shape:
        raise DataError(f"expected an image (y, x) and a mask of its shape, found {image.shape} and {good.shape}")
    if axis not in (0, 1, -1):
        raise DataError(f"axis should be 0 (vertical stripes) or 1 (horizontal), found {axis}")
    kind = np.float32 if image.dtype.newbyteorder("=") == np.float32 else np.float64
    if axis == 0:
        return _transposed(image, good, kind)
    return np.where(good, image, kind(np.nan)).astype(kind, copy=False)


def _transposed(image: np.ndarray, good: np.ndarray, kind: type) -> np.ndarray:
    """Columns as rows, in square tiles: a column at a time would fetch a whole cache line for each of its pixels."""
    out: np.ndarray = np.empty(image.shape[::-1], kind)
    tile = 64
    for y in range(0, image.shape[0], tile):
        for x in range(0, image.shape[1], tile):
            part = (slice(y, y + tile), slice(x, x + tile))
            out[part[::-1]] = np.where(good[part], image[part], np.nan).T
    return out


def _levels(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median of the finite values of each row, and its error; both not finite where there are none."""
    level, scatter, count = line_statistics(lines)
    with np.errstate(divide="ignore", invalid="ignore"):
        return level, (MEDIAN_ERROR * scatter / np.sqrt(count)).astype(lines.dtype, copy=False)


def line_statistics(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median, scatter (from the quartiles) and number of the finite values of each row; the median may be inf."""
    step = max(1, BLOCK // lines.shape[1])
    level, width, count = (np.empty(len(lines), lines.dtype) for _ in range(3))
    for start in range(0, len(lines), step):
        part = slice(start, start + step)
        level[part], width[part], count[part] = _quartiles(lines[part])
    seen = count >= FEW
    typical = np.median(width[seen]) if seen.any() else np.nan
    return level, np.where(seen, width, typical) / lines.dtype.type(QUARTILES), count


def _quartiles(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median, interquartile range and number of the finite values of each row."""
    ordered = np.where(np.isfinite(lines), lines, lines.dtype.type(np.inf))
    ordered.sort(axis=1)  # what isn't finite goes to the end
    count = np.count_nonzero(np.isfinite(ordered), axis=1)
    last = np.maximum(count - 1, 0)
    row = np.arange(len(lines))
    with np.errstate(invalid="ignore"):
        median = (ordered[row, last // 2] + ordered[row, (last + 1) // 2]) / 2
        width = ordered[row, (3 * last + 2) // 4] - ordered[row, (last + 2) // 4]
    return median, width, count
