"""What was found out about frames after they were calibrated, applied before they are warped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corontools.calibrate.visit import VisitImage
from corontools.errors import DataError
from corontools.result import code_of

__all__ = ["Corrections"]


@dataclass(frozen=True, eq=False)
class Corrections:
    """External calibrations by detector, or by (visit, detector).

    Parameters
    ----------
    calibration : mapping, optional
        nJy of one unit of the frame: numbers, or arrays (y, x).
    wcs : mapping, optional
        astropy WCS.
    sky : mapping, optional
        Sky of the whole focal plane that is left, nJy: numbers, arrays (y, x) or BackgroundLists.
    background : bool
        Add the background that was subtracted.
    """

    calibration: Mapping[Any, Any] | None = None
    wcs: Mapping[Any, Any] | None = None
    sky: Mapping[Any, Any] | None = None
    background: bool = False

    @property
    def code(self) -> str:
        """Python code that gives them again; arrays, WCS and backgrounds go by their fingerprints."""
        given = {name: value for name, value in vars(self).items() if value}
        return f"Corrections({', '.join(f'{name}={code_of(value)}' for name, value in given.items())})"

    def apply(self, image: VisitImage) -> VisitImage:
        """The image in nJy, with what is given for it.

        Raises
        ------
        DataError
            If a kind of correction is given, but not for this detector.
        """
        return image.calibrated(
            calibration=_of(self.calibration, image, "calibration"),
            wcs=_of(self.wcs, image, "WCS"),
            sky_correction=_of(self.sky, image, "sky correction"),
            background=self.background,
        )


def _of(given: Mapping[Any, Any] | None, image: VisitImage, what: str) -> Any:
    if given is None:
        return None
    for key in ((image.visit, image.detector), image.detector):
        if key in given:
            return given[key]
    raise DataError(f"{image.name}: no external {what} is given for it")
