"""Slitless spectroscopy: the factor of a reference background, and the pixels it is fitted to."""

import json

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from corontools import DQ, BackgroundModel, DataError, Exposure, replay
from corontools.arrays.factor import fit_factor
from corontools.background.sources import Sources, orders

SHAPE = (256, 320)
TRUTH = 0.5
DISPERSION = {1: {"offset": (60, 0), "extent": (120, 8)}, "2": {"offset": [-50.0, 2.0], "extent": [40, 6]}}


def reference(shape=SHAPE):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 1 + 0.4 * np.sin(x / 60) + 0.001 * y


def target(seed=1, *, noise=0.2, light=0.0, sources=(), meta=None, **changes):
    """An image of the background, and `light` in the boxes of the first order of `sources` (x, y)."""
    rng = np.random.default_rng(seed)
    data = TRUTH * reference() + rng.normal(0, noise, SHAPE)
    for x, y in sources:
        data[max(y - 4, 0) : y + 5, max(x, 0) : x + 121] += light
    return Exposure(data, err=np.full(SHAPE, noise), **({"meta": meta} if meta else {}), **changes)


def places(n=30, seed=2):
    rng = np.random.default_rng(seed)
    return [(int(x), int(y)) for x, y in zip(rng.uniform(0, 300, n), rng.uniform(0, 256, n), strict=True)]


def boxes(sources):
    return [(x, y - 4, x + 120, y + 4) for x, y in sources]


def test_the_factor_and_its_error_cover_the_truth():
    model = BackgroundModel.from_reference(reference())
    pulls = []
    for seed in range(100):
        fitted = model.fit(target(seed))
        pulls.append((fitted.scale - TRUTH) / fitted.scale_err)
    assert abs(np.mean(pulls)) < 0.3
    assert 0.8 < np.std(pulls) < 1.2


def test_without_rejection_it_is_the_weighted_mean():
    rng = np.random.default_rng(3)
    image, b = rng.normal(1, 1, (8, 9)), rng.uniform(1, 2, (8, 9))
    v = rng.uniform(1, 2, (8, 9))
    v[0, 0], b[1, 1], image[2, 2] = 0.0, np.nan, np.nan
    good = rng.random((8, 9)) < 0.9
    found = fit_factor(image, b, v, good, maxiter=0)
    use = good & (v > 0) & np.isfinite(b) & np.isfinite(image)
    over, under = (image[use] * b[use] / v[use]).sum(), (b[use] ** 2 / v[use]).sum()
    assert found.value == pytest.approx(over / under)
    assert found.err == pytest.approx(under**-0.5)
    np.testing.assert_array_equal(found.used, use)


def test_masked_boxes_take_sources_out_of_the_fit():
    sources = places()
    exposure = target(light=3.0, sources=sources)
    masked = BackgroundModel.from_reference(reference()).mask_sources(boxes(sources)).fit(exposure)
    assert abs(masked.scale - TRUTH) < 4 * masked.scale_err
    bare = BackgroundModel.from_reference(reference()).fit(exposure)
    assert bare.scale - TRUTH > 20 * bare.scale_err
    x, y = sources[0]
    assert not masked.mask[y - 4 : y + 5, x : x + 121].any()
    assert not masked.notes


def test_a_catalogue_in_pixels_gives_the_same_boxes(tmp_path):
    sources = places()
    exposure = target(light=3.0, sources=sources)
    table = Table({"x": [s[0] for s in sources], "y": [s[1] for s in sources]})
    table.write(tmp_path / "cat.ecsv")
    (tmp_path / "orders.json").write_text(json.dumps({"1": DISPERSION[1]}))
    (tmp_path / "orders.yaml").write_text("1: {offset: [60, 0], extent: [120, 8]}\n")
    model = BackgroundModel.from_reference(reference())
    wanted = model.mask_sources(boxes(sources)).fit(exposure)
    for dispersion in ({1: DISPERSION[1]}, tmp_path / "orders.json", tmp_path / "orders.yaml"):
        made = model.mask_sources(tmp_path / "cat.ecsv", dispersion=dispersion).fit(exposure)
        np.testing.assert_array_equal(made.mask, wanted.mask)
        assert made.scale == wanted.scale


def test_a_catalogue_in_memory_is_found_again_by_its_numbers(tmp_path):
    sources = places()
    exposure = target(light=3.0, sources=sources)
    table = Table({"id": ["a"] * len(sources), "x": [s[0] for s in sources], "y": [s[1] for s in sources]})
    made = BackgroundModel.from_reference(reference()).mask_sources(table, dispersion=DISPERSION).fit(exposure)
    again = replay(made, arrays=[reference(), exposure, table])
    assert again.scale == made.scale
    other = Table({"x": table["x"] + 1.0, "y": table["y"]})
    with pytest.raises(DataError, match="an array or table in memory"):
        replay(made, arrays=[reference(), exposure, other])


def test_a_catalogue_on_the_sky_is_put_on_the_target_and_a_limit_leaves_faint_sources(tmp_path):
    wcs = WCS({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 160, "CRPIX2": 128, "CRVAL1": 50.0, "CRVAL2": 3.0,
               "CD1_1": -2e-5, "CD2_2": 2e-5, "CD1_2": 0.0, "CD2_1": 0.0})  # fmt: skip
    x, y = np.array([40.0, 100.0]), np.array([30.0, 200.0])
    sky = SkyCoord(wcs.pixel_to_world(x, y))
    corners = {
        f"sky_bbox_{name}": SkyCoord(wcs.pixel_to_world(x + dx, y + dy))
        for name, dx, dy in (("ll", -3, -2), ("lr", 3, -2), ("ul", -3, 2), ("ur", 3, 2))
    }
    table = Table({"sky_centroid": sky, "isophotal_abmag": [20.0, 25.0], **corners})
    table.write(tmp_path / "cat.ecsv")
    exposure = target(wcs=wcs)
    model = BackgroundModel.from_reference(reference())
    mask = model.mask_sources(tmp_path / "cat.ecsv", dispersion=DISPERSION, mmag_extract=22.0).fit(exposure).mask
    rows, columns = np.nonzero(~mask)
    # 40 + 60 +- 60 and the source's own 3; of the second order 40 - 50 +- 20, so up to 13
    assert columns.min() == 0
    assert columns.max() in (163, 164)  # what lies 1e-9 px beyond 163 is in 164
    assert rows.min() in (23, 24)
    assert rows.max() in (37, 38)
    both = model.mask_sources(tmp_path / "cat.ecsv", dispersion=DISPERSION).fit(exposure).mask
    assert not both[200, 160]
    point = model.mask_sources(table["sky_centroid", "isophotal_abmag"], dispersion=DISPERSION).fit(exposure).mask
    assert np.nonzero(~point)[1].max() in (220, 221)  # 100 + 60 + 60
    plain = Table({"ra": sky.ra.deg, "dec": sky.dec.deg})
    np.testing.assert_array_equal(model.mask_sources(plain, dispersion=DISPERSION).fit(exposure).mask, point)


def test_faint_traces_that_no_mask_covers_are_found_and_reported():
    sources = places(60)
    model = BackgroundModel.from_reference(reference())
    for seed in range(8):
        assert not model.fit(target(seed)).notes
    fitted = model.fit(target(light=0.1, sources=sources))  # half of the noise of a pixel
    bias = fitted.scale - TRUTH
    assert bias > 5 * fitted.scale_err
    assert any("faint traces" in note for note in fitted.notes)
    told = float(fitted.notes[0].split("by about ")[1].split(";")[0])
    assert told == pytest.approx(bias, rel=0.4)
    assert "faint traces" in repr(fitted)


def test_a_mask_of_ones_own_is_used_as_it_is(tmp_path):
    exposure = target(sources=places(), light=3.0)
    mask = np.zeros(SHAPE, bool)
    mask[:5, :20] = True  # less than 5 %
    fitted = BackgroundModel.from_reference(reference()).mask_sources(mask).fit(exposure, maxiter=0)
    np.testing.assert_array_equal(fitted.mask, mask)
    np.testing.assert_array_equal(fitted.fitted.used, mask)
    made = fitted.subtract_from(exposure)
    path = made.save(tmp_path / "a_bsub.fits")
    again = BackgroundModel.from_reference(reference()).mask_sources(path).fit(exposure, maxiter=0)
    assert again.scale == fitted.scale
    twice = again.subtract_from(Exposure.read(path))
    assert [e.name for e in twice.extensions].count("MASK") == 1


@pytest.mark.parametrize("name", ["mask.fits", "mask.asdf", "MASK.ASDF"])
def test_a_mask_saved_as_a_data_model_is_read_from_fits_and_asdf(tmp_path, name):
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    exposure, mask = target(), np.ones(SHAPE, np.uint32)
    mask[40:90, 30:200] = 0
    model = datamodels.ImageModel(np.full(SHAPE, 7.0))
    model.mask = mask
    model.save(tmp_path / name.lower())
    (tmp_path / name.lower()).rename(tmp_path / name)
    fitted = BackgroundModel.from_reference(reference()).mask_sources(tmp_path / name).fit(exposure, maxiter=0)
    np.testing.assert_array_equal(fitted.mask, mask.astype(bool))


def test_an_asdf_file_without_a_mask_is_told(tmp_path, monkeypatch):
    asdf = pytest.importorskip("asdf")
    model = BackgroundModel.from_reference(reference())
    asdf.AsdfFile({"flat": np.ones(3)}).write_to(tmp_path / "a.asdf")
    with pytest.raises(DataError, match=r"a\.asdf: neither mask nor data in it, found .*flat"):
        model.mask_sources(tmp_path / "a.asdf")
    (tmp_path / "b.asdf").write_bytes(b"SIMPLE  = T")
    with pytest.raises(DataError, match=r"b\.asdf can't be read as ASDF"):
        model.mask_sources(tmp_path / "b.asdf")
    with pytest.raises(DataError, match=r"c\.asdf can't be read as ASDF: .*No such file"):
        model.mask_sources(tmp_path / "c.asdf")
    monkeypatch.setitem(__import__("sys").modules, "asdf", None)
    with pytest.raises(DataError, match=r"pip install asdf, or give FITS"):
        model.mask_sources(tmp_path / "a.asdf")


def test_the_product_has_factor_mask_errors_and_flags(tmp_path, meta):
    err = np.full(SHAPE, 0.02)
    dq = np.zeros(SHAPE, np.uint32)
    dq[4, 5] = DQ.HOT
    ref = Exposure(reference(), err=err, dq=dq)
    exposure = target(meta=meta())
    fitted = BackgroundModel.from_reference(ref).mask_sources([(0, 0, 10, 10)]).fit(exposure)
    made = fitted.subtract_from(exposure)
    np.testing.assert_allclose(made.data, exposure.data - fitted.scale * reference())
    own = np.hypot(fitted.scale_err * reference(), fitted.scale * err)
    np.testing.assert_allclose(made.err, np.hypot(exposure.err, own))
    assert made.dq[4, 5] == DQ.HOT
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    path = made.save(tmp_path / "x_bsub.fits")
    with datamodels.open(path) as model:
        assert model.meta.background.scaling_factor == pytest.approx(fitted.scale)
        assert model.meta.cal_step.bkg_subtract == "COMPLETE"
        np.testing.assert_array_equal(model.mask, fitted.mask)
    header = fits.getheader(path)
    assert header["BKGD_ERR"] == pytest.approx(fitted.scale_err)
    assert [header[f"BKGRMS{i:02d}"] for i in range(6)] == pytest.approx(fitted.fitted.rms)
    given = [ref, exposure]
    assert replay(fitted, arrays=given).scale == fitted.scale
    np.testing.assert_array_equal(replay(made.meta.history, arrays=given).data, made.data)


def test_a_full_frame_reference_is_cut_to_a_subarray(place):
    whole = np.ones((400, 400))
    whole[50 : 50 + 256, 20 : 20 + 320] = reference()
    exposure = target(meta=place(20, 50, 320, 256))
    made = BackgroundModel.from_reference(whole).fit(exposure)
    assert made.scale == BackgroundModel.from_reference(reference()).fit(exposure).scale
    assert abs(made.subtract_from(exposure).data.mean()) < 0.01


def test_rounds_of_rejection_end_early_when_little_is_gained(meta):
    exposure = target(meta=meta(DISPAXIS=1))
    fitted = BackgroundModel.from_reference(reference()).fit(exposure, rms_stop=50)
    assert len(fitted.fitted.rms) < 6
    assert len(BackgroundModel.from_reference(reference()).fit(exposure).fitted.rms) == 6
    rms = np.array(BackgroundModel.from_reference(reference()).fit(exposure).fitted.rms)
    assert (np.diff(rms) < 0).all()
    with pytest.raises(DataError, match="rms_stop needs DISPAXIS"):
        BackgroundModel.from_reference(reference()).fit(target(), rms_stop=1)


@pytest.mark.parametrize("why", ["covered", "flagged", "zero variance"])
def test_without_enough_background_the_target_stays_as_it_is(why):
    exposure = target()
    model = BackgroundModel.from_reference(reference())
    if why == "covered":
        model = model.mask_sources([(0, 12, 319, 255)])
    elif why == "flagged":
        exposure = exposure.mask(np.ones(SHAPE, bool))
    else:
        exposure = exposure.with_(err=np.zeros(SHAPE))
    fitted = model.fit(exposure)
    assert fitted.status == "FAILED"
    assert "5 % are needed" in fitted.notes[0]
    assert np.isnan(fitted.scale)
    with pytest.warns(UserWarning, match="FAILED"):
        made = fitted.subtract_from(exposure)
    np.testing.assert_array_equal(made.data, exposure.data)
    assert made.meta.card("S_BKDSUB") == "FAILED"
    assert made.meta.card("BKGD_SCL") == 0
    with pytest.raises(DataError, match="fit has failed"):
        fitted.save_background("b.fits")


def test_what_can_not_be_used_is_refused(tmp_path):
    model, exposure = BackgroundModel.from_reference(reference()), target()
    with pytest.raises(DataError, match=r"call fit\(target\) first"):
        model.subtract_from(exposure)
    lacking = Table({"id": [1], "flux": [2.0]})
    with pytest.raises(DataError, match=r"lacks positions.*x, y.*it has id, flux"):
        model.mask_sources(lacking, dispersion=DISPERSION).fit(exposure)
    with pytest.raises(DataError, match=r"isophotal_abmag.*has x, y"):
        model.mask_sources(Table({"x": [1], "y": [2]}), dispersion=DISPERSION, mmag_extract=20).fit(exposure)
    with pytest.raises(DataError, match="needs dispersion="):
        model.mask_sources(lacking)
    with pytest.raises(DataError, match="belong to a catalogue"):
        model.mask_sources([(0, 0, 1, 1)], mmag_extract=20)
    for wrong in ({}, {1: {"offset": (1, 2)}}, {1: {"offset": (1,), "extent": (1, 2)}}, {1: 5}):
        with pytest.raises(DataError, match=r"offset|extent"):
            model.mask_sources(lacking, dispersion=wrong)
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "bad.yaml").write_text("{")
    for name in ("bad.json", "bad.yaml", "none.yaml"):
        with pytest.raises(DataError, match=r"neither JSON nor YAML|can't be read"):
            model.mask_sources(lacking, dispersion=tmp_path / name)
    with pytest.raises(DataError, match="can't be read"):
        model.mask_sources(tmp_path / "none.ecsv", dispersion=DISPERSION)
    with pytest.raises(DataError, match="boxes are a list"):
        model.mask_sources([(0, 0, 1)])
    with pytest.raises(DataError, match="other values"):
        model.mask_sources(np.full(SHAPE, 2))
    with pytest.raises(DataError, match="doesn't fit"):
        model.mask_sources(np.ones((4, 4), bool)).fit(exposure)
    with pytest.raises(DataError, match="has no errors"):
        model.fit(exposure.with_(err=None))
    with pytest.raises(DataError, match="one image"):
        model.fit(Exposure(np.ones((2, *SHAPE))))
    with pytest.raises(DataError, match="one image"):
        BackgroundModel.from_reference(np.ones((2, 4, 4)))
    for options in ({"outlier_percent": 60}, {"maxiter": -1}):
        with pytest.raises(DataError, match="outlier_percent"):
            model.fit(exposure, **options)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 3000, BOMB, "1: {offset: [.nan, 0], extent: [1, 1]}",
                                  "1: {offset: [1.0e+30, 0], extent: [1, 1]}", "1: {offset: '12', extent: [1, 1]}",
                                  "1: !!python/object/apply:os.system [true]"])  # fmt: skip
def test_a_hostile_dispersion_is_refused_on_a_short_line(tmp_path, text):
    for name in ("a.yaml", "a.json"):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError) as error:
            orders(tmp_path / name)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 2000


@pytest.mark.parametrize(
    ("tree", "message"),
    [("mask: !core/ndarray-1.0.0 {source: 'http://127.0.0.1:9', datatype: uint8, shape: [2]}", "the file itself holds"),
     ("mask: {$ref: 'file:///etc/hostname#/mask'}", "the file itself holds"), ("mask: 3", "the file itself holds"),
     ("mask: " + "[" * 150_000, "deeper than 200 levels|can't be read as ASDF"), ("mask: ]", "can't be read as ASDF"),
     ("mask: !!python/object/apply:os.system [true]", "the file itself holds")],
)  # fmt: skip
def test_a_hostile_asdf_file_is_refused(tmp_path, tree, message):
    pytest.importorskip("asdf")
    path = tmp_path / "a.asdf"
    head = "#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n--- !core/asdf-1.1.0\n"
    path.write_text(f"{head}{tree}\n...\n")
    with pytest.raises(DataError, match=message) as error:
        Sources.of(path, None, None)
    assert str(error.value).isprintable()


def test_an_asdf_array_that_announces_more_than_its_file_is_refused(tmp_path):
    asdf = pytest.importorskip("asdf")
    path = tmp_path / "a.asdf"
    asdf.AsdfFile({"mask": np.ones((4, 5), np.uint8)}).write_to(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"shape: [4, 5]", b"shape: [90000, 90000]\n  strides: [0, 0]"))
    with pytest.raises(DataError, match="larger than the file can hold"):
        Sources.of(path, None, None)
    block = content.index(b"\xd3BLK") + 14
    path.write_bytes(content[: block + 10])
    with pytest.raises(DataError, match="can't be read as ASDF"):
        Sources.of(path, None, None)
    path.write_bytes(content[: block + 16] + (1 << 40).to_bytes(8, "big") + content[block + 24 :])
    with pytest.raises(DataError, match="a block announces more than the file can hold"):
        Sources.of(path, None, None)


def test_a_catalogue_of_words_and_a_packed_one_are_refused(tmp_path):
    import gzip

    exposure = target()
    for text, message in (("x y\na b\n", "column 'x' of the catalogue should hold numbers"), ("", "can't be read")):
        (tmp_path / "a.txt").write_text(text)
        with pytest.raises(DataError, match=message):
            Sources.of(tmp_path / "a.txt", {1: {"offset": (0, 0), "extent": (1, 1)}}, None).background(exposure)
    (tmp_path / "a.txt").write_bytes(gzip.compress(b"x y\n1 2\n"))
    with pytest.raises(DataError, match="is packed; unpack it"):
        Sources.of(tmp_path / "a.txt", {}, None)
