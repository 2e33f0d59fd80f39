"""ContrastExplorer: contrast curves side by side, read as the astronomer wishes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bqplot
import ipywidgets
import numpy as np
from traitlets import Bool, CaselessStrEnum, Float, Int, List, Unicode, validate

from corontools.coron.contrast import ContrastCurve
from corontools.display import escape
from corontools.display.axes import Axis
from corontools.errors import DataError
from corontools.result import Result
from corontools_widgets import controls, curves, figures, standalone
from corontools_widgets.curves import STATISTICS, UNITS, WHY, Curve, Drawn, Style
from corontools_widgets.explore import explore
from corontools_widgets.figures import Reading, swatch
from corontools_widgets.limits import PublishedCurve, published
from corontools_widgets.state import ViewState
from corontools_widgets.view import View, Writer, close_widget

__all__ = ["ContrastExplorer", "ContrastState"]

SCALES = {"contrast": "contrast", "magnitude": "magnitudes"}


class ContrastState(ViewState):
    """Choices of a `ContrastExplorer`.

    Attributes
    ----------
    statistics : {"student", "gaussian"}
        Whether limits allow for the few resolution elements near the star.
    unit : {"arcsec", "lambda/D", "px"}
        Of the separations.
    scale : {"contrast", "magnitude"}
        How limits are read.
    log_x : bool
        Logarithmic separations.
    x_limits : [float, float] or []
        Ends of the axis in `unit`; empty: automatic.
    y_limits : [float, float] or []
        Ends as contrast, whatever `scale` says.
    front : str
        Name of the curve in front, which gives `result` and the rings.
    ring : int
        Ring of it at which the limits of all curves are read.
    hidden : list of str
        Names of the curves that are not shown.
    """

    statistics = CaselessStrEnum(tuple(STATISTICS), default_value="student")
    unit = CaselessStrEnum(tuple(UNITS), default_value="arcsec")
    scale = CaselessStrEnum(tuple(SCALES), default_value="contrast")
    log_x = Bool(False)
    x_limits = List(Float(), maxlen=2)
    y_limits = List(Float(), maxlen=2)
    front = Unicode("")
    ring = Int(0, min=0)
    hidden = List(Unicode())

    @validate("x_limits", "y_limits")
    def _range(self, proposal: dict[str, Any]) -> list[float]:
        return self._pair(proposal)


@dataclass(frozen=True, eq=False)
class Entry:
    """A curve of the explorer with what draws it."""

    name: str
    curve: Curve
    line: bqplot.Lines
    dots: bqplot.Scatter
    box: ipywidgets.Checkbox
    key: ipywidgets.Box

    def draw(self, drawn: Drawn | None, style: Style, *, front: bool) -> None:
        """Move line and points; None hides them."""
        x, y = (np.zeros(0), np.zeros(0)) if drawn is None else (drawn.x, drawn.y)
        known = np.isfinite(y) & (y > 0)
        with self.line.hold_sync():
            self.line.x, self.line.y = x, np.where(known, y, np.nan)
            self.line.stroke_width = 3.0 if front else 1.8
        names = [style.point(self.name, *point) for point in zip(x[known], y[known], strict=True)]
        with self.dots.hold_sync():
            self.dots.x, self.dots.y, self.dots.names = x[known], y[known], np.array(names)


class ContrastExplorer(View):
    """Contrast curves on common axes: level, statistics, units, values at a ring, and the files of a paper.

    A curve that can't be shown as chosen is left out, and a note says why. A published curve keeps the level and the
    statistics of its authors.

    Parameters
    ----------
    curve : ContrastCurve or PublishedCurve
        The first curve.
    name : str, optional
        Its name in the legend; by default target and filter.

    Examples
    --------
    >>> from corontools import Exposure, Meta
    >>> from corontools.coron.contrast import measure
    >>> meta = Meta(instrument="NIRCAM", filter="F444W", pixel_scale=0.063)
    >>> image = Exposure(np.random.default_rng(1).normal(size=(101, 101)), meta=meta)
    >>> view = ContrastExplorer(measure(image, width=2, center="image").normalize(1e5), name="this work")
    >>> view.state.level = 3
    >>> view.result.name
    '3-sigma limit (of the star)'
    >>> view.close()
    """

    state: ContrastState

    def __init__(self, curve: Curve, *, name: str = "") -> None:
        super().__init__(_first_state(curve))
        self._entries: dict[str, Entry] = {}
        self._made: tuple[Any, tuple[list[Drawn], list[str]]] | None = None
        self._seen: dict[str, Any] = {}
        self._busy = True
        self._tip = figures.hover()
        self._plot = figures.Plot(Reading(), Reading(log=True), height="400px")
        self._at = self._plot.line([], [], color=figures.GREY, stroke_width=1.2, line_style="dashed")
        self._make_controls()
        self._lay_out()
        self.add(curve, name=name)
        self.state.ring = _first_ring(curve)
        self.state.clear_history()
        self._toolbar.refresh()

    def add(self, curve: Curve | str | os.PathLike[str] | Any, *, name: str = "", level: float | None = None) -> None:
        """Add a curve to compare with: a ContrastCurve, an astropy table, or the path of a table (.csv, .ecsv).

        Parameters
        ----------
        curve : ContrastCurve, PublishedCurve, path or Table
            The columns of a table are found by their names, see `published`.
        name : str, optional
            In the legend.
        level : float, optional
            Sigma of a published limit.

        Raises
        ------
        DataError
            If a table lacks columns, or the curve isn't of the same quantity as those that are there.
        """
        new = [curve] if isinstance(curve, Curve) else published(curve, level=level)
        first = next(iter(self._entries.values()), None)
        for one in new:
            if first is not None and curves.quantity(first.curve) != curves.quantity(one):
                raise DataError(
                    f"the curves are in {curves.quantity(first.curve)}, the new one is in {curves.quantity(one)}; "
                    "bring them to the same by normalize(star_flux)"
                )
        for one in new:
            self._enter(
                one, f"{name} {one.title}" if name and isinstance(one, PublishedCurve) and len(new) > 1 else name
            )
        self._offer()

    def remove(self, name: str) -> None:
        """Take a curve away.

        Raises
        ------
        DataError
            If there is none of this name, or it is the only one.
        """
        entry = self._entry(name)
        if len(self._entries) == 1:
            raise DataError(f"{name!r} is the only curve; close the view instead")
        del self._entries[name]
        if self.state.front == name:
            self.state.front = next(iter(self._entries))
        self._plot.remove(entry.line, entry.dots)
        self._offer()
        close_widget(entry.key)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the curves, in the order they were added."""
        return tuple(self._entries)

    @property
    def curves(self) -> dict[str, Curve]:
        """The curves that are shown, at the chosen level and statistics, by name."""
        return {one.name: one.curve for one in self._drawn()[0]}

    @property
    def result(self) -> Result:
        """The curve in front, at the chosen level and statistics."""
        curve = self._entry(self.state.front).curve
        made = curves.limited(curve, self.state.level, self.state.statistics)
        if made is None:
            raise DataError(f"{self.state.front}: {WHY['student']}")
        return made

    @property
    def notes(self) -> list[str]:
        """What could not be shown or typed, and why."""
        return [*self._drawn()[1], *self._denied(), *(box.problem for box in self._ranges if box.problem)]

    @property
    def text(self) -> str:
        """The limits at round separations, in words."""
        drawn, _ = self._drawn()
        return curves.words(drawn, self._style(), self._axes(drawn)[0], self.notes)

    def writers(self) -> Mapping[str, Writer]:
        """Tables of the curves that are shown (.csv, .ecsv), the figure (.svg), a page with both (.html)."""
        return {".csv": self._write_csv, ".ecsv": self._write_ecsv, ".svg": self._write_svg, ".html": self.write_page}

    def browser_writers(self) -> Mapping[str, Callable[[Callable[[bytes], Any]], None]]:
        """The plot as it is on the screen (.png)."""
        return {".png": self._ask_png}

    def _ask_png(self, callback: Callable[[bytes], Any]) -> None:
        self._plot.png(callback, {one.name: self._entries[one.name].line for one in self._drawn()[0]})

    def _write_csv(self, path: Path) -> None:
        curves.table(self._drawn()[0]).write(path, format="ascii.csv", overwrite=True)

    def _write_ecsv(self, path: Path) -> None:
        curves.table(self._drawn()[0]).write(path, format="ascii.ecsv", overwrite=True)

    def _svg(self) -> str:
        drawn, _ = self._drawn()
        return curves.svg(drawn, self._style(), self._axes(drawn))

    def _write_svg(self, path: Path) -> None:
        path.write_text(self._svg(), encoding="utf-8")

    def to_html(self) -> str:
        """The curves that are shown as one HTML file without requests: axes, legend and read-out work in it."""
        drawn, style = self._drawn()[0], self._style()
        ends = self._axes(drawn)
        return standalone.page(
            "Contrast curves",
            pane=None,
            curves=[curves.panel(drawn, style, ends)],
            text=curves.paragraphs(drawn, style, ends[0], self.notes),
            code=self.result.code,
            chain=self.result.history,
        )

    # -- curves -----------------------------------------------------------------------------------------------------

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            raise DataError(f"there is no curve {name!r}; there are {', '.join(map(repr, self._entries))}")
        return self._entries[name]

    def _enter(self, curve: Curve, name: str) -> None:
        base = name or (curve.title if isinstance(curve, PublishedCurve) else curve.meta.title)
        name, number = base, 2
        while name in self._entries:
            name, number = f"{base} ({number})", number + 1
        color, dash = self._free_look()
        line = self._plot.line([], [], color=color, line_style=dash)
        # seen by the pointer only: bqplot has no tooltip for places on a line
        dots = self._plot.dots([], [], color=color, opacities=[0.0], default_size=80, tooltip=self._tip)
        dots.on_element_click(lambda _, event: self._clicked(name, event))
        box = ipywidgets.Checkbox(True, description=name, indent=False, layout=ipywidgets.Layout(width="auto"))
        box.observe(lambda change: self._toggled(name, change["new"]), "value")
        key = controls.row(ipywidgets.HTML(swatch(color, dash)), box, width="auto", margin="0 18px 0 0")
        self._entries[name] = Entry(name, curve, line, dots, box, key)
        if len(self._entries) == 1:
            self.state.front = name

    def _free_look(self) -> tuple[str, str]:
        """Colour and line style that no curve has yet."""
        looks = [(color, dash) for dash in figures.LINE_STYLES for color in figures.PALETTE]
        used = [(entry.line.colors[0], entry.line.line_style) for entry in self._entries.values()]
        return next((look for look in looks if look not in used), looks[len(used) % len(looks)])

    def _style(self) -> Style:
        state = self.state
        measured = curves.quantity(next(iter(self._entries.values())).curve)
        scale = state.scale if measured == curves.OF_STAR else "contrast"
        return Style(state.unit, state.statistics, scale, state.level, measured, state.log_x)

    def _drawn(self) -> tuple[list[Drawn], list[str]]:
        """The curves that are shown, and words on those that can't be."""
        state = self.state
        key = (state.level, state.statistics, state.unit, tuple(state.hidden), tuple(self._entries))
        if self._made is None or self._made[0] != key:
            self._made = key, self._make()
        return self._made[1]

    def _make(self) -> tuple[list[Drawn], list[str]]:
        drawn, notes = [], []
        for entry in self._entries.values():
            if entry.name in self.state.hidden:
                continue
            made = self._one(entry)
            if isinstance(made, Drawn):
                drawn.append(made)
            else:
                notes.append(f"{entry.name} is left out: {made}")
        return drawn, notes

    def _one(self, entry: Entry) -> Drawn | str:
        """A curve as it is drawn, or why it isn't."""
        x = curves.separations(entry.curve, self.state.unit)
        if x is None:
            return curves.why(entry.curve, self.state.unit)
        curve = curves.limited(entry.curve, self.state.level, self.state.statistics)
        if curve is None:
            return WHY["student"]
        line, limit = entry.line, curve.limit
        if not (np.isfinite(limit) & (limit > 0)).any():
            return curves.NO_VALUE
        return Drawn(entry.name, line.colors[0], line.line_style, curve, x, limit)

    # -- widgets ----------------------------------------------------------------------------------------------------

    def _make_controls(self) -> None:
        self._level = ipywidgets.BoundedFloatText(self.state.level, min=0.1, max=20, step=0.5, description="level (σ)")
        self._level.style.description_width, self._level.layout.width = "initial", "130px"
        self._log_x = controls.choice("axis", [("linear", False), ("logarithmic", True)], False)
        labels = {"statistics": "statistics", "unit": "separation in", "scale": "limit as", "front": "in front"}
        self._picks = {name: controls.choice(label, [], None) for name, label in labels.items()}
        for name, pick in self._picks.items():
            pick.observe(lambda change, name=name: self._picked(name, change["new"]), "value")
        self._rings = controls.Stepper("ring", ["none"])
        self._ranges = controls.Range("separation from"), controls.Range("limit from")
        self._legend = controls.row()
        self._read, self._notes, self._story = (controls.words() for _ in range(3))
        self._pan = ipywidgets.ToggleButton(
            description="pan and zoom", tooltip="drag and zoom the axes", layout={"width": "auto"}
        )
        self._toolbar = controls.Toolbar(self, self._pan)

    def _lay_out(self) -> None:
        picks = self._picks
        self.show_as(
            controls.column(
                self._toolbar.widget,
                controls.row(self._level, picks["statistics"], picks["unit"], picks["scale"], self._log_x),
                controls.row(*(box.widget for box in self._ranges)),
                controls.row(self._plot.figure),
                self._legend,
                controls.row(picks["front"], self._rings.widget),
                self._read,
                self._notes,
                self._story,
            )
        )
        self.link("level", self._level)
        self.link("log_x", self._log_x)
        self.link("x_limits", self._ranges[0])
        self.link("y_limits", self._ranges[1])
        self._rings.observe(self._stepped, "index")
        self._pan.observe(lambda change: self._plot.pan(change["new"]), "value")
        self._plot.x.panned = self._plot.y.panned = self._panned
        self.watch(self._redraw)
        for box in self._ranges:
            box.observe(self._annotate, "problem")
        self.at_end(self._plot.close)

    def _offer(self) -> None:
        """Legend and choices for the curves that are there."""
        self._busy = True
        self._legend.children = tuple(entry.key for entry in self._entries.values())
        options = {
            "statistics": [(STATISTICS[key], key) for key in STATISTICS if self._possible(key)],
            "unit": [(UNITS[key], key) for key in UNITS if self._possible(key)],
            "scale": [(SCALES[key], key) for key in SCALES if key == "contrast" or self._possible(key)],
            "front": [(name, name) for name in self._entries],
        }
        for name, pick in self._picks.items():
            if pick.options != tuple(options[name]):
                pick.options = options[name]
        self._busy, self._seen = False, {}
        self._redraw()

    def _possible(self, key: str) -> bool:
        """Whether any curve can be shown so."""
        entries = [entry.curve for entry in self._entries.values()]
        if key in UNITS:
            return any(curves.separations(curve, key) is not None for curve in entries)
        if key == "student":
            return any(isinstance(curve, ContrastCurve) and curves.width(curve) for curve in entries)
        return key == "gaussian" or any(curves.quantity(curve) == curves.OF_STAR for curve in entries)

    def _denied(self) -> list[str]:
        """What isn't offered, and why."""
        words = {"arcsec": "arcsec isn't offered", "lambda/D": "λ/D isn't offered", "student": "Student isn't offered"}
        return [f"{text}: {WHY[key]}" for key, text in words.items() if not self._possible(key)]

    def _redraw(self, _: Any = None) -> None:
        now = self.state.to_dict()
        if self._busy or now == self._seen:  # several choices made at once are drawn once
            return
        self._busy, self._seen = True, now
        try:
            self._draw()
        finally:
            self._busy = False

    def _draw(self) -> None:
        drawn, style = self._drawn()[0], self._style()
        x, y = self._axes(drawn)
        self._plot.show(x, y, style.x, style.y)
        by_name = {one.name: one for one in drawn}
        for name, entry in self._entries.items():
            entry.draw(by_name.get(name), style, front=name == self.state.front)
            entry.box.value = name not in self.state.hidden
        for name, pick in self._picks.items():
            known = [value for _, value in pick.options]
            pick.value = getattr(self.state, name) if getattr(self.state, name) in known else None
        self._ranges[1].read_as(*_numbers(style))
        self._read_off(drawn, style)
        self._annotate()

    def _read_off(self, drawn: Sequence[Drawn], style: Style) -> None:
        """Values of all curves at the chosen ring of the one in front."""
        front = next((one for one in drawn if one.name == self.state.front), None)
        if front is None:
            self._rings.rename(["none"])
            self._plot.move(self._at, [], [])
            self._read.value = ""
            return
        self._rings.rename([curves.place(front.curve, i) for i in range(front.x.size)])
        self._rings.index = min(self.state.ring, front.x.size - 1)
        x = float(front.x[self._rings.index])
        self._plot.move(self._at, [x, x], list(self._plot.y.limits))
        self._read.value = curves.readout(drawn, style, x)

    def _annotate(self, _: Any = None) -> None:
        notes = "<br>".join(map(escape, self.notes))
        self._notes.value = f'<div role="status" style="line-height:1.5">{notes}</div>'
        self._story.value = controls.story(self.text)

    def _axes(self, drawn: Sequence[Drawn]) -> tuple[Axis, Axis]:
        return curves.axes(drawn, self._style(), self.state.x_limits, self.state.y_limits)

    # -- what the user does ------------------------------------------------------------------------------------------

    def _picked(self, name: str, value: Any) -> None:
        if self._busy or value is None:
            return
        choices = {name: value}
        if name == "unit":
            choices["x_limits"] = []  # they were in the other unit
        self.state.apply(choices)

    def _stepped(self, change: Mapping[str, Any]) -> None:
        if not self._busy:
            self.state.ring = change["new"]

    def _toggled(self, name: str, shown: bool) -> None:
        if not self._busy:
            others = [other for other in self.state.hidden if other != name]
            self.state.hidden = others if shown else [*others, name]

    def _clicked(self, name: str, event: Mapping[str, Any]) -> None:
        x = curves.separations(self._entry(name).curve, self.state.unit)
        if x is not None:
            self.state.apply({"front": name, "ring": int(np.nanargmin(np.abs(x - float(event["data"]["x"]))))})

    def _panned(self) -> None:
        ends = {"x_limits": list(self._plot.x.limits), "y_limits": list(self._plot.y.limits)}
        self.state.apply(ends, drag="pan")


def _numbers(style: Style) -> tuple[Any, Any]:
    return style.y.shown, style.y.data


def _first_state(curve: Curve) -> ContrastState:
    """Choices that show the curve as it is given, where it is a limit already; else its 5-sigma limit."""
    known = curves.width(curve) is not None or isinstance(curve, PublishedCurve)
    level, statistics = 5.0, "student" if known else "gaussian"
    if isinstance(curve, ContrastCurve) and curve.statistics:
        level, statistics = curve.level, curve.statistics
    unit = next((unit for unit in UNITS if curves.separations(curve, unit) is not None), "px")
    return ContrastState(level=level, statistics=statistics, unit=unit)


def _first_ring(curve: Curve) -> int:
    return int(curve.limit.size // 3)


@explore.register
def _explore_contrast(curve: ContrastCurve, **options: Any) -> ContrastExplorer:
    return ContrastExplorer(curve, **options)


@explore.register
def _explore_published(curve: PublishedCurve, **options: Any) -> ContrastExplorer:
    return ContrastExplorer(curve, **options)
