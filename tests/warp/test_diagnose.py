"""Faults of a match and their remedies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.psf import GaussianPSF
from corontools.simulate.field_psf import MoffatField
from corontools.warp.diagnose import diagnose
from corontools.warp.match import FourierMatcher, PSFMatcher
from corontools.warp.model import ModelPSF

SHAPE = (300, 300)
LINEAR = MoffatField(SHAPE, (3.6, 0.25, 0.15, 0.0, 0.0, 0.0))
CURVED = MoffatField(SHAPE, (3.24, 0.16, 0.12, 0.24, 0.0, 0.24))
EMPTY = MaskedImage(np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.int32), np.ones(SHAPE, np.float32))


def match(matcher, psf, fwhm):
    return matcher.match(EMPTY, psf, fwhm)


def after(found, psf):
    """Residuals of the match with the remedies, at places between those of the fit."""
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, 299, 8), np.linspace(0, 299, 8)))
    return found.matcher.match(EMPTY, psf, found.model).quality_at(x, y)


def test_a_good_match_has_no_faults():
    found = diagnose(match(PSFMatcher(), LINEAR, 4.6))
    assert found.faults == ()
    assert found.matcher == PSFMatcher()
    assert found.peak == found.peak_after


def test_a_kernel_too_small_is_boxy_and_a_larger_one_mends_it():
    found = diagnose(match(PSFMatcher(), LINEAR, 6.0))
    assert found.faults == ("boxy",)
    assert "kernel_size=27" in found["boxy"].remedy
    assert found.matcher.sigmas[-1] >= 4.5
    assert found.total > 0.08
    assert after(found, LINEAR)["total"].max() < 0.03
    assert after(found, LINEAR)["peak"].max() < 0.05


def test_a_kernel_that_may_not_change_leaves_dipoles_and_a_higher_order_mends_them():
    found = diagnose(match(PSFMatcher(order=1), CURVED, 4.6))
    assert "dipoles" in found.faults
    assert found.matcher.order > 1
    assert after(found, CURVED)["peak"].max() < 0.5 * found.peak


def test_a_model_narrower_than_the_psf_is_deconvolution_and_a_wider_one_mends_it():
    found = diagnose(match(PSFMatcher(), LINEAR, 3.3))
    assert "deconvolution" in found.faults
    assert isinstance(found.model, ModelPSF)
    assert 3.5 <= found.model.fwhm <= 4.2
    assert after(found, LINEAR)["noise_gain"].max() < 0.8


def test_functions_too_narrow_make_noise_of_high_frequency_and_wider_ones_mend_it():
    grainy = match(PSFMatcher(damping=0.0), LINEAR, 4.6)
    found = diagnose(grainy)
    assert found.faults == ("high frequency",)
    assert found.matcher.sigmas > grainy.matcher.sigmas
    assert after(found, LINEAR)["noise_gain"].max() < 0.8 * grainy.quality["noise_gain"].max()


def test_wings_beyond_any_sum_of_gaussians_call_for_fourier_transforms():
    along = np.arange(101) - 50.0
    radius = np.hypot(along, along[:, None])
    stamp = np.exp(-0.5 * (radius / 1.5) ** 2) + 0.02 / (1 + (radius / 3) ** 2) * (
        1 + np.cos(6 * np.arctan2(along[:, None], along))
    )

    class Winged(GaussianPSF):
        size = 101

        def kernels(self, x, y):
            return np.repeat((stamp / stamp.sum())[None], np.size(x), axis=0)

    found = diagnose(match(PSFMatcher(), Winged(1.5, 101), 5.0))
    assert "wings" in found.faults
    assert isinstance(found.matcher, FourierMatcher)
    assert found.total_after < 0.5 * found.total


def test_a_fourier_match_is_diagnosed_too():
    found = diagnose(match(FourierMatcher(kernel_size=11), LINEAR, 6.0))
    assert "boxy" in found.faults
    assert found.matcher.kernel_size > 11
    assert found.total_after < 0.5 * found.total


@pytest.mark.parametrize("fwhm", [4.6, 6.0])
def test_the_card_tells_what_was_measured_and_what_to_change(fwhm):
    found = diagnose(match(PSFMatcher(), LINEAR, fwhm))
    text = repr(found)
    for finding in found.findings:
        assert finding.name in text
        assert finding.remedy in text


def test_an_order_that_the_places_do_not_determine_is_not_tried():
    all_places = match(PSFMatcher(order=1), CURVED, 4.6)
    chosen = [0, 3, 5, 10, 15]
    assert "dipoles" in diagnose(all_places).faults
    found = diagnose(replace(all_places, x=all_places.x[chosen], y=all_places.y[chosen]))
    assert found.matcher.order == 1
