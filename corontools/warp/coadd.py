"""Coadd: warps of many visits combined into one image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike

from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import UNUSABLE, Plane
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.meta import Meta
from corontools.result import Result, call, verb
from corontools.warp.box import Box
from corontools.warp.gather import Rule, opened
from corontools.warp.gridpsf import GridPSF
from corontools.warp.inputs import Inputs
from corontools.warp.layers import Clip
from corontools.warp.rejection import ArtifactRejection, Artifacts
from corontools.warp.tract import Patch
from corontools.warp.warp import Warp

__all__ = ["BAD", "Coadd"]

# planes whose pixels don't count
BAD = UNUSABLE | Plane.CR

Given = Warp | str | os.PathLike[str] | None


@dataclass(frozen=True, eq=False, repr=False)
class Coadd(Result):
    """Warps of many visits combined into one image; made by `from_warps`.

    Attributes
    ----------
    frame : MaskedImage
        Image in nJy, mask and variance; NaN, infinite variance and NO_DATA where nothing counts. The mask has the
        planes of all pixels that count, CLIPPED where an outlier or artefact was left out, REJECTED where a pixel was
        because of its mask, and SENSOR_EDGE where an input begins or ends. The variance is that of each pixel;
        neighbours share noise.
    depth : ndarray of int32, shape (y, x)
        Warps that count in a pixel.
    weight : ndarray of float32, shape (y, x)
        Sum of their weights.
    psf : GridPSF or None
        Mean of the PSFs of the warps by their weights, at places on a grid; between them linear.
    inputs : Inputs
        Tables of the visits (visit, filter, goodpix, weight, scale, clipped: outliers, artifacts: regions, masked:
        their pixels, file) and of their detectors.
    patch : Patch
    rule : Rule
        How they were combined.
    meta : Meta
    artifacts : Artifacts or None
        What artefact rejection found.
    kind : {"direct", "psfMatched"}
        Of the warps.

    Examples
    --------
    >>> from corontools.calibrate.psf import GaussianPSF
    >>> from corontools.calibrate.visit import VisitImage
    >>> from corontools.simulate import star_field
    >>> from corontools.warp import SkyMap, Tiling
    >>> exposure, psf = star_field(256).exposures[0], GaussianPSF.of_fwhm(3.8)
    >>> visits = [VisitImage.from_exposure(exposure, psf, visit=number) for number in (1, 2)]
    >>> patch = SkyMap.around(visits, tiling=Tiling(0.2, (200, 200), 20))[0][0, 0]
    >>> coadd = Coadd.from_warps([Warp.from_exposures(visit, patch) for visit in visits])
    >>> int(coadd.depth.max()), len(coadd.inputs.visits), round(float(coadd.psf.sigma([100], [100])[0]), 1)
    (2, 2, 1.6)
    """

    frame: MaskedImage
    depth: np.ndarray
    weight: np.ndarray
    psf: GridPSF | None
    inputs: Inputs
    patch: Patch
    rule: Rule
    meta: Meta = field(default_factory=Meta)
    artifacts: Artifacts | None = None
    kind: str = "direct"

    @classmethod
    def from_warps(
        cls,
        warps: Iterable[Given],
        *,
        statistic: str | Clip = "mean",
        weights: str = "variance",
        reject: ArtifactRejection | None = None,
        matched: Sequence[Any] | None = None,
        zero_points: Mapping[Any, float] | None = None,
        bad: int = BAD,
    ) -> Coadd:
        """Combine warps of one patch and filter.

        For a mean, files (and warps that an iterator makes) are read one after the other; for the other statistics
        and for artefacts, files are read again, one block of rows at a time.

        Parameters
        ----------
        warps : iterable of Warp or FITS file
            None, a visit that didn't overlap, is passed over.
        statistic : {"mean", "clipped", "median"} or Clip
            Weighted mean, that without outliers (`Clip` has the choices), or median, which has no weights. Where the
            seeing changes, the light of stars is only kept by the mean: `psf` and `reject` go best with it.
        weights : {"variance", "sky", "uniform"}
            A weight for each warp: the inverse of the clipped mean of its variances, or of the square of the scatter of
            its sky; or 1. Inverse variances of single pixels would prefer the visits in which a star looks faint.
        reject : ArtifactRejection, optional
            Leave out what is in few epochs only; it needs PSF-matched images.
        matched : sequence of Warp, MaskedImage or file, optional
            The warps matched to one PSF, in the same order; by default the psfMatchedWarp beside each file.
        zero_points : mapping, optional
            AB magnitude of one unit of each visit's warp, by visit; by default all are in nJy (31.4).
        bad : int
            Planes of pixels that don't count.

        Raises
        ------
        DataError
            If there is no warp, none has a pixel that counts, or they are of several filters, patches or units.
        """
        from corontools.warp.combine import Named, combined

        rule = Rule(statistic, weights, int(bad | Plane.NO_DATA), zero_points)
        listed, values = combined(warps, rule, reject=reject, matched=matched)
        written = call(
            Coadd.from_warps.__func__, cls, listed, statistic=statistic, weights=weights,  # type: ignore[attr-defined]
            reject=reject, matched=None if matched is None else [Named(one) for one in matched],
            zero_points=zero_points, bad=bad,
        )  # fmt: skip
        return cls(**values, rule=rule, history=(f"Coadd.{written}",))

    @verb
    def add(self, warp: Warp | str | os.PathLike[str]) -> Coadd:
        """The mean with one more warp.

        Raises
        ------
        DataError
            If this is no mean, or the warp doesn't belong to the others.
        """
        from corontools.warp.combine import extended

        if self.rule.statistic != "mean":
            raise DataError(f"a {self.statistic} needs all warps; make it anew by Coadd.from_warps")
        found = opened(warp)
        if found is None:
            return self
        return self.with_(**extended(self, found, "" if isinstance(warp, Warp) else Path(warp).name))

    @property
    def statistic(self) -> str:
        """Its name: "mean", "clipped" or "median"."""
        return "clipped" if isinstance(self.rule.statistic, Clip) else self.rule.statistic

    @property
    def image(self) -> np.ndarray:
        """Image, (y, x), nJy."""
        return self.frame.image

    @property
    def error(self) -> np.ndarray:
        """1-sigma error of each pixel, (y, x), nJy; infinite where nothing counts."""
        return np.sqrt(self.frame.variance)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.frame.shape

    @property
    def box(self) -> Box:
        """Its pixels on the tract."""
        return self.patch.outer

    @property
    def wcs(self) -> Any:
        """WCS of the image."""
        return self.patch.wcs

    @property
    def filter(self) -> str:
        """Of all visits."""
        return str(self.inputs.visits["filter"][0])

    @property
    def good(self) -> np.ndarray:
        """Pixels with a value, (y, x) of bool."""
        return self.depth > 0

    def inputs_at(self, x: float, y: float) -> Table:
        """Visits of which a detector covers a place, by the corners in the table of detectors."""
        from corontools.warp.combine import covering

        return self.inputs.visits[covering(self.inputs, self.wcs, x, y)]

    def psf_at(self, x: ArrayLike, y: ArrayLike, warps: Iterable[Given]) -> np.ndarray:
        """PSF at places (n,) from the warps themselves, (n, size, size); not interpolated as `psf.kernels`.

        It is that of a star in the middle of the pixel; NaN where no warp covers it.

        Raises
        ------
        DataError
            If a warp isn't one of the coadd's.
        """
        from corontools.warp.combine import exact_psf

        return exact_psf(self, x, y, warps)

    def to_exposure(self) -> Exposure:
        """The coadd as an Exposure with errors, flags and WCS."""
        return self.frame.to_exposure(Exposure(np.zeros(self.shape), meta=self.meta, wcs=self.wcs))

    def save(self, folder: str | os.PathLike[str], *, name: str = "deep", overwrite: bool = False) -> list[Path]:
        """Write it as `{name}Coadd-{filter}-{tract}-{patch}.fits`, wholly or not at all.

        One of PSF-matched warps is a `{name}CoaddPsfMatched`.

        Extensions: IMAGE, MASK, VARIANCE, DEPTH, WEIGHT, VISITS, CCDS, PSF (stamps), PSFWEIGHT.

        Raises
        ------
        FileExistsError
            If it is there already and `overwrite` is False.
        """
        from corontools.warp.coadd_product import save_coadd

        return save_coadd(self, folder, name=name, overwrite=overwrite)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Coadd:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If the file can't be read, isn't whole or is no coadd.
        """
        from corontools.warp.coadd_product import read_coadd

        return read_coadd(path)

    def _values(self) -> np.ndarray:
        return np.asarray(self.frame.image)

    def _rows(self) -> list[tuple[str, str]]:
        from corontools.warp.coadd_cards import rows

        return rows(self)

    def _pictures(self) -> Sequence[Any]:
        from corontools.warp.coadd_cards import pictures

        return pictures(self)
