"""Sections of the report on what came out: combined image, companions, contrast, products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from corontools.coron.combined import CombinedImage, combine
from corontools.coron.contrast import ContrastCurve, measure
from corontools.coron.pipeline import Coron3
from corontools.coron.recovery import Planted, Recovered, masked, place, recover
from corontools.coron.report.images import SIZE, inner, north_sky, residual_scale, sky_picture, snr_scale
from corontools.coron.report.steps import CLOSE, mode_counts, numeral
from corontools.coron.source import MASKED
from corontools.display import figure
from corontools.display.figure import Mark, Series, Sky
from corontools.display.page import Section, Table
from corontools.exposure import Exposure
from corontools.progress import progress

__all__ = ["companions", "contrast", "final_image", "products"]

LEVEL = 5.0
GREYS = ("#c4c4c4", "#a8a8a8", "#8a8a8a")
FRONT = "#0072b2"
CONTENT = {
    "psfstack": "all reference images in one cube",
    "crfints": "the exposure with its outliers flagged",
    "psfalign": "references moved onto each science integration, and the table of shifts",
    "psfsub": "science less the star, with errors and flags",
    "snr": "the same over its error, pixel by pixel",
    "contrast": "1-sigma noise in rings about the star",
    "i2d": "all residuals north up and averaged, with weights and number of integrations",
}


def final_image(combined: CombinedImage, truth: Sequence[Planted]) -> Section:
    """The combined image and its S/N map, companions circled; whole, and close to the star."""
    image = combined.image
    scale = residual_scale(image.data, image.center, image.meta.unit)
    figures = []
    for reach, where in ((None, ""), (CLOSE, ", close to the star")):
        for data, colors, what in ((image.data, scale, "Combined image"), (combined.snr, snr_scale(), "S/N")):
            cut, sky = inner(data, north_sky(image), reach) if reach else (data, north_sky(image))
            figures.append(sky_picture(cut, sky, colors, marks=_marks(sky, truth, image), title=what + where))
    circled = " Circles mark the known places of the companions." if truth else ""
    return Section(
        "Combined image",
        f"The residuals of all exposures, north up and east left, averaged with weights (up to {combined.count.max()}"
        " integrations a pixel). The map of S/N is this image over its error plane, which holds photon and read noise"
        " and the speckles that are expected to be left; it is not corrected for the number of pixels in which one"
        f" looks, so values near 5 near the star deserve suspicion.{circled}",
        figures=figures,
    )


def _marks(sky: Sky, truth: Sequence[Planted], image: Exposure) -> list[Mark]:
    """Circles of one FWHM about the companions that are in view, but never too small to be seen."""
    (ny, nx), fwhm = sky.shape, image.meta.fwhm or 0.0
    radius = max(10.0, fwhm * SIZE[1] / max(nx, ny))
    places = [place(c, center=sky.origin, pixel_scale=sky.pixel_scale) for c in truth]
    inside = [-0.5 < x < nx - 0.5 and -0.5 < y < ny - 0.5 for x, y in places]
    return [Mark(*xy, label=_letter(i), radius=radius) for i, xy in enumerate(places) if inside[i]]


def _letter(index: int) -> str:
    """b, c, d ... as planets are named."""
    return chr(ord("b") + index) if index < 25 else f"no. {index + 1}"


def companions(combined: CombinedImage, truth: Sequence[Planted]) -> Section:
    """Known places against what is found there."""
    found = recover(combined, truth)
    header = (
        "companion", "known sep (\u2033)", "known PA (\u00b0)", "contrast", "found sep (\u2033)", "found PA (\u00b0)",
        "offset (px)", "S/N", "apertures", "false alarm", "pixel S/N",
    )  # fmt: skip
    return Section(
        "Companions",
        "Found: the peak of the image, smoothed by the width of the PSF, within 1.5 FWHM of the known place. S/N: the"
        " mean in an aperture one FWHM across at the known place, against the other apertures that fit on the circle"
        " at that separation, small samples allowed for (Mawet et al. 2014); other companions are masked. The"
        " wings of a bright companion reach into the neighbouring apertures and lower its own S/N. False alarm is the"
        " probability that noise alone gives as much, if the apertures are Gaussian. Pixel S/N is that of the"
        " brightest pixel by the error plane.",
        table=Table(header, [_row(i, one) for i, one in enumerate(found)]),
    )


def _row(index: int, one: Recovered) -> tuple[str, ...]:
    known = one.planted
    return (
        _letter(index),
        numeral(known.sep, ".3f"),
        numeral(known.pa, ".1f"),
        numeral(known.contrast, ".2e"),
        numeral(one.sep, ".3f"),
        numeral(one.pa, ".1f"),
        numeral(one.offset, ".2f"),
        numeral(one.snr, ".1f"),
        str(one.n),
        numeral(one.false_alarm, ".0e"),
        numeral(one.pixel_snr, ".1f"),
    )


def contrast(result: Coron3, truth: Sequence[Planted], star_flux: float | None) -> Section:
    """Noise and detection limit against separation, for several numbers of modes."""
    counts = mode_counts(result.klips[0].modes)
    curves = [_curve(result, modes, truth) for modes in progress(counts, "contrast", "curve")]
    if star_flux:
        curves = [curve.normalize(star_flux) for curve in curves]
    series = [*_series(curves, counts), *_planted(truth, star_flux)]
    scale = curves[0].meta.pixel_scale
    return Section(
        "Contrast",
        _contrast_text(result, curves[-1], truth, star_flux),
        figures=[
            figure.curves(
                series, x_label=f"separation ({'arcsec' if scale else 'px'})", y_label=_y_label(curves[-1]),
                log_y=True, title="Detection limit", size=(650, 400),
            )
        ],
        table=_contrast_table(curves[-1]),
    )  # fmt: skip


def _curve(result: Coron3, modes: int, truth: Sequence[Planted]) -> ContrastCurve:
    """Noise of the combined image at a number of modes, known companions masked; of the first exposure without one."""
    klips = [klip.at(min(modes, klip.max_modes)) for klip in result.klips]
    width = dict(result.options["contrast"] or {}).get("width", 2)
    if result.combined is None:
        return klips[0].contrast(width)
    whole = modes == result.klips[0].modes
    combined = result.combined if whole else combine(klips, **dict(result.options["combine"] or {}))
    image = combined.image.with_(data=masked(combined, truth)) if truth else combined.image
    return measure(image, width=width, center="star", history=combined.history)


def _limit(curve: ContrastCurve) -> ContrastCurve:
    """The detection limit; the noise itself where the width of the PSF isn't known."""
    return curve.sigma(LEVEL) if curve.meta.fwhm else curve


def _series(curves: Sequence[ContrastCurve], counts: Sequence[int]) -> list[Series]:
    """Limits in grey, the chosen number of modes in front with its noise."""
    series = []
    for curve, modes, grey in zip(curves[:-1], counts, GREYS, strict=False):
        limit = _limit(curve)
        series.append(_line(limit, label=f"{limit.level:g}\u03c3, {_modes(modes)}", color=grey))
    last, limit = curves[-1], _limit(curves[-1])
    if limit is not last:
        series.append(_line(last, label=f"1\u03c3 noise, {_modes(counts[-1])}", color=FRONT, dash="dashed"))
    name = f"{limit.level:g}\u03c3, {_modes(counts[-1])}"
    return [*series, _line(limit, label=name, color=FRONT, width=2.6)]


def _modes(count: int) -> str:
    return f"{count} mode" if count == 1 else f"{count} modes"


def _line(curve: ContrastCurve, **style: Any) -> Series:
    """The curve from one FWHM outwards: further in, too few places make a limit of no meaning."""
    x = curve.radius if curve.sep is None else curve.sep
    far = curve.radius >= (curve.meta.fwhm or 0.0)
    return Series(x[far], curve.limit[far], **style)


def _planted(truth: Sequence[Planted], star_flux: float | None) -> list[Series]:
    if not truth or not star_flux:
        return []
    sep, value = [c.sep for c in truth], [c.contrast for c in truth]
    return [Series(sep, value, label="known companions", color="#d55e00", marker="D", width=0)]


def _y_label(curve: ContrastCurve) -> str:
    if curve.star_flux:
        return "flux / peak of the star off the mask"
    return f"noise, limit ({curve.meta.unit})" if curve.meta.unit else "noise, limit"


def _contrast_text(result: Coron3, curve: ContrastCurve, truth: Sequence[Planted], star_flux: float | None) -> str:
    where = "first science exposure" if result.combined is None else "combined image"
    mask = f", {MASKED:g} FWHM about each companion left out" if truth and result.combined is not None else ""
    unit = (
        "In units of the peak of the star's PSF off the mask."
        if star_flux
        else "In the unit of the image: the flux of the star behind the mask can't be measured from these exposures."
    )
    return (
        f"The dashed line is the standard deviation of the pixels in rings of the {where}{mask}. The limit is the flux"
        f" of a pixel that noise exceeds as rarely as a Gaussian exceeds {LEVEL:g} sigma, with the few independent"
        f" places near the star allowed for (Student's t, Mawet et al. 2014). {unit}\n\n"
        "Whatever lies in a ring counts as noise, a disk included. Neither the transmission of the coronagraph nor the"
        " light that the subtraction takes from a companion is corrected for: the true limits are higher, most of all"
        " next to the mask and with many modes."
    )


def _contrast_table(curve: ContrastCurve) -> Table | None:
    """The curve at a few separations."""
    limit = _limit(curve)
    if limit.sep is None:
        return None
    at = [sep for sep in (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0) if limit.sep[0] <= sep <= limit.sep[-1]]
    unit = "" if curve.star_flux or not curve.meta.unit else f" ({curve.meta.unit})"
    spec = ".2e" if curve.star_flux else ".3g"
    header = ("separation (\u2033)", f"1-sigma noise{unit}", f"{limit.level:g}-sigma limit{unit}")
    rows = [
        (numeral(sep, ".2f"), *(numeral(np.interp(sep, limit.sep, one.limit), spec) for one in (curve, limit)))
        for sep in at
    ]
    return Table(header, rows)


def products(result: Coron3) -> Section:
    """The files that `save` writes."""
    names = list(result.products())
    kinds = [name.removesuffix(".fits").rsplit("_", 1)[-1] for name in names]
    rows = [(kind, str(kinds.count(kind)), CONTENT.get(kind, "")) for kind in dict.fromkeys(kinds)]
    return Section(
        "Products",
        "JWST products with JWST's names, extensions and keywords; their headers carry the chain below.",
        table=Table(("suffix", "files", "content"), rows),
        code="\n".join(names),
    )
