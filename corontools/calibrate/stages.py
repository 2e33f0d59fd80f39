"""What each stage of a calibration hands on to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from corontools.calibrate.background import BackgroundList
from corontools.calibrate.cosmic import CosmicRays
from corontools.calibrate.detections import Detections
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import PSF, GaussianPSF
from corontools.calibrate.psffit import PSFFit
from corontools.calibrate.select import StarSelection
from corontools.calibrate.stars import match_psf_stars
from corontools.calibrate.steps import Steps
from corontools.calibrate.targets import Sources
from corontools.errors import DataError

__all__ = ["Found", "Modelled", "Pass", "Repaired", "find_stars", "model_psf", "repair"]

# px within which a star of the PSF is the same as one of the catalogue, at least
NEAR = 3.0
PASSES = 2


@dataclass(frozen=True, eq=False)
class Repaired:
    """A frame before anything is measured.

    Attributes
    ----------
    frame : MaskedImage
        Less the sky; cosmic rays are flagged and left as they are, and so are bad pixels.
    psf : PSF
        Stands for that of the stars.
    backgrounds : BackgroundList
        The first round.
    rays : CosmicRays
    """

    frame: MaskedImage
    psf: PSF
    backgrounds: BackgroundList
    rays: CosmicRays


@dataclass(frozen=True, eq=False)
class Pass:
    """One pass of detection, measurement and fit: with which PSF it was measured, and what came out."""

    psf: PSF
    detections: Detections
    selection: StarSelection
    fit: PSFFit


@dataclass(frozen=True, eq=False)
class Modelled:
    """A frame with its PSF.

    Attributes
    ----------
    frame : MaskedImage
        Less the sky, cosmic rays and bad pixels replaced.
    backgrounds : BackgroundList
        One round more for each pass.
    passes : tuple of Pass
    rays : CosmicRays
        Found with the final PSF.
    table : Table
        All sources of the last pass, measured with the final PSF; calib_psf_candidate tells the stars.
    """

    frame: MaskedImage
    backgrounds: BackgroundList
    passes: tuple[Pass, ...]
    rays: CosmicRays
    table: Table

    @property
    def psf(self) -> PSF:
        """The fitted PSF."""
        return self.passes[-1].fit.psf


@dataclass(frozen=True, eq=False)
class Found:
    """Stars of the final catalogue.

    Attributes
    ----------
    frame : MaskedImage
        Less the sky of all rounds.
    backgrounds : BackgroundList
    detections : Detections
    sources : Sources
        After deblending.
    table : Table
        All sources.
    good : ndarray of bool, shape (n,)
        Rows that make the catalogue.
    """

    frame: MaskedImage
    backgrounds: BackgroundList
    detections: Detections
    sources: Sources
    table: Table
    good: np.ndarray


def repair(frame: MaskedImage, steps: Steps) -> Repaired:
    """Subtract a first sky and flag cosmic rays."""
    entry = steps.background.fit(frame)
    rays = steps.cosmic_rays.find(entry.subtract(frame), steps.initial_psf)
    return Repaired(rays.flagged, steps.initial_psf, BackgroundList((entry,)), rays)


def model_psf(start: Repaired, steps: Steps) -> Modelled:
    """Fit the PSF in two passes; the second begins with a Gaussian as wide as the PSF of the first.

    Cosmic rays are looked for in the frame whose bad pixels aren't filled: what touches a filled one can't be judged.
    """
    frame, psf, backgrounds, passes = start.frame, start.psf, start.backgrounds, []
    for k in range(PASSES):
        if k:
            frame = steps.cosmic_rays.find(frame, psf).flagged
        made = _pass(steps.defects.fill(frame), psf, steps)
        found = made.detections
        if found.background is not None:
            frame = frame.with_(image=frame.image - found.background.image())
            backgrounds = BackgroundList((*backgrounds, found.background))
        passes.append(made)
        psf = _gaussian_like(made.fit.psf, frame.shape)
    fit = passes[-1].fit
    rays = steps.cosmic_rays.find(frame, fit.psf)
    clean = _with_sources(steps.defects.fill(rays.repaired), found)
    table = steps.psf_measurement.measure(clean, found, fit.psf)
    return Modelled(clean, backgrounds, tuple(passes), rays, fit.flagged(table))


def find_stars(start: Modelled, steps: Steps, *, corrections: Any, psf_stars: Table, seed: int) -> Found:
    """Detect deeper, part blends, measure everything and choose the good stars."""
    detections = steps.star_detection.detect(start.frame, start.psf, steps.background)
    frame, backgrounds = detections.masked, start.backgrounds
    if detections.background is not None:
        backgrounds = BackgroundList((*backgrounds, detections.background))
    detections = steps.sky_sources.add(detections, seed)
    sources = steps.deblender.deblend(frame, detections, start.psf)
    skipped = np.asarray(sources.table["footprint"])[np.asarray(sources.table["deblend_skipped"])]
    frame = frame.marked(np.isin(detections.labels, skipped), Plane.NOT_DEBLENDED)
    table = corrections.apply(steps.measurement.measure(frame, sources, start.psf))
    radius = max(NEAR, float(_gaussian_like(start.psf, frame.shape).width))
    table = match_psf_stars(psf_stars, table, radius=radius)
    return Found(frame, backgrounds, detections, sources, table, steps.science.select(table))


def _pass(frame: MaskedImage, psf: PSF, steps: Steps) -> Pass:
    detections = steps.psf_detection.detect(frame, psf, steps.background)
    if not len(detections):
        raise DataError(
            "no source was detected to make a PSF of; is the variance too large, or the frame empty? a lower threshold "
            "is psf_detection={'threshold': ..., 'multiplier': ...}"
        )
    table = steps.psf_measurement.measure(detections.masked, detections, psf)
    selection = steps.star_selector.select(table)
    return Pass(psf, detections, selection, steps.psf_fitter.fit(detections.masked, table, selection=selection))


def _with_sources(frame: MaskedImage, detections: Detections) -> MaskedImage:
    """The frame with the planes that detection set."""
    planes = np.int32(Plane.DETECTED | Plane.DETECTED_NEGATIVE | Plane.EDGE)
    return frame.with_(mask=frame.mask & ~planes | detections.masked.mask & planes)


def _gaussian_like(psf: PSF, shape: tuple[int, int]) -> GaussianPSF:
    """A Gaussian as wide as a PSF in the middle of the frame, on stamps of its size."""
    middle = [(shape[1] - 1) / 2], [(shape[0] - 1) / 2]
    return GaussianPSF(float(psf.sigma(*middle)[0]), psf.size)
