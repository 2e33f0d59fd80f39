import struct

import ipywidgets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corontools import DataError
from corontools.display.axes import Axis
from corontools.display.ticks import log_ticks
from corontools_widgets import plots
from corontools_widgets.image_pane import ImagePane
from corontools_widgets.plots import CurveFamily, ModeTrack, Plot, Reading, ShiftScatter
from corontools_widgets.view import close_widget

MODES = [1, 2, 5, 10]
SEP = np.array([0.1, 0.5, 1.0, 2.0, 3.0])


def models():
    return set(ipywidgets.widgets.widget._instances)


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = models()
    made = []
    yield made.append
    for one in made:
        close_widget(one) if isinstance(one, ipywidgets.Widget) else one.close()
    assert models() <= before


@pytest.fixture
def family(nothing_is_left):
    curves = np.array([1e-3 / k / SEP**2 for k in MODES])
    curves[0, 0], curves[1, 1] = np.nan, -1.0
    family = CurveFamily(
        SEP,
        curves,
        names=[str(k) for k in MODES],
        x_reading=Reading("separation (arcsec)"),
        y_reading=Reading("5σ contrast", log=True),
    )
    nothing_is_left(family)
    return family


@pytest.fixture
def track(nothing_is_left):
    track = ModeTrack(MODES, Reading("S/N"), level=5.0)
    nothing_is_left(track)
    return track


@pytest.fixture
def scatter(nothing_is_left):
    shifts = np.array([[0.1, 0.2], [-0.3, 0.1], [np.nan, 0.0], [0.2, -0.2]])
    flagged = [False, True, False, False]
    scatter = ShiftScatter(shifts, np.full((4, 2), 0.01), names=["a", "<b>", "c", "d"], flagged=flagged)
    nothing_is_left(scatter)
    return scatter


# What JavaScript's String(x) gives, from ECMA-262's rules and its examples.
JAVASCRIPT = {
    0.0: "0", 1.0: "1", -2.5: "-2.5", 0.1: "0.1", 0.30000000000000004: "0.30000000000000004", 123456.789: "123456.789",
    1e-5: "0.00001", 1e-6: "0.000001", 1e-7: "1e-7", 1.5e-7: "1.5e-7", 1e16: "10000000000000000",
    1e20: "100000000000000000000", 123456789012345680000.0: "123456789012345680000", 1e21: "1e+21", 1.2e21: "1.2e+21",
    5e-324: "5e-324", 1.7976931348623157e308: "1.7976931348623157e+308",
    float("inf"): "Infinity", float("-inf"): "-Infinity",
}  # fmt: skip


@pytest.mark.parametrize(("value", "text"), JAVASCRIPT.items())
def test_numbers_are_written_as_javascript_does(value, text):
    assert plots.written(value) == text


def test_no_number_is_written_as_nan():
    assert plots.written(float("nan")) == "NaN"
    assert plots.written(-0.0) == "0"


@given(st.integers(0, 2**64 - 1))
def test_what_is_written_is_the_number(bits):
    value = struct.unpack("<d", struct.pack("<Q", bits))[0]
    if np.isfinite(value):
        text = plots.written(value)
        assert float(text) == value
        digits = text.lstrip("-").partition("e")[0]
        assert not (digits.startswith("0") and digits[1:2].isdigit())
        assert "." not in digits or not digits.endswith("0")


def test_superscripts_are_characters():
    assert plots.raised("2×10^−12") == "2×10⁻¹²"
    assert plots.raised("0.5") == "0.5"


def shown(axis):
    """Labels in the order of the ticks."""
    return [axis.tick_labels[plots.written(value)] for value in axis.tick_values.tolist()]


def test_ticks_are_those_of_the_static_figures(family):
    axis = family.plot.y
    low, high = axis.limits
    ticks = log_ticks(low, high, 6)
    np.testing.assert_allclose(axis.axis.tick_values, ticks.major)
    assert shown(axis.axis) == [plots.raised(label) for label in ticks.labels]
    assert shown(family.plot.x.axis)[:2] == ["0", "0.5"]


def test_labels_are_set_before_the_ticks(nothing_is_left):
    plot = Plot(Reading("x"), Reading("y"))
    nothing_is_left(plot.figure)
    nothing_is_left(plot)
    order = []
    plot.x.axis.observe(lambda change: order.append(change["name"]), ["tick_labels", "tick_values"])
    plot.show(Axis(0, 1), Axis(0, 1))
    assert order == ["tick_labels", "tick_values"]


def test_an_axis_of_magnitudes_is_one_of_contrast(nothing_is_left):
    plot = Plot(Reading("x"), Reading("y", log=True))
    nothing_is_left(plot.figure)
    nothing_is_left(plot)
    reading = Reading("mag", log=True, shown=lambda v: -2.5 * np.log10(v), data=lambda m: 10 ** (-0.4 * m), even=True)
    plot.show(Axis(0, 1), Axis(1e-6, 1e-4, log=True), y_reading=reading)
    assert shown(plot.y.axis) == ["10", "11", "12", "13", "14", "15"]
    np.testing.assert_allclose(plot.y.axis.tick_values, 10 ** (-0.4 * np.arange(10, 16)))
    assert plot.y.axis.label == "mag"


def test_a_logarithmic_axis_never_sees_a_tick_at_zero(nothing_is_left):
    plot = Plot(Reading("x"), Reading("y"))
    nothing_is_left(plot.figure)
    nothing_is_left(plot)
    line = plot.line([1, 2], [1, 2])
    seen = []
    plot.x.axis.observe(lambda _: seen.append((plot.x.axis.scale, 0.0 in plot.x.axis.tick_values)), ["scale"])
    plot.show(Axis(0, 2), Axis(0, 2))
    plot.show(Axis(0.1, 2, log=True), Axis(0, 2), Reading("x", log=True))
    assert type(line.scales["x"]).__name__ == "LogScale"
    plot.show(Axis(0, 2), Axis(0, 2), Reading("x"))
    assert type(line.scales["x"]).__name__ == "LinearScale"
    assert [(type(scale).__name__, zero) for scale, zero in seen] == [("LogScale", False), ("LinearScale", False)]
    # the browser changes ticks before scales: the tick at "0" has a place, far out, on the logarithmic one too
    first = plot.x.axis.tick_values[0]
    assert 0 < first < 1e-200
    assert plot.x.axis.tick_labels[plots.written(float(first))] == "0"


def test_the_browser_may_move_the_axes(nothing_is_left):
    plot = Plot(Reading("x"), Reading("y"))
    nothing_is_left(plot.figure)
    nothing_is_left(plot)
    moved = []
    plot.x.panned = lambda: moved.append(plot.x.limits)
    plot.show(Axis(0, 1), Axis(0, 1))
    plot.pan(active=True)
    plot.x.scale.set_state({"min": 0.25})
    assert moved == [(0.25, 1.0)]
    plot.pan(active=False)
    assert plot.figure.interaction is None


def test_a_picture_needs_a_browser(family):
    with pytest.raises(DataError, match="drawn by the browser"):
        family.plot.png(print)
    asked, made = [], []
    family.plot.figure._view_count = 1
    family.plot.figure.send = asked.append
    family.plot.png(made.append, {"now": family.front})
    assert asked[0]["type"] == "upload_png"
    assert (family.front.labels, family.front.display_legend) == (["now"], True)
    family.plot.figure._handle_custom_msgs(None, {"event": "upload_png"}, [memoryview(b"png")])
    assert (made, family.front.display_legend) == ([b"png"], False)


def test_a_step_moves_the_front_curve_only(family):
    changed = []
    for mark in family.plot.figure.marks:
        mark.observe(lambda change, mark=mark: changed.append((mark, change["name"])))
    family.current = 2
    names = {name for mark, name in changed if mark is family.front}
    assert names == {"curves_subset"}
    assert family.front.curves_subset == [2]
    np.testing.assert_allclose(family.front.y[2], 1e-3 / 5 / SEP**2)
    assert "5 KL modes" in family.widget.children[1].value


def test_gaps_are_no_points(family):
    assert np.isnan(family.front.y[0, 0])
    assert family._dots.x.tolist() == SEP[1:].tolist()
    family.current = 1
    assert np.isnan(family.front.y[1, 1])
    assert family._dots.x.size == 4


def test_a_curve_without_any_value_is_out_of_sight_and_the_others_keep_their_places(family):
    family.set_curves(np.array([[1e-3, 1e-4], [np.nan, np.nan], [1e-5, 1e-6]]), x=[1.0, 2.0])
    assert family.front.y[2].tolist() == [1e-5, 1e-6]
    assert family.front.y[1].max() < family.plot.y.limits[0]


def test_a_pane_leads_the_curve_in_the_browser(family, nothing_is_left):
    pane = ImagePane(np.ones((len(MODES), 8, 8)))
    nothing_is_left(pane)
    assert pane.shown == []  # nothing follows: no message tells what was drawn
    family.lead(pane)
    assert pane.shown == [0]
    assert (family._led.source, family._led.target) == ((pane, "shown"), (family.front, "curves_subset"))
    family.current = 3
    assert family.front.curves_subset == [0]  # what the kernel says would come late while a slider is dragged


def test_other_curves_bring_their_axes(family):
    family.mark(1.5)
    family.current = 3
    family.set_curves(np.full((2, 3), 1e-8), x=[1.0, 2.0, 9.0])
    assert (family.current, family.front.curves_subset) == (1, [1])
    assert family.plot.x.limits == (0.0, 9.0)
    low, high = family.plot.y.limits
    assert low < 1e-8 < high
    line = family._line
    assert line.x.tolist() == [1.5, 1.5]
    assert line.y.tolist() == [low, high]
    family.mark(None)
    assert line.x.size == 0


def test_curves_near_the_star_do_not_decide_the_axis(nothing_is_left):
    curves = np.array([[1e3, 1e-5, 2e-5]])
    reading = {"x_reading": Reading("x"), "y_reading": Reading("y", log=True)}
    family = CurveFamily([0.1, 1, 2], curves, names=["1"], inner=0.5, **reading)
    nothing_is_left(family)
    assert family.plot.y.limits[1] < 1e-4


def test_curves_without_any_value_are_drawn_as_nothing(nothing_is_left):
    reading = {"x_reading": Reading("x"), "y_reading": Reading("y", log=True)}
    family = CurveFamily(SEP, np.full((1, 5), np.nan), names=["1"], **reading)
    nothing_is_left(family)
    assert family._dots.x.size == 0


def test_a_click_chooses_the_mode_count(track):
    chosen = []
    track.on_choose(chosen.append)
    track.set("cursor", [1.0, 2.0, np.nan, 6.0])
    dots = track._tracks["cursor"][2]
    assert dots.x.tolist() == [1, 2, 10]
    dots._handle_custom_msgs(None, {"event": "element_click", "data": {"x": 10.0, "y": 6.0, "index": 2}})
    assert (chosen, track.current) == ([3], 3)
    assert track._ring.x.tolist() == [10]
    track.current = 2
    assert track._ring.x.tolist() == []


def test_tracks_come_and_go_in_their_own_colours(track):
    before = len(models())
    for name in ("cursor", "b", "<c>"):
        track.set(name, [1.0, 2.0, 3.0, 4.0])
    assert track.tracks == ("cursor", "b", "<c>")
    colors = {track.color(name) for name in track.tracks}
    assert len(colors | {plots.FRONT}) == 4
    assert "&lt;c&gt;" in track.widget.children[1].value
    track.set("b", [0.0, 0.0, 0.0, 90.0])
    assert track.plot.y.limits[1] > 90
    for name in (*track.tracks, "unknown"):
        track.drop(name)
    assert len(models()) == before
    assert track.plot.y.limits[1] < 10


def test_hover_says_what_a_point_is(track):
    track.set("b", [1.0, 2.0, 3.0, 4.25])
    assert track._tracks["b"][2].names[3] == "b: K = 10, S/N 4.25"


def test_flagged_shifts_look_different_and_unknown_ones_are_left_out(scatter):
    assert scatter._good.x.tolist() == [0.1, 0.2]
    assert scatter._bad.x.tolist() == [-0.3]
    assert scatter._bad.marker != scatter._good.marker
    assert scatter._bad.names[0] == "<b>: dx -0.300 ± 0.010, dy +0.100 ± 0.010 px, flagged"
    (x0, x1), (y0, y1) = scatter.plot.x.limits, scatter.plot.y.limits
    assert x1 - x0 == pytest.approx(y1 - y0)
    assert x0 < -0.31
    assert x1 > 0.21


def test_a_shift_is_chosen_by_a_click(scatter):
    chosen = []
    scatter.on_choose(chosen.append)
    scatter._bad._handle_custom_msgs(None, {"event": "element_click", "data": {"x": -0.3, "y": 0.1}})
    assert (chosen, scatter.chosen) == ([1], 1)
    assert scatter._ring.x.tolist() == [-0.3]
    scatter.set([[0.0, 0.0]], [[0.1, 0.1]], names=["e"])
    assert scatter.chosen is None
    assert scatter._ring.x.size == 0


def test_nothing_takes_a_colour_that_the_theme_has(family, track, scatter):
    for plot in (family.plot, track.plot, scatter.plot):
        for axis in plot.figure.axes:
            assert (axis.color, axis.grid_color, axis.label_color) == (None, None, "var(--jp-ui-font-color1, #444444)")
    assert "#000000" not in plots.PALETTE


def test_many_steps_make_no_new_models(family, track):
    track.set("cursor", [1.0, 2.0, 3.0, 4.0])
    before = len(models())
    for i in range(400):
        family.current = track.current = i % 4
        family.mark(float(i))
        track.set("cursor", np.full(4, float(i)))
    assert len(models()) == before
