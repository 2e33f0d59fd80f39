"""Ramps with planted stripes, sources and bad pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from astropy.io import fits

from corontools import Exposure, Meta


@dataclass
class Planted:
    """A ramp (n_int, n_group, y, x) whose groups hold known horizontal stripes, weaker than the noise of a pixel."""

    shape: tuple[int, int, int, int] = (2, 4, 64, 256)
    stripe: float = 2.0
    noise: float = 4.0
    background: float = 20.0
    source: float = 400.0
    seed: int = 1
    stripes: np.ndarray = field(init=False)
    data: np.ndarray = field(init=False)
    lit: np.ndarray = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        n_int, n_group, ny, nx = self.shape
        self.lit = np.zeros((ny, nx), bool)
        self.lit[20:28, 30:42] = True
        levels = rng.normal(0, self.stripe, (n_int, n_group, ny, 1))
        self.stripes = np.broadcast_to(levels, self.shape)
        scene = self.background + self.source * self.lit
        clean = scene * np.arange(1, n_group + 1)[:, None, None]
        self.data = (clean + self.stripes + rng.normal(0, self.noise, self.shape)).astype(np.float32)

    @property
    def truth(self):
        """Stripes of each group relative to those of the first: what can be known."""
        return self.stripes - self.stripes[:, :1]

    def exposure(self, **changes):
        given = {"dq": np.zeros(self.shape, np.uint8), "pixel_dq": np.zeros(self.shape[-2:], np.uint32)}
        return Exposure(self.data, meta=header(), **(given | changes))


def header(mode="NRC_IMAGE", slowaxis=2, **cards):
    """Meta as it is read from a file."""
    instrument = {"NRC": "NIRCAM", "NIS": "NIRISS", "NRS": "NIRSPEC", "MIR": "MIRI"}.get(mode[:3], "")
    given = {"EXP_TYPE": mode, "INSTRUME": instrument, "SLOWAXIS": slowaxis, "TELESCOP": "JWST"}
    primary = fits.Header({key: value for key, value in (given | cards).items() if value is not None})
    return Meta.from_headers(primary, fits.Header({"BUNIT": "DN"}))


@pytest.fixture
def planted():
    return Planted


@pytest.fixture
def meta():
    return header


@pytest.fixture
def rate():
    """A rate (y, x) with stripes, and these."""
    rng = np.random.default_rng(2)
    stripes = np.broadcast_to(rng.normal(0, 1.0, (64, 1)), (64, 256))
    image = 10 + stripes + rng.normal(0, 2.0, (64, 256))
    image[30:36, 50:60] += 200
    return image.astype(np.float32), stripes
