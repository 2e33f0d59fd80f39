import warnings

import numpy as np
import pytest

from corontools import Association, DataError, PSFStack, coron3, replay
from corontools.arrays.level import far_from, level
from corontools.simulate import tiny


@pytest.fixture(scope="module")
def asn(tmp_path_factory):
    return tiny().write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def result(asn):
    return coron3(asn, klip={"modes": 8})


def test_every_product_of_the_spec_is_written(result, tmp_path):
    written = {path.name for path in result.save(tmp_path / "out")}
    assert written == {path.name for path in (tmp_path / "out").iterdir()}
    product, asn_id = result.asn.product, result.asn.id
    assert {f"{product}_psfstack.fits", f"{product}_i2d.fits"} <= written
    for path in result.asn.science_paths:
        root = path.name.removesuffix("_calints.fits")
        for suffix in ("crfints", "psfalign", "psfsub", "snr", "contrast"):
            assert f"{root}_{asn_id}_{suffix}.fits" in written
    assert sum(name.endswith("crfints.fits") for name in written) == len(result.asn.science_paths) + 5


def test_existing_products_are_kept_unless_told_otherwise(result, tmp_path):
    first = result.save(tmp_path)
    first[0].write_bytes(b"precious")
    for path in first[1:]:
        path.unlink()
    with pytest.raises(FileExistsError, match="already"):
        result.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [first[0].name]
    assert first[0].read_bytes() == b"precious"
    result.save(tmp_path, overwrite=True)
    assert first[0].read_bytes()[:6] == b"SIMPLE"


def test_steps_are_configured_and_skipped_by_the_names_of_the_methods(asn):
    plain = coron3(asn, reject_outliers=False, align_to=False, klip={"modes": 3}, contrast=False, combine=False)
    assert plain.combined is None
    assert not plain.klips[0].aligned.shifts.any()
    assert not any("crfints" in n or "contrast" in n or "i2d" in n for n in plain.products())
    first = coron3(asn, align_to={"to": "first"}, klip={"modes": 3}, combine=False)
    assert len(first.klips[0].aligned.sets) == 1
    assert first.history[0].endswith("align_to={'to': 'first'}, klip={'modes': 3}, combine=False)")
    with pytest.raises(DataError, match="klip can't be skipped"):
        coron3(asn, klip=False)


def test_science_and_references_can_be_brought_to_one_level(asn):
    plain = coron3(asn, klip={"modes": 3}, combine=False)
    made = coron3(asn, klip={"modes": 3}, combine=False, subtract_level={"beyond": 12.0})
    assert made.history[0].endswith("subtract_level={'beyond': 12.0}, klip={'modes': 3}, combine=False)")
    far = far_from(made.stack.exposure.shape[1:], made.stack.exposure.center, 12.0)
    for before, after in ((plain.stack, made.stack), (plain.klips[0].aligned, made.klips[0].aligned)):
        exposure = after.exposure if after is made.stack else after.target
        given = before.exposure if after is made.stack else before.target
        offset = given.data - exposure.data
        assert np.nanmax(np.nanstd(offset, axis=(1, 2))) < 1e-4 * np.nanmax(np.abs(given.data))
        assert np.nanmax(np.abs(level(exposure.data, exposure.good, where=far).value)) < 0.05
    again = replay(made.history)
    np.testing.assert_array_equal(again.klips[0].frames, made.klips[0].frames)
    assert made.klips[0].target.meta.card("S_BKDSUB") == "COMPLETE"


def test_klip_takes_out_a_level_by_itself(asn):
    stack, target = PSFStack.from_asn(asn).repair(), Association.read(asn).science[0]
    plain = stack.align_to(target, to="none").klip(3).frames
    made = stack.subtract_level().align_to(target.subtract_level(), to="none").klip(3).frames
    np.testing.assert_allclose(made, plain, atol=1e-4 * np.nanmax(np.abs(plain)))  # data are float32


def test_the_psfmask_beside_the_science_is_used(result):
    np.testing.assert_allclose(result.klips[0].aligned.mask, result.asn.psfmask.data)


def test_the_chain_by_hand_gives_the_same(asn, result):
    from corontools import Association, PSFStack, combine

    members = Association.read(asn)
    stack = PSFStack.from_asn(asn).reject_outliers().repair()
    by_hand = [stack.align_to(target.reject_outliers(), mask=members.psfmask).klip(8) for target in members.science]
    np.testing.assert_array_equal(by_hand[0].frames, result.klips[0].frames)
    np.testing.assert_array_equal(combine(by_hand).image.data, result.combined.image.data)


def test_members_with_one_name_are_refused_before_their_products_collide(asn, tmp_path):
    import json

    table = json.loads(asn.read_text())
    (tmp_path / "b").mkdir()
    for folder, member in zip(("", "b/"), table["products"][0]["members"][:2], strict=True):
        name = f"{folder}same_calints.fits"
        (tmp_path / name).write_bytes((asn.parent / member["expname"]).read_bytes())
        member["expname"] = name
    for member in table["products"][0]["members"][2:]:
        member["expname"] = str(asn.parent / member["expname"])
    (tmp_path / "asn.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match="members share the name same"):
        coron3(tmp_path / "asn.json")


def test_input_files_stay_as_they_are(asn, tmp_path):
    before = {path.name: path.read_bytes() for path in asn.parent.iterdir()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        coron3(asn).save(tmp_path / "out")
    assert {path.name: path.read_bytes() for path in asn.parent.iterdir()} == before


@pytest.mark.parametrize("wrong", [{"klip": {"mode": 3}}, {"contrast": {"widht": 2}}, {"combine": {"to": "sky"}}])
def test_a_misspelt_keyword_is_refused_before_anything_is_computed(asn, wrong):
    with pytest.raises(DataError, match=f"step {next(iter(wrong))} has no keyword"):
        coron3(asn, **wrong)


def test_results_cannot_be_written_into(result):
    klip = result.klips[0]
    for array in (klip.zones, klip.frames, klip.subspaces[0].basis, klip.aligned.mask, result.combined.weight):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
