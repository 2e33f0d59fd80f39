"""Sources of a frame detected by their significance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from astropy.table import Table

from corontools.arrays import detect as pixels
from corontools.arrays.detect import Regions, Smoothed
from corontools.calibrate.detections import Detections
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import PSF

__all__ = ["SourceDetector"]

FOUND = Plane.DETECTED | Plane.DETECTED_NEGATIVE


class Fitter(Protocol):
    """What fits a background; `BackgroundFitter` does."""

    def fit(self, masked: MaskedImage) -> Any:
        """Something whose `image()` is the background, (y, x)."""
        ...


@dataclass(frozen=True)
class SourceDetector:
    """Detects sources in a frame smoothed by a round Gaussian as wide as the PSF.

    Parameters
    ----------
    threshold : float
        Significance, in standard deviations of the smoothed frame, down to which footprints reach.
    multiplier : float
        A footprint counts if its peak has `multiplier` times that significance.
    min_pixels : int
        Least pixels of a footprint, before it is grown.
    grow : float
        Footprints are grown by so many sigma of the PSF, in all directions; those that then touch become one.
    kernel_width : float
        Width of the kernel, in sigma of the PSF. Half of it along the border is EDGE and has no sources.
    local_background : fitter, optional
        Fits what is taken away from the smoothed frame before peaks are looked for again in footprints with several:
        noise in the wings of bright stars makes fewer. `BackgroundFitter(64, "akima")` suits.
    negative : bool
        Mark in DETECTED_NEGATIVE what is as significant, and negative.

    Examples
    --------
    >>> from corontools.calibrate.psf import GaussianPSF
    >>> psf, rng = GaussianPSF.of_fwhm(4.0), np.random.default_rng(1)
    >>> image = rng.normal(0, 1, (64, 80)); image[10:51, 20:61] += 500 * psf.kernels([0], [0])[0]
    >>> frame = MaskedImage(image, np.zeros(image.shape, np.int32), np.ones(image.shape))
    >>> SourceDetector().detect(frame, psf).peaks["x", "y"].as_array().tolist()
    [(40, 30)]
    """

    threshold: float = 10.0
    multiplier: float = 5.0
    min_pixels: int = 1
    grow: float = 2.4
    kernel_width: float = 7.0
    local_background: Fitter | None = None
    negative: bool = False

    @classmethod
    def of_stars(cls, local_background: Fitter | None = None) -> SourceDetector:
        """For the final catalogue: footprints to 5 sigma with peaks of 10."""
        return cls(threshold=5.0, multiplier=2.0, local_background=local_background)

    def detect(self, masked: MaskedImage, psf: PSF, background_fitter: Fitter | None = None) -> Detections:
        """Footprints and peaks of a frame from which the background is subtracted.

        Parameters
        ----------
        masked : MaskedImage
            Earlier DETECTED planes are cleared. NO_DATA pixels aren't in the sums, nor BAD ones that weren't
            interpolated.
        psf : PSF
            Its sigma in the middle of the frame counts.
        background_fitter : fitter, optional
            Fits the background again where nothing was detected; it is subtracted from the frame of the result.

        Raises
        ------
        DataError
            If the frame is smaller than the kernel, or the background can't be fitted.
        """
        masked = masked.cleared(FOUND)
        ny, nx = masked.shape
        sigma = float(psf.sigma([(nx - 1) / 2], [(ny - 1) / 2])[0])
        kernel = pixels.gaussian_kernel(sigma, width=self.kernel_width)
        smooth, edge = self._smoothed(masked, kernel)
        found = self._regions(smooth)
        if self.local_background is not None:
            found = found._replace(peaks=self._peaks_again(found, smooth, self.local_background.fit(masked).image()))
        radius = int(self.grow * sigma + 0.5)
        labels, n = pixels.labelled(pixels.dilated(found.labels > 0, radius=radius))
        marked = masked.marked(edge, Plane.EDGE).marked(labels > 0, Plane.DETECTED)
        if self.negative:
            below = self._regions(Smoothed(-smooth.height, -smooth.significance))
            marked = marked.marked(pixels.dilated(below.labels > 0, radius=radius), Plane.DETECTED_NEGATIVE)
        tables = _tables(labels, n, found.peaks, smooth)
        background = None if background_fitter is None else background_fitter.fit(marked)
        if background is not None:
            marked = marked.with_(image=marked.image - background.image())
        return Detections(labels, *tables, marked, background, sigma=sigma, threshold=self.threshold)

    def _smoothed(self, masked: MaskedImage, kernel: np.ndarray) -> tuple[Smoothed, np.ndarray]:
        """Smoothed frame and its edge, which has no significance."""
        bad = masked.has(Plane.BAD) & ~masked.has(Plane.INTRP)
        smooth = pixels.smoothed(masked.image, masked.variance, bad | masked.has(Plane.NO_DATA), kernel=kernel)
        half = kernel.size // 2
        edge = np.ones(masked.shape, bool)
        edge[half : masked.shape[0] - half, half : masked.shape[1] - half] = False
        smooth.significance[edge] = np.nan
        return smooth, edge

    def _regions(self, smooth: Smoothed) -> Regions:
        at_least = self.threshold * self.multiplier
        return pixels.regions(smooth, threshold=self.threshold, at_least=at_least, min_pixels=self.min_pixels)

    def _peaks_again(self, found: Regions, smooth: Smoothed, local: np.ndarray) -> np.ndarray:
        """Peaks of footprints with several, above the local background; the highest stays if there is none."""
        of = found.labels[*found.peaks.T]
        many = np.bincount(of, minlength=found.labels.max() + 1) > 1
        y, x = np.nonzero(found.labels)
        y, x = (axis[many[found.labels[y, x]]] for axis in (y, x))
        height = smooth.height - local
        inside = np.zeros(height.shape, bool)
        inside[y, x] = height[y, x] * smooth.significance[y, x] > self.threshold * smooth.height[y, x]
        again = pixels.peaks(smooth._replace(height=height), found.labels, inside=inside)
        first = np.concatenate([[True], of[1:] != of[:-1]]) if of.size else np.zeros(0, bool)
        renewed = np.isin(of, found.labels[*again.T])
        every = np.concatenate([found.peaks[first & ~renewed], again])
        return every[np.lexsort((-smooth.height[*every.T], found.labels[*every.T]))]


def _tables(labels: np.ndarray, n: int, places: np.ndarray, smooth: Smoothed) -> tuple[Table, Table]:
    """Tables of footprints and peaks."""
    of, height = labels[*places.T], smooth.height[*places.T]
    order = np.lexsort((-height, of))
    places, of = places[order], of[order]
    y, x = places.T
    peaks = Table(
        {
            "id": np.arange(1, len(of) + 1),
            "footprint": of.astype(np.int64),
            "x": x,
            "y": y,
            "significance": smooth.significance[y, x].astype(float),
            "height": height[order].astype(float),
        }
    )
    boxes, counts, _ = pixels.extents(labels, smooth.significance, n)
    highest = np.full(n, -np.inf)
    np.maximum.at(highest, of - 1, peaks["significance"])
    footprints = Table(
        {
            "id": np.arange(1, n + 1),
            **dict(zip(("x_min", "y_min", "x_max", "y_max"), boxes.T, strict=True)),
            "n_pixels": counts,
            "n_peaks": np.bincount(of, minlength=n + 1)[1:],
            "significance": highest,
            "sky_source": np.zeros(n, bool),
        }
    )
    for table, names in ((footprints, ("x_min", "y_min", "x_max", "y_max")), (peaks, ("x", "y"))):
        for name in names:
            table[name].unit = "pix"
    return footprints, peaks
