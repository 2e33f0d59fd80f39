"""Sections of the report on the way to the residual: references, alignment, subtraction."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from corontools.coron.aligned import AlignedRefs
from corontools.coron.klip import KlipResult
from corontools.coron.pipeline import Coron3
from corontools.coron.report.images import (
    PANEL,
    contact_sheet,
    inner,
    mean_image,
    residual_scale,
    shown,
    sky_of,
    sky_picture,
)
from corontools.display import figure
from corontools.display.card import Picture
from corontools.display.figure import Points, Series
from corontools.display.page import Section, Table
from corontools.display.picture import Scale

__all__ = ["alignment", "mean_residual", "mode_counts", "numeral", "references", "subtraction"]

FILM = 6
# arcsec about the star in which speckles are worth a look, and in which the mask matters
VIEW, CLOSE = 5.0, 2.5


def numeral(value: float, spec: str = ".3g") -> str:
    """A number for a table; a dash where there is none."""
    if not np.isfinite(value):
        return "\u2014"
    text = format(float(value), spec)
    return text.replace("-", "\u2212", 1) if float(text) < 0 else text.removeprefix("-")


def mode_counts(modes: int) -> list[int]:
    """One to four numbers of modes up to `modes`, evenly spaced in their logarithm.

    Examples
    --------
    >>> mode_counts(27), mode_counts(6), mode_counts(0)
    ([1, 3, 9, 27], [1, 2, 3, 6], [0])
    """
    return sorted({round(modes ** (step / 3)) for step in range(4)}) if modes else [0]


def mean_residual(klip: KlipResult) -> np.ndarray:
    """Mean (y, x) of the residuals over all integrations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel without a value in any integration stays NaN
        return np.nanmean(klip.frames, axis=0)


def references(result: Coron3) -> Section:
    """The stack: its mean and some of its images."""
    stack = result.stack
    target = result.klips[0].target
    mean = mean_image(stack.exposure)
    scale = Scale.of(mean, unit=stack.exposure.meta.unit)
    picture, sky = inner(mean, sky_of(target), VIEW)
    return Section(
        "References",
        "The mean of all reference images; then some of them, by number from the upper left, each multiplied by its"
        " flux ratio to the science star, in one common stretch. Differences that the eye can see between these images"
        " are what the subtraction has to cope with.\n\n"
        "The table gives the correlation of the references with the science images: stars whose correlation is clearly"
        " lower than that of the others help little.",
        figures=[
            sky_picture(picture, sky, scale, title=f"Mean of {stack.n_ref} references"),
            _strip(result.klips[0].aligned),
        ],
        table=_stars(result),
        note="In all pictures of this page, single pixels without data are filled from their neighbours;"
        " no number rests on these.",
    )


def _strip(aligned: AlignedRefs) -> Picture:
    """A few references on the flux of the science star."""
    stack, sky = aligned.stack, sky_of(aligned.target)
    ratio = np.where(np.isfinite(aligned.scales[0]), aligned.scales[0], 1.0)
    chosen = np.unique(np.linspace(0, stack.n_ref - 1, min(FILM, stack.n_ref)).round().astype(int))
    data, good = stack.exposure.data, stack.exposure.good
    images = [inner(shown(np.where(good[j], data[j], np.nan) * ratio[j]), sky, VIEW)[0] for j in chosen]
    return contact_sheet(images, [f"{j} {stack.targets[j] or 'unnamed star'}" for j in chosen])


def _stars(result: Coron3) -> Table:
    stack = result.stack
    aligned = [klip.aligned for klip in result.klips]
    correlation = np.concatenate([stack.correlation(a.target) for a in aligned])
    scales = np.concatenate([a.scales for a in aligned])
    rows = []
    for star in dict.fromkeys(stack.targets):
        mine = np.array([name == star for name in stack.targets])
        ratio = np.median(scales[:, mine])
        values = correlation[:, mine]
        rows.append(
            (
                star or "unnamed star",
                str(mine.sum()),
                numeral(ratio),
                numeral(np.median(values), ".4f"),
                numeral(values.min(), ".4f"),
            )
        )
    return Table(("star", "images", "flux ratio science / reference", "median correlation", "lowest"), rows)


def alignment(result: Coron3) -> Section:
    """Shifts with errors, the weight of the fit, and what the shift of one reference does."""
    aligned = [klip.aligned for klip in result.klips]
    if aligned[0].to == "none":
        return Section("Alignment", "Skipped: the references were taken as they are.")
    return Section(
        "Alignment",
        "Each reference was moved by a fitted shift (dx, dy) and scaled in flux so that it matches the science image"
        f" best; every point is one pair of images (to={aligned[0].to!r}), its bars are 1 sigma."
        " The errors take the noise for independent from pixel to pixel: where speckles differ between the stars,"
        " the true errors are larger.\n\n"
        + _worst_text(aligned[0])
        + "\n\nFlagged fits did not converge, went too far or explain less than half of the variance; leave such"
        " references out.",
        figures=[
            *(_shifts(a, f"Science exposure {n}") for n, a in enumerate(aligned, 1)),
            *_weight(aligned[0]),
            *_before_after(aligned[0]),
        ],
        table=_shift_table(aligned),
    )


def _shifts(aligned: AlignedRefs, title: str) -> str:
    points = []
    for star in dict.fromkeys(aligned.stack.targets):
        mine = np.array([name == star for name in aligned.stack.targets])
        at, error = (values[:, mine].reshape(-1, 2) for values in (aligned.shifts, aligned.shift_errors))
        label = star or "unnamed star"
        points.append(Points(at[:, 0], at[:, 1], x_err=error[:, 0], y_err=error[:, 1], label=label))
    return figure.scatter(points, x_label="dx (px)", y_label="dy (px)", title=title, size=PANEL)


def _weight(aligned: AlignedRefs) -> list[str]:
    if aligned.mask is None:
        return []
    image, sky = inner(aligned.mask, sky_of(aligned.target), CLOSE)
    scale = Scale((0.0, float(np.nanmax(aligned.mask))), "linear", "viridis")
    return [sky_picture(image, sky, scale, title="Weight in the fit", size=PANEL)]


def _worst(aligned: AlignedRefs) -> int:
    """The reference that was moved farthest for the first integration."""
    return int(np.nan_to_num(np.hypot(*aligned.shifts[0].T)).argmax())


def _pair(aligned: AlignedRefs) -> tuple[np.ndarray, np.ndarray]:
    """First science image less the reference that was moved farthest: as it was, and as it was moved."""
    j, refs, target = _worst(aligned), aligned.stack.exposure, aligned.target
    science = np.where(target.good[0], target.data[0], np.nan)
    moved = aligned[0]
    scale = aligned.scales[0, j]
    before = science - scale * np.where(refs.good[j], refs.data[j], np.nan)
    after = science - scale * np.where(moved.good[j], moved.data[j], np.nan)
    return before, after


def _before_after(aligned: AlignedRefs) -> list[str]:
    sky = sky_of(aligned.target)
    (before, view), (after, _) = (inner(image, sky, CLOSE) for image in _pair(aligned))
    scale = Scale.of(before, colors="RdBu", kind="linear", unit=aligned.target.meta.unit)
    name = f"Science \u2212 reference {_worst(aligned)}"
    return [
        sky_picture(image, view, scale, title=f"{name}, {what}")
        for image, what in ((before, "not moved"), (after, "moved"))
    ]


def _worst_text(aligned: AlignedRefs) -> str:
    before, after = _pair(aligned)
    use = np.isfinite(before) & np.isfinite(after)
    use &= (aligned.mask if aligned.mask is not None else np.ones(before.shape)) > 0.5
    j = _worst(aligned)
    rms = [float(np.sqrt(np.mean(np.square(image[use])))) if use.any() else np.nan for image in (before, after)]
    unit = aligned.target.meta.unit
    return (
        f"The last two images show what it is about: the first science image less reference {j}, which was moved"
        f" farthest ({np.hypot(*aligned.shifts[0, j]):.3f} px), before and after the shift. Their rms where the weight"
        f" is over one half is {numeral(rms[0])} and {numeral(rms[1])} {unit}."
    )


def _shift_table(aligned: Sequence[AlignedRefs]) -> Table:
    rows = []
    for number, one in enumerate(aligned, 1):
        for star in dict.fromkeys(one.stack.targets):
            mine = np.array([name == star for name in one.stack.targets])
            rows.append((star or "unnamed star", str(number), *_shift_cells(one, mine)))
    header = (
        "star", "exposure", "pairs", "median dx (px)", "median dy (px)", "scatter (px)", "error (px)",
        "explained (%)", "flagged",
    )  # fmt: skip
    return Table(header, rows)


def _shift_cells(aligned: AlignedRefs, mine: np.ndarray) -> tuple[str, ...]:
    shifts, error = aligned.shifts[:, mine].reshape(-1, 2), aligned.shift_errors[:, mine]
    return (
        str(len(shifts)),
        *(numeral(value, ".3f") for value in np.median(shifts, axis=0)),
        numeral(np.sqrt(shifts.var(axis=0).sum()), ".3f"),
        numeral(np.median(error), ".4f"),
        numeral(100 * np.median(aligned.fit.explained[:, mine]), ".2f"),
        str(np.count_nonzero(aligned.quality[:, mine])),
    )


def subtraction(result: Coron3) -> Section:
    """Residuals at several numbers of modes, and the variance that modes explain."""
    klip = result.klips[0]
    return Section(
        "Subtraction",
        "The first science exposure, the mean of its integrations, before the subtraction; and what is left of it after"
        " the star was modelled with more and more Karhunen-Loeve modes of the references. All residuals have the same"
        " stretch, chosen for the last: linear within three times its noise, logarithmic above; dashed rings are"
        " separations in arcsec. A speckle fades with more modes. A companion stays, though every mode also takes some"
        " of its light.\n\n"
        "The curve is the share of the variance of the science images that is not explained yet. Where it is flat,"
        " further modes fit noise, not the star.",
        figures=[_science(klip), *_residuals(klip), _unexplained(result)],
    )


def _science(klip: KlipResult) -> str:
    image, sky = inner(mean_image(klip.target), sky_of(klip.target), VIEW)
    return sky_picture(image, sky, Scale.of(image, unit=klip.target.meta.unit), title="Before subtraction")


def _residuals(klip: KlipResult) -> list[str]:
    counts = mode_counts(klip.modes)
    images = {modes: mean_residual(klip.at(modes)) for modes in counts}
    scale = residual_scale(images[counts[-1]], klip.target.center, klip.target.meta.unit)
    panels = []
    for modes, image in images.items():
        cut, sky = inner(image, sky_of(klip.target), VIEW)
        panels.append(sky_picture(cut, sky, scale, title=f"Residual, {modes} mode{'s' * (modes != 1)}"))
    return panels


def _unexplained(result: Coron3) -> str:
    series = []
    for number, klip in enumerate(result.klips, 1):
        left = 1 - klip.variance_explained
        label = f"science exposure {number}" if len(result.klips) > 1 else ""
        series.append(Series(np.arange(left.size), left, label=label, marker="o" if left.size <= 30 else ""))
    return figure.curves(
        series, x_label="KL modes", y_label="share not explained", log_y=True, title="Variance not explained",
        size=(520, 340),
    )  # fmt: skip
