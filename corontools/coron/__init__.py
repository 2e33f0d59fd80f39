"""Coronagraphy: stack, align and subtract reference stars, measure what is left."""

from corontools.coron.aligned import AlignedRefs
from corontools.coron.calibrated import CalibratedContrast, ModeChoice
from corontools.coron.chain import replay
from corontools.coron.combined import CombinedImage, combine
from corontools.coron.companion import CompanionFit, fit_companion
from corontools.coron.completeness import Completeness, FalseAlarms
from corontools.coron.contrast import ContrastCurve
from corontools.coron.detection import DetectionMap, detection_map
from corontools.coron.forward import Response
from corontools.coron.klip import KlipResult
from corontools.coron.live import Live
from corontools.coron.matching import SourceFlux, flux_at
from corontools.coron.pipeline import Coron3, coron3
from corontools.coron.series import ModeSeries
from corontools.coron.source import Source, SourceSet
from corontools.coron.stack import PSFStack
from corontools.coron.stim import StimMap, stim_map
from corontools.coron.zones import Zones

__all__ = [
    "AlignedRefs",
    "CalibratedContrast",
    "CombinedImage",
    "CompanionFit",
    "Completeness",
    "ContrastCurve",
    "Coron3",
    "DetectionMap",
    "FalseAlarms",
    "KlipResult",
    "Live",
    "ModeChoice",
    "ModeSeries",
    "PSFStack",
    "Response",
    "Source",
    "SourceFlux",
    "SourceSet",
    "StimMap",
    "Zones",
    "combine",
    "coron3",
    "detection_map",
    "fit_companion",
    "flux_at",
    "replay",
    "stim_map",
]
