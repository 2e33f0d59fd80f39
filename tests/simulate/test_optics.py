"""Optics: conservation of flux, the mask, and what real images look like."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from corontools import simulate
from corontools.simulate.optics import Optics, hexagon_centers
from corontools.simulate.plan import frame_optics
from corontools.simulate.presets import _expanded
from corontools.simulate.scene import PIXEL_SCALE
from corontools.simulate.wavefront import power_law, segment_modes, thermal_change

DATA = Path(os.environ.get("CORONTOOLS_DATA", Path(__file__).parents[3] / "shared" / "data")) / "aumic_f444w"
REAL = DATA / "jw01184001001_03106_00001_nrcalong_calints.fits"
needs_real = pytest.mark.skipif(not REAL.exists(), reason="the real exposures are not here (CORONTOOLS_DATA)")


@pytest.fixture(scope="module")
def optics():
    return frame_optics(128, simulate.Wavefront(n_wave=3))


@pytest.fixture(scope="module")
def flat(optics):
    return np.zeros((optics.n, optics.n))


def test_the_mirror_has_18_segments_on_a_hexagonal_lattice():
    centers = hexagon_centers()
    distances = np.hypot(*(centers[:, None] - centers).transpose(2, 0, 1))
    assert centers.shape == (18, 2)
    np.testing.assert_allclose(np.sort(distances, axis=1)[:, 1], 1.32)


def test_an_unocculted_source_keeps_its_flux_behind_the_lyot_stop(optics, flat):
    assert optics.image(flat, occulted=False).sum() == pytest.approx(1, abs=0.01)


def test_a_source_far_from_the_mask_keeps_its_flux_and_shape(optics, flat):
    place = (40 * PIXEL_SCALE, 0.0)
    behind, open_ = optics.image(flat, place), optics.image(flat, place, occulted=False)
    assert behind.sum() == pytest.approx(open_.sum(), rel=0.01)
    np.testing.assert_allclose(behind, open_, atol=0.03 * open_.max())


def test_the_image_of_a_source_is_centred_on_it(optics, flat):
    image = optics.image(flat, (20.3 * PIXEL_SCALE, -11.7 * PIXEL_SCALE), occulted=False)
    y, x = np.indices(image.shape)
    core = np.where(np.hypot(x - 84.3, y - 52.3) < 2.5, image, 0)
    assert (x * core).sum() / core.sum() == pytest.approx(84.3, abs=0.1)
    assert (y * core).sum() / core.sum() == pytest.approx(52.3, abs=0.1)


def test_a_pixel_sees_the_mean_over_its_area(optics, flat):
    opd = power_law(np.random.default_rng(1), optics, 70)
    fine = Optics((320, 320), (159.5, 159.5), PIXEL_SCALE / 5, optics.wavelengths, grid=optics.n)
    coarse = Optics((64, 64), (31.5, 31.5), PIXEL_SCALE, optics.wavelengths, grid=optics.n)
    binned = fine.image(opd).reshape(64, 5, 64, 5).sum(axis=(1, 3))
    image = coarse.image(opd)
    np.testing.assert_allclose(image[8:-8, 8:-8], binned[8:-8, 8:-8], atol=0.01 * image.max())


def test_the_finer_pupil_gives_the_same_image(optics, flat):
    finer = Optics(optics.shape, optics.center, PIXEL_SCALE, optics.wavelengths, grid=2 * optics.n)
    image, expected = optics.image(flat, occulted=False), finer.image(np.zeros((finer.n, finer.n)), occulted=False)
    np.testing.assert_allclose(image, expected, atol=0.03 * expected.max())


def test_the_mask_suppresses_the_star_as_the_real_one(optics):
    opd = power_law(np.random.default_rng(1), optics, 70)
    ratio = optics.image(opd).max() / optics.image(opd, occulted=False).max()
    # AU Mic: 1573 MJy/sr where 4.25 Jy would peak near 2.3e6 MJy/sr without mask
    assert 2e-4 < ratio < 2e-3


def test_half_of_the_light_passes_at_the_half_width_of_the_mask():
    assert simulate.mask_transmission(np.array([0.63]))[0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.real
@needs_real
def test_the_mask_is_that_of_the_reference_file():
    real = fits.getdata(REAL.with_name(f"{REAL.stem}_psfmask.fits"))
    box = np.s_[124:225, 100:201]
    mask = frame_optics((320, 320), simulate.Wavefront()).mask
    assert np.abs(mask[box] - real[box]).max() < 0.05
    assert abs((mask[box] - real[box]).mean()) < 0.002


@pytest.mark.real
@needs_real
def test_speckles_are_as_bright_as_in_a_real_image():
    real = fits.getdata(REAL)[0]
    sim = simulate.coronagraph(n_int=1, n_dither=1, rolls=(63.76,)).science[0].data[0]
    y, x = np.indices(real.shape)
    radius = np.hypot(x - 150, y - 174)
    for low, high in [(0, 5), (5, 15), (15, 30), (30, 60), (60, 100)]:
        ring = (radius >= low) & (radius < high)
        assert 0.4 < np.nanmedian(sim[ring]) / np.nanmedian(real[ring]) < 2.5


def test_wavefronts_have_the_rms_asked_for(optics):
    inside = optics.pupil > 0
    for make in (power_law, thermal_change):
        opd = make(np.random.default_rng(2), optics, 12.0)
        assert opd[inside].std() == pytest.approx(12e-9)
        assert not opd[~inside].any()


def test_segment_modes_move_one_segment_each(optics):
    modes = segment_modes(optics)
    for number, mode in enumerate(modes):
        on = optics.segment == number // 3
        assert not mode[~on].any()
        assert np.square(mode[on]).mean() == pytest.approx(1)


def test_null_frames_agree_with_a_full_propagation():
    optics = frame_optics(64, simulate.Wavefront(n_wave=3))
    weights = np.random.default_rng(3).standard_normal((3, 56))
    weights[:, :54] *= 2e-9
    weights[:, 54:] *= 5e-3 * np.pi / 648000
    images, mean = _expanded(optics, weights), _expanded(optics, 0 * weights)[0]
    static, modes = power_law(np.random.default_rng(54), optics, 70.0), segment_modes(optics)
    for image, row in zip(images, weights, strict=True):
        opd = static + np.tensordot(row[:54], modes, axes=1)
        exact = optics.image(opd, tuple(row[54:] * 648000 / np.pi))
        assert np.abs(image - exact).max() < 0.1 * np.abs(exact - mean).max()
