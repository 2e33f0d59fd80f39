"""The command `corontools background`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from corontools import BackgroundModel, Exposure, Meta
from corontools.cli import main

SHAPE = (64, 96)
ORDERS = '{"1": {"offset": [20, 0], "extent": [60, 8]}}'


def meta(**cards):
    return Meta.from_headers(fits.Header(cards), fits.Header({"BUNIT": "DN/s"}))


def saved(path, level, *, seed, n=None, **cards):
    """An exposure of a flat background with noise 0.1, written."""
    shape = SHAPE if n is None else (n, *SHAPE)
    data = np.random.default_rng(seed).normal(level, 0.1, shape).astype(np.float32)
    return Exposure(data, err=np.full(shape, 0.1, np.float32), meta=meta(**cards)).save(path)


@pytest.fixture
def files(tmp_path):
    """A target, a cube, two backgrounds and a reference."""
    names = ("jw1_nis_rate", "jw2_nis_rateints", "jw3_nis_rate", "jw4_nis_rate")
    paths = [tmp_path / f"{name}.fits" for name in names]
    saved(paths[0], 12.0, seed=1)
    saved(paths[1], 15.0, seed=2, n=3)
    for seed, path in enumerate(paths[2:], 3):
        saved(path, 10.0, seed=seed)
    Exposure(np.full(SHAPE, 4.0)).save(tmp_path / "wfssbkg.fits")
    return paths


@pytest.fixture
def run(tmp_path, capsys):
    def go(*options):
        status = main(["background", *map(str, options), "-o", str(tmp_path / "out")])
        out, err = capsys.readouterr()
        return status, out, [line for line in err.splitlines() if line.strip() and "%|" not in line]

    return go


def products(tmp_path):
    return sorted(path.name for path in (tmp_path / "out").glob("[!.]*"))


def association(tmp_path, *products):
    """An association file; each product is a list of (kind, name)."""
    table = [
        {"name": f"p{i}", "members": [{"exptype": kind, "expname": name} for kind, name in members]}
        for i, members in enumerate(products)
    ]
    path = tmp_path / "bkg_asn.json"
    path.write_text(json.dumps({"products": table}))
    return path


def test_the_mean_of_exposures_is_subtracted_as_in_a_script(run, files, tmp_path):
    status, out, err = run(*files[:2], "--bkg", *files[2:], "--save-background", "--sigma", "5")
    assert (status, err) == (0, [])
    names = ["jw1_nis_bsub.fits", "jw1_nis_combinedbackground.fits"]
    names += ["jw2_nis_bsubints.fits", "jw2_nis_combinedbackground.fits"]
    assert products(tmp_path) == names
    assert all(name in out for name in names)
    model = BackgroundModel.from_exposures([str(path) for path in files[2:]], sigma=5.0)
    for path, name in zip(files[:2], names[::2], strict=True):
        made = Exposure.read(tmp_path / "out" / name)
        again = model.subtract_from(Exposure.read(path))
        np.testing.assert_array_equal(made.data, again.data)
        np.testing.assert_array_equal(made.err, again.err)
        assert fits.getval(tmp_path / "out" / name, "S_BKDSUB") == "COMPLETE"
    np.testing.assert_array_equal(Exposure.read(tmp_path / "out" / names[1]).data, model.image)


def test_an_association_tells_targets_and_backgrounds(run, files, tmp_path):
    nods = [("background", files[2].name), ("background", files[3].name)]
    path = association(tmp_path, [("science", files[0].name), *nods], [("science", files[1].name), *nods[:1]])
    assert run(path)[0] == 0
    assert products(tmp_path) == ["jw1_nis_bsub.fits", "jw2_nis_bsubints.fits"]
    one = BackgroundModel.from_exposures([files[2]]).subtract_from(Exposure.read(files[1]))
    np.testing.assert_array_equal(Exposure.read(tmp_path / "out" / "jw2_nis_bsubints.fits").data, one.data)
    status, _, err = run(path, "--product", "p0")
    assert (status, len(err)) == (1, 1)
    assert "holds jw1_nis_bsub.fits already" in err[0]
    assert run(path, "--product", "p0", "--overwrite")[0] == 0


def test_a_reference_is_fitted_beside_the_sources_of_the_catalogue(run, files, tmp_path):
    Table({"x": [30.0], "y": [32.0]}).write(tmp_path / "cat.ecsv")
    (tmp_path / "orders.json").write_text(ORDERS)
    target = Exposure.read(files[0])
    trace = np.zeros(SHAPE)
    trace[28:37, 20:81] = 50.0
    target.with_(data=target.data + trace).save(tmp_path / "jw5_rate.fits")
    path = association(tmp_path, [("science", "jw5_rate.fits"), ("sourcecat", "cat.ecsv")])
    way = ("--reference", tmp_path / "wfssbkg.fits", "--dispersion", tmp_path / "orders.json")
    assert run(path, *way, "--maxiter", "2")[::2] == (0, [])
    with fits.open(tmp_path / "out" / "jw5_bsub.fits") as product:
        assert product[0].header["BKGD_SCL"] == pytest.approx(3.0, abs=0.005)
        assert product["MASK"].data[32, 50] == 0
        assert product["MASK"].data[5, 5] == 1
    # an exposure whose header names it
    saved(tmp_path / "jw6_rate.fits", 12.0, seed=8, SCATFILE="cat.ecsv")
    assert run(tmp_path / "jw6_rate.fits", *way)[0] == 0
    assert fits.getval(tmp_path / "out" / "jw6_bsub.fits", "BKGD_SCL") == pytest.approx(3.0, abs=0.005)


def test_a_mask_and_an_image_of_ones_own(run, files, tmp_path):
    mask = np.zeros(SHAPE)
    mask[:8] = 1
    Exposure(mask).save(tmp_path / "mask.fits")
    reference = ("--reference", tmp_path / "wfssbkg.fits")
    assert run(files[0], *reference, "--mask", tmp_path / "mask.fits", "--maxiter", "0")[0] == 0
    made = Exposure.read(tmp_path / "out" / "jw1_nis_bsub.fits")
    scale = float(np.mean(Exposure.read(files[0]).data[:8], dtype=float)) / 4
    assert made.meta.card("BKGD_SCL") == pytest.approx(scale, rel=1e-6)
    image = ("--image", tmp_path / "wfssbkg.fits", "--scale", "2.5", "--no-propagate", "--overwrite")
    assert run(files[0], *image)[0] == 0
    made = Exposure.read(tmp_path / "out" / "jw1_nis_bsub.fits")
    np.testing.assert_allclose(made.data, Exposure.read(files[0]).data - 10, rtol=1e-5)
    assert (made.err == np.float32(0.1)).all()


def test_a_fit_that_fails_leaves_the_target_and_says_so(run, files, tmp_path):
    Table({"x": [30.0], "y": [32.0]}).write(tmp_path / "cat.ecsv")
    (tmp_path / "orders.json").write_text('{"1": {"offset": [0, 0], "extent": [400, 400]}}')
    way = ("--reference", tmp_path / "wfssbkg.fits", "--catalog", tmp_path / "cat.ecsv")
    status, _, err = run(files[0], *way, "--dispersion", tmp_path / "orders.json", "--save-background")
    assert status == 0
    assert products(tmp_path) == ["jw1_nis_bsub.fits"]
    assert len(err) == 1
    assert "FAILED" in err[0]
    made = Exposure.read(tmp_path / "out" / "jw1_nis_bsub.fits")
    np.testing.assert_array_equal(made.data, Exposure.read(files[0]).data)
    assert made.meta.card("S_BKDSUB") == "FAILED"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no background exposure is known"),
        (("--reference", "wfssbkg.fits"), "none are known; give --catalog"),
        (("--bkg", "nothing.fits"), "nothing.fits"),
        (("--templates", "jw3_nis_rate.fits"), "SOSS"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_written(run, files, tmp_path, options, message):
    paths = [tmp_path / word if word.endswith(".fits") else word for word in options]
    status, _, err = run(files[0], *paths)
    assert (status, len(err)) == (1, 1)
    assert message in err[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reference", "a.fits", "--sigma", "3"), "--sigma belongs to --bkg"),
        (("--scale", "2"), "--scale belongs to --image"),
        (("--bkg", "a.fits", "--mmag-extract", "20"), "--mmag-extract belongs to --reference"),
        (("--reference", "a.fits", "--mask", "m.fits", "--catalog", "c.ecsv"), "--mask stands for a catalogue"),
        (("--reference", "a.fits", "--image", "b.fits"), "not allowed with"),
        (("--image", "a.fits", "--scale", "nan"), "a number is needed"),
        (("--reference", "a.fits", "--outlier-percent", "101"), "percent are 0 to 100"),
    ],
)
def test_contradictions_are_refused(run, files, options, message):
    status, _, err = run(files[0], *options)
    assert status == 2
    assert message in err[-1]


def test_products_of_one_name_are_refused(run, files, tmp_path):
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / files[0].name
    twin.write_bytes(files[0].read_bytes())
    status, _, err = run(files[0], twin, "--bkg", *files[2:])
    assert status == 1
    assert "several exposures would give jw1_nis_bsub.fits" in err[0]
    status, _, err = run(files[0], files[0], "--bkg", *files[2:])  # the same file twice
    assert status == 1
    assert "several exposures would give jw1_nis_bsub.fits" in err[0]
