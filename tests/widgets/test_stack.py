"""The references of a stack, without a browser."""

from __future__ import annotations

import asyncio
import re
import zlib

import numpy as np
import pytest
from astropy.table import Table
from ipywidgets.widgets.widget import _instances

from corontools import Exposure, Meta, PSFStack, replay
from corontools.dq import DQ
from corontools.errors import DataError
from corontools_widgets.explore import explore
from corontools_widgets.image_pane import Stroke
from corontools_widgets.masks import FOUND, PAINTED, painting, read_stroke, write_stroke
from corontools_widgets.stack import StackExplorer

NASTY = "</script><img src=x onerror=alert(1)>"


def make_exposure(n: int = 6, side: int = 24, *, target: str = "HD 1", hit: bool = True) -> Exposure:
    rng = np.random.default_rng(1)
    frames = rng.normal(size=(n, side, side))
    dq = np.zeros(frames.shape, np.uint32)
    dq[:, 3, 4] = DQ.DO_NOT_USE | DQ.HOT
    if hit:
        frames[2 % n, 10, 12] += 80
    meta = Meta(target=target, unit="MJy/sr", filename="jw_a_calints.fits", pixel_scale=0.063)
    return Exposure(frames, dq=dq, meta=meta)


def make_stack(n: int = 6, side: int = 24, *, target: str = "HD 1", hit: bool = True) -> PSFStack:
    return PSFStack.from_exposures([make_exposure(n, side, target=target, hit=hit)])


@pytest.fixture
def view():
    made = explore(make_stack())
    yield made
    made.close()


@pytest.fixture(scope="module")
def untouched():
    """A view for tests that change nothing in it."""
    made = explore(make_stack())
    yield made
    made.close()


def tinted(view: StackExplorer) -> np.ndarray:
    if not view.pane._mask:
        return np.zeros(view.exposure.shape, bool)
    bits = np.frombuffer(zlib.decompress(view.pane._mask), np.uint8)
    return np.unpackbits(bits, bitorder="little", count=view.exposure.data.size).reshape(view.exposure.shape) > 0


def test_explore_opens_it_with_the_bad_pixels_tinted(untouched):
    assert isinstance(untouched, StackExplorer)
    np.testing.assert_array_equal(tinted(untouched), ~untouched.stack.exposure.good)
    assert untouched.result is untouched.stack


def test_what_is_tinted_can_be_chosen(view):
    view._boxes["HOT"].value = True
    view._boxes["DO_NOT_USE"].value = False
    assert view.state.tint == [PAINTED, "HOT"]
    assert tinted(view).sum() == 6
    view.state.tint = []
    assert not view._boxes["HOT"].value
    assert not tinted(view).any()
    with pytest.raises(DataError, match="'hot'"):
        view.state.apply({"tint": ["hot"]})


def test_outliers_are_those_of_the_stack(view):
    view.state.tint = [FOUND]
    expected = (view.stack.reject_outliers(5.0).exposure.flags() & DQ.OUTLIER) > 0
    np.testing.assert_array_equal(tinted(view), expected)
    assert expected[2, 10, 12]
    assert view.result is view.stack  # seen, not rejected
    view._sigmas.index = view._sigmas.names.index("20 σ")
    assert view.state.sigma == 20
    assert tinted(view).sum() == (view.stack.reject_outliers(20.0).exposure.flags() & DQ.OUTLIER > 0).sum()


def test_rejected_outliers_and_ticks_make_the_result(view):
    view._reject.value = True
    view._strip.set_state({"kept": [True, True, False, True, True, True]})
    expected = view.stack.reject_outliers(5.0).select([0, 1, 3, 4, 5])
    np.testing.assert_array_equal(view.result.exposure.dq, expected.exposure.dq)
    assert view.result.history == expected.history
    assert "rejected" in view.text


def test_the_strip_chooses_the_frame_and_the_frame_the_thumbnail(view):
    view._strip.set_state({"chosen": 3})
    assert view.pane.frame == view.state.frame == 3
    view.pane.set_state({"frame": 1})
    assert view._strip.chosen == 1
    assert view.text.startswith("Reference 1 (jw_a_calints.fits [1], HD 1), used; 6 of 6")


def brush(view, frame=0, points=((5.0, 5.0), (8.0, 5.0)), erase=False):
    points = [list(point) for point in points]
    view.pane._answer(None, {"type": "paint", "frame": frame, "points": points, "radius": 1.0, "erase": erase}, [])


def test_what_is_painted_is_masked_in_the_result(view):
    brush(view, frame=1)
    expected = np.zeros(view.exposure.shape, bool)
    expected[1] = Stroke(1, ((5.0, 5.0), (8.0, 5.0)), 1.0, False).mask((24, 24))
    np.testing.assert_array_equal(view.painted, expected)
    np.testing.assert_array_equal(view.result.exposure.good, view.stack.exposure.good & ~expected)
    assert ".mask(pixels((6, 24, 24), [" in view.result.code
    assert (tinted(view) & expected).sum() == expected.sum()
    view.state.undo()
    assert view.result is view.stack


@pytest.mark.parametrize("everywhere", [False, True])
def test_the_history_gives_the_masked_result_again(view, everywhere):
    view.state.apply({"reject": True, "kept": [True, True, False, True, True, True], "paint_all": everywhere})
    brush(view, frame=1)
    brush(view, frame=4, points=[(15.0, 3.0)])
    again = replay(view.result, arrays=[make_exposure()])
    assert again.digest() == view.result.digest() != view.stack.select([0, 1, 3, 4, 5]).digest()
    assert again.history == view.result.history
    np.testing.assert_array_equal(again.exposure.dq, view.result.exposure.dq)


def test_the_page_is_what_is_saved_and_asks_nothing_of_any_network(untouched, tmp_path):
    page = untouched.save(tmp_path / "a.html").read_text(encoding="utf-8")
    assert page == untouched.to_html()
    assert not re.findall(r"https?://(?!www\.w3\.org/)", page)


def test_painting_goes_into_all_frames_and_can_be_erased(view):
    view._all.value = True
    brush(view)
    assert view.painted.any(axis=(1, 2)).all()
    view._all.value = False
    brush(view, frame=2, erase=True)
    assert not view.painted[2].any()
    assert view.painted[3].any()
    view._clear.click()
    assert not view.painted.any()
    assert view._clear.disabled


def test_painting_survives_a_dictionary(view):
    brush(view, frame=3)
    painted = view.painted
    other = explore(make_stack())
    other.state.apply(view.state.to_dict())
    np.testing.assert_array_equal(other.painted, painted)
    other.close()


@pytest.mark.parametrize("text", ["", "0 1 ? 1,2", "0 x + 1,2", "0 1 + 1", "-2 1 + 1,2", "0 nan + 1,2", "9 1 + 1,2"])
def test_strokes_that_are_none_are_refused(untouched, text):
    with pytest.raises(DataError):
        untouched.state.apply({"painted": [text]})
    assert untouched.state.painted == []


def test_a_stroke_beyond_the_edge_paints_what_is_inside():
    strokes = [Stroke(0, ((-3.0, 2.0), (30.0, 2.0)), 1.2, False), Stroke(-1, ((90.0, 90.0),), 2.0, False)]
    mask = painting(strokes, (2, 8, 10))
    np.testing.assert_array_equal(mask[0], strokes[0].mask((8, 10)))
    assert not mask[1].any()
    assert read_stroke(write_stroke(strokes[0])) == strokes[0]


def test_statistics_are_made_when_asked_for(view):
    assert view._statistics.value == ""
    view._fold.value = True
    html = view._statistics.value
    assert html.count("<tr>") == 7
    peak = float(view.stack.exposure.data[2].max())
    assert f"{peak:.4g}" in html
    view._reject.value = True
    assert f"{peak:.4g}" not in view._statistics.value
    view._fold.value = False
    assert view._statistics.value == ""


def test_files_hold_the_picture_the_page_and_the_table(view, tmp_path):
    view.state.kept = [True] * 5 + [False]
    for suffix in (".png", ".svg", ".html", ".csv", ".ecsv"):
        assert view.save(tmp_path / f"a{suffix}").stat().st_size > 100
    table = Table.read(tmp_path / "a.ecsv")
    assert table["used"].tolist() == view.state.kept
    np.testing.assert_allclose(table["median"], view.stack.statistics()["median"].value)


def test_words_of_headers_stay_words(tmp_path):
    view = explore(make_stack(target=NASTY))
    view._fold.value = True
    for text in (view._words.value, view._statistics.value, view._repr_mimebundle_()["text/html"]):
        assert "<img src=x" not in text
    for suffix in (".svg", ".html"):
        assert "<img src=x" not in view.save(tmp_path / f"a{suffix}").read_text("utf-8")
    view.close()


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_frames_without_data_can_be_looked_at(n):
    stack = PSFStack.from_exposures([Exposure(np.full((n, 12, 12), np.nan))])
    view = explore(stack)
    view._fold.value = True
    view.state.apply({"tint": [FOUND], "reject": True})
    assert "100 % of its pixels were bad" in view.text
    assert view._strip.flagged == list(range(n))
    view.close()


def test_a_large_stack_says_what_is_downsampled():
    rng = np.random.default_rng(1)
    view = explore(PSFStack.from_exposures([Exposure(rng.normal(size=(3, 1030, 40)).astype(np.float32))]))
    assert "40 x 1030" in view.text
    assert "means of" in view.text
    brush(view, frame=1, points=[(20.0, 900.0)])
    assert view.painted[1, 900, 20]
    view.close()


def test_closing_leaves_no_widget_and_changes_make_none():
    before = len(_instances)
    view = explore(make_stack())
    opened_with = len(_instances)
    for i in range(400):
        step = ({"frame": i % 6}, {"sigma": 4.0 + i % 3, "tint": [FOUND]}, {"reject": i % 2 == 0}, {"tint": ["HOT"]})
        view.state.apply(step[i // 10 % 4] if i % 10 == 0 else {"stretch": ("log", "sqrt")[i % 2]})
        if i % 50 == 0:
            brush(view, frame=i % 6)
    assert len(_instances) == opened_with
    view.close()
    assert len(_instances) == before
    assert len(view.pane._images) == 0


def test_words_and_table_give_the_same_numbers(view):
    view.state.apply({"frame": 2, "reject": True, "painted": ["2 4 + 3,3"]})
    row = view.table()[2]
    assert (
        f"Median {row['median'].value:.4g}, sigma {row['sigma'].value:.4g}, peak {row['peak'].value:.4g}" in view.text
    )


def test_words_wait_until_the_hand_rests_and_a_closed_view_says_nothing_more():
    async def drag():
        view = explore(make_stack())
        for frame in (1, 2, 3):
            view.state.frame = frame
        before = view._words.value
        await asyncio.sleep(0.15)
        after = view._words.value
        view.state.frame = 4
        view.close()
        waiting = view._later.waiting
        return before, after, waiting

    before, after, waiting = asyncio.run(drag())
    assert "Reference" not in before
    assert "Reference 3" in after
    assert not waiting
