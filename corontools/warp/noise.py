"""Variance of a warp that was convolved: its pixels share noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from corontools.calibrate.masked import MaskedImage
from corontools.warp.box import Box
from corontools.warp.psf import WarpedPSF

__all__ = ["with_shared_noise"]

# px between the places where the covariance of the warp is worked out, at least, and in sides of the kernel
STEP, KERNELS = 32, 1.5


def with_shared_noise(
    frame: MaskedImage,
    psf: WarpedPSF,
    kernels: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    number: int,
    box: Box,
    where: np.ndarray | None = None,
) -> MaskedImage:
    """A part of a convolved warp with the variance that it has, see `corontools.arrays.covariance`.

    Parameters
    ----------
    frame : MaskedImage
        With the variances of the warped pixels convolved with the squares of the kernels.
    psf : WarpedPSF
        Of the warp.
    kernels : callable
        Kernels at places x, y of the part, (n, size, size).
    number : int
        Of the detector that the part comes from.
    box : Box
        Of the part, in pixels of the warp.
    where : ndarray of bool, shape (y, x), optional
        Pixels to change, all by default.
    """
    first = kernels(np.zeros(1), np.zeros(1))
    step = max(STEP, int(KERNELS * first.shape[-1]))
    along = [np.linspace(0, n - 1, -(-(n - 1) // step) + 1) for n in frame.shape]
    y, x = (v.ravel() for v in np.meshgrid(*along, indexing="ij"))
    factor = psf.shared_noise(number, kernels(x, y), x + box.x0, y + box.y0)
    grid = np.where(np.isfinite(factor), factor, 1.0).reshape(len(along[0]), len(along[1]))
    rows, columns = (_linear(n, nodes) for n, nodes in zip(frame.shape, along, strict=True))
    factors = (rows @ grid @ columns.T).astype(np.float32)
    if where is not None:
        factors[~where] = 1
    return frame.with_(variance=frame.variance * factors)


def _linear(n: int, nodes: np.ndarray) -> np.ndarray:
    """Weights (n, node) by which values at nodes become values at 0 ... n - 1."""
    return np.stack([np.interp(np.arange(n), nodes, one) for one in np.eye(len(nodes))], axis=1)
