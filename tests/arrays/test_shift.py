import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from corontools.arrays.shift import (
    padded_shape,
    shift_flags,
    shift_image,
    shift_variance,
    shifted,
    spectrum,
)
from corontools.errors import DataError

OFFSETS = st.floats(-12, 12, allow_nan=False).map(lambda value: round(value, 3))


def star(shape, x0, y0, sigma=1.6):
    y, x = np.indices(shape)
    return np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / sigma**2)


def periodic_sinc(n, length, offset):
    """Matrix of the trigonometric interpolation of `length` periodic samples at positions moved by `offset`."""
    distance = np.arange(n)[:, None] - np.arange(n)[None, :] - offset
    angle = np.pi * (distance + 1e-300) / length
    denominator = length * (np.tan(angle) if length % 2 == 0 else np.sin(angle))
    return np.sin(np.pi * distance) / denominator


@pytest.mark.parametrize("shape", [(64, 60), (65, 81), (59, 64), (320, 322)])
def test_shift_is_the_trigonometric_interpolation_of_the_padded_image(shape):
    dx, dy = 2.37, -1.81
    ly, lx = padded_shape(shape)
    image = np.random.default_rng(3).normal(size=shape)
    margin = max(ly - shape[0], lx - shape[1]) + 1  # its mirror images, all zero, are the continuation
    image[:margin], image[-margin:], image[:, :margin], image[:, -margin:] = 0, 0, 0, 0
    expected = periodic_sinc(shape[0], ly, dy) @ image @ periodic_sinc(shape[1], lx, dx).T
    moved = shift_image(image, (dx, dy))
    inside = np.isfinite(moved)
    np.testing.assert_allclose(moved[inside], expected[inside], atol=1e-12)
    assert inside.sum() == (shape[0] - 2) * (shape[1] - 2)


@pytest.mark.parametrize("shape", [(64, 64), (51, 64), (40, 81)])
def test_content_moves_to_positive_x_and_y(shape):
    moved = shift_image(star(shape, 25.0, 20.0), (3.3, 1.6))
    np.testing.assert_allclose(moved[3:, 5:], star(shape, 28.3, 21.6)[3:, 5:], atol=2e-4)


@given(arrays(np.float64, st.tuples(st.integers(1, 17), st.integers(1, 17)), elements=st.floats(-1e6, 1e6)))
@settings(max_examples=50, deadline=None)
def test_zero_shift_is_an_exact_copy(image):
    moved = shift_image(image, (0.0, -0.0))
    assert moved.tobytes() == image.tobytes()
    assert not np.shares_memory(moved, image)


def test_whole_pixel_shift_is_an_exact_move():
    image = np.random.default_rng(0).normal(size=(20, 31))
    moved = shift_image(image, (4, -7))
    assert np.array_equal(moved[:-7, 4:], image[7:, :-4])
    assert np.isnan(moved[-7:]).all()
    assert np.isnan(moved[:, :4]).all()
    np.testing.assert_allclose(shifted(spectrum(image), (4, -7), image.shape), moved, atol=1e-12)


def test_source_outside_the_frame_is_nan_and_nothing_else():
    image = np.random.default_rng(1).normal(size=(30, 40))
    assert np.isfinite(shift_image(image, (0.5, -0.49))).all()
    missing = np.isnan(shift_image(image, (10.6, -3.2)))
    assert missing[:, :11].all()
    assert missing[-3:].all()
    assert missing.sum() == 30 * 11 + 3 * 29
    assert np.isnan(shift_image(image, (40.6, 0.0))).all()
    assert np.isnan(shift_image(image, (-1e9, 0.25))).all()


def test_bright_source_at_the_right_edge_does_not_ring_on_the_left_edge():
    image = 1e4 * star((64, 64), 62.0, 30.0)
    ours = shift_image(image, (0.4, 0.3))
    frequency = np.fft.fftfreq(64)
    phase = np.exp(-2j * np.pi * (0.4 * frequency[None, :] + 0.3 * frequency[:, None]))
    periodic = np.fft.ifft2(np.fft.fft2(image) * phase).real
    assert np.abs(periodic[:, :16]).max() > 1000
    assert np.abs(ours[:, :16]).max() < 30


def test_gradient_across_the_frame_does_not_ring():
    y, x = np.indices((40, 50), dtype=float)
    plane = 100 * x - 70 * y
    moved = shift_image(plane, (0.3, 0.3))
    np.testing.assert_allclose(moved[8:-8, 8:-8], (plane - 9.0)[8:-8, 8:-8], atol=4.0)


def test_stack_has_one_shift_for_all_or_one_for_each():
    rng = np.random.default_rng(2)
    stack = rng.normal(size=(3, 22, 25))
    shifts = np.array([[0.3, -0.2], [2.0, 1.0], [0.0, 0.0]])
    each = shift_image(stack, shifts)
    for image, shift, result in zip(stack, shifts, each, strict=True):
        np.testing.assert_array_equal(result, shift_image(image, shift))
    np.testing.assert_array_equal(shift_image(stack, shifts[0])[1], shift_image(stack[1], shifts[0]))
    np.testing.assert_array_equal(shift_image(stack[0], shifts)[1], shift_image(stack[0], shifts[1]))
    np.testing.assert_allclose(shifted(spectrum(stack), shifts, (22, 25)), each, atol=1e-12)
    many = shifted(spectrum(stack[0]), shifts, (22, 25))
    np.testing.assert_allclose(many, shift_image(stack[0], shifts), atol=1e-12)


def test_float32_is_shifted_in_float64_and_the_input_is_kept():
    image = np.random.default_rng(4).normal(size=(16, 16)).astype(np.float32)
    before = image.copy()
    moved = shift_image(image, (0.3, 0.4))
    assert moved.dtype == np.float64
    np.testing.assert_array_equal(moved, shift_image(image.astype(np.float64), (0.3, 0.4)))
    np.testing.assert_array_equal(image, before)


def test_what_cannot_be_shifted_is_refused():
    image = np.ones((8, 9))
    with pytest.raises(DataError, match="3 of 72 pixels NaN or infinite"):
        shift_image(np.where(np.arange(72).reshape(8, 9) < 3, np.nan, image), (0.1, 0.2))
    with pytest.raises(DataError, match=r"found shape \(8,\)"):
        shift_image(np.ones(8), (0.1, 0.2))
    with pytest.raises(DataError, match="finite numbers"):
        shift_image(image, (0.1, np.nan))
    with pytest.raises(DataError, match="2 images but 3 shifts"):
        shift_image(np.ones((2, 8, 9)), np.zeros((3, 2)))
    with pytest.raises(DataError, match="pad=3"):
        shifted(spectrum(image), (0.1, 0.2), image.shape, 3)


@given(
    arrays(np.float64, (7, 9), elements=st.floats(0, 1e12) | st.just(np.nan)),
    st.tuples(OFFSETS, OFFSETS),
)
@settings(max_examples=100, deadline=None)
def test_variance_stays_within_the_range_of_its_sources(variance, shift):
    moved = shift_variance(variance, shift)
    known = moved[np.isfinite(moved)]
    assert (known >= 0).all()
    if known.size:
        assert known.max() <= np.nanmax(variance) * (1 + 1e-12)
        assert known.min() >= np.nanmin(variance) * (1 - 1e-12)


def test_variance_of_a_flat_or_sloping_map_is_kept():
    y, x = np.indices((12, 15), dtype=float)
    np.testing.assert_allclose(shift_variance(np.full((12, 15), 3.0), (0.4, -0.3)), 3.0, rtol=1e-14)
    slope = 50 + 2 * x + y
    moved = shift_variance(slope, (1.25, -2.5))
    expected = slope - 2 * 1.25 + 2.5
    np.testing.assert_allclose(moved[:-3, 2:], expected[:-3, 2:], rtol=1e-13)


def test_unknown_variance_spreads_to_appreciable_weights_only():
    variance = np.ones((9, 9))
    variance[4, 4] = np.nan
    assert np.argwhere(np.isnan(shift_variance(variance, (0, 0)))).tolist() == [[4, 4]]
    assert np.argwhere(np.isnan(shift_variance(variance, (0.05, -0.05)))).tolist() == [[4, 4]]
    spread = np.argwhere(np.isnan(shift_variance(variance, (0.3, 0.3)))).tolist()
    assert spread == [[4, 4], [4, 5], [5, 4]]  # the fourth has a weight of 0.09
    assert np.isnan(shift_variance(np.full((9, 9), np.nan), (0.3, 0.0))).all()


def test_variance_outside_the_frame_is_nan_where_the_image_is():
    stack = np.random.default_rng(5).random((2, 11, 13))
    for shift in [(2.7, -1.2), (-0.5, 0.5), (-20.0, 0.0), (0.2, 3.5)]:
        shifted_variance = shift_variance(stack, shift)
        np.testing.assert_array_equal(np.isnan(shifted_variance), np.isnan(shift_image(stack, shift)))


def test_flags_travel_with_their_pixel():
    dq = np.zeros((8, 10), dtype=np.uint32)
    dq[3, 4] = 2**31 + 4
    dq[3, 5] = 1
    moved = shift_flags(dq, (2.0, 1.0), outside=512)
    assert moved.dtype == np.uint32
    assert moved[4, 6] == 2**31 + 4
    assert moved[4, 7] == 1
    assert (moved[0] == 512).all()
    assert (moved[:, :2] == 512).all()
    assert np.count_nonzero(moved[1:, 2:]) == 2


def test_flags_are_united_over_the_source_pixels_that_count():
    dq = np.zeros((6, 6), dtype=np.uint32)
    dq[2, 2], dq[2, 3] = 4, 16
    moved = shift_flags(dq, (0.4, 0.0), outside=1)
    assert moved[2].tolist() == [0, 0, 4, 20, 16, 0]
    assert shift_flags(dq, (0.08, 0.08)).tolist() == dq.tolist()


@given(arrays(np.uint32, (5, 6)), st.tuples(OFFSETS, OFFSETS))
@settings(max_examples=50, deadline=None)
def test_flags_are_blank_outside_exactly_where_the_image_is(dq, shift):
    assert np.array_equal(shift_flags(dq, (0, 0)), dq)
    outside = np.isnan(shift_image(np.ones((5, 6)), shift))
    moved = shift_flags(np.zeros((5, 6), dtype=np.uint32), shift, outside=7)
    assert np.array_equal(moved == 7, outside)
