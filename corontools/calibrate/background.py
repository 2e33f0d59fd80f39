"""The background of a single frame: fitted in bins, kept round by round, added up again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from corontools.arrays.bins import akima_grid, bin_centers, binned_levels
from corontools.arrays.chebyshev import chebyshev_grid, fit_chebyshev
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.errors import DataError
from corontools.exposure import readonly
from corontools.result import fingerprint

__all__ = ["BackgroundEntry", "BackgroundFitter", "BackgroundList"]

STYLES = ("chebyshev", "akima", "constant")
IGNORED = Plane.BAD | Plane.EDGE | Plane.DETECTED | Plane.DETECTED_NEGATIVE | Plane.NO_DATA
EXTNAME = "BACKGROUND"


@dataclass(frozen=True, eq=False)
class BackgroundEntry:
    """Background of one round: levels of bins, and what is put through them.

    Attributes
    ----------
    levels, errors : ndarray, shape (n_y, n_x)
        Of the bins and their 1-sigma errors, in units of the image; NaN where no pixel counted.
    shape : (int, int)
        Of the image, (y, x).
    bin_size : int
        Greatest side of a bin, px.
    style : {"chebyshev", "akima", "constant"}
    order : int
        Total degree of the Chebyshev polynomial, as it was fitted; 0 for the other styles.
    weighted : bool
        Whether bins have the weight of their inverse variance.
    """

    levels: np.ndarray
    errors: np.ndarray
    shape: tuple[int, int]
    bin_size: int
    style: str
    order: int = 0
    weighted: bool = True

    def __post_init__(self) -> None:
        for name in ("levels", "errors"):
            object.__setattr__(self, name, readonly(np.asarray(getattr(self, name), np.float64)))

    def __repr__(self) -> str:
        n_y, n_x = self.levels.shape
        style = f"{self.style} of order {self.order}" if self.style == "chebyshev" else self.style
        return f"<BackgroundEntry {n_x} x {n_y} bins, {style}, median {self.median:.4g}>"

    @property
    def median(self) -> float:
        """Of the levels of the bins."""
        return float(np.nanmedian(self.levels))

    @property
    def mean(self) -> float:
        """Of the levels of the bins."""
        return float(np.nanmean(self.levels))

    def image(self) -> np.ndarray:
        """The background in each pixel, (y, x) of float32."""
        if self.style == "constant":
            return np.full(self.shape, self.median, np.float32)
        if self.style == "akima":
            return akima_grid(self.levels, self.shape, self.bin_size)
        return chebyshev_grid(_fitted(self, self.order), self.shape, dtype=np.float32)

    def scale(self, factor: float) -> BackgroundEntry:
        """The same in another unit: levels and errors times a factor."""
        return replace(self, levels=self.levels * factor, errors=self.errors * abs(factor))

    def subtract(self, masked: MaskedImage) -> MaskedImage:
        """The image without this background; mask and variance stay."""
        return masked.with_(image=masked.image - self.image())


@dataclass(frozen=True)
class BackgroundFitter:
    """Fits a smooth background to the clipped means of bins.

    Parameters
    ----------
    bin_size : int
        Greatest side of a bin, px. One bin for the whole image gives a constant, its median.
    style : {"chebyshev", "akima", "constant"}
        A Chebyshev polynomial in x and y; an Akima spline through the bins (Akima 1970, J. ACM 17, 589), which goes on
        straight beyond the middles of the outer ones; the median of all pixels.
    order : int
        Greatest total degree of the polynomial. With fewer than `order` + 1 bins along an axis, or too few that have a
        level, it is lowered.
    statistic : {"meanclip", "median"}
        Level of a bin: the mean of what is within `sigma` standard deviations, three rounds; the median.
    sigma : float
    weighted : bool
        Weigh bins by their inverse variance in the polynomial.
    ignored : int
        Planes whose pixels don't count.

    Examples
    --------
    >>> from corontools.exposure import Exposure
    >>> frame = MaskedImage.from_exposure(Exposure(np.full((256, 256), 7.0), err=np.ones((256, 256))))
    >>> BackgroundFitter(bin_size=64).fit(frame)
    <BackgroundEntry 4 x 4 bins, chebyshev of order 3, median 7>
    """

    bin_size: int = 128
    style: str = "chebyshev"
    order: int = 6
    statistic: str = "meanclip"
    sigma: float = 3.0
    weighted: bool = True
    ignored: int = IGNORED

    def __post_init__(self) -> None:
        if self.style not in STYLES or self.bin_size < 1 or self.order < 0:
            raise DataError(
                f"a background has a style of {', '.join(STYLES)}, bins of 1 px or more and an order of 0 or more; "
                f"found {self.style!r}, {self.bin_size}, {self.order}"
            )

    def fit(self, masked: MaskedImage) -> BackgroundEntry:
        """Background of the pixels that aren't ignored.

        Raises
        ------
        DataError
            If all pixels are ignored.
        """
        constant = self.style == "constant" or max(masked.shape) <= self.bin_size
        size = max(masked.shape) if constant else self.bin_size
        statistic = "median" if constant else self.statistic
        bins = binned_levels(masked.image, ~masked.has(self.ignored), size=size, statistic=statistic, sigma=self.sigma)
        known = np.isfinite(bins.level)
        if not known.any():
            raise DataError(
                f"no pixel is left to fit a background to: all of {masked.shape[0]} x {masked.shape[1]} have one of "
                f"the planes {Plane.names(self.ignored)}; clear DETECTED or detect with a higher threshold"
            )
        style = "constant" if constant else self.style
        entry = BackgroundEntry(*bins, masked.shape, size, style, 0, self.weighted)
        return entry if style != "chebyshev" else replace(entry, order=_possible(entry, self.order))


@dataclass(frozen=True)
class BackgroundList:
    """Backgrounds of all rounds; the background is their sum.

    Examples
    --------
    >>> entry = BackgroundEntry(np.array([[7.0]]), np.array([[1.0]]), (4, 4), 4, "constant")
    >>> rounds = BackgroundList() + [entry] + [entry.scale(0.5)]
    >>> len(rounds), float(rounds.image()[0, 0]), rounds.scale(2).sky
    (2, 10.5, 21.0)
    """

    entries: tuple[BackgroundEntry, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(self.entries))
        shapes = sorted({entry.shape for entry in self.entries})
        if len(shapes) > 1:
            raise DataError(f"backgrounds of one list belong to one image, found shapes {shapes}")

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[BackgroundEntry]:
        return iter(self.entries)

    @overload
    def __getitem__(self, index: int) -> BackgroundEntry: ...

    @overload
    def __getitem__(self, index: slice) -> BackgroundList: ...

    def __getitem__(self, index: int | slice) -> BackgroundEntry | BackgroundList:
        return BackgroundList(self.entries[index]) if isinstance(index, slice) else self.entries[index]

    def __add__(self, more: Iterable[BackgroundEntry]) -> BackgroundList:
        return BackgroundList((*self.entries, *more))

    @property
    def memory_print(self) -> str:
        """Fingerprint, by which `replay` finds it."""
        return fingerprint(self.image())

    @property
    def code(self) -> str:
        """Python code that stands for it."""
        return f"backgrounds({self.memory_print!r})"

    @property
    def sky(self) -> float:
        """Sum of the medians of the rounds: how bright the sky is."""
        return float(sum(entry.median for entry in self.entries))

    def image(self) -> np.ndarray:
        """Sum of the backgrounds, (y, x) of float32.

        Raises
        ------
        DataError
            If the list is empty.
        """
        if not self.entries:
            raise DataError("an empty list of backgrounds has no image; fit one first")
        total = self.entries[0].image().astype(np.float64)
        for entry in self.entries[1:]:
            total += entry.image()
        return total.astype(np.float32)

    def scale(self, factor: float) -> BackgroundList:
        """The same in another unit: every round times a factor."""
        return BackgroundList(tuple(entry.scale(factor) for entry in self.entries))

    def to_hdus(self, unit: str = "") -> list[Any]:
        """One FITS image for each round: levels and errors, (2, n_y, n_x), and how to put the background through."""
        from astropy.io import fits

        made = []
        for k, entry in enumerate(self.entries, 1):
            hdu = fits.ImageHDU(np.array([entry.levels, entry.errors]), name=EXTNAME, ver=k)
            hdu.header.update(
                IMAGE_NX=(entry.shape[1], "px"), IMAGE_NY=(entry.shape[0], "px"), BIN_SIZE=(entry.bin_size, "px"),
                BG_STYLE=entry.style, BG_ORDER=entry.order, BG_WGHT=entry.weighted, BUNIT=unit,
            )  # fmt: skip
            made.append(hdu)
        return made

    @classmethod
    def from_hdus(cls, hdus: Iterable[Any]) -> BackgroundList:
        """The list that `to_hdus` wrote; other extensions are passed over."""
        entries = []
        for hdu in sorted((h for h in hdus if h.name == EXTNAME), key=lambda h: h.ver):
            header = hdu.header
            shape = (int(header["IMAGE_NY"]), int(header["IMAGE_NX"]))
            how = (int(header["BIN_SIZE"]), str(header["BG_STYLE"]), int(header["BG_ORDER"]), bool(header["BG_WGHT"]))
            entries.append(BackgroundEntry(hdu.data[0], hdu.data[1], shape, *how))
        return cls(tuple(entries))


def _possible(entry: BackgroundEntry, order: int) -> int:
    """Greatest order up to `order` that the bins determine."""
    for lower in range(min(order, min(entry.levels.shape) - 1), 0, -1):
        try:
            _fitted(entry, lower)
        except DataError:
            continue
        return lower
    return 0


def _fitted(entry: BackgroundEntry, order: int) -> np.ndarray:
    """Coefficients of the polynomial."""
    y, x = (bin_centers(n, entry.bin_size) for n in entry.shape)
    xs, ys = np.meshgrid(x, y)
    weights = _weights(entry.errors) if entry.weighted else None
    return fit_chebyshev(xs, ys, entry.levels, order=order, shape=entry.shape, weights=weights)


def _weights(errors: np.ndarray) -> np.ndarray | None:
    """Inverse variances; bins whose pixels are all equal count as the best of the others."""
    positive = errors[np.isfinite(errors) & (errors > 0)]
    return None if positive.size == 0 else 1 / np.maximum(errors, positive.min()) ** 2
