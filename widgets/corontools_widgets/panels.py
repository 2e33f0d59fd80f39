"""The curves of a page without a kernel, as values that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from corontools.display.markup import visible
from corontools.errors import DataError

__all__ = ["CurveFamily", "CurveSet", "Panel", "Quantity", "Trend"]

DIGITS = 5  # of the numbers behind a curve: finer than any screen


@dataclass(frozen=True)
class Quantity:
    """What an axis shows.

    Attributes
    ----------
    name, unit : str
        Words of its label and of the read-out; plain text, in which ``^-1`` is drawn as a superscript.
    log : bool
        Logarithmic at first; the reader can switch.
    down : bool
        Values grow towards the origin of the axis, as those of magnitudes do.
    limits : tuple of two float, or ()
        Ends of the axis, the smaller first; empty: those of the values.
    """

    name: str
    unit: str = ""
    log: bool = False
    down: bool = False
    limits: tuple[float, float] | tuple[()] = ()

    @property
    def label(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


SEPARATION = Quantity("separation", "arcsec")


@dataclass(frozen=True, eq=False)
class CurveFamily:
    """One curve for each frame; that of the frame shown is drawn in front of the others.

    Attributes
    ----------
    x : array_like, shape (n,) or (n_frames, n)
        Places of the values.
    y : array_like, shape (n_frames, n)
        Values; NaN and infinity are gaps, and so is what is not positive on a logarithmic axis.
    across, up : Quantity
        What x and y are.
    title : str
        Heading.
    linked : bool
        x is a separation from the star in arcsec or px (`across.unit`): a pointer on the image shows there.
    names : sequence of str
        Of the curves, on a page without an image; else the names of the frames are taken.
    """

    x: ArrayLike
    y: ArrayLike
    across: Quantity = SEPARATION
    up: Quantity = field(default_factory=lambda: Quantity("5-sigma limit", log=True))
    title: str = ""
    linked: bool = True
    names: Sequence[str] = ()

    def spec(self) -> dict[str, Any]:
        """What the page needs to draw it, as values that JSON can hold.

        Raises
        ------
        DataError
            x and y do not match.
        """
        x, y = np.asarray(self.x, dtype=float), np.atleast_2d(np.asarray(self.y, dtype=float))
        if x.shape not in (y.shape, y.shape[1:]):
            raise DataError(f"x should have the shape {y.shape} or {y.shape[1:]} of the curves, found {x.shape}")
        return {"kind": "family", "x": _numbers(x), "y": _numbers(y), **_head(self)}


@dataclass(frozen=True, eq=False)
class CurveSet:
    """Curves of their own, each with a colour and an entry in the legend that shows and hides it.

    Attributes
    ----------
    lines : mapping of str to (array_like, array_like)
        Name of each curve, and its x and y, shape (n,); NaN and infinity are gaps.
    across, up : Quantity
        What x and y are.
    title : str
        Heading.
    linked : bool
        As in `CurveFamily`.
    """

    lines: Mapping[str, tuple[ArrayLike, ArrayLike]]
    across: Quantity = SEPARATION
    up: Quantity = field(default_factory=lambda: Quantity("5-sigma limit", log=True))
    title: str = ""
    linked: bool = True

    def spec(self) -> dict[str, Any]:
        """What the page needs to draw it, as values that JSON can hold.

        Raises
        ------
        DataError
            x and y of a curve are not of one length.
        """
        drawn = []
        for name, (x, y) in self.lines.items():
            both = [np.asarray(values, dtype=float) for values in (x, y)]
            if both[0].ndim != 1 or both[0].shape != both[1].shape:
                raise DataError(f"x and y of {name!r} should be of one length, found {both[0].shape}, {both[1].shape}")
            drawn.append({"name": visible(name), "x": _numbers(both[0]), "y": _numbers(both[1])})
        return {"kind": "several", "lines": drawn, **_head(self)}


@dataclass(frozen=True, eq=False)
class Trend:
    """One value for each frame, such as S/N against the number of modes; a click chooses the frame.

    Attributes
    ----------
    x : array_like, shape (n_frames,)
        Places of the frames, in order, such as the numbers of modes.
    lines : mapping of str to array_like, shape (n_frames,)
        Name of each line, and its values; NaN and infinity are gaps.
    across, up : Quantity
        What x and the values are.
    title, hint : str
        Heading; small print below the plot.
    levels : sequence of float
        Dotted horizontal lines, such as 5 for an S/N.
    """

    x: ArrayLike
    lines: Mapping[str, ArrayLike]
    across: Quantity = field(default_factory=lambda: Quantity("KL modes"))
    up: Quantity = field(default_factory=lambda: Quantity("S/N"))
    title: str = ""
    hint: str = ""
    levels: Sequence[float] = ()

    def spec(self) -> dict[str, Any]:
        """What the page needs to draw it, as values that JSON can hold.

        Raises
        ------
        DataError
            A line has not as many values as there are frames, or a place is not finite.
        """
        x = np.asarray(self.x, dtype=float)
        if x.ndim != 1 or not np.isfinite(x).all():
            raise DataError(f"x should be one finite number a frame, found {x.tolist()}")
        lines = {name: np.asarray(values, dtype=float) for name, values in self.lines.items()}
        odd = next((name for name, values in lines.items() if values.shape != x.shape), None)
        if odd is not None:
            raise DataError(f"line {odd!r} should have {x.size} values, one a frame, found shape {lines[odd].shape}")
        drawn = [{"name": visible(name), "y": _numbers(values)} for name, values in lines.items()]
        places = [int(v) if float(v).is_integer() else float(v) for v in x]
        words = {"hint": self.hint, "levels": _numbers(np.asarray(self.levels, dtype=float))}
        return {"kind": "trend", "x": places, "lines": drawn, **_head(self), **words}


Panel = CurveFamily | CurveSet | Trend


def _head(panel: Panel) -> dict[str, Any]:
    """What all kinds of curves have in common."""
    across, up = panel.across, panel.up
    names = {"x_name": across.name, "x_unit": across.unit, "y_name": up.name, "y_unit": up.unit}
    linked = {"linked": getattr(panel, "linked", False)}
    labels = {"title": panel.title, "x_label": across.label, "y_label": up.label}
    ends = {"x_limits": list(across.limits), "y_limits": list(up.limits), "down_x": across.down, "down_y": up.down}
    return {**labels, **names, **linked, **ends, "log_x": across.log, "log_y": up.log}


def _numbers(values: np.ndarray) -> Any:
    """Nested lists, rounded; None where a value is not finite."""
    if values.ndim > 1:
        return [_numbers(row) for row in values]
    return [float(f"{v:.{DIGITS}g}") if math.isfinite(v) else None for v in values.tolist()]
