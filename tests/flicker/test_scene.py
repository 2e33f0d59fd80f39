"""Which pixels are masked in which observing mode."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from corontools import DQ, DataError, Exposure, FlickerCleaner

SHAPE = (64, 48)
SLIT = (5, 10, 40, 14)


def scene(meta, mode, *, science, shape=SHAPE, dq=None, flat=None, **cards):
    data = np.random.default_rng(1).normal(5, 1, shape).astype(np.float32)
    exposure = Exposure(data, dq=dq, meta=meta(mode, 1, **cards))
    return FlickerCleaner(exposure, flat=flat).mask_scene(science=science, n_sigma=0)


def flags(bit, shape=SHAPE):
    dq = np.zeros(shape, np.uint32)
    dq[50:53, 20:30] = bit
    return dq


def test_sources_bad_and_missing_pixels_are_masked_always(meta):
    data = np.random.default_rng(1).normal(5, 1, SHAPE).astype(np.float32)
    data[10, 10], data[11, 11], data[12, 12], data[13, 13] = np.nan, 0.0, 500.0, -500.0
    cleaner = FlickerCleaner(Exposure(data, meta=meta()))
    assert not cleaner.mask[range(10, 14), range(10, 14)].any()
    assert cleaner.mask.mean() > 0.9
    assert cleaner.flavours == ("missing data", "outliers")


def test_limits_are_3_sigma_below_and_n_sigma_above(meta):
    data = np.random.default_rng(1).normal(5, 1, (400, 400))
    cleaner = FlickerCleaner(Exposure(data, meta=meta())).mask_scene(n_sigma=1.5)
    center, sigma = cleaner.scene.levels[0]
    np.testing.assert_array_equal(cleaner.mask, (data >= center - 3 * sigma) & (data <= center + 1.5 * sigma))


def test_a_histogram_gives_the_width_of_the_core(meta):
    rng = np.random.default_rng(1)
    data = rng.normal(5, 1, (400, 400))
    data[rng.random(data.shape) < 0.15] += 3.5  # a shoulder that clipping alone takes for noise
    cleaner = FlickerCleaner(Exposure(data, meta=meta()))
    clipped, fitted = (c.scene.levels[0] for c in (cleaner, cleaner.mask_scene(fit_histogram=True)))
    assert abs(fitted[1] - 1) < abs(clipped[1] - 1)
    assert abs(fitted[0] - 5) < abs(clipped[0] - 5)


def test_ifu_slices_failed_shutters_and_fixed_slits_are_masked(meta):
    shape = (1200, 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = scene(meta, "NRS_IFU", science=[SLIT], shape=shape, dq=flags(DQ.MSA_FAILED_OPEN, shape))
    mask = made.mask
    assert made.flavours == ("IFU slices", "MSA_FAILED_OPEN", "fixed-slit region", "missing data")
    assert not mask[10:15, 5:].any()
    assert not mask[50:53, 20:30].any()
    # rows 923 to 1116, counted from 1
    assert not mask[922:1116].any()
    assert mask[921].all()
    assert mask[1116].all()


def test_fixed_slits_beside_shutters_stay_where_targets_are_in_them(meta):
    shape, dq = (1200, 30), flags(DQ.MSA_FAILED_OPEN, (1200, 30))
    masked = scene(meta, "NRS_MSASPEC", science={"slits": [SLIT]}, shape=shape, dq=dq)
    kept = scene(meta, "NRS_MSASPEC", science={"slits": [SLIT], "fixed_slits": False}, shape=shape, dq=dq)
    assert not masked.mask[1000].any()
    assert kept.mask[1000].all()
    assert kept.scene.left_out == ("fixed-slit region",)


def test_the_fixed_slits_are_where_they_are_on_the_whole_detector(meta):
    shape = (200, 30)
    made = scene(meta, "NRS_IFU", science={"slices": [], "failed_open": False}, shape=shape, SUBSTRT2=901)
    np.testing.assert_array_equal(np.flatnonzero(~made.mask[:, 0]), np.arange(22, 200))


@pytest.mark.parametrize("mode", ["NRS_FIXEDSLIT", "NRS_BRIGHTOBJ"])
def test_fixed_slit_modes_mask_the_slits_alone(meta, mode):
    made = scene(meta, mode, science=[SLIT], dq=flags(DQ.MSA_FAILED_OPEN))
    assert made.flavours == ("slits", "missing data")
    assert not made.mask[10:15, 5:41].any()
    assert made.mask[50:53, 20:30].all()


def test_miri_masks_what_is_no_science(meta):
    for bit in (DQ.NON_SCIENCE, DQ.DO_NOT_USE):
        made = scene(meta, "MIR_IMAGE", science=True, dq=flags(bit))
        assert made.flavours == ("non-science", "missing data")
        assert not made.mask[50:53, 20:30].any()
    flat = Exposure(np.ones(SHAPE), dq=flags(DQ.NON_SCIENCE))
    assert not scene(meta, "MIR_IMAGE", science=True, flat=flat).mask[50:53, 20:30].any()


def test_soss_traces_are_masked(meta):
    x = np.arange(48.0)
    made = scene(meta, "NIS_SOSS", science=[(x, np.full(48, 20.0))])
    assert made.flavours == ("traces", "missing data")
    np.testing.assert_array_equal(np.flatnonzero(~made.mask[:, 7]), np.arange(4, 37))


def test_imaging_masks_regions_of_ones_own(meta):
    made = scene(meta, "NRC_IMAGE", science=[SLIT])
    assert made.flavours == ("science regions", "missing data")
    assert not made.mask[10:15, 5:41].any()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("NRS_IFU", "slices"), ("NRS_MSASPEC", "slits"), ("NRS_FIXEDSLIT", "slits"), ("NIS_SOSS", "traces")],
)
def test_what_a_mode_needs_is_asked_for_by_name(meta, mode, kind):
    with pytest.raises(DataError, match=f"{mode} needs .*science={{'{kind}': "):
        scene(meta, mode, science=True)


def test_regions_of_ones_own_may_stand_for_those_of_the_mode(meta):
    made = scene(meta, "NRS_IFU", science={"slices": False, "failed_open": False, "science": [SLIT]})
    assert made.flavours == ("fixed-slit region", "science regions", "missing data")
    assert not made.mask[10:15, 5:41].any()


def test_without_science_the_card_tells_what_was_not_masked(meta):
    made = scene(meta, "NRS_IFU", science=False)
    assert made.scene.left_out == ("IFU slices", "MSA_FAILED_OPEN", "fixed-slit region")
    assert "IFU slices" in repr(made)


def test_flags_that_nobody_set_are_asked_for(meta):
    with pytest.warns(UserWarning, match="no pixel has the flag MSA_FAILED_OPEN; give their pixels"):
        assert scene(meta, "NRS_IFU", science=[SLIT]).mask.any()
    with pytest.warns(UserWarning, match="NON_SCIENCE"):
        assert scene(meta, "MIR_IMAGE", science=True).mask.all()


def test_a_kind_that_a_mode_has_not_is_refused(meta):
    with pytest.raises(DataError, match=r"NRC_IMAGE has no regions slices \(it has: science\)"):
        scene(meta, "NRC_IMAGE", science={"slices": [SLIT]})


def test_a_pixel_has_to_be_good_in_every_integration(meta):
    cube = np.random.default_rng(1).normal(5, 1, (3, *SHAPE))
    cube[1, 20, 20] = 100
    cleaner = FlickerCleaner(Exposure(cube, meta=meta()))
    assert not cleaner.mask[20, 20]
    each = cleaner.mask_scene(per_integration=True)
    assert each.mask.shape == cube.shape
    assert not each.mask[1, 20, 20]
