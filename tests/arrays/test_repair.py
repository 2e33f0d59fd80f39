import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from corontools.arrays.repair import fill
from corontools.errors import DataError


def by_hand(frame, good, half):
    """Plain loop over growing boxes."""
    out = frame.copy()
    for y, x in np.argwhere(~good):
        size = half
        while True:
            box = (slice(max(0, y - size), y + size + 1), slice(max(0, x - size), x + size + 1))
            if good[box].any():
                out[y, x] = np.median(frame[box][good[box]])
                break
            size += 1
    return out


@settings(max_examples=40, deadline=None, derandomize=True)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)), st.sampled_from([3, 5]))
def test_fill_is_the_median_of_the_nearest_box_with_good_pixels(good, box):
    frame = np.random.default_rng(good.sum()).normal(size=good.shape)
    hurt = np.where(good, frame, np.nan)
    filled = fill(hurt[None], good[None], box=box)[0]
    if good.any():
        np.testing.assert_array_equal(filled, by_hand(frame, good, box // 2))
    else:
        assert np.isnan(filled).all()


def test_edges_and_corners_are_filled_from_inside():
    frame = np.full((1, 6, 6), 7.0)
    good = np.ones(frame.shape, bool)
    good[0, 0, :], good[0, :, 0], good[0, -1, -1] = False, False, False
    assert (fill(np.where(good, frame, np.nan), good) == 7).all()


def test_the_middle_of_a_cluster_is_filled():
    y, x = np.mgrid[:20, :20]
    frame = (3.0 * x + y)[None]
    good = np.ones(frame.shape, bool)
    good[0, 8:12, 8:12] = False
    filled = fill(np.where(good, frame, np.nan), good)
    assert np.abs(filled - frame)[~good].max() < 8


@pytest.mark.parametrize("kind", ["float32", ">f4", ">f8", "float64"])
def test_precision_stays_and_bytes_are_native(kind):
    frame = np.ones((1, 4, 4), kind)
    filled = fill(frame, np.ones(frame.shape, bool))
    assert filled.dtype == np.dtype(kind).newbyteorder("=")
    assert filled.dtype.isnative


@pytest.mark.parametrize("box", [0, 1, 2, 4])
def test_boxes_without_a_middle_or_neighbours_are_refused(box):
    with pytest.raises(DataError, match="odd and at least 3"):
        fill(np.ones((1, 3, 3)), np.ones((1, 3, 3), bool), box=box)
