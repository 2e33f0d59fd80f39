import numpy as np
import pytest

from corontools.arrays.outliers import temporal


def speckles(n_int, jitter, seed=0, peak=1000.0):
    """Bright speckles that move by `jitter` px rms between integrations, with noise of 1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    spots = rng.uniform(8, 56, size=(25, 2))
    cube = []
    for _ in range(n_int):
        dx, dy = rng.normal(0, jitter, 2)
        frame = sum(np.exp(-((x - a - dx) ** 2 + (y - b - dy) ** 2) / 4) for a, b in spots)
        cube.append(peak * frame + rng.normal(size=x.shape))
    return np.array(cube)


@pytest.mark.parametrize("n_int", [3, 4, 7, 40])
def test_cosmic_rays_are_found_among_jittering_speckles(n_int):
    cube = speckles(n_int, 0.02)
    rng = np.random.default_rng(5)
    hits = {
        (int(i), int(y), int(x))
        for i, (y, x) in zip(rng.integers(0, n_int, 30), rng.integers(0, 64, (30, 2)), strict=True)
    }
    for hit in hits:
        cube[hit] += 1500
    found = temporal(cube, good=np.isfinite(cube), err=np.ones_like(cube))
    assert sum(found[hit] for hit in hits) >= 0.95 * len(hits)
    false = found.copy()
    for hit in hits:
        false[hit] = False
    assert false.mean() < 1e-4


@pytest.mark.parametrize("n_int", [3, 5, 30])
def test_gaussian_noise_is_flagged_no_more_than_five_sigma_allow(n_int):
    cube = np.random.default_rng(n_int).normal(size=(n_int, 128, 128))
    assert temporal(cube, good=np.isfinite(cube)).mean() < 5e-6


def test_jitter_of_bright_speckles_is_no_outlier_though_errors_are_small():
    cube = speckles(5, 0.05, peak=1e5)
    assert temporal(cube, good=np.isfinite(cube), err=np.ones_like(cube)).mean() < 2e-4


def test_fewer_than_three_good_values_are_never_flagged():
    cube = np.random.default_rng(0).normal(size=(3, 16, 16))
    cube[0, 5, 5], cube[1, 5, 5] = np.nan, 100
    assert not temporal(cube, good=np.isfinite(cube))[:, 5, 5].any()
    assert not temporal(cube[:2], good=np.isfinite(cube[:2])).any()


def test_bad_pixels_take_no_part():
    cube = np.random.default_rng(0).normal(size=(6, 16, 16))
    good = np.ones(cube.shape, bool)
    cube[2, 3, 4], good[2, 3, 4] = 1e6, False
    cube[:, 9, 9], good[:, 9, 9] = np.nan, False
    assert not temporal(cube, good=good).any()


def test_a_constant_series_has_no_outlier():
    assert not temporal(np.ones((4, 8, 8)), good=np.ones((4, 8, 8), bool)).any()


@pytest.mark.parametrize("n_int", [3, 4, 5, 8])
def test_clusters_of_hits_are_found(n_int):
    cube = speckles(n_int, 0.02)
    places = [(1, 10, 12), (0, 40, 20), (2, 50, 50), (1, 30, 44)]
    for i, y, x in places:
        cube[i, y : y + 3, x : x + 3] += 1500
    found = temporal(cube, good=np.isfinite(cube), err=np.ones_like(cube))
    assert all(found[i, y : y + 3, x : x + 3].all() for i, y, x in places)
