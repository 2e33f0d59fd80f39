"""The kernels of the flicker correction beside jwst 3.0: equal where it is right, nearer to the truth where it is not.

A test that fails with CHANGED says that jwst was repaired; then docs/differences.md is to be brought up to date.
"""

import numpy as np
import pytest

from corontools.arrays.clip import background_pixels, clipped_stats
from corontools.arrays.nsclean import fourier_stream, fourier_stripes
from corontools.arrays.stream import stream_stripes
from corontools.arrays.stripes import median_stripes
from corontools.simulate.flicker import flicker_noise

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("jwst", reason="jwst is not installed")

from astropy.stats import sigma_clipped_stats  # noqa: E402
from jwst.clean_flicker_noise import clean_flicker_noise as jwst_clean  # noqa: E402
from jwst.clean_flicker_noise.background_level import clip_to_background  # noqa: E402
from jwst.clean_flicker_noise.nsclean import NSClean  # noqa: E402

CHANGED = "jwst has changed: update docs/differences.md"


def sky(shape, seed=1):
    """Noise, sources and a mask, float32."""
    rng = np.random.default_rng(seed)
    image = rng.normal(10.0, 2.0, shape) + np.where(rng.random(shape) < 0.1, rng.exponential(30.0, shape), 0.0)
    return image.astype(np.float32), rng.random(shape) < 0.9


# where jwst is right


def test_clipped_statistics_are_the_same():
    image, good = sky((700, 700))
    theirs = sigma_clipped_stats(image.astype(np.float64), mask=~good)
    np.testing.assert_allclose(clipped_stats(image, good, exact=True), theirs, rtol=1e-9)
    np.testing.assert_allclose(clipped_stats(image, good), theirs, rtol=0, atol=1e-4 * theirs[2])


@pytest.mark.parametrize("lower_half", [True, False])
@pytest.mark.parametrize("histogram", [True, False])
@pytest.mark.parametrize("limits", [(3.0, 2.0), (2.0, 2.0), (3.0, 3.0)])
def test_background_pixels_are_the_same(lower_half, histogram, limits):
    image, good = sky((700, 700))
    theirs = good.copy()
    clip_to_background(image, theirs, *limits, fit_histogram=histogram, lower_half_only=lower_half)
    options = {"lower": limits[0], "upper": limits[1], "lower_half": lower_half, "histogram": histogram}
    exact, _, sigma = background_pixels(image, good, exact=True, **options)
    # the fit to the histogram ends where its steps are small, not at the same last digit
    assert np.count_nonzero(exact != theirs) <= (3 if histogram else 0)
    fast, _, near = background_pixels(image, good, **options)
    assert np.count_nonzero(fast != theirs) < 1e-4 * image.size
    np.testing.assert_allclose(near, sigma, rtol=5e-4)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("channels", [1, 4])
def test_medians_are_the_same(axis, channels):
    shape = (64, 2048) if axis else (2048, 64)
    image, good = sky(shape)
    good[(7, slice(None)) if axis else (slice(None), 7)] = False
    theirs = jwst_clean.median_clean(image, good, axis + 1, fit_by_channel=channels == 4)
    np.testing.assert_array_equal(image - median_stripes(image, good, axis=axis, channels=channels).model, theirs)


def test_waves_without_gaps_are_the_same():
    """All pixels good, no noise: then the fits are the same low-pass filter, without the shift of the smoothing."""
    cleaner, lines = nsclean(np.ones((256, 256), bool)), waves(256, seed=3)
    cleaner.sigrej = 100.0  # a wave without noise has peaks
    inside = slice(4, -4)
    np.testing.assert_allclose(cleaner.fit(lines.astype(np.float32))[inside], lines[inside], atol=2e-3)
    ours = fourier_stripes(lines, np.ones(lines.shape, bool), axis=1, cutoff=1 / 32).model
    np.testing.assert_allclose(ours[inside], lines[inside], atol=2e-3 * lines.std())


# where it isn't


def nsclean(good):
    """Jwst's cleaner for lines along axis 1, with as many waves in 256 px as it has in 2048."""
    return NSClean("NRS1", good.T, fc=1 / 32, kill_width=1 / 128)


def waves(n, seed=1):
    """Lines of six slow waves with falling power, and a level, (n, n)."""
    rng = np.random.default_rng(seed)
    phase = 2 * np.pi / n * np.outer(np.arange(1, 7), np.arange(n))
    strength = rng.normal(size=(2, n, 6)) / np.arange(1, 7)
    return strength[0] @ np.cos(phase) + strength[1] @ np.sin(phase) + rng.normal(size=(n, 1))


def test_jwst_takes_the_weights_of_the_line_before():
    good = np.random.default_rng(2).random((256, 256)) < 0.2
    after = np.arange(20, 250, 20)
    for line in after:
        good[line - 6 : line] = False
    weights = nsclean(good).p_matrix[60][good[60]]
    assert np.abs(weights).max() > 1e6, CHANGED  # 1 / density is near 5
    lines = waves(256)
    image = lines + np.random.default_rng(3).normal(0, 1.0, lines.shape)
    theirs = (nsclean(good).fit(image.astype(np.float32)) - lines).std(axis=1)
    assert theirs[after].max() > 3 * np.median(theirs), CHANGED
    ours = (fourier_stripes(image, good, axis=1, cutoff=1 / 32).model - lines).std(axis=1)
    assert ours[after].max() < 2 * np.median(ours)


def test_jwst_shifts_its_model(monkeypatch):
    image = np.zeros((256, 256), np.float32)
    impulse = image.copy()
    impulse[100, 60] = 1.0
    cleaner = nsclean(image == 0)
    monkeypatch.setattr(cleaner, "fit", lambda data: impulse)
    found = np.unravel_index(np.argmin(cleaner.clean(image.copy()).T), image.shape)
    assert found == (101, 61), CHANGED
    line = np.zeros(image.shape)
    line[100] = 1.0
    assert np.argmax(fourier_stripes(line, line >= 0, axis=1, smooth=1.5).model[:, 60]) == 100


def test_jwst_misses_waves_where_there_are_gaps():
    lines, good = waves(256), np.ones((256, 256), bool)
    good[:, 90:170] = False
    inside = slice(4, -4)
    theirs = (nsclean(good).fit(lines.astype(np.float32)) - lines)[inside]
    assert theirs.std() > lines.std(), CHANGED
    ours = (fourier_stripes(lines, good, axis=1, cutoff=1 / 32).model - lines)[inside]
    assert ours.std() < 0.05 * lines.std()


def test_jwst_amplifies_noise_in_gaps():
    lines, good = waves(256), np.ones((256, 256), bool)
    good[:, 90:170] = False
    image = lines + np.random.default_rng(4).normal(0, 0.5, lines.shape)
    theirs = (nsclean(good).fit(image.astype(np.float32)) - lines)[4:-4]
    ours = (fourier_stripes(image, good, axis=1, cutoff=1 / 32).model - lines)[4:-4]
    assert theirs.std() > lines.std(), CHANGED
    assert ours.std() < 0.6 * lines.std()


def test_jwst_explodes_where_lines_of_a_subarray_are_masked():
    noise = flicker_noise((64, 512), axis=0, channels=1)
    image = (noise + np.random.default_rng(5).normal(0, 8.0, noise.shape)).astype(np.float32)
    good = np.random.default_rng(6).random(noise.shape) < 0.9
    good[:, 200:300] = False
    theirs = image - jwst_clean.fft_clean_subarray(image.copy(), good.copy(), "NRS1") - noise
    assert theirs.std() > 10 * noise.std(), CHANGED
    ours = fourier_stream(image, good, axis=0).model - noise
    assert ours.std() < noise.std()


def test_jwst_takes_noise_for_stripes():
    noise = np.random.default_rng(7).normal(0, 8.0, (64, 512)).astype(np.float32)
    good = np.random.default_rng(8).random(noise.shape) < 0.9
    theirs = noise - jwst_clean.fft_clean_subarray(noise.copy(), good.copy(), "NRS1")
    assert theirs.std() > 1.0, CHANGED
    assert fourier_stream(noise, good, axis=0).model.std() < 0.1
    assert stream_stripes(noise, good, axis=0, channels=1).model.std() < 0.1


def test_jwst_keeps_missing_pixels_as_background():
    image, good = sky((64, 64))
    image[5, 5], good[5, 5] = np.nan, True
    theirs = good.copy()
    clip_to_background(image, theirs)
    assert theirs[5, 5], CHANGED
    assert not background_pixels(image, good)[0][5, 5]


@pytest.mark.parametrize("alpha", [0.7, 1.0, 1.3])
def test_the_stream_leaves_fewer_stripes_than_the_best_of_jwst(alpha):
    noise = flicker_noise((2048, 2048), alpha=alpha, rms=5.0, seed=11)
    rng = np.random.default_rng(12)
    image = (noise + rng.normal(0, 8.0, noise.shape)).astype(np.float32)
    good = rng.random(noise.shape) < 0.9
    y, x = np.mgrid[:2048, :2048]
    for _ in range(40):
        good &= np.hypot(y - rng.uniform(0, 2048), x - rng.uniform(0, 2048)) > rng.uniform(5, 60)
    theirs = [
        jwst_clean.median_clean(image, good, 2, fit_by_channel=True),
        jwst_clean.fft_clean_full_frame(image.T.copy(), good.T.copy(), "NRS1").T,
    ]
    best = min(np.std(image - cleaned - noise) for cleaned in theirs)
    ours = stream_stripes(image, good, axis=1).model - noise
    assert ours.std() < 0.85 * best
