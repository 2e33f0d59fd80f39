"""Errors of a subtracted image. The derivation is in `docs/klip.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from corontools.arrays import kl
from corontools.arrays.noise import leave_one_out_power, model_variance, smooth_positive, tail_factor
from corontools.arrays.radial import scatter_map
from corontools.coron.subspace import ReferenceRows, Subspace, science_rows
from corontools.exposure import Exposure
from corontools.progress import progress

if TYPE_CHECKING:
    from corontools.coron.klip import KlipResult

__all__ = ["measured_noise", "residual_noise"]


def residual_noise(result: KlipResult) -> np.ndarray:
    """Variance in the residual that the integrations of an exposure share, and that each has of its own.

    Shape (2, n_int, y, x): speckles and the references' photons; photons and read-out of the science image.
    """
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


def measured_noise(result: KlipResult) -> np.ndarray:
    """The same from the residual itself, where the references are no measure of it (frames of the same star).

    The total is the square of the scatter in rings; own is the propagated noise of the integration, as far as it is
    known and not more than that.
    """
    out = np.full((2, *result.target.shape), np.nan)
    total = np.array([scatter_map(frame, center=result.target.center) for frame in result.frames]) ** 2
    own = np.zeros(total.shape)
    flat = own.reshape(result.target.n_int, -1)
    if result.target.variance is not None:
        for space in result.subspaces:
            k = min(result.modes, len(space.basis))
            for i in space.integrations:
                flat[i, space.pixels] = np.nan_to_num(_own_variance(result.target, i, space, k))
    np.minimum(own, total, out=out[1])
    np.subtract(total, out[1], out=out[0])
    return out


class _ZoneNoise(NamedTuple):
    """Shared and own variance (pixels,) of each integration, and the tail factor that they hold."""

    parts: list[tuple[np.ndarray, np.ndarray]]
    tail: float


def _zone_noise(result: KlipResult, space: Subspace, tail: float | None) -> _ZoneNoise:
    """Noise on a zone's pixels for each of its integrations; the tail is measured unless it is known."""
    first, k = space.integrations[0], min(result.modes, len(space.basis))
    groups = result.aligned.stack.groups
    images, good = ReferenceRows.of(result.aligned, first).zone(space.pixels)
    variance = result.aligned.variance(first, space.pixels)
    made = kl.leave_one_out(images @ images.T, k, groups=groups) if len(images) > 1 else None
    tail = tail_factor(images, k, groups=groups) if tail is None else tail
    amounts = kl.reference_weights(space.weights, space.coefficients(k)[:, 1:])
    parts = []
    for i, amount in zip(space.integrations, amounts, strict=True):
        own = _own_variance(result.target, i, space, k)
        model = np.zeros(own.size) if variance is None else model_variance(amount, variance)
        if made is None:
            parts.append((model, own))
            continue
        flux = _flux_ratio(*science_rows(result.target, space.pixels, [i]), images)
        # a reference without structure says nothing of the noise
        use = good & (flux > 0)[:, None]
        power, known = leave_one_out_power(images, made, flux, good=use, variance=variance)
        speckle = smooth_positive(power - known, space.pixels, result.zones.shape)
        parts.append(_split(tail**2 * power, known, speckle, model, own))
    return _ZoneNoise(parts, tail)


def _flux_ratio(values: np.ndarray, good: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Science over reference star (n_ref,), by the power of the images: it holds without a common pattern too.

    0 for a reference without structure.
    """
    use = good[0]
    power = np.array([image[use].std() for image in images])
    return np.divide(values[0, use].std(), power, out=np.zeros_like(power), where=power > 0)


def _own_variance(target: Exposure, i: int, space: Subspace, k: int) -> np.ndarray:
    """Photon and read noise of integration i in its residual; NaN where no error is known."""
    if target.variance is None:
        return np.full(space.pixels.size, np.nan)
    # what is flagged takes no part in the fit, whatever its error says
    variance = np.where(target.good[i], target.variance[i], np.nan).flat[space.pixels]
    return kl.row_variance(space.basis[:k], variance)


def _split(
    power: np.ndarray, known: np.ndarray, speckle: np.ndarray, model: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scale the references' power to the noise of the science image, and part it in shared and own noise.

    The power holds speckles + the references' own noise (known). The science has speckles + model + own instead, and
    the power is scaled by that ratio, so it keeps the distribution of a mean of squares and never turns negative.
    Where the science's noise isn't known, that of the references stands for it.
    """
    photon = np.where(np.isfinite(own + model), own + model, known)
    own = np.where(np.isfinite(own + model), own, known)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = power * np.where(speckle + known > 0, (speckle + photon) / (speckle + known), 1.0)
        share = np.where(speckle + photon > 0, own / (speckle + photon), 0.0)
    return scaled * (1.0 - share), scaled * share
