"""CalibratedImage: a single frame from counts to nJy, with every decision on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from corontools.calibrate import stages
from corontools.calibrate.aperture import ApertureCorrections
from corontools.calibrate.astrometry_fit import AstrometryFit
from corontools.calibrate.background import BackgroundList
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.photometry import PhotometryFit
from corontools.calibrate.psf import PSF
from corontools.calibrate.refcat import RefCat
from corontools.calibrate.steps import Steps
from corontools.calibrate.summary import Summary, summarize
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.result import Result, call, verb

__all__ = ["CalibratedImage", "CalibrationError", "calibrate"]


class CalibrationError(DataError):
    """A step failed; what was reached before it isn't lost.

    Attributes
    ----------
    result : CalibratedImage
        As it was before the step.
    step : str
        Name of the verb that failed.
    """

    def __init__(self, text: str, result: CalibratedImage, step: str) -> None:
        super().__init__(text)
        self.result, self.step = result, step


@dataclass(frozen=True, eq=False, repr=False)
class CalibratedImage(Result):
    """A frame on its way from counts to nJy; each verb takes it one step further, `calibrate` all the way.

    The steps are those of a single-frame calibration in two passes, without adaptive thresholds. A verb that is called
    again, with other options (`using`), does its step anew and drops what came after.

    Attributes
    ----------
    exposure : Exposure
        One image in counts, with errors; of two snaps their sum.
    steps : Steps
        What does each step, with its options.
    start : MaskedImage
        The image with its mask planes and variance.
    repaired : Repaired or None
        After `repair`.
    modelled : Modelled or None
        After `model_psf`.
    corrections : ApertureCorrections or None
        After `correct_apertures`.
    astrometry : AstrometryFit or None
        After `solve_astrometry`.
    found : Found or None
        After `find_stars`.
    photometry : PhotometryFit or None
        After `solve_photometry`.

    Examples
    --------
    >>> from corontools.simulate import star_field
    >>> field = star_field(512)
    >>> image = CalibratedImage.from_snaps(field.exposures[0]).repair()
    >>> len(image.backgrounds), len(image.repaired.rays) > 5
    (1, True)
    """

    exposure: Exposure
    start: MaskedImage
    steps: Steps = field(default_factory=Steps)
    repaired: stages.Repaired | None = None
    modelled: stages.Modelled | None = None
    corrections: ApertureCorrections | None = None
    astrometry: AstrometryFit | None = None
    found: stages.Found | None = None
    photometry: PhotometryFit | None = None

    @classmethod
    def from_snaps(
        cls,
        first: Exposure | str | os.PathLike[str],
        second: Exposure | str | os.PathLike[str] | None = None,
        *,
        steps: Steps | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    ) -> CalibratedImage:
        """One exposure, or the sum of two snaps.

        Parameters
        ----------
        first, second : Exposure or FITS file
            One image each, in counts, with errors. Bits of `DQ` become planes, see `corontools.calibrate.planes`.
        steps : Steps, mapping or TOML file, optional
            Options that aren't the defaults, such as {"star_selector": {"min_snr": 30.0}}.

        Raises
        ------
        DataError
            If there are several images or no errors, a variance is negative, no pixel can be used, the snaps don't
            belong together, or an option isn't known.
        """
        given = [_opened(one) for one in (first, second) if one is not None]
        chosen = Steps.read(steps) if isinstance(steps, str | os.PathLike) else Steps.of(steps)
        exposure = chosen.snaps.combine(given)
        options = {} if steps is None else {"steps": chosen}
        written = call(CalibratedImage.from_snaps.__func__, cls, *given, **options)  # type: ignore[attr-defined]
        return cls(exposure, MaskedImage.from_exposure(exposure), chosen, history=(f"CalibratedImage.{written}",))

    @verb
    def using(self, **options: Any) -> CalibratedImage:
        """The same with other steps or options for the verbs that follow; nothing is done yet.

        Parameters
        ----------
        **options
            Attributes of `Steps`, each an object or a mapping of options: `using(star_selector={"min_snr": 30.0})`.

        Raises
        ------
        DataError
            If there is no such step, or no such option.
        """
        return self.with_(steps=self.steps.with_(**options))

    @verb
    def repair(self) -> CalibratedImage:
        """Subtract a first background and flag cosmic rays.

        Raises
        ------
        TooManyCosmicRays
            If more pixels are hit than can be.
        DataError
            If no pixel is left to fit a background to.
        """
        return self._after(repaired=stages.repair(self.start, self.steps))

    @verb
    def model_psf(self) -> CalibratedImage:
        """Fit the PSF in two passes of detection, measurement and fit; replace rays and bad pixels, measure again.

        Raises
        ------
        TooFewStarsError
            If too few stars are left; tells which cut removed how many.
        DataError
            If the frame isn't repaired yet.
        """
        return self._after(modelled=stages.model_psf(self._need("repaired", "repair"), self.steps))

    @verb
    def correct_apertures(self) -> CalibratedImage:
        """Fit by how much each kind of flux misses that of a large aperture, over the frame.

        Raises
        ------
        DataError
            If the PSF isn't fitted yet, or no star is good enough.
        """
        modelled = self._need("modelled", "model_psf")
        return self._after(corrections=self.steps.aperture.fit(modelled.table, self.start.shape))

    @verb
    def solve_astrometry(self, refcat: RefCat | Table | str | os.PathLike[str]) -> CalibratedImage:
        """Fit the WCS to a reference catalogue, at the epoch of the exposure.

        Parameters
        ----------
        refcat : RefCat, Table or file
            See `RefCat.read` for files and `RefCat.from_table` for names of columns.

        Raises
        ------
        DataError
            If the exposure has no WCS, the catalogue lies elsewhere, or the stars aren't found in it.
        """
        self._need("corrections", "correct_apertures")
        table = self._corrected
        epoch = self.exposure.meta.mjd
        solved = self.steps.astrometry.solve(
            table, self.exposure.wcs, _references(refcat), self.start.shape, epoch=epoch
        )
        return self._after(astrometry=solved)

    @verb
    def find_stars(self) -> CalibratedImage:
        """Detect sources to S/N 10, part blends, measure them all and choose the good stars.

        Raises
        ------
        DataError
            If the astrometry isn't solved yet, or none of the stars of the PSF is found again.
        """
        self._need("astrometry", "solve_astrometry")
        found = stages.find_stars(
            self._need("modelled", "model_psf"),
            self.steps,
            corrections=self.corrections,
            psf_stars=self.psf_stars,
            seed=self._number,
        )
        return self._after(found=found)

    @verb
    def solve_photometry(self, refcat: RefCat | Table | str | os.PathLike[str]) -> CalibratedImage:
        """Fit the zero point to a reference catalogue.

        Parameters
        ----------
        refcat : RefCat, Table or file
            With a flux in the band of the exposure (`steps.photometry.band`), or a colour term.

        Raises
        ------
        DataError
            If the stars aren't found yet, or none of them is in the catalogue.
        """
        good = self._placed_stars[self._need("found", "find_stars").good]
        fit = self.steps.photometry.fit(good, self.wcs, _references(refcat), epoch=self.exposure.meta.mjd)
        return self._after(photometry=fit)

    # -- what is known -------------------------------------------------------------------------------------------------

    @property
    def frame(self) -> MaskedImage:
        """The image as far as it has come, in counts: less the sky, cosmic rays replaced once the PSF is known."""
        return next((one.frame for one in (self.found, self.modelled, self.repaired) if one is not None), self.start)

    @property
    def backgrounds(self) -> BackgroundList:
        """Backgrounds of all rounds so far, in counts."""
        reached = (self.found, self.modelled, self.repaired)
        return next((one.backgrounds for one in reached if one is not None), BackgroundList())

    @property
    def psf(self) -> PSF:
        """The fitted PSF; before, the one that stands for it."""
        return self.modelled.psf if self.modelled is not None else self.steps.initial_psf

    @property
    def wcs(self) -> Any:
        """The fitted WCS; before, that of the exposure."""
        return self.exposure.wcs if self.astrometry is None else self.astrometry.wcs

    @cached_property
    def psf_stars(self) -> Table:
        """Sources of the second pass (`single_visit_psf_star`), with what is known of them; no fluxes in nJy.

        Raises
        ------
        DataError
            If the PSF isn't fitted yet.
        """
        self._need("modelled", "model_psf")
        table = self._corrected
        return table if self.astrometry is None else self.astrometry.apply(table)

    @cached_property
    def stars(self) -> Table:
        """Good stars and sky sources (`single_visit_star_unstandardized`); in nJy once the zero point is known.

        Raises
        ------
        DataError
            If they aren't found yet.
        """
        found = self._need("found", "find_stars")
        table = self._placed_stars[found.good]
        return table if self.photometry is None else self.photometry.apply(table)

    @property
    def zero_point(self) -> float:
        """AB magnitude of one count.

        Raises
        ------
        DataError
            If the photometry isn't solved yet.
        """
        return float(self._need("photometry", "solve_photometry").zero_point)

    @cached_property
    def summary(self) -> Summary:
        """Statistics of the frame, with LSST's names, as far as they are known."""
        return summarize(self)

    @cached_property
    def calibrated_frame(self) -> MaskedImage:
        """The frame in the unit of `image`, with all its planes."""
        factor = np.float32(self._factor)
        return self.frame.with_(image=self.frame.image * factor, variance=self.frame.variance * factor**2)

    @cached_property
    def image(self) -> Exposure:
        """The frame as an exposure: nJy once the zero point is known, else counts; fitted WCS."""
        made = self.calibrated_frame.to_exposure(self.exposure)
        unit = self.exposure.meta.unit if self.photometry is None else "nJy"
        return made.with_(meta=made.meta.with_(unit=unit), wcs=self.wcs)

    @property
    def background(self) -> BackgroundList:
        """Backgrounds of all rounds in the unit of `image` (`preliminary_visit_image_background`)."""
        return self.backgrounds.scale(self._factor)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False, parquet: bool = False) -> list[Path]:
        """Write all products into a folder, all of them or none.

        Parameters
        ----------
        folder : path
            Made if need be.
        overwrite : bool
        parquet : bool
            Write the catalogues as Parquet too; needs pyarrow.

        Raises
        ------
        FileExistsError
            If one is there already and `overwrite` is False.
        DataError
            If the calibration isn't complete.
        """
        from corontools.calibrate.product import save_all

        return save_all(self, folder, overwrite=overwrite, parquet=parquet)

    # -- parts ---------------------------------------------------------------------------------------------------------

    @cached_property
    def _corrected(self) -> Table:
        """Stars of the PSF with corrected fluxes, where these are known."""
        table = self._need("modelled", "model_psf").table
        return table if self.corrections is None else self.corrections.flagged(self.corrections.apply(table))

    @cached_property
    def _placed_stars(self) -> Table:
        """All sources of the catalogue with positions on the sky."""
        from corontools.calibrate.astrometry_fit import place

        return place(self._need("found", "find_stars").table, self.wcs)

    @property
    def _factor(self) -> float:
        """From counts to the unit of `image`."""
        return 1.0 if self.photometry is None else self.photometry.calibration_mean

    @property
    def _number(self) -> int:
        """Number of the exposure, of its name and time: what is random depends on it alone."""
        import zlib

        return zlib.crc32(f"{self.exposure.meta.filename}{self.exposure.meta.mjd}".encode())

    def _need(self, stage: str, method: str) -> Any:
        reached = getattr(self, stage)
        if reached is None:
            raise DataError(f"{self._name}: that needs {stage.replace('_', ' ')} data; call .{method}() before")
        return reached

    @property
    def _name(self) -> str:
        return self.exposure.meta.filename or self.exposure.meta.title

    def _after(self, **stage: Any) -> CalibratedImage:
        """The next state, in which what came after the stage is dropped."""
        order = ("repaired", "modelled", "corrections", "astrometry", "found", "photometry")
        name = next(iter(stage))
        return self.with_(**stage, **dict.fromkeys(order[order.index(name) + 1 :]))

    def _values(self) -> np.ndarray:
        return np.asarray(self.image.data)

    def _rows(self) -> list[tuple[str, str]]:
        from corontools.calibrate.cards import rows

        return rows(self)

    def _pictures(self) -> Sequence[Any]:
        from corontools.calibrate.cards import pictures

        return pictures(self)


def calibrate(
    exposure: Exposure | str | os.PathLike[str],
    refcat: RefCat | Table | str | os.PathLike[str],
    *,
    second: Exposure | str | os.PathLike[str] | None = None,
    photometry_refcat: RefCat | Table | str | os.PathLike[str] | None = None,
    steps: Steps | Mapping[str, Any] | str | os.PathLike[str] | None = None,
) -> CalibratedImage:
    """Calibrate a frame from counts to nJy: all verbs of `CalibratedImage` in order.

    Parameters
    ----------
    exposure : Exposure or FITS file
        One image in counts, with errors and a WCS as pointed.
    refcat : RefCat, Table or file
        Reference sources.
    second : Exposure or FITS file, optional
        The other of two snaps.
    photometry_refcat : RefCat, Table or file, optional
        For the zero point, where it is another one.
    steps : Steps, mapping or TOML file, optional

    Raises
    ------
    CalibrationError
        If a step fails; its `result` is what was reached.
    """
    from corontools.progress import progress

    made = CalibratedImage.from_snaps(exposure, second, steps=steps)
    astrometric = _references(refcat)
    photometric = astrometric if photometry_refcat is None else _references(photometry_refcat)
    verbs: tuple[tuple[str, Callable[[CalibratedImage], CalibratedImage]], ...] = (
        ("repair", CalibratedImage.repair),
        ("model_psf", CalibratedImage.model_psf),
        ("correct_apertures", CalibratedImage.correct_apertures),
        ("solve_astrometry", lambda image: image.solve_astrometry(astrometric)),
        ("find_stars", CalibratedImage.find_stars),
        ("solve_photometry", lambda image: image.solve_photometry(photometric)),
    )
    with progress(verbs, "calibrate", "step") as each:
        for name, method in each:
            try:
                made = method(made)
            except DataError as error:
                raise CalibrationError(f"{name}: {error}", made, name) from error
    return made


def _opened(given: Exposure | str | os.PathLike[str]) -> Exposure:
    return given if isinstance(given, Exposure) else Exposure.read(given)


def _references(given: RefCat | Table | str | os.PathLike[str]) -> RefCat:
    if isinstance(given, RefCat):
        return given
    return RefCat.from_table(given) if isinstance(given, Table) else RefCat.read(given)
