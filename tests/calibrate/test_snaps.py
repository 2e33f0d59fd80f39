import numpy as np
import pytest
from astropy.io import fits

from corontools import DQ, DataError, Exposure, Meta
from corontools.calibrate.snaps import SnapCombiner
from corontools.simulate import star_field
from corontools.simulate.field_detector import FieldDetector


def snap(value, err=1.0, dq=0, **meta):
    shape = (4, 5)
    return Exposure(np.full(shape, value), err=np.full(shape, err), dq=np.full(shape, dq, np.uint32), meta=Meta(**meta))


def test_snaps_of_a_field_have_the_flux_scale_and_noise_of_the_whole():
    field = star_field(256, snaps=2, seed=3, detector=FieldDetector(cosmic_rays=0, full_well=1e6))
    both = SnapCombiner().combine(field.exposures)
    ok = both.dq == 0
    pulls = (both.data - field.truth.light)[ok] / np.sqrt(field.truth.variance[ok])
    assert abs(pulls.mean()) < 5 / np.sqrt(pulls.size)
    assert pulls.std() == pytest.approx(1, abs=0.02)
    assert np.mean(both.variance[ok] / field.truth.variance[ok]) == pytest.approx(1, rel=0.01)
    assert both.data.dtype == np.float32
    assert both.meta.exposure_time == 30
    assert both.meta.mjd == pytest.approx(np.mean([e.meta.mjd for e in field.exposures]))
    assert both.meta.filename == field.exposures[0].meta.filename
    assert both.meta.card("EFFEXPTM") == 30


def test_where_one_is_bad_the_other_counts_twice():
    first, second = snap(3.0, err=1.0), snap(5.0, err=2.0, dq=DQ.SATURATED)
    bad = np.zeros((4, 5), bool)
    bad[1, 2] = True
    lost = np.array(second.data)
    lost[3, 3] = np.nan
    both = SnapCombiner().combine([first.mask(bad), second.with_(data=lost)])
    assert both.data[0, 0] == 8
    assert both.variance[0, 0] == pytest.approx(5)
    assert (both.data[1, 2], both.variance[1, 2], both.dq[1, 2]) == (10, 16, DQ.SATURATED)
    assert (both.data[3, 3], both.variance[3, 3], both.dq[3, 3]) == (6, 4, 0)
    plain = SnapCombiner(bad=0).combine([first.mask(bad), second])
    assert (plain.data[1, 2], plain.dq[1, 2]) == (8, DQ.SATURATED | DQ.DO_NOT_USE)


def test_the_mean_of_many_pixels_is_the_same_whichever_snap_is_bad():
    rng = np.random.default_rng(1)
    shape = (200, 200)
    snaps = [
        Exposure(rng.normal(50, 2, shape), err=np.full(shape, 2.0)).mask(rng.random(shape) < 0.2) for _ in range(2)
    ]
    both = SnapCombiner().combine(snaps)
    for where in (snaps[0].good & snaps[1].good, snaps[0].good ^ snaps[1].good):
        pulls = (both.data - 100)[where] / both.err[where]
        assert abs(pulls.mean()) < 5 / np.sqrt(pulls.size)
        assert pulls.std() == pytest.approx(1, abs=0.03)
    neither = ~snaps[0].good & ~snaps[1].good
    assert np.all(both.dq[neither] == DQ.DO_NOT_USE)
    np.testing.assert_allclose(both.data[neither], (snaps[0].data + snaps[1].data)[neither])


def test_no_data_is_left_only_where_neither_has_any():
    lost = np.full((4, 5), 2.0)
    lost[0, 0] = np.nan
    first = snap(2.0).with_(data=lost)
    both = SnapCombiner().combine([first, first.with_(data=np.array(lost))])
    assert np.isnan(both.data[0, 0])
    assert np.isnan(both.err[0, 0])
    assert both.dq[0, 0] == DQ.NON_SCIENCE | DQ.DO_NOT_USE
    assert np.isfinite(both.data).sum() == 19


def test_unequal_times_keep_the_scale():
    first, second = snap(10.0, exposure_time=10.0), snap(30.0, exposure_time=30.0, err=2.0)
    bad = np.zeros((4, 5), bool)
    bad[0, 0] = True
    one, other = SnapCombiner().combine([first.mask(bad), second]), SnapCombiner().combine([first, second.mask(bad)])
    for both in (one, other):
        np.testing.assert_allclose(both.data, 40)
        assert both.meta.exposure_time == 40
    assert one.err[0, 0] == pytest.approx(2 * 40 / 30)
    assert other.err[0, 0] == pytest.approx(4)


def test_headers_tell_the_time_of_both():
    science, primary = fits.Header({"EFFEXPTM": 15.0}), fits.Header({"EXPTIME": 15.0, "VISIT": 7})
    first = snap(1.0, exposure_time=15.0, mjd=100.0, science=science, primary=primary)
    both = SnapCombiner().combine([first, snap(1.0, exposure_time=15.0, mjd=102.0)])
    assert [both.meta.card(key) for key in ("EFFEXPTM", "EXPTIME", "EXPMID", "VISIT")] == [30, 30, 101, 7]
    assert science["EFFEXPTM"] == primary["EXPTIME"] == 15


def test_one_exposure_is_handed_on():
    one = snap(1.0)
    assert SnapCombiner().combine(one) is one
    assert SnapCombiner().combine([one]) is one


@pytest.mark.parametrize("n", [0, 3])
def test_other_numbers_of_snaps_are_refused(n):
    with pytest.raises(DataError, match=f"one exposure or two snaps, found {n}"):
        SnapCombiner().combine([snap(1.0)] * n)


def test_snaps_that_do_not_belong_together_are_refused():
    first = snap(1.0, unit="ct", filter="r")
    for other, what in [
        (snap(1.0, unit="ct", filter="i"), "filter, found r and i"),
        (snap(1.0, unit="DN", filter="r"), "unit, found ct and DN"),
        (Exposure(np.ones((4, 6)), err=np.ones((4, 6)), meta=first.meta), "shape"),
        (first.with_(err=None), "1 images without errors"),
        (Exposure(np.ones((2, 4, 5)), err=np.ones((2, 4, 5)), meta=first.meta), "2 images with errors"),
    ]:
        with pytest.raises(DataError, match=what):
            SnapCombiner().combine([first, other])
    here, there = (star_field(64, offset=offset).exposures[0] for offset in (0.0, 3.0))
    with pytest.raises(DataError, match="see the same place, these are 15 px apart"):
        SnapCombiner().combine([here, there])


def test_the_header_has_the_read_noise_of_both():
    snaps = star_field(64, snaps=2).exposures
    both = SnapCombiner().combine(snaps)
    assert both.meta.card("RDNOISE") == pytest.approx(snaps[0].meta.card("RDNOISE") * 2**0.5)
    assert SnapCombiner().combine(snaps[0]).meta.card("RDNOISE") == snaps[0].meta.card("RDNOISE")
