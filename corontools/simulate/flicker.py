"""Flicker (1/f) noise of a near-infrared detector, and ramps that have it; see `corontools.arrays.flicker`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corontools.arrays.flicker import OVERHEAD, flicker_noise
from corontools.exposure import Exposure
from corontools.meta import Meta

__all__ = ["OVERHEAD", "RampTruth", "flicker_noise", "ramp"]

# DN per group; DN of a group; sources per pixel
BACKGROUND, READ_NOISE, DENSITY = 20.0, 6.0, 1 / 4000


@dataclass(frozen=True)
class RampTruth:
    """What was put into a ramp.

    Attributes
    ----------
    stripes : ndarray, shape (n_int, n_group, y, x)
        Flicker noise of each group.
    sources, nebula : ndarray, shape (y, x)
        Light of round sources, and of what is extended, DN per group.
    """

    stripes: np.ndarray
    sources: np.ndarray
    nebula: np.ndarray

    @property
    def relative(self) -> np.ndarray:
        """Flicker noise of each group less that of the first of its integration: all that differences show."""
        return self.stripes - self.stripes[:, :1]

    def left(self, noise: np.ndarray) -> np.ndarray:
        """Stripes that remain where `noise` was subtracted, each image about its mean; without the first groups."""
        rest: np.ndarray = (self.relative - noise)[:, 1:]
        return rest - rest.mean(axis=(2, 3), keepdims=True)


def ramp(
    shape: tuple[int, int, int, int] = (2, 4, 256, 512),
    *,
    rms: float = 4.0,
    alpha: float = 1.0,
    channels: int = 1,
    nebula: float = 0.0,
    seed: int = 1,
) -> tuple[Exposure, RampTruth]:
    """A ramp of round sources on a flat background, with photon, read and flicker noise; stripes are rows (NIRCam).

    Photons have a gain of 1 electron per DN and 20 DN of background per group; each group has 6 DN of read noise.

    Parameters
    ----------
    shape : (int, int, int, int)
        (n_int, n_group, y, x).
    rms, alpha, channels
        Flicker noise of each group in DN, the slope of its spectrum, and amplifiers; see `flicker_noise`.
    nebula : float
        Peak of a broad Gaussian in the middle, DN per group.
    seed : int

    Returns
    -------
    exposure : Exposure
        In DN; a subarray of NIRCam imaging, or what its shape says.
    truth : RampTruth

    Examples
    --------
    >>> exposure, truth = ramp((1, 3, 32, 64), rms=5.0)
    >>> exposure.shape, round(float(truth.stripes[0, 1].std()), 3), bool(truth.sources.max() > 10)
    ((1, 3, 32, 64), 5.0, True)
    """
    rng = np.random.default_rng((seed, 1))
    stripes = flicker_noise(shape, rms=rms, alpha=alpha, channels=channels, seed=seed)
    truth = RampTruth(stripes, _sources(shape[-2:], rng), nebula * _gaussian(shape[-2:], 0.5, 0.5, shape[-2] / 4))
    light = rng.poisson(BACKGROUND + truth.sources + truth.nebula, shape).cumsum(axis=1)
    data = light + stripes + rng.normal(0, READ_NOISE, shape)
    meta = Meta(instrument="NIRCAM", exp_type="NRC_IMAGE", unit="DN")
    dq, pixel_dq = np.zeros(shape, np.uint8), np.zeros(shape[-2:], np.uint32)
    return Exposure(data.astype(np.float32), dq=dq, meta=meta, pixel_dq=pixel_dq), truth


def _sources(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Gaussians of 1 to 8 px (1 sigma) anywhere; few are bright."""
    image = np.zeros(shape)
    for _ in range(max(1, round(shape[0] * shape[1] * DENSITY))):
        y, x, sigma, peak = rng.random(), rng.random(), rng.uniform(1, 8), 20 * (1 + rng.pareto(1.0))
        image += min(peak, 2000.0) * _gaussian(shape, y, x, sigma)
    return image


def _gaussian(shape: tuple[int, int], y: float, x: float, sigma: float) -> np.ndarray:
    """With a peak of 1, at (y, x) in units of the image's sides."""
    rows, columns = (np.exp(-0.5 * ((np.arange(n) - n * at) / sigma) ** 2) for n, at in zip(shape, (y, x), strict=True))
    return rows[:, None] * columns
