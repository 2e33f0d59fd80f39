"""Detectors of one visit copied onto a patch, one after the other; only one of them is in memory at a time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from corontools.calibrate.image import CalibratedImage
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.product import read_visit_image
from corontools.calibrate.visit import VisitImage
from corontools.errors import DataError
from corontools.meta import Meta
from corontools.warp.corrections import Corrections
from corontools.warp.inputs import Inputs, ccd_row, tables
from corontools.warp.psf import Origin, WarpedPSF
from corontools.warp.tract import Patch
from corontools.warp.warper import WarpedDetector, Warper

__all__ = ["Merged", "Visit", "opened", "warp_detectors"]

# what stands for a frame: paths are those of `preliminary_visit_image` files
Visit = VisitImage | CalibratedImage | str | os.PathLike[str]


def warp_detectors(
    exposures: Sequence[Visit], patch: Patch, *, warper: Warper, corrections: Corrections
) -> Iterator[tuple[VisitImage, WarpedDetector | DataError | None]]:
    """Each detector of a visit in turn: the image in nJy, and its warp, None where it isn't on the patch.

    What is wrong with one detector is given in place of its warp: the others go on. One that can't be read is left out
    with a warning.

    Raises
    ------
    DataError
        If they are of several visits or filters, or a detector comes twice.
    """
    seen: list[tuple[str, str, str]] = []
    for one in exposures:
        try:
            image = opened(one)
        except DataError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
            continue
        seen.append((str(image.visit), str(image.filter), str(image.detector)))
        _check_alike(seen)
        try:
            _check_variance(image)
            image = corrections.apply(image)
            yield image, warper.warp(image, patch)
        except DataError as error:
            yield image, error


def opened(given: Visit) -> VisitImage:
    """The frame that stands for itself, a calibration or a file."""
    if isinstance(given, VisitImage):
        return given
    return VisitImage.from_calibrated(given) if isinstance(given, CalibratedImage) else read_visit_image(given)


@dataclass(eq=False)
class Merged:
    """What was copied so far.

    Attributes
    ----------
    patch : Patch
    frame : MaskedImage
        On the patch.
    owner : ndarray of int16, shape (y, x)
        Which contribution each pixel comes from, -1 for none.
    origins : list of Origin
        Of the contributions.
    visits : list of (visit, filter)
        Of all detectors that were looked at.
    rows : list of dict
        Of the table of detectors.
    meta : Meta
        Of the first contribution; before, of the first detector.
    """

    patch: Patch
    frame: MaskedImage = field(init=False)
    owner: np.ndarray = field(init=False)
    origins: list[Origin] = field(default_factory=list)
    visits: list[tuple[int | str, str]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    meta: Meta = field(default_factory=Meta)
    kernel: str = "lanczos3"

    def __post_init__(self) -> None:
        shape = self.patch.shape
        self._planes = (
            np.full(shape, np.nan, np.float32),
            np.full(shape, int(Plane.NO_DATA), np.int32),
            np.full(shape, np.inf, np.float32),
        )
        self.frame, self.owner = MaskedImage(*self._planes), np.full(shape, -1, np.int16)

    @classmethod
    def of(
        cls, exposures: Sequence[Visit], patch: Patch, *, warper: Warper, corrections: Corrections, bad: int
    ) -> Merged:
        """All detectors; what failed is told by warnings, and raised where nothing else is left.

        Raises
        ------
        DataError
            If there are no exposures, they don't belong together, or none is left but failures.
        """
        if not exposures:
            raise DataError("a warp needs the exposures of one visit, found none")
        made = cls(patch, kernel=warper.kernel)
        for image, warped in warp_detectors(exposures, patch, warper=warper, corrections=corrections):
            made.meta = image.meta if not made.visits else made.meta
            made.visits.append((image.visit, image.filter))
            if isinstance(warped, DataError):
                made.failures.append(f"{image.name}: {warped}")
            elif warped is not None:
                made.copy(image, warped, bad)
        if made.failures and not made.rows:
            raise DataError("; ".join(made.failures))
        for text in made.failures:
            warnings.warn(f"left out: {text}", stacklevel=3)
        return made

    def copy(self, image: VisitImage, warped: WarpedDetector, bad: int) -> None:
        """Copy the pixels of a detector that have none of the planes `bad` over what is there."""
        good = ~warped.frame.has(bad)
        count = int(np.count_nonzero(good))
        if not count:
            return
        where = warped.box.slices(self.patch.outer)
        for plane, new in zip(
            self._planes, (warped.frame.image, warped.frame.mask, warped.frame.variance), strict=True
        ):
            np.copyto(plane[where], new, where=good)
        np.copyto(self.owner[where], np.int16(len(self.rows)), where=good)
        self.meta = image.meta if not self.rows else self.meta
        self.origins += warped.psf.origins
        self.rows.append(ccd_row(image, warped, count))

    @property
    def reason(self) -> str:
        """Why there is nothing; "" where there is something."""
        if self.rows:
            return ""
        if not self.visits:
            return "none of the exposures could be read"
        n, patch = len(self.visits), self.patch
        return (
            f"no good pixel of the {n} detector{'s' if n > 1 else ''} of visit {self.visits[0][0]} lies on patch "
            f"{patch.name} of tract {patch.tract.number}"
        )

    def psf(self) -> WarpedPSF | None:
        """Of what was copied."""
        if not self.origins:
            return None
        return WarpedPSF(tuple(self.origins), self.patch.wcs, self.patch.shape, self.kernel, self.owner)

    def inputs(self) -> Inputs:
        """Tables of what was copied."""
        return tables(next(iter(self.visits), ("", "")), self.rows, self.frame)


def _check_alike(seen: Sequence[tuple[str, str, str]]) -> None:
    for k, name in enumerate(("visit", "filter")):
        found = sorted({one[k] for one in seen})
        if len(found) > 1:
            raise DataError(f"a warp is of one {name}, found {', '.join(found)}; warp them one by one")
    if seen[-1] in seen[:-1]:
        visit, _, detector = seen[-1]
        raise DataError(
            f"detector {detector!r} of visit {visit} is given twice; leave one out, or set detector= of each VisitImage"
        )


def _check_variance(image: VisitImage) -> None:
    variance = image.frame.variance
    with np.errstate(invalid="ignore"):
        negative = int(np.count_nonzero(variance < 0))
    if negative:
        raise DataError(f"the variance is negative in {negative} pixels; set it NaN where it isn't known")
    lost = int(np.count_nonzero(np.isfinite(image.frame.image) & ~np.isfinite(variance)))
    if lost:
        text = f"{image.name}: {lost} pixels have a value but no finite variance; they are left out"
        warnings.warn(text, stacklevel=3)
