import itertools

import numpy as np
import pytest

from corontools.errors import DataError
from corontools.simulate.flicker import OVERHEAD, flicker_noise, ramp


def slope(alpha, seed):
    """Slope of the power spectrum of one amplifier's time stream; ticks without pixels are interpolated."""
    noise = flicker_noise((512, 256), alpha=alpha, channels=1, seed=seed)
    period = 256 + OVERHEAD
    tick = (np.arange(512)[:, None] * period + np.arange(256)).ravel()
    series = np.interp(np.arange(512 * period), tick, noise.ravel())
    power = np.abs(np.fft.rfft(series * np.hanning(series.size))) ** 2
    edges = np.geomspace(8, power.size / 16, 12).astype(int)
    middle = [np.log(np.mean(power[a:b])) for a, b in itertools.pairwise(edges)]
    return -np.polyfit(np.log(edges[:-1] + np.diff(edges) / 2), middle, 1)[0]


@pytest.mark.parametrize("alpha", [0.7, 1.0, 1.3, 1.6])
def test_the_time_stream_has_the_slope_asked_for(alpha):
    assert abs(np.mean([slope(alpha, seed) for seed in range(4)]) - alpha) < 0.1


def test_frames_have_the_rms_asked_for_and_differ():
    noise = flicker_noise((2, 3, 64, 128), rms=7.0)
    assert noise.shape == (2, 3, 64, 128)
    np.testing.assert_allclose(noise.std(axis=(2, 3)), 7.0)
    np.testing.assert_allclose(noise.mean(axis=(2, 3)), 0.0, atol=1e-12)
    assert abs(np.corrcoef(noise[0, 0].ravel(), noise[1, 2].ravel())[0, 1]) < 0.5


def test_a_seed_gives_the_same_noise_again():
    first, again, other = (flicker_noise((32, 32), seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_vertical_stripes_are_horizontal_ones_turned():
    np.testing.assert_array_equal(flicker_noise((48, 64), axis=0), flicker_noise((64, 48), axis=1).T)


def test_amplifiers_have_levels_and_alternating_columns_of_their_own():
    plain = flicker_noise((64, 64), alternating=0.0, seed=2)
    more = flicker_noise((64, 64), offsets=10.0, alternating=3.0, seed=2) - plain
    assert np.ptp(more, axis=0).max() < 1e-12
    parts = more[0].reshape(4, 16)
    level, wave = parts.mean(axis=1), parts[:, 0] - parts.mean(axis=1)
    assert level.std() > 1
    assert wave.std() > 0.3
    # read backwards, the last pixel is the even one
    np.testing.assert_allclose(parts[1], level[1] + wave[1] * (1 - 2 * (np.arange(16) % 2)), atol=1e-12)


def test_adjacent_amplifiers_read_in_opposite_directions():
    noise = flicker_noise((256, 512), alpha=1.6, channels=2, seed=3)
    end_to_start = np.abs(noise[1:, 0] - noise[:-1, 255]).mean()
    assert end_to_start < 0.7 * np.abs(noise[1:, 255] - noise[:-1, 0]).mean()
    assert np.abs(noise[1:, 511] - noise[:-1, 256]).mean() < 0.7 * np.abs(noise[1:, 256] - noise[:-1, 511]).mean()


def test_lines_that_do_not_divide_are_refused():
    with pytest.raises(DataError, match="4 equal channels"):
        flicker_noise((10, 10), channels=4)


def test_a_ramp_holds_what_its_truth_says():
    shape = (2, 5, 64, 128)
    exposure, truth = ramp(shape, rms=30.0, channels=2, nebula=40.0, seed=3)
    assert exposure.is_ramp
    assert exposure.data.dtype == np.float32
    np.testing.assert_array_equal(truth.stripes, flicker_noise(shape, rms=30.0, channels=2, seed=3))
    per_group = 20 + truth.sources + truth.nebula
    rest = np.diff(exposure.data - truth.stripes, axis=1) - per_group
    # a difference has the read noise of two groups (6 DN each) and the photons of one (gain 1)
    np.testing.assert_allclose(np.mean(rest**2 / (72 + per_group)), 1.0, rtol=0.02)
    assert abs(rest.mean()) < 0.1
    assert truth.nebula.max() == pytest.approx(40, rel=0.01)
    assert truth.sources.max() > 20


def test_what_is_left_of_stripes_is_zero_if_all_were_found():
    _, truth = ramp((2, 3, 32, 64))
    np.testing.assert_allclose(truth.left(truth.relative + 7.0), 0, atol=1e-12)
    assert truth.left(np.zeros_like(truth.stripes)).std() == pytest.approx(np.sqrt(2) * 4.0, rel=0.1)


def test_a_ramp_comes_again_with_its_seed():
    one, again, other = (ramp((1, 2, 32, 64), seed=seed)[0].data for seed in (4, 4, 5))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
