"""Catalogues and frames of real telescopes; skipped where they aren't at hand."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from astropy.wcs import WCS, FITSFixedWarning

from corontools.arrays.affine import fit_affine
from corontools.calibrate.astrometry import AstrometrySolver
from corontools.calibrate.color import gaia_dr2_to_sdss
from corontools.calibrate.photometry import ZeroPointFitter
from corontools.calibrate.refcat import RefCat
from corontools.calibrate.wcsfit import AffineFitter, SipFitter

pytestmark = pytest.mark.real


def at_hand(path):
    if not path.exists():
        pytest.skip(f"no real data: {path} does not exist")
    return path


def tangent(center, matrix, crpix):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cd = center, crpix, matrix
    wcs.wcs.set()
    return wcs


# --- a frame of Las Cumbres Observatory: catalogue of 2752 sources, each with its reference ---


@pytest.fixture(scope="module")
def lco(data_folder):
    """Good sources, all references, and a WCS that is some px off."""
    path = at_hand(data_folder / "banzai_cat" / "cpt1m012-fa06-20200113-0102-matched-cat.fits")
    table = Table.read(path)
    refs = RefCat.from_table(table, epoch=Time(2015.5, format="jyear"))
    n = np.arange(1, len(table) + 1)
    sources = Table({"id": n, "slot_Centroid_x": table["x"] - 1, "slot_Centroid_y": table["y"] - 1})
    sources["base_PsfFlux_instFlux"], sources["base_PsfFlux_instFluxErr"] = table["flux"], table["fluxerr"]
    good = (table["flag"] == 0) & (table["flux"] > 20 * table["fluxerr"]) & (table["fluxerr"] > 0)
    center = np.array([table["ra"].mean(), table["dec"].mean()])
    plane = (np.stack([table["ra"], table["dec"]], axis=1) - center) * [np.cos(np.radians(center[1])), 1]
    rough = fit_affine(np.stack([table["x"], table["y"]], axis=1), plane)
    return sources[good], refs, tangent(center + 0.02, rough.matrix, (2048, 2048))


def test_a_frame_is_matched_from_two_hundred_pixels_away_without_a_false_pair(lco):
    sources, refs, wcs = lco
    fit = AstrometrySolver(band="i").solve(sources, wcs, refs, (4096, 4096), epoch=Time("2020-01-13"))
    assert fit.shift > 200
    assert len(fit.matches) > 1900
    assert np.mean(fit.matches["src_id"] == fit.matches["ref_id"]) > 0.999
    assert fit.offset_mean < 0.1


@pytest.mark.parametrize(("order", "ra_rms", "dec_rms"), [(2, 0.072, 0.081), (3, 0.032, 0.035)])
def test_a_polynomial_leaves_no_more_than_the_residuals_on_record(lco, order, ra_rms, dec_rms):
    sources, refs, wcs = lco
    pixels = np.stack([sources["slot_Centroid_x"], sources["slot_Centroid_y"]], axis=1)
    sky = np.stack([refs.table["coord_ra"], refs.table["coord_dec"]], axis=1)[np.asarray(sources["id"]) - 1]
    fit = SipFitter(order=order).fit(pixels, sky, wcs=wcs, shape=(4096, 4096))
    ra, dec = fit.wcs.all_pix2world(*pixels.T, 0)
    assert fit.used.mean() > 0.8
    assert np.std(((ra - sky[:, 0]) * np.cos(np.radians(sky[:, 1])))[fit.used]) * 3600 < ra_rms
    assert np.std((dec - sky[:, 1])[fit.used]) * 3600 < dec_rms


@pytest.mark.parametrize("floor", [0.0, 0.03])
def test_the_zero_point_of_a_frame_is_that_on_record(lco, floor):
    sources, refs, wcs = lco
    fitted = AstrometrySolver(band="i", fitter=SipFitter(order=3))
    wcs = fitted.solve(sources, wcs, refs, (4096, 4096), epoch=57205.875).wcs
    fit = ZeroPointFitter(band="i", floor=floor).fit(sources, wcs, refs, epoch=57205.875)
    assert fit.zero_point == pytest.approx(29.093, abs=0.01)
    assert fit.scatter == pytest.approx(0.048, abs=0.006)
    assert np.sum(fit.matches["photometry_used"]) > 2000


# --- a piece of a DECam frame with a few stars of Gaia DR2 ---


@pytest.fixture(scope="module")
def decam(data_folder):
    """Image, WCS, mid-exposure MJD, references, and sources measured where Gaia has some."""
    root = at_hand(data_folder / "legacypipe_decam" / "testcase8")
    folder = root / "images" / "decam" / "CP" / "V4.8.2a" / "CP20171112"
    names = {kind: folder / f"c4d_171113_060340_{kind}_r_ls9.N6.fits" for kind in ("ooi", "oow", "ood")}
    with fits.open(names["ooi"]) as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        image, wcs = hdus[1].data.astype(float), WCS(hdus[1].header)
        mjd = hdus[0].header["MJD-OBS"] + hdus[0].header["EXPTIME"] / 2 / 86400
    weight, flags = fits.getdata(names["oow"], 1), fits.getdata(names["ood"], 1)
    refs = RefCat.read(sorted((root / "gaia").glob("chunk-*.fits")))
    return measured(image, weight, flags != 0, refs.inside(wcs, image.shape, margin=0).at(mjd), wcs), wcs, mjd, refs


def measured(image, weight, bad, refs, wcs):
    """Gaussians fitted at the references, those that blend together; nearly whole stars on the detector only."""
    from photutils.background import LocalBackground
    from photutils.psf import GaussianPRF, PSFPhotometry, SourceGrouper

    x, y = wcs.all_world2pix(refs.table["coord_ra"], refs.table["coord_dec"], 0)
    star = GaussianPRF(x_fwhm=4.02, y_fwhm=4.02)  # of the header
    background = LocalBackground(10, 16)
    fitter = PSFPhotometry(star, (9, 9), grouper=SourceGrouper(8), local_bkg_estimator=background, aperture_radius=6)
    error = 1 / np.sqrt(np.maximum(weight, 1e-12))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fitter(image, error=error, mask=bad, init_params=Table({"x": x, "y": y}))
    table = Table({"id": refs.table["id"], "slot_Centroid_x": found["x_fit"], "slot_Centroid_y": found["y_fit"]})
    table["base_PsfFlux_instFlux"], table["base_PsfFlux_instFluxErr"] = found["flux_fit"], found["flux_err"]
    table["as_listed"] = np.hypot(found["x_fit"] - x, found["y_fit"] - y)
    return table[found["flags"] == 0]


def test_a_few_stars_of_gaia_correct_a_decam_frame(decam):
    sources, wcs, mjd, refs = decam
    assert len(sources) == 7
    before = np.sqrt(np.mean(sources["as_listed"] ** 2))
    assert 0.25 < before < 0.4
    fit = AstrometrySolver().solve(sources, wcs, refs, (375, 280), epoch=mjd)
    assert len(fit.matches) == 7
    np.testing.assert_array_equal(fit.matches["src_id"], fit.matches["ref_id"])
    after = np.sqrt(np.mean(fit.residuals[:, 2:] ** 2, axis=0))
    assert np.hypot(*after) < 0.2
    # a TPV header, written and read
    written = WCS(fit.wcs.to_header(relax=True))
    corners = np.array([[0, 0], [279, 0], [0, 374], [279, 374.0]])
    np.testing.assert_allclose(written.all_pix2world(corners, 0), fit.wcs.all_pix2world(corners, 0), atol=1e-9)


def test_the_zero_point_of_a_decam_frame_is_near_that_on_record(decam):
    sources, wcs, mjd, refs = decam
    solved = AstrometrySolver().solve(sources, wcs, refs, (375, 280), epoch=mjd).wcs
    term = gaia_dr2_to_sdss("r")
    fit = ZeroPointFitter(color_term=term).fit(sources, solved, refs, epoch=mjd)
    assert fit.zero_point - 2.5 * np.log10(45.0) == pytest.approx(25.17, abs=0.2)
    assert fit.band == str(term)


# --- shards of LSST's reference catalogues ---


def test_a_shard_of_gaia_is_read_and_moves(data_folder):
    path = at_hand(data_folder / "refcat_lsst_format" / "gaia_dr2_20200414_189584.fits")
    refs = RefCat.read(path)
    assert len(refs) == 2762
    assert refs.bands == ("phot_g_mean", "phot_bp_mean", "phot_rp_mean")
    raw = fits.getdata(path, 1)
    np.testing.assert_allclose(refs.table["coord_ra"], np.degrees(np.asarray(raw["coord_ra"])))
    np.testing.assert_allclose(refs.fluxes("phot_g_mean")[0], raw["phot_g_mean_flux"])
    later = refs.at(Time(2025.5, format="jyear"))
    shift = (later.table["coord_dec"] - refs.table["coord_dec"]) * 3.6e6
    years = (Time(2025.5, format="jyear").mjd - np.asarray(raw["epoch"])) / 365.25
    expected = np.asarray(raw["pm_dec"]) * u.rad.to(u.mas) * years
    # parallaxes are what is left
    assert np.all(np.abs(shift - expected) <= 1.02 * np.abs(refs.table["parallax"]) + 1e-3)


def test_a_folder_of_shards_is_put_together(data_folder):
    folder = at_hand(data_folder / "refcat_lsst_format")
    refs = RefCat.read(folder)
    assert len(refs) == 2762 + 2628
    assert set(refs.bands) >= {"phot_g_mean", "r", "i"}
    sdss = RefCat.read(folder / "sdss-dr9-fink-v5b_225822.fits")
    assert {"photometric", "resolved"} <= set(sdss.table.colnames)
    assert not sdss.moves
    sdss_r = sdss.magnitudes("r")[0]
    assert 14 < np.nanmedian(sdss_r) < 24


# --- a crowded field of the Large Magellanic Cloud ---


@pytest.fixture(scope="module")
def lmc(data_folder):
    return RefCat.read(at_hand(data_folder / "jwst_calfield" / "JWST_CALFIELD2020.csv"))


def test_a_crowded_field_is_matched_with_half_of_its_stars(lmc):
    assert len(lmc) == 70955
    scale = 0.063 / 3600  # NIRCam, long wavelengths
    truth = tangent((80.4875, -69.4975), np.array([[-scale, 0], [0, scale]]), (1024, 1024))
    refs = lmc.inside(truth, (2048, 2048))
    assert 1000 < len(refs) < 20000
    rng = np.random.default_rng(1)
    x, y = truth.all_world2pix(refs.table["coord_ra"], refs.table["coord_dec"], 0)
    seen = (x > 0) & (x < 2047) & (y > 0) & (y < 2047) & (refs.magnitudes("V")[0] < 21) & (rng.random(len(refs)) < 0.5)
    n = int(seen.sum())
    sources = Table({"id": np.asarray(refs.table["id"])[seen]})
    for axis, place in (("x", x), ("y", y)):
        sources[f"slot_Centroid_{axis}"] = place[seen] + rng.normal(0, 0.05, n)
    sources["base_PsfFlux_instFlux"] = refs.fluxes("V")[0][seen] * (1 + rng.normal(0, 0.1, n))
    turn = np.radians(0.8)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    pointed = tangent((80.4875 + 0.008, -69.4975 - 0.003), turned @ truth.wcs.cd, (1024, 1024))
    fit = AstrometrySolver(fitter=AffineFitter()).solve(sources, pointed, lmc, (2048, 2048))
    assert fit.shift > 200
    assert np.mean(fit.matches["src_id"] == fit.matches["ref_id"]) > 0.99
    corners = np.array([[0, 0], [2047, 0], [0, 2047], [2047, 2047.0]])
    back = truth.all_world2pix(fit.wcs.all_pix2world(corners, 0), 0)
    np.testing.assert_allclose(back, corners, atol=0.02)
