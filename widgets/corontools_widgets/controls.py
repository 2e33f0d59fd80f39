"""Labelled controls: every one works by keyboard, and a slider has a button on either side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
from traitlets import Float, HasTraits, Int, List, Unicode, observe

from corontools.display import escape
from corontools.errors import DataError
from corontools_widgets.view import View

__all__ = ["Range", "Stepper", "Toolbar", "button", "choice", "column", "row", "say", "story", "words"]

WRAP = {"display": "flex", "flex_flow": "row wrap", "align_items": "center", "width": "100%"}


def row(*children: ipywidgets.Widget, **layout: str) -> ipywidgets.Box:
    """Widgets side by side, continued on the next line where the page is narrow."""
    return ipywidgets.Box(children, layout=ipywidgets.Layout(**{**WRAP, **layout}))


def column(*children: ipywidgets.Widget) -> ipywidgets.VBox:
    """Widgets below each other, as wide as the page allows."""
    return ipywidgets.VBox(children, layout=ipywidgets.Layout(width="100%", max_width="1100px", overflow="hidden"))


def words(text: str = "", *, tag: str = "span", **layout: str) -> ipywidgets.HTML:
    """A line of text, broken anywhere if need be; whatever it holds is shown as it is, never read as markup."""
    return ipywidgets.HTML(_wrapped(text, tag), layout=layout)


def say(widget: ipywidgets.HTML, text: str, *, tag: str = "span") -> None:
    """Change the words of a line made by `words`."""
    widget.value = _wrapped(text, tag)


def _wrapped(text: str, tag: str) -> str:
    return f'<{tag} style="overflow-wrap:anywhere">{escape(text)}</{tag}>'


def story(text: str) -> str:
    """HTML of words that open when asked for: all that a view shows, as text."""
    style = "white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.4"
    words = f"<pre style='{style}'>{escape(text)}</pre>"
    return f"<details><summary style='cursor:pointer'>in words</summary>{words}</details>"


def button(text: str, tooltip: str, *, width: str = "auto") -> ipywidgets.Button:
    """A button with a tooltip, which is its name for screen readers too where `text` is a sign."""
    layout = ipywidgets.Layout(width=width, flex="0 0 auto")
    return ipywidgets.Button(description=text, tooltip=tooltip, layout=layout)


def choice(label: str, options: Sequence[Any], value: Any, *, width: str = "auto") -> ipywidgets.Dropdown:
    """One of several; options are values, or pairs (words, value)."""
    return ipywidgets.Dropdown(
        options=options,
        value=value,
        description=label,
        style={"description_width": "initial"},
        layout=ipywidgets.Layout(width=width, flex="0 0 auto", margin="2px 12px 2px 2px"),
    )


class Stepper(HasTraits):
    """A slider over named places, with a button to the one before and to the next.

    Buttons as well, because some front ends keep the arrow keys from sliders.

    Parameters
    ----------
    label : str
        What is chosen.
    names : sequence of str
        Words of each place, shown beside the slider.
    index : int
        The first choice.

    Attributes
    ----------
    index : int
        The chosen place, 0-based; observe and set it.
    widget : ipywidgets.Box
        To be shown.
    """

    index = Int(0)

    def __init__(self, label: str, names: Sequence[str], index: int = 0, *, width: str = "320px") -> None:
        super().__init__()
        self.slider = ipywidgets.IntSlider(
            max=max(0, len(names) - 1),
            description=label,
            readout=False,
            style={"description_width": "initial"},
            layout=ipywidgets.Layout(width="auto", flex="1 1 180px", min_width="150px"),
        )
        self.before = button("◀", f"previous {label}", width="34px")
        self.next = button("▶", f"next {label}", width="34px")
        self.readout = words(min_width="7em", margin="0 0 0 8px")
        # no basis of its own: in a column that would be a height
        self.widget = row(
            self.before, self.slider, self.next, self.readout, width="auto", min_width=width, flex="1 1 auto"
        )
        self.before.on_click(lambda _: self.step(-1))
        self.next.on_click(lambda _: self.step(1))
        self.slider.observe(self._slid, "value")
        self.rename(names)
        self.index = index

    @property
    def names(self) -> tuple[str, ...]:
        """Words of each place."""
        return self._names

    def rename(self, names: Sequence[str]) -> None:
        """Give other places; the index stays, or becomes the last one."""
        self._names = tuple(names)
        last = max(0, len(names) - 1)
        if self.index > last:
            self.index = last
        self.slider.max = last
        self._show()

    def step(self, by: int) -> None:
        """Move by so many places, as far as there are any."""
        self.index = min(max(self.index + by, 0), self.slider.max)

    def _slid(self, change: Any) -> None:
        self.index = change["new"]

    @observe("index")
    def _chosen(self, change: Any) -> None:
        self.index = min(max(change["new"], 0), self.slider.max)
        self.slider.value = self.index
        self._show()

    def _show(self) -> None:
        text = self._names[self.index] if self._names else "none"
        self.readout.value = f'<span style="font-variant-numeric:tabular-nums;white-space:nowrap">{escape(text)}</span>'
        self.before.disabled = self.index <= 0
        self.next.disabled = self.index >= self.slider.max


class Toolbar:
    """Undo, redo, and the code of what is chosen; ends with its view.

    Attributes
    ----------
    widget : ipywidgets.VBox
        To be shown: the buttons, and below them the code when it is asked for.
    """

    def __init__(self, view: View, *more: ipywidgets.Widget) -> None:
        self._view = view
        self.undo = button("↶ undo", "take the last step back")
        self.redo = button("↷ redo", "make the step again")
        self.code = ipywidgets.ToggleButton(
            description="copy as code",
            tooltip="show the Python code that gives this result",
            layout=ipywidgets.Layout(width="auto", flex="0 0 auto"),
        )
        self.shown = ipywidgets.Textarea(
            disabled=False, rows=3, layout=ipywidgets.Layout(width="98%", display="none"), tooltip="code of the result"
        )
        self.undo.on_click(lambda _: view.state.undo())
        self.redo.on_click(lambda _: view.state.redo())
        self.code.observe(self._toggled, "value")
        view.watch(self.refresh)  # all: called after the state has recorded the step
        self.widget = ipywidgets.VBox([row(self.undo, self.redo, self.code, *more), self.shown])
        self.refresh()

    def _toggled(self, change: Any) -> None:
        self.shown.layout.display = "flex" if change["new"] else "none"
        self.refresh()

    def refresh(self, _: Any = None) -> None:
        """Show what can be undone, and the code."""
        state = self._view.state
        self.undo.disabled, self.redo.disabled = not state.can_undo, not state.can_redo
        if self.code.value:
            self.shown.value = self._code()

    def _code(self) -> str:
        try:
            return self._view.code
        except DataError as error:
            return f"# {error}"


class Range(HasTraits):
    """Two numbers that may be typed; empty boxes stand for automatic ends.

    Attributes
    ----------
    value : list
        [low, high] or [].
    problem : str
        What was wrong with what was typed last; "" when nothing was.
    widget : ipywidgets.Box
        To be shown.
    """

    value = List(Float(), maxlen=2)
    problem = Unicode("")

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label
        self._shown: Callable[[float], float] = float
        self._data: Callable[[float], float] = float
        layout = {"width": "88px", "flex": "0 0 auto"}
        self.ends = [
            ipywidgets.Text(
                placeholder="auto", continuous_update=False, tooltip=tip, layout=ipywidgets.Layout(**layout)
            )
            for tip in (f"first value of {label}", f"last value of {label}")
        ]
        self.auto = button("auto", f"automatic ends of {label}")
        self.widget = row(words(label), self.ends[0], words("to"), self.ends[1], self.auto, width="auto")
        self.auto.on_click(lambda _: self.set_trait("value", []))
        for end in self.ends:
            end.observe(self._typed, "value")

    def read_as(self, shown: Callable[[float], float], data: Callable[[float], float]) -> None:
        """Functions from the numbers of `value` to those in the boxes, and back."""
        self._shown, self._data = shown, data
        self._write()

    @observe("value")
    def _write(self, _: Any = None) -> None:
        texts = [f"{number:.4g}" for number in sorted(self._shown(end) for end in self.value)] or ["", ""]
        for box, text in zip(self.ends, texts, strict=True):
            box.unobserve(self._typed, "value")
            box.value = text
            box.observe(self._typed, "value")

    def _typed(self, _: Any) -> None:
        texts = [box.value.strip() for box in self.ends]
        self.problem = ""
        if not all(texts):
            if not any(texts):
                self.value = []
            return
        try:
            ends = sorted(self._data(float(text)) for text in texts)
        except (ValueError, OverflowError):
            self.problem = f"{self.label}: numbers are needed, found {' and '.join(map(repr, texts))}"
            return
        if not (ends[0] < ends[1] and all(map(math.isfinite, ends))):
            self.problem = f"{self.label}: two different numbers are needed, found {' and '.join(texts)}"
            return
        self.value = ends
