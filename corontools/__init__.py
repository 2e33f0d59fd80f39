"""From calibrated coronagraphic exposures to a contrast curve, every decision visible and changeable.

Names are loaded when first used, so that `import corontools` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corontools.association import Association
    from corontools.background import BackgroundModel
    from corontools.calibrate import CalibratedImage, RefCat
    from corontools.coron import (
        AlignedRefs,
        CalibratedContrast,
        CompanionFit,
        ContrastCurve,
        DetectionMap,
        KlipResult,
        Live,
        ModeSeries,
        PSFStack,
        Source,
        Zones,
        combine,
        coron3,
        detection_map,
        fit_companion,
        replay,
    )
    from corontools.dq import DQ
    from corontools.errors import DataError
    from corontools.exposure import Exposure
    from corontools.flicker import FlickerCleaner
    from corontools.meta import Meta
    from corontools.result import Result

__version__ = "0.1.0"

_HOME = {
    "AlignedRefs": "coron",
    "Association": "association",
    "BackgroundModel": "background",
    "CalibratedContrast": "coron",
    "CalibratedImage": "calibrate",
    "CompanionFit": "coron",
    "ContrastCurve": "coron",
    "DQ": "dq",
    "DataError": "errors",
    "DetectionMap": "coron",
    "Exposure": "exposure",
    "FlickerCleaner": "flicker",
    "KlipResult": "coron",
    "Live": "coron",
    "Meta": "meta",
    "ModeSeries": "coron",
    "PSFStack": "coron",
    "RefCat": "calibrate",
    "Result": "result",
    "Source": "coron",
    "Zones": "coron",
    "combine": "coron",
    "coron3": "coron",
    "detection_map": "coron",
    "fit_companion": "coron",
    "replay": "coron",
}
__all__ = [
    "DQ",
    "AlignedRefs",
    "Association",
    "BackgroundModel",
    "CalibratedContrast",
    "CalibratedImage",
    "CompanionFit",
    "ContrastCurve",
    "DataError",
    "DetectionMap",
    "Exposure",
    "FlickerCleaner",
    "KlipResult",
    "Live",
    "Meta",
    "ModeSeries",
    "PSFStack",
    "RefCat",
    "Result",
    "Source",
    "Zones",
    "combine",
    "coron3",
    "detection_map",
    "fit_companion",
    "replay",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'corontools' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"corontools.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
