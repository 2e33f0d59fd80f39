"""KLModeExplorer: the residual, its contrast and the S/N of what is in it, for every number of modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
from traitlets import Float, Int, List, TraitError, validate

from corontools.coron.aligned import AlignedRefs
from corontools.coron.klip import KlipResult
from corontools.coron.report.images import residual_scale, sky_of
from corontools.coron.series import ModeSeries
from corontools.coron.source import on_detector
from corontools.display import Mark, Scale, escape, picture
from corontools.display.frame import frame
from corontools.errors import DataError
from corontools_widgets import controls, panels, plots, standalone
from corontools_widgets.explore import explore
from corontools_widgets.image_pane import ImagePane, RadialNoise
from corontools_widgets.klip_panels import CompanionPanel, ReferencesPanel, ZonesPanel
from corontools_widgets.later import Later, Paced
from corontools_widgets.plots import Reading
from corontools_widgets.reduction import Choice, Reduction
from corontools_widgets.state import ViewState
from corontools_widgets.view import View, Writer

__all__ = ["KLModeExplorer", "KlipState"]

CURSOR, SOURCE = "cursor", "injected"
ZONE = "zone "
SETTLES = 0.15  # s after the last change, until all mode counts are computed
# widths of the PSF about the star where a limit says little
NEAR = 1.5


class KlipState(ViewState):
    """Choices of a `KLModeExplorer`.

    Attributes
    ----------
    edges : list of float
        Radii that bound the zones, px; [] for the zones of the result.
    sectors : int
        Sectors of each annulus.
    start : float
        Where the first sector begins, degrees from +y anticlockwise.
    dropped : list of int
        References that are left out.
    source : list of float
        x, y (px) and flux of an injected companion; [] for none.
    """

    edges = List(Float())
    sectors = Int(1, min=1)
    start = Float(0.0)
    dropped = List(Int(min=0))
    source = List(Float(), maxlen=3)

    @validate("source")
    def _place_and_flux(self, proposal: dict[str, Any]) -> list[float]:
        values = list(proposal["value"])
        if len(values) not in (0, 3) or not np.isfinite(values).all():
            raise TraitError(f"a source is x, y and flux, or nothing; found {values}")
        return values

    @validate("edges")
    def _increasing(self, proposal: dict[str, Any]) -> list[float]:
        values = list(proposal["value"])
        if len(values) == 1 or any(b <= a for a, b in pairwise(values)):
            raise TraitError(f"radii of zones should be two or more that increase, found {values}")
        return values

    @property
    def choice(self) -> Choice:
        """What decides the subtraction besides the number of modes."""
        return Choice(tuple(self.edges), self.sectors, self.start, tuple(sorted(self.dropped)), tuple(self.source))


class KLModeExplorer(View):
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
        super().__init__(KlipState(**{"modes": max(klip.modes, 1), **choices}))
        self._star_flux = star_flux
        self._reduction = Reduction(klip)
        self._places = _places(klip, companions)
        self._series = self._reduction.series(self.state.choice)
        self._problem, self._busy, self._dragging = "", False, False
        self._limits: tuple[tuple[ModeSeries, float], np.ndarray] | None = None
        self._settle, self._curves_follow = Later(self._settled, SETTLES), Paced(self._follow_curves)
        self._then = Later(self._follow_track)
        self._make_pane()
        self._make_plots()
        self._lay_out()
        self._join()
        self._show_all()

    # -- what it amounts to ------------------------------------------------------------------------------------------

    @property
    def aligned(self) -> AlignedRefs:
        """All references, aligned."""
        return self._reduction.given.aligned

    @property
    def series(self) -> ModeSeries:
        """What is shown, for all mode counts."""
        return self._series

    @property
    def result(self) -> KlipResult:
        """The result of the choices, by the chain: every integration with its own references where it had them."""
        return self._reduction.result(self.state.choice, self.modes)

    @property
    def code(self) -> str:
        """The chain that gives `result`."""
        return self._reduction.code(self.state.choice, self.modes)

    @property
    def index(self) -> int:
        """Frame of the chosen number of modes."""
        return int(np.argmin(np.abs(self._series.modes - self.state.modes)))

    @property
    def modes(self) -> int:
        """Number of modes that is shown: the chosen one, or the nearest that there is."""
        return int(self._series.modes[self.index])

    @property
    def text(self) -> str:
        """What is shown, in words."""
        return self._words(self.index)

    # -- files -------------------------------------------------------------------------------------------------------

    def writers(self) -> Mapping[str, Writer]:
        """Image (.png without axes, .svg with), curve (.csv, .ecsv), a page that needs no kernel (.html)."""
        return {
            ".html": lambda path: _write(path, self._page()),
            ".svg": lambda path: _write(path, self._figure()),
            ".png": self._write_png,
            ".csv": lambda path: self._curve().table.write(path, format="ascii.csv", overwrite=True),
            ".ecsv": lambda path: self._curve().table.write(path, format="ascii.ecsv", overwrite=True),
        }

    def _curve(self) -> Any:
        curve = self._series.curve(self.modes)
        if curve.meta.fwhm:
            curve = curve.sigma(self.state.level)
        return curve.normalize(self._star_flux) if self._star_flux else curve

    def _write_png(self, path: Path) -> None:
        scale = self._scale()
        levels = picture.stretch(self._series.frames[self.index], kind=scale.kind, limits=scale.limits)[::-1]
        path.write_bytes(picture.png(levels, picture.palette(scale.colors)))

    def _figure(self) -> str:
        scale, image = self._scale(), self._series.frames[self.index]
        marks = [Mark(x, y, name) for name, (x, y) in self._followed().items() if name != CURSOR]
        title = f"{self.aligned.target.meta.title}, {self.modes} modes"
        return frame(picture.scaled_uri(image, scale), sky=self._sky, scale=scale, marks=marks, title=title)

    def _page(self) -> str:
        series, limit = self._series, self._limit()
        unit = "arcsec" if self._pixel_scale else "px"
        separation = panels.Quantity("separation", unit)
        tracks = {name: self._snr(place) for name, place in self._followed().items()}
        curves: list[Any] = [
            panels.CurveFamily(
                self._sep,
                limit,
                across=separation,
                up=panels.Quantity(self._limit_name, log=True),
                title="Detection limit",
            )
        ]
        if tracks:
            curves.append(panels.Trend(series.modes, tracks, title="S/N against KL modes", levels=[5.0]))
        return standalone.page(
            f"{self.aligned.target.meta.title}: KL modes",
            pane=self._pane.snapshot(),
            curves=curves,
            text=[self._words(i) for i in range(len(series))],
            code=[self._reduction.code(self.state.choice, int(k)) for k in series.modes],
            chain=series.klip.history,
        )

    # -- widgets -----------------------------------------------------------------------------------------------------

    def _make_pane(self) -> None:
        klip = self._series.klip
        self._sky = sky_of(klip.target)
        self._pixel_scale = klip.target.meta.pixel_scale
        center, unit = klip.target.center, klip.target.meta.unit
        self._automatic = residual_scale(self._series.frames[self.index], center, unit)
        self._pane = ImagePane(
            self._series.frames,
            names=[str(k) for k in self._series.modes],
            name="KL modes",
            sky=self._sky,
            scale=self._automatic,
            title=klip.target.meta.title,
            frame=self.index,
            noise=self._noise(),
            marks=self._marks(),
            regions=self._regions(),
        )
        self._pane.layout.flex, self._pane.layout.min_width = "1 1 430px", "330px"

    def _make_plots(self) -> None:
        axis = "separation (arcsec)" if self._pixel_scale else "separation (px)"
        names = [str(k) for k in self._series.modes]
        self._family = plots.CurveFamily(
            self._sep,
            self._limit(),
            names=names,
            x_reading=Reading(axis),
            y_reading=Reading(self._limit_name, log=True),
            current=self.index,
            inner=self._inner,
        )
        self._track = plots.SNRTrack(self._series.modes.tolist(), current=self.index)
        self._track.on_choose(lambda index: self.choose(modes=int(self._series.modes[index])))

    def _lay_out(self) -> None:
        self._toolbar = controls.Toolbar(self)
        self._level = ipywidgets.BoundedFloatText(
            self.state.level,
            min=0.1,
            max=20,
            step=0.5,
            description="level (σ)",
            layout=ipywidgets.Layout(width="160px"),
        )
        self._status = controls.words()
        self._story = controls.words(tag="div")
        self._zones, self._references, self._companion = ZonesPanel(self), ReferencesPanel(self), CompanionPanel(self)
        self._tabs = ipywidgets.Accordion(
            [self._zones.widget, self._references.widget, self._companion.widget],
            titles=("Zones", "References", "Injected companion"),
            selected_index=None,
        )
        plots_shown = [self._family.widget, self._track.widget]
        for widget in plots_shown:  # one above the other: their flex is a height here
            widget.layout.flex, widget.layout.align_self = "0 0 auto", "stretch"
        right = ipywidgets.VBox(plots_shown, layout=ipywidgets.Layout(flex="1 1 380px", min_width="320px"))
        self.show_as(
            controls.column(
                controls.row(self._toolbar.widget, self._level),
                controls.row(self._pane, right, align_items="flex-start"),
                self._status,
                self._tabs,
                self._story,
            )
        )

    def _join(self) -> None:
        self.link("stretch", self._pane, "stretch")
        self.link("colors", self._pane, "colors")
        self.link("blink", self._pane, "blink")
        self.link("cursor", self._pane, "cursor")
        self.link("compare", self._pane, "compare")
        self.link("level", self._level)
        self.watch(lambda change: self.choose(modes=int(self._series.modes[change["new"]])), "frame", of=self._pane)
        self.watch(self._limits_set, "limits", of=self._pane)
        self.watch(self._marks_moved, "marks", of=self._pane)
        self.watch(self._regions_moved, "regions", of=self._pane)
        self.watch(self._panel_opened, "selected_index", of=self._tabs)
        self.watch(self._modes_chosen, "modes")
        self.watch(self._limits_chosen, "limits")
        self.watch(self._cursor_moved, "cursor")
        self.watch(lambda _: self._show_curves(), "level")
        self.watch(self._reduce, "edges", "sectors", "start", "dropped", "source")
        self.at_end(self._family.plot.close)
        self.at_end(self._track.plot.close)
        self.at_end(self._settle.cancel)
        self.at_end(self._curves_follow.cancel)
        self.at_end(self._then.cancel)

    # -- what the user does ------------------------------------------------------------------------------------------

    def choose(self, *, drag: str = "", **choices: Any) -> None:
        """Change choices as one step; what can't be is said below the image."""
        if self._busy:
            return
        try:
            self.state.apply(choices, drag=drag)
        except DataError as error:
            self.note(str(error))

    def note(self, problem: str) -> None:
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
        cx, cy = self._sky.origin
        r = np.hypot(x - cx, y - cy)
        return [float(np.floor(r.min())), float(np.ceil(r.max()) + 1)]

    def _modes_chosen(self, _: Any) -> None:
        self._pane.frame = self.index
        self._curves_follow()

    def _follow_curves(self) -> None:
        self._family.current = self.index
        self._then()

    def _follow_track(self) -> None:
        self._track.current = self.index
        self._say()

    def _limits_set(self, change: Any) -> None:
        automatic = tuple(change["new"]) == tuple(self._automatic.limits)
        self.choose(limits=[] if automatic else list(change["new"]), drag="limits")

    def _limits_chosen(self, change: Any) -> None:
        self._pane.limits = tuple(change["new"]) or self._automatic.limits

    def _cursor_moved(self, change: Any) -> None:
        if change["new"]:
            x, y = change["new"]
            r = np.hypot(x - self._sky.origin[0], y - self._sky.origin[1])
            self._family.mark(float(r * (self._pixel_scale or 1.0)))
        else:
            self._family.mark(None)
        self._show_tracks()
        self._say()

    def _marks_moved(self, change: Any) -> None:
        mark = next((one for one in change["new"] if one.get("id") == SOURCE), None)
        if mark is None or not self.state.source or self._busy:
            return
        self._dragging = not mark.get("done", True)
        source = [round(mark["x"], 2), round(mark["y"], 2), self.state.source[2]]
        if source != self.state.source:
            self.choose(source=source, drag=SOURCE)
        elif not self._dragging:
            self._settle()

    def _regions_moved(self, change: Any) -> None:
        """A dragged radius moves the neighbouring zones with it, and one dragged side turns all sectors."""
        zones = [region for region in change["new"] if str(region.get("id", "")).startswith(ZONE)]
        if self._busy or not self.state.edges or not zones:
            return
        self._dragging = any(not region.get("done", True) for region in zones)
        edges, turns = list(self.state.edges), [0.0]
        for region in zones:
            ring, sector = map(int, region["id"].removeprefix(ZONE).split("."))
            for at, key in ((ring, "r0"), (ring + 1, "r1")):
                if abs(region[key] - self.state.edges[at]) > 0.05:
                    edges[at] = round(region[key], 1)
            turns.append(_turned(region["pa0"] - self._begin(sector)))
        turn = max(turns, key=abs) if self.state.sectors > 1 else 0.0
        start = round(_turned(self.state.start - self._sky.parity * turn), 1)
        if (edges, start) != (self.state.edges, self.state.start):
            self.choose(edges=edges, start=start, drag="zones")
        elif not self._dragging:
            self._settle()

    def _panel_opened(self, change: Any) -> None:
        if change["new"] == 1:
            self._references.open()
        if change["new"] in (0, 1):
            self._settle()  # the references are shifted now, so that the first drag finds them ready

    # -- reductions --------------------------------------------------------------------------------------------------

    def _reduce(self, _: Any) -> None:
        """The visible frame at once, all else when nothing else is waiting."""
        choice = self.state.choice
        try:
            image = self._reduction.frame(choice, self.state.modes)
        except DataError as error:
            self.note(str(error))
            return
        self._problem = ""
        self._pane.set_frame(self._pane.frame, image)
        self._mark_choice()
        self._say()
        self._settle()

    def _settled(self) -> None:
        choice = self.state.choice
        if self.closed or self._dragging:
            return
        try:
            self._series = self._reduction.series(choice)
        except DataError as error:
            self.note(str(error))
            return
        self._busy = True
        try:
            names = [str(k) for k in self._series.modes]
            self._pane.set_cube(self._series.frames, noise=self._noise(), names=names)
            self._pane.frame = self.index
        finally:
            self._busy = False
        self._show_all()
        if self._tabs.selected_index in (0, 1):
            _ = self._reduction.live

    # -- what is shown -----------------------------------------------------------------------------------------------

    def _show_all(self) -> None:
        self._mark_choice()
        self._show_curves()
        self._show_tracks()
        for panel in (self._zones, self._references, self._companion):
            panel.show()
        self._say()

    def _mark_choice(self) -> None:
        """Regions and marks on the image as they are chosen."""
        self._busy = True
        try:
            self._pane.regions = self._regions()
            self._pane.marks = self._marks()
            preview = self._reduction.is_preview(self.state.choice)
            self._pane.status = "preview: one set of references for all integrations" if preview else ""
        finally:
            self._busy = False

    def _show_curves(self) -> None:
        self._family.names = tuple(str(k) for k in self._series.modes)
        self._family.set_curves(self._limit(), self._sep)
        self._family.current = self.index
        self._toolbar.refresh()

    def _show_tracks(self) -> None:
        places = self._followed()
        if len(self._track.modes) != len(self._series.modes):
            self._track.current = 0  # there in any case, while the tracks change one by one
            for name in self._track.tracks:
                self._track.drop(name)
            self._track.modes = np.asarray(self._series.modes, float)
        for name in self._track.tracks:
            if name not in places:
                self._track.drop(name)
        for name, place in places.items():
            self._track.set(name, self._snr(place))
        self._track.current = self.index

    def _say(self) -> None:
        words = escape(self._problem) or escape(self._summary(self.index))
        self._status.value = f'<div role="status" style="line-height:1.5">{words}</div>'
        self._story.value = (
            "<details><summary style='cursor:pointer'>in words</summary>"
            f"<pre style='white-space:pre-wrap;line-height:1.4'>{escape(self.text)}</pre></details>"
        )
        self._companion.say(self._recovered())

    def _summary(self, index: int) -> str:
        share = float(self._series.explained[index])
        spread = float(np.nanstd(self._series.frames[index]))
        unit = self.aligned.target.meta.unit
        return (
            f"{self._series.modes[index]} modes explain {100 * share:.4g} % of the variance; "
            f"residual {spread:.3g} {unit} rms"
        )

    def _words(self, index: int) -> str:
        lines = [f"{self.aligned.target.meta.title}: {self._summary(index)}."]
        limit = self._limit()[index]
        unit = "″" if self._pixel_scale else " px"
        at = [r for r in ((0.5, 1.0, 2.0) if self._pixel_scale else (10.0, 30.0)) if self._sep[0] < r < self._sep[-1]]
        shown = [f"{np.interp(r, self._sep, limit):.3g} at {r:g}{unit}" for r in at]
        if shown:
            lines.append(f"{self._limit_name}: {', '.join(shown)}.")
        lines += [f"S/N of {name}: {self._snr(place)[index]:.1f}." for name, place in self._followed().items()]
        return "\n".join(lines)

    def _recovered(self) -> str:
        """What is found of the injected companion at the current mode count."""
        if not self.state.source:
            return ""
        x, y, flux = self.state.source
        series = self._reduction.without_source(self.state.choice)
        part = series.klip.series([self.modes]) if self._dragging else series
        at = int(np.argmin(np.abs(part.modes - self.modes)))
        found = flux + float(part.flux_at((x, y))[at])
        kept = float(part.throughput_at((x, y))[at])
        r = np.hypot(x - self._sky.origin[0], y - self._sky.origin[1]) * (self._pixel_scale or 1.0)
        return (
            f"at {r:.2f}{'″' if self._pixel_scale else ' px'}: injected {self.flux_words(flux)}, "
            f"recovered {self.flux_words(found)}; {100 * kept:.0f} % of it is left by {self.modes} modes"
        )

    # -- numbers -----------------------------------------------------------------------------------------------------

    @property
    def _sep(self) -> np.ndarray:
        return self._series.radius * (self._pixel_scale or 1.0)

    @property
    def _inner(self) -> float:
        fwhm = self.aligned.target.meta.fwhm or 2.0
        return NEAR * fwhm * (self._pixel_scale or 1.0)

    @property
    def _limit_name(self) -> str:
        what = "contrast" if self._star_flux else "limit"
        unit = "" if self._star_flux else f" ({self.aligned.target.meta.unit})" if self.aligned.target.meta.unit else ""
        return f"{self.state.level:g}σ {what}{unit}"

    def _limit(self) -> np.ndarray:
        """Limits (n, n_ring) at the chosen level; remembered, since every move of the slider reads them."""
        key = self._series, self.state.level
        if self._limits is None or self._limits[0] != key:
            self._limits = key, self._series.limit(self.state.level, star_flux=self._star_flux)
        return self._limits[1]

    def _noise(self) -> RadialNoise:
        return RadialNoise(self._series.radius, self._series.noise, self._limit(), limit_name=self._limit_name)

    def _scale(self) -> Scale:
        pane = self._pane
        return Scale(tuple(pane.limits), pane.stretch, pane.colors, self._automatic.unit)

    def _snr(self, place: tuple[float, float]) -> np.ndarray:
        if not self.aligned.target.meta.fwhm:
            return np.full(len(self._series), np.nan)
        return self._series.snr_at(place)

    def _followed(self) -> dict[str, tuple[float, float]]:
        """Places whose S/N is shown."""
        places = dict(self._places)
        if self.state.source:
            places[SOURCE] = (self.state.source[0], self.state.source[1])
        if self.state.cursor:
            places[CURSOR] = (self.state.cursor[0], self.state.cursor[1])
        return places

    def flux_unit(self) -> float:
        """The detection limit where a companion stands or would stand: middle of its slider."""
        x, y = self.state.source[:2] or self.state.cursor or self._beside()
        r = np.hypot(x - self._sky.origin[0], y - self._sky.origin[1])
        level = np.interp(r, self._series.radius, self._reduction.without_source(self.state.choice).noise[self.index])
        return float(f"{5 * level:.3g}") if np.isfinite(level) and level > 0 else 1.0

    def flux_words(self, flux: float) -> str:
        """A flux as contrast where the star's is known, else in the unit of the images."""
        if self._star_flux:
            return f"{flux / self._star_flux:.3g}"
        return f"{flux:.4g} {self.aligned.target.meta.unit}".strip()

    def _beside(self) -> tuple[float, float]:
        """A place a quarter of the image to the right of the star, or to the left where that is outside."""
        (x, y), nx = self._sky.origin, self._sky.shape[1]
        return (x + nx / 5 if x + nx / 5 < nx - 1 else x - nx / 5), y

    def _begin(self, sector: int) -> float:
        """Position angle at which a sector begins; 0 where there is one only."""
        state = self.state
        if state.sectors == 1:
            return 0.0
        # sectors count anticlockwise, and so do position angles where east is to the left of north
        along = sector if self._sky.parity < 0 else -sector - 1
        return ((self._sky.pa_y or 0.0) - self._sky.parity * state.start + along * 360 / state.sectors) % 360

    def _regions(self) -> list[dict[str, Any]]:
        state, (x, y) = self.state, self._sky.origin
        regions = []
        for ring, (r0, r1) in enumerate(zip(state.edges, state.edges[1:], strict=False)):
            for sector in range(state.sectors):
                begin, wide = self._begin(sector), 360 / state.sectors
                regions.append(
                    {
                        "id": f"{ZONE}{ring}.{sector}", "kind": "annulus", "x": x, "y": y, "r0": r0, "r1": r1,
                        "pa0": begin, "pa1": begin + wide, "name": "", "locked": False, "visible": True,
                        "fixed": True,
                    }
                )  # fmt: skip
        return regions

    def _marks(self) -> list[dict[str, Any]]:
        radius = (self.aligned.target.meta.fwhm or 4.0) * 1.2
        marks = [
            {"id": name, "kind": "companion", "x": x, "y": y, "radius": radius, "name": name, "draggable": False}
            for name, (x, y) in self._places.items()
        ]
        if self.state.source:
            x, y, _ = self.state.source
            marks.append(
                {"id": SOURCE, "kind": "companion", "x": x, "y": y, "radius": radius, "name": SOURCE, "draggable": True}
            )
        return marks


def _turned(angle: float) -> float:
    """The angle from -180 to 180 degrees."""
    return (angle + 180) % 360 - 180


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


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


@explore.register
def _explore_klip(klip: KlipResult, **options: Any) -> KLModeExplorer:
    return KLModeExplorer(klip, **options)
