"""Data on which the peers are right, and peers that stay in float64."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest


class Speckles:
    """Images of one star: Gaussian speckles at fixed places with amplitudes that differ from frame to frame.

    A speckle of sigma 2 px has no power beyond the Nyquist frequency (3e-9 of its peak), so every exact
    interpolation gives the same, and the image can be written down at any position without interpolating.
    """

    def __init__(self, shape=(96, 96), *, seed=1, reach=8.0, sigma=2.0, count=40):
        rng = np.random.default_rng(seed)
        self.shape, self.sigma, self.rng = shape, sigma, rng
        radius, angle = reach * np.sqrt(rng.random(count)), 2 * np.pi * rng.random(count)
        middle = (shape[1] - 1) / 2, (shape[0] - 1) / 2
        self.x, self.y = middle[0] + radius * np.cos(angle), middle[1] + radius * np.sin(angle)
        self.mean = rng.exponential(100.0, count)

    def amplitudes(self, n, change=0.1):
        """Independent sets of amplitudes (n, count), `change` being their relative scatter."""
        return self.mean * (1 + change * self.rng.standard_normal((n, self.mean.size)))

    def image(self, amplitude=None, at=(0.0, 0.0)):
        """The image (y, x) with the star moved by `at` = (dx, dy) px."""
        amplitude = self.mean if amplitude is None else amplitude
        y, x = (np.arange(length)[:, None] for length in self.shape)
        along_x = np.exp(-0.5 * ((x - self.x - at[0]) / self.sigma) ** 2)
        along_y = np.exp(-0.5 * ((y - self.y - at[1]) / self.sigma) ** 2)
        return (along_y * amplitude) @ along_x.T

    def cube(self, n, *, change=0.1, at=None):
        """Images (n, y, x) of n sets of amplitudes, moved by at[i]."""
        places = np.zeros((n, 2)) if at is None else np.asarray(at)
        return np.array([self.image(a, p) for a, p in zip(self.amplitudes(n, change), places, strict=True)])


class Cube(SimpleNamespace):
    """Stands for jwst's CubeModel, which casts everything to float32, where jwst needs no more than arrays."""

    def __init__(self, data, err=None, dq=None):
        data = np.array(data, np.float64)
        err = np.ones_like(data) if err is None else np.array(err, np.float64)
        super().__init__(data=data, err=err, dq=np.zeros(data.shape, np.uint32) if dq is None else dq)

    @property
    def shape(self):
        return self.data.shape

    def copy(self):
        return Cube(self.data, self.err, self.dq.copy())


@pytest.fixture(scope="session")
def speckles():
    return Speckles


@pytest.fixture(scope="session")
def cube64():
    return Cube


@pytest.fixture(scope="session")
def au_mic():
    """AU Mic 001001, six references at the offsets that they had when they were taken (float64), and the psfmask.

    The exposures as delivered were aligned by others, so those offsets are put back first.
    """
    from corontools import Exposure
    from corontools.arrays.shift import shift_image

    folder = Path(os.environ.get("CORONTOOLS_DATA", "../shared/data")) / "aumic_f444w"
    if not folder.is_dir():
        pytest.skip(f"no real exposures in {folder}; CORONTOOLS_DATA names the folder that holds aumic_f444w")
    files = sorted(folder.glob("*calints.fits"))
    images = [np.nan_to_num(Exposure.read(file).data[0].astype(np.float64)) for file in (files[0], *files[2:])]
    offsets = [(-0.102, -0.018), (-0.068, 0.158), (-0.092, 0.143), (-0.057, 0.073), (-0.179, 0.062), (-0.261, 0.147)]
    moved = [shift_image(image, -np.array(offset)) for image, offset in zip(images[1:], offsets, strict=True)]
    mask = np.asarray(Exposure.read(next(folder.glob("*psfmask*.fits"))).data, np.float64)
    return images[0], np.array(moved), mask.reshape(images[0].shape)
