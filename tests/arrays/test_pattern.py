"""Sources found among references by their pattern."""

import numpy as np
import pytest

from corontools.arrays.affine import Affine
from corontools.arrays.neighbours import mutual_pairs
from corontools.arrays.pattern import match_pattern

SIZE = 2048


def scene(seed, n, *, rotation=0.9, shift=(212.0, -212.0), missing=0.2, spurious=0.3, noise=0.1, scale=1.0):
    """Sources, references (both by brightness), the reference that each source is, and the map between them.

    `missing` is the part that each list lacks, `spurious` the number of false sources relative to the true ones; the
    ranks of brightness differ by 0.2 mag.
    """
    rng = np.random.default_rng(seed)
    wide = SIZE + 800
    stars = rng.uniform(-400, SIZE + 400, (n * wide**2 // SIZE**2, 2))
    magnitude = -rng.exponential(1.0, len(stars))
    turn = Affine.of_rotation(rotation).matrix * scale
    middle = np.array([SIZE / 2, SIZE / 2])
    truth = Affine(turn, middle + shift - turn @ middle)
    places = truth.inverse()(stars) + rng.normal(0, noise, stars.shape)
    seen = np.flatnonzero(np.all((places > 0) & (places < SIZE), axis=1) & (rng.random(len(stars)) > missing))
    false = int(spurious * len(seen))
    sources = np.concatenate([places[seen], rng.uniform(0, SIZE, (false, 2))])
    faint = np.concatenate([magnitude[seen], rng.choice(magnitude[seen], false)])
    order = np.argsort(faint)
    identity = np.concatenate([seen, np.full(false, -1)])[order]
    listed = np.flatnonzero(rng.random(len(stars)) > missing)
    listed = listed[np.argsort((magnitude + rng.normal(0, 0.2, len(stars)))[listed])]
    return sources[order], stars[listed], identity, listed, truth


def assert_solved(seed, n, **how):
    sources, references, identity, listed, truth = scene(seed, n, **how)
    found = match_pattern(sources, references)
    assert found.reason == ""
    corners = np.array([[0, 0], [SIZE, 0], [0, SIZE], [SIZE, SIZE]])
    assert np.hypot(*(found.map(corners) - truth(corners)).T).max() < 0.5
    right = identity[found.source] == listed[found.reference]
    assert right.mean() > 0.9
    both = np.isin(identity, listed)
    assert right.sum() > 0.95 * both.sum()


@pytest.mark.parametrize("n", [30, 100, 300, 1000])
@pytest.mark.parametrize("seed", [1, 2])
def test_large_shifts_and_rotations_are_found(n, seed):
    assert_solved(seed, n)


@pytest.mark.parametrize("rotation", [-0.9, 0.0, 0.5])
def test_rotations_of_either_sense_are_found(rotation):
    assert_solved(3, 200, rotation=rotation, shift=(-200.0, 60.0))


def test_half_of_each_list_may_lack_in_the_other_and_half_of_the_sources_be_false():
    assert_solved(4, 300, missing=0.5, spurious=1.0)


def test_a_scale_that_is_slightly_wrong_is_found_with_a_larger_tolerance():
    sources, references, *_ = scene(5, 300, scale=1.003)
    found = match_pattern(sources, references)
    assert found.tolerance > 1
    assert found.map.scale == pytest.approx(1.003, abs=1e-4)


def test_seven_stars_among_some_more_are_enough():
    rng = np.random.default_rng(6)
    references = rng.uniform(0, 800, (30, 2))
    truth = Affine.of_rotation(0.1, shift=(3.0, 1.0))
    found = match_pattern(truth.inverse()(references[5:12]), references)
    assert found.reference.tolist() == list(range(5, 12))


@pytest.mark.parametrize("n", [20, 100, 400])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_another_field_is_not_taken_for_a_solution(n, seed):
    sources = scene(seed, n)[0]
    references = scene(seed + 100, n)[1]
    found = match_pattern(sources, references, rounds=4)
    assert len(found.source) == 0
    assert found.reason


def test_a_clustered_field_is_judged_by_its_own_density():
    rng = np.random.default_rng(7)
    # both lists crowd in the same places without having a star in common
    centres = rng.uniform(200, 1800, (12, 2))
    sources, references = (centres[rng.integers(0, 12, 400)] + rng.normal(0, 15, (400, 2)) for _ in range(2))
    assert match_pattern(sources, references).reason


def test_a_mirror_image_is_not_found():
    sources, references, *_ = scene(8, 150)
    assert match_pattern(sources * [-1, 1] + [SIZE, 0], references).reason


def test_what_is_beyond_the_limits_is_not_found():
    sources, references, *_ = scene(9, 150, shift=(300.0, 0.0), rotation=0.8)
    assert match_pattern(sources, references, max_shift=200.0).reason
    assert match_pattern(sources, references, max_rotation=0.4).reason
    assert match_pattern(sources, references).reason == ""


def test_a_lattice_fits_at_many_places_and_none_is_preferred():
    y, x = np.mgrid[0:3000:100, 0:3000:100]
    lattice = np.stack([x.ravel(), y.ravel()], axis=1).astype(float)
    rng = np.random.default_rng(10)
    references = rng.permutation(lattice)
    inside = np.all((lattice > 900) & (lattice < 2000), axis=1)
    found = match_pattern(rng.permutation(lattice[inside]) + 0.3, references)
    assert "different places" in found.reason


def test_three_sources_are_too_few():
    assert "4 sources and references are needed, there are 3 and 9" in match_pattern(np.eye(3, 2), np.eye(9, 2)).reason


def test_inputs_stay_as_they_are():
    sources, references, *_ = scene(11, 50)
    before = sources.copy(), references.copy()
    match_pattern(sources, references)
    np.testing.assert_array_equal(sources, before[0])
    np.testing.assert_array_equal(references, before[1])


def test_pairs_are_each_others_nearest_neighbours():
    rng = np.random.default_rng(12)
    a, b = rng.uniform(0, 30, (80, 2)), rng.uniform(0, 30, (70, 2))
    i, j, distance = mutual_pairs(a, b, 1.5)
    table = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    expected = [
        (k, m) for k in range(80) for m in [table[k].argmin()] if table[:, m].argmin() == k and table[k, m] <= 1.5
    ]
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected
    np.testing.assert_allclose(distance, table[i, j])


def test_no_points_make_no_pairs():
    assert len(mutual_pairs(np.empty((0, 2)), np.ones((3, 2)), 1.0)[0]) == 0
