import html
import json
import re

import ipywidgets
import numpy as np
import pytest
from astropy.table import QTable, Table

from corontools import DataError, Exposure, Meta
from corontools.coron.contrast import measure
from corontools_widgets.contrast import ContrastExplorer, ContrastState
from corontools_widgets.explore import explore
from corontools_widgets.limits import PublishedCurve, published

META = Meta(instrument="NIRCAM", filter="F444W", pixel_scale=0.063, unit="MJy/sr", target="AU Mic")
NASTY = "</script><img src=x onerror=alert(1)>"


def make_curve(seed=0, scale=1.0, meta=META):
    image = np.random.default_rng(seed).normal(scale=scale, size=(101, 101))
    return measure(Exposure(image, meta=meta), width=2, center="image").normalize(1e5)


def models():
    return set(ipywidgets.widgets.widget._instances)


@pytest.fixture
def curve():
    return make_curve()


def opened():
    view = ContrastExplorer(make_curve(), name="10 modes")
    view.add(make_curve(1, 0.5), name="40 modes")
    return view


@pytest.fixture
def view():
    before = models()
    view = opened()
    yield view
    view.close()
    assert models() <= before


@pytest.fixture(scope="module")
def untouched():
    """A view for tests that change nothing in it."""
    view = opened()
    yield view
    view.close()


def line(view, name):
    return view._entries[name].line


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


TABLE = "Separation (arcsec),5-sigma contrast\n2.0,2e-6\n0.5,1e-4\n1.0,1e-5\n"


# -- what is shown ---------------------------------------------------------


def test_a_curve_opens_as_its_five_sigma_limit(curve):
    view = explore(curve, name="mine")
    np.testing.assert_allclose(line(view, "mine").y, curve.sigma(5).limit)
    np.testing.assert_allclose(line(view, "mine").x, curve.sep)
    assert view.result.code == curve.sigma(5.0).code
    view.close()


def test_a_limit_opens_as_it_was_given(curve):
    limit = curve.sigma(3, fwhm=4.0)
    view = explore(limit)
    assert view.state.level == 3
    assert view.result is limit
    view.close()


def test_level_and_statistics_change_all_curves(view, curve):
    view.state.level = 3.0
    np.testing.assert_allclose(line(view, "10 modes").y, curve.sigma(3).limit)
    np.testing.assert_allclose(line(view, "40 modes").y, make_curve(1, 0.5).sigma(3).limit)
    view.state.statistics = "gaussian"
    unbiased = np.sqrt(curve.count / (curve.count - 1))
    np.testing.assert_allclose(line(view, "10 modes").y, 3 * curve.noise * unbiased / 1e5)
    assert view.result.code == curve.sigma(3.0, statistics="gaussian").code


def test_a_gaussian_limit_opens_as_it_was_given(curve):
    limit = curve.sigma(4, statistics="gaussian")
    view = explore(limit)
    assert (view.state.level, view.state.statistics) == (4, "gaussian")
    assert view.result is limit
    view.state.statistics = "student"
    np.testing.assert_allclose(view.result.limit, curve.sigma(4).limit)
    view.close()


def test_separations_come_in_three_units(view, curve):
    view.state.unit = "px"
    np.testing.assert_allclose(line(view, "10 modes").x, curve.radius)
    view.state.unit = "lambda/D"
    np.testing.assert_allclose(line(view, "10 modes").x, curve.radius / META.fwhm)
    assert view._plot.x.axis.label == "separation (λ/D)"


def test_magnitudes_are_read_off_the_same_curve(view):
    before = line(view, "10 modes").y.copy()
    view.state.scale = "magnitude"
    np.testing.assert_array_equal(line(view, "10 modes").y, before)
    axis = view._plot.y.axis
    for place, label in zip(axis.tick_values, axis.tick_labels.values(), strict=True):
        assert -2.5 * np.log10(place) == pytest.approx(float(label))
    ring = view._rings.index
    assert f"{-2.5 * np.log10(before[ring]):.2f} mag" in view._read.value


def test_controls_and_state_follow_each_other(view):
    view._picks["unit"].value = "px"
    view._level.value = 4
    view._log_x.value = True
    view._entries["40 modes"].box.value = False
    view._rings.next.click()
    state = view.state
    assert (state.unit, state.level, state.log_x, state.hidden) == ("px", 4.0, True, ["40 modes"])
    for _ in range(5):
        state.undo()
    assert view._picks["unit"].value == "arcsec"
    assert view._level.value == 5
    assert view._log_x.value is False
    assert view._entries["40 modes"].box.value
    assert not state.can_undo


def test_hidden_curves_are_not_drawn(view):
    view.state.hidden = ["10 modes"]
    assert line(view, "10 modes").x.size == 0
    assert list(view.curves) == ["40 modes"]
    assert view._read.value == ""
    view.state.hidden = []
    assert line(view, "10 modes").x.size > 0


def test_a_click_brings_a_curve_to_the_front(view, curve):
    dots = view._entries["40 modes"].dots
    dots._handle_custom_msgs(None, {"event": "element_click", "data": {"x": curve.sep[7], "y": 1.0}})
    assert (view.state.front, view.state.ring) == ("40 modes", 7)
    assert line(view, "40 modes").stroke_width > line(view, "10 modes").stroke_width
    np.testing.assert_allclose(view._at.x, curve.sep[7])
    np.testing.assert_allclose(view.result.limit, make_curve(1, 0.5).sigma(5).limit)
    view.state.undo()
    assert view.state.front == "10 modes"


def test_points_say_what_they_are(untouched, curve):
    dots = untouched._entries["10 modes"].dots
    i = int(np.flatnonzero(np.isfinite(curve.sigma(5).limit))[3])
    assert dots.names[3].startswith("10 modes: ")
    assert dots.names[3].endswith(f"at {curve.sep[i]:.3g}″")


def test_limits_are_typed_panned_and_given_back(view):
    auto = view._plot.y.limits
    view._ranges[1].ends[0].value = "1e-6"
    view._ranges[1].ends[1].value = "1e-3"
    assert view._plot.y.limits == (1e-6, 1e-3)
    view._plot.x.scale.set_state({"min": 1.0, "max": 2.0})
    assert view.state.x_limits == [1.0, 2.0]
    view._ranges[1].auto.click()
    assert view._plot.y.limits == auto
    view._picks["unit"].value = "px"
    assert view.state.x_limits == []


def test_what_was_typed_wrongly_is_told(view):
    view._ranges[0].ends[0].value = "<b>"
    view._ranges[0].ends[1].value = "2"
    assert any("numbers are needed" in note for note in view.notes)
    assert "<b>" not in view._notes.value
    assert view.state.x_limits == []


# -- tables ----------------------------------------------------------------


def test_a_published_table_is_drawn_in_order(view, tmp_path):
    view.add(write(tmp_path / "paper.csv", "# Lawson et al.\n" + TABLE), name="paper", level=5)
    assert line(view, "paper").x.tolist() == [0.5, 1.0, 2.0]
    assert line(view, "paper").y.tolist() == [1e-4, 1e-5, 2e-6]
    view.state.level = 3.0
    assert line(view, "paper").y.tolist() == [1e-4, 1e-5, 2e-6]
    assert "5-sigma limit, as published" in view._read.value
    view.state.unit = "lambda/D"
    assert line(view, "paper").x.size == 0
    assert view.notes == ["paper is left out: its table has no separations in px"]


@pytest.mark.parametrize(
    ("text", "sep", "limit"),
    [
        ("rho_mas,dmag\n500,10\n1000,12.5\n", [0.5, 1.0], [1e-4, 1e-5]),
        ("r,contrast_5sigma\n0.5,1e-4\n", [0.5], [1e-4]),
        ("sep,deltaMag\n0.5,10\n", [0.5], [1e-4]),
        ("sep,limit,radius\n0.5,1e-4,8\n", [0.5], [1e-4]),
        ("Separation [arcsec],Contrast\n0.5,\n1,1e-5\n", [0.5, 1.0], [np.nan, 1e-5]),
    ],
)
def test_columns_are_found_by_their_names(tmp_path, text, sep, limit):
    (one,) = published(write(tmp_path / "t.csv", text))
    np.testing.assert_allclose(one.sep, sep)
    np.testing.assert_allclose(one.limit, limit)
    assert one.title == "t.csv"


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("t.csv", "a,b\n1,2\n", "no column of limits; it has a, b"),
        ("t.csv", "sep,b\n1,2\n", "no column of limits"),
        ("t.csv", "contrast,b\n1,2\n", "no column of separations"),
        ("t.csv", "sep,contrast\n1,faint\n", "'contrast' of t.csv should hold numbers"),
        ("t.csv", "sep,contrast\n1,2,3,4\n", "can't be read"),
        ("t.ecsv", "sep,contrast\n1,2\n", "can't be read"),
        ("t.ecsv", "# %ECSV 1.0\n# ---\n# {[\nsep\n", "can't be read"),
        ("t.txt", "sep,contrast\n", "from .csv or .ecsv"),
        ("t.csv", "", "can't be read|no column"),
        ("t.csv", "\x00\x01\xff", "can't be read|no column"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(untouched, tmp_path, name, text, found):
    before = models()
    with pytest.raises(DataError, match=found):
        untouched.add(write(tmp_path / name, text))
    assert models() == before
    assert untouched.names == ("10 modes", "40 modes")


def test_a_missing_file_is_named(untouched, tmp_path):
    with pytest.raises(DataError, match=r"no file .*gone\.csv"):
        untouched.add(tmp_path / "gone.csv")


def test_a_table_in_memory_will_do(view):
    view.add(Table({"sep": [0.5, 1.0], "contrast": [1e-4, 1e-5]}), name="table")
    assert line(view, "table").x.size == 2


def test_curves_of_other_quantities_are_refused(untouched):
    image = Exposure(np.ones((31, 31)), meta=META)
    with pytest.raises(DataError, match=r"in units of the star, the new one is in MJy/sr; .*normalize"):
        untouched.add(measure(image, width=2, center="image"))


def test_files_hold_the_curves_that_are_shown(view, tmp_path, curve):
    view.state.level = 3.0
    for suffix in ("csv", "ecsv"):
        path = view.save(tmp_path / f"curves.{suffix}")
        again = published(path)
        assert [one.title for one in again] == ["10 modes", "40 modes"]
        np.testing.assert_allclose(again[0].limit, curve.sigma(3).limit)
        np.testing.assert_allclose(again[0].radius, curve.radius)
    view.state.hidden = ["10 modes"]
    assert set(QTable.read(view.save(tmp_path / "one.ecsv"))["curve"]) == {"40 modes"}


def test_the_figure_and_the_page_can_be_read(view, tmp_path):
    view.state.scale = "magnitude"
    svg = view.save(tmp_path / "a.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "5σ contrast (mag)" in svg
    assert "40 modes" in view.save(tmp_path / "a.html").read_text(encoding="utf-8")
    with pytest.raises(DataError, match=r"writes \.csv, \.ecsv, \.svg, \.html, \.png"):
        view.save(tmp_path / "a.pdf")
    with pytest.raises(DataError, match="drawn by the browser"):
        view.save(tmp_path / "a.png")


def data_of(page):
    """What the script of a page draws."""
    return json.loads(re.search(r'<script type="application/json" id="ct-data">(.*?)</script>', page, re.S)[1])


def test_the_page_holds_the_numbers_and_asks_nothing_of_any_network(untouched, curve, tmp_path):
    page = untouched.save(tmp_path / "a.html").read_text(encoding="utf-8")
    assert page == untouched.to_html()
    assert re.findall(r"https?:[^'\"\s]*", page.replace("http://www.w3.org/2000/svg", "")) == []
    assert "default-src 'none'" in page
    (spec,) = data_of(page)["curves"]
    assert [line["name"] for line in spec["lines"]] == ["10 modes", "40 modes"]
    np.testing.assert_allclose(np.array(spec["lines"][0]["x"], float), curve.sep, rtol=1e-4)
    np.testing.assert_allclose(np.array(spec["lines"][0]["y"], float), curve.sigma(5).limit, rtol=1e-4)
    assert (spec["kind"], spec["log_y"], spec["down_y"]) == ("several", True, False)
    assert spec["y_limits"] == list(untouched._plot.y.limits)
    assert untouched.result.code in html.unescape(page)
    assert "10 modes, 5-sigma limit (of the star): " in page


def test_the_page_reads_as_the_view_does(view, curve, tmp_path):
    view.state.apply({"scale": "magnitude", "unit": "px", "hidden": ["40 modes"], "x_limits": [5.0, 30.0]})
    (spec,) = data_of(view.save(tmp_path / "a.html").read_text(encoding="utf-8"))["curves"]
    (line,) = spec["lines"]
    np.testing.assert_allclose(np.array(line["y"], float), -2.5 * np.log10(curve.sigma(5).limit), rtol=1e-4)
    assert (spec["x_unit"], spec["x_limits"], spec["y_unit"]) == ("px", [5, 30], "mag")
    assert (spec["log_y"], spec["down_y"]) == (False, True)
    assert spec["y_limits"][0] < spec["y_limits"][1]


# -- bad input -------------------------------------------------------------


def test_without_pixel_scale_arcsec_is_not_offered():
    view = explore(make_curve(meta=Meta(target="star", wavelength=4.4e-6)))
    assert view.state.unit == "px"
    assert [value for _, value in view._picks["unit"].options] == ["px"]
    assert "arcsec isn't offered: the pixel scale isn't known" in view.notes
    view.close()


def test_without_width_neither_lambda_over_d_nor_student_is_offered():
    view = explore(make_curve(meta=Meta(pixel_scale=0.063)))
    assert [value for _, value in view._picks["unit"].options] == ["arcsec", "px"]
    assert [value for _, value in view._picks["statistics"].options] == ["gaussian"]
    assert sum("the width of the PSF isn't known" in note for note in view.notes) == 2
    view.state.statistics = "student"
    assert any("left out" in note for note in view.notes)
    with pytest.raises(DataError, match="width of the PSF"):
        view.result
    assert "width of the PSF" in view._repr_mimebundle_()["text/plain"]
    view.close()


def test_noise_in_other_units_has_no_magnitudes():
    image = Exposure(np.random.default_rng(0).normal(size=(61, 61)), meta=META)
    view = explore(measure(image, width=2, center="image"))
    assert [value for _, value in view._picks["scale"].options] == ["contrast"]
    assert view._plot.y.axis.label == "5σ limit (MJy/sr)"
    view.state.scale = "magnitude"
    assert view._plot.y.axis.label == "5σ limit (MJy/sr)"
    view.close()


def test_a_curve_without_any_value_is_told(view, curve):
    view.add(curve.with_(noise=np.full(curve.noise.shape, np.nan)), name="nothing")
    assert view.notes == ["nothing is left out: it has no finite value"]
    only = explore(curve.with_(noise=np.full(curve.noise.shape, np.nan)), name="nothing")
    assert only.notes == ["nothing is left out: it has no finite value"]
    assert "note" in only.text
    only.close()


def test_words_of_headers_are_text(tmp_path):
    view = explore(make_curve(meta=META.with_(target=NASTY, unit=NASTY)))
    view.add(make_curve(1), name=NASTY)
    view.add(Table({"sep": [0.5, 1.0], "contrast": [1e-4, 1e-5], "curve": [NASTY, NASTY]}))
    assert len(view.names) == 3
    view._toolbar.code.value = True
    found = []
    stack = [view.widget]
    while stack:
        widget = stack.pop()
        stack += getattr(widget, "children", ())
        if isinstance(widget, ipywidgets.HTML):
            found.append(widget.value)
        assert not getattr(widget, "description_allow_html", False)
    assert any("&lt;img" in text for text in found)
    written = [view.save(tmp_path / name).read_text(encoding="utf-8") for name in ("a.svg", "a.html")]
    assert not [text for text in found + written if "<img src=x" in text]
    view.close()


# -- curves come and go ----------------------------------------------------


def test_curves_of_one_name_are_told_apart(view, curve):
    view.add(curve, name="10 modes")
    assert view.names == ("10 modes", "40 modes", "10 modes (2)")
    looks = {(entry.line.colors[0], entry.line.line_style) for entry in view._entries.values()}
    assert len(looks) == 3


def test_a_curve_can_be_taken_away(view, curve):
    before = models()
    view.add(curve, name="more")
    view.state.front = "more"
    view.remove("more")
    assert models() == before
    assert view.state.front == "10 modes"
    view.remove("40 modes")
    with pytest.raises(DataError, match="the only curve"):
        view.remove("10 modes")
    with pytest.raises(DataError, match="no curve 'more'"):
        view.remove("more")


def test_many_changes_leave_no_models(view):
    view.state.log_x = True  # makes the second scale
    before = len(models())
    units, state = ("px", "arcsec", "lambda/D"), view.state
    for i in range(400):
        change = i % 5
        if change == 0:
            state.level = 1 + i / 100
        elif change == 1:
            state.unit = units[i % 3]
        elif change == 2:
            state.apply({"scale": ("contrast", "magnitude")[i % 2], "log_x": i % 3 == 0})
        elif change == 3:
            state.apply({"ring": i % 20, "hidden": ["40 modes"] if i % 2 else []})
        else:
            state.undo()
    assert len(models()) == before


def test_the_choices_open_the_same_view_again(view):
    view.state.apply({"level": 3.0, "unit": "px", "scale": "magnitude", "ring": 4, "hidden": ["40 modes"]})
    kept = view.state.to_dict()
    assert ContrastState.from_dict(kept).to_dict() == kept
    other = opened()
    other.state.apply(kept)
    assert other.text == view.text
    assert other._read.value == view._read.value
    other.close()


def test_a_front_that_is_not_there_is_told(view):
    view._toolbar.code.value = True
    view.state.apply({"front": "x"})
    assert view._toolbar.shown.value.startswith("# there is no curve 'x'")
    with pytest.raises(DataError, match="no curve 'x'"):
        view.result


def test_without_any_curve_there_is_no_table(view, tmp_path):
    view.state.hidden = list(view.names)
    with pytest.raises(DataError, match="no curve is shown"):
        view.save(tmp_path / "a.csv")
    assert view.save(tmp_path / "a.svg").stat().st_size > 0
    assert not list(tmp_path.glob("*.csv"))


def test_the_words_name_values_at_round_separations(untouched, curve):
    value = np.interp(2.0, curve.sep, curve.sigma(5).limit)
    assert f"at 2″ {value * 1e5:.3g}×10⁻⁵" in untouched.text
    assert untouched.text.splitlines()[0] == "5σ contrast against separation (arcsec)"


def test_a_published_curve_may_come_first(tmp_path):
    (one,) = published(write(tmp_path / "paper.csv", TABLE))
    assert isinstance(one, PublishedCurve)
    view = explore(one)
    view.add(make_curve(), name="this work")
    assert view.result is one
    assert view.result.code.endswith("paper.csv')[0]")
    assert published(one.save(tmp_path / "again.ecsv"))[0].limit.tolist() == one.limit.tolist()
    with pytest.raises(DataError, match=r"\.ecsv or \.csv"):
        one.save(tmp_path / "a.fits")
    view.close()
