"""Controls of a calibration explorer: which sources and pixels are marked, which stars the PSF is fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import ipywidgets
import numpy as np
from astropy.table import Table

from corontools.calibrate.look import KINDS
from corontools.calibrate.planes import Plane
from corontools.calibrate.select import StarSelector
from corontools_widgets import controls
from corontools_widgets.background_controls import Numbers
from corontools_widgets.calibration_state import CalibrationState
from corontools_widgets.view import View

__all__ = ["MarkControls", "StarControls", "glyphs"]

SNRS = (10.0, 20.0, 30.0, 40.0, 50.0, 70.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0)
CLIPS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0)
SIGNS = {"psf": "○", "rejected": "+", "star": "◦", "galaxy": "□", "saturated": "◇", "sky": "△"}
# half the side of a sign, px, and over the side of the image where that is more
HALF, LEAST = 8.0, 0.01
TICK = {"width": "auto", "flex": "0 0 auto", "margin": "2px 10px 2px 2px"}
SIDES = ("x0", "y0", "x1", "y1")


class MarkControls:
    """Ticks for the kinds of sources that there are, and the plane that is tinted.

    Attributes
    ----------
    rows : list of ipywidgets.Widget
        To be shown.
    """

    def __init__(self, view: View, sources: Table) -> None:
        assert isinstance(view.state, CalibrationState)
        self.state = view.state
        self.boxes = {kind: ipywidgets.Checkbox(kind in self.state.kinds, indent=False, layout=TICK) for kind in KINDS}
        for kind, box in self.boxes.items():
            view.watch(partial(self._ticked, kind), "value", of=box)
        planes = [("nothing", ""), *((name, name) for name in Plane.__members__)]
        self.tint = controls.choice("tint", planes, self.state.tint)
        view.link("tint", self.tint)
        view.watch(self._follow, "kinds")
        self.rows = [controls.row(*self.boxes.values(), self.tint)]
        self.count(sources)

    def count(self, sources: Table) -> None:
        """Tell how many there are of each kind; those that there are none of are hidden."""
        for kind, box in self.boxes.items():
            n = int(np.count_nonzero(np.asarray(sources["kind"]) == kind))
            box.description = f"{SIGNS[kind]} {KINDS[kind]}: {n}"
            box.layout.display = "flex" if n else "none"

    def _follow(self, _: Any = None) -> None:
        for kind, box in self.boxes.items():
            box.value = kind in self.state.kinds

    def _ticked(self, kind: str, change: Mapping[str, Any]) -> None:
        wanted = [one for one in KINDS if (change["new"] if one == kind else one in self.state.kinds)]
        if wanted != self.state.kinds:
            self.state.kinds = wanted


class StarControls:
    """Least S/N, tolerance and limits of the width of the stars that the PSF is fitted to.

    Attributes
    ----------
    rows : list of ipywidgets.Widget
        To be shown.
    """

    def __init__(self, view: View, selector: StarSelector) -> None:
        assert isinstance(view.state, CalibrationState)
        self.state, self._given = view.state, selector
        self.snr = Numbers(view, "min_snr", "S/N of stars above", SNRS, lambda snr: f"{snr:.3g}")
        self.clip = Numbers(view, "clip", "widths within", CLIPS, lambda clip: f"{clip:.3g} σ")
        self.widths = controls.Range("widths of stars (px)")
        view.link("width_limits", self.widths)
        self.again = controls.button("as given", "the stars are chosen as they were again")
        self.again.on_click(lambda _: self.state.apply(self._as_given))
        self.sizes = controls.choice("draw", [("widths", "width"), ("less that of stars", "excess")], self.state.sizes)
        view.link("sizes", self.sizes)
        self.rows = [
            controls.row(self.snr.widget),
            controls.row(self.clip.widget),
            controls.row(self.widths.widget),
            controls.row(self.sizes, self.again),
        ]
        view.watch(self._follow, *self._as_given)
        self._follow()

    @property
    def _as_given(self) -> dict[str, Any]:
        return {"min_snr": self._given.min_snr, "clip": self._given.clip, "width_limits": []}

    @property
    def options(self) -> dict[str, float]:
        """Options of the selector that aren't as they were given."""
        state = self.state
        chosen = {"min_snr": state.min_snr, "clip": state.clip}
        chosen |= dict(zip(("min_width", "max_width"), state.width_limits, strict=False))
        return {name: value for name, value in chosen.items() if value != getattr(self._given, name)}

    def _follow(self, _: Any = None) -> None:
        self.again.disabled = not self.options and not self.state.width_limits


def glyphs(sources: Table, shape: tuple[int, int], *, most: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Marks and regions of a pane for sources: circles and crosses, squares and the like.

    Parameters
    ----------
    sources : Table
        As of `look.catalog`.
    shape : (int, int)
        Of the image, px.
    most : int
        Of each kind the brightest ones only.
    """
    marks, regions = list[dict[str, Any]](), list[dict[str, Any]]()
    half = max(HALF, LEAST * max(shape))
    for kind in KINDS:
        rows = np.flatnonzero(np.asarray(sources["kind"]) == kind)
        rows = rows[np.argsort(-np.asarray(sources["flux"], float)[rows], kind="stable")[:most]]
        for x, y in np.stack([np.asarray(sources[axis], float)[rows] for axis in "xy"], axis=1).round(2).tolist():
            if not np.isfinite(x + y):
                continue
            if kind in ("psf", "rejected"):
                marks.append({"kind": "companion" if kind == "psf" else "star", "x": x, "y": y, "radius": half})
            else:
                regions.append({"locked": True, "visible": True, **_outline(kind, x, y, half)})
    return marks, regions


def _outline(kind: str, x: float, y: float, half: float) -> dict[str, Any]:
    """A region about a place."""
    if kind == "star":
        return {"kind": "circle", "x": x, "y": y, "r": half / 2}
    if kind == "galaxy":
        return {"kind": "rectangle", **dict(zip(SIDES, (x - half, y - half, x + half, y + half), strict=True))}
    corners = ((0, 1), (1, 0), (0, -1), (-1, 0)) if kind == "saturated" else ((0, 1), (1, -0.7), (-1, -0.7))
    return {"kind": "polygon", "points": [[x + half * dx, y + half * dy] for dx, dy in corners]}
