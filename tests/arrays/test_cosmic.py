"""Cosmic rays against the same conditions written out pixel by pixel, and against planted ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from corontools.arrays.cosmic import Limits, fill_defects, find, groups, grow, predict, star_contrast

PAIRS = (((-1, 0), (1, 0)), ((0, -1), (0, 1)), ((-1, -1), (1, 1)), ((1, -1), (-1, 1)))


def noisy(shape=(40, 50), n=12, seed=3):
    """Sky of unit noise, stars, and rays, with some unusable pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = rng.normal(0, 1, shape)
    for cy, cx in rng.uniform(0, 1, (4, 2)) * shape:
        image += 60 * np.exp(-0.5 * ((y - cy) ** 2 + (x - cx) ** 2) / 1.7**2)
    for cy, cx, dx in zip(
        rng.integers(2, shape[0], n), rng.integers(2, shape[1] - 9, n), rng.integers(1, 8, n), strict=True
    ):
        image[cy, cx : cx + dx] += rng.uniform(5, 60, dx)
    unusable = rng.random(shape) < 0.02
    image[unusable] = np.nan
    return image, rng.uniform(0.8, 1.3, shape), unusable, rng.random(shape) < 0.003


def mean_of_pair(image, variance, unusable, y, x, contrast, background, steep, slack):
    """The conditions as they are told, one after the other; None for no ray."""
    pixel, sigma = image[y, x], variance[y, x] ** 0.5
    known = []
    for number, pair in enumerate(PAIRS):
        places = [(y + dy, x + dx) for dy, dx in pair]
        inside = all(0 <= j < image.shape[0] and 0 <= i < image.shape[1] for j, i in places)
        if inside and not any(unusable[place] for place in places):
            (a, b), (va, vb) = [image[p] for p in places], [variance[p] for p in places]
            known.append((contrast[min(number, 2)], (a + b) / 2, (va + vb) ** 0.5 / 2))
    if not any(pixel >= mean + steep * sigma for _, mean, _ in known):
        return None
    for limit, mean, error in known:
        if limit * (pixel - background - slack * sigma) > mean - background + slack * error:
            return mean
    return None


def found_slowly(image, variance, unusable, spoiled, limits):
    work, found = image.copy(), np.zeros(image.shape, bool)
    cells = limits.contrast.shape[:2]
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            near = spoiled[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if unusable[y, x] or near.any() or image[y, x] < 0:
                continue
            contrast = limits.contrast[y * cells[0] // image.shape[0], x * cells[1] // image.shape[1]]
            mean = mean_of_pair(work, variance, unusable, y, x, contrast, limits.background, limits.steep, limits.slack)
            if mean is not None:
                work[y, x], found[y, x] = mean, True
    return found


@pytest.mark.parametrize("seed", range(4))
def test_find_keeps_to_the_conditions(seed):
    image, variance, unusable, spoiled = noisy(seed=seed)
    contrast = np.random.default_rng(seed).uniform(0.3, 0.6, (2, 3, 3))
    limits = Limits(contrast, background=0.2, steep=5.0, slack=1.5)
    found = find(image, variance, unusable, spoiled, limits=limits)
    expected = found_slowly(image, variance, unusable, spoiled, limits)
    assert expected.sum() > 10
    np.testing.assert_array_equal(found, expected)


def test_one_round_of_growth_keeps_to_the_conditions():
    image, variance, unusable, spoiled = noisy(seed=7)
    limits = Limits(np.full((1, 1, 3), 0.4), background=0.0)
    found = find(image, variance, unusable, spoiled, limits=limits)
    pixels = np.argwhere(found)
    repaired = image.copy()
    repaired[*pixels.T] = np.nan_to_num(predict(image, variance, unusable, pixels=pixels, found=found)[0])
    expected = found.copy()
    for y, x in np.argwhere(ndimage.binary_dilation(found, np.ones((3, 3))) & ~found & ~unusable):
        near = spoiled[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        arguments = (repaired, variance, unusable, y, x, (0.6,) * 3, 0.0, 2.0, 0.5)
        if repaired[y, x] >= 0 and not near.any() and mean_of_pair(*arguments) is not None:
            expected[y, x] = True
    easier = Limits(np.full((1, 1, 3), 0.6), background=0.0, steep=2.0, slack=0.5)
    grown = grow(image, variance, unusable, spoiled, found=found, limits=easier, rounds=1)
    assert expected.sum() > found.sum()
    np.testing.assert_array_equal(grown, expected)


def test_growth_ends_when_nothing_is_added():
    image, variance, unusable, spoiled = noisy(seed=7)
    limits = Limits(np.full((1, 1, 3), 0.4), background=0.0, steep=3.0)
    start = find(image, variance, unusable, spoiled, limits=limits._replace(steep=20.0))
    grown = grow(image, variance, unusable, spoiled, found=start, limits=limits, rounds=50)
    again = grow(image, variance, unusable, spoiled, found=grown, limits=limits, rounds=1)
    assert grown.sum() > start.sum() > 0
    np.testing.assert_array_equal(again, grown)


def test_stars_are_left_alone_wherever_they_are_centred():
    sigma, rng = 1.5, np.random.default_rng(1)
    y, x = np.mgrid[:60, :60]
    kernel = np.exp(-0.5 * ((y[:11, :11] - 5) ** 2 + (x[:11, :11] - 5) ** 2) / sigma**2)
    image = np.full((60, 60), 100.0)
    for cy in range(10, 55, 15):
        for cx in range(10, 55, 15):
            dy, dx = rng.uniform(-0.5, 0.5, 2)
            image += rng.uniform(1e2, 1e5) * np.exp(-0.5 * ((y - cy - dy) ** 2 + (x - cx - dx) ** 2) / sigma**2)
    none = np.zeros((60, 60), bool)
    limits = Limits(0.6 * star_contrast(kernel)[None, None], background=100.0)
    noise = rng.normal(size=image.shape)
    assert not find(image + noise * np.sqrt(image), image, none, none, limits=limits).any()


def test_contrast_is_that_of_the_psf_beside_its_middle():
    kernel = np.arange(25.0).reshape(5, 5) + 1
    middle = kernel[2, 2]
    expected = [(kernel[1, 2] + kernel[3, 2]) / 2, (kernel[2, 1] + kernel[2, 3]) / 2, kernel[1:4:2, 1:4:2].mean()]
    np.testing.assert_allclose(star_contrast(np.array([kernel, kernel])), np.array([expected] * 2) / middle)


def test_groups_are_those_of_scipy():
    found = np.random.default_rng(5).random((60, 70)) < 0.2
    pixels, numbers = groups(found)
    labels, n = ndimage.label(found, np.ones((3, 3)))
    assert numbers.max() + 1 == n
    pairs = set(zip(labels[*pixels.T].tolist(), numbers.tolist(), strict=True))
    assert len(pairs) == n
    np.testing.assert_array_equal(pixels, np.argwhere(found))


def test_a_lone_line_predicts_by_its_four_pixels():
    values = np.random.default_rng(2).normal(5, 1, (5, 5))
    found = np.zeros((5, 5), bool)
    found[2, 2] = True
    others = np.ones((5, 5), bool)
    others[2] = False
    value, variance = predict(values, np.full((5, 5), 4.0), others, pixels=np.array([[2, 2]]), found=found)
    row = values[2]
    assert value[0] == pytest.approx(0.7737 * (row[1] + row[3]) - 0.2737 * (row[0] + row[4]))
    assert variance[0] == pytest.approx(4.0)


def test_predictions_of_sky_are_unbiased_though_the_lowest_is_taken():
    rng = np.random.default_rng(4)
    image = rng.normal(50, 3, (400, 400))
    found = np.zeros(image.shape, bool)
    found[4:-4:6, 4:-4:6] = True
    none, pixels = np.zeros(image.shape, bool), np.argwhere(found)
    values, _ = predict(image, np.full(image.shape, 9.0), none, pixels=pixels, found=found, background=0.0)
    assert values.mean() == pytest.approx(50, abs=4 * values.std() / len(values) ** 0.5 + 0.05)
    assert values.std() < 3.2


def test_predictions_keep_off_what_is_bright_beside_them():
    image = np.zeros((9, 9))
    image[4, 3:6] = image[3, 5] = 1000.0
    found = np.zeros((9, 9), bool)
    found[4, 4] = True
    none = np.zeros((9, 9), bool)
    values, _ = predict(image, np.full((9, 9), 1e-6), none, pixels=np.array([[4, 4]]), found=found)
    assert abs(values[0]) < 0.01


def test_wide_gaps_are_crossed_straight():
    y, x = np.mgrid[:30, :30]
    plane = 3.0 * x + 2.0 * y
    found = np.zeros((30, 30), bool)
    found[8:20, 10:17] = True
    pixels, none = np.argwhere(found), np.zeros((30, 30), bool)
    values, _ = predict(plane, np.full((30, 30), 1e-9), none, pixels=pixels, found=found)
    inner = ndimage.binary_erosion(found, np.ones((3, 3)))[*pixels.T]
    np.testing.assert_allclose(values[inner], plane[*pixels.T][inner])


def test_what_has_nothing_near_stays_unknown():
    image, unusable = np.ones((9, 9)), np.ones((9, 9), bool)
    values, variances = fill_defects(image, image, unusable, pixels=np.array([[4, 4]]))
    assert np.isnan(values).all()
    assert np.isnan(variances).all()


def test_a_dead_column_through_a_star_is_filled():
    y, x = np.mgrid[:31, :31]
    star = 1000 * np.exp(-0.5 * ((y - 15.3) ** 2 + (x - 14.8) ** 2) / 2.0**2)
    dead = np.zeros(star.shape, bool)
    dead[:, 15] = True
    pixels = np.argwhere(dead)
    values, _ = fill_defects(np.where(dead, -500.0, star), np.ones(star.shape), dead, pixels=pixels)
    assert np.abs(values - star[dead]).max() < 0.05 * star.max()
