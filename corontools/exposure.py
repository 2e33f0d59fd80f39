"""Exposure: the one container that goes in and out of every subject."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from corontools.dq import DQ
from corontools.errors import DataError
from corontools.meta import Meta

__all__ = ["Exposure", "check_alike", "indices", "readonly"]

BAD = np.uint32(DQ.DO_NOT_USE)
VARIANCES = ("poisson", "rnoise", "flat")


@dataclass(frozen=True, eq=False, repr=False)
class Exposure:
    """Images with their errors, flags and what is known of them; immutable.

    Arrays are shared with the caller, not copied: don't write into them afterwards.

    Parameters
    ----------
    data : ndarray, shape (..., y, x)
        Pixels in `meta.unit`; NaN means no data, and so does the mask of a masked array.
    err : ndarray, same shape, optional
        1-sigma errors.
    dq : ndarray of uint32, same shape, optional
        Bits of `DQ`; 0 is good.
    meta : Meta, optional
    wcs : astropy.wcs.WCS, optional
        Celestial, two-dimensional.
    variances : mapping, optional
        Variances "poisson", "rnoise", "flat", each of data's shape.
    extensions : sequence of corontools.fits.Extension, optional
        What the file held besides; copied into the file that `save` writes.
    source : str, optional
        The Python call that gives this exposure again; kept by `read` and by the verbs.
    angles : ndarray, shape (n_int,), or float, optional
        Position angle of the image's +y axis at the star, degrees east of north, of each integration or of all. Not
        needed where the WCS holds for all integrations, see `position_angles`; where they are given the WCS says
        nothing of the orientation, and the image isn't mirrored: north up, east is left. `save` doesn't write them.
    pixel_dq : ndarray of uint32, shape (y, x), optional
        Bits of `DQ` that hold for every image. Given for ramps (n_int, n_group, y, x), whose `dq` are the flags of
        groups, which may stay bytes; with it, `save` writes a RampModel (PIXELDQ, GROUPDQ).

    Raises
    ------
    DataError
        If data has fewer than two axes or no pixel, another array differs from it in shape, an array holds
        something else than real numbers (dq: than integers), or the angles aren't one finite number for each
        integration.

    Examples
    --------
    >>> import numpy as np
    >>> cube = np.ones((2, 5, 4)); cube[0, 1, 2] = np.nan
    >>> exposure = Exposure(cube)
    >>> exposure.n_int, int(exposure.good.sum()), exposure.center
    (2, 39, (1.5, 2.0))
    """

    data: np.ndarray
    err: np.ndarray | None = None
    dq: np.ndarray | None = None
    meta: Meta = field(default_factory=Meta)
    wcs: Any = None
    variances: Mapping[str, np.ndarray] = field(default_factory=dict)
    extensions: Sequence[Any] = ()
    source: str = ""
    angles: np.ndarray | None = None
    pixel_dq: np.ndarray | None = None

    def __post_init__(self) -> None:
        data = _real(self.data, "data")
        if data.ndim < 2 or data.size == 0:
            raise DataError(f"an exposure needs an array (..., y, x) with pixels, found shape {data.shape}")
        dq = None if self.dq is None else _bits(self.dq)
        err = None if self.err is None else _real(self.err, "err")
        variances = {name: _real(value, f"variance {name!r}") for name, value in self.variances.items()}
        for name, value in {"err": err, "dq": dq, **variances}.items():
            if value is not None and value.shape != data.shape:
                raise DataError(f"{self._name}: {name} has shape {value.shape}, data has {data.shape}")
        pixel_dq = None if self.pixel_dq is None else _bits(self.pixel_dq)
        if pixel_dq is not None and pixel_dq.shape != data.shape[-2:]:
            raise DataError(f"{self._name}: pixel_dq has shape {pixel_dq.shape}, images have {data.shape[-2:]}")
        for name, value in {"data": data, "err": err, "dq": dq, "pixel_dq": pixel_dq}.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "variances", MappingProxyType(variances))
        if self.angles is not None:
            object.__setattr__(self, "angles", _degrees(self.angles, self.n_int, self._name))

    def __getstate__(self) -> dict[str, Any]:
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "variances": dict(self.variances)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Exposure:
        """Read SCI, ERR, DQ and VAR_* of a JWST file, or the first image of any FITS file; of ramps GROUPDQ, PIXELDQ.

        Floating-point images are memory-mapped; other extensions are kept for `save`.

        Raises
        ------
        DataError
            If the file can't be read, is cut short or holds no image.
        """
        from corontools.products import read_exposure

        return read_exposure(path)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write as a JWST product, whole or not at all.

        An ImageModel, CubeModel or QuadModel by the number of axes, a RampModel where there is a `pixel_dq`.
        """
        from corontools.products import write_exposure

        return write_exposure(self, path, overwrite=overwrite)

    def with_(self, **changes: Any) -> Exposure:
        """Copy with the named attributes changed; what made it is no longer known unless `source` is given."""
        return replace(self, **{"source": "", **changes})

    @property
    def _name(self) -> str:
        return self.meta.filename or self.meta.title

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data."""
        return self.data.shape

    @property
    def n_int(self) -> int:
        """Number of integrations: images along all axes before the last two."""
        return int(np.prod(self.data.shape[:-2], dtype=int))

    @property
    def is_ramp(self) -> bool:
        """Whether these are groups (n_int, n_group, y, x) with the flags of a RampModel."""
        return self.pixel_dq is not None and self.data.ndim == 4

    @property
    def center(self) -> tuple[float, float]:
        """0-based (x, y) of the star; the middle of the image where `meta` doesn't say."""
        ny, nx = self.data.shape[-2:]
        return self.meta.center or ((nx - 1) / 2, (ny - 1) / 2)

    @cached_property
    def position_angles(self) -> np.ndarray | None:
        """Position angle of the image's +y axis at the star, degrees east of north, (n_int,).

        `angles` where they are given, else by the WCS, the same for all integrations; None where there is neither.
        The roll of the telescope alone (`meta.roll`) doesn't do: instruments are mounted at angles to it.

        Examples
        --------
        >>> Exposure(np.ones((3, 4, 4)), angles=[10.0, 20.0, 30.0]).select([2, 0]).position_angles.tolist()
        [30.0, 10.0]
        """
        if self.angles is not None or self.wcs is None:
            return self.angles
        x, y = self.center
        (ra, dec), (ra_up, dec_up) = np.radians(self.wcs.all_pix2world([(x, y), (x, y + 1)], 0))
        east = np.sin(ra_up - ra) * np.cos(dec_up)
        north = np.sin(dec_up) * np.cos(dec) - np.cos(dec_up) * np.sin(dec) * np.cos(ra_up - ra)
        return readonly(np.full(self.n_int, np.degrees(np.arctan2(east, north)) % 360))

    @cached_property
    def good(self) -> np.ndarray:
        """True where data are finite and DO_NOT_USE is not set."""
        good = np.isfinite(self.data)
        if self.dq is not None:
            good &= (self.dq & BAD) == 0
        if self.pixel_dq is not None:
            good &= (self.pixel_dq & BAD) == 0
        return readonly(good)

    @cached_property
    def variance(self) -> np.ndarray | None:
        """Square of `err`, else the sum of the variances, else None; NaN where unknown."""
        if self.err is not None:
            return readonly(np.square(self.err, dtype=np.float64))
        if self.variances:
            return readonly(np.sum([np.asarray(v, np.float64) for v in self.variances.values()], axis=0))
        return None

    @property
    def cube(self) -> Exposure:
        """The same with exactly three axes (n_int, y, x)."""
        if self.data.ndim == 3:
            return self
        shape = (self.n_int, *self.data.shape[-2:])
        return self._mapped(lambda array: array.reshape(shape), source=self.source)

    def flags(self) -> np.ndarray:
        """DQ as a new array, with the bits that hold for every image; zeros where there is none."""
        flags = np.zeros(self.data.shape, np.uint32) if self.dq is None else self.dq.astype(np.uint32)
        if self.pixel_dq is not None:
            flags |= self.pixel_dq
        return flags

    def select(self, integrations: int | Sequence[int] | np.ndarray | slice) -> Exposure:
        """Integrations by index (always keeps the axis)."""
        cube = self.cube
        index = indices(integrations, cube.n_int, "integrations")
        kept = tuple(e for e in self.extensions if e.name != "INT_TIMES")
        call = f".select({[int(i) for i in index]})"
        return cube._mapped(
            lambda array: array[index],
            extensions=kept,
            source=self.source and self.source + call,
            angles=None if self.angles is None else self.angles[index],
        )

    def crop(self, size: int | tuple[int, int], *, center: tuple[float, float] | None = None) -> Exposure:
        """Cut a (height, width) box around the star (or `center`); WCS and centre follow.

        Raises
        ------
        DataError
            If the box leaves the image.
        """
        height, width = (size, size) if isinstance(size, int) else size
        x, y = center or self.center
        x0, y0 = round(x - (width - 1) / 2), round(y - (height - 1) / 2)
        ny, nx = self.data.shape[-2:]
        if x0 < 0 or y0 < 0 or x0 + width > nx or y0 + height > ny or min(height, width) < 1:
            raise DataError(
                f"{self._name}: a box of {height} x {width} px around ({x:g}, {y:g}) "
                f"is not inside the image of {ny} x {nx} px; give a smaller size"
            )
        rows, columns = slice(y0, y0 + height), slice(x0, x0 + width)
        moved = self.meta.with_(center=(self.center[0] - x0, self.center[1] - y0))
        wcs = None if self.wcs is None else self.wcs.slice((rows, columns))
        call = f".crop(({height}, {width}), center=({x!r}, {y!r}))"
        return self._mapped(
            lambda array: array[..., rows, columns],
            meta=moved,
            wcs=wcs,
            extensions=(),  # an area map or a WCS model of the whole image would be wrong here
            pixel_dq=None if self.pixel_dq is None else self.pixel_dq[rows, columns],
            source=self.source and self.source + call,
        )

    def mask(self, bad: np.ndarray, *, bits: int = DQ.DO_NOT_USE) -> Exposure:
        """Set DQ `bits` where `bad` (broadcast to data) is True; pixel values stay.

        Raises
        ------
        DataError
            If `bad` has another shape.
        """
        from corontools.result import call  # late: how calls are written is told by results, which are made of these

        try:
            where = np.broadcast_to(np.asarray(bad, bool), self.data.shape)
        except ValueError as error:
            raise DataError(f"{self._name}: a mask of shape {np.shape(bad)} doesn't fit {self.data.shape}") from error
        code = self.source and f"{self.source}.{call(Exposure.mask, self, np.asarray(bad), bits=bits)}"
        return self.with_(dq=self.flags() | np.where(where, np.uint32(bits), np.uint32(0)), source=code)

    def reject_outliers(self, sigma: float = 5.0) -> Exposure:
        """Flag pixels that leave the other integrations (OUTLIER and DO_NOT_USE); see `arrays.outliers.temporal`.

        Nothing is flagged with fewer than three integrations: two can't tell which of them is wrong.

        Raises
        ------
        DataError
            If sigma is not positive.
        """
        from corontools.arrays.outliers import temporal

        if not sigma > 0:
            raise DataError(f"sigma should be a positive number, found {sigma}")
        cube = self.cube
        found = temporal(cube.data, good=cube.good, err=cube.err, sigma=sigma)
        dq = cube.flags() | np.where(found, np.uint32(DQ.OUTLIER | DQ.DO_NOT_USE), np.uint32(0))
        return self.with_(
            dq=dq.reshape(self.data.shape),
            source=self.source and f"{self.source}.reject_outliers(sigma={sigma!r})",
        )

    def repair(self, box: int = 3) -> Exposure:
        """Fill bad pixels with the median of the good ones in a box around them; see `arrays.repair.fill`.

        A filled pixel gets FLUX_ESTIMATED and DO_NOT_USE: it is a value to interpolate with, and has no weight.
        An integration without a good pixel stays as it is.
        """
        from corontools.arrays.repair import fill

        cube = self.cube
        data = fill(cube.data, cube.good, box=box)
        filled = ~cube.good & np.isfinite(data)
        dq = cube.flags() | np.where(filled, np.uint32(DQ.FLUX_ESTIMATED | DQ.DO_NOT_USE), np.uint32(0))
        shape = self.data.shape
        return self.with_(
            data=data.reshape(shape),
            dq=dq.reshape(shape),
            source=self.source and f"{self.source}.repair(box={box})",
        )

    def subtract_level(self, *, beyond: float | None = None) -> Exposure:
        """Bring every image to the level 0 far from the star: a scalar background for each integration.

        The level is the median of the good pixels there without outliers, see `arrays.level.level`. Its error, the same
        for all pixels of an image and small beside theirs, isn't added to `err`. S_BKDSUB is COMPLETE.

        Parameters
        ----------
        beyond : float, optional
            Px from the star; by default what is outside the largest circle around it that is inside the image.

        Raises
        ------
        DataError
            If these are groups of a ramp, or an integration has fewer than 100 good pixels there.

        Examples
        --------
        >>> sky = np.random.default_rng(1).normal(7.0, 0.1, (2, 64, 64))
        >>> abs(float(np.median(Exposure(sky).subtract_level(beyond=20).data))) < 0.01
        True
        """
        from corontools.arrays.level import far_from, level

        if self.data.ndim > 3:
            raise DataError(f"{self._name}: a level is taken from images (y, x) or (n_int, y, x), found {self.shape}")
        cube = self.cube
        try:
            found = level(cube.data, cube.good, where=far_from(self.data.shape[-2:], self.center, beyond))
        except DataError as error:
            raise DataError(f"{self._name}: {error}") from error
        data = (cube.data - found.value[:, None, None]).astype(cube.data.dtype.newbyteorder("="))
        given = "" if beyond is None else f"beyond={beyond!r}"
        return self.with_(
            data=data.reshape(self.data.shape),
            meta=self.meta.with_cards({"S_BKDSUB": ("COMPLETE", "Background subtraction")}),
            source=self.source and f"{self.source}.subtract_level({given})",
        )

    def explore(self, **options: Any) -> Any:
        """Open the live view of the images in a notebook; see `corontools.widgets.ExposureExplorer`."""
        from corontools.widgets import explore  # late: data don't know their views, and scripts need none

        return explore(self, **options)

    def _mapped(self, function: Any, **changes: Any) -> Exposure:
        """Copy in which `function` was applied to every array."""
        return self.with_(
            data=function(self.data),
            err=None if self.err is None else function(self.err),
            dq=None if self.dq is None else function(self.dq),
            variances={name: function(value) for name, value in self.variances.items()},
            **changes,
        )

    def _rows(self) -> list[tuple[str, str]]:
        ny, nx = self.data.shape[-2:]
        bad = 100 * (1 - float(self.good.mean()))
        rows = [
            ("images", f"{self.n_int} of {ny} x {nx} px, {self.data.dtype.name}"),
            ("unit", self.meta.unit or "not given"),
            ("star at", "({:.2f}, {:.2f}) px".format(*self.center)),
            ("bad pixels", f"{bad:.2f} %"),
        ]
        if self.meta.pixel_scale:
            rows.insert(2, ("pixel scale", f'{self.meta.pixel_scale:.4f}"/px'))
        if self.meta.roll is not None:
            rows.append(("roll", f"{self.meta.roll:.2f} deg"))
        if self.angles is not None:
            rows.append(("position angles", f"{self.angles.min():.2f} to {self.angles.max():.2f} deg"))
        return rows

    def __repr__(self) -> str:
        from corontools.display import card

        return card.text(f"Exposure: {self.meta.title}", self._rows(), [self.source] if self.source else ())

    def _repr_html_(self) -> str:
        from corontools.display import card, quick

        image = quick.image_picture(self.cube.data[0], "first integration", bad=~self.cube.good[0])
        chain = [self.source] if self.source else ()
        return card.html(f"Exposure: {self.meta.title}", self._rows(), pictures=[image], chain=chain)


def indices(which: int | Sequence[int] | np.ndarray | slice, n: int, what: str) -> np.ndarray:
    """Indices from 0 of those chosen by index, slice or boolean mask, at least one axis.

    Raises
    ------
    DataError
        If there are only n of them.
    """
    try:
        return np.atleast_1d(np.arange(n)[which])
    except IndexError as error:
        raise DataError(f"can't choose {which} of {n} {what}: {error}") from error


def check_alike(first: Exposure, other: Exposure) -> None:
    """Raise DataError, naming both exposures, where images differ in shape or unit."""
    for what, a, b in (
        ("shape", first.data.shape[-2:], other.data.shape[-2:]),
        ("unit", first.meta.unit, other.meta.unit),
    ):
        if a != b:
            raise DataError(
                f"{what} differs: {first._name} has {a or 'none'}, {other._name} has {b or 'none'}; "
                f"{'crop' if what == 'shape' else 'convert'} one of them"
            )


def readonly(array: Any) -> np.ndarray:
    """View that can't be written to; the caller's own array keeps its flag."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _real(array: Any, what: str) -> np.ndarray:
    """Floating-point view; a masked pixel is NaN, anything but real numbers is refused."""
    values = np.asarray(array)
    if values.dtype.kind not in "fiub":
        raise DataError(f"an exposure needs real numbers, found {values.dtype} in {what}")
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    if np.ma.is_masked(array):
        values = np.where(np.ma.getmaskarray(array), np.nan, values)
    return readonly(values)


def _degrees(angles: Any, n_int: int, name: str) -> np.ndarray:
    """Angles (n_int,) as float64; one serves all integrations."""
    values = np.asarray(angles)
    if values.dtype.kind not in "fiu":
        raise DataError(f"{name}: angles should be numbers in degrees, found {values.dtype}")
    values = np.array(np.broadcast_to(values, (n_int,)) if values.ndim == 0 else values, np.float64)
    if values.shape != (n_int,):
        raise DataError(f"{name}: {n_int} integration(s) need as many angles, found an array of shape {values.shape}")
    unknown = np.flatnonzero(~np.isfinite(values))
    if unknown.size:
        raise DataError(
            f"{name}: the angles of integration(s) {unknown.tolist()} aren't finite numbers; leave these out"
        )
    return readonly(values)


def _bits(array: Any) -> np.ndarray:
    values = np.asarray(array)
    if values.dtype.kind not in "iub":
        raise DataError(f"dq holds bits, so it needs integers; found {values.dtype}")
    if values.ndim == 4 and values.dtype == np.uint8:
        return readonly(values)  # flags of groups: as many bytes as the ramp has would become four times as many
    return readonly(values.astype(np.uint32, copy=False))
