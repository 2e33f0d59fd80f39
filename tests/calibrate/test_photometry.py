"""Photometry of a single frame."""

import re

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from astropy.wcs import WCS

from corontools.calibrate.color import ColorTerm
from corontools.calibrate.photometry import ZeroPointFitter, calibrate_fluxes
from corontools.calibrate.refcat import RefCat
from corontools.errors import DataError

ZERO_POINT = 27.25


@pytest.fixture
def wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix = (150.0, 2.0), (500, 500)
    wcs.wcs.cd = np.diag([-0.2, 0.2]) / 3600
    wcs.wcs.set()
    return wcs


def stars(wcs, n=400, *, seed=1, err=0.01, term=0.0):
    """Sources and their references; the band of the image is r + term (g - r)."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 1000, (2, n))
    r, color = rng.uniform(15, 19, n), rng.uniform(0.2, 1.4, n)
    ra, dec = wcs.all_pix2world(x, y, 0)
    refs = Table({"id": np.arange(n) + 500, "ra": ra, "dec": dec, "rmag": r, "rmagerr": np.full(n, 0.005)})
    refs["gmag"], refs["gmagerr"] = r + color, np.full(n, 0.005)
    counts = 10 ** (0.4 * (ZERO_POINT - r - term * color))
    table = Table(
        {
            "id": np.arange(1, n + 1),
            "slot_Centroid_x": x + rng.normal(0, 0.05, n),
            "slot_Centroid_y": y + rng.normal(0, 0.05, n),
            "base_PsfFlux_instFlux": counts * (1 + rng.normal(0, err, n)) * u.ct,
            "base_PsfFlux_instFluxErr": counts * err * u.ct,
            "psf_id": np.arange(n) % 3,
        }
    )
    return table, RefCat.from_table(refs)


def test_a_planted_zero_point_is_recovered(wcs):
    table, refs = stars(wcs)
    fit = ZeroPointFitter(band="r").fit(table, wcs, refs)
    assert fit.zero_point == pytest.approx(ZERO_POINT, abs=3 * fit.err)
    assert fit.err == pytest.approx(np.hypot(0.01 * 1.0857, 0.005) / 20, rel=0.02)
    assert fit.calibration_mean == pytest.approx((0 * u.ABmag).to_value(u.nJy) * 10 ** (-0.4 * fit.zero_point))
    assert fit.calibration_err == pytest.approx(fit.calibration_mean * 0.4 * np.log(10) * fit.err)
    assert fit.scatter == pytest.approx(0.0109, rel=0.1)


def test_stars_that_vary_are_clipped_and_the_rounds_kept(wcs):
    table, refs = stars(wcs)
    table["base_PsfFlux_instFlux"][::5] *= 1.5
    fit = ZeroPointFitter(band="r").fit(table, wcs, refs)
    assert fit.zero_point == pytest.approx(ZERO_POINT, abs=0.003)
    used = np.asarray(fit.matches["photometry_used"])
    varied = np.isin(fit.matches["src_id"], table["id"][::5])
    assert not used[varied].any()
    assert used[~varied].mean() > 0.97
    assert fit.history[-1].n_kept == used.sum()
    assert [one.center for one in fit.history[1:]] == pytest.approx([ZERO_POINT] * (len(fit.history) - 1), abs=0.02)


def test_a_colour_term_is_applied(wcs):
    table, refs = stars(wcs, term=0.3)
    plain = ZeroPointFitter(band="r").fit(table, wcs, refs)
    assert abs(plain.zero_point - ZERO_POINT) > 0.1
    fit = ZeroPointFitter(color_term=ColorTerm("r", ("g", "r"), (0.0, 0.3))).fit(table, wcs, refs)
    assert fit.zero_point == pytest.approx(ZERO_POINT, abs=0.003)
    assert fit.band.startswith("r +0 (g - r)^0 +0.3 (g - r)^1")


def test_matches_hold_magnitudes_differences_and_ids(wcs):
    table, refs = stars(wcs)
    matches = ZeroPointFitter(band="r").fit(table, wcs, refs).matches
    np.testing.assert_array_equal(matches["src_id"] + 499, matches["ref_id"])
    rows = np.asarray(matches["src_id"]) - 1
    expected = matches["ref_mag"].value + 2.5 * np.log10(table["base_PsfFlux_instFlux"].value[rows])
    np.testing.assert_allclose(matches["difference"].value, expected)
    np.testing.assert_array_equal(matches["src_psf_id"], table["psf_id"][rows])
    assert matches["distance"].unit == u.arcsec
    assert matches["distance"].max() < 0.25


def test_the_flux_of_the_calibration_comes_first(wcs):
    table, refs = stars(wcs)
    for name in ("instFlux", "instFluxErr"):
        table[f"slot_CalibFlux_{name}"] = table[f"base_PsfFlux_{name}"] * 2
    fit = ZeroPointFitter(band="r").fit(table, wcs, refs)
    assert fit.flux == "slot_CalibFlux"
    assert fit.zero_point == pytest.approx(ZERO_POINT + 2.5 * np.log10(2), abs=0.003)
    assert ZeroPointFitter(band="r", flux=("base_PsfFlux",)).fit(table, wcs, refs).flux == "base_PsfFlux"


def test_flagged_sky_and_faint_sources_are_left_out(wcs):
    table, refs = stars(wcs)
    n = np.arange(len(table))
    table["sky_source"], table["base_PsfFlux_flag"] = n % 7 == 0, n % 7 == 1
    table["base_PsfFlux_instFluxErr"][n % 7 == 2] = table["base_PsfFlux_instFlux"][n % 7 == 2] / 9
    table["base_PsfFlux_instFlux"][n % 7 == 3] = np.nan
    table["slot_Centroid_x"][n % 7 == 4] = np.nan
    ids = ZeroPointFitter(band="r").fit(table, wcs, refs).matches["src_id"]
    np.testing.assert_array_equal(ids, table["id"][n % 7 >= 5])


def test_sources_further_than_the_radius_are_no_match(wcs):
    table, refs = stars(wcs, 30)
    table["slot_Centroid_x"] += 2.0  # 0.4 arcsec
    with pytest.raises(DataError, match=re.escape('none of the 30 sources is within 0.25" of one of the 30')):
        ZeroPointFitter(band="r").fit(table, wcs, refs)
    assert len(ZeroPointFitter(band="r", radius=0.6).fit(table, wcs, refs).matches) == 30


def test_references_move_to_the_epoch(wcs):
    table, refs = stars(wcs)
    refs.table["pm_dec"] = np.full(len(refs), 100.0)
    refs.table["pm_ra"] = np.zeros(len(refs))
    refs.table["epoch"] = np.full(len(refs), 50000.0)
    refs.table["coord_dec"] -= 100 * 10 / 3.6e6
    fit = ZeroPointFitter(band="r").fit(table, wcs, refs, epoch=50000.0 + 3652.5)
    assert len(fit.matches) == 400


def test_references_without_a_magnitude_are_left_out(wcs):
    table, refs = stars(wcs)
    refs.table["r_flux"][:100] = np.nan
    fit = ZeroPointFitter(band="r").fit(table, wcs, refs)
    assert fit.zero_point == pytest.approx(ZERO_POINT, abs=0.003)
    assert np.sum(fit.matches["photometry_used"]) <= 300
    refs.table["r_flux"][:] = np.nan
    with pytest.raises(DataError, match="none of the 400 pairs has a magnitude in r"):
        ZeroPointFitter(band="r").fit(table, wcs, refs)


def test_a_floor_evens_out_the_weights(wcs):
    table, refs = stars(wcs)
    fit = ZeroPointFitter(band="r", floor=0.1).fit(table, wcs, refs)
    np.testing.assert_allclose(fit.matches["differenceErr"].value, np.sqrt(0.010857**2 + 0.005**2 + 0.01), rtol=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "has bands r, g: name that of the image"),
        ({"band": "z"}, "has no band 'z' (found: r, g)"),
        ({"band": "r", "flux": ("some",)}, "none of the fluxes some (found: base_PsfFlux)"),
        ({"band": "r", "min_snr": 1e6}, "no source can be compared with references: of 400, 400 have a centroid"),
    ],
)
def test_what_is_missing_is_named(wcs, options, message):
    table, refs = stars(wcs)
    with pytest.raises(DataError, match=re.escape(message)):
        ZeroPointFitter(**options).fit(table, wcs, refs)


def test_a_catalogue_without_fluxes_is_an_error(wcs):
    table, _ = stars(wcs)
    with pytest.raises(DataError, match="no flux or magnitude of any band"):
        ZeroPointFitter().fit(table, wcs, RefCat.from_table(Table({"ra": [150.0], "dec": [2.0]})))


def test_no_wcs_is_an_error(wcs):
    with pytest.raises(DataError, match="no WCS"):
        ZeroPointFitter(band="r").fit(*stars(wcs)[:1], None, stars(wcs)[1])


def test_fluxes_get_units_and_magnitudes(wcs):
    table, refs = stars(wcs)
    table["base_GaussianFlux_instFlux"] = table["base_PsfFlux_instFlux"] * 0 - 1
    fit = ZeroPointFitter(band="r").fit(table, wcs, refs)
    made = fit.apply(table)
    assert made["base_PsfFlux_flux"].unit == u.nJy
    np.testing.assert_allclose(made["base_PsfFlux_mag"].value, refs.magnitudes("r")[0], atol=0.06)
    np.testing.assert_allclose(
        made["base_PsfFlux_mag"].value, u.Quantity(made["base_PsfFlux_flux"]).to_value(u.ABmag), atol=1e-9
    )
    np.testing.assert_allclose(made["base_PsfFlux_magErr"].value, 0.010857, rtol=0.06)
    snr = table["base_PsfFlux_instFlux"].value / table["base_PsfFlux_instFluxErr"].value
    np.testing.assert_allclose(made["base_PsfFlux_flux"] / made["base_PsfFlux_fluxErr"], snr)
    assert np.isnan(made["base_GaussianFlux_mag"].value).all()
    assert "base_GaussianFlux_fluxErr" not in made.colnames
    used = fit.matches["src_id"][fit.matches["photometry_used"]]
    np.testing.assert_array_equal(np.sort(used), made["id"][made["calib_photometry_used"]])
    assert "base_PsfFlux_flux" not in table.colnames


def test_calibrating_is_a_multiplication():
    table = Table({"a_instFlux": [10.0, 20.0], "a_instFluxErr": [1.0, 2.0], "other": [1, 2]})
    made = calibrate_fluxes(table, 2.5)
    assert made["a_flux"].tolist() == [25.0, 50.0]
    assert made["a_fluxErr"].tolist() == [2.5, 5.0]


def test_the_calibration_that_was_applied_is_a_table(wcs):
    fit = ZeroPointFitter(band="r").fit(*[stars(wcs)[0], wcs, stars(wcs)[1]])
    row = fit.table[0]
    assert row["calibrationMean"] == pytest.approx(fit.calibration_mean)
    assert fit.table["calibrationMean"].unit == u.nJy / u.ct
    assert row["nStars"] == np.sum(fit.matches["photometry_used"])
    assert "zero point 27.2" in repr(fit)
