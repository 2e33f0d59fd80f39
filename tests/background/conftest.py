"""Background exposures with known truth."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from corontools import Exposure, Meta

LEVEL, NOISE = 10.0, 2.0


def header(**cards):
    """Meta as it is read from a file."""
    return Meta.from_headers(fits.Header(cards), fits.Header({"BUNIT": "DN/s"})).with_(filename="nod_rate.fits")


def at(x, y, nx, ny, **cards):
    """Meta of a subarray whose first pixel is (x, y), 0-based."""
    return header(SUBSTRT1=x + 1, SUBSTRT2=y + 1, SUBSIZE1=nx, SUBSIZE2=ny, **cards)


def nods(n, shape=(32, 32), *, seed=1, hits=0.0, noise=NOISE):
    """n exposures of a flat background, float64, with their errors; a part `hits` of the pixels has one outlier."""
    rng = np.random.default_rng(seed)
    data = rng.normal(LEVEL, noise, (n, *shape))
    hit = rng.random(shape[-2:]) < hits
    which = rng.integers(0, n, hit.sum())
    y, x = np.nonzero(hit)
    where = (which, y, x) if len(shape) == 2 else (which, rng.integers(0, shape[0], hit.sum()), y, x)
    data[where] += 40 + rng.exponential(500.0, hit.sum())
    return [Exposure(one, err=np.full(shape, noise), meta=header()) for one in data]


@pytest.fixture(scope="session")
def make_nods():
    return nods


@pytest.fixture(scope="session")
def place():
    return at


@pytest.fixture(scope="session")
def meta():
    return header
