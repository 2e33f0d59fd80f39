"""Stamps of the stars that a PSF is fitted to: pixels, which of them count, and the noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table

from corontools.arrays.chebyshev import chebyshev_at, fit_chebyshev
from corontools.calibrate.columns import column, flag
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.select import StarSelection
from corontools.errors import DataError

__all__ = [
    "BAD_PLANES",
    "CANDIDATE",
    "NonfinitePSFError",
    "PSFStars",
    "candidate_rows",
    "largest_pixels",
    "star_fluxes",
    "star_widths",
    "width_trend",
]

FLUXES = ("base_CircularApertureFlux_12_0_instFlux", "base_PsfFlux_instFlux")
CANDIDATE = "calib_psf_candidate"

# planes whose pixels tell nothing of the PSF
BAD_PLANES = Plane.BAD | Plane.SAT | Plane.INTRP | Plane.CR | Plane.NO_DATA
# width of the frame of a stamp in which the sky's variance is taken, px
FRAME = 4
# side of the box in which the largest pixel of a star is looked for, px
PEAK_BOX = 27
# rounds of clipping the widths, of so many median absolute deviations, and px
CLIPS, CLIP, LEAST = 3, 4.0, 1e-6


class NonfinitePSFError(DataError):
    """The fitted PSF has no finite, positive size."""


@dataclass(frozen=True, eq=False)
class PSFStars:
    """Stamps of n stars, the middle pixel is the one that holds the star.

    Attributes
    ----------
    x, y : ndarray, shape (n,)
        0-based, px.
    flux : ndarray, shape (n,)
    pixels : ndarray, shape (n, size, size)
        0 where a pixel doesn't count.
    good : ndarray of bool, shape (n, size, size)
        Pixels that count: on the image, in none of `BAD_PLANES`, and not of another detected source.
    sky : ndarray, shape (n,)
        Variance of the sky beside the star.
    slope : float
        Variance per unit of signal that stars add to that.
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    pixels: np.ndarray
    good: np.ndarray
    sky: np.ndarray
    slope: float

    @classmethod
    def cut(cls, masked: MaskedImage, x: np.ndarray, y: np.ndarray, flux: np.ndarray, *, size: int) -> PSFStars:
        """Stars of an image at places on it (n,)."""
        along = np.arange(size) - size // 2
        rows = np.floor(y + 0.5).astype(int)[:, None] + along
        columns = np.floor(x + 0.5).astype(int)[:, None] + along
        height, width = masked.shape
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
        place = np.clip(rows, 0, height - 1)[:, :, None], np.clip(columns, 0, width - 1)[:, None, :]
        pixels, mask, variance = (plane[place] for plane in (masked.image, masked.mask, masked.variance))
        good = inside & ((mask & np.int32(int(BAD_PLANES))) == 0) & np.isfinite(pixels) & (variance > 0)
        good &= ~_of_others((mask & np.int32(int(Plane.DETECTED))) != 0)
        pixels = np.where(good, pixels, 0).astype(np.float64)
        sky = _sky_variance(variance, good)
        return cls(x, y, flux, pixels, good, sky, _slope(pixels, variance, good, sky))

    @property
    def offsets(self) -> np.ndarray:
        """Star from the middle of its stamp, (n, 2), px."""
        place = np.stack([self.x, self.y], axis=1)
        return place - np.floor(place + 0.5)

    def of(self, which: np.ndarray) -> PSFStars:
        """Some of the stars."""
        parts = {name: getattr(self, name)[which] for name in ("x", "y", "flux", "pixels", "good", "sky")}
        return replace(self, **parts)

    def weights(self, images: np.ndarray, *, accuracy: float) -> np.ndarray:
        """Inverse variances of the pixels, (n, size, size), 0 where they don't count.

        The variance is that of the sky and of the star as it is expected, not as it was measured: noise that tells its
        own weight would bias the PSF.

        Parameters
        ----------
        images : ndarray, shape (n, size, size)
            Stars of flux 1 as expected.
        accuracy : float
            Part of the expected light by which the model may be wrong.
        """
        light = np.maximum(images, 0) * self.flux[:, None, None]
        return self.good / (self.sky[:, None, None] + self.slope * light + (accuracy * light) ** 2)

    def within(self, radius: float) -> np.ndarray:
        """Pixels of a stamp at most so far from its middle, (size, size)."""
        along = np.arange(self.pixels.shape[1]) - self.pixels.shape[1] // 2
        return np.hypot(along, along[:, None]) <= radius


def _of_others(detected: np.ndarray) -> np.ndarray:
    """Detected pixels that don't hang together with those in the middle of the stamp."""
    from corontools.arrays._psfbasis_kernels import joined

    own = np.empty_like(detected)
    joined(detected, own)
    return detected & ~own


def _sky_variance(variance: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Median variance in the frame of each stamp, or in all of it where the frame has none."""
    edge = np.ones(variance.shape[1:], bool)
    edge[FRAME:-FRAME, FRAME:-FRAME] = False
    known = np.where(good, variance, np.nan).reshape(len(variance), -1)
    frame = np.sort(known[:, edge.ravel()], axis=1)
    # NaN are sorted to the end
    count = np.isfinite(frame).sum(axis=1)
    sky = frame[np.arange(len(frame)), np.maximum(count - 1, 0) // 2]
    lost = ~np.isfinite(sky)
    sky[lost] = [np.nanmedian(row) if np.isfinite(row).any() else np.inf for row in known[lost]]
    return sky.astype(np.float64)


def _slope(pixels: np.ndarray, variance: np.ndarray, good: np.ndarray, sky: np.ndarray) -> float:
    """Variance over signal in the middle 3 x 3 pixels of all stars; 0 if the variances don't know of the stars."""
    middle = slice(pixels.shape[1] // 2 - 1, pixels.shape[1] // 2 + 2)
    known = good[:, middle, middle]
    more = np.where(known, variance[:, middle, middle] - sky[:, None, None], 0.0)
    light = np.where(known, pixels[:, middle, middle], 0.0).sum()
    return max(float(more.sum() / light), 0.0) if light > 0 else 0.0


def largest_pixels(masked: MaskedImage, x: np.ndarray, y: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Largest pixel of the 27 x 27 around each place that is asked for, (n,); NaN at others."""
    peaks = np.full(len(x), np.nan)
    which = which & np.isfinite(x) & np.isfinite(y)
    along = np.arange(PEAK_BOX) - PEAK_BOX // 2
    height, width = masked.shape
    j, i = (np.clip(np.floor(v[which, None] + 0.5).astype(int) + along, 0, n - 1) for v, n in ((y, height), (x, width)))
    peaks[which] = np.fmax.reduce(masked.image[j[:, :, None], i[:, None, :]], axis=(1, 2))
    return peaks


def candidate_rows(table: Table, selection: StarSelection | None) -> np.ndarray:
    """Rows that the PSF may be fitted to: those selected, or flagged calib_psf_candidate, or all."""
    if selection is not None:
        return np.array(selection.selected)
    return flag(table, CANDIDATE) if CANDIDATE in table.colnames else np.ones(len(table), bool)


def star_fluxes(table: Table) -> np.ndarray:
    """Flux of each row by the first column that has one; NaN where none has."""
    names = [name for name in FLUXES if name in table.colnames]
    if not names:
        raise DataError(f"the table has no flux; measure {' or '.join(FLUXES)}")
    flux = column(table, names[0])
    for name in names[1:]:
        flux = np.where(flux > 0, flux, column(table, name))
    return flux


def star_widths(table: Table, rows: np.ndarray) -> np.ndarray:
    """Widths of the stars, px; NaN where they weren't measured."""
    with np.errstate(invalid="ignore"):
        widths = np.sqrt((column(table, "slot_Shape_xx") + column(table, "slot_Shape_yy"))[rows] / 2)
        widths[~(widths > 0)] = np.nan
    if np.isnan(widths).all():
        raise NonfinitePSFError("no PSF star has a positive slot_Shape; measure shapes first")
    return widths


def width_trend(x: np.ndarray, y: np.ndarray, widths: np.ndarray, *, order: int, shape: tuple[int, int]) -> np.ndarray:
    """Polynomial of the widths, without outliers."""
    kept = np.isfinite(widths)
    for _ in range(CLIPS):
        trend = fit_chebyshev(x[kept], y[kept], widths[kept], order=order, shape=shape)
        off = widths - chebyshev_at(trend, x, y, shape=shape)
        with np.errstate(invalid="ignore"):
            kept = np.abs(off) <= CLIP * np.median(np.abs(off[kept])) + LEAST
    return trend
