"""Warper: a frame of one detector onto the pixels of a patch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corontools.arrays.warp import KERNELS, Nodes, lay_nodes, warp_image
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.product import VisitOutline
from corontools.calibrate.visit import VisitImage
from corontools.errors import DataError
from corontools.warp.box import Box
from corontools.warp.psf import Origin, WarpedPSF
from corontools.warp.sky import from_sky, mapping, outline
from corontools.warp.tract import Patch

__all__ = ["WarpedDetector", "Warper"]


@dataclass(frozen=True, eq=False)
class WarpedDetector:
    """A detector on the pixels of a tract.

    Attributes
    ----------
    frame : MaskedImage
    box : Box
        Pixels of the tract that the frame has.
    psf : WarpedPSF
        At places on the image of the patch.
    error : float
        By how much places can be off because they are interpolated between the nodes, px of the detector.
    step : int
        Distance of the nodes, px.
    """

    frame: MaskedImage
    box: Box
    psf: WarpedPSF
    error: float
    step: int


@dataclass(frozen=True)
class Warper:
    """How frames are warped.

    Parameters
    ----------
    kernel : {"lanczos3", "lanczos4", "lanczos5", "bilinear"}
    step : int
        Every how many pixels the place on the detector is computed exactly, px; between them it is interpolated.
    tolerance : float
        Greatest error that this may make, px of the detector; the step gets smaller where need be.
    conserve : {"flux", "brightness"}
        What the pixels hold: flux, which goes with their area, or surface brightness.
    grown : int
        Planes that are set where any pixel of the kernel has them; the others come from the four nearest pixels.

    Raises
    ------
    DataError
        If there is no such kernel, or the step isn't 1 px or more.

    Notes
    -----
    Pixels of the detector without a value are left out of the sums; what is made of fewer pixels has INTRP. Where one
    of the four nearest has no value, or the kernel goes over the edge, there is NaN, infinite variance and NO_DATA.
    """

    kernel: str = "lanczos3"
    step: int = 10
    tolerance: float = 1e-3
    conserve: str = "flux"
    grown: int = int(Plane.EDGE)

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS or self.step < 1 or self.conserve not in ("flux", "brightness"):
            raise DataError(
                f"a warp has a kernel of {', '.join(KERNELS)}, a step of 1 px or more and conserves flux or "
                f"brightness; found {self}"
            )

    def warp(self, image: VisitImage, patch: Patch) -> WarpedDetector | None:
        """The frame on those pixels of the patch that it may reach; None without any.

        Raises
        ------
        DataError
            If the image has no WCS, or one without inverse.
        """
        box = overlap(image, patch)
        if box.empty:
            return None
        to_source = mapping(patch.tract.wcs, image.wcs, image.shape)
        nodes = lay_nodes(
            lambda x, y: to_source(x + box.x0, y + box.y0), box.shape,
            source=image.shape, step=self.step, tolerance=self.tolerance,
        )  # fmt: skip
        if not _meets(nodes, image.shape):
            return None
        planes = warp_image(
            image.frame.image, image.frame.variance, image.frame.mask, nodes, shape=box.shape, kernel=self.kernel,
            conserve=self.conserve, grown=self.grown, incomplete=int(Plane.INTRP), missing=int(Plane.NO_DATA),
        )  # fmt: skip
        frame = MaskedImage(planes.image, planes.mask, planes.variance)
        psf = WarpedPSF((Origin(image.psf, image.wcs, image.shape),), patch.wcs, patch.shape, self.kernel)
        return WarpedDetector(frame, box, psf, nodes.error, nodes.step)


def overlap(image: VisitImage | VisitOutline, patch: Patch) -> Box:
    """Pixels of the tract within the patch around those that the image covers."""
    limits = patch.outer
    x, y = from_sky(patch.tract.wcs)(*outline(image.wcs, image.shape))
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return Box(0, 0, 0, 0)
    if not known.all():  # it goes round the edge of the projection
        return limits
    low, high = (np.floor(f([x, y], axis=1)).astype(int) for f in (np.min, np.max))
    return Box(int(low[0]) - 1, int(low[1]) - 1, int(high[0]) + 3, int(high[1]) + 3).clipped(limits)


def _meets(nodes: Nodes, shape: tuple[int, int]) -> bool:
    """Whether any node, or a place beside one, lies on the image."""
    reach = np.nanmax(np.abs(np.diff(nodes.places, axis=2)), initial=1.0)
    inside = [(nodes.places[k] > -reach) & (nodes.places[k] < shape[k] + reach) for k in range(2)]
    return bool((inside[0] & inside[1]).any())
