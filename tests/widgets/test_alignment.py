"""Science against references, without a browser."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from ipywidgets.widgets.widget import _instances

from corontools import Exposure, Meta, PSFStack
from corontools.arrays.register import Quality
from corontools.arrays.shift import shift_image
from corontools.coron import AlignedRefs
from corontools.errors import DataError
from corontools_widgets.alignment import BEFORE, DIFFERENCE, REFERENCE, SCIENCE, AlignmentExplorer
from corontools_widgets.explore import explore
from corontools_widgets.references import short_names

NASTY = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def aligned(scene) -> AlignedRefs:
    return PSFStack.from_exposures(scene.references).align_to(scene.science[0], to="each")


@pytest.fixture
def view(aligned):
    made = explore(aligned)
    yield made
    made.close()


@pytest.fixture(scope="module")
def untouched(aligned):
    """A view for tests that change nothing in it."""
    made = explore(aligned)
    yield made
    made.close()


def test_explore_opens_it(untouched):
    assert isinstance(untouched, AlignmentExplorer)


def test_the_images_of_a_pair_are_science_scaled_reference_and_their_differences(view):
    aligned = view.aligned
    view.state.apply({"integration": 1, "reference": 3})
    science, reference, difference, before = view.pane.cube
    raw = np.where(aligned._filled.good[3], aligned._filled.data[3], np.nan)
    known = np.isfinite(difference)
    shifted = aligned.scales[1, 3] * shift_image(aligned._filled.data[3], aligned.shifts[1, 3])
    np.testing.assert_allclose(reference[known], shifted[known], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(difference[known], (science - reference)[known], atol=1e-3)
    both = np.isfinite(before) & np.isfinite(raw)
    scale = np.sum((science * raw)[both]) / np.sum(raw[both] ** 2)
    np.testing.assert_allclose(before[both], (science - scale * raw)[both], rtol=1e-3, atol=1e-2)


def test_only_the_chosen_pair_is_made(view, monkeypatch):
    made = []
    real = AlignedRefs.difference
    monkeypatch.setattr(AlignedRefs, "difference", lambda self, i, ref: made.append((i, ref)) or real(self, i, ref))
    view.state.reference = 2
    assert set(made) == {(0, 2)}


def test_images_and_differences_keep_limits_of_their_own(view):
    images = view.pane.limits
    view.pane.frame = DIFFERENCE
    low, high = view.pane.limits
    assert low == -high
    assert view.pane.colors == "RdBu"
    assert (low, high) != images
    view.pane.limits = (-7.0, 9.0)
    assert view.state.difference_limits == [-7.0, 9.0]
    view.pane.frame = SCIENCE
    assert view.pane.limits == images
    assert view.state.limits == []
    assert view.pane.colors == view.state.colors == "inferno"
    view.pane.frame = BEFORE
    assert view.pane.limits == (-7.0, 9.0)


def test_science_is_compared_with_the_reference_and_a_difference_with_the_other(view):
    assert (view.pane.frame, view.pane.compare) == (SCIENCE, REFERENCE)
    view.pane.frame = DIFFERENCE
    assert view.pane.compare == BEFORE
    view.pane.compare = -1
    view.pane.frame = REFERENCE
    assert view.pane.compare == -1


def test_a_frame_and_what_it_is_compared_with_are_one_step(view):
    view.pane.frame = DIFFERENCE
    assert view.state.undo()
    assert (view.pane.frame, view.pane.compare) == (SCIENCE, REFERENCE)
    assert not view.state.can_undo


def test_a_click_on_a_shift_or_a_thumbnail_chooses_the_reference(view):
    shift = view.aligned.shifts[0, 4]
    event = {"event": "element_click", "data": {"x": shift[0], "y": shift[1]}}
    view._scatter._good._handle_custom_msgs(None, event, [])
    assert view.state.reference == view._strip.chosen == 4
    view._strip.set_state({"chosen": 1})
    assert view.state.reference == view._scatter.chosen == view._references.index == 1
    assert view.aligned.stack.members[1] in view.text


def test_a_tick_taken_away_leaves_the_reference_out(view):
    assert view.result is view.aligned
    view._strip.set_state({"kept": [i != 1 for i in range(10)]})
    assert view.result.stack.members == tuple(np.array(view.aligned.stack.members)[[0, *range(2, 10)]])
    assert view.result.code.endswith(".select([0, 2, 3, 4, 5, 6, 7, 8, 9])")
    assert len(view._scatter._bad.x) == 1
    view._references.step(1)
    assert "left out" in view.text
    view.state.undo()
    view.state.undo()
    assert view.result is view.aligned


def test_the_last_reference_stays(view):
    view._strip.set_state({"kept": [i == 1 for i in range(10)]})
    view._strip.set_state({"kept": [False] * 10})
    assert view._strip.kept == view.state.kept == [i == 1 for i in range(10)]
    with pytest.raises(DataError, match="no reference is ticked"):
        view.state.apply({"kept": [False] * 10})


def test_choices_that_do_not_exist_change_nothing(untouched):
    for choices in ({"reference": 10}, {"integration": 2}, {"frame": 4}, {"compare": 4}, {"kept": [True]}):
        with pytest.raises(DataError):
            untouched.state.apply({"stretch": "log", **choices})
    assert untouched.state.stretch == "asinh"


def test_words_give_shift_scale_quality_and_rms(untouched):
    rms, aligned = untouched.aligned.rms(), untouched.aligned
    assert f"dx {aligned.shifts[0, 0, 0]:+.3f} ± {aligned.shift_errors[0, 0, 0]:.3f}" in untouched.text
    assert "the fit is good" in untouched.text
    assert f"{rms.before[0, 0]:.4g} before and {rms.after[0, 0]:.4g}" in untouched.text


def test_a_flagged_reference_is_told_in_words_and_marked(aligned):
    quality = np.array(aligned.quality)
    quality[:, 2] = Quality.POOR_FIT | Quality.NOT_CONVERGED
    view = explore(aligned.with_(fit=aligned.fit._replace(quality=quality)))
    view.state.reference = 2
    assert "did not converge and the fit explains less than half" in view.text
    assert view._strip.flagged == [2]
    assert len(view._scatter._bad.x) == 1
    assert "2 of 2 fits flagged" in view._strip.captions[2]
    view.close()


def test_unaligned_references_and_a_fit_that_failed_are_shown(scene, aligned):
    view = explore(PSFStack.from_exposures(scene.references).align_to(scene.science[0], to="none"))
    assert "not moved" in view.text
    assert np.isfinite(view.pane.cube[DIFFERENCE]).any()
    view.close()
    shift = np.array(aligned.shifts)
    shift[:] = np.nan
    failed = aligned.fit._replace(shift=shift, quality=np.full((2, 10), int(Quality.TOO_FEW_PIXELS)))
    view = explore(aligned.with_(fit=failed))
    assert "too few good pixels" in view.text
    view.close()


def test_one_reference_and_one_integration(aligned):
    one = aligned.select([1])
    view = explore(replace(one, target=one.target.select(0), fit=one.fit.mapped(lambda a: a[:1])))
    assert view.result.n_ref == 1
    assert "reference 0 of 1" in view.text
    view.close()


def test_a_reference_without_data_is_shown_as_such():
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(3, 16, 16))
    frames[1] = np.nan
    stack = PSFStack.from_exposures([Exposure(frames)])
    view = explore(stack.align_to(Exposure(rng.normal(size=(2, 16, 16))), to="none"))
    view.state.reference = 1
    assert np.isnan(view.pane.cube[DIFFERENCE]).all()
    assert "\u2014" in view.text
    view.close()


def test_files_hold_the_picture_the_page_and_the_table(view, tmp_path):
    view.state.kept = [i != 1 for i in range(10)]
    for suffix in (".png", ".svg", ".html", ".csv", ".ecsv"):
        assert view.save(tmp_path / f"a{suffix}").stat().st_size > 100
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    table = Table.read(tmp_path / "a.ecsv")
    assert len(table) == 20
    row = table[12]
    assert (row["integration"], row["reference"], bool(row["used"])) == (1, 2, True)
    assert row["dx"] == view.aligned.shifts[1, 2, 0]
    assert not table["used"][1]
    with pytest.raises(DataError, match=r"writes .png, .svg, .html, .csv, .ecsv"):
        view.save(tmp_path / "a.gif")


def test_words_of_headers_stay_words(tmp_path):
    rng = np.random.default_rng(1)
    meta = Meta(target=NASTY, filename=NASTY, unit=NASTY)
    stack = PSFStack.from_exposures([Exposure(rng.normal(size=(3, 16, 16)), meta=meta)])
    view = explore(stack.align_to(Exposure(rng.normal(size=(2, 16, 16)), meta=meta), to="none"))
    assert "<img" not in view._words.value
    for suffix in (".svg", ".html"):
        assert "<img src=x" not in view.save(tmp_path / f"a{suffix}").read_text("utf-8")
    view.close()


def test_closing_leaves_no_widget_and_changes_make_none(aligned):
    before = len(_instances)
    view = explore(aligned)
    opened_with = len(_instances)
    for i in range(400):
        choices = {"reference": i % 5, "integration": i % 2} if i % 10 == 0 else {"frame": i % 4}
        view.state.apply(choices if i % 25 else {"kept": [True, i % 2 == 0, *[True] * 8]})
    assert len(_instances) == opened_with
    view.close()
    assert len(_instances) == before
    view.close()


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["a_1_x.fits [0]", "a_1_x.fits [1]"], ["a_1_x.fits [0]", "a_1_x.fits [1]"]),
        (["a_1_x.fits [0]", "a_2_x.fits [1]"], ["1 [0]", "2 [1]"]),
        (["a_x", "a_2_x"], ["a_x", "a_2_x"]),
        ([], []),
    ],
)
def test_names_of_files_are_cut_to_what_tells_them_apart(names, short):
    assert short_names(names) == short
