"""Warps of image, variance and mask, against sums written out and planted truth."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from corontools import DataError
from corontools.arrays.warp import KERNELS, kernel_table, lay_nodes, warp_image, warp_stamps

BAD, EDGE, MISSING, PART = 1, 16, 256, 4
NAMES = sorted(KERNELS)


def turned(angle=20.0, scale=1.0, middle=(30.0, 32.0), out=(28.0, 29.0)):
    """A rotation with a change of scale: output x, y to source x, y."""
    c, s = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))

    def to_source(x, y):
        dx, dy = x - out[0], y - out[1]
        return middle[0] + c * dx - s * dy, middle[1] + s * dx + c * dy

    return to_source


def weights(name, away):
    """The kernel at distances, from its formula."""
    n = KERNELS[name]
    if name == "bilinear":
        return np.clip(1 - np.abs(away), 0, None)
    return np.where(np.abs(away) < n, np.sinc(away) * np.sinc(away / n), 0)


def summed(image, variance, place, name, known=None):
    """Value and variance at a place (x, y) by the sums over all pixels, without the area."""
    y, x = (np.arange(n) for n in image.shape)
    w = weights(name, y - place[1])[:, None] * weights(name, x - place[0])
    w = w if known is None else np.where(known, w, 0)
    image, variance = (np.where(w != 0, v, 0) for v in (image, variance))
    return (w * image).sum() / w.sum(), (w**2 * variance).sum() / w.sum() ** 2


@pytest.fixture
def planes():
    rng = np.random.default_rng(1)
    image = rng.normal(100.0, 10.0, (64, 60)).astype(np.float32)
    return image, rng.uniform(1, 4, image.shape).astype(np.float32), np.zeros(image.shape, np.int32)


def warped(planes, to_source, shape=(58, 56), **options):
    nodes = lay_nodes(to_source, shape, source=planes[0].shape, step=options.pop("step", 10))
    return warp_image(*planes, nodes, shape=shape, missing=MISSING, incomplete=PART, **options)


@pytest.mark.parametrize("name", NAMES)
def test_values_and_variances_are_the_sums_of_the_formula(planes, name):
    to_source = turned(scale=1.1)
    made = warped(planes, to_source, kernel=name)
    for y, x in ((20, 30), (29, 28), (33, 19), (41, 35)):
        value, spread = summed(*planes[:2], to_source(float(x), float(y)), name)
        assert made.image[y, x] == pytest.approx(value * 1.21, rel=3e-6)
        assert made.variance[y, x] == pytest.approx(spread * 1.21**2, rel=3e-6)


def test_surface_brightness_does_not_go_with_the_area(planes):
    flux = warped(planes, turned(scale=0.7))
    bright = warped(planes, turned(scale=0.7), conserve="brightness")
    np.testing.assert_allclose(flux.image, bright.image * 0.49, rtol=1e-6)
    np.testing.assert_allclose(flux.variance[20:30, 20:30], bright.variance[20:30, 20:30] * 0.49**2, rtol=1e-6)


def test_bilinear_is_that_of_scipy(planes):
    made = warped(planes, turned(), kernel="bilinear", conserve="brightness")
    y, x = np.mgrid[:58, :56].astype(float)
    sx, sy = turned()(x, y)
    theirs = map_coordinates(planes[0].astype(float), [sy, sx], order=1, cval=np.nan)
    good = np.isfinite(made.image)
    assert good.sum() > 2000
    np.testing.assert_allclose(made.image[good], theirs[good], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_an_exact_shift_moves_pixels_untouched(planes, name):
    made = warped(planes, lambda x, y: (x + 3.0, y + 5.0), shape=(40, 40), kernel=name)
    n = KERNELS[name]
    inside = slice(n, -n)
    np.testing.assert_array_equal(made.image[inside, inside], planes[0][5:45, 3:43][inside, inside])
    np.testing.assert_array_equal(made.variance[inside, inside], planes[1][5:45, 3:43][inside, inside])


def test_the_area_is_that_of_the_map_where_it_bends(planes):
    def to_source(x, y):
        return 5 + 0.8 * x + 0.002 * x * y, 6 + 0.7 * y + 0.001 * x**2

    made = warped((np.ones_like(planes[0]), *planes[1:]), to_source, shape=(40, 40), step=1)
    y, x = np.mgrid[:40, :40].astype(float)
    area = (0.8 + 0.002 * y) * 0.7 - 0.002 * x * 0.002 * x
    # backward differences see the area half a pixel before
    np.testing.assert_allclose(made.image, area, rtol=5e-3)


def test_flux_of_a_star_is_kept():
    y, x = np.mgrid[:64, :60]
    star = np.exp(-0.5 * ((x - 30.3) ** 2 + (y - 31.6) ** 2) / 2.0**2).astype(np.float32)
    ones, zeros = np.ones_like(star), np.zeros(star.shape, np.int32)
    for scale in (0.7, 1.0, 1.3):
        made = warped((star, ones, zeros), turned(scale=scale), conserve="flux")
        assert np.nansum(made.image) == pytest.approx(star.sum(), rel=2e-4)


def test_noise_is_that_of_the_variance():
    rng = np.random.default_rng(5)
    sigma = np.linspace(1, 3, 400 * 400).reshape(400, 400)
    image = (sigma * rng.standard_normal(sigma.shape)).astype(np.float32)
    made = warped(
        (image, (sigma**2).astype(np.float32), np.zeros(image.shape, np.int32)),
        turned(middle=(200.0, 200.0), out=(200.0, 200.0)), shape=(400, 400),
    )  # fmt: skip
    good = np.isfinite(made.image)
    assert np.std(made.image[good] / np.sqrt(made.variance[good])) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_there_is_nothing_where_the_kernel_goes_over_the_edge(planes, name):
    to_source = turned()
    made = warped(planes, to_source, kernel=name)
    y, x = np.mgrid[:58, :56].astype(float)
    sx, sy = (np.floor(v) for v in to_source(x, y))
    n = KERNELS[name]
    inside = (sx >= n - 1) & (sx + n < 60) & (sy >= n - 1) & (sy + n < 64)
    np.testing.assert_array_equal(np.isfinite(made.image), inside)
    np.testing.assert_array_equal(np.isfinite(made.variance), inside)
    np.testing.assert_array_equal(made.mask, np.where(inside, 0, MISSING))


def test_bits_come_from_the_four_nearest_pixels_and_grown_ones_from_the_whole_kernel(planes):
    image, variance, mask = planes
    mask[30, 30], mask[20, 40] = BAD, EDGE
    to_source = turned()
    made = warped((image, variance, mask), to_source, grown=EDGE)
    y, x = np.mgrid[:58, :56].astype(float)
    sx, sy = to_source(x, y)
    near = (np.abs(sx - 30) < 1) & (np.abs(sy - 30) < 1)
    np.testing.assert_array_equal((made.mask & BAD) > 0, near & np.isfinite(made.image))
    wide = (np.floor(sx) - 2 <= 40) & (np.floor(sx) + 3 >= 40) & (np.floor(sy) - 2 <= 20) & (np.floor(sy) + 3 >= 20)
    np.testing.assert_array_equal((made.mask & EDGE) > 0, wide & np.isfinite(made.image))
    assert wide.sum() > 30 > near.sum() > 2


def test_a_pixel_that_only_touches_does_not_hand_on_its_bits(planes):
    image, variance, mask = planes
    mask[10, 10] = BAD
    made = warped((image, variance, mask), lambda x, y: (x + 0.0, y + 0.5), shape=(40, 40))
    assert np.argwhere(made.mask & BAD).tolist() == [[9, 10], [10, 10]]


def test_missing_pixels_are_left_out_of_the_sums(planes):
    image, variance, mask = planes
    image[30, 30], variance[33, 36] = np.nan, np.inf
    known = np.isfinite(image) & np.isfinite(variance)
    to_source = turned()
    made = warped((image, variance, mask), to_source)
    y, x = np.mgrid[:58, :56].astype(float)
    sx, sy = to_source(x, y)
    lost = np.zeros(sx.shape, bool)
    for py, px in ((30, 30), (33, 36)):
        lost |= (np.abs(sx - px) < 1) & (np.abs(sy - py) < 1)
    whole = np.isfinite(warped(planes_like(image), to_source).image)
    np.testing.assert_array_equal(np.isfinite(made.image), whole & ~lost)
    assert (made.mask[lost] & MISSING).all()
    parts = np.argwhere(made.mask & PART)
    assert len(parts) > 20
    for row, column in parts[::7]:
        value, spread = summed(image, variance, (sx[row, column], sy[row, column]), "lanczos3", known)
        assert made.image[row, column] == pytest.approx(value, rel=1e-5)
        assert made.variance[row, column] == pytest.approx(spread, rel=1e-5)


def planes_like(image):
    return np.ones_like(image), np.ones_like(image), np.zeros(image.shape, np.int32)


def test_a_level_stays_a_level_beside_missing_pixels():
    image, variance, mask = planes_like(np.empty((64, 60)))
    image[np.random.default_rng(2).random(image.shape) < 0.05] = np.nan
    made = warped((image, variance, mask), turned())
    good = np.isfinite(made.image)
    assert good.sum() > 1500
    np.testing.assert_allclose(made.image[good], 1.0, rtol=1e-6)


def test_the_error_between_nodes_is_within_its_bound():
    def to_source(x, y):
        return x + 3e-6 * x**2 - 2e-6 * x * y, y + 5e-6 * y**2 + 1e-6 * x**2

    nodes = lay_nodes(to_source, (200, 300))
    y, x = np.mgrid[:200, :300].astype(float)
    between = map_coordinates(nodes.places[0], [(y + 1) / 10, (x + 1) / 10], order=1)
    off = np.abs(between - to_source(x, y)[1]).max()
    assert 0.3 * nodes.error < off <= nodes.error < 3e-4


def test_nodes_are_laid_closer_where_the_map_bends_much():
    def to_source(x, y):
        return x + 1e-3 * x**2, y

    nodes = lay_nodes(to_source, (50, 50), tolerance=1.01e-3)
    assert (nodes.step, nodes.places.shape) == (2, (2, 26, 26))
    assert nodes.error == pytest.approx(1e-3)
    exact = lay_nodes(to_source, (50, 50), tolerance=1e-6)
    assert (exact.step, exact.error) == (1, 0.0)


def test_what_has_no_place_on_the_source_is_missing(planes):
    def to_source(x, y):
        return np.where(x < 20, np.nan, x), y

    made = warped(planes, to_source, shape=(40, 40))
    assert np.isnan(made.image[:, :19]).all()
    assert np.isfinite(made.image[5:35, 30:38]).all()


def test_big_endian_and_float64_images_are_taken(planes):
    image, variance, mask = planes
    made = warped(planes, turned())
    other = warped((image.astype(">f4"), variance.astype(float), mask.astype(">i4")), turned())
    np.testing.assert_array_equal(made.image, other.image)
    assert other.image.dtype == np.float32


def test_double_precision_is_kept_where_it_is_asked_for(planes):
    image, variance, mask = planes
    faint = (1e-25 * image.astype(float), 1e-50 * variance.astype(float), mask)
    made, single = warped(faint, turned(), dtype=np.float64), warped(planes, turned())
    assert made.image.dtype == made.variance.dtype == np.float64
    np.testing.assert_allclose(made.image, 1e-25 * single.image.astype(float), rtol=1e-6)
    np.testing.assert_allclose(made.variance, 1e-50 * single.variance.astype(float), rtol=1e-6)


def test_inputs_stay_as_they_are(planes):
    kept = [plane.copy() for plane in planes]
    for plane in planes:
        plane.flags.writeable = False
    warped(planes, turned())
    for plane, old in zip(planes, kept, strict=True):
        np.testing.assert_array_equal(plane, old)


def test_an_image_smaller_than_the_kernel_gives_nothing():
    made = warped(planes_like(np.empty((5, 5))), turned(middle=(2.0, 2.0)))
    assert np.isnan(made.image).all()


def test_what_can_not_be_warped_is_told(planes):
    with pytest.raises(DataError, match="no kernel 'lanczos2'"):
        warped(planes, turned(), kernel="lanczos2")
    with pytest.raises(DataError, match="conserves"):
        warped(planes, turned(), conserve="mass")
    with pytest.raises(DataError, match="alike"):
        warped((planes[0][1:], *planes[1:]), turned())
    with pytest.raises(DataError, match="1 px apart"):
        lay_nodes(turned(), (5, 5), step=0)


def test_the_table_of_a_kernel_is_fine_enough():
    table, at = kernel_table("lanczos3"), np.linspace(0, 1, 7001)
    place = at * (len(table) - 1)
    row = np.minimum(place.astype(int), len(table) - 2)
    between = table[row] + (place - row)[:, None] * (table[row + 1] - table[row])
    assert np.abs(between - weights("lanczos3", at[:, None] - np.arange(-2, 4))).max() < 4e-8


def test_stamps_are_turned_about_their_star():
    y, x = np.mgrid[:41, :41] - 20.0
    stamp = np.exp(-0.5 * ((x - 0.3) ** 2 / 3.2**2 + (y + 0.2) ** 2 / 2.4**2))
    angle = np.radians(30)
    affine = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    made = warp_stamps([stamp], [affine], middle=[(19.8, 20.3)], offset=[(0.4, -0.1)], size=41)[0]
    sy, sx = np.tensordot(affine, np.array([y - 0.4, x + 0.1]), 1)
    # the kernel takes the slope of a straight line 1 % off
    np.testing.assert_allclose(made, np.exp(-0.5 * (sx**2 / 3.2**2 + sy**2 / 2.4**2)), atol=4e-3)
