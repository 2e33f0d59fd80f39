"""What the tests in a browser share: Chromium, a Jupyter server, pages that are watched, notebooks opened in them.

A test that asks for any of them is skipped where Chromium, Playwright or Jupyter is missing, and fails there where
CORONTOOLS_NEED_CHROMIUM is set. Set CORONTOOLS_SHOTS to a folder to keep the screenshots that tests take.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.chromium import SIZE, launched, missing
from tests.browser.lab import SHOWN, Jupyter, Notebook, show
from tests.browser.link import Link
from tests.browser.watch import USUAL, Watch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

CONTEXT: dict[str, Any] = {"viewport": SIZE, "reduced_motion": "reduce"}
VIEW = ".jp-OutputArea-output .widget-subarea, .jp-OutputArea-output .jupyter-widgets"


def need(*modules: str) -> None:
    """Chromium and these modules, or no test."""
    lacking = missing(*modules)
    if lacking and os.environ.get("CORONTOOLS_NEED_CHROMIUM"):
        pytest.fail(lacking, pytrace=False)
    if lacking:
        pytest.skip(lacking)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Headless Chromium that reaches nothing but this machine."""
    need("playwright", "PIL")
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """A Jupyter server with JupyterLab, Notebook 7 and Voila."""
    need("jupyterlab", "notebook", "voila", "ipykernel")
    with Jupyter(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture(scope="session")
def slow_link(lab: Jupyter) -> Iterator[Link]:
    """A link to the server with a round trip of 80 ms and 20 Mbit/s."""
    with Link(lab.port) as link:
        yield link


@pytest.fixture
def new_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Function that opens a page of its own session, watched; `options` are those of Playwright's `new_context`.

    When the test is over, no page may have asked for anything on another machine, or have logged an error.
    """
    opened: list[Page] = []

    def make(**options: Any) -> Page:
        opened.append(watched(chromium.new_context(**{**CONTEXT, **options})))
        return opened[-1]

    yield make
    for page in opened:
        page.context.close()
    check(opened)


@pytest.fixture(scope="session")
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """The session of `page`: Jupyter's scripts are loaded once for all tests."""
    shared = chromium.new_context(**CONTEXT)
    yield shared
    shared.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A watched page of 1280 x 1000 px, see `new_page`; its session is shared by the tests: leave it as it is."""
    opened = watched(context)
    yield opened
    opened.close()
    check([opened])


def watched(context: BrowserContext) -> Page:
    """A new page with its notes."""
    page = context.new_page()
    page.watch = Watch().follow(page)  # type: ignore[attr-defined]
    return page


def check(pages: list[Page]) -> None:
    """The pages stayed on this machine and logged no error."""
    notes: list[Watch] = [page.watch for page in pages]  # type: ignore[attr-defined]
    outside = [address for watch in notes for address in watch.unexpected(watch.outside)]
    errors = [error for watch in notes for error in watch.unexpected(watch.errors)]
    assert not outside, f"the page asked for {outside}"
    assert not errors, "errors on the console:\n" + "\n".join(errors)


@pytest.fixture
def watch(page: Page) -> Watch:
    """The notes on `page`."""
    found: Watch = page.watch  # type: ignore[attr-defined]
    return found


@pytest.fixture
def open_notebook(lab: Jupyter, request: pytest.FixtureRequest) -> Iterator[Callable[..., Notebook]]:
    """Function `open_notebook(page, cells, *, ui="doc", theme="light", run=True, until=..., port=None)`.

    It writes a notebook of code cells, opens it in "lab", "doc" (JupyterLab, one document), "notebook" (Notebook 7) or
    "voila", runs all cells, and waits until an element `until` (a CSS selector; None: don't wait) is there.
    `port` is that of a link. Kernels are shut down when the test is over.
    """
    count = 0

    def opened(
        page: Page,
        cells: list[str],
        *,
        ui: str = "doc",
        theme: str = "light",
        run: bool = True,
        until: str | None = VIEW,
        port: int | None = None,
    ) -> Notebook:
        nonlocal count
        count += 1
        page.watch.expect(*USUAL.get(ui, ()))  # type: ignore[attr-defined]
        name = f"{request.node.name.split('[')[0]}_{count}.ipynb"
        lab.write(cells, name=name)
        notebook = show(lab, page, name, ui=ui, theme=theme, port=port)
        if run and ui != "voila":
            notebook.run_all()
        if until is not None and (run or ui == "voila"):
            page.locator(until).first.wait_for(timeout=SHOWN)
        return notebook

    yield opened
    lab.stop_kernels()


@pytest.fixture
def shot(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Function `shot(target, name="")` that keeps a screenshot of a page or element, where CORONTOOLS_SHOTS is set."""

    def keep(target: Page | Locator, name: str = "") -> None:
        folder = os.environ.get("CORONTOOLS_SHOTS")
        if folder:
            stem = "_".join(part for part in (request.node.name, name) if part)
            clean = "".join(c if c.isalnum() or c in "-_" else "_" for c in stem)
            target.screenshot(path=Path(folder) / f"{clean}.png")

    return keep
