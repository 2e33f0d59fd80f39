"""Warps of many visits into a folder; a run that was interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import os
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from corontools.calibrate.background import BackgroundList
from corontools.calibrate.image import CalibratedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.visit import VisitImage
from corontools.errors import DataError
from corontools.progress import progress
from corontools.warp.corrections import Corrections
from corontools.warp.merge import Visit, opened
from corontools.warp.product import config_of, save_warp, warp_name, whole
from corontools.warp.tract import Patch
from corontools.warp.warp import Warp
from corontools.warp.warper import Warper

__all__ = ["configuration", "make_warps"]


def make_warps(
    exposures: Iterable[Visit],
    patch: Patch,
    folder: str | os.PathLike[str],
    *,
    kernel: str | Warper = "lanczos3",
    corrections: Corrections | None = None,
    coadd: str = "deep",
    reuse: bool = False,
    overwrite: bool = False,
    empty: bool = False,
) -> list[Path]:
    """Warp exposures visit by visit, each written as soon as it is done; one visit is in memory at a time.

    Parameters
    ----------
    exposures : iterable of VisitImage, CalibratedImage or path
        Of any visits, in any order.
    patch : Patch
    folder : path
        Made if need be.
    kernel, corrections, empty
        See `Warp.from_exposures`; with `empty` a visit without overlap gets a file too.
    coadd : str
        First part of the names.
    reuse : bool
        Leave a warp as it is if it is whole and was made of the same exposures in the same way; another is made anew,
        with a warning.
    overwrite : bool
        Make all anew.

    Returns
    -------
    list of Path
        Of the warps, in the order of the visits; those without overlap aren't among them.

    Raises
    ------
    FileExistsError
        If one is there already and neither `reuse` nor `overwrite` is set.
    DataError
        If there are no exposures, or those of a visit don't belong together.
    """
    groups = _by_visit(exposures)
    if not groups:
        raise DataError("there are no exposures to warp")
    warper, corrections, made = _warper(kernel), corrections or Corrections(), []
    for group in progress(list(groups.values()), "warp", "visit"):
        first = opened(group[0])
        path = Path(folder) / warp_name("direct", coadd=coadd, filter_name=first.filter, patch=patch, visit=first.visit)
        config = configuration(group, patch, warper, corrections)
        again = overwrite
        if path.exists() and reuse and not overwrite:
            again = not _usable(path, config)
            if not again:
                made.append(path)
                continue
        warp = Warp.from_exposures(group, patch, kernel=warper, corrections=corrections, empty=empty)
        if warp is not None:
            made += save_warp(warp.with_(config=config), folder, coadd=coadd, overwrite=again)
    return made


def configuration(exposures: Sequence[Visit], patch: Patch, warper: Warper, corrections: Corrections) -> str:
    """Fingerprint of pixels, WCS, PSF and calibration of the exposures, of corrections and of how they are warped."""
    found = hashlib.sha256(f"{patch.tract}{patch.index}{warper}{int(Plane.NO_DATA)}".encode())
    for one in exposures:
        found.update(_image_print(opened(one)))
    for given in (corrections.calibration, corrections.wcs, corrections.sky):
        items: Mapping[Any, Any] = {} if given is None else given
        for key in sorted(items, key=str):
            found.update(f"{key}{_print(items[key])}".encode())
        found.update(b"|" if given is None else b"+")
    found.update(str(corrections.background).encode())
    return found.hexdigest()[:16]


def _warper(kernel: str | Warper) -> Warper:
    return kernel if isinstance(kernel, Warper) else Warper(kernel)


def _by_visit(exposures: Iterable[Visit]) -> dict[Any, list[Visit]]:
    """Exposures of each visit; those in files stay there."""
    groups: dict[Any, list[Visit]] = {}
    for one in exposures:
        try:
            image = opened(one)
        except DataError as error:
            warnings.warn(f"left out: {error}", stacklevel=3)
            continue
        groups.setdefault(image.visit, []).append(image if isinstance(one, CalibratedImage) else one)
    return groups


def _usable(path: Path, config: str) -> bool:
    """Whether a warp can be reused; if not, why not is told."""
    if not whole(path):
        warnings.warn(f"{path.name} is damaged and is made again", stacklevel=3)
        return False
    if config_of(path) != config:
        warnings.warn(f"{path.name} was made of other data or in another way, and is made again", stacklevel=3)
        return False
    return True


def _image_print(image: VisitImage) -> bytes:
    frame, (ny, nx) = image.frame, image.shape
    places = np.array([(0, 0), (nx - 1, 0), (0, ny - 1), (nx - 1, ny - 1), ((nx - 1) / 2, (ny - 1) / 2)], float)
    psf = np.round(image.psf.kernels(*places.T), 9)
    parts = [
        image.visit, image.detector, image.filter, _print(frame.image), _print(frame.variance), _print(frame.mask),
        _print(image.wcs), _print(psf), _print(image.calibration), _print(image.background),
    ]  # fmt: skip
    return repr(parts).encode()


def _print(value: Any) -> str:
    """Fingerprint that is the same in any process and for any order of bytes."""
    if value is None:
        return "none"
    if isinstance(value, BackgroundList):
        return str([(_print(entry.levels), entry.style, entry.order) for entry in value])
    if hasattr(value, "to_header"):
        return str(value.to_header_string(relax=True))
    array = np.asarray(value)
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return f"{array.shape}{native.dtype.str}{zlib.crc32(native.reshape(-1).view(np.uint8).data)}"
