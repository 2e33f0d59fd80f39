"""References kept at hand: the modes of any of them in any zone without a new look at all pixels."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from corontools.arrays import kl
from corontools.coron.subspace import ReferenceRows
from corontools.errors import DataError

__all__ = ["Kept", "KeptRows"]

# pixels handled at a time
BLOCK = 4096
# sums of zones that are remembered: dragging an edge forth and back
REMEMBERED = 64


class _Sums(NamedTuple):
    """Over the pixels of a zone that every reference has: their number, sums (n_ref,) and Gram matrix."""

    number: int
    sums: np.ndarray
    gram: np.ndarray


@dataclass(frozen=True, eq=False)
class KeptRows:
    """References in the order in which zones are cut out of them, and the sums over zones that were asked for.

    Attributes
    ----------
    values : ndarray, shape (y x, n_ref)
        Less the mean of each; 0 where missing.
    gaps : ndarray of int
        Flat indices of the pixels that not all of them have.
    there, good : ndarray, shape (gaps, n_ref)
        Values on these pixels, and which of them were measured.
    remembered : OrderedDict
        Sums over zones, by the zone's pixels.
    """

    values: np.ndarray
    gaps: np.ndarray
    there: np.ndarray
    good: np.ndarray
    remembered: OrderedDict[bytes, _Sums]

    @classmethod
    def of(cls, rows: ReferenceRows) -> KeptRows:
        """Of one set of aligned references."""
        values = np.empty(rows.data.shape[::-1])
        for j, (image, good) in enumerate(zip(rows.data, rows.good, strict=True)):
            # a zone's mean is taken later; without the whole image's, its square would cost digits
            known = image[good].astype(np.float64)
            values[:, j] = 0.0
            values[good, j] = known - known.mean() if known.size else known
        gaps = np.flatnonzero(~rows.good.all(axis=0))
        return cls(values, gaps, values[gaps], rows.good[:, gaps].T.copy(), OrderedDict())

    def sums(self, pixels: np.ndarray) -> _Sums:
        """Sums over pixels that every reference has."""
        mask = np.zeros(len(self.values), bool)
        mask[pixels] = True
        key = np.packbits(mask).tobytes()
        found = self.remembered.pop(key, None) or self._summed(pixels)
        self.remembered[key] = found  # the last one asked for goes last
        while len(self.remembered) > REMEMBERED:
            self.remembered.popitem(last=False)
        return found

    def _summed(self, pixels: np.ndarray) -> _Sums:
        n = self.values.shape[1]
        sums, gram = np.zeros(n), np.zeros((n, n))
        for start in range(0, pixels.size, BLOCK):
            rows = self.values[pixels[start : start + BLOCK]]
            sums += rows.sum(axis=0)
            gram += rows.T @ rows
        return _Sums(pixels.size, sums, gram)


@dataclass(frozen=True, eq=False)
class Kept:
    """Some of the references; a `subspace.References`."""

    rows: KeptRows
    keep: np.ndarray

    @cached_property
    def share(self) -> np.ndarray:
        """Share of the references that were measured at each pixel, (y x,)."""
        share = np.ones(len(self.rows.values))
        share[self.rows.gaps] = self.rows.good[:, self.keep].mean(axis=1)
        return share

    def decompose(self, pixels: np.ndarray, modes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Basis, weights and eigenvalues of a zone, see `arrays.kl.decompose`."""
        zone = _zone(self, pixels)
        weights, eigenvalues = kl.eigenmodes(zone.gram, modes)
        return zone.basis(self, pixels, weights), weights, eigenvalues


class _Zone(NamedTuple):
    """Centred references of a zone: what is needed of them to find the modes and to make them.

    Attributes
    ----------
    gram : ndarray, shape (n, n)
        Of the centred references, nothing missing.
    zero : ndarray, shape (n,)
        What is subtracted from `KeptRows.values` to centre them.
    holes : ndarray of int
        Places among the zone's pixels of those that not all references have.
    filled : ndarray, shape (n, holes)
        Centred references there.
    """

    gram: np.ndarray
    zero: np.ndarray
    holes: np.ndarray
    filled: np.ndarray

    def basis(self, kept: Kept, pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Modes (K, n_pix)."""
        values, out = kept.rows.values, np.empty((weights.shape[1], pixels.size))
        # references that are left out have no weight: cheaper than to cut them out
        every = np.zeros((values.shape[1], weights.shape[1]))
        every[kept.keep] = weights
        zero = (weights.T @ self.zero)[:, None]
        for start in range(0, pixels.size, BLOCK):
            part = slice(start, start + BLOCK)
            out[:, part] = every.T @ values[pixels[part]].T
            out[:, part] -= zero
        out[:, self.holes] = weights.T @ self.filled
        return out


def _zone(kept: Kept, pixels: np.ndarray) -> _Zone:
    """Centre and complete the references of a zone as `arrays.kl.prepare` does, by sums over its complete pixels."""
    rows, n = kept.rows, kept.keep.size
    at = np.searchsorted(rows.gaps, pixels)
    at[at == rows.gaps.size] = 0
    gap = rows.gaps[at] == pixels if rows.gaps.size else np.zeros(pixels.size, bool)
    count, sums, gram = rows.sums(pixels[~gap])
    sums, gram = sums[kept.keep], gram[np.ix_(kept.keep, kept.keep)]
    holes = np.flatnonzero(gap)
    # the references of a pixel side by side: they are filled in pixel by pixel
    good, filled = (array[np.ix_(at[holes], kept.keep)].T for array in (rows.good, rows.there))
    zero = _zero_points(kept.keep, count, sums, filled, good)
    filled -= zero[:, None]
    filled[~good] = 0.0
    whole = good.all(axis=0)
    known = count + np.count_nonzero(whole)
    if n > 1 and known >= 2 * n and not whole.all():
        shared = filled[:, whole]
        kl.conditional(filled, ~good, (_shifted(count, sums, gram, zero) + shared @ shared.T) / known)
    left = (sums - count * zero + filled.sum(axis=1)) / pixels.size
    filled -= left[:, None]
    zero = zero + left
    return _Zone(_shifted(count, sums, gram, zero) + filled @ filled.T, zero, holes, filled)


def _zero_points(keep: np.ndarray, count: int, sums: np.ndarray, values: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Mean of each reference: over the pixels that all have where these are enough, else over its own."""
    whole = good.all(axis=0)
    if count + np.count_nonzero(whole) >= 2 * len(good):
        return (sums + np.sum(values, axis=1, where=whole)) / (count + np.count_nonzero(whole))
    own = count + good.sum(axis=1)
    if not own.all():
        raise DataError(f"no good pixel in image(s) {keep[own == 0].tolist()} of this zone; leave them out")
    return (sums + np.sum(values, axis=1, where=good)) / own


def _shifted(count: int, sums: np.ndarray, gram: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """Gram matrix of the references less their zero points."""
    cross = np.outer(zero, sums)
    return gram - cross - cross.T + count * np.outer(zero, zero)
