"""A PSF matched with the residual, and with what the subtraction leaves of a source, at every pixel.

See `docs/contrast.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from corontools.arrays.correlate import correlate
from corontools.coron.rotation import is_turned
from corontools.coron.source import Footprint, Source, footprint
from corontools.coron.subspace import Subspace, science_rows
from corontools.errors import DataError
from corontools.progress import progress

if TYPE_CHECKING:
    from corontools.coron.klip import KlipResult

__all__ = [
    "LEAST",
    "Match",
    "SourceFlux",
    "chosen_modes",
    "flux_at",
    "is_linear",
    "linear",
    "match",
    "match_at",
    "unsubtracted",
]

# share of a source that must be left of it for its flux to be known
LEAST = 1e-9
# numbers of modes that are taken unless they are chosen
MOST = 60


def is_linear(klip: KlipResult) -> bool:
    """Whether a source leaves the references as they are, and stays where it is in all integrations."""
    return klip.strategy == "rdi" and not is_turned(klip.target)


def linear(klip: KlipResult, what: str) -> None:
    """Refuse `what` where the response to a source isn't that of fixed references, or the sky turns under them.

    Raises
    ------
    DataError
        With "adi" and "ardi", and where integrations have different angles.
    """
    if klip.strategy != "rdi":
        raise DataError(
            f"{what}: with {klip.strategy!r} a source is in the references too and subtracts itself; take "
            "klip.at(k).response(...) for a faint source, or reduce with it: klip.inject(...)"
        )
    if is_turned(klip.target):
        raise DataError(
            f"{what}: the integrations have different angles, a source moves between them; select those of one"
        )


class Match(NamedTuple):
    """Sums over the integrations for a source at every pixel, p its PSF, e the residual, q what is left of p.

    Attributes
    ----------
    matched, response : ndarray, shape (n, y, x)
        <e, p> and <q, p> for each of n numbers of modes.
    power : ndarray, shape (y, x)
        <p, p> over the good pixels of the zones.
    """

    matched: np.ndarray
    response: np.ndarray
    power: np.ndarray

    @classmethod
    def zeros(cls, n: int, shape: tuple[int, int]) -> Match:
        """Nothing yet."""
        return cls(np.zeros((n, *shape)), np.zeros((n, *shape)), np.zeros(shape))


@dataclass(frozen=True)
class _Template:
    """A PSF for sources on whole pixels: its stamp, and how far its first pixel lies from the source's, (y, x)."""

    stamp: np.ndarray
    corner: tuple[int, int]

    @classmethod
    def of(cls, source: Source) -> _Template:
        (x0, y0), stamp = source.box((0.0, 0.0))
        return cls(stamp, (y0, x0))


class _Box(NamedTuple):
    """The part of the image that holds a zone, and where the sources are that have light in it."""

    rows: slice
    columns: slice

    @classmethod
    def of(cls, pixels: np.ndarray, width: int) -> _Box:
        y, x = np.divmod(pixels, width)
        return cls(slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1))

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def images(self, pixels: np.ndarray, values: np.ndarray, width: int) -> np.ndarray:
        """Rows of values on the zone's pixels as images of the box, 0 elsewhere."""
        if pixels.size == self.shape[0] * self.shape[1]:  # pixels are in order
            return values.reshape(-1, *self.shape)
        y, x = np.divmod(pixels, width)
        out = np.zeros((len(values), self.shape[0] * self.shape[1]))
        out[:, (y - self.rows.start) * self.shape[1] + x - self.columns.start] = values
        return out.reshape(-1, *self.shape)

    def sources(self, template: _Template, shape: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Pixels of the image at which a source has light in the box, and the same places in `correlate`'s output."""
        image, found = [], []
        for axis, part in enumerate((self.rows, self.columns)):
            first = part.start - (template.stamp.shape[axis] - 1) - template.corner[axis]
            length = (part.stop - part.start) + template.stamp.shape[axis] - 1
            low, high = max(first, 0), min(first + length, shape[axis])
            image.append(slice(low, max(high, low)))
            found.append(slice(low - first, max(high, low) - first))
        return (image[0], image[1]), (found[0], found[1])


def match_at(klip: KlipResult, modes: np.ndarray, source: Footprint) -> tuple[np.ndarray, np.ndarray, float]:
    """<e, p> and <q, p> (n,), and <p, p>, each summed over the integrations, for a source at one place, exactly.

    In the basis that is orthonormal over the good pixels, a projection takes the running sum of products of scores.
    """
    target = klip.target
    good, data = target.good.reshape(target.n_int, -1), target.data.reshape(target.n_int, -1)
    matched, response, power = np.zeros(len(modes)), np.zeros(len(modes)), 0.0
    for space in klip.subspaces:
        light, at = space.light(source, good)
        scores = space.scores_of(source, good)
        counts = np.minimum(modes, len(space.basis))
        values = data[np.ix_(space.integrations, space.pixels[at])]
        # a pixel without data has no light
        matched += np.sum(np.multiply(values, light, where=light != 0, out=np.zeros(light.shape)))
        matched -= np.cumsum((space.scores * scores).sum(axis=0))[counts]
        here = float(np.sum(np.square(light)))
        response += here - np.cumsum(np.square(scores).sum(axis=0))[counts]
        power += here
    return matched, response, power


def match(klip: KlipResult, modes: np.ndarray, source: Source) -> Match:
    """Match a PSF with the residual and with the response of the subtraction, for sources on whole pixels.

    In the basis that is orthonormal over the good pixels of an integration, <Z_k, p_x> for all places x is one
    correlation per mode, and both sums take running sums over the modes.
    """
    linear(klip, "detection_map")
    shape, parts = klip.zones.shape, source.parts(klip.zones.shape)
    if len(parts) == 1:
        return _match_all(klip, modes, parts[0][0])
    out = Match.zeros(len(modes), shape)
    for template, here in parts:
        found = _match_all(klip, modes, template)
        for mine, its in zip(out, found, strict=True):
            mine[..., here] = its[..., here]
    return out


def _match_all(klip: KlipResult, modes: np.ndarray, source: Source) -> Match:
    """The same PSF at every pixel."""
    out, template = Match.zeros(len(modes), klip.zones.shape), _Template.of(source)
    spaces: Sequence[Subspace] = klip.subspaces
    for space in progress(spaces, "match", "zone") if len(spaces) > 1 else spaces:
        _add(out, klip, space, modes, template)
    return out


def unsubtracted(image: np.ndarray, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """<e, p> and <p, p> (y, x) for a source at every pixel of an image that is NaN where nothing was measured."""
    good, template = np.isfinite(image), _Template.of(source)
    _, at = _Box(*(slice(0, n) for n in image.shape)).sources(template, image.shape)
    matched = correlate(np.where(good, image, 0.0)[None], template.stamp)[(0, *at)]
    return matched, correlate(good[None].astype(float), np.square(template.stamp))[(0, *at)]


def _add(out: Match, klip: KlipResult, space: Subspace, modes: np.ndarray, template: _Template) -> None:
    shape = klip.zones.shape
    box = _Box.of(space.pixels, shape[1])
    to, at = box.sources(template, shape)
    values, good = science_rows(klip.target, space.pixels, space.integrations)
    for rows in _alike(good):
        seen = good[rows[0]]
        whole = bool(seen.all())

        def matched(images: np.ndarray, stamp: np.ndarray, seen: np.ndarray = seen, whole: bool = whole) -> np.ndarray:
            known = images if whole else np.where(seen, images, 0.0)
            return correlate(box.images(space.pixels, known, shape[1]), stamp)[(slice(None), *at)]

        power = matched(np.ones((1, seen.size)), np.square(template.stamp))[0]
        out.power[to] += len(rows) * power
        light = matched(values[rows].sum(axis=0)[None], template.stamp)[0]
        basis = np.concatenate([np.full((1, seen.size), 1 / np.sqrt(seen.size)), space.basis])
        scores = _orthonormal(matched(basis, template.stamp), space.factors[rows[0]], whole=whole)
        counts, taken = np.minimum(modes, len(space.basis)), space.scores[rows].sum(axis=0)
        start = 0
        for i, count in enumerate(counts):  # they increase
            more = slice(start, count + 1)
            light -= np.tensordot(taken[more], scores[more], 1)
            power -= np.einsum("kyx,kyx->yx", scores[more], scores[more])
            out.matched[(i, *to)] += light
            out.response[(i, *to)] += len(rows) * power
            start = count + 1


def _orthonormal(scores: np.ndarray, factor: np.ndarray, *, whole: bool) -> np.ndarray:
    """Inner products with the basis made orthonormal over the good pixels; it is so already where all are good."""
    if whole:
        return scores
    from scipy.linalg import solve_triangular

    flat = solve_triangular(factor, scores.reshape(len(scores), -1), lower=True, overwrite_b=True, check_finite=False)
    return flat.reshape(scores.shape)


def _alike(good: np.ndarray) -> Iterator[list[int]]:
    """Integrations that have the same good pixels."""
    groups: dict[bytes, list[int]] = {}
    for i, row in enumerate(good):
        groups.setdefault(np.packbits(row).tobytes(), []).append(i)
    yield from groups.values()


class SourceFlux(NamedTuple):
    """A source at one place, for each of n numbers of modes.

    Attributes
    ----------
    modes : ndarray of int, shape (n,)
    flux : ndarray, shape (n,)
        In multiples of the PSF; NaN where nothing is left of it.
    throughput : ndarray, shape (n,)
    """

    modes: np.ndarray
    flux: np.ndarray
    throughput: np.ndarray


def flux_at(
    results: Sequence[KlipResult],
    *,
    sep: float | None = None,
    pa: float | None = None,
    position: tuple[float, float] | None = None,
    psf: Source | np.ndarray | None = None,
    modes: Sequence[int] | None = None,
) -> SourceFlux:
    """Flux and throughput of a source at one place in several rolls together, exactly: no map is read between pixels.

    Parameters
    ----------
    results : sequence of KlipResult
    sep, pa : float, optional
        Arcsec from the star and degrees east of north, by the WCS of each result.
    position : (float, float), optional
        Instead: 0-based (x, y), the same in all of them.
    psf, modes
        See `KlipResult.detection_map`.

    Raises
    ------
    DataError
        If there is no result, or the place is missing or outside an image.
    """
    if not results:
        raise DataError("no result to measure; give at least one KlipResult")
    chosen = chosen_modes(modes, min(one.max_modes for one in results))
    matched, response, power = np.zeros(chosen.size), np.zeros(chosen.size), 0.0
    for one in results:
        linear(one, "flux_at")
        source = footprint(one.target, 1.0, position=position, sep=sep, pa=pa, psf=psf)
        found = match_at(one, chosen, source)
        matched, response, power = matched + found[0], response + found[1], power + found[2]
    nothing = np.full(chosen.size, np.nan)
    return SourceFlux(
        chosen,
        np.divide(matched, response, out=nothing.copy(), where=response > LEAST * power),
        response / power if power > 0 else nothing,
    )


def chosen_modes(modes: Sequence[int] | None, limit: int) -> np.ndarray:
    """Numbers of modes that were asked for; by default 1 to `limit`, 60 of them evenly spread where there are more.

    Raises
    ------
    DataError
        If they don't increase, or lie beyond the limit.
    """
    if modes is None:
        return np.unique(np.rint(np.linspace(min(1, limit), limit, min(max(limit, 1), MOST))).astype(int))
    chosen = np.atleast_1d(np.asarray(modes))
    whole = chosen.ndim == 1 and chosen.size > 0 and chosen.dtype.kind in "iu"
    if not whole or (np.diff(chosen) <= 0).any() or chosen[0] < 0 or chosen[-1] > limit:
        raise DataError(f"numbers of modes should be whole, increase, and lie from 0 to {limit}; found {modes}")
    return chosen.astype(int)
