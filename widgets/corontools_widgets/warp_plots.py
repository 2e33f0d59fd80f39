"""Plots of a warp explorer: quality of a match over the field, blank sky in units of its noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
import numpy as np
from astropy.table import Table

from corontools.calibrate.look import steps
from corontools.display.axes import Axis
from corontools.warp.look import EDGES, QUALITY, Noise, field
from corontools_widgets.calibration_plots import FieldPlot
from corontools_widgets.figures import FRONT, GREY, PALETTE, Plot, Reading, entries, hover, swatch
from corontools_widgets.warp_words import gaussian

__all__ = ["NoisePlot", "QualityPlot"]

COLORS = (PALETTE[0], PALETTE[1], PALETTE[2])
# the Gaussian's peak is 0.4
TOP = 0.5


class QualityPlot:
    """Residual, size or shape of the matched PSF at each place where PSFs were matched; a click chooses a place.

    Parameters
    ----------
    shape : (int, int)
        Of the image, (y, x).

    Attributes
    ----------
    plot : Plot
    widget : ipywidgets.VBox
        To be shown: the plot with its legend.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._field = FieldPlot(shape)
        self.plot, self.widget = self._field.plot, self._field.widget
        self._dots = self.plot.dots([], [], color=PALETTE[0], default_size=20, tooltip=hover())
        self._ring = self.plot.dots([], [], color=FRONT, fill=False, default_size=180, stroke_width=2.4)
        self._ring.enable_hover = False

    def on_choose(self, callback: Callable[[float, float], Any]) -> None:
        """Call back with the place (px) that was clicked."""
        self._dots.on_element_click(lambda _, event: callback(float(event["data"]["x"]), float(event["data"]["y"])))

    def show(self, quality: Table, what: str) -> None:
        """Draw another match."""
        self._field.show([field(quality, what)], [QUALITY[what]])
        texts = [_told(row) for row in quality]
        self.plot.move(self._dots, np.asarray(quality["x"]), np.asarray(quality["y"]), np.array(texts))

    def ring(self, x: float, y: float) -> None:
        """Ring about a place."""
        self.plot.move(self._ring, [x], [y])


def _told(row: Any) -> str:
    return (
        f"residual {100 * row['peak']:.2f} %, size {row['size']:.3f} px, off by {row['size_error']:+.4f} px, "
        f"e1 {row['e1']:+.4f}, e2 {row['e2']:+.4f}"
    ).replace("-", "\u2212")


class NoisePlot:
    """Histograms of blank sky over the square root of its variance, with the unit Gaussian.

    Parameters
    ----------
    names : sequence of str
        Of the images.

    Attributes
    ----------
    plot : Plot
    widget : ipywidgets.VBox
        To be shown: the plot with its legend.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.plot = Plot(Reading("blank sky over its noise"), Reading("density"), height="380px")
        self._names = names
        self._lines = {
            name: self.plot.line([], [], color=color, stroke_width=1.8)
            for name, color in zip(names, COLORS, strict=False)
        }
        x = np.linspace(EDGES[0], EDGES[-1], 121)
        self.plot.show(Axis(float(EDGES[0]), float(EDGES[-1])), Axis(0.0, TOP))
        self._unit = self.plot.line(x, gaussian(x), color=GREY, stroke_width=2.0, line_style="dashed")
        self._legend = ipywidgets.HTML()
        self.widget = self.plot.with_legend(self._legend, flex="0 0 auto", width="100%", max_width="520px")
        self.show({})

    def show(self, found: Mapping[str, Noise]) -> None:
        """Draw other noise."""
        words = []
        for name, line in self._lines.items():
            one = found.get(name)
            if one is None or not one.n:
                self.plot.move(line, [], [])
                words.append((swatch(line.colors[0]), f"{name}: \u2026"))
                continue
            self.plot.move(line, *steps(EDGES, one.density))
            words.append((swatch(line.colors[0]), f"{name}: width {one.width:.3f}, {one.n} px"))
        top = max([TOP, *(1.06 * float(one.density.max()) for one in found.values())])
        self.plot.show(Axis(float(EDGES[0]), float(EDGES[-1])), Axis(0.0, top))
        self._legend.value = entries([*words, (swatch(GREY, "dashed"), "unit Gaussian: the variance is right")])
