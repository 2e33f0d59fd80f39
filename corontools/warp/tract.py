"""Tracts: rectangles of pixels on one projection of the sky each, cut into patches that overlap."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from corontools.errors import DataError
from corontools.fits import one_line
from corontools.warp.box import Box
from corontools.warp.sky import sky_wcs

__all__ = ["NO_VALUES", "Patch", "Tiling", "Tract"]

PROJECTIONS = ("TAN", "STG")
# what a text that isn't one of ours can raise
NO_VALUES = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
# of a number that tells a place or size
LARGEST = 1e9


@dataclass(frozen=True)
class Tiling:
    """How tracts are projected and cut.

    Parameters
    ----------
    pixel_scale : float
        Arcsec per pixel.
    patch : (int, int)
        Width and height of the inner boxes, px, which don't overlap.
    border : int
        By how much a patch reaches beyond its inner box, px.
    projection : {"TAN", "STG"}
        Gnomonic; stereographic, for wide tracts.
    rotation : float
        Position angle of +y in the middle of the tract, degrees east of north.
    overlap : float
        By how much neighbouring tracts overlap: half of it is added on each side, degrees.

    Raises
    ------
    DataError
        If the projection isn't one of these, or a size isn't positive.
    """

    pixel_scale: float = 0.333
    patch: tuple[int, int] = (4000, 4000)
    border: int = 100
    projection: str = "TAN"
    rotation: float = 0.0
    overlap: float = 0.0

    def __post_init__(self) -> None:
        if self.projection not in PROJECTIONS:
            raise DataError(f"a tract is projected by {' or '.join(PROJECTIONS)}, found {str(self.projection)[:40]!r}")
        _check("pixel scale", self.pixel_scale, (), above=0)
        _check("patches", self.patch, (2,), whole=True, above=0)
        _check("border", self.border, (), whole=True, above=-1)
        _check("rotation", self.rotation, ())
        _check("overlap", self.overlap, (), above=-1e-9)

    @property
    def cd(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """CD matrix, degrees per pixel: east to the left of north."""
        turn, scale = np.radians(self.rotation), self.pixel_scale / 3600
        c, s = float(scale * np.cos(turn)), float(scale * np.sin(turn))
        return (-c, s), (s, c)


@dataclass(frozen=True)
class Tract:
    """A rectangle of pixels on one projection of the sky, from pixel (0, 0) on, in nx by ny patches.

    Attributes
    ----------
    number : int
    center : (float, float)
        Where the projection touches the sky: right ascension and declination, degrees.
    crpix : (float, float)
        Its 0-based pixel (x, y).
    shape : (int, int)
        (y, x), px.
    tiling : Tiling
    given_cd : 2 x 2 of floats, optional
        CD matrix where it isn't that of the tiling, as of a tract made by `of_wcs`.

    Examples
    --------
    >>> from corontools.warp import SkyMap
    >>> tract = SkyMap.discrete([(53.1, -27.8, 0.1)], tiling=Tiling(patch=(1000, 1000)))[0]
    >>> tract.n_patches, tract[1, 0].inner, tract[1, 0].outer
    ((3, 3), Box(x0=1000, y0=0, x1=2000, y1=1000), Box(x0=900, y0=0, x1=2100, y1=1100))
    >>> tract.find_patch(53.1, -27.8).name
    '1,1'
    """

    number: int
    center: tuple[float, float]
    crpix: tuple[float, float]
    shape: tuple[int, int]
    tiling: Tiling = field(default_factory=Tiling)
    given_cd: tuple[tuple[float, float], tuple[float, float]] | None = None

    def __post_init__(self) -> None:
        _check("number", self.number, (), whole=True, above=-1)
        _check("center", self.center, (2,))
        _check("crpix", self.crpix, (2,))
        _check("shape", self.shape, (2,), whole=True, above=0)
        if abs(self.center[1]) > 90:
            raise DataError(f"declinations are -90 to 90 deg, found {self.center[1]}")
        if self.given_cd is not None:
            _check("CD matrix", self.given_cd, (2, 2))
            if not abs(np.linalg.det(self.given_cd)) > 0:
                raise DataError(f"the CD matrix has no inverse: {self.given_cd}")

    @classmethod
    def around(
        cls, ra: np.ndarray, dec: np.ndarray, *, tiling: Tiling, center: tuple[float, float], number: int = 0
    ) -> Tract:
        """The smallest whole number of patches that holds all places (degrees); what is too much lies on all sides."""
        start = cls(number, center, (0.0, 0.0), (1, 1), tiling)
        places = np.array(start.wcs.all_world2pix(ra, dec, 0))
        if not np.isfinite(places).all():
            raise DataError(
                f"places more than 90 deg from the tract's middle {center} can't be projected by "
                f"{tiling.projection}; make several tracts, or choose STG"
            )
        more = tiling.overlap * 1800 / tiling.pixel_scale
        low, high = np.floor(places.min(1) - more + 0.5), np.floor(places.max(1) + more + 0.5)
        count = np.ceil((high - low + 1) / tiling.patch).astype(int)
        size = count * tiling.patch
        origin = low - (size - (high - low + 1)) // 2
        return replace(start, crpix=(float(-origin[0]), float(-origin[1])), shape=(int(size[1]), int(size[0])))

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Tract:
        """Of what `dataclasses.asdict` gives, as JSON keeps it."""
        given = {name: _tuples(value) for name, value in values.items() if name != "tiling"}
        return cls(**given, tiling=Tiling(**{name: _tuples(value) for name, value in values["tiling"].items()}))

    @classmethod
    def of_wcs(cls, wcs: Any, shape: tuple[int, int], *, number: int = 0) -> Tract:
        """One patch without border on the pixels of an image, to warp others onto it.

        Raises
        ------
        DataError
            If the WCS isn't a TAN or STG projection of ICRS without distortion.
        """
        header = wcs.to_header(relax=True)  # of a TPV projection wcs.wcs.ctype tells TAN
        kinds = [str(header.get(f"CTYPE{axis}", "")) for axis in (1, 2)]
        projection = kinds[0][-3:]
        plain = wcs.sip is None and wcs.cpdis1 is None and kinds == [f"RA---{projection}", f"DEC--{projection}"]
        if not plain or projection not in PROJECTIONS:
            raise DataError(
                f"a tract has no distortion and is {' or '.join(PROJECTIONS)} of right ascension and declination, "
                f"found {kinds}; make one around the image, SkyMap.around([image])"
            )
        cd = wcs.pixel_scale_matrix
        scale = float(np.sqrt(abs(np.linalg.det(cd))) * 3600)
        tiling = Tiling(scale, (shape[1], shape[0]), 0, projection)
        (a, b), (c, d) = cd.tolist()
        ra, dec = (float(value) for value in wcs.wcs.crval)
        x, y = (float(value) - 1 for value in wcs.wcs.crpix)
        return cls(number, (ra, dec), (x, y), (int(shape[0]), int(shape[1])), tiling, ((a, b), (c, d)))

    @property
    def cd(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """CD matrix, degrees per pixel."""
        return self.tiling.cd if self.given_cd is None else self.given_cd

    @cached_property
    def wcs(self) -> Any:
        """WCS of the tract's pixels."""
        return self.wcs_from(0, 0)

    def wcs_from(self, x0: int, y0: int) -> Any:
        """The WCS of an image whose first pixel is (x0, y0) of the tract."""
        crpix = (self.crpix[0] - x0, self.crpix[1] - y0)
        return sky_wcs(self.center, crpix, self.cd, projection=self.tiling.projection, shape=self.shape)

    @property
    def box(self) -> Box:
        """All its pixels."""
        return Box(0, 0, self.shape[1], self.shape[0])

    @property
    def n_patches(self) -> tuple[int, int]:
        """Along x and y."""
        width, height = self.tiling.patch
        return -(-self.shape[1] // width), -(-self.shape[0] // height)

    def __len__(self) -> int:
        nx, ny = self.n_patches
        return nx * ny

    def __iter__(self) -> Iterator[Patch]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, index: int | tuple[int, int]) -> Patch:
        nx, ny = self.n_patches
        x, y = index if isinstance(index, tuple) else (index % nx, index // nx)
        if not (0 <= x < nx and 0 <= y < ny):
            raise IndexError(f"tract {self.number} has {nx} x {ny} patches, there is no {index}")
        return Patch(self, (int(x), int(y)))

    def find_patch(self, ra: float, dec: float) -> Patch:
        """The patch whose inner box holds a place on the sky (degrees).

        Raises
        ------
        DataError
            If the place is outside of the tract.
        """
        x, y = (float(v) for v in self.wcs.all_world2pix(ra, dec, 0))
        if not (np.isfinite([x, y]).all() and self.box.contains(x, y)):
            raise DataError(f"({ra}, {dec}) deg is at pixel ({x:.0f}, {y:.0f}), outside of tract {self.number}")
        return self[int(np.floor(x + 0.5)) // self.tiling.patch[0], int(np.floor(y + 0.5)) // self.tiling.patch[1]]


@dataclass(frozen=True, repr=False)
class Patch:
    """A part of a tract, on which images are warped.

    Attributes
    ----------
    tract : Tract
    index : (int, int)
        Along x and y.
    """

    tract: Tract
    index: tuple[int, int]

    def __repr__(self) -> str:
        (ny, nx), (ra, dec) = self.shape, self.tract.center
        return f"<Patch {self.name} of tract {self.tract.number} around {ra:.4f} {dec:+.4f} deg, {nx} x {ny} px>"

    @property
    def number(self) -> int:
        """Counted row by row."""
        return self.index[1] * self.tract.n_patches[0] + self.index[0]

    @property
    def name(self) -> str:
        """Such as "5,4"."""
        return f"{self.index[0]},{self.index[1]}"

    @property
    def inner(self) -> Box:
        """Its own pixels, which no other patch has."""
        width, height = self.tract.tiling.patch
        x, y = self.index[0] * width, self.index[1] * height
        return Box(x, y, x + width, y + height).clipped(self.tract.box)

    @property
    def outer(self) -> Box:
        """Its pixels with the border, within the tract."""
        return self.inner.grown(self.tract.tiling.border).clipped(self.tract.box)

    @property
    def shape(self) -> tuple[int, int]:
        """Of an image of the outer box, (y, x)."""
        return self.outer.shape

    @cached_property
    def wcs(self) -> Any:
        """WCS of an image of the outer box."""
        return self.tract.wcs_from(self.outer.x0, self.outer.y0)

    @property
    def code(self) -> str:
        """Python code that gives it again."""
        return f"Patch.from_json({self.to_json()!r})"

    def to_json(self) -> str:
        """Text from which `from_json` makes it again, exactly."""
        return json.dumps({"tract": asdict(self.tract), "index": self.index})

    @classmethod
    def from_json(cls, text: str) -> Patch:
        """The patch that `to_json` wrote.

        Raises
        ------
        DataError
            If the text isn't one.
        """
        try:
            found = json.loads(text)
            x, y = found["index"]
            return Tract.from_values(found["tract"])[int(x), int(y)]
        except (*NO_VALUES, LookupError) as error:
            raise DataError(f"that is no patch in JSON: {one_line(error)}; make one with Patch.to_json()") from error


def _check(what: str, value: Any, shape: tuple[int, ...], *, whole: bool = False, above: float = -np.inf) -> None:
    """Numbers of this shape, finite and greater than `above`; they may come from a file."""
    try:
        found = np.asarray(value)
        right = found.shape == shape and found.dtype.kind in ("iu" if whole else "iuf")
        right = right and bool((np.isfinite(found) & (found > above) & (abs(found) < LARGEST)).all())
    except (ValueError, OverflowError):  # lists of several lengths, integers of many digits
        right = False
    if not right:
        kind = "positive " if above == 0 else "" if above == -np.inf else "not negative "
        kind += "whole " if whole else ""
        numbers = f"a {kind}number" if not shape else f"{' x '.join(map(str, shape))} {kind}numbers"
        raise DataError(f"the {what} of a tract: {numbers} below {LARGEST:g}; found {str(value)[:60]!r}")


def _tuples(value: Any) -> Any:
    """Lists of JSON are tuples again."""
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
