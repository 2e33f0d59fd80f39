"""The live notebook: from a key press to changed pixels, the first view, dragging, and the bytes it takes.

    python benchmarks/notebook.py [--moves 40] [--views pane,klip] [--links local,slow] [--markdown]

A real JupyterLab in headless Chromium with software rendering; 30 modes of 320 x 320. The slow link is a proxy with a
round trip of 80 ms and 20 Mbit/s. What the times include is told in `tests/browser/timing.py`. The kernel runs and the
packages are imported before the first view is timed; the browser loads the widgets' scripts within that time.
Other work on the machine shows in the figures, so the load of the processors is printed beside them.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from harness import machine, table

from tests.browser.chromium import SIZE, launched, missing
from tests.browser.lab import SHOWN, Jupyter, Notebook, show
from tests.browser.link import Link
from tests.browser.timing import Region, Waits, drag_rate, first_paint, key_waits

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

N_MODES, N_INT, N_REF, SHAPE = 30, 20, 90, 320
PACKAGES = ("jupyterlab", "ipywidgets", "bqplot", "anywidget", "playwright")
HEAD = ("view", "link", "what", "figure", "wanted", "load")
PANE = ".ctp[data-ready]"
IMAGE = f"{PANE} .ctp-image canvas"
# the paths of a figure, without its buttons
CURVES = ".bqplot svg"

DATA = """
import numpy as np
import corontools, corontools.widgets
from corontools import Exposure, Meta, PSFStack
from corontools_widgets.image_pane import ImagePane
with np.load('exposures.npz') as saved:
    meta = Meta(instrument="NIRCAM", filter="F444W", pixel_scale=0.063, unit="MJy/sr")
    science, references = (Exposure(saved[name], meta=meta) for name in ("science", "references"))
klip = PSFStack.from_exposures([references]).align_to(science, to="none").klip({modes})
series = klip.series()
"""
VIEWS = {
    "pane": "pane = ImagePane(series.frames, names=[str(k) for k in series.modes], name='KL modes'); pane",
    "klip": "view = klip.explore(modes=1); view",
}


@dataclass(frozen=True)
class Figure:
    """One figure of the table."""

    view: str
    link: str
    what: str
    figure: str
    wanted: str

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        load = f"{os.getloadavg()[0]:.1f}"
        return self.view, self.link, self.what, self.figure, self.wanted, load


def write_exposures(folder: Path) -> None:
    """Science and references that the notebooks read."""
    from corontools.simulate import null

    science, references = null(N_INT, N_REF, shape=SHAPE)
    np.savez(folder / "exposures.npz", science=np.asarray(science.data), references=np.asarray(references.data))


def opened(server: Jupyter, browser: Browser, view: str, port: int | None) -> Notebook:
    """A notebook with the data at hand, and the cell of the view not yet run."""
    page = browser.new_page(viewport=SIZE)
    name = f"{view}_{port or 'local'}.ipynb"
    server.write([DATA.format(modes=N_MODES), VIEWS[view]], name=name)
    book = show(server, page, name, ui="doc", port=port)
    book.run_cell(0)
    book.wait_for("'series' in globals()", seconds=60)
    page.wait_for_timeout(1000)
    return book


def measure(book: Notebook, view: str, link: Link, name: str, *, moves: int) -> Iterator[Figure]:
    """All figures of a view."""
    page, image = book.page, book.page.locator(IMAGE).first
    book.select_cell(1)
    before = link.count
    first = first_paint(page, "Shift+Enter", image)
    yield Figure(view, name, "first view", f"{first:.0f} ms", "<= 1500 ms" if name == "local" else "<= 2500 ms")
    page.wait_for_timeout(2500)
    sent = (link.count - before).socket_to_browser
    yield Figure(view, name, "sent to the browser, all frames", f"{sent / 1e6:.2f} MB", "<= 2.5 MB")
    image.scroll_into_view_if_needed()
    yield from keys(page, view, name, moves)
    slider = page.locator(f"{PANE} input[type=range]").first
    rate = drag_rate(page, Region.of(slider))
    yield Figure(view, name, "pictures drawn while dragging", f"{rate:.0f} /s", ">= 20 /s")
    if view == "klip":
        yield from reductions(book, name)
        yield from companion(book, name)


def keys(page: Page, view: str, name: str, moves: int) -> Iterator[Figure]:
    """Arrow keys on the slider: image, and the first of the figures where there is one that is on the screen."""
    image, curves = page.locator(IMAGE).first, page.locator(CURVES).first
    regions = [region_of(page, image)] + ([region_of(page, curves)] if curves.count() else [])
    page.locator(f"{PANE} input[type=range]").first.focus()
    walk = ["ArrowRight" if i // (N_MODES - 1) % 2 == 0 else "ArrowLeft" for i in range(moves)]
    pause = 180.0 if view == "pane" else 500.0
    wanted = ["<= 30 ms", "<= 80 ms" if name == "local" else ""]
    for what, waits, limit in zip(
        ("image", "curve"), key_waits(page, regions, walk, pause=pause), wanted, strict=False
    ):
        yield Figure(view, name, f"key to {what}, median and p95 of {moves}", told(waits), limit)


def reductions(book: Notebook, name: str) -> Iterator[Figure]:
    """A zone that grows and a reference that is left out, by key: the first picture that is made of other modes."""
    page = book.page
    # noise in full contrast: what another zone changes far from its edge is little, and has to be seen
    book.python("view.pane.stretch, view.pane.limits = 'linear', tuple(np.nanpercentile(series.frames[-1], [5, 95]))")
    book.python(f"view.state.modes = {N_MODES}; view.state.edges = [4.0, 155.0]; view._tabs.selected_index = 0")
    zone = page.locator(f"{PANE} [data-key^='region:']").first
    zone.wait_for(timeout=SHOWN)
    page.wait_for_timeout(6000)
    zone.focus()
    # within the zone, where its outline is not
    middle = Region.of(page.locator(IMAGE).first, margin=0.3)
    walk = ["Shift+ArrowDown", "Shift+ArrowDown", "Shift+ArrowUp"] * 4
    waits = key_waits(page, middle, walk, pause=2500.0)[0]
    yield Figure("klip", name, "radius of a zone changed, image, median and p95", told(waits), "<= 400 ms")
    book.python("view.state.edges = []; view._tabs.selected_index = 1")
    strip = page.locator(".ct-strip-item[tabindex='0']").first
    strip.wait_for(timeout=SHOWN)
    page.wait_for_timeout(6000)
    strip.focus()
    page.locator(IMAGE).first.scroll_into_view_if_needed()
    image = region_of(page, page.locator(IMAGE).first)
    # another one each time: what was shown last is remembered
    waits = key_waits(page, image, [" ", "ArrowRight"] * 16, pause=2000.0)[0].every(2)
    yield Figure("klip", name, "reference ticked, image, median and p95", told(waits), "<= 400 ms")
    book.python("view._tabs.selected_index = None")
    page.wait_for_timeout(1000)


def companion(book: Notebook, name: str) -> Iterator[Figure]:
    """A companion that is moved by arrow keys on its mark: the picture within the mark."""
    page = book.page
    book.python("view.state.source = [220.0, 180.0, float(np.nanstd(series.frames[0])) * 200]")
    mark = page.locator(f"{PANE} [data-key^='mark:']").last
    mark.wait_for(timeout=SHOWN)
    page.wait_for_timeout(3000)
    mark.focus()
    inside = Region.of(mark.locator(".ctp-grip").first, margin=0.25)
    waits = key_waits(page, inside, ["ArrowRight", "ArrowLeft"] * 10, pause=2500.0)[0]
    yield Figure("klip", name, "companion moved, image, median and p95", told(waits), "<= 100 ms")


def told(waits: Waits) -> str:
    """Median and 95th percentile."""
    return f"{waits.median:.0f}, {waits.p95:.0f} ms" + (f", {waits.missed} missed" if waits.missed else "")


def region_of(page: Page, place: Locator) -> Region:
    """The part of an element that is on the screen."""
    whole = Region.of(place)
    height = min(whole.y + whole.height, SIZE["height"] - 40) - max(whole.y, 0)
    return Region(whole.x, max(whole.y, 0), whole.width, max(height, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=40, help="key presses")
    parser.add_argument("--views", default="pane,klip", help="pane, klip, or both")
    parser.add_argument("--links", default="local,slow", help="local, slow, or both")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    given = parser.parse_args()
    lacking = missing("playwright", "PIL", "jupyterlab")
    if lacking:
        parser.error(lacking)
    rows: list[tuple[str, ...]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(Jupyter(folder))
        browser = stack.enter_context(launched())
        write_exposures(server.work)
        links = {
            "local": stack.enter_context(Link(server.port, round_trip=0.0, rate=math.inf)),
            "slow": stack.enter_context(Link(server.port)),
        }
        for view in given.views.split(","):
            for name in given.links.split(","):
                book = opened(server, browser, view, links[name].port)
                for figure in measure(book, view, links[name], name, moves=given.moves):
                    rows.append(figure.cells())
                    print(*rows[-1], sep="  ", file=sys.stderr)
                book.page.close()
                server.stop_kernels()
    print(machine(PACKAGES))
    print(table(HEAD, rows, markdown=given.markdown))


if __name__ == "__main__":
    main()
