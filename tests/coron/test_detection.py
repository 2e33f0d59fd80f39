"""Maps of flux, throughput and noise, against sources that are put in and subtracted again."""

import numpy as np
import pytest

from corontools import DataError, Exposure, PSFStack, Source, Zones, combine, detection_map, replay
from corontools.coron import SourceSet, flux_at
from corontools.coron.source import on_detector
from corontools.dq import DQ
from corontools.simulate import null, tiny

SHAPE = 64
MODES = (1, 3, 5, 8, 10)


@pytest.fixture(scope="module")
def frames():
    """Science with bad pixels, some in one integration only, and references with others."""
    science, references = null(3, 12, shape=SHAPE)
    rng = np.random.default_rng(5)
    bad = rng.random(science.shape) < 0.01
    bad[:, rng.random((SHAPE, SHAPE)) < 0.01] = True
    return science.mask(bad), references.mask(rng.random(references.shape) < 0.003)


def aligned(frames, **how):
    science, references = frames
    return PSFStack.from_exposures([references]).align_to(science, **{"to": "none", **how})


def brute(aligned, zones, psf, position, modes):
    """Throughput by subtracting an injected source: <q, p> / <p, p> from the pixels alone."""
    klip = aligned.klip(max(modes), zones=zones)
    flux = float(np.nanstd(aligned.target.data))
    again = aligned.inject(flux, position=position, psf=psf).klip(max(modes), zones=zones)
    p = psf.image(klip.zones.shape, position)
    known = np.isfinite(klip.at(0).frames)
    power = np.sum(np.square(p) * known)
    return [np.sum((again.at(k).frames - klip.at(k).frames)[known] * (p * known)[known]) / flux / power for k in modes]


PSFS = {
    "gaussian": Source.gaussian(2.3),
    "stamp": Source.from_stamp(np.outer(np.hanning(9), np.hanning(11)) + 0.01 * np.hanning(9)[:, None]),
    "off middle": Source.from_stamp(np.outer(np.hanning(9), np.hanning(10)), center=(4.2, 4.0)),
}
ZONES = {"shared": "shared", "sectors": Zones.annuli([3, 12, 25], sectors=3)}


@pytest.mark.parametrize("psf", PSFS.values(), ids=PSFS)
@pytest.mark.parametrize("zones", ZONES.values(), ids=ZONES)
def test_throughput_is_that_of_a_source_that_is_injected_and_subtracted(frames, psf, zones):
    refs = aligned(frames)
    found = refs.klip(max(MODES), zones=zones).throughput(psf, modes=MODES)
    rng = np.random.default_rng(1)
    seen = np.argwhere(np.isfinite(found).all(axis=0))
    for y, x in seen[rng.choice(len(seen), 9, replace=False)]:
        np.testing.assert_allclose(found[:, y, x], brute(refs, zones, psf, (x, y), MODES), rtol=1e-6)


def test_throughput_where_every_integration_has_its_own_references(frames):
    refs, psf = aligned(frames, to="each"), PSFS["gaussian"]
    found = refs.klip(10).throughput(psf, modes=MODES)
    for position in ((20, 30), (40, 25)):
        x, y = position
        np.testing.assert_allclose(found[:, y, x], brute(refs, "shared", psf, position, MODES), rtol=1e-6)


def test_maps_agree_with_the_values_at_one_place(frames):
    klip, psf = aligned(frames).klip(10), PSFS["stamp"]
    found, series = klip.detection_map(psf), klip.series()
    assert found.modes.tolist() == series.modes.tolist()
    for x, y in ((22, 31), (50, 12), (33, 36)):
        np.testing.assert_allclose(found.flux[:, y, x], series.flux_at((x, y), psf=psf), rtol=1e-9)
        np.testing.assert_allclose(found.throughput[:, y, x], series.throughput_at((x, y), psf=psf), rtol=1e-9)


def test_transmission_dims_a_source_and_is_made_good(frames):
    klip, psf = aligned(frames).klip(10), PSFS["gaussian"]

    def bar(x, y):
        return np.clip(np.abs(y - 31.5) / 10, 0, 1)

    y, x = np.mgrid[:SHAPE, :SHAPE]
    clear, dim = klip.detection_map(psf, modes=[5]), klip.detection_map(psf, modes=[5], transmission=bar)
    np.testing.assert_allclose(dim.throughput, clear.throughput * bar(x, y), rtol=1e-12)
    given = klip.detection_map(psf, modes=[5], transmission=bar(x, y).astype(float))
    np.testing.assert_array_equal(given.flux, dim.flux)
    # a source of 100 behind the bar shows as 40 and is told as 100
    with_source = klip.inject(40.0, position=(40, 36), psf=psf).detection_map(psf, modes=[5], transmission=bar)
    assert (with_source.flux - dim.flux)[0, 36, 40] == pytest.approx(40 / bar(40, 36), rel=1e-9)
    # the S/N of what is seen doesn't depend on it, but for the noise of the ring
    np.testing.assert_allclose(dim.flux * bar(x, y), np.where(bar(x, y) > 0, clear.flux, np.nan), rtol=1e-9)


def test_a_place_behind_the_mask_or_off_the_zones_has_no_flux(frames):
    klip = aligned(frames).klip(5, zones=Zones.annuli([5, 20]))
    found = klip.detection_map(modes=[5], transmission=np.zeros((SHAPE, SHAPE)))
    assert np.isnan(found.flux).all()
    assert "no pixel has one" in repr(found)
    assert np.isnan(klip.throughput(modes=[5])[0, 0, 0])


@pytest.mark.parametrize("seed", [1, 3])
def test_noise_alone_gives_few_false_alarms(seed):
    science, references = null(4, 30, shape=96, seed=seed)
    klip = PSFStack.from_exposures([references]).align_to(science, to="none").klip(20)
    found = klip.detection_map(modes=[5, 10, 20])
    y, x = np.mgrid[:96, :96]
    # nearer in, rings have few elements and the tails of Student's t
    outside = np.hypot(x - found.center[0], y - found.center[1]) > 8
    for snr in found.snr:
        values = snr[outside & np.isfinite(snr)]
        assert np.std(values) == pytest.approx(1, abs=0.05)
        assert np.mean(np.abs(values) > 3) < 4 * 0.0027


def test_a_source_stands_out_by_its_flux_over_its_error(frames):
    klip = aligned(frames).klip(10)
    bare = klip.detection_map(modes=[5])
    flux = float(20 * bare.err[0, 40, 45])
    found = klip.inject(flux, position=(45, 40)).detection_map(modes=[5])
    assert np.unravel_index(np.nanargmax(found.snr[0]), found.snr[0].shape) == (40, 45)
    assert found.snr[0, 40, 45] == pytest.approx(20, abs=6)
    # left out of the noise, it changes no error elsewhere in its ring
    quiet = found.exclude([(45, 40)])
    hidden = bare.exclude([(45, 40)])
    np.testing.assert_allclose(quiet.err, hidden.err, rtol=0.1)


@pytest.fixture(scope="module")
def rolls():
    run = tiny()
    stack = PSFStack.from_exposures(run.references)
    return [stack.align_to(one, to="none").klip(6) for one in run.science]


def test_rolls_are_searched_north_up_and_a_source_is_found_at_its_place_with_its_flux(rolls):
    psf, sep, pa = Source.gaussian(2.5), 0.9, 125.0
    before = detection_map(rolls, psf, modes=[3, 6])
    flux = float(30 * np.nanmedian(before.err))
    after = detection_map([one.inject(flux, sep=sep, pa=pa, psf=psf) for one in rolls], psf, modes=[3, 6])
    assert before.history[0].startswith("detection_map([PSFStack.from_exposures(")
    scale, angle = after.meta.pixel_scale, np.radians(pa)
    x = after.center[0] - sep / scale * np.sin(angle)
    y = after.center[1] + sep / scale * np.cos(angle)
    gained = after.flux - before.flux
    row, column = np.unravel_index(np.nanargmax(gained[0]), gained[0].shape)
    assert np.hypot(column - x, row - y) < 0.75
    # on whole pixels of the grid: put one exactly there
    dx, dy = column - after.center[0], row - after.center[1]
    here = {"sep": np.hypot(dx, dy) * scale, "pa": np.degrees(np.arctan2(-dx, dy)) % 360}
    exact = detection_map([one.inject(flux, **here, psf=psf) for one in rolls], psf, modes=[3, 6])
    np.testing.assert_allclose((exact.flux - before.flux)[:, row, column], flux, rtol=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"transmission": np.ones((3, 4))}, "transmission has the shape"),
        ({"transmission": -np.ones((SHAPE, SHAPE))}, "0 or more"),
        ({"modes": [3, 2]}, "increase"),
        ({"modes": [99]}, "from 0 to"),
        ({"psf": np.zeros((5, 5))}, "light in it"),
        ({"psf": np.eye(21)[:, ::-1] * np.arange(21)}, "brightest pixel"),
    ],
)
def test_what_cannot_be_is_said(frames, options, words):
    with pytest.raises(DataError, match=words):
        aligned(frames).klip(5).detection_map(**options)


def test_the_width_must_be_known_and_rolls_need_a_wcs(frames):
    science, references = (Exposure(one.data) for one in frames)
    klip = PSFStack.from_exposures([references]).align_to(science, to="none").klip(3)
    with pytest.raises(DataError, match="width of the PSF"):
        klip.detection_map()
    with pytest.raises(DataError, match="no WCS"):
        detection_map([klip], Source.gaussian(2.0))
    with pytest.raises(DataError, match="at least one"):
        detection_map([])
    with pytest.raises(DataError, match="no map of 2 modes"):
        klip.detection_map(Source.gaussian(2.0), modes=[1, 3]).index(2)
    with pytest.raises(DataError, match="doesn't fit"):
        klip.detection_map(Source.gaussian(2.0)).exclude(mask=np.ones((2, 2), bool))


def test_pixels_that_are_not_to_be_used_stay_out(frames):
    klip = aligned(frames).klip(5)
    assert (klip.target.flags() & DQ.DO_NOT_USE).any()
    assert np.isfinite(klip.detection_map(modes=[5]).flux[0, 10:50, 10:50]).mean() > 0.99


@pytest.fixture(scope="module")
def two_rolls():
    """Two rolls aligned on references, with bad pixels, and zones."""
    run, rng = tiny(), np.random.default_rng(4)
    stack = PSFStack.from_exposures(run.references)
    science = [one.mask(rng.random(one.shape) < 0.01) for one in run.science]
    return [stack.align_to(one, to="first") for one in science], Zones.annuli([2, 10, 24], sectors=2)


def test_throughput_of_two_rolls_is_that_of_sources_put_into_the_exposures(two_rolls):
    refs, zones = two_rolls
    modes, psf = (1, 2, 4, 6, 8), PSFS["stamp"]
    bare = [one.klip(8, zones=zones) for one in refs]
    rng = np.random.default_rng(9)
    for _ in range(50):
        place = {"sep": rng.uniform(0.3, 1.2), "pa": rng.uniform(0, 360)}
        found = flux_at(bare, **place, psf=psf, modes=modes)
        seen = [one.inject(7.0, **place, psf=psf).klip(8, zones=zones) for one in refs]
        left, power = np.zeros(len(modes)), 0.0
        for one, before in zip(seen, bare, strict=True):
            known = np.isfinite(before.frames)
            p = psf.image(known.shape[1:], on_detector(one.target, **place)) * known
            power += np.sum(np.square(p))
            left += [np.sum((one.at(k).frames - before.at(k).frames)[known] * p[known]) / 7.0 for k in modes]
        np.testing.assert_allclose(found.throughput, left / power, rtol=1e-6)
        np.testing.assert_allclose(flux_at(seen, **place, psf=psf, modes=modes).flux - found.flux, 7.0, rtol=1e-6)


def test_the_combined_image_of_a_source_is_that_of_one_put_into_the_exposures(two_rolls):
    refs, zones = two_rolls
    place, psf = {"sep": 0.7, "pa": 200.0}, PSFS["gaussian"]
    bare = [one.klip(8, zones=zones).at(5) for one in refs]
    images = [
        combine(results).image.data
        for results in (
            bare,
            [one.inject(50.0, **place, psf=psf) for one in bare],
            [one.inject(50.0, **place, psf=psf).klip(8, zones=zones).at(5) for one in refs],
        )
    ]
    gained, again = images[1] - images[0], images[2] - images[0]
    np.testing.assert_allclose(gained, again, atol=1e-6 * np.nanmax(again))
    assert np.nanmax(gained) > 5


def test_a_place_is_needed(two_rolls):
    with pytest.raises(DataError, match="needs its place"):
        flux_at([two_rolls[0][0].klip(2)], psf=PSFS["gaussian"])
    with pytest.raises(DataError, match="at least one"):
        flux_at([], sep=1.0, pa=0.0)


def test_templates_hold_where_they_are_nearest():
    """A PSF for each half of the detector: maps are those of each PSF there, and injected sources come back."""
    science, references = null(3, 8, shape=48)
    klip = PSFStack.from_exposures([references]).align_to(science, to="none").klip(5)
    narrow, wide = Source.gaussian(2.5), Source.gaussian(4.0)
    psf = SourceSet.from_templates([narrow, wide], [(10.0, 24.0), (37.0, 24.0)])
    found = klip.detection_map(psf)
    for one, columns in ((narrow, slice(0, 24)), (wide, slice(24, 48))):
        alone = klip.detection_map(one)
        np.testing.assert_allclose(found.flux[..., columns], alone.flux[..., columns])
        np.testing.assert_allclose(found.throughput[..., columns], alone.throughput[..., columns])
    for place in ((12.0, 30.0), (35.0, 30.0)):
        more = klip.inject(40.0, position=place, psf=psf).detection_map(psf)
        x, y = int(place[0]), int(place[1])
        np.testing.assert_allclose((more.flux - found.flux)[:, y, x], 40.0)
    made = klip.inject(40.0, position=(12.0, 30.0), psf=psf)
    again = replay(made, arrays=[science, references])
    np.testing.assert_allclose(again.frames, made.frames)
    with pytest.raises(DataError, match=r"a place \(x, y\) each, found 2 templates, places \(1, 2\)"):
        SourceSet.from_templates([narrow, wide], [(1.0, 2.0)])
