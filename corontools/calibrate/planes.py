"""Mask planes of a single-frame calibration: what was found in a pixel, and what may be done with it."""

from __future__ import annotations

from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from corontools.dq import DQ

__all__ = ["UNUSABLE", "Plane", "planes_from_dq", "planes_to_dq"]


class Plane(IntFlag):
    """Bits of the mask of a `MaskedImage`; the names and values are those of the LSST pipelines.

    `DQ` tells what the detector did, in JWST's bits; planes also tell what the calibration found, such as sources.

    Examples
    --------
    >>> Plane.names(9)
    'BAD, CR'
    """

    BAD = 1
    SAT = 2
    INTRP = 4
    CR = 8
    EDGE = 16
    DETECTED = 32
    DETECTED_NEGATIVE = 64
    SUSPECT = 128
    NO_DATA = 256
    VIGNETTED = 512
    STREAK = 1024
    NOT_DEBLENDED = 2048
    # of coadds: an input was left out because of an outlier or artefact, or because of its mask; where one begins
    CLIPPED = 4096
    REJECTED = 8192
    SENSOR_EDGE = 16384

    @classmethod
    def names(cls, value: int) -> str:
        """Names of the bits set in `value`, lowest first."""
        return ", ".join(str(plane.name) for plane in cls if int(value) & plane)


# pixels whose value says nothing of the sky
UNUSABLE = Plane.BAD | Plane.SAT | Plane.NO_DATA

# DQ bits that set a plane, and those a plane sets
FROM_DQ = {
    Plane.BAD: DQ.DO_NOT_USE,
    Plane.SAT: DQ.SATURATED,
    Plane.NO_DATA: DQ.NON_SCIENCE | DQ.REFERENCE_PIXEL,
    Plane.INTRP: DQ.FLUX_ESTIMATED,
}
TO_DQ = {
    Plane.BAD: DQ.DO_NOT_USE,
    Plane.SAT: DQ.SATURATED | DQ.DO_NOT_USE,
    Plane.NO_DATA: DQ.NON_SCIENCE | DQ.DO_NOT_USE,
    Plane.INTRP: DQ.FLUX_ESTIMATED,
    Plane.CR: DQ.JUMP_DET,
}


def planes_from_dq(dq: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Planes BAD, SAT, NO_DATA and INTRP by the bits of `DQ`.

    A jump (JUMP_DET) sets none: JWST's ramps are corrected for it.

    Examples
    --------
    >>> planes_from_dq(np.array([0, 1, 3], np.uint32))
    array([0, 1, 3], dtype=int32)
    """
    return _translated(dq, FROM_DQ, np.dtype(np.int32))


def planes_to_dq(mask: NDArray[np.int32]) -> NDArray[np.uint32]:
    """Bits of `DQ` for the planes BAD, SAT, NO_DATA, INTRP and CR; the others have none.

    Examples
    --------
    >>> DQ.names(planes_to_dq(np.array([10], np.int32))[0])
    'DO_NOT_USE, SATURATED, JUMP_DET'
    """
    return _translated(mask, TO_DQ, np.dtype(np.uint32))


def _translated(bits: NDArray, table: dict, dtype: np.dtype) -> NDArray:
    made = np.zeros(bits.shape, dtype)
    for given, found in table.items():
        source, target = (found, given) if dtype == np.int32 else (given, found)
        made |= np.where(bits & bits.dtype.type(int(source)), dtype.type(int(target)), dtype.type(0))
    return made
