"""Exposures of DECam warped and matched; skipped where they aren't at hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from scipy.ndimage import binary_dilation, convolve

from corontools.arrays.moments import adaptive_moments
from corontools.calibrate import MaskedImage, Plane, Steps, VisitImage
from corontools.calibrate.cosmic import CosmicRayFinder
from corontools.calibrate.product import psf_from_hdu, psf_to_hdu
from corontools.calibrate.psf import GaussianPSF
from corontools.calibrate.psfex import read_psfex
from corontools.calibrate.stages import model_psf, repair
from corontools.errors import DataError
from corontools.products import celestial_wcs
from corontools.warp import ModelPSF, SkyMap, Tiling, Tract, Warp

pytestmark = pytest.mark.real

SCALE = 0.262
# the star of G = 10.5 in the middle of the frames
STAR = (110.31196, 23.91996)
# arcsec: how far off the star, and off its spikes, sky is blank
FAR, OFF_SPIKES = 10.0, 3.0


def at_hand(path):
    if not path.exists():
        pytest.skip(f"no real data: {path} does not exist")
    return path


# --- two epochs of one field in g, r and z, around a star that is saturated ---


@pytest.fixture(scope="module")
def exposures(data_folder):
    """Two visits by band, the better seeing last."""
    root = at_hand(data_folder / "legacypipe_decam" / "testcase6")
    rows = Table.read(root / "survey-ccds-1.fits.gz")
    rows.sort("fwhm", reverse=True)
    return {band: [decam_visit(root, row) for row in rows if row["filter"] == band] for band in "grz"}


def decam_visit(root, row):
    """One frame in counts: the sky that is on record is subtracted, flagged pixels and cosmic rays have no data."""
    name = row["image_filename"].strip()
    path = root / "images" / name
    image, header = fits.getdata(path, 1, header=True)
    weight, flags = (fits.getdata(str(path).replace("_ooi_", f"_{kind}_"), 1) for kind in ("oow", "ood"))
    good = (flags == 0) & (weight > 0)
    frame = MaskedImage(
        np.where(good, image - row["ccdskycounts"] * row["exptime"], np.nan).astype(np.float32),
        np.where(good, 0, int(Plane.NO_DATA)).astype(np.int32),
        np.where(good, 1 / np.where(good, weight, 1), np.inf).astype(np.float32),
    )
    folder, file = name.rsplit("/", 1)
    psf = read_psfex(root / "calib" / "psfex" / folder / f"{file.split('.')[0]}-psfex.fits", shape=image.shape)
    rays = CosmicRayFinder().find(frame, psf).mask
    frame = MaskedImage(
        np.where(rays, np.nan, frame.image), np.where(rays, Plane.CR | Plane.NO_DATA, 0).astype(np.int32) | frame.mask,
        np.where(rays, np.inf, frame.variance),
    )  # fmt: skip
    # an AB magnitude of one count per second, to nJy of one count
    calibration = 10 ** ((31.4 - row["ccdzpt"]) / 2.5) / row["exptime"]
    names = {"visit": int(row["expnum"]), "detector": row["ccdname"], "filter": row["filter"]}
    return VisitImage(frame, celestial_wcs(header), psf, calibration=calibration, **names)


@pytest.fixture(scope="module")
def bands(exposures):
    """By band: visits, patch, warps, model and matched warps."""
    return {band: warped(visits) for band, visits in exposures.items()}


def warped(visits):
    patch = SkyMap.around(visits, tiling=Tiling(SCALE, (120, 120), 0))[0][0, 0]
    direct = [Warp.from_exposures(visit, patch) for visit in visits]
    model = ModelPSF.like(*(warp.psf for warp in direct), shape=direct[0].shape)
    matched = [warp.match_psf(model) for warp in direct]
    return SimpleNamespace(visits=visits, patch=patch, direct=direct, model=model, matched=matched)


def places(patch):
    """Places from the star, arcsec: x, y, distance, and how far off the diagonals, where the spikes are."""
    x, y = patch.wcs.all_world2pix(*STAR, 0)
    dy, dx = (SCALE * (np.mgrid[: patch.shape[0], : patch.shape[1]] - np.array([y, x])[:, None, None])).astype(float)
    return dx, dy, np.hypot(dx, dy), np.minimum(np.abs(dx - dy), np.abs(dx + dy)) / np.sqrt(2)


def blank(warps, *, spikes=False):
    """Pixels of both warps that are far from the star, and from its spikes."""
    *_, distance, off = places(warps[0].patch)
    return warps[0].good & warps[1].good & (distance > FAR) & (spikes | (off > OFF_SPIKES))


def reduced_chi2(first, second, use, *, halo=True):
    """Mean of difference^2 / (var1 + var2), and of what is left of them without a halo.

    What the halo of the star differs by: a plane and r^-2 and r^-3 about the star, of which r^-2 may have one, two or
    four lobes.
    """
    dx, dy, distance, _ = (plane[use] for plane in places(first.patch))
    difference = (np.asarray(first.frame.image, float) - second.frame.image)[use]
    sigma = np.sqrt(np.asarray(first.frame.variance, float) + second.frame.variance)[use]
    terms, angle, fall = [np.ones_like(dx)], np.arctan2(dy, dx), FAR / distance
    if halo:
        lobes = [wave(m * angle) for m in (1, 2, 4) for wave in (np.cos, np.sin)]
        terms += [dx / FAR, dy / FAR, fall**2, fall**3, *(fall**2 * lobe for lobe in lobes)]
    terms = np.stack(terms, axis=1) / sigma[:, None]
    left = difference / sigma - terms @ np.linalg.lstsq(terms, difference / sigma, rcond=None)[0]
    return float(np.mean(left**2))


def noise_of(visit, seed):
    """The visit with white noise of its variance for an image."""
    frame = visit.frame
    sigma = np.sqrt(np.where(np.isfinite(frame.variance), frame.variance, np.nan))
    noise = np.random.default_rng(seed).standard_normal(frame.shape) * sigma
    return visit.with_(frame=frame.with_(image=noise.astype(np.float32)))


@pytest.mark.parametrize("band", "grz")
def test_the_weights_of_the_frames_tell_their_noise(exposures, band):
    # second differences along both axes: of smooth light little is left
    kernel = np.outer([1, -2, 1], [1, -2, 1])
    for visit in exposures[band]:
        frame, good = visit.frame, np.isfinite(visit.frame.variance)
        image, variance = (np.where(good, plane, 0).astype(float) for plane in (frame.image, frame.variance))
        y, x = np.mgrid[: visit.shape[0], : visit.shape[1]]
        star = visit.wcs.all_world2pix(*STAR, 0)
        use = ~binary_dilation(~good, np.ones((3, 3)), border_value=1) & (np.hypot(x - star[0], y - star[1]) > 30)
        ratio = convolve(image, kernel)[use] / np.sqrt(convolve(variance, kernel**2)[use])
        assert 0.92 < np.std(ratio) < 1.08
        assert use.sum() > 4000


@pytest.mark.parametrize("band", "grz")
def test_both_epochs_get_the_psf_of_the_worse_seeing(bands, band):
    made = bands[band]
    before = [float(np.mean(warp.psf.sigma([60.0], [60.0]))) for warp in made.direct]
    assert made.model.sigma([0.0], [0.0])[0] >= 0.999 * max(before)
    for warp in made.matched:
        quality = warp.convolved.quality
        assert quality["peak"].max() < 0.01
        assert np.abs(quality["size_error"]).max() < 0.02
        assert quality["noise_gain"].max() < 0.6


@pytest.mark.parametrize("band", "grz")
def test_the_difference_of_two_epochs_has_the_propagated_noise(bands, band):
    made = bands[band]
    first, second = made.matched
    use = blank(made.matched)
    assert use.sum() > 1000
    assert 0.9 < reduced_chi2(first, second, use) < 1.2
    # as they are, not matched: seeing matters little where there is no star
    assert 0.9 < reduced_chi2(*made.direct, use) < 1.1
    # the halo of the star isn't the same in both epochs, and its spikes are another matter
    assert reduced_chi2(first, second, use) < reduced_chi2(first, second, use, halo=False) < 3
    assert reduced_chi2(first, second, blank(made.matched, spikes=True)) > 1.2


def test_white_noise_through_the_same_warps_and_kernels_has_the_propagated_variance(bands):
    made = bands["g"]
    use, found = blank(made.matched), []
    for seed in range(5):
        one, two = (
            Warp.from_exposures(noise_of(visit, 2 * seed + k), made.patch).match_psf(made.model)
            for k, visit in enumerate(made.visits)
        )
        found.append(reduced_chi2(one, two, use, halo=False))
    # neighbours share noise: 1000 pixels are as good as some hundred independent ones
    assert np.mean(found) == pytest.approx(1, abs=0.1)


def test_two_zero_points_give_one_flux(bands):
    # the only other source that is seen well: 13 arcsec south-east of the star, in z away from its spikes
    made, fluxes, counts, variances = bands["z"], [], [], []
    for warp, visit in zip(made.direct, made.visits, strict=True):
        y, x = np.mgrid[: warp.shape[0], : warp.shape[1]] - np.array([16, 102])[:, None, None]
        image, inside = np.array(warp.frame.image, float), np.hypot(x, y) < 5
        ring = (np.hypot(x, y) > 7) & (np.hypot(x, y) < 11)
        fluxes.append(np.sum(image[inside] - np.nanmedian(image[ring])))
        counts.append(fluxes[-1] / visit.calibration)
        variances.append(np.sum(warp.frame.variance[inside], dtype=float))
    assert abs(fluxes[0] - fluxes[1]) < 2 * np.sqrt(sum(variances))
    assert min(fluxes) > 20 * np.sqrt(max(variances))
    assert max(counts) > 1.4 * min(counts)


def test_a_matched_warp_of_a_psfex_model_is_written_and_read(bands, tmp_path):
    made = bands["g"]
    [path] = made.matched[0].save(tmp_path)
    read = Warp.read(path)
    np.testing.assert_array_equal(read.frame.image, made.matched[0].frame.image)
    psf = made.visits[0].psf
    there = [20.0, 70.0], [30.0, 60.0]
    np.testing.assert_array_equal(psf_from_hdu(psf_to_hdu(psf)).kernels(*there), psf.kernels(*there))


# --- ten frames in two groups of seeing ---

# stars that are whole in all frames, as wide as stars and brighter than 30 sigma; px of the frames
STARS = np.array([(57.5, 180.6), (100.6, 72.9), (178.8, 202.3), (104.7, 233.4), (123.9, 211.1)])


@pytest.fixture(scope="module")
def decam_frames(data_folder):
    """The frames, calibrated up to their PSF."""
    folder = at_hand(data_folder / "sfft_decam")
    steps = Steps().with_(psf_fitter={"order": 0, "size": 31})
    return [modelled(path, steps) for path in sorted(folder.glob("*.fits"))]


def modelled(path, steps):
    """PSF without variation from three or four stars; the variance from the scatter of the sky and the gain."""
    image, header = fits.getdata(path, header=True)
    image = image - np.median(image)
    sky = (1.4826 * np.median(np.abs(image))) ** 2
    variance = sky + np.maximum(image, 0) / header["GAIN"]
    frame = MaskedImage(*(plane.astype(kind) for plane, kind in zip((image, 0 * image, variance), "fif", strict=True)))
    return model_psf(repair(frame, steps), steps), celestial_wcs(header), path.name[4:10]


def matched_frames(frames, psf_of):
    """Direct and matched warps of all frames, and their model."""
    visits = [
        VisitImage(made.frame, wcs, psf_of(made), visit=name, detector="N6", filter="i") for made, wcs, name in frames
    ]
    patch = SkyMap.around(visits, tiling=Tiling(SCALE, (270, 270), 0))[0][0, 0]
    direct = [Warp.from_exposures(visit, patch) for visit in visits]
    model = ModelPSF.like(*(warp.psf for warp in direct), shape=direct[0].shape)
    return direct, [warp.match_psf(model) for warp in direct], model


def star_sizes(warp, wcs, *, sigma, half=12):
    """Determinant radii of the stars by adaptive moments, px; NaN where too much of one is missing."""
    x, y = warp.wcs.all_world2pix(*wcs.all_pix2world(*STARS.T, 0), 0)
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    planes = [np.pad(np.array(plane, float), half, constant_values=np.nan) for plane in
              (warp.frame.image, np.where(warp.good, warp.frame.variance, np.nan))]  # fmt: skip
    side = 2 * half + 1
    pixels, variances = (
        np.stack([plane[j : j + side, i : i + side] for i, j in zip(column, row, strict=True)]) for plane in planes
    )
    found = adaptive_moments(pixels, variances, x - column + half, y - row + half, sigma=sigma)
    near = np.hypot(*(np.mgrid[:side, :side] - half)) < 6
    whole = np.isfinite(pixels[:, near]).all(axis=1)
    return np.where(whole, (found.xx * found.yy - found.xy**2) ** 0.25, np.nan)


@pytest.fixture(scope="module")
def matched_stars(decam_frames):
    """Sizes before, and after over that of the model, (frame, star)."""
    direct, matched, model = matched_frames(decam_frames, lambda made: made.psf)
    wcs, sigma = decam_frames[0][1], float(model.sigma([0.0], [0.0])[0])
    before = np.array([star_sizes(warp, wcs, sigma=1.9) for warp in direct])
    after = np.array([star_sizes(warp, wcs, sigma=sigma) for warp in matched]) / sigma
    return SimpleNamespace(before=before, after=after, matched=matched, model=model, sigma=sigma)


def test_ten_frames_matched_to_the_worst_seeing_have_stars_of_one_size(matched_stars):
    before, after = matched_stars.before, matched_stars.after
    assert np.isfinite(after).sum(axis=1).min() >= 4
    middle = np.nanmedian(before, axis=1)
    assert middle.max() > 1.6 * middle.min()
    # the middle size of each frame, and each bright star in each frame
    middle = np.nanmedian(after, axis=1)
    assert np.ptp(middle) < 0.02
    assert np.abs(middle - 1).max() < 0.02
    assert np.nanstd(after[:, :4]) < 0.01
    assert np.nanmax(np.abs(after[:, :4] - 1)) < 0.03


def test_the_psfs_of_ten_frames_become_the_model(matched_stars):
    for warp in matched_stars.matched:
        quality = warp.convolved.quality
        assert quality["peak"].max() < 0.01
        assert np.abs(quality["size_error"]).max() < 0.005 * matched_stars.sigma
        assert quality["noise_gain"].max() < 0.4


def test_gaussians_as_wide_as_the_stars_do_not_match_them(decam_frames):
    chosen = [decam_frames[k] for k in (2, 7)]
    _, matched, model = matched_frames(chosen, lambda made: GaussianPSF(float(made.psf.sigma([128.0], [128.0])[0]), 31))
    sigma = float(model.sigma([0.0], [0.0])[0])
    worst, best = (np.nanmedian(star_sizes(warp, chosen[0][1], sigma=sigma)) / sigma for warp in matched)
    assert best / worst > 1.05


def test_a_tpv_header_is_read_with_its_distortion(data_folder):
    header = fits.getheader(at_hand(data_folder / "sfft_decam" / "DEC-OBS04a.mini.fits"))
    wcs, pixels = celestial_wcs(header), np.array([(0, 0), (255, 0), (0, 255), (255, 255)], float)
    cd = np.array([[header[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)])
    u, v = cd @ (pixels + 1 - [header["CRPIX1"], header["CRPIX2"]]).T
    xi, eta = np.radians([tpv(header, 1, u, v), tpv(header, 2, v, u)])
    ra0, dec0 = np.radians([header["CRVAL1"], header["CRVAL2"]])
    below = np.cos(dec0) - eta * np.sin(dec0)
    ra = ra0 + np.arctan2(xi, below)
    dec = np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, below))
    np.testing.assert_allclose(wcs.all_pix2world(pixels, 0), np.degrees([ra, dec]).T, rtol=0, atol=1e-9)
    np.testing.assert_allclose(wcs.all_world2pix(np.degrees([ra, dec]).T, 0), pixels, atol=1e-4)


def test_a_tpv_image_is_no_tract(data_folder):
    header = fits.getheader(at_hand(data_folder / "sfft_decam") / "DEC-OBS04a.mini.fits")
    with pytest.raises(DataError, match="a tract has no distortion"):
        Tract.of_wcs(celestial_wcs(header), (256, 256))


def tpv(header, axis, u, v):
    """The cubic of the TPV convention; PV_3 goes with the distance, and is 0."""
    terms = [1, u, v, 0, u * u, u * v, v * v, u**3, u * u * v, u * v * v, v**3]
    return sum(header[f"PV{axis}_{k}"] * term for k, term in enumerate(terms))
