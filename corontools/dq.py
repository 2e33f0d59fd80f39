"""Data-quality bits, as in every JWST product, and masks as runs of pixels, which fit a line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from corontools.errors import DataError

__all__ = ["DQ", "pixels", "runs"]

MOST = 2**31  # pixels; what is written in a file is no reason to fill the memory


class DQ(IntFlag):
    """Meaning of the bits of a DQ array (JWST pixel dictionary); 0 is a good pixel.

    Only `DO_NOT_USE` takes a pixel out of a computation; the others say what happened to it.

    Examples
    --------
    >>> DQ.DO_NOT_USE | DQ.OUTLIER
    <DQ.DO_NOT_USE|OUTLIER: 17>
    >>> DQ.names(1029)
    'DO_NOT_USE, JUMP_DET, DEAD'
    """

    DO_NOT_USE = 1
    SATURATED = 2
    JUMP_DET = 4
    DROPOUT = 8
    OUTLIER = 16
    PERSISTENCE = 32
    AD_FLOOR = 64
    CHARGELOSS = 128
    UNRELIABLE_ERROR = 256
    NON_SCIENCE = 512
    DEAD = 1024
    HOT = 2048
    WARM = 4096
    LOW_QE = 8192
    RC = 16384
    TELEGRAPH = 32768
    NONLINEAR = 65536
    BAD_REF_PIXEL = 131072
    NO_FLAT_FIELD = 262144
    NO_GAIN_VALUE = 524288
    NO_LIN_CORR = 1048576
    NO_SAT_CHECK = 2097152
    UNRELIABLE_BIAS = 4194304
    UNRELIABLE_DARK = 8388608
    UNRELIABLE_SLOPE = 16777216
    UNRELIABLE_FLAT = 33554432
    OPEN = 67108864
    ADJ_OPEN = 134217728
    FLUX_ESTIMATED = 268435456
    MSA_FAILED_OPEN = 536870912
    OTHER_BAD_PIXEL = 1073741824
    REFERENCE_PIXEL = 2147483648

    @classmethod
    def names(cls, value: int) -> str:
        """Names of the bits set in `value`, lowest first."""
        return ", ".join(str(bit.name) for bit in cls if int(value) & bit)


def pixels(shape: Sequence[int], found: Sequence[int]) -> NDArray[np.bool_]:
    """Mask that is True in runs of pixels; the inverse of `runs`.

    Parameters
    ----------
    shape : sequence of int
        Of the mask.
    found : sequence of int
        Start and length of each run, in C order (x changes fastest).

    Raises
    ------
    DataError
        If the shape is none, or a run is not within it.

    Examples
    --------
    >>> pixels((2, 4), [1, 2, 6, 1]).astype(int)
    array([[0, 1, 1, 0],
           [0, 0, 1, 0]])
    """
    if any(n < 1 for n in shape) or math.prod(shape) > MOST:
        raise DataError(f"a mask should have a shape of at least 1 and at most {MOST} pixels, found {tuple(shape)}")
    mask = np.zeros(math.prod(shape), bool)
    pairs = np.asarray(found, np.int64)
    if pairs.ndim != 1 or pairs.size % 2:
        raise DataError("runs of pixels are written as start and length of each")
    for start, length in pairs.reshape(-1, 2).tolist():
        if start < 0 or length < 1 or start + length > mask.size:
            raise DataError(f"a run of {length} pixels from {start} is not within a mask of {mask.size}")
        mask[start : start + length] = True
    return mask.reshape(tuple(shape))


def runs(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Start and length of each run of True, in C order, shape (n, 2).

    Examples
    --------
    >>> runs(np.array([[False, True, True, False], [False, False, True, False]])).tolist()
    [[1, 2], [6, 1]]
    """
    flat = np.concatenate([[False], mask.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1]).reshape(-1, 2)
    return np.stack([edges[:, 0], edges[:, 1] - edges[:, 0]], axis=1)
