"""SeriesReading: limits, S/N and words of a series of mode counts, in the units that are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from corontools.coron.contrast import ContrastCurve
from corontools.coron.series import ModeSeries
from corontools.display.frame import Sky
from corontools_widgets.image_pane import RadialNoise

__all__ = ["SeriesReading"]

NEAR = 1.5  # widths of the PSF about the star, where a limit says little
PLACES = 64  # of which the S/N is kept, and frames of which the spread is


@dataclass(frozen=True, eq=False)
class SeriesReading:
    """A series as it is read in a view: separations in arcsec where the pixel scale is known, limits at a level.

    Attributes
    ----------
    series : ModeSeries
    sky : Sky
        Of its frames.
    level : float
        Sigma of the limits.
    star_flux : float or None
        Peak of the star's PSF off the mask, in the unit of the images: limits and fluxes are contrasts then.
    """

    series: ModeSeries
    sky: Sky
    level: float = 5.0
    star_flux: float | None = None

    @property
    def scale(self) -> float:
        """Arcsec per pixel, or 1 where that is not known."""
        return self.series.klip.target.meta.pixel_scale or 1.0

    @property
    def unit(self) -> str:
        """Of separations, written after a number."""
        return "″" if self.series.klip.target.meta.pixel_scale else " px"

    @property
    def axis(self) -> str:
        """Label of an axis of separations."""
        return f"separation ({'arcsec' if self.series.klip.target.meta.pixel_scale else 'px'})"

    @property
    def sep(self) -> np.ndarray:
        """Separations of the rings, shape (n_ring,)."""
        return self.series.radius * self.scale

    @property
    def inner(self) -> float:
        """Separation within which limits say little."""
        return NEAR * (self.series.klip.target.meta.fwhm or 2.0) * self.scale

    @property
    def image_unit(self) -> str:
        """Unit of the images."""
        return self.series.klip.target.meta.unit

    @property
    def limit_name(self) -> str:
        """What the limits are, with their unit."""
        if self.star_flux:
            return f"{self.level:g}σ contrast"
        return f"{self.level:g}σ limit" + (f" ({self.image_unit})" if self.image_unit else "")

    @cached_property
    def limit(self) -> np.ndarray:
        """Limits, shape (n, n_ring)."""
        return self.series.limit(self.level, star_flux=self.star_flux)

    @property
    def noise(self) -> RadialNoise:
        """What the pane reads under the pointer."""
        return RadialNoise(self.series.radius, self.series.noise, self.limit, limit_name=self.limit_name)

    def curve(self, modes: int) -> ContrastCurve:
        """The contrast curve of a mode count, at the level that is shown."""
        curve = self.series.curve(modes)
        if curve.meta.fwhm:
            curve = curve.sigma(self.level)
        return curve.normalize(self.star_flux) if self.star_flux else curve

    def snr(self, place: tuple[float, float]) -> np.ndarray:
        """S/N at (x, y), shape (n,); NaN where the width of the PSF is not known."""
        if not self.series.klip.target.meta.fwhm:
            return np.full(len(self.series), np.nan)
        return self._snr_at((float(place[0]), float(place[1])))

    @cached_property
    def _spread(self) -> Callable[[int], float]:
        """Standard deviation of a frame."""
        return lru_cache(PLACES)(lambda index: float(np.nanstd(self.series.frames[index])))

    @cached_property
    def _snr_at(self) -> Callable[[tuple[float, float]], np.ndarray]:
        """S/N of every mode count at a place; the slider's steps ask for the same places again and again."""
        return lru_cache(PLACES)(self.series.snr_at)

    def sep_of(self, place: tuple[float, float]) -> float:
        """Separation of (x, y) from the star."""
        return self.radius_of(place) * self.scale

    def radius_of(self, place: tuple[float, float]) -> float:
        """Separation of (x, y) from the star, px."""
        return float(np.hypot(place[0] - self.sky.origin[0], place[1] - self.sky.origin[1]))

    def flux(self, flux: float) -> str:
        """A flux as contrast where the star's is known, else in the unit of the images."""
        return f"{flux / self.star_flux:.3g}" if self.star_flux else f"{flux:.4g} {self.image_unit}".strip()

    def summary(self, index: int) -> str:
        """A line about one mode count."""
        share, spread = float(self.series.explained[index]), self._spread(index)
        n = int(self.series.modes[index])
        explain = "1 mode explains" if n == 1 else f"{n} modes explain"
        return f"{explain} {100 * share:.4g} % of the variance; residual {spread:.3g} {self.image_unit} rms"

    def words(self, index: int, places: Mapping[str, tuple[float, float]]) -> str:
        """What is seen at one mode count, with the S/N at places of which the name is given."""
        lines = [f"{self.series.klip.target.meta.title}: {self.summary(index)}."]
        nodes = (0.5, 1.0, 2.0) if self.unit == "″" else (10.0, 30.0)
        within = [r for r in nodes if self.sep[0] < r < self.sep[-1]]
        limits = [f"{np.interp(r, self.sep, self.limit[index]):.3g} at {r:g}{self.unit}" for r in within]
        if limits:
            lines.append(f"{self.limit_name}: {', '.join(limits)}.")
        lines += [f"S/N of {name}: {self.snr(place)[index]:.1f}." for name, place in places.items()]
        return "\n".join(lines)
