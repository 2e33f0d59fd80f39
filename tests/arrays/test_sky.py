"""Places on the sky."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.time import Time

from corontools.arrays.sky import coverage, directions, moved, separation


def test_distances_are_those_of_astropy():
    rng = np.random.default_rng(1)
    a = SkyCoord(rng.uniform(0, 360, 50) * u.deg, rng.uniform(-90, 90, 50) * u.deg)
    b = SkyCoord(rng.uniform(0, 360, 50) * u.deg, rng.uniform(-90, 90, 50) * u.deg)
    expected = a.separation(b).arcsec
    np.testing.assert_allclose(separation(a.ra.deg, a.dec.deg, b.ra.deg, b.dec.deg), expected, rtol=1e-9)
    np.testing.assert_allclose(directions(a.ra.deg, a.dec.deg), a.cartesian.xyz.value.T, atol=1e-14)


@pytest.mark.parametrize("dec", [-60.0, 0.0, 89.9])
def test_proper_motion_is_that_of_astropy(dec):
    star = SkyCoord(
        359.9999 * u.deg, dec * u.deg, pm_ra_cosdec=3000 * u.mas / u.yr, pm_dec=-1500 * u.mas / u.yr,
        distance=100 * u.pc, radial_velocity=0 * u.km / u.s, obstime=Time(2000.0, format="jyear"),
    )  # fmt: skip
    later = star.apply_space_motion(new_obstime=Time(2020.0, format="jyear"))
    ra, dec_later = moved(np.array([359.9999]), np.array([dec]), pm=(3000.0, -1500.0), years=20.0)
    # astropy lets the star go on in space, at a distance that isn't endless
    assert separation(ra, dec_later, later.ra.deg, later.dec.deg)[0] < 1e-3


def test_parallax_is_the_direction_from_where_the_observer_stands():
    observer = np.array([0.3, -0.9, 0.2])
    star = SkyCoord(130 * u.deg, -20 * u.deg, distance=5 * u.pc)
    seen = star.cartesian.xyz.to_value(u.au) - observer
    expected = SkyCoord(*seen, representation_type="cartesian").spherical
    ra, dec = moved(
        np.array([130.0]), np.array([-20.0]), pm=(0.0, 0.0), years=0.0, parallax=np.array([200.0]), observer=observer
    )
    assert separation(ra, dec, expected.lon.deg, expected.lat.deg)[0] < 1e-6


def test_unknown_motions_are_none():
    ra, dec = moved(np.array([3.0]), np.array([4.0]), pm=([np.nan], [np.nan]), years=10.0, parallax=[np.nan])
    np.testing.assert_allclose([ra[0], dec[0]], [3.0, 4.0], rtol=1e-14)


def test_a_box_may_hold_the_origin_of_right_ascension():
    assert coverage(np.array([10.0, 12, 11]), np.array([1.0, 2, 3])) == (10, 12, 1, 3)
    assert coverage(np.array([2.0, 358, 1]), np.array([1.0, 2, 3])) == (358, 2, 1, 3)
    assert coverage(np.array([7.0]), np.array([1.0])) == (7, 7, 1, 1)
