"""BackgroundState: the choices of a background explorer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from traitlets import CaselessStrEnum, Dict, Enum, Float, Int, List, TraitError, validate

from corontools_widgets.image_view import ImageState
from corontools_widgets.state import STRETCHES

__all__ = ["REJECTIONS", "BackgroundState"]

REJECTIONS = ("leave_one_out", "sigma_clip", "none")
SIDES = ("x0", "y0", "x1", "y1")


class BackgroundState(ImageState):
    """Choices of a `BackgroundExplorer`; those of other kinds of background do nothing.

    Attributes
    ----------
    frame : int
        Target, background, residual (0, 1, 2), then the exposures of a mean. Without a target: background, exposures.
    sigma : float
        Of a mean: values further away are rejected, positive.
    reject : {"leave_one_out", "sigma_clip", "none"}
        Of a mean, see `BackgroundModel.from_exposures`.
    outlier_percent : float
    maxiter : int
        Of a reference, see `BackgroundModel.fit`.
    left_out : list of int
        Of a reference: boxes of `BackgroundModel.mask_boxes` that don't mask, 0-based.
    regions : list of dict
        Of a reference: rectangles that mask as well, as `ImagePane.regions`.
    template : int
        Number of the template that is scaled.
    left, right : float
        Of templates: what the scales are multiplied by; 1 for those of the fit.
    factor : float
        Of an image: what its scale is multiplied by.
    """

    stretch = CaselessStrEnum(STRETCHES, default_value="linear")
    sigma = Float(3.0)
    reject = Enum(REJECTIONS, default_value="leave_one_out")
    outlier_percent = Float(1.0)
    maxiter = Int(5, min=0)
    left_out = List(Int(min=0))
    regions = List(Dict())
    template = Int(0, min=0)
    left = Float(1.0)
    right = Float(1.0)
    factor = Float(1.0)
    # known when a view has the state
    n_boxes: int | None = None
    n_templates: int | None = None

    @validate("sigma")
    def _sigma_positive(self, proposal: dict[str, Any]) -> float:
        return self._positive(proposal)

    @validate("left", "right", "factor")
    def _finite(self, proposal: dict[str, Any]) -> float:
        value, name = float(proposal["value"]), proposal["trait"].name
        if not math.isfinite(value):
            raise TraitError(f"{name} should be a finite number, found {value}")
        return value

    @validate("outlier_percent")
    def _less_than_half(self, proposal: dict[str, Any]) -> float:
        if not 0 <= proposal["value"] < 50:
            raise TraitError(f"outlier_percent should be 0 to 50, found {proposal['value']}")
        return float(proposal["value"])

    @validate("template")
    def _template_there(self, proposal: dict[str, Any]) -> int:
        return self.below(proposal, self.n_templates)

    @validate("left_out")
    def _boxes_there(self, proposal: dict[str, Any]) -> list[int]:
        for index in proposal["value"]:
            self.below({"value": index, "trait": proposal["trait"]}, self.n_boxes)
        return sorted(set(proposal["value"]))

    @validate("regions")
    def _rectangles(self, proposal: dict[str, Any]) -> list[dict[str, Any]]:
        for region in proposal["value"]:
            if not _is_rectangle(region):
                raise TraitError(f"a region is a rectangle (x0, y0, x1, y1) in px, found {dict(region)}")
        return list(proposal["value"])


def _is_rectangle(region: Mapping[str, Any]) -> bool:
    ends = [region.get(name) for name in SIDES]
    return region.get("kind") == "rectangle" and all(isinstance(e, int | float) and math.isfinite(e) for e in ends)
