"""KlipResult: the science images less the star, for every number of Karhunen-Loeve modes (the `klip` task)."""

from __future__ import annotations

import numbers
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from corontools.coron.aligned import AlignedRefs
from corontools.coron.noise import measured_noise, residual_noise
from corontools.coron.rotation import RDI, Choice, Rule, decompose_jobs, is_turned
from corontools.coron.subspace import References, Subspace, decompose, label_zones, science_rows
from corontools.coron.zones import Zones
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.result import Result, call, verb

if TYPE_CHECKING:
    from corontools.coron.combined import CombinedImage
    from corontools.coron.companion import CompanionFit
    from corontools.coron.contrast import ContrastCurve
    from corontools.coron.detection import DetectionMap, Transmission
    from corontools.coron.forward import Response
    from corontools.coron.rotation import Strategy
    from corontools.coron.series import ModeSeries
    from corontools.coron.source import Source

__all__ = ["KlipResult", "subtract"]


@dataclass(frozen=True, eq=False, repr=False)
class KlipResult(Result):
    """Science images less the star.

    Made by `AlignedRefs.klip`; `at(k)` is the same with another number of modes and costs nothing.

    Attributes
    ----------
    aligned : AlignedRefs
        References and science images.
    modes : int
        Number of KL modes of `residual`, `psf` and `err`.
    zones : ndarray of int, shape (y, x)
        Zone of each pixel, from 1; 0 belongs to none.
    subspaces : tuple of Subspace
    areas : str or Zones
        What was asked for: "shared", "full" or `Zones`.
    rule : Rule
        What made a frame a reference: strategy, min_rotation and fwhm.
    """

    aligned: AlignedRefs
    modes: int
    zones: np.ndarray
    subspaces: tuple[Subspace, ...]
    areas: Literal["shared", "full"] | Zones = "shared"
    rule: Rule = RDI

    @property
    def strategy(self) -> Strategy:
        """References of a frame: "rdi", "adi" or "ardi", see `AlignedRefs.klip`."""
        return self.rule.strategy

    @property
    def target(self) -> Exposure:
        """The science images before subtraction, (n_int, y, x)."""
        return self.aligned.target

    @property
    def max_modes(self) -> int:
        """Largest number of modes there is."""
        return max(len(space.basis) for space in self.subspaces)

    def at(self, modes: int) -> KlipResult:
        """The same decomposition cut after `modes` modes; 0 subtracts the mean only.

        Warns where there are fewer modes, and gives all there are.

        Raises
        ------
        DataError
            If modes is negative.
        """
        modes = _clipped(modes, self.max_modes, "modes in this result", stacklevel=3)
        # the last choice counts: a slider that was moved a hundred times leaves one line
        earlier = [step for step in self.history if not step.startswith(".at(")]
        return self.with_(modes=modes, history=(*earlier, f".at({modes})"))

    @cached_property
    def frames(self) -> np.ndarray:
        """Residual pixels (n_int, y, x); NaN outside the zones and where the science has no data."""
        out = self._filled_in(_left_over)
        out.flags.writeable = False
        return out

    @cached_property
    def noise(self) -> tuple[np.ndarray, np.ndarray]:
        """Variance of the residual in two parts (n_int, y, x): shared by the integrations of the exposure, and own.

        Shared are speckles and the photon noise of the references. They come from the references: each is subtracted
        by those of the other exposures (or stars) with as many modes, so the squares of what is left, on the scale
        of the science star, are drawn from the same distribution as the science residual. Own is the photon and
        read noise of each integration, propagated through the subtraction. See `docs/klip.md`.

        With "adi" and "ardi" references and science share speckles as near frames do, so the references can't tell
        what is left of them. The noise is measured in the residual instead: the scatter in rings 2 px wide around the
        star, see `arrays.radial.scatter_map`. A bright source, or a disk, raises it.
        """
        out = residual_noise(self) if self.strategy == "rdi" else measured_noise(self)
        out.flags.writeable = False
        return out[0], out[1]

    @cached_property
    def err(self) -> np.ndarray:
        """1-sigma error of the residual, (n_int, y, x); NaN where the residual is."""
        err = np.sqrt(self.noise[0] + self.noise[1])
        err[np.isnan(self.frames)] = np.nan
        err.flags.writeable = False
        return err

    @cached_property
    def residual(self) -> Exposure:
        """Science less the star, with `err`; pixels without a value are DO_NOT_USE."""
        empty = np.isnan(self.frames)
        dq = self.target.flags()
        dq[empty] |= np.uint32(DQ.DO_NOT_USE)
        dq[:, self.zones == 0] |= np.uint32(DQ.NON_SCIENCE)
        return self._image(self.frames, err=self.err, dq=dq)

    @cached_property
    def psf(self) -> Exposure:
        """The model of the star that was subtracted, the mean level of each zone included."""
        return self._image(self._filled_in(lambda target, space, modes: space.model(modes)))

    @cached_property
    def snr(self) -> Exposure:
        """Residual over its error, pixel by pixel."""
        with np.errstate(invalid="ignore", divide="ignore"):
            snr = self.frames / self.err
        return self._image(snr, meta=self._meta.with_(unit=""))

    @property
    def variance_explained(self) -> np.ndarray:
        """Share of the science images' variance that the first 0, 1, ... max_modes modes take, (max_modes + 1,)."""
        taken, total = np.zeros(self.max_modes + 1), 0.0
        for space in self.subspaces:
            values, good = science_rows(self.target, space.pixels, space.integrations)
            power = np.sum(np.square(values, where=good, out=np.zeros_like(values)))
            amplitude = np.square(space.scores[:, 1:]).sum(axis=0)
            steps = np.concatenate([[0.0], np.cumsum(amplitude)])
            taken += np.pad(steps, (0, taken.size - steps.size), mode="edge")
            total += power - np.square(space.scores[:, 0]).sum()
        return taken / total if total > 0 else taken

    @verb
    def series(self, modes: Sequence[int] | None = None) -> ModeSeries:
        """Mean residual of all integrations for many numbers of modes at once, with its noise and S/N.

        Parameters
        ----------
        modes : sequence of int, optional
            Increasing; by default 1 to max_modes, 60 of them evenly spread where there are more.

        Raises
        ------
        DataError
            If the numbers don't increase, or lie beyond those of this result, or the sky turns between the integrations
            (a mean of them would smear it).
        """
        from corontools.coron.series import series

        return series(self, modes)

    @verb
    def inject(
        self,
        flux: float | Sequence[float],
        *,
        position: tuple[float, float] | Sequence[tuple[float, float]] | None = None,
        sep: float | Sequence[float] | None = None,
        pa: float | Sequence[float] | None = None,
        psf: Source | np.ndarray | None = None,
    ) -> KlipResult:
        """The result for science images with a source, or several, added to every integration.

        With "rdi" the references hold nothing of the science images, so the modes stay and the projection of the source
        is added to theirs: exactly what `aligned.inject(...).klip(...)` gives (to 7 digits of the source with
        to="each", whose modes are kept so). With "adi" and "ardi" the source is in the references of the same star too,
        at their own angles, and subtracts itself: all is reduced again with it, as `aligned.inject(..., into="star")`
        and the same `klip` do. The source has no noise of its own, errors of the images stay.

        Parameters
        ----------
        flux : float or sequence of float
            Times the PSF: the peak, in the unit of the images, of a Gaussian; may be negative. Several sources at once
            have a list of fluxes, of places, or both; one value serves all.
        position : (float, float) or sequence of them, optional
            0-based (x, y), in the first integration; where `Exposure.angles` differ it turns about the star with the
            sky.
        sep, pa : float or sequence of float, optional
            Instead: arcsec from the star and degrees east of north, by the angles or the WCS.
        psf : Source or ndarray, optional
            Image of a source of flux 1; by default a Gaussian as wide as the core of the PSF.

        Raises
        ------
        DataError
            If a place is missing or outside the image, there are more places than fluxes, or the width of the PSF isn't
            known.
        """
        from corontools.coron.source import footprint, several

        if self.strategy != "rdi" or is_turned(self.target):
            into: Literal["science", "star"] = "science" if self.strategy == "rdi" else "star"
            return self._again(self.aligned.inject(flux, position=position, sep=sep, pa=pa, psf=psf, into=into))
        spaces, good = self.subspaces, self.target.good.reshape(self.target.n_int, -1)
        for one, place in several(flux, position=position, sep=sep, pa=pa):
            source = footprint(self.target, one, psf=psf, **place)
            spaces = tuple(s.with_scores(s.scores + s.scores_of(source, good)) for s in spaces)
        return self.with_(
            aligned=self.aligned.inject(flux, position=position, sep=sep, pa=pa, psf=psf), subspaces=spaces
        )

    def detection_map(
        self,
        psf: Source | np.ndarray | None = None,
        *,
        modes: Sequence[int] | None = None,
        transmission: Transmission | None = None,
    ) -> DetectionMap:
        """Flux, error and S/N of a source at every pixel, for every number of modes.

        The subtraction is linear in the science image, so what it leaves of a source is known without injecting one: a
        correlation per mode, see `docs/contrast.md`. With "adi" and "ardi", and where integrations have different
        angles, the maps are those of the combined image, north up, and what is left of a faint source follows to first
        order (`response`) at places around the star; a transmission then acts as its mean over the integrations.

        Parameters
        ----------
        psf : Source or ndarray, optional
            Image of a source of flux 1; by default a Gaussian as wide as the core of the PSF.
        modes : sequence of int, optional
            Increasing; by default 1 to max_modes, 60 of them evenly spread where there are more, or the number of this
            result where the sky turns.
        transmission : ndarray (y, x), Exposure or function of (x, y), optional
            Of the coronagraph for a source at each pixel, such as JWST's psfmask.

        Raises
        ------
        DataError
            If the width of the PSF isn't known, or the transmission has another shape or is negative.
        """
        from corontools.coron.detection import detect, sampled

        given = sampled(transmission, self.target)
        step = "." + call(KlipResult.detection_map, self, psf, modes=modes, transmission=given)
        made = detect(self, psf, modes=modes, transmission=given)
        return made.with_(history=(*self.history, step))

    def throughput(
        self,
        psf: Source | np.ndarray | None = None,
        *,
        modes: Sequence[int] | None = None,
        transmission: Transmission | None = None,
    ) -> np.ndarray:
        """Share of a source that is left, (n, y, x), for every number of modes; see `detection_map`.

        <q, p> / <p, p> with p the PSF at a pixel and q what the subtraction leaves of it, times the transmission. NaN
        where less than 5 % of the PSF was measured.
        """
        return self.detection_map(psf, modes=modes, transmission=transmission).throughput

    def fit_companion(
        self,
        *,
        position: tuple[float, float] | None = None,
        sep: float | None = None,
        pa: float | None = None,
        psf: Source | np.ndarray | None = None,
        others: Sequence[tuple[float, float]] = (),
    ) -> CompanionFit:
        """Fit place and flux of a companion at the current number of modes; see `corontools.fit_companion`."""
        from corontools.coron.companion import fit_companion

        given: dict[str, Any] = {"position": position, "sep": sep, "pa": pa, "psf": psf, "others": others}
        step = "." + call(KlipResult.fit_companion, self, **given)
        made = fit_companion([self], **given)
        return made.with_(history=(*self.history, step))

    def response(
        self,
        *,
        position: tuple[float, float] | None = None,
        sep: float | None = None,
        pa: float | None = None,
        psf: Source | np.ndarray | None = None,
    ) -> Response:
        """What this number of modes leaves of a faint source, what it takes of itself included (Pueyo 2016).

        With "adi" and "ardi" the source is in the references of the same star and turns the modes: the change of the
        residual is linear in its flux as long as that turn is small, see `Response.faint`. With "rdi" it is exact.

        Parameters
        ----------
        position, sep, pa, psf
            Of the source, see `inject`.

        Raises
        ------
        DataError
            As `inject` does.

        Examples
        --------
        >>> from corontools import Exposure, PSFStack, Source
        >>> frames = np.random.default_rng(1).normal(size=(12, 33, 33))
        >>> cube = Exposure(frames, angles=np.linspace(0.0, 60.0, 12))
        >>> klip = PSFStack.from_exposures([cube]).align_to(cube, to="none").klip(4, strategy="adi", fwhm=3.0)
        >>> response = klip.response(position=(26.0, 16.0), psf=Source.gaussian(3.0))
        >>> bool(0.5 < response.throughput < 1.0), response.frames.shape
        (True, (12, 33, 33))
        """
        from corontools.coron.forward import respond

        return respond(self, {"position": position, "sep": sep, "pa": pa, "psf": psf})

    def _again(self, aligned: AlignedRefs) -> KlipResult:
        """Other images reduced the same way."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what there is to tell was told the first time
            made = subtract(aligned, modes=self.max_modes, zones=self.areas, rule=self.rule)
        return made.with_(modes=min(self.modes, made.max_modes), history=self.history)

    def combine(self, how: Literal["mean", "median"] = "mean") -> CombinedImage:
        """All integrations turned north up and averaged; several results, and `how`, by `corontools.combine`."""
        from corontools.coron.combined import combine

        return combine([self], how=how)

    def contrast(self, width: float = 2, *, center: tuple[float, float] | str = "star") -> ContrastCurve:
        """1-sigma noise of the residual, averaged over integrations, in rings `width` px wide.

        Parameters
        ----------
        width : float
            Of a ring, px.
        center : str or (x, y)
            "star", "image" (its middle), or a 0-based position.

        Raises
        ------
        DataError
            If the sky turns between the integrations: `combine().contrast()` turns them first.
        """
        from corontools.coron.contrast import measure

        if is_turned(self.target):
            raise DataError(
                "the integrations have different angles, their mean would smear the sky; turn them north up first: "
                ".combine().contrast(...)"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # pixels without a value in any integration stay NaN
            mean = np.nanmean(self.frames, axis=0)
        step = "." + call(KlipResult.contrast, self, width, center=center)
        made = measure(self._image(mean), width=width, center=center, history=(*self.history, step))
        return made.with_(reduction=self)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the `_psfsub` product (CubeModel): residual, ERR, DQ."""
        from corontools.products import write_exposure

        cards = {"S_KLIP": "COMPLETE", "S_PSFALI": "COMPLETE", "KLMODES": self.modes}
        return write_exposure(self.residual, path, cards=cards, overwrite=overwrite)

    def _filled_in(self, rows: Callable[[Exposure, Subspace, int], np.ndarray]) -> np.ndarray:
        """Images (n_int, y, x) made of what `rows` gives for each subspace; NaN elsewhere."""
        out = np.full((self.target.n_int, self.zones.size), np.nan)
        for space in self.subspaces:
            values = rows(self.target, space, self.modes)
            if values.shape == out.shape:
                out = values
            else:
                out[np.ix_(np.array(space.integrations), space.pixels)] = values
        return out.reshape(self.target.shape)

    @property
    def _meta(self) -> Any:
        return self.target.meta.with_(history=self.history)

    def _image(self, data: np.ndarray, **changes: Any) -> Exposure:
        whole = data.shape == self.target.shape
        # the mean of integrations, which are at one angle
        angles = self.target.angles if whole or self.target.angles is None else self.target.angles[:1]
        base = {"err": None, "dq": None, "variances": {}, "meta": self._meta, "source": "", "angles": angles}
        kept = {"variances": self.target.variances} if whole and "err" in changes else {}
        return self.target.with_(**{**base, **kept, "data": data, **changes})

    def _values(self) -> np.ndarray:
        return self.frames

    def _rows(self) -> list[tuple[str, str]]:
        share = self.variance_explained[min(self.modes, self.max_modes)]
        return [
            ("target", self.target.meta.title),
            ("modes", f"{self.modes} of {self.max_modes}, from {self._references()} references"),
            (
                "zones",
                f"{len({int(z) for z in np.unique(self.zones)} - {0})}, {np.mean(self.zones > 0):.0%} of the frame",
            ),
            ("explained", f"{share:.4%} of the variance"),
            (
                "residual",
                f"{np.nanstd(self.frames):.4g} {self.target.meta.unit} rms ({self.target.n_int} integrations)",
            ),
        ]

    def _references(self) -> str:
        numbers = [self.aligned.n_ref if s.references is None else s.references.size for s in self.subspaces]
        few, many = min(numbers), max(numbers)
        count = f"{many}" if few == many else f"{few} to {many}"
        moved = f", {self.rule.least:.3g} px of rotation or more:" if self.strategy != "rdi" else ""
        return f"{self.strategy}{moved} {count}" if moved else count

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        return [
            quick.image_picture(self.target.data[0], "science, integration 0", bad=~self.target.good[0]),
            quick.image_picture(self.frames[0], f"residual, {self.modes} modes"),
        ]


def _left_over(target: Exposure, space: Subspace, modes: int) -> np.ndarray:
    """Science less the model on the zone's pixels; NaN where the science has no data."""
    values, good = science_rows(target, space.pixels, space.integrations)
    left = space.model(modes)
    np.subtract(values, left, out=left)
    if not good.all():
        left[~good] = np.nan
    return left


def subtract(
    aligned: AlignedRefs,
    *,
    modes: int,
    zones: Literal["shared", "full"] | Zones,
    references: References | None = None,
    rule: Rule = RDI,
) -> KlipResult:
    """Decompose the references and project the science images; see `AlignedRefs.klip`."""
    if rule.strategy != "rdi":
        return _subtract_turned(aligned, modes, zones, rule)
    modes = _clipped(modes, aligned.n_ref, "references", stacklevel=5)
    _refuse_unfitted(aligned)
    labels = label_zones(aligned, zones, None if references is None else references.share)
    spaces = decompose(aligned, labels, modes, references)
    return KlipResult(
        aligned=aligned, modes=modes, zones=labels, subspaces=spaces, areas=zones, history=aligned.history
    )


def _subtract_turned(
    aligned: AlignedRefs, modes: int, zones: Literal["shared", "full"] | Zones, rule: Rule
) -> KlipResult:
    """Angular differential imaging: each frame has its own references, zone by zone."""
    choice = Choice.of(aligned, rule)
    _refuse_unfitted(aligned)
    labels = label_zones(aligned, zones, aligned.measured(0)[choice.usable].mean(axis=0))
    jobs = choice.jobs(aligned, labels)
    most = max(job.references.size for job in jobs)
    modes = _clipped(modes, most, "references that have turned enough", stacklevel=6)
    return KlipResult(
        aligned=aligned,
        modes=modes,
        zones=labels,
        subspaces=decompose_jobs(aligned, jobs, modes),
        areas=zones,
        rule=rule,
        history=aligned.history,
    )


def _refuse_unfitted(aligned: AlignedRefs) -> None:
    lost = np.flatnonzero(~np.isfinite(aligned.shifts).all(axis=(0, 2)))
    if lost.size:
        raise DataError(f"reference(s) {lost.tolist()} have no shift (too few good pixels); leave them out with select")


def _clipped(modes: int, limit: int, what: str, *, stacklevel: int) -> int:
    if not isinstance(modes, numbers.Real) or not np.isfinite(modes) or modes < 0 or int(modes) != modes:
        raise DataError(f"the number of modes should be 0 or more, found {modes}")
    if modes > limit:
        warnings.warn(f"{modes} modes asked for, but there are {limit} {what}: {limit} are used", stacklevel=stacklevel)
    return min(int(modes), limit)
