"""Statistics of a calibrated frame, with LSST's names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from astropy.table import Table

from corontools.arrays.moments import ORDERS, adaptive_moments
from corontools.calibrate.columns import column, flag
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import PSF
from corontools.meta import Meta

if TYPE_CHECKING:
    from corontools.calibrate.image import CalibratedImage

__all__ = ["Fiducial", "Summary", "summarize"]

MAD = 1.4826
# px between the places where PSF and aperture correction are looked at, and where the nearest star is looked for
GRID, NEAREST = 96, 8
# S/N of the PSF stars whose shapes are compared
BRIGHT, FAINT = 1000.0, 50.0
# pixels that statistics of the sky leave out
NO_SKY = Plane.NO_DATA | Plane.SUSPECT
UNSEEN = Plane.BAD | Plane.SAT | Plane.NO_DATA | Plane.EDGE
# unit of each statistic that has one
UNITS = {
    "expTime": "s", "ra": "deg", "dec": "deg", "raCorners": "deg", "decCorners": "deg", "pixelScale": "arcsec",
    "zenithDistance": "deg", "psfSigma": "px", "psfIxx": "px2", "psfIyy": "px2", "psfIxy": "px2", "psfArea": "px2",
    "psfTraceRadiusDelta": "px", "maxDistToNearestPsf": "px", "psfStarDeltaSizeMedian": "px",
    "psfStarDeltaSizeScatter": "px", "starUnNormalizedEMedian": "px2", "zeroPoint": "mag", "skyBg": "ct",
    "skyNoise": "ct", "meanVar": "ct2", "astromOffsetMean": "arcsec", "astromOffsetStd": "arcsec",
    "magLim": "mag", "effTime": "s",
}  # fmt: skip


@dataclass(frozen=True)
class Fiducial:
    """A typical frame, with which the effective exposure time compares.

    Parameters
    ----------
    magnitude, time : float
        Limiting magnitude (S/N 5) in an exposure of so many seconds.
    sigma : float
        Of the PSF, px.
    sky : float
        Counts per px and second.
    zero_point : float
        Of one second, mag.
    """

    magnitude: float = 25.0
    time: float = 30.0
    sigma: float = 1.7
    sky: float = 33.0
    zero_point: float = 27.0


class Summary(Mapping[str, Any]):
    """Statistics by name; what isn't known is NaN. Units are in `Summary.unit`."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def unit(self, name: str) -> str:
        """Unit of a statistic; empty where it has none."""
        return UNITS.get(name, "")

    @property
    def table(self) -> Table:
        """One row, with units."""
        made = Table({name: [value] for name, value in self.items()})
        for name in made.colnames:
            made[name].unit = {"px": "pix", "px2": "pix2"}.get(self.unit(name), self.unit(name)) or None
        return made

    def __repr__(self) -> str:
        lines = [f"{name:30s} {_told(value)} {self.unit(name)}".rstrip() for name, value in self.items()]
        return "\n".join(lines)


def summarize(calibrated: CalibratedImage, *, fiducial: Fiducial | None = None) -> Summary:
    """All statistics that a single detector has, as far as the calibration has come."""
    found: dict[str, Any] = {"expTime": _number(calibrated.exposure.meta.exposure_time)}
    found |= _place(calibrated)
    found |= _sky(calibrated)
    if calibrated.modelled is not None:
        grid = _grid(calibrated, GRID)
        found |= _psf(calibrated, grid) | _psf_stars(_measured(calibrated))
        found["psfApCorrSigmaScaledDelta"] = _correction_range(calibrated, grid, found["psfSigma"])
        found["maxDistToNearestPsf"] = _farthest(calibrated)
    if calibrated.astrometry is not None:
        found["astromOffsetMean"] = calibrated.astrometry.offset_mean
        found["astromOffsetStd"] = calibrated.astrometry.offset_std
    if calibrated.photometry is not None:
        found["zeroPoint"] = calibrated.photometry.zero_point
        found |= depth(found, _instrument(calibrated), fiducial or Fiducial())
    return Summary(found)


class Instrument(NamedTuple):
    """Electrons per count, and read noise in electrons."""

    gain: float
    read_noise: float


def depth(found: Mapping[str, float], instrument: Instrument, fiducial: Fiducial) -> dict[str, float]:
    """Magnitude of a star of S/N 5, and the exposure time that a typical frame would have needed for it.

    With S counts of the star in the effective area A of the PSF, S/N = S / sqrt(S / g + A (sky / g + ron^2)).
    """
    snr, gain = 5.0, instrument.gain
    noise = found["psfArea"] * (found["skyBg"] / gain + (instrument.read_noise / gain) ** 2)
    star = snr**2 / (2 * gain) + math.sqrt(snr**4 / (4 * gain**2) + snr**2 * max(noise, 0.0))
    limit = found["zeroPoint"] - 2.5 * math.log10(star)
    time = found["expTime"]
    scales = {
        "effTime": 10 ** (0.8 * (limit - fiducial.magnitude)) * fiducial.time,
        "effTimePsfSigmaScale": (found["psfSigma"] / fiducial.sigma) ** -2,
        "effTimeSkyBgScale": fiducial.sky / (found["skyBg"] / time) if found["skyBg"] > 0 else math.nan,
        "effTimeZeroPointScale": 10 ** (-0.8 * (fiducial.zero_point - (found["zeroPoint"] - 2.5 * math.log10(time))))
        if time > 0
        else math.nan,
    }
    return {"magLim": limit, **scales}


def _instrument(calibrated: CalibratedImage) -> Instrument:
    """By the header; else counts are electrons without read noise."""
    meta = calibrated.exposure.meta
    gain, noise = (next((v for v in map(meta.card, names) if v is not None), d) for names, d in (
        (("GAIN", "GAINEFF", "EGAIN"), 1.0), (("RDNOISE", "READNOIS"), 0.0)))  # fmt: skip
    return Instrument(float(gain), float(noise))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _place(calibrated: CalibratedImage) -> dict[str, Any]:
    """Where the frame is on the sky."""
    none = dict.fromkeys(("ra", "dec", "pixelScale", "zenithDistance"), math.nan)
    if calibrated.wcs is None:
        return none | {"raCorners": (math.nan,) * 4, "decCorners": (math.nan,) * 4}
    from astropy.wcs.utils import proj_plane_pixel_area

    ny, nx = calibrated.start.shape
    middle = [((nx - 1) / 2, (ny - 1) / 2)]
    corners = [(-0.5, -0.5), (nx - 0.5, -0.5), (nx - 0.5, ny - 0.5), (-0.5, ny - 0.5)]
    ra, dec = calibrated.wcs.all_pix2world(middle + corners, 0, ra_dec_order=True).T
    return {
        "ra": float(ra[0]), "dec": float(dec[0]), "raCorners": tuple(map(float, ra[1:])),
        "decCorners": tuple(map(float, dec[1:])),
        "pixelScale": float(np.sqrt(proj_plane_pixel_area(calibrated.wcs.celestial))) * 3600,
        "zenithDistance": _zenith_distance(calibrated, float(ra[0]), float(dec[0])),
    }  # fmt: skip


def _zenith_distance(calibrated: CalibratedImage, ra: float, dec: float) -> float:
    """By date and place of the telescope, else by the airmass; NaN in space."""
    meta = calibrated.exposure.meta
    altitude, airmass = meta.card("ALT"), meta.card("AIRMASS")
    if isinstance(altitude, int | float):
        return 90.0 - float(altitude)
    if isinstance(airmass, int | float) and airmass >= 1:
        return math.degrees(math.acos(1 / float(airmass)))
    site = _site(meta)
    if meta.mjd is None or site is None:
        return math.nan
    from astropy.coordinates import AltAz, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    # a second of UT1 is 15 arcsec: not worth a download
    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        seen = SkyCoord(ra, dec, unit="deg").transform_to(AltAz(obstime=Time(meta.mjd, format="mjd"), location=site))
    return 90.0 - float(seen.alt.deg)


def _site(meta: Meta) -> Any:
    """Where the telescope stands: OBSGEO-B, -L, -H or -X, -Y, -Z of the header; None where it doesn't tell."""
    from astropy import units as u
    from astropy.coordinates import EarthLocation

    latitude, longitude, height, *position = (meta.card(f"OBSGEO-{axis}") for axis in "BLHXYZ")
    if all(isinstance(one, int | float) for one in (latitude, longitude, height)):
        return EarthLocation.from_geodetic(longitude, latitude, height)
    if all(isinstance(one, int | float) for one in position):
        return EarthLocation.from_geocentric(*position, unit=u.m)
    return None


def _sky(calibrated: CalibratedImage) -> dict[str, float]:
    """Level and noise of the sky."""
    from corontools.arrays.clip import clipped_stats

    frame = calibrated.frame
    good = ~frame.has(NO_SKY) & np.isfinite(frame.image)
    noise = clipped_stats(frame.image, good, sigma=3.0, maxiters=2)
    variance = clipped_stats(frame.variance, good & np.isfinite(frame.variance), sigma=3.0, maxiters=2)
    return {"skyBg": calibrated.backgrounds.sky, "skyNoise": noise.std, "meanVar": variance.mean}


def _grid(calibrated: CalibratedImage, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Unmasked places x, y of a grid."""
    y, x = np.mgrid[step // 2 : calibrated.start.shape[0] : step, step // 2 : calibrated.start.shape[1] : step]
    seen = ~calibrated.frame.has(UNSEEN)[y, x]
    return (x[seen], y[seen]) if seen.any() else (x.ravel(), y.ravel())


def _shape(psf: PSF, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Moments xx, yy, xy of a PSF at places, and its stamps."""
    stamps = psf.kernels(x, y)
    middle = np.full(len(stamps), psf.size // 2)
    found = adaptive_moments(stamps, np.ones_like(stamps), middle, middle, sigma=psf.sigma(x, y))
    return found.xx, found.yy, found.xy, stamps


def _psf(calibrated: CalibratedImage, grid: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """Size and shape in the middle, and how they differ over the frame."""
    psf, (ny, nx) = calibrated.psf, calibrated.start.shape
    xx, yy, xy, stamp = _shape(psf, np.array([(nx - 1) / 2]), np.array([(ny - 1) / 2]))
    sigma = float((xx[0] * yy[0] - xy[0] ** 2) ** 0.25)
    all_xx, all_yy, _, stamps = _shape(psf, *grid)
    radius = np.sqrt((all_xx + all_yy) / 2)
    along = np.arange(psf.size) - psf.size // 2
    inside = along[:, None] ** 2 + along**2 <= max(2.0, 3 * sigma) ** 2
    part = stamps[:, inside].sum(axis=1)
    return {
        "psfSigma": sigma, "psfIxx": float(xx[0]), "psfIyy": float(yy[0]), "psfIxy": float(xy[0]),
        "psfArea": float(stamp.sum() ** 2 / np.square(stamp).sum()),
        "psfTraceRadiusDelta": float(np.ptp(radius)),
        "psfApFluxDelta": math.nan if (part < 0).any() else float(np.ptp(part)),
    }  # fmt: skip


def _correction_range(calibrated: CalibratedImage, grid: tuple[np.ndarray, np.ndarray], sigma: float) -> float:
    if calibrated.corrections is None or "base_PsfFlux" not in calibrated.corrections.fields:
        return math.nan
    return float(np.ptp(calibrated.corrections.fields["base_PsfFlux"].at(*grid))) / sigma


def _farthest(calibrated: CalibratedImage) -> float:
    """From a place that can be used to the nearest star of the PSF, at most."""
    from scipy.spatial import cKDTree

    table = calibrated.psf_stars
    used = flag(table, "calib_psf_used")
    stars = np.stack([column(table, f"slot_Centroid_{axis}")[used] for axis in "xy"], axis=1)
    places = np.stack(_grid(calibrated, NEAREST), axis=1)
    return float(cKDTree(stars).query(places)[0].max())


def _measured(calibrated: CalibratedImage) -> Table:
    """Stars with shapes of themselves and of the PSF: those of the final catalogue, once they are found."""
    return calibrated.psf_stars if calibrated.found is None else calibrated.found.table


def _psf_stars(table: Table) -> dict[str, float]:
    """How the stars that the PSF was fitted to differ from it."""
    used = flag(table, "calib_psf_used")
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = column(table, "base_PsfFlux_instFlux") / column(table, "base_PsfFlux_instFluxErr")
        compared = used & (snr >= FAINT) & (snr <= BRIGHT)
    star, model = (_ellipticity(table, kind, compared) for kind in ("slot_Shape", "slot_PsfShape"))
    found: dict[str, float] = {"nPsfStar": int(used.sum())}
    for name, mine, its in (("E1", star.e1, model.e1), ("E2", star.e2, model.e2), ("Size", star.radius, model.radius)):
        found[f"psfStarDelta{name}Median"], found[f"psfStarDelta{name}Scatter"] = _middle(mine - its)
    size = _middle(star.radius)[0]
    found["psfStarScaledDeltaSizeScatter"] = found["psfStarDeltaSizeScatter"] / size
    found["starEMedian"] = _middle(np.hypot(star.e1, star.e2))[0]
    found["starUnNormalizedEMedian"] = _middle(np.hypot(star.e1, star.e2) * 2 * star.radius**2)[0]
    return found | _higher(table, compared)


class _Shapes(NamedTuple):
    e1: np.ndarray
    e2: np.ndarray
    radius: np.ndarray


def _ellipticity(table: Table, name: str, rows: np.ndarray) -> _Shapes:
    if f"{name}_xx" not in table.colnames:
        none = np.full(np.count_nonzero(rows), np.nan)
        return _Shapes(none, none, none)
    xx, yy, xy = (column(table, f"{name}_{part}")[rows] for part in ("xx", "yy", "xy"))
    with np.errstate(invalid="ignore", divide="ignore"):
        return _Shapes((xx - yy) / (xx + yy), 2 * xy / (xx + yy), np.sqrt((xx + yy) / 2))


def _higher(table: Table, rows: np.ndarray) -> dict[str, float]:
    """Medians of coma, trefoil, kurtosis and fourth-order ellipticity of the stars, where these were measured."""
    name = "ext_shapeHSM_HigherOrderMomentsSource"
    known = f"{name}_30" in table.colnames
    m = {f"{p}{q}": column(table, f"{name}_{p}{q}")[rows] if known else np.array([np.nan]) for p, q in ORDERS}
    made = {
        "Coma1": m["30"] + m["12"], "Coma2": m["21"] + m["03"],
        "Trefoil1": m["30"] - 3 * m["12"], "Trefoil2": 3 * m["21"] - m["03"],
        "Kurtosis": m["40"] + 2 * m["22"] + m["04"], "E41": m["40"] - m["04"], "E42": 2 * (m["31"] + m["13"]),
    }  # fmt: skip
    return {f"star{key}Median": _middle(values)[0] for key, values in made.items()}


def _middle(values: np.ndarray) -> tuple[float, float]:
    """Median and robust standard deviation of what is finite."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return math.nan, math.nan
    median = float(np.median(finite))
    return median, float(MAD * np.median(np.abs(finite - median)))


def _told(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_told(one) for one in value)
    return f"{value:d}" if isinstance(value, int) else f"{value:.6g}"
