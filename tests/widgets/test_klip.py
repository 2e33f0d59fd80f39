"""The KL explorer without a browser: what a change of one part does to the others."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ipywidgets.widgets import widget as registry

from corontools import DataError, Exposure, PSFStack, Zones, replay
from corontools.simulate import null
from corontools_widgets.klip import CURSOR, SOURCE, KLModeExplorer
from corontools_widgets.reduction import Choice, Reduction

EVIL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def view(klip):
    made = KLModeExplorer(klip, companions=[(34.0, 20.0)])
    yield made
    made.close()


def drag(view, change, *, done=True):
    """Move the injected companion as the browser does."""
    marks = [dict(mark) for mark in view.pane.marks]
    next(mark for mark in marks if mark["id"] == SOURCE).update(change, done=done)
    view.pane.marks = marks


def test_the_slider_moves_curve_marker_and_state(view):
    view.pane.frame = 2
    assert view.state.modes == 3
    assert view._track.current == 2
    limit = view.series.limit()[2]
    assert view._family.current == 2
    np.testing.assert_allclose(view._family.front.y[2], np.where(limit > 0, limit, np.nan))
    view.state.modes = 6
    assert view.pane.frame == 5
    view.state.undo()
    assert view.pane.frame == 2
    view.state.undo()
    assert view.pane.frame == 7


def test_the_variance_that_is_left_is_drawn_for_every_mode_count(view, klip):
    np.testing.assert_allclose(view._variance._tracks["left"][0], 1 - klip.series().explained)
    view._variance._clicked(None, {"data": {"x": 5.0, "y": 0.1}})
    assert view.state.modes == 5
    view.choose(dropped=[0])
    assert view._variance.modes.tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_the_frame_to_compare_with_is_always_one_of_all(view):
    view.state.compare = 7
    view.choose(dropped=[0])
    assert view.state.compare == view.pane.compare == 6
    with pytest.raises(DataError, match="one of 0 to 6"):
        view.state.apply({"compare": 7})


def test_a_click_on_the_track_chooses_the_mode_count(view):
    view._track._clicked(None, {"data": {"x": 4.0, "y": 1.0}})
    assert view.state.modes == 4
    assert view.pane.frame == 3


def test_the_cursor_draws_its_own_track(view, klip):
    assert view._track.tracks == ("b",)
    view.state.cursor = [30.0, 14.0]
    assert set(view._track.tracks) == {"b", CURSOR}
    np.testing.assert_allclose(view._track._tracks[CURSOR][0], klip.series().snr_at((30.0, 14.0)))
    view.state.cursor = []
    assert view._track.tracks == ("b",)


def test_references_that_are_unticked_are_left_out_as_by_the_chain(view, klip):
    view.choose(dropped=[1, 6])
    chain = klip.aligned.select([0, 2, 3, 4, 5, 7]).klip(6)
    np.testing.assert_allclose(view.series.frames, chain.series().frames, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(view.pane.cube, chain.series().frames, rtol=1e-5, atol=1e-6)
    assert len(view.pane.names) == 6
    assert view.modes == 6
    assert view.result.code == view.code
    np.testing.assert_allclose(view.result.frames, chain.at(6).frames)
    view.state.undo()
    assert len(view.pane.names) == 8
    np.testing.assert_array_equal(view.series.frames, klip.series().frames)


def test_the_strip_ticks_references(view):
    view._tabs.selected_index = 1
    view._references.strip.kept = [True] * 5 + [False] + [True] * 2
    assert view.state.dropped == [5]
    view.state.undo()
    assert view._references.strip.kept == [True] * 8


def test_a_radius_dragged_on_the_image_moves_the_zones_on_both_sides(view, klip):
    view.choose(edges=[2.0, 10.0, 20.0])
    assert [(one["r0"], one["r1"]) for one in view.pane.regions] == [(2.0, 10.0), (10.0, 20.0)]
    regions = [dict(region) for region in view.pane.regions]
    regions[0]["r1"] = 12.34
    view.pane.regions = regions
    assert view.state.edges == [2.0, 12.3, 20.0]
    assert [(one["r0"], one["r1"]) for one in view.pane.regions] == [(2.0, 12.3), (12.3, 20.0)]
    chain = klip.aligned.klip(8, zones=Zones.annuli([2.0, 12.3, 20.0]))
    np.testing.assert_allclose(view.series.frames, chain.series().frames, rtol=1e-5, atol=1e-6)
    assert view.result.code == view.code == chain.code + ".at(8)"


def test_a_side_dragged_on_the_image_turns_all_sectors(view):
    view.choose(edges=[2.0, 20.0], sectors=3)
    regions = [dict(region) for region in view.pane.regions]
    regions[1]["pa0"] += 20.0
    view.pane.regions = regions
    turned = view.state.start
    assert abs(abs(turned) - 20.0) < 1
    assert view._zones.start.value == turned
    assert f"start={turned:g}" in view.code
    assert len({round((r["pa0"] - view.pane.regions[0]["pa0"]) % 360) for r in view.pane.regions}) == 3


def test_an_injected_companion_is_in_every_frame(view, klip):
    view.state.cursor = [33.0, 30.0]
    view.inject_at_cursor(3.0)
    assert view.state.source == [33.0, 30.0, 3.0]
    expected = klip.inject(3.0, position=(33.0, 30.0)).series().frames
    np.testing.assert_allclose(view.series.frames, expected, rtol=1e-5, atol=1e-6)
    assert SOURCE in view._track.tracks
    assert view.result.code == view.code
    assert "injected 3" in view._recovered()


def test_while_it_is_dragged_only_the_visible_frame_follows(view, klip):
    view.choose(source=[33.0, 30.0, 3.0], modes=2)
    before = view.series.frames
    drag(view, {"x": 31.0, "y": 33.0}, done=False)
    assert view.state.source == [31.0, 33.0, 3.0]
    assert view.series.frames is before
    expected = klip.inject(3.0, position=(31.0, 33.0)).series().frames
    np.testing.assert_allclose(view.pane.cube[1], expected[1], rtol=1e-5, atol=1e-6)
    drag(view, {"x": 31.0, "y": 33.0}, done=True)
    np.testing.assert_allclose(view.pane.cube, expected, rtol=1e-5, atol=1e-6)


def test_the_flux_found_is_that_of_the_sky_plus_what_was_injected(view, klip):
    view.choose(source=[33.0, 30.0, 4.0], modes=3)
    found = float(re.search(r"recovered (\S+)", view._recovered())[1])
    series = klip.series().inject(4.0, position=(33.0, 30.0))
    assert found == pytest.approx(series.flux_at((33.0, 30.0))[2], rel=1e-3)


def test_the_flux_slider_moves_from_any_flux(view):
    for flux in (20.0, 32.0, 44.0):
        view.choose(source=[33.0, 30.0, flux])
        assert view.state.source[2] == flux
        view._companion.flux.step(1)
        assert view.state.source[2] > flux
        view._companion.flux.step(-2)
        assert view.state.source[2] < flux


def test_what_cannot_be_is_said_and_changes_nothing(view):
    view.choose(dropped=list(range(8)))
    assert "no reference is left" in view._words.value
    view.state.undo()
    view.choose(edges=[5.0])
    assert "two or more that increase" in view._words.value
    assert view.state.edges == []
    view.choose(edges=[200.0, 300.0])
    assert "no pixel" in view._words.value
    view.state.undo()
    view._zones.radii.value = "5, x"
    assert "numbers such as" in view._words.value


def test_shared_sets_are_no_preview_and_own_sets_are():
    science, references = null(2, 5, shape=48)
    klip = PSFStack.from_exposures([references]).align_to(science, to="each").klip(5)
    view = KLModeExplorer(klip)
    view.choose(dropped=[0])
    assert "preview" in view.pane.status
    shown, exact = view.series.frames, klip.aligned.select([1, 2, 3, 4]).klip(4)
    np.testing.assert_allclose(view.result.frames, exact.at(4).frames)
    scatter = np.nanstd(exact.series().frames[0])
    assert np.nanstd(shown[0] - exact.series().frames[0]) < 0.1 * scatter
    view.close()


def test_files(view, tmp_path):
    for suffix in ("html", "svg", "png", "csv", "ecsv"):
        assert view.save(tmp_path / f"x.{suffix}").stat().st_size > 300
    page = (tmp_path / "x.html").read_text("utf-8")
    assert "http://" not in page.replace("http://www.w3.org", "")
    with pytest.raises(DataError, match=r"writes \.png, \.svg, \.html"):
        view.save(tmp_path / "x.gif")
    with pytest.raises(FileExistsError):
        view.save(tmp_path / "x.html")


def test_headers_are_text(klip, tmp_path):
    target = klip.target.with_(meta=klip.target.meta.with_(target=EVIL))
    aligned = klip.aligned.with_(target=target)
    view = KLModeExplorer(aligned.klip(3))
    shown = view._words.value + view._story.value + view._repr_mimebundle_()["text/html"]
    page = view.save(tmp_path / "x.html").read_text("utf-8")
    assert "<img src=x" not in shown + page
    view.close()


def test_one_reference_no_companion_and_nothing_known_of_the_instrument():
    rng = np.random.default_rng(2)
    stack = PSFStack.from_exposures([Exposure(rng.normal(size=(24, 24)))])
    view = KLModeExplorer(stack.align_to(Exposure(rng.normal(size=(24, 24))), to="none").klip(1))
    assert view.modes == 1
    assert "1 mode explains" in view.text
    view.state.cursor = [3.0, 4.0]
    view.close()


def test_no_mode_is_an_error(klip):
    with pytest.raises(DataError, match="no KL mode"):
        KLModeExplorer(klip.aligned.klip(0))


def test_the_state_comes_back_from_a_dictionary(view, klip):
    view.choose(modes=4, dropped=[2], edges=[3.0, 20.0])
    kept = view.state.to_dict()
    other = KLModeExplorer(klip, **{name: kept[name] for name in ("modes", "dropped", "edges")})
    np.testing.assert_array_equal(other.series.frames, view.series.frames)
    other.close()


def test_many_changes_leave_no_widget_behind(klip):
    before = len(registry._instances)
    view = KLModeExplorer(klip)
    view.choose(source=[33.0, 30.0, 4.0])
    opened = len(registry._instances)
    for i in range(400):
        view.state.modes = 1 + i % 8
        if i % 8 == 0:
            view.state.cursor = [10.0 + i % 20, 12.0]
    assert len(registry._instances) <= opened + 3  # the track at the cursor
    view.close()
    assert len(registry._instances) == before
    with pytest.raises(DataError, match="was closed"):
        view.widget


def test_a_choice_without_zones_of_its_own_takes_those_of_the_result(klip):
    zoned = klip.aligned.klip(4, zones=Zones.annuli([2, 15]))
    reduction = Reduction(zoned)
    made = reduction.series(Choice(dropped=(0,)))
    np.testing.assert_array_equal(made.klip.zones > 0, zoned.zones > 0)
    assert "zones=Zones.annuli([2.0, 15.0], sectors=1)" in reduction.code(Choice(dropped=(0,)), 2)


def test_a_view_lives_on_when_its_files_are_gone(scene, tmp_path):
    exposures = (scene.science[0], *scene.references[:2])
    files = [one.save(tmp_path / one.meta.filename) for one in exposures]
    science, *references = (Exposure.read(file) for file in files)
    klip = PSFStack.from_exposures(references).align_to(science).klip(2)
    for file in files:
        file.unlink()
    view = klip.explore()
    view.choose(dropped=[0])
    assert np.isfinite(view.series.frames).any()
    with pytest.raises(DataError, match=re.escape(files[0].name)):
        replay(view.code)
    view.close()
