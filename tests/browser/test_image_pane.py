"""The image pane in real notebooks: what is seen, what is sent, and what reaches Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.browser.lab import Notebook
from tests.browser.timing import Region, Screen, pixels_of

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

N, SIDE = 12, 64
SETUP = f"""
import gc, threading
import numpy as np, ipywidgets
from ipywidgets.widgets import widget
from corontools.display.overlay import Sky
from corontools_widgets.image_pane import ImagePane, RadialNoise
rng = np.random.default_rng(2)
y, x = np.indices(({SIDE}, {SIDE})) - {SIDE} // 2
cube = rng.normal(size=({N}, {SIDE}, {SIDE})) * (1 + 20 * np.exp(-np.hypot(x, y) / 9))
cube += 30 * np.cos(np.arange({N}))[:, None, None] * np.exp(-((x - 12) ** 2 + (y + 8) ** 2) / 20)
cube[:, np.hypot(x, y) < 3] = np.nan
sky = Sky(({SIDE}, {SIDE}), 0.063, ({SIDE} // 2,) * 2, pa_y=20.0)
radius = np.arange(3.0, {SIDE} // 2)
noise = RadialNoise(radius, np.ones(({N}, radius.size)), np.full(({N}, radius.size), 1e-5))
def alive():
    "Numbers of widget models, threads and arrays."
    gc.collect()
    arrays = sum(isinstance(thing, np.ndarray) for thing in gc.get_objects())
    return len(widget._instances), threading.active_count(), arrays
def make(**options):
    names = [str(k) for k in range(1, {N} + 1)]
    return ImagePane(cube, **dict(names=names, name="KL modes", sky=sky, title="residual", noise=noise) | options)
"""
PANE = ".ctp[data-ready]"


class Pane:
    """A pane on a page."""

    def __init__(self, page: Page, index: int = 0) -> None:
        self.page = page
        self.root = page.locator(PANE).nth(index)
        self.root.wait_for()
        self.root.scroll_into_view_if_needed()

    @property
    def image(self) -> Locator:
        return self.root.locator(".ctp-image").first

    @property
    def slider(self) -> Locator:
        return self.root.locator("input[type=range]")

    def pixels(self) -> np.ndarray:
        """The raster as it is on the screen, (y, x, 3)."""
        self.page.wait_for_timeout(80)
        return pixels_of(self.root.locator("canvas").first)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the whole image is on the page, CSS px."""
        box = self.image.bounding_box()
        assert box is not None
        scale = box["width"] / SIDE
        return box["x"] + (x + 0.5) * scale, box["y"] + box["height"] - (y + 0.5) * scale

    def choose(self, label: str, option: str) -> None:
        self.root.get_by_role("combobox", name=label, exact=True).select_option(option)


def drag(page: Page, start: tuple[float, float], stop: tuple[float, float], *, steps: int = 12) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*stop, steps=steps)
    page.mouse.up()


def differ(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape != b.shape or np.count_nonzero(np.abs(a - b).max(axis=-1) > 20) > 0.02 * a[..., 0].size


@pytest.fixture
def opened(page: Page, open_notebook: Callable[..., Notebook]) -> Callable[..., tuple[Notebook, Pane]]:
    """Function that opens a notebook with a pane; `code` is the last cell."""

    def make(code: str = "pane = make(); pane", **options: Any) -> tuple[Notebook, Pane]:
        book = open_notebook(page, [SETUP, code], until=PANE, **options)
        return book, Pane(page)

    return make


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ui", ["lab", "notebook", "voila"])
def test_every_interface_renders_it_in_both_themes(opened, shot, ui, theme):
    _, pane = opened(ui=ui, theme=theme)
    shot(pane.page)
    pixels = pane.pixels()
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    paper = pane.root.evaluate("e => getComputedStyle(e).color").removeprefix("rgb").strip("a()").split(",")[:3]
    dark_ink = np.mean([float(v) for v in paper]) < 128
    assert dark_ink == (theme == "light"), "words should stand out of the theme's background"
    pane.slider.focus()
    pane.page.keyboard.press("ArrowRight")
    assert differ(pixels, pane.pixels())
    assert pane.root.locator("output").inner_text() == "2"


def test_first_paint_is_not_blank(page, open_notebook):
    book = open_notebook(page, [SETUP, "pane = make(frame=3); pane"], run=False, until=None)
    book.run_cell(0)
    assert book.wait_for("'make' in globals()")
    book.select_cell(1)
    with Screen(page) as screen:
        page.keyboard.press("Shift+Enter")
        pane = Pane(page)
        page.wait_for_timeout(1000)
        region = Region.of(pane.root.locator("canvas").first)
    final = screen.pictures[-1].pixels(region)
    assert len(np.unique((final // 16).reshape(-1, 3), axis=0)) > 30
    # once the image is there, no picture shows it blank or half drawn
    begin = next(p.time for p in screen.pictures if not differ(p.pixels(region), final))
    assert not [p.time for p in screen.pictures if p.time > begin and differ(p.pixels(region), final)]


def test_keys_change_the_frame_back_and_forth_and_python_follows(opened):
    book, pane = opened()
    before = pane.pixels()
    pane.slider.focus()
    for _ in range(3):
        pane.page.keyboard.press("ArrowRight")
    assert differ(before, pane.pixels())
    assert book.wait_for("pane.frame", 3) == 3
    for _ in range(3):
        pane.page.keyboard.press("ArrowLeft")
    assert not differ(before, pane.pixels())
    assert book.wait_for("pane.frame", 0) == 0


def test_buttons_beside_the_slider_step_through_the_frames(opened):
    book, pane = opened()
    pane.root.get_by_label("next frame").click()
    assert book.wait_for("pane.frame", 1) == 1
    pane.root.get_by_label("previous frame").click()
    assert book.wait_for("pane.frame", 0) == 0


def test_python_changes_the_frame(opened):
    book, pane = opened()
    before = pane.pixels()
    book.python("pane.frame = 6")
    pane.page.wait_for_function("document.querySelector('.ctp output').textContent === '7'")
    assert differ(before, pane.pixels())


def test_frames_come_once_and_stretch_limits_and_colours_need_none(opened, watch):
    book, pane = opened()
    pane.slider.focus()
    for _ in range(N - 1):
        pane.page.keyboard.press("ArrowRight")
    book.wait_for("pane.frame", N - 1)
    pane.page.wait_for_timeout(500)
    asked = [message["data"]["content"]["frames"] for message in watch.sent if is_need(message)]
    assert sorted(i for frames in asked for i in frames) == list(range(N))
    watch.sent.clear()
    watch.received.clear()
    looks = [pane.pixels()]
    for label, option in (("stretch", "linear"), ("colours", "viridis"), ("limits", "98 %"), ("stretch", "log")):
        pane.choose(label, option)
        looks.append(pane.pixels())
        assert differ(looks[-1], looks[-2]), f"{label} {option} changed nothing"
    pane.page.wait_for_timeout(300)
    assert book.value("[pane.stretch, pane.colors]") == ["log", "viridis"]
    # a ping, on a slow machine, asks whether the kernel is still there
    assert not [message for message in watch.sent if is_need(message)]
    # what the kernel sends back is the echo of the traits
    assert sum(message["bytes"] for message in watch.received) < 12_000


def is_need(message: dict[str, Any]) -> bool:
    data = message.get("data", {})
    return data.get("method") == "custom" and data["content"].get("type") == "need"


def test_a_mark_that_is_dragged_reaches_python(opened):
    mark = "{'kind': 'companion', 'x': 44.0, 'y': 24.0, 'name': 'b', 'id': 'b', 'draggable': True}"
    book, pane = opened(f"pane = make(); pane.marks = [{mark}]; pane")
    drag(pane.page, pane.place(44, 24), pane.place(20, 40))
    assert book.wait_for("pane.marks[0].get('done')", True) is True
    found = book.value("[pane.marks[0]['x'], pane.marks[0]['y']]")
    assert found == pytest.approx([20, 40], abs=0.6)


def test_a_drag_sends_few_messages(opened, watch):
    mark = "{'kind': 'companion', 'x': 44.0, 'y': 24.0, 'name': 'b', 'id': 'b', 'draggable': True}"
    book, pane = opened(f"pane = make(); pane.marks = [{mark}]; pane")
    pane.page.wait_for_timeout(300)
    watch.sent.clear()
    begin = time.monotonic()
    drag(pane.page, pane.place(44, 24), pane.place(20, 40), steps=100)
    book.wait_for("pane.marks[0].get('done')", True)
    # one in 30 ms, however long a busy machine takes for the drag
    assert len(watch.sent) < min(90, 10 + (time.monotonic() - begin) / 0.03)


@pytest.mark.parametrize(
    ("tool", "names"), [("circle", ("x", "y", "r")), ("rectangle", ("x0", "y0", "x1", "y1")), ("annulus", ("r0", "r1"))]
)
def test_a_drawn_region_reaches_python_and_can_be_deleted(opened, shot, tool, names):
    book, pane = opened(f"pane = make(); pane.tools = [{tool!r}]; pane.tool = {tool!r}; pane")
    drag(pane.page, pane.place(45, 40), pane.place(52, 50))
    assert book.wait_for("len(pane.regions)", 1) == 1
    shot(pane.root)
    region = book.value("pane.regions[0]")
    assert region["kind"] == tool
    expected = {
        "circle": [45, 40, np.hypot(7, 10)],
        "rectangle": [45, 40, 52, 50],
        "annulus": [np.hypot(13, 8), np.hypot(20, 18)],
    }[tool]
    assert [region[name] for name in names] == pytest.approx(expected, abs=1.0)
    pane.page.keyboard.press("Delete")
    assert book.wait_for("len(pane.regions)", 0) == 0


def test_a_click_chooses_a_point_and_says_its_values(opened):
    book, pane = opened()
    pane.page.mouse.click(*pane.place(44, 24))
    assert book.wait_for("len(pane.cursor)", 2) == 2
    assert book.value("pane.cursor") == pytest.approx([44, 24], abs=0.6)
    words = pane.root.locator(".ctp-readout").inner_text()
    assert "0.90" in words  # arcsec: hypot(12, 8) px of 0.063 arcsec
    pane.page.keyboard.press("ArrowRight")
    assert book.wait_for("round(pane.cursor[0]) > 44") is True


def test_hovering_sends_nothing(opened, watch):
    _, pane = opened()
    pane.page.wait_for_timeout(500)
    watch.sent.clear()
    pane.page.mouse.move(*pane.place(20, 20))
    pane.page.mouse.move(*pane.place(44, 24), steps=15)
    pane.page.wait_for_timeout(200)
    assert "44" in pane.root.locator(".ctp-readout").inner_text()
    assert not watch.sent


def test_zoom_at_the_pointer_pan_and_reset(opened):
    book, pane = opened()
    whole = pane.pixels()
    pane.page.mouse.move(*pane.place(30, 30))
    pane.page.mouse.move(*pane.place(44, 24), steps=5)
    pane.page.mouse.wheel(0, -600)
    assert book.wait_for("len(pane.view)", 4) == 4
    x0, x1, y0, y1 = book.value("pane.view")
    assert x0 < 44 < x1
    assert y0 < 24 < y1
    assert x1 - x0 < SIDE - 1
    assert (44 - x0) / (x1 - x0) == pytest.approx(44.5 / SIDE, abs=0.05), "the pixel at the pointer stays there"
    drag(pane.page, pane.place(32, 32), pane.place(40, 32))
    moved = book.value("pane.view")
    assert moved[0] < x0
    pane.page.mouse.dblclick(*pane.place(32, 32))
    assert book.wait_for("len(pane.view)", 0) == 0
    assert not differ(whole, pane.pixels())


class Fingers:
    """Two fingers on a page; Chromium knows them for as long as the session lasts."""

    def __init__(self, page: Page) -> None:
        self.page, self.session = page, page.context.new_cdp_session(page)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    def pinch(self, place: tuple[float, float], *, apart: tuple[float, float]) -> None:
        """Both fingers come down beside a place of the page, so many CSS px from it at first and at last."""
        x, y = place
        kinds = ["touchStart", *["touchMove"] * 8]
        for kind, d in zip(kinds, np.linspace(*apart, len(kinds)), strict=True):
            self.touch(kind, (x - d, y), (x + d, y))
        for _ in range(2):  # they rest: Chromium smooths a path, and what is left of it is lost when they go
            self.page.wait_for_timeout(100)
            self.touch("touchMove", (x - apart[1], y), (x + apart[1], y))
        self.page.wait_for_timeout(100)
        self.touch("touchEnd")


@pytest.fixture
def touched(
    new_page: Callable[..., Page], open_notebook: Callable[..., Notebook]
) -> Callable[..., tuple[Notebook, Pane]]:
    """As `opened`, on a screen for fingers."""

    def make(code: str = "pane = make(); pane") -> tuple[Notebook, Pane]:
        page = new_page(has_touch=True)
        return open_notebook(page, [SETUP, code], until=PANE), Pane(page)

    return make


def test_two_fingers_zoom_about_the_place_between_them(touched):
    book, pane = touched()
    whole = pane.pixels()
    fingers = Fingers(pane.page)
    fingers.pinch(pane.place(44, 24), apart=(40, 120))
    # the last of many messages may come late
    assert book.wait_for(f"len(pane.view) == 4 and pane.view[1] - pane.view[0] < {1.05 * SIDE / 3}")
    pane.page.wait_for_timeout(200)
    x0, x1, y0, y1 = book.value("pane.view")
    assert x1 - x0 == pytest.approx(SIDE / 3, rel=0.05)
    assert y1 - y0 == pytest.approx(SIDE / 3, rel=0.05)
    assert (44 - x0) / (x1 - x0) == pytest.approx(44.5 / SIDE, abs=0.03), "the pixel between the fingers stays there"
    assert (24 - y0) / (y1 - y0) == pytest.approx(24.5 / SIDE, abs=0.03)
    assert differ(whole, pane.pixels())
    fingers.pinch(pane.place(32, 32), apart=(120, 20))
    assert book.wait_for("len(pane.view)", 0) == 0
    assert book.value("[pane.cursor, pane.regions]") == [[], []]


@pytest.mark.parametrize("tool", ["paint", "circle"])
def test_two_fingers_zoom_and_draw_nothing_whatever_the_tool(touched, tool):
    code = f"pane = make(); pane.tools = [{tool!r}]; pane.tool = {tool!r}; strokes = []; "
    book, pane = touched(code + "pane.on_paint(strokes.append); pane")
    pane.page.wait_for_timeout(300)
    drawn = pane.root.locator(".ctp-layer path").count()
    fingers, (x, y) = Fingers(pane.page), pane.place(44, 24)
    fingers.touch("touchStart", (x - 40, y))  # one finger comes first, and moves a little
    fingers.touch("touchMove", (x - 46, y))
    for d in (40, 60, 80, 120):
        fingers.touch("touchStart" if d == 40 else "touchMove", (x - d - 6, y), (x + d, y))
    fingers.touch("touchEnd")
    assert book.wait_for("len(pane.view)", 4) == 4
    book.python("pane.view = []")
    pane.page.wait_for_timeout(300)
    assert book.value("[len(strokes), len(pane.regions)]") == [0, 0]
    assert pane.root.locator(".ctp-layer path").count() == drawn


PAINT = "pane = make(); pane.tools = ['paint']; pane.tool = 'paint'; strokes = []; pane.on_paint(strokes.append); pane"


def test_a_stroke_of_the_brush_reaches_python_with_its_radius(opened):
    book, pane = opened(PAINT)
    pane.root.get_by_label("brush (px)").fill("3.5")
    drag(pane.page, pane.place(20, 40), pane.place(36, 40))
    assert book.wait_for("len(strokes)", 1) == 1
    stroke = book.value("[strokes[0].frame, strokes[0].radius, strokes[0].erase, strokes[0].points]")
    assert stroke[:3] == [0, 3.5, False]
    assert stroke[3][0] == pytest.approx([20, 40], abs=0.6)
    assert stroke[3][-1] == pytest.approx([36, 40], abs=0.6)
    assert len(stroke[3]) > 5
    pane.slider.focus()
    pane.page.keyboard.press("ArrowRight")
    pane.root.get_by_label("erase").check()
    pane.page.mouse.click(*pane.place(28, 40))
    assert book.wait_for("len(strokes)", 2) == 2
    assert book.value("[strokes[1].frame, strokes[1].erase, len(strokes[1].points)]") == [1, True, 1]


def test_the_outline_of_a_stroke_goes_when_python_has_it_even_where_the_mask_stays(opened):
    book, pane = opened(PAINT)
    pane.page.wait_for_timeout(300)
    stroke = pane.root.locator("path[stroke-linecap=round]")
    pane.page.mouse.move(*pane.place(20, 40))
    pane.page.mouse.down()
    pane.page.mouse.move(*pane.place(36, 40), steps=5)
    pane.page.wait_for_timeout(100)
    assert stroke.count() == 1
    pane.page.mouse.up()
    assert book.wait_for("len(strokes)", 1) == 1
    pane.page.wait_for_timeout(400)
    assert stroke.count() == 0
    assert book.value("pane._mask_of") == {}


def test_a_mask_tints_its_pixels_and_no_others(opened, shot):
    book, pane = opened()
    before = pane.pixels().astype(int)
    book.python("mask = np.zeros((64, 64), bool); mask[36:44, 10:22] = True; pane.set_mask(mask, name='painted')")
    pane.page.wait_for_timeout(400)
    after = pane.pixels().astype(int)
    shot(pane.root)
    height, width = after.shape[:2]
    rows = (height - np.arange(height) - 0.5) * SIDE / height - 0.5  # y of the image grows upwards
    columns = (np.arange(width) + 0.5) * SIDE / width - 0.5
    inside = np.outer((rows > 36) & (rows < 43), (columns > 10) & (columns < 21))
    outside = ~np.outer((rows > 35) & (rows < 44), (columns > 9) & (columns < 22))
    expected = (before + np.array([0, 220, 140])) // 2  # half way to the colour of masks
    over = np.abs(after - expected).max(axis=-1)[inside] > 2  # lines and words are drawn over both
    assert over.mean() < 0.1
    assert (np.abs(after - before).max(axis=-1) > 2)[outside].mean() < 0.002
    book.python("pane.overlays = {'mask': False}")
    pane.page.wait_for_timeout(300)
    assert not differ(before, pane.pixels().astype(int))


def test_each_frame_has_its_own_mask(opened):
    book, pane = opened()
    first = pane.pixels().astype(int)
    book.python("mask = np.zeros(cube.shape, bool); mask[1, :, :32] = True; pane.set_mask(mask)")
    pane.page.wait_for_timeout(400)
    assert not differ(first, pane.pixels().astype(int))
    pane.slider.focus()
    pane.page.keyboard.press("ArrowRight")
    tinted = pane.pixels().astype(int)
    book.python("pane.set_mask(None)")
    pane.page.wait_for_timeout(400)
    plain = pane.pixels().astype(int)
    half = plain.shape[1] // 2
    assert differ(plain[:, : half - 5], tinted[:, : half - 5])
    assert not differ(plain[:, half + 5 :], tinted[:, half + 5 :])


def test_limits_that_are_typed_reach_python_and_bad_ones_are_refused(opened):
    book, pane = opened("pane = make(); pane.limits = (-2.0, 30.0); pane")
    low, high = (pane.root.get_by_role("spinbutton", name=name) for name in ("lower limit", "upper limit"))
    before = pane.pixels()
    assert (low.input_value(), high.input_value()) == ("-2", "30")
    high.fill("5e0")
    high.press("Enter")
    assert book.wait_for("list(pane.limits)", [-2, 5]) == [-2, 5]
    assert differ(before, pane.pixels())
    low.fill("-0.5")
    high.focus()
    assert book.wait_for("list(pane.limits)", [-0.5, 5]) == [-0.5, 5]
    for box, text in ((high, "-3"), (low, "5"), (low, "")):
        box.fill(text)
        box.press("Enter")
        assert (low.input_value(), high.input_value()) == ("-0.5", "5")
        pane.root.get_by_text("the lower one first").wait_for(state="attached")
    assert book.value("list(pane.limits)") == [-0.5, 5]
    book.python("pane.limits = (1.23456789e-7, 2.0)")
    pane.page.wait_for_timeout(200)
    assert low.input_value() == "1.235e-7"
    high.fill("3")
    high.press("Enter")
    assert book.wait_for("list(pane.limits)", [1.23456789e-7, 3]) == [1.23456789e-7, 3], "the other keeps its digits"


def test_the_list_of_limits_names_those_that_are_shown(opened):
    book, pane = opened()
    chosen = pane.root.get_by_role("combobox", name="limits", exact=True)
    assert chosen.input_value() == "automatic"
    book.value("setattr(pane, 'limits', (1, 5))")
    pane.page.wait_for_function("e => e.value === 'as set'", arg=chosen.element_handle())
    book.value("setattr(pane, 'limits', pane.automatic)")
    pane.page.wait_for_function("e => e.value === 'automatic'", arg=chosen.element_handle())
    pane.choose("limits", "99 %")
    assert chosen.input_value() == "99 %"


def test_blink_shows_both_frames_in_turn(opened):
    _, pane = opened("pane = make(); pane.compare = 6; pane.blink = True; pane")
    with Screen(pane.page) as screen:
        region = Region.of(pane.root.locator("canvas").first)
        pane.page.wait_for_timeout(2600)
    assert len(screen.changes(region)) >= 3


def test_side_by_side_shows_two_images(opened, shot):
    _, pane = opened("pane = make(); pane.compare = 6; pane")
    pane.page.wait_for_timeout(300)
    shot(pane.root)
    first, second = (pixels_of(pane.root.locator(".ctp-image canvas").nth(i)) for i in (0, 1))
    assert differ(first, second)


def test_long_strips_are_shown_below_each_other(opened, shot):
    _, pane = opened("pane = ImagePane(rng.normal(size=(2, 24, 512)), names=['a', 'b'], name='image', compare=1); pane")
    pane.page.wait_for_timeout(300)
    shot(pane.root)
    first, second = (Region.of(pane.root.locator(".ctp-image canvas").nth(i)) for i in (0, 1))
    assert second.y >= first.y + first.height
    assert min(first.height, second.height) > 20


def test_linked_panes_share_view_and_cursor_without_python(opened, shot):
    code = "a, b = make(title='A'), make(title='B'); a.group = b.group = 'g'; ipywidgets.VBox([a, b])"
    book, pane = opened(code)
    pane.page.mouse.move(*pane.place(30, 30))
    pane.page.mouse.move(*pane.place(44, 24), steps=5)
    pane.page.mouse.wheel(0, -600)
    pane.page.wait_for_timeout(300)
    shot(pane.page)
    assert book.wait_for("a.view == b.view and len(b.view) == 4") is True


def test_another_cube_replaces_the_frames(opened):
    book, pane = opened()
    before = pane.pixels()
    book.python("pane.set_cube(-cube)")
    pane.page.wait_for_timeout(800)
    changed = pane.pixels()
    assert differ(before, changed)
    pane.slider.focus()
    pane.page.keyboard.press("ArrowRight")
    pane.page.wait_for_timeout(300)
    assert differ(changed, pane.pixels())


def test_a_live_frame_is_shown_and_taken_back(opened):
    book, pane = opened()
    before = pane.pixels()
    book.python("pane.set_frame(0, np.roll(cube[0], 12, axis=1))")
    pane.page.wait_for_timeout(400)
    assert differ(before, pane.pixels())
    book.python("pane.set_frame(0, None)")
    pane.page.wait_for_timeout(400)
    assert not differ(before, pane.pixels())


@pytest.mark.parametrize(
    "code",
    [
        "pane = ImagePane(np.full((2, 32, 32), np.nan)); pane",
        "pane = ImagePane(np.zeros((1, 32, 32))); pane",
        "pane = ImagePane(np.random.default_rng(1).normal(size=(2, 2100, 1500)).astype(np.float32)); pane",
        "pane = ImagePane(np.random.default_rng(1).normal(size=(3, 8, 200))); pane",
    ],
    ids=["no data at all", "one constant frame", "huge", "not square"],
)
def test_odd_cubes_are_shown(opened, shot, code):
    book, pane = opened(code)
    pane.page.wait_for_timeout(500)
    shot(pane.page)
    assert pane.image.is_visible()
    note = book.value("pane.note")
    assert note in pane.root.inner_text()


def test_words_of_any_header_run_nothing(opened):
    evil = '</script><img src=x onerror="window.hit=1"><svg onload="window.hit=1">'
    traits = f"title={evil!r}, name={evil!r}, names=[{evil!r} + str(i) for i in range({N})]"
    marks = f"[{{'kind': 'companion', 'x': 10, 'y': 10, 'name': {evil!r}, 'id': {evil!r}}}]"
    code = f"pane = make({traits}); pane.marks = {marks}; pane.status = {evil!r}; pane.unit = {evil!r}; pane"
    _, pane = opened(code)
    pane.page.wait_for_timeout(300)
    assert pane.page.evaluate("window.hit") is None
    assert pane.root.locator("img").count() == 0
    assert evil in pane.root.inner_text()


def test_a_restarted_kernel_is_spoken_of_and_what_is_loaded_works(opened, watch, shot):
    _, pane = opened()
    pane.page.wait_for_timeout(700)
    watch.expect("")
    pane.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart().then(() => null)"
    )
    before = pane.pixels()
    pane.page.wait_for_timeout(10_500)
    pane.slider.focus()
    pane.page.keyboard.press("ArrowRight")
    assert differ(before, pane.pixels())
    pane.root.get_by_text("kernel does not answer").wait_for(timeout=12_000)
    shot(pane.page)


@pytest.mark.parametrize("width", [700, 1280])
@pytest.mark.parametrize("zoom", [1, 2])
def test_nothing_sticks_out(new_page, open_notebook, shot, width, zoom):
    page = new_page(viewport={"width": width, "height": 900}, device_scale_factor=zoom)
    mark = "{'kind': 'companion', 'x': 44.0, 'y': 24.0, 'name': 'AU Mic b', 'id': 'b'}"
    code = f"pane = make(); pane.tools = ['point', 'circle']; pane.marks = [{mark}]; pane"
    open_notebook(page, [SETUP, code], until=PANE)
    pane = Pane(page)
    page.wait_for_timeout(300)
    shot(pane.root)
    outer = Region.of(pane.root)
    for place in pane.root.locator("select, button, input, output, canvas, svg").all():
        if place.is_visible():
            inner = Region.of(place)
            assert inner.x >= outer.x - 1
            assert inner.x + inner.width <= outer.x + outer.width + 1
    image = Region.of(pane.image)
    assert image.width == pytest.approx(image.height, abs=2)


# how many lines the parts of each row take
LINES = """root => [...root.querySelectorAll('.ctp-row')].map((row) => {
    const boxes = [...row.children].filter((e) => e.offsetParent).map((e) => e.getBoundingClientRect());
    return new Set(boxes.map((box) => Math.round((box.top + box.bottom) / 20))).size;
})"""
# room that is left beside the chosen option of a drop-down list, its arrow included
ROOM = """e => {
    const [pen, style] = [document.createElement('canvas').getContext('2d'), getComputedStyle(e)];
    pen.font = style.font;
    const sides = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
    return e.clientWidth - sides - pen.measureText(e.selectedOptions[0].textContent).width;
}"""


def test_long_names_are_cut_and_told_in_full_and_short_ones_are_not_cut(new_page, open_notebook, shot):
    page = new_page(viewport={"width": 700, "height": 900})
    long = "number of modes of the Karhunen-Loeve transform " * 3
    names = "['difference before', 'difference after', 'science'] + [str(i) for i in range(9)]"
    open_notebook(page, [SETUP, f"pane = make(name={long!r}, title={long * 3!r}, names={names}); pane"], until=PANE)
    pane = Pane(page)
    pane.choose("compare with", "difference before")
    page.wait_for_timeout(300)
    shot(pane.root)
    name, title = pane.root.locator(".ctp-name"), pane.root.locator(".ctp-title")
    assert name.get_attribute("title") == long
    assert title.get_attribute("title") == 3 * long
    assert name.evaluate("e => e.scrollWidth > e.clientWidth && getComputedStyle(e).textOverflow") == "ellipsis"
    assert Region.of(name).width < 0.5 * Region.of(pane.root).width
    assert Region.of(title).height < 50
    assert pane.root.get_by_role("combobox", name="compare with").evaluate(ROOM) > 15


def test_typed_limits_need_no_more_rows(new_page, open_notebook, shot):
    page = new_page(viewport={"width": 700, "height": 900})
    open_notebook(page, [SETUP, "pane = make(); pane.tools = ['point', 'circle']; pane"], until=PANE)
    pane = Pane(page)
    shot(pane.root)
    lines = pane.root.evaluate(LINES)
    page.add_style_tag(content=".ctp-limit { display: none }")
    assert lines == pane.root.evaluate(LINES)


def test_closing_takes_it_off_the_page_and_frees_the_frames(opened):
    book, pane = opened()
    pane.page.wait_for_timeout(500)
    book.python(
        "import weakref; held = weakref.ref(pane._images.base if pane._images.base is not None else pane._images)"
    )
    book.python("pane.close(); del pane; get_ipython().user_ns.pop('_', None)")
    book.python(
        "Out.clear(); [globals().pop(n, None) for n in list(globals()) if n.startswith('_') and n[1:].isdigit()]"
    )
    pane.page.wait_for_function("document.querySelectorAll('.ctp').length === 0")
    assert book.value("(gc.collect(), held() is None)[1]") is True


def test_four_hundred_changes_leave_nothing_behind(opened, page):
    book, pane = opened()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def counts() -> dict[str, float]:
        session.send("HeapProfiler.collectGarbage")
        metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
        models, threads, arrays = book.value("alive()")
        return {"models": models, "threads": threads, "arrays": arrays, "heap": metrics["JSHeapUsedSize"],
                "nodes": metrics["Nodes"], "listeners": metrics["JSEventListeners"]}  # fmt: skip

    pane.slider.focus()

    def walk(n: int) -> None:
        for i in range(n):
            page.keyboard.press("ArrowRight" if (i // (N - 1)) % 2 == 0 else "ArrowLeft")
            if i % 10 == 0:
                pane.choose("stretch", ("linear", "log", "sqrt", "asinh")[i // 10 % 4])
                pane.slider.focus()
        page.wait_for_timeout(500)

    walk(2 * (N - 1))
    before = counts()
    walk(400)
    book.python("for i in range(400): pane.limits = (-1.0 - i / 100, 20.0); pane.frame = i % pane._cube['shape'][0]")
    page.wait_for_timeout(1500)
    after = counts()
    assert after["models"] == before["models"]
    assert after["threads"] == before["threads"]
    assert after["arrays"] <= before["arrays"] + 5
    assert after["nodes"] <= 1.2 * before["nodes"] + 100
    assert after["listeners"] <= before["listeners"] + 200  # Lab adds some 130 once, at a time of its own
    assert after["heap"] <= before["heap"] + 8e6
