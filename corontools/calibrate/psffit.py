"""The PSF of an image from its stars."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from astropy.table import Table

from corontools.arrays.chebyshev import chebyshev_at, chebyshev_design
from corontools.arrays.psfbasis import fit_basis, grid_side
from corontools.calibrate.columns import column
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.psf import SIGMA_PER_FWHM, GaussianPSF, PixelPSF
from corontools.calibrate.psfcheck import RADIUS, Likeness, compare, measured
from corontools.calibrate.psfstars import (
    CANDIDATE,
    NonfinitePSFError,
    PSFStars,
    candidate_rows,
    largest_pixels,
    star_fluxes,
    star_widths,
    width_trend,
)
from corontools.calibrate.select import StarSelection, TooFewStarsError, told_cuts
from corontools.errors import DataError

__all__ = ["NonfinitePSFError", "PSFFit", "PSFFitter"]

# part of the pixels within 12 px that have to count
LEAST_GOOD = 0.5
# stars for each coefficient of the variation
PER_COEFFICIENT = 2
# iterations on one point per pixel: to begin with, and to follow changes
BEGIN, FOLLOW = 7, 4


@dataclass(frozen=True, eq=False)
class PSFFit:
    """A PSF and the stars that it was fitted to.

    Attributes
    ----------
    psf : PixelPSF
    rows : ndarray of int, shape (n,)
        Rows of the table whose stars were cut out.
    stars : PSFStars
        Their stamps, with the fluxes by this PSF, and neighbours masked.
    kept : ndarray of bool, shape (n,)
        Those that the last fit used.
    chi2 : ndarray, shape (n,)
        Reduced, of the pixels within 12 px.
    candidates, reserved : ndarray of bool, shape (n_row,)
        Rows of the table that could be used, and those of them that were left out for tests.
    peaks : ndarray, shape (n_row,)
        Largest pixel of the 27 x 27 around each candidate, else NaN.
    cuts : dict
        Name of each cut, in order, and how many candidates it removed.
    """

    psf: PixelPSF
    rows: np.ndarray
    stars: PSFStars
    kept: np.ndarray
    chi2: np.ndarray
    candidates: np.ndarray
    reserved: np.ndarray
    peaks: np.ndarray
    cuts: dict[str, int]

    def __str__(self) -> str:
        return (
            f"PSF of order {self.psf.order} from {int(self.kept.sum())} of {int(self.candidates.sum())} candidates; "
            f"{told_cuts(self.cuts)}"
        )

    @property
    def used(self) -> np.ndarray:
        """Rows of the table that the fit used, (n_row,) of bool."""
        used = np.zeros(len(self.candidates), bool)
        used[self.rows[self.kept]] = True
        return used

    @property
    def models(self) -> np.ndarray:
        """The stars as the PSF has them, (n, size, size)."""
        return self.stars.flux[:, None, None] * self.psf.images(self.stars.x, self.stars.y)

    @property
    def residuals(self) -> np.ndarray:
        """Pixels of the stars less those of the model, (n, size, size); NaN where they don't count."""
        return np.where(self.stars.good, self.stars.pixels - self.models, np.nan)

    def flagged(self, table: Table) -> Table:
        """Copy of the table with calib_psf_candidate, calib_psf_used, calib_psf_reserved and psf_max_value."""
        table = table.copy()
        table[CANDIDATE], table["calib_psf_used"] = self.candidates, self.used
        table["calib_psf_reserved"], table["psf_max_value"] = self.reserved, self.peaks
        return table


class _Fitted(NamedTuple):
    """The last round: PSF, stars by it, what chose those it was fitted to, and how they compare with it."""

    psf: PixelPSF
    stars: PSFStars
    chosen: Likeness
    found: Likeness


@dataclass(frozen=True)
class PSFFitter:
    """Pixels of the PSF as polynomials over the image, by least squares from all pixels of all stars at once.

    The pixels are stretched by a polynomial that is fitted to the widths of the stars; what is left varies less, and
    follows polynomials better. A star isn't shifted or resampled: the model is drawn at its place. Pixels masked BAD,
    SAT, INTRP, CR or NO_DATA and those of other detected sources take part in no sum; after the first round neither do
    those far out that are much brighter than the model. Stars unlike the model in size, shape or chi^2 are left out of
    the next round.

    Parameters
    ----------
    size : int
        Odd side of the stamps, px.
    order : int
        Of the polynomials; lowered, with a warning, while there are fewer than two stars per coefficient.
    sampled : float
        FWHM of the narrowest PSF below which it has two points per pixel, px.
    max_stars : int
        Of more candidates so many are drawn at random.
    reserve : float
        Part of the candidates that is left out, to test the PSF with.
    seed : int
        Of what is drawn at random.
    rounds : int
        Fits with rejections between.
    max_chi2 : float
        Largest reduced chi^2 of a star, over the median of all.
    clip : float
        How many sigma the size and the shape of a star may be off those of the model.
    accuracy : float
        Part of the light of a pixel by which the model may be wrong: it limits what the brightest stars count.
    min_stars : int
        Fewer are an error.

    Examples
    --------
    >>> from corontools.simulate.field_psf import MoffatField
    >>> rng, truth = np.random.default_rng(1), MoffatField((300, 300))
    >>> x, y = (v.ravel() + rng.uniform(-1, 1, 36) for v in np.mgrid[25:275:6j, 25:275:6j])
    >>> image = np.zeros((300, 300)); truth.add(image, x, y, np.full(36, 1e5))
    >>> image += rng.normal(0, 5, image.shape)
    >>> masked = MaskedImage(image, np.zeros(image.shape, np.int32), np.full(image.shape, 25.0))
    >>> table = Table({"slot_Centroid_x": x, "slot_Centroid_y": y, "base_PsfFlux_instFlux": np.full(36, 1e5)})
    >>> table["slot_Shape_xx"] = table["slot_Shape_yy"] = 2.6
    >>> psf = PSFFitter(size=31).fit(masked, table).psf
    >>> bool(np.all(np.abs(psf.sigma(x, y) / truth.sigma(x, y) - 1) < 0.01))
    True
    """

    size: int = 41
    order: int = 2
    sampled: float = 3.0
    max_stars: int = 300
    reserve: float = 0.0
    seed: int = 98765
    rounds: int = 3
    max_chi2: float = 2.0
    clip: float = 4.0
    accuracy: float = 0.01
    min_stars: int = 3

    def __post_init__(self) -> None:
        if self.size < 5 or self.size % 2 == 0 or self.order < 0 or self.rounds < 1 or not 0 <= self.reserve < 1:
            raise DataError(
                "a PSF needs an odd size of 5 px or more, an order of 0 or more, a round at least, and a part less "
                f"than 1 in reserve; found {self}"
            )

    def fit(self, masked: MaskedImage, table: Table, *, selection: StarSelection | None = None) -> PSFFit:
        """PSF from the stars of a table.

        Parameters
        ----------
        masked : MaskedImage
            Sky subtracted.
        table : Table
            With slot_Centroid_x and _y, slot_Shape_xx and _yy, a flux (base_CircularApertureFlux_12_0_instFlux or
            base_PsfFlux_instFlux). Rows whose calib_psf_candidate is True, all where there is no such column.
        selection : StarSelection, optional
            Takes the place of calib_psf_candidate, and tells in errors what it removed.

        Raises
        ------
        TooFewStarsError
            If fewer than `min_stars` can be used; tells which cut removed how many.
        NonfinitePSFError
            If the PSF has no size.
        DataError
            If the table lacks a column.
        """
        cuts = {} if selection is None else dict(selection.cuts)
        candidates = candidate_rows(table, selection)
        rows, reserved = self._chosen(table, candidates, masked.shape, cuts)
        x, y, flux = column(table, "slot_Centroid_x"), column(table, "slot_Centroid_y"), star_fluxes(table)
        rows, stars = self._seen(masked, rows, (x, y, flux), cuts)
        psf, stars, chosen, found = self._rounds(stars, star_widths(table, rows), masked.shape, cuts)
        if psf.order < self.order:
            warnings.warn(
                f"the PSF varies by order {psf.order} in place of {self.order}: there are only "
                f"{np.count_nonzero(chosen.alike)} stars",
                stacklevel=2,
            )
        peaks = largest_pixels(masked, x, y, candidates)
        return PSFFit(psf, rows, stars, chosen.alike, found.chi2, candidates, reserved, peaks, cuts | chosen.cuts)

    def _seen(
        self, masked: MaskedImage, rows: np.ndarray, places: tuple[np.ndarray, ...], cuts: dict[str, int]
    ) -> tuple[np.ndarray, PSFStars]:
        """Stars of which enough pixels count, and their rows."""
        self._enough(len(rows), cuts)
        stars = PSFStars.cut(masked, *(values[rows] for values in places), size=self.size)
        near = stars.within(RADIUS)
        seen = (stars.good & near).sum(axis=(1, 2)) >= LEAST_GOOD * near.sum()
        cuts["with too many masked pixels"] = int(np.count_nonzero(~seen))
        self._enough(int(np.count_nonzero(seen)), cuts)
        return rows[seen], stars.of(seen)

    def _chosen(self, table: Table, candidates: np.ndarray, shape: tuple, cuts: dict) -> tuple[np.ndarray, np.ndarray]:
        """Rows to fit, and which are reserved."""
        x, y = column(table, "slot_Centroid_x"), column(table, "slot_Centroid_y")
        with np.errstate(invalid="ignore"):
            inside = (x >= -0.5) & (x < shape[1] - 0.5) & (y >= -0.5) & (y < shape[0] - 0.5)
            usable = candidates & inside & (star_fluxes(table) > 0)
        cuts["without a place on the image or a positive flux"] = int(np.count_nonzero(candidates & ~usable))
        drawn = np.random.default_rng(self.seed).permutation(np.flatnonzero(usable))
        n_reserved = int(self.reserve * len(drawn))
        reserved = np.zeros(len(table), bool)
        reserved[drawn[:n_reserved]] = True
        cuts["reserved"] = n_reserved
        rows = np.sort(drawn[n_reserved:][: self.max_stars])
        cuts[f"beyond the {self.max_stars} drawn"] = len(drawn) - n_reserved - len(rows)
        return rows, reserved

    def _rounds(self, stars: PSFStars, widths: np.ndarray, shape: tuple[int, int], cuts: dict[str, int]) -> _Fitted:
        """Fit, compare, and fit again to those that are like the model."""
        sigma, good = float(np.nanmedian(widths)), stars.good
        images = GaussianPSF(sigma, self.size).images(stars.x, stars.y)
        psf = self._empty(stars, widths, shape)
        found = Likeness(np.ones(len(good), bool), np.empty(0), {})
        for _ in range(self.rounds):
            chosen = found
            self._enough(int(np.count_nonzero(chosen.alike)), cuts | chosen.cuts)
            psf = self._solved(stars.of(chosen.alike), images[chosen.alike], psf)
            images = psf.images(stars.x, stars.y)
            weights = replace(stars, good=good).weights(images, accuracy=self.accuracy)
            stars = measured(stars, weights, images, sigma=sigma)
            found = compare(stars, weights, images, max_chi2=self.max_chi2, clip=self.clip)
        _check_finite(psf)
        return _Fitted(psf, stars, chosen, found)

    def _empty(self, stars: PSFStars, widths: np.ndarray, shape: tuple[int, int]) -> PixelPSF:
        """A PSF without light, with the grid, the stretch and the order for stars of these widths."""
        order = self._order(len(widths))
        trend = width_trend(stars.x, stars.y, widths, order=order, shape=shape)
        least = float(chebyshev_at(trend, stars.x, stars.y, shape=shape).min())
        if not least > 0:
            trend, least = np.nanmedian(widths, keepdims=True), float(np.nanmedian(widths))
        step = 1 if least / SIGMA_PER_FWHM >= self.sampled else 2
        side = grid_side(self.size, step)
        return PixelPSF(np.zeros(((order + 1) * (order + 2) // 2, side, side)), shape, step, trend / least)

    def _order(self, count: int) -> int:
        """Order that so many stars allow."""
        order = self.order
        while order and count < PER_COEFFICIENT * (order + 1) * (order + 2) // 2:
            order -= 1
        return order

    def _solved(self, stars: PSFStars, images: np.ndarray, before: PixelPSF) -> PixelPSF:
        """PSF of these stars, beginning with that of the round before."""
        order = min(before.order, self._order(len(stars.x)))
        start = before.basis[: (order + 1) * (order + 2) // 2]
        stretch = before.stretched(stars.x, stars.y)
        basis = fit_basis(
            stars.pixels,
            stars.weights(images, accuracy=self.accuracy),
            (stars.flux / stretch**2)[:, None] * chebyshev_design(stars.x, stars.y, order, shape=before.shape),
            stars.offsets,
            step=before.step,
            stretch=stretch,
            start=start,
            iterations=before.step * (FOLLOW if start.any() else BEGIN),
        )
        if not np.isfinite(basis).all():
            raise NonfinitePSFError("the fitted PSF isn't finite; give other stars or a lower order")
        return replace(before, basis=basis)

    def _enough(self, count: int, cuts: Mapping[str, int]) -> None:
        if count < self.min_stars:
            raise TooFewStarsError(
                f"too few PSF stars: {count} are left, {self.min_stars} are needed; {told_cuts(cuts)}; loosen what "
                "removed most in PSFFitter or StarSelector",
                cuts,
            )


def _check_finite(psf: PixelPSF) -> None:
    middle = [(psf.shape[1] - 1) / 2], [(psf.shape[0] - 1) / 2]
    sigma = float(psf.sigma(*middle)[0])
    if not 0 < sigma < psf.size / 2:
        raise NonfinitePSFError(
            f"the PSF has no size in the middle of the image (sigma {sigma:.3g} px); look at the stars, or lower the "
            "order"
        )
