"""What makes a matched or likelihood warp, as extensions of its file: kernels, model, norm."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
from astropy.io import fits

from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.product import psf_from_hdu, psf_to_hdu
from corontools.calibrate.psf import PSF
from corontools.errors import DataError
from corontools.warp.box import Box
from corontools.warp.kernel import MatchingKernel
from corontools.warp.likelihood import Likelihood
from corontools.warp.match import FourierMatcher, PSFMatcher
from corontools.warp.matched import Matched
from corontools.warp.model import ModelPSF
from corontools.warp.mosaic import Matches, Part, PlacedPSF
from corontools.warp.psf import WarpedPSF

__all__ = ["convolved_hdus", "read_convolved"]

MATCHERS = {matcher.__name__: matcher for matcher in (PSFMatcher, FourierMatcher)}


def convolved_hdus(convolved: Matches | Likelihood) -> list[Any]:
    """NORM; or MODEL, and of each detector KERNEL (terms, y, x) and its PLACES (x and y on its box).

    Raises
    ------
    DataError
        If the model is of a kind that can't be written.
    """
    if isinstance(convolved, Likelihood):
        return [fits.ImageHDU(np.asarray(convolved.norm), name="NORM")]
    model = _model_hdu(convolved.model)
    options = {"kind": type(convolved.matcher).__name__, **asdict(convolved.matcher)}
    model.header["MATCHER"] = json.dumps(options)
    hdus = [model]
    for number, part in enumerate(convolved.parts, 1):
        kernel, box = part.matched.kernel, part.box
        planes = fits.ImageHDU(np.asarray(kernel.planes), name="KERNEL", ver=number)
        planes.header.update({"DETECTOR": part.number, "X0": box.x0, "Y0": box.y0, "X1": box.x1, "Y1": box.y1})
        places = fits.ImageHDU(np.stack([part.matched.x, part.matched.y]), name="PLACES", ver=number)
        hdus += [planes, places]
    return hdus


def read_convolved(kind: str, hdus: fits.HDUList, frame: MaskedImage, source: WarpedPSF) -> Matches | Likelihood:
    """What `convolved_hdus` wrote.

    Raises
    ------
    KeyError
        If an extension or card lacks.
    DataError
        If the kind isn't known.
    """
    if kind not in ("psfMatched", "likelihood"):
        raise DataError(f"a warp is direct, psfMatched or likelihood, found {kind!r}; make it again")
    if kind == "likelihood":
        return Likelihood(frame, np.asarray(hdus["NORM"].data, np.float32), source)
    model, matcher = _model(hdus["MODEL"]), _matcher(hdus["MODEL"].header["MATCHER"])
    count = sum(hdu.name == "KERNEL" for hdu in hdus)
    parts = tuple(_part(hdus, number, frame, source, model, matcher) for number in range(1, count + 1))
    return Matches(parts, source, model, matcher)


def _part(hdus: fits.HDUList, number: int, frame: MaskedImage, source: WarpedPSF, model: PSF, matcher: Any) -> Part:
    planes = hdus["KERNEL", number]
    box = Box(*(int(planes.header[key]) for key in ("X0", "Y0", "X1", "Y1")))
    x, y = np.asarray(hdus["PLACES", number].data, np.float64)
    cut = MaskedImage(*(plane[box.y0 : box.y1, box.x0 : box.x1] for plane in vars(frame).values()))
    kernel = MatchingKernel(np.asarray(planes.data, np.float64), box.shape)
    matched = Matched(cut, kernel, PlacedPSF(source, box.x0, box.y0), model, x, y, matcher)
    return Part(int(planes.header["DETECTOR"]), box, matched)


def _model_hdu(model: PSF) -> fits.ImageHDU:
    if isinstance(model, ModelPSF):
        hdu = fits.ImageHDU(name="MODEL")
        hdu.header.update(PSFMODEL="double Gaussian", FWHM=(model.fwhm, "[px]"), PSFSIZE=model.size)
        hdu.header.update(WING=model.wing, WIDENING=model.widening)
        return hdu
    hdu = psf_to_hdu(model)
    hdu.name = "MODEL"
    return hdu


def _model(hdu: Any) -> PSF:
    header = hdu.header
    if header["PSFMODEL"] == "double Gaussian":
        return ModelPSF(header["FWHM"], int(header["PSFSIZE"]), header["WING"], header["WIDENING"])
    return psf_from_hdu(hdu)


def _matcher(text: str) -> PSFMatcher | FourierMatcher:
    options = json.loads(text)
    return MATCHERS[options.pop("kind")](**options)
