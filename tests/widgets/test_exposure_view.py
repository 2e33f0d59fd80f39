"""The integrations of an exposure, without a browser."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from ipywidgets.widgets.widget import _instances

from corontools import Exposure, Meta, replay
from corontools.dq import DQ
from corontools_widgets.explore import explore
from corontools_widgets.exposure import ExposureExplorer, ValueTrack
from corontools_widgets.masks import FOUND

NASTY = "</script><img src=x onerror=alert(1)>"


def make_exposure(shape: tuple[int, ...] = (5, 20, 24), *, target: str = "AU Mic", **arrays) -> Exposure:
    data = np.random.default_rng(1).normal(size=shape)
    dq = np.zeros(shape, np.uint32)
    dq[..., 3, 4] = DQ.DO_NOT_USE | DQ.SATURATED
    meta = Meta(target=target, unit="MJy/sr", filename="a.fits")
    return Exposure(data, err=np.full(shape, 0.25), dq=dq, meta=meta, **arrays)


@pytest.fixture
def view():
    made = explore(make_exposure())
    yield made
    made.close()


def test_explore_opens_it(view):
    assert isinstance(view, ExposureExplorer)
    assert view.result is view.subject
    assert "text/html" in view._repr_mimebundle_()


def test_the_chosen_pixel_is_followed_through_the_integrations(view):
    view.state.cursor = [6.4, 7.6]
    np.testing.assert_array_equal(view._track._good.y, view.exposure.data[:, 8, 6])
    np.testing.assert_allclose(view._track._bars.y[0], view.exposure.data[0, 8, 6] + np.array([-0.25, 0.25]))
    assert f"{view.exposure.data[0, 8, 6]:.4g} ± 0.25 MJy/sr" in view.text
    view.state.cursor = [4.0, 3.0]
    assert len(view._track._good.x) == 0
    assert len(view._track._bad.x) == 5
    assert "DO_NOT_USE, SATURATED" in view.text
    view.state.cursor = [-3.0, 7.0]
    assert view.pixel is None


def test_a_click_on_a_value_chooses_the_integration(view):
    view.state.cursor = [6.0, 8.0]
    event = {"event": "element_click", "data": {"x": 3.0, "y": 0.0}}
    view._track._good._handle_custom_msgs(None, event, [])
    assert view.pane.frame == view.state.frame == 3
    assert view._track._now.x.tolist() == [3.0, 3.0]


def test_the_result_is_the_exposure_masked_and_its_code_says_so(view):
    view.state.apply({"painted": ["1 1.5 + 10,10"], "reject": True, "sigma": 4.0})
    expected = view.subject.reject_outliers(4.0).mask(view.painted)
    np.testing.assert_array_equal(view.result.dq, expected.dq)
    assert ".reject_outliers(sigma=4.0).mask(pixels((" in view.code
    again = replay([view.code], arrays=[view.subject])
    np.testing.assert_array_equal(again.dq, view.result.dq)
    bar = view.widget.children[0].children[0].children[2]  # "copy as code"
    bar.value = True
    assert view.widget.children[0].children[1].value == view.code


@pytest.mark.parametrize("shape", [(20, 24), (2, 3, 20, 24)])
def test_the_result_has_the_shape_of_what_was_given(shape):
    view = explore(make_exposure(shape))
    view.state.painted = ["0 1.5 + 10,10"]
    assert view.result.shape == shape
    assert view.result.cube.flags()[0, 10, 10] == DQ.DO_NOT_USE
    view.close()


def test_a_bad_pixel_that_was_painted_is_bad_in_the_plot(view):
    view.state.cursor = [10.0, 10.0]
    view.state.painted = ["2 0.6 + 10,10"]
    assert view._track._bad.x.tolist() == [2.0]


def test_an_exposure_without_any_data_can_be_looked_at():
    view = explore(Exposure(np.full((3, 12, 12), np.nan)))
    view.state.apply({"cursor": [3.0, 3.0], "tint": [FOUND]})
    assert "no data" in view.text
    assert len(view._track._good.x) == 0
    view.close()


def test_files_hold_the_picture_the_page_and_the_table(view, tmp_path):
    view.state.cursor = [6.0, 8.0]
    for suffix in (".png", ".svg", ".html", ".csv", ".ecsv"):
        assert view.save(tmp_path / f"a{suffix}").stat().st_size > 100
    table = Table.read(tmp_path / "a.csv")
    np.testing.assert_allclose(table["value at (6, 8)"], view.exposure.data[:, 8, 6])
    view.close()


def test_words_of_headers_stay_words(tmp_path):
    view = explore(make_exposure(target=NASTY))
    view._fold.value = True
    for text in (view._words.value, view._statistics.value, view._at.value, view._repr_mimebundle_()["text/html"]):
        assert "<img src=x" not in text
    for suffix in (".svg", ".html"):
        assert "<img src=x" not in view.save(tmp_path / f"a{suffix}").read_text("utf-8")
    view.close()


@pytest.mark.parametrize("n", [1, 5])
def test_closing_leaves_no_widget_and_changes_make_none(n):
    before = len(_instances)
    view = explore(make_exposure((n, 20, 24)))
    opened_with = len(_instances)
    for i in range(400):
        view.state.apply({"stretch": ("log", "sqrt")[i % 2]} if i % 8 else {"cursor": [i % 20, 5.0], "frame": i % n})
    assert len(_instances) == opened_with
    view.close()
    assert len(_instances) == before
    view.close()


def test_values_without_errors_have_no_bars():
    track = ValueTrack("")
    track.show([1.0, np.nan, 3.0], [np.nan] * 3, [False] * 3, ["a", "b", "c"])
    assert track._good.x.tolist() == [0.0, 2.0]
    assert track._good.names.tolist() == ["a", "c"]
    assert np.ptp(track._bars.y[0]) == 0
    track.plot.close()
