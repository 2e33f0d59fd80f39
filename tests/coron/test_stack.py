import numpy as np
import pytest

from corontools import DQ, DataError, Exposure, Meta, PSFStack
from corontools.simulate import tiny


@pytest.fixture(scope="module")
def sim():
    return tiny()


def cube(n, seed=0, *, target="star", filename="", **changes):
    data = np.random.default_rng(seed).normal(size=(n, 12, 10))
    return Exposure(data, meta=Meta(target=target, filename=filename, unit="MJy/sr"), **changes)


def test_integrations_come_in_member_order_with_errors_flags_and_variances(sim):
    stack = PSFStack.from_exposures(sim.references)
    refs = sim.references
    np.testing.assert_array_equal(stack.exposure.data, np.concatenate([e.data for e in refs]))
    np.testing.assert_array_equal(stack.exposure.err, np.concatenate([e.err for e in refs]))
    np.testing.assert_array_equal(stack.exposure.dq, np.concatenate([e.dq for e in refs]))
    for name in ("poisson", "rnoise"):
        np.testing.assert_array_equal(stack.exposure.variances[name], np.concatenate([e.variances[name] for e in refs]))
    assert stack.members[:3] == tuple(f"{refs[i // 2].meta.filename} [{i % 2}]" for i in range(3))


def test_errors_that_one_exposure_lacks_are_left_out():
    with_err = cube(2, err=np.ones((2, 12, 10)))
    assert PSFStack.from_exposures([with_err, cube(1)]).exposure.err is None


def test_a_single_image_is_a_stack_of_one():
    assert PSFStack.from_exposures([Exposure(np.ones((5, 6)))]).exposure.shape == (1, 5, 6)


def test_different_shapes_or_units_name_both_files():
    a, b = cube(1, filename="a.fits"), Exposure(np.ones((1, 9, 9)), meta=Meta(filename="b.fits", unit="MJy/sr"))
    with pytest.raises(DataError, match=r"shape differs: a.fits has \(12, 10\), b.fits has \(9, 9\)"):
        PSFStack.from_exposures([a, b])
    with pytest.raises(DataError, match=r"unit differs: a.fits has MJy/sr, c.fits has Jy"):
        PSFStack.from_exposures([a, a.with_(meta=Meta(filename="c.fits", unit="Jy"))])


def test_nothing_to_stack_is_an_error():
    with pytest.raises(DataError, match="no reference exposure"):
        PSFStack.from_exposures([])


def test_outliers_are_found_within_each_exposure_not_between_them():
    quiet, loud = cube(4, 1, filename="a"), cube(4, 2, filename="b")
    data = np.array(loud.data) + 100  # another star, brighter by far: no outlier
    data[2, 5, 5] += 60
    stack = PSFStack.from_exposures([quiet, loud.with_(data=data)]).reject_outliers()
    assert np.argwhere(stack.exposure.dq & DQ.OUTLIER).tolist() == [[6, 5, 5]]
    assert not stack.exposure.good[6, 5, 5]


def test_repaired_pixels_keep_a_flag_and_no_weight():
    data = np.array(cube(2).data)
    data[0, 0, 0] = np.nan
    stack = PSFStack.from_exposures([Exposure(data)]).repair()
    assert np.isfinite(stack.exposure.data).all()
    assert stack.exposure.dq[0, 0, 0] == DQ.DO_NOT_USE | DQ.FLUX_ESTIMATED
    assert (~stack.exposure.good).sum() == 1
    assert np.isnan(data[0, 0, 0]), "the input must stay as it was"


def test_references_are_selected_by_index_star_and_correlation():
    science = cube(1, 3)
    like = science.with_(data=science.data + 0.1 * np.random.default_rng(4).normal(size=science.shape))
    stack = PSFStack.from_exposures([cube(2, target="A"), like, cube(1, 6, target="B")])
    assert stack.select([0, 3]).targets == ("A", "B")
    assert stack.select(target="A").n_ref == 2
    assert stack.select(best=1, like=science).members == stack.members[2:3]
    assert stack.select(np.array([True, False, True, False])).n_ref == 2
    with pytest.raises(DataError, match=r"no reference left of 4 \(stars: A, B, star\)"):
        stack.select(target="C")


def test_correlation_is_pearson_over_pixels_good_in_both():
    science, reference = cube(2, 3), cube(3, 4)
    data = np.array(science.data)
    data[0, 2, 2] = np.nan
    science = science.with_(data=data)
    found = PSFStack.from_exposures([reference]).correlation(science)
    assert found.shape == (2, 3)
    good = np.isfinite(data[0])
    np.testing.assert_allclose(found[0, 1], np.corrcoef(data[0][good], reference.data[1][good])[0, 1])
    np.testing.assert_allclose(found[1, 2], np.corrcoef(data[1].ravel(), reference.data[2].ravel())[0, 1])


def test_the_chain_is_recorded(sim):
    stack = PSFStack.from_exposures([cube(3)]).reject_outliers(4).repair(box=5).select([0, 1])
    assert stack.history[1:] == (".reject_outliers(4)", ".repair(5)", ".select([0, 1])")
    assert stack.history[0].startswith("PSFStack.from_exposures([exposure('3x12x10")


def test_references_of_one_star_or_exposure_form_a_group():
    def one(target, filename):
        return cube(2, target=target, filename=filename)

    stars = [one("A", "1"), one("A", "2"), one("B", "3"), one("C", "4")]
    assert PSFStack.from_exposures(stars).groups.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    exposures = [one("A", "1"), one("A", "2"), one("B", "3")]
    assert PSFStack.from_exposures(exposures).groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert PSFStack.from_exposures(exposures[:2]).groups.tolist() == [0, 1, 2, 3]


def test_the_most_correlated_need_an_image_to_be_like():
    with pytest.raises(DataError, match="needs both"):
        PSFStack.from_exposures([cube(3)]).select(best=2)


def test_a_selection_of_a_selection_copies_nothing_before_its_pixels_are_asked_for():
    stack = PSFStack.from_exposures([Exposure(np.arange(5.0)[:, None, None] * np.ones((5, 3, 4)))])
    chosen = stack.select([0, 2, 3, 4]).select([1, 3])
    assert chosen.pool is stack.exposure
    assert (chosen.n_ref, chosen.members) == (2, (stack.members[2], stack.members[4]))
    np.testing.assert_array_equal(chosen.exposure.data[:, 0, 0], [2.0, 4.0])
    masked = chosen.mask(np.eye(3, 4, dtype=bool))
    assert masked.exposure.good.sum() == 2 * 9
    assert masked.select([1]).exposure.data[0, 0, 0] == 4.0


def test_angles_of_the_exposures_stay_with_their_frames():
    turned = cube(3).with_(angles=[10.0, 20.0, 30.0])
    more = cube(2).with_(angles=[40.0, 50.0])
    stack = PSFStack.from_exposures([turned, more])
    assert stack.angles == (10.0, 20.0, 30.0, 40.0, 50.0)
    assert stack.exposure.angles.tolist() == [10.0, 20.0, 30.0, 40.0, 50.0]
    chosen = stack.select([1, 3, 4]).repair().select([0, 2])
    assert chosen.angles == (20.0, 50.0)
    assert chosen.exposure.angles.tolist() == [20.0, 50.0]
    partly = PSFStack.from_exposures([cube(1), turned])
    assert partly.exposure.angles is None
    np.testing.assert_array_equal(partly.angles, [np.nan, 10.0, 20.0, 30.0])
