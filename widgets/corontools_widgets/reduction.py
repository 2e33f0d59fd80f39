"""Reduction: from the choices of a KL explorer to pictures at once, and to the exact result when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from corontools.coron.aligned import AlignedRefs
from corontools.coron.klip import KlipResult
from corontools.coron.live import Live
from corontools.coron.series import ModeSeries
from corontools.coron.zones import Zones
from corontools.errors import DataError
from corontools.result import call

__all__ = ["Choice", "Reduction"]


@dataclass(frozen=True)
class Choice:
    """What decides a subtraction besides the number of modes.

    Attributes
    ----------
    edges : tuple of float
        Radii that bound the zones, px; empty: the zones of the result.
    sectors : int
        Sectors of each annulus.
    start : float
        Where the first sector begins, degrees from +y anticlockwise.
    dropped : tuple of int
        References that are left out.
    source : (float, float, float) or ()
        (x, y) in px and flux of an injected companion.
    """

    edges: tuple[float, ...] = ()
    sectors: int = 1
    start: float = 0.0
    dropped: tuple[int, ...] = ()
    source: tuple[float, ...] = ()

    @property
    def zones(self) -> Zones | None:
        """Zones of its own; None: those of the result."""
        return Zones.annuli(self.edges, sectors=self.sectors, start=self.start) if self.edges else None

    @property
    def reduces(self) -> bool:
        """Whether the references have to be decomposed again."""
        return bool(self.edges or self.dropped)

    @property
    def base(self) -> Choice:
        """The same without a companion."""
        return Choice(self.edges, self.sectors, self.start, self.dropped)


class Reduction:
    """Subtractions of the same exposures with other zones, other references, and a companion.

    What is shown while choices change takes one set of references for all integrations (see `Live`); `result` is what
    the chain gives, which takes longer where every integration has a set of its own.

    Parameters
    ----------
    klip : KlipResult
        Where the choices start from.
    """

    def __init__(self, klip: KlipResult) -> None:
        self.given = klip
        self._original = klip.series()
        self._latest: tuple[Choice, ModeSeries] | None = None
        self._decomposed: tuple[Choice, KlipResult] | None = None

    @cached_property
    def live(self) -> Live:
        """The references at hand; the first call shifts them."""
        return Live(self.given.aligned)

    @property
    def n_ref(self) -> int:
        """References there are."""
        return self.given.aligned.n_ref

    def prepare(self, choice: Choice) -> None:
        """Shift the references and multiply them, so that the first change finds them ready."""
        self._klip(choice.base)

    def is_preview(self, choice: Choice) -> bool:
        """Whether what is shown has one set of references where the result has one for each integration."""
        return choice.reduces and self.given.aligned.to == "each"

    def frame(self, choice: Choice, modes: int) -> np.ndarray:
        """Mean residual (y, x) with so many modes: the picture that comes first."""
        if self._latest is not None and self._latest[0] == choice.base:
            series = self._latest[1]
        elif choice.reduces:
            klip = self._klip(choice.base)
            series = klip.series([min(modes, klip.max_modes)])
        else:
            series = self._original
        at = int(np.argmin(np.abs(series.modes - modes)))
        if not choice.source:
            return series.frames[at]
        x, y, flux = choice.source
        return series.injected_frame(at, flux, position=(x, y))

    def series(self, choice: Choice) -> ModeSeries:
        """Mean residuals for all numbers of modes."""
        base = self.without_source(choice)
        if not choice.source:
            return base
        x, y, flux = choice.source
        return base.inject(flux, position=(x, y))

    def without_source(self, choice: Choice) -> ModeSeries:
        """The same without the companion."""
        base = choice.base
        if not base.reduces:
            return self._original
        if self._latest is None or self._latest[0] != base:
            self._latest = base, self._klip(base).series()
        return self._latest[1]

    def result(self, choice: Choice, modes: int) -> KlipResult:
        """What the chain gives for these choices."""
        klip = self.given
        if choice.reduces:
            kept = self._kept(choice)
            aligned = klip.aligned.select(kept) if choice.dropped else klip.aligned
            klip = aligned.klip(self._most(choice), zones=choice.zones or klip.areas)
        if choice.source:
            x, y, flux = choice.source
            klip = klip.inject(flux, position=(x, y))
        return klip.at(min(modes, klip.max_modes))

    def code(self, choice: Choice, modes: int) -> str:
        """The chain that gives `result`, without computing it."""
        steps = list(self.given.history if not choice.reduces else self.given.aligned.history)
        if choice.reduces and choice.dropped:
            steps.append("." + call(AlignedRefs.select, None, self._kept(choice)))
        if choice.reduces:
            zones = choice.zones or self.given.areas
            steps.append("." + call(AlignedRefs.klip, None, self._most(choice), zones=zones))
        if choice.source:
            x, y, flux = choice.source
            steps.append("." + call(KlipResult.inject, None, flux, position=(x, y)))
        return "".join([step for step in steps if not step.startswith(".at(")] + [f".at({modes})"])

    def _klip(self, base: Choice) -> KlipResult:
        if self._decomposed is None or self._decomposed[0] != base:
            zones = base.zones or self.given.areas
            self._decomposed = base, self.live.klip(self._most(base), zones=zones, keep=self._kept(base))
        return self._decomposed[1]

    def _kept(self, choice: Choice) -> list[int]:
        kept = [i for i in range(self.n_ref) if i not in choice.dropped]
        if not kept:
            raise DataError("no reference is left; tick at least one")
        return kept

    def _most(self, choice: Choice) -> int:
        return min(self.given.max_modes, self.n_ref - len(set(choice.dropped)))
