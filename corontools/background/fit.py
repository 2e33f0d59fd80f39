"""Backgrounds fitted to a target: a reference image times a factor, or the best of several templates."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from corontools.arrays import template as templates_of
from corontools.arrays.factor import fit_factor, unmasked_traces
from corontools.background.sources import Sources
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import Exposure, readonly

__all__ = ["FactorFit", "TemplatesFit", "by_hand", "fit_reference", "fit_soss"]

# part of the image that has to be background
LEAST = 0.05
# rows of a full SOSS subarray that SUBSTRIP96 covers
ROWS_96, ROWS_256 = slice(10, 106), 256
WIDTH = 2048
BY_HAND = "scale set by hand"


@dataclass(frozen=True, eq=False)
class FactorFit:
    """Factor of a reference background.

    Attributes
    ----------
    scale, scale_err : float
        NaN where the fit failed; the error of a scale that was set by hand is NaN, too.
    rms : tuple of float
        Of the residual before each rejection, and at the end.
    mask : ndarray of bool, shape (y, x)
        True where no source was masked.
    used : ndarray of bool, shape (y, x)
        Pixels of the last fit: usable ones of the mask without outliers.
    good_fraction : float
        Part of the image that was usable background.
    failed : str
        Why there is no factor; else "".
    notes : tuple of str
        What was noticed.
    outlier_percent, rms_stop : float
    maxiter : int
        How it was fitted.
    """

    scale: float
    scale_err: float
    rms: tuple[float, ...]
    mask: np.ndarray
    used: np.ndarray
    good_fraction: float
    failed: str = ""
    notes: tuple[str, ...] = ()
    outlier_percent: float = 1.0
    rms_stop: float = 0.0
    maxiter: int = 5


@dataclass(frozen=True, eq=False)
class TemplatesFit:
    """The template that fits best, and its scale left and right of the jump.

    Attributes
    ----------
    index : int
        Number of the template.
    scale, scale_err : (float, float)
        Left, right; the errors of scales that were set by hand are NaN.
    rms : tuple of float
        Of each template: rms of the residual of the darkest blocks, left and right added; NaN where it wasn't fitted.
    mask : ndarray of bool, shape (y, x)
        Pixels that tell the scales.
    column : ndarray of int, shape (y,)
        First column right of the jump, of each row.
    image, err : ndarray, shape (y, x)
        The scaled template, and what the errors of the scales make of it (None where they aren't known).
    source_percentile : float
        How it was fitted.
    """

    index: int
    scale: tuple[float, float]
    scale_err: tuple[float, float]
    rms: tuple[float, ...]
    mask: np.ndarray
    column: np.ndarray
    image: np.ndarray
    err: np.ndarray | None
    failed: str = ""
    notes: tuple[str, ...] = ()
    source_percentile: float = 35.0

    @property
    def good_fraction(self) -> float:
        """Part of the image that tells the scales."""
        return float(self.mask.mean())


def fit_reference(
    target: Exposure, reference: np.ndarray, sources: Sources, *, outlier_percent: float, rms_stop: float, maxiter: int
) -> FactorFit:
    """Fit the factor of a reference (y, x), already cut to the target; see `BackgroundModel.fit`."""
    if target.data.ndim != 2:
        raise DataError(f"{target._name}: a factor is fitted to one image (y, x), found shape {target.shape}")
    if target.variance is None:
        raise DataError(f"{target._name} has no errors, which weight the fit; give an exposure with err")
    mask = readonly(sources.background(target))
    options = {"outlier_percent": outlier_percent, "rms_stop": rms_stop, "maxiter": maxiter}
    good = mask & target.good
    usable = good & np.isfinite(reference) & (reference != 0) & (target.variance > 0)
    fraction, least = float(usable.mean()), 0.0 if sources.mask is not None else LEAST
    if not fraction > least:
        asked = f"{100 * least:g} % are needed" if least else "one is needed"
        reason = (
            f"{100 * fraction:.2f} % of the pixels are usable background (not masked, good, with an error), {asked}"
        )
        return FactorFit(np.nan, np.nan, (), mask, readonly(usable), fraction, failed=reason, **options)  # type: ignore[arg-type]
    axis = _axis(target, needed=rms_stop > 0)
    found = fit_factor(target.data, reference, target.variance, good, axis=axis, **options)  # type: ignore[arg-type]
    return FactorFit(
        found.value, found.err, found.rms, mask, readonly(found.used), fraction,
        notes=_noticed(target, reference, good, found.value, axis), **options,  # type: ignore[arg-type]
    )  # fmt: skip


def _noticed(
    target: Exposure, reference: np.ndarray, good: np.ndarray, value: float, axis: int | None
) -> tuple[str, ...]:
    assert target.variance is not None
    # where the header doesn't tell how light is dispersed, both ways are looked at
    for along in (1, 0) if axis is None else (axis,):
        traces = unmasked_traces(target.data, reference, target.variance, good, value=value, axis=along)
        if traces is not None:
            return (
                f"faint traces are left in the background: {100 * traces.share:.1f} % of the segments along the "
                f"{'rows' if along else 'columns'} stand out; they raise the factor by about {traces.bias:.2g}; mask "
                "more sources (larger extents, a fainter mmag_extract, boxes or a mask of your own where the catalogue "
                "lacks them)",
            )
    return ()


def _axis(target: Exposure, *, needed: bool) -> int | None:
    """Axis of numpy along which light is dispersed (DISPAXIS 1: rows)."""
    card = target.meta.card("DISPAXIS")
    if card in (1, 2):
        return 2 - int(card)
    if needed:
        raise DataError(f"{target._name}: rms_stop needs DISPAXIS (1: along rows, 2: along columns), found {card!r}")
    return None


def fit_soss(
    target: Exposure, templates: np.ndarray, *, source_percentile: float, template: int | None = None
) -> TemplatesFit:
    """Fit the templates (n, y, x) to a SOSS target; see `BackgroundModel.fit`."""
    if not 0 < source_percentile <= 100:
        raise DataError(f"source_percentile should be above 0 and at most 100, found {source_percentile}")
    if template is not None and not 0 <= template < len(templates):
        raise DataError(f"template is one of 0 to {len(templates) - 1}, found {template}")
    cube = target.cube
    ny, nx = cube.shape[-2:]
    templates = _cut(templates, (ny, nx))
    if templates.shape[-2:] != (ny, nx) or nx != WIDTH:
        raise DataError(
            f"templates of {templates.shape[-2:]} px don't fit {target._name} of {(ny, nx)}; SOSS subarrays are 2048 "
            "columns wide, SUBSTRIP96 takes templates of 96 or 256 rows, SUBSTRIP256 of 256"
        )
    reference = np.uint32(DQ.REFERENCE_PIXEL)
    good = cube.good if cube.dq is None else cube.good & ((cube.dq & reference) == 0)
    first, last = (0, len(templates)) if template is None else (template, template + 1)
    fitted = np.asarray(templates[first:last], np.float64)
    try:
        found = templates_of.fit_templates(cube.data, good, fitted, source_percentile=source_percentile)
    except ValueError as error:
        raise DataError(f"{target._name}: the templates can't be fitted: {error}; look at its DQ") from error
    rms = np.full(len(templates), np.nan)
    rms[first:last] = found.rms
    scales, errors = (tuple(getattr(side, n) for side in (found.left, found.right)) for n in ("scale", "err"))
    return TemplatesFit(
        first + found.best, scales, errors, tuple(rms.tolist()),
        mask=readonly(found.left.pixels | found.right.pixels),
        column=readonly(found.column),
        image=_times(fitted[found.best], found.column, scales),
        err=_times(np.abs(fitted[found.best]), found.column, errors),
        source_percentile=source_percentile,
    )  # fmt: skip


def by_hand(fitted: FactorFit | TemplatesFit, scale: tuple[float, float], templates: np.ndarray) -> Any:
    """A fit with another scale (left and right of the jump); see `BackgroundModel.with_scale`."""
    given = fitted.scale if isinstance(fitted.scale, tuple) else (fitted.scale,)
    found = fitted.failed or "the fit gave " + " and ".join(f"{value:.6g}" for value in given)
    before = [note for note in fitted.notes if note.startswith(BY_HAND)]  # tells what the fit gave
    others = tuple(note for note in fitted.notes if note not in before)
    notes = (*(before or [f"{BY_HAND} ({found}): its error isn't known, and none is added"]), *others)
    if isinstance(fitted, FactorFit):
        return replace(fitted, scale=scale[0], scale_err=math.nan, failed="", notes=notes)
    chosen = np.asarray(_cut(templates, fitted.mask.shape)[fitted.index], np.float64)
    image = _times(chosen, fitted.column, scale)
    return replace(fitted, scale=scale, scale_err=(math.nan, math.nan), image=image, err=None, notes=notes)


def _cut(templates: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of full templates that a SUBSTRIP96 covers; others as they are."""
    narrow = templates.shape[-2:] == (ROWS_256, shape[-1]) and shape[-2] == ROWS_96.stop - ROWS_96.start
    return templates[..., ROWS_96, :] if narrow else templates


def _times(template: np.ndarray, column: np.ndarray, scale: tuple[float, ...]) -> np.ndarray:
    """A template, scaled left and right of the jump."""
    left, _ = templates_of.sides(template.shape, column)
    return readonly(np.where(left, scale[0], scale[1]) * template)
