"""Products of a calibrated frame: image, catalogues, background, calibrations; all of them or none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table

from corontools.calibrate.background import STYLES, BackgroundEntry, BackgroundList
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.psf import PSF, GaussianPSF, PixelPSF
from corontools.calibrate.visit import VisitImage
from corontools.calibrate.visit_file import frame_hdus
from corontools.errors import DataError
from corontools.folder import staged
from corontools.meta import Meta
from corontools.products import headers, history_cards

if TYPE_CHECKING:
    from corontools.calibrate.image import CalibratedImage

__all__ = [
    "VisitImage",
    "VisitOutline",
    "product_names",
    "psf_from_hdu",
    "psf_to_hdu",
    "read_outline",
    "read_visit_image",
    "save_all",
]

IMAGE, STARS = "preliminary_visit_image", "single_visit_star_unstandardized"
PSF_STARS, FOOTPRINTS = "single_visit_psf_star", "single_visit_psf_star_footprints"
BACKGROUND, CALIBRATION = "preliminary_visit_image_background", "initial_photoCalib_detector"
ASTROMETRY, PHOTOMETRY = "initial_astrometry_match_detector", "initial_photometry_match_detector"
# greatest side of the stamp of a PSF, px
STAMP = 2047
# catalogues, which can be had as Parquet too
TABLES = (STARS, PSF_STARS, CALIBRATION, ASTROMETRY, PHOTOMETRY)


def product_names(*, parquet: bool = False) -> list[str]:
    """Names of the files that `save_all` writes."""
    names = [f"{name}.fits" for name in (IMAGE, BACKGROUND, FOOTPRINTS, *TABLES)]
    return names + ([f"{name}.parquet" for name in TABLES] if parquet else [])


def save_all(
    calibrated: CalibratedImage, folder: str | os.PathLike[str], *, overwrite: bool, parquet: bool
) -> list[Path]:
    """See `CalibratedImage.save`."""
    tables = _tables(calibrated)
    names = product_names(parquet=parquet)
    with staged(folder, names, overwrite=overwrite) as part:
        _image(calibrated).writeto(part / f"{IMAGE}.fits")
        _background(calibrated).writeto(part / f"{BACKGROUND}.fits")
        _footprints(calibrated).writeto(part / f"{FOOTPRINTS}.fits")
        for name, table in tables.items():
            _table_hdus(calibrated, table, name).writeto(part / f"{name}.fits")
            if parquet:
                _write_parquet(table, part / f"{name}.parquet")
    return [Path(folder) / name for name in names]


class VisitOutline(NamedTuple):
    """Names and place of a frame, without its pixels; see `VisitImage`."""

    visit: int | str
    detector: int | str
    filter: str
    wcs: Any
    shape: tuple[int, int]


def read_outline(path: str | os.PathLike[str]) -> VisitOutline:
    """Names and place of a `preliminary_visit_image`; only its headers are read.

    Raises
    ------
    DataError
        If the file can't be read, or lacks an extension.
    """
    from corontools.products import celestial_wcs

    found = _extensions(path)
    image = found["IMAGE"]
    meta = Meta.from_headers(found["PRIMARY"].header, image.header)
    visit = meta.card("VISIT")
    return VisitOutline(
        Path(path).name if visit is None else visit, meta.detector, meta.filter, celestial_wcs(image.header),
        np.shape(image.data),
    )  # fmt: skip


def read_visit_image(path: str | os.PathLike[str]) -> VisitImage:
    """Read a `preliminary_visit_image`, and the background that was written beside it, if it is there.

    Raises
    ------
    DataError
        If the file can't be read, or lacks an extension.
    """
    from corontools.fits import reading
    from corontools.products import celestial_wcs

    found = _extensions(path)
    image = found["IMAGE"]
    with reading(path, "FITS"):
        psf = psf_from_hdu(found["PSF"])
        summary = Table.read(path, hdu="SUMMARY") if "SUMMARY" in found else None
    return VisitImage(
        frame=MaskedImage(*(np.asarray(found[name].data) for name in ("IMAGE", "MASK", "VARIANCE"))),
        wcs=celestial_wcs(image.header),
        psf=psf,
        meta=Meta.from_headers(found["PRIMARY"].header, image.header).with_(filename=Path(path).name),
        summary=summary,
        background=_beside(Path(path)),
        source=f"read_visit_image({str(path)!r})",
    )


def _extensions(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Extensions of a `preliminary_visit_image` by name."""
    from corontools import fits as files

    found = {hdu.name: hdu for hdu in files.read(path)}
    lost = [name for name in ("IMAGE", "MASK", "VARIANCE", "PSF") if name not in found]
    if lost:
        raise DataError(f"{path} is no {IMAGE}: it has no extension {', '.join(lost)}; it has {', '.join(found)}")
    return found


def _beside(path: Path) -> BackgroundList | None:
    """The background in the file that `save_all` writes beside the image."""
    from corontools import fits as files

    other = path.with_name(f"{BACKGROUND}.fits")
    if path.stem != IMAGE or not other.exists():
        return None
    files.read(other)  # tells of files that are cut short or no FITS
    with files.reading(other, "FITS"), fits.open(other, memmap=False) as hdus:
        found = BackgroundList.from_hdus(hdus)
        for entry in found:
            _check_bins(entry, other)
    return found


def _check_bins(entry: BackgroundEntry, path: Path) -> None:
    """The levels are those of bins of the image, and determine what is put through them."""
    size = max(entry.bin_size, 1)
    bins = tuple(-(-n // size) for n in entry.shape)
    fitted = entry.style in STYLES and entry.bin_size > 0 and 0 <= entry.order <= max(bins)
    if entry.levels.shape != bins or entry.errors.shape != bins or not fitted:
        raise DataError(
            f"{path} holds a background of {entry.levels.shape} bins, which isn't one of {entry.shape} px; "
            "make it again"
        )


def _tables(calibrated: CalibratedImage) -> dict[str, Table]:
    """The catalogues by name."""
    astrometry, photometry = calibrated.astrometry, calibrated.photometry
    if astrometry is None or photometry is None:
        raise DataError(f"{calibrated._name}: the calibration isn't complete; call .solve_photometry(refcat) before")
    found = (calibrated.stars, calibrated.psf_stars, photometry.table, astrometry.matches, photometry.matches)
    return dict(zip(TABLES, found, strict=True))


def _image(calibrated: CalibratedImage) -> fits.HDUList:
    made = calibrated.image
    primary, science = headers(made)
    for key, (value, comment) in _cards(calibrated).items():
        primary[key] = (value, comment)
    for line in history_cards(calibrated.history):
        primary.add_history(line)
    parts = frame_hdus(calibrated.calibrated_frame, calibrated.psf, science, calibrated.summary.table)
    return fits.HDUList([fits.PrimaryHDU(header=primary), *parts])


def _cards(calibrated: CalibratedImage) -> dict[str, tuple[Any, str]]:
    """Calibration that was applied, and what is left of it: none."""
    fit = calibrated.photometry
    assert fit is not None
    cards: dict[str, tuple[Any, str]] = {
        "CALMEAN": (fit.calibration_mean, "[nJy/ct] applied to the counts"),
        "CALERR": (fit.calibration_err, "[nJy/ct] its error"),
        "ZPAPPLY": (fit.zero_point, "[mag] AB magnitude of one count"),
        "PHOTOCAL": (1.0, "[nJy] of one unit of the image"),
    }
    return cards | (calibrated.astrometry.cards() if calibrated.astrometry is not None else {})


def psf_to_hdu(psf: PSF) -> fits.ImageHDU:
    """Basis and how it varies; of a Gaussian its width.

    Raises
    ------
    DataError
        If it is another model.
    """
    if isinstance(psf, GaussianPSF):
        hdu = fits.ImageHDU(np.array([[psf.width]]), name="PSF")
        hdu.header.update(PSFMODEL="gaussian", PSFSIZE=psf.size)
        return hdu
    if not isinstance(psf, PixelPSF):
        raise DataError(f"a PSF of {type(psf).__name__} can't be written; fit one with PSFFitter")
    hdu = fits.ImageHDU(np.asarray(psf.basis), name="PSF")
    hdu.header.update(PSFMODEL="pixels", PSFSTEP=psf.step, IMAGE_NX=psf.shape[1], IMAGE_NY=psf.shape[0])
    hdu.header.update({f"STRTCH{k:02d}": value for k, value in enumerate(np.asarray(psf.stretch, float))})
    return hdu


def psf_from_hdu(hdu: Any) -> PSF:
    """The PSF that `psf_to_hdu` wrote.

    Raises
    ------
    DataError
        If its stamps are larger than any image of a star.
    """
    header = hdu.header
    if header["PSFMODEL"] == "gaussian":
        psf = GaussianPSF(float(np.asarray(hdu.data)[0, 0]), int(header["PSFSIZE"]))
        if psf.size > STAMP:
            raise DataError(f"a PSF is at most {STAMP} px wide, found PSFSIZE = {psf.size}")
        return psf
    shape = (int(header["IMAGE_NY"]), int(header["IMAGE_NX"]))
    stretch = tuple(float(header[key]) for key in sorted(header["STRTCH*"]))
    return PixelPSF(np.asarray(hdu.data, np.float64), shape, int(header["PSFSTEP"]), stretch)


def _background(calibrated: CalibratedImage) -> fits.HDUList:
    total = fits.ImageHDU(calibrated.background.image(), name="BACKGROUND_SUM")
    total.header["BUNIT"] = "nJy"
    return fits.HDUList([_primary(calibrated), total, *calibrated.background.to_hdus("nJy")])


def _footprints(calibrated: CalibratedImage) -> fits.HDUList:
    """Labels of the footprints of the PSF's stars, by `footprint` of their table."""
    assert calibrated.modelled is not None
    found = calibrated.modelled.passes[-1].detections
    labels = fits.CompImageHDU(np.asarray(found.labels, np.int32), name="LABELS")
    return fits.HDUList(
        [_primary(calibrated), labels, fits.BinTableHDU(found.footprints, name="FOOTPRINTS"),
         fits.BinTableHDU(found.peaks, name="PEAKS")]
    )  # fmt: skip


def _table_hdus(calibrated: CalibratedImage, table: Table, name: str) -> fits.HDUList:
    return fits.HDUList([_primary(calibrated), fits.BinTableHDU(_writable(table), name=name.upper())])


def _writable(table: Table) -> Table:
    """Magnitudes in mag: FITS has no AB magnitudes, and the names of the columns tell."""
    made = Table(table, copy=False)
    for name in made.colnames:
        if made[name].unit is not None and str(made[name].unit).startswith("mag("):
            made[name] = np.asarray(made[name].value if hasattr(made[name], "value") else made[name])
            made[name].unit = "mag"
    return made


def _primary(calibrated: CalibratedImage) -> fits.PrimaryHDU:
    primary, _ = headers(calibrated.image)
    for line in history_cards(calibrated.history):
        primary.add_history(line)
    return fits.PrimaryHDU(header=primary)


def _write_parquet(table: Table, path: Path) -> None:
    try:
        _writable(table).write(path, format="parquet")
    except ImportError as error:
        raise DataError(f"{path.name}: writing Parquet needs pyarrow, pip install pyarrow ({error})") from error
