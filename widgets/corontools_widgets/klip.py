"""KLModeExplorer: the residual, its contrast and the S/N of what is in it, for every number of modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np

from corontools.coron.aligned import AlignedRefs
from corontools.coron.klip import KlipResult
from corontools.coron.report.images import residual_scale
from corontools.coron.series import ModeSeries
from corontools.coron.source import on_detector
from corontools.display import Mark, escape
from corontools.errors import DataError
from corontools_widgets import controls, panels, plots, standalone
from corontools_widgets.explore import explore
from corontools_widgets.image_pane import ImagePane
from corontools_widgets.image_view import ModeView, beside
from corontools_widgets.klip_panels import CompanionPanel, ReferencesPanel, ZonesPanel
from corontools_widgets.klip_state import KlipState
from corontools_widgets.later import Later
from corontools_widgets.plots import Reading
from corontools_widgets.reduction import Reduction
from corontools_widgets.series_reading import SeriesReading
from corontools_widgets.zone_regions import dragged, zone_regions

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["KLModeExplorer"]

CURSOR, SOURCE = "cursor", "injected"
SETTLES = 0.15  # s after the last change, until all mode counts are computed
PREVIEW = "preview: one set of references for all integrations"


class KLModeExplorer(ModeView):
    """The mean residual under a slider of the mode count, with contrast curves and S/N that follow.

    Radii of zones are dragged on the image, references ticked on and off, and a companion is injected and dragged: the
    picture follows at once, curves and the other mode counts when the hand rests. Where every integration has its own
    set of references, what is shown then has one set for all; `result` has each its own.

    Parameters
    ----------
    klip : KlipResult
    companions : sequence, optional
        To follow with the mode count: (x, y) in px, or objects with `sep` (arcsec) and `pa` (degrees).
    star_flux : float, optional
        Peak of the star's PSF off the mask, in the unit of the images: limits and fluxes are contrasts then.
    **choices
        Of `KlipState`.

    Raises
    ------
    DataError
        If the result has no mode, or a choice is not one of `KlipState`.

    Examples
    --------
    >>> from corontools import PSFStack
    >>> from corontools.simulate import null
    >>> science, references = null(3, 8, shape=48)
    >>> klip = PSFStack.from_exposures([references]).align_to(science, to="none").klip(8)
    >>> view = KLModeExplorer(klip, companions=[(34.0, 20.0)])
    >>> view.state.modes = 3
    >>> view.result.modes
    3
    >>> view.close()
    """

    state: KlipState

    def __init__(
        self,
        klip: KlipResult,
        *,
        companions: Sequence[Any] = (),
        star_flux: float | None = None,
        **choices: Any,
    ) -> None:
        if klip.max_modes < 1:
            raise DataError("the result has no KL mode to choose from; make it with klip(modes) of 1 or more")
        if klip.strategy != "rdi":
            raise DataError(
                f"this view reduces with references of other stars alone, the result is of strategy {klip.strategy!r}; "
                "look at klip.residual.explore() or klip.combine()"
            )
        super().__init__(KlipState(**{"modes": max(klip.modes, 1), **choices}))
        self._reduction, self._places = Reduction(klip), _places(klip, companions)
        series = self._reduction.series(self.state.choice)
        self.reading = SeriesReading(series, self.look_at(klip.target), self.state.level, star_flux)
        self._problem, self._busy, self._dragging = "", False, False
        self._recovery = lru_cache(1)(_recovery)  # the same for all steps of the slider
        self._settle, self._words_follow = Later(self._settled, SETTLES), Later(self._follow_modes)
        self.take(self._made_pane(), {"limits": self._automatic_scale.limits})
        self._make_plots()
        self._lay_out()
        self._join()
        self._show_others()

    # -- what it amounts to ------------------------------------------------------------------------------------------

    @property
    def aligned(self) -> AlignedRefs:
        """All references, aligned."""
        return self._reduction.given.aligned

    @property
    def series(self) -> ModeSeries:
        """What is shown, for all mode counts."""
        return self.reading.series

    @property
    def result(self) -> KlipResult:
        """The result of the choices, by the chain: every integration with its own references where it had them."""
        return self._reduction.result(self.state.choice, self.modes)

    @property
    def code(self) -> str:
        """The chain that gives `result`."""
        return self._reduction.code(self.state.choice, self.modes)

    @property
    def counts(self) -> np.ndarray:
        """Number of modes of each frame."""
        return self.series.modes

    @property
    def text(self) -> str:
        """What is shown, in words."""
        return self.reading.words(self.index, self.followed)

    @property
    def followed(self) -> dict[str, tuple[float, float]]:
        """Names and places (x, y), px, whose S/N is shown."""
        places = dict(self._places)
        if self.state.source:
            places[SOURCE] = (self.state.source[0], self.state.source[1])
        if self.state.cursor:
            places[CURSOR] = (self.state.cursor[0], self.state.cursor[1])
        return places

    # -- files -------------------------------------------------------------------------------------------------------

    def image(self, index: int) -> np.ndarray:
        """The mean residual (y, x) of a frame."""
        return self.series.frames[index]

    def table(self) -> Table:
        """The contrast curve that is shown."""
        return self.reading.curve(self.modes).table

    def drawn_marks(self) -> list[Mark]:
        """Companions."""
        return [Mark(x, y, name) for name, (x, y) in self.followed.items() if name != CURSOR]

    @property
    def title(self) -> str:
        """Target and instrument."""
        return f"{self.aligned.target.meta.title}: KL modes"

    def to_html(self) -> str:
        """All mode counts with their curves, words and code, as a page that needs no kernel."""
        series, reading = self.series, self.reading
        return standalone.page(
            self.title,
            pane=self.pane.snapshot(),
            curves=self.curves(),
            text=[reading.words(i, self.followed) for i in range(len(series))],
            code=[self._reduction.code(self.state.choice, int(k)) for k in series.modes],
            chain=series.klip.history,
        )

    def curves(self) -> list[Any]:
        """Limits, unexplained variance, and S/N of what is followed."""
        reading, modes = self.reading, self.series.modes
        unit = "arcsec" if reading.unit == "″" else "px"
        across, up = panels.Quantity("separation", unit), panels.Quantity(reading.limit_name, log=True)
        family = panels.CurveFamily(reading.sep, reading.limit, across=across, up=up, title="Detection limit")
        tracks = {name: reading.snr(place) for name, place in self.followed.items()}
        left = {"left": 1 - self.series.explained}
        words = panels.Quantity("unexplained variance", log=True)
        return [
            family,
            *([panels.Trend(modes, tracks, title="S/N against KL modes", levels=[5.0])] if tracks else []),
            panels.Trend(modes, left, up=words, title="Variance that the modes leave"),
        ]

    # -- widgets -----------------------------------------------------------------------------------------------------

    def _made_pane(self) -> ImagePane:
        target, frames = self._reduction.given.target, self.series.frames
        self._automatic_scale = residual_scale(frames[self.index], target.center, target.meta.unit)
        return ImagePane(
            frames,
            names=self._names,
            name="KL modes",
            sky=self.sky,
            scale=self._automatic_scale,
            title=target.meta.title,
            frame=self.index,
            noise=self.reading.noise,
            marks=self._marks(),
            regions=zone_regions(self.state, self.sky),
        )

    @property
    def _names(self) -> list[str]:
        return [str(k) for k in self.series.modes]

    def _make_plots(self) -> None:
        reading = self.reading
        self._family = plots.CurveFamily(
            reading.sep,
            reading.limit,
            names=self._names,
            x_reading=Reading(reading.axis),
            y_reading=Reading(reading.limit_name, log=True),
            current=self.index,
            inner=reading.inner,
            height="290px",
        )
        self._family.lead(self.pane)
        modes = self.series.modes.tolist()
        self._track = plots.ModeTrack(modes, Reading("S/N"), current=self.index, level=5.0, height="220px")
        left = Reading("unexplained", log=True)
        self._variance = plots.ModeTrack(modes, left, current=self.index, height="160px", legend=False)
        for track in (self._track, self._variance):
            track.on_choose(lambda index: self.choose(modes=int(self.series.modes[index])))

    def _lay_out(self) -> None:
        self._level = ipywidgets.BoundedFloatText(
            self.state.level,
            min=0.1,
            max=20,
            step=0.5,
            description="level (σ)",
            layout=ipywidgets.Layout(width="160px"),
        )
        self._toolbar = controls.Toolbar(self, self._level)
        self._story = controls.words(tag="div")
        self._zones, self._references, self._companion = ZonesPanel(self), ReferencesPanel(self), CompanionPanel(self)
        self._tabs = ipywidgets.Accordion(
            [self._zones.widget, self._references.widget, self._companion.widget],
            titles=("Zones", "References", "Injected companion"),
            selected_index=None,
        )
        shown = [self._family.widget, self._track.widget, self._variance.widget]
        for widget in shown:  # one above the other: their flex is a height here
            widget.layout.flex, widget.layout.align_self = "0 0 auto", "stretch"
        self.show_as(
            controls.column(self._toolbar.widget, beside(self.pane, *shown), self._words, self._tabs, self._story)
        )

    def _join(self) -> None:
        self.link("level", self._level)
        self.watch(self._marks_moved, "marks", of=self.pane)
        self.watch(self._regions_moved, "regions", of=self.pane)
        self.watch(self._panel_opened, "selected_index", of=self._tabs)
        self.watch(lambda _: self._words_follow(), "modes")
        self.watch(self._cursor_moved, "cursor")
        self.watch(self._level_set, "level")
        self.watch(self._reduce, "edges", "sectors", "start", "dropped", "source")
        for ends in (self._family.close, self._track.close, self._variance.close):
            self.at_end(ends)
        for waiting in (self._settle, self._words_follow):
            self.at_end(waiting.cancel)

    # -- what the user does ------------------------------------------------------------------------------------------

    def choose(self, *, drag: str = "", **choices: Any) -> None:
        """Change choices as one step; what can't be is said below the image."""
        if self._busy:
            return
        try:
            self.state.apply(choices, drag=drag)
        except DataError as error:
            self.tell(str(error))

    def tell(self, problem: str) -> None:
        """Say below the image what went wrong; "" when nothing did."""
        self._problem = problem
        self._say()

    def inject_at_cursor(self, flux: float) -> None:
        """Put a companion at the cursor, or beside the star where there is none."""
        x, y = self.state.cursor or self._beside()
        self.choose(source=[round(x, 2), round(y, 2), float(f"{flux:.4g}")])

    def default_edges(self) -> list[float]:
        """One annulus over all that is subtracted."""
        y, x = np.nonzero(self._reduction.given.zones)
        r = np.hypot(x - self.sky.origin[0], y - self.sky.origin[1])
        return [float(np.floor(r.min())), float(np.ceil(r.max()) + 1)]

    def _frame_moved(self, change: Mapping[str, Any]) -> None:
        if not self._busy:
            super()._frame_moved(change)

    def _cursor_moved(self, change: Any) -> None:
        self._family.mark(self.reading.sep_of(change["new"]) if change["new"] else None)
        self._show_tracks()
        self._say()

    def _level_set(self, _: Any) -> None:
        self.reading = SeriesReading(self.series, self.sky, self.state.level, self.reading.star_flux)
        self._show_curves()
        self._say()

    def _marks_moved(self, change: Any) -> None:
        mark = next((one for one in change["new"] if one.get("id") == SOURCE), None)
        if mark is not None and self.state.source and not self._busy:
            source = [round(mark["x"], 2), round(mark["y"], 2), self.state.source[2]]
            self._moved({"source": source}, drag=SOURCE, done=mark.get("done", True))

    def _regions_moved(self, change: Any) -> None:
        if self.state.edges and change["new"] and not self._busy:
            done = all(region.get("done", True) for region in change["new"])
            self._moved(dragged(change["new"], self.state, self.sky), drag="zones", done=done)

    def _moved(self, choices: dict[str, Any], *, drag: str, done: bool) -> None:
        """Something was dragged on the image; what takes longer waits until it is let go."""
        self._dragging = not done
        if any(getattr(self.state, name) != value for name, value in choices.items()):
            self.choose(**choices, drag=drag)
        elif done:
            self._settle()

    def _panel_opened(self, change: Any) -> None:
        if change["new"] == 1:
            self._references.open()
        if change["new"] in (0, 1):
            self._settle()  # the references are shifted now, so that the first drag finds them ready

    # -- reductions --------------------------------------------------------------------------------------------------

    def _reduce(self, _: Any) -> None:
        """The visible frame at once, all else when nothing else is waiting."""
        try:
            image = self._reduction.frame(self.state.choice, self.state.modes)
        except DataError as error:
            self.tell(str(error))
            return
        self._problem = ""
        self.pane.set_frame(self.pane.frame, image)
        self._mark_choice()
        self._say()
        self._settle()

    def _settled(self) -> None:
        if self.closed or self._dragging:
            return
        try:
            series = self._reduction.series(self.state.choice)
        except DataError as error:
            self.tell(str(error))
            return
        self.reading = SeriesReading(series, self.sky, self.state.level, self.reading.star_flux)
        self._busy = True
        try:
            self.pane.set_cube(series.frames, noise=self.reading.noise, names=self._names)
            self.pane.frame = self.index
        finally:
            self._busy = False
        self._show_curves()
        self._show_others()
        if self._tabs.selected_index in (0, 1):
            self._reduction.prepare(self.state.choice)

    # -- what is shown -----------------------------------------------------------------------------------------------

    def _show_others(self) -> None:
        """All but the curves."""
        self.state.n_frames = len(self.series)
        self._mark_choice()
        self._show_tracks()
        for panel in (self._zones, self._references, self._companion):
            panel.show()
        self._say()

    def _mark_choice(self) -> None:
        """Regions and marks on the image as they are chosen."""
        self._busy = True
        try:
            self.pane.regions = zone_regions(self.state, self.sky)
            self.pane.marks = self._marks()
            self.pane.status = PREVIEW if self._reduction.is_preview(self.state.choice) else ""
        finally:
            self._busy = False

    def _follow_modes(self) -> None:
        """Words and markers, when the hand rests; the curve follows the image in the browser."""
        self._family.current = self._track.current = self._variance.current = self.index
        self._say()

    def _show_curves(self) -> None:
        self._family.names = tuple(self._names)
        self._family.set_curves(self.reading.limit, self.reading.sep)
        self._family.current = self.index
        self._toolbar.refresh()

    def _show_tracks(self) -> None:
        modes = self.series.modes.tolist()
        self._variance.show(modes, {"left": 1 - self.series.explained}, current=self.index)
        tracks = {name: self.reading.snr(place) for name, place in self.followed.items()}
        self._track.show(modes, tracks, current=self.index)

    def _say(self) -> None:
        words = escape(self._problem) or escape(self.reading.summary(self.index))
        self._words.value = f'<div role="status" style="line-height:1.5;overflow-wrap:anywhere">{words}</div>'
        self._story.value = controls.story(self.text)
        self._companion.say(self._recovered())

    def _recovered(self) -> str:
        """What is found of the injected companion at the current mode count."""
        if not self.state.source:
            return ""
        x, y, flux = self.state.source
        series = self._reduction.without_source(self.state.choice)
        part = series.klip.series([self.modes]) if self._dragging else series
        at = int(np.argmin(np.abs(part.modes - self.modes)))
        found, kept = (float(values[at]) for values in self._recovery(part, (x, y)))
        reading = self.reading
        return (
            f"at {reading.sep_of((x, y)):.2f}{reading.unit}: injected {reading.flux(flux)}, "
            f"recovered {reading.flux(flux + found)}; {100 * kept:.0f} % of it is left by {self.modes} modes"
        )

    def flux_unit(self) -> float:
        """The detection limit where a companion stands or would stand: middle of its slider."""
        x, y = self.state.source[:2] or self.state.cursor or self._beside()
        noise = self._reduction.without_source(self.state.choice).noise[self.index]
        level = np.interp(self.reading.radius_of((x, y)), self.series.radius, noise)
        return float(f"{5 * level:.3g}") if np.isfinite(level) and level > 0 else 1.0

    def _beside(self) -> tuple[float, float]:
        """A place a fifth of the image to the right of the star, or to the left where that is outside."""
        (x, y), nx = self.sky.origin, self.sky.shape[1]
        return (x + nx / 5 if x + nx / 5 < nx - 1 else x - nx / 5), y

    def _marks(self) -> list[dict[str, Any]]:
        radius = (self.aligned.target.meta.fwhm or 4.0) * 1.2
        return [
            {
                "id": name,
                "kind": "companion",
                "x": x,
                "y": y,
                "radius": radius,
                "name": name,
                "draggable": name == SOURCE,
            }
            for name, (x, y) in self.followed.items()
            if name != CURSOR
        ]


def _recovery(series: ModeSeries, place: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Flux at (x, y), and the part of a companion's that is left, for every mode count."""
    return series.flux_at(place), series.throughput_at(place)


def _places(klip: KlipResult, companions: Sequence[Any]) -> dict[str, tuple[float, float]]:
    """Name and pixel of each companion."""
    places = {}
    for i, companion in enumerate(companions):
        name = str(getattr(companion, "name", "") or (chr(ord("b") + i) if i < 25 else f"source {i + 1}"))
        if hasattr(companion, "sep"):
            places[name] = on_detector(klip.target, companion.sep, companion.pa)
        else:
            x, y = companion
            places[name] = (float(x), float(y))
    return places


@explore.register
def _explore_klip(klip: KlipResult, **options: Any) -> KLModeExplorer:
    return KLModeExplorer(klip, **options)
