"""Which exposures are on a patch, and the worst of their seeing."""

import numpy as np
import pytest

from corontools import DataError
from corontools.calibrate import calibrate
from corontools.calibrate.product import read_outline, read_visit_image
from corontools.calibrate.psf import GaussianPSF, PixelPSF
from corontools.folder import locked
from corontools.simulate import star_field
from corontools.warp import ModelPSF, SkyMap, Tiling, Warp, make_warps, select_exposures, worst_seeing


@pytest.fixture
def visits(tools):
    """On the patch, beside it, without WCS."""
    return [
        tools.visit_image(visit=1),
        tools.visit_image(wcs=tools.rotated(center=(53.3, -27.8)), visit=2),
        tools.visit_image(visit=3).with_(wcs=None),
    ]


def test_exposures_on_the_patch_are_chosen(visits, patch):
    with pytest.warns(UserWarning, match="left out: the image has no WCS"):
        assert select_exposures(visits, patch) == visits[:1]


def test_only_those_on_the_patch_are_warped(visits, patch, tmp_path):
    assert len(make_warps(visits[:2], patch, tmp_path)) == 1
    with pytest.warns(UserWarning, match="none of the exposures is on patch 0,0 of tract 0; no warp is made"):
        assert make_warps(visits[1:2], patch, tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_a_file_is_chosen_by_its_headers(tmp_path):
    field = star_field(1024, seed=3)
    exposure = field.exposures[0]
    exposure = exposure.with_(meta=exposure.meta.with_cards({"VISIT": 77}))
    calibrate(exposure, field.refcat(), steps={"photometry": {"band": "r"}}).save(tmp_path)
    path = tmp_path / "preliminary_visit_image.fits"
    outline, whole = read_outline(path), read_visit_image(path)
    assert (outline.visit, outline.detector, outline.filter) == (whole.visit, whole.detector, whole.filter)
    assert (outline.visit, outline.shape) == (77, whole.shape)
    assert outline.wcs.to_header_string(relax=True) == whole.wcs.to_header_string(relax=True)


def test_the_worst_seeing_is_that_of_the_widest_psf_where_it_is_known(visits, tools, patch):
    wide = tools.visit_image(visit=4).with_(psf=GaussianPSF(2.2, 31))
    model = worst_seeing([visits[0], wide, visits[1]], patch)
    assert model.sigma([0], [0])[0] == pytest.approx(2.2, rel=5e-3)
    # a PSF that grows fast beyond its detector counts where the detector is
    grid = GaussianPSF(1.7, 21).kernels([0.0], [0.0])
    narrow = GaussianPSF(1.4, 21).kernels([0.0], [0.0])
    left = tools.visit_image(visit=5, wcs=tools.rotated(at=(127.0, 59.5)))
    varying = left.with_(psf=PixelPSF(np.concatenate([grid, 0.5 * (grid - narrow), 0 * grid]), shape=(120, 128)))
    assert not Warp.from_exposures(varying, patch).good.all()
    found = worst_seeing([varying], patch).sigma([0], [0])[0]
    assert found == pytest.approx(varying.psf.sigma([127.0], [60.0])[0], rel=0.01)
    with pytest.raises(DataError, match="no exposure is on patch"):
        worst_seeing(visits[1:2], patch)
    assert isinstance(model, ModelPSF)


def test_visits_are_warped_onto_the_patches_that_they_reach(tools, tmp_path):
    near = [tools.visit_image(visit=k) for k in (1, 2)]
    away = tools.visit_image(wcs=tools.rotated(center=(53.13, -27.8)), visit=3)
    tract = SkyMap.around([*near, away], tiling=Tiling(0.2, (130, 130), 10))[0]
    paths = make_warps([*near, away], list(tract), tmp_path)
    by_visit = {visit: {Warp.read(p).patch.index for p in paths if p.stem.endswith(f"-{visit}")} for visit in (1, 2, 3)}
    assert by_visit[1] == by_visit[2]
    assert not by_visit[1] & by_visit[3]
    assert len(paths) == len(set(paths)) == sum(map(len, by_visit.values()))
    assert make_warps([*near, away], list(tract), tmp_path, reuse=True) == paths


def test_what_a_killed_run_left_in_the_making_goes_and_two_runs_at_once_are_told(visits, patch, tmp_path):
    left = tmp_path / ".corontools" / "parts" / ".corontools-abc"
    left.mkdir(parents=True)
    make_warps(visits[:1], patch, tmp_path)
    assert not left.exists()
    with locked(tmp_path), pytest.raises(DataError, match="in use by another run"):
        make_warps(visits[:1], patch, tmp_path, reuse=True)
