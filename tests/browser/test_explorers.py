"""The views of an alignment, a stack and an exposure in JupyterLab."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser

SETUP = """
from corontools import PSFStack, simulate
from corontools_widgets import alignment, exposure, stack
from corontools_widgets.explore import explore
sim = simulate.tiny()
refs = PSFStack.from_exposures(sim.references)
"""
OPEN = {
    "alignment": "view = explore(refs.align_to(sim.science[0])); view",
    "stack": "view = explore(refs); view",
    "exposure": "view = explore(sim.science[0]); view",
}
READY = ".ctp[data-ready=true]"


OUTSIDE = """() => [...document.querySelectorAll('.jp-OutputArea-output .widget-vbox')].flatMap(root => {
    const right = root.getBoundingClientRect().right + 1;
    return [...root.querySelectorAll('.widget-button, .widget-checkbox, .ctp, .ct-strip, .bqplot, .widget-html')]
        .filter(e => e.getBoundingClientRect().right > right).map(e => e.className);
})"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_views_fit_the_page(new_page, open_notebook, shot, theme):
    page = new_page(viewport={"width": 1200, "height": 3600})
    open_notebook(page, [SETUP, *OPEN.values()], theme=theme, until=READY)
    for width in (1200, 700):
        page.set_viewport_size({"width": width, "height": 3600})
        page.wait_for_function(f"document.querySelectorAll({READY!r}).length === 3")
        page.wait_for_timeout(1000)
        shot(page, str(width))
        assert page.evaluate(OUTSIDE) == []


def test_a_thumbnail_shows_its_reference_and_a_box_leaves_it_out(page, open_notebook, shot):
    book = open_notebook(page, [SETUP, OPEN["alignment"]], until=READY)
    page.locator(".ct-strip-item").nth(3).click()
    assert book.wait_for("view.state.reference", 3) == 3
    page.locator(".ct-strip-item input").nth(3).click()
    assert book.wait_for("view.result.n_ref", 9) == 9
    assert book.value("view.result.code").endswith(".select([0, 1, 2, 4, 5, 6, 7, 8, 9])")
    page.get_by_text("left out").first.wait_for()
    page.get_by_role("button", name="copy as code").click()
    page.wait_for_timeout(300)
    shot(page)
    page.get_by_role("button", name="undo").click()
    assert book.wait_for("view.result.n_ref", 10) == 10
    book.python("view.pane.frame = 2")
    page.wait_for_timeout(1000)
    shot(page, "difference")


def test_painting_masks_pixels(page, open_notebook, shot):
    book = open_notebook(page, [SETUP, OPEN["stack"]], until=READY)
    book.python("view.pane.tool = 'paint'")
    page.wait_for_timeout(300)
    box = page.locator(".ctp-image").first.bounding_box()
    x, y = box["x"] + box["width"] / 3, box["y"] + box["height"] / 3
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=5)
    page.mouse.up()
    assert book.wait_for("len(view.state.painted)", 1) == 1
    assert book.value("int(view.painted.sum())") > 10
    book.python("view._fold.value = True; view._reject.value = True; view._boxes['outliers found'].value = True")
    page.wait_for_timeout(500)
    assert book.value("bool((~view.result.exposure.good)[0][view.painted[0]].all())")
    shot(page)


def test_a_click_on_the_image_follows_the_pixel(page, open_notebook, shot):
    book = open_notebook(page, [SETUP, OPEN["exposure"]], until=READY)
    box = page.locator(".ctp-image").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    first = book.value("list(view.exposure.center)")
    assert book.wait_for("view.state.cursor != " + repr(first)) is True
    x, y = book.value("view.pixel")
    page.get_by_text(f"pixel ({x}, {y}) in every integration").first.wait_for()
    shot(page)


def test_the_page_without_a_kernel_shows_the_image(new_page, tmp_path, open_notebook):
    page = new_page()
    book = open_notebook(page, [SETUP, OPEN["exposure"]], until=READY)
    path = tmp_path / "page.html"
    book.python(f"view.save({str(path)!r})")
    alone = new_page(offline=True)
    alone.goto(path.as_uri())
    alone.locator(READY).wait_for()
    assert "integration 0 of 2" in alone.locator("main").inner_text()
