"""Which values `combine` leaves out of a mean."""

from __future__ import annotations

import numpy as np

from corontools.arrays._arguments import argument
from corontools.arrays.combine import METHODS, Rejection

__all__ = ["rejected"]


def rejected(
    values: np.ndarray,
    errors: np.ndarray | None = None,
    flags: np.ndarray | None = None,
    *,
    reject: Rejection = "leave_one_out",
    sigma: float = 3.0,
    maxiters: int | None = None,
    excess: float = 1.0,
) -> np.ndarray:
    """Usable values that `combine` with the same arguments leaves out of the mean.

    Those that can't be used (not finite, without a finite error, flag 1) aren't rejected by it, and are False here.

    Returns
    -------
    ndarray of bool, shape of `values`

    Examples
    --------
    >>> x = np.array([[10.0, 10.0], [11.0, 9.0], [np.nan, 500.0]])
    >>> rejected(x, np.ones_like(x)).tolist()
    [[False, False], [False, False], [False, True]]
    """
    from corontools.arrays import _rejected_kernels

    n, size = values.shape[0], int(np.prod(values.shape[1:], dtype=int))
    native = np.float64 if values.dtype.itemsize == 8 else np.float32
    x, e, bits = (
        argument(np.empty((0, size)), kind) if array is None else argument(array, kind).reshape(n, size)
        for array, kind in ((values, native), (errors, native), (flags, np.uint32))
    )
    most = np.iinfo(np.int64).max if maxiters is None else int(maxiters)
    out = np.empty((n, size), bool)
    _rejected_kernels.rejected(x, e, bits, METHODS[reject], float(sigma), most, float(excess), out)
    return out.reshape(values.shape)
