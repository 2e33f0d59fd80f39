"""VisitImage: a calibrated frame of one detector, as warps take it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike

from corontools.calibrate.background import BackgroundList
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import PSF
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.meta import Meta
from corontools.result import fingerprint

if TYPE_CHECKING:
    from corontools.calibrate.image import CalibratedImage

__all__ = ["VisitImage"]

# pixels along an axis of which a fingerprint is taken, about so many
SAMPLE = 256


@dataclass(frozen=True, eq=False, repr=False)
class VisitImage:
    """Frame of one detector in one visit, with its WCS, PSF, calibration and background; immutable.

    Attributes
    ----------
    frame : MaskedImage
        In nJy, or in another unit that `calibration` turns into nJy; the background is subtracted.
    wcs : astropy.wcs.WCS
        Celestial; None where it isn't known.
    psf : PSF
    meta : Meta
    summary : Table or None
        Statistics of the frame.
    visit : int or str
        Name of the exposure; by default the card VISIT, else the name of the file.
    detector : int or str
        By default that of `meta`.
    filter : str
        By default that of `meta`.
    calibration : float or array, shape (y, x)
        nJy of one unit of the frame.
    background : BackgroundList or None
        What was subtracted, in the unit of the frame.
    source : str
        Python code that reads it again; "" for one made in memory.

    Raises
    ------
    DataError
        If the calibration isn't finite and positive, or calibration or background have another shape.

    Examples
    --------
    >>> from corontools.calibrate.psf import GaussianPSF
    >>> ones = np.ones((20, 30), np.float32)
    >>> frame = MaskedImage(ones, np.zeros((20, 30), np.int32), ones)
    >>> visit = VisitImage(frame, None, GaussianPSF(1.7), visit=7, detector=2, filter="r", calibration=2.5)
    >>> visit, float(visit.calibrated().frame.image[0, 0])
    (<VisitImage 7, detector 2, r, 30 x 20 px>, 2.5)
    """

    frame: MaskedImage
    wcs: Any
    psf: PSF
    meta: Meta = field(default_factory=Meta)
    summary: Table | None = None
    visit: int | str = ""
    detector: int | str = ""
    filter: str = ""
    calibration: ArrayLike = 1.0
    background: BackgroundList | None = None
    source: str = ""

    def __post_init__(self) -> None:
        known = {"visit": self.meta.card("VISIT"), "detector": self.meta.detector, "filter": self.meta.filter}
        known["visit"] = self.meta.filename if known["visit"] is None else known["visit"]
        for name, value in known.items():
            if getattr(self, name) == "":
                object.__setattr__(self, name, value)
        _checked(self.calibration, self.frame.shape, "calibration")
        if self.background is not None and len(self.background):
            _alike(self.background[0].shape, self.frame.shape, "background")

    @classmethod
    def from_calibrated(cls, calibrated: CalibratedImage, **names: Any) -> VisitImage:
        """The end of a single-frame calibration; `names` are attributes that the header doesn't give."""
        return cls(
            calibrated.calibrated_frame, calibrated.wcs, calibrated.psf, calibrated.image.meta,
            calibrated.summary.table, background=calibrated.background, **names,
        )  # fmt: skip

    @classmethod
    def from_exposure(cls, exposure: Exposure, psf: PSF, **names: Any) -> VisitImage:
        """An exposure that was calibrated elsewhere; `names` are attributes that the header doesn't give.

        Raises
        ------
        DataError
            If it has several images, no errors, or no good pixel.
        """
        return cls(MaskedImage.from_exposure(exposure), exposure.wcs, psf, exposure.meta, **names)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write it in nJy as a `preliminary_visit_image`, which `read_visit_image` and the command line read.

        The background that was subtracted isn't kept.

        Raises
        ------
        FileExistsError
            If the file is there and `overwrite` is False.
        DataError
            If the PSF is of a kind that can't be written; `PixelPSF.sampled` makes one that can.
        """
        from corontools.calibrate.visit_file import save_visit

        return save_visit(self, path, overwrite=overwrite)

    def with_(self, **changes: Any) -> VisitImage:
        """Copy with the named attributes changed."""
        return replace(self, **changes)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.frame.shape

    @property
    def code(self) -> str:
        """Python code that gives it again; one made in memory goes by the fingerprint of some pixels."""
        return self.source or f"visit_image({self.memory_print!r})"

    @property
    def memory_print(self) -> str:
        """Fingerprint of some of its pixels, by which `replay` finds it."""
        step = max(1, max(self.shape) // SAMPLE)
        return f"{self.name}: {fingerprint(self.frame.image[::step, ::step])}"

    @property
    def name(self) -> str:
        """Visit and detector, for messages."""
        return f"visit {self.visit} detector {self.detector}"

    def calibrated(
        self,
        *,
        calibration: ArrayLike | None = None,
        wcs: Any = None,
        sky_correction: ArrayLike | BackgroundList | None = None,
        background: bool = False,
    ) -> VisitImage:
        """The same in nJy, with what was found out later.

        Parameters
        ----------
        calibration : float or array (y, x), optional
            nJy of one unit of the frame, in place of its own.
        wcs : astropy.wcs.WCS, optional
            In place of its own.
        sky_correction : float, array (y, x) or BackgroundList, optional
            Of the whole focal plane, nJy; subtracted at last.
        background : bool
            Add what was subtracted as background before.

        Raises
        ------
        DataError
            If the background isn't known, a shape differs, or the calibration isn't finite and positive.
        """
        frame = self._with_background() if background else self.frame
        factor = _checked(self.calibration if calibration is None else calibration, self.shape, "calibration")
        if factor.ndim or factor != 1:
            frame = frame.with_(image=frame.image * factor, variance=frame.variance * factor**2)
        if sky_correction is not None:
            level = sky_correction.image() if isinstance(sky_correction, BackgroundList) else sky_correction
            level = np.asarray(level, np.float32)
            if level.ndim:
                _alike(level.shape, self.shape, "sky correction")
            frame = frame.with_(image=frame.image - level)
        return self.with_(
            frame=_without_gaps(frame), wcs=self.wcs if wcs is None else wcs, calibration=1.0,
            meta=self.meta.with_(unit="nJy"), background=None if background else self._scaled(factor),
        )  # fmt: skip

    def _with_background(self) -> MaskedImage:
        if self.background is None or not len(self.background):
            raise DataError(f"{self.name}: its background isn't known and can't be added; give VisitImage(background=)")
        return self.frame.with_(image=self.frame.image + self.background.image())

    def _scaled(self, factor: np.ndarray) -> BackgroundList | None:
        """The background in nJy; one under a calibration that varies has no bins any more."""
        if self.background is None or factor.ndim:
            return None
        return self.background if factor == 1 else self.background.scale(float(factor))

    def __repr__(self) -> str:
        ny, nx = self.shape
        return f"<VisitImage {self.visit}, detector {self.detector}, {self.filter or 'no filter'}, {nx} x {ny} px>"


def _checked(calibration: ArrayLike, shape: tuple[int, int], name: str) -> np.ndarray:
    """Calibration as float32; of an image some pixels may not be finite."""
    factor = np.asarray(calibration, np.float32)
    if factor.ndim:
        _alike(factor.shape, shape, name)
    elif not (np.isfinite(factor) and factor > 0):
        raise DataError(f"a calibration is finite and positive, found {factor}")
    return factor


def _alike(found: tuple[int, ...], shape: tuple[int, int], name: str) -> None:
    if tuple(found) != shape:
        raise DataError(f"the {name} has the shape {tuple(found)}, the frame {shape}; they should be alike")


def _without_gaps(frame: MaskedImage) -> MaskedImage:
    """Pixels that lost their value are marked so."""
    gaps = ~np.isfinite(frame.image)
    if not gaps.any() or (frame.has(Plane.NO_DATA) | ~gaps).all():
        return frame
    return MaskedImage(
        np.where(gaps, np.float32(np.nan), frame.image),
        np.where(gaps, frame.mask | np.int32(Plane.NO_DATA), frame.mask),
        np.where(gaps, np.float32(np.inf), frame.variance),
    )
