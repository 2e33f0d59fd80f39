"""Kernels of a match without convolving anything, as a live view asks for them again and again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from corontools.calibrate.masked import MaskedImage
from corontools.calibrate.psf import PSF
from corontools.errors import DataError
from corontools.warp.box import Box
from corontools.warp.matched import Matched
from corontools.warp.mosaic import Matches, Part, PlacedPSF, around, cut
from corontools.warp.places import lattice
from corontools.warp.psf import WarpedPSF
from corontools.warp.warp import Warp

__all__ = ["RememberedPSF", "Solver"]

# sets of places whose stamps are kept
REMEMBERED = 8


class _Layout(NamedTuple):
    """Where a detector is matched: its number, its box, and places on that, or why there are none."""

    number: int
    box: Box
    x: np.ndarray
    y: np.ndarray
    problem: str = ""


class Solver:
    """The kernels of `warp.match_psf`, without convolving anything; each part has the frame as it was.

    What doesn't depend on the model is kept from one time to the next.

    Parameters
    ----------
    warp : Warp

    Raises
    ------
    DataError
        If it has no PSF.
    """

    def __init__(self, warp: Warp) -> None:
        if not isinstance(warp.psf, WarpedPSF):
            raise DataError(f"there is nothing to match: {warp.reason or 'the warp has no PSF'}")
        self._warp, self._source, self._psf = warp, warp.psf, RememberedPSF(warp.psf)
        self._layouts: dict[tuple[int, int, int], list[_Layout]] = {}

    def __call__(self, model: PSF, matcher: Any) -> Matches:
        """Solve for the kernels.

        Raises
        ------
        DataError
            If no detector can be matched.
        """
        parts, failures = [], []
        for layout in self._layout(matcher):
            try:
                parts.append(self._part(layout, model, matcher))
            except DataError as error:
                failures.append(f"detector {self._warp.inputs.ccds['ccd'][layout.number]}: {error}")
        if not parts:
            raise DataError("; ".join(failures))
        return Matches(tuple(parts), self._source, model, matcher)

    def _layout(self, matcher: Any) -> list[_Layout]:
        key = (matcher.kernel_size or self._source.size) // 2, matcher.cell, matcher.order
        if key not in self._layouts:
            self._layouts[key] = list(self._laid(*key))
        return self._layouts[key]

    def _laid(self, margin: int, cell: int, order: int) -> Iterator[_Layout]:
        known, owner = self._warp.good, self._source.owner
        owner = np.zeros(known.shape, np.int16) if owner is None else owner
        for number in np.unique(owner[owner >= 0]).tolist():
            mine = owner == number
            box = around(mine, margin)
            try:
                yield _Layout(number, box, *lattice((mine & known)[cut(box)], cell, order))
            except DataError as error:
                yield _Layout(number, box, np.zeros(0), np.zeros(0), str(error))

    def _part(self, layout: _Layout, model: PSF, matcher: Any) -> Part:
        number, box, x, y, problem = layout
        if problem:
            raise DataError(problem)
        source = PlacedPSF(self._psf, box.x0, box.y0)
        kernel = matcher.kernel(source, model, x, y, shape=box.shape)
        there = np.isfinite(source.kernels(x, y)).all(axis=(1, 2))
        frame = MaskedImage(*(plane[cut(box)] for plane in vars(self._warp.frame).values()))
        return Part(number, box, Matched(frame, kernel, source, model, x[there], y[there], matcher))


class RememberedPSF:
    """A PSF that keeps the stamps of the places that it was last asked for, a `PSF`: many models are matched there."""

    def __init__(self, psf: PSF) -> None:
        self._psf, self._kernels = psf, dict[tuple[bytes, bytes], np.ndarray]()

    @property
    def size(self) -> int:
        """As `PSF.size`."""
        return self._psf.size

    def kernels(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.kernels`."""
        places = np.asarray(x, float), np.asarray(y, float)
        key = places[0].tobytes(), places[1].tobytes()
        if key not in self._kernels:
            made = self._psf.kernels(*places)
            while len(self._kernels) >= REMEMBERED:
                self._kernels.pop(next(iter(self._kernels)), None)
            self._kernels[key] = made
            return made
        return self._kernels[key]

    def images(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.images`."""
        return self._psf.images(x, y)

    def sigma(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """As `PSF.sigma`."""
        return self._psf.sigma(x, y)
