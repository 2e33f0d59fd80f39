"""Warps, their match to a PSF that is chosen live, and their noise, without a browser."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from astropy.table import Table
from ipywidgets.widgets.widget import _instances

from corontools import DataError
from corontools.calibrate import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import GaussianPSF
from corontools.calibrate.visit import VisitImage
from corontools.simulate.field_psf import MoffatField
from corontools.warp import Coadd, FourierMatcher, ModelPSF, PSFMatcher, SkyMap, Tiling, Warp, look
from corontools.warp.diagnosis import Diagnosis
from corontools.warp.mosaic import Matches
from corontools.warp.sky import sky_wcs
from corontools_widgets.warp import WarpExplorer
from corontools_widgets.warp_state import WarpState, choices_of, matcher_of, model_of
from corontools_widgets.warp_work import Worker

SHAPE = (140, 150)
FINE = Diagnosis((), 0.001, 0.01, PSFMatcher(), ModelPSF(4.4), 0.001, 0.01)


def visit(psf, *, angle=0.0, stars=7, shape=SHAPE, detector=1, at=(0.0, 0.0)):
    """Noise 1 with a few stars, and a bad column."""
    rng = np.random.default_rng(3)
    image = rng.standard_normal(shape)
    places = rng.uniform(20, np.array(shape[::-1]) - 21, (stars, 2))
    for (x, y), star in zip(places, psf.images(*places.T) if stars else [], strict=True):
        half = psf.size // 2
        top, left = int(np.floor(y + 0.5)) - half, int(np.floor(x + 0.5)) - half
        rows, columns = slice(max(top, 0), top + psf.size), slice(max(left, 0), left + psf.size)
        image[rows, columns] += (
            2000 * star[rows.start - top :, columns.start - left :][: shape[0] - rows.start, : shape[1] - columns.start]
        )
    mask = np.zeros(shape, np.int32)
    mask[:, 30] = Plane.CR
    wcs = sky_wcs(
        (53.1, -27.8), ((shape[1] - 1) / 2 - at[0], (shape[0] - 1) / 2 - at[1]), Tiling(0.2, rotation=angle).cd
    )
    frame = MaskedImage(image.astype(np.float32), mask, np.ones(shape, np.float32))
    return VisitImage(frame, wcs, psf, visit=5, detector=detector, filter="r")


@pytest.fixture(scope="module")
def warp():
    psf = MoffatField(SHAPE, size=41)
    one = visit(psf)
    patch = SkyMap.around([one], tiling=Tiling(0.2, (210, 210), 0, rotation=20.0))[0][0, 0]
    return Warp.from_exposures(one, patch)


@pytest.fixture(autouse=True)
def no_faults(request, monkeypatch):
    """To look for faults takes longer than all else."""
    if "remedy" not in request.node.name:
        monkeypatch.setattr(Matches, "diagnose", lambda _: FINE)


@pytest.fixture(scope="module")
def matched(warp):
    return warp.match_psf(5.0, matcher=PSFMatcher(cell=64))


@pytest.fixture(scope="module")
def opened(warp):
    made = warp.explore()
    yield made
    made.close()


@pytest.fixture
def view(opened):
    """A view; each test begins with its first choices."""
    first = {**WarpState().to_dict(), **opened._subject.choices}
    opened.state.apply(first)
    opened.state.clear_history()
    return opened


def test_a_direct_warp_is_shown_with_the_match_to_the_model_as_wide_as_its_psf(view, warp):
    assert isinstance(view, WarpExplorer)
    assert view.pane.names == ["direct", "PSF-matched", "S/N of stars"]
    suggested = ModelPSF.like(warp.psf, shape=warp.shape).fwhm
    assert view.state.fwhm == suggested
    alone = warp.match_psf(suggested)
    np.testing.assert_array_equal(view.image(0), warp.frame.image)
    np.testing.assert_array_equal(view.image(1), alone.frame.image)
    assert (view.result.kind, view.result.psf) == ("psfMatched", ModelPSF(suggested))
    assert view.code == view.result.code == alone.code
    assert not view.state.can_undo
    assert view.sky.pixel_scale == 0.2
    assert view.controls.suggest.disabled
    assert "text/html" in view._repr_mimebundle_()


def test_each_choice_solves_for_other_kernels_and_convolves_the_image_anew(view, warp):
    before = view.image(1)
    for change, matcher in (
        ({"fwhm": 5.5}, PSFMatcher()),
        ({"kernel_size": 15, "order": 1}, PSFMatcher(kernel_size=15, order=1)),
        (
            {"sigmas": [1.05, 2.25, 4.5], "cell": 64},
            PSFMatcher(kernel_size=15, order=1, sigmas=(1.05, 2.25, 4.5), cell=64),
        ),
        ({"matcher": "fourier", "fourier_size": 31}, FourierMatcher(kernel_size=31, order=1, cell=64)),
    ):
        view.state.apply(change)
        alone = warp.match_psf(5.5, **({} if matcher == PSFMatcher() else {"matcher": matcher}))
        np.testing.assert_array_equal(view.image(1), alone.frame.image)
        np.testing.assert_allclose(view.pane.cube[1][alone.good], alone.frame.image[alone.good], rtol=1e-2, atol=0.1)
        for name in ("peak", "size", "noise_gain"):
            np.testing.assert_allclose(view.matches.quality[name], alone.convolved.quality[name], rtol=1e-9)
        assert view.code == alone.code
        assert view.matches.kernel_at([100], [90]).shape == alone.convolved.kernel_at([100], [90]).shape
    view.state.apply(view._subject.choices)
    np.testing.assert_array_equal(view.image(1), before)


def test_controls_follow_and_lead(view):
    keys = view.controls
    keys.fwhm.stepper.step(1)
    assert view.state.fwhm > view._subject.suggested
    keys.suggest.click()
    assert view.state.fwhm == view._subject.suggested
    keys.sigmas.value = (1.4, 3.0, 6.0)
    assert view.state.sigmas == [1.4, 3.0, 6.0]
    view.state.sigmas = [0.9, 2.0, 4.1]
    assert keys.sigmas.value == (0.9, 2.0, 4.1)
    assert keys.sigmas.label.startswith("other")
    keys.matcher.value = "fourier"
    assert keys.size.widget.layout.display == keys.sigmas.layout.display == "none"
    assert keys.fourier.stepper.names[keys.fourier.stepper.index] == "as the PSF"
    assert isinstance(view.matches.matcher, FourierMatcher)
    keys.again.click()
    assert view.matches.matcher == PSFMatcher()
    assert keys.again.disabled


def test_pictures_are_those_of_the_place_that_was_clicked(view):
    middle = view.panels.place.value
    view.state.cursor = [120.0, 140.0]
    assert view.panels.place.value != middle
    made = look.stamps_at(view.matches, 120.0, 140.0)
    assert made.kernel.shape == (21, 21)
    assert made.source.shape == made.matched.shape == made.residual.shape
    np.testing.assert_allclose(made.matched.sum(), 1, atol=2e-3)
    np.testing.assert_allclose(made.numbers["peak"], np.abs(made.residual).max() / made.peak, rtol=1e-3)
    np.testing.assert_allclose(made.kernel, view.result.convolved.kernel_at([120.0], [140.0])[0], atol=1e-9)
    assert f"noise gain\u00a0{made.numbers['noise_gain']:.3f}" in view.panels.place.value
    assert view.panels.place.value.count("<img") == view.panels.place.value.count('alt="') == 4
    assert (view.panels.quality._ring.x[0], view.panels.quality._ring.y[0]) == (120, 140)


@pytest.mark.parametrize("what", ["peak", "size", "shape"])
def test_quality_is_drawn_at_the_places_where_psfs_were_matched(view, what):
    view.state.quality = what
    table = view.matches.quality
    drawn = look.field(table, what)
    expected = {"peak": 100 * table["peak"], "shape": np.hypot(table["e1"], table["e2"])}
    if what in expected:
        np.testing.assert_allclose(drawn.length, expected[what])
    else:
        model = table["size"] - table["size_error"]
        np.testing.assert_allclose(drawn.dy, 100 * (table["size"] / model - 1), atol=1e-9)
    quality = view.panels.quality
    np.testing.assert_allclose(quality._dots.x, table["x"])
    quality._dots._element_click_handlers(quality._dots, {"data": {"x": 60.0, "y": 70.0}})
    assert view.state.cursor == [60.0, 70.0]


def test_blank_sky_of_right_variance_has_unit_width_and_sources_are_no_sky():
    one = visit(GaussianPSF.of_fwhm(3.5))
    blank = look.blank_sky(one.frame, one.psf)
    found = look.noise(one.frame, blank)
    assert abs(found.width - 1) < 0.03
    assert found.n == blank.sum() > 0.7 * blank.size
    assert not blank[:, 30].any()
    assert one.frame.image[blank].max() < 6
    np.testing.assert_allclose((found.density * np.diff(look.EDGES)).sum(), 1, atol=1e-3)
    twice = look.noise(one.frame.with_(variance=4 * one.frame.variance), blank)
    np.testing.assert_allclose(twice.width, found.width / 2, rtol=1e-5)
    nothing = look.noise(one.frame, np.zeros(SHAPE, bool))
    assert nothing.n == 0


def test_noise_of_both_images_is_told(view):
    assert abs(view.noise["direct"].width - 1) < 0.04
    assert abs(view.noise["PSF-matched"].width - 1) < 0.1
    assert set(view.noise) == {"direct", "PSF-matched"}
    assert f"direct {view.noise['direct'].width:.3f}" in view.text
    line = view.panels.noise._lines["direct"]
    np.testing.assert_allclose(np.max(line.y), view.noise["direct"].density.max())


def test_the_remedy_of_the_diagnosis_is_taken(view):
    view.state.kernel_size = 9
    found = view.diagnosis
    assert "boxy" in found.faults
    assert "boxy</b> found" in view.panels.faults.value
    view.panels.remedy.click()
    assert view.matches.matcher == found.matcher
    assert view.matches.matcher.kernel_size > 9
    assert view.matches.quality["peak"].max() < found.peak
    view.state.undo()
    assert view.state.kernel_size == 9


def test_every_matcher_and_model_has_its_choices():
    for matcher in (
        PSFMatcher(),
        PSFMatcher(kernel_size=31, sigmas=(1.0, 2.0), degrees=(4, 2), auto_pad=None, pad_by=20, damping=1e-3),
        FourierMatcher(),
        FourierMatcher(kernel_size=33, damping=1e-3, cell=64),
    ):
        for model in (ModelPSF(4.4), ModelPSF(4.4, wing=0.2), GaussianPSF(2.0)):
            state = WarpState(**choices_of(matcher, model))
            assert matcher_of(state, matcher) == matcher
            assert model_of(state, model) == model
    assert model_of(WarpState(fwhm=5.0), ModelPSF(4.0, wing=0.2)) == ModelPSF(5.0, wing=0.2)
    for wrong in ({"kernel_size": 20}, {"fwhm": -1.0}, {"sigmas": [0.0]}, {"tint": "GHOST"}):
        with pytest.raises(DataError, match=next(iter(wrong))):
            WarpState(**wrong)


def test_a_match_that_fails_is_told_and_leaves_what_was(view):
    before = view.image(1)
    view.state.apply({"auto_pad": None, "kernel_size": 61})
    assert "as large as the stamps" in view.text
    np.testing.assert_array_equal(view.image(1), before)
    assert "see below" in view._status.value
    view.state.undo()
    assert "as large as the stamps" not in view.text
    assert "see below" not in view._status.value


def test_planes_are_tinted_in_each_image_by_its_own_mask(view):
    assert view.pane._mask == b""
    view.seen.tint.value = "CR"
    direct = view.pane._mask
    assert view.pane._mask_of == {"name": "CR", "each": True}
    view.state.kernel_size = 31  # gathers further
    assert view.pane._mask != direct
    view.state.tint = ""
    assert view.pane._mask == b""


def test_snr_is_made_when_it_is_looked_at_and_has_limits_of_its_own(warp):
    view = warp.explore()
    assert np.isnan(view.image(2)).all()
    direct = view.pane.limits
    view.state.frame = 2
    np.testing.assert_array_equal(view.image(2), warp.likelihood().convolved.snr)
    assert view.pane.limits != direct
    view.pane.limits = (-1.0, 9.0)
    assert (view.state.snr_limits, view.state.limits) == ([-1.0, 9.0], [])
    view.state.apply({"frame": 1, "own": True})
    assert view.pane.limits == view._automatic["matched_limits"] != direct
    view.state.own = False
    assert view.pane.limits == direct
    view.close()


def test_a_matched_warp_is_shown_as_it_was_given(matched, warp):
    view = matched.explore()
    assert (view.state.frame, view.state.cell, view.state.fwhm) == (1, 64, 5.0)
    assert view.result is matched
    assert view.code == matched.code
    view.state.order = 1
    assert view.result.direct is warp
    view.controls.again.click()
    assert view.result is matched
    view.close()


def test_a_warp_whose_direct_one_is_missing_has_no_choices(matched, warp):
    view = matched.with_(direct=None).explore()
    assert view.pane.names == ["PSF-matched"]
    assert view.controls is None
    assert view.panels.place.value.count("<img") == 4
    assert view.noise["PSF-matched"].n > 1000
    assert view.result.kind == "psfMatched"
    view.close()
    made = warp.likelihood()
    view = made.with_(direct=None).explore()
    assert view.pane.names == ["S/N of stars", "flux of a star"]
    np.testing.assert_array_equal(view.image(1), made.convolved.flux.image)
    assert view.panels.quality is None
    assert "flux error" in view.text
    view.close()
    view = made.explore()
    assert view.state.frame == 2
    np.testing.assert_array_equal(view.image(2), made.convolved.snr)
    view.close()


def test_a_model_that_is_no_model_psf_stays_until_another_is_chosen(warp):
    view = warp.match_psf(GaussianPSF(2.4, 41)).explore()
    assert view.state.fwhm == 0
    assert view.matches.model == GaussianPSF(2.4, 41)
    view.controls.suggest.click()
    assert isinstance(view.matches.model, ModelPSF)
    view.close()


def test_an_empty_warp_has_no_view(warp):
    with pytest.raises(DataError, match="nothing to see"):
        WarpExplorer(warp.with_(psf=None, reason="no good pixel"))


def test_in_a_notebook_the_image_follows_while_the_page_is_answered(warp):
    async def drag():
        view = warp.explore()
        said = []
        for fwhm in (5.0, 5.2, 5.4):
            view.state.fwhm = fwhm
            said.append(view._status.value)
            assert view.matches.model.fwhm == fwhm  # kernels at once
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if view.diagnosis is not None and not view._status.value.count("working"):
                break
        ends = view.matched.psf.fwhm, view._shown_key == view._key, set(view.noise)
        view.close()
        return said, ends

    said, ends = asyncio.run(drag())
    assert all("working" in words for words in said)
    assert ends == (5.4, True, {"direct", "PSF-matched"})


def test_a_worker_forgets_what_nobody_waits_for():
    async def ask():
        worker, seen = Worker(), []
        for i in range(4):
            worker.ask(lambda i=i: i, seen.append)
        while worker.busy:
            await asyncio.sleep(0.005)
        worker.ask(lambda: 9, seen.append)
        worker.close()
        await asyncio.sleep(0.02)
        return seen

    assert asyncio.run(ask()) == [0, 3]


def test_files_hold_the_picture_the_page_and_the_quality(view, tmp_path):
    for suffix in (".png", ".svg", ".html", ".csv", ".ecsv"):
        assert view.save(tmp_path / f"a{suffix}").stat().st_size > 1000
    table = Table.read(tmp_path / "a.ecsv")
    np.testing.assert_allclose(table["peak"], view.matches.quality["peak"])
    assert "unit Gaussian" in (tmp_path / "a.html").read_text("utf-8")


@pytest.fixture(scope="module")
def coadd(warp):
    other = visit(MoffatField(SHAPE, size=41)).with_(visit=6)
    return Coadd.from_warps([warp, Warp.from_exposures(other, warp.patch)])


def test_a_coadd_is_shown_with_errors_depth_and_weights(coadd, tmp_path):
    view = coadd.explore()
    assert view.result is coadd
    assert view.sky.pixel_scale == 0.2
    limits = view.pane.limits
    good = coadd.good
    np.testing.assert_array_equal(view.image(1)[good], coadd.error[good])
    assert np.isnan(view.image(1)[~good]).all()
    np.testing.assert_array_equal(view.image(2), coadd.depth)
    assert np.nanmax(view.image(3)) == 100
    view.state.frame = 2
    assert view.pane.limits == (0.0, coadd.depth.max()) != limits
    assert view.pane.unit == "warps"
    view.pane.limits = (0.0, 1.0)
    assert (view.state.depth_limits, view.state.limits) == ([0.0, 1.0], [])
    view.state.cursor = [105.0, 105.0]
    assert "At (105, 105) px: 5, 6." in view.text
    assert ">5<" in view._here.value
    view.state.tint = "CR"
    assert view.pane._mask != b""
    for suffix in (".png", ".html", ".ecsv"):
        assert view.save(tmp_path / f"c{suffix}").stat().st_size > 500
    with pytest.raises(DataError, match="tint"):
        view.state.apply({"tint": "GHOST"})
    view.close()


def test_closing_leaves_no_widget(warp, matched, coadd):
    for given in (warp, matched.with_(direct=None), coadd):
        before = len(_instances)
        view = given.explore()
        opened_with = len(_instances)
        for change in ({"tint": "CR"}, {"cursor": [100.0, 100.0]}):
            view.state.apply(change)
            view.state.undo()
        assert len(_instances) == opened_with
        view.close()
        assert len(_instances) == before
