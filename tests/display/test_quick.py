import numpy as np

from corontools.display.figure import Series
from corontools.display.quick import curve_picture, image_picture, shift_picture


def test_image_pictures_say_what_they_show():
    picture = image_picture(np.arange(12.0).reshape(3, 4), "residual")
    assert picture.uri.startswith("data:image/png;base64,")
    assert picture.alt == "residual, 3 x 4 px image"


def test_bad_pixels_are_empty_like_missing_ones():
    image = np.arange(16.0).reshape(4, 4)
    bad = image == 5
    assert (
        image_picture(image, "", bad=bad, limits=(0, 15)).uri
        == image_picture(np.where(bad, np.nan, image), "", limits=(0, 15)).uri
    )


def test_limits_and_stretch_change_the_picture():
    image = np.random.default_rng(0).random((8, 8))
    assert image_picture(image, "").uri != image_picture(image, "", kind="linear", limits=(0, 5)).uri


def test_curves_and_shifts_are_drawn_with_their_groups():
    curve = curve_picture([Series([1, 2], [1e-4, 1e-5], label="a")], "title", x_label="x", y_label="y")
    shifts = np.random.default_rng(0).normal(size=(2, 3, 2))
    points = shift_picture(shifts, np.full(shifts.shape, 0.01), ["star", "star", ""])
    for picture in (curve, points):
        assert picture.uri.startswith("data:image/svg+xml;base64,")
