"""FilmStrip: thumbnails of a stack, of which one is chosen and some are ticked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets as tl
from numpy.typing import ArrayLike

from corontools.display.sprite import sprite
from corontools.errors import DataError

__all__ = ["FilmStrip"]

HERE = Path(__file__).parent


class FilmStrip(anywidget.AnyWidget):
    """Thumbnails with captions in a row that wraps.

    A click or the arrow keys choose a frame, its box or the space bar ticks it. All of it happens in the browser;
    Python is told.

    Parameters
    ----------
    images : iterable of array_like, shape (y, x)
        Frames, taken one by one.
    captions : sequence of sequence of str
        Lines under each; shown as text, whatever they hold.
    label : str
        What the frames are ("references").
    kept : sequence of bool, optional
        Which are ticked; all by default.
    tickable : bool
        Whether there are boxes.

    Attributes
    ----------
    chosen : int
        Frame last chosen.
    kept : list of bool
    flagged : list of int
        Frames that are marked as doubtful.
    captions : list of list of str
        As many as there are frames.

    Raises
    ------
    DataError
        If captions or ticks are not as many as the images.

    Examples
    --------
    >>> import numpy as np
    >>> strip = FilmStrip(np.random.default_rng(1).normal(size=(3, 32, 32)), [["a"], ["b"], ["c"]], label="references")
    >>> strip.kept
    [True, True, True]
    >>> strip.close()
    """

    # as text: anywidget would keep every strip for as long as it looks at a file
    _esm = (HERE / "film_strip.js").read_text("utf-8")
    _css = (HERE / "film_strip.css").read_text("utf-8")

    chosen = tl.Int(0).tag(sync=True)
    kept = tl.List(tl.Bool()).tag(sync=True)
    flagged = tl.List(tl.Int()).tag(sync=True)
    captions = tl.List(tl.List(tl.Unicode())).tag(sync=True)
    label = tl.Unicode("").tag(sync=True)
    tickable = tl.Bool(True).tag(sync=True)
    _sprite = tl.Bytes(b"").tag(sync=True)

    def __init__(
        self,
        images: Iterable[ArrayLike],
        captions: Sequence[Sequence[str]],
        *,
        label: str,
        kept: Sequence[bool] | None = None,
        tickable: bool = True,
        **traits: Any,
    ) -> None:
        frames = list(images)
        if len(captions) != len(frames) or (kept is not None and len(kept) != len(frames)):
            raise DataError(f"{len(frames)} frames, but {len(captions)} captions; give one of each")
        self._n_frames = len(frames)
        super().__init__(
            captions=[[str(line) for line in lines] for lines in captions],
            kept=[True] * len(frames) if kept is None else [bool(tick) for tick in kept],
            label=label,
            tickable=tickable,
            _sprite=sprite(frames),
            **traits,
        )

    @tl.validate("kept", "captions")
    def _as_many(self, proposal: Any) -> Any:
        found, what = len(proposal["value"]), {"kept": "ticks", "captions": "captions"}[proposal["trait"].name]
        if found != self._n_frames:
            raise tl.TraitError(f"{self._n_frames} frames, found {found} {what}")
        return proposal["value"]

    @tl.validate("flagged")
    def _there(self, proposal: Any) -> Any:
        odd = [index for index in proposal["value"] if not 0 <= index < self._n_frames]
        if odd:
            raise tl.TraitError(f"there are {self._n_frames} frames, found frame {odd[0]} among the flagged")
        return proposal["value"]
