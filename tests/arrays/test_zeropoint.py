"""Zero point by the mode, clipping and a weighted mean."""

import numpy as np
import pytest

from corontools.arrays.zeropoint import fit_zero_point, histogram_mode


def test_the_zero_point_is_the_weighted_mean_of_what_is_kept():
    rng = np.random.default_rng(1)
    err = rng.uniform(0.01, 0.05, 300)
    difference = 27.3 + err * rng.normal(size=300)
    found = fit_zero_point(difference, err, sigma_max=10.0, clip=50.0)
    assert found.kept.all()
    assert found.value == pytest.approx(np.sum(difference / err**2) / np.sum(err**-2.0))
    assert found.err == pytest.approx(np.sum(err**-2.0) ** -0.5)
    assert abs(found.value - 27.3) < 4 * found.err


def test_outliers_on_one_side_do_not_pull_it():
    rng = np.random.default_rng(2)
    difference = np.r_[rng.normal(25, 0.02, 200), rng.uniform(25.3, 29, 120)]
    found = fit_zero_point(difference, np.full(320, 0.02))
    assert found.value == pytest.approx(25, abs=0.005)
    assert not found.kept[200:].any()
    assert found.kept[:200].sum() > 190


def test_rounds_tell_centre_width_and_how_many_are_kept():
    rng = np.random.default_rng(3)
    difference = np.r_[rng.normal(25, 0.03, 500), rng.uniform(22, 28, 50)]
    found = fit_zero_point(difference, np.full(550, 0.02))
    first, last = found.rounds[0], found.rounds[-1]
    assert (first.center, first.sigma) == histogram_mode(difference)
    kept = difference[np.abs(difference - last.center) <= last.limit]
    assert last.n_kept == len(kept) == found.kept.sum()
    assert last.limit == pytest.approx(3 * last.sigma)
    assert last.sigma == pytest.approx(0.03, rel=0.15)


def test_the_clip_is_never_wider_than_that_of_the_largest_deviation():
    difference = np.random.default_rng(4).normal(20, 2.0, 400)
    found = fit_zero_point(difference, np.full(400, 0.1), sigma_max=0.25)
    assert found.rounds[0].limit == pytest.approx(0.75)
    assert np.ptp(difference[found.kept]) <= 1.5


def test_few_differences_are_taken_by_their_median():
    found = fit_zero_point(np.array([25.1, 25.12, 25.08, 25.11, 27.0]), np.full(5, 0.05))
    assert found.rounds[0].center == pytest.approx(25.11)
    assert found.kept.tolist() == [True, True, True, True, False]


def test_a_star_that_goes_and_comes_back_ends_the_rounds():
    rng = np.random.default_rng(5)
    for _ in range(20):
        difference = rng.normal(0, 1, 60) * 0.02
        assert len(fit_zero_point(difference, np.full(60, 0.02)).rounds) < 12


def test_differences_that_are_all_one_are_all_kept():
    found = fit_zero_point(np.full(30, 26.0), np.full(30, 0.01))
    assert found.value == 26.0
    assert found.kept.all()


def test_what_is_not_known_is_left_out():
    found = fit_zero_point(np.array([np.nan, 26.0, 26.0, 26.0]), np.array([0.1, 0.1, np.nan, 0.0]))
    assert found.kept.tolist() == [False, True, False, False]
    none = fit_zero_point(np.array([np.nan]), np.array([1.0]))
    assert np.isnan(none.value)
    assert not none.kept.any()


def test_the_width_of_a_histogram_is_that_of_a_gaussian():
    center, sigma = histogram_mode(np.random.default_rng(6).normal(3, 0.5, 200_000), bins=40)
    assert center == pytest.approx(3, abs=0.15)
    assert sigma == pytest.approx(0.5, rel=0.06)


def test_highest_bins_apart_give_the_median():
    values = np.r_[np.zeros(5), np.ones(5), 0.4]
    assert histogram_mode(values, bins=10)[0] == np.median(values)
    side_by_side = np.r_[np.full(5, 0.45), np.full(5, 0.55), 0.0, 1.0]
    assert histogram_mode(side_by_side, bins=10)[0] == pytest.approx(0.5)
