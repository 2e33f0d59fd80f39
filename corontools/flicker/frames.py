"""The images of an exposure one after the other: differences between groups, or images, and their noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from corontools.errors import DataError
from corontools.exposure import Exposure
from corontools.flicker.flags import BAD, UNUSABLE, flagged
from corontools.flicker.plan import Fitted, Flattened, Plan, correlation_of_fits, fit_image, flattened
from corontools.flicker.readout import Readout
from corontools.progress import progress

__all__ = ["Frames", "Log", "real_type"]

# rows whose values of all integrations are sorted at once
ROWS = 64


class Log(NamedTuple):
    """What happened to the images.

    Attributes
    ----------
    corrected, total : int
        Number of images (differences) that were corrected, and of all.
    notes : tuple of str
        What was left unchanged, and why.
    """

    corrected: int = 0
    total: int = 0
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """COMPLETE, SKIPPED (there is nothing to correct) or FAILED (no image has a usable pixel)."""
        if not self.total:
            return "SKIPPED"
        return "COMPLETE" if self.corrected else "FAILED"


@dataclass(frozen=True, eq=False)
class Frames:
    """An exposure, and how each of its images is fitted.

    Attributes
    ----------
    exposure : Exposure
    mask : ndarray of bool, shape (y, x) or (n_int, y, x)
        True: background.
    plan : Plan
    readout : Readout
    flat : ndarray or None
    scales : ndarray, shape (n_int,), or None
        Brightness of each integration relative to their median image, which is subtracted first.
    exact : bool
    """

    exposure: Exposure
    mask: np.ndarray
    plan: Plan
    readout: Readout
    flat: np.ndarray | None = None
    scales: np.ndarray | None = None
    exact: bool = False

    @property
    def groups(self) -> bool:
        """Whether these are ramps."""
        return self.exposure.data.ndim == 4

    @property
    def data(self) -> np.ndarray:
        """Data with four axes; of rates the second has length 1."""
        data = self.exposure.data
        return data if self.groups else data.reshape(-1, 1, *data.shape[-2:])

    @property
    def indices(self) -> list[tuple[int, int]]:
        """(integration, group) of each image in the order of the work; a difference goes by its later group."""
        n_int, n_group = self.data.shape[:2]
        if self.scales is not None:  # one median image at a time
            return [(i, j) for j in range(n_group) for i in range(n_int)]
        return [(i, j) for i in range(n_int) for j in range(1 if self.groups else 0, n_group)]

    def good(self, i: int, j: int) -> np.ndarray:
        """Pixels of one image that may be fitted to; a new array."""
        good = np.array(self.mask[i] if self.mask.ndim == 3 else self.mask)
        dq = self.exposure.dq
        if dq is not None:
            good &= ~flagged(dq.reshape(self.data.shape)[i, j], UNUSABLE if self.groups else BAD)
        if self.exposure.pixel_dq is not None:
            good &= ~flagged(self.exposure.pixel_dq, BAD)
        return good

    def image(self, i: int, j: int, middle: np.ndarray | None = None) -> np.ndarray:
        """One image as a new array: difference, rate, or what differs from the median over integrations."""
        data, kind = self.data, real_type(self.data)
        with np.errstate(invalid="ignore"):  # infinite values leave NaN
            if self.scales is not None:
                middle = self.middle(j) if middle is None else middle
                return data[i, j] - kind(self.scales[i]) * middle
            if self.groups:
                return np.subtract(data[i, j], data[i, j - 1], dtype=kind)
        return np.array(data[i, j], kind)

    def middle(self, j: int) -> np.ndarray:
        """Median over integrations of a group, the brightness of each made equal, (y, x)."""
        data, kind = self.data, real_type(self.data)
        scales = np.ones(len(data)) if self.scales is None else self.scales
        out = np.empty(data.shape[2:], kind)
        for start in range(0, len(out), ROWS):
            part = np.array(data[:, j, start : start + ROWS], kind) / scales[:, None, None].astype(kind)
            out[start : start + ROWS] = _nanmedian(part)
        return out

    def fit(self, i: int, j: int, middle: np.ndarray | None = None) -> Fitted | None:
        """Noise of one image; None where it has no usable pixel."""
        return self.fit_to(self.image(i, j, middle), self.good(i, j))

    def fit_to(self, image: np.ndarray, good: np.ndarray) -> Fitted | None:
        """Noise of an image, which may be overwritten, from its good pixels; None where there are none."""
        return fit_image(image, good, plan=self.plan, readout=self.readout, flat=self.flat, exact=self.exact)

    def flattened(self, image: np.ndarray, good: np.ndarray) -> Flattened | None:
        """An image over the flat and less its background, in its place; None where no pixel is good."""
        return flattened(image, good, plan=self.plan, flat=self.flat, exact=self.exact)

    def fits(self, name: str = "flicker noise") -> Iterator[tuple[int, int, Fitted | None]]:
        """Noise of every image."""
        middle, of = None, -1
        with progress(self.indices, name, "image") as items:
            for i, j in items:
                if self.scales is not None and j != of:
                    middle, of = self.middle(j), j
                yield i, j, self.fit(i, j, middle)

    def correct_into(self, out: np.ndarray) -> Log:
        """Write the cleaned data into `out`, of the data's shape.

        A cleaned group is the group less the noise of all differences up to it; adding each cleaned difference to the
        cleaned group before is the same, but that a missing group then makes all later ones missing.
        """
        out = out.reshape(self.data.shape)
        data, corrected = self.data, 0
        notes = [] if self.indices else ["one group, so no difference to correct: left unchanged"]
        if self._adds:
            out[:, 0] = data[:, 0]
        for i, j, found in self.fits():
            noise: np.ndarray | float = 0.0 if found is None else found.noise
            corrected += found is not None
            notes += self._notes(i, j, found)
            del found  # makes room for the next
            if self._adds and j > 1:
                noise = noise + out[i, j]
            if self._adds and j + 1 < data.shape[1]:
                out[i, j + 1] = noise  # the sum waits where the next group will stand: a frame less in memory
            np.subtract(data[i, j], noise, out=out[i, j])
            del noise
        return Log(corrected, len(self.indices), tuple(notes))

    @property
    def _adds(self) -> bool:
        """Whether images are differences, so that a group has the noise of several."""
        return self.groups and self.scales is None

    def errors_into(self, out: np.ndarray) -> None:
        """Write the 1-sigma error of what was subtracted into `out`, 0 where nothing was.

        Errors of successive differences are correlated, see `plan.correlation_of_fits`.
        """
        out = out.reshape(self.data.shape)
        if self._adds:
            out[:, 0] = 0
        before: Fitted | None = None
        for i, j, found in self.fits("error of the correction"):
            variance = np.square(out[i, j - 1]) if self._adds else np.zeros_like(out[i, j])
            if found is not None:
                self._add_variance(variance, found, before if j > 1 else None)
            out[i, j] = np.sqrt(np.maximum(variance, 0, out=variance))
            before = found if self._adds else None

    def _add_variance(self, variance: np.ndarray, found: Fitted, before: Fitted | None) -> None:
        """Add that of a fit, and what it shares with the fit before; where there is no fit nothing was subtracted."""
        known = np.isfinite(found.err)
        np.add(variance, np.square(found.err), out=variance, where=known)
        if before is not None:
            both = 2 * correlation_of_fits(before.residual, found.residual, self.plan.noise)
            np.add(variance, both * found.err * before.err, out=variance, where=known & np.isfinite(before.err))
        fitted = np.repeat(found.stripes.known, self._length // found.stripes.known.shape[1], axis=1)
        # lines of so few pixels that nobody knows their scatter
        variance[~known & (fitted if self.readout.axis == 1 else fitted.T)] = np.nan

    @property
    def _length(self) -> int:
        """Pixels of a line."""
        return int(self.exposure.shape[-2:][self.readout.axis])

    def backgrounds(self) -> np.ndarray:
        """Background of every image, of the data's shape; 0 where nothing was fitted."""
        out = np.zeros(self.data.shape, np.float32)
        if self.scales is not None:
            for j in range(self.data.shape[1]):
                out[:, j] = self.scales[:, None, None] * self.middle(j)
            return out.reshape(self.exposure.shape)
        with progress(self.indices, "background", "image") as items:
            for i, j in items:
                found = self.flattened(self.image(i, j), self.good(i, j))
                out[i, j] = 0 if found is None else found.level * (1 if self.flat is None else self.flat)
        return out.reshape(self.exposure.shape)

    def first(self) -> tuple[int, int]:
        """(integration, group) of the first image with a usable pixel.

        Raises
        ------
        DataError
            If there is none.
        """
        for i, j in self.indices:
            if np.any(self.good(i, j) & np.isfinite(self.image(i, j))):
                return i, j
        raise DataError("no image has a usable pixel, so there is nothing to look at; give another mask")

    def _notes(self, i: int, j: int, found: Fitted | None) -> list[str]:
        """What was left unchanged in an image."""
        place = f"integration {i + 1}" + (f", group {j + 1}" if self.groups else "")
        if found is None:
            return [f"{place}: no usable pixel, left unchanged"]
        missing = ~found.stripes.known.any(axis=1)
        parts = ~found.stripes.known.all(axis=1) & ~missing
        texts = []
        if missing.any():
            texts.append(f"{place}: {missing.sum()} of {missing.size} {self.readout.stripes} left unchanged")
        if parts.any():
            texts.append(f"{place}: part of {parts.sum()} {self.readout.stripes} left unchanged (no usable pixel)")
        return texts


def real_type(data: np.ndarray) -> type[np.floating]:
    """Floating-point type of the computation: float32 for float32 (and shorter), else float64."""
    return np.float32 if data.dtype.itemsize <= 4 else np.float64


def _nanmedian(cube: np.ndarray) -> np.ndarray:
    """Median over the first axis of the finite values; NaN where there are none."""
    cube[~np.isfinite(cube)] = np.nan
    cube.sort(axis=0)  # NaN come last
    count = np.count_nonzero(np.isfinite(cube), axis=0)
    last = np.maximum(count - 1, 0)[None]
    low, high = (np.take_along_axis(cube, index, axis=0)[0] for index in (last // 2, (last + 1) // 2))
    return np.where(count > 0, (low + high) / 2, np.nan)
