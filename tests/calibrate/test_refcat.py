"""Reference catalogues and colour terms."""

import re

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table
from astropy.time import Time
from astropy.wcs import WCS

from corontools.arrays.sky import separation
from corontools.calibrate.color import ColorTerm, gaia_dr2_to_sdss
from corontools.calibrate.refcat import RefCat
from corontools.errors import DataError


def lsst_table(n=20, seed=1):
    """As the shards of LSST have it."""
    rng = np.random.default_rng(seed)
    flux = 10 ** rng.uniform(4, 6, n)
    return Table(
        {
            "id": np.arange(7, 7 + n),
            "coord_ra": np.radians(rng.uniform(10, 10.1, n)) * u.rad,
            "coord_dec": np.radians(rng.uniform(-5.1, -5, n)) * u.rad,
            "epoch": np.full(n, 57388.5) * u.day,
            "pm_ra": rng.normal(0, 1e-7, n) * u.rad,
            "pm_dec": rng.normal(0, 1e-7, n) * u.rad / u.yr,
            "r_flux": flux * u.nJy,
            "r_fluxErr": flux / 50 * u.nJy,
        }
    )


def tangent(ra=10.05, dec=-5.05, scale=0.2, size=1000):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix = (ra, dec), (size / 2, size / 2)
    wcs.wcs.cd = np.diag([-scale, scale]) / 3600
    wcs.wcs.set()
    return wcs


def test_columns_of_lsst_are_known_and_get_one_set_of_units():
    table = lsst_table()
    refs = RefCat.from_table(table)
    assert refs.bands == ("r",)
    assert refs.table["coord_ra"].unit == u.deg
    np.testing.assert_allclose(refs.table["coord_ra"], np.degrees(table["coord_ra"].value))
    np.testing.assert_array_equal(refs.table["id"], table["id"])
    # radians mean radians a year in some shards
    for name in ("pm_ra", "pm_dec"):
        assert refs.table[name].unit == u.mas / u.yr
        np.testing.assert_allclose(refs.table[name], np.degrees(table[name].value) * 3.6e6)
    magnitude, err = refs.magnitudes("r")
    np.testing.assert_allclose(magnitude, table["r_flux"].quantity.to_value(u.ABmag))
    np.testing.assert_allclose(err, 1.0857 / 50, rtol=1e-4)


def test_columns_of_gaia_are_known_and_magnitudes_become_ab():
    table = Table(
        {
            "source_id": [5, 6],
            "RA": [1.0, 2.0],
            "DEC": [3.0, 4.0],
            "pmra": MaskedColumn([-3.0, 0.0], mask=[False, True]),
            "pmdec": [1.0, np.nan],
            "ref_epoch": [2015.5, 2015.5],
            "phot_g_mean_mag": [15.0, 16.0],
            "phot_g_mean_flux_over_error": [100.0, 50.0],
        }
    )
    refs = RefCat.from_table(table)
    assert refs.bands == ("phot_g_mean",)
    magnitude, err = refs.magnitudes("phot_g_mean")
    # DR2: 25.7934 (AB) - 25.6884 (Vega)
    np.testing.assert_allclose(magnitude, [15.105, 16.105])
    np.testing.assert_allclose(err, [0.010857, 0.021715], rtol=1e-3)
    assert refs.table["epoch"][0] == pytest.approx(Time(2015.5, format="jyear").mjd)
    assert np.isnan(refs.table["pm_ra"][1])
    table["ref_epoch"] = 2016.0
    assert RefCat.from_table(table).magnitudes("phot_g_mean")[0][0] == pytest.approx(15.1136)


def test_columns_are_mapped_by_name():
    table = Table({"alpha": [10.0, 11.0] * u.hourangle, "delta": [3.0, 4.0], "inst": [1.0, 2.0], "e": [0.1, 0.1]})
    refs = RefCat.from_table(
        table,
        columns={"ra": "alpha", "dec": "delta", "R": "inst", "R_err": "e"},
        units={"R": "mJy"},
    )
    np.testing.assert_allclose(refs.table["coord_ra"], [150, 165])
    assert refs.bands == ("R",)
    flux, err = refs.fluxes("R")
    np.testing.assert_allclose(flux, [1e6, 2e6])
    np.testing.assert_allclose(err, 1e5)
    np.testing.assert_array_equal(refs.table["id"], [1, 2])


def test_vega_magnitudes_of_other_bands_need_to_be_told():
    table = Table({"VMAG": [20.0], "RA": [80.0], "DEC": [-69.0]})
    assert RefCat.from_table(table).magnitudes("V")[0][0] == pytest.approx(20)
    assert RefCat.from_table(table, to_ab={"V": -0.044}).magnitudes("V")[0][0] == pytest.approx(19.956)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {"ra": "nothing"}}, "column 'nothing', named for 'ra', isn't there (found: ra, dec, counts)"),
        ({"columns": {"r": "counts"}}, "column 'counts' has no unit; name it, units={'r': 'nJy'}"),
        ({"columns": {"r": "counts"}, "units": {"r": "ct"}}, "is in ct; a flux or magnitude is needed"),
        ({"units": {"ra": "m"}}, "ra is in deg, column 'ra' in m"),
    ],
)
def test_columns_that_are_not_what_they_should_be_are_named(change, message):
    table = Table({"ra": [1.0], "dec": [2.0], "counts": [3.0]})
    with pytest.raises(DataError, match=re.escape(message)):
        RefCat.from_table(table, **change)


def test_a_table_without_positions_is_an_error_that_names_its_columns():
    with pytest.raises(DataError, match=r"hold ra and dec \(found: x, y\); name it, columns=\{'ra': \.\.\.\}"):
        RefCat.from_table(Table({"x": [1], "y": [2]}))
    with pytest.raises(DataError, match="is empty"):
        RefCat.from_table(Table({"ra": [], "dec": []}))
    with pytest.raises(DataError, match="none of the 2 rows has a finite position"):
        RefCat.from_table(Table({"ra": [np.nan, np.nan], "dec": [1.0, 2.0]}))


def test_positions_that_are_not_numbers_are_an_error():
    with pytest.raises(DataError, match="column 'ra' should hold numbers"):
        RefCat.from_table(Table({"ra": ["10:00:00"], "dec": [2.0]}))


def test_a_band_that_is_not_there_is_an_error_that_names_those_that_are():
    with pytest.raises(DataError, match=r"no band 'z' \(found: r\)"):
        RefCat.from_table(lsst_table()).magnitudes("z")


def test_rows_without_a_position_are_left_out():
    table = lsst_table()
    table["coord_ra"][3] = np.nan
    assert len(RefCat.from_table(table)) == 19


def test_motions_that_are_flagged_count_as_unknown():
    table = lsst_table(3)
    table["flags"] = np.array([[True, False], [False, False], [False, True]])
    table.meta.update(TFLAG1="pm_flag", TFLAG2="parallax_flag")
    refs = RefCat.from_table(table)
    assert np.isnan(refs.table["pm_ra"]).tolist() == [True, False, False]
    moved = refs.at(60000.0)
    assert moved.table["coord_dec"][0] == refs.table["coord_dec"][0]


def test_sources_move_to_an_epoch():
    table = Table({"ra": [100.0, 100.0], "dec": [60.0, 60.0], "pmra": [1000.0, np.nan], "pmdec": [-500.0, np.nan]})
    refs = RefCat.from_table(table, epoch=Time(2000.0, format="jyear"))
    later = refs.at(Time(2020.0, format="jyear"))
    shift = separation(later.table["coord_ra"], later.table["coord_dec"], [100.0, 100.0], [60.0, 60.0])
    np.testing.assert_allclose(shift, [20 * np.hypot(1, 0.5), 0], rtol=1e-6)
    assert later.table["coord_ra"][0] - 100 == pytest.approx(20 / 3600 / np.cos(np.radians(60)), rel=1e-3)
    assert later.table["epoch"][0] == pytest.approx(Time(2020.0, format="jyear").mjd)
    assert refs.table["coord_ra"][0] == 100.0


def test_errors_of_positions_grow_by_those_of_motions():
    table = Table({"ra": [1.0], "dec": [2.0], "ra_error": [3.0], "pmra": [9.0], "pmra_error": [0.4]})
    table["pmdec"] = 0.0
    later = RefCat.from_table(table, epoch=51544.5).at(51544.5 + 3652.5)
    assert later.table["coord_raErr"].to("mas")[0].value == pytest.approx(5.0)


def test_parallax_makes_a_star_go_round_in_a_year():
    table = Table({"ra": [270.0], "dec": [66.56], "parallax": [500.0]})  # the pole of the ecliptic
    refs = RefCat.from_table(table, epoch=57388.5)
    shifts = [separation(*_place(refs.at(mjd)), 270.0, 66.56)[0] for mjd in 60000 + np.arange(0, 365, 30)]
    np.testing.assert_allclose(shifts, 0.5, rtol=0.03)


def _place(refs):
    return refs.table["coord_ra"], refs.table["coord_dec"]


def test_motions_without_an_epoch_are_an_error():
    refs = RefCat.from_table(Table({"ra": [1.0], "dec": [2.0], "pmra": [5.0], "pmdec": [5.0]}))
    with pytest.raises(DataError, match="has proper motions but no epoch"):
        refs.at(60000.0)
    with pytest.raises(DataError, match="an astropy Time or an MJD, found 2016"):
        RefCat.from_table(lsst_table()).at(2016.0)


def test_a_catalogue_without_motions_stays_as_it_is():
    refs = RefCat.from_table(Table({"ra": [1.0], "dec": [2.0]}))
    assert refs.at(60000.0) is refs
    assert not refs.moves


def test_sources_in_the_padded_box_are_chosen_and_counted():
    rng = np.random.default_rng(3)
    table = Table(
        {"ra": rng.uniform(9.9, 10.2, 3000), "dec": rng.uniform(-5.2, -4.9, 3000), "rmag": np.full(3000, 20.0)}
    )
    wcs = tangent()
    x, y = wcs.all_world2pix(table["ra"], table["dec"], 0)
    expected = (x >= -250) & (x <= 1249) & (y >= -250) & (y <= 749 + 250)
    refs = RefCat.from_table(table).inside(wcs, (750, 1000))
    np.testing.assert_array_equal(refs.table["id"], np.flatnonzero(expected) + 1)
    assert refs.selection.startswith(f"{expected.sum()} of 3000 sources lie within 250 px of the image, RA 10.0")
    assert refs.selection in repr(refs)


def test_a_box_may_lie_across_the_origin_of_right_ascension():
    rng = np.random.default_rng(4)
    table = Table({"ra": rng.uniform(-0.2, 0.2, 1000) % 360, "dec": rng.uniform(-0.2, 0.2, 1000)})
    refs = RefCat.from_table(table).inside(tangent(0.0, 0.0), (1000, 1000), margin=0)
    assert 10 < len(refs) < 40
    assert "RA 359.9722 to 0.0" in refs.selection


def test_no_overlap_is_an_error_that_names_both_boxes():
    refs = RefCat.from_table(lsst_table(), name="gaia.fits")
    with pytest.raises(DataError) as caught:
        refs.inside(tangent(ra=200.0, dec=40.0), (1000, 1000), margin=100)
    words = str(caught.value)
    assert "100 px around it, RA 199.95" in words
    assert "the 20 sources of gaia.fits cover RA 10.0" in words


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".csv", ".parquet"])
def test_files_are_read(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    table = Table({"id": [3, 4], "ra": [1.0, 2.0], "dec": [3.0, 4.0], "gmag": [20.0, 21.0]})
    path = tmp_path / f"refs{suffix}"
    table.write(path, format="ascii.csv" if suffix == ".csv" else None)
    refs = RefCat.read(path, epoch=57000.0)
    assert refs.name == path.name
    assert refs.table["id"].tolist() == [3, 4]
    assert refs.table["epoch"].tolist() == [57000.0, 57000.0]
    np.testing.assert_allclose(refs.magnitudes("g")[0], [20, 21])


def test_shards_are_put_together_and_each_source_counts_once(tmp_path):
    first, second = lsst_table(20, seed=1), lsst_table(20, seed=2)
    second["id"] = np.arange(17, 37)
    second.remove_columns(["pm_ra", "pm_dec"])
    first.write(tmp_path / "1.fits")
    second.write(tmp_path / "2.fits")
    lsst_table(20)[:0].write(tmp_path / "master_schema.fits")
    refs = RefCat.read([tmp_path / "1.fits", tmp_path / "2.fits"])
    assert len(refs) == 30
    assert refs.name == "1.fits and 1 more"
    assert np.isnan(refs.table["pm_ra"][-1])
    assert len(RefCat.read(tmp_path)) == 30


def test_files_that_are_no_catalogue_are_errors(tmp_path):
    (tmp_path / "refs.fits").write_text("nothing")
    with pytest.raises(DataError, match=r"refs\.fits can't be read as FITS: it begins with"):
        RefCat.read(tmp_path / "refs.fits")
    with pytest.raises(DataError, match=r"is one of \.fits"):
        RefCat.read(tmp_path / "refs.dat")
    with pytest.raises(DataError, match=r"none\.ecsv can't be read as a table: No such file"):
        RefCat.read(tmp_path / "none.ecsv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no reference source in"):
        RefCat.read(tmp_path / "empty")


def catalog(g=(18.0, 19.0), r=(17.5, 18.0), err=0.01):
    n = len(g)
    return RefCat.from_table(
        Table({"ra": np.ones(n), "dec": np.ones(n), "gmag": g, "gmagerr": np.full(n, err), "rmag": r,
               "rmagerr": np.full(n, 2 * err)})
    )  # fmt: skip


def test_a_colour_term_is_a_polynomial_in_the_colour():
    magnitude, _ = ColorTerm("r", ("g", "r"), (0.02, -0.1, 0.03)).magnitudes(catalog())
    color = np.array([0.5, 1.0])
    np.testing.assert_allclose(magnitude, np.array([17.5, 18.0]) + 0.02 - 0.1 * color + 0.03 * color**2)


def test_errors_of_a_colour_term_are_those_of_many_trials():
    rng = np.random.default_rng(5)
    term = ColorTerm("r", ("g", "r"), (0.02, -0.4, 0.2), scatter=0.005)
    err = term.magnitudes(catalog())[1]
    g, r = 18.0 + rng.normal(0, 0.01, 100_000), 17.5 + rng.normal(0, 0.02, 100_000)
    trial = r + 0.02 - 0.4 * (g - r) + 0.2 * (g - r) ** 2
    assert err[0] == pytest.approx(np.hypot(trial.std(), 0.005), rel=0.02)


def test_colours_out_of_range_have_no_magnitude():
    magnitude, err = ColorTerm("r", ("g", "r"), (0.0, 1.0), valid=(0.0, 0.7)).magnitudes(catalog())
    assert np.isfinite(magnitude).tolist() == [True, False]
    assert np.isfinite(err).tolist() == [True, False]


def test_gaia_becomes_sdss_by_the_published_polynomial():
    g, bp, rp = 16.0, 16.5, 15.4  # Vega
    table = Table({"ra": [1.0], "dec": [2.0], "ref_epoch": [2015.5]})
    for name, value in {"g": g, "bp": bp, "rp": rp}.items():
        table[f"phot_{name}_mean_mag"] = [value]
    refs, x = RefCat.from_table(table), bp - rp
    expected = {
        "g": g - (0.13518 - 0.46245 * x - 0.25171 * x**2 + 0.021349 * x**3),
        "r": g - (-0.12879 + 0.24662 * x - 0.027464 * x**2 - 0.049465 * x**3),
        "i": g - (-0.29676 + 0.64728 * x - 0.10141 * x**2),
    }
    for band, value in expected.items():
        term = gaia_dr2_to_sdss(band)
        magnitude, err = term.magnitudes(refs)
        assert magnitude[0] == pytest.approx(value, abs=1e-9)
        assert err[0] == pytest.approx(term.scatter)
        assert "Gaia DR2" in str(term)
    with pytest.raises(DataError, match="transformed to g, r, i, found 'z'"):
        gaia_dr2_to_sdss("z")


def test_names_of_columns_stand_on_one_line():
    with pytest.raises(DataError, match="no column is known to hold ra") as error:
        RefCat.from_table(Table({"\x04\n": [1.0], "dec": [2.0]}))
    assert str(error.value).isprintable()


def test_a_votable_that_refers_to_other_files_is_refused(tmp_path):
    (tmp_path / "secret").write_text("1,2")
    path = tmp_path / "a.vot"
    for text in (
        f"<VOTABLE><DATA><BINARY><STREAM href='file://{tmp_path}/secret'/></BINARY></DATA></VOTABLE>",
        f"<!DOCTYPE VOTABLE [<!ENTITY x SYSTEM 'file://{tmp_path}/secret'>]><VOTABLE>&x;</VOTABLE>",
        f"<!DOCTYPE VOTABLE [<!ATTLIST STREAM href CDATA 'file://{tmp_path}/secret'>]><VOTABLE/>",
    ):
        path.write_text(text)
        with pytest.raises(DataError, match="refers to other files; give a VOTable that holds its data"):
            RefCat.read(path)


@pytest.mark.parametrize("suffix", [".ecsv", ".csv", ".vot", ".parquet", ".fits"])
def test_a_damaged_catalogue_is_refused_on_one_line(tmp_path, suffix):
    import gzip

    path = tmp_path / f"a{suffix}"
    for content in (
        b"",
        b"\xff\xfe\x00",
        b"# %ECSV 1.0\n# ---\n# datatype: " + b"[" * 9000,
        gzip.compress(b"ra,dec\n1,2\n"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError) as error:
            RefCat.read(path)
        assert str(error.value).isprintable()


def test_a_parquet_file_of_very_many_equal_rows_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    Table({"ra": np.ones(100_000), "dec": np.ones(100_000)}).write(path, format="parquet")
    assert len(RefCat.read(path)) == 100_000
    monkeypatch.setattr("corontools.fits.ROOM", 1000)
    monkeypatch.setattr("corontools.fits.RATIO", 1)
    with pytest.raises(DataError, match="announces 100000 rows, more than it can hold"):
        RefCat.read(path)
