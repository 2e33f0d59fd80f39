"""Smooth functions of the place on an image: Chebyshev polynomials in x and y up to a total degree."""

from __future__ import annotations

import numpy as np
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import ArrayLike, DTypeLike

from corontools.errors import DataError

__all__ = [
    "chebyshev_at",
    "chebyshev_design",
    "chebyshev_grid",
    "chebyshev_order",
    "chebyshev_terms",
    "fit_chebyshev",
]


def chebyshev_terms(order: int) -> np.ndarray:
    """Degrees in x and y of each term, (n_term, 2), x + y <= order, lower total degrees first.

    Raises
    ------
    DataError
        If the order is negative.

    Examples
    --------
    >>> chebyshev_terms(2).tolist()
    [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]
    """
    if order < 0:
        raise DataError(f"the order of a polynomial is 0 or more, found {order}")
    return np.array([(total - j, j) for total in range(order + 1) for j in range(total + 1)])


def chebyshev_order(n_term: int) -> int:
    """Order that has this many terms.

    Raises
    ------
    DataError
        If none has.

    Examples
    --------
    >>> chebyshev_order(28)
    6
    """
    order = round((np.sqrt(8 * n_term + 1) - 3) / 2)
    if n_term < 1 or (order + 1) * (order + 2) // 2 != n_term:
        raise DataError(f"polynomials of x and y have 1, 3, 6, 10, 15 ... terms, found {n_term}")
    return order


def chebyshev_design(x: ArrayLike, y: ArrayLike, order: int, *, shape: tuple[int, int]) -> np.ndarray:
    """Each term at places (n,): (n, n_term).

    Parameters
    ----------
    x, y : array_like, shape (n,)
        0-based px; the edges of an image of `shape` (y, x) are at -1 and 1 of the polynomials.
    order : int
        Greatest total degree.
    shape : (int, int)

    Examples
    --------
    >>> chebyshev_design([4.5], [9.5], 2, shape=(10, 10)).tolist()
    [[1.0, 0.0, 1.0, -1.0, 0.0, 1.0]]
    """
    degrees = chebyshev_terms(order)
    along_x, along_y = _vander(x, order, shape[1]), _vander(y, order, shape[0])
    return along_x[:, degrees[:, 0]] * along_y[:, degrees[:, 1]]


def fit_chebyshev(
    x: ArrayLike,
    y: ArrayLike,
    values: ArrayLike,
    *,
    order: int,
    shape: tuple[int, int],
    weights: ArrayLike | None = None,
) -> np.ndarray:
    """Coefficients (n_term,) of the polynomial that is nearest to the values by weighted least squares.

    Parameters
    ----------
    x, y, values : array_like, shape (n,)
        A value that isn't finite is left out.
    order : int
    shape : (int, int)
        Of the image, (y, x).
    weights : array_like, shape (n,), optional
        Inverse variances; those that aren't positive numbers leave the value out.

    Raises
    ------
    DataError
        If the values that count don't determine all terms.

    Examples
    --------
    >>> x, y = np.array([0.0, 9, 0, 9]), np.array([0.0, 0, 9, 9])
    >>> fit_chebyshev(x, y, 3 + 2 * (x - 4.5) / 5, order=1, shape=(10, 10)).round(6) + 0
    array([3., 2., 0.])
    """
    x, y, values = (np.asarray(v, float).ravel() for v in (x, y, values))
    weights = np.ones_like(values) if weights is None else np.asarray(weights, float).ravel()
    known = np.isfinite(values) & np.isfinite(weights) & (weights > 0)
    design = chebyshev_design(x[known], y[known], order, shape=shape)
    # relative weights: products with 1e-30 of nJy^-2 would lose terms
    root = np.sqrt(weights[known] / weights[known].max(initial=np.finfo(float).tiny))
    found, _, rank, _ = np.linalg.lstsq(design * root[:, None], values[known] * root, rcond=None)
    if rank < design.shape[1]:
        raise DataError(
            f"{np.count_nonzero(known)} values, of which {rank} are independent, don't determine the "
            f"{design.shape[1]} terms of order {order}; give a lower order"
        )
    return found


def chebyshev_at(coefficients: ArrayLike, x: ArrayLike, y: ArrayLike, *, shape: tuple[int, int]) -> np.ndarray:
    """The polynomial at places (n,).

    Examples
    --------
    >>> chebyshev_at([3.0, 2.0, 0.0], [4.5, 9.5], [0.0, 0.0], shape=(10, 10)).tolist()
    [3.0, 5.0]
    """
    coefficients = np.asarray(coefficients, float)
    return chebyshev_design(x, y, chebyshev_order(coefficients.shape[0]), shape=shape) @ coefficients


def chebyshev_grid(
    coefficients: ArrayLike, shape: tuple[int, int], *, dtype: DTypeLike = np.float64, step: int = 1
) -> np.ndarray:
    """The polynomial in all pixels of an image, or in every `step`-th row and column.

    Examples
    --------
    >>> chebyshev_grid([3.0, 2.0, 0.0], (2, 4)).tolist()
    [[1.5, 2.5, 3.5, 4.5], [1.5, 2.5, 3.5, 4.5]]
    """
    coefficients = np.asarray(coefficients, float)
    order = chebyshev_order(coefficients.size)
    degrees = chebyshev_terms(order)
    square = np.zeros((order + 1, order + 1))
    square[degrees[:, 1], degrees[:, 0]] = coefficients
    rows, columns = (_vander(np.arange(0, n, step), order, n) for n in shape)
    return np.asarray((rows @ square).astype(dtype) @ columns.T.astype(dtype))


def _vander(place: ArrayLike, order: int, size: int) -> np.ndarray:
    """Polynomials T_0 to T_order at places along an axis."""
    return chebvander((2 * np.atleast_1d(np.asarray(place, float)) + 1) / size - 1, order)
