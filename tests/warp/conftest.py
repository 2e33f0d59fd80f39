"""A small visit of which everything is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from corontools.calibrate import MaskedImage
from corontools.calibrate.psf import GaussianPSF
from corontools.calibrate.visit import VisitImage
from corontools.warp import SkyMap, Tiling
from corontools.warp.sky import sky_wcs

RA, DEC, SCALE, WIDTH = 53.1, -27.8, 0.2, 1.7


def rotated(angle=0.0, at=(63.5, 59.5), scale=SCALE, center=(RA, DEC)):
    """TAN, +y at the position angle."""
    return sky_wcs(center, at, Tiling(scale, rotation=angle).cd)


def star_image(wcs, shape=(120, 128), *, seed=1, noise=1.0, ra_dec=None, flux=1e4, width=WIDTH):
    """Gaussian stars of one flux at places of the sky on noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = noise * rng.standard_normal(shape)
    for sx, sy in np.atleast_2d(np.transpose(wcs.all_world2pix(*ra_dec, 0))):
        image += flux / (2 * np.pi * width**2) * np.exp(-0.5 * ((x - sx) ** 2 + (y - sy) ** 2) / width**2)
    return image.astype(np.float32)


def visit_image(angle=0.0, *, wcs=None, image=None, seed=1, detector=1, shape=(120, 128), **names):
    """A frame of noise 1, or the given one, with a round Gaussian PSF."""
    wcs = rotated(angle) if wcs is None else wcs
    image = np.random.default_rng(seed).standard_normal(shape).astype(np.float32) if image is None else image
    frame = MaskedImage(image, np.zeros(image.shape, np.int32), np.ones(image.shape, np.float32))
    return VisitImage(frame, wcs, GaussianPSF(WIDTH, 21), **{"visit": 7, "detector": detector, "filter": "r", **names})


@pytest.fixture(scope="session")
def tools():
    return SimpleNamespace(rotated=rotated, star_image=star_image, visit_image=visit_image, width=WIDTH)


@pytest.fixture(scope="session")
def patch():
    """The pixels of the visit at angle 0, turned by 20 degrees, with a border."""
    corners = visit_image(0.0)
    return SkyMap.around([corners], tiling=Tiling(SCALE, (170, 170), 0, rotation=20.0))[0][0, 0]
