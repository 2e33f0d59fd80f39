"""Panels of a warp explorer beside its image: pictures of a place, quality over the field, noise, faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets

from corontools.warp.diagnosis import Diagnosis
from corontools.warp.look import QUALITY, Noise, stamps_at
from corontools.warp.mosaic import Matches
from corontools_widgets import controls, warp_words
from corontools_widgets.later import Later
from corontools_widgets.view import View
from corontools_widgets.warp_plots import NoisePlot, QualityPlot
from corontools_widgets.warp_state import WarpState

__all__ = ["Panels"]

LOOKING = "looking for faults \u2026"
HALF = {"flex": "1 1 360px", "min_width": "240px", "max_width": "100%"}


class Panels:
    """What is shown of a match and of the noise.

    Parameters
    ----------
    view : View
        With a `WarpState`.
    shape : (int, int)
        Of the image, (y, x).
    images : tuple of str
        Whose noise is looked at.
    matched : bool
        Whether there is a match to show.
    take : callable or None
        Takes the remedy; None where that can't be.
    """

    def __init__(
        self,
        view: View,
        shape: tuple[int, int],
        *,
        images: tuple[str, ...],
        matched: bool,
        take: Callable[[], Any] | None,
    ) -> None:
        assert isinstance(view.state, WarpState)
        self._state = view.state
        self._matches: Matches | None = None
        self._rest = Later(self._draw)
        view.at_end(self._rest.cancel)
        self.noise = NoisePlot(images)
        view.at_end(self.noise.plot.close)
        self.quality = QualityPlot(shape) if matched else None
        if self.quality is None:
            return
        view.at_end(self.quality.plot.close)
        self.quality.on_choose(lambda x, y: setattr(view.state, "cursor", [x, y]))
        self.place = ipywidgets.HTML(layout={"width": "auto"})
        self.faults = ipywidgets.HTML(LOOKING, layout={"width": "auto"})
        self.remedy = controls.button("take the remedy", "change the options as the diagnosis proposes")
        self.remedy.disabled, self._take = True, take
        self.remedy.on_click(lambda _: take() if take is not None else None)
        self.remedy.layout.display = "none" if take is None else "flex"
        self._what = controls.choice("draw", [(words, name) for name, words in QUALITY.items()], "peak")
        view.link("quality", self._what)
        view.watch(self._draw, "quality")

    @property
    def under_image(self) -> list[ipywidgets.Widget]:
        """What goes below the image."""
        return [] if self.quality is None else [self.place]

    @property
    def beside_image(self) -> list[ipywidgets.Widget]:
        """What goes beside it, below the controls."""
        return [] if self.quality is None else [_heading("Diagnosis"), self.faults, controls.row(self.remedy)]

    @property
    def rows(self) -> list[ipywidgets.Widget]:
        """What goes below all that."""
        parts = [ipywidgets.VBox([_heading("Noise of blank sky"), self.noise.widget], layout=HALF)]
        if self.quality is not None:
            match = [_heading("PSF after the match, over the field"), controls.row(self._what), self.quality.widget]
            parts.insert(0, ipywidgets.VBox(match, layout=HALF))
        return [controls.row(*parts, align_items="flex-start", grid_gap="0 14px")]

    def show_match(self, matches: Matches, place: tuple[float, float]) -> None:
        """Draw another match."""
        self._matches = matches
        self.show_place(place)
        self._rest()

    def show_place(self, place: tuple[float, float]) -> None:
        """Pictures of another place."""
        if self.quality is not None and self._matches is not None:
            self.place.value = warp_words.pictures(stamps_at(self._matches, *place))
            self.quality.ring(*place)

    def wait(self) -> None:
        """The faults are those of another match, by now."""
        if self.quality is not None:
            self.remedy.disabled = True

    def show_check(self, noise: Mapping[str, Noise], found: Diagnosis | None) -> None:
        """Draw noise and faults."""
        self.noise.show(noise)
        if self.quality is not None and found is not None:
            self.faults.value = warp_words.diagnosis_html(found)
            self.remedy.disabled = not found.faults

    def _draw(self, _: Any = None) -> None:
        if self.quality is not None and self._matches is not None:
            self.quality.show(self._matches.quality, self._state.quality)


def _heading(text: str) -> ipywidgets.HTML:
    return controls.words(text, tag="b", margin="8px 0 0 2px")
