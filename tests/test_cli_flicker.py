"""The command `corontools flicker`."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from corontools import Exposure, FlickerCleaner, Meta
from corontools.cli import main


@pytest.fixture
def files(tmp_path):
    """A rate and a ramp of a NIRCam subarray."""
    rng = np.random.default_rng(1)
    meta = Meta(instrument="NIRCAM", exp_type="NRC_IMAGE", detector="NRCALONG")
    stripes = rng.normal(0, 2.0, (1, 3, 64, 1))
    ramp = (20 * np.arange(1, 4)[:, None, None] + stripes + rng.normal(0, 3.0, (1, 3, 64, 128))).astype(np.float32)
    rate = ramp[0, 2] / 30
    flags = {"dq": np.zeros(ramp.shape, np.uint8), "pixel_dq": np.zeros((64, 128), np.uint32)}
    paths = tmp_path / "jw1_nrcalong_rate.fits", tmp_path / "jw2_nrcalong_ramp.fits"
    Exposure(rate, err=np.ones_like(rate), meta=meta).save(paths[0])
    Exposure(ramp, meta=meta, **flags).save(paths[1])
    return paths


@pytest.fixture
def run(files, tmp_path, capsys):
    def go(*options, inputs=files):
        status = main(["flicker", *map(str, inputs), "-o", str(tmp_path / "out"), *map(str, options)])
        out, err = capsys.readouterr()
        return status, out, [line for line in err.splitlines() if line.strip() and "%|" not in line]

    return go


def test_several_files_are_cleaned_as_in_a_script(run, files, tmp_path):
    status, out, err = run()
    assert (status, err) == (0, [])
    for path in files:
        name = f"{path.stem.rsplit('_', 1)[0]}_clean_flicker_noise.fits"
        made = Exposure.read(tmp_path / "out" / name)
        np.testing.assert_array_equal(made.data, FlickerCleaner(Exposure.read(path)).cleaned.data)
        assert fits.getval(tmp_path / "out" / name, "S_CLNFNS") == "COMPLETE"
        assert name in out
    assert len(list((tmp_path / "out").glob("[!.]*"))) == 2


def test_options_are_the_verbs_of_the_chain(run, files, tmp_path):
    flat = Exposure(np.full((64, 128), 0.9)).save(tmp_path / "flat.fits")
    status, _, _ = run(
        "--n-sigma", "3", "--histogram", "--background", "model", "--box", "16", "--noise", "stream", "--add-err",
        "--flat", flat, "--axis", "rows", "--save", "mask", "--save", "noise", "--save", "background",
        inputs=files[:1],
    )  # fmt: skip
    assert status == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == [
        "jw1_nrcalong_clean_flicker_noise.fits", "jw1_nrcalong_flicker_bkg.fits", "jw1_nrcalong_flicker_noise.fits",
        "jw1_nrcalong_mask.fits",
    ]  # fmt: skip
    made = Exposure.read(tmp_path / "out" / "jw1_nrcalong_clean_flicker_noise.fits")
    assert made.meta.history[-5:] == (
        f"FlickerCleaner(Exposure.read({str(files[0])!r}), flat={str(flat)!r}, axis=1)",
        ".mask_scene(n_sigma=3.0, fit_histogram=True)",
        ".fit_background('model', box=16)",
        ".fit_noise('stream')",
        ".add_err()",
    )
    assert (made.err > 1).all()


def test_a_mask_may_be_given(run, files, tmp_path):
    mask = np.ones((64, 128))
    mask[7] = 0
    path = Exposure(mask).save(tmp_path / "mask.fits")
    status, _, err = run("--mask", path, "--n-sigma", "0", inputs=files[:1])
    assert status == 0
    assert err == ["note: jw1_nrcalong_rate.fits: integration 1: 1 of 64 rows left unchanged"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--auto", "--noise", "fft"], "--auto chooses"),
        (["--mask", "m.fits", "--histogram"], "--mask is a mask"),
        (["--box", "8"], "--box belongs to --background model"),
        (["--n-sigma", "-1"], "positive number is needed"),
        (["--noise", "mean"], "invalid choice"),
    ],
)
def test_contradictions_are_wrong_usage(run, options, message):
    status, _, err = run(*options)
    assert status == 2
    assert message in err[-1]


def test_if_one_file_fails_the_others_are_done(run, files, tmp_path):
    bad = tmp_path / "bad_rate.fits"
    bad.write_text("no FITS")
    status, out, err = run(inputs=(files[0], bad, files[1]))
    assert status == 1
    assert "bad_clean_flicker_noise.fits: " in err[-2]
    assert "can't be read as FITS" in err[-2]
    assert err[-1].startswith("corontools: error: 1 of 3 failed, the rest is done")
    made = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.fits")}
    assert set(made) == {"jw1_nrcalong_clean_flicker_noise.fits", "jw2_nrcalong_clean_flicker_noise.fits"}
    assert all(name in out for name in made)
    bad.write_bytes(files[0].read_bytes())
    status, out, err = run(inputs=(files[0], bad, files[1]))
    assert (status, err) == (0, ["note: 2 of 3 files were made before, whole, and are kept"])
    assert len(list((tmp_path / "out").glob("*.fits"))) == 3
    assert all((tmp_path / "out" / name).read_bytes() == made[name] for name in made)


def test_the_first_failure_ends_the_run_if_asked_to(run, files, tmp_path):
    bad = tmp_path / "bad_rate.fits"
    bad.write_text("no FITS")
    status, _, err = run("--fail-fast", inputs=(files[0], bad, files[1]))
    assert (status, len(err)) == (1, 1)
    assert "can't be read as FITS" in err[0]
    assert [path.name for path in (tmp_path / "out").glob("*.fits")] == ["jw1_nrcalong_clean_flicker_noise.fits"]


def test_a_failure_of_all_leaves_no_folder(run, tmp_path):
    bad = tmp_path / "bad_rate.fits"
    bad.write_text("no FITS")
    status, _, err = run(inputs=[bad])
    assert (status, len(err)) == (1, 1)
    assert not (tmp_path / "out").exists()


def test_two_files_of_one_name_are_refused(run, files, tmp_path):
    twin = Exposure.read(files[0]).save(tmp_path / "jw1_nrcalong_rateints.fits")
    status, _, err = run(inputs=(files[0], twin))
    assert status == 1
    assert "several files would give jw1_nrcalong_clean_flicker_noise.fits" in err[-1]


def test_what_is_there_and_whole_is_kept(run, files, tmp_path):
    assert run()[0] == 0
    products = sorted((tmp_path / "out").glob("*.fits"))
    before = [path.stat().st_ino for path in products]
    status, _, err = run()
    assert (status, err) == (0, ["note: 2 of 2 files were made before, whole, and are kept"])
    assert [path.stat().st_ino for path in products] == before
    status, _, err = run("--noise", "fft")
    assert status == 1
    assert "made with other options; choose another folder, or --overwrite" in err[0]
    assert [path.stat().st_ino for path in products] == before
    assert run("--noise", "fft", "--overwrite")[::2] == (0, [])
    assert [path.stat().st_ino for path in products] != before


def test_what_is_not_ours_is_kept(run, tmp_path):
    (tmp_path / "out").mkdir()
    product = tmp_path / "out" / "jw1_nrcalong_clean_flicker_noise.fits"
    product.write_text("precious")
    status, _, err = run("--fail-fast")
    assert status == 1
    assert "already" in err[-1]
    assert product.read_text() == "precious"
    assert run("--overwrite")[0] == 0


def test_an_unknown_orientation_is_told(run, tmp_path):
    plain = Exposure(np.random.default_rng(1).normal(size=(32, 32))).save(tmp_path / "plain.fits")
    status, _, err = run(inputs=[plain])
    assert status == 1
    assert "give axis=1" in err[-1]
    assert run("--axis", "columns", inputs=[plain])[0] == 0
