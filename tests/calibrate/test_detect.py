"""Detection in simulated frames: completeness, tables that agree with the labels, and odd frames."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import KDTree

from corontools.calibrate.adaptive import AdaptiveDetector
from corontools.calibrate.background import BackgroundFitter
from corontools.calibrate.detect import SourceDetector
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import GaussianPSF
from corontools.errors import DataError
from corontools.simulate.field import star_field
from corontools.simulate.field_detector import FieldDetector

PSF = GaussianPSF.of_fwhm(4.0)


@pytest.fixture(scope="module")
def field():
    return star_field(640, detector=FieldDetector(cosmic_rays=0), seed=4)


@pytest.fixture(scope="module")
def frame(field):
    masked = MaskedImage.from_exposure(field.exposures[0])
    return masked.with_(image=(masked.image - field.truth.sky).astype(np.float32))


@pytest.fixture(scope="module")
def found(field, frame):
    return SourceDetector(5.0, 1.0).detect(frame, field.truth.psf, BackgroundFitter())


def planted(places, fluxes, shape=(100, 120), noise=1.0, seed=2):
    """Gaussian stars of FWHM 4 px at whole pixels (y, x) on noise."""
    image = np.random.default_rng(seed).normal(0, noise, shape)
    padded = np.pad(image, 20)
    for (y, x), flux in zip(places, fluxes, strict=True):
        padded[y : y + 41, x : x + 41] += flux * PSF.kernels([0], [0])[0]
    image = padded[20:-20, 20:-20]
    return MaskedImage(image, np.zeros(shape, np.int32), np.full(shape, noise**2))


def test_isolated_stars_above_the_depth_are_found(field, found):
    stars = field.truth.stars
    middle = np.abs(stars["x"] - 319.5) < 310
    middle &= np.abs(stars["y"] - 319.5) < 310
    stars = stars[middle & (stars["mag"] < 19) & (stars["neighbor"] > 12)]
    away, _ = KDTree(np.c_[found.peaks["x"], found.peaks["y"]]).query(np.c_[stars["x"], stars["y"]])
    assert len(stars) > 40
    assert (away < 2.5).mean() > 0.98


def test_few_peaks_are_noise(field, frame):
    peaks = SourceDetector.of_stars().detect(frame, field.truth.psf).peaks
    truth = KDTree(np.c_[field.truth.sources["x"], field.truth.sources["y"]])
    away, _ = truth.query(np.c_[peaks["x"], peaks["y"]])
    assert (away > 6).mean() < 0.05


def test_footprints_are_what_their_labels_say(found):
    rows = found.footprints
    assert len(found) == len(rows) == found.labels.max() > 50
    for row, (y, x) in zip(rows, ndimage.find_objects(found.labels), strict=True):
        corners = [row["x_min"], row["y_min"], row["x_max"], row["y_max"]]
        assert corners == [x.start, y.start, x.stop - 1, y.stop - 1]
    np.testing.assert_array_equal(rows["n_pixels"], np.bincount(found.labels.ravel())[1:])
    np.testing.assert_array_equal(found.masked.has(Plane.DETECTED), found.labels > 0)


def test_peaks_lie_in_their_footprints_highest_first(found):
    peaks = found.peaks
    np.testing.assert_array_equal(found.labels[peaks["y"], peaks["x"]], peaks["footprint"])
    np.testing.assert_array_equal(np.bincount(peaks["footprint"])[1:], found.footprints["n_peaks"])
    same = np.diff(peaks["footprint"]) == 0
    assert (np.diff(peaks["height"])[same] <= 0).all()
    for row in found.footprints[:20]:
        assert row["significance"] == peaks["significance"][peaks["footprint"] == row["id"]].max()


def test_significance_is_that_of_the_best_filter():
    """A star of flux f on noise s has f (sum P^2)^(1/2) / s."""
    frame = planted([(50, 60)], [900.0], noise=2.0)
    peak = SourceDetector().detect(frame, PSF).peaks[0]
    kernel = PSF.kernels([0], [0])[0]
    assert peak["significance"] == pytest.approx(900 * np.sqrt((kernel**2).sum()) / 2, abs=3)


def test_a_footprint_needs_a_peak_of_the_multiplied_threshold():
    """One star of 20 sigma and one of 80."""
    frame = planted([(30, 30), (70, 80)], [20 * 6.02, 80 * 6.02])
    assert len(SourceDetector(5.0, 2.0).detect(frame, PSF)) == 2
    assert SourceDetector(10.0, 5.0).detect(frame, PSF).peaks["x"].tolist() == [80]


def test_footprints_grow_by_the_psf_and_merge():
    frame = planted([(50, 50), (50, 64)], [600.0, 600.0])
    apart = SourceDetector(grow=0.0).detect(frame, PSF)
    grown = SourceDetector().detect(frame, PSF)
    assert (len(apart), len(grown), len(grown.peaks)) == (2, 1, 2)
    expected = ndimage.distance_transform_edt(apart.labels == 0) <= int(2.4 * PSF.width + 0.5)
    np.testing.assert_array_equal(grown.labels > 0, expected)


def test_half_a_kernel_along_the_border_is_edge():
    found = SourceDetector().detect(planted([(1, 60), (50, 60)], [5000.0, 900.0]), PSF)
    edge = np.ones((100, 120), bool)
    edge[6:-6, 6:-6] = False
    np.testing.assert_array_equal(found.masked.has(Plane.EDGE), edge)
    assert found.peaks["y"].tolist() == [6, 50]


def test_the_background_is_fitted_where_nothing_is_detected():
    frame = planted([(50, 60)], [5000.0])
    lifted = frame.with_(image=frame.image + 0.5)
    found = SourceDetector().detect(lifted, PSF, BackgroundFitter(style="constant"))
    assert found.background.median == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(found.masked.image, lifted.image - found.background.image())
    assert SourceDetector().detect(lifted, PSF).background is None


def test_a_star_behind_a_column_without_data_is_one_source():
    frame = planted([(50, 60)], [900.0])
    image, variance, mask = np.array(frame.image), np.array(frame.variance), np.array(frame.mask)
    image[:, 61], variance[:, 61], mask[:, 61] = np.nan, np.inf, Plane.NO_DATA
    found = SourceDetector().detect(MaskedImage(image, mask, variance), PSF)
    assert len(found) == 1
    assert found.peaks["significance"][0] > 50
    assert abs(found.peaks["x"][0] - 60) <= 1


def test_bad_pixels_count_once_they_are_interpolated():
    frame, hot = planted([], []), np.zeros((100, 120), bool)
    hot[40:42, 30:32] = True
    bright = frame.with_(image=np.where(hot, 1000.0, frame.image)).marked(hot, Plane.BAD)
    assert len(SourceDetector().detect(bright, PSF)) == 0
    assert len(SourceDetector().detect(bright.marked(hot, Plane.INTRP), PSF)) == 1


def test_the_local_background_takes_noise_off_the_wings_but_no_star():
    """On a slope as beside a bright star, which lifts noise above the threshold."""
    frame = planted([(60, 60)], [2000.0], shape=(128, 128))
    slope = 8 * np.exp(-0.5 * (np.mgrid[:128, :128][1] - 64) ** 2 / 30**2)
    lifted = frame.with_(image=frame.image + slope)
    plain = SourceDetector(5.0, 2.0).detect(lifted, PSF)
    local = SourceDetector(5.0, 2.0, local_background=BackgroundFitter(32, "akima")).detect(lifted, PSF)
    np.testing.assert_array_equal(plain.labels, local.labels)
    assert len(local.peaks) < 0.3 * len(plain.peaks)
    assert (60, 60) in zip(local.peaks["x"], local.peaks["y"], strict=True)


def test_nothing_found_is_an_empty_result():
    found = SourceDetector().detect(planted([], []), PSF)
    assert (len(found), len(found.peaks), found.labels.max()) == (0, 0, 0)
    assert not found.masked.has(Plane.DETECTED).any()
    assert set(found.peaks.colnames) == {"id", "footprint", "x", "y", "significance", "height"}


def test_negative_sources_have_a_plane_of_their_own():
    frame = planted([(30, 30), (70, 80)], [900.0, -900.0])
    both = SourceDetector(negative=True).detect(frame, PSF)
    assert len(both) == 1
    assert both.masked.has(Plane.DETECTED_NEGATIVE)[70, 80]
    assert not both.masked.has(Plane.DETECTED_NEGATIVE)[30, 30]
    assert not SourceDetector().detect(both.masked, PSF).masked.has(Plane.DETECTED_NEGATIVE).any()


def test_a_frame_smaller_than_the_kernel_is_told():
    with pytest.raises(DataError, match="smaller than the 13 px"):
        SourceDetector().detect(planted([], [], shape=(10, 10)), PSF)


def test_the_adaptive_threshold_falls_in_an_empty_frame():
    frame = planted([(50, 60), (20, 30)], [120.0, 120.0])
    assert len(SourceDetector().detect(frame, PSF)) == 0
    found = AdaptiveDetector().detect(frame, PSF)
    assert len(found) == 2
    assert 3 <= found.threshold < 10


def test_the_adaptive_threshold_rises_in_a_crowded_frame(field, frame):
    start = SourceDetector(3.0, 1.0)
    plain = start.detect(frame, field.truth.psf)
    limit = len(plain.peaks) // 2
    found = AdaptiveDetector(start, max_peaks=limit, few=0, isolated=0).detect(
        frame, field.truth.psf, BackgroundFitter()
    )
    assert len(found.peaks) <= limit
    assert found.threshold > 3
    assert found.background is not None
