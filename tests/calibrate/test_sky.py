"""Sky sources keep off what was detected."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import qmc

from corontools.calibrate.detect import SourceDetector
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import GaussianPSF
from corontools.calibrate.sky import SkySources, halton


@pytest.fixture(scope="module")
def found():
    psf = GaussianPSF.of_fwhm(4.0)
    rng = np.random.default_rng(6)
    image, mask = rng.normal(0, 1, (300, 340)), np.zeros((300, 340), np.int32)
    for y, x in zip(rng.integers(0, 259, 12), rng.integers(0, 299, 12), strict=True):
        image[y : y + 41, x : x + 41] += 800 * psf.kernels([0], [0])[0]
    mask[100:140, 200:210] = Plane.BAD
    return SourceDetector().detect(MaskedImage(image, mask, np.ones(image.shape)), psf)


def test_the_sequence_is_haltons():
    theirs = qmc.Halton(2, scramble=False).random(50)
    np.testing.assert_allclose(np.c_[halton(0, 50, base=2), halton(0, 50, base=3)], theirs)
    np.testing.assert_allclose(halton(20, 30, base=3), theirs[20:, 1])


def test_discs_keep_off_sources_bad_pixels_each_other_and_the_border(found):
    places = SkySources(60).place(found.masked, seed=123456789)
    assert 30 < len(places) <= 60
    avoided = found.masked.has(Plane.DETECTED | Plane.BAD)
    room = ndimage.distance_transform_edt(~avoided)[places["y"], places["x"]]
    assert (room > 8).all()
    y, x = (np.asarray(places[name], float) for name in "yx")
    apart = np.hypot(y[:, None] - y, x[:, None] - x) + 1e9 * np.eye(len(y))
    assert apart.min() > 17
    assert min(y.min(), x.min(), (299 - y).min(), (339 - x).min()) >= 8


def test_the_seed_decides(found):
    first, again, other = (SkySources().place(found.masked, seed=seed) for seed in (7, 7, 70000))
    assert first["x"].tolist() == again["x"].tolist()
    assert first["x"].tolist() != other["x"].tolist()


def test_added_discs_are_footprints_with_a_peak_each(found):
    more = SkySources(40).add(found, seed=3)
    discs = more.footprints[more.footprints["sky_source"]]
    assert len(more) == len(found) + len(discs)
    assert 20 < len(discs) <= 40
    np.testing.assert_array_equal(more.footprints["id"], np.arange(1, len(more) + 1))
    np.testing.assert_array_equal(more.peaks["id"], np.arange(1, len(more.peaks) + 1))
    np.testing.assert_array_equal(np.bincount(more.labels.ravel())[1:], more.footprints["n_pixels"])
    for row, (y, x) in zip(more.footprints, ndimage.find_objects(more.labels), strict=True):
        corners = [row["x_min"], row["y_min"], row["x_max"], row["y_max"]]
        assert corners == [x.start, y.start, x.stop - 1, y.stop - 1]
    peaks = more.peaks[len(found.peaks) :]
    np.testing.assert_array_equal(more.labels[peaks["y"], peaks["x"]], peaks["footprint"])
    np.testing.assert_array_equal(more.masked.mask, found.masked.mask)
    assert not found.footprints["sky_source"].any()
    assert more.peaks["x"].unit == found.peaks["x"].unit


def test_a_frame_without_room_gets_none():
    full = np.full((60, 60), int(Plane.DETECTED), np.int32)
    assert len(SkySources().place(MaskedImage(np.zeros((60, 60)), full, np.ones((60, 60))))) == 0
    small = MaskedImage(np.zeros((12, 60)), np.zeros((12, 60), np.int32), np.ones((12, 60)))
    assert len(SkySources().place(small)) == 0
