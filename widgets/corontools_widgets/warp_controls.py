"""Controls of a warp explorer: what is seen, and how PSFs are matched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np

from corontools.calibrate.planes import Plane
from corontools_widgets import controls
from corontools_widgets.background_controls import Numbers
from corontools_widgets.view import View
from corontools_widgets.warp_state import MATCHERS, WarpState

__all__ = ["MatchControls", "SeenControls"]

# of the suggested FWHM, and the distance of the places of the slider, px
SPAN, STEP = (0.6, 2.0), 0.1
KERNELS = tuple(range(5, 62, 2))
FOURIER_KERNELS = (0, *range(11, 102, 2))
CELLS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)
ORDERS = (0, 1, 2, 3, 4, 5)
TIMES = (1.0, 1.5, 2.0)
TICK = {"width": "auto", "flex": "0 0 auto", "margin": "2px 10px 2px 2px"}


class SeenControls:
    """Which plane is tinted, and whether each image has limits of its own.

    Attributes
    ----------
    rows : list of ipywidgets.Widget
        To be shown.
    """

    def __init__(self, view: View, *, several: bool) -> None:
        assert isinstance(view.state, WarpState)
        planes = [("nothing", ""), *((name, name) for name in Plane.__members__)]
        self.tint = controls.choice("tint", planes, view.state.tint)
        view.link("tint", self.tint)
        self.own = None
        if several:
            self.own = ipywidgets.Checkbox(
                view.state.own, description="matched: limits of its own", indent=False, layout=TICK
            )
            view.link("own", self.own)
        self.rows = [controls.row(self.tint, *([self.own] if self.own is not None else []))]


class MatchControls:
    """Model and matcher.

    Parameters
    ----------
    view : View
    suggested : float
        FWHM of the model that is as wide as the PSF anywhere, px.
    sigmas : sequence of float
        Of which the presets are multiples.
    given : dict
        Choices that stand for what was given.

    Attributes
    ----------
    rows : list of ipywidgets.Widget
        To be shown.
    """

    def __init__(self, view: View, suggested: float, sigmas: Sequence[float], given: Mapping[str, Any]) -> None:
        assert isinstance(view.state, WarpState)
        self.state, self._suggested, self._sigmas = view.state, suggested, tuple(sigmas)
        low, high = (np.round(edge * suggested, 1) for edge in SPAN)
        places = np.round(np.arange(low, high + STEP / 2, STEP), 2).tolist()
        places = sorted({*places, suggested, *([0.0] if not given["fwhm"] else [])})
        self.fwhm = Numbers(view, "fwhm", "model FWHM", places, self._width, live=True)
        self.suggest = controls.button(
            f"as wide as the PSF: {suggested:g} px", "the model that is as wide as the PSF where it is widest"
        )
        self.suggest.on_click(lambda _: self.state.apply({"fwhm": suggested}))
        self.matcher = controls.choice(
            "matcher", [(words, name) for name, words in MATCHERS.items()], view.state.matcher
        )
        view.watch(self._other, "value", of=self.matcher)
        self.sigmas = controls.choice("sigmas", self._presets(), tuple(view.state.sigmas))
        view.watch(self._chosen, "value", of=self.sigmas)
        self.size = Numbers(view, "kernel_size", "kernel", KERNELS, _side)
        self.fourier = Numbers(view, "fourier_size", "kernel", FOURIER_KERNELS, _side)
        self.order = Numbers(view, "order", "order", ORDERS, "{:.0f}".format)
        self.cell = Numbers(view, "cell", "cell", CELLS, "{:.0f} px".format)
        self.again = controls.button("as given", "model and matcher as they were at first")
        self.again.on_click(lambda _: self.state.apply(given))
        self._given, self._following = dict(given), False
        self.rows = [
            controls.row(self.fwhm.widget),
            controls.row(self.suggest, self.again),
            controls.row(self.matcher, self.sigmas),
            *(controls.row(one.widget) for one in (self.size, self.fourier, self.order, self.cell)),
        ]
        view.watch(self.follow, *given)
        self.follow()

    def follow(self, _: Any = None) -> None:
        """Show what is chosen; what the other matcher alone has is hidden."""
        state, fourier = self.state, self.state.matcher == "fourier"
        self.matcher.value = state.matcher
        self._following = True  # other presets choose the first one for a moment
        if [value for _, value in self.sigmas.options] != [value for _, value in self._presets()]:
            self.sigmas.options = self._presets()
        self.sigmas.value = tuple(state.sigmas)
        self._following = False
        self.sigmas.layout.display = "none" if fourier else "flex"
        self.size.widget.layout.display = "none" if fourier else "flex"
        self.fourier.widget.layout.display = "flex" if fourier else "none"
        self.suggest.disabled = state.fwhm == self._suggested
        self.again.disabled = all(getattr(state, name) == value for name, value in self._given.items())

    def _presets(self) -> list[tuple[str, tuple[float, ...]]]:
        made = {tuple(round(by * sigma, 4) for sigma in self._sigmas): f"\u00d7 {by:g}" for by in TIMES}
        made.setdefault(tuple(self.state.sigmas), "other")
        return [(f"{words}: {', '.join(f'{s:g}' for s in sigmas)} px", sigmas) for sigmas, words in made.items()]

    def _width(self, fwhm: float) -> str:
        return f"{fwhm:.4g} px" if fwhm else "as given"

    def _other(self, change: Mapping[str, Any]) -> None:
        if change["new"] != self.state.matcher:
            self.state.apply({"matcher": change["new"], "damping": None})

    def _chosen(self, change: Mapping[str, Any]) -> None:
        if not self._following and list(change["new"]) != self.state.sigmas:
            self.state.sigmas = list(change["new"])


def _side(size: float) -> str:
    return f"{size:.0f} \u00d7 {size:.0f} px" if size else "as the PSF"
