"""Frames of one visit on the pixels of a common projection, their PSF there, matched PSFs, and sums of many visits."""

from corontools.warp.coadd import Coadd
from corontools.warp.corrections import Corrections
from corontools.warp.diagnose import diagnose
from corontools.warp.likelihood import likelihood
from corontools.warp.match import FourierMatcher, PSFMatcher
from corontools.warp.model import ModelPSF
from corontools.warp.rejection import ArtifactRejection
from corontools.warp.reuse import WarpTypes, make_warps
from corontools.warp.select import select_exposures, worst_seeing
from corontools.warp.skymap import SkyMap
from corontools.warp.tract import Patch, Tiling, Tract
from corontools.warp.warp import Warp
from corontools.warp.warper import Warper

__all__ = [
    "ArtifactRejection",
    "Coadd",
    "Corrections",
    "FourierMatcher",
    "ModelPSF",
    "PSFMatcher",
    "Patch",
    "SkyMap",
    "Tiling",
    "Tract",
    "Warp",
    "WarpTypes",
    "Warper",
    "diagnose",
    "likelihood",
    "make_warps",
    "select_exposures",
    "worst_seeing",
]
