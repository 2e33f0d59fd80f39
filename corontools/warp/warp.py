"""Warp: the frames of one visit on the pixels of a patch, as they are, matched to a PSF, or correlated with it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import PSF
from corontools.errors import DataError
from corontools.meta import Meta
from corontools.result import Result, call, verb
from corontools.warp.box import Box
from corontools.warp.corrections import Corrections
from corontools.warp.inputs import Inputs, recounted
from corontools.warp.likelihood import Likelihood, correlated
from corontools.warp.match import FourierMatcher, PSFMatcher
from corontools.warp.merge import Merged, Visit
from corontools.warp.model import ModelPSF
from corontools.warp.mosaic import Matches, match_detectors
from corontools.warp.psf import WarpedPSF
from corontools.warp.tract import Patch
from corontools.warp.warper import Warper

__all__ = ["Warp"]


@dataclass(frozen=True, eq=False, repr=False)
class Warp(Result):
    """The frames of one visit on the pixels of a patch, with variance, mask and PSF.

    Attributes
    ----------
    frame : MaskedImage
        Image of the patch's outer box, nJy. NaN, infinite variance and NO_DATA where no detector contributes. The
        variance is that of each pixel; neighbours share noise.
    psf : PSF or None
        At places on the image; None where nothing contributes.
    patch : Patch
    warper : Warper
        How it was warped.
    inputs : Inputs
        Tables of the visit and of the detectors that contribute.
    meta : Meta
        Of the first detector that contributes.
    reason : str
        Why nothing contributes; "" where something does.
    config : str
        Fingerprint of what it was made of and how, where `make_warps` made it.
    kind : {"direct", "psfMatched", "likelihood"}
        As it came from the detectors, matched to a common PSF, or correlated with its own PSF.
    convolved : Matches, Likelihood or None
        How it was made from the direct warp: kernels, model and residuals, or the norm.
    direct : Warp or None
        The direct warp that it was made from, where that is at hand.

    Examples
    --------
    >>> from corontools.calibrate.psf import GaussianPSF
    >>> from corontools.calibrate.visit import VisitImage
    >>> from corontools.simulate import star_field
    >>> from corontools.warp import SkyMap, Tiling
    >>> exposure = star_field(256).exposures[0]
    >>> visit = VisitImage.from_exposure(exposure, GaussianPSF.of_fwhm(3.8))
    >>> patch = SkyMap.around([visit], tiling=Tiling(0.2, (256, 256), 20, rotation=35.0))[0][0, 0]
    >>> warp = Warp.from_exposures([visit], patch)
    >>> warp.shape, warp.inputs.ccds["goodpix"][0] == np.isfinite(warp.frame.image).sum()
    ((276, 276), np.True_)
    >>> matched = warp.match_psf(4.6)
    >>> matched.kind, bool(matched.convolved.quality["peak"].max() < 0.01)
    ('psfMatched', True)
    """

    frame: MaskedImage
    psf: PSF | None
    patch: Patch
    warper: Warper
    inputs: Inputs
    meta: Meta = field(default_factory=Meta)
    reason: str = ""
    config: str = ""
    kind: str = "direct"
    convolved: Matches | Likelihood | None = None
    direct: Warp | None = None

    @classmethod
    def from_exposures(
        cls,
        exposures: Sequence[Visit] | Visit,
        patch: Patch,
        *,
        kernel: str | Warper = "lanczos3",
        corrections: Corrections | None = None,
        bad: int = Plane.NO_DATA,
        empty: bool = False,
    ) -> Warp | None:
        """Warp the detectors of one visit, and copy the good pixels of each in order: the last one wins.

        A detector that can't be read, has no correction or no WCS with an inverse is left out with a warning.

        Parameters
        ----------
        exposures : sequence of VisitImage, CalibratedImage or path
            Paths of `preliminary_visit_image` files.
        patch : Patch
        kernel : str or Warper
            Name of a kernel, or all options.
        corrections : Corrections, optional
            External photometric calibration, WCS and sky; whether the background is added again.
        bad : int
            Planes of pixels that aren't copied.
        empty : bool
            Where nothing contributes, give a warp without data that tells the `reason`, rather than None and a warning.

        Returns
        -------
        Warp or None

        Raises
        ------
        DataError
            If there are no exposures, they are of several visits or filters, a detector comes twice, or all failed.
        """
        many = list(exposures) if isinstance(exposures, Sequence) and not isinstance(exposures, str) else [exposures]
        warper = kernel if isinstance(kernel, Warper) else Warper(kernel)
        merged = Merged.of(many, patch, warper=warper, corrections=corrections or Corrections(), bad=int(bad))
        options = {"kernel": kernel, "corrections": corrections, "bad": bad, "empty": empty}
        given = {name: value for name, value in options.items() if value is not None}
        written = call(Warp.from_exposures.__func__, cls, many, patch, **given)  # type: ignore[attr-defined]
        if merged.reason and not empty:
            warnings.warn(f"{merged.reason}; no warp is made", stacklevel=2)
            return None
        return cls(
            merged.frame, merged.psf(), patch, warper, merged.inputs(), merged.meta, merged.reason,
            history=(f"Warp.{written}",),
        )  # fmt: skip

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
    def visit(self) -> int | str:
        """Name of the visit."""
        return _plain(self.inputs.visits["visit"][0])

    @property
    def filter(self) -> str:
        """Of the visit."""
        return str(self.inputs.visits["filter"][0])

    @verb
    def match_psf(self, fwhm: float | PSF, *, matcher: PSFMatcher | FourierMatcher | None = None) -> Warp:
        """Convolve it so that its PSF is the same everywhere.

        Each detector is matched by itself. The variance is that of each pixel, with the noise that warped pixels share.
        The kernel needs pixels around each pixel: those beside a gap or the edge of the patch, about half a kernel,
        have NO_DATA or, where little of the kernel lacks, INTRP.

        Parameters
        ----------
        fwhm : float or PSF
            FWHM of the double Gaussian that is wanted (`ModelPSF`), px, or another PSF. Of several visits it should be
            that of the worst seeing, see `ModelPSF.like`; one that is narrower than the PSF makes ripples.
        matcher : PSFMatcher or FourierMatcher, optional
            By default `PSFMatcher()`.

        Raises
        ------
        DataError
            If it isn't a direct warp, or no detector can be matched.
        """
        self._check_direct("matched")
        model = ModelPSF(float(fwhm)) if isinstance(fwhm, int | float | np.number) else fwhm
        frame, matches = match_detectors(self, model, PSFMatcher() if matcher is None else matcher)
        return self._made("psfMatched", frame, model, matches)

    @verb
    def likelihood(self, *, least: float = 0.5) -> Warp:
        """Correlate it with its own PSF: over its norm it is the flux that a star at each pixel most likely has.

        Parameters
        ----------
        least : float
            See `corontools.warp.likelihood`.

        Raises
        ------
        DataError
            If it isn't a direct warp, or has no data.
        """
        self._check_direct("correlated")
        if not isinstance(self.psf, WarpedPSF):
            raise DataError(f"there is nothing to correlate: {self.reason or 'the warp has no PSF'}")
        found = correlated(self.frame, self.psf, least=least)
        return self._made("likelihood", found.frame, found.psf, found)

    def _made(self, kind: str, frame: MaskedImage, psf: PSF, convolved: Matches | Likelihood) -> Warp:
        """Another kind of warp made from this one."""
        inputs = recounted(self.inputs, frame, getattr(self.psf, "owner", None))
        return self.with_(frame=frame, psf=psf, inputs=inputs, config="", kind=kind, convolved=convolved, direct=self)

    def _check_direct(self, what: str) -> None:
        if self.kind != "direct":
            raise DataError(f"a direct warp can be {what}, this one is {self.kind}; take the direct warp of the visit")

    @property
    def good(self) -> np.ndarray:
        """Pixels with a value, (y, x) of bool."""
        return ~self.frame.has(Plane.NO_DATA)

    def save(self, folder: str | os.PathLike[str], *, coadd: str = "deep", overwrite: bool = False) -> list[Path]:
        """Write it as `{coadd}Coadd_{kind}Warp-{filter}-{tract}-{patch}-{visit}.fits`, wholly or not at all.

        Raises
        ------
        FileExistsError
            If it is there already and `overwrite` is False.
        DataError
            If a PSF is of a kind that can't be written.
        """
        from corontools.warp.product import save_warp

        return save_warp(self, folder, coadd=coadd, overwrite=overwrite)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Warp:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If the file can't be read, isn't whole or is no warp.
        """
        from corontools.warp.product import read_warp

        return read_warp(path)

    def _values(self) -> np.ndarray:
        return np.asarray(self.frame.image)

    def _rows(self) -> list[tuple[str, str]]:
        n_good, patch = int(self.good.sum()), self.patch
        ccds = self.inputs.ccds
        how = self.convolved.rows() if self.convolved is not None else []
        return [
            ("kind", self.kind),
            ("visit", f"{self.visit}, filter {self.filter or 'unknown'}"),
            ("patch", f"{patch.name} of tract {patch.tract.number}, {self.shape[1]} x {self.shape[0]} px"),
            ("detectors", ", ".join(str(name) for name in ccds["ccd"]) if len(ccds) else f"none: {self.reason}"),
            ("covered", f"{100 * n_good / self.frame.image.size:.1f} %"),
            ("warped", f"{self.warper.kernel}, places within {max(ccds['place_error'], default=0.0):.1g} px"),
            *how,
        ]

    def _pictures(self) -> Sequence[Any]:
        from corontools.display import quick

        step = -(-max(self.shape) // 320)
        return (
            []
            if self.reason
            else [quick.image_picture(np.array(self.frame.image[::step, ::step]), f"{self.kind} warp")]
        )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
