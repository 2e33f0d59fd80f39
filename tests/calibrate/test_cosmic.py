"""Cosmic rays of simulated frames: what is found, what stays, and what is told of frames that can't be right."""

from __future__ import annotations

import numpy as np
import pytest

from corontools.calibrate.cosmic import CosmicRayFinder, CosmicRays, DefectFiller, TooManyCosmicRays
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import UNUSABLE, Plane
from corontools.calibrate.psf import GaussianPSF
from corontools.errors import DataError
from corontools.simulate.field import star_field
from corontools.simulate.field_detector import FieldDetector


@pytest.fixture(scope="module")
def field():
    """As many rays as four times the area would have."""
    return star_field((700, 640), detector=FieldDetector(cosmic_rays=1600), seed=5)


@pytest.fixture(scope="module")
def frame(field):
    masked = MaskedImage.from_exposure(field.exposures[0])
    return masked.with_(image=(masked.image - field.truth.sky).astype(np.float32))


@pytest.fixture(scope="module")
def rays(field, frame):
    return CosmicRayFinder().find(frame, field.truth.psf)


def lone(value=900.0, seed=1, shape=(40, 40)):
    """A single hot pixel on sky."""
    image = np.random.default_rng(seed).normal(0, 3, shape)
    image[20, 12] = value
    return MaskedImage(image, np.zeros(shape, np.int32), np.full(shape, 9.0))


def test_nearly_all_rays_are_found_and_nearly_nothing_else(field, frame, rays):
    hit = field.truth.cosmic_rays
    strong = (field.truth.cosmic_snr > 6) & ~frame.has(UNUSABLE)
    assert strong.sum() > 2000
    # so dense that rays cross each other, and much of the frame is border
    assert rays.mask[strong].mean() > 0.99
    # a share of the pixels of rays: noise beside them
    assert (rays.mask & ~hit).sum() < 0.015 * hit.sum()


def test_no_star_is_taken_for_a_ray(field, frame, rays):
    hit = field.truth.cosmic_rays
    stars = field.truth.stars
    bright = stars[(stars["mag"] < 17) & (np.abs(stars["x"] - 320) < 310) & (np.abs(stars["y"] - 350) < 340)]
    y, x = np.rint(bright["y"]).astype(int), np.rint(bright["x"]).astype(int)
    boxes = [np.s_[j - 2 : j + 3, i - 2 : i + 3] for j, i in zip(y, x, strict=True)]
    assert len(boxes) > 20
    assert not any((rays.mask[box] & ~hit[box]).any() for box in boxes if not hit[box].any())


def test_a_first_guess_of_the_psf_finds_as_many(field, frame, rays):
    guessed = CosmicRayFinder().find(frame, GaussianPSF.of_fwhm(4.0, size=11))
    assert guessed.n_pixels == pytest.approx(rays.n_pixels, rel=0.01)


@pytest.mark.parametrize(("fwhm", "contrast"), [(2.7, 0.6), (2.1, 0.35)])
def test_a_guess_far_too_wide_spares_stars_down_to_some_sharpness(fwhm, contrast):
    psf, rng = GaussianPSF.of_fwhm(fwhm, size=21), np.random.default_rng(3)
    image = np.zeros((120, 120))
    for y in range(15, 110, 30):
        for x in range(15, 110, 30):
            image[y - 10 : y + 11, x - 10 : x + 11] += 3e4 * psf.images(*rng.uniform(-0.4, 0.4, (2, 1)))[0]
    frame = MaskedImage(image + rng.normal(0, 5, image.shape), np.zeros(image.shape, np.int32), image + 25)
    assert len(CosmicRayFinder(contrast=contrast).find(frame, GaussianPSF.of_fwhm(4.0))) == 0


def test_repaired_pixels_are_like_the_field_without_rays(field, frame, rays):
    light = field.truth.light - field.truth.sky
    y, x = rays.pixels[field.truth.cosmic_rays[*rays.pixels.T]].T
    away = (rays.repaired.image - light)[y, x] / np.sqrt(field.truth.variance[y, x])
    assert abs(np.median(away)) < 0.5
    assert np.median(np.abs(away)) < 1.5
    assert np.isfinite(rays.repaired.variance[y, x]).all()


def test_the_repaired_frame_is_marked_and_else_the_same(frame, rays):
    repaired, mask = rays.repaired, rays.mask
    np.testing.assert_array_equal(repaired.image[~mask], frame.image[~mask])
    np.testing.assert_array_equal(repaired.mask[~mask], frame.mask[~mask])
    assert repaired.has(Plane.CR)[mask].all()
    assert repaired.has(Plane.INTRP)[mask].all()
    assert repaired.image.dtype == frame.image.dtype


def test_repair_keeps_the_values_when_told(field, frame, rays):
    finder = CosmicRayFinder()
    kept = finder.repair(frame, field.truth.psf, keep=True)
    np.testing.assert_array_equal(kept.image, frame.image)
    np.testing.assert_array_equal(kept.has(Plane.CR), rays.mask)
    np.testing.assert_array_equal(kept.has(Plane.INTRP), frame.has(Plane.INTRP))
    np.testing.assert_array_equal(finder.repair(frame, field.truth.psf).image, rays.repaired.image)


def test_an_earlier_plane_of_rays_is_cleared():
    frame = lone()
    before = frame.marked(np.eye(40, dtype=bool), Plane.CR)
    rays = CosmicRayFinder().find(before, GaussianPSF.of_fwhm(4.0))
    assert rays.pixels.tolist() == [[20, 12]]
    assert rays.flagged.has(Plane.CR).sum() == 1


def test_the_table_has_a_row_for_each_ray(rays):
    table = rays.table
    assert len(table) == len(rays) > 100
    assert table["n_pixels"].sum() == rays.n_pixels
    first = rays.pixels[rays.numbers == 0]
    assert (table["y"][0], table["x"][0]) == pytest.approx(tuple(first.mean(axis=0)))
    assert table["counts"].sum() == pytest.approx((rays.masked.image - rays.repaired.image)[rays.mask].sum(), rel=1e-3)


def test_faint_groups_are_dropped():
    frame, psf = lone(value=100.0), GaussianPSF.of_fwhm(4.0)
    assert len(CosmicRayFinder().find(frame, psf)) == 0
    assert len(CosmicRayFinder(min_counts=90).find(frame, psf)) == 1


def test_no_rays_are_no_trouble():
    rays = CosmicRayFinder().find(lone(value=0.0), GaussianPSF.of_fwhm(4.0))
    assert isinstance(rays, CosmicRays)
    assert (len(rays), rays.n_pixels, len(rays.table)) == (0, 0, 0)
    np.testing.assert_array_equal(rays.repaired.image, rays.masked.image)


@pytest.mark.parametrize("plane", [Plane.SAT, Plane.INTRP])
def test_nothing_is_judged_beside_saturated_and_interpolated_pixels(plane):
    frame, beside = lone(), np.zeros((40, 40), bool)
    beside[21, 13] = True
    assert len(CosmicRayFinder().find(frame.marked(beside, plane), GaussianPSF.of_fwhm(4.0))) == 0


def test_a_dead_pixel_makes_no_ray_of_its_neighbours():
    frame, dead = lone(value=0.0), np.zeros((40, 40), bool)
    dead[:, 30] = True
    image = np.where(dead, -5000.0, frame.image + 100)
    masked = frame.with_(image=image).marked(dead, Plane.BAD)
    assert len(CosmicRayFinder().find(masked, GaussianPSF.of_fwhm(4.0))) == 0


def test_a_ray_is_found_on_a_background_that_was_not_subtracted():
    frame = lone()
    lifted = frame.with_(image=frame.image + 5000)
    assert CosmicRayFinder().find(lifted, GaussianPSF.of_fwhm(4.0)).pixels.tolist() == [[20, 12]]


def test_rays_without_anything_good_around_get_noise_of_the_sky():
    frame = lone(shape=(80, 80), value=0.0)
    image, rng = np.array(frame.image), np.random.default_rng(9)
    image[0:78, 0:78] += 1e4 * rng.exponential(1, (78, 78))  # no column or row ends on both sides in a good pixel
    finder = CosmicRayFinder(rounds=30, min_counts=1)
    first, second = (finder.find(frame.with_(image=image), GaussianPSF.of_fwhm(4.0)) for _ in range(2))
    assert np.isfinite(first.values).all()
    np.testing.assert_array_equal(first.values, second.values)


def test_too_many_rays_are_told_with_the_likely_reasons():
    rng = np.random.default_rng(1)
    frame = MaskedImage(rng.normal(500, 100, (200, 200)), np.zeros((200, 200), np.int32), np.ones((200, 200)))
    finder = CosmicRayFinder(max_pixels=1000)
    with pytest.raises(TooManyCosmicRays, match=r"sharper than a star, of 40000, and 1000 are allowed.*variance"):
        finder.find(frame, GaussianPSF.of_fwhm(4.0))
    assert issubclass(TooManyCosmicRays, DataError)


def test_defects_are_filled_and_marked_and_lost_ones_stay():
    y, x = np.mgrid[:120, :120]
    image, mask = 2.0 * x + y, np.zeros((120, 120), np.int32)
    mask[:, 7] = mask[50, 60:63] = Plane.BAD
    mask[80:, 80:] = Plane.BAD  # wider than can be crossed, and it ends at the border
    truth = image.copy()
    image[(mask > 0)] = -999.0
    filled = DefectFiller().fill(MaskedImage(image, mask, np.ones(image.shape)))
    small = np.zeros(mask.shape, bool)
    small[2:-2, 7] = small[50, 60:63] = True
    np.testing.assert_allclose(filled.image[small], truth[small], rtol=1e-6)
    assert filled.has(Plane.INTRP)[small].all()
    assert filled.has(Plane.BAD)[small].all()
    assert filled.image[100, 100] == -999.0
    assert not filled.has(Plane.INTRP)[100, 100]
