"""SOSS: which template, and how bright on each side of the jump; planted and real."""

import numpy as np
import pytest

from corontools import DQ, BackgroundModel, DataError, Exposure, replay
from corontools.arrays.template import jump

NX, TRUTH, BEST = 2048, (0.9, 0.8), 1


def templates(ny=96, n=3):
    """A background that rises by half near column 700, and is curved differently in each template."""
    y, x = np.mgrid[:ny, :NX]
    right = x >= 700 + y // 32
    return np.array([np.where(right, 1.5, 1.0) * (1 + 0.2 * k * (x / NX) ** 1.5) for k in range(n)])


def trace(ny):
    y, x = np.mgrid[:ny, :NX]
    off = y - 0.3 * ny - 0.01 * x
    return 40 * np.exp(-0.5 * (off / 5) ** 2) + 0.5 * np.exp(-np.abs(off) / 6)


def target(noise=0.1, *, ny=96, n_int=1, seed=1, **changes):
    given = templates(ny)[BEST]
    right = np.arange(NX) >= jump(given)[:, None]
    scene = given * np.where(right, TRUTH[1], TRUTH[0]) + trace(ny)
    data = np.random.default_rng(seed).normal(scene, noise, (n_int, ny, NX))
    return Exposure(data if n_int > 1 else data[0], **changes)


@pytest.fixture(scope="module")
def model():
    return BackgroundModel.from_templates(templates())


@pytest.mark.parametrize("n_int", [1, 5])
@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
def test_template_and_scales_do_not_drift_with_noise(model, noise, n_int):
    fitted = model.fit(target(noise, n_int=n_int))
    assert fitted.fitted.index == BEST
    assert fitted.scale == pytest.approx(TRUTH, rel=0.02)


def test_errors_of_the_scales_cover_their_scatter():
    flat = BackgroundModel.from_templates(templates()[BEST])
    found = []
    for seed in range(12):
        data = np.random.default_rng(seed).normal(templates()[BEST], 0.3)
        fitted = flat.fit(Exposure(data))
        found.append((np.array(fitted.scale) - 1) / fitted.scale_err)
    assert 0.6 < np.std(found) < 1.5
    assert abs(np.mean(found)) < 1


def test_both_sides_are_subtracted_over_the_whole_array(model):
    exposure = target(0.05, n_int=3)
    fitted = model.fit(exposure)
    made = fitted.subtract_from(exposure)
    assert made.shape == exposure.shape
    left, right = made.data - trace(96), np.arange(NX) >= fitted.fitted.column[:, None]
    assert abs(np.mean(left[:, ~right])) < 0.01
    assert abs(np.mean(left[:, right])) < 0.02
    assert not fitted.mask[:, 951:].any()
    np.testing.assert_allclose(fitted.background.data, fitted.fitted.image)
    assert made.meta.card("S_BKDSUB") == "COMPLETE"
    assert made.meta.card("BKGD_TPL") == fitted.fitted.index
    assert tuple(made.meta.card(f"BKGDSCL{side}") for side in "LR") == fitted.scale
    assert tuple(made.meta.card(f"BKGDERR{side}") for side in "LR") == fitted.scale_err
    np.testing.assert_array_equal(replay(fitted, arrays=[templates(), exposure])._values(), fitted._values())
    assert "template" in repr(fitted)
    assert fitted._repr_html_().count("<img") == 2


def test_missing_and_flagged_pixels_are_left_out(model):
    exposure = target(0.1)
    data, dq = exposure.data.copy(), np.zeros(exposure.shape, np.uint32)
    data[60:80, 100:400], data[20, 30] = np.nan, np.inf
    dq[:4], data[:4] = DQ.REFERENCE_PIXEL, 0.0
    dq[90, 200], data[90, 200] = DQ.DO_NOT_USE, -1e9
    fitted = model.fit(exposure.with_(data=data, dq=dq))
    assert fitted.fitted.index == BEST
    assert fitted.scale == pytest.approx(TRUTH, rel=0.02)
    assert not fitted.mask[60:80, 100:400].any()
    assert not fitted.mask[:4].any()


def test_96_rows_take_their_part_of_templates_of_256():
    whole = templates(256)
    data = np.random.default_rng(1).normal(0.9 * whole[2, 10:106], 0.1)
    fitted = BackgroundModel.from_templates(whole).fit(Exposure(data))
    assert fitted.fitted.index == 2
    assert fitted.scale == pytest.approx((0.9, 0.9), rel=0.02)
    np.testing.assert_allclose(fitted.subtract_from(Exposure(data)).data.mean(), 0, atol=0.01)


def test_what_does_not_fit_is_refused(model):
    with pytest.raises(DataError, match=r"templates of \(96, 2048\) px don't fit"):
        model.fit(target(ny=256))
    with pytest.raises(DataError, match="2048 columns wide"):
        BackgroundModel.from_templates(np.ones((96, 100))).fit(Exposure(np.ones((96, 100))))
    with pytest.raises(DataError, match="no block of pixels is usable"):
        model.fit(target().mask(np.ones((96, NX), bool)))
    with pytest.raises(DataError, match="cube"):
        BackgroundModel.from_templates(np.ones((2, 2, 96, NX)))
    with pytest.raises(DataError, match="source_percentile"):
        model.fit(target(), source_percentile=0)
    with pytest.raises(DataError, match="mask_sources belongs to"):
        model.mask_sources([(0, 0, 1, 1)])
    with pytest.raises(DataError, match="share no pixel"):
        model.fit(target()).subtract_from(Exposure(np.ones((10, 10))))


def test_a_real_frame_is_left_without_background_on_both_sides(data_folder):
    folder = data_folder / "soss"
    frame = folder / "jw01512001001_03102_00001_nis_demo_pwcpos_245.778671.npy"
    if not frame.is_file():
        pytest.skip(f"no real data: {frame} does not exist")
    data = np.load(frame)[10:106].astype(np.float64)
    template = np.squeeze(np.load(folder / "model_background96.npy"))
    fitted = BackgroundModel.from_templates(template).fit(Exposure(data))
    made = fitted.subtract_from(Exposure(data)).data
    right = np.arange(NX) >= fitted.fitted.column[:, None]
    for side in (right, ~right):
        free = fitted.mask & side
        assert free.sum() > 1000
        level = np.median(fitted.fitted.image[free])
        assert abs(np.median(made[free])) < 0.02 * level
