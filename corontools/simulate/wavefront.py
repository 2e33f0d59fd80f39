"""Wavefront: static errors, their slow change, and the pointing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corontools.simulate.optics import GRID, Optics, hexagon_centers

__all__ = ["Wavefront", "power_law", "segment_modes", "thermal_change"]

SLOPE = 3.0
LOW_ORDER = 0.9  # part of the variance of a change
OUTER_SCALE = 0.3  # cycles per metre below which the spectrum is flat


@dataclass(frozen=True)
class Wavefront:
    """How well the telescope is phased and pointed.

    Attributes
    ----------
    static : float
        Nanometres rms of the constant error: a power law f^-3, flat below 0.3 cycles per metre.
    between_stars : float
        Nanometres rms of the change between the science target and the reference star.
    drift : float
        Nanometres rms of the change from one integration to the next; changes add up as a random walk.
    pointing : float
        Milliarcsec per axis (1 sigma) by which target acquisition misses the middle of the mask.
    jitter : float
        Milliarcsec per axis (1 sigma) from one integration to the next, and of a dither step.
    band : (float, float)
        Metres; half-power wavelengths of the filter (F444W).
    n_wave : int
        Wavelengths that sample the band.

    Notes
    -----
    Both changes are a quadratic form over the whole pupil (focus and astigmatism, 90 % of the variance) and
    pistons, tips and tilts of the 18 segments: what is seen when JWST cools or a segment tilts.
    """

    static: float = 70.0
    between_stars: float = 10.0
    drift: float = 1.0
    pointing: float = 5.0
    jitter: float = 1.0
    band: tuple[float, float] = (3.88e-6, 4.98e-6)
    n_wave: int = 7

    @property
    def wavelengths(self) -> tuple[float, ...]:
        """Middles of `n_wave` equal parts of the band, metres."""
        low, high = self.band
        return tuple(float(low + (high - low) * (i + 0.5) / self.n_wave) for i in range(self.n_wave))


def _scaled(opd: np.ndarray, optics: Optics, rms: float) -> np.ndarray:
    """Zero mean and `rms` nanometres over the pupil; metres, zero outside."""
    inside = optics.pupil > 0
    opd = np.where(inside, opd - opd[inside].mean(), 0.0)
    return opd * (rms * 1e-9 / opd[inside].std())


def power_law(rng: np.random.Generator, optics: Optics, rms: float) -> np.ndarray:
    """Random wavefront with a power-law spectrum, metres, shape (n, n)."""
    from scipy.fft import fft2, ifft2

    f = np.fft.fftfreq(optics.n, GRID / optics.n)
    amplitude = np.maximum(np.hypot(f, f[:, None]), OUTER_SCALE) ** (-SLOPE / 2)
    white = rng.standard_normal((optics.n, optics.n))
    return _scaled(ifft2(fft2(white) * amplitude).real, optics, rms)


def thermal_change(rng: np.random.Generator, optics: Optics, rms: float) -> np.ndarray:
    """Random motion of the segments and a change of focus and astigmatism, metres, shape (n, n)."""
    modes = segment_modes(optics)
    segments = np.tensordot(rng.standard_normal(len(modes)), modes, axes=1)
    x, y = optics.coordinates
    a, b, c = rng.standard_normal(3)
    quadratic = a * (x**2 + y**2) + b * (x**2 - y**2) + c * 2 * x * y
    segments, quadratic = _scaled(segments, optics, 1.0), _scaled(quadratic, optics, 1.0)
    return _scaled(np.sqrt(LOW_ORDER) * quadratic + np.sqrt(1 - LOW_ORDER) * segments, optics, rms)


def segment_modes(optics: Optics) -> np.ndarray:
    """Piston, tip and tilt of each segment, (54, n, n), each with an rms of 1 over its segment."""
    x, y = optics.coordinates
    modes = []
    for number, (cx, cy) in enumerate(hexagon_centers()):
        on = optics.segment == number
        for shape in (np.ones_like(x), x - cx, y - cy):
            modes.append(np.where(on, shape / np.sqrt(np.square(shape[on]).mean()), 0.0))
    return np.array(modes)
