"""The card of a FlickerCleaner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.errors import DataError

if TYPE_CHECKING:
    from corontools.flicker.cleaner import FlickerCleaner

__all__ = ["pictures", "rows"]

FORMS = {2: "rate", 3: "rateints", 4: "ramp"}


def rows(cleaner: FlickerCleaner) -> list[tuple[str, str]]:
    """What was chosen, and what became of it as far as it is known."""
    exposure, readout, plan = cleaner.exposure, cleaner.readout, cleaner.plan
    shape = " x ".join(str(n) for n in exposure.shape)
    used = 100 * float(cleaner.mask.mean())
    left_out = cleaner.scene.left_out
    channels = f", {readout.channels} channels apart" if plan.by_channel else ""
    found = [
        ("exposure", f"{exposure.meta.title}: {FORMS[exposure.data.ndim]} of {shape}"),
        ("stripes", readout.stripes),
        ("mask", f"{used:.1f} % of the pixels are background ({', '.join(cleaner.flavours)})"),
        *([("not masked", f"{', '.join(left_out)} (mask_scene(science=...))")] if left_out else []),
        ("background", _background(cleaner)),
        ("noise", plan.noise + channels),
    ]
    if cleaner.choice is not None:
        found += _choice(cleaner)
    if "log" in cleaner.__dict__:
        found += _outcome(cleaner)
    return found


def pictures(cleaner: FlickerCleaner) -> Sequence[Any]:
    """The mask, the first image before and after, and the power spectrum of its lines."""
    from corontools.display import quick

    mask = cleaner.mask if cleaner.mask.ndim == 2 else cleaner.mask[0]
    shown = [quick.image_picture(mask.astype(float), "mask (light: background)", kind="linear", limits=(0, 1))]
    frames = cleaner.frames
    try:
        i, j = frames.first()
    except DataError:  # no usable pixel: the rows tell
        return shown
    one = cleaner.one_image(i, j)
    name = f"group {j + 1} - {j}" if frames.groups and frames.scales is None else f"integration {i + 1}"
    limits = _limits(one.before, frames.good(i, j))
    shown += [
        quick.image_picture(one.before, f"{name}, before", kind="linear", limits=limits),
        quick.image_picture(one.after, "after", kind="linear", limits=limits),
    ]
    return shown if one.psd is None else [*shown, one.psd.picture()]


def _limits(image: np.ndarray, good: np.ndarray) -> tuple[float, float]:
    known = image[good & np.isfinite(image)]
    low, high = np.percentile(known, (1, 99))
    return (float(low), float(high)) if high > low else (float(low) - 1, float(high) + 1)


def _background(cleaner: FlickerCleaner) -> str:
    plan = cleaner.plan
    if plan.background == "model":
        from corontools.flicker.level import box_of

        return "model, boxes of {} x {} px".format(*box_of(cleaner.exposure.shape, plan.box))
    if plan.background == "median_image":
        return "median over integrations"
    return plan.background or "none"


def _choice(cleaner: FlickerCleaner) -> list[tuple[str, str]]:
    choice = cleaner.choice
    if choice is None:
        return []
    figures = ", ".join(f"{name} {value:.3g}" for name, value in choice.figures.items())
    return [("chosen", f"{choice.reason} ({figures})")]


def _outcome(cleaner: FlickerCleaner) -> list[tuple[str, str]]:
    log = cleaner.log
    what = "differences" if cleaner.exposure.data.ndim == 4 and cleaner.frames.scales is None else "images"
    told = [("status", f"{log.status}: {log.corrected} of {log.total} {what}")]
    if log.notes:
        more = [f"and {len(log.notes) - 3} more"] if len(log.notes) > 3 else []
        told.append(("left unchanged", "\n".join([*log.notes[:3], *more])))
    return told
