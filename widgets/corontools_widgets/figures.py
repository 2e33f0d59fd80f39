"""A live figure on bqplot's core marks, its axes and its legend.

The ticks are those of the static figures. Axes and grid take their colours from the theme of the notebook.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bqplot
import ipywidgets
import numpy as np
from numpy.typing import ArrayLike, NDArray

from corontools.display import escape
from corontools.display.axes import Axis
from corontools.display.figure import COLORS
from corontools.errors import DataError
from corontools_widgets.later import Later

__all__ = [
    "FRONT",
    "GREY",
    "LINE_STYLES",
    "PALETTE",
    "Plot",
    "PlotAxis",
    "Reading",
    "entries",
    "floats",
    "hover",
    "raised",
    "swatch",
    "written",
]

# those of the figures' colours (Okabe & Ito 2008) that are seen on white and on black
PALETTE = tuple(color for color in COLORS if color not in ("#000000", "#f0e442"))
FRONT = "#d55e00"
GREY = "#8c8c8c"
# bqplot's own labels are orange on dark pages
INK = "var(--jp-ui-font-color1, #444444)"
LINE_STYLES = ("solid", "dashed", "dotted", "dash_dotted")
RAISED = str.maketrans("0123456789-+\u2212", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺⁻")
WIDTH = 330.0  # CSS pixels for which ticks are chosen: a plot is seldom narrower
# stands for a tick at zero on an axis that can be logarithmic: the browser changes ticks before scales, and draws it
# out of sight where zero has no place
ZERO = 1e-300
LEGEND = 0.3  # s until the browser has drawn a legend
MARGIN = {"top": 14, "bottom": 50, "left": 68, "right": 18}


def written(value: float) -> str:
    """A number as JavaScript prints it, which is how bqplot looks up the label of a tick.

    Examples
    --------
    >>> written(0.0), written(10.0), written(1e-5), written(2.5e-7), written(1e21)
    ('0', '10', '0.00001', '2.5e-7', '1e+21')
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    # repr and JavaScript agree on the digits, the fewest that give the number again
    digits, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = digits.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)
    figures = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(figures)
    figures = figures.rstrip("0")
    return sign + _placed(figures, point)


def _placed(figures: str, point: int) -> str:
    """Significant figures with the decimal point after the first `point` of them (ECMA-262, Number::toString)."""
    if len(figures) <= point <= 21:
        return figures + "0" * (point - len(figures))
    if 0 < point <= 21:
        return f"{figures[:point]}.{figures[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + figures
    power = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return (figures if len(figures) == 1 else f"{figures[0]}.{figures[1:]}") + power


def raised(label: str) -> str:
    """Label in which "10^-5" is written with superscript characters.

    Examples
    --------
    >>> raised("2×10^−5"), raised("0.5")
    ('2×10⁻⁵', '0.5')
    """
    base, mark, power = label.partition("^")
    return base + power.translate(RAISED) if mark else label


def same(value: Any) -> Any:
    """Value, unchanged."""
    return value


@dataclass(frozen=True)
class Reading:
    """How an axis is read.

    Attributes
    ----------
    label : str
        Words beside the axis, with the unit.
    log : bool
        Logarithmic scale.
    shown, data : callable
        From values of the data to the numbers at the ticks, and back; magnitudes are read like that from an axis of
        contrast, without moving a curve.
    even : bool or None
        Ticks at equal steps of the number shown (True) or at decades; by default as the scale is.
    """

    label: str = ""
    log: bool = False
    shown: Callable[[Any], Any] = same
    data: Callable[[Any], Any] = same
    even: bool | None = None


class PlotAxis:
    """An axis with the ticks of the static figures.

    Attributes
    ----------
    axis : bqplot.Axis
    scale : bqplot.LinearScale or bqplot.LogScale
        Of the marks; another one after the reading changed from linear to logarithmic.
    reading : Reading
    panned : callable or None
        Called when the browser has moved the ends.
    """

    def __init__(self, reading: Reading, *, side: str, length: float) -> None:
        self.reading = reading
        self.panned: Callable[[], Any] | None = None
        self._setting = False
        self._shown: tuple[float, float, Reading] | None = None
        self._length, self._upright = length, side == "left"
        self._scales: dict[bool, Any] = {}
        self.scale = self._scale(reading.log)
        offset = "54px" if self._upright else "38px"
        self.axis = bqplot.Axis(
            label_color=INK, scale=self.scale, side=side, label=reading.label, label_offset=offset, grid_lines="solid"
        )

    def _scale(self, log: bool) -> Any:
        if log not in self._scales:
            self._scales[log] = bqplot.LogScale() if log else bqplot.LinearScale()
            self._scales[log].observe(self._moved, ["min", "max"])
        return self._scales[log]

    @property
    def limits(self) -> tuple[float, float]:
        """Data values at the two ends."""
        return self.scale.min, self.scale.max

    def show(self, low: float, high: float, reading: Reading | None = None) -> None:
        """Set the ends (data values), and how the axis is read; ticks follow."""
        wanted = float(low), float(high), reading or self.reading
        if wanted == self._shown and wanted[:2] == self.limits:  # the browser may have moved the ends
            return
        self._shown, self.reading = wanted, wanted[2]
        self.scale = self._scale(self.reading.log)
        self._setting = True
        with self.scale.hold_sync():
            self.scale.min, self.scale.max = float(low), float(high)
        self._setting = False
        labels, places = self._ticks(float(low), float(high))
        # labels first: with the other order bqplot draws the new ticks with the old labels
        self.axis.tick_labels = labels
        if self.axis.scale is not self.scale:  # zero has no place on a logarithmic axis, before or after the change
            self.axis.tick_values = places[places > 0]
            self.axis.scale = self.scale
        self.axis.tick_values = places

    def close(self) -> None:
        """Close both scales; the axis goes with its figure."""
        for scale in self._scales.values():
            scale.unobserve_all()
            scale.close()

    def _moved(self, _: Any) -> None:
        if not self._setting and self.panned is not None:
            self.panned()

    def _ticks(self, low: float, high: float) -> tuple[dict[str, str], NDArray[np.float64]]:
        """Labels by what JavaScript prints for their ticks, and the data values of the ticks."""
        reading = self.reading
        log = reading.log if reading.even is None else not reading.even
        ends = sorted(float(reading.shown(end)) for end in (low, high))
        ticks = Axis(ends[0], ends[1], log=log).ticks(self._length, upright=self._upright)
        self.axis.label = " ".join(word for word in (reading.label, raised(ticks.factor)) if word)
        places = floats([reading.data(value) for value in ticks.major])
        if len(self._scales) > 1:
            places[places == 0] = ZERO
        return dict(zip(map(written, places.tolist()), map(raised, ticks.labels), strict=True)), places


class Plot:
    """Two axes and the marks between them.

    Parameters
    ----------
    x, y : Reading
        How the axes are read.
    height : str
        CSS height of the figure, in px; its width follows the page.

    Attributes
    ----------
    figure : bqplot.Figure
        The widget.
    x, y : PlotAxis
    """

    def __init__(self, x: Reading, y: Reading, *, height: str = "330px") -> None:
        self.x = PlotAxis(x, side="bottom", length=WIDTH)
        inside = float(height.removesuffix("px")) - MARGIN["top"] - MARGIN["bottom"]
        self.y = PlotAxis(y, side="left", length=inside)
        self.figure = bqplot.Figure(
            axes=[self.x.axis, self.y.axis],
            fig_margin=dict(MARGIN),
            legend_style={"stroke": "none", "fill": "none"},
            legend_text={"fill": INK},
            padding_y=0.0,
            layout=ipywidgets.Layout(height=height, width="auto", min_width="300px", flex="1 1 400px"),
        )
        if self.figure.has_trait("display_toolbar"):  # bqplot 0.12 has none
            self.figure.display_toolbar = False
        self.figure._view_count = 0  # from now on the browser counts

    @property
    def scales(self) -> dict[str, Any]:
        """Of a mark between the two axes."""
        return {"x": self.x.scale, "y": self.y.scale}

    def with_legend(self, legend: ipywidgets.HTML, **layout: str) -> ipywidgets.VBox:
        """The figure with a legend below it, as one widget that shrinks and wraps with the page."""
        self.figure.layout.flex, self.figure.layout.min_width = "0 0 auto", "0"
        style = {"flex": "1 1 400px", "min_width": "240px", "overflow": "hidden", "align_self": "flex-start", **layout}
        return ipywidgets.VBox([self.figure, legend], layout=ipywidgets.Layout(**style))

    def add(self, *marks: bqplot.Mark) -> None:
        """Draw marks in front of those that are there."""
        self.figure.marks = [*self.figure.marks, *marks]

    def remove(self, *marks: bqplot.Mark) -> None:
        """Take marks away and close them, what they share with others excepted."""
        self.figure.marks = [mark for mark in self.figure.marks if mark not in marks]
        for mark in marks:
            mark.close()

    def line(self, x: ArrayLike, y: ArrayLike, *, color: str = FRONT, **style: Any) -> bqplot.Lines:
        """A curve, or several in the rows of `y`; NaN is a gap."""
        mark = bqplot.Lines(x=[], y=[], colors=[color], scales=self.scales, **style)
        self.move(mark, x, y)
        self.add(mark)
        return mark

    def dots(self, x: ArrayLike, y: ArrayLike, *, color: str = FRONT, **style: Any) -> bqplot.Scatter:
        """Points, without their names written beside them."""
        options = {"display_names": False, "names_unique": False, **style}
        mark = bqplot.Scatter(x=[], y=[], colors=[color], scales=self.scales, **options)
        self.move(mark, x, y)
        self.add(mark)
        return mark

    def move(self, mark: bqplot.Mark, x: ArrayLike, y: ArrayLike, names: ArrayLike | None = None) -> None:
        """Give a mark other data, all at once; a point without a place is left out."""
        x, y = floats(x), floats(y)
        if isinstance(mark, bqplot.Lines):
            x, y = _ended(x, y)
        if isinstance(mark, bqplot.Scatter):
            known = np.isfinite(x) & np.isfinite(y)
            x, y = x[known], y[known]
            names = None if names is None else np.asarray(names)[known]
        with mark.hold_sync():
            mark.x, mark.y = x, y
            if names is not None:
                mark.names = names

    def png(self, callback: Callable[[bytes], Any], names: Mapping[str, bqplot.Lines] | None = None) -> None:
        """Ask the browser for a picture of the plot; called back with the PNG when it answers.

        Parameters
        ----------
        callback : callable
        names : mapping, optional
            Words for lines, which get a legend in the picture.

        Raises
        ------
        DataError
            If no browser shows the plot.
        """
        if not self.figure._view_count:
            raise DataError("a .png is drawn by the browser: show the view in a notebook first, or save .svg")
        named = [(line, name) for name, line in (names or {}).items()]
        for line, name in named:
            line.labels, line.display_legend = [name], True

        def answered(data: Any) -> None:
            for line, _ in named:
                line.display_legend = False
            callback(bytes(data))

        def ask() -> None:
            # the callback of a request that was never answered would bar all later ones
            self.figure._upload_png_callback = None
            self.figure.get_png_data(answered, scale=2)

        Later(ask, delay=LEGEND)()

    def pan(self, active: bool) -> None:
        """Let the pointer drag and zoom the axes, or not."""
        old, self.figure.interaction = self.figure.interaction, None
        if old is not None:
            old.close()
        if active:
            self.figure.interaction = bqplot.PanZoom(scales={"x": [self.x.scale], "y": [self.y.scale]})

    def show(self, x: Axis, y: Axis, x_reading: Reading | None = None, y_reading: Reading | None = None) -> None:
        """Set the ends of the axes, and how they are read."""
        self.x.show(x.low, x.high, x_reading)
        self.y.show(y.low, y.high, y_reading)
        for mark in self.figure.marks:
            if mark.scales != self.scales:
                mark.scales = self.scales
        if self.figure.interaction is not None and self.figure.interaction.scales["x"] != [self.x.scale]:
            self.pan(active=True)

    def close(self) -> None:
        """Close the scale that is not in use; the rest goes with the figure."""
        for axis in (self.x, self.y):
            axis.close()


def hover() -> bqplot.Tooltip:
    """A tooltip that shows the `names` of the points of a mark."""
    return bqplot.Tooltip(fields=["name"], show_labels=False)


def _ended(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lines whose last point has a place, repeated where none follow; lines without any point are left out.

    bqplot keeps a label at the last point of each line, and browsers complain where that is nowhere.
    """
    if not y.size or np.isfinite(y[..., -1]).all():
        return x, y
    across, up = (np.array(a) for a in np.broadcast_arrays(*np.atleast_2d(x, y)))
    known = np.isfinite(across) & np.isfinite(up)
    across, up, known = (a[known.any(axis=1)] for a in (across, up, known))
    last = known.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
    index = np.minimum(np.arange(known.shape[1]), last[:, None])
    across, up = (np.take_along_axis(a, index, axis=1) for a in (across, up))
    return (across, up) if y.ndim > 1 else (across.ravel(), up.ravel())


def floats(values: ArrayLike) -> NDArray[np.float64]:
    """Values as 64-bit floats."""
    return np.asarray(values, np.float64)


def swatch(color: str, style: str = "solid", *, marker: str = "") -> str:
    """HTML: a short piece of a line, or a marker ("o" filled, "s" a hollow square), for a legend."""
    dash = {"solid": "", "dashed": "7 4", "dotted": "2 4", "dash_dotted": "8 3 2 3"}[style]
    shape = {
        "": f'<line x1="1" y1="5" x2="25" y2="5" stroke-width="2.6" stroke-dasharray="{dash}"/>',
        "o": f'<circle cx="13" cy="5" r="4" fill="{escape(color)}"/>',
        "s": '<rect x="9" y="1" width="8" height="8" fill="none" stroke-width="2"/>',
    }[marker]
    style = "vertical-align:middle"
    return f'<svg width="26" height="10" aria-hidden="true" style="{style}" stroke="{escape(color)}">{shape}</svg>'


def entries(items: Sequence[tuple[str, str]]) -> str:
    """HTML of a legend: pairs of a swatch (markup) and words (text)."""
    each = "".join(
        f'<span style="display:inline-block;margin-right:16px">{mark} {escape(text)}</span>' for mark, text in items
    )
    return f'<div style="line-height:1.5;padding-left:{MARGIN["left"]}px">{each}</div>'
