"""A warp as it is looked at: stamps at a place, quality over the field, noise of blank sky."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from astropy.table import Row, Table

from corontools.arrays.detect import dilated, gaussian_kernel, smoothed
from corontools.arrays.matching import resized
from corontools.arrays.mesh import mesh_background
from corontools.calibrate.look_field import Field
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import UNUSABLE, Plane
from corontools.calibrate.psf import PSF
from corontools.exposure import Exposure
from corontools.warp.coadd import Coadd
from corontools.warp.mosaic import Matches
from corontools.warp.places import stamps
from corontools.warp.warp import Warp

__all__ = [
    "QUALITY",
    "Noise",
    "Stamps",
    "blank_sky",
    "exposure_of",
    "field",
    "noise",
    "stamps_at",
]

# what is drawn over the field, in words
QUALITY = {"peak": "peak residual", "size": "size, matched over model", "shape": "ellipticity, matched PSF"}
# pixels that aren't blank sky
TAINTED = UNUSABLE | Plane.CR | Plane.INTRP | Plane.DETECTED | Plane.DETECTED_NEGATIVE | Plane.CLIPPED
# significance from which on a pixel belongs to a source, and how many sigma of the PSF this is grown by
SOURCE, GROWN = 3.5, 5.0
# px of the boxes of the sky's level
BOX = 64
MAD = 1.482602218505602
# bins of the histogram of image over noise
EDGES = np.linspace(-5, 5, 81)


@dataclass(frozen=True, eq=False)
class Stamps:
    """What a match does at a place.

    Attributes
    ----------
    x, y : float
        The place, px.
    kernel, source, matched, residual : ndarray, shape (size, size)
        The kernel; and on stamps of one size the PSF before, after, and that less the model.
    peak : float
        Of the model.
    numbers : Row
        Of `Matched.quality_at`.
    """

    x: float
    y: float
    kernel: np.ndarray
    source: np.ndarray
    matched: np.ndarray
    residual: np.ndarray
    peak: float
    numbers: Row

    @property
    def images(self) -> Mapping[str, np.ndarray]:
        """The four, by what they are."""
        return {
            "kernel": self.kernel,
            "PSF before": self.source,
            "PSF after": self.matched,
            "after less model": self.residual,
        }


def stamps_at(matches: Matches, x: float, y: float) -> Stamps:
    """Kernel, PSF before and after, and residual at a place on the image."""
    part = matches.part_at(x, y)
    one = part.matched
    px, py = np.array([x - part.box.x0]), np.array([y - part.box.y0])
    size = max(one.kernel.size, one.source.size)
    before, model = (stamps(psf, px, py, size)[0] for psf in (one.source, one.model))
    after = resized(one.psf_at(px, py), size)[0]
    return Stamps(
        x, y, one.kernel.at(px, py)[0], before, after, after - model, float(model.max()), one.quality_at(px, py)[0]
    )


def field(quality: Table, what: str) -> Field:
    """What is drawn of a match over the field.

    Parameters
    ----------
    quality : Table
        Of `Matches.quality`.
    what : {"peak", "size", "shape"}
        Peak residual over the peak of the model, or how much wider the matched PSF is than the model, both in percent
        and upwards; or ellipticity of the matched PSF.
    """
    x, y = (np.asarray(quality[axis], float) for axis in "xy")
    if what == "shape":
        e1, e2 = (np.asarray(quality[name], float) for name in ("e1", "e2"))
        length, angle = np.hypot(e1, e2), np.arctan2(e2, e1) / 2
        return Field(x, y, length * np.cos(angle), length * np.sin(angle))
    if what == "peak":
        return Field(x, y, np.zeros(len(x)), 100 * np.asarray(quality["peak"], float), "%")
    error = np.asarray(quality["size_error"], float)
    return Field(x, y, np.zeros(len(x)), 100 * error / (np.asarray(quality["size"], float) - error), "%")


class Noise(NamedTuple):
    """Blank sky over the square root of its variance.

    Attributes
    ----------
    width : float
        Robust standard deviation (1.4826 times the median deviation from the median); 1 where the variance is right.
    n : int
        Pixels.
    density : ndarray, shape (n_bin,)
        Histogram of total 1, in the bins of `EDGES`.
    """

    width: float
    n: int
    density: np.ndarray


def exposure_of(seen: Warp | Coadd) -> Exposure:
    """The image of a warp or coadd with the pixels of its patch."""
    scale = seen.patch.tract.tiling.pixel_scale
    meta = replace(seen.meta, pixel_scale=scale, center=None)
    return Exposure(np.asarray(seen.frame.image), meta=meta, wcs=seen.wcs)


def blank_sky(frame: MaskedImage, psf: PSF | None) -> np.ndarray:
    """Pixels (y, x) of a frame that show no source, no artefact and no gap.

    Sources are what stands out of the noise after smoothing with a Gaussian of the PSF's size, and what is around.
    """
    known = ~frame.has(TAINTED) & np.isfinite(frame.image) & np.isfinite(frame.variance) & (frame.variance > 0)
    if not known.any():
        return known
    rows, columns = np.nonzero(known)
    sigma = np.nan if psf is None else float(psf.sigma([columns.mean()], [rows.mean()])[0])
    sigma = sigma if np.isfinite(sigma) else 2.0
    level = _level(frame.image, known)
    found = smoothed(
        np.where(known, frame.image - level, 0).astype(np.float32), np.where(known, frame.variance, 1), ~known,
        kernel=gaussian_kernel(sigma),
    )  # fmt: skip
    # neighbours share noise, so that its own scatter counts, not what the variances promise
    significance = np.abs(np.nan_to_num(found.significance))
    sources = significance > SOURCE * max(1.0, float(MAD * np.median(significance[known])))
    blank: np.ndarray = known & ~dilated(sources, radius=int(np.ceil(GROWN * sigma)))
    return blank


def _level(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    found = mesh_background(np.where(known, image, 0), known, box=(BOX, BOX), smooth=3)
    return np.full(image.shape, np.median(image[known]), np.float32) if found is None else found


def noise(frame: MaskedImage, blank: np.ndarray) -> Noise:
    """How wide the values of blank pixels are in units of their noise, after their level is subtracted."""
    here = blank & ~frame.has(Plane.NO_DATA) & np.isfinite(frame.image) & (frame.variance > 0)
    n = int(np.count_nonzero(here))
    if n == 0:
        return Noise(np.nan, 0, np.zeros(len(EDGES) - 1))
    values = (frame.image - _level(frame.image, here))[here] / np.sqrt(frame.variance[here])
    values = values - np.median(values)
    counts = np.histogram(values, EDGES)[0]
    return Noise(float(MAD * np.median(np.abs(values))), n, counts / (n * (EDGES[1] - EDGES[0])))
