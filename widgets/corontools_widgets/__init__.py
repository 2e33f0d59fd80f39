"""Views of corontools results; users import them from `corontools.widgets`.

`explore(result)` opens the view of any result; so does `result.explore()`.
"""

from corontools_widgets.alignment import AlignmentExplorer, AlignmentState
from corontools_widgets.background import BackgroundExplorer, BackgroundState
from corontools_widgets.calibration import CalibrationExplorer, CalibrationState
from corontools_widgets.contrast import ContrastExplorer, ContrastState
from corontools_widgets.detection import DetectionExplorer, DetectionState
from corontools_widgets.explore import explore
from corontools_widgets.exposure import ExposureExplorer, ExposureState
from corontools_widgets.film_strip import FilmStrip
from corontools_widgets.flicker import FlickerExplorer, FlickerState
from corontools_widgets.image_pane import ImagePane, RadialNoise, Stroke
from corontools_widgets.klip import KLModeExplorer
from corontools_widgets.klip_state import KlipState
from corontools_widgets.limits import PublishedCurve, published
from corontools_widgets.stack import StackExplorer, StackState
from corontools_widgets.state import ViewState
from corontools_widgets.view import View
from corontools_widgets.warp import WarpExplorer, WarpState
from corontools_widgets.warp_coadd import CoaddExplorer, CoaddState

__all__ = [
    "AlignmentExplorer",
    "AlignmentState",
    "BackgroundExplorer",
    "BackgroundState",
    "CalibrationExplorer",
    "CalibrationState",
    "CoaddExplorer",
    "CoaddState",
    "ContrastExplorer",
    "ContrastState",
    "DetectionExplorer",
    "DetectionState",
    "ExposureExplorer",
    "ExposureState",
    "FilmStrip",
    "FlickerExplorer",
    "FlickerState",
    "ImagePane",
    "KLModeExplorer",
    "KlipState",
    "PublishedCurve",
    "RadialNoise",
    "StackExplorer",
    "StackState",
    "Stroke",
    "View",
    "ViewState",
    "WarpExplorer",
    "WarpState",
    "explore",
    "published",
]
