"""Calibrated frames of one field in several visits, of which everything is known, to be warped and combined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.errors import DataError
from corontools.simulate.field_psf import MoffatField
from corontools.simulate.field_sky import DEC, PIXEL_SCALE, RA, true_wcs

if TYPE_CHECKING:
    from astropy.table import Table

    from corontools.calibrate.visit import VisitImage

__all__ = ["StarVisits", "star_visits"]

# stars on 512 x 512 px, their magnitudes, and dex per mag
STARS, BRIGHT, FAINT, LAW = 350, 15.5, 23.5, 0.25
# nJy of one e- (AB 29.4), sky and read noise in e-
NJY, SKY, READ_NOISE = 6.3, 900.0, 5.0
# of the trail of a satellite: e- and sigma, px
TRAIL, TRAIL_WIDTH = 60.0, 1.8
# by how much the variable star is brighter in each visit
PULSE = (1.0, 1.7, 0.6, 2.2, 1.3)
# pixels without data, of all
LOST = 3e-4


@dataclass(frozen=True, eq=False)
class StarVisits:
    """Frames and what is in them.

    Attributes
    ----------
    visits : tuple of VisitImage
        In e-, with the calibration to nJy, true WCS and PSF.
    stars : Table
        ra, dec (deg), flux (nJy; that of the variable star is its mean), variable.
    trailed : int
        Number of the visit that a satellite crosses.
    trail : ndarray of bool, shape (y, x)
        Where its trail is more than 1 e-, on that frame.
    pulse : ndarray, shape (n_visit,)
        Flux of the variable star over its mean.
    """

    visits: tuple[VisitImage, ...]
    stars: Table
    trailed: int
    trail: np.ndarray
    pulse: np.ndarray


def star_visits(
    seeing: Sequence[float] = (3.4, 3.9, 3.6, 4.2, 3.7), *, shape: int = 512, trailed: int = 1, seed: int = 1
) -> StarVisits:
    """One field of stars in several visits: turned, dithered, of different seeing and transparency.

    One star varies, a satellite crosses one visit, and a few pixels have no data. The background is subtracted.

    Parameters
    ----------
    seeing : sequence of float
        FWHM in the middle of each visit, px; it varies over the field as that of `MoffatField`.
    shape : int
        Side of the frames, px of 0.2 arcsec.
    trailed : int
        Number of the visit with the trail.
    seed : int

    Raises
    ------
    DataError
        If there is no visit, or none of that number.

    Examples
    --------
    >>> field = star_visits((3.4, 4.2), shape=200)
    >>> field.visits[1], field.stars.colnames
    (<VisitImage 102, detector 1, r, 200 x 200 px>, ['ra', 'dec', 'flux', 'variable'])
    """
    if not 0 <= trailed < len(seeing):
        raise DataError(f"there are {len(seeing)} visits, and the trail is asked for in number {trailed}")
    rng = np.random.Generator(np.random.SFC64((seed, 8)))
    stars = _stars(shape, rng)
    pulse = np.resize(PULSE, len(seeing)) / np.mean(np.resize(PULSE, len(seeing)))
    trail = _trail(shape, rng)
    made = []
    for k, fwhm in enumerate(seeing):
        light = np.where(stars["variable"], pulse[k], 1.0) * stars["flux"]
        extra = trail if k == trailed else 0.0
        made.append(_visit(101 + k, float(fwhm), stars, light, extra, shape, rng))
    return StarVisits(tuple(made), stars, trailed, trail > 1, pulse)


def _stars(shape: int, rng: np.random.Generator) -> Table:
    """Places on and around the field, apart from each other by chance only; the variable one in the middle."""
    from astropy.table import Table

    half = 0.75 * shape * PIXEL_SCALE / 3600
    n = rng.poisson(STARS * (1.5 * shape / 512) ** 2) + 1
    dx, dy = rng.uniform(-half, half, (2, n))
    share = rng.uniform(size=n)
    low, high = 10 ** (LAW * BRIGHT), 10 ** (LAW * FAINT)
    magnitude = np.log10(low + share * (high - low)) / LAW
    dx[0], dy[0], magnitude[0] = 20 * PIXEL_SCALE / 3600, -30 * PIXEL_SCALE / 3600, 18.0
    flux = 10 ** (-0.4 * (magnitude - 31.4))
    columns = {"ra": RA + dx / np.cos(np.radians(DEC)), "dec": DEC + dy, "flux": flux, "variable": np.arange(n) == 0}
    return Table(columns, units={"ra": "deg", "dec": "deg", "flux": "nJy"})


def _trail(shape: int, rng: np.random.Generator) -> np.ndarray:
    """Light of a satellite, e-."""
    y, x = np.mgrid[:shape, :shape]
    angle, middle = rng.uniform(0.3, 0.7), (shape - 1) / 2
    away = (y - middle - 0.08 * shape) * np.cos(angle) - (x - middle) * np.sin(angle)
    return TRAIL * np.exp(-0.5 * (away / TRAIL_WIDTH) ** 2)


def _visit(
    number: int, fwhm: float, stars: Table, flux: Any, extra: Any, shape: int, rng: np.random.Generator
) -> VisitImage:
    from corontools.calibrate.masked import MaskedImage
    from corontools.calibrate.planes import Plane
    from corontools.calibrate.psf import PixelPSF
    from corontools.calibrate.visit import VisitImage
    from corontools.meta import Meta

    wcs = _pointed(shape, rng)
    standard = MoffatField((shape, shape))
    truth = replace(standard, fwhm=tuple(fwhm / standard.fwhm[0] * value for value in standard.fwhm))
    clear = rng.uniform(0.8, 1.0)
    light = np.zeros((shape, shape))
    x, y = wcs.all_world2pix(stars["ra"], stars["dec"], 0)
    truth.add(light, x, y, np.asarray(flux) * clear / NJY)
    light += extra
    variance = light + SKY + READ_NOISE**2
    image = (light + np.sqrt(variance) * rng.standard_normal(variance.shape)).astype(np.float32)
    variance, mask = variance.astype(np.float32), np.zeros(image.shape, np.int32)
    lost = rng.uniform(size=image.shape) < LOST
    image[lost], variance[lost], mask[lost] = np.nan, np.inf, int(Plane.NO_DATA)
    meta = Meta(instrument="simulated", target="star field", filter="r", unit="e-", mjd=60000.0 + number)
    return VisitImage(
        MaskedImage(image, mask, variance), wcs, PixelPSF.sampled(truth, (shape, shape)), meta, visit=number,
        detector=1, calibration=NJY / clear,
    )  # fmt: skip


def _pointed(shape: int, rng: np.random.Generator) -> Any:
    """Near the middle of the field, turned by some degrees."""
    wcs = true_wcs((shape, shape))
    turn, (dx, dy) = np.radians(rng.uniform(-20, 20)), rng.uniform(-0.06, 0.06, 2) * shape * PIXEL_SCALE / 3600
    c, s = np.cos(turn), np.sin(turn)
    wcs.wcs.cd = np.array([[c, -s], [s, c]]) @ wcs.wcs.cd
    wcs.wcs.crval = [RA + dx / np.cos(np.radians(DEC)), DEC + dy]
    wcs.wcs.set()
    return wcs
