"""Data-quality bits, as in every JWST product."""

from __future__ import annotations

from enum import IntFlag

__all__ = ["DQ"]


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
