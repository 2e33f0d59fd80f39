"""The commands `corontools warp` and `corontools coadd`."""

from __future__ import annotations

import numpy as np
import pytest

from corontools.calibrate.product import read_visit_image
from corontools.cli import main
from corontools.simulate import star_visits
from corontools.warp import ArtifactRejection, Coadd, PSFMatcher, SkyMap, Tiling, Warp, WarpTypes, worst_seeing


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three visits of one field, of which the second has a trail."""
    folder = tmp_path_factory.mktemp("visits")
    field = star_visits((3.4, 4.0, 3.7), shape=200, seed=5)
    return [visit.save(folder / f"visit{k}.fits") for k, visit in enumerate(field.visits)]


@pytest.fixture
def run(files, tmp_path, capsys):
    def go(command, *options, inputs=files, out="out"):
        status = main([command, *map(str, inputs), "-o", str(tmp_path / out), *map(str, options)])
        told, err = capsys.readouterr()
        return status, told, [line for line in err.splitlines() if line.strip() and "%|" not in line]

    return go


def names(folder):
    return sorted(path.name for path in folder.glob("*.fits"))


def test_warps_are_those_of_a_script(run, files, tmp_path):
    status, told, err = run("warp", "--matched", "4.6", "--order", "1")
    assert (status, err) == (0, [])
    out = tmp_path / "out"
    patch = SkyMap.read(out / "skymap.json")[0][0, 0]
    kinds = ("direct", "psfMatched")
    assert names(out) == sorted(f"deepCoadd_{kind}Warp-r-0-0,0-{n}.fits" for kind in kinds for n in (101, 102, 103))
    assert all(name in told for name in names(out))
    direct = Warp.from_exposures(files[0], patch)
    types = WarpTypes(matched=4.6, matcher=PSFMatcher(order=1))
    for kind in kinds:
        made = types.make(kind, direct)
        again = Warp.read(out / f"deepCoadd_{kind}Warp-r-0-0,0-101.fits")
        np.testing.assert_array_equal(again.frame.image, made.frame.image)


def test_a_second_run_keeps_what_is_whole_and_mends_the_rest(run, tmp_path):
    run("warp")
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.fits")}
    path = tmp_path / "out" / "deepCoadd_directWarp-r-0-0,0-102.fits"
    path.write_bytes(path.read_bytes()[:-3000])
    status, _, err = run("warp")
    assert status == 0
    assert any("made again, for its products were not whole" in line for line in err)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.fits")} == first
    status, _, err = run("warp")
    assert err == ["note: 3 of 3 warps were made before, whole, and are kept"]


def test_what_was_made_otherwise_is_refused_or_made_again(run, tmp_path):
    run("warp", "--kernel", "bilinear")
    status, _, err = run("warp")
    assert status == 1
    assert any("made with other options" in line for line in err)
    assert Warp.read(tmp_path / "out" / "deepCoadd_directWarp-r-0-0,0-101.fits").warper.kernel == "bilinear"
    status, _, err = run("warp", "--reuse")
    assert status == 0
    assert any("made again" in line for line in err)
    assert Warp.read(tmp_path / "out" / "deepCoadd_directWarp-r-0-0,0-101.fits").warper.kernel == "lanczos3"


def test_patches_of_a_sky_map_are_chosen(run, files, tmp_path):
    visits = [read_visit_image(path) for path in files]
    skymap = SkyMap.around(visits, tiling=Tiling(0.2, (150, 150), 20))
    skymap.save(tmp_path / "sky.json")
    status, _, _ = run("warp", "--skymap", tmp_path / "sky.json", "--patch", "1,1", "--no-direct", "--likelihood")
    assert status == 0
    assert names(tmp_path / "out") == [f"deepCoadd_likelihoodWarp-r-0-1,1-{n}.fits" for n in (101, 102, 103)]
    assert Warp.read(tmp_path / "out" / names(tmp_path / "out")[0]).shape == skymap[0][1, 1].shape
    assert not (tmp_path / "out" / "skymap.json").exists()


def test_a_new_tract_is_as_asked(run, tmp_path):
    status, _, _ = run("warp", "--pixel-scale", "0.25", "--rotation", "30", "--patch-size", "120", "--border", "10")
    assert status == 0
    (tract,) = SkyMap.read(tmp_path / "out" / "skymap.json")
    assert (tract.tiling.pixel_scale, tract.tiling.rotation) == (0.25, 30.0)
    assert (tract.tiling.patch, tract.tiling.border) == ((120, 120), 10)
    patches = {name.split("-")[3] for name in names(tmp_path / "out")}
    assert len(patches) > 2


def test_the_worst_seeing_is_found(run, files, tmp_path):
    assert run("warp", "--matched", "worst", "--no-direct")[0] == 0
    patch = SkyMap.read(tmp_path / "out" / "skymap.json")[0][0, 0]
    model = worst_seeing(files, patch)
    made = Warp.read(tmp_path / "out" / "deepCoadd_psfMatchedWarp-r-0-0,0-103.fits")
    assert made.psf.fwhm == pytest.approx(model.fwhm, abs=0.02)


def test_coadds_are_those_of_a_script(run, tmp_path):
    run("warp", "--matched", "5", out="warps")
    warps = sorted((tmp_path / "warps").glob("*_directWarp-*.fits"))
    status, told, _ = run("coadd", "--reject", inputs=warps)
    assert status == 0
    assert "deepCoadd-r-0-0,0.fits" in told
    made = Coadd.read(tmp_path / "out" / "deepCoadd-r-0-0,0.fits")
    expected = Coadd.from_warps(warps, reject=ArtifactRejection())
    np.testing.assert_array_equal(made.image, expected.image)
    assert made.inputs.visits["masked"][1] > 100
    matched = sorted((tmp_path / "warps").glob("*_psfMatchedWarp-*.fits"))
    assert run("coadd", "--statistic", "median", inputs=[*warps, *matched], out="both")[0] == 0
    assert names(tmp_path / "both") == ["deepCoadd-r-0-0,0.fits", "deepCoaddPsfMatched-r-0-0,0.fits"]


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        (["--tract", "0"], 2, "--tract belongs to --skymap"),
        (["--no-direct"], 2, "--no-direct leaves nothing to make"),
        (["--patch", "5"], 2, "a patch is X,Y"),
        (["--matched", "wide"], 2, "a positive number is needed"),
        (["--patch", "7,7"], 1, "there is no (7, 7)"),
        (["--matched", "4.6", "--cell", "8"], 1, "cells are 32 px or more"),
    ],
)
def test_wrong_usage_is_told_in_a_line(run, tmp_path, options, status, text):
    found, told, err = run("warp", *options)
    assert found == status
    assert told == ""
    assert text in " ".join(err)
    assert not names(tmp_path / "out")


def test_a_file_that_is_no_frame_is_told(run, files, tmp_path):
    (tmp_path / "text.fits").write_text("no FITS")
    inputs = [*files[:1], tmp_path / "text.fits"]
    # a tract around all frames would depend on what can be read
    status, _, err = run("warp", inputs=inputs)
    assert status == 1
    assert "text.fits" in err[-1]
    SkyMap.around([read_visit_image(files[0])]).save(tmp_path / "sky.json")
    status, _, err = run("warp", "--skymap", tmp_path / "sky.json", inputs=inputs)
    assert status == 0
    assert any("left out" in line and "text.fits" in line for line in err)
    status, _, err = run("coadd", inputs=[tmp_path / "text.fits"], out="coadds")
    assert status == 1
    assert "text.fits" in err[-1]
