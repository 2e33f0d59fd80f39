"""Cleaned exposures as JWST products."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits as astrofits

from corontools import fits
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.flicker.frames import Frames
from corontools.meta import Meta
from corontools.products import flag_planes, headers, write_exposure

if TYPE_CHECKING:
    from corontools.flicker.cleaner import FlickerCleaner

__all__ = ["SUFFIX", "cleaned", "save", "save_data"]

SUFFIX = "clean_flicker_noise"
STATUS = "S_CLNFNS"


def cleaned(cleaner: FlickerCleaner, data: np.ndarray) -> Exposure:
    """The exposure with cleaned data, the status in its header, and the error of the correction if it was asked for."""
    exposure = cleaner.exposure
    made = exposure.with_(data=data, meta=_meta(exposure.meta, cleaner.log.status, cleaner.history))
    if not cleaner.plan.add_err or exposure.err is None:
        return made
    variances = dict(exposure.variances)
    if "rnoise" in variances:
        variances["rnoise"] = variances["rnoise"] + np.square(cleaner.err)
    return made.with_(err=np.hypot(exposure.err, cleaner.err), variances=variances)


def save(cleaner: FlickerCleaner, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """See `FlickerCleaner.save`."""
    exposure = cleaner.exposure
    if exposure.data.ndim < 4:
        return write_exposure(cleaner.cleaned, path, overwrite=overwrite)
    if not exposure.is_ramp:
        exposure = exposure.with_(pixel_dq=np.zeros(exposure.shape[-2:], np.uint32))
    exposure = exposure.with_(meta=_meta(exposure.meta, expected_status(cleaner.ready()), cleaner.history))
    flags = flag_planes(exposure)
    primary, planes = _planes(exposure, flags, Path(path).name)
    with fits.open_planes(path, primary, planes, extensions=exposure.extensions, overwrite=overwrite) as maps:
        _fill(cleaner, maps)
        for name, values in flags.items():
            maps[name][...] = fits.on_disk(values, maps[name].dtype)
    return Path(path)


def save_data(
    cleaner: FlickerCleaner, data: np.ndarray, path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write a mask, the noise or the background in the form of the exposure."""
    meta = cleaner.exposure.meta
    unit = "" if data.dtype.kind == "b" else meta.unit
    pixel_dq = np.zeros(data.shape[-2:], np.uint32) if data.ndim == 4 else None
    made = Exposure(
        np.asarray(data, np.float32),
        meta=meta.with_(unit=unit, history=(*meta.history, *cleaner.history)),
        pixel_dq=pixel_dq,
    )
    return write_exposure(made, path, overwrite=overwrite)


def expected_status(frames: Frames) -> str:
    """What `Log.status` will be, from the masks alone: the header is written before the data."""
    if not frames.indices:
        return "SKIPPED"
    try:
        frames.first()
    except DataError:
        return "FAILED"
    return "COMPLETE"


def _meta(meta: Meta, status: str, history: tuple[str, ...]) -> Meta:
    """With the status of the step in the primary header, and the chain."""
    return meta.with_cards({STATUS: (status, "Clean Flicker Noise")}).with_(history=(*meta.history, *history))


def _planes(exposure: Exposure, flags: dict[str, np.ndarray], name: str) -> tuple[astrofits.Header, list[fits.Plane]]:
    primary, science = headers(exposure, {"FILENAME": name})
    planes = [fits.Plane("SCI", exposure.shape, "f4", science)]
    kinds = {"PIXELDQ": "u4", "GROUPDQ": "u1"}
    planes += [fits.Plane(key, values.shape, kinds[key], astrofits.Header()) for key, values in flags.items()]
    if exposure.err is not None:
        planes.append(fits.Plane("ERR", exposure.shape, "f4", astrofits.Header()))
    return primary, planes


def _fill(cleaner: FlickerCleaner, maps: dict[str, np.ndarray]) -> None:
    """Cleaned data and errors, one image at a time unless they are in memory already."""
    if "_corrected" in cleaner.__dict__:
        maps["SCI"][...] = cleaner.cleaned.data
    else:
        cleaner.clean_into(maps["SCI"])
    err = cleaner.exposure.err
    if err is None:
        return
    if not cleaner.plan.add_err:
        maps["ERR"][...] = err
        return
    cleaner.frames.errors_into(maps["ERR"])
    for mine, given in zip(maps["ERR"], err, strict=True):
        for plane, known in zip(mine, given, strict=True):
            plane[...] = np.hypot(plane, known)
