"""The frame of a visit as a FITS file, a `preliminary_visit_image`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.exposure import Exposure
from corontools.fits import atomic

if TYPE_CHECKING:
    from astropy.table import Table

    from corontools.calibrate.psf import PSF
    from corontools.calibrate.visit import VisitImage

__all__ = ["frame_hdus", "save_visit"]


def save_visit(image: VisitImage, path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """See `VisitImage.save`."""
    from corontools.products import headers

    made = image.calibrated()
    cards = {"VISIT": made.visit}
    meta = made.meta.with_(detector=str(made.detector), filter=made.filter, unit="nJy", history=()).with_cards(cards)
    primary, science = headers(Exposure(np.zeros(made.shape), meta=meta, wcs=made.wcs))
    hdus = [fits.PrimaryHDU(header=primary), *frame_hdus(made.frame, made.psf, science, made.summary)]
    with atomic(path, overwrite=overwrite) as part:
        fits.HDUList(hdus).writeto(part)
    return Path(path)


def frame_hdus(frame: MaskedImage, psf: PSF, science: fits.Header, summary: Table | None) -> list[Any]:
    """IMAGE, MASK, VARIANCE, PSF and, where it is known, SUMMARY.

    Raises
    ------
    DataError
        If the PSF is of a kind that can't be written.
    """
    from corontools.calibrate.product import psf_to_hdu

    mask = fits.ImageHDU(np.asarray(frame.mask), name="MASK")
    for plane in Plane:
        mask.header[f"HIERARCH MP_{plane.name}"] = (plane.value.bit_length() - 1, "bit of this plane")
    variance = fits.ImageHDU(np.asarray(frame.variance), name="VARIANCE")
    variance.header["BUNIT"] = "nJy2"
    hdus = [fits.ImageHDU(np.asarray(frame.image), header=science, name="IMAGE"), mask, variance, psf_to_hdu(psf)]
    return hdus if summary is None else [*hdus, fits.BinTableHDU(summary, name="SUMMARY")]
