"""The catalogue of references of a simulated star field."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["OBSERVED", "reference_catalog"]

# MJD
OBSERVED = 60310.0
MAS = np.radians(1 / 3_600_000)
YEAR = 365.25
# errors of proper motions and parallaxes, mas/year and mas
MOTION = 0.1


def reference_catalog(
    sources: Table, *, noise: float, completeness: float, limit: float, epoch: float, rng: np.random.Generator
) -> Table:
    """Stars as a reference catalogue has them, see `StarField.refcat`."""
    from astropy import units as u
    from astropy.table import Table

    chosen = (sources["kind"] == "star") & (sources["mag"] < limit) & (rng.random(len(sources)) < completeness)
    stars = sources[np.asarray(chosen)]
    n = len(stars)
    east, north = _displacement(stars, epoch)
    error = noise * MAS
    dec = np.radians(stars["dec"].data) - north * MAS + rng.normal(0, error, n)
    ra = np.radians(stars["ra"].data) - (east * MAS + rng.normal(0, error, n)) / np.cos(dec)
    table = Table({"id": stars["id"].data.astype(np.int64), "coord_ra": ra, "coord_dec": dec}, units=["", "rad", "rad"])
    table["coord_raErr"] = table["coord_decErr"] = np.full(n, error) * u.rad
    table["epoch"] = np.full(n, epoch) * u.day
    for name, unit in {"pm_ra": u.rad / u.yr, "pm_dec": u.rad / u.yr, "parallax": u.rad}.items():
        table[name] = (stars[name].data + rng.normal(0, MOTION, n)) * MAS * unit
        table[f"{name}Err"] = np.full(n, MOTION * MAS) * unit
    for name, mag in _bands(stars).items():
        _add_fluxes(table, name, mag, rng)
    return table


def _bands(stars: Table) -> dict[str, np.ndarray]:
    """True magnitudes by the g - i colour; `mag` is r."""
    r, color = stars["mag"].data, stars["color"].data
    gaia = r - 0.02 - 0.12 * color
    return {
        "g": r + 0.7 * color,
        "r": r,
        "i": r - 0.3 * color,
        "phot_g_mean": gaia,
        "phot_bp_mean": gaia + 0.35 * color,
        "phot_rp_mean": gaia - 0.55 * color,
    }


def _add_fluxes(table: Table, band: str, mag: np.ndarray, rng: np.random.Generator) -> None:
    """Flux and error in nJy; 5 mmag for bright stars, 0.05 mag at 20."""
    error = np.hypot(0.005, 0.05 * 10 ** (0.4 * (mag - 20)))
    true = 3.630780547701e12 * 10 ** (-0.4 * mag)
    table[f"{band}_flux"] = true * (1 + 0.921 * error * rng.normal(0, 1, len(mag)))
    table[f"{band}_fluxErr"] = 0.921 * error * true
    table[f"{band}_flux"].unit = table[f"{band}_fluxErr"].unit = "nJy"


def _displacement(stars: Table, epoch: float) -> tuple[np.ndarray, np.ndarray]:
    """By how much a star stands east and north of its place in the catalogue when it is observed, mas."""
    from astropy.coordinates import get_body_barycentric
    from astropy.time import Time

    years = (OBSERVED - epoch) / YEAR
    x, y, z = get_body_barycentric("earth", Time(OBSERVED, format="mjd"), ephemeris="builtin").xyz.to_value("au")
    ra, dec = np.radians(stars["ra"].data), np.radians(stars["dec"].data)
    east = x * np.sin(ra) - y * np.cos(ra)
    north = (x * np.cos(ra) + y * np.sin(ra)) * np.sin(dec) - z * np.cos(dec)
    parallax = stars["parallax"].data
    return stars["pm_ra"].data * years + parallax * east, stars["pm_dec"].data * years + parallax * north
