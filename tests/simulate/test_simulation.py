"""Simulated data sets: geometry on the sky, noise, seeds."""

import math
import subprocess
import sys

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from corontools import simulate
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.simulate import Companion, Disk, Noise, Star, Wavefront

SILENT = Noise(time=math.inf, read_noise=0, background=0, nan=0, bad=0, jumps=0)
STILL = Wavefront(static=0, between_stars=0, drift=0, n_wave=3)


@pytest.fixture(scope="module")
def tiny():
    return simulate.tiny()


def difference(source, **options):
    """Simulation with a source, and the images that the source alone adds."""
    plain = {"shape": 128, "n_int": 1, "n_dither": 1, "noise": SILENT, "wavefront": STILL} | options
    star = plain.pop("star", Star())
    alone = simulate.coronagraph(**plain)
    disk, companions = (source, ()) if isinstance(source, Disk) else (None, (source,))
    both = simulate.coronagraph(**plain, companions=companions, star=Star(star.flux, star.reference_flux, disk))
    pairs = zip(both.science, alone.science, strict=True)
    return both, [b.data[0].astype(float) - a.data[0] for b, a in pairs]


def centroid(image, near, radius=2.5):
    y, x = np.indices(image.shape)
    weight = np.where(np.hypot(x - near[0], y - near[1]) < radius, image, 0)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("pa", [0.0, 110.0, 245.0])
def test_a_companion_stands_where_its_sky_position_says(pa):
    sim, images = difference(Companion(2.6, pa, 1e-3))
    for exposure, image, star_xy in zip(sim.science, images, sim.truth.science_xy, strict=True):
        star = SkyCoord.from_pixel(*star_xy[0], exposure.wcs)
        place = star.directional_offset_by(pa * u.deg, 2.6 * u.arcsec).to_pixel(exposure.wcs)
        np.testing.assert_allclose(centroid(image, place), place, atol=0.1)


def test_truth_tells_where_companions_are():
    sim, images = difference(Companion(2.6, 200.0, 1e-3))
    for image, places in zip(images, sim.truth.companion_xy, strict=True):
        assert places.shape == (1, 1, 2)
        np.testing.assert_allclose(centroid(image, places[0, 0]), places[0, 0], atol=0.1)


def test_north_and_east_have_the_handedness_of_the_sky(tiny):
    for exposure in tiny.science:
        wcs = exposure.wcs
        assert np.linalg.det(wcs.pixel_scale_matrix) < 0
        angle = math.degrees(math.atan2(wcs.wcs.cd[0, 1], wcs.wcs.cd[1, 1]))  # position angle of the y axis
        assert angle == pytest.approx(exposure.meta.science["PA_APER"])
        assert angle == pytest.approx(exposure.meta.roll + exposure.meta.science["V3I_YANG"])


def test_the_companion_has_the_flux_and_shape_of_the_psf():
    sim, images = difference(Companion(2.9, 30.0, 1e-3))
    x, y = sim.truth.companion_xy[0][0, 0]
    column, row = round(x), round(y)
    stamp = images[0][row - 15 : row + 16, column - 15 : column + 16]
    expected = sim.truth.flux * 1e-3 * sim.psf(31, offset=(x - column, y - row))
    np.testing.assert_allclose(stamp, expected, atol=0.03 * expected.max())


def test_a_companion_near_the_mask_is_dimmed_by_it():
    sim, images = difference(Companion(0.63, 30.0, 1e-3))
    assert images[0].sum() / (sim.truth.flux * 1e-3) == pytest.approx(0.5, abs=0.1)


def test_a_psf_has_unit_flux(tiny):
    assert tiny.psf(151).sum() == pytest.approx(1, abs=0.02)


def test_the_disk_has_its_flux_and_position_angle():
    sim, images = difference(Disk(r0=2.2, width=0.1, inclination=75, pa=128.0, contrast=1e-2))
    for exposure, image in zip(sim.science, images, strict=True):
        assert image.sum() / sim.truth.flux == pytest.approx(0.01, rel=0.15)  # the mask takes a part
        y, x = np.indices(image.shape)
        dx, dy = x - exposure.center[0], y - exposure.center[1]
        east, north = np.tensordot(exposure.wcs.wcs.cd, np.array([dx, dy]), axes=1)
        moments = [(image * a).sum() for a in (east * north, north**2 - east**2)]
        axis = 0.5 * math.degrees(math.atan2(2 * moments[0], moments[1])) % 180
        assert axis == pytest.approx(128.0, abs=1.0)


def test_references_have_no_companion_and_no_disk():
    sim, _ = difference(Companion(1.0, 30.0, 1e-2), n_dither=5)
    alone = simulate.coronagraph(shape=128, n_int=1, n_dither=5, noise=SILENT, wavefront=STILL)
    for with_, without in zip(sim.references, alone.references, strict=True):
        np.testing.assert_array_equal(with_.data, without.data)
        assert with_.meta.primary["IS_PSF"]


def test_the_dither_moves_the_reference_by_the_pattern():
    sim = simulate.coronagraph(shape=48, n_int=4, n_dither=9, noise=SILENT, wavefront=Wavefront(jitter=0, n_wave=3))
    xy = np.array([places.mean(axis=0) for places in sim.truth.reference_xy])
    mas = (xy - xy[0]) * sim.references[0].meta.pixel_scale * 1000
    headers = [e.meta.primary for e in sim.references]
    expected = [(h["XOFFSET"] * 1000, h["YOFFSET"] * 1000) for h in headers]
    np.testing.assert_allclose(mas, expected, atol=1e-6)
    assert [h["PATT_NUM"] for h in headers] == list(range(1, 10))
    assert np.hypot(*mas.T).max() == pytest.approx(15 * math.sqrt(2))


def test_errors_are_those_of_the_scatter():
    exposure, _ = simulate.null(200, 1, shape=48, change=0, pointing=0)
    ratio = exposure.data.std(axis=0, ddof=1) / exposure.err[0]
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    bright = exposure.err[0] > 1.5 * np.median(exposure.err[0])
    assert np.median(ratio[bright]) == pytest.approx(1, abs=0.02)


def test_err_squared_is_the_sum_of_the_variances(tiny):
    exposure = tiny.science[0]
    total = sum(exposure.variances[name] for name in ("poisson", "rnoise", "flat"))
    np.testing.assert_allclose(np.square(exposure.err), total, rtol=1e-5)


def test_fractions_of_bad_pixels_are_those_asked_for():
    noise = Noise(nan=0.01, bad=0.01, jumps=0.2)
    sim = simulate.coronagraph(shape=161, n_int=1, n_dither=1, wavefront=Wavefront(n_wave=1), noise=noise)
    exposure = sim.science[0]
    empty, unusable = np.isnan(exposure.data), (exposure.dq & DQ.DO_NOT_USE) > 0
    assert empty.mean() == pytest.approx(0.01, abs=0.003)
    assert unusable.mean() == pytest.approx(0.01, abs=0.003)
    assert ((exposure.dq & DQ.JUMP_DET) > 0).mean() == pytest.approx(0.2, abs=0.01)
    assert not (empty & unusable).any()
    np.testing.assert_array_equal(empty, np.isnan(exposure.err))
    np.testing.assert_array_equal(empty, np.isnan(sim.references[0].data))


def test_outliers_are_bright_and_not_flagged():
    options = {"shape": 64, "n_int": 2, "n_dither": 1, "wavefront": Wavefront(n_wave=1)}
    clean = simulate.coronagraph(**options, noise=Noise(nan=0, bad=0, jumps=0)).science[0]
    hit = simulate.coronagraph(**options, noise=Noise(nan=0, bad=0, jumps=0, outliers=0.01)).science[0]
    excess = hit.data - clean.data
    assert 0.004 < (excess > 0).mean() < 0.02
    assert excess.max() > 20 * np.median(clean.err)
    assert not hit.dq.any()


def test_the_same_seed_gives_the_same_arrays(tiny):
    again, other = simulate.tiny(), simulate.tiny(seed=2)
    for a, b, c in zip(tiny.science, again.science, other.science, strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.dq, b.dq)
        assert np.nanmax(np.abs(a.data - c.data)) > 10


def test_no_two_exposures_have_the_same_noise():
    noise = Noise(nan=0, bad=0, jumps=0)
    sim = simulate.coronagraph(
        shape=48, n_int=2, n_dither=5, noise=noise, wavefront=Wavefront(between_stars=0, drift=0, pointing=0, jitter=0)
    )
    frames = np.concatenate(
        [sim.science[0].data - sim.science[1].data, sim.references[1].data - sim.references[2].data]
    )
    assert frames.std(axis=(1, 2)).min() > 0.1


def test_random_numbers_of_one_purpose_do_not_disturb_another(tiny):
    quiet = simulate.coronagraph(shape=64, n_int=2, n_dither=5, noise=SILENT, wavefront=Wavefront(n_wave=3))
    for a, b in zip(tiny.truth.reference_xy, quiet.truth.reference_xy, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_source_gives_the_exposure_again(tiny):
    again = eval(tiny.references[1].source, {"simulate": simulate, **vars(simulate)})
    np.testing.assert_array_equal(again.data, tiny.references[1].data)


def test_the_companions_of_demo_are_hidden_by_speckles():
    sim = simulate.demo()
    for companion, xy in zip(sim.truth.companions, sim.truth.companion_xy[0][0], strict=True):
        peak = sim.truth.flux * companion.contrast * sim.psf(11).max()
        frame, (x, y) = sim.science[0].data[0], xy
        row, column = np.indices(frame.shape)
        cx, cy = sim.truth.science_xy[0][0]
        ring = np.abs(np.hypot(column - cx, row - cy) - np.hypot(x - cx, y - cy)) < 3
        values = frame[ring & sim.science[0].good[0]]
        assert peak < 5 * values.std()


def test_null_frames_of_science_and_references_are_drawn_alike():
    science, references = simulate.null(60, 60, shape=48)
    assert science.good.all()
    assert not references.dq.any()
    mean_difference = science.data.mean(axis=0) - references.data.mean(axis=0)
    scatter = np.hypot(science.data.std(axis=0), references.data.std(axis=0)) / math.sqrt(60)
    assert np.square(mean_difference / scatter).mean() < 3
    spread = np.log(science.data.std(axis=0) / references.data.std(axis=0))
    assert abs(np.median(spread)) < 0.2
    assert science.data.std(axis=0).max() > 5 * science.err[0].max()


def test_null_takes_bad_pixels_if_asked():
    science, _ = simulate.null(2, 2, shape=64, noise=Noise(nan=0.02))
    assert 0.01 < np.isnan(science.data).mean() < 0.03


@pytest.mark.parametrize("options", [{"n_dither": 3}, {"n_int": 0}])
def test_impossible_plans_are_refused(options):
    with pytest.raises(DataError, match="n_dither must be 1, 5 or 9"):
        simulate.coronagraph(shape=32, **options)


def test_importing_the_package_does_not_import_the_simulator():
    code = "import sys, corontools; print('corontools.simulate' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
