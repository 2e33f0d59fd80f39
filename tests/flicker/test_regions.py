"""Boxes, polygons, traces and masks."""

from __future__ import annotations

import numpy as np
import pytest

from corontools import DataError, Exposure
from corontools.flicker.regions import footprint, mask_image, trace_footprint

SHAPE = (20, 30)


def test_a_box_holds_its_corner_pixels():
    inside = footprint((3, 5, 6, 7), SHAPE)
    assert np.argwhere(inside).min(axis=0).tolist() == [5, 3]
    assert np.argwhere(inside).max(axis=0).tolist() == [7, 6]
    assert inside.sum() == 12


def test_a_polygon_holds_the_pixels_whose_centres_it_holds():
    corners = [(2.2, 1.1), (25.3, 4.4), (20.1, 17.2), (5.5, 12.7), (11.3, 8.8)]
    inside = footprint(corners, SHAPE)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    assert (inside == winding(corners, x, y)).all()
    assert 100 < inside.sum() < 300


def winding(corners, x, y):
    """By the sum of the angles under which the sides are seen."""
    total = np.zeros(x.shape)
    for (xa, ya), (xb, yb) in zip(corners, corners[1:] + corners[:1], strict=True):
        a, b = (xa - x) + 1j * (ya - y), (xb - x) + 1j * (yb - y)
        total += np.angle(b / a)
    return np.abs(total) > np.pi


def test_regions_add_up_and_masks_are_taken_as_they_are(tmp_path):
    mask = np.zeros(SHAPE)
    mask[0] = 1
    both = footprint([(3, 5, 6, 7), [(10, 10), (15, 10), (12, 15)], mask], SHAPE)
    assert both[0].all()
    assert both[6, 4]
    assert both[11, 12]
    path = Exposure(mask).save(tmp_path / "mask.fits")
    for given in (mask, mask.astype(bool), mask.astype(int), Exposure(mask), path, str(path)):
        np.testing.assert_array_equal(footprint(given, SHAPE), mask > 0)


@pytest.mark.parametrize("region", [3, "nothere.fits", (1, 2, 3), [(1, 2), (3, 4)], np.ones((5, 5)), {}])
def test_what_is_no_region_is_refused(region):
    with pytest.raises(DataError, match=r"a region is|does not exist"):
        footprint(region, SHAPE)


def test_a_mask_of_other_values_is_refused():
    with pytest.raises(DataError, match="holds 0 and 1"):
        mask_image(np.full(SHAPE, 2), SHAPE)


def test_a_trace_is_a_band_about_its_middle():
    x, y = np.array([29.0, 0.0]), np.array([12.0, 8.0])  # in any order
    band = trace_footprint((x, y), SHAPE, half_width=2)
    middle = np.interp(np.arange(30), [0, 29], [8, 12])
    rows = np.arange(20)[:, None]
    np.testing.assert_array_equal(band, (rows >= np.floor(middle - 2)) & (rows <= np.ceil(middle + 2)))
    two = trace_footprint([(x, y), (x, y - 6)], SHAPE, half_width=1)
    assert two[2, 0]
    assert two[8, 0]
    np.testing.assert_array_equal(trace_footprint(band, SHAPE), band)
    with pytest.raises(DataError, match="a trace is a pair"):
        trace_footprint([(1, 2, 3)], SHAPE)
