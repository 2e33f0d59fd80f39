"""What is known of an exposure besides its pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from corontools.errors import DataError

__all__ = ["Meta"]

# Pivot wavelengths in metres of the filters used behind JWST's coronagraphs (JWST user documentation, JDox).
PIVOT = {
    "F182M": 1.845e-6, "F187N": 1.874e-6, "F200W": 1.990e-6, "F210M": 2.093e-6, "F212N": 2.120e-6,
    "F250M": 2.503e-6, "F277W": 2.786e-6, "F300M": 2.996e-6, "F322W2": 3.247e-6, "F335M": 3.365e-6,
    "F356W": 3.563e-6, "F360M": 3.621e-6, "F380M": 3.825e-6, "F410M": 4.092e-6, "F430M": 4.280e-6,
    "F444W": 4.421e-6, "F460M": 4.624e-6, "F480M": 4.834e-6,
    "F1065C": 10.563e-6, "F1140C": 11.310e-6, "F1550C": 15.517e-6, "F2300C": 22.646e-6,
}  # fmt: skip
# Diameter in metres that sets the width of the core behind the Lyot stop (JDox: NIRCam round masks transmit a
# pupil of about 5.2 m; the JWST pupil circumscribed is 6.603 m).
DIAMETER = {"NIRCAM": 5.2}
JWST_DIAMETER = 6.603

# attribute -> FITS keyword, searched in the SCI header, then in the primary header
KEYWORDS = {
    "filename": "FILENAME", "telescope": "TELESCOP", "instrument": "INSTRUME", "detector": "DETECTOR",
    "filter": "FILTER", "pupil": "PUPIL", "coronagraph": "CORONMSK", "subarray": "SUBARRAY",
    "exp_type": "EXP_TYPE", "target": "TARGNAME", "unit": "BUNIT", "roll": "ROLL_REF", "mjd": "EXPMID",
    "exposure_time": "EFFEXPTM",
}  # fmt: skip
# what other observatories call them; their MJD-OBS is the begin of the exposure
OTHERS = {"mjd": ("MJD-AVG", "MJD-MID"), "exposure_time": ("EXPTIME",)}
NUMBERS = {"roll", "mjd", "exposure_time"}
DAY = 86_400.0


@dataclass(frozen=True)
class Meta:
    """Names, units and geometry of an exposure; immutable, change a copy with `with_`.

    Attributes
    ----------
    unit : str
        Unit of the pixels, in FITS spelling ("MJy/sr").
    pixel_scale : float or None
        Arcsec per pixel.
    center : (float, float) or None
        0-based (x, y) of the star; for JWST coronagraphy the WCS reference pixel.
    wavelength : float or None
        Metres; the pivot wavelength of the filter where that is known and nothing else is given.
    roll : float or None
        Position angle of the V3 axis at the reference point, degrees east of north (ROLL_REF).
    primary, science : mapping
        All cards of the primary and of the SCI header, as read; carried into products.
    history : tuple of str
        What was done, one Python call a line; written as HISTORY.

    Examples
    --------
    >>> meta = Meta(target="AU Mic", instrument="NIRCAM", filter="F444W", pixel_scale=0.063)
    >>> round(meta.fwhm, 2)
    2.78
    >>> meta.with_(unit="MJy/sr").unit
    'MJy/sr'
    """

    filename: str = ""
    telescope: str = ""
    instrument: str = ""
    detector: str = ""
    filter: str = ""
    pupil: str = ""
    coronagraph: str = ""
    subarray: str = ""
    exp_type: str = ""
    target: str = ""
    unit: str = ""
    pixel_scale: float | None = None
    center: tuple[float, float] | None = None
    wavelength: float | None = None
    roll: float | None = None
    mjd: float | None = None
    exposure_time: float | None = None
    history: tuple[str, ...] = ()
    primary: Any = field(default=None, repr=False, compare=False)
    science: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def from_headers(cls, primary: Mapping[str, Any], science: Mapping[str, Any]) -> Meta:
        """Read what is known from a primary and a SCI header; what is missing stays empty."""
        values = {name: _lookup(name, key, science, primary) for name, key in KEYWORDS.items()}
        for name, keys in OTHERS.items():
            for key in keys if values[name] is None else ():
                values[name] = values[name] if values[name] is not None else _lookup(name, key, science, primary)
        begin = _lookup("mjd", "MJD-OBS", science, primary)
        if values["mjd"] is None and begin is not None:
            values["mjd"] = begin + (values["exposure_time"] or 0.0) / DAY / 2
        known = {name: value for name, value in values.items() if value is not None}
        return cls(
            **known,
            center=_star_center(science),
            pixel_scale=_pixel_scale(science),
            wavelength=PIVOT.get(str(known.get("filter", ""))),
            history=tuple(str(line) for line in primary.get("HISTORY", ())),
            primary=primary,
            science=science,
        )

    def with_(self, **changes: Any) -> Meta:
        """Copy with the named attributes changed."""
        return replace(self, **changes)

    def card(self, key: str) -> Any:
        """Value of a header keyword, of the SCI header or else the primary one; None where it isn't given."""
        headers = [header for header in (self.science, self.primary) if header is not None]
        return next((header[key] for header in headers if _given(header, key)), None)

    def with_cards(self, cards: Mapping[str, Any]) -> Meta:
        """The same with cards in the primary header, each a value or (value, comment)."""
        from astropy.io import fits

        primary = fits.Header() if self.primary is None else fits.Header(self.primary, copy=True)
        for key, value in cards.items():
            primary[key] = value
        return self.with_(primary=primary)

    @property
    def fwhm(self) -> float | None:
        """Width of the stellar core, lambda/D in pixels; None where filter or pixel scale is unknown."""
        wavelength = self.wavelength or PIVOT.get(self.filter)
        if wavelength is None or self.pixel_scale is None:
            return None
        diameter = DIAMETER.get(self.instrument, JWST_DIAMETER)
        return math.degrees(wavelength / diameter) * 3600 / self.pixel_scale

    @property
    def title(self) -> str:
        """Target, instrument, filter and coronagraph, as far as known."""
        words = (self.target, self.instrument, self.filter, self.coronagraph)
        return " ".join(word for word in words if word) or self.filename or "exposure"


def _lookup(name: str, key: str, *headers: Mapping[str, Any]) -> Any:
    """First value of `key` in the headers, as float or text; None when absent or blank."""
    value = next((h[key] for h in headers if _given(h, key)), None)
    if value is None:
        return None
    return _number(key, value) if name in NUMBERS else str(value).strip()


def _given(header: Mapping[str, Any], *keys: str) -> bool:
    """Whether all the keywords have a value; a card may stand there without one."""
    values = [header.get(key) for key in keys]
    return all(v not in (None, "") and type(v).__name__ != "Undefined" for v in values)


def _number(key: str, value: Any) -> float:
    try:
        number = float(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"header keyword {key} should be a number, found {value!r}") from error
    if not math.isfinite(number):
        raise DataError(f"header keyword {key} should be a finite number, found {value!r}")
    return number


def _star_center(science: Mapping[str, Any]) -> tuple[float, float] | None:
    """0-based (x, y) of the star: STARCENX/Y, else the reference pixel, on which JWST points it."""
    for keys in (("STARCENX", "STARCENY"), ("CRPIX1", "CRPIX2")):
        if _given(science, *keys):
            x, y = (_number(key, science[key]) for key in keys)
            return x - 1.0, y - 1.0
    return None


def _pixel_scale(science: Mapping[str, Any]) -> float | None:
    """Arcsec per pixel: from the pixel area, else from the linear part of the WCS; None also where that is zero."""
    if _given(science, "PIXAR_A2"):
        return math.sqrt(abs(_number("PIXAR_A2", science["PIXAR_A2"]))) or None
    if _given(science, "CD1_1"):
        cd = [_number(key, science.get(key, 0.0)) for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")]
        return math.sqrt(abs(cd[0] * cd[3] - cd[1] * cd[2])) * 3600 or None
    if _given(science, "CDELT1", "CDELT2"):
        area = _number("CDELT1", science["CDELT1"]) * _number("CDELT2", science["CDELT2"])
        return math.sqrt(abs(area)) * 3600 or None
    return None
