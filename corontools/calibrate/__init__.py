"""A single frame from counts to nJy: cosmic rays, PSF, astrometry, photometry."""

from corontools.calibrate.image import CalibratedImage, CalibrationError, calibrate
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psfex import read_psfex
from corontools.calibrate.refcat import RefCat
from corontools.calibrate.steps import Steps
from corontools.calibrate.visit import VisitImage

__all__ = [
    "CalibratedImage", "CalibrationError", "MaskedImage", "Plane", "RefCat", "Steps", "VisitImage", "calibrate",
    "read_psfex",
]  # fmt: skip
