"""A background subtracted from an exposure."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.background.fit import FactorFit, TemplatesFit
from corontools.background.place import Area
from corontools.background.product import mask_extension, without_mask
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import Exposure

if TYPE_CHECKING:
    from corontools.background.model import BackgroundModel

__all__ = ["subtract"]

STATUS, FACTOR = "S_BKDSUB", "BKGD_SCL"


def subtract(model: BackgroundModel, target: Exposure, *, propagate: bool, history: tuple[str, ...]) -> Exposure:
    """See `BackgroundModel.subtract_from`."""
    model._check(target)
    _check_detector(model, target)
    reason = model.reason_against(target)
    if reason:
        return _left(model, target, "SKIPPED", reason, history)
    if model.status == "FAILED":
        return _left(model, target, "FAILED", model.notes[0], history)
    image, err, flags = _on(model, target)
    data: np.ndarray = np.empty(target.shape, _kind(target.data))
    for out, plane in zip(_planes(data), _planes(target.data), strict=True):
        np.subtract(plane, image, out=out, casting="same_kind")
    made = _with_product(model, target, "COMPLETE", history).with_(data=data, dq=target.flags() | flags)
    if propagate and err is not None:
        made = _with_errors(made, err)
    return made.with_(source=target.source and "".join(history))


def _on(model: BackgroundModel, target: Exposure) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Background, its error and flags on the pixels of a target; NaN and DO_NOT_USE where there is none."""
    data, given = model._scaled()
    area = Area.of(target)
    fitted = model.kind == "templates"  # these were cut when they were fitted
    overlap = area.overlap(area if fitted else model.area.beside(area))
    if overlap is None or (fitted and data.shape != (area.ny, area.nx)):
        raise DataError(model._apart(target, area))
    here, there = overlap
    image = np.full((area.ny, area.nx), np.nan)
    err = None if given is None else np.full(image.shape, np.nan)
    flags = np.zeros(image.shape, np.uint32)
    image[here] = data[there]
    _tell_of_the_rest(target, image[here].size / image.size, model.area)
    if err is not None and given is not None:
        err[here] = given[there]
    if model.dq is not None and not fitted:
        flags[here] = model.dq[there]
    flags[~np.isfinite(image)] |= np.uint32(DQ.DO_NOT_USE)
    return image, err, flags


def _check_detector(model: BackgroundModel, target: Exposure) -> None:
    mine, its = model.meta.detector, target.meta.detector
    if model.kind == "average" and mine and its and mine != its:
        raise DataError(f"{target._name} is of the detector {its}, the background exposures of {mine}; give its own")


def _tell_of_the_rest(target: Exposure, covered: float, area: Area) -> None:
    if covered < 1:
        warnings.warn(
            f"{target._name}: the background ({area}) covers {100 * covered:.3g} % of it; the rest is NaN with "
            "DO_NOT_USE",
            stacklevel=5,
        )


def _with_errors(made: Exposure, err: np.ndarray) -> Exposure:
    """With the error of the background in ERR, and in the variance of the read noise where there is one."""
    variances = dict(made.variances)
    if "rnoise" in variances:
        given = variances["rnoise"]
        variances["rnoise"] = (given + np.square(err)).astype(_kind(given))
    total = None if made.err is None else np.hypot(made.err, err).astype(_kind(made.err))
    return made.with_(err=total, variances=variances)


def _left(model: BackgroundModel, target: Exposure, status: str, reason: str, history: tuple[str, ...]) -> Exposure:
    warnings.warn(f"{target._name}: no background was subtracted ({status}): {reason}", stacklevel=4)
    return _with_product(model, target, status, history)


def _with_product(model: BackgroundModel, target: Exposure, status: str, history: tuple[str, ...]) -> Exposure:
    """With the cards of the step, its history, and the mask of a factor."""
    meta = target.meta.with_cards(_cards(status, model.fitted))
    meta = meta.with_(history=(*target.meta.history, *history))
    extensions = target.extensions
    if isinstance(model.fitted, FactorFit):
        extensions = (*without_mask(target), mask_extension(model.fitted.mask))
    return target.with_(meta=meta, extensions=extensions)


def _cards(status: str, fitted: FactorFit | TemplatesFit | None) -> dict[str, Any]:
    """Cards of the step: status, and what was fitted; an error that isn't known has no card."""
    cards: dict[str, Any] = {STATUS: (status, "Background subtraction")}
    if isinstance(fitted, FactorFit):
        cards[FACTOR] = (0.0 if fitted.failed else fitted.scale, "Background scale factor")
        cards["BKGD_ERR"] = (fitted.scale_err, "1-sigma error of it")
        cards |= {f"BKGRMS{i:02d}": (rms, "Rms of the residual") for i, rms in enumerate(fitted.rms)}
    elif fitted is not None:
        cards["BKGD_TPL"] = (fitted.index, "Number of the background template, 0-based")
        for side, scale, err in zip("LR", fitted.scale, fitted.scale_err, strict=True):
            cards[f"BKGDSCL{side}"] = (scale, "Its scale left (L), right (R) of the jump")
            cards[f"BKGDERR{side}"] = (err, "1-sigma error of it")
    return {key: card for key, card in cards.items() if card[0] == card[0]}  # FITS has no NaN


def _planes(data: np.ndarray) -> np.ndarray:
    return data.reshape(-1, *data.shape[-2:])


def _kind(data: np.ndarray) -> type:
    """Floating-point type of the computation: that of the data."""
    return np.float64 if data.dtype.itemsize == 8 else np.float32
