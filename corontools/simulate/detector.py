"""Detector: photon and read noise, and the pixels that don't work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corontools.dq import DQ

__all__ = ["CLEAN", "PHOTMJSR", "Noise", "expose"]

# MJy/sr per DN/s of F444W behind the round mask, as in the headers of real exposures
PHOTMJSR = 2.5160000324249268
HIT = 20.0  # MJy/sr, mean of what a cosmic ray leaves


@dataclass(frozen=True)
class Noise:
    """Noise and bad pixels of one integration.

    Attributes
    ----------
    time : float
        Seconds of an integration; `math.inf` leaves all noise out.
    gain : float
        Electrons per DN (NIRCam's long-wave channel, JWST user documentation).
    read_noise : float
        Electrons (1 sigma) in the accumulated signal of an integration; 27 makes ERR of ten MEDIUM8
        integrations that of real ones, 0.066 MJy/sr.
    background : float
        MJy/sr, the same in every pixel.
    nan : float
        Fraction of pixels without data, the same in every integration; as in real files they don't carry
        DO_NOT_USE.
    bad : float
        Fraction of hot and dead pixels, with wild values and DO_NOT_USE.
    jumps : float
        Fraction of pixels with JUMP_DET, which are good.
    outliers : float
        Fraction of pixels hit by a cosmic ray (20 MJy/sr on average) that nothing flagged.
    """

    time: float = 178.1
    gain: float = 1.82
    read_noise: float = 27.0
    background: float = 0.1
    nan: float = 0.004
    bad: float = 0.0005
    jumps: float = 0.15
    outliers: float = 0.0

    @property
    def electrons(self) -> float:
        """Electrons of an integration per MJy/sr."""
        return self.gain * self.time / PHOTMJSR


CLEAN = Noise(nan=0.0, bad=0.0, jumps=0.0)


def expose(
    signal: np.ndarray, noise: Noise, rng: np.random.Generator, defects: np.random.Generator
) -> dict[str, np.ndarray]:
    """One exposure of noise-free integrations (n_int, y, x), MJy/sr: SCI, ERR, DQ and the variances.

    The variances are those of the noise that was drawn, from the noise-free signal; ERR^2 is their sum.
    `defects` makes the map of broken pixels: start it equal to get the same detector.
    """
    signal = signal + noise.background
    data, poisson = signal.copy(), signal / noise.electrons
    rnoise = np.full_like(signal, (noise.read_noise / noise.electrons) ** 2)
    if np.isfinite(noise.time):
        data = rng.poisson(signal * noise.electrons) / noise.electrons
        data += np.sqrt(rnoise) * rng.standard_normal(signal.shape)
    dq = np.where(rng.random(signal.shape) < noise.jumps, DQ.JUMP_DET, 0).astype(np.uint32)
    hit = rng.random(signal.shape) < noise.outliers
    data[hit] += rng.exponential(HIT, hit.sum())
    planes = {"data": data, "err": np.sqrt(poisson + rnoise), "poisson": poisson, "rnoise": rnoise}
    planes["flat"] = np.zeros_like(signal)
    return {"dq": _defects(planes, dq, noise, defects)} | {k: v.astype(np.float32) for k, v in planes.items()}


def _defects(planes: dict[str, np.ndarray], dq: np.ndarray, noise: Noise, rng: np.random.Generator) -> np.ndarray:
    """Put NaN and wild values where the detector is broken; gives the flags."""
    shape = dq.shape[-2:]
    lot = rng.random(shape)
    empty, bad = lot < noise.nan, (lot >= noise.nan) & (lot < noise.nan + noise.bad)
    hot = bad & (rng.random(shape) < 0.5)
    kinds = np.array([DQ.DEAD, DQ.NO_LIN_CORR, DQ.RC, 0], np.uint32)
    dq = dq | np.where(empty, rng.choice(kinds, shape), 0).astype(np.uint32)
    dq |= np.where(bad, np.where(hot, DQ.HOT, DQ.DEAD) | DQ.DO_NOT_USE, 0).astype(np.uint32)
    wild = np.where(hot, rng.lognormal(7, 1, shape), -rng.lognormal(3, 1, shape))
    planes["data"][...] = np.where(bad, wild, planes["data"])
    for plane in planes.values():
        plane[..., empty] = np.nan
    return dq
