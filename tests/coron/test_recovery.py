"""Companions of known place in a combined image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u

from corontools import DataError, Exposure, Meta
from corontools.coron.combined import CombinedImage, combine
from corontools.coron.recovery import injection_grid, masked, place, recover
from corontools.simulate import Companion

SCALE, SHAPE, STAR = 0.0626, (121, 121), (60.0, 60.0)
META = Meta(instrument="NIRCAM", filter="F444W", wavelength=4.421e-6, pixel_scale=SCALE, center=STAR)
KNOWN = (Companion(1.5, 90.0, 1e-4), Companion(2.0, 215.0, 5e-5))


def made(companions, *, peak=20.0, off=(0.0, 0.0), meta=META):
    """Noise of 1 with Gaussian companions, each `off` px from its place: east is to the left."""
    rng = np.random.default_rng(1)
    y, x = np.indices(SHAPE)
    data = rng.normal(size=SHAPE)
    for c in companions:
        east, north = c.sep * np.sin(np.radians(c.pa)) / SCALE, c.sep * np.cos(np.radians(c.pa)) / SCALE
        at = STAR[0] - east + off[0], STAR[1] + north + off[1]
        data += peak * np.exp(-4 * np.log(2) * ((x - at[0]) ** 2 + (y - at[1]) ** 2) / META.fwhm**2)
    image = Exposure(data, err=np.ones(SHAPE), meta=meta)
    return CombinedImage(image=image, weight=np.ones(SHAPE), count=np.ones(SHAPE, int))


def test_east_is_left_and_north_is_up():
    at = {pa: place(Companion(1.0, pa, 1.0), center=(10.0, 20.0), pixel_scale=0.5) for pa in (0, 90, 180, 270)}
    np.testing.assert_allclose([at[0], at[90], at[180], at[270]], [(10, 22), (8, 20), (10, 18), (12, 20)], atol=1e-12)


def test_companions_are_found_where_they_are_with_their_signal_to_noise():
    for one, known in zip(recover(made(KNOWN), KNOWN), KNOWN, strict=True):
        assert one.offset < 0.2
        assert one.sep == pytest.approx(known.sep, abs=0.2 * SCALE)
        assert one.pa == pytest.approx(known.pa, abs=np.degrees(0.2 * SCALE / known.sep))
        assert one.pixel_snr == pytest.approx(20.0, abs=3.5)
        assert one.snr > 10
        assert one.false_alarm < 1e-9


def test_an_offset_is_measured_from_the_known_place():
    one = recover(made(KNOWN[:1], peak=60.0, off=(1.2, -0.9)), KNOWN[:1])[0]
    assert one.offset == pytest.approx(1.5, abs=0.1)
    assert one.sep == pytest.approx(np.hypot(KNOWN[0].sep - 1.2 * SCALE, 0.9 * SCALE), abs=0.1 * SCALE)


def test_another_companion_at_the_same_separation_does_not_count_as_noise():
    pair = (Companion(1.5, 90.0, 1e-4), Companion(1.5, 270.0, 1e-4))
    alone = recover(made(pair[:1]), pair[:1])[0].snr
    together = recover(made(pair), pair)[0].snr
    assert together == pytest.approx(alone, rel=0.15)
    assert recover(made(pair), pair[:1])[0].snr < 0.8 * alone  # where the other isn't known, it does


def test_pixels_about_companions_are_masked_and_no_others():
    image = masked(made(KNOWN), KNOWN)
    for known in KNOWN:
        x, y = place(known, center=STAR, pixel_scale=SCALE)
        assert np.isnan(image[round(y), round(x)])
    assert np.count_nonzero(np.isnan(image)) == pytest.approx(2 * np.pi * (2 * META.fwhm) ** 2, rel=0.1)


def test_a_companion_outside_the_image_is_not_found():
    one = recover(made(()), [Companion(30.0, 10.0, 1.0)])[0]
    assert np.isnan([one.x, one.sep, one.snr, one.pixel_snr]).all()


@pytest.mark.parametrize(
    ("change", "words"), [({"pixel_scale": None}, "pixel scale"), ({"wavelength": None, "filter": ""}, "width")]
)
def test_what_is_not_known_of_the_image_is_named(change, words):
    with pytest.raises(DataError, match=words):
        recover(made((), meta=replace(META, **change)), KNOWN)


def test_sources_are_recovered_by_their_places_as_a_table():
    table = made(KNOWN).recover(sep=[c.sep for c in KNOWN], pa=[c.pa for c in KNOWN])
    found = recover(made(KNOWN), KNOWN)
    assert table["snr"].tolist() == [one.snr for one in found]
    assert table["found_sep"].to_value("arcsec").tolist() == [one.sep for one in found]
    assert table["offset"].to_value("pix").max() < 0.2
    with pytest.raises(DataError, match="sep x 2, pa x 3"):
        made(KNOWN).recover(sep=[1.0, 2.0], pa=[1.0, 2.0, 3.0])


def test_a_grid_of_injections_is_that_of_each_alone(tiny_run):
    found = injection_grid(tiny_run.klips, [30.0, 90.0], sep=[0.5, 0.7], pa=[80.0, 200.0])
    assert found["flux"].tolist() == [30.0] * 4 + [90.0] * 4
    assert found["sep"].value.tolist() == [0.5, 0.5, 0.7, 0.7] * 2
    one = combine([klip.inject(90.0, sep=0.7, pa=80.0) for klip in tiny_run.klips]).recover(sep=0.7, pa=80.0)[0]
    for name in one.colnames:  # in a copy of the results sums run in another order
        np.testing.assert_allclose(u.Quantity(found[6][name]).value, u.Quantity(one[name]).value, rtol=1e-9, atol=1e-12)
    assert found["snr"][6] > found["snr"][2]
