"""Ready data sets, and star-only frames by the hundred."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from corontools.exposure import Exposure
from corontools.simulate import headers
from corontools.simulate.camera import Camera
from corontools.simulate.detector import CLEAN, Noise
from corontools.simulate.optics import ARCSEC, Optics
from corontools.simulate.plan import SCIENCE, START, frame_optics, purpose_seeds
from corontools.simulate.scene import Companion, Star
from corontools.simulate.simulation import Simulation, coronagraph
from corontools.simulate.wavefront import Wavefront, power_law, segment_modes

__all__ = ["demo", "null", "tiny"]

DEMO_COMPANIONS = (Companion(0.9, 110.0, 1e-5), Companion(1.5, 305.0, 4e-6), Companion(3.2, 30.0, 1.5e-6))


def demo(*, seed: int = 1) -> Simulation:
    """Two rolls of three integrations, a nine-point dither of the reference, 161 x 161 px, three companions.

    No companion can be seen before the star is subtracted.
    """
    return coronagraph(seed=seed, shape=161, companions=DEMO_COMPANIONS, wavefront=Wavefront(between_stars=4.0))


def tiny(*, seed: int = 1) -> Simulation:
    """For unit tests: two rolls of two integrations, a five-point dither, 64 x 64 px, one companion."""
    wavefront = Wavefront(n_wave=3)
    return coronagraph(
        seed=seed,
        shape=64,
        n_int=2,
        n_dither=5,
        companions=[Companion(1.0, 110.0, 3e-5)],
        wavefront=wavefront,
    )


def null(
    n_sci: int = 4,
    n_ref: int = 30,
    *,
    seed: int = 1,
    shape: int = 101,
    change: float = 3.0,
    pointing: float = 5.0,
    noise: Noise = CLEAN,
) -> tuple[Exposure, Exposure]:
    """Frames of one star without companion, science and references drawn alike, to test noise estimates.

    The field on the detector is expanded to first order in the wavefront: E = E0 + sum_k c_k dE/dc_k over
    piston, tip and tilt of the 18 segments and the pointing, with independent normal c_k in every frame;
    the intensity is the square of E. That costs a matrix product per wavelength instead of a propagation
    per frame. A frame's difference from the mean is off by a few per cent of itself; the statistics are
    exact for this model.

    Parameters
    ----------
    n_sci, n_ref : int
        Numbers of frames.
    seed : int
    shape : int
        Pixels a side; the star stands at (shape // 2, shape // 2).
    change : float
        Nanometres rms of the wavefront's change about its mean.
    pointing : float
        Milliarcsec per axis (1 sigma).
    noise : Noise
        By default without bad pixels.

    Returns
    -------
    science, references : Exposure
        (n_sci, shape, shape) and (n_ref, shape, shape).

    Examples
    --------
    >>> science, references = null(2, 10, shape=48)
    >>> science.shape, references.shape, bool(references.good.all())
    ((2, 48, 48), (10, 48, 48), True)
    """
    optics = frame_optics(shape, Wavefront(n_wave=3))
    rng = np.random.default_rng(np.random.SeedSequence([seed, 54]))
    weights = rng.standard_normal((n_sci + n_ref, 56))
    weights[:, :54] *= change * 1e-9 / np.sqrt(3)  # the three modes of a segment add up to `change`
    weights[:, 54:] *= pointing * 1e-3 * ARCSEC
    signal = _expanded(optics, weights) * Star.surface(Star().flux)
    camera = Camera(optics, noise, purpose_seeds(seed))
    frames = signal[:n_sci], signal[n_sci:]
    visits = (
        headers.Visit(1, *SCIENCE, 63.76, START, n_sci, noise.time),
        headers.Visit(2, *SCIENCE, 63.76, START, n_ref, noise.time, is_psf=True),
    )
    science, references = (camera.exposure(v, f) for v, f in zip(visits, frames, strict=True))
    return science, references


def _expanded(optics: Optics, weights: np.ndarray) -> np.ndarray:
    """Images (n, y, x) of a star for n rows of weights, in metres of each mode."""
    images = 0.0
    for mean, derivatives in _derivatives(optics):
        field = weights @ derivatives.reshape(len(derivatives), -1) + mean.ravel()
        images = images + np.square(field.real) + np.square(field.imag)
    ny, nx = mean.shape
    return optics.pixelate(np.reshape(images, (-1, ny, nx)) / len(optics.wavelengths))


@lru_cache(maxsize=2)
def _derivatives(optics: Optics) -> list[tuple[np.ndarray, np.ndarray]]:
    """Field of the static wavefront and its derivative for each mode, per wavelength."""
    static = power_law(np.random.default_rng(54), optics, Wavefront().static)
    modes = np.concatenate([segment_modes(optics), np.array(optics.coordinates)])
    pairs = []
    for i, wavelength in enumerate(optics.wavelengths):
        wave = optics.wave(static, (0.0, 0.0), i)
        turned = 2j * np.pi / wavelength * wave
        pairs.append((optics.field(wave, i), np.array([optics.field(turned * mode, i) for mode in modes])))
    return pairs
