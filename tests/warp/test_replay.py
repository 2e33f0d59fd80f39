"""Warps and coadds are made again from their histories."""

import numpy as np
import pytest

from corontools import DataError, replay
from corontools.calibrate.background import BackgroundEntry, BackgroundList
from corontools.calibrate.psf import GaussianPSF
from corontools.warp import ArtifactRejection, Coadd, Corrections, FourierMatcher, ModelPSF, PSFMatcher, Warp, Warper


@pytest.fixture(scope="module")
def visits(tools):
    return [tools.visit_image(10.0 * k, seed=k, visit=k) for k in range(3)]


def alike(one, other):
    assert one.history == other.history
    for name in ("image", "mask", "variance"):
        np.testing.assert_array_equal(getattr(one.frame, name), getattr(other.frame, name))


@pytest.mark.parametrize(
    "convolve",
    [
        lambda warp: warp,
        lambda warp: warp.likelihood(least=0.6),
        lambda warp: warp.match_psf(4.6, matcher=PSFMatcher(kernel_size=19, sigmas=(1.0, 2.0, 4.0))),
        lambda warp: warp.match_psf(GaussianPSF.of_fwhm(4.8, size=21), matcher=FourierMatcher(kernel_size=25)),
        lambda warp: warp.match_psf(ModelPSF(4.6, wing=0.05)),
    ],
)
def test_a_warp_is_made_again(visits, patch, convolve):
    made = convolve(Warp.from_exposures([visits[0]], patch, kernel=Warper("lanczos4", step=5)))
    alike(replay(made, arrays=visits), made)
    with pytest.raises(DataError, match="hand it over with arrays"):
        replay(made)


def test_external_corrections_are_given_again(tools, patch):
    entry = BackgroundEntry(np.array([[7.0]]), np.array([[1.0]]), (120, 128), 128, "constant")
    sky, wcs, scale = BackgroundList((entry,)), tools.rotated(5.0), np.full((120, 128), 2.0)
    corrections = Corrections(calibration={1: scale}, wcs={(7, 1): wcs}, sky={1: sky})
    made = Warp.from_exposures(tools.visit_image(), patch, corrections=corrections)
    alike(replay(made, arrays=[tools.visit_image(), scale, wcs, sky]), made)


def test_a_coadd_is_made_again_from_memory_and_from_files(visits, patch, tmp_path, monkeypatch):
    warps = [Warp.from_exposures(visit, patch) for visit in visits]
    made = Coadd.from_warps(warps[:2], weights="uniform").add(warps[2])
    alike(replay(made, arrays=visits), made)
    monkeypatch.chdir(tmp_path)
    paths = [warp.save("warps")[0] for warp in warps]
    monkeypatch.chdir("/")
    filed = Coadd.from_warps([tmp_path / path for path in paths], statistic="clipped")
    (tmp_path / "warps").rename(tmp_path / "moved")
    np.testing.assert_array_equal(replay(filed, folder=tmp_path / "moved").image, filed.image)
    (product,) = filed.save(tmp_path / "coadd")
    np.testing.assert_array_equal(replay(product, folder=tmp_path / "moved").image, filed.image)


def test_matched_images_of_artefact_rejection_are_recorded(visits, patch):
    warps = [Warp.from_exposures(visit, patch) for visit in visits]
    matched = [warp.match_psf(5.0) for warp in warps]
    rejection = ArtifactRejection(epochs=(1, 0.4, 0.03))
    made = Coadd.from_warps(warps, reject=rejection, matched=matched)
    alike(replay(made, arrays=visits), made)
    frames = [warp.frame for warp in matched]
    made = Coadd.from_warps(warps, reject=rejection, matched=frames)
    alike(replay(made, arrays=[*visits, *frames]), made)
