"""Stars chosen by size and brightness, and what is told of those that aren't."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table

from corontools.calibrate.columns import column, flag
from corontools.calibrate.select import BAD_FLAGS, StarSelector, TooFewStarsError
from corontools.errors import DataError


def sources(width, *, snr=100.0, seed=1):
    """Table of unflagged sources of these widths anywhere on 1000 x 1000 px."""
    rng, n = np.random.default_rng(seed), len(width)
    table = Table({name: np.zeros(n, bool) for name in BAD_FLAGS})
    table["slot_Centroid_x"], table["slot_Centroid_y"] = rng.uniform(0, 999, (2, n))
    table["base_PsfFlux_instFlux"] = np.full(n, 1e4) * u.ct
    table["base_PsfFlux_instFluxErr"] = 1e4 / np.broadcast_to(snr, n) * u.ct
    table["slot_Shape_xx"], table["slot_Shape_yy"] = 1.1 * width**2, 0.9 * width**2
    return table


@pytest.fixture
def mixed():
    """150 stars of width 1.7 px, 60 larger galaxies."""
    rng = np.random.default_rng(2)
    return np.r_[rng.normal(1.7, 0.01, 150), rng.uniform(1.9, 4.0, 60)]


@pytest.mark.parametrize("order", [0, 2])
def test_stars_are_told_from_galaxies(mixed, order):
    found = StarSelector(order=order).select(sources(mixed))
    assert not found.selected[150:].any()
    assert found.selected[:150].mean() > 0.9
    np.testing.assert_allclose(found.width, mixed)
    np.testing.assert_allclose(found.expected, 1.7, atol=0.02)
    assert 0.01 < found.tolerance < 0.04


def test_without_a_polynomial_the_limits_are_those_of_the_first_cluster(mixed):
    stars = mixed[:150]
    found = StarSelector(order=0).select(sources(np.r_[stars, np.linspace(2.6, 4.0, 60)]))
    quarter, three = np.percentile(stars, (25, 75))
    assert found.tolerance == pytest.approx(2 * min(np.std(stars), 0.741 * (three - quarter)))
    np.testing.assert_array_equal(found.selected[:150], np.abs(stars - np.median(stars)) <= found.tolerance)


def test_the_widest_corner_keeps_its_stars():
    table = sources(np.full(400, 1.6), seed=3)
    x, y = np.asarray(table["slot_Centroid_x"]), np.asarray(table["slot_Centroid_y"])
    width = 1.55 * (1 + 0.2 * (x / 1000) ** 2 + 0.1 * (y / 1000) ** 2)
    width += np.random.default_rng(4).normal(0, 0.01, 400)
    table["slot_Shape_xx"] = table["slot_Shape_yy"] = width**2
    corner = (x > 800) & (y > 800)
    assert StarSelector().select(table).selected[corner].mean() > 0.8
    assert StarSelector(order=0).select(table).selected[corner].mean() < 0.2


def test_each_cut_tells_how_many_it_removed(mixed):
    table = sources(mixed, snr=np.r_[np.full(200, 100.0), np.full(10, 49.0)])
    table["base_PixelFlags_flag_saturatedCenter"][:5] = True
    table["base_PixelFlags_flag_edge"][3:7] = True
    table["slot_Shape_xx"][10] = np.nan
    table["slot_Shape_xx"][11] = table["slot_Shape_yy"][11] = 0.5
    found = StarSelector().select(table)
    assert found.cuts["base_PixelFlags_flag_edge"] == 4
    assert found.cuts["base_PixelFlags_flag_saturatedCenter"] == 3
    assert found.cuts["S/N of base_PsfFlux < 50"] == 10
    assert found.cuts["width not 0.9 to 10 px"] == 2
    assert found.selected.sum() == len(table) - sum(found.cuts.values())
    assert "4 base_PixelFlags_flag_edge" in str(found)


def test_too_few_stars_name_the_cut(mixed):
    table = sources(mixed)
    table["base_PixelFlags_flag_saturatedCenter"] = True
    with pytest.raises(
        TooFewStarsError, match=r"0 of 210 .* removed: 210 base_PixelFlags_flag_saturatedCenter;"
    ) as told:
        StarSelector().select(table)
    assert told.value.cuts["base_PixelFlags_flag_saturatedCenter"] == 210


def test_no_sources_at_all_are_too_few():
    with pytest.raises(TooFewStarsError, match="0 of 0 sources"):
        StarSelector().select(sources(np.empty(0)))


def test_one_star_is_enough_if_asked_for():
    found = StarSelector(min_stars=1).select(sources(np.array([1.7])))
    assert found.selected.tolist() == [True]


def test_columns_that_are_missing_are_named(mixed):
    table = sources(mixed)
    table.remove_columns(["slot_Shape_xx", "base_PixelFlags_flag_bad"])
    with pytest.raises(DataError, match="lacks slot_Shape_xx, base_PixelFlags_flag_bad"):
        StarSelector().select(table)


def test_flagging_leaves_the_table_as_it_was(mixed):
    table = sources(mixed)
    found = StarSelector().select(table)
    flagged = found.flagged(table)
    np.testing.assert_array_equal(flagged["calib_psf_candidate"], found.selected)
    assert "calib_psf_candidate" not in table.colnames


def test_masked_values_are_no_values():
    table = Table(
        {"a": MaskedColumn([1.0, 2.0], mask=[False, True]), "b": MaskedColumn([False, False], mask=[False, True])}
    )
    np.testing.assert_array_equal(column(table, "a"), [1, np.nan])
    assert flag(table, "b").tolist() == [False, True]
