"""FlickerCleaner: what is planted is removed, what isn't there stays out, and what can't be done is told."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy.io import fits

from corontools import DQ, DataError, Exposure, FlickerCleaner, Meta, replay

METHODS = ("median", "fft", "stream")


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def stripes_left(cleaned, planted):
    """What is left of the stripes of each group, levels of whole images aside."""
    left = planted.truth - (planted.data - cleaned.data)
    return left - left.mean(axis=(2, 3), keepdims=True)


def test_stripes_are_removed_from_every_group_under_the_source_too(planted):
    ramp = planted()
    cleaner = FlickerCleaner(ramp.exposure())
    left = stripes_left(cleaner.cleaned, ramp)
    assert rms(ramp.truth[:, 1:]) > 2.5
    # a median of 256 px of sigma 4 sqrt(2) has an error of 0.44; the errors of three differences add up
    assert rms(left[:, 1:]) < 0.8
    assert rms(left[:, 1:, ramp.lit]) < 0.9
    assert cleaner.status == {
        "mask": "COMPLETE", "background": "COMPLETE", "noise": "COMPLETE", "correction": "COMPLETE"
    }  # fmt: skip
    assert cleaner.notes == ()


def test_the_first_group_stays_and_the_noise_is_what_was_subtracted(planted):
    ramp = planted()
    cleaner = FlickerCleaner(ramp.exposure())
    np.testing.assert_array_equal(cleaner.cleaned.data[:, 0], ramp.data[:, 0])
    np.testing.assert_array_equal(cleaner.noise, ramp.data - cleaner.cleaned.data)
    assert cleaner.cleaned.data.dtype == np.float32


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("background", ["median", "model", None])
def test_every_method_removes_stripes_of_a_rate(rate, method, background):
    image, stripes = rate
    cleaner = FlickerCleaner(Exposure(image), axis=1).fit_background(background).fit_noise(method)
    left = stripes - (image - cleaner.cleaned.data)
    # levels of rows are steps in time, which waves follow less well than medians do
    assert rms(left - left.mean()) < 0.45 * rms(stripes - stripes.mean())


@pytest.mark.parametrize("axis", [0, 1])
def test_vertical_stripes_are_horizontal_ones_turned(rate, axis):
    image = rate[0] if axis == 1 else rate[0].T
    cleaned = FlickerCleaner(Exposure(image), axis=axis).cleaned.data
    upright = FlickerCleaner(Exposure(rate[0]), axis=1).cleaned.data
    np.testing.assert_allclose(cleaned if axis == 1 else cleaned.T, upright, atol=1e-4)


def test_amplifiers_have_levels_of_their_own(rate):
    image, stripes = rate
    offsets = np.repeat(np.random.default_rng(3).normal(0, 1.5, (64, 4)), 64, axis=1)
    striped = Exposure((image + offsets).astype(np.float32))
    cleaner = FlickerCleaner(striped, axis=1, channels=4)
    whole, apart = cleaner.cleaned.data, cleaner.fit_noise("median", by_channel=True).cleaned.data
    left = [image - stripes - cleaned for cleaned in (whole, apart)]
    assert rms(left[0] - left[0].mean()) > 1.2
    assert rms(left[1] - left[1].mean()) < 0.5


def test_a_missing_pixel_of_a_group_is_missing_in_that_group_alone(planted):
    ramp = planted()
    ramp.data[0, 1, 5, 7] = np.nan
    cleaned = FlickerCleaner(ramp.exposure()).cleaned.data
    assert np.isnan(cleaned[0, 1, 5, 7])
    assert np.isfinite(cleaned).sum() == cleaned.size - 1


def test_pixels_with_a_jump_are_left_out_of_the_fit(planted):
    ramp = planted()
    dq = np.zeros(ramp.shape, np.uint8)
    ramp.data[0, 2:, 40, 10:170] += 8.0  # not far enough to be clipped
    dq[0, 2, 40, 10:170] = DQ.JUMP_DET
    marked, unmarked = (FlickerCleaner(ramp.exposure(dq=flags)).noise[0, 2, 40, 0] for flags in (dq, dq * 0))
    truth = ramp.truth[0, 2, 40, 0]
    assert abs(marked - truth) < 1.5 < 3 < abs(unmarked - truth)


@pytest.mark.parametrize("bits", [DQ.DO_NOT_USE, DQ.SATURATED])
def test_a_group_that_is_not_to_be_used_isnt_fitted(planted, bits):
    ramp = planted()
    dq = np.zeros(ramp.shape, np.uint8)
    dq[1, 3] = bits
    cleaner = FlickerCleaner(ramp.exposure(dq=dq))
    # the difference is left as it is: the correction of the group before goes on
    np.testing.assert_allclose(cleaner.noise[1, 3], cleaner.noise[1, 2], atol=1e-4)
    assert cleaner.notes == ("integration 2, group 4: no usable pixel, left unchanged",)
    assert cleaner.status["correction"] == "COMPLETE"


def test_a_nan_group_leaves_the_other_groups_corrected(planted):
    ramp = planted()
    ramp.data[0, 1] = np.nan
    cleaner = FlickerCleaner(ramp.exposure())
    cleaned = cleaner.cleaned.data
    assert np.isnan(cleaned[0, 1]).all()
    assert np.isfinite(cleaned[0, 2:]).all()
    assert len(cleaner.notes) == 2  # two differences have no data
    steps = np.diff(cleaned[0, 2:], axis=0)[0, :, 60:].mean(axis=1)
    assert steps.std() < 0.7  # stripes would make it 2.8
    assert rms(stripes_left(cleaner.cleaned, ramp)[1, 1:]) < 0.8


def test_a_line_without_a_usable_pixel_is_left_unchanged_and_told(planted):
    ramp = planted()
    mask = np.ones(ramp.shape[-2:], bool)
    mask[10] = False
    cleaner = FlickerCleaner(ramp.exposure()).use_mask(mask)
    np.testing.assert_array_equal(cleaner.cleaned.data[:, :, 10], ramp.data[:, :, 10])
    assert cleaner.notes[0] == "integration 1, group 2: 1 of 64 rows left unchanged"
    assert not cleaner.err[:, :, 10].any()


def test_a_channel_without_a_usable_pixel_is_left_unchanged_and_told(rate):
    mask = np.ones((64, 256), bool)
    mask[:, 64:128] = False
    cleaner = FlickerCleaner(Exposure(rate[0]), axis=1, channels=4).use_mask(mask)
    cleaner = cleaner.fit_noise("median", by_channel=True)
    np.testing.assert_array_equal(cleaner.cleaned.data[:, 64:128], rate[0][:, 64:128])
    assert "part of 64 rows" in cleaner.notes[0]


@pytest.mark.parametrize("method", METHODS)
def test_an_image_without_a_usable_pixel_is_left_unchanged(rate, method):
    cleaner = FlickerCleaner(Exposure(rate[0]), axis=1).use_mask(np.zeros((64, 256), bool)).fit_noise(method)
    np.testing.assert_array_equal(cleaner.cleaned.data, rate[0])
    assert cleaner.status["correction"] == "FAILED"
    assert cleaner.cleaned.meta.primary["S_CLNFNS"] == "FAILED"
    assert cleaner.notes == ("integration 1: no usable pixel, left unchanged",)
    assert "FAILED: 0 of 1 images" in repr(cleaner)


def test_an_exposure_without_any_value_is_left_unchanged():
    cleaner = FlickerCleaner(Exposure(np.full((16, 16), np.nan)), axis=1)
    assert np.isnan(cleaner.cleaned.data).all()
    assert cleaner.status["mask"] == cleaner.status["correction"] == "FAILED"
    with pytest.raises(DataError, match="no image has a usable pixel"):
        cleaner.null_test()


def test_one_group_has_no_difference_and_is_skipped(planted):
    ramp = planted(shape=(2, 1, 64, 256))
    cleaner = FlickerCleaner(ramp.exposure())
    np.testing.assert_array_equal(cleaner.cleaned.data, ramp.data)
    assert cleaner.status["correction"] == "SKIPPED"


def test_one_group_of_several_integrations_is_cleaned_by_their_median(planted):
    ramp = planted(shape=(5, 1, 64, 256))
    cleaner = FlickerCleaner(ramp.exposure()).fit_background("median_image", flux=np.ones(5))
    left = ramp.stripes - cleaner.noise
    change = left - np.median(left, axis=0)
    assert rms(ramp.stripes) > 1.8
    assert rms(change) < 0.8


@pytest.mark.parametrize("method", METHODS)
def test_inputs_are_never_changed(planted, method):
    ramp = planted()
    data, dq = ramp.data.copy(), np.zeros(ramp.shape, np.uint8)
    flat, mask = np.full(ramp.shape[-2:], 0.9), np.ones(ramp.shape[-2:], bool)
    cleaner = FlickerCleaner(ramp.exposure(dq=dq), flat=flat).use_mask(mask).fit_noise(method)
    assert cleaner.cleaned is not None
    assert cleaner.err is not None
    np.testing.assert_array_equal(ramp.data, data)
    assert not dq.any()
    assert mask.all()
    assert (flat == 0.9).all()
    with pytest.raises(ValueError, match="read-only"):
        cleaner.cleaned.data[...] = 0


def test_the_flat_is_divided_out_for_the_fit_alone(rate):
    image, stripes = rate
    flat = np.random.default_rng(4).uniform(0.5, 1.5, image.shape)
    scene = np.full(image.shape, 100.0)
    exposed = Exposure(scene * flat + stripes * flat)
    with_flat = FlickerCleaner(exposed, axis=1, flat=flat).cleaned.data
    without = FlickerCleaner(exposed, axis=1).cleaned.data
    left = [made - scene * flat for made in (with_flat, without)]
    assert [rms(one - one.mean()) < 0.5 for one in left] == [True, False]


def test_a_flat_is_cut_to_the_subarray_and_its_gaps_are_filled(meta, rate):
    whole = np.ones((128, 300))
    whole[10:74, 20:276] = 2.0
    whole[12, 22] = np.nan
    corner = meta(SUBSTRT1=21, SUBSTRT2=11)
    cleaner = FlickerCleaner(Exposure(rate[0], meta=corner), flat=whole)
    np.testing.assert_allclose(cleaner.flat_image, 2.0)
    with pytest.raises(DataError, match=r"a flat of \(32, 32\) px doesn't fit images of \(64, 256\)"):
        FlickerCleaner(Exposure(rate[0], meta=corner), flat=np.ones((32, 32))).mask


def test_the_error_of_medians_is_that_of_white_noise(planted):
    """Read noise alone: differences share groups, and the errors of their medians partly cancel."""
    ramp = planted(shape=(1, 6, 400, 128), source=0.0)
    cleaner = FlickerCleaner(ramp.exposure()).mask_scene(n_sigma=0)
    left = stripes_left(cleaner.cleaned, ramp)[0, :, :, 0]
    for j in (1, 3, 5):
        np.testing.assert_allclose(left[j].std(), np.median(cleaner.err[0, j]), rtol=0.12)


def test_the_error_grows_with_photon_noise(planted):
    ramp = planted(shape=(1, 6, 400, 128), source=0.0, noise=0.0)
    photons = np.cumsum(np.random.default_rng(5).normal(0, 6.0, ramp.shape), axis=1)
    ramp.data = (ramp.data + photons).astype(np.float32)
    cleaner = FlickerCleaner(ramp.exposure()).mask_scene(n_sigma=0)
    left = stripes_left(cleaner.cleaned, ramp)[0, :, :, 0]
    assert np.median(cleaner.err[0, 5]) > 2 * np.median(cleaner.err[0, 1])
    for j in (1, 3, 5):
        np.testing.assert_allclose(left[j].std(), np.median(cleaner.err[0, j]), rtol=0.12)


def test_the_error_can_be_added_to_err(rate):
    err = np.full(rate[0].shape, 0.3, np.float32)
    variances = {"rnoise": err**2, "poisson": 0 * err}
    exposure = Exposure(rate[0], err=err, variances=variances)
    cleaner = FlickerCleaner(exposure, axis=1).add_err()
    made = cleaner.cleaned
    np.testing.assert_allclose(made.err**2, err**2 + cleaner.err**2, rtol=1e-5)
    np.testing.assert_allclose(made.variances["rnoise"], err**2 + cleaner.err**2, rtol=1e-5)
    np.testing.assert_array_equal(FlickerCleaner(exposure, axis=1).cleaned.err, err)
    with pytest.raises(DataError, match="has no ERR"):
        FlickerCleaner(Exposure(rate[0]), axis=1).add_err()


def test_starlight_that_fills_the_frame_needs_the_median_over_integrations(planted):
    ramp = planted(shape=(6, 3, 64, 256), source=0.0)
    y, x = np.mgrid[:64, :256]
    star = 3000 * np.exp(-np.hypot(y - 32, x - 128) / 20) * (1 + 0.3 * np.cos(y / 2))
    flux = np.array([1.0, 1.02, 0.98, 1.01, 0.99, 1.0])
    steps = np.arange(1, 4)[:, None, None]
    ramp.data = (ramp.data + flux[:, None, None, None] * steps * star).astype(np.float32)
    cleaner = FlickerCleaner(ramp.exposure())
    ours = cleaner.fit_background("median_image")
    left = [ramp.stripes - made.noise for made in (cleaner, ours)]
    change = [rms((one - np.median(one, axis=0))[:, 1:]) for one in left]
    # bright rows are masked whole, and what is left of them is taken for stripes
    assert change[0] > 1.4
    assert change[1] < 0.8
    np.testing.assert_allclose(ours.frames.scales, flux / np.median(flux), atol=0.01)


def test_background_says_what_was_taken_off(planted, rate):
    ramp = planted()
    background = FlickerCleaner(ramp.exposure()).background
    assert background.shape == ramp.shape
    assert not background[:, 0].any()
    np.testing.assert_allclose(background[:, 1:], 20.0, atol=2.0)
    np.testing.assert_allclose(FlickerCleaner(Exposure(rate[0]), axis=1).fit_background("model").background, 10, atol=3)
    cube = np.stack([rate[0], 2 * rate[0], rate[0]])
    images = FlickerCleaner(Exposure(cube), axis=1).fit_background("median_image").background
    np.testing.assert_allclose(images, cube, rtol=1e-4)


def test_integrations_have_masks_of_their_own_on_request(planted):
    ramp = planted()
    ramp.data[1, :, 50:55, 5:20] += 300 * np.arange(1, 5)[:, None, None]
    both = FlickerCleaner(ramp.exposure())
    each = both.mask_scene(per_integration=True)
    assert both.mask.shape == (64, 256)
    assert each.mask.shape == (2, 64, 256)
    assert each.mask[0, 52, 10]
    assert not each.mask[1, 52, 10]
    assert not both.mask[52, 10]
    assert rms(stripes_left(each.cleaned, ramp)[:, 1:]) < 0.8


def test_a_mask_comes_back_from_its_file(tmp_path, planted):
    ramp = planted()
    cleaner = FlickerCleaner(ramp.exposure())
    path = cleaner.save_mask(tmp_path / "mask.fits")
    again = FlickerCleaner(ramp.exposure()).use_mask(path)
    np.testing.assert_array_equal(again.mask, cleaner.mask)
    np.testing.assert_array_equal(again.cleaned.data, cleaner.cleaned.data)
    assert again.flavours == ("given",)
    each = cleaner.mask_scene(per_integration=True)
    path = each.save_mask(tmp_path / "masks.fits")
    np.testing.assert_array_equal(cleaner.use_mask(Exposure.read(path)).mask, each.mask)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((64, 255)), r"a mask of shape \(64, 255\) doesn't fit images of \(64, 256\)"),
        (np.ones((3, 64, 256)), "doesn't fit"),
        (np.full((64, 256), 0.5), "holds 0 and 1"),
        (np.full((64, 256), np.nan), "holds 0 and 1"),
        (np.full((64, 256), "a"), "holds 0 and 1"),
    ],
)
def test_a_mask_of_another_shape_or_with_other_values_is_refused(planted, mask, message):
    with pytest.raises(DataError, match=message):
        FlickerCleaner(planted().exposure()).use_mask(mask)


def test_an_unknown_orientation_is_asked_for(rate):
    with pytest.raises(DataError, match=r"give axis=1, .* \(horizontal stripes"):
        FlickerCleaner(Exposure(rate[0]))
    with pytest.raises(DataError, match="axis should be 1"):
        FlickerCleaner(Exposure(rate[0]), axis=2)


def test_methods_that_an_exposure_cannot_have_are_refused(rate, meta):
    miri = FlickerCleaner(Exposure(rate[0], meta=meta("MIR_IMAGE", None)))
    for method in ("fft", "stream"):
        with pytest.raises(DataError, match="near-infrared detectors, which MIR_IMAGE"):
            miri.fit_noise(method)
    with pytest.raises(DataError, match="MIR_MRS is not supported"):
        FlickerCleaner(Exposure(rate[0], meta=meta("MIR_MRS")))
    one = FlickerCleaner(Exposure(rate[0], meta=meta()))
    for call, message in (
        (lambda: one.fit_noise("mean"), "median, fft, stream"),
        (lambda: one.fit_noise("median", by_channel=True), "channels=4"),
        (lambda: one.fit_noise("fft", by_channel=True), "belongs to 'median'"),
        (lambda: one.fit_background("mode"), "'median', 'model'"),
        (lambda: one.fit_background("median_image"), "two or more integrations"),
        (lambda: one.fit_background("median", box=8), "box belongs to 'model'"),
        (lambda: one.fit_background("model", box=0), "whole numbers of px"),
        (lambda: one.fit_background("median", flux=[1.0]), "flux belongs"),
        (lambda: one.mask_scene(n_sigma=-1), "n_sigma should be 0"),
        (lambda: one.mask_scene(n_sigma=np.nan), "n_sigma should be 0"),
    ):
        with pytest.raises(DataError, match=message):
            call()


def test_flux_is_one_positive_number_for_each_integration(planted):
    cleaner = FlickerCleaner(planted().exposure())
    for flux in ([1.0], [1.0, -1.0], [1.0, np.nan]):
        with pytest.raises(DataError, match="2 positive numbers"):
            cleaner.fit_background("median_image", flux=flux)


def test_only_images_ramps_and_rates_are_taken():
    with pytest.raises(DataError, match="a ramp"):
        FlickerCleaner(Exposure(np.ones((1, 1, 1, 4, 4))), axis=1)


def test_n_sigma_0_clips_nothing(rate):
    cleaner = FlickerCleaner(Exposure(rate[0]), axis=1).mask_scene(n_sigma=0)
    assert cleaner.mask.all()
    assert cleaner.flavours == ("missing data",)


def test_a_verb_keeps_what_is_known_already(planted):
    cleaner = FlickerCleaner(planted().exposure(), flat=np.ones((64, 256)))
    mask, rate = cleaner.scene, cleaner.draft_rate
    changed = cleaner.fit_background("model").fit_noise("fft")
    assert changed.scene is mask
    assert changed.draft_rate is rate
    assert cleaner.mask_scene(n_sigma=3).scene is not mask
    assert cleaner.with_(exact=True).scene is not mask
    assert cleaner.with_(axis=0).frames.readout.axis == 0


def test_history_is_the_chain_and_stands_in_the_product(tmp_path, planted):
    path = FlickerCleaner(planted().exposure()).save(tmp_path / "a_ramp.fits")
    cleaner = FlickerCleaner(Exposure.read(path)).mask_scene(n_sigma=3.0).fit_background("model", box=16)
    assert cleaner.history == (
        f"FlickerCleaner(Exposure.read({str(path)!r}))", ".mask_scene(n_sigma=3.0)", ".fit_background('model', box=16)"
    )  # fmt: skip
    made = Exposure.read(cleaner.save(tmp_path / "b.fits"))
    assert made.meta.history[-3:] == cleaner.history


def test_the_card_shows_choices_and_pictures_without_cleaning(planted):
    cleaner = FlickerCleaner(planted().exposure()).fit_background("model")
    page = cleaner._repr_html_()
    assert "model, boxes of 32 x 32 px" in page
    assert "missing data, outliers" in page
    assert page.count("<img") == 4
    assert "status" not in repr(cleaner)
    cleaner.cleaned
    assert "COMPLETE: 6 of 6 differences" in repr(cleaner)


def test_digest_tells_one_correction_from_another(rate):
    cleaner = FlickerCleaner(Exposure(rate[0]), axis=1)
    assert cleaner.digest() == FlickerCleaner(Exposure(rate[0]), axis=1).digest()
    assert cleaner.digest() != cleaner.fit_noise("stream").digest()


def test_flags_errors_and_extensions_of_a_rate_are_kept(tmp_path, rate):
    image = rate[0]
    dq = np.zeros(image.shape, np.uint32)
    dq[3, 4] = DQ.DO_NOT_USE
    exposure = Exposure(image, err=np.ones_like(image), dq=dq, variances={"poisson": np.ones_like(image)}, meta=Meta())
    cleaner = FlickerCleaner(exposure, axis=1)
    assert not cleaner.frames.good(0, 0)[3, 4]
    made = Exposure.read(cleaner.save(tmp_path / "a.fits"))
    np.testing.assert_array_equal(made.dq, dq)
    np.testing.assert_array_equal(made.err, 1)
    np.testing.assert_array_equal(made.variances["poisson"], 1)
    np.testing.assert_allclose(made.data, cleaner.cleaned.data)
    assert fits.getval(tmp_path / "a.fits", "S_CLNFNS") == "COMPLETE"


def test_nothing_warns(planted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for background in ("median", "model", "median_image", None):
            for method in METHODS:
                FlickerCleaner(planted().exposure()).fit_background(background).fit_noise(method).cleaned


def test_the_chain_makes_the_same_again(tmp_path):
    rng = np.random.default_rng(3)
    rate = Exposure((10 + rng.normal(size=(48, 64)) + rng.normal(size=(48, 1))).astype(np.float32))
    rate.save(tmp_path / "rate.fits")
    Exposure(np.ones((48, 64), np.float32)).save(tmp_path / "flat.fits")
    mask = np.ones((48, 64), bool)
    mask[3:5, 4:9] = False
    read = Exposure.read(tmp_path / "rate.fits")
    made = (
        FlickerCleaner(read, axis=1, flat=tmp_path / "flat.fits").use_mask(mask).fit_background(None).fit_noise("fft")
    )
    made.save(tmp_path / "clean.fits")
    for again in (replay(made), replay(tmp_path / "clean.fits", folder=tmp_path)):
        np.testing.assert_array_equal(again.cleaned.data, made.cleaned.data)
        assert again.history == made.history
