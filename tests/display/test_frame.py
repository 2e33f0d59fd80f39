import base64
import re

import numpy as np
import pytest

from corontools.display import Mark, Scale, Sky, figure, scaled_uri
from corontools.display.frame import color_ticks
from corontools.display.picture import stretch
from corontools.errors import DataError

SVG = "{http://www.w3.org/2000/svg}"


def picture(shape=(81, 81), **options):
    """Arguments for a frame about a field of noise."""
    image = np.random.default_rng(2).normal(size=shape)
    scale = Scale.of(image, unit="MJy/sr", **options)
    return scaled_uri(image, scale), scale


def box_of(root):
    """Left, top, width and height of the image."""
    image = next(root.iter(f"{SVG}image"))
    return np.array([float(image.get(k)) for k in ("x", "y", "width", "height")])


def circles(root, dashed):
    """Centres and radii, each once."""
    nodes = [c for c in root.iter(f"{SVG}circle") if bool(c.get("stroke-dasharray")) == dashed]
    return np.array([[float(c.get(k)) for k in ("cx", "cy", "r")] for c in nodes[1::2]])


def word_places(root):
    return {"".join(t.itertext()): (float(t.get("x")), float(t.get("y"))) for t in root.iter(f"{SVG}text")}


def test_rings_and_marks_lie_where_the_pixels_are(read_svg):
    uri, scale = picture()
    sky = Sky((81, 81), pixel_scale=0.1, center=(30.0, 50.0))
    root, words = read_svg(figure.frame(uri, sky=sky, scale=scale, rings=[1.5], marks=[Mark(60, 20, "b")]))
    left, top, width, height = box_of(root)
    assert width == pytest.approx(height)
    zoom = width / 81
    np.testing.assert_allclose(circles(root, True), [[left + 30.5 * zoom, top + 30.5 * zoom, 15 * zoom]], atol=0.05)
    np.testing.assert_allclose(circles(root, False), [[left + 60.5 * zoom, top + 60.5 * zoom, 10]], atol=0.05)
    assert {"1.5″", "b"} <= set(words)


def test_axis_in_arcsec_is_zero_at_the_star(read_svg):
    uri, _ = picture()
    root, words = read_svg(figure.frame(uri, sky=Sky((81, 81), pixel_scale=0.1, center=(30.0, 50.0))))
    left, top, width, _ = box_of(root)
    zeros = [(float(t.get("x")), float(t.get("y"))) for t in root.iter(f"{SVG}text") if t.text == "0"]
    assert {round(x - left - 30.5 * width / 81) for x, y in zeros if y > top + width} == {0}
    assert {round(y - 4 - top - 30.5 * width / 81) for x, y in zeros if x < left} == {0}
    assert "Δx (arcsec)" in words


def test_axes_are_in_pixels_without_a_pixel_scale(read_svg):
    uri, _ = picture()
    _, words = read_svg(figure.frame(uri, sky=Sky((81, 81)), rings=[20]))
    assert {"x (px)", "y (px)", "20 px", "0", "80"} <= set(words)


@pytest.mark.parametrize(
    ("pa_y", "parity", "north", "east"),
    [(0, -1, (0, 1), (-1, 0)), (90, -1, (1, 0), (0, 1)), (0, 1, (0, 1), (1, 0)), (180, -1, (0, -1), (1, 0))],
)
def test_the_compass_points_to_north_and_east(read_svg, pa_y, parity, north, east):
    sky = Sky((81, 81), pixel_scale=0.1, pa_y=pa_y, parity=parity)
    np.testing.assert_allclose([sky.direction(0), sky.direction(90)], [north, east], atol=1e-12)
    root, _ = read_svg(figure.frame(picture()[0], sky=sky))
    places = word_places(root)
    between = np.subtract(places["N"], places["E"]) * [1, -1]
    np.testing.assert_allclose(between, 36 * np.subtract(north, east), atol=0.1)


def test_north_up_reads_as_right_ascension_growing_to_the_left(read_svg):
    root, words = read_svg(figure.frame(picture()[0], sky=Sky((81, 81), pixel_scale=0.1, pa_y=360.0)))
    assert "ΔRA (arcsec)" in words
    places = word_places(root)
    assert places["2"][0] < places["0"][0] or "−2" in words
    right = [float(t.get("x")) for t in root.iter(f"{SVG}text") if t.text == "−2" and t.get("text-anchor") == "middle"]
    left = [float(t.get("x")) for t in root.iter(f"{SVG}text") if t.text == "2" and t.get("text-anchor") == "middle"]
    assert max(left) < min(right)


@pytest.mark.parametrize("place", [(0, 0), (80, 80), (0, 40), (80, 0), (40, 80), (-500, 40), (1e9, -1e9)])
def test_marks_at_and_beyond_the_edge_are_whole(read_svg, place):
    uri, scale = picture()
    label = "HD 197481 b, or a background star"
    root, words = read_svg(figure.frame(uri, sky=Sky((81, 81)), scale=scale, marks=[Mark(*place, label)], title="Edge"))
    assert label in words
    left, top, width, height = box_of(root)
    outside = max(abs(np.array(place) - 40)) > 41
    x, y, r = circles(root, outside)[0]
    assert left - 4.1 <= x - r
    assert x + r <= left + width + 4.1
    assert top - 4.1 <= y - r
    assert y + r <= top + height + 4.1


def test_words_over_the_image_do_not_cover_each_other(read_svg):
    uri, scale = picture()
    rng = np.random.default_rng(3)
    marks = [Mark(*rng.uniform(0, 81, 2), f"source {k}") for k in range(8)]
    sky = Sky((81, 81), pixel_scale=0.1, pa_y=20)
    root, _ = read_svg(figure.frame(uri, sky=sky, scale=scale, rings=[1, 2, 3], marks=marks))
    words = [t for t in root.iter(f"{SVG}text") if t.get("paint-order") == "stroke"]
    assert len(words) >= 12
    spans = [(float(t.get("x")), float(t.get("y")), 3.2 * len("".join(t.itertext()))) for t in words]
    for i, (x, y, half) in enumerate(spans):
        assert all(abs(x - u) > half + h or abs(y - v) > 10 for u, v, h in spans[:i])


@pytest.mark.parametrize("shape", [(1, 1), (4, 1024), (1024, 4), (81, 40), (2048, 2048)])
@pytest.mark.parametrize("size", [(480, 440), (200, 200)])
def test_every_shape_fits(read_svg, shape, size):
    uri, scale = picture((4, 4))
    sky = Sky(shape, pixel_scale=0.063, pa_y=10)
    root, _ = read_svg(
        figure.frame(uri, sky=sky, scale=scale, rings=[1], marks=[Mark(2, 2, "b")], title="T", size=size)
    )
    _, _, width, height = box_of(root)
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.02, abs=0.02)


@pytest.mark.parametrize(
    "scale",
    [
        Scale((-3.0, 300.0)),
        Scale((-3e-9, 5e-9), "linear"),
        Scale((0.0, 65535.0), "sqrt"),
        Scale((20.0, 3000.0), "log"),
        Scale((-8.0, 8.0), colors="RdBu"),
        Scale((1e6, 1.0001e6), "linear"),
        Scale((-1e300, 1e300)),
        Scale((0.0, 1e-300)),
    ],
    ids=str,
)
@pytest.mark.parametrize("length", [90, 300])
def test_the_colour_bar_says_true_values(scale, length):
    ticks, factor = color_ticks(scale, length)
    places = np.array([place for place, _ in ticks])
    assert len(ticks) >= 2
    assert np.all(np.diff(places) * length >= 19.9)
    for place, text in ticks:
        plain = (text + factor).replace("−", "-")
        mantissa, _, power = plain.replace("10^", "|").partition("|")
        mantissa = {"": "1", "-": "-1"}.get(mantissa, mantissa.rstrip("×"))
        value = float(mantissa + "e" + (power or "0"))
        level = stretch([[value]], kind=scale.kind, limits=scale.limits)[0, 0]
        assert level == pytest.approx(254 * place, abs=0.501)
        assert 0 <= place <= 1


def test_the_bar_has_the_colours_of_the_picture(read_svg):
    uri, scale = picture(colors="viridis")
    root, words = read_svg(figure.frame(uri, sky=Sky((81, 81)), scale=scale))
    images = [node.get("href") for node in root.iter(f"{SVG}image")]
    assert images[0] == uri
    assert base64.b64decode(images[1].split(",")[1])[41:44] == bytes.fromhex("440154")  # first entry of PLTE
    assert "MJy/sr" in words


def test_hostile_words_are_words(read_svg, hostile):
    image = np.eye(9)
    scale = Scale((0.0, 1.0), unit=hostile)
    svg = figure.frame(hostile, sky=Sky(image.shape), scale=scale, marks=[Mark(1, 1, hostile)], title=hostile)
    root, words = read_svg(svg)
    known = {"svg", "title", "desc", "rect", "g", "path", "text", "tspan", "circle", "image"}
    assert {node.tag.removeprefix(SVG) for node in root.iter()} <= known
    assert sum(word.startswith("</script>") or word == "…" for word in words) >= 1


def test_nothing_is_loaded_from_elsewhere():
    uri, scale = picture()
    svg = figure.frame(uri, sky=Sky((81, 81)), scale=scale)
    assert all(target.startswith("data:") for target in re.findall(r'href="([^"]*)"', svg))


@pytest.mark.parametrize(
    "options",
    [{"shape": (0, 5)}, {"shape": (5, 5), "pixel_scale": 0.0}, {"shape": (5, 5), "center": (np.nan, 1.0)}],
)
def test_a_sky_that_cannot_be_is_refused(options):
    with pytest.raises(DataError, match="rows and columns"):
        Sky(**options)
