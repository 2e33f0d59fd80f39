"""Small valid files of every kind that the package reads, made with astropy and by the package's own writers."""

from __future__ import annotations

import functools
import io
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from corontools.calibrate.background import BackgroundEntry, BackgroundList
from corontools.calibrate.product import psf_to_hdu
from corontools.calibrate.psf import GaussianPSF, PixelPSF
from corontools.calibrate.steps import Steps

HISTORY = [
    "PSFStack.from_asn(Association.read('jw_asn.json')).repair(box=3)",
    ".align_to(Exposure.read('a_calints.fits').select([0, 1]), to='each')",
    ".klip(modes=50, zones=Zones.annuli(4, inner=2.0))",
]


def packed(hdus: list[Any]) -> bytes:
    """The bytes of a FITS file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(hdus).writeto(buffer)
    return buffer.getvalue()


def _wcs(**more: Any) -> dict[str, Any]:
    return {
        "BUNIT": "MJy/sr", "ROLL_REF": 10.0, "PIXAR_A2": 0.003969, "WCSAXES": 2, "RADESYS": "ICRS", "CRPIX1": 4.0,
        "CRPIX2": 3.0, "CRVAL1": 311.29, "CRVAL2": -31.34, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN",
        "CUNIT1": "deg", "CUNIT2": "deg", "CD1_1": -1.75e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1.75e-5, **more,
    }  # fmt: skip


def _primary(**more: Any) -> fits.PrimaryHDU:
    cards = {
        "TELESCOP": "JWST", "INSTRUME": "NIRCAM", "DETECTOR": "NRCALONG", "FILTER": "F444W", "CORONMSK": "MASKA335R",
        "EXP_TYPE": "NRC_CORON", "TARGNAME": "AU Mic", "FILENAME": "x.fits", "EXPMID": 59855.25, "EFFEXPTM": 100.0,
        "SCATFILE": "cat.ecsv", **more,
    }  # fmt: skip
    header = fits.Header(cards)
    header["LONG"] = "a long text that goes on " * 6
    for line in HISTORY:
        header.add_history(line)
    return fits.PrimaryHDU(header=header)


@functools.cache
def exposures() -> tuple[bytes, ...]:
    """Exposures: a cube with all planes, one image, a ramp, packed and scaled images, one with distortion."""
    rng = np.random.default_rng(1)
    cube = rng.normal(10, 1, (2, 6, 7)).astype(np.float32)
    flags = np.zeros(cube.shape, np.uint32)
    columns = [
        fits.Column("number", "J", array=[1, 2]), fits.Column("time", "D", unit="d", array=[1.5, 2.5]),
        fits.Column("name", "8A", array=["a", "bc"]),
        fits.Column("list", "PE()", array=np.array([np.ones(2, np.float32), np.ones(3, np.float32)], object)),
    ]  # fmt: skip
    whole = [
        _primary(), fits.ImageHDU(cube, fits.Header(_wcs()), name="SCI"), fits.ImageHDU(cube, name="ERR"),
        fits.ImageHDU(flags, name="DQ"), fits.ImageHDU(cube, name="VAR_POISSON"),
        fits.BinTableHDU.from_columns(columns, name="INT_TIMES"),
    ]  # fmt: skip
    ramp = rng.normal(10, 1, (1, 3, 6, 7)).astype(np.float32)
    groups = [
        _primary(), fits.ImageHDU(ramp, fits.Header(_wcs()), name="SCI"),
        fits.ImageHDU(np.zeros((6, 7), np.uint32), name="PIXELDQ"),
        fits.ImageHDU(np.zeros(ramp.shape, np.uint8), name="GROUPDQ"),
    ]  # fmt: skip
    sip = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-6, "B_0_2": 1e-6, "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    bent = [_primary(), fits.ImageHDU(cube[0], fits.Header(_wcs(**sip)), name="SCI")]
    scaled = fits.ImageHDU(rng.integers(0, 99, (6, 7)).astype(np.int16), name="SCI")
    scaled.header.update(BSCALE=0.5, BZERO=3.0, BLANK=7)
    made = [whole, [fits.PrimaryHDU(cube[0])], groups, bent, [fits.PrimaryHDU(), scaled]]
    for kind in ("RICE_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1"):
        image = rng.integers(0, 99, (20, 30)).astype(np.int16)
        made.append([fits.PrimaryHDU(), fits.CompImageHDU(image, name="SCI", compression_type=kind)])
    return tuple(packed(hdus) for hdus in made)


@functools.cache
def visits() -> tuple[bytes, ...]:
    """Calibrated frames, with a Gaussian and with a PSF of pixels."""
    frame = np.random.default_rng(2).normal(0, 1, (8, 9)).astype(np.float32)
    summary = fits.BinTableHDU(Table({"psfSigma": [1.7], "zeroPoint": [31.4], "name": ["a"]}), name="SUMMARY")
    grid = GaussianPSF(1.7, size=9).kernels([0.0], [0.0])
    made = []
    for psf in (GaussianPSF(1.7, 9), PixelPSF(np.concatenate([grid, 0.1 * grid, 0 * grid]), shape=(8, 9))):
        header = fits.Header(_wcs(BUNIT="nJy"))
        made.append(
            [_primary(VISIT="7"), fits.ImageHDU(frame, header, name="IMAGE"),
             fits.ImageHDU(np.zeros(frame.shape, np.int32), name="MASK"),
             fits.ImageHDU(np.ones_like(frame), name="VARIANCE"), psf_to_hdu(psf), summary.copy()]
        )  # fmt: skip
    return tuple(packed(hdus) for hdus in made)


@functools.cache
def backgrounds() -> bytes:
    """What is written beside a calibrated frame."""
    level = np.full((2, 3), 7.0)
    entries = [BackgroundEntry(level, level / 10, (8, 9), 4, style, order) for style, order in
               (("chebyshev", 1), ("constant", 0))]  # fmt: skip
    return packed([_primary(), *BackgroundList(tuple(entries)).to_hdus("nJy")])


@functools.cache
def references() -> dict[str, bytes]:
    """Reference catalogues by suffix."""
    table = Table(
        {
            "id": np.arange(6), "ra": np.linspace(10, 10.1, 6), "dec": np.linspace(-5, -4.9, 6),
            "epoch": np.full(6, 57388.5), "pmra": np.ones(6), "r_flux": np.full(6, 1e4), "g_mag": np.full(6, 20.0),
            "resolved": np.zeros(6, bool), "name": list("abcdef"),
        }
    )  # fmt: skip
    units = {"ra": "deg", "dec": "deg", "epoch": "day", "pmra": "mas/yr", "r_flux": "nJy"}
    for name, unit in units.items():
        table[name].unit = unit
    table.meta["comments"] = ["a catalogue"]
    return _tables(table, {".fits": "fits", ".ecsv": "ascii.ecsv", ".csv": "ascii.csv", ".vot": "votable",
                           ".parquet": "parquet"})  # fmt: skip


@functools.cache
def catalogues() -> dict[str, bytes]:
    """Catalogues of sources by suffix."""
    from astropy.coordinates import SkyCoord

    sky = SkyCoord([311.29, 311.2901], [-31.34, -31.3401], unit="deg")
    table = Table({"label": [1, 2], "xcentroid": [2.0, 3.0], "ycentroid": [1.0, 4.0], "isophotal_abmag": [20.0, 21.0]})
    table["sky_centroid"] = sky
    for corner in ("ll", "lr", "ul", "ur"):
        table[f"sky_bbox_{corner}"] = sky
    plain = Table({"x": [2.0, 3.0], "y": [1.0, 4.0], "mag": [20.0, 21.0]})
    return _tables(table, {".ecsv": "ascii.ecsv"}) | _tables(plain, {".txt": "ascii.basic", ".csv": "ascii.csv"})


def _tables(table: Table, kinds: dict[str, str]) -> dict[str, bytes]:
    made = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for suffix, kind in kinds.items():
            path = Path(folder) / f"a{suffix}"
            table.write(path, format=kind)
            made[suffix] = path.read_bytes()
    return made


@functools.cache
def asdf_masks() -> tuple[bytes, ...]:
    """Masks in ASDF files: in a block, in the text, packed."""
    import asdf

    mask = np.ones((6, 7), np.uint8)
    made = []
    for storage, packing in (("internal", None), ("inline", None), ("internal", "zlib")):
        buffer = io.BytesIO()
        asdf.AsdfFile({"mask": mask, "meta": {"a": 1}}).write_to(
            buffer, all_array_storage=storage, all_array_compression=packing
        )
        made.append(buffer.getvalue())
    return tuple(made)


@functools.cache
def steps() -> str:
    """Options of all steps."""
    return str(Steps.of({"astrometry": {"fitter": {"type": "SipFitter", "order": 2}}}))


def association() -> dict[str, Any]:
    """An association file as an object; the members are there as m0.fits and so on."""
    members = [("m0.fits", "science"), ("m1.fits", "psf"), ("m2.fits", "background"), ("cat.ecsv", "sourcecat")]
    return {
        "asn_type": "coron3", "asn_id": "c1001", "asn_pool": "pool",
        "products": [{"name": "jw1_t001", "members": [{"expname": n, "exptype": k} for n, k in members]}],
    }  # fmt: skip


ORDERS = json.dumps({"1": {"offset": [80, 0], "extent": [240, 10]}, "2": {"offset": [-80, 0.5], "extent": [24, 10]}})


@functools.cache
def warps() -> dict[str, bytes]:
    """A warp, a coadd and a sky map."""
    from corontools.calibrate import MaskedImage
    from corontools.calibrate.visit import VisitImage
    from corontools.warp import Coadd, SkyMap, Tiling, Warp
    from corontools.warp.sky import sky_wcs

    tiling = Tiling(0.2)
    wcs = sky_wcs((53.1, -27.8), (14.5, 14.5), tiling.cd)
    frame = np.random.default_rng(3).normal(0, 1, (30, 30)).astype(np.float32)
    masked = MaskedImage(frame, np.zeros(frame.shape, np.int32), np.ones_like(frame))
    images = [VisitImage(masked, wcs, GaussianPSF(1.7, 11), visit=v, detector=1, filter="r") for v in (1, 2)]
    skymap = SkyMap.around(images, tiling=Tiling(0.2, (40, 40), 0))
    made = [Warp.from_exposures([image], patch=skymap[0][0, 0]) for image in images]
    with tempfile.TemporaryDirectory() as folder:
        files = made[0].save(Path(folder) / "warp")
        coadds = Coadd.from_warps(made).save(Path(folder) / "coadd")
        found = {"warp": Path(files[0]).read_bytes(), "coadd": Path(coadds[0]).read_bytes()}
    return found | {"skymap": skymap.to_json().encode()}
