"""The view of contrast curves in JupyterLab, and its page without a kernel."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser

EVIL = '</script><img src=x onerror="window.hit=1">'
SETUP = """
import numpy as np
from corontools import Exposure, Meta
from corontools.coron.contrast import measure
from corontools_widgets import ContrastExplorer
meta = Meta(instrument="NIRCAM", filter="F444W", pixel_scale=0.063)
def curve(seed):
    image = np.random.default_rng(seed).normal(size=(101, 101))
    return measure(Exposure(image, meta=meta), width=2, center="image").normalize(1e5)
"""
ZERO = """() => {
    const axis = document.querySelector('.bqplot .axis');
    const tick = [...axis.querySelectorAll('.tick')].find((one) => one.textContent === '0');
    return tick && tick.transform.baseVal.consolidate().matrix.e;
}"""
OPEN = f"view = ContrastExplorer(curve(0), name='this work'); view.add(curve(1), name={EVIL!r}); view"


def test_axes_change_between_linear_and_logarithmic(page, open_notebook, shot):
    """That nothing is logged on the console is seen to when the page is closed."""
    book = open_notebook(page, [SETUP, OPEN], until=".bqplot")
    ticks = page.locator(".bqplot .axis").first.locator(".tick")
    page.wait_for_timeout(800)
    first, zero = ticks.all_inner_texts(), page.evaluate(ZERO)
    for choice in ("log_x = True", "unit = 'px'", "log_x = False", "log_x = True", "unit = 'arcsec'", "log_x = False"):
        book.python(f"view.state.{choice}")
        page.wait_for_timeout(500)
    shot(page)
    page.wait_for_timeout(500)
    assert ticks.all_inner_texts() == first
    assert page.evaluate(ZERO) == pytest.approx(zero, abs=0.5)


def test_the_page_without_a_kernel_shows_the_curves(page, open_notebook, new_page, tmp_path, shot):
    book = open_notebook(page, [SETUP, OPEN], until=".bqplot")
    for scale in ("contrast", "magnitude"):
        path = tmp_path / f"{scale}.html"
        book.python(f"view.state.scale = {scale!r}; view.save({str(path)!r})")
        alone = new_page(offline=True)
        alone.goto(path.as_uri())
        plot = alone.locator("svg.ct-plot")
        plot.wait_for()
        shot(alone, scale)
        lines = plot.locator(".ct-line")
        assert lines.count() == 2
        # noise falls outwards: the limit ends lower than it begins, magnitudes grow downwards
        points = [point.split() for point in str(lines.first.get_attribute("d"))[1:].split("L")]
        assert float(points[4][1]) < float(points[-1][1])
        box = plot.bounding_box()
        alone.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert "separation" in alone.locator(".ct-note").inner_text()
        assert alone.locator(".ct-value").first.inner_text() != ""
        alone.locator(".ct-entry").nth(1).click()
        assert lines.count() == 1
        assert EVIL in alone.locator("main").inner_text()
        assert alone.evaluate("window.hit") is None
