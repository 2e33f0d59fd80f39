"""Cosmic rays of a frame found by what a star with its PSF can look like, and replaced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from corontools.arrays import cosmic
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import UNUSABLE, Plane
from corontools.calibrate.psf import PSF
from corontools.errors import DataError
from corontools.exposure import readonly

__all__ = ["CosmicRayFinder", "CosmicRays", "DefectFiller", "TooManyCosmicRays"]

# places along each side of the frame where the PSF is looked at
PLACES = 5


class TooManyCosmicRays(DataError):  # noqa: N818 - the name that it has elsewhere
    """So many pixels look like cosmic rays that something else must be wrong."""


@dataclass(frozen=True, eq=False)
class CosmicRays:
    """Cosmic rays found in a frame.

    Attributes
    ----------
    masked : MaskedImage
        The frame they were found in, without an earlier CR plane.
    pixels : ndarray of int, shape (n, 2)
        Places (y, x).
    numbers : ndarray of int, shape (n,)
        Which ray each pixel belongs to, from 0.
    values, variances : ndarray, shape (n,)
        What the pixels would have been without the ray.
    """

    masked: MaskedImage
    pixels: np.ndarray
    numbers: np.ndarray
    values: np.ndarray
    variances: np.ndarray

    def __post_init__(self) -> None:
        for name in ("pixels", "numbers", "values", "variances"):
            object.__setattr__(self, name, readonly(getattr(self, name)))

    def __len__(self) -> int:
        return int(self.numbers.max()) + 1 if self.numbers.size else 0

    @property
    def n_pixels(self) -> int:
        """Pixels of all rays."""
        return len(self.pixels)

    @property
    def mask(self) -> np.ndarray:
        """True in the pixels of the rays, (y, x)."""
        made = np.zeros(self.masked.shape, bool)
        made[*self.pixels.T] = True
        return made

    @property
    def flagged(self) -> MaskedImage:
        """The frame with CR set and the values left."""
        return self.masked.marked(self.mask, Plane.CR)

    @property
    def repaired(self) -> MaskedImage:
        """The frame with the rays replaced, CR and INTRP set."""
        image, variance = np.array(self.masked.image), np.array(self.masked.variance)
        image[*self.pixels.T], variance[*self.pixels.T] = self.values, self.variances
        marked = self.masked.marked(self.mask, Plane.CR | Plane.INTRP)
        return marked.with_(image=image, variance=variance)

    @property
    def table(self) -> Table:
        """One row per ray: `x`, `y` (mean of its pixels, px), `n_pixels`, and `counts` above what replaces them."""
        n = len(self)
        size = np.bincount(self.numbers, minlength=n)
        excess = self.masked.image[*self.pixels.T] - self.values
        y, x = (np.bincount(self.numbers, weights=place, minlength=n) / size for place in self.pixels.T)
        counts = np.bincount(self.numbers, weights=excess, minlength=n)
        table = Table({"x": x, "y": y, "n_pixels": size, "counts": counts})
        table["x"].unit = table["y"].unit = "pix"
        table["counts"].unit = "ct"
        return table


@dataclass(frozen=True)
class CosmicRayFinder:
    """Finds pixels that are sharper than a star, and replaces them; see `corontools.arrays.cosmic.find`.

    Parameters
    ----------
    min_sigma : float
        Sigma by which a pixel stands above the mean of a pair of opposite neighbours.
    min_counts : float
        Least sum of a ray above the background, in the unit of the image.
    slack : float
        Sigma granted to the noise of a pixel and its neighbours, when its contrast is compared with a star's.
    contrast : float
        Least that a star may have in its neighbours, as a share of what one centred on a pixel has there. Where the
        PSF is taken for one of 4 px FWHM, 0.6 spares stars of 2.6 px and more; 0.35 those of 2 px, but it misses tracks
        two pixels wide.
    grow_sigma, grow_contrast : float
        The same two for the neighbours of rays, with no slack; lower and higher, since these are likely to be hit.
    rounds : int
        Rounds in which rays may grow by their neighbours.
    max_pixels : int
        More than these are taken for a fault.
    background : float or None
        Level of the sky, in the unit of the image; None for the median of the frame.
    seed : int
        Of the noise put where nothing good is near.

    Examples
    --------
    >>> from corontools.calibrate.psf import GaussianPSF
    >>> image = np.random.default_rng(1).normal(0, 3, (32, 32)); image[10, 20] = 900
    >>> frame = MaskedImage(image, np.zeros((32, 32), np.int32), np.full((32, 32), 9.0))
    >>> rays = CosmicRayFinder().find(frame, GaussianPSF.of_fwhm(4.0))
    >>> len(rays), rays.pixels.tolist(), bool(abs(rays.repaired.image[10, 20]) < 10)
    (1, [[10, 20]], True)
    """

    min_sigma: float = 6.0
    min_counts: float = 150.0
    slack: float = 2.0
    contrast: float = 0.6
    grow_sigma: float = 3.4
    grow_contrast: float = 0.9
    rounds: int = 6
    max_pixels: int = 1_000_000
    background: float | None = None
    seed: int = 0

    def find(self, masked: MaskedImage, psf: PSF) -> CosmicRays:
        """Cosmic rays of a frame from which the background is subtracted.

        Parameters
        ----------
        masked : MaskedImage
            An earlier CR plane is cleared. BAD, SAT, INTRP and NO_DATA pixels are not judged, nor what touches SAT or
            INTRP.
        psf : PSF
            Narrower than the stars is safe, wider takes them for rays.

        Raises
        ------
        TooManyCosmicRays
            If more than `max_pixels` are found.
        """
        masked = masked.cleared(Plane.CR)
        unusable = masked.has(UNUSABLE | Plane.INTRP)
        spoiled = masked.has(Plane.SAT | Plane.INTRP)
        data = masked.image, masked.variance, unusable, spoiled
        level = self._level(masked.image, unusable)
        star = self._star_contrast(masked.shape, psf)
        limits = cosmic.Limits(self.contrast * star, level, self.min_sigma, self.slack)
        found = self._bright(cosmic.find(*data, limits=limits), masked, level)
        limits = cosmic.Limits(self.grow_contrast * star, level, self.grow_sigma, 0.0)
        grown = cosmic.grow(*data, found=found, limits=limits, rounds=self.rounds)
        pixels, numbers = cosmic.groups(grown)
        values, variances = cosmic.predict(
            masked.image, masked.variance, unusable, pixels=pixels, found=grown, background=level
        )
        return CosmicRays(masked, pixels, numbers, *self._with_noise(values, variances, masked, unusable, level))

    def repair(self, masked: MaskedImage, psf: PSF, *, keep: bool = False) -> MaskedImage:
        """The frame with cosmic rays replaced, CR and INTRP set; with `keep` only CR is set.

        Raises
        ------
        TooManyCosmicRays
            As `find`.
        """
        rays = self.find(masked, psf)
        return rays.flagged if keep else rays.repaired

    def _star_contrast(self, shape: tuple[int, int], psf: PSF) -> np.ndarray:
        """Contrast of stars in cells over the frame, (PLACES, PLACES, 3)."""
        y, x = np.meshgrid(*[(np.arange(PLACES) + 0.5) * n / PLACES - 0.5 for n in shape], indexing="ij")
        kernels = psf.kernels(x.ravel(), y.ravel())
        return cosmic.star_contrast(kernels).reshape(PLACES, PLACES, 3)

    def _level(self, image: np.ndarray, unusable: np.ndarray) -> float:
        if self.background is not None:
            return float(self.background)
        sample = _sample(image, unusable)
        return float(np.median(sample)) if sample.size else 0.0

    def _bright(self, found: np.ndarray, masked: MaskedImage, level: float) -> np.ndarray:
        """Of the pixels found, those in rays that are bright enough."""
        count = np.count_nonzero(found)
        if count > self.max_pixels:
            sigma = float(np.sqrt(np.median(masked.variance[found])))
            raise TooManyCosmicRays(
                f"{count} pixels are sharper than a star, of {found.size}, and {self.max_pixels} are allowed; their "
                f"median error is {sigma:.3g}: is the variance too small, the background not subtracted (median "
                f"{level:.4g}), or the PSF too wide? CosmicRayFinder(max_pixels=...) allows more"
            )
        pixels, numbers = cosmic.groups(found)
        total = np.bincount(numbers, weights=masked.image[*pixels.T].astype(float) - level, minlength=1)
        kept = pixels[total[numbers] >= self.min_counts]
        bright = np.zeros(found.shape, bool)
        bright[*kept.T] = True
        return bright

    def _with_noise(
        self, values: np.ndarray, variances: np.ndarray, masked: MaskedImage, unusable: np.ndarray, level: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sky with its noise where nothing good is near enough to predict a value."""
        lost = ~np.isfinite(values)
        if not lost.any():
            return values, variances
        typical = float(np.median(_sample(masked.variance, unusable)))
        noise = np.random.default_rng(self.seed).normal(0, np.sqrt(typical), lost.sum())
        values[lost], variances[lost] = level + noise, typical
        return values, variances


def _sample(values: np.ndarray, unusable: np.ndarray) -> np.ndarray:
    """Usable values in every so-manieth row and column, whose median is near enough to that of all."""
    step = max(1, min(values.shape) // 512)
    return values[::step, ::step][~unusable[::step, ::step]]


@dataclass(frozen=True)
class DefectFiller:
    """Replaces pixels that tell nothing of the sky by what their neighbours predict.

    Parameters
    ----------
    planes : Plane
        What is replaced; NO_DATA stays NaN unless it is named here.

    Examples
    --------
    >>> image = np.tile(np.arange(9.0), (9, 1)); image[:, 4] = -1000
    >>> mask = np.zeros((9, 9), np.int32); mask[:, 4] = Plane.BAD
    >>> filled = DefectFiller().fill(MaskedImage(image, mask, np.ones((9, 9))))
    >>> filled.image[3].round(6).tolist(), Plane.names(filled.mask[3, 4])
    ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 'BAD, INTRP')
    """

    planes: Plane = Plane.BAD

    def fill(self, masked: MaskedImage) -> MaskedImage:
        """The frame with these pixels replaced and INTRP set; those with nothing good within 32 px stay as they are."""
        pixels = np.argwhere(masked.has(self.planes) & ~masked.has(Plane.INTRP))
        unusable = masked.has(UNUSABLE | self.planes)
        values, variances = cosmic.fill_defects(masked.image, masked.variance, unusable, pixels=pixels)
        known = np.isfinite(values)
        image, variance, mask = np.array(masked.image), np.array(masked.variance), np.array(masked.mask)
        image[*pixels[known].T], variance[*pixels[known].T] = values[known], variances[known]
        mask[*pixels[known].T] |= np.int32(Plane.INTRP)
        return MaskedImage(image, mask, variance)
