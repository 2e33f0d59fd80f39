import numpy as np

from corontools.arrays import kl, noise


def references(n=12, pixels=900, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, pixels))
    return images - images.mean(axis=1, keepdims=True)


def test_power_is_the_mean_square_of_scaled_leave_one_out_residuals():
    refs = references()
    made = kl.leave_one_out(refs @ refs.T, 3)
    flux = np.linspace(0.5, 2, len(refs))
    good = np.random.default_rng(1).random(refs.shape) > 0.1
    power, known = noise.leave_one_out_power(refs, made, flux, good=good, variance=None)
    left = flux[:, None] * (refs - made @ refs)
    expected = [np.mean(left[good[:, p], p] ** 2) for p in range(refs.shape[1])]
    np.testing.assert_allclose(power, expected)
    assert not known.any()


def test_known_part_is_what_pure_noise_leaves():
    rng = np.random.default_rng(2)
    variance = np.broadcast_to(rng.uniform(0.5, 2, 30), (6, 30))
    speckles = references(6, 30)
    made = kl.leave_one_out(speckles @ speckles.T, 2)
    flux, good = np.ones(6), np.ones((6, 30), bool)
    drawn = [rng.normal(size=(6, 30)) * np.sqrt(variance) for _ in range(8000)]
    powers = [noise.leave_one_out_power(d, made, flux, good=good, variance=None)[0] for d in drawn]
    _, known = noise.leave_one_out_power(speckles, made, flux, good=good, variance=variance)
    np.testing.assert_allclose(np.mean(powers, axis=0), known, rtol=0.05)


def test_unknown_variances_take_the_mean_of_the_other_references():
    variance = np.ones((3, 4))
    variance[1, 2] = np.nan
    variance[:, 3] = np.nan
    out = noise.model_variance(np.array([1.0, 2.0, 0.0]), variance)
    np.testing.assert_allclose(out, [5, 5, 5, np.nan])


def test_local_mean_keeps_a_constant_and_leaves_gaps_out():
    values = np.full(400, 2.0)
    values[33] = np.nan
    smooth = noise.smooth_positive(values, np.arange(400), (20, 20))
    np.testing.assert_allclose(smooth, 2.0)
    assert (noise.smooth_positive(-values, np.arange(400), (20, 20)) == 0).all()


def test_gaussian_references_need_almost_no_factor():
    assert 1.0 <= noise.tail_factor(references(12, 5_000), 3, groups=np.arange(12)) < 1.06


def test_references_with_strong_parts_of_their_own_need_a_larger_error():
    refs = references(12, 5_000)
    for row, start in enumerate(range(0, 4800, 400)):
        refs[row, start : start + 400] *= 6  # a patch in which one frame alone is unlike the others
    assert noise.tail_factor(refs, 1, groups=np.arange(12)) > 1.15


def test_too_few_pixels_or_references_give_no_factor():
    assert noise.tail_factor(references(5, 60) * np.array([9.0, 1, 1, 1, 1])[:, None], 2, groups=np.arange(5)) == 1.0
    assert noise.tail_factor(references(2, 5_000), 2, groups=np.arange(2)) == 1.0


def test_each_reference_is_tested_as_science_with_the_rest():
    refs = references(6, 400)
    snr = noise._as_science(2, refs, refs @ refs.T, 3, np.arange(6))
    rest = np.delete(refs, 2, axis=0)
    basis, _, _ = kl.decompose(rest, 3)
    left = refs[2] - basis.T @ (basis @ refs[2])
    flux = np.linalg.norm(refs[2]) / np.linalg.norm(rest, axis=1)
    squares = [
        (f * (r - rest_made @ rest)) ** 2
        for f, r, rest_made in zip(flux, rest, kl.leave_one_out(rest @ rest.T, 3), strict=True)
    ]
    np.testing.assert_allclose(snr, np.abs(left) / np.sqrt(np.mean(squares, axis=0)))
