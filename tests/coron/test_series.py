"""All mode counts at once are what each of them is alone, and a source is found with the flux it has."""

import tracemalloc
import warnings

import numpy as np
import pytest

from corontools import DataError, Exposure, Meta, PSFStack, Source, Zones, replay
from corontools.arrays.apertures import aperture_snr
from corontools.simulate import null, tiny

PLACE = (31.3, 18.6)
KNOWN = Meta(wavelength=4.4e-6, pixel_scale=0.063, instrument="NIRCAM")


def hurt(exposure, seed):
    """Random bad pixels, one of them bad in every integration, one NaN."""
    bad = np.random.default_rng(seed).random(exposure.shape) < 0.03
    bad[:, 19, 31] = True
    data = np.where(np.random.default_rng(seed + 1).random(exposure.shape) < 0.01, np.nan, exposure.data)
    return exposure.with_(data=data).mask(bad)


def clean():
    science, reference = null(3, 8, shape=48)
    return PSFStack.from_exposures([reference]).align_to(science, to="none").klip(8, zones="full")


def masked():
    science, reference = null(4, 9, shape=48)
    zones = Zones.annuli([2, 9, 22], sectors=3)
    return PSFStack.from_exposures([hurt(reference, 5)]).align_to(hurt(science, 1), to="none").klip(7, zones=zones)


def each():
    sim = tiny()
    aligned = PSFStack.from_exposures(sim.references).align_to(hurt(sim.science[0], 3), mask=sim.psfmask)
    return aligned.klip(6, zones=Zones.annuli([0, 12, 40]))


CASES = {"clean": clean, "masked": masked, "each": each}


@pytest.fixture(scope="module", params=CASES)
def klip(request):
    return CASES[request.param]()


@pytest.fixture(scope="module")
def series(klip):
    return klip.series()


def mean(frames):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(frames, axis=0)


def close(found, expected, scale):
    """Equal to 1e-6 of a scale, NaN in the same places."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * scale)


def test_each_frame_is_the_mean_of_the_residuals(klip, series):
    assert series.modes.tolist() == list(range(1, klip.max_modes + 1))
    assert series.frames.dtype == np.float32
    single = klip.subspaces[0].basis.dtype == np.float32
    for k, frame in zip(series.modes, series.frames, strict=True):
        expected = mean(klip.at(int(k)).frames)
        # modes of seven digits leave errors of the science images' size
        close(frame, expected, np.nanmax(np.abs(klip.target.data if single else expected)))


def test_a_mode_count_may_be_zero_or_beyond_what_a_zone_has():
    science, reference = null(2, 6, shape=48)
    zones = Zones.from_labels(np.pad(np.array([[1, 1], [2, 2]]), ((10, 36), (10, 36)), mode="edge"))
    copies = reference.with_(data=reference.data[[0, 1, 2, 0, 1, 2]])
    made = PSFStack.from_exposures([copies]).align_to(science, to="none").klip(5, zones=zones)
    assert made.max_modes < 5
    few = made.series([0, made.max_modes])
    for k, frame in zip(few.modes, few.frames, strict=True):
        close(frame, mean(made.at(int(k)).frames), np.nanmax(np.abs(science.data)))


def test_the_noise_is_that_of_the_contrast_curve(klip, series):
    for k in (1, klip.max_modes):
        curve, expected = series.curve(k), klip.at(k).contrast()
        np.testing.assert_allclose(curve.noise, expected.noise, rtol=1e-4 if len(klip.aligned.sets) > 1 else 1e-7)
        np.testing.assert_array_equal(curve.radius, expected.radius)
        np.testing.assert_array_equal(curve.count, expected.count)
        assert curve.history == expected.history
        assert curve.meta == expected.meta
        np.testing.assert_array_equal(series.noise[series.index(k)], curve.noise)
        np.testing.assert_array_equal(series.radius, curve.radius)


def test_limits_are_those_of_the_curves(series):
    found = series.limit(5, star_flux=1e4, fwhm=2.5)
    for k, row in zip(series.modes, found, strict=True):
        np.testing.assert_array_equal(row, series.curve(int(k)).sigma(5, fwhm=2.5).normalize(1e4).limit)


def test_limits_without_a_known_width_are_multiples_of_the_noise():
    science, reference = null(2, 4, shape=48)
    bare = PSFStack.from_exposures([Exposure(reference.data)]).align_to(Exposure(science.data), to="none")
    series = bare.klip(4).series()
    np.testing.assert_array_equal(series.limit(3), 3 * series.noise)
    with pytest.raises(DataError, match="width of the PSF isn't known"):
        series.snr_at(PLACE)
    with pytest.raises(DataError, match=r"give psf=Source.gaussian"):
        series.inject(1.0, position=PLACE)


def test_signal_to_noise_is_that_of_every_frame(series):
    center = series.klip.target.center
    expected = [aperture_snr(frame, PLACE, center=center, fwhm=2.8).snr for frame in series.frames]
    np.testing.assert_allclose(series.snr_at(PLACE, fwhm=2.8), expected, rtol=1e-12)


def test_explained_variance_is_that_of_the_result(klip, series):
    np.testing.assert_array_equal(series.explained, klip.variance_explained[1:])


def test_sixty_mode_counts_at_most_are_taken_by_themselves():
    rng = np.random.default_rng(1)
    aligned = PSFStack.from_exposures([Exposure(rng.normal(size=(130, 16, 16)))])
    klip = aligned.align_to(Exposure(rng.normal(size=(1, 16, 16))), to="none").klip(130)
    modes = klip.series().modes
    assert (modes.size, modes[0], modes[-1]) == (60, 1, klip.max_modes)
    assert set(np.diff(modes)) <= {2, 3}


@pytest.mark.parametrize("modes", [[], [2, 1], [1, 1], [-1, 2], [1, 99], [1.5], [[1, 2]]])
def test_impossible_mode_counts_are_refused(modes):
    science, reference = null(1, 3, shape=48)
    with pytest.raises(DataError, match="should be whole, increase, and lie from 0 to 3"):
        PSFStack.from_exposures([reference]).align_to(science, to="none").klip(3).series(modes)


def test_a_frame_that_is_not_there_is_named(klip):
    with pytest.raises(DataError, match=r"no frame of 3 modes; it has 1, 4"):
        klip.series([1, 4]).index(3)


@pytest.mark.parametrize("place", [PLACE, (24.0, 33.0), (0.2, 47.4)])
def test_an_injected_source_is_that_of_a_new_reduction(klip, series, place):
    psf, flux = Source.gaussian(3.1), 40.0
    made = series.inject(flux, position=place, psf=psf)
    again = klip.inject(flux, position=place, psf=psf)
    expected = again.series().frames
    close(made.frames, expected, np.nanmax(np.abs(expected)))
    # what is added to a frame isn't lost in the star's residual
    close(made.frames - series.frames, expected - series.frames, np.nanmax(np.abs(expected)))
    np.testing.assert_array_equal(made.klip.frames, again.frames)
    for i in (0, len(series) - 1):
        close(series.injected_frame(i, flux, position=place, psf=psf), made.frames[i], np.nanmax(np.abs(expected)))
    assert made.coverage is series.coverage


def response(klip, k, source):
    """What the subtraction leaves of a source alone, by a second subtraction without star; (n_int, y, x)."""
    n_int, shape = klip.target.n_int, klip.zones.shape
    alone = klip.target.with_(data=np.broadcast_to(source, (n_int, *shape))).mask(~klip.target.good)
    out = np.full((n_int, source.size), np.nan)
    for space in klip.subspaces:
        for i in space.integrations:
            good = alone.good[i].ravel()[space.pixels]
            matrix = np.vstack([np.ones(space.pixels.size), space.basis[:k]]).T
            values = alone.data[i].ravel()[space.pixels]
            fit = np.linalg.lstsq(matrix[good], values[good], rcond=None)[0]
            out[i, space.pixels[good]] = (values - matrix @ fit)[good]
    return out.reshape(n_int, *shape)


def test_flux_and_throughput_are_matched_with_the_source(klip, series):
    source = Source.gaussian(3.1)
    image = source.image(klip.zones.shape, PLACE)
    flux, left = series.flux_at(PLACE, psf=source), series.throughput_at(PLACE, psf=source)
    good = klip.target.good & (klip.zones > 0)
    power = np.sum(np.broadcast_to(image, good.shape)[good] ** 2)
    for k in (1, klip.max_modes):
        residual, q = klip.at(k).frames, response(klip, k, image)
        expected = np.nansum(residual * image) / np.nansum(q * image)
        np.testing.assert_allclose(flux[series.index(k)], expected, rtol=1e-4 if len(klip.aligned.sets) > 1 else 1e-8)
        np.testing.assert_allclose(left[series.index(k)], np.nansum(q * image) / power, rtol=1e-6)
        # the least-squares fit of the response to all residuals
        both = np.isfinite(residual)
        fit = np.sum(residual[both] * q[both]) / np.sum(q[both] ** 2)
        np.testing.assert_allclose(expected, fit, rtol=1e-4)


def test_planted_flux_is_found_at_every_mode_count(series):
    source = Source.gaussian(2.6)
    before = series.flux_at(PLACE, psf=source)
    after = series.inject(25.0, position=PLACE, psf=source).flux_at(PLACE, psf=source)
    np.testing.assert_allclose(after - before, 25.0, rtol=1e-5)


def test_the_flux_is_unbiased_over_many_stars():
    """A companion in the data before anything is fitted; its flux is found within the scatter of the estimates."""
    source, truth = Source.gaussian(3.0), 300.0
    found = []
    for seed in range(12):
        science, reference = null(2, 10, seed=seed, shape=48)
        data = science.data.astype(float) + source.image((48, 48), PLACE, truth)
        klip = PSFStack.from_exposures([reference]).align_to(science.with_(data=data), to="none").klip(8)
        found.append(klip.series([2, 8]).flux_at(PLACE, psf=source))
    error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    assert (error < 0.1 * truth).all()
    assert (np.abs(np.mean(found, axis=0) - truth) < 3 * error).all()


def test_the_companion_of_a_simulation_has_its_flux():
    sim = tiny()
    aligned = PSFStack.from_exposures(sim.references).repair().align_to(sim.science[0], to="first", mask=sim.psfmask)
    series = aligned.klip(8).series([5, 8])
    flux = series.flux_at(tuple(sim.truth.companion_xy[0][0, 0]), psf=sim.psf())
    np.testing.assert_allclose(flux, sim.truth.flux * sim.truth.companions[0].contrast, rtol=0.15)


def test_nothing_is_known_of_a_source_outside_the_zones():
    science, reference = null(2, 4, shape=48)
    klip = PSFStack.from_exposures([reference]).align_to(science, to="none").klip(3, zones=Zones.annuli([15, 22]))
    series = klip.series()
    assert np.isnan(series.flux_at((24.0, 24.0), psf=Source.gaussian(1.0))).all()
    assert np.isnan(series.throughput_at((24.0, 24.0), psf=Source.gaussian(1.0))).all()


def test_a_series_is_replayed(tiny_asn):
    klip = PSFStack.from_asn(tiny_asn).align_to(replay_science(tiny_asn), to="first").klip(4)
    made = klip.series([1, 3]).inject(9.0, position=(20.0, 14.5)).inject(5.0, sep=0.4, pa=100.0)
    assert made.history[-3:] == (
        ".series([1, 3])",
        ".inject(9.0, position=(20.0, 14.5))",
        ".inject(5.0, sep=0.4, pa=100.0)",
    )
    again = replay(made)
    np.testing.assert_array_equal(again.frames, made.frames)
    assert again.digest() == made.digest()
    with pytest.raises(DataError, match=r"\.frames of ModeSeries, which can't be replayed"):
        replay([*made.history, ".frames()"])


def replay_science(asn):
    from corontools import Association

    return Association.read(asn).science[0]


def test_a_series_shows_itself_and_cannot_be_written_to(series):
    assert "1 to" in repr(series)
    assert "<svg" in series._repr_html_() or "data:image" in series._repr_html_()
    with pytest.raises(ValueError, match="read-only"):
        series.frames[0, 0, 0] = 1


def test_sets_are_taken_one_by_one():
    rng = np.random.default_rng(1)
    science, refs = Exposure(rng.normal(size=(20, 96, 96))), Exposure(rng.normal(size=(12, 96, 96)))
    aligned = PSFStack.from_exposures([refs]).align_to(science, to="none").with_(to="each")
    klip = aligned.klip(10, zones="full")
    assert len(klip.subspaces) == 20
    tracemalloc.start()
    series = klip.series()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # all models at once would be 40 times the frames; here a block of pixels is the most of it
    assert peak < 10 * series.frames.nbytes
