"""StackExplorer: the references of a stack, their bad pixels, and which of them are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from corontools.coron.stack import PSFStack
from corontools_widgets import controls
from corontools_widgets.explore import explore
from corontools_widgets.film_strip import FilmStrip
from corontools_widgets.image_view import beside, cell
from corontools_widgets.masks import MaskState, MaskView
from corontools_widgets.references import KeptState, short_names, tie_strip

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["StackExplorer", "StackState"]


class StackState(MaskState, KeptState):
    """Choices of a `StackExplorer`: those of `MaskState` and `KeptState`."""


class StackExplorer(MaskView):
    """The references of a stack one by one: flags, outliers, painting, statistics, and a tick for each.

    Parameters
    ----------
    stack : PSFStack
        Unaligned references.

    Attributes
    ----------
    stack : PSFStack
        As it was given.

    Examples
    --------
    >>> from corontools import Exposure
    >>> frames = np.random.default_rng(1).normal(size=(4, 32, 32))
    >>> view = StackExplorer(PSFStack.from_exposures([Exposure(frames)]))
    >>> view.state.kept = [True, True, False, True]
    >>> view.result.code[-18:]
    '.select([0, 1, 3])'
    >>> view.close()
    """

    state: StackState

    def __init__(self, stack: PSFStack) -> None:
        super().__init__(StackState(kept=[True] * stack.n_ref))
        self.stack, self.state.n_ref = stack, stack.n_ref
        self._short = short_names(stack.members)
        names = [f"{i} {star}".strip() for i, star in enumerate(stack.targets)]
        self.open(stack.exposure, title="References", name="reference", names=names)
        captions = [[name, member] for name, member in zip(names, self._short, strict=True)]
        self._strip = FilmStrip(stack.exposure.data, captions, label="references")
        empty = ~stack.exposure.good.any(axis=(1, 2))
        self._strip.flagged = np.flatnonzero(empty).tolist()
        tie_strip(self, self._strip, "frame")
        self.watch(self.say, "kept")
        bar = controls.Toolbar(self)
        self.show_as(
            controls.column(
                bar.widget, beside(self.pane, self._strip, *self.mask_controls), self._words, self._statistics
            )
        )
        self._mask()
        self.say()

    @property
    def subject(self) -> PSFStack:
        """The stack as it was given."""
        return self.stack

    @property
    def result(self) -> PSFStack:
        """The references that are ticked, without outliers where these are rejected, painted pixels masked."""
        made: PSFStack = self.cleaned()
        return made if all(self.state.kept) else made.select(self.state.indices)

    def masked(self, subject: PSFStack) -> PSFStack:
        """A stack with the painted pixels masked."""
        return subject.mask(self.brushed)

    def table(self) -> Table:
        """Statistics of all references, without what is rejected or painted, and which are used."""
        table = self.cleaned().statistics()
        table["used"] = self.state.kept
        return table

    def shown_table(self) -> Table:
        """The table with short names: those of the files are long."""
        table = self.table()
        table["member"] = self._short
        return table

    @property
    def text(self) -> str:
        """The reference that is shown, in words."""
        i, stack = self.state.frame, self.stack
        row, unit = self.cleaned().select([i]).statistics()[0], self.exposure.meta.unit
        median, sigma, peak = (
            cell(float(getattr(row[name], "value", row[name]))) for name in ("median", "sigma", "peak")
        )
        star = f", {stack.targets[i]}" if stack.targets[i] else ""
        used = "used" if self.state.kept[i] else "left out"
        words = [
            f"Reference {i} ({stack.members[i]}{star}), {used}; {sum(self.state.kept)} of {stack.n_ref} are used.",
            f"Median {median}, sigma {sigma}, peak {peak} {unit}".rstrip() + ".",
            *self.mask_words(i),
        ]
        return " ".join(words)


@explore.register
def _explore_stack(stack: PSFStack) -> StackExplorer:
    return StackExplorer(stack)
