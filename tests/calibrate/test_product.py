"""Products of a calibrated frame: names, units, and all of them or none."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from corontools import CalibratedImage, DataError, RefCat, replay
from corontools.calibrate import Plane, calibrate
from corontools.calibrate.background import BackgroundList
from corontools.calibrate.product import TABLES, product_names, psf_from_hdu, psf_to_hdu, read_visit_image
from corontools.calibrate.psf import GaussianPSF
from corontools.simulate import star_field


@pytest.fixture(scope="module")
def field():
    return star_field(1024, seed=5)


@pytest.fixture(scope="module")
def refcat(field):
    return RefCat.from_table(field.refcat())


@pytest.fixture(scope="module")
def made(field, refcat):
    return calibrate(field.exposures[0], refcat, steps={"photometry": {"band": "r"}})


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("visit") / "out"
    made.save(path)
    return path


def test_all_products_have_the_names_of_the_spec(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(product_names())
    assert {"preliminary_visit_image.fits", "single_visit_star_unstandardized.fits"} <= set(product_names())


def test_the_image_comes_back_with_wcs_and_psf(made, folder):
    visit = read_visit_image(folder / "preliminary_visit_image.fits")
    np.testing.assert_array_equal(visit.frame.image, made.calibrated_frame.image)
    np.testing.assert_array_equal(visit.frame.mask, made.frame.mask)
    np.testing.assert_array_equal(visit.frame.variance, made.calibrated_frame.variance)
    x, y = np.array([3.0, 900.0]), np.array([20.0, 500.0])
    np.testing.assert_allclose(visit.psf.images(x, y), made.psf.images(x, y), atol=1e-7)
    np.testing.assert_allclose(visit.wcs.all_pix2world(x, y, 0), made.wcs.all_pix2world(x, y, 0), atol=1e-9)
    assert visit.meta.unit == "nJy"
    assert visit.summary["zeroPoint"][0] == pytest.approx(made.zero_point)


def test_headers_tell_what_was_applied(made, folder):
    with fits.open(folder / "preliminary_visit_image.fits") as hdus:
        header = hdus[0].header
        assert header["CALMEAN"] == pytest.approx(made.photometry.calibration_mean)
        assert header["PHOTOCAL"] == 1.0
        assert header["SFM_ASTROM_OFFSET_MEAN"] == pytest.approx(made.astrometry.offset_mean)
        assert hdus["IMAGE"].header["BUNIT"] == "nJy"
        assert hdus["MASK"].header["MP_DETECTED"] == 5
        assert 1 << hdus["MASK"].header["MP_CR"] == Plane.CR


def test_catalogues_have_units_and_the_recipe_of_the_spec_works(made, folder):
    tables = {name: Table.read(folder / f"{name}.fits") for name in TABLES}
    stars, psf_stars = tables["single_visit_star_unstandardized"], tables["single_visit_psf_star"]
    assert stars["base_PsfFlux_flux"].unit == "nJy"
    assert stars["base_PsfFlux_instFlux"].unit == "ct"
    assert stars["coord_ra"].unit == "deg"
    assert stars["base_PsfFlux_mag"].unit == "mag"
    assert len(stars) == len(made.stars)
    assert "base_PsfFlux_flux" not in psf_stars.colnames
    shared, first, second = np.intersect1d(psf_stars["id"], stars["psf_id"], return_indices=True)
    assert shared.size > 20
    near = np.hypot(*(psf_stars[f"slot_Centroid_{a}"][first] - stars[f"slot_Centroid_{a}"][second] for a in "xy"))
    assert near.max() < 3
    astrometry, photometry = (tables[f"initial_{name}_match_detector"] for name in ("astrometry", "photometry"))
    assert np.intersect1d(astrometry["src_id"], photometry["src_psf_id"]).size > 15


def test_backgrounds_come_back_round_by_round(made, folder):
    with fits.open(folder / "preliminary_visit_image_background.fits") as hdus:
        rounds = BackgroundList.from_hdus(hdus)
        total = hdus["BACKGROUND_SUM"].data
    assert len(rounds) == 4
    np.testing.assert_allclose(rounds.image(), made.background.image(), rtol=1e-6)
    np.testing.assert_array_equal(total, made.background.image())


def test_footprints_belong_to_the_psf_stars(made, folder):
    with fits.open(folder / "single_visit_psf_star_footprints.fits") as hdus:
        labels = hdus["LABELS"].data
    star = made.psf_stars[np.asarray(made.psf_stars["calib_psf_used"])][0]
    y, x = (int(np.floor(star[f"slot_Centroid_{axis}"] + 0.5)) for axis in "yx")
    assert labels[y, x] == star["footprint"]


def test_nothing_is_written_over_or_half(made, folder, tmp_path, monkeypatch):
    with pytest.raises(FileExistsError, match="preliminary_visit_image"):
        made.save(folder)
    monkeypatch.setattr("corontools.calibrate.product._footprints", lambda made: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(DataError, match=r"call \.solve_photometry"):
        made.with_(photometry=None).save(tmp_path / "new")


def test_catalogues_can_be_parquet(made, tmp_path):
    pytest.importorskip("pyarrow")
    made.save(tmp_path, parquet=True)
    stars = Table.read(tmp_path / "single_visit_star_unstandardized.parquet")
    assert len(stars) == len(made.stars)


def test_the_history_of_the_image_is_the_chain(made, folder, refcat):
    with pytest.raises(DataError, match="hand it over with arrays"):
        replay(folder / "preliminary_visit_image.fits")
    again = replay(folder / "preliminary_visit_image.fits", arrays=[made.exposure, refcat.table])
    assert isinstance(again, CalibratedImage)
    assert again.zero_point == made.zero_point


def test_another_file_is_told(tmp_path):
    fits.PrimaryHDU(np.ones((3, 3))).writeto(tmp_path / "a.fits")
    with pytest.raises(DataError, match=r"is no preliminary_visit_image: it has no extension IMAGE"):
        read_visit_image(tmp_path / "a.fits")


@pytest.mark.parametrize(
    ("name", "extension", "cards", "message"),
    [("preliminary_visit_image", "PSF", {"STRTCH00": "x"}, "can't be read as FITS: could not convert"),
     ("preliminary_visit_image", "PSF", {"PSFMODEL": "gaussian", "PSFSIZE": 9}, "can't be read as FITS"),
     ("preliminary_visit_image_background", "BACKGROUND", {"BIN_SIZE": 1}, r"a background of .* bins, which isn't"),
     ("preliminary_visit_image_background", "BACKGROUND", {"BIN_SIZE": 0}, "isn't one of"),
     ("preliminary_visit_image_background", "BACKGROUND", {"BG_ORDER": 10**6}, "isn't one of"),
     ("preliminary_visit_image_background", "BACKGROUND", {"BG_STYLE": "x"}, "isn't one of"),
     ("preliminary_visit_image_background", "BACKGROUND", {"IMAGE_NX": "x"}, "background.fits can't be read as FITS")],
)  # fmt: skip
def test_a_damaged_product_is_refused(folder, tmp_path, name, extension, cards, message):
    for one in ("preliminary_visit_image", "preliminary_visit_image_background"):
        (tmp_path / f"{one}.fits").write_bytes((folder / f"{one}.fits").read_bytes())
    with fits.open(tmp_path / f"{name}.fits", mode="update") as hdus:
        hdus[extension].header.update(cards)
    with pytest.raises(DataError, match=message):
        read_visit_image(tmp_path / "preliminary_visit_image.fits")


def test_a_psf_wider_than_any_is_refused():
    hdu = psf_to_hdu(GaussianPSF(1.7, 9))
    hdu.header["PSFSIZE"] = 10**9 + 1
    with pytest.raises(DataError, match="a PSF is at most 2047 px wide, found PSFSIZE = 1000000001"):
        psf_from_hdu(hdu)
