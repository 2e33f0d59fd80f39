"""The scene mask: which pixels show nothing but background and noise."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from corontools.arrays.clip import background_pixels
from corontools.dq import DQ
from corontools.errors import DataError
from corontools.flicker.readout import Readout
from corontools.flicker.regions import footprint, trace_footprint

__all__ = ["Regions", "Scene", "make_scene"]

# observing mode -> kinds of regions with light that are masked on request
KINDS = {
    "IFU": ("slices", "failed_open", "fixed_slits"),
    "MOS": ("slits", "failed_open", "fixed_slits"),
    "FS": ("slits",),
    "MIRI": ("non_science",),
    "SOSS": ("traces",),
}
# kind -> flavour as the card names it
FLAVOURS = {
    "slices": "IFU slices",
    "slits": "slits",
    "traces": "traces",
    "failed_open": "MSA_FAILED_OPEN",
    "fixed_slits": "fixed-slit region",
    "non_science": "non-science",
    "science": "science regions",
}
# kinds that only the user knows, and what they are
GIVEN = {
    "slices": "the footprints of the IFU slices",
    "slits": "the footprints of the open slits",
    "traces": "the traces, pairs (x, y) of their middles",
}
# kind -> bits by which the data may tell, and the step that sets them
FLAGGED = {
    "failed_open": (DQ.MSA_FAILED_OPEN, "the flag MSA_FAILED_OPEN"),
    "non_science": (DQ.DO_NOT_USE | DQ.NON_SCIENCE, "the flags of the flat field (NON_SCIENCE, DO_NOT_USE)"),
}
# rows of a full NIRSpec frame that the fixed slits light: [1:2048, 923:1116] in x, y from 1
FIXED_SLITS = slice(922, 1116)
LOWER = 3.0


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions with light that a mask leaves out.

    Attributes
    ----------
    inside : mapping
        Kind of region to its pixels (y, x), None where the flags of the data tell.
    left_out : tuple of str
        Flavours of the observing mode that were not asked for.
    """

    inside: Mapping[str, np.ndarray | None] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, science: Any, readout: Readout, shape: tuple[int, ...]) -> Regions:
        """What `FlickerCleaner.mask_scene` was given as `science`, for images of the shape (..., y, x).

        Raises
        ------
        DataError
            If the mode needs regions that were not given, or has none of that kind.
        """
        kinds = KINDS.get(readout.mode, ())
        if science is None or science is False:
            return cls({}, tuple(FLAVOURS[kind] for kind in kinds))
        given = _by_kind(science, kinds)
        unknown = sorted(set(given) - {*kinds, "science"})
        if unknown:
            known = ", ".join((*kinds, "science"))
            raise DataError(f"{readout.name} has no regions {', '.join(unknown)} (it has: {known})")
        _ask_for_missing(given, kinds, readout)
        wanted = [kind for kind in (*kinds, "science") if given.get(kind, kind in kinds) is not False]
        inside = {kind: _pixels(kind, given.get(kind), readout, (shape[-2], shape[-1])) for kind in wanted}
        return cls(inside, tuple(FLAVOURS[kind] for kind in kinds if kind not in wanted))

    @property
    def flavours(self) -> tuple[str, ...]:
        """Names of the kinds."""
        return tuple(FLAVOURS[kind] for kind in self.inside)

    def lit(self, shape: tuple[int, int], dq: np.ndarray | None) -> np.ndarray:
        """Pixels of all regions, the flags `dq` (y, x) telling where nothing was given."""
        lit = np.zeros(shape, bool)
        for kind, pixels in self.inside.items():
            lit |= _flagged(kind, dq, shape) if pixels is None else pixels
        return lit


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene mask and how it was made.

    Attributes
    ----------
    mask : ndarray of bool, shape (y, x) or (n_int, y, x)
        True: shows background, to be used.
    flavours : tuple of str
        Kinds of masking that were applied.
    left_out : tuple of str
        Kinds that the observing mode has and that were not asked for.
    levels : tuple of (float, float)
        Centre and sigma of the background in each image of the draft rate.
    """

    mask: np.ndarray
    flavours: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    levels: tuple[tuple[float, float], ...] = ()


def make_scene(
    rates: Iterable[np.ndarray],
    lit: np.ndarray,
    *,
    n_sigma: float,
    histogram: bool = False,
    each: bool = False,
    exact: bool = False,
) -> Scene:
    """Mask of draft rates (y, x), one after the other.

    Pixels without data (NaN or exactly 0), that are `lit`, further than 3 sigma below or `n_sigma` above the background
    are False. A pixel has to be good in all rates, unless `each` has a mask of its own.
    """
    masks: list[np.ndarray] = []
    levels = []
    for rate in rates:
        good = np.isfinite(rate) & (rate != 0) & ~lit
        if n_sigma > 0:
            good, center, sigma = background_pixels(
                rate, good, lower=LOWER, upper=n_sigma, histogram=histogram, exact=exact
            )
            levels.append((center, sigma))
        masks = [*masks, good] if each or not masks else [masks[0] & good]
    flavours = ("missing data", *(("outliers",) if n_sigma > 0 else ()))
    return Scene(np.stack(masks) if each else masks[0], flavours, levels=tuple(levels))


def _by_kind(science: Any, kinds: tuple[str, ...]) -> Mapping[str, Any]:
    if science is True:
        return {}
    if isinstance(science, Mapping):
        return science
    return {next((kind for kind in kinds if kind in GIVEN), "science"): science}


def _ask_for_missing(given: Mapping[str, Any], kinds: tuple[str, ...], readout: Readout) -> None:
    missing = [kind for kind in kinds if kind in GIVEN and (given.get(kind) is None or given[kind] is True)]
    if missing:
        kind = missing[0]
        raise DataError(
            f"{readout.name} needs {GIVEN[kind]}: give science={{{kind!r}: ...}} (boxes, polygons, an image of 0 and "
            f"1, a FITS file), {kind!r}: False to leave them in, or science=False to mask no region"
        )


def _pixels(kind: str, region: Any, readout: Readout, shape: tuple[int, int]) -> np.ndarray | None:
    """Pixels of a kind of regions; None where flags tell."""
    if kind == "traces":
        return trace_footprint(region, shape)
    if region is not None and region is not True:
        return footprint(region, shape)
    if kind == "fixed_slits":
        return _fixed_slits(readout, shape)
    return None


def _fixed_slits(readout: Readout, shape: tuple[int, int]) -> np.ndarray:
    """The region of the fixed slits, where it lies on this part of the detector."""
    lit = np.zeros(shape, bool)
    rows = np.arange(shape[0]) + readout.corner[1]
    lit[(rows >= FIXED_SLITS.start) & (rows < FIXED_SLITS.stop)] = True
    return lit


def _flagged(kind: str, dq: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    bits, name = FLAGGED[kind]
    found = np.zeros(shape, bool) if dq is None else (dq & np.uint32(bits)) > 0
    if not found.any():
        warnings.warn(
            f"no pixel has {name}; give their pixels, science={{{kind!r}: mask}}, or {kind!r}: False if there are none",
            stacklevel=2,
        )
    return found
