"""Flags of pixels and groups, as far as the correction heeds them."""

from __future__ import annotations

import numpy as np

from corontools.dq import DQ

__all__ = ["BAD", "SPOILT", "UNUSABLE", "flagged"]

BAD = DQ.DO_NOT_USE
# what spoils a group for both differences, and what makes the difference to the group before useless
SPOILT = DQ.DO_NOT_USE | DQ.SATURATED
UNUSABLE = SPOILT | DQ.JUMP_DET


def flagged(flags: np.ndarray, bits: DQ) -> np.ndarray:
    """Where one of the bits is set.

    Examples
    --------
    >>> flagged(np.array([0, 1, 4], np.uint8), BAD).tolist()
    [False, True, False]
    """
    # flags of groups are bytes: they stay so, instead of becoming an image of four
    return (flags & flags.dtype.type(int(bits) & np.iinfo(flags.dtype).max)) != 0
