"""Matches: a warp matched to a common PSF, detector by detector."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from astropy.table import Table, vstack
from numpy.typing import ArrayLike

from corontools.arrays.matching import resized
from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import PSF
from corontools.display import card
from corontools.errors import DataError
from corontools.warp.box import Box
from corontools.warp.diagnose import diagnose
from corontools.warp.diagnosis import Diagnosis
from corontools.warp.matched import Matched
from corontools.warp.noise import with_shared_noise
from corontools.warp.psf import WarpedPSF

if TYPE_CHECKING:
    from corontools.warp.warp import Warp

__all__ = ["Matches", "Part", "PlacedPSF", "around", "cut", "match_detectors"]


@dataclass(frozen=True, eq=False)
class PlacedPSF:
    """PSF of an image on a part of it, a `PSF`: place (0, 0) of the part is (x0, y0) of the image."""

    psf: PSF
    x0: int
    y0: int

    @property
    def size(self) -> int:
        """As `PSF.size`."""
        return self.psf.size

    def kernels(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.kernels`."""
        return self.psf.kernels(np.asarray(x) + self.x0, np.asarray(y) + self.y0)

    def images(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.images`."""
        return self.psf.images(np.asarray(x) + self.x0, np.asarray(y) + self.y0)

    def sigma(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.sigma`."""
        return self.psf.sigma(np.asarray(x) + self.x0, np.asarray(y) + self.y0)


class Part(NamedTuple):
    """The match of one detector: on its box, in pixels of the image; `number` is that of its origin."""

    number: int
    box: Box
    matched: Matched


@dataclass(frozen=True, eq=False, repr=False)
class Matches:
    """How the frame of a warp was matched to a common PSF: one kernel that varies for each detector.

    Attributes
    ----------
    parts : tuple of Part
    source : WarpedPSF
        PSF of the warp before.
    model : PSF
        That wanted.
    matcher : PSFMatcher or FourierMatcher
    """

    parts: tuple[Part, ...]
    source: WarpedPSF
    model: PSF
    matcher: Any

    @property
    def psf(self) -> PSF:
        """The model, which the PSF of the warp is by now."""
        return self.model

    @property
    def size(self) -> int:
        """Odd side of the largest kernel, px."""
        return max(part.matched.kernel.size for part in self.parts)

    def part_at(self, x: float, y: float) -> Part:
        """The part whose detector counts at a place."""
        number = int(self.source.origin_at([x], [y])[0])
        return next((part for part in self.parts if part.number == number), self.parts[-1])

    def kernel_at(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Kernels at places (n,): (n, size, size)."""
        return self._at(x, y, self.size, lambda matched, px, py: matched.kernel.at(px, py))

    def psf_at(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """What the kernel makes of the PSF at places (n,): (n, s, s)."""
        return self._at(x, y, self._side, lambda matched, px, py: matched.psf_at(px, py))

    def residual_at(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """The same less the model: (n, s, s)."""
        return self._at(x, y, self._side, lambda matched, px, py: matched.residual_at(px, py))

    @cached_property
    def quality(self) -> Table:
        """`Matched.quality` of all detectors, whose number comes first; places in pixels of the image."""
        tables = []
        for part in self.parts:
            table = part.matched.quality.copy()
            table["x"] += part.box.x0
            table["y"] += part.box.y0
            table.add_column(np.full(len(table), part.number), name="detector", index=0)
            tables.append(table)
        return vstack(tables)

    def diagnose(self) -> Diagnosis:
        """Faults of the detector that is matched worst, and what mends them; see `corontools.warp.diagnose`."""
        worst = max(self.parts, key=lambda part: float(np.max(part.matched.quality["peak"])))
        return diagnose(worst.matched)

    @property
    def _side(self) -> int:
        return max(part.matched.size for part in self.parts)

    def _at(self, x: ArrayLike, y: ArrayLike, size: int, give: Callable[..., np.ndarray]) -> np.ndarray:
        """Stamps of the part at each place."""
        x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
        out = np.empty((x.size, size, size))
        chosen = [self.part_at(*place) for place in zip(x, y, strict=True)]
        for part in self.parts:
            which = np.flatnonzero([one is part for one in chosen])
            if which.size:
                found = give(part.matched, x[which] - part.box.x0, y[which] - part.box.y0)
                out[which] = resized(found, size)
        return out

    def __repr__(self) -> str:
        return card.text("Matches", self.rows())

    def _repr_html_(self) -> str:
        return card.html("Matches", self.rows())

    def rows(self) -> list[tuple[str, str]]:
        """What a card tells of it."""
        found, order = self.quality, self.parts[0].matched.kernel.order
        error = float(np.nanmax(np.abs(found["size_error"])))
        return [
            ("model", repr(self.model)),
            ("kernel", f"{self.size} x {self.size} px, order {order}, of {_count(len(self.parts), 'detector')}"),
            ("sigma before", f"{np.nanmin(found['size_before']):.3f} to {np.nanmax(found['size_before']):.3f} px"),
            ("sigma", f"{np.nanmedian(found['size']):.3f} px, off by {error:.4f} px at most"),
            ("residual", f"{100 * np.max(found['peak']):.2f} % of the peak at most"),
            ("noise gain", f"{np.min(found['noise_gain']):.3f} to {np.max(found['noise_gain']):.3f}"),
        ]


def match_detectors(warp: Warp, model: PSF, matcher: Any) -> tuple[MaskedImage, Matches]:
    """The frame of a warp convolved so that its PSF becomes the model, each detector by itself.

    A detector that can't be matched is left out with a warning.

    Raises
    ------
    DataError
        If none can be matched, or there is nothing to match.
    """
    psf = warp.psf
    if not isinstance(psf, WarpedPSF):
        raise DataError(f"there is nothing to match: {warp.reason or 'the warp has no PSF'}")
    owner = np.zeros(warp.shape, np.int16) if psf.owner is None else psf.owner
    margin = (matcher.kernel_size or psf.size) // 2
    parts, failures = [], []
    for number in np.unique(owner[owner >= 0]):
        box = around(owner == number, margin)
        try:
            parts.append(Part(int(number), box, _match(warp, psf, owner, int(number), box, model, matcher)))
        except DataError as error:
            failures.append(f"detector {warp.inputs.ccds['ccd'][number]}: {error}")
    if not parts:
        raise DataError("; ".join(failures))
    for text in failures:
        warnings.warn(f"left out: {text}", stacklevel=4)
    frame, parts = _joined(parts, warp.shape)
    return frame, Matches(tuple(parts), psf, model, matcher)


def _match(warp: Warp, psf: WarpedPSF, owner: np.ndarray, number: int, box: Box, model: PSF, matcher: Any) -> Matched:
    """The pixels of one detector, those of the others left out."""
    where = cut(box)
    other = owner[where] != number
    image, mask, variance = (np.array(plane[where]) for plane in vars(warp.frame).values())
    image[other], variance[other] = np.nan, np.inf
    mask[other] |= np.int32(Plane.NO_DATA)
    matched = matcher.match(MaskedImage(image, mask, variance), PlacedPSF(psf, box.x0, box.y0), model)
    frame = with_shared_noise(matched.frame, psf, matched.kernel.at, number=number, box=box)
    return replace(matched, frame=frame)


def _joined(parts: Sequence[Part], shape: tuple[int, int]) -> tuple[MaskedImage, list[Part]]:
    """The frames of all detectors in one, and the parts with views of it in place of their own."""
    planes = (
        np.full(shape, np.nan, np.float32), np.full(shape, int(Plane.NO_DATA), np.int32),
        np.full(shape, np.inf, np.float32),
    )  # fmt: skip
    for part in parts:
        frame = part.matched.frame
        good = ~frame.has(Plane.NO_DATA)
        for plane, new in zip(planes, vars(frame).values(), strict=True):
            np.copyto(plane[cut(part.box)], new, where=good)
    seen = [
        part._replace(matched=replace(part.matched, frame=MaskedImage(*(plane[cut(part.box)] for plane in planes))))
        for part in parts
    ]
    return MaskedImage(*planes), seen


def around(where: np.ndarray, margin: int) -> Box:
    """The box of some pixels with a margin, on the image."""
    rows, columns = (np.flatnonzero(where.any(axis=axis)) for axis in (1, 0))
    box = Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return box.grown(margin).clipped(Box(0, 0, where.shape[1], where.shape[0]))


def cut(box: Box) -> tuple[slice, slice]:
    """Index [y, x] of a box in the image."""
    return slice(box.y0, box.y1), slice(box.x0, box.x1)


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n != 1 else ''}"
