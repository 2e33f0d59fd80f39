"""CalibrationState: the choices of a calibration explorer."""

from __future__ import annotations

from typing import Any

from traitlets import CaselessStrEnum, Enum, Float, List, TraitError, Unicode, validate

from corontools.calibrate.look import KINDS
from corontools.calibrate.planes import Plane
from corontools_widgets.image_view import ImageState

__all__ = ["SIZES", "WHISKERS", "CalibrationState"]

PLANES = ("", *Plane.__members__)
SIZES = ("width", "excess")
WHISKERS = ("shape", "residual", "size")


class CalibrationState(ImageState):
    """Choices of a `CalibrationExplorer`.

    Attributes
    ----------
    frame : int
        The result, the image as it was, and the background of each round.
    kinds : list of str
        Kinds of sources that are marked: "psf", "rejected", "star", "galaxy", "saturated", "sky".
    tint : str
        Plane of the mask that is tinted, such as "CR"; "" for none.
    min_snr : float
        Least S/N of the stars that the PSF is fitted to, positive.
    clip : float
        How many sigma the width of a star may be off; positive.
    width_limits : [float, float] or []
        Widths that stars may have, px; [] for those that the steps have.
    sizes : {"width", "excess"}
        What is drawn against the magnitude: widths, or these less that of a star at the place.
    whiskers : {"shape", "residual", "size"}
        What is drawn of the stars over the field, see `corontools.calibrate.look_field.whiskers`.
    background_limits, round_limits : [float, float] or []
        `limits` of the first background, and of the others.
    """

    kinds = List(Enum(tuple(KINDS)), default_value=["psf", "rejected", "galaxy", "saturated"])
    tint = Unicode("CR")
    min_snr = Float(50.0)
    clip = Float(2.0)
    width_limits = List(Float(), maxlen=2)
    sizes = CaselessStrEnum(SIZES, default_value="width")
    whiskers = CaselessStrEnum(WHISKERS, default_value="shape")
    background_limits = List(Float(), maxlen=2)
    round_limits = List(Float(), maxlen=2)

    @validate("min_snr", "clip")
    def _above_zero(self, proposal: dict[str, Any]) -> float:
        value, name = float(proposal["value"]), proposal["trait"].name
        if not 0 < value < float("inf"):
            raise TraitError(f"{name} should be a positive number, found {value}")
        return value

    @validate("width_limits", "background_limits", "round_limits")
    def _in_order(self, proposal: dict[str, Any]) -> list[float]:
        return self._pair(proposal)

    @validate("tint")
    def _plane(self, proposal: dict[str, Any]) -> str:
        if proposal["value"] not in PLANES:
            raise TraitError(f"tint should be one of {', '.join(PLANES[1:])} or '', found {proposal['value']!r}")
        return str(proposal["value"])
