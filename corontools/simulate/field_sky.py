"""The sky of a simulated star field: stars, galaxies, background, coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.simulate.field_psf import MoffatField

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["ANGLE", "PIXEL_SCALE", "FieldSky", "oriented", "place_sources", "true_wcs"]

# densities of a field with 2500 stars and 300 galaxies on 2048 x 2048 px
STARS, GALAXIES = 2500 / 2048**2, 300 / 2048**2
BRIGHT, FAINT = 12.0, 20.5
# how steeply stars and galaxies get more numerous, dex per mag
STAR_LAW, GALAXY_LAW = 0.22, 0.35
BRIGHT_GALAXY, FAINT_GALAXY = 16.0, 21.0
# px beyond the detector where there are sources too
MARGIN = 400
# where: degrees, arcsec/px
RA, DEC, ANGLE, PIXEL_SCALE = 53.1, -27.8, 15.0, 0.2
UNITS = {
    "x": "pix", "y": "pix", "mag": "mag", "neighbor": "pix", "ra": "deg", "dec": "deg", "pm_ra": "mas / yr",
    "pm_dec": "mas / yr", "parallax": "mas", "color": "mag", "half_light_radius": "pix", "angle": "rad",
}  # fmt: skip


@dataclass(frozen=True)
class FieldSky:
    """What is in the sky.

    Parameters
    ----------
    n_stars, n_galaxies : int, optional
        Expected on the detector; by default as dense as 2500 and 300 on 2048 x 2048 px.
    blends : float
        Part of the stars that stand 3 to 10 px from another one that is brighter.
    level : float
        Background in the middle of the detector, e- in the whole exposure.
    gradient : float
        Difference of the background from corner to corner, relative.
    glow : float
        Height of a smooth spot of light, relative to the level.
    zero_point : float
        Magnitude of 1 e- in the whole exposure, AB.
    psf : MoffatField, optional
        One that varies over the detector by default.
    """

    n_stars: int | None = None
    n_galaxies: int | None = None
    blends: float = 0.1
    level: float = 1000.0
    gradient: float = 0.04
    glow: float = 0.005
    zero_point: float = 27.0
    psf: MoffatField | None = None

    def background(self, shape: tuple[int, int]) -> np.ndarray:
        """Sky without sources, (y, x), e-."""
        v, u = (np.linspace(-1, 1, n)[:, None] if axis == 0 else np.linspace(-1, 1, n) for axis, n in enumerate(shape))
        tilt = self.gradient * (0.3 * u + 0.2 * v) + 0.25 * self.gradient * (u**2 + u * v - 0.5 * v**2)
        spot = self.glow * np.exp(-((u - 0.3) ** 2 + (v + 0.2) ** 2) / (2 * 0.45**2))
        return self.level * (1 + tilt + spot)


def true_wcs(shape: tuple[int, int]) -> Any:
    """TAN-SIP of the whole light path: 0.2 arcsec/px, distorted by 2 px at the corners of 2048 x 2048 px."""
    from astropy.wcs import WCS, Sip

    ny, nx = shape
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.crpix = [(nx + 1) / 2, (ny + 1) / 2]
    wcs.wcs.crval = [RA, DEC]
    wcs.wcs.cd = oriented(ANGLE)
    wcs.wcs.cunit = ["deg", "deg"]
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[2, 0], a[1, 1], a[3, 0], a[1, 2] = 4e-7, -3e-7, 6e-10, 6e-10
    b[0, 2], b[1, 1], b[0, 3], b[2, 1] = 3e-7, 2e-7, 6e-10, 6e-10
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    wcs.array_shape = shape
    return wcs


def oriented(angle: float) -> np.ndarray:
    """CD matrix with +y at a position angle (degrees), east to the left of north."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return PIXEL_SCALE / 3600 * np.array([[-c, s], [s, c]])


def place_sources(
    sky: FieldSky, shape: tuple[int, int], wcs: Any, rng: np.random.Generator
) -> tuple[Table, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Sources on and around the detector, and the points of light (x, y, flux in e-) that draw them."""
    from astropy.table import Table

    star, mag = _drawn(sky, shape, rng)
    low, high = np.full(2, -MARGIN - 0.5), np.array(shape[::-1]) + MARGIN - 0.5
    xy = rng.uniform(low, high, (star.size, 2))
    blend = _blended(xy, mag, np.flatnonzero(star), sky.blends, rng)
    flux = 10 ** (0.4 * (sky.zero_point - mag))
    ra, dec = wcs.all_pix2world(xy, 0).T
    table = Table(
        {
            "id": np.arange(1, star.size + 1),
            "x": xy[:, 0],
            "y": xy[:, 1],
            "flux": flux,
            "mag": mag,
            "kind": np.where(star, "star", "galaxy"),
            "blend": blend,
            "neighbor": _neighbors(xy, flux),
            "ra": ra,
            "dec": dec,
            **_motions(star, rng),
            "color": rng.normal(0.95, 0.45, star.size).clip(-0.3, 2.5),
            **_shapes(star, mag, rng),
        },
        units=UNITS,
    )
    return table, _points(table)


def _drawn(sky: FieldSky, shape: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which sources are stars, and magnitudes."""
    area, wide = shape[0] * shape[1], (shape[0] + 2 * MARGIN) * (shape[1] + 2 * MARGIN)
    n_stars = rng.poisson(wide * (STARS if sky.n_stars is None else sky.n_stars / area))
    n_galaxies = rng.poisson(wide * (GALAXIES if sky.n_galaxies is None else sky.n_galaxies / area))
    stars = _magnitudes(n_stars, BRIGHT, FAINT, STAR_LAW, rng)
    galaxies = _magnitudes(n_galaxies, BRIGHT_GALAXY, FAINT_GALAXY, GALAXY_LAW, rng)
    return np.arange(n_stars + n_galaxies) < n_stars, np.concatenate([stars, galaxies])


def _magnitudes(n: int, bright: float, faint: float, law: float, rng: np.random.Generator) -> np.ndarray:
    """Drawn from numbers that grow as 10^(law m)."""
    ends = 10 ** (law * np.array([bright, faint]))
    return np.log10(rng.uniform(ends[0], ends[1], n)) / law


def _blended(xy: np.ndarray, mag: np.ndarray, stars: np.ndarray, part: float, rng: np.random.Generator) -> np.ndarray:
    """Move a part of the stars beside brighter ones, in place; id of that star, 0 where there is none."""
    blend = np.zeros(len(mag), int)
    beside = rng.random(stars.size) < part
    moved, hosts = stars[beside], stars[~beside & (mag[stars] < FAINT - 1.5)]
    if hosts.size == 0:
        return blend
    host = rng.choice(hosts, moved.size)
    angle, sep = rng.uniform(0, 2 * np.pi, moved.size), rng.uniform(3, 10, moved.size)
    xy[moved] = xy[host] + sep[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mag[moved] = np.minimum(mag[host] + rng.uniform(0, 2.5, moved.size), FAINT)
    blend[moved] = host + 1
    return blend


def _shapes(star: np.ndarray, mag: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Sizes and shapes of galaxies, brighter ones larger; 0 for stars."""
    n = star.size
    size = rng.lognormal(np.log(2.5), 0.4, n) * 10 ** (0.08 * (FAINT_GALAXY - mag))
    shapes = {
        "half_light_radius": size.clip(1.0, 12.0),
        "sersic": rng.choice([1.0, 2.5, 4.0], n, p=[0.6, 0.25, 0.15]),
        "axis_ratio": rng.uniform(0.3, 1.0, n),
        "angle": rng.uniform(0, np.pi, n),
    }
    return {name: np.where(star, 0.0, values) for name, values in shapes.items()}


def _motions(star: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Proper motions (of ra times cos dec), mas/year, and parallaxes, mas; 0 for galaxies."""
    n = star.size
    parallax = rng.lognormal(np.log(0.8), 0.8, n)
    speed = 8 * np.sqrt(parallax / 0.8)
    values = {"pm_ra": rng.normal(2, speed), "pm_dec": rng.normal(-4, speed), "parallax": parallax}
    return {name: np.where(star, v, 0.0) for name, v in values.items()}


def _neighbors(xy: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Distance to the nearest other source with more than a tenth of the light, of the 8 nearest, px."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(xy).query(xy, k=9)
    known = index < len(xy)
    bright = known & (flux[np.where(known, index, 0)] > 0.1 * flux[:, None])
    bright[:, 0] = False
    return np.where(bright, distance, np.inf).min(axis=1)


def _points(table: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of equal light for each galaxy, on a spiral by the radii of its Sersic profile; a star is one."""
    from scipy.special import gammaincinv

    size, order = table["half_light_radius"].data, np.maximum(table["sersic"].data, 0.5)
    n = np.where(size > 0, np.clip(60 * size, 100, 500), 1).astype(int)
    of = np.repeat(np.arange(len(table)), n)
    k = np.arange(of.size) - np.repeat(np.cumsum(n) - n, n)
    # a profile has no end: the outermost part of the light is put within
    share = 0.985 * (k + 0.5) / n[of]
    radius = size[of] * (gammaincinv(2 * order[of], share) / gammaincinv(2 * order, 0.5)[of]) ** order[of]
    turn = k * np.pi * (3 - np.sqrt(5))
    along, across = radius * np.cos(turn), radius * table["axis_ratio"].data[of] * np.sin(turn)
    c, s = np.cos(table["angle"].data)[of], np.sin(table["angle"].data)[of]
    x, y = table["x"].data[of] + c * along - s * across, table["y"].data[of] + s * along + c * across
    return x, y, (table["flux"].data / n)[of]
