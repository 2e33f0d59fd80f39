"""Plan of an observation: which exposures, with which wavefront and pointing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from corontools.simulate import headers
from corontools.simulate.optics import Optics
from corontools.simulate.scene import PIXEL_SCALE
from corontools.simulate.wavefront import Wavefront, power_law, thermal_change

__all__ = ["SCIENCE", "START", "SUBARRAY", "frame_optics", "pointing", "purpose_seeds", "visits", "wavefronts"]

SUBARRAY = (320, 320)
ON_SUBARRAY = (150.0, 174.0)
SCIENCE = ("V* AU Mic", 311.2917507, -31.3431833)
REFERENCE = ("G 80-21", 56.8483952, -1.9739442)
REFERENCE_ROLL = 274.03
START = 59855.24553600463
PURPOSES = ("wavefront", "between_stars", "drift", "pointing", "noise", "defects")


def purpose_seeds(seed: int) -> dict[str, np.random.SeedSequence]:
    """A stream of random numbers for each purpose, so that a change of one leaves the others as they are."""
    return dict(zip(PURPOSES, np.random.SeedSequence(seed).spawn(len(PURPOSES)), strict=True))


def frame_optics(shape: int | tuple[int, int], wavefront: Wavefront) -> Optics:
    """Optics for a frame: the mask where it stands on the full subarray, else in the middle."""
    ny, nx = (shape, shape) if isinstance(shape, int) else shape
    center = ON_SUBARRAY if (ny, nx) == SUBARRAY else (float(nx // 2), float(ny // 2))
    return Optics((ny, nx), center, PIXEL_SCALE, wavefront.wavelengths)


def visits(rolls: Sequence[float], n_int: int, n_dither: int, time: float) -> list[headers.Visit]:
    """The exposures in their order, half an hour apart."""
    science = [headers.Visit(i + 1, *SCIENCE, roll, START, n_int, time) for i, roll in enumerate(rolls)]
    reference = headers.Visit(len(rolls) + 1, *REFERENCE, REFERENCE_ROLL, START, n_int, time, n_dither=n_dither)
    dithered = [replace(reference, dither=k, is_psf=True) for k in range(n_dither)]
    planned, start = [], START
    for visit in science + dithered:
        planned.append(replace(visit, start=start))
        start = planned[-1].end + 1800 / 86400
    return planned


def wavefronts(
    seeds: Mapping[str, np.random.SeedSequence],
    optics: Optics,
    wavefront: Wavefront,
    visits: Sequence[headers.Visit],
) -> list[list[np.ndarray]]:
    """Wavefront of every integration of every exposure, metres."""
    rng = {name: np.random.default_rng(seeds[name]) for name in ("wavefront", "between_stars", "drift")}
    opd = power_law(rng["wavefront"], optics, wavefront.static)
    other_star = thermal_change(rng["between_stars"], optics, wavefront.between_stars)
    plan: list[list[np.ndarray]] = []
    for visit in visits:
        plan.append([])
        for _ in range(visit.n_int):
            plan[-1].append(opd + other_star if visit.is_psf else opd)
            opd = opd + thermal_change(rng["drift"], optics, wavefront.drift)
    return plan


def pointing(
    seeds: Mapping[str, np.random.SeedSequence], wavefront: Wavefront, visits: Sequence[headers.Visit]
) -> list[np.ndarray]:
    """Arcsec (x, y) of the star from the middle of the mask, (n_int, 2) per exposure.

    A target is acquired once per roll and once for all points of the dither.
    """
    rng = np.random.default_rng(seeds["pointing"])
    plan, acquired = [], np.zeros(2)
    for visit in visits:
        if visit.dither == 0:
            acquired = rng.normal(0, wavefront.pointing, 2)
        step = np.array(headers.PATTERNS[visit.n_dither][1][visit.dither])
        missed = rng.normal(0, wavefront.jitter, 2) if visit.dither else np.zeros(2)
        plan.append((acquired + step + missed + rng.normal(0, wavefront.jitter, (visit.n_int, 2))) / 1000)
    return plan
