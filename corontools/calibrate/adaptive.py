"""Detection with a threshold that suits how crowded a frame is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from corontools.calibrate.detect import Fitter, SourceDetector
from corontools.calibrate.detections import Detections
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.psf import PSF

__all__ = ["AdaptiveDetector"]


@dataclass(frozen=True)
class AdaptiveDetector:
    """Detects with the threshold raised in crowded frames, and lowered in empty ones.

    Parameters
    ----------
    detector : SourceDetector
        Its threshold is the first that is tried, its multiplier stays.
    max_peaks : int
        With more peaks than these, or a fifth of them in one footprint, the threshold is raised by a factor of 1.2 to
        1.7, more where there are more.
    few : int
        With so many footprints, or fewer, it is lowered by a factor of 0.85.
    isolated : int
        It is good with more footprints of one peak than this ...
    isolated_share : float
        ... if these are a greater share of all than this. Where there are too few of them in a frame that isn't
        crowded, it is lowered; where the share is too small, raised.
    least : float
        It isn't lowered below this.
    rounds : int
        Thresholds tried. Nor is it lowered after it was raised, or raised after it was lowered.
    """

    detector: SourceDetector = field(default_factory=SourceDetector)
    max_peaks: int = 3000
    few: int = 15
    isolated: int = 100
    isolated_share: float = 0.45
    least: float = 3.0
    rounds: int = 20

    def detect(self, masked: MaskedImage, psf: PSF, background_fitter: Fitter | None = None) -> Detections:
        """As `SourceDetector.detect`; the threshold found is in the result.

        Raises
        ------
        DataError
            As there.
        """
        threshold, before = self.detector.threshold, 1.0
        for _ in range(self.rounds):
            factor = self._factor(replace(self.detector, threshold=threshold).detect(masked, psf))
            turned = before != 1 and (factor > 1) != (before > 1)
            if factor == 1 or turned or threshold * factor < self.least:
                break
            threshold, before = threshold * factor, factor
        return replace(self.detector, threshold=threshold).detect(masked, psf, background_fitter)

    def _factor(self, found: Detections) -> float:
        """By what to change the threshold; 1 if it is good."""
        n_peaks = np.asarray(found.footprints["n_peaks"])
        alone = np.count_nonzero(n_peaks == 1)
        crowding = max(len(found.peaks) / self.max_peaks, n_peaks.max(initial=0) / (0.2 * self.max_peaks))
        if crowding > 1:
            return float(np.clip(np.sqrt(crowding), 1.2, 1.7))
        if len(found) <= self.few:
            return 0.85
        if alone <= self.isolated_share * len(found):
            return 1.2
        return 0.85 if alone <= self.isolated else 1.0
