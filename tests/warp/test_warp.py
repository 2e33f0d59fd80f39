"""Warps of a visit: pixels, PSF, tables, files; what can't be warped."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from corontools import DataError
from corontools.arrays.moments import adaptive_moments
from corontools.calibrate import Plane
from corontools.calibrate.background import BackgroundEntry, BackgroundList
from corontools.calibrate.psf import GaussianPSF, PixelPSF
from corontools.simulate import star_field
from corontools.simulate.field_psf import MoffatField
from corontools.warp import Corrections, SkyMap, Tiling, Tract, Warp, Warper, make_warps
from corontools.warp.product import config_of, warp_name, whole


@pytest.fixture(scope="module")
def stars(tools):
    """Places of stars on the sky."""
    x, y = np.meshgrid(np.arange(20, 120, 21.3), np.arange(18, 110, 20.7))
    return tools.rotated().all_pix2world(x.ravel(), y.ravel(), 0)


@pytest.fixture(scope="module")
def warp(tools, patch, stars):
    image = tools.star_image(tools.rotated(), ra_dec=stars)
    return Warp.from_exposures([tools.visit_image(image=image)], patch)


def stamps_at(image, x, y, size):
    half = size // 2
    rows, columns = (np.floor(v + 0.5).astype(int) for v in (y, x))
    return np.array([image[r - half : r + half + 1, c - half : c + half + 1] for r, c in zip(rows, columns)])  # noqa: B905


def test_stars_come_to_their_places_with_their_flux_and_size(tools, patch, stars):
    image = tools.star_image(tools.rotated(), ra_dec=stars, noise=0.0)
    warp = Warp.from_exposures(tools.visit_image(image=image), patch)
    x, y = patch.wcs.all_world2pix(*stars, 0)
    found = stamps_at(warp.frame.image, x, y, 21)
    np.testing.assert_allclose(found.sum(axis=(1, 2)), 1e4, rtol=2e-4)
    at_x, at_y = 10 + x - np.floor(x + 0.5), 10 + y - np.floor(y + 0.5)
    moments = adaptive_moments(found.astype(float), np.ones(found.shape), at_x, at_y, sigma=np.full(len(x), 1.7))
    np.testing.assert_allclose(np.stack([moments.x, moments.y]), np.stack([at_x, at_y]), atol=2e-3)
    size = (moments.xx * moments.yy - moments.xy**2) ** 0.25
    np.testing.assert_allclose(size, tools.width, rtol=3e-3)


def test_the_psf_is_what_the_warp_makes_of_a_star(tools, patch, stars):
    image = tools.star_image(tools.rotated(), ra_dec=stars, noise=0.0)
    warp = Warp.from_exposures(tools.visit_image(image=image), patch)
    x, y = patch.wcs.all_world2pix(*stars, 0)
    drawn = warp.psf.images(x, y)
    assert drawn.shape[1] == warp.psf.size >= 21 * 1.2
    cut = (warp.psf.size - 21) // 2
    found = stamps_at(warp.frame.image, x, y, 21) / 1e4
    np.testing.assert_allclose(drawn[:, cut:-cut, cut:-cut], found, atol=2e-6)
    np.testing.assert_allclose(drawn.sum(axis=(1, 2)), 1.0, rtol=1e-12)
    np.testing.assert_allclose(warp.psf.sigma(x, y), tools.width, rtol=3e-3)
    kernel = warp.psf.kernels(x[:1], y[:1])[0]
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=2e-6)


def test_the_psf_of_a_distorted_detector_is_that_of_its_stars():
    field = star_field(400, seed=2)
    truth, psf = field.truth, MoffatField((400, 400), size=31)
    wcs = truth.wcs.deepcopy()
    wcs.sip = type(wcs.sip)(100 * wcs.sip.a, 100 * wcs.sip.b, None, None, wcs.sip.crpix)
    from corontools.calibrate import MaskedImage
    from corontools.calibrate.visit import VisitImage

    sx, sy = np.array([60.3, 200.8, 330.1]), np.array([80.2, 210.5, 320.7])
    image = np.zeros((400, 400))
    psf.add(image, sx, sy, [1e5, 1e5, 1e5])
    frame = MaskedImage(image.astype("f4"), np.zeros((400, 400), np.int32), np.ones((400, 400), np.float32))
    visit = VisitImage(frame, wcs, psf, visit=1, detector=1, filter="r")
    patch = SkyMap.around([visit], tiling=Tiling(0.22, (600, 600), 0, rotation=70.0))[0][0, 0]
    made = Warp.from_exposures(visit, patch)
    x, y = patch.wcs.all_world2pix(*wcs.all_pix2world(sx, sy, 0), 0)
    found = stamps_at(made.frame.image, x, y, 15)
    cut = (made.psf.size - 15) // 2
    drawn = made.psf.images(x, y)[:, cut:-cut, cut:-cut]
    # the stamp is linear, the warp isn't; the Moffat profile is cut at the edge of the stamp
    assert np.abs(drawn / drawn.sum((1, 2), keepdims=True) - found / found.sum((1, 2), keepdims=True)).max() < 2e-4


def test_the_last_detector_wins_where_it_is_good(tools, patch):
    one, two = (np.full((120, 128), v, np.float32) for v in (1.0, 2.0))
    first = tools.visit_image(image=one)
    second = tools.visit_image(image=two, wcs=tools.rotated(0.0, (3.5, 59.5)), detector=2)
    hole = second.frame.mask.copy()
    hole[40:60, 30:40] = Plane.NO_DATA
    frame = second.frame.with_(
        mask=hole, image=np.where(hole, np.float32(np.nan), two), variance=np.where(hole, np.float32(np.inf), one)
    )
    warp = Warp.from_exposures([first, second.with_(frame=frame)], patch)
    alone = [Warp.from_exposures([v], patch) for v in (first, second.with_(frame=frame))]
    expected = np.where(alone[1].good, alone[1].frame.image, alone[0].frame.image)
    np.testing.assert_array_equal(warp.frame.image, expected)
    np.testing.assert_array_equal(warp.psf.owner, np.where(alone[1].good, 1, np.where(alone[0].good, 0, -1)))
    assert warp.inputs.ccds["ccd"].tolist() == [1, 2]
    assert warp.inputs.ccds["goodpix"].tolist() == [int(one.good.sum()) for one in alone]
    assert warp.inputs.visits["goodpix"].tolist() == [int(warp.good.sum())]
    other = Warp.from_exposures([second.with_(frame=frame), first], patch)
    np.testing.assert_array_equal(other.frame.image, np.where(alone[0].good, alone[0].frame.image, expected))


def test_the_psf_is_that_of_the_detector_that_gave_the_pixel(tools, patch):
    first = tools.visit_image().with_(psf=GaussianPSF(1.2, 21))
    second = tools.visit_image(wcs=tools.rotated(0.0, (3.5, 59.5)), detector=2).with_(psf=GaussianPSF(2.4, 21))
    warp = Warp.from_exposures([first, second], patch)
    for owner, width in ((0, 1.2), (1, 2.4)):
        y, x = np.argwhere(warp.psf.owner == owner)[::900].T
        np.testing.assert_allclose(warp.psf.sigma(x, y), width, rtol=1e-2)
    far = warp.psf.origin_at([-500.0, 900.0], [75.0, 75.0])
    assert sorted(far) == [0, 1]


def test_no_other_planes_are_copied_than_good_ones(tools, patch):
    image = tools.visit_image()
    saturated = image.with_(frame=image.frame.marked(np.arange(128) % 40 == 0, Plane.SAT))
    warp = Warp.from_exposures(saturated, patch, bad=Plane.NO_DATA | Plane.SAT)
    assert not warp.frame.has(Plane.SAT).any()
    kept = Warp.from_exposures(saturated, patch)
    np.testing.assert_array_equal(np.isfinite(warp.frame.image), kept.good & ~kept.frame.has(Plane.SAT))


@pytest.mark.parametrize("kernel", ["bilinear", "lanczos4", Warper("lanczos5", step=5)])
def test_other_kernels_and_options_are_taken(tools, patch, warp, kernel):
    made = Warp.from_exposures(tools.visit_image(), patch, kernel=kernel)
    name = kernel if isinstance(kernel, str) else kernel.kernel
    assert made.psf.kernel == made.warper.kernel == name
    assert 0.3 < made.good.mean() < 0.9
    assert name in repr(made)


def test_calibration_sky_and_wcs_from_elsewhere_are_applied(tools, patch):
    image = tools.visit_image(image=np.full((120, 128), 3.0, np.float32), calibration=2.0)
    plain = Warp.from_exposures(image, patch)
    np.testing.assert_allclose(plain.frame.image[plain.good], 6.0, rtol=1e-5)
    unit = Warp.from_exposures(image.with_(calibration=1.0), patch)
    np.testing.assert_allclose(plain.frame.variance[plain.good], 4 * unit.frame.variance[unit.good], rtol=1e-6)
    slope = np.linspace(1, 2, 128) * np.ones((120, 1))
    corrected = Corrections(calibration={1: 5.0 * slope}, wcs={(7, 1): tools.rotated(20.0)}, sky={1: 15.0 * slope})
    made = Warp.from_exposures(image, patch, corrections=corrected)
    np.testing.assert_allclose(made.frame.image[made.good], 0.0, atol=1e-4)
    straight = Warp.from_exposures(tools.visit_image(20.0), patch)
    np.testing.assert_array_equal(made.good, straight.good)


def test_the_background_can_be_added_again(tools, patch):
    entry = BackgroundEntry(np.array([[10.0]]), np.array([[1.0]]), (120, 128), 128, "constant")
    image = tools.visit_image(
        image=np.full((120, 128), 3.0, np.float32), calibration=2.0, background=BackgroundList((entry,))
    )
    made = Warp.from_exposures(image, patch, corrections=Corrections(background=True))
    np.testing.assert_allclose(made.frame.image[made.good], 26.0, rtol=1e-5)
    assert image.calibrated().background.sky == pytest.approx(20.0)
    with pytest.raises(DataError, match="background isn't known"):
        Warp.from_exposures(tools.visit_image(), patch, corrections=Corrections(background=True))


def test_a_detector_without_correction_is_left_out(tools, patch):
    two = [tools.visit_image(), tools.visit_image(30.0, detector=2)]
    with pytest.warns(UserWarning, match="visit 7 detector 2: no external calibration"):
        made = Warp.from_exposures(two, patch, corrections=Corrections(calibration={1: 1.0}))
    assert made.inputs.ccds["ccd"].tolist() == [1]


def test_the_noise_is_that_of_the_variance(tools):
    image = tools.visit_image(shape=(500, 500), wcs=tools.rotated(at=(250.0, 250.0)))
    patch = SkyMap.around([image], tiling=Tiling(0.17, (700, 700), 0, rotation=33.0))[0][0, 0]
    made = Warp.from_exposures(image, patch).frame
    good = np.isfinite(made.image)
    assert np.std(made.image[good] / np.sqrt(made.variance[good])) == pytest.approx(1.0, abs=0.01)


# files


def test_a_warp_comes_back_from_its_file(warp, tmp_path):
    (path,) = warp.save(tmp_path)
    assert path.name == "deepCoadd_directWarp-r-0-0,0-7.fits"
    again = Warp.read(path)
    for name in ("image", "mask", "variance"):
        np.testing.assert_array_equal(getattr(again.frame, name), getattr(warp.frame, name))
    assert (again.patch, again.warper, again.visit, again.filter) == (warp.patch, warp.warper, 7, "r")
    x, y = np.array([40.0, 80.3]), np.array([60.0, 77.7])
    np.testing.assert_allclose(again.psf.images(x, y), warp.psf.images(x, y), atol=1e-7)
    np.testing.assert_array_equal(again.psf.owner, warp.psf.owner)
    assert again.history == warp.history
    assert again.inputs.ccds.colnames == warp.inputs.ccds.colnames
    np.testing.assert_allclose(again.inputs.ccds["corners"], warp.inputs.ccds["corners"])


def test_the_file_is_readable_by_astropy(warp, tmp_path):
    (path,) = warp.save(tmp_path, coadd="good Seeing")
    assert path.name.startswith("good_SeeingCoadd_directWarp") or path.name.startswith("good SeeingCoadd_directWarp")
    with fits.open(path, checksum=True) as hdus:
        wcs = WCS(hdus["IMAGE"].header)
        np.testing.assert_allclose(
            wcs.all_pix2world([3.0, 90.0], [4.0, 5.0], 0), warp.wcs.all_pix2world([3.0, 90.0], [4.0, 5.0], 0), rtol=0,
            atol=1e-12,
        )  # fmt: skip
        assert hdus["MASK"].header["MP_NO_DATA"] == 8
        assert hdus["IMAGE"].header["BUNIT"] == "nJy"
        assert np.isinf(hdus["VARIANCE"].data[~warp.good]).all()
    assert Table.read(path, hdu="CCDS")["goodpix"][0] == warp.inputs.ccds["goodpix"][0]


def test_a_psf_of_pixels_is_kept(tools, patch, tmp_path):
    grid = GaussianPSF(1.7, 21).kernels([0.0], [0.0])
    psf = PixelPSF(np.concatenate([grid, 0.1 * grid, 0 * grid]), shape=(120, 128))
    made = Warp.from_exposures(tools.visit_image().with_(psf=psf), patch)
    again = Warp.read(made.save(tmp_path)[0])
    np.testing.assert_allclose(again.psf.kernels([70.0], [70.0]), made.psf.kernels([70.0], [70.0]), atol=1e-7)


def test_nothing_is_written_over_or_half(warp, tools, patch, tmp_path):
    (path,) = warp.save(tmp_path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        warp.save(tmp_path)
    assert warp.save(tmp_path, overwrite=True) == [path]
    assert path.read_bytes() == before
    other = Warp.from_exposures(tools.visit_image().with_(psf=MoffatField((120, 128))), patch)
    with pytest.raises(DataError, match="MoffatField can't be written"):
        other.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("harm", ["cut", "flip", "text", "other"])
def test_a_damaged_file_is_told(warp, tmp_path, harm):
    (path,) = warp.save(tmp_path)
    content = bytearray(path.read_bytes())
    if harm == "flip":
        content[len(content) // 3] ^= 255
    path.write_bytes({"cut": content[: len(content) // 2], "text": b"no FITS", "flip": content}.get(harm, content))
    if harm == "other":
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((3, 3)))]).writeto(path, overwrite=True, checksum=True)
    with pytest.raises(DataError):
        Warp.read(path)
    assert whole(path) == (harm == "other")


# many visits


@pytest.fixture
def visits(tools):
    return [tools.visit_image(10.0 * k, seed=k, visit=k) for k in range(3)]


def test_a_run_that_was_interrupted_goes_on_and_gives_the_same_bytes(visits, patch, tmp_path, monkeypatch):
    whole_run = make_warps(visits, patch, tmp_path / "whole")
    assert [path.name for path in whole_run] == [
        warp_name("direct", coadd="deep", filter_name="r", patch=patch, visit=k) for k in range(3)
    ]

    def power_cut(self, image, *args, **options):
        raise KeyboardInterrupt if image.visit == 2 else AssertionError

    make_warps(visits[:2], patch, tmp_path / "part")
    with monkeypatch.context() as patched:
        patched.setattr(Warper, "warp", power_cut)
        with pytest.raises(KeyboardInterrupt):
            make_warps(visits, patch, tmp_path / "part", reuse=True)
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "part").iterdir()}
    assert len(times) == 2
    again = make_warps(visits, patch, tmp_path / "part", reuse=True)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in whole_run]
    assert {path.name: path.stat().st_mtime_ns for path in again[:2]} == times


def test_a_damaged_warp_is_made_again(visits, patch, tmp_path):
    paths = make_warps(visits, patch, tmp_path)
    good = paths[1].read_bytes()
    paths[1].write_bytes(good[:-5000])
    with pytest.warns(UserWarning, match="is damaged and is made again"):
        make_warps(visits, patch, tmp_path, reuse=True)
    assert paths[1].read_bytes() == good


@pytest.mark.parametrize("what", ["kernel", "pixels", "sky", "psf"])
def test_a_warp_made_otherwise_is_made_again(visits, patch, tmp_path, what):
    (path,) = make_warps(visits[:1], patch, tmp_path)
    options, first = {}, visits[0]
    if what == "kernel":
        options = {"kernel": Warper(step=5)}
    elif what == "sky":
        options = {"corrections": Corrections(sky={1: 0.5})}
    elif what == "psf":
        first = first.with_(psf=GaussianPSF(1.8, 21))
    else:
        first = first.with_(frame=first.frame.with_(image=first.frame.image + np.float32(1)))
    old = config_of(path)
    with pytest.warns(UserWarning, match="in another way, and is made again"):
        make_warps([first], patch, tmp_path, reuse=True, **options)
    assert config_of(path) != old
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_warps([first], patch, tmp_path, reuse=True, **options)


def test_without_reuse_nothing_is_written_over(visits, patch, tmp_path):
    make_warps(visits[:1], patch, tmp_path)
    with pytest.raises(FileExistsError):
        make_warps(visits[:1], patch, tmp_path)
    assert len(make_warps(visits[:1], patch, tmp_path, overwrite=True)) == 1
    with pytest.raises(DataError, match="no exposures"):
        make_warps([], patch, tmp_path)


# what can't be warped


def test_no_overlap_gives_none_or_an_empty_warp_with_the_reason(tools, patch, tmp_path):
    away = tools.visit_image(wcs=tools.rotated(center=(53.3, -27.8)))
    with pytest.warns(UserWarning, match="no good pixel of the 1 detector of visit 7 lies on patch 0,0 of tract 0"):
        assert Warp.from_exposures(away, patch) is None
    made = Warp.from_exposures(away, patch, empty=True)
    assert "no good pixel" in made.reason
    assert np.isnan(made.frame.image).all()
    assert np.isposinf(made.frame.variance).all()
    assert (made.frame.mask == Plane.NO_DATA).all()
    assert (made.psf, len(made.inputs.ccds), made.visit) == (None, 0, 7)
    again = Warp.read(made.save(tmp_path)[0])
    assert (again.reason, again.psf, len(again.inputs.ccds)) == (made.reason, None, 0)
    assert "no good pixel" in repr(again)


def test_the_other_side_of_the_sky_does_not_overlap(tools, patch):
    away = tools.visit_image(wcs=tools.rotated(center=(233.1, 27.8)))
    assert Warp.from_exposures(away, patch, empty=True).reason


def test_visits_and_filters_are_not_mixed(tools, patch):
    one = tools.visit_image()
    for other, match in (
        (tools.visit_image(detector=2, filter="g"), "one filter, found g, r"),
        (tools.visit_image(detector=2, visit=8), "one visit, found 7, 8"),
        (tools.visit_image(), "given twice"),
    ):
        with pytest.raises(DataError, match=match):
            Warp.from_exposures([one, other], patch)
    with pytest.raises(DataError, match="found none"):
        Warp.from_exposures([], patch)
    with pytest.raises(DataError, match="has a kernel of"):
        Warp.from_exposures(one, patch, kernel="cubic")


def test_a_wcs_without_inverse_is_told(tools, patch):
    flat = tools.rotated()
    flat.wcs.cd = [[1e-5, 1e-5], [1e-5, 1e-5]]
    folded = star_field(120).truth.wcs.deepcopy()
    folded.sip = type(folded.sip)(1e5 * folded.sip.a, 1e5 * folded.sip.b, None, None, folded.sip.crpix)
    for wcs in (flat, folded):
        with pytest.raises(DataError, match="no inverse"):
            Warp.from_exposures(tools.visit_image(wcs=wcs), patch)
    with pytest.raises(DataError, match="no WCS"):
        Warp.from_exposures(tools.visit_image().with_(wcs=None), patch)
    with pytest.warns(UserWarning, match="no inverse"):
        made = Warp.from_exposures([tools.visit_image(), tools.visit_image(wcs=folded, detector=2)], patch)
    assert made.inputs.ccds["ccd"].tolist() == [1]


def test_pixels_without_finite_variance_are_left_out_and_negative_ones_refused(tools, patch):
    image = tools.visit_image()
    variance = image.frame.variance.copy()
    variance[60, 60:64] = np.nan
    with pytest.warns(UserWarning, match="4 pixels have a value but no finite variance"):
        made = Warp.from_exposures(image.with_(frame=image.frame.with_(variance=variance)), patch)
    whole_one = Warp.from_exposures(image, patch)
    assert 4 <= (whole_one.good & ~made.good).sum() < 20
    assert made.frame.has(Plane.INTRP).sum() > 30
    variance[60, 60] = -1.0
    with pytest.raises(DataError, match="variance is negative in 1 pixel"):
        Warp.from_exposures(image.with_(frame=image.frame.with_(variance=variance)), patch)


def test_files_that_can_not_be_read_are_left_out(tools, patch, tmp_path):
    with pytest.warns(UserWarning, match=r"left out: .*none\.fits does not exist"):
        made = Warp.from_exposures([tmp_path / "none.fits", tools.visit_image()], patch)
    assert made.inputs.ccds["ccd"].tolist() == [1]
    with pytest.warns(UserWarning, match="could be read"), pytest.warns(UserWarning, match="does not exist"):
        assert Warp.from_exposures([str(tmp_path / "none.fits")], patch) is None


def test_a_frame_of_another_equinox_is_turned(tools, patch, stars):
    from astropy.coordinates import SkyCoord

    wcs = WCS(naxis=2)
    middle = SkyCoord(53.1, -27.8, unit="deg").fk4
    wcs.wcs.ctype, wcs.wcs.radesys, wcs.wcs.equinox = ["RA---TAN", "DEC--TAN"], "FK4", 1950.0
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cd = [middle.ra.deg, middle.dec.deg], [64.5, 60.5], tools.rotated().wcs.cd
    old = SkyCoord(*stars, unit="deg").fk4
    image = tools.star_image(wcs, ra_dec=(old.ra.deg, old.dec.deg), noise=0.0)
    made = Warp.from_exposures(tools.visit_image(wcs=wcs, image=image), patch)
    x, y = patch.wcs.all_world2pix(*stars, 0)
    found = stamps_at(made.frame.image, x, y, 15)
    peak = np.array([np.unravel_index(np.argmax(stamp), stamp.shape) for stamp in found])
    assert np.abs(peak - 7).max() <= 1


def test_an_image_serves_as_the_grid_of_others(tools):
    wcs = tools.rotated(33.0)
    patch = Tract.of_wcs(wcs, (120, 128))[0, 0]
    made = Warp.from_exposures(tools.visit_image(33.0, seed=4), patch)
    given = tools.visit_image(33.0, seed=4).frame.image
    inside = (slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(made.frame.image[inside], given[inside], atol=1e-5)


def test_inputs_stay_as_they_are(tools, patch):
    image = tools.visit_image(calibration=3.0)
    before = image.frame.image.copy()
    Warp.from_exposures(image, patch)
    np.testing.assert_array_equal(image.frame.image, before)
    assert image.calibrated().calibration == 1.0
    assert replace(patch, index=(0, 0)) == patch
