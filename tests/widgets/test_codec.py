"""Cubes as chunks for the browser: what comes back, how large they are, what is averaged."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from corontools.errors import DataError
from corontools_widgets import codec

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=False, allow_subnormal=False)
SHAPES = npst.array_shapes(min_dims=3, max_dims=3, max_side=12)


def bound(values: np.ndarray, code: codec.Code) -> np.ndarray:
    """The error that `encode` promises, and the half digit of float32."""
    return 0.501 * (code.step + np.abs(values) * code.relative) + np.abs(values) * 2.0**-20


def residuals(n: int = 30, side: int = 320) -> np.ndarray:
    """Frames that differ little from each other: noise, a bright core that fades, a masked star."""
    rng = np.random.default_rng(5)
    y, x = np.indices((side, side)) - side // 2
    core = 1e3 * np.exp(-np.hypot(x, y) / 15) * rng.normal(size=(side, side))
    noise = np.cumsum(0.2 * rng.normal(size=(n, side, side)), axis=0) + rng.normal(size=(side, side))
    cube = noise + core / np.arange(1, n + 1)[:, None, None]
    cube[:, np.hypot(x, y) < 5] = np.nan
    return cube


@given(npst.arrays(np.float32, SHAPES, elements=FLOATS))
def test_finite_values_come_back_within_the_promised_error_and_nan_stays_nan(cube):
    encoded = codec.encode(cube)
    back = codec.decode(encoded)
    finite = np.isfinite(cube)
    values = cube[finite].astype(float)
    assert np.array_equal(np.isnan(back), np.isnan(cube))
    assert np.all(np.abs(back[finite] - values) <= bound(values, encoded.code))


def test_infinity_becomes_the_largest_value_that_has_a_code():
    cube = np.random.default_rng(1).normal(size=(2, 16, 16))
    cube[0, 0, :2] = np.inf, -np.inf
    back = codec.decode(codec.encode(cube))
    assert back[0, 0, 0] == np.nanmax(back) > 1e6
    assert back[0, 0, 1] == np.nanmin(back) < -1e6


def test_thirty_frames_of_noise_fit_the_budget_with_steps_of_a_quarter_sigma():
    cube = np.random.default_rng(2).normal(size=(30, 320, 320))
    encoded = codec.encode(cube)
    assert encoded.size <= codec.BUDGET
    assert encoded.code.step == pytest.approx(1 / 4, rel=0.05)


def test_frames_of_a_series_fit_the_budget_with_finer_steps():
    cube = residuals()
    encoded = codec.encode(cube)
    assert encoded.size <= codec.BUDGET
    assert encoded.code.step <= np.std(cube[0, :40, :40]) / 6
    assert encoded.code.keyframes == (0, 8, 16, 24)


def test_a_small_budget_is_kept_as_long_as_pixels_can_be_told_apart():
    cube = np.random.default_rng(2).normal(size=(30, 32, 32))
    fine, coarse = codec.encode(cube), codec.encode(cube, budget=8_000)
    assert fine.size > 8_000 >= coarse.size
    assert coarse.code.step > fine.code.step


def test_the_step_follows_the_faintest_frame():
    cube = np.random.default_rng(3).normal(size=(2, 64, 64)) * np.array([100.0, 1.0])[:, None, None]
    assert codec.encode(cube).code.step == pytest.approx(1 / 16, rel=0.1)


def test_a_frame_padded_with_zeros_keeps_its_noise():
    cube = np.zeros((1, 64, 64))
    cube[0, 20:44, 20:44] = np.random.default_rng(3).normal(size=(24, 24))
    assert codec.encode(cube).code.step == pytest.approx(1 / 16, rel=0.2)


def test_frames_that_have_nothing_in_common_are_sent_as_they_are():
    cube = np.random.default_rng(4).normal(size=(5, 64, 64))
    assert codec.encode(cube).code.keyframes == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("value", [0.0, 7.5, np.nan, -3e30])
def test_constant_frames_come_back(value):
    cube = np.full((3, 8, 8), value)
    np.testing.assert_allclose(codec.decode(codec.encode(cube)), cube, rtol=3e-4)


def test_one_frame_of_a_drag_is_coded_like_the_cube():
    cube = residuals(4, 64)
    encoded = codec.encode(cube)
    chunk = codec.encode_frame(cube[2], encoded.code)
    alone = codec.decode(codec.Encoded(encoded.code, (chunk,) * 4))
    np.testing.assert_array_equal(alone[0], codec.decode(encoded)[2])


def test_a_chunk_is_a_zlib_stream_of_low_and_high_bytes():
    cube = np.array([[[0.0, 1.0], [-1.0, np.nan]]])
    encoded = codec.encode(cube)
    planes = np.frombuffer(zlib.decompress(encoded.chunks[0]), np.uint8).astype(int)
    folded = planes[:4] + 256 * planes[4:]
    codes = np.where(folded % 2, -(folded + 1) // 2, folded // 2)
    assert codes[0] == 0
    assert codes[1] == -codes[2] > 0
    assert codes[3] == codec.NO_DATA


def test_large_frames_are_sent_as_means_and_the_note_says_so():
    cube = np.random.default_rng(6).normal(size=(1, 2048, 150)).astype(np.float32)
    encoded = codec.encode(cube)
    assert encoded.code.block == 2
    assert encoded.code.shape == (1, 1024, 75)
    assert encoded.code.note == "150 x 2048 pixels, shown as means of 2 x 2"
    means = cube.reshape(1, 1024, 2, 75, 2).mean(axis=(2, 4))
    assert np.abs(codec.decode(encoded) - means).max() < encoded.code.step
    assert codec.encode_frame(cube[0], encoded.code) == encoded.chunks[0]


def test_many_frames_are_averaged_too(monkeypatch):
    monkeypatch.setattr(codec, "MOST_PIXELS", 20_000)
    frames, code = codec.plan(np.ones((20, 40, 40)))
    assert code.block == 2
    assert frames.shape == code.shape == (20, 20, 20)


@pytest.mark.parametrize("cube", [np.zeros((4, 4)), np.zeros((0, 4, 4)), np.zeros((2, 0, 4))])
def test_what_is_no_cube_is_refused(cube):
    with pytest.raises(DataError, match="a cube"):
        codec.encode(cube)


def test_a_frame_of_another_shape_is_refused():
    code = codec.encode(np.zeros((2, 8, 8))).code
    with pytest.raises(DataError, match=r"\(8, 9\)"):
        codec.encode_frame(np.zeros((8, 9)), code)


def test_the_cube_is_not_changed():
    cube = residuals(3, 32).astype(np.float32)
    kept = cube.copy()
    codec.encode(cube)
    np.testing.assert_array_equal(cube, kept)
