"""The PSF that warps are matched to."""

from __future__ import annotations

import numpy as np
import pytest

from corontools.calibrate.psf import SIGMA_PER_FWHM
from corontools.errors import DataError
from corontools.warp.model import ModelPSF


def test_it_is_a_gaussian_with_a_wing_of_a_tenth_and_two_and_a_half_times_the_width():
    found = ModelPSF(4.6, size=41).kernels([0.0], [0.0])[0]
    along = np.arange(41) - 20.0
    squares, sigma = along**2 + along[:, None] ** 2, 4.6 * SIGMA_PER_FWHM
    wanted = np.exp(-squares / (2 * sigma**2)) + 0.1 * np.exp(-squares / (2 * (2.5 * sigma) ** 2))
    np.testing.assert_allclose(found, wanted / wanted.sum(), atol=1e-12)


@pytest.mark.parametrize(("fwhm", "size"), [(1.0, 5), (3.0, 9), (4.6, 15), (6.0, 19), (7.7, 25)])
def test_stamps_are_three_times_the_fwhm_and_odd(fwhm, size):
    assert ModelPSF(fwhm).size == size
    assert ModelPSF(fwhm).kernels([1.0, 2.0], [3.0, 4.0]).shape == (2, size, size)


def test_a_star_is_drawn_where_it_is_within_its_pixel():
    image = ModelPSF(5.0, size=61).images([100.3], [50.8])[0]
    along = np.arange(61) - 30.0
    assert image.sum() == pytest.approx(1)
    # its middle pixel is (100, 51)
    assert (image.sum(axis=0) @ along, image.sum(axis=1) @ along) == pytest.approx((0.3, -0.2), abs=1e-5)


def test_without_wing_its_size_is_that_of_the_gaussian():
    assert ModelPSF(5.0, wing=0.0).sigma([0.0], [0.0])[0] == pytest.approx(5.0 * SIGMA_PER_FWHM, rel=1e-4)
    assert ModelPSF(5.0).sigma([0.0, 1.0], [0.0, 1.0]).shape == (2,)


@pytest.mark.parametrize(
    "options", [{"fwhm": 0.0}, {"fwhm": np.nan}, {"fwhm": 3.0, "wing": -0.1}, {"fwhm": 3.0, "size": 10}]
)
def test_what_makes_no_psf_is_an_error(options):
    with pytest.raises(DataError, match=r"positive FWHM|odd size"):
        ModelPSF(**options)
