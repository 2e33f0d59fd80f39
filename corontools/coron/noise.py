"""Errors of a subtracted image. The derivation is in `docs/klip.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from corontools.arrays import kl
from corontools.arrays.noise import leave_one_out_power, residual_variance, smooth_positive, tail_factor
from corontools.coron.subspace import ReferenceRows, Subspace, science_rows
from corontools.exposure import Exposure
from corontools.progress import progress

if TYPE_CHECKING:
    from corontools.coron.klip import KlipResult

__all__ = ["residual_noise"]


def residual_noise(result: KlipResult) -> np.ndarray:
    """Variance that speckles, and photons and read-out, leave in the residual, (2, n_int, y, x)."""
    out = np.full((2, *result.target.shape), np.nan)
    flat = out.reshape(2, result.target.n_int, -1)
    tails: dict[int, float] = {}  # sets of one zone differ by hundredths of a pixel: one tail serves them
    for space in progress(result.subspaces, "errors", "zone"):
        zone = int(result.zones.flat[space.pixels[0]])
        noise = _zone_noise(result, space, tails.get(zone))
        tails[zone] = noise.tail
        for i, pair in zip(space.integrations, noise.parts, strict=True):
            flat[:, i, space.pixels] = pair
    return out


class _ZoneNoise(NamedTuple):
    """Speckle and photon variance (pixels,) of each integration, and the tail factor that they hold."""

    parts: list[tuple[np.ndarray, np.ndarray]]
    tail: float


def _zone_noise(result: KlipResult, space: Subspace, tail: float | None) -> _ZoneNoise:
    """Noise on a zone's pixels for each of its integrations; the tail is measured unless it is known."""
    first, k = space.integrations[0], min(result.modes, len(space.basis))
    images, good = ReferenceRows.of(result.aligned, first).zone(space.pixels)
    variance = _zone_variance(result.aligned.variance(first), space.pixels)
    made = kl.leave_one_out(images @ images.T, k) if len(images) > 1 else None
    tail = tail_factor(images, k) if tail is None else tail
    amounts = kl.reference_weights(space.weights, space.coefficients(k)[:, 1:])
    parts = []
    for i, amount in zip(space.integrations, amounts, strict=True):
        photon = _photon_variance(result.target, i, space, k, amount, variance)
        if made is None:
            parts.append((np.zeros(space.pixels.size), photon))
            continue
        flux = _flux_ratio(*science_rows(result.target, space.pixels, [i]), images)
        # a reference without structure says nothing of the noise
        use = good & (flux > 0)[:, None]
        power, known = leave_one_out_power(images, made, flux, good=use, variance=variance)
        speckle, photon = _split(power, known, photon, space.pixels, result.zones.shape)
        parts.append((tail**2 * speckle, tail**2 * photon))
    return _ZoneNoise(parts, tail)


def _zone_variance(variance: np.ndarray | None, pixels: np.ndarray) -> np.ndarray | None:
    return None if variance is None else variance.reshape(len(variance), -1)[:, pixels]


def _flux_ratio(values: np.ndarray, good: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Science over reference star (n_ref,), by the power of the images: it holds without a common pattern too.

    0 for a reference without structure.
    """
    use = good[0]
    power = np.array([image[use].std() for image in images])
    return np.divide(values[0, use].std(), power, out=np.zeros_like(power), where=power > 0)


def _photon_variance(
    target: Exposure, i: int, space: Subspace, k: int, amounts: np.ndarray, variance: np.ndarray | None
) -> np.ndarray:
    """Photon and read noise of integration i in its residual; NaN where no error is known."""
    if target.variance is None:
        return np.full(space.pixels.size, np.nan)
    own = kl.row_variance(space.basis[:k], target.variance[i].flat[space.pixels])
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
