"""Files of exposures: nothing is lost on the way there and back, and JWST's own reader takes them."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from astropy.io import fits as astrofits
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from corontools import fits
from corontools.coron import PSFStack
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.meta import Meta
from corontools.products import history_cards, history_lines

MODELS = {
    "psfstack": "CubeModel", "crfints": "CubeModel", "psfsub": "CubeModel", "snr": "CubeModel", "psfalign": "QuadModel",
    "i2d": "ImageModel", "contrast": "ContrastModel",
}  # fmt: skip
BITS = {8: 1, 16: 2, 32: 4, 64: 8, -32: 4, -64: 8}
MANDATORY = {"PRIMARY": "SIMPLE", "IMAGE": "XTENSION", "BINTABLE": "XTENSION"}


def cards_of(content: bytes, start: int) -> tuple[list[str], int]:
    """The 80-character cards of the header at `start`, up to END, and where the header's blocks end."""
    cards = []
    while not (cards and cards[-1].rstrip() == "END"):
        at = start + 80 * len(cards)
        assert at + 80 <= len(content), "a header has no END"
        cards.append(content[at : at + 80].decode("ascii"))
    end = start + 2880 * math.ceil(80 * len(cards) / 2880)
    assert set(content[start + 80 * len(cards) : end]) <= {32}, "a header is filled with something else than blanks"
    return cards, end


def verify_bytes(content: bytes) -> list[str]:
    """Check a file against the FITS standard by its bytes alone; gives the extension names."""
    assert len(content) % 2880 == 0
    start, names = 0, []
    while start < len(content):
        cards, data = cards_of(content, start)
        pairs = [(card[:8].rstrip(), card[10:].split("/")[0].strip()) for card in cards if card[8:10] == "= "]
        values = dict(pairs)
        n = int(values["NAXIS"])
        order = ["SIMPLE" if start == 0 else "XTENSION", "BITPIX", "NAXIS", *(f"NAXIS{i + 1}" for i in range(n))]
        order += [] if start == 0 else ["PCOUNT", "GCOUNT"]
        assert [key for key, _ in pairs][: len(order)] == order
        once = [key for key, _ in pairs]
        assert len(once) == len(set(once)), {key for key in once if once.count(key) > 1}
        assert all(card.isprintable() for card in cards)
        numbers = [value for _, value in pairs if not value.startswith("'")]
        assert not [value for value in numbers if value.strip("+-").upper() in ("NAN", "INF", "INFINITY")]
        assert start == 0 or values.get("EXTNAME", "''").strip("' "), "an extension has no name"
        names.append("PRIMARY" if start == 0 else values["EXTNAME"].strip("' "))
        pixels = math.prod(int(values[f"NAXIS{i + 1}"]) for i in range(n)) if n else 0
        size = BITS[int(values["BITPIX"])] * int(values.get("GCOUNT", 1)) * (int(values.get("PCOUNT", 0)) + pixels)
        start = data + 2880 * math.ceil(size / 2880)
        assert start <= len(content), "the file is shorter than its headers promise"
    return names


def test_the_byte_check_finds_what_is_wrong(tiny_products):
    content = tiny_products["psfsub"].read_bytes()
    assert verify_bytes(content)[:2] == ["PRIMARY", "SCI"]
    for wrong in (content[:-2880], content[:-1], content.replace(b"BITPIX  =", b"BITPUX  =", 1),
                  content.replace(b"BUNIT   =", b"CRPIX1  =", 1)):  # fmt: skip
        with pytest.raises((AssertionError, KeyError)):
            verify_bytes(wrong)


@pytest.mark.parametrize("suffix", MODELS)
def test_a_product_is_valid_fits(tiny_products, suffix):
    path = tiny_products[suffix]
    names = verify_bytes(path.read_bytes())
    with astrofits.open(path) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == names
        assert hdus[0].header["DATAMODL"] == MODELS[suffix]
        assert hdus[0].header["FILENAME"] == path.name


@pytest.mark.parametrize("suffix", MODELS)
def test_a_product_opens_as_its_jwst_model(tiny_products, suffix):
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    with datamodels.open(tiny_products[suffix]) as model:
        assert type(model).__name__ == MODELS[suffix]
        model.validate()
        assert model.meta.instrument.name == "NIRCAM"
        assert model.meta.filename == tiny_products[suffix].name


def test_the_models_hold_the_numbers_of_the_results(tiny_products, tiny_run):
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    klip = tiny_run.klips[0]
    with datamodels.open(tiny_products["psfsub"]) as model:
        np.testing.assert_array_equal(model.data, klip.residual.data.astype(np.float32))
        np.testing.assert_array_equal(model.err, klip.residual.err.astype(np.float32))
        np.testing.assert_array_equal(model.dq, klip.residual.dq)
    with datamodels.open(tiny_products["psfalign"]) as model:
        assert model.data.shape == (2, 6, 32, 32)
        np.testing.assert_array_equal(model.data[1], klip.aligned[1].data.astype(np.float32))
        np.testing.assert_array_equal(model.dq[1], klip.aligned[1].dq)
    with datamodels.open(tiny_products["contrast"]) as model:
        curve = klip.contrast()
        np.testing.assert_array_equal(model.contrast_table["radius"], curve.radius.astype(np.float32))
        np.testing.assert_array_equal(model.contrast_table["sigma"], curve.noise.astype(np.float32))
    with datamodels.open(tiny_products["i2d"]) as model:
        np.testing.assert_array_equal(model.data, tiny_run.combined.image.data.astype(np.float32))
        np.testing.assert_array_equal(model.con[0], tiny_run.combined.count)


@pytest.mark.parametrize("suffix", ["crfints", "psfsub", "snr"])
def test_unknown_extensions_are_kept_to_the_byte(tiny_products, tiny_asn, suffix):
    names = ("AREA", "INT_TIMES")
    source = tiny_asn.parent / f"{tiny_products[suffix].name.split('_c1001')[0]}_calints.fits"
    before = {e.name: e.raw.tobytes() for e in fits.read(source)}
    after = {e.name: e.raw.tobytes() for e in fits.read(tiny_products[suffix])}
    assert {name: after[name] for name in names} == {name: before[name] for name in names}


def test_the_combined_image_has_its_own_wcs_and_no_rest_of_the_old_one(tiny_products, tiny_run):
    header = astrofits.getheader(tiny_products["i2d"], "SCI")
    assert not [key for key in header if key.startswith("CD") and key[2].isdigit()]
    again = Exposure.read(tiny_products["i2d"])
    points = [[0, 0], [10, 3], [44, 40]]
    mine = tiny_run.combined.image.wcs.all_pix2world(points, 0)
    np.testing.assert_allclose(again.wcs.all_pix2world(points, 0), mine, rtol=0, atol=1e-10)
    assert again.center == tiny_run.combined.image.center
    assert again.meta.roll is None


@pytest.fixture
def exposure(write_calints, speckles, tmp_path):
    data = speckles(2, (12, 15))
    path = write_calints(tmp_path / "a_calints.fits", data, err=np.ones_like(data), dq=np.zeros(data.shape), roll=30.0)
    return Exposure.read(path)


def saved(exposure, tmp_path, name="out.fits", **options):
    return Exposure.read(exposure.save(tmp_path / name, **options))


def test_the_error_of_a_bad_file_names_the_file(tmp_path, write_calints):
    bad = {
        "axes": (np.zeros(5), {}), "number": (np.zeros((2, 2)), {"CRPIX1": "left", "CRPIX2": 1.0}),
        "wcs": (np.zeros((2, 2)), {"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}),
    }  # fmt: skip
    for name, (data, cards) in bad.items():
        path = tmp_path / f"{name}.fits"
        header = astrofits.Header(cards)
        astrofits.HDUList([astrofits.PrimaryHDU(), astrofits.ImageHDU(data, header=header, name="SCI")]).writeto(path)
        with pytest.raises(DataError, match=rf"{name}\.fits"):
            Exposure.read(path)


def test_a_file_without_image_is_refused_with_what_it_holds(tmp_path):
    table = astrofits.BinTableHDU.from_columns([astrofits.Column("a", "J", array=[1])], name="CATALOG")
    dq = astrofits.ImageHDU(np.zeros((2, 2), np.uint32), name="DQ")
    astrofits.HDUList([astrofits.PrimaryHDU(), table, dq]).writeto(tmp_path / "x.fits")
    with pytest.raises(
        DataError, match=r"x\.fits: no image \(SCI extension\) in this file; found: PRIMARY, CATALOG, DQ"
    ):
        Exposure.read(tmp_path / "x.fits")


def test_planes_of_another_shape_are_refused_with_file_and_shapes(tmp_path, write_calints):
    path = write_calints(tmp_path / "x.fits", np.zeros((2, 4, 5)), err=np.zeros((4, 5)))
    with pytest.raises(DataError, match=r"x\.fits: err has shape \(4, 5\), data has \(2, 4, 5\)"):
        Exposure.read(path)


def test_an_image_of_any_fits_file_is_read(tmp_path):
    image = np.arange(20.0).reshape(4, 5)
    astrofits.PrimaryHDU(image).writeto(tmp_path / "x.fits")
    np.testing.assert_array_equal(Exposure.read(tmp_path / "x.fits").data, image)
    named = astrofits.ImageHDU(image + 1, name="FLUX")
    astrofits.HDUList([astrofits.PrimaryHDU(), named]).writeto(tmp_path / "y.fits")
    np.testing.assert_array_equal(Exposure.read(tmp_path / "y.fits").data, image + 1)


def test_extensions_without_name_and_of_the_same_name_are_all_kept(tmp_path):
    def image(value, name=None, version=1):
        return astrofits.ImageHDU(np.full((2, 3), value, np.float32), name=name, ver=version)

    hdus = [image(1, "SCI"), image(2, "ERR"), image(3), image(4), image(5, "SCI", 2), image(6, "ERR", 2)]
    astrofits.HDUList([astrofits.PrimaryHDU(), *hdus]).writeto(tmp_path / "x.fits")
    exposure = Exposure.read(tmp_path / "x.fits")
    assert (exposure.data[0, 0], exposure.err[0, 0]) == (1, 2)
    exposure.save(tmp_path / "y.fits")
    with astrofits.open(tmp_path / "y.fits") as again:
        values = [hdu.data.flat[0] for hdu in again[1:] if hdu.name != "DQ"]
    assert values == [1, 2, 3, 4, 5, 6]


def test_an_exposure_can_replace_its_own_file(exposure, tmp_path):
    before = exposure.data.copy()
    exposure.mask(np.ones((12, 15), bool), bits=4).save(tmp_path / "a_calints.fits", overwrite=True)
    np.testing.assert_array_equal(exposure.data, before)
    again = Exposure.read(tmp_path / "a_calints.fits")
    np.testing.assert_array_equal(again.data, before)
    assert (again.dq == 4).all()


def test_cards_survive_and_what_meta_says_now_is_written(exposure, tmp_path):
    again = saved(exposure.with_(meta=exposure.meta.with_(target="beta Pic", roll=None, unit="Jy")), tmp_path)
    assert (again.meta.target, again.meta.roll, again.meta.unit) == ("beta Pic", None, "Jy")
    assert again.meta.primary["DATE-OBS"] == "2022-10-03"
    assert (again.meta.center, again.meta.pixel_scale) == (exposure.meta.center, exposure.meta.pixel_scale)


@pytest.mark.parametrize("name", ["β Pictoris", "two\nlines", "tab\there", "\ud800", "long " * 60])
def test_names_that_fits_cannot_hold_are_written_as_escapes(exposure, tmp_path, name):
    again = saved(exposure.with_(meta=exposure.meta.with_(target=name)), tmp_path)
    expected = name if name.isascii() and name.isprintable() else name.encode("unicode_escape").decode()
    assert again.meta.target == expected.strip()
    verify_bytes((tmp_path / "out.fits").read_bytes())


@pytest.mark.parametrize("length", [30, 50, 60, 64, 68, 120])
def test_a_long_file_name_needs_no_warning(write_calints, tmp_path, length):
    cards = {"FILENAME": ("a.fits", "Name of the file")}
    exposure = Exposure.read(write_calints(tmp_path / "a.fits", np.ones((4, 5)), primary=cards))
    name = f"{'x' * (length - 5)}.fits"
    exposure.save(tmp_path / name)
    with astrofits.open(tmp_path / name) as hdus:
        assert hdus[0].header["FILENAME"] == name
        assert hdus[0].header.comments["FILENAME"] == ("Name of the file" if length < 50 else "")


def test_a_file_name_outside_ascii_is_no_obstacle(exposure, tmp_path):
    assert saved(exposure, tmp_path, "β.fits").meta.filename == "β.fits"


def test_a_value_that_fits_cannot_hold_is_refused_by_keyword(exposure, tmp_path):
    with pytest.raises(DataError, match="nan can't be written as header keyword ROLL_REF"):
        exposure.with_(meta=exposure.meta.with_(roll=math.nan)).save(tmp_path / "x.fits")
    assert not (tmp_path / "x.fits").exists()


def test_the_wcs_of_an_exposure_as_read_is_written_card_by_card(exposure, tmp_path):
    again = saved(exposure, tmp_path)
    for key in ("CRPIX1", "CRVAL2", "CD1_2", "CD2_2", "CTYPE1"):
        assert again.meta.science[key] == exposure.meta.science[key]
    assert "PC1_1" not in again.meta.science


@pytest.mark.parametrize("change", ["crop", "crval", "rotation"])
def test_a_changed_wcs_is_written_whole(exposure, tmp_path, change):
    if change == "crop":
        changed = exposure.crop((7, 9))
    else:
        wcs = exposure.wcs.deepcopy()
        if change == "crval":
            wcs.wcs.crval += [0.01, 0.02]
        else:
            wcs.wcs.cd = wcs.wcs.cd @ [[0.8, -0.6], [0.6, 0.8]]
        wcs.wcs.set()
        changed = exposure.with_(wcs=wcs)
    again = saved(changed, tmp_path)
    points = [[0, 0], [5, 2], [8, 6]]
    expected = changed.wcs.all_pix2world(points, 0)
    np.testing.assert_allclose(again.wcs.all_pix2world(points, 0), expected, rtol=0, atol=1e-9)
    assert again.center == pytest.approx(changed.center)


def test_foreign_history_does_not_change_however_often_it_is_copied(exposure, tmp_path):
    lines = ("a" * 72, "made in C:\\", "short", "b" * 200, "c" * 71, "d" * 143 + "\\")
    current = exposure.with_(meta=exposure.meta.with_(history=lines))
    for i in range(3):
        current = saved(current, tmp_path, f"{i}.fits")
        assert current.meta.history == lines


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300), max_size=5))
def test_history_lines_undo_history_cards(lines):
    cards = history_cards(lines)
    assert all(len(card) <= 72 for card in cards)
    assert history_lines(cards) == lines


PIXELS = st.floats(width=32, allow_nan=True, allow_infinity=True)
KINDS = st.sampled_from([np.float32, ">f4"])


@given(
    data=hnp.arrays(KINDS, hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=5), elements=PIXELS),
    with_err=st.booleans(),
    seed=st.integers(0, 99),
)
def test_pixels_and_flags_come_back_bit_by_bit(tmp_path_factory, data, with_err, seed):
    rng = np.random.default_rng(seed)
    dq = rng.integers(0, 2**32, data.shape, dtype=np.uint32) | np.where(rng.random(data.shape) < 0.3, 2**31, 0)
    err = np.abs(rng.normal(size=data.shape)).astype(np.float32) if with_err else None
    exposure = Exposure(data, err=err, dq=dq.astype(np.uint32), variances={"rnoise": err} if with_err else {})
    path = exposure.save(tmp_path_factory.getbasetemp() / "trip.fits", overwrite=True)
    verify_bytes(path.read_bytes())
    again = Exposure.read(path)
    assert again.data.astype("<f4").tobytes() == data.astype("<f4").tobytes()
    np.testing.assert_array_equal(again.dq, dq)
    if with_err:
        np.testing.assert_array_equal(again.err, err)
        np.testing.assert_array_equal(again.variances["rnoise"], err)
    else:
        assert again.err is None


@given(
    hnp.arrays(
        st.sampled_from([np.int16, np.uint8, ">i4", np.float64, np.bool_]),
        hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=5),
        elements=st.integers(0, 1),
    )
)
def test_other_kinds_of_numbers_are_stored_as_float32(tmp_path_factory, data):
    path = Exposure(data).save(tmp_path_factory.getbasetemp() / "kinds.fits", overwrite=True)
    again = Exposure.read(path)
    assert again.data.dtype == np.dtype(">f4")
    np.testing.assert_array_equal(again.data, data)


@given(bits=st.sampled_from([8, 16, 32, 64, -32, -64]), scaled=st.booleans())
def test_scaled_and_integer_images_are_read_as_their_values(tmp_path_factory, bits, scaled):
    kind = {8: "u1", 16: "i2", 32: "i4", 64: "i8", -32: "f4", -64: "f8"}[bits]
    hdu = astrofits.ImageHDU(np.arange(12, dtype=kind).reshape(3, 4), name="SCI")
    if scaled:
        hdu.header["BSCALE"], hdu.header["BZERO"] = 0.5, 100.0
    path = tmp_path_factory.getbasetemp() / "scaled.fits"
    astrofits.HDUList([astrofits.PrimaryHDU(), hdu]).writeto(path, overwrite=True)
    with astrofits.open(path) as hdus:
        expected = np.array(hdus["SCI"].data, np.float64)
    np.testing.assert_array_equal(Exposure.read(path).data, expected)


def test_an_exposure_made_in_memory_keeps_its_star(tmp_path):
    exposure = Exposure(np.ones((4, 5)), meta=Meta(target="AU Mic", center=(2.25, 1.5), pixel_scale=0.063, unit="DN"))
    again = saved(exposure, tmp_path)
    assert again.center == (2.25, 1.5)
    assert again.meta.pixel_scale == pytest.approx(0.063, rel=1e-14)
    assert (again.meta.target, again.meta.unit) == ("AU Mic", "DN")


@pytest.mark.real
def test_products_of_real_exposures_keep_their_wcs_model(aumic, tmp_path):
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    exposure = aumic.science[0]
    path = exposure.reject_outliers().save(tmp_path / "x_crfints.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of asdf and gwcs, of how the archive wrote the model
        with datamodels.open(path) as model, datamodels.open(aumic.science_paths[0]) as original:
            assert type(model).__name__ == "CubeModel"
            np.testing.assert_array_equal(model.meta.wcs(150.0, 174.0), original.meta.wcs(150.0, 174.0))
    before = {e.name: e.raw.tobytes() for e in exposure.extensions}
    after = {e.name: e.raw.tobytes() for e in Exposure.read(path).extensions}
    assert {"ASDF", "AREA", "INT_TIMES", "IMSHIFTS"} <= set(before)
    assert after == before
    verify_bytes(path.read_bytes())


@pytest.mark.real
def test_a_subtraction_of_real_exposures_opens_as_a_cube_with_its_wcs_model(aumic, tmp_path):
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    path = PSFStack.from_asn(aumic).align_to(aumic.science[0], to="none").klip(3).save(tmp_path / "x_psfsub.fits")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of asdf and gwcs, of how the archive wrote the model
        with datamodels.open(path) as model, datamodels.open(aumic.science_paths[0]) as original:
            assert type(model).__name__ == "CubeModel"
            np.testing.assert_array_equal(model.meta.wcs(150.0, 174.0), original.meta.wcs(150.0, 174.0))
            assert model.meta.cal_step.klip == "COMPLETE"
    before = {e.name: e.raw.tobytes() for e in aumic.science[0].extensions}
    after = {e.name: e.raw.tobytes() for e in Exposure.read(path).extensions}
    assert after == before
    verify_bytes(path.read_bytes())


@pytest.mark.real
def test_a_crop_of_a_real_exposure_keeps_the_sky_with_its_distortion(aumic, tmp_path):
    crop = aumic.science[0].crop(101)
    again = saved(crop, tmp_path)
    points = [[0, 0], [50, 50], [100, 0], [100, 100]]
    offset = np.array(aumic.science[0].center) - crop.center
    expected = aumic.science[0].wcs.all_pix2world(points + offset, 0)
    np.testing.assert_allclose(again.wcs.all_pix2world(points, 0), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("cards", "message"),
    [({"A_ORDER": 30000, "B_ORDER": 30000}, "A_ORDER should be a whole number up to 9, found 30000"),
     ({"B_ORDER": "x"}, "B_ORDER should be a whole number up to 9, found 'x'"),
     ({"CTYPE1": 7}, "WCS in the SCI header can't be used"), ({"CUNIT1": "furlong ("}, "can't be used"),
     ({"CD1_1": 0.0, "CD2_1": 0.0}, "can't be used")],
)  # fmt: skip
def test_a_wcs_that_can_not_be_is_refused_on_one_line(tmp_path, write_calints, cards, message):
    path = write_calints(tmp_path / "x.fits", np.ones((1, 4, 5)), science=cards)
    with pytest.raises(DataError, match=message) as error:
        Exposure.read(path)
    assert str(error.value).isprintable()


def test_cards_of_tables_are_not_carried_into_images(tmp_path, write_calints):
    path = write_calints(tmp_path / "x.fits", np.ones((1, 4, 5)), primary={"TFIELDX": "many", "THEAP": 3})
    path.write_bytes(path.read_bytes().replace(b"TFIELDX =", b"TFIELDS ="))
    Exposure.read(path).save(tmp_path / "y.fits")
    assert not {"TFIELDS", "THEAP"} & set(astrofits.getheader(tmp_path / "y.fits"))


def test_cards_that_astropy_mends_are_no_warnings(tmp_path, write_calints):
    path = write_calints(tmp_path / "x.fits", np.ones((1, 4, 5)), science={"EQUINOX": 1.5})
    content = path.read_bytes()
    place = content.index(b"EQUINOX =")
    path.write_bytes(content[: place + 10] + b"              1e-400" + content[place + 30 :])
    assert Exposure.read(path).wcs is not None


def test_a_spectral_axis_is_no_celestial_wcs(tmp_path, write_calints):
    cards = {"CTYPE1": "FREQ", "CTYPE2": "STOKES", "CUNIT1": "Hz", "CUNIT2": ""}
    path = write_calints(tmp_path / "x.fits", np.ones((1, 4, 5)), science=cards)
    assert Exposure.read(path).wcs is None


def test_the_value_of_missing_integers_is_not_carried_into_reals(tmp_path):
    hdu = astrofits.ImageHDU(np.array([[1, 7], [3, 4]], np.int16), name="SCI")
    hdu.header["BLANK"] = 7
    astrofits.HDUList([astrofits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits")
    path = Exposure.read(tmp_path / "a.fits").save(tmp_path / "b.fits")
    with astrofits.open(path) as hdus:
        assert "BLANK" not in hdus["SCI"].header
        np.testing.assert_array_equal(hdus["SCI"].data, [[1, np.nan], [3, 4]])
