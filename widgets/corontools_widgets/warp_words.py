"""What a warp explorer says: sentences on a match, its noise and its faults, and pictures of a place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from corontools.display import escape
from corontools.display.picture import Scale, image_uri
from corontools.warp.diagnosis import Diagnosis
from corontools.warp.look import EDGES, QUALITY, Noise, Stamps, field
from corontools.warp.mosaic import Matches
from corontools_widgets.calibration_words import field_curves
from corontools_widgets.panels import CurveSet, Quantity

__all__ = ["curves", "diagnosis_html", "gaussian", "match", "noise", "pictures"]

# residuals are drawn at least so wide, over the peak of the model
LEAST = 1e-3
SIDE = 118


def match(matches: Matches) -> list[str]:
    """Sentences on a match, as its card tells it."""
    return [f"{name[0].upper()}{name[1:]}: {words}." for name, words in matches.rows()]


def noise(found: Mapping[str, Noise]) -> list[str]:
    """How wide blank sky is in units of its noise."""
    known = [f"{name} {one.width:.3f} ({one.n} px)" for name, one in found.items() if one.n]
    if not known:
        return []
    return [f"Width of blank sky over the square root of its variance: {', '.join(known)}; 1 where that is right."]


def diagnosis(found: Diagnosis) -> list[str]:
    """Sentences on faults."""
    if not found.faults:
        return ["No fault of the match was found."]
    told = [f"{one.name}: {one.meaning} {one.value:.3g}, at most {one.limit:g} is fine; {one.remedy}"
            for one in found.findings if one.found]  # fmt: skip
    after = f"with the remedies the residual is {100 * found.peak_after:.2f} % of the peak at most"
    return [f"Faults: {'; '.join(told)}; {after}."]


def diagnosis_html(found: Diagnosis) -> str:
    """Each fault that was looked for: what was measured, what is fine, and the remedy."""
    lines = []
    for one in found.findings:
        mark, ink = (
            ("\u25b2", "var(--jp-warn-color1, #b26a00)")
            if one.found
            else ("\u2713", "var(--jp-success-color1, #2e7d32)")
        )
        verdict = f"; remedy: {one.remedy}" if one.found and one.remedy else ""
        words = f"{one.meaning} {one.value:.3g}, at most {one.limit:g} is fine{verdict}"
        lines.append(
            f'<li style="margin:1px 0"><span aria-hidden="true" style="color:{ink}">{mark}</span> '
            f"<b>{escape(one.name)}</b> {'found' if one.found else 'fine'}: {escape(words)}</li>"
        )
    if found.faults:
        lines.append(f"<li style='margin:1px 0'>{escape(_after(found))}</li>")
    style = "list-style:none;margin:0;padding:0 2px;line-height:1.35;overflow-wrap:anywhere"
    return f'<ul style="{style}">{"".join(lines)}</ul>'


def _after(found: Diagnosis) -> str:
    parts = [("peak", found.peak_after, found.peak), ("sum of all", found.total_after, found.total)]
    told = (f"{name} {100 * after:.2f} % instead of {100 * before:.2f} %" for name, after, before in parts)
    return f"residuals with the remedies: {', '.join(told)}"


def pictures(stamps: Stamps) -> str:
    """Kernel, PSF before and after, and residual at a place, with numbers."""
    figures = [_figure(name, stamps.images[name], *look) for name, look in _looks(stamps).items()]
    place = f"At ({stamps.x:.0f}, {stamps.y:.0f}) px"
    style = "display:flex;flex-flow:row wrap;gap:8px 12px;align-items:flex-start"
    return f'<div style="line-height:1.35;padding:2px">{place}<div style="{style}">{"".join(figures)}</div></div>'


def _looks(stamps: Stamps) -> dict[str, tuple[Scale, str]]:
    """Scale and words of each picture."""
    n, top = stamps.numbers, float(np.abs(stamps.kernel).max())
    span = max(float(np.abs(stamps.residual).max()), LEAST * stamps.peak)
    star = Scale((-0.003 * stamps.peak, max(stamps.peak, float(stamps.source.max()))), "asinh", "inferno")
    side = stamps.kernel.shape[0]
    error = 100 * n["size_error"] / (n["size"] - n["size_error"])
    return {
        "kernel": (
            Scale((-top, top), "linear", "RdBu"),
            f"{side} \u00d7 {side} px, noise gain\u00a0{n['noise_gain']:.3f}",
        ),
        "PSF before": (star, f"\u03c3 {n['size_before']:.3f} px"),
        "PSF after": (star, f"\u03c3 {n['size']:.3f} px, {error:+.2f}\u00a0%".replace("-", "\u2212")),
        "after less model": (
            Scale((-span, span), "linear", "RdBu"),
            f"peak {100 * n['peak']:.2f}\u00a0%, in all {100 * n['total']:.2f}\u00a0%",
        ),
    }


def _figure(name: str, image: np.ndarray, scale: Scale, words: str) -> str:
    source = image_uri(image, kind=scale.kind, limits=scale.limits, colors=scale.colors, sides=(1, 256))
    edge = "outline:1px solid var(--jp-border-color1, #9e9e9e)"
    look = f"width:{SIDE}px;height:{SIDE}px;image-rendering:pixelated;display:block;{edge}"
    picture = f'<img src="{source}" alt="{escape(f"{name}: {words}")}" style="{look}">'
    told = f"<b>{escape(name)}</b><br>{escape(words)}"
    below = f'<figcaption style="font-variant-numeric:tabular-nums;font-size:12px">{told}</figcaption>'
    return f'<figure style="margin:2px 0;width:{SIDE}px">{picture}{below}</figure>'


def gaussian(x: np.ndarray) -> np.ndarray:
    """The unit Gaussian."""
    return np.asarray(np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi))


def curves(matches: Matches | None, found: Mapping[str, Noise], what: str, side: int) -> Sequence[CurveSet]:
    """The plots, for a page."""
    made = []
    if matches is not None:
        made.append(
            field_curves([field(matches.quality, what)], [QUALITY[what]], side, title=QUALITY[what].capitalize())
        )
    middle = (EDGES[1:] + EDGES[:-1]) / 2
    lines = {name: (middle, one.density) for name, one in found.items() if one.n}
    if lines:
        lines["unit Gaussian"] = (middle, gaussian(middle))
        across, up = Quantity("blank sky over its noise"), Quantity("density")
        made.append(CurveSet(lines, across=across, up=up, title="Noise", linked=False))
    return made
