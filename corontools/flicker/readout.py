"""How a detector is read: along which axis, by how many amplifiers, in which mode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.meta import Meta

__all__ = ["Readout"]

# axis of numpy along which one line is read, so along which a stripe runs, in the orientation of JWST's products
AXES = {"NIRCAM": 1, "NIRISS": 0, "NIRSPEC": 0, "MIRI": 0}
# EXP_TYPE -> observing mode that has masks of its own
MODES = {
    "NRS_IFU": "IFU", "NRS_MSASPEC": "MOS", "NRS_FIXEDSLIT": "FS", "NRS_BRIGHTOBJ": "FS", "MIR_IMAGE": "MIRI",
    "NIS_SOSS": "SOSS",
}  # fmt: skip
WAY_OUT = (
    "give axis=1, on the command line --axis rows (horizontal stripes as of NIRCam) or axis=0, --axis columns "
    "(vertical, as of NIRISS, NIRSpec and MIRI)"
)
# side of a full near-infrared frame and its amplifiers
FULL, AMPLIFIERS = 2048, 4


@dataclass(frozen=True)
class Readout:
    """Geometry of the reading.

    Attributes
    ----------
    axis : int
        Axis of numpy along which a stripe runs: 1 horizontal, 0 vertical.
    channels : int
        Amplifiers that share a line.
    full : bool
        Whether this is a full near-infrared frame.
    mode : str
        Observing mode with masks of its own: "IFU", "MOS", "FS", "MIRI", "SOSS"; else "".
    name : str
        EXP_TYPE, or the instrument, for messages.
    corner : (int, int)
        0-based (x, y) on the full frame of the first pixel.
    """

    axis: int
    channels: int = 1
    full: bool = False
    mode: str = ""
    name: str = "this exposure"
    corner: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, exposure: Exposure, *, axis: int | None = None, channels: int | None = None) -> Readout:
        """From the header; arguments count more.

        Raises
        ------
        DataError
            If the orientation isn't known, the mode isn't supported, or the channels aren't equal.
        """
        meta = exposure.meta
        exp_type, instrument = meta.exp_type.upper(), meta.instrument.upper()
        miri = instrument == "MIRI" or exp_type.startswith("MIR")
        if miri and exp_type not in ("", "MIR_IMAGE"):
            raise DataError(
                f"{_named(meta)}: EXP_TYPE {exp_type} is not supported; of MIRI only imaging (MIR_IMAGE) is"
            )
        along = _axis(meta, miri) if axis is None else axis
        if along not in (0, 1):
            raise DataError(f"axis should be 1 (horizontal stripes) or 0 (vertical), found {axis}")
        full = exposure.shape[-2:] == (FULL, FULL) and not miri and meta.subarray.upper() in ("", "FULL")
        number = (AMPLIFIERS if full else 1) if channels is None else channels
        length = exposure.shape[-2:][along]
        if not isinstance(number, int | np.integer) or number < 1 or length % number:
            raise DataError(f"lines of {length} px can't be cut into {number!r} equal channels")
        mode = "MIRI" if miri else MODES.get(exp_type, "")
        name = exp_type or instrument or "this exposure"
        return cls(along, number, full, mode, name, _corner(meta))

    @property
    def stripes(self) -> str:
        """What a stripe is, in words."""
        return "rows" if self.axis == 1 else "columns"


def _axis(meta: Meta, miri: bool) -> int:
    if miri:  # no 1/f noise, but a flicker of the columns
        return 0
    card = meta.card("SLOWAXIS")
    if card is None and meta.instrument.upper() in AXES:
        return AXES[meta.instrument.upper()]
    if card is None:
        raise DataError(
            f"{_named(meta)}: neither SLOWAXIS nor a known instrument is in the header, so it isn't known how the "
            f"stripes run; {WAY_OUT}"
        )
    if card not in (-2, -1, 1, 2):
        raise DataError(f"{_named(meta)}: SLOWAXIS should be 1 or 2 with either sign, found {card!r}; {WAY_OUT}")
    return abs(int(card)) - 1


def _corner(meta: Meta) -> tuple[int, int]:
    """0-based (x, y) on the full frame of the first pixel of a subarray."""
    cards = {key: meta.card(key) or 1 for key in ("SUBSTRT1", "SUBSTRT2")}
    for key, value in cards.items():
        if not isinstance(value, int | float) or value != int(value):
            raise DataError(f"{_named(meta)}: {key} should be a whole number (pixels from 1), found {value!r}")
    x, y = (int(value) - 1 for value in cards.values())
    return x, y


def _named(meta: Meta) -> str:
    return meta.filename or meta.title
