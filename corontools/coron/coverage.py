"""Coverage: which integration has which pixel, and means over those that have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from corontools.coron.subspace import Subspace, science_rows

if TYPE_CHECKING:
    from corontools.coron.klip import KlipResult

__all__ = ["Coverage"]

# pixels handled at a time: a block of all frames stays in the cache
BLOCK = 16384


@dataclass(frozen=True, eq=False)
class Coverage:
    """Where the integrations have data in the zones.

    Attributes
    ----------
    count : ndarray of int, shape (y x,)
        Integrations that have each pixel; 0 outside the zones.
    bad : tuple of tuple of ndarray
        For each subspace and each of its integrations, the places among its pixels that have no data.
    """

    count: np.ndarray
    bad: tuple[tuple[np.ndarray, ...], ...]

    @classmethod
    def of(cls, klip: KlipResult) -> Coverage:
        """Of the science images of a result."""
        count, bad = np.zeros(klip.zones.size, int), []
        for space in klip.subspaces:
            good = science_rows(klip.target, space.pixels, space.integrations)[1]
            count[space.pixels] += good.sum(axis=0)
            bad.append(tuple(np.flatnonzero(~row) for row in good))
        return cls(count, tuple(bad))

    def mean(self, spaces: Sequence[Subspace], tables: Sequence[np.ndarray], total: np.ndarray) -> np.ndarray:
        """Mean over the integrations of images less their models, float32 (n, y x); NaN where there is none.

        Parameters
        ----------
        spaces : sequence of Subspace
        tables : sequence of ndarray, each of shape (n_int of the subspace, n, K + 1)
            Coefficients of the models, for each of n numbers of modes.
        total : ndarray, shape (y x,)
            Sum of the images over the integrations that have the pixel.
        """
        out = np.empty((tables[0].shape[1], total.size), np.float32)
        with np.errstate(divide="ignore"):
            each = np.where(self.count > 0, 1.0 / self.count, np.nan)
        for part in (slice(a, a + BLOCK) for a in range(0, total.size, BLOCK)):
            left = np.tile(total[part], (len(out), 1))
            for space, table, bad in zip(spaces, tables, self.bad, strict=True):
                _subtract_models(left, part.start, space, table, bad)
            np.multiply(left, each[part], out=out[:, part], casting="same_kind")
        return out


def _subtract_models(
    images: np.ndarray, start: int, space: Subspace, table: np.ndarray, bad: Sequence[np.ndarray]
) -> None:
    """Take the models of all integrations of a subspace from images (n, pixels) that begin with pixel `start`."""
    end = start + images.shape[1]
    a, b = np.searchsorted(space.pixels, (start, end))
    # the sum of models is the model of the summed coefficients; few pixels miss an integration
    _add(images, space, space.pixels[a:b] - start, slice(a, b), -table.sum(axis=0))
    for row, missing in zip(table, bad, strict=True):
        here = missing[slice(*np.searchsorted(missing, (a, b)))]
        if here.size:
            _add(images, space, space.pixels[here] - start, here, row)


def _add(
    images: np.ndarray, space: Subspace, at: np.ndarray, which: slice | np.ndarray, coefficient: np.ndarray
) -> None:
    """Add models of coefficients (n, K + 1) on some of the zone's pixels to images (n, pixels)."""
    if not at.size:
        return
    models = coefficient[:, 1:] @ space.basis[:, which]
    models += coefficient[:, :1] / np.sqrt(space.pixels.size)
    images[:, slice(at[0], at[-1] + 1) if at[-1] - at[0] == at.size - 1 else at] += models
