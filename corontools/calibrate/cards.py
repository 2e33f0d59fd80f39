"""What the card of a calibrated frame tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from corontools.calibrate.image import CalibratedImage

__all__ = ["pictures", "rows"]

# pixels of a picture of the frame, so that a notebook stays small
SIDE = 256


def rows(calibrated: CalibratedImage) -> list[tuple[str, str]]:
    """What was done so far, one row for each step."""
    ny, nx = calibrated.start.shape
    told = [("image", f"{ny} x {nx} px of {calibrated.exposure.meta.title}")]
    for step in (_repaired, _psf, _corrections, _astrometry, _stars, _photometry):
        told += step(calibrated)
    return told


def _repaired(calibrated: CalibratedImage) -> list[tuple[str, str]]:
    if calibrated.repaired is None:
        return [("next", ".repair()")]
    rays = (calibrated.modelled or calibrated.repaired).rays
    factor, unit = _unit(calibrated)
    return [
        ("background", f"{calibrated.backgrounds.sky * factor:.5g} {unit}, {len(calibrated.backgrounds)} rounds"),
        ("cosmic rays", f"{len(rays)} in {rays.n_pixels} px"),
    ]


def _psf(calibrated: CalibratedImage) -> list[tuple[str, str]]:
    if calibrated.modelled is None:
        return []
    fit = calibrated.modelled.passes[-1].fit
    summary = calibrated.summary
    told = [("PSF", f"sigma {summary['psfSigma']:.3f} px; {fit}")]
    if np.isfinite(summary["psfStarDeltaSizeMedian"]):
        told.append(
            ("stars less PSF", f"size {summary['psfStarDeltaSizeMedian']:+.4f} +- "
             f"{summary['psfStarDeltaSizeScatter']:.4f} px, e1 {summary['psfStarDeltaE1Median']:+.4f} +- "
             f"{summary['psfStarDeltaE1Scatter']:.4f}, e2 {summary['psfStarDeltaE2Median']:+.4f} +- "
             f"{summary['psfStarDeltaE2Scatter']:.4f}")
        )  # fmt: skip
    return told


def _corrections(calibrated: CalibratedImage) -> list[tuple[str, str]]:
    if calibrated.corrections is None:
        return []
    return [("aperture corrections", str(calibrated.corrections).replace("\n", "; "))]


def _astrometry(calibrated: CalibratedImage) -> list[tuple[str, str]]:
    fit = calibrated.astrometry
    if fit is None:
        return []
    apart = f"{1000 * fit.offset_mean:.0f} +- {1000 * fit.offset_std:.0f} mas apart"
    off = f"the pointing was {fit.shift:.1f} px and {fit.rotation:.3f}° off"
    return [("astrometry", f"{len(fit.matches)} pairs, {apart}; {off}")]


def _stars(calibrated: CalibratedImage) -> list[tuple[str, str]]:
    found = calibrated.found
    if found is None:
        return []
    sky = int(np.asarray(found.table["sky_source"])[found.good].sum())
    good = int(found.good.sum()) - sky
    return [("stars", f"{good} good ones and {sky} places of the sky, of {len(found.table)} sources")]


def _photometry(calibrated: CalibratedImage) -> list[tuple[str, str]]:
    fit = calibrated.photometry
    if fit is None:
        return []
    used = int(np.sum(fit.matches["photometry_used"]))
    return [
        ("zero point", f"{fit.zero_point:.4f} +- {fit.err:.4f} mag (AB) from {used} of {len(fit.matches)} stars, "
         f"scatter {fit.scatter:.3f} mag; {fit.flux} and {fit.band}"),
        ("limit", f"{calibrated.summary['magLim']:.2f} mag (S/N 5)"),
    ]  # fmt: skip


def _unit(calibrated: CalibratedImage) -> tuple[float, str]:
    if calibrated.photometry is None:
        return 1.0, calibrated.exposure.meta.unit or "counts"
    return calibrated.photometry.calibration_mean, "nJy"


def pictures(calibrated: CalibratedImage) -> Sequence[Any]:
    """The frame, and the residuals of the PSF stars once there are any."""
    from corontools.display import quick

    frame = calibrated.frame
    step = -(-max(frame.shape) // SIDE)
    shown = np.array(frame.image[::step, ::step])
    made = [quick.image_picture(shown, "frame")]
    if calibrated.modelled is not None:
        made.append(quick.image_picture(calibrated.psf.kernels(*_middle(calibrated))[0], "PSF in the middle"))
    return made


def _middle(calibrated: CalibratedImage) -> tuple[list[float], list[float]]:
    ny, nx = calibrated.start.shape
    return [(nx - 1) / 2], [(ny - 1) / 2]
