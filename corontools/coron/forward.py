"""What the subtraction leaves of a faint source that is in the references too, to first order in its flux."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.arrays import kl
from corontools.coron.rotation import known_angles, of_star
from corontools.coron.source import Footprint, footprints
from corontools.coron.subspace import ReferenceRows, Subspace, science_rows
from corontools.exposure import readonly
from corontools.progress import progress

if TYPE_CHECKING:
    from corontools.coron.aligned import AlignedRefs
    from corontools.coron.klip import KlipResult

__all__ = ["Response", "respond"]

# rad by which a source may turn the modes: first order errs by 3 % of the response then
SMALL = 0.03
# share of the covariance by which it is changed to see what follows
STEP = 1e-6


@dataclass(frozen=True, eq=False)
class Response:
    """Change of the residuals by a source of flux 1, to first order: what is left of it and what it takes itself.

    Made by `KlipResult.response`.

    Attributes
    ----------
    klip : KlipResult
        At the number of modes that it holds for.
    frames : ndarray, shape (n_int, y, x)
        Residual with the source less residual without, over the flux; NaN where the residual is.
    light : ndarray, shape (n_int, y, x)
        The source itself.
    bend : float
        Largest angle, in radians, by which a source of flux 1 turns the modes of a zone; 0 where no reference holds it.
    """

    klip: KlipResult
    frames: np.ndarray
    light: np.ndarray
    bend: float

    @property
    def faint(self) -> float:
        """Flux up to which the first order is good to a few per cent: modes turn by 0.03 rad; inf where it is exact."""
        return SMALL / self.bend if self.bend > 0 else float("inf")

    @property
    def throughput(self) -> float:
        """Share <q, p> / <p, p> of a faint source p that the subtraction leaves, over all integrations."""
        seen = np.isfinite(self.frames)
        power = np.sum(np.square(self.light), where=seen)
        return float(np.sum(self.frames * self.light, where=seen) / power) if power > 0 else float("nan")

    @property
    def flux(self) -> float:
        """Flux of the source that is in the frames: least-squares fit of the response to the residuals.

        Warns where it is more than `faint`: compare with `KlipResult.inject` of minus that flux then.
        """
        seen = np.isfinite(self.frames)
        power = np.sum(np.square(self.frames), where=seen)
        flux = float(np.sum(self.frames * self.klip.frames, where=seen) / power) if power > 0 else float("nan")
        if abs(flux) > self.faint:
            warnings.warn(
                f"the flux is {flux:.3g}, but first order holds up to {self.faint:.3g} here; take out what was found "
                "with inject(-flux, ...) and look again, or use fewer modes",
                stacklevel=2,
            )
        return flux


def respond(klip: KlipResult, place: Mapping[str, Any], *, told: bool = True) -> Response:
    """Response to a source; see `KlipResult.response`. `told`: with a progress bar."""
    target = klip.target
    sources = footprints(target, 1.0, **place)
    light = _images(sources, target.shape[-2:])
    planted = _in_references(klip.aligned, place) if klip.strategy != "rdi" else None
    out, bend = np.full((target.n_int, klip.zones.size), np.nan), 0.0
    first, rows = -1, None
    for space in progress(klip.subspaces, "response", "zone and angle") if told else klip.subspaces:
        i = space.integrations[0]
        if rows is None or (i != first and len(klip.aligned.sets) > 1):
            first, rows = i, ReferenceRows.of(klip.aligned, i)
        change, turned = _zone_response(klip, space, rows, light, planted)
        out[np.ix_(np.array(space.integrations), space.pixels)] = change
        bend = max(bend, turned)
    return Response(klip, readonly(out.reshape(target.shape)), readonly(light.reshape(target.shape)), bend)


def _images(sources: list[Footprint], shape: tuple[int, ...]) -> np.ndarray:
    out = np.zeros((len(sources), shape[0] * shape[1]))
    for row, source in zip(out, sources, strict=True):
        row[source.pixels] = source.values
    return out


def _in_references(aligned: AlignedRefs, place: Mapping[str, Any]) -> np.ndarray:
    """Light of the source in each aligned reference, (n_ref, y x); none in those of other stars."""
    own = of_star(aligned.stack, aligned.target)
    angles = known_angles(aligned, own)[1][own]
    out = np.zeros((own.size, aligned.target.shape[-2] * aligned.target.shape[-1]))
    out[own] = _images(footprints(aligned.target, 1.0, angles=angles, **place), aligned.target.shape[-2:])
    return out


def _zone_response(
    klip: KlipResult, space: Subspace, rows: ReferenceRows, light: np.ndarray, planted: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """Change (n, n_pix) of the residuals of a zone's integrations, and the angle by which the modes turn."""
    k = min(klip.modes, len(space.basis))
    used = np.arange(klip.aligned.n_ref) if space.references is None else space.references
    values, good = science_rows(klip.target, space.pixels, space.integrations)
    own = light[np.ix_(np.array(space.integrations), space.pixels)]
    theirs = None if planted is None else planted[np.ix_(used, space.pixels)]
    if not own.any() and (theirs is None or not theirs.any()):
        return np.where(good, 0.0, np.nan), 0.0
    images, measured = ReferenceRows(rows.data[used], rows.good[used]).zone(space.pixels)
    source = np.zeros(images.shape) if theirs is None else _prepared(theirs, images, measured)
    basis, change = _turned_modes(images, source, k)
    out = np.array([_change(basis, change, image, seen, p) for image, seen, p in zip(values, good, own, strict=True)])
    return out, float(np.linalg.norm(change, 2)) if change.any() else 0.0


def _prepared(source: np.ndarray, images: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """The source in the references, centred, and the change of what is imputed of them to first order."""
    shared = np.asarray(measured.all(axis=0))
    enough = np.count_nonzero(shared) >= 2 * len(images)
    use = shared if enough else measured
    source = source - (np.sum(source, axis=1, where=use) / np.sum(np.broadcast_to(use, source.shape), axis=1))[:, None]
    if not shared.all():
        source[~measured] = 0.0
        if enough and len(images) > 1:
            _impute_change(source, images, ~measured, shared)
    return source - source.mean(axis=1, keepdims=True)


def _impute_change(source: np.ndarray, images: np.ndarray, missing: np.ndarray, shared: np.ndarray) -> None:
    """By the covariance that the references have without the source, and by its change, in place."""
    pixels = np.count_nonzero(shared)
    covariance = images[:, shared] @ images[:, shared].T / pixels
    change = images[:, shared] @ source[:, shared].T / pixels
    change += change.T.copy()
    kl.conditional(source, missing, covariance)
    size = np.abs(change).max()
    if not size > 0:
        return
    step = STEP * np.abs(covariance).max() / size
    ends = [images.copy(), images.copy()]
    for end, sign in zip(ends, (1.0, -1.0), strict=True):
        kl.conditional(end, missing, covariance + sign * step * change)
    source[missing] += (ends[0] - ends[1])[missing] / (2 * step)


def _turned_modes(images: np.ndarray, source: np.ndarray, modes: int) -> tuple[np.ndarray, np.ndarray]:
    """The first modes (K, n_pix), and their change out of the space that they span; see `docs/klip.md`."""
    gram = images @ images.T
    weights, eigenvalues = kl.eigenmodes(gram, len(gram))
    every, rank = weights.T @ images, weights.shape[1]
    basis = every[:modes]
    if not source.any() or not modes:
        return basis, np.zeros_like(basis)
    values = eigenvalues[:rank]
    # the source in the references as the modes mix them: rows D^T v_k / sqrt(l_k)
    mixed = weights[:, :modes].T @ source
    inner = every @ (weights.T @ source).T  # <Z_j, D^T v_k> / sqrt(l_k)
    scale = np.sqrt(values)
    cross = scale[:, None] * inner * scale  # v_j R D^T v_k
    gap = values[None, :modes] - values[modes:, None]
    with np.errstate(divide="ignore"):
        into = (cross + cross.T)[modes:, :modes] / gap * (scale[modes:, None] / scale[None, :modes])
    into += inner[modes:, :modes]
    outside = mixed - inner[:, :modes].T @ every
    return basis, into.T @ every[modes:] + outside


def _change(
    basis: np.ndarray, change: np.ndarray, image: np.ndarray, good: np.ndarray, source: np.ndarray
) -> np.ndarray:
    """Change of a residual by a source in the image and a change of the modes: derivative of `kl.project`."""
    whole = np.vstack([np.full((1, basis.shape[1]), 1 / np.sqrt(basis.shape[1])), basis])[:, good]
    moved = np.vstack([np.zeros((1, whole.shape[1])), change[:, good]])
    inverse = np.linalg.inv(whole @ whole.T)
    coefficient = inverse @ (whole @ image[good])
    left = image[good] - coefficient @ whole
    direct = source[good] - coefficient @ moved
    direct -= (inverse @ (whole @ direct)) @ whole
    out = np.full(good.size, np.nan)
    out[good] = direct - (inverse @ (moved @ left)) @ whole
    return out
