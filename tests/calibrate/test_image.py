"""A whole calibration against the truth of a simulated field, and what can go wrong on the way."""

import numpy as np
import pytest
from astropy.table import Table
from scipy.spatial import cKDTree

from corontools import CalibratedImage, DataError, Exposure, RefCat, replay
from corontools.calibrate import CalibrationError, Plane, Steps, calibrate
from corontools.calibrate.columns import column
from corontools.calibrate.cosmic import TooManyCosmicRays
from corontools.calibrate.select import TooFewStarsError
from corontools.simulate import star_field

# of the light of the simulated stars, (1 + q)^-3, in a circle of 12 px; sigma of adaptive moments over alpha
ADAPTIVE = 0.489458583


@pytest.fixture(scope="module")
def field():
    return star_field(2048, offset=60.0, rotation=0.9, seed=2)


@pytest.fixture(scope="module")
def made(field):
    """Calibrated from 60 arcsec and 0.9 degrees away."""
    return calibrate(field.exposures[0], field.refcat(), steps={"photometry": {"band": "r"}})


@pytest.fixture(scope="module")
def small():
    return star_field(512, seed=4)


@pytest.fixture(scope="module")
def matched(field, made):
    """Stars of the catalogue and the true star at each place; those without a neighbour are alone."""
    stars = made.stars[~made.stars["sky_source"]]
    truth = field.truth.stars
    places = np.stack([column(stars, "slot_Centroid_x"), column(stars, "slot_Centroid_y")], axis=1)
    distance, row = cKDTree(np.stack([truth["x"], truth["y"]], axis=1)).query(places)
    near = distance < 1
    return stars[near], truth[row[near]], np.asarray(truth["neighbor"])[row[near]] > 15


def inside_aperture(truth, stars, radius=12.0):
    alpha = truth.psf.sigma(stars["x"], stars["y"]) / ADAPTIVE
    return 1 - (1 + (radius / alpha) ** 2) ** -2


def snr(stars):
    return column(stars, "base_PsfFlux_instFlux") / column(stars, "base_PsfFlux_instFluxErr")


def test_the_pointing_is_found_from_a_minute_of_arc_and_nearly_a_degree_of_rotation(made):
    assert made.astrometry.shift == pytest.approx(300, abs=5)
    assert made.astrometry.rotation == pytest.approx(0.9, abs=0.01)
    assert made.astrometry.offset_mean < 0.015


def test_coordinates_are_those_of_the_sky(field, made, matched):
    stars, truth, _ = matched
    x, y = field.truth.wcs.all_world2pix(stars["coord_ra"], stars["coord_dec"], 0)
    bright = snr(stars) > 30
    assert bright.sum() > 300
    for off in (x - truth["x"], y - truth["y"]):
        assert np.std(np.asarray(off)[bright]) < 0.05
        assert abs(np.mean(np.asarray(off)[bright])) < 0.01


def test_the_psf_is_the_true_one(field, made):
    sky = field.truth
    x, y = np.asarray(sky.stars["x"]), np.asarray(sky.stars["y"])
    size = made.psf.sigma(x, y) / sky.psf.sigma(x, y) - 1
    assert abs(np.median(size)) < 0.005
    assert np.std(size) < 0.002
    assert made.summary["psfSigma"] == pytest.approx(sky.psf.sigma([1023.5], [1023.5])[0], rel=0.01)
    ours, true = made.psf.moments(x, y), sky.psf.moments(x, y)
    for part in (lambda m: (m[0] - m[1]) / (m[0] + m[1]), lambda m: 2 * m[2] / (m[0] + m[1])):
        assert abs(np.mean(part(ours) - part(true))) < 1e-3


def test_fluxes_of_bright_stars_are_those_inside_the_aperture(field, matched):
    stars, truth, alone = matched
    bright = alone & (snr(stars) > 400)
    ratio = column(stars, "base_PsfFlux_instFlux") / truth["flux"] / inside_aperture(field.truth, truth)
    assert bright.sum() >= 8
    np.testing.assert_allclose(ratio[bright], 1, atol=0.01)


def test_the_zero_point_is_that_of_the_light_inside_the_aperture(field, made, matched):
    stars, truth, alone = matched
    lost = 2.5 * np.log10(np.median(inside_aperture(field.truth, truth)))
    assert made.zero_point == pytest.approx(field.truth.zero_point + lost, abs=0.002)
    bright = alone & (snr(stars) > 100)
    off = np.asarray(stars["base_PsfFlux_mag"], float) - truth["mag"]
    assert abs(np.median(off[bright])) < 0.005


def test_backgrounds_add_up_to_the_sky_round_by_round(field, made):
    assert (len(made.modelled.backgrounds), len(made.backgrounds)) == (3, 4)
    off = made.backgrounds.image() - field.truth.sky
    assert np.sqrt(np.mean(off**2)) < 0.5
    factor = made.photometry.calibration_mean
    np.testing.assert_allclose(made.background.image(), made.backgrounds.image() * factor, rtol=1e-5)
    # image and background give back what was read, where nothing was replaced
    whole = (made.image.data + made.background.image()) / factor
    same = (made.calibrated_frame.mask & int(Plane.INTRP | Plane.NO_DATA)) == 0
    np.testing.assert_allclose(whole[same], field.exposures[0].data[same], rtol=1e-5)


def test_cosmic_rays_are_found_and_stars_are_not(field, made):
    truth, found = field.truth, made.modelled.rays.mask
    assert found[truth.cosmic_snr > 6].mean() > 0.995
    assert np.count_nonzero(found & ~truth.cosmic_rays) < 100
    assert np.array_equal(made.frame.has(Plane.CR), found)


def test_flags_of_the_psf_stars_are_handed_on_by_psf_id(made):
    psf_stars, stars = made.psf_stars, made.stars
    used = psf_stars[np.asarray(psf_stars["calib_psf_used"])]
    same = np.isin(np.asarray(used["id"]), np.asarray(stars["psf_id"]))
    assert same.mean() > 0.95
    row = {int(n): k for k, n in enumerate(stars["psf_id"]) if n}
    for star in used[same]:
        other = stars[row[int(star["id"])]]
        assert other["calib_psf_used"]
        assert other["calib_astrometry_used"] == star["calib_astrometry_used"]
        assert abs(other["slot_Centroid_x"] - star["slot_Centroid_x"]) < 3
    assert not np.asarray(stars["calib_psf_used"])[np.asarray(stars["psf_id"]) == 0].any()
    both = np.intersect1d(made.astrometry.matches["src_id"], made.photometry.matches["src_psf_id"])
    assert both.size > 0.9 * len(made.astrometry.matches)


def test_the_catalogue_holds_unresolved_stars_and_places_of_the_sky(field, made):
    stars = made.stars
    assert np.count_nonzero(stars["sky_source"]) == 100
    good = stars[~np.asarray(stars["sky_source"])]
    assert (column(good, "base_ClassificationSizeExtendedness_value") < 0.1).all()
    galaxies = field.truth.sources[np.asarray(field.truth.sources["kind"]) != "star"]
    places = np.stack([column(good, "slot_Centroid_x"), column(good, "slot_Centroid_y")], axis=1)
    near, _ = cKDTree(places).query(np.stack([galaxies["x"], galaxies["y"]], axis=1))
    bright = np.asarray(galaxies["mag"]) < 18
    assert np.mean(near[bright] < 1) < 0.1


def test_the_summary_is_complete(made):
    summary = made.summary
    unknown = [name for name, value in summary.items() if not np.all(np.isfinite(value))]
    assert unknown == []
    assert 0 < summary["zenithDistance"] < 90
    assert summary["nPsfStar"] == np.count_nonzero(made.psf_stars["calib_psf_used"])
    assert abs(summary["psfStarDeltaSizeMedian"]) < 0.005 * summary["psfSigma"]
    assert abs(summary["psfStarDeltaE1Median"]) < 3e-3
    assert summary["pixelScale"] == pytest.approx(0.2, abs=1e-4)
    assert summary["magLim"] == pytest.approx(19.35, abs=0.1)
    assert summary["skyBg"] == pytest.approx(1000, abs=3)
    assert summary.table["psfSigma"].unit == "pix"


def test_two_snaps_have_the_zero_point_of_their_sum():
    field = star_field(1024, snaps=2, seed=3)
    made = calibrate(field.exposures[0], field.refcat(), second=field.exposures[1], steps={"photometry": {"band": "r"}})
    assert made.zero_point == pytest.approx(field.truth.zero_point - 0.008, abs=0.01)
    assert made.summary["expTime"] == pytest.approx(30)


# -- the chain ---------------------------------------------------------------------------------------------------------


def test_a_step_before_its_turn_names_the_verb_that_is_missing(small):
    image = CalibratedImage.from_snaps(small.exposures[0])
    for method, wanted in (("model_psf", "repair"), ("correct_apertures", "model_psf"), ("find_stars", "solve_astro")):
        with pytest.raises(DataError, match=rf"call \.{wanted}"):
            getattr(image, method)()
    with pytest.raises(DataError, match=r"call \.find_stars"):
        image.solve_photometry(small.refcat())
    with pytest.raises(DataError, match=r"call \.solve_photometry"):
        _ = image.zero_point


def test_a_step_done_again_drops_what_came_after(made):
    again = made.using(star_selector={"min_snr": 100.0}).model_psf()
    assert again.corrections is None
    assert again.photometry is None
    assert np.count_nonzero(again.psf_stars["calib_psf_candidate"]) < np.count_nonzero(
        made.psf_stars["calib_psf_candidate"]
    )
    assert made.photometry is not None


def test_the_chain_is_recorded_and_runs_again(small):
    exposure = small.exposures[0]
    image = CalibratedImage.from_snaps(exposure, steps={"background": {"order": 2}}).repair()
    assert image.history[1:] == (".repair()",)
    again = replay(image, arrays=[exposure])
    np.testing.assert_array_equal(again.frame.image, image.frame.image)


def test_inputs_stay_as_they_are(small):
    exposure = small.exposures[0]
    before = exposure.data.copy(), exposure.dq.copy()
    CalibratedImage.from_snaps(exposure).repair()
    np.testing.assert_array_equal(exposure.data, before[0])
    np.testing.assert_array_equal(exposure.dq, before[1])


def test_steps_can_be_objects_of_ones_own(small):
    class Nothing:
        def find(self, masked, psf):
            from corontools.calibrate.cosmic import CosmicRays

            none = np.zeros(0)
            return CosmicRays(masked, np.zeros((0, 2), int), none.astype(int), none, none)

    image = CalibratedImage.from_snaps(small.exposures[0], steps=Steps(cosmic_rays=Nothing())).repair()
    assert not image.frame.has(Plane.CR).any()


def test_cards_tell_what_was_done(made, small):
    text = repr(made)
    for word in ("cosmic rays", "PSF", "aperture corrections", "astrometry", "zero point", "limit", "4 rounds"):
        assert word in text
    assert "zero point" in made._repr_html_()
    assert ".repair()" in repr(CalibratedImage.from_snaps(small.exposures[0]))


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def sky(shape=(300, 300), *, level=100.0, seed=1, stars=(), flux=5e3):
    from corontools.calibrate.psf import GaussianPSF

    rng = np.random.default_rng(seed)
    data = np.full(shape, level)
    psf = GaussianPSF(1.7, size=41)
    for x, y in stars:
        data[y - 20 : y + 21, x - 20 : x + 21] += flux * psf.kernels([0], [0])[0]
    return Exposure(data + rng.normal(0, 10, shape), err=np.full(shape, 10.0))


def test_an_image_without_stars_is_told_and_what_was_reached_is_kept(small):
    with pytest.raises(CalibrationError, match=r"model_psf: no source was detected") as caught:
        calibrate(sky(), small.refcat())
    assert caught.value.step == "model_psf"
    assert caught.value.result.repaired is not None
    assert len(caught.value.result.backgrounds) == 1


def test_too_few_psf_stars_are_counted_by_cut(small):
    exposure, core = sky(stars=[(60, 60), (200, 90), (150, 200)]), np.zeros((300, 300), bool)
    core[199:202, 149:152] = True
    with pytest.raises(TooFewStarsError, match=r"too few PSF stars: .* are left, .*removed: ") as caught:
        CalibratedImage.from_snaps(exposure.mask(core, bits=2)).repair().model_psf()
    told = str(caught.value)
    assert caught.value.cuts["base_PixelFlags_flag_saturatedCenter"] == 1
    assert all(f"{count} {name}" in told for name, count in caught.value.cuts.items() if count)


def test_all_stars_saturated_is_told():
    exposure = sky(stars=[(60, 60), (200, 90), (100, 200), (220, 220)], flux=2e4)
    bright = exposure.data > 200
    with pytest.raises(TooFewStarsError, match="saturated"):
        CalibratedImage.from_snaps(exposure.mask(bright, bits=2)).repair().model_psf()


def test_the_wrong_region_of_references_is_told_with_both_boxes(small):
    refs = small.refcat()
    refs["coord_dec"] = refs["coord_dec"] + np.radians(3.0)
    image = CalibratedImage.from_snaps(small.exposures[0], steps={"psf_fitter": {"order": 0}})
    with pytest.warns(UserWarning, match="aperture corrections|order"):
        image = image.repair().model_psf().correct_apertures()
    with pytest.raises(DataError, match=r"no reference source .* Dec .* cover .* Dec"):
        image.solve_astrometry(refs)
    with pytest.raises(DataError, match=r"position|ra"):
        image.solve_astrometry(Table({"a": [1.0]}))
    without = CalibratedImage.from_snaps(small.exposures[0].with_(wcs=None))
    with pytest.raises(DataError, match="WCS"):
        without.with_(repaired=image.repaired, modelled=image.modelled, corrections=image.corrections).solve_astrometry(
            RefCat.from_table(small.refcat())
        )


def test_bad_variances_are_told():
    exposure = sky()
    with pytest.raises(DataError, match="a variance is needed"):
        CalibratedImage.from_snaps(exposure.with_(err=None))
    with pytest.raises(DataError, match="no pixel has a finite value and a positive variance"):
        CalibratedImage.from_snaps(exposure.with_(err=np.full(exposure.shape, np.nan)))
    negative = exposure.with_(err=None, variances={"poisson": np.full(exposure.shape, -1.0)})
    with pytest.raises(DataError, match=r"negative in 90000 pixels"):
        CalibratedImage.from_snaps(negative)


def test_too_many_cosmic_rays_are_told():
    exposure, rng = sky(), np.random.default_rng(1)
    data = exposure.data + np.where(rng.random(exposure.shape) < 0.01, 1000.0, 0.0)
    image = CalibratedImage.from_snaps(exposure.with_(data=data), steps={"cosmic_rays": {"max_pixels": 50}})
    with pytest.raises(TooManyCosmicRays, match="50 are allowed"):
        image.repair()


def test_unknown_options_are_told():
    for options, words in (
        ({"star": {}}, "has no star"),
        ({"star_selector": {"foo": 1}}, "has no foo"),
        ({"star_selector": {"min_snr": "much"}}, "should be float"),
        ({"defects": {"planes": ["BROKEN"]}}, "no plane BROKEN"),
    ):
        with pytest.raises(DataError, match=words):
            CalibratedImage.from_snaps(sky(), steps=options)
