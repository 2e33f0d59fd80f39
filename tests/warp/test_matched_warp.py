"""Warps matched to a common PSF or correlated with their own: detectors by themselves, files, runs of many."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from corontools import DataError
from corontools.arrays.moments import adaptive_moments
from corontools.calibrate import Plane
from corontools.calibrate.psf import GaussianPSF
from corontools.warp import Coadd, FourierMatcher, ModelPSF, PSFMatcher, Tract, Warp, WarpTypes, likelihood, make_warps
from corontools.warp.product import warp_name


def field(tools, width, *, wcs=None, detector=1, visit=7, seed=1, noise=0.0):
    """Stars of one flux everywhere on the sky, seen with a Gaussian PSF."""
    wcs = tools.rotated() if wcs is None else wcs
    x, y = np.meshgrid(np.arange(-40, 170, 21.3), np.arange(-40, 160, 20.7))
    sky = tools.rotated().all_pix2world(x.ravel(), y.ravel(), 0)
    image = tools.star_image(wcs, ra_dec=sky, width=width, noise=noise, seed=seed)
    return tools.visit_image(wcs=wcs, image=image, detector=detector, visit=visit).with_(psf=GaussianPSF(width, 21))


@pytest.fixture(scope="module")
def two(tools, patch):
    """Two detectors of one visit side by side, with different PSFs."""
    left, right = (tools.rotated(at=(x, 59.5)) for x in (130.0, 0.0))
    return Warp.from_exposures([field(tools, 1.4, wcs=left), field(tools, 1.75, wcs=right, detector=2)], patch)


@pytest.fixture(scope="module")
def one(tools, patch):
    return Warp.from_exposures(field(tools, 1.6), patch)


def star_sizes(warp, tools):
    """Determinant radius and flux in 10 px of the stars that are whole, and the detector of each."""
    x, y = np.meshgrid(np.arange(-40, 170, 21.3), np.arange(-40, 160, 20.7))
    x, y = warp.wcs.all_world2pix(*tools.rotated().all_pix2world(x.ravel(), y.ravel(), 0), 0)
    radii, fluxes, owners = [], [], []
    for px, py in zip(x, y, strict=True):
        column, row = int(np.floor(px + 0.5)), int(np.floor(py + 0.5))
        if not (9 <= column < warp.shape[1] - 9 and 9 <= row < warp.shape[0] - 9):
            continue
        stamp = np.array(warp.frame.image[row - 9 : row + 10, column - 9 : column + 10], float)
        own = np.unique(warp.convolved.source.owner[row - 9 : row + 10, column - 9 : column + 10])
        if not np.isfinite(stamp).all() or len(own) != 1:
            continue
        at = np.array([9 + px - column]), np.array([9 + py - row])
        found = adaptive_moments(stamp[None], np.ones((1, 19, 19)), *at, sigma=np.array([2.0]))
        radii.append(float((found.xx * found.yy - found.xy**2)[0] ** 0.25))
        fluxes.append(stamp.sum())
        owners.append(int(own[0]))
    return np.array(radii), np.array(fluxes), np.array(owners)


def test_a_warp_of_one_detector_is_matched_as_its_frame(one):
    made = one.match_psf(5.0)
    alone = PSFMatcher().match(one.frame, one.psf, 5.0)
    assert made.kind == "psfMatched"
    assert made.direct is one
    assert made.psf == ModelPSF(5.0)
    known = made.good & ~alone.frame.has(Plane.NO_DATA)
    assert known.mean() > 0.3
    np.testing.assert_allclose(made.frame.image[known], alone.frame.image[known], atol=0.02)
    assert made.history[-1] == ".match_psf(5.0)"
    x, y = np.array([85.0, 60.0]), np.array([80.0, 100.0])
    np.testing.assert_allclose(made.convolved.kernel_at(x, y), alone.kernel.at(x, y), atol=2e-4)
    assert np.abs(made.convolved.residual_at(x, y)).max() < 1e-2 * made.psf.kernels(x, y).max()
    assert np.abs(made.convolved.psf_at(x, y).sum(axis=(1, 2)) - 1).max() < 1e-2


def test_each_detector_is_matched_by_its_own_kernel(two, tools):
    made = two.match_psf(5.0)
    assert len(made.convolved.parts) == 2
    radii, fluxes, owners = star_sizes(made, tools)
    assert set(owners) == {0, 1}
    np.testing.assert_allclose(radii, made.psf.sigma([0], [0])[0], atol=0.03)
    # within 9 px, where the kernels of 21 px that widen the PSFs by different amounts leave different wings
    np.testing.assert_allclose(fluxes / fluxes.mean(), 1, atol=4e-3)
    before = made.convolved.quality["size_before"]
    by_detector = [before[made.convolved.quality["detector"] == k] for k in (0, 1)]
    np.testing.assert_allclose([one.mean() for one in by_detector], [1.4, 1.75], rtol=0.01)
    counts = [int(np.isfinite(made.frame.image[two.psf.owner == k]).sum()) for k in (0, 1)]
    assert made.inputs.ccds["goodpix"].tolist() == counts
    assert made.inputs.visits["goodpix"][0] == sum(counts) == made.good.sum()


def test_variance_and_mask_are_those_of_the_kernel(tools, patch):
    noise = Warp.from_exposures(tools.visit_image(), patch)
    made = noise.match_psf(4.6)
    y, x = (int(v) for v in np.argwhere(made.good & ~made.frame.has(Plane.INTRP)).mean(axis=0))
    kernel = made.convolved.kernel_at([x], [y])[0]
    around = noise.frame.variance[y - 10 : y + 11, x - 10 : x + 11]
    shared = noise.psf.shared_noise(0, kernel[None], [x], [y])[0]
    assert 1.05 < shared < 1.4
    # both are worked out at some pixels, and are linear between
    assert made.frame.variance[y, x] == pytest.approx(shared * (kernel[::-1, ::-1] ** 2 * around).sum(), rel=0.08)
    marked = noise.with_(frame=noise.frame.marked(np.indices(noise.shape)[1] == x, Plane.CR))
    again = marked.match_psf(4.6)
    assert again.frame.has(Plane.CR)[y, x - 10 : x + 11].all()
    assert not again.frame.has(Plane.CR)[y, x + 11]


@pytest.mark.parametrize("convolve", [lambda warp: warp.match_psf(4.6), lambda warp: warp.likelihood()])
@pytest.mark.parametrize("angle", [0.0, 17.0])
def test_the_variance_has_the_noise_that_warped_pixels_share(tools, convolve, angle):
    wcs = tools.rotated(angle, at=(255.3, 254.8))
    visit = tools.visit_image(wcs=wcs, shape=(512, 512))
    patch = Tract.of_wcs(tools.rotated(at=(255.0, 255.0)), (512, 512))[0, 0]
    made = convolve(Warp.from_exposures(visit, patch))
    pulls = (made.frame.image / np.sqrt(made.frame.variance))[made.good & ~made.frame.has(Plane.INTRP)]
    # of some 4000 pieces of sky that are independent
    assert np.std(pulls) == pytest.approx(1, abs=0.03)


def test_a_detector_that_cannot_be_matched_is_left_out(two):
    origins = two.psf.origins
    bad = replace(two.psf, origins=(origins[0], origins[1]._replace(psf=GaussianPSF(0.3, 21))))
    with pytest.warns(UserWarning, match="left out: detector 2: the PSF is undersampled"):
        made = two.with_(psf=bad).match_psf(4.6)
    assert not made.good[two.psf.owner == 1].any()
    assert made.good[two.psf.owner == 0].any()
    none = type(two.psf)(
        tuple(o._replace(psf=GaussianPSF(0.3, 21)) for o in origins), *list(vars(two.psf).values())[1:5]
    )
    with pytest.raises(DataError, match=r"detector 1: the PSF is undersampled.*detector 2"):
        two.with_(psf=none).match_psf(4.6)


def test_only_direct_warps_with_data_are_convolved(one, tools, patch):
    with pytest.raises(DataError, match="this one is psfMatched"):
        one.match_psf(5.0).match_psf(6.0)
    with pytest.raises(DataError, match="this one is psfMatched"):
        one.match_psf(5.0).likelihood()
    away = tools.visit_image(wcs=tools.rotated(center=(53.3, -27.8)))
    empty = Warp.from_exposures(away, patch, empty=True)
    for convolve in (lambda: empty.match_psf(5.0), empty.likelihood):
        with pytest.raises(DataError, match="no good pixel"):
            convolve()


def test_the_worst_detector_is_diagnosed(two):
    found = two.match_psf(7.0).convolved.diagnose()
    assert "boxy" in found.faults
    again = two.match_psf(found.model, matcher=found.matcher)
    assert again.convolved.quality["peak"].max() < 0.5 * two.match_psf(7.0).convolved.quality["peak"].max()


def test_the_model_that_suits_all_is_as_wide_as_the_widest(one, two):
    model = ModelPSF.like(one.psf, two.psf, shape=one.shape)
    assert model.sigma([0], [0])[0] == pytest.approx(1.75, rel=0.01)
    with pytest.raises(DataError, match="no PSF is known"):
        ModelPSF.like(shape=(10, 10))


def test_a_likelihood_warp_has_the_flux_of_a_star_at_its_place(one, tools):
    made = one.likelihood()
    assert made.kind == "likelihood"
    flux = likelihood(one.frame, one.psf).flux
    np.testing.assert_array_equal(made.convolved.flux.image, flux.image)
    x, y = one.wcs.all_world2pix(*tools.rotated().all_pix2world([23.9], [22.1], 0), 0)
    assert one.frame.image[int(y[0] + 0.5), int(x[0] + 0.5)] > 100
    assert flux.image[int(y[0] + 0.5), int(x[0] + 0.5)] == pytest.approx(1e4, rel=0.1)
    assert made.psf.sigma([80], [80])[0] == pytest.approx(1.6 * np.sqrt(2), rel=5e-3)
    assert "flux error" in repr(made)


# files


@pytest.mark.parametrize("matcher", [PSFMatcher(kernel_size=19), FourierMatcher(kernel_size=25)])
def test_a_matched_warp_comes_back_from_its_file(two, matcher, tmp_path):
    made = two.match_psf(5.0, matcher=matcher)
    (path,) = made.save(tmp_path)
    assert path.name == "deepCoadd_psfMatchedWarp-r-0-0,0-7.fits"
    again = Warp.read(path)
    assert (again.kind, again.psf, again.direct) == ("psfMatched", ModelPSF(5.0), None)
    assert again.convolved.matcher == matcher
    for name in ("image", "mask", "variance"):
        np.testing.assert_array_equal(getattr(again.frame, name), getattr(made.frame, name))
    x, y = np.array([40.0, 80.3, 120.0]), np.array([60.0, 77.7, 90.0])
    np.testing.assert_allclose(again.convolved.kernel_at(x, y), made.convolved.kernel_at(x, y), atol=1e-12)
    np.testing.assert_allclose(again.convolved.residual_at(x, y), made.convolved.residual_at(x, y), atol=1e-7)
    np.testing.assert_allclose(again.convolved.quality["peak"], made.convolved.quality["peak"], atol=1e-6)
    assert again.history == made.history
    assert again.save(tmp_path / "again")[0].name == path.name
    with fits.open(path) as hdus:
        assert hdus[0].header["PRODUCT"] == "deepCoadd_psfMatchedWarp"
        assert hdus["KERNEL", 2].data.shape == made.convolved.parts[1].matched.kernel.planes.shape


def test_a_likelihood_warp_comes_back_from_its_file(one, tmp_path):
    made = one.likelihood()
    (path,) = made.save(tmp_path, coadd="goodSeeing")
    assert path.name == "goodSeeingCoadd_likelihoodWarp-r-0-0,0-7.fits"
    again = Warp.read(path)
    np.testing.assert_array_equal(again.convolved.norm, made.convolved.norm)
    np.testing.assert_allclose(again.psf.kernels([70], [70]), made.psf.kernels([70], [70]), atol=1e-7)


def test_another_model_is_kept_and_one_that_cannot_be_written_is_told(one, tmp_path):
    made = one.match_psf(GaussianPSF.of_fwhm(5.0))
    assert Warp.read(made.save(tmp_path)[0]).psf == GaussianPSF.of_fwhm(5.0)
    strange = one.match_psf(one.psf)
    with pytest.raises(DataError, match="WarpedPSF can't be written"):
        strange.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


# runs of many


@pytest.fixture
def visits(tools):
    return [field(tools, 1.4 + 0.1 * k, visit=k, seed=k, noise=1.0) for k in range(3)]


def test_kinds_of_warps_are_made_as_asked(visits, patch, tmp_path):
    types = WarpTypes(matched=5.0, likelihood=True)
    assert types.kinds == ("direct", "psfMatched", "likelihood")
    paths = make_warps(visits[:1], patch, tmp_path / "all", types=types)
    names = [warp_name(kind, coadd="deep", filter_name="r", patch=patch, visit=0) for kind in types.kinds]
    assert [path.name for path in paths] == names
    (only,) = make_warps(visits[:1], patch, tmp_path / "one", types=WarpTypes(direct=False, matched=5.0))
    assert only.read_bytes() == paths[1].read_bytes()
    with pytest.raises(DataError, match="no kind of warp is asked for"):
        WarpTypes(direct=False)


def test_what_lacks_or_is_made_otherwise_is_made_again(visits, patch, tmp_path):
    types = WarpTypes(matched=5.0)
    paths = make_warps(visits[:2], patch, tmp_path, types=types)
    bytes_before = [path.read_bytes() for path in paths]
    paths[1].unlink()
    paths[2].write_bytes(bytes_before[2][:-3000])
    with pytest.warns(UserWarning, match="is damaged and is made again"):
        assert make_warps(visits[:2], patch, tmp_path, types=types, reuse=True) == paths
    assert [path.read_bytes() for path in paths] == bytes_before
    with pytest.warns(UserWarning, match="psfMatchedWarp.*in another way"):
        make_warps(visits[:1], patch, tmp_path, types=WarpTypes(matched=5.5), reuse=True)
    assert paths[0].read_bytes() == bytes_before[0]
    assert paths[1].read_bytes() != bytes_before[1]


def test_an_empty_visit_has_empty_warps_of_all_kinds(tools, patch, tmp_path):
    away = tools.visit_image(wcs=tools.rotated(center=(53.3, -27.8)))
    paths = make_warps([away], patch, tmp_path, types=WarpTypes(matched=5.0), empty=True)
    assert [Warp.read(path).kind for path in paths] == ["direct", "psfMatched"]
    assert not any(Warp.read(path).good.any() for path in paths)


def test_coadds_are_of_one_kind(visits, patch, tmp_path):
    paths = make_warps(visits, patch, tmp_path, types=WarpTypes(matched=5.0))
    matched = Coadd.from_warps(paths[1::2])
    assert matched.kind == "psfMatched"
    assert matched.save(tmp_path)[0].name == "deepCoaddPsfMatched-r-0-0,0.fits"
    assert Coadd.read(matched.save(tmp_path, overwrite=True)[0]).kind == "psfMatched"
    np.testing.assert_allclose(matched.psf.sigma([80], [80]), ModelPSF(5.0).sigma([0], [0]), rtol=5e-3)
    with pytest.raises(DataError, match="found psfMatched and direct"):
        matched.add(paths[0])
    with pytest.raises(DataError, match="is a likelihood warp"):
        Coadd.from_warps([Warp.read(paths[0]).likelihood()])


def test_artefact_rejection_finds_the_matched_warps_beside_the_files(visits, patch, tmp_path):
    from corontools.warp import ArtifactRejection

    paths = make_warps(visits, patch, tmp_path, types=WarpTypes(matched=5.0))
    given = Coadd.from_warps(paths[::2], reject=ArtifactRejection(), matched=paths[1::2])
    found = Coadd.from_warps(paths[::2], reject=ArtifactRejection())
    np.testing.assert_array_equal(given.image, found.image)
