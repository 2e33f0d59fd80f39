import numpy as np
import pytest
from astropy.table import vstack

from corontools import DQ, BackgroundModel
from corontools.arrays.template import jump
from corontools.simulate.background import nods, slitless, soss


def pulls(exposure, light, where=True):
    """What is left of an exposure less its light, in units of its errors."""
    return ((exposure.data - light) / exposure.err)[np.broadcast_to(where, exposure.shape)]


def assert_normal(values):
    assert abs(values.mean()) < 5 / np.sqrt(values.size)
    assert values.std() == pytest.approx(1, rel=4 / np.sqrt(values.size))


@pytest.mark.parametrize("shape", [(96, 128), (4, 64, 96)])
def test_nods_hold_what_their_truth_says(shape):
    exposures, truth = nods(3, shape, hits=0.02)
    bad = exposures[0].dq == DQ.DO_NOT_USE
    for exposure, stars, hits in zip(exposures, truth.stars, truth.hits, strict=True):
        assert exposure.shape == hits.shape == shape
        assert_normal(pulls(exposure, truth.sky + stars, ~hits & ~bad))
        assert np.mean((exposure.data - truth.sky - stars)[hits & ~bad]) == pytest.approx(20, rel=0.2)
        np.testing.assert_array_equal(exposure.dq == DQ.DO_NOT_USE, bad)
        assert np.all(exposure.data[bad & ~hits] < -30)
    assert 0 < bad.mean() < 0.01
    assert truth.hits.mean() == pytest.approx(0.02, rel=0.2)


def test_nods_are_the_same_stars_elsewhere_on_a_sky_that_stays():
    _, truth = nods(2, (128, 128), gradient=0.5, level=10.0)
    first, other = (np.fft.rfft2(stars) for stars in truth.stars)
    match = np.fft.irfft2(first * other.conj())
    dy, dx = (int((k + 64) % 128 - 64) for k in np.unravel_index(match.argmax(), match.shape))
    assert (dy, dx) != (0, 0)
    assert abs(dy) <= 64
    assert abs(dx) <= 64
    overlap = [truth.stars[i][slice(max(s * dy, 0), 128 + min(s * dy, 0)), slice(max(s * dx, 0), 128 + min(s * dx, 0))]
               for i, s in ((0, 1), (1, -1))]  # fmt: skip
    assert np.corrcoef(overlap[0].ravel(), overlap[1].ravel())[0, 1] > 0.7
    assert truth.sky.mean() == pytest.approx(10)
    assert truth.sky[-1, -1] - truth.sky[0, 0] == pytest.approx(5, rel=0.02)


def test_a_slitless_exposure_holds_what_its_truth_says():
    exposure, truth = slitless((128, 256), factor=1.5, sources=6, unlisted=2)
    assert_normal(pulls(exposure, truth.background + truth.traces))
    assert truth.reference.mean() == pytest.approx(1)
    assert truth.background.mean() == pytest.approx(1.5)
    assert (len(truth.catalog), len(truth.unlisted)) == (6, 2)


def test_traces_lie_where_the_dispersion_puts_them():
    exposure, truth = slitless((128, 400), sources=5, unlisted=2)
    whole = vstack([truth.catalog, truth.unlisted])
    kept, known = (
        BackgroundModel.from_reference(truth.reference)
        .mask_sources(table, dispersion=truth.dispersion)
        .fit(exposure)
        .mask
        for table in (whole, truth.catalog)
    )
    assert truth.traces[kept].sum() < 0.01 * truth.traces.sum()
    assert truth.traces[known].sum() > 5 * truth.traces[kept].sum()


def test_a_brighter_source_has_more_light():
    _, truth = slitless((200, 400), sources=1, unlisted=0)
    brightness = 10 ** (0.4 * (21.5 - truth.catalog["mag"][0]))
    assert truth.traces.sum(axis=0).max() == pytest.approx(brightness, rel=0.01)


def test_a_soss_exposure_holds_what_its_truth_says():
    exposure, truth = soss(2, scale=(0.7, 1.1), index=2)
    assert_normal(pulls(exposure, truth.background + truth.traces))
    template = truth.templates[2, 10:106]
    assert exposure.shape == (2, *template.shape)
    first = np.argmax(np.diff(template, axis=1), axis=1) + 1  # a step: the first column right of it
    assert np.all((first >= 700) & (first <= 703))
    assert np.all(np.abs(jump(template) - first) <= 1)
    np.testing.assert_allclose(truth.background[:, :690] / template[:, :690], 0.7)
    np.testing.assert_allclose(truth.background[:, 720:] / template[:, 720:], 1.1)
    assert np.median(truth.traces) < 1 < truth.traces.max()


def test_ninety_six_rows_are_those_of_the_whole_subarray():
    narrow, whole = (soss(1, rows)[1] for rows in (96, 256))
    assert whole.background.shape == (256, 2048)
    np.testing.assert_array_equal(narrow.background, whole.background[10:106])
    np.testing.assert_array_equal(narrow.traces, whole.traces[10:106])


def test_exposures_come_again_with_their_seed():
    for make in (lambda seed: nods(2, (32, 32), seed=seed)[0][1], lambda seed: slitless((32, 256), seed=seed)[0],
                 lambda seed: soss(1, seed=seed)[0]):  # fmt: skip
        one, again, other = (make(seed).data for seed in (4, 4, 5))
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)


def test_exposures_can_be_saved_and_read(tmp_path):
    exposure = slitless((32, 256))[0]
    again = type(exposure).read(exposure.save(tmp_path / exposure.meta.filename))
    np.testing.assert_array_equal(again.data, exposure.data)
    assert (again.meta.card("DISPAXIS"), again.meta.unit, again.meta.exp_type) == (1, "DN/s", "NRC_WFSS")
