"""Warps of many visits into a folder; a run that was interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import os
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from corontools import jobs
from corontools.calibrate.background import BackgroundList
from corontools.calibrate.planes import Plane
from corontools.calibrate.psf import PSF
from corontools.calibrate.visit import VisitImage
from corontools.errors import DataError
from corontools.folder import KEPT, PARTS, locked, staged
from corontools.warp.corrections import Corrections
from corontools.warp.match import FourierMatcher, PSFMatcher
from corontools.warp.merge import Visit, opened
from corontools.warp.product import config_of, save_warp, warp_name, whole
from corontools.warp.select import outline_of, select_exposures
from corontools.warp.tract import Patch
from corontools.warp.warp import Warp
from corontools.warp.warper import Warper

__all__ = ["WarpTypes", "configuration", "make_warps"]


@dataclass(frozen=True)
class WarpTypes:
    """Which kinds of warps are made of each visit, and how (`makeDirect` and `makePsfMatched` of the specification).

    Parameters
    ----------
    direct : bool
        As they come from the detectors.
    matched : float, PSF or None
        FWHM of the double Gaussian to which they are matched, px, or another PSF; None for no matched warps.
    likelihood : bool
        Correlated with their own PSF.
    matcher : PSFMatcher or FourierMatcher

    Raises
    ------
    DataError
        If none is asked for.

    Examples
    --------
    >>> WarpTypes(matched=4.6).kinds
    ('direct', 'psfMatched')
    """

    direct: bool = True
    matched: float | PSF | None = None
    likelihood: bool = False
    matcher: PSFMatcher | FourierMatcher = field(default_factory=PSFMatcher)

    def __post_init__(self) -> None:
        if not self.kinds:
            raise DataError("no kind of warp is asked for; set direct=True, matched=FWHM or likelihood=True")

    @property
    def kinds(self) -> tuple[str, ...]:
        """Their names, in the order in which they are made."""
        wanted = {"direct": self.direct, "psfMatched": self.matched is not None, "likelihood": self.likelihood}
        return tuple(kind for kind, asked in wanted.items() if asked)

    def make(self, kind: str, direct: Warp) -> Warp:
        """One of them of a direct warp; of an empty one an empty one."""
        if direct.reason or kind == "direct":
            return direct.with_(kind=kind)
        if kind == "likelihood":
            return direct.likelihood()
        assert self.matched is not None
        return direct.match_psf(self.matched, matcher=self.matcher)

    def options(self, kind: str) -> str:
        """What tells how a kind is made of the direct warp."""
        if kind != "psfMatched" or self.matched is None or isinstance(self.matched, int | float):
            return f"{self.matched}{self.matcher}" if kind == "psfMatched" else kind
        return _print(np.round(self.matched.kernels([0.0], [0.0]), 9)) + repr(self.matcher)


def make_warps(
    exposures: Iterable[Visit],
    patch: Patch | Sequence[Patch],
    folder: str | os.PathLike[str],
    *,
    types: WarpTypes | None = None,
    kernel: str | Warper = "lanczos3",
    corrections: Corrections | None = None,
    coadd: str = "deep",
    reuse: bool = False,
    overwrite: bool = False,
    empty: bool = False,
) -> list[Path]:
    """Warp exposures visit by visit, each written as soon as it is done; one visit is in memory at a time.

    With a Dask client visits are warped by its workers, which write the files; give paths then. One run at a time can
    have the folder; what a killed one left in the making is removed.

    Parameters
    ----------
    exposures : iterable of VisitImage, CalibratedImage or path
        Of any visits, in any order.
    patch : Patch or sequence of Patch
        Each visit is warped onto every patch that it may reach, and no other.
    folder : path
        Made if need be.
    types : WarpTypes, optional
        Which kinds of warps; by default direct ones only.
    kernel, corrections, empty
        See `Warp.from_exposures`; with `empty` a visit without overlap gets a file too.
    coadd : str
        First part of the names.
    reuse : bool
        Leave a warp as it is if it is whole and was made of the same exposures in the same way; another is made anew,
        with a warning.
    overwrite : bool
        Make all anew.

    Returns
    -------
    list of Path
        Of the warps, in the order of patches, visits and kinds; visits that aren't on a patch have none.

    Raises
    ------
    FileExistsError
        If one is there already and neither `reuse` nor `overwrite` is set.
    ItemsError
        If some visits failed, once the others are done.
    DataError
        If there are no exposures, or those of the only visit don't belong together.
    """
    groups = _by_visit(exposures)
    if not groups:
        raise DataError("there are no exposures to warp")
    patches = [patch] if isinstance(patch, Patch) else list(patch)
    items = [
        (one, chosen)
        for one in patches
        for group in groups.values()
        if (chosen := group if empty else select_exposures(group, one))
    ]
    if not items:
        names = ", ".join(f"{one.name} of tract {one.tract.number}" for one in patches)
        warnings.warn(f"none of the exposures is on patch {names}; no warp is made", stacklevel=2)
        return []
    folder = Path(folder)
    job = _Job(folder.absolute(), types or WarpTypes(), _warper(kernel), corrections or Corrections(), coadd, empty)
    with locked(folder):
        made = jobs.run(_warped, items, name="warp", unit="visit", shared=(job, reuse, overwrite))
    return [folder / name for names in made for name in names]


def _warped(item: tuple[Patch, Sequence[Visit]], how: tuple[_Job, bool, bool]) -> list[str]:
    """The warps of one visit; a function of the module, for workers load it by its name."""
    job, reuse, overwrite = how
    return job.run(*item, reuse=reuse, overwrite=overwrite)


@dataclass(frozen=True)
class _Job:
    """How the warps of a visit are made."""

    folder: Path
    types: WarpTypes
    warper: Warper
    corrections: Corrections
    coadd: str
    empty: bool

    def run(self, patch: Patch, group: Sequence[Visit], *, reuse: bool, overwrite: bool) -> list[str]:
        """Make those that can't be reused; all of a visit appear together. Gives the names of the files."""
        first = outline_of(group[0])
        paths = {
            kind: self.folder
            / warp_name(kind, coadd=self.coadd, filter_name=first.filter, patch=patch, visit=first.visit)
            for kind in self.types.kinds
        }
        there = [path for path in paths.values() if path.exists()]
        if there and not (reuse or overwrite):
            raise FileExistsError(f"{there[0]} is there already; set reuse=True or overwrite=True")
        whole = configuration(group, patch, self.warper, self.corrections)
        configs = {kind: _digest(whole + self.types.options(kind)) for kind in paths}
        todo = [kind for kind, path in paths.items() if overwrite or not _usable(path, configs[kind])]
        if todo:
            direct = Warp.from_exposures(
                group, patch, kernel=self.warper, corrections=self.corrections, empty=self.empty
            )
            if direct is None:
                return []
            names = [paths[kind].name for kind in todo]
            with staged(self.folder, names, overwrite=True, parts=self.folder / KEPT / PARTS) as part:
                for kind in todo:
                    warp = self.types.make(kind, direct).with_(config=configs[kind])
                    save_warp(warp, part, coadd=self.coadd, overwrite=False)
        return [path.name for path in paths.values()]


def configuration(exposures: Sequence[Visit], patch: Patch, warper: Warper, corrections: Corrections) -> str:
    """Fingerprint of pixels, WCS, PSF and calibration of the exposures, of corrections and of how they are warped."""
    found = hashlib.sha256(f"{patch.tract}{patch.index}{warper}{int(Plane.NO_DATA)}".encode())
    for one in exposures:
        found.update(_image_print(opened(one)))
    for given in (corrections.calibration, corrections.wcs, corrections.sky):
        items: Mapping[Any, Any] = {} if given is None else given
        for key in sorted(items, key=str):
            found.update(f"{key}{_print(items[key])}".encode())
        found.update(b"|" if given is None else b"+")
    found.update(str(corrections.background).encode())
    return found.hexdigest()[:16]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _warper(kernel: str | Warper) -> Warper:
    return kernel if isinstance(kernel, Warper) else Warper(kernel)


def _by_visit(exposures: Iterable[Visit]) -> dict[Any, list[Visit]]:
    """Exposures of each visit; those in files stay there."""
    groups: dict[Any, list[Visit]] = {}
    for one in exposures:
        try:
            visit = outline_of(one).visit
        except DataError as error:
            warnings.warn(f"left out: {error}", stacklevel=3)
            continue
        groups.setdefault(visit, []).append(one)
    return groups


def _usable(path: Path, config: str) -> bool:
    """Whether a warp is there and can be reused; if not, why not is told."""
    if not path.exists():
        return False
    if not whole(path):
        warnings.warn(f"{path.name} is damaged and is made again", stacklevel=4)
        return False
    if config_of(path) != config:
        warnings.warn(f"{path.name} was made of other data or in another way, and is made again", stacklevel=4)
        return False
    return True


def _image_print(image: VisitImage) -> bytes:
    frame, (ny, nx) = image.frame, image.shape
    places = np.array([(0, 0), (nx - 1, 0), (0, ny - 1), (nx - 1, ny - 1), ((nx - 1) / 2, (ny - 1) / 2)], float)
    psf = np.round(image.psf.kernels(*places.T), 9)
    parts = [
        image.visit, image.detector, image.filter, _print(frame.image), _print(frame.variance), _print(frame.mask),
        _print(image.wcs), _print(psf), _print(image.calibration), _print(image.background),
    ]  # fmt: skip
    return repr(parts).encode()


def _print(value: Any) -> str:
    """Fingerprint that is the same in any process and for any order of bytes."""
    if value is None:
        return "none"
    if isinstance(value, BackgroundList):
        return str([(_print(entry.levels), entry.style, entry.order) for entry in value])
    if hasattr(value, "to_header"):
        return str(value.to_header_string(relax=True))
    array = np.asarray(value)
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return f"{array.shape}{native.dtype.str}{zlib.crc32(native.reshape(-1).view(np.uint8).data)}"
