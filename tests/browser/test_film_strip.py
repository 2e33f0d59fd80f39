"""The thumbnails in a browser, with a stand-in for the notebook's model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

SCRIPT = Path(__file__).parents[2] / "widgets" / "corontools_widgets" / "film_strip.js"
EVIL = '</script><img src=x onerror="window.hit=1">'
OPEN = """async ([source, captions]) => {
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const { default: strip } = await import(address);
  const state = { captions, kept: captions.map(() => true), flagged: [], chosen: 0, tickable: true,
                  label: "references", _sprite: new DataView(new ArrayBuffer(0)) };
  const heard = new Map();
  window.model = {
    state, heard,
    get: (name) => state[name],
    set: (name, value) => { state[name] = value; (heard.get(`change:${name}`) || []).forEach((call) => call()); },
    save_changes: () => {},
    on: (name, call) => heard.set(name, [...(heard.get(name) || []), call]),
    off: (name, call) => heard.set(name, heard.get(name).filter((known) => known !== call)),
  };
  window.close_strip = strip.render({ model: window.model, el: document.body });
}"""


@pytest.fixture
def strip(new_page: Callable[..., Page]) -> Page:
    """A page with a strip of three frames."""
    page = new_page()
    page.evaluate(OPEN, [SCRIPT.read_text(encoding="utf-8"), [["a", "r 0.99"], ["b"], ["c"]]])
    return page


def put(page: Page, name: str, value: object) -> None:
    page.evaluate("([name, value]) => window.model.set(name, value)", [name, value])


def captions(page: Page) -> list[list[str]]:
    words: list[list[str]] = page.evaluate(
        "() => [...document.querySelectorAll('.ct-strip-item')].map((item) =>"
        " [...item.querySelectorAll('span')].map((line) => line.textContent))"
    )
    return words


def test_captions_follow_python_and_stay_text(strip):
    assert captions(strip) == [["a", "r 0.99"], ["b"], ["c"]]
    put(strip, "captions", [["a", "r 0.50"], [EVIL, "new"], []])
    assert captions(strip) == [["a", "r 0.50"], [EVIL, "new"], []]
    assert strip.locator("img").count() == 0
    assert strip.evaluate("window.hit") is None


def test_flags_follow_python(strip):
    put(strip, "flagged", [1])
    items = strip.locator(".ct-strip-item")
    assert [("ct-flagged" in str(items.nth(i).get_attribute("class"))) for i in range(3)] == [False, True, False]
    assert items.nth(1).get_attribute("aria-description") == "doubtful"
    put(strip, "flagged", [])
    assert strip.locator(".ct-flagged").count() == 0


def test_ticks_and_the_chosen_frame_survive_other_captions(strip):
    strip.locator(".ct-strip-item input").nth(1).click()
    strip.locator(".ct-strip-item").nth(2).click()
    put(strip, "captions", [["x"], ["y"], ["z"]])
    assert strip.evaluate("window.model.state.kept") == [True, False, True]
    assert strip.evaluate("window.model.state.chosen") == 2
    assert strip.locator(".ct-strip-item").nth(2).get_attribute("tabindex") == "0"


def test_closing_lets_go_of_the_model(strip):
    strip.evaluate("() => window.close_strip()")
    assert strip.evaluate("() => [...window.model.heard.values()].flat().length") == 0
    assert strip.locator(".ct-strip-item").count() == 0


def test_closing_before_the_first_paint_asks_for_no_picture(new_page):
    page = new_page()
    page.evaluate(f"async (given) => {{ await ({OPEN})(given); window.close_strip(); }}", [SCRIPT.read_text(), [["a"]]])
    page.wait_for_timeout(200)  # `new_page` fails if an error was logged
