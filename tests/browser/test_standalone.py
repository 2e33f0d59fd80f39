"""The page without a kernel, opened from disk with the network off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from corontools.display.overlay import Sky

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

N, SIDE = 8, 96
EVIL = '</script><img src=x onerror="window.hit=1;alert(1)"><svg onload=alert(2)>'
MIDDLE = (SIDE - 1) / 2


def cube(n: int = N, side: int = SIDE) -> np.ndarray:
    """Noise that falls with the number of the frame, and a source that stays."""
    rng = np.random.default_rng(3)
    y, x = np.indices((side, side)) - (side - 1) / 2
    source = 40 * np.exp(-((x - side / 5) ** 2 + (y - side / 8) ** 2) / 6)
    frames = [rng.normal(size=(side, side)) * (1 + 20 * np.exp(-np.hypot(x, y) / 9)) / np.sqrt(k + 1) for k in range(n)]
    frames = np.array(frames) + source
    frames[:, np.hypot(x, y) < 3] = np.nan
    return frames


def file(path: Path, *, frames: np.ndarray | None = None, words: str = "", **changes: Any) -> Path:
    """A page of an image, a family of curves and a trend, written to disk."""
    from corontools_widgets.image_pane import ImagePane
    from corontools_widgets.standalone import CurveFamily, Quantity, Trend, page

    frames = cube() if frames is None else frames
    n, side = len(frames), frames.shape[1]
    modes, sep = np.arange(1, n + 1), np.arange(3.0, side / 2, 2) * 0.1
    limits = np.array([1e-3 * np.exp(-sep) / np.sqrt(k) + 1e-6 for k in modes])
    names = [words or str(k) for k in modes]
    sky = Sky((side, side), 0.1, ((side - 1) / 2,) * 2, pa_y=20.0)
    pane = ImagePane(
        frames, names=names, name=words or "KL modes", sky=sky, title=words or "residual", frame=min(2, n - 1)
    )
    family = CurveFamily(
        sep, limits, title=words or "limit", up=Quantity(words or "limit", words or "of the star", log=True)
    )
    trend = Trend(modes, {words or "b": 5 + modes % 4, "c": 9 - modes % 3}, title=words or "S/N", levels=[5])
    content = {
        "text": [f"{words or 'residual'} of {k} modes" for k in modes],
        "code": [f"klip.at({k}){words}" for k in modes],
        "chain": [words or "stack", ".klip(8)"],
    }
    text = page(words or "AU Mic", pane=pane.snapshot(), curves=[family, trend], **{**content, **changes})
    pane.close()
    path.write_text(text, encoding="utf-8")
    return path


class Shown:
    """A file that is open in a browser without a network."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page, self.asked, self.dialogs = page, [], []  # type: ignore[var-annotated]
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        page.context.set_offline(True)
        page.goto(path.as_uri())
        page.locator("#ct-image [data-ready=true]").wait_for()
        page.wait_for_timeout(300)

    @property
    def line(self) -> str:
        """Path of the curve in front."""
        return self.page.locator(".ct-curves .ct-line").first.get_attribute("d") or ""

    def pixels(self) -> bytes:
        """The image as it is on the screen."""
        self.page.wait_for_timeout(120)
        return self.page.locator("#ct-image canvas").first.screenshot()

    def words(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return file(tmp_path_factory.mktemp("page") / "view.html")


@pytest.fixture
def shown(new_page: Callable[..., Page], saved: Path) -> Iterator[Shown]:
    """The page open; in the end it must have asked for nothing but itself."""
    opened = Shown(new_page(), saved)
    yield opened
    assert opened.asked == [saved.as_uri()]
    assert not opened.dialogs


def test_slider_keys_change_image_curve_code_and_words(shown):
    before, line = shown.pixels(), shown.line
    assert "KL modes 3" in shown.words(".ct-front")
    slider = shown.page.locator("#ct-image input[type=range]").first
    slider.focus()
    slider.press("ArrowRight")
    assert shown.pixels() != before
    assert shown.line != line
    assert "KL modes 4" in shown.words(".ct-front")
    assert shown.words("#ct-code-text") == "klip.at(4)"
    assert shown.words("#ct-words") == "residual of 4 modes"
    slider.press("ArrowLeft")
    assert (shown.pixels(), shown.line) == (before, line)


def test_every_frame_can_be_reached(shown):
    slider = shown.page.locator("#ct-image input[type=range]").first
    slider.focus()
    slider.press("Home")
    seen = {shown.pixels()}
    for _ in range(N - 1):
        slider.press("ArrowRight")
        seen.add(shown.pixels())
    assert len(seen) == N


def test_another_stretch_shows_the_same_frame_with_other_colours(shown):
    before, line = shown.pixels(), shown.line
    shown.page.locator("#ct-image select:has(option:text-is('log'))").first.select_option("log")
    assert shown.pixels() != before
    assert shown.line == line


def test_a_click_on_the_trend_chooses_the_frame(shown):
    plot = shown.page.locator("svg[data-kind=trend]")
    box = plot.bounding_box()
    plot.click(position={"x": box["width"] - 20, "y": 60})
    assert f"KL modes {N}" in shown.words(".ct-front")
    plot.press("ArrowLeft")
    assert plot.get_attribute("aria-valuetext").startswith(f"KL modes {N - 1}: b ")


def test_the_curve_of_the_frame_compared_with_is_shown_too(shown):
    second = shown.page.locator(".ct-second")
    assert second.get_attribute("d") == ""
    shown.page.locator("#ct-image select:has(option:text-is('8'))").select_option("8")
    assert second.get_attribute("d").startswith("M")
    assert shown.words(".ct-other") == "compared with 8"


def test_the_curve_reads_out_where_the_pointer_is(shown):
    plot = shown.page.locator("svg.ct-plot").first
    plot.hover(position={"x": 200, "y": 80})
    assert shown.words(".ct-note").startswith("separation")
    assert "of the star (KL modes 3)" in shown.words(".ct-note")
    shown.page.mouse.move(1, 1)
    assert shown.words(".ct-note") == ""


def test_the_pointer_on_the_curve_is_a_ring_in_the_image(shown):
    layer = shown.page.locator("#ct-image svg").first
    before = layer.text_content()
    shown.page.locator("svg.ct-plot").first.press("End")
    shown.page.wait_for_timeout(100)
    assert "4.7″" in layer.text_content()
    shown.page.locator("svg.ct-plot").first.press("Escape")
    shown.page.wait_for_timeout(100)
    assert layer.text_content() == before


def test_arrow_keys_walk_along_the_curve_and_are_spoken(shown):
    plot = shown.page.locator("svg.ct-plot").first
    plot.focus()
    plot.press("Home")
    first = shown.words(".ct-note")
    assert first.startswith("separation 0.3000 arcsec: limit 4.29×10⁻⁴")
    plot.press("ArrowRight")
    assert shown.words(".ct-note").startswith("separation 0.5000")
    assert plot.get_attribute("aria-valuetext") == shown.words(".ct-note")
    assert plot.get_attribute("aria-valuenow") == "1"
    plot.press("]")
    assert "KL modes 4" in shown.words(".ct-note")


def test_the_pointer_on_the_image_shows_its_separation_in_the_curve(shown):
    canvas = shown.page.locator("#ct-image canvas").first
    box = canvas.bounding_box()
    shown.page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    shown.page.wait_for_timeout(100)
    found = float(shown.words(".ct-note").split()[1])
    assert found == pytest.approx(0.25 * SIDE * 0.1, abs=0.2)
    shown.page.mouse.move(1, 1)
    shown.page.wait_for_timeout(100)
    assert shown.words(".ct-note") == ""


def test_the_image_reads_out_under_the_pointer(shown):
    canvas = shown.page.locator("#ct-image canvas").first
    before = shown.words("#ct-image")
    canvas.hover()
    shown.page.wait_for_timeout(100)
    assert shown.words("#ct-image") != before


def test_logarithmic_axes_can_be_switched(shown):
    line = shown.line
    button = shown.page.get_by_role("button", name="logarithmic y axis").first
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert shown.line != line


def test_values_of_the_curve_in_front_can_be_read_in_a_table(shown):
    shown.page.locator("details[data-curve] summary").click()
    assert "KL modes 3" in shown.words("details[data-curve] caption")
    assert shown.page.locator("details[data-curve] tr").count() == 1 + np.arange(3.0, SIDE / 2, 2).size


def test_code_is_copied(shown):
    shown.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown.page.locator("#ct-copy").click()
    shown.page.locator("#ct-copied:not(:empty)").wait_for()
    assert shown.words("#ct-copied") == "copied"
    assert shown.page.evaluate("navigator.clipboard.readText()") == "klip.at(3)"


@pytest.mark.parametrize("width", [700, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_or_overlaps(new_page, saved, shot, width, scheme):
    page = new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    Shown(page, saved)
    shot(page, f"{scheme}_{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = page.evaluate(
        """() => [...document.querySelectorAll('svg.ct-plot')].flatMap((plot) => {
            const frame = plot.getBoundingClientRect();
            return [...plot.querySelectorAll('text')].filter((word) => {
                const box = word.getBoundingClientRect();
                const across = box.left < frame.left || box.right > frame.right;
                return across || box.top < frame.top || box.bottom > frame.bottom;
            }).map((word) => word.textContent);
        })"""
    )
    assert cut == []
    texts = page.evaluate(
        """() => [...document.querySelectorAll('svg.ct-plot')].map((plot) =>
            [...plot.querySelectorAll('text')].map((word) => {
                const box = word.getBoundingClientRect();
                return [box.left, box.top, box.right, box.bottom];
            }))"""
    )
    assert len(texts) == 2
    for boxes in map(np.array, texts):
        meet = (boxes[:, None, :2] < boxes[None, :, 2:] - 0.5).all(axis=2)
        assert not np.triu(meet & meet.T, 1).any()


def test_words_of_any_header_run_nothing(new_page, tmp_path):
    path = file(tmp_path / "evil.html", words=EVIL)
    page = new_page()
    page.watch.expect("Content Security Policy")  # where markup came through, this would be its error
    evil = Shown(page, path)
    page.locator("svg.ct-plot").first.hover()
    page.locator("details[data-curve] summary").click()
    slider = page.locator("#ct-image input[type=range]").first
    slider.press("ArrowRight")
    page.wait_for_timeout(200)
    assert page.evaluate("window.hit") is None
    assert not evil.dialogs
    assert evil.asked == [path.as_uri()]
    assert page.watch.errors == []
    assert page.locator("img").count() == 0
    assert page.title() == page.locator("h1").inner_text() == EVIL


def test_markup_that_came_in_would_stay_dead(new_page, saved, tmp_path):
    """The second lock: were a script or a handler in the page after all, the policy keeps it from running."""
    path = tmp_path / "broken.html"
    path.write_text(saved.read_text("utf-8").replace("</main>", f"{EVIL}<script>window.hit=2</script></main>"), "utf-8")
    page = new_page()
    page.watch.expect("Content Security Policy")
    broken = Shown(page, path)
    assert page.evaluate("window.hit") is None
    assert not broken.dialogs
    assert page.watch.errors != []


def test_thirty_modes_of_320_px_fit_in_2500_kB(new_page, tmp_path):  # noqa: N802
    path = file(tmp_path / "large.html", frames=cube(30, 320))
    assert path.stat().st_size <= 2_500_000
    large = Shown(new_page(), path)
    before = large.pixels()
    slider = large.page.locator("#ct-image input[type=range]").first
    slider.press("End")
    assert large.pixels() != before


def test_one_frame_without_any_value_is_shown(new_page, tmp_path):
    path = file(tmp_path / "empty.html", frames=np.full((1, 32, 32), np.nan))
    empty = Shown(new_page(), path)
    assert "KL modes 1" in empty.words(".ct-front")


def test_curves_alone_have_their_own_slider(new_page, tmp_path):
    from corontools_widgets.standalone import CurveFamily, CurveSet, page

    sep = np.array([0.5, 1.0, 2.0])
    family = CurveFamily(sep, [sep**-2, sep**-3], names=["10", "20"])
    both = CurveSet({"AU Mic": (sep, sep**-2), EVIL: (sep, sep**-3)}, title="targets")
    path = tmp_path / "curves.html"
    path.write_text(page("limits", pane=None, curves=[family, both], code="curve"), "utf-8")
    tab = new_page()
    tab.goto(path.as_uri())
    line = tab.locator(".ct-curves .ct-line").first
    before = line.get_attribute("d")
    tab.get_by_role("slider", name="curve").first.press("ArrowRight")
    assert line.get_attribute("d") != before
    assert tab.locator(".ct-front").first.inner_text() == "20"
    entry = tab.get_by_role("button", name=EVIL)
    drawn = tab.locator(".ct-curves").last.locator(".ct-line")
    assert drawn.count() == 2
    entry.click()
    assert drawn.count() == 1
    assert entry.get_attribute("aria-pressed") == "false"
