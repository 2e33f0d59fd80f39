"""ContrastCurve: noise against separation (the table of the `hlsp` task) and the detection limit it sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from corontools.arrays.radial import annular_noise, student_factor
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.meta import Meta
from corontools.result import Result, verb

if TYPE_CHECKING:
    from astropy.table import QTable

    from corontools.coron.calibrated import CalibratedContrast
    from corontools.coron.detection import Transmission
    from corontools.coron.klip import KlipResult
    from corontools.coron.source import Source

__all__ = ["ContrastCurve", "Statistics", "measure"]

# of the noise in a ring: that of few samples, or that of infinitely many
Statistics = Literal["student", "gaussian"]


@dataclass(frozen=True, eq=False, repr=False)
class ContrastCurve(Result):
    """Noise of a subtracted image in rings around the star.

    Attributes
    ----------
    radius : ndarray
        Middle of each ring, px.
    noise : ndarray
        1-sigma scatter of its pixels, in `meta.unit`; NaN where it has no pixel.
    count : ndarray of int
        Its pixels.
    meta : Meta
        Of the image.
    level : float
        1 for the noise itself; n for a detection limit at the false-alarm rate of n Gaussian sigma.
    statistics : {"student", "gaussian"} or None
        Of a detection limit, see `sigma`; None for the noise itself.
    fwhm : float or None
        Width of a resolution element, px.
    star_flux : float or None
        What the limit is divided by.
    reduction : KlipResult or None
        Where the curve comes from, for `calibrate`.

    Examples
    --------
    >>> image = Exposure(np.random.default_rng(1).normal(size=(101, 101)))
    >>> curve = measure(image, width=2, center="image").sigma(5, fwhm=3)
    >>> [round(float(v), 1) for v in curve.limit[[5, 20]]]
    [6.9, 5.3]
    """

    radius: np.ndarray
    noise: np.ndarray
    count: np.ndarray
    meta: Meta
    level: float = 1.0
    statistics: Statistics | None = None
    fwhm: float | None = None
    star_flux: float | None = None
    reduction: KlipResult | None = None

    @verb
    def sigma(
        self, level: float = 5.0, *, statistics: Statistics = "student", fwhm: float | None = None
    ) -> ContrastCurve:
        """Detection limit at the false-alarm probability of `level` Gaussian sigma.

        Parameters
        ----------
        level : float
            Positive.
        statistics : {"student", "gaussian"}
            "student": few samples are allowed for. The noise of a ring of radius r was measured on n = 2 pi r / fwhm
            independent elements, and the limit is for one more (Mawet et al. 2014); rings with fewer than two give
            NaN. "gaussian": `level` standard deviations, as if the noise were well known. Near the star this promises
            too much; older limits are often of this kind.
        fwhm : float, optional
            Width of the PSF, px; by default that of the image's filter. "gaussian" needs none.

        Raises
        ------
        DataError
            If the level isn't positive, the statistics aren't known, or the width of the PSF isn't.
        """
        width = fwhm or self.fwhm or self.meta.fwhm
        if not level > 0:
            raise DataError(f"the level should be a positive number of sigma, found {level}")
        if statistics not in get_args(Statistics):
            raise DataError(f"statistics should be 'student' or 'gaussian', found {statistics!r}")
        if statistics == "student" and (not width or width <= 0):
            raise DataError("the width of the PSF isn't known from the header; give sigma(level, fwhm=<px>)")
        return self.with_(level=float(level), statistics=statistics, fwhm=width and float(width))

    @verb
    def normalize(self, star_flux: float) -> ContrastCurve:
        """In units of the star: divide by `star_flux`, the peak of its PSF off the mask, in `meta.unit`.

        Raises
        ------
        DataError
            If it isn't positive.
        """
        if not star_flux > 0:
            raise DataError(f"the flux of the star should be positive, found {star_flux}")
        return self.with_(star_flux=float(star_flux))

    @verb
    def calibrate(
        self,
        star_flux: float | None = None,
        psf: Source | np.ndarray | None = None,
        *,
        star_magnitude: float | None = None,
        zero_point: float | None = None,
        transmission: Transmission | None = None,
        modes: Sequence[int] | None = None,
    ) -> CalibratedContrast:
        """Contrast with what the subtraction takes of a source made good, for every number of modes.

        `reduction.detection_map(psf, ...).contrast(star_flux, ...)` at the level and with the statistics of this curve,
        5 sigma and Student's where it has none. See `DetectionMap` to leave companions or a disk out.

        Parameters
        ----------
        star_flux, star_magnitude, zero_point
            See `DetectionMap.contrast`.
        psf, transmission, modes
            See `KlipResult.detection_map`.

        Raises
        ------
        DataError
            If the curve isn't one of a KlipResult, or as these two do.
        """
        if self.reduction is None:
            raise DataError(
                "the subtraction behind this curve isn't known; start from KlipResult.contrast, or use "
                "corontools.detection_map([...]).contrast(...) for several rolls"
            )
        found = self.reduction.detection_map(psf, modes=modes, transmission=transmission)
        level, statistics = (self.level, self.statistics) if self.statistics else (5.0, "student")
        return found.contrast(
            star_flux,
            star_magnitude=star_magnitude,
            zero_point=zero_point,
            level=level,
            statistics=statistics,
        )

    @property
    def limit(self) -> np.ndarray:
        """The curve: noise times the factor that `sigma` asks for, over the star's flux if that was given."""
        curve = np.array(self.noise)
        if self.statistics is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                unbiased = np.where(self.count > 1, np.sqrt(self.count / (self.count - 1)), np.nan)
            curve *= unbiased * self._factor()
        return curve / (self.star_flux or 1.0)

    def _factor(self) -> np.ndarray | float:
        """Standard deviations that the limit is at."""
        if self.statistics == "gaussian" or self.fwhm is None:
            return self.level
        return student_factor(self.level, 2 * np.pi * self.radius / self.fwhm)

    @property
    def sep(self) -> np.ndarray | None:
        """Radius in arcsec; None where the pixel scale isn't known."""
        return None if self.meta.pixel_scale is None else self.radius * self.meta.pixel_scale

    @property
    def table(self) -> QTable:
        """Columns radius, sep (where known), noise, count and limit, with units."""
        from astropy import units as u
        from astropy.table import QTable

        unit = u.Unit(self.meta.unit or "", parse_strict="silent")
        if isinstance(unit, u.UnrecognizedUnit):  # "ADU", "counts/s": the words are kept in the metadata
            unit = u.dimensionless_unscaled
        columns: dict[str, Any] = {"radius": self.radius * u.pix}
        if self.sep is not None:
            columns["sep"] = self.sep * u.arcsec
        columns |= {"noise": self.noise * unit, "count": self.count}
        columns["limit"] = self.limit * (u.dimensionless_unscaled if self.star_flux else unit)
        known = {"level": self.level, "statistics": self.statistics, "unit": self.meta.unit}
        return QTable(columns, meta={**known, "chain": list(self.history)})

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the `_contrast` product (ContrastModel: radius in px, sigma) or, by suffix, .ecsv or .csv."""
        from corontools.coron.products import write_contrast

        return write_contrast(self, path, overwrite=overwrite)

    def _values(self) -> np.ndarray:
        return self.limit

    @property
    def name(self) -> str:
        """What the curve shows, for a legend or an axis."""
        what = {None: "noise", "student": "limit", "gaussian": "limit, Gaussian"}[self.statistics]
        unit = "of the star" if self.star_flux else self.meta.unit
        return f"{self.level:g}-sigma {what}" + (f" ({unit})" if unit else "")

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("curve", self.name), ("rings", f"{self.radius.size}, to {self.radius[-1]:g} px")]
        for target in (0.5, 1.0, 2.0):
            if self.sep is not None and self.sep[0] <= target <= self.sep[-1]:
                rows.append((f'at {target:g}"', f"{np.interp(target, self.sep, self.limit):.3g}"))
        return rows

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        # within a resolution element or two of the star few samples make any limit huge
        shown = self.radius >= 1.5 * (self.fwhm or 0.0)
        x = (self.radius if self.sep is None else self.sep)[shown]
        label = "separation (px)" if self.sep is None else "separation (arcsec)"
        series = [quick.Series(x, self.limit[shown], label=self.name)]
        return [quick.curve_picture(series, self.meta.title, x_label=label, y_label=self.name)]


def measure(
    image: Exposure, *, width: float, center: tuple[float, float] | str, history: tuple[str, ...] = ()
) -> ContrastCurve:
    """Noise of a (y, x) image in rings; see `KlipResult.contrast`."""
    radius, noise, count = annular_noise(image.data, center=_position(image, center), width=width)
    return ContrastCurve(radius=radius, noise=noise, count=count, meta=image.meta, history=history)


def _position(image: Exposure, center: tuple[float, float] | str) -> tuple[float, float]:
    if center == "star":
        return image.center
    if center == "image":
        ny, nx = image.data.shape[-2:]
        return (nx - 1) / 2, (ny - 1) / 2
    if isinstance(center, str):
        raise DataError(f"center should be 'star', 'image' or (x, y), found {center!r}")
    return float(center[0]), float(center[1])
