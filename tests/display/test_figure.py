import base64
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from corontools.display import figure
from corontools.display.axes import Axis
from corontools.display.figure import Points, Series
from corontools.errors import DataError

SVG = "{http://www.w3.org/2000/svg}"
VALUES = st.floats(allow_nan=True, allow_infinity=True, width=64)
PAIRS = arrays(float, st.tuples(st.just(2), st.integers(0, 8)), elements=VALUES)
LONG = "a very long label that no axis of this size has room for, whatever the font is " * 3


def numbers(path):
    return np.array([float(v) for v in re.findall(r"-?\d+\.?\d*", path)]).reshape(-1, 2)


def lines_of(root, color):
    """Pixel coordinates of the lines of a colour, one array a stretch."""
    paths = [p.get("d") for p in root.iter(f"{SVG}path") if p.get("stroke") == color and "L" in p.get("d")]
    return [numbers(part) for path in paths for part in path.split("M")[1:]]


@given(PAIRS, st.booleans(), st.booleans())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_data_give_a_figure_whose_words_are_whole(read_svg, data, log_x, log_y):
    series = [Series(*data, label="data", marker="o"), Series([], [], label="none")]
    read_svg(figure.curves(series, log_x=log_x, log_y=log_y, x_label="Separation (arcsec)", y_label="Contrast"))


@pytest.mark.parametrize(
    "series",
    [
        [],
        [Series([], [])],
        [Series([1], [2], label="one")],
        [Series([np.nan] * 3, [1, 2, 3])],
        [Series([1, 2], [-1, 0])],
        [Series([0, 1], [1e-300, 1e300])],
        [Series([1, 1 + 1e-15], [5, 5])],
        [Series([60000.123456, 60000.123457], [1e9, 1e9 + 1])],
    ],
    ids=["none", "empty", "point", "nan", "negative", "huge", "constant", "offset"],
)
@pytest.mark.parametrize("log", [False, True])
def test_odd_data_give_a_figure_whose_words_are_whole(read_svg, series, log):
    read_svg(figure.curves(series, log_x=log, log_y=log, title="Odd", x_label="x", y_label="y"))


@pytest.mark.parametrize("size", [(240, 160), (520, 340), (1200, 300)])
def test_long_words_are_shortened_to_the_page(read_svg, size):
    series = [Series([0, 1], [0, k], label=LONG) for k in range(30)]
    root, words = read_svg(figure.curves(series, x_label=LONG, y_label=LONG, title=LONG, size=size))
    assert any(word.endswith("…") for word in words)
    assert LONG.split("  ")[0].strip() in " ".join(root.find(f"{SVG}title").itertext())


def test_hostile_words_are_words(read_svg, hostile):
    points = Points([1], [2], names=[hostile], label=hostile)
    for svg in (
        figure.curves([Series([1, 2], [1, 2], label=hostile)], x_label=hostile, y_label=hostile, title=hostile),
        figure.scatter([points], x_label=hostile, y_label=hostile, title=hostile),
    ):
        root, words = read_svg(svg)
        known = {"svg", "title", "desc", "rect", "g", "path", "text", "tspan", "circle"}
        assert {node.tag.removeprefix(SVG) for node in root.iter()} <= known
        assert not any(name.startswith("on") for node in root.iter() for name in node.attrib)
        assert any(word.startswith("</script>") for word in words)


def test_a_hostile_colour_stays_inside_its_attribute(read_svg, hostile):
    root, _ = read_svg(figure.curves([Series([1, 2], [1, 2], color=hostile)]))
    assert not any("onerror" in node.attrib for node in root.iter())


def test_points_lie_where_the_axis_says(read_svg):
    x, y = np.array([0.5, 1.0, 3.0]), np.array([1e-3, 1e-5, 1e-6])
    svg = figure.curves([Series(x, y, color="red")], log_y=True, x_limits=(0, 4), y_limits=(1e-7, 1e-2))
    root, _ = read_svg(svg)
    (line,) = lines_of(root, "red")
    inner = root.find(f"{SVG}svg")
    left, top, width, height = (float(inner.get(k)) for k in ("x", "y", "width", "height"))
    np.testing.assert_allclose(line[:, 0], left + x / 4 * width, atol=0.06)
    np.testing.assert_allclose(line[:, 1], top + height * (-2 - np.log10(y)) / 5, atol=0.06)


def test_nan_breaks_the_line_and_leaves_lone_points_visible(read_svg):
    y = [1, 2, np.nan, 4, np.nan, 6, 7, 8]
    root, _ = read_svg(figure.curves([Series(range(8), y, color="red")]))
    assert [len(part) for part in lines_of(root, "red")] == [2, 3]
    assert len([c for c in root.iter(f"{SVG}circle") if c.get("fill") == "red"]) == 1


def test_the_last_series_is_in_front(read_svg):
    grey = [Series([0, 1], [k, k], color="gray") for k in range(3)]
    root, _ = read_svg(figure.curves([*grey, Series([0, 1], [1, 1], color="red")]))
    colors = [p.get("stroke") for p in root.find(f"{SVG}svg").iter(f"{SVG}path")]
    assert colors == ["gray"] * 3 + ["red"]


def test_series_get_colours_that_differ():
    svg = figure.curves([Series([0, 1], [k, k]) for k in range(8)])
    assert all(color in svg for color in figure.COLORS)


def test_a_band_is_shaded_and_in_view(read_svg):
    series = Series([0, 1, 2], [1, 1, 1], color="red", band=([-9, -9, np.nan], [11, 11, 11]))
    root, _ = read_svg(figure.curves([series]))
    (shade,) = [p for p in root.iter(f"{SVG}path") if p.get("fill") == "red"]
    inner = root.find(f"{SVG}svg")
    heights = numbers(shade.get("d"))[:, 1]
    assert len(heights) == 4
    assert float(inner.get("y")) < heights.min() < heights.max() < float(inner.get("y")) + float(inner.get("height"))


def legend_box(root, text):
    """Ground of the legend that holds a text."""
    (word,) = [t for t in root.iter(f"{SVG}text") if "".join(t.itertext()) == text]
    boxes = [
        [float(r.get(k)) for k in ("x", "y", "width", "height")] for r in root.iter(f"{SVG}rect") if r.get("rx") == "4"
    ]
    (box,) = [
        b for b in boxes if b[0] < float(word.get("x")) < b[0] + b[2] and b[1] < float(word.get("y")) < b[1] + b[3]
    ]
    return box


@pytest.mark.parametrize("seed", range(6))
def test_the_legend_covers_no_data(read_svg, seed):
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 10, 200)
    series = [Series(x, np.cumsum(rng.normal(size=200)), label=f"walk {k}", color="red") for k in range(3)]
    root, _ = read_svg(figure.curves(series))
    left, top, width, height = legend_box(root, "walk 0")
    points = np.concatenate(lines_of(root, "red")[:3])
    inside = (points > [left, top]) & (points < [left + width, top + height])
    assert not inside.all(axis=1).any()


def test_the_legend_moves_beside_a_full_plot(read_svg):
    x = np.linspace(0, 60, 600)
    root, _ = read_svg(figure.curves([Series(x, np.sin(5 * x), label="full", color="red")]))
    inner = root.find(f"{SVG}svg")
    assert legend_box(root, "full")[0] > float(inner.get("x")) + float(inner.get("width"))


def test_a_long_curve_is_drawn_small_with_its_extremes(read_svg):
    y = np.random.default_rng(0).normal(size=200_000)
    y[77_777] = 50
    svg = figure.curves([Series(np.arange(y.size), y, color="red")])
    assert len(svg) < 60_000
    root, _ = read_svg(svg)
    (line,) = lines_of(root, "red")
    inner = root.find(f"{SVG}svg")
    scale = float(inner.get("width")) / (y.size - 1)
    highest = line[np.argmin(line[:, 1]), 0] - float(inner.get("x"))
    assert abs(highest - 77_777 * scale) < 1


@pytest.mark.parametrize(
    ("series", "options", "text"),
    [
        (Series([1, 2], [1]), {}, "of one length, found 2 and 1"),
        (Series([1], [1], dash="wavy"), {}, "choose one of solid"),
        (Series([1], [1], marker="*"), {}, "choose one of o"),
        (Series([1], [1]), {"y_limits": (0, 1), "log_y": True}, "positive numbers, found"),
        (Series([1], [1]), {"x_limits": (2, 2)}, "different finite"),
        (Series([1], [1]), {"x_limits": (0, np.nan)}, "different finite"),
    ],
)
def test_what_cannot_be_drawn_is_named(series, options, text):
    with pytest.raises(DataError, match=text):
        figure.curves([series], **options)


def test_an_axis_may_run_backwards(read_svg):
    root, _ = read_svg(figure.curves([Series([1, 2], [3, 4], color="red")], x_limits=(3, 0)))
    (line,) = lines_of(root, "red")
    assert line[0, 0] > line[1, 0]


def test_scatter_draws_error_bars_of_the_given_length(read_svg):
    points = Points([0.0, 0.2], [0.0, 0.1], x_err=0.05, y_err=[0.02, np.nan], color="red", names=["a", "b"])
    root, words = read_svg(figure.scatter([points]))
    bars = np.array([part for part in lines_of(root, "red") if len(part) == 2])
    lengths = np.abs(bars[:, 1] - bars[:, 0])
    # equal axes: pixels per unit from the distance of the two points
    per_unit = (bars[1].mean(axis=0) - bars[0].mean(axis=0))[0] / 0.2
    np.testing.assert_allclose(lengths[:2, 0], 0.1 * per_unit, atol=0.15)
    np.testing.assert_allclose(sorted(lengths[2:, 1]), [0, 0.04 * per_unit], atol=0.15)
    assert {"a", "b"} <= set(words)


def test_scatter_axes_have_the_same_scale(read_svg):
    root, _ = read_svg(figure.scatter([Points([0, 10], [0, 1], color="red")]))
    marks = [p.get("transform") for p in root.find(f"{SVG}svg").iter(f"{SVG}path") if p.get("transform")]
    first, second = (numbers(m)[0] for m in marks)
    assert (second - first)[0] == pytest.approx(-10 * (second - first)[1], abs=1.5)


@given(PAIRS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_points_give_a_figure_whose_words_are_whole(read_svg, data):
    names = [f"point {k}" for k in range(data.shape[1])]
    read_svg(figure.scatter([Points(*data, x_err=1.0, y_err=data[0], names=names, label="group")]))


def test_crowded_names_do_not_cover_each_other(read_svg):
    rng = np.random.default_rng(1)
    names = [f"reference {k}" for k in range(60)]
    root, _ = read_svg(figure.scatter([Points(*rng.normal(size=(2, 60)), names=names)]))
    boxes = [
        (float(t.get("x")), float(t.get("y")))
        for t in root.iter(f"{SVG}text")
        if "".join(t.itertext()).startswith("reference")
    ]
    assert len(boxes) >= 10
    apart = [abs(a[0] - b[0]) > 55 or abs(a[1] - b[1]) > 12.9 for i, a in enumerate(boxes) for b in boxes[:i]]
    assert all(apart)
    titles = [t.text for t in root.iter(f"{SVG}title")]
    assert set(names) <= set(titles)


def test_uri_holds_the_svg():
    svg = figure.curves([Series([1, 2], [3, 4], label="5 σ")])
    head, body = figure.uri(svg).split(",")
    assert head == "data:image/svg+xml;base64"
    assert base64.b64decode(body).decode("utf-8") == svg


def test_axis_positions_do_not_overflow():
    axis = Axis.around([[-1e308, 1e308]])
    assert np.isfinite(axis.fraction([-1e308, 0, 1e308])).all()


def test_inputs_stay_as_they_are():
    x, y = np.array([1.0, np.nan, 3.0]), np.array([0.0, 2.0, np.inf])
    before = x.copy(), y.copy()
    figure.curves([Series(x, y, band=(y, x))], log_y=True)
    figure.scatter([Points(x, y, x_err=y, y_err=x)])
    np.testing.assert_array_equal([x, y], before)
