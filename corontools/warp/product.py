"""Warps as FITS files, and the making of many of them, which may be interrupted."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyUserWarning

from corontools import fits as files
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.product import psf_from_hdu, psf_to_hdu
from corontools.errors import DataError
from corontools.folder import staged
from corontools.meta import KEYWORDS, Meta
from corontools.products import celestial_wcs, history_cards, history_lines
from corontools.warp.convolved import convolved_hdus, read_convolved
from corontools.warp.inputs import Inputs
from corontools.warp.psf import Origin, WarpedPSF
from corontools.warp.tract import Patch, Tiling, Tract
from corontools.warp.warper import Warper

if TYPE_CHECKING:
    from corontools.warp.warp import Warp

__all__ = [
    "Glance",
    "config_of",
    "glance",
    "native",
    "read_table",
    "read_warp",
    "save_warp",
    "warp_hdus",
    "warp_name",
    "whole",
]

# cards of what the exposure was
EXPOSURE = ("filename", "telescope", "instrument", "target", "mjd", "exposure_time")
# in place of the time in the comments of check sums: equal warps are equal files
WHEN = "of this extension"


def warp_name(kind: str, *, coadd: str, filter_name: str, patch: Patch, visit: int | str) -> str:
    """Name of a product: kind is "direct", "psfMatched" or "likelihood".

    Examples
    --------
    >>> from corontools.warp import SkyMap
    >>> patch = SkyMap.discrete([(53.1, -27.8, 0.1)])[0][0, 0]
    >>> warp_name("direct", coadd="deep", filter_name="r", patch=patch, visit=903988)
    'deepCoadd_directWarp-r-0-0,0-903988.fits'
    """
    parts = (filter_name or "none", patch.tract.number, patch.name, visit)
    return f"{coadd}Coadd_{kind}Warp-" + "-".join(_plain(str(part)) for part in parts) + ".fits"


def save_warp(warp: Warp, folder: str | os.PathLike[str], *, coadd: str, overwrite: bool) -> list[Path]:
    """See `Warp.save`."""
    name = warp_name(warp.kind, coadd=coadd, filter_name=warp.filter, patch=warp.patch, visit=warp.visit)
    hdus = warp_hdus(warp, coadd=coadd)
    with staged(folder, [name], overwrite=overwrite) as part:
        write(hdus, part / name)
    return [Path(folder) / name]


def write(hdus: fits.HDUList, path: Path) -> None:
    """With check sums, which tell whether a file is whole."""
    for hdu in hdus:
        if hdu.is_image and hdu.data is not None:  # turned round once, not for each sum and once more to be written
            hdu.data = hdu.data.astype(hdu.data.dtype.newbyteorder(">"))
        hdu.add_checksum(when=WHEN)
    hdus.writeto(path)


def warp_hdus(warp: Warp, *, coadd: str) -> fits.HDUList:
    """IMAGE, MASK, VARIANCE, OWNER (number of the detector from 0), VISITS, CCDS, and of each detector CCD and PSF.

    What makes a matched or likelihood warp follows, see `corontools.warp.convolved`.

    Raises
    ------
    DataError
        If a PSF is of a kind that can't be written.
    """
    origins = _source(warp)
    hdus = [_primary(warp, f"{coadd}Coadd_{warp.kind}Warp"), *frame_hdus(warp.frame, warp.patch)]
    hdus.append(fits.ImageHDU(None if origins is None else np.asarray(origins.owner), name="OWNER"))
    hdus += [fits.BinTableHDU(table, name=name) for table, name in zip(warp.inputs, ("VISITS", "CCDS"), strict=True)]
    for k, origin in enumerate(() if origins is None else origins.origins, 1):
        hdus += _origin_hdus(origin, k)
    if warp.convolved is not None:
        hdus += convolved_hdus(warp.convolved)
    return fits.HDUList(hdus)


def _source(warp: Warp) -> WarpedPSF | None:
    """PSF of the direct warp."""
    psf = warp.psf if warp.convolved is None else warp.convolved.source
    assert psf is None or isinstance(psf, WarpedPSF)
    return psf


def frame_hdus(frame: MaskedImage, patch: Patch) -> list[Any]:
    """IMAGE with its WCS, MASK with its planes, VARIANCE."""
    header = place_cards(patch)
    image = fits.ImageHDU(np.asarray(frame.image, np.float32), header=header, name="IMAGE")
    image.header["BUNIT"] = "nJy"
    mask = fits.ImageHDU(np.asarray(frame.mask, np.int32), header=header, name="MASK")
    for plane in Plane:
        mask.header[f"HIERARCH MP_{plane.name}"] = (plane.value.bit_length() - 1, "bit of this plane")
    variance = fits.ImageHDU(np.asarray(frame.variance, np.float32), header=header, name="VARIANCE")
    variance.header["BUNIT"] = "nJy2"
    return [image, mask, variance]


def place_cards(patch: Patch) -> fits.Header:
    """WCS to the last digit, and place in tract."""
    tract, box = patch.tract, patch.outer
    (a, b), (c, d) = tract.cd
    header = fits.Header()
    header.update(
        {
            "WCSAXES": 2, "CTYPE1": f"RA---{tract.tiling.projection}", "CTYPE2": f"DEC--{tract.tiling.projection}",
            "CUNIT1": "deg", "CUNIT2": "deg", "CRVAL1": tract.center[0], "CRVAL2": tract.center[1],
            "CRPIX1": tract.crpix[0] + 1 - box.x0, "CRPIX2": tract.crpix[1] + 1 - box.y0,
            "CD1_1": a, "CD1_2": b, "CD2_1": c, "CD2_2": d, "RADESYS": "ICRS",
            "TRACT_X0": (box.x0, "first pixel on the tract"), "TRACT_Y0": (box.y0, "first pixel on the tract"),
        }
    )  # fmt: skip
    return header


def read_warp(path: str | os.PathLike[str]) -> Warp:
    """See `Warp.read`."""
    from corontools.warp.warp import Warp

    files.read(path)  # tells of files that are missing, cut short or no FITS
    if not whole(path):
        raise DataError(f"{path} isn't as it was written, its check sums differ; make it again")
    with files.reading(path, "a warp", RecursionError), fits.open(path, memmap=False) as hdus:
        try:
            primary, patch = hdus[0].header, _patch(hdus[0].header)
            frame = MaskedImage(*(native(hdus[name].data) for name in ("IMAGE", "MASK", "VARIANCE")))
            warper = Warper(
                primary["KERNEL"], primary["STEP"], primary["TOLERANC"], primary["CONSERVE"], primary["GROWN"]
            )
            inputs = Inputs(*(read_table(hdus, name) for name in ("VISITS", "CCDS")))
            source = _psf(hdus, len(inputs.ccds), patch, warper)
            kind = _kind(primary)
            convolved = None if kind == "direct" or source is None else read_convolved(kind, hdus, frame, source)
        except KeyError as error:
            raise DataError(f"{path} is no warp: {str(error).strip(chr(34))}; Warp.save writes them") from error
    meta = Meta.from_headers(primary, {}).with_(unit="nJy", history=())
    lines = tuple(history_lines(tuple(str(line) for line in primary.get("HISTORY", ()))))
    psf = source if convolved is None else convolved.psf
    reason, config = (str(primary.get(key, "")) for key in ("REASON", "CONFIG"))
    return Warp(frame, psf, patch, warper, inputs, meta, reason, config, kind, convolved, history=lines)


def read_table(hdus: fits.HDUList, name: str) -> Table:
    """A table by the name of its extension; `Table.read` alone takes another where it lacks."""
    if name not in hdus:
        raise KeyError(f"it has no table {name}")
    return Table.read(hdus, hdu=name, character_as_bytes=False)


class Glance(NamedTuple):
    """What kind of warp a file holds, and of what."""

    kind: str
    filter: str
    patch: Patch
    visit: int | str


def glance(path: str | os.PathLike[str]) -> Glance:
    """Look at the first header of a warp.

    Raises
    ------
    DataError
        If the file can't be read or is no warp.
    """
    header = files.read(path)[0].header
    with files.reading(path, "a warp", RecursionError):
        try:
            return Glance(_kind(header), str(header["FILTER"]), _patch(header), header["VISIT"])
        except KeyError as error:
            raise DataError(f"{path} is no warp: {str(error).strip(chr(34))}; Warp.save writes them") from error


def _kind(header: fits.Header) -> str:
    return str(header["PRODUCT"]).partition("Coadd_")[2].removesuffix("Warp")


def whole(path: str | os.PathLike[str]) -> bool:
    """Whether a file is as it was written, by its check sums."""
    try:
        files.read(path)  # a header that announces too much isn't read
        # astropy doesn't close a file that it fails to read
        with Path(path).open("rb") as file, warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            hdus = fits.open(file, memmap=False, lazy_load_hdus=False, checksum=True)
            summed = len(hdus) > 1 and all("CHECKSUM" in hdu.header for hdu in hdus)
    except (DataError, *files.UNREADABLE):
        return False
    return summed and not any(issubclass(one.category, AstropyUserWarning) for one in told)


def config_of(path: str | os.PathLike[str]) -> str:
    """What a warp was made with, see `reuse.configuration`; "" where the file doesn't tell."""
    try:
        return str(files.read(path)[0].header.get("CONFIG", ""))
    except (DataError, OSError):
        return ""


def _primary(warp: Warp, kind: str) -> fits.PrimaryHDU:
    tract, tiling, warper = warp.patch.tract, warp.patch.tract.tiling, warp.warper
    header = fits.Header()
    header.update(
        {
            "PRODUCT": kind, "VISIT": (warp.visit, "name of the exposure"), "FILTER": warp.filter,
            "TRACT": tract.number, "PATCHX": warp.patch.index[0], "PATCHY": warp.patch.index[1],
            "TRACTNX": (tract.shape[1], "[px] width of the tract"), "TRACTNY": (tract.shape[0], "[px] its height"),
            "TRCRPIX1": (tract.crpix[0], "[px] 0-based"), "TRCRPIX2": (tract.crpix[1], "[px] 0-based"),
            "TRCRVAL1": (tract.center[0], "[deg]"), "TRCRVAL2": (tract.center[1], "[deg]"),
            "TRPROJ": tiling.projection, "TRSCALE": (tiling.pixel_scale, "[arcsec]"),
            "TRROT": (tiling.rotation, "[deg]"), "TROVERLP": (tiling.overlap, "[deg]"),
            "PATCHNX": tiling.patch[0], "PATCHNY": tiling.patch[1], "PATCHBRD": tiling.border,
            "KERNEL": warper.kernel, "STEP": (warper.step, "[px] between nodes"),
            "TOLERANC": (warper.tolerance, "[px] of places between nodes"), "CONSERVE": warper.conserve,
            "GROWN": (int(warper.grown), "planes taken from all pixels of the kernel"), "CONFIG": warp.config,
        }
    )  # fmt: skip
    if tract.given_cd is not None:
        header.update({f"TRCD{i + 1}_{j + 1}": tract.given_cd[i][j] for i in range(2) for j in range(2)})
    for name in EXPOSURE:
        value = getattr(warp.meta, name)
        if value not in (None, ""):
            header[KEYWORDS[name]] = value
    if warp.reason:
        header["REASON"] = warp.reason
    for line in history_cards(warp.history):
        header.add_history(line)
    return fits.PrimaryHDU(header=header)


def _patch(header: fits.Header) -> Patch:
    tiling = Tiling(
        header["TRSCALE"], (header["PATCHNX"], header["PATCHNY"]), header["PATCHBRD"], header["TRPROJ"],
        header["TRROT"], header["TROVERLP"],
    )  # fmt: skip
    (a, b), (c, d) = (tuple(header.get(f"TRCD{i}_{j}", np.nan) for j in (1, 2)) for i in (1, 2))
    tract = Tract(
        header["TRACT"], (header["TRCRVAL1"], header["TRCRVAL2"]), (header["TRCRPIX1"], header["TRCRPIX2"]),
        (header["TRACTNY"], header["TRACTNX"]), tiling, None if np.isnan(a) else ((a, b), (c, d)),
    )  # fmt: skip
    return tract[header["PATCHX"], header["PATCHY"]]


def _origin_hdus(origin: Origin, number: int) -> list[Any]:
    """WCS and shape of a detector, and its PSF."""
    header = origin.wcs.to_header(relax=True)
    header["IMAGE_NX"], header["IMAGE_NY"] = origin.shape[1], origin.shape[0]
    psf = psf_to_hdu(origin.psf)
    psf.ver = number
    return [fits.ImageHDU(header=header, name="CCD", ver=number), psf]


def _psf(hdus: fits.HDUList, n_ccd: int, patch: Patch, warper: Warper) -> WarpedPSF | None:
    if not n_ccd:
        return None
    origins = []
    for number in range(1, n_ccd + 1):
        header = hdus["CCD", number].header
        shape = (int(header["IMAGE_NY"]), int(header["IMAGE_NX"]))
        origins.append(Origin(psf_from_hdu(hdus["PSF", number]), celestial_wcs(header), shape))
    return WarpedPSF(tuple(origins), patch.wcs, patch.shape, warper.kernel, native(hdus["OWNER"].data))


def native(array: np.ndarray) -> np.ndarray:
    """In the byte order of the machine."""
    return array.astype(array.dtype.newbyteorder("="))


def _plain(part: str) -> str:
    """Text that can be part of the name of a file."""
    return "".join(c if c.isalnum() or c in ",._+" else "_" for c in part)
