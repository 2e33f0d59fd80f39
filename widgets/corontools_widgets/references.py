"""What views of references share: a strip of thumbnails, and ticks that say which are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from traitlets import Bool, HasTraits, List, TraitError, validate

from corontools_widgets.film_strip import FilmStrip

if TYPE_CHECKING:
    from corontools_widgets.view import View

__all__ = ["KeptState", "short_names", "tie_strip"]


class KeptState(HasTraits):
    """Part of the state of a view of references.

    Attributes
    ----------
    kept : list of bool
        Which are ticked; at least one.
    n_ref : int or None
        How many there are; known when a view has the state.
    """

    kept = List(Bool())
    n_ref: int | None = None

    @validate("kept")
    def _some_kept(self, proposal: dict[str, Any]) -> list[bool]:
        ticks = list(proposal["value"])
        if self.n_ref is not None and len(ticks) != self.n_ref:
            raise TraitError(f"there are {self.n_ref} references, found {len(ticks)} ticks")
        if ticks and not any(ticks):
            raise TraitError("no reference is ticked; keep at least one")
        return ticks

    @property
    def indices(self) -> np.ndarray:
        """Of the references that are kept."""
        return np.flatnonzero(self.kept)


def tie_strip(view: View, strip: FilmStrip, name: str) -> None:
    """Tie ticks and chosen thumbnail to the state; `name` is the choice that says which one is looked at."""
    state: Any = view.state

    def ticked(change: Any) -> None:
        if any(change["new"]):
            state.kept = change["new"]
        else:  # the last one stays
            strip.kept = state.kept

    def chosen(change: Any) -> None:
        state.apply({name: change["new"]}, drag=name)

    def follow(_: Any = None) -> None:
        strip.kept, strip.chosen = state.kept, getattr(state, name)

    view.watch(ticked, "kept", of=strip)
    view.watch(chosen, "chosen", of=strip)
    view.watch(follow, "kept", name)
    follow()


def short_names(names: Sequence[str]) -> list[str]:
    """What tells names of files apart: the words between underscores that all have in common are left out.

    Examples
    --------
    >>> short_names(["jw01_a_00001_calints.fits [0]", "jw01_b_00001_calints.fits [0]"])
    ['a [0]', 'b [0]']
    >>> short_names(["one.fits [0]"])
    ['one.fits [0]']
    """
    parts = [name.rpartition(" [") for name in names]
    stems = [(stem if mark else tail).split("_") for stem, mark, tail in parts]
    ends = [mark + tail if mark else "" for _, mark, tail in parts]
    if len({tuple(stem) for stem in stems}) < 2:
        return list(names)
    first, last = (_alike([stem[::step] for stem in stems]) for step in (1, -1))
    shorter = ["_".join(stem[first : len(stem) - last]) for stem in stems]
    return [name + end for name, end in zip(shorter, ends, strict=True)] if all(shorter) else list(names)


def _alike(stems: Sequence[Sequence[str]]) -> int:
    """How many words all begin with."""
    same = [len(set(words)) == 1 for words in zip(*stems, strict=False)]
    return [*same, False].index(False)
