"""The draft rate."""

from __future__ import annotations

import numpy as np
import pytest

from corontools import DQ, DataError, Exposure, FlickerCleaner
from corontools.flicker.rate import difference_weights, draft_rate


def line(n_group, slope=3.0, noise=0.0, shape=(8, 9), seed=1):
    rng = np.random.default_rng(seed)
    data = slope * np.arange(n_group)[:, None, None] + np.zeros(shape)
    return (data + rng.normal(0, noise, data.shape) if noise else data)[None].astype(np.float32)


def test_without_photons_it_is_the_least_squares_line():
    data = line(6, noise=2.0)
    slope = np.polyfit(np.arange(6), data[0].reshape(6, -1), 1)[0]
    np.testing.assert_allclose(draft_rate(Exposure(data)).ravel(), slope, rtol=1e-4)


@pytest.mark.parametrize("photons", [0.01, 1.0, 100.0])
def test_weights_are_those_of_least_variance(photons):
    n = 7
    covariance = np.diag(np.full(n - 1, photons + 2.0)) - np.eye(n - 1, k=1) - np.eye(n - 1, k=-1)
    best = np.linalg.solve(covariance, np.ones(n - 1))
    np.testing.assert_allclose(difference_weights(n, photons), best / best.sum(), rtol=1e-6)


def test_many_groups_and_much_light_overflow_nowhere():
    weights = difference_weights(2000, 1e8)
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights, 1 / 1999, rtol=1e-3)


def test_jumps_and_saturated_groups_are_left_out():
    data = line(6)
    dq = np.zeros(data.shape, np.uint8)
    data[0, 3:, 2, 2] += 500
    dq[0, 3, 2, 2] = DQ.JUMP_DET
    data[0, 2:, 4, 4] = 6.5
    dq[0, 2:, 4, 4] = DQ.SATURATED
    dq[0, :, 5, 5] = DQ.DO_NOT_USE
    pixel_dq = np.zeros(data.shape[-2:], np.uint32)
    pixel_dq[6, 6] = DQ.DO_NOT_USE
    rate = draft_rate(Exposure(data, dq=dq, pixel_dq=pixel_dq))
    assert np.argwhere(np.isnan(rate)).tolist() == [[5, 5], [6, 6]]
    np.testing.assert_allclose(rate[np.isfinite(rate)], 3.0)


def test_missing_groups_are_left_out_and_nothing_gives_nan():
    data = line(4)
    data[0, 1, 0, 0] = np.nan
    data[0, :, 1, 1] = np.nan
    rate = draft_rate(Exposure(data))
    np.testing.assert_allclose(rate[0, 0], 3.0)
    assert np.isnan(rate[1, 1])


def test_integrations_apart_and_together(meta):
    data = np.concatenate([line(4, slope=2.0), line(4, slope=4.0)])
    timed = Exposure(data, meta=meta(TGROUP=2.0))
    np.testing.assert_allclose(draft_rate(timed), 1.5)
    np.testing.assert_allclose(draft_rate(timed, integration=1), 2.0)


def test_one_group_is_its_own_draft():
    np.testing.assert_allclose(draft_rate(Exposure(line(1) + 7)), 7.0)


def test_gain_and_read_noise_go_together(meta):
    ramp = Exposure(line(5, slope=100.0), meta=meta())
    assert FlickerCleaner(ramp, gain=2.0, read_noise=np.full((8, 9), 5.0))._photons == pytest.approx(100 / 2 / 25)
    for given, missing in (({"gain": 2.0}, "read_noise"), ({"read_noise": 5.0}, "gain")):
        with pytest.raises(DataError, match=f"{missing} .* is missing"):
            FlickerCleaner(ramp, **given).draft_rate
    with pytest.raises(DataError, match="should be positive"):
        FlickerCleaner(ramp, gain=0.0, read_noise=1.0).draft_rate
    with pytest.raises(DataError, match="holds no positive number"):
        FlickerCleaner(ramp, gain=np.zeros((8, 9)), read_noise=1.0).draft_rate
