"""Sources in a noisy image: peaks and small-sample S/N."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from corontools.arrays.apertures import aperture_means, aperture_snr, peak_near, ring_positions
from corontools.errors import DataError

FWHM = 3.0


def sampled_mean(image, x, y, radius, *, fine=60):
    """Mean in an aperture by a fine grid of points in every pixel."""
    offsets = (np.arange(fine) + 0.5) / fine - 0.5
    total = area = 0.0
    for row, column in np.ndindex(image.shape):
        if abs(row - y) > radius + 1 or abs(column - x) > radius + 1 or not np.isfinite(image[row, column]):
            continue
        inside = np.mean(np.hypot(column + offsets - x, row + offsets[:, None] - y) <= radius)
        total += inside * image[row, column]
        area += inside
    return total / area


def gaussian(shape, x, y, peak):
    rows, columns = np.indices(shape)
    return peak * np.exp(-4 * np.log(2) * ((columns - x) ** 2 + (rows - y) ** 2) / FWHM**2)


def test_means_are_those_of_a_fine_grid():
    image = np.random.default_rng(1).normal(10, 3, (20, 24))
    image[6, 7] = np.nan
    places = np.array([[6.3, 6.8], [15.0, 11.5], [0.2, 10.0]])
    for radius in (1.2, 3.0):
        expected = [sampled_mean(image, x, y, radius) for x, y in places]
        np.testing.assert_allclose(aperture_means(image, places, radius), expected, rtol=3e-3)


def test_an_aperture_that_is_mostly_without_data_has_no_mean():
    image = np.ones((20, 20))
    image[:, 12:] = np.nan
    places = np.array([[10.0, 10.0], [13.0, 10.0], [40.0, 10.0], [10.0, -30.0]])
    np.testing.assert_array_equal(np.isfinite(aperture_means(image, places, 2.0)), [True, False, False, False])


@pytest.mark.parametrize("sep", [1.6, 3.0, 9.7, 40.0])
def test_apertures_on_the_ring_do_not_overlap_and_leave_no_room_for_another(sep):
    at = ring_positions((sep, 0.0), center=(0.0, 0.0), fwhm=FWHM)
    np.testing.assert_allclose(np.hypot(*at.T), sep)
    distance = np.hypot(*(at[:, None] - at[None]).T) + 1e9 * np.eye(len(at))
    assert distance.min() >= FWHM - 1e-9
    assert 2 * sep * np.sin(np.pi / (len(at) + 1)) < FWHM  # one more would overlap its neighbours


def test_a_source_on_the_star_has_no_ring():
    assert ring_positions((5.5, 5.0), center=(5.0, 5.0), fwhm=FWHM).tolist() == [[5.5, 5.0]]
    assert np.isnan(aperture_snr(np.ones((11, 11)), (5.5, 5.0), center=(5.0, 5.0), fwhm=FWHM).snr)


def test_snr_is_the_two_sample_t_test_of_one_aperture_against_the_others():
    image = np.random.default_rng(2).normal(size=(61, 61)) + gaussian((61, 61), 42.0, 33.0, 5.0)
    found = aperture_snr(image, (42.0, 33.0), center=(30.0, 30.0), fwhm=FWHM)
    values = [sampled_mean(image, x, y, FWHM / 2) for x, y in ring_positions((42, 33), center=(30, 30), fwhm=FWHM)]
    test = stats.ttest_ind(values[:1], values[1:], alternative="greater")
    assert found.n == len(values) - 1 == 24
    assert found.snr == pytest.approx(test.statistic, rel=0.02)
    assert np.log(found.false_alarm) == pytest.approx(np.log(test.pvalue), rel=0.02)


def test_false_alarms_of_noise_are_as_frequent_as_they_say():
    rng = np.random.default_rng(3)  # apertures of many pixels, so that all are alike wherever their middles fall
    found = [
        aperture_snr(rng.normal(size=(61, 61)), (44.0, 30.0), center=(30.0, 30.0), fwhm=7.0).false_alarm
        for _ in range(400)
    ]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_masked_apertures_are_left_out():
    image = np.random.default_rng(4).normal(size=(61, 61))
    image[:, :25] = np.nan
    found = aperture_snr(image, (42.0, 30.0), center=(30.0, 30.0), fwhm=FWHM)
    everywhere = ring_positions((42.0, 30.0), center=(30.0, 30.0), fwhm=FWHM)
    assert found.n == np.count_nonzero(everywhere[1:, 0] > 24.5)


def test_width_must_be_positive():
    with pytest.raises(DataError, match="width of the PSF"):
        aperture_snr(np.ones((9, 9)), (2.0, 4.0), center=(4.0, 4.0), fwhm=0.0)


@pytest.mark.parametrize(("x", "y"), [(20.0, 14.0), (20.37, 14.81), (19.5, 15.49)])
def test_a_peak_is_found_to_a_few_hundredths_of_a_pixel(x, y):
    image = gaussian((32, 40), x, y, 100.0) + np.random.default_rng(5).normal(0, 0.5, (32, 40))
    image[16, 22] = np.nan
    assert peak_near(image, (19.0, 16.0), fwhm=FWHM, reach=5.0) == pytest.approx((x, y), abs=0.06)


def test_a_brighter_source_out_of_reach_is_not_taken():
    image = gaussian((40, 40), 20.2, 20.1, 10.0) + gaussian((40, 40), 31.0, 20.0, 500.0)
    assert peak_near(image, (20.0, 20.0), fwhm=FWHM, reach=4.0) == pytest.approx((20.2, 20.1), abs=0.05)


def test_a_slope_has_no_peak():
    slope = np.add.outer(np.zeros(30), np.arange(30.0))
    assert np.isnan(peak_near(slope, (15.0, 15.0), fwhm=FWHM, reach=4.0)).all()
    assert np.isnan(peak_near(np.full((30, 30), np.nan), (15.0, 15.0), fwhm=FWHM, reach=4.0)).all()
    assert np.isnan(peak_near(np.ones((30, 30)), (90.0, 15.0), fwhm=FWHM, reach=4.0)).all()
