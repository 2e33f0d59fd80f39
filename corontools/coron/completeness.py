"""Completeness, ROC and false alarms: how often sources are found, and noise taken for one.

See `docs/contrast.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import special

from corontools import jobs
from corontools.arrays.radial import ring_index, student_factor
from corontools.coron.source import Source
from corontools.coron.zones import Zones
from corontools.errors import DataError
from corontools.meta import Meta
from corontools.result import Result, call

if TYPE_CHECKING:
    from astropy.table import QTable

    from corontools.coron.aligned import AlignedRefs
    from corontools.coron.detection import DetectionMap

__all__ = ["Completeness", "FalseAlarms", "completeness", "false_alarms", "roc"]


@dataclass(frozen=True, eq=False, repr=False)
class Completeness(Result):
    """Share of sources that are found, against contrast and separation, for every number of modes.

    Made by `DetectionMap.completeness`. The subtraction is linear: a source of flux f at a pixel adds f to the flux map
    there, so the least flux that is found is known at every pixel without injecting one.

    Attributes
    ----------
    modes : ndarray of int, shape (n,)
    radius : ndarray, shape (n_ring,)
        Middle of each ring, px.
    least : tuple of ndarray, each of shape (n, m)
        For each ring, contrast from which on a source at each of its m pixels is found, increasing; negative where
        noise alone would be taken for one.
    level : float
        Gaussian sigma of the false-alarm probability.
    star_flux : float
    meta : Meta
    """

    modes: np.ndarray
    radius: np.ndarray
    least: tuple[np.ndarray, ...]
    level: float
    star_flux: float
    meta: Meta

    @property
    def sep(self) -> np.ndarray | None:
        """Radius in arcsec; None where the pixel scale isn't known."""
        return None if self.meta.pixel_scale is None else self.radius * self.meta.pixel_scale

    def found(self, contrast: float | Sequence[float]) -> np.ndarray:
        """Share of sources of these contrasts that are found, (len(contrast), n, n_ring); NaN in empty rings."""
        given = np.atleast_1d(np.asarray(contrast, np.float64))
        out = np.full((given.size, self.modes.size, self.radius.size), np.nan)
        for i, least in enumerate(self.least):
            if least.shape[1]:
                out[..., i] = (least <= given[:, None, None]).mean(axis=-1)
        return out

    def limit(self, share: float = 0.95) -> np.ndarray:
        """Contrast at which this share of sources is found, (n, n_ring); NaN in empty rings.

        Raises
        ------
        DataError
            If the share isn't between 0 and 1.
        """
        if not 0 < share < 1:
            raise DataError(f"a share of sources lies between 0 and 1, found {share}")
        out = np.full((self.modes.size, self.radius.size), np.nan)
        for i, least in enumerate(self.least):
            if least.shape[1]:
                out[:, i] = np.quantile(least, share, axis=1)
        return out

    def _values(self) -> np.ndarray:
        return self.limit()

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("target", self.meta.title), ("detection", f"{self.level:g} sigma (student)")]
        axis, unit = (self.radius, " px") if self.sep is None else (self.sep, '"')
        half, most = self.limit(0.5)[-1], self.limit(0.95)[-1]
        for i in np.unique(np.linspace(2, axis.size // 2, 3).astype(int)):
            if np.isfinite(most[i]):
                rows.append((f"at {axis[i]:.3g}{unit}", f"50 % at {half[i]:.3g}, 95 % at {most[i]:.3g}"))
        return [*rows, ("modes", f"{self.modes[-1]} in this table, of {self.modes.tolist()[:8]}")]

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        axis, label = (self.radius, "separation (px)") if self.sep is None else (self.sep, "separation (arcsec)")
        curves = [quick.Series(axis, self.limit(s)[-1], label=f"{100 * s:.0f} %") for s in (0.5, 0.95)]
        return [quick.curve_picture(curves, f"{self.modes[-1]} modes", x_label=label, y_label="contrast found")]


def completeness(found: DetectionMap, *, star_flux: float, level: float) -> Completeness:
    """See `DetectionMap.completeness`."""
    ring, use = ring_index(found.masked.shape, found.center, found.fwhm).ravel(), ~found.masked.ravel()
    factor = student_factor(level, found.scatter.elements)
    threshold = factor[ring].reshape(found.masked.shape)
    # what a source has to add to the noise that is there
    needed = ((threshold - found.snr) * found.err / star_flux).reshape(len(found.modes), -1)
    least = []
    for i in range(factor.size):
        values = needed[:, use & (ring == i)]
        least.append(np.sort(values[:, np.isfinite(values).all(axis=0)], axis=1))
    return Completeness(
        modes=found.modes,
        radius=found.scatter.radius,
        least=tuple(least),
        level=float(level),
        star_flux=star_flux,
        meta=found.meta,
        history=found.history,
    )


def roc(found: DetectionMap, flux: float, *, within: tuple[float, float], modes: int) -> QTable:
    """See `DetectionMap.roc`."""
    from astropy.table import QTable

    y, x = np.indices(found.masked.shape)
    r = np.hypot(x - found.center[0], y - found.center[1])
    i = found.index(modes)
    use = (r >= within[0]) & (r < within[1]) & ~found.masked & np.isfinite(found.snr[i])
    if not use.any():
        raise DataError(f"no pixel from {within[0]:g} to {within[1]:g} px from the star was measured")
    noise = np.sort(found.snr[i][use])
    seen = np.sort((found.snr[i] + flux / found.err[i])[use])
    threshold = np.linspace(-1.0, float(max(seen[-1], noise[-1])), 200)
    positive = {
        name: 1 - np.searchsorted(values, threshold, side="right") / values.size
        for name, values in (("false_positive", noise), ("true_positive", seen))
    }
    return QTable({"threshold": threshold, **positive}, meta={"modes": modes, "flux": flux, "within": list(within)})


@dataclass(frozen=True, eq=False, repr=False)
class FalseAlarms(Result):
    """How often the noise of reference stars, each taken as science, exceeds a threshold.

    Attributes
    ----------
    threshold : ndarray, shape (m,)
        S/N.
    rate : ndarray, shape (n_ref, m)
        Share of the pixels above it, for each reference.
    modes : int
    meta : Meta
    """

    threshold: np.ndarray
    rate: np.ndarray
    modes: int
    meta: Meta

    @property
    def expected(self) -> np.ndarray:
        """The same share for Gaussian noise, (m,)."""
        return np.asarray(special.ndtr(-self.threshold))

    @property
    def table(self) -> QTable:
        """Columns threshold, rate (mean over the references), highest, expected."""
        from astropy.table import QTable

        columns = {"threshold": self.threshold, "rate": self.rate.mean(axis=0), "highest": self.rate.max(axis=0)}
        return QTable({**columns, "expected": self.expected}, meta={"modes": self.modes})

    def _values(self) -> np.ndarray:
        return self.rate

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("references", f"{len(self.rate)}, each as science, {self.modes} modes")]
        for t, rate, gauss in zip(self.threshold, self.rate.mean(axis=0), self.expected, strict=True):
            rows.append((f"S/N > {t:g}", f"{rate:.2g} of the pixels; {gauss:.2g} in Gaussian noise"))
        return rows


def false_alarms(
    aligned: AlignedRefs,
    modes: int,
    *,
    psf: Source | np.ndarray | None = None,
    zones: Literal["shared", "full"] | Zones = "shared",
    thresholds: Sequence[float] = (2.0, 3.0, 4.0, 5.0),
) -> FalseAlarms:
    """See `AlignedRefs.false_alarms`."""
    levels = np.asarray(thresholds, np.float64)
    rate = partial(_alarms, modes=modes, psf=psf, zones=zones, levels=levels)
    rates = jobs.run(rate, range(aligned.n_ref), name="false alarms", unit="reference", shared=aligned, fail_fast=True)
    step = "." + call(type(aligned).false_alarms, aligned, modes, psf=psf, zones=zones, thresholds=list(thresholds))
    return FalseAlarms(
        threshold=levels,
        rate=np.array(rates),
        modes=int(modes),
        meta=aligned.target.meta,
        history=(*aligned.history, step),
    )


def _alarms(
    j: int, aligned: AlignedRefs, *, modes: int, psf: Any, zones: Literal["shared", "full"] | Zones, levels: np.ndarray
) -> list[float]:
    """Share of the pixels above each level where reference j is taken as science."""
    left = aligned.as_science(j)
    count = min(modes, left.n_ref)
    snr = left.klip(count, zones=zones).detection_map(psf, modes=[count]).snr
    known = snr[np.isfinite(snr)]
    return [float(np.mean(known > level)) for level in levels]
