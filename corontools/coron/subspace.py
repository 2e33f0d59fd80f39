"""The decomposition of the references, zone by zone, and the science images' projection on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from corontools.arrays import kl
from corontools.coron.zones import Zones
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.progress import progress

if TYPE_CHECKING:
    from corontools.coron.aligned import AlignedRefs
    from corontools.coron.source import Footprint

__all__ = ["ReferenceRows", "References", "Subspace", "decompose", "label_zones", "science_rows", "subspace_of"]


@dataclass(frozen=True, eq=False)
class Subspace:
    """The decomposition of one zone for the integrations that share a set of references.

    Attributes
    ----------
    pixels : ndarray of int, shape (n_pix,)
        Flat indices of the zone's pixels.
    integrations : tuple of int
    basis : ndarray, shape (K, n_pix)
        Orthonormal KL modes; float32 where each integration has its own set, else float64.
    weights : ndarray, shape (n_ref, K)
        The modes in terms of the references.
    eigenvalues : ndarray, shape (n_ref,)
    scores, factors : ndarray
        Of the masked projection of each integration, see `arrays.kl.project`.
    references : ndarray of int, or None
        Which of the stack `weights` belong to; None: all.
    """

    pixels: np.ndarray
    integrations: tuple[int, ...]
    basis: np.ndarray
    weights: np.ndarray
    eigenvalues: np.ndarray
    scores: np.ndarray
    factors: np.ndarray
    references: np.ndarray | None = None

    def __post_init__(self) -> None:
        for attribute in fields(self):
            value = getattr(self, attribute.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def coefficients(self, modes: int) -> np.ndarray:
        """Coefficients (n, k + 1) of the constant and the first modes for each integration."""
        return kl.coefficients(self.scores, self.factors, min(modes, len(self.basis)))

    def model(self, modes: int) -> np.ndarray:
        """Model of the star on the zone's pixels, shape (n, n_pix)."""
        coefficient = self.coefficients(modes)
        k = coefficient.shape[1] - 1
        out = (coefficient[:, 1:].astype(self.basis.dtype) @ self.basis[:k]).astype(np.float64, copy=False)
        out += coefficient[:, :1] / np.sqrt(self.pixels.size)
        return out

    def table(self, counts: np.ndarray) -> np.ndarray:
        """`coefficients` for several mode counts at once, shape (n, len(counts), K + 1); zero beyond each count."""
        whole = kl.coefficient_table(self.scores, self.factors)
        return whole[:, np.minimum(counts, len(self.basis))]

    def light(self, source: Footprint, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What each integration sees of a source that lies on flat pixels, (n, m), and where among `pixels` that is.

        `good` (n_int, y x) tells which pixels of the science images are; on the others there is nothing.
        """
        at = np.minimum(np.searchsorted(self.pixels, source.pixels), self.pixels.size - 1)
        inside = self.pixels[at] == source.pixels
        seen = good[np.ix_(self.integrations, source.pixels[inside])]
        return np.where(seen, source.values[inside], 0.0), at[inside]

    def scores_of(self, source: Footprint, good: np.ndarray) -> np.ndarray:
        """`scores` (n, K + 1) of a source alone: the projection is linear."""
        light, at = self.light(source, good)
        inner = np.empty((len(light), len(self.basis) + 1))
        inner[:, 0] = light.sum(axis=1) / np.sqrt(self.pixels.size)
        inner[:, 1:] = light @ self.basis[:, at].T
        return np.linalg.solve(self.factors, inner[:, :, None])[:, :, 0]

    def with_scores(self, scores: np.ndarray) -> Subspace:
        """The same modes, other images on the same good pixels."""
        return replace(self, scores=scores)


class References(Protocol):
    """One set of aligned references, however it is kept."""

    @property
    def share(self) -> np.ndarray:
        """Share of the references that were measured at each pixel, (y x,)."""

    def decompose(self, pixels: np.ndarray, modes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Basis, weights and eigenvalues of a zone, see `arrays.kl.decompose`."""


@dataclass(frozen=True, eq=False)
class ReferenceRows:
    """One set of aligned references as rows (n_ref, y x), and where they were measured."""

    data: np.ndarray
    good: np.ndarray

    @classmethod
    def of(cls, aligned: AlignedRefs, i: int) -> ReferenceRows:
        """The references of integration i."""
        shape = (aligned.n_ref, -1)
        return cls(aligned.frames(i).reshape(shape), aligned.measured(i).reshape(shape))

    @cached_property
    def share(self) -> np.ndarray:
        """Share of the references that were measured at each pixel, (y x,)."""
        return self.good.mean(axis=0)

    def decompose(self, pixels: np.ndarray, modes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Basis, weights and eigenvalues of a zone, see `arrays.kl.decompose`."""
        return kl.decompose(self.zone(pixels)[0], modes)

    def zone(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centred references on the zone's pixels with nothing missing, and where they were measured."""
        good = columns(self.good, pixels)
        return kl.prepare(self.data, good, pixels=pixels), good


def science_rows(target: Exposure, pixels: np.ndarray, integrations: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Science images on the zone's pixels (n, n_pix), float64, and where they are good; not to be written to."""
    rows = slice(None) if len(integrations) == target.n_int else list(integrations)
    data = columns(target.data.reshape(target.n_int, -1)[rows], pixels)
    return data.astype(np.float64, copy=False), columns(target.good.reshape(target.n_int, -1)[rows], pixels)


def columns(rows: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The zone's pixels of each row; the rows themselves where the zone is the whole frame."""
    return rows if pixels.size == rows.shape[1] else np.take(rows, pixels, axis=1)


def label_zones(aligned: AlignedRefs, zones: str | Zones, share: np.ndarray | None = None) -> np.ndarray:
    """Zone of each pixel, from 1; 0 belongs to none. See `AlignedRefs.klip`.

    `share` (y x,) of the references that were measured at each pixel is worked out where it is needed and not given.
    """
    ny, nx = aligned.target.shape[-2:]
    if isinstance(zones, Zones):
        labels = zones.labels((ny, nx), aligned.target.center)
        if not labels.any():
            raise DataError(f"{zones.code} holds no pixel of the {ny} x {nx} px image; move its edges")
        return labels
    if zones == "full":
        return np.ones((ny, nx), np.int32)
    if zones != "shared":
        raise DataError(f"zones should be 'shared', 'full' or Zones, found {zones!r}")
    share = aligned.measured(0).mean(axis=0) if share is None else share.reshape(ny, nx)
    shared = (share >= 0.5) & (aligned.target.good.mean(axis=0) >= 0.5)
    if not shared.any():
        raise DataError("science and references share no good pixel; check their DQ and their alignment")
    return shared.astype(np.int32)


def decompose(
    aligned: AlignedRefs, labels: np.ndarray, modes: int, references: References | None = None
) -> tuple[Subspace, ...]:
    """Decompose the references of every zone and project the science images on their modes.

    `references` stand for the one set of aligned references where they are at hand; that takes no time worth a bar.
    """
    # with a set for every integration the modes are many; 7 digits are what the science itself was stored with
    kind = np.float32 if len(aligned.sets) > 1 else np.float64
    spaces = []
    for integrations in progress(aligned.sets, "klip", "set") if references is None else aligned.sets:
        one = ReferenceRows.of(aligned, integrations[0]) if references is None else references
        for zone in np.unique(labels[labels > 0]):
            spaces.append(subspace_of(aligned, one, np.flatnonzero(labels == zone), integrations, modes, kind))
    return tuple(spaces)


def subspace_of(
    aligned: AlignedRefs,
    references: References,
    pixels: np.ndarray,
    integrations: tuple[int, ...],
    modes: int,
    kind: type[np.floating],
) -> Subspace:
    """The decomposition of a zone, its modes kept as `kind`, and the projection of some integrations on it.

    Raises
    ------
    DataError
        If no reference has a pixel of the zone, all are constant there, or an integration has no good pixel in it.
    """
    # a pixel that no reference has can't be modelled
    size, pixels = pixels.size, pixels[references.share[pixels] > 0]
    if not pixels.size:
        raise DataError(f"a zone of {size} px has no pixel that any reference has; move it")
    basis, weights, eigenvalues = references.decompose(pixels, modes)
    if not eigenvalues[0] > 0:
        raise DataError(f"all references are constant over a zone of {pixels.size} px: nothing to subtract with")
    values, good = science_rows(aligned.target, pixels, integrations)
    lost = [i for i, row in zip(integrations, good, strict=True) if not row.any()]
    if lost:
        raise DataError(f"integration(s) {lost} have no good pixel in a zone of {pixels.size} px; move the zone")
    scores, factors = kl.project(basis, values, good)
    return Subspace(pixels, integrations, basis.astype(kind, copy=False), weights, eigenvalues, scores, factors)
