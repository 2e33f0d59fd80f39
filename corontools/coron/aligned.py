"""AlignedRefs: references shifted onto the science images (the `align_refs` task)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from corontools.arrays.register import Quality, Registration, default_weight, register_pairs
from corontools.arrays.shift import shift_flags, shift_image, shift_variance
from corontools.coron.pairs import PairRms, difference, mean_fit, pair_rms
from corontools.coron.source import Footprint, footprints, several
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import BAD, Exposure, check_alike, indices
from corontools.progress import progress
from corontools.result import Result, verb

if TYPE_CHECKING:
    from corontools.coron.completeness import FalseAlarms
    from corontools.coron.klip import KlipResult
    from corontools.coron.rotation import Strategy
    from corontools.coron.source import Source
    from corontools.coron.stack import PSFStack
    from corontools.coron.zones import Zones

__all__ = ["AlignedRefs", "align"]

FILLED = np.uint32(DQ.FLUX_ESTIMATED)
OUTSIDE = int(DQ.DO_NOT_USE | DQ.NON_SCIENCE)
TO = ("each", "first", "mean", "none")


@dataclass(frozen=True, eq=False, repr=False)
class AlignedRefs(Result):
    """References on the pixels of the science images; the shifted images are made when asked for.

    `aligned[i]` gives the references as integration i needs them, an Exposure (n_ref, y, x).

    Attributes
    ----------
    stack : PSFStack
        The references as they were.
    target : Exposure, (n_int, y, x)
    to : str
        "each", "first", "mean", "averaged" or "none".
    fit : Registration
        Shift, scale, covariance, chi2, quality ... of each pair, arrays (n_int, n_ref, ...), see
        `arrays.register.Registration`; NaN besides the shifts with to="none".
    mask : ndarray, shape (y, x), or None
        Weight of the pixels in the fit.
    planted : str
        Where sources were injected: "" nowhere, "science" or "star", see `inject`.
    """

    stack: PSFStack
    target: Exposure
    to: str
    fit: Registration
    mask: np.ndarray | None
    planted: str = ""

    @property
    def shifts(self) -> np.ndarray:
        """(dx, dy) in px by which each reference is moved, (n_int, n_ref, 2)."""
        return self.fit.shift

    @property
    def scales(self) -> np.ndarray:
        """Flux of the science star over that of the reference, (n_int, n_ref); NaN with to="none"."""
        return self.fit.scale

    @property
    def shift_errors(self) -> np.ndarray:
        """1-sigma errors of the shifts, (n_int, n_ref, 2); NaN with to="none"."""
        return np.sqrt(np.diagonal(self.fit.covariance, axis1=-2, axis2=-1)[..., :2])

    @property
    def quality(self) -> np.ndarray:
        """`arrays.register.Quality` bits of each fit, (n_int, n_ref); 0 is good."""
        return self.fit.quality

    @property
    def n_int(self) -> int:
        """Number of science integrations."""
        return self.target.n_int

    @property
    def n_ref(self) -> int:
        """Number of references."""
        return self.stack.n_ref

    @property
    def sets(self) -> tuple[tuple[int, ...], ...]:
        """Integrations that share one set of aligned references."""
        every = tuple(range(self.n_int))
        return tuple((i,) for i in every) if self.to == "each" else (every,)

    def __len__(self) -> int:
        return self.n_int

    def __getitem__(self, i: int) -> Exposure:
        if not -self.n_int <= i < self.n_int:
            raise IndexError(f"integration {i} of {self.n_int}")
        return self._shifted(i)

    def __iter__(self) -> Iterator[Exposure]:
        return (self[i] for i in range(self.n_int))

    @cached_property
    def _filled(self) -> Exposure:
        """The references without a gap: a Fourier shift needs a value everywhere."""
        exposure = self.stack.exposure
        filled = exposure.good | (np.isfinite(exposure.data) & ((exposure.flags() & FILLED) > 0))
        return exposure if filled.all() else exposure.repair()

    def frames(self, i: int) -> np.ndarray:
        """Pixels of `aligned[i]` alone, (n_ref, y, x), in the stack's precision; NaN where a reference has none."""
        data, shifts = self._filled.data, self.shifts[i]
        if not shifts.any():
            return np.asarray(data)
        out = np.empty(data.shape, data.dtype)
        for frame, image, shift in zip(out, data, shifts, strict=True):  # one by one: stacks are large
            frame[:] = shift_image(image, shift)
        return out

    def measured(self, i: int) -> np.ndarray:
        """Where the references of `aligned[i]` were measured, not filled or outside; bool (n_ref, y, x)."""
        if not self.shifts[i].any():
            return self._filled.good
        dq, out = self._filled.dq, np.empty(self._filled.shape, bool)
        flags = np.zeros(self._filled.shape, np.uint32) if dq is None else dq
        for good, flag, shift in zip(out, flags, self.shifts[i], strict=True):
            good[:] = shift_flags(flag & BAD, shift, outside=OUTSIDE) == 0
        return out

    def variance(self, i: int, pixels: np.ndarray) -> np.ndarray | None:
        """Variance of `aligned[i]` at flat indices, (n_ref, n_pix); None where no error is known."""
        exposure = self._filled
        if exposure.err is None and not exposure.variances:
            return None
        out = np.empty((self.n_ref, pixels.size), np.float32)
        for ref, shift in enumerate(self.shifts[i]):
            variance = exposure.select(ref).variance
            assert variance is not None  # there is one, as there are errors or variances
            # the error of a bad pixel may be anything
            out[ref] = shift_variance(np.where(exposure.good[ref], variance[0], np.nan), shift).flat[pixels]
        return out

    def _flags(self, i: int) -> np.ndarray:
        return shift_flags(self._filled.flags(), self.shifts[i], outside=OUTSIDE)

    def _shifted(self, i: int) -> Exposure:
        if not self.shifts[i].any():
            return self._filled
        shape = self._filled.shape
        variance = self.variance(i, np.arange(shape[1] * shape[2]))
        return Exposure(
            data=self.frames(i),
            err=None if variance is None else np.sqrt(variance).reshape(shape),
            dq=self._flags(i),
            meta=self._filled.meta.with_(history=()),
        )

    @verb
    def select(self, which: Sequence[int] | np.ndarray | slice) -> AlignedRefs:
        """Keep some references, by index, slice or boolean mask; nothing is fitted again.

        Raises
        ------
        DataError
            If none remains.
        """
        keep = np.unique(indices(which, self.n_ref, "references"))  # in the order of the stack, each once
        return self.with_(
            stack=self.stack.select(keep),
            fit=self.fit.mapped(lambda values: values[:, keep]),
        )

    @verb
    def averaged(self) -> AlignedRefs:
        """One set for all integrations: the mean of each reference's shifts and scales.

        Fits with a quality flag are left out of a reference's mean where it has others. Errors stay those of one fit:
        the noise of the reference is common to all. References that share one set already are as they were.
        """
        if self.to != "each":
            return self
        shared = mean_fit(self.fit).mapped(lambda one: np.broadcast_to(one, (self.n_int, *one.shape)))
        return self.with_(to="averaged", fit=shared)

    @verb
    def unaligned(self) -> AlignedRefs:
        """The references as they were before the alignment: no shift, scale unknown."""
        return self.with_(to="none", fit=_unfitted(self.n_int, self.n_ref))

    @verb
    def inject(
        self,
        flux: float | Sequence[float],
        *,
        position: tuple[float, float] | Sequence[tuple[float, float]] | None = None,
        sep: float | Sequence[float] | None = None,
        pa: float | Sequence[float] | None = None,
        psf: Source | np.ndarray | None = None,
        into: Literal["science", "star"] = "science",
    ) -> AlignedRefs:
        """The same shifts for science images with one or more sources in every integration; see `KlipResult.inject`.

        Parameters
        ----------
        flux, position, sep, pa, psf
            Of the source, or a list for several, see `KlipResult.inject`.
        into : str
            "science": the science images alone, for references of other stars. "star": the references that are of
            the science star too (`meta.target`), each at its own angle, for angular differential imaging.

        Raises
        ------
        DataError
            As `KlipResult.inject` does; with into="star" if angles aren't known.
        """
        if into not in ("science", "star"):
            raise DataError(f"a source goes into 'science' or 'star', found {into!r}")
        made, planted = self, "science" if "science" in (into, self.planted) else into
        for one, where in several(flux, position=position, sep=sep, pa=pa):
            place: dict[str, Any] = {**where, "psf": psf}
            data = _with_light(made.target, footprints(made.target, one, **place))
            stack = made.stack if into == "science" else _planted(made, one, place)
            made = made.with_(target=made.target.with_(data=data), stack=stack)
        return made.with_(planted=planted)

    def difference(self, i: int, ref: int) -> Exposure:
        """Science integration i less the aligned reference, scaled to it, (y, x).

        NaN and DO_NOT_USE where either has no data. With to="none" the scale is fitted. Errors are those of both;
        `aligned.unaligned().difference(i, ref)` shows the pair before the alignment.

        Raises
        ------
        DataError
            If there is no such integration or reference.
        """
        return difference(self, int(indices(i, self.n_int, "integrations")[0]), ref)

    def rms(self) -> PairRms:
        """Rms of science less scaled reference for every pair, before and after the alignment.

        Over the pixels good in both, by the weight of the fit. With to="each", `after` is what the fits were left
        with; no image is shifted again.
        """
        return pair_rms(self)

    @verb
    def klip(
        self,
        modes: int = 50,
        *,
        zones: Literal["shared", "full"] | Zones = "shared",
        strategy: Strategy = "rdi",
        min_rotation: float | None = None,
        fwhm: float | None = None,
    ) -> KlipResult:
        """Subtract the star by its projection on the Karhunen-Loeve modes of the references.

        One decomposition serves every mode count up to `modes`; choose with `KlipResult.at`.

        With "adi" and "ardi" (angular differential imaging) frames of the science star itself are references, where
        the sky has turned enough between them and the science frame: 2 r sin(|angle| / 2) >= min_rotation fwhm, r being
        the mean radius of the zone's pixels, so that a thin annulus has its own r, and a wide zone leaves frames out
        by what holds for most of its area. Frames at the same angle show the same sky and are never references of
        each other, nor is a frame its own. Angles are those of `Exposure.position_angles`.

        Parameters
        ----------
        modes : int
            Largest number of modes; more than there are references are clipped with a warning.
        zones : str or Zones
            "shared": all pixels that at least half of the references and half of the science images have, as one
            zone. "full": the whole frame. `Zones`: each zone by itself.
        strategy : str
            References of a science frame: "rdi", all of the stack, whatever star they are of; "adi", those of the
            science star at other angles; "ardi", these and those of other stars. A frame is of the science star if it
            has the same `meta.target`.
        min_rotation : float, optional
            For "adi" and "ardi", how far the sky has to move, in units of `fwhm`; 0.5 by default.
        fwhm : float, optional
            Width of the PSF, px; by default that of the instrument. With fwhm=1, min_rotation is in px.

        Raises
        ------
        DataError
            If modes is negative, a zone has no good pixel or too few for this many modes, angles aren't known, or a
            frame has no reference that has turned enough in a zone.

        Examples
        --------
        >>> from corontools import PSFStack, Zones
        >>> frames = np.random.default_rng(1).normal(size=(12, 33, 33))
        >>> cube = Exposure(frames, angles=np.linspace(350.0, 405.0, 12))
        >>> aligned = PSFStack.from_exposures([cube]).align_to(cube, to="none")
        >>> klip = aligned.klip(4, strategy="adi", min_rotation=1.0, fwhm=3.0, zones=Zones.annuli([8, 16]))
        >>> [space.references.tolist() for space in klip.subspaces if space.integrations == (5,)]
        [[0, 1, 2, 8, 9, 10, 11]]
        >>> klip.combine().image.shape[0] >= 33
        True
        """
        from corontools.coron.klip import subtract
        from corontools.coron.rotation import Rule

        rule = Rule.of(self.target, strategy, min_rotation, fwhm)
        return subtract(self, modes=modes, zones=zones, rule=rule)

    @verb
    def as_science(self, reference: int) -> AlignedRefs:
        """A reference taken as the science, with those of the other groups (see `PSFStack.groups`) as its references.

        Raises
        ------
        DataError
            If there is no such reference, or no other group.
        """
        if not 0 <= reference < self.n_ref:
            raise DataError(f"reference {reference} does not exist; choose one of 0 to {self.n_ref - 1}")
        others = np.flatnonzero(self.stack.groups != self.stack.groups[reference])
        images = self[0].with_(source="")
        rest = self.stack.with_(pool=images, chosen=None).select(others)
        # where it lies now the star of all of them is that of the science image
        return rest.align_to(images.select(reference), to="none")

    def false_alarms(
        self,
        modes: int,
        *,
        psf: Source | np.ndarray | None = None,
        zones: Literal["shared", "full"] | Zones = "shared",
        thresholds: Sequence[float] = (2.0, 3.0, 4.0, 5.0),
    ) -> FalseAlarms:
        """How often noise exceeds a threshold of S/N, on the reference stars: each is taken as science in turn.

        Parameters
        ----------
        modes : int
        psf : Source or ndarray, optional
            See `KlipResult.detection_map`.
        zones : str or Zones
        thresholds : sequence of float

        Raises
        ------
        DataError
            As `as_science` and `klip` do.
        """
        from corontools.coron.completeness import false_alarms

        return false_alarms(self, modes, psf=psf, zones=zones, thresholds=thresholds)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the `_psfalign` product: a QuadModel (n_int, n_ref, y, x), one integration in memory at a time.

        Where all integrations share one set (`to` is not "each") it is a CubeModel (n_ref, y, x), as jwst writes it.
        An extension SHIFTS lists dx, dy, flux, their errors and quality for each pair.
        """
        from corontools.coron.products import write_aligned

        return write_aligned(self, path, overwrite=overwrite)

    def _values(self) -> np.ndarray:
        return self.shifts

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("references", f"{self.n_ref} x {self.n_int} integration(s), to {self.to!r}")]
        size = np.hypot(self.shifts[..., 0], self.shifts[..., 1])
        known = np.isfinite(size)
        if known.any():
            rows.append(("shift", f"median {np.median(size[known]):.3f} px, largest {size[known].max():.3f} px"))
        if self.to != "none" and known.any():
            rows.append(("shift error", f"median {np.median(self.shift_errors[known]):.4f} px"))
            low, high = self.scales[known].min(), self.scales[known].max()
            rows.append(("flux", f"science / reference {low:.3g} to {high:.3g}"))
        if self.to != "none":
            rows.append(("flagged", f"{np.count_nonzero(self.quality)} of {self.quality.size} fits"))
        return rows

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        pictures = [quick.shift_picture(self.shifts, self.shift_errors, self.stack.targets)]
        if self.mask is not None:
            pictures.append(quick.image_picture(self.mask, "weight of the fit", kind="linear", limits=(0.0, 1.0)))
        return pictures


def _with_light(exposure: Exposure, sources: Sequence[Footprint]) -> np.ndarray:
    """Pixels (n_int, y, x) of an exposure with a source in each integration, float64."""
    data = exposure.data.astype(np.float64)
    for row, source in zip(data.reshape(exposure.n_int, -1), sources, strict=True):
        row[source.pixels] += source.values
    return data


def _planted(aligned: AlignedRefs, flux: float, place: Mapping[str, Any]) -> PSFStack:
    """The references with a source in those of the science star, where it was before they were shifted."""
    from corontools.coron.rotation import known_angles, of_star

    own = np.flatnonzero(of_star(aligned.stack, aligned.target))
    if not own.size:
        return aligned.stack
    angles = known_angles(aligned, np.isin(np.arange(aligned.n_ref), own))[1][own]
    moved = aligned.shifts[:, own].mean(axis=0)
    sources = footprints(aligned.target, flux, angles=angles, moved=moved, **place)
    data = aligned.stack.exposure.data.astype(np.float64)
    data[own] = _with_light(aligned.stack.exposure.select(own), sources)
    return aligned.stack.with_data(data)


def align(stack: PSFStack, target: Exposure, *, to: str, mask: np.ndarray | Exposure | None) -> AlignedRefs:
    """Fit the shifts; see `PSFStack.align_to`."""
    if to not in TO:
        raise DataError(f"references can be aligned to {', '.join(TO)}; found {to!r}")
    cube = target.cube
    check_alike(cube, stack.exposure)
    empty = np.flatnonzero(~cube.good.any(axis=(1, 2)))
    if empty.size:
        raise DataError(
            f"{cube._name}: integration(s) {empty.tolist()} have no good pixel; drop them with Exposure.select"
        )
    blank = AlignedRefs(
        stack=stack,
        target=cube,
        to=to,
        fit=_unfitted(cube.n_int, stack.n_ref),
        mask=None,
        history=stack.history,
    )
    return blank if to == "none" else _fitted(blank, mask)


def _fitted(aligned: AlignedRefs, mask: np.ndarray | Exposure | None) -> AlignedRefs:
    science, good = _fit_frames(aligned.target, aligned.to)
    refs = aligned._filled
    weight = _weight(mask, science, good)
    pairs = register_pairs(
        np.asarray(refs.data, np.float64),
        science,
        weight=weight,
        good_references=aligned.stack.exposure.good,
        good_science=good,
        progress=lambda refs: progress(list(refs), "align", "reference"),
    )
    _tell_failures(pairs.quality)
    # one fit serves all integrations unless each has its own
    shared = pairs.mapped(lambda values: np.broadcast_to(values, (aligned.n_int, *values.shape[1:])))
    return aligned.with_(fit=shared, mask=weight)


def _tell_failures(quality: np.ndarray) -> None:
    failed = np.flatnonzero(quality.any(axis=0))
    if failed.size:
        names = sorted({str(Quality(int(bits)).name) for bits in quality[quality > 0]})
        warnings.warn(
            f"reference(s) {failed.tolist()} could not be aligned well ({', '.join(names)}); "
            "look at them, or leave them out with select",
            stacklevel=5,
        )


def _unfitted(n_int: int, n_ref: int) -> Registration:
    """No shift, and nothing known of it."""
    unknown, none = np.full((n_int, n_ref), np.nan), np.zeros((n_int, n_ref), int)
    return Registration(
        shift=np.zeros((n_int, n_ref, 2)),
        scale=unknown,
        covariance=np.full((n_int, n_ref, 3, 3), np.nan),
        chi2=unknown,
        dof=none,
        rms=unknown,
        explained=unknown,
        quality=none,
        n_iter=none,
    )


def _fit_frames(target: Exposure, to: str) -> tuple[np.ndarray, np.ndarray]:
    """Science images to fit to, (n, y, x) without regard to bad pixels, and which pixels are good."""
    data, good = np.asarray(target.data, np.float64), target.good
    if to == "each":
        return data, good
    if to == "first":
        return data[:1], good[:1]
    count = good.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.sum(data, axis=0, where=good) / count
    return mean[None], (count > 0)[None]


def _weight(mask: np.ndarray | Exposure | None, science: np.ndarray, good: np.ndarray) -> np.ndarray:
    if mask is None:
        return default_weight(science, good)
    weight = np.asarray(mask.data if isinstance(mask, Exposure) else mask, np.float64)
    weight = weight.reshape(weight.shape[-2:]) if weight.size == science[0].size else weight
    if weight.shape != science.shape[-2:]:
        raise DataError(f"the mask has shape {weight.shape}, the images have {science.shape[-2:]}; crop it alike")
    if not (weight > 0).any() or (weight < 0).any():
        raise DataError(
            "the mask should hold weights from 0 to 1 (1 = use), not all 0; JWST's psfmask is used as it is"
        )
    return np.where(np.isfinite(weight), weight, 0.0)  # a pixel of unknown transmission has no weight
