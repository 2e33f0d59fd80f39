"""Calibrated frames, their sources, and other stars for the PSF, without a browser."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from astropy.table import Table
from ipywidgets.widgets.widget import _instances

from corontools import DataError
from corontools.calibrate import CalibratedImage, calibrate, look, look_field
from corontools.simulate import star_field
from corontools.simulate.field_sky import FieldSky
from corontools_widgets.calibration import CalibrationExplorer
from corontools_widgets.calibration_state import CalibrationState

WIDER = {"clip": 2.5}  # the next place of the slider


@pytest.fixture(scope="module")
def field():
    return star_field(600, sky=FieldSky(n_stars=500, n_galaxies=60))


@pytest.fixture(scope="module")
def frame(field):
    return calibrate(field.exposures[0], field.refcat(), steps={"photometry": {"band": "r"}})


@pytest.fixture(scope="module")
def early(field):
    return CalibratedImage.from_snaps(field.exposures[0]).repair()


@pytest.fixture(scope="module")
def opened(frame):
    made = frame.explore()
    yield made
    made.close()


@pytest.fixture
def view(opened):
    """A view; each test begins with its first choices."""
    opened.state.apply({**CalibrationState().to_dict(), "min_snr": 50.0, "clip": 2.0})
    opened.state.clear_history()
    return opened


@pytest.fixture(scope="module")
def modelled(early):
    """Fitted to more stars, by hand."""
    return early.using(star_selector=WIDER).model_psf()


def test_a_frame_is_shown_with_its_rounds_and_its_result_is_itself(view, frame):
    assert isinstance(view, CalibrationExplorer)
    assert view.result is frame
    assert not view.state.can_undo
    np.testing.assert_array_equal(view.image(0), frame.image.data.astype(np.float32))
    total = sum(view.image(2 + k).astype(float) for k in range(len(frame.backgrounds)))
    # the level of the first round is taken off, which the names tell
    np.testing.assert_allclose(total + frame.background[0].median, frame.background.image(), atol=0.05)
    assert view.pane.names[2] == f"background 1 \u2212 {frame.background[0].median:.0f}"
    raw = frame.start.image * frame.photometry.calibration_mean - frame.background[0].median
    np.testing.assert_allclose(view.image(1), raw, rtol=1e-4, atol=0.2)
    assert f"{frame.zero_point:.4f}" in view.text


def test_backgrounds_have_limits_of_their_own(view):
    images = view.pane.limits
    view.state.frame = 3
    low, high = view.pane.limits
    assert images != (low, high)
    assert low <= view.image(3).min() <= view.image(3).max() <= high
    view.pane.limits = (-1.0, 1.0)
    assert (view.state.round_limits, view.state.limits) == ([-1.0, 1.0], [])
    view.state.frame = 2
    assert view.pane.limits == (view.image(2).min(), view.image(2).max())
    view.state.frame = 0
    assert view.pane.limits == images


def test_every_source_has_one_kind(view, frame):
    kinds = np.asarray(view.sources["kind"])
    table = frame.found.table
    childless = table[table["deblend_nChild"] == 0]
    assert len(kinds) == len(childless)
    assert np.count_nonzero(kinds == "psf") == np.count_nonzero(childless["calib_psf_used"])
    assert np.count_nonzero(kinds == "sky") == np.count_nonzero(childless["sky_source"])
    assert (kinds == "galaxy").any()
    assert (kinds == "rejected").any()


def test_kinds_that_are_ticked_are_marked(view):
    view.state.kinds = ["psf"]
    psf = view.sources[np.asarray(view.sources["kind"]) == "psf"]
    assert sorted(mark["x"] for mark in view.pane.marks) == np.sort(np.round(psf["x"].value, 2)).tolist()
    assert view.pane.regions == []
    view.state.clear_history()
    view.marks.boxes["galaxy"].value = True
    assert view.state.kinds == ["psf", "galaxy"]
    assert {region["kind"] for region in view.pane.regions} == {"rectangle"}
    view.state.undo()
    assert not view.marks.boxes["galaxy"].value
    with pytest.raises(DataError, match="kinds"):
        view.state.apply({"kinds": ["comet"]})


def test_planes_are_tinted(view, frame):
    assert view.pane._mask_of["name"] == "CR"
    before = view.pane._mask
    view.marks.tint.value = "SAT"
    assert view.pane._mask not in (b"", before)
    view.state.tint = ""
    assert view.pane._mask == b""
    with pytest.raises(DataError, match="tint"):
        view.state.apply({"tint": "GHOST"})


def test_a_click_tells_of_a_source_and_rings_it(view):
    row = int(np.flatnonzero(view.sources["kind"] == "psf")[3])
    source = view.sources[row]
    view.state.cursor = [float(source["x"]) + 1, float(source["y"]) - 1]
    assert view.chosen == row
    for words in (f"source {source['id']}", f"{source['mag']:.6g}", "calib_psf_used", "star of the PSF"):
        assert words in view._row.value
    plot = view.panels.sizes
    assert plot._ring.x.size == 1
    view.state.cursor = []
    assert plot._ring.x.size == 0
    assert "click" in view._row.value
    view.state.cursor = [-500.0, 0.0]
    assert "no source" in view._row.value
    dots = plot._dots["used"]
    plot._clicked(dots, {"data": {"x": dots.x[0], "y": dots.y[0]}})
    assert view.sources["kind"][view.chosen] == "psf"


def test_a_tile_chooses_its_star(view):
    mosaic = view.panels.mosaic
    x, y = (mosaic.corners[2] + mosaic.side // 2).tolist()
    view.panels.tiles.cursor = [x, y]
    assert np.hypot(view.state.cursor[0] - mosaic.x[2], view.state.cursor[1] - mosaic.y[2]) < 0.02
    assert mosaic.star_at(x + 0.5 + mosaic.side / 2, y) is None


def test_other_stars_fit_the_psf_and_all_that_follows_anew(view, frame, modelled):
    view.controls.clip.stepper.step(1)
    assert view.state.clip == WIDER["clip"]
    assert view.shown is view.result
    np.testing.assert_array_equal(view.result.modelled.psf.basis, modelled.modelled.psf.basis)
    assert view.result.photometry is not None
    assert ".using(" in view.code
    assert view.code.count(".model_psf()") == 1
    grid = view.panels.mosaic.grid
    assert view.panels.mosaic.x.size == min(len(view.result.modelled.passes[-1].fit.rows), grid[0] * grid[1])
    assert "working" not in view._status.value
    view.state.undo()
    assert view.result is view.shown is frame
    assert view.controls.again.disabled


def test_edges_of_the_band_are_dragged(view, monkeypatch):
    asked = []
    monkeypatch.setattr(view._refit, "ask", asked.append)
    sizes = view.panels.sizes
    sizes._pulled(2, {"x": sizes._sizes.mag_at(80.0), "y": 0.0})
    assert view.state.min_snr == 80.0
    high = sizes._edges[1].y[0]
    sizes._pulled(1, {"x": 0.0, "y": high + sizes._sizes.tolerance})
    assert view.state.clip == 4.0
    sizes._pulled(0, {"x": 0.0, "y": 1e3})  # beyond the middle: the least there is
    assert view.state.clip == 0.2
    assert asked == [{"min_snr": 80.0}, {"min_snr": 80.0, "clip": 4.0}, {"min_snr": 80.0, "clip": 0.2}]
    view.state.width_limits = [1.0, 3.0]
    assert asked[-1] == {"min_snr": 80.0, "clip": 0.2, "min_width": 1.0, "max_width": 3.0}
    view.controls.again.click()
    assert asked[-1] == {}


def test_the_band_is_that_of_the_selection(view, frame):
    chosen = frame.modelled.passes[-1].selection
    sizes = view.panels.sizes
    ends = [edge.y[0] for edge in sizes._edges]
    expected = chosen.expected[chosen.selected]
    np.testing.assert_allclose(ends, [expected.min() - chosen.tolerance, expected.max() + chosen.tolerance])
    view.state.sizes = "excess"
    np.testing.assert_allclose([edge.y[0] for edge in sizes._edges], [-chosen.tolerance, chosen.tolerance])
    used = sizes._dots["used"]
    assert np.abs(used.y).max() <= chosen.tolerance


def test_a_fit_without_stars_is_told_and_leaves_what_was(view, frame):
    view.state.min_snr = 1e6
    assert "too few" in view.text
    assert view.shown is frame
    with pytest.raises(DataError, match="model_psf: too few"):
        _ = view.result
    assert "see below" in view._status.value
    view.state.undo()
    assert view.result is frame
    assert "too few" not in view.text


def test_a_fit_begins_when_the_hand_rests_and_says_what_it_does(early, modelled):
    async def choose():
        view = modelled.explore()
        view.state.clip = 3.0
        said = [view._status.value]
        while "working" in said[-1]:
            await asyncio.sleep(0.01)
            said.append(view._status.value)
        result = view.shown
        view.close()
        return said, result

    said, result = asyncio.run(choose())
    assert "working: model_psf ..." in said[0]
    assert result.steps.star_selector.clip == 3.0
    assert result.modelled.table is not modelled.modelled.table


@pytest.mark.parametrize("what", ["shape", "residual", "size"])
def test_whiskers_are_those_of_the_stars(view, what):
    view.state.whiskers = what
    lines = view.panels.whiskers._lines
    n = np.count_nonzero(view.shown.found.table["calib_psf_used"])
    drawn = [np.count_nonzero(np.isnan(line.x)) for line in lines if line.x.size]
    assert len(drawn) == (2 if what == "shape" else 1)
    assert all(n - 2 <= number <= n for number in drawn)


def test_a_whisker_lies_along_the_major_axis_and_an_arrow_ends_at_its_tip():
    dx, dy = look_field._along(np.array([0.0]), np.array([0.2]))  # xy correlated: at 45 degrees
    np.testing.assert_allclose([dx[0], dy[0]], [0.2 / np.sqrt(2)] * 2)
    vector = look_field.Field(np.array([5.0]), np.array([6.0]), np.array([3.0]), np.array([4.0]))
    drawn = look_field.strokes(vector, 2.0, arrows=True)
    np.testing.assert_allclose(drawn.x[:2], [5, 11])
    np.testing.assert_allclose(drawn.y[:2], [6, 14])
    legs = np.hypot(drawn.x[[2, 4]] - 11, drawn.y[[2, 4]] - 14)
    np.testing.assert_allclose(legs, look_field.HEAD * 10)
    middle = look_field.strokes(vector, 2.0)
    np.testing.assert_allclose([np.nanmean(middle.x), np.nanmean(middle.y)], [5, 6])
    assert look_field.key_of((vector,), 100) == (5.0, look_field.KEY * 100 / 5)


def test_offsets_are_the_distances_of_the_astrometry(frame):
    found = look_field.offsets(frame)
    np.testing.assert_allclose(found.length, 1000 * frame.astrometry.distance, rtol=0.01, atol=0.05)
    assert found.unit == "mas"


def test_the_histogram_counts_every_pair(frame):
    found = look.differences(frame.photometry)
    finite = np.isfinite(frame.photometry.matches["difference"].value).sum()
    assert found.every.sum() + found.outside == finite
    assert found.used.sum() == frame.photometry.matches["photometry_used"].sum()
    assert len(found.limits) == len(frame.photometry.history)
    x, y = look.steps(np.array([0.0, 1.0, 2.0]), np.array([3, 4]))
    assert (x.tolist(), y.tolist()) == ([0, 0, 1, 1, 2, 2], [0, 3, 3, 4, 4, 0])


def test_tiles_hold_stars_models_and_what_is_left(frame):
    fit = frame.modelled.passes[-1].fit
    found = look_field.mosaic(fit, most=4)
    star = int(np.argmax(fit.stars.flux))
    x, y = found.corners[0]
    tile = found.images[:, y : y + found.side, x : x + found.side]
    model = fit.models[star]
    np.testing.assert_allclose(np.nanmax(tile[1]), 100)
    cut = (len(model) - found.side) // 2
    inside = slice(cut, cut + found.side)
    expected = 100 * fit.residuals[star][inside, inside] / model.max()
    np.testing.assert_allclose(tile[2], expected, atol=1e-3)
    assert found.x.size == 4


@pytest.mark.parametrize("stage", ["raw", "early", "modelled"])
def test_what_has_come_half_way_is_shown_as_far_as_it_is(request, field, stage):
    given = CalibratedImage.from_snaps(field.exposures[0]) if stage == "raw" else request.getfixturevalue(stage)
    view = given.explore()
    assert len(view.pane.names) == {"raw": 1, "early": 3, "modelled": 5}[stage]
    assert (view.panels.sizes is not None) == (view.controls is not None) == (stage == "modelled")
    assert view.panels.offsets is view.panels.zero_point is None
    assert view.result is given
    assert len(view.sources) == (0 if stage != "modelled" else len(given.modelled.table))
    assert (view.pane._mask != b"") == (stage != "raw")
    assert "text/html" in view._repr_mimebundle_()
    view.close()


def test_files_hold_the_picture_the_page_and_the_sources(view, tmp_path):
    for suffix in (".png", ".svg", ".html", ".csv", ".ecsv"):
        assert view.save(tmp_path / f"a{suffix}").stat().st_size > 1000
    table = Table.read(tmp_path / "a.ecsv")
    assert table["flux"].unit == "nJy"
    assert len(table) == len(view.sources)
    assert "Zero point" in (tmp_path / "a.html").read_text("utf-8")
    assert len(view.drawn_marks()) == len(view.pane.marks)


def test_closing_leaves_no_widget(early, modelled):
    for given in (early, modelled):
        before = len(_instances)
        view = given.explore()
        opened_with = len(_instances)
        for change in ({"kinds": ["rejected"]}, {"frame": 1}, {"whiskers": "size"}, {"cursor": [100.0, 100.0]}):
            view.state.apply(change)
            view.state.undo()
        assert len(_instances) == opened_with
        view.close()
        assert len(_instances) == before
