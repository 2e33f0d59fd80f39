"""ExposureExplorer: the integrations of an exposure, their flags, and a pixel through all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bqplot
import numpy as np
from numpy.typing import ArrayLike

from corontools.coron.stack import PSFStack
from corontools.display.axes import Axis
from corontools.dq import DQ
from corontools.exposure import Exposure
from corontools.result import code_of
from corontools_widgets import controls, plots
from corontools_widgets.explore import explore
from corontools_widgets.image_view import beside, cell
from corontools_widgets.masks import MaskState, MaskView
from corontools_widgets.panels import Quantity, Trend
from corontools_widgets.plots import Plot, Reading
from corontools_widgets.view import close_widget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from astropy.table import Table

__all__ = ["ExposureExplorer", "ExposureState", "ValueTrack"]

MOST_TICKS = 8


class ExposureState(MaskState):
    """Choices of an `ExposureExplorer`; those of `MaskState`."""


class ValueTrack:
    """Value of a pixel against the integration, with error bars; bad ones are hollow squares, a click chooses one.

    Parameters
    ----------
    unit : str
        Of the values.

    Attributes
    ----------
    plot : Plot
    """

    def __init__(self, unit: str) -> None:
        self.plot = Plot(Reading("integration"), Reading(f"value ({unit})" if unit else "value"), height="270px")
        self._now = self.plot.line([], [], color=plots.FRONT, stroke_width=2.0, opacities=[0.5])
        self._bars = self.plot.line([[]], [[]], color=plots.GREY, stroke_width=1.2)
        self._line = self.plot.line([], [], color=plots.PALETTE[0], opacities=[0.5], stroke_width=1.2)
        tip = plots.hover()
        self._good = self.plot.dots([], [], color=plots.PALETTE[0], default_size=50, tooltip=tip)
        self._bad = self.plot.dots(
            [], [], color=plots.PALETTE[1], default_size=60, marker="square", fill=False, stroke_width=2.0, tooltip=tip
        )

    @property
    def widget(self) -> bqplot.Figure:
        """To be shown."""
        return self.plot.figure

    def on_choose(self, callback: Callable[[int], Any]) -> None:
        """Call back with the integration that was clicked."""
        for mark in (self._good, self._bad):
            mark.on_element_click(lambda _, event: callback(round(float(event["data"]["x"]))))

    def show(self, values: ArrayLike, errors: ArrayLike, bad: ArrayLike, names: Sequence[str]) -> None:
        """Draw a pixel, one value an integration; NaN is a gap, an error that is NaN has no bar."""
        y, bad = np.asarray(values, np.float64), np.asarray(bad, bool)
        half = np.nan_to_num(np.asarray(errors, np.float64), nan=0.0, posinf=0.0)
        x, known = np.arange(y.size, dtype=float), np.isfinite(y)
        self.plot.show(Axis(-0.5, y.size - 0.5), Axis.around([(y - half)[known], (y + half)[known]], pad=0.08))
        self._count(y.size)
        self.plot.move(self._line, x, np.where(bad, np.nan, y))
        self.plot.move(self._bars, np.stack([x, x], -1), np.stack([y - half, y + half], -1))
        for mark, use in ((self._good, known & ~bad), (self._bad, known & bad)):
            self.plot.move(mark, x[use], y[use], np.array(names)[use])

    def _count(self, n: int) -> None:
        """Ticks at whole numbers: there is nothing between two integrations."""
        places = range(0, n, -(-n // MOST_TICKS))
        self.plot.x.axis.tick_labels = {str(i): str(i) for i in places}  # labels first, see `PlotAxis`
        self.plot.x.axis.tick_values = np.array(places, float)

    def mark(self, integration: int) -> None:
        """Line at the integration that is shown."""
        self.plot.move(self._now, [integration] * 2, list(self.plot.y.limits))


class ExposureExplorer(MaskView):
    """The integrations of an exposure: flags, outliers, painting, and the value of a pixel in all of them.

    Parameters
    ----------
    exposure : Exposure, shape (..., y, x)
        Any exposure.

    Examples
    --------
    >>> view = ExposureExplorer(Exposure(np.random.default_rng(1).normal(size=(4, 32, 32))))
    >>> view.state.painted = ["0 1.5 + 10,10"]
    >>> int(view.result.flags().sum())
    9
    >>> view.close()
    """

    state: ExposureState

    def __init__(self, exposure: Exposure) -> None:
        super().__init__(ExposureState())
        self._given = exposure
        cube = exposure.cube
        names = [str(i) for i in range(cube.n_int)]
        self.open(cube, title=exposure.meta.title, name="integration", names=names)
        self._track = ValueTrack(cube.meta.unit)
        self.at_end(self._track.plot.close)
        self._track.on_choose(lambda i: setattr(self.state, "frame", i))
        self._at = controls.words(width="auto")
        self.watch(self._read, "cursor", "reject", "sigma", "painted")
        self.watch(lambda _: self._track.mark(self.state.frame), "frame")
        if not self.state.cursor:  # the plot shows something from the start
            self.state.cursor = [float(round(c)) for c in cube.center]
            self.state.clear_history()
        right = [self._track.widget] if cube.n_int > 1 else []
        bar = controls.Toolbar(self)
        self.show_as(
            controls.column(
                bar.widget, beside(self.pane, *right, self._at, *self.mask_controls), self._words, self._statistics
            )
        )
        if cube.n_int == 1:
            self.at_end(lambda: close_widget(self._track.widget))
        self._mask()
        self._read()
        self.say()

    @property
    def subject(self) -> Exposure:
        """The exposure as it was given."""
        return self._given

    @property
    def result(self) -> Exposure:  # type: ignore[override]
        """The exposure without outliers where these are rejected, painted pixels masked."""
        made: Exposure = self.cleaned()
        return made

    def masked(self, subject: Exposure) -> Exposure:
        """An exposure with the painted pixels masked."""
        return subject.mask(self._bad)

    @property
    def code(self) -> str:
        """Python that gives `result`; a painting of very many pixels goes by its fingerprint."""
        parts = [code_of(self._given)]
        if self.state.reject:
            parts.append(f".reject_outliers(sigma={self.state.sigma!r})")
        if self.painted.any():
            parts.append(f".mask({code_of(self._bad)})")
        return "".join(parts)

    @property
    def _bad(self) -> np.ndarray:
        """What is painted, in the shape of what was given, or (y, x) where it is the same in all integrations."""
        return self.brushed if self.brushed.ndim == 2 else self.brushed.reshape(self._given.shape)

    def table(self) -> Table:
        """Statistics of all integrations of the result, and the value of the chosen pixel in each."""
        table = PSFStack.from_exposures([self.result]).statistics()
        table.remove_columns(["member", "target"])
        table.rename_column("index", "integration")
        pixel = self.pixel
        if pixel is not None:
            x, y = pixel
            table[f"value at ({x}, {y})"] = self.exposure.data[:, y, x]
        return table

    @property
    def pixel(self) -> tuple[int, int] | None:
        """Pixel (x, y) that is chosen; None outside of the image."""
        if not self.state.cursor:
            return None
        x, y = (int(np.floor(c + 0.5)) for c in self.state.cursor)
        ny, nx = self.exposure.shape[-2:]
        return (x, y) if 0 <= x < nx and 0 <= y < ny else None

    def _through(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Value, error, flags and badness of the chosen pixel in each integration."""
        x, y = self.pixel or (0, 0)
        cube = self.result.cube
        errors = np.full(cube.n_int, np.nan) if cube.variance is None else np.sqrt(cube.variance[:, y, x])
        flags = np.zeros(cube.n_int, np.uint32) if cube.dq is None else cube.dq[:, y, x]
        return cube.data[:, y, x], errors, flags, ~cube.good[:, y, x]

    def _read(self, _: Any = None) -> None:
        """Draw the chosen pixel in all integrations."""
        if self.pixel is None:
            self._at.value = "click a pixel to see it in every integration"
            return
        values, errors, flags, bad = self._through()
        names = [_reading(*one) for one in enumerate(zip(values, errors, flags, strict=True))]
        self._track.show(values, errors, bad, names)
        self._track.mark(self.state.frame)
        self._at.value = f"pixel ({self.pixel[0]}, {self.pixel[1]}) in every integration; hollow squares are bad"

    def curves(self) -> list[Trend]:
        """The chosen pixel in all integrations."""
        if self.pixel is None or self.exposure.n_int == 1:
            return []
        values, place = self._through()[0], f"pixel ({self.pixel[0]}, {self.pixel[1]})"
        up = Quantity("value", self.exposure.meta.unit)
        return [Trend(np.arange(len(values)), {place: values}, across=Quantity("integration"), up=up)]

    @property
    def text(self) -> str:
        """The integration that is shown, in words."""
        i, cube = self.state.frame, self.exposure
        words = [f"{self._given.meta.title}, integration {i} of {cube.n_int} (from 0)."]
        if self.pixel is not None:
            values, errors, flags, _ = self._through()
            reading = _reading(i, (values[i], errors[i], flags[i]))
            words.append(f"Pixel {self.pixel}, {reading} {cube.meta.unit}".rstrip() + ".")
        return " ".join([*words, *self.mask_words(i)])


def _reading(integration: int, pixel: tuple[float, float, int]) -> str:
    """What the pointer shows at a value."""
    value, error, flags = pixel
    spread = f" ± {cell(error, digits=2)}" if np.isfinite(error) else ""
    named = f" ({DQ.names(int(flags))})" if flags else ""
    number = cell(value) if np.isfinite(value) else "no data"
    return f"integration {integration}: {number}{spread}{named}"


@explore.register
def _explore_exposure(exposure: Exposure) -> ExposureExplorer:
    return ExposureExplorer(exposure)
