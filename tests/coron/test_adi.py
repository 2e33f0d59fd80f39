import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from corontools import DataError, Exposure, Live, Meta, PSFStack, Source, Zones, combine, replay
from corontools.arrays.apertures import aperture_snr, peak_near
from corontools.arrays.radial import radii, scatter_map
from corontools.coron import flux_at
from corontools.simulate import Companion, coronagraph, null

SHAPE, CENTER, SCALE = (41, 43), (21.2, 19.7), 0.05
ZONES = Zones.annuli([4, 10, 17])


def sequence(n=14, *, start=340.0, step=7.0, seed=1, source=0.0, sep=11.0, pa=60.0, order=None):
    """Frames of a star whose speckles stay while the sky turns, with a source at (sep px, pa deg) if it has a flux."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    places = rng.uniform([3, 3], [SHAPE[1] - 4, SHAPE[0] - 4], (60, 2))
    spots = np.array([np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 1.5**2) for a, b in places])
    amplitudes = rng.exponential(100.0, 60) * (1 + 0.1 * rng.normal(size=(n, 60)))
    frames = np.tensordot(amplitudes, spots, 1) + rng.normal(size=(n, *SHAPE))
    angles = (start + step * np.arange(n)) % 360
    for frame, angle in zip(frames, angles, strict=True):
        a, b = by_wcs(angle, sep, pa)
        frame += source * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 1.5**2)
    order = np.arange(n) if order is None else order
    return Exposure(frames[order], angles=angles[order], meta=Meta(center=CENTER, pixel_scale=SCALE, target="A"))


def sky(angle):
    """WCS of an image whose +y axis is at a position angle, as textbooks write it: CROTA2 is minus that."""
    header = fits.Header({"NAXIS": 2, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 40.0, "CRVAL2": -20.0})
    header.update({"CRPIX1": CENTER[0] + 1, "CRPIX2": CENTER[1] + 1, "CDELT1": -SCALE / 3600, "CDELT2": SCALE / 3600})
    header["CROTA2"] = -angle
    return WCS(header)


def by_wcs(angle, sep, pa):
    """Pixel of a source `sep` px from the star, by the WCS of a frame and the position angle on the sky."""
    star = SkyCoord(40.0 * u.deg, -20.0 * u.deg)
    there = star.directional_offset_by(pa * u.deg, sep * SCALE * u.arcsec)
    return tuple(float(v) for v in sky(angle).world_to_pixel(there))


def adi(cube, modes=5, *, strategy="adi", min_rotation=3.0, zones=ZONES, stack=None, **options):
    aligned = PSFStack.from_exposures(stack or [cube]).align_to(cube, to="none")
    return aligned.klip(modes, strategy=strategy, min_rotation=min_rotation, fwhm=1.0, zones=zones, **options)


def sets(klip):
    """References of each zone and integration."""
    zone_of = {int(klip.zones.flat[s.pixels[0]]): None for s in klip.subspaces}
    return {
        (zone, i): tuple(s.references.tolist())
        for zone in zone_of
        for s in klip.subspaces
        for i in s.integrations
        if klip.zones.flat[s.pixels[0]] == zone
    }


def brute_force(angles, labels, least, others=()):
    """The sets by the chord between the two places of a source, complex numbers and loops; `others`: always there."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance, found = np.hypot(x - CENTER[0], y - CENTER[1]), {}
    for zone in range(1, labels.max() + 1):
        r = np.mean(distance[labels == zone])
        for i, mine in enumerate(angles):
            used = list(others)
            for j, its in enumerate(angles):
                chord = abs(r * np.exp(1j * np.radians(mine)) - r * np.exp(1j * np.radians(its)))
                if j != i and its != mine and chord >= least:
                    used.append(j)
            found[zone, i] = tuple(sorted(used))
    return found


@pytest.mark.parametrize("least", [0.0, 1.0, 3.0, 6.0])
def test_reference_sets_are_those_of_a_loop(least):
    cube = sequence()
    klip = adi(cube, 1, min_rotation=least)
    assert sets(klip) == brute_force(cube.angles, klip.zones, least)
    assert all(i not in references for (_, i), references in sets(klip).items())


def test_min_rotation_counts_in_widths_of_the_psf():
    cube = sequence()
    aligned = PSFStack.from_exposures([cube]).align_to(cube, to="none")
    by_width = aligned.klip(2, strategy="adi", min_rotation=1.5, fwhm=2.0, zones=ZONES)
    assert sets(by_width) == sets(adi(cube, 2, min_rotation=3.0))
    known = cube.with_(meta=cube.meta.with_(filter="F444W", instrument="NIRCAM"))
    width = known.meta.fwhm
    by_header = PSFStack.from_exposures([known]).align_to(known, to="none").klip(2, strategy="adi", zones=ZONES)
    assert sets(by_header) == sets(adi(cube, 2, min_rotation=0.5 * width))


def plain_klip(target, refs, modes):
    """KLIP of rows by a singular value decomposition."""
    refs = refs - refs.mean(axis=1, keepdims=True)
    basis = np.linalg.svd(refs, full_matrices=False)[2][:modes]
    flat = target - target.mean()
    return flat - basis.T @ (basis @ flat)


@pytest.mark.parametrize("modes", [1, 3, 5])
def test_the_residual_of_a_frame_is_that_of_plain_klip(modes):
    cube = sequence()
    klip = adi(cube, 5).at(modes)
    for zone, i in ((1, 0), (1, 9), (2, 3), (2, 13)):
        inside = klip.zones == zone
        refs = cube.data[list(brute_force(cube.angles, klip.zones, 3.0)[zone, i])]
        expected = plain_klip(cube.data[i][inside], refs[:, inside], modes)
        np.testing.assert_allclose(klip.frames[i][inside], expected, atol=2e-6 * np.abs(cube.data).max())


def test_missing_pixels_are_dealt_with_for_the_references_that_are_used():
    cube = sequence()
    bad = np.random.default_rng(4).random(cube.shape) < 0.03
    hurt = cube.mask(bad)
    klip = adi(hurt, 4)
    for (zone, i), references in list(sets(klip).items())[::5]:
        alone = PSFStack.from_exposures([hurt]).select(list(references)).align_to(hurt.select([i]), to="none")
        expected = alone.klip(4, zones=ZONES).frames[0]
        inside = klip.zones == zone
        np.testing.assert_allclose(klip.frames[i][inside], expected[inside], atol=1e-3, equal_nan=True)


def test_shuffled_and_wrapped_angles_give_the_same():
    straight = sequence(source=60.0)
    order = np.random.default_rng(2).permutation(14)
    shuffled = sequence(source=60.0, order=order)
    wrapped = shuffled.with_(angles=shuffled.angles - 360.0 * (np.arange(14) % 3))
    a, b, c = (adi(cube, 4) for cube in (straight, shuffled, wrapped))
    np.testing.assert_allclose(b.frames, a.frames[order], atol=1e-3)
    np.testing.assert_allclose(c.frames, b.frames, atol=1e-3)
    np.testing.assert_allclose(c.combine().image.data, a.combine().image.data, atol=1e-3)


@pytest.mark.parametrize("how", ["mean", "median"])
@pytest.mark.parametrize("pa", [60.0, 200.0])
def test_a_source_is_found_at_its_place_north_up_east_left(how, pa):
    """The source was put in by WCS and position angle on the sky; the reduction knows angles and centre alone."""
    klip = adi(sequence(20, source=60.0, pa=pa), 4)
    combined = klip.combine(how=how)
    image, (cx, cy) = combined.image, combined.image.center
    assert image.wcs is None
    assert image.position_angles.tolist() == [0.0]
    known = cx - 11.0 * np.sin(np.radians(pa)), cy + 11.0 * np.cos(np.radians(pa))
    assert np.hypot(*np.subtract(peak_near(image.data, known, fwhm=3.5, reach=4.0), known)) < 0.3
    inside = radii(image.shape, image.center) < 16
    highest = np.argmax(np.where(inside, np.nan_to_num(image.data), -np.inf))
    y, x = np.unravel_index(highest, image.shape)
    assert np.hypot(x - known[0], y - known[1]) < 1.5
    assert aperture_snr(image.data, known, center=image.center, fwhm=3.5).snr > 5


def test_angles_and_wcs_turn_frames_alike():
    """One exposure for each frame, oriented by its WCS, against one cube, oriented by angles."""
    cube = sequence(6, step=20.0, source=60.0)
    klip = adi(cube, 2)
    by_angles = klip.combine().image
    each = []
    for i, angle in enumerate(cube.angles):
        one = cube.select([i]).with_(angles=None, wcs=sky(angle))
        assert one.position_angles[0] == pytest.approx(angle, abs=1e-3)
        whole = [cube.select([j]).with_(angles=None, wcs=sky(cube.angles[j])) for j in range(6)]
        each.append(adi(one, 2, stack=whole))
    by_wcs_ = combine(each).image
    assert by_wcs_.shape == by_angles.shape
    np.testing.assert_allclose(by_wcs_.data, by_angles.data, atol=0.05, equal_nan=True)


def test_the_median_is_that_of_the_turned_frames_and_history_says_so():
    klip = adi(sequence(5, step=25.0), 2)
    median, mean = klip.combine(how="median"), klip.combine()
    assert median.history[-1] == ".combine(how='median')"
    assert mean.history[-1] == ".combine()"
    assert not np.allclose(median.image.data, mean.image.data, equal_nan=True)
    with pytest.raises(DataError, match="'mean' or 'median', found 'mode'"):
        klip.combine(how="mode")


def test_the_median_of_reference_star_results_has_an_error_of_its_own():
    """White noise of sigma 1 in nine frames: median / mean error sqrt(pi / 2) at most."""
    rng = np.random.default_rng(3)
    pattern = 100 * rng.random(SHAPE)
    science = Exposure(pattern + rng.normal(size=(9, *SHAPE)), err=np.ones((9, *SHAPE)), angles=0.0)
    refs = Exposure(pattern + 0.1 * rng.normal(size=(12, *SHAPE)), err=np.full((12, *SHAPE), 0.1))
    klip = PSFStack.from_exposures([refs]).align_to(science, to="none").klip(2, zones="full")
    mean, median = klip.combine(), klip.combine(how="median")
    ratio = np.nanmedian(median.image.err) / np.nanmedian(mean.image.err)
    assert 1.0 < ratio <= np.sqrt(np.pi / 2) + 0.01
    assert np.nanstd(median.image.data) == pytest.approx(np.nanmedian(median.image.err), rel=0.15)


@pytest.fixture(scope="module")
def rolls():
    companions = [Companion(0.9, 40.0, 3e-5)]
    return coronagraph(shape=(56, 56), n_int=2, n_dither=1, companions=companions, seed=3)


def test_two_rolls_of_jwst_serve_each_other(rolls):
    first, second = rolls.science
    turned = abs(first.position_angles[0] - second.position_angles[0])
    assert turned == pytest.approx(abs(first.meta.roll - second.meta.roll), abs=0.1)
    n = first.n_int
    stack = PSFStack.from_exposures([first, second, *rolls.references])
    aligned = stack.align_to(first, to="none")
    zones = Zones.annuli([8, 20])
    own = aligned.klip(1, strategy="adi", zones=zones)
    assert set(sets(own).values()) == {tuple(range(n, 2 * n))}
    assert len(own.subspaces) == 1
    both = aligned.klip(1, strategy="ardi", zones=zones)
    assert set(sets(both).values()) == {tuple(range(n, stack.n_ref))}
    plain = stack.select(list(range(n, stack.n_ref))).align_to(first, to="none").klip(1, zones=zones)
    np.testing.assert_allclose(both.frames, plain.frames, rtol=1e-9, atol=1e-6)
    # integrations of one roll can be averaged as they are
    assert both.contrast().radius.size > 10
    assert np.isfinite(both.series().snr_at((28.0, 40.0), fwhm=2.8)).all()


def test_references_that_were_shifted_are_used_alike(rolls):
    first, second = rolls.science
    aligned = PSFStack.from_exposures([first, second]).repair().align_to(first, mask=rolls.psfmask)
    assert aligned.to == "each"
    klip = aligned.klip(2, strategy="adi", zones=Zones.annuli([8, 20]))
    n = first.n_int
    assert set(sets(klip).values()) == {tuple(range(n, 2 * n))}
    assert len(klip.subspaces) == n
    chosen = aligned.select(list(range(n, 2 * n))).klip(2, zones=Zones.annuli([8, 20]))
    np.testing.assert_allclose(klip.frames, chosen.frames, rtol=1e-5, atol=1e-3)


def test_names_tell_which_frames_are_of_the_star():
    cube, other = sequence(), sequence(8, seed=7)
    other = other.with_(meta=other.meta.with_(target="B"), angles=None)
    same = cube.with_(meta=cube.meta.with_(target=" a "))
    klip = adi(cube, 2, strategy="ardi", stack=[same, other])
    assert sets(klip) == brute_force(cube.angles, klip.zones, 3.0, others=range(14, 22))
    assert sets(adi(cube, 2, stack=[same, other])) == brute_force(cube.angles, klip.zones, 3.0)
    with pytest.raises(DataError, match=r"no reference is of the science star, 'A' \(stars: B\); put its exposures"):
        adi(cube, 2, strategy="ardi", stack=[other])


# -- errors ------------------------------------------------------------------------------------------------------------


def test_the_error_is_the_scatter_of_the_residual_in_rings():
    klip = adi(sequence(), 4)
    for i in (0, 7):
        expected = scatter_map(klip.frames[i], center=CENTER)
        np.testing.assert_allclose(klip.err[i], expected, rtol=1e-12)
    combined = klip.combine()
    expected = scatter_map(combined.image.data, center=combined.image.center)
    np.testing.assert_array_equal(combined.image.err, expected)


def test_errors_are_honest_where_the_residual_is_alike_around_the_star():
    """Frames of a lone star: |S/N| > 3 in 0.3 % of the pixels of Gaussian noise, here in 2 % at most."""
    science, _ = null(16, 2, shape=49)
    cube = science.with_(angles=np.linspace(0.0, 90.0, 16), wcs=None)
    klip = adi(cube, 8, zones=Zones.annuli([3, 12, 24]), min_rotation=2.0)
    for modes in (1, 8):
        combined = klip.at(modes).combine()
        assert np.nanmean(np.abs(klip.at(modes).snr.data[:, klip.zones > 0]) > 3) < 0.03
        assert np.nanmean(np.abs(combined.snr[np.isfinite(combined.snr)]) > 3) < 0.02
        assert np.nanstd(combined.snr) == pytest.approx(1.0, abs=0.15)


def test_known_photon_noise_is_a_part_of_the_error():
    cube = sequence()
    klip = adi(cube.with_(err=np.full(cube.shape, 0.5)), 4)
    shared, own = klip.noise
    inside = klip.zones > 0
    assert (own[:, inside] > 0).all()
    assert (shared[:, inside] >= 0).all()
    np.testing.assert_allclose(shared + own, adi(cube, 4).err ** 2, rtol=1e-9, equal_nan=True)


# -- sources -----------------------------------------------------------------------------------------------------------


def test_injection_is_what_reduction_of_frames_with_the_source_gives():
    """In science and references, each at its own angle, by the WCS of each frame."""
    base, with_source = sequence(), sequence(source=40.0)
    source = Source.gaussian(1.5 * np.sqrt(8 * np.log(2)))
    klip = adi(base, 4).at(3)
    made = klip.inject(40.0, sep=11.0 * SCALE, pa=60.0, psf=source)
    np.testing.assert_allclose(made.frames, adi(with_source, 4).at(3).frames, atol=2e-3)
    assert made.modes == 3
    by_place = klip.inject(40.0, position=by_wcs(base.angles[0], 11.0, 60.0), psf=source)
    np.testing.assert_allclose(by_place.frames, made.frames, atol=2e-3)
    # a source takes part of itself away
    left, (cx, cy) = made.combine().image.data - klip.combine().image.data, klip.combine().image.center
    peak = left[round(cy + 11 * np.cos(np.radians(60))), round(cx - 11 * np.sin(np.radians(60)))]
    assert 0.2 * 40 < peak < 0.9 * 40


def test_injection_into_two_rolls_goes_to_the_place_of_each(rolls):
    first, second = rolls.science
    aligned = PSFStack.from_exposures([second, *rolls.references]).align_to(first, to="none")
    made = aligned.inject(500.0, sep=1.0, pa=130.0, into="star")
    for before, after, exposure in (
        (first.data, made.target.data, first),
        (second.data, made.stack.exposure.data[: second.n_int], second),
    ):
        light = after[0] - before[0]
        y, x = np.unravel_index(np.nanargmax(light), light.shape)
        star, there = exposure.wcs.pixel_to_world([exposure.center[0], x], [exposure.center[1], y])
        assert star.position_angle(there).deg == pytest.approx(130.0, abs=2.5)
        assert star.separation(there).arcsec == pytest.approx(1.0, abs=0.04)
    others = made.stack.exposure.data[second.n_int :]
    np.testing.assert_array_equal(others, aligned.stack.exposure.data[second.n_int :])
    assert made.history[-1] == ".inject(500.0, sep=1.0, pa=130.0, into='star')"


def test_a_source_turns_with_the_sky_under_reference_star_subtraction_too():
    cube = sequence(6, step=30.0)
    other = sequence(8, seed=1)
    other = other.with_(meta=other.meta.with_(target="B"), angles=None)
    klip = PSFStack.from_exposures([other]).align_to(cube, to="none").klip(2, zones="full")
    made = klip.inject(300.0, sep=11.0 * SCALE, pa=60.0, psf=Source.gaussian(3.5))
    for i, angle in enumerate(cube.angles):
        light = made.target.data[i] - cube.data[i]
        y, x = np.unravel_index(np.argmax(light), light.shape)
        assert np.hypot(*np.subtract((x, y), by_wcs(angle, 11.0, 60.0))) < 0.75
    again = klip.aligned.with_(target=made.target).klip(2, zones="full")
    np.testing.assert_allclose(made.frames, again.frames, atol=1e-9)


def test_what_holds_for_other_stars_alone_is_refused(rolls):
    cube = sequence()
    klip = adi(cube, 3)
    for wrong in (klip.series, klip.contrast):
        with pytest.raises(DataError, match=r"different angles, .* smear the sky; .*combine\(\)"):
            wrong()
    half = PSFStack.from_exposures([cube]).align_to(cube, to="none").inject(5.0, position=(30, 20), psf=np.ones((3, 3)))
    with pytest.raises(DataError, match="into='star', or after klip"):
        half.klip(2, strategy="adi", min_rotation=1, fwhm=3, zones=ZONES)
    first, second = rolls.science
    series = PSFStack.from_exposures([second]).align_to(first, to="none").klip(1, strategy="adi").series()
    for name in ("flux_at", "throughput_at"):
        with pytest.raises(DataError, match=f"{name}: with 'adi' a source is in the references too"):
            getattr(series, name)((30.0, 40.0))
    with pytest.raises(DataError, match="inject: with 'adi'"):
        series.inject(1.0, position=(30.0, 40.0))
    with pytest.raises(DataError, match="injected_frame: with 'adi'"):
        series.injected_frame(0, 1.0, position=(30.0, 40.0))
    with pytest.raises(DataError, match="this view reduces with references of other stars alone"):
        klip.explore()


def test_live_keeps_to_all_references_as_it_says():
    cube = sequence()
    aligned = PSFStack.from_exposures([cube.select(slice(7, 14))]).align_to(cube.select(slice(0, 7)), to="none")
    live = Live(aligned).klip(3, zones=ZONES)
    assert live.strategy == "rdi"
    np.testing.assert_allclose(live.frames, aligned.klip(3, zones=ZONES).frames, atol=1e-6)


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_too_little_rotation_names_what_there_is_and_what_works():
    cube = sequence(5, step=2.0)
    with pytest.raises(DataError, match=r"zone 1 \(mean radius 7.*\): no frame of 'A' is turned by 4 px") as caught:
        adi(cube, 2, min_rotation=4.0)
    message = str(caught.value)
    assert "the largest rotation that integration 2 has is 4 deg" in message
    works = float(message.split("min_rotation=")[1].split()[0])
    assert 0.4 < works < 0.6
    with pytest.warns(UserWarning, match=r"fewer references than 3 modes \(fewest 2\)"):
        assert adi(cube, 3, min_rotation=works).modes == 3
    with pytest.raises(DataError, match="no min_rotation would work; add exposures at another angle"):
        adi(cube.with_(angles=30.0), 2)


def test_fewer_references_than_modes_are_told_of():
    with pytest.warns(UserWarning, match="50 modes asked for, but there are 13 references that have turned enough"):
        klip = adi(sequence(), 50, min_rotation=0.0)
    assert klip.max_modes == 13


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "ADI"}, "'rdi', 'adi' or 'ardi', found 'ADI'"),
        ({"min_rotation": 1.0}, "give strategy='adi' or 'ardi'"),
        ({"fwhm": 1.0}, "give strategy='adi' or 'ardi'"),
        ({"strategy": "adi", "min_rotation": -1.0}, "0 or more .times fwhm., found -1"),
        ({"strategy": "adi", "min_rotation": np.nan}, "0 or more .times fwhm., found nan"),
        ({"strategy": "adi", "min_rotation": "1 px"}, "0 or more .times fwhm., found '1 px'"),
        ({"strategy": "adi", "fwhm": "1 px"}, "should be positive, found '1 px' px"),
        ({"strategy": "adi"}, "give fwhm=<px>, or fwhm=1 and min_rotation in px"),
        ({"strategy": "adi", "fwhm": 0.0}, "should be positive, found 0.0 px"),
    ],
)
def test_impossible_wishes_are_refused(options, message):
    cube = sequence(4)
    aligned = PSFStack.from_exposures([cube]).align_to(cube, to="none")
    with pytest.raises(DataError, match=message):
        aligned.klip(2, **options)


def test_a_reference_without_a_good_pixel_is_named():
    cube = sequence()
    dead = cube.mask(np.arange(14)[:, None, None] == 12)
    with pytest.raises(DataError, match=r"no good pixel in image\(s\) \[12\] of this zone; leave them out"):
        adi(cube, 2, stack=[dead])


def test_warnings_point_to_the_call():
    cube = sequence(5, step=12.0)
    with pytest.warns(UserWarning, match="fewer references than 3 modes") as caught:
        PSFStack.from_exposures([cube]).align_to(cube, to="none").klip(
            3, strategy="adi", min_rotation=2.5, fwhm=1.0, zones=ZONES
        )
    assert {warning.filename for warning in caught} == {__file__}


def test_unknown_angles_are_refused():
    cube = sequence(4)
    blind = cube.with_(angles=None)
    with pytest.raises(DataError, match=r"A: no angles are known; give them, .* with Exposure.with_\(angles"):
        adi(blind, 2)
    with pytest.raises(DataError, match=r"no angles are known of reference\(s\) \[0, 1, 2, 3\]"):
        adi(cube, 2, stack=[blind])
    with pytest.raises(DataError, match=r"has no WCS, so north isn't known; .*angles"):
        PSFStack.from_exposures([blind]).align_to(blind, to="none").klip(2).combine()


# -- the chain ---------------------------------------------------------------------------------------------------------


def test_the_chain_makes_the_same_again():
    cube = sequence()
    aligned = PSFStack.from_exposures([cube]).align_to(cube, to="none")
    klip = aligned.klip(4, zones=ZONES, strategy="adi", min_rotation=1.0, fwhm=3.0)
    assert klip.history[-1].endswith("strategy='adi', min_rotation=1.0, fwhm=3.0)")
    made = klip.at(2).inject(30.0, sep=0.5, pa=20.0, psf=Source.gaussian(3.0)).combine(how="median")
    again = replay(made, arrays=[cube])
    np.testing.assert_array_equal(again.image.data, made.image.data)
    assert again.history == made.history
    assert "strategy" not in aligned.klip(2).history[-1]


# -- real frames -------------------------------------------------------------------------------------------------------


def test_beta_pic_b_is_where_it_is_on_the_sky(data_folder):
    """NACO L', February 2013; VIP's tutorial has the planet at 452 mas and position angle 211.2 deg."""
    folder = data_folder / "naco_betapic"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist")
    fwhm, scale = 4.80, 0.02719
    cube = Exposure.read(folder / "naco_betapic_cube.fits")
    meta = cube.meta.with_(center=(51.3, 51.0), pixel_scale=scale, target="beta Pic")
    angles = np.ravel(fits.getdata(folder / "naco_betapic_pa.fits")) - 104.84
    cube = cube.with_(meta=meta, angles=angles)
    aligned = PSFStack.from_exposures([cube]).align_to(cube, to="none")
    zones = Zones.annuli([5, 28])
    klip = aligned.klip(20, strategy="adi", min_rotation=0.25, fwhm=fwhm, zones=zones)
    for modes, least in ((5, 6.5), (10, 8.0), (15, 8.5), (20, 8.0)):
        image = klip.at(modes).combine().image
        known = image.center[0] - 16.6 * np.sin(np.radians(211.2)), image.center[1] + 16.6 * np.cos(np.radians(211.2))
        x, y = peak_near(image.data, known, fwhm=fwhm, reach=3.0)
        east, north = image.center[0] - x, y - image.center[1]
        assert np.hypot(east, north) == pytest.approx(16.5, abs=0.4)
        assert np.degrees(np.arctan2(east, north)) % 360 == pytest.approx(211.2, abs=1.5)
        assert aperture_snr(image.data, (x, y), center=image.center, fwhm=fwhm).snr > least
        # the planet's own negative wings lie in the two apertures beside it
        without = aperture_snr(image.data, (x, y), center=image.center, fwhm=fwhm, beside=1)
        assert without.snr > (10.0 if modes > 5 else 8.0)


def test_fits_are_refused_and_the_way_out_named():
    frames = np.random.default_rng(1).normal(size=(8, 25, 25))
    cube = Exposure(frames, angles=np.linspace(0, 70, 8))
    aligned = PSFStack.from_exposures([cube]).align_to(cube, to="none")
    klip, psf = aligned.klip(3, strategy="adi", fwhm=3.0), Source.gaussian(3.0)
    for refused in (
        lambda: klip.fit_companion(position=(18.0, 12.0), psf=psf),
        lambda: flux_at([klip], position=(18.0, 12.0), psf=psf),
    ):
        with pytest.raises(DataError, match="response"):
            refused()
    # fixed references, but the sky turns under them
    other = PSFStack.from_exposures([Exposure(frames[::-1])]).align_to(cube, to="none").klip(3)
    with pytest.raises(DataError, match="different angles"):
        flux_at([other], position=(18.0, 12.0), psf=psf)


def test_several_sources_at_once_are_those_one_by_one(rolls):
    cube = sequence()
    klip = adi(cube, 3)
    places = {"sep": [0.4, 0.6], "pa": [30.0, 200.0]}
    both = klip.inject([5.0, 8.0], **places, psf=Source.gaussian(3.5))
    one = klip.inject(5.0, sep=0.4, pa=30.0, psf=Source.gaussian(3.5))
    np.testing.assert_allclose(both.frames, one.inject(8.0, sep=0.6, pa=200.0, psf=Source.gaussian(3.5)).frames)
    first, second = rolls.science
    rdi = PSFStack.from_exposures([second]).align_to(first, to="none").klip(1)
    both = rdi.inject(5.0, position=[(30.0, 40.0), (50.0, 22.0)])
    again = rdi.inject(5.0, position=(30.0, 40.0)).inject(5.0, position=(50.0, 22.0))
    np.testing.assert_allclose(both.frames, again.frames, atol=1e-9)
    assert both.history[-1] == ".inject(5.0, position=[(30.0, 40.0), (50.0, 22.0)])"
    with pytest.raises(DataError, match="a flux and a place each, found flux x 2, sep x 3, pa x 1"):
        klip.inject([1.0, 2.0], sep=[0.3, 0.4, 0.5], pa=0.0)
