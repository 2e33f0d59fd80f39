"""A source lies where it was put, with the light it was given, and its subtraction is that of a whole new run."""

import numpy as np
import pytest

from corontools import Association, DataError, Exposure, Meta, PSFStack, Source, Zones, replay
from corontools.coron.source import on_detector
from corontools.simulate import null, tiny


def hurt(exposure, seed):
    bad = np.random.default_rng(seed).random(exposure.shape) < 0.03
    return exposure.with_(data=np.where(bad, np.nan, exposure.data).astype(float))


@pytest.fixture(scope="module")
def sim():
    return tiny()


def spot(size=21, sigma=1.7, at=(0.0, 0.0)):
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.exp(-0.5 * ((x - at[0]) ** 2 + (y - at[1]) ** 2) / sigma**2)


def test_a_gaussian_has_its_width_and_its_peak():
    image = Source.gaussian(4.0).image((41, 30), (15.0, 20.0), 3.0)
    assert image[20, 15] == 3.0
    np.testing.assert_allclose(image[20, [13, 17]], 1.5)
    np.testing.assert_allclose(image.sum(), 3 * np.pi * 16 / (4 * np.log(2)), rtol=1e-6)


def test_a_stamp_on_a_whole_pixel_is_itself():
    stamp = np.random.default_rng(1).random((5, 7))
    stamp[2, 3] = 9
    image = Source.from_stamp(stamp).image((20, 20), (8.0, 11.0), 2.0)
    np.testing.assert_allclose(image[9:14, 5:12], 2 * stamp, atol=1e-14)
    assert np.count_nonzero(image) == stamp.size


@pytest.mark.parametrize("place", [(20.37, 18.81), (20.5, 18.5), (19.99, 18.0)])
def test_a_stamp_between_pixels_is_the_moved_psf(place):
    image = Source.from_stamp(spot()).image((40, 44), place)
    y, x = np.mgrid[:40, :44]
    expected = np.exp(-0.5 * ((x - place[0]) ** 2 + (y - place[1]) ** 2) / 1.7**2)
    np.testing.assert_allclose(image, expected, atol=1e-6)


def test_the_centre_of_a_stamp_can_be_given():
    stamp = spot(at=(4.0, -3.0))
    image = Source.from_stamp(stamp, center=(14.0, 7.0)).image((40, 40), (22.0, 17.0))
    assert np.unravel_index(np.argmax(image), image.shape) == (17, 22)


def test_light_beyond_the_image_is_lost():
    whole = Source.from_stamp(spot(31)).image((60, 60), (30.0, 30.0))
    edge = Source.from_stamp(spot(31)).image((60, 33), (30.0, 30.0))
    np.testing.assert_array_equal(edge, whole[:, :33])
    larger = Source.from_stamp(spot(91)).image((20, 20), (3.0, 4.0))
    np.testing.assert_allclose(larger, spot(91)[41:61, 42:62], atol=1e-14)


@pytest.mark.parametrize("position", [(-0.6, 5.0), (5.0, 20.0), (np.nan, 5.0), (5.0, np.inf)])
def test_a_place_outside_the_image_is_refused(position):
    with pytest.raises(DataError, match="is not inside the image of 20 x 20 px"):
        Source.gaussian(2).image((20, 20), position)


@pytest.mark.parametrize("stamp", [np.zeros((5, 5)), np.ones(5), np.full((3, 3), np.nan), np.zeros((0, 3))])
def test_what_is_no_psf_is_refused(stamp):
    with pytest.raises(DataError, match="finite values with light in it"):
        Source.from_stamp(stamp)


def test_a_psf_off_its_middle_and_an_impossible_width_are_refused():
    with pytest.raises(DataError, match=r"brightest pixel of the PSF is \(14, 10\), not its middle \(10, 10\)"):
        Source.from_stamp(spot(at=(4.0, 0.0)))
    with pytest.raises(DataError, match="should be positive, found -2"):
        Source.gaussian(-2)


def test_a_place_on_the_sky_is_that_of_the_simulated_companion(sim):
    for exposure, found in zip(sim.science, sim.truth.companion_xy, strict=True):
        companion = sim.truth.companions[0]
        place = on_detector(exposure, companion.sep, companion.pa)
        # the star of an integration moves a little
        np.testing.assert_allclose(place, found[:, 0].mean(axis=0), atol=0.35)


def test_separation_and_angle_follow_the_wcs():
    from astropy.coordinates import SkyCoord

    exposure = tiny().science[1]
    star = SkyCoord.from_pixel(*exposure.center, exposure.wcs)
    for sep, pa in ((0.3, 0.0), (1.5, 77.0), (2.0, 250.0)):
        there = SkyCoord.from_pixel(*on_detector(exposure, sep, pa), exposure.wcs)
        np.testing.assert_allclose(star.separation(there).arcsec, sep, rtol=1e-6)
        assert abs((star.position_angle(there).deg - pa + 180) % 360 - 180) < 1e-4


CASES = {
    "whole": ({}, {"zones": "full"}),
    "zones": ({}, {"zones": Zones.annuli([2, 8, 20], sectors=2)}),
    "shared": ({}, {}),
    "mean": ({"to": "mean"}, {"zones": Zones.annuli([0, 11, 30])}),
}


@pytest.mark.parametrize("case", CASES)
def test_injection_is_a_whole_new_run(case):
    """The same shifts, science with the source added by hand; masked pixels and zones included."""
    align, zones = CASES[case]
    science, reference = null(3, 8, shape=48)
    aligned = PSFStack.from_exposures([hurt(reference, 2)]).align_to(hurt(science, 1), **{"to": "none", **align})
    psf, place = spot(15), (28.4, 17.7)
    made = aligned.klip(6, **zones).inject(50.0, position=place, psf=psf)
    image = Source.from_stamp(psf).image((48, 48), place, 50.0)
    again = aligned.with_(target=aligned.target.with_(data=aligned.target.data + image)).klip(6, **zones)
    for k in (0, 1, 6):
        scale = np.nanmax(np.abs(science.data))
        np.testing.assert_allclose(made.at(k).frames, again.at(k).frames, rtol=0, atol=1e-10 * scale)
    np.testing.assert_allclose(made.err, again.err, rtol=1e-9)
    np.testing.assert_allclose(made.variance_explained, again.variance_explained, atol=1e-12)


def test_injection_with_a_set_for_each_integration_is_exact_to_the_digits_of_its_modes(sim):
    aligned = PSFStack.from_exposures(sim.references).align_to(hurt(sim.science[0], 4), mask=sim.psfmask)
    made = aligned.klip(6).inject(50.0, position=(40.2, 25.1), psf=spot(15))
    again = aligned.inject(50.0, position=(40.2, 25.1), psf=spot(15)).klip(6)
    np.testing.assert_allclose(made.frames, again.frames, rtol=0, atol=1e-5)
    one = aligned.with_(target=aligned.target.select(0), fit=aligned.fit.mapped(lambda v: v[:1]))
    made = one.klip(6).inject(50.0, position=(40.2, 25.1), psf=spot(15))
    again = one.inject(50.0, position=(40.2, 25.1), psf=spot(15)).klip(6)
    np.testing.assert_allclose(made.frames, again.frames, rtol=0, atol=1e-10 * np.nanmax(sim.science[0].data))


def test_sources_add_up_and_may_be_taken_away():
    science, reference = null(2, 6, shape=48)
    klip = PSFStack.from_exposures([reference]).align_to(science, to="none").klip(4)
    both = klip.inject(30.0, position=(30.0, 20.0)).inject(10.0, position=(14.0, 28.0))
    gone = both.inject(-10.0, position=(14.0, 28.0)).inject(-30.0, position=(30.0, 20.0))
    assert np.abs(both.frames - klip.frames).max() > 5
    np.testing.assert_allclose(gone.frames, klip.frames, atol=1e-9)


def test_nothing_that_was_there_is_changed():
    science, reference = null(2, 6, shape=48)
    klip = PSFStack.from_exposures([reference]).align_to(science, to="none").klip(4)
    before, scores = np.array(science.data), klip.subspaces[0].scores.copy()
    klip.inject(30.0, position=(30.0, 20.0))
    np.testing.assert_array_equal(science.data, before)
    np.testing.assert_array_equal(klip.target.data, before)
    np.testing.assert_array_equal(klip.subspaces[0].scores, scores)


def test_a_source_by_separation_and_angle_lies_north_up(sim):
    klip = PSFStack.from_exposures(sim.references).align_to(sim.science[0], to="first").klip(4)
    change = klip.inject(1e4, sep=1.0, pa=30.0).combine().image.data - klip.combine().image.data
    row, column = np.unravel_index(np.nanargmax(change), change.shape)
    x, y = klip.combine().image.center
    scale = sim.science[0].meta.pixel_scale
    expected = (x - np.sin(np.radians(30)) / scale, y + np.cos(np.radians(30)) / scale)
    np.testing.assert_allclose((column, row), expected, atol=1.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"needs its place"),
        ({"position": (3, 3), "sep": 1.0, "pa": 0.0}, "needs its place"),
        ({"sep": 1.0}, "needs its place"),
        ({"position": (3, 3), "pa": 0.0}, "needs its place"),
        ({"position": (300, 3)}, "is not inside the image"),
        ({"sep": 1.0, "pa": 0.0}, "has no WCS"),
        ({"position": (20, 20), "flux": np.nan}, "flux of a source should be a number"),
    ],
)
def test_a_source_without_a_place_or_a_flux_is_refused(given, message):
    rng = np.random.default_rng(1)
    stack = PSFStack.from_exposures([Exposure(rng.normal(size=(4, 32, 32)))])
    meta = Meta(wavelength=4.4e-6, pixel_scale=0.063)
    klip = stack.align_to(Exposure(rng.normal(size=(32, 32)), meta=meta), to="none").klip(2)
    with pytest.raises(DataError, match=message):
        klip.inject(**{"flux": 1.0, **given})


CHAINS = {
    "px": lambda klip: klip.inject(9.0, position=(20.0, 14.5)).at(2).inject(5, position=(8, 9)),
    "sky": lambda klip: klip.inject(9.0, sep=0.5, pa=200.0).contrast(),
    "gaussian": lambda klip: klip.inject(9.0, position=(20.0, 14.5), psf=Source.gaussian(2.5)),
    "stamp": lambda klip: klip.inject(9.0, position=(20.0, 14.5), psf=Source.from_stamp(spot())),
    "centred": lambda klip: klip.inject(9.0, position=(20.0, 14.5), psf=Source.from_stamp(spot(), center=(9, 9.5))),
    "array": lambda klip: klip.inject(9.0, position=(20.0, 14.5), psf=spot()).combine(),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_injection_is_replayed(tiny_asn, name):
    asn = Association.read(tiny_asn)
    aligned = PSFStack.from_asn(asn).align_to(asn.science[0], to="first")
    made = CHAINS[name](aligned.klip(3))
    again = replay(made, arrays=[spot()])
    assert again.history == made.history
    np.testing.assert_array_equal(again._values(), made._values())


def test_aligned_references_are_replayed_with_a_source(tiny_asn):
    asn = Association.read(tiny_asn)
    aligned = PSFStack.from_asn(asn).align_to(asn.science[0])
    made = aligned.inject(9.0, position=(20.0, 14.5)).averaged().klip(3)
    again = replay(made)
    np.testing.assert_array_equal(again.frames, made.frames)
    assert np.isnan(replay(aligned.unaligned()).scales).all()
