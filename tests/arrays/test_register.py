import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import approx_fprime, least_squares

from corontools.arrays.register import Quality, default_weight, register, register_pairs
from corontools.arrays.shift import shift_flags, shift_image
from corontools.errors import DataError

# offsets (dx, dy) of six references from one science exposure, found by an independent float64 fit that
# shifts the science image onto the reference
OFFSETS = [(-0.102, -0.018), (-0.068, 0.158), (-0.092, 0.143), (-0.057, 0.073), (-0.179, 0.062), (-0.261, 0.147)]


def speckles(shape, shift=(0.0, 0.0), *, seed=0, fwhm=3.0):
    """Speckles behind a random pupil, |FFT(pupil)|^2, moved exactly by a tilt of the pupil.

    The pupil is as wide as makes speckles of `fwhm` px, and correlated, so that the light is concentrated in
    the middle fifth of the frame.
    """
    n = 2 * max(shape)
    rng = np.random.default_rng(seed)
    u = np.fft.fftfreq(n)
    extent = min(shape) / 5.0
    lag = np.hypot(u[:, None], u[None, :]) * n
    white = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    pupil = np.fft.fft2(np.fft.ifft2(white) * np.exp(-0.5 * (lag / extent) ** 2))
    pupil *= np.hypot(u[:, None], u[None, :]) < 0.5 / fwhm
    tilt = np.exp(-2j * np.pi * (u[None, :] * shift[0] + u[:, None] * shift[1]))
    image = np.abs(np.fft.fftshift(np.fft.ifft2(pupil * tilt))) ** 2
    y0, x0 = (n - shape[0]) // 2, (n - shape[1]) // 2
    return 1e9 * image[y0 : y0 + shape[0], x0 : x0 + shape[1]]


@pytest.mark.parametrize("shape", [(128, 128), (97, 130), (200, 141)])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.31, -0.22), (-8.5, 5.77), (22.3, -21.6)])
def test_register_recovers_a_planted_shift(shape, shift):
    fit = register(speckles(shape), 0.113 * speckles(shape, shift))
    np.testing.assert_allclose(fit.shift, shift, atol=1e-4)
    assert fit.scale == pytest.approx(0.113, rel=1e-4)
    assert fit.quality == 0
    assert fit.converged


def test_register_works_from_small_to_large_frames():
    for shape in [(16, 16), (17, 24), (511, 512)]:
        fwhm = 2.6
        fit = register(speckles(shape, fwhm=fwhm), speckles(shape, (1.3, -0.6), fwhm=fwhm))
        np.testing.assert_allclose(fit.shift, (1.3, -0.6), atol=0.02 if shape[0] < 20 else 1e-4)


@pytest.mark.parametrize("start", [(0.0, 0.0), (-20.0, 20.0), (18.4, -7.7)])
def test_register_finds_the_minimum_whatever_the_start(start):
    shift = (21.7, -20.4)
    fit = register(speckles((160, 160)), 8.0 * speckles((160, 160), shift), start=start)
    np.testing.assert_allclose(fit.shift, shift, atol=1e-4)


def test_start_near_the_minimum_gives_the_same_answer():
    reference, science = speckles((96, 96)), speckles((96, 96), (2.2, 1.1), seed=0)
    science = science + np.random.default_rng(1).normal(0, 0.02 * science.std(), science.shape)
    cold = register(reference, science)
    warm = register(reference, science, start=cold.shift + np.array([0.3, -0.2]))
    np.testing.assert_allclose(warm.shift, cold.shift, atol=1e-6)
    assert warm.chi2 == pytest.approx(float(cold.chi2), rel=1e-9)


def test_bad_science_pixels_are_left_out():
    rng = np.random.default_rng(7)
    shape, shift = (120, 128), (3.4, -22.1)
    reference, science = speckles(shape), 2 * speckles(shape, shift)
    good = rng.random(shape) > 0.05
    science[~good] = 1e7
    science[rng.random(shape) < 0.05] = np.nan
    fit = register(reference, science, good_science=good)
    np.testing.assert_allclose(fit.shift, shift, atol=1e-4)
    assert fit.dof < 0.92 * reference.size


def test_filled_reference_pixels_are_left_out():
    shape, shift = (120, 128), (3.4, -12.1)
    reference, science = speckles(shape), 2 * speckles(shape, shift)
    good = np.random.default_rng(8).random(shape) > 0.05
    repaired = filled(np.where(good, reference, np.nan))
    fit = register(repaired, science, good_reference=good)
    np.testing.assert_allclose(fit.shift, shift, atol=0.02)
    assert fit.chi2 < register(repaired, science).chi2


def test_pixel_marked_bad_in_the_reference_has_no_influence_where_it_lands():
    shape, shift = (64, 64), (5.0, 3.0)
    reference = speckles(shape)
    science = shift_image(reference, shift)
    science[30 + 3, 33 + 5] += 1e6
    good = np.ones(shape, dtype=bool)
    good[30, 33] = False
    fit = register(reference, science, good_reference=good)
    np.testing.assert_allclose(fit.shift, shift, atol=1e-8)
    assert np.isnan(science).sum() == 64 * 64 - 59 * 61
    assert fit.dof == 59 * 61 - 1 - 3


def test_weight_of_one_uses_and_of_zero_leaves_out():
    shape = (90, 90)
    reference = speckles(shape)
    left, right = speckles(shape, (1.4, 0.3)), speckles(shape, (-2.2, 1.6))
    x = np.indices(shape)[1]
    science = np.where(x < 45, left, right)
    fit = register(reference, science, weight=(x < 45).astype(float))
    np.testing.assert_allclose(fit.shift, (1.4, 0.3), atol=1e-4)
    fit = register(reference, science, weight=(x >= 45).astype(np.float32))
    np.testing.assert_allclose(fit.shift, (-2.2, 1.6), atol=1e-4)


def noisy_pair(shape=(60, 66), shift=(0.73, -1.42), seed=11):
    rng = np.random.default_rng(seed)
    reference = speckles(shape)
    other = speckles(shape, seed=99)
    science = 3.1 * speckles(shape, shift) + 0.4 * other + rng.normal(0, 0.05 * reference.std(), shape)
    weight = 0.2 + 0.8 * rng.random(shape)
    return reference, science, weight


def test_register_agrees_with_an_independent_least_squares_fit():
    reference, science, weight = noisy_pair()
    fit = register(reference, science, weight=weight)

    def residuals(values):
        moved = shift_image(reference, values[:2])
        return (weight * (science - values[2] * moved))[2:-2, 2:-2].ravel()

    frame = np.zeros_like(weight)
    frame[2:-2, 2:-2] = weight[2:-2, 2:-2]
    fit = register(reference, science, weight=frame)
    other = least_squares(residuals, (0.5, -1.2, 3.0), jac="3-point", xtol=1e-15, ftol=1e-15, gtol=1e-15)
    np.testing.assert_allclose(fit.shift, other.x[:2], atol=1e-6)
    assert fit.scale == pytest.approx(other.x[2], rel=1e-6)
    assert fit.chi2 == pytest.approx(2 * other.cost, rel=1e-9)
    normal = np.linalg.inv(other.jac.T @ other.jac) * fit.chi2 / fit.dof
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance)), np.sqrt(np.diag(normal)), rtol=0.02)


def test_gradient_of_the_sum_vanishes_at_the_solution():
    reference, science, weight = noisy_pair(shape=(50, 41))
    weight[:3], weight[-3:], weight[:, :3], weight[:, -3:] = 0, 0, 0, 0
    fit = register(reference, science, weight=weight)

    def total(values):
        difference = science - values[2] * shift_image(reference, values[:2])
        return float(np.nansum((weight * difference) ** 2))

    gradient = approx_fprime(np.array([*fit.shift, float(fit.scale)]), total, 1e-7)
    away = approx_fprime(np.array([*(fit.shift + 1e-2), float(fit.scale)]), total, 1e-7)
    assert np.abs(gradient[:2]).max() < 1e-4 * np.abs(away[:2]).max()
    assert total([*fit.shift, fit.scale]) == pytest.approx(float(fit.chi2), rel=1e-9)


def mahalanobis(with_variance, n_seed=60):
    """Mean of e^T C^-1 e over noise realisations; 3 if the covariance C is right."""
    shape, truth = (48, 48), np.array([0.62, -0.35, 1.7])
    reference, clean = speckles(shape), truth[2] * speckles(shape, truth[:2])
    x = np.indices(shape)[1]
    sigma = 0.1 * reference.std() * (np.where(x < 24, 1.0, 3.0) if with_variance else np.ones(shape))
    variance = sigma**2 if with_variance else None
    values = []
    for seed in range(n_seed):
        science = clean + np.random.default_rng(seed).normal(size=shape) * sigma
        fit = register(reference, science, variance=variance, start=truth[:2])
        error = np.array([*fit.shift, float(fit.scale)]) - truth
        values.append(error @ np.linalg.solve(fit.covariance, error))
    return np.mean(values)


@pytest.mark.parametrize("with_variance", [False, True])
def test_scatter_agrees_with_the_reported_covariance(with_variance):
    assert mahalanobis(with_variance) == pytest.approx(3.0, rel=0.3)


def noisy_reference(seed, *, shift=(0.31, -0.22), scale=3.0, level=0.15, shape=(64, 70)):
    """A reference with noise, a science image with a twentieth of it, and a weight that cuts through the speckles."""
    rng = np.random.default_rng(seed)
    clean, moved = speckles(shape), scale * speckles(shape, shift)
    sigma = level * clean[20:44, 20:50].std()
    weight = (np.indices(shape)[1] > shape[1] // 2).astype(float)
    science = moved + rng.normal(0, 0.05 * scale * sigma, shape)
    return clean + rng.normal(0, sigma, shape), science, weight, np.array([*shift, scale])


def test_noise_of_the_reference_biases_neither_flux_nor_shift():
    errors, reported = [], []
    for seed in range(40):
        reference, science, weight, truth = noisy_reference(seed)
        fit = register(reference, science, weight=weight, start=truth[:2])
        errors.append(np.array([*fit.shift, float(fit.scale)]) - truth)
        reported.append(np.sqrt(np.diag(fit.covariance)))
    scatter = np.std(errors, axis=0)
    np.testing.assert_allclose(scatter, np.mean(reported, axis=0), rtol=0.35)
    assert (np.abs(np.mean(errors, axis=0)) < 3.5 * scatter / np.sqrt(40)).all()


def test_the_reference_as_the_model_would_be_biased():
    """The same data fitted by another program show that the bias is there to be avoided."""
    biases = []
    for seed in range(10):
        reference, science, weight, truth = noisy_reference(seed)

        def residuals(values, reference=reference, science=science, weight=weight):
            return np.nan_to_num(weight * (science - values[2] * shift_image(reference, values[:2]))).ravel()

        biases.append(least_squares(residuals, truth).x[2] / truth[2] - 1)
    assert np.mean(biases) < -0.01
    assert abs(np.mean(biases)) > 5 * np.std(biases) / np.sqrt(10)


def test_the_less_noisy_image_is_the_model_in_either_role():
    noisy, clean, _, truth = noisy_reference(3)
    forth, back = register(noisy, clean), register(clean, noisy)
    np.testing.assert_allclose(forth.shift, -back.shift, atol=1e-9)
    assert float(forth.scale) == pytest.approx(1 / float(back.scale), rel=1e-9)
    assert float(forth.chi2) == pytest.approx(float(back.chi2) * float(forth.scale) ** 2, rel=1e-6)
    np.testing.assert_allclose(forth.shift, truth[:2], atol=0.05)
    relative = np.diag(forth.covariance) / np.array([1, 1, float(forth.scale) ** 2])
    np.testing.assert_allclose(relative, np.diag(back.covariance) / np.array([1, 1, float(back.scale) ** 2]), rtol=1e-6)


def test_what_the_weight_hides_stays_hidden_when_the_science_is_the_model():
    reference, science, _, truth = noisy_reference(8, shift=(2.4, -1.3))
    y, x = np.indices(science.shape)
    core = 100 * reference.max() * np.exp(-0.5 * ((x - 35) ** 2 + (y - 32) ** 2) / 1.5**2)
    weight = (np.hypot(x - 35, y - 32) > 10).astype(float)
    fit = register(reference + core, science + truth[2] * core, weight=weight)
    np.testing.assert_allclose(fit.shift, truth[:2], atol=0.1)
    assert fit.quality == 0


def test_bad_science_pixels_are_left_out_when_the_science_is_the_model():
    reference, science, weight, truth = noisy_reference(4, shift=(2.31, -1.22))
    good = np.random.default_rng(1).random(science.shape) > 0.03
    fit = register(reference, np.where(good, science, 1e7), weight=weight, good_science=good)
    np.testing.assert_allclose(fit.shift, truth[:2], atol=0.1)
    assert fit.quality == 0
    everything = register(reference, science, weight=weight)
    assert everything.dof - fit.dof == pytest.approx(0.03 * everything.dof, rel=0.4)


def test_a_given_variance_of_the_residuals_counts_when_the_science_is_the_model():
    reference, science, weight, _ = noisy_reference(5)
    fit = register(reference, science, weight=weight)
    variance = np.full(science.shape, float(fit.rms) ** 2)
    given = register(reference, science, weight=weight, variance=variance)
    np.testing.assert_allclose(given.shift, fit.shift, atol=1e-12)
    np.testing.assert_allclose(given.covariance, fit.covariance, rtol=0.02)
    np.testing.assert_allclose(
        register(reference, science, weight=weight, variance=4 * variance).covariance, 4 * given.covariance, rtol=1e-9
    )


def test_pairs_choose_the_model_for_each_reference():
    noisy, science, weight, truth = noisy_reference(6)
    clean = speckles(science.shape)
    frames = np.array([science, shift_image(np.nan_to_num(science), (0, 0))])
    fits = register_pairs(np.array([noisy, clean]), frames, weight=weight)
    for ref, image in enumerate((noisy, clean)):
        single = register(image, science, weight=weight)
        np.testing.assert_allclose(fits.shift[:, ref], [single.shift] * 2, atol=1e-6)
        np.testing.assert_allclose(fits.scale[:, ref], single.scale, rtol=1e-6)
    np.testing.assert_allclose(fits.scale[0], truth[2], rtol=0.02)


def test_pedestal_does_not_hide_the_offset():
    shape, shift = (140, 140), (19.6, -15.3)
    pedestal = 20 * speckles(shape).max()
    fit = register(speckles(shape) + pedestal, speckles(shape, shift) + pedestal)
    np.testing.assert_allclose(fit.shift, shift, atol=1e-3)


def test_float32_input_works_as_well_as_float64():
    reference, science = speckles((80, 80)).astype(np.float32), speckles((80, 80), (1.0, -0.7)).astype(np.float32)
    fit = register(reference, science, weight=np.ones((80, 80), dtype=np.float32))
    assert fit.shift.dtype == np.float64
    np.testing.assert_allclose(fit.shift, (1.0, -0.7), atol=1e-4)
    same = register(reference.astype(np.float64), science.astype(np.float64))
    np.testing.assert_allclose(fit.shift, same.shift, atol=1e-12)


def test_big_endian_read_only_input_is_kept():
    reference, science = speckles((40, 40)).astype(">f4"), speckles((40, 40), (0.4, 0.2)).astype(">f8")
    reference.flags.writeable = science.flags.writeable = False
    np.testing.assert_allclose(register(reference, science).shift, (0.4, 0.2), atol=2e-3)


def test_pairs_are_what_register_gives_for_each():
    shape, rng = (64, 70), np.random.default_rng(5)
    references = np.array([speckles(shape), speckles(shape, (4.2, 1.1))])
    jitter = rng.normal((1.5, -6.0), 0.05, (3, 2))
    science = np.array([2 * speckles(shape, shift) for shift in jitter])
    science += rng.normal(0, 0.02 * science.std(), science.shape)
    science[1, 20:22, 30] = np.nan
    done = []
    fits = register_pairs(references, science, progress=lambda refs: (done.append(ref) or ref for ref in refs))
    assert done == [0, 1]
    assert fits.shift.shape == (3, 2, 2)
    assert fits.covariance.shape == (3, 2, 3, 3)
    assert fits.quality.tolist() == [[0, 0]] * 3
    for i in range(3):
        for ref in range(2):
            single = register(references[ref], science[i])
            np.testing.assert_allclose(fits.shift[i, ref], single.shift, atol=1e-6)
            assert fits.chi2[i, ref] == pytest.approx(float(single.chi2), rel=1e-9)
    np.testing.assert_allclose(fits.shift[:, 0], jitter, atol=0.01)


def test_pairs_survive_a_jump_between_integrations():
    shape = (72, 72)
    truth = np.array([(0.2, 0.1), (0.25, 0.1), (12.3, -9.8), (12.2, -9.9)])
    science = np.array([speckles(shape, shift) for shift in truth])
    fits = register_pairs(speckles(shape)[None], science)
    np.testing.assert_allclose(fits.shift[:, 0], truth, atol=1e-3)


def test_quality_tells_what_is_wrong():
    shape = (72, 72)
    reference, rng = speckles(shape), np.random.default_rng(0)
    assert register(reference, rng.normal(size=shape)).quality & Quality.POOR_FIT
    assert register(reference, -speckles(shape), start=(0.0, 0.0)).quality & Quality.NOT_POSITIVE
    far = register(reference, speckles(shape, (9.0, 0.3)), start=(9.1, 0.3), max_shift=5)
    assert far.quality == Quality.BEYOND_MAX_SHIFT
    few = np.zeros(shape)
    few[36, 20:45] = 1
    fit = register(reference, reference, weight=few)
    assert fit.quality == Quality.TOO_FEW_PIXELS
    assert np.isnan(fit.shift).all()
    assert not fit.converged
    assert register(np.ones(shape), speckles(shape)).quality & Quality.NOT_CONVERGED


def test_useless_input_is_refused():
    image = speckles((32, 32))
    nothing = np.full((32, 32), np.nan)
    with pytest.raises(DataError, match="science image has no good pixel"):
        register(image, nothing)
    with pytest.raises(DataError, match="reference has no good pixel"):
        register(nothing, image)
    with pytest.raises(DataError, match="reference has 1 pixels NaN"):
        register(np.where(image == image.max(), np.nan, image), image)
    with pytest.raises(DataError, match="weight is zero on all 1024 good pixels"):
        register(image, image, weight=np.zeros((32, 32)))
    with pytest.raises(DataError, match="negative"):
        register(image, image, weight=np.full((32, 32), -1.0))
    with pytest.raises(DataError, match="shape"):
        register(image, image[1:])
    with pytest.raises(DataError, match="integration 1 has no good pixel"):
        register_pairs(image[None], np.array([image, nothing]))
    with pytest.raises(DataError, match="reference 0 has no good pixel"):
        register_pairs(nothing[None], image[None])
    with pytest.raises(DataError, match="stack"):
        register_pairs(image, image[None])


def test_default_weight_covers_the_speckles_and_not_the_sky_or_the_core():
    rng = np.random.default_rng(3)
    science = speckles((120, 120))
    science = 100 * science / science.max() + 50 + rng.normal(0, 1, (120, 120))
    good = np.ones((120, 120), dtype=bool)
    good[57:64, 57:64] = False
    science[~good] = np.nan
    weight = default_weight(science, good)
    radius = np.hypot(*(np.indices((120, 120)) - 60.0))
    assert weight.min() == 0
    assert 0.9 < weight.max() <= 1
    assert (weight[~good] == 0).all()
    assert weight[radius > 56].mean() < 0.02
    assert weight[(radius > 8) & (radius < 22)].mean() > 0.5
    assert weight[60, 64] < weight[60, 70]
    shifted = np.nan_to_num(shift_image(np.nan_to_num(science, nan=50.0), (0.5, 0.2)), nan=50.0)
    assert register(np.nan_to_num(science, nan=50.0), shifted, weight=weight, good_reference=good).quality == 0


def test_default_weight_of_a_stack_is_that_of_its_mean():
    science = speckles((3, 48, 48)[1:])
    stack = np.array([science, science, np.where(science > np.median(science), np.nan, science)])
    np.testing.assert_allclose(default_weight(stack), default_weight(science))


def test_default_weight_without_star_light_warns():
    with pytest.warns(UserWarning, match="no star light"):
        weight = default_weight(np.random.default_rng(0).normal(size=(50, 50)))
    assert (weight == 1).all()
    with pytest.raises(DataError, match="no good pixel"):
        default_weight(np.full((8, 8), np.nan))


@pytest.fixture(scope="module")
def exposures():
    """Images with bad pixels filled, good masks, shifts applied by the archive, and the psfmask."""
    from astropy.io import fits

    root = Path(os.environ.get("CORONTOOLS_DATA", Path(__file__).parents[3] / "shared" / "data"))
    folder = root / "aumic_f444w"
    if not folder.is_dir():
        pytest.skip(f"no real exposures at {folder}; CORONTOOLS_DATA names another place")
    images, masks, moved = [], [], []
    for number in (1, 3, 4, 5, 6, 13, 14):
        with fits.open(folder / f"jw01184{number:03d}001_03106_00001_nrcalong_calints.fits") as hdus:
            image, dq = hdus["SCI"].data[0].astype(float), hdus["DQ"].data[0]
            moved.append(np.array(hdus["IMSHIFTS"].data[0], dtype=float))
        good = np.isfinite(image) & (dq & 1 == 0)
        images.append(filled(np.where(good, image, np.nan)))
        masks.append(good)
    name = "jw01184001001_03106_00001_nrcalong_calints_psfmask.fits"
    return images, masks, moved, fits.getdata(folder / name).astype(float)


def filled(image):
    """Fill NaN by medians of 3 x 3 boxes, from the edge of a bad patch inwards."""
    image = image.copy()
    while (bad := np.isnan(image)).any():
        boxes = np.lib.stride_tricks.sliding_window_view(np.pad(image, 1, constant_values=np.nan), (3, 3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            image[bad] = np.nanmedian(boxes[bad].reshape(-1, 9), axis=1)
    return image


@pytest.mark.real
def test_real_exposures_get_the_offsets_of_an_independent_fit(exposures):
    images, masks, moved, psfmask = exposures
    raw = np.array([shift_image(image, -shift) for image, shift in zip(images, moved, strict=True)])
    good = [shift_flags(~mask, -shift) == 0 for mask, shift in zip(masks, moved, strict=True)]
    raw = np.nan_to_num(raw)
    fits = register_pairs(
        raw[1:], raw[:1], weight=psfmask, good_references=good[1:], good_science=good[:1], max_shift=25
    )
    # the independent fit shifts the science image onto the reference: opposite sign, inverse scale
    np.testing.assert_allclose(-fits.shift[0], OFFSETS, atol=0.002)
    np.testing.assert_allclose(1 / fits.scale[0], (0.113, 0.113, 0.041, 0.041, 0.067, 0.067), rtol=0.03)
    assert (fits.quality == 0).all()
    assert (fits.explained > 0.97).all()


@pytest.mark.real
def test_real_exposures_as_delivered_are_aligned(exposures):
    images, masks, _, psfmask = exposures
    fits = register_pairs(images[1:], images[:1], weight=psfmask, good_references=masks[1:], good_science=masks[:1])
    assert np.hypot(*fits.shift[0].T).max() < 0.01
