"""FlickerState: the choices of a flicker explorer, and the pixels that are masked by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from traitlets import Bool, CaselessStrEnum, Dict, Enum, Float, Int, List, TraitError, Unicode, validate

from corontools.errors import DataError
from corontools.flicker.level import box_of
from corontools_widgets.image_pane import Stroke
from corontools_widgets.image_view import ImageState
from corontools_widgets.masks import painting, read_stroke
from corontools_widgets.state import STRETCHES

__all__ = ["ALL", "BACKGROUNDS", "METHODS", "FlickerState", "brushed", "shapes"]

ALL = -1  # integration of a stroke that is painted in all of them
METHODS = ("median", "fft", "stream")
BACKGROUNDS = ("median", "model", "median_image", None)
# numbers that tell where a shape lies
PLACED = {"rectangle": ("x0", "y0", "x1", "y1"), "circle": ("x", "y", "r")}


class FlickerState(ImageState):
    """Choices of a `FlickerExplorer`.

    Attributes
    ----------
    frame : int
        0 the image before, 1 after the correction, 2 the noise that is removed.
    integration, group : int
        Image that is shown, 0-based; a difference between two groups goes by the later one.
    n_sigma : float
        Where sources begin, see `FlickerCleaner.mask_scene`; 0: nothing is clipped.
    background : {"median", "model", "median_image"} or None
    box : list of int
        Height and width of the boxes of "model", px; [] for automatic.
    method : {"median", "fft", "stream"}
        How the stripes are fitted.
    by_channel : bool
        A level for each amplifier's part of a line, with "median".
    painted : list of str
        Strokes of the brush, see `masks.write_stroke`, with the integration (-1: all) in place of the frame: "+" masks
        pixels, "-" makes them background.
    regions : list of dict
        Rectangles, circles and polygons that are masked, as `ImagePane.regions`; strokes go over them.
    above : float or None
        Pixels whose draft rate is higher are masked.
    paint_all : bool
        The brush paints in all integrations.
    noise_limits : [float, float] or []
        `limits` of the noise.
    """

    stretch = CaselessStrEnum(STRETCHES, default_value="linear")
    integration = Int(0, min=0)
    group = Int(0, min=0)
    n_sigma = Float(2.0)
    background = Enum(BACKGROUNDS, default_value="median")
    box = List(Int(min=1), maxlen=2)
    method = Enum(METHODS, default_value="median")
    by_channel = Bool(False)
    painted = List(Unicode())
    regions = List(Dict())
    above = Float(None, allow_none=True)
    paint_all = Bool(True)
    noise_limits = List(Float(), maxlen=2)
    # known when a view has the state
    n_int: int | None = None
    n_group: int | None = None
    shape: tuple[int, int] | None = None
    methods: tuple[str, ...] = METHODS
    backgrounds: tuple[str | None, ...] = BACKGROUNDS

    @validate("integration")
    def _integration_there(self, proposal: dict[str, Any]) -> int:
        return self.below(proposal, self.n_int)

    @validate("group")
    def _group_there(self, proposal: dict[str, Any]) -> int:
        return self.below(proposal, self.n_group)

    @validate("n_sigma")
    def _not_negative(self, proposal: dict[str, Any]) -> float:
        if not 0 <= proposal["value"] < math.inf:
            raise TraitError(f"n_sigma should be 0 (no clipping) or a positive number, found {proposal['value']}")
        return float(proposal["value"])

    @validate("above")
    def _finite(self, proposal: dict[str, Any]) -> float | None:
        value = proposal["value"]
        if value is not None and not math.isfinite(value):
            raise TraitError(f"above should be a finite rate or None, found {value}")
        return None if value is None else float(value)

    @validate("method", "background")
    def _possible(self, proposal: dict[str, Any]) -> str | None:
        name, value = proposal["trait"].name, proposal["value"]
        known = self.methods if name == "method" else self.backgrounds
        if value not in known:
            raise TraitError(f"the {name} of this exposure is one of {', '.join(map(str, known))}; found {value!r}")
        return value

    @validate("box")
    def _two_sides(self, proposal: dict[str, Any]) -> list[int]:
        box = list(proposal["value"])
        if len(box) == 1:
            raise TraitError(f"a box is its height and width, or [] for automatic; found {box}")
        if box and self.shape is not None:
            try:
                box_of(self.shape, box)
            except DataError as error:
                raise TraitError(str(error)) from error
        return box

    @validate("noise_limits")
    def _in_order(self, proposal: dict[str, Any]) -> list[float]:
        return self._pair(proposal)

    @validate("painted")
    def _strokes(self, proposal: dict[str, Any]) -> list[str]:
        for text in proposal["value"]:
            self.below({"value": read_stroke(text).frame, "trait": proposal["trait"]}, self.n_int)
        return list(proposal["value"])

    @validate("regions")
    def _shapes(self, proposal: dict[str, Any]) -> list[dict[str, Any]]:
        for region in proposal["value"]:
            if not _is_shape(region):
                raise TraitError(
                    "a region is a rectangle (x0, y0, x1, y1), a circle (x, y, r) or a polygon (points), in px; "
                    f"found {dict(region)}"
                )
        return list(proposal["value"])


def _is_shape(region: Mapping[str, Any]) -> bool:
    kind = str(region.get("kind"))
    if kind == "polygon":
        numbers = [number for point in region.get("points", ()) for number in point]
        return len(numbers) >= 6 and all(map(math.isfinite, numbers))
    numbers = [region.get(name, math.nan) for name in PLACED.get(kind, ("missing",))]
    return all(map(math.isfinite, numbers))


def shapes(regions: Sequence[Mapping[str, Any]], shape: tuple[int, int]) -> list[Any]:
    """Regions as `FlickerCleaner.edit_mask` takes them; circles are pixels."""
    found: list[Any] = []
    circles = [Stroke(ALL, ((r["x"], r["y"]),), abs(r["r"]), False) for r in regions if r["kind"] == "circle"]
    for region in regions:
        if region["kind"] == "rectangle":
            (x0, x1), (y0, y1) = (sorted(round(region[axis + end], 1) for end in "01") for axis in "xy")
            found.append((x0, y0, x1, y1))
        elif region["kind"] == "polygon":
            found.append([(round(x, 1), round(y, 1)) for x, y in region["points"]])
    return [*found, *([painting(circles, (1, *shape))[0]] if circles else [])]


def brushed(painted: Sequence[str], shape: tuple[int, int, int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pixels that the strokes leave masked, and those that they leave unmasked, (y, x), or (n_int, y, x).

    `shape` is that of all integrations, which are told apart where a stroke is not in all of them.
    """
    strokes = [read_stroke(text) for text in painted]
    each = any(stroke.frame != ALL for stroke in strokes)
    size = shape if each else (1, *shape[1:])
    masked = painting(strokes, size)
    touched = painting([Stroke(s.frame, s.points, s.radius, erase=False) for s in strokes], size)
    used = touched & ~masked
    return (masked, used) if each else (masked[0], used[0])
