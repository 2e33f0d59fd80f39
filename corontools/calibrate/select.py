"""Stars that can tell the PSF, chosen in the plane of size and magnitude."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from corontools.arrays.chebyshev import chebyshev_design
from corontools.calibrate.columns import column, flag
from corontools.errors import DataError

__all__ = ["BAD_FLAGS", "StarSelection", "StarSelector", "TooFewStarsError", "told_cuts"]

BAD_FLAGS = (
    "base_PixelFlags_flag_edge",
    "base_PixelFlags_flag_nodata",
    "base_PixelFlags_flag_interpolatedCenter",
    "base_PixelFlags_flag_saturatedCenter",
    "base_PixelFlags_flag_crCenter",
    "base_PixelFlags_flag_bad",
    "base_PixelFlags_flag_interpolated",
    "slot_Centroid_flag",
)
FLUX, X, Y = "base_PsfFlux_instFlux", "slot_Centroid_x", "slot_Centroid_y"
# rounds of moving the centres of clusters, and of clipping
MOVES, CLIPS = 100, 10
# half the interquartile range over sigma, of a Gaussian
SIGMA_PER_RANGE = 0.741
# stars needed for each coefficient of a trend, and the least tolerance over the width
PER_COEFFICIENT, LEAST_TOLERANCE = 4, 1e-3
# of fewer stars the tolerance is that of the clusters
FEW = 5


class TooFewStarsError(DataError):
    """Fewer stars are left than a PSF needs; `cuts` tells how many each cut removed.

    Attributes
    ----------
    cuts : dict
        Name of each cut, in order, and the number of sources it removed.
    """

    def __init__(self, text: str, cuts: Mapping[str, int]) -> None:
        super().__init__(text)
        self.cuts = dict(cuts)


@dataclass(frozen=True, eq=False)
class StarSelection:
    """Which sources are taken for stars, and why the others aren't.

    Attributes
    ----------
    selected : ndarray of bool, shape (n,)
        A row each of the table.
    width : ndarray, shape (n,)
        Square root of (Ixx + Iyy) / 2, px; NaN where the shape wasn't measured.
    snr : ndarray, shape (n,)
        Of the flux that was asked for.
    cuts : dict
        Name of each cut, in order, and how many sources it removed of those left by the ones before.
    expected : ndarray, shape (n,)
        Width of a star at each place, px.
    tolerance : float
        How far from that the widths of stars may be, px.
    """

    selected: np.ndarray
    width: np.ndarray
    snr: np.ndarray
    cuts: dict[str, int]
    expected: np.ndarray
    tolerance: float

    def __str__(self) -> str:
        return f"{int(self.selected.sum())} stars of {len(self.selected)} sources; {told_cuts(self.cuts)}"

    def flagged(self, table: Table) -> Table:
        """Copy of the table with the column calib_psf_candidate."""
        table = table.copy()
        table["calib_psf_candidate"] = self.selected
        return table


@dataclass(frozen=True)
class StarSelector:
    """Bright unflagged sources of the smallest width that many have.

    Widths are parted into clusters about medians (k-medians in one dimension); the first cluster, without its
    outliers, is that of the stars. As the PSF is wider at some places than at others, stars are then all sources near
    a polynomial of the place that is fitted to that cluster, and fitted again to those near it until they stay the
    same; with one width for all the widest places would lose their stars.

    Parameters
    ----------
    flux : str
        Name of the flux whose signal-to-noise counts; its error is the column <flux>Err.
    min_snr : float
    min_width, max_width : float
        Limits of the width, px.
    bad_flags : sequence of str
        Columns any of which excludes a source.
    clusters : int
    spacing : float
        Distance of the first guesses of neighbouring clusters, over twice the 10th percentile of the widths.
    clip : float
        How many sigma of the first cluster a star may be off.
    order : int
        Of the polynomial of the width over x and y; lowered while there are fewer than four stars per coefficient,
        0 is one width for all.
    min_stars : int
        Fewer are an error.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> width = np.r_[rng.normal(1.7, 0.01, 80), rng.uniform(2.0, 3.5, 20)]
    >>> table = Table({name: np.zeros(100, bool) for name in BAD_FLAGS})
    >>> table["slot_Centroid_x"], table["slot_Centroid_y"] = rng.uniform(0, 999, (2, 100))
    >>> table["base_PsfFlux_instFlux"], table["base_PsfFlux_instFluxErr"] = 1e4, 1e2
    >>> table["slot_Shape_xx"] = table["slot_Shape_yy"] = width**2
    >>> table["base_PixelFlags_flag_edge"][:3] = True
    >>> print(StarSelector(clip=4.0, order=0).select(table))
    77 stars of 100 sources; removed: 3 base_PixelFlags_flag_edge, 20 not as wide as stars (1.7 +- 0.028 px)
    """

    flux: str = FLUX
    min_snr: float = 50.0
    min_width: float = 0.9
    max_width: float = 10.0
    bad_flags: tuple[str, ...] = BAD_FLAGS
    clusters: int = 4
    spacing: float = 0.15
    clip: float = 2.0
    order: int = 2
    min_stars: int = 3

    def select(self, table: Table) -> StarSelection:
        """Stars of a table of measured sources.

        Raises
        ------
        DataError
            If the table lacks a column.
        TooFewStarsError
            If fewer than `min_stars` are left; tells how many sources each cut removed.
        """
        _need(table, (self.flux, f"{self.flux}Err", X, Y, "slot_Shape_xx", "slot_Shape_yy", *self.bad_flags))
        with np.errstate(invalid="ignore", divide="ignore"):
            snr = column(table, self.flux) / column(table, f"{self.flux}Err")
            width = np.sqrt((column(table, "slot_Shape_xx") + column(table, "slot_Shape_yy")) / 2)
        kept, cuts = np.ones(len(table), bool), dict[str, int]()
        for name, good in self._tests(table, snr, width):
            kept = _cut(kept, good, name, cuts)
        expected, tolerance = self._star_widths(column(table, X), column(table, Y), width, kept)
        with np.errstate(invalid="ignore"):
            near = np.abs(width - expected) <= tolerance
        kept = _cut(kept, near, f"not as wide as stars ({_told(expected)} +- {tolerance:.2g} px)", cuts)
        if np.count_nonzero(kept) < self.min_stars:
            raise TooFewStarsError(
                f"too few PSF stars: {np.count_nonzero(kept)} of {len(table)} sources are left, {self.min_stars} are "
                f"needed; {told_cuts(cuts)}; loosen what removed most in StarSelector",
                cuts,
            )
        return StarSelection(kept, width, snr, cuts, expected, tolerance)

    def _tests(self, table: Table, snr: np.ndarray, width: np.ndarray) -> Iterable[tuple[str, np.ndarray]]:
        """Name and result of each cut, in order; flags first, as they make the other figures meaningless."""
        for name in self.bad_flags:
            yield name, ~flag(table, name)
        yield f"S/N of {self.flux.removesuffix('_instFlux')} < {self.min_snr:g}", snr >= self.min_snr
        good = (width >= self.min_width) & (width <= self.max_width)
        yield f"width not {self.min_width:g} to {self.max_width:g} px", good

    def _star_widths(self, x: np.ndarray, y: np.ndarray, width: np.ndarray, kept: np.ndarray) -> tuple:
        """Width of a star at each place, and how far from it stars may be."""
        if not kept.any():
            return np.full(len(width), np.nan), np.nan
        own, middle, tolerance = self._first_cluster(width, kept)
        expected = np.full(len(width), middle)
        for _ in range(CLIPS if self.order else 0):
            expected = _trend(x, y, width, own, self.order)
            off = width - expected
            # not the spread of what was clipped: that shrinks from round to round
            about = kept & (np.abs(off) <= self.spacing * expected)
            tolerance = self._tolerance(off[about], float(np.median(expected[own])))
            before, own = own, kept & (np.abs(off) <= tolerance)
            if np.array_equal(own, before) or not own.any():
                break
        return expected, tolerance

    def _first_cluster(self, width: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, float, float]:
        """The smallest sources but for outliers, their median width, and how far from it they may be."""
        own = kept.copy()
        own[kept] = _clusters(width[kept], self.clusters, self.spacing) == 0
        for _ in range(CLIPS):
            middle, spread = np.median(width[own]), _spread(width[own])
            tolerance = self._tolerance(width[own], middle)
            before, own = own, own & (np.abs(width - middle) <= tolerance)
            if spread < self.spacing * middle or np.array_equal(own, before):
                break
        return own, float(middle), float(tolerance)

    def _tolerance(self, values: np.ndarray, width: float) -> float:
        """How far from their width stars may be; the spread of a few says little."""
        least = LEAST_TOLERANCE if len(values) >= FEW else self.spacing
        return max(self.clip * _spread(values), least * width)


def told_cuts(cuts: Mapping[str, int]) -> str:
    """What the cuts removed, in words.

    Examples
    --------
    >>> told_cuts({"edge": 3, "saturated": 0})
    'removed: 3 edge'
    """
    return "removed: " + (", ".join(f"{count} {name}" for name, count in cuts.items() if count) or "none")


def _need(table: Table, names: Iterable[str]) -> None:
    lost = [name for name in names if name not in table.colnames]
    if lost:
        raise DataError(f"the table lacks {', '.join(lost)}; measure these, or name others in StarSelector")


def _cut(kept: np.ndarray, good: np.ndarray, name: str, cuts: dict[str, int]) -> np.ndarray:
    cuts[name] = int(np.count_nonzero(kept & ~good))
    return kept & good


def _clusters(values: np.ndarray, count: int, spacing: float) -> np.ndarray:
    """Cluster of each value: the nearest of medians that follow their values; the first guesses are evenly spaced."""
    low = np.percentile(values, 10)
    centres = low * (1 + 2 * spacing * np.arange(count))
    own = np.zeros(len(values), int)
    for _ in range(MOVES):
        before, own = own, np.argmin(np.abs(values[:, None] - centres), axis=1)
        centres = np.array([np.median(values[own == k]) if (own == k).any() else centres[k] for k in range(count)])
        if np.array_equal(own, before):
            break
    return own


def _trend(x: np.ndarray, y: np.ndarray, width: np.ndarray, own: np.ndarray, order: int) -> np.ndarray:
    """Polynomial of the place fitted to the widths of some sources, at all places; NaN where the place is."""
    while order and np.count_nonzero(own) < PER_COEFFICIENT * (order + 1) * (order + 2) // 2:
        order -= 1
    box = (int(np.nanmax(y)) + 1, int(np.nanmax(x)) + 1)
    terms = chebyshev_design(x, y, order, shape=box)
    return terms @ np.linalg.lstsq(terms[own], width[own], rcond=None)[0]


def _told(expected: np.ndarray) -> str:
    """Range of the expected widths."""
    if not np.isfinite(expected).any():
        return "none"
    low, high = np.nanmin(expected), np.nanmax(expected)
    return f"{low:.3g}" if high - low < 0.005 * high else f"{low:.3g} to {high:.3g}"


def _spread(values: np.ndarray) -> float:
    """The smaller of the standard deviation and that told by the interquartile range."""
    quarter, three = np.percentile(values, (25, 75))
    return float(min(np.std(values), SIGMA_PER_RANGE * (three - quarter)))
