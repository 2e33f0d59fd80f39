import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from corontools.arrays.stripes import Stripes, median_stripes
from corontools.errors import DataError


def by_hand(image, good, axis, channels):
    """Median of each line and channel with numpy's masked arrays."""
    parts = np.split(np.ma.array(image, mask=~(good & np.isfinite(image))), channels, axis=axis)
    levels = [np.ma.filled(np.ma.median(part, axis=axis, keepdims=True), 0.0) for part in parts]
    return np.concatenate(
        [np.broadcast_to(level, part.shape) for level, part in zip(levels, parts, strict=True)], axis=axis
    )


@given(
    st.integers(1, 9),
    st.integers(1, 5),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([0, 1]),
    st.sampled_from([np.float32, np.float64]),
    st.data(),
)
def test_each_line_and_channel_has_its_median(n_line, width, channels, axis, dtype, data):
    shape = (n_line, width * channels) if axis else (width * channels, n_line)
    image = data.draw(hnp.arrays(dtype, shape, elements=st.floats(-9, 9, width=32) | st.just(np.nan)))
    good = data.draw(hnp.arrays(bool, shape))
    stripes = median_stripes(image, good, axis=axis, channels=channels)
    assert stripes.model.dtype == stripes.err.dtype == dtype
    np.testing.assert_array_equal(stripes.model, by_hand(image, good, axis, channels))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_large_image_in_both_directions(axis):
    rng = np.random.default_rng(1)
    image, good = rng.normal(size=(300, 520)), rng.random((300, 520)) < 0.7
    np.testing.assert_array_equal(median_stripes(image, good, axis=axis).model, by_hand(image, good, axis, 1))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_line_without_a_good_pixel_is_left_alone(axis):
    image, good = np.full((8, 8), 5.0), np.ones((8, 8), bool)
    good[(3, slice(None)) if axis else (slice(None), 3)] = False
    stripes = median_stripes(image, good, axis=axis)
    model, err = stripes.model, stripes.err
    line = (model, err) if axis else (model.T, err.T)
    assert (line[0][3] == 0).all()
    assert np.isnan(line[1][3]).all()
    assert (line[0][[0, 4]] == 5).all()


def test_a_channel_without_a_good_pixel_is_left_alone():
    image, good = np.full((8, 8), 5.0), np.ones((8, 8), bool)
    good[:, 4:] = False
    stripes = median_stripes(image, good, axis=1, channels=2)
    model, err = stripes.model, stripes.err
    assert (model[:, :4] == 5).all()
    assert (model[:, 4:] == 0).all()
    assert np.isnan(err[:, 4:]).all()


def test_the_error_is_the_scatter_of_medians():
    rng = np.random.default_rng(2)
    noise, good = rng.normal(0, 3.0, (4000, 200)), rng.random((4000, 200)) < 0.5
    stripes = median_stripes(noise, good, axis=1)
    model, err = stripes.model, stripes.err
    assert 0.97 < model[:, 0].std() / np.sqrt(np.mean(err[:, 0] ** 2)) < 1.03


def test_lines_with_few_pixels_take_the_scatter_of_the_others():
    rng = np.random.default_rng(3)
    noise, good = rng.normal(0, 3.0, (200, 200)), np.ones((200, 200), bool)
    good[7, 1:] = False
    err = median_stripes(noise, good, axis=1).err
    assert 0.9 < err[7, 0] / (3.0 * np.sqrt(np.pi / 2)) < 1.1
    assert np.isnan(median_stripes(noise[:2], good[:2] & (np.arange(200) < 3), axis=1).err).all()


def test_what_cannot_be_is_refused():
    image = np.zeros((4, 10))
    good = np.ones(image.shape, bool)
    with pytest.raises(DataError, match="4 equal channels"):
        median_stripes(image, good, axis=1, channels=4)
    with pytest.raises(DataError, match="axis should be"):
        median_stripes(image, good, axis=2)
    with pytest.raises(DataError, match="mask of its shape"):
        median_stripes(image, good[:3], axis=1)
    with pytest.raises(DataError, match="mask of its shape"):
        median_stripes(image[None], good[None], axis=1)


@pytest.mark.parametrize("axis", [0, 1])
def test_inputs_stay_as_they_are(axis):
    image, good = np.random.default_rng(4).normal(size=(16, 16)).astype(">f4"), np.ones((16, 16), bool)
    before = image.copy()
    stripes = median_stripes(image, good, axis=axis)
    np.testing.assert_array_equal(image, before)
    assert good.all()
    assert stripes.model.dtype == np.float32
    assert stripes.model.dtype.isnative


@pytest.mark.parametrize("axis", [0, 1])
def test_what_is_known_is_told_for_each_line_and_channel(axis):
    good = np.ones((6, 8), bool)
    good[2], good[4, :4] = False, False
    image, mask = np.arange(48.0).reshape(6, 8), good
    if axis == 0:
        image, mask = image.T, good.T
    stripes = median_stripes(image, mask, axis=axis, channels=2)
    expected = np.ones((6, 2), bool)
    expected[2], expected[4, 0] = False, False
    np.testing.assert_array_equal(stripes.known, expected)


def test_the_error_is_made_once_and_multiplied_like_the_model():
    calls = []

    def error():
        calls.append(1)
        return np.full((2, 3), 0.5)

    stripes = Stripes(np.ones((2, 3)), np.ones((2, 1), bool), error)
    assert not calls
    assert stripes.err is stripes.err
    assert len(calls) == 1
    factor = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(stripes.times(factor).model, factor)
    np.testing.assert_array_equal(stripes.times(factor).err, 0.5 * factor)
