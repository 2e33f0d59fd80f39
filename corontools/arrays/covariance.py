r"""Noise that the pixels of a warped image share, and what it does to an image convolved after the warp.

A warped pixel p is a sum of source pixels, :math:`f_p = \sum_i w_{pi} s_i`, with the weights of the interpolation. The
source's pixels are independent, those of the warped image aren't. Convolved with a kernel K,

.. math:: V_p = \sum_i \Big(\sum_d K_d\, w_{p-d,i}\Big)^2 v_i \qquad\text{and not}\qquad
          \sum_d K_d^2 \sum_i w_{p-d,i}^2 v_i,

which is what the variances of the warped pixels alone give. The quotient of both depends on kernel and place, but
hardly on the variance, which varies slowly compared with K: it is computed here for v = 1. With a broad kernel the sum
over all shared noise is that of the source itself, so that for Lanczos-3 between pixels the quotient is about 1.25.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from corontools.arrays._arguments import argument
from corontools.arrays.threads import in_threads
from corontools.arrays.warp import kernel_table

__all__ = ["covariance_factor"]

# parts in which the places are worked on
BLOCKS = 16


def covariance_factor(
    kernels: ArrayLike, places: ArrayLike, affines: ArrayLike, *, kernel: str = "lanczos3"
) -> NDArray[np.float64]:
    """Variance of a convolved warp over that which the variances of its pixels alone would give.

    Parameters
    ----------
    kernels : ndarray, shape (n, s, s)
        What the warped image is convolved with at each place, s odd.
    places : ndarray, shape (n, 2)
        (y, x) on the source.
    affines : ndarray, shape (n, 2, 2)
        How far one goes on the source along y and x (rows) with one pixel of the warp along y and x (columns).
    kernel : str
        Of the warp, see `corontools.arrays.warp.warp_image`.

    Returns
    -------
    ndarray, shape (n,)

    Examples
    --------
    A box of 5 pixels over pixels that are the means of two each, along x:

    >>> between = covariance_factor(np.full((1, 5, 5), 1 / 25), [(0, 0.5)], [np.eye(2)], kernel="bilinear")
    >>> aligned = covariance_factor(np.full((1, 5, 5), 1 / 25), [(0, 0)], [np.eye(2)])
    >>> between.round(2), aligned.round(2)
    (array([1.8]), array([1.]))
    """
    from corontools.arrays._covariance_kernels import factors

    images, at, steps = (argument(np.asarray(value), np.float64) for value in (kernels, places, affines))
    table, n = kernel_table(kernel), len(images)
    out = np.empty(n)
    starts = range(0, n, max(1, -(-n // BLOCKS)))

    def part(first: int) -> None:
        factors(images, at, steps, table, first, min(first + starts.step, n), out)

    in_threads(part, starts)
    return out
