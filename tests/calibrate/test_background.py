import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import binary_dilation, gaussian_filter

from corontools.calibrate.background import BackgroundEntry, BackgroundFitter, BackgroundList
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.errors import DataError
from corontools.simulate import star_field


def masked(image, noise=1.0):
    return MaskedImage(image.astype(np.float32), np.zeros(image.shape, np.int32), np.full(image.shape, noise**2))


def noisy(sky, seed=1, noise=5.0):
    return masked(sky + np.random.default_rng(seed).normal(0, noise, sky.shape), noise)


@pytest.fixture(scope="module")
def sky():
    y, x = np.indices((512, 640)) / 600
    return 1000 + 20 * x - 10 * y + 8 * x * y + 5 * np.sin(3 * x)


@pytest.mark.parametrize("style", ["chebyshev", "akima"])
def test_a_smooth_sky_is_found_among_stars(sky, style):
    frame = noisy(sky)
    image = np.array(frame.image)
    where = np.random.default_rng(2).integers(0, 500, (200, 2))
    image[where[:, 0], where[:, 1]] += 1e4
    found = BackgroundFitter(bin_size=64, style=style).fit(frame.with_(image=image))
    assert found.image().dtype == np.float32
    assert np.sqrt(np.mean((found.image() - sky) ** 2)) < 0.25
    assert found.median == pytest.approx(np.median(sky), abs=0.5)


def test_the_sky_of_a_star_field_is_found_to_half_an_electron_once_sources_are_masked():
    field = star_field(2048, seed=1)
    frame = MaskedImage.from_exposure(field.exposures[0])
    first = BackgroundFitter().fit(frame)
    assert abs(np.mean(first.image() - field.truth.sky)) < 2
    smooth = gaussian_filter(np.nan_to_num(first.subtract(frame).image), 1.7)
    found = binary_dilation(smooth > 5 * 1.4826 * np.median(np.abs(smooth)), iterations=4)
    again = BackgroundFitter().fit(first.subtract(frame).marked(found, Plane.DETECTED))
    both = BackgroundList((first, again))
    assert np.sqrt(np.mean((both.image() - field.truth.sky) ** 2)) < 0.5


def test_ignored_planes_and_missing_data_have_no_say(sky):
    frame = noisy(sky)
    image, where = np.array(frame.image), np.zeros(sky.shape, bool)
    where[100:220, 50:400] = True
    spoiled = frame.with_(image=np.where(where, image + 500, image))
    for plane in (Plane.BAD, Plane.EDGE, Plane.DETECTED, Plane.DETECTED_NEGATIVE, Plane.NO_DATA):
        found = BackgroundFitter(bin_size=64).fit(spoiled.marked(where, plane))
        assert np.abs(found.image() - sky).max() < 2
    counted = BackgroundFitter(bin_size=64, ignored=Plane.NO_DATA).fit(spoiled.marked(where, Plane.DETECTED))
    assert np.abs(counted.image() - sky).max() > 50
    lost = frame.with_(image=np.where(where, np.nan, image))
    assert np.abs(BackgroundFitter(bin_size=64).fit(lost).image() - sky).max() < 2


def test_bins_count_by_their_inverse_variance():
    rng = np.random.default_rng(1)
    image = rng.normal(0, 1, (256, 256))
    image[:, 128:] = rng.normal(0, 300, (256, 128))
    weighted, even = (
        BackgroundFitter(bin_size=16, order=0, weighted=w).fit(masked(image)).image()[0, 0] for w in (True, False)
    )
    assert abs(weighted) < 0.02
    assert abs(even) > 10 * abs(weighted)


@pytest.mark.parametrize(
    ("shape", "size", "order"), [((512, 512), 64, 6), ((512, 512), 128, 3), ((512, 200), 128, 1), ((512, 60), 128, 0)]
)
def test_the_order_is_lowered_where_bins_are_few(shape, size, order):
    found = BackgroundFitter(bin_size=size).fit(noisy(np.full(shape, 7.0)))
    assert found.order == order
    assert np.abs(found.image() - 7).max() < 1


def test_the_order_is_lowered_where_bins_are_empty(sky):
    rows = np.zeros(sky.shape, bool)
    rows[64:] = True
    found = BackgroundFitter(bin_size=64).fit(noisy(sky).marked(rows, Plane.DETECTED))
    assert found.order == 0
    few = BackgroundFitter(bin_size=64, style="akima").fit(noisy(sky).marked(rows, Plane.DETECTED))
    assert np.isfinite(few.image()).all()


def test_one_bin_gives_the_median():
    image = np.random.default_rng(1).exponential(5, (60, 50))
    for fitter in (BackgroundFitter(bin_size=100_000), BackgroundFitter(style="constant")):
        found = fitter.fit(masked(image))
        assert found.style == "constant"
        np.testing.assert_allclose(found.image(), np.full((60, 50), np.median(image)), rtol=1e-6)


def test_a_frame_without_a_pixel_left_is_refused(sky):
    with pytest.raises(DataError, match=r"all of 512 x 640 have one of the planes BAD, EDGE, DETECTED"):
        BackgroundFitter().fit(noisy(sky).marked(np.ones(sky.shape, bool), Plane.DETECTED))


def test_a_style_that_is_none_is_refused():
    with pytest.raises(DataError, match="chebyshev, akima, constant"):
        BackgroundFitter(style="spline")


def rounds(sky):
    frame = noisy(sky)
    first = BackgroundFitter(bin_size=64).fit(frame)
    second = BackgroundFitter(bin_size=64, style="akima").fit(first.subtract(frame))
    third = BackgroundEntry(np.array([[3.0]]), np.array([[0.1]]), sky.shape, 640, "constant")
    more = BackgroundList((second, third))
    return BackgroundList((first,)) + more


def test_rounds_add_up_and_scale(sky):
    found = rounds(sky)
    assert len(found) == 3
    np.testing.assert_allclose(found.image(), sum(entry.image() for entry in found), rtol=1e-6)
    assert found.sky == pytest.approx(sum(np.median(entry.levels) for entry in found))
    scaled = found.scale(-2.5e-4)
    np.testing.assert_allclose(scaled.image(), -2.5e-4 * found.image(), rtol=1e-5)
    assert np.all(scaled[0].errors > 0)
    assert len(found[:2]) == 2
    assert isinstance(found[:2], BackgroundList)


def test_subtracting_leaves_mask_and_variance(sky):
    frame = noisy(sky).marked(sky > 1020, Plane.SAT)
    entry = BackgroundFitter(bin_size=64).fit(frame)
    left = entry.subtract(frame)
    np.testing.assert_array_equal(left.mask, frame.mask)
    np.testing.assert_array_equal(left.variance, frame.variance)
    np.testing.assert_allclose(left.image + entry.image(), frame.image, rtol=1e-6)
    assert left.image.dtype == np.float32


def test_rounds_come_back_from_a_file(sky, tmp_path):
    found = rounds(sky)
    path = tmp_path / "background.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((2, 2)), name="SCI"), *found.to_hdus("nJy")]).writeto(path)
    with fits.open(path) as hdus:
        assert hdus["BACKGROUND", 2].header["BUNIT"] == "nJy"
        again = BackgroundList.from_hdus(hdus)
    for one, other in zip(found, again, strict=True):
        assert repr(one) == repr(other)
        np.testing.assert_array_equal(one.image(), other.image())


def test_lists_of_different_images_or_without_entries_are_refused(sky):
    with pytest.raises(DataError, match="an empty list"):
        BackgroundList().image()
    other = BackgroundEntry(np.ones((1, 1)), np.ones((1, 1)), (4, 4), 4, "constant")
    with pytest.raises(DataError, match="belong to one image"):
        rounds(sky) + BackgroundList((other,))


def test_a_sky_without_noise_is_kept():
    found = BackgroundFitter(bin_size=32).fit(masked(np.full((128, 128), 9.0)))
    np.testing.assert_allclose(found.image(), 9, rtol=1e-6)
