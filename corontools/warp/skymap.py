"""Sky maps: tracts on the sky."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from corontools.errors import DataError
from corontools.fits import one_line
from corontools.warp.sky import outline
from corontools.warp.tract import NO_VALUES, Patch, Tiling, Tract

__all__ = ["Patch", "SkyMap", "Tiling", "Tract"]


@dataclass(frozen=True)
class SkyMap:
    """Tracts.

    Examples
    --------
    >>> skymap = SkyMap.discrete([(53.1, -27.8, 0.1), (60.0, -27.8, 0.1)])
    >>> len(skymap), skymap.find_tract(59.0, -27.0).number, SkyMap.from_json(skymap.to_json()) == skymap
    (2, 1, True)
    """

    tracts: tuple[Tract, ...]

    @classmethod
    def discrete(cls, circles: Sequence[tuple[float, float, float]], *, tiling: Tiling | None = None) -> SkyMap:
        """A tract around each (right ascension, declination, radius), degrees."""
        from astropy.coordinates import offset_by
        from astropy.units import deg

        tiling, made = tiling or Tiling(), []
        for number, (ra, dec, radius) in enumerate(circles):
            if not 0 < radius < 90:
                raise DataError(f"the radius of a tract is between 0 and 90 deg, found {radius}")
            sides = (tiling.rotation + np.arange(4) * 90) * deg
            lon, lat = offset_by(ra * deg, dec * deg, sides, radius * deg)
            lon, lat = lon.to_value(deg), lat.to_value(deg)
            made.append(Tract.around(lon, lat, tiling=tiling, center=(float(ra), float(dec)), number=number))
        return cls(tuple(made))

    @classmethod
    def around(cls, images: Iterable[Any], *, tiling: Tiling | None = None) -> SkyMap:
        """One tract around images: anything with a `wcs` and a `shape`, of which the last two count.

        The pixels are those of the tiling; without one they are as small as those of the first image, in one patch.

        Raises
        ------
        DataError
            If there is no image, or one has no WCS.
        """
        images = list(images)
        if not images:
            raise DataError("a tract around images needs one at least")
        corners = np.hstack([outline(image.wcs, image.shape[-2:]) for image in images])
        ra, dec = np.radians(corners)
        middle = np.mean([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
        center = (
            float(np.degrees(np.arctan2(middle[1], middle[0])) % 360),
            float(np.degrees(np.arctan2(middle[2], np.hypot(middle[0], middle[1])))),
        )
        if tiling is not None:
            return cls((Tract.around(*corners, tiling=tiling, center=center),))
        scale = float(np.sqrt(abs(np.linalg.det(images[0].wcs.pixel_scale_matrix))) * 3600)
        first = Tract.around(*corners, tiling=Tiling(scale, (1, 1), 0), center=center)
        return cls((replace(first, tiling=replace(first.tiling, patch=first.shape[::-1])),))

    def __len__(self) -> int:
        return len(self.tracts)

    def __getitem__(self, index: int) -> Tract:
        return self.tracts[index]

    def __iter__(self) -> Iterator[Tract]:
        return iter(self.tracts)

    def find_tract(self, ra: float, dec: float) -> Tract:
        """The tract whose middle is nearest to a place on the sky (degrees)."""
        from astropy.coordinates import angular_separation

        lon, lat = np.radians([tract.center for tract in self.tracts]).T
        return self.tracts[int(np.argmin(angular_separation(*np.radians([ra, dec]), lon, lat)))]

    def find_patch(self, ra: float, dec: float) -> Patch:
        """The patch of the nearest tract whose inner box holds a place on the sky (degrees)."""
        return self.find_tract(ra, dec).find_patch(ra, dec)

    def to_json(self) -> str:
        """Text from which `from_json` makes it again, exactly."""
        return json.dumps({"tracts": [asdict(tract) for tract in self.tracts]})

    @classmethod
    def from_json(cls, text: str) -> SkyMap:
        """The sky map that `to_json` wrote.

        Raises
        ------
        DataError
            If the text isn't one.
        """
        try:
            return cls(tuple(Tract.from_values(one) for one in json.loads(text)["tracts"]))
        except NO_VALUES as error:
            text = one_line(error)
            raise DataError(f"that is no sky map in JSON: {text}; make one with SkyMap(...).to_json()") from error

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write it as JSON.

        Raises
        ------
        FileExistsError
            If the file exists and `overwrite` is False.
        """
        from corontools.fits import atomic

        with atomic(path, overwrite=overwrite) as part:
            part.write_text(self.to_json(), encoding="utf-8")
        return Path(path)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> SkyMap:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If the file can't be read or holds no sky map.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(f"{path} can't be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is no text in UTF-8; make a sky map with SkyMap(...).save") from error
        return cls.from_json(text)
