"""Exposures as JWST products: which extension and keyword holds what."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits as astrofits

from corontools import fits
from corontools.errors import DataError
from corontools.exposure import VARIANCES, Exposure
from corontools.meta import KEYWORDS, Meta

__all__ = [
    "MODELS", "celestial_wcs", "flag_planes", "headers", "history_cards", "history_lines", "product_name",
    "read_exposure", "write_exposure",
]  # fmt: skip

MODELS = {2: "ImageModel", 3: "CubeModel", 4: "QuadModel"}
# cards that describe the file's layout, not the exposure; astropy writes them anew
LAYOUT = ("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "NAXIS4", "EXTEND", "PCOUNT",
          "GCOUNT", "BSCALE", "BZERO", "BLANK", "TFIELDS", "THEAP", "GROUPS", "EXTNAME", "EXTVER", "CHECKSUM",
          "DATASUM", "HISTORY")  # fmt: skip
PLANES = {"ERR", "DQ", *(f"VAR_{name.upper()}" for name in VARIANCES)}
RAMP_PLANES = {"PIXELDQ", "GROUPDQ"}
# cards of a celestial WCS, its distortion and its footprint
WCS_CARD = re.compile(
    r"(WCSAXES|CRPIX\d|CRVAL\d|CTYPE\d|CUNIT\d|CDELT\d|CROTA\d|PC\d_\d|CD\d_\d|PV\d_\d+|LONPOLE|LATPOLE|"
    r"RADESYS|EQUINOX|[AB]P?_(ORDER|DMAX|\d_\d)|S_REGION)$"
)
# greatest order of a SIP distortion (Shupe et al. 2005); a card may announce any, and their number is its square
SIP_ORDER = 9
# characters of a HISTORY card; of a text and its comment on one card
CARD, ROOM = 72, 65
# suffixes of what a step may be given
STEPS = "uncal|ramp|jump|rateints|rate|assignwcsstep|calints|cal|clean_flicker_noise|bsub|bsubints"


def product_name(filename: str, suffix: str) -> str:
    """Name of the product of a step, as jwst gives it: the suffix of an earlier step is replaced.

    Examples
    --------
    >>> product_name("jw01_nrcalong_ramp.fits", "clean_flicker_noise"), product_name("image.fits.gz", "bsub")
    ('jw01_nrcalong_clean_flicker_noise.fits', 'image_bsub.fits')
    """
    stem = re.sub(r"\.(fits?|fts)(\.(gz|bz2|xz))?$", "", filename, flags=re.IGNORECASE)
    return f"{re.sub(f'_({STEPS})$', '', stem) or 'exposure'}_{suffix}.fits"


def read_exposure(path: str | os.PathLike[str]) -> Exposure:
    """Read a file as `Exposure`; see `Exposure.read`."""
    hdus = fits.read(path)
    try:
        return _assembled(hdus, _science(hdus), path)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _assembled(hdus: Sequence[fits.Extension], science: fits.Extension, path: str | os.PathLike[str]) -> Exposure:
    primary = hdus[0].header
    meta = Meta.from_headers(primary, science.header)
    # the first of a name counts, as in a file with several EXTVER
    ramp = _is_ramp(hdus, science)
    names = PLANES - {"DQ"} | RAMP_PLANES if ramp else PLANES
    planes = {hdu.name: hdu for hdu in reversed(hdus[1:]) if hdu.name in names and hdu.data is not None}
    used = [id(hdu) for hdu in (science, *planes.values())]
    found = {name: np.asarray(hdu.data) for name, hdu in planes.items()}
    if ramp:
        found.setdefault("PIXELDQ", np.zeros(np.asarray(science.data).shape[-2:], np.uint32))
    return Exposure(
        data=np.asarray(science.data),
        err=found.get("ERR"),
        dq=found.get("GROUPDQ" if ramp else "DQ"),
        meta=meta.with_(filename=Path(path).name, history=tuple(history_lines(meta.history))),
        wcs=celestial_wcs(science.header),
        variances={n: found[f"VAR_{n.upper()}"] for n in VARIANCES if f"VAR_{n.upper()}" in found},
        # an empty VAR_FLAT is kept too: the ASDF extension may point to it
        extensions=tuple(hdu for hdu in hdus[1:] if id(hdu) not in used),
        source=f"Exposure.read({str(path)!r})",
        pixel_dq=found["PIXELDQ"] if ramp else None,
    )


def _is_ramp(hdus: Sequence[fits.Extension], science: fits.Extension) -> bool:
    """Whether a file holds ramps: images of groups, with the flags that go with them."""
    flagged = any(hdu.name in RAMP_PLANES and hdu.data is not None for hdu in hdus)
    return flagged and np.asarray(science.data).ndim == 4


def _science(hdus: Sequence[fits.Extension]) -> fits.Extension:
    """The SCI extension; in a file without extension names, the first image."""
    named = [hdu for hdu in hdus if hdu.name == "SCI" and hdu.data is not None]
    images = [hdu for hdu in hdus if hdu.data is not None and hdu.name not in PLANES | RAMP_PLANES]
    found = named or images
    if not found:
        names = ", ".join(hdu.name or "without name" for hdu in hdus)
        raise DataError(f"no image (SCI extension) in this file; found: {names}")
    return found[0]


def celestial_wcs(header: astrofits.Header) -> Any:
    """Celestial WCS of an image header, None where it has none.

    Raises
    ------
    DataError
        If its cards contradict each other or hold what they can't.
    """
    if "CTYPE1" not in header:
        return None
    from astropy.utils.exceptions import AstropyWarning
    from astropy.wcs import WCS, WcsError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # e.g. MJD-OBS set from DATE-OBS: no loss
        try:
            _check_sip(header)
            wcs = WCS(header, naxis=2).celestial
            wcs.wcs.set()
        except (WcsError, *fits.UNREADABLE) as error:
            raise DataError(f"the WCS in the SCI header can't be used: {fits.one_line(error)}") from error
    return wcs if wcs.naxis == 2 else None


def _check_sip(header: astrofits.Header) -> None:
    for key in ("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"):
        order = header.get(key, 0)
        if not (isinstance(order, int | float) and 0 <= order <= SIP_ORDER):
            raise DataError(f"{key} should be a whole number up to {SIP_ORDER}, found {order!r}")


def headers(exposure: Exposure, cards: Mapping[str, Any] | None = None) -> tuple[astrofits.Header, astrofits.Header]:
    """Primary and SCI header of a product: the cards that were read, what `meta` says now, `cards`, the history."""
    meta = exposure.meta
    primary, science = _carried(meta.primary), _carried(meta.science)
    for name, key in KEYWORDS.items():
        in_science = key in science or key in ("BUNIT", "ROLL_REF")
        _set(science if in_science else primary, key, getattr(meta, name))
    if meta.pixel_scale:
        science["PIXAR_A2"] = (meta.pixel_scale**2, "Nominal pixel area in arcsec^2")
    if exposure.wcs is not None:
        _replace_wcs(science, exposure.wcs)
        _set_star(science, meta.center)
    elif meta.center is not None:
        science["CRPIX1"], science["CRPIX2"] = exposure.center[0] + 1, exposure.center[1] + 1
    model = "RampModel" if exposure.is_ramp else MODELS.get(exposure.data.ndim, "CubeModel")
    primary["DATAMODL"] = (model, "Type of data model")
    for key, value in (cards or {}).items():
        _set(primary, key, value)
    for line in history_cards(meta.history):
        primary.add_history(line)
    return primary, science


def _set_star(header: astrofits.Header, center: tuple[float, float] | None) -> None:
    """STARCENX/Y (1-based) where the star doesn't stand on the reference pixel."""
    for key, reference, value in zip(("STARCENX", "STARCENY"), ("CRPIX1", "CRPIX2"), center or (), strict=False):
        if abs(value + 1 - header[reference]) > 1e-6:
            header[key] = (value + 1, "Star position, 1-based (px)")
        else:
            header.remove(key, ignore_missing=True)


def _set(header: astrofits.Header, key: str, value: Any) -> None:
    """Set a card, or remove it where nothing is known any more."""
    if value is None or value == "":
        header.remove(key, ignore_missing=True)
        return
    old = header.comments[key] if key in header else ""
    value, comment = value if isinstance(value, tuple) else (value, old)
    text = _printable(value) if isinstance(value, str) else value
    if isinstance(text, str) and len(text) + len(comment) > ROOM:
        comment = ""  # the value counts
    try:
        header.set(key, text, comment)
    except ValueError as error:  # e.g. NaN
        raise DataError(f"{value!r} can't be written as header keyword {key}: {error}") from error


def _printable(text: str) -> str:
    """Text as FITS headers hold it: what isn't printable ASCII becomes a Python escape."""
    plain = (c if c.isascii() and c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return "".join(plain)


def history_cards(history: Sequence[str]) -> list[str]:
    r"""The chain as HISTORY lines of at most 72 characters; one that goes on in the next ends with a backslash.

    Examples
    --------
    >>> history_cards(["PSFStack.from_asn('a_very_long_association_name_indeed_with_no_end_in_sight.json')"])
    ["PSFStack.from_asn('a_very_long_association_name_indeed_with_no_end_in_s\\", "ight.json')"]
    """
    cards = []
    for line in history:
        text = _printable(line)
        whole = len(text) < CARD
        parts = [text] if whole else [text[i : i + CARD - 1] for i in range(0, len(text), CARD - 1)]
        cards += [f"{part}\\" for part in parts[:-1]] + parts[-1:]
    return cards


def history_lines(cards: Sequence[str]) -> list[str]:
    """The chain from its HISTORY lines; the inverse of `history_cards`."""
    lines, begun = [], ""
    for card in cards:
        if len(card) == CARD and card.endswith("\\"):
            begun += card[:-1]
        else:
            lines.append(begun + card)
            begun = ""
    return lines + ([begun] if begun else [])


def _carried(header: Any) -> astrofits.Header:
    """Copy of a header without the cards that describe the layout of the old file."""
    if header is None:
        return astrofits.Header()
    copy = astrofits.Header(header, copy=True)
    for key in LAYOUT:
        copy.remove(key, ignore_missing=True, remove_all=True)
    return copy


def _replace_wcs(header: astrofits.Header, wcs: Any) -> None:
    """Write the WCS where it differs from the cards already there (after a crop, or made in memory)."""
    if _same_wcs(header, wcs):
        return
    for key in [key for key in header if WCS_CARD.match(key)]:
        header.remove(key, remove_all=True)
    header.update(wcs.to_header(relax=True))


def _same_wcs(header: astrofits.Header, wcs: Any) -> bool:
    """Whether the cards give the same positions as the WCS in all corners of a large detector."""
    try:
        old = celestial_wcs(header)
    except DataError:
        return False
    corners = [(0, 0), (2047, 0), (0, 2047), (2047, 2047)]
    return old is not None and np.array_equal(old.all_pix2world(corners, 0), wcs.all_pix2world(corners, 0))


def write_exposure(
    exposure: Exposure,
    path: str | os.PathLike[str],
    *,
    cards: Mapping[str, Any] | None = None,
    extra: Sequence[Any] = (),
    overwrite: bool = False,
) -> Path:
    """Write an exposure as a JWST product; see `Exposure.save`.

    `cards` go into the primary header, the HDUs `extra` after DQ and the variances.
    """
    path = Path(path)
    primary, science = headers(exposure, {"FILENAME": path.name, **(cards or {})})
    hdus = [astrofits.PrimaryHDU(header=primary), _image("SCI", exposure.data, science)]
    if exposure.err is not None:
        hdus.append(_image("ERR", exposure.err, _unit_header(exposure)))
    hdus += [astrofits.ImageHDU(flags, name=name) for name, flags in flag_planes(exposure).items()]
    hdus += [_image(f"VAR_{name.upper()}", value) for name, value in exposure.variances.items()]
    return fits.write(path, [*hdus, *extra], extensions=exposure.extensions, overwrite=overwrite)


def flag_planes(exposure: Exposure) -> dict[str, np.ndarray]:
    """Extension name and flags: DQ, or of ramps PIXELDQ and GROUPDQ, which has room for eight bits.

    Other bits of a group are set in PIXELDQ.
    """
    if exposure.pixel_dq is None or not exposure.is_ramp:
        return {"DQ": exposure.flags()}
    groups = np.zeros(exposure.shape, np.uint8) if exposure.dq is None else exposure.dq
    pixel_dq = exposure.pixel_dq
    if groups.dtype != np.uint8:
        pixel_dq = pixel_dq | np.bitwise_or.reduce(groups & ~np.uint32(255), axis=(0, 1))
    return {"PIXELDQ": pixel_dq, "GROUPDQ": groups.astype(np.uint8, copy=False)}


def _image(name: str, data: np.ndarray, header: astrofits.Header | None = None) -> astrofits.ImageHDU:
    return astrofits.ImageHDU(np.asarray(data, np.float32), header=header, name=name)


def _unit_header(exposure: Exposure) -> astrofits.Header:
    return astrofits.Header([("BUNIT", exposure.meta.unit)] if exposure.meta.unit else [])
