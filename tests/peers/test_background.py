"""Where jwst's bkg_subtract is right ours gives the same; where not, the truth.

Templates, references and masks are given, so that nothing has to be fetched from a server. Means agree to the round-off
of float32 (jwst averages in float64 and stores float32, as ours does); the factor to 1e-4, as its percentiles are of
float32 residuals.
"""

import numpy as np
import pytest
from astropy.io import fits

from corontools import BackgroundModel, Exposure, Meta

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("jwst", reason="jwst is not installed")

from jwst.background import background_sub as theirs  # noqa: E402
from jwst.background import background_sub_soss as soss  # noqa: E402
from jwst.background import background_sub_wfss as wfss  # noqa: E402
from stdatamodels.jwst import datamodels  # noqa: E402

ROUND_OFF = 2e-6


def pair(data, err, dq, *, corner=(0, 0)):
    """The same exposure as jwst's data model, and as ours."""
    model = (datamodels.ImageModel if data.ndim == 2 else datamodels.CubeModel)(
        data=data.astype("f4"), err=err.astype("f4"), dq=dq.astype("u4")
    )
    x, y = corner
    ny, nx = data.shape[-2:]
    model.meta.instrument.name = "NIRCAM"
    model.meta.subarray.xstart, model.meta.subarray.ystart = x + 1, y + 1
    model.meta.subarray.xsize, model.meta.subarray.ysize = nx, ny
    cards = {"SUBSTRT1": x + 1, "SUBSTRT2": y + 1, "SUBSIZE1": nx, "SUBSIZE2": ny}
    meta = Meta.from_headers(fits.Header(cards), fits.Header())
    return model, Exposure(data.astype("f4"), err=err.astype("f4"), dq=dq.astype("u4"), meta=meta)


def noisy(shape, seed, *, corner=(0, 0), level=10.0, flags=True):
    rng = np.random.default_rng(seed)
    data = rng.normal(level, 1.0, shape)
    data[rng.random(shape) < 0.02] += 100
    data[rng.random(shape) < 0.01] = np.nan
    # DO_NOT_USE isn't among them: jwst averages such pixels, ours leaves them out
    dq = np.where(rng.random(shape) < 0.05, 4, 0) | np.where(rng.random(shape) < 0.05, 1024, 0)
    return pair(data, rng.uniform(0.9, 1.1, shape), dq if flags else 0 * dq, corner=corner)


def test_the_mean_of_rates_is_the_same():
    pairs = [noisy((64, 80), seed) for seed in range(12)]
    target = noisy((64, 80), 99)
    background, subtracted = theirs.background_sub(target[0].copy(), [one for one, _ in pairs], 3.0, None)
    model = BackgroundModel.from_exposures([one for _, one in pairs], 3.0, reject="sigma_clip")
    np.testing.assert_allclose(model.image, background.data, rtol=ROUND_OFF)
    np.testing.assert_allclose(model.err, background.err, rtol=ROUND_OFF)
    np.testing.assert_array_equal(model.dq, background.dq)
    made = model.subtract_from(target[1], propagate=False)
    np.testing.assert_allclose(made.data, subtracted.data, atol=2e-5)
    np.testing.assert_array_equal(made.dq, subtracted.dq)
    np.testing.assert_array_equal(made.err, subtracted.err)


def test_the_mean_of_rateints_and_its_flags_are_the_same():
    pairs = [noisy((10, 40, 50), seed) for seed in range(4)]
    target = noisy((3, 40, 50), 99)
    background, subtracted = theirs.background_sub(target[0].copy(), [one for one, _ in pairs], 3.0, None)
    model = BackgroundModel.from_exposures([one for _, one in pairs], 3.0, reject="sigma_clip")
    np.testing.assert_allclose(model.image, background.data, rtol=ROUND_OFF)
    np.testing.assert_array_equal(model.dq, background.dq)
    np.testing.assert_allclose(model.subtract_from(target[1]).data, subtracted.data, atol=2e-5)


def test_a_subarray_of_full_frames_is_the_same():
    pairs = [noisy((64, 80), seed) for seed in range(12)]
    target = noisy((20, 30), 99, corner=(40, 30))
    _, subtracted = theirs.background_sub(target[0].copy(), [one for one, _ in pairs], 3.0, None)
    model = BackgroundModel.from_exposures([one for _, one in pairs], 3.0, reject="sigma_clip")
    made = model.subtract_from(target[1])
    np.testing.assert_allclose(made.data, subtracted.data, atol=2e-5)
    np.testing.assert_array_equal(made.dq, subtracted.dq)


def test_jwst_puts_a_partial_overlap_at_the_origin():
    background = noisy((20, 20), 1, corner=(50, 30), flags=False)
    target = pair(np.zeros((40, 40)), np.ones((40, 40)), np.zeros((40, 40)), corner=(40, 20))
    found, _ = theirs.background_sub(target[0].copy(), [background[0]], 3.0, None)
    known = np.isfinite(background[1].data)
    np.testing.assert_allclose(found.data[:20, :20][known], background[1].data[known])  # it lies at [10:30, 10:30]
    assert not np.isnan(found.data[30:]).any()  # and where there is no background jwst has 0
    made = BackgroundModel.from_exposures([background[1]]).subtract_from(target[1])
    np.testing.assert_allclose(made.data[10:30, 10:30], -background[1].data)
    outside = np.ones((40, 40), bool)
    outside[10:30, 10:30] = False
    assert np.isnan(made.data[outside]).all()
    assert (made.dq[outside] & 1).all()


@pytest.mark.parametrize("n", [3, 5, 7])
def test_jwst_rejects_no_outlier_of_few_exposures(n):
    pairs = []
    for seed in range(n):
        data = np.random.default_rng(seed).normal(10, 1, (16, 16))
        if not seed:
            data[5, 5] = 1e4
        pairs.append(pair(data, np.ones((16, 16)), np.zeros((16, 16))))
    found = theirs.average_background(pairs[0][0], [one for one, _ in pairs], 3.0, None)
    assert found.data[5, 5] > 1000
    model = BackgroundModel.from_exposures([one for _, one in pairs])
    assert abs(model.image[5, 5] - 10) < 4


def test_jwst_takes_errors_of_rateints_for_larger_than_they_are():
    pairs = [pair(np.full((10, 8, 8), 5.0), np.full((10, 8, 8), 2.0), np.zeros((10, 8, 8))) for _ in range(2)]
    found = theirs.average_background(pairs[0][0], [one for one, _ in pairs], 3.0, None)
    np.testing.assert_allclose(found.err, 2 / np.sqrt(2))  # as if each exposure had one integration
    np.testing.assert_allclose(BackgroundModel.from_exposures([one for _, one in pairs]).err, 2 / np.sqrt(20))


def slitless(shape=(256, 256), seed=1):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    reference = (1 + 0.3 * np.sin(x / 40) + 0.001 * y).astype("f4")
    err = rng.uniform(0.2, 0.3, shape).astype("f4")
    image = (0.1234 * reference + rng.normal(0, err)).astype("f4")
    mask = np.ones(shape, bool)
    for _ in range(12):
        cy, cx = rng.integers(0, shape[0] - 10), rng.integers(0, shape[1] - 90)
        image[cy : cy + 8, cx : cx + 80] += 2
        mask[cy : cy + 8, cx : cx + 80] = False
    return image, reference, err, mask


@pytest.mark.parametrize("maxiter", [0, 1, 5])
def test_the_factor_is_the_same(maxiter):
    image, reference, err, mask = slitless()
    factor, _ = wfss.ScalingFactorComputer(maxiter=maxiter)(image.copy(), reference.copy(), err**2, mask=~mask)
    exposure = Exposure(image, err=err)
    fitted = BackgroundModel.from_reference(reference).mask_sources(mask).fit(exposure, maxiter=maxiter)
    assert fitted.scale == pytest.approx(factor, rel=1e-4)


@pytest.mark.parametrize("dispaxis", [1, 2])
def test_the_stop_at_little_gain_is_the_same(dispaxis):
    image, reference, err, mask = slitless()
    computer = wfss.ScalingFactorComputer(maxiter=8, delta_rms_thresh=0.02, dispersion_axis=dispaxis)
    factor, _ = computer(image.copy(), reference.copy(), err**2, mask=~mask)
    meta = Meta.from_headers(fits.Header({"DISPAXIS": dispaxis}), fits.Header())
    exposure = Exposure(image, err=err, meta=meta)
    fitted = BackgroundModel.from_reference(reference).mask_sources(mask).fit(exposure, maxiter=8, rms_stop=2)
    assert fitted.scale == pytest.approx(factor, rel=1e-4)


def test_jwst_says_nothing_of_faint_traces_that_raise_the_factor():
    image, reference, err, _ = slitless()
    rng = np.random.default_rng(5)
    for _ in range(60):
        cy, cx = rng.integers(0, 250), rng.integers(0, 170)
        image[cy : cy + 4, cx : cx + 80] += 0.15
    factor, _ = wfss.ScalingFactorComputer()(image.copy(), reference.copy(), err**2)
    assert factor > 0.1234 * 1.1
    fitted = BackgroundModel.from_reference(reference).fit(Exposure(image, err=err))
    assert any("faint traces" in note for note in fitted.notes)


def templates(n=4):
    y, x = np.mgrid[:96, :2048]
    base = np.where(x >= 700 + y // 32, 1.5, 1.0)
    return np.array([base * (1 + 0.2 * k * (x / 2048) ** 1.5) for k in range(n)], np.float32)


def spectrum(best, noise, seed=1):
    y, x = np.mgrid[:96, :2048]
    trace = 40 * np.exp(-0.5 * ((y - 30 - 0.01 * x) / 5) ** 2)
    data = np.random.default_rng(seed).normal(0.9 * templates()[best] + trace, noise, (2, 96, 2048))
    return data.astype("f4")


def jwst_soss(data, tmp_path):
    """Scaled template that jwst subtracts."""
    path = tmp_path / "templates.fits"
    datamodels.SossBkgModel(data=templates()).save(str(path))
    model = datamodels.CubeModel(data=data.copy())
    model.dq = np.zeros(data.shape, np.uint32)
    return data - soss.subtract_soss_bkg(model, str(path), 35.0, [25.0, 50.0]).data


@pytest.mark.parametrize("best", [0, 1, 3])
def test_the_same_soss_template_is_chosen(best, tmp_path):
    data = spectrum(best, 0.02)
    taken = jwst_soss(data, tmp_path)[0]
    model = BackgroundModel.from_templates(templates()).fit(Exposure(data))
    assert model.fitted.index == best
    ratio = taken[:, 10:600] / templates()[:, :, 10:600]
    assert int(np.argmin(ratio.std(axis=(1, 2)) / ratio.mean(axis=(1, 2)))) == best
    np.testing.assert_allclose(model.fitted.image, taken, rtol=0.02)


def test_jwst_scales_a_soss_template_by_the_noise(tmp_path):
    data = spectrum(1, 0.3)
    taken = jwst_soss(data, tmp_path)[0]
    fitted = BackgroundModel.from_templates(templates()).fit(Exposure(data))
    truth = 0.9 * templates()[1]
    assert np.median(taken / truth) < 0.93
    np.testing.assert_allclose(fitted.scale, 0.9, rtol=0.02)
