"""ImageView: what views with an ImagePane have in common; pane and state in step, pictures, pages and tables."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np
from traitlets import Int, validate

from corontools.coron.report.images import sky_of
from corontools.display import escape
from corontools.display.frame import Mark, Sky, frame
from corontools.display.markup import visible
from corontools.display.picture import Scale, palette, png, resize, scaled_uri, stretch
from corontools.exposure import Exposure
from corontools_widgets import controls, standalone
from corontools_widgets.image_pane import ImagePane
from corontools_widgets.later import Later
from corontools_widgets.state import ViewState
from corontools_widgets.view import View, Writer

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["ImageState", "ImageView", "ModeView", "beside", "cell", "html_table", "percent", "plural"]

PNG_SIDES = (480, 2048)  # px; a smaller image is enlarged by a whole factor, a larger one shown by means
CELL = "padding:1px 10px;text-align:{};white-space:nowrap;border:0"


class ImageState(ViewState):
    """Choices of a view with a pane.

    Attributes
    ----------
    frame : int
        Frame that is shown, 0-based.
    """

    frame = Int(0, min=0)

    @validate("frame")
    def _one_of_all(self, proposal: dict[str, Any]) -> int:
        return self.below(proposal, self.n_frames)


class ImageView(View):
    """Base of the views with a pane: the pane follows the state and the other way round, and files are written.

    A subclass calls `take` with its pane, gives `image`, `table` and `text`, and calls `say` when words change.

    Attributes
    ----------
    pane : ImagePane
    """

    pane: ImagePane

    def take(self, pane: ImagePane, automatic: Mapping[str, tuple[float, float]]) -> None:
        """Tie the pane to the state; `automatic` are the limits where none are chosen, by the name of the choice."""
        self.pane, self._automatic = pane, dict(automatic)
        self._words, self._later = controls.words(width="auto"), Later(self._say)
        self.at_end(self._later.cancel)
        self.state.n_frames = len(pane.names)
        for name in ("stretch", "compare", "blink", "cursor"):
            self.link(name, pane, name)
        self.watch(self._frame_moved, "frame", of=pane)
        self.watch(self._look_changed, "limits", "colors", of=pane)
        self.watch(self._follow)

    def held(self, name: str) -> str:
        """Name of the choice that holds "limits" or "colors" of the frame that is shown."""
        return name

    @property
    def index(self) -> int:
        """Frame that is shown."""
        assert isinstance(self.state, ImageState)
        return self.state.frame

    def with_frame(self, index: int) -> dict[str, Any]:
        """Choices that go with a frame, as one step."""
        return {"frame": index}

    @abstractmethod
    def image(self, index: int) -> np.ndarray:
        """A frame (y, x) with all its pixels."""

    @abstractmethod
    def table(self) -> Table:
        """The numbers of the view, as `save` writes them."""

    @property
    def title(self) -> str:
        """Heading of what is saved."""
        return self.pane.title

    @property
    def note(self) -> str:
        """What is downsampled in the pane; "" for nothing."""
        return self.pane.note

    def limit(self, automatic: Mapping[str, tuple[float, float]]) -> None:
        """Other limits where none are chosen."""
        self._automatic.update(automatic)
        self._follow()

    def say(self, _: Any = None) -> None:
        """Bring the text alternative up to date, when the hand rests."""
        self._later()

    def _say(self) -> None:
        text = escape(self.text).replace("\n", "<br>")
        self._words.value = (
            f'<div role="status" aria-live="polite" style="line-height:1.5;overflow-wrap:anywhere">{text}</div>'
        )

    def _frame_moved(self, change: Mapping[str, Any]) -> None:
        if change["new"] != self.index:
            self.state.apply(self.with_frame(change["new"]), drag="frame")

    def _follow(self, _: Any = None) -> None:
        """The pane shows the frame that is chosen, in its limits and colours."""
        limits = self.held("limits")
        with self.pane.hold_sync():
            self.pane.frame = self.index
            self.pane.colors = getattr(self.state, self.held("colors"))
            self.pane.automatic = self._automatic[limits]
            self.pane.limits = tuple(getattr(self.state, limits)) or self.pane.automatic

    def _look_changed(self, change: Mapping[str, Any]) -> None:
        name, value = self.held(change["name"]), change["new"]
        if change["name"] == "limits":
            value = [] if value == self._automatic[name] else list(value)
        if value != getattr(self.state, name):
            self.state.apply({name: value}, drag=name)

    # -- files --------------------------------------------------------------------------------------------------------

    def writers(self) -> Mapping[str, Writer]:
        """The image with its axes (.svg) or alone, in whole multiples of its pixels (.png); a page (.html); tables."""
        return {
            ".png": self._write_png,
            ".svg": self._write_svg,
            ".html": self.write_page,
            ".csv": lambda path: self.table().write(path, format="ascii.csv", overwrite=True),
            ".ecsv": lambda path: self.table().write(path, format="ascii.ecsv", overwrite=True),
        }

    @property
    def _scale(self) -> Scale:
        pane = self.pane
        return Scale(pane.limits, pane.stretch, pane.colors, pane.unit)

    @property
    def sky(self) -> Sky:
        """Of all frames."""
        return self._sky

    def look_at(self, exposure: Exposure) -> Sky:
        """How the pixels of an exposure lie on the sky; kept for `save`."""
        self._sky = sky_of(exposure)
        return self._sky

    def _write_png(self, path: Path) -> None:
        scale, least = self._scale, PNG_SIDES[0]
        pixels = stretch(resize(self.image(self.index), PNG_SIDES[1]), kind=scale.kind, limits=scale.limits)
        factor = max(1, least // max(pixels.shape))
        path.write_bytes(png(pixels[::-1].repeat(factor, axis=0).repeat(factor, axis=1), palette(scale.colors)))

    def _write_svg(self, path: Path) -> None:
        scale, image = self._scale, self.image(self.index)
        title = f"{self.title}, {self.pane.names[self.index]}"
        rings, marks = self.pane.rings, self.drawn_marks()
        figure = frame(scaled_uri(image, scale), sky=self.sky, scale=scale, rings=rings, marks=marks, title=title)
        path.write_text(figure, encoding="utf-8")

    def drawn_marks(self) -> Sequence[Mark]:
        """Companions and the like on the saved figure."""
        return ()

    def to_html(self) -> str:
        """The pane with all its frames, words, curves and code."""
        return standalone.page(
            self.title, pane=self.pane.snapshot(), text=self.text, code=self.code, curves=self.curves()
        )

    def curves(self) -> Sequence[Any]:
        """Curves on the saved page."""
        return ()


class ModeView(ImageView):
    """Base of the views whose frames are numbers of KL modes; a subclass gives `counts`."""

    @property
    @abstractmethod
    def counts(self) -> np.ndarray:
        """Number of modes of each frame, (n,)."""

    @property
    def index(self) -> int:
        """Frame of the chosen number of modes, or of the nearest that there is."""
        return int(np.argmin(np.abs(self.counts - self.state.modes)))

    @property
    def modes(self) -> int:
        """Number of modes that is shown."""
        return int(self.counts[self.index])

    def with_frame(self, index: int) -> dict[str, Any]:
        """The number of modes of a frame."""
        return {"modes": int(self.counts[index])}


def beside(pane: ImagePane, *right: ipywidgets.Widget) -> ipywidgets.Box:
    """The pane on the left and other widgets on the right; below each other where the page is narrow."""
    for name, text in {"flex": "1 1 430px", "min_width": "260px", "max_width": "100%"}.items():
        setattr(pane.layout, name, text)
    side = ipywidgets.VBox(right, layout={"flex": "1 1 360px", "min_width": "240px", "max_width": "100%"})
    return controls.row(pane, side, align_items="flex-start", grid_gap="0 14px")


def html_table(table: Table, *, digits: int = 4) -> str:
    """A table as static HTML that scrolls; what it holds is shown as text."""
    names = [name if not table[name].unit else f"{name} ({table[name].unit})" for name in table.colnames]
    texts = [[cell(one, digits=digits) for one in np.asarray(table[name])] for name in table.colnames]
    sides = ["right" if np.asarray(table[name]).dtype.kind in "fiu" else "left" for name in table.colnames]
    head = "".join(
        f'<th scope="col" style="{CELL.format(side)};position:sticky;top:0;background:var(--jp-layout-color1, Canvas)">'
        f"{escape(name)}</th>"
        for name, side in zip(names, sides, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(f'<td style="{CELL.format(s)}">{escape(c)}</td>' for s, c in zip(sides, row, strict=True))
        + "</tr>"
        for row in zip(*texts, strict=True)
    )
    style = "max-height:320px;overflow:auto;font-variant-numeric:tabular-nums;line-height:1.4"
    return (
        f'<div style="{style}" tabindex="0" role="region" aria-label="statistics">'
        f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def cell(number: Any, *, digits: int = 4) -> str:
    """A cell as words."""
    if isinstance(number, float | np.floating):
        return f"{number:.{digits}g}" if np.isfinite(number) else "\u2014"
    if isinstance(number, bool | np.bool_):
        return "yes" if number else "no"
    return visible(number)


def percent(share: float) -> str:
    """A share as words.

    Examples
    --------
    >>> percent(0.00478), percent(0.25), percent(1.0)
    ('0.48 %', '25 %', '100 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def plural(n: int, what: str) -> str:
    """A number of things.

    Examples
    --------
    >>> plural(1, "pixel"), plural(3, "pixel")
    ('1 pixel', '3 pixels')
    """
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
