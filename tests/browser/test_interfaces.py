"""Every view in every interface, light and dark, on a wide and on a narrow page."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.browser.lab import SHOWN, THEMES, Notebook
from tests.browser.timing import pixels_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

SETUP = """
import numpy as np
from corontools import BackgroundModel, Exposure, FlickerCleaner, PSFStack, simulate
from corontools.arrays.flicker import flicker_noise
sim = simulate.tiny()
stack = PSFStack.from_exposures(sim.references)
aligned = stack.align_to(sim.science[0])
klip = aligned.klip(4)
peak = float(sim.psf().max() * sim.truth.flux)
curve = klip.contrast().sigma(5).normalize(peak)
rate = Exposure(10 + flicker_noise((96, 96)) + np.random.default_rng(1).normal(size=(96, 96)))
cleaner = FlickerCleaner(rate, axis=1, channels=4)
rng, reference = np.random.default_rng(1), 1 + 0.4 * np.sin(np.indices((128, 160))[1] / 30)
boxes = [(x, y, x + 60, y + 4) for x, y in rng.integers(0, 120, (8, 2)).tolist()]
light = rng.normal(0.5 * reference, 0.1)
for x0, y0, x1, y1 in boxes:
    light[y0 : y1 + 1, x0 : x1 + 1] += 1
grism = Exposure(light, err=np.full(light.shape, 0.1))
from corontools.calibrate import CalibratedImage
field = simulate.star_field(1024)
frame = CalibratedImage.from_snaps(field.exposures[0], steps={"photometry": {"band": "r"}}).repair().model_psf()
frame = frame.correct_apertures().solve_astrometry(field.refcat()).find_stars().solve_photometry(field.refcat())
star = frame.stars[frame.stars["calib_psf_used"]][0]
place = [float(star[f"slot_Centroid_{axis}"]) for axis in "xy"]
from corontools.calibrate.visit import VisitImage
from corontools.warp import SkyMap, Tiling, Warp
sky = simulate.star_field(256)
visit = VisitImage.from_exposure(sky.exposures[0], sky.truth.psf, visit=1)
warp = Warp.from_exposures(visit, SkyMap.around([visit], tiling=Tiling(0.2, (340, 340), 0, rotation=20.0))[0][0, 0])
"""
# what opens each view, and how many images it shows
VIEWS = {
    "klip.explore(companions=sim.truth.companions, star_flux=peak)": 1,
    "curve.explore()": 0,
    "aligned.explore()": 2,
    "stack.explore()": 1,
    "sim.science[0].explore()": 1,
    "cleaner.explore()": 2,
    "BackgroundModel.from_reference(reference).mask_sources(boxes).explore(grism)": 2,
    "frame.explore(cursor=place)": 3,
    "klip.detection_map(sim.psf(21)).explore(star_flux=sim.truth.flux)": 1,
    "warp.explore(compare=1)": 2,
}
PLOTS = 16  # four of a calibrated frame, two each beside residual, stripes, limits and warp, one each of the others
READY = ".ctp[data-ready=true]"
ROOT = ".jp-OutputArea-output:has(.widget-vbox)"
# all of the page is on the screen: interfaces don't draw what is far from it
TALL = 19500
WIDTHS = (1280, 700)
RESTS = 500  # ms after a change of width or theme
SETTLED = 8.0  # s for plots to have followed it

# controls, images, plots and sentences that don't end within their view, and views that don't end within the page
OUTSIDE = """selector => [...document.querySelectorAll(selector)].flatMap(root => {
    const right = Math.min(root.getBoundingClientRect().right, innerWidth) + 1;
    const words = document.createRange();
    const end = e => {
        words.selectNodeContents(e);
        return (e.matches('.widget-html-content') ? words : e).getBoundingClientRect().right;
    };
    const parts = 'button, select, input, label, output, .ctp canvas, svg, .widget-html-content';
    return [root, ...root.querySelectorAll(parts)]
        .filter(e => e.checkVisibility() && !e.closest('.ct-strip') && end(e) > right)
        .map(e => `${e.tagName} ${e.className}: ${e.textContent}`);
})"""
# labels, buttons and words of plots that are cut
CUT = """selector => [...document.querySelectorAll(selector)].flatMap(root => {
    const controls = [...root.querySelectorAll('.widget-label, button')];
    const across = (a, b) => a.left > b.left - 1 && a.right < b.right + 1;
    const within = (a, b) => across(a, b) && a.top > b.top - 1 && a.bottom < b.bottom + 1;
    const words = [...root.querySelectorAll('svg text')].filter(e => e.getBoundingClientRect().width);
    return [...controls.filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1),
        ...words.filter(e => !within(e.getBoundingClientRect(), e.ownerSVGElement.getBoundingClientRect()))]
        .map(e => e.textContent);
})"""
# plots without a line or a point that is drawn somewhere
EMPTY = """selector => [...document.querySelectorAll(selector)].flatMap(root => [...root.querySelectorAll('.bqplot')])
    .filter(plot => ![...plot.querySelectorAll('.mark path, path.line, path.element')]
        .some(e => e.getBoundingClientRect().width > 3)).length"""


DARK = """theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme}).then(() => null)"""
INK = "e => getComputedStyle(e).color.match(/[0-9.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3"


@pytest.mark.parametrize("ui", ["lab", "notebook", "voila"])
def test_every_view_is_drawn_and_fits_the_page_in_both_themes(
    page: Page, open_notebook: Callable[..., Notebook], shot: Callable[..., Any], ui: str
) -> None:
    # a server of both Lab and Notebook looks for a font that both have in the folder of the first that asked
    page.watch.expect(".woff2")  # type: ignore[attr-defined]
    for theme in THEMES:
        if theme == "dark" and ui != "voila":
            page.evaluate(DARK, THEMES[theme])
            page.wait_for_timeout(RESTS)
        else:
            page.set_viewport_size({"width": WIDTHS[0], "height": TALL})
            open_notebook(page, [SETUP, *VIEWS], ui=ui, theme=theme, until=READY)
            page.locator(f"{READY} canvas:visible").nth(sum(VIEWS.values()) - 1).wait_for(timeout=SHOWN)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": TALL})
            page.wait_for_timeout(RESTS)
            beyond = what_does_not_fit(page)
            shot(page, f"{theme}_{width}")
            assert not beyond, "cut or outside:\n" + "\n".join(beyond)
        is_drawn(page)
        ink = page.locator(READY).first.evaluate(INK)
        assert (ink < 128) == (theme == "light"), "words should stand out of the theme's background"


def what_does_not_fit(page: Page) -> list[str]:
    """What sticks out or is cut, once plots have had time to follow the page."""
    everything = f"[...({OUTSIDE})({ROOT!r}), ...({CUT})({ROOT!r})]"
    end = time.monotonic() + SETTLED
    while (found := page.evaluate(everything)) and time.monotonic() < end:
        page.wait_for_timeout(200)
    return list(found)


def is_drawn(page: Page) -> None:
    """Every view is there, no image is blank, no plot empty."""
    assert page.locator(ROOT).count() == len(VIEWS)
    images = page.locator(f"{READY} .ctp-image canvas:visible").all()
    assert len(images) == sum(VIEWS.values())
    assert all(len(np.unique(pixels_of(image).reshape(-1, 3), axis=0)) > 50 for image in images)
    assert page.locator(".bqplot").count() >= PLOTS
    assert page.evaluate(EMPTY, ROOT) == 0
