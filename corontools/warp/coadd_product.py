"""Coadds as FITS files."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits
from astropy.table import Table

from corontools import fits as files
from corontools.calibrate.masked import MaskedImage
from corontools.errors import DataError
from corontools.folder import staged
from corontools.meta import KEYWORDS, Meta
from corontools.products import history_cards, history_lines
from corontools.warp.gather import Rule
from corontools.warp.gridpsf import GridPSF
from corontools.warp.inputs import Inputs
from corontools.warp.layers import Clip
from corontools.warp.product import frame_hdus, native, read_table, whole, write
from corontools.warp.skymap import SkyMap
from corontools.warp.tract import Patch

if TYPE_CHECKING:
    from corontools.warp.coadd import Coadd

__all__ = ["coadd_name", "read_coadd", "save_coadd"]

# cards of what was observed
OBSERVED = ("telescope", "instrument", "target", "mjd", "exposure_time")
KINDS = {"direct": "Coadd", "psfMatched": "CoaddPsfMatched"}
PLANES = {"IMAGE": "image", "MASK": "mask", "VARIANCE": "variance"}


def coadd_name(name: str, *, filter_name: str, patch: Patch, kind: str = "direct") -> str:
    """Name of a product.

    Examples
    --------
    >>> coadd_name("deep", filter_name="r", patch=SkyMap.discrete([(53.1, -27.8, 0.1)])[0][0, 0])
    'deepCoadd-r-0-0,0.fits'
    """
    parts = (filter_name or "none", str(patch.tract.number), patch.name)
    return (
        f"{name}{KINDS[kind]}-" + "-".join(re.sub(r"[^\w,.+]", "_", part, flags=re.ASCII) for part in parts) + ".fits"
    )


def save_coadd(coadd: Coadd, folder: str | os.PathLike[str], *, name: str, overwrite: bool) -> list[Path]:
    """See `Coadd.save`."""
    file = coadd_name(name, filter_name=coadd.filter, patch=coadd.patch, kind=coadd.kind)
    hdus = [_primary(coadd, f"{name}{KINDS[coadd.kind]}"), *frame_hdus(coadd.frame, coadd.patch)]
    place = hdus[1].header
    for title, plane in (("DEPTH", coadd.depth), ("WEIGHT", coadd.weight)):
        hdus.append(fits.ImageHDU(np.asarray(plane), header=_place(place), name=title))
    visits, ccds = coadd.inputs
    hdus.append(fits.BinTableHDU(visits, name="VISITS"))
    hdus += [fits.BinTableHDU(ccds, name="CCDS")] if len(ccds) else []
    if coadd.psf is not None:
        hdus += [
            fits.ImageHDU(np.asarray(coadd.psf.stamps), name="PSF"),
            fits.ImageHDU(np.asarray(coadd.psf.weights), name="PSFWEIGHT"),
        ]
    with staged(folder, [file], overwrite=overwrite) as part:
        write(fits.HDUList(hdus), part / file)
    return [Path(folder) / file]


def read_coadd(path: str | os.PathLike[str]) -> Coadd:
    """See `Coadd.read`."""
    from corontools.warp.coadd import Coadd

    files.read(path)  # tells of files that are missing, cut short or no FITS
    if not whole(path):
        raise DataError(f"{path} isn't as it was written, its check sums differ; make it again")
    with files.reading(path, "a coadd", RecursionError), fits.open(path, memmap=False) as hdus:
        try:
            header = hdus[0].header
            rule, patch = _rule(header), _patch(header)
            frame = MaskedImage(**{name: native(hdus[title].data) for title, name in PLANES.items()})
            depth, weight = (native(hdus[title].data) for title in ("DEPTH", "WEIGHT"))
            visits, ccds = read_table(hdus, "VISITS"), read_table(hdus, "CCDS") if "CCDS" in hdus else Table()
            kind = "psfMatched" if str(header["PRODUCT"]).endswith(KINDS["psfMatched"]) else "direct"
        except KeyError as error:
            raise DataError(f"{path} is no coadd: {str(error).strip(chr(34))}; Coadd.save writes them") from error
        psf = None
        if "PSF" in hdus:
            psf = GridPSF(hdus["PSF"].data, hdus["PSFWEIGHT"].data, frame.shape, weight)
    meta = Meta.from_headers(header, {}).with_(unit="nJy", history=())
    lines = tuple(history_lines(tuple(str(line) for line in header.get("HISTORY", ()))))
    return Coadd(frame, depth, weight, psf, Inputs(visits, ccds), patch, rule, _plain(meta), kind=kind, history=lines)


def _primary(coadd: Coadd, kind: str) -> fits.PrimaryHDU:
    rule = coadd.rule
    header = fits.Header()
    header.update(
        {
            "PRODUCT": kind, "FILTER": coadd.filter, "TRACT": coadd.patch.tract.number,
            "PATCHX": coadd.patch.index[0], "PATCHY": coadd.patch.index[1],
            "STATISTC": (coadd.statistic, "how warps are combined"), "WEIGHTS": (rule.weights, "of the warps"),
            "LEFTOUT": (int(rule.left_out), "planes of pixels that do not count"),
            "NVISITS": (int(np.count_nonzero(coadd.inputs.visits["weight"])), "visits that count"),
            "SKYMAP": SkyMap((coadd.patch.tract,)).to_json(),
        }
    )  # fmt: skip
    if isinstance(rule.statistic, Clip):
        header["CLIPSIG"], header["CLIPAMP"] = rule.statistic.sigma, rule.statistic.amplitude
        if rule.statistic.maxiters is not None:
            header["CLIPMAX"] = rule.statistic.maxiters
    if rule.zero_points is not None:
        header["ZEROPTS"] = json.dumps([[key, float(value)] for key, value in rule.zero_points.items()])
    for name in OBSERVED:
        value = getattr(coadd.meta, name)
        if value not in (None, ""):
            header[KEYWORDS[name]] = value
    for line in history_cards(coadd.history):
        header.add_history(line)
    return fits.PrimaryHDU(header=header)


def _rule(header: fits.Header) -> Rule:
    statistic: str | Clip = header["STATISTC"]
    if statistic == "clipped":
        statistic = Clip(header["CLIPSIG"], header["CLIPAMP"], header.get("CLIPMAX"))
    points = dict(json.loads(header["ZEROPTS"])) if "ZEROPTS" in header else None
    return Rule(statistic, header["WEIGHTS"], header["LEFTOUT"], points)


def _patch(header: fits.Header) -> Patch:
    return SkyMap.from_json(header["SKYMAP"])[0][header["PATCHX"], header["PATCHY"]]


def _place(header: fits.Header) -> fits.Header:
    """WCS and place of the image, without its unit."""
    made = header.copy(strip=True)
    for key in ("EXTNAME", "BUNIT"):
        made.remove(key, ignore_missing=True)
    return made


def _plain(meta: Meta) -> Meta:
    """Without the cards of the file, which a coadd makes anew."""
    return meta.with_(primary=None, science=None, wavelength=None, filename="")
