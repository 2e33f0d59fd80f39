"""The detector of a simulated star field: cosmic rays, saturation, defects and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corontools.dq import DQ

__all__ = ["FieldDetector", "cosmic_rays", "defects", "read_out"]

# cosmic rays: shares of points, straight tracks and curled ones; e- per px along a track and in a point
SHARES = (0.35, 0.55, 0.1)
ALONG, POINT = 900.0, 2500.0
# steps per px in which a track is drawn, and how far its charge spreads, px
STEPS, SPREAD = 8, 0.35
HOT_PIXELS = 300 / 2048**2


@dataclass(frozen=True)
class FieldDetector:
    """What the detector does.

    Parameters
    ----------
    gain : float
        e- per count.
    read_noise : float
        e-, of each snap.
    full_well : float
        e- at which a pixel saturates and bleeds along its column.
    cosmic_rays : float
        Rays on 2048 x 2048 px in the whole exposure.
    bad_columns : int
        Columns, or parts of them, that are dead or hot.
    spots : int
        Round places of 6 px radius without data, NaN.
    exposure_time : float
        s, of the whole exposure.
    """

    gain: float = 1.0
    read_noise: float = 8.0
    full_well: float = 20_000.0
    cosmic_rays: float = 400.0
    bad_columns: int = 3
    spots: int = 1
    exposure_time: float = 30.0


def cosmic_rays(shape: tuple[int, int], n: int, rng: np.random.Generator) -> np.ndarray:
    """Charge of n rays, (y, x) of float32, e-: points, straight tracks and curled ones, without noise."""
    ny, nx = shape
    kind = rng.choice(3, n, p=SHARES)
    length = np.where(kind == 0, rng.uniform(0.2, 1.5, n), 3 + rng.exponential(15, n)).clip(max=100)
    charge = np.where(kind == 0, POINT / length, ALONG) * rng.lognormal(0, 0.6, n)
    curl = np.where(kind == 2, rng.uniform(0.05, 0.3, n), 1e-6) * rng.choice([-1, 1], n)
    angle = rng.uniform(0, 2 * np.pi, n)
    steps = np.ceil(length * STEPS).astype(int)
    of = np.repeat(np.arange(n), steps)
    s = (np.arange(of.size) - np.repeat(np.cumsum(steps) - steps, steps)) / STEPS
    turned = angle[of] + curl[of] * s
    x = rng.uniform(-0.5, nx - 0.5, n)[of] + (np.sin(turned) - np.sin(angle[of])) / curl[of]
    y = rng.uniform(-0.5, ny - 0.5, n)[of] - (np.cos(turned) - np.cos(angle[of])) / curl[of]
    deposit = charge[of] / STEPS * rng.gamma(2, 0.5, of.size)
    columns, rows = (np.rint(v + rng.normal(0, SPREAD, of.size)).astype(int) for v in (x, y))
    inside = (columns >= 0) & (columns < nx) & (rows >= 0) & (rows < ny)
    image = np.zeros(shape, np.float32)
    np.add.at(image, (rows[inside], columns[inside]), deposit[inside])
    return image


def defects(detector: FieldDetector, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """DQ of the detector, the same in all snaps: hot pixels, bad columns, spots without data."""
    ny, nx = shape
    dq = np.zeros(shape, np.uint32)
    dq[rng.random(shape, np.float32) < HOT_PIXELS] = DQ.HOT | DQ.DO_NOT_USE
    for k, column in enumerate(rng.integers(0, nx, detector.bad_columns)):
        first, last = (0, ny) if k == 0 else np.sort(rng.integers(0, ny, 2))
        dq[first:last, column] = (DQ.HOT if k % 2 else DQ.DEAD) | DQ.DO_NOT_USE
    y, x = np.ogrid[:ny, :nx]
    for where_y, where_x in rng.uniform(0, 1, (detector.spots, 2)) * shape:
        dq[np.hypot(y - where_y, x - where_x) < 6] = DQ.NON_SCIENCE | DQ.DO_NOT_USE
    return dq


def read_out(
    light: np.ndarray, rays: np.ndarray, bad: np.ndarray, detector: FieldDetector, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, errors and DQ of one snap that saw `light` and `rays`, both in e-.

    The error is what an observer can tell: from the counts themselves and the read noise.
    """
    from corontools.simulate._field_kernels import bleed

    charge = rng.poisson(light).astype(np.float64)
    charge += rays
    hot, dead, none = ((bad & bit) > 0 for bit in (DQ.HOT, DQ.DEAD, DQ.NON_SCIENCE))
    charge[hot] += rng.exponential(3000.0, np.count_nonzero(hot))
    bleed(charge, detector.full_well)
    dq = bad | np.where(charge > 0.999 * detector.full_well, np.uint32(DQ.SATURATED), np.uint32(0))
    charge[dead] = 0
    charge += detector.read_noise * rng.standard_normal(charge.shape, np.float32)
    charge[none] = np.nan
    err = np.sqrt(np.maximum(charge, 0) + detector.read_noise**2) / detector.gain
    return (charge / detector.gain).astype(np.float32), err.astype(np.float32), dq
