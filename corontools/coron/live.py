"""Live: the references at hand, so that other zones and other references are a matter of milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from corontools.coron.aligned import AlignedRefs
from corontools.coron.kept import Kept, KeptRows
from corontools.coron.klip import KlipResult, subtract
from corontools.coron.subspace import ReferenceRows
from corontools.coron.zones import Zones
from corontools.errors import DataError
from corontools.exposure import indices
from corontools.result import call

__all__ = ["Live"]


class Live:
    """References shifted once and kept, for results with other zones and other references at once.

    `live.klip(modes, zones=..., keep=...)` is `aligned.averaged().select(keep).klip(modes, zones=zones)`. A reference
    that goes takes its row and column from the Gram matrix of the zone. Pixels that some reference lacks depend on
    which references there are; they alone are worked on again.

    Parameters
    ----------
    aligned : AlignedRefs
        With to="each", its shifts are averaged over the integrations.

    Attributes
    ----------
    aligned : AlignedRefs
        All references, one set.

    Notes
    -----
    It holds the references in float64: 74 MB for 90 of 320 x 320 px.

    Examples
    --------
    >>> from corontools import PSFStack
    >>> from corontools.simulate import null
    >>> science, references = null(3, 8, shape=48)
    >>> live = Live(PSFStack.from_exposures([references]).align_to(science, to="none"))
    >>> live.klip(5, zones=Zones.annuli([4, 20]), keep=[0, 1, 2, 4, 5, 6]).aligned.n_ref
    6
    """

    def __init__(self, aligned: AlignedRefs) -> None:
        self.aligned = aligned.averaged()
        self._fitted = np.isfinite(self.aligned.shifts).all(axis=(0, 2))
        if not self._fitted.any():
            raise DataError("no reference has a shift (too few good pixels); align them with another mask")
        usable = self.aligned if self._fitted.all() else self.aligned.select(self._fitted)
        self._references = KeptRows.of(ReferenceRows.of(usable, 0))

    def klip(
        self,
        modes: int = 50,
        *,
        zones: Literal["shared", "full"] | Zones = "shared",
        keep: Sequence[int] | np.ndarray | slice | None = None,
    ) -> KlipResult:
        """Subtract the star; see `AlignedRefs.klip`.

        Parameters
        ----------
        modes : int
            Largest number of modes.
        zones : str or Zones
        keep : indices, slice or boolean mask, optional
            References to use, of all there are.

        Raises
        ------
        DataError
            As `AlignedRefs.select` and `klip` do.
        """
        n_ref = self.aligned.n_ref
        kept = np.arange(n_ref) if keep is None else np.unique(indices(keep, n_ref, "references"))
        aligned = self.aligned if keep is None else self.aligned.select(keep)
        return self._subtracted(aligned, kept, modes, zones)

    def _subtracted(self, aligned: AlignedRefs, kept: np.ndarray, modes: int, zones: Any) -> KlipResult:
        place = np.cumsum(self._fitted) - 1  # of each reference among those with a shift
        references = Kept(self._references, place[kept[self._fitted[kept]]])
        made = subtract(aligned, modes=modes, zones=zones, references=references)
        return made.with_(history=(*made.history, "." + call(AlignedRefs.klip, aligned, modes, zones=zones)))
