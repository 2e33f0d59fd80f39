"""Ramps in and out of files, and how much memory they take."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from astropy.io import fits as astrofits

from corontools import DQ, Exposure, FlickerCleaner
from corontools.flicker.product import SUFFIX
from corontools.products import product_name


@pytest.fixture
def ramp_file(tmp_path, planted, meta):
    """A ramp as the JWST pipeline writes it after jump detection."""
    ramp = planted()
    group = np.zeros(ramp.shape, np.uint8)
    group[0, 2, 5, 6] = DQ.JUMP_DET
    pixel = np.zeros(ramp.shape[-2:], np.uint32)
    pixel[1, 2] = DQ.REFERENCE_PIXEL | DQ.DO_NOT_USE
    primary = astrofits.Header(meta().primary)
    primary["DATAMODL"] = "RampModel"
    hdus = [
        astrofits.PrimaryHDU(header=primary),
        astrofits.ImageHDU(ramp.data, name="SCI"),
        astrofits.ImageHDU(pixel, name="PIXELDQ"),
        astrofits.ImageHDU(group, name="GROUPDQ"),
        astrofits.BinTableHDU.from_columns([astrofits.Column("number", "J", array=[1, 2])], name="NOTES"),
    ]
    path = tmp_path / "jw1_nrcalong_ramp.fits"
    astrofits.HDUList(hdus).writeto(path)
    return path


def test_a_ramp_is_read_as_mapped_groups_with_their_flags(ramp_file):
    exposure = Exposure.read(ramp_file)
    assert exposure.is_ramp
    assert exposure.dq.dtype == np.uint8
    assert isinstance(exposure.dq.base, np.ndarray)
    assert exposure.dq[0, 2, 5, 6] == DQ.JUMP_DET
    assert exposure.pixel_dq[1, 2] == DQ.REFERENCE_PIXEL | DQ.DO_NOT_USE
    assert not exposure.good[:, :, 1, 2].any()
    assert exposure.flags()[0, 2, 5, 6] == DQ.JUMP_DET
    assert exposure.flags()[1, 1, 1, 2] & DQ.DO_NOT_USE
    assert exposure.crop((4, 4), center=(2, 2)).pixel_dq.sum() == exposure.pixel_dq.sum()


def test_a_cleaned_ramp_is_a_ramp_for_jwst_too(tmp_path, ramp_file):
    cleaner = FlickerCleaner(Exposure.read(ramp_file))
    path = cleaner.save(tmp_path / "out.fits")
    made, given = Exposure.read(path), Exposure.read(ramp_file)
    np.testing.assert_allclose(made.data, cleaner.cleaned.data)
    np.testing.assert_array_equal(made.dq, given.dq)
    np.testing.assert_array_equal(made.pixel_dq, given.pixel_dq)
    assert [e.name for e in made.extensions] == ["NOTES"]
    with astrofits.open(path) as hdus:
        assert hdus[0].header["DATAMODL"] == "RampModel"
        assert hdus[0].header["S_CLNFNS"] == "COMPLETE"
        assert hdus[0].header["FILENAME"] == "out.fits"
        assert hdus["GROUPDQ"].data.dtype == np.uint8
        assert hdus["PIXELDQ"].data.dtype == np.uint32
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with datamodels.open(path) as model:
            assert type(model).__name__ == "RampModel"
            assert model.meta.cal_step.clean_flicker_noise == "COMPLETE"
            np.testing.assert_allclose(model.data, made.data)
            np.testing.assert_array_equal(model.groupdq, given.dq)
            np.testing.assert_array_equal(model.pixeldq, given.pixel_dq)


def test_it_makes_no_difference_whether_a_ramp_was_in_memory(tmp_path, ramp_file):
    cleaner = FlickerCleaner(Exposure.read(ramp_file))
    streamed = cleaner.save(tmp_path / "streamed.fits")
    assert "_corrected" not in cleaner.__dict__
    assert cleaner.log.corrected == 6
    assert cleaner.cleaned is not None
    whole = cleaner.save(tmp_path / "whole.fits")
    np.testing.assert_array_equal(Exposure.read(streamed).data, Exposure.read(whole).data)


def test_ramps_of_plain_arrays_are_written_as_ramps(tmp_path, planted):
    ramp = planted()
    dq = np.zeros(ramp.shape, np.uint32)
    dq[0, 0, 3, 3] = DQ.HOT | DQ.JUMP_DET  # HOT has no room among the flags of a group
    path = FlickerCleaner(Exposure(ramp.data, dq=dq), axis=1).save(tmp_path / "a.fits")
    made = Exposure.read(path)
    assert made.is_ramp
    assert made.dq[0, 0, 3, 3] == DQ.JUMP_DET
    assert made.pixel_dq[3, 3] == DQ.HOT


def test_the_error_of_an_old_ramp_can_be_added(tmp_path, planted):
    ramp = planted()
    exposure = ramp.exposure(err=np.full(ramp.shape, 2.0, np.float32))
    plain = FlickerCleaner(exposure)
    np.testing.assert_array_equal(Exposure.read(plain.save(tmp_path / "a.fits")).err, 2.0)
    added = Exposure.read(plain.add_err().save(tmp_path / "b.fits")).err
    np.testing.assert_allclose(added, np.hypot(2.0, plain.err), rtol=1e-5)


def test_a_ramp_that_cannot_be_corrected_says_so_in_its_header(tmp_path, planted):
    ramp = planted()
    nothing = FlickerCleaner(ramp.exposure()).use_mask(np.zeros(ramp.shape[-2:], bool))
    path = nothing.save(tmp_path / "a.fits")
    assert astrofits.getval(path, "S_CLNFNS") == nothing.log.status == "FAILED"
    np.testing.assert_array_equal(Exposure.read(path).data, ramp.data)
    one = FlickerCleaner(planted(shape=(2, 1, 64, 256)).exposure())
    assert astrofits.getval(one.save(tmp_path / "b.fits"), "S_CLNFNS") == one.log.status == "SKIPPED"
    assert one.notes == ("one group, so no difference to correct: left unchanged",)


def test_noise_and_background_are_written_in_the_form_of_the_exposure(tmp_path, planted, rate):
    for exposure, model in ((planted().exposure(), "RampModel"), (Exposure(rate[0]), "ImageModel")):
        cleaner = FlickerCleaner(exposure, axis=1)
        for write, values in ((cleaner.save_noise, cleaner.noise), (cleaner.save_background, cleaner.background)):
            path = write(tmp_path / "a.fits", overwrite=True)
            np.testing.assert_allclose(Exposure.read(path).data, values, rtol=1e-6)
            assert astrofits.getval(path, "DATAMODL") == model


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path, planted, monkeypatch):
    cleaner = FlickerCleaner(planted().exposure())
    (tmp_path / "a.fits").write_text("mine")
    with pytest.raises(FileExistsError):
        cleaner.save(tmp_path / "a.fits")
    assert (tmp_path / "a.fits").read_text() == "mine"

    def fails(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("corontools.flicker.frames.fit_image", fails)
    with pytest.raises(KeyboardInterrupt):
        cleaner.save(tmp_path / "b.fits")
    assert [path.name for path in tmp_path.iterdir()] == ["a.fits"]


@pytest.mark.parametrize(
    ("background", "noise"), [("median", "median"), ("median_image", "median"), ("model", "fft"), ("median", "stream")]
)
def test_a_ramp_streams_through_a_few_frames_of_memory(tmp_path, planted, background, noise):
    def cleaner(exposure):
        return FlickerCleaner(exposure, channels=4).fit_background(background).fit_noise(noise)

    ramp = planted(shape=(4, 5, 512, 640))
    path = ramp.exposure().save(tmp_path / "ramp.fits")
    ramp.data = ramp.stripes = None
    # what is imported and compiled is no working space
    cleaner(planted(shape=(2, 2, 512, 640)).exposure()).save(tmp_path / "warm.fits")
    made = cleaner(Exposure.read(path))
    tracemalloc.start()
    try:
        made.save(tmp_path / "out.fits")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    frame = 512 * 640 * 4
    # the input is 20 frames, and so is the output; of larger frames fewer are in memory
    assert peak < 8 * frame, f"{peak / frame:.1f} frames"


def test_the_draft_rate_is_kept_if_it_was_asked_for(tmp_path, planted):
    cleaner = FlickerCleaner(planted().exposure())
    cleaner.save(tmp_path / "a.fits")
    assert "draft_rate" not in cleaner.__dict__
    rate = cleaner.draft_rate
    cleaner.save(tmp_path / "b.fits")
    assert cleaner.draft_rate is rate


def test_names_of_products():
    assert product_name("jw1_rateints.fits", SUFFIX) == "jw1_clean_flicker_noise.fits"
    assert product_name("jw1_jump.fits.gz", "mask") == "jw1_mask.fits"
    assert product_name("_rate.fits", SUFFIX) == "exposure_clean_flicker_noise.fits"
    assert product_name("M31.FIT", SUFFIX) == "M31_clean_flicker_noise.fits"
