"""Source: the image of a point source, to be put into science images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from corontools.arrays.apertures import SIGMA_PER_FWHM
from corontools.arrays.shift import PAD, shift_image
from corontools.errors import DataError
from corontools.exposure import Exposure, readonly
from corontools.meta import Meta
from corontools.result import code_of

__all__ = [
    "Footprint",
    "Source",
    "SourceSet",
    "footprint",
    "footprints",
    "on_detector",
    "on_sky",
    "several",
    "source_of",
    "track",
]

# FWHM from its middle at which a Gaussian has no light left: 1e-19 of the peak
REACH = 4.0
# px that a shift by a fraction of a pixel may add to a stamp
EDGE = 2
# FWHM about a companion that say nothing of the noise elsewhere
MASKED = 2.0
# px by which the brightest pixel of a PSF may miss its centre
OFF_CENTER = 2.0


class Footprint(NamedTuple):
    """Where a source has light: flat indices (m,) of the pixels, and its values there."""

    pixels: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Source:
    """Image of a point source of flux 1, a Gaussian or a PSF of your own.

    The PSF says what flux means: its peak for a Gaussian (or a PSF of peak 1), the total for a PSF of total 1, the
    contrast for the image of the star itself.

    Attributes
    ----------
    stamp : ndarray, shape (y, x), or None
        The PSF; there is no light outside.
    center : (float, float) or None
        0-based (x, y) of the source in the stamp.
    fwhm : float or None
        Px, of a Gaussian.

    Examples
    --------
    >>> image = Source.gaussian(2.0).image((9, 9), (3.0, 4.0), 5.0)
    >>> float(image[4, 3]), round(float(image[4, 4]), 6)
    (5.0, 2.5)
    """

    stamp: np.ndarray | None = None
    center: tuple[float, float] | None = None
    fwhm: float | None = None

    @classmethod
    def gaussian(cls, fwhm: float) -> Source:
        """Round Gaussian of peak 1, `fwhm` px wide, taken at the middles of the pixels.

        Raises
        ------
        DataError
            If the width isn't positive.
        """
        if not (np.isfinite(fwhm) and fwhm > 0):
            raise DataError(f"the width of a PSF should be positive, found {fwhm} px")
        return cls(fwhm=float(fwhm))

    @classmethod
    def from_stamp(cls, stamp: np.ndarray, *, center: tuple[float, float] | None = None) -> Source:
        """A PSF of your own, sampled like the images, moved by Fourier shifts.

        Parameters
        ----------
        stamp : ndarray, shape (y, x)
            Without NaN, faint at its edges. It may be larger than the images: what lies outside is lost.
        center : (float, float), optional
            0-based (x, y) of the source in it; by default the middle.

        Raises
        ------
        DataError
            If it isn't an image of finite values with light in it, or its brightest pixel lies more than 2 px from the
            middle and no centre is given.
        """
        values = np.array(stamp, np.float64)
        if values.ndim != 2 or not values.size or not np.isfinite(values).all() or not values.max() > 0:
            raise DataError(f"a PSF should be a (y, x) image of finite values with light in it, found {values.shape}")
        middle = ((values.shape[1] - 1) / 2, (values.shape[0] - 1) / 2)
        row, column = np.unravel_index(np.argmax(values), values.shape)
        if center is None and np.hypot(column - middle[0], row - middle[1]) > OFF_CENTER:
            raise DataError(
                f"the brightest pixel of the PSF is ({column}, {row}), not its middle ({middle[0]:g}, {middle[1]:g}); "
                "crop it, or say where the source is with center=(x, y)"
            )
        at = None if center is None else (float(center[0]), float(center[1]))
        return cls(stamp=readonly(values), center=at)

    @property
    def width(self) -> float:
        """FWHM, px: that of the Gaussian, else of the circle that holds the stamp's pixels above half its peak."""
        if self.fwhm:
            return self.fwhm
        stamp = np.asarray(self.stamp)
        return float(2 * np.sqrt(np.count_nonzero(stamp >= stamp.max() / 2) / np.pi))

    def width_in(self, meta: Meta) -> float:
        """FWHM, px: that of the Gaussian, else of the instrument, else `width`."""
        return float(self.fwhm or meta.fwhm or self.width)

    @property
    def power(self) -> float:
        """Sum of the squares of its pixels."""
        return float(np.square(self.box((0.0, 0.0))[1]).sum())

    def parts(self, shape: tuple[int, int]) -> list[tuple[Source, np.ndarray]]:
        """The PSF and the pixels (y, x) where it holds: all of them, see `SourceSet`."""
        return [(self, np.ones(shape, bool))]

    @property
    def code(self) -> str:
        """The call that makes this source."""
        if self.stamp is None:
            return f"Source.gaussian({self.fwhm!r})"
        at = "" if self.center is None else f", center={self.center!r}"
        return f"Source.from_stamp({code_of(self.stamp)}{at})"

    def __repr__(self) -> str:
        return self.code

    def image(self, shape: tuple[int, int], position: tuple[float, float], flux: float = 1.0) -> np.ndarray:
        """Image (y, x) of the source at a 0-based (x, y), zero beyond its reach.

        Raises
        ------
        DataError
            If the position is outside the image.
        """
        found = self.footprint(shape, position, flux)
        image = np.zeros(shape)
        image.flat[found.pixels] = found.values
        return image

    def footprint(self, shape: tuple[int, int], position: tuple[float, float], flux: float = 1.0) -> Footprint:
        """The same as flat pixels and their values."""
        (x0, y0), values = self.box(_checked(shape, position))
        rows, columns = y0 + np.arange(values.shape[0]), x0 + np.arange(values.shape[1])
        on_y, on_x = (rows >= 0) & (rows < shape[0]), (columns >= 0) & (columns < shape[1])
        pixels = rows[on_y, None] * shape[1] + columns[on_x]
        return Footprint(pixels.ravel(), flux * values[np.ix_(on_y, on_x)].ravel())

    def box(self, position: tuple[float, float]) -> tuple[tuple[int, int], np.ndarray]:
        """First pixel (x, y) and the values (y, x) of the box that holds the light of a source of flux 1."""
        x, y = position
        return self._gauss(x, y) if self.stamp is None else self._moved(x, y)

    def _gauss(self, x: float, y: float) -> tuple[tuple[int, int], np.ndarray]:
        fwhm = float(self.fwhm or 0)
        sigma, reach = fwhm * SIGMA_PER_FWHM, int(np.ceil(REACH * fwhm))
        x0, y0 = round(x) - reach, round(y) - reach
        step = np.arange(2 * reach + 1)
        along_x, along_y = (np.exp(-0.5 * np.square((step + first - at) / sigma)) for first, at in ((x0, x), (y0, y)))
        return (x0, y0), along_y[:, None] * along_x

    def _moved(self, x: float, y: float) -> tuple[tuple[int, int], np.ndarray]:
        stamp = np.asarray(self.stamp)
        center = self.center or ((stamp.shape[1] - 1) / 2, (stamp.shape[0] - 1) / 2)
        corner = np.array([x - center[0], y - center[1]])
        whole = np.rint(corner).astype(int)
        # zeros wide enough that what the shift continues the image with is zero
        moved = shift_image(np.pad(stamp, PAD), corner - whole)
        inner = slice(PAD - EDGE, EDGE - PAD)
        return (int(whole[0]) - EDGE, int(whole[1]) - EDGE), moved[inner, inner]


@dataclass(frozen=True, eq=False, repr=False)
class SourceSet(Source):
    """A PSF that depends on the place on the detector, as behind a coronagraph's mask: a small set of templates.

    A source has the PSF of the nearest template. Made by `from_templates`; it stands wherever a `Source` does, but not
    where the sky turns between integrations.

    Attributes
    ----------
    sources : tuple of Source
    places : ndarray, shape (n, 2)
        0-based (x, y) of each template on the detector.

    Examples
    --------
    >>> wide, narrow = Source.gaussian(4.0), Source.gaussian(2.0)
    >>> psf = SourceSet.from_templates([wide, narrow], [(10.0, 10.0), (30.0, 10.0)])
    >>> psf.at((12.0, 15.0)) is wide, psf.at((25.0, 10.0)) is narrow
    (True, True)
    """

    sources: tuple[Source, ...] = ()
    places: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    @classmethod
    def from_templates(
        cls, sources: Sequence[Source | np.ndarray], places: Sequence[tuple[float, float]] | np.ndarray
    ) -> SourceSet:
        """PSFs, each with the 0-based (x, y) at which it was measured or computed.

        Raises
        ------
        DataError
            If there is none, or there aren't as many places; as `Source.from_stamp` does.
        """
        where = np.atleast_2d(np.array(places, np.float64))
        if not len(sources) or where.shape != (len(sources), 2) or not np.isfinite(where).all():
            raise DataError(f"templates need a place (x, y) each, found {len(sources)} templates, places {where.shape}")
        made = tuple(one if isinstance(one, Source) else Source.from_stamp(one) for one in sources)
        return cls(sources=made, places=readonly(where))

    def at(self, position: tuple[float, float]) -> Source:
        """The PSF at a 0-based (x, y)."""
        return self.sources[int(np.argmin(np.hypot(*(self.places - position).T)))]

    def box(self, position: tuple[float, float]) -> tuple[tuple[int, int], np.ndarray]:
        """See `Source.box`."""
        return self.at(position).box(position)

    @property
    def width(self) -> float:
        """FWHM, px: median of the templates'."""
        return float(np.median([one.width for one in self.sources]))

    @property
    def power(self) -> float:
        """Sum of the squares of the pixels of the faintest template."""
        return min(one.power for one in self.sources)

    def parts(self, shape: tuple[int, int]) -> list[tuple[Source, np.ndarray]]:
        """Each template and the pixels (y, x) to which it is nearest."""
        y, x = np.indices(shape)
        distance = np.array([np.hypot(x - px, y - py) for px, py in self.places])
        nearest = np.argmin(distance, axis=0)
        return [(one, nearest == i) for i, one in enumerate(self.sources)]

    @property
    def code(self) -> str:
        """The call that makes this set."""
        return f"SourceSet.from_templates({code_of(list(self.sources))}, {self.places.tolist()})"


def _checked(shape: tuple[int, int], position: tuple[float, float]) -> tuple[float, float]:
    x, y = float(position[0]), float(position[1])
    if not (-0.5 <= x <= shape[1] - 0.5 and -0.5 <= y <= shape[0] - 0.5):
        raise DataError(f"({x:g}, {y:g}) is not inside the image of {shape[0]} x {shape[1]} px; move the source")
    return x, y


def several(
    flux: float | Sequence[float],
    *,
    position: tuple[float, float] | Sequence[tuple[float, float]] | None = None,
    sep: float | Sequence[float] | None = None,
    pa: float | Sequence[float] | None = None,
) -> list[tuple[float, dict[str, Any]]]:
    """Flux and place of each source; one flux, separation or angle serves all.

    Raises
    ------
    DataError
        If there are different numbers of them, or none.

    Examples
    --------
    >>> several([1.0, 2.0], sep=[0.5, 0.8], pa=90.0)
    [(1.0, {'sep': 0.5, 'pa': 90.0}), (2.0, {'sep': 0.8, 'pa': 90.0})]
    """
    lists: dict[str, list[Any]] = {
        name: np.atleast_1d(np.asarray(value, float)).tolist()
        for name, value in {"flux": flux, "sep": sep, "pa": pa}.items()
        if value is not None
    }
    if position is not None:
        lists["position"] = [(x, y) for x, y in np.atleast_2d(np.asarray(position, float)).tolist()]
    n = max(len(values) for values in lists.values())
    wrong = {name: len(values) for name, values in lists.items() if len(values) not in (1, n)}
    if wrong or not all(lists.values()):
        found = ", ".join(f"{name} x {len(values)}" for name, values in lists.items())
        raise DataError(f"sources need a flux and a place each, found {found}")
    rows = [{name: values[i % len(values)] for name, values in lists.items()} for i in range(n)]
    return [(row.pop("flux"), row) for row in rows]


def footprint(
    target: Exposure,
    flux: float,
    *,
    position: tuple[float, float] | None = None,
    sep: float | None = None,
    pa: float | None = None,
    psf: Source | np.ndarray | None = None,
) -> Footprint:
    """Light of a source on the pixels of an exposure's first integration; see `KlipResult.inject`."""
    place = _place(target, flux, position, sep, pa)
    ny, nx = target.shape[-2:]
    return source_of(psf, target).footprint((ny, nx), place, float(flux))


def footprints(
    target: Exposure,
    flux: float,
    *,
    angles: np.ndarray | None = None,
    moved: np.ndarray | None = None,
    position: tuple[float, float] | None = None,
    sep: float | None = None,
    pa: float | None = None,
    psf: Source | np.ndarray | None = None,
) -> list[Footprint]:
    """Light of a source in each of many frames: it turns about the star with the sky.

    Parameters
    ----------
    angles : ndarray, shape (n,), optional
        Position angles of the frames; by default those of the exposure's integrations.
    moved : ndarray, shape (n, 2), optional
        (dx, dy) px by which each frame is shifted before it lies on the exposure.
    """
    place = _place(target, flux, position, sep, pa)
    ny, nx = target.shape[-2:]
    source, known = source_of(psf, target), target.angles if angles is None else angles
    places = np.tile(place, (target.n_int, 1)) if known is None else track(target, place, known)
    places = places if moved is None else places - moved
    made: dict[tuple[float, float], Footprint] = {}
    for x, y in places.tolist():
        if (x, y) not in made:
            made[x, y] = source.footprint((ny, nx), (x, y), float(flux))
    return [made[x, y] for x, y in places.tolist()]


def track(exposure: Exposure, position: tuple[float, float], angles: np.ndarray) -> np.ndarray:
    """0-based (x, y) of a source in frames of these position angles, (n, 2); `position` is in the first integration.

    Examples
    --------
    >>> exposure = Exposure(np.ones((11, 11)), angles=0.0)  # north up: east, where the sky turns from north, is left
    >>> track(exposure, (5.0, 8.0), np.array([0.0, -90.0])).round(6).tolist()
    [[5.0, 8.0], [2.0, 5.0]]
    """
    own = exposure.position_angles
    if own is None:
        raise DataError(f"{exposure._name}: no angles are known; give them with Exposure.with_(angles=...)")
    turn = _handed(exposure) * np.radians(own[0] - np.asarray(angles, np.float64))
    (cx, cy), (x, y) = exposure.center, position
    cos, sin = np.cos(turn), np.sin(turn)
    turned = np.stack([cx + (x - cx) * cos - (y - cy) * sin, cy + (x - cx) * sin + (y - cy) * cos], axis=-1)
    turned[turn == 0] = position  # to the last digit
    return turned


def _handed(exposure: Exposure) -> float:
    """1 where east is left of north, as on the sky, -1 in a mirrored image."""
    if exposure.angles is not None or exposure.wcs is None:
        return 1.0
    return -float(np.sign(np.linalg.det(exposure.wcs.pixel_scale_matrix)))


def _place(
    target: Exposure, flux: float, position: tuple[float, float] | None, sep: float | None, pa: float | None
) -> tuple[float, float]:
    """0-based (x, y) in the first integration."""
    if not np.isfinite(flux):
        raise DataError(f"the flux of a source should be a number, found {flux}")
    if (position is None) == (sep is None) or (sep is None) != (pa is None):
        raise DataError("a source needs its place: position=(x, y) in px, or sep= in arcsec and pa= in degrees")
    if sep is not None and pa is not None:
        return on_detector(target, sep, pa)
    assert position is not None  # one of the two was given
    return position


def source_of(psf: Source | np.ndarray | None, target: Exposure) -> Source:
    """The PSF that was given, or a Gaussian as wide as the core of the exposure's.

    Raises
    ------
    DataError
        If none was given and the width isn't known.
    """
    if isinstance(psf, Source):
        return psf
    if psf is not None:
        return Source.from_stamp(psf)
    if not target.meta.fwhm:
        raise DataError("the width of the PSF isn't known from the header; give psf=Source.gaussian(<px>) or an image")
    return Source.gaussian(target.meta.fwhm)


def on_detector(exposure: Exposure, sep: float, pa: float) -> tuple[float, float]:
    """0-based (x, y) of a place `sep` arcsec from the star, at `pa` degrees east of north, in the first integration.

    By the angles of the exposure where they are given, else by its WCS.

    Raises
    ------
    DataError
        If the exposure has neither, or angles and no pixel scale.
    """
    if exposure.angles is not None:
        if not exposure.meta.pixel_scale:
            raise DataError(f"{exposure._name} has no pixel scale; give position=(x, y), or one with meta.with_")
        r, angle = sep / exposure.meta.pixel_scale, np.radians(pa - exposure.angles[0])
        return float(exposure.center[0] - r * np.sin(angle)), float(exposure.center[1] + r * np.cos(angle))
    if exposure.wcs is None:
        raise DataError(f"{exposure._name} has no WCS, so north isn't known; give position=(x, y)")
    ra, dec = np.radians(exposure.wcs.all_pix2world([exposure.center], 0)[0])
    s, angle = np.radians(sep / 3600), np.radians(pa)
    # along the great circle
    sin_dec = np.sin(dec) * np.cos(s) + np.cos(dec) * np.sin(s) * np.cos(angle)
    turn = np.arctan2(np.sin(angle) * np.sin(s) * np.cos(dec), np.cos(s) - np.sin(dec) * sin_dec)
    x, y = exposure.wcs.all_world2pix([np.degrees([ra + turn, np.arcsin(sin_dec)])], 0)[0]
    return float(x), float(y)


def on_sky(exposure: Exposure, position: tuple[float, float]) -> tuple[float, float]:
    """Separation (arcsec) and position angle (degrees east of north) of a 0-based (x, y): `on_detector` backwards.

    Raises
    ------
    DataError
        If the exposure has no WCS.
    """
    if exposure.wcs is None:
        raise DataError(f"{exposure._name} has no WCS, so north isn't known")
    (ra0, dec0), (ra, dec) = np.radians(exposure.wcs.all_pix2world([exposure.center, position], 0))
    turn = ra - ra0
    east = np.cos(dec) * np.sin(turn)
    north = np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(turn)
    along = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(turn)
    sep = np.degrees(np.arctan2(np.hypot(east, north), along)) * 3600
    return float(sep), float(np.degrees(np.arctan2(east, north)) % 360)
