"""BackgroundModel: the background of images and spectra, measured and subtracted (the `bkg_subtract` step)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from corontools.arrays.combine import Rejection
from corontools.background.average import Average, Choice, Stack, average, stack, tilt
from corontools.background.fit import FactorFit, TemplatesFit, by_hand, fit_reference, fit_soss
from corontools.background.place import Area
from corontools.background.product import with_place
from corontools.background.sources import Sources
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.meta import Meta
from corontools.result import Result, call, verb

__all__ = ["BackgroundModel"]

Kind = Literal["average", "reference", "templates", "image"]


@dataclass(frozen=True, eq=False, repr=False)
class BackgroundModel(Result):
    """Background of an exposure: the mean of others, a reference times a factor, or the best of several templates.

    Made by `from_exposures`, `from_reference`, `from_templates` or `from_image`; subtracted by `subtract_from`.

    Attributes
    ----------
    kind : {"average", "reference", "templates", "image"}
        How it was made.
    image : ndarray, shape (y, x), or of templates (n, y, x)
        Background before it is scaled; NaN where none is known.
    err : ndarray, shape (y, x), or None
        1-sigma errors of the image.
    dq : ndarray of uint32, shape (y, x), or None
        Flags of all exposures combined by OR, and DO_NOT_USE where none has a usable pixel.
    count : ndarray of int32, shape (y, x), or None
        Exposures in the mean.
    area : Area
        Where it lies on the detector.
    meta : Meta
        Of the first exposure, of the reference.
    excess : float or None
        Scatter between exposures in units of their errors. Much above 1: errors are too small, or the exposures have
        different backgrounds; outliers are then sought beyond sigma times it.
    sources : Sources
        What is masked.
    fitted : FactorFit, TemplatesFit or None
        What `fit` found.
    choice : Choice or None
        How values were rejected from the mean.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> nods = [Exposure(rng.normal(10, 0.5, (64, 64)), err=np.full((64, 64), 0.5)) for _ in range(4)]
    >>> model = BackgroundModel.from_exposures(nods)
    >>> made = model.subtract_from(nods[0])
    >>> abs(float(made.data.mean())) < 0.05, float(model.err[0, 0]), made.meta.card("S_BKDSUB")
    (True, 0.25, 'COMPLETE')
    """

    kind: Kind
    image: np.ndarray
    err: np.ndarray | None = None
    dq: np.ndarray | None = None
    count: np.ndarray | None = None
    area: Area = field(default=Area(0, 0, 0, 0, known=False))
    meta: Meta = field(default=Meta(), repr=False)
    tilts: tuple[tuple[float, float], ...] = ()
    excess: float | None = None
    factor: float = 1.0
    sources: Sources = field(default=Sources())
    fitted: FactorFit | TemplatesFit | None = None
    choice: Choice | None = None

    @classmethod
    def from_exposures(
        cls,
        exposures: Sequence[Exposure | str | os.PathLike[str]],
        sigma: float = 3.0,
        maxiters: int | None = None,
        *,
        reject: Rejection = "leave_one_out",
    ) -> BackgroundModel:
        """Mean of background exposures: imaging, and spectroscopy with nods or dedicated backgrounds.

        Rateints (n_int, y, x) are first averaged over their integrations, with outliers rejected. Each exposure counts
        where it lies on the detector (SUBSTRT1, SUBSTRT2), so full frames and subarrays can be mixed. Missing values
        and those with DO_NOT_USE are left out. Files are read one after the other, one block of rows at a time.

        Parameters
        ----------
        exposures : sequence of Exposure or FITS file
            Rates or rateints.
        sigma : float
            Values further away are rejected, on both sides.
        maxiters : int, optional
            Most values that are rejected in a pixel, or rounds of clipping; by default until nothing changes.
        reject : {"leave_one_out", "sigma_clip", "none"}
            "leave_one_out": a value is compared with the mean of the others by their errors, which works for two
            exposures or more; "sigma_clip": with median and standard deviation of all, as jwst does, which rejects
            nothing of fewer than sigma^2 + 1 values. See `corontools.arrays.combine`.

        Returns
        -------
        BackgroundModel
            `err` is sqrt(sum of ERR^2) / n of the values that were kept; without errors, from the scatter between
            exposures; None for a single image without errors.

        Raises
        ------
        DataError
            If there is no exposure, units differ, or no pixel is usable.
        """
        choice = Choice(reject, float(sigma), maxiters)
        found: Average = average(exposures, choice)
        listed = exposures if isinstance(exposures, list | tuple) else list(exposures)
        given = call(BackgroundModel.from_exposures.__func__, cls, listed, sigma, maxiters, reject=reject)  # type: ignore[attr-defined]
        return cls(
            "average", found.image, found.err, found.dq, found.count, found.area,
            with_place(found.meta, found.area), found.tilts, found.excess, choice=choice,
            history=(f"BackgroundModel.{given}",),
        )  # fmt: skip

    @classmethod
    def from_reference(cls, reference: Exposure | np.ndarray | str | os.PathLike[str]) -> BackgroundModel:
        """Reference background of slitless spectroscopy (y, x), to be scaled by `fit`.

        A full frame is cut to a subarray. Also for any other mode in which a background of your own has to be scaled.
        """
        return cls._one("reference", reference, "from_reference")

    @classmethod
    def from_templates(cls, templates: Exposure | np.ndarray | str | os.PathLike[str]) -> BackgroundModel:
        """Templates (n, y, x) of the NIRISS SOSS background, or a single one (y, x); `fit` takes the best."""
        return cls._one("templates", templates, "from_templates")

    @classmethod
    def from_image(
        cls, image: Exposure | np.ndarray | str | os.PathLike[str], *, scale: float = 1.0
    ) -> BackgroundModel:
        """A background of your own (y, x), for any mode, times `scale`."""
        if not np.isfinite(scale):
            raise DataError(f"scale should be a finite number, found {scale}")
        return cls._one("image", image, "from_image", scale=float(scale))

    @classmethod
    def _one(cls, kind: Kind, given: Any, name: str, **options: Any) -> BackgroundModel:
        """From one image or cube, with the call that was made."""
        exposure = Exposure.read(given) if isinstance(given, str | os.PathLike) else given
        exposure = exposure if isinstance(exposure, Exposure) else Exposure(np.asarray(exposure))
        axes = (2, 3) if kind == "templates" else (2,)
        if exposure.data.ndim not in axes:
            form = "templates are a cube (n, y, x)" if kind == "templates" else "a background is one image (y, x)"
            raise DataError(f"{exposure._name}: {form}, found shape {exposure.shape}")
        if not np.isfinite(exposure.data).any():
            raise DataError(f"{exposure._name}: no pixel of the background is a number; give another")
        data, area = exposure.data, Area.of(exposure)
        whole = call(getattr(cls, name).__func__, cls, given, **options)
        return cls(
            kind,
            data if kind != "templates" or data.ndim == 3 else data[None],
            exposure.err if data.ndim == 2 else None,
            exposure.dq if data.ndim == 2 else None,
            area=area,
            meta=exposure.meta,
            factor=options.get("scale", 1.0),
            history=(f"BackgroundModel.{whole}",),
        )

    @verb
    def mask_sources(
        self, sources: Any, *, dispersion: Any = None, mmag_extract: float | None = None
    ) -> BackgroundModel:
        """Choose the pixels that show sources, which `fit` leaves out, in place of those chosen before.

        Parameters
        ----------
        sources : boxes, mask, or catalogue
            Boxes (x0, y0, x1, y1), 0-based, the corner pixels included. A mask (array, Exposure, FITS file with an
            extension MASK such as an earlier product, or ASDF file of such a model): 1 is background. A catalogue
            (ECSV file or table) with positions on the sky (sky_bbox_ll, _lr, _ul, _ur; sky_centroid; ra, dec), or on
            the target in 0-based px (x, y; xcentroid, ycentroid).
        dispersion : mapping or YAML or JSON file, for a catalogue
            For each order, where it puts the light:
            ``{1: {"offset": (80, 0), "extent": (240, 10)}}`` is a trace of 240 x 10 px whose middle is 80 px right of
            the source. What the catalogue tells of a source's own size is added.
        mmag_extract : float, optional
            AB magnitude of the faintest source that is masked; by default all are.

        Raises
        ------
        DataError
            If it is none of these, or another kind of background.
        """
        self._only("mask_sources", "reference")
        return self.with_(sources=Sources.of(sources, dispersion, mmag_extract), fitted=None)

    @verb
    def fit(
        self,
        target: Exposure,
        *,
        outlier_percent: float = 1.0,
        rms_stop: float = 0.0,
        maxiter: int = 5,
        source_percentile: float = 35.0,
        template: int | None = None,
    ) -> BackgroundModel:
        """Scale a reference, or choose and scale a template, to the background of a target.

        A reference b is fitted to an image s with variance v by sum(s b / v) / sum(b^2 / v) over pixels without
        sources (`arrays.factor.fit_factor`). Templates are fitted left and right of the jump near column 700, right of
        it up to column 950 (`arrays.template.fit_templates`). Where less than 5 % of the pixels are usable background
        the fit has failed: `status` tells, and `subtract_from` leaves the target as it is. `scale_err` is that of the
        noise; light of sources that isn't masked isn't in it.

        Parameters
        ----------
        target : Exposure
        outlier_percent : float
            Percent of the residuals that are rejected at each end, again and again.
        rms_stop : float
            Stop when the rms of the median profile along the dispersion (DISPAXIS) improves by less than so many
            percent; 0: never.
        maxiter : int
            Rounds of rejection; 0: none, so that a mask is used as it is.
        source_percentile : float
            Of templates: darkest percent of the image in which the level is first looked for.
        template : int, optional
            Number of the template to be fitted; by default the one with the least rms is taken.

        Raises
        ------
        DataError
            If this background isn't fitted, or target and background don't fit together.
        """
        self._only("fit", "reference", "templates")
        self._check(target)
        if self.kind == "templates":
            made = fit_soss(target, self.image, source_percentile=source_percentile, template=template)
            return self.with_(fitted=made)
        if not 0 <= outlier_percent < 50 or maxiter < 0:
            raise DataError(f"outlier_percent is 0 to 50 and maxiter 0 or more; found {outlier_percent} and {maxiter}")
        area = Area.of(target)
        overlap = area.overlap(self.area.beside(area))
        if overlap is None:
            raise DataError(self._apart(target, area))
        kind = np.float64 if self.image.dtype.itemsize == 8 else np.float32
        reference: np.ndarray = np.full((area.ny, area.nx), np.nan, kind)
        reference[overlap[0]] = self.image[overlap[1]]
        found = fit_reference(
            target, reference, self.sources, outlier_percent=outlier_percent, rms_stop=rms_stop, maxiter=maxiter
        )
        return self.with_(fitted=found)

    @verb
    def with_scale(self, factor: float, right: float | None = None) -> BackgroundModel:
        """Set the scale by hand.

        The error of such a scale isn't known: `scale_err` is NaN, and no error of the scale is added to that of the
        target; an error of the background's own still is. `notes` tell it. A fit that had failed counts as made.

        Parameters
        ----------
        factor : float
            By which the image is multiplied; of templates left of the jump.
        right : float, optional
            Of templates: right of the jump; by default as left.

        Raises
        ------
        DataError
            If this background isn't scaled or wasn't fitted yet, or a factor isn't finite.

        Examples
        --------
        >>> model = BackgroundModel.from_image(np.full((4, 4), 2.0)).with_scale(1.5)
        >>> float(model.background.data[0, 0])
        3.0
        """
        self._only("with_scale", "image", "reference", "templates")
        if not all(np.isfinite(value) for value in (factor, factor if right is None else right)):
            raise DataError(f"scales should be finite numbers, found {factor} and {right}")
        if right is not None and self.kind != "templates":
            raise DataError("templates alone have two scales; give this background one")
        if self.kind == "image":
            return self.with_(factor=float(factor))
        if self.fitted is None:
            raise DataError("the background isn't fitted yet; call fit(target) first: it tells which pixels count")
        scale = (float(factor), float(factor if right is None else right))
        return self.with_(fitted=by_hand(self.fitted, scale, self.image))

    def subtract_from(self, target: Exposure, *, propagate: bool = True) -> Exposure:
        """The target less the background, a new exposure with S_BKDSUB; a cube plane by plane.

        Where no background is known data are NaN and DQ has DO_NOT_USE; DQ are combined by OR.

        Parameters
        ----------
        target : Exposure, (y, x) or (n_int, y, x)
        propagate : bool
            Add the error of the background to ERR and VAR_RNOISE, in quadrature. In a cube it is the same error in
            all integrations: it doesn't become smaller when these are averaged.

        Returns
        -------
        Exposure
            Unchanged but for S_BKDSUB where the fit has failed (FAILED), or NIRSpec's grating wheel stands otherwise
            than in the background exposures (SKIPPED); a warning tells the reason.

        Raises
        ------
        DataError
            If a reference wasn't fitted, units differ, or target and background share no pixel.
        """
        from corontools.background.subtract import subtract

        step = "." + call(BackgroundModel.subtract_from, self, target, propagate=propagate)
        return subtract(self, target, propagate=propagate, history=(*self.history, step))

    def stack(self, exposures: Sequence[Exposure | str | os.PathLike[str]]) -> Stack:
        """The exposures of the mean where they lie, and which of their values were rejected.

        Parameters
        ----------
        exposures : sequence of Exposure or FITS file
            Those that `from_exposures` was given, in the same order; read again, one after the other.

        Returns
        -------
        Stack
            images, rejected (n, y, x) on `area`, and names.

        Raises
        ------
        DataError
            If this is no mean, or not of these exposures.
        """
        self._only("stack", "average")
        assert self.choice is not None
        found = stack(exposures, self.choice)
        most = 0 if self.count is None else int(self.count.max())
        if found.images.shape[1:] != self.image.shape or len(found.images) < most:
            n, ny, nx = found.images.shape
            raise DataError(
                f"these {n} exposures, {nx} x {ny} px in all, aren't those of the background (up to {most} in a pixel, "
                f"{self.area.nx} x {self.area.ny} px); give the list that it was made of"
            )
        return found

    def rejected(self, exposures: Sequence[Exposure | str | os.PathLike[str]]) -> np.ndarray:
        """Which values of the exposures the mean leaves out, bool (n, y, x) on `area`; see `stack`.

        True where a value could be used and was rejected. Of rateints these are means over integrations.

        Examples
        --------
        >>> data = np.full((3, 8, 8), 10.0); data[1, 2, 3] = 500.0
        >>> nods = [Exposure(one, err=np.ones((8, 8))) for one in data]
        >>> np.argwhere(BackgroundModel.from_exposures(nods).rejected(nods)).tolist()
        [[1, 2, 3]]
        """
        return self.stack(exposures).rejected

    def mask_boxes(self, target: Exposure) -> np.ndarray:
        """Boxes of `mask_sources` on a target, int (n, 4): corner pixels (x0, y0, x1, y1), which are in the box.

        Those of a catalogue are its traces. Boxes end at the edge of the target; what lies outside is left out. A
        mask has none.
        """
        ny, nx = target.shape[-2:]
        given = [] if self.sources.mask is not None else self.sources._boxes(target)
        found = np.array(given, int).reshape(-1, 4)
        found = np.column_stack([np.maximum(found[:, :2], 0), np.minimum(found[:, 2:], (nx - 1, ny - 1))])
        return found[(found[:, 0] <= found[:, 2]) & (found[:, 1] <= found[:, 3])]

    def explore(
        self,
        target: Exposure | str | os.PathLike[str] | None = None,
        *,
        exposures: Sequence[Exposure | str | os.PathLike[str]] = (),
        **choices: Any,
    ) -> Any:
        """Open the live view of background and target in a notebook; see `corontools.widgets.BackgroundExplorer`."""
        return super().explore(target=target, exposures=exposures, **choices)

    @property
    def scale(self) -> float | tuple[float, float] | None:
        """Factor by which the image is multiplied; of templates left and right of the jump; None where not fitted."""
        if self.kind in ("average", "image"):
            return self.factor
        return None if self.fitted is None else self.fitted.scale

    @property
    def scale_err(self) -> float | tuple[float, float] | None:
        """1-sigma error of `scale`; None where it wasn't fitted, NaN where it was set by hand."""
        return None if self.fitted is None else self.fitted.scale_err

    @property
    def mask(self) -> np.ndarray | None:
        """True where the target shows background, (y, x); None where nothing was fitted."""
        return None if self.fitted is None else self.fitted.mask

    @property
    def good_fraction(self) -> float:
        """Part of the pixels with a background, or of those it was fitted to."""
        if self.fitted is not None:
            return self.fitted.good_fraction
        return float(np.isfinite(self.image).mean())

    @property
    def status(self) -> str:
        """COMPLETE, or FAILED where a fit wasn't possible."""
        return "FAILED" if self.fitted is not None and self.fitted.failed else "COMPLETE"

    @property
    def notes(self) -> tuple[str, ...]:
        """What to look at."""
        if self.fitted is None:
            return ()
        return (*((self.fitted.failed,) if self.fitted.failed else ()), *self.fitted.notes)

    def reason_against(self, target: Exposure) -> str:
        """Why this background doesn't belong to a target (status SKIPPED); "" where nothing speaks against."""
        mine = tilt(target.meta)
        if mine is None:
            return ""
        for other in self.tilts:
            if max(abs(a - b) for a, b in zip(mine, other, strict=True)) > 1e-8:
                return (
                    f"the grating wheel of {target._name} stands at (GWA_XTIL, GWA_YTIL) = {mine}, that of a "
                    f"background at {other}: spectra lie elsewhere"
                )
        return ""

    @cached_property
    def background(self) -> Exposure:
        """The scaled background where it lies, with its errors and flags.

        Raises
        ------
        DataError
            If it has to be fitted first, or the fit has failed.
        """
        data, err = self._scaled()
        return Exposure(
            data, err=err, dq=self.dq if self.kind != "templates" else None,
            meta=self.meta.with_(history=(*self.meta.history, *self.history)),
        )  # fmt: skip

    def save_background(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the scaled background, as jwst's `_combinedbackground`."""
        return self.background.save(path, overwrite=overwrite)

    def _scaled(self) -> tuple[np.ndarray, np.ndarray | None]:
        if self.kind == "average":
            return self.image, self.err
        if self.kind == "image":
            return self.factor * self.image, None if self.err is None else abs(self.factor) * self.err
        if self.fitted is None:
            raise DataError("the background isn't scaled yet; call fit(target) first")
        if self.fitted.failed:
            raise DataError(f"the fit has failed: {self.fitted.failed}")
        if isinstance(self.fitted, TemplatesFit):
            return self.fitted.image, self.fitted.err
        scale, scale_err = self.fitted.scale, self.fitted.scale_err
        own = None if self.err is None else abs(scale) * self.err
        if np.isnan(scale_err):  # set by hand
            return scale * self.image, own
        return scale * self.image, np.hypot(scale_err * self.image, 0.0 if own is None else own)

    def _only(self, name: str, *kinds: str) -> None:
        if self.kind not in kinds:
            how = " or ".join(f"BackgroundModel.from_{kind}" for kind in kinds)
            raise DataError(f"{name} belongs to {how}; this background is of the kind {self.kind!r}")

    def _check(self, target: Exposure) -> None:
        if target.data.ndim not in (2, 3):
            raise DataError(f"{target._name}: a target is (y, x) or (n_int, y, x), found shape {target.shape}")
        if self.kind in ("average", "image") and target.meta.unit and self.meta.unit not in ("", target.meta.unit):
            raise DataError(
                f"unit differs: {target._name} has {target.meta.unit}, the background {self.meta.unit}; convert one"
            )

    def _apart(self, target: Exposure, area: Area) -> str:
        return (
            f"{target._name} ({area}) and the background ({self.area}) share no pixel of the detector; give "
            "backgrounds of this subarray, or of the full frame"
        )

    def _values(self) -> np.ndarray:
        return self.image if self.fitted is None or self.fitted.failed else self._scaled()[0]

    def _rows(self) -> list[tuple[str, str]]:
        from corontools.background.cards import rows

        return rows(self)

    def _pictures(self) -> Sequence[Any]:
        from corontools.background.cards import pictures

        return pictures(self)
