"""DetectionExplorer: calibrated contrast, S/N and throughput at every pixel, for every number of modes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
from traitlets import CaselessStrEnum, List, TraitError, Tuple, validate

from corontools.coron.calibrated import CalibratedContrast
from corontools.coron.detection import DetectionMap
from corontools.coron.source import MASKED
from corontools.display import Mark, escape
from corontools.display.frame import Sky
from corontools.display.picture import Scale
from corontools_widgets import controls, panels, plots
from corontools_widgets.explore import explore
from corontools_widgets.image_pane import ImagePane
from corontools_widgets.image_view import ModeView, beside
from corontools_widgets.later import Later
from corontools_widgets.plots import Reading
from corontools_widgets.state import ViewState

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["DetectionExplorer", "DetectionState"]

# choice -> words and stretch
MAPS = {"contrast": ("limit at every pixel", "log"), "snr": ("S/N", "linear"), "throughput": ("throughput", "linear")}
# percentiles of a map between which its colours run, and the S/N that do
SPAN, SNR = (1.0, 99.0), (-5.0, 5.0)
NEAR = 1.5  # widths of the PSF about the star, where a limit says little
EXCLUDED = "excluded"


class DetectionState(ViewState):
    """Choices of a `DetectionExplorer`.

    Attributes
    ----------
    map : {"contrast", "snr", "throughput"}
        What the image shows.
    excluded : list of (float, float)
        Places (x, y), px, of companions that are left out of noise and limits.
    """

    map = CaselessStrEnum(tuple(MAPS), default_value="contrast")
    excluded = List(Tuple())

    @validate("excluded")
    def _places(self, proposal: dict[str, Any]) -> list[tuple[float, float]]:
        places = [tuple(float(v) for v in place) for place in proposal["value"]]
        if not all(len(place) == 2 and np.isfinite(place).all() for place in places):
            raise TraitError(f"places should be pairs (x, y), found {proposal['value']}")
        return places  # type: ignore[return-value]


class DetectionExplorer(ModeView):
    """Limits, S/N or throughput at every pixel under a slider of the mode count, with the calibrated curves.

    A click chooses a place: the limit there for every number of modes says how many go deepest. Companions are left out
    of the noise by a button, and the maps and curves follow.

    Parameters
    ----------
    found : DetectionMap
    star_flux : float, optional
        The star in multiples of the PSF: limits are contrasts then, else fluxes.
    **choices
        Of `DetectionState`.

    Attributes
    ----------
    found : DetectionMap
        As it was given.

    Examples
    --------
    >>> from corontools import PSFStack
    >>> from corontools.simulate import null
    >>> science, references = null(3, 8, shape=48)
    >>> klip = PSFStack.from_exposures([references]).align_to(science, to="none").klip(8)
    >>> view = DetectionExplorer(klip.detection_map(), star_flux=1e5)
    >>> view.state.excluded = [(34.0, 20.0)]
    >>> view.result.history[-2:]
    ('.exclude([(34.0, 20.0)])', '.contrast(100000.0, level=5.0)')
    >>> view.close()
    """

    state: DetectionState

    def __init__(self, found: DetectionMap, *, star_flux: float | None = None, **choices: Any) -> None:
        super().__init__(DetectionState(**{"modes": int(found.modes[-1]), "stretch": "log", **choices}))
        self.found, self._star = found, star_flux
        ny, nx = found.masked.shape
        self._sky = Sky((ny, nx), found.meta.pixel_scale, found.center, None)
        self._made: tuple[Any, DetectionMap, CalibratedContrast] | None = None
        self._rest = Later(self._follow_modes)
        self.take(self._made_pane(), {"limits": self._span()})
        self._make_plots()
        self._lay_out()
        self.link("map", self._choice)
        self.link("level", self._level)
        self.watch(self._show, "excluded", "level")
        self.watch(self._other_map, "map")
        self.watch(lambda _: self._rest(), "modes")
        self.watch(self._place, "cursor")
        for ends in (self._family.close, self._track.close, self._rest.cancel):
            self.at_end(ends)
        self._show()

    # -- what it amounts to -------------------------------------------------------------------------------------------

    @property
    def result(self) -> CalibratedContrast:
        """The calibrated contrast of the choices."""
        return self._now[1]

    @property
    def _now(self) -> tuple[DetectionMap, CalibratedContrast]:
        """The maps without what is excluded, and their limits."""
        key = (tuple(self.state.excluded), self.state.level)
        if self._made is None or self._made[0] != key:
            found = self.found.exclude(list(self.state.excluded)) if self.state.excluded else self.found
            self._made = (key, found, found.contrast(self._star or 1.0, level=self.state.level))
        return self._made[1:]

    @property
    def counts(self) -> np.ndarray:
        """Number of modes of each map."""
        return self.found.modes

    @property
    def maps(self) -> np.ndarray:
        """What is shown, (n, y, x)."""
        found, limits = self._now
        return {"contrast": limits.image, "snr": found.snr, "throughput": found.throughput}[self.state.map]

    def image(self, index: int) -> np.ndarray:
        """A map with all its pixels."""
        return self.maps[index]

    def table(self) -> Table:
        """Limits of all mode counts in rings."""
        return self.result.table

    @property
    def text(self) -> str:
        """What is shown, in words."""
        return "\n".join((self._summary(), *(f"{name}: {value}" for name, value in self.result._rows())))

    def _summary(self) -> str:
        found, limits = self._now
        k = self.modes
        if not self.state.cursor:
            return f"{k} modes; click on the image for the limit at a place and the number of modes that goes deepest"
        x, y = self.state.cursor
        column, row = round(x), round(y)
        if not (0 <= row < found.masked.shape[0] and 0 <= column < found.masked.shape[1]):
            return f"{k} modes; the place chosen is outside the image"
        here = limits.image[:, row, column]
        if not np.isfinite(here).any():
            return f"{k} modes; no limit is known at ({column}, {row}) px"
        best = int(np.nanargmin(here))
        snr, left = (values[self.index, row, column] for values in (found.snr, found.throughput))
        return (
            f"at {self._sep((x, y)):.3g}{self._unit}: {self._name} {here[self.index]:.3g}, S/N {snr:.1f}, "
            f"{100 * left:.0f} % of a source left by {k} modes; deepest {here[best]:.3g} with {int(found.modes[best])}"
        )

    @property
    def _scale_of_sep(self) -> float:
        return self.found.meta.pixel_scale or 1.0

    @property
    def _unit(self) -> str:
        return "″" if self.found.meta.pixel_scale else " px"

    @property
    def _name(self) -> str:
        return f"{self.state.level:g}σ {'contrast' if self._star else 'limit'}"

    def _sep(self, place: tuple[float, float]) -> float:
        (x, y), center = place, self.found.center
        return float(np.hypot(x - center[0], y - center[1])) * self._scale_of_sep

    # -- files --------------------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """Target, and what is shown."""
        return f"{self.found.meta.title}: {MAPS[self.state.map][0]}"

    def drawn_marks(self) -> list[Mark]:
        """What is excluded."""
        return [Mark(x, y, "") for x, y in self.state.excluded]

    def curves(self) -> list[Any]:
        """Limits of all mode counts."""
        limits = self.result
        across = panels.Quantity("separation", "arcsec" if self.found.meta.pixel_scale else "px")
        up = panels.Quantity(self._name, log=True)
        return [panels.CurveFamily(limits.radius * self._scale_of_sep, limits.limit, across=across, up=up)]

    # -- widgets ------------------------------------------------------------------------------------------------------

    def _made_pane(self) -> ImagePane:
        return ImagePane(
            self.maps,
            names=[str(k) for k in self.found.modes],
            name="KL modes",
            sky=self._sky,
            scale=Scale(self._span(), MAPS[self.state.map][1], "inferno", ""),
            title=self.found.meta.title,
            frame=self.index,
            marks=self._marks(),
        )

    def _span(self) -> tuple[float, float]:
        """Values of the first and the last colour."""
        if self.state.map == "snr":
            return SNR
        values = self.maps[np.isfinite(self.maps)]
        low, high = np.percentile(values, SPAN) if values.size else (0.0, 1.0)
        return float(low), float(high) if high > low else float(low) + 1.0

    def _marks(self) -> list[dict[str, Any]]:
        shared = {"kind": "companion", "radius": MASKED * self.found.fwhm, "name": "", "draggable": False}
        return [{"id": f"{EXCLUDED} {i}", "x": x, "y": y, **shared} for i, (x, y) in enumerate(self.state.excluded)]

    def _make_plots(self) -> None:
        limits = self.result
        axis = f"separation ({'arcsec' if self.found.meta.pixel_scale else 'px'})"
        self._family = plots.CurveFamily(
            limits.radius * self._scale_of_sep,
            limits.limit,
            names=[str(k) for k in self.found.modes],
            x_reading=Reading(axis),
            y_reading=Reading(self._name, log=True),
            current=self.index,
            inner=NEAR * self.found.fwhm * self._scale_of_sep,
            height="290px",
        )
        self._family.lead(self.pane)
        modes = self.found.modes.tolist()
        self._track = plots.ModeTrack(modes, Reading(self._name, log=True), current=self.index, height="220px")
        self._track.on_choose(lambda index: self.state.apply(self.with_frame(index)))

    def _lay_out(self) -> None:
        self._choice = controls.choice("map", [(words, name) for name, (words, _) in MAPS.items()], self.state.map)
        self._level = ipywidgets.BoundedFloatText(
            self.state.level, min=0.1, max=20, step=0.5, description="level (σ)", layout={"width": "160px"}
        )
        leave = controls.button("leave out what is here", "Leave the source at the chosen place out of the noise")
        again = controls.button("leave nothing out", "All pixels count as noise again")
        leave.on_click(lambda _: self._leave_out())
        again.on_click(lambda _: self.state.apply({"excluded": []}))
        self._story = controls.words(tag="div")
        shown = [self._family.widget, self._track.widget]
        for widget in shown:
            widget.layout.flex, widget.layout.align_self = "0 0 auto", "stretch"
        toolbar = controls.Toolbar(self, self._level)
        self.show_as(
            controls.column(
                toolbar.widget,
                controls.row(self._choice, leave, again),
                beside(self.pane, *shown),
                self._words,
                self._story,
            )
        )

    def _leave_out(self) -> None:
        if self.state.cursor:
            x, y = self.state.cursor
            self.state.apply({"excluded": [*self.state.excluded, (round(x, 1), round(y, 1))]})

    # -- what follows -------------------------------------------------------------------------------------------------

    def _other_map(self, _: Any) -> None:
        self.state.apply({"limits": [], "stretch": MAPS[self.state.map][1]}, drag="map")
        self._show_maps()

    def _show(self, _: Any = None) -> None:
        limits = self.result
        self._show_maps()
        self.pane.marks = self._marks()
        self._family.set_curves(limits.limit, limits.radius * self._scale_of_sep)
        self._family.current = self.index
        self._place()

    def _show_maps(self) -> None:
        self.pane.set_cube(self.maps)
        self.limit({"limits": self._span()})
        self.say()

    def _place(self, _: Any = None) -> None:
        """The limits at the chosen place, or at the middle ring where none is chosen."""
        limits = self.result
        self._family.mark(self._sep((self.state.cursor[0], self.state.cursor[1])) if self.state.cursor else None)
        tracks = {}
        if self.state.cursor:
            column, row = (round(v) for v in self.state.cursor)
            inside = 0 <= row < limits.image.shape[1] and 0 <= column < limits.image.shape[2]
            if inside and np.isfinite(limits.image[:, row, column]).any():
                tracks = {"here": limits.image[:, row, column]}
        if not tracks:
            known = np.flatnonzero(np.isfinite(limits.limit).any(axis=0))
            ring = int(known[known.size // 3]) if known.size else 0
            tracks = {f"ring at {limits.radius[ring] * self._scale_of_sep:.2g}{self._unit}": limits.limit[:, ring]}
        self._track.show(self.found.modes.tolist(), tracks, current=self.index)
        self.say()

    def _follow_modes(self) -> None:
        self._family.current = self._track.current = self.index
        self.say()

    def _say(self) -> None:
        self._words.value = (
            f'<div role="status" style="line-height:1.5;overflow-wrap:anywhere">{escape(self._summary())}</div>'
        )
        self._story.value = controls.story(self.text)


@explore.register
def _explore_detection(found: DetectionMap, **options: Any) -> DetectionExplorer:
    return DetectionExplorer(found, **options)
