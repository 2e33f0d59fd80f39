"""ModeSeries: the mean residual for every number of modes, and a source in all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.arrays.apertures import aperture_snr_series
from corontools.arrays.radial import annular_noise
from corontools.coron.contrast import ContrastCurve
from corontools.coron.coverage import Coverage
from corontools.coron.matching import chosen_modes, flux_at, linear
from corontools.coron.rotation import is_turned
from corontools.coron.source import Footprint, Source, footprint
from corontools.coron.subspace import science_rows
from corontools.errors import DataError
from corontools.result import Result, call, verb

if TYPE_CHECKING:
    from corontools.coron.klip import KlipResult

__all__ = ["ModeSeries", "series"]


@dataclass(frozen=True, eq=False, repr=False)
class ModeSeries(Result):
    """Mean residual of all integrations for many numbers of modes.

    Made by `KlipResult.series`.

    Attributes
    ----------
    klip : KlipResult
        The decomposition.
    modes : ndarray of int, shape (n,)
        Numbers of modes, increasing.
    frames : ndarray of float32, shape (n, y, x)
        Mean over the integrations of `klip.at(k).frames`; NaN where none has data.
    coverage : Coverage
        Which integrations have which pixel.

    Examples
    --------
    >>> from corontools import PSFStack
    >>> from corontools.simulate import null
    >>> science, references = null(3, 8, shape=48)
    >>> series = PSFStack.from_exposures([references]).align_to(science, to="none").klip(8).series()
    >>> series.frames.shape
    (8, 48, 48)
    >>> with_planet = series.inject(2.0, position=(34.0, 20.0))
    >>> (with_planet.flux_at((34.0, 20.0)) - series.flux_at((34.0, 20.0))).round(6).tolist()
    [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    """

    klip: KlipResult
    modes: np.ndarray
    frames: np.ndarray
    coverage: Coverage

    def __len__(self) -> int:
        return len(self.modes)

    def index(self, modes: int) -> int:
        """Place of a number of modes in the series.

        Raises
        ------
        DataError
            If the series doesn't hold it.
        """
        at = int(np.searchsorted(self.modes, modes))
        if at == len(self.modes) or self.modes[at] != modes:
            raise DataError(f"the series has no frame of {modes} modes; it has {_listed(self.modes)}")
        return at

    @property
    def radius(self) -> np.ndarray:
        """Middle of each ring, (n_ring,) px."""
        return self._rings[0]

    @property
    def noise(self) -> np.ndarray:
        """1-sigma scatter in rings 2 px wide around the star, (n, n_ring), as `KlipResult.contrast` measures it."""
        return self._rings[1]

    @cached_property
    def _rings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rings = [annular_noise(frame, center=self.klip.target.center) for frame in self.frames]
        return rings[0][0], np.array([noise for _, noise, _ in rings]), rings[0][2]

    @cached_property
    def explained(self) -> np.ndarray:
        """Share of the science images' variance that the modes take, (n,)."""
        share = self.klip.variance_explained
        return share[np.minimum(self.modes, share.size - 1)]

    def curve(self, modes: int) -> ContrastCurve:
        """Noise against separation for one of the numbers of modes: `klip.at(modes).contrast()`."""
        from corontools.coron.klip import KlipResult

        at, one = self.index(modes), self.klip.at(modes)
        radius, noise, count = self._rings
        history = (*one.history, "." + call(KlipResult.contrast, one))
        meta = one.target.meta.with_(history=one.history)
        return ContrastCurve(radius=radius, noise=noise[at], count=count, meta=meta, history=history)

    def limit(self, level: float = 5.0, *, star_flux: float | None = None, fwhm: float | None = None) -> np.ndarray:
        """Detection limit in every ring for every number of modes, (n, n_ring).

        See `ContrastCurve.sigma` and `normalize`. Where the width of the PSF isn't known, it is `level` times the
        noise.

        Parameters
        ----------
        level : float
            Gaussian sigma.
        star_flux : float, optional
            What to divide by, in the unit of the images.
        fwhm : float, optional
            Width of the PSF, px; by default that of the instrument.

        Raises
        ------
        DataError
            If the level or the star's flux isn't positive.
        """
        width = fwhm or self.klip.target.meta.fwhm
        curves = [self.curve(int(k)) for k in self.modes]
        if star_flux is not None:
            curves = [curve.normalize(star_flux) for curve in curves]
        if width:
            return np.array([curve.sigma(level, fwhm=width).limit for curve in curves])
        return level * np.array([curve.limit for curve in curves])

    def snr_at(self, position: tuple[float, float], *, fwhm: float | None = None) -> np.ndarray:
        """S/N of a source at a 0-based (x, y) for every number of modes, (n,).

        By the apertures at its separation, see `arrays.apertures.aperture_snr`; NaN where fewer than two were measured.

        Raises
        ------
        DataError
            If the width of the PSF isn't known.
        """
        width = fwhm or self.klip.target.meta.fwhm
        if not width:
            raise DataError("the width of the PSF isn't known from the header; give snr_at(position, fwhm=<px>)")
        return aperture_snr_series(self.frames, position, center=self.klip.target.center, fwhm=width)

    def flux_at(self, position: tuple[float, float], *, psf: Source | np.ndarray | None = None) -> np.ndarray:
        """Flux of a source at a 0-based (x, y) for every number of modes, (n,), what the subtraction takes made good.

        The residual is matched with the PSF p, and so is the response q of the subtraction to a source of flux 1:
        <residual, p> / <q, p>, over all integrations the least-squares fit of q to the residual. Unbiased where the
        star's residual doesn't follow p, see `docs/klip.md`. NaN where nothing is left of a source.

        Parameters
        ----------
        position : (float, float)
        psf : Source or ndarray, optional
            Image of a source of flux 1, see `KlipResult.inject`.

        Raises
        ------
        DataError
            With "adi" and "ardi": the source is in the references too and subtracts itself.
        """
        return flux_at([self.klip], position=position, psf=psf, modes=self.modes.tolist()).flux

    def throughput_at(self, position: tuple[float, float], *, psf: Source | np.ndarray | None = None) -> np.ndarray:
        """Share <q, p> / <p, p> of a source at a 0-based (x, y) that the subtraction leaves, (n,); see `flux_at`."""
        linear(self.klip, "throughput_at")
        return flux_at([self.klip], position=position, psf=psf, modes=self.modes.tolist()).throughput

    @verb
    def inject(
        self,
        flux: float,
        *,
        position: tuple[float, float] | None = None,
        sep: float | None = None,
        pa: float | None = None,
        psf: Source | np.ndarray | None = None,
    ) -> ModeSeries:
        """The series for science images with a source added; see `KlipResult.inject`.

        What the subtraction leaves of the source alone is added to every frame. Not with "adi" and "ardi", where the
        modes change with the source.
        """
        linear(self.klip, "inject")
        source = footprint(self.klip.target, flux, position=position, sep=sep, pa=pa, psf=psf)
        frames = self._response(source, self.modes)
        frames += self.frames
        klip = self.klip.inject(flux, position=position, sep=sep, pa=pa, psf=psf)
        return self.with_(klip=klip, frames=frames)

    def injected_frame(
        self,
        i: int,
        flux: float,
        *,
        position: tuple[float, float] | None = None,
        sep: float | None = None,
        pa: float | None = None,
        psf: Source | np.ndarray | None = None,
    ) -> np.ndarray:
        """Frame i of `inject(...)` alone, float32 (y, x): what follows a source that is dragged."""
        linear(self.klip, "injected_frame")
        source = footprint(self.klip.target, flux, position=position, sep=sep, pa=pa, psf=psf)
        return self._response(source, self.modes[[i]])[0] + self.frames[i]

    def _response(self, source: Footprint, modes: np.ndarray) -> np.ndarray:
        """What the subtraction leaves of a source in the mean of the integrations, float32 (n, y, x)."""
        good = self.klip.target.good.reshape(self.klip.target.n_int, -1)
        total, tables = np.zeros(self.klip.zones.size), []
        for space in self.klip.subspaces:
            light, at = space.light(source, good)
            total[space.pixels[at]] += light.sum(axis=0)
            table = space.with_scores(space.scores_of(source, good)).table(modes)
            tables.append(table.astype(space.basis.dtype))  # 7 digits of the source do where the modes have no more
        images = self.coverage.mean(self.klip.subspaces, tables, total)
        return images.reshape(len(modes), *self.klip.zones.shape)

    def _values(self) -> np.ndarray:
        return self.frames

    def _rows(self) -> list[tuple[str, str]]:
        ny, nx = self.klip.zones.shape
        return [
            ("target", self.klip.target.meta.title),
            ("modes", _listed(self.modes)),
            ("frames", f"{len(self)} of {ny} x {nx} px, mean of {self.klip.target.n_int} integrations"),
        ]

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        shown = sorted({0, len(self) // 2, len(self) - 1})
        curves = [quick.Series(self.radius, self.noise[i], label=f"{self.modes[i]} modes") for i in shown]
        return [
            quick.image_picture(self.frames[-1], f"mean residual, {self.modes[-1]} modes"),
            quick.curve_picture(curves, "noise", x_label="separation (px)", y_label="1-sigma noise"),
        ]


def series(klip: KlipResult, modes: Sequence[int] | None) -> ModeSeries:
    """Mean residuals of a result; see `KlipResult.series`."""
    if is_turned(klip.target):
        raise DataError(
            "the integrations have different angles, their mean would smear the sky; turn them north up for each "
            "number of modes: [klip.at(k).combine() for k in ...]"
        )
    chosen = chosen_modes(modes, klip.max_modes)
    coverage, total = Coverage.of(klip), np.zeros(klip.zones.size)
    for space in klip.subspaces:
        values, good = science_rows(klip.target, space.pixels, space.integrations)
        total[space.pixels] += values.sum(axis=0) if good.all() else np.sum(values, axis=0, where=good)
    frames = coverage.mean(klip.subspaces, [space.table(chosen) for space in klip.subspaces], total)
    frames = frames.reshape(chosen.size, *klip.zones.shape)
    return ModeSeries(klip=klip, modes=chosen, frames=frames, coverage=coverage, history=klip.history)


def _listed(modes: np.ndarray) -> str:
    if len(modes) > 2 and np.array_equal(np.diff(modes), np.ones(len(modes) - 1)):
        return f"{modes[0]} to {modes[-1]}"
    return ", ".join(map(str, modes))
