"""A mask changed by hand, and one image looked at."""

from __future__ import annotations

import numpy as np
import pytest

from corontools import DataError, Exposure, FlickerCleaner, replay


def cleaner(planted, **changes):
    return FlickerCleaner(planted().exposure(**changes))


def box(shape, y, x):
    out = np.zeros(shape, bool)
    out[y, x] = True
    return out


def test_what_is_used_goes_over_what_is_masked_and_both_over_what_was_found(planted):
    made = cleaner(planted)
    masked, used = box((64, 256), slice(40, 50), slice(100, 120)), box((64, 256), slice(22, 45), slice(32, 110))
    assert not made.mask[used].all()
    edited = made.edit_mask(masked=masked, used=used)
    np.testing.assert_array_equal(edited.mask, (made.mask & ~masked) | used)
    assert edited.flavours == (*made.flavours, "by hand")
    assert edited.scene is made.scene


def test_later_changes_go_over_earlier_ones_and_a_new_mask_forgets_them(planted):
    made = cleaner(planted)
    region = [(100, 40, 119, 49)]
    twice = made.edit_mask(masked=region).edit_mask(used=region)
    assert twice.mask[40:50, 100:120].all()
    np.testing.assert_array_equal(twice.mask_scene().mask, made.mask)
    assert twice.use_mask(made.mask).edits == ()


def test_pixels_of_a_higher_rate_are_masked(planted):
    made = cleaner(planted)
    edited = made.edit_mask(above=25.0)
    np.testing.assert_array_equal(edited.mask, made.mask & ~(made.draft_rate > 25.0))


@pytest.mark.parametrize("each", [False, True])
def test_of_several_rates_all_have_to_be_low_unless_each_has_a_mask(each):
    data = np.random.default_rng(1).normal(10, 1, (2, 16, 32))
    data[1, 3, 4] = 12.5
    made = FlickerCleaner(Exposure(data), axis=1).use_mask(np.ones((2, 16, 32) if each else (16, 32), bool))
    mask = made.edit_mask(above=12.4).mask
    high = data > 12.4
    np.testing.assert_array_equal(mask, ~(high if each else high.any(axis=0)))


def test_a_change_of_one_integration_gives_each_a_mask(planted):
    made = cleaner(planted)
    masked = np.zeros((2, 64, 256), bool)
    masked[1, 40:50, 100:120] = True
    mask = made.edit_mask(masked=masked).mask
    np.testing.assert_array_equal(mask, made.mask & ~masked)


def test_the_chain_with_changes_runs_again(planted):
    made = cleaner(planted).edit_mask(masked=[(1, 2, 8, 9), [(20, 20), (40, 20), (20, 40)]], above=30.0)
    made = made.edit_mask(used=box((64, 256), slice(0, 3), slice(0, 3))).fit_noise("fft")
    again = replay(made, arrays=[made.exposure])
    np.testing.assert_array_equal(again.mask, made.mask)
    np.testing.assert_array_equal(again.cleaned.data, made.cleaned.data)


def test_a_change_is_corrected_anew(planted):
    made = cleaner(planted)
    assert made.cleaned is made.cleaned  # it is kept, but not for another mask
    edited = made.edit_mask(masked=[(0, 0, 127, 63)])
    assert (edited.cleaned.data != made.cleaned.data).any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "nothing to change"),
        ({"above": np.inf}, "finite"),
        ({"masked": np.zeros((3, 3), bool)}, "region"),
        ({"masked": np.zeros((3, 64, 256), bool)}, "doesn't fit"),
        ({"used": "nowhere.fits"}, "nowhere"),
    ],
)
def test_what_is_no_change_is_refused(planted, change, words):
    with pytest.raises(DataError, match=words):
        cleaner(planted).edit_mask(**change)


def test_one_image_is_that_of_the_whole_correction(planted):
    made = cleaner(planted).fit_noise("fft")
    one = made.one_image(1, 2)
    data, cleaned = made.exposure.data, made.cleaned.data
    np.testing.assert_allclose(one.before, data[1, 2] - data[1, 1])
    np.testing.assert_allclose(one.after, cleaned[1, 2] - cleaned[1, 1], atol=1e-3)
    np.testing.assert_array_equal(made.one_image().psd.after, made.psd.after)
    np.testing.assert_array_equal(made.one_image().psd.before, made.psd.before)


def test_levels_are_means_of_what_was_fitted_to_divided_by_the_flat(planted):
    flat = np.full((64, 256), 0.5)
    one = FlickerCleaner(planted().exposure(), flat=flat).one_image()
    np.testing.assert_allclose(one.levels.after, np.nanmean(one.fitted.residual, axis=1), atol=1e-4)
    striped = one.fitted.residual + one.noise / 0.5
    np.testing.assert_allclose(one.levels.before, np.nanmean(striped, axis=1), atol=1e-4)


def test_of_the_median_of_integrations_the_first_group_is_an_image_too(planted):
    made = cleaner(planted).fit_background("median_image")
    np.testing.assert_array_equal(made.one_image(1, 0).before, made.frames.image(1, 0))
    other = made.fit_noise("fft")
    assert other._middle(0) is made._middle(0)
    np.testing.assert_array_equal(other.one_image(1, 0).after, made.frames.image(1, 0) - other.frames.fit(1, 0).noise)


def test_an_image_that_is_not_there_is_refused(planted):
    for place in ((0, 0), (2, 1), (0, 4)):
        with pytest.raises(DataError, match="there are integrations 0 to 1, groups 1 to 3, counted from 0"):
            cleaner(planted).one_image(*place)
    with pytest.raises(DataError, match="a ramp with one group has none"):
        FlickerCleaner(planted(shape=(1, 1, 64, 256)).exposure()).one_image()


def test_an_image_without_a_usable_pixel_has_no_noise_and_no_levels(planted):
    one = cleaner(planted).use_mask(np.zeros((64, 256), bool)).one_image()
    np.testing.assert_array_equal(one.after, one.before)
    assert np.isnan(one.levels.before).all()
    assert one.psd is None
