"""Means of background exposures: truth, place on the detector, outliers, errors, flags, files."""

import tracemalloc
import warnings

import numpy as np
import pytest

from corontools import DQ, BackgroundModel, DataError, Exposure, replay
from corontools.products import product_name

LEVEL, NOISE = 10.0, 2.0


def pulls(values, truth, err):
    return (values - truth) / err


@pytest.mark.parametrize("hits", [0.0, 0.1])
@pytest.mark.parametrize("n", range(2, 21))
def test_errors_of_background_and_subtracted_science_cover_the_truth(make_nods, n, hits):
    background, science = [], []
    rng = np.random.default_rng(n)
    for seed in range(200):
        model = BackgroundModel.from_exposures(make_nods(n, (12, 12), seed=seed, hits=hits))
        target = Exposure(rng.normal(LEVEL + 3.0, NOISE, (12, 12)), err=np.full((12, 12), NOISE))
        made = model.subtract_from(target)
        background.append(pulls(model.image, LEVEL, model.err))
        science.append(pulls(made.data, 3.0, made.err))
    for found in (np.array(background), np.array(science)):
        assert abs(found.mean()) < 0.03
        assert 0.95 < found.std() < 1.05


@pytest.mark.parametrize("hits", [0.0, 0.1])
@pytest.mark.parametrize("n", [2, 4])
def test_errors_of_rateints_cover_the_truth(make_nods, n, hits):
    found = []
    for seed in range(100):
        model = BackgroundModel.from_exposures(make_nods(n, (5, 12, 12), seed=seed, hits=hits))
        found.append(pulls(model.image, LEVEL, model.err))
    assert abs(np.mean(found)) < 0.03
    assert 0.95 < np.std(found) < 1.05
    assert np.median(model.err) == pytest.approx(NOISE / np.sqrt(5 * n))


def test_a_single_outlier_is_rejected_from_two_exposures_on(make_nods):
    for n in range(2, 8):
        given = make_nods(n)
        data = given[0].data.copy()
        data[3, 4] = 1e4
        model = BackgroundModel.from_exposures([given[0].with_(data=data), *given[1:]])
        assert model.count[3, 4] == n - 1
        assert abs(model.image[3, 4] - LEVEL) < 5 * NOISE / np.sqrt(n - 1)
        assert model.err[3, 4] == pytest.approx(NOISE / np.sqrt(n - 1))


def test_a_sigma_clip_and_no_rejection_can_be_chosen(make_nods):
    given = make_nods(12, hits=0.2)
    clipped = BackgroundModel.from_exposures(given, 3.0, reject="sigma_clip")
    plain = BackgroundModel.from_exposures(given, reject="none")
    stack = np.array([one.data for one in given])
    np.testing.assert_allclose(plain.image, stack.mean(axis=0))
    from astropy.stats import sigma_clip

    theirs = sigma_clip(stack, sigma=3.0, maxiters=None, axis=0)
    np.testing.assert_allclose(clipped.image, theirs.mean(axis=0).data)
    np.testing.assert_array_equal(clipped.count, theirs.count(axis=0))


def test_errors_that_are_too_small_reject_no_good_values(make_nods):
    given = [one.with_(err=one.err / 4) for one in make_nods(5, (64, 64))]
    model = BackgroundModel.from_exposures(given)
    assert model.excess == pytest.approx(4.0, rel=0.1)
    assert model.count.mean() > 4.9


def test_without_errors_the_scatter_tells_them(make_nods):
    given = [one.with_(err=None) for one in make_nods(4, (64, 64), hits=0.05)]
    model = BackgroundModel.from_exposures(given)
    assert np.median(model.err) == pytest.approx(NOISE / 2, rel=0.1)
    assert np.std(pulls(model.image, LEVEL, model.err)) == pytest.approx(1.0, abs=0.1)
    alone = BackgroundModel.from_exposures(given[:1])
    assert alone.err is None
    assert alone.subtract_from(given[1]).err is None


def test_variances_serve_where_there_is_no_err(make_nods):
    given = [one.with_(err=None, variances={"rnoise": one.err**2}) for one in make_nods(3)]
    model = BackgroundModel.from_exposures(given, reject="none")
    np.testing.assert_allclose(model.err, NOISE / np.sqrt(3))
    made = model.subtract_from(given[0])
    np.testing.assert_allclose(made.variances["rnoise"], NOISE**2 * 4 / 3)


def test_subarrays_and_full_frames_lie_where_they_are_on_the_detector(place):
    def ramp(x, y, nx, ny):  # a background that tells its own position
        yy, xx = np.mgrid[y : y + ny, x : x + nx]
        return Exposure(xx + 100.0 * yy, err=np.ones((ny, nx)), meta=place(x, y, nx, ny))

    full, part = ramp(0, 0, 60, 50), ramp(40, 30, 30, 30)
    model = BackgroundModel.from_exposures([full, part])
    assert (model.area.x, model.area.y, model.area.nx, model.area.ny) == (0, 0, 70, 60)
    assert model.count[40, 50] == 2
    assert model.err[40, 50] == pytest.approx(np.sqrt(0.5))
    assert model.count[0, 0] == model.count[55, 65] == 1
    assert np.isnan(model.image[0, 65])
    assert model.dq[0, 65] == DQ.DO_NOT_USE
    target = ramp(50, 40, 30, 30)
    with pytest.warns(UserWarning, match="covers 44.4 % of it; the rest is NaN with DO_NOT_USE"):
        made = model.subtract_from(target)
    covered = np.zeros((30, 30), bool)
    covered[:20, :20] = True
    np.testing.assert_allclose(made.data[covered], 0.0, atol=1e-9)
    assert np.isnan(made.data[~covered]).all()
    assert (made.dq[~covered] & DQ.DO_NOT_USE).all()
    assert not made.dq[covered].any()


def test_backgrounds_of_another_detector_are_refused(make_nods, meta):
    model = BackgroundModel.from_exposures([one.with_(meta=meta(DETECTOR="NRCALONG")) for one in make_nods(2)])
    with pytest.raises(DataError, match="of the detector NIS, the background exposures of NRCALONG"):
        model.subtract_from(make_nods(1)[0].with_(meta=meta(DETECTOR="NIS")))


def test_bad_pixels_are_left_out_and_all_flags_combined(make_nods):
    given = make_nods(3)
    dq = np.zeros((3, 32, 32), np.uint32)
    data = np.array([one.data for one in given])
    dq[0, 2, 2] = DQ.DO_NOT_USE | DQ.HOT
    data[0, 2, 2] = -1e6
    dq[1, 5, 5] = DQ.JUMP_DET
    data[:, 8, 8] = np.nan
    model = BackgroundModel.from_exposures(
        [one.with_(data=d, dq=q) for one, d, q in zip(given, data, dq, strict=True)], reject="none"
    )
    assert model.image[2, 2] == pytest.approx(data[1:, 2, 2].mean())
    assert model.dq[2, 2] == DQ.DO_NOT_USE | DQ.HOT
    assert (model.dq[5, 5], model.count[5, 5]) == (DQ.JUMP_DET, 3)
    assert np.isnan(model.image[8, 8])
    assert model.dq[8, 8] == DQ.DO_NOT_USE
    target = given[0].with_(dq=np.full((32, 32), DQ.WARM, np.uint32))
    made = model.subtract_from(target)
    assert made.dq[5, 5] == DQ.WARM | DQ.JUMP_DET
    assert made.dq[0, 0] == DQ.WARM


def test_a_cube_is_subtracted_plane_by_plane_and_no_input_is_changed(make_nods, meta):
    given = make_nods(3)
    model = BackgroundModel.from_exposures(given)
    cube = np.random.default_rng(5).normal(20, 1, (4, 32, 32)).astype(np.float32)
    err = np.full(cube.shape, 1.0, np.float32)
    target = Exposure(cube, err=err, variances={"rnoise": err**2, "poisson": err}, meta=meta())
    before = cube.copy()
    made = model.subtract_from(target)
    assert made.data.dtype == np.float32
    np.testing.assert_allclose(made.data, cube - model.image, rtol=1e-5)
    np.testing.assert_allclose(made.err, np.hypot(1.0, np.broadcast_to(model.err, cube.shape)), rtol=1e-6)
    np.testing.assert_allclose(made.variances["rnoise"], 1 + np.broadcast_to(model.err, cube.shape) ** 2, rtol=1e-6)
    np.testing.assert_array_equal(made.variances["poisson"], 1)
    np.testing.assert_array_equal(cube, before)
    same = model.subtract_from(target, propagate=False)
    np.testing.assert_array_equal(same.err, err)
    np.testing.assert_array_equal(same.data, made.data)
    assert target.meta.card("S_BKDSUB") is None


def test_products_tell_the_step_and_the_chain_can_be_run_again(tmp_path, make_nods, meta):
    paths = []
    for i, one in enumerate(make_nods(4)):
        paths.append(one.save(tmp_path / f"nod{i}_rate.fits"))
    target = Exposure.read(paths[0])
    model = BackgroundModel.from_exposures([str(path) for path in paths[1:]], sigma=4.0)
    made = model.subtract_from(target)
    path = made.save(tmp_path / product_name(target.meta.filename, "bsub"))
    assert path.name == "nod0_bsub.fits"
    read = Exposure.read(path)
    assert read.meta.card("S_BKDSUB") == "COMPLETE"
    again = replay(path)
    np.testing.assert_array_equal(again.data, made.data)
    np.testing.assert_array_equal(again.err, made.err)
    background = Exposure.read(model.save_background(tmp_path / "b.fits"))
    np.testing.assert_allclose(background.data, model.image, rtol=1e-6)
    np.testing.assert_allclose(background.err, model.err, rtol=1e-6)
    datamodels = pytest.importorskip("stdatamodels.jwst.datamodels")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with datamodels.open(path) as opened:
            assert opened.meta.cal_step.bkg_subtract == "COMPLETE"


def test_files_give_the_same_as_exposures_and_blocks_of_rows_as_whole_images(tmp_path, make_nods, monkeypatch):
    given = [
        one.with_(data=one.data.astype("f4"), err=one.err.astype("f4"), dq=np.zeros(one.shape, np.uint32))
        for one in make_nods(3, (4, 40, 32), hits=0.1)
    ]
    paths = [one.save(tmp_path / f"{i}_rateints.fits") for i, one in enumerate(given)]
    whole = BackgroundModel.from_exposures(given)
    monkeypatch.setattr("corontools.background.average.BLOCK", 7 * 4 * 32)
    blocks = BackgroundModel.from_exposures(paths)
    for name in ("image", "err", "dq", "count"):
        np.testing.assert_array_equal(getattr(blocks, name), getattr(whole, name))


def test_memory_is_bounded_by_a_block_and_one_image_of_each_exposure(tmp_path):
    paths = []
    for i in range(3):
        data = np.ones((8, 256, 512), np.float32)
        paths.append(Exposure(data, err=data).save(tmp_path / f"{i}_rateints.fits"))
    BackgroundModel.from_exposures(paths[:1])  # compiled before memory is counted
    tracemalloc.start()
    BackgroundModel.from_exposures(paths)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    image, cube = data[0].nbytes, data.nbytes
    assert peak < 3 * 4 * image + 2 * cube + 40 * 2**20


def test_a_grating_wheel_that_stands_otherwise_skips_the_step(make_nods, meta):
    tilted = [one.with_(meta=meta(GWA_XTIL=0.35, GWA_YTIL=0.12)) for one in make_nods(3)]
    model = BackgroundModel.from_exposures(tilted[1:])
    assert model.subtract_from(tilted[0]).meta.card("S_BKDSUB") == "COMPLETE"
    other = tilted[0].with_(meta=meta(GWA_XTIL=0.35 + 2e-8, GWA_YTIL=0.12))
    with pytest.warns(UserWarning, match=r"SKIPPED.*grating wheel"):
        made = model.subtract_from(other)
    assert made.meta.card("S_BKDSUB") == "SKIPPED"
    np.testing.assert_array_equal(made.data, other.data)


def test_a_card_tells_what_was_combined(make_nods):
    model = BackgroundModel.from_exposures(make_nods(3))
    assert "mean of background exposures" in repr(model)
    assert model._repr_html_().count("<img") == 3
    assert model.digest().startswith("32x32 100%")
    assert model.good_fraction == 1.0


def test_an_image_of_ones_own_is_subtracted_times_a_scale(make_nods):
    target = make_nods(1)[0]
    image = np.full((32, 32), 4.0)
    model = BackgroundModel.from_image(Exposure(image, err=image / 4), scale=2.5)
    made = model.subtract_from(target)
    np.testing.assert_allclose(made.data, target.data - 10.0)
    np.testing.assert_allclose(made.err, np.hypot(NOISE, 2.5))
    assert model.scale == 2.5
    np.testing.assert_array_equal(replay(model.history, arrays=[Exposure(image)]).image, image)


def test_what_does_not_fit_together_is_refused(make_nods, place, meta):
    one, two = make_nods(2)
    far = one.with_(meta=place(100, 100, 32, 32))
    with pytest.raises(DataError, match="share no pixel"):
        BackgroundModel.from_exposures([far]).subtract_from(one.with_(meta=place(0, 0, 32, 32)))
    with pytest.raises(DataError, match="unit differs"):
        BackgroundModel.from_exposures([one, two.with_(meta=meta().with_(unit="MJy/sr"))])
    with pytest.raises(DataError, match="unit differs"):
        BackgroundModel.from_exposures([two]).subtract_from(one.with_(meta=meta().with_(unit="MJy/sr")))
    with pytest.raises(DataError, match="rateints"):
        BackgroundModel.from_exposures([Exposure(np.ones((2, 2, 4, 4)))])
    with pytest.raises(DataError, match="no background pixel is usable"):
        BackgroundModel.from_exposures([one.mask(np.ones((32, 32), bool)), two.with_(data=two.data * np.nan)])
    with pytest.raises(DataError, match="place on the detector isn't known"):
        BackgroundModel.from_exposures([one.with_(meta=place(0, 0, 32, 32)).crop(10, center=(15, 15))])
    for given in ([], one, "a.fits"):
        with pytest.raises(DataError, match="list of one or more"):
            BackgroundModel.from_exposures(given)
    for options in ({"sigma": 0}, {"sigma": np.nan}, {"maxiters": -1}, {"reject": "mean"}):
        with pytest.raises(DataError):
            BackgroundModel.from_exposures([one, two], **options)
    with pytest.raises(DataError, match=r"belongs to BackgroundModel\.from_reference"):
        BackgroundModel.from_exposures([one]).fit(two)
    with pytest.raises(DataError, match="finite number"):
        BackgroundModel.from_image(np.ones((4, 4)), scale=np.nan)
    with pytest.raises(DataError, match="no pixel of the background"):
        BackgroundModel.from_image(np.full((4, 4), np.nan))


def test_exposures_without_any_error_of_their_own_are_averaged_all_the_same():
    same = [Exposure(np.full((8, 8), 5.0), err=np.zeros((8, 8))) for _ in range(3)]
    model = BackgroundModel.from_exposures(same)
    np.testing.assert_array_equal(model.image, 5.0)
    np.testing.assert_array_equal(model.err, 0.0)
