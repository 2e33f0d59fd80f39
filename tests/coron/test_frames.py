"""The table of the images of a stack."""

import numpy as np
import pytest
from astropy import units as u

from corontools import DQ, DataError, Exposure, Meta, PSFStack
from corontools.simulate import tiny


def test_each_reference_has_its_numbers():
    rng = np.random.default_rng(1)
    data = 5 + rng.normal(size=(4, 60, 50)) * np.array([1, 2, 3, 4])[:, None, None]
    data[1, 3, 4], data[2, 7, 8] = 500, 900
    dq = np.zeros(data.shape, np.uint32)
    dq[2, 7, 8] = DQ.OUTLIER | DQ.DO_NOT_USE
    dq[3, :30] = DQ.DO_NOT_USE
    stack = PSFStack.from_exposures([Exposure(data, dq=dq, meta=Meta(target="a star", unit="MJy/sr"))])
    table = stack.statistics()
    assert table["median"].unit == u.MJy / u.sr
    np.testing.assert_allclose(table["median"].value, 5, atol=0.3)
    np.testing.assert_allclose(table["sigma"].value, [1, 2, 3, 4], rtol=0.05)
    assert table["peak"][1].value == 500
    assert table["peak"][2].value < 20
    np.testing.assert_allclose(table["good"], [1, 1, 1 - 1 / 3000, 0.5])
    assert table["outliers"].tolist() == [0, 0, 1, 0]
    assert table["member"].tolist() == list(stack.members)
    assert set(table["target"]) == {"a star"}


def test_correlation_is_that_with_the_others_or_with_the_science():
    sim = tiny()
    stack = PSFStack.from_exposures(sim.references)
    pairs = np.array([stack.correlation(stack.exposure.select(i))[0] for i in range(stack.n_ref)])
    others = ~np.eye(stack.n_ref, dtype=bool)
    expected = [row[keep].mean() for row, keep in zip(pairs, others, strict=True)]
    np.testing.assert_allclose(stack.statistics()["correlation"], expected, rtol=1e-9)
    like = stack.statistics(sim.science[0])["correlation"]
    np.testing.assert_allclose(like, stack.correlation(sim.science[0]).mean(axis=0))


def test_images_of_which_nothing_is_known_have_no_numbers():
    data = np.random.default_rng(1).normal(size=(3, 8, 8))
    data[1] = np.nan
    table = PSFStack.from_exposures([Exposure(data, meta=Meta(unit="counts per blink"))]).statistics()
    assert np.isnan([table[name][1].value for name in ("median", "sigma", "peak")]).all()
    assert np.isnan(table["correlation"][1])
    assert np.isfinite(table["correlation"][[0, 2]]).all()
    assert table.meta["unit"] == "counts per blink"
    alone = PSFStack.from_exposures([Exposure(data[:1])]).statistics()
    assert np.isnan(alone["correlation"]).all()


def test_a_science_image_of_another_shape_is_refused():
    stack = PSFStack.from_exposures([Exposure(np.ones((2, 8, 8)))])
    with pytest.raises(DataError, match="shape differs"):
        stack.statistics(Exposure(np.ones((9, 9))))
