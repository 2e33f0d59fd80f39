"""Calibrated contrast: limits that mean what they say."""

import numpy as np
import pytest
from astropy.table import QTable

from corontools import DataError, PSFStack, Source, replay
from corontools.arrays.radial import student_factor
from corontools.coron.contrast import measure
from corontools.exposure import Exposure
from corontools.simulate import null

PSF = Source.gaussian(2.5)


@pytest.fixture(scope="module")
def klip():
    science, references = null(3, 20, shape=80)
    return PSFStack.from_exposures([references]).align_to(science, to="none").klip(15)


@pytest.fixture(scope="module")
def found(klip):
    return klip.detection_map(PSF, modes=[1, 5, 10, 15])


def test_a_source_at_the_limit_has_the_signal_to_noise_that_was_asked_for(klip, found):
    contrast = found.contrast(1000.0, statistics="gaussian")
    for x, y in ((60, 41), (25, 55)):
        flux = contrast.image[1, y, x] * 1000.0
        there = klip.inject(flux, position=(x, y), psf=PSF).detection_map(PSF, modes=[5])
        gained = there.flux[0, y, x] - found.flux[1, y, x]
        assert gained / found.err[1, y, x] == pytest.approx(5.0, rel=1e-6)


def test_few_elements_are_allowed_for_and_masked_ones_do_not_count(found):
    gauss, student = found.contrast(1.0, statistics="gaussian"), found.contrast(1.0)
    inside = student.radius < 38  # farther out rings leave the image
    np.testing.assert_allclose(student.elements[inside], 2 * np.pi * student.radius[inside] / 2.5, rtol=0.25)
    known = np.isfinite(student.limit).all(axis=0)
    assert known.sum() > 10
    factor = student_factor(5, student.elements) / 5
    np.testing.assert_allclose((student.limit / gauss.limit)[:, known], np.tile(factor[known], (4, 1)), rtol=1e-12)
    half = np.zeros(found.masked.shape, bool)
    half[:, :40] = True
    fewer = found.exclude(mask=half).contrast(1.0)
    np.testing.assert_allclose(fewer.elements[5:12], student.elements[5:12] / 2, rtol=0.15)


def test_the_curve_is_the_median_of_the_map_and_scales_with_the_star(found):
    one, ten = found.contrast(1.0), found.contrast(10.0)
    np.testing.assert_allclose(one.limit, 10 * ten.limit)
    y, x = np.mgrid[:80, :80]
    ring = (np.hypot(x - found.center[0], y - found.center[1]) // 2.5).astype(int)
    for i in (4, 8):
        np.testing.assert_allclose(one.limit[:, i], np.nanmedian(one.image[:, ring == i], axis=1), rtol=0.15)
        np.testing.assert_allclose(one.throughput[:, i], np.nanmedian(found.throughput[:, ring == i], axis=1))
    magnitude = found.contrast(star_magnitude=5.0, zero_point=7.5)
    np.testing.assert_allclose(magnitude.limit, ten.limit, rtol=1e-12)


def test_it_is_what_a_contrast_curve_is_calibrated_to(klip, found):
    curve = klip.contrast().sigma(3, statistics="gaussian", fwhm=2.5)
    made = curve.calibrate(7.0, PSF, modes=[1, 5, 10, 15])
    np.testing.assert_array_equal(made.limit, found.contrast(7.0, level=3, statistics="gaussian").limit)
    assert klip.contrast().calibrate(7.0, PSF, modes=[5]).level == 5
    assert ".calibrate(7.0, Source.gaussian(2.5)" in made.history[-1]


def test_more_modes_take_more_of_a_source(found):
    contrast = found.contrast(1.0)
    assert (np.diff(contrast.throughput[:, 2:], axis=0) < 0).all()
    assert (contrast.throughput[:, 2:] > 0).all()
    assert (contrast.throughput <= 1).all()


def test_the_best_number_of_modes_has_the_deepest_limit(found):
    contrast = found.contrast(1.0)
    choice = contrast.best_modes()
    known = np.isfinite(contrast.limit).all(axis=0)
    at = np.argmin(contrast.limit[:, known], axis=0)
    assert choice.best[known].tolist() == contrast.modes[at].tolist()
    np.testing.assert_allclose(choice.limit[known], contrast.limit[:, known].min(axis=0))
    assert (choice.best[~known] == 0).all()
    one = contrast.best_modes(float(contrast.sep[6]))
    assert one.best[0] == choice.best[6]
    assert one.table["modes"][0] == choice.best[6]
    with pytest.raises(DataError, match="outside the rings"):
        contrast.best_modes(1e3)


@pytest.mark.parametrize("suffix", ["ecsv", "fits"])
def test_the_table_comes_back_from_a_file(found, tmp_path, suffix):
    contrast = found.contrast(star_flux=12.5)
    path = contrast.save(tmp_path / f"limits.{suffix}")
    back = QTable.read(path) if suffix == "ecsv" else QTable.read(path, hdu="CONTRAST")
    table = contrast.table
    assert back.colnames == table.colnames
    for name in table.colnames:
        np.testing.assert_array_equal(np.asarray(back[name]), np.asarray(table[name]))
        assert getattr(back[name], "unit", None) == getattr(table[name], "unit", None)
    names = {"ecsv": ("level", "star_flux", "statistics"), "fits": ("LEVEL", "STARFLUX", "STATISTI")}[suffix]
    assert [back.meta[name] for name in names] == [5.0, 12.5, "student"]
    with pytest.raises(FileExistsError, match="exists"):
        contrast.save(path)
    with pytest.raises(DataError, match="written as"):
        contrast.save(tmp_path / "limits.txt")


@pytest.mark.parametrize(
    ("star", "words"),
    [
        ({}, "give the star once"),
        ({"star_flux": 1.0, "star_magnitude": 3.0, "zero_point": 25.0}, "give the star once"),
        ({"star_magnitude": 3.0}, "give the star once"),
        ({"star_flux": 0.0}, "positive"),
        ({"star_flux": -3.0}, "positive"),
        ({"star_flux": np.nan}, "positive"),
        ({"star_flux": 1.0, "level": 0.0}, "positive number of sigma"),
        ({"star_flux": 1.0, "statistics": "poisson"}, "student"),
    ],
)
def test_what_cannot_be_is_said(found, star, words):
    with pytest.raises(DataError, match=words):
        found.contrast(**star)


def test_a_curve_without_its_subtraction_says_so():
    curve = measure(Exposure(np.random.default_rng(1).normal(size=(41, 41))), width=2, center="image")
    with pytest.raises(DataError, match="isn't known"):
        curve.calibrate(1.0, PSF)


def test_cards_are_readable_and_hold_no_widget(found):
    contrast = found.contrast(1e4)
    for result, word in ((found, "highest S/N"), (contrast, "5 sigma"), (contrast.best_modes(), "modes,")):
        assert word in repr(result)
        assert "<img" in result._repr_html_()
        assert "<script" not in result._repr_html_()


def test_the_chain_is_replayed(tmp_path):
    from corontools.simulate import tiny

    folder = tiny().write(tmp_path)
    asn = next(folder.glob("*.json")) if folder.is_dir() else folder
    chain = (
        PSFStack.from_asn(asn)
        .align_to(Exposure.read(sorted(tmp_path.rglob("*calints.fits"))[0]), to="none")
        .klip(4)
        .detection_map(PSF, modes=[2, 4])
        .exclude([(30.0, 30.0)])
        .contrast(1e3)
    )
    again = replay(chain.history)
    assert again.digest() == chain.digest()
