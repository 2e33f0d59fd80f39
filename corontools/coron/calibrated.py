"""CalibratedContrast: detection limits in units of the star, what the subtraction takes made good."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from corontools.arrays.radial import ring_index, student_factor
from corontools.arrays.threads import in_threads
from corontools.coron.contrast import Statistics
from corontools.errors import DataError
from corontools.meta import Meta
from corontools.result import Result

if TYPE_CHECKING:
    from astropy.table import QTable

    from corontools.coron.detection import DetectionMap

__all__ = ["CalibratedContrast", "ModeChoice", "calibrated"]

# a ring of which less is measured and not masked says nothing of its separation
LEAST_SHARE = 0.1


@dataclass(frozen=True, eq=False, repr=False)
class CalibratedContrast(Result):
    """Detection limit against separation and as a map, for every number of modes.

    Made by `DetectionMap.contrast` or `ContrastCurve.calibrate`. In each ring, one FWHM wide, the values are medians
    over the pixels that are not masked.

    Attributes
    ----------
    modes : ndarray of int, shape (n,)
    radius : ndarray, shape (n_ring,)
        Middle of each ring, px.
    limit : ndarray, shape (n, n_ring)
        Flux of a source over the star's at the false-alarm probability of `level` sigma; NaN where too few resolution
        elements were measured.
    noise : ndarray, shape (n, n_ring)
        1-sigma error of a source's flux over the star's flux.
    throughput, spread : ndarray, shape (n, n_ring)
        Share of a source that is left, and half the range that holds the middle 68 % of it.
    elements : ndarray, shape (n_ring,)
        Independent resolution elements that the noise was measured on.
    image : ndarray, shape (n, y, x)
        The limit at every pixel.
    level : float
        Gaussian sigma.
    statistics : {"student", "gaussian"}
    star_flux, fwhm : float
        In multiples of the PSF; px.
    meta : Meta
    """

    modes: np.ndarray
    radius: np.ndarray
    limit: np.ndarray
    noise: np.ndarray
    throughput: np.ndarray
    spread: np.ndarray
    elements: np.ndarray
    image: np.ndarray
    level: float
    statistics: Statistics
    star_flux: float
    fwhm: float
    meta: Meta

    @property
    def sep(self) -> np.ndarray | None:
        """Radius in arcsec; None where the pixel scale isn't known."""
        return None if self.meta.pixel_scale is None else self.radius * self.meta.pixel_scale

    @property
    def sep_lambda(self) -> np.ndarray | None:
        """Radius in lambda/D, D as in `Meta.fwhm`; None where wavelength or pixel scale isn't known."""
        return self.radius / self.meta.fwhm if self.meta.fwhm else None

    def best_modes(self, sep: float | Sequence[float] | None = None) -> ModeChoice:
        """Number of modes with the deepest limit at a separation, and the limits that say so.

        Parameters
        ----------
        sep : float or sequence of float, optional
            Arcsec, or px where the pixel scale isn't known; by default every ring.

        Raises
        ------
        DataError
            If a separation lies outside the rings.
        """
        axis = self.radius if self.sep is None else self.sep
        at = np.array(axis if sep is None else np.atleast_1d(np.asarray(sep, np.float64)))
        if not ((at >= axis[0]) & (at <= axis[-1])).all():
            raise DataError(f"a separation of {sep} lies outside the rings, {axis[0]:.3g} to {axis[-1]:.3g}")
        limits = np.array([np.interp(at, axis, row) for row in self.limit]).T
        step = ".best_modes()" if sep is None else f".best_modes({sep!r})"
        return ModeChoice(sep=at, modes=self.modes, limits=limits, meta=self.meta, history=(*self.history, step))

    @property
    def table(self) -> QTable:
        """One row for each number of modes and ring, with units; metadata say what the limit is."""
        from astropy import units as u
        from astropy.table import QTable

        n, n_ring = self.limit.shape

        def each(row: np.ndarray) -> np.ndarray:
            return np.tile(row, n)

        columns: dict[str, Any] = {"modes": np.repeat(self.modes, n_ring), "radius": each(self.radius) * u.pix}
        if self.sep is not None:
            columns["sep"] = each(self.sep) * u.arcsec
        if self.sep_lambda is not None:
            columns["sep_lambda"] = each(self.sep_lambda)
        columns |= {name: getattr(self, name).ravel() for name in ("limit", "noise", "throughput", "spread")}
        columns["elements"] = each(self.elements)
        known = {name: getattr(self, name) for name in ("level", "statistics", "star_flux", "fwhm")}
        return QTable(columns, meta={**known, "unit": self.meta.unit, "chain": list(self.history)})

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the table (.ecsv, .csv) or the table and the maps (.fits: CONTRAST, LIMIT), by suffix."""
        from corontools.coron.products import write_calibrated

        return write_calibrated(self, path, overwrite=overwrite)

    def _values(self) -> np.ndarray:
        return self.limit

    def _rows(self) -> list[tuple[str, str]]:
        modes = f"{self.modes[0]} to {self.modes[-1]}" if self.modes.size > 1 else f"{self.modes[0]}"
        rows = [
            ("target", self.meta.title),
            ("limit", f"{self.level:g} sigma ({self.statistics}), star of {self.star_flux:.4g} PSF"),
            ("modes", modes),
        ]
        axis, unit = (self.radius, " px") if self.sep is None else (self.sep, '"')
        for place in (0.5, 1.0, 2.0) if self.sep is not None else axis[[axis.size // 4, axis.size // 2]]:
            if axis[0] <= place <= axis[-1]:
                choice = self.best_modes(float(place))
                if np.isfinite(choice.limit[0]):
                    rows.append((f"at {place:.3g}{unit}", f"{choice.limit[0]:.3g} with {choice.best[0]} modes"))
        return rows

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        shown = sorted({0, len(self.modes) // 2, len(self.modes) - 1})
        x, label = (self.radius, "separation (px)") if self.sep is None else (self.sep, "separation (arcsec)")
        curves = [quick.Series(x, self.limit[i], label=f"{self.modes[i]} modes") for i in shown]
        name = f"{self.level:g}-sigma contrast"
        return [
            quick.curve_picture(curves, self.meta.title, x_label=label, y_label=name),
            quick.image_picture(np.log10(self.image[-1]), f"log10 {name}, {self.modes[-1]} modes"),
        ]


@dataclass(frozen=True, eq=False, repr=False)
class ModeChoice(Result):
    """Which number of modes goes deepest at each separation.

    Attributes
    ----------
    sep : ndarray, shape (n_sep,)
        Arcsec, or px where the pixel scale isn't known.
    modes : ndarray of int, shape (n,)
    limits : ndarray, shape (n_sep, n)
        Calibrated limit against the number of modes.
    meta : Meta
    """

    sep: np.ndarray
    modes: np.ndarray
    limits: np.ndarray
    meta: Meta

    @property
    def best(self) -> np.ndarray:
        """Number of modes with the deepest limit, int (n_sep,); the fewest where several do, 0 where none is known."""
        known = np.isfinite(self.limits).any(axis=1)
        at = np.argmin(np.where(np.isfinite(self.limits), self.limits, np.inf), axis=1)
        return np.where(known, self.modes[at], 0)

    @property
    def limit(self) -> np.ndarray:
        """The deepest limit, (n_sep,); NaN where none is known."""
        deepest = np.where(np.isfinite(self.limits), self.limits, np.inf).min(axis=1)
        return np.where(np.isfinite(deepest), deepest, np.nan)

    @property
    def table(self) -> QTable:
        """Columns sep, modes, limit."""
        from astropy import units as u
        from astropy.table import QTable

        unit = u.arcsec if self.meta.pixel_scale is not None else u.pix
        return QTable({"sep": self.sep * unit, "modes": self.best, "limit": self.limit})

    def _values(self) -> np.ndarray:
        return self.limits

    def _rows(self) -> list[tuple[str, str]]:
        unit = '"' if self.meta.pixel_scale is not None else " px"
        shown = np.unique(np.linspace(0, self.sep.size - 1, min(self.sep.size, 6)).astype(int))
        return [
            (f"at {self.sep[i]:.3g}{unit}", f"{self.best[i]} modes, {self.limit[i]:.3g}")
            for i in shown
            if np.isfinite(self.limit[i])
        ]

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        unit = "arcsec" if self.meta.pixel_scale is not None else "px"
        known = np.flatnonzero(np.isfinite(self.limits).any(axis=1))
        shown = (
            known[np.unique(np.linspace(0, known.size - 1, min(known.size, 4)).astype(int))] if known.size else known
        )
        curves = [quick.Series(self.modes, self.limits[i], label=f"{self.sep[i]:.2g} {unit}") for i in shown]
        return [quick.curve_picture(curves, "limit by modes", x_label="KL modes", y_label="contrast")]


def calibrated(found: DetectionMap, *, star_flux: float, level: float, statistics: Statistics) -> CalibratedContrast:
    """See `DetectionMap.contrast`."""
    if not level > 0:
        raise DataError(f"the level should be a positive number of sigma, found {level}")
    if statistics not in get_args(Statistics):
        raise DataError(f"statistics should be 'student' or 'gaussian', found {statistics!r}")
    radius, elements = found.scatter.radius, found.scatter.elements
    few = elements < LEAST_SHARE * 2 * np.pi * radius / found.fwhm
    factor = student_factor(level, elements) if statistics == "student" else np.full(radius.size, float(level))
    factor[few] = np.nan
    ring, use = ring_index(found.masked.shape, found.center, found.fwhm), ~found.masked
    noise = _ring_quantiles(found.err, ring, use, radius.size, (0.5,))[0]
    low, throughput, high = _ring_quantiles(found.throughput, ring, use, radius.size, (0.16, 0.5, 0.84))
    return CalibratedContrast(
        modes=found.modes,
        radius=radius,
        limit=noise * factor / star_flux,
        noise=noise / star_flux,
        throughput=throughput,
        spread=(high - low) / 2,
        elements=elements,
        image=found.err * (factor / star_flux)[ring],
        level=float(level),
        statistics=statistics,
        star_flux=star_flux,
        fwhm=found.fwhm,
        meta=found.meta,
        history=found.history,
    )


def _ring_quantiles(
    images: np.ndarray, ring: np.ndarray, use: np.ndarray, n_ring: int, levels: Sequence[float]
) -> np.ndarray:
    """Quantiles over the used pixels of each ring, (len(levels), n, n_ring)."""
    out = np.full((len(levels), len(images), n_ring), np.nan)
    flat, index = images.reshape(len(images), -1), np.where(use, ring, -1).ravel()
    order = np.argsort(index, kind="stable")
    ends = np.searchsorted(index[order], np.arange(n_ring + 1))

    def measure(i: int) -> None:
        values = flat[:, order[ends[i] : ends[i + 1]]]
        values = values[:, np.isfinite(values).all(axis=0)]
        if values.shape[1]:
            out[..., i] = np.quantile(values, levels, axis=1)

    in_threads(measure, range(n_ring))
    return out
