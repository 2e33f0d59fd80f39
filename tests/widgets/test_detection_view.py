"""The view of a detection map: maps, limits at a place, what is left out."""

import numpy as np
import pytest
from astropy.table import QTable

from corontools import DataError, replay
from corontools_widgets.detection import DetectionExplorer, DetectionState

PLACE = (34.0, 20.0)


@pytest.fixture(scope="module")
def found(klip):
    return klip.inject(80.0, position=PLACE).detection_map()


@pytest.fixture
def view(found):
    view = found.explore(star_flux=1e5)
    yield view
    view.close()


def test_it_shows_what_is_chosen(view, found):
    limits = found.contrast(1e5)
    assert isinstance(view, DetectionExplorer)
    np.testing.assert_array_equal(view.maps, limits.image)
    assert view.pane.frame == found.modes.size - 1
    assert view.pane.stretch == "log"
    for name, maps in (("snr", found.snr), ("throughput", found.throughput)):
        view.state.map = name
        np.testing.assert_array_equal(view.maps, maps)
        assert view.pane.stretch == "linear"
    view.state.map = "snr"
    assert view.pane.limits == (-5.0, 5.0)
    view.state.modes = 3
    assert view.pane.frame == 2
    view.pane.frame = 4
    assert view.state.modes == 5


def test_a_place_has_its_limit_for_every_number_of_modes(view, found):
    view.state.cursor = [30.0, 30.0]
    limits = found.contrast(1e5).image[:, 30, 30]
    np.testing.assert_allclose(view._track._tracks["here"][0], limits)
    best = int(found.modes[np.argmin(limits)])
    assert f"deepest {limits.min():.3g} with {best}" in view.text
    view.state.cursor = [200.0, 3.0]
    assert "outside the image" in view.text


def test_a_companion_is_left_out_by_hand_and_the_limits_follow(view, found, frames):
    before = view.result.noise
    view.state.cursor = list(PLACE)
    view._leave_out()
    assert view.state.excluded == [PLACE]
    np.testing.assert_allclose(view.result.limit, found.exclude([PLACE]).contrast(1e5).limit)
    assert not np.array_equal(view.result.noise, before, equal_nan=True)
    assert len(view.pane.marks) == 1
    again = replay(view.result, arrays=list(frames))
    np.testing.assert_allclose(again.limit, view.result.limit)
    view.state.undo()
    assert view.state.excluded == []
    np.testing.assert_array_equal(view.result.noise, before)


def test_the_level_changes_the_limits(view):
    five = view.result.limit
    view.state.level = 3.0
    assert np.nanmax(view.result.limit / five) < 0.7


def test_files_are_written(view, tmp_path):
    view.state.modes = 2
    for suffix in ("png", "svg", "html", "csv", "ecsv"):
        path = view.save(tmp_path / f"map.{suffix}")
        assert path.stat().st_size > 500
    assert len(QTable.read(tmp_path / "map.ecsv")) == view.result.limit.size
    with pytest.raises(DataError, match="can't be written"):
        view.save(tmp_path / "map.pdf")


def test_state_is_kept_as_a_dictionary():
    state = DetectionState(map="snr", excluded=[(1.0, 2.0)])
    assert DetectionState.from_dict(state.to_dict()).excluded == [(1.0, 2.0)]
    with pytest.raises(DataError, match="pairs"):
        DetectionState(excluded=[(1.0,)])


def test_without_the_star_limits_are_fluxes(found):
    view = DetectionExplorer(found)
    np.testing.assert_allclose(view.result.limit, found.contrast(1.0).limit)
    assert "5σ limit" in view._name
    view.close()
    assert view.closed
