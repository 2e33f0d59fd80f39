"""Which way stripes run, and how many amplifiers read a line."""

from __future__ import annotations

import numpy as np
import pytest

from corontools import DataError, Exposure, Meta
from corontools.flicker import Readout


def image(meta, shape=(16, 32)):
    return Exposure(np.broadcast_to(np.float32(1), shape), meta=meta)


@pytest.mark.parametrize(
    ("mode", "slowaxis", "axis"),
    [("NRC_IMAGE", 2, 1), ("NRC_CORON", -2, 1), ("NIS_IMAGE", -1, 0), ("NRS_IFU", 1, 0), ("MIR_IMAGE", 2, 0)],
)
def test_the_slow_axis_tells_how_stripes_run(meta, mode, slowaxis, axis):
    assert Readout.of(image(meta(mode, slowaxis))).axis == axis


@pytest.mark.parametrize(("instrument", "axis"), [("NIRCAM", 1), ("NIRISS", 0), ("NIRSPEC", 0), ("MIRI", 0)])
def test_a_known_instrument_will_do(instrument, axis):
    readout = Readout.of(image(Meta(instrument=instrument)))
    assert readout.axis == axis
    assert readout.stripes == ("rows" if axis else "columns")


def test_the_argument_counts_more_than_the_header(meta):
    assert Readout.of(image(meta("NRC_IMAGE", 2)), axis=0).axis == 0


def test_an_impossible_slow_axis_is_told(meta):
    with pytest.raises(DataError, match="SLOWAXIS should be 1 or 2 with either sign, found 3"):
        Readout.of(image(meta("NRC_IMAGE", 3)))


def test_full_near_infrared_frames_have_four_amplifiers(meta):
    full = (2048, 2048)
    assert Readout.of(image(meta(), full)).channels == 4
    assert Readout.of(image(meta(SUBARRAY="SUB2048"), full)).channels == 1
    assert Readout.of(image(meta("MIR_IMAGE", 1), full)).channels == 1
    assert Readout.of(image(meta())).channels == 1
    assert Readout.of(image(meta()), channels=4).channels == 4
    for channels in (3, 0, -4, 2.0, "4"):
        with pytest.raises(DataError, match=f"can't be cut into {channels!r} equal channels"):
            Readout.of(image(meta()), channels=channels)


def test_subarrays_know_their_place(meta):
    assert Readout.of(image(meta(SUBSTRT1=3, SUBSTRT2=11))).corner == (2, 10)
    with pytest.raises(DataError, match=r"SUBSTRT2 should be a whole number .* found 'top'"):
        Readout.of(image(meta(SUBSTRT2="top")))
