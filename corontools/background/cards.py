"""The card of a BackgroundModel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.background.fit import FactorFit, TemplatesFit

if TYPE_CHECKING:
    from corontools.background.model import BackgroundModel

__all__ = ["pictures", "rows"]

KINDS = {
    "average": "mean of background exposures",
    "reference": "reference image, to be scaled",
    "templates": "best of several templates, scaled left and right of the jump",
    "image": "an image as given",
}


def rows(model: BackgroundModel) -> list[tuple[str, str]]:
    """How it was made, and what became of it."""
    shape = " x ".join(str(n) for n in model.image.shape)
    found = [("kind", KINDS[model.kind]), ("image", f"{shape} px, {model.meta.unit or 'unit not given'}")]
    if model.area.known:
        found.append(("on the detector", str(model.area)))
    if model.count is not None:
        low, high = int(model.count.min()), int(model.count.max())
        found.append(("exposures in a pixel", f"{low} to {high}, {model.count.mean():.2f} on average"))
    if model.excess is not None and np.isfinite(model.excess):
        found.append(("scatter between exposures", f"{model.excess:.2f} times what the errors let expect"))
    if model.kind == "image":
        found.append(("scale", f"{model.factor:g}"))
    if isinstance(model.fitted, FactorFit):
        found += _factor(model.fitted)
    if isinstance(model.fitted, TemplatesFit):
        found += _template(model.fitted, model.image.shape[0])
    found.append(("status", "not fitted" if model.scale is None else model.status))
    found += [("note", note) for note in model.notes]
    return found


def _factor(fitted: FactorFit) -> list[tuple[str, str]]:
    found = [("background pixels", f"{100 * fitted.good_fraction:.1f} %")]
    if not fitted.failed:
        found.append(("factor", f"{fitted.scale:.6g}{_error(fitted.scale_err)}"))
        found.append(("rms", ", ".join(f"{rms:.4g}" for rms in fitted.rms)))
    return found


def _template(fitted: TemplatesFit, n: int) -> list[tuple[str, str]]:
    sides = zip(("left", "right"), fitted.scale, fitted.scale_err, strict=True)
    return [
        ("template", f"{fitted.index} (of 0 to {n - 1})"),
        *((f"scale {side}", f"{scale:.5f}{_error(err)}") for side, scale, err in sides),
        ("fitted to", f"{100 * fitted.good_fraction:.1f} % of the pixels"),
    ]


def _error(err: float) -> str:
    """Of a scale; one that was set by hand has none."""
    return f" +- {err:.2g}" if np.isfinite(err) else ""


def pictures(model: BackgroundModel) -> Sequence[Any]:
    """The background, its error, and how many exposures or which pixels it is made of."""
    from corontools.display import quick

    image = model._values()
    image = image if image.ndim == 2 else image[0]
    shown = [quick.image_picture(image, "background", kind="linear", limits=_limits(image))]
    if model.err is not None:
        shown.append(quick.image_picture(model.err, "its error", kind="linear", limits=_limits(model.err)))
    if model.count is not None:
        limits = (0.0, float(model.count.max()))
        shown.append(quick.image_picture(model.count.astype(float), "exposures used", kind="linear", limits=limits))
    if model.mask is not None:
        caption = "mask (light: background)"
        shown.append(quick.image_picture(model.mask.astype(float), caption, kind="linear", limits=(0.0, 1.0)))
    return shown


def _limits(image: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(image[np.isfinite(image)], (1, 99))
    return (float(low), float(high)) if high > low else (float(low) - 1, float(high) + 1)
