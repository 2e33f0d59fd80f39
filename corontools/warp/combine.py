"""How warps become a coadd."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from corontools.arrays.coadd import Sums
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.errors import DataError
from corontools.progress import progress
from corontools.result import code_of
from corontools.warp.gather import Gathered, Rule, opened
from corontools.warp.gridpsf import GridPSF
from corontools.warp.inputs import Inputs
from corontools.warp.layers import Stacked, stacked
from corontools.warp.rejection import ArtifactRejection, Artifacts, frame_of
from corontools.warp.stamps import padded

if TYPE_CHECKING:
    from corontools.warp.coadd import Coadd

__all__ = ["Named", "combined", "covering", "exact_psf", "extended", "matched_beside"]


class Named:
    """Stands for a warp in the history, without its pixels."""

    def __init__(self, given: Any) -> None:
        self.code = code_of(str(given) if isinstance(given, str | os.PathLike) else given)


def combined(
    warps: Iterable[Any], rule: Rule, *, reject: ArtifactRejection | None, matched: Sequence[Any] | None
) -> tuple[list[Named], dict[str, Any]]:
    """What stands for the warps in the history, and the attributes of their coadd; see `Coadd.from_warps`."""
    if isinstance(warps, str | os.PathLike):
        raise DataError("give a list of warps or of their files")
    gathered, layers, names, frames = Gathered(rule), [], [], []
    streams = rule.statistic == "mean" and reject is None
    given_frames = _matched(warps, matched) if reject is not None else None
    with progress(warps, "coadd", "warp") as each:
        for k, given in enumerate(each):
            names.append(Named(given))
            warp = opened(given)
            if warp is None:
                continue
            row = gathered.look(warp, Path(given).name if isinstance(given, str | os.PathLike) else "")
            if streams:
                gathered.add(warp, row)
            elif (layer := gathered.layer(given, warp, row)) is not None:
                layers.append(layer)
                frames += [frame_of(given_frames[k], warp.shape)] if given_frames is not None else []
    _check_any(gathered)
    if streams:
        return names, _finished(gathered, Stacked.of(gathered.sums))  # type: ignore[arg-type]
    found = None
    if reject is not None:
        scales = [layer.scale for layer in layers]
        found = reject.find(frames, scales=scales, left_out=rule.left_out)
        layers = [replace(layer, hidden=hidden) for layer, hidden in zip(layers, found.hidden, strict=True)]
    made = stacked(layers, statistic=rule.statistic, left_out=rule.left_out)
    _count(gathered, made, found)
    return names, _finished(gathered, made, found)


def extended(coadd: Coadd, warp: Any, name: str) -> dict[str, Any]:
    """Attributes of a mean with one more warp."""
    visits, ccds = coadd.inputs
    weight, depth = coadd.weight.astype(np.float64), coadd.depth.copy()
    known = depth > 0
    with np.errstate(invalid="ignore"):
        weighted = np.where(known, coadd.frame.image * weight, 0.0)
        spread = np.where(known, coadd.frame.variance * weight**2, 0.0)
    bits = np.where(known, coadd.frame.mask, 0).astype(np.int32)
    lost = np.where(known, 0, coadd.frame.mask & ~np.int32(Plane.NO_DATA)).astype(np.int32)
    rows = [dict(zip(visits.colnames, (_plain(value) for value in row), strict=True)) for row in visits]
    gathered = Gathered(
        coadd.rule, coadd.patch, Sums(weighted, weight, spread, depth, bits, lost), np.zeros(coadd.shape, bool),
        coadd.psf or GridPSF.empty(coadd.shape), rows, [ccds] if len(ccds) else [], [coadd.meta], coadd.kind,
    )  # fmt: skip
    gathered.add(warp, gathered.look(warp, name))
    # their number tells by how much the mean of the dates moves
    n = int(np.count_nonzero(visits["weight"] > 0))
    values = _finished(gathered, Stacked.of(gathered.sums))  # type: ignore[arg-type]
    old, new = coadd.meta.mjd, warp.meta.mjd
    mjd = None if old is None or new is None else (n * old + new) / (n + 1)
    return values | {"meta": values["meta"].with_(mjd=mjd), "artifacts": coadd.artifacts}


def covering(inputs: Inputs, wcs: Any, x: float, y: float) -> np.ndarray:
    """Which visits have a detector whose corners are around a place, (visit,) of bool."""
    names = set()
    for row in inputs.ccds:
        corners = np.stack(wcs.all_world2pix(*np.asarray(row["corners"], float).T, 0), axis=1)
        if _inside(corners, x, y):
            names.add(str(row["visit"]))
    return np.array([str(visit) in names for visit in inputs.visits["visit"]], bool)


def exact_psf(coadd: Coadd, x: ArrayLike, y: ArrayLike, warps: Iterable[Any]) -> np.ndarray:
    """See `Coadd.psf_at`."""
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    weights = {str(row["visit"]): float(row["weight"]) for row in coadd.inputs.visits}
    ny, nx = coadd.shape
    row, column = (np.clip(np.floor(v + 0.5).astype(int), 0, n - 1) for v, n in ((y, ny), (x, nx)))
    total, summed = np.zeros((x.size, 1, 1)), np.zeros(x.size)
    for given in warps:
        warp = opened(given)
        if warp is None or warp.psf is None:
            continue
        if str(warp.visit) not in weights:
            raise DataError(f"visit {warp.visit} isn't in the coadd; give the warps that it was made of")
        here = np.flatnonzero(np.isfinite(warp.frame.image[row, column]))
        size, weight = max(total.shape[-1], warp.psf.size), weights[str(warp.visit)]
        total = padded(total, size)
        if here.size:
            total[here] += weight * padded(warp.psf.images(np.floor(x[here] + 0.5), np.floor(y[here] + 0.5)), size)
            summed[here] += weight
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / np.where(summed > 0, summed, np.nan)[:, None, None]


def _matched(warps: Iterable[Any], matched: Sequence[Any] | None) -> Sequence[Any]:
    """PSF-matched images, one for each of the warps; those of files lie beside them."""
    if not isinstance(warps, Sequence):
        raise DataError("artefact rejection looks at the warps more than once; give a list of warps or files")
    found = matched if matched is not None else [matched_beside(warp) for warp in warps]
    if len(found) != len(warps):
        raise DataError(f"there are {len(warps)} warps and {len(found)} PSF-matched images; give one for each")
    lost = [k for k, (one, warp) in enumerate(zip(found, warps, strict=True)) if one is None and warp is not None]
    if lost:
        raise DataError(
            f"artefact rejection needs PSF-matched images, number {lost[0]} has none; match the warps to one PSF, and "
            "give matched=[warp.match_psf(4.6), ...] or their files"
        )
    return found


def matched_beside(warp: Any) -> Path | None:
    """The psfMatchedWarp in the folder of a directWarp; None where there is none, or for a warp in memory."""
    if not isinstance(warp, str | os.PathLike):
        return None
    path = Path(warp)
    other = path.with_name(path.name.replace("_directWarp-", "_psfMatchedWarp-", 1))
    return other if other != path and other.exists() else None


def _check_any(gathered: Gathered) -> None:
    if not gathered.rows:
        raise DataError("there is no warp to combine; make some with Warp.from_exposures")
    if not gathered.metas:
        names = ", ".join(str(row["visit"]) for row in gathered.rows)
        raise DataError(f"no warp has a pixel that counts (visits {names}); choose a patch that they cover, or bad=")


def _count(gathered: Gathered, made: Stacked, found: Artifacts | None) -> None:
    """What was left out of each warp, into its row."""
    used = [row for row in gathered.rows if row["weight"]]
    for k, row in enumerate(used):
        row["clipped"] = int(made.counts[k])
        if found is not None:
            row["artifacts"], row["masked"] = found.regions[k], int(found.hidden[k].size)


def _finished(gathered: Gathered, made: Stacked, found: Artifacts | None = None) -> dict[str, Any]:
    """Attributes of a coadd."""
    mask = gathered.mask(made, found.hidden if found is not None else ())
    psf = gathered.psf
    if psf is not None:
        psf = replace(psf, local=made.weight)
    return {
        "frame": MaskedImage(made.image, mask, made.variance), "depth": made.depth, "weight": made.weight,
        "psf": psf if psf is not None and psf.weights.any() else None, "inputs": gathered.inputs(),
        "patch": gathered.patch, "meta": gathered.meta(), "artifacts": found,
        "kind": gathered.kind,
    }  # fmt: skip


def _inside(corners: np.ndarray, x: float, y: float) -> bool:
    """Whether a place is within a polygon (n, 2): a ray from it crosses an odd number of sides."""
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    crosses = (y0 > y) != (y1 > y)
    with np.errstate(invalid="ignore", divide="ignore"):
        return bool(np.count_nonzero(crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))) % 2)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
