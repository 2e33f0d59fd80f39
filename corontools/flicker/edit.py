"""A scene mask changed by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from corontools.errors import DataError
from corontools.flicker.regions import footprint, mask_image

__all__ = ["Edit"]


@dataclass(frozen=True, eq=False)
class Edit:
    """What is taken out of the background by hand, and what is put in.

    Attributes
    ----------
    masked, used : ndarray of bool, shape (y, x) or (n_int, y, x), or None
        Pixels that show sources, and pixels that show background; these go over those.
    above : float or None
        Pixels whose draft rate is higher show sources.
    """

    masked: np.ndarray | None = None
    used: np.ndarray | None = None
    above: float | None = None

    @classmethod
    def of(cls, masked: Any, used: Any, above: float | None, shape: tuple[int, ...]) -> Edit:
        """What `FlickerCleaner.edit_mask` was given, for an exposure of this shape.

        Raises
        ------
        DataError
            If nothing was given, or something else than regions and a number.
        """
        if masked is None and used is None and above is None:
            raise DataError("nothing to change; give masked=, used= (boxes, polygons, masks) or above= (a rate)")
        if above is not None and not np.isfinite(above):
            raise DataError(f"above should be a finite draft rate, found {above}")
        return cls(_pixels(masked, shape), _pixels(used, shape), None if above is None else float(above))

    def applied(self, mask: np.ndarray, rate: np.ndarray) -> np.ndarray:
        """The mask (y, x) or (n_int, y, x) changed, a new array; of each integration if one of them is.

        `rate` is the draft rate, (y, x) or (n_int, y, x); a pixel has to be below `above` in all integrations unless
        each has a mask of its own.
        """
        each = any(part is not None and part.ndim == 3 for part in (mask, self.masked, self.used))
        out = mask.copy()
        if self.above is not None:
            high = rate > self.above
            out = out & ~(high if each or high.ndim == 2 else high.any(axis=0))
        if self.masked is not None:
            out = out & ~self.masked
        return out if self.used is None else out | self.used


def _pixels(region: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Regions as pixels; a cube of masks is one for each integration."""
    if region is None:
        return None
    if isinstance(region, np.ndarray) and region.ndim == 3 and len(shape) > 2:
        return mask_image(region, (shape[0], *shape[-2:]))
    return footprint(region, (shape[-2], shape[-1]))
