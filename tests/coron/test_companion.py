"""Place and flux of a companion: found where it was put, as well as the errors say."""

import numpy as np
import pytest

from corontools import DataError, Exposure, PSFStack, Source, fit_companion, replay
from corontools.coron.companion import _plane, _products
from corontools.coron.source import on_detector, on_sky
from corontools.simulate import null, tiny

PSF = Source.gaussian(2.3)
SHAPE = 72


@pytest.fixture(scope="module")
def klip():
    science, references = null(2, 20, shape=SHAPE)
    bad = np.random.default_rng(8).random(science.shape) < 0.01
    return PSFStack.from_exposures([references]).align_to(science.mask(bad), to="none").klip(12).at(8)


@pytest.fixture(scope="module")
def noise(klip):
    return klip.detection_map(PSF, modes=[8]).err[0]


def placed(klip, r, angle):
    x, y = klip.target.center
    return x + r * np.cos(angle), y + r * np.sin(angle)


def test_inner_products_are_those_of_the_residuals(klip):
    pixels = np.sort(np.random.default_rng(1).choice(SHAPE * SHAPE, 60, replace=False))
    templates = np.random.default_rng(2).normal(size=(3, 60))
    found = _products(klip, pixels, templates)
    # the same by adding each template to the images and subtracting again
    images, left = np.zeros((3, SHAPE, SHAPE)), []
    for image, values in zip(images, templates, strict=True):
        image.flat[pixels] = values
        bright = klip.target.with_(data=klip.target.data + 1e3 * image, source="")
        refs = klip.aligned.with_(target=bright)
        left.append((refs.klip(12).at(8).frames - klip.frames) / 1e3)
    good = np.isfinite(klip.frames)
    for a in range(3):
        assert found.matched[a] == pytest.approx(
            np.sum(klip.frames[good] * (images[a] * good)[good]), rel=1e-6, abs=1e-9
        )
        for b in range(3):
            brute = np.sum(left[a][good] * left[b][good])
            assert found.gram[a, b] == pytest.approx(brute, rel=1e-6, abs=1e-9)


def test_a_bright_companion_is_found_where_it_is(klip, noise):
    place = placed(klip, 20.3, 1.1)
    flux = 1e5 * float(np.nanmedian(noise))
    fit = klip.inject(flux, position=place, psf=PSF).fit_companion(position=(place[0] + 1.2, place[1] - 0.9), psf=PSF)
    np.testing.assert_allclose(fit.position, place, atol=5e-4)
    assert fit.flux == pytest.approx(flux, rel=1e-4)
    assert fit.snr > 1e4
    sep, pa = on_sky(klip.target, place)
    assert (fit.sep, fit.pa) == (pytest.approx(sep, abs=1e-4), pytest.approx(pa, abs=1e-3))
    left, before = (np.nanstd(one.frames) for one in (fit.without[0], klip))
    assert left == pytest.approx(before, rel=1e-3)


def test_errors_hold_the_truth_as_often_as_they_should(klip, noise):
    rng, inside = np.random.default_rng(11), []
    for _ in range(100):
        r, angle = rng.uniform(9, 30), rng.uniform(0, 2 * np.pi)
        place = placed(klip, r, angle)
        flux = 15 * float(noise[round(place[1]), round(place[0])])
        seen = klip.inject(flux, position=place, psf=PSF)
        fit = seen.fit_companion(position=tuple(np.add(place, rng.normal(0, 0.5, 2))), psf=PSF)
        sep, pa = on_sky(klip.target, place)
        off = np.array([fit.sep - sep, (fit.pa - pa + 180) % 360 - 180, fit.flux - flux])
        inside.append(np.abs(off) < [fit.sep_err, fit.pa_err, fit.flux_err])
    shares = np.mean(inside, axis=0)
    assert (np.abs(shares - 0.68) <= 0.10).all(), shares


def test_sources_put_in_at_other_angles_scatter_as_the_errors_say(klip, noise):
    place = placed(klip, 22.0, 4.0)
    fit = klip.inject(20 * float(np.nanmedian(noise)), position=place, psf=PSF).fit_companion(position=place, psf=PSF)
    check = fit.check(20)
    assert check.lost == 0
    assert check.errors.shape == (20, 3)
    expected = np.sqrt(np.diag(fit.covariance))
    # along x and y the errors of a place differ with its angle; together they are as large
    assert np.hypot(*check.scatter[:2]) == pytest.approx(np.hypot(*expected[:2]), rel=0.35)
    assert check.scatter[2] == pytest.approx(expected[2], rel=0.35)
    assert (np.abs(check.bias) < check.scatter).all()


def test_both_rolls_are_fitted_at_once_north_up():
    run = tiny()
    stack = PSFStack.from_exposures(run.references)
    rolls = [stack.align_to(one, to="none").klip(6).at(4) for one in run.science]
    level = float(np.nanmedian(rolls[0].detection_map(PSF, modes=[4]).err))
    seen = [one.inject(60 * level, sep=0.9, pa=215.0, psf=PSF) for one in rolls]
    fit = fit_companion(seen, sep=0.95, pa=213.0, psf=PSF)
    assert fit.sep == pytest.approx(0.9, abs=max(4 * fit.sep_err, 1e-3))
    assert fit.pa == pytest.approx(215.0, abs=max(4 * fit.pa_err, 0.1))
    assert fit.flux == pytest.approx(60 * level, abs=4 * fit.flux_err)
    alone = seen[0].fit_companion(sep=0.95, pa=213.0, psf=PSF)
    assert fit.flux_err < alone.flux_err
    assert fit.history[0].startswith("fit_companion([")
    assert fit.history[0].endswith("sep=0.95, pa=213.0, psf=Source.gaussian(2.3))")
    # what is taken out is taken out of both
    assert len(fit.without) == 2


def test_places_on_the_sky_and_on_the_detector_are_each_other_backwards():
    target = tiny().science[0]
    for sep, pa in ((0.5, 10.0), (1.2, 190.0), (2.0, 300.0)):
        assert on_sky(target, on_detector(target, sep, pa)) == (pytest.approx(sep), pytest.approx(pa))
    with pytest.raises(DataError, match="no WCS"):
        on_sky(Exposure(np.ones((5, 5))), (1.0, 2.0))


def test_without_a_wcs_places_are_in_pixels(klip, noise):
    bare = klip.with_(aligned=klip.aligned.with_(target=klip.target.with_(wcs=None)))
    place = placed(klip, 18.0, np.pi / 2)
    flux = 50 * float(np.nanmedian(noise))
    fit = bare.inject(flux, position=place, psf=PSF).fit_companion(position=place, psf=PSF)
    assert fit.sep == pytest.approx(18.0, abs=5 * fit.sep_err)
    assert min(fit.pa, 360 - fit.pa) < 5 * fit.pa_err  # +y
    assert str(fit.table["sep"].unit) == "pix"


def test_it_shows_itself_and_is_replayed(klip, noise):
    place = placed(klip, 22.0, 2.0)
    seen = klip.inject(30 * float(np.nanmedian(noise)), position=place, psf=PSF)
    fit = seen.fit_companion(position=place, psf=PSF)
    assert "S/N" in repr(fit)
    assert "<img" in fit._repr_html_()
    assert fit.table.colnames == ["sep", "sep_err", "pa", "pa_err", "flux", "flux_err", "snr"]
    assert fit.table["snr"][0] == fit.snr
    again = replay(fit, arrays=[klip.target, klip.aligned.stack.exposure])
    assert again.digest() == fit.digest()


@pytest.mark.parametrize(
    ("guess", "words"),
    [
        ({}, "needs a guess"),
        ({"sep": 1.0}, "needs a guess"),
        ({"position": (35.5, 35.5)}, "on it, or outside"),
        ({"position": (500.0, 3.0)}, "on it, or outside"),
        ({"position": (42.0, 20.0)}, "no source within"),
    ],
)
def test_what_cannot_be_is_said(klip, guess, words):
    # a wide blob draws the fit along
    blob = klip.inject(1e6, position=(42.0, 12.0), psf=Source.gaussian(9.0))
    quiet = blob if words.startswith("no source") else klip
    with pytest.raises(DataError, match=words):
        quiet.fit_companion(**guess, psf=PSF)


def test_rolls_have_no_pixel_in_common_and_something_must_be_fitted(klip):
    with pytest.raises(DataError, match="no pixel in common"):
        fit_companion([klip, klip], position=(30.0, 30.0), psf=PSF)
    with pytest.raises(DataError, match="at least one"):
        fit_companion([])
    bare = klip.with_(aligned=klip.aligned.with_(target=klip.target.with_(wcs=None)))
    with pytest.raises(DataError, match="has no WCS"):
        _plane([bare], PSF, 1.0, 20.0, None)


def test_another_companion_that_is_named_is_no_noise(klip, noise):
    place, other = placed(klip, 20.0, 1.0), placed(klip, 20.0, 3.0)
    flux = 30 * float(np.nanmedian(noise))
    both = klip.inject([flux, 20 * flux], position=[place, other], psf=PSF)
    alone = klip.inject(flux, position=place, psf=PSF).fit_companion(position=place, psf=PSF)
    blind = both.fit_companion(position=place, psf=PSF)
    there = on_sky(klip.target, other)
    named = both.fit_companion(position=place, psf=PSF, others=[there])
    assert blind.covariance[2, 2] > 10 * alone.covariance[2, 2]
    assert named.covariance[2, 2] == pytest.approx(alone.covariance[2, 2], rel=0.5)
    assert named.controls < blind.controls
    assert named.history[-1].endswith(f"others=[({there[0]!r}, {there[1]!r})])")
