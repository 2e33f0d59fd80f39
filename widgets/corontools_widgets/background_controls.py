"""Controls of a background explorer: rejection, boxes of sources, scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np

from corontools_widgets import controls
from corontools_widgets.background_state import BackgroundState
from corontools_widgets.view import View

__all__ = ["BoxControls", "FactorControls", "Numbers", "RejectionControls", "TemplateControls"]

SIGMAS = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 10.0)
PERCENTS = (0.0, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
ROUNDS = tuple(range(11))
TIMES = tuple(round(0.8 + 0.002 * i, 3) for i in range(201))
REJECTION_WORDS = {"leave_one_out": "what leaves the others", "sigma_clip": "by sigma clipping", "none": "nothing"}
SIDES = ("left", "right")
AS_FITTED = dict.fromkeys(SIDES, 1.0)
OF_FIT = "the scale is that of the fit again"


class Numbers:
    """A slider over numbers, tied to a number of the state; one that isn't among them gets a place between them.

    Parameters
    ----------
    view : View
    name : str
        Of the choice.
    label : str
        What is chosen.
    places : sequence of float
        In order.
    words : callable
        Words of a number.
    live : bool
        Follow while the slider moves, not when it is let go.
    also : mapping, optional
        Choices that are made with it.

    Attributes
    ----------
    widget : ipywidgets.Box
        To be shown.
    """

    def __init__(
        self,
        view: View,
        name: str,
        label: str,
        places: Sequence[float],
        words: Callable[[float], str],
        *,
        live: bool = False,
        also: Mapping[str, Any] | None = None,
    ) -> None:
        self._also = also or {}
        self._state, self._name, self._given, self._words = view.state, name, tuple(places), words
        self._following = False
        self.places = self._given
        self.stepper = controls.Stepper(label, [words(place) for place in places])
        self.stepper.slider.continuous_update = live
        self.widget = self.stepper.widget
        view.watch(self._moved, "index", of=self.stepper)
        view.watch(self.follow, name)
        self.follow()

    def follow(self, _: Any = None) -> None:
        """Show what is chosen."""
        value = getattr(self._state, self._name)
        self._following = True  # other places move the slider
        self.places = tuple(sorted({*self._given, value}))
        names = tuple(self._words(place) for place in self.places)
        if names != self.stepper.names:
            self.stepper.rename(names)
        self.stepper.index = self.places.index(value)
        self._following = False

    def _moved(self, change: Mapping[str, Any]) -> None:
        if not self._following:
            self._state.apply({self._name: self.places[change["new"]], **self._also}, drag=self._name)


class RejectionControls:
    """How values are rejected from a mean.

    Attributes
    ----------
    rows : list of ipywidgets.Widget
        To be shown.
    """

    def __init__(self, view: View) -> None:
        options = [(words, name) for name, words in REJECTION_WORDS.items()]
        assert isinstance(view.state, BackgroundState)
        self.reject = controls.choice("reject", options, view.state.reject)
        view.link("reject", self.reject)
        self.sigmas = Numbers(view, "sigma", "beyond", SIGMAS, lambda sigma: f"{sigma:g} σ")
        self.rows = [controls.row(self.reject), controls.row(self.sigmas.widget)]


class BoxControls:
    """How a reference is fitted, and which boxes of sources mask pixels.

    Parameters
    ----------
    view : View
    boxes : ndarray of int, shape (n, 4)
        Corner pixels (x0, y0, x1, y1).

    Attributes
    ----------
    rows : list of ipywidgets.Widget
        To be shown.
    """

    def __init__(self, view: View, boxes: np.ndarray) -> None:
        assert isinstance(view.state, BackgroundState)
        self.state, self.boxes = view.state, boxes
        self.outliers = Numbers(view, "outlier_percent", "reject at each end", PERCENTS, lambda p: f"{p:g} %")
        self.rounds = Numbers(view, "maxiter", "rounds", ROUNDS, lambda n: f"{n:g}")
        self.clear = controls.button("clear drawn boxes", "take away the rectangles that were drawn")
        self.clear.on_click(lambda _: setattr(self.state, "regions", []))
        self.rows = [controls.row(self.outliers.widget), controls.row(self.rounds.widget)]
        if len(boxes):
            self._make_stepper(view)
        self.rows.append(controls.row(*([self.masks, self.all, self.none] if len(boxes) else []), self.clear))
        view.watch(self.follow, "left_out", "regions")
        self.follow()

    def _make_stepper(self, view: View) -> None:
        n = len(self.boxes)
        self.box = controls.Stepper("box", [f"{i + 1} of {n}" for i in range(n)])
        layout = ipywidgets.Layout(width="auto", flex="0 0 auto", margin="2px 10px 2px 2px")
        self.masks = ipywidgets.Checkbox(True, description="masks its pixels", indent=False, layout=layout)
        self.all = controls.button("all mask", "every box masks its pixels")
        self.none = controls.button("none masks", "no box masks its pixels")
        self.all.on_click(lambda _: setattr(self.state, "left_out", []))
        self.none.on_click(lambda _: setattr(self.state, "left_out", list(range(n))))
        view.watch(self.follow, "index", of=self.box)
        view.watch(self._ticked, "value", of=self.masks)
        self.rows.append(controls.row(self.box.widget))

    @property
    def chosen(self) -> int:
        """The box that can be ticked; -1 where there is none."""
        return self.box.index if len(self.boxes) else -1

    def choose_at(self, x: float, y: float) -> None:
        """Choose the smallest box at a place, px, if there is one."""
        if not len(self.boxes):
            return
        x0, y0, x1, y1 = self.boxes.T
        inside = (x0 - 0.5 <= x) & (x <= x1 + 0.5) & (y0 - 0.5 <= y) & (y <= y1 + 0.5)
        if inside.any():
            self.box.index = int(np.argmin(np.where(inside, (x1 - x0 + 1) * (y1 - y0 + 1), np.inf)))

    def follow(self, _: Any = None) -> None:
        """Show what is chosen."""
        self.clear.disabled = not self.state.regions
        if len(self.boxes):
            self.masks.value = self.chosen not in self.state.left_out
            self.all.disabled = not self.state.left_out
            self.none.disabled = len(self.state.left_out) == len(self.boxes)

    def _ticked(self, change: Mapping[str, Any]) -> None:
        others = [index for index in self.state.left_out if index != self.chosen]
        wanted = sorted(others if change["new"] else [*others, self.chosen])
        if wanted != self.state.left_out:
            self.state.left_out = wanted


class TemplateControls:
    """Which template, and its scales left and right of the jump.

    Parameters
    ----------
    view : View
    best : int or None
        Number of the template that fits best, where this is known.
    fitted : callable
        Scales (left, right) of the fit of the template that is chosen.

    Attributes
    ----------
    rows : list of ipywidgets.Widget
        To be shown.
    """

    def __init__(self, view: View, *, best: int | None, fitted: Callable[[], tuple[float, float]]) -> None:
        state = view.state
        assert isinstance(state, BackgroundState)
        self._state = state
        of_fit = (lambda: fitted()[0], lambda: fitted()[1])
        self.sides = [
            Numbers(view, name, f"scale {name}", TIMES, _scaled(scale), live=True)
            for name, scale in zip(SIDES, of_fit, strict=True)
        ]
        self.again = controls.button("fitted", OF_FIT)
        self.again.on_click(lambda _: state.apply(AS_FITTED))
        self.rows = [controls.row(*(side.widget for side in self.sides), self.again, grid_gap="0 16px")]
        n = state.n_templates or 1
        if n > 1:
            self.template = Numbers(view, "template", "template", range(n), _numbered(best), also=AS_FITTED)
            self.rows.insert(0, controls.row(self.template.widget))
        view.watch(self.follow, "left", "right", "template")
        self.follow()

    def follow(self, _: Any = None) -> None:
        """Show what is chosen."""
        for side in self.sides:
            side.follow()
        self.again.disabled = self._state.left == self._state.right == 1


class FactorControls:
    """The scale of an image.

    Attributes
    ----------
    rows : list of ipywidgets.Widget
        To be shown.
    """

    def __init__(self, view: View, *, given: float, live: bool) -> None:
        state = view.state
        assert isinstance(state, BackgroundState)
        self._state = state
        self.factor = Numbers(view, "factor", "scale", TIMES, _scaled(lambda: given), live=live)
        self.again = controls.button("as given", "the scale is the one that was given again")
        self.again.on_click(lambda _: setattr(state, "factor", 1.0))
        self.rows = [controls.row(self.factor.widget, self.again, grid_gap="0 16px")]
        view.watch(self.follow, "factor")
        self.follow()

    def follow(self, _: Any = None) -> None:
        """Show what is chosen."""
        self.again.disabled = self._state.factor == 1


def _numbered(best: int | None) -> Callable[[float], str]:
    """Words of a template."""
    return lambda index: f"{index:g} (best)" if index == best else f"{index:g}"


def _scaled(unit: Callable[[], float]) -> Callable[[float], str]:
    """Words of what a scale is multiplied by."""
    return lambda times: f"{times * unit():.4g} (× {times:.3f})"
