import numpy as np
import pytest
from numpy.polynomial.chebyshev import chebval2d

from corontools.arrays.chebyshev import (
    chebyshev_at,
    chebyshev_design,
    chebyshev_grid,
    chebyshev_order,
    chebyshev_terms,
    fit_chebyshev,
)
from corontools.errors import DataError

SHAPE = (50, 80)


def coefficients(order, seed=1):
    return np.random.default_rng(seed).normal(size=len(chebyshev_terms(order)))


def by_numpy(found, x, y, shape):
    """The same by numpy's polynomials on the whole square of degrees."""
    order = chebyshev_order(len(found))
    square = np.zeros((order + 1, order + 1))
    for value, (i, j) in zip(found, chebyshev_terms(order), strict=True):
        square[i, j] = value
    return chebval2d((2 * x + 1) / shape[1] - 1, (2 * y + 1) / shape[0] - 1, square)


@pytest.mark.parametrize("order", [0, 1, 2, 6])
def test_grid_and_places_agree_with_numpys_polynomials(order):
    found = coefficients(order)
    y, x = np.indices(SHAPE).astype(float)
    expected = by_numpy(found, x, y, SHAPE)
    np.testing.assert_allclose(chebyshev_grid(found, SHAPE), expected, atol=1e-12)
    np.testing.assert_allclose(chebyshev_at(found, x.ravel(), y.ravel(), shape=SHAPE), expected.ravel(), atol=1e-12)
    np.testing.assert_allclose(chebyshev_grid(found, SHAPE, dtype=np.float32), expected, atol=1e-5)
    np.testing.assert_array_equal(chebyshev_grid(found, SHAPE, step=7), chebyshev_grid(found, SHAPE)[::7, ::7])


def test_several_functions_are_evaluated_at_once():
    both = np.stack([coefficients(2, 1), coefficients(2, 2)], axis=1)
    found = chebyshev_at(both, [1.0, 5.5, 70], [3.0, 4, 20], shape=SHAPE)
    for k in range(2):
        np.testing.assert_allclose(found[:, k], chebyshev_at(both[:, k], [1.0, 5.5, 70], [3.0, 4, 20], shape=SHAPE))


def test_a_fit_finds_the_polynomial_and_leaves_out_what_has_no_value_or_weight():
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 80, 60), rng.uniform(0, 50, 60)
    true = coefficients(3)
    values, weights = chebyshev_at(true, x, y, shape=SHAPE), rng.uniform(1e-30, 2e-30, 60)
    values[3], values[4], weights[4], values[5], weights[5] = np.nan, 1e9, 0, 1e9, np.nan
    np.testing.assert_allclose(fit_chebyshev(x, y, values, order=3, shape=SHAPE, weights=weights), true, atol=1e-10)


def test_a_fit_is_that_of_the_normal_equations_with_inverse_variances():
    rng = np.random.default_rng(3)
    x, y, values = rng.uniform(0, 80, 40), rng.uniform(0, 50, 40), rng.normal(size=40)
    weights = rng.uniform(0.1, 10, 40)
    design = chebyshev_design(x, y, 2, shape=SHAPE)
    expected = np.linalg.solve(design.T @ (weights[:, None] * design), design.T @ (weights * values))
    np.testing.assert_allclose(fit_chebyshev(x, y, values, order=2, shape=SHAPE, weights=weights), expected)


@pytest.mark.parametrize(("x", "y"), [([1.0, 2], [1.0, 2]), ([1.0, 2, 3, 4], [1.0, 2, 3, 4]), ([], [])])
def test_values_that_do_not_determine_the_terms_are_refused(x, y):
    with pytest.raises(DataError, match="don't determine the 3 terms of order 1; give a lower order"):
        fit_chebyshev(x, y, np.ones(len(x)), order=1, shape=SHAPE)


def test_numbers_of_terms_that_no_order_has_are_refused():
    assert [chebyshev_order(len(chebyshev_terms(k))) for k in range(9)] == list(range(9))
    for n in (0, 2, 27):
        with pytest.raises(DataError, match=f"found {n}"):
            chebyshev_order(n)
    with pytest.raises(DataError, match="found -1"):
        chebyshev_terms(-1)
