"""Targets, backgrounds and residuals of all kinds, without a browser."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io.fits import Header
from astropy.table import Table
from ipywidgets.widgets.widget import _instances

from corontools import BackgroundModel, DataError, Exposure, Meta, replay
from corontools_widgets.background import BackgroundExplorer
from corontools_widgets.background_state import BackgroundState
from corontools_widgets.explore import explore

NASTY = "</script><img src=x onerror=alert(1)>"
SHAPE = (48, 64)
BOXES = [(5, 5, 30, 9), (20, 30, 50, 34), (60, 40, 70, 44)]
DRAWN = {"kind": "rectangle", "x0": 39.6, "y0": 10.4, "x1": 50.2, "y1": 13.0, "done": True, "locked": False}
REFERENCE = 1 + np.indices(SHAPE)[1] / 100


# of a subarray that the others don't reach
FAR = Meta.from_headers(Header({"SUBSTRT1": 500, "SUBSTRT2": 500, "SUBSIZE1": 8, "SUBSIZE2": 8}), Header())


def grism(*, target="field"):
    """An image of half the reference, and light in the boxes."""
    data = np.random.default_rng(1).normal(0.5 * REFERENCE, 0.1)
    for x0, y0, x1, y1 in BOXES:
        data[y0 : y1 + 1, x0 : x1 + 1] += 2
    return Exposure(data, err=np.full(SHAPE, 0.1), meta=Meta(target=target, unit="DN/s"))


def nods(n=3):
    """Exposures of 10 +- 1, each with a source of its own."""
    data = np.random.default_rng(2).normal(10, 1, (n, 24, 32))
    for i in range(n):
        data[i, 4 * i : 4 * i + 3, 5:8] += 30
    return [Exposure(d, err=np.ones((24, 32)), meta=Meta(filename=f"nod{i}_rate.fits")) for i, d in enumerate(data)]


def strips():
    return np.where(np.arange(2048) >= 700, 1.5, 1.0) * np.linspace([[1.0]], [[2.0]], 2) * np.ones((2, 96, 1))


TARGET, NODS, STRIPS = grism(), nods(), strips()
STRIP = Exposure(np.random.default_rng(3).normal(0.9 * STRIPS[0], 0.1))
WFSS = BackgroundModel.from_reference(REFERENCE).mask_sources(BOXES)
FITTED = WFSS.fit(TARGET)
MEAN = BackgroundModel.from_exposures(NODS)
SOSS = BackgroundModel.from_templates(STRIPS).fit(STRIP)
OWN = BackgroundModel.from_image(REFERENCE, scale=0.4)


@pytest.fixture(scope="module")
def shared():
    """Of a reference; never changed."""
    made = WFSS.explore(TARGET)
    yield made
    made.close()


@pytest.fixture
def view():
    made = FITTED.explore(TARGET)
    yield made
    made.close()


@pytest.fixture
def stacked():
    made = MEAN.explore(exposures=NODS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def opened():
    """Of templates; each test begins with the choices of the fit."""
    made = SOSS.explore(STRIP)
    yield made
    made.close()


@pytest.fixture
def soss(opened):
    opened.state.apply({"template": 0, "left": 1.0, "right": 1.0})
    opened.state.clear_history()
    return opened


def test_a_reference_is_fitted_and_shown_on_its_target(shared):
    assert isinstance(shared, BackgroundExplorer)
    assert shared.result.scale == FITTED.scale
    assert shared.code == FITTED.code
    np.testing.assert_array_equal(shared.image(0), TARGET.data)
    np.testing.assert_array_equal(shared.image(1), FITTED.scale * REFERENCE)
    np.testing.assert_allclose(shared.image(2), FITTED.subtract_from(TARGET).data)
    np.testing.assert_allclose(shared.pane.cube, [shared.image(i) for i in range(3)], atol=1e-6)
    np.testing.assert_array_equal(shared.plot._line.y, FITTED.fitted.rms)
    assert "text/html" in shared._repr_mimebundle_()
    assert f"Factor {FITTED.scale:.6g} ± {FITTED.scale_err:.2g}" in shared.text
    assert not shared.state.can_undo


def test_limits_hold_target_and_residual_without_the_sources(shared):
    low, high = shared.pane.limits
    assert low < np.percentile(shared.image(2)[FITTED.mask], 2)
    assert 0.8 < high < 1.3  # of the background, not of the sources, which are brighter than 2


def test_a_box_is_left_out_and_the_factor_fitted_anew(view):
    assert view.result is FITTED
    view.controls.box.step(1)
    view.controls.masks.value = False
    assert view.state.left_out == [1]
    assert view.boxes.tolist() == [list(BOXES[0]), list(BOXES[1]), [60, 40, 63, 44]]
    assert view.result.mask[32, 30]
    assert view.result.scale == WFSS.mask_sources([BOXES[0], BOXES[2]]).fit(TARGET).scale > FITTED.scale
    assert [region["name"] for region in view.pane.regions] == ["", "2 (off)", ""]
    np.testing.assert_allclose(view.pane.cube[2], view.image(2), atol=1e-6)
    assert "1 of them left out" in view.text
    view.state.undo()
    assert view.result is FITTED
    assert view.controls.masks.value


def test_a_click_chooses_the_box_and_buttons_take_all_or_none(view):
    view.state.cursor = [62.0, 42.0]
    assert view.controls.chosen == 2
    view.state.cursor = [0.0, 0.0]
    assert view.controls.chosen == 2
    view.controls.none.click()
    assert view.result.mask.all()
    assert view.pane._mask == b""
    view.controls.all.click()
    assert view.state.left_out == []


def test_a_drawn_box_masks_the_pixels_whose_middle_is_in_it(view):
    view.pane.regions = [*view.pane.regions, {**DRAWN, "done": False}]  # it is still in the hand
    assert view.state.regions == []
    view.pane.regions = [*view.pane.regions[:-1], DRAWN]
    assert view.state.regions == [DRAWN]
    expected = FITTED.mask.copy()
    expected[11:14, 40:51] = False
    np.testing.assert_array_equal(view.result.mask, expected)
    assert "1 box drawn by hand" in view.text
    again = replay(view.result, arrays=[REFERENCE, TARGET])
    assert again.scale == view.result.scale
    view.controls.clear.click()
    assert view.result.scale == FITTED.scale


def test_boxes_are_drawn_on_a_mask_that_was_given():
    mask = np.ones(SHAPE, bool)
    mask[:4] = False
    view = BackgroundModel.from_reference(REFERENCE).mask_sources(mask).explore(TARGET, regions=[DRAWN])
    mask[11:14, 40:51] = False
    np.testing.assert_array_equal(view.result.mask, mask)
    assert "left out" not in view.text
    view.close()


def test_rounds_and_outliers_follow_their_sliders(view):
    view.controls.rounds.stepper.step(-3)
    view.controls.outliers.stepper.step(1)
    assert (view.state.maxiter, view.state.outlier_percent) == (2, 1.5)
    assert view.result.scale == WFSS.fit(TARGET, maxiter=2, outlier_percent=1.5).scale
    assert len(view.plot._line.y) == 3
    view.state.outlier_percent = 0.7
    assert view.controls.outliers.stepper.names[view.controls.outliers.stepper.index] == "0.7 %"


def test_a_fit_that_fails_is_told_and_leaves_the_target():
    view = WFSS.explore(TARGET, regions=[{**DRAWN, "x0": 0, "y0": 0, "x1": 63, "y1": 46}])
    assert view.result.status == "FAILED"
    assert "5 % are needed" in view.text
    assert np.isnan(view.image(1)).all()
    np.testing.assert_array_equal(view.image(2), TARGET.data)
    view.state.regions = []
    assert view.result.status == "COMPLETE"
    view.close()


def test_the_options_of_a_fit_are_those_of_its_sliders():
    fitted = WFSS.fit(TARGET, maxiter=3, outlier_percent=0.4)
    view = fitted.explore(TARGET)
    assert (view.state.maxiter, view.state.outlier_percent) == (3, 0.4)
    assert view.result is fitted
    view.close()


def test_rejected_pixels_of_a_mean_are_tinted_in_each_exposure(stacked):
    assert stacked.pane.names == ["background", "1 nod0", "2 nod1", "3 nod2"]
    np.testing.assert_array_equal(stacked.stack.rejected, MEAN.rejected(NODS))
    assert stacked.pane._mask_of == {"name": "rejected", "each": True}
    number = int(stacked.stack.rejected[0].sum())
    assert number >= 9
    assert f"{number} pixels of nod0_rate.fits" in stacked.text
    np.testing.assert_allclose(stacked.pane.cube[2], NODS[1].data, rtol=1e-6)


def test_another_rule_makes_another_mean(stacked):
    stacked.controls.sigmas.stepper.step(2)
    wanted = BackgroundModel.from_exposures(NODS, 4.0)
    np.testing.assert_array_equal(stacked.result.image, wanted.image)
    assert stacked.code == wanted.code
    stacked.controls.reject.value = "none"
    assert not stacked.stack.rejected.any()
    assert stacked.pane._mask == b""
    np.testing.assert_allclose(stacked.image(0), np.mean([one.data for one in NODS], axis=0))
    np.testing.assert_allclose(stacked.pane.cube[0], stacked.image(0), rtol=1e-6)
    stacked.state.undo()
    np.testing.assert_array_equal(stacked.result.image, wanted.image)


def test_a_target_of_several_integrations_is_shown_as_its_mean(tmp_path):
    cube = np.stack([NODS[0].data, NODS[0].data + 2])
    path = Exposure(cube).save(tmp_path / "target_rateints.fits")
    paths = [one.save(tmp_path / one.meta.filename) for one in NODS]
    view = BackgroundModel.from_exposures(paths).explore(path, exposures=paths)
    assert view.pane.names[:4] == ["target", "background", "residual", "1 nod0"]
    np.testing.assert_allclose(view.image(2), cube.mean(axis=0) - MEAN.image, atol=1e-5)
    assert "2 integrations of the target are shown as their mean" in view.text
    view.state.frame = 3
    assert "pixels of nod0_rate.fits" in view.text
    np.testing.assert_allclose(view.image(3), NODS[0].data, rtol=1e-6)
    view.close()


def test_sides_of_a_template_are_scaled_and_put_back(soss):
    left, right = SOSS.scale
    soss.state.left = 1.1
    assert soss.result.scale == pytest.approx((1.1 * left, right), rel=1e-5)
    np.testing.assert_allclose(soss.image(1)[:, :600], soss.result.scale[0] * STRIPS[0][:, :600])
    assert "set by hand" in soss.text
    np.testing.assert_allclose(soss.shown.profile()[300], -0.1 * left * STRIPS[0][0, 0], atol=0.1)
    soss.controls.again.click()
    assert soss.result is SOSS
    soss.controls.sides[1].stepper.step(1)
    assert soss.state.right == 1.002
    assert soss.controls.sides[1].stepper.names[101] == f"{1.002 * right:.4g} (× 1.002)"
    assert replay(soss.result, arrays=[STRIPS, STRIP]).scale == soss.result.scale


def test_another_template_has_the_scales_of_its_own_fit(soss):
    soss.state.left = 0.9
    assert soss.controls.template.stepper.names == ("0 (best)", "1")
    soss.controls.template.stepper.step(1)
    assert (soss.state.template, soss.state.left) == (1, 1.0)
    assert soss.result.scale == SOSS.fit(STRIP, template=1).scale
    soss.state.undo()
    assert (soss.state.template, soss.state.left) == (0, 0.9)


def test_the_profile_is_drawn_with_the_jump(soss):
    jump = float(np.median(SOSS.fitted.column))
    assert soss.plot._jump.x.tolist() == [jump, jump]
    drawn, profile = soss.plot._line, soss.shown.profile()
    np.testing.assert_array_equal(profile[int(drawn.x[0])], drawn.y[0])
    assert np.isnan(profile[951:]).all()


def test_an_image_is_scaled():
    view = explore(OWN, TARGET)
    view.controls.factor.stepper.step(5)
    assert view.result.scale == 0.404
    np.testing.assert_allclose(view.pane.cube[2], TARGET.data - 0.404 * REFERENCE, atol=1e-6)
    view.controls.again.click()
    assert view.result is OWN
    view.close()


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        (WFSS, {}, r"model\.explore\(target\)"),
        (SOSS, {}, "looked at on a target"),
        (WFSS, {"target": TARGET, "exposures": NODS}, "belong to a mean"),
        (WFSS, {"target": Exposure(np.ones((2, *SHAPE)))}, "give the rate"),
        (FITTED, {"target": Exposure(np.ones((8, 8)), err=np.ones((8, 8)))}, "fit it to this target"),
        (MEAN, {"exposures": NODS[:1]}, "the list that it was made of"),
        (MEAN, {"target": Exposure(np.ones((8, 8)), meta=FAR)}, "share no pixel"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_named(model, given, words):
    before = len(_instances)
    with pytest.raises(DataError, match=words):
        model.explore(**given)
    assert len(_instances) == before


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"left_out": [3]}, "left_out"),
        ({"outlier_percent": 50.0}, "outlier_percent"),
        ({"maxiter": -1}, "maxiter"),
        ({"sigma": 0.0}, "positive number of sigma"),
        ({"reject": "mean"}, "reject"),
        ({"template": 1}, "template"),
        ({"left": np.inf}, "left"),
        ({"regions": [{"kind": "circle"}]}, "a region is a rectangle"),
        ({"regions": [{**DRAWN, "x0": np.nan}]}, "a region is a rectangle"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_choices_that_cannot_be_are_refused_by_name(shared, choice, words):
    with pytest.raises(DataError, match=words):
        shared.state.apply(choice)
    assert shared.result.scale == FITTED.scale


def test_another_mean_needs_the_exposures():
    view = MEAN.explore(NODS[0])
    view.state.sigma = 2.0
    assert "give exposures=" in view.text
    view.state.sigma = 3.0
    assert view.result is MEAN
    view.close()


def test_a_state_is_kept_as_a_dictionary(view):
    view.state.apply({"left_out": [0], "maxiter": 1, "regions": [DRAWN]})
    kept = view.state.to_dict()
    assert BackgroundState.from_dict(kept).to_dict() == kept
    other = explore(FITTED, target=TARGET, **kept)
    assert other.result.scale == view.result.scale
    other.close()


def test_files_hold_the_picture_the_page_and_the_numbers(shared, soss, stacked, tmp_path):
    for suffix in (".png", ".svg", ".html", ".csv", ".ecsv"):
        assert shared.save(tmp_path / f"a{suffix}").stat().st_size > 60
    np.testing.assert_allclose(Table.read(tmp_path / "a.csv")["rms"], FITTED.fitted.rms)
    assert "Rms of the residual" in (tmp_path / "a.html").read_text("utf-8")
    np.testing.assert_array_equal(soss.table()["residual"], soss.shown.profile())
    assert soss.curves()[0].title == "Median of the background pixels"
    np.testing.assert_array_equal(stacked.table()["rejected"], MEAN.rejected(NODS).sum(axis=(1, 2)))


def test_words_of_headers_stay_words(tmp_path):
    view = OWN.explore(grism(target=NASTY))
    for text in (view._words.value, view._repr_mimebundle_()["text/html"]):
        assert "<img src=x" not in text
    for suffix in (".svg", ".html"):
        assert "<img src=x" not in view.save(tmp_path / f"a{suffix}").read_text("utf-8")
    assert view.table()["scale"][0] == 0.4
    view.close()


def test_a_large_image_is_sent_by_means_and_fitted_whole():
    data = np.random.default_rng(1).normal(1, 0.1, (1100, 64)).astype(np.float32)
    view = BackgroundModel.from_image(np.ones((1100, 64))).explore(Exposure(data))
    assert view.pane.cube.shape == (3, 550, 32)
    assert view.image(2).shape == data.shape
    assert "shown as means of 2 x 2" in view.text
    view.close()


def test_many_boxes_are_tinted_and_few_outlined():
    boxes = [(x, y, x, y) for x in range(0, 60, 3) for y in range(0, 45, 3)]
    view = WFSS.mask_sources(boxes).explore(TARGET, left_out=[7])
    assert len(view.boxes) == 300
    assert [region["name"] for region in view.pane.regions] == ["1", "off"]
    view.close()


@pytest.mark.parametrize("kind", ["reference", "average", "templates", "image"])
def test_closing_leaves_no_widget_and_changes_make_none(kind):
    given = {
        "reference": (FITTED, {"target": TARGET}, [{"maxiter": 1}, {"left_out": [1]}, {"frame": 1}]),
        "average": (MEAN, {"exposures": NODS}, [{"sigma": 2.0}, {"frame": 2}]),
        "templates": (SOSS, {"target": STRIP}, [{"left": 0.9}, {"template": 1}]),
        "image": (OWN, {"target": TARGET}, [{"factor": 1.1}]),
    }
    model, options, changes = given[kind]
    before = len(_instances)
    view = explore(model, **options)
    opened_with = len(_instances)
    for change in changes:
        view.state.apply(change)
        view.state.undo()
    assert len(_instances) == opened_with
    view.close()
    assert len(_instances) == before
    view.close()
