"""MaskedImage: image, mask planes and variance, the form in which a single frame is calibrated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from corontools.calibrate.planes import Plane, planes_from_dq, planes_to_dq
from corontools.errors import DataError
from corontools.exposure import Exposure, readonly
from corontools.result import fingerprint

__all__ = ["MaskedImage"]


@dataclass(frozen=True, eq=False)
class MaskedImage:
    """Image, mask planes and variance of one detector; immutable.

    Attributes
    ----------
    image : ndarray, shape (y, x)
        Floating point; NaN only where the mask has NO_DATA.
    mask : ndarray of int32, shape (y, x)
        Bits of `Plane`; 0 is a good pixel of the sky.
    variance : ndarray, shape (y, x)
        In units of the image squared; infinite where the mask has NO_DATA.

    Raises
    ------
    DataError
        If the arrays aren't two-dimensional and of one shape.

    Examples
    --------
    >>> data = np.ones((3, 4)); data[0, 1] = np.nan
    >>> frame = MaskedImage.from_exposure(Exposure(data, err=np.ones((3, 4))))
    >>> Plane.names(frame.mask[0, 1]), int((frame.mask == 0).sum())
    ('NO_DATA', 11)
    """

    image: np.ndarray
    mask: np.ndarray
    variance: np.ndarray

    def __post_init__(self) -> None:
        shapes = {name: np.shape(getattr(self, name)) for name in ("image", "mask", "variance")}
        if len(shapes["image"]) != 2 or len(set(shapes.values())) != 1:
            raise DataError(f"image, mask and variance should be (y, x) and alike, found {shapes}")
        for name in shapes:
            object.__setattr__(self, name, readonly(np.asarray(getattr(self, name))))

    @classmethod
    def from_exposure(cls, exposure: Exposure) -> MaskedImage:
        """Image, planes and variance of an exposure with one image.

        Pixels that aren't finite, or whose variance isn't a positive number, get NO_DATA, NaN and infinite variance.

        Raises
        ------
        DataError
            If there are several images, no errors, a negative variance, or no pixel that can be used.
        """
        name = exposure.meta.filename or exposure.meta.title
        if exposure.n_int != 1:
            raise DataError(f"{name}: one image is calibrated at a time, found {exposure.n_int}; choose one by .select")
        cube = exposure.cube
        if cube.variance is None:
            raise DataError(
                f"{name}: a variance is needed to tell stars from noise, found neither err nor variances; "
                "give Exposure(data, err=...)"
            )
        image, variance = np.array(cube.data[0], np.float32), np.array(cube.variance[0], np.float32)
        negative = np.count_nonzero(variance < 0)
        if negative:
            raise DataError(
                f"{name}: the variance is negative in {negative} pixels; flag them DO_NOT_USE and set it NaN"
            )
        mask = planes_from_dq(cube.flags()[0])
        lost = ~np.isfinite(image) | ~(variance > 0) | ~np.isfinite(variance)
        if lost.all():
            raise DataError(f"{name}: no pixel has a finite value and a positive variance; nothing can be calibrated")
        mask[lost] |= Plane.NO_DATA
        image[lost], variance[lost] = np.nan, np.inf
        return cls(image, mask, variance)

    def to_exposure(self, like: Exposure) -> Exposure:
        """Exposure with this image, its errors and flags; header and WCS of `like`."""
        with np.errstate(invalid="ignore"):
            err = np.sqrt(self.variance)
        return like.with_(
            data=np.asarray(self.image), err=err, dq=planes_to_dq(self.mask), variances={}, pixel_dq=None, extensions=()
        )

    def with_(self, **changes: Any) -> MaskedImage:
        """Copy with the named arrays changed."""
        return replace(self, **changes)

    @property
    def memory_print(self) -> str:
        """Fingerprint of the image, by which `replay` finds it."""
        return fingerprint(self.image)

    @property
    def code(self) -> str:
        """Python code that stands for it; one in memory goes by its fingerprint."""
        return f"masked_image({self.memory_print!r})"

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.image.shape

    def has(self, planes: int) -> np.ndarray:
        """Where any of the planes is set, (y, x) of bool."""
        return (self.mask & np.int32(int(planes))) != 0

    def marked(self, where: np.ndarray, planes: int) -> MaskedImage:
        """The same with planes set where `where` is True."""
        return self.with_(mask=np.where(where, self.mask | np.int32(int(planes)), self.mask))

    def cleared(self, planes: int) -> MaskedImage:
        """The same without these planes."""
        return self.with_(mask=self.mask & ~np.int32(int(planes)))
