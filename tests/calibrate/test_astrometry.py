"""Astrometry of a single frame."""

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from astropy.wcs import WCS

from corontools.arrays.affine import Affine
from corontools.arrays.pattern import PatternMatch
from corontools.calibrate.astrometry import AstrometrySolver, BadAstrometryFitError, NoPatternMatchError
from corontools.calibrate.matcher import NearestMatcher, PatternMatcher
from corontools.calibrate.plane import TangentPlane, corrected, sky_of
from corontools.calibrate.refcat import RefCat
from corontools.calibrate.wcsfit import AffineFitter, SipFitter
from corontools.errors import DataError

SHAPE = (1500, 2000)
GRID = np.stack([axis.ravel() for axis in np.meshgrid(np.linspace(0, 1999, 7), np.linspace(0, 1499, 6))], axis=1)

SIP = {
    "A_ORDER": 3, "A_2_0": 4e-7, "A_1_1": -2e-7, "A_0_2": 1e-7, "A_3_0": 3e-10,
    "B_ORDER": 3, "B_2_0": -1e-7, "B_1_1": 3e-7, "B_0_2": -2e-7, "B_0_3": -2e-10,
}  # fmt: skip
TPV = {
    "PV1_0": 1e-4, "PV1_1": 1.002, "PV1_2": -3e-4, "PV1_4": 0.002, "PV1_5": -0.001, "PV1_7": 0.03, "PV1_9": 0.02,
    "PV2_1": 0.999, "PV2_2": 2e-4, "PV2_4": -0.001, "PV2_6": 0.003, "PV2_8": 0.01, "PV2_10": -0.02,
}  # fmt: skip


def header(kind="SIP", *, scale=0.2, angle=30.0, ra=53.1, dec=-27.8):
    """FITS header of an image with a known WCS."""
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    cd = np.array([[-cos, sin], [sin, cos]]) * scale / 3600
    code = {"SIP": "TAN-SIP", "TPV": "TPV"}.get(kind, "TAN")
    cards = {
        "NAXIS": 2, "NAXIS1": SHAPE[1], "NAXIS2": SHAPE[0], "CTYPE1": f"RA---{code}", "CTYPE2": f"DEC--{code}",
        "CRVAL1": ra, "CRVAL2": dec, "CRPIX1": 900.0, "CRPIX2": 810.0, "RADESYS": "ICRS",
    }  # fmt: skip
    if kind == "PC":
        step = scale / 3600
        cards |= {"CDELT1": -step, "CDELT2": step}
        cards |= {"PC1_1": -cd[0, 0] / step, "PC1_2": -cd[0, 1] / step, "PC2_1": cd[1, 0] / step}
        cards["PC2_2"] = cd[1, 1] / step
    elif kind == "CROTA":
        cards |= {"CDELT1": -scale / 3600, "CDELT2": scale / 3600, "CROTA2": -angle}
    else:
        cards |= {"CD1_1": cd[0, 0], "CD1_2": cd[0, 1], "CD2_1": cd[1, 0], "CD2_2": cd[1, 1]}
    return fits.Header({**cards, **{"SIP": SIP, "TPV": TPV}.get(kind, {})})


def wrong(cards, *, offset=60.0, rotation=0.9):
    """The header with a pointing that is off by arcsec to the north-east and degrees."""
    cards = cards.copy()
    north = offset / 3600 / np.sqrt(2)
    cards["CRVAL1"] += north / np.cos(np.radians(cards["CRVAL2"]))
    cards["CRVAL2"] += north
    if "CROTA2" in cards:
        cards["CROTA2"] += rotation
        return cards
    name = "CD" if "CD1_1" in cards else "PC"
    turn = Affine.of_rotation(rotation).matrix
    old = np.array([[cards[f"{name}{i}_{j}"] for j in (1, 2)] for i in (1, 2)])
    step = np.diag([cards["CDELT1"], cards["CDELT2"]]) if name == "PC" else np.eye(2)
    new = np.linalg.inv(step) @ turn @ step @ old
    for i, j in np.ndindex(2, 2):
        cards[f"{name}{i + 1}_{j + 1}"] = new[i, j]
    return cards


def sky(wcs, n=300, *, seed=1, noise=0.02, missing=0.15, spurious=0.2, pm=0.0, epoch=60310.0):
    """Table of sources on an image, and references on and around it, at MJD 57388.5."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-300, SHAPE[1] + 300, 2 * n), rng.uniform(-300, SHAPE[0] + 300, 2 * n)
    magnitude = 21 - rng.exponential(1.2, 2 * n)
    ra, dec = wcs.all_pix2world(x, y, 0)
    motion = rng.normal(0, pm, (2, 2 * n)) if pm else np.zeros((2, 2 * n))
    years = (epoch - 57388.5) / 365.25
    then = ra - motion[0] * years / 3.6e6 / np.cos(np.radians(dec)), dec - motion[1] * years / 3.6e6
    refs = Table(
        {"id": np.arange(2 * n) + 1000, "ra": then[0], "dec": then[1], "pm_ra": motion[0], "pm_dec": motion[1]}
    )
    refs["r_flux"] = (magnitude + rng.normal(0, 0.05, 2 * n)) * u.ABmag.to(u.ABmag) * 0 + 10 ** (
        0.4 * (31.4 - magnitude)
    )
    refs["r_flux"].unit = "nJy"
    refs["epoch"] = np.full(2 * n, 57388.5)
    refs["epoch"].unit = "day"
    on = (x > 0) & (x < SHAPE[1]) & (y > 0) & (y < SHAPE[0]) & (rng.random(2 * n) > missing)
    false = int(spurious * on.sum())
    place = np.r_[x[on], rng.uniform(0, SHAPE[1], false)], np.r_[y[on], rng.uniform(0, SHAPE[0], false)]
    flux = 10 ** (0.4 * (27 - np.r_[magnitude[on], rng.choice(magnitude, false)]))
    m = len(flux)
    table = Table(
        {
            "id": np.arange(1, m + 1),
            "slot_Centroid_x": (place[0] + rng.normal(0, noise, m)) * u.pix,
            "slot_Centroid_y": (place[1] + rng.normal(0, noise, m)) * u.pix,
            "slot_Centroid_xErr": np.full(m, noise) * u.pix,
            "slot_Centroid_yErr": np.full(m, noise) * u.pix,
            "base_PsfFlux_instFlux": flux * u.ct,
            "truth": np.r_[np.flatnonzero(on) + 1000, np.zeros(false, int)],
        }
    )
    return table, RefCat.from_table(refs[rng.random(2 * n) > missing])


def error(wcs, truth):
    """Error of a WCS over the image, px (n, 2)."""
    return np.stack(truth.all_world2pix(*wcs.all_pix2world(*GRID.T, 0), 0), axis=1) - GRID


@pytest.mark.parametrize("scale", [0.2, 0.3])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_pointing_off_by_60_arcsec_and_most_of_a_degree_is_corrected(scale, seed):
    cards = header(scale=scale)
    truth = WCS(cards)
    table, refs = sky(truth, seed=seed)
    fit = AstrometrySolver().solve(table, WCS(wrong(cards)), refs, SHAPE)
    assert np.abs(error(fit.wcs, truth)).max() < 0.02
    assert (fit.matches["src_truth"] == fit.matches["ref_id"]).all()
    assert fit.shift == pytest.approx(60 / scale, rel=0.1)
    assert abs(fit.rotation) == pytest.approx(0.9, abs=0.02)
    assert len(fit.matches) > 100


@pytest.mark.parametrize("kind", ["TAN", "SIP", "PC", "CROTA", "TPV"])
def test_any_form_of_the_wcs_is_corrected_and_written_into_a_header(kind):
    cards = header(kind)
    truth = WCS(cards)
    table, refs = sky(truth, noise=0.0, seed=3)
    # polynomials of a TPV projection are turned too: a small rotation leaves them nearly what they are
    turn = 0.05 if kind == "TPV" else 0.9
    fit = AstrometrySolver().solve(table, WCS(wrong(cards, rotation=turn)), refs, SHAPE)
    assert np.abs(error(fit.wcs, truth)).max() < (5e-3 if kind == "TPV" else 1e-5)
    written = WCS(fit.wcs.to_header(relax=True))
    assert np.abs(error(written, fit.wcs)).max() < 1e-6


def test_the_given_wcs_and_the_table_stay_as_they_are():
    cards = header()
    pointed, (table, refs) = WCS(wrong(cards)), sky(WCS(cards))
    columns, before = table.colnames.copy(), pointed.to_header(relax=True)
    fit = AstrometrySolver().solve(table, pointed, refs, SHAPE)
    fit.apply(table)
    assert pointed.to_header(relax=True) == before
    assert table.colnames == columns
    assert fit.initial is pointed


@pytest.mark.parametrize("kind", ["SIP", "TPV"])
def test_a_linear_map_goes_between_distortion_and_projection(kind):
    wcs = WCS(header(kind))
    plane = TangentPlane(wcs)
    before = plane.of_sky(*sky_of(wcs, *GRID.T))
    change = Affine(Affine.of_rotation(20.0).matrix * 1.02 + [[0, 0.003], [0, 0]], np.zeros(2))
    after = plane.of_sky(*sky_of(corrected(wcs, change), *GRID.T))
    np.testing.assert_allclose(after, change(before), atol=1e-11)


def test_a_shift_moves_the_tangent_point():
    wcs = WCS(header("TAN"))
    new = corrected(wcs, Affine(np.eye(2), np.array([0.0, 0.01])))
    np.testing.assert_array_equal(new.wcs.crpix, wcs.wcs.crpix)
    assert new.wcs.crval[1] - wcs.wcs.crval[1] == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize("dec", [0.0, 80.0, -89.7])
def test_any_declination_is_solved(dec):
    cards = header(ra=0.01, dec=dec)
    truth = WCS(cards)
    table, refs = sky(truth, noise=0.0, seed=4)
    pointed = wrong(cards, offset=20.0, rotation=0.2)
    # near the pole a step in right ascension turns the field by as much
    pointed["CRVAL1"] = cards["CRVAL1"]
    fit = AstrometrySolver().solve(table, WCS(pointed), refs, SHAPE)
    assert np.abs(error(fit.wcs, truth)).max() < 1e-5


def test_proper_motions_are_applied_to_the_epoch_of_the_exposure():
    cards = header()
    truth = WCS(cards)
    table, refs = sky(truth, pm=60.0, seed=5)
    solver = AstrometrySolver()
    fit = solver.solve(table, WCS(wrong(cards)), refs, SHAPE, epoch=Time(60310.0, format="mjd"))
    assert fit.offset_mean < 0.01
    assert np.abs(error(fit.wcs, truth)).max() < 0.02
    with pytest.warns(UserWarning, match="the exposure has no date: proper motions of the references aren't applied"):
        still = solver.solve(table, WCS(wrong(cards)), refs, SHAPE)
    assert still.offset_mean > 10 * fit.offset_mean


def test_a_catalogue_that_moves_without_an_epoch_is_a_warning():
    cards = header()
    table, refs = sky(WCS(cards), pm=1.0)
    refs.table.remove_column("epoch")
    with pytest.warns(UserWarning, match="has no epoch: proper motions"):
        AstrometrySolver().solve(table, WCS(cards), refs, SHAPE, epoch=60310.0)


def test_distances_are_those_of_the_matches_on_the_sky():
    cards = header()
    table, refs = sky(WCS(cards), noise=0.1)
    fit = AstrometrySolver().solve(table, WCS(cards), refs, SHAPE)
    m = fit.matches
    east = (m["src_coord_ra"] - m["ref_coord_ra"]) * np.cos(np.radians(m["ref_coord_dec"].value)) * 3600
    expected = np.hypot(east, (m["src_coord_dec"] - m["ref_coord_dec"]) * 3600)
    np.testing.assert_allclose(m["distance"], expected, rtol=1e-4)
    assert m["distance"].unit == u.arcsec
    assert fit.offset_mean == pytest.approx(expected.mean(), rel=1e-4)
    assert fit.offset_median == pytest.approx(np.median(expected), rel=1e-4)
    assert fit.offset_std == pytest.approx(expected.std(), rel=1e-3)
    # a Rayleigh distribution of 0.1 px of 0.2 arcsec in each axis
    assert fit.offset_mean == pytest.approx(0.02 * np.sqrt(np.pi / 2), rel=0.15)
    np.testing.assert_allclose(np.hypot(*fit.residuals[:, 2:].T) * 0.2, expected, rtol=2e-2)
    cards = fits.Header()
    cards.update(fit.cards())
    assert cards["SFM_ASTROM_OFFSET_MEAN"] == fit.offset_mean


def test_matches_hold_columns_of_sources_and_references():
    table, refs = sky(WCS(header()))
    fit = AstrometrySolver().solve(table, WCS(header()), refs, SHAPE)
    assert {"ref_id", "ref_coord_ra", "ref_r_flux", "src_id", "src_slot_Centroid_x", "distance"} <= set(
        fit.matches.colnames
    )
    rows = np.searchsorted(table["id"], fit.matches["src_id"])
    np.testing.assert_array_equal(table["slot_Centroid_x"][rows], fit.matches["src_slot_Centroid_x"])
    assert f"{len(fit.matches)} pairs of {len(table)} sources" in repr(fit)


def test_applying_a_fit_gives_positions_errors_and_the_flag():
    table, refs = sky(WCS(header()), noise=0.05)
    fit = AstrometrySolver().solve(table, WCS(header()), refs, SHAPE)
    made = fit.apply(table)
    np.testing.assert_array_equal(made["id"][made["calib_astrometry_used"]], np.sort(fit.matches["src_id"]))
    assert made["coord_ra"].unit == u.deg
    x, y = fit.wcs.all_world2pix(made["coord_ra"], made["coord_dec"], 0)
    np.testing.assert_allclose([x, y], [table["slot_Centroid_x"], table["slot_Centroid_y"]], atol=1e-6)
    # errors that are alike in x and y are alike on the sky, and uncorrelated
    for name in ("coord_raErr", "coord_decErr"):
        np.testing.assert_allclose(made[name].quantity.to_value("arcsec"), 0.05 * 0.2, rtol=0.01)
    correlation = made["coord_ra_dec_Cov"] / made["coord_raErr"] / made["coord_decErr"]
    assert np.abs(correlation).max() < 0.01


def test_only_candidates_with_a_good_centroid_are_matched():
    table, refs = sky(WCS(header()))
    table["calib_psf_candidate"] = np.arange(len(table)) % 2 == 0
    table["slot_Centroid_flag"] = np.arange(len(table)) % 6 == 0
    fit = AstrometrySolver().solve(table, WCS(header()), refs, SHAPE)
    used = np.isin(table["id"], fit.matches["src_id"])
    assert used.any()
    assert not used[~table["calib_psf_candidate"] | table["slot_Centroid_flag"]].any()


def test_pairs_of_unlike_brightness_are_left_out():
    table, refs = sky(WCS(header()), spurious=0.0)
    table["base_PsfFlux_instFlux"][10:20] *= 15
    fit = AstrometrySolver().solve(table, WCS(header()), refs, SHAPE)
    assert not np.isin(table["id"][10:20], fit.matches["src_id"]).any()


def test_references_without_brightness_do():
    table, refs = sky(WCS(header()))
    refs.table.remove_columns([name for name in refs.table.colnames if "flux" in name])
    fit = AstrometrySolver().solve(table, WCS(wrong(header())), refs, SHAPE)
    assert np.abs(error(fit.wcs, WCS(header()))).max() < 0.02


def test_a_wcs_without_distortion_gets_one_by_the_sip_fitter():
    truth = WCS(header("SIP"))
    table, refs = sky(truth, n=900)
    pointed = WCS(wrong(header("TAN")))
    flat = AstrometrySolver().solve(table, pointed, refs, SHAPE)
    bent = AstrometrySolver(fitter=SipFitter(order=3)).solve(table, pointed, refs, SHAPE)
    assert np.abs(error(flat.wcs, truth)).max() > 0.1
    assert np.abs(error(bent.wcs, truth)).max() < 0.03
    written = WCS(bent.wcs.to_header(relax=True))
    assert written.wcs.ctype[0] == "RA---TAN-SIP"
    assert np.abs(error(written, bent.wcs)).max() < 1e-6
    # polynomials for the way back, for those who don't iterate
    foc = bent.wcs.sip_pix2foc(*GRID.T, 0)
    back = np.stack(bent.wcs.sip_foc2pix(*foc, 0), axis=1)
    np.testing.assert_allclose(back, GRID - (bent.wcs.wcs.crpix - 1) + (bent.wcs.wcs.crpix - 1), atol=0.01)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_sip_fitter_recovers_a_distortion_of_its_order(order):
    cards = header("SIP")
    if order == 2:
        for key in ("A_3_0", "B_0_3"):
            del cards[key]
    truth = WCS(cards)
    pixels = np.random.default_rng(6).uniform(0, 1500, (200, 2))
    places = np.stack(truth.all_pix2world(*pixels.T, 0), axis=1)
    fit = SipFitter(order=order).fit(pixels, places, wcs=WCS(header("TAN")), shape=SHAPE)
    assert fit.used.all()
    assert np.abs(error(fit.wcs, truth)[GRID[:, 0] < 1500]).max() < 1e-4


def test_the_sip_fitter_needs_sources_and_an_order_that_is_known():
    with pytest.raises(DataError, match="2, 3 or 4, found 5"):
        SipFitter(order=5)
    pixels = np.random.default_rng(7).uniform(0, 1500, (12, 2))
    with pytest.raises(DataError, match="order 3 needs 15 sources, found 12; lower the order"):
        SipFitter(order=3).fit(pixels, pixels, wcs=WCS(header()), shape=SHAPE)


def test_few_sources_are_fitted_by_a_rotation_and_a_shift():
    truth = WCS(header("TAN"))
    pixels = np.array([[100.0, 100], [1800, 200], [300, 1400], [1500, 900]])
    places = np.stack(truth.all_pix2world(*pixels.T, 0), axis=1)
    fit = AffineFitter().fit(pixels, places, wcs=WCS(wrong(header("TAN"))), shape=SHAPE)
    assert np.abs(error(fit.wcs, truth)).max() < 1e-4
    stretched = AffineFitter().fit(pixels * 1.001, places, wcs=truth, shape=SHAPE).wcs
    np.testing.assert_allclose(np.linalg.det(stretched.wcs.cd), np.linalg.det(truth.wcs.cd), rtol=1e-9)


def test_nearest_neighbours_do_where_the_wcs_is_nearly_right():
    cards = header()
    table, refs = sky(WCS(cards))
    solver = AstrometrySolver(matcher=NearestMatcher(radius=4.0))
    fit = solver.solve(table, WCS(wrong(cards, offset=0.4, rotation=0.0)), refs, SHAPE)
    assert np.abs(error(fit.wcs, WCS(cards))).max() < 0.02
    with pytest.raises(NoPatternMatchError, match="no source is within 4 px"):
        solver.solve(table[:4], WCS(wrong(cards, offset=60.0, rotation=0.9)), refs, SHAPE)


def test_any_object_with_a_match_method_is_a_matcher():
    cards = header()
    table, refs = sky(WCS(cards))

    @dataclass(frozen=True)
    class Known:
        def match(self, sources, references):
            found = PatternMatcher().match(sources, references)
            return PatternMatch(found.source[:20], found.reference[:20], found.map, 1.0, 0.0)

    fit = AstrometrySolver(matcher=Known(), max_iter=1).solve(table, WCS(cards), refs, SHAPE)
    assert fit.rounds[0].n_pairs == 20


def test_the_wrong_field_is_an_error_with_what_was_compared():
    cards = header()
    table, _ = sky(WCS(cards), seed=1)
    refs = sky(WCS(cards), seed=2)[1]
    with pytest.raises(NoPatternMatchError, match=r"sources aren't found among the [0-9]+ references") as caught:
        AstrometrySolver().solve(table, WCS(cards), refs, SHAPE)
    assert caught.value.sources.shape == (len(table), 2)
    assert caught.value.references.shape[1] == 2


def test_a_bad_fit_is_an_error_that_keeps_the_fit():
    cards = header()
    table, refs = sky(WCS(cards), noise=0.3)
    with pytest.raises(
        BadAstrometryFitError, match=re.escape("from their references on average, more than 0.01")
    ) as bad:
        AstrometrySolver(max_mean_distance=0.01).solve(table, WCS(cards), refs, SHAPE)
    assert bad.value.fit.offset_mean > 0.01
    assert len(bad.value.fit.matches) > 50


def test_another_region_is_an_error():
    table, refs = sky(WCS(header()))
    with pytest.raises(DataError, match="no reference source lies in the box of the image"):
        AstrometrySolver().solve(table, WCS(header(ra=200.0)), refs, SHAPE)


@pytest.mark.parametrize(
    ("wcs", "message"),
    [
        (None, "there is no WCS to start from; give"),
        (WCS(naxis=2), "should have two celestial axes, found ['', '']"),
        (object(), "an astropy.wcs.WCS is needed, found object"),
    ],
)
def test_no_wcs_at_all_is_an_error(wcs, message):
    table, refs = sky(WCS(header()))
    with pytest.raises(DataError, match=re.escape(message)):
        AstrometrySolver().solve(table, wcs, refs, SHAPE)


def test_a_matrix_that_cannot_be_inverted_is_an_error():
    cards = header("TAN")
    cards["CD2_1"], cards["CD2_2"] = cards["CD1_1"], cards["CD1_2"]
    table, refs = sky(WCS(header()))
    with pytest.raises(DataError, match="can't be inverted"):
        AstrometrySolver().solve(table, WCS(cards), refs, SHAPE)


def test_too_few_sources_are_an_error_that_tells_what_was_left_out():
    table, refs = sky(WCS(header()))
    table["calib_psf_candidate"] = np.arange(len(table)) < 8
    table["slot_Centroid_x"][:5] = np.nan
    with pytest.raises(DataError, match=r"3 sources can be matched, 4 are needed: of .* 8 are chosen .* 3 of these"):
        AstrometrySolver().solve(table, WCS(header()), refs, SHAPE)


def test_a_table_without_the_flux_is_an_error_that_names_those_that_are_there():
    table, refs = sky(WCS(header()))
    with pytest.raises(DataError, match=r"no column 'other_instFlux' \(found: base_PsfFlux_instFlux\)"):
        replace(AstrometrySolver(), flux="other").solve(table, WCS(header()), refs, SHAPE)


def test_numbers_of_a_matcher_are_positive():
    with pytest.raises(DataError, match="are positive"):
        PatternMatcher(max_shift=0.0)
