"""Correlation of images with a small one at every place, by Fourier transforms."""

from __future__ import annotations

import numpy as np
from scipy import fft

from corontools.arrays.threads import in_threads

__all__ = ["correlate"]


def correlate(images: np.ndarray, stamp: np.ndarray) -> np.ndarray:
    """Inner product of every image with a stamp at every place where they overlap.

    Parameters
    ----------
    images : ndarray, shape (n, y, x)
        Finite; there is nothing outside.
    stamp : ndarray, shape (h, w)

    Returns
    -------
    ndarray, shape (n, y + h - 1, x + w - 1)
        Element [j, i] is the sum of images[a, b] stamp[a - j + h - 1, b - i + w - 1]: the first pixel of the stamp lies
        on pixel (j - h + 1, i - w + 1). Exact to rounding of the largest value of each image.

    Examples
    --------
    >>> correlate(np.eye(3)[None], np.array([[1.0, 2.0]]))[0].round(12)
    array([[2., 1., 0., 0.],
           [0., 2., 1., 0.],
           [0., 0., 2., 1.]])
    """
    images, flipped = np.asarray(images, np.float64), np.asarray(stamp, np.float64)[::-1, ::-1]
    shape = tuple(a + b - 1 for a, b in zip(images.shape[1:], flipped.shape, strict=True))
    # only the last axis is transformed as real numbers, for which fewer lengths are fast
    size = (fft.next_fast_len(shape[0]), fft.next_fast_len(shape[1], real=True))
    turned = fft.rfft2(flipped, size)
    out = np.empty((len(images), *shape))

    def one(i: int) -> None:  # an image and its transform stay in the cache of their processor
        product = fft.rfft2(images[i], size)
        product *= turned
        out[i] = fft.irfft2(product, size, overwrite_x=True)[: shape[0], : shape[1]]

    in_threads(one, range(len(images)))
    return out
