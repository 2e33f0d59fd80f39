"""Plots of a flicker explorer: levels of the lines, and their power spectrum, before and after."""

from __future__ import annotations

import ipywidgets
import numpy as np
from numpy.typing import ArrayLike

from corontools.display.axes import Axis
from corontools_widgets.figures import FRONT, PALETTE, Plot, Reading, entries, floats, swatch

__all__ = ["BeforeAfter"]

BEFORE, AFTER = PALETTE[0], FRONT
HEIGHT = "260px"


class BeforeAfter:
    """Two curves on common axes, as wide as there is room.

    Parameters
    ----------
    x, y : Reading
        Axes.

    Attributes
    ----------
    plot : Plot
    widget : ipywidgets.VBox
        To be shown: the plot with its legend.
    """

    def __init__(self, x: Reading, y: Reading) -> None:
        self.plot = Plot(x, y, height=HEIGHT)
        self._before = self.plot.line([], [], color=BEFORE, stroke_width=1.2)
        self._after = self.plot.line([], [], color=AFTER, stroke_width=1.2)
        names = [(swatch(BEFORE), "before"), (swatch(AFTER), "after")]
        self.widget = self.plot.with_legend(ipywidgets.HTML(entries(names)), flex="0 0 auto", width="100%")
        self.widget.layout.align_self = "stretch"

    def show(self, x: ArrayLike, before: ArrayLike, after: ArrayLike) -> None:
        """Draw other values; NaN is a gap, and so is what isn't positive on a logarithmic axis."""
        across, values = floats(x), [floats(before), floats(after)]
        log_x, log_y = self.plot.x.reading.log, self.plot.y.reading.log
        if log_y:
            values = [np.where(v > 0, v, np.nan) for v in values]
        self.plot.show(Axis.around([across], log=log_x, pad=0.01), Axis.around(values, log=log_y, pad=0.05))
        for line, y in zip((self._before, self._after), values, strict=True):
            self.plot.move(line, across, y)
