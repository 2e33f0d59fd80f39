"""What is looked at: rejected values, boxes on a target, target and background, scales set by hand."""

import numpy as np
import pytest

from corontools import DQ, BackgroundModel, DataError, Exposure, replay
from corontools.background.look import Look, mean_image, onto

SHAPE = (64, 80)


def slitless(scale=0.5, *, err=0.1, **changes):
    b = 1 + np.indices(SHAPE)[1] / 100
    data = np.random.default_rng(1).normal(scale * b, err)
    return BackgroundModel.from_reference(b), Exposure(data, err=np.full(SHAPE, err), **changes)


def test_rejected_values_are_the_planted_ones(make_nods):
    given = make_nods(4)
    data = [one.data.copy() for one in given]
    planted = np.zeros((4, 32, 32), bool)
    for i, y, x in ((0, 3, 4), (2, 3, 5), (3, 20, 30)):
        data[i][y, x], planted[i, y, x] = 1e4, True
    given = [one.with_(data=d) for one, d in zip(given, data, strict=True)]
    model = BackgroundModel.from_exposures(given, 6.0)
    stack = model.stack(given)
    np.testing.assert_array_equal(stack.rejected, planted)
    np.testing.assert_array_equal(model.rejected(given), planted)
    np.testing.assert_array_equal(stack.images, data)
    np.testing.assert_array_equal(model.count, 4 - planted.sum(axis=0))


@pytest.mark.parametrize("reject", ["leave_one_out", "sigma_clip", "none"])
def test_what_is_not_rejected_is_what_counts(make_nods, reject, monkeypatch):
    monkeypatch.setattr("corontools.background.average.BLOCK", 7 * 9 * 32)
    given = make_nods(9, hits=0.3)
    dq = np.zeros((32, 32), np.uint32)
    dq[5, 6] = DQ.DO_NOT_USE
    given[2] = given[2].with_(dq=dq)
    model = BackgroundModel.from_exposures(given, 2.0, 2, reject=reject)
    kept = ~model.rejected(given)
    kept[2, 5, 6] = False  # not usable, so not rejected
    np.testing.assert_array_equal(kept.sum(axis=0), model.count)
    np.testing.assert_allclose(np.mean(model.stack(given).images, axis=0, where=kept), model.image)


def test_subarrays_and_rateints_are_rejected_where_they_lie(place, make_nods, tmp_path):
    full = Exposure(np.full((40, 40), 10.0), err=np.ones((40, 40)), meta=place(0, 0, 40, 40))
    cube = np.full((3, 20, 20), 10.0)
    cube[:, 2, 3] = 90.0
    part = Exposure(cube, err=np.ones(cube.shape), meta=place(30, 30, 20, 20))
    paths = [one.save(tmp_path / f"{i}.fits") for i, one in enumerate((full, part))]
    model = BackgroundModel.from_exposures(paths)
    stack = model.stack(paths)
    assert stack.names == ("0.fits", "1.fits")
    assert np.argwhere(stack.rejected).tolist() == [[1, 32, 33]]
    np.testing.assert_array_equal(np.isfinite(stack.images).sum(axis=0), model.count + stack.rejected.sum(axis=0))
    cut = onto(part, model, stack.rejected)
    assert np.argwhere(cut).tolist() == [[1, 2, 3]]


def test_exposures_of_another_mean_are_refused(make_nods):
    model = BackgroundModel.from_exposures(make_nods(3))
    for other in (make_nods(3, (16, 16)), make_nods(1)):
        with pytest.raises(DataError, match="give the list that it was made of"):
            model.rejected(other)
    with pytest.raises(DataError, match="stack belongs to"):
        BackgroundModel.from_image(np.ones((4, 4))).rejected(make_nods(2))


def test_boxes_end_at_the_edge_of_the_target():
    model, target = slitless()
    boxes = [(-5, 3, 10, 8), (70, 60, 99, 99), (100, 0, 120, 5), (0, -9, 5, -1), (4, 4, 4, 4)]
    masked = model.mask_sources(boxes)
    found = masked.mask_boxes(target)
    assert found.tolist() == [[0, 3, 10, 8], [70, 60, 79, 63], [4, 4, 4, 4]]
    np.testing.assert_array_equal(model.mask_sources(found).fit(target).mask, masked.fit(target).mask)
    assert model.mask_boxes(target).shape == (0, 4)
    assert model.mask_sources(np.ones(SHAPE, bool)).mask_boxes(target).shape == (0, 4)


def test_a_look_is_the_target_the_scaled_background_and_what_is_left():
    model, target = slitless()
    fitted = model.fit(target)
    look = Look.of(fitted, target)
    np.testing.assert_array_equal(look.target, target.data)
    np.testing.assert_allclose(look.background, fitted.scale * model.image)
    np.testing.assert_allclose(look.residual, fitted.subtract_from(target).data)
    np.testing.assert_allclose(look.profile(), np.median(look.residual, axis=0))
    columns = fitted.mask_sources([(10, 0, 12, 63), (20, 0, 20, 30)]).fit(target)
    profile = Look.of(columns, target).profile()
    assert np.isnan(profile[10:13]).all()
    assert profile[20] == np.median(Look.of(columns, target).residual[31:, 20])


def test_a_cube_is_looked_at_as_the_mean_of_its_good_pixels():
    data = np.arange(24.0).reshape(3, 2, 4)
    dq = np.zeros(data.shape, np.uint32)
    dq[0, 0, 0] = dq[:, 1, 1] = DQ.DO_NOT_USE
    image = mean_image(Exposure(data, dq=dq))
    expected = data.mean(axis=0)
    expected[0, 0], expected[1, 1] = data[1:, 0, 0].mean(), np.nan
    np.testing.assert_array_equal(image, expected)


def test_a_failed_fit_leaves_the_target_and_another_target_is_refused():
    model, target = slitless()
    failed = model.mask_sources([(0, 0, 79, 62)]).fit(target)
    look = Look.of(failed, target)
    assert np.isnan(look.background).all()
    np.testing.assert_array_equal(look.residual, target.data)
    with pytest.raises(DataError, match=r"model\.fit\(target\)"):
        Look.of(model.fit(target), Exposure(np.ones((8, 8))))
    with pytest.raises(DataError, match=r"call fit\(target\) first"):
        Look.of(model, target)


def test_a_background_elsewhere_on_the_detector_is_refused(place):
    one = Exposure(np.ones((8, 8)), err=np.ones((8, 8)), meta=place(0, 0, 8, 8))
    model = BackgroundModel.from_exposures([one])
    with pytest.raises(DataError, match="share no pixel"):
        Look.of(model, one.with_(meta=place(50, 50, 8, 8)))


def test_a_scale_set_by_hand_has_no_error_and_says_so():
    model, target = slitless()
    fitted = model.fit(target)
    set_by_hand = fitted.with_scale(0.4)
    assert set_by_hand.scale == 0.4
    assert np.isnan(set_by_hand.scale_err)
    made = set_by_hand.subtract_from(target)
    np.testing.assert_allclose(made.data, target.data - 0.4 * model.image)
    np.testing.assert_array_equal(made.err, target.err)
    assert made.meta.card("BKGD_SCL") == 0.4
    assert f"scale set by hand (the fit gave {fitted.scale:.6g})" in set_by_hand.notes[0]
    twice = set_by_hand.with_scale(0.3)
    assert len(twice.notes) == 1
    assert f"the fit gave {fitted.scale:.6g}" in twice.notes[0]
    assert fitted.scale != 0.4
    np.testing.assert_array_equal(set_by_hand.mask, fitted.mask)


def test_a_reference_keeps_its_own_error_when_it_is_scaled_by_hand():
    model, target = slitless()
    own = BackgroundModel.from_reference(Exposure(model.image, err=np.full(SHAPE, 0.2)))
    made = own.fit(target).with_scale(-0.5).subtract_from(target)
    np.testing.assert_allclose(made.err, np.hypot(0.1, 0.1))


def test_a_failed_fit_can_be_scaled_by_hand():
    model, target = slitless()
    failed = model.mask_sources([(0, 0, 79, 62)]).fit(target)
    made = failed.with_scale(0.5)
    assert made.status == "COMPLETE"
    assert "5 % are needed" in made.notes[0]
    np.testing.assert_allclose(made.subtract_from(target).data, target.data - 0.5 * model.image)


def test_an_image_is_scaled_with_its_error_and_the_chain_tells_it():
    image = Exposure(np.full((8, 8), 2.0), err=np.full((8, 8), 0.5))
    made = BackgroundModel.from_image(image, scale=3.0).with_scale(1.5)
    np.testing.assert_array_equal(made.background.data, 3.0)
    np.testing.assert_array_equal(made.background.err, 0.75)
    np.testing.assert_array_equal(replay(made, arrays=[image]).background.data, 3.0)


def test_scales_that_can_not_be_are_refused():
    model, target = slitless()
    with pytest.raises(DataError, match=r"call fit\(target\) first"):
        model.with_scale(1.0)
    with pytest.raises(DataError, match="finite"):
        model.fit(target).with_scale(np.nan)
    with pytest.raises(DataError, match="templates alone"):
        model.fit(target).with_scale(1.0, 2.0)
    with pytest.raises(DataError, match="with_scale belongs to"):
        BackgroundModel.from_exposures([target]).with_scale(1.0)


def strips(n=3, ny=96):
    """Templates with a jump at column 700."""
    x = np.arange(2048)
    one = np.where(x >= 700, 1.5, 1.0)
    return np.array([np.broadcast_to(one * (1 + 0.2 * k * (x / 2048) ** 1.5), (ny, 2048)) for k in range(n)])


def test_a_template_is_chosen_and_its_sides_are_scaled_by_hand():
    templates = strips()
    target = Exposure(np.random.default_rng(1).normal(0.9 * templates[1], 0.1))
    model = BackgroundModel.from_templates(templates)
    best, second = model.fit(target), model.fit(target, template=2)
    assert (best.fitted.index, second.fitted.index) == (1, 2)
    np.testing.assert_allclose(second.fitted.rms, [np.nan, np.nan, best.fitted.rms[2]])
    made = second.with_scale(0.8, 0.7)
    right = np.arange(2048) >= made.fitted.column[:, None]
    np.testing.assert_allclose(made.background.data, np.where(right, 0.7, 0.8) * templates[2])
    assert made.background.err is None
    assert second.background.err is not None
    assert made.subtract_from(target).err is None
    assert made.with_scale(0.5).scale == (0.5, 0.5)
    np.testing.assert_array_equal(replay(made, arrays=[templates, target])._values(), made._values())
    with pytest.raises(DataError, match="template is one of 0 to 2, found 3"):
        model.fit(target, template=3)


def test_rows_of_templates_of_256_are_scaled_by_hand_too():
    templates = strips(2, 256) * np.linspace(1, 2, 256)[:, None]
    target = Exposure(np.random.default_rng(1).normal(0.9 * templates[1, 10:106], 0.1))
    made = BackgroundModel.from_templates(templates).fit(target).with_scale(0.5)
    np.testing.assert_allclose(made.background.data, 0.5 * templates[1, 10:106])
