"""What the card of a coadd tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from corontools.calibrate.planes import Plane
from corontools.warp.layers import Clip

if TYPE_CHECKING:
    from corontools.warp.coadd import Coadd

__all__ = ["pictures", "rows"]

# px of a picture, at most
SIDE = 512


def rows(coadd: Coadd) -> list[tuple[str, str]]:
    """What it is made of, and what was left out."""
    visits, patch, depth = coadd.inputs.visits, coadd.patch, coadd.depth
    ny, nx = coadd.shape
    used = int(np.count_nonzero(visits["weight"]))
    some = depth[depth > 0]
    told = [
        ("visits", f"{used} of {len(visits)}, filter {coadd.filter or 'unknown'}"),
        ("patch", f"{patch.name} of tract {patch.tract.number}, {nx} x {ny} px"),
        ("statistic", _statistic(coadd)),
        ("warps in a pixel", f"{some.min()} to {some.max()}, {some.mean():.2f} on average"),
        ("covered", f"{100 * some.size / depth.size:.1f} %"),
        ("error of a pixel", f"{np.median(coadd.error[depth > 0]):.4g} nJy"),
    ]
    if coadd.statistic == "clipped":
        clipped = int(np.sum(visits["clipped"]))
        told.append(("outliers", f"{clipped} values, {100 * clipped / max(int(depth.sum()) + clipped, 1):.2g} %"))
    if np.any(visits["artifacts"]):
        hit = visits[visits["artifacts"] > 0]
        names = ", ".join(f"{row['visit']}: {row['artifacts']} in {row['masked']} px" for row in hit[:8])
        told.append(("artefacts", names + (", ..." if len(hit) > 8 else "")))
    edge = 100 * np.count_nonzero(coadd.frame.has(Plane.SENSOR_EDGE)) / depth.size
    return [*told, ("edges of inputs", f"{edge:.2g} % of the pixels")]


def _statistic(coadd: Coadd) -> str:
    rule = coadd.rule
    weights = {"variance": "by variance", "sky": "by the scatter of the sky", "uniform": "all alike"}[rule.weights]
    if isinstance(rule.statistic, Clip):
        clip = rule.statistic
        return f"mean without outliers beyond {clip.sigma:g} sigma, weights {weights}"
    return "median" if rule.statistic == "median" else f"mean, weights {weights}"


def pictures(coadd: Coadd) -> Sequence[Any]:
    """The image, how many warps count, and the PSF in the middle."""
    from corontools.display import quick

    step = max(1, max(coadd.shape) // SIDE)
    image, depth = (np.array(plane[::step, ::step]) for plane in (coadd.image, coadd.depth))
    limits = (0.0, float(max(coadd.depth.max(), 1)))
    shown = [quick.image_picture(image, "coadd"), quick.image_picture(depth, "depth", kind="linear", limits=limits)]
    if coadd.psf is not None:
        y, x = ((n - 1) / 2 for n in coadd.shape)
        psf = coadd.psf.kernels([x], [y])[0]
        shown += [quick.image_picture(psf, "PSF in the middle")] if np.isfinite(psf).all() else []
    return shown
