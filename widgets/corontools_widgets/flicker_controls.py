"""Controls of a flicker explorer: which image, how it is fitted, what is masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets
import numpy as np

from corontools.flicker.readout import Readout
from corontools_widgets import controls
from corontools_widgets.flicker_state import FlickerState
from corontools_widgets.view import View, close_widget

__all__ = ["FlickerControls"]

SIGMAS = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
BOXES = (8, 16, 32, 64, 128, 256)
BACKGROUND_WORDS = {"median": "median", "model": "smooth map", "median_image": "median of integrations", None: "none"}
METHOD_WORDS = {"median": "medians", "fft": "slow waves (fft)", "stream": "time stream"}


class FlickerControls:
    """Rows of controls tied to the state of a view.

    Parameters
    ----------
    view : View
        Its state is a `FlickerState` that knows its exposure.
    readout : Readout
        Of the exposure.
    ramp : bool
        Images are differences between groups.

    Attributes
    ----------
    rows : list of ipywidgets.Widget
        To be shown.
    """

    def __init__(self, view: View, readout: Readout, *, ramp: bool) -> None:
        assert isinstance(view.state, FlickerState)
        self.state, self._ramp, self._following = view.state, ramp, False
        self._channels = readout.channels
        self._make_choices(readout.stripes[:-1])
        self._make_mask()
        self._tie(view)
        place = [self.integration.widget] if (self.state.n_int or 1) > 1 else []
        place += [self.group.widget] if ramp else []
        self.rows = [
            *([controls.row(*place)] if place else []),
            controls.row(self.background, self.box),
            controls.row(self.method, self.by_channel),
            controls.row(self.sigmas.widget),
            controls.row(controls.words("mask rates above", margin="0 6px 0 2px"), self.above, self.clear),
            *([controls.row(self.paint_all)] if (self.state.n_int or 1) > 1 else []),
        ]
        self._unused = [] if (self.state.n_int or 1) > 1 else [self.integration.widget, self.paint_all]
        self._unused += [] if ramp else [self.group.widget]
        view.at_end(self._close_unused)
        self.follow()

    def _make_choices(self, line: str) -> None:
        state = self.state
        self.integration = controls.Stepper("integration", [f"{i + 1}" for i in range(state.n_int or 1)])
        self.group = controls.Stepper("groups", self._groups)
        backgrounds = [(BACKGROUND_WORDS[name], name) for name in state.backgrounds]
        self.background = controls.choice("background", backgrounds, state.background)
        self.box = controls.choice("boxes", self._boxes(), tuple(state.box))
        methods = [(METHOD_WORDS[name], name) for name in state.methods]
        self.method = controls.choice("noise", methods, state.method)
        self.by_channel = _box(f"a level for each amplifier of a {line}", state.by_channel)

    def _make_mask(self) -> None:
        self.sigmas = controls.Stepper("sources beyond", [f"{s:g} σ" if s else "no clipping" for s in SIGMAS])
        self.above = ipywidgets.Text(
            placeholder="none",
            continuous_update=False,
            tooltip="pixels whose draft rate is higher are masked; empty: none",
            layout={"width": "100px", "flex": "0 0 auto"},
        )
        self.clear = controls.button("clear mask edits", "take away all that is drawn, painted and above a rate")
        self.paint_all = _box("paint in all integrations", self.state.paint_all)

    def _tie(self, view: View) -> None:
        for name in ("background", "method", "by_channel", "paint_all"):
            view.link(name, getattr(self, name))
        view.watch(self._boxed, "value", of=self.box)
        view.watch(self._typed, "value", of=self.above)
        for stepper, moved in (
            (self.integration, self._integration_moved),
            (self.group, self._group_moved),
            (self.sigmas, self._sigma_moved),
        ):
            stepper.slider.continuous_update = stepper is not self.sigmas
            view.watch(moved, "index", of=stepper)
        self.clear.on_click(lambda _: self.state.apply({"painted": [], "regions": [], "above": None}))
        view.watch(self.follow)

    @property
    def first_group(self) -> int:
        """Earliest group that goes with an image: the first has no difference to one before."""
        return 1 if self._ramp and self.state.background != "median_image" else 0

    @property
    def _groups(self) -> list[str]:
        n = self.state.n_group or 1
        if self.first_group:
            return [f"{j + 1} \u2212 {j}" for j in range(1, n)]
        return [f"{j + 1}" for j in range(n)]

    def _boxes(self) -> list[tuple[str, tuple[int, ...]]]:
        shape, chosen = self.state.shape or (0, 0), tuple(self.state.box)
        known = [(side, side) for side in BOXES if side <= min(shape)]
        known += [chosen] if chosen and chosen not in known else []  # type: ignore[list-item]
        return [("automatic", ()), *((f"{y} x {x} px", (y, x)) for y, x in known)]

    def follow(self, _: Any = None) -> None:
        """Show what is chosen."""
        state = self.state
        self.integration.index = state.integration
        if self.group.names != tuple(self._groups):
            self.group.rename(self._groups)
        self.group.index = max(0, state.group - self.first_group)
        self.sigmas.index = _nearest(state.n_sigma)
        self._follow_box()
        self.above.value = "" if state.above is None else f"{state.above:g}"
        self.box.layout.display = "flex" if state.background == "model" else "none"
        several = state.method == "median" and self._channels > 1
        self.by_channel.layout.display = "flex" if several else "none"
        self.clear.disabled = not state.painted and not state.regions and state.above is None

    def _follow_box(self) -> None:
        chosen = tuple(self.state.box)
        self._following = True  # other options choose the first of them for a moment
        if chosen not in [value for _, value in self.box.options]:
            self.box.options = self._boxes()
        self.box.value = chosen
        self._following = False

    def _integration_moved(self, change: Mapping[str, Any]) -> None:
        if change["new"] != self.state.integration:
            self.state.apply({"integration": change["new"]}, drag="integration")

    def _group_moved(self, change: Mapping[str, Any]) -> None:
        group = change["new"] + self.first_group
        if group != max(self.state.group, self.first_group):
            self.state.apply({"group": group}, drag="group")

    def _sigma_moved(self, change: Mapping[str, Any]) -> None:
        if change["new"] != _nearest(self.state.n_sigma):
            self.state.n_sigma = SIGMAS[change["new"]]

    def _boxed(self, change: Mapping[str, Any]) -> None:
        if not self._following:
            self.state.box = list(change["new"])

    def _typed(self, change: Mapping[str, Any]) -> None:
        text = change["new"].strip()
        shown = "" if self.state.above is None else f"{self.state.above:g}"
        if text == shown:
            return
        try:
            value = float(text) if text else None
        except ValueError:
            value = np.nan
        if value is not None and not np.isfinite(value):
            self.above.value = shown  # what is no number is taken back
        else:
            self.state.above = value

    def _close_unused(self) -> None:
        for widget in self._unused:
            close_widget(widget)


def _nearest(sigma: float) -> int:
    return int(np.argmin(np.abs(np.array(SIGMAS) - sigma)))


def _box(label: str, value: bool) -> ipywidgets.Checkbox:
    layout = ipywidgets.Layout(width="auto", flex="0 0 auto", margin="2px 10px 2px 2px")
    return ipywidgets.Checkbox(value, description=label, indent=False, layout=layout)
