"""What a reference leaves of a science image, and one set of shifts for all integrations."""

import numpy as np
import pytest

from corontools import DQ, DataError, PSFStack
from corontools.arrays.shift import shift_image
from corontools.simulate import CLEAN, null, tiny

PLANTED = np.array([[0.4, -0.3], [-1.6, 0.8], [2.2, 2.1], [0.0, -0.7]])


@pytest.fixture(scope="module")
def aligned():
    science, reference = null(3, 4, shape=64, change=0.01, pointing=0.01, noise=CLEAN)
    moved = reference.with_(data=shift_image(np.asarray(reference.data, float), PLANTED)).repair()
    mask = np.zeros((64, 64))
    mask[6:-6, 6:-6] = 1
    return PSFStack.from_exposures([moved]).align_to(science, mask=mask)


def test_one_set_has_the_mean_of_the_shifts(aligned):
    one = aligned.averaged()
    assert one.sets == ((0, 1, 2),)
    np.testing.assert_allclose(one.shifts, np.broadcast_to(aligned.shifts.mean(axis=0), (3, 4, 2)))
    np.testing.assert_allclose(one.scales[0], aligned.scales.mean(axis=0))
    assert one.history[-1] == ".averaged()"
    residual, expected = one.klip(2).frames, aligned.klip(2).frames
    assert np.nanstd(residual) == pytest.approx(np.nanstd(expected), rel=0.1)


def test_references_that_share_a_set_stay_as_they_are(aligned):
    first = aligned.stack.align_to(aligned.target, to="first")
    np.testing.assert_array_equal(first.averaged().shifts, first.shifts)
    assert first.averaged().to == "first"


def test_flagged_fits_are_left_out_of_the_mean_where_there_are_others(aligned):
    quality, shift = np.array(aligned.quality), np.array(aligned.shifts)
    quality[1, 2], shift[1, 2] = 4, 25.0
    quality[:, 3], shift[:, 3], shift[1, 3] = 4, 1.0, np.nan
    fit = aligned.fit._replace(quality=quality, shift=shift)
    one = aligned.with_(fit=fit).averaged()
    np.testing.assert_allclose(one.shifts[0, 2], shift[[0, 2], 2].mean(axis=0))
    np.testing.assert_allclose(one.shifts[0, 3], 1.0)
    assert one.quality[0].tolist() == [0, 0, 0, 4]


def test_the_difference_is_that_of_the_images(aligned):
    found = aligned.difference(1, 2)
    reference = aligned[1]
    expected = aligned.target.data[1] - aligned.scales[1, 2] * reference.data[2]
    good = found.good
    np.testing.assert_allclose(found.data[good], expected[good], rtol=1e-12)
    variance = aligned.target.variance[1] + aligned.scales[1, 2] ** 2 * reference.variance[2]
    np.testing.assert_allclose(found.err[good], np.sqrt(variance)[good], rtol=1e-5)
    assert found.shape == (64, 64)
    assert found.meta.history == aligned.history


def test_the_difference_has_no_value_where_one_of_the_two_has_none():
    sim = tiny()
    aligned = PSFStack.from_exposures(sim.references).align_to(sim.science[0], mask=sim.psfmask)
    found = aligned.difference(0, 3)
    bad = ~aligned.target.good[0] | ~aligned[0].good[3]
    np.testing.assert_array_equal(np.isnan(found.data), bad)
    assert (found.dq[bad] & DQ.DO_NOT_USE).all()
    with pytest.raises(DataError, match="can't choose 7 of 2 integrations"):
        aligned.difference(7, 0)
    with pytest.raises(DataError, match=r"can't choose \[99\] of 10 references"):
        aligned.difference(0, 99)


def test_before_the_alignment_the_scale_is_the_best(aligned):
    before = aligned.unaligned()
    assert before.to == "none"
    found = before.difference(0, 1)
    s, r, good = (np.asarray(a, float) for a in (aligned.target.data[0], aligned.stack.exposure.data[1], found.good))
    for scale in (0.9, 1.0, 1.1):
        assert np.nansum(found.data**2) <= np.sum(((s - scale * r) ** 2)[good > 0])


@pytest.mark.parametrize("to", ["each", "first", "averaged"])
def test_rms_falls_with_the_alignment_and_is_that_of_the_difference(aligned, to):
    made = {"each": aligned, "first": None, "averaged": aligned.averaged()}[to]
    made = made or aligned.stack.align_to(aligned.target, to=to, mask=aligned.mask)
    rms = made.rms()
    assert rms.before.shape == rms.after.shape == (3, 4)
    assert (rms.after < 0.7 * rms.before).all()
    inner = made.mask > 0
    for i, ref in ((0, 0), (2, 2)):
        left, start = made.difference(i, ref).data[inner], made.unaligned().difference(i, ref).data[inner]
        np.testing.assert_allclose(rms.after[i, ref], np.sqrt(np.nanmean(left**2)), rtol=1e-6)
        np.testing.assert_allclose(rms.before[i, ref], np.sqrt(np.nanmean(start**2)), rtol=0.01)


def test_without_an_alignment_before_and_after_are_one(aligned):
    rms = aligned.unaligned().rms()
    np.testing.assert_array_equal(rms.before, rms.after)
    np.testing.assert_array_equal(rms.before, aligned.rms().before)
