import numpy as np
import pytest
from scipy import stats

from corontools import DataError, Exposure, Meta
from corontools.coron.contrast import measure

META = Meta(instrument="NIRCAM", filter="F444W", pixel_scale=0.063, wavelength=4.42e-6, unit="MJy/sr", target="star")


@pytest.fixture
def curve():
    image = np.random.default_rng(0).normal(scale=3.0, size=(121, 101))
    return measure(Exposure(image, meta=META.with_(center=(48.0, 60.0))), width=2, center="star")


def test_noise_is_measured_around_the_star(curve):
    assert curve.radius[0] == 1
    assert curve.radius[-1] == 47
    np.testing.assert_allclose(curve.noise[5:], 3.0, rtol=0.15)


def test_centres_by_name_and_by_place():
    image = Exposure(np.random.default_rng(0).normal(size=(31, 31)), meta=META.with_(center=(10.0, 12.0)))
    assert measure(image, width=2, center="star").radius.size == 5
    assert measure(image, width=2, center="image").radius.size == 8
    assert measure(image, width=2, center=(15, 15)).radius.size == 8
    with pytest.raises(DataError, match="'star', 'image' or"):
        measure(image, width=2, center="middle")


def test_five_sigma_allow_for_the_few_elements_of_a_ring(curve):
    limit = curve.sigma(5).limit
    i = 6
    n = np.floor(2 * np.pi * curve.radius[i] / META.fwhm)
    student = stats.t.isf(stats.norm.sf(5), n - 1) * np.sqrt(1 + 1 / n)
    unbiased = np.sqrt(curve.count[i] / (curve.count[i] - 1))
    np.testing.assert_allclose(limit[i], curve.noise[i] * unbiased * student)
    assert (limit[5:] > 5 * curve.noise[5:]).all()


def test_gaussian_limits_are_quantiles_of_the_normal_distribution(curve):
    for level in (3, 5):
        limit = curve.sigma(level, statistics="gaussian").limit
        unbiased = curve.noise * np.sqrt(curve.count / (curve.count - 1))
        np.testing.assert_allclose(limit, stats.norm.isf(stats.norm.sf(level), scale=unbiased))


def test_gaussian_limits_are_lower_near_the_star_and_alike_far_out(curve):
    student, plain = curve.sigma(5), curve.sigma(5, statistics="gaussian")
    assert student.limit[2] > 2 * plain.limit[2]
    np.testing.assert_allclose(student.limit[-1], plain.limit[-1], rtol=0.15)
    np.testing.assert_array_equal(plain.sigma(5).limit, student.limit)
    assert plain.name == "5-sigma limit, Gaussian (MJy/sr)"
    assert (student.table.meta["statistics"], plain.table.meta["statistics"]) == ("student", "gaussian")


def test_gaussian_limits_need_no_width_of_the_psf(curve):
    unknown = curve.with_(meta=Meta()).sigma(5, statistics="gaussian")
    np.testing.assert_array_equal(unknown.limit, curve.sigma(5, statistics="gaussian").limit)
    assert unknown.fwhm is None
    with pytest.raises(DataError, match="'student' or 'gaussian', found 'poisson'"):
        curve.sigma(5, statistics="poisson")


def test_the_width_of_the_psf_is_needed_and_can_be_given(curve):
    unknown = curve.with_(meta=Meta())
    with pytest.raises(DataError, match=r"sigma\(level, fwhm=<px>\)"):
        unknown.sigma(5)
    np.testing.assert_allclose(unknown.sigma(5, fwhm=META.fwhm).limit, curve.sigma(5).limit)
    with pytest.raises(DataError, match="positive number of sigma"):
        curve.sigma(0)


def test_contrast_is_in_units_of_the_star(curve):
    np.testing.assert_allclose(curve.sigma(5).normalize(2e5).limit, curve.sigma(5).limit / 2e5)
    with pytest.raises(DataError, match="should be positive"):
        curve.normalize(0)


def test_the_table_has_units_and_survives_a_file(curve, tmp_path):
    from astropy.table import QTable

    table = curve.sigma(5).normalize(1e5).table
    assert table.colnames == ["radius", "sep", "noise", "count", "limit"]
    assert str(table["sep"].unit) == "arcsec"
    again = QTable.read(curve.sigma(5).save(tmp_path / "c.ecsv"))
    np.testing.assert_allclose(again["limit"].value, curve.sigma(5).limit, equal_nan=True)
    with pytest.raises(DataError, match=r"\.fits, \.ecsv or \.csv"):
        curve.save(tmp_path / "c.txt")


def test_the_product_has_the_two_columns_of_the_hlsp_task(curve, tmp_path):
    from astropy.io import fits

    with fits.open(curve.sigma(5).save(tmp_path / "x_contrast.fits")) as hdus:
        table = hdus["CONTRAST"].data
        assert table.columns.names == ["radius", "sigma"]
        np.testing.assert_allclose(table["sigma"], curve.noise, rtol=1e-6)
