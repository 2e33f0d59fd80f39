"""What a warp is made of: tables of the visit and of its detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table

from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.visit import VisitImage
from corontools.warp.sky import outline
from corontools.warp.warper import WarpedDetector

__all__ = ["Inputs", "ccd_row", "recounted", "tables"]

CCD_COLUMNS: dict[str, Any] = {
    "visit": "U1", "ccd": "U1", "filter": "U1", "goodpix": "i8", "x0": "i8", "y0": "i8", "x1": "i8", "y1": "i8",
    "corners": ("f8", (4, 2)), "place_error": "f8", "step": "i8", "file": "U1",
}  # fmt: skip
# pixels along an axis of which the variance of a warp is told, about so many
SAMPLE = 256


class Inputs(NamedTuple):
    """What a warp is made of.

    Attributes
    ----------
    visits : Table
        visit, goodpix (pixels that it contributes), weight (inverse of the median variance, 1 / nJy^2), filter.
    ccds : Table
        Detectors in the order in which they were written: visit, ccd, filter, goodpix (good pixels of its warp), x0,
        y0, x1, y1 (pixels of the tract), corners (4, 2) (right ascension and declination of its corners, degrees),
        place_error (px of the detector, see `Warper`), step (px), file.
    """

    visits: Table
    ccds: Table


def tables(visit: tuple[int | str, str], rows: Sequence[dict[str, Any]], frame: MaskedImage) -> Inputs:
    """Tables of a visit (its name and filter), of the detectors (`ccd_row`), and of what they make."""
    good, weight = _measured(frame)
    visits = Table({"visit": [visit[0]], "goodpix": [good], "weight": [weight], "filter": [visit[1]]})
    ccds = Table(list(rows)) if rows else Table({name: np.empty(0, kind) for name, kind in CCD_COLUMNS.items()})
    ccds["corners"].unit, ccds["place_error"].unit, visits["weight"].unit = "deg", "pix", "1 / nJy2"
    return Inputs(visits, ccds)


def recounted(inputs: Inputs, frame: MaskedImage, owner: np.ndarray | None) -> Inputs:
    """The tables of the same detectors for what was made of their warp; `owner` is the number of each pixel's."""
    visits, ccds = inputs.visits.copy(), inputs.ccds.copy()
    visits["goodpix"], visits["weight"] = ([value] for value in _measured(frame))
    visits["weight"].unit = inputs.visits["weight"].unit
    if owner is not None:
        counts = np.bincount(owner[np.isfinite(frame.image) & (owner >= 0)], minlength=len(ccds))
        ccds["goodpix"] = counts
    return Inputs(visits, ccds)


def _measured(frame: MaskedImage) -> tuple[int, float]:
    """Pixels with a value, and the inverse of the median variance."""
    step = max(max(frame.shape) // SAMPLE, 1)
    sample = frame.variance[::step, ::step]
    sample = sample[np.isfinite(sample)]
    weight = float(1 / np.median(sample)) if sample.size else 0.0
    return int(np.count_nonzero(np.isfinite(frame.image))), weight


def ccd_row(image: VisitImage, warped: WarpedDetector, goodpix: int) -> dict[str, Any]:
    """What the table tells of a detector."""
    box, corners = warped.box, outline(image.wcs, image.shape)[:, ::8].T
    return {
        "visit": image.visit, "ccd": image.detector, "filter": image.filter, "goodpix": goodpix,
        "x0": box.x0, "y0": box.y0, "x1": box.x1, "y1": box.y1, "corners": corners,
        "place_error": warped.error, "step": warped.step, "file": image.meta.filename,
    }  # fmt: skip
