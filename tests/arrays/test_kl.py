import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corontools.arrays import kl
from corontools.errors import DataError


def centred(n, pixels, seed=0, rank=None):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, pixels))
    if rank is not None:
        images = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, pixels))
    return images - images.mean(axis=1, keepdims=True)


def test_modes_are_the_singular_vectors_of_the_references():
    refs = centred(8, 300)
    basis, weights, eigenvalues = kl.decompose(refs, 8)
    _, singular, vectors = np.linalg.svd(refs, full_matrices=False)
    np.testing.assert_allclose(eigenvalues, singular**2)
    np.testing.assert_allclose(np.abs(np.sum(basis * vectors, axis=1)), 1, atol=1e-12)
    np.testing.assert_allclose(weights.T @ refs, basis, atol=1e-12)


def test_copies_of_a_reference_give_no_mode_of_their_own():
    refs = centred(3, 100)
    basis, _, _ = kl.decompose(np.concatenate([refs, refs]), 6)
    assert len(basis) == 3
    np.testing.assert_allclose(basis @ basis.T, np.eye(3), atol=1e-10)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0, 0.5))
def test_masked_projection_is_the_least_squares_fit_of_every_mode_count(seed, modes, share):
    rng = np.random.default_rng(seed)
    basis, _, _ = kl.decompose(centred(8, 120, seed), modes)
    images = rng.normal(size=(2, 120)) + 3
    good = rng.random((2, 120)) >= share
    scores, factors = kl.project(basis, images, good)
    for k in range(modes + 1):
        design = np.concatenate([np.full((1, 120), 1 / np.sqrt(120)), basis[:k]])
        for i in range(2):
            expected = np.linalg.lstsq(design[:, good[i]].T, images[i, good[i]], rcond=None)[0]
            np.testing.assert_allclose(kl.coefficients(scores, factors, k)[i], expected, atol=1e-8)


def test_values_of_bad_pixels_do_not_matter():
    basis, _, _ = kl.decompose(centred(6, 200), 4)
    images = np.random.default_rng(3).normal(size=(1, 200))
    good = np.ones((1, 200), bool)
    good[0, ::7] = False
    hurt = np.where(good, images, np.nan)
    for one, other in zip(kl.project(basis, images, good), kl.project(basis, hurt, good), strict=True):
        np.testing.assert_array_equal(one, other)


def test_too_few_good_pixels_for_the_modes_are_refused():
    basis, _, _ = kl.decompose(centred(6, 50), 6)
    good = np.zeros((1, 50), bool)
    good[0, :4] = True
    with pytest.raises(DataError, match="4 good pixels can't determine 6 modes"):
        kl.project(basis, np.ones((1, 50)), good)


def test_leave_one_out_is_klip_of_each_reference_by_the_others():
    refs = centred(7, 150)
    for modes in (1, 3, 6, 7):
        left = refs - kl.leave_one_out(refs @ refs.T, modes) @ refs
        for j in range(7):
            basis, _, _ = kl.decompose(np.delete(refs, j, axis=0), modes)
            np.testing.assert_allclose(left[j], refs[j] - basis.T @ (basis @ refs[j]), atol=1e-9)


def test_missing_values_of_low_rank_images_are_restored():
    truth = centred(8, 400, rank=3) + 0.001 * centred(8, 400, seed=5)
    good = np.random.default_rng(1).random(truth.shape) > 0.03
    filled = kl.prepare(np.where(good, truth, np.nan), good, pixels=np.arange(400))
    error = filled - truth
    error -= error.mean(axis=1, keepdims=True)  # the mean of what is there is not quite that of the whole
    assert np.std(error) < 0.005 * np.std(truth)


def test_imputation_is_the_regression_on_the_other_images():
    images = centred(4, 5000)
    images[0] += 0.8 * images[1] - 0.3 * images[2]
    missing = np.zeros(images.shape, bool)
    missing[0, 17] = True
    hurt = np.where(missing, 0.0, images)
    kl.impute(hurt, missing)
    complete = np.delete(images, 17, axis=1)
    slope = np.linalg.lstsq(complete[1:].T, complete[0], rcond=None)[0]
    np.testing.assert_allclose(hurt[0, 17], slope @ images[1:, 17], rtol=1e-6)
    np.testing.assert_array_equal(hurt[~missing], images[~missing])


def test_values_of_missing_pixels_do_not_matter():
    images, good = centred(5, 300), np.random.default_rng(1).random((5, 300)) > 0.05
    wild = np.where(good, images, np.where(np.arange(300) % 2, np.nan, 1e9))
    every = np.arange(300)
    np.testing.assert_array_equal(kl.prepare(wild, good, pixels=every), kl.prepare(images, good, pixels=every))


def test_one_image_or_few_complete_pixels_fall_back_to_the_mean():
    one, missing = centred(1, 20), np.zeros((1, 20), bool)
    one[0, 3], missing[0, 3] = 0.0, True
    kl.impute(one, missing)
    assert one[0, 3] == 0
    sparse, missing = centred(5, 12), np.zeros((5, 12), bool)
    missing[0, :8] = True
    sparse[missing] = 0.0
    kl.impute(sparse, missing)
    assert not sparse[0, :8].any()


def test_images_are_centred_over_their_good_pixels():
    images = np.array([[1.0, 2.0, 999.0], [4.0, 4.0, 10.0]])
    good = np.array([[True, True, False], [True, True, True]])
    np.testing.assert_allclose(kl.prepare(images, good, pixels=np.arange(3)), [[-0.5, 0.5, 0], [-2, -2, 4]])
    with pytest.raises(DataError, match=r"image\(s\) \[1\]"):
        kl.prepare(images, good & [[True], [False]], pixels=np.arange(3))


def test_propagated_variance_agrees_with_repeated_noise():
    rng = np.random.default_rng(2)
    basis, _, _ = kl.decompose(centred(5, 60), 4)
    variance = rng.uniform(0.5, 2.0, 60)
    noise = rng.normal(size=(40_000, 60)) * np.sqrt(variance)
    left = noise - noise.mean(axis=1, keepdims=True) - (noise @ basis.T) @ basis
    np.testing.assert_allclose(kl.row_variance(basis, variance), left.var(axis=0), rtol=0.05)


def test_unknown_variance_stays_unknown_and_spreads_nowhere():
    basis, _, _ = kl.decompose(centred(5, 60), 2)
    variance = np.ones(60)
    variance[7] = np.nan
    out = kl.row_variance(basis, variance)
    assert np.flatnonzero(np.isnan(out)).tolist() == [7]


def test_an_image_without_its_core_is_imputed_on_a_common_zero_point():
    rng = np.random.default_rng(4)
    pattern = np.exp(-np.linspace(0, 6, 900)) * 1000
    truth = rng.uniform(0.8, 1.2, (12, 1)) * pattern + rng.normal(size=(12, 900))
    good = np.ones(truth.shape, bool)
    good[3, :80] = False
    filled = kl.prepare(truth, good, pixels=np.arange(900))
    expected = truth - truth.mean(axis=1, keepdims=True)
    assert abs(np.mean((filled - expected)[3, :80])) < 2
