"""Plots of a background explorer: the rms of the fit, and what is left along the columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from corontools.display.axes import Axis
from corontools_widgets.figures import GREY, PALETTE, Plot, Reading, floats, hover

__all__ = ["Profile", "RmsHistory"]

MOST_TICKS = 8
# of the values lie beyond each end of the axis: the wings of a trace would hide the rest
CUT = (0.5, 99.5)


class RmsHistory:
    """Rms of the residual before each round of rejection, and at the end.

    Parameters
    ----------
    unit : str
        Of the residual.

    Attributes
    ----------
    plot : Plot
        Its figure is to be shown.
    """

    def __init__(self, unit: str) -> None:
        self.plot = Plot(Reading("rounds of rejection"), Reading(f"rms ({unit})" if unit else "rms"), height="230px")
        self._line = self.plot.line([], [], color=PALETTE[0], opacities=[0.5], stroke_width=1.2)
        self._dots = self.plot.dots([], [], color=PALETTE[0], default_size=50, tooltip=hover())

    def show(self, rms: Sequence[float]) -> None:
        """Draw other values; none where the fit has failed."""
        x, y = np.arange(len(rms), dtype=float), floats(rms)
        self.plot.show(Axis(-0.3, max(len(rms) - 1, 1) + 0.3), Axis.around([y] if len(rms) else [[0.0, 1.0]], pad=0.12))
        places = range(0, max(len(rms), 2), -(-max(len(rms), 2) // MOST_TICKS))
        # whole numbers: there is nothing between two rounds; labels first, see `PlotAxis`
        self.plot.x.axis.tick_labels = {str(i): str(i) for i in places}
        self.plot.x.axis.tick_values = np.array(places, float)
        self.plot.move(self._line, x, y)
        self.plot.move(self._dots, x, y, np.array([f"after {i}: {value:.5g}" for i, value in enumerate(rms)]))


class Profile:
    """Residual against the column, with the column of the jump.

    Parameters
    ----------
    unit : str
        Of the residual.

    Attributes
    ----------
    plot : Plot
        Its figure is to be shown.
    """

    def __init__(self, unit: str) -> None:
        self.plot = Plot(Reading("column"), Reading(f"residual ({unit})" if unit else "residual"), height="260px")
        self._zero, self._jump = (
            self.plot.line([], [], color=GREY, stroke_width=1.2, line_style="dashed") for _ in range(2)
        )
        self._line = self.plot.line([], [], color=PALETTE[0], stroke_width=1.2)

    def show(self, residual: ArrayLike, jump: float) -> None:
        """Draw other values, NaN where there are none, and the jump."""
        y = floats(residual)
        known = np.flatnonzero(np.isfinite(y))
        first, last = (known[0], known[-1]) if known.size else (0, max(y.size - 1, 1))
        ends = np.append(np.percentile(y[known], CUT) if known.size else [-1.0, 1.0], 0.0)
        across, up = Axis.around([np.array([first, last])], pad=0.01), Axis.around([ends], pad=0.25)
        self.plot.show(across, up)
        self.plot.move(self._zero, [across.low, across.high], [0.0, 0.0])
        self.plot.move(self._jump, [jump, jump], [up.low, up.high])
        # the line ends at the axes: what is beyond would be drawn over the labels
        x = np.arange(first, last + 1)
        self.plot.move(self._line, x, np.clip(y[first : last + 1], up.low, up.high))
