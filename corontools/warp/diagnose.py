"""Faults of a match, looked for by measurement, and the options that mend them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import fft

from corontools.arrays.fourier import fourier_kernels
from corontools.arrays.matching import resized
from corontools.calibrate.psf import PSF
from corontools.warp.diagnosis import Diagnosis, Finding
from corontools.warp.match import SMALLEST_CELL, FourierMatcher, PSFMatcher
from corontools.warp.matched import Matched
from corontools.warp.model import ModelPSF
from corontools.warp.places import lattice, stamps

__all__ = ["diagnose"]

# part of the ideal kernel outside of the kernel's box that makes a match boxy, and what a remedy leaves at most
BOXY, BOXED = 0.03, 0.025
# peak residual that the kernel at one place alone wouldn't have
DIPOLE = 0.005
# greatest gain at any frequency
GAIN = 1.5
# part of the noise at frequencies that the model lacks, below this amplitude
ROUGH, LACKING = 0.35, 0.01
# sum of absolute residuals that remains in the wings
WINGS = 0.05
# places at which the ideal kernel is looked at, and its damping
SAMPLE, DAMPING = 9, 1e-4
# greatest kernel that is proposed, px
GREATEST = 101
# steps of the FWHM that are tried, and the greatest, over that of now
FWHM_STEP, FWHM_MOST = 0.1, 3.0


class _Trial(NamedTuple):
    """What a matcher reaches at the places of a match."""

    matched: Matched
    peak: float
    total: float


def diagnose(matched: Matched) -> Diagnosis:
    """Look for the faults that a match can have, and try options that mend them.

    =============== ============================================== ==================================================
    fault           measured                                       remedy
    =============== ============================================== ==================================================
    deconvolution   greatest gain of the kernel at any frequency:  wider model
                    ripples in the noise
    boxy            part of the ideal kernel, found by Fourier     larger `kernel_size`, and wider `sigmas` that fill
                    transforms, outside of the kernel's box        it
    dipoles         peak residual beyond that of a kernel made     more `auto_pad`, smaller `cell`, higher `order`
                    for the worst place alone: dipoles,
                    quadrupoles, rings
    high frequency  part of the noise at frequencies that the      wider `sigmas`, or more `damping`
                    model lacks: grain, checks
    wings           sum of absolute residuals                      `FourierMatcher`
    =============== ============================================== ==================================================

    Each remedy is solved for at the same places, and the first that mends the fault, or the best one, is proposed.

    Examples
    --------
    >>> from corontools.calibrate.masked import MaskedImage
    >>> from corontools.calibrate.psf import GaussianPSF
    >>> image = MaskedImage(np.zeros((101, 101), np.float32), np.zeros((101, 101), np.int32), np.ones((101, 101)))
    >>> found = diagnose(PSFMatcher(cell=64).match(image, GaussianPSF.of_fwhm(3.5), ModelPSF(6.0)))
    >>> "boxy" in found.faults, found.matcher.kernel_size > 21
    (True, True)
    """
    now = _measured(matched)
    trial, findings = now, []
    for look in (_deconvolution, _boxy, _dipoles, _high_frequency, _wings):
        finding, trial = look(trial)
        findings.append(finding)
    return Diagnosis(
        tuple(findings), now.peak, now.total, trial.matched.matcher, trial.matched.model, trial.peak, trial.total
    )


def _measured(matched: Matched) -> _Trial:
    residual = np.abs(matched.residual_at(matched.x, matched.y))
    model = stamps(matched.model, matched.x, matched.y, matched.size).max(axis=(1, 2))
    return _Trial(matched, float((residual.max(axis=(1, 2)) / model).max()), float(residual.sum(axis=(1, 2)).max()))


def _tried(trial: _Trial, matcher: Any, model: PSF | None = None) -> _Trial:
    """The same PSF with another matcher or model; the frame isn't convolved."""
    of, model = trial.matched, model or trial.matched.model
    places = (of.x, of.y) if matcher.cell == of.matcher.cell else _lattice(of, matcher.cell, matcher.order)
    kernel = matcher.kernel(of.source, model, *places, shape=of.kernel.shape)
    return _measured(Matched(of.frame, kernel, of.source, model, of.x, of.y, matcher))


def _lattice(matched: Matched, cell: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Places over the whole image."""
    return lattice(np.ones(matched.kernel.shape, bool), cell, order)


def _best(trials: Iterable[_Trial], enough: float) -> _Trial:
    """The first whose peak residual is small enough, else the best."""
    seen: list[_Trial] = []
    for trial in trials:
        seen.append(trial)
        if trial.peak <= enough:
            return trial
    return min(seen, key=lambda trial: trial.peak)


def _sample(matched: Matched) -> tuple[np.ndarray, np.ndarray]:
    """A few places over the image, that of the smallest and of the largest PSF among them."""
    peaks = np.asarray(matched.source.kernels(matched.x, matched.y)).max(axis=(1, 2))
    spread = np.linspace(0, len(peaks) - 1, min(SAMPLE, len(peaks))).round().astype(int)
    chosen = np.unique([*spread, int(peaks.argmin()), int(peaks.argmax())])
    return matched.x[chosen], matched.y[chosen]


def _ideal(matched: Matched, model: PSF) -> np.ndarray:
    """Kernels by Fourier transforms on stamps so large that nothing is cut off, (n, size, size)."""
    x, y = _sample(matched)
    size = max(2 * GREATEST - 1, matched.source.size)
    found, wanted = stamps(matched.source, x, y, size), stamps(model, x, y, size)
    return fourier_kernels(found, wanted, size=size, damping=DAMPING)


def _outside(kernels: np.ndarray, size: int) -> float:
    """Largest part of the kernels outside of a box."""
    whole = np.abs(kernels).sum(axis=(1, 2))
    inside = np.abs(resized(kernels, size)).sum(axis=(1, 2))
    return float((1 - inside / whole).max())


def _gain(kernels: np.ndarray) -> float:
    """Greatest gain at any frequency."""
    side = max(64, kernels.shape[1])
    return float(np.abs(fft.rfft2(kernels, (side, side))).max())


def _deconvolution(trial: _Trial) -> tuple[Finding, _Trial]:
    matched, meaning = trial.matched, "greatest gain at any frequency"
    value = _gain(matched.kernel.at(matched.x, matched.y))
    finding = Finding("deconvolution", value, GAIN, meaning)
    if not finding.found:
        return finding, trial
    if not isinstance(matched.model, ModelPSF):
        return finding._replace(remedy="match to a wider model"), trial
    # the kernel in use may amplify for want of room: only a model that is too narrow makes the ideal one do so
    now = matched.model.fwhm
    for fwhm in np.arange(now, FWHM_MOST * now, FWHM_STEP):
        model = ModelPSF(round(float(fwhm), 2), wing=matched.model.wing, widening=matched.model.widening)
        ideal = _gain(_ideal(matched, model))
        if ideal <= GAIN:
            break
    if fwhm == now:
        return finding._replace(value=ideal), trial
    return finding._replace(remedy=f"match to ModelPSF({model.fwhm:g})"), _tried(trial, matched.matcher, model)


def _boxy(trial: _Trial) -> tuple[Finding, _Trial]:
    matched, matcher = trial.matched, trial.matched.matcher
    ideal = _ideal(matched, matched.model)
    finding = Finding("boxy", _outside(ideal, matched.kernel.size), BOXY, "part of the ideal kernel outside the box")
    if not finding.found:
        return finding, trial
    sizes = range(matched.kernel.size + 2, GREATEST + 1, 2)
    size = next((n for n in sizes if _outside(ideal, n) <= BOXED), GREATEST)
    if isinstance(matcher, FourierMatcher):
        best = _tried(trial, matcher.with_(kernel_size=size))
        return finding._replace(remedy=f"kernel_size={size}"), best
    wider = (matcher.with_(kernel_size=size, sigmas=_widened(matcher.sigmas, by)) for by in (1.0, 1.5, 2.0, 3.0))
    best = min((_tried(trial, one) for one in wider), key=lambda one: one.total)
    return finding._replace(remedy=f"kernel_size={size}, sigmas={best.matched.matcher.sigmas}"), best


def _dipoles(trial: _Trial) -> tuple[Finding, _Trial]:
    matched, matcher = trial.matched, trial.matched.matcher
    peaks = matched.quality["peak"]
    worst = int(np.argmax(peaks))
    x, y = matched.x[worst : worst + 1], matched.y[worst : worst + 1]
    kernel = matcher.with_(order=0).kernel(matched.source, matched.model, x, y, shape=matched.kernel.shape)
    alone = _measured(Matched(matched.frame, kernel, matched.source, matched.model, x, y, matcher)).peak
    meaning = "peak residual beyond that of a kernel for one place"
    finding = Finding("dipoles", float(peaks[worst]) - alone, DIPOLE, meaning)
    if not finding.found:
        return finding, trial
    changes = _finer(matched)
    if not changes:
        return finding._replace(remedy="a smaller cell, so that a higher order is determined"), trial
    best = _best((_tried(trial, matcher.with_(**change)) for change in changes), alone + DIPOLE)
    return finding._replace(remedy=_written(matcher, best.matched.matcher)), best


def _high_frequency(trial: _Trial) -> tuple[Finding, _Trial]:
    matched, matcher = trial.matched, trial.matched.matcher
    finding = Finding("high frequency", _rough(matched), ROUGH, "part of the noise at frequencies the model lacks")
    if not finding.found:
        return finding, trial
    changes: list[dict[str, Any]] = [{"damping": max(10 * matcher.damping, 1e-3)}, {"damping": 1e-2}]
    if isinstance(matcher, PSFMatcher):
        changes = [{"sigmas": _widened(matcher.sigmas, by)} for by in (1.5, 2.0)] + changes
    tried = [_tried(trial, matcher.with_(**change)) for change in changes]
    smooth = [one for one in tried if _rough(one.matched) <= ROUGH]
    best = min(smooth, key=lambda one: one.total) if smooth else min(tried, key=lambda one: _rough(one.matched))
    return finding._replace(remedy=_written(matcher, best.matched.matcher)), best


def _wings(trial: _Trial) -> tuple[Finding, _Trial]:
    matcher = trial.matched.matcher
    finding = Finding("wings", trial.total, WINGS, "sum of absolute residuals after the remedies")
    if finding.found and isinstance(matcher, FourierMatcher):
        return finding._replace(remedy="wider stamps of the PSF"), trial
    if not finding.found:
        return finding, trial
    fourier = FourierMatcher(cell=matcher.cell, order=matcher.order, missing=matcher.missing, aliasing=matcher.aliasing)
    return finding._replace(remedy=repr(fourier)), _tried(trial, fourier)


def _rough(matched: Matched) -> float:
    """Part of the convolved noise's power where the model has next to no amplitude, the largest of a few places."""
    x, y = _sample(matched)
    side = max(64, matched.kernel.size)
    power = np.abs(fft.fft2(matched.kernel.at(x, y), (side, side))) ** 2
    model = np.abs(fft.fft2(stamps(matched.model, x, y, side - 1 + side % 2), (side, side)))
    return float(((power * (model < LACKING)).sum(axis=(1, 2)) / power.sum(axis=(1, 2))).max())


def _finer(matched: Matched) -> list[dict[str, Any]]:
    """Options that give the matcher more to fit, and those that let the kernel change faster over the image."""
    matcher = matched.matcher
    changes: list[dict[str, Any]] = []
    if isinstance(matcher, PSFMatcher) and matcher.auto_pad is not None:
        changes += [{"auto_pad": round(more * matcher.auto_pad, 2)} for more in (8 / 7, 10 / 7)]
    # where a part of the image has no data, places can't be told from here
    whole = len(matched.x) == len(_lattice(matched, matcher.cell, matcher.order)[0])
    if whole and matcher.cell >= 2 * SMALLEST_CELL:
        changes.append({"cell": matcher.cell // 2})
    few = min(len(np.unique(matched.x)), len(np.unique(matched.y)))
    orders = range(matcher.order + 1, min(matcher.order + 4, few))
    return changes + [{"order": order} for order in orders if (order + 1) * (order + 2) // 2 <= len(matched.x)]


def _widened(sigmas: tuple[float, ...], by: float) -> tuple[float, ...]:
    return tuple(round(by * sigma, 2) for sigma in sigmas)


def _written(before: Any, after: Any) -> str:
    """Options that differ, as code."""
    names = [name for name in vars(before) if name in after.__dataclass_fields__]
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    return ", ".join(f"{name}={getattr(after, name)!r}" for name in changed)
