"""Which exposures are on a patch, and the seeing of all, without warping a pixel."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable

from corontools.calibrate.image import CalibratedImage
from corontools.calibrate.product import VisitOutline, read_outline
from corontools.calibrate.visit import VisitImage
from corontools.errors import DataError
from corontools.warp.merge import Visit, opened
from corontools.warp.model import ModelPSF
from corontools.warp.psf import Origin, WarpedPSF
from corontools.warp.tract import Patch, Tract
from corontools.warp.warper import overlap

__all__ = ["outline_of", "select_exposures", "worst_seeing"]


def select_exposures(exposures: Iterable[Visit], patch: Patch) -> list[Visit]:
    """Those exposures that may have pixels on a patch, by the boxes around them; of files only the headers are read.

    One that can't be read, or has no WCS, is left out with a warning.
    """
    chosen = []
    for one in exposures:
        try:
            if not overlap(outline_of(one), patch).empty:
                chosen.append(one)
        except DataError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
    return chosen


def worst_seeing(exposures: Iterable[Visit], onto: Patch | Tract) -> ModelPSF:
    """The model as wide as the widest PSF that any of the exposures has on a patch or tract, see `ModelPSF.like`.

    Raises
    ------
    DataError
        If none of them is on it.
    """
    psfs = []
    for one in exposures:
        image = opened(one)
        psf = WarpedPSF((Origin(image.psf, image.wcs, image.shape),), onto.wcs, onto.shape)
        psfs += [psf] if psf.places(2)[0].size else []
    if not psfs:
        place = f"patch {onto.name} of tract {onto.tract.number}" if isinstance(onto, Patch) else f"tract {onto.number}"
        raise DataError(f"no exposure is on {place}")
    return ModelPSF.like(*psfs, shape=onto.shape)


def outline_of(one: Visit) -> VisitOutline | VisitImage:
    """Names and place of an exposure.

    Raises
    ------
    DataError
        If it is a file that can't be read.
    """
    if isinstance(one, str | os.PathLike):
        return read_outline(one)
    return VisitImage.from_calibrated(one) if isinstance(one, CalibratedImage) else one
