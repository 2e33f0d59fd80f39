"""Sizes and shapes of sources: moments under a Gaussian weight that takes the source's own shape."""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ORDERS", "MomentFlag", "Moments", "adaptive_moments", "blendedness", "higher_moments"]

# of a Gaussian's; a source that answers less to a change of the weight has no shape to speak of
LEAST_RESPONSE = 0.2
# powers (p, q) of the moments of third and fourth order
ORDERS = ((3, 0), (2, 1), (1, 2), (0, 3), (4, 0), (3, 1), (2, 2), (1, 3), (0, 4))


class MomentFlag(IntFlag):
    """Why there are no adaptive moments; with NOT_CONVERGED there are, the last of the iteration."""

    NOT_CONVERGED = 1
    SHIFTED = 2
    NO_FLUX = 4
    NO_SIZE = 8


class Moments(NamedTuple):
    """Adaptive moments of n sources; NaN where there are none.

    Attributes
    ----------
    x, y : ndarray, shape (n,)
        Middle of the weight, 0-based, px of the stamp.
    xx, yy, xy : ndarray, shape (n,)
        Covariance, px^2: that of the source if it is a Gaussian.
    xx_err, yy_err, xy_err : ndarray, shape (n,)
    flux, flux_err : ndarray, shape (n,)
        Of the Gaussian: twice the sum of the pixels times the weight. The error holds that of the shape.
    flags : ndarray of int32, shape (n,)
        Bits of `MomentFlag`.
    """

    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    yy: np.ndarray
    xy: np.ndarray
    xx_err: np.ndarray
    yy_err: np.ndarray
    xy_err: np.ndarray
    flux: np.ndarray
    flux_err: np.ndarray
    flags: NDArray[np.int32]


def adaptive_moments(
    pixels: np.ndarray,
    variances: np.ndarray,
    x: ArrayLike,
    y: ArrayLike,
    *,
    sigma: ArrayLike,
    max_shift: float = 3.0,
    max_rounds: int = 200,
) -> Moments:
    """Moments under the elliptical Gaussian whose covariance they are (Bernstein & Jarvis 2002; Hirata & Seljak 2003).

    The weight W is at its place when the weighted covariance is W / 2 and the weighted mean its middle, which is how
    a Gaussian of covariance W answers. Errors come from the variances, by the derivatives of that condition.

    Parameters
    ----------
    pixels, variances : ndarray, shape (n, y, x)
        NaN are left out.
    x, y : array_like, shape (n,)
        Where to start, 0-based, px.
    sigma : array_like
        Width of the round weight to start with, px; one number or (n,).
    max_shift : float
        Furthest that the middle may go from the start, px.
    max_rounds : int
        Of the iteration.

    Examples
    --------
    >>> along = np.arange(41) - 20.0
    >>> star = np.exp(-0.5 * (along**2 / 6.25 + along[:, None] ** 2 / 4))[None]
    >>> found = adaptive_moments(star, np.ones_like(star), [20.2], [19.9], sigma=1.5)
    >>> found.xx.round(4), found.yy.round(4), found.flux.round(3) / (2 * np.pi * 5)
    (array([6.25]), array([4.]), array([1.00000...]))
    """
    from corontools.arrays._moment_kernels import adaptive

    n = len(pixels)
    start = np.stack([np.broadcast_to(np.asarray(values, float), (n,)) for values in (x, y, sigma)], axis=1)
    out, noise, response = np.full((n, 6), np.nan), np.full((n, 4, 4), np.nan), np.full((n, 3, 3), np.nan)
    flags = np.zeros(n, np.int32)
    adaptive(pixels, variances, start, (float(max_shift), int(max_rounds)), out, noise, response, flags)
    found = out.T.copy()
    return Moments._make((*found[:5], *_errors(found, noise, response), flags))


def _errors(found: np.ndarray, noise: np.ndarray, response: np.ndarray) -> tuple[np.ndarray, ...]:
    """Errors of xx, yy and xy, the flux, and its error."""
    gain = _gain(response)
    shape = gain @ noise[:, 1:, 1:] @ np.swapaxes(gain, 1, 2)
    xx, yy, xy = found[2:5]
    # the flux gains half of what tr(weight^-1 shape) does, beside twice the noise under the weight
    along = 0.5 * np.stack([yy, xx, -2 * xy], axis=1) / (xx * yy - xy**2)[:, None]
    change = np.concatenate([np.full((len(xx), 1), 2.0), np.einsum("na,nab->nb", along, gain)], axis=1)
    part = np.einsum("na,nab,nb->n", change, noise, change)
    return *np.sqrt(np.einsum("naa->an", shape)), found[5], np.abs(found[5]) / 2 * np.sqrt(part)


def _gain(response: np.ndarray) -> np.ndarray:
    """Change of the adaptive moments by a change of the weighted ones; that of a Gaussian where noise makes it wild."""
    matrix = 0.5 * np.eye(3) - np.where(np.isfinite(response), response, 0.25 * np.eye(3))
    # the determinant is 1/64 for a Gaussian, less for wide wings
    wild = ~(np.linalg.det(matrix) > LEAST_RESPONSE / 64)
    return np.linalg.inv(np.where(wild[:, None, None], 0.25 * np.eye(3), matrix))


def higher_moments(pixels: np.ndarray, moments: Moments) -> np.ndarray:
    """Moments of third and fourth order under the adaptive weight, without unit (Zhang et al. 2022, MNRAS 510, 1978).

    Coordinates are turned and stretched to those in which the weight is round, with sigma 1: a Gaussian has 0 for odd
    moments, 3/4 for (4, 0) and (0, 4), 1/4 for (2, 2).

    Parameters
    ----------
    pixels : ndarray, shape (n, y, x)
    moments : Moments
        Of these.

    Returns
    -------
    ndarray, shape (n, 9)
        Powers of x and y as in `ORDERS`; NaN without moments.
    """
    from corontools.arrays._moment_kernels import higher

    out = np.full((len(pixels), len(ORDERS)), np.nan)
    higher(pixels, _weights(moments), np.array(ORDERS), out)
    return out


def blendedness(
    child: np.ndarray, parent: np.ndarray, variances: np.ndarray, moments: Moments
) -> tuple[np.ndarray, np.ndarray]:
    """How much of the light at a source is that of its neighbours, 0 to 1 (Bosch et al. 2018, PASJ 70, S5).

    Parameters
    ----------
    child, parent, variances : ndarray, shape (n, y, x)
        The source alone, with all that it was blended with, and the variances of both.
    moments : Moments
        Of the child, whose weight tells where to look.

    Returns
    -------
    raw, absolute : ndarray, shape (n,)
        One less the ratio of the weighted sums, of the values and of their absolute values less those of noise.
    """
    from corontools.arrays._moment_kernels import blends

    out = np.full((len(child), 2), np.nan)
    blends(child, parent, variances, _weights(moments), out)
    return out[:, 0], out[:, 1]


def _weights(moments: Moments) -> np.ndarray:
    return np.stack([moments.x, moments.y, moments.xx, moments.yy, moments.xy], axis=1)
