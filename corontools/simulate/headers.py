"""Headers, pixel-area map and integration times, as in a `calints` file of NIRCam's round mask."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.time import Time

from corontools.fits import Extension
from corontools.meta import Meta
from corontools.simulate.detector import PHOTMJSR
from corontools.simulate.scene import PIXEL_SCALE, PIXEL_SR, V3I_YANG, axes

__all__ = ["PATTERNS", "Visit", "extension", "extensions", "meta", "psfmask_meta", "wcs"]

PROGRAM = "09999"
# small grid dithers of the coronagraph, (x, y) in mas (JWST user documentation, "NIRCam Small Grid Dithers")
PATTERNS = {
    1: ("NONE", ((0, 0),)),
    5: ("5-POINT-DIAMOND", ((0, 0), (0, 20), (0, -20), (20, 0), (-20, 0))),
    9: ("9-POINT-CIRCLE",
        ((0, 0), (0, 20), (-15, 15), (-20, 0), (-15, -15), (0, -20), (15, -15), (20, 0), (15, 15))),
}  # fmt: skip
TIME_COLUMNS = ["integration_number"] + [
    f"int_{moment}_{scale}" for scale in ("MJD_UTC", "BJD_TDB") for moment in ("start", "mid", "end")
]
LIGHT_TRAVEL = 451.4 / 86400  # days added for barycentric times; constant here


@dataclass(frozen=True)
class Visit:
    """One exposure: what was pointed at, when and how."""

    observation: int
    target: str
    ra: float
    dec: float
    roll: float
    start: float
    """MJD, UTC."""
    n_int: int
    time: float
    """Seconds of an integration."""
    dither: int = 0
    n_dither: int = 1
    is_psf: bool = False

    @property
    def filename(self) -> str:
        """Name as the archive gives it."""
        return f"jw{PROGRAM}{self.observation:03d}001_03106_{self.dither + 1:05d}_nrcalong_calints.fits"

    @property
    def end(self) -> float:
        """MJD of the end, UTC."""
        return self.start + self.n_int * self.length / 86400

    @property
    def length(self) -> float:
        """Seconds of an integration, as the header tells it."""
        return self.time if np.isfinite(self.time) else 180.0


def meta(visit: Visit, shape: tuple[int, int], center: tuple[float, float]) -> Meta:
    """What reading the exposure's file would tell."""
    primary, science = fits.Header(_primary(visit, shape)), fits.Header(_science(visit, center))
    return Meta.from_headers(primary, science).with_(filename=visit.filename)


def wcs(of: Meta) -> Any:
    """Celestial WCS of the SCI header."""
    from astropy.wcs import WCS

    return WCS(of.science, naxis=2)


def psfmask_meta(of: Meta) -> Meta:
    """The same for the mask that belongs to a science exposure; a mask has no unit."""
    science = of.science.copy()
    science.remove("BUNIT", ignore_missing=True)
    name = of.filename.replace(".fits", "_psfmask.fits")
    primary = of.primary.copy()
    primary["FILENAME"] = (name, "")  # a comment would not fit beside it
    return Meta.from_headers(primary, science).with_(filename=name)


def _primary(visit: Visit, shape: tuple[int, int]) -> list[tuple[str, Any, str]]:
    begin, middle, end = (Time(t, format="mjd").isot for t in (visit.start, (visit.start + visit.end) / 2, visit.end))
    number, total = f"{visit.observation:03d}", visit.n_int * visit.length
    pattern, points = PATTERNS[visit.n_dither]
    return [
        ("DATE", end, "UTC date file created"),
        ("ORIGIN", "CORONTOOLS", "Organization responsible for creating file"),
        ("TIMESYS", "UTC", "principal time system for time-related keywords"),
        ("TIMEUNIT", "s", "Default unit applicable to all time values"),
        ("FILENAME", visit.filename, "Name of the file"),
        ("DATAMODL", "CubeModel", "Type of data model"),
        ("TELESCOP", "JWST", "Telescope used to acquire the data"),
        ("TITLE", "Simulated coronagraphic imaging", "Proposal title"),
        ("CATEGORY", "SIM", "Program category"),
        ("DATE-OBS", begin[:10], "[yyyy-mm-dd] UTC date at start of exposure"),
        ("TIME-OBS", begin[11:], "[hh:mm:ss.sss] UTC time at start of exposure"),
        ("DATE-BEG", begin, "Date-time start of exposure"),
        ("DATE-AVG", middle, "Date-time middle of exposure"),
        ("DATE-END", end, "Date-time end of exposure"),
        ("OBS_ID", f"V{PROGRAM}{number}001P0000000003106", "Programmatic observation identifier"),
        ("VISIT_ID", f"{PROGRAM}{number}001", "Visit identifier"),
        ("PROGRAM", PROGRAM, "Program number"),
        ("OBSERVTN", number, "Observation number"),
        ("VISIT", "001", "Visit number"),
        ("VISITGRP", "03", "Visit group identifier"),
        ("SEQ_ID", "1", "Parallel sequence identifier"),
        ("ACT_ID", "06", "Activity identifier"),
        ("EXPOSURE", str(visit.dither + 1), "Exposure request number"),
        ("TEMPLATE", "NIRCam Coronagraphic Imaging", "Observation template used"),
        ("VISITYPE", "PRIME_TARGETED_FIXED", "Visit type"),
        ("TARGPROP", visit.target.upper().replace(" ", "-"), "Proposer's name for the target"),
        ("TARGNAME", visit.target, "Standard astronomical catalog name for target"),
        ("TARGTYPE", "FIXED", "Type of target (fixed, moving, generic)"),
        ("TARG_RA", visit.ra, "Target RA at mid time of exposure"),
        ("TARG_DEC", visit.dec, "Target Dec at mid time of exposure"),
        ("INSTRUME", "NIRCAM", "Instrument used to acquire the data"),
        ("DETECTOR", "NRCALONG", "Name of detector used to acquire the data"),
        ("MODULE", "A", "NIRCam module: A, B, or MULTIPLE"),
        ("CHANNEL", "LONG", "Instrument channel"),
        ("FILTER", "F444W", "Name of the filter element used"),
        ("PUPIL", "MASKRND", "Name of the pupil element used"),
        ("CORONMSK", "MASKA335R", "coronagraph mask used"),
        ("EXPRIPAR", "PRIME", "Prime or parallel exposure"),
        ("EXP_TYPE", "NRC_CORON", "Type of data in the exposure"),
        ("EXPSTART", visit.start, "[d] exposure start time in MJD"),
        ("EXPMID", (visit.start + visit.end) / 2, "[d] exposure mid time in MJD"),
        ("EXPEND", visit.end, "[d] exposure end time in MJD"),
        ("READPATT", "MEDIUM8", "Readout pattern"),
        ("NINTS", visit.n_int, "Number of integrations in exposure"),
        ("NGROUPS", 10, "Number of groups in integration"),
        ("NFRAMES", 8, "Number of frames per group"),
        ("GROUPGAP", 2, "Number of frames dropped between groups"),
        ("TFRAME", 1.06904, "[s] Time between frames"),
        ("TGROUP", 10.6904, "[s] Time between groups"),
        ("EFFINTTM", visit.length, "[s] Effective integration time"),
        ("EFFEXPTM", total, "[s] Effective exposure time"),
        ("DURATION", total, "[s] Total duration of exposure"),
        ("IS_PSF", visit.is_psf, "exposure is PSF reference"),
        ("SELFREF", not visit.is_psf, "self-referencing PSF"),
        ("SUBARRAY", "SUB320A335R", "Subarray used"),
        ("SUBSTRT1", 492, "Starting pixel in axis 1 direction"),
        ("SUBSTRT2", 1502, "Starting pixel in axis 2 direction"),
        ("SUBSIZE1", shape[1], "Number of pixels in axis 1 direction"),
        ("SUBSIZE2", shape[0], "Number of pixels in axis 2 direction"),
        ("FASTAXIS", -1, "Fast readout axis direction"),
        ("SLOWAXIS", 2, "Slow readout axis direction"),
        ("PATTTYPE", "NONE", "Primary dither pattern type"),
        ("PATT_NUM", visit.dither + 1, "Position number within dither pattern"),
        ("NUMDTHPT", visit.n_dither, "Total number of points in pattern"),
        ("XOFFSET", points[visit.dither][0] / 1000, "x offset from pattern starting position"),
        ("YOFFSET", points[visit.dither][1] / 1000, "y offset from pattern starting position"),
        ("SMGRDPAT", pattern, "Name of small grid dither pattern"),
        ("APERNAME", "NRCA5_MASK335R", "PRD science aperture used"),
        ("PPS_APER", "NRCA5_MASK335R", "original AperName supplied by PPS"),
        *((f"S_{step}", "COMPLETE", "calibration step") for step in ("WCS", "FLAT", "JUMP", "RAMP", "PHOTOM")),
    ]


def _science(visit: Visit, center: tuple[float, float]) -> list[tuple[str, Any, str]]:
    middle, total = (visit.start + visit.end) / 2, visit.n_int * visit.length
    matrix = axes(visit.roll) / 3600
    return [
        ("MJD-BEG", visit.start, "[d] exposure start time in MJD"),
        ("MJD-AVG", middle, "[d] exposure mid-point in MJD"),
        ("MJD-END", visit.end, "[d] exposure end time in MJD"),
        ("XPOSURE", total, "[s] Effective exposure time"),
        ("TELAPSE", total, "[s] Total elapsed exposure time"),
        ("PA_APER", visit.roll + V3I_YANG, "[deg] Position angle of aperture used"),
        ("BUNIT", "MJy/sr", "physical units of the array values"),
        ("PHOTMJSR", PHOTMJSR, "Flux density (MJy/steradian) producing 1 cps"),
        (
            "PHOTUJA2",
            PHOTMJSR * 1e12 * PIXEL_SR / PIXEL_SCALE**2,
            "Flux density (uJy/arcsec2) producing 1 cps",
        ),
        ("PIXAR_SR", PIXEL_SR, "Nominal pixel area in steradians"),
        ("PIXAR_A2", PIXEL_SCALE**2, "Nominal pixel area in arcsec^2"),
        ("RADESYS", "ICRS", "Name of the coordinate reference frame"),
        ("WCSAXES", 2, "number of World Coordinate System axes"),
        ("CRPIX1", center[0] + 1.0, "axis 1 coordinate of the reference pixel"),
        ("CRPIX2", center[1] + 1.0, "axis 2 coordinate of the reference pixel"),
        ("CRVAL1", visit.ra, "first axis value at the reference pixel"),
        ("CRVAL2", visit.dec, "second axis value at the reference pixel"),
        ("CTYPE1", "RA---TAN", "Axis 1 type"),
        ("CTYPE2", "DEC--TAN", "Axis 2 type"),
        ("CUNIT1", "deg", "Axis 1 units"),
        ("CUNIT2", "deg", "Axis 2 units"),
        *((f"CD{i + 1}_{j + 1}", matrix[i, j], "linear transformation matrix element") for i in (0, 1) for j in (0, 1)),
        ("V2_REF", 107.309332, "[arcsec] Telescope V2 coord of reference point"),
        ("V3_REF", -405.149897, "[arcsec] Telescope V3 coord of reference point"),
        ("VPARITY", -1, "Sense of rotation between Ideal xy and V2V3"),
        ("V3I_YANG", V3I_YANG, "[deg] Angle from V3 axis to Ideal y axis"),
        ("RA_REF", visit.ra, "[deg] Right ascension of the reference point"),
        ("DEC_REF", visit.dec, "[deg] Declination of the reference point"),
        ("ROLL_REF", visit.roll, "[deg] V3 roll angle at the ref point (N over E)"),
    ]


def extensions(visit: Visit, shape: tuple[int, int]) -> tuple[Extension, ...]:
    """AREA (a flat pixel-area map) and INT_TIMES."""
    area = fits.ImageHDU(np.ones(shape, np.float32), name="AREA")
    edges = visit.start + np.arange(visit.n_int + 1) * visit.length / 86400
    utc = [edges[:-1], (edges[:-1] + edges[1:]) / 2, edges[1:]]
    columns: Sequence[np.ndarray] = [
        np.arange(1, visit.n_int + 1, dtype=np.int32),
        *utc,
        *(t + LIGHT_TRAVEL for t in utc),
    ]
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column(n, "J" if n == TIME_COLUMNS[0] else "D", array=c)
            for n, c in zip(TIME_COLUMNS, columns, strict=True)
        ],
        name="INT_TIMES",
    )
    return extension(area), extension(table)


def extension(hdu: Any) -> Extension:
    """An HDU made in memory, as one read from a file."""
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
    raw = np.frombuffer(buffer.getvalue(), np.uint8)[2880:]
    return Extension(hdu.name, hdu.header, hdu.data if hdu.is_image else None, raw)
