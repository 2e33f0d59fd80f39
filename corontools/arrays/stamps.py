"""Sources cut from a frame, one stamp each, with their neighbours replaced by noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Footprints", "blank_sources", "box_rows", "footprint_bits", "source_stamps"]

# a pixel of which a source has less tells nothing of it
LEAST_SHARE = 0.01

Pair = tuple[np.ndarray, np.ndarray]


class Footprints(NamedTuple):
    """Which pixels of a frame belong to each of n sources, and how much of them.

    Attributes
    ----------
    labels : ndarray of int32, shape (y, x)
        Footprint that a pixel belongs to, 0 for none.
    rows : ndarray of int64, shape (n, 6)
        For each source its label; where its shares begin, -1 where it has the whole footprint; and its box: first y,
        last y + 1, first x, last x + 1.
    shares : ndarray, shape (m,)
        Parts, 0 to 1, that a source has of the pixels of its box, row by row, one source after the other.
    """

    labels: np.ndarray
    rows: NDArray[np.int64]
    shares: np.ndarray

    def of(self, which: np.ndarray) -> Footprints:
        """Those of some sources."""
        return self._replace(rows=np.ascontiguousarray(self.rows[which]))

    def whole(self) -> Footprints:
        """The footprints that the sources lie in, not shared."""
        rows = self.rows.copy()
        rows[:, 1] = -1
        return self._replace(rows=rows)


def box_rows(labels: np.ndarray, which: np.ndarray) -> NDArray[np.int64]:
    """Rows of `Footprints` for whole footprints.

    Parameters
    ----------
    labels : ndarray of int, shape (y, x)
    which : ndarray of int, shape (n,)
        Labels; one that has no pixel gets an empty box.

    Examples
    --------
    >>> box_rows(np.array([[0, 2, 2], [0, 0, 2]]), np.array([2]))
    array([[ 2, -1,  0,  2,  1,  3]])
    """
    found = ndimage.find_objects(labels)
    rows = np.full((len(which), 6), -1, np.int64)
    for row, label in zip(rows, which, strict=True):
        place = found[label - 1] if 0 < label <= len(found) else None
        y, x = place if place is not None else (slice(0, 0), slice(0, 0))
        row[:] = label, -1, y.start, y.stop, x.start, x.stop
    return rows


def blank_sources(image: np.ndarray, variance: np.ndarray, labels: np.ndarray, *, seed: int) -> Pair:
    """Image and variance with every footprint replaced by the noise of the sky beside it.

    Parameters
    ----------
    image, variance : ndarray, shape (y, x)
    labels : ndarray of int, shape (y, x)
        Footprints, 0 outside.
    seed : int
        Of the noise; the same seed gives the same noise.

    Returns
    -------
    tuple of ndarray
        New arrays. The variance in a footprint is the mean of the pixels that touch it; where none of them has a
        variance, it is the median of all pixels outside footprints.

    Examples
    --------
    >>> labels = np.zeros((5, 5), np.int32); labels[2, 2] = 1
    >>> image, variance = blank_sources(np.full((5, 5), 7.0), np.full((5, 5), 4.0), labels, seed=1)
    >>> float(variance[2, 2]), bool(image[2, 2] != 7), float(image[0, 0])
    (4.0, True, 7.0)
    """
    from corontools.arrays._stamp_kernels import edge_variances

    image, variance = np.array(image), np.array(variance)
    where = np.flatnonzero(labels)
    if not where.size:
        return image, variance
    n = int(labels.max()) + 1
    total, count = np.zeros(n), np.zeros(n)
    edge_variances(labels, variance, total, count)
    sky = np.divide(total, count, out=np.full(n, _median_variance(variance, labels)), where=count > 0)
    level = sky[labels.flat[where]]
    noise = np.random.default_rng(seed).standard_normal(where.size)
    image.flat[where], variance.flat[where] = noise * np.sqrt(level), level
    return image, variance


def _median_variance(variance: np.ndarray, labels: np.ndarray) -> float:
    usable = np.isfinite(variance) & (variance > 0)
    outside = usable & (labels == 0)
    some = variance[outside if outside.any() else usable]
    return float(np.median(some[:: max(some.size // 100_000, 1)])) if some.size else 0.0


def source_stamps(frame: Pair, blank: Pair, footprints: Footprints, corners: np.ndarray, *, side: int) -> Pair:
    """Stamps of sources, alone in the noise.

    Parameters
    ----------
    frame, blank : tuple of ndarray, shape (y, x)
        Image and variance as they are, and with all sources replaced (`blank_sources`).
    footprints : Footprints
        Of the n sources.
    corners : ndarray of int, shape (n, 2)
        (y, x) of the first pixel of each stamp; it may lie outside the frame.
    side : int
        Of the stamps, px.

    Returns
    -------
    pixels, variances : ndarray, shape (n, side, side)
        Outside the frame NaN and infinite variance.
    """
    from corontools.arrays._stamp_kernels import cut

    pixels, variances = np.empty((2, len(corners), side, side))
    corners = np.ascontiguousarray(corners, np.int64)
    cut(frame, blank, footprints.labels, footprints.rows, footprints.shares, corners, pixels, variances)
    return pixels, variances


def footprint_bits(mask: np.ndarray, footprints: Footprints) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Bits of a mask found anywhere in each footprint, and the number of its pixels.

    A source that shares its footprint has the pixels of which it has a hundredth at least.
    """
    from corontools.arrays._stamp_kernels import mask_bits

    found, area = np.zeros((2, len(footprints.rows)), np.int32)
    mask_bits(mask, footprints.labels, footprints.rows, footprints.shares, LEAST_SHARE, found, area)
    return found, area
