"""Models of the PSF: a Gaussian, and pixels fitted to stars."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy.table import Table

from corontools.arrays.moments import adaptive_moments
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import SIGMA_PER_FWHM, GaussianPSF, PixelPSF
from corontools.calibrate.psffit import PSFFitter
from corontools.calibrate.psfstars import NonfinitePSFError, PSFStars
from corontools.calibrate.select import StarSelection, TooFewStarsError
from corontools.errors import DataError
from corontools.simulate.field_psf import MoffatField

SHAPE, SKY = (600, 600), 400.0
TRUTH = MoffatField(SHAPE)


def frame(n_side=9, *, noise=True, psf=TRUTH, seed=1):
    """Stars on a bent grid, sky subtracted, as their image and their table."""
    rng = np.random.default_rng(seed)
    y, x = (v.ravel() + rng.uniform(-2, 2, n_side**2) for v in np.mgrid[30 : 570 : n_side * 1j, 30 : 570 : n_side * 1j])
    flux = 10 ** rng.uniform(4.7, 5.7, n_side**2)
    light = np.zeros(SHAPE)
    psf.add(light, x, y, flux)
    image = light + (rng.normal(size=SHAPE) * np.sqrt(light + SKY) if noise else 0)
    sigma = psf.sigma(x, y)
    table = Table({"slot_Centroid_x": x, "slot_Centroid_y": y, "base_CircularApertureFlux_12_0_instFlux": flux})
    table["slot_Shape_xx"] = table["slot_Shape_yy"] = sigma**2
    return MaskedImage(image, np.zeros(SHAPE, np.int32), light + SKY), table


def places(n=200, seed=9):
    return np.random.default_rng(seed).uniform(20, 579, (2, n))


def off(psf, truth=TRUTH):
    """Relative error of the size and errors of both ellipticities of a PSF over the frame, (3, n)."""
    kernels, (xx, yy, xy) = truth.kernels(*places()), psf.moments(*places())
    middle = np.full(len(kernels), truth.size // 2)
    # of pixels as well: sampling changes the moments of a narrow PSF
    true = adaptive_moments(kernels, np.ones_like(kernels), middle, middle, sigma=1.5)
    e1 = (xx - yy) / (xx + yy) - (true.xx - true.yy) / (true.xx + true.yy)
    e2 = 2 * xy / (xx + yy) - 2 * true.xy / (true.xx + true.yy)
    return np.sqrt((xx + yy) / (true.xx + true.yy)) - 1, e1, e2


@pytest.fixture(scope="module")
def stars():
    return frame()


@pytest.fixture(scope="module")
def fit(stars):
    return PSFFitter().fit(*stars)


def test_a_gaussian_has_its_width_and_total():
    psf = GaussianPSF.of_fwhm(4.0, size=31)
    images = psf.images([10.3, 50.0], [20.4, 60.5])
    np.testing.assert_allclose(images.sum(axis=(1, 2)), 1)
    along = np.arange(31) - 15
    assert (images[0].sum(axis=0) * along).sum() == pytest.approx(0.3, abs=1e-6)
    # half a pixel belongs to the next one
    assert (images[1].sum(axis=1) * along).sum() == pytest.approx(-0.5, abs=1e-6)
    assert psf.sigma([1.0], [1.0])[0] == pytest.approx(4.0 * SIGMA_PER_FWHM)
    with pytest.raises(DataError, match="odd size"):
        GaussianPSF(1.7, size=10)


def test_images_of_pixels_are_kernels_at_whole_pixels():
    psf = PixelPSF(GaussianPSF(1.7, size=21).kernels([0.0], [0.0]), (50, 50))
    np.testing.assert_allclose(psf.images([10.0], [20.0]), psf.kernels([10.0], [20.0]))
    np.testing.assert_allclose(psf.images([10.4, 3.0], [20.1, 4.0]).sum(axis=(1, 2)), 1)


def test_stretching_pixels_makes_the_psf_as_much_wider():
    grid = GaussianPSF(1.7, size=31).kernels([0.0], [0.0])
    narrow, wide = PixelPSF(grid, (50, 50)), PixelPSF(grid, (50, 50), 1, [1.2])
    assert wide.sigma([9.0], [9.0])[0] == pytest.approx(1.2 * narrow.sigma([9.0], [9.0])[0], rel=1e-4)
    np.testing.assert_allclose(wide.stretched([1.0, 2.0], [3.0, 4.0]), 1.2)


def test_a_psf_needs_finite_square_images_of_a_polynomial():
    grid = np.ones((1, 21, 21))
    for wrong in (np.ones((1, 20, 20)), np.ones((21, 21)), grid * np.nan):
        with pytest.raises(DataError, match="finite images"):
            PixelPSF(wrong, (50, 50))
    with pytest.raises(DataError, match="terms"):
        PixelPSF(np.ones((2, 21, 21)), (50, 50))
    with pytest.raises(ValueError, match="read-only"):
        PixelPSF(grid, (50, 50)).basis[0, 0, 0] = 1


def test_the_fit_has_the_sizes_and_shapes_of_the_truth(fit):
    size, e1, e2 = off(fit.psf)
    assert abs(np.median(size)) < 0.002
    assert np.std(size) < 0.004
    assert max(abs(np.median(e1)), abs(np.median(e2))) < 0.001
    assert max(np.std(e1), np.std(e2)) < 0.004
    np.testing.assert_allclose(fit.psf.sigma(*places()), TRUTH.sigma(*places()), rtol=0.012)


def test_without_noise_the_fit_is_nearly_exact():
    fit = PSFFitter(rounds=4).fit(*frame(noise=False))
    assert np.std(off(fit.psf)[0]) < 0.0015
    images, true = fit.psf.images(*places()), TRUTH.images(*places())
    assert np.abs(images - true).max() < 0.01 * true.max()


def test_residuals_are_noise(stars, fit):
    masked, _ = stars
    y, x = (np.floor(v + 0.5).astype(int) for v in (fit.stars.y, fit.stars.x))
    assert fit.residuals.shape == (81, 41, 41)
    np.testing.assert_array_equal(fit.stars.pixels[:, 20, 20], masked.image[y, x])
    z = fit.residuals / np.sqrt(SKY + fit.models)
    assert abs(np.nanmean(z)) < 0.02
    assert np.nanstd(z[:, 10:-10, 10:-10]) == pytest.approx(0.96, abs=0.04)
    assert np.median(fit.chi2) == pytest.approx(1, abs=0.1)
    assert fit.kept.mean() > 0.95


def test_fluxes_are_those_of_the_stars(stars, fit):
    ratio = fit.stars.flux / np.asarray(stars[1]["base_CircularApertureFlux_12_0_instFlux"])[fit.rows]
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    assert np.std(ratio) < 0.01


def test_an_undersampled_psf_gets_a_finer_grid():
    truth = MoffatField(SHAPE, fwhm=(2.2, 0.05, 0.0, 0.0, 0.0, 0.05))
    fit = PSFFitter(size=25).fit(*frame(11, psf=truth))
    assert fit.psf.step == 2
    size, e1, e2 = off(fit.psf, truth)
    assert abs(np.median(size)) < 0.002
    assert max(abs(np.median(e1)), abs(np.median(e2))) < 0.002
    images, true = fit.psf.images(*places()), truth.images(*places())[:, 8:-8, 8:-8]
    assert np.abs(images - true).max() < 0.02 * true.max()


@pytest.mark.parametrize("plane", [Plane.SAT, Plane.INTRP, Plane.CR, Plane.BAD])
def test_masked_pixels_do_not_count(stars, fit, plane):
    masked, table = stars
    hit = np.random.default_rng(5).uniform(size=SHAPE) < 0.02
    spoilt = masked.with_(image=np.where(hit, 1e5, masked.image)).marked(hit, plane)
    found = PSFFitter().fit(spoilt, table)
    assert not found.stars.good[found.stars.pixels > 5e4].any()
    np.testing.assert_allclose(found.psf.sigma(*places()), fit.psf.sigma(*places()), rtol=0.005)


def test_neighbours_are_left_out(stars, fit):
    masked, table = stars
    x, y = np.asarray(table["slot_Centroid_x"]), np.asarray(table["slot_Centroid_y"])
    image = np.array(masked.image)
    TRUTH.add(image, x[::2] + 14, y[::2] + 6, np.full(41, 1.5e5))
    # half of the neighbours were detected, the others are seen by the fit alone
    detected = np.zeros(SHAPE, bool)
    for k in range(0, 81, 4):
        j, i = round(y[k] + 6), round(x[k] + 14)
        detected[max(j - 6, 0) : j + 7, i - 6 : i + 7] = True
    found = PSFFitter().fit(masked.with_(image=image).marked(detected, Plane.DETECTED), table)
    assert found.kept.sum() > 70
    np.testing.assert_allclose(found.psf.sigma(*places()), fit.psf.sigma(*places()), rtol=0.005)


def test_a_galaxy_is_no_star(stars):
    masked, table = stars
    image, x, y = np.array(masked.image), *(np.asarray(table[f"slot_Centroid_{axis}"]) for axis in "xy")
    TRUTH.add(image, x[[5, 40]] + 1.5, y[[5, 40]] + 1.0, np.full(2, 5e4))
    fit = PSFFitter().fit(masked.with_(image=image), table)
    assert not fit.used[[5, 40]].any()
    assert sum(fit.cuts.values()) == 81 - fit.kept.sum()


def test_columns_tell_what_became_of_each_source(stars):
    masked, table = stars
    table = table.copy()
    table["calib_psf_candidate"] = np.arange(81) % 3 != 0
    table["slot_Centroid_x"][1] = np.nan
    fitter = PSFFitter(reserve=0.2, order=1, max_stars=40)
    fit = fitter.fit(masked, table)
    flagged = fit.flagged(table)
    candidates, used, reserved = (
        np.asarray(flagged[f"calib_psf_{name}"]) for name in ("candidate", "used", "reserved")
    )
    np.testing.assert_array_equal(candidates, table["calib_psf_candidate"])
    assert reserved.sum() == 10
    assert not (used & reserved).any()
    assert not (used & ~candidates).any()
    assert 36 <= used.sum() <= 40
    assert fit.cuts["without a place on the image or a positive flux"] == 1
    peaks = np.asarray(flagged["psf_max_value"])
    x, y = round(table["slot_Centroid_x"][4]), round(table["slot_Centroid_y"][4])
    assert peaks[4] == masked.image[y - 13 : y + 14, x - 13 : x + 14].max()
    assert np.isnan(peaks[~candidates]).all()
    assert "calib_psf_used" not in table.colnames
    again = fitter.fit(masked, table)
    np.testing.assert_array_equal(again.reserved, reserved)
    np.testing.assert_array_equal(again.psf.basis, fit.psf.basis)


def test_few_stars_lower_the_order():
    masked, table = frame(3)
    with pytest.warns(UserWarning, match="order 1 in place of 2: there are only"):
        assert PSFFitter().fit(masked, table).psf.order == 1


def test_too_few_stars_name_the_cut(stars):
    masked, table = stars
    selection = StarSelection(
        np.arange(81) < 2, np.ones(81), np.ones(81), {"base_PixelFlags_flag_bad": 79}, np.ones(81), 0.1
    )
    with pytest.raises(TooFewStarsError, match="2 are left, 3 are needed; removed: 79 base_PixelFlags_flag_bad"):
        PSFFitter().fit(masked, table, selection=selection)
    saturated = masked.marked(np.ones(SHAPE, bool), Plane.SAT)
    with pytest.raises(TooFewStarsError, match=r"0 are left, .* removed: 81 with too many masked pixels") as told:
        PSFFitter().fit(saturated, table)
    assert told.value.cuts["with too many masked pixels"] == 81


def test_a_psf_without_size_is_told(stars):
    masked, table = stars
    flat = masked.with_(image=np.full(SHAPE, 100.0))
    with pytest.raises(NonfinitePSFError, match="no size"), warnings.catch_warnings():
        PSFFitter(max_chi2=np.inf, clip=np.inf).fit(flat, table)
    table = table.copy()
    table["slot_Shape_xx"] = np.nan
    with pytest.raises(NonfinitePSFError, match="slot_Shape"):
        PSFFitter().fit(masked, table)


def test_options_that_make_no_sense_are_told(stars):
    for options in ({"size": 40}, {"order": -1}, {"rounds": 0}, {"reserve": 1.0}):
        with pytest.raises(DataError, match="odd size"):
            PSFFitter(**options)
    masked, table = stars
    with pytest.raises(DataError, match="no flux"):
        PSFFitter().fit(masked, table["slot_Centroid_x", "slot_Centroid_y", "slot_Shape_xx", "slot_Shape_yy"])


def test_the_sky_and_the_gain_are_told_from_the_variance(stars):
    masked, table = stars
    x, y = (np.asarray(table[f"slot_Centroid_{axis}"]) for axis in "xy")
    cut = PSFStars.cut(masked, x, y, np.ones(81), size=41)
    np.testing.assert_allclose(cut.sky, SKY, rtol=0.02)
    assert cut.slope == pytest.approx(1, abs=0.02)


def test_pixels_beside_the_image_do_not_count(stars):
    cut = PSFStars.cut(stars[0], np.array([5.2]), np.array([595.0]), np.ones(1), size=41)
    assert not cut.good[0, :, :15].any()
    assert not cut.good[0, 25:].any()
    assert cut.good[0, :25, 15:].all()


def test_another_model_is_sampled_onto_pixels():
    from corontools.simulate.field_psf import MoffatField

    truth = MoffatField((400, 300))
    psf = PixelPSF.sampled(truth, (400, 300))
    x, y = np.random.default_rng(3).uniform(0, 1, (2, 60)) * [[299], [399]]
    expected = truth.images(x, y)
    assert np.abs(psf.images(x, y) - expected).max() < 2e-3 * expected.max()
    np.testing.assert_allclose(psf.sigma(x, y), truth.sigma(x, y), rtol=6e-4)

    class Unknown(MoffatField):
        def kernels(self, x, y):
            return np.where(np.asarray(x)[:, None, None] > 250, np.nan, super().kernels(x, y))

    assert np.abs(PixelPSF.sampled(Unknown((400, 300)), (400, 300)).images(x, y) - expected).max() < 3e-3
    with pytest.raises(DataError, match="isn't known at enough places"):
        PixelPSF.sampled(Unknown((400, 3000)), (400, 3000))
