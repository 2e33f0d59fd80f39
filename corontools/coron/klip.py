"""KlipResult: the science images less the star, for every number of Karhunen-Loeve modes (the `klip` task)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.arrays import kl
from corontools.arrays.noise import leave_one_out_power, residual_variance, smooth_positive, tail_factor
from corontools.coron.aligned import AlignedRefs
from corontools.coron.zones import Zones
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.progress import progress
from corontools.result import Result, call

if TYPE_CHECKING:
    from corontools.coron.combined import CombinedImage
    from corontools.coron.contrast import ContrastCurve

__all__ = ["KlipResult", "Subspace", "decompose_zones"]


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
    """

    pixels: np.ndarray
    integrations: tuple[int, ...]
    basis: np.ndarray
    weights: np.ndarray
    eigenvalues: np.ndarray
    scores: np.ndarray
    factors: np.ndarray

    def coefficients(self, modes: int) -> np.ndarray:
        """Coefficients (n, k + 1) of the constant and the first modes for each integration."""
        return kl.coefficients(self.scores, self.factors, min(modes, len(self.basis)))

    def model(self, modes: int) -> np.ndarray:
        """Model of the star on the zone's pixels, shape (n, n_pix)."""
        coefficient = self.coefficients(modes)
        constant = coefficient[:, :1] / np.sqrt(self.pixels.size)
        k = coefficient.shape[1] - 1
        return coefficient[:, 1:].astype(self.basis.dtype) @ self.basis[:k] + constant


@dataclass(frozen=True, eq=False, repr=False)
class KlipResult(Result):
    """Science images less the star.

    Made by `AlignedRefs.klip`; `at(k)` is the same with another number of modes and costs nothing.

    Attributes
    ----------
    aligned : AlignedRefs
        References and science images.
    modes : int
        Number of KL modes of `residual`, `psf` and `err`.
    zones : ndarray of int, shape (y, x)
        Zone of each pixel, from 1; 0 belongs to none.
    subspaces : tuple of Subspace
    """

    aligned: AlignedRefs
    modes: int
    zones: np.ndarray
    subspaces: tuple[Subspace, ...]

    @property
    def target(self) -> Exposure:
        """The science images before subtraction, (n_int, y, x)."""
        return self.aligned.target

    @property
    def max_modes(self) -> int:
        """Largest number of modes there is."""
        return max(len(space.basis) for space in self.subspaces)

    def at(self, modes: int) -> KlipResult:
        """The same decomposition cut after `modes` modes; 0 subtracts the mean only.

        Warns where there are fewer modes, and gives all there are.

        Raises
        ------
        DataError
            If modes is negative.
        """
        modes = _clipped(modes, self.max_modes, "modes in this result", stacklevel=3)
        # the last choice counts: a slider that was moved a hundred times leaves one line
        earlier = [step for step in self.history if not step.startswith(".at(")]
        return self.with_(modes=modes, history=(*earlier, f".at({modes})"))

    @cached_property
    def frames(self) -> np.ndarray:
        """Residual pixels (n_int, y, x); NaN outside the zones and where the science has no data."""
        out = np.full(self.target.shape, np.nan)
        flat = out.reshape(self.target.n_int, -1)
        for space in self.subspaces:
            values, good = _zone_science(self.target, space.pixels, space.integrations)
            left = np.where(good, values - space.model(self.modes), np.nan)
            flat[np.ix_(space.integrations, space.pixels)] = left
        out.flags.writeable = False
        return out

    @cached_property
    def noise(self) -> tuple[np.ndarray, np.ndarray]:
        """Variance of the residual as (speckles, photons and read-out), each (n_int, y, x).

        The speckle part comes from the references: each is subtracted by the others with as many modes, so the
        squares of what is left, on the scale of the science star, are drawn from the same distribution as the
        science residual. Photon and read noise are propagated through the subtraction. See `docs/klip.md`.
        """
        out = np.full((2, *self.target.shape), np.nan)
        flat = out.reshape(2, self.target.n_int, -1)
        for space in progress(self.subspaces, "errors", "zone"):
            for i, pair in zip(space.integrations, _space_noise(self, space), strict=True):
                flat[:, i, space.pixels] = pair
        out.flags.writeable = False
        return out[0], out[1]

    @cached_property
    def err(self) -> np.ndarray:
        """1-sigma error of the residual, (n_int, y, x); NaN where the residual is."""
        err = np.sqrt(self.noise[0] + self.noise[1])
        err[np.isnan(self.frames)] = np.nan
        err.flags.writeable = False
        return err

    @cached_property
    def residual(self) -> Exposure:
        """Science less the star, with `err`; pixels without a value are DO_NOT_USE."""
        empty = np.isnan(self.frames)
        dq = self.target.flags()
        dq[empty] |= np.uint32(DQ.DO_NOT_USE)
        dq[:, self.zones == 0] |= np.uint32(DQ.NON_SCIENCE)
        return self._image(self.frames, err=self.err, dq=dq)

    @cached_property
    def psf(self) -> Exposure:
        """The model of the star that was subtracted, the mean level of each zone included."""
        out = np.full(self.target.shape, np.nan)
        flat = out.reshape(self.target.n_int, -1)
        for space in self.subspaces:
            flat[np.ix_(space.integrations, space.pixels)] = space.model(self.modes)
        return self._image(out)

    @cached_property
    def snr(self) -> Exposure:
        """Residual over its error, pixel by pixel."""
        with np.errstate(invalid="ignore", divide="ignore"):
            snr = self.frames / self.err
        return self._image(snr, meta=self._meta.with_(unit=""))

    @property
    def variance_explained(self) -> np.ndarray:
        """Share of the science images' variance that the first 0, 1, ... max_modes modes take, (max_modes + 1,)."""
        taken, total = np.zeros(self.max_modes + 1), 0.0
        for space in self.subspaces:
            values, good = _zone_science(self.target, space.pixels, space.integrations)
            power = np.sum(np.square(values, where=good, out=np.zeros_like(values)))
            amplitude = np.square(space.scores[:, 1:]).sum(axis=0)
            steps = np.concatenate([[0.0], np.cumsum(amplitude)])
            taken += np.pad(steps, (0, taken.size - steps.size), mode="edge")
            total += power - np.square(space.scores[:, 0]).sum()
        return taken / total

    def combine(self) -> CombinedImage:
        """All integrations turned north up and averaged; several results by `corontools.combine`."""
        from corontools.coron.combined import combine

        return combine([self])

    def contrast(self, width: float = 2, *, center: tuple[float, float] | str = "star") -> ContrastCurve:
        """1-sigma noise of the residual, averaged over integrations, in rings `width` px wide.

        Parameters
        ----------
        width : float
            Of a ring, px.
        center : str or (x, y)
            "star", "image" (its middle), or a 0-based position.
        """
        from corontools.coron.contrast import measure

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # pixels without a value in any integration stay NaN
            mean = np.nanmean(self.frames, axis=0)
        step = "." + call(KlipResult.contrast, self, width, center=center)
        return measure(self._image(mean), width=width, center=center, history=(*self.history, step))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the `_psfsub` product (CubeModel): residual, ERR, DQ."""
        from corontools.products import write_exposure

        cards = {"S_KLIP": "COMPLETE", "S_PSFALI": "COMPLETE", "KLMODES": (self.modes, "KL modes subtracted")}
        return write_exposure(self.residual, path, cards=cards, overwrite=overwrite)

    @property
    def _meta(self) -> Any:
        return self.target.meta.with_(history=self.history)

    def _image(self, data: np.ndarray, **changes: Any) -> Exposure:
        whole = data.shape == self.target.shape
        base = {"err": None, "dq": None, "variances": {}, "meta": self._meta, "source": ""}
        kept = {"variances": self.target.variances} if whole and "err" in changes else {}
        return self.target.with_(**{**base, **kept, "data": data, **changes})

    def _values(self) -> np.ndarray:
        return self.frames

    def _rows(self) -> list[tuple[str, str]]:
        share = self.variance_explained[min(self.modes, self.max_modes)]
        return [
            ("target", self.target.meta.title),
            ("modes", f"{self.modes} of {self.max_modes}, from {self.aligned.n_ref} references"),
            (
                "zones",
                f"{len({int(z) for z in np.unique(self.zones)} - {0})}, {np.mean(self.zones > 0):.0%} of the frame",
            ),
            ("explained", f"{share:.4%} of the variance"),
            (
                "residual",
                f"{np.nanstd(self.frames):.4g} {self.target.meta.unit} rms ({self.target.n_int} integrations)",
            ),
        ]

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        return [
            quick.image_picture(self.target.data[0], "science, integration 0", bad=~self.target.good[0]),
            quick.image_picture(self.frames[0], f"residual, {self.modes} modes"),
        ]


def decompose_zones(aligned: AlignedRefs, *, modes: int, zones: str | Zones) -> KlipResult:
    """Decompose the references of every zone and project the science images; see `AlignedRefs.klip`."""
    modes = _clipped(modes, aligned.n_ref, "references", stacklevel=5)
    labels = _labels(aligned, zones)
    spaces = []
    for integrations in progress(aligned.sets, "klip", "set"):
        refs = aligned[integrations[0]]
        for zone in np.unique(labels[labels > 0]):
            spaces.append(_subspace(aligned, refs, np.flatnonzero(labels == zone), integrations, modes))
    return KlipResult(aligned=aligned, modes=modes, zones=labels, subspaces=tuple(spaces), history=aligned.history)


def _clipped(modes: int, limit: int, what: str, *, stacklevel: int) -> int:
    if modes < 0 or int(modes) != modes:
        raise DataError(f"the number of modes should be 0 or more, found {modes}")
    if modes > limit:
        warnings.warn(f"{modes} modes asked for, but there are {limit} {what}: {limit} are used", stacklevel=stacklevel)
    return min(int(modes), limit)


def _labels(aligned: AlignedRefs, zones: str | Zones) -> np.ndarray:
    shape = aligned.target.shape[-2:]
    if isinstance(zones, Zones):
        labels = zones.labels(shape, aligned.target.center)
        if not labels.any():
            raise DataError(f"{zones.code} holds no pixel of the {shape[0]} x {shape[1]} px image; move its edges")
        return labels
    if zones == "full":
        return np.ones(shape, np.int32)
    if zones != "shared":
        raise DataError(f"zones should be 'shared', 'full' or Zones, found {zones!r}")
    refs = aligned[0]
    shared = (refs.good.mean(axis=0) >= 0.5) & (aligned.target.good.mean(axis=0) >= 0.5)
    if not shared.any():
        raise DataError("science and references share no good pixel; check their DQ and their alignment")
    return shared.astype(np.int32)


def _subspace(
    aligned: AlignedRefs, refs: Exposure, pixels: np.ndarray, integrations: tuple[int, ...], modes: int
) -> Subspace:
    # a pixel that no reference has can't be modelled
    pixels = pixels[refs.good.reshape(refs.n_int, -1)[:, pixels].any(axis=0)]
    images, _ = _zone_references(refs, pixels)
    basis, weights, eigenvalues = kl.decompose(images, modes)
    values, good = _zone_science(aligned.target, pixels, integrations)
    if not good.any(axis=1).all():
        lost = [i for i, any_good in zip(integrations, good.any(axis=1), strict=True) if not any_good]
        raise DataError(f"integration(s) {lost} have no good pixel in a zone of {pixels.size} px; move the zone")
    scores, factors = kl.project(basis, values, good)
    # with a set for every integration the modes are many; 7 digits are what the science itself was stored with
    kind = np.float32 if len(aligned.sets) > 1 else np.float64
    return Subspace(pixels, integrations, basis.astype(kind, copy=False), weights, eigenvalues, scores, factors)


def _zone_references(refs: Exposure, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centred references on the zone's pixels with nothing missing, and where they were measured."""
    good = refs.good.reshape(refs.n_int, -1)[:, pixels]
    filled = kl.impute(kl.center_rows(refs.data.reshape(refs.n_int, -1)[:, pixels], good))
    return filled - filled.mean(axis=1, keepdims=True), good


def _zone_science(target: Exposure, pixels: np.ndarray, integrations: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    rows = list(integrations)
    values = target.data.reshape(target.n_int, -1)[np.ix_(rows, pixels)].astype(np.float64)
    return values, target.good.reshape(target.n_int, -1)[np.ix_(rows, pixels)]


def _space_noise(result: KlipResult, space: Subspace) -> list[tuple[np.ndarray, np.ndarray]]:
    """Speckle and photon variance on a zone's pixels, for each of its integrations."""
    refs = result.aligned[space.integrations[0]]
    images, good = _zone_references(refs, space.pixels)
    gram = images @ images.T
    variance = None if refs.variance is None else refs.variance.reshape(refs.n_int, -1)[:, space.pixels]
    k = min(result.modes, len(space.basis))
    made = kl.leave_one_out(gram, k) if len(images) > 1 else None
    tail = tail_factor(images, k)
    pairs = []
    for row, i in enumerate(space.integrations):
        amounts = kl.reference_weights(space.weights, space.coefficients(k)[row : row + 1, 1:])[0]
        photon = _photon_variance(result.target, i, space, k, amounts, variance)
        flux = _flux_ratio(*_zone_science(result.target, space.pixels, [i]), images)
        if made is None:
            pairs.append((np.zeros(space.pixels.size), photon))
            continue
        power, known = leave_one_out_power(images, made, flux, good=good, variance=variance)
        parts = _split(power, known, photon, space.pixels, result.zones.shape)
        pairs.append((tail**2 * parts[0], tail**2 * parts[1]))
    return pairs


def _flux_ratio(values: np.ndarray, good: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Science over reference star (n_ref,), by the power of the images: it holds without a common pattern too."""
    science, use = values[0, good[0]], good[0]
    return science.std() / images[:, use].std(axis=1)


def _photon_variance(
    target: Exposure, i: int, space: Subspace, k: int, amounts: np.ndarray, variance: np.ndarray | None
) -> np.ndarray:
    """Photon and read noise of integration i in its residual; NaN where no error is known."""
    if target.variance is None:
        return np.full(space.pixels.size, np.nan)
    own = kl.row_variance(space.basis[:k].astype(np.float64), target.variance[i].flat[space.pixels])
    return own if variance is None else residual_variance(own, amounts, variance)


def _split(
    power: np.ndarray, known: np.ndarray, photon: np.ndarray, pixels: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Scale the references' power to the photon noise of the science image, and part it in speckles and photons.

    The power holds speckles + the references' own noise (known). The local mean of their difference gives the
    speckles s that are expected here; the science has s + photon instead of s + known, and the power is scaled by
    that ratio, so it keeps the distribution of a mean of squares and never turns negative.
    """
    photon = np.where(np.isfinite(photon), photon, known)
    speckle = smooth_positive(power - known, pixels, shape)
    expected = speckle + known
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = power * np.where(expected > 0, (speckle + photon) / expected, 1.0)
        share = np.where(speckle + photon > 0, speckle / (speckle + photon), 1.0)
    return scaled * share, scaled * (1.0 - share)
