"""Warps gathered into a coadd, one after the other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from corontools.arrays.coadd import Sums, accumulate, borders, mean_variance, no_sums, sky_variance
from corontools.calibrate.planes import Plane
from corontools.errors import DataError
from corontools.meta import Meta
from corontools.warp.gridpsf import GridPSF
from corontools.warp.inputs import Inputs
from corontools.warp.layers import Clip, Layer, Stacked, mapped
from corontools.warp.tract import Patch
from corontools.warp.warp import Warp

__all__ = ["NJY_ZERO", "Gathered", "Rule", "opened"]

# AB magnitude of 1 nJy
NJY_ZERO = 31.4
STATISTICS, WEIGHTS = ("mean", "clipped", "median"), ("variance", "sky", "uniform")


@dataclass(frozen=True)
class Rule:
    """How warps are combined; see `Coadd.from_warps`."""

    statistic: str | Clip = "mean"
    weights: str = "variance"
    left_out: int = 0
    zero_points: Mapping[Any, float] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.statistic, Clip) and self.statistic not in STATISTICS:
            raise DataError(f"statistic is one of {', '.join(STATISTICS)} or Clip(...), found {self.statistic!r}")
        if self.weights not in WEIGHTS:
            raise DataError(f"weights are one of {', '.join(WEIGHTS)}; found {self.weights!r}")
        if self.statistic == "clipped":
            object.__setattr__(self, "statistic", Clip())

    def scale(self, visit: int | str) -> float:
        """By which a warp is multiplied to be in nJy."""
        if self.zero_points is None:
            return 1.0
        if visit not in self.zero_points or not np.isfinite(self.zero_points[visit]):
            raise DataError(f"there is no zero point of visit {visit}; zero_points should give one for each visit")
        return float(10 ** (-0.4 * (self.zero_points[visit] - NJY_ZERO)))

    def weight(self, warp: Warp, good: np.ndarray, scale: float) -> float:
        """Of a scaled warp, one number for all pixels; 0 where it has none that counts.

        Raises
        ------
        DataError
            If its pixels have no variance or scatter, so that the weight would be infinite.
        """
        if not good.any():
            return 0.0
        if self.weights == "uniform":
            return 1.0
        frame = warp.frame
        if self.weights == "sky":
            sky = good & ~frame.has(Plane.DETECTED)
            found = sky_variance(frame.image, sky if sky.any() else good)
        else:
            found = mean_variance(frame.variance, good)
        if not (np.isfinite(found) and found > 0):
            what = "scatter of the sky" if self.weights == "sky" else "variance"
            raise DataError(f"visit {warp.visit}: the {what} is {found:g}, there is no weight; try weights='uniform'")
        return 1 / (scale**2 * found)


def opened(given: Any) -> Warp | None:
    """The warp that stands for itself, or that of a file; None stays."""
    if given is None or isinstance(given, Warp):
        return given
    if isinstance(given, str | os.PathLike):
        return Warp.read(given)
    raise DataError(f"a coadd is made of warps or their files, found {type(given).__name__}; see Warp.from_exposures")


@dataclass(eq=False)
class Gathered:
    """What was found in warps so far.

    Attributes
    ----------
    rule : Rule
    patch : Patch or None
    sums : Sums or None
        Of the warps that were added.
    edges : ndarray of bool, shape (y, x)
        Where an input begins or ends.
    psf : GridPSF or None
    rows : list of dict
        Of the table of visits.
    ccds : list of Table
        Detectors of each visit.
    metas : list of Meta
    kind : str
        Of the warps, "" before the first.
    """

    rule: Rule
    patch: Patch | None = None
    sums: Sums | None = None
    edges: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))
    psf: GridPSF | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    ccds: list[Table] = field(default_factory=list)
    metas: list[Meta] = field(default_factory=list)
    kind: str = ""

    def look(self, warp: Warp, name: str = "") -> dict[str, Any]:
        """Check a warp, and take its row of the table, PSF and edges; gives the row.

        Raises
        ------
        DataError
            If it doesn't belong to the others, or its weight isn't known.
        """
        self._check(warp)
        if self.patch is None:
            self.kind = warp.kind
            self.patch, self.edges = warp.patch, np.zeros(warp.shape, bool)
            self.psf = GridPSF.empty(warp.shape)
        frame, scale = warp.frame, self.rule.scale(warp.visit)
        known = np.isfinite(frame.image) & np.isfinite(frame.variance)
        good = known & ~frame.has(self.rule.left_out)
        weight = self.rule.weight(warp, good, scale)
        self.rows.append(
            {
                "visit": warp.visit, "filter": warp.filter, "goodpix": int(np.count_nonzero(good)), "weight": weight,
                "scale": scale, "clipped": 0, "artifacts": 0, "masked": 0, "file": name,
            }
        )  # fmt: skip
        if weight:
            cover = known & ~frame.has(Plane.NO_DATA)
            self.edges |= borders(cover)
            self.metas.append(warp.meta)
            if len(warp.inputs.ccds):
                self.ccds.append(warp.inputs.ccds)
            if warp.psf is not None and self.psf is not None:
                self.psf = self.psf.plus(warp.psf, cover, weight)
        return self.rows[-1]

    def add(self, warp: Warp, row: Mapping[str, Any]) -> None:
        """Add a warp to the sums."""
        if self.sums is None:
            self.sums = no_sums(warp.shape)
        if row["weight"]:
            frame = warp.frame
            accumulate(
                self.sums, frame.image, frame.variance, frame.mask, weight=row["weight"], scale=row["scale"],
                left_out=int(self.rule.left_out),
            )  # fmt: skip

    def layer(self, given: Any, warp: Warp, row: Mapping[str, Any]) -> Layer | None:
        """The warp as a layer, mapped where it is in a file; None where it has no pixel that counts."""
        if not row["weight"]:
            return None
        return Layer(warp.frame if isinstance(given, Warp) else mapped(given), row["weight"], row["scale"])

    def inputs(self) -> Inputs:
        """Tables of all visits and detectors."""
        visits = _table(self.rows)
        visits["weight"].unit = "1 / nJy2" if self.rule.weights != "uniform" else ""
        texts = visits["visit"].dtype.kind == "U"
        ccds = [_with_text(table) if texts else table for table in self.ccds]
        return Inputs(visits, vstack(ccds, metadata_conflicts="silent") if ccds else Table())

    def mask(self, found: Stacked, hidden: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Mask of the coadd: bits of what counts, and what became of the rest."""
        empty, lost = found.depth == 0, np.int32(int(self.rule.left_out) & ~Plane.NO_DATA)
        clipped = found.clipped.copy()
        for pixels in hidden:
            clipped.reshape(-1)[pixels] = True
        mask = found.bits.copy()
        for plane, where in (
            (Plane.CLIPPED, clipped & ~empty), (Plane.REJECTED, ((found.lost & lost) != 0) & ~empty),
            (Plane.SENSOR_EDGE, self.edges & ~empty), (Plane.NO_DATA, empty),
        ):  # fmt: skip
            mask[where] |= np.int32(plane)
        mask[empty] |= found.lost[empty]
        return mask

    def meta(self) -> Meta:
        """Of the first warp; with the exposure time of all, and the mean of their dates."""
        first = self.metas[0]
        times, dates = ([getattr(meta, key) for meta in self.metas] for key in ("exposure_time", "mjd"))
        return Meta(
            telescope=first.telescope, instrument=first.instrument, target=first.target, unit="nJy",
            filter=str(self.rows[0]["filter"]),
            exposure_time=None if None in times else float(np.sum(times)),
            mjd=None if None in dates else float(np.mean(dates)),
        )  # fmt: skip

    def _check(self, warp: Warp) -> None:
        names = {str(row["filter"]): row["visit"] for row in self.rows} | {str(warp.filter): warp.visit}
        if len(names) > 1:
            found = ", ".join(f"{name or 'unknown'} (visit {visit})" for name, visit in names.items())
            raise DataError(f"a coadd is of one filter, found {found}; make one of each")
        if warp.kind == "likelihood":
            raise DataError(
                f"visit {warp.visit} is a likelihood warp, whose norm changes from pixel to pixel; combine direct "
                "warps, and correlate the coadd by corontools.warp.likelihood(coadd.frame, coadd.psf)"
            )
        if self.kind not in ("", warp.kind):
            raise DataError(f"a coadd is of one kind of warps, found {self.kind} and {warp.kind} (visit {warp.visit})")
        if self.patch is not None and warp.patch != self.patch:
            raise DataError(
                f"a coadd is of one patch, found {_place(self.patch)} and {_place(warp.patch)} (visit {warp.visit}); "
                "warp the visits onto one"
            )
        if warp.frame.shape != warp.patch.shape:
            raise DataError(f"visit {warp.visit} has {warp.frame.shape} px, its patch {warp.patch.shape}")
        if any(row["visit"] == warp.visit for row in self.rows):
            raise DataError(f"visit {warp.visit} is given twice; leave one out: its noise would count as two")


def _place(patch: Patch) -> str:
    ny, nx = patch.shape
    return f"patch {patch.name} of tract {patch.tract.number} ({nx} x {ny} px at {patch.tract.center})"


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    """Visits are texts where not all of them are numbers."""
    numbers = all(isinstance(row["visit"], int | np.integer) for row in rows)
    return Table([{**row, "visit": row["visit"] if numbers else str(row["visit"])} for row in rows])


def _with_text(table: Table) -> Table:
    made = table.copy()
    made["visit"] = [str(visit) for visit in table["visit"]]
    return made
