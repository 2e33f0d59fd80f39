import numpy as np
import pytest

from corontools import DQ, DataError, Exposure, PSFStack
from corontools.arrays.shift import shift_image
from corontools.simulate import CLEAN, null, tiny


@pytest.fixture(scope="module")
def sim():
    return tiny()


@pytest.fixture(scope="module")
def lone_star():
    """Science and references of one star that differ in nothing but noise."""
    return null(3, 4, shape=64, change=0.01, pointing=0.01, noise=CLEAN)


def moved(exposure, shifts):
    return exposure.with_(data=shift_image(np.asarray(exposure.data, float), shifts)).repair()


@pytest.mark.parametrize(("to", "sets"), [("each", 3), ("first", 1), ("mean", 1)])
def test_planted_shifts_are_undone(lone_star, to, sets):
    science, reference = lone_star
    planted = np.array([[0.4, -0.3], [-1.6, 0.8], [2.2, 2.1], [0.0, -0.7]])
    aligned = PSFStack.from_exposures([moved(reference, planted)]).align_to(science, to=to)
    assert aligned.shifts.shape == (3, 4, 2)
    assert len(aligned.sets) == sets
    np.testing.assert_allclose(aligned.shifts, np.broadcast_to(-planted, (3, 4, 2)), atol=0.02)
    np.testing.assert_allclose(aligned.scales, 1, atol=0.02)
    assert not aligned.quality.any()
    inner = np.s_[:, 8:-8, 8:-8]
    difference = aligned[1].data[inner] - reference.data[inner]
    assert np.nanstd(difference) < 0.03 * np.std(reference.data[inner])


def test_references_that_are_aligned_are_taken_as_they_are(sim):
    stack = PSFStack.from_exposures(sim.references).repair()
    aligned = stack.align_to(sim.science[0], to="none")
    assert aligned[1] is stack.exposure
    assert not aligned.shifts.any()
    assert np.isnan(aligned.scales).all()


def test_flags_travel_and_variances_stay_positive(sim):
    stack = PSFStack.from_exposures(sim.references).repair()
    aligned = stack.align_to(sim.science[0], mask=sim.psfmask)
    one = aligned[0]
    assert np.nanmin(one.err) >= 0
    for ref, (dx, dy) in enumerate(aligned.shifts[0]):
        bad = np.argwhere(stack.exposure.dq[ref] & DQ.DO_NOT_USE)
        target = np.rint(bad + np.array([dy, dx])).astype(int)
        inside = ((target >= 0) & (target < 64)).all(axis=1)
        assert (one.dq[ref][tuple(target[inside].T)] & DQ.DO_NOT_USE).all()


def test_each_integration_has_references_of_its_own(sim):
    aligned = PSFStack.from_exposures(sim.references).repair().align_to(sim.science[0], mask=sim.psfmask)
    assert len(aligned) == aligned.n_int == 2
    assert not np.array_equal(aligned[0].data, aligned[1].data)
    assert [one.n_int for one in aligned] == [10, 10]
    with pytest.raises(IndexError):
        aligned[2]


def test_selection_keeps_the_fits(sim):
    aligned = PSFStack.from_exposures(sim.references).repair().align_to(sim.science[0], mask=sim.psfmask)
    fewer = aligned.select([1, 4])
    np.testing.assert_array_equal(fewer.shifts, aligned.shifts[:, [1, 4]])
    assert fewer.stack.members == (aligned.stack.members[1], aligned.stack.members[4])
    np.testing.assert_allclose(fewer[0].data, aligned[0].data[[1, 4]], equal_nan=True)


def test_stacks_with_gaps_are_filled_for_the_shift_alone(sim):
    gaps = PSFStack.from_exposures(sim.references)
    assert np.isnan(gaps.exposure.data).any()
    aligned = gaps.align_to(sim.science[0], mask=sim.psfmask)
    assert aligned.stack is gaps
    assert np.isfinite(aligned[0].data[:, 5:-5, 5:-5]).all()
    np.testing.assert_allclose(aligned.shifts, gaps.repair().align_to(sim.science[0], mask=sim.psfmask).shifts)


def test_bad_masks_and_targets_are_refused(sim):
    stack, science = PSFStack.from_exposures(sim.references).repair(), sim.science[0]
    with pytest.raises(DataError, match=r"mask has shape \(3, 3\)"):
        stack.align_to(science, mask=np.ones((3, 3)))
    with pytest.raises(DataError, match="not all 0"):
        stack.align_to(science, mask=np.zeros((64, 64)))
    with pytest.raises(DataError, match="aligned to each, first, mean, none; found 'last'"):
        stack.align_to(science, to="last")
    empty = np.array(science.data)
    empty[1] = np.nan
    with pytest.raises(DataError, match=r"integration\(s\) \[1\] have no good pixel"):
        stack.align_to(science.with_(data=empty))
    with pytest.raises(DataError, match="shape differs"):
        stack.align_to(Exposure(np.ones((2, 8, 8)), meta=science.meta))


def test_the_product_of_a_shared_set_is_a_cube_and_else_has_four_axes(sim, tmp_path):
    stack = PSFStack.from_exposures(sim.references).repair()
    for to, shape in (("each", (2, 10, 64, 64)), ("first", (10, 64, 64)), ("none", (10, 64, 64))):
        aligned = stack.align_to(sim.science[0], to=to, mask=sim.psfmask)
        product = Exposure.read(aligned.save(tmp_path / f"{to}.fits"))
        assert product.shape == shape
        last = aligned[1].data.astype(np.float32)
        np.testing.assert_array_equal(product.data[1] if to == "each" else product.data, last)
        assert [e.name for e in product.extensions] == ["SHIFTS"]


def test_selection_in_another_order_keeps_shifts_with_their_references(sim):
    aligned = PSFStack.from_exposures(sim.references).repair().align_to(sim.science[0], mask=sim.psfmask)
    turned = aligned.select([4, 1, 1])
    assert turned.stack.members == (aligned.stack.members[1], aligned.stack.members[4])
    np.testing.assert_array_equal(turned.shifts, aligned.shifts[:, [1, 4]])


def test_flagged_pixels_of_references_are_filled_before_they_are_shifted(lone_star):
    science, reference = lone_star
    hot = np.zeros(reference.shape, bool)
    hot[:, 30, 20] = True
    wild = reference.with_(data=np.where(hot, 1e5, reference.data)).mask(hot)
    aligned = PSFStack.from_exposures([wild]).align_to(science)
    np.testing.assert_allclose(aligned.shifts, 0, atol=0.02)
    assert np.nanmax(aligned[0].data) < 2 * np.nanmax(reference.data)
