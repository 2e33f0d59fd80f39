"""Linear maps between matched points."""

import numpy as np
import pytest

from corontools.arrays.affine import Affine, fit_affine, fit_clipped, fit_rigid, reach
from corontools.errors import DataError


@pytest.fixture
def points():
    return np.random.default_rng(2).uniform(-1000, 3000, (60, 2))


TRUTH = Affine(np.array([[1.01, -0.02], [0.013, 0.99]]), np.array([120.0, -77.0]))


def test_a_linear_map_is_recovered(points):
    found = fit_affine(points, TRUTH(points))
    np.testing.assert_allclose(found.matrix, TRUTH.matrix, atol=1e-12)
    np.testing.assert_allclose(found.shift, TRUTH.shift, atol=1e-9)


def test_the_fit_is_that_of_least_squares(points):
    targets = TRUTH(points) + np.random.default_rng(3).normal(0, 1, points.shape)
    weight = np.random.default_rng(4).uniform(0.1, 2, len(points))
    found = fit_affine(points, targets, weight=weight)
    design = np.c_[points, np.ones(len(points))] * np.sqrt(weight)[:, None]
    expected = np.linalg.solve(design.T @ design, design.T @ (targets * np.sqrt(weight)[:, None]))
    np.testing.assert_allclose(np.c_[found.matrix, found.shift], expected.T, rtol=1e-8)


def test_a_far_origin_costs_no_digits(points):
    far = points + 1e8
    found = fit_affine(far, points * 2)
    np.testing.assert_allclose(found(far), points * 2, atol=1e-6)


def test_points_of_no_weight_do_not_count(points):
    targets = TRUTH(points)
    targets[:5] += 50
    weight = np.where(np.arange(len(points)) < 5, 0.0, 1.0)
    np.testing.assert_allclose(fit_affine(points, targets, weight=weight).shift, TRUTH.shift, atol=1e-9)


def test_two_points_do_not_make_a_linear_map():
    with pytest.raises(DataError, match="needs 3 points, found 2"):
        fit_affine(np.eye(2), np.eye(2))


def test_points_on_a_line_do_not_make_a_linear_map():
    line = np.outer(np.arange(9.0), [1, 2]) + 5
    with pytest.raises(DataError, match="on a line, the 9 given do"):
        fit_affine(line, line)


def test_a_rotation_and_shift_are_recovered_and_scale_is_not_fitted(points):
    truth = Affine.of_rotation(-3.5, shift=(10, 20))
    found = fit_rigid(points, truth(points))
    assert found.rotation == pytest.approx(-3.5)
    np.testing.assert_allclose(found.shift, truth.shift, atol=1e-8)
    assert fit_rigid(points, 1.1 * points).scale == pytest.approx(1.0)


def test_one_point_does_not_make_a_rotation():
    with pytest.raises(DataError, match="needs 2 points, found 1"):
        fit_rigid(np.ones((1, 2)), np.ones((1, 2)))


def test_maps_are_combined_and_undone(points):
    turn = Affine.of_rotation(30.0, shift=(1, 2))
    np.testing.assert_allclose(turn.after(TRUTH)(points), turn(TRUTH(points)))
    np.testing.assert_allclose(TRUTH.inverse()(TRUTH(points)), points, atol=1e-9)


def test_outliers_are_left_out_and_the_rest_is_fitted(points):
    targets = TRUTH(points) + np.random.default_rng(5).normal(0, 0.02, points.shape)
    targets[[3, 30]] += [[4, 0], [-1, 2]]
    found, kept = fit_clipped(points, targets)
    assert not kept[[3, 30]].any()
    assert kept.sum() >= 56
    np.testing.assert_allclose(found(points), TRUTH(points), atol=0.02)
    again = fit_affine(points[kept], targets[kept])
    np.testing.assert_allclose(found.matrix, again.matrix)


def test_exact_points_are_all_kept(points):
    assert fit_clipped(points, TRUTH(points))[1].all()


def test_reach_holds_the_part_of_a_round_gaussian_that_is_within_sigma_of_a_line():
    distance = np.hypot(*np.random.default_rng(6).normal(size=(2, 400_000)))
    assert np.mean(distance > reach(distance, 3.0)) == pytest.approx(0.0027, rel=0.1)
