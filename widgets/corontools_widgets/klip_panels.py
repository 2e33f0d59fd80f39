"""The panels of a KLModeExplorer: zones, references, an injected companion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np

from corontools.arrays.register import Quality
from corontools.display import escape
from corontools_widgets import controls
from corontools_widgets.film_strip import FilmStrip
from corontools_widgets.references import short_names

if TYPE_CHECKING:
    from corontools.coron.aligned import AlignedRefs
    from corontools_widgets.klip import KLModeExplorer

__all__ = ["CompanionPanel", "ReferencesPanel", "ZonesPanel"]

MOST_ZONES = 12
FLUX_STEPS = 20  # of the slider in a factor of ten
FLUX_RANGE = (-1.0, 3.0)  # decades about the detection limit


class ZonesPanel:
    """Annuli and sectors: radii to type, or to drag on the image."""

    def __init__(self, view: KLModeExplorer) -> None:
        self._view = view
        self.own = ipywidgets.ToggleButton(
            description="own zones",
            tooltip="work in annuli whose radii are dragged on the image",
            layout={"width": "auto"},
        )
        self.radii = ipywidgets.Text(
            description="radii (px)",
            placeholder="such as 5, 20, 40",
            continuous_update=False,
            tooltip="radii that bound the annuli, px, separated by commas",
            style={"description_width": "initial"},
            layout=ipywidgets.Layout(width="240px"),
        )
        self.sectors = controls.Stepper("sectors", [str(n) for n in range(1, MOST_ZONES + 1)])
        self.start = ipywidgets.BoundedFloatText(
            0.0, min=-360, max=360, step=5, description="from (deg)", style={"description_width": "initial"},
            tooltip="where the first sector begins, degrees from +y anticlockwise", layout={"width": "170px"},
        )  # fmt: skip
        self.widget = controls.row(self.own, self.radii, self.sectors.widget, self.start)
        self.own.observe(self._toggled, "value")
        self.radii.observe(self._typed, "value")
        self.sectors.observe(lambda change: view.choose(sectors=change["new"] + 1), "index")
        self.start.observe(lambda change: view.choose(start=change["new"]), "value")

    def show(self) -> None:
        """Show what is chosen."""
        state = self._view.state
        self.own.value = bool(state.edges)
        self.radii.value = ", ".join(f"{edge:g}" for edge in state.edges)
        self.sectors.index, self.start.value = state.sectors - 1, state.start
        for widget in (self.radii, self.sectors.slider, self.start):
            widget.disabled = not state.edges

    def _toggled(self, change: Any) -> None:
        if change["new"] != bool(self._view.state.edges):
            self._view.choose(edges=self._view.default_edges() if change["new"] else [])

    def _typed(self, change: Any) -> None:
        words = change["new"].replace(",", " ").split()
        try:
            edges = [float(word) for word in words]
        except ValueError:
            self._view.tell(f"radii should be numbers such as 5, 20, 40; found {change['new']!r}")
            return
        if words:
            self._view.choose(edges=edges)


class ReferencesPanel:
    """Thumbnails of the references, ticked where they are used; made when the panel is opened."""

    def __init__(self, view: KLModeExplorer) -> None:
        self._view = view
        self.strip: FilmStrip | None = None
        self.widget = controls.column(controls.words("Open to see the references."))

    def open(self) -> None:
        """Make the thumbnails."""
        if self.strip is not None:
            return
        aligned = self._view.aligned
        self.strip = FilmStrip(
            aligned.stack.exposure.data,
            _captions(aligned),
            label="references",
            kept=self._kept(),
            flagged=[int(i) for i in np.flatnonzero(aligned.quality.any(axis=0))],
        )
        self.strip.observe(self._ticked, "kept")
        for child in self.widget.children:
            child.close()
        self.widget.children = (self.strip,)

    def show(self) -> None:
        """Show what is chosen."""
        if self.strip is not None and self.strip.kept != self._kept():
            self.strip.kept = self._kept()

    def _kept(self) -> list[bool]:
        dropped = set(self._view.state.dropped)
        return [i not in dropped for i in range(self._view.aligned.n_ref)]

    def _ticked(self, change: Any) -> None:
        self._view.choose(dropped=[i for i, kept in enumerate(change["new"]) if not kept])


def _captions(aligned: AlignedRefs) -> list[list[str]]:
    """Name, correlation with the science, shift and quality of each reference."""
    correlation = aligned.stack.correlation(aligned.target).mean(axis=0)
    sizes = np.hypot(*np.moveaxis(aligned.shifts.mean(axis=0), -1, 0))
    quality = np.bitwise_or.reduce(aligned.quality, axis=0)
    names, lines = short_names(aligned.stack.members), []
    for i, (member, r, size, bits) in enumerate(zip(names, correlation, sizes, quality, strict=True)):
        flag = str(Quality(int(bits)).name or "").lower().replace("_", " ") if bits else f"shift {size:.3f} px"
        lines.append([f"{i}: {member}", f"r {r:.4f}", flag])
    return lines


class CompanionPanel:
    """A companion injected at the cursor: its flux on a slider, its place dragged on the image."""

    def __init__(self, view: KLModeExplorer) -> None:
        self._view = view
        self.on = ipywidgets.ToggleButton(
            description="inject a companion",
            tooltip="add a companion at the cursor; drag it on the image",
            layout={"width": "auto"},
        )
        low, high = FLUX_RANGE
        self.places = np.arange(round(low * FLUX_STEPS), round(high * FLUX_STEPS) + 1) / FLUX_STEPS
        self.flux = controls.Stepper("flux", [""] * self.places.size)
        self.said = controls.words()
        self.widget = controls.column(controls.row(self.on, self.flux.widget), self.said)
        self._unit, self._showing = 1.0, False
        self.on.observe(self._toggled, "value")
        self.flux.observe(self._slid, "index")

    def show(self) -> None:
        """Show what is chosen."""
        source = self._view.state.source
        self.on.value = bool(source)
        self.flux.slider.disabled = not source
        self._unit = self._view.flux_unit()
        self._showing = True  # the slider has steps; a flux set from Python stays as it is
        self.flux.rename([self._view.reading.flux(flux) for flux in self._fluxes()])
        if source:
            self.flux.index = int(np.argmin(np.abs(self._fluxes() / source[2] - 1)))
        self._showing = False

    def say(self, words: str) -> None:
        """Show what is recovered."""
        self.said.value = escape(words)

    def _fluxes(self) -> np.ndarray:
        return self._unit * 10.0**self.places

    def _toggled(self, change: Any) -> None:
        if change["new"] != bool(self._view.state.source):
            self._view.inject_at_cursor(2 * self._unit) if change["new"] else self._view.choose(source=[])

    def _slid(self, change: Any) -> None:
        source = self._view.state.source
        if source and not self._showing:
            self._view.choose(source=[*source[:2], float(f"{self._fluxes()[change['new']]:.4g}")])
