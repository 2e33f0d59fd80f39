import base64
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from corontools.display import picture
from corontools.errors import DataError

FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=64)
IMAGES = arrays(float, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=FLOATS)


def decode(content):
    """RGBA of a palette PNG, the first row at the top; every checksum is verified."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        name, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0] == zlib.crc32(name + body)
        chunks[name] = body
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"]
    width, height, depth, kind, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, kind, rest) == (8, 3, [0, 0, 0])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    colors = np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)
    table = np.column_stack([colors, np.frombuffer(chunks[b"tRNS"], np.uint8)])
    return table[rows[:, 1:]]


def decode_uri(uri):
    head, body = uri.split(",")
    assert head == "data:image/png;base64"
    return decode(base64.b64decode(body))


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(max_examples=30)
def test_png_holds_every_pixel(indices):
    table = picture.palette("viridis")
    pixels = decode(picture.png(indices, table))
    np.testing.assert_array_equal(pixels[..., :3], table[indices])
    np.testing.assert_array_equal(pixels[..., 3] == 0, indices == 255)


def test_first_row_is_at_the_bottom():
    pixels = decode_uri(picture.image_uri([[0.0, 0.0], [1.0, 1.0]], kind="linear", limits=(0, 1), colors="gray"))
    assert pixels[0, 0, 0] == 255
    assert pixels[-1, 0, 0] == 0


def test_missing_pixels_are_transparent_and_only_those():
    image = np.array([[np.nan, np.inf], [-np.inf, 0.0]])
    pixels = decode_uri(picture.image_uri(image, kind="linear", limits=(-1, 1), colors="gray"))[::-1]
    half = pixels.shape[0] // 2
    assert [pixels[0, 0, 3], pixels[0, half, 3], pixels[half, 0, 3]] == [0, 255, 255]
    assert [pixels[0, half, 0], pixels[half, 0, 0]] == [255, 0]


@given(IMAGES, st.sampled_from(["asinh", "linear", "sqrt", "log"]))
@settings(max_examples=150)
def test_any_image_gives_levels_and_marks_missing_pixels(image, kind):
    indices = picture.stretch(image, kind=kind)
    np.testing.assert_array_equal(indices == 255, np.isnan(image))


@given(IMAGES, st.sampled_from(["inferno", "RdBu"]))
@settings(max_examples=50)
def test_default_limits_are_in_order(image, colors):
    low, high = picture.Scale.of(image, colors=colors).limits
    assert low < high
    assert np.isfinite([low, high]).all()


@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e6),
    st.sampled_from(["asinh", "linear", "sqrt", "log"]),
)
@settings(max_examples=100)
def test_values_and_positions_are_inverse(low, width, kind):
    limits = (low, low + width)
    places = picture.scale_positions(picture.scale_values(limits, kind, 7), limits, kind)
    # near the lower limit a rounding error of a value moves its place by the slope of the stretch there
    slack = 1e-9 + 1e4 * np.finfo(float).eps * max(abs(low), width) / width
    slack = np.sqrt(slack) if kind == "sqrt" else slack
    np.testing.assert_allclose(places, np.linspace(0, 1, 7), atol=slack)


def test_asinh_is_linear_within_the_softening_and_logarithmic_beyond():
    places = picture.scale_positions([0, 0.1, 0.2, 100, 1000, 10000], (-1, 10000 / 3), "asinh")
    assert places[2] - places[1] == pytest.approx(places[1] - places[0], rel=0.05)
    soft = (10000 / 3 + 1) / 300
    expected = np.arcsinh(100 / soft) / (np.arcsinh(10000 / 3 / soft) + np.arcsinh(1 / soft))
    assert places[3] - places[0] == pytest.approx(expected)
    assert places[4] - places[3] == pytest.approx(
        np.log(10) / (np.arcsinh(10000 / 3 / soft) + np.arcsinh(1 / soft)), rel=0.01
    )


@pytest.mark.parametrize("peak", [0, 10, 300])
def test_a_residual_shows_its_noise_and_a_companion_above_a_mid_dark_zero(peak):
    rng = np.random.default_rng(5)
    image = rng.normal(size=(101, 101))
    image[50:53, 70:73] += peak
    indices = picture.stretch(image)
    zero = np.rint(254 * picture.scale_positions(0.0, picture.default_limits(image)))
    assert 30 < zero < 100
    noise = indices[:40].astype(float)
    assert noise.std() > 10
    if peak:
        assert indices[51, 71] > noise.mean() + 4 * noise.std()


def test_limits_ignore_pixels_without_data_and_single_outliers():
    rng = np.random.default_rng(6)
    image = rng.normal(size=(200, 200))
    clean = picture.default_limits(image)
    image[:50] = np.nan
    image[60, 60], image[70, 70] = 1e9, -np.inf
    np.testing.assert_allclose(picture.default_limits(image), clean, atol=0.1)


def test_diverging_palette_has_zero_in_its_middle():
    image = np.array([[-1.0, 0.0, 5.0]])
    scale = picture.Scale.of(image, colors="RdBu")
    assert scale.limits[0] == -scale.limits[1]
    assert picture.stretch(image, limits=scale.limits)[0, 1] == 127
    table = picture.palette("RdBu").astype(int)
    assert table[127].min() > 240
    assert table[20, 2] > table[20, 0]  # blue below zero
    assert table[234, 0] > table[234, 2]


@pytest.mark.parametrize("colors", ["inferno", "magma", "viridis", "gray"])
def test_sequential_palettes_grow_brighter_throughout(colors):
    luma = picture.palette(colors)[:255] @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(luma) > -1)
    assert luma[-1] - luma[0] > 150


def test_a_large_image_is_shown_by_means_of_its_finite_pixels():
    image = np.arange(24.0).reshape(4, 6)
    image[0, 0], image[2:, 4:] = np.nan, np.inf
    small = picture.resize(image, 3)
    np.testing.assert_allclose(small[0], [np.mean([1, 6, 7]), np.mean([2, 3, 8, 9]), np.mean([4, 5, 10, 11])])
    assert np.isnan(small[1, 2])
    assert decode_uri(picture.image_uri(np.ones((300, 700)), sides=(0, 100))).shape == (43, 100, 4)


def test_a_small_image_is_enlarged_by_a_whole_factor():
    assert decode_uri(picture.image_uri(np.eye(50))).shape == (200, 200, 4)


def test_inputs_stay_as_they_are():
    image = np.array([[1.0, np.nan], [np.inf, 4.0]])
    before = image.copy()
    picture.image_uri(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("image", [np.zeros(3), np.zeros((2, 2, 2)), np.zeros((0, 4))])
def test_what_is_not_an_image_is_refused(image):
    with pytest.raises(DataError, match="2-D array"):
        picture.image_uri(image)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"limits": (1, 1)}, "lower first, found"),
        ({"limits": (np.nan, 1)}, "lower first, found"),
        ({"kind": "cubic"}, "choose one of asinh"),
        ({"colors": "jet"}, "choose one of inferno"),
    ],
)
def test_options_that_are_not_known_are_named(options, text):
    with pytest.raises(DataError, match=text):
        picture.image_uri(np.eye(4), **options)
