"""STIM maps: sources stand out, speckles don't."""

import numpy as np
import pytest

from corontools import DataError, Exposure, PSFStack
from corontools.coron import stim_map
from corontools.coron.combined import Field
from corontools.coron.turned import turned_grid
from tests.coron.test_adi import adi, sequence


def test_it_is_the_mean_over_the_deviation_of_the_turned_frames():
    klip = adi(sequence(), 3)
    found = stim_map([klip])
    fields, grid = turned_grid([klip])
    frames = np.array([frame.value for frame in fields[0].turned(klip.frames, grid)])
    assert isinstance(fields[0], Field)
    seen = np.isfinite(frames).all(axis=0)
    dx, dy = (round(a - b) for a, b in zip(found.meta.center, grid.center, strict=True))
    ours = found.image[dy : dy + grid.shape[0], dx : dx + grid.shape[1]]
    np.testing.assert_allclose(ours[seen], (frames.mean(axis=0) / frames.std(axis=0))[seen], rtol=1e-6, atol=1e-9)


def test_a_source_stands_above_the_threshold_and_noise_hardly():
    with_source = stim_map([adi(sequence(source=60.0, sep=11.0, pa=60.0), 4)])
    x = with_source.meta.center[0] - 11.0 * np.sin(np.radians(60.0))
    y = with_source.meta.center[1] + 11.0 * np.cos(np.radians(60.0))
    near = with_source.normalized[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2]
    assert near.max() == np.nanmax(with_source.normalized) > 1
    without = stim_map([adi(sequence(), 4)])
    assert np.nanmean(without.normalized > 1) < 0.01
    assert "threshold" in repr(without)
    assert "<" in without._repr_html_()


def test_too_few_frames_or_one_angle_are_refused():
    frames = np.random.default_rng(1).normal(size=(5, 21, 21))
    still = Exposure(frames, angles=10.0)
    klip = PSFStack.from_exposures([Exposure(frames[::-1])]).align_to(still, to="none").klip(2)
    with pytest.raises(DataError, match=r"three integrations or more, at different angles; found 5 at 1 angle"):
        stim_map([klip])
    with pytest.raises(DataError, match="no result to map"):
        stim_map([])
    blind = PSFStack.from_exposures([Exposure(frames[::-1])]).align_to(Exposure(frames), to="none").klip(2)
    with pytest.raises(DataError, match="neither a WCS nor angles"):
        stim_map([blind])
