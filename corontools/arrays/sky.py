"""Places on the sky: directions, distances, and stars that move."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["ARCSEC", "coverage", "directions", "moved", "separation"]

# arcsec in a radian
ARCSEC = 180 * 3600 / np.pi
MAS = 1000 * ARCSEC


def directions(ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
    """Unit vectors (n, 3) to places in degrees.

    Examples
    --------
    >>> directions([90.0], [0.0]).round(12).tolist()
    [[0.0, 1.0, 0.0]]
    """
    a, d = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)


def separation(ra: ArrayLike, dec: ArrayLike, ra0: ArrayLike, dec0: ArrayLike) -> np.ndarray:
    """Great-circle distance in arcsec between places in degrees; exact for small ones too.

    Examples
    --------
    >>> separation([10.0], [60.0], 10.001, 60.0).round(6).tolist()
    [1.8]
    """
    chord = np.linalg.norm(directions(ra, dec) - directions(ra0, dec0), axis=-1)
    return 2 * np.arcsin(np.minimum(chord / 2, 1)) * ARCSEC


def moved(
    ra: np.ndarray,
    dec: np.ndarray,
    *,
    pm: tuple[ArrayLike, ArrayLike],
    years: ArrayLike,
    parallax: ArrayLike = 0.0,
    observer: ArrayLike = (0.0, 0.0, 0.0),
) -> tuple[np.ndarray, np.ndarray]:
    """Where stars are seen some years later, by their proper motion and parallax.

    The direction is r + t mu - p (b/au), made a unit vector: r the catalogue's, seen from the barycentre of the solar
    system, mu the motion on the tangent plane, p the parallax and b the place of the observer.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees.
    pm : (array-like, array-like)
        Proper motions to the east (with the cosine of the declination) and to the north, mas/yr; NaN is none.
    years : array-like
        From the catalogue's epoch.
    parallax : array-like
        mas; NaN is none.
    observer : array-like, shape (3,)
        From the barycentre of the solar system, au, equatorial.

    Returns
    -------
    ra, dec : ndarray
        Degrees, ra within 0 and 360.

    Examples
    --------
    >>> ra, dec = moved(np.array([10.0]), np.array([0.0]), pm=(3600.0, 0.0), years=1000.0)
    >>> round(float(ra[0]), 4), float(dec[0])  # a degree along the tangent is less on the circle
    (10.9999, 0.0)
    """
    a, d = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    r = directions(ra, dec)
    east = np.stack([-np.sin(a), np.cos(a), np.zeros_like(a)], axis=-1)
    north = np.stack([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)], axis=-1)
    mu_e, mu_n, p = (np.nan_to_num(np.asarray(v, float)) / MAS for v in (*pm, parallax))
    t = np.asarray(years, float)
    seen = r + (t * mu_e)[..., None] * east + (t * mu_n)[..., None] * north
    seen = seen - p[..., None] * np.asarray(observer, float)
    x, y, z = seen.T
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))


def coverage(ra: np.ndarray, dec: np.ndarray) -> tuple[float, float, float, float]:
    """Smallest box of places in degrees: first and last ra, which lies to its east, smallest and largest dec.

    The box may hold ra = 0, then the last ra is smaller than the first.

    Examples
    --------
    >>> coverage(np.array([359.0, 1.0, 0.5]), np.array([3.0, 4.0, 5.0]))
    (359.0, 1.0, 3.0, 5.0)
    """
    ordered = np.sort(np.asarray(ra, float) % 360)
    gaps = np.diff(ordered, append=ordered[0] + 360)
    widest = int(np.argmax(gaps))
    first = ordered[(widest + 1) % len(ordered)]
    return float(first), float(ordered[widest]), float(np.min(dec)), float(np.max(dec))
