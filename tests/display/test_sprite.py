"""Thumbnails side by side in one PNG."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from corontools.display.picture import NAN_INDEX, stretch
from corontools.display.sprite import sprite
from corontools.errors import DataError


def levels(png: bytes) -> np.ndarray:
    """Palette indices of a PNG with filter 0 in every row."""
    width, height = struct.unpack(">II", png[16:24])
    start = png.index(b"IDAT")
    length = struct.unpack(">I", png[start - 4 : start])[0]
    rows = np.frombuffer(zlib.decompress(png[start + 4 : start + 4 + length]), np.uint8)
    return rows.reshape(height, width + 1)[:, 1:]


def test_frames_stand_side_by_side_upright():
    frames = np.random.default_rng(1).normal(size=(3, 16, 16))
    found = levels(sprite(frames, side=16))
    assert found.shape == (16, 48)
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(found[:, 16 * i : 16 * (i + 1)], stretch(frame)[::-1])


def test_an_image_that_is_not_square_stands_in_the_middle():
    found = levels(sprite([np.arange(40.0).reshape(4, 10)], side=10))
    assert (found[:3] == NAN_INDEX).all()
    assert (found[7:] == NAN_INDEX).all()
    assert (found[3:7] != NAN_INDEX).all()


def test_large_images_and_missing_data_are_shown():
    assert levels(sprite([np.full((300, 200), np.nan)], side=64)).shape == (64, 64)


def test_no_image_is_an_error():
    with pytest.raises(DataError, match="no image"):
        sprite([])
