"""An image before and after its stripes are removed, without a browser."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from ipywidgets.widgets.widget import _instances

from corontools import DataError, Exposure, FlickerCleaner, Meta, replay
from corontools.arrays.flicker import flicker_noise
from corontools_widgets.explore import explore
from corontools_widgets.flicker import FlickerExplorer
from corontools_widgets.flicker_state import FlickerState, brushed, shapes
from corontools_widgets.image_pane import Stroke

NASTY = "</script><img src=x onerror=alert(1)>"
SHAPE = (48, 64)
CHANGES = {
    "method": "fft",
    "background": "model",
    "box": [16, 16],
    "n_sigma": 3.0,
    "painted": ["-1 3 + 40,30"],
    "regions": [{"kind": "rectangle", "x0": 2.0, "y0": 40.0, "x1": 9.0, "y1": 44.0}],
    "above": 15.0,
}


def ramp(n_int: int = 2, n_group: int = 3, *, target: str = "field") -> Exposure:
    rng = np.random.default_rng(1)
    shape = (n_int, n_group, *SHAPE)
    y, x = np.indices(SHAPE)
    scene = 10 + 300 * np.exp(-((x - 20) ** 2 + (y - 15) ** 2) / 8)
    counts = scene * np.arange(1, n_group + 1)[:, None, None]
    data = counts + flicker_noise(shape, rms=2.0, channels=1) + rng.normal(0, 2, shape)
    return Exposure(data.astype(np.float32), meta=Meta(target=target, unit="DN"))


def cleaner(exposure: Exposure | None = None, **given) -> FlickerCleaner:
    return FlickerCleaner(ramp() if exposure is None else exposure, axis=1, **given)


@pytest.fixture(scope="module")
def given():
    return cleaner()


@pytest.fixture
def view(given):
    made = given.explore()
    yield made
    made.close()


@pytest.fixture(scope="module")
def untouched(given):
    """A view for tests that change nothing in it."""
    made = given.explore()
    yield made
    made.close()


def test_explore_opens_it_and_nothing_is_changed(untouched):
    assert isinstance(untouched, FlickerExplorer)
    assert untouched.result is untouched.cleaner
    assert "text/html" in untouched._repr_mimebundle_()
    assert untouched.place == (0, 1)


def test_the_images_are_those_of_the_correction(view):
    view.state.apply({"integration": 1, "group": 1})
    data, cleaned = view.cleaner.exposure.data, view.result.cleaned.data
    np.testing.assert_allclose(view.image(0), data[1, 1] - data[1, 0])
    np.testing.assert_allclose(view.image(1), cleaned[1, 1] - cleaned[1, 0], atol=1e-4)
    np.testing.assert_allclose(view.image(2), view.image(0) - view.image(1), atol=1e-4)
    np.testing.assert_allclose(view.pane.cube, [view.image(i) for i in range(3)], atol=1e-6)


def test_the_levels_are_the_means_of_the_pixels_that_were_fitted_to(untouched):
    fitted = untouched.shown.fitted
    np.testing.assert_allclose(untouched.shown.levels.after, np.nanmean(fitted.residual, axis=1), atol=1e-5)
    expected = np.nanmean(fitted.residual, axis=1) + fitted.noise[:, 0]
    np.testing.assert_allclose(untouched.shown.levels.before, expected, atol=1e-5)
    assert np.nanstd(untouched.shown.levels.after) < 0.4 * np.nanstd(untouched.shown.levels.before)
    np.testing.assert_array_equal(untouched.shown.psd.after, untouched.result.psd.after)
    np.testing.assert_array_equal(untouched.profile._before.y, untouched.shown.levels.before)
    np.testing.assert_array_equal(untouched.spectrum._after.x, untouched.result.psd.frequency)


def test_every_choice_is_in_the_result_and_its_code_makes_it_again(view):
    view.state.apply(CHANGES)
    made = view.result
    assert (made.plan.noise, made.plan.background, made.plan.box, made.plan.n_sigma) == ("fft", "model", (16, 16), 3.0)
    again = replay(made, arrays=[view.cleaner.exposure])
    np.testing.assert_array_equal(again.mask, view.mask)
    np.testing.assert_array_equal(again.cleaned.data, made.cleaned.data)
    np.testing.assert_allclose(view.image(1), again.one_image(0, 1).after)


def test_a_choice_is_seen_at_once_and_taken_back(view):
    first = view.image(1).copy()
    view.state.method = "fft"
    second = view.image(1).copy()
    assert np.abs(second - first).max() > 0.01
    np.testing.assert_allclose(view.pane.cube[1], second, atol=1e-6)
    view.state.undo()
    np.testing.assert_array_equal(view.image(1), first)
    np.testing.assert_allclose(view.pane.cube[1], first, atol=1e-6)
    view.state.redo()
    np.testing.assert_array_equal(view.image(1), second)


def test_what_is_painted_is_masked_and_what_is_erased_is_background(view):
    found = view.cleaner.mask
    y, x = np.indices(SHAPE)
    view._stroke(Stroke(0, ((40.0, 30.0),), 4.0, False))
    near = np.hypot(x - 40, y - 30) <= 4
    np.testing.assert_array_equal(view.mask, found & ~near)
    view._stroke(Stroke(1, ((20.0, 15.0),), 6.0, True))
    source = np.hypot(x - 20, y - 15) <= 6
    assert not found[source].all()
    np.testing.assert_array_equal(view.mask, (found & ~near) | source)
    assert ".edit_mask(masked=pixels((48, 64)" in view.code
    assert "by hand" in view.text
    view.controls.clear.click()
    assert view.result is not None
    np.testing.assert_array_equal(view.mask, found)


def test_painting_in_one_integration_gives_each_a_mask(view):
    view.state.paint_all = False
    view.state.integration = 1
    view._stroke(Stroke(0, ((40.0, 30.0),), 3.0, False))
    assert view.mask.shape == (2, *SHAPE)
    assert view.mask[0, 30, 40]
    assert not view.mask[1, 30, 40]
    again = replay(view.result, arrays=[view.cleaner.exposure])
    np.testing.assert_array_equal(again.mask, view.mask)


def test_shapes_and_a_threshold_are_masked(view):
    y, x = np.indices(SHAPE)
    circle = {"kind": "circle", "x": 50.0, "y": 10.0, "r": 5.0, "done": True}
    view.pane.regions = [circle]
    assert view.state.regions == [circle]
    assert not view.mask[np.hypot(x - 50, y - 10) <= 5].any()
    view.pane.regions = [{**circle, "x": 30.0, "done": False}]  # it is still in the hand
    assert view.state.regions == [circle]
    view.state.regions = [{"kind": "polygon", "points": [[1, 1], [12, 1], [1, 12]]}]
    assert view.pane.regions == view.state.regions
    assert not view.mask[2, 2]
    view.state.apply({"regions": [], "above": 11.0})
    np.testing.assert_array_equal(view.mask, view.cleaner.mask & ~(view.cleaner.draft_rate > 11.0))
    assert view.code.endswith(".edit_mask(above=11.0)")


def test_a_painted_mask_changes_the_fit(view):
    before = view.image(2).copy()
    view.state.painted = ["-1 6 + 45,20 60,20"]
    rows = np.abs(view.image(2) - before).max(axis=1) > 0
    assert rows[14:27].any()
    assert view.pane._mask


def test_choices_are_those_of_the_cleaner_and_of_the_call():
    given = cleaner().mask_scene(n_sigma=3.0).fit_background("model", box=16).fit_noise("stream")
    view = explore(given, integration=1, group=2)
    state = view.state
    assert (state.n_sigma, state.background, state.box, state.method) == (3.0, "model", [16, 16], "stream")
    assert view.place == (1, 2)
    assert view.result is given
    assert not state.can_undo
    view.close()


@pytest.mark.parametrize("given", ["use_mask", "science", "edited"])
def test_another_level_keeps_the_mask_that_was_given(given):
    lit = np.zeros(SHAPE, bool)
    lit[30:40, 40:50] = True
    made = {
        "use_mask": lambda: cleaner().use_mask(~lit),
        "science": lambda: cleaner().mask_scene(science=[(40, 30, 49, 39)]),
        "edited": lambda: cleaner().edit_mask(masked=[(40, 30, 49, 39)]),
    }[given]()
    view = made.explore()
    view.state.n_sigma = 4.0
    assert view.result.plan.n_sigma == 4.0
    assert not view.mask[lit].any()
    view.close()


def test_an_amplifier_has_a_level_of_its_own_with_medians_alone():
    view = cleaner(channels=4).explore()
    view.state.by_channel = True
    assert view.result.plan.by_channel
    view.state.method = "stream"
    assert not view.result.plan.by_channel
    view.close()


def test_the_median_of_integrations_is_subtracted_from_every_group():
    view = cleaner().explore()
    view.state.apply({"background": "median_image", "group": 0})
    assert view.place == (0, 0)
    np.testing.assert_allclose(view.image(0), view.result.frames.image(0, 0), rtol=1e-6)
    view.state.background = "median"
    assert view.place == (0, 1)
    assert view.pane.title.endswith("group 2 \u2212 1")
    view.close()


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"integration": 2}, "integration"),
        ({"group": 3}, "group"),
        ({"n_sigma": -1.0}, "n_sigma"),
        ({"box": [16]}, "height and width"),
        ({"box": [16, 1000]}, "at most"),
        ({"painted": ["-1 nonsense"]}, "a stroke is written"),
        ({"painted": ["5 3 + 1,1"]}, "painted"),
        ({"regions": [{"kind": "annulus"}]}, "a region is"),
        ({"regions": [{"kind": "polygon", "points": [[1, 1]]}]}, "a region is"),
        ({"above": float("nan")}, "above"),
        ({"method": "mean"}, "method"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_choices_that_cannot_be_are_refused_by_name(untouched, choice, words):
    with pytest.raises(DataError, match=words):
        untouched.state.apply(choice)
    assert untouched.result is untouched.cleaner


def test_methods_that_an_exposure_does_not_have_are_refused():
    rate = ramp().with_(data=ramp().data[0, 0])
    view = cleaner(rate).explore()
    with pytest.raises(DataError, match="background of this exposure"):
        view.state.apply({"background": "median_image"})
    view.close()


def test_a_state_is_kept_as_a_dictionary(view):
    view.state.apply(CHANGES)
    kept = view.state.to_dict()
    assert FlickerState.from_dict(kept).to_dict() == kept
    other = explore(view.cleaner, **kept)
    np.testing.assert_array_equal(other.image(1), view.image(1))
    other.close()


def test_controls_follow_the_state_and_the_state_the_controls(view):
    made = view.controls
    made.method.value = "fft"
    made.background.value = "model"
    made.box.value = (16, 16)
    made.group.step(1)
    made.integration.step(1)
    made.sigmas.step(1)
    made.above.value = "20"
    state = view.state
    assert (state.method, state.background, state.box, state.n_sigma) == ("fft", "model", [16, 16], 2.5)
    assert (view.place, state.above) == ((1, 2), 20.0)
    made.above.value = "many"
    assert (made.above.value, state.above) == ("20", 20.0)
    state.apply({"box": [24, 32], "group": 1})
    assert made.box.value == (24, 32)
    assert made.group.index == 0


@pytest.mark.parametrize("shape", [SHAPE, (2, *SHAPE)])
def test_rates_are_shown_as_they_are(shape):
    data = np.random.default_rng(1).normal(10, 1, shape)
    view = cleaner(Exposure(data)).explore()
    np.testing.assert_array_equal(view.image(0), data.reshape(-1, *SHAPE)[0])
    view.state.painted = ["-1 3 + 10,10"]
    assert not view.mask[10, 10]
    view.close()


def test_an_image_without_a_usable_pixel_is_left_and_said_to_be():
    view = cleaner().use_mask(np.zeros(SHAPE, bool)).explore()
    assert "left unchanged" in view.text
    np.testing.assert_array_equal(view.image(1), view.image(0))
    view.state.painted = ["-1 30 - 30,30"]
    assert "were fitted to" in view.text
    view.close()


def test_a_ramp_of_one_group_has_nothing_to_show():
    with pytest.raises(DataError, match="one group"):
        explore(cleaner(ramp(2, 1)))


def test_files_hold_the_picture_the_page_and_the_levels(view, tmp_path):
    view.state.frame = 2
    for suffix in (".png", ".svg", ".html", ".csv", ".ecsv"):
        assert view.save(tmp_path / f"a{suffix}").stat().st_size > 100
    table = Table.read(tmp_path / "a.csv")
    np.testing.assert_allclose(table["after"], view.shown.levels.after)
    assert "Power spectrum of the levels" in (tmp_path / "a.html").read_text("utf-8")


def test_words_of_headers_stay_words(tmp_path):
    view = cleaner(ramp(target=NASTY)).explore()
    for text in (view._words.value, view._repr_mimebundle_()["text/html"]):
        assert "<img src=x" not in text
    for suffix in (".svg", ".html"):
        assert "<img src=x" not in view.save(tmp_path / f"a{suffix}").read_text("utf-8")
    view.close()


def test_a_large_image_is_sent_by_means_and_fitted_whole():
    data = np.random.default_rng(1).normal(10, 1, (1100, 64)).astype(np.float32)
    view = cleaner(Exposure(data)).explore()
    assert view.pane.cube.shape == (3, 550, 32)
    assert view.image(1).shape == data.shape
    assert "shown as means of 2 x 2" in view.text
    view.close()


@pytest.mark.parametrize("n_int", [1, 2])
def test_closing_leaves_no_widget_and_changes_make_none(n_int):
    made = cleaner(ramp(n_int))
    before = len(_instances)
    view = explore(made)
    opened_with = len(_instances)
    for i in range(20):
        view.state.apply({"method": ("fft", "median")[i % 2], "group": 1 + i % 2, "frame": i % 3})
    assert len(_instances) == opened_with
    view.close()
    assert len(_instances) == before
    view.close()


def test_later_strokes_go_over_earlier_ones():
    masked, used = brushed(["-1 2 + 5,5", "-1 1 - 5,5", "-1 0.5 + 5,5"], (1, 11, 11))
    assert masked[5, 5]
    assert not masked[5, 6]
    assert used[5, 6]
    assert masked[5, 7]
    assert not (masked & used).any()


def test_shapes_are_written_as_regions():
    regions = [
        {"kind": "rectangle", "x0": 9.04, "y0": 2.0, "x1": 1.0, "y1": 5.0},
        {"kind": "polygon", "points": [[0, 0], [3, 0], [0, 3.333]]},
    ]
    assert shapes(regions, (8, 8)) == [(1.0, 2.0, 9.0, 5.0), [(0, 0), (3, 0), (0, 3.3)]]
