"""The container: what it refuses, what its methods keep."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from corontools.dq import DQ
from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.meta import Meta


@pytest.fixture
def exposure(speckles):
    """Three integrations of 12 x 15 px with all that an exposure may have."""
    data = speckles(3, (12, 15))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crpix, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [8.0, 7.0], [-2e-5, 2e-5]
    wcs.wcs.crval = [10.0, -5.0]
    dq = np.zeros(data.shape, np.uint32)
    dq[0, 1, 2], dq[1, 1, 2] = DQ.DO_NOT_USE, DQ.SATURATED
    err = np.full(data.shape, 0.5)
    meta = Meta(target="AU Mic", unit="MJy/sr", center=(7.0, 6.0), filename="a.fits")
    return Exposure(
        data, err=err, dq=dq, meta=meta, wcs=wcs, variances={"flat": err**2}, source="Exposure.read('a.fits')"
    )


@pytest.mark.parametrize("shape", [(), (5,), (0, 5), (2, 0, 5)])
def test_fewer_than_two_axes_or_no_pixel_are_refused(shape):
    with pytest.raises(DataError, match=r"needs an array \(\.\.\., y, x\) with pixels, found shape"):
        Exposure(np.zeros(shape))


@pytest.mark.parametrize("array", [np.zeros((2, 2), complex), np.array([["a"]]), np.array([[None]]), [["1", "2"]]])
def test_anything_but_real_numbers_is_refused(array):
    with pytest.raises(DataError, match="real numbers"):
        Exposure(array)


def test_planes_that_are_no_numbers_are_refused():
    data = np.zeros((2, 2))
    with pytest.raises(DataError, match="complex128 in err"):
        Exposure(data, err=data + 1j)
    with pytest.raises(DataError, match="in variance 'flat'"):
        Exposure(data, variances={"flat": np.full((2, 2), "a")})
    with pytest.raises(DataError, match="dq holds bits, so it needs integers; found float64"):
        Exposure(data, dq=np.array([[np.nan, 0.0], [0.0, 1.0]]))


@pytest.mark.parametrize("name", ["err", "dq", "flat"])
def test_a_plane_of_another_shape_is_refused_with_both_shapes_and_the_file(name):
    other = np.zeros((3, 5), int)
    planes = {"variances": {name: other}} if name == "flat" else {name: other}
    with pytest.raises(DataError, match=rf"a\.fits: {name} has shape \(3, 5\), data has \(2, 2\)"):
        Exposure(np.zeros((2, 2)), meta=Meta(filename="a.fits"), **planes)


def test_the_mask_of_a_masked_array_becomes_nan():
    masked = np.ma.masked_array(np.arange(6).reshape(2, 3), mask=[[0, 1, 0], [0, 0, 0]])
    exposure = Exposure(masked)
    np.testing.assert_array_equal(exposure.data, [[0, np.nan, 2], [3, 4, 5]])
    assert exposure.good.sum() == 5


def test_arrays_are_read_only_views_and_the_callers_stay_writable():
    data = np.zeros((2, 3, 4))
    exposure = Exposure(data, dq=np.zeros((2, 3, 4), np.uint32))
    for array in (exposure.data, exposure.dq, exposure.good):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0, 0] = 1
    assert np.shares_memory(exposure.data, data)
    data[0, 0, 0] = 5


def test_negative_flags_of_signed_integers_keep_their_highest_bit():
    dq = np.array([[-(2**31), 1]], np.int32)
    assert Exposure(np.zeros((1, 2)), dq=dq).dq.tolist() == [[2**31, 1]]


def test_good_is_finite_without_do_not_use(exposure):
    data = exposure.data.copy()
    data[2, 3, 3], data[2, 3, 4] = np.nan, np.inf
    bad = np.argwhere(~exposure.with_(data=data).good)
    assert bad.tolist() == [[0, 1, 2], [2, 3, 3], [2, 3, 4]]


def test_variance_is_the_square_of_err_or_the_sum_of_variances(exposure):
    np.testing.assert_array_equal(exposure.variance, 0.25)
    parts = {"poisson": np.full(exposure.shape, 2.0), "rnoise": np.full(exposure.shape, 3.0)}
    np.testing.assert_array_equal(exposure.with_(err=None, variances=parts).variance, 5.0)
    assert exposure.with_(err=None, variances={}).variance is None


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6), (2, 3, 5, 6)])
def test_cube_has_three_axes_and_all_integrations(shape):
    data = np.arange(np.prod(shape), dtype=float).reshape(shape)
    cube = Exposure(data, err=data).cube
    assert cube.shape == (Exposure(data).n_int, 5, 6)
    np.testing.assert_array_equal(cube.data.ravel(), data.ravel())
    np.testing.assert_array_equal(cube.err.ravel(), data.ravel())


@pytest.mark.parametrize("which", [1, [2, 0], slice(1, None), np.array([True, False, True]), -1])
def test_select_takes_integrations_of_every_plane(exposure, which):
    chosen = exposure.select(which)
    index = np.atleast_1d(np.arange(3)[which])
    for name in ("data", "err", "dq"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(exposure, name)[index])
    np.testing.assert_array_equal(chosen.variances["flat"], exposure.variances["flat"][index])
    assert chosen.source == f"Exposure.read('a.fits').select({index.tolist()})"


def test_a_crop_keeps_the_sky_and_the_star_on_their_pixels(exposure):
    small = exposure.crop((7, 9))
    y0, x0 = (int(a - b) for a, b in zip(exposure.center[::-1], small.center[::-1], strict=True))
    assert small.shape == (3, 7, 9)
    np.testing.assert_array_equal(small.data, exposure.data[:, y0 : y0 + 7, x0 : x0 + 9])
    np.testing.assert_allclose(
        small.wcs.all_pix2world([[2, 3]], 0), exposure.wcs.all_pix2world([[2 + x0, 3 + y0]], 0), rtol=1e-12
    )


@pytest.mark.parametrize("size", [13, (12, 16), 0, (5, -1)])
def test_a_box_that_leaves_the_image_is_refused(exposure, size):
    with pytest.raises(DataError, match="is not inside the image of 12 x 15 px; give a smaller size"):
        exposure.crop(size)


def test_mask_sets_bits_and_keeps_values_and_other_bits(exposure):
    bad = np.zeros((12, 15), bool)
    bad[1, 2] = True
    masked = exposure.mask(bad, bits=DQ.HOT)
    assert masked.dq[:, 1, 2].tolist() == [DQ.DO_NOT_USE | DQ.HOT, DQ.SATURATED | DQ.HOT, DQ.HOT]
    np.testing.assert_array_equal(masked.data, exposure.data)
    assert exposure.dq[2, 1, 2] == 0


@pytest.mark.parametrize("bits", [None, DQ.HOT, 4])
def test_mask_is_told_in_the_source_of_an_exposure_of_a_file(exposure, bits):
    bad = np.zeros((12, 15), bool)
    bad[1, 2:4] = True
    masked = exposure.mask(bad) if bits is None else exposure.mask(bad, bits=bits)
    told = "" if bits is None else f", bits={int(bits)}"
    assert masked.source == f"Exposure.read('a.fits').mask(pixels((12, 15), [17, 2]){told})"
    assert Exposure(exposure.data).mask(bad).source == ""


def test_a_mask_of_another_shape_is_refused(exposure):
    with pytest.raises(DataError, match=r"a mask of shape \(3, 3\) doesn't fit \(3, 12, 15\)"):
        exposure.mask(np.ones((3, 3), bool))


def test_an_exposure_whose_maker_is_unknown_says_so(exposure):
    assert exposure.with_(data=exposure.data * 2).source == ""
    assert exposure.with_(data=exposure.data * 2).repair().source == ""
    assert exposure.repair(5).source == "Exposure.read('a.fits').repair(box=5)"


@pytest.mark.parametrize("sigma", [0, -1, np.nan])
def test_a_threshold_that_is_not_positive_is_refused(exposure, sigma):
    with pytest.raises(DataError, match="sigma should be a positive number"):
        exposure.reject_outliers(sigma)


def test_an_integration_without_a_good_pixel_stays_empty_in_repair(exposure):
    data = exposure.data.copy()
    data[1] = np.nan
    data[0, 4, 4] = np.nan
    repaired = exposure.with_(data=data).repair()
    assert np.isnan(repaired.data[1]).all()
    assert np.isfinite(repaired.data[0]).all()
    assert repaired.dq[0, 4, 4] == DQ.FLUX_ESTIMATED | DQ.DO_NOT_USE


HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[31m\"'&"


@pytest.mark.parametrize("field", ["target", "unit", "filter", "coronagraph", "instrument", "filename"])
def test_header_text_is_text_in_the_card(exposure, field):
    meta = exposure.meta.with_(**{"target": "", "instrument": "", "filter": "", "coronagraph": "", field: HOSTILE})
    hostile = exposure.with_(meta=meta, source=f"Exposure.read({HOSTILE!r})")
    html = hostile._repr_html_()
    assert "<script" not in html
    assert "</script" not in html
    assert "<img src=x" not in html
    assert "&lt;img src=x onerror" in html
    assert "\x1b" not in html + repr(hostile)


@pytest.mark.parametrize("fill", [np.nan, np.inf, 0.0, 1e300])
def test_an_image_without_contrast_still_has_a_card(fill):
    exposure = Exposure(np.full((4, 5), fill))
    assert "4 x 5 px" in repr(exposure)
    assert "data:image/png" in exposure._repr_html_()


IMAGES = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int16, np.uint8, np.bool_, ">f4", ">f8", ">i4"]),
    hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=6),
)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # squares of the largest numbers
@given(data=IMAGES, seed=st.integers(0, 99))
def test_any_image_keeps_its_numbers_and_its_maker(data, seed):
    before = data.copy()
    dq = np.random.default_rng(seed).choice([0, 1, 4, 2**31], data.shape).astype(np.uint32)
    exposure = Exposure(data, dq=dq)
    np.testing.assert_array_equal(exposure.data, before.astype(exposure.data.dtype))
    np.testing.assert_array_equal(exposure.good, np.isfinite(exposure.data) & (dq % 2 == 0))
    assert exposure.cube.n_int == exposure.n_int == data.size // (data.shape[-1] * data.shape[-2])
    repaired = exposure.repair()
    for i, good in enumerate(exposure.cube.good):
        assert np.isfinite(repaired.cube.data[i]).all() if good.any() else np.isnan(repaired.cube.data[i]).all()
        np.testing.assert_array_equal(repaired.cube.data[i][good], exposure.cube.data[i][good])
    np.testing.assert_array_equal(data, before)
    assert "px" in exposure._repr_html_()


def test_an_exposure_survives_pickling_and_stays_read_only():
    import pickle

    exposure = Exposure(np.ones((2, 3, 4)), err=np.ones((2, 3, 4)), variances={"rnoise": np.ones((2, 3, 4))})
    again = pickle.loads(pickle.dumps(exposure))
    np.testing.assert_array_equal(again.data, exposure.data)
    assert again.variances["rnoise"].shape == (2, 3, 4)
    assert not again.data.flags.writeable


def test_a_star_off_the_reference_pixel_is_found_again(tmp_path):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crpix, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [9.0, 9.0], [-1.75e-5, 1.75e-5]
    exposure = Exposure(np.ones((16, 16)), wcs=wcs, meta=Meta(center=(7.25, 8.5)))
    assert Exposure.read(exposure.save(tmp_path / "x.fits")).center == (7.25, 8.5)


def test_angles_follow_their_integrations():
    cube = Exposure(np.arange(60.0).reshape(3, 5, 4), angles=[350, 10, 30], meta=Meta(center=(1.0, 2.0)))
    assert cube.angles.dtype == np.float64
    assert not cube.angles.flags.writeable
    assert cube.select([2, 0]).angles.tolist() == [30.0, 350.0]
    assert cube.select(np.array([False, True, False])).angles.tolist() == [10.0]
    for same in (cube.crop(3), cube.mask(cube.data > 7), cube.repair(), cube.with_(err=cube.data), cube.cube):
        assert same.angles.tolist() == [350.0, 10.0, 30.0]
    deep = Exposure(np.ones((2, 2, 5, 4)), angles=[1.0, 2.0, 3.0, 4.0])
    assert deep.cube.select(3).angles.tolist() == [4.0]
    assert Exposure(np.ones((3, 5, 4)), angles=7.5).angles.tolist() == [7.5, 7.5, 7.5]
    assert Exposure(np.ones((5, 4)), angles=7.5).position_angles.tolist() == [7.5]
    assert Exposure(np.ones((5, 4))).position_angles is None
    assert pickle.loads(pickle.dumps(cube)).angles.tolist() == [350.0, 10.0, 30.0]
    assert "350.00" in repr(cube)


def test_the_caller_may_change_the_angles_afterwards():
    angles = np.array([1.0, 2.0])
    cube = Exposure(np.ones((2, 5, 4)), angles=angles)
    angles[0] = 99.0
    assert cube.angles.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("angles", "message"),
    [
        ([1.0, 2.0], r"3 integration\(s\) need as many angles, found an array of shape \(2,\)"),
        ([[1.0, 2.0, 3.0]], r"found an array of shape \(1, 3\)"),
        ([1.0, np.nan, np.inf], r"the angles of integration\(s\) \[1, 2\] aren't finite"),
        (["a", "b", "c"], "angles should be numbers in degrees, found <U1"),
    ],
)
def test_angles_that_fit_no_integration_are_refused(angles, message):
    with pytest.raises(DataError, match=message):
        Exposure(np.ones((3, 5, 4)), angles=angles)
    with pytest.raises(DataError, match=message):
        Exposure(np.ones((3, 5, 4))).with_(angles=angles)


@pytest.mark.parametrize("roll", [0.0, 10.0, 200.0, 350.0])
@pytest.mark.parametrize("parity", [1, -1])
def test_position_angles_come_from_the_wcs(roll, parity):
    turn = np.radians(roll)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [311.29, 78.0], [3.0, 2.0]
    wcs.wcs.cd = 1e-5 * np.array([[-parity * np.cos(turn), np.sin(turn)], [parity * np.sin(turn), np.cos(turn)]])
    exposure = Exposure(np.ones((2, 5, 4)), wcs=wcs, meta=Meta(center=(2.0, 1.0)))
    star, up = wcs.pixel_to_world([2.0, 2.0], [1.0, 2.0])
    np.testing.assert_allclose(exposure.position_angles, star.position_angle(up).deg, atol=1e-6)
    np.testing.assert_allclose((exposure.position_angles - roll + 180) % 360, 180, atol=1e-3)
    assert exposure.angles is None
    assert exposure.with_(angles=5.0).position_angles.tolist() == [5.0, 5.0]


def test_a_level_is_taken_off_each_integration():
    rng = np.random.default_rng(2)
    data = rng.normal(0, 1.0, (3, 48, 48)).astype(np.float32)
    data[0, 5, 5] = np.nan
    offsets = np.array([5.0, -3.0, 100.0])
    given = Exposure(
        (data + offsets[:, None, None]).astype(np.float32), err=np.ones(data.shape), source="exposure('a')"
    )
    made = given.subtract_level(beyond=15)
    assert made.data.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(made.data), np.isnan(data))
    np.testing.assert_allclose(np.nanmean(given.data - made.data, axis=(1, 2)), offsets, atol=0.15)
    assert made.source == "exposure('a').subtract_level(beyond=15)"
    assert made.meta.card("S_BKDSUB") == "COMPLETE"
    np.testing.assert_array_equal(made.err, given.err)
    flat = Exposure(given.data[2]).subtract_level()
    assert flat.shape == (48, 48)
    assert abs(np.nanmedian(flat.data)) < 0.2
    with pytest.raises(DataError, match="fewer than 100 good pixels there"):
        given.subtract_level(beyond=100)
    with pytest.raises(DataError, match="a level is taken from images"):
        Exposure(np.ones((1, 2, 8, 8))).subtract_level()
