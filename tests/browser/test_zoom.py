"""Every view at 150 and 200 % zoom: the page has fewer CSS pixels, and each of them more pixels of the screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.lab import SHOWN, Notebook
from tests.browser.test_interfaces import READY, RESTS, SETUP, TALL, VIEWS, is_drawn, what_does_not_fit

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

# a window 1400 px wide
WINDOW = 1400
# pixels of each drawn image for a CSS pixel, and the most that its bitmap may be scaled by
SHARP = """() => [...document.querySelectorAll('.ctp-image canvas')].filter(e => e.checkVisibility())
    .map(e => e.width / e.getBoundingClientRect().width / devicePixelRatio)"""


@pytest.mark.parametrize("zoom", [1.5, 2.0])
def test_every_view_fits_the_page_and_is_sharp_when_it_is_zoomed(
    new_page: Callable[..., Page], open_notebook: Callable[..., Notebook], shot: Callable[..., Any], zoom: float
) -> None:
    size = {"width": round(WINDOW / zoom), "height": TALL}
    page = new_page(viewport=size, device_scale_factor=zoom)
    page.watch.expect(".woff2")  # type: ignore[attr-defined]
    open_notebook(page, [SETUP, *VIEWS], ui="lab", theme="light", until=READY)
    page.locator(f"{READY} canvas:visible").nth(sum(VIEWS.values()) - 1).wait_for(timeout=SHOWN)
    page.wait_for_timeout(RESTS)
    beyond = what_does_not_fit(page)
    shot(page, f"zoom_{zoom:g}")
    assert not beyond, "cut or outside:\n" + "\n".join(beyond)
    is_drawn(page)
    for scale in page.evaluate(SHARP):
        assert scale == pytest.approx(1.0, abs=0.02)
