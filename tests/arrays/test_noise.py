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
    out = noise.residual_variance(np.zeros(4), np.array([1.0, 2.0, 0.0]), variance)
    np.testing.assert_allclose(out, [5, 5, 5, np.nan])


def test_local_mean_keeps_a_constant_and_leaves_gaps_out():
    values = np.full(400, 2.0)
    values[33] = np.nan
    smooth = noise.smooth_positive(values, np.arange(400), (20, 20))
    np.testing.assert_allclose(smooth, 2.0)
    assert (noise.smooth_positive(-values, np.arange(400), (20, 20)) == 0).all()
