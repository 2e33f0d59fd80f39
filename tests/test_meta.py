"""What headers tell of an exposure."""

from __future__ import annotations

import math

import pytest
from astropy.io import fits as astrofits

from corontools.errors import DataError
from corontools.meta import KEYWORDS, PIVOT, Meta


def headers(**cards):
    """Primary and SCI header, the cards in the SCI header."""
    return astrofits.Header({"TARGNAME": "AU Mic", "FILTER": "F444W", "INSTRUME": "NIRCAM"}), astrofits.Header(cards)


def test_what_is_missing_stays_empty():
    meta = Meta.from_headers(astrofits.Header(), astrofits.Header())
    assert meta == Meta()
    assert (meta.fwhm, meta.title) == (None, "exposure")


def test_every_keyword_comes_to_its_attribute():
    values = {key: 1.5 if name in ("roll", "mjd", "exposure_time") else f"v {name}" for name, key in KEYWORDS.items()}
    meta = Meta.from_headers(astrofits.Header(values), astrofits.Header())
    assert {name: getattr(meta, name) for name in KEYWORDS} == {name: values[key] for name, key in KEYWORDS.items()}


def test_the_science_header_goes_before_the_primary():
    meta = Meta.from_headers(*headers(TARGNAME="other"))
    assert meta.target == "other"


def test_the_star_is_the_reference_pixel_counted_from_zero():
    assert Meta.from_headers(*headers(CRPIX1=151.0, CRPIX2=175.5)).center == (150.0, 174.5)
    assert Meta.from_headers(*headers(CRPIX1=151.0)).center is None


@pytest.mark.parametrize(
    ("cards", "scale"),
    [
        ({"PIXAR_A2": 0.0625**2}, 0.0625),
        ({"CD1_1": -3e-5, "CD1_2": 4e-5, "CD2_1": 4e-5, "CD2_2": 3e-5}, 5e-5 * 3600),
        ({"CDELT1": -2e-5, "CDELT2": 2e-5}, 0.072),
        ({"CDELT1": 0.0, "CDELT2": 2e-5}, None),
        ({"CDELT1": 2e-5}, None),
    ],
)
def test_pixel_scale_comes_from_the_area_or_the_wcs(cards, scale):
    assert Meta.from_headers(*headers(**cards)).pixel_scale == (scale and pytest.approx(scale, rel=1e-12))


def test_a_card_without_value_is_no_value():
    primary, science = headers()
    for key in ("CRPIX1", "CRPIX2", "PIXAR_A2", "ROLL_REF"):
        science[key] = None
    meta = Meta.from_headers(primary, science)
    assert (meta.center, meta.pixel_scale, meta.roll) == (None, None, None)


@pytest.mark.parametrize("key", ["CRPIX1", "PIXAR_A2", "ROLL_REF", "EXPMID", "CDELT1"])
def test_text_where_a_number_belongs_is_refused_by_keyword(key):
    cards = {"CRPIX1": 1.0, "CRPIX2": 1.0, "CDELT1": 1.0, "CDELT2": 1.0, key: "fast"}
    with pytest.raises(DataError, match=f"{key} should be a number, found 'fast'"):
        Meta.from_headers(*headers(**cards))


def test_an_infinite_number_is_refused():
    with pytest.raises(DataError, match="ROLL_REF should be a finite number"):
        Meta.from_headers({"ROLL_REF": "inf"}, {})


def test_fwhm_is_lambda_over_d_in_pixels():
    meta = Meta.from_headers(*headers(PIXAR_A2=0.063**2))
    expected = PIVOT["F444W"] / 5.2 * 180 / math.pi * 3600 / 0.063
    assert meta.fwhm == pytest.approx(expected, rel=1e-12)
    assert meta.with_(instrument="MIRI").fwhm == pytest.approx(expected * 5.2 / 6.603, rel=1e-12)
    assert meta.with_(wavelength=None).fwhm == meta.fwhm
    assert meta.with_(wavelength=2 * PIVOT["F444W"]).fwhm == pytest.approx(2 * expected, rel=1e-12)
    assert meta.with_(wavelength=None, filter="K").fwhm is None


def test_meta_is_immutable_and_with_gives_a_changed_copy():
    meta = Meta(target="AU Mic")
    assert meta.with_(unit="MJy/sr") == Meta(target="AU Mic", unit="MJy/sr")
    with pytest.raises(AttributeError):
        meta.target = "other"
    assert meta.target == "AU Mic"


def test_other_observatories_times_are_read_where_jwsts_are_missing():
    plain = Meta.from_headers(astrofits.Header({"EXPTIME": 86.4, "MJD-OBS": 58000.0}), astrofits.Header())
    assert (plain.exposure_time, plain.mjd) == (86.4, pytest.approx(58000.0005))
    middle = Meta.from_headers(astrofits.Header({"MJD-AVG": 58001.0, "MJD-OBS": 58000.0}), astrofits.Header())
    assert middle.mjd == 58001.0
    jwst = {"EXPMID": 59000.0, "EFFEXPTM": 10.0, "EXPTIME": 11.0, "MJD-OBS": 1.0}
    assert Meta.from_headers(astrofits.Header(jwst), astrofits.Header()).mjd == 59000.0
    assert Meta.from_headers(astrofits.Header(jwst), astrofits.Header()).exposure_time == 10.0
