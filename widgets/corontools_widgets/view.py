"""View: what all views of results have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets
from traitlets import All, HasTraits, link

from corontools import fits
from corontools.errors import DataError
from corontools.result import Result
from corontools_widgets.state import ViewState

__all__ = ["View", "close_widget"]

# how a method writes a file: it gets the path to write to
Writer = Callable[[Path], None]

HOLDS = (ipywidgets.Widget, list, tuple, dict)  # what may be or hold a widget


class View:
    """Base of all views of a result: state, widgets, files, and an end that leaves nothing behind.

    A subclass makes its state and its widgets in `__init__`, hands the outermost one to `show_as`, and gives
    `result`, `text` and `writers`. `watch` and `link` tie widgets to the state until `close`.

    Parameters
    ----------
    state : ViewState
        Its choices.

    Attributes
    ----------
    state : ViewState
        The choices; set them from Python as the controls do.
    """

    def __init__(self, state: ViewState) -> None:
        self.state = state
        self._widget: ipywidgets.Widget | None = None
        self._ends: list[Callable[[], Any]] = []

    def show_as(self, widget: ipywidgets.Widget) -> None:
        """Take the widget that shows the view; `close` closes it with all that it holds."""
        self._widget = widget

    def watch(self, callback: Callable[[Any], Any], *names: str, of: HasTraits | None = None) -> None:
        """Call back when the named traits (all, without names) of the state or another object change, until the end."""
        source = self.state if of is None else of
        which = list(names) or All
        source.observe(callback, which)
        self.at_end(lambda: source.unobserve(callback, which))

    def link(self, name: str, widget: HasTraits, trait: str = "value") -> None:
        """Keep a trait of a widget equal to one of the state, both ways, until the view is closed."""
        self.at_end(link((self.state, name), (widget, trait)).unlink)

    def at_end(self, callback: Callable[[], Any]) -> None:
        """Call back when the view is closed, the last one first."""
        self._ends.append(callback)

    @property
    def widget(self) -> ipywidgets.Widget:
        """What is shown in the notebook.

        Raises
        ------
        DataError
            If the view was closed.
        """
        if self._widget is None:
            raise DataError(f"this {type(self).__name__} was closed; open a new one with explore()")
        return self._widget

    @property
    def closed(self) -> bool:
        """Whether its widgets are gone."""
        return self._widget is None

    @property
    def result(self) -> Result:
        """The result that the choices amount to; its `code` makes it again without the view."""
        raise NotImplementedError(f"{type(self).__name__} gives no result")

    @property
    def code(self) -> str:
        """Python that gives `result`."""
        return self.result.code

    @property
    def text(self) -> str:
        """What the view shows, in words."""
        return repr(self.result)

    def to_html(self) -> str:
        """One HTML page that needs no kernel and no network; `save` writes it where the path ends in .html."""
        raise NotImplementedError(f"{type(self).__name__} makes no page")

    def write_page(self, path: Path) -> None:
        """Write the page of `to_html`."""
        path.write_text(self.to_html(), encoding="utf-8")

    def writers(self) -> Mapping[str, Writer]:
        """Suffixes of the files that `save` can write, and how."""
        return {}

    def browser_writers(self) -> Mapping[str, Callable[[Callable[[bytes], Any]], Any]]:
        """Suffixes of the files that the browser draws: functions that call back with their bytes."""
        return {}

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write what is shown, as the suffix of the path says; the file appears whole or not at all.

        What the browser draws (`browser_writers`) appears when it has answered, after the cell has run.

        Raises
        ------
        DataError
            If the view can't write such a file; the message lists those it can.
        FileExistsError
            If the file exists and `overwrite` is False.
        """
        path = Path(path)
        writers, later = self.writers(), self.browser_writers()
        if path.suffix in later:
            _refuse(path, overwrite)
            later[path.suffix](lambda data: _write(path, data, overwrite))
            return path
        if path.suffix not in writers:
            known = ", ".join([*writers, *later])
            raise DataError(f"{path.name!r} can't be written: a {type(self).__name__} writes {known or 'no files'}")
        with fits.atomic(path, overwrite=overwrite) as part:
            writers[path.suffix](part)
        return path

    def close(self) -> None:
        """Close all its widgets and let go of its data; a second call does nothing."""
        while self._ends:
            self._ends.pop()()
        if self._widget is not None:
            close_widget(self._widget)
            self._widget = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}, closed" if self.closed else f"{type(self).__name__} of\n{self.text}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The live widget, and for readers without a kernel the card of the result."""
        if self.closed:
            return {"text/plain": repr(self)}
        live = self.widget._repr_mimebundle_()
        try:
            result = self.result
        except DataError as error:  # the controls are there to choose otherwise
            return {**live, "text/plain": f"{type(self).__name__}: {error}"}
        return {**live, "text/html": result._repr_html_(), "text/plain": repr(result)}


def _refuse(path: Path, overwrite: bool) -> None:
    """Say now what nobody would hear when the browser answers."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists and is kept; choose another name or overwrite it")
    if not path.parent.is_dir():
        raise DataError(f"folder {path.parent} does not exist; make it or name another")


def _write(path: Path, data: bytes, overwrite: bool) -> None:
    with fits.atomic(path, overwrite=overwrite) as part:
        part.write_bytes(data)


def close_widget(widget: ipywidgets.Widget) -> None:
    """Close a widget with all widgets that it holds: children, marks, axes, scales, layouts, styles."""
    found: dict[int, ipywidgets.Widget] = {}
    _collect(widget, found)
    for one in found.values():
        one.close()


def _collect(value: Any, found: dict[int, ipywidgets.Widget]) -> None:
    if id(value) in found:
        return
    items = value
    if isinstance(value, ipywidgets.Widget):
        found[id(value)] = value
        items = [getattr(value, name) for name in value.keys]
    elif isinstance(value, dict):
        items = value.values()
    for item in items:
        if isinstance(item, HOLDS):
            _collect(item, found)
