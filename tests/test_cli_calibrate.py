"""The command `corontools calibrate`."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from corontools import DQ, Exposure
from corontools.calibrate import MaskedImage, Plane, Steps, calibrate
from corontools.calibrate.product import product_names, read_visit_image
from corontools.cli import main
from corontools.simulate import star_field


@pytest.fixture(scope="module")
def field():
    return star_field(1024, snaps=2, seed=3)


@pytest.fixture(scope="module")
def folder(field, tmp_path_factory):
    """Two snaps as JWST-like files, the first one as image, weight and mask of their own, and references."""
    path = tmp_path_factory.mktemp("visit")
    for k, exposure in enumerate(field.exposures, 1):
        exposure.save(path / f"snap{k}.fits")
    first = field.exposures[0]
    header = first.wcs.to_header(relax=True)
    header["EXPTIME"] = 15.0
    fits.PrimaryHDU(first.data, header).writeto(path / "image.fits")
    fits.PrimaryHDU(1 / np.square(first.err)).writeto(path / "weight.fits")
    fits.PrimaryHDU(first.flags().astype(np.int32)).writeto(path / "mask.fits")
    field.refcat().write(path / "refs.ecsv", format="ascii.ecsv")
    return path


@pytest.fixture
def run(folder, tmp_path, capsys):
    def go(*options, files=("snap1.fits", "snap2.fits"), refs="refs.ecsv"):
        inputs = [str(folder / name) for name in files]
        status = main(["calibrate", *inputs, "--refcat", str(folder / refs), "-o", str(tmp_path / "out"), *options])
        out, err = capsys.readouterr()
        return status, out, [line for line in err.splitlines() if line.strip() and "%|" not in line]

    return go


def test_products_are_those_of_a_script(run, folder, field, tmp_path):
    status, out, notes = run("--band", "r", "--write-options")
    assert status == 0
    written = {path.name for path in (tmp_path / "out").glob("[!.]*")}
    assert written == {*product_names(), "calibrate.toml"}
    wanted = calibrate(
        folder / "snap1.fits", folder / "refs.ecsv", second=folder / "snap2.fits", steps={"photometry": {"band": "r"}}
    )
    visit = read_visit_image(tmp_path / "out" / "preliminary_visit_image.fits")
    np.testing.assert_array_equal(visit.frame.image, wanted.calibrated_frame.image)
    assert any("zero point" in note for note in notes)
    assert "preliminary_visit_image.fits" in out
    assert Steps.read(tmp_path / "out" / "calibrate.toml").photometry.band == "r"


def test_weight_and_mask_stand_for_errors_and_flags(run, folder, tmp_path):
    status, _, _ = run(
        "--band", "r", "--weight", str(folder / "weight.fits"), "--mask", str(folder / "mask.fits"),
        files=["image.fits"],
    )  # fmt: skip
    assert status == 0
    stars = Table.read(tmp_path / "out" / "single_visit_star_unstandardized.fits")
    assert len(stars) > 100
    summary = read_visit_image(tmp_path / "out" / "preliminary_visit_image.fits").summary
    assert summary["expTime"][0] == 15.0


def test_a_gain_makes_the_variance(run, field, tmp_path):
    status, _, _ = run("--band", "r", "--gain", "1", "--read-noise", "8", files=["image.fits"])
    assert status == 0
    noise = read_visit_image(tmp_path / "out" / "preliminary_visit_image.fits").summary["meanVar"][0]
    assert noise == pytest.approx(500 + 64, rel=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--weight", "w.fits", "--gain", "2"], "--weight is the inverse variance"),
        (["--read-noise", "2"], "--read-noise belongs to --gain"),
    ],
)
def test_contradictions_are_wrong_usage(run, options, words):
    status, _, err = run(*options)
    assert status == 2
    assert words in err[-1]


def test_three_files_are_no_visit(run):
    status, _, err = run(files=["snap1.fits", "snap2.fits", "image.fits"])
    assert status == 2
    assert "one exposure or two snaps" in err[-1]


def test_each_file_may_be_a_visit_of_its_own(run, tmp_path):
    files = ("snap1.fits", "image.fits", "snap2.fits")
    status, _, err = run("--band", "r", "--each", files=files)
    assert status == 1
    assert "image: " in err[-2]
    assert "a variance is needed" in err[-2]
    assert "1 of 3 failed, the rest is done" in err[-1]
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["snap1", "snap2"]
    for folder in ("snap1", "snap2"):
        assert sorted(path.name for path in (tmp_path / "out" / folder).iterdir()) == sorted(product_names())


def test_a_step_that_fails_is_one_line_and_leaves_no_folder(run, tmp_path):
    status, _, err = run("--band", "z")
    assert status == 1
    assert err == [
        "corontools: error: solve_photometry: refs.ecsv has no band 'z' (found: g, r, i, phot_g_mean, phot_bp_mean, "
        "phot_rp_mean)"
    ]
    assert not (tmp_path / "out").exists()
    status, _, err = run("--band", "r", files=["image.fits"])
    assert status == 1
    assert "a variance is needed" in err[-1]


def test_flags_of_a_jwst_file_become_planes(field, folder):
    frame, flags = MaskedImage.from_exposure(Exposure.read(folder / "snap1.fits")), field.exposures[0].flags()
    for plane, bit in ((Plane.SAT, DQ.SATURATED), (Plane.BAD, DQ.DO_NOT_USE)):
        assert (flags & bit).any()
        np.testing.assert_array_equal(frame.has(plane), (flags & bit) != 0)
