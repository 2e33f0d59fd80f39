"""Backgrounds fitted to a target: a reference image times a factor, or the best of several templates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corontools.arrays import template as templates_of
from corontools.arrays.factor import fit_factor, unmasked_traces
from corontools.background.sources import Sources
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import Exposure, readonly

__all__ = ["FactorFit", "TemplatesFit", "fit_reference", "fit_soss"]

# part of the image that has to be background
LEAST = 0.05
# rows of a full SOSS subarray that SUBSTRIP96 covers
ROWS_96, ROWS_256 = slice(10, 106), 256
WIDTH = 2048


@dataclass(frozen=True, eq=False)
class FactorFit:
    """Factor of a reference background.

    Attributes
    ----------
    scale, scale_err : float
        NaN where the fit failed.
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
    """

    scale: float
    scale_err: float
    rms: tuple[float, ...]
    mask: np.ndarray
    used: np.ndarray
    good_fraction: float
    failed: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TemplatesFit:
    """The template that fits best, and its scale left and right of the jump.

    Attributes
    ----------
    index : int
        Number of the template.
    scale, scale_err : (float, float)
        Left, right.
    rms : tuple of float
        Of each template: rms of the residual of the darkest blocks, left and right added.
    mask : ndarray of bool, shape (y, x)
        Pixels that tell the scales.
    column : ndarray of int, shape (y,)
        First column right of the jump, of each row.
    image, err : ndarray, shape (y, x)
        The scaled template, and what the errors of the scales make of it.
    """

    index: int
    scale: tuple[float, float]
    scale_err: tuple[float, float]
    rms: tuple[float, ...]
    mask: np.ndarray
    column: np.ndarray
    image: np.ndarray
    err: np.ndarray
    failed: str = ""
    notes: tuple[str, ...] = ()

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
    good = mask & target.good
    usable = good & np.isfinite(reference) & (reference != 0) & (target.variance > 0)
    fraction, least = float(usable.mean()), 0.0 if sources.mask is not None else LEAST
    if not fraction > least:
        asked = f"{100 * least:g} % are needed" if least else "one is needed"
        reason = (
            f"{100 * fraction:.2f} % of the pixels are usable background (not masked, good, with an error), {asked}"
        )
        return FactorFit(np.nan, np.nan, (), mask, readonly(usable), fraction, failed=reason)
    axis = _axis(target, needed=rms_stop > 0)
    options = {"outlier_percent": outlier_percent, "rms_stop": rms_stop, "maxiter": maxiter, "axis": axis}
    found = fit_factor(target.data, reference, target.variance, good, **options)  # type: ignore[arg-type]
    return FactorFit(
        found.value, found.err, found.rms, mask, readonly(found.used), fraction,
        notes=_noticed(target, reference, good, found.value, axis),
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
                "more sources (larger extents, a fainter mmag_extract)",
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


def fit_soss(target: Exposure, templates: np.ndarray, *, source_percentile: float) -> TemplatesFit:
    """Fit the templates (n, y, x) to a SOSS target; see `BackgroundModel.fit`."""
    if not 0 < source_percentile <= 100:
        raise DataError(f"source_percentile should be above 0 and at most 100, found {source_percentile}")
    cube = target.cube
    ny, nx = cube.shape[-2:]
    if templates.shape[-2:] == (ROWS_256, nx) and ny == ROWS_96.stop - ROWS_96.start:
        templates = templates[:, ROWS_96]
    if templates.shape[-2:] != (ny, nx) or nx != WIDTH:
        raise DataError(
            f"templates of {templates.shape[-2:]} px don't fit {target._name} of {(ny, nx)}; SOSS subarrays are 2048 "
            "columns wide, SUBSTRIP96 takes templates of 96 or 256 rows, SUBSTRIP256 of 256"
        )
    reference = np.uint32(DQ.REFERENCE_PIXEL)
    good = cube.good if cube.dq is None else cube.good & ((cube.dq & reference) == 0)
    templates = np.asarray(templates, np.float64)
    try:
        found = templates_of.fit_templates(cube.data, good, templates, source_percentile=source_percentile)
    except ValueError as error:
        raise DataError(f"{target._name}: the templates can't be fitted: {error}; look at its DQ") from error
    sides = templates_of.sides((ny, nx), found.column)
    chosen = templates[found.best]
    scales, errors = (tuple(getattr(side, n) for side in (found.left, found.right)) for n in ("scale", "err"))
    return TemplatesFit(
        found.best, scales, errors, tuple(found.rms.tolist()),
        mask=readonly(found.left.pixels | found.right.pixels),
        column=readonly(found.column),
        image=readonly(np.where(sides[0], scales[0], scales[1]) * chosen),
        err=readonly(np.where(sides[0], errors[0], errors[1]) * np.abs(chosen)),
    )  # fmt: skip
