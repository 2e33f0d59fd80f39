"""The KL explorer in a real notebook, by mouse and keyboard."""

from __future__ import annotations

import pytest

from tests.browser.timing import differ, pixels_of

pytestmark = pytest.mark.browser

MADE = """
from corontools import PSFStack
from corontools.simulate import demo
run = demo()
klip = PSFStack.from_exposures(run.references).align_to(run.science[0]).klip(9)
"""
SHOWN = """
view = klip.explore(companions=run.truth.companions, star_flux=float(run.psf().max() * run.truth.flux))
view
"""
READY = ".ctp[data-ready]"
IMAGE = f"{READY} .ctp-image canvas"
OUTSIDE = """() => [...document.querySelectorAll('.jp-OutputArea-output .widget-vbox')].flatMap(root => {
    const right = root.getBoundingClientRect().right + 1;
    return [...root.querySelectorAll('.widget-button, .widget-checkbox, .ctp, .ct-strip, .bqplot, .widget-html')]
        .filter(e => e.getBoundingClientRect().right > right).map(e => e.className);
})"""
# the paths of the curves that are seen, of which the one in front comes last
FRONT = """() => [...document.querySelector('.bqplot').querySelectorAll('path.line')]
    .filter(path => path.closest('.curve').getAttribute('display') !== 'none')"""
CURVES = f"({FRONT})().length && [...({FRONT})()].map(path => path.getAttribute('d')).join()"

# radius of an outline on the page, without the width of its line
RADIUS = "group => group.querySelector('.ctp-grip').getBBox().width / 2"


@pytest.fixture
def book(page, open_notebook):
    opened = open_notebook(page, [MADE, SHOWN], until=IMAGE)
    page.wait_for_timeout(1500)
    return opened


def panel(page, name):
    """Open a panel below the image."""
    page.locator(".jupyter-widget-Collapse-header", has_text=name).click()
    page.wait_for_timeout(300)


def settle(book):
    """Until all mode counts are computed."""
    book.wait_for("not view._settle.waiting")
    book.page.wait_for_timeout(400)


def change_of(book, act):
    """Do something that should change the image; fail where it doesn't within 10 s."""
    image = book.page.locator(IMAGE).first
    before = pixels_of(image)
    act()
    for _ in range(100):
        book.page.wait_for_timeout(100)
        if differ(before, pixels_of(image)):
            return
    pytest.fail("the image stayed as it was")


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=4)
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def middle(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_the_page(new_page, open_notebook, shot, theme):
    page = new_page(viewport={"width": 1280, "height": 1500})
    book = open_notebook(page, [MADE, SHOWN], theme=theme, until=IMAGE)
    for width in (1280, 700):
        page.set_viewport_size({"width": width, "height": 1500})
        page.wait_for_timeout(1500)
        assert page.evaluate(OUTSIDE) == []
        shot(page, str(width))
    page.set_viewport_size({"width": 1280, "height": 1800})
    for name in ("Zones", "References", "Injected companion"):
        panel(page, name)
        if name == "Zones":
            book.python("view.state.edges = [5.0, 20.0, 50.0]; view.state.sectors = 3")
        if name == "Injected companion":
            book.python("view.state.source = [110.0, 100.0, view.flux_unit() * 4]")
        page.wait_for_timeout(1500)
        shot(page, name)
    assert page.evaluate(OUTSIDE) == []


def test_the_slider_moves_image_curve_and_state(book, page):
    slider = page.locator(f"{READY} input[type=range]").first
    slider.focus()
    curve = page.evaluate(CURVES)
    change_of(book, lambda: page.keyboard.press("ArrowLeft"))
    assert book.wait_for("view.state.modes", 8) == 8
    page.wait_for_function(f"before => {CURVES} !== before", arg=curve)
    page.get_by_text("8 modes explain").first.wait_for()
    page.get_by_role("button", name="undo").click()
    assert book.wait_for("view.state.modes", 9) == 9


def test_an_outline_dragged_on_the_image_moves_the_zone(book, page):
    panel(page, "Zones")
    page.get_by_role("button", name="own zones").click()
    assert book.wait_for("len(view.state.edges)", 2) == 2
    book.python("view.choose(edges=[5.0, 30.0])")
    settle(book)
    page.locator(IMAGE).first.scroll_into_view_if_needed()
    outline = page.locator(f"{READY} [data-key^='region:']").first
    (x, y), radius = middle(outline), outline.evaluate(RADIUS)
    change_of(book, lambda: drag(page, (x + radius, y), (x + 1.5 * radius, y)))
    settle(book)
    edges = book.value("view.state.edges")
    assert edges[0] == 5.0
    assert edges[1] == pytest.approx(45.0, abs=1.5)
    assert book.value("repr(view.result.areas)") == f"Zones.annuli({edges}, sectors=1)"
    book.python("import numpy as np")
    assert book.value("np.allclose(view.pane.cube, view.series.frames, rtol=1e-3, atol=0.05, equal_nan=True)")
    # the centre stays, and arrow keys change the radii
    assert book.value("[view.pane.regions[0][k] for k in 'xy']") == book.value("list(view.sky.origin)")
    outline.focus()
    page.keyboard.press("ArrowUp")
    assert book.wait_for("view.state.edges[1]", round(edges[1] + 1, 1)) == round(edges[1] + 1, 1)


def test_a_reference_without_its_tick_is_left_out(book, page):
    panel(page, "References")
    page.locator(".ct-strip-item input").nth(2).wait_for()
    settle(book)
    change_of(book, lambda: page.locator(".ct-strip-item input").nth(2).click())
    assert book.wait_for("view.state.dropped", [2]) == [2]
    settle(book)
    assert book.value("view.series.klip.aligned.n_ref") == book.value("klip.aligned.n_ref") - 1
    page.get_by_role("button", name="copy as code").click()
    page.wait_for_timeout(300)
    assert ".select([0, 1, 3" in page.locator(".jp-OutputArea-output textarea").first.input_value()
    change_of(book, lambda: page.get_by_role("button", name="undo").click())
    assert book.wait_for("view.state.dropped", []) == []


def test_an_injected_companion_is_dragged_and_its_flux_changed(book, page, shot):
    panel(page, "Injected companion")
    page.locator(IMAGE).first.scroll_into_view_if_needed()
    x, y = middle(page.locator(IMAGE).first)
    page.mouse.click(x + 90, y - 60)
    assert book.wait_for("len(view.state.cursor)", 2) == 2
    change_of(book, lambda: page.get_by_role("button", name="inject a companion").click())
    assert book.wait_for("view.state.source[:2] == [round(v, 2) for v in view.state.cursor]")
    settle(book)
    mark = page.locator(f"{READY} [data-key^='mark:']").last
    page.locator(IMAGE).first.scroll_into_view_if_needed()
    place = middle(mark.locator("path").first)
    was = book.value("view.state.source")
    change_of(book, lambda: drag(page, place, (place[0] + 30, place[1])))
    settle(book)
    now = book.value("view.state.source")
    assert now[0] > was[0] + 3
    assert now[1] == pytest.approx(was[1], abs=0.5)
    page.get_by_text("recovered").first.wait_for()
    book.wait_for("'injected' in view._track.tracks")
    shot(page)
    page.locator("button[title='next flux']").click()
    assert book.wait_for("view.state.source[2] > " + repr(now[2]))
    assert book.value("view.result.code").count(".inject(") == 1


def test_the_saved_page_works_from_disk_without_a_network(book, new_page, tmp_path, shot):
    path = tmp_path / "explorer.html"
    book.python(f"view.save({str(path)!r})")
    assert path.stat().st_size < 2.5e6
    page = new_page(offline=True)
    page.goto(path.as_uri())
    page.locator(IMAGE).first.wait_for()
    assert "9 modes explain" in page.locator("main").inner_text()
    image = page.locator(IMAGE).first
    before = pixels_of(image)
    page.locator(f"{READY} input[type=range]").first.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(500)
    assert differ(before, pixels_of(image))
    assert "8 modes explain" in page.locator("main").inner_text()
    shot(page)


def test_many_changes_leave_nothing_behind_and_closing_frees_the_frames(book, page):
    alive = (
        "(__import__('gc').collect(), [len(__import__('ipywidgets').widgets.widget._instances),"
        " __import__('threading').active_count()])[1]"
    )
    book.python(
        "view.state.edges = [5.0, 40.0]; view.state.cursor = [100.0, 90.0]; view.state.source = [110., 100., 5.]"
    )
    book.python("view._settled()")
    page.wait_for_timeout(1000)
    before = book.value(alive)
    walk = """
    for i in range(400):
        view.state.modes = 1 + i % 9
        view.state.stretch = ("linear", "log", "sqrt", "asinh")[i % 4]
        view.state.cursor = [100.0 + i % 7, 90.0]
        if i % 10 == 0:
            view.state.edges = [5.0, 40.0 + i % 3]
            view.state.source = [110.0 + i % 5, 100.0, 5.0]
            view._settled()
    """
    book.python("import textwrap; exec(textwrap.dedent(" + repr(walk) + "))")
    page.wait_for_timeout(1000)
    assert book.value(alive) == before
    book.python("import weakref\nheld = [weakref.ref(x) for x in (view, view._reduction.live, view.pane._images)]")
    book.python("view.close(); get_ipython().run_line_magic('xdel', 'view')")
    page.wait_for_function("document.querySelectorAll('.ctp').length === 0")
    assert book.value("(__import__('gc').collect(), [ref() is None for ref in held])[1]") == [True] * 3
