"""Frames matched to a common PSF."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import ndimage
from scipy.signal import convolve as scipy_convolve

from corontools.arrays.moments import adaptive_moments
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import GaussianPSF
from corontools.errors import DataError
from corontools.simulate.field_psf import MoffatField
from corontools.simulate.optics import Optics
from corontools.warp.kernel import MatchingKernel, convolve
from corontools.warp.match import FourierMatcher, PSFMatcher
from corontools.warp.model import ModelPSF

SHAPE = (400, 300)
# FWHM from 3.2 to 4.0 px, linear over the image
LINEAR = MoffatField(SHAPE, (3.6, 0.25, 0.15, 0.0, 0.0, 0.0))
ROUND = GaussianPSF.of_fwhm(3.5)


def frame(image=None, *, shape=SHAPE, variance=1.0):
    image = np.zeros(shape) if image is None else image
    return MaskedImage(image.astype(np.float32), np.zeros(shape, np.int32), np.full(shape, variance, np.float32))


def without(frame, where):
    """No data there."""
    return MaskedImage(
        np.where(where, np.nan, frame.image), frame.mask | np.where(where, int(Plane.NO_DATA), 0).astype(np.int32),
        np.where(where, np.inf, frame.variance),
    )  # fmt: skip


@dataclass(frozen=True)
class Fixed:
    """One stamp everywhere."""

    stamp: np.ndarray

    @property
    def size(self):
        return self.stamp.shape[0]

    def kernels(self, x, y):
        return np.repeat(self.stamp[None], np.size(x), axis=0)

    def sigma(self, x, y):
        return np.full(np.size(x), np.nan)


def everywhere(matched):
    y, x = (v.ravel() for v in np.meshgrid(*(np.linspace(0, n - 1, 9) for n in SHAPE), indexing="ij"))
    return matched.quality_at(x, y)


@pytest.mark.parametrize(("fwhm", "peak"), [(4.0, 0.01), (4.6, 0.01), (5.0, 0.01)])
def test_a_varying_psf_becomes_the_model(fwhm, peak):
    found = everywhere(PSFMatcher().match(frame(), LINEAR, fwhm))
    assert found["peak"].max() < peak
    assert np.abs(found["size_error"]).max() < 0.015


def test_order_two_is_needed_and_a_curved_field_needs_four():
    curved = MoffatField(SHAPE, (3.24, 0.16, 0.12, 0.24, 0.0, 0.24))
    peaks = {
        order: everywhere(PSFMatcher(order=order).match(frame(), curved, 4.6))["peak"].max() for order in (0, 1, 2, 4)
    }
    assert peaks[0] > peaks[1] > 0.05 > peaks[2] > 0.01
    assert peaks[4] < 0.005


def test_stars_in_the_matched_image_have_the_size_and_the_flux_of_the_model():
    x, y = (v.ravel() for v in np.meshgrid(np.arange(50.0, 290, 50), np.arange(50.0, 380, 50)))
    image = np.zeros(SHAPE)
    for stamp, i, j in zip(LINEAR.kernels(x, y), x.astype(int), y.astype(int), strict=True):
        image[j - 20 : j + 21, i - 20 : i + 21] += 1000 * stamp
    model = ModelPSF(4.6)
    made = PSFMatcher().match(frame(image), LINEAR, model).frame
    cuts = np.array(
        [made.image[j - 20 : j + 21, i - 20 : i + 21] for i, j in zip(x.astype(int), y.astype(int), strict=True)]
    )
    middle = np.full(len(x), 20.0)
    moments = adaptive_moments(cuts.astype(float), np.ones(cuts.shape), middle, middle, sigma=2.0)
    np.testing.assert_allclose((moments.xx * moments.yy - moments.xy**2) ** 0.25, model.sigma(x, y), atol=0.015)
    np.testing.assert_allclose(cuts.sum(axis=(1, 2)), 1000, rtol=2e-3)


def test_variance_and_noise_agree():
    rng = np.random.default_rng(1)
    sigma = np.broadcast_to(np.linspace(1, 3, SHAPE[1]), SHAPE)
    noise = frame(rng.normal(0, sigma)).with_(variance=(sigma**2).astype(np.float32))
    made = PSFMatcher().match(noise, LINEAR, 4.6).frame
    known = ~made.has(Plane.NO_DATA)
    # some 100000 pixels, of which each 30 or so share their noise
    assert np.std(made.image[known] / np.sqrt(made.variance[known])) == pytest.approx(1, abs=0.03)


def test_the_mask_is_gathered_under_the_kernel_and_the_border_is_empty():
    start = frame().marked(np.indices(SHAPE)[0] == 200, Plane.CR)
    made = PSFMatcher(kernel_size=15, missing=0).match(start, ROUND, 4.6).frame
    np.testing.assert_array_equal(made.has(Plane.CR)[:, 150], np.abs(np.arange(SHAPE[0]) - 200) <= 7)
    inside = np.zeros(SHAPE, bool)
    inside[7:-7, 7:-7] = True
    np.testing.assert_array_equal(made.has(Plane.NO_DATA), ~inside)
    np.testing.assert_array_equal(np.isnan(made.image), ~inside)
    np.testing.assert_array_equal(np.isinf(made.variance), ~inside)
    assert made.image.dtype == made.variance.dtype == np.float32


def test_a_pixel_without_data_takes_the_kernels_box_with_it_unless_allowed():
    image = np.random.default_rng(2).normal(100, 1, SHAPE)
    hole = np.zeros(SHAPE, bool)
    hole[150, 120] = True
    start = without(frame(image), hole)
    strict = PSFMatcher(missing=0).match(start, ROUND, 4.6).frame
    np.testing.assert_array_equal(
        strict.has(Plane.NO_DATA)[50:-50, 50:-50], ndimage.binary_dilation(hole, np.ones((21, 21)))[50:-50, 50:-50]
    )
    lenient = PSFMatcher(missing=0.3).match(start, ROUND, 4.6).frame
    whole = PSFMatcher(missing=0).match(frame(image), ROUND, 4.6).frame
    near = ndimage.binary_dilation(hole, np.ones((21, 21)))
    assert not lenient.has(Plane.NO_DATA)[near].any()
    assert lenient.has(Plane.INTRP)[near].all()
    assert np.abs(lenient.image - whole.image)[near].max() < 0.4
    inner = ~near & ~whole.has(Plane.NO_DATA)
    np.testing.assert_array_equal(lenient.image[inner], whole.image[inner])


def test_a_value_with_missing_pixels_is_the_mean_of_the_others():
    kernel = np.random.default_rng(4).uniform(size=(5, 5))
    kernel /= kernel.sum()
    hole = np.zeros((40, 40), bool)
    hole[20, 20:22] = True
    image = np.random.default_rng(5).normal(10, 1, (40, 40))
    start = without(frame(image, shape=(40, 40), variance=2.0), hole)
    made = convolve(start, lambda x, y: np.repeat(kernel[None], len(x), axis=0), size=5, missing=0.9)
    known = scipy_convolve(np.where(hole, 0.0, 1.0), kernel, mode="same")
    np.testing.assert_allclose(
        made.image, scipy_convolve(np.where(hole, 0, image), kernel, mode="same") / known, rtol=1e-5
    )
    squares = scipy_convolve(np.where(hole, 0, 2.0), kernel**2, mode="same")
    np.testing.assert_allclose(made.variance, squares / known**2, rtol=1e-5)


def test_a_frame_partly_covered_is_matched_where_it_has_data():
    y, x = np.indices(SHAPE)
    start = without(frame(), (x + y) > 450)
    found = PSFMatcher(cell=64).match(start, LINEAR, 4.6)
    assert np.isfinite(found.frame.image[20:200, 20:200]).all()
    inside = (found.x + found.y) <= 450
    assert inside.all()
    assert found.quality["peak"].max() < 0.01


def test_a_psf_that_is_unknown_in_places_counts_where_it_is_known():
    class Half(MoffatField):
        def kernels(self, x, y):
            return np.where((np.asarray(x) > 160)[:, None, None], np.nan, super().kernels(x, y))

    found = PSFMatcher(cell=64).match(frame(), Half(SHAPE, LINEAR.fwhm), 4.6)
    assert found.x.max() <= 160
    assert found.quality["peak"].max() < 0.01


def test_any_psf_can_be_the_model():
    other = replace(LINEAR, fwhm=(4.8, -0.2, 0.1, 0, 0, 0))
    assert everywhere(PSFMatcher(order=3).match(frame(), LINEAR, other))["peak"].max() < 0.01


def test_padding_follows_the_kernel_or_the_number_given():
    matcher = PSFMatcher()
    assert [matcher.stamp_size(GaussianPSF(1.5, size)) for size in (15, 31, 41)] == [31, 31, 41]
    assert PSFMatcher(auto_pad=1.6).stamp_size(GaussianPSF(1.5, 15)) == 35
    assert PSFMatcher(auto_pad=None, pad_by=6).stamp_size(GaussianPSF(1.5, 41)) == 47


def nircam_psf(size=101):
    """F200W through the telescope's pupil and a Lyot stop, 0.031 arcsec/px."""
    optics = Optics((size, size), (size // 2, size // 2), 0.0312, (1.85e-6, 1.99e-6, 2.13e-6))
    stamp = optics.image(np.zeros((optics.n, optics.n)), occulted=False)
    return Fixed(stamp / stamp.sum())


def test_wide_wings_need_fourier_transforms():
    psf, start = nircam_psf(), frame(shape=(150, 150))
    gaussians = PSFMatcher(kernel_size=41, sigmas=(1.0, 2.0, 4.5)).match(start, psf, 5.0).quality
    fourier = FourierMatcher().match(start, psf, 5.0).quality
    assert gaussians["total"].max() > 0.1
    assert fourier["total"].max() < 0.02
    assert fourier["peak"].max() < 0.005


def test_the_fourier_matcher_follows_a_varying_psf():
    found = everywhere(FourierMatcher(kernel_size=41).match(frame(), LINEAR, 4.6))
    assert found["peak"].max() < 0.005
    assert found["total"].max() < 0.01
    np.testing.assert_allclose(FourierMatcher().match(frame(), LINEAR, 4.6).kernel.planes.sum(axis=(1, 2))[0], 1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kernel_size": 20}, "kernel is odd"),
        ({"kernel_size": 1}, "3 px or more"),
        ({"cell": 16}, "cells are 32 px or more"),
        ({"auto_pad": None, "pad_by": 5}, "even number of px"),
        ({"pad_by": 6}, "None where pad_by is given"),
        ({"auto_pad": 0.9}, "auto_pad is 1 or more"),
        ({"sigmas": (1.0, 2.0)}, "each Gaussian has a width and a degree"),
        ({"sigmas": (0.0, 1.5, 3.0)}, "widths are positive"),
        ({"order": -1}, "0 or more"),
        ({"damping": np.nan}, "0 or more"),
    ],
)
def test_options_out_of_range_are_errors(options, text):
    with pytest.raises(DataError, match=text):
        PSFMatcher(**options)


def test_a_kernel_larger_than_the_stamp_is_an_error():
    with pytest.raises(DataError, match="kernel of 21 px is as large as the stamps of the PSF, 15 px padded to 21"):
        PSFMatcher(auto_pad=None, pad_by=6).match(frame(), GaussianPSF(1.5, 15), 4.6)


def test_a_frame_smaller_than_the_kernel_is_an_error():
    with pytest.raises(DataError, match="smaller than the kernel of 21 px"):
        PSFMatcher(cell=32, order=0).match(frame(shape=(19, 40)), ROUND, 4.6)


def test_too_few_cells_are_an_error():
    covered = np.indices(SHAPE)[0] < 30
    with pytest.raises(DataError, match=r"don't determine the 6 terms .* smaller cells or a lower order"):
        PSFMatcher().match(without(frame(), ~covered), ROUND, 4.6)


def test_a_frame_without_data_is_an_error():
    with pytest.raises(DataError, match="no pixel of the frame has data"):
        PSFMatcher().match(without(frame(), np.ones(SHAPE, bool)), ROUND, 4.6)


def test_an_undersampled_psf_is_an_error_unless_allowed():
    narrow = GaussianPSF.of_fwhm(1.4)
    with pytest.raises(DataError, match=r"the PSF is undersampled: \d+% of its amplitude"):
        PSFMatcher().match(frame(), narrow, 4.6)
    with pytest.raises(DataError, match="the model is undersampled"):
        FourierMatcher().match(frame(), ROUND, 1.2)
    assert PSFMatcher(aliasing=0.5).match(frame(), narrow, 4.6).quality["peak"].max() < 0.02


@pytest.mark.parametrize("name", ["image", "variance"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_where_there_are_data_are_errors(name, value):
    start = frame()
    array = np.array(getattr(start, name))
    array[3, 5] = value
    with pytest.raises(DataError, match=f"the {name} isn't finite in 1 pixels that have data"):
        PSFMatcher().match(start.with_(**{name: array}), ROUND, 4.6)


def test_a_negative_variance_is_an_error():
    with pytest.raises(DataError, match="variance is negative in 120000 pixels"):
        PSFMatcher().match(frame(variance=-1.0), ROUND, 4.6)


def test_an_unknown_psf_is_an_error():
    with pytest.raises(DataError, match="PSF isn't known at any of"):
        PSFMatcher().match(frame(), Fixed(np.full((31, 31), np.nan)), 4.6)


def test_the_input_is_left_as_it_is():
    start = without(frame(np.ones(SHAPE)), np.indices(SHAPE)[0] == 7)
    before = [np.array(v) for v in (start.image, start.mask, start.variance)]
    PSFMatcher(missing=0.2).match(start, ROUND, 4.6)
    for was, now in zip(before, (start.image, start.mask, start.variance), strict=True):
        np.testing.assert_array_equal(was, now)


def test_cards_tell_residual_and_noise():
    text = repr(PSFMatcher().match(frame(), ROUND, 4.6))
    assert "residual" in text
    assert "noise gain" in text
    assert "order 0" in repr(MatchingKernel(np.ones((1, 3, 3)), SHAPE))
