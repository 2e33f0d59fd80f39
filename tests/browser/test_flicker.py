"""The view of a FlickerCleaner in JupyterLab."""

from __future__ import annotations

import numpy as np
import pytest

from tests.browser.timing import pixels_of

pytestmark = pytest.mark.browser

SETUP = """
import numpy as np
from corontools import Exposure, FlickerCleaner, Meta
from corontools.arrays.flicker import flicker_noise
rng = np.random.default_rng(1)
shape = (2, 4, 128, 128)
y, x = np.indices(shape[2:])
scene = 20 + sum(f * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 18) for a, b, f in ((40, 30, 900), (90, 100, 400)))
ramp = scene * np.arange(1, 5)[:, None, None] + flicker_noise(shape, rms=6.0, channels=4) + rng.normal(0, 3, shape)
cleaner = FlickerCleaner(Exposure(ramp, meta=Meta(target="field", unit="DN")), axis=1, channels=4)
"""
OPEN = "view = cleaner.explore(); view"
READY = ".ctp[data-ready=true]"
IMAGE = f"{READY} .ctp-image canvas:visible"


def shown(page, panel):
    """Pixels of the image before (0) or after (1)."""
    return pixels_of(page.locator(IMAGE).nth(panel)).astype(int)


def changed(page, panel, before):
    """Wait until an image is another one than before."""
    for _ in range(100):
        now = shown(page, panel)
        if now.shape != before.shape or (now != before).any():
            return now
        page.wait_for_timeout(100)
    raise AssertionError("the image stays as it was")


def drag(page, *, by):
    """Press on the first image, move and release."""
    box = page.locator(".ctp-image").first.bounding_box()
    x, y = box["x"] + box["width"] / 5, box["y"] + box["height"] / 3
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by, y + by, steps=5)
    page.mouse.up()


def test_another_method_changes_the_image(page, open_notebook, shot):
    book = open_notebook(page, [SETUP, OPEN], until=READY)
    page.locator(IMAGE).nth(1).wait_for()
    page.wait_for_timeout(500)
    before, after = shown(page, 0), shown(page, 1)
    page.get_by_label("noise", exact=True).select_option(label="slow waves (fft)")
    now = changed(page, 1, after)
    assert book.value("view.result.plan.noise") == "fft"
    # the image as it was given stays, at the places of its pixels
    assert np.median(np.abs(shown(page, 0) - before)) == 0
    assert np.mean(np.abs(now - after)) > 0
    page.get_by_role("button", name="undo").click()
    assert book.wait_for("view.result.plan.noise", "median") == "median"
    shot(page)


def test_painting_changes_the_fit(page, open_notebook, shot):
    book = open_notebook(page, [SETUP, OPEN], until=READY)
    book.python("noise = view.shown.noise.copy(); used = view.mask.sum(); view.pane.tool = 'paint'")
    page.wait_for_timeout(500)
    drag(page, by=60)
    assert book.wait_for("len(view.state.painted)", 1) == 1
    assert book.value("bool(view.mask.sum() < used)")
    assert book.value("bool((view.shown.noise != noise).any())")
    book.python("used = view.mask.sum(); view.pane.tool = 'rectangle'")
    page.wait_for_timeout(300)
    drag(page, by=40)
    assert book.wait_for("[r['kind'] for r in view.state.regions]", ["rectangle"]) == ["rectangle"]
    assert book.value("bool(view.mask.sum() < used)")
    shot(page)


def test_the_group_and_the_noise_can_be_looked_at(page, open_notebook, shot):
    book = open_notebook(page, [SETUP, OPEN], until=READY)
    page.get_by_title("next groups").click()
    assert book.wait_for("view.place", [0, 2]) == [0, 2]
    page.get_by_text("integration 1, group 3 \u2212 2").first.wait_for()
    book.python("view.state.apply({'frame': 2, 'compare': -1})")
    page.wait_for_timeout(800)
    shot(page)
    assert len(np.unique(shown(page, 0).reshape(-1, 3), axis=0)) > 50


def test_the_page_without_a_kernel_shows_before_and_after(new_page, tmp_path, open_notebook, shot):
    page = new_page()
    book = open_notebook(page, [SETUP, OPEN], until=READY)
    path = tmp_path / "page.html"
    book.python(f"view.save({str(path)!r})")
    alone = new_page(offline=True)
    alone.goto(path.as_uri())
    alone.locator(READY).wait_for()
    assert "integration 1, group 2" in alone.locator("main").inner_text()
    assert alone.get_by_text("Power spectrum of the levels").count() >= 1
    shot(alone)
