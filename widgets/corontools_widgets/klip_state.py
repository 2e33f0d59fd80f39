"""KlipState: the choices of a KL explorer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from traitlets import Float, Int, List, TraitError, validate

from corontools_widgets.reduction import Choice
from corontools_widgets.state import ViewState

__all__ = ["KlipState"]


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
