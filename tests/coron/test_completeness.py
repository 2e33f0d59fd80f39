"""Completeness, ROC and false alarms, against sources that are injected one by one."""

import numpy as np
import pytest

from corontools import DataError, PSFStack, Source
from corontools.arrays.radial import student_factor
from corontools.simulate import null

PSF = Source.gaussian(2.3)


@pytest.fixture(scope="module")
def aligned():
    science, references = null(3, 16, shape=80, seed=2)
    return PSFStack.from_exposures([references]).align_to(science, to="none")


@pytest.fixture(scope="module")
def klip(aligned):
    return aligned.klip(10)


@pytest.fixture(scope="module")
def found(klip):
    return klip.detection_map(PSF, modes=[5, 10])


def test_sources_that_are_injected_are_found_as_often_as_told(klip, found):
    complete = found.completeness(100.0)
    ring, star = 9, 100.0
    contrast = float(complete.limit(0.6)[1, ring])
    y, x = np.indices(found.masked.shape)
    r = np.hypot(x - found.center[0], y - found.center[1])
    there = np.argwhere((r / found.fwhm).astype(int) == ring)
    threshold = student_factor(5.0, found.scatter.elements)[ring]
    hits = []
    for row, column in there[np.random.default_rng(1).choice(len(there), 60, replace=False)]:
        seen = klip.inject(contrast * star, position=(column, row), psf=PSF).detection_map(PSF, modes=[10])
        # its own light is no noise
        hits.append(seen.exclude([(column, row)]).snr[0, row, column] > threshold)
    assert complete.found(contrast)[0, 1, ring] == pytest.approx(0.6, abs=0.01)
    assert np.mean(hits) == pytest.approx(0.6, abs=0.15)


def test_shares_and_limits_are_each_other_backwards_and_grow(found):
    complete = found.completeness(1.0)
    half, most = complete.limit(0.5), complete.limit(0.95)
    known = np.isfinite(half)
    assert known.sum() > 20
    assert (most[known] > half[known]).all()
    shares = complete.found([0.0, float(np.nanmax(most)) * 10])
    assert (shares[0][known] < 0.05).all()
    assert (shares[1][known] == 1).all()
    # half of the sources at the limit of the contrast curve are found: noise moves them up or down
    limit = found.contrast(1.0).limit
    inner = slice(4, 14)
    np.testing.assert_allclose(half[:, inner], limit[:, inner], rtol=0.15)


def test_a_threshold_trades_false_alarms_for_sources(found):
    y, x = np.indices(found.masked.shape)
    r = np.hypot(x - found.center[0], y - found.center[1])
    flux = float(4 * np.nanmedian(found.err[1][(r > 25) & (r < 30)]))
    table = found.roc(flux, within=(25, 30), modes=10)
    assert (np.diff(table["false_positive"]) <= 0).all()
    assert (table["true_positive"] >= table["false_positive"]).all()
    at = np.searchsorted(table["threshold"], 3.0)
    assert table["false_positive"][at] < 0.02
    assert table["true_positive"][at] > 0.5
    nothing = found.roc(0.0, within=(25, 30), modes=10)
    np.testing.assert_array_equal(nothing["true_positive"], nothing["false_positive"])


def test_a_reference_is_taken_as_science_with_the_rest(aligned):
    one = aligned.as_science(3)
    assert (one.n_int, one.n_ref) == (1, 15)
    assert not any("[3]" in member for member in one.stack.members)
    np.testing.assert_array_equal(one.target.data[0], aligned[0].data[3])
    assert one.history[-1] == ".as_science(3)"


def test_noise_of_references_is_no_source_more_often_than_it_should_be(aligned):
    alarms = aligned.false_alarms(5, psf=PSF, thresholds=(2, 3))
    assert alarms.rate.shape == (16, 2)
    # speckles have heavier tails than a Gaussian: 1.2 and 3.3 times its rate here
    assert (alarms.rate.mean(axis=0) < 5 * alarms.expected).all()
    assert (alarms.rate.mean(axis=0) > 0.5 * alarms.expected).all()
    assert alarms.table.colnames == ["threshold", "rate", "highest", "expected"]
    assert "of the pixels" in repr(alarms)


def test_cards(found):
    complete = found.completeness(10.0)
    assert "95 % at" in repr(complete)
    assert "<img" in complete._repr_html_()


def test_what_cannot_be_is_said(aligned, found):
    with pytest.raises(DataError, match="give the star once"):
        found.completeness()
    with pytest.raises(DataError, match="positive number of sigma"):
        found.completeness(1.0, level=-1)
    with pytest.raises(DataError, match="between 0 and 1"):
        found.completeness(1.0).limit(1.5)
    with pytest.raises(DataError, match="no pixel from"):
        found.roc(1.0, within=(500, 600), modes=5)
    with pytest.raises(DataError, match="no map of 7"):
        found.roc(1.0, within=(5, 6), modes=7)
    with pytest.raises(DataError, match="does not exist"):
        aligned.as_science(99)
