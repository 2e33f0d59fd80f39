"""What a background explorer says of a background: sentences, a table, curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from corontools.background.average import Stack
from corontools.background.fit import FactorFit, TemplatesFit
from corontools.background.look import Look
from corontools.background.model import BackgroundModel
from corontools_widgets.image_view import percent, plural
from corontools_widgets.panels import CurveSet, Quantity

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["boxes", "curves", "outcome", "table"]

RULES = {"leave_one_out": "values that leave the others", "sigma_clip": "values by sigma clipping", "none": "nothing"}


def outcome(model: BackgroundModel, stack: Stack | None, index: int) -> list[str]:
    """Sentences on a background; `index` is the exposure that is shown, negative for none."""
    words = []
    if model.kind == "average":
        words += _mean(model, stack, index)
    elif model.kind == "image":
        words.append(f"Scale {model.factor:.6g}.")
    elif isinstance(model.fitted, FactorFit):
        words += _factor(model.fitted)
    elif isinstance(model.fitted, TemplatesFit):
        words += _template(model.fitted, len(model.image))
    return [*words, *(f"{note[0].upper()}{note[1:]}." for note in model.notes)]


def boxes(n: int, left_out: int, drawn: int) -> list[str]:
    """A sentence on boxes of sources."""
    if not n and not drawn:
        return []
    off = f", {left_out} of them left out" if left_out else ""
    more = f"{plural(drawn, 'box').replace('boxs', 'boxes')} drawn by hand" if drawn else ""
    given = f"{n} boxes of sources{off}" if n > 1 else f"1 box of sources{off}" if n else ""
    return [" and ".join(part for part in (given, more) if part) + "."]


def _mean(model: BackgroundModel, stack: Stack | None, index: int) -> list[str]:
    words = []
    if model.choice is not None:
        beyond = "" if model.choice.reject == "none" else f" beyond {model.choice.sigma:g} sigma"
        words.append(f"Rejected: {RULES[model.choice.reject]}{beyond}.")
    if stack is not None:
        if index >= 0:
            found = stack.rejected[index]
            number = plural(int(found.sum()), "pixel")
            words.append(f"{number} of {stack.names[index]} ({percent(float(found.mean()))}) rejected.")
        n = plural(len(stack.images), "exposure")
        words.append(f"{percent(float(stack.rejected.mean()))} of the values of {n} rejected.")
    if model.excess is not None and np.isfinite(model.excess):
        words.append(f"Exposures scatter {model.excess:.2f} times as much as their errors let expect.")
    return words


def _factor(fitted: FactorFit) -> list[str]:
    words = [f"{percent(fitted.good_fraction)} of the pixels are background."]
    if fitted.failed:
        return [*words, "The target is left as it is."]
    error = f" ± {fitted.scale_err:.2g}" if np.isfinite(fitted.scale_err) else ""
    words.insert(0, f"Factor {fitted.scale:.6g}{error}.")
    if fitted.rms:
        rounds = plural(len(fitted.rms) - 1, "round")
        words.append(f"Rms of the residual {fitted.rms[0]:.4g}, after {rounds} of rejection {fitted.rms[-1]:.4g}.")
    return words


def _template(fitted: TemplatesFit, n: int) -> list[str]:
    sides = []
    for side, scale, err in zip(("left", "right"), fitted.scale, fitted.scale_err, strict=True):
        sides.append(f"{scale:.5f}{f' ± {err:.2g}' if np.isfinite(err) else ''} {side}")
    return [
        f"Template {fitted.index} (of 0 to {n - 1}).",
        f"Scale {' and '.join(sides)} of the jump near column {np.median(fitted.column):.0f}.",
        f"Fitted to {percent(fitted.good_fraction)} of the pixels.",
    ]


def table(model: BackgroundModel, look: Look | None, stack: Stack | None) -> Table:
    """Numbers of a background, by its kind."""
    from astropy.table import Table

    if isinstance(model.fitted, FactorFit):
        rms = model.fitted.rms
        return Table([np.arange(len(rms)), np.array(rms)], names=["round", "rms"])
    if isinstance(model.fitted, TemplatesFit) and look is not None:
        residual = look.profile()
        return Table([np.arange(residual.size), residual], names=["column", "residual"])
    if stack is not None:
        number = stack.rejected.sum(axis=(1, 2))
        medians = [float(np.nanmedian(image)) if np.isfinite(image).any() else np.nan for image in stack.images]
        return Table([list(stack.names), medians, number], names=["exposure", "median", "rejected"])
    scale = np.nan if model.scale is None else float(model.scale)  # type: ignore[arg-type]
    return Table([[model.kind], [scale]], names=["kind", "scale"])


def curves(model: BackgroundModel, look: Look | None, unit: str) -> list[CurveSet]:
    """The plot of a background, for a page."""
    fitted = model.fitted
    if isinstance(fitted, FactorFit) and fitted.rms:
        line = {"rms": (np.arange(len(fitted.rms)), fitted.rms)}
        across, up = Quantity("rounds of rejection"), Quantity("rms", unit)
        return [CurveSet(line, across=across, up=up, title="Rms of the residual", linked=False)]
    if isinstance(fitted, TemplatesFit) and look is not None:
        residual = look.profile()
        lines = {"residual": (np.arange(residual.size), residual)}
        across, up = Quantity("column"), Quantity("residual", unit)
        return [CurveSet(lines, across=across, up=up, title="Median of the background pixels", linked=False)]
    return []
