"""Calibrated frames as warps take them."""

import numpy as np
import pytest

from corontools import DataError, Exposure, Meta
from corontools.calibrate import MaskedImage, Plane
from corontools.calibrate.background import BackgroundEntry, BackgroundList
from corontools.calibrate.product import read_visit_image
from corontools.calibrate.psf import GaussianPSF
from corontools.calibrate.visit import VisitImage

SHAPE = (12, 10)


def background(level=10.0, shape=SHAPE):
    return BackgroundList((BackgroundEntry(np.array([[level]]), np.array([[1.0]]), shape, 12, "constant"),))


@pytest.fixture
def visit():
    image = np.arange(120, dtype=np.float32).reshape(SHAPE)
    frame = MaskedImage(image, np.zeros(SHAPE, np.int32), np.full(SHAPE, 4.0, np.float32))
    return VisitImage(
        frame, "wcs", GaussianPSF(1.7), visit=7, detector=2, filter="r", calibration=3.0, background=background()
    )


def test_names_come_from_the_header_unless_they_are_given():
    meta = Meta(filename="a.fits", detector="N4", filter="g").with_cards({"VISIT": 903988})
    exposure = Exposure(np.ones(SHAPE), err=np.ones(SHAPE), meta=meta)
    made = VisitImage.from_exposure(exposure, GaussianPSF(1.7))
    assert (made.visit, made.detector, made.filter) == (903988, "N4", "g")
    named = VisitImage.from_exposure(exposure, GaussianPSF(1.7), visit=0, detector=5, filter="r")
    assert (named.visit, named.detector, named.filter) == (0, 5, "r")
    bare = exposure.with_(meta=Meta(filename="a.fits"))
    assert VisitImage.from_exposure(bare, GaussianPSF(1.7)).visit == "a.fits"


def test_calibration_scales_image_and_variance(visit):
    made = visit.calibrated()
    np.testing.assert_array_equal(made.frame.image, 3 * visit.frame.image)
    np.testing.assert_array_equal(made.frame.variance, 36.0)
    assert (made.calibration, made.meta.unit, made.background.sky) == (1.0, "nJy", 30.0)
    np.testing.assert_array_equal(made.calibrated().frame.image, made.frame.image)
    assert visit.calibration == 3.0


def test_the_background_is_added_before_the_calibration_and_the_sky_is_subtracted_after_it(visit):
    made = visit.calibrated(background=True, sky_correction=5.0, calibration=2.0, wcs="new")
    np.testing.assert_allclose(made.frame.image, 2 * (visit.frame.image + 10) - 5)
    assert (made.background, made.wcs) == (None, "new")
    fitted = visit.calibrated(sky_correction=background(6.0))
    np.testing.assert_allclose(fitted.frame.image, 3 * visit.frame.image - 6)


def test_a_calibration_may_vary_over_the_frame(visit):
    factor = np.linspace(1, 2, 120).reshape(SHAPE)
    factor[3, 4] = np.nan
    made = visit.calibrated(calibration=factor)
    good = np.isfinite(factor)
    np.testing.assert_allclose(made.frame.image[good], (factor * visit.frame.image)[good], rtol=1e-6)
    np.testing.assert_allclose(made.frame.variance[good], (factor**2 * 4)[good], rtol=1e-6)
    assert made.frame.mask[3, 4] == Plane.NO_DATA
    assert np.isnan(made.frame.image[3, 4])
    assert np.isposinf(made.frame.variance[3, 4])
    assert made.frame.has(Plane.NO_DATA).sum() == 1
    assert made.background is None


def test_what_does_not_fit_is_told(visit):
    with pytest.raises(DataError, match="calibration is finite and positive, found 0"):
        visit.with_(calibration=0.0)
    with pytest.raises(DataError, match=r"calibration has the shape \(2, 2\)"):
        visit.calibrated(calibration=np.ones((2, 2)))
    with pytest.raises(DataError, match="sky correction has the shape"):
        visit.calibrated(sky_correction=np.ones((2, 2)))
    with pytest.raises(DataError, match="background has the shape"):
        visit.with_(background=background(shape=(3, 3)))
    with pytest.raises(DataError, match="visit 7 detector 2: its background isn't known"):
        visit.with_(background=None).calibrated(background=True)


def test_code_tells_the_file_or_the_pixels(visit):
    assert visit.with_(source="read_visit_image('a.fits')").code == "read_visit_image('a.fits')"
    assert visit.code.startswith("visit_image('visit 7 detector 2: 12x10 100% 0 ")
    assert repr(visit) == "<VisitImage 7, detector 2, r, 10 x 12 px>"


def test_a_frame_made_elsewhere_is_written_and_read(tmp_path):
    from corontools.simulate import star_visits

    (first, *_) = star_visits((3.6, 4.0), shape=150, trailed=0).visits
    path = first.save(tmp_path / "visit.fits")
    again, expected = read_visit_image(path), first.calibrated()
    for name in ("image", "mask", "variance"):
        np.testing.assert_array_equal(getattr(again.frame, name), getattr(expected.frame, name))
    assert (again.visit, again.detector, again.filter, again.summary) == (101, "1", "r", None)
    sky = again.wcs.all_pix2world([3.0, 140.0], [7.0, 100.0], 0)
    np.testing.assert_allclose(sky, first.wcs.all_pix2world([3.0, 140.0], [7.0, 100.0], 0), rtol=0, atol=1e-10)
    np.testing.assert_allclose(again.psf.images([70.3], [9.1]), first.psf.images([70.3], [9.1]), atol=1e-9)
    with pytest.raises(FileExistsError):
        first.save(path)
