import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, get_body_barycentric
from astropy.time import Time
from scipy.ndimage import zoom

from corontools import DQ, DataError
from corontools.simulate import star_field
from corontools.simulate.field_detector import FieldDetector
from corontools.simulate.field_psf import MoffatField
from corontools.simulate.field_sky import FieldSky

SHAPE = (300, 400)


@pytest.fixture(scope="module")
def field():
    return star_field(SHAPE, seed=4)


def unhit(field):
    return (field.exposures[0].dq == 0) & ~field.truth.cosmic_rays


def test_pixels_differ_from_the_truth_by_noise_of_the_right_size(field):
    (exposure,), truth = field.exposures, field.truth
    pulls = ((exposure.data - truth.light) / np.sqrt(truth.variance))[unhit(field)]
    assert abs(pulls.mean()) < 5 / np.sqrt(pulls.size)
    assert pulls.std() == pytest.approx(1, rel=4 / np.sqrt(pulls.size))
    np.testing.assert_allclose(np.mean((exposure.err**2)[unhit(field)] / truth.variance[unhit(field)]), 1, rtol=1e-3)


def test_the_sum_of_two_snaps_has_the_flux_and_noise_of_the_whole():
    field = star_field(256, snaps=2, seed=2, detector=FieldDetector(full_well=1e6))
    first, second = field.exposures
    ok = (first.dq == 0) & (second.dq == 0) & ~field.truth.cosmic_rays
    pulls = ((first.data + second.data - field.truth.light) / np.sqrt(field.truth.variance))[ok]
    assert abs(pulls.mean()) < 5 / np.sqrt(pulls.size)
    assert pulls.std() == pytest.approx(1, rel=4 / np.sqrt(pulls.size))
    noise = (first.data - second.data)[ok]
    assert np.corrcoef(noise, field.truth.light[ok])[0, 1] == pytest.approx(0, abs=0.05)
    assert not np.any((field.truth.rays[0] > 0) & (field.truth.rays[1] > 0))
    assert first.meta.exposure_time == 15
    assert (second.meta.mjd - first.meta.mjd) * 86400 == pytest.approx(15, abs=1e-4)


def test_stars_have_the_light_and_the_place_that_the_catalogue_tells(field):
    truth = field.truth
    stars = truth.stars
    x, y = stars["x"], stars["y"]
    lonely = (stars["neighbor"] > 40) & (stars["mag"] < 16) & (x > 30) & (x < 370) & (y > 30) & (y < 270)
    chosen = stars[lonely]
    assert len(chosen) > 3
    for star in chosen:
        i, j = round(star["y"]), round(star["x"])
        cut = np.s_[i - 8 : i + 9, j - 8 : j + 9]
        stamp = (truth.light - truth.sky)[cut]
        model = truth.psf.images(star["x"], star["y"])[0]
        assert np.corrcoef(stamp.ravel(), model[12:29, 12:29].ravel())[0, 1] > 0.999
        share = model[12:29, 12:29].sum()
        assert stamp.sum() / share == pytest.approx(star["flux"], rel=0.03)


def test_magnitudes_and_the_zero_point_give_the_flux_in_counts_and_njy():
    gain = 2.5
    field = star_field(128, seed=1, detector=FieldDetector(gain=gain, full_well=1e9))
    other = star_field(128, seed=1)
    np.testing.assert_allclose(field.truth.sources["flux"] * gain, other.truth.sources["flux"])
    stars = field.truth.stars
    np.testing.assert_allclose(stars["flux"], field.truth.flux_at_zero * 10 ** (-0.4 * stars["mag"]))
    njy = (stars["mag"].data * u.ABmag).to_value(u.nJy)
    np.testing.assert_allclose(stars["flux"] * field.truth.calibration_mean, njy, rtol=1e-6)
    ok = unhit(field)
    # counts of Poisson noise: variance is the light over the gain
    assert np.var((field.exposures[0].data - field.truth.light)[ok]) == pytest.approx(
        np.mean((field.truth.light / gain + 64 / gain**2)[ok]), rel=0.05
    )


def test_the_psf_has_the_widths_and_moments_that_it_tells():
    psf = MoffatField((1000, 1000), size=101)
    x, y = np.array([30.0, 700.0, 990.0]), np.array([100.0, 400.0, 950.0])
    along = np.arange(101) - 50
    for stamp, fwhm, sigma, *moments in zip(
        psf.kernels(x, y), psf.widths(x, y), psf.sigma(x, y), *psf.moments(x, y), strict=True
    ):
        ixx, iyy, ixy = adaptive(stamp, along)
        np.testing.assert_allclose([ixx, iyy, ixy], moments, atol=2e-3)
        assert (ixx * iyy - ixy**2) ** 0.25 == pytest.approx(sigma, rel=1e-3)
        area = np.sum(zoom(stamp[40:61, 40:61], 8, order=3) > stamp.max() / 2) * (20 / 167) ** 2
        assert np.sqrt(area * 4 / np.pi) == pytest.approx(fwhm, rel=0.02)
    everywhere = psf.widths(*np.indices((1000, 1000))[:, ::9, ::9].reshape(2, -1))
    assert everywhere.min() == pytest.approx(3.6, abs=0.03)
    assert everywhere.max() == pytest.approx(4.4, abs=0.03)


def adaptive(stamp, along):
    """Second moments under a Gaussian weight of the same moments."""
    covariance = np.eye(2) * 3.0
    y, x = np.meshgrid(along, along, indexing="ij")
    for _ in range(100):
        inverse = np.linalg.inv(covariance)
        weight = stamp * np.exp(-0.5 * (inverse[0, 0] * x**2 + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y**2))
        second = [np.sum(weight * v) / weight.sum() for v in (x * x, y * y, x * y)]
        covariance = 2 * np.array([[second[0], second[2]], [second[2], second[1]]])
    return covariance[0, 0], covariance[1, 1], covariance[0, 1]


def test_a_star_on_a_pixel_grid_keeps_its_light_and_centre():
    psf = MoffatField((200, 200))
    image = np.zeros((200, 200))
    psf.add(image, [80.3], [120.8], [1e5])
    assert image.sum() == pytest.approx(1e5, rel=3e-4)
    y, x = np.indices(image.shape)
    assert np.sum(x * image) / image.sum() == pytest.approx(80.3, abs=2e-3)
    assert np.sum(y * image) / image.sum() == pytest.approx(120.8, abs=2e-3)
    stamp = image[101:142, 60:101]
    np.testing.assert_allclose(stamp / stamp.sum(), psf.images(80.3, 120.8)[0], atol=1e-12)


def test_saturated_stars_bleed_along_their_columns_and_lose_no_charge():
    detector = FieldDetector(cosmic_rays=0, bad_columns=0, spots=0, full_well=3000)
    field = star_field(512, seed=1, detector=detector)
    exposure, truth = field.exposures[0], field.truth
    saturated = (exposure.dq & DQ.SATURATED) > 0
    assert np.any(truth.light[saturated] < 2000)  # charge came from elsewhere
    assert np.all((truth.light > 3300) <= saturated)
    hot = (exposure.dq & DQ.HOT) > 0
    columns = ~hot.any(axis=0) & saturated.any(axis=0)
    difference = np.sum((exposure.data - truth.light)[:, columns])
    assert abs(difference) < 5 * np.sqrt(truth.variance[:, columns].sum())


def test_cosmic_rays_are_where_the_truth_says(field):
    (exposure,), truth = field.exposures, field.truth
    above = (exposure.data - truth.light) / np.sqrt(truth.variance)
    strong = (truth.cosmic_snr > 6) & (exposure.dq == 0)
    assert strong.sum() > 50
    assert np.median(above[strong] / truth.cosmic_snr[strong]) == pytest.approx(1, abs=0.1)
    assert np.all(truth.cosmic_snr[~truth.cosmic_rays] == 0)


def test_defects_are_flagged_and_without_data_where_there_is_none(field):
    (exposure,), truth = field.exposures, field.truth
    none = (truth.defects & DQ.NON_SCIENCE) > 0
    np.testing.assert_array_equal(np.isnan(exposure.data), none)
    assert none.sum() > 50
    dead = (truth.defects & DQ.DEAD) > 0
    assert np.abs(exposure.data[dead & ~none]).max() < 50
    bad = exposure.dq & DQ.DO_NOT_USE > 0
    np.testing.assert_array_equal(bad, truth.defects > 0)
    assert bad.all(axis=0).any()


def test_the_given_wcs_is_wrong_by_what_was_asked():
    field = star_field(256, offset=60.0, rotation=0.9, seed=1)
    given, true = field.exposures[0].wcs, field.truth.wcs
    there, up = (given.pixel_to_world(127.5, y) for y in (127.5, 137.5))
    right, right_up = (true.pixel_to_world(127.5, y) for y in (127.5, 137.5))
    assert there.separation(right).arcsec == pytest.approx(60, rel=1e-3)
    turn = there.position_angle(up) - right.position_angle(right_up)
    assert turn.deg == pytest.approx(0.9, abs=0.01)


def test_the_true_wcs_puts_sources_where_they_are_and_is_distorted():
    field = star_field(256, seed=1)
    sources = field.truth.sources
    x, y = field.truth.wcs.all_world2pix(sources["ra"], sources["dec"], 0)
    np.testing.assert_allclose([x, y], [sources["x"], sources["y"]], atol=1e-4)
    wide = star_field((16, 2048)).truth.wcs
    distorted = wide.all_pix2world([[2047, 8]], 0)
    assert np.abs(wide.wcs_world2pix(distorted, 0) - [2047, 8]).max() > 0.5


def test_references_moved_to_the_date_are_where_the_stars_are():
    field = star_field(512, seed=2)
    refs = field.refcat(noise=5.0)
    both = {int(i): k for k, i in enumerate(field.truth.sources["id"])}
    refs = refs[[int(i) in both for i in refs["id"]]]
    stars = field.truth.sources[[both[int(i)] for i in refs["id"]]]
    now = SkyCoord(
        refs["coord_ra"],
        refs["coord_dec"],
        pm_ra_cosdec=refs["pm_ra"],
        pm_dec=refs["pm_dec"],
        distance=(1000 / stars["parallax"].data) * u.pc,
        obstime=Time(refs["epoch"][0], format="mjd"),
    ).apply_space_motion(Time(field.exposures[0].meta.mjd, format="mjd"))
    true = SkyCoord(stars["ra"], stars["dec"])
    east, north = (v.to_value("mas") for v in true.spherical_offsets_to(SkyCoord(now.ra, now.dec)))
    near = stars["parallax"] < 1
    for off in (east[near], north[near]):
        assert 1.4826 * np.median(np.abs(off)) == pytest.approx(5.0, rel=0.35)
    unmoved = SkyCoord(refs["coord_ra"], refs["coord_dec"]).separation(true)
    assert np.median(unmoved.mas) > 40


def test_near_stars_are_displaced_by_their_parallax():
    field = star_field(512, seed=2)
    refs, stars = field.refcat(noise=1e-3, epoch=field.exposures[0].meta.mjd), field.truth.stars
    _, first, second = np.intersect1d(refs["id"], stars["id"], return_indices=True)
    catalogue = SkyCoord(refs["coord_ra"], refs["coord_dec"])[first]
    earth = get_body_barycentric("earth", Time(field.exposures[0].meta.mjd, format="mjd"), ephemeris="builtin")
    # seen from where the Earth is, 206265 au are a parsec
    distance = 206264.806 * 1000 / stars["parallax"].data[second]
    seen = catalogue.cartesian.xyz.value * distance - earth.xyz.to_value("au")[:, None]
    seen = SkyCoord(*seen, representation_type="cartesian")
    seen = SkyCoord(seen.spherical.lon, seen.spherical.lat)
    true = SkyCoord(stars["ra"], stars["dec"])[second]
    assert catalogue.separation(true).mas.max() > 2
    assert seen.separation(true).mas.max() < 0.02


def test_references_have_magnitudes_of_the_field_down_to_their_limit():
    field = star_field(512, seed=2)
    refs = field.refcat(limit=19.0, completeness=0.8)
    everywhere = np.concatenate(
        [field.truth.stars["mag"], field.truth.outside["mag"][field.truth.outside["kind"] == "star"]]
    )
    assert len(refs) == pytest.approx(0.8 * np.sum(everywhere < 19), rel=0.1)
    stars = field.truth.stars
    shared, first, second = np.intersect1d(refs["id"], stars["id"], return_indices=True)
    assert len(shared) > 20
    njy = stars["flux"][second] * field.truth.calibration_mean
    pulls = (refs["r_flux"][first] - njy) / refs["r_fluxErr"][first]
    assert np.std(pulls) == pytest.approx(1, rel=0.4)
    gaia = -2.5 * np.log10(refs["phot_g_mean_flux"] / refs["r_flux"])
    color = -2.5 * np.log10(refs["g_flux"] / refs["i_flux"])
    np.testing.assert_allclose(np.polyfit(color, gaia, 1), [-0.12, -0.02], atol=0.02)


def test_the_seed_decides_all_and_densities_hold():
    first, again, other = (star_field(256, seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(first.exposures[0].data, again.exposures[0].data)
    assert not np.array_equal(first.exposures[0].data, other.exposures[0].data, equal_nan=True)
    np.testing.assert_array_equal(first.refcat()["coord_ra"], again.refcat()["coord_ra"])
    wide = star_field(1024, sky=FieldSky(n_stars=400, n_galaxies=100), seed=1).truth
    assert len(wide.stars) == pytest.approx(400, abs=80)
    assert len(wide.sources) - len(wide.stars) == pytest.approx(100, abs=40)
    assert wide.sources["blend"].astype(bool).mean() == pytest.approx(0.08, abs=0.04)


def test_a_field_without_sources_is_sky():
    field = star_field(64, sky=FieldSky(n_stars=0, n_galaxies=0), detector=FieldDetector(cosmic_rays=0, spots=0))
    assert len(field.truth.sources) == 0
    np.testing.assert_array_equal(field.truth.light, field.truth.sky)
    assert len(field.refcat()) == 0


def test_three_snaps_are_refused():
    with pytest.raises(DataError, match="one image or two snaps, asked for 3"):
        star_field(64, snaps=3)
