"""Coronagraphic results as JWST products."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits as astrofits

from corontools import fits
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.products import headers, write_exposure

if TYPE_CHECKING:
    from corontools.coron.aligned import AlignedRefs
    from corontools.coron.calibrated import CalibratedContrast
    from corontools.coron.combined import CombinedImage
    from corontools.coron.contrast import ContrastCurve

__all__ = ["write_aligned", "write_calibrated", "write_combined", "write_contrast"]


def write_aligned(aligned: AlignedRefs, path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """See `AlignedRefs.save`."""
    cards = {"S_PSFALI": "COMPLETE", "S_PSFSTK": "COMPLETE"}
    if aligned.to == "each":
        return _write_sets(aligned, path, cards, overwrite=overwrite)
    meta = aligned.stack.exposure.meta.with_(history=aligned.history)
    shared = aligned[0].with_(meta=meta, extensions=())
    return write_exposure(shared, path, cards=cards, extra=[_shift_table(aligned)], overwrite=overwrite)


def _write_sets(aligned: AlignedRefs, path: str | os.PathLike[str], cards: dict[str, str], *, overwrite: bool) -> Path:
    """The 4-D product, one integration in memory at a time."""
    refs = aligned.stack.exposure
    shape = (aligned.n_int, *refs.shape)
    layout = {"FILENAME": Path(path).name, "DATAMODL": "QuadModel", **cards}
    primary, science = headers(refs.with_(meta=refs.meta.with_(history=aligned.history)), layout)
    unit = astrofits.Header([("BUNIT", refs.meta.unit)] if refs.meta.unit else [])
    planes = [fits.Plane("SCI", shape, "f4", science), fits.Plane("DQ", shape, "u4", astrofits.Header())]
    if refs.err is not None or refs.variances:
        planes.append(fits.Plane("ERR", shape, "f4", unit))

    def slices(i: int) -> Mapping[str, np.ndarray]:
        one = aligned[i]
        return {"SCI": one.data, "DQ": one.flags(), **({} if one.err is None else {"ERR": one.err})}

    return fits.write_planes(path, primary, planes, slices, extra=[_shift_table(aligned)], overwrite=overwrite)


def _shift_table(aligned: AlignedRefs) -> astrofits.BinTableHDU:
    """One row for each pair of integration and reference."""
    integration, reference = np.indices(aligned.scales.shape)
    fit = aligned.fit
    errors = np.sqrt(np.diagonal(fit.covariance, axis1=-2, axis2=-1))
    columns: list[tuple[str, str, str, Any]] = [
        ("integration", "J", "", integration),
        ("reference", "J", "", reference),
        ("dx", "D", "pixel", fit.shift[..., 0]),
        ("dy", "D", "pixel", fit.shift[..., 1]),
        ("scale", "D", "", fit.scale),
        ("dx_error", "D", "pixel", errors[..., 0]),
        ("dy_error", "D", "pixel", errors[..., 1]),
        ("scale_error", "D", "", errors[..., 2]),
        ("chi2", "D", "", fit.chi2),
        ("quality", "J", "", fit.quality),
    ]
    made = [astrofits.Column(n, f, unit=u or None, array=np.ravel(v)) for n, f, u, v in columns]
    return astrofits.BinTableHDU.from_columns(made, name="SHIFTS")


def write_combined(
    combined: CombinedImage, path: str | os.PathLike[str], *, cards: Mapping[str, Any] | None, overwrite: bool
) -> Path:
    """See `CombinedImage.save`."""
    extra = [
        astrofits.ImageHDU(combined.count.astype(np.int32)[None], name="CON"),
        astrofits.ImageHDU(combined.weight.astype(np.float32), name="WHT"),
    ]
    known = {"S_RESAMP": "COMPLETE", "S_KLIP": "COMPLETE", **(cards or {})}
    return write_exposure(combined.image, path, cards=known, extra=extra, overwrite=overwrite)


def write_contrast(curve: ContrastCurve, path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """See `ContrastCurve.save`."""
    path = Path(path)
    if path.suffix in (".ecsv", ".csv"):
        return _write_text(curve.table, path, overwrite=overwrite)
    if path.suffix != ".fits":
        raise DataError(f"a contrast curve is written as .fits, .ecsv or .csv, found {path.name!r}")
    # two columns, as the hlsp task has them: the noise itself, whatever limit was derived from it
    columns = [
        astrofits.Column("radius", "E", unit="pixel", array=curve.radius),
        astrofits.Column("sigma", "E", unit=curve.meta.unit or None, array=curve.noise),
    ]
    blank = Exposure(np.zeros((1, 1)), meta=curve.meta.with_(history=curve.history))
    primary, _ = headers(blank, {"FILENAME": path.name, "DATAMODL": "ContrastModel", "S_HLSP": "COMPLETE"})
    table = astrofits.BinTableHDU.from_columns(columns, name="CONTRAST")
    return fits.write(path, [astrofits.PrimaryHDU(header=primary), table], overwrite=overwrite)


def write_calibrated(contrast: CalibratedContrast, path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """See `CalibratedContrast.save`."""
    path = Path(path)
    if path.suffix in (".ecsv", ".csv"):
        return _write_text(contrast.table, path, overwrite=overwrite)
    if path.suffix != ".fits":
        raise DataError(f"a calibrated contrast is written as .fits, .ecsv or .csv, found {path.name!r}")
    blank = Exposure(np.zeros((1, 1)), meta=contrast.meta.with_(history=contrast.history))
    primary, _ = headers(blank, {"FILENAME": path.name})
    columns = contrast.table
    # eight letters are what FITS has for a name; the chain is in the primary header
    known = columns.meta
    columns.meta = {"LEVEL": known["level"], "STATISTI": known["statistics"], "STARFLUX": known["star_flux"],
                    "FWHM": known["fwhm"], "UNIT": known["unit"]}  # fmt: skip
    table = astrofits.table_to_hdu(columns)
    table.name = "CONTRAST"
    limit = astrofits.ImageHDU(contrast.image.astype(np.float32), name="LIMIT")
    return fits.write(path, [astrofits.PrimaryHDU(header=primary), table, limit], overwrite=overwrite)


def _write_text(table: Any, path: Path, *, overwrite: bool) -> Path:
    with fits.atomic(path, overwrite=overwrite) as part:
        table.write(part, format=f"ascii.{path.suffix[1:]}", overwrite=True)
    return path
