import numpy as np

from corontools.arrays.pairs import correlation, pair_sums, scaled_rms


def images(n, seed, pixels=20_000):
    rng = np.random.default_rng(seed)
    values = 1e4 + rng.normal(size=(n, pixels)) + np.linspace(0, 3, pixels)
    good = rng.random(values.shape) < 0.9
    return np.where(good, values, np.nan), good


def test_correlation_is_numpys_over_the_pixels_good_in_both():
    (a, good_a), (b, good_b) = images(3, 1), images(4, 2)
    found = correlation(a, b, good_a=good_a, good_b=good_b)
    for i in range(3):
        for j in range(4):
            both = good_a[i] & good_b[j]
            np.testing.assert_allclose(found[i, j], np.corrcoef(a[i, both], b[j, both])[0, 1], rtol=1e-9)


def test_images_without_common_pixels_or_structure_have_no_correlation():
    a, good = np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]]), np.array([[True, False, False], [True, True, True]])
    assert np.isnan(correlation(a, a, good_a=good, good_b=good)).all()


def test_rms_is_that_of_the_weighted_difference():
    (a, good_a), (b, good_b) = images(3, 3), images(2, 4)
    weight, scale = np.random.default_rng(5).random(a.shape[1]), np.array([[1.0, 1.1], [0.9, 1.0], [1.0, 2.0]])
    sums = pair_sums(a, b, good_a=good_a, good_b=good_b, weight=weight)
    for i in range(3):
        for j in range(2):
            both = good_a[i] & good_b[j]
            s, r, w = a[i, both], b[j, both], weight[both]
            expected = np.sqrt(np.sum(w * (s - scale[i, j] * r) ** 2) / w.sum())
            np.testing.assert_allclose(scaled_rms(sums, scale)[i, j], expected, rtol=1e-6)
            best = np.sum(w * s * r) / np.sum(w * r * r)
            expected = np.sqrt(np.sum(w * (s - best * r) ** 2) / w.sum())
            np.testing.assert_allclose(scaled_rms(sums)[i, j], expected, rtol=1e-6)
