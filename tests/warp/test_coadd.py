"""Coadds of warps: statistics, masks, PSF, artefacts, products."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from astropy.io import fits

from corontools import DataError
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import GaussianPSF
from corontools.calibrate.visit import VisitImage
from corontools.meta import Meta
from corontools.warp import Tiling, Tract, Warp, Warper
from corontools.warp.coadd import Coadd
from corontools.warp.gridpsf import GridPSF
from corontools.warp.inputs import ccd_row, tables
from corontools.warp.layers import Clip, mapped
from corontools.warp.psf import Origin, WarpedPSF
from corontools.warp.rejection import ArtifactRejection
from corontools.warp.warper import WarpedDetector

SIDE = 120


@pytest.fixture(scope="module")
def patch():
    return patch_at(53.1)


def patch_at(ra, number=0):
    return Tract(number, (ra, -27.8), (SIDE / 2, SIDE / 2), (SIDE, SIDE), Tiling(0.2, (SIDE, SIDE), 0))[0, 0]


def warp_of(patch, visit, image, *, variance=1.0, mask=None, width=1.7, filter_name="r", mjd=60000.0):
    """A warp with these pixels; where they are NaN there is no data."""
    image = np.array(image, np.float32)
    lost = np.isnan(image)
    mask = (np.zeros(image.shape, np.int32) if mask is None else mask) | np.where(lost, int(Plane.NO_DATA), 0)
    variance = np.where(lost, np.inf, np.broadcast_to(np.asarray(variance, float), image.shape)).astype(np.float32)
    frame = MaskedImage(image, mask.astype(np.int32), variance)
    psf = WarpedPSF(
        (Origin(GaussianPSF(width, 21), patch.wcs, patch.shape),), patch.wcs, patch.shape,
        owner=np.where(lost, -1, 0).astype(np.int16),
    )  # fmt: skip
    source = VisitImage(frame, patch.wcs, GaussianPSF(width, 21), visit=visit, detector=1, filter=filter_name)
    row = ccd_row(source, WarpedDetector(frame, patch.outer, psf, 0.0, 10), int((~lost).sum()))
    inputs = tables((visit, filter_name), [] if lost.all() else [row], frame)
    meta = Meta(filter=filter_name, unit="nJy", exposure_time=30.0, mjd=mjd + visit if isinstance(visit, int) else mjd)
    return Warp(frame, psf, patch, Warper(), inputs, meta, history=(f"Warp.read('{visit}.fits')",))


def star(x, y, width=1.7, flux=1.0):
    row, column = np.mgrid[:SIDE, :SIDE]
    return flux / (2 * np.pi * width**2) * np.exp(-0.5 * ((column - x) ** 2 + (row - y) ** 2) / width**2)


@pytest.fixture(scope="module")
def noisy(patch):
    """Five visits of noise alone, of different depth."""
    rng = np.random.default_rng(8)
    return [
        warp_of(patch, n, rng.normal(5, sigma, (SIDE, SIDE)), variance=sigma**2)
        for n, sigma in enumerate((1.0, 1.5, 2.0, 1.2, 1.1), 1)
    ]


@pytest.mark.parametrize("statistic", ["mean", "clipped", "median"])
@pytest.mark.parametrize("weights", ["variance", "sky", "uniform"])
def test_the_variance_is_what_the_image_scatters(noisy, statistic, weights):
    coadd = Coadd.from_warps(noisy, statistic=statistic, weights=weights)
    # 14400 pixels: 1.2 % of the variance; of the median of unlike images 3 % more
    assert coadd.image.var() / np.median(coadd.frame.variance) == pytest.approx(1.0, abs=0.06)
    assert abs(coadd.image.mean() - 5) < 0.03
    assert (coadd.depth == 5).mean() > 0.99
    np.testing.assert_allclose(coadd.error**2, coadd.frame.variance, rtol=1e-6)


def test_weights_are_one_number_for_each_warp(noisy):
    by_variance = Coadd.from_warps(noisy).inputs.visits["weight"]
    np.testing.assert_allclose(by_variance, 1 / np.array([1, 1.5, 2, 1.2, 1.1]) ** 2, rtol=1e-5)
    by_sky = Coadd.from_warps(noisy, weights="sky").inputs.visits["weight"]
    np.testing.assert_allclose(by_sky, by_variance, rtol=0.08)
    assert set(Coadd.from_warps(noisy, weights="uniform").inputs.visits["weight"]) == {1.0}


def test_the_mean_weighs_a_bright_star_as_the_sky(patch):
    sharp, wide = star(60, 60, 1.5, 1e5), star(60, 60, 2.5, 1e5)
    warps = [warp_of(patch, 1, sharp, variance=100 + sharp), warp_of(patch, 2, wide, variance=100 + wide)]
    coadd = Coadd.from_warps(warps)
    np.testing.assert_allclose(coadd.image, (sharp + wide) / 2, rtol=1e-3, atol=1e-2)
    assert coadd.image.sum() == pytest.approx(1e5, rel=1e-3)


def test_masks_are_combined_and_tell_what_was_left_out(patch):
    masks = np.zeros((3, SIDE, SIDE), np.int32)
    masks[0, 10, 10], masks[1, 20, 20], masks[:, 30, 30] = Plane.DETECTED, Plane.CR, Plane.SAT
    images = np.ones((3, SIDE, SIDE))
    images[1, 20, 20], images[2, :, 80:], images[:, 100:] = 1e4, np.nan, np.nan
    warps = [warp_of(patch, n, image, mask=mask) for n, (image, mask) in enumerate(zip(images, masks, strict=True))]
    coadd = Coadd.from_warps(warps)
    frame, depth = coadd.frame, coadd.depth
    assert Plane.names(frame.mask[10, 10]) == "DETECTED"
    assert (Plane.names(frame.mask[20, 20]), depth[20, 20], frame.image[20, 20]) == ("REJECTED", 2, 1.0)
    assert Plane.names(frame.mask[30, 30]) == "SAT, NO_DATA"
    assert np.isnan(frame.image[30, 30])
    assert np.isinf(frame.variance[30, 30])
    assert Plane.names(frame.mask[110, 5]) == "NO_DATA"
    edge = frame.has(Plane.SENSOR_EDGE)
    assert edge[50, 79]
    assert edge[50, 80]
    assert edge[99, 5]
    assert not edge[50, 78]
    assert not edge[50, 81]
    assert (depth[50, 79], depth[50, 80], depth[110, 5]) == (3, 2, 0)
    assert coadd.weight[50, 80] == 2.0


def test_added_one_by_one_is_the_same_as_all_at_once(noisy):
    together = Coadd.from_warps(noisy)
    one_by_one = Coadd.from_warps(noisy[:1])
    for warp in noisy[1:]:
        one_by_one = one_by_one.add(warp)
    np.testing.assert_allclose(one_by_one.image, together.image, rtol=1e-5)
    np.testing.assert_allclose(one_by_one.frame.variance, together.frame.variance, rtol=1e-5)
    np.testing.assert_array_equal(one_by_one.frame.mask, together.frame.mask)
    np.testing.assert_array_equal(one_by_one.depth, together.depth)
    np.testing.assert_allclose(one_by_one.psf.stamps, together.psf.stamps, atol=1e-12)
    assert list(one_by_one.inputs.visits["visit"]) == [1, 2, 3, 4, 5]
    assert one_by_one.meta.exposure_time == together.meta.exposure_time == 150.0
    assert one_by_one.meta.mjd == pytest.approx(together.meta.mjd)
    assert one_by_one.history[-1] == ".add(Warp.read('5.fits'))"


def test_only_a_mean_can_be_added_to(noisy):
    with pytest.raises(DataError, match="a median needs all warps"):
        Coadd.from_warps(noisy, statistic="median").add(noisy[0])


def test_an_iterator_is_enough_for_a_mean(noisy):
    made = Coadd.from_warps(warp for warp in noisy)
    np.testing.assert_array_equal(made.image, Coadd.from_warps(noisy).image)


@pytest.mark.parametrize("statistic", ["mean", "clipped", "median"])
def test_files_give_what_objects_give(noisy, tmp_path, statistic):
    paths = [path for warp in noisy for path in warp.save(tmp_path)]
    read, held = Coadd.from_warps(paths, statistic=statistic), Coadd.from_warps(noisy, statistic=statistic)
    np.testing.assert_array_equal(read.image, held.image)
    np.testing.assert_array_equal(read.frame.variance, held.frame.variance)
    np.testing.assert_array_equal(read.frame.mask, held.frame.mask)
    assert list(read.inputs.visits["file"]) == [path.name for path in paths]
    assert read.history[0].startswith("Coadd.from_warps(['")


def test_mapped_planes_are_those_of_the_file(noisy, tmp_path):
    (path,) = noisy[0].save(tmp_path)
    frame = mapped(path)
    for name in ("image", "mask", "variance"):
        np.testing.assert_array_equal(getattr(frame, name), getattr(noisy[0].frame, name))
        assert not getattr(frame, name).flags.owndata


def test_an_outlier_of_one_visit_is_clipped_and_flagged(patch):
    rng = np.random.default_rng(4)
    images = rng.normal(0, 1, (6, SIDE, SIDE))
    images[2, 40, 50] += 40
    coadd = Coadd.from_warps([warp_of(patch, n, image) for n, image in enumerate(images)], statistic="clipped")
    assert coadd.frame.mask[40, 50] == Plane.CLIPPED
    assert coadd.depth[40, 50] == 5
    assert coadd.frame.variance[40, 50] == pytest.approx(1 / 5)
    assert coadd.image[40, 50] == pytest.approx(np.delete(images[:, 40, 50], 2).mean(), rel=1e-5)
    assert coadd.inputs.visits["clipped"][2] >= 1
    strict = Coadd.from_warps([warp_of(patch, n, image) for n, image in enumerate(images)], statistic=Clip(sigma=2.5))
    assert strict.inputs.visits["clipped"].sum() > coadd.inputs.visits["clipped"].sum()


@pytest.fixture(scope="module")
def epochs(patch):
    """Six visits, their images matched to one PSF, with a trail and a variable star; and where these are."""
    rng, n = np.random.default_rng(12), 6
    y, x = np.mgrid[:SIDE, :SIDE]
    trail = np.exp(-0.5 * ((y - 20 - 0.5 * x) / 1.7) ** 2)
    sky = star(80, 30, flux=2e4) + star(60, 90, flux=3e3)
    phases = 1 + 0.6 * np.sin(np.arange(n) * 2.4)
    variable = np.array([star(25, 95, flux=600 * phase) for phase in phases])
    images = sky + variable + rng.normal(0, 1, (n, SIDE, SIDE))
    images[3] += 30 * trail
    images[1] += star(100, 100, 4.0, 2500)
    warps = [warp_of(patch, k, image) for k, image in enumerate(images)]
    return warps, [warp.frame for warp in warps], trail, phases


def test_a_trail_is_left_out_and_a_variable_star_stays(epochs):
    warps, matched, trail, phases = epochs
    coadd = Coadd.from_warps(warps, reject=ArtifactRejection(), matched=matched)
    assert coadd.artifacts.mask(3)[trail > 0.1].all()
    assert coadd.artifacts.mask(1)[98:103, 98:103].all()
    assert coadd.frame.has(Plane.CLIPPED)[trail > 0.1].all()
    assert list(coadd.inputs.visits["artifacts"]) == [0, 1, 0, 1, 0, 0]
    y, x = np.mgrid[:SIDE, :SIDE]
    near = np.hypot(x - 25, y - 95) < 6
    assert (coadd.depth[near] == 6).all()
    assert coadd.image[near].sum() == pytest.approx(600 * phases.mean(), rel=0.03)
    # what is left where the trail was is noise of five epochs
    left = coadd.image[(trail > 0.3) & (np.hypot(x - 80, y - 30) > 15)]
    assert abs(left.mean()) < 0.1
    assert left.std() == pytest.approx(5**-0.5, rel=0.1)
    assert Coadd.from_warps(warps).image[trail > 0.3].mean() > 2


def test_artefacts_are_left_out_of_a_median_too(epochs):
    warps, matched, trail, _ = epochs
    coadd = Coadd.from_warps(warps, statistic="median", reject=ArtifactRejection(static=Clip()), matched=matched)
    assert (coadd.depth[trail > 0.5] == 5).mean() > 0.99
    assert coadd.statistic == "median"


def test_artefacts_cannot_be_told_in_two_epochs(epochs):
    warps, matched, _, _ = epochs
    with pytest.warns(UserWarning, match="3 are needed"):
        coadd = Coadd.from_warps(warps[:2], reject=ArtifactRejection(), matched=matched[:2])
    assert (coadd.depth == 2).all()


def test_where_two_epochs_overlap_nothing_is_taken_for_an_artefact(epochs):
    _, matched, trail, _ = epochs
    cut = []
    for k, frame in enumerate(matched):
        lost = np.zeros(frame.shape, bool)
        lost[:, :40] = k not in (2, 3)
        cut.append(frame.with_(image=np.where(lost, np.float32(np.nan), frame.image)))
    found = ArtifactRejection(grow=0).find(cut)
    assert not any(found.mask(k)[:, :40].any() for k in (0, 1, 2, 4, 5))
    assert found.mask(3)[:, 40:][trail[:, 40:] > 0.5].all()


def test_artefact_rejection_asks_for_matched_images(noisy):
    with pytest.raises(DataError, match=r"needs PSF-matched images.*match_psf"):
        Coadd.from_warps(noisy, reject=ArtifactRejection())
    with pytest.raises(DataError, match="5 warps and 2 PSF-matched"):
        Coadd.from_warps(noisy, reject=ArtifactRejection(), matched=[None, None])
    with pytest.raises(DataError, match="more than once"):
        Coadd.from_warps(iter(noisy), reject=ArtifactRejection(), matched=[warp.frame for warp in noisy])
    small = MaskedImage(*(np.ones((5, 5), kind) for kind in (np.float32, np.int32, np.float32)))
    with pytest.raises(DataError, match="cut it to the patch"):
        Coadd.from_warps(noisy, reject=ArtifactRejection(), matched=[small] * 5)


def test_the_psf_is_the_weighted_mean_of_what_covers_the_place(patch):
    half = np.ones((SIDE, SIDE))
    half[:, 60:] = np.nan
    warps = [warp_of(patch, 1, half, width=1.5), warp_of(patch, 2, np.ones((SIDE, SIDE)), variance=4.0, width=2.5)]
    coadd = Coadd.from_warps(warps)
    parts = [warp.psf.kernels([0.0], [0.0])[0] for warp in warps]
    expected = (parts[0] + 0.25 * parts[1]) / 1.25
    np.testing.assert_allclose(coadd.psf.kernels([0.0], [50.0])[0], expected, atol=1e-12)
    np.testing.assert_allclose(coadd.psf.kernels([119.0], [50.0])[0], parts[1], atol=1e-12)
    exact = coadd.psf_at([30.0, 90.0], [50.0, 50.0], warps)
    np.testing.assert_allclose(exact, [expected, parts[1]], atol=1e-12)
    assert coadd.psf.images([50.3], [20.8]).sum() == pytest.approx(1.0)


def test_beside_an_edge_the_psf_is_that_of_the_inputs_there(patch):
    half = np.ones((SIDE, SIDE))
    half[:, 70:] = np.nan
    warps = [warp_of(patch, 1, half, width=1.5), warp_of(patch, 2, np.ones((SIDE, SIDE)), variance=4.0, width=2.5)]
    coadd = Coadd.from_warps(warps)
    psf = GridPSF.empty((SIDE, SIDE), step=20)
    for warp, row in zip(warps, coadd.inputs.visits, strict=True):
        psf = psf.plus(warp.psf, warp.good, row["weight"])
    x, y = np.array([66.0, 69.4, 69.6, 75.0, 119.0]), np.array([50.0, 60.0, 60.0, 0.0, 119.0])
    exact = coadd.psf_at(x, y, warps)
    found = dataclasses.replace(psf, local=coadd.weight).kernels(x, y)
    np.testing.assert_allclose(found, exact, atol=1e-12)
    assert abs(psf.kernels(x, y) - exact).max() > 0.003


def test_the_psf_is_that_of_a_star_in_the_coadd(patch):
    widths = (1.5, 2.0, 2.5)
    warps = [warp_of(patch, n, star(60, 60, w, 1.0), variance=w**2, width=w) for n, w in enumerate(widths)]
    coadd = Coadd.from_warps(warps)
    np.testing.assert_allclose(coadd.image[50:71, 50:71], coadd.psf_at([60], [60], warps)[0, 1:-1, 1:-1], atol=2e-5)
    np.testing.assert_allclose(coadd.psf.kernels([60], [60]), coadd.psf_at([60], [60], warps), atol=1e-6)


def test_the_table_tells_which_inputs_cover_a_place(patch):
    warps = [warp_of(patch, n, np.ones((SIDE, SIDE))) for n in (7, 8)]
    other = warps[1].inputs.ccds.copy()
    corners = patch.wcs.all_pix2world([60, 200, 200, 60], [-5, -5, 200, 200], 0)
    other["corners"] = np.stack(corners, axis=1)[None]
    warps[1] = dataclasses.replace(warps[1], inputs=warps[1].inputs._replace(ccds=other))
    coadd = Coadd.from_warps(warps)
    assert list(coadd.inputs_at(30, 50)["visit"]) == [7]
    assert list(coadd.inputs_at(90, 50)["visit"]) == [7, 8]
    assert len(coadd.inputs_at(-50, 50)) == 0


@pytest.mark.parametrize("statistic", ["mean", "clipped", "median"])
def test_warps_are_brought_to_one_zero_point(patch, statistic):
    rng = np.random.default_rng(1)
    sky = star(50, 50, flux=1e4)
    images = [(sky + rng.normal(0, 1, sky.shape)) / factor for factor in (1.0, 4.0, 0.5)]
    warps = [
        warp_of(patch, n, image, variance=1 / factor**2)
        for n, (image, factor) in enumerate(zip(images, (1.0, 4.0, 0.5), strict=True))
    ]
    zero_points = {n: 31.4 - 2.5 * np.log10(factor) for n, factor in enumerate((1.0, 4.0, 0.5))}
    coadd = Coadd.from_warps(warps, statistic=statistic, zero_points=zero_points)
    np.testing.assert_allclose(coadd.inputs.visits["scale"], (1.0, 4.0, 0.5))
    np.testing.assert_allclose(coadd.inputs.visits["weight"], 1.0, rtol=1e-5)
    assert coadd.image[40:61, 40:61].sum() == pytest.approx(1e4, rel=0.01)
    with pytest.raises(DataError, match="no zero point of visit 2"):
        Coadd.from_warps(warps, zero_points={0: 31.4, 1: 31.4})


@pytest.mark.parametrize("statistic", ["mean", Clip(3.5, 0.2, 4), "median"])
def test_a_coadd_is_read_as_it_was_written(epochs, tmp_path, statistic):
    warps, matched, _, _ = epochs
    coadd = Coadd.from_warps(warps, statistic=statistic, reject=ArtifactRejection(), matched=matched)
    (path,) = coadd.save(tmp_path)
    assert path.name == "deepCoadd-r-0-0,0.fits"
    found = Coadd.read(path)
    for name in ("image", "mask", "variance"):
        np.testing.assert_array_equal(getattr(found.frame, name), getattr(coadd.frame, name))
    np.testing.assert_array_equal(found.depth, coadd.depth)
    np.testing.assert_array_equal(found.weight, coadd.weight)
    np.testing.assert_array_equal(found.psf.stamps, coadd.psf.stamps)
    assert (found.rule, found.patch, found.history) == (coadd.rule, coadd.patch, coadd.history)
    assert found.meta == coadd.meta.with_()
    for one, other in zip(found.inputs, coadd.inputs, strict=True):
        assert one.colnames == other.colnames
        assert all(np.array_equal(one[name], other[name]) for name in one.colnames)
    with fits.open(path) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == [
            "IMAGE", "MASK", "VARIANCE", "DEPTH", "WEIGHT", "VISITS", "CCDS", "PSF", "PSFWEIGHT",
        ]  # fmt: skip
        assert hdus["IMAGE"].header["BUNIT"] == "nJy"
    assert found.digest() == coadd.digest()


def test_a_read_mean_goes_on(noisy, tmp_path):
    (path,) = Coadd.from_warps(noisy[:4]).save(tmp_path)
    found = Coadd.read(path).add(noisy[4])
    np.testing.assert_allclose(found.image, Coadd.from_warps(noisy).image, rtol=1e-5)


def test_nothing_is_written_over_or_by_halves(noisy, tmp_path, monkeypatch):
    coadd = Coadd.from_warps(noisy)
    (path,) = coadd.save(tmp_path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="already"):
        coadd.save(tmp_path)

    def full(hdus, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("corontools.warp.coadd_product.write", full)
    with pytest.raises(OSError, match="No space"):
        coadd.save(tmp_path, overwrite=True)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_damaged_file_is_refused(noisy, tmp_path):
    (path,) = Coadd.from_warps(noisy).save(tmp_path)
    data = bytearray(path.read_bytes())
    data[30000] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="check sums differ"):
        Coadd.read(path)
    (other,) = noisy[0].save(tmp_path)
    with pytest.raises(DataError, match="is no coadd"):
        Coadd.read(other)


def test_what_does_not_belong_together_is_refused(patch, noisy):
    ones = np.ones((SIDE, SIDE))
    with pytest.raises(DataError, match=r"one filter, found r \(visit 1\), g \(visit 9\)"):
        Coadd.from_warps([noisy[0], warp_of(patch, 9, ones, filter_name="g")])
    with pytest.raises(DataError, match=r"one patch, found patch 0,0 of tract 0 .* tract 3"):
        Coadd.from_warps([noisy[0], warp_of(patch_at(60.0, 3), 9, ones)])
    with pytest.raises(DataError, match="visit 1 is given twice"):
        Coadd.from_warps([noisy[0], noisy[0]])
    with pytest.raises(DataError, match="warps or their files, found VisitImage"):
        Coadd.from_warps([VisitImage(noisy[0].frame, patch.wcs, GaussianPSF(1.7))])
    with pytest.raises(DataError, match="one of mean, clipped, median"):
        Coadd.from_warps(noisy, statistic="mode")
    with pytest.raises(DataError, match="weights are one of"):
        Coadd.from_warps(noisy, weights="seeing")


def test_nothing_to_combine_is_told(patch):
    empty = warp_of(patch, 4, np.full((SIDE, SIDE), np.nan))
    with pytest.raises(DataError, match="there is no warp"):
        Coadd.from_warps([None, None])
    with pytest.raises(DataError, match=r"no warp has a pixel that counts \(visits 4\)"):
        Coadd.from_warps([empty])
    with pytest.raises(DataError, match=r"the scatter of the sky is 0.*uniform"):
        Coadd.from_warps([warp_of(patch, 1, np.ones((SIDE, SIDE)))], weights="sky")


def test_an_empty_warp_adds_nothing(patch, noisy):
    empty = warp_of(patch, 99, np.full((SIDE, SIDE), np.nan))
    for statistic in ("mean", "clipped"):
        coadd = Coadd.from_warps([*noisy, empty, None], statistic=statistic)
        np.testing.assert_array_equal(coadd.image, Coadd.from_warps(noisy, statistic=statistic).image)
        assert coadd.inputs.visits["weight"][-1] == 0
    assert "5 of 6" in repr(coadd)


def test_visits_by_name_and_by_number_may_be_mixed(patch, noisy):
    named = warp_of(patch, "night-2", np.ones((SIDE, SIDE)))
    visits = Coadd.from_warps([noisy[0], named]).inputs.visits["visit"]
    assert list(visits) == ["1", "night-2"]


def test_the_card_tells_what_was_done(epochs):
    warps, matched, _, _ = epochs
    coadd = Coadd.from_warps(warps, statistic="clipped", reject=ArtifactRejection(), matched=matched)
    text = repr(coadd)
    assert "6 of 6, filter r" in text
    assert "mean without outliers beyond 4 sigma" in text
    assert "1: 1 in " in text
    assert "3: 1 in " in text
    html = coadd._repr_html_()
    assert html.count("<img") >= 3
    exposure = coadd.to_exposure()
    assert (exposure.meta.unit, exposure.meta.filter, exposure.meta.exposure_time) == ("nJy", "r", 180.0)
    np.testing.assert_allclose(exposure.err, coadd.error)
