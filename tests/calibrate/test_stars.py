"""The catalogue of good stars, and those of the PSF found in it again."""

import numpy as np
import pytest
from astropy.table import Table

from corontools import DataError
from corontools.calibrate.stars import BAD, ScienceSelector, match_psf_stars


def table(n=5):
    made = Table({name: np.zeros(n, bool) for name in (*BAD, "sky_source")})
    made["flux"], made["fluxErr"] = np.full(n, 100.0), np.ones(n)
    made["base_ClassificationSizeExtendedness_value"], made["detect_isPrimary"] = np.zeros(n), np.ones(n, bool)
    return made


def test_each_cut_takes_its_rows():
    stars = table(7)
    stars[BAD[0]][0] = True
    stars["flux"][1] = 10.0
    stars["base_ClassificationSizeExtendedness_value"][2] = 0.5
    stars["flux"][3] = np.nan
    stars["detect_isPrimary"][4] = False
    stars["sky_source"][5], stars["flux"][5] = True, 0.0
    assert ScienceSelector(flux="flux").select(stars).tolist() == [False] * 5 + [True, True]
    assert ScienceSelector(flux="flux", max_extendedness=0.6).select(stars)[2]


def test_missing_columns_are_named():
    stars = table()
    stars.remove_columns(["fluxErr", BAD[1]])
    with pytest.raises(DataError, match=f"lacks fluxErr, {BAD[1]}"):
        ScienceSelector(flux="flux").select(stars)


def catalog(places, **columns):
    x, y = np.array(places, float).T
    made = Table({"id": np.arange(1, len(x) + 1), "slot_Centroid_x": x, "slot_Centroid_y": y})
    made["deblend_nChild"] = 0
    for name, values in columns.items():
        made[name] = values
    return made


def test_the_closest_star_within_the_radius_is_the_same_one():
    psf_stars = catalog(
        [(10, 10), (50, 50), (90, 10)], calib_psf_used=[True, False, True], psf_max_value=[7.0, 8.0, 9.0]
    )
    stars = catalog([(52, 50), (11, 10), (10.5, 10), (200, 200)], calib_psf_used=[True] * 4)
    found = match_psf_stars(psf_stars, stars, radius=3.0)
    assert found["psf_id"].tolist() == [2, 0, 1, 0]
    assert found["calib_psf_used"].tolist() == [False, False, True, False]  # set anew everywhere
    np.testing.assert_array_equal(found["psf_max_value"], [8.0, np.nan, 7.0, np.nan])
    assert "psf_id" not in stars.colnames


def test_a_blend_whose_children_are_there_is_none():
    psf_stars = catalog([(10, 10)])
    stars = catalog([(10, 10), (10.8, 10)], deblend_nChild=[2, 0])
    assert match_psf_stars(psf_stars, stars, radius=3.0)["psf_id"].tolist() == [0, 1]


def test_two_psf_stars_at_one_source_leave_it_to_the_closer():
    psf_stars = catalog([(10, 10), (11.5, 10)])
    stars = catalog([(10.2, 10)])
    assert match_psf_stars(psf_stars, stars, radius=3.0)["psf_id"].tolist() == [1]


def test_none_found_is_an_error_with_both_numbers():
    with pytest.raises(DataError, match=r"none of 1 PSF stars is within 3 px of one of 2 stars"):
        match_psf_stars(catalog([(10, 10)]), catalog([(100, 10), (np.nan, 3)]), radius=3.0)
