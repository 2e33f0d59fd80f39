"""A simulated star field of which everything is known, to calibrate: `star_field`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.meta import Meta
from corontools.simulate.field_detector import FieldDetector, cosmic_rays, defects, read_out
from corontools.simulate.field_psf import MoffatField
from corontools.simulate.field_refcat import OBSERVED, reference_catalog
from corontools.simulate.field_sky import (
    ANGLE,
    PIXEL_SCALE,
    FieldSky,
    oriented,
    place_sources,
    true_wcs,
)

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["FieldTruth", "StarField", "star_field"]

# where the telescope that points wrongly points to, degrees east of north of where it should
AWAY = 35.0
# nJy of magnitude 0, AB
ZERO = 3.630780547701e12


@dataclass(frozen=True)
class FieldTruth:
    """What a star field was made of.

    Attributes
    ----------
    sources : Table
        On the detector: id, x, y (0-based px), flux (whole light, counts in the whole exposure), mag (AB), kind
        ("star", "galaxy"), blend (id of the brighter star it was put beside, or 0), neighbor (px to the nearest source
        with more than a tenth of its light), ra, dec (degrees, when observed), pm_ra, pm_dec (mas/year), parallax
        (mas), color (g - i), half_light_radius, sersic, axis_ratio, angle of galaxies.
    outside : Table
        The same for sources up to 400 px beside the detector.
    sky : ndarray, shape (y, x)
        Background without sources, counts in the whole exposure.
    light : ndarray, shape (y, x)
        Sky and sources before saturation and noise, counts.
    rays : ndarray, shape (n_snap, y, x)
        Charge of cosmic rays in each snap, counts.
    variance : ndarray, shape (y, x)
        Of the noise of the whole exposure without cosmic rays, counts^2.
    defects : ndarray of uint32, shape (y, x)
        DQ of what is wrong with the detector.
    psf : MoffatField
        `psf.images(x, y)` are stars, `psf.kernels(x, y)` the PSF, `psf.sigma(x, y)` its size.
    wcs : astropy.wcs.WCS
        The right one, TAN-SIP.
    zero_point : float
        Magnitude (AB) of 1 count in the whole exposure.
    """

    sources: Table
    outside: Table
    sky: np.ndarray
    light: np.ndarray
    rays: np.ndarray
    variance: np.ndarray
    defects: np.ndarray
    psf: MoffatField
    wcs: Any
    zero_point: float

    @property
    def flux_at_zero(self) -> float:
        """Counts of magnitude 0 in the whole exposure."""
        return float(10 ** (0.4 * self.zero_point))

    @property
    def calibration_mean(self) -> float:
        """Flux of one count, nJy."""
        return ZERO / self.flux_at_zero

    @property
    def cosmic_rays(self) -> np.ndarray:
        """Pixels that cosmic rays hit in any snap, (y, x) of bool."""
        return np.any(self.rays > 0, axis=0)

    @cached_property
    def cosmic_snr(self) -> np.ndarray:
        """Charge of cosmic rays in all snaps over the noise of the pixel without them, (y, x)."""
        return self.rays.sum(axis=0) / np.sqrt(self.variance)

    @property
    def stars(self) -> Table:
        """Stars among the sources."""
        return self.sources[np.asarray(self.sources["kind"] == "star")]


@dataclass(frozen=True)
class StarField:
    """Exposures of a star field and the truth.

    Attributes
    ----------
    exposures : tuple of Exposure
        One, or two snaps of half the time; counts, with err, dq and the WCS as pointed.
    truth : FieldTruth
    seed : int
    """

    exposures: tuple[Exposure, ...]
    truth: FieldTruth
    seed: int = 1

    def refcat(
        self,
        noise: float = 5.0,
        *,
        completeness: float = 0.95,
        limit: float = 20.0,
        epoch: float = 57388.5,
        seed: int | None = None,
    ) -> Table:
        """Reference catalogue of the stars on and around the detector, with the column names of LSST.

        Fluxes (nJy) of the bands g, r (the band of the exposures), i, and phot_g_mean, phot_bp_mean, phot_rp_mean with
        colour terms: G - r = -0.02 - 0.12 (g - i). coord_ra and coord_dec (rad) are those of the epoch: stars
        move on until they are observed.

        Parameters
        ----------
        noise : float
            Of each coordinate, mas.
        completeness : float
            Part of the stars that the catalogue has.
        limit : float
            Faintest magnitude.
        epoch : float
            MJD; by default 2016.0, eight years before the exposures.
        seed : int, optional

        Examples
        --------
        >>> refs = star_field((128, 128)).refcat()
        >>> refs["coord_ra"].unit, refs["pm_ra"].unit, refs["r_flux"].unit
        (Unit("rad"), Unit("rad / yr"), Unit("nJy"))
        """
        from astropy.table import vstack

        rng = np.random.default_rng((self.seed if seed is None else seed, 7))
        everywhere = vstack([self.truth.sources, self.truth.outside], metadata_conflicts="silent")
        return reference_catalog(everywhere, noise=noise, completeness=completeness, limit=limit, epoch=epoch, rng=rng)


def star_field(
    shape: int | tuple[int, int] = 2048,
    *,
    snaps: int = 1,
    offset: float = 3.0,
    rotation: float = 0.02,
    sky: FieldSky | None = None,
    detector: FieldDetector | None = None,
    seed: int = 1,
) -> StarField:
    """Stars, galaxies and cosmic rays on a detector with a PSF that varies, all known.

    By default there are about 2500 stars (magnitude 12 to 20.5) and 300 galaxies on 2048 x 2048 px of 0.2 arcsec, a sky
    of 1000 e-, 5 sigma at magnitude 19.3, and Moffat profiles of FWHM 3.6 to 4.4 px.

    Parameters
    ----------
    shape : int or (int, int)
        (y, x).
    snaps : {1, 2}
        Two snaps have half the exposure time each, and noise and cosmic rays of their own; their sum has the zero
        point of the truth.
    offset, rotation : float
        By how much the WCS that the exposures have is wrong: arcsec, degrees.
    sky : FieldSky, optional
    detector : FieldDetector, optional
    seed : int

    Raises
    ------
    DataError
        If there are neither one nor two snaps.

    Examples
    --------
    >>> field = star_field(256, snaps=2)
    >>> [e.shape for e in field.exposures], field.truth.zero_point
    ([(256, 256), (256, 256)], 27.0)
    """
    if snaps not in (1, 2):
        raise DataError(f"an exposure is one image or two snaps, asked for {snaps}")
    size = (shape, shape) if isinstance(shape, int) else shape
    sky, detector = sky or FieldSky(), detector or FieldDetector()
    rng = np.random.Generator(np.random.SFC64((seed, 6)))
    truth = _made(size, sky, detector, rng, snaps)
    wcs = _pointed(truth.wcs, offset, rotation)
    exposures = []
    for k, rays in enumerate(truth.rays):
        data, err, dq = read_out(
            truth.light * detector.gain / snaps, rays * detector.gain, truth.defects, detector, rng
        )
        exposures.append(Exposure(data, err=err, dq=dq, wcs=wcs, meta=_meta(detector, k, snaps, seed)))
    return StarField(tuple(exposures), truth, seed)


def _made(
    shape: tuple[int, int], sky: FieldSky, detector: FieldDetector, rng: np.random.Generator, snaps: int
) -> FieldTruth:
    """All that there is before the detector is read out; the counts of the truth are e- over the gain."""
    wcs, psf, gain = true_wcs(shape), sky.psf or MoffatField(shape), detector.gain
    sources, (x, y, flux) = place_sources(sky, shape, wcs, rng)
    background = sky.background(shape)
    light = background.copy()
    psf.add(light, x, y, flux)
    n_rays = detector.cosmic_rays * shape[0] * shape[1] / 2048**2 / snaps
    rays = np.array([cosmic_rays(shape, rng.poisson(n_rays), rng) for _ in range(snaps)])
    sources["flux"] = sources["flux"] / gain
    sources["flux"].unit = "ct"
    inside = np.all([np.abs(sources[k] - (n - 1) / 2) <= n / 2 for k, n in zip("yx", shape, strict=True)], axis=0)
    return FieldTruth(
        sources=sources[inside],
        outside=sources[~inside],
        sky=background / gain,
        light=light / gain,
        rays=rays / np.float32(gain),
        variance=(light + snaps * detector.read_noise**2) / gain**2,
        defects=defects(detector, shape, rng),
        psf=psf,
        wcs=wcs,
        zero_point=sky.zero_point - 2.5 * float(np.log10(gain)),
    )


def _pointed(wcs: Any, offset: float, rotation: float) -> Any:
    """The same distortion, pointed and turned wrongly."""
    from astropy.coordinates import SkyCoord
    from astropy.units import arcsec, deg

    pointed = wcs.deepcopy()
    center = SkyCoord(*wcs.wcs.crval, unit=deg).directional_offset_by(AWAY * deg, offset * arcsec)
    pointed.wcs.crval = [center.ra.deg, center.dec.deg]
    pointed.wcs.cd = oriented(ANGLE + rotation)
    pointed.wcs.set()
    return pointed


def _meta(detector: FieldDetector, snap: int, snaps: int, seed: int) -> Meta:
    """What the header tells: time, gain, noise, saturation and where the telescope stands."""
    time = detector.exposure_time / snaps
    mjd = OBSERVED + (snap - (snaps - 1) / 2) * time / 86_400
    name = f"field{seed}_{'ab'[snap]}.fits" if snaps == 2 else f"field{seed}.fits"
    meta = Meta(
        filename=name, instrument="SIM", detector="SIM1", filter="r", target="FIELD", unit="ct",
        pixel_scale=PIXEL_SCALE, mjd=mjd, exposure_time=time,
    )  # fmt: skip
    cards = {
        "FILENAME": name, "BUNIT": "ct", "EFFEXPTM": (time, "s"), "EXPMID": (mjd, "d"),
        "GAIN": (detector.gain, "e-/ct"), "RDNOISE": (detector.read_noise, "e-"),
        "SATURATE": (detector.full_well / detector.gain, "ct"), "VISIT": (2 * seed + snap, "number of the exposure"),
        "OBSGEO-B": (-30.2446, "deg"), "OBSGEO-L": (-70.7494, "deg"), "OBSGEO-H": (2663.0, "m"),
    }  # fmt: skip
    return meta.with_cards(cards)
