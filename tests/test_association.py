"""Association files: both forms are read, what is wrong in one is named, no name leads out of the output folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corontools.association import Association
from corontools.errors import DataError

# as the tasks' documentation gives it
OLD_FORM = """
 {"asn_rule": "CORON", "target": "NGC-3603", "asn_pool": "jw00017_001_01_pool", "program": "00017",
 "products": [
     {"prodtype": "coroncmb", "name": "jw89001-c1001_t001_nircam_f160w",
      "members": [
          {"exptype": "science", "expname": "targ1_calints.fits"},
          {"exptype": "science", "expname": "targ2_calints.fits"},
          {"exptype": "psf", "expname": "psf1_calints.fits"},
          {"exptype": "psf", "expname": "psf2_calints.fits"},
          {"exptype": "psf", "expname": "psf3_calints.fits"}]}],
 "asn_type": "coron",
 "asn_id": "c1001"}
"""


def table(members=(("science", "s.fits"), ("psf", "r.fits")), **changes) -> dict:
    product = {"name": "product", "members": [{"exptype": kind, "expname": name} for kind, name in members]}
    return {"asn_type": "coron3", "asn_id": "c1001", "asn_pool": "pool", "products": [product], **changes}


@pytest.fixture
def folder(tmp_path):
    """A folder with the members s.fits and r.fits, empty: an association opens nothing."""
    for name in ("s.fits", "r.fits"):
        (tmp_path / name).touch()
    return tmp_path


def written(folder: Path, content: object) -> Path:
    path = folder / "asn.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def refused(folder: Path, content: object, message: str, **options) -> str:
    with pytest.raises(DataError, match=message) as error:
        Association.read(written(folder, content), **options)
    return str(error.value)


def test_the_old_form_is_read(tmp_path):
    for name in ("targ1", "targ2", "psf1", "psf2", "psf3"):
        (tmp_path / f"{name}_calints.fits").touch()
    asn = Association.read(written(tmp_path, OLD_FORM))
    assert asn.product == "jw89001-c1001_t001_nircam_f160w"
    assert (asn.id, asn.pool) == ("c1001", "jw00017_001_01_pool")
    assert [p.name for p in asn.science_paths] == ["targ1_calints.fits", "targ2_calints.fits"]
    assert [p.name for p in asn.reference_paths] == [f"psf{i}_calints.fits" for i in (1, 2, 3)]


@pytest.mark.parametrize(("science", "psf"), [("science", "psf"), ("SCIENCE", "PSF"), ("Science", "Psf")])
def test_the_current_form_is_read_in_any_case(folder, science, psf):
    members = ((science, "s.fits"), (psf, "r.fits"), ("target_acquisition", "none.fits"))
    asn = Association.read(written(folder, table(members)))
    assert (asn.science_paths, asn.reference_paths) == ((folder / "s.fits",), (folder / "r.fits",))


def test_members_may_stand_in_another_folder(folder):
    (folder / "asn").mkdir()
    asn = Association.read(written(folder / "asn", table((("science", "../s.fits"), ("psf", str(folder / "r.fits"))))))
    assert [p.resolve().name for p in (*asn.science_paths, *asn.reference_paths)] == ["s.fits", "r.fits"]


@pytest.mark.parametrize("content", ["", "{", "hello", '{"products": [}', "[" * 100_000, "\ufeff{}", "1" * 5000])
def test_what_is_no_json_is_refused(folder, content):
    refused(folder, content, r"asn\.json is not JSON")


def test_bytes_that_are_no_text_are_refused(folder):
    path = folder / "asn.json"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match=r"asn\.json is not JSON"):
        Association.read(path)


def test_a_missing_file_and_a_folder_are_refused(folder):
    with pytest.raises(DataError, match=r"none\.json does not exist"):
        Association.read(folder / "none.json")
    with pytest.raises(DataError, match=r"can't be read: Is a directory"):
        Association.read(folder)


@pytest.mark.parametrize(("content", "kind"), [("[]", "list"), ("3", "int"), ('"a"', "str"), ("null", "NoneType")])
def test_json_that_is_no_object_is_refused(folder, content, kind):
    refused(folder, content, f"holds a {kind}, not an object with 'products'")


@pytest.mark.parametrize("products", [None, [], {}, "product", [None], ["product"], [{}, 3]])
def test_an_association_without_product_is_refused(folder, products):
    refused(folder, table(products=products), "defines no product; it needs a list 'products'")


def test_several_products_are_listed_and_chosen_by_name(folder):
    two = table()["products"][0]
    content = table(products=[{**two, "name": "first"}, {**two, "name": "second"}])
    refused(folder, content, "defines 2 products; choose one by name: first, second")
    refused(folder, content, r"has no product 'third' \(found: first, second\)", product="third")
    assert Association.read(written(folder, content), product="second").product == "second"


@pytest.mark.parametrize("members", [None, "s.fits", {"science": "s.fits"}])
def test_a_product_without_list_of_members_is_refused(folder, members):
    refused(folder, table(products=[{"name": "product", "members": members}]), "'product' has no list of members")


@pytest.mark.parametrize(
    "member", [None, "s.fits", {}, {"exptype": "psf"}, {"expname": 3}, {"expname": ""}, {"expname": "a\0b"}]
)
def test_a_member_without_name_is_refused(folder, member):
    products = [{"name": "product", "members": [member]}]
    refused(folder, table(products=products), "a member needs 'expname' and 'exptype', found")


def test_missing_kinds_of_members_are_told_with_what_was_found(folder):
    refused(folder, table((("science", "s.fits"), ("science", "t.fits"))), r"'c1001' has no 'psf' member .*science x2")
    refused(folder, table((("psf", "r.fits"),)), r"has no 'science' member \(found: psf x1\)")
    refused(folder, table(()), r"has no 'psf' member \(found: none\)")
    refused(folder, table((("", "r.fits"),)), r"found: no exptype x1")


def test_all_missing_members_are_named_at_once(folder):
    members = (("science", "s.fits"), ("science", "gone1.fits"), ("psf", "gone2.fits"), ("psf", "r.fits"))
    message = refused(folder, table(members), r"2 member\(s\) missing")
    assert str(folder / "gone1.fits") in message
    assert str(folder / "gone2.fits") in message
    assert message.count(".fits") == 2


PATHS = ["../x", "/abs", "a\\b", "C:x", "..", ".", "", "a/b", "x/", "a\0b", "a\nb", "a\x7fb", "x" * 300, "é" * 100,
         "\ud800", "\u202efits.exe", None, 3, ["a"], {"a": 1}]  # fmt: skip


@pytest.mark.parametrize("name", PATHS, ids=ascii)
def test_a_product_name_that_is_no_plain_name_is_refused(folder, name):
    content = table()
    content["products"][0]["name"] = name
    message = refused(folder, content, "can't be its product name; use a plain name without a folder")
    assert message.isprintable()


@pytest.mark.parametrize("name", PATHS, ids=ascii)
def test_an_asn_id_that_is_no_plain_name_is_refused(folder, name):
    refused(folder, table(asn_id=name), "can't be its asn_id; use a plain name without a folder")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\nb.fits", "\x1b[31m", "\ud800", "x" * 5000, "<img src=x>", "."]
)
def test_a_hostile_member_name_is_a_missing_file_in_a_message_of_one_line(folder, name):
    message = refused(folder, table((("science", "s.fits"), ("psf", name))), r"1 member\(s\) missing")
    assert message.isprintable()


def test_markup_in_an_association_is_text(folder):
    name = "<img src=x onerror=alert(1)>"
    (folder / name).touch()
    content = table((("science", "s.fits"), ("psf", name)))
    content["products"][0]["name"] = name
    html = Association.read(written(folder, content))._repr_html_()
    assert "<img" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") == 2


TEXT = st.text(max_size=12) | st.sampled_from([name for name in PATHS if isinstance(name, str)])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXT, inside, max_size=3),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {"products": JSON | st.lists(st.fixed_dictionaries({"name": TEXT, "members": JSON}), max_size=2)},
        optional={"asn_id": JSON, "asn_pool": JSON},
    )
    | JSON
)
def test_any_json_is_read_or_refused_with_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any_asn.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match="asn"):  # there is never a member here
        Association.read(path)


@given(TEXT)
def test_an_accepted_name_is_a_file_of_the_output_folder(tmp_path_factory, name):
    base = tmp_path_factory.getbasetemp()
    content = table((("science", "any_member.fits"), ("psf", "any_member.fits")))
    content["products"][0]["name"] = name
    (base / "any_member.fits").touch()
    path = base / "any_asn.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    try:
        product = Association.read(path).product
    except DataError as error:
        assert "product name" in str(error)  # noqa: PT017 - to be refused is one of two right outcomes
    else:
        made = base / f"{product}_i2d.fits"
        assert made.resolve().parent == base.resolve()
        made.touch()
        assert made.is_file()
        made.unlink()


def test_the_members_are_read_once_and_the_mask_is_found(tmp_path, write_calints, write_asn, speckles):
    images = speckles(2, (8, 9))
    for name in ("s_calints.fits", "r_calints.fits"):
        write_calints(tmp_path / name, images)
    write_calints(tmp_path / "s_calints_psfmask.fits", np.full((8, 9), 0.25))
    asn = Association.read(write_asn(tmp_path / "asn.json", ["s_calints.fits"], ["r_calints.fits"]))
    assert asn.science[0].n_int == 2
    assert asn.science is asn.science
    np.testing.assert_array_equal(asn.references[0].data, images.astype(np.float32))
    np.testing.assert_array_equal(asn.psfmask.data, 0.25)


@pytest.mark.real
def test_the_real_association_holds_two_rolls_and_six_references(aumic):
    assert (len(aumic.science), len(aumic.references)) == (2, 6)
    assert [e.meta.roll for e in aumic.science] == pytest.approx([63.76, 73.77], abs=0.01)
    assert aumic.psfmask.shape[-2:] == (320, 320)


def test_a_message_stays_short_whatever_the_number_of_names(folder):
    members = [("science", "s.fits"), *(("psf", f"{i}.fits") for i in range(10_000))]
    assert len(refused(folder, table(members), r"10000 member\(s\) missing")) < 2000
    two = table()["products"] * 5000
    assert len(refused(folder, table(products=two), "defines 5000 products")) < 2000
