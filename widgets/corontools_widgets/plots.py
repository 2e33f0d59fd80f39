"""Plots of a reduction: curves of all mode counts, values against modes, shifts with error bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bqplot
import ipywidgets
import numpy as np
from numpy.typing import ArrayLike, NDArray

from corontools.display.axes import Axis
from corontools_widgets.figures import (
    FRONT,
    GREY,
    LINE_STYLES,
    PALETTE,
    ZERO,
    Plot,
    PlotAxis,
    Reading,
    entries,
    floats,
    hover,
    raised,
    swatch,
    written,
)
from corontools_widgets.image_pane import ImagePane
from corontools_widgets.later import Later
from corontools_widgets.view import close_widget

__all__ = [
    "FRONT",
    "GREY",
    "LINE_STYLES",
    "PALETTE",
    "CurveFamily",
    "ModeTrack",
    "Plot",
    "PlotAxis",
    "Reading",
    "ShiftScatter",
    "raised",
    "swatch",
    "written",
]


SQUARE = 422 / 400  # of a figure, whose margins are not equal


class CurveFamily:
    """Curves of all mode counts in grey and the current one in front, on a logarithmic y axis.

    Parameters
    ----------
    x : array_like, shape (n_point,)
        Separations.
    curves : array_like, shape (n, n_point)
        One row a mode count; what is NaN or not positive is a gap.
    names : sequence of str
        Of each curve.
    x_reading, y_reading : Reading
        Axes.
    current : int
        The row in front.
    what : str
        What the names count, for the legend.
    inner : float
        Separation from which curves count for the ends of the y axis: nearer in, few samples make limits huge.
    height : str
        CSS height of the figure.

    Attributes
    ----------
    plot : Plot
    front : bqplot.Lines
        All curves, of which the current one is seen.
    widget : ipywidgets.VBox
        To be shown.
    """

    def __init__(
        self,
        x: ArrayLike,
        curves: ArrayLike,
        *,
        names: Sequence[str],
        x_reading: Reading,
        y_reading: Reading,
        current: int = 0,
        what: str = "KL modes",
        inner: float = 0.0,
        height: str = "330px",
    ) -> None:
        self._x, self._curves, self._current = floats(x), _positive(curves), current
        self._inner = inner
        self._marked: float | None = None
        self.names, self._what = tuple(names), what
        self.plot = Plot(x_reading, y_reading, height=height)
        self.plot.show(*self._axes())
        self._led: ipywidgets.Widget | None = None
        self._grey = self.plot.line(self._x, self._curves, color=GREY, stroke_width=1.0, opacities=[0.55])
        self._line = self.plot.line([], [], color=GREY, stroke_width=1.2, line_style="dashed")
        self.front = self.plot.line(self._x, _placed(self._curves), stroke_width=2.6, curves_subset=[current])
        # seen by the pointer only: bqplot has no tooltip for places on a line
        tip = bqplot.Tooltip(fields=["x", "y"], formats=[".3g", ".3g"], labels=[x_reading.label, y_reading.label])
        self._dots = self.plot.dots(self._x, self._curves[current], opacities=[0.0], default_size=90, tooltip=tip)
        # many small marks, which nobody sees, and words, which move the page: they would hold up the curve
        self._rest = Later(self._follow)
        self._legend = ipywidgets.HTML()
        self.widget = self.plot.with_legend(self._legend)
        self._name()

    @property
    def current(self) -> int:
        """Row of the curve in front; set it."""
        return self._current

    @current.setter
    def current(self, index: int) -> None:
        self._current = int(index)
        if self._led is None:
            self.front.curves_subset = [self._current]
        self._rest()

    def lead(self, pane: ImagePane) -> None:
        """From now on the browser brings the curve of the frame `shown` by a pane to the front, without the kernel.

        `current` is then set for the words and the values under the pointer alone.
        """
        pane.shown = [pane.frame]
        self._led = ipywidgets.jsdlink((pane, "shown"), (self.front, "curves_subset"))

    def _follow(self) -> None:
        self.plot.move(self._dots, self._x, self._curves[self._current])
        self._name()

    def _name(self) -> None:
        chosen = f"{self.names[self._current]} {self._what}"
        self._legend.value = entries([(swatch(FRONT), chosen), (swatch(GREY), "the others")])

    def set_curves(self, curves: ArrayLike, x: ArrayLike | None = None) -> None:
        """Show other curves, after a new reduction; the axes follow."""
        self._curves = _positive(curves)
        if x is not None:
            self._x = floats(x)
        self.plot.move(self._grey, self._x, self._curves)
        self.plot.move(self.front, self._x, _placed(self._curves))
        self.current = min(self._current, len(self._curves) - 1)
        self.plot.show(*self._axes())
        self.mark(self._marked)

    def mark(self, x: float | None) -> None:
        """Dashed line at a separation, such as that of the cursor; None takes it away."""
        self._marked = x
        ends = self.plot.y.limits
        self.plot.move(self._line, [] if x is None else [x, x], [] if x is None else list(ends))

    def close(self) -> None:
        """Close its widgets."""
        self._rest.cancel()
        if self._led is not None:
            self._led.close()
        close_widget(self.widget)

    def _axes(self) -> tuple[Axis, Axis]:
        x = Axis.around([self._x], pad=0.0)
        return Axis(0.0, x.high), Axis.around([self._curves[:, self._x >= self._inner]], log=True, pad=0.04)


def _positive(values: ArrayLike) -> NDArray[np.float64]:
    array = floats(values)
    return np.where(array > 0, array, np.nan)


def _placed(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Curves without any value put out of sight, so that all keep their places in the list."""
    return np.where(np.isfinite(curves).any(axis=1, keepdims=True), curves, ZERO)


class ModeTrack:
    """Values against KL modes, such as S/N at companions; a click on a point chooses its mode count.

    Parameters
    ----------
    modes : sequence of int
        Mode counts, increasing.
    reading : Reading
        The y axis.
    current : int
        Index of the current one.
    level : float
        Value at which a dashed line is drawn; 0 for none.
    height : str
        CSS height of the figure.
    legend : bool
        Whether names are shown.

    Attributes
    ----------
    plot : Plot
    widget : ipywidgets.VBox
        To be shown.
    """

    def __init__(
        self,
        modes: Sequence[int],
        reading: Reading,
        *,
        current: int = 0,
        level: float = 0.0,
        height: str = "260px",
        legend: bool = True,
    ) -> None:
        self.modes = np.asarray(modes, np.float64)
        self._current, self._level, self._named, self._what = current, level, legend, reading
        self._tracks: dict[str, tuple[NDArray[np.float64], bqplot.Lines, bqplot.Scatter]] = {}
        self._chosen: list[Callable[[int], Any]] = []
        self.plot = Plot(Reading("KL modes"), reading, height=height)
        self._limit = self.plot.line([], [], color=GREY, stroke_width=1.2, line_style="dashed")
        self._now = self.plot.line([], [], color=FRONT, stroke_width=2.0, opacities=[0.5])
        self._tip, self._legend = hover(), ipywidgets.HTML()
        ring = {"fill": False, "default_size": 140, "stroke_width": 2.4, "enable_hover": False}
        # holds the tooltip as well, so that it is closed with the figure even without any track
        self._ring = self.plot.dots([], [], color=FRONT, tooltip=self._tip, **ring)
        self.widget = self.plot.with_legend(self._legend)
        self._fit()

    def close(self) -> None:
        """Close its widgets."""
        close_widget(self.widget)

    def on_choose(self, callback: Callable[[int], Any]) -> None:
        """Call back with the index of the mode count that was clicked."""
        self._chosen.append(callback)

    @property
    def current(self) -> int:
        """Index of the current mode count; set it."""
        return self._current

    @current.setter
    def current(self, index: int) -> None:
        self._current = int(index)
        self._follow()

    @property
    def tracks(self) -> tuple[str, ...]:
        """Names of what is drawn."""
        return tuple(self._tracks)

    def color(self, name: str) -> str:
        """Colour of a track, for its entry in a legend."""
        return self._tracks[name][1].colors[0]

    def show(self, modes: Sequence[int], tracks: Mapping[str, ArrayLike], *, current: int) -> None:
        """Draw these tracks, and no others."""
        other = not np.array_equal(modes, self.modes)
        gone = [name for name in self._tracks if other or name not in tracks]
        self._current = 0  # there in any case, while the tracks change one by one
        for name in gone:
            self.drop(name)
        self.modes = np.asarray(modes, np.float64)
        for name, values in tracks.items():
            self.set(name, values)
        self.current = current

    def set(self, name: str, values: ArrayLike) -> None:
        """Draw values, one a mode count, under a name: a new track, or other values of one that is there."""
        row = floats(values)
        if name in self._tracks and np.array_equal(self._tracks[name][0], row, equal_nan=True):
            return
        _, line, dots = self._tracks.get(name) or self._new(row)
        self.plot.move(line, self.modes, row)
        texts = [self._point(name, mode, value) for mode, value in zip(self.modes, row, strict=True)]
        self.plot.move(dots, self.modes, row, np.array(texts))
        self._tracks[name] = row, line, dots
        self._fit()

    def drop(self, name: str) -> None:
        """Take a track away; nothing happens where there is none of this name."""
        if name in self._tracks:
            _, line, dots = self._tracks.pop(name)
            self.plot.remove(line, dots)
            self._fit()

    def _new(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], bqplot.Lines, bqplot.Scatter]:
        used = {self.color(name) for name in self._tracks} | {FRONT}
        color = next((color for color in PALETTE if color not in used), PALETTE[0])
        line = self.plot.line([], [], color=color)
        dots = self.plot.dots([], [], color=color, default_size=40, tooltip=self._tip)
        dots.on_element_click(self._clicked)
        return values, line, dots

    def _clicked(self, _: Any, event: dict[str, Any]) -> None:
        index = int(np.argmin(np.abs(self.modes - float(event["data"]["x"]))))
        self.current = index
        for callback in self._chosen:
            callback(index)

    def _fit(self) -> None:
        values: list[Any] = [values for values, *_ in self._tracks.values()]
        y = Axis.around(values if self._what.log else [*values, [0.0, self._level]], log=self._what.log, pad=0.06)
        half = 0.5 + 0.02 * (self.modes[-1] - self.modes[0])
        self.plot.show(Axis(self.modes[0] - half, self.modes[-1] + half), y)
        ends = self.plot.x.limits if self._level else []
        self.plot.move(self._limit, ends, [self._level] * len(ends))
        names = self._tracks if self._named else ()
        self._legend.value = entries([(swatch(self.color(name)), name) for name in names])
        self._follow()

    def _follow(self) -> None:
        mode = self.modes[self._current]
        self.plot.move(self._now, [mode, mode], list(self.plot.y.limits))
        here = [values[self._current] for values, *_ in self._tracks.values()]
        self.plot.move(self._ring, [mode] * len(here), here)

    def _point(self, name: str, mode: float, value: float) -> str:
        return f"{name}: K = {mode:g}, {self._what.label} {value:.3g}"


class ShiftScatter:
    """Shifts with error bars; flagged ones are hollow squares, and a click chooses one.

    Parameters
    ----------
    shifts, errors : array_like, shape (n, 2)
        (dx, dy) and their 1-sigma errors, px.
    names : sequence of str
        Of each.
    flagged : array_like of bool, shape (n,), optional
        Those that are marked as doubtful or rejected.

    Attributes
    ----------
    plot : Plot
    widget : ipywidgets.VBox
        To be shown.
    """

    def __init__(
        self, shifts: ArrayLike, errors: ArrayLike, *, names: Sequence[str], flagged: ArrayLike | None = None
    ) -> None:
        self.plot = Plot(Reading("dx (px)"), Reading("dy (px)"), height="400px")
        self.plot.figure.min_aspect_ratio = self.plot.figure.max_aspect_ratio = SQUARE
        self._chosen: list[Callable[[int], Any]] = []
        self._index: int | None = None
        self._bars = self.plot.line([[]], [[]], color=GREY, stroke_width=1.2)
        tip = hover()
        self._good = self.plot.dots([], [], color=PALETTE[0], default_size=56, tooltip=tip)
        self._bad = self.plot.dots(
            [], [], color=PALETTE[1], default_size=64, marker="square", fill=False, stroke_width=2.0, tooltip=tip
        )
        self._ring = self.plot.dots([], [], color=PALETTE[2], fill=False, default_size=220, stroke_width=2.4)
        self._ring.enable_hover = False
        for mark in (self._good, self._bad):
            mark.on_element_click(self._clicked)
        self._legend = ipywidgets.HTML()
        self.widget = self.plot.with_legend(self._legend, max_width="420px")
        self.set(shifts, errors, names=names, flagged=flagged)

    def close(self) -> None:
        """Close its widgets."""
        close_widget(self.widget)

    def on_choose(self, callback: Callable[[int], Any]) -> None:
        """Call back with the index of the shift that was clicked."""
        self._chosen.append(callback)

    @property
    def chosen(self) -> int | None:
        """Index of the one with a ring around it; set it."""
        return self._index

    @chosen.setter
    def chosen(self, index: int | None) -> None:
        self._index = index
        at = self._shifts[[] if index is None else [index]]
        self.plot.move(self._ring, at[:, 0], at[:, 1])

    def set(
        self, shifts: ArrayLike, errors: ArrayLike, *, names: Sequence[str], flagged: ArrayLike | None = None
    ) -> None:
        """Show other shifts; the axes follow."""
        self._shifts, errors = floats(shifts).reshape(-1, 2), floats(errors).reshape(-1, 2)
        half = np.nan_to_num(errors, nan=0.0, posinf=0.0)
        bad = np.zeros(len(self._shifts), bool) if flagged is None else np.asarray(flagged, bool)
        low, high = self._shifts - half, self._shifts + half
        x, y = self._equal(low, high)
        self.plot.show(x, y)
        (x0, y0), (x1, y1), (xm, ym) = low.T, high.T, self._shifts.T
        pairs = np.stack([np.r_[x0, xm], np.r_[x1, xm]], -1), np.stack([np.r_[ym, y0], np.r_[ym, y1]], -1)
        self.plot.move(self._bars, *pairs)
        texts = np.array([_shift(*item) for item in zip(names, self._shifts, errors, bad, strict=True)])
        for mark, use in ((self._good, ~bad), (self._bad, bad)):
            self.plot.move(mark, xm[use], ym[use], texts[use])
        kinds = [(swatch(PALETTE[0], marker="o"), "used"), (swatch(PALETTE[1], marker="s"), "flagged")]
        self._legend.value = entries(kinds if bad.any() else [])
        if self._index is not None and self._index >= len(self._shifts):
            self._index = None
        self.chosen = self._index

    def _equal(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[Axis, Axis]:
        """Axes about the middles of the data, equally long."""
        ends = [Axis.around([low[:, i], high[:, i]], pad=0.08) for i in (0, 1)]
        half = max(axis.high - axis.low for axis in ends) / 2
        middles = [(axis.low + axis.high) / 2 for axis in ends]
        x, y = (Axis(middle - half, middle + half) for middle in middles)
        return x, y

    def _clicked(self, mark: Any, event: dict[str, Any]) -> None:
        data = event["data"]
        distance = np.hypot(self._shifts[:, 0] - data["x"], self._shifts[:, 1] - data["y"])
        if np.isfinite(distance).any():
            self.chosen = int(np.nanargmin(distance))
            for callback in self._chosen:
                callback(self.chosen)


def _shift(name: str, shift: Any, error: Any, bad: Any) -> str:
    flag = ", flagged" if bad else ""
    return f"{name}: dx {shift[0]:+.3f} ± {error[0]:.3f}, dy {shift[1]:+.3f} ± {error[1]:.3f} px{flag}"
