"""Detections: footprints and peaks found in a frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.table import Table

from corontools.calibrate.masked import MaskedImage
from corontools.exposure import readonly

__all__ = ["Detections"]


@dataclass(frozen=True, eq=False)
class Detections:
    """Footprints and peaks found in a frame.

    Attributes
    ----------
    labels : ndarray of int32, shape (y, x)
        Footprint that a pixel belongs to (its `id`), 0 where there is none.
    footprints : Table
        One row per footprint: `id` (the label, 1, 2, ...), the corners `x_min`, `y_min`, `x_max`, `y_max` (px, inside
        the footprint), `n_pixels`, `n_peaks`, `significance` (that of its highest peak) and `sky_source`.
    peaks : Table
        One row per peak, by footprint and then falling height: `id` (1, 2, ...), `footprint`, the pixel `x`, `y`,
        `significance` (height of the smoothed image over its noise) and `height` (of the smoothed image).
    masked : MaskedImage
        The frame with DETECTED and EDGE set, less the background that was fitted again.
    background : BackgroundEntry or None
        That background, if one was fitted.
    sigma : float
        Width of the Gaussian that the frame was smoothed with, px.
    threshold : float
        Significance down to which footprints reach.
    """

    labels: np.ndarray
    footprints: Table
    peaks: Table
    masked: MaskedImage
    background: Any = None
    sigma: float = field(default=float("nan"), kw_only=True)
    threshold: float = field(default=float("nan"), kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", readonly(np.asarray(self.labels)))

    def __len__(self) -> int:
        return len(self.footprints)

    def with_(self, **changes: Any) -> Detections:
        """Copy with the named attributes changed."""
        return replace(self, **changes)
